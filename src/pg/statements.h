/*
 * statements.h - the SQL that stores a batch
 */
#ifndef AT402_STATEMENTS_H
#define AT402_STATEMENTS_H

#include "pg/batch.h"

typedef enum At402Statement
{
	AT402_SQL_CHECK_AT_ONCE,
	AT402_SQL_FIND_DEVICES,
	AT402_SQL_REGISTER_DEVICES,
	AT402_SQL_UPDATE_DEVICES,
	AT402_SQL_NEW_POSITIONS,
	AT402_SQL_POSITIONS,
	AT402_SQL_EVENTS,
	AT402_SQL_LATE_EVENTS,
	AT402_SQL_IO,
	AT402_SQL_MOTION,
	AT402_SQL_CAN,
	AT402_SQL_CAN_FRAMES,
	AT402_SQL_BLE,
	AT402_SQL_MODULES,
	AT402_SQL_SIM_CARDS,
	AT402_SQL_STATE,
	AT402_SQL_PRESENCE,
	AT402_SQL_RESTART,
	AT402_SQL_FRAMES,
	AT402_SQL_QUARANTINE_SIZE,
	AT402_SQL_QUARANTINE,
	AT402_STATEMENTS
} At402Statement;

/*
 * To be called before the statements of a batch: forgets their plans when
 * at402 or PostGIS was made anew in another schema.
 */
extern void at402_statements_refresh(void);

/*
 * Runs a statement for the batch, with a second argument where it has one; SPI
 * must be connected.  Returns the rows; they are in SPI_tuptable.
 */
extern uint64 at402_run(At402Batch *batch, At402Statement statement, int64 second);

/* Schema of an extension's objects; ERROR 42704 when it does not exist. */
extern Oid	at402_extension_schema(const char *name);

#endif							/* AT402_STATEMENTS_H */
