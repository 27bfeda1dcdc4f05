/*
 * settings.c - the settings at402.* of postgresql.conf
 *
 * All in one place, each with unit, range and default.  They exist as soon as
 * the library is loaded; those that only the listener reads can be set in
 * postgresql.conf alone, those that shape what is stored by anyone for his own
 * session, since at402_ingest() reads them too.  What cannot work is refused
 * when it is set, not when it is used.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "pg/settings.h"

char	   *at402_database;
char	   *at402_role;
char	   *at402_listen_addresses;
int			at402_port;
bool		at402_tcp;
bool		at402_udp;
bool		at402_paused;
int			at402_workers;
int			at402_max_connections;
int			at402_max_connections_per_address;
int			at402_idle_timeout;
int			at402_login_timeout;
int			at402_batch_delay;
int			at402_batch_reports;
int			at402_receive_buffers;
int			at402_report_timeout;
int			at402_command_timeout;
bool		at402_commands_udp;
int			at402_unknown_devices;
int			at402_register_limit;
bool		at402_store_frames;
bool		at402_routine_events;
int			at402_future_limit;
int			at402_quarantine_limit;
int			at402_maintain_interval;
int			at402_rule_timeout;
int			at402_alert_max_age;

/* Read by at402.authorise_driver(). */
static int	unknown_drivers;

/* Read by the functions of sql/60-maintain.sql. */
static char *partition_interval;
static int	partitions_ahead;
static char *retention;

static const char *const retained_tables[] = {"position", "event", "io", "motion", "can",
	"can_frame", "ble", "module", "frame", "quarantine", "alert"};
static char *retention_of[lengthof(retained_tables)];
static char *retention_of_visits;

#define AT402_FOREVER "forever"

/* The first is the default. */
static const struct config_enum_entry unknown_devices_options[] = {
	{"register", AT402_REGISTER, false},
	{"quarantine", AT402_QUARANTINE, false},
	{"ignore", AT402_IGNORE, false},
	{NULL, 0, false},
};

static const struct config_enum_entry unknown_drivers_options[] = {
	{"silent", 0, false},
	{"approve", 1, false},
	{"decline", 2, false},
	{NULL, 0, false},
};

/* ---- what can work ---- */

/* As interval_in reads it, which raises; the postmaster must not. */
static bool
parse_interval(const char *text, Interval *interval)
{
	char		work[MAXDATELEN * 2];
	char	   *fields[MAXDATEFIELDS];
	int			types[MAXDATEFIELDS];
	int			count;
	int			type;
	struct pg_itm_in parts = {0};
	int			error = ParseDateTime(text, work, sizeof(work), fields, types, MAXDATEFIELDS,
									  &count);

	if (error == 0)
		error = DecodeInterval(fields, types, count, INTERVAL_FULL_RANGE, &type, &parts);
	if (error == DTERR_BAD_FORMAT)
		error = DecodeISO8601Interval(unconstify(char *, text), &type, &parts);
	return error == 0 && type == DTK_DELTA && itmin2interval(&parts, interval) == 0;
}

/* In microseconds, with months of 30 days as PostgreSQL compares them. */
static double
interval_us(const Interval *i)
{
	return ((double) i->month * DAYS_PER_MONTH + i->day) * USECS_PER_DAY + i->time;
}

static bool
check_partition_interval(char **value, void **extra, GucSource source)
{
	Interval	i;

	if ((*value)[0] == '\0')
		return true;
	if (parse_interval(*value, &i) &&
		(i.month == 0 ? interval_us(&i) >= USECS_PER_HOUR &&
		 interval_us(&i) <= (double) DAYS_PER_MONTH * USECS_PER_DAY
		 : i.month == 1 && i.day == 0 && i.time == 0))
		return true;
	GUC_check_errdetail("A partition spans 1 hour to 30 days, or 1 month.");
	return false;
}

static bool
check_retention(char **value, void **extra, GucSource source)
{
	Interval	i;

	if ((*value)[0] == '\0' || strcmp(*value, AT402_FOREVER) == 0 ||
		(parse_interval(*value, &i) && interval_us(&i) > 0))
		return true;
	GUC_check_errdetail("A positive interval is needed, as in 90 days, or %s.", AT402_FOREVER);
	return false;
}

static bool
check_role(char **value, void **extra, GucSource source)
{
	if ((*value)[0] != '\0')
		return true;
	GUC_check_errdetail("Without a role the workers, which anybody in the network can reach, "
						"would be superusers.");
	GUC_check_errhint("Name a login role; it will own the tables.");
	return false;
}

/* ---- definitions ---- */

/* Names and descriptions are kept by their address. */
static const char *
kept(const char *format,...)
{
	char		text[512];
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return MemoryContextStrdup(TopMemoryContext, text);
}

static const char *
unit_of(int flags)
{
	switch (flags & GUC_UNIT)
	{
		case GUC_UNIT_MS:
			return "In ms, from";
		case GUC_UNIT_S:
			return "In s, from";
		case GUC_UNIT_KB:
			return "In kB, from";
		case GUC_UNIT_MB:
			return "In MB, from";
	}
	return "From";
}

static void
define_int(const char *name, const char *description, int *variable, int boot, int min, int max,
		   GucContext context, int flags)
{
	DefineCustomIntVariable(name, kept("%s %s %d to %d; default %d.", description, unit_of(flags),
									   min, max, boot),
							NULL, variable, boot, min, max, context, flags, NULL, NULL, NULL);
}

static void
define_bool(const char *name, const char *description, bool *variable, bool boot,
			GucContext context)
{
	DefineCustomBoolVariable(name, kept("%s Default %s.", description, boot ? "on" : "off"), NULL,
							 variable, boot, context, 0, NULL, NULL, NULL);
}

static void
define_enum(const char *name, const char *description, int *variable,
			const struct config_enum_entry *options, GucContext context)
{
	DefineCustomEnumVariable(name, kept("%s Default %s.", description, options[0].name), NULL,
							 variable, options[0].val, options, context, 0, NULL, NULL, NULL);
}

static void
define_string(const char *name, const char *description, char **variable, const char *boot,
			  GucContext context, int flags, GucStringCheckHook check)
{
	DefineCustomStringVariable(name, kept("%s Default %s.", description,
										  boot[0] != '\0' ? boot : "empty"),
							   NULL, variable, boot, context, flags, check, NULL, NULL);
}

static void
define_listener_settings(void)
{
	/* where the library is loaded later, there is no listener to fix them for */
	GucContext	at_start = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER
																		: PGC_SIGHUP;

	define_string("at402.database", "Database that the listener stores into; empty: no listener.",
				  &at402_database, "", at_start, 0, NULL);
	define_string("at402.role", "Login role that the listener works as; it owns the tables.",
				  &at402_role, "at402", at_start, 0, check_role);
	define_string("at402.listen_addresses",
				  "Addresses to listen on for trackers: * for all, or a list separated by commas.",
				  &at402_listen_addresses, "localhost", PGC_SIGHUP, GUC_LIST_INPUT, NULL);
	define_int("at402.port",
			   "Port for trackers, TCP and UDP; 0: a free one, shown in at402_stat_listener.",
			   &at402_port, 8888, 0, 65535, PGC_SIGHUP, 0);
	define_bool("at402.tcp", "Listens on TCP.", &at402_tcp, true, PGC_SIGHUP);
	define_bool("at402.udp", "Listens on UDP.", &at402_udp, true, PGC_SIGHUP);
	define_bool("at402.paused",
				"The workers leave the database; trackers keep their reports meanwhile.",
				&at402_paused, false, PGC_SIGHUP);
	define_int("at402.workers", "Number of listeners that share the port.", &at402_workers, 1, 1,
			   64, at_start, 0);
	define_int("at402.max_connections",
			   "Largest number of open TCP connections of trackers to each listener.",
			   &at402_max_connections, 10000, 1, 100000, at_start, 0);
	define_int("at402.max_connections_per_address",
			   "Largest number of open TCP connections from one address; 0: no limit.",
			   &at402_max_connections_per_address, 0, 0, 100000, PGC_SIGHUP, 0);
	define_int("at402.idle_timeout",
			   "Closes a connection after this time without a frame; 0: never.",
			   &at402_idle_timeout, 2 * SECS_PER_HOUR, 0, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S);
	define_int("at402.login_timeout",
			   "Closes a connection whose first frame, or any frame begun, is not complete after "
			   "this time; 0: never.",
			   &at402_login_timeout, 60, 0, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S);
	define_int("at402.batch_delay",
			   "Longest time that a report waits for others to be stored with; where few come it "
			   "does not wait; 0: it never does.",
			   &at402_batch_delay, 0, 0, 10000, PGC_SIGHUP, GUC_UNIT_MS);
	define_int("at402.batch_reports", "Stores as soon as this many reports wait.",
			   &at402_batch_reports, 500, 1, 100000, PGC_SIGHUP, 0);
	define_int("at402.receive_buffers",
			   "Memory of each listener for frames that are not complete.",
			   &at402_receive_buffers, 16 * 1024, 64, 1024 * 1024, PGC_SIGHUP, GUC_UNIT_KB);
	define_int("at402.report_timeout",
			   "Longest time that storing a batch may take; 0: no limit.",
			   &at402_report_timeout, 20 * 1000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS);
}

static void
define_command_settings(void)
{
	define_int("at402.command_timeout",
			   "Longest time that a command waits for its answer; then it is in doubt.",
			   &at402_command_timeout, 60, 1, SECS_PER_DAY, PGC_SIGHUP, GUC_UNIT_S);
	define_bool("at402.commands_udp",
				"Sends commands over UDP too, where any sender may claim to be a device; never "
				"one with a PIN.",
				&at402_commands_udp, false, PGC_SIGHUP);
	define_enum("at402.unknown_drivers",
				"What a device is told of a driver whose key is not in at402.driver_key: nothing "
				"(silent), approve or decline.",
				&unknown_drivers, unknown_drivers_options, PGC_SIGHUP);
}

static void
define_storing_settings(void)
{
	define_enum("at402.unknown_devices",
				"What happens to reports of a device that is not in at402.device: register it, "
				"quarantine or ignore them.",
				&at402_unknown_devices, unknown_devices_options, PGC_USERSET);
	define_int("at402.register_limit",
			   "Largest number of unknown devices that are registered in a minute; -1: no limit.",
			   &at402_register_limit, -1, -1, INT_MAX, PGC_USERSET, 0);
	define_int("at402.quarantine_limit",
			   "Largest size of at402.quarantine; what would go there beyond it is not answered; "
			   "0: no limit.",
			   &at402_quarantine_limit, 1024, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MB);
	define_bool("at402.store_frames", "Keeps each frame as it came in at402.frame.",
				&at402_store_frames, true, PGC_USERSET);
	define_bool("at402.routine_events",
				"Makes rows in at402.event for time_interval, distance and heading_change too.",
				&at402_routine_events, false, PGC_USERSET);
	define_int("at402.future_limit",
			   "Marks reports whose clock is ahead by more than this as time_suspect.",
			   &at402_future_limit, SECS_PER_DAY, 0, INT_MAX, PGC_USERSET, GUC_UNIT_S);
}

static void
define_rule_settings(void)
{
	define_int("at402.rule_timeout",
			   "Longest time that a rule may take for a batch; 0: no limit.",
			   &at402_rule_timeout, 100, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS);
	define_int("at402.alert_max_age",
			   "Rows that are older than this raise no alert.",
			   &at402_alert_max_age, SECS_PER_DAY, 0, INT_MAX, PGC_USERSET, GUC_UNIT_S);
}

static void
define_maintenance_settings(void)
{
	define_string("at402.partition_interval",
				  "Length of a partition, an interval from 1 hour to 1 month; empty: partitions "
				  "are made by others.",
				  &partition_interval, "1 day", PGC_USERSET, 0, check_partition_interval);
	define_int("at402.partitions_ahead", "Number of partitions made ahead of time.",
			   &partitions_ahead, 3, 1, 1000, PGC_USERSET, 0);
	define_string("at402.retention",
				  "Keeps rows for this interval; forever, or empty: for ever.",
				  &retention, "", PGC_USERSET, 0, check_retention);
	for (int i = 0; i < lengthof(retained_tables); i++)
		define_string(kept("at402.retention_%s", retained_tables[i]),
					  kept("Keeps rows of at402.%s for this interval, or forever; empty: as "
						   "at402.retention.", retained_tables[i]),
					  &retention_of[i], "", PGC_USERSET, 0, check_retention);
	define_string("at402.retention_geofence_visit",
				  "Keeps rows of at402.geofence_visit for this interval after the visit ended, or "
				  "forever; empty: as at402.retention.",
				  &retention_of_visits, AT402_FOREVER, PGC_USERSET, 0, check_retention);
	define_int("at402.maintain_interval",
			   "Time between two runs of the maintenance worker; 0: it does not run.",
			   &at402_maintain_interval, SECS_PER_MINUTE, 0, INT_MAX / 1000, PGC_SIGHUP,
			   GUC_UNIT_S);
}

void
at402_define_settings(void)
{
	define_listener_settings();
	define_command_settings();
	define_storing_settings();
	define_rule_settings();
	define_maintenance_settings();
	MarkGUCPrefixReserved("at402");
}
