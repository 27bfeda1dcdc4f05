/*
 * rows.c - a batch as rows: at402_batch_rows(batch, table)
 *
 * Storing is done by plain INSERT ... SELECT ... FROM at402_batch_rows(...), so
 * that privileges, row security, triggers, partitions and other extensions work
 * as for anybody's INSERT.  The function reads the batch of this backend that
 * the handle names, and only the slice of it that is being stored.
 *
 * Which rows a report, a frame or a device makes stands here; how values get into
 * the columns of a row, in emitter.c.  Special are the digital lines and the
 * reason flags: their rows are bits of a mask.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/timestamp.h"

#include "pg/emitter.h"
#include "pg/frame.h"
#include "pg/settings.h"
#include "pg/state.h"

/* ---- the rows of a report, by table ---- */

/* The reason flags that make rows in event. */
static uint64
telling_reasons(const At402Report *r)
{
	const uint64 routine = UINT64CONST(1) << AT402_REASON_TIME_INTERVAL |
		UINT64CONST(1) << AT402_REASON_DISTANCE | UINT64CONST(1) << AT402_REASON_HEADING_CHANGE;

	return at402_reasons_of(r) & (at402_routine_events ? ~UINT64CONST(0) : ~routine);
}

int
at402_event_count(const At402Report *r)
{
	return pg_popcount64(telling_reasons(r)) + r->ignition_changed;
}

/* Digital lines: states, and those that changed; bits 0-7 inputs, 8-15 outputs. */
typedef struct Lines
{
	uint32		states;
	uint32		changes;
} Lines;

static void
visit_digitals(void *context, at402_event event, const at402_field_def *field,
			   const at402_value *value)
{
	Lines	   *lines = context;
	uint32		raw = (uint32) value->raw;

	if (strcmp(field->column, "changes") == 0)
		lines->changes = raw;
	else if (strcmp(field->column, "inputs_outputs") == 0)
		lines->states = raw;
	else						/* of M and V: inputs, their changes above */
		*lines = (Lines) {raw & 0xFF, raw >> 8 & 0xFF};
}

static void
emit_position(At402Emitter *e)
{
	const At402Report *r = e->report;
	at402_module module = {0};

	at402_begin_row(e);
	at402_set_named(e, "reasons", Int64GetDatum((int64) at402_reasons_of(r)));
	at402_set_named(e, "status", Int64GetDatum(r->report.status));
	at402_set_named(e, "ignition", BoolGetDatum(r->ignition));
	at402_set_named(e, "received_at", TimestampTzGetDatum(r->item->input->received_at));
	at402_set_named(e, "time_suspect", BoolGetDatum(r->time_suspect));
	if (r->has_point)
		at402_set_named(e, "gnss_valid", BoolGetDatum(at402_is_fix(r)));
	at402_set_point(e);
	while (at402_module_next(&r->report, &module))
		if (!module.raw && module.def->home & AT402_HOME_POSITION)
			at402_visit_module(e, &module);
	at402_end_row(e);
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
begin_event(At402Emitter *e, const char *kind)
{
	at402_begin_row(e);
	at402_set_named_text(e, "kind", kind);
	at402_set_named(e, "late", BoolGetDatum(e->report->late));
	at402_set_point(e);
}

static void
add_geofence(At402Emitter *e)
{
	int64		raw = geofence_event(e->report);
	JsonbValue	entry = {.type = jbvBool, .val.boolean = raw >> 7 & 1};

	at402_open_data(e);
	at402_json_key(&e->data, "event_raw");
	at402_json_int64(&e->data, raw);
	at402_json_key(&e->data, "fence");
	at402_json_int64(&e->data, raw & 0x7F);
	at402_json_key(&e->data, "entry");
	pushJsonbValue(&e->data.state, WJB_VALUE, &entry);
}

static void
emit_events(At402Emitter *e)
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
		at402_end_numbered_row(e);
	}
	if (r->ignition_changed)
	{
		begin_event(e, r->ignition ? "ignition_on" : "ignition_off");
		at402_end_numbered_row(e);
	}
}

/* A row for each digital line that changed. */
static void
emit_lines(At402Emitter *e, const at402_module *module)
{
	Lines		lines = {0, 0};

	at402_module_visit(module, visit_digitals, &lines);
	for (int bit = 0; bit < 16; bit++)
	{
		if (!(lines.changes >> bit & 1))
			continue;
		at402_begin_row(e);
		at402_set_named_text(e, "kind", bit < 8 ? "input" : "output");
		at402_set_named(e, "line", Int16GetDatum(bit % 8 + 1));
		at402_set_named(e, "state", BoolGetDatum(lines.states >> bit & 1));
		at402_end_numbered_row(e);
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
	At402Emitter *e = context;
	at402_value measured = *value;

	/* no probe is there, or it does not answer */
	if (!at402_measure(field, &measured, &e->none))
		return;
	at402_begin_row(e);
	at402_set_named_text(e, "kind", e->def->kind);
	at402_set_named(e, "line", Int16GetDatum((int16) (field - e->def->fields) + 1));
	at402_put_value(e, field, &measured);
	at402_end_numbered_row(e);
}

/* The lowest bit of an alcohol test's status: passed. */
static void
visit_test(void *context, at402_event event, const at402_field_def *field,
		   const at402_value *value)
{
	if (strcmp(field->name, "status_mask") == 0)
		at402_set_named(context, "state", BoolGetDatum(value->raw & 1));
}

static void
emit_io(At402Emitter *e)
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
			at402_begin_row(e);
			at402_set_named_text(e, "kind", module.def->kind);
			at402_visit_module(e, &module);
			if (strcmp(module.def->kind, "alcohol_test") == 0)
				at402_module_visit(&module, visit_test, e);
			/* no driver is no event */
			if (!e->lacks)
				at402_end_numbered_row(e);
		}
	}
}

/* motion and can: a row a module that says anything. */
static void
emit_modules(At402Emitter *e, uint32 home)
{
	at402_module module = {0};

	while (at402_module_next(&e->report->report, &module))
	{
		if (module.raw || !(module.def->home & home))
			continue;
		at402_begin_row(e);
		if (home == AT402_HOME_CAN)
			at402_set_named_text(e, "source", module.def->key);
		at402_visit_module(e, &module);
		if (at402_module_says_anything(e))
			at402_end_numbered_row(e);
	}
}

/* ble and can_frame: a row an item of the module's list. */
static void
emit_items(At402Emitter *e, uint32 home)
{
	at402_module module = {0};

	e->by_item = true;
	while (at402_module_next(&e->report->report, &module))
		if (!module.raw && module.def->home & home)
			at402_visit_module(e, &module);
}

/* module: whatever has no table of its own, whole, as jsonb. */
static void
emit_rest(At402Emitter *e)
{
	const At402Report *r = e->report;
	at402_module module = {0};
	char		key[AT402_KEY_SIZE];

	e->whole = true;
	while (at402_module_next(&r->report, &module))
	{
		bool		told = !module.raw && !(module.def->home & AT402_HOME_MODULE);

		/* a geofence event without the reason flag has no event to stand in */
		if (told && module.def->home & AT402_HOME_EVENT)
			told = has_reason(r, AT402_REASON_GEOFENCE) || geofence_event(r) == 0;
		if (told)
			continue;
		at402_begin_row(e);
		at402_set_named_text(e, "name", at402_module_key(&module, key));
		at402_open_data(e);
		at402_visit_module(e, &module);
		/* a blank SIM is no identity */
		if (!e->lacks)
			at402_end_numbered_row(e);
	}
}

/* ---- rows of whole frames ---- */

static void
set_letter(At402Emitter *e, char letter)
{
	at402_set_named_text(e, "protocol", (char[]) {letter, '\0'});
}

static void
set_item(At402Emitter *e, const At402Item *item)
{
	const at402_input *input = item->input;

	at402_clear_row(e);
	at402_set_named(e, "received_at", TimestampTzGetDatum(input->received_at));
	at402_set_named_text(e, "transport", input->transport);
	if (input->from.peer[0] != '\0')
		at402_set_named(e, "peer", DirectFunctionCall1(inet_in, CStringGetDatum(input->from.peer)));
}

static void
emit_frame(At402Emitter *e, const At402Item *item)
{
	set_item(e, item);
	if (item->device != NULL)
		at402_set_named(e, "device_id", Int32GetDatum(item->device->id));
	if (item->input->kind == AT402_FRAME_PACKET)
		set_letter(e, item->packet.variant->name);
	at402_set_named(e, "frame", PointerGetDatum(at402_frame_make(item->input->bytes,
														   item->input->length)));
	at402_end_row(e);
}

static int
compare_numbers(const ListCell *a, const ListCell *b)
{
	return (int) ((At402Report *) lfirst(a))->report.number -
		(int) ((At402Report *) lfirst(b))->report.number;
}

/* The numbers of these reports in their packet. */
static Datum
numbers_of(List *reports)
{
	Datum	   *numbers = palloc(sizeof(Datum) * list_length(reports));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, reports)
		numbers[n++] = Int16GetDatum((int16) ((At402Report *) lfirst(lc))->report.number);
	return PointerGetDatum(construct_array(numbers, n, INT2OID, sizeof(int16), true,
										   TYPALIGN_SHORT));
}

/* All of a frame, or those reports of it that were rejected. */
static void
emit_quarantined(At402Emitter *e, At402Item *item)
{
	const at402_input *input = item->input;

	set_item(e, item);
	/* as sent, also where it is impossible */
	at402_set_named_text(e, "imei", item->imei[0] ? item->imei
				   : item->packet.has_imei ? item->packet.imei : input->from.imei);
	at402_set_named(e, "logged_in", BoolGetDatum(input->from.logged_in));
	if (input->from.protocol != 0)
		set_letter(e, input->from.protocol);
	at402_set_named(e, "bytes", PointerGetDatum(at402_frame_make(input->bytes, input->length)));
	if (item->disposition == AT402_TO_QUARANTINE)
	{
		at402_set_named_text(e, "reason", item->reason);
		at402_set_named_text(e, "sqlstate", item->sqlstate);
		at402_set_named_text(e, "message", item->message);
	}
	else
	{
		const At402Report *first;

		list_sort(item->rejected, compare_numbers);
		first = linitial(item->rejected);
		at402_set_named_text(e, "reason", "rejected");
		at402_set_named_text(e, "sqlstate", first->rejection->sqlstate);
		at402_set_named_text(e, "message", first->rejection->message);
		at402_set_named(e, "report_no", Int32GetDatum((int32) first->report.number));
		at402_set_named(e, "report_nos", numbers_of(item->rejected));
	}
	at402_end_row(e);
}

/* ---- the function ---- */

/* Calls emit for each new report of the slice that has modules with this home;
 * home 0: for each. */
static void
emit_reports(At402Emitter *e, uint32 home, void (*emit) (At402Emitter *e))
{
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
}

static void
emit_motion(At402Emitter *e)
{
	emit_modules(e, AT402_HOME_MOTION);
}

static void
emit_can(At402Emitter *e)
{
	emit_modules(e, AT402_HOME_CAN);
}

static void
emit_can_frames(At402Emitter *e)
{
	emit_items(e, AT402_HOME_CAN_FRAME);
}

static void
emit_ble(At402Emitter *e)
{
	emit_items(e, AT402_HOME_BLE);
}

/*
 * Packets with a new report in the slice whose frames are not there yet.  Where
 * there is no slice: text lines.
 */
static void
emit_frames(At402Emitter *e)
{
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
			if (((At402Item *) lfirst(lc))->disposition == AT402_TO_FRAME)
				emit_frame(e, lfirst(lc));
}

static void
emit_quarantine(At402Emitter *e)
{
	ListCell   *lc;

	foreach(lc, e->batch->items)
	{
		At402Item  *item = lfirst(lc);

		if (item->disposition == AT402_TO_QUARANTINE || item->rejected != NIL)
			emit_quarantined(e, item);
	}
}

static void
emit_presence(At402Emitter *e)
{
	for (int i = 0; i < e->batch->presence_count; i++)
	{
		const At402Presence *p = e->batch->presence[i];

		if (!p->changed)
			continue;
		at402_clear_row(e);
		at402_set_named(e, "device_id", Int32GetDatum(p->device_id));
		at402_set_named(e, "connected", BoolGetDatum(p->connected));
		at402_set_named(e, "at", TimestampTzGetDatum(p->at));
		at402_end_row(e);
	}
}

static const struct
{
	const char *name;
	uint32		home;			/* of the reports that emit is called for; 0: all */
	void		(*emit) (At402Emitter *e);
	void		(*emit_all) (At402Emitter *e);	/* or one call for the batch */
}			tables[] = {
	{"position", 0, emit_position, NULL},
	{"event", 0, emit_events, NULL},
	{"io", AT402_HOME_IO, emit_io, NULL},
	{"motion", AT402_HOME_MOTION, emit_motion, NULL},
	{"can", AT402_HOME_CAN, emit_can, NULL},
	{"can_frame", AT402_HOME_CAN_FRAME, emit_can_frames, NULL},
	{"ble", AT402_HOME_BLE, emit_ble, NULL},
	{"module", AT402_HOME_MODULE | AT402_HOME_EVENT, emit_rest, NULL},
	{"device_state", 0, NULL, at402_emit_states},
	{"frame", 0, NULL, emit_frames},
	{"quarantine", 0, NULL, emit_quarantine},
	{"presence", 0, NULL, emit_presence},
};

PG_FUNCTION_INFO_V1(at402_batch_rows);

/*
 * at402_batch_rows(batch, table) -> SETOF record, with the columns that the
 * caller asks for.  22023: no such batch, or table.
 */
Datum
at402_batch_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *table = text_to_cstring(PG_GETARG_TEXT_PP(1));
	At402Emitter *e = palloc0(sizeof(At402Emitter));
	int			i = 0;

	while (i < lengthof(tables) && strcmp(tables[i].name, table) != 0)
		i++;
	if (i == lengthof(tables))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a batch has no rows for table \"%s\"", table));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	at402_emitter_init(e, at402_batch_find(PG_GETARG_INT64(0)), rsinfo->setDesc);
	e->store = rsinfo->setResult;
	e->data_column = at402_find_column(e, "data", strcmp(table, "event") == 0 ? "detail" : "data");
	if (tables[i].emit != NULL)
		emit_reports(e, tables[i].home, tables[i].emit);
	else
		tables[i].emit_all(e);
	return (Datum) 0;
}
