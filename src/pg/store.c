/*
 * store.c - from a batch to rows, whatever is in the way
 *
 * Tables are written in one fixed order, rows in the order of their keys, so
 * that two listeners do not deadlock.
 *
 * All statements of a slice of reports run in a subtransaction.  When it fails
 * with an error that is the surroundings' fault, the error goes on to the
 * caller.  Any other error is some report's: the slice is halved until the
 * report is alone, and that one is quarantined.
 *
 * Most batches hold no repeat, and a plain INSERT is nearly twice as fast as
 * ON CONFLICT: it is tried first unless a device said that it sends from its
 * memory.
 */
#include "postgres.h"

#include "commands/extension.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/attempt.h"
#include "pg/settings.h"
#include "pg/statements.h"
#include "pg/store.h"

/* ---- devices ---- */

static bool
needs_device(const At402Item *item)
{
	return item->imei[0] != '\0' && item->device_id == 0 &&
		(item->fate == AT402_FATE_ROWS || item->fate == AT402_FATE_DEVICE ||
		 item->fate == AT402_FATE_TEXT);
}

static bool
any_needs_device(const At402Batch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->items)
		if (needs_device(lfirst(lc)))
			return true;
	return false;
}

static void
quarantine_item(At402Batch *batch, At402Item *item, const char *reason, const char *sqlstate,
				const char *message)
{
	item->fate = AT402_FATE_QUARANTINE;
	item->reason = reason;
	item->sqlstate = sqlstate ? MemoryContextStrdup(batch->context, sqlstate) : NULL;
	item->message = MemoryContextStrdup(batch->context, message);
}

static int
compare_imei(const ListCell *a, const ListCell *b)
{
	return strcmp(((At402Item *) lfirst(a))->imei, ((At402Item *) lfirst(b))->imei);
}

/* Does the item tell of its device what is not in the table yet? */
static bool
brings_news(const At402Item *item, const char *protocol)
{
	if (item->kind == AT402_FRAME_LOGIN)
		return true;
	return item->kind == AT402_FRAME_PACKET && !item->logged_in &&
		(protocol == NULL || protocol[0] != (char) item->bytes[0]);
}

/*
 * Gives the items their devices; those of disabled ones go to quarantine.
 * True when at402.device has to be brought up to date.
 */
static bool
find_devices(At402Batch *batch)
{
	List	   *waiting = NIL;
	ListCell   *lc;
	uint64		row = 0;
	bool		news = false;

	at402_run(batch, AT402_SQL_FIND_DEVICES, 0);
	foreach(lc, batch->items)
		if (needs_device(lfirst(lc)))
			waiting = lappend(waiting, lfirst(lc));
	list_sort(waiting, compare_imei);
	/* both sides come in the order of the IMEIs */
	foreach(lc, waiting)
	{
		At402Item  *item = lfirst(lc);
		TupleDesc	desc = SPI_tuptable->tupdesc;
		HeapTuple	tuple;
		int			order = 1;
		bool		null;

		while (row < SPI_processed &&
			   (order = strcmp(SPI_getvalue(SPI_tuptable->vals[row], desc, 1), item->imei)) < 0)
			row++;
		if (row == SPI_processed || order > 0)
			continue;			/* a stranger */
		tuple = SPI_tuptable->vals[row];
		item->device_id = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &null));
		item->state_time = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 5, &null));
		item->has_state = !null;
		item->state_ignition = DatumGetBool(SPI_getbinval(tuple, desc, 6, &null));
		if (!DatumGetBool(SPI_getbinval(tuple, desc, 3, &null)))
			quarantine_item(batch, item, "device_disabled", NULL,
							"the device is disabled in at402.device");
		else
			news |= brings_news(item, SPI_getvalue(tuple, desc, 4));
	}
	return news;
}

/* Registers strangers, as many as the limit leaves for this minute. */
static void
register_devices(At402Batch *batch)
{
	static TimestampTz minute;
	static int64 registered;
	TimestampTz now = GetCurrentTimestamp();
	int64		left = PG_INT64_MAX;

	if (at402_register_limit >= 0)
	{
		if (now - minute >= USECS_PER_MINUTE)
		{
			minute = now;
			registered = 0;
		}
		left = Max(at402_register_limit - registered, 0);
	}
	registered += (int64) at402_run(batch, AT402_SQL_REGISTER_DEVICES, left);
}

static void
settle_strangers(At402Batch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->items)
	{
		At402Item  *item = lfirst(lc);

		if (!needs_device(item))
			continue;
		if (at402_unknown_devices == AT402_QUARANTINE)
			quarantine_item(batch, item, "unknown_device", NULL,
							"the device is not in at402.device");
		else if (at402_unknown_devices == AT402_REGISTER && batch->listener == 0)
			/* from SQL there is no sender that could repeat it */
			quarantine_item(batch, item, "register_limit", NULL,
							"more unknown devices than at402.register_limit");
		else
		{
			item->fate = at402_unknown_devices == AT402_IGNORE ? AT402_FATE_IGNORED
															   : AT402_FATE_REFUSED;
			item->reason = at402_unknown_devices == AT402_IGNORE ? "unknown_device"
																 : "register_limit";
		}
	}
}

/* For all items, or for the one that is tried alone. */
static void
resolve_devices(void *argument)
{
	At402Batch *batch = argument;
	bool		news;

	SPI_connect();
	news = find_devices(batch);
	if (any_needs_device(batch) && at402_unknown_devices == AT402_REGISTER)
	{
		register_devices(batch);
		news |= find_devices(batch);
	}
	if (news)
		at402_run(batch, AT402_SQL_UPDATE_DEVICES, 0);
	SPI_finish();
}

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
		bool		before = r->item->device_id != device_id ? r->item->device_id < device_id
			: r->time != time ? r->time < time
			: r->report.seq != seq ? r->report.seq < seq
			: r->content_hash < hash;

		if (before)
			low = middle + 1;
		else if (r->item->device_id == device_id && r->time == time && r->report.seq == seq &&
				 r->content_hash == hash)
			return r;
		else
			high = middle;
	}
	return NULL;
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

/* What follows from the reports that are new. */
static void
store_details(At402Batch *batch)
{
	static const struct
	{
		uint32		homes;
		At402Statement statement;
	}			tables[] = {
		{AT402_HOME_IO, AT402_SQL_IO},
		{AT402_HOME_MOTION, AT402_SQL_MOTION},
		{AT402_HOME_CAN, AT402_SQL_CAN},
		{AT402_HOME_CAN_FRAME, AT402_SQL_CAN_FRAMES},
		{AT402_HOME_BLE, AT402_SQL_BLE},
		{AT402_HOME_MODULE | AT402_HOME_EVENT, AT402_SQL_MODULES},
		{AT402_HOME_DEVICE, AT402_SQL_SIM_CARDS},
	};
	uint32		homes = homes_of_slice(batch);

	at402_run(batch, AT402_SQL_EVENTS, 0);
	if (batch->any_late)
		at402_run(batch, AT402_SQL_LATE_EVENTS, 0);
	if (at402_store_frames)
		at402_run(batch, AT402_SQL_FRAMES, 0);
	for (int i = 0; i < lengthof(tables); i++)
		if (homes & tables[i].homes)
			at402_run(batch, tables[i].statement, 0);
	at402_run(batch, AT402_SQL_STATE, 0);
}

/* All reports of the slice are new; 23505 when one is not. */
static void
store_new(void *argument)
{
	At402Batch *batch = argument;

	SPI_connect();
	/* a trigger may have put a row aside: only RETURNING can tell which */
	if (at402_run(batch, AT402_SQL_NEW_POSITIONS, 0) != batch->last - batch->first)
		ereport(ERROR, errcode(ERRCODE_UNIQUE_VIOLATION),
				errmsg("not all reports of the batch are new"));
	store_details(batch);
	SPI_finish();
}

static void
store_any(void *argument)
{
	At402Batch *batch = argument;
	uint64		stored;

	SPI_connect();
	for (int i = batch->first; i < batch->last; i++)
		batch->reports[i]->is_new = true;
	at402_run(batch, AT402_SQL_POSITIONS, 0);
	stored = SPI_processed;
	for (int i = batch->first; i < batch->last; i++)
		batch->reports[i]->is_new = false;
	for (uint64 i = 0; i < stored; i++)
	{
		At402Report *r = find_report(batch, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);

		if (r != NULL)
			r->is_new = true;
	}
	if (stored > 0)
		store_details(batch);
	SPI_finish();
}

/* ---- whose fault ---- */

const char *
at402_missing(const char **hint)
{
	const char *missing = NULL;
	Oid			extension = get_extension_oid("at402", true);

	if (!OidIsValid(extension))
	{
		*hint = "CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables();";
		return "extension at402 does not exist";
	}
	SPI_connect();
	if (SPI_execute("SELECT CASE WHEN to_regclass('at402.position') IS NULL THEN 0 "
					"WHEN NOT has_schema_privilege(to_regnamespace('at402'), 'USAGE') THEN 2 "
					"WHEN NOT (SELECT bool_and(has_table_privilege(c.oid, 'INSERT') "
					"  AND has_table_privilege(c.oid, 'SELECT')) FROM pg_class c "
					"  WHERE c.relnamespace = to_regnamespace('at402') AND c.relname IN "
					"  ('device', 'device_state', 'position', 'event', 'io', 'motion', 'can', "
					"   'can_frame', 'ble', 'module', 'frame', 'quarantine')) THEN 2 "
					"ELSE 1 END",
					true, 1) == SPI_OK_SELECT &&
		SPI_processed == 1)
	{
		bool		null;
		int			found = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
														SPI_tuptable->tupdesc, 1, &null));

		if (found == 0)
		{
			*hint = "SELECT at402_create_tables();";
			missing = "the tables of at402 do not exist";
		}
		else if (found == 2)
		{
			*hint = "SELECT at402_create_tables();  -- as a superuser: it hands them over";
			missing = "the role may not write to the tables of at402";
		}
	}
	SPI_finish();
	return missing;
}

/*
 * An error of the surroundings goes away by itself or by the administrator's
 * hand, and the reports can then be stored; anything else is in the report.
 */
static bool
is_surroundings(const ErrorData *error)
{
	const char *hint;

	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
	}
	/* a row that a policy forbids: it is the row, not a missing right */
	if (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && error->funcname != NULL &&
		strcmp(error->funcname, "ExecWithCheckOptions") == 0)
		return false;
	/* no partition, or a partition that is just being made: no constraint is named */
	if (error->sqlerrcode == ERRCODE_CHECK_VIOLATION && error->constraint_name == NULL)
		return true;
	/* a missing table, column, function or right: ours, or one of a user's trigger? */
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION ||
		error->sqlerrcode == ERRCODE_INVALID_SCHEMA_NAME)
		return at402_missing(&hint) != NULL || error->context == NULL ||
			strchr(error->context, '\n') == NULL;
	return false;
}

/* Raises an error again, with the statement that mends what is missing. */
static void
raise_surroundings(ErrorData *error)
{
	const char *hint;

	if (error->hint == NULL && at402_missing(&hint) != NULL)
		error->hint = psprintf("Execute: %s", hint);
	ReThrowError(error);
}

/* Does what needs the whole batch or one item only; the error is the
 * surroundings' or it is returned. */
static ErrorData *
attempt(At402Work work, At402Batch *batch)
{
	ErrorData  *error = NULL;

	if (!at402_attempt(AT402_SUBTRANSACTION, work, batch, &error) && is_surroundings(error))
		raise_surroundings(error);
	return error;
}

/*
 * Tries the work for the batch; where it is rejected, for each of the items
 * that want it, and quarantines those that are rejected alone.
 */
static void
attempt_items(At402Work work, At402Batch *batch, bool (*wants) (const At402Item *item))
{
	List	   *all = batch->items;
	ListCell   *lc;

	if (attempt(work, batch) == NULL)
		return;
	foreach(lc, all)
	{
		At402Item  *item = lfirst(lc);
		ErrorData  *error;

		if (!wants(item))
			continue;
		batch->items = list_make1(item);
		error = attempt(work, batch);
		if (error != NULL)
			quarantine_item(batch, item, "rejected", unpack_sql_state(error->sqlerrcode),
							error->message);
	}
	batch->items = all;
}

static void
quarantine_report(At402Batch *batch, At402Report *r, const ErrorData *error)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);

	r->quarantined = true;
	r->is_new = false;
	r->sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	r->message = pstrdup(error->message);
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
	ErrorData  *error = NULL;
	int			middle = first + (last - first) / 2;

	if (first == last)
		return;
	batch->first = first;
	batch->last = last;
	if (batch->any_stored_flag || (error = attempt(store_new, batch)) != NULL)
	{
		if (error == NULL || error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION)
			error = attempt(store_any, batch);
	}
	if (error == NULL)
		mark_kept(batch);
	else if (last - first == 1)
		quarantine_report(batch, batch->reports[first], error);
	else
	{
		store_slice(batch, first, middle);
		store_slice(batch, middle, last);
	}
}

static void
count_results(At402Batch *batch)
{
	ListCell   *lc;

	for (int i = 0; i < batch->report_count; i++)
	{
		const At402Report *r = batch->reports[i];

		if (r->quarantined)
			batch->quarantined++;
		else if (r->is_new)
			batch->inserted++;
		else
			batch->duplicates++;
	}
	foreach(lc, batch->items)
		if (((At402Item *) lfirst(lc))->fate == AT402_FATE_QUARANTINE)
			batch->quarantined++;
}

static bool
is_text(const At402Item *item)
{
	return item->fate == AT402_FATE_TEXT;
}

static bool
any_text(const At402Batch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->items)
		if (is_text(lfirst(lc)))
			return true;
	return false;
}

static void
store_texts(void *argument)
{
	At402Batch *batch = argument;

	batch->first = batch->last = 0;
	SPI_connect();
	at402_run(batch, AT402_SQL_FRAMES, 0);
	SPI_finish();
}

static void
store_presence(void *argument)
{
	At402Batch *batch = argument;

	SPI_connect();
	at402_run(batch, AT402_SQL_PRESENCE, batch->listener);
	SPI_finish();
}

/* ERROR 53400 when at402.quarantine_limit is reached. */
static void
store_quarantine(void *argument)
{
	At402Batch *batch = argument;

	SPI_connect();
	if (at402_quarantine_limit > 0)
	{
		bool		null;
		Numeric		size;

		at402_run(batch, AT402_SQL_QUARANTINE_SIZE, 0);
		size = DatumGetNumeric(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											 &null));
		if (!null && DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(size))) >=
			at402_quarantine_limit * INT64CONST(1024) * 1024)
			ereport(ERROR, errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					errmsg("quarantine is full"),
					errdetail("at402.quarantine_limit is %d MB.", at402_quarantine_limit),
					errhint("Mend what is in at402.quarantine and SELECT * FROM at402_release(), "
							"or delete rows."));
	}
	at402_run(batch, AT402_SQL_QUARANTINE, 0);
	SPI_finish();
}

/* What could not even be quarantined must not be answered. */
static void
refuse_quarantined(At402Batch *batch)
{
	ListCell   *lc;

	for (int i = 0; i < batch->report_count; i++)
		if (batch->reports[i]->quarantined)
			quarantine_item(batch, batch->reports[i]->item, "rejected", NULL, "");
	foreach(lc, batch->items)
	{
		At402Item  *item = lfirst(lc);

		if (item->fate == AT402_FATE_QUARANTINE)
		{
			item->fate = AT402_FATE_REFUSED;
			item->reason = "not_quarantined";
		}
	}
	batch->quarantined = 0;
}

void
at402_store_batch(At402Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	ErrorData  *error;

	at402_statements_refresh();
	if (batch->listener != 0)
	{
		/* what a user has deferred to the commit would fail for the whole batch */
		SPI_connect();
		at402_run(batch, AT402_SQL_CHECK_AT_ONCE, 0);
		SPI_finish();
	}
	if (any_needs_device(batch))
	{
		attempt_items(resolve_devices, batch, needs_device);
		settle_strangers(batch);
	}
	at402_batch_collect(batch);
	store_slice(batch, 0, batch->report_count);
	if (at402_store_frames && any_text(batch))
		attempt_items(store_texts, batch, is_text);
	count_results(batch);
	if (batch->quarantined > 0 && !batch->releasing &&
		!at402_attempt(AT402_SUBTRANSACTION, store_quarantine, batch, &error))
	{
		/* the others of the batch need not wait for it; a caller in SQL has to know */
		if (batch->listener == 0 || (error->sqlerrcode != ERRCODE_CONFIGURATION_LIMIT_EXCEEDED &&
									 is_surroundings(error)))
			ReThrowError(error);
		refuse_quarantined(batch);
	}
	if (batch->presence != NIL && (error = attempt(store_presence, batch)) != NULL)
		/* who is connected is not worth a report */
		ereport(LOG, errmsg("could not store which trackers are connected: %s", error->message));
	MemoryContextSwitchTo(caller);
}

void
at402_store_restart(int listener)
{
	At402Batch *batch = at402_batch_create();

	at402_statements_refresh();
	SPI_connect();
	at402_run(batch, AT402_SQL_RESTART, listener);
	SPI_finish();
	at402_batch_destroy(batch);
}
