/*
 * sim_story.c - a day of a firm with twelve vehicles
 *
 * They leave their depots in the morning, call at customers, come back for
 * lunch and for the night.  On the first day something happens to some of
 * them, which queries can find again:
 *
 *     Truck 3    is robbed of fuel at the truck stop
 *     Reefer 2   loses its cooling for an hour
 *     Van 1      has another driver in the afternoon, on all days
 *     Van 3      has an old battery, which does not last a night
 *     Van 4      is out of network for forty minutes and reports that late
 *     Car 3      drives too fast, and its driver calls for help
 *
 * What happens depends on seed, number and clock only: the same day each time.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

#define DAY_S 86400
#define HOUR_S 3600
#define CLOCK(hour, minute) ((hour) * HOUR_S + (minute) * 60)

#define DRIVING_STEP_S 20		/* between reports */
#define PARKED_STEP_S 1800
#define DOOR_S 60				/* from the halt to the open door, and back */
#define CENTRE_M 950			/* radius of the town's centre */
#define FIRST_KEY 0x19000001	/* number of the first driver's iButton */

enum
{
	TRUCK_3 = 2, REEFER_2 = 4, VAN_1 = 5, VAN_3 = 7, VAN_4 = 8, CAR_3 = 11
};

static const struct
{
	const char *name;
	const char *plate;
	sim_can		can;
	bool		cold;
	unsigned	depot;
	const char *driver;
}			vehicles[SIM_STORY_VEHICLES] = {
	{"Truck 1", "AT40 ABC", SIM_FMS, false, SIM_DEPOT, "Ada Hughes"},
	{"Truck 2", "AT40 BCD", SIM_FMS, false, SIM_DEPOT, "Ben Okafor"},
	{"Truck 3", "AT40 CDE", SIM_FMS, false, SIM_DEPOT, "Carla Rossi"},
	{"Reefer 1", "AT40 DEF", SIM_FMS, true, SIM_COLD_STORE, "Dev Patel"},
	{"Reefer 2", "AT40 EFG", SIM_FMS, true, SIM_COLD_STORE, "Eva Novak"},
	{"Van 1", "AT40 FGH", SIM_OBD, false, SIM_DEPOT, "Finn Murphy"},
	{"Van 2", "AT40 GHJ", SIM_OBD, false, SIM_DEPOT, "Grace Lee"},
	{"Van 3", "AT40 HJK", SIM_OBD, false, SIM_DEPOT, "Hugo Meyer"},
	{"Van 4", "AT40 JKL", SIM_OBD, false, SIM_DEPOT, "Iris Dubois"},
	{"Car 1", "AT40 KLM", SIM_NO_CAN, false, SIM_DEPOT, "Jack Wilson"},
	{"Car 2", "AT40 LMN", SIM_NO_CAN, false, SIM_DEPOT, "Kim Larsen"},
	{"Car 3", "AT40 MNP", SIM_NO_CAN, false, SIM_DEPOT, "Leo Santos"}
};

/* Of a vehicle; after the last one, the second driver of Van 1. */
static const char *
driver_name(unsigned n)
{
	return n < SIM_STORY_VEHICLES ? vehicles[n].driver : "Maya Singh";
}

/* Seconds since the midnight of the story's first day. */
static int64_t
since_begin(const sim_vehicle *v)
{
	return v->time - v->story_begin;
}

static unsigned
clock_s(const sim_vehicle *v)
{
	return (unsigned) (since_begin(v) % DAY_S);
}

/* Is it this vehicle, on the first day, between these times? */
static bool
happens(const sim_vehicle *v, unsigned number, unsigned from_s, unsigned to_s)
{
	return v->number == number && since_begin(v) >= from_s && since_begin(v) < to_s;
}

static int64_t
wait_until(const sim_vehicle *v, unsigned at_s)
{
	return v->time - clock_s(v) + at_s + (at_s <= clock_s(v) ? DAY_S : 0);
}

void
sim_story_begin(sim_vehicle *v, double latitude_deg, double longitude_deg)
{
	sim_point	p = sim_place_at(vehicles[v->number].depot);

	v->in_story = true;
	v->story_begin = v->time;
	v->can = vehicles[v->number].can;
	v->cold = vehicles[v->number].cold;
	v->tagged = false;
	v->place = vehicles[v->number].depot;
	v->home_latitude_deg = latitude_deg;
	v->home_longitude_deg = longitude_deg;
	v->north_m = p.north_m;
	v->east_m = p.east_m;
	v->driver = FIRST_KEY + v->number;
	v->tank_percent = sim_between(v->random, 55, 95);
	v->battery_percent = 100;
	/* out for long enough on the first day: to the truck stop, or until the cooling fails */
	v->calls_left = v->number == TRUCK_3 ? UINT_MAX : v->number == REEFER_2 ? 16 : 8;
	v->leave_at = v->time + CLOCK(6, 0) + (int64_t) sim_between(v->random, 0, CLOCK(1, 30));
}

/* Where to, from here? */
static unsigned
next_place(sim_vehicle *v)
{
	unsigned	place = v->place;

	if (happens(v, TRUCK_3, CLOCK(11, 0), CLOCK(12, 30)))
		return SIM_TRUCK_STOP;
	if (v->can != SIM_NO_CAN && v->tank_percent < 35)
		return SIM_FILLING_STATION;
	if (v->calls_left == 0)
		return vehicles[v->number].depot;
	v->calls_left--;
	while (place == v->place || strcmp(sim_places[place].kind, "customer") != 0)
		place = (unsigned) sim_between(v->random, 0, SIM_PLACES);
	return place;
}

void
sim_story_leave(sim_vehicle *v)
{
	unsigned	to = next_place(v);

	v->leg_count = sim_route(v->place, to, v->legs);
	v->leg = 0;
	/* nobody parks on top of another */
	v->legs[v->leg_count - 1].to.north_m += 6.0 * (v->number % 4) - 9;
	v->legs[v->leg_count - 1].to.east_m += 8.0 * (v->number / 4) - 8;
	v->place = to;
	v->driver = FIRST_KEY + (v->number == VAN_1 && clock_s(v) > CLOCK(12, 30)
							 ? SIM_STORY_VEHICLES : v->number);
}

void
sim_story_arrive(sim_vehicle *v)
{
	if (v->place == SIM_TRUCK_STOP)
	{
		v->calls_left = 5;
		v->leave_at = wait_until(v, CLOCK(13, 20));
	}
	else if (v->place == SIM_FILLING_STATION)
		v->leave_at = v->time + 420;
	else if (v->place != vehicles[v->number].depot)
		v->leave_at = v->time + (int64_t) sim_between(v->random, 300, 1300);
	else
	{
		bool		lunch = clock_s(v) < CLOCK(13, 0);

		v->calls_left = 6 + (unsigned) sim_between(v->random, 0, 3);
		v->leave_at = wait_until(v, lunch ? CLOCK(13, 0) : CLOCK(6, 0)) +
			(int64_t) sim_between(v->random, 0, lunch ? CLOCK(0, 30) : CLOCK(1, 30));
	}
}

bool
sim_story_unloads(const sim_vehicle *v)
{
	return strcmp(sim_places[v->place].kind, "customer") == 0 &&
		v->leave_at - v->time > DOOR_S && !(v->reasons & SIM_JOURNEY_STOP);
}

unsigned
sim_story_step_s(const sim_vehicle *v)
{
	int64_t		rest_s = v->leave_at - v->time;

	if (v->ignition)
		return DRIVING_STEP_S;
	if (v->reasons & SIM_JOURNEY_STOP)
		return DOOR_S;
	if (rest_s > DOOR_S)
		rest_s -= DOOR_S;
	return rest_s < DRIVING_STEP_S ? DRIVING_STEP_S : rest_s < PARKED_STEP_S ? (unsigned) rest_s
		: PARKED_STEP_S;
}

double
sim_story_haste(const sim_vehicle *v)
{
	return v->number == CAR_3 ? 1.35 : 1.08;
}

/* Fuel, cold, current: what became of them in this time. */
static void
use_up(sim_vehicle *v, unsigned step_s)
{
	double		outside_c = 11 + 6 * sin((clock_s(v) - CLOCK(9, 0)) * 2 * M_PI / DAY_S);
	double		wanted_c = happens(v, REEFER_2, CLOCK(10, 40), CLOCK(11, 40)) ? outside_c : 4;
	double		hours = step_s / (double) HOUR_S;

	v->load_c += (wanted_c - v->load_c) * (1 - exp(-hours * 1.5)) +
		sim_between(v->random, -0.15, 0.15);
	v->battery_percent = fmin(v->battery_percent + (v->ignition ? 25 : -1.4) * hours, 100);
	v->resting_v = v->ignition ? 12.7 : v->resting_v - (v->number == VAN_3 ? 0.13 : 0.01) * hours;
	if (v->place == SIM_FILLING_STATION && !v->ignition)
		v->tank_percent = 98;
}

void
sim_story_live(sim_vehicle *v, unsigned step_s)
{
	bool		was_low = v->resting_v < 11.6;

	use_up(v, step_s);
	if (v->resting_v < 11.6 && !was_low)
		v->reasons |= SIM_LOW_EXTERNAL_VOLTAGE;
	if (happens(v, TRUCK_3, CLOCK(12, 40), CLOCK(12, 40) + step_s) && !v->ignition)
		v->tank_percent -= 38;
	if (happens(v, CAR_3, CLOCK(14, 50), DAY_S) && v->speed_mps > 10 && !v->called_help)
	{
		v->reasons |= SIM_PANIC;
		v->called_help = true;
	}
}

bool
sim_story_is_silent(const sim_vehicle *v)
{
	return happens(v, VAN_4, CLOCK(14, 0), CLOCK(14, 40));
}

/* ---- the same for the database ---- */

static void
print_vehicles(const sim_options *o)
{
	printf("INSERT INTO at402.device (imei, name) VALUES");
	for (unsigned i = 0; i < SIM_STORY_VEHICLES; i++)
	{
		char		imei[AT402_IMEI_DIGITS + 1];

		sim_imei(imei, o->first_imei, i);
		printf("%s\n\t('%s', '%s')", i > 0 ? "," : "", imei, vehicles[i].name);
	}
	printf(";\nINSERT INTO at402.vehicle (name, plate) VALUES");
	for (unsigned i = 0; i < SIM_STORY_VEHICLES; i++)
		printf("%s\n\t('%s', '%s')", i > 0 ? "," : "", vehicles[i].name, vehicles[i].plate);
	printf(";\nINSERT INTO at402.vehicle_device (vehicle_id, device_id)\n"
		   "\tSELECT v.id, d.id FROM at402.vehicle AS v JOIN at402.device AS d USING (name);\n");
}

static void
print_drivers(void)
{
	printf("INSERT INTO at402.driver (name) VALUES");
	for (unsigned i = 0; i <= SIM_STORY_VEHICLES; i++)
		printf("%s\n\t('%s')", i > 0 ? "," : "", driver_name(i));
	printf(";\nINSERT INTO at402.driver_key (driver_id, serial)\n"
		   "\tSELECT d.id, k.serial FROM at402.driver AS d JOIN (VALUES");
	for (unsigned i = 0; i <= SIM_STORY_VEHICLES; i++)
		printf("%s\n\t('%s', '01%012X%02X')", i > 0 ? "," : "", driver_name(i), FIRST_KEY + i,
			   (FIRST_KEY + i) & 0xFF);
	printf(") AS k (name, serial) USING (name);\n");
}

static void
print_point(const sim_options *o, sim_point p, const char *after)
{
	sim_fix		at;

	sim_locate(p, o->latitude_deg, o->longitude_deg, &at);
	printf("%.6f %.6f%s", at.longitude_deg, at.latitude_deg, after);
}

static void
print_places(const sim_options *o)
{
	printf("INSERT INTO at402.geofence (name, tags, radius_m, speed_limit_kmh, geom) VALUES\n");
	for (unsigned i = 0; i < SIM_PLACES; i++)
	{
		printf("\t('%s', '{%s}', %g, NULL, 'SRID=4326;POINT(", sim_places[i].name,
			   sim_places[i].kind, sim_places[i].radius_m);
		print_point(o, sim_place_at(i), ")'),\n");
	}
	printf("\t('Town centre', '{zone}', NULL, 50, 'SRID=4326;POLYGON((");
	for (unsigned i = 0; i <= 12; i++)
		print_point(o, (sim_point) {CENTRE_M * cos(i % 12 * M_PI / 6),
						CENTRE_M * sin(i % 12 * M_PI / 6)}, i < 12 ? "," : "))');\n");
}

static const char rules[] =
	"INSERT INTO at402.rule (name, source, condition, min_duration, level, message) VALUES\n"
	"\t('load too warm', 'ble', 'r.temperature_c > 8 AND r.valid', '10 minutes', 'critical',\n"
	"\t\t'{d.name}: {temperature_c} degrees Celsius'),\n"
	"\t('help', 'event', 'r.kind = ''panic''', NULL, 'critical', '{d.name} calls for help'),\n"
	"\t('fuel gone', 'can', 'r.fuel_level_raw < b.fuel_level_raw - 10', NULL, 'warning',\n"
	"\t\t'{d.name}: fuel level {fuel_level_raw}, it was more'),\n"
	"\t('too fast', 'position', 'r.speed_kmh > 110', NULL, 'info', '{d.name}: {speed_kmh} km/h');\n";

void
sim_story_print_sql(const sim_options *o)
{
	print_vehicles(o);
	print_drivers();
	print_places(o);
	fputs(rules, stdout);
}
