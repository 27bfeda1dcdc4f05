/*
 * fence.h - geofences: who entered and left which, judged as reports are stored
 */
#ifndef AT402_FENCE_H
#define AT402_FENCE_H

#include "pg/batch.h"

/* Is a report of the slice to be judged?  Then it has to be told where the devices were
 * before their states change. */
extern bool at402_has_fences(const At402Batch *batch);

/* Takes the rows of AT402_SQL_LOCK_STATES: where the devices were. */
extern void at402_fences_before(At402Batch *batch);

/*
 * Judges the new reports of the slice, when all of their rows are stored.  What
 * a geofence is at fault for costs only what it would have brought.
 */
extern void at402_judge_fences(At402Batch *batch);

#endif							/* AT402_FENCE_H */
