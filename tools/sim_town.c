/*
 * sim_town.c - a town of roads and places, and the way from one to another
 *
 * Three rings of junctions around a market place, joined by radial roads, and
 * villages at the ends of country roads.  Places lie a little off a junction,
 * so that who passes by does not call there.  All of it is computed from the
 * number of the junction: the same town everywhere, with nobody's map in it.
 */
#include <math.h>

#include "sim.h"

#define RINGS 3
#define SECTORS 12
#define VILLAGES 4
#define JUNCTIONS (1 + RINGS * SECTORS + VILLAGES)
#define OFF_ROAD_M 170.0		/* a place is so far from its junction */

const sim_place sim_places[SIM_PLACES] = {
	[SIM_DEPOT] = {"Depot", "depot", 18, 90},
	[SIM_COLD_STORE] = {"Cold store", "depot", 23, 70},
	[SIM_MARKET] = {"Market hall", "customer", 0, 60},
	[SIM_HOSPITAL] = {"Hospital", "customer", 3, 90},
	[SIM_SCHOOL] = {"School", "customer", 8, 60},
	[SIM_THEATRE] = {"Theatre", "customer", 11, 50},
	[SIM_BREWERY] = {"Brewery", "customer", 14, 80},
	[SIM_DAIRY] = {"Dairy", "customer", 20, 80},
	[SIM_STADIUM] = {"Stadium", "customer", 27, 110},
	[SIM_SAWMILL] = {"Sawmill", "customer", 31, 90},
	[SIM_TRUCK_STOP] = {"Truck stop", "rest", 34, 90},
	[SIM_FILLING_STATION] = {"Filling station", "fuel", 16, 50},
	[SIM_QUARRY] = {"Quarry", "customer", 37, 150},
	[SIM_AIRFIELD] = {"Airfield", "customer", 38, 150},
	[SIM_MILL] = {"Old mill", "customer", 39, 80},
	[SIM_FARM] = {"Hill farm", "customer", 40, 100}
};

/* From -1 to 1, by number and nothing else. */
static double
jitter(unsigned number)
{
	return fmod(sin(number * 12.9898 + 4.1) * 43758.5453, 1);
}

static unsigned
ring_of(unsigned junction)
{
	return junction == 0 ? 0 : junction > RINGS * SECTORS ? RINGS + 1 : (junction - 1) / SECTORS + 1;
}

static unsigned
sector_of(unsigned junction)
{
	return junction > RINGS * SECTORS ? (junction - RINGS * SECTORS) * 3 - 2
		: (junction - 1) % SECTORS;
}

static sim_point
at_junction(unsigned junction)
{
	static const double radii_m[] = {0, 650, 1700, 3300, 6000};
	double		away_m = radii_m[ring_of(junction)] * (1 + 0.14 * jitter(junction));
	double		turned_deg = sector_of(junction) * 30 + 9 * jitter(junction + 100);

	return (sim_point) {away_m * cos(turned_deg * M_PI / 180), away_m * sin(turned_deg * M_PI / 180)};
}

sim_point
sim_place_at(unsigned place)
{
	sim_point	p = at_junction(sim_places[place].junction);
	double		turned = 2 * M_PI * jitter(place + 50);

	p.north_m += OFF_ROAD_M * cos(turned);
	p.east_m += OFF_ROAD_M * sin(turned);
	return p;
}

/* Is there a road between the two, a lower and a higher number? */
static bool
is_road(unsigned a, unsigned b)
{
	unsigned	ring = ring_of(b);
	unsigned	sector = sector_of(b);

	if (ring_of(a) == ring && ring <= RINGS)	/* along the ring */
		return a > 0 && (sector == sector_of(a) + 1 || sector == sector_of(a) + SECTORS - 1);
	if (a == 0)					/* the market has six roads */
		return ring == 1 && sector % 2 == 0;
	return ring == ring_of(a) + 1 && sector == sector_of(a) &&
		(ring != 2 || sector % 3 != 1);
}

/* Speed limit between the two. */
static double
limit_kmh(unsigned a, unsigned b)
{
	static const double limits[] = {30, 48, 48, 64, 96};

	return limits[ring_of(a > b ? a : b)];
}

static double
seconds_between(unsigned a, unsigned b)
{
	sim_point	p = at_junction(a);
	sim_point	q = at_junction(b);

	if (a == b || !is_road(a < b ? a : b, a < b ? b : a))
		return INFINITY;
	return hypot(p.north_m - q.north_m, p.east_m - q.east_m) / (limit_kmh(a, b) / 3.6);
}

/* The junction after each on the fastest way to a destination. */
static void
ways_to(unsigned destination, unsigned next[JUNCTIONS])
{
	double		seconds[JUNCTIONS];
	bool		done[JUNCTIONS] = {false};

	for (unsigned i = 0; i < JUNCTIONS; i++)
		seconds[i] = i == destination ? 0 : INFINITY;
	for (unsigned n = 0; n < JUNCTIONS; n++)
	{
		unsigned	nearest = JUNCTIONS;

		for (unsigned i = 0; i < JUNCTIONS; i++)
			if (!done[i] && (nearest == JUNCTIONS || seconds[i] < seconds[nearest]))
				nearest = i;
		done[nearest] = true;
		for (unsigned i = 0; i < JUNCTIONS; i++)
			if (seconds[nearest] + seconds_between(i, nearest) < seconds[i])
			{
				seconds[i] = seconds[nearest] + seconds_between(i, nearest);
				next[i] = nearest;
			}
	}
}

/* No long road is straight: it goes through points beside the line. */
static unsigned
add_road(sim_leg *legs, unsigned from, unsigned to)
{
	sim_point	p = at_junction(from);
	sim_point	q = at_junction(to);
	double		length_m = hypot(p.north_m - q.north_m, p.east_m - q.east_m);
	unsigned	bends = length_m > 1800 ? 3 : length_m > 800 ? 1 : 0;

	for (unsigned i = 1; i <= bends; i++)
	{
		/* the same there and back */
		unsigned	name = (from < to ? from : to) * 211 + (from < to ? to : from) * 17 +
			(from < to ? i : bends + 1 - i);
		double		part = i / (bends + 1.0);
		double		aside = 0.08 * jitter(name) * (from < to ? 1 : -1);

		legs[i - 1].to.north_m = p.north_m + part * (q.north_m - p.north_m) +
			aside * (q.east_m - p.east_m);
		legs[i - 1].to.east_m = p.east_m + part * (q.east_m - p.east_m) -
			aside * (q.north_m - p.north_m);
		legs[i - 1].limit_kmh = limit_kmh(from, to);
	}
	legs[bends] = (sim_leg) {q, limit_kmh(from, to)};
	return bends + 1;
}

unsigned
sim_route(unsigned from, unsigned to, sim_leg legs[SIM_LEGS_MAX])
{
	unsigned	here = sim_places[from].junction;
	unsigned	destination = sim_places[to].junction;
	unsigned	next[JUNCTIONS];
	unsigned	count = 0;

	ways_to(destination, next);
	legs[count++] = (sim_leg) {at_junction(here), 30};
	for (; here != destination && count + 5 < SIM_LEGS_MAX; here = next[here])
		count += add_road(legs + count, here, next[here]);
	legs[count++] = (sim_leg) {sim_place_at(to), 30};
	return count;
}
