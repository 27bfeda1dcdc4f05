/*
 * special.h - what the table's rows cannot say: sizes and contents of the
 * modules whose shape is not AT402_FIELDS
 */
#ifndef AT402_SPECIAL_H
#define AT402_SPECIAL_H

#include "cursor.h"
#include "table.h"

/* Sizes and numbers that reading and writing share. */
#define BEACON_HEADER_X 7		/* count, length of the records, 4 reserved */
#define RESERVED 4
#define BEACON_HEIGHT 1			/* type of a beacon that tells its height */
#define SENSOR_SLOTS 6
#define SENSOR_SLOT 3
#define DEBUG_TYPED 1			/* type of debug data with known contents */
#define DEBUG_TYPED_SIZE 48
#define WATCHDOG_LEVELS 15
#define TRAILER_BRAKES 6
#define AT402_SENSOR_TYPES 3

/* Types 1, 2, 3 of a sensor: name, and the part that holds its value. */
typedef struct at402_sensor_type
{
	const char *name;
	int			part;
} at402_sensor_type;

extern const at402_sensor_type at402_sensor_types[AT402_SENSOR_TYPES];

/*
 * Steps over the bytes that only tell a module's length and sets the length of
 * its content.  prefixed: modules carry a length (Y).  def NULL: unknown.
 */
extern at402_status at402_special_measure(const at402_module_def *def, bool prefixed, cursor *c,
										  uint64_t *length);

/* Is the content of a special module well formed? */
extern bool at402_special_fits(const at402_module *module);

/* Reads one field and moves on; false at the end of the bytes. */
extern bool at402_read_value(cursor *c, const at402_field_def *field, at402_value *value);

/* K, M, V: bytes of a block of a report with these flags; 0: it has none. */
extern size_t at402_block_size(const at402_variant_def *v, unsigned number, uint64_t reasons,
							   uint64_t status);

#endif							/* AT402_SPECIAL_H */
