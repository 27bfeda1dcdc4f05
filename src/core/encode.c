/*
 * encode.c - from values to packets, the inverse of packet.c
 *
 * Walks the same table.  Values are asked for one by one from a source, so
 * that jsonb, a simulator or a test can all be one.  What a source does not
 * have stays zero.  Ranges are the source's to check: it knows the units.
 */
#include "special.h"

#define CRC_SIZE 2
#define LENGTH_OFFSET 1

/* ---- modules ---- */

/* The fields of a module in order; K, M and V seek in the report. */
static void
put_fields(at402_writer *w, const at402_module_def *def, uint8_t rows, size_t report,
		   const at402_source *source)
{
	for (int i = 0; i < def->field_count; i++)
	{
		const at402_field_def *field = &def->fields[i];

		if (!(field->variants & rows) || field->derived)
			continue;
		if (field->type == AT402_T_SKIP)
			writer_extend(w, field->size);
		else if (field->type == AT402_T_SEEK)
			w->length = report + field->size;
		else
			at402_put_field(w, field, source);
	}
}

/* A module whose bytes are given as such, because they could not be read. */
static bool
is_given_raw(const at402_module_def *def, size_t prefix, const at402_source *source,
			 at402_span *raw)
{
	int64_t		ignored;

	if (def != NULL && def->shape == AT402_DEBUG &&
		at402_get_raw(source, &def->fields[PART_debug_type], &ignored))
		return false;
	/* modules of X have a fixed size, which only their fields keep to */
	if (prefix == 0 && def->shape != AT402_BEACONS)
		return false;
	return at402_get_span(source, &at402_raw_field, raw);
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
	size_t		prefix = at402_prefix_width(def, v->prefixed);
	size_t		start;
	at402_span	raw;

	if (v->header == 0)
	{
		size_t		end = w->length;

		put_fields(w, def, v->rows, r->start, source);
		w->length = end;
		return;
	}
	if (!w->overflow)
		w->bytes[r->start + v->mask.offset + v->mask.width - 1 - bit / 8] |= 1U << bit % 8;
	writer_put(w, prefix, 0);
	start = w->length;
	if (is_given_raw(def, prefix, source, &raw))
	{
		if (prefix == 0 && !tells_its_length(def, raw))
			w->refused = &at402_raw_field;
		writer_put_span(w, raw);
	}
	else if (def != NULL && def->shape == AT402_FIELDS)
		/* the rows of the variant that the module is of: Z, older X ... */
		put_fields(w, def, def->variants & (v->rows | AT402_IN_Z), r->start, source);
	else if (def != NULL)
		at402_put_special(w, def, v->prefixed, source);
	if (!w->overflow && prefix > 0)
	{
		size_t		length = w->length - start + (at402_prefix_counts(def) ? prefix : 0);

		if (length >> 8 * prefix)
			w->overflow = true;
		else
			writer_put_at(w->bytes + start - prefix, prefix, length);
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

	writer_put(w, 1, (uint8_t) v->letter);
	writer_put(w, 2, 0);
	if (!v->imei_always)
		writer_put(w, 1, count);
	if (imei == NULL && !v->imei_always)
		return;
	for (int i = 0; imei != NULL && i < AT402_IMEI_DIGITS; i++)
		*(i < 8 ? &head : &tail) = *(i < 8 ? &head : &tail) * 10 + (uint64_t) (imei[i] - '0');
	writer_put(w, 4, head);
	writer_put(w, 3, tail);
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
	at = writer_extend(w, length);
	if (at == NULL)
		return r;
	at[0] = seq;
	writer_put_at(at + v->time, 4, time);
	writer_put_at(at + v->reasons.offset, v->reasons.width, reasons);
	writer_put_at(at + v->status.offset, v->status.width, status);
	return r;
}

void
at402_encode_packet_end(at402_writer *w)
{
	if (w->capacity - w->length < CRC_SIZE)
		w->overflow = true;
	if (w->overflow)
		return;
	writer_put_at(w->bytes + LENGTH_OFFSET, 2, w->length + CRC_SIZE);
	writer_put(w, CRC_SIZE, at402_crc16(w->bytes, w->length));
}
