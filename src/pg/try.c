/*
 * try.c - a part of storing, tried: done, rejected, or the environment's fault
 *
 * What is rejected may be halved and tried again by the caller; whose fault an
 * error is, environment.c knows.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/environment.h"
#include "pg/try.h"

At402Rejection *
at402_try(At402Batch *batch, At402Work work, void *argument, int *code)
{
	MemoryContext caller;
	At402Rejection *rejection;
	ErrorData  *error = NULL;

	if (at402_attempt(AT402_SUBTRANSACTION, work, argument, &error))
		return NULL;
	if (at402_is_timeout(error) || at402_is_environment(error, batch->attempts))
		at402_raise_environment(error);
	if (code != NULL)
		*code = error->sqlerrcode;
	caller = MemoryContextSwitchTo(batch->context);
	if (batch->undecided == NULL && !at402_is_of_the_row(error))
		batch->undecided = error;
	rejection = palloc(sizeof(At402Rejection));
	rejection->sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	rejection->message = pstrdup(error->message);
	MemoryContextSwitchTo(caller);
	return rejection;
}

void
at402_decide(At402Batch *batch)
{
	if (batch->undecided != NULL && batch->passed == 0)
		at402_raise_environment(batch->undecided);
	batch->undecided = NULL;
	batch->passed = 0;
}
