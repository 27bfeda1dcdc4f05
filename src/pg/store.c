/*
 * store.c - the statements that store a batch
 *
 * One set-based statement for each table, through SPI: privileges, row
 * security, triggers, rules, partitions and foreign planners apply as to any
 * INSERT.  Tables are written in one fixed order, rows in the order of their
 * keys, so that two listeners do not deadlock.
 *
 * All statements of a slice of reports run in a subtransaction.  When it fails
 * with an error that is the surroundings' fault, the error goes on to the
 * caller.  Any other error is some report's: the slice is halved until the
 * report is alone, and that one is quarantined.
 *
 * Most batches hold no repeat, and a plain INSERT is nearly twice as fast as
 * ON CONFLICT: it is tried first unless a device said that it sends from its
 * memory.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "pg/attempt.h"
#include "pg/settings.h"
#include "pg/store.h"

#define SCHEMA "at402"

/* %1$s stands for the schema of at402's functions, %2$s for PostGIS's. */
#define POINT "%2$s.st_setsrid(%2$s.st_makepoint(longitude, latitude), 4326)"
#define KEY "device_id, \"time\", seq, content_hash"

#define POSITION_COLUMNS                                                                           \
	"received_at, fix_time, reasons, status, lifetime_odometer_km, engine_hours, adc1_raw, "       \
	"adc2_raw, adc1_mv, adc2_mv, speed_kmh, max_speed_kmh, heading_deg, altitude_m, satellites, "  \
	"satellites_in_view, position_error_m, fix_availability_percent, battery_percent, "            \
	"gsm_signal_dbm, gnss_valid, ignition, time_suspect, external_voltage_v, "                     \
	"journey_distance_km, hdop"
#define INSERT_POSITION                                                                            \
	"INSERT INTO " SCHEMA ".position (" KEY ", " POSITION_COLUMNS ", inputs, outputs, geom) "      \
	"SELECT " KEY ", " POSITION_COLUMNS ", coalesce(inputs, inputs_outputs & 255), "               \
	"inputs_outputs >> 8, " POINT " FROM %1$s.at402_batch_position($1)"
#define INSERT_ROWS(table, columns)                                                                \
	"INSERT INTO " SCHEMA "." table " (" KEY ", n, " columns ") SELECT " KEY ", n, " columns       \
	" FROM %1$s.at402_batch_" table "($1)"

typedef enum At402Statement
{
	CHECK_AT_ONCE,
	FIND_DEVICES,
	REGISTER_DEVICES,
	UPDATE_DEVICES,
	NEW_POSITIONS,
	POSITIONS,
	EVENTS,
	LATE_EVENTS,
	IO,
	MOTION,
	CAN,
	CAN_FRAMES,
	BLE,
	MODULES,
	SIM_CARDS,
	STATE,
	PRESENCE,
	RESTART,
	FRAMES,
	QUARANTINE_SIZE,
	QUARANTINE,
	STATEMENT_COUNT
} At402Statement;

static const char *const statements[STATEMENT_COUNT] = {
	[CHECK_AT_ONCE] = "SET CONSTRAINTS ALL IMMEDIATE",
	[FIND_DEVICES] =
		"SELECT d.imei, d.id, d.enabled, d.protocol, s.\"time\", s.ignition FROM " SCHEMA ".device d "
		"LEFT JOIN " SCHEMA ".device_state s ON s.device_id = d.id WHERE d.imei = ANY (ARRAY("
		"SELECT s.imei FROM %1$s.at402_batch_sender($1) s)) ORDER BY d.imei COLLATE \"C\"",
	[REGISTER_DEVICES] =
		"INSERT INTO " SCHEMA ".device (imei, first_seen) "
		"SELECT s.imei, min(s.received_at) FROM %1$s.at402_batch_sender($1) s "
		"WHERE NOT EXISTS (SELECT FROM " SCHEMA ".device d WHERE d.imei = s.imei) "
		"GROUP BY s.imei ORDER BY s.imei LIMIT $2 ON CONFLICT (imei) DO NOTHING",
	/* the last word counts: a login's, else the letter of a packet */
#define LAST_SAID(column)                                                                          \
	"(array_agg(" column " ORDER BY login DESC, received_at DESC, ordinality DESC) "               \
	"FILTER (WHERE " column " IS NOT NULL))[1] AS " column
	[UPDATE_DEVICES] =
		"WITH said AS (SELECT imei, " LAST_SAID("model") ", " LAST_SAID("firmware") ", "
		LAST_SAID("hardware") ", " LAST_SAID("vin") ", " LAST_SAID("protocol")
		"  FROM %1$s.at402_batch_sender($1) WITH ORDINALITY "
		"  WHERE login OR protocol IS NOT NULL GROUP BY imei), "
		"changed AS MATERIALIZED (SELECT d.id, s.* FROM said s JOIN " SCHEMA ".device d USING (imei) "
		"  WHERE d.enabled AND (d.model, d.firmware, d.hardware, d.vin, d.protocol) IS DISTINCT FROM "
		"    (coalesce(s.model, d.model), coalesce(s.firmware, d.firmware), "
		"     coalesce(s.hardware, d.hardware), coalesce(s.vin, d.vin), "
		"     coalesce(s.protocol, d.protocol)) "
		"  ORDER BY d.id FOR UPDATE OF d) "
		"UPDATE " SCHEMA ".device d SET model = coalesce(c.model, d.model), "
		"  firmware = coalesce(c.firmware, d.firmware), "
		"  hardware = coalesce(c.hardware, d.hardware), vin = coalesce(c.vin, d.vin), "
		"  protocol = coalesce(c.protocol, d.protocol) FROM changed c WHERE d.id = c.id",
	[NEW_POSITIONS] = INSERT_POSITION,
	[POSITIONS] = INSERT_POSITION " ON CONFLICT (" KEY ") DO NOTHING RETURNING " KEY,
	[EVENTS] =
		"INSERT INTO " SCHEMA ".event (" KEY ", n, kind, detail, late, geom) "
		"SELECT " KEY ", n, kind, data, late, " POINT " FROM %1$s.at402_batch_event($1)",
	/* a change of the ignition that a late report tells of */
	[LATE_EVENTS] =
		"INSERT INTO " SCHEMA ".event (" KEY ", n, kind, late, geom) "
		"SELECT " KEY ", b.events, CASE WHEN b.ignition THEN 'ignition_on' ELSE 'ignition_off' END, "
		"  true, " POINT " FROM %1$s.at402_batch_position($1) b "
		"CROSS JOIN LATERAL (SELECT p.ignition AS was FROM " SCHEMA ".position p "
		"  WHERE p.device_id = b.device_id AND p.\"time\" < b.\"time\" "
		"    AND p.\"time\" > b.\"time\" - interval '1 day' "
		"  ORDER BY p.\"time\" DESC, p.seq DESC LIMIT 1) before "
		"WHERE b.late AND b.ignition <> before.was",
	/* the lowest bit of an alcohol test's status: passed */
	[IO] =
		"INSERT INTO " SCHEMA ".io (" KEY ", n, line, state, kind, value, text_value, data) "
		"SELECT " KEY ", n, line, CASE kind WHEN 'alcohol_test' "
		"  THEN (data->>'status_mask')::int & 1 = 1 ELSE state END, kind, value, text_value, data "
		"FROM %1$s.at402_batch_io($1)",
	[MOTION] = INSERT_ROWS("motion", "idle_time_s, accel_x_max_mss, accel_x_min_mss, "
						   "accel_y_max_mss, accel_y_min_mss, accel_z_max_mss, accel_z_min_mss"),
	[CAN] = INSERT_ROWS("can", "working_states_mask, axle_weight_kg, fms_status_mask, "
						"fms_events_mask, obd_status_mask, obd_events_mask, lifetime_odometer_km, "
						"lifetime_hours, cruise_control_time_s, service_distance_km, "
						"mil_on_time_raw, mil_on_distance_raw, max_wheel_speed_kmh, "
						"average_wheel_speed_kmh, max_engine_rpm, average_engine_rpm, "
						"max_accelerator_percent, average_accelerator_percent, "
						"max_engine_load_percent, average_engine_load_percent, "
						"engine_temperature_c, fuel_level_raw, door_control_mask, source, "
						"journey_distance_km, journey_fuel_l, total_fuel_l, driver_1, driver_2, "
						"dtcs, data"),
	[CAN_FRAMES] = INSERT_ROWS("can_frame", "can_id, age_s, data"),
	[BLE] = INSERT_ROWS("ble", "last_seen_s, height_cm, light_raw, rssi_dbm, sensor_index, "
						"meta_type, companion, valid, mac, kind, temperature_c, humidity_percent, "
						"meta, data"),
	[MODULES] = INSERT_ROWS("module", "name, data"),
	[SIM_CARDS] =
		"WITH said AS (SELECT device_id, "
		"    (array_agg(imsi ORDER BY \"time\" DESC) FILTER (WHERE imsi IS NOT NULL))[1] AS imsi, "
		"    (array_agg(iccid ORDER BY \"time\" DESC) FILTER (WHERE iccid IS NOT NULL))[1] AS iccid "
		"  FROM %1$s.at402_batch_device($1) GROUP BY device_id), "
		"changed AS MATERIALIZED (SELECT s.* FROM said s JOIN " SCHEMA ".device d ON d.id = s.device_id "
		"  WHERE (d.imsi, d.iccid) IS DISTINCT FROM "
		"    (coalesce(s.imsi, d.imsi), coalesce(s.iccid, d.iccid)) ORDER BY d.id FOR UPDATE OF d) "
		"UPDATE " SCHEMA ".device d SET imsi = coalesce(c.imsi, d.imsi), "
		"  iccid = coalesce(c.iccid, d.iccid) FROM changed c WHERE d.id = c.device_id",
#define NEWER "(EXCLUDED.\"time\", EXCLUDED.seq) >= (s.\"time\", s.seq)"
#define IF_NEWER(column)                                                                           \
	column " = CASE WHEN coalesce(" NEWER ", true) THEN coalesce(EXCLUDED." column ", s." column   \
		   ") ELSE s." column " END, "
#define IF_MOVED(column)                                                                           \
	column " = CASE WHEN (EXCLUDED.position_time, EXCLUDED.position_seq) >= "                      \
		   "(coalesce(s.position_time, '-infinity'), coalesce(s.position_seq, -1)) "               \
		   "THEN EXCLUDED." column " ELSE s." column " END, "
	/* a clock far ahead would make all later reports late: it does not count */
	[STATE] =
		"WITH r AS MATERIALIZED (SELECT *, " POINT " AS geom FROM %1$s.at402_batch_position($1) "
		"    WHERE NOT time_suspect), "
		"last AS (SELECT DISTINCT ON (device_id) * FROM r ORDER BY device_id, \"time\" DESC, seq DESC), "
		"good AS (SELECT DISTINCT ON (device_id) device_id, \"time\", seq, geom, speed_kmh, "
		"    heading_deg, altitude_m FROM r WHERE gnss_valid AND geom IS NOT NULL "
		"  ORDER BY device_id, \"time\" DESC, seq DESC), "
		"seen AS (SELECT device_id, max(received_at) AS received_at, "
		"    max(lifetime_odometer_km) AS lifetime_odometer_km FROM r GROUP BY device_id) "
		"INSERT INTO " SCHEMA ".device_state AS s (device_id, \"time\", seq, content_hash, "
		"  received_at, reasons, status, ignition, battery_percent, external_voltage_v, "
		"  journey_distance_km, lifetime_odometer_km, position_time, position_seq, geom, speed_kmh, "
		"  heading_deg, altitude_m, last_seen) "
		"SELECT l.device_id, l.\"time\", l.seq, l.content_hash, l.received_at, l.reasons, "
		"  l.status, l.ignition, l.battery_percent, l.external_voltage_v, l.journey_distance_km, "
		"  n.lifetime_odometer_km, g.\"time\", g.seq, g.geom, g.speed_kmh, g.heading_deg, g.altitude_m, "
		"  n.received_at "
		"FROM last l JOIN seen n USING (device_id) LEFT JOIN good g USING (device_id) "
		"ORDER BY l.device_id "
		"ON CONFLICT (device_id) DO UPDATE SET "
		IF_NEWER("\"time\"") IF_NEWER("seq") IF_NEWER("content_hash") IF_NEWER("received_at")
		IF_NEWER("reasons") IF_NEWER("status") IF_NEWER("ignition") IF_NEWER("battery_percent")
		IF_NEWER("external_voltage_v") IF_NEWER("journey_distance_km")
		IF_MOVED("position_time") IF_MOVED("position_seq") IF_MOVED("geom") IF_MOVED("speed_kmh") IF_MOVED("heading_deg")
		IF_MOVED("altitude_m")
		"lifetime_odometer_km = greatest(s.lifetime_odometer_km, EXCLUDED.lifetime_odometer_km), "
		"last_seen = greatest(s.last_seen, EXCLUDED.last_seen)",
	[PRESENCE] =
		"WITH p AS MATERIALIZED (SELECT d.id AS device_id, b.connected, b.at, s.connected AS was "
		"  FROM %1$s.at402_batch_presence($1) b JOIN " SCHEMA ".device d USING (imei) "
		"  LEFT JOIN " SCHEMA ".device_state s ON s.device_id = d.id "
		"  WHERE b.connected <> coalesce(s.connected, false) "
		"    AND (b.connected OR s.listener IS NOT DISTINCT FROM $2)), "
		"state AS (INSERT INTO " SCHEMA ".device_state AS s (device_id, connected, listener, last_seen) "
		"  SELECT device_id, connected, $2, at FROM p ORDER BY device_id "
		"  ON CONFLICT (device_id) DO UPDATE SET connected = EXCLUDED.connected, "
		"    listener = EXCLUDED.listener, last_seen = greatest(s.last_seen, EXCLUDED.last_seen)) "
		"INSERT INTO " SCHEMA ".event (" KEY ", n, kind) "
		"SELECT device_id, at, -1, 0, 0, CASE WHEN connected THEN 'online' ELSE 'offline' END FROM p",
	[RESTART] =
		"WITH gone AS (UPDATE " SCHEMA ".device_state SET connected = false, listener = NULL "
		"  WHERE connected AND listener = $2 RETURNING device_id) "
		"INSERT INTO " SCHEMA ".event (" KEY ", n, kind) "
		"SELECT device_id, now(), -1, 0, 0, 'offline' FROM gone",
	[FRAMES] =
		"INSERT INTO " SCHEMA ".frame (received_at, device_id, protocol, transport, peer, frame) "
		"SELECT received_at, device_id, protocol, transport, peer::inet, frame "
		"FROM %1$s.at402_batch_frame($1)",
	[QUARANTINE_SIZE] =
		"SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('" SCHEMA ".quarantine') "
		"WHERE isleaf",
	[QUARANTINE] =
		"INSERT INTO " SCHEMA ".quarantine (received_at, report_no, logged_in, imei, protocol, "
		"  transport, peer, reason, sqlstate, message, bytes) "
		"SELECT received_at, report_no, logged_in, imei, protocol, transport, peer::inet, reason, "
		"  sqlstate, message, bytes FROM %1$s.at402_batch_quarantine($1)",
};

/* ---- statements ---- */

static SPIPlanPtr plans[STATEMENT_COUNT];
static Oid	planned_schema;		/* that the plans were made for */
static Oid	planned_postgis;

Oid
at402_extension_schema(const char *name)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			schema = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(name));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (!OidIsValid(schema))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("extension \"%s\" does not exist", name),
				errhint("CREATE EXTENSION at402 CASCADE;"));
	return schema;
}

/* Forgets the plans when one of the extensions was made anew elsewhere. */
static void
find_schemas(void)
{
	Oid			schema = at402_extension_schema("at402");
	Oid			postgis = at402_extension_schema("postgis");

	if (schema == planned_schema && postgis == planned_postgis)
		return;
	for (int i = 0; i < STATEMENT_COUNT; i++)
	{
		if (plans[i] != NULL)
			SPI_freeplan(plans[i]);
		plans[i] = NULL;
	}
	planned_schema = schema;
	planned_postgis = postgis;
}

/* Runs a statement for the batch; the result is in SPI_tuptable. */
static uint64
run(At402Batch *batch, At402Statement statement, int64 second)
{
	Datum		args[2] = {Int64GetDatum(batch->handle), Int64GetDatum(second)};
	int			result;

	if (plans[statement] == NULL)
	{
		Oid			types[2] = {INT8OID, INT8OID};
		char	   *sql = psprintf(statements[statement],
								   quote_identifier(get_namespace_name(planned_schema)),
								   quote_identifier(get_namespace_name(planned_postgis)));
		SPIPlanPtr	plan = SPI_prepare(sql, 2, types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare statement: %s", SPI_result_code_string(SPI_result));
		plans[statement] = plan;
	}
	result = SPI_execute_plan(plans[statement], args, NULL, false, 0);
	if (result < 0)
		elog(ERROR, "could not run statement: %s", SPI_result_code_string(result));
	return SPI_processed;
}

/* ---- devices ---- */

static bool
needs_device(const At402Item *item)
{
	return item->imei[0] != '\0' && item->device_id == 0 &&
		(item->fate == AT402_FATE_ROWS || item->fate == AT402_FATE_DEVICE ||
		 item->fate == AT402_FATE_TEXT);
}

static bool
any_needs_device(const At402Batch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->items)
		if (needs_device(lfirst(lc)))
			return true;
	return false;
}

static void
quarantine_item(At402Batch *batch, At402Item *item, const char *reason, const char *sqlstate,
				const char *message)
{
	item->fate = AT402_FATE_QUARANTINE;
	item->reason = reason;
	item->sqlstate = sqlstate ? MemoryContextStrdup(batch->context, sqlstate) : NULL;
	item->message = MemoryContextStrdup(batch->context, message);
}

static int
compare_imei(const ListCell *a, const ListCell *b)
{
	return strcmp(((At402Item *) lfirst(a))->imei, ((At402Item *) lfirst(b))->imei);
}

/* Does the item tell of its device what is not in the table yet? */
static bool
brings_news(const At402Item *item, const char *protocol)
{
	if (item->kind == AT402_FRAME_LOGIN)
		return true;
	return item->kind == AT402_FRAME_PACKET && !item->logged_in &&
		(protocol == NULL || protocol[0] != (char) item->bytes[0]);
}

/*
 * Gives the items their devices; those of disabled ones go to quarantine.
 * True when at402.device has to be brought up to date.
 */
static bool
find_devices(At402Batch *batch)
{
	List	   *waiting = NIL;
	ListCell   *lc;
	uint64		row = 0;
	bool		news = false;

	run(batch, FIND_DEVICES, 0);
	foreach(lc, batch->items)
		if (needs_device(lfirst(lc)))
			waiting = lappend(waiting, lfirst(lc));
	list_sort(waiting, compare_imei);
	/* both sides come in the order of the IMEIs */
	foreach(lc, waiting)
	{
		At402Item  *item = lfirst(lc);
		TupleDesc	desc = SPI_tuptable->tupdesc;
		HeapTuple	tuple;
		int			order = 1;
		bool		null;

		while (row < SPI_processed &&
			   (order = strcmp(SPI_getvalue(SPI_tuptable->vals[row], desc, 1), item->imei)) < 0)
			row++;
		if (row == SPI_processed || order > 0)
			continue;			/* a stranger */
		tuple = SPI_tuptable->vals[row];
		item->device_id = DatumGetInt32(SPI_getbinval(tuple, desc, 2, &null));
		item->state_time = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 5, &null));
		item->has_state = !null;
		item->state_ignition = DatumGetBool(SPI_getbinval(tuple, desc, 6, &null));
		if (!DatumGetBool(SPI_getbinval(tuple, desc, 3, &null)))
			quarantine_item(batch, item, "device_disabled", NULL,
							"the device is disabled in at402.device");
		else
			news |= brings_news(item, SPI_getvalue(tuple, desc, 4));
	}
	return news;
}

/* Registers strangers, as many as the limit leaves for this minute. */
static void
register_devices(At402Batch *batch)
{
	static TimestampTz minute;
	static int64 registered;
	TimestampTz now = GetCurrentTimestamp();
	int64		left = PG_INT64_MAX;

	if (at402_register_limit >= 0)
	{
		if (now - minute >= USECS_PER_MINUTE)
		{
			minute = now;
			registered = 0;
		}
		left = Max(at402_register_limit - registered, 0);
	}
	registered += (int64) run(batch, REGISTER_DEVICES, left);
}

static void
settle_strangers(At402Batch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->items)
	{
		At402Item  *item = lfirst(lc);

		if (!needs_device(item))
			continue;
		if (at402_unknown_devices == AT402_QUARANTINE)
			quarantine_item(batch, item, "unknown_device", NULL,
							"the device is not in at402.device");
		else if (at402_unknown_devices == AT402_REGISTER && batch->listener == 0)
			/* from SQL there is no sender that could repeat it */
			quarantine_item(batch, item, "register_limit", NULL,
							"more unknown devices than at402.register_limit");
		else
		{
			item->fate = at402_unknown_devices == AT402_IGNORE ? AT402_FATE_IGNORED
															   : AT402_FATE_REFUSED;
			item->reason = at402_unknown_devices == AT402_IGNORE ? "unknown_device"
																 : "register_limit";
		}
	}
}

/* For all items, or for the one that is tried alone. */
static void
resolve_devices(void *argument)
{
	At402Batch *batch = argument;
	bool		news;

	SPI_connect();
	news = find_devices(batch);
	if (any_needs_device(batch) && at402_unknown_devices == AT402_REGISTER)
	{
		register_devices(batch);
		news |= find_devices(batch);
	}
	if (news)
		run(batch, UPDATE_DEVICES, 0);
	SPI_finish();
}

/* ---- reports ---- */

static At402Report *
find_report(At402Batch *batch, HeapTuple row, TupleDesc desc)
{
	bool		null;
	int			device_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &null));
	TimestampTz time = DatumGetTimestampTz(SPI_getbinval(row, desc, 2, &null));
	int			seq = DatumGetInt16(SPI_getbinval(row, desc, 3, &null));
	int			hash = DatumGetInt32(SPI_getbinval(row, desc, 4, &null));

	for (int low = batch->first, high = batch->last; low < high;)
	{
		int			middle = (low + high) / 2;
		At402Report *r = batch->reports[middle];
		bool		before = r->item->device_id != device_id ? r->item->device_id < device_id
			: r->time != time ? r->time < time
			: r->report.seq != seq ? r->report.seq < seq
			: r->content_hash < hash;

		if (before)
			low = middle + 1;
		else if (r->item->device_id == device_id && r->time == time && r->report.seq == seq &&
				 r->content_hash == hash)
			return r;
		else
			high = middle;
	}
	return NULL;
}

/* All of these homes, of the reports of the slice that are new. */
static uint32
homes_of_slice(At402Batch *batch)
{
	uint32		homes = 0;

	for (int i = batch->first; i < batch->last; i++)
		if (batch->reports[i]->is_new)
			homes |= batch->reports[i]->homes;
	return homes;
}

/* What follows from the reports that are new. */
static void
store_details(At402Batch *batch)
{
	static const struct
	{
		uint32		homes;
		At402Statement statement;
	}			tables[] = {
		{AT402_HOME_IO, IO},
		{AT402_HOME_MOTION, MOTION},
		{AT402_HOME_CAN, CAN},
		{AT402_HOME_CAN_FRAME, CAN_FRAMES},
		{AT402_HOME_BLE, BLE},
		{AT402_HOME_MODULE | AT402_HOME_EVENT, MODULES},
		{AT402_HOME_DEVICE, SIM_CARDS},
	};
	uint32		homes = homes_of_slice(batch);

	run(batch, EVENTS, 0);
	if (batch->any_late)
		run(batch, LATE_EVENTS, 0);
	if (at402_store_frames)
		run(batch, FRAMES, 0);
	for (int i = 0; i < lengthof(tables); i++)
		if (homes & tables[i].homes)
			run(batch, tables[i].statement, 0);
	run(batch, STATE, 0);
}

/* All reports of the slice are new; 23505 when one is not. */
static void
store_new(void *argument)
{
	At402Batch *batch = argument;

	SPI_connect();
	/* a trigger may have put a row aside: only RETURNING can tell which */
	if (run(batch, NEW_POSITIONS, 0) != batch->last - batch->first)
		ereport(ERROR, errcode(ERRCODE_UNIQUE_VIOLATION),
				errmsg("not all reports of the batch are new"));
	store_details(batch);
	SPI_finish();
}

static void
store_any(void *argument)
{
	At402Batch *batch = argument;
	uint64		stored;

	SPI_connect();
	for (int i = batch->first; i < batch->last; i++)
		batch->reports[i]->is_new = true;
	run(batch, POSITIONS, 0);
	stored = SPI_processed;
	for (int i = batch->first; i < batch->last; i++)
		batch->reports[i]->is_new = false;
	for (uint64 i = 0; i < stored; i++)
	{
		At402Report *r = find_report(batch, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);

		if (r != NULL)
			r->is_new = true;
	}
	if (stored > 0)
		store_details(batch);
	SPI_finish();
}

/* ---- whose fault ---- */

const char *
at402_missing(const char **hint)
{
	const char *missing = NULL;
	Oid			extension = get_extension_oid("at402", true);

	if (!OidIsValid(extension))
	{
		*hint = "CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables();";
		return "extension at402 does not exist";
	}
	SPI_connect();
	if (SPI_execute("SELECT CASE WHEN to_regclass('at402.position') IS NULL THEN 0 "
					"WHEN NOT has_schema_privilege(to_regnamespace('at402'), 'USAGE') THEN 2 "
					"WHEN NOT (SELECT bool_and(has_table_privilege(c.oid, 'INSERT') "
					"  AND has_table_privilege(c.oid, 'SELECT')) FROM pg_class c "
					"  WHERE c.relnamespace = to_regnamespace('at402') AND c.relname IN "
					"  ('device', 'device_state', 'position', 'event', 'io', 'motion', 'can', "
					"   'can_frame', 'ble', 'module', 'frame', 'quarantine')) THEN 2 "
					"ELSE 1 END",
					true, 1) == SPI_OK_SELECT &&
		SPI_processed == 1)
	{
		bool		null;
		int			found = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
														SPI_tuptable->tupdesc, 1, &null));

		if (found == 0)
		{
			*hint = "SELECT at402_create_tables();";
			missing = "the tables of at402 do not exist";
		}
		else if (found == 2)
		{
			*hint = "SELECT at402_create_tables();  -- as a superuser: it hands them over";
			missing = "the role may not write to the tables of at402";
		}
	}
	SPI_finish();
	return missing;
}

/*
 * An error of the surroundings goes away by itself or by the administrator's
 * hand, and the reports can then be stored; anything else is in the report.
 */
static bool
is_surroundings(const ErrorData *error)
{
	const char *hint;

	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
	}
	/* a row that a policy forbids: it is the row, not a missing right */
	if (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && error->funcname != NULL &&
		strcmp(error->funcname, "ExecWithCheckOptions") == 0)
		return false;
	/* no partition, or a partition that is just being made: no constraint is named */
	if (error->sqlerrcode == ERRCODE_CHECK_VIOLATION && error->constraint_name == NULL)
		return true;
	/* a missing table, column, function or right: ours, or one of a user's trigger? */
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION ||
		error->sqlerrcode == ERRCODE_INVALID_SCHEMA_NAME)
		return at402_missing(&hint) != NULL || error->context == NULL ||
			strchr(error->context, '\n') == NULL;
	return false;
}

/* Raises an error again, with the statement that mends what is missing. */
static void
raise_surroundings(ErrorData *error)
{
	const char *hint;

	if (error->hint == NULL && at402_missing(&hint) != NULL)
		error->hint = psprintf("Execute: %s", hint);
	ReThrowError(error);
}

/* Does what needs the whole batch or one item only; the error is the
 * surroundings' or it is returned. */
static ErrorData *
attempt(At402Work work, At402Batch *batch)
{
	ErrorData  *error = NULL;

	if (!at402_attempt(AT402_SUBTRANSACTION, work, batch, &error) && is_surroundings(error))
		raise_surroundings(error);
	return error;
}

/*
 * Tries the work for the batch; where it is rejected, for each of the items
 * that want it, and quarantines those that are rejected alone.
 */
static void
attempt_items(At402Work work, At402Batch *batch, bool (*wants) (const At402Item *item))
{
	List	   *all = batch->items;
	ListCell   *lc;

	if (attempt(work, batch) == NULL)
		return;
	foreach(lc, all)
	{
		At402Item  *item = lfirst(lc);
		ErrorData  *error;

		if (!wants(item))
			continue;
		batch->items = list_make1(item);
		error = attempt(work, batch);
		if (error != NULL)
			quarantine_item(batch, item, "rejected", unpack_sql_state(error->sqlerrcode),
							error->message);
	}
	batch->items = all;
}

static void
quarantine_report(At402Batch *batch, At402Report *r, const ErrorData *error)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);

	r->quarantined = true;
	r->is_new = false;
	r->sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	r->message = pstrdup(error->message);
	MemoryContextSwitchTo(caller);
}

/* The slice is stored: its new reports have taken their frames along. */
static void
mark_kept(At402Batch *batch)
{
	for (int i = batch->first; i < batch->last; i++)
		if (batch->reports[i]->is_new)
			batch->reports[i]->item->kept = true;
}

/*
 * Stores the reports from first to last - 1, halving where one of them is
 * rejected.
 */
static void
store_slice(At402Batch *batch, int first, int last)
{
	ErrorData  *error = NULL;
	int			middle = first + (last - first) / 2;

	if (first == last)
		return;
	batch->first = first;
	batch->last = last;
	if (batch->any_stored_flag || (error = attempt(store_new, batch)) != NULL)
	{
		if (error == NULL || error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION)
			error = attempt(store_any, batch);
	}
	if (error == NULL)
		mark_kept(batch);
	else if (last - first == 1)
		quarantine_report(batch, batch->reports[first], error);
	else
	{
		store_slice(batch, first, middle);
		store_slice(batch, middle, last);
	}
}

static void
count_results(At402Batch *batch)
{
	ListCell   *lc;

	for (int i = 0; i < batch->report_count; i++)
	{
		const At402Report *r = batch->reports[i];

		if (r->quarantined)
			batch->quarantined++;
		else if (r->is_new)
			batch->inserted++;
		else
			batch->duplicates++;
	}
	foreach(lc, batch->items)
		if (((At402Item *) lfirst(lc))->fate == AT402_FATE_QUARANTINE)
			batch->quarantined++;
}

static bool
is_text(const At402Item *item)
{
	return item->fate == AT402_FATE_TEXT;
}

static bool
any_text(const At402Batch *batch)
{
	ListCell   *lc;

	foreach(lc, batch->items)
		if (is_text(lfirst(lc)))
			return true;
	return false;
}

static void
store_texts(void *argument)
{
	At402Batch *batch = argument;

	batch->first = batch->last = 0;
	SPI_connect();
	run(batch, FRAMES, 0);
	SPI_finish();
}

static void
store_presence(void *argument)
{
	At402Batch *batch = argument;

	SPI_connect();
	run(batch, PRESENCE, batch->listener);
	SPI_finish();
}

/* ERROR 53400 when at402.quarantine_limit is reached. */
static void
store_quarantine(void *argument)
{
	At402Batch *batch = argument;

	SPI_connect();
	if (at402_quarantine_limit > 0)
	{
		bool		null;
		Numeric		size;

		run(batch, QUARANTINE_SIZE, 0);
		size = DatumGetNumeric(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
											 &null));
		if (!null && DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(size))) >=
			at402_quarantine_limit * INT64CONST(1024) * 1024)
			ereport(ERROR, errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					errmsg("quarantine is full"),
					errdetail("at402.quarantine_limit is %d MB.", at402_quarantine_limit),
					errhint("Mend what is in at402.quarantine and SELECT * FROM at402_release(), "
							"or delete rows."));
	}
	run(batch, QUARANTINE, 0);
	SPI_finish();
}

/* What could not even be quarantined must not be answered. */
static void
refuse_quarantined(At402Batch *batch)
{
	ListCell   *lc;

	for (int i = 0; i < batch->report_count; i++)
		if (batch->reports[i]->quarantined)
			quarantine_item(batch, batch->reports[i]->item, "rejected", NULL, "");
	foreach(lc, batch->items)
	{
		At402Item  *item = lfirst(lc);

		if (item->fate == AT402_FATE_QUARANTINE)
		{
			item->fate = AT402_FATE_REFUSED;
			item->reason = "not_quarantined";
		}
	}
	batch->quarantined = 0;
}

void
at402_store_batch(At402Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	ErrorData  *error;

	find_schemas();
	if (batch->listener != 0)
	{
		/* what a user has deferred to the commit would fail for the whole batch */
		SPI_connect();
		run(batch, CHECK_AT_ONCE, 0);
		SPI_finish();
	}
	if (any_needs_device(batch))
	{
		attempt_items(resolve_devices, batch, needs_device);
		settle_strangers(batch);
	}
	at402_batch_collect(batch);
	store_slice(batch, 0, batch->report_count);
	if (at402_store_frames && any_text(batch))
		attempt_items(store_texts, batch, is_text);
	count_results(batch);
	if (batch->quarantined > 0 && !batch->releasing &&
		!at402_attempt(AT402_SUBTRANSACTION, store_quarantine, batch, &error))
	{
		/* the others of the batch need not wait for it; a caller in SQL has to know */
		if (batch->listener == 0 || (error->sqlerrcode != ERRCODE_CONFIGURATION_LIMIT_EXCEEDED &&
									 is_surroundings(error)))
			ReThrowError(error);
		refuse_quarantined(batch);
	}
	if (batch->presence != NIL && (error = attempt(store_presence, batch)) != NULL)
		/* who is connected is not worth a report */
		ereport(LOG, errmsg("could not store which trackers are connected: %s", error->message));
	MemoryContextSwitchTo(caller);
}

void
at402_store_restart(int listener)
{
	At402Batch *batch = at402_batch_create();

	find_schemas();
	SPI_connect();
	run(batch, RESTART, listener);
	SPI_finish();
	at402_batch_destroy(batch);
}
