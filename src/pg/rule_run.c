/*
 * rule_run.c - the rules look at the rows of a batch
 *
 * Each group is one statement over the rows that are new, read back by their keys
 * as the owner may see them.  A rule that fails loses the batch and nothing else.
 *
 * For runs it has to be known what was before.  at402.rule_run has a row for each
 * run that is on, so where the reports of a device come in order, the new rows and
 * that row are enough.  Else (a row that begins a run, rows that come late, a rule
 * that has changed or lost a batch) the window around them is looked at: back to
 * the last row that does not satisfy the condition, a day at the most, and on to
 * the first that was judged before and does not.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/owner.h"
#include "pg/rule_batch.h"
#include "pg/settings.h"
#include "pg/statements.h"

/* ---- the rows ---- */

typedef struct Row
{
	At402Row	row;
	bool		is_new;			/* else it was there, and a new row came before it */
	bool	   *satisfies;		/* the conditions of the result's rules */
} Row;

/* What a statement found. */
typedef struct Found
{
	List	   *rules;			/* of At402Rule */
	bool	   *due;			/* of them; NULL: all */
	bool		is_new;			/* of the rows that come */
	Row		   *rows;
	int			count;
	int			size;
} Found;

static bool
take_row(void *argument, const At402Row *row, const Datum *values, const bool *nulls)
{
	Found	   *result = argument;
	Row		   *r;

	if (result->count == result->size)
	{
		result->size = Max(result->size * 2, 64);
		result->rows = result->rows == NULL
			? palloc(sizeof(Row) * result->size)
			: repalloc_huge(result->rows, sizeof(Row) * result->size);
	}
	r = &result->rows[result->count++];
	r->row = *row;
	r->is_new = result->is_new;
	r->satisfies = palloc(sizeof(bool) * list_length(result->rules));
	for (int i = 0; i < list_length(result->rules); i++)
		r->satisfies[i] = !nulls[i] && DatumGetBool(values[i]);
	return true;
}

static int
compare_rows(const void *a, const void *b)
{
	const Row  *x = a;
	const Row  *y = b;
	int			order;

	if (x->row.key.device_id != y->row.key.device_id)
		return x->row.key.device_id < y->row.key.device_id ? -1 : 1;
	if ((order = strcmp(x->row.part, y->row.part)) != 0 ||
		(order = at402_compare_keys(&x->row.key, &y->row.key)) != 0)
		return order;
	if (x->row.n != y->row.n)
		return x->row.n < y->row.n ? -1 : 1;
	return y->is_new - x->is_new;	/* a new row may be another one's next as well */
}

/* In the order in which they are judged, each once. */
static void
sort_rows(Found *result)
{
	int			kept = 0;

	qsort(result->rows, result->count, sizeof(Row), compare_rows);
	for (int i = 0; i < result->count; i++)
	{
		const Row  *last = kept > 0 ? &result->rows[kept - 1] : NULL;
		const Row  *row = &result->rows[i];

		if (last == NULL || at402_compare_keys(&last->row.key, &row->row.key) != 0 ||
			last->row.n != row->row.n)
			result->rows[kept++] = *row;
	}
	result->count = kept;
}

/* ---- evaluating ---- */

static List *
conditions_of(List *rules)
{
	List	   *conditions = NIL;
	ListCell   *lc;

	foreach(lc, rules)
		conditions = lappend(conditions, (char *) ((At402Rule *) lfirst(lc))->condition);
	return conditions;
}

/* Are rows to be judged again that come after late ones? */
static bool
looks_next(const At402RuleBatch *b, const At402Uses *uses)
{
	return uses->b && b->behind != NIL;
}

/* The new rows, and those after late ones where b may have changed. */
static const char *
read_result(At402RuleBatch *b, At402Reading *r, Found *result, SPIPlanPtr *plan,
			SPIPlanPtr *next_plan)
{
	const char *why;

	memcpy(r->args, b->keys, sizeof(r->args));
	r->take = take_row;
	r->argument = result;
	r->due = result->due;
	r->look = AT402_LOOK_KEYS;
	r->plan = plan;
	result->is_new = true;
	result->count = 0;
	why = at402_rules_read(r);
	if (why == NULL && looks_next(b, r->uses))
	{
		r->look = AT402_LOOK_NEXT;
		r->plan = next_plan;
		result->is_new = false;
		why = at402_rules_read(r);
	}
	if (why == NULL)
		sort_rows(result);
	return why;
}

static List *
evaluate_alone(At402RuleBatch *b, At402RuleGroup *g, At402Rule *rule)
{
	Found	   *result = palloc0(sizeof(Found));
	At402Reading reading = {.source = g->source, .owner = g->owner, .uses = &rule->uses};
	SPIPlanPtr	plan = NULL;
	SPIPlanPtr	next_plan = NULL;
	const char *why;

	result->rules = reading.rules = list_make1(rule);
	reading.expressions = conditions_of(reading.rules);
	why = read_result(b, &reading, result, &plan, &next_plan);
	at402_rule_replan(&plan);
	at402_rule_replan(&next_plan);
	if (why == NULL)
		return list_make1(result);
	at402_rule_fails(b, rule, why);
	return NIL;
}

/*
 * All rules of the group.  One that raises is left out and the others are done
 * again; where nobody knows which it was, or all together took too long, each is
 * tried alone.  Returns the results.
 */
static List *
evaluate(At402RuleBatch *b, At402RuleGroup *g)
{
	Found	   *result = palloc0(sizeof(Found));
	At402Reading reading = {.source = g->source, .owner = g->owner, .uses = &g->uses,
		.rules = g->rules, .expressions = conditions_of(g->rules)};
	List	   *results = NIL;
	ListCell   *lc;
	const char *why;

	result->rules = g->rules;
	result->due = palloc(sizeof(bool) * list_length(g->rules));
	memset(result->due, true, sizeof(bool) * list_length(g->rules));
	while ((why = read_result(b, &reading, result, &g->plan, &g->next_plan)) != NULL &&
		   reading.culprit >= 0 && !reading.timed_out)
	{
		at402_rule_fails(b, list_nth(g->rules, reading.culprit), why);
		result->due[reading.culprit] = false;
	}
	if (why == NULL)
		return list_make1(result);
	at402_rule_replan(&g->plan);
	at402_rule_replan(&g->next_plan);
	foreach(lc, g->rules)
		if (!at402_rule_has_failed(b, lfirst(lc)))
			results = list_concat(results, evaluate_alone(b, g, lfirst(lc)));
	return results;
}

/* ---- judging ---- */

/* Of the rule that is being judged. */
typedef struct Judging
{
	At402RuleBatch *b;
	At402Rule  *rule;
	const Found *found;
	List	   *former;			/* of At402Alert; where the rule has a cooldown */
	bool		has_former;
	List	   *late_alerts;	/* of At402Alert: of devices that are behind */
} Judging;

static At402Judge
new_judge(Judging *g)
{
	return (At402Judge) {.rule = g->rule, .oldest = g->b->oldest};
}

/* Alerts that began or ended; existing ones as they were are left alone. */
static void
keep_alerts(Judging *g, const At402Judge *j)
{
	ListCell   *lc;

	foreach(lc, j->alerts)
	{
		At402Alert *a = lfirst(lc);

		if (a->is_new || a->end_found)
			g->b->alerts = lappend(g->b->alerts, a);
	}
}

/* How the last row leaves the run. */
static void
keep_run(Judging *g, const At402Judge *j, int device_id, const char *part)
{
	At402Run   *run = at402_run_of(g->b, g->rule->id, device_id, part, j->on);
	bool		has_alert = j->raised != NULL;

	if (run == NULL)
		return;
	if (run->on == j->on && run->version == g->rule->version && run->since == j->since &&
		run->decided == j->decided && run->has_alert == has_alert &&
		(!has_alert || at402_compare_keys(&j->raised->key, &run->alert) == 0))
		return;
	if (run->rule == NULL)
		g->b->changed_runs = lappend(g->b->changed_runs, run);
	run->rule = g->rule;
	run->on = j->on;
	run->version = g->rule->version;
	run->since = j->since;
	run->decided = j->decided;
	run->has_alert = has_alert;
	if (!has_alert)
		return;
	run->alert = j->raised->key;
	run->alert_n = j->raised->n;
}

static At402Alert *
alert_of_run(const Judging *g, const At402Run *run)
{
	At402Alert *a = palloc0(sizeof(At402Alert));

	a->rule = g->rule;
	a->key = run->alert;
	a->n = run->alert_n;
	a->part = run->part;
	return a;
}

/* As the run stands in the table. */
static void
begin_with_run(At402Judge *j, const Judging *g, const At402Run *run)
{
	j->on = true;
	j->since = run->since;
	j->decided = run->decided;
	if (!run->has_alert)
		return;
	j->raised = alert_of_run(g, run);
	j->alerts = lappend(j->alerts, j->raised);
}

/* ---- the window around rows ---- */

typedef struct Window
{
	At402Key	first;			/* of the rows that it is for */
	At402Key	last;
	List	   *before;			/* of At402Row, the last first */
	List	   *rows;			/* of At402Row, from first on */
	List	   *satisfied;		/* bool: do they? */
	bool		begins;			/* a row before them does not */
	bool		ends;			/* a row after them does not */
} Window;

static At402Row *
copy_row(const At402Row *row)
{
	At402Row   *copy = palloc(sizeof(At402Row));

	*copy = *row;
	return copy;
}

static bool
take_back(void *argument, const At402Row *row, const Datum *values, const bool *nulls)
{
	Window	   *w = argument;

	if (at402_compare_keys(&row->key, &w->first) >= 0)
		return true;			/* of the same time */
	w->before = lappend(w->before, copy_row(row));
	w->begins = nulls[0] || !DatumGetBool(values[0]);
	return !w->begins;
}

static bool
take_on(void *argument, const At402Row *row, const Datum *values, const bool *nulls)
{
	Window	   *w = argument;
	bool		satisfies = !nulls[0] && DatumGetBool(values[0]);

	if (at402_compare_keys(&row->key, &w->first) < 0)
		return true;
	w->rows = lappend(w->rows, copy_row(row));
	w->satisfied = lappend_int(w->satisfied, satisfies);
	w->ends = !satisfies && at402_compare_keys(&row->key, &w->last) > 0;
	return !w->ends;
}

/* False: the rule has failed. */
static bool
read_window(Judging *g, Window *w, const char *part)
{
	At402Reading r = {.source = g->rule->source, .owner = g->rule->owner, .uses = &g->rule->uses,
		.look = AT402_LOOK_BACK, .plan = &g->rule->back_plan, .take = take_back, .argument = w,
		.args = {Int32GetDatum(w->first.device_id), TimestampTzGetDatum(w->first.time),
			TimestampTzGetDatum(w->first.time - AT402_RULE_REACH), CStringGetTextDatum(part)}};
	const char *why;

	r.rules = list_make1(g->rule);
	r.expressions = conditions_of(r.rules);
	why = at402_rules_read(&r);
	if (why == NULL)
	{
		r.look = AT402_LOOK_ON;
		r.plan = &g->rule->on_plan;
		r.take = take_on;
		r.args[2] = TimestampTzGetDatum(DT_NOEND);
		why = at402_rules_read(&r);
	}
	if (why != NULL)
		at402_rule_fails(g->b, g->rule, why);
	return why == NULL;
}

/* The alerts that lie in the window, of its part. */
static List *
alerts_in(Judging *g, const Window *w, const char *part)
{
	const At402Key *from = w->before != NIL ? &((At402Row *) llast(w->before))->key : &w->first;
	List	   *found = NIL;
	ListCell   *lc;

	foreach(lc, at402_alerts_of(g->rule, list_make1_int(from->device_id), from->time))
		if (strcmp(((At402Alert *) lfirst(lc))->part, part) == 0)
			found = lappend(found, lfirst(lc));
	return found;
}

/* The alert of the run that is on may be older than the window. */
static void
add_older_alert(At402Judge *j, const Judging *g, const At402Run *run)
{
	ListCell   *lc;

	if (run == NULL || !run->has_alert)
		return;
	foreach(lc, j->alerts)
		if (at402_compare_keys(&((At402Alert *) lfirst(lc))->key, &run->alert) == 0)
			return;
	j->alerts = lappend(j->alerts, alert_of_run(g, run));
}

/* The run was on before the day that the window looks back. */
static bool
is_longer(const Window *w, const At402Run *run)
{
	return !w->begins && w->before != NIL && run != NULL && run->on &&
		run->since < ((At402Row *) llast(w->before))->key.time;
}

/* Adds the alerts before, as far as a cooldown may reach back from rows or their window. */
static void
read_former(Judging *g)
{
	TimestampTz first = DT_NOEND;

	if (g->rule->cooldown == NULL || g->has_former)
		return;
	g->has_former = true;
	for (int i = 0; i < g->found->count; i++)
		first = Min(first, g->found->rows[i].row.key.time);
	first = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
													TimestampTzGetDatum(first - AT402_RULE_REACH),
													IntervalPGetDatum(g->rule->cooldown)));
	g->former = at402_alerts_of(g->rule, g->b->devices, first);
}

static void
judge_window(Judging *g, const At402Key *first, const At402Key *last, const char *part)
{
	Window		w = {.first = *first, .last = *last};
	At402Judge	j = new_judge(g);
	At402Run   *run = at402_run_of(g->b, g->rule->id, first->device_id, part, false);
	ListCell   *lc;
	ListCell   *ls;

	if (!read_window(g, &w, part))
		return;
	read_former(g);				/* a row that ends a run may leave a new one behind it */
	j.alerts = alerts_in(g, &w, part);
	if (is_longer(&w, run))
		begin_with_run(&j, g, run);
	else
		add_older_alert(&j, g, run);
	for (int i = list_length(w.before) - 1; i >= 0; i--)
		at402_judge(&j, list_nth(w.before, i), !w.begins || i < list_length(w.before) - 1);
	forboth(lc, w.rows, ls, w.satisfied)
		at402_judge(&j, lfirst(lc), lfirst_int(ls));
	at402_judge_end(&j);
	keep_alerts(g, &j);
	/* what is on behind the window is not its business */
	if (!w.ends || run == NULL || run->since <= ((At402Row *) llast(w.rows))->key.time)
		keep_run(g, &j, first->device_id, part);
}

/* ---- sequences ---- */

/* A row that was there is judged again where b may be another now. */
static bool
concerns(const Row *row, const At402Rule *rule)
{
	return row->is_new || rule->uses.b;
}

/* Is there an alert that such rows could end earlier, or part from the beginning of its run? */
static bool
spans(const Judging *g, const Row *first, const Row *last)
{
	ListCell   *lc;

	foreach(lc, g->late_alerts)
	{
		const At402Alert *a = lfirst(lc);

		if (a->key.device_id == first->row.key.device_id &&
			strcmp(a->part, first->row.part) == 0 &&
			a->key.time <= last->row.key.time + AT402_RULE_REACH &&
			(!a->has_end || a->ended_at > first->row.key.time))
			return true;
	}
	return false;
}

/* Rows of a sequence, of which those before oldest raise and change nothing. */
static void
judge_late(Judging *g, const Row *rows, int count, int index)
{
	bool		any = false;

	while (count > 0 && (rows->row.key.time < g->b->oldest ||
						 !concerns(rows, g->rule)))
	{
		rows++;
		count--;
	}
	for (int i = 0; i < count; i++)
		any |= rows[i].satisfies[index] && concerns(&rows[i], g->rule);
	if (count == 0 || (!any && !spans(g, rows, rows + count - 1) &&
					   at402_run_of(g->b, g->rule->id, rows->row.key.device_id, rows->row.part,
							  false) == NULL))
		return;
	judge_window(g, &rows->row.key, &rows[count - 1].row.key, rows->row.part);
}

/* A state is judged by the clock, from how it was found last. */
static void
judge_state(Judging *g, const Row *row, int index)
{
	At402Judge	j = new_judge(g);
	At402Run   *run = at402_run_of(g->b, g->rule->id, row->row.key.device_id, "", false);

	/* of a rule that has changed only what it has raised goes on */
	if (run != NULL && (run->version == g->rule->version || run->has_alert))
		begin_with_run(&j, g, run);
	at402_judge(&j, &row->row, row->satisfies[index]);
	at402_judge_end(&j);
	keep_alerts(g, &j);
	keep_run(g, &j, row->row.key.device_id, "");
}

static void
judge_sequence(Judging *g, const Row *rows, int count, int index)
{
	At402Judge	j = new_judge(g);
	const At402Row *first = &rows->row;
	At402Run   *run = at402_run_of(g->b, g->rule->id, first->key.device_id, first->part, false);
	bool		any = false;

	for (int i = 0; i < count; i++)
		any |= rows[i].satisfies[index];
	if (!at402_rule_source_has_b(g->rule->source))
		judge_state(g, rows, index);
	else if (list_member_int(g->b->behind, first->key.device_id))
		judge_late(g, rows, count, index);
	else if (run == NULL && !any)
		return;
	else if (run != NULL ? run->version != g->rule->version : rows->satisfies[index])
		judge_window(g, &first->key, &rows[count - 1].row.key, first->part);
	else
	{
		if (run != NULL)
			begin_with_run(&j, g, run);
		for (int i = 0; i < count; i++)
			at402_judge(&j, &rows[i].row, rows[i].satisfies[index]);
		at402_judge_end(&j);
		keep_alerts(g, &j);
		keep_run(g, &j, first->key.device_id, first->part);
	}
}

/* Each row that satisfies the condition raises an alert; what is there is not repeated. */
static void
judge_rows(Judging *g, const Row *rows, int count, int index)
{
	At402Judge	j = new_judge(g);

	for (int i = 0; i < count; i++)
		if (concerns(&rows[i], g->rule))
			at402_judge(&j, &rows[i].row, rows[i].satisfies[index]);
	keep_alerts(g, &j);
}

/* ---- a rule ---- */

static bool
any_satisfies(const Found *result, int index)
{
	for (int i = 0; i < result->count; i++)
		if (result->rows[i].satisfies[index])
			return true;
	return false;
}

/* What comes in the cooldown of another alert, of any part, is not raised, and its run has none. */
static void
drop_cooling(Judging *g)
{
	List	   *alerts = NIL;
	ListCell   *lc;

	foreach(lc, g->b->alerts)
	{
		At402Alert *a = lfirst(lc);

		if (a->rule == g->rule && a->is_new)
			alerts = lappend(alerts, a);
	}
	at402_cool(alerts, g->former);
	foreach(lc, alerts)
	{
		const At402Alert *a = lfirst(lc);
		At402Run   *run = g->rule->source->runs
			? at402_run_of(g->b, g->rule->id, a->key.device_id, a->part, false) : NULL;

		if (a->dropped && run != NULL && at402_compare_keys(&run->alert, &a->key) == 0)
			run->has_alert = false;
	}
}

static void
judge_rule(At402RuleBatch *b, At402Rule *rule, const Found *result, int index)
{
	Judging		g = {.b = b, .rule = rule, .found = result};
	int			end;

	if (!rule->source->runs && !any_satisfies(result, index))
		return;
	if (any_satisfies(result, index))
		read_former(&g);
	if (rule->source->runs && b->behind != NIL)
		g.late_alerts = at402_alerts_of(rule, b->behind, b->oldest - AT402_RULE_REACH);
	for (int i = 0; i < result->count && !at402_rule_has_failed(b, rule); i = end)
	{
		const Row  *first = &result->rows[i];

		for (end = i; end < result->count &&
			 result->rows[end].row.key.device_id == first->row.key.device_id &&
			 strcmp(result->rows[end].row.part, first->row.part) == 0; end++)
			 ;
		(rule->source->runs ? judge_sequence : judge_rows) (&g, first, end - i, index);
	}
	if (rule->cooldown != NULL)
		drop_cooling(&g);
}

static void
judge_group(At402RuleBatch *b, At402RuleGroup *g)
{
	ListCell   *lc;
	ListCell   *lr;

	foreach(lc, evaluate(b, g))
	{
		const Found *result = lfirst(lc);

		foreach(lr, result->rules)
			if (!at402_rule_has_failed(b, lfirst(lr)) && result->count > 0)
				judge_rule(b, lfirst(lr), result, foreach_current_index(lr));
	}
}

/* ---- the batch ---- */

static bool
needs_order(const At402RuleGroup *g)
{
	return g->source->runs || g->uses.b;
}

void
at402_rules_judge(At402RuleBatch *b, List *groups)
{
	bool		order = false;
	bool		runs = false;
	ListCell   *lc;

	if (b->key_count == 0)
		return;
	foreach(lc, groups)
	{
		order |= needs_order(lfirst(lc));
		runs |= ((At402RuleGroup *) lfirst(lc))->source->runs;
	}
	at402_rules_look_back(b, order && b->report_count > 0, runs);
	foreach(lc, groups)
		judge_group(b, lfirst(lc));
	at402_alerts_write(b);
}
