/*
 * fence_tree.c - the envelopes of all geofences, in the memory of the backend
 *
 * Nearly every report is near a few geofences or none.  The index on the
 * envelopes finds them, but calls a function of PostGIS for each entry of the
 * pages that it reads, 10 to 30 us for a report where there are 100,000.  This
 * tree takes a fiftieth of that.  It is packed, since it never changes: the
 * envelopes are sorted so that neighbours stand beside each other, and each
 * level has the envelopes of FANOUT entries below.  What is in the envelopes
 * is judged by PostGIS.
 *
 * It takes 22 bytes for each shape that a geofence has or had.  More than MOST
 * shapes are left to the index.
 *
 * Any change of the geofences makes it void (fence.c hears of it).  Making it
 * again takes as long as looking up a sixteenth as many reports by the index,
 * so that many have to come first: who changes geofences one by one does not
 * stop the reports.
 */
#include "postgres.h"

#include <math.h>

#include "executor/spi.h"
#include "utils/memutils.h"

#include "pg/batch.h"
#include "pg/fence_tree.h"
#include "pg/statements.h"

#define FANOUT 16
#define LEVELS 5				/* FANOUT to the power of it is more than MOST */
#define MOST 1000000
#define PAGE 10000				/* shapes read by one statement, and a few more */
#define WORTH 16				/* shapes are read while a report is looked up by the index */

typedef struct Entry
{
	float		west;			/* an envelope, rounded outwards */
	float		south;
	float		east;
	float		north;
	int			geofence_id;	/* on the lowest level */
} Entry;

typedef struct Tree
{
	MemoryContext context;		/* NULL: there is none */
	Entry	   *entries[LEVELS];
	int			counts[LEVELS];
	int			levels;
} Tree;

static Tree tree;
static int	former_count;		/* of shapes when it was made last */
static int	unknown;			/* reports since that were looked up by the index */
static bool too_many;

void
at402_fence_tree_forget(void)
{
	if (tree.context != NULL)
		at402_batch_discard(tree.context);
	tree = (Tree) {0};
	unknown = 0;
	too_many = false;
}

/* ---- packing ---- */

static int
by_longitude(const void *a, const void *b)
{
	const Entry *x = a;
	const Entry *y = b;
	float		difference = x->west + x->east - y->west - y->east;

	return (difference > 0) - (difference < 0);
}

static int
by_latitude(const void *a, const void *b)
{
	const Entry *x = a;
	const Entry *y = b;
	float		difference = x->south + x->north - y->south - y->north;

	return (difference > 0) - (difference < 0);
}

/* In strips from south to north, each as wide as FANOUT of its entries are high. */
static void
sort_entries(Entry *entries, int count)
{
	int			strip = FANOUT * (int) ceil(sqrt((double) count / FANOUT));

	qsort(entries, count, sizeof(Entry), by_longitude);
	for (int i = 0; i < count; i += strip)
		qsort(entries + i, Min(strip, count - i), sizeof(Entry), by_latitude);
}

static Entry
envelope(const Entry *entries, int count)
{
	Entry		all = entries[0];

	for (int i = 1; i < count; i++)
	{
		all.west = Min(all.west, entries[i].west);
		all.south = Min(all.south, entries[i].south);
		all.east = Max(all.east, entries[i].east);
		all.north = Max(all.north, entries[i].north);
	}
	return all;
}

/* Adds the levels above the lowest. */
static void
pack(Tree *t)
{
	sort_entries(t->entries[0], t->counts[0]);
	for (t->levels = 1; t->counts[t->levels - 1] > FANOUT; t->levels++)
	{
		const Entry *below = t->entries[t->levels - 1];
		int			of_below = t->counts[t->levels - 1];
		int			count = (of_below + FANOUT - 1) / FANOUT;
		Entry	   *entries = MemoryContextAlloc(t->context, sizeof(Entry) * count);

		for (int i = 0; i < count; i++)
			entries[i] = envelope(below + i * FANOUT, Min(FANOUT, of_below - i * FANOUT));
		t->entries[t->levels] = entries;
		t->counts[t->levels] = count;
	}
}

/* ---- reading ---- */

static float
round_down(double value)
{
	float		rounded = (float) value;

	return rounded > value ? nextafterf(rounded, -INFINITY) : rounded;
}

static float
round_up(double value)
{
	return -round_down(-value);
}

/* Adds a row of AT402_SQL_FENCE_BOXES, and returns the id of its geofence. */
static int
add_row(Tree *t, HeapTuple row, TupleDesc desc)
{
	double		corners[4];
	bool		empty = false;
	bool		null;
	int			id = DatumGetInt32(SPI_getbinval(row, desc, 1, &null));

	for (int i = 0; i < lengthof(corners); i++)
	{
		corners[i] = DatumGetFloat8(SPI_getbinval(row, desc, 2 + i, &null));
		empty |= null;
	}
	if (!empty)
		t->entries[0][t->counts[0]++] = (Entry) {round_down(corners[0]), round_down(corners[1]),
			round_up(corners[2]), round_up(corners[3]), id};
	return id;
}

/* Makes room for so many more entries of the lowest level. */
static void
make_room(Tree *t, int *room, uint64 rows)
{
	Size		needed = t->counts[0] + rows;

	if (needed <= *room)
		return;
	*room = (int) (2 * needed);
	if (t->entries[0] == NULL)
		t->entries[0] = MemoryContextAlloc(t->context, sizeof(Entry) * *room);
	else
		t->entries[0] = repalloc(t->entries[0], sizeof(Entry) * *room);
}

/* Reads the shapes, a page at a time. */
static void
read_boxes(Tree *t)
{
	int64		last_id = PG_INT64_MIN;
	uint64		rows = PAGE;
	int			room = 0;

	while (rows >= PAGE && t->counts[0] <= MOST)
	{
		rows = at402_run(AT402_SQL_FENCE_BOXES, (Datum[]) {Int64GetDatum(last_id)}, NULL);
		make_room(t, &room, rows);
		for (uint64 i = 0; i < rows; i++)
			last_id = add_row(t, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		SPI_freetuptable(SPI_tuptable);
	}
}

/* What fails leaves no tree behind, nor its memory. */
static void
make_tree(void)
{
	Tree		made = {0};

	made.context = AllocSetContextCreate(CurrentMemoryContext, "at402 geofences",
										 ALLOCSET_DEFAULT_SIZES);
	read_boxes(&made);
	former_count = made.counts[0];
	too_many = former_count > MOST;
	if (too_many)
		return;
	pack(&made);
	MemoryContextSetParent(made.context, TopMemoryContext);
	tree = made;
}

/* ---- asking ---- */

bool
at402_fence_tree_knows(int reports)
{
	if (tree.context == NULL && !too_many)
	{
		if (unknown >= former_count / WORTH)
			make_tree();
		unknown += reports;
	}
	return tree.context != NULL;
}

/* Entries of a level, as many as stand beneath one above. */
static void
search(int level, int first, const At402Box *box, At402FenceFound found, void *context)
{
	int			last = Min(first + FANOUT, tree.counts[level]);

	for (int i = first; i < last; i++)
	{
		const Entry *e = &tree.entries[level][i];

		if (e->west > box->east || e->east < box->west || e->south > box->north ||
			e->north < box->south)
			continue;
		if (level == 0)
			found(context, e->geofence_id);
		else
			search(level - 1, i * FANOUT, box, found, context);
	}
}

void
at402_fence_tree_search(const At402Box *box, At402FenceFound found, void *context)
{
	search(tree.levels - 1, 0, box, found, context);
}
