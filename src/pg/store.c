/*
 * store.c - from a batch to rows, whatever is in the way
 *
 * All statements of a slice of reports run in a subtransaction.  When it fails
 * with an error that is the environment's, the error goes on to the caller.
 * Any other may be some report's: the slice is halved until the report is
 * alone, and that one is quarantined (environment.c tells what is left to
 * decide then).
 *
 * Tables are written in one fixed order, rows in the order of their keys, so
 * that two listeners do not deadlock.  The state of the devices comes first:
 * its row locks make the second of two listeners wait, so that it sees all
 * reports of its devices when it looks at what stood before.
 *
 * Most batches hold no repeat, and a plain INSERT is nearly twice as fast as
 * ON CONFLICT: it is tried first unless a device said that it sends from its
 * memory.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/catalog.h"
#include "pg/devices.h"
#include "pg/environment.h"
#include "pg/fence.h"
#include "pg/quarantine.h"
#include "pg/rule_batch.h"
#include "pg/settings.h"
#include "pg/statements.h"
#include "pg/store.h"
#include "pg/try.h"

/* ---- reports ---- */

static At402Report *
find_report(At402Batch *batch, HeapTuple row, TupleDesc desc)
{
	bool		null;
	int			device_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &null));
	TimestampTz time = DatumGetTimestampTz(SPI_getbinval(row, desc, 2, &null));
	int			seq = DatumGetInt16(SPI_getbinval(row, desc, 3, &null));
	int			hash = DatumGetInt32(SPI_getbinval(row, desc, 4, &null));

	for (int low = batch->first, high = batch->last; low < high;)
	{
		int			middle = (low + high) / 2;
		At402Report *r = batch->reports[middle];
		int			id = r->item->device->id;
		bool		before = id != device_id ? id < device_id
			: r->time != time ? r->time < time
			: r->report.seq != seq ? r->report.seq < seq
			: r->content_hash < hash;

		if (before)
			low = middle + 1;
		else if (id == device_id && r->time == time && r->report.seq == seq &&
				 r->content_hash == hash)
			return r;
		else
			high = middle;
	}
	return NULL;
}

/*
 * The reports whose rows a statement returned are new, the others of the slice
 * are not.  Returns how many are.  27000 when a trigger has changed a key: what
 * belongs to the report would not be found with it.
 */
static int
mark_new(At402Batch *batch)
{
	int			count = 0;

	for (int i = batch->first; i < batch->last; i++)
		batch->reports[i]->is_new = false;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		At402Report *r = find_report(batch, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);

		if (r == NULL || r->is_new)
			ereport(ERROR, errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					errmsg("a trigger has changed the key of a report"),
					errdetail("device_id, time, seq and content_hash of at402.position make a "
							  "report stored once and lead to its other rows."),
					errhint("Keep the corrected value in a column of your own."));
		r->is_new = true;
		count++;
	}
	return count;
}

/* All of these homes, of the reports of the slice that are new. */
static uint32
homes_of_slice(At402Batch *batch)
{
	uint32		homes = 0;

	for (int i = batch->first; i < batch->last; i++)
		if (batch->reports[i]->is_new)
			homes |= batch->reports[i]->homes;
	return homes;
}

static bool
brings_events(const At402Batch *batch)
{
	for (int i = batch->first; i < batch->last; i++)
		if (batch->reports[i]->is_new && at402_event_count(batch->reports[i]) > 0)
			return true;
	return false;
}

/* The report follows on one whose ignition stands in this column of the row. */
static void
compare_with(At402Report *r, uint64 row, int column)
{
	bool		null;
	bool		before = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
													column, &null));

	r->ignition_changed = !null && before != r->ignition;
}

static Datum
make_array(Datum *elements, int count, Oid type, int size, char align)
{
	return PointerGetDatum(construct_array(elements, count, type, size, true, align));
}

/* What stood before late reports only the table knows. */
static void
compare_all_late(At402Report **late, int count)
{
	Datum	   *places = palloc(sizeof(Datum) * count);
	Datum	   *devices = palloc(sizeof(Datum) * count);
	Datum	   *times = palloc(sizeof(Datum) * count);
	TimestampTz first = DT_NOEND;
	TimestampTz last = DT_NOBEGIN;
	uint64		rows;

	for (int i = 0; i < count; i++)
	{
		places[i] = Int32GetDatum(i);
		devices[i] = Int32GetDatum(late[i]->item->device->id);
		times[i] = TimestampTzGetDatum(late[i]->time);
		first = Min(first, late[i]->time);
		last = Max(last, late[i]->time);
	}
	rows = at402_run(AT402_SQL_IGNITIONS_BEFORE, (Datum[]) {
			make_array(places, count, INT4OID, sizeof(int32), TYPALIGN_INT),
			make_array(devices, count, INT4OID, sizeof(int32), TYPALIGN_INT),
			make_array(times, count, TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE),
			TimestampTzGetDatum(first), TimestampTzGetDatum(last)}, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		bool		null;
		int			place = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
														SPI_tuptable->tupdesc, 1, &null));

		compare_with(late[place], i, 2);
	}
}

static void
compare_late(At402Batch *batch)
{
	At402Report **late = palloc(sizeof(At402Report *) * (batch->last - batch->first));
	int			count = 0;

	for (int i = batch->first; i < batch->last; i++)
	{
		At402Report *r = batch->reports[i];

		if (!r->late || !r->is_new)
			continue;
		r->ignition_changed = false;
		/* one by one: Citus does not take such a join apart */
		if (!at402_is_distributed())
			late[count++] = r;
		else if (at402_run(AT402_SQL_IGNITION_BEFORE, (Datum[]) {
						Int32GetDatum(r->item->device->id), TimestampTzGetDatum(r->time)},
					NULL) > 0)
			compare_with(r, 0, 1);
	}
	if (count > 0)
		compare_all_late(late, count);
}

/* The devices of the slice, in the order of their ids; those without a row in
 * device_state, or all. */
static Datum
devices_of_slice(At402Batch *batch, bool all)
{
	Datum	   *ids = palloc(sizeof(Datum) * (batch->last - batch->first));
	const At402Device *before = NULL;
	int			count = 0;

	for (int i = batch->first; i < batch->last; i++)
	{
		const At402Device *device = batch->reports[i]->item->device;

		if (device != before && (all || !device->has_row))
			ids[count++] = Int32GetDatum(device->id);
		before = device;
	}
	return PointerGetDatum(construct_array(ids, count, INT4OID, sizeof(int32), true,
										   TYPALIGN_INT));
}

/* The reports of the slice are looked at from the beginning. */
static void
begin_slice(At402Batch *batch)
{
	for (int i = batch->first; i < batch->last; i++)
	{
		batch->reports[i]->is_new = true;
		batch->reports[i]->item->device->has_row = false;
		batch->reports[i]->item->device->placed = false;
	}
	batch->fenced = at402_has_fences(batch);
}

/* States of devices that have none. */
static void
add_states(At402Batch *batch)
{
	Datum		stateless = devices_of_slice(batch, false);

	if (ARR_NDIM(DatumGetArrayTypeP(stateless)) > 0)
		at402_run(AT402_SQL_NEW_STATES, &stateless, NULL);
}

/* The device of a row that begins with its id. */
static At402Device *
device_of_row(const At402Batch *batch, uint64 row)
{
	bool		null;
	int			id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1,
												 &null));
	int			first = at402_first_of_device(batch, id);

	return first < 0 ? NULL : batch->reports[first]->item->device;
}

/* Locks the states of the devices of the slice; they tell where these were, where the change
 * does not. */
static void
lock_states(At402Batch *batch)
{
	at402_run(AT402_SQL_LOCK_STATES, (Datum[]) {devices_of_slice(batch, true)}, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		At402Device *device = device_of_row(batch, i);

		if (device != NULL)
			device->has_row = true;
	}
	if (batch->fenced && at402_is_distributed())
		at402_fences_before(batch);
}

/* What the states say before they are changed, where the change does not tell it. */
static void
read_states(At402Batch *batch)
{
	at402_run(AT402_SQL_FIND_STATES, (Datum[]) {devices_of_slice(batch, true)}, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		At402Device *device = device_of_row(batch, i);
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		never;
		bool		null;

		if (device == NULL)
			continue;
		device->has_row = true;
		device->state_time = DatumGetTimestampTz(SPI_getbinval(row, SPI_tuptable->tupdesc, 2,
															   &never));
		device->has_state = !never;
		device->state_ignition = DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &null)) &&
			!null;
	}
}

/* The devices of the slice get their new states; what was before says what is late. */
static void
change_states(At402Batch *batch)
{
	if (at402_is_distributed())
		read_states(batch);
	at402_run(batch->fenced && !at402_is_distributed() ? AT402_SQL_PLACED_STATE : AT402_SQL_STATE,
			  (Datum[]) {Int64GetDatum(batch->handle), devices_of_slice(batch, true)}, NULL);
	at402_see_changes(batch);
}

/*
 * What follows from the reports that are new.  again: some of it may be there,
 * since what is in position may be deleted earlier than the rest.
 */
static void
store_details(At402Batch *batch, bool again)
{
	static const struct
	{
		uint32		homes;
		At402Statement statement;
		At402Statement missing;
	}			tables[] = {
		{AT402_HOME_IO, AT402_SQL_IO, AT402_SQL_MISSING_IO},
		{AT402_HOME_MOTION, AT402_SQL_MOTION, AT402_SQL_MISSING_MOTION},
		{AT402_HOME_CAN, AT402_SQL_CAN, AT402_SQL_MISSING_CAN},
		{AT402_HOME_CAN_FRAME, AT402_SQL_CAN_FRAMES, AT402_SQL_MISSING_CAN_FRAMES},
		{AT402_HOME_BLE, AT402_SQL_BLE, AT402_SQL_MISSING_BLE},
		{AT402_HOME_MODULE | AT402_HOME_EVENT, AT402_SQL_MODULES, AT402_SQL_MISSING_MODULES},
	};
	uint32		homes = homes_of_slice(batch);

	if (batch->any_late)
		compare_late(batch);
	if (brings_events(batch))
		at402_run_batch(batch, again ? AT402_SQL_MISSING_EVENTS : AT402_SQL_EVENTS);
	if (at402_store_frames)
		at402_run_batch(batch, AT402_SQL_FRAMES);
	for (int i = 0; i < lengthof(tables); i++)
		if (homes & tables[i].homes)
			at402_run_batch(batch, again ? tables[i].missing : tables[i].statement);
	if (homes & AT402_HOME_DEVICE)
		at402_update_devices(batch);
	if (batch->fenced)
		at402_judge_fences(batch);
}

/* Have all devices of the slice a row in device_state?  Those that at402 has registered do. */
static bool
have_states(const At402Batch *batch)
{
	for (int i = batch->first; i < batch->last; i++)
		if (!batch->reports[i]->item->device->has_row)
			return false;
	return true;
}

/* All reports of the slice are new, and the states are there; 23505 when one is not. */
static void
store_new(void *argument)
{
	At402Batch *batch = argument;

	SPI_connect();
	begin_slice(batch);
	if (batch->fenced && at402_is_distributed())
		lock_states(batch);
	change_states(batch);
	if (!have_states(batch))
		ereport(ERROR, errcode(ERRCODE_UNIQUE_VIOLATION),
				errmsg("not all devices of the batch have a state"));
	at402_run_batch(batch, AT402_SQL_NEW_POSITIONS);
	/* a trigger may have put a row aside: only RETURNING can tell which */
	if (mark_new(batch) != batch->last - batch->first)
		ereport(ERROR, errcode(ERRCODE_UNIQUE_VIOLATION),
				errmsg("not all reports of the batch are new"));
	store_details(batch, false);
	SPI_finish();
}

/* With rules on the table: those that are there are not new. */
static void
find_repeats(At402Batch *batch)
{
	at402_run_batch(batch, AT402_SQL_FIND_POSITIONS);
	for (uint64 i = 0; i < SPI_processed; i++)
		find_report(batch, SPI_tuptable->vals[i], SPI_tuptable->tupdesc)->is_new = false;
}

static void
store_any(void *argument)
{
	At402Batch *batch = argument;
	bool		rules = at402_has_rules("position");

	SPI_connect();
	begin_slice(batch);
	lock_states(batch);
	if (rules)
		find_repeats(batch);
	at402_run_batch(batch, rules ? AT402_SQL_NEW_POSITIONS : AT402_SQL_POSITIONS);
	if (mark_new(batch) > 0)
	{
		add_states(batch);
		change_states(batch);
		store_details(batch, true);
	}
	SPI_finish();
}

/* Stores the slice.  NULL: done. */
static At402Rejection *
try_slice(At402Batch *batch)
{
	At402Rejection *rejection;
	int			code = ERRCODE_UNIQUE_VIOLATION;

	if (!batch->any_stored_flag &&
		(rejection = at402_try(batch, store_new, batch, &code)) == NULL)
		return NULL;
	/* without ON CONFLICT (rules) another listener may be faster once more */
	for (int i = 0; code == ERRCODE_UNIQUE_VIOLATION && i < AT402_REPEAT_TRIES; i++)
		if ((rejection = at402_try(batch, store_any, batch, &code)) == NULL)
			return NULL;
	return rejection;
}

static void
reject_report(At402Batch *batch, At402Report *r, At402Rejection *rejection)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);

	r->rejection = rejection;
	r->is_new = false;
	r->item->rejected = lappend(r->item->rejected, r);
	MemoryContextSwitchTo(caller);
}

/* The slice is stored: its new reports have taken their frames along. */
static void
mark_kept(At402Batch *batch)
{
	for (int i = batch->first; i < batch->last; i++)
		if (batch->reports[i]->is_new)
			batch->reports[i]->item->kept = true;
}

/*
 * Stores the reports from first to last - 1, halving where one of them is
 * rejected.
 */
static void
store_slice(At402Batch *batch, int first, int last)
{
	At402Rejection *rejection;
	int			middle = first + (last - first) / 2;

	if (first == last)
		return;
	batch->first = first;
	batch->last = last;
	rejection = try_slice(batch);
	if (rejection == NULL)
	{
		mark_kept(batch);
		batch->passed += last - first;
	}
	else if (last - first == 1)
		reject_report(batch, batch->reports[first], rejection);
	else
	{
		store_slice(batch, first, middle);
		store_slice(batch, middle, last);
	}
}

/* ---- text lines ---- */

static bool
any_text(const At402Batch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->items)
		if (((At402Item *) lfirst(lc))->disposition == AT402_TO_FRAME)
			return true;
	return false;
}

static void
store_texts(void *argument)
{
	At402Batch *batch = argument;

	batch->first = batch->last = 0;
	SPI_connect();
	at402_run_batch(batch, AT402_SQL_FRAMES);
	SPI_finish();
}

/* All of them; those that are rejected alone go to quarantine. */
static void
store_all_texts(At402Batch *batch)
{
	List	   *all = batch->items;
	ListCell   *lc;

	if (at402_try(batch, store_texts, batch, NULL) == NULL)
		batch->passed++;
	else
		foreach(lc, all)
		{
			At402Item  *item = lfirst(lc);
			At402Rejection *rejection;

			if (item->disposition != AT402_TO_FRAME)
				continue;
			batch->items = list_make1(item);
			rejection = at402_try(batch, store_texts, batch, NULL);
			if (rejection == NULL)
			{
				batch->passed++;
				continue;
			}
			at402_quarantine(item, "rejected", rejection->message);
			item->sqlstate = rejection->sqlstate;
		}
	batch->items = all;
	at402_decide(batch);
}

/* ---- all of it ---- */

static void
count_results(At402Batch *batch)
{
	for (int i = 0; i < batch->report_count; i++)
		if (batch->reports[i]->is_new)
			batch->inserted++;
		else if (batch->reports[i]->rejection == NULL)
			batch->duplicates++;
}

void
at402_store_batch(At402Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);

	at402_statements_refresh();
	if (batch->listener != 0)
	{
		/* what a user has deferred to the commit would fail for the whole batch */
		SPI_connect();
		at402_run(AT402_SQL_CHECK_AT_ONCE, NULL, NULL);
		SPI_finish();
	}
	at402_resolve_devices(batch);
	at402_batch_collect(batch);
	store_slice(batch, 0, batch->report_count);
	at402_decide(batch);
	if (at402_store_frames && any_text(batch))
		store_all_texts(batch);
	count_results(batch);
	if (!batch->releasing)
		at402_store_quarantine(batch);
	at402_rules_run(batch);
	MemoryContextSwitchTo(caller);
}
