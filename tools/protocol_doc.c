/*
 * protocol_doc.c - doc/protocol.md, made from the table that decodes
 *
 * Prints Markdown to standard output.  All names, sizes, scales, units and
 * offsets come from the arrays of src/core, so that the page cannot say
 * anything else than what the decoder does.  Only what the table does not hold
 * is written here: what the types mean, and how the special modules are built.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/at402.h"

#define VARIANT_FLAGS 8
#define HOMES 9

static const char *const variant_names[VARIANT_FLAGS] = {
	"X", "Y", "Z", "K", "M", "V", "X of older firmware",
	"Y of older firmware"};

static const char *const home_names[HOMES] = {"position", "event", "io", "motion", "can",
	"can_frame", "ble", "module", "device"};

/* What the types of at402_type_names mean. */
static const char *const meanings[AT402_TYPES] = {
	[AT402_T_U8] = "unsigned, 1 byte",
	[AT402_T_U16] = "unsigned, 2 bytes",
	[AT402_T_U24] = "unsigned, 3 bytes",
	[AT402_T_U32] = "unsigned, 4 bytes",
	[AT402_T_U56] = "unsigned, 7 bytes, shown as decimal digits, at least 15",
	[AT402_T_I8] = "signed, two's complement, 1 byte",
	[AT402_T_I16] = "signed, 2 bytes",
	[AT402_T_I32] = "signed, 4 bytes",
	[AT402_T_U16LE] = "unsigned, 2 bytes, lowest byte first",
	[AT402_T_U24LE] = "unsigned, 3 bytes, lowest byte first",
	[AT402_T_U32LE] = "unsigned, 4 bytes, lowest byte first",
	[AT402_T_U4LO] = "low nibble of a byte; the next field has the high one",
	[AT402_T_U4HI] = "high nibble of that byte",
	[AT402_T_U12LO] = "low 12 bits of 3 bytes, lowest first; the next field has the rest",
	[AT402_T_U12HI] = "high 12 bits of those 3 bytes",
	[AT402_T_U8N] = "as u8; 255: none, shown as null",
	[AT402_T_I8N] = "as i8; -128: none, shown as null",
	[AT402_T_U1] = "1 bit; see the text of the module",
	[AT402_T_U5] = "5 bits; see the text of the module",
	[AT402_T_U7] = "7 bits; see the text of the module",
	[AT402_T_U19] = "19 bits; see the text of the module",
	[AT402_T_TIME] = "u32, seconds since 1980-01-06T00:00:00Z, without leap seconds",
	[AT402_T_BOOL] = "1 byte; 1: true, anything else: false",
	[AT402_T_ASCII] = "so many bytes of Latin-1; ends at the first NUL, trailing blanks go",
	[AT402_T_HEX] = "so many bytes, shown in hexadecimal; without a number: all there are",
	[AT402_T_MAC] = "6 bytes, a MAC address",
	[AT402_T_NAME] = "a word that the decoder makes",
	[AT402_T_SLOT] = "a number that the place in the module tells, no byte of its own",
	[AT402_T_LIST] = "a list; the rows that follow are the parts of its items",
};

/* How the special modules are built; the rows of the table cannot say it. */
static const char *const structures[] = {
	[AT402_BEACONS] =
		"In X the module begins with u8 number of records, u16 bytes of all records together and\n"
		"4 reserved bytes. In Y it begins with a length of 2 bytes, then 4 reserved bytes and u8\n"
		"number of records. A record is mac, rssi_dbm, companion, last_seen_s, type, u8 length\n"
		"and as many bytes, whose meaning the type tells: 2 bytes of type 1 are height_cm, all\n"
		"else is kept as meta. Records that do not fill the module exactly (X) or do not fit\n"
		"into it (Y) make it raw, with an error beside.",
	[AT402_GENERIC_CAN] =
		"A u16 length that counts itself (in X too, where no other module has one), 4 reserved\n"
		"bytes, then records of 13 bytes: id, data, age_s. Firmware of X before 2024-11 has no\n"
		"reserved bytes and no age_s: records of 12 bytes. The length tells which it is; when\n"
		"both are possible it is the newer one, when neither is, the module is raw.",
	[AT402_SENSORS] =
		"Six slots of 3 bytes. In the first byte bits 0 to 3 are the type (0: nothing assigned,\n"
		"the slot is left out; 1 temperature, 2 humidity, 3 light) and bit 7 is valid. The other\n"
		"two bytes are the value of that type; of any other type they are shown as raw, beside\n"
		"type_raw.",
	[AT402_DEBUG] =
		"A u16 length that does not count itself (in Y too, where all others do), then type. Of\n"
		"type 1 follow u16 with the number 48 and the 48 bytes of the fields below, lowest byte\n"
		"first. Of other types, and of other lengths, the rest is raw.",
	[AT402_TPMS] =
		"u8 number of tyres, then 4 bytes for each: axle, wheel, pressure_bar, temperature_c.",
	[AT402_J1939_DTC] =
		"Trouble codes of 4 bytes, packed as SAE J1939-73 does, up to the end of the module or a\n"
		"record of zeros. Bytes 1 and 2 are the low 16 bits of spn, lowest byte first; the top 3\n"
		"bits of byte 3 are its high bits, the other 5 are fmi; the top bit of byte 4 is cm, the\n"
		"other 7 are oc. Older firmware has `rayvolt` under this bit: a module of just 18 bytes.",
	[AT402_HGV_TRAILER] =
		"The fields up to braking_efficiency_compensated_percent one after the other, u8 number\n"
		"of wheels, 4 bytes for each wheel (wheel and axle are the nibbles of the first), then 6\n"
		"bytes brake_pressures_kpa. flags has no bytes: it names the bits of flags_mask. Older\n"
		"firmware does not send deceleration_mss: 24 bytes and 4 for each wheel instead of 25;\n"
		"the exact length tells.",
};

static bool
is_fixed(const at402_module_def *def)
{
	return def->variants & (AT402_IN_K | AT402_IN_M | AT402_IN_V);
}

static const char *
bytes(unsigned count)
{
	return count == 1 ? "byte" : "bytes";
}

/* ---- cells ---- */

/* "X, Y" */
static void
print_variants(unsigned flags)
{
	const char *separator = "";

	for (int i = 0; i < VARIANT_FLAGS; i++)
		if (flags >> i & 1)
		{
			printf("%s%s", separator, variant_names[i]);
			separator = ", ";
		}
}

/* The link to a module's section, which Markdown calls as its heading: in lower
 * case, blanks as hyphens, without parentheses and commas. */
static void
print_link(const at402_module_def *def)
{
	printf("[`%s`](#%s", def->key, def->key);
	for (int i = 0; i < VARIANT_FLAGS; i++)
	{
		if (!(def->variants >> i & 1))
			continue;
		putchar('-');
		for (const char *c = variant_names[i]; *c != '\0'; c++)
			putchar(*c == ' ' ? '-' : tolower((unsigned char) *c));
	}
	printf(")");
}

static void
print_homes(const at402_module_def *def)
{
	const char *separator = "";

	for (int i = 0; i < HOMES; i++)
		if (def->home >> i & 1)
		{
			printf("%s%s", separator, home_names[i]);
			separator = ", ";
		}
}

static void
print_type(const at402_field_def *field)
{
	bool		sized = field->type == AT402_T_ASCII || field->type == AT402_T_HEX;

	printf("%s", at402_type_names[field->type]);
	if (sized && field->size > 0)
		printf(":%d", field->size);
}

static void
print_scale(const at402_field_def *field)
{
	if (field->num == 1 && field->den == 1 && field->off == 0)
		return;
	printf(field->num == -1 ? "-raw" : "raw");
	if (field->num != 1 && field->num != -1)
		printf(" * %d", field->num);
	if (field->den != 1)
		printf(" / %d", field->den);
	if (field->off != 0)
		printf(" %c %d", field->off < 0 ? '-' : '+', field->off < 0 ? -field->off : field->off);
}

/* The raw numbers that are measurements. */
static void
print_range(const at402_field_def *field)
{
	int64_t		least;
	int64_t		most;

	if (at402_measured_range(field, &least, &most))
		printf("%lld to %lld", (long long) least, (long long) most);
	else if (at402_ranges[field->range].source[0] != '\0')
		printf("%s", at402_ranges[field->range].words);
}

/* Tables and columns, in SQL; of jsonb the value itself. */
static void
print_places(const at402_module_def *def, const at402_field_def *field)
{
	const char *separator = "";

	for (int i = 0; i < HOMES; i++)
	{
		at402_place place;

		if (!at402_find_place(def, field, 1U << i, &place))
			continue;
		printf("%s%s: `%s", separator, home_names[i], place.column);
		if (place.list != NULL)
			printf("` at `$.%s[*]%s%s", place.list, place.key ? "." : "",
				   place.key ? place.key : "");
		else if (place.key != NULL)
			printf("->'%s'", place.key);
		printf("`");
		separator = "; ";
	}
	if (separator[0] == '\0')
		printf("a row for each item");
}

/* ---- sections ---- */

static void
print_forms(void)
{
	printf("## Forms of packet\n\n"
		   "The first byte tells what comes.\n\n"
		   "| first byte | what it is | smallest packet |\n|---|---|--:|\n"
		   "| `$` | line of text, up to CR, LF or CR LF, %d bytes at the most | |\n",
		   AT402_MAX_LINE);
	for (int i = 0; i < AT402_VARIANTS; i++)
	{
		const at402_variant_def *v = &at402_variants[i];

		if (v->name != v->letter)
			continue;
		printf("| `%c` | %s | %zu |\n", v->letter,
			   v->modules != NULL ? "reports of modules" : "reports of a fixed layout",
			   at402_least_length((uint8_t) v->letter));
	}
	printf("| `C` | reports of older devices (AT110); an AT402 sends none, so it is not read but kept "
		   "whole | %zu |\n\n", at402_least_length('C'));
	printf("A packet is\n\n"
		   "* X, Y: letter, u16 length, u8 number of reports, IMEI (only from devices that do not\n"
		   "  log in), reports, u16 checksum;\n"
		   "* K, M, V: letter, u16 length, IMEI, reports, u16 checksum.\n\n"
		   "The length counts the whole packet, %d bytes at the most. An IMEI is %d bytes: u32\n"
		   "with its first 8 digits, u24 with its last 7. The checksum is CRC-16/MODBUS of all\n"
		   "bytes before it; its high byte comes first. All integers are big-endian unless the\n"
		   "type ends in le. The one answer there is, is the byte 0x%02X.\n\n",
		   AT402_MAX_FRAME, AT402_IMEI_SIZE, AT402_ACK);
	printf("Z is not a letter on the wire: it is X as one customer's devices send it. Only the\n"
		   "login line tells (`$ASTRA;model;imei;vin;firmware;protocol;hardware`, protocol Z), so\n"
		   "`at402_decode(frame, 'Z')` has to be told.\n\n");
}

static void
print_part(at402_part part)
{
	if (part.width > 0)
		printf(" %d, u%d |", part.offset, 8 * part.width);
	else
		printf(" |");
}

static void
print_headers(void)
{
	printf("## Report header\n\n"
		   "Where its parts are: offset from the start of the report, and type. The modules\n"
		   "whose bit is set in the mask follow it, in ascending order of their bits; bit 0 is\n"
		   "the lowest bit of the last byte. K, M and V have no mask: their fields stand at\n"
		   "fixed offsets.\n\n"
		   "| variant | sequence | module mask | time | reason flags | status flags | bytes |\n"
		   "|---|---|---|---|---|---|--:|\n");
	for (int i = 0; i < AT402_VARIANTS; i++)
	{
		const at402_variant_def *v = &at402_variants[i];

		printf("| %c | 0, u8 |", v->name);
		print_part(v->mask);
		printf(" %d, time |", v->time);
		print_part(v->reasons);
		print_part(v->status);
		if (v->header > 0)
			printf(" %d |\n", v->header);
		else
			printf(" |\n");
	}
	printf("\n");
}

static void
print_flags(const char *title, const char *text, const char *const *names, int count)
{
	printf("## %s\n\n%s\n\n| bit | name |\n|--:|---|\n", title, text);
	for (int bit = 0; bit < count; bit++)
		printf("| %d | %s |\n", bit, names[bit]);
	printf("\n");
}

static void
print_all_flags(void)
{
	char		text[256];

	print_flags("Reason flags",
				"Why a report was made. Bits past the width of a variant's flags are never set in it. In\n"
				"K, M and V bit 23 means roll_over.",
				at402_reason_names, AT402_REASONS);
	snprintf(text, sizeof(text),
			 "What the device was in. In K, M and V only bits 0 to %d have these names. Set bits without\n"
			 "a name show in `status_mask` only.",
			 at402_variants[AT402_VARIANTS - 1].status_names - 1);
	print_flags("Status flags", text, at402_status_names, AT402_STATUSES);
}

/* In how many rows of the field tables below? */
static unsigned
count_fields(size_t range)
{
	unsigned	count = 0;

	for (size_t m = 0; m < at402_module_count; m++)
		for (int i = 0; i < at402_modules[m].field_count; i++)
			count += at402_modules[m].fields[i].name != NULL &&
				at402_modules[m].fields[i].range == range;
	return count;
}

static void
print_ranges(void)
{
	printf("## Measurements\n\n"
		   "The wire has no NULL: what was not measured is sent as ones or zeros.\n"
		   "`at402_decode` shows what was sent; the tables hold a measurement or NULL. These are the\n"
		   "rules, in raw numbers where no unit is named, with who says so and how many fields\n"
		   "follow them; the column *measured* of each field says what that means for it (empty:\n"
		   "all).\n\n"
		   "| what is a measurement | because | fields |\n|---|---|--:|\n");
	for (size_t i = 0; i < at402_range_count; i++)
		if (at402_ranges[i].source[0] != '\0')
			printf("| %s | %s | %u |\n", at402_ranges[i].words, at402_ranges[i].source,
				   count_fields(i));
	printf("\nA module of a bus (tables can and motion) makes no row when it says nothing: zeros only,\n"
		   "ones only, or no measurement and no flag that is set. So the zeros of a module that says\n"
		   "something are measurements. A driver that is none, and a SIM without a number, make no\n"
		   "row either; blanks (empty, zeros or ones) never overwrite what `device` knows. Without a\n"
		   "fix a position has no place: 0,0 and fix time 0, or out of range, whatever the flag says.\n\n");
}

static void
print_types(void)
{
	printf("## Types and values\n\n"
		   "A value is computed from the raw number as the column *value* says, as an exact\n"
		   "decimal; where that is empty it is the raw number, or what the type makes of the\n"
		   "bytes.\n\n"
		   "| type | meaning |\n|---|---|\n");
	for (size_t i = 0; i < AT402_TYPES; i++)
		if (meanings[i] != NULL)
			printf("| %s | %s |\n", at402_type_names[i], meanings[i]);
	printf("\n");
}

/* Do X and Y read the same fields?  Bytes without meaning do not count. */
static bool
same_fields(const at402_module_def *def)
{
	for (int i = 0; i < def->field_count; i++)
		if (def->fields[i].name != NULL && def->fields[i].variants != def->variants)
			return false;
	return true;
}

/* What is under this bit in the other of X and Y? */
static void
print_comparison(const at402_module_def *def, unsigned bit, const at402_variant_def *other)
{
	const at402_module_def *there = other->modules[bit];

	if (there == NULL)
		printf("nothing");
	else if (there != def)
		print_link(there);
	else
		printf(def->shape != AT402_FIELDS ? "same, but see its structure"
			   : same_fields(def) ? "same" : "other fields");
}

static void
print_modular(const at402_variant_def *v, const at402_variant_def *other)
{
	bool		prefixed = v->prefixed;

	printf("## Modules of %c\n\n%s\n\n"
		   "| bit | module | title | bytes | in %c under this bit | tables |\n"
		   "|--:|---|---|--:|---|---|\n",
		   v->name,
		   prefixed
		   ? "Each begins with a length that counts itself: u8, of `beacons` and `generic_can`\n"
		     "u16; `debug` is the exception. The bytes of the table are the fewest that hold all\n"
		     "fields, without that length. Bytes past them are ignored; a module with fewer is\n"
		     "kept as `raw`, and one under a bit that is not listed as `module_<bit>`; the walk\n"
		     "goes on in both cases."
		   : "They carry no length: a packet can be read only as a whole, and the walk over all\n"
		     "its reports has to end exactly at the checksum.",
		   other->name);
	for (unsigned bit = 0; bit < AT402_MASK_BITS; bit++)
	{
		const at402_module_def *def = v->modules[bit];

		if (def == NULL)
			continue;
		printf("| %u | ", bit);
		print_link(def);
		printf(" | %s | ", def->title);
		if (def->shape == AT402_FIELDS)
			printf("%d", prefixed ? def->least : def->size);
		else
			printf("see there");
		printf(" | ");
		print_comparison(def, bit, other);
		printf(" | ");
		print_homes(def);
		printf(" |\n");
	}
	printf("\n");
}

static void
print_listed(unsigned flag, const char *title, const char *text)
{
	printf("## %s\n\n%s\n\n| bit | module | title | bytes | tables |\n|--:|---|---|--:|---|\n",
		   title, text);
	for (size_t i = 0; i < at402_module_count; i++)
	{
		const at402_module_def *def = &at402_modules[i];

		if (!(def->variants & flag))
			continue;
		printf("| %d | ", def->bit);
		print_link(def);
		printf(" | %s | %d | ", def->title, def->size);
		print_homes(def);
		printf(" |\n");
	}
	printf("\n");
}

static void
print_blocks(void)
{
	printf("## Reports of K, M and V\n\n"
		   "A report is block 0 and, when a flag of its header asks for them, the others right\n"
		   "behind it; reports follow each other up to the checksum.\n\n"
		   "| variant | block | bytes | there is one when |\n|---|--:|--:|---|\n");
	for (size_t i = 0; i < at402_block_count; i++)
	{
		const at402_block_def *b = &at402_blocks[i];

		printf("| ");
		print_variants(b->variant);
		printf(" | %d | %d | ", b->number, b->size);
		if (b->status_bit < 0)
			printf("always");
		else
			printf("status bit %d is set", b->status_bit);
		if (b->reason_bit >= 0)
			printf(" and reason bit %d", b->reason_bit);
		printf(" |\n");
	}
	printf("\nWhat they hold is shown as modules with the names that X and Y have for them, so that\n"
		   "it is stored in the same columns. The offsets in their sections count from the start of\n"
		   "the report. No capture of M or V is at hand: their layouts come from published\n"
		   "servers. Reason bit 23 of K, M and V is roll_over: the newer of these servers says so,\n"
		   "the older one calls it a CAN event; in the tables it stands under bit 30, as that of X.\n\n"
		   "| module | title | block | in | tables |\n|---|---|--:|---|---|\n");
	for (size_t i = 0; i < at402_module_count; i++)
	{
		const at402_module_def *def = &at402_modules[i];

		if (!is_fixed(def))
			continue;
		printf("| ");
		print_link(def);
		printf(" | %s | %d | ", def->title, def->bit);
		print_variants(def->variants);
		printf(" | ");
		print_homes(def);
		printf(" |\n");
	}
	printf("\n");
}

/* Bytes before a field in this variant; K, M, V: in the report. */
static unsigned
field_offset(const at402_module_def *def, int field, unsigned flag)
{
	unsigned	offset = 0;

	for (int i = 0; i < field; i++)
	{
		const at402_field_def *f = &def->fields[i];

		if (!(f->variants & flag))
			continue;
		offset = f->type == AT402_T_SEEK ? f->size : offset + f->size;
	}
	return offset;
}

static void
print_fields(const at402_module_def *def)
{
	bool		plain = def->shape == AT402_FIELDS;

	printf("| field | type |");
	for (int v = 0; plain && v < VARIANT_FLAGS; v++)
		if (def->variants >> v & 1)
			printf(" at in %s |", variant_names[v]);
	printf(" value | unit | measured | stored in | note |\n|---|---|");
	for (int v = 0; plain && v < VARIANT_FLAGS; v++)
		if (def->variants >> v & 1)
			printf("--:|");
	printf("---|---|---|---|---|\n");
	for (int i = 0; i < def->field_count; i++)
	{
		const at402_field_def *field = &def->fields[i];

		if (field->type == AT402_T_SEEK)
			continue;
		if (field->type == AT402_T_SKIP)
			printf("| | %d %s |", field->size, bytes(field->size));
		else
		{
			printf("| %s | ", field->name);
			print_type(field);
			printf(" |");
		}
		for (int v = 0; plain && v < VARIANT_FLAGS; v++)
		{
			if (!(def->variants >> v & 1))
				continue;
			if (field->variants >> v & 1)
				printf(" %u |", field_offset(def, i, 1U << v));
			else
				printf(" |");
		}
		if (field->type == AT402_T_SKIP)
			printf(" | | | | without known meaning |\n");
		else
		{
			printf(" ");
			print_scale(field);
			printf(" | %s | ", field->unit);
			print_range(field);
			printf(" | ");
			print_places(def, field);
			printf(" | %s |\n", field->note);
		}
	}
	printf("\n");
}

static void
print_module(const at402_module_def *def)
{
	printf("### %s (", def->key);
	print_variants(def->variants);
	printf(")\n\n%s. ", def->title);
	if (is_fixed(def))
		printf("Block %d. ", def->bit);
	else
	{
		printf("Bit %d", def->bit);
		if (def->shape == AT402_FIELDS && def->variants & ~(unsigned) AT402_IN_Y)
			printf("; %d %s in %s", def->size, bytes(def->size),
				   def->variants & AT402_IN_Z ? "Z" : "X");
		if (def->shape == AT402_FIELDS && def->variants & AT402_IN_Y)
			printf("; at least %d %s in Y", def->least, bytes(def->least));
		printf(". ");
	}
	printf("Stored in ");
	print_homes(def);
	if (def->kind[0] != '\0')
		printf(", kind `%s`", def->kind);
	printf(".\n");
	if (def->note[0] != '\0')
		printf("Note: %s.\n", def->note);
	printf("\n");
	if (def->shape != AT402_FIELDS)
		printf("%s\n\n", structures[def->shape]);
	print_fields(def);
	if (def->shape == AT402_HGV_TRAILER)
	{
		printf("| bit of flags_mask | name |\n|--:|---|\n");
		for (int bit = 0; bit < AT402_TRAILER_FLAGS; bit++)
			printf("| %d | %s |\n", bit, at402_trailer_flag_names[bit]);
		printf("\n");
	}
}

int
main(void)
{
	const at402_variant_def *x = &at402_variants[0];
	const at402_variant_def *y = &at402_variants[1];

	printf("# The AT402 wire protocol, as at402 reads it\n\n"
		   "Made by `make docs` from `src/core/protocol.def`, the table that decodes: change\n"
		   "that file, not this one. In SQL `at402_fields()` is the same catalogue.\n\n");
	print_forms();
	print_headers();
	print_all_flags();
	print_types();
	print_ranges();
	print_modular(x, y);
	print_modular(y, x);
	print_listed(AT402_IN_OLD, "Modules of older firmware of X",
				 "Under these bits older firmware of X sends another module. A packet is read\n"
				 "with the newest layouts first, then with one older module, then with both; the\n"
				 "first reading that ends exactly at the checksum is taken, for the whole\n"
				 "packet, and the module's name tells which.");
	print_listed(AT402_IN_Z, "Modules of Z",
				 "Under these bits a device whose login said Z sends something else than X; only\n"
				 "the sizes are published. All its other modules are those of X.");
	print_listed(AT402_IN_OLD_Y, "Modules of older firmware of Y",
				 "Under these bits older firmware of Y sends another module. Only its length, which must\n"
				 "be just the one given, tells.");
	print_blocks();
	printf("## Fields\n\n"
		   "A section for each module; the heading says which variants send it. Most modules are\n"
		   "shared by X and Y, most parts of a fixed report by K, M and V. *At* is the offset of\n"
		   "a field in a variant: in X and Z from the start of the module, in Y from the end of\n"
		   "its length, in K, M and V from the start of the report. Where a variant has no\n"
		   "offset it does not send the field. *Measured* are the raw numbers that are stored, see\n"
		   "above. *Stored in* names tables and columns; where a path follows,\n"
		   "`jsonb_path_query(data, path)` gives the values. A module that has to stay `raw` is\n"
		   "stored in `module`, whatever its tables are.\n\n");
	for (size_t i = 0; i < at402_module_count; i++)
		print_module(&at402_modules[i]);
	return 0;
}
