/*
 * encode.c - from values to packets, the inverse of packet.c and special.c
 *
 * Walks the same table.  Values are asked for one by one from a source, so
 * that jsonb, a simulator or a test can all be one.  What a source does not
 * have stays zero.  Ranges are the source's to check: it knows the units.
 */
#include <string.h>

#include "special.h"

#define CRC_SIZE 2
#define LENGTH_OFFSET 1
#define SENSOR_VALID 0x80

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
			*most = SENSOR_SLOTS - 1;
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

/* ---- bytes ---- */

/* Room for n more bytes; they are zero. */
static uint8_t *
extend(at402_writer *w, size_t n)
{
	if (w->overflow || w->capacity - w->length < n)
	{
		w->overflow = true;
		return NULL;
	}
	w->length += n;
	return w->bytes + w->length - n;
}

static void
put_at(uint8_t *at, size_t width, uint64_t value)
{
	for (size_t i = width; i > 0; i--, value >>= 8)
		at[i - 1] = (uint8_t) value;
}

static void
put(at402_writer *w, size_t width, uint64_t value)
{
	uint8_t    *at = extend(w, width);

	if (at != NULL)
		put_at(at, width, value);
}

static void
put_span(at402_writer *w, at402_span span)
{
	uint8_t    *at = extend(w, span.length);

	if (at != NULL && span.length > 0)
		memcpy(at, span.bytes, span.length);
}

/* ---- single values ---- */

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
			put_at(at, field->size, raw);
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
static void
put_field(at402_writer *w, const at402_field_def *field, const at402_source *source)
{
	size_t		moved = footprint(field);
	uint8_t    *at = extend(w, moved);
	at402_value value = {.kind = AT402_V_NUMBER};

	if (at == NULL)
		return;
	if (source->value(source->context, field, &value))
		store_value(at, field, &value);
	else if (may_be_none(field))
		store_value(at, field, &(at402_value) {.kind = AT402_V_NULL});
	w->length -= moved - field->size;
}

static bool
get_raw(const at402_source *source, const at402_field_def *field, int64_t *raw)
{
	at402_value value = {0};
	bool		found = source->value(source->context, field, &value);

	*raw = value.raw;
	return found;
}

static bool
get_span(const at402_source *source, const at402_field_def *field, at402_span *span)
{
	at402_value value = {0};
	bool		found = source->value(source->context, field, &value);

	*span = value.span;
	return found;
}

/* ---- special modules ---- */

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
		put_field(w, &parts[part], source);
}

static void
put_beacons(at402_writer *w, const at402_field_def *parts, bool prefixed,
			const at402_source *source)
{
	put_list	list = open_list(source, &parts[PART_beacons_beacons], true);
	size_t		start;

	if (prefixed)
		put(w, RESERVED, 0);
	put(w, 1, list.count);
	if (!prefixed)
		put(w, 2 + RESERVED, 0);
	start = w->length;
	while (next_item(&list))
	{
		int64_t		type;
		int64_t		raw;
		at402_span	meta;

		put_parts(w, parts, PART_beacons_mac, PART_beacons_type, source);
		get_raw(source, &parts[PART_beacons_type], &type);
		if (get_raw(source, &parts[PART_beacons_height_cm], &raw))
		{
			if (type != BEACON_HEIGHT)
				w->refused = &parts[PART_beacons_type];
			put(w, 1, 2);
			put(w, 2, (uint64_t) raw);
		}
		else if (get_span(source, &parts[PART_beacons_meta], &meta))
		{
			if (meta.length > UINT8_MAX)
				w->overflow = true;
			put(w, 1, meta.length);
			put_span(w, meta);
		}
		else
			put(w, 1, 0);
	}
	if (!prefixed && !w->overflow)
		put_at(w->bytes + start - 2 - RESERVED, 2, w->length - start);
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
		put(w, RESERVED, 0);
	while (next_item(&list))
		put_parts(w, parts, PART_generic_can_id,
				  newest ? PART_generic_can_age_s : PART_generic_can_data, source);
}

static bool
is_word(at402_span span, const char *word)
{
	return span.length == strlen(word) && memcmp(span.bytes, word, span.length) == 0;
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

	get_raw(source, &parts[PART_sensors_index], &slot);
	get_raw(source, &parts[PART_sensors_valid], &valid);
	get_span(source, &parts[PART_sensors_type], &span);
	at = slots + slot * SENSOR_SLOT;
	if (at[0] != 0)
	{
		w->refused = &parts[PART_sensors_index];
		return;					/* a slot has one sensor */
	}
	for (int i = 0; i < AT402_SENSOR_TYPES; i++)
		if (is_word(span, at402_sensor_types[i].name))
		{
			type = i + 1;
			get_raw(source, &parts[at402_sensor_types[i].part], &raw);
			put_at(at + 1, SENSOR_SLOT - 1, (uint64_t) raw);
		}
	if (type == 0)
	{
		get_raw(source, &parts[PART_sensors_type_raw], &type);
		if (type <= AT402_SENSOR_TYPES || type > 0x0F ||
			!get_span(source, &at402_raw_field, &span) || span.length != SENSOR_SLOT - 1)
		{
			w->refused = &parts[PART_sensors_type];
			return;
		}
		store_span(at + 1, SENSOR_SLOT - 1, span);
	}
	at[0] = (uint8_t) (type | (valid ? SENSOR_VALID : 0));
}

static void
put_sensors(at402_writer *w, const at402_field_def *parts, const at402_source *source)
{
	put_list	list = open_list(source, &parts[PART_sensors_sensors], true);
	uint8_t    *slots = extend(w, SENSOR_SLOTS * SENSOR_SLOT);

	while (next_item(&list))
		if (slots != NULL)
			put_sensor(w, slots, parts, source);
}

static void
put_debug(at402_writer *w, const at402_field_def *parts, const at402_source *source)
{
	at402_span	payload;
	int64_t		type;

	get_raw(source, &parts[PART_debug_type], &type);
	put(w, 1, (uint64_t) type);
	if (get_span(source, &at402_raw_field, &payload))
		put_span(w, payload);
	else if (type == DEBUG_TYPED)
	{
		put_list	list;
		size_t		levels;

		put(w, 2, DEBUG_TYPED_SIZE);
		put_parts(w, parts, PART_debug_flags_mask, PART_debug_lr, source);
		levels = w->length;
		list = open_list(source, &parts[PART_debug_watchdog_levels], false);
		while (next_item(&list))
			if (list.at <= WATCHDOG_LEVELS)
				put_field(w, &parts[PART_debug_watchdog_level], source);
		while (!w->overflow && w->length < levels + 2 * WATCHDOG_LEVELS)
			put(w, 2, 0);
		put_field(w, &parts[PART_debug_watchdog_service], source);
	}
}

static void
put_tpms(at402_writer *w, const at402_field_def *parts, const at402_source *source)
{
	put_list	list = open_list(source, &parts[PART_tpms_sensors], true);

	put(w, 1, list.count);
	while (next_item(&list))
		put_parts(w, parts, PART_tpms_axle, PART_tpms_temperature_c, source);
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

		get_raw(source, &parts[PART_j1939_dtc_spn], &spn);
		get_raw(source, &parts[PART_j1939_dtc_fmi], &fmi);
		get_raw(source, &parts[PART_j1939_dtc_cm], &cm);
		get_raw(source, &parts[PART_j1939_dtc_oc], &oc);
		if (spn == 0 && fmi == 0 && cm == 0 && oc == 0)
			w->refused = &parts[PART_j1939_dtc_spn];	/* would end the list */
		put(w, 1, spn & 0xFF);
		put(w, 1, spn >> 8 & 0xFF);
		put(w, 1, (spn >> 16) << 5 | fmi);
		put(w, 1, cm << 7 | oc);
	}
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

		get_span(source, names, &name);
		while (bit < AT402_TRAILER_FLAGS && !is_word(name, at402_trailer_flag_names[bit]))
			bit++;
		if (bit == AT402_TRAILER_FLAGS)
			w->refused = names;
		named |= INT64_C(1) << bit;
	}
	return get_raw(source, &parts[PART_hgv_trailer_flags_mask], &mask) ? mask : named;
}

static void
put_hgv_trailer(at402_writer *w, const at402_field_def *parts, const at402_source *source)
{
	put_list	list;
	int			brakes = 0;

	put_field(w, &parts[PART_hgv_trailer_can_time], source);
	put(w, 2, (uint64_t) trailer_flags(w, parts, source));
	put_parts(w, parts, PART_hgv_trailer_ebs_supply_pressure_kpa,
			  PART_hgv_trailer_braking_efficiency_compensated_percent, source);
	list = open_list(source, &parts[PART_hgv_trailer_wheels], true);
	put(w, 1, list.count);
	while (next_item(&list))
		put_parts(w, parts, PART_hgv_trailer_wheel, PART_hgv_trailer_brake_lining_wear_percent,
				  source);
	list = open_list(source, &parts[PART_hgv_trailer_brake_pressures_kpa], false);
	while (next_item(&list))
		if (brakes++ < TRAILER_BRAKES)
			put_field(w, &parts[PART_hgv_trailer_brake_pressure_kpa], source);
	for (; brakes < TRAILER_BRAKES; brakes++)
		put(w, 1, UINT8_MAX);	/* none */
}

static void
put_special(at402_writer *w, const at402_module_def *def, bool prefixed,
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

/* ---- modules ---- */

/* The fields of a module in order; K, M and V seek in the report. */
static void
put_fields(at402_writer *w, const at402_module_def *def, uint8_t rows, size_t report,
		   const at402_source *source)
{
	for (int i = 0; i < def->field_count; i++)
	{
		const at402_field_def *field = &def->fields[i];

		if (!(field->variants & rows))
			continue;
		if (field->type == AT402_T_SKIP)
			extend(w, field->size);
		else if (field->type == AT402_T_SEEK)
			w->length = report + field->size;
		else
			put_field(w, field, source);
	}
}

/* A module whose bytes are given as such, because they could not be read. */
static bool
is_given_raw(const at402_module_def *def, size_t prefix, const at402_source *source,
			 at402_span *raw)
{
	int64_t		ignored;

	if (def != NULL && def->shape == AT402_DEBUG &&
		get_raw(source, &def->fields[PART_debug_type], &ignored))
		return false;
	/* modules of X have a fixed size, which only their fields keep to */
	if (prefix == 0 && def->shape != AT402_BEACONS)
		return false;
	return get_span(source, &at402_raw_field, raw);
}

/* Beacons of X are as long as they say. */
static bool
tells_its_length(const at402_module_def *def, at402_span raw)
{
	cursor		c = {raw.bytes, raw.length, 0};
	uint64_t	length = 0;

	return at402_special_measure(def, false, &c, &length) == AT402_OK && length == raw.length;
}

void
at402_encode_module(at402_report_writer *r, const at402_module_def *def, unsigned bit,
					const at402_source *source)
{
	at402_writer *w = r->w;
	const at402_variant_def *v = r->variant;
	at402_shape shape = def ? (at402_shape) def->shape : AT402_FIELDS;
	bool		y = v->letter == 'Y';
	size_t		prefix;
	size_t		start;
	at402_span	raw;

	if (v->header == 0)
	{
		size_t		end = w->length;

		put_fields(w, def, v->rows, r->start, source);
		w->length = end;
		return;
	}
	if (shape == AT402_DEBUG || shape == AT402_GENERIC_CAN)
		prefix = 2;
	else
		prefix = !y ? 0 : shape == AT402_BEACONS ? 2 : 1;
	if (!w->overflow)
		w->bytes[r->start + v->mask.offset + v->mask.width - 1 - bit / 8] |= 1U << bit % 8;
	put(w, prefix, 0);
	start = w->length;
	if (is_given_raw(def, prefix, source, &raw))
	{
		if (prefix == 0 && !tells_its_length(def, raw))
			w->refused = &at402_raw_field;
		put_span(w, raw);
	}
	else if (shape == AT402_FIELDS && def != NULL)
		/* the rows of the variant that the module is of: Z, older X ... */
		put_fields(w, def, def->variants & (v->rows | AT402_IN_Z), r->start, source);
	else if (def != NULL)
		put_special(w, def, y, source);
	if (!w->overflow && prefix > 0)
	{
		size_t		length = w->length - start + (shape == AT402_DEBUG ? 0 : prefix);

		if (length >> 8 * prefix)
			w->overflow = true;
		else
			put_at(w->bytes + start - prefix, prefix, length);
	}
}

/* ---- packets ---- */

bool
at402_has_block(const at402_variant_def *v, unsigned number, uint64_t reasons, uint32_t status)
{
	return at402_block_size(v, number, reasons, status) > 0;
}

void
at402_encode_packet(at402_writer *w, const at402_variant_def *v, const char *imei, unsigned count)
{
	uint64_t	head = 0;
	uint64_t	tail = 0;

	put(w, 1, (uint8_t) v->letter);
	put(w, 2, 0);
	if (!v->imei_always)
		put(w, 1, count);
	if (imei == NULL && !v->imei_always)
		return;
	for (int i = 0; imei != NULL && i < AT402_IMEI_DIGITS; i++)
		*(i < 8 ? &head : &tail) = *(i < 8 ? &head : &tail) * 10 + (uint64_t) (imei[i] - '0');
	put(w, 4, head);
	put(w, 3, tail);
}

at402_report_writer
at402_encode_report(at402_writer *w, const at402_variant_def *v, uint8_t seq, uint32_t time,
					uint64_t reasons, uint32_t status)
{
	at402_report_writer r = {w, v, w->length};
	size_t		length = v->header;
	uint8_t    *at;

	if (length == 0)
		for (unsigned number = 0; number < AT402_MAX_BLOCKS; number++)
			length += at402_block_size(v, number, reasons, status);
	at = extend(w, length);
	if (at == NULL)
		return r;
	at[0] = seq;
	put_at(at + v->time, 4, time);
	put_at(at + v->reasons.offset, v->reasons.width, reasons);
	put_at(at + v->status.offset, v->status.width, status);
	return r;
}

void
at402_encode_packet_end(at402_writer *w)
{
	if (w->capacity - w->length < CRC_SIZE)
		w->overflow = true;
	if (w->overflow)
		return;
	put_at(w->bytes + LENGTH_OFFSET, 2, w->length + CRC_SIZE);
	put(w, CRC_SIZE, at402_crc16(w->bytes, w->length));
}
