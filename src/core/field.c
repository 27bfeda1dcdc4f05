/*
 * field.c - the value of one field: reading, writing, and what it says
 *
 * All that depends on the type of a field stands here.  Which raw values are
 * measurements does not: protocol.def has the ranges, and a field names one.
 */
#include <string.h>

#include "field.h"

/* ---- reading ---- */

static int64_t
sign_extend(uint64_t raw, unsigned bytes)
{
	unsigned	shift = 64 - 8 * bytes;

	return (int64_t) (raw << shift) >> shift;
}

bool
at402_read_value(cursor *c, const at402_field_def *field, at402_value *value)
{
	uint64_t	raw = 0;
	bool		ok = false;

	value->kind = AT402_V_NUMBER;
	value->span = (at402_span) {NULL, 0};
	switch ((at402_type) field->type)
	{
		case AT402_T_U8:
		case AT402_T_U16:
		case AT402_T_U24:
		case AT402_T_U32:
			ok = cursor_uint(c, field->size, &raw);
			break;
		case AT402_T_U56:
			ok = cursor_uint(c, field->size, &raw);
			value->kind = AT402_V_DIGITS;
			break;
		case AT402_T_I8:
		case AT402_T_I16:
		case AT402_T_I32:
			ok = cursor_uint(c, field->size, &raw);
			raw = (uint64_t) sign_extend(raw, field->size);
			break;
		case AT402_T_U16LE:
		case AT402_T_U24LE:
		case AT402_T_U32LE:
			ok = cursor_uint_le(c, field->size, &raw);
			break;
		case AT402_T_U4LO:
			ok = cursor_uint(c, 1, &raw);
			cursor_back(c, ok ? 1 : 0);	/* the high nibble is read from the same byte */
			raw &= 0x0F;
			break;
		case AT402_T_U4HI:
			ok = cursor_uint(c, 1, &raw);
			raw >>= 4;
			break;
		case AT402_T_U12LO:
			ok = cursor_uint_le(c, 3, &raw);
			cursor_back(c, ok ? 3 : 0);
			raw &= 0xFFF;
			break;
		case AT402_T_U12HI:
			ok = cursor_uint_le(c, 3, &raw);
			raw >>= 12;
			break;
		case AT402_T_U8N:
			ok = cursor_uint(c, 1, &raw);
			if (raw == UINT8_MAX)
				value->kind = AT402_V_NULL;
			break;
		case AT402_T_I8N:
			ok = cursor_uint(c, 1, &raw);
			raw = (uint64_t) sign_extend(raw, 1);
			if ((int64_t) raw == INT8_MIN)
				value->kind = AT402_V_NULL;
			break;
		case AT402_T_TIME:
			ok = cursor_uint(c, 4, &raw);
			value->kind = AT402_V_TIME;
			break;
		case AT402_T_BOOL:
			ok = cursor_uint(c, 1, &raw);
			raw = raw == 1;
			value->kind = AT402_V_BOOL;
			break;
		case AT402_T_ASCII:
			ok = cursor_take(c, field->size, &value->span.bytes);
			value->span.length = field->size;
			value->kind = AT402_V_TEXT;
			if (ok)
				value->span = at402_text(value->span);
			break;
		case AT402_T_HEX:
		case AT402_T_MAC:
			ok = cursor_take(c, field->size, &value->span.bytes);
			value->span.length = field->size;
			value->kind = field->type == AT402_T_MAC ? AT402_V_MAC : AT402_V_HEX;
			break;
		case AT402_T_SKIP:
			return cursor_skip(c, field->size);
		case AT402_T_SEEK:
			return cursor_seek(c, field->size);
		case AT402_T_U1:
		case AT402_T_U5:
		case AT402_T_U7:
		case AT402_T_U19:
		case AT402_T_NAME:
		case AT402_T_SLOT:
		case AT402_T_LIST:
			return false;		/* made by special.c */
	}
	value->raw = (int64_t) raw;
	return ok;
}

/* ---- writing ---- */

static void
store_span(uint8_t *at, size_t size, at402_span span)
{
	memcpy(at, span.bytes, span.length < size ? span.length : size);
}

/* Writes a value where its field stands; at reaches to the end of the field. */
static void
store_value(uint8_t *at, const at402_field_def *field, const at402_value *value)
{
	uint64_t	raw = (uint64_t) value->raw;

	switch ((at402_type) field->type)
	{
		case AT402_T_U16LE:
		case AT402_T_U24LE:
		case AT402_T_U32LE:
			for (size_t i = 0; i < field->size; i++)
				at[i] = (uint8_t) (raw >> 8 * i);
			break;
		case AT402_T_U4LO:
			at[0] = (uint8_t) ((at[0] & 0xF0) | raw);
			break;
		case AT402_T_U4HI:
			at[0] = (uint8_t) ((at[0] & 0x0F) | raw << 4);
			break;
		case AT402_T_U12LO:
			at[0] = (uint8_t) raw;
			at[1] = (uint8_t) ((at[1] & 0xF0) | raw >> 8);
			break;
		case AT402_T_U12HI:
			at[1] = (uint8_t) ((at[1] & 0x0F) | raw << 4);
			at[2] = (uint8_t) (raw >> 4);
			break;
		case AT402_T_U8N:
			at[0] = value->kind == AT402_V_NULL ? UINT8_MAX : (uint8_t) raw;
			break;
		case AT402_T_I8N:
			at[0] = value->kind == AT402_V_NULL ? (uint8_t) INT8_MIN : (uint8_t) raw;
			break;
		case AT402_T_ASCII:
		case AT402_T_HEX:
		case AT402_T_MAC:
			store_span(at, field->size, value->span);
			break;
		default:
			writer_put_at(at, field->size, raw);
			break;
	}
}

/* Bytes a field stands on: two fields may share them, and only one moves on. */
static size_t
footprint(const at402_field_def *field)
{
	if (field->type == AT402_T_U4LO)
		return 1;
	if (field->type == AT402_T_U12LO)
		return 3;
	return field->size;
}

/* Is "none" what a missing value means? */
static bool
may_be_none(const at402_field_def *field)
{
	return field->type == AT402_T_U8N || field->type == AT402_T_I8N;
}

/*
 * Writes a field at the end and moves on.  The bytes of a field that shares
 * them with the next are there before the writer has moved.
 */
void
at402_put_field(at402_writer *w, const at402_field_def *field, const at402_source *source)
{
	size_t		moved = footprint(field);
	uint8_t    *at = writer_extend(w, moved);
	at402_value value = {.kind = AT402_V_NUMBER};

	if (at == NULL)
		return;
	if (source->value(source->context, field, &value))
		store_value(at, field, &value);
	else if (may_be_none(field))
		store_value(at, field, &(at402_value) {.kind = AT402_V_NULL});
	w->length -= moved - field->size;
}

bool
at402_get_raw(const at402_source *source, const at402_field_def *field, int64_t *raw)
{
	at402_value value = {0};
	bool		found = source->value(source->context, field, &value);

	*raw = value.raw;
	return found;
}

bool
at402_get_span(const at402_source *source, const at402_field_def *field, at402_span *span)
{
	at402_value value = {0};
	bool		found = source->value(source->context, field, &value);

	*span = value.span;
	return found;
}

/* ---- ranges ---- */

void
at402_raw_range(const at402_field_def *field, int64_t *least, int64_t *most)
{
	unsigned	bits = field->size * 8U;

	*least = 0;
	switch ((at402_type) field->type)
	{
		case AT402_T_I8:
		case AT402_T_I16:
		case AT402_T_I32:
			*most = (INT64_C(1) << (bits - 1)) - 1;
			*least = -*most - 1;
			return;
		case AT402_T_U4LO:
		case AT402_T_U4HI:
			bits = 4;
			break;
		case AT402_T_U12LO:
		case AT402_T_U12HI:
			bits = 12;
			break;
		case AT402_T_U8N:
			*most = UINT8_MAX - 1;
			return;
		case AT402_T_I8N:
			*most = INT8_MAX;
			*least = -*most;
			return;
		case AT402_T_SLOT:
			*most = AT402_SENSOR_SLOTS - 1;
			return;
		case AT402_T_U1:
			bits = 1;
			break;
		case AT402_T_U5:
			bits = 5;
			break;
		case AT402_T_U7:
			bits = 7;
			break;
		case AT402_T_U19:
			bits = 19;
			break;
		default:
			break;
	}
	*most = (INT64_C(1) << bits) - 1;
}


/* For the rows of protocol.def. */
#define VALUE(v) (((v) - field->off) * (int64_t) field->den / field->num)
#define TOP(first) ((INT64_C(first) << 8 * (field->size - 1)) - 1)

static void
range_of(const at402_field_def *field, int64_t *least, int64_t *most)
{
	switch ((enum at402_range) field->range)
	{
#define RANGE(name, low, high, words, source)                                                      \
	case R_##name:                                                                                 \
		*least = low;                                                                              \
		*most = high;                                                                              \
		return;
#include "table_rows.h"
		case R_COUNT:
			break;
	}
}

bool
at402_measured_range(const at402_field_def *field, int64_t *least, int64_t *most)
{
	range_of(field, least, most);
	if (*least == INT64_MIN && may_be_none(field))
		at402_raw_range(field, least, most);
	return *least != INT64_MIN;
}

/* Are there other bytes than 0x00, 0xFF and those given? */
static bool
says_more_than(at402_span span, const char *blanks)
{
	for (size_t i = 0; i < span.length; i++)
		if (span.bytes[i] != 0 && span.bytes[i] != UINT8_MAX &&
			strchr(blanks, span.bytes[i]) == NULL)
			return true;
	return false;
}

bool
at402_says_anything(at402_span span)
{
	return says_more_than(span, " 0");
}

static bool
is_measured(const at402_field_def *field, const at402_value *value, bool none_before)
{
	int64_t		least;
	int64_t		most;

	switch ((enum at402_range) field->range)
	{
		case R_TEXT:
			return says_more_than(value->span, " ");
		case R_IDENTITY:
			return at402_says_anything(value->span);
		case R_SERIAL:
			return says_more_than(value->span, "");
		case R_WITH_BEFORE:
			return !(none_before && at402_is_ones(field, value));
		default:
			range_of(field, &least, &most);
			return value->raw >= least && value->raw <= most;
	}
}

bool
at402_measure(const at402_field_def *field, at402_value *value, bool *none)
{
	*none = value->kind == AT402_V_NULL || !is_measured(field, value, *none);
	if (field->range == R_HEADING && value->raw == VALUE(360))
		value->raw = 0;
	return !*none;
}

bool
at402_is_zeros(const at402_value *value)
{
	for (size_t i = 0; i < value->span.length; i++)
		if (value->span.bytes[i] != 0)
			return false;
	return value->kind != AT402_V_NULL && value->raw == 0;
}

bool
at402_is_ones(const at402_field_def *field, const at402_value *value)
{
	int64_t		least;
	int64_t		most;

	if (value->kind == AT402_V_NULL)
		return true;			/* sent as the largest, or as the least of I8N */
	if (value->span.bytes != NULL)
	{
		for (size_t i = 0; i < value->span.length; i++)
			if (value->span.bytes[i] != UINT8_MAX)
				return false;
		return value->span.length > 0;
	}
	at402_raw_range(field, &least, &most);
	return value->raw == (least < 0 ? -1 : most);
}

bool
at402_is_mask(const at402_field_def *field)
{
	return field->range == R_MASK;
}

bool
at402_is_required(const at402_field_def *field)
{
	return field->range == R_SOURCE || field->range == R_SERIAL || field->range == R_IMSI ||
		field->range == R_IDENTITY;
}

/* ---- places ---- */

/* Columns of the digital lines, as the table calls them; of io one row a line. */
static const char *
lines_column(const char *column, unsigned home)
{
	if (strcmp(column, "inputs_outputs") == 0)
		return home == AT402_HOME_IO ? "state" : "inputs, outputs";
	if (strcmp(column, "inputs_changes") == 0)
		return home == AT402_HOME_IO ? "line, state" : "inputs";
	if (strcmp(column, "changes") == 0)
		return home == AT402_HOME_IO ? "line" : "-";
	return column;
}

/* Is each item of a module's list a row of this table? */
static bool
is_of_items(unsigned home)
{
	return home == AT402_HOME_BLE || home == AT402_HOME_CAN_FRAME;
}

bool
at402_find_place(const at402_module_def *def, const at402_field_def *field, unsigned home,
				 at402_place *place)
{
	const char *column = lines_column(field->column, home);
	bool		item = field->list != NULL && !is_of_items(home);
	bool		nested = item || (field->type == AT402_T_LIST && !is_of_items(home));

	*place = (at402_place) {NULL, NULL, NULL};
	if (!(def->home & home) || (field->derived && home == AT402_HOME_MODULE) ||
		(field->type == AT402_T_LIST && is_of_items(home)))
		return false;
	if (home == AT402_HOME_DEVICE)
		place->column = field->name;
	else if (home == AT402_HOME_EVENT)
		*place = (at402_place) {"detail", NULL, field->name};
	else if (home == AT402_HOME_MODULE || nested || strcmp(column, "data") == 0)
		*place = (at402_place) {"data", item ? field->list : NULL,
			item && strcmp(column, "-") == 0 ? NULL : field->name};
	else if (strcmp(column, "-") != 0)
		place->column = column[0] != '\0' ? column : field->name;
	return place->column != NULL;
}
