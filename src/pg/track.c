/*
 * track.c - at402_track: which positions of a trip to believe
 *
 * A receiver that has lost its satellites may put a vehicle miles away for a
 * report or two, with a good fix by its own account.  Such jumps must be in no
 * distance.  What gives them away is that the vehicle could not have got there,
 * and nothing but the positions around tells which of two places was wrong.  So
 * this is a window function: it sees all rows of its partition, in their order.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "utils/timestamp.h"
#include "windowapi.h"

PG_FUNCTION_INFO_V1(at402_track);

#define EARTH_RADIUS_M 6371008.8
#define FASTEST_MPS 70.0		/* 252 km/h */
#define SLACK_M 100.0			/* that a good fix may be wrong by */
#define AGREE 3					/* so many in a row are right */

typedef struct Place
{
	int64		row;
	TimestampTz time;
	double		longitude;		/* degrees */
	double		latitude;
} Place;

typedef struct Track
{
	bool		judged;
	int			chains[FLEXIBLE_ARRAY_MEMBER];	/* of each row; 0: none */
} Track;

/* What is believed so far, and what contradicts it. */
typedef struct Judge
{
	int		   *chains;
	Place	   *places;
	int			chain;
	int			chain_first;	/* first place of the chain */
	int			chain_last;
	int			chain_length;
	int			other_first;	/* first of the last places in a row that are apart */
	int			other_length;
} Judge;

static double
metres(const Place *a, const Place *b)
{
	double		to_radians = M_PI / 180;
	double		half_latitude = sin((b->latitude - a->latitude) * to_radians / 2);
	double		half_longitude = sin((b->longitude - a->longitude) * to_radians / 2);
	double		h = half_latitude * half_latitude + cos(a->latitude * to_radians) *
		cos(b->latitude * to_radians) * half_longitude * half_longitude;

	return 2 * EARTH_RADIUS_M * asin(Min(1, sqrt(h)));
}

static bool
within_reach(const Place *a, const Place *b)
{
	double		seconds = (double) (b->time - a->time) / USECS_PER_SEC;

	return metres(a, b) <= SLACK_M + FASTEST_MPS * seconds;
}

static void
believe(Judge *j, int place)
{
	j->chains[j->places[place].row] = j->chain;
	j->chain_last = place;
	j->chain_length++;
	j->other_length = 0;
}

/*
 * The places apart were right.  Those before stay as a chain of their own, unless
 * they were too few to be trusted.
 */
static void
believe_others(Judge *j)
{
	int			first = j->other_first;
	int			count = j->other_length;

	if (j->chain_length < AGREE)
		for (int i = j->chain_first; i <= j->chain_last; i++)
			j->chains[j->places[i].row] = 0;
	else
		j->chain++;
	j->chain_first = first;
	j->chain_length = 0;
	for (int i = 0; i < count; i++)
		believe(j, first + i);
}

static void
judge(Judge *j, int place)
{
	const Place *here = &j->places[place];

	if (j->chain_length == 0 || within_reach(&j->places[j->chain_last], here))
	{
		believe(j, place);
		return;
	}
	if (j->other_length == 0 || !within_reach(here - 1, here))
	{
		j->other_first = place;
		j->other_length = 0;
	}
	j->other_length++;
	if (j->other_length == AGREE)
		believe_others(j);
}

/* The places of the partition; rows that have none are left out. */
static int
read_places(WindowObject window, Place *places, int64 rows)
{
	int			count = 0;

	for (int64 row = 0; row < rows; row++)
	{
		Datum		values[3];
		bool		null = false;
		bool		out;

		for (int i = 0; i < 3 && !null; i++)
			values[i] = WinGetFuncArgInPartition(window, i, row, WINDOW_SEEK_HEAD, false, &null,
												 &out);
		if (null)
			continue;
		places[count++] = (Place) {
			.row = row,
			.time = DatumGetTimestampTz(values[0]),
			.longitude = DatumGetFloat8(values[1]),
			.latitude = DatumGetFloat8(values[2]),
		};
	}
	return count;
}

static void
judge_all(WindowObject window, Track *track, int64 rows)
{
	Judge		j = {.chains = track->chains, .chain = 1};
	int			count;

	j.places = palloc_extended(sizeof(Place) * rows, MCXT_ALLOC_HUGE);
	count = read_places(window, j.places, rows);
	for (int i = 0; i < count; i++)
		judge(&j, i);
	/* at the end the larger number is right */
	if (j.other_length > j.chain_length)
		believe_others(&j);
	pfree(j.places);
	track->judged = true;
}

/*
 * at402_track(time, longitude, latitude) OVER (ORDER BY time)
 *    -> number of the chain that the position belongs to; NULL: to none
 */
Datum
at402_track(PG_FUNCTION_ARGS)
{
	WindowObject window = PG_WINDOW_OBJECT();
	int64		rows = WinGetPartitionRowCount(window);
	Track	   *track = WinGetPartitionLocalMemory(window, offsetof(Track, chains) +
												   sizeof(int) * rows);
	int			chain;

	if (!track->judged)
		judge_all(window, track, rows);
	chain = track->chains[WinGetCurrentPosition(window)];
	if (chain == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(chain);
}
