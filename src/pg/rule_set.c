/*
 * rule_set.c - the rules in force, as this backend knows them
 *
 * They are read when a batch is stored, and then again only when at402.rule is
 * said to have changed: its trigger sends that to all backends, as PostgreSQL
 * does when a table is altered.  So where no rule is enabled, storing runs no
 * statement for them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/batch.h"
#include "pg/owner.h"
#include "pg/rule_set.h"

#define GROUP_SIZE 500			/* a statement has at most 1,664 columns */

static MemoryContext context;	/* of what is known; NULL: nothing yet */
static List *groups;
static Oid	rule_table;			/* that they are from; InvalidOid: there is none */
static uint64 changes = 1;		/* of the table, that this backend was told of */
static uint64 known_changes;	/* when the rules were read */

static void
table_changed(Datum unused, Oid relation)
{
	if (relation == rule_table || !OidIsValid(relation) || !OidIsValid(rule_table))
		changes++;
}

void
at402_rule_replan(SPIPlanPtr *plan)
{
	if (*plan != NULL)
		SPI_freeplan(*plan);
	*plan = NULL;
}

static void
forget_rules(void)
{
	ListCell   *lc;
	ListCell   *lr;

	foreach(lc, groups)
	{
		At402RuleGroup *g = lfirst(lc);

		at402_rule_replan(&g->plan);
		at402_rule_replan(&g->next_plan);
		foreach(lr, g->rules)
		{
			At402Rule  *r = lfirst(lr);

			at402_rule_replan(&r->back_plan);
			at402_rule_replan(&r->on_plan);
			at402_rule_replan(&r->message_plan);
		}
	}
	groups = NIL;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "at402 rules", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(context);
}

/* A table of somebody else could name any owner. */
static Oid
find_table(void)
{
	Oid			owner = at402_owner_of("rule");

	if (!OidIsValid(owner) || owner != at402_tables_owner())
		return InvalidOid;
	return get_relname_relid("rule", get_namespace_oid("at402", true));
}

/* ---- reading ---- */

#define SELECT_RULES                                                                               \
	"SELECT id, name, source, owner, checked_condition, checked_message, message, "                \
	"  uses, min_duration, cooldown, level, "                                                      \
	"  channels OPERATOR(pg_catalog.<>) '{}'::pg_catalog.text[], version FROM at402.rule "

static Interval *
interval_of(HeapTuple row, TupleDesc desc, int column)
{
	bool		null;
	Datum		value = SPI_getbinval(row, desc, column, &null);
	Interval   *copy;

	if (null)
		return NULL;
	copy = palloc(sizeof(Interval));
	*copy = *DatumGetIntervalP(value);
	return copy;
}

static void
read_uses(At402Uses *uses, HeapTuple row, TupleDesc desc, int column)
{
	bool		null;
	Datum		array = SPI_getbinval(row, desc, column, &null);
	Datum	   *words;
	int			count = 0;

	if (!null)
		deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &words,
						  NULL, &count);
	for (int i = 0; i < count; i++)
		at402_uses_add(uses, TextDatumGetCString(words[i]));
}

/* A row of SELECT_RULES.  False: it is none that could run. */
static bool
read_rule(HeapTuple row, TupleDesc desc, At402Rule *rule)
{
	bool		null;
	char	   *condition = SPI_getvalue(row, desc, 5);

	rule->id = DatumGetInt32(SPI_getbinval(row, desc, 1, &null));
	rule->name = SPI_getvalue(row, desc, 2);
	rule->source = at402_rule_source(SPI_getvalue(row, desc, 3));
	rule->owner = SPI_getvalue(row, desc, 4);
	/* a function that has been made anew may return something else: not this */
	rule->condition = condition != NULL ? psprintf("(%s) IS TRUE", condition) : NULL;
	rule->expression = SPI_getvalue(row, desc, 6);
	rule->message = SPI_getvalue(row, desc, 7);
	read_uses(&rule->uses, row, desc, 8);
	rule->min_duration = interval_of(row, desc, 9);
	rule->cooldown = interval_of(row, desc, 10);
	rule->level = SPI_getvalue(row, desc, 11);
	rule->has_channels = DatumGetBool(SPI_getbinval(row, desc, 12, &null)) && !null;
	rule->version = DatumGetInt32(SPI_getbinval(row, desc, 13, &null));
	return rule->source != NULL && rule->condition != NULL;
}

static At402RuleGroup *
group_of(const At402Rule *rule)
{
	At402RuleGroup *g;
	ListCell   *lc;

	foreach(lc, groups)
	{
		g = lfirst(lc);
		if (g->source == rule->source && strcmp(g->owner, rule->owner) == 0 &&
			list_length(g->rules) < GROUP_SIZE)
			return g;
	}
	g = palloc0(sizeof(At402RuleGroup));
	g->source = rule->source;
	g->owner = rule->owner;
	groups = lappend(groups, g);
	return g;
}

static void
add_rule(At402Rule *rule)
{
	At402RuleGroup *g = group_of(rule);
	ListCell   *lc;

	g->rules = lappend(g->rules, rule);
	foreach(lc, at402_uses_words(&rule->uses))
		at402_uses_add(&g->uses, lfirst(lc));
}

static void
read_rules(void)
{
	At402Caller caller = at402_become(at402_tables_owner());

	SPI_connect();
	if (SPI_execute(SELECT_RULES "WHERE enabled ORDER BY id", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read at402.rule");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(context);
		At402Rule  *rule = palloc0(sizeof(At402Rule));

		if (read_rule(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, rule))
			add_rule(rule);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	at402_become_caller(&caller);
}

bool
at402_rule_find(const char *name, At402Rule *rule)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		argument = CStringGetTextDatum(name);
	bool		found;

	SPI_connect();
	if (SPI_execute_with_args(SELECT_RULES "WHERE name OPERATOR(pg_catalog.=) $1", 1,
							  (Oid[]) {TEXTOID}, &argument, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read at402.rule");
	MemoryContextSwitchTo(caller);
	found = SPI_processed > 0 &&
		read_rule(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, rule);
	SPI_finish();
	return found;
}

List *
at402_rules_in_force(void)
{
	static bool registered = false;
	uint64		before;

	if (!registered)
		CacheRegisterRelcacheCallback(table_changed, (Datum) 0);
	registered = true;
	/* what is being evaluated must stay: a trigger on alerts may call at402_ingest */
	if (known_changes == changes || at402_batch_is_nested())
		return groups;
	forget_rules();
	before = changes;
	rule_table = find_table();
	if (OidIsValid(rule_table))
		read_rules();
	known_changes = before;
	return groups;
}
