/*
 * rule_alert.c - what the rules found goes into the tables
 *
 * Messages are rendered as the owner, everything else is stored as the owner of
 * the tables, set by set.  Triggers that users have put on at402.alert are to
 * blame on the rule whose alert they refuse, never on a report.  So when a
 * statement fails, what each rule has found is stored alone.
 *
 * The tables are locked before, as an INSERT would: who waits for somebody that
 * alters at402.alert waits like for any table of a batch, and no rule is blamed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "pg/environment.h"
#include "pg/rule_batch.h"
#include "pg/statements.h"

#define MAX_FAILURES 10			/* then a rule is switched off */
#define PATIENCE 3				/* attempts while the environment may be at fault */

/* ---- who has failed ---- */

void
at402_rule_fails(At402RuleBatch *b, const At402Rule *rule, const char *why)
{
	At402Failure *f;

	if (at402_rule_has_failed(b, rule))
		return;
	f = palloc(sizeof(At402Failure));
	f->rule = rule;
	f->why = why;
	b->failures = lappend(b->failures, f);
}

bool
at402_rule_has_failed(const At402RuleBatch *b, const At402Rule *rule)
{
	ListCell   *lc;

	foreach(lc, b->failures)
		if (((At402Failure *) lfirst(lc))->rule == rule)
			return true;
	return false;
}

/* ---- arrays for statements ---- */

Datum
at402_ids_of(List *devices)
{
	Datum	   *ids = palloc(sizeof(Datum) * (list_length(devices) + 1));
	ListCell   *lc;

	foreach(lc, devices)
		ids[foreach_current_index(lc)] = Int32GetDatum(lfirst_int(lc));
	return PointerGetDatum(construct_array(ids, list_length(devices), INT4OID, sizeof(int32), true,
										   TYPALIGN_INT));
}

typedef struct Array
{
	Oid			type;			/* of the elements */
	Datum	   *values;
	bool	   *nulls;
	int			count;
} Array;

static Array *
new_array(Oid type, int size)
{
	Array	   *a = palloc(sizeof(Array));

	a->type = type;
	a->values = palloc(sizeof(Datum) * size);
	a->nulls = palloc(sizeof(bool) * size);
	a->count = 0;
	return a;
}

static void
push(Array *a, Datum value, bool null)
{
	a->values[a->count] = value;
	a->nulls[a->count++] = null;
}

static Datum
datum_of(const Array *a)
{
	int			lower = 1;
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(a->type, &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(a->values, a->nulls, 1, (int *) &a->count, &lower,
											  a->type, length, by_value, align));
}

/* Runs a statement whose arguments are arrays of these types; push_row fills them. */
static uint64
run_with(At402Statement statement, List *items, const Oid *types, int count,
		 void (*push_row) (Array **arrays, const void *item))
{
	Array	   *arrays[16];
	Datum		args[16];
	ListCell   *lc;

	if (items == NIL)
		return 0;
	for (int i = 0; i < count; i++)
		arrays[i] = new_array(types[i], list_length(items));
	foreach(lc, items)
		push_row(arrays, lfirst(lc));
	for (int i = 0; i < count; i++)
		args[i] = datum_of(arrays[i]);
	return at402_run(statement, args, NULL);
}

static const Oid alert_types[] = {INT4OID, TIMESTAMPTZOID, INT2OID, INT4OID, INT4OID, INT2OID, TEXTOID,
	TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, FLOAT8OID, FLOAT8OID};
static const Oid place_types[] = {INT4OID, TIMESTAMPTZOID, INT2OID, INT4OID, BOOLOID};
static const Oid end_types[] = {INT4OID, TIMESTAMPTZOID, INT2OID, INT4OID, INT4OID, INT2OID,
	TIMESTAMPTZOID};
static const Oid run_types[] = {INT4OID, INT4OID, TEXTOID, INT4OID, TIMESTAMPTZOID, BOOLOID,
	TIMESTAMPTZOID, INT2OID, INT4OID, INT2OID};

static void
push_report(Array **arrays, const void *item)
{
	const At402Alert *a = item;

	push(arrays[0], Int32GetDatum(a->key.device_id), false);
	push(arrays[1], TimestampTzGetDatum(a->key.time), false);
	push(arrays[2], Int16GetDatum(a->key.seq), false);
	push(arrays[3], Int32GetDatum(a->key.content_hash), false);
}

static void
push_source(Array **arrays, const void *item)
{
	const At402Alert *a = item;

	push_report(arrays, item);
	push(arrays[4], BoolGetDatum(!at402_rule_source_has_b(a->rule->source)), false);
}

static void
push_key(Array **arrays, const void *item)
{
	const At402Alert *a = item;

	push_report(arrays, item);
	push(arrays[4], Int32GetDatum(a->rule->id), false);
	push(arrays[5], Int16GetDatum(a->n), false);
}

static void
push_alert(Array **arrays, const void *item)
{
	const At402Alert *a = item;

	push_key(arrays, item);
	push(arrays[6], CStringGetTextDatum(a->part), false);
	push(arrays[7], TimestampTzGetDatum(a->ended_at), !a->has_end);
	push(arrays[8], CStringGetTextDatum(a->rule->level), false);
	push(arrays[9], CStringGetTextDatum(a->message), false);
	push(arrays[10], CStringGetTextDatum(a->rule->name), false);
	push(arrays[11], TimestampTzGetDatum(a->since), false);
	push(arrays[12], Float8GetDatum(a->longitude), !a->has_place);
	push(arrays[13], Float8GetDatum(a->latitude), !a->has_place);
}

static void
push_end(Array **arrays, const void *item)
{
	const At402Alert *a = item;

	push_key(arrays, item);
	push(arrays[6], TimestampTzGetDatum(a->ended_at), !a->has_end);
}

static void
push_place(Array **arrays, const void *item)
{
	const At402Run *run = item;

	push(arrays[0], Int32GetDatum(run->device_id), false);
	push(arrays[1], Int32GetDatum(run->rule_id), false);
	push(arrays[2], CStringGetTextDatum(run->part), false);
}

static void
push_run(Array **arrays, const void *item)
{
	const At402Run *run = item;

	push_place(arrays, item);
	push(arrays[3], Int32GetDatum(run->version), false);
	push(arrays[4], TimestampTzGetDatum(run->since), false);
	push(arrays[5], BoolGetDatum(run->decided), false);
	push(arrays[6], TimestampTzGetDatum(run->alert.time), !run->has_alert);
	push(arrays[7], Int16GetDatum(run->alert.seq), !run->has_alert);
	push(arrays[8], Int32GetDatum(run->alert.content_hash), !run->has_alert);
	push(arrays[9], Int16GetDatum(run->alert_n), !run->has_alert);
}

/* ---- messages ---- */

static bool
take_message(void *argument, const At402Row *row, const Datum *values, const bool *nulls)
{
	ListCell   *lc;

	foreach(lc, (List *) argument)
	{
		At402Alert *a = lfirst(lc);

		if (a->n == row->n && at402_compare_keys(&a->key, &row->key) == 0 && !nulls[0])
			a->message = TextDatumGetCString(values[0]);
	}
	return true;
}

static void
render(At402RuleBatch *b, At402Rule *rule, List *alerts)
{
	At402Reading r = {.source = rule->source, .owner = rule->owner, .uses = &rule->uses,
		.look = AT402_LOOK_KEYS, .rules = list_make1(rule), .plan = &rule->message_plan,
		.expressions = list_make1((char *) rule->expression), .take = take_message,
		.argument = alerts};
	Array	   *arrays[AT402_LOOK_ARGUMENTS];
	ListCell   *lc;
	const char *why;

	for (int i = 0; i < AT402_LOOK_ARGUMENTS; i++)
		arrays[i] = new_array(alert_types[i], list_length(alerts));
	foreach(lc, alerts)
		push_report(arrays, lfirst(lc));
	for (int i = 0; i < AT402_LOOK_ARGUMENTS; i++)
		r.args[i] = datum_of(arrays[i]);
	why = at402_rules_read(&r);
	if (why != NULL)
		at402_rule_fails(b, rule, why);
}

static bool
is_of(const At402RuleBatch *b, const At402Rule *wanted, const At402Rule *rule)
{
	return (wanted == NULL || wanted == rule) && !at402_rule_has_failed(b, rule);
}

/* The new alerts of a rule, or of all. */
static List *
new_alerts(const At402RuleBatch *b, const At402Rule *rule)
{
	List	   *found = NIL;
	ListCell   *lc;

	foreach(lc, b->alerts)
	{
		At402Alert *a = lfirst(lc);

		if (a->is_new && !a->dropped && is_of(b, rule, a->rule))
			found = lappend(found, a);
	}
	return found;
}

/* A row that was judged before, and is again since its b is another now, raises no other alert. */
static void
drop_known(At402RuleBatch *b)
{
	List	   *alerts = new_alerts(b, NULL);
	uint64		rows;

	SPI_connect();
	rows = run_with(AT402_SQL_ALERTS_THERE, alerts, alert_types, 6, push_key);
	for (uint64 i = 0; i < rows; i++)
	{
		bool		null;
		int64		no = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1,
													 &null));

		((At402Alert *) list_nth(alerts, (int) no - 1))->dropped = true;
	}
	SPI_finish();
}

static void
render_messages(At402RuleBatch *b)
{
	List	   *rules = NIL;
	ListCell   *lc;

	foreach(lc, b->alerts)
	{
		At402Alert *a = lfirst(lc);

		a->message = a->rule->message != NULL ? a->rule->message : a->rule->name;
		if (a->is_new && a->rule->expression != NULL)
			rules = list_append_unique_ptr(rules, (void *) a->rule);
	}
	foreach(lc, rules)
		render(b, lfirst(lc), new_alerts(b, lfirst(lc)));
}

/* ---- storing ---- */

/* What is stored together: that of one rule, or of all. */
typedef struct Writing
{
	At402RuleBatch *b;
	List	   *alerts;			/* new ones */
	List	   *delivered;		/* those of them that have channels */
	List	   *ends;			/* of alerts that were there */
	List	   *runs;			/* that change */
	List	   *on;				/* those of them that are on */
	uint64		inserted;
} Writing;

static Writing
collect(At402RuleBatch *b, const At402Rule *rule)
{
	Writing		w = {.b = b, .alerts = new_alerts(b, rule)};
	ListCell   *lc;

	foreach(lc, w.alerts)
		if (((At402Alert *) lfirst(lc))->rule->has_channels)
			w.delivered = lappend(w.delivered, lfirst(lc));
	foreach(lc, b->alerts)
	{
		At402Alert *a = lfirst(lc);

		if (!a->is_new && is_of(b, rule, a->rule))
			w.ends = lappend(w.ends, a);
	}
	foreach(lc, b->changed_runs)
	{
		At402Run   *run = lfirst(lc);

		if (!is_of(b, rule, run->rule))
			continue;
		w.runs = lappend(w.runs, run);
		if (run->on)
			w.on = lappend(w.on, run);
	}
	return w;
}

/* Where the devices were: by the position of the report, or by the state that a rule saw. */
static void
find_places(Writing *w)
{
	uint64		rows = run_with(AT402_SQL_ALERT_PLACES, w->alerts, place_types,
								lengthof(place_types), push_source);
	TupleDesc	desc = rows > 0 ? SPI_tuptable->tupdesc : NULL;

	for (uint64 i = 0; i < rows; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		null;
		int64		no = DatumGetInt64(SPI_getbinval(row, desc, 1, &null));
		At402Alert *a = list_nth(w->alerts, (int) no - 1);

		a->has_place = true;
		a->longitude = DatumGetFloat8(SPI_getbinval(row, desc, 2, &null));
		a->latitude = DatumGetFloat8(SPI_getbinval(row, desc, 3, &null));
	}
}

static void
write_all(void *argument)
{
	Writing    *w = argument;

	SPI_connect();
	find_places(w);
	w->inserted = run_with(AT402_SQL_NEW_ALERTS, w->alerts, alert_types, lengthof(alert_types),
						   push_alert);
	run_with(AT402_SQL_ALERT_ENDS, w->ends, end_types, lengthof(end_types), push_end);
	run_with(AT402_SQL_RUNS_GONE, w->runs, run_types, 3, push_place);
	run_with(AT402_SQL_RUNS_ON, w->on, run_types, lengthof(run_types), push_run);
	run_with(AT402_SQL_OUTBOX, w->delivered, alert_types, 6, push_key);
	SPI_finish();
}

/* The environment's fault is the batch's, but not for ever: a trigger can raise anything. */
static const char *
try_writing(Writing *w)
{
	ErrorData  *error = NULL;
	const char *why = at402_rules_attempt(write_all, w, &error);

	if (why != NULL && !at402_is_timeout(error) && w->b->attempts < PATIENCE &&
		at402_is_environment(error, w->b->attempts))
		at402_raise_environment(error);
	return why;
}

static void
note_raised(At402RuleBatch *b, const Writing *w)
{
	b->raised += (int) w->inserted;
	if (w->inserted > 0)
		b->newest = llast(w->alerts);
}

static List *
rules_of(const At402RuleBatch *b)
{
	List	   *rules = NIL;
	ListCell   *lc;

	foreach(lc, b->alerts)
		rules = list_append_unique_ptr(rules, (void *) ((At402Alert *) lfirst(lc))->rule);
	foreach(lc, b->changed_runs)
		rules = list_append_unique_ptr(rules, (void *) ((At402Run *) lfirst(lc))->rule);
	return rules;
}

static void
lock_tables(void)
{
	SPI_connect();
	at402_run(AT402_SQL_LOCK_ALERTS, NULL, NULL);
	SPI_finish();
}

static void
write_found(At402RuleBatch *b)
{
	Writing		w = collect(b, NULL);
	ListCell   *lc;

	if (w.alerts == NIL && w.ends == NIL && w.runs == NIL)
		return;
	lock_tables();
	if (try_writing(&w) == NULL)
	{
		note_raised(b, &w);
		return;
	}
	foreach(lc, rules_of(b))
	{
		const char *why;

		w = collect(b, lfirst(lc));
		why = try_writing(&w);
		if (why != NULL)
			at402_rule_fails(b, lfirst(lc), why);
		else
			note_raised(b, &w);
	}
}

/* ---- failures ---- */

typedef struct Counting
{
	const At402RuleBatch *b;
	const At402Failure *failure;
	bool		off;			/* result: it is switched off */
} Counting;

static void
count_failure(void *argument)
{
	Counting   *c = argument;
	bool		null;
	Datum		id = Int32GetDatum(c->failure->rule->id);

	SPI_connect();
	if (c->failure->rule->source->runs)
		at402_run(AT402_SQL_RUNS_STALE, (Datum[]) {id, at402_ids_of(c->b->devices)}, NULL);
	if (at402_run(AT402_SQL_RULE_FAILED, (Datum[]) {id, CStringGetTextDatum(c->failure->why),
				Int32GetDatum(MAX_FAILURES)}, NULL) > 0)
		c->off = !DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											 &null));
	SPI_finish();
}

static void
count_failures(At402RuleBatch *b)
{
	ListCell   *lc;

	foreach(lc, b->failures)
	{
		const At402Failure *f = lfirst(lc);
		Counting	c = {.b = b, .failure = f};
		ErrorData  *error;
		const char *why = at402_rules_attempt(count_failure, &c, &error);

		if (why != NULL)
			ereport(LOG, errmsg("at402 could not count a failure of rule \"%s\": %s",
								f->rule->name, why));
		else if (c.off)
			ereport(LOG, errmsg("at402 switches off rule \"%s\" after %d failures: %s",
								f->rule->name, MAX_FAILURES, f->why));
	}
}

/* ---- all of it ---- */

/* Once a batch: it takes a lock that all of the cluster share. */
static void
notify(const At402RuleBatch *b)
{
	const char *time = timestamptz_to_str(b->newest->key.time);

	Async_Notify("at402_alert",
				 psprintf("{\"count\": %d, \"device_id\": %d, \"time\": \"%s\", \"seq\": %d, "
						  "\"content_hash\": %d, \"rule_id\": %d, \"n\": %d}",
						  b->raised, b->newest->key.device_id, time, b->newest->key.seq,
						  b->newest->key.content_hash, b->newest->rule->id, b->newest->n));
}

void
at402_alerts_write(At402RuleBatch *b)
{
	drop_known(b);
	render_messages(b);
	write_found(b);
	count_failures(b);
	if (b->raised > 0)
		notify(b);
}
