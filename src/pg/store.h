/*
 * store.h - a batch into the tables
 */
#ifndef AT402_STORE_H
#define AT402_STORE_H

#include "pg/attempt.h"
#include "pg/batch.h"

/*
 * Stores the batch within the transaction that is open, with all that follows
 * from it (events, state of the devices).  A report that cannot be stored is
 * quarantined, the others of the batch are stored.  Raises only what is no
 * report's fault (disk full, lock timeout, missing tables ...), or cannot be
 * told from that: then the caller has to roll back, and nothing of the batch is
 * stored.
 */
extern void at402_store_batch(At402Batch *batch);

#endif							/* AT402_STORE_H */
