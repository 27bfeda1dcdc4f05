/*
 * rule_judge.c - from rows that satisfy a condition to alerts
 *
 * Live, late and in replay the same: rows come in the order of their keys, and
 * what was known before is in the judge.  Nothing here looks at a clock or a
 * table, so the same rows give the same alerts.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "pg/rule_judge.h"

static TimestampTz
later_by(TimestampTz time, const Interval *interval)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(time),
												   IntervalPGetDatum(interval)));
}

static At402Alert *
find_alert(const At402Judge *j, const At402Key *key)
{
	ListCell   *lc;

	foreach(lc, j->alerts)
		if (at402_compare_keys(&((At402Alert *) lfirst(lc))->key, key) == 0)
			return lfirst(lc);
	return NULL;
}

/* The row raises an alert, unless it is too old. */
static At402Alert *
raise_alert(At402Judge *j, const At402Row *row, TimestampTz since)
{
	At402Alert *alert;

	if (row->key.time < j->oldest)
		return NULL;
	alert = palloc0(sizeof(At402Alert));
	alert->rule = j->rule;
	alert->key = row->key;
	alert->n = row->n;
	alert->part = row->part;
	alert->since = since;
	alert->message = row->message;
	alert->is_new = true;
	j->alerts = lappend(j->alerts, alert);
	return alert;
}

/* The row does not satisfy the condition: alerts before it have ended, if not earlier. */
static void
end_alerts(At402Judge *j, const At402Row *row)
{
	ListCell   *lc;

	foreach(lc, j->alerts)
	{
		At402Alert *alert = lfirst(lc);

		if (alert->end_found || at402_compare_keys(&alert->key, &row->key) >= 0)
			continue;
		alert->end_found = true;
		alert->has_end = true;
		alert->ended_at = row->key.time;
	}
}

/*
 * The row at which min_duration was reached raises the alert of its run, unless a
 * later row of the run has: that one came when this row was not there yet.
 */
static void
settle(At402Judge *j)
{
	if (j->has_due)
		j->raised = raise_alert(j, &j->due, j->since);
	j->has_due = false;
}

static void
judge_true(At402Judge *j, const At402Row *row)
{
	At402Alert *there = find_alert(j, &row->key);

	if (!j->on)
		j->since = row->key.time;
	j->on = true;
	if (there != NULL)
	{
		j->raised = there;
		j->decided = true;
		j->has_due = false;
	}
	if (j->decided || (j->rule->min_duration != NULL &&
					   row->key.time < later_by(j->since, j->rule->min_duration)))
		return;
	j->decided = true;
	j->has_due = true;
	j->due = *row;
}

static void
judge_false(At402Judge *j, const At402Row *row)
{
	settle(j);
	end_alerts(j, row);
	j->on = j->decided = false;
	j->raised = NULL;
}

/* Each row that satisfies the condition is an alert. */
static void
judge_alone(At402Judge *j, const At402Row *row)
{
	At402Alert *alert = raise_alert(j, row, row->key.time);

	if (alert == NULL)
		return;
	alert->has_end = alert->end_found = true;
	alert->ended_at = row->key.time;
}

void
at402_judge(At402Judge *j, const At402Row *row, bool satisfies)
{
	if (!j->rule->source->runs)
	{
		if (satisfies)
			judge_alone(j, row);
	}
	else if (satisfies)
		judge_true(j, row);
	else
		judge_false(j, row);
}

void
at402_judge_end(At402Judge *j)
{
	settle(j);
}

/* ---- the cooldown ---- */

/* Is an alert in the cooldown of one that came before it? */
static bool
is_cooling(const At402Alert *alert, const At402Alert *former)
{
	return former->key.device_id == alert->key.device_id && former->key.time <= alert->key.time &&
		alert->key.time < later_by(former->key.time, alert->rule->cooldown);
}

static int
compare_alerts(const ListCell *a, const ListCell *b)
{
	const At402Alert *x = lfirst(a);
	const At402Alert *y = lfirst(b);
	int			order = at402_compare_keys(&x->key, &y->key);

	return order != 0 ? order : x->n - y->n;
}

void
at402_cool(List *alerts, List *former)
{
	const At402Alert *last = NULL;	/* that is kept */
	ListCell   *lc;
	ListCell   *lf;

	list_sort(alerts, compare_alerts);
	foreach(lc, alerts)
	{
		At402Alert *a = lfirst(lc);

		a->dropped = last != NULL && is_cooling(a, last);
		foreach(lf, former)
			a->dropped |= is_cooling(a, lfirst(lf));
		if (!a->dropped)
			last = a;
	}
}
