/*
 * rows.c - a batch as rows, one set-returning function for each table
 *
 * Storing is done by plain INSERT ... SELECT ... FROM at402_batch_<rows>(handle),
 * so that privileges, row security, triggers, partitions and other extensions
 * work as for anybody's INSERT.  The functions read the batch of this backend
 * that the handle names, and only the slice of it that is being stored.
 *
 * Which field goes into which column is not written down here: a field goes
 * where the function's result has a column of its name (or of the column that
 * protocol.def gives), and what finds none goes into the column data.  Special
 * are the digital lines and the reason flags: their rows are bits of a mask.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/batch.h"
#include "pg/frame.h"
#include "pg/settings.h"
#include "pg/value.h"

#define KEY_COLUMNS 4			/* device_id, time, seq, content_hash; then n */
#define CACHE_SIZE 256			/* a power of two */

typedef struct Emitter
{
	At402Batch *batch;
	Tuplestorestate *store;
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;
	MemoryContext row_context;

	const At402Report *report;
	int			n;				/* next row of this report */

	/* columns by field or by literal name, found once */
	struct
	{
		const void *key;
		int			column;
	}			cache[CACHE_SIZE];

	/* the module that is visited */
	const at402_module_def *def;
	bool		by_item;		/* a row for each item of its list */
	int			depth;			/* of lists and items */
	bool		anything;		/* a value that is not zero */
	At402Json	data;			/* what finds no column */
	int			data_column;
	bool		data_open;
	List	   *texts;			/* for a column of type text[] */
	int			texts_column;
} Emitter;

#define NO_COLUMN (-1)

/* The column with this name; key: an address that stands for the name. */
static int
find_column(Emitter *e, const void *key, const char *name)
{
	int			slot = ((uintptr_t) key / sizeof(int)) & (CACHE_SIZE - 1);

	if (e->cache[slot].key != key)
	{
		int			column = e->desc->natts - 1;

		while (column >= 0 && strcmp(NameStr(TupleDescAttr(e->desc, column)->attname), name) != 0)
			column--;
		e->cache[slot].key = key;
		e->cache[slot].column = column;
	}
	return e->cache[slot].column;
}

static int
field_column(Emitter *e, const at402_field_def *field)
{
	return find_column(e, field, field->column[0] ? field->column : field->name);
}

static void
set(Emitter *e, int column, Datum value)
{
	e->values[column] = value;
	e->nulls[column] = false;
}

/* name must be a literal: its address is remembered. */
static void
set_named(Emitter *e, const char *name, Datum value)
{
	int			column = find_column(e, name, name);

	if (column == NO_COLUMN)
		elog(ERROR, "row function has no column \"%s\"", name);
	set(e, column, value);
}

static void
set_named_text(Emitter *e, const char *name, const char *string)
{
	if (string != NULL && string[0] != '\0')
		set_named(e, name, CStringGetTextDatum(string));
}

static Datum
make_macaddr(const uint8_t *bytes)
{
	macaddr    *mac = palloc(sizeof(macaddr));

	mac->a = bytes[0];
	mac->b = bytes[1];
	mac->c = bytes[2];
	mac->d = bytes[3];
	mac->e = bytes[4];
	mac->f = bytes[5];
	return MacaddrPGetDatum(mac);
}

/* A value as the type of its column. */
static Datum
to_datum(Oid type, const at402_field_def *field, const at402_value *value)
{
	switch (type)
	{
		case BOOLOID:
			return BoolGetDatum(value->raw != 0);
		case INT2OID:
			return Int16GetDatum((int16) at402_value_int64(field, value->raw));
		case INT4OID:
			return Int32GetDatum((int32) at402_value_int64(field, value->raw));
		case INT8OID:
			return Int64GetDatum(at402_value_int64(field, value->raw));
		case NUMERICOID:
			return NumericGetDatum(at402_value_numeric(field, value->raw));
		case TIMESTAMPTZOID:
			return TimestampTzGetDatum(at402_time((uint32_t) value->raw));
		case TEXTOID:
			return CStringGetTextDatum(at402_value_cstring(field, value));
		case BYTEAOID:
			return PointerGetDatum(at402_frame_make(value->span.bytes, value->span.length));
		case MACADDROID:
			return make_macaddr(value->span.bytes);
		default:
			elog(ERROR, "field \"%s\" cannot be stored as type %u", field->name, type);
	}
}

static void
open_data(Emitter *e)
{
	if (!e->data_open)
	{
		e->data = (At402Json) {0};
		at402_json_open(&e->data, false);
		e->data_open = true;
	}
}

static void
clear_row(Emitter *e)
{
	memset(e->nulls, true, e->desc->natts * sizeof(bool));
	e->data_open = false;
	e->texts = NIL;
}

/* Begins a row of a report; n only where the table numbers its rows. */
static void
begin_row(Emitter *e)
{
	const At402Report *r = e->report;

	clear_row(e);
	set(e, 0, Int32GetDatum(r->item->device_id));
	set(e, 1, TimestampTzGetDatum(r->time));
	set(e, 2, Int16GetDatum(r->report.seq));
	set(e, 3, Int32GetDatum(r->content_hash));
}

static void
end_row(Emitter *e)
{
	if (e->data_open)
	{
		at402_json_close(&e->data, false);
		set(e, e->data_column, JsonbPGetDatum(JsonbValueToJsonb(e->data.result)));
	}
	if (e->texts != NIL)
	{
		Datum	   *elements = palloc(sizeof(Datum) * list_length(e->texts));
		int			count = 0;
		ListCell   *lc;

		foreach(lc, e->texts)
			elements[count++] = CStringGetTextDatum(lfirst(lc));
		set(e, e->texts_column,
			PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false,
											TYPALIGN_INT)));
	}
	tuplestore_putvalues(e->store, e->desc, e->values, e->nulls);
}

/* The same for a row that is numbered within its report. */
static void
end_numbered_row(Emitter *e)
{
	set(e, KEY_COLUMNS, Int16GetDatum((int16) e->n++));
	end_row(e);
}

static void
put_value(Emitter *e, const at402_field_def *field, const at402_value *value)
{
	int			column;
	Oid			type;

	if (value->kind == AT402_V_NULL || field->column[0] == '-')
		return;
	column = field_column(e, field);
	if (column == NO_COLUMN)
	{
		if (e->data_column != NO_COLUMN)
		{
			open_data(e);
			at402_json_value(&e->data, field, value, true);
		}
		return;
	}
	type = TupleDescAttr(e->desc, column)->atttypid;
	if (type == TEXTARRAYOID)
	{
		if (value->span.length > 0)
			e->texts = lappend(e->texts, at402_value_cstring(field, value));
		e->texts_column = column;
	}
	else if (e->nulls[column])	/* the first module that has it: gnss before gnss_extended */
		set(e, column, to_datum(type, field, value));
}

static bool
is_zero(const at402_value *value)
{
	for (size_t i = 0; i < value->span.length; i++)
		if (value->span.bytes[i] != 0)
			return false;
	return value->raw == 0;
}

/*
 * Takes a module's values into the row; a list becomes rows of its own where
 * the table is one of list items, else an array in data.
 */
static void
visit(void *context, at402_event event, const at402_field_def *field, const at402_value *value)
{
	Emitter    *e = context;

	switch (event)
	{
		case AT402_E_VALUE:
			e->anything |= !is_zero(value);
			if (e->depth == 0 || (e->by_item && e->depth == 2))
				put_value(e, field, value);
			else
				at402_json_value(&e->data, field, value,
								 e->data.state->contVal.type == jbvObject);
			break;
		case AT402_E_LIST:
			e->depth++;
			if (!e->by_item)
			{
				open_data(e);
				at402_json_key(&e->data, field->name);
				at402_json_open(&e->data, true);
			}
			break;
		case AT402_E_ITEM:
			e->depth++;
			e->anything = true;
			if (e->by_item)
			{
				begin_row(e);
				if (e->def->kind[0])
					set_named_text(e, "kind", e->def->kind);
			}
			else
				at402_json_open(&e->data, false);
			break;
		case AT402_E_ITEM_END:
			e->depth--;
			if (e->by_item)
				end_numbered_row(e);
			else
				at402_json_close(&e->data, false);
			break;
		case AT402_E_LIST_END:
			e->depth--;
			if (!e->by_item)
				at402_json_close(&e->data, true);
			break;
	}
}

static void
visit_module(Emitter *e, const at402_module *module)
{
	e->def = module->def;
	e->depth = 0;
	e->anything = false;
	at402_module_visit(module, visit, e);
}

/* ---- the rows of a report, by table ---- */

static bool
is_valid(const At402Report *r)
{
	return !(r->report.status >> AT402_STATUS_GNSS_INVALID & 1);
}

/* Longitude and latitude, unless they are no place on earth: out of range, or
 * the 0,0 of a receiver that has not had a fix yet. */
static void
set_point(Emitter *e)
{
	const At402Report *r = e->report;

	if (r->has_point && fabs(r->latitude) <= 90 && fabs(r->longitude) <= 180 &&
		(is_valid(r) || r->latitude != 0 || r->longitude != 0))
	{
		set_named(e, "longitude", Float8GetDatum(r->longitude));
		set_named(e, "latitude", Float8GetDatum(r->latitude));
	}
}

/* The reason flags that make rows in event. */
static uint64
telling_reasons(const At402Report *r)
{
	const uint64 routine = UINT64CONST(1) << AT402_REASON_TIME_INTERVAL |
		UINT64CONST(1) << AT402_REASON_DISTANCE | UINT64CONST(1) << AT402_REASON_HEADING_CHANGE;

	return r->report.reasons & (at402_routine_events ? ~UINT64CONST(0) : ~routine);
}

static int
count_events(const At402Report *r)
{
	return pg_popcount((const char *) &(uint64) {telling_reasons(r)}, sizeof(uint64)) +
		r->ignition_changed;
}

static void
emit_position(Emitter *e)
{
	const At402Report *r = e->report;
	at402_module module = {0};

	begin_row(e);
	set_named(e, "reasons", Int64GetDatum((int64) r->report.reasons));
	set_named(e, "status", Int64GetDatum(r->report.status));
	set_named(e, "ignition", BoolGetDatum(r->ignition));
	set_named(e, "received_at", TimestampTzGetDatum(r->item->received_at));
	set_named(e, "time_suspect", BoolGetDatum(r->time_suspect));
	set_named(e, "late", BoolGetDatum(r->late));
	set_named(e, "events", Int16GetDatum((int16) count_events(r)));
	if (r->has_point)
		set_named(e, "gnss_valid", BoolGetDatum(is_valid(r)));
	set_point(e);
	while (at402_module_next(&r->report, &module))
		if (!module.raw && module.def->home & AT402_HOME_POSITION)
			visit_module(e, &module);
	end_row(e);
}

static void
visit_geofence(void *context, at402_event event, const at402_field_def *field,
			   const at402_value *value)
{
	*(int64 *) context = value->raw;
}

static bool
has_reason(const At402Report *r, int bit)
{
	return r->report.reasons >> bit & 1;
}

/* What the module geofence says, 0 where there is none. */
static int64
geofence_event(const At402Report *r)
{
	at402_module module = {0};
	int64		raw = 0;

	while (at402_module_next(&r->report, &module))
		if (!module.raw && module.def->home & AT402_HOME_EVENT)
			at402_module_visit(&module, visit_geofence, &raw);
	return raw;
}

static void
begin_event(Emitter *e, const char *kind)
{
	begin_row(e);
	set_named_text(e, "kind", kind);
	set_named(e, "late", BoolGetDatum(e->report->late));
	set_point(e);
}

static void
add_geofence(Emitter *e)
{
	int64		raw = geofence_event(e->report);
	JsonbValue	entry = {.type = jbvBool, .val.boolean = raw >> 7 & 1};

	open_data(e);
	at402_json_key(&e->data, "event_raw");
	at402_json_int64(&e->data, raw);
	at402_json_key(&e->data, "fence");
	at402_json_int64(&e->data, raw & 0x7F);
	at402_json_key(&e->data, "entry");
	pushJsonbValue(&e->data.state, WJB_VALUE, &entry);
}

static void
emit_events(Emitter *e)
{
	const At402Report *r = e->report;
	uint64		reasons = telling_reasons(r);

	for (int bit = 0; bit < 64; bit++)
	{
		if (!(reasons >> bit & 1))
			continue;
		begin_event(e, bit < AT402_REASONS ? at402_reason_names[bit]
										   : psprintf("reason_%d", bit));
		if (bit == AT402_REASON_GEOFENCE && r->homes & AT402_HOME_EVENT)
			add_geofence(e);
		end_numbered_row(e);
	}
	if (r->ignition_changed)
	{
		begin_event(e, r->ignition ? "ignition_on" : "ignition_off");
		end_numbered_row(e);
	}
}

static void
visit_digitals(void *context, at402_event event, const at402_field_def *field,
			   const at402_value *value)
{
	uint32	   *masks = context;

	masks[strcmp(field->name, "changes_mask") == 0] = (uint32) value->raw;
}

/* A row for each digital line that changed: bits 0-7 inputs, 8-15 outputs. */
static void
emit_lines(Emitter *e, const at402_module *module)
{
	uint32		masks[2] = {0, 0};	/* states, changes */

	at402_module_visit(module, visit_digitals, masks);
	for (int bit = 0; bit < 16; bit++)
	{
		if (!(masks[1] >> bit & 1))
			continue;
		begin_row(e);
		set_named_text(e, "kind", bit < 8 ? "input" : "output");
		set_named(e, "line", Int16GetDatum(bit % 8 + 1));
		set_named(e, "state", BoolGetDatum(masks[0] >> bit & 1));
		end_numbered_row(e);
	}
}

/* How many fields of a module are a value of their own (probes)? */
static int
count_values(const at402_module_def *def)
{
	int			count = 0;

	for (int i = 0; i < def->field_count; i++)
		count += strcmp(def->fields[i].column, "value") == 0;
	return count;
}

static void
visit_probe(void *context, at402_event event, const at402_field_def *field,
			const at402_value *value)
{
	Emitter    *e = context;

	begin_row(e);
	set_named_text(e, "kind", e->def->kind);
	set_named(e, "line", Int16GetDatum((int16) (field - e->def->fields) + 1));
	put_value(e, field, value);
	end_numbered_row(e);
}

static void
emit_io(Emitter *e)
{
	at402_module module = {0};

	while (at402_module_next(&e->report->report, &module))
	{
		if (module.raw || !(module.def->home & AT402_HOME_IO))
			continue;
		e->def = module.def;
		if (module.def->home & AT402_HOME_POSITION)
			emit_lines(e, &module);
		else if (count_values(module.def) > 1)
			at402_module_visit(&module, visit_probe, e);
		else
		{
			begin_row(e);
			set_named_text(e, "kind", module.def->kind);
			visit_module(e, &module);
			end_numbered_row(e);
		}
	}
}

/* motion and can: a row a module that is not all zeros. */
static void
emit_modules(Emitter *e, uint32 home)
{
	at402_module module = {0};

	while (at402_module_next(&e->report->report, &module))
	{
		if (module.raw || !(module.def->home & home))
			continue;
		begin_row(e);
		if (home == AT402_HOME_CAN)
			set_named_text(e, "source", module.def->key);
		visit_module(e, &module);
		if (e->anything)
			end_numbered_row(e);
	}
}

/* ble and can_frame: a row an item of the module's list. */
static void
emit_items(Emitter *e, uint32 home)
{
	at402_module module = {0};

	e->by_item = true;
	while (at402_module_next(&e->report->report, &module))
		if (!module.raw && module.def->home & home)
			visit_module(e, &module);
}

/* module: whatever has no table of its own, whole, as jsonb. */
static void
emit_rest(Emitter *e)
{
	const At402Report *r = e->report;
	at402_module module = {0};
	char		key[AT402_KEY_SIZE];

	while (at402_module_next(&r->report, &module))
	{
		bool		told = !module.raw && !(module.def->home & AT402_HOME_MODULE);

		/* a geofence event without the reason flag has no event to stand in */
		if (told && module.def->home & AT402_HOME_EVENT)
			told = has_reason(r, AT402_REASON_GEOFENCE) || geofence_event(r) == 0;
		if (told)
			continue;
		begin_row(e);
		set_named_text(e, "name", at402_module_key(&module, key));
		open_data(e);
		at402_json_module(&e->data, &module);
		end_numbered_row(e);
	}
}

/* What a report tells of the device itself (SIM). */
static void
emit_device(Emitter *e)
{
	at402_module module = {0};

	begin_row(e);
	while (at402_module_next(&e->report->report, &module))
		if (!module.raw && module.def->home & AT402_HOME_DEVICE)
			visit_module(e, &module);
	end_row(e);
}

/* ---- the functions ---- */

static Emitter *
create_emitter(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Emitter    *e = palloc0(sizeof(Emitter));

	InitMaterializedSRF(fcinfo, 0);
	e->batch = at402_batch_find(PG_GETARG_INT64(0));
	e->store = rsinfo->setResult;
	e->desc = rsinfo->setDesc;
	e->values = palloc0(e->desc->natts * sizeof(Datum));
	e->nulls = palloc(e->desc->natts * sizeof(bool));
	e->data_column = find_column(e, "data", "data");
	e->row_context = AllocSetContextCreate(CurrentMemoryContext, "at402 rows",
										   ALLOCSET_DEFAULT_SIZES);
	return e;
}

/* Calls emit for each new report of the slice that has modules with this home;
 * home 0: for each. */
static Datum
emit_reports(FunctionCallInfo fcinfo, uint32 home, void (*emit) (Emitter *e))
{
	Emitter    *e = create_emitter(fcinfo);
	MemoryContext caller = MemoryContextSwitchTo(e->row_context);

	for (int i = e->batch->first; i < e->batch->last; i++)
	{
		e->report = e->batch->reports[i];
		e->n = 0;
		if (!e->report->is_new || (home != 0 && !(e->report->homes & home)))
			continue;
		emit(e);
		MemoryContextReset(e->row_context);
	}
	MemoryContextSwitchTo(caller);
	return (Datum) 0;
}

static void
emit_motion(Emitter *e)
{
	emit_modules(e, AT402_HOME_MOTION);
}

static void
emit_can(Emitter *e)
{
	emit_modules(e, AT402_HOME_CAN);
}

static void
emit_can_frames(Emitter *e)
{
	emit_items(e, AT402_HOME_CAN_FRAME);
}

static void
emit_ble(Emitter *e)
{
	emit_items(e, AT402_HOME_BLE);
}

#define ROWS_FUNCTION(name, home, emit)                                                            \
	PG_FUNCTION_INFO_V1(name);                                                                     \
	Datum name(PG_FUNCTION_ARGS)                                                                   \
	{                                                                                              \
		return emit_reports(fcinfo, home, emit);                                                   \
	}

ROWS_FUNCTION(at402_batch_position, 0, emit_position)
ROWS_FUNCTION(at402_batch_event, 0, emit_events)
ROWS_FUNCTION(at402_batch_io, AT402_HOME_IO, emit_io)
ROWS_FUNCTION(at402_batch_motion, AT402_HOME_MOTION, emit_motion)
ROWS_FUNCTION(at402_batch_can, AT402_HOME_CAN, emit_can)
ROWS_FUNCTION(at402_batch_can_frame, AT402_HOME_CAN_FRAME, emit_can_frames)
ROWS_FUNCTION(at402_batch_ble, AT402_HOME_BLE, emit_ble)
ROWS_FUNCTION(at402_batch_module, AT402_HOME_MODULE | AT402_HOME_EVENT, emit_rest)
ROWS_FUNCTION(at402_batch_device, AT402_HOME_DEVICE, emit_device)

/* ---- rows of whole frames ---- */

PG_FUNCTION_INFO_V1(at402_batch_sender);
PG_FUNCTION_INFO_V1(at402_batch_frame);
PG_FUNCTION_INFO_V1(at402_batch_quarantine);
PG_FUNCTION_INFO_V1(at402_batch_presence);

static void
set_login_text(Emitter *e, const char *name, at402_span span)
{
	if (span.length > 0)
		set_named(e, name, CStringGetTextDatum(at402_text_cstring(span)));
}

static void
set_letter(Emitter *e, char letter)
{
	set_named_text(e, "protocol", (char[]) {letter, '\0'});
}

/* Who sent it, and what a login line says of the device. */
static void
emit_sender(Emitter *e, const At402Item *item)
{
	at402_login login;

	if (item->imei[0] == '\0' ||
		(item->fate != AT402_FATE_ROWS && item->fate != AT402_FATE_DEVICE &&
		 item->fate != AT402_FATE_TEXT))
		return;
	clear_row(e);
	set_named_text(e, "imei", item->imei);
	set_named(e, "received_at", TimestampTzGetDatum(item->received_at));
	set_named(e, "login", BoolGetDatum(item->kind == AT402_FRAME_LOGIN));
	if (item->kind == AT402_FRAME_LOGIN)
	{
		at402_login_parse(item->bytes, item->length, &login);
		set_login_text(e, "model", login.model);
		set_login_text(e, "firmware", login.firmware);
		set_login_text(e, "hardware", login.hardware);
		set_login_text(e, "vin", login.vin);
		set_login_text(e, "protocol", login.protocol);
	}
	else if (item->kind == AT402_FRAME_PACKET && !item->logged_in)
		set_letter(e, (char) item->bytes[0]);
	end_row(e);
}

static void
set_item(Emitter *e, const At402Item *item)
{
	clear_row(e);
	set_named(e, "received_at", TimestampTzGetDatum(item->received_at));
	set_named_text(e, "transport", item->transport);
	set_named_text(e, "peer", item->peer);
}

static void
emit_frame(Emitter *e, const At402Item *item)
{
	set_item(e, item);
	if (item->device_id != 0)
		set_named(e, "device_id", Int32GetDatum(item->device_id));
	if (item->kind == AT402_FRAME_PACKET)
		set_letter(e, item->packet.variant->name);
	set_named(e, "frame", PointerGetDatum(at402_frame_make(item->bytes, item->length)));
	end_row(e);
}

static void
emit_quarantined(Emitter *e, const At402Item *item, const At402Report *r)
{
	set_item(e, item);
	/* as sent, also where it is impossible */
	set_named_text(e, "imei", item->imei[0] ? item->imei
				   : item->packet.has_imei ? item->packet.imei : item->login_imei);
	set_named(e, "logged_in", BoolGetDatum(item->logged_in));
	if (item->protocol != 0)
		set_letter(e, item->protocol);
	set_named(e, "bytes", PointerGetDatum(at402_frame_make(item->bytes, item->length)));
	set_named_text(e, "reason", r ? "rejected" : item->reason);
	set_named_text(e, "sqlstate", r ? r->sqlstate : item->sqlstate);
	set_named_text(e, "message", r ? r->message : item->message);
	if (r != NULL)
		set_named(e, "report_no", Int32GetDatum((int32) r->report.number));
	end_row(e);
}

Datum
at402_batch_sender(PG_FUNCTION_ARGS)
{
	Emitter    *e = create_emitter(fcinfo);
	ListCell   *lc;

	foreach(lc, e->batch->items)
		emit_sender(e, lfirst(lc));
	return (Datum) 0;
}

/*
 * Packets with a new report in the slice whose frames are not there yet.  Where
 * there is no slice: text lines.
 */
Datum
at402_batch_frame(PG_FUNCTION_ARGS)
{
	Emitter    *e = create_emitter(fcinfo);
	At402Batch *batch = e->batch;
	int			pass = ++batch->passes;
	ListCell   *lc;

	for (int i = batch->first; i < batch->last; i++)
	{
		const At402Report *r = batch->reports[i];

		/* once, however many of the packet's reports are in the slice */
		if (r->is_new && !r->item->kept && r->item->emitted != pass)
		{
			r->item->emitted = pass;
			emit_frame(e, r->item);
		}
	}
	if (batch->first == batch->last)
		foreach(lc, batch->items)
			if (((At402Item *) lfirst(lc))->fate == AT402_FATE_TEXT)
				emit_frame(e, lfirst(lc));
	return (Datum) 0;
}

Datum
at402_batch_quarantine(PG_FUNCTION_ARGS)
{
	Emitter    *e = create_emitter(fcinfo);
	ListCell   *lc;

	foreach(lc, e->batch->items)
	{
		const At402Item *item = lfirst(lc);

		if (item->fate == AT402_FATE_QUARANTINE)
			emit_quarantined(e, item, NULL);
	}
	for (int i = 0; i < e->batch->report_count; i++)
		if (e->batch->reports[i]->quarantined)
			emit_quarantined(e, e->batch->reports[i]->item, e->batch->reports[i]);
	return (Datum) 0;
}

Datum
at402_batch_presence(PG_FUNCTION_ARGS)
{
	Emitter    *e = create_emitter(fcinfo);
	ListCell   *lc;

	foreach(lc, e->batch->presence)
	{
		const At402Presence *p = lfirst(lc);

		clear_row(e);
		set_named_text(e, "imei", p->imei);
		set_named(e, "connected", BoolGetDatum(p->connected));
		set_named(e, "at", TimestampTzGetDatum(p->at));
		end_row(e);
	}
	return (Datum) 0;
}
