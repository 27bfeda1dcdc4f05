/*
 * attempt.h - work that may fail without taking the caller with it
 */
#ifndef AT402_ATTEMPT_H
#define AT402_ATTEMPT_H

#include "utils/elog.h"
#include "utils/palloc.h"

typedef enum At402Level
{
	AT402_TRANSACTION,			/* only where none is open: a background worker */
	AT402_SUBTRANSACTION,
	AT402_READING				/* a subtransaction that may not write, and is always undone */
} At402Level;

typedef void (*At402Work) (void *argument);

/*
 * Runs work in a (sub)transaction of its own and ends it.  True when that
 * was done.  False when it raised: all it did is undone, and *error holds what
 * it raised, copied to the caller's memory context.
 */
extern bool at402_attempt(At402Level level, At402Work work, void *argument, ErrorData **error);

#endif							/* AT402_ATTEMPT_H */
