/*
 * test_special.c - modules that are lists or whose contents depend on a type,
 * and modules of Y that are longer or shorter than their fields
 */
#include "core_rig.h"

enum
{
	POWER = 0, TPMS = 5, J1939_DTC = 20, SENSORS = 32, HGV_TRAILER = 43, BEACONS = 44,
	GENERIC_CAN = 45, DEBUG = 47
};

/* Content of the module that a test is about. */
static wire content;

static void
fill(size_t n, unsigned byte)
{
	content.length = n;
	memset(content.bytes, (int) byte, n);
}

/*
 * A packet with the content as its one special module, between two modules that
 * show whether the walk goes on behind it.  Length that stands before the
 * content: of X and Y, by module.
 */
static at402_status
open_content(char letter, unsigned bit)
{
	static wire w;
	bool		y = letter == 'Y';
	bool		wide = bit == BEACONS || bit == GENERIC_CAN || bit == DEBUG;

	wire_begin(&w, letter);
	wire_count(&w, 1, false);
	wire_report(&w, y ? 0x8000 : 0, 1 << POWER | UINT64_C(1) << bit);
	if (y)
		wire_put(&w, 1, 4);
	wire_put(&w, y ? 3 : 2, 0);
	if (bit == DEBUG)
		wire_put(&w, 2, content.length);
	else if (y)
		wire_put(&w, wide ? 2 : 1, content.length + (wide ? 2 : 1));
	else if (bit == GENERIC_CAN)
		wire_put(&w, 2, content.length + 2);
	wire_put_bytes(&w, content.bytes, content.length);
	if (y)
		wire_put(&w, 3, 0x03ABCD);	/* bit 79 */
	wire_end(&w);
	return open_packet(&w, 0, AT402_SENDER_LOGGED_IN);
}

/* The values of the content as a module. */
static const char *
read_content(char letter, unsigned bit)
{
	if (!CHECK(open_content(letter, bit) == AT402_OK))
		return "";
	if (letter == 'Y')
		CHECK(same(values(79), "raw=ABCD"));
	return values(bit);
}

/* The content in hex, as a module that cannot be read shows it. */
static const char *
raw(const char *error)
{
	static trace t;

	t.length = 0;
	trace_add(&t, "raw=");
	for (size_t i = 0; i < content.length; i++)
		trace_add(&t, "%02X", content.bytes[i]);
	trace_add(&t, "%s", error);
	return t.text;
}

#define BEACON_ERROR " error='records do not fill the module'"

/* ---- beacons ---- */

/* Three records: without meta, with a height, of an unpublished type. */
static const uint8_t beacons[] = {
	1, 2, 3, 4, 5, 6, 0xC4, 1, 0x01, 0x02, 0, 0,
	0xA, 0xB, 0xC, 0xD, 0xE, 0xF, 0x80, 0, 0xFF, 0xFF, 1, 2, 0x03, 0xE8,
	0, 0, 0, 0, 0, 0, 0x7F, 2, 0, 0, 9, 3, 7, 8, 9};

#define BEACONS_TEXT                                                                               \
	"beacons=[{mac=010203040506 rssi_dbm=-60 companion=1 last_seen_s=258 type=0} "                 \
	"{mac=0A0B0C0D0E0F rssi_dbm=-128 companion=0 last_seen_s=65535 type=1 height_cm=1000} "        \
	"{mac=000000000000 rssi_dbm=127 companion=0 last_seen_s=0 type=9 meta=070809}]"

static void
write_beacons(char letter, unsigned count, size_t records)
{
	content.length = 0;
	if (letter == 'X')
	{
		wire_put(&content, 1, count);
		wire_put(&content, 2, records);
	}
	wire_put(&content, 4, 0xEEEEEEEE);	/* reserved */
	if (letter == 'Y')
		wire_put(&content, 1, count);
	for (size_t i = 0; i < records; i++)
		wire_put(&content, 1, i < sizeof(beacons) ? beacons[i] : 0);
}

static void
test_beacons(void)
{
	static const size_t ends[] = {0, 12, 26, sizeof(beacons)};

	for (int y = 0; y < 2; y++)
		for (unsigned count = 0; count < 6; count++)
			for (size_t records = 0; records <= sizeof(beacons) + 12; records++)
			{
				bool		whole;

				write_beacons("XY"[y], count, records);
				/* zeros behind the three are a fourth */
				if (count <= 3)
					whole = y ? records >= ends[count] : records == ends[count];
				else
					whole = count == 4 && records == sizeof(beacons) + 12;
				if (!whole)
					CHECK(same(read_content("XY"[y], BEACONS), raw(BEACON_ERROR)));
				else if (count == 0)
					CHECK(same(read_content("XY"[y], BEACONS), "beacons=[]"));
				else if (count == 3)
					CHECK(same(read_content("XY"[y], BEACONS), BEACONS_TEXT));
				else
					CHECK(strlen(read_content("XY"[y], BEACONS)) > 50);
			}

	/* a height of another size is meta; a length of meta that runs past the end */
	write_beacons('X', 1, 12);
	content.bytes[7 + 10] = 1;
	CHECK(same(read_content('X', BEACONS), "beacons=[{mac=010203040506 rssi_dbm=-60 companion=1 "
			   "last_seen_s=258 type=1}]"));
	content.bytes[7 + 11] = 1;
	CHECK(same(read_content('X', BEACONS), raw(BEACON_ERROR)));
	content.bytes[2]++;
	wire_put(&content, 1, 0x5A);
	CHECK(same(read_content('X', BEACONS), "beacons=[{mac=010203040506 rssi_dbm=-60 companion=1 "
			   "last_seen_s=258 type=1 meta=5A}]"));

	/* Y: too short for its header */
	for (size_t n = 0; n < 5; n++)
	{
		fill(n, 0);
		CHECK(same(read_content('Y', BEACONS), raw(BEACON_ERROR)));
	}
}

/* ---- generic CAN ---- */

static size_t
count_items(const char *text)
{
	size_t		n = 0;

	for (; *text != 0; text++)
		n += *text == '{';
	return n;
}

static void
test_generic_can(void)
{
	fill(0, 0);
	wire_put(&content, 4, 0xEEEEEEEE);
	wire_put(&content, 4, 0x18FEF100);
	wire_put(&content, 8, 0x0102030405060708);
	wire_put(&content, 1, 250);
	for (int y = 0; y < 2; y++)
		CHECK(same(read_content("XY"[y], GENERIC_CAN),
				   "frames=[{id=419361024 data=0102030405060708 age_s=250}]"));

	/* older firmware: neither reserved bytes nor age */
	memmove(content.bytes, content.bytes + 4, 12);
	content.length = 12;
	CHECK(same(read_content('X', GENERIC_CAN), "frames=[{id=419361024 data=0102030405060708}]"));
	CHECK(same(read_content('Y', GENERIC_CAN), "frames=[]"));

	for (size_t n = 0; n <= 200; n++)
	{
		const char *text;

		fill(n, 0x11);
		text = read_content('Y', GENERIC_CAN);
		if (n < 4)
			CHECK(same(text, raw("")));
		else
			CHECK(strncmp(text, "frames=[", 8) == 0 && count_items(text) == (n - 4) / 13);

		text = read_content('X', GENERIC_CAN);
		if (n >= 4 && (n - 4) % 13 == 0)
			CHECK(count_items(text) == (n - 4) / 13 && (n < 17 || strstr(text, "age_s=17}]")));
		else if (n % 12 == 0)
			CHECK(count_items(text) == n / 12 && strstr(text, "age_s") == NULL);
		else
			CHECK(same(text, raw("")));
	}
}

/* ---- sensors ---- */

static void
test_sensors(void)
{
	static const uint8_t slots[] = {0x81, 0xFF, 0x9C, 0x00, 1, 2, 0x02, 0x13, 0x88,
		0x83, 0xFF, 0xFF, 0x70, 9, 9, 0x0F, 0xAB, 0xCD};
	static const char text[] = "sensors=[{index=0 valid=1 type='temperature' temperature_c=-100} "
		"{index=2 valid=0 type='humidity' humidity_percent=5000} "
		"{index=3 valid=1 type='light' light_raw=65535} "
		"{index=5 valid=0 type_raw=15 raw=ABCD}]";

	for (int y = 0; y < 2; y++)
	{
		fill(0, 0);
		wire_put_bytes(&content, slots, sizeof(slots));
		CHECK(same(read_content("XY"[y], SENSORS), text));
		fill(18, 0);
		CHECK(same(read_content("XY"[y], SENSORS), "sensors=[]"));
		for (unsigned type = 4; type < 16; type++)
		{
			char		expected[100];

			fill(18, 0);
			content.bytes[6] = (uint8_t) (0x80 | type);
			snprintf(expected, sizeof(expected), "sensors=[{index=2 valid=1 type_raw=%u raw=0000}]",
					 type);
			CHECK(same(read_content("XY"[y], SENSORS), expected));
		}
	}
	for (size_t n = 0; n < 30; n++)
	{
		fill(n, 0);
		CHECK(same(read_content('Y', SENSORS), n < 18 ? raw("") : "sensors=[]"));
	}
}

/* ---- debug ---- */

#define LEVEL_0 "watchdog_level=0"

static void
test_debug(void)
{
	for (int y = 0; y < 2; y++)
		for (size_t n = 0; n <= 80; n++)
			for (unsigned type = 0; type < 3; type++)
				for (unsigned length = 47; length < 50; length++)
				{
					const char *text;

					fill(n, 0);
					if (n > 0)
						content.bytes[0] = (uint8_t) type;
					if (n > 2)
						content.bytes[2] = (uint8_t) length;
					text = read_content("XY"[y], DEBUG);
					if (n == 0)
						CHECK(same(text, "raw="));
					else if (type == 1 && n == 51 && length == 48)
						CHECK(same(text, "type=1 flags_mask=0 pc=0 lr=0 watchdog_levels=["
								   LEVEL_0 " " LEVEL_0 " " LEVEL_0 " " LEVEL_0 " " LEVEL_0 " "
								   LEVEL_0 " " LEVEL_0 " " LEVEL_0 " " LEVEL_0 " " LEVEL_0 " "
								   LEVEL_0 " " LEVEL_0 " " LEVEL_0 " " LEVEL_0 " " LEVEL_0
								   "] watchdog_service=''"));
					else
					{
						char		expected[300];

						memmove(content.bytes, content.bytes + 1, --content.length);
						snprintf(expected, sizeof(expected), "type=%u %s", type, raw(""));
						CHECK(same(text, expected));
					}
				}

	/* little-endian, and levels in order */
	fill(3, 0);
	content.bytes[0] = 1;
	content.bytes[2] = 48;
	wire_put(&content, 2, 0x3412);
	wire_put(&content, 4, 0x78563412);
	wire_put(&content, 4, 0xFFFFFFFF);
	for (unsigned i = 0; i < 15; i++)
		wire_put(&content, 2, i << 8);
	wire_put_bytes(&content, "gnss\0\0\0\0", 8);
	CHECK(strncmp(read_content('X', DEBUG), "type=1 flags_mask=4660 pc=305419896 lr=4294967295 "
				  "watchdog_levels=[watchdog_level=0 watchdog_level=1 ", 100) == 0);
	CHECK(strstr(values(DEBUG), " watchdog_level=14] watchdog_service='gnss'") != NULL);
}

/* ---- Y: tyres, trouble codes, trailer ---- */

static void
test_tpms(void)
{
	static const uint8_t tyres[] = {3, 1, 0, 85, 0xF6, 1, 1, 86, 20, 2, 15, 255, 127};

	for (size_t n = 0; n <= sizeof(tyres) + 5; n++)
	{
		fill(n, 0xEE);
		memcpy(content.bytes, tyres, n < sizeof(tyres) ? n : sizeof(tyres));
		CHECK(same(read_content('Y', TPMS), n < sizeof(tyres) ? raw("") :
				   "sensors=[{axle=1 wheel=0 pressure_bar=85 temperature_c=-10} "
				   "{axle=1 wheel=1 pressure_bar=86 temperature_c=20} "
				   "{axle=2 wheel=15 pressure_bar=255 temperature_c=127}]"));
	}
	fill(1, 0);
	CHECK(same(read_content('Y', TPMS), "sensors=[]"));
}

static void
test_j1939_dtc(void)
{
	/* SPN 520192 (all 19 bits used), FMI 31, CM 1, OC 127; SPN 190, FMI 5, OC 3 */
	static const uint8_t codes[] = {0x00, 0xF0, 0xFF, 0xFF, 0xBE, 0x00, 0x05, 0x03};

	for (size_t n = 0; n <= sizeof(codes) + 9; n++)
	{
		const char *text;

		fill(n, 0);
		memcpy(content.bytes, codes, n < sizeof(codes) ? n : sizeof(codes));
		text = read_content('Y', J1939_DTC);
		CHECK(same(text, n < 4 ? "dtcs=[]" :
				   n < 8 ? "dtcs=[{spn=520192 fmi=31 cm=1 oc=127}]" :
				   "dtcs=[{spn=520192 fmi=31 cm=1 oc=127} {spn=190 fmi=5 cm=0 oc=3}]"));
	}

	/* zeros end the list */
	fill(12, 1);
	memset(content.bytes + 4, 0, 4);
	CHECK(same(read_content('Y', J1939_DTC), "dtcs=[{spn=257 fmi=1 cm=0 oc=1}]"));
}

static void
test_hgv_trailer(void)
{
	wire		whole;

	fill(0, 0);
	wire_put(&content, 4, 1000);	/* can_time */
	wire_put(&content, 2, 0x8403);	/* bits 0, 1, 10, and one without a name */
	wire_put(&content, 1, 160);
	wire_put(&content, 2, 5000);
	wire_put(&content, 2, 20480);
	wire_put(&content, 1, 0x80);	/* none */
	wire_put(&content, 1, 0xFF);	/* none */
	wire_put(&content, 2, 52);
	wire_put(&content, 1, 250);
	wire_put(&content, 1, 0xFF);	/* none */
	wire_put(&content, 1, 99);
	wire_put(&content, 1, 2);		/* wheels */
	wire_put(&content, 4, 0x215A0805);
	wire_put(&content, 4, 0xF0FFFFFF);
	wire_put(&content, 6, 0x0001020304FF);
	whole = content;
	for (size_t n = 0; n <= whole.length + 3; n++)
	{
		content = whole;
		content.length = n;
		CHECK(same(read_content('Y', HGV_TRAILER), n < whole.length ? raw("") :
				   "can_time=1000 flags_mask=33795 ebs_supply_pressure_kpa=160 axle_load_kg=5000 "
				   "speed_kmh=20480 road_angle_deg=null deceleration_mss=null "
				   "brake_demand_pressure_kpa=52 parking_brake_demand_percent=250 "
				   "braking_efficiency_raw_percent=null braking_efficiency_compensated_percent=99 "
				   "wheels=[{wheel=1 axle=2 tyre_pressure_bar=90 brake_temperature_c=8 "
				   "brake_lining_wear_percent=5} {wheel=0 axle=15 tyre_pressure_bar=null "
				   "brake_temperature_c=null brake_lining_wear_percent=null}] "
				   "brake_pressures_kpa=[brake_pressure_kpa=0 brake_pressure_kpa=1 "
				   "brake_pressure_kpa=2 brake_pressure_kpa=3 brake_pressure_kpa=4 "
				   "brake_pressure_kpa=null] flags=[flags='abs_activated' "
				   "flags='brake_event_start' flags='rollover_prevention']"));
	}
}

/* ---- Y of older firmware: told by the exact length alone ---- */

/* A trailer without deceleration_mss, with this many wheels and bytes of zeros behind. */
static void
fill_older_trailer(unsigned wheels, unsigned extra)
{
	fill(17, 0);
	content.bytes[10] = 20;			/* low byte of speed */
	content.bytes[13] = 52;			/* low byte of brake demand */
	wire_put(&content, 1, wheels);
	for (unsigned i = 0; i < wheels; i++)
		wire_put(&content, 4, 0x215A0805);
	wire_put(&content, 6, 0x010203040506);
	for (unsigned i = 0; i < extra; i++)
		wire_put(&content, 1, 0);
}

static void
test_older_trailer(void)
{
	for (unsigned wheels = 0; wheels <= 50; wheels++)
	{
		const char *text;

		fill_older_trailer(wheels, 0);
		CHECK(content.length == 24 + 4 * wheels);
		text = read_content('Y', HGV_TRAILER);
		CHECK(strstr(text, " speed_kmh=20 road_angle_deg=0 deceleration_mss=null "
					 "brake_demand_pressure_kpa=52 ") != NULL);
		CHECK(strstr(text, "brake_pressures_kpa=[brake_pressure_kpa=1 ") != NULL);
		CHECK((strstr(text, "wheels=[]") != NULL) == (wheels == 0));

		/* one byte more, and it is the newer layout, whatever comes of it */
		fill_older_trailer(wheels, 1);
		text = read_content('Y', HGV_TRAILER);
		CHECK(strstr(text, "deceleration_mss=null") == NULL);
	}
}

static void
test_older_rayvolt(void)
{
	for (size_t n = 0; n <= 24; n++)
	{
		fill(n, 1);
		CHECK((strstr(read_content('Y', J1939_DTC), "battery_soc_percent=1 ") != NULL) == (n == 18));
	}
}

/* ---- Y: too few bytes, extra bytes, unknown modules ---- */

/* Bytes that the fields of a module need in Y, where that differs from X; reserved
 * bytes at the end of X's are not needed. */
static void
test_least(void)
{
	static const uint8_t least[] = {
		[0] = 3, [1] = 21, [2] = 4, [3] = 4, [4] = 8, [6] = 6, [7] = 1, [8] = 9, [9] = 3, [10] = 2,
		[11] = 5, [12] = 20, [13] = 18, [14] = 25, [15] = 13, [16] = 9, [17] = 25, [18] = 8,
		[19] = 17, [21] = 3, [22] = 4, [23] = 6, [24] = 4, [25] = 57, [26] = 7, [27] = 20,
		[28] = 38, [30] = 5, [31] = 12, [33] = 2, [34] = 7, [35] = 44, [36] = 32, [37] = 37,
		[38] = 1, [39] = 37, [41] = 38, [42] = 14, [46] = 11};

	for (unsigned bit = 1; bit < sizeof(least); bit++)
		for (size_t n = 0; least[bit] > 0 && n <= least[bit] + 60U; n++)
		{
			fill(n, 'A');
			if (n < least[bit])
				CHECK(same(read_content('Y', bit), raw("")));
			else
				CHECK(strncmp(read_content('Y', bit), "raw=", 4) != 0 || bit == 24 || bit == 35);
		}
}

static void
test_unknown(void)
{
	static const unsigned bits[] = {29, 40, 48, 63};	/* 64 and above: see open_content */

	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		for (size_t n = 0; n < 255; n += 1 + n / 3)
		{
			char		expected[100];
			at402_report report;

			fill(n, 0x5A);
			CHECK(same(read_content('Y', bits[i]), raw("")));
			report = report_at(0);
			snprintf(expected, sizeof(expected), "device_power module_%u module_79", bits[i]);
			CHECK(same(keys(&report), expected));
		}
}

/* A length that is smaller than itself, or runs past the end: the packet ends there. */
static void
test_bad_prefix(void)
{
	static const struct
	{
		char		letter;
		unsigned	bit;
		size_t		width;
		size_t		length;
	}			prefixes[] = {
		{'Y', 1, 1, 0}, {'Y', 1, 1, 5}, {'Y', 48, 1, 0}, {'Y', 48, 1, 5}, {'Y', SENSORS, 1, 0},
		{'Y', BEACONS, 2, 0}, {'Y', BEACONS, 2, 1}, {'Y', BEACONS, 2, 6}, {'Y', GENERIC_CAN, 2, 1},
		{'Y', GENERIC_CAN, 2, 6}, {'Y', DEBUG, 2, 4}, {'Y', DEBUG, 2, 65535},
		{'X', GENERIC_CAN, 2, 0}, {'X', GENERIC_CAN, 2, 1}, {'X', GENERIC_CAN, 2, 6}, {'X', DEBUG, 2, 4},
		{'X', DEBUG, 2, 65535}};
	static wire w;

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
	{
		bool		y = prefixes[i].letter == 'Y';
		at402_report report;
		size_t		offset;

		wire_begin(&w, prefixes[i].letter);
		wire_count(&w, 1, false);
		wire_report(&w, 0, 1 | UINT64_C(1) << prefixes[i].bit);
		if (y)
			wire_put(&w, 1, 4);
		wire_put(&w, y ? 3 : 2, 0);
		offset = w.length;
		wire_put(&w, prefixes[i].width, prefixes[i].length);
		wire_put(&w, 3, 0);
		wire_end(&w);
		CHECK(open_packet(&w, 0, AT402_SENDER_LOGGED_IN) == AT402_SHORT_MODULE);
		CHECK(opened.problem.offset == offset && opened.end == offset);
		report = report_at(0);
		CHECK(report.cut && same(keys(&report), "device_power"));
	}
}

/* ---- anything ---- */

/* The audit, which open_packet makes, sees whether events are balanced. */
static void
test_random(void)
{
	static const unsigned specials_x[] = {SENSORS, BEACONS, GENERIC_CAN, DEBUG};
	static const unsigned specials_y[] = {TPMS, J1939_DTC, SENSORS, HGV_TRAILER, BEACONS,
		GENERIC_CAN, DEBUG};
	size_t		n = wire_below(120);

	for (size_t i = 0; i < sizeof(specials_y) / sizeof(specials_y[0]); i++)
	{
		content.length = 0;
		wire_put_random(&content, n);
		content.bytes[wire_below(5)] = (uint8_t) wire_below(4);
		CHECK(open_content('Y', specials_y[i]) == AT402_OK);
	}
	for (size_t i = 0; i < sizeof(specials_x) / sizeof(specials_x[0]); i++)
	{
		size_t		least = specials_x[i] == SENSORS ? 18 : specials_x[i] == BEACONS ? 7 : 0;

		content.length = 0;
		wire_put_random(&content, specials_x[i] == SENSORS || n < least ? least : n);
		if (specials_x[i] == BEACONS)
		{
			content.bytes[0] = (uint8_t) wire_below(4);
			content.bytes[1] = 0;
			content.bytes[2] = (uint8_t) (content.length - 7);
		}
		CHECK(open_content('X', specials_x[i]) == AT402_OK);
	}
}

int
main(void)
{
	test_beacons();
	test_generic_can();
	test_sensors();
	test_debug();
	test_tpms();
	test_j1939_dtc();
	test_hgv_trailer();
	test_older_trailer();
	test_older_rayvolt();
	test_least();
	test_unknown();
	test_bad_prefix();
	for (int i = 0; i < 10000; i++)
		test_random();
	return unit_done("test_special");
}
