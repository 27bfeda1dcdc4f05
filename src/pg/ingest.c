/*
 * ingest.c - at402_ingest: frames of an array into the tables
 *
 * The listener does the same with frames from its connections; both fill a
 * batch and hand it to store.c, so that what is loaded from a capture ends up
 * exactly as what came in live.  at402_release does it with frames that are in
 * quarantine.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/frame.h"
#include "pg/owner.h"
#include "pg/store.h"

PG_FUNCTION_INFO_V1(at402_ingest);
PG_FUNCTION_INFO_V1(at402_release);

#define RELEASE_FRAMES 500		/* stored together */

static void
raise_bad_argument(const char *name, const char *value, const char *hint)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid %s: \"%s\"", name, value), errhint("%s", hint));
}

/* The letter of a device's last login, which frames alone do not tell; 0. */
static char
device_protocol(Datum imei)
{
	char		letter = 0;

	SPI_connect();
	if (SPI_execute_with_args("SELECT protocol FROM at402.device "
							  "WHERE imei OPERATOR(pg_catalog.=) $1", 1,
							  (Oid[]) {TEXTOID}, &imei, NULL, true, 1) == SPI_OK_SELECT &&
		SPI_processed == 1)
	{
		char	   *protocol = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		letter = protocol != NULL ? protocol[0] : 0;
	}
	SPI_finish();
	return letter;
}

/*
 * at402_ingest(frames, imei, received_at, peer, transport)
 *    -> reports, inserted, duplicates, quarantined
 *
 * A packet of nobody (no IMEI in it, no login before it, no argument imei) is
 * quarantined: from SQL there is no sender that could repeat it.
 */
Datum
at402_ingest(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	At402Batch *batch;
	At402Caller caller;
	at402_input	sender = {0};
	at402_input *inputs;
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	Datum		values[4];
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	caller = at402_become_owner();
	array = PG_GETARG_ARRAYTYPE_P(0);
	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT, &elements, &nulls,
					  &count);

	if (!PG_ARGISNULL(1))
	{
		char	   *imei = text_to_cstring(PG_GETARG_TEXT_PP(1));

		if (!at402_imei_valid((uint8_t *) imei, strlen(imei)))
			raise_bad_argument("imei", imei, "An IMEI has 15 digits, the last a Luhn check digit.");
		strlcpy(sender.from.imei, imei, sizeof(sender.from.imei));
		sender.from.protocol = device_protocol(PG_GETARG_DATUM(1));
		sender.from.logged_in = true;
	}
	sender.received_at = PG_ARGISNULL(2) ? GetCurrentTransactionStartTimestamp()
										 : PG_GETARG_TIMESTAMPTZ(2);
	if (TIMESTAMP_NOT_FINITE(sender.received_at))
		raise_bad_argument("received_at", "infinity", "Give the time of reception.");
	if (!PG_ARGISNULL(3))
		strlcpy(sender.from.peer, DatumGetCString(DirectFunctionCall1(inet_out, PG_GETARG_DATUM(3))),
				sizeof(sender.from.peer));
	sender.transport = PG_ARGISNULL(4) ? "sql" : text_to_cstring(PG_GETARG_TEXT_PP(4));

	batch = at402_batch_create();
	inputs = MemoryContextAllocHuge(batch->context, sizeof(at402_input) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		at402_span	frame;
		at402_frame scan;

		if (nulls[i])
			continue;
		frame = at402_frame_bytes(DatumGetAt402FramePP(elements[i]));
		at402_frame_scan(frame.bytes, frame.length, &scan);
		sender.bytes = frame.bytes;
		sender.length = frame.length;
		sender.kind = scan.kind;
		if (scan.kind == AT402_FRAME_LOGIN)
		{
			/* it names the sender of what follows */
			at402_input_login(&sender);
			sender.from.logged_in = true;
		}
		inputs[i] = sender;
		at402_batch_add(batch, &inputs[i]);
	}
	foreach(lc, batch->items)
	{
		At402Item  *item = lfirst(lc);

		if (item->disposition == AT402_REFUSED)
			at402_quarantine(item, item->reason,
							 "packet without IMEI, and no login line came before it");
	}
	at402_store_batch(batch);

	values[0] = Int32GetDatum(batch->reports_seen);
	values[1] = Int32GetDatum(batch->inserted);
	values[2] = Int32GetDatum(batch->duplicates);
	values[3] = Int32GetDatum(batch->quarantined);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, (bool[4]) {0});
	at402_batch_destroy(batch);
	at402_become_caller(&caller);
	return (Datum) 0;
}

/* ---- release ---- */

static char *
text_column(HeapTuple row, TupleDesc desc, int column)
{
	char	   *value = SPI_getvalue(row, desc, column);

	return value != NULL ? value : "";
}

static At402Item *
add_quarantined(At402Batch *batch, HeapTuple row, TupleDesc desc)
{
	at402_input *input = palloc0(sizeof(at402_input));
	at402_frame scan;
	at402_span	bytes;
	bool		null;

	input->received_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 2, &null));
	input->from.logged_in = DatumGetBool(SPI_getbinval(row, desc, 3, &null));
	if (input->from.logged_in)
		strlcpy(input->from.imei, text_column(row, desc, 4), sizeof(input->from.imei));
	input->from.protocol = text_column(row, desc, 5)[0];
	input->transport = text_column(row, desc, 6);
	strlcpy(input->from.peer, text_column(row, desc, 7), sizeof(input->from.peer));
	bytes = at402_frame_bytes(DatumGetAt402FramePP(SPI_getbinval(row, desc, 8, &null)));
	if (at402_frame_scan(bytes.bytes, bytes.length, &scan) != AT402_OK)
		return NULL;			/* a row that somebody else put there */
	input->bytes = bytes.bytes;
	input->length = bytes.length;
	input->kind = scan.kind;
	return at402_batch_add(batch, input);
}

/* Is nothing of the frame kept out any more, nor of one that repeats it? */
static bool
was_stored(const At402Batch *batch, const At402Item *item)
{
	for (int i = 0; i < batch->report_count; i++)
		if (batch->reports[i]->rejection != NULL)
			for (const At402Report *r = batch->reports[i]; r != NULL; r = r->repeat)
				if (r->item == item)
					return false;
	return item->disposition == AT402_TO_ROWS || item->disposition == AT402_TO_DEVICE ||
		item->disposition == AT402_TO_FRAME;
}

/*
 * Tries the frames of these rows again and deletes the rows of those that are
 * stored now.  Returns how many.
 */
static int
release_rows(SPITupleTable *rows, uint64 count)
{
	At402Batch *batch = at402_batch_create();
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	At402Item **items = palloc(sizeof(At402Item *) * count);
	int			released = 0;

	batch->releasing = true;
	for (uint64 i = 0; i < count; i++)
		items[i] = add_quarantined(batch, rows->vals[i], rows->tupdesc);
	MemoryContextSwitchTo(caller);
	at402_store_batch(batch);
	for (uint64 i = 0; i < count; i++)
	{
		bool		null;
		Datum		key[2];

		if (items[i] == NULL || !was_stored(batch, items[i]))
			continue;
		key[0] = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &null);
		key[1] = SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &null);
		SPI_execute_with_args("DELETE FROM at402.quarantine WHERE id OPERATOR(pg_catalog.=) $1 "
							  "AND received_at OPERATOR(pg_catalog.=) $2", 2,
							  (Oid[]) {INT8OID, TIMESTAMPTZOID}, key, NULL, false, 0);
		released++;
	}
	at402_batch_destroy(batch);
	return released;
}

/* Which of them: $1, $2 since and until, $3 imei, $4 reason */
#define QUARANTINED                                                                                \
	"WHERE received_at OPERATOR(pg_catalog.>=) $1 AND received_at OPERATOR(pg_catalog.<) $2 "      \
	"AND ($3 IS NULL OR imei OPERATOR(pg_catalog.=) $3) "                                          \
	"AND ($4 IS NULL OR reason OPERATOR(pg_catalog.=) $4)"

/*
 * at402_release(since, until, imei, reason) -> frames, released, kept
 *
 * Tries again what is in quarantine and was received in this span, from this
 * sender, for this reason; NULL: from any, for any.
 */
Datum
at402_release(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[4] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID};
	Datum		args[4];
	char		nulls[4];
	At402Caller caller;
	Portal		cursor;
	int			frames = 0;
	int			released = 0;
	Datum		values[3];

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < 4; i++)
	{
		args[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	caller = at402_become_owner();
	SPI_connect();
	SPI_execute("SELECT at402_internal.at402_need_table('quarantine'::pg_catalog.text)", false, 0);
	/* all devices in the order of their ids, as a listener locks them: it would be a deadlock
	 * to come back to a smaller one with the next frames */
	SPI_execute_with_args(
		"SELECT FROM at402.device_state AS s WHERE s.device_id OPERATOR(pg_catalog.=) ANY (ARRAY("
		"  SELECT d.id FROM at402.device AS d WHERE d.imei OPERATOR(pg_catalog.=) ANY (ARRAY("
		"    SELECT DISTINCT imei FROM at402.quarantine " QUARANTINED ")))) "
		"ORDER BY s.device_id FOR UPDATE",
		4, types, args, nulls, false, 0);
	cursor = SPI_cursor_open_with_args(NULL,
		"SELECT id, received_at, logged_in, imei, protocol, transport, pg_catalog.host(peer), bytes "
		"FROM at402.quarantine " QUARANTINED " ORDER BY id",
		4, types, args, nulls, false, 0);
	for (;;)
	{
		SPITupleTable *rows;
		uint64		count;

		SPI_cursor_fetch(cursor, true, RELEASE_FRAMES);
		rows = SPI_tuptable;
		count = SPI_processed;
		if (count == 0)
			break;
		released += release_rows(rows, count);
		frames += (int) count;
		SPI_freetuptable(rows);
	}
	SPI_cursor_close(cursor);
	SPI_finish();
	at402_become_caller(&caller);

	values[0] = Int32GetDatum(frames);
	values[1] = Int32GetDatum(released);
	values[2] = Int32GetDatum(frames - released);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, (bool[3]) {0});
	return (Datum) 0;
}
