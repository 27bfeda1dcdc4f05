/*
 * table.c - protocol.def as constant arrays
 *
 * Several passes over the same rows: numbers of the modules, sizes, fields,
 * modules, the order of modules by mask bit.  All of it is constant data; no
 * code runs to build it, and the compiler checks what it can.  At the end: what
 * is looked up in them.
 */
#include "table.h"

/* The labels of rows: which variants read them. */
enum
{
	IN_X = AT402_IN_X,
	IN_Y = AT402_IN_Y,
	IN_XY = AT402_IN_X | AT402_IN_Y,
	IN_Z = AT402_IN_Z,
	IN_K = AT402_IN_K,
	IN_M = AT402_IN_M,
	IN_V = AT402_IN_V,
	IN_MV = AT402_IN_M | AT402_IN_V,
	IN_KMV = AT402_IN_K | AT402_IN_M | AT402_IN_V,
	IN_OLD = AT402_IN_OLD,
	IN_X_OLD_Y = AT402_IN_X | AT402_IN_OLD_Y
};

/* Type and width in bytes.  The first of two fields that share bytes does not
 * move on: width 0. */
#define SKIP_TYPE AT402_T_SKIP
#define SEEK_TYPE AT402_T_SEEK
#define U8 AT402_T_U8, 1
#define U16 AT402_T_U16, 2
#define U24 AT402_T_U24, 3
#define U32 AT402_T_U32, 4
#define U56 AT402_T_U56, 7
#define I8 AT402_T_I8, 1
#define I16 AT402_T_I16, 2
#define I32 AT402_T_I32, 4
#define U16LE AT402_T_U16LE, 2
#define U24LE AT402_T_U24LE, 3
#define U32LE AT402_T_U32LE, 4
#define U4LO AT402_T_U4LO, 0
#define U4HI AT402_T_U4HI, 1
#define U12LO AT402_T_U12LO, 0
#define U12HI AT402_T_U12HI, 3
#define U8N AT402_T_U8N, 1
#define I8N AT402_T_I8N, 1
#define U1 AT402_T_U1, 0
#define U5 AT402_T_U5, 0
#define U7 AT402_T_U7, 0
#define U19 AT402_T_U19, 0
#define TIME AT402_T_TIME, 4
#define BOOL AT402_T_BOOL, 1
#define ASCII(n) AT402_T_ASCII, n
#define HEX(n) AT402_T_HEX, n
#define MAC AT402_T_MAC, 6
#define NAME AT402_T_NAME, 0
#define LIST(n) AT402_T_LIST, n
#define SLOT AT402_T_SLOT, 0

#define WIDTH(...) SECOND(__VA_ARGS__)
#define SECOND(type, width) (width)

/* ---- numbers of the modules: their places in at402_modules ---- */

#define MODULE(v, bit, key, ...) NO_##v##_##key,
enum
{
#include "table_rows.h"
	MODULE_COUNT
};

/* ---- sizes: bytes of a module's fields in X (Z, older X and Y) and at least in Y ---- */

#define IN_X_LIKE (AT402_IN_X | AT402_IN_Z | AT402_IN_OLD | AT402_IN_OLD_Y)
#define MODULE(v, bit, key, ...) enum { SIZE_##v##_##key = 0
#define F(v, name, type, ...) +(IN_##v & IN_X_LIKE ? WIDTH(type) : 0)
#define SKIP(v, n) +(IN_##v & IN_X_LIKE ? n : 0)
#define END(...) };
#include "table_rows.h"

#define MODULE(v, bit, key, ...) enum { LEAST_##v##_##key = 0
#define F(v, name, type, ...) +(IN_##v & AT402_IN_Y ? WIDTH(type) : 0)
#define END(...) };
#include "table_rows.h"

/* ---- fields ---- */

#define MODULE(v, bit, key, ...) static const at402_field_def fields_##v##_##key[] = {
#define FIELD(v, list, derived, name, type, size, num, den, off, unit, column, range, note)        \
	{#name, list, IN_##v, type, size, R_##range, derived, num, den, off, unit, column, note},
#define F(v, ...) FIELD(v, NULL, false, __VA_ARGS__)
#define D(v, ...) FIELD(v, NULL, true, __VA_ARGS__)
#define S(v, key, ...) FIELD(v, NULL, false, __VA_ARGS__)
#define I(v, key, list, ...) FIELD(v, #list, false, __VA_ARGS__)
#define SKIP(v, n) {NULL, NULL, IN_##v, SKIP_TYPE, n, R_ANY, false, 1, 1, 0, "", "", ""},
#define SEEK(v, n) {NULL, NULL, IN_##v, SEEK_TYPE, n, R_ANY, false, 1, 1, 0, "", "", ""},
#define END(...) };
#include "table_rows.h"

const at402_field_def at402_raw_field = {
	"raw", NULL, 0xFF, HEX(0), R_ANY, false, 1, 1, 0, "", "data",
	"bytes that could not be read as fields"};
const at402_field_def at402_error_field = {
	"error", NULL, 0xFF, NAME, R_ANY, false, 1, 1, 0, "", "data", "why the bytes are raw"};

const at402_range_def at402_ranges[] = {
#define RANGE(name, least, most, words, source) {words, source},
#include "table_rows.h"
};
const size_t at402_range_count = R_COUNT;

/* ---- modules ---- */

enum
{
	FIELDS = AT402_FIELDS,
	BEACONS = AT402_BEACONS,
	GENERIC_CAN = AT402_GENERIC_CAN,
	SENSORS = AT402_SENSORS,
	DEBUG = AT402_DEBUG,
	TPMS = AT402_TPMS,
	J1939_DTC = AT402_J1939_DTC,
	HGV_TRAILER = AT402_HGV_TRAILER
};

enum
{
	POSITION = AT402_HOME_POSITION,
	EVENT = AT402_HOME_EVENT,
	IO = AT402_HOME_IO,
	MOTION = AT402_HOME_MOTION,
	CAN = AT402_HOME_CAN,
	CAN_FRAME = AT402_HOME_CAN_FRAME,
	BLE = AT402_HOME_BLE,
	MODULE_TABLE = AT402_HOME_MODULE,
	DEVICE = AT402_HOME_DEVICE
};

#define MODULE(v, bit, key, title, home, kind, shape, note)                                        \
	{#key, title, kind, note, fields_##v##_##key,                                                  \
	 sizeof(fields_##v##_##key) / sizeof(at402_field_def), bit, shape, IN_##v, home,               \
	 SIZE_##v##_##key, LEAST_##v##_##key},
const at402_module_def at402_modules[] = {
#include "table_rows.h"
};

const size_t at402_module_count = MODULE_COUNT;

const at402_module_def *const at402_older_modules[AT402_OLDER_LAYOUTS] = {
	&at402_modules[NO_OLD_trailer_id], &at402_modules[NO_OLD_cm2010]};

const char *const at402_type_names[AT402_TYPES] = {
	[AT402_T_U8] = "u8",
	[AT402_T_U16] = "u16",
	[AT402_T_U24] = "u24",
	[AT402_T_U32] = "u32",
	[AT402_T_U56] = "u56",
	[AT402_T_I8] = "i8",
	[AT402_T_I16] = "i16",
	[AT402_T_I32] = "i32",
	[AT402_T_U16LE] = "u16le",
	[AT402_T_U24LE] = "u24le",
	[AT402_T_U32LE] = "u32le",
	[AT402_T_U4LO] = "u4lo",
	[AT402_T_U4HI] = "u4hi",
	[AT402_T_U12LO] = "u12lo",
	[AT402_T_U12HI] = "u12hi",
	[AT402_T_U8N] = "u8 or none",
	[AT402_T_I8N] = "i8 or none",
	[AT402_T_U1] = "u1",
	[AT402_T_U5] = "u5",
	[AT402_T_U7] = "u7",
	[AT402_T_U19] = "u19",
	[AT402_T_TIME] = "time",
	[AT402_T_BOOL] = "bool",
	[AT402_T_ASCII] = "ascii",
	[AT402_T_HEX] = "hex",
	[AT402_T_MAC] = "mac",
	[AT402_T_NAME] = "name",
	[AT402_T_SLOT] = "slot",
	[AT402_T_LIST] = "list",
};

/* ---- modules by mask bit ---- */

/* A row of another variant goes to a place of its own behind the mask's bits,
 * where nobody looks: no initializer stands twice. */
#define BY_BIT(variant, v, bit, key)                                                               \
	[IN_##v & (variant) ? (bit) : AT402_MASK_BITS + NO_##v##_##key] =                              \
		&at402_modules[NO_##v##_##key],

static const at402_module_def *const x_modules[AT402_MASK_BITS + MODULE_COUNT] = {
#define MODULE(v, bit, key, ...) BY_BIT(AT402_IN_X, v, bit, key)
#include "table_rows.h"
};
static const at402_module_def *const y_modules[AT402_MASK_BITS + MODULE_COUNT] = {
#define MODULE(v, bit, key, ...) BY_BIT(AT402_IN_Y, v, bit, key)
#include "table_rows.h"
};
static const at402_module_def *const older_y_modules[AT402_MASK_BITS + MODULE_COUNT] = {
#define MODULE(v, bit, key, ...) BY_BIT(AT402_IN_OLD_Y, v, bit, key)
#include "table_rows.h"
};
static const at402_module_def *const z_modules[AT402_MASK_BITS + MODULE_COUNT] = {
#define MODULE(v, bit, key, ...) BY_BIT(AT402_IN_Z, v, bit, key)
#include "table_rows.h"
};

/* ---- blocks, flags, variants ---- */

#define BLOCK(v, number, size, status_bit, reason_bit)                                             \
	{AT402_IN_##v, number, size, status_bit, reason_bit},
const at402_block_def at402_blocks[] = {
#include "table_rows.h"
};
const size_t at402_block_count = sizeof(at402_blocks) / sizeof(at402_blocks[0]);

#define REASON(bit, name) [bit] = #name,
const char *const at402_reason_names[AT402_REASONS] = {
#include "table_rows.h"
};

#define STATUS(bit, name) [bit] = #name,
const char *const at402_status_names[AT402_STATUSES] = {
#include "table_rows.h"
};

#define TRAILER_FLAG(bit, name) [bit] = #name,
const char *const at402_trailer_flag_names[AT402_TRAILER_FLAGS] = {
#include "table_rows.h"
};

enum
{
	OPTIONAL = false,
	ALWAYS = true
};

/* Rows that packets of a variant may consist of, and its modules by bit. */
#define ROWS_X (AT402_IN_X | AT402_IN_OLD)
#define ROWS_Y (AT402_IN_Y | AT402_IN_OLD_Y)
#define ROWS_Z (AT402_IN_X | AT402_IN_OLD | AT402_IN_Z)
#define ROWS_K AT402_IN_K
#define ROWS_M AT402_IN_M
#define ROWS_V AT402_IN_V
/* modules; what they do not have; what a module of just its size is instead;
 * do they carry a length; older layouts */
#define MODULES_X x_modules, NULL, NULL, false, AT402_OLDER_LAYOUTS
#define MODULES_Y y_modules, NULL, older_y_modules, true, 0
#define MODULES_Z z_modules, x_modules, NULL, false, AT402_OLDER_LAYOUTS
#define MODULES_K NULL, NULL, NULL, false, 0
#define MODULES_M NULL, NULL, NULL, false, 0
#define MODULES_V NULL, NULL, NULL, false, 0

#define VARIANT(id, letter, imei, header, mask_offset, mask_width, time, reasons_offset,           \
				reasons_width, status_offset, status_width, status_names, roll_over)               \
	{#id[0], letter, imei, header, {mask_offset, mask_width}, time,                                \
	 {reasons_offset, reasons_width}, {status_offset, status_width}, status_names, roll_over,      \
	 ROWS_##id, MODULES_##id},
const at402_variant_def at402_variants[AT402_VARIANTS] = {
#include "table_rows.h"
};

/* ---- what the compiler checks ---- */

/* All rows are there: each counts itself. */
_Static_assert(MODULE_COUNT <= AT402_MAX_MODULES, "more modules than AT402_MAX_MODULES");
#define VARIANT(...) +1
_Static_assert(0
#include "table_rows.h"
			   == AT402_VARIANTS, "AT402_VARIANTS is not the number of variants");
#define REASON(...) +1
_Static_assert(0
#include "table_rows.h"
			   == AT402_REASONS, "AT402_REASONS is not the number of reasons");
#define STATUS(...) +1
_Static_assert(0
#include "table_rows.h"
			   == AT402_STATUSES, "AT402_STATUSES is not the number of status flags");
#define TRAILER_FLAG(...) +1
_Static_assert(0
#include "table_rows.h"
			   == AT402_TRAILER_FLAGS, "AT402_TRAILER_FLAGS is not the number of flags");

/* Bits stay within their masks, and have the names that the code asks for. */
#define VARIANT(id, letter, imei, header, mask_offset, mask_width, time, reasons_offset,           \
				reasons_width, status_offset, status_width, status_names, roll_over)               \
	_Static_assert((mask_width) * 8 <= AT402_MASK_BITS && (reasons_width) <= 8 &&                  \
				   (status_width) <= 4 && (roll_over) < (reasons_width) * 8 &&                     \
				   (status_names) <= AT402_STATUSES && (status_names) <= (status_width) * 8,       \
				   "variant " #id);
#include "table_rows.h"
#define MODULE(v, bit, key, ...)                                                                   \
	_Static_assert((bit) < (IN_##v & (AT402_IN_X | AT402_IN_Z | AT402_IN_OLD) ? 48 : AT402_MASK_BITS), \
				   "bit of module " #key);                                                         \
	_Static_assert(sizeof(fields_##v##_##key) / sizeof(at402_field_def) <= AT402_MAX_FIELDS,       \
				   "fields of module " #key);
#include "table_rows.h"
enum
{
#define REASON(bit, name) REASON_##name = bit,
#define STATUS(bit, name) STATUS_##name = bit,
#include "table_rows.h"
};
_Static_assert((int) REASON_time_interval == AT402_REASON_TIME_INTERVAL &&
			   (int) REASON_distance == AT402_REASON_DISTANCE &&
			   (int) REASON_geofence == AT402_REASON_GEOFENCE &&
			   (int) REASON_heading_change == AT402_REASON_HEADING_CHANGE &&
			   (int) REASON_roll_over == AT402_REASON_ROLL_OVER &&
			   (int) STATUS_ignition == AT402_STATUS_IGNITION &&
			   (int) STATUS_gnss_invalid == AT402_STATUS_GNSS_INVALID &&
			   (int) STATUS_more_queued == AT402_STATUS_MORE_QUEUED &&
			   (int) STATUS_stored == AT402_STATUS_STORED, "a flag is called otherwise");

/* ---- look-ups ---- */

const at402_variant_def *
at402_find_variant(char letter, char protocol)
{
	for (int i = 0; i < AT402_VARIANTS; i++)
	{
		const at402_variant_def *v = &at402_variants[i];

		/* Z is asked for by name; without that a letter means the variant
		 * that is called like it */
		if (v->letter == letter && v->name == (protocol == 'Z' && letter == 'X' ? 'Z' : letter))
			return v;
	}
	return NULL;
}

int
at402_reason_bit(const at402_variant_def *v, int named)
{
	int			bit = named == AT402_REASON_ROLL_OVER ? v->roll_over : named;

	if (named == v->roll_over && named != AT402_REASON_ROLL_OVER)
		return -1;
	return bit < v->reasons.width * 8 ? bit : -1;
}

uint64_t
at402_named_reasons(const at402_variant_def *v, uint64_t sent)
{
	uint64_t	roll_over = sent >> v->roll_over & 1;

	return (sent & ~(UINT64_C(1) << v->roll_over)) | roll_over << AT402_REASON_ROLL_OVER;
}
