/*
 * presence.c - which trackers are connected, into the tables
 *
 * A change is one of a row in at402.device_state, and its event.  Which changes
 * there are the UPDATE decides: of two listeners that see a tracker come, the
 * second finds nothing to change.  Like reports (store.c) changes are halved
 * until the one that is refused is alone.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/presence.h"
#include "pg/rule_batch.h"
#include "pg/settings.h"
#include "pg/statements.h"
#include "pg/try.h"

static int
compare_imei(const void *a, const void *b)
{
	return strcmp((*(At402Presence *const *) a)->imei, (*(At402Presence *const *) b)->imei);
}

static int
compare_id(const void *a, const void *b)
{
	int			x = (*(At402Presence *const *) a)->device_id;
	int			y = (*(At402Presence *const *) b)->device_id;

	return x < y ? -1 : x > y;
}

/* In the slice, which is sorted in this order; NULL: it is not there. */
static At402Presence *
find(const At402Batch *batch, const At402Presence *key, int (*compare) (const void *, const void *))
{
	At402Presence **found = bsearch(&key, batch->presence, batch->presence_count,
									sizeof(At402Presence *), compare);

	return found != NULL ? *found : NULL;
}

/* A column of the row just read, of type int. */
static int
int_of_row(uint64 row, int column)
{
	bool		null;

	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column,
									   &null));
}

/* Sets the ids, 0 where at402.device does not have it, and sorts by them. */
static void
find_ids(At402Batch *batch)
{
	Datum	   *imeis = palloc(sizeof(Datum) * batch->presence_count);
	ArrayType  *array;
	uint64		rows;

	qsort(batch->presence, batch->presence_count, sizeof(At402Presence *), compare_imei);
	for (int i = 0; i < batch->presence_count; i++)
	{
		batch->presence[i]->device_id = 0;
		batch->presence[i]->has_row = batch->presence[i]->changed = false;
		imeis[i] = CStringGetTextDatum(batch->presence[i]->imei);
	}
	array = construct_array(imeis, batch->presence_count, TEXTOID, -1, false, TYPALIGN_INT);
	rows = at402_run(AT402_SQL_FIND_DEVICES, (Datum[]) {PointerGetDatum(array)}, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		At402Presence key;
		At402Presence *p;

		strlcpy(key.imei, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1),
				sizeof(key.imei));
		p = find(batch, &key, compare_imei);
		if (p != NULL)
			p->device_id = int_of_row(i, 2);
	}
	qsort(batch->presence, batch->presence_count, sizeof(At402Presence *), compare_id);
}

/* Of the devices that came, or went, in the order in which listeners lock them; those
 * without a row in device_state, or all. */
static Datum
ids_of(const At402Batch *batch, bool connected, bool all)
{
	Datum	   *ids = palloc(sizeof(Datum) * batch->presence_count);
	int			count = 0;

	for (int i = 0; i < batch->presence_count; i++)
	{
		const At402Presence *p = batch->presence[i];

		if (p->device_id != 0 && p->connected == connected && (all || !p->has_row))
			ids[count++] = Int32GetDatum(p->device_id);
	}
	return PointerGetDatum(construct_array(ids, count, INT4OID, sizeof(int32), true,
										   TYPALIGN_INT));
}

static void
make_states(At402Batch *batch)
{
	uint64		rows = at402_run(AT402_SQL_FIND_STATES, (Datum[]) {ids_of(batch, true, true)},
								 NULL);

	for (uint64 i = 0; i < rows; i++)
	{
		At402Presence *p = find(batch, &(At402Presence) {.device_id = int_of_row(i, 1)},
								compare_id);

		if (p != NULL)
			p->has_row = true;
	}
	at402_run(AT402_SQL_NEW_STATES, (Datum[]) {ids_of(batch, true, false)}, NULL);
}

/* Updates at402.device_state; the devices that come back have changed. */
static void
change(At402Batch *batch, At402Statement statement, bool connected)
{
	/* the third argument only some of them have */
	uint64		rows = at402_run(statement, (Datum[]) {ids_of(batch, connected, true),
									 Int32GetDatum(batch->listener), Int32GetDatum(at402_workers)},
								 NULL);

	for (uint64 i = 0; i < rows; i++)
	{
		At402Presence *p = find(batch, &(At402Presence) {.device_id = int_of_row(i, 1)},
								compare_id);

		if (p != NULL)
			p->changed = true;
	}
}

static void
store(void *argument)
{
	At402Batch *batch = argument;

	SPI_connect();
	find_ids(batch);
	make_states(batch);
	change(batch, AT402_SQL_DISCONNECTED, false);
	change(batch, AT402_SQL_CONNECTED, true);
	at402_run(AT402_SQL_MOVED, (Datum[]) {ids_of(batch, true, true),
				Int32GetDatum(batch->listener)}, NULL);
	at402_run_batch(batch, AT402_SQL_PRESENCE_EVENTS);
	SPI_finish();
}

/* Stores these changes, halving where one of them is refused. */
static void
store_slice(At402Batch *batch, At402Presence **first, int count)
{
	At402Rejection *rejection;

	batch->presence = first;
	batch->presence_count = count;
	rejection = at402_try(batch, store, batch, NULL);
	if (rejection == NULL)
		batch->passed += count;
	else if (count == 1)
		first[0]->rejection = rejection;
	else
	{
		store_slice(batch, first, count / 2);
		store_slice(batch, first + count / 2, count - count / 2);
	}
}

void
at402_store_presence(At402Batch *batch)
{
	At402Presence **all = batch->presence;
	int			count = batch->presence_count;

	at402_statements_refresh();
	SPI_connect();
	at402_run(AT402_SQL_CHECK_AT_ONCE, NULL, NULL);
	SPI_finish();
	store_slice(batch, all, count);
	at402_decide(batch);
	batch->presence = all;
	batch->presence_count = count;
	at402_rules_run(batch);
}

List *
at402_left_connected(int listener)
{
	MemoryContext caller = CurrentMemoryContext;
	List	   *imeis = NIL;
	uint64		rows;

	PreventCommandIfReadOnly("UPDATE");
	at402_statements_refresh();
	SPI_connect();
	rows = at402_run(AT402_SQL_LEFT_CONNECTED, (Datum[]) {Int32GetDatum(listener),
						 Int32GetDatum(at402_workers)}, NULL);
	MemoryContextSwitchTo(caller);	/* what SPI has allocated goes with it */
	for (uint64 i = 0; i < rows; i++)
		imeis = lappend(imeis, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	return imeis;
}
