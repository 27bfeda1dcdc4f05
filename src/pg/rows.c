/*
 * rows.c - a batch as rows: at402_batch_rows(batch, table)
 *
 * Storing is done by plain INSERT ... SELECT ... FROM at402_batch_rows(...), so
 * that privileges, row security, triggers, partitions and other extensions work
 * as for anybody's INSERT.  The function reads the batch of this backend that
 * the handle names, and only the slice of it that is being stored.
 *
 * Which field goes into which column is not written down here: a field goes
 * where the caller asks for a column of its name (or of the column that
 * protocol.def gives), and what finds none goes into the column data.  Special
 * are the digital lines and the reason flags: their rows are bits of a mask.
 *
 * The wire has no NULL.  What is no measurement (at402_measure) becomes no value
 * here; decoding shows what was sent, and the frame is kept.
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
	const bool *wanted;			/* columns that fields may go to; NULL: all */

	/* columns by field or by literal name, found once */
	struct
	{
		const void *key;
		int			column;
	}			cache[CACHE_SIZE];

	/* the module that is visited */
	const at402_module_def *def;
	bool		by_item;		/* a row for each item of its list */
	bool		whole;			/* all of it goes into data */
	int			depth;			/* of lists and items */
	bool		none;			/* the value before was no measurement */
	bool		lacks;			/* a field without which it says nothing */
	bool		all_zeros;		/* as sent */
	bool		all_ones;
	bool		measured;		/* a value, or a flag that is set */
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
	if (strcmp(field->column, "data") == 0)
		return NO_COLUMN;		/* it becomes a key of it */
	return find_column(e, field, field->column[0] ? field->column : field->name);
}

static void
set(Emitter *e, int column, Datum value)
{
	e->values[column] = value;
	e->nulls[column] = false;
}

/* name must be a literal: its address is remembered.  Nothing is done where the
 * table, of an older version perhaps, does not have the column. */
static void
set_named(Emitter *e, const char *name, Datum value)
{
	int			column = find_column(e, name, name);

	if (column != NO_COLUMN)
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
	set(e, 0, Int32GetDatum(r->item->device->id));
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

/* States of digital lines: of K, M and V inputs only. */
static void
put_lines(Emitter *e, const at402_field_def *field, const at402_value *value)
{
	set_named(e, "inputs", Int32GetDatum((int32) (value->raw & 0xFF)));
	if (strcmp(field->column, "inputs_outputs") == 0)
		set_named(e, "outputs", Int32GetDatum((int32) (value->raw >> 8)));
}

static void
put_data(Emitter *e, const at402_field_def *field, const at402_value *value)
{
	if (e->data_column == NO_COLUMN || field->derived)
		return;
	open_data(e);
	at402_json_value(&e->data, field, value, true);
}

/* A measurement. */
static void
put_value(Emitter *e, const at402_field_def *field, const at402_value *value)
{
	bool		lines = strncmp(field->column, "inputs_", strlen("inputs_")) == 0;
	int			column = e->whole || lines ? NO_COLUMN : field_column(e, field);
	Oid			type;

	if (lines)
		put_lines(e, field, value);
	else if (column == NO_COLUMN)
		put_data(e, field, value);
	else if ((type = TupleDescAttr(e->desc, column)->atttypid) == TEXTARRAYOID)
	{
		e->texts = lappend(e->texts, at402_value_cstring(field, value));
		e->texts_column = column;
	}
	else if (e->nulls[column] && (e->wanted == NULL || e->wanted[column]))
		/* the first module that has it: gnss before gnss_extended */
		set(e, column, to_datum(type, field, value));
}

/* What is no measurement is left out; of a list of plain values, where the place
 * counts, it is null. */
static void
take_value(Emitter *e, const at402_field_def *field, const at402_value *sent)
{
	at402_value value = *sent;
	bool		measured = at402_measure(field, &value, &e->none);
	bool		in_list = e->depth > 0 && !e->by_item;

	e->all_zeros &= at402_is_zeros(sent);
	e->all_ones &= at402_is_ones(field, sent);
	e->measured |= measured && (!at402_is_mask(field) || value.raw != 0);
	e->lacks |= !measured && at402_is_required(field);
	if (!in_list)
	{
		if (measured)
			put_value(e, field, &value);
	}
	else if (e->data.state->contVal.type == jbvArray)
		at402_json_value(&e->data, field, measured ? &value
						 : &(at402_value) {.kind = AT402_V_NULL}, false);
	else if (measured)
		at402_json_value(&e->data, field, &value, true);
}

/* Does a module tell anything?  Zeros only, ones only, or flags that are not set
 * beside values that are not there: its source was silent. */
static bool
says_anything(const Emitter *e)
{
	return e->measured && !e->all_zeros && !e->all_ones;
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
		case AT402_E_DERIVED:
			take_value(e, field, value);
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
			e->all_zeros = false;	/* that there is an item says something */
			e->none = false;
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
	e->none = false;
	e->lacks = false;
	e->all_zeros = true;
	e->all_ones = true;
	e->measured = false;
	at402_module_visit(module, visit, e);
}

/* ---- the rows of a report, by table ---- */

static bool
is_valid(const At402Report *r)
{
	return !(r->report.status >> AT402_STATUS_GNSS_INVALID & 1);
}

/* A place on earth: not out of range, nor the 0,0 of a receiver that has not had
 * a fix yet, whatever its flag says. */
static bool
has_place(const At402Report *r)
{
	return r->has_point && fabs(r->latitude) <= 90 && fabs(r->longitude) <= 180 &&
		((is_valid(r) && r->was_fixed) || r->latitude != 0 || r->longitude != 0);
}

bool
at402_is_fix(const At402Report *r)
{
	return is_valid(r) && has_place(r);
}

/* Reason flags, those of K, M and V under the bits of X and Y. */
static uint64
reasons_of(const At402Report *r)
{
	return at402_named_reasons(r->item->packet.variant, r->report.reasons);
}

static void
set_point(Emitter *e)
{
	const At402Report *r = e->report;

	if (has_place(r))
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

	return reasons_of(r) & (at402_routine_events ? ~UINT64CONST(0) : ~routine);
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
emit_position(Emitter *e)
{
	const At402Report *r = e->report;
	at402_module module = {0};

	begin_row(e);
	set_named(e, "reasons", Int64GetDatum((int64) reasons_of(r)));
	set_named(e, "status", Int64GetDatum(r->report.status));
	set_named(e, "ignition", BoolGetDatum(r->ignition));
	set_named(e, "received_at", TimestampTzGetDatum(r->item->input->received_at));
	set_named(e, "time_suspect", BoolGetDatum(r->time_suspect));
	if (r->has_point)
		set_named(e, "gnss_valid", BoolGetDatum(at402_is_fix(r)));
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

/* A row for each digital line that changed. */
static void
emit_lines(Emitter *e, const at402_module *module)
{
	Lines		lines = {0, 0};

	at402_module_visit(module, visit_digitals, &lines);
	for (int bit = 0; bit < 16; bit++)
	{
		if (!(lines.changes >> bit & 1))
			continue;
		begin_row(e);
		set_named_text(e, "kind", bit < 8 ? "input" : "output");
		set_named(e, "line", Int16GetDatum(bit % 8 + 1));
		set_named(e, "state", BoolGetDatum(lines.states >> bit & 1));
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
	at402_value measured = *value;

	/* no probe is there, or it does not answer */
	if (!at402_measure(field, &measured, &e->none))
		return;
	begin_row(e);
	set_named_text(e, "kind", e->def->kind);
	set_named(e, "line", Int16GetDatum((int16) (field - e->def->fields) + 1));
	put_value(e, field, &measured);
	end_numbered_row(e);
}

/* The lowest bit of an alcohol test's status: passed. */
static void
visit_test(void *context, at402_event event, const at402_field_def *field,
		   const at402_value *value)
{
	if (strcmp(field->name, "status_mask") == 0)
		set_named(context, "state", BoolGetDatum(value->raw & 1));
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
			if (strcmp(module.def->kind, "alcohol_test") == 0)
				at402_module_visit(&module, visit_test, e);
			/* no driver is no event */
			if (!e->lacks)
				end_numbered_row(e);
		}
	}
}

/* motion and can: a row a module that says anything. */
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
		if (says_anything(e))
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

	e->whole = true;
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
		visit_module(e, &module);
		/* a blank SIM is no identity */
		if (!e->lacks)
			end_numbered_row(e);
	}
}

/* ---- the state of a device: one row of all its reports in the slice ---- */

static void
visit_odometer(void *context, at402_event event, const at402_field_def *field,
			   const at402_value *value)
{
	Emitter    *e = context;
	int			column = find_column(e, "lifetime_odometer_km", "lifetime_odometer_km");
	at402_value measured = *value;

	if (column != NO_COLUMN && e->nulls[column] &&
		strcmp(field->name, "lifetime_odometer_km") == 0 &&
		at402_measure(field, &measured, &e->none))
		set(e, column, to_datum(TupleDescAttr(e->desc, column)->atttypid, field, &measured));
}

/* The values of a report, into these columns. */
static void
set_state(Emitter *e, const At402Report *r, const bool *wanted)
{
	at402_module module = {0};

	e->wanted = wanted;
	while (at402_module_next(&r->report, &module))
		if (!module.raw && module.def->home & AT402_HOME_POSITION)
			visit_module(e, &module);
	e->wanted = NULL;
}

/*
 * last is the last of count reports of one device, which lie before it.  A clock
 * far ahead would make all later reports late, and one that was never set says
 * nothing: they do not count.
 */
static void
emit_state(Emitter *e, At402Report **reports, int count, const bool *of_last,
		   const bool *of_fix)
{
	const At402Report *last = NULL;
	const At402Report *fix = NULL;
	const At402Report *first = NULL;
	TimestampTz received_at = 0;

	clear_row(e);
	for (int i = count - 1; i >= 0; i--)
	{
		const At402Report *r = reports[i];
		at402_module module = {0};

		if (r->time_suspect || !r->is_new)
			continue;
		first = r;
		if (last == NULL)
			last = r;
		if (fix == NULL && at402_is_fix(r))
			fix = r;
		received_at = Max(received_at, r->item->input->received_at);
		/* it only grows: the youngest that tells of it */
		while (at402_module_next(&r->report, &module))
			if (!module.raw && module.def->home & AT402_HOME_POSITION)
				at402_module_visit(&module, visit_odometer, e);
	}
	if (last == NULL)
		return;
	set(e, 0, Int32GetDatum(last->item->device->id));
	set_named(e, "time", TimestampTzGetDatum(last->time));
	set_named(e, "seq", Int16GetDatum(last->report.seq));
	set_named(e, "content_hash", Int32GetDatum(last->content_hash));
	set_named(e, "received_at", TimestampTzGetDatum(last->item->input->received_at));
	set_named(e, "reasons", Int64GetDatum((int64) reasons_of(last)));
	set_named(e, "status", Int64GetDatum(last->report.status));
	set_named(e, "ignition", BoolGetDatum(last->ignition));
	set_named(e, "last_seen", TimestampTzGetDatum(received_at));
	set_named(e, "dirty_since", TimestampTzGetDatum(first->time));
	set_state(e, last, of_last);
	if (fix != NULL)
	{
		e->report = fix;
		set_named(e, "position_time", TimestampTzGetDatum(fix->time));
		set_named(e, "position_seq", Int16GetDatum(fix->report.seq));
		set_point(e);
		set_state(e, fix, of_fix);
	}
	end_row(e);
}

/* ---- rows of whole frames ---- */

static void
set_letter(Emitter *e, char letter)
{
	set_named_text(e, "protocol", (char[]) {letter, '\0'});
}

static void
set_item(Emitter *e, const At402Item *item)
{
	const At402Input *input = item->input;

	clear_row(e);
	set_named(e, "received_at", TimestampTzGetDatum(input->received_at));
	set_named_text(e, "transport", input->transport);
	if (input->peer != NULL && input->peer[0] != '\0')
		set_named(e, "peer", DirectFunctionCall1(inet_in, CStringGetDatum(input->peer)));
}

static void
emit_frame(Emitter *e, const At402Item *item)
{
	set_item(e, item);
	if (item->device != NULL)
		set_named(e, "device_id", Int32GetDatum(item->device->id));
	if (item->input->kind == AT402_FRAME_PACKET)
		set_letter(e, item->packet.variant->name);
	set_named(e, "frame", PointerGetDatum(at402_frame_make(item->input->bytes,
														   item->input->length)));
	end_row(e);
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
emit_quarantined(Emitter *e, At402Item *item)
{
	const At402Input *input = item->input;

	set_item(e, item);
	/* as sent, also where it is impossible */
	set_named_text(e, "imei", item->imei[0] ? item->imei
				   : item->packet.has_imei ? item->packet.imei : input->login_imei);
	set_named(e, "logged_in", BoolGetDatum(input->logged_in));
	if (input->protocol != 0)
		set_letter(e, input->protocol);
	set_named(e, "bytes", PointerGetDatum(at402_frame_make(input->bytes, input->length)));
	if (item->disposition == AT402_TO_QUARANTINE)
	{
		set_named_text(e, "reason", item->reason);
		set_named_text(e, "sqlstate", item->sqlstate);
		set_named_text(e, "message", item->message);
	}
	else
	{
		const At402Report *first;

		list_sort(item->rejected, compare_numbers);
		first = linitial(item->rejected);
		set_named_text(e, "reason", "rejected");
		set_named_text(e, "sqlstate", first->rejection->sqlstate);
		set_named_text(e, "message", first->rejection->message);
		set_named(e, "report_no", Int32GetDatum((int32) first->report.number));
		set_named(e, "report_nos", numbers_of(item->rejected));
	}
	end_row(e);
}

/* ---- the function ---- */

/* Calls emit for each new report of the slice that has modules with this home;
 * home 0: for each. */
static void
emit_reports(Emitter *e, uint32 home, void (*emit) (Emitter *e))
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

/* A row a device: reports are sorted by device, and by time within it. */
static void
emit_states(Emitter *e)
{
	static const char *const of_fix[] = {"speed_kmh", "heading_deg", "altitude_m"};
	MemoryContext caller = CurrentMemoryContext;
	const At402Batch *batch = e->batch;
	bool	   *from_last = palloc(e->desc->natts);
	bool	   *from_fix = palloc0(e->desc->natts);
	int			first = batch->first;

	memset(from_last, true, e->desc->natts);
	for (int i = 0; i < lengthof(of_fix); i++)
	{
		int			column = find_column(e, of_fix[i], of_fix[i]);

		if (column == NO_COLUMN)
			continue;
		from_last[column] = false;
		from_fix[column] = true;
	}
	MemoryContextSwitchTo(e->row_context);
	for (int i = batch->first; i < batch->last; i++)
		if (i + 1 == batch->last ||
			batch->reports[i + 1]->item->device != batch->reports[i]->item->device)
		{
			emit_state(e, batch->reports + first, i + 1 - first, from_last, from_fix);
			MemoryContextReset(e->row_context);
			first = i + 1;
		}
	MemoryContextSwitchTo(caller);
}

/*
 * Packets with a new report in the slice whose frames are not there yet.  Where
 * there is no slice: text lines.
 */
static void
emit_frames(Emitter *e)
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
emit_quarantine(Emitter *e)
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
emit_presence(Emitter *e)
{
	for (int i = 0; i < e->batch->presence_count; i++)
	{
		const At402Presence *p = e->batch->presence[i];

		if (!p->changed)
			continue;
		clear_row(e);
		set_named(e, "device_id", Int32GetDatum(p->device_id));
		set_named(e, "connected", BoolGetDatum(p->connected));
		set_named(e, "at", TimestampTzGetDatum(p->at));
		end_row(e);
	}
}

static const struct
{
	const char *name;
	uint32		home;			/* of the reports that emit is called for; 0: all */
	void		(*emit) (Emitter *e);
	void		(*emit_all) (Emitter *e);	/* or one call for the batch */
}			tables[] = {
	{"position", 0, emit_position, NULL},
	{"event", 0, emit_events, NULL},
	{"io", AT402_HOME_IO, emit_io, NULL},
	{"motion", AT402_HOME_MOTION, emit_motion, NULL},
	{"can", AT402_HOME_CAN, emit_can, NULL},
	{"can_frame", AT402_HOME_CAN_FRAME, emit_can_frames, NULL},
	{"ble", AT402_HOME_BLE, emit_ble, NULL},
	{"module", AT402_HOME_MODULE | AT402_HOME_EVENT, emit_rest, NULL},
	{"device_state", 0, NULL, emit_states},
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
	Emitter    *e = palloc0(sizeof(Emitter));
	int			i = 0;

	while (i < lengthof(tables) && strcmp(tables[i].name, table) != 0)
		i++;
	if (i == lengthof(tables))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a batch has no rows for table \"%s\"", table));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	e->batch = at402_batch_find(PG_GETARG_INT64(0));
	e->store = rsinfo->setResult;
	e->desc = rsinfo->setDesc;
	e->values = palloc0(e->desc->natts * sizeof(Datum));
	e->nulls = palloc(e->desc->natts * sizeof(bool));
	e->data_column = find_column(e, "data", strcmp(table, "event") == 0 ? "detail" : "data");
	e->row_context = AllocSetContextCreate(CurrentMemoryContext, "at402 rows",
										   ALLOCSET_DEFAULT_SIZES);
	if (tables[i].emit != NULL)
		emit_reports(e, tables[i].home, tables[i].emit);
	else
		tables[i].emit_all(e);
	return (Datum) 0;
}
