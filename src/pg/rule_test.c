/*
 * rule_test.c - at402_test_rule: what a rule would have raised over history
 *
 * The rows of the span, and a day before it in which a run may have begun, are
 * judged in their order as they are live (rule_judge.c).  The code of the rule
 * runs with the caller's rights, and restricted like live: it cannot write, and
 * nothing that it does lasts.  A rule of somebody else may only call functions of
 * superusers or of the caller's own: else its owner could have them run by whoever
 * tries it.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/rule_judge.h"
#include "pg/statements.h"

PG_FUNCTION_INFO_V1(at402_test_rule_rows);
PG_FUNCTION_INFO_V1(at402_test_condition_rows);

typedef struct Test
{
	At402Rule	rule;
	TimestampTz since;			/* of the alerts that are shown */
	TimestampTz until;
	At402Judge	judge;
	At402Row	last;			/* row that was judged; its device is 0 before the first */
	List	   *found;			/* of At402Alert */
} Test;

/* ---- judging ---- */

static void
begin_sequence(Test *t)
{
	t->judge = (At402Judge) {.rule = &t->rule, .oldest = DT_NOBEGIN};
}

static bool
is_shown(const Test *t, const At402Alert *a)
{
	return !a->dropped && a->key.time >= t->since && a->key.time < t->until;
}

static void
end_sequence(Test *t)
{
	at402_judge_end(&t->judge);
	t->found = list_concat(t->found, t->judge.alerts);
}

/* Those before the span count for the cooldown. */
static void
keep_shown(Test *t)
{
	List	   *shown = NIL;
	ListCell   *lc;

	if (t->rule.cooldown != NULL)
		at402_cool(t->found, NIL);
	foreach(lc, t->found)
		if (is_shown(t, lfirst(lc)))
			shown = lappend(shown, lfirst(lc));
	t->found = shown;
}

static bool
take(void *argument, const At402Row *row, const Datum *values, const bool *nulls)
{
	Test	   *t = argument;
	bool		satisfies = !nulls[0] && DatumGetBool(values[0]);
	At402Row	judged = *row;

	if (t->last.key.device_id != row->key.device_id || strcmp(t->last.part, row->part) != 0)
	{
		end_sequence(t);
		begin_sequence(t);
	}
	t->last = *row;
	if (satisfies && t->rule.expression != NULL && !nulls[1])
		judged.message = TextDatumGetCString(values[1]);
	at402_judge(&t->judge, &judged, satisfies);
	return true;
}

/* The first row after an alert that does not satisfy the condition. */
static bool
take_end(void *argument, const At402Row *row, const Datum *values, const bool *nulls)
{
	At402Alert *a = argument;

	if (at402_compare_keys(&row->key, &a->key) <= 0 || (!nulls[0] && DatumGetBool(values[0])))
		return true;
	a->has_end = true;
	a->ended_at = row->key.time;
	return false;
}

/* ---- reading ---- */

static void
read_as_caller(At402Reading *r)
{
	r->unlimited = true;
	if (at402_rules_read(r) != NULL)
		ReThrowError(r->error);
}

static TimestampTz
before(TimestampTz time, const Interval *interval)
{
	if (interval == NULL || TIMESTAMP_NOT_FINITE(time))
		return time;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
												   TimestampTzGetDatum(time),
												   IntervalPGetDatum(interval)));
}

static void
read_span(Test *t)
{
	SPIPlanPtr	plan = NULL;
	At402Reading r = {.source = t->rule.source, .look = AT402_LOOK_SPAN, .uses = &t->rule.uses,
		.expressions = list_make1((char *) t->rule.condition), .plan = &plan, .take = take,
		.argument = t};
	TimestampTz from = before(before(t->since, t->rule.cooldown), t->rule.min_duration);

	if (t->rule.expression != NULL)
		r.expressions = lappend(r.expressions, (char *) t->rule.expression);
	r.args[0] = TimestampTzGetDatum(TIMESTAMP_NOT_FINITE(from) ? from : from - USECS_PER_DAY);
	r.args[1] = TimestampTzGetDatum(t->until);
	t->last.part = "";
	begin_sequence(t);
	read_as_caller(&r);
	end_sequence(t);
	keep_shown(t);
	at402_rule_replan(&plan);
}

/* What began in the span may have ended behind it. */
static void
read_ends(Test *t)
{
	SPIPlanPtr	plan = NULL;
	ListCell   *lc;

	foreach(lc, t->found)
	{
		At402Alert *a = lfirst(lc);
		At402Reading r = {.source = t->rule.source, .look = AT402_LOOK_ON, .uses = &t->rule.uses,
			.expressions = list_make1((char *) t->rule.condition), .plan = &plan,
			.take = take_end, .argument = a,
			.args = {Int32GetDatum(a->key.device_id), TimestampTzGetDatum(a->key.time),
				TimestampTzGetDatum(DT_NOEND), CStringGetTextDatum(a->part)}};

		if (!a->has_end)
			read_as_caller(&r);
	}
	at402_rule_replan(&plan);
}

static void
return_alerts(const Test *t, ReturnSetInfo *result)
{
	ListCell   *lc;

	foreach(lc, t->found)
	{
		const At402Alert *a = lfirst(lc);
		const char *message = a->message != NULL ? a->message
			: t->rule.message != NULL ? t->rule.message : t->rule.name;
		Datum		values[] = {Int32GetDatum(a->key.device_id), TimestampTzGetDatum(a->key.time),
			Int16GetDatum(a->key.seq), Int32GetDatum(a->key.content_hash), Int16GetDatum(a->n),
			CStringGetTextDatum(a->part), TimestampTzGetDatum(a->since),
			TimestampTzGetDatum(a->ended_at), (Datum) 0};
		bool		nulls[lengthof(values)] = {[7] = !a->has_end, [8] = message == NULL};

		if (message != NULL)
			values[8] = CStringGetTextDatum(message);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

static void
run(Test *t, FunctionCallInfo fcinfo, int span)
{
	at402_statements_refresh();
	InitMaterializedSRF(fcinfo, 0);
	t->since = PG_GETARG_TIMESTAMPTZ(span);
	t->until = PG_GETARG_TIMESTAMPTZ(span + 1);
	if (!at402_rule_source_has_b(t->rule.source))
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("a rule of source state cannot be tested over history"),
				errdetail("It looks at what is now; what was is not kept."));
	read_span(t);
	if (t->rule.source->runs)
		read_ends(t);
	return_alerts(t, (ReturnSetInfo *) fcinfo->resultinfo);
}

/* ---- in SQL ---- */

/* at402_test_rule(rule, since, until), without geom: of at402.rule, enabled or not */
Datum
at402_test_rule_rows(PG_FUNCTION_ARGS)
{
	Test		t = {0};
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (!at402_rule_find(name, &t.rule))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("rule \"%s\" does not exist", name));
	at402_rule_check_trust(&t.rule);
	run(&t, fcinfo, 1);
	return (Datum) 0;
}

/* at402_test_rule(source, condition, since, until), without geom */
Datum
at402_test_condition_rows(PG_FUNCTION_ARGS)
{
	Test		t = {0};
	At402Checked c = at402_rule_checked(text_to_cstring(PG_GETARG_TEXT_PP(0)),
										text_to_cstring(PG_GETARG_TEXT_PP(1)), NULL, GetUserId());

	t.rule.source = c.source;
	t.rule.condition = c.condition;
	t.rule.uses = c.uses;
	run(&t, fcinfo, 2);
	return (Datum) 0;
}
