/*
 * quarantine.h - what could not be stored
 */
#ifndef AT402_QUARANTINE_H
#define AT402_QUARANTINE_H

#include "pg/batch.h"

/*
 * Puts what could not be stored in at402.quarantine, one row a frame, and
 * counts it.  Where that fails for a listener, the frames are not answered; a
 * caller in SQL gets the error (53400 when at402.quarantine_limit is reached).
 */
extern void at402_store_quarantine(At402Batch *batch);

#endif							/* AT402_QUARANTINE_H */
