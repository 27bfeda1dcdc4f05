/*
 * fence_shape.c - the shapes of geofences that reports are near, in the memory of the backend
 *
 * Devices stay where they are for a while: the same shapes are asked for in each
 * batch.  Reading one takes longer than judging a report by it.
 *
 * When they have come to take more than MOST bytes all are forgotten, and those
 * that are needed are read again.  Any change of the geofences makes them void,
 * like the tree (fence_tree.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/batch.h"
#include "pg/fence_shape.h"
#include "pg/statements.h"

#define MOST (32 * 1024 * 1024)

/* A geofence that was read. */
typedef struct Fence
{
	int			geofence_id;	/* key */
	At402Shape *shapes;			/* NULL: it has none */
} Fence;

static MemoryContext context;	/* NULL: nothing is there */
static HTAB *fences;			/* of Fence */
static bool reading;			/* when that failed, it is still set */

void
at402_fence_shapes_forget(void)
{
	if (context != NULL)
		at402_batch_discard(context);
	context = NULL;
	reading = false;
}

void
at402_fence_shapes_limit(void)
{
	if (context != NULL && (reading || MemoryContextMemAllocated(context, true) > MOST))
		at402_fence_shapes_forget();
}

static void
make_room(void)
{
	HASHCTL		ctl = {.keysize = sizeof(int), .entrysize = sizeof(Fence)};

	context = AllocSetContextCreate(TopMemoryContext, "at402 shapes of geofences",
									ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = context;
	fences = hash_create("at402 geofences", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static TimestampTz
time_of(HeapTuple row, TupleDesc desc, int column, TimestampTz otherwise)
{
	bool		null;
	Datum		time = SPI_getbinval(row, desc, column, &null);

	return null ? otherwise : DatumGetTimestampTz(time);
}

/* A row of AT402_SQL_FENCE_SHAPES. */
static At402Shape *
make_shape(HeapTuple row, TupleDesc desc)
{
	At402Shape *s = MemoryContextAllocZero(context, sizeof(At402Shape));
	MemoryContext caller = MemoryContextSwitchTo(context);
	bool		null;

	s->geofence_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &null));
	s->since = time_of(row, desc, 2, DT_NOBEGIN);
	s->until = time_of(row, desc, 3, DT_NOEND);
	s->name = SPI_getvalue(row, desc, 4);
	s->radius_m = DatumGetFloat8(SPI_getbinval(row, desc, 5, &null));
	s->hysteresis_m = DatumGetFloat8(SPI_getbinval(row, desc, 6, &null));
	s->min_dwell = *DatumGetIntervalP(SPI_getbinval(row, desc, 7, &null));
	s->geom = PointerGetDatum(PG_DETOAST_DATUM_COPY(SPI_getbinval(row, desc, 8, &null)));
	MemoryContextSwitchTo(caller);
	return s;
}

static void
add_shape(At402Shape *s)
{
	Fence	   *f = hash_search(fences, &s->geofence_id, HASH_FIND, NULL);

	s->other = f->shapes;
	f->shapes = s;
}

/* Those of them that are not there yet; then they are, without shapes. */
static Datum
enter_missing(const int *ids, int count)
{
	Datum	   *missed = palloc(sizeof(Datum) * count);
	int			missed_count = 0;

	for (int i = 0; i < count; i++)
	{
		bool		found;
		Fence	   *f = hash_search(fences, &ids[i], HASH_ENTER, &found);

		if (found)
			continue;
		f->shapes = NULL;
		missed[missed_count++] = Int32GetDatum(ids[i]);
	}
	return PointerGetDatum(construct_array(missed, missed_count, INT4OID, sizeof(int32), true,
										   TYPALIGN_INT));
}

void
at402_fence_shapes_read(const int *geofence_ids, int count)
{
	Datum		ids;
	uint64		rows;

	if (count == 0)
		return;
	if (context == NULL)
		make_room();
	reading = true;
	ids = enter_missing(geofence_ids, count);
	if (ARR_NDIM(DatumGetArrayTypeP(ids)) > 0)
	{
		rows = at402_run(AT402_SQL_FENCE_SHAPES, &ids, NULL);
		for (uint64 i = 0; i < rows; i++)
			add_shape(make_shape(SPI_tuptable->vals[i], SPI_tuptable->tupdesc));
		SPI_freetuptable(SPI_tuptable);
	}
	reading = false;
}

const At402Shape *
at402_fence_shape(int geofence_id, TimestampTz at)
{
	const Fence *f = hash_search(fences, &geofence_id, HASH_FIND, NULL);
	const At402Shape *s = f->shapes;

	while (s != NULL && (at < s->since || at >= s->until))
		s = s->other;
	return s;
}
