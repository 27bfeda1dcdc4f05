/*
 * maintain.c - the background worker that makes partitions and retires them
 *
 * A worker of its own, so that waiting for a lock never holds up a tracker.
 * One step of one table in each transaction: what was done stays done, and
 * locks are held for a moment only.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg/attempt.h"
#include "pg/settings.h"
#include "pg/statements.h"
#include "worker/worker.h"

#define LOOK_AGAIN_MS 1000		/* for extension and tables */
#define BUSY_MS 5000			/* after a table was in use */

static const char *const tables[] = {"position", "event", "io", "motion", "can", "can_frame",
	"ble", "module", "frame", "quarantine"};

typedef struct Step
{
	const char *table;
	bool		done;			/* something was due and has been done */
} Step;

static void
run_step(void *argument)
{
	Step	   *step = argument;
	Oid			schema = at402_extension_schema("at402");
	char	   *sql = psprintf("SELECT action, partition_name, row_count "
							   "FROM %s.at402_maintain_table($1)",
							   quote_identifier(get_namespace_name(schema)));
	Datum		args[1] = {CStringGetTextDatum(step->table)};

	SPI_connect();
	if (SPI_execute_with_args(sql, 1, (Oid[]) {TEXTOID}, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run at402_maintain_table");
	step->done = SPI_processed > 0;
	if (step->done)
	{
		char	   *name = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
		char	   *rows = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);

		ereport(DEBUG1, errmsg_internal("at402 maintenance: %s at402.%s, %s rows",
										SPI_getvalue(SPI_tuptable->vals[0],
													 SPI_tuptable->tupdesc, 1),
										name ? name : step->table, rows ? rows : "no"));
	}
	SPI_finish();
}

static bool
table_in_use(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/* All that is due for one table.  False when it has to be tried again soon. */
static bool
maintain_table(const char *table)
{
	Step		step = {.table = table, .done = true};

	while (step.done)
	{
		ErrorData  *error;
		bool		in_use;

		at402_worker_interrupts();
		if (at402_attempt(AT402_TRANSACTION, run_step, &step, &error))
			continue;
		in_use = table_in_use(error);
		if (!in_use)
			ereport(LOG, errcode(error->sqlerrcode),
					errmsg("at402 could not maintain at402.%s: %s", table, error->message),
					error->detail ? errdetail_internal("%s", error->detail) : 0,
					error->hint ? errhint("%s", error->hint) : 0);
		FreeErrorData(error);
		return !in_use;
	}
	return true;
}

void
at402_maintain_main(Datum unused)
{
	char		missing[AT402_TEXT_SIZE] = "";
	MemoryContext context;

	at402_worker_start();
	context = AllocSetContextCreate(TopMemoryContext, "at402 maintenance", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);

	for (;;)
	{
		long		wait_ms = LOOK_AGAIN_MS;

		at402_worker_interrupts();
		if (at402_maintain_interval > 0 && at402_worker_ready(missing, sizeof(missing), false))
		{
			bool		again = false;

			pgstat_report_activity(STATE_RUNNING, "maintaining the tables of at402");
			for (int i = 0; i < lengthof(tables); i++)
				again |= !maintain_table(tables[i]);
			pgstat_report_stat(true);
			pgstat_report_activity(STATE_IDLE, NULL);
			wait_ms = at402_maintain_interval * 1000L;
			if (again)
				wait_ms = Min(wait_ms, BUSY_MS);
		}
		else if (at402_maintain_interval == 0)
			wait_ms = -1;		/* until a reload says otherwise */
		MemoryContextReset(context);
		WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (wait_ms >= 0 ? WL_TIMEOUT : 0),
				  wait_ms, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
