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

/*
 * A listener begins: the trackers that were connected to the one before it are
 * not any more.
 */
extern void at402_store_restart(int listener);

/* ---- for the parts of storing ---- */

#define AT402_REPEAT_TRIES 3	/* against somebody who stores the same at the same time */

/*
 * Does a part of the work in a subtransaction.  NULL: it is done.  Else it is
 * undone and may be done for half of what it was for; what fails alone is
 * rejected for this reason.  Raises timeouts and errors of the environment.
 * *code, unless it is NULL: the SQLSTATE.
 */
extern At402Rejection *at402_try(At402Batch *batch, At402Work work, void *argument, int *code);

/*
 * All was tried: an error that may be the environment's is, and is raised, when
 * nothing has passed.  Begins to count anew what passes.
 */
extern void at402_decide(At402Batch *batch);

#endif							/* AT402_STORE_H */
