/*
 * sim.h - the parts of the simulated fleet
 *
 *     sim_town.c      roads and places
 *     sim_story.c     a firm's vehicles there, and what happens to them
 *     sim_vehicle.c   a vehicle that drives: what a tracker's sensors see
 *     sim_wire.c      the bytes that a tracker makes of it
 *     sim_command.c   what it is told to do, and what it asks
 *     sim_fleet.c     many trackers that send them, as real ones do
 *     at402sim.c      the command line
 */
#ifndef SIM_H
#define SIM_H

#include <netdb.h>

#include "core/at402.h"

/* ---- a town ---- */

#define SIM_LEGS_MAX 60			/* of one way */

/* From the market place. */
typedef struct sim_point
{
	double		north_m;
	double		east_m;
} sim_point;

typedef enum sim_place_number
{
	SIM_DEPOT, SIM_COLD_STORE, SIM_MARKET, SIM_HOSPITAL, SIM_SCHOOL, SIM_THEATRE, SIM_BREWERY,
	SIM_DAIRY, SIM_STADIUM, SIM_SAWMILL, SIM_TRUCK_STOP, SIM_FILLING_STATION, SIM_QUARRY,
	SIM_AIRFIELD, SIM_MILL, SIM_FARM,
	SIM_PLACES
} sim_place_number;

typedef struct sim_place
{
	const char *name;
	const char *kind;			/* depot, customer, rest or fuel */
	unsigned	junction;		/* that it lies at */
	double		radius_m;
} sim_place;

extern const sim_place sim_places[SIM_PLACES];

/* A piece of road, straight on. */
typedef struct sim_leg
{
	sim_point	to;
	double		limit_kmh;
} sim_leg;

extern sim_point sim_place_at(unsigned place);

/* The fastest way from one place to another; returns how many legs it has. */
extern unsigned sim_route(unsigned from, unsigned to, sim_leg legs[SIM_LEGS_MAX]);

/* ---- a vehicle ---- */

/* Reason flags that vehicles give. */
enum
{
	SIM_TIME_INTERVAL = 1 << 0,
	SIM_GEOFENCE = 1 << 3,
	SIM_PANIC = 1 << 4,
	SIM_EXTERNAL_IO = 1 << 5,
	SIM_JOURNEY_START = 1 << 6,
	SIM_JOURNEY_STOP = 1 << 7,
	SIM_HEADING_CHANGE = 1 << 8,
	SIM_IDLING_START = 1 << 11,
	SIM_IDLING_END = 1 << 12,
	SIM_IDLING_ONGOING = 1 << 13,
	SIM_REBOOT = 1 << 14,
	SIM_OVERSPEED = 1 << 15,
	SIM_ACCELERATION = 1 << 19,
	SIM_CORNERING = 1 << 20,
	SIM_DECELERATION = 1 << 21,
	SIM_GNSS_REACQUIRED = 1 << 22,
	SIM_LOW_EXTERNAL_VOLTAGE = 1 << 28
};

typedef enum sim_can
{
	SIM_NO_CAN,					/* a car, nothing read from its bus */
	SIM_FMS,					/* a truck of 24 V */
	SIM_OBD						/* a van */
} sim_can;

/* Largest and smallest acceleration since the last report, as magnitudes. */
typedef struct sim_accel
{
	double		max_mss;
	double		min_mss;
} sim_accel;

typedef struct sim_fix
{
	int64_t		time;			/* Unix seconds */
	double		latitude_deg;
	double		longitude_deg;
	double		speed_kmh;
	double		heading_deg;
	double		altitude_m;
} sim_fix;

typedef struct sim_vehicle
{
	/* what it is */
	unsigned	number;
	sim_can		can;
	bool		cold;			/* carries temperature and humidity sensors */
	bool		tagged;			/* hears BLE beacons */
	bool		parked;			/* for good */
	double		home_latitude_deg;
	double		home_longitude_deg;
	unsigned short random[3];	/* state of erand48() */
	uint64_t	driver;			/* number of the driver's iButton; 0: none */

	/* its part in the story */
	bool		in_story;
	int64_t		story_begin;	/* a midnight, Unix seconds */
	unsigned	place;			/* where it stands, or where it goes */
	int64_t		leave_at;
	unsigned	calls_left;		/* at customers before it comes home */
	sim_leg		legs[SIM_LEGS_MAX];
	unsigned	leg_count;
	unsigned	leg;			/* that it drives on, from 1; 0: none */
	bool		arrived;
	bool		called_help;
	double		resting_v;		/* of its battery */

	/* where it is and how it moves */
	int64_t		time;			/* of this report, Unix seconds */
	bool		ignition;
	double		north_m;		/* of home */
	double		east_m;
	double		altitude_m;
	double		speed_mps;
	double		heading_deg;
	double		course_deg;		/* heading it steers for */
	double		leg_m;			/* of road up to the next junction */
	double		turn_deg;		/* to take there ... */
	double		halt_s;			/* ... after standing so long */
	double		limit_mps;		/* of the road */
	double		cruise_mps;		/* what the driver makes of it */
	unsigned	phase_left;		/* reports until the journey ends or begins */

	/* of the journey */
	unsigned	journeys;
	double		journey_m;
	double		journey_fuel_l;
	double		journey_max_mps;
	double		idle_s;

	/* of its life */
	double		odometer_m;
	double		engine_s;
	double		fuel_l;
	double		tank_percent;

	/* since the last report */
	uint32_t	reasons;
	double		max_mps;
	double		average_mps;
	sim_accel	accel[3];		/* x along, y across, z up */
	double		reported_heading_deg;
	uint8_t		inputs;			/* 1: ignition, 2: door */
	uint8_t		changes;
	uint8_t		outputs;		/* that a command has switched on */
	uint8_t		reported_outputs;
	uint8_t		output_changes;
	bool		idling;
	bool		overspeed;
	bool		at_home;		/* inside its geofence */

	/* what the sensors say */
	sim_fix		fix;			/* the last good one */
	unsigned	tunnel_left;	/* reports without a fix still to come */
	double		noise;			/* 0 to 1, another one each report */
	double		external_v;
	double		battery_percent;
	double		engine_c;
	double		load_c;			/* air among the load */
	uint8_t		seq;
} sim_vehicle;

/*
 * Vehicle number n of a fleet around a centre (degrees).  The same seed and
 * number drive the same way.  Its first report is of start (Unix seconds).
 */
extern void sim_vehicle_init(sim_vehicle *vehicle, unsigned number, unsigned seed,
							 double latitude_deg, double longitude_deg, int64_t start);

/* Drives on to the next report; step_s: seconds between reports. */
extern void sim_vehicle_step(sim_vehicle *vehicle, unsigned step_s);

/* Where a place so far from a centre (degrees) is. */
extern void sim_locate(sim_point place, double latitude_deg, double longitude_deg, sim_fix *fix);

/* A random number, low <= n < high. */
extern double sim_between(unsigned short random[3], double low, double high);

/* ---- the story ---- */

#define SIM_STORY_VEHICLES 12

/* A vehicle that was just made becomes that of its number in the story; degrees:
 * where the town is. */
extern void sim_story_begin(sim_vehicle *vehicle, double latitude_deg, double longitude_deg);

/* It sets out to its next place; it has arrived there. */
extern void sim_story_leave(sim_vehicle *vehicle);
extern void sim_story_arrive(sim_vehicle *vehicle);

/* Seconds until its next report. */
extern unsigned sim_story_step_s(const sim_vehicle *vehicle);

/* What happens to it meanwhile, other than driving. */
extern void sim_story_live(sim_vehicle *vehicle, unsigned step_s);

/* Is its door open for unloading? */
extern bool sim_story_unloads(const sim_vehicle *vehicle);

/* How far its driver goes beyond the speed limit, at most, as a factor. */
extern double sim_story_haste(const sim_vehicle *vehicle);

/* Has it no network?  Then it reports later. */
extern bool sim_story_is_silent(const sim_vehicle *vehicle);

/* ---- bytes ---- */

#define SIM_BUNDLE_MAX 8		/* reports in a packet */
#define SIM_PACKET_MAX 1400		/* bytes: what passes a mobile network as one datagram */
#define SIM_REPORT_MAX 320		/* bytes of the fullest report */
#define SIM_LOGIN_MAX 128

typedef struct sim_report
{
	size_t		offset;			/* in the packet */
	int64_t		time;			/* Unix seconds */
	uint8_t		seq;
	int32_t		content_hash;	/* CRC-32C without the flags stored and more_queued */
} sim_report;

typedef struct sim_packet
{
	uint8_t		bytes[SIM_PACKET_MAX];
	size_t		length;			/* without the checksum */
	unsigned	count;
	sim_report	reports[SIM_BUNDLE_MAX];
} sim_packet;

/* Begins a packet of this letter (X or Y); imei NULL: without one. */
extern void sim_packet_begin(sim_packet *packet, char letter, const char *imei);

/* Is there room for any one report more? */
extern bool sim_packet_has_room(const sim_packet *packet);

/* Adds what the vehicle has to report now. */
extern void sim_packet_add(sim_packet *packet, const sim_vehicle *vehicle);

/*
 * Sets length, checksum and, in all reports, the two flags of a queue in
 * flash; returns the bytes to send.  Called again before each repeat.
 */
extern size_t sim_packet_finish(sim_packet *packet, bool stored, bool more_queued);

/* The login line; returns its length. */
extern size_t sim_login(char line[SIM_LOGIN_MAX], char letter, const char *imei,
						unsigned number);

/* ---- commands ---- */

#define SIM_TEXT_MAX 2048

/* What a tracker hears and says besides its packets. */
typedef struct sim_talk
{
	char		heard[SIM_TEXT_MAX];	/* a message, once it is complete */
	size_t		heard_length;
	bool		complete;
	char		answer[SIM_TEXT_MAX];
	char	   *answer_at;		/* what was not said yet */
	size_t		now;			/* bytes of that to be said now */
	bool		later;			/* the rest after the next report */
	char		question[80];
	char		said[80];
	bool		polled;			/* a report is wanted at once */
} sim_talk;

/* Takes texts out of the bytes that came; returns how many others are left. */
extern size_t sim_talk_hear(sim_talk *talk, uint8_t *bytes, size_t length);

/*
 * Does what a message asks for.  pin: that the device wants; NULL: none.  mood: 1
 * and more, at once; 0 to 1: in two pieces, late, or never.  False: there was no
 * message to answer.
 */
extern bool sim_talk_answer(sim_talk *talk, sim_vehicle *vehicle, const char *imei,
							const char *pin, double mood);

/* Asks whether the driver with this key may drive. */
extern void sim_talk_ask(sim_talk *talk, const char *imei, uint64_t driver);

/* What is to be said now, and how long it is; 0: nothing. */
extern size_t sim_talk_say(sim_talk *talk, const char **text);

/* A report was answered; the connection ended. */
extern void sim_talk_goes_on(sim_talk *talk);
extern void sim_talk_end(sim_talk *talk);

/* ---- the fleet ---- */

typedef struct sim_options
{
	const struct addrinfo *addresses;	/* of the server, tried in turn */
	unsigned	trackers;
	unsigned	reports;		/* a tracker; 0: without end */
	double		rate;			/* reports a second and tracker; 0: as answered */
	unsigned	step_s;			/* between reports, by the trackers' clocks */
	unsigned	start;			/* of the first report, Unix seconds */
	bool		parked;			/* no journeys */
	bool		story;			/* sim_story.c, from start ... */
	unsigned	since;			/* of which reports from here ... */
	unsigned	until;			/* ... to here are sent */
	unsigned	udp;			/* so many trackers use $MODE,5 ... */
	unsigned	mode4;			/* ... and so many $MODE,4, the others $MODE,6 */
	unsigned	y;				/* so many, spread over the modes, send Y */
	uint64_t	first_imei;
	double		latitude_deg;
	double		longitude_deg;
	unsigned	seed;
	double		answer_timeout_s;
	double		duration_s;		/* 0: without end */
	double		repeat;			/* probability */
	unsigned	bundle;			/* reports a packet, at most */
	const char *journal;		/* file; NULL: none */
	const char *command_journal;
	const char *pin;			/* that the devices want; NULL: none */
	double		awkward;		/* probability that an answer comes otherwise than at once */
	bool		ask_drivers;
	bool		quiet;
} sim_options;

/* Number n of those that begin with this one: 14 digits and their check digit. */
extern void sim_imei(char imei[AT402_IMEI_DIGITS + 1], uint64_t first, unsigned n);

/* The story's devices, drivers, places and rules, as SQL on standard output. */
extern void sim_story_print_sql(const sim_options *options);

/* Runs it to the end; returns the program's exit status: 0, 1 where something
 * stayed unanswered, 2 where the fleet could not run. */
extern int	sim_fleet_run(const sim_options *options);

/* Seconds of a clock that only goes forward. */
extern double sim_now(void);

#endif							/* SIM_H */
