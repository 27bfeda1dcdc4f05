/*
 * rule_check.c - a rule is checked when it is written
 *
 * A condition is code that runs later, elsewhere, with its owner's rights.  So
 * everything that can be known when it is written, is: it must be one boolean
 * expression over r, p, d and b, and its owner must have the rights that it
 * needs.  It is parsed as the WHERE of a SELECT, which forbids aggregates and
 * sets, and is put there as a tree: no text can leave its place.  Names are
 * resolved under the search_path of the writer, and it is kept with all names
 * qualified and all casts spelled out, so that it means the same under any
 * other; a function of the same name that somebody makes later is not taken.
 *
 * Nothing of a user's is run here.  The planner would evaluate functions that
 * are called immutable; so it is shown parameters in their place.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "pg/rule_set.h"
#include "pg/settings.h"

#define LONGEST_YEARS 10		/* of min_duration and cooldown */

PG_FUNCTION_INFO_V1(at402_rule_check);

/* ---- parsing ---- */

/* A position is that in this text, not in the statement that brought it. */
static void
point_into(void *text)
{
	int			position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	internalerrposition(position);
	internalerrquery(text);
}

static void
begin_pointing(ErrorContextCallback *callback, const char *text)
{
	callback->previous = error_context_stack;
	callback->callback = point_into;
	callback->arg = (void *) text;
	error_context_stack = callback;
}

static void
raise_not_one_expression(void)
{
	ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
			errmsg("the condition of a rule is one boolean expression"),
			errhint("For example: r.speed_kmh > 90 AND p.ignition"));
}

/* The * of SELECT *, which is no expression. */
static bool
is_star(const Node *node)
{
	return IsA(node, ColumnRef) && IsA(linitial(((const ColumnRef *) node)->fields), A_Star);
}

static Node *
parse_expression(const char *condition)
{
	SelectStmt *s = (SelectStmt *) linitial_node(RawStmt, raw_parser(condition,
												 RAW_PARSE_PLPGSQL_EXPR))->stmt;
	ResTarget  *target;

	if (list_length(s->targetList) != 1 || s->distinctClause || s->fromClause || s->whereClause ||
		s->groupClause || s->havingClause || s->windowClause || s->sortClause || s->limitOffset ||
		s->limitCount || s->lockingClause)
		raise_not_one_expression();
	target = linitial_node(ResTarget, s->targetList);
	if (target->name != NULL || is_star(target->val))
		raise_not_one_expression();
	return target->val;
}

/* The condition where it belongs, as the current user's names have it. */
static Query *
analyse(const At402Source *source, const char *condition)
{
	Node	   *expression = parse_expression(condition);
	char	   *frame = psprintf("SELECT FROM at402.%s AS r, at402.position AS p, at402.device AS d",
								 source->table);
	RawStmt    *raw;

	if (at402_rule_source_has_b(source))
		frame = psprintf("%s, (SELECT * FROM at402.%s) AS b", frame, source->table);
	raw = linitial_node(RawStmt, raw_parser(frame, RAW_PARSE_DEFAULT));
	((SelectStmt *) raw->stmt)->whereClause = expression;
	return parse_analyze_fixedparams(raw, condition, NULL, 0, NULL);
}

/* ---- what it uses ---- */

enum
{
	R = 1, P, D, B				/* in the FROM above */
};

typedef struct Search
{
	Query	   *query;
	int			depth;
	At402Uses  *uses;
} Search;

static void
note_use(Search *s, const Var *var)
{
	RangeTblEntry *b = list_length(s->query->rtable) >= B ? rt_fetch(B, s->query->rtable) : NULL;

	if (var->varno == P)
		s->uses->p = true;
	else if (var->varno == D)
		s->uses->d = true;
	else if (var->varno == B && var->varattno == InvalidAttrNumber)
		at402_uses_add(s->uses, "b.*");
	else if (var->varno == B)
		at402_uses_add(s->uses, psprintf("b.%s", strVal(list_nth(b->eref->colnames,
																 var->varattno - 1))));
}

static bool
find_uses(Node *node, Search *s)
{
	bool		result;

	if (node == NULL)
		return false;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == s->depth)
		note_use(s, (Var *) node);
	if (!IsA(node, Query))
		return expression_tree_walker(node, find_uses, s);
	s->depth++;
	result = query_tree_walker((Query *) node, find_uses, s, 0);
	s->depth--;
	return result;
}

/* ---- what it calls ---- */

typedef struct Caller
{
	Oid			role;
	Node	   *node;			/* that calls */
} Caller;

static bool
check_function(Oid function, void *argument)
{
	Caller	   *caller = argument;
	int			location = exprLocation(caller->node);

	if (pg_proc_aclcheck(function, caller->role, ACL_EXECUTE) != ACLCHECK_OK)
		ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied for function %s", get_func_name(function)),
				location >= 0 ? errposition(location + 1) : 0);
	return false;
}

static bool
check_calls(Node *node, Caller *caller)
{
	if (node == NULL)
		return false;
	caller->node = node;
	check_functions_in_node(node, check_function, caller);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_calls, caller, 0);
	return expression_tree_walker(node, check_calls, caller);
}

/* ---- as it is kept ---- */

/*
 * Qualified for a path of pg_catalog alone.  What is temporary belongs to this
 * session, and elsewhere its schema may be somebody else's.
 */
static char *
qualify(const At402Source *source, Query *query)
{
	PlannedStmt *frame = makeNode(PlannedStmt);
	OverrideSearchPath path = {.schemas = list_make1_oid(PG_CATALOG_NAMESPACE)};
	/* the position of a position is itself */
	char	   *p = strcmp(source->table, "position") == 0 ? "r" : "p";
	int			level = NewGUCNestLevel();
	char	   *text;

	frame->rtable = query->rtable;
	at402_rule_settings();
	PushOverrideSearchPath(&path);
	text = deparse_expression(query->jointree->quals,
							  deparse_context_for_plan_tree(frame, list_make4("r", p, "d", "b")),
							  true, true);
	PopOverrideSearchPath();
	AtEOXact_GUC(true, level);
	if (strstr(text, "pg_temp") != NULL)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("a rule cannot use what is temporary"),
				errdetail("It runs in other sessions."));
	return text;
}

/* ---- the message ---- */

/* The row that a name between braces is found in; NULL: in none. */
static const char *
find_column(const At402Source *source, const char *name, const char **column)
{
	const char *const rows[] = {"r", "p", "d"};
	const char *const tables[] = {source->table, "position", "device"};
	bool		named = name[0] != '\0' && name[1] == '.';

	*column = named ? name + 2 : name;
	for (int i = 0; i < lengthof(rows); i++)
	{
		Oid			table = get_relname_relid(tables[i], get_namespace_oid("at402", false));

		if ((!named || name[0] == rows[i][0]) && get_attnum(table, *column) > 0)
			return rows[i];
	}
	return NULL;
}

static void
raise_unknown_name(const At402Source *source, const char *name)
{
	ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
			errmsg("column \"%s\" of the message does not exist", name),
			errdetail("It is looked up in r (at402.%s), p (at402.position) and d (at402.device).",
					  source->table),
			errhint("Write {column} or {d.column}; {{ and }} stand for { and }."));
}

/* Appends the text that was gathered, as an argument of concat(). */
static void
end_text(StringInfo expression, StringInfo text)
{
	if (text->len > 0)
		appendStringInfo(expression, ", %s", quote_literal_cstr(text->data));
	resetStringInfo(text);
}

/* A name between braces, as an argument of concat().  Returns what is behind it. */
static const char *
add_name(StringInfo expression, const At402Source *source, const char *name, At402Uses *uses)
{
	const char *end = strchr(name, '}');
	const char *column;
	const char *row;
	char	   *copy;

	if (end == NULL)
		raise_unknown_name(source, name);
	copy = pnstrdup(name, end - name);
	row = find_column(source, copy, &column);
	if (row == NULL)
		raise_unknown_name(source, copy);
	if (row[0] == 'p' && strcmp(source->table, "position") == 0)
		row = "r";
	at402_uses_add(uses, row);
	appendStringInfo(expression, ", %s.%s", row, quote_identifier(column));
	return end + 1;
}

/* A template as an SQL expression; NULL where it names no column. */
static char *
read_message(const At402Source *source, const char *message, At402Uses *uses)
{
	StringInfoData expression;
	StringInfoData text;
	bool		constant = true;

	if (message == NULL)
		return NULL;
	initStringInfo(&expression);
	initStringInfo(&text);
	for (const char *at = message; *at != '\0';)
	{
		if ((at[0] == '{' || at[0] == '}') && at[1] == at[0])
		{
			appendStringInfoChar(&text, at[0]);
			constant = false;
			at += 2;
		}
		else if (at[0] == '{')
		{
			end_text(&expression, &text);
			at = add_name(&expression, source, at + 1, uses);
			constant = false;
		}
		else
			appendStringInfoChar(&text, *at++);
	}
	end_text(&expression, &text);
	return constant ? NULL : psprintf("concat(%s)", expression.data + 2);
}

/* ---- the statements that it will be part of ---- */

static bool
is_users(Oid function, void *unused)
{
	return function >= FirstNormalObjectId;
}

/* What calls a function of a user becomes a parameter of its type. */
static Node *
hide_calls(Node *node, void *unused)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, hide_calls, NULL, 0);
	if (!IsA(node, Aggref) && !IsA(node, WindowFunc) && check_functions_in_node(node, is_users, NULL))
	{
		Param	   *param = makeNode(Param);

		param->paramkind = PARAM_EXTERN;
		param->paramid = 1;
		param->paramtype = exprType(node);
		param->paramtypmod = exprTypmod(node);
		param->paramcollid = exprCollation(node);
		return (Node *) param;
	}
	return expression_tree_mutator(node, hide_calls, NULL);
}

/* It can be planned, and the current user may read what it reads. */
static void
check_statement(const At402Source *source, At402Look look, const At402Uses *uses,
				List *expressions)
{
	char	   *sql = at402_rule_statement(source, look, uses, expressions);
	Oid			arrays[] = {INT4ARRAYOID, TIMESTAMPTZARRAYOID, INT2ARRAYOID, INT4ARRAYOID};
	Oid			values[] = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID};
	ErrorContextCallback callback;
	RawStmt    *raw;
	Query	   *query;
	PlannedStmt *plan;

	begin_pointing(&callback, sql);
	raw = linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT));
	query = linitial_node(Query, pg_analyze_and_rewrite_fixedparams(
		raw, sql, look == AT402_LOOK_KEYS ? arrays : values, AT402_LOOK_ARGUMENTS, NULL));
	plan = pg_plan_query((Query *) hide_calls((Node *) query, NULL), sql, CURSOR_OPT_GENERIC_PLAN,
						 NULL);
	ExecCheckRTPerms(plan->rtable, true);
	error_context_stack = callback.previous;
}

static void
check_statements(const At402Checked *c, Oid run_as)
{
	List	   *expressions = list_make1(c->condition);
	int			level = NewGUCNestLevel();
	Oid			user;
	int			context;

	if (c->message != NULL)
		expressions = lappend(expressions, c->message);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(run_as, context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	at402_rule_settings();
	PushActiveSnapshot(GetTransactionSnapshot());
	check_statement(c->source, AT402_LOOK_KEYS, &c->uses, expressions);
	if (c->source->runs && at402_rule_source_has_b(c->source))
		check_statement(c->source, AT402_LOOK_BACK, &c->uses, list_make1(c->condition));
	PopActiveSnapshot();
	AtEOXact_GUC(true, level);
	SetUserIdAndSecContext(user, context);
}

At402Checked
at402_rule_checked(const char *source, const char *condition, const char *message, Oid run_as)
{
	At402Checked c = {.source = at402_rule_source(source)};
	Search		search = {.uses = &c.uses};
	Caller		caller = {.role = run_as};
	ErrorContextCallback callback;

	if (c.source == NULL)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("invalid source of a rule: \"%s\"", source),
				errhint("Sources are position, event, io, can, ble, motion, trip and state."));
	begin_pointing(&callback, condition);
	search.query = analyse(c.source, condition);
	find_uses(search.query->jointree->quals, &search);
	check_calls(search.query->jointree->quals, &caller);
	error_context_stack = callback.previous;
	if (strcmp(c.source->table, "position") == 0)
		c.uses.p = false;
	c.condition = qualify(c.source, search.query);
	c.message = read_message(c.source, message, &c.uses);
	check_statements(&c, run_as);
	return c;
}

/* ---- trust ---- */

static bool
is_trusted(Oid owner)
{
	return superuser_arg(owner) || owner == GetUserId();
}

static void
raise_distrust(const char *kind, const char *name)
{
	ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("the rule calls %s %s, which would run with your rights", kind, name),
			errdetail("It belongs neither to you nor to a superuser."));
}

static bool
check_owner(Oid function, void *unused)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	if (!is_trusted(owner))
		raise_distrust("function", get_func_name(function));
	return false;
}

/* The constraints of a domain call what its owner likes. */
static void
check_domain(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type);
	owner = ((Form_pg_type) GETSTRUCT(tuple))->typowner;
	ReleaseSysCache(tuple);
	if (!is_trusted(owner))
		raise_distrust("domain", format_type_be(type));
}

static bool
check_owners(Node *node, void *unused)
{
	if (node == NULL)
		return false;
	check_functions_in_node(node, check_owner, NULL);
	if (IsA(node, CoerceToDomain))
		check_domain(((CoerceToDomain *) node)->resulttype);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_owners, NULL, 0);
	return expression_tree_walker(node, check_owners, NULL);
}

void
at402_rule_check_trust(const At402Rule *rule)
{
	List	   *expressions = list_make1((char *) rule->condition);
	int			level = NewGUCNestLevel();
	char	   *sql;
	Oid			types[] = {INT4ARRAYOID, TIMESTAMPTZARRAYOID, INT2ARRAYOID, INT4ARRAYOID};
	Oid			owner = get_role_oid(rule->owner, true);

	at402_rule_settings();
	if (OidIsValid(owner) && !is_trusted(owner))
	{
		sql = at402_rule_statement(rule->source, AT402_LOOK_KEYS, &rule->uses, expressions);
		/* with what stands behind views and policies */
		check_owners(linitial(pg_analyze_and_rewrite_fixedparams(
			linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT)), sql, types,
			AT402_LOOK_ARGUMENTS, NULL)), NULL);
	}
	AtEOXact_GUC(true, level);
}

/* ---- the trigger ---- */

/* The row that is written, while the trigger sees to it. */
typedef struct Written
{
	TupleDesc	desc;
	HeapTuple	old;			/* NULL: INSERT */
	HeapTuple	row;
} Written;

static char *
get(const Written *w, const char *column)
{
	return SPI_getvalue(w->row, w->desc, SPI_fnumber(w->desc, column));
}

static void
set(Written *w, const char *column, Datum value, bool null)
{
	int			number = SPI_fnumber(w->desc, column);

	w->row = heap_modify_tuple_by_cols(w->row, w->desc, 1, &number, &value, &null);
}

static void
set_text(Written *w, const char *column, const char *value)
{
	set(w, column, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL);
}

/* As it was before. */
static void
keep(Written *w, const char *column)
{
	bool		null;
	Datum		value = SPI_getbinval(w->old, w->desc, SPI_fnumber(w->desc, column), &null);

	set(w, column, value, null);
}

static bool
is_changed(const Written *w, const char *column)
{
	int			number = SPI_fnumber(w->desc, column);
	char	   *before = SPI_getvalue(w->old, w->desc, number);
	char	   *now = SPI_getvalue(w->row, w->desc, number);

	return before == NULL || now == NULL ? before != now : strcmp(before, now) != 0;
}

static bool
is_any_changed(const Written *w, const char *const *columns, int count)
{
	for (int i = 0; i < count; i++)
		if (is_changed(w, columns[i]))
			return true;
	return false;
}

/* A time of a report has to stay one when this is added or taken off. */
static void
check_interval(const Written *w, const char *column)
{
	char	   *value = get(w, column);
	Interval	longest = {.month = LONGEST_YEARS * MONTHS_PER_YEAR};
	Datum		given;
	Interval   *interval;

	if (value == NULL)
		return;
	given = DirectFunctionCall3(interval_in, CStringGetDatum(value), ObjectIdGetDatum(InvalidOid),
								Int32GetDatum(-1));
	interval = DatumGetIntervalP(given);
	if (interval->month < 0 || interval->day < 0 || interval->time < 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s of a rule cannot be negative: \"%s\"", column, value));
	if (DatumGetBool(DirectFunctionCall2(interval_gt, given, IntervalPGetDatum(&longest))))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s of a rule is out of range: \"%s\"", column, value),
				errhint("It is at most %d years.", LONGEST_YEARS));
}

static Oid
checked_run_as(void)
{
	Oid			owner = GetUserId();
	Oid			run_as = at402_rule_run_as(owner);

	if (!OidIsValid(run_as))
	{
		char	   *owner_name = GetUserNameFromId(owner, false);
		char	   *worker = GetUserNameFromId(at402_rule_worker(), false);

		ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("rules of \"%s\" cannot be run", owner_name),
				errdetail("A rule runs with the rights of its owner, and \"%s\" is no member of "
						  "\"%s\".", worker, owner_name),
				errhint("Execute: GRANT %s TO %s;", quote_identifier(owner_name),
						quote_identifier(worker)));
	}
	return run_as;
}

static Datum
words_datum(List *words)
{
	Datum	   *elements = palloc(sizeof(Datum) * (list_length(words) + 1));
	int			count = 0;
	ListCell   *lc;

	foreach(lc, words)
		elements[count++] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The rule says something new: whoever wrote it is its owner. */
static void
check_rule(Written *w)
{
	char	   *source = get(w, "source");
	char	   *condition = get(w, "condition");
	At402Checked c;

	if (source == NULL || condition == NULL)
		return;					/* the constraint speaks */
	c = at402_rule_checked(source, condition, get(w, "message"), checked_run_as());
	check_interval(w, "min_duration");
	if (get(w, "min_duration") != NULL && !c.source->runs)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a rule of source %s has no min_duration", source),
				errdetail("Each row that satisfies its condition is an alert."));
	set(w, "owner", DirectFunctionCall1(namein, CStringGetDatum(GetUserNameFromId(GetUserId(),
																				  false))), false);
	set_text(w, "checked_condition", c.condition);
	set_text(w, "checked_message", c.message);
	set(w, "uses", words_datum(at402_uses_words(&c.uses)), false);
}

/* It begins anew: what it found before says nothing. */
static void
restart_rule(Written *w)
{
	bool		null = true;
	Datum		version = (Datum) 0;

	if (w->old != NULL)
		version = SPI_getbinval(w->old, w->desc, SPI_fnumber(w->desc, "version"), &null);
	set(w, "version", Int32GetDatum(null ? 1 : DatumGetInt32(version) + 1), false);
	set(w, "failures", Int32GetDatum(0), false);
	set_text(w, "last_error", NULL);
}

static void
write_rule(Written *w)
{
	static const char *const said[] = {"source", "condition", "message", "min_duration"};
	static const char *const set_by_us[] = {"owner", "checked_condition", "checked_message",
		"uses", "version"};
	bool		rewritten = w->old == NULL || is_any_changed(w, said, lengthof(said));

	for (int i = 0; i < lengthof(set_by_us) && w->old != NULL; i++)
		keep(w, set_by_us[i]);
	if (rewritten)
		check_rule(w);
	check_interval(w, "cooldown");
	if (rewritten || (is_changed(w, "enabled") && strcmp(get(w, "enabled"), "t") == 0))
		restart_rule(w);
}

/* The listeners read their rules anew when the table is said to have changed. */
static bool
concerns_listeners(const Written *w)
{
	static const char *const columns[] = {"id", "name", "source", "condition", "min_duration",
		"cooldown", "level", "message", "channels", "enabled", "version"};

	return w->old == NULL || is_any_changed(w, columns, lengthof(columns));
}

/*
 * Trigger before INSERT, UPDATE and DELETE of a row of at402.rule, and after
 * TRUNCATE.
 */
Datum
at402_rule_check(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	Written		w;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("at402_rule_check() is a trigger of at402.rule"));
	if (!TRIGGER_FIRED_FOR_ROW(data->tg_event) || TRIGGER_FIRED_BY_DELETE(data->tg_event))
	{
		CacheInvalidateRelcache(data->tg_relation);
		PG_RETURN_POINTER(data->tg_trigtuple);
	}
	w.desc = RelationGetDescr(data->tg_relation);
	w.old = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_trigtuple : NULL;
	w.row = w.old != NULL ? data->tg_newtuple : data->tg_trigtuple;
	write_rule(&w);
	if (concerns_listeners(&w))
		CacheInvalidateRelcache(data->tg_relation);
	PG_RETURN_POINTER(w.row);
}
