/*
 * common.c - what the listener and the maintenance worker have in common
 */
#include "postgres.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/timeout.h"

#include "pg/attempt.h"
#include "pg/environment.h"
#include "pg/settings.h"
#include "worker/worker.h"

/*
 * Our own timeouts cancel a statement by SIGINT to ourselves.  A cancel from
 * outside is ignored: during the wait for a synchronous standby it would let
 * COMMIT return with a mere warning, and the tracker be answered too early.
 */
static void
handle_sigint(SIGNAL_ARGS)
{
	if (get_timeout_indicator(STATEMENT_TIMEOUT, false) ||
		get_timeout_indicator(LOCK_TIMEOUT, false))
		StatementCancelHandler(postgres_signal_arg);
}

void
at402_worker_start(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, handle_sigint);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(at402_database, at402_role, 0);
}

bool
at402_worker_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	return true;
}

typedef struct Missing
{
	const char *what;
	const char *hint;
} Missing;

static void
find_missing(void *argument)
{
	Missing    *m = argument;

	m->what = at402_missing(&m->hint);
}

bool
at402_worker_ready(char *missing, size_t size, bool say)
{
	Missing		m = {0};
	char		raised[AT402_TEXT_SIZE];
	ErrorData  *error;

	if (!at402_attempt(AT402_TRANSACTION, find_missing, &m, &error))
	{
		strlcpy(raised, error->message, sizeof(raised));
		m = (Missing) {.what = raised};
		FreeErrorData(error);
	}
	if (m.what == NULL)
	{
		missing[0] = '\0';
		return true;
	}
	if (say && strcmp(missing, m.what) != 0)
		ereport(LOG,
				errmsg("at402 waits in database \"%s\": %s", at402_database, m.what),
				m.hint != NULL ? errhint("Execute: %s", m.hint) : 0);
	strlcpy(missing, m.what, size);
	return false;
}
