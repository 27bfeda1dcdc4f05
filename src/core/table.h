/*
 * table.h - places of the parts of a special module in its field rows
 *
 * special.c speaks of PART_beacons_mac and the like; what that part is called,
 * its unit and scale stand in protocol.def only.
 */
#ifndef AT402_TABLE_H
#define AT402_TABLE_H

#include "at402.h"

#define MODULE(v, bit, key, ...) enum { PART_##v##_##key = -1,
#define S(v, key, name, ...) PART_##key##_##name,
#define END(...) };
#include "table_rows.h"

#endif							/* AT402_TABLE_H */
