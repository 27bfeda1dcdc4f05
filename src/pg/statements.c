/*
 * statements.c - the SQL that stores a batch, and its plans
 *
 * One set-based statement for each table, INSERT ... SELECT from a function of
 * rows.c: privileges, row security, triggers, rules, partitions and foreign
 * planners apply as to any INSERT.  Relations and functions of ours are
 * qualified; the search path stays the role's, since triggers of users run
 * under it.
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
#include "utils/lsyscache.h"

#include "pg/statements.h"

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


static const char *const statements[AT402_STATEMENTS] = {
	[AT402_SQL_CHECK_AT_ONCE] = "SET CONSTRAINTS ALL IMMEDIATE",
	[AT402_SQL_FIND_DEVICES] =
		"SELECT d.imei, d.id, d.enabled, d.protocol, s.\"time\", s.ignition FROM " SCHEMA ".device d "
		"LEFT JOIN " SCHEMA ".device_state s ON s.device_id = d.id WHERE d.imei = ANY (ARRAY("
		"SELECT s.imei FROM %1$s.at402_batch_sender($1) s)) ORDER BY d.imei COLLATE \"C\"",
	[AT402_SQL_REGISTER_DEVICES] =
		"INSERT INTO " SCHEMA ".device (imei, first_seen) "
		"SELECT s.imei, min(s.received_at) FROM %1$s.at402_batch_sender($1) s "
		"WHERE NOT EXISTS (SELECT FROM " SCHEMA ".device d WHERE d.imei = s.imei) "
		"GROUP BY s.imei ORDER BY s.imei LIMIT $2 ON CONFLICT (imei) DO NOTHING",
	/* the last word counts: a login's, else the letter of a packet */
#define LAST_SAID(column)                                                                          \
	"(array_agg(" column " ORDER BY login DESC, received_at DESC, ordinality DESC) "               \
	"FILTER (WHERE " column " IS NOT NULL))[1] AS " column
	[AT402_SQL_UPDATE_DEVICES] =
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
	[AT402_SQL_NEW_POSITIONS] = INSERT_POSITION,
	[AT402_SQL_POSITIONS] = INSERT_POSITION " ON CONFLICT (" KEY ") DO NOTHING RETURNING " KEY,
	[AT402_SQL_EVENTS] =
		"INSERT INTO " SCHEMA ".event (" KEY ", n, kind, detail, late, geom) "
		"SELECT " KEY ", n, kind, data, late, " POINT " FROM %1$s.at402_batch_event($1)",
	/* a change of the ignition that a late report tells of */
	[AT402_SQL_LATE_EVENTS] =
		"INSERT INTO " SCHEMA ".event (" KEY ", n, kind, late, geom) "
		"SELECT " KEY ", b.events, CASE WHEN b.ignition THEN 'ignition_on' ELSE 'ignition_off' END, "
		"  true, " POINT " FROM %1$s.at402_batch_position($1) b "
		"CROSS JOIN LATERAL (SELECT p.ignition AS was FROM " SCHEMA ".position p "
		"  WHERE p.device_id = b.device_id AND p.\"time\" < b.\"time\" "
		"    AND p.\"time\" > b.\"time\" - interval '1 day' "
		"  ORDER BY p.\"time\" DESC, p.seq DESC LIMIT 1) before "
		"WHERE b.late AND b.ignition <> before.was",
	/* the lowest bit of an alcohol test's status: passed */
	[AT402_SQL_IO] =
		"INSERT INTO " SCHEMA ".io (" KEY ", n, line, state, kind, value, text_value, data) "
		"SELECT " KEY ", n, line, CASE kind WHEN 'alcohol_test' "
		"  THEN (data->>'status_mask')::int & 1 = 1 ELSE state END, kind, value, text_value, data "
		"FROM %1$s.at402_batch_io($1)",
	[AT402_SQL_MOTION] = INSERT_ROWS("motion", "idle_time_s, accel_x_max_mss, accel_x_min_mss, "
						   "accel_y_max_mss, accel_y_min_mss, accel_z_max_mss, accel_z_min_mss"),
	[AT402_SQL_CAN] = INSERT_ROWS("can", "working_states_mask, axle_weight_kg, fms_status_mask, "
						"fms_events_mask, obd_status_mask, obd_events_mask, lifetime_odometer_km, "
						"lifetime_hours, cruise_control_time_s, service_distance_km, "
						"mil_on_time_raw, mil_on_distance_raw, max_wheel_speed_kmh, "
						"average_wheel_speed_kmh, max_engine_rpm, average_engine_rpm, "
						"max_accelerator_percent, average_accelerator_percent, "
						"max_engine_load_percent, average_engine_load_percent, "
						"engine_temperature_c, fuel_level_raw, door_control_mask, source, "
						"journey_distance_km, journey_fuel_l, total_fuel_l, driver_1, driver_2, "
						"dtcs, data"),
	[AT402_SQL_CAN_FRAMES] = INSERT_ROWS("can_frame", "can_id, age_s, data"),
	[AT402_SQL_BLE] = INSERT_ROWS("ble", "last_seen_s, height_cm, light_raw, rssi_dbm, sensor_index, "
						"meta_type, companion, valid, mac, kind, temperature_c, humidity_percent, "
						"meta, data"),
	[AT402_SQL_MODULES] = INSERT_ROWS("module", "name, data"),
	[AT402_SQL_SIM_CARDS] =
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
	[AT402_SQL_STATE] =
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
	[AT402_SQL_PRESENCE] =
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
	[AT402_SQL_RESTART] =
		"WITH gone AS (UPDATE " SCHEMA ".device_state SET connected = false, listener = NULL "
		"  WHERE connected AND listener = $2 RETURNING device_id) "
		"INSERT INTO " SCHEMA ".event (" KEY ", n, kind) "
		"SELECT device_id, now(), -1, 0, 0, 'offline' FROM gone",
	[AT402_SQL_FRAMES] =
		"INSERT INTO " SCHEMA ".frame (received_at, device_id, protocol, transport, peer, frame) "
		"SELECT received_at, device_id, protocol, transport, peer::inet, frame "
		"FROM %1$s.at402_batch_frame($1)",
	[AT402_SQL_QUARANTINE_SIZE] =
		"SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('" SCHEMA ".quarantine') "
		"WHERE isleaf",
	[AT402_SQL_QUARANTINE] =
		"INSERT INTO " SCHEMA ".quarantine (received_at, report_no, logged_in, imei, protocol, "
		"  transport, peer, reason, sqlstate, message, bytes) "
		"SELECT received_at, report_no, logged_in, imei, protocol, transport, peer::inet, reason, "
		"  sqlstate, message, bytes FROM %1$s.at402_batch_quarantine($1)",
};

/* ---- statements ---- */

static SPIPlanPtr plans[AT402_STATEMENTS];
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

void
at402_statements_refresh(void)
{
	Oid			schema = at402_extension_schema("at402");
	Oid			postgis = at402_extension_schema("postgis");

	if (schema == planned_schema && postgis == planned_postgis)
		return;
	for (int i = 0; i < AT402_STATEMENTS; i++)
	{
		if (plans[i] != NULL)
			SPI_freeplan(plans[i]);
		plans[i] = NULL;
	}
	planned_schema = schema;
	planned_postgis = postgis;
}

uint64
at402_run(At402Batch *batch, At402Statement statement, int64 second)
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
