/*
 * emitter.c - rows for at402_batch_rows(): columns by name, modules into a row
 *
 * Which field goes into which column is not written down here: a field goes
 * where the caller asks for a column of its name (or of the column that
 * protocol.def gives), and what finds none goes into the column data.
 *
 * The wire has no NULL.  What is no measurement (at402_measure) becomes no value
 * here; decoding shows what was sent, and the frame is kept.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inet.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/emitter.h"
#include "pg/frame.h"

#define KEY_COLUMNS 4			/* device_id, time, seq, content_hash; then n */
#define LINES (-2)				/* in place of a column: states of digital lines */
#define NOT_LOOKED_UP (-3)

void
at402_emitter_init(At402Emitter *e, At402Batch *batch, TupleDesc desc)
{
	e->batch = batch;
	e->desc = desc;
	e->values = palloc0(desc->natts * sizeof(Datum));
	e->nulls = palloc(desc->natts * sizeof(bool));
	at402_clear_row(e);
	e->data_column = AT402_NO_COLUMN;
	e->row_context = AllocSetContextCreate(CurrentMemoryContext, "at402 rows",
										   ALLOCSET_DEFAULT_SIZES);
}

static int
column_named(const At402Emitter *e, const char *name)
{
	int			column = e->desc->natts - 1;

	while (column >= 0 && strcmp(NameStr(TupleDescAttr(e->desc, column)->attname), name) != 0)
		column--;
	return column;
}

/* Where the column of this key is remembered; NOT_LOOKED_UP: it is not yet. */
static int *
remembered(At402Emitter *e, const void *key)
{
	/* fields lie in arrays: without mixing their addresses would share few places */
	int			slot = (uint64) (uintptr_t) key * UINT64CONST(0x9E3779B97F4A7C15) >>
		(64 - AT402_COLUMN_BITS);

	if (e->cache[slot].key != key)
	{
		e->cache[slot].key = key;
		e->cache[slot].column = NOT_LOOKED_UP;
	}
	return &e->cache[slot].column;
}

int
at402_find_column(At402Emitter *e, const void *key, const char *name)
{
	int		   *column = remembered(e, key);

	if (*column == NOT_LOOKED_UP)
		*column = column_named(e, name);
	return *column;
}

static int
field_column(At402Emitter *e, const at402_field_def *field)
{
	int		   *column = remembered(e, field);

	if (*column == NOT_LOOKED_UP)
		*column = strncmp(field->column, "inputs_", strlen("inputs_")) == 0 ? LINES
			: strcmp(field->column, "data") == 0 ? AT402_NO_COLUMN	/* it becomes a key of it */
			: column_named(e, field->column[0] ? field->column : field->name);
	return *column;
}

void
at402_set(At402Emitter *e, int column, Datum value)
{
	e->values[column] = value;
	e->nulls[column] = false;
}

void
at402_set_named(At402Emitter *e, const char *name, Datum value)
{
	int			column = at402_find_column(e, name, name);

	if (column != AT402_NO_COLUMN)
		at402_set(e, column, value);
}

void
at402_set_named_text(At402Emitter *e, const char *name, const char *string)
{
	if (string != NULL && string[0] != '\0')
		at402_set_named(e, name, CStringGetTextDatum(string));
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

Datum
at402_to_datum(Oid type, const at402_field_def *field, const at402_value *value)
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

void
at402_open_data(At402Emitter *e)
{
	if (!e->data_open)
	{
		e->data = (At402Json) {0};
		at402_json_open(&e->data, false);
		e->data_open = true;
	}
}

void
at402_clear_row(At402Emitter *e)
{
	memset(e->nulls, true, e->desc->natts * sizeof(bool));
	e->data_open = false;
	e->texts = NIL;
}

/* Begins a row of a report; n only where the table numbers its rows. */
void
at402_begin_row(At402Emitter *e)
{
	const At402Report *r = e->report;

	at402_clear_row(e);
	at402_set(e, 0, Int32GetDatum(r->item->device->id));
	at402_set(e, 1, TimestampTzGetDatum(r->time));
	at402_set(e, 2, Int16GetDatum(r->report.seq));
	at402_set(e, 3, Int32GetDatum(r->content_hash));
}

void
at402_end_row(At402Emitter *e)
{
	if (e->data_open)
	{
		at402_json_close(&e->data, false);
		at402_set(e, e->data_column, JsonbPGetDatum(JsonbValueToJsonb(e->data.result)));
	}
	if (e->texts != NIL)
	{
		Datum	   *elements = palloc(sizeof(Datum) * list_length(e->texts));
		int			count = 0;
		ListCell   *lc;

		foreach(lc, e->texts)
			elements[count++] = CStringGetTextDatum(lfirst(lc));
		at402_set(e, e->texts_column,
			PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false,
											TYPALIGN_INT)));
	}
	tuplestore_putvalues(e->store, e->desc, e->values, e->nulls);
}

/* The same for a row that is numbered within its report. */
void
at402_end_numbered_row(At402Emitter *e)
{
	at402_set(e, KEY_COLUMNS, Int16GetDatum((int16) e->n++));
	at402_end_row(e);
}

/* States of digital lines: of K, M and V inputs only. */
static void
put_lines(At402Emitter *e, const at402_field_def *field, const at402_value *value)
{
	at402_set_named(e, "inputs", Int32GetDatum((int32) (value->raw & 0xFF)));
	if (strcmp(field->column, "inputs_outputs") == 0)
		at402_set_named(e, "outputs", Int32GetDatum((int32) (value->raw >> 8)));
}

static void
put_data(At402Emitter *e, const at402_field_def *field, const at402_value *value)
{
	if (e->data_column == AT402_NO_COLUMN || field->derived)
		return;
	at402_open_data(e);
	at402_json_value(&e->data, field, value, true);
}

void
at402_put_value(At402Emitter *e, const at402_field_def *field, const at402_value *value)
{
	int			column = field_column(e, field);
	Oid			type;

	if (column == LINES)
		put_lines(e, field, value);
	else if (column == AT402_NO_COLUMN || e->whole)
		put_data(e, field, value);
	else if ((type = TupleDescAttr(e->desc, column)->atttypid) == TEXTARRAYOID)
	{
		e->texts = lappend(e->texts, at402_value_cstring(field, value));
		e->texts_column = column;
	}
	else if (e->nulls[column] && (e->wanted == NULL || e->wanted[column]))
		/* the first module that has it: gnss before gnss_extended */
		at402_set(e, column, at402_to_datum(type, field, value));
}

/* What is no measurement is left out; of a list of plain values, where the place
 * counts, it is null. */
static void
take_value(At402Emitter *e, const at402_field_def *field, const at402_value *sent)
{
	at402_value value = *sent;
	bool		measured = at402_measure(field, &value, &e->none);
	bool		in_list = e->depth > 0 && !e->by_item;

	e->all_zeros = e->all_zeros && at402_is_zeros(sent);
	e->all_ones = e->all_ones && at402_is_ones(field, sent);
	e->measured = e->measured || (measured && (!at402_is_mask(field) || value.raw != 0));
	e->lacks |= !measured && at402_is_required(field);
	if (!in_list)
	{
		if (measured)
			at402_put_value(e, field, &value);
	}
	else if (e->data.state->contVal.type == jbvArray)
		at402_json_value(&e->data, field, measured ? &value
						 : &(at402_value) {.kind = AT402_V_NULL}, false);
	else if (measured)
		at402_json_value(&e->data, field, &value, true);
}

bool
at402_module_says_anything(const At402Emitter *e)
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
	At402Emitter *e = context;

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
				at402_open_data(e);
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
				at402_begin_row(e);
				if (e->def->kind[0])
					at402_set_named_text(e, "kind", e->def->kind);
			}
			else
				at402_json_open(&e->data, false);
			break;
		case AT402_E_ITEM_END:
			e->depth--;
			if (e->by_item)
				at402_end_numbered_row(e);
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

void
at402_visit_module(At402Emitter *e, const at402_module *module)
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

/* ---- what reports say beside their modules ---- */

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

uint64
at402_reasons_of(const At402Report *r)
{
	return at402_named_reasons(r->item->packet.variant, r->report.reasons);
}

void
at402_set_point(At402Emitter *e)
{
	const At402Report *r = e->report;

	if (has_place(r))
	{
		at402_set_named(e, "longitude", Float8GetDatum(r->longitude));
		at402_set_named(e, "latitude", Float8GetDatum(r->latitude));
	}
}
