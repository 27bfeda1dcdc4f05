/*
 * maintain.c - the background worker that does the upkeep
 *
 * First the chores of at402_chores(), which derive what follows from the rows
 * that are there, then the tables of at402_data_tables(), whose partitions are
 * made ahead and retired.  All of it is written in SQL; here is when it is done.
 *
 * A worker of its own, so that waiting for a lock never holds up a tracker.
 * One step of one task in each transaction: what was done stays done, and
 * locks are held for a moment only.  A task that fails does not keep the others
 * from being done; it is logged when it begins to fail.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "pg/attempt.h"
#include "pg/settings.h"
#include "worker/worker.h"

#define LOOK_AGAIN_MS 1000		/* for extension and tables */
#define BUSY_MS 5000			/* after something was in use, and until the next task then: */
#define BREATH_MS 250			/* others have waited for the lock that was waited for */

typedef struct Task
{
	const char *name;			/* function of a chore, or table */
	bool		is_table;
	int			step;			/* of a chore, see at402_chores() */
	bool		done;			/* nothing is due any more */
} Task;

/*
 * Waits so long, in ms (-1: for ever), or until the settings are to be read again.
 * The latch is set for other reasons too, as by a lock that was waited for.
 */
static void
rest(long ms)
{
	instr_time	began;
	long		left = ms;

	INSTR_TIME_SET_CURRENT(began);
	while (!ConfigReloadPending && (ms < 0 || left > 0))
	{
		instr_time	now;

		WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (ms >= 0 ? WL_TIMEOUT : 0), left,
				  PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, began);
		left = ms - (long) INSTR_TIME_GET_MILLISEC(now);
	}
}

/* ---- what there is to do ---- */

typedef struct TaskList
{
	MemoryContext context;
	List	   *tasks;
} TaskList;

static void
list_tasks(void *argument)
{
	TaskList   *list = argument;

	SPI_connect();
	if (SPI_execute("SELECT function_name, false FROM at402_internal.at402_chores() UNION ALL "
					"SELECT table_name, true FROM at402_internal.at402_data_tables() "
					"WHERE range_column IS NOT NULL", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not list what there is to maintain");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext caller = MemoryContextSwitchTo(list->context);
		Task	   *task = palloc0(sizeof(Task));
		bool		null;

		task->name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		task->is_table = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
													2, &null));
		list->tasks = lappend(list->tasks, task);
		MemoryContextSwitchTo(caller);
	}
	SPI_finish();
}

/* ---- doing it ---- */

static void
run_chore_step(Task *task)
{
	Datum		step = Int32GetDatum(task->step);

	if (SPI_execute_with_args(psprintf("SELECT at402_internal.%s($1)", quote_identifier(task->name)),
							  1, (Oid[]) {INT4OID}, &step, NULL, false, 0) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not run %s", task->name);
	task->step = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											 &task->done));
}

static void
run_table_step(Task *task)
{
	Datum		table = CStringGetTextDatum(task->name);

	if (SPI_execute_with_args("SELECT action, partition_name, row_count "
							  "FROM at402_internal.at402_maintain_table($1)",
							  1, (Oid[]) {TEXTOID}, &table, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run at402_maintain_table");
	task->done = SPI_processed == 0;
	if (!task->done)
	{
		char	   *name = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
		char	   *rows = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);

		ereport(DEBUG1, errmsg_internal("at402 maintenance: %s at402.%s, %s rows",
										SPI_getvalue(SPI_tuptable->vals[0],
													 SPI_tuptable->tupdesc, 1),
										name ? name : task->name, rows ? rows : "no"));
	}
}

static void
run_step(void *argument)
{
	Task	   *task = argument;

	SPI_connect();
	if (task->is_table)
		run_table_step(task);
	else
		run_chore_step(task);
	SPI_finish();
}

static bool
is_in_use(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/* Has this task not failed before, since it could be done last? */
static bool
begins_to_fail(const char *name, bool fails)
{
	static HTAB *failing = NULL;
	bool		before;

	if (failing == NULL)
		failing = hash_create("at402 tasks that fail", 16,
							  &(HASHCTL) {.keysize = NAMEDATALEN, .entrysize = NAMEDATALEN},
							  HASH_ELEM | HASH_STRINGS);
	hash_search(failing, name, fails ? HASH_ENTER : HASH_REMOVE, &before);
	return fails && !before;
}

static void
log_failure(const Task *task, const ErrorData *error)
{
	if (begins_to_fail(task->name, true))
		ereport(LOG, errcode(error->sqlerrcode),
				task->is_table
				? errmsg("at402 could not maintain at402.%s: %s", task->name, error->message)
				: errmsg("at402 could not run %s: %s", task->name, error->message),
				error->detail ? errdetail_internal("%s", error->detail) : 0,
				error->hint ? errhint("%s", error->hint) : 0);
}

/* All that is due.  False when it has to be tried again soon. */
static bool
do_task(Task *task)
{
	while (!task->done)
	{
		ErrorData  *error;
		bool		in_use;

		CHECK_FOR_INTERRUPTS(); /* no more: a reload has to wait for the loop */
		if (at402_attempt(AT402_TRANSACTION, run_step, task, &error))
			continue;
		in_use = is_in_use(error);
		if (!in_use)
			log_failure(task, error);
		FreeErrorData(error);
		return !in_use;
	}
	begins_to_fail(task->name, false);
	return true;
}

/* False when something has to be tried again soon. */
static bool
do_all(void)
{
	Task		listing = {.name = "at402_chores"};
	TaskList	list = {.context = CurrentMemoryContext};
	ErrorData  *error;
	ListCell   *lc;
	bool		all = true;

	if (!at402_attempt(AT402_TRANSACTION, list_tasks, &list, &error))
	{
		log_failure(&listing, error);
		return true;
	}
	begins_to_fail(listing.name, false);
	foreach(lc, list.tasks)
		if (!do_task(lfirst(lc)))
		{
			all = false;
			rest(BREATH_MS);
		}
	return all;
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
			pgstat_report_activity(STATE_RUNNING, "maintaining the tables of at402");
			wait_ms = at402_maintain_interval * 1000L;
			if (!do_all())
				wait_ms = Min(wait_ms, BUSY_MS);
			pgstat_report_stat(true);
			pgstat_report_activity(STATE_IDLE, NULL);
		}
		else if (at402_maintain_interval == 0)
			wait_ms = -1;		/* until a reload says otherwise */
		MemoryContextReset(context);
		rest(wait_ms);
	}
}
