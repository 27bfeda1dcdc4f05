/*
 * try.h - a part of storing, tried
 */
#ifndef AT402_TRY_H
#define AT402_TRY_H

#include "pg/attempt.h"
#include "pg/batch.h"

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

#endif							/* AT402_TRY_H */
