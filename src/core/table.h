/*
 * table.h - names for rows of protocol.def
 *
 * special.c speaks of PART_beacons_mac and the like, field.c of R_HEADING; what
 * they are stands in protocol.def only.
 */
#ifndef AT402_TABLE_H
#define AT402_TABLE_H

#include "at402.h"

/* Ranges. */
#define RANGE(name, ...) R_##name,
enum at402_range
{
#include "table_rows.h"
	R_COUNT
};

/* Places of the parts of a special module in its field rows. */
#define MODULE(v, bit, key, ...) enum { PART_##v##_##key = -1,
#define S(v, key, name, ...) PART_##key##_##name,
#define I(v, key, list, name, ...) PART_##key##_##name,
#define END(...) };
#include "table_rows.h"

#endif							/* AT402_TABLE_H */
