/*
 * fuzz_encode.c - what was decoded is encoded again to a packet that decodes
 * to the same, and that is then a fixpoint
 *
 * The first packet may hold bytes that mean nothing (reserved ones, unassigned
 * slots, extra bytes in Y); the second does not, so that from then on encoding
 * what was decoded must give the same bytes.
 */
#include <string.h>

#include "fuzz.h"

/* All values of a module in the order of the visit. */
#define TAPE_SIZE 262144

typedef struct tape_event
{
	at402_event event;
	const at402_field_def *field;
	at402_value value;
} tape_event;

typedef struct tape
{
	tape_event	events[TAPE_SIZE];
	int			count;
} tape;

static void
record(void *context, at402_event event, const at402_field_def *field, const at402_value *value)
{
	tape	   *t = context;
	tape_event *e = &t->events[t->count++];

	REQUIRE(t->count < TAPE_SIZE);
	memset(e, 0, sizeof(*e));
	e->event = event;
	e->field = field;
	if (value != NULL)
		e->value = *value;
}

static bool
same_tape(const tape *a, const tape *b)
{
	if (a->count != b->count)
		return false;
	for (int i = 0; i < a->count; i++)
	{
		const tape_event *x = &a->events[i];
		const tape_event *y = &b->events[i];

		if (x->event != y->event || x->field != y->field || x->value.kind != y->value.kind ||
			x->value.raw != y->value.raw || x->value.span.length != y->value.span.length ||
			(x->value.span.length > 0 &&
			 memcmp(x->value.span.bytes, y->value.span.bytes, x->value.span.length) != 0))
			return false;
	}
	return true;
}

/* ---- a tape as the source of the encoder ---- */

typedef struct reader
{
	const tape *tape;
	struct
	{
		int			start;
		int			end;
	}			open[8];
	int			depth;
} reader;

/* The event after the one at i, with all that it contains. */
static int
skip(const tape *t, int i)
{
	int			depth = 0;

	do
	{
		at402_event event = t->events[i++].event;

		depth += event == AT402_E_LIST || event == AT402_E_ITEM;
		depth -= event == AT402_E_LIST_END || event == AT402_E_ITEM_END;
	} while (depth > 0);
	return i;
}

static int
find(const reader *r, at402_event event, const at402_field_def *field)
{
	int			end = r->open[r->depth - 1].end;

	for (int i = r->open[r->depth - 1].start; i < end; i = skip(r->tape, i))
		if (r->tape->events[i].event == event &&
			strcmp(r->tape->events[i].field->name, field->name) == 0)
			return i;
	return -1;
}

static bool
read_value(void *context, const at402_field_def *field, at402_value *value)
{
	reader	   *r = context;
	int			i = find(r, AT402_E_VALUE, field);

	if (i < 0 || r->tape->events[i].value.kind == AT402_V_NULL)
		return false;
	*value = r->tape->events[i].value;
	return true;
}

static bool
read_list(void *context, const at402_field_def *field, size_t *count)
{
	reader	   *r = context;
	int			i = find(r, AT402_E_LIST, field);
	int			end;

	*count = 0;
	if (i < 0)
		return false;
	end = skip(r->tape, i) - 1;
	r->open[r->depth].start = i + 1;
	r->open[r->depth++].end = end;
	for (i++; i < end; i = skip(r->tape, i))
		(*count)++;
	return true;
}

static void
read_item(void *context, size_t n, bool object)
{
	reader	   *r = context;
	int			i = r->open[r->depth - 1].start;

	(void) object;
	while (n-- > 0)
		i = skip(r->tape, i);
	r->open[r->depth].start = i;
	r->open[r->depth].end = i + 1;
	if (r->tape->events[i].event == AT402_E_ITEM)
	{
		r->open[r->depth].start = i + 1;
		r->open[r->depth].end = skip(r->tape, i) - 1;
	}
	r->depth++;
}

static void
read_close(void *context)
{
	((reader *) context)->depth--;
}

/* ---- the rule ---- */

static void
encode(const at402_packet *packet, at402_writer *w)
{
	static tape t;
	at402_report report = {0};
	unsigned	count = 0;

	while (at402_report_next(packet, &report))
		count++;
	at402_encode_packet(w, packet->variant, packet->has_imei ? packet->imei : NULL, count);
	report = (at402_report) {0};
	while (at402_report_next(packet, &report))
	{
		at402_report_writer rw = at402_encode_report(w, packet->variant, report.seq, report.time,
													 report.reasons, report.status);
		at402_module module = {0};

		while (at402_module_next(&report, &module))
		{
			reader		r = {.tape = &t, .depth = 1};
			at402_source source = {&r, read_value, read_list, read_item, read_close};

			t.count = 0;
			at402_module_visit(&module, record, &t);
			r.open[0].end = t.count;
			at402_encode_module(&rw, module.def, module.bit, &source);
			REQUIRE(r.depth == 1);
		}
	}
	at402_encode_packet_end(w);
	REQUIRE(!w->overflow && w->refused == NULL);
}

static void
require_same(const at402_packet *a, const at402_packet *b)
{
	static tape ta;
	static tape tb;
	at402_report ra = {0};
	at402_report rb = {0};

	while (at402_report_next(a, &ra))
	{
		at402_module ma = {0};
		at402_module mb = {0};

		REQUIRE(at402_report_next(b, &rb));
		REQUIRE(ra.seq == rb.seq && ra.time == rb.time && ra.reasons == rb.reasons &&
				ra.status == rb.status);
		while (at402_module_next(&ra, &ma))
		{
			REQUIRE(at402_module_next(&rb, &mb));
			REQUIRE(ma.def == mb.def && ma.bit == mb.bit && ma.raw == mb.raw);
			ta.count = tb.count = 0;
			at402_module_visit(&ma, record, &ta);
			at402_module_visit(&mb, record, &tb);
			REQUIRE(same_tape(&ta, &tb));
		}
		REQUIRE(!at402_module_next(&rb, &mb));
	}
	REQUIRE(!at402_report_next(b, &rb));
}

static void
check(const uint8_t *bytes, size_t size, char protocol)
{
	static uint8_t first_bytes[AT402_MAX_FRAME];
	static uint8_t second_bytes[AT402_MAX_FRAME];
	at402_writer first = {first_bytes, sizeof(first_bytes), 0, false, NULL};
	at402_writer second = {second_bytes, sizeof(second_bytes), 0, false, NULL};
	at402_packet packet;
	at402_packet again;
	at402_frame frame;

	if (at402_packet_open(&packet, bytes, size, protocol, AT402_SENDER_UNKNOWN) != AT402_OK ||
		(packet.has_imei && strlen(packet.imei) != AT402_IMEI_DIGITS))
		return;
	memset(first_bytes, 0, size);
	encode(&packet, &first);
	REQUIRE(at402_frame_scan(first.bytes, first.length, &frame) == AT402_OK &&
			frame.length == first.length);
	REQUIRE(at402_packet_open(&again, first.bytes, first.length, protocol,
							  packet.has_imei ? AT402_SENDER_IN_PACKET
											  : AT402_SENDER_LOGGED_IN) == AT402_OK);
	/* bytes without meaning may have kept a reading that comes earlier from
	 * ending exactly; without them it is the one to take */
	if (again.older != packet.older || again.has_imei != packet.has_imei)
		return;
	require_same(&packet, &again);
	memset(second_bytes, 0, first.length);
	encode(&again, &second);
	REQUIRE(second.length == first.length &&
			memcmp(second.bytes, first.bytes, first.length) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t    *bytes = fuzz_packet(data, size);

	if (bytes == NULL)
		return 0;
	check(bytes, size, 0);
	check(bytes, size, 'Z');
	free(bytes);
	return 0;
}
