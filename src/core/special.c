/*
 * special.c - modules that rows of plain fields cannot describe
 *
 * Special are modules that hold lists (beacons, CAN frames, tyres, trouble
 * codes, wheels), whose slots have a type each (sensors) or whose bytes depend
 * on a type (debug).  Their parts have names, units and scales from the table
 * like all others; only how the parts follow each other stands here.  For each
 * there is one function that walks the content, which with visit NULL only says
 * whether it is well formed, and beside it the one that writes it.
 */
#include "special.h"

#define RESERVED 4
#define BEACON_HEADER_X 7		/* count, length of the records, 4 reserved */
#define BEACON_HEIGHT 1			/* type of a beacon that tells its height */
#define CAN_RECORD 13
#define CAN_RECORD_OLD 12		/* firmware before 2024-11: no age */
#define SENSOR_SLOT 3
#define SENSOR_TYPES 3
#define SENSOR_VALID 0x80
#define DEBUG_TYPED 1			/* type of debug data with known contents */
#define DEBUG_TYPED_SIZE 48
#define WATCHDOG_LEVELS 15
#define J1939_RECORD 4
#define TRAILER_SIZE 25			/* without wheels */
#define TRAILER_COUNT_AT 18		/* where the number of wheels is */
#define TRAILER_WHEEL 4
#define TRAILER_BRAKES 6

/* What a walk goes on with. */
typedef struct walk
{
	cursor		c;
	const at402_field_def *parts;	/* of the module; PART_ numbers are places here */
	bool		prefixed;		/* the module is Y's */
	at402_visitor visit;		/* NULL: check only */
	void	   *context;
} walk;

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
tell_name(walk *w, int part, const char *name)
{
	tell_value(w, part, (at402_value) {AT402_V_TEXT, 0, {(const uint8_t *) name, strlen(name)}});
}

static void
tell_hex(walk *w, int part, at402_span span)
{
	tell_value(w, part, (at402_value) {AT402_V_HEX, 0, span});
}

static void
tell_raw(walk *w, at402_span span)
{
	if (w->visit)
		w->visit(w->context, AT402_E_VALUE, &at402_raw_field,
				 &(at402_value) {AT402_V_HEX, 0, span});
}

/* Reads the parts from first to last, one after the other. */
MUST_CHECK static bool
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

/* ---- asking the source ---- */

typedef struct put_list
{
	const at402_source *source;
	size_t		count;
	size_t		at;
	bool		objects;
	bool		open;
} put_list;

/* objects: of its elements; else they are plain values. */
static put_list
open_list(const at402_source *source, const at402_field_def *field, bool objects)
{
	put_list	list = {.source = source, .objects = objects};

	list.open = source->list(source->context, field, &list.count);
	return list;
}

/* Opens the next item; at the end closes the list. */
static bool
next_item(put_list *list)
{
	if (!list->open)
		return false;
	if (list->at > 0)
		list->source->close(list->source->context);
	if (list->at < list->count)
	{
		list->source->item(list->source->context, list->at++, list->objects);
		return true;
	}
	list->source->close(list->source->context);
	list->open = false;
	return false;
}

static void
put_parts(at402_writer *w, const at402_field_def *parts, int first, int last,
		  const at402_source *source)
{
	for (int part = first; part <= last; part++)
		at402_put_field(w, &parts[part], source);
}

static bool
is_word(at402_span span, const char *word)
{
	return span.length == strlen(word) && memcmp(span.bytes, word, span.length) == 0;
}

/* ---- beacons ---- */

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
			tell_hex(w, PART_beacons_meta, meta);
		tell(w, AT402_E_ITEM_END, -1);
	}
	tell(w, AT402_E_LIST_END, -1);
	/* extra bytes are Y's right; in X they mean that the count lies */
	return w->prefixed || cursor_left(&w->c) == 0;
}

static void
put_beacons(at402_writer *w, const at402_field_def *parts, bool prefixed,
			const at402_source *source)
{
	put_list	list = open_list(source, &parts[PART_beacons_beacons], true);
	size_t		start;

	if (prefixed)
		writer_put(w, RESERVED, 0);
	writer_put(w, 1, list.count);
	if (!prefixed)
		writer_put(w, 2 + RESERVED, 0);
	start = w->length;
	while (next_item(&list))
	{
		int64_t		type;
		int64_t		raw;
		at402_span	meta;

		put_parts(w, parts, PART_beacons_mac, PART_beacons_type, source);
		at402_get_raw(source, &parts[PART_beacons_type], &type);
		if (at402_get_raw(source, &parts[PART_beacons_height_cm], &raw))
		{
			if (type != BEACON_HEIGHT)
				w->refused = &parts[PART_beacons_type];
			writer_put(w, 1, 2);
			writer_put(w, 2, (uint64_t) raw);
		}
		else if (at402_get_span(source, &parts[PART_beacons_meta], &meta))
		{
			if (meta.length > UINT8_MAX)
				w->overflow = true;
			writer_put(w, 1, meta.length);
			writer_put_span(w, meta);
		}
		else
			writer_put(w, 1, 0);
	}
	if (!prefixed && !w->overflow)
		writer_put_at(w->bytes + start - 2 - RESERVED, 2, w->length - start);
}

/* ---- generic CAN ---- */

/* Records of: CAN id, 8 bytes of data, age in s; older firmware has no age. */
static bool
walk_generic_can(walk *w)
{
	size_t		left = cursor_left(&w->c);
	bool		newest = left >= RESERVED && (w->prefixed || (left - RESERVED) % CAN_RECORD == 0);
	size_t		record = newest ? CAN_RECORD : CAN_RECORD_OLD;

	if (!newest && (w->prefixed || left % CAN_RECORD_OLD != 0))
		return false;
	if (newest && !cursor_skip(&w->c, RESERVED))
		return false;
	tell(w, AT402_E_LIST, PART_generic_can_frames);
	while (cursor_left(&w->c) >= record)
	{
		tell(w, AT402_E_ITEM, -1);
		if (!read_parts(w, PART_generic_can_id,
						newest ? PART_generic_can_age_s : PART_generic_can_data))
			return false;
		tell(w, AT402_E_ITEM_END, -1);
	}
	tell(w, AT402_E_LIST_END, -1);
	return true;
}

/* Without any age the records are those of older firmware, where X tells so. */
static void
put_generic_can(at402_writer *w, const at402_field_def *parts, bool prefixed,
				const at402_source *source)
{
	put_list	list = open_list(source, &parts[PART_generic_can_frames], true);
	put_list	look = list;
	bool		newest = prefixed || list.count == 0;

	for (; look.open && !newest && look.at < look.count; look.at++)
	{
		at402_value value;

		source->item(source->context, look.at, true);
		/* a source may want to be asked for all that it has; the age is last */
		for (int part = PART_generic_can_id; part <= PART_generic_can_age_s; part++)
			newest = source->value(source->context, &parts[part], &value);
		source->close(source->context);
	}
	if (newest)
		writer_put(w, RESERVED, 0);
	while (next_item(&list))
		put_parts(w, parts, PART_generic_can_id,
				  newest ? PART_generic_can_age_s : PART_generic_can_data, source);
}

/* ---- sensors ---- */

/* Types 1, 2, 3 of a sensor: name, and the part that holds its value. */
static const struct
{
	const char *name;
	int			part;
}			sensor_types[SENSOR_TYPES] = {
	{"temperature", PART_sensors_temperature_c},
	{"humidity", PART_sensors_humidity_percent},
	{"light", PART_sensors_light_raw},
};

/* A slot in use: what its two bytes mean, the type tells. */
static bool
walk_sensor(walk *w, unsigned slot, unsigned type, bool valid)
{
	at402_span	raw = {NULL, SENSOR_SLOT - 1};

	tell(w, AT402_E_ITEM, -1);
	tell_number(w, PART_sensors_index, slot);
	tell_value(w, PART_sensors_valid, (at402_value) {AT402_V_BOOL, valid, {NULL, 0}});
	if (type <= SENSOR_TYPES)
	{
		int			part = sensor_types[type - 1].part;

		tell_name(w, PART_sensors_type, sensor_types[type - 1].name);
		if (!read_parts(w, part, part))
			return false;
	}
	else
	{
		tell_number(w, PART_sensors_type_raw, type);
		if (!cursor_take(&w->c, raw.length, &raw.bytes))
			return false;
		tell_raw(w, raw);
	}
	tell(w, AT402_E_ITEM_END, -1);
	return true;
}

/* Six slots of: type and validity in a byte, 16 bits whose meaning the type tells. */
static bool
walk_sensors(walk *w)
{
	if (cursor_left(&w->c) < AT402_SENSOR_SLOTS * SENSOR_SLOT)
		return false;
	tell(w, AT402_E_LIST, PART_sensors_sensors);
	for (unsigned slot = 0; slot < AT402_SENSOR_SLOTS; slot++)
	{
		uint64_t	head;

		if (!cursor_uint(&w->c, 1, &head))
			return false;
		/* type 0: nothing is assigned to the slot */
		if ((head & 0x0F) == 0 ? !cursor_skip(&w->c, SENSOR_SLOT - 1)
			: !walk_sensor(w, slot, head & 0x0F, head & SENSOR_VALID))
			return false;
	}
	tell(w, AT402_E_LIST_END, -1);
	return true;
}

static void
put_sensor(at402_writer *w, uint8_t *slots, const at402_field_def *parts,
		   const at402_source *source)
{
	int64_t		slot;
	int64_t		valid;
	int64_t		type = 0;
	int64_t		raw = 0;
	at402_span	span = {NULL, 0};
	uint8_t    *at;

	at402_get_raw(source, &parts[PART_sensors_index], &slot);
	at402_get_raw(source, &parts[PART_sensors_valid], &valid);
	at402_get_span(source, &parts[PART_sensors_type], &span);
	at = slots + slot * SENSOR_SLOT;
	if (at[0] != 0)
	{
		w->refused = &parts[PART_sensors_index];
		return;					/* a slot has one sensor */
	}
	for (int i = 0; i < SENSOR_TYPES; i++)
		if (is_word(span, sensor_types[i].name))
		{
			type = i + 1;
			at402_get_raw(source, &parts[sensor_types[i].part], &raw);
			writer_put_at(at + 1, SENSOR_SLOT - 1, (uint64_t) raw);
		}
	if (type == 0)
	{
		at402_get_raw(source, &parts[PART_sensors_type_raw], &type);
		if (type <= SENSOR_TYPES || type > 0x0F ||
			!at402_get_span(source, &at402_raw_field, &span) || span.length != SENSOR_SLOT - 1)
		{
			w->refused = &parts[PART_sensors_type];
			return;
		}
		memcpy(at + 1, span.bytes, span.length);
	}
	at[0] = (uint8_t) (type | (valid ? SENSOR_VALID : 0));
}

static void
put_sensors(at402_writer *w, const at402_field_def *parts, const at402_source *source)
{
	put_list	list = open_list(source, &parts[PART_sensors_sensors], true);
	uint8_t    *slots = writer_extend(w, AT402_SENSOR_SLOTS * SENSOR_SLOT);

	while (next_item(&list))
		if (slots != NULL)
			put_sensor(w, slots, parts, source);
}

/* ---- debug ---- */

/* The contents of type 1, which are of one length. */
static bool
walk_debug_typed(walk *w)
{
	if (!read_parts(w, PART_debug_flags_mask, PART_debug_lr))
		return false;
	tell(w, AT402_E_LIST, PART_debug_watchdog_levels);
	for (int i = 0; i < WATCHDOG_LEVELS; i++)
		if (!read_parts(w, PART_debug_watchdog_level, PART_debug_watchdog_level))
			return false;
	tell(w, AT402_E_LIST_END, -1);
	return read_parts(w, PART_debug_watchdog_service, PART_debug_watchdog_service);
}

static bool
walk_debug(walk *w)
{
	at402_value type;
	uint64_t	length = 0;
	cursor		ahead;
	at402_span	payload;

	if (!at402_read_value(&w->c, &w->parts[PART_debug_type], &type))
		return false;
	tell_value(w, PART_debug_type, type);
	ahead = w->c;
	if (type.raw == DEBUG_TYPED && cursor_left(&ahead) == 2 + DEBUG_TYPED_SIZE &&
		cursor_uint(&ahead, 2, &length) && length == DEBUG_TYPED_SIZE)
	{
		w->c = ahead;
		return walk_debug_typed(w);
	}
	payload.length = cursor_left(&w->c);
	if (!cursor_take(&w->c, payload.length, &payload.bytes))
		return false;
	tell_raw(w, payload);
	return true;
}

static void
put_debug(at402_writer *w, const at402_field_def *parts, const at402_source *source)
{
	at402_span	payload;
	int64_t		type;

	at402_get_raw(source, &parts[PART_debug_type], &type);
	writer_put(w, 1, (uint64_t) type);
	if (at402_get_span(source, &at402_raw_field, &payload))
		writer_put_span(w, payload);
	else if (type == DEBUG_TYPED)
	{
		put_list	list;
		size_t		levels;

		writer_put(w, 2, DEBUG_TYPED_SIZE);
		put_parts(w, parts, PART_debug_flags_mask, PART_debug_lr, source);
		levels = w->length;
		list = open_list(source, &parts[PART_debug_watchdog_levels], false);
		while (next_item(&list))
			if (list.at <= WATCHDOG_LEVELS)
				at402_put_field(w, &parts[PART_debug_watchdog_level], source);
		while (!w->overflow && w->length < levels + 2 * WATCHDOG_LEVELS)
			writer_put(w, 2, 0);
		at402_put_field(w, &parts[PART_debug_watchdog_service], source);
	}
}

/* ---- tyre pressure ---- */

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

static void
put_tpms(at402_writer *w, const at402_field_def *parts, const at402_source *source)
{
	put_list	list = open_list(source, &parts[PART_tpms_sensors], true);

	writer_put(w, 1, list.count);
	while (next_item(&list))
		put_parts(w, parts, PART_tpms_axle, PART_tpms_temperature_c, source);
}

/* ---- J1939 trouble codes ---- */

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

static void
put_j1939_dtc(at402_writer *w, const at402_field_def *parts, const at402_source *source)
{
	put_list	list = open_list(source, &parts[PART_j1939_dtc_dtcs], true);

	while (next_item(&list))
	{
		int64_t		spn;
		int64_t		fmi;
		int64_t		cm;
		int64_t		oc;

		at402_get_raw(source, &parts[PART_j1939_dtc_spn], &spn);
		at402_get_raw(source, &parts[PART_j1939_dtc_fmi], &fmi);
		at402_get_raw(source, &parts[PART_j1939_dtc_cm], &cm);
		at402_get_raw(source, &parts[PART_j1939_dtc_oc], &oc);
		if (spn == 0 && fmi == 0 && cm == 0 && oc == 0)
			w->refused = &parts[PART_j1939_dtc_spn];	/* would end the list */
		writer_put(w, 1, spn & 0xFF);
		writer_put(w, 1, spn >> 8 & 0xFF);
		writer_put(w, 1, (spn >> 16) << 5 | fmi);
		writer_put(w, 1, cm << 7 | oc);
	}
}

/* ---- trailer ---- */

/*
 * Was this trailer's data made by firmware that does not tell the deceleration?
 * Only the exact length can say so.
 */
static bool
lacks_deceleration(const cursor *c)
{
	const uint8_t *bytes = c->bytes + c->offset;
	size_t		left = cursor_left(c);

	if (left <= TRAILER_COUNT_AT ||
		left == (size_t) TRAILER_SIZE + TRAILER_WHEEL * bytes[TRAILER_COUNT_AT])
		return false;
	return left == (size_t) TRAILER_SIZE - 1 + TRAILER_WHEEL * bytes[TRAILER_COUNT_AT - 1];
}

static bool
walk_hgv_trailer(walk *w)
{
	bool		older = lacks_deceleration(&w->c);
	at402_value flags = {0};
	uint64_t	count;

	if (!read_parts(w, PART_hgv_trailer_can_time, PART_hgv_trailer_can_time) ||
		!at402_read_value(&w->c, &w->parts[PART_hgv_trailer_flags_mask], &flags))
		return false;
	tell_value(w, PART_hgv_trailer_flags_mask, flags);
	if (!read_parts(w, PART_hgv_trailer_ebs_supply_pressure_kpa,
					PART_hgv_trailer_road_angle_deg))
		return false;
	if (older)
		tell_value(w, PART_hgv_trailer_deceleration_mss, (at402_value) {.kind = AT402_V_NULL});
	if (!read_parts(w, older ? PART_hgv_trailer_brake_demand_pressure_kpa
					: PART_hgv_trailer_deceleration_mss,
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
			tell_name(w, PART_hgv_trailer_flags, at402_trailer_flag_names[bit]);
	tell(w, AT402_E_LIST_END, -1);
	return true;
}

/* The mask, or where it is not given the bits of the names. */
static int64_t
trailer_flags(at402_writer *w, const at402_field_def *parts, const at402_source *source)
{
	const at402_field_def *names = &parts[PART_hgv_trailer_flags];
	put_list	list = open_list(source, names, false);
	int64_t		named = 0;
	int64_t		mask;

	while (next_item(&list))
	{
		at402_span	name = {NULL, 0};
		int			bit = 0;

		at402_get_span(source, names, &name);
		while (bit < AT402_TRAILER_FLAGS && !is_word(name, at402_trailer_flag_names[bit]))
			bit++;
		if (bit == AT402_TRAILER_FLAGS)
			w->refused = names;
		named |= INT64_C(1) << bit;
	}
	return at402_get_raw(source, &parts[PART_hgv_trailer_flags_mask], &mask) ? mask : named;
}

static void
put_hgv_trailer(at402_writer *w, const at402_field_def *parts, const at402_source *source)
{
	put_list	list;
	int			brakes = 0;

	at402_put_field(w, &parts[PART_hgv_trailer_can_time], source);
	writer_put(w, 2, (uint64_t) trailer_flags(w, parts, source));
	put_parts(w, parts, PART_hgv_trailer_ebs_supply_pressure_kpa,
			  PART_hgv_trailer_braking_efficiency_compensated_percent, source);
	list = open_list(source, &parts[PART_hgv_trailer_wheels], true);
	writer_put(w, 1, list.count);
	while (next_item(&list))
		put_parts(w, parts, PART_hgv_trailer_wheel, PART_hgv_trailer_brake_lining_wear_percent,
				  source);
	list = open_list(source, &parts[PART_hgv_trailer_brake_pressures_kpa], false);
	while (next_item(&list))
		if (brakes++ < TRAILER_BRAKES)
			at402_put_field(w, &parts[PART_hgv_trailer_brake_pressure_kpa], source);
	for (; brakes < TRAILER_BRAKES; brakes++)
		writer_put(w, 1, UINT8_MAX);	/* none */
}

/* ---- all of them ---- */

/* Walks a special module; false when its content is malformed. */
static bool
walk_special(const at402_module *module, at402_visitor visit, void *context)
{
	walk		w = {
		.c = {module->bytes, module->length, 0},
		.parts = module->def->fields,
		.prefixed = module->report->packet->variant->prefixed,
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

void
at402_special_visit(const at402_module *module, at402_visitor visit, void *context)
{
	walk_special(module, visit, context);	/* it fits, or would be raw */
}

const char *
at402_special_fault(const at402_module_def *def)
{
	return def != NULL && def->shape == AT402_BEACONS ? "records do not fill the module" : NULL;
}

void
at402_put_special(at402_writer *w, const at402_module_def *def, bool prefixed,
				  const at402_source *source)
{
	switch ((at402_shape) def->shape)
	{
		case AT402_BEACONS:
			put_beacons(w, def->fields, prefixed, source);
			break;
		case AT402_GENERIC_CAN:
			put_generic_can(w, def->fields, prefixed, source);
			break;
		case AT402_SENSORS:
			put_sensors(w, def->fields, source);
			break;
		case AT402_DEBUG:
			put_debug(w, def->fields, source);
			break;
		case AT402_TPMS:
			put_tpms(w, def->fields, source);
			break;
		case AT402_J1939_DTC:
			put_j1939_dtc(w, def->fields, source);
			break;
		case AT402_HGV_TRAILER:
			put_hgv_trailer(w, def->fields, source);
			break;
		case AT402_FIELDS:
			break;
	}
}

size_t
at402_prefix_width(const at402_module_def *def, bool prefixed)
{
	switch (def != NULL ? (at402_shape) def->shape : AT402_FIELDS)
	{
		case AT402_GENERIC_CAN:
		case AT402_DEBUG:
			return 2;			/* of X too */
		case AT402_BEACONS:
			return prefixed ? 2 : 0;
		default:
			return prefixed ? 1 : 0;
	}
}

bool
at402_prefix_counts(const at402_module_def *def)
{
	return def == NULL || def->shape != AT402_DEBUG;
}

at402_status
at402_special_measure(const at402_module_def *def, bool prefixed, cursor *c, uint64_t *length)
{
	size_t		width = at402_prefix_width(def, prefixed);
	size_t		counted = at402_prefix_counts(def) ? width : 0;
	cursor		ahead = *c;

	if (width > 0)
	{
		if (!cursor_uint(c, width, length) || *length < counted)
			return AT402_SHORT_MODULE;
		*length -= counted;
		return AT402_OK;
	}
	switch (def != NULL ? (at402_shape) def->shape : AT402_FIELDS)
	{
		case AT402_BEACONS:
			/* the length of the records stands between other parts: all is content */
			if (!cursor_skip(&ahead, 1) || !cursor_uint(&ahead, 2, length))
				return AT402_SHORT_MODULE;
			*length += BEACON_HEADER_X;
			return AT402_OK;
		case AT402_SENSORS:
			*length = AT402_SENSOR_SLOTS * SENSOR_SLOT;
			return AT402_OK;
		default:
			return AT402_UNKNOWN_MODULE;
	}
}
