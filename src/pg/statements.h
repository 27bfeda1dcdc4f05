/*
 * statements.h - the SQL that stores a batch
 */
#ifndef AT402_STATEMENTS_H
#define AT402_STATEMENTS_H

#include "executor/spi.h"

#include "pg/batch.h"

typedef enum At402Statement
{
	AT402_SQL_CHECK_AT_ONCE,
	AT402_SQL_FIND_DEVICES,
	AT402_SQL_FIND_STATES,
	AT402_SQL_REGISTER_DEVICES,
	AT402_SQL_UPDATE_DEVICE,
	AT402_SQL_LOCK_STATES,
	AT402_SQL_NEW_STATES,		/* empty ones */
	AT402_SQL_STATE,
	AT402_SQL_PLACED_STATE,		/* the same, and tells where devices were */
	AT402_SQL_NEW_POSITIONS,
	AT402_SQL_POSITIONS,
	AT402_SQL_FIND_POSITIONS,	/* with rules */
	AT402_SQL_IGNITION_BEFORE,	/* a report */
	AT402_SQL_IGNITIONS_BEFORE, /* several */
	AT402_SQL_EVENTS,
	AT402_SQL_IO,
	AT402_SQL_MOTION,
	AT402_SQL_CAN,
	AT402_SQL_CAN_FRAMES,
	AT402_SQL_BLE,
	AT402_SQL_MODULES,
	AT402_SQL_MISSING_EVENTS,	/* the same where some may be there */
	AT402_SQL_MISSING_IO,
	AT402_SQL_MISSING_MOTION,
	AT402_SQL_MISSING_CAN,
	AT402_SQL_MISSING_CAN_FRAMES,
	AT402_SQL_MISSING_BLE,
	AT402_SQL_MISSING_MODULES,
	AT402_SQL_FRAMES,
	AT402_SQL_QUARANTINE,
	AT402_SQL_LEFT_CONNECTED,
	AT402_SQL_CONNECTED,
	AT402_SQL_MOVED,
	AT402_SQL_DISCONNECTED,
	AT402_SQL_PRESENCE_EVENTS,
	AT402_SQL_COMMAND_WAITS,
	AT402_SQL_COMMAND_CLAIM,
	AT402_SQL_COMMAND_FINISH,
	AT402_SQL_COMMAND_OPEN,
	AT402_SQL_COMMAND_RESTART,
	AT402_SQL_AUTHORISE,
	AT402_SQL_DRIVER_IO,
	AT402_SQL_FENCES_UNTIL,
	AT402_SQL_FENCE_BOXES,
	AT402_SQL_FENCE_SHAPES,
	AT402_SQL_NEAR_FENCES,
	AT402_SQL_JUDGE_FENCES,
	AT402_SQL_OPEN_VISITS,
	AT402_SQL_NEW_VISITS,
	AT402_SQL_LEFT_VISITS,
	AT402_SQL_PENDING_VISITS,
	AT402_SQL_PENDING_GONE,
	AT402_SQL_FENCE_EVENTS,
	AT402_SQL_REJUDGE_FENCES,
	AT402_SQL_LATE_CROSSINGS,
	AT402_SQL_FENCE_IDS,
	AT402_SQL_RULE_RUNS,
	AT402_SQL_RULE_ALERTS,
	AT402_SQL_RULE_LAST,
	AT402_SQL_RULE_AMONG,
	AT402_SQL_LOCK_ALERTS,
	AT402_SQL_ALERT_PLACES,
	AT402_SQL_ALERTS_THERE,
	AT402_SQL_NEW_ALERTS,
	AT402_SQL_ALERT_ENDS,
	AT402_SQL_OUTBOX,
	AT402_SQL_RUNS_GONE,
	AT402_SQL_RUNS_ON,
	AT402_SQL_RUNS_STALE,
	AT402_SQL_RULE_FAILED,
	AT402_SQL_ENDED_TRIPS,
	AT402_SQL_TRIPS_SEEN,
	AT402_SQL_NEXT_STATES,
	AT402_STATEMENTS
} At402Statement;

/*
 * To be called before the statements of a batch: forgets their plans when
 * at402 or PostGIS was made anew in another schema, or a table has changed.
 */
extern void at402_statements_refresh(void);

/*
 * Is Citus there, as of the last at402_statements_refresh()?  It plans by the values of
 * arguments, so a plan is made for each run.
 */
extern bool at402_is_distributed(void);

/*
 * Runs a statement with its arguments; SPI must be connected.  Returns the
 * rows; they are in SPI_tuptable.  nulls: as SPI_execute_plan wants them, or
 * NULL for none.
 */
extern uint64 at402_run(At402Statement statement, Datum *args, const char *nulls);

/* The same for a statement whose one argument is the batch. */
extern uint64 at402_run_batch(At402Batch *batch, At402Statement statement);

/* SPI_prepare() of a statement that is to be kept, for any arguments. */
extern SPIPlanPtr at402_prepare(const char *sql, int arguments, Oid *types);

/*
 * Has the plan made, if it is not there yet, with scans and joins of whole tables
 * switched off.
 */
extern void at402_plan_by_keys(SPIPlanPtr plan);

#endif							/* AT402_STATEMENTS_H */
