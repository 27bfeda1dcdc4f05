/*
 * ingest.c - at402_ingest: frames of an array into the tables
 *
 * The listener does the same with frames from its connections; both fill a
 * batch and hand it to store.c, so that what is loaded from a capture ends up
 * exactly as what came in live.
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/frame.h"
#include "pg/store.h"

PG_FUNCTION_INFO_V1(at402_ingest);

/* A login line names the sender of what follows it. */
static void
follow_login(At402Item *item, at402_span frame)
{
	at402_login login;
	size_t		length;

	at402_login_parse(frame.bytes, frame.length, &login);
	length = Min(login.imei.length, sizeof(item->login_imei) - 1);
	if (length > 0)
		memcpy(item->login_imei, login.imei.bytes, length);
	item->login_imei[length] = '\0';
	item->protocol = login.protocol.length > 0 ? (char) login.protocol.bytes[0] : 0;
	item->logged_in = true;
}

static void
raise_bad_argument(const char *name, const char *value, const char *hint)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid %s: \"%s\"", name, value), errhint("%s", hint));
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
	At402Item	item = {0};
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	Datum		values[4];
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	array = PG_GETARG_ARRAYTYPE_P(0);
	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT, &elements, &nulls,
					  &count);

	if (!PG_ARGISNULL(1))
	{
		char	   *imei = text_to_cstring(PG_GETARG_TEXT_PP(1));

		if (!at402_imei_valid((uint8_t *) imei, strlen(imei)))
			raise_bad_argument("imei", imei, "An IMEI has 15 digits, the last a Luhn check digit.");
		strlcpy(item.login_imei, imei, sizeof(item.login_imei));
		item.logged_in = true;
	}
	item.received_at = PG_ARGISNULL(2) ? GetCurrentTransactionStartTimestamp()
									   : PG_GETARG_TIMESTAMPTZ(2);
	item.peer = PG_ARGISNULL(3) ? NULL
								: DatumGetCString(DirectFunctionCall1(inet_out,
																	  PG_GETARG_DATUM(3)));
	item.transport = PG_ARGISNULL(4) ? "sql" : text_to_cstring(PG_GETARG_TEXT_PP(4));

	batch = at402_batch_create();
	for (int i = 0; i < count; i++)
	{
		at402_span	frame;
		at402_frame scan;

		if (nulls[i])
			continue;
		frame = at402_frame_bytes(DatumGetAt402FramePP(elements[i]));
		at402_frame_scan(frame.bytes, frame.length, &scan);
		item.bytes = frame.bytes;
		item.length = frame.length;
		item.kind = scan.kind;
		if (scan.kind == AT402_FRAME_LOGIN)
			follow_login(&item, frame);
		at402_batch_add(batch, &item);
	}
	foreach(lc, batch->items)
	{
		At402Item  *added = lfirst(lc);

		if (added->fate == AT402_FATE_REFUSED)
		{
			added->fate = AT402_FATE_QUARANTINE;
			added->message = "packet without IMEI, and no login line came before it";
		}
	}
	at402_store_batch(batch);

	values[0] = Int32GetDatum(batch->reports_seen);
	values[1] = Int32GetDatum(batch->inserted);
	values[2] = Int32GetDatum(batch->duplicates);
	values[3] = Int32GetDatum(batch->quarantined);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, (bool[4]) {0});
	at402_batch_destroy(batch);
	return (Datum) 0;
}
