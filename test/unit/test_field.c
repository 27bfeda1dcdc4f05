/*
 * test_field.c - what single values say: ranges, blanks, measurements, places
 */
#include "core_rig.h"

#define OF(text) ((at402_span) {(const uint8_t *) (text), sizeof(text) - 1})

static const at402_field_def *
field_of(const char *module, const char *name, unsigned variants)
{
	for (size_t m = 0; m < at402_module_count; m++)
		for (int i = 0; i < at402_modules[m].field_count; i++)
		{
			const at402_field_def *field = &at402_modules[m].fields[i];

			if (strcmp(at402_modules[m].key, module) == 0 && field->name != NULL &&
				strcmp(field->name, name) == 0 && field->variants & variants)
				return field;
		}
	CHECK(!"field exists");
	return NULL;
}

static bool
measured(const at402_field_def *field, int64_t raw)
{
	at402_value value = {AT402_V_NUMBER, raw, {NULL, 0}};
	bool		none = false;

	return at402_measure(field, &value, &none);
}

/* The bounds of each field are within its type, and just they are kept. */
static void
test_ranges(void)
{
	unsigned	bounded = 0;

	for (size_t m = 0; m < at402_module_count; m++)
		for (int i = 0; i < at402_modules[m].field_count; i++)
		{
			const at402_field_def *field = &at402_modules[m].fields[i];
			int64_t		least;
			int64_t		most;
			int64_t		type_least;
			int64_t		type_most;

			if (field->name == NULL)
				continue;
			CHECK(at402_type_names[field->type] != NULL);
			CHECK(field->range < at402_range_count);
			if (!at402_measured_range(field, &least, &most))
				continue;
			bounded++;
			at402_raw_range(field, &type_least, &type_most);
			CHECK(least >= type_least && least < most && most <= type_most);
			CHECK(measured(field, least) && measured(field, most));
			CHECK(least == type_least || !measured(field, least - 1));
			CHECK(most == type_most || !measured(field, most + 1));
		}
	CHECK(bounded > 100);
}

static void
test_measure(void)
{
	const at402_field_def *heading = field_of("gnss", "heading_deg", AT402_IN_X);
	const at402_field_def *tyre = field_of("tpms", "temperature_c", AT402_IN_Y);
	const at402_field_def *mask = field_of("fms_in_journey", "fms_status_mask", AT402_IN_X);
	at402_value value = {AT402_V_NUMBER, 180, {NULL, 0}};
	bool		none = true;

	CHECK(at402_measure(heading, &value, &none) && value.raw == 0 && !none);
	value.raw = 181;
	CHECK(!at402_measure(heading, &value, &none) && none);
	/* -1 is a temperature unless the value before it is none */
	value.raw = -1;
	CHECK(!at402_measure(tyre, &value, &none) && none);
	none = false;
	CHECK(at402_measure(tyre, &value, &none) && !none);
	none = true;
	value.raw = 20;
	CHECK(at402_measure(tyre, &value, &none) && !none);
	value.kind = AT402_V_NULL;
	CHECK(!at402_measure(tyre, &value, &none) && none);
	CHECK(at402_is_mask(mask) && !at402_is_mask(heading));
	CHECK(measured(mask, 0xFFFF) && measured(mask, 0));
}

static bool
text_measured(const at402_field_def *field, at402_span span)
{
	at402_value value = {AT402_V_TEXT, 0, span};
	bool		none = false;

	return at402_measure(field, &value, &none);
}

static void
test_blanks(void)
{
	const at402_field_def *iccid = field_of("sim_serial_number", "iccid", AT402_IN_X);
	const at402_field_def *code = field_of("obd_dtc", "dtc_1", AT402_IN_X);
	const at402_field_def *serial = field_of("driver_id", "serial_number", AT402_IN_X);

	CHECK(at402_says_anything(OF("0010")) && at402_says_anything(OF("\xff\xfe")));
	CHECK(!at402_says_anything(OF("")) && !at402_says_anything(OF("000 0")));
	CHECK(!at402_says_anything(OF("\0\0")) && !at402_says_anything(OF("\xff\xff")));
	CHECK(!at402_says_anything((at402_span) {NULL, 0}));
	CHECK(text_measured(iccid, OF("8944")) && !text_measured(iccid, OF("0000")));
	CHECK(!text_measured(iccid, OF("")) && !text_measured(iccid, OF("\xff\xff")));
	CHECK(text_measured(code, OF("00000")) && !text_measured(code, OF("\xff\xff\xff\xff\xff")));
	CHECK(text_measured(serial, OF("\0\0\x30")) && !text_measured(serial, OF("\0\0\0")));
	CHECK(!text_measured(serial, OF("\xff\xff")));
	CHECK(at402_is_required(iccid) && at402_is_required(serial) && !at402_is_required(code));
}

static void
test_zeros_and_ones(void)
{
	const at402_field_def *u8 = field_of("gnss", "speed_kmh", AT402_IN_X);
	const at402_field_def *i32 = field_of("gnss", "latitude_deg", AT402_IN_X);
	at402_value value = {AT402_V_NUMBER, 0, {NULL, 0}};
	at402_value text = {AT402_V_TEXT, 0, OF("")};

	CHECK(at402_is_zeros(&value) && !at402_is_ones(u8, &value) && at402_is_zeros(&text));
	CHECK(!at402_is_ones(u8, &text));
	value.raw = -1;
	CHECK(at402_is_ones(i32, &value) && !at402_is_zeros(&value));
	value.raw = 255;
	CHECK(at402_is_ones(u8, &value));
	value.raw = 254;
	CHECK(!at402_is_ones(u8, &value));
	text.span = OF("\xff\xff");
	CHECK(at402_is_ones(u8, &text) && !at402_is_zeros(&text));
	text.span = OF("\xff\x00");
	CHECK(!at402_is_ones(u8, &text) && !at402_is_zeros(&text));
}

/* Each field is somewhere; but for lists whose items are rows. */
static void
test_places(void)
{
	for (size_t m = 0; m < at402_module_count; m++)
		for (int i = 0; i < at402_modules[m].field_count; i++)
		{
			const at402_module_def *def = &at402_modules[m];
			const at402_field_def *field = &def->fields[i];
			unsigned	places = 0;

			if (field->name == NULL)
				continue;
			for (unsigned bit = 0; bit < 16; bit++)
			{
				at402_place place;

				if (!at402_find_place(def, field, 1U << bit, &place))
					continue;
				places++;
				CHECK(def->home >> bit & 1);
				CHECK(place.list == NULL || strcmp(place.column, "data") == 0);
			}
			CHECK((places == 0) == (field->type == AT402_T_LIST &&
									def->home & (AT402_HOME_BLE | AT402_HOME_CAN_FRAME)));
		}
}

static void
test_variants(void)
{
	const at402_variant_def *x = at402_find_variant('X', 0);
	const at402_variant_def *k = at402_find_variant('K', 0);
	const at402_variant_def *v = at402_find_variant('V', 0);
	uint8_t		head[200] = {'X', 0, 0, 7};

	CHECK(x->name == 'X' && at402_find_variant('X', 'Z')->name == 'Z');
	CHECK(at402_find_variant('K', 'Z') == k && at402_find_variant('C', 0) == NULL);
	CHECK(at402_find_variant('Z', 0) == NULL && at402_find_variant('$', 0) == NULL);
	CHECK(at402_claimed_reports(head, 4) == 7 && at402_claimed_reports(head, 3) == 1);
	head[0] = 'V';
	CHECK(at402_claimed_reports(head, 160) == 3);
	head[0] = 'C';
	CHECK(at402_claimed_reports(head, 160) == 1);

	/* bit 23: CAN event of X, roll over of K; both named as in X */
	CHECK(at402_named_reasons(x, 0x40800001) == 0x40800001);
	CHECK(at402_named_reasons(k, 0x800001) == 0x40000001 && at402_named_reasons(v, 1) == 1);
	CHECK(at402_reason_bit(x, 30) == 30 && at402_reason_bit(x, 23) == 23);
	CHECK(at402_reason_bit(k, 30) == 23 && at402_reason_bit(k, 23) == -1);
	CHECK(at402_reason_bit(k, 24) == -1 && at402_reason_bit(k, 22) == 22);
	CHECK(at402_reason_bit(x, 32) == -1);
}

int
main(void)
{
	test_ranges();
	test_measure();
	test_blanks();
	test_zeros_and_ones();
	test_places();
	test_variants();
	return unit_done("test_field");
}
