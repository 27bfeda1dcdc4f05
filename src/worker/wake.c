/*
 * wake.c - whoever queues a command wakes the listeners
 *
 * A trigger of at402.command asks for it, so it does not matter how the row got
 * there; it is done when the transaction has committed, for only then can a
 * listener see the row.  Nothing depends on it but time: a listener also looks
 * by itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "pg/settings.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(at402_command_wake);

static bool wanted;				/* by the transaction that is open */

static void
wake_listeners(void)
{
	for (int n = 1; at402_stat_exists() && n <= at402_workers; n++)
	{
		At402ListenerStat *stat = at402_stat_of(n);
		int			pid = stat->pid;
		PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

		if (proc == NULL)
			continue;
		atomic_fetch_add(&stat->command_calls, 1);
		SetLatch(&proc->procLatch);
	}
}

static void
end_transaction(XactEvent event, void *unused)
{
	if (event == XACT_EVENT_COMMIT && wanted)
		wake_listeners();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wanted = false;
}

/* Trigger on at402.command, FOR EACH ROW.  39P01 when it is called otherwise. */
Datum
at402_command_wake(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("at402_command_wake() is a trigger function"));
	if (!registered)
		RegisterXactCallback(end_transaction, NULL);
	registered = true;
	wanted = true;
	return PointerGetDatum(NULL);	/* it fires after the row is written */
}
