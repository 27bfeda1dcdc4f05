/*
 * devices.c - the devices that frames of a batch are from
 *
 * Each device is looked up once for a batch, all of them by one statement; what
 * a frame says of it is compared here, so that at402.device is written to only
 * where there is news.  A user's trigger or constraint may refuse a device: the
 * devices are then halved like reports (store.c), until the one is alone, and
 * its frames go to quarantine.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/devices.h"
#include "pg/settings.h"
#include "pg/statements.h"
#include "pg/try.h"
#include "pg/value.h"

/* ---- collecting ---- */

static bool
needs_device(const At402Item *item)
{
	return item->imei[0] != '\0' &&
		(item->disposition == AT402_TO_ROWS || item->disposition == AT402_TO_DEVICE ||
		 item->disposition == AT402_TO_FRAME);
}

static void
say_span(At402Device *d, At402Fact fact, at402_span span)
{
	/* a blank is no news: it never overwrites what is known */
	if (at402_says_anything(span))
		d->said[fact] = at402_text_cstring(span);
}

/* The last word counts: a login's, else the letter of a packet. */
static void
hear_login(At402Device *d, const At402Item *item)
{
	at402_login login;

	at402_login_parse(item->input->bytes, item->input->length, &login);
	say_span(d, AT402_MODEL, login.model);
	say_span(d, AT402_FIRMWARE, login.firmware);
	say_span(d, AT402_HARDWARE, login.hardware);
	say_span(d, AT402_VIN, login.vin);
	say_span(d, AT402_PROTOCOL, login.protocol);
}

static void
hear_packet(At402Device *d, const At402Item *item)
{
	if (!item->input->from.logged_in)
		d->said[AT402_PROTOCOL] = pnstrdup((const char *) item->input->bytes, 1);
}

static void
hear(At402Batch *batch, at402_frame_kind kind, void (*listen) (At402Device *, const At402Item *))
{
	ListCell   *lc;

	foreach(lc, batch->items)
	{
		At402Item  *item = lfirst(lc);

		if (item->device != NULL && item->input->kind == kind)
			listen(item->device, item);
	}
}

static int
compare_imei(const ListCell *a, const ListCell *b)
{
	return strcmp(((At402Device *) lfirst(a))->imei, ((At402Device *) lfirst(b))->imei);
}

/* The devices of the batch in the order of their IMEIs. */
static List *
collect_devices(At402Batch *batch)
{
	HASHCTL		ctl = {.keysize = AT402_SENDER_SIZE,
					   .entrysize = sizeof(At402Device),
					   .hcxt = batch->context};
	List	   *devices = NIL;
	ListCell   *lc;

	batch->devices = hash_create("at402 devices of a batch", 256, &ctl,
								 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	foreach(lc, batch->items)
	{
		At402Item  *item = lfirst(lc);
		bool		found;

		if (!needs_device(item))
			continue;
		item->device = hash_search(batch->devices, item->imei, HASH_ENTER, &found);
		if (found)
			continue;
		memset((char *) item->device + AT402_SENDER_SIZE, 0,
			   sizeof(At402Device) - AT402_SENDER_SIZE);
		item->device->first_seen = item->input->received_at;
		devices = lappend(devices, item->device);
	}
	hear(batch, AT402_FRAME_PACKET, hear_packet);
	hear(batch, AT402_FRAME_LOGIN, hear_login);
	list_sort(devices, compare_imei);
	return devices;
}

/* ---- looking up ---- */

typedef struct Resolving
{
	At402Batch *batch;
	List	   *devices;		/* those that are resolved together */
	int			registered;
} Resolving;

static Datum
make_array(Datum *elements, int count, Oid type)
{
	bool		text = type == TEXTOID;
	int16		size = text ? -1 : type == INT4OID ? sizeof(int32) : sizeof(TimestampTz);

	return PointerGetDatum(construct_array(elements, count, type, size, !text,
										   type == TIMESTAMPTZOID ? TYPALIGN_DOUBLE
																  : TYPALIGN_INT));
}

static Datum
imeis_of(List *devices)
{
	Datum	   *imeis = palloc(sizeof(Datum) * list_length(devices));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, devices)
		imeis[n++] = CStringGetTextDatum(((At402Device *) lfirst(lc))->imei);
	return make_array(imeis, n, TEXTOID);
}

/* Fills in what at402.device says.  Returns those that it does not know. */
static List *
find_devices(At402Batch *batch, List *devices)
{
	List	   *unknown = NIL;
	ListCell   *lc;
	uint64		rows = at402_run(AT402_SQL_FIND_DEVICES, (Datum[]) {imeis_of(devices)}, NULL);

	for (uint64 i = 0; i < rows; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		null;
		Datum		imei = SPI_getbinval(tuple, desc, 1, &null);
		At402Device *d = hash_search(batch->devices, TextDatumGetCString(imei), HASH_FIND, NULL);

		if (d == NULL)
			continue;
		d->id = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &null));
		d->enabled = DatumGetBool(SPI_getbinval(tuple, desc, 3, &null)) && !null;
		for (int fact = 0; fact < AT402_FACTS; fact++)
		{
			Datum		value = SPI_getbinval(tuple, desc, 4 + fact, &null);

			d->known[fact] = null ? NULL : TextDatumGetCString(value);
		}
	}
	foreach(lc, devices)
		if (((At402Device *) lfirst(lc))->id == 0)
			unknown = lappend(unknown, lfirst(lc));
	return unknown;
}

static int
compare_id(const void *a, const void *b)
{
	const At402Device *x = *(At402Device *const *) a;
	const At402Device *y = *(At402Device *const *) b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* ---- registering ---- */

/* What is rolled back was not registered. */
static TimestampTz registered_since;	/* a minute begins */
static int64 registered;		/* in it, by transactions that are committed */
static int64 registering;		/* by the one that is open */

static void
end_registering(XactEvent event, void *unused)
{
	if (event == XACT_EVENT_COMMIT)
		registered += registering;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		registering = 0;
}

/* How many more may be registered now? */
static int64
register_room(void)
{
	static bool called_back = false;
	TimestampTz now = GetCurrentTimestamp();

	if (!called_back)
		RegisterXactCallback(end_registering, NULL);
	called_back = true;
	if (at402_register_limit < 0)
		return PG_INT64_MAX;
	/* the clock may be set back, too */
	if (now - registered_since >= USECS_PER_MINUTE || now < registered_since)
	{
		registered_since = now;
		registered = 0;
	}
	return Max(at402_register_limit - registered - registering, 0);
}

/* Each device has a state from the beginning: reports change it, and need not look for it. */
static void
add_states(List *devices)
{
	Datum	   *ids = palloc(sizeof(Datum) * list_length(devices));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, devices)
		if (((At402Device *) lfirst(lc))->id != 0)
			ids[n++] = Int32GetDatum(((At402Device *) lfirst(lc))->id);
	at402_run(AT402_SQL_NEW_STATES, (Datum[]) {make_array(ids, n, INT4OID)}, NULL);
}

static void
register_devices(Resolving *r, List *unknown)
{
	List	   *some = list_truncate(list_copy(unknown),
									 (int) Min(register_room(), list_length(unknown)));
	Datum	   *seen = palloc(sizeof(Datum) * list_length(unknown));
	int			n = 0;
	ListCell   *lc;

	if (some == NIL)
		return;
	foreach(lc, some)
		seen[n++] = TimestampTzGetDatum(((At402Device *) lfirst(lc))->first_seen);
	r->registered = (int) at402_run(AT402_SQL_REGISTER_DEVICES,
									(Datum[]) {imeis_of(some), make_array(seen, n, TIMESTAMPTZOID)},
									NULL);
	/* also those that somebody else has registered meanwhile */
	find_devices(r->batch, some);
	add_states(some);
}

/* ---- news ---- */

static bool
has_news(const At402Device *d)
{
	for (int fact = 0; fact < AT402_FACTS; fact++)
		if (d->said[fact] != NULL &&
			(d->known[fact] == NULL || strcmp(d->said[fact], d->known[fact]) != 0))
			return true;
	return false;
}

/* Devices must come in the order of their ids: two listeners would deadlock. */
static void
update_device(At402Device *d)
{
	Datum		args[1 + AT402_FACTS] = {Int32GetDatum(d->id)};
	char		nulls[1 + AT402_FACTS] = {' '};

	if (d->id == 0 || !d->enabled || !has_news(d))
		return;
	for (int fact = 0; fact < AT402_FACTS; fact++)
	{
		nulls[1 + fact] = d->said[fact] != NULL ? ' ' : 'n';
		if (d->said[fact] != NULL)
			args[1 + fact] = CStringGetTextDatum(d->said[fact]);
	}
	at402_run(AT402_SQL_UPDATE_DEVICE, args, nulls);
}

static int
compare_cell_id(const ListCell *a, const ListCell *b)
{
	return compare_id(&lfirst(a), &lfirst(b));
}

static void
hear_sim(void *context, at402_event event, const at402_field_def *field,
		 const at402_value *value)
{
	At402Device *d = context;
	at402_value measured = *value;
	bool		none = false;

	if (!at402_measure(field, &measured, &none))
		return;
	if (strcmp(field->name, "imsi") == 0)
		d->said[AT402_IMSI] = at402_value_cstring(field, value);
	else if (strcmp(field->name, "iccid") == 0)
		d->said[AT402_ICCID] = at402_value_cstring(field, value);
}

void
at402_update_devices(At402Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	bool		heard = false;

	/* sorted by device and time: the last one's word stays */
	for (int i = batch->first; i < batch->last; i++)
	{
		At402Report *r = batch->reports[i];
		At402Device *d = r->item->device;
		at402_module module = {0};

		if (r->is_new && r->homes & AT402_HOME_DEVICE)
			while (at402_module_next(&r->report, &module))
				if (!module.raw && module.def->home & AT402_HOME_DEVICE)
				{
					at402_module_visit(&module, hear_sim, d);
					heard = true;
				}
		if (heard && (i + 1 == batch->last || batch->reports[i + 1]->item->device != d))
		{
			update_device(d);
			heard = false;
		}
	}
	MemoryContextSwitchTo(caller);
}

/* ---- all of it ---- */

static void
resolve(void *argument)
{
	Resolving  *r = argument;
	MemoryContext caller = CurrentMemoryContext;
	List	   *unknown;
	List	   *by_id;
	ListCell   *lc;

	SPI_connect();
	MemoryContextSwitchTo(r->batch->context);
	r->registered = 0;
	foreach(lc, r->devices)
		((At402Device *) lfirst(lc))->id = 0;
	unknown = find_devices(r->batch, r->devices);
	if (unknown != NIL && at402_unknown_devices == AT402_REGISTER)
		register_devices(r, unknown);
	by_id = list_copy(r->devices);
	list_sort(by_id, compare_cell_id);
	foreach(lc, by_id)
		update_device(lfirst(lc));
	SPI_finish();
	MemoryContextSwitchTo(caller);
}

static void
resolve_some(At402Batch *batch, List *devices)
{
	Resolving	r = {.batch = batch, .devices = devices};
	At402Rejection *rejection;
	int			half = list_length(devices) / 2;
	int			code = ERRCODE_UNIQUE_VIOLATION;

	/* without ON CONFLICT (rules) another listener may be faster */
	for (int i = 0; code == ERRCODE_UNIQUE_VIOLATION && i < AT402_REPEAT_TRIES; i++)
		if ((rejection = at402_try(batch, resolve, &r, &code)) == NULL)
			break;

	if (rejection == NULL)
	{
		batch->passed += list_length(devices);
		registering += r.registered;
	}
	else if (half == 0)
		((At402Device *) linitial(devices))->rejection = rejection;
	else
	{
		resolve_some(batch, list_truncate(list_copy(devices), half));
		resolve_some(batch, list_copy_tail(devices, half));
	}
}

/* What becomes of a frame whose device is not in the table. */
static void
settle_unknown(At402Batch *batch, At402Item *item)
{
	if (at402_unknown_devices == AT402_QUARANTINE)
		at402_quarantine(item, "unknown_device", "the device is not in at402.device");
	else if (at402_unknown_devices == AT402_IGNORE)
	{
		item->disposition = AT402_IGNORED;
		item->reason = "unknown_device";
	}
	else if (batch->listener == 0)
		/* from SQL there is no sender that could repeat it */
		at402_quarantine(item, "register_limit",
						 "more unknown devices than at402.register_limit");
	else
	{
		item->disposition = AT402_REFUSED;
		item->reason = "register_limit";
	}
}

static void
settle(At402Batch *batch, At402Item *item)
{
	const At402Device *d = item->device;

	if (d->rejection != NULL)
	{
		at402_quarantine(item, "rejected", d->rejection->message);
		item->sqlstate = d->rejection->sqlstate;
	}
	else if (d->id == 0)
		settle_unknown(batch, item);
	else if (!d->enabled)
		at402_quarantine(item, "device_disabled", "the device is disabled in at402.device");
}

void
at402_resolve_devices(At402Batch *batch)
{
	List	   *devices = collect_devices(batch);
	ListCell   *lc;

	if (devices == NIL)
		return;
	resolve_some(batch, devices);
	at402_decide(batch);
	foreach(lc, batch->items)
	{
		At402Item  *item = lfirst(lc);

		if (item->device != NULL)
			settle(batch, item);
	}
}
