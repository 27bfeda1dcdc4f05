/*
 * test_packet.c - from a packet to its reports and modules: sizes, the choice
 * of the reading, undecodable packets, and packets made at random
 */
#include "core_rig.h"
#include "vectors.h"

#define X_BITS 48
#define Y_BITS 80
#define BIT(n) (UINT64_C(1) << (n))

enum { ALCOHOL_TEST = 9, OBD_DTC = 14, FMS_STOP = 15, BEACONS = 44, GENERIC_CAN = 45, DEBUG = 47 };

/* Bytes of the modules of X by bit; 0: the module tells. */
static const uint8_t x_sizes[X_BITS] = {
	2, 18, 4, 4, 8, 1, 4, 1, 9, 8, 2, 5, 20, 18, 25, 13, 9, 25, 8, 17, 18, 3, 4, 6,
	4, 73, 7, 20, 38, 20, 5, 12, 18, 2, 9, 44, 32, 39, 6, 39, 39, 42, 22, 28, 0, 0, 13, 0};

/* Those that Z sends in another size. */
static const uint8_t z_sizes[X_BITS] = {
	[17] = 17, [19] = 10, [20] = 19, [25] = 6, [30] = 1, [31] = 25, [32] = 46, [33] = 38,
	[34] = 106, [35] = 9, [36] = 31, [37] = 26, [38] = 71};

/* Older firmware of X. */
#define OLD_TRAILER_ID 12
#define OLD_CM2010 11

static const at402_sender senders[] = {AT402_SENDER_UNKNOWN, AT402_SENDER_LOGGED_IN,
	AT402_SENDER_IN_PACKET};
static wire w;

/* ---- sizes ---- */

/* One module alone: a packet of just its size is read, one byte more or less is not. */
static void
test_sizes(char protocol, const uint8_t *sizes)
{
	for (unsigned bit = 0; bit < X_BITS; bit++)
		for (int more = -1; more <= 1 && sizes[bit] > 0; more++)
		{
			at402_report report;
			at402_module module = {0};
			at402_status status;

			wire_begin(&w, 'X');
			wire_count(&w, 1, false);
			wire_report(&w, 0, BIT(bit));
			wire_put_random(&w, (size_t) (sizes[bit] + more));
			wire_end(&w);
			status = open_packet(&w, protocol, AT402_SENDER_LOGGED_IN);
			report = report_at(0);
			if (more == 0)
			{
				CHECK(status == AT402_OK && !opened.has_imei && opened.older == 0);
				CHECK(at402_module_next(&report, &module) && module.length == sizes[bit]);
				CHECK(module.bit == bit && module.bytes == opened.bytes + 4 + 17);
				CHECK(!at402_module_next(&report, &module));
			}
			else if (more < 0)
			{
				CHECK(status == AT402_SHORT_MODULE && opened.problem.offset == 21);
				CHECK(report.cut && !at402_module_next(&report, &module));
			}
			else
			{
				CHECK(status == AT402_LEFT_OVER && opened.problem.found == 1);
				CHECK(!report.cut && at402_module_next(&report, &module));
			}
		}
}

/* No variant has two fields of one name in a module. */
static void
test_names(void)
{
	for (size_t m = 0; m < at402_module_count; m++)
	{
		const at402_module_def *def = &at402_modules[m];

		for (size_t f = 0; f < def->field_count; f++)
			for (size_t g = 0; g < f && def->fields[f].name != NULL; g++)
				CHECK(def->fields[g].name == NULL ||
					  !(def->fields[f].variants & def->fields[g].variants) ||
					  strcmp(def->fields[f].name, def->fields[g].name) != 0);
	}
}

/* K, M, V: the fields of a module lie within its block. */
static void
test_blocks(void)
{
	static const struct
	{
		uint8_t		variant;
		size_t		ends[AT402_MAX_BLOCKS];
	}			layouts[] = {
		{AT402_IN_K, {38, 50, 0}}, {AT402_IN_M, {41, 53, 0}}, {AT402_IN_V, {72, 86, 98}}};

	for (size_t l = 0; l < sizeof(layouts) / sizeof(layouts[0]); l++)
		for (size_t m = 0; m < at402_module_count; m++)
		{
			const at402_module_def *def = &at402_modules[m];
			size_t		begin;
			size_t		end;
			size_t		at = 0;

			if (!(def->variants & layouts[l].variant))
				continue;
			CHECK(def->bit < AT402_MAX_BLOCKS && layouts[l].ends[def->bit] > 0);
			begin = def->bit > 0 ? layouts[l].ends[def->bit - 1] : 0;
			end = layouts[l].ends[def->bit];
			for (size_t f = 0; f < def->field_count; f++)
			{
				const at402_field_def *field = &def->fields[f];

				if (!(field->variants & layouts[l].variant))
					continue;
				if (field->type == AT402_T_SEEK)
					at = field->size;
				else
				{
					CHECK(at >= begin && at < end);
					at += field->size;
					CHECK(at <= end);
				}
			}
		}
}

/* ---- which reading is taken ---- */

/* A packet of X that has only one good reading. */
static void
write_older(unsigned older, bool has_imei)
{
	wire_begin(&w, 'X');
	wire_count(&w, 2, has_imei);
	wire_report(&w, 0, BIT(0) | BIT(ALCOHOL_TEST));
	wire_put_random(&w, 2U + (older & 1 ? OLD_TRAILER_ID : 8));
	wire_report(&w, 0, BIT(1) | BIT(BEACONS));
	wire_put_random(&w, 18);
	if (older & 2)
	{
		wire_put(&w, 4, 0x00FFFFFF);	/* a length of records that fits nowhere */
		wire_put_random(&w, OLD_CM2010 - 4);
	}
	else
		wire_put(&w, 7, 0);		/* no beacons */
	wire_end(&w);
}

static void
test_readings(void)
{
	static const char *const first[] = {"device_power driver_alcohol_test",
		"device_power trailer_id"};
	static const char *const second[] = {"gnss beacons", "gnss cm2010"};

	for (unsigned older = 0; older < 4; older++)
		for (unsigned has_imei = 0; has_imei < 2; has_imei++)
			for (size_t s = 0; s < 3; s++)
			{
				at402_report report;

				write_older(older, has_imei);
				CHECK(open_packet(&w, 0, senders[s]) == AT402_OK);
				CHECK(opened.older == older && opened.has_imei == has_imei && opened.count == 2);
				CHECK(same(opened.imei, has_imei ? "860873041761486" : ""));
				report = report_at(0);
				CHECK(same(keys(&report), first[older & 1]));
				report = report_at(1);
				CHECK(same(keys(&report), second[older >> 1]));
			}
}

/*
 * A packet that can be read in two ways.  Without IMEI: one report with this
 * module mask.  With IMEI: sequence and mask are the IMEI, time and reasons are
 * sequence and mask of a report with a GNSS module.  47 bytes either way.
 */
static void
write_ambiguous(uint64_t mask)
{
	wire_begin(&w, 'X');
	wire_count(&w, 1, false);
	wire_put(&w, 1, 0);
	wire_put(&w, 6, mask);
	wire_put(&w, 4, 0);			/* time; sequence and mask */
	wire_put(&w, 4, 0x00000200);	/* reasons; mask, and the time's first byte */
	wire_put(&w, 2, 0);
	wire_put_random(&w, 25);
	wire_end(&w);
}

static void
test_ambiguous(void)
{
	/* newest layouts without and with IMEI: the sender tells; else without */
	write_ambiguous(BIT(OBD_DTC));
	for (size_t s = 0; s < 3; s++)
	{
		CHECK(open_packet(&w, 0, senders[s]) == AT402_OK && opened.older == 0);
		CHECK(opened.has_imei == (senders[s] == AT402_SENDER_IN_PACKET));
	}

	/* bit 9 older without IMEI, or newest with: all layouts of the sender's way come first */
	write_ambiguous(BIT(ALCOHOL_TEST) | BIT(FMS_STOP));
	for (size_t s = 0; s < 3; s++)
	{
		CHECK(open_packet(&w, 0, senders[s]) == AT402_OK);
		CHECK(opened.has_imei == (senders[s] != AT402_SENDER_LOGGED_IN));
		CHECK(opened.older == (opened.has_imei ? 0 : 1));
	}
}

/*
 * Bits 9 and 44 of n bytes together, with a length of beacon records where each
 * layout has it: newest at 9, bit 9 older at 13.
 */
static at402_status
open_layouts(size_t n, unsigned newest, unsigned trailer_id)
{
	wire_begin(&w, 'X');
	wire_count(&w, 1, false);
	wire_report(&w, 0, BIT(ALCOHOL_TEST) | BIT(BEACONS));
	for (size_t i = 0; i < n; i++)
		wire_put(&w, 1, i == 10 ? newest : i == 14 ? trailer_id : 0);
	wire_end(&w);
	return open_packet(&w, 0, AT402_SENDER_LOGGED_IN);
}

static void
test_layout_order(void)
{
	CHECK(open_layouts(19, 4, 0) == AT402_OK && opened.older == 0);		/* before 1 and 2 */
	CHECK(open_layouts(19, 9, 0) == AT402_OK && opened.older == 1);		/* before 2 */
	CHECK(open_layouts(23, 8, 4) == AT402_OK && opened.older == 0);		/* before 1 and 3 */
	CHECK(open_layouts(23, 9, 4) == AT402_OK && opened.older == 1);		/* before 3 */
	CHECK(open_layouts(19, 9, 9) == AT402_OK && opened.older == 2);
	CHECK(open_layouts(23, 9, 9) == AT402_OK && opened.older == 3);
	CHECK(open_layouts(21, 9, 9) == AT402_SHORT_MODULE && opened.older == 0);
}

/* ---- what cannot be decoded ---- */

static void
test_no_reading(void)
{
	static const char letters[] = {'X', 'Y'};

	for (size_t s = 0; s < 3; s++)
	{
		at402_report report = {0};

		for (size_t l = 0; l < 2; l++)
		{
			wire_begin(&w, letters[l]);
			wire_count(&w, 0, true);
			wire_report(&w, 0, 0);
			wire_end(&w);
			CHECK(open_packet(&w, 0, senders[s]) == AT402_NO_REPORTS);
			CHECK(opened.problem.offset == 3 && opened.end == 4);
			CHECK(!at402_report_next(&opened, &report));
		}
		wire_begin(&w, 'C');
		wire_put_random(&w, 40);
		wire_end(&w);
		CHECK(open_packet(&w, 0, senders[s]) == AT402_NO_LAYOUT);
		CHECK(opened.variant == NULL && opened.problem.found == 'C' && opened.end == 3);
		CHECK(!at402_report_next(&opened, &report));
		wire_begin(&w, 'C');	/* the smallest */
		wire_end(&w);
		CHECK(open_packet(&w, 0, senders[s]) == AT402_NO_LAYOUT);
	}
}

/* Too small for an IMEI or a report: nothing is taken from the checksum. */
static void
test_smallest(void)
{
	for (size_t n = 0; n < 7 + 17; n++)
		for (size_t s = 0; s < 3; s++)
		{
			wire_begin(&w, 'X');
			wire_count(&w, 1, false);
			for (size_t i = 0; i < n; i++)
				wire_put(&w, 1, 0xFF);	/* a mask of all modules */
			wire_end(&w);
			CHECK(open_packet(&w, 0, senders[s]) ==
				  (senders[s] != AT402_SENDER_IN_PACKET && n >= 17 ? AT402_SHORT_MODULE
				   : AT402_SHORT_REPORT));
			if (senders[s] == AT402_SENDER_IN_PACKET)
				CHECK(same(opened.imei, n < 7 ? "" : "429496729516777215"));
			else
				CHECK(same(opened.imei, ""));
		}
}

static void
test_cut_x(void)
{
	at402_report report;

	/* the second report's second module is 3 bytes short */
	wire_begin(&w, 'X');
	wire_count(&w, 2, false);
	wire_report(&w, 0, BIT(0));
	wire_put_random(&w, 2);
	wire_report(&w, 0, BIT(0) | BIT(1) | BIT(2));
	wire_put_random(&w, 2 + 15);
	wire_end(&w);
	CHECK(open_packet(&w, 0, AT402_SENDER_UNKNOWN) == AT402_SHORT_MODULE);
	CHECK(opened.problem.offset == 42 && opened.problem.found == 15 && opened.end == 42);
	report = report_at(0);
	CHECK(!report.cut && same(keys(&report), "device_power"));
	report = report_at(1);
	CHECK(report.cut && report.length == 19 && same(keys(&report), "device_power"));
	CHECK(report_at(2).bytes == NULL);

	/* a header of 16 bytes */
	wire_begin(&w, 'X');
	wire_count(&w, 2, false);
	wire_report(&w, 0, BIT(0));
	wire_put_random(&w, 2 + 16);
	wire_end(&w);
	CHECK(open_packet(&w, 0, AT402_SENDER_UNKNOWN) == AT402_SHORT_REPORT);
	CHECK(opened.problem.offset == 23 && opened.problem.found == 16 && opened.end == 23);
	CHECK(!report_at(0).cut && report_at(1).bytes == NULL);

	/* a report fewer than announced, and one more */
	for (unsigned count = 2; count <= 4; count += 2)
	{
		wire_begin(&w, 'X');
		wire_count(&w, count, false);
		for (int i = 0; i < 3; i++)
		{
			wire_report(&w, 0, BIT(0));
			wire_put_random(&w, 2);
		}
		wire_end(&w);
		CHECK(open_packet(&w, 0, AT402_SENDER_LOGGED_IN) ==
			  (count > 3 ? AT402_SHORT_REPORT : AT402_LEFT_OVER));
		CHECK(opened.problem.offset == (count > 3 ? 61U : 42U) && opened.end <= 61);
		CHECK(opened.problem.found == (count > 3 ? 0 : 19));
		CHECK(!report_at(1).cut && report_at(1).bytes != NULL);
		CHECK((report_at(2).bytes != NULL) == (count > 3) && report_at(3).bytes == NULL);
	}

	/* the first reading is shown: with IMEI when that is expected */
	wire_begin(&w, 'X');
	wire_count(&w, 1, true);
	wire_report(&w, 0, BIT(1));
	wire_put_random(&w, 17);
	wire_end(&w);
	CHECK(open_packet(&w, 0, AT402_SENDER_IN_PACKET) == AT402_SHORT_MODULE);
	CHECK(opened.problem.offset == 28 && same(opened.imei, "860873041761486"));
	CHECK(open_packet(&w, 0, AT402_SENDER_LOGGED_IN) != AT402_OK && !opened.has_imei);
	CHECK(open_packet(&w, 0, AT402_SENDER_UNKNOWN) != AT402_OK && !opened.has_imei);
}

/* K, M, V: what follows the last whole report is a report that is cut. */
static void
test_cut_blocks(void)
{
	wire_begin(&w, 'K');
	wire_count(&w, 0, true);
	w.length = 10;				/* IMEI and no reports */
	wire_end(&w);
	CHECK(open_packet(&w, 0, AT402_SENDER_UNKNOWN) == AT402_SHORT_REPORT);
	CHECK(opened.has_imei && opened.problem.offset == 10 && report_at(0).bytes == NULL);

	for (size_t n = 1; n < 50; n++)
	{
		wire_begin(&w, 'K');
		wire_put(&w, 7, 0);
		for (size_t i = 0; i < 38 + n; i++)
			wire_put(&w, 1, i == 38 + 18);	/* the second calls for another block */
		wire_end(&w);
		CHECK(open_packet(&w, 0, AT402_SENDER_LOGGED_IN) == AT402_SHORT_REPORT);
		CHECK(same(opened.imei, "000000000000000"));
		CHECK(opened.problem.offset == 48 && opened.problem.found == n && opened.end == 48);
		CHECK(report_at(0).length == 38 && report_at(1).bytes == NULL);
	}
}

/* Every packet of the vectors cut at every byte, with length and checksum made right. */
static void
test_cut_vectors(void)
{
	static vectors packets;

	vectors_read(&packets, "vectors/captured.jsonl");
	vectors_read(&packets, "vectors/other.jsonl");
	vectors_read(&packets, "vectors/x.jsonl");
	vectors_read(&packets, "vectors/y.jsonl");
	for (size_t i = 0; i < packets.count; i++)
	{
		const uint8_t *bytes = packets.of[i].bytes;
		size_t		length = packets.of[i].length;

		if (bytes[0] == '$')
			continue;
		for (size_t s = 0; s < 3; s++)
		{
			w.length = 0;
			wire_put_bytes(&w, bytes, length);
			CHECK(open_packet(&w, packets.of[i].protocol, senders[s]) == AT402_OK);
		}
		for (size_t cut = at402_least_length(bytes[0]); cut < length; cut++)
		{
			w.length = 0;
			wire_put_bytes(&w, bytes, cut - 2);
			wire_end(&w);
			open_packet(&w, packets.of[i].protocol, senders[cut % 3]);
		}
	}
	vectors_free(&packets);
}

/* ---- packets made at random ---- */

/* What was written, to be compared with what is read. */
typedef struct written
{
	size_t		start;			/* of the report, in the packet */
	uint8_t		seq;
	uint32_t	time;
	uint64_t	reasons;
	uint32_t	status;
	uint64_t	mask;
	unsigned	high;			/* bits 64 to 79 of the mask */
} written;

/* Random bits: few, half or most of them. */
static uint64_t
random_mask(void)
{
	switch (wire_below(4))
	{
		case 0:
			return BIT(wire_below(64)) | BIT(wire_below(64));
		case 1:
			return wire_random() | wire_random();
		case 2:
			return wire_random() & wire_random() & wire_random();
		default:
			return wire_random();
	}
}

static void
write_module_x(unsigned bit, const uint8_t *sizes)
{
	size_t		records = wire_below(40);

	switch (bit)
	{
		case BEACONS:
			wire_put(&w, 1, wire_below(256));
			wire_put(&w, 2, records);
			wire_put_random(&w, 4 + records);
			break;
		case GENERIC_CAN:
			wire_put(&w, 2, 2 + records);
			wire_put_random(&w, records);
			break;
		case DEBUG:
			wire_put(&w, 2, records);
			wire_put_random(&w, records);
			break;
		default:
			wire_put_random(&w, sizes[bit]);
	}
}

static void
write_module_y(unsigned bit)
{
	size_t		content = wire_below(wire_below(8) > 0 ? 60 : 255);
	bool		wide = bit == BEACONS || bit == GENERIC_CAN || bit == DEBUG;

	wire_put(&w, wide ? 2 : 1, content + (bit == DEBUG ? 0 : wide ? 2 : 1));
	wire_put_random(&w, content);
}

static void
test_random_modular(char protocol)
{
	char		letter = protocol == 'Y' ? 'Y' : 'X';
	bool		has_imei = wire_below(2) > 0;
	unsigned	count = 1 + wire_below(8);
	written		reports[8];
	at402_report report = {0};
	uint8_t		sizes[X_BITS];

	for (unsigned bit = 0; bit < X_BITS; bit++)
		sizes[bit] = protocol == 'Z' && z_sizes[bit] > 0 ? z_sizes[bit] : x_sizes[bit];

	wire_begin(&w, letter);
	wire_count(&w, count, has_imei);
	for (unsigned i = 0; i < count; i++)
	{
		bool		y = letter == 'Y';
		written    *r = &reports[i];

		*r = (written) {w.length, (uint8_t) wire_random(), (uint32_t) wire_random(),
			wire_random() >> (y ? 0 : 32), (uint32_t) wire_random() >> (y ? 0 : 16),
			random_mask() & (y ? UINT64_MAX : BIT(X_BITS) - 1), y ? wire_below(0x10000) : 0};
		wire_put(&w, 1, r->seq);
		if (y)
			wire_put(&w, 2, r->high);
		wire_put(&w, y ? 8 : 6, r->mask);
		wire_put(&w, 4, r->time);
		wire_put(&w, y ? 8 : 4, r->reasons);
		wire_put(&w, y ? 4 : 2, r->status);
		for (unsigned bit = 0; bit < Y_BITS; bit++)
			if (bit < 64 ? r->mask >> bit & 1 : r->high >> (bit - 64) & 1)
			{
				if (y)
					write_module_y(bit);
				else
					write_module_x(bit, sizes);
			}
	}
	wire_end(&w);

	/* the walk ends exactly; the audit compares modules with the mask */
	CHECK(open_packet(&w, protocol == 'Z' ? 'Z' : 0, has_imei ? AT402_SENDER_IN_PACKET
					  : AT402_SENDER_LOGGED_IN) == AT402_OK);
	CHECK(opened.variant->name == protocol && opened.older == 0);
	CHECK(opened.has_imei == has_imei && opened.count == count);
	for (unsigned i = 0; at402_report_next(&opened, &report); i++)
	{
		const written *r = &reports[i];

		CHECK(report.bytes == opened.bytes + r->start && report.seq == r->seq);
		CHECK(report.time == r->time && report.reasons == r->reasons);
		CHECK(report.status == r->status && report.number == i);
	}
}

static void
test_random_blocks(char letter)
{
	size_t		sizes[] = {38, 50, 50};
	size_t		reasons = 15;
	written		reports[8];
	unsigned	count = 1 + wire_below(8);
	at402_report report = {0};

	if (letter == 'M')
		memcpy(sizes, (size_t[]) {41, 53, 53}, sizeof(sizes));
	if (letter == 'V')
	{
		memcpy(sizes, (size_t[]) {72, 86, 98}, sizeof(sizes));
		reasons = 19;
	}
	wire_begin(&w, letter);
	wire_put(&w, 4, 86087304);
	wire_put(&w, 3, 1761486);
	for (unsigned i = 0; i < count; i++)
	{
		size_t		start = w.length;
		const uint8_t *bytes = w.bytes + start;
		bool		block;

		reports[i].start = start;
		wire_put_random(&w, sizes[0]);
		block = bytes[reasons + 3] & 1;	/* status bit 8 */
		reports[i].mask = block ? (bytes[reasons + 2] & 0x80 ? 2 : 1) : 0;
		wire_put_random(&w, sizes[reports[i].mask] - sizes[0]);
	}
	wire_end(&w);
	CHECK(open_packet(&w, 0, senders[wire_below(3)]) == AT402_OK);
	CHECK(opened.variant->name == letter && opened.count == 0);
	CHECK(opened.has_imei && same(opened.imei, "860873041761486"));
	for (unsigned i = 0; i < count; i++)
	{
		static const char every[] = "device_power gnss digitals analogues driver_behaviour "
			"signal_quality geofence";
		char		expected[200];

		if (!CHECK(at402_report_next(&opened, &report)))
			return;
		CHECK(report.bytes == opened.bytes + reports[i].start && !report.cut);
		CHECK(report.length == sizes[reports[i].mask]);
		snprintf(expected, sizeof(expected), "%s%s%s%s%s", every,
				 letter == 'V' ? " can_summary" : "",
				 reports[i].mask > 0 ? " driver_id gnss_journey_stop" : "",
				 letter == 'V' && reports[i].mask > 0 ? " fms_journey_start" : "",
				 letter == 'V' && reports[i].mask > 1 ? " can_journey_stop" : "");
		CHECK(same(keys(&report), expected));
	}
	CHECK(!at402_report_next(&opened, &report));
}

/* Bytes of no sense: whatever is read of them keeps the rules of the audit. */
static void
test_noise(void)
{
	static const char letters[] = {'X', 'Y', 'K', 'M', 'V', 'C'};
	char		letter = letters[wire_below(sizeof(letters))];

	wire_begin(&w, letter);
	wire_put_random(&w, at402_least_length((uint8_t) letter) - 5 + wire_below(300));
	if (w.length > 10 && wire_below(2) > 0)
	{
		w.bytes[3] = 1;			/* a module or two, so that the walk gets somewhere */
		memset(w.bytes + 5, 0, 5);
	}
	wire_end(&w);
	open_packet(&w, wire_below(2) > 0 ? 'Z' : 0, senders[wire_below(3)]);
}

int
main(void)
{
	uint8_t		sizes[X_BITS];

	test_sizes(0, x_sizes);
	for (unsigned bit = 0; bit < X_BITS; bit++)
		sizes[bit] = z_sizes[bit] > 0 ? z_sizes[bit] : x_sizes[bit];
	test_sizes('Z', sizes);
	test_names();
	test_blocks();
	test_readings();
	test_ambiguous();
	test_layout_order();
	test_no_reading();
	test_smallest();
	test_cut_x();
	test_cut_blocks();
	test_cut_vectors();
	for (int i = 0; i < 3000; i++)
	{
		test_random_modular('X');
		test_random_modular('Y');
		test_random_modular('Z');
		test_random_blocks("KMV"[i % 3]);
		test_noise();
	}
	return unit_done("test_packet");
}
