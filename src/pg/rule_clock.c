/*
 * rule_clock.c - rules that the clock evaluates: states, and trips that ended
 *
 * The maintenance worker calls this each minute, some devices in each step.  A
 * state is judged like a row whose time is now, with seq -1.  A trip is judged
 * once, when it has ended; at402.trip.rules_seen says that it was.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/timestamp.h"

#include "pg/owner.h"
#include "pg/rule_batch.h"
#include "pg/settings.h"
#include "pg/statements.h"

PG_FUNCTION_INFO_V1(at402_run_rules);

/* The groups of this source. */
static List *
groups_of(const char *source)
{
	List	   *found = NIL;
	ListCell   *lc;

	foreach(lc, at402_rules_in_force())
		if (strcmp(((At402RuleGroup *) lfirst(lc))->source->name, source) == 0)
			found = lappend(found, lfirst(lc));
	return found;
}

/* Device ids and times, one row each, as keys of what has no report. */
static void
read_keys(At402RuleBatch *b, At402Statement statement, Datum *args)
{
	MemoryContext context = CurrentMemoryContext;
	uint64		rows;

	SPI_connect();
	rows = at402_run(statement, args, NULL);
	b->reports = MemoryContextAlloc(context, sizeof(At402Key) * (rows + 1));
	for (uint64 i = 0; i < rows; i++)
	{
		At402Key   *key = &b->reports[b->key_count++];
		MemoryContext spi;
		bool		null;

		key->device_id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
													 SPI_tuptable->tupdesc, 1, &null));
		key->time = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i],
													  SPI_tuptable->tupdesc, 2, &null));
		key->seq = -1;
		key->content_hash = 0;
		spi = MemoryContextSwitchTo(context);
		b->devices = list_append_unique_int(b->devices, key->device_id);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
}

static void
mark_trips_seen(const At402RuleBatch *b)
{
	SPI_connect();
	at402_run(AT402_SQL_TRIPS_SEEN, (Datum[]) {b->keys[0], b->keys[1]}, NULL);
	SPI_finish();
}

static At402RuleBatch
new_batch(void)
{
	return (At402RuleBatch) {.oldest = GetCurrentTransactionStartTimestamp() -
		at402_alert_max_age * USECS_PER_SEC};
}

static void
judge_trips(void)
{
	List	   *groups = groups_of("trip");
	At402RuleBatch b = new_batch();

	if (groups == NIL)
		return;
	read_keys(&b, AT402_SQL_ENDED_TRIPS, NULL);
	at402_rules_judge(&b, groups);
	if (b.key_count > 0)
		mark_trips_seen(&b);
}

/* The last device that was judged; 0: there are no more. */
static int
judge_states(int after)
{
	List	   *groups = groups_of("state");
	At402RuleBatch b = new_batch();

	if (groups == NIL)
		return 0;
	read_keys(&b, AT402_SQL_NEXT_STATES, (Datum[]) {Int32GetDatum(after)});
	at402_rules_judge(&b, groups);
	return b.key_count > 0 ? b.reports[b.key_count - 1].device_id : 0;
}

Datum
at402_run_rules(PG_FUNCTION_ARGS)
{
	int			after = PG_GETARG_INT32(0);
	At402Caller caller = at402_become_owner();
	int			last;

	at402_statements_refresh();
	if (after == 0)
		judge_trips();
	last = judge_states(after);
	at402_become_caller(&caller);
	if (last == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(last);
}
