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
#include "utils/wait_event.h"

#include "pg/attempt.h"
#include "pg/environment.h"
#include "pg/settings.h"
#include "worker/worker.h"

#define SHORT_MIN_MS 100
#define SHORT_DEFAULT_MS 2000	/* where at402.report_timeout is 0 */

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

static emit_log_hook_type prev_emit_log_hook;

/*
 * Being told to end is no failure.  PostgreSQL raises it as FATAL, wherever the
 * worker is, so that waits for locks and standbys end too; but an ordinary
 * shutdown must not look like an accident in the log.
 */
static void
end_quietly(ErrorData *error)
{
	if (error->elevel == FATAL && error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		error->output_to_server = false;
	if (prev_emit_log_hook)
		prev_emit_log_hook(error);
}

void
at402_worker_start(void)
{
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = end_quietly;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, handle_sigint);
	BackgroundWorkerUnblockSignals();
	while (at402_paused)
	{
		WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, 0, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		at402_worker_interrupts();
	}
	BackgroundWorkerInitializeConnection(at402_database, at402_role, 0);
	/* who waits for another's row locks has to see then what that one stored */
	SetConfigOption("default_transaction_isolation", "read committed", PGC_USERSET,
					PGC_S_OVERRIDE);
}

bool
at402_worker_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	/* a process cannot change its database: the next one begins without */
	if (at402_paused && OidIsValid(MyDatabaseId))
	{
		ereport(LOG, errmsg("at402 leaves database \"%s\": at402.paused is on", at402_database));
		proc_exit(1);
	}
	return true;
}

int
at402_short_ms(void)
{
	return at402_report_timeout > 0
		? Min(Max(at402_report_timeout / 10, SHORT_MIN_MS), at402_report_timeout) : SHORT_DEFAULT_MS;
}

typedef struct Limited
{
	At402Work	work;
	void	   *argument;
	int			limit_ms;
} Limited;

static void
run_limited(void *argument)
{
	Limited    *limited = argument;

	if (limited->limit_ms > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, limited->limit_ms);
	limited->work(limited->argument);
	/*
	 * COMMIT may wait for a standby, and must not be cut short.  From here on no
	 * cancel can come; one that just came is taken now.
	 */
	disable_timeout(STATEMENT_TIMEOUT, false);
	CHECK_FOR_INTERRUPTS();
}

bool
at402_transaction(At402Work work, void *argument, int limit_ms, ErrorData **error)
{
	Limited		limited = {work, argument, limit_ms};

	if (at402_attempt(AT402_TRANSACTION, run_limited, &limited, error))
		return true;
	disable_timeout(STATEMENT_TIMEOUT, false);
	QueryCancelPending = false; /* one that came too late to be caught */
	return false;
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
	char		now[AT402_TEXT_SIZE];
	ErrorData  *error;

	if (!at402_attempt(AT402_TRANSACTION, find_missing, &m, &error))
	{
		m = (Missing) {.what = error->message,
			.hint = error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE ? AT402_HAND_OVER : NULL};
	}
	else if (m.what == NULL)
	{
		missing[0] = '\0';
		return true;
	}
	snprintf(now, sizeof(now), m.hint != NULL ? "%s; execute: %s" : "%s", m.what, m.hint);
	if (say && strcmp(missing, now) != 0)
		ereport(LOG,
				errmsg("at402 waits in database \"%s\": %s", at402_database, m.what),
				m.hint != NULL ? errhint("Execute: %s", m.hint) : 0);
	strlcpy(missing, now, size);
	if (error != NULL)
		FreeErrorData(error);
	return false;
}
