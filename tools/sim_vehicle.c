/*
 * sim_vehicle.c - a vehicle that drives about
 *
 * Not a traffic model: just enough road, driver and engine that what comes
 * out looks like journeys on a map and in a chart, and that every number is
 * one a real tracker could report.  A road is a row of straight legs with a
 * speed limit; at the junction between two the vehicle brakes, perhaps stands
 * at a light, and turns.  Reasons follow from the motion, not from dice.
 *
 * Each vehicle has a random generator of its own, so that its life depends on
 * seed and number only, never on how fast a server answers.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define METRES_PER_DEGREE 111320.0
#define TRUCK_TANK_L 400.0
#define TANK_L 60.0
#define RANGE_M 15000.0			/* farther from home it turns back */
#define FENCE_M 500.0			/* radius of the geofence around home */
#define SHARP_DEG 45.0			/* a turn that has to be taken slowly */
#define BRAKING_MSS 1.5			/* towards a junction */
#define HARD_BRAKING_MSS 3.5	/* an average driver's hardest, as the two below */
#define HARD_ACCELERATION_MSS 2.2
#define HARD_CORNERING_MSS 3.0
#define TURN_RATE_DEGPS 30.0	/* what the steering allows */
#define PARTS 10				/* of a step, each driven in one go */

/* digital inputs */
#define IGNITION 1
#define DOOR 2

static double
radians(double degrees)
{
	return degrees * (M_PI / 180);
}

static double
degrees(double radians)
{
	return radians * (180 / M_PI);
}

double
sim_between(unsigned short random[3], double low, double high)
{
	return low + (high - low) * erand48(random);
}

static double
between(sim_vehicle *v, double low, double high)
{
	return sim_between(v->random, low, high);
}

static bool
chance(sim_vehicle *v, double probability)
{
	return erand48(v->random) < probability;
}

static double
clamp(double value, double low, double high)
{
	return fmin(fmax(value, low), high);
}

/* the same direction, from -180 up to 180 degrees */
static double
half_turn(double degrees)
{
	return remainder(degrees, 360);
}

static double
away_m(const sim_vehicle *v)
{
	return hypot(v->north_m, v->east_m);
}

static void
move(sim_vehicle *v, double metres, double heading_deg)
{
	v->north_m += metres * cos(radians(heading_deg));
	v->east_m += metres * sin(radians(heading_deg));
}

void
sim_locate(sim_point place, double latitude_deg, double longitude_deg, sim_fix *fix)
{
	fix->latitude_deg = latitude_deg + place.north_m / METRES_PER_DEGREE;
	fix->longitude_deg = longitude_deg +
		place.east_m / (METRES_PER_DEGREE * cos(radians(latitude_deg)));
}

static double
bearing_deg(sim_point from, sim_point to)
{
	return degrees(atan2(to.east_m - from.east_m, to.north_m - from.north_m));
}

/* In the story roads lead somewhere. */
static void
next_leg_of_way(sim_vehicle *v)
{
	sim_point	here = {v->north_m, v->east_m};
	const sim_leg *leg = &v->legs[v->leg++];

	v->limit_mps = leg->limit_kmh / 3.6;
	v->cruise_mps = v->limit_mps * between(v, 0.85, sim_story_haste(v));
	v->turn_deg = 0;
	v->halt_s = 0;
	if (v->leg == v->leg_count)
		v->halt_s = INFINITY;
	else
		v->turn_deg = half_turn(bearing_deg(leg->to, leg[1].to) - bearing_deg(here, leg->to));
	if (v->leg < v->leg_count && fabs(v->turn_deg) > SHARP_DEG && chance(v, 0.3))
		v->halt_s = between(v, 5, 70);
}

/* Whatever the driver did so far, from here it is straight to the leg's end. */
static void
aim(sim_vehicle *v)
{
	sim_point	here = {v->north_m, v->east_m};
	sim_point	end = v->legs[v->leg - 1].to;

	v->course_deg = bearing_deg(here, end);
	v->leg_m = hypot(end.north_m - here.north_m, end.east_m - here.east_m);
}

/* A new piece of road, and what is to happen at its end. */
static void
next_leg(sim_vehicle *v)
{
	static const double limits_kmh[] = {48, 64, 96, 112};

	if (v->in_story)
	{
		next_leg_of_way(v);
		return;
	}
	v->limit_mps = limits_kmh[(int) between(v, 0, 4)] / 3.6;
	v->cruise_mps = v->limit_mps * between(v, 0.85, 1.12);
	v->leg_m = between(v, 150, 80 * v->limit_mps);
	if (away_m(v) > RANGE_M)
	{
		double		home_deg = degrees(atan2(-v->east_m, -v->north_m));

		v->turn_deg = clamp(half_turn(home_deg - v->course_deg), -110, 110);
	}
	else if (chance(v, 0.5))
		v->turn_deg = between(v, -30, 30);
	else
		v->turn_deg = between(v, 60, 110) * (chance(v, 0.5) ? 1 : -1);
	v->halt_s = fabs(v->turn_deg) > SHARP_DEG && chance(v, 0.35) ? between(v, 5, 60) : 0;
}

static void
feel(sim_accel *accel, double mss)
{
	accel->max_mss = fmax(accel->max_mss, mss);
	accel->min_mss = fmax(accel->min_mss, -mss);
}

/* Drives for a short while; pull_in: to a stop at the road side. */
static void
drive(sim_vehicle *v, double seconds, bool pull_in)
{
	double		style = v->cruise_mps / v->limit_mps;	/* who speeds brakes hard */
	double		pass_mps = v->halt_s > 0 ? 0 : fabs(v->turn_deg) > SHARP_DEG ? 6 : 25;
	double		target_mps;
	double		before_mps = v->speed_mps;
	double		ahead_m;
	double		turn_rate_degps;
	double		turned_deg = 0;

	if (v->in_story)
		aim(v);
	target_mps = fmin(v->cruise_mps, sqrt(pass_mps * pass_mps + 2 * BRAKING_MSS * v->leg_m));
	v->speed_mps += clamp((pull_in ? 0 : target_mps) - v->speed_mps,
						  -HARD_BRAKING_MSS * style * seconds,
						  HARD_ACCELERATION_MSS * style * seconds);
	ahead_m = v->speed_mps * seconds * (v->in_story && v->halt_s > 0 ? 0.5 : 1) + 1;
	if (!pull_in && v->leg_m <= ahead_m)
	{
		if (v->halt_s > 0)
		{
			v->arrived = v->in_story && v->leg == v->leg_count;
			if (v->in_story)	/* there is no stopping distance left to come nearer by */
				v->speed_mps = 0;
			v->leg_m = 0;
			v->halt_s -= v->speed_mps == 0 ? seconds : 0;
		}
		else
		{
			v->course_deg += v->turn_deg;
			next_leg(v);
		}
	}
	/* no road is quite straight */
	v->course_deg = half_turn(v->course_deg + between(v, -1, 1) * fmin(seconds, 5));
	if (v->speed_mps > 0)
	{
		turn_rate_degps = fmin(TURN_RATE_DEGPS,
							   degrees(HARD_CORNERING_MSS * style / v->speed_mps));
		turned_deg = clamp(half_turn(v->course_deg - v->heading_deg),
						   -turn_rate_degps * seconds, turn_rate_degps * seconds);
		v->heading_deg = half_turn(v->heading_deg + turned_deg);
	}

	feel(&v->accel[0], (v->speed_mps - before_mps) / seconds);
	feel(&v->accel[1], v->speed_mps * radians(turned_deg) / seconds);
	feel(&v->accel[2], between(v, -0.08, 0.08) * v->speed_mps);
	v->max_mps = fmax(v->max_mps, v->speed_mps);
	v->average_mps += v->speed_mps / PARTS;

	move(v, v->speed_mps * seconds, v->heading_deg);
	v->altitude_m = clamp(v->altitude_m + between(v, -0.03, 0.03) * v->speed_mps * seconds, 0, 400);
	v->leg_m = fmax(v->leg_m - v->speed_mps * seconds, 0);
	v->journey_m += v->speed_mps * seconds;
	v->odometer_m += v->speed_mps * seconds;
	if (v->speed_mps == 0)
		v->idle_s += seconds;
}

/* From one report of a journey to the next. */
static void
travel(sim_vehicle *v, unsigned step_s)
{
	bool		pull_in = !v->in_story && (v->phase_left == 1 || v->phase_left * step_s <= 12);
	double		before_m = v->odometer_m;
	double		fuel_l;

	for (int part = 0; part < PARTS; part++)
		drive(v, (double) step_s / PARTS, pull_in);
	v->engine_s += step_s;
	/* litres: idling by the second, rolling by the metre */
	fuel_l = v->can == SIM_FMS ? 0.0006 * step_s + 0.00028 * (v->odometer_m - before_m) :
		0.0002 * step_s + 0.00006 * (v->odometer_m - before_m);
	v->fuel_l += fuel_l;
	v->journey_fuel_l += fuel_l;
	v->tank_percent -= 100 * fuel_l / (v->can == SIM_FMS ? TRUCK_TANK_L : TANK_L);
	v->journey_max_mps = fmax(v->journey_max_mps, v->max_mps);
	v->engine_c += (88 - v->engine_c) * (1 - exp(-(double) step_s / 240));

	if (v->in_story ? v->arrived : --v->phase_left == 0)
	{
		v->ignition = false;
		v->speed_mps = 0;
		v->max_mps = v->journey_max_mps;	/* so do the real ones at the end */
		v->reasons |= SIM_JOURNEY_STOP;
		v->phase_left = 2 + (unsigned) between(v, 0, 4);
		if (v->in_story)
			sim_story_arrive(v);
	}
}

static void
set_out(sim_vehicle *v)
{
	v->ignition = true;
	v->reasons |= SIM_JOURNEY_START;
	v->phase_left = 15 + (unsigned) between(v, 0, 60);
	v->journeys++;
	v->journey_m = v->journey_fuel_l = v->journey_max_mps = v->idle_s = 0;
	v->reported_heading_deg = v->heading_deg;
	v->arrived = false;
	if (v->in_story)
		sim_story_leave(v);
	else
	{
		v->driver = v->can != SIM_NO_CAN ? 0x19000000 + v->number * 2 + v->journeys % 2 : 0;
		if (v->tank_percent < 15)
			v->tank_percent = 95;
	}
	next_leg(v);
}

/* From one report at rest to the next. */
static void
park(sim_vehicle *v, unsigned step_s)
{
	v->engine_c += (15 - v->engine_c) * (1 - exp(-(double) step_s / 3600));
	if (v->parked)
		return;
	if (v->in_story ? v->time >= v->leave_at : --v->phase_left == 0)
		set_out(v);
}

/* Why there is something to say, besides journeys. */
static void
give_reasons(sim_vehicle *v)
{
	bool		was_idling = v->idling;
	bool		was_overspeed = v->overspeed;

	v->idling = v->ignition && v->speed_mps == 0 && !(v->reasons & SIM_JOURNEY_START);
	if (v->idling)
		v->reasons |= was_idling ? SIM_IDLING_ONGOING : SIM_IDLING_START;
	else if (was_idling)
		v->reasons |= SIM_IDLING_END;

	v->overspeed = v->speed_mps > v->limit_mps * 1.08;
	if (v->overspeed && !was_overspeed)
		v->reasons |= SIM_OVERSPEED;
	if (v->accel[0].max_mss > 1.09 * HARD_ACCELERATION_MSS)
		v->reasons |= SIM_ACCELERATION;
	if (v->accel[0].min_mss > 1.09 * HARD_BRAKING_MSS)
		v->reasons |= SIM_DECELERATION;
	if (fmax(v->accel[1].max_mss, v->accel[1].min_mss) > 1.09 * HARD_CORNERING_MSS)
		v->reasons |= SIM_CORNERING;
	if (fabs(half_turn(v->heading_deg - v->reported_heading_deg)) > 30)
		v->reasons |= SIM_HEADING_CHANGE;
	v->reported_heading_deg = v->heading_deg;
	if (v->changes & DOOR)
		v->reasons |= SIM_EXTERNAL_IO;
}

/* What satellites tell, which is nothing for a while now and then. */
static void
take_fix(sim_vehicle *v)
{
	bool		at_home = away_m(v) < FENCE_M;

	if (v->tunnel_left > 0)
	{
		if (--v->tunnel_left > 0)
			return;
		v->reasons |= SIM_GNSS_REACQUIRED;
	}
	else if (v->speed_mps > 10 && chance(v, 0.004))
	{
		v->tunnel_left = 1 + (unsigned) between(v, 0, 3);
		return;
	}
	if (at_home != v->at_home)
		v->reasons |= SIM_GEOFENCE;
	v->at_home = at_home;
	v->fix.time = v->time;
	sim_locate((sim_point) {v->north_m, v->east_m}, v->home_latitude_deg, v->home_longitude_deg,
			   &v->fix);
	v->fix.altitude_m = v->altitude_m;
	v->fix.speed_kmh = v->speed_mps * 3.6;
	v->fix.heading_deg = v->heading_deg + (v->heading_deg < 0 ? 360 : 0);
}

void
sim_vehicle_step(sim_vehicle *v, unsigned step_s)
{
	bool		first = v->reasons == 0;	/* every report has a reason */
	uint8_t		inputs = v->inputs;
	double		system_v = v->can == SIM_FMS ? 2 : 1;

	v->time += first ? 0 : step_s;
	v->seq++;
	v->reasons = first ? SIM_REBOOT : 0;
	v->max_mps = v->average_mps = 0;
	memset(v->accel, 0, sizeof(v->accel));
	if (v->ignition)
		travel(v, step_s);
	else
		park(v, step_s);
	if (v->in_story)
		sim_story_live(v, first ? 0 : step_s);
	/* the door stands open between the first and the last report at rest */
	v->inputs = v->ignition ? IGNITION :
		(v->in_story ? sim_story_unloads(v) : v->phase_left > 1) &&
		!(v->reasons & (SIM_JOURNEY_STOP | SIM_REBOOT)) ? DOOR : 0;
	v->changes = first ? 0 : v->inputs ^ inputs;
	v->output_changes = v->outputs ^ v->reported_outputs;
	v->reported_outputs = v->outputs;
	give_reasons(v);
	take_fix(v);
	if (v->reasons == 0)
		v->reasons = SIM_TIME_INTERVAL;

	v->noise = between(v, 0, 1);
	v->external_v = system_v * (v->ignition ? 13.7 + 0.5 * v->noise : v->resting_v);
	if (v->in_story || v->parked)
		return;
	v->resting_v = between(v, 12.2, 12.7);
	v->battery_percent = clamp(v->battery_percent + (v->ignition ? 1 : -0.3), 40, 100);
	v->load_c = clamp(v->load_c + between(v, -0.3, 0.3), -2, 9);
}

void
sim_vehicle_init(sim_vehicle *v, unsigned number, unsigned seed,
				 double latitude_deg, double longitude_deg, int64_t start)
{
	memset(v, 0, sizeof(*v));
	v->number = number;
	v->random[0] = (unsigned short) seed;
	v->random[1] = (unsigned short) number;
	v->random[2] = (unsigned short) ((seed >> 16) ^ (number >> 16));
	for (int i = 0; i < 8; i++)
		erand48(v->random);		/* neighbouring seeds begin alike */

	/* by number, so that a small fleet has some of everything; three and five
	 * have no common factor with the ways trackers talk */
	v->can = number % 3 == 0 ? SIM_FMS : number % 3 == 1 ? SIM_OBD : SIM_NO_CAN;
	v->cold = number % 5 == 0;
	v->tagged = number % 5 == 2;

	move(v, between(v, 0, 5000), between(v, 0, 360));
	sim_locate((sim_point) {v->north_m, v->east_m}, latitude_deg, longitude_deg, &v->fix);
	v->home_latitude_deg = v->fix.latitude_deg;
	v->home_longitude_deg = v->fix.longitude_deg;
	v->north_m = v->east_m = 0;
	v->altitude_m = between(v, 20, 120);
	v->heading_deg = v->course_deg = v->reported_heading_deg = between(v, -180, 180);
	v->at_home = true;
	v->phase_left = 1 + (unsigned) between(v, 0, 3);

	v->time = start;
	v->seq = (uint8_t) between(v, 0, 256);
	v->odometer_m = between(v, 2e6, 4e8);
	v->engine_s = v->odometer_m / 14;
	v->fuel_l = v->odometer_m * (v->can == SIM_FMS ? 0.0003 : 0.00007);
	v->tank_percent = between(v, 20, 95);
	v->resting_v = 12.6;
	v->battery_percent = between(v, 70, 100);
	v->engine_c = between(v, 10, 40);
	v->load_c = between(v, 2, 6);
}
