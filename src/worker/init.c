/*
 * init.c - what happens when the library is loaded
 *
 * In any backend: the settings come into being, so that the functions know
 * their defaults.  In the postmaster, by shared_preload_libraries: shared
 * memory for the statistics and the background workers besides.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "pg/settings.h"
#include "worker/worker.h"

/* A missing role or database is FATAL: once in so many seconds. */
#define RESTART_SECONDS 5

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(at402_version);

void		_PG_init(void);

static void
register_worker(const char *name, const char *type, const char *function, int number)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		/* not on a standby; there it starts with the promotion */
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = RESTART_SECONDS,
		.bgw_main_arg = Int32GetDatum(number),
	};

	strlcpy(worker.bgw_name, name, sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, type, sizeof(worker.bgw_type));
	strlcpy(worker.bgw_library_name, "at402", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	RegisterBackgroundWorker(&worker);
}

static void
register_workers(void)
{
	for (int n = 1; n <= at402_workers; n++)
		register_worker(psprintf("at402 listener %d", n), "at402 listener", "at402_listener_main",
						n);
	register_worker("at402 maintenance", "at402 maintenance", "at402_maintain_main", 0);
}

void
_PG_init(void)
{
	at402_define_settings();
	if (process_shared_preload_libraries_in_progress && at402_database[0] != '\0' &&
		!IsBinaryUpgrade)
	{
		at402_stat_request();
		register_workers();
	}
}

Datum
at402_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(AT402_VERSION));
}
