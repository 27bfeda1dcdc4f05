/*
 * quarantine.c - what could not be stored
 *
 * One row holds one frame with all its bytes, whether none of its reports could
 * be stored or some: a packet may hold 255.  It is written before the answer,
 * in the same transaction as the rest.  What not even quarantine takes is not
 * answered, and neither is any frame that repeats it.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "executor/spi.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "pg/environment.h"
#include "pg/quarantine.h"
#include "pg/settings.h"
#include "pg/statements.h"
#include "pg/attempt.h"

/* Bytes of the table with its partitions, indexes and TOAST. */
static int64
quarantine_size(void)
{
	Oid			table = get_relname_relid("quarantine", get_namespace_oid("at402", false));
	int64		size = 0;
	ListCell   *lc;

	foreach(lc, find_all_inheritors(table, AccessShareLock, NULL))
		size += DatumGetInt64(DirectFunctionCall1(pg_total_relation_size,
												  ObjectIdGetDatum(lfirst_oid(lc))));
	return size;
}

/* ERROR 53400 when at402.quarantine_limit is reached. */
static void
store(void *argument)
{
	At402Batch *batch = argument;

	SPI_connect();
	if (at402_quarantine_limit > 0 &&
		quarantine_size() >= at402_quarantine_limit * INT64CONST(1024) * 1024)
		ereport(ERROR, errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				errmsg("quarantine is full"),
				errdetail("at402.quarantine_limit is %d MB.", at402_quarantine_limit),
				errhint("Mend what is in at402.quarantine and SELECT * FROM at402_release(), "
						"or delete rows."));
	at402_run_batch(batch, AT402_SQL_QUARANTINE);
	SPI_finish();
}

static void
count_quarantined(At402Batch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->items)
	{
		const At402Item *item = lfirst(lc);
		const At402Report *first = item->rejected != NIL ? linitial(item->rejected) : NULL;
		bool		whole = item->disposition == AT402_TO_QUARANTINE;

		if (!whole && first == NULL)
			continue;
		batch->quarantined += whole ? 1 : list_length(item->rejected);
		if (batch->first_reason != NULL)
			continue;
		batch->first_reason = whole ? item->reason : "rejected";
		batch->first_message = whole ? item->message : first->rejection->message;
	}
}

static void
refuse(At402Item *item)
{
	item->disposition = AT402_REFUSED;
	item->reason = "not_quarantined";
}

/* What could not even be quarantined must not be answered. */
static void
refuse_quarantined(At402Batch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->items)
		if (((At402Item *) lfirst(lc))->disposition == AT402_TO_QUARANTINE)
			refuse(lfirst(lc));
	/* other frames of the batch may hold the same report */
	for (int i = 0; i < batch->report_count; i++)
		if (batch->reports[i]->rejection != NULL)
			for (At402Report *r = batch->reports[i]; r != NULL; r = r->repeat)
				refuse(r->item);
	batch->quarantined = 0;
	batch->first_reason = NULL;
}

void
at402_store_quarantine(At402Batch *batch)
{
	ErrorData  *error;

	count_quarantined(batch);
	if (batch->quarantined == 0 ||
		at402_attempt(AT402_SUBTRANSACTION, store, batch, &error))
		return;
	/* the others of the batch need not wait for it; a caller in SQL has to know */
	if (batch->listener == 0 || at402_is_timeout(error) ||
		(error->sqlerrcode != ERRCODE_CONFIGURATION_LIMIT_EXCEEDED &&
		 at402_is_environment(error, batch->attempts)))
		at402_raise_environment(error);
	refuse_quarantined(batch);
}
