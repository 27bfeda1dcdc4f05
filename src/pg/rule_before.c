/*
 * rule_before.c - what there was before the rows that rules look at
 *
 * The runs that are on, the alerts that were raised, and which devices have
 * younger reports already: three look-ups for a batch, by its devices.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/rule_batch.h"
#include "pg/statements.h"

/* ---- runs that are on, and alerts ---- */

/* A run's place: at the head of its entry. */
typedef struct RunPlace
{
	int			rule_id;
	int			device_id;
	char		part[NAMEDATALEN];
} RunPlace;

typedef struct RunEntry
{
	RunPlace	place;			/* key */
	At402Run	run;
} RunEntry;

At402Run *
at402_run_of(const At402RuleBatch *b, int rule_id, int device_id, const char *part, bool make)
{
	RunPlace	place = {.rule_id = rule_id, .device_id = device_id};
	RunEntry   *entry;
	bool		found;

	strlcpy(place.part, part, sizeof(place.part));
	entry = hash_search(b->runs, &place, make ? HASH_ENTER : HASH_FIND, &found);
	if (entry == NULL)
		return NULL;
	if (!found)
		entry->run = (At402Run) {.rule_id = rule_id, .device_id = device_id,
			.part = entry->place.part};
	return &entry->run;
}

/* A column of a row that was just read; 0 where it is NULL. */
static Datum
column(uint64 row, int number)
{
	bool		null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, &null);

	return null ? (Datum) 0 : value;
}

static bool
is_null(uint64 row, int number)
{
	bool		null;

	SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, &null);
	return null;
}

static void
read_runs(At402RuleBatch *b)
{
	HASHCTL		ctl = {.keysize = sizeof(RunPlace), .entrysize = sizeof(RunEntry),
					   .hcxt = CurrentMemoryContext};

	b->runs = hash_create("at402 runs", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	SPI_connect();
	at402_run(AT402_SQL_RULE_RUNS, (Datum[]) {at402_ids_of(b->devices)}, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		At402Run   *run = at402_run_of(b, DatumGetInt32(column(i, 1)), DatumGetInt32(column(i, 2)),
								 TextDatumGetCString(column(i, 3)), true);

		run->version = DatumGetInt32(column(i, 4));
		run->since = DatumGetTimestampTz(column(i, 5));
		run->decided = DatumGetBool(column(i, 6));
		run->has_alert = !is_null(i, 7);
		run->alert = (At402Key) {run->device_id, DatumGetTimestampTz(column(i, 7)),
			DatumGetInt16(column(i, 8)), DatumGetInt32(column(i, 9))};
		run->alert_n = DatumGetInt16(column(i, 10));
		run->on = true;
	}
	SPI_finish();
}

List *
at402_alerts_of(const At402Rule *rule, List *devices, TimestampTz since)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *alerts = NIL;

	SPI_connect();
	at402_run(AT402_SQL_RULE_ALERTS, (Datum[]) {at402_ids_of(devices), TimestampTzGetDatum(since),
				Int32GetDatum(rule->id)}, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(context);
		At402Alert *a = palloc0(sizeof(At402Alert));

		a->rule = rule;
		a->key = (At402Key) {DatumGetInt32(column(i, 1)), DatumGetTimestampTz(column(i, 2)),
			DatumGetInt16(column(i, 3)), DatumGetInt32(column(i, 4))};
		a->n = DatumGetInt16(column(i, 5));
		a->part = TextDatumGetCString(column(i, 6));
		a->has_end = !is_null(i, 7);
		a->ended_at = DatumGetTimestampTz(column(i, 7));
		alerts = lappend(alerts, a);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return alerts;
}

/* ---- the order of reports ---- */

static Datum
make_array(Datum *values, int count, Oid type, int16 size)
{
	return PointerGetDatum(construct_array(values, count, type, size, true,
										   size == 8 ? TYPALIGN_DOUBLE : size == 4 ? TYPALIGN_INT
										   : TYPALIGN_SHORT));
}

static void
make_keys(At402RuleBatch *b)
{
	Datum	   *values[AT402_LOOK_ARGUMENTS];

	for (int i = 0; i < AT402_LOOK_ARGUMENTS; i++)
		values[i] = palloc(sizeof(Datum) * Max(b->key_count, 1));
	for (int i = 0; i < b->key_count; i++)
	{
		const At402Key *key = &b->reports[i];

		values[0][i] = Int32GetDatum(key->device_id);
		values[1][i] = TimestampTzGetDatum(key->time);
		values[2][i] = Int16GetDatum(key->seq);
		values[3][i] = Int32GetDatum(key->content_hash);
	}
	b->keys[0] = make_array(values[0], b->key_count, INT4OID, sizeof(int32));
	b->keys[1] = make_array(values[1], b->key_count, TIMESTAMPTZOID, sizeof(TimestampTz));
	b->keys[2] = make_array(values[2], b->key_count, INT2OID, sizeof(int16));
	b->keys[3] = make_array(values[3], b->key_count, INT4OID, sizeof(int32));
}

/* How many of the reports are of devices with ids up to this one. */
static int
reports_until(const At402RuleBatch *b, int device_id)
{
	int			low = 0;

	for (int high = b->report_count; low < high;)
	{
		int			middle = (low + high) / 2;

		if (b->reports[middle].device_id <= device_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Marks the reports that are the last of their device. */
static void
mark_last(const At402RuleBatch *b, bool *in_order)
{
	SPI_connect();
	at402_run(AT402_SQL_RULE_LAST, (Datum[]) {at402_ids_of(b->devices)}, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		At402Key	last = {DatumGetInt32(column(i, 1)), DatumGetTimestampTz(column(i, 2)),
			DatumGetInt16(column(i, 3)), DatumGetInt32(column(i, 4))};
		int			end = reports_until(b, last.device_id);

		if (end > 0 && at402_compare_keys(&b->reports[end - 1], &last) == 0)
			in_order[end - 1] = true;
	}
	SPI_finish();
}

/* Takes the mark from those that stand among others, or for too long to look. */
static void
unmark_among(const At402RuleBatch *b, bool *in_order)
{
	Datum	   *values[3];
	int			count = 0;

	for (int i = 0; i < 3; i++)
		values[i] = palloc(sizeof(Datum) * b->report_count);
	for (int begin = 0, end; begin < b->report_count; begin = end)
	{
		const At402Key *first = &b->reports[begin];
		const At402Key *last;

		end = reports_until(b, first->device_id);
		last = &b->reports[end - 1];
		if (end - begin == 1 || !in_order[end - 1])
			continue;
		in_order[end - 1] = last->time - first->time <= AT402_RULE_REACH;
		if (!in_order[end - 1])
			continue;
		values[0][count] = Int32GetDatum(first->device_id);
		values[1][count] = TimestampTzGetDatum(first->time);
		values[2][count++] = TimestampTzGetDatum(last->time);
	}
	if (count == 0)
		return;
	SPI_connect();
	at402_run(AT402_SQL_RULE_AMONG, (Datum[]) {make_array(values[0], count, INT4OID, 4),
				make_array(values[1], count, TIMESTAMPTZOID, 8),
				make_array(values[2], count, TIMESTAMPTZOID, 8)}, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int			device_id = DatumGetInt32(column(i, 1));
		int			end = reports_until(b, device_id);

		if (DatumGetInt64(column(i, 2)) > end - reports_until(b, device_id - 1))
			in_order[end - 1] = false;
	}
	SPI_finish();
}

/*
 * Devices some of whose new reports are older than one that was there: the last
 * of them is not the device's last, or others lie between them.
 */
static void
find_behind(At402RuleBatch *b)
{
	bool	   *in_order = palloc0(sizeof(bool) * b->report_count);

	mark_last(b, in_order);
	unmark_among(b, in_order);
	for (int begin = 0, end; begin < b->report_count; begin = end)
	{
		end = reports_until(b, b->reports[begin].device_id);
		if (!in_order[end - 1])
			b->behind = lappend_int(b->behind, b->reports[begin].device_id);
	}
}

void
at402_rules_look_back(At402RuleBatch *b, bool order, bool runs)
{
	make_keys(b);
	if (order)
		find_behind(b);
	if (runs)
		read_runs(b);
}
