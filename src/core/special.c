/*
 * special.c - modules that rows of plain fields cannot describe, and reading
 * of single values
 *
 * Special are modules that hold lists (beacons, CAN frames, tyres, trouble
 * codes, wheels), whose slots have a type each (sensors) or whose bytes depend
 * on a type (debug).  Their parts have names, units and scales from the table
 * like all others; only how the parts follow each other stands here.  For each
 * there is one function that walks the content; with visit NULL it only says
 * whether the content is well formed.
 */
#include <string.h>

#include "special.h"

#define MAC_SIZE 6
#define CAN_RECORD 13
#define CAN_RECORD_OLD 12		/* firmware before 2024-11: no age */
#define J1939_RECORD 4

/* What a walk goes on with. */
typedef struct walk
{
	cursor		c;
	const at402_field_def *parts;	/* of the module; PART_ numbers are places here */
	bool		prefixed;		/* the module is Y's */
	at402_visitor visit;		/* NULL: check only */
	void	   *context;
} walk;

/* ---- single values ---- */

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
			c->offset -= ok;	/* the high nibble is read from the same byte */
			raw &= 0x0F;
			break;
		case AT402_T_U4HI:
			ok = cursor_uint(c, 1, &raw);
			raw >>= 4;
			break;
		case AT402_T_U12LO:
			ok = cursor_uint_le(c, 3, &raw);
			c->offset -= ok ? 3 : 0;
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
			return false;		/* made by the walks below */
	}
	value->raw = (int64_t) raw;
	return ok;
}

/* ---- telling the visitor ---- */

static void
tell(walk *w, at402_event event, int part)
{
	if (w->visit)
		w->visit(w->context, event, part >= 0 ? &w->parts[part] : NULL, NULL);
}

static void
tell_value(walk *w, int part, at402_value value)
{
	if (w->visit)
		w->visit(w->context, AT402_E_VALUE, &w->parts[part], &value);
}

static void
tell_number(walk *w, int part, uint64_t raw)
{
	tell_value(w, part, (at402_value) {AT402_V_NUMBER, (int64_t) raw, {NULL, 0}});
}

static void
tell_name(walk *w, const at402_field_def *field, const char *name)
{
	at402_value value = {AT402_V_TEXT, 0, {(const uint8_t *) name, strlen(name)}};

	if (w->visit)
		w->visit(w->context, AT402_E_VALUE, field, &value);
}

static void
tell_hex(walk *w, const at402_field_def *field, at402_span span)
{
	at402_value value = {AT402_V_HEX, 0, span};

	if (w->visit)
		w->visit(w->context, AT402_E_VALUE, field, &value);
}

/* Reads the parts from first to last, one after the other. */
static bool
read_parts(walk *w, int first, int last)
{
	for (int part = first; part <= last; part++)
	{
		at402_value value;

		if (!at402_read_value(&w->c, &w->parts[part], &value))
			return false;
		tell_value(w, part, value);
	}
	return true;
}

/* ---- the modules ---- */

/* Records of: MAC, signal, companion, age, type, length of meta, meta. */
static bool
walk_beacons(walk *w)
{
	uint64_t	count = 0;
	uint64_t	length;
	uint64_t	height;
	at402_span	meta;

	if (w->prefixed)
	{
		if (!cursor_skip(&w->c, RESERVED) || !cursor_uint(&w->c, 1, &count))
			return false;
	}
	else if (!cursor_uint(&w->c, 1, &count) ||
			 !cursor_skip(&w->c, BEACON_HEADER_X - 1))
		return false;

	tell(w, AT402_E_LIST, PART_beacons_beacons);
	for (; count > 0; count--)
	{
		at402_value type;

		tell(w, AT402_E_ITEM, -1);
		if (!read_parts(w, PART_beacons_mac, PART_beacons_type - 1) ||
			!at402_read_value(&w->c, &w->parts[PART_beacons_type], &type) ||
			!cursor_uint(&w->c, 1, &length) ||
			!cursor_take(&w->c, (size_t) length, &meta.bytes))
			return false;
		tell_value(w, PART_beacons_type, type);
		meta.length = (size_t) length;
		if (type.raw == BEACON_HEIGHT && length == 2)
		{
			height = (uint64_t) meta.bytes[0] << 8 | meta.bytes[1];
			tell_number(w, PART_beacons_height_cm, height);
		}
		else if (length > 0)
			tell_hex(w, &w->parts[PART_beacons_meta], meta);
		tell(w, AT402_E_ITEM_END, -1);
	}
	tell(w, AT402_E_LIST_END, -1);
	/* extra bytes are Y's right; in X they mean that the count lies */
	return w->prefixed || cursor_left(&w->c) == 0;
}

/* Records of: CAN id, 8 bytes of data, age in s; older firmware has no age. */
static bool
walk_generic_can(walk *w)
{
	size_t		left = cursor_left(&w->c);
	bool		newest = left >= RESERVED && (w->prefixed || (left - RESERVED) % CAN_RECORD == 0);
	size_t		record = newest ? CAN_RECORD : CAN_RECORD_OLD;

	if (newest)
		cursor_skip(&w->c, RESERVED);
	else if (w->prefixed || left % CAN_RECORD_OLD != 0)
		return false;
	tell(w, AT402_E_LIST, PART_generic_can_frames);
	while (cursor_left(&w->c) >= record)
	{
		tell(w, AT402_E_ITEM, -1);
		read_parts(w, PART_generic_can_id,
				   newest ? PART_generic_can_age_s : PART_generic_can_data);
		tell(w, AT402_E_ITEM_END, -1);
	}
	tell(w, AT402_E_LIST_END, -1);
	return true;
}

const at402_sensor_type at402_sensor_types[AT402_SENSOR_TYPES] = {
	{"temperature", PART_sensors_temperature_c},
	{"humidity", PART_sensors_humidity_percent},
	{"light", PART_sensors_light_raw},
};

/* Six slots of: type and validity in a byte, 16 bits whose meaning the type tells. */
static bool
walk_sensors(walk *w)
{
	if (cursor_left(&w->c) < SENSOR_SLOTS * SENSOR_SLOT)
		return false;
	tell(w, AT402_E_LIST, PART_sensors_sensors);
	for (unsigned slot = 0; slot < SENSOR_SLOTS; slot++)
	{
		uint64_t	head = 0;
		unsigned	type;

		cursor_uint(&w->c, 1, &head);
		type = head & 0x0F;
		if (type == 0)
		{
			cursor_skip(&w->c, SENSOR_SLOT - 1);	/* nothing assigned */
			continue;
		}
		tell(w, AT402_E_ITEM, -1);
		tell_number(w, PART_sensors_index, slot);
		tell_value(w, PART_sensors_valid,
				   (at402_value) {AT402_V_BOOL, (int64_t) (head >> 7), {NULL, 0}});
		if (type <= AT402_SENSOR_TYPES)
		{
			tell_name(w, &w->parts[PART_sensors_type], at402_sensor_types[type - 1].name);
			read_parts(w, at402_sensor_types[type - 1].part, at402_sensor_types[type - 1].part);
		}
		else
		{
			at402_span	raw = {NULL, SENSOR_SLOT - 1};

			tell_number(w, PART_sensors_type_raw, type);
			cursor_take(&w->c, raw.length, &raw.bytes);
			tell_hex(w, &at402_raw_field, raw);
		}
		tell(w, AT402_E_ITEM_END, -1);
	}
	tell(w, AT402_E_LIST_END, -1);
	return true;
}

static bool
walk_debug(walk *w)
{
	at402_value type;
	uint64_t	length;
	at402_span	payload;

	if (!at402_read_value(&w->c, &w->parts[PART_debug_type], &type))
		return false;
	tell_value(w, PART_debug_type, type);
	if (type.raw == DEBUG_TYPED && cursor_left(&w->c) == 2 + DEBUG_TYPED_SIZE)
	{
		cursor_uint(&w->c, 2, &length);
		if (length == DEBUG_TYPED_SIZE)
		{
			read_parts(w, PART_debug_flags_mask, PART_debug_lr);
			tell(w, AT402_E_LIST, PART_debug_watchdog_levels);
			for (int i = 0; i < WATCHDOG_LEVELS; i++)
				read_parts(w, PART_debug_watchdog_level, PART_debug_watchdog_level);
			tell(w, AT402_E_LIST_END, -1);
			return read_parts(w, PART_debug_watchdog_service, PART_debug_watchdog_service);
		}
		cursor_seek(&w->c, w->c.offset - 2);
	}
	payload.length = cursor_left(&w->c);
	cursor_take(&w->c, payload.length, &payload.bytes);
	tell_hex(w, &at402_raw_field, payload);
	return true;
}

static bool
walk_tpms(walk *w)
{
	uint64_t	count;

	if (!cursor_uint(&w->c, 1, &count))
		return false;
	tell(w, AT402_E_LIST, PART_tpms_sensors);
	for (; count > 0; count--)
	{
		tell(w, AT402_E_ITEM, -1);
		if (!read_parts(w, PART_tpms_axle, PART_tpms_temperature_c))
			return false;
		tell(w, AT402_E_ITEM_END, -1);
	}
	tell(w, AT402_E_LIST_END, -1);
	return true;
}

/* Trouble codes of 4 bytes as J1939-73 packs them, up to a record of zeros. */
static bool
walk_j1939_dtc(walk *w)
{
	uint64_t	code;

	tell(w, AT402_E_LIST, PART_j1939_dtc_dtcs);
	while (cursor_left(&w->c) >= J1939_RECORD && cursor_uint(&w->c, J1939_RECORD, &code) &&
		   code != 0)
	{
		uint64_t	b0 = code >> 24;
		uint64_t	b1 = code >> 16 & 0xFF;
		uint64_t	b2 = code >> 8 & 0xFF;
		uint64_t	b3 = code & 0xFF;

		tell(w, AT402_E_ITEM, -1);
		tell_number(w, PART_j1939_dtc_spn, b0 | b1 << 8 | (b2 >> 5) << 16);
		tell_number(w, PART_j1939_dtc_fmi, b2 & 0x1F);
		tell_number(w, PART_j1939_dtc_cm, b3 >> 7);
		tell_number(w, PART_j1939_dtc_oc, b3 & 0x7F);
		tell(w, AT402_E_ITEM_END, -1);
	}
	tell(w, AT402_E_LIST_END, -1);
	return true;
}

static bool
walk_hgv_trailer(walk *w)
{
	at402_value flags = {0};
	uint64_t	count;

	if (!read_parts(w, PART_hgv_trailer_can_time, PART_hgv_trailer_can_time) ||
		!at402_read_value(&w->c, &w->parts[PART_hgv_trailer_flags_mask], &flags))
		return false;
	tell_value(w, PART_hgv_trailer_flags_mask, flags);
	if (!read_parts(w, PART_hgv_trailer_ebs_supply_pressure_kpa,
					PART_hgv_trailer_braking_efficiency_compensated_percent) ||
		!cursor_uint(&w->c, 1, &count))
		return false;
	tell(w, AT402_E_LIST, PART_hgv_trailer_wheels);
	for (; count > 0; count--)
	{
		tell(w, AT402_E_ITEM, -1);
		if (!read_parts(w, PART_hgv_trailer_wheel, PART_hgv_trailer_brake_lining_wear_percent))
			return false;
		tell(w, AT402_E_ITEM_END, -1);
	}
	tell(w, AT402_E_LIST_END, -1);
	tell(w, AT402_E_LIST, PART_hgv_trailer_brake_pressures_kpa);
	for (int i = 0; i < TRAILER_BRAKES; i++)
		if (!read_parts(w, PART_hgv_trailer_brake_pressure_kpa,
						PART_hgv_trailer_brake_pressure_kpa))
			return false;
	tell(w, AT402_E_LIST_END, -1);
	tell(w, AT402_E_LIST, PART_hgv_trailer_flags);
	for (int bit = 0; bit < AT402_TRAILER_FLAGS; bit++)
		if (flags.raw >> bit & 1)
			tell_name(w, &w->parts[PART_hgv_trailer_flags], at402_trailer_flag_names[bit]);
	tell(w, AT402_E_LIST_END, -1);
	return true;
}

/* Walks a special module; false when its content is malformed. */
static bool
walk_special(const at402_module *module, at402_visitor visit, void *context)
{
	walk		w = {
		.c = {module->bytes, module->length, 0},
		.parts = module->def->fields,
		.prefixed = module->report->packet->variant->letter == 'Y',
		.visit = visit,
		.context = context,
	};

	switch ((at402_shape) module->def->shape)
	{
		case AT402_BEACONS:
			return walk_beacons(&w);
		case AT402_GENERIC_CAN:
			return walk_generic_can(&w);
		case AT402_SENSORS:
			return walk_sensors(&w);
		case AT402_DEBUG:
			return walk_debug(&w);
		case AT402_TPMS:
			return walk_tpms(&w);
		case AT402_J1939_DTC:
			return walk_j1939_dtc(&w);
		case AT402_HGV_TRAILER:
			return walk_hgv_trailer(&w);
		case AT402_FIELDS:
			break;
	}
	return false;
}

bool
at402_special_fits(const at402_module *module)
{
	return walk_special(module, NULL, NULL);
}

at402_status
at402_special_measure(const at402_module_def *def, bool prefixed, cursor *c, uint64_t *length)
{
	at402_shape shape = def != NULL ? (at402_shape) def->shape : AT402_FIELDS;
	size_t		width = shape == AT402_BEACONS || shape == AT402_GENERIC_CAN ? 2 : 1;

	if (shape == AT402_DEBUG)
		/* in Y as in X: a length that does not count itself */
		return cursor_uint(c, 2, length) ? AT402_OK : AT402_SHORT_MODULE;
	if (prefixed || shape == AT402_GENERIC_CAN)
	{
		/* a length that counts itself */
		if (!cursor_uint(c, width, length) || *length < width)
			return AT402_SHORT_MODULE;
		*length -= width;
		return AT402_OK;
	}
	if (shape == AT402_BEACONS)
	{
		cursor		ahead = *c;

		/* the length of the records stands between other parts: all is content */
		if (!cursor_skip(&ahead, 1) || !cursor_uint(&ahead, 2, length))
			return AT402_SHORT_MODULE;
		*length += BEACON_HEADER_X;
		return AT402_OK;
	}
	if (shape == AT402_SENSORS)
	{
		*length = SENSOR_SLOTS * SENSOR_SLOT;
		return AT402_OK;
	}
	return AT402_UNKNOWN_MODULE;
}

void
at402_module_visit(const at402_module *module, at402_visitor visit, void *context)
{
	uint8_t		rows = module->report->packet->variant->rows;
	cursor		c = {module->bytes, module->length, 0};

	if (module->raw)
	{
		walk		w = {.visit = visit, .context = context};

		tell_hex(&w, &at402_raw_field, (at402_span) {module->bytes, module->length});
		if (module->def != NULL && module->def->shape == AT402_BEACONS)
			tell_name(&w, &at402_error_field, "records do not fill the module");
		return;
	}
	if (module->def->shape != AT402_FIELDS)
	{
		walk_special(module, visit, context);
		return;
	}
	for (int i = 0; i < module->def->field_count; i++)
	{
		const at402_field_def *field = &module->def->fields[i];
		at402_value value;

		if (!(field->variants & rows))
			continue;
		if (!at402_read_value(&c, field, &value))
			return;
		if (field->name != NULL)
			visit(context, AT402_E_VALUE, field, &value);
	}
}
