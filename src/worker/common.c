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
#include "pg/settings.h"
#include "pg/store.h"
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
	BackgroundWorkerInitializeConnection(at402_database,
										 at402_role[0] != '\0' ? at402_role : NULL, 0);
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
	char		text[AT402_TEXT_SIZE];
	char		hint_text[AT402_TEXT_SIZE];
} Missing;

static void
find_missing(void *argument)
{
	Missing    *m = argument;

	m->what = at402_missing(&m->hint);
	if (m->what != NULL)
	{
		strlcpy(m->text, m->what, sizeof(m->text));
		strlcpy(m->hint_text, m->hint, sizeof(m->hint_text));
	}
}

bool
at402_worker_ready(char *missing, size_t size, bool say)
{
	Missing		m = {0};
	ErrorData  *error;

	if (!at402_attempt(AT402_TRANSACTION, find_missing, &m, &error))
	{
		strlcpy(m.text, error->message, sizeof(m.text));
		m.hint_text[0] = '\0';
		m.what = m.text;
		FreeErrorData(error);
	}
	if (m.what == NULL)
	{
		missing[0] = '\0';
		return true;
	}
	if (say && strcmp(missing, m.text) != 0)
		ereport(LOG,
				errmsg("at402 waits in database \"%s\": %s", at402_database, m.text),
				m.hint_text[0] ? errhint("Execute: %s", m.hint_text) : 0);
	strlcpy(missing, m.text, size);
	return false;
}
