/*
 * attempt.c - the one file that enters transactions, and the one PG_TRY
 *
 * Storing goes through failures as a matter of course: a repeat is a unique
 * violation, a user's trigger raises for one report of a batch, the disk is
 * full.  All of that is caught here, in one function, so that the order of
 * the steps that follow an error (memory context, copy, abort, flush) is
 * right in one place.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "pg/attempt.h"

bool
at402_attempt(At402Level level, At402Work work, void *argument, ErrorData **error)
{
	MemoryContext caller_context = CurrentMemoryContext;
	ResourceOwner caller_owner = CurrentResourceOwner;
	volatile bool done = false;

	*error = NULL;
	if (level != AT402_TRANSACTION)
	{
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(caller_context);
		XactReadOnly |= level == AT402_READING;
	}

	PG_TRY();
	{
		/* what is raised tells of the work, not of who wanted it done */
		error_context_stack = NULL;
		if (level == AT402_TRANSACTION)
		{
			SetCurrentStatementStartTimestamp();
			StartTransactionCommand();
			PushActiveSnapshot(GetTransactionSnapshot());
		}
		work(argument);
		if (level == AT402_TRANSACTION)
		{
			PopActiveSnapshot();
			CommitTransactionCommand();
		}
		else if (level == AT402_SUBTRANSACTION)
			ReleaseCurrentSubTransaction();
		else
			/* with locks, notices and settings of whoever's code was run */
			RollbackAndReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(caller_context);
		*error = CopyErrorData();
		if (level == AT402_TRANSACTION)
			AbortCurrentTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();

	MemoryContextSwitchTo(caller_context);
	CurrentResourceOwner = caller_owner;
	return done;
}
