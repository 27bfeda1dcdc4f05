/*
 * packet.c - from a packet to its reports and modules
 *
 * Modules of X carry no length and two of them have changed their layout, and
 * whether an IMEI follows the report count depends on a setting of the device.
 * So a packet is read by trial: each reading is walked, and the one that ends
 * exactly where the checksum begins is the right one.  The walk and the
 * iterators share one function that says how long a module is, so they cannot
 * disagree.
 */
#include <string.h>

#include "special.h"

#define CRC_SIZE 2
#define COUNT_OFFSET 3

/* The module that this reading of the packet has at a bit of the mask. */
static const at402_module_def *
find_module(const at402_packet *packet, unsigned bit)
{
	const at402_variant_def *v = packet->variant;
	const at402_module_def *def;

	for (unsigned i = 0; packet->older >> i; i++)
		if (packet->older >> i & 1 && at402_older_modules[i]->bit == bit)
			return at402_older_modules[i];
	def = v->modules[bit];
	if (def == NULL && v->base != NULL)
		def = v->base[bit];
	return def;
}

/*
 * Measures the module at the cursor and steps over it.  Sets def, bytes and
 * length.
 */
MUST_CHECK static at402_status
measure_module(const at402_packet *packet, cursor *c, at402_module *module)
{
	const at402_variant_def *v = packet->variant;
	const at402_module_def *def = find_module(packet, module->bit);
	const at402_module_def *other = v->by_size != NULL ? v->by_size[module->bit] : NULL;
	uint64_t	length;

	if (def != NULL && def->shape == AT402_FIELDS && !v->prefixed)
		length = def->size;
	else
	{
		at402_status status = at402_special_measure(def, v->prefixed, c, &length);

		if (status != AT402_OK)
			return status;
	}
	module->def = other != NULL && other->size == length ? other : def;
	module->length = (size_t) length;
	if (!cursor_take(c, module->length, &module->bytes))
		return AT402_SHORT_MODULE;
	return AT402_OK;
}

/* Is what a module holds readable as its fields?  Kept apart from measuring:
 * the walk does not need it. */
static bool
fits(const at402_module *module)
{
	if (module->def == NULL)
		return false;
	if (module->def->shape == AT402_FIELDS)
		return !module->report->packet->variant->prefixed ||
			module->length >= module->def->least;
	return at402_special_fits(module);
}

/* The lowest bit from this one on that the module mask has set; -1: none. */
static int
next_bit(const at402_report *report, unsigned bit)
{
	const at402_part *mask = &report->packet->variant->mask;

	while (bit < mask->width * 8U)
	{
		uint8_t		byte = report->bytes[mask->offset + mask->width - 1 - bit / 8];

		byte >>= bit % 8;
		if (byte != 0)
			return (int) bit + __builtin_ctz(byte);
		bit = (bit / 8 + 1) * 8;
	}
	return -1;
}

static uint64_t
header_part(const uint8_t *report, at402_part part)
{
	uint64_t	value = 0;

	for (unsigned i = 0; i < part.width; i++)
		value = value << 8 | report[part.offset + i];
	return value;
}

size_t
at402_block_size(const at402_variant_def *v, unsigned number, uint64_t reasons, uint64_t status)
{
	for (size_t i = 0; i < at402_block_count; i++)
	{
		const at402_block_def *b = &at402_blocks[i];

		if ((b->variant & v->rows) && b->number == number &&
			(b->status_bit < 0 || status >> b->status_bit & 1) &&
			(b->reason_bit < 0 || reasons >> b->reason_bit & 1))
			return b->size;
	}
	return 0;
}

static size_t
least_report(const at402_variant_def *v)
{
	return v->header > 0 ? v->header : at402_block_size(v, 0, 0, 0);
}

unsigned
at402_claimed_reports(const uint8_t *bytes, size_t length)
{
	const at402_variant_def *v = at402_find_variant((char) bytes[0], 0);

	if (v == NULL || length <= COUNT_OFFSET)
		return 1;
	return v->imei_always ? 1 + (unsigned) (length / least_report(v)) : bytes[COUNT_OFFSET];
}

/*
 * Reads the report at the cursor and steps over it.  On failure the cursor
 * stands where the part begins that could not be read, and the report, where
 * its header was there, reaches up to that point.
 */
MUST_CHECK static at402_status
read_report(const at402_packet *packet, cursor *c, at402_report *report)
{
	const at402_variant_def *v = packet->variant;
	size_t		start = c->offset;
	at402_status status = AT402_OK;

	if (cursor_left(c) < least_report(v))
		return AT402_SHORT_REPORT;
	report->packet = packet;
	report->bytes = c->bytes + start;
	report->seq = report->bytes[0];
	report->time = (uint32_t) header_part(report->bytes, (at402_part) {v->time, 4});
	report->reasons = header_part(report->bytes, v->reasons);
	report->status = (uint32_t) header_part(report->bytes, v->status);

	if (v->header > 0)
	{
		at402_module module = {.report = report};

		if (!cursor_skip(c, v->header))
			return AT402_SHORT_REPORT;
		for (int bit = next_bit(report, 0); bit >= 0; bit = next_bit(report, module.bit + 1))
		{
			size_t		before = c->offset;

			module.bit = (unsigned) bit;
			status = measure_module(packet, c, &module);
			if (status != AT402_OK)
			{
				cursor_back(c, c->offset - before);
				break;
			}
		}
	}
	else
	{
		size_t		length = 0;

		for (unsigned number = 0; number < AT402_MAX_BLOCKS; number++)
			length += at402_block_size(v, number, report->reasons, report->status);
		if (!cursor_skip(c, length))
			return AT402_SHORT_REPORT;
	}
	report->length = c->offset - start;
	return status;
}

/*
 * Walks all reports of the packet as it is set to be read.  On failure problem
 * says where and why.
 */
static bool
walk(at402_packet *packet)
{
	cursor		c = {packet->bytes, packet->length - CRC_SIZE, packet->start};
	at402_report report = {0};
	at402_status status = AT402_OK;

	if (packet->start > c.length)
	{
		c.offset = c.length;
		status = AT402_SHORT_REPORT;
	}
	for (unsigned i = 0; status == AT402_OK; i++)
	{
		/* K, M and V do not count their reports: they fill the packet */
		if (packet->variant->imei_always ? i > 0 && cursor_left(&c) == 0 : i == packet->count)
			break;
		status = read_report(packet, &c, &report);
	}
	if (status == AT402_OK && cursor_left(&c) > 0)
		status = AT402_LEFT_OVER;
	packet->end = c.offset;
	packet->problem = (at402_problem) {status, c.offset, 0, (uint32_t) cursor_left(&c)};
	return status == AT402_OK;
}

/* Writes value in decimal, padded with zeros to width; returns the end. */
static char *
put_digits(char *to, uint32_t value, unsigned width)
{
	char		digits[10];
	unsigned	n = 0;

	do
	{
		digits[n++] = (char) ('0' + value % 10);
		value /= 10;
	} while (value > 0 || n < width);
	while (n > 0)
		*to++ = digits[--n];
	*to = 0;
	return to;
}

/*
 * IMEI of a packet: u32 and u24, padded on the left to 8 and 7 digits.  Larger
 * numbers make more than 15 digits, an IMEI that is impossible to see.
 */
static void
read_imei(at402_packet *packet, size_t offset)
{
	cursor		c = {packet->bytes, packet->length - CRC_SIZE, 0};
	uint64_t	head;
	uint64_t	tail;

	if (!cursor_seek(&c, offset) || !cursor_uint(&c, 4, &head) || !cursor_uint(&c, 3, &tail))
		return;
	put_digits(put_digits(packet->imei, (uint32_t) head, 8), (uint32_t) tail, 7);
}

static bool
try_reading(at402_packet *packet, uint8_t older, bool has_imei)
{
	size_t		head = packet->variant->imei_always ? COUNT_OFFSET : COUNT_OFFSET + 1;

	packet->older = older;
	packet->has_imei = has_imei;
	packet->start = head + (has_imei ? AT402_IMEI_SIZE : 0);
	return walk(packet);
}

at402_status
at402_packet_open(at402_packet *packet, const uint8_t *bytes, size_t length, char protocol,
				  at402_sender sender)
{
	const at402_variant_def *v = at402_find_variant((char) bytes[0], protocol);
	bool		first = sender == AT402_SENDER_IN_PACKET;
	unsigned	layouts;
	bool		found = false;

	memset(packet, 0, sizeof(*packet));
	packet->bytes = bytes;
	packet->length = length;
	packet->variant = v;
	packet->end = packet->start = COUNT_OFFSET;
	if (v == NULL)
	{
		packet->problem = (at402_problem) {AT402_NO_LAYOUT, 0, 0, bytes[0]};
		return AT402_NO_LAYOUT;
	}

	layouts = 1U << v->older_layouts;
	if (v->imei_always)
	{
		first = true;
		found = try_reading(packet, 0, true);
	}
	else if ((packet->count = bytes[COUNT_OFFSET]) == 0)
	{
		packet->problem = (at402_problem) {AT402_NO_REPORTS, COUNT_OFFSET, 1, 0};
		packet->end = packet->start = COUNT_OFFSET + 1;
		return AT402_NO_REPORTS;
	}
	else if (sender == AT402_SENDER_UNKNOWN)
	{
		for (unsigned older = 0; older < layouts && !found; older++)
			found = try_reading(packet, (uint8_t) older, false) ||
				try_reading(packet, (uint8_t) older, true);
	}
	else
	{
		for (unsigned older = 0; older < layouts && !found; older++)
			found = try_reading(packet, (uint8_t) older, first);
		for (unsigned older = 0; older < layouts && !found; older++)
			found = try_reading(packet, (uint8_t) older, !first);
	}
	if (!found)
		try_reading(packet, 0, first);	/* as far as the first reading gets */
	if (packet->has_imei)
		read_imei(packet, packet->start - AT402_IMEI_SIZE);
	return packet->problem.status;
}

bool
at402_report_next(const at402_packet *packet, at402_report *report)
{
	bool		begun = report->packet != NULL;
	cursor		c = {packet->bytes, packet->end, packet->start};
	at402_report next = {.number = begun ? report->number + 1 : 0};

	if (packet->variant == NULL || packet->start > packet->end)
		return false;
	if (begun && !cursor_seek(&c, (size_t) (report->bytes - packet->bytes) + report->length))
		return false;
	if (cursor_left(&c) == 0)
		return false;			/* also behind a report that is cut */
	next.cut = read_report(packet, &c, &next) != AT402_OK;
	*report = next;
	return next.packet != NULL;
}

bool
at402_module_next(const at402_report *report, at402_module *module)
{
	const at402_packet *packet = report->packet;
	const at402_variant_def *v = packet->variant;

	if (v->header == 0)
	{
		size_t		i = module->next;

		for (; i < at402_module_count; i++)
		{
			const at402_module_def *def = &at402_modules[i];

			if ((def->variants & v->rows) &&
				at402_block_size(v, def->bit, report->reasons, report->status) > 0)
			{
				*module = (at402_module) {report, def, def->bit, false, report->bytes,
					report->length, 0, i + 1};
				return true;
			}
		}
		return false;
	}
	else
	{
		bool		begun = module->report != NULL;
		cursor		c = {report->bytes, report->length, begun ? module->end : v->header};
		int			bit = next_bit(report, begun ? module->bit + 1 : 0);

		if (bit < 0)
			return false;
		module->report = report;
		module->bit = (unsigned) bit;
		if (measure_module(packet, &c, module) != AT402_OK)
			return false;		/* the report is cut here */
		module->end = c.offset;
		module->raw = !fits(module);
		return true;
	}
}

const char *
at402_module_key(const at402_module *module, char *buffer)
{
	static const char unknown[] = "module_";

	if (module->def != NULL)
		return module->def->key;
	memcpy(buffer, unknown, sizeof(unknown));
	put_digits(buffer + sizeof(unknown) - 1, module->bit, 1);
	return buffer;
}

/* The fields of a module in order; in K, M and V they say where they stand. */
static void
visit_fields(const at402_module *module, at402_visitor visit, void *context)
{
	uint8_t		rows = module->report->packet->variant->rows;
	cursor		c = {module->bytes, module->length, 0};

	for (int i = 0; i < module->def->field_count; i++)
	{
		const at402_field_def *field = &module->def->fields[i];
		at402_value value;

		if (!(field->variants & rows))
			continue;
		if (!at402_read_value(&c, field, &value))
			return;
		if (field->name != NULL)
			visit(context, field->derived ? AT402_E_DERIVED : AT402_E_VALUE, field, &value);
	}
}

static void
visit_raw(const at402_module *module, at402_visitor visit, void *context)
{
	const char *fault = at402_special_fault(module->def);

	visit(context, AT402_E_VALUE, &at402_raw_field,
		  &(at402_value) {AT402_V_HEX, 0, {module->bytes, module->length}});
	if (fault != NULL)
		visit(context, AT402_E_VALUE, &at402_error_field,
			  &(at402_value) {AT402_V_TEXT, 0, {(const uint8_t *) fault, strlen(fault)}});
}

void
at402_module_visit(const at402_module *module, at402_visitor visit, void *context)
{
	if (module->raw)
		visit_raw(module, visit, context);
	else if (module->def->shape == AT402_FIELDS)
		visit_fields(module, visit, context);
	else
		at402_special_visit(module, visit, context);
}
