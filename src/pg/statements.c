/*
 * statements.c - the SQL that stores a batch, and its plans
 *
 * One set-based statement for each table, INSERT ... SELECT from the row
 * function (rows.c): privileges, row security, triggers, rules, partitions and
 * foreign planners apply as to any INSERT.  Which columns a statement fills is
 * not written down here: it fills those of at402_data_columns() that the table
 * has, so that a newer library stores into the tables of an older version.  The
 * texts stand by subject in statements_*.def.
 *
 * Everything is qualified, functions and operators of pg_catalog included: the
 * search path stays the role's, since triggers of users run under it, and what
 * a user puts there must not be called by us.  For the same reason there is no
 * IN, BETWEEN, USING or IS DISTINCT FROM: their operator is looked up by name.
 *
 * Plans must not depend on statistics: a table that was empty when a plan was
 * made may hold 100,000 rows an hour later, and nobody has analysed it.  All
 * our look-ups are by key, so the plans are made with scans and joins of whole
 * tables switched off, once and for any argument.  The switches are back on
 * before a plan runs, since triggers plan their statements then.  (Citus needs
 * the arguments to plan: there it is left to it.)
 *
 * What holds on Citus too: an INSERT ends with RETURNING, and where rows may
 * conflict it stands in WITH.  Both are refused where a user has put rules on
 * the table: there what is there already is looked up first, and what is not is
 * inserted by a plain INSERT.  (In one statement a rule would find nothing: it
 * runs the source of the INSERT again, after it.)
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "pg/catalog.h"
#include "pg/state.h"
#include "pg/statements.h"

#define MAX_ARGUMENTS 16

#define EQ " OPERATOR(pg_catalog.=) "
#define KEY "device_id, \"time\", seq, content_hash"
#define SAME_KEY(a, b)                                                                             \
	a ".device_id" EQ b ".device_id AND " a ".\"time\"" EQ b ".\"time\" AND "                      \
	a ".seq" EQ b ".seq AND " a ".content_hash" EQ b ".content_hash"
#define UNNEST(n) "pg_catalog.unnest($" #n ")"
#define UNNEST_2 UNNEST(1) ", " UNNEST(2)
#define UNNEST_3 UNNEST_2 ", " UNNEST(3)
#define UNNEST_4 UNNEST_3 ", " UNNEST(4)
#define UNNEST_5 UNNEST_4 ", " UNNEST(5)
#define UNNEST_6 UNNEST_5 ", " UNNEST(6)
#define UNNEST_7 UNNEST_6 ", " UNNEST(7)
#define UNNEST_10 UNNEST_7 ", " UNNEST(8) ", " UNNEST(9) ", " UNNEST(10)
#define UNNEST_14 UNNEST_10 ", " UNNEST(11) ", " UNNEST(12) ", " UNNEST(13) ", " UNNEST(14)

/* What a statement is made of. */
typedef enum Pattern
{
	AS_WRITTEN,					/* text; %1$s: schema of PostGIS, %2$s: of at402 */
	INSERT_ROWS,				/* into table */
	INSERT_MISSING_ROWS,
	INSERT_NEW_REPORTS,
	INSERT_REPORTS,				/* that are not there yet */
	FIND_REPORTS,				/* that are there */
	UPDATE_STATE,				/* of devices that have one */
	UPDATE_PLACED_STATE
} Pattern;

typedef struct Definition
{
	Pattern		pattern;
	const char *text;			/* or the table */
	const char *table;			/* with rules it is another text */
	const char *with_rules;
	int			arguments;
	Oid			types[MAX_ARGUMENTS];
} Definition;

#define OF_BATCH .arguments = 1, .types = {INT8OID}

static const Definition definitions[AT402_STATEMENTS] = {
#include "pg/statements_store.def"
#include "pg/statements_command.def"
#include "pg/statements_fence.def"
#include "pg/statements_rule.def"
};

/* ---- what is known of the tables ---- */

static SPIPlanPtr plans[AT402_STATEMENTS];
static bool stale = true;		/* a table may have changed since the plans were made */
static Oid	planned_schema;		/* that they were made for */
static Oid	planned_postgis;
static Oid	planned_role;		/* the right to use a schema is looked at once */
static bool distributed;		/* Citus is there */

/*
 * Columns and rules change seldom: it does no harm to make plans for any change
 * anew.  What VACUUM and ANALYZE note of a table is none, and comes often.
 */
static void
table_changed(Datum unused, int cache, uint32 hash)
{
	stale = true;
}

void
at402_statements_refresh(void)
{
	static bool registered = false;
	Oid			schema = at402_extension_schema("at402");
	Oid			postgis = at402_extension_schema("postgis");

	if (!registered)
	{
		CacheRegisterSyscacheCallback(ATTNUM, table_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(RULERELNAME, table_changed, (Datum) 0);
	}
	registered = true;
	/* a plan that is being run must stay: a trigger may call at402_ingest */
	if ((!stale && schema == planned_schema && postgis == planned_postgis &&
		 GetUserId() == planned_role) || at402_batch_is_nested())
		return;
	for (int i = 0; i < AT402_STATEMENTS; i++)
	{
		if (plans[i] != NULL)
			SPI_freeplan(plans[i]);
		plans[i] = NULL;
	}
	stale = false;
	planned_schema = schema;
	planned_postgis = postgis;
	planned_role = GetUserId();
	distributed = OidIsValid(get_extension_oid("citus", true));
}

bool
at402_is_distributed(void)
{
	return distributed;
}

/* ---- the texts ---- */

/* The columns of a table that rows of a batch fill. */
typedef struct Columns
{
	StringInfoData names;		/* in the table */
	StringInfoData values;		/* from r, a row */
	StringInfoData types;		/* of r: the definition of its columns */
	StringInfoData changes;		/* device_state: SET of an update */
} Columns;

static void
add(StringInfo list, const char *format, const char *name, const char *more)
{
	if (list->len > 0)
		appendStringInfoString(list, ", ");
	appendStringInfo(list, format, quote_identifier(name), more);
}

/* Types that have a name of their own in the grammar are found nowhere else. */
static const char *
qualified_type(const char *type)
{
	static const char *const words[] = {"int", "smallint", "bigint", "numeric"};

	for (int i = 0; i < lengthof(words); i++)
		if (strncmp(type, words[i], strlen(words[i])) == 0)
			return type;
	return strchr(type, '.') != NULL ? type : psprintf("pg_catalog.%s", type);
}

/* A column of device_state: what becomes of it when reports come; where rows are inserted or
 * updated by one statement, s and EXCLUDED. */
static char *
merged(const char *column, At402Follows follows)
{
	switch (follows)
	{
		case AT402_OF_LAST:
			return psprintf(
				"CASE WHEN s.\"time\" IS NULL "
				"OR (EXCLUDED.\"time\", EXCLUDED.seq) OPERATOR(pg_catalog.>) (s.\"time\", s.seq) "
				"OR (EXCLUDED.\"time\", EXCLUDED.seq)" EQ "(s.\"time\", s.seq) "
				"AND EXCLUDED.content_hash OPERATOR(pg_catalog.<>) s.content_hash "
				"THEN coalesce(EXCLUDED.%1$s, s.%1$s) ELSE s.%1$s END", column);
		case AT402_OF_FIX:
			return psprintf(
				"CASE WHEN EXCLUDED.position_time IS NOT NULL AND (s.position_time IS NULL "
				"OR (EXCLUDED.position_time, EXCLUDED.position_seq) OPERATOR(pg_catalog.>=) "
				"(s.position_time, s.position_seq)) THEN EXCLUDED.%1$s ELSE s.%1$s END", column);
		case AT402_GREATEST:
			return psprintf("greatest(s.%1$s, EXCLUDED.%1$s)", column);
		case AT402_LEAST:
			return psprintf("least(s.%1$s, EXCLUDED.%1$s)", column);
	}
	return NULL;
}

/* What state.c says of it; former: what it was. */
static char *
asked(const char *name, const char *former)
{
	int			place = at402_state_column(name);

	return psprintf("at402_internal.at402_state_value($1, %d, %s::%s)", place, former,
					format_type_be(at402_state_columns[place].type));
}

/* The same where state.c is asked. */
static char *
changed(const char *column, At402Follows follows)
{
	const char *former = psprintf("s.%s", column);

	switch (follows)
	{
		case AT402_OF_LAST:
		case AT402_OF_FIX:
			return asked(column, former);
		case AT402_GREATEST:
			return psprintf("greatest(%s, %s)", former, asked(column, former));
		case AT402_LEAST:
			return psprintf("least(%s, %s)", former, asked(column, former));
	}
	return NULL;
}

static char *
changed_point(void)
{
	const char *longitude = asked("longitude", "NULL");

	return psprintf("CASE WHEN %1$s IS NULL THEN s.geom "
					"ELSE %3$s.st_setsrid(%3$s.st_makepoint(%1$s, %2$s), 4326) END",
					longitude, asked("latitude", "NULL"), at402_schema_name("postgis"));
}

static void
add_change(Columns *c, const char *name)
{
	int			place = at402_state_column(name);
	At402Follows follows = place < 0 ? AT402_OF_FIX : at402_state_columns[place].follows;
	const char *change;

	if (distributed)
		change = merged(quote_identifier(name), follows);
	else
		change = place < 0 ? changed_point() : changed(name, follows);
	add(&c->changes, "%s = %s", name, change);
}

static bool
is_filled(const char *table, const char *column)
{
	return strcmp(table, "device_state") != 0 || strcmp(column, "geom") == 0 ||
		at402_state_column(column) >= 0;
}

/*
 * Reads which columns a table has of those in at402_data_columns().  42703 when
 * one is missing, unless it is a later one: tables of an older version do not
 * have it.
 */
static Columns
read_columns(const char *table)
{
	static const char *const sql =
		"SELECT d.column_name, pg_catalog.regexp_replace(d.definition, "
		"    ' (NOT NULL|NULL|DEFAULT|CHECK|UNIQUE|REFERENCES).*$', ''), a.attname IS NOT NULL, "
		"  EXISTS (SELECT FROM at402_internal.at402_later_columns() AS l "
		"    WHERE l.table_name" EQ "d.table_name AND l.column_name" EQ "d.column_name) "
		"FROM at402_internal.at402_data_columns() WITH ORDINALITY AS d "
		"JOIN pg_catalog.pg_namespace AS n ON n.nspname" EQ "'at402' "
		"JOIN pg_catalog.pg_class AS c ON c.relnamespace" EQ "n.oid "
		"  AND c.relname::pg_catalog.text" EQ "d.table_name "
		"LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid" EQ "c.oid "
		"  AND a.attname::pg_catalog.text" EQ "d.column_name AND NOT a.attisdropped "
		"WHERE d.table_name" EQ "$1 AND d.definition OPERATOR(pg_catalog.!~) 'serial|GENERATED' "
		"ORDER BY d.ordinality";
	Columns		c;
	Datum		argument = CStringGetTextDatum(table);
	const char *postgis = at402_schema_name("postgis");

	initStringInfo(&c.names);
	initStringInfo(&c.values);
	initStringInfo(&c.types);
	initStringInfo(&c.changes);
	if (SPI_execute_with_args(sql, 1, (Oid[]) {TEXTOID}, &argument, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the columns of at402.%s", table);
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation \"at402.%s\" does not exist", table));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		const char *name = SPI_getvalue(tuple, desc, 1);
		bool		null;

		if (!DatumGetBool(SPI_getbinval(tuple, desc, 3, &null)))
		{
			if (!DatumGetBool(SPI_getbinval(tuple, desc, 4, &null)))
				ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("column \"%s\" of relation \"%s\" does not exist", name, table));
			continue;
		}
		if (!is_filled(table, name))
			continue;
		add(&c.names, "%s", name, "");
		if (strcmp(name, "geom") == 0)
		{
			add(&c.values, psprintf("%1$s.st_setsrid(%1$s.st_makepoint(r.longitude, r.latitude), "
									"4326) AS %%s", postgis), name, "");
			add(&c.types, "longitude pg_catalog.float8, latitude pg_catalog.float8", "", "");
		}
		else
		{
			add(&c.values, "r.%s", name, "");
			add(&c.types, "%s %s", name, qualified_type(SPI_getvalue(tuple, desc, 2)));
		}
		if (strcmp(table, "device_state") == 0 && strcmp(name, "device_id") != 0)
			add_change(&c, name);
	}
	return c;
}

/* INSERT INTO at402.table ... SELECT ... FROM the rows of the batch AS r */
static char *
insert_rows(const char *table, const Columns *c)
{
	return psprintf("INSERT INTO at402.%s%s (%s) SELECT %s "
					"FROM at402_internal.at402_batch_rows($1, '%s'::pg_catalog.text) AS r(%s)",
					table, strcmp(table, "device_state") == 0 ? " AS s" : "", c->names.data,
					c->values.data, table, c->types.data);
}

static char *
statement_text(const Definition *d)
{
	Columns		c;
	char	   *insert;

	if (d->pattern == AS_WRITTEN)
		return psprintf(d->table != NULL && at402_has_rules(d->table) ? d->with_rules : d->text,
						at402_schema_name("postgis"), at402_schema_name("at402"));
	if (d->pattern == INSERT_ROWS || d->pattern == INSERT_MISSING_ROWS)
	{
		c = read_columns(d->text);
		insert = insert_rows(d->text, &c);
		/* a rule that takes the place of the INSERT has nothing to return */
		if (at402_has_rules(d->text))
			return insert;
		return d->pattern == INSERT_ROWS ? psprintf("%s RETURNING 1", insert)
			: psprintf("WITH stored AS (%s ON CONFLICT DO NOTHING RETURNING 1) "
					   "SELECT 1 FROM stored", insert);
	}
	if (d->pattern == FIND_REPORTS)
		return psprintf("SELECT p.device_id, p.\"time\", p.seq, p.content_hash "
						"FROM at402_internal.at402_batch_rows($1, 'position'::pg_catalog.text) "
						"AS r(device_id pg_catalog.int4, \"time\" pg_catalog.timestamptz, "
						"seq pg_catalog.int2, content_hash pg_catalog.int4) "
						"JOIN at402.position AS p ON " SAME_KEY("p", "r"));
	if (d->pattern == INSERT_NEW_REPORTS || d->pattern == INSERT_REPORTS)
	{
		c = read_columns("position");
		insert = insert_rows("position", &c);
		if (d->pattern == INSERT_NEW_REPORTS)
			return psprintf("%s RETURNING " KEY, insert);
		return psprintf("WITH stored AS (%s ON CONFLICT (" KEY ") DO NOTHING RETURNING " KEY ") "
						"SELECT " KEY " FROM stored", insert);
	}

	c = read_columns("device_state");
	if (distributed)
		return psprintf("WITH stored AS (%s ON CONFLICT (device_id) DO UPDATE SET %s "
						"RETURNING 1) SELECT 1 FROM stored", insert_rows("device_state", &c),
						c.changes.data);
	return psprintf("UPDATE at402.device_state AS s SET %s WHERE s.device_id" EQ "ANY ($2) "
					"AND at402_internal.at402_state_change($1, s.device_id, s.\"time\", s.seq::smallint, "
					"s.content_hash, s.ignition, s.position_time, s.position_seq::smallint%s)",
					c.changes.data, d->pattern == UPDATE_STATE ? ""
					: psprintf(", %1$s.st_x(s.geom), %1$s.st_y(s.geom)", at402_schema_name("postgis")));
}

/* ---- the plans ---- */

SPIPlanPtr
at402_prepare(const char *sql, int arguments, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, arguments, types,
										  distributed ? 0 : CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare statement: %s", SPI_result_code_string(SPI_result));
	return plan;
}

void
at402_plan_by_keys(SPIPlanPtr plan)
{
	/* a bitmap would lock rows in the order in which they lie, not in that of their keys */
	static const char *const switches[] = {"enable_seqscan", "enable_bitmapscan",
		"enable_hashjoin", "enable_mergejoin", "jit"};
	int			level;
	CachedPlan *made;

	if (distributed)
		return;
	level = NewGUCNestLevel();
	for (int i = 0; i < lengthof(switches); i++)
		set_config_option(switches[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
						  false);
	made = SPI_plan_get_cached_plan(plan);
	if (made != NULL)
		ReleaseCachedPlan(made, CurrentResourceOwner);
	AtEOXact_GUC(true, level);
}

uint64
at402_run(At402Statement statement, Datum *args, const char *nulls)
{
	const Definition *d = &definitions[statement];
	int			level = NewGUCNestLevel();
	int			result;

	if (plans[statement] == NULL)
		plans[statement] = at402_prepare(statement_text(d), d->arguments, (Oid *) d->types);
	at402_plan_by_keys(plans[statement]);
	/* or the server's setting could put another plan in place of this one */
	set_config_option("plan_cache_mode", "auto", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
					  0, false);
	result = SPI_execute_plan(plans[statement], args, nulls, false, 0);
	AtEOXact_GUC(true, level);
	if (result < 0)
		elog(ERROR, "could not run statement: %s", SPI_result_code_string(result));
	return SPI_processed;
}

uint64
at402_run_batch(At402Batch *batch, At402Statement statement)
{
	return at402_run(statement, (Datum[]) {Int64GetDatum(batch->handle)}, NULL);
}
