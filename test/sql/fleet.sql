-- The fleet: drivers, vehicles, groups; views that answer one question each; the fleet at a moment.
\getenv abs_srcdir PG_ABS_SRCDIR
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
DROP SCHEMA IF EXISTS at402 CASCADE;
SELECT at402_create_tables();
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- ---- the tables ----

INSERT INTO at402.device (id, imei, first_seen) VALUES
	(1, '490154203237518', '2026-01-01 00:00+00'), (2, '352099001761481', '2026-01-01 00:00+00');
SELECT id, time_zone, trip_by FROM at402.device ORDER BY id;
UPDATE at402.device SET time_zone = 'Europe/London', trip_by = 'movement' WHERE id = 2;
UPDATE at402.device SET time_zone = 'Europe/Lundon' WHERE id = 2;
UPDATE at402.device SET trip_by = 'guess' WHERE id = 2;

-- names are enough; the rest has defaults
INSERT INTO at402.driver (name) VALUES ('Ada'), ('Bob') RETURNING id, name, attributes;
INSERT INTO at402.driver_key (driver_id, serial) VALUES (1, '00EB8902C44269DA1C')
	RETURNING id, driver_id, family, serial, valid;
INSERT INTO at402.driver_key (driver_id, serial) VALUES (1, '0000');
INSERT INTO at402.driver_key (driver_id, serial) VALUES (3, 'A1');
INSERT INTO at402.driver_key (driver_id, serial, valid) VALUES (2, 'A1', 'empty');
INSERT INTO at402.driver_device VALUES (1, 2);
INSERT INTO at402.vehicle (name, plate) VALUES ('van', 'AB12 CDE'), ('car', NULL)
	RETURNING id, name, plate, attributes;
INSERT INTO at402.device_group (name) VALUES ('north') RETURNING id, name, attributes;
INSERT INTO at402.device_group (name) VALUES ('north');
INSERT INTO at402.device_group_member VALUES (1, 1), (1, 2);

-- a device is in one vehicle at a time, a vehicle may have several
INSERT INTO at402.vehicle_device (vehicle_id, device_id, valid, odometer_offset_km) VALUES
	(1, 1, '(,2026-03-01 12:00+00)', 1000), (2, 1, '[2026-03-01 12:00+00,)', 0), (1, 2, '(,)', 2.5);
INSERT INTO at402.vehicle_device (vehicle_id, device_id, valid)
	VALUES (2, 1, '[2026-02-28 12:00+00,2026-03-01 12:00+00)');
SELECT vehicle_id, device_id, valid, odometer_offset_km FROM at402.vehicle_device ORDER BY 2, 3;

-- what hangs on a row goes with it
DELETE FROM at402.driver WHERE id = 1;
DELETE FROM at402.vehicle WHERE id = 1;
DELETE FROM at402.device_group;
SELECT (SELECT count(*) FROM at402.driver_key) AS keys,
	(SELECT count(*) FROM at402.driver_device) AS allowed,
	(SELECT count(*) FROM at402.vehicle_device) AS built_in,
	(SELECT count(*) FROM at402.device_group_member) AS members;

-- ---- views ----

CREATE FUNCTION at(clock text) RETURNS timestamptz LANGUAGE sql AS
	$$ SELECT ('2026-03-02 ' || clock || '+00')::timestamptz $$;
DELETE FROM at402.vehicle;
INSERT INTO at402.vehicle (id, name, plate) VALUES (11, 'van', 'AB12 CDE'), (12, 'car', NULL);
INSERT INTO at402.vehicle_device (vehicle_id, device_id, valid, odometer_offset_km, engine_hours_offset) VALUES
	(11, 1, '(,2026-03-02 12:00+00)', 1000, 20), (12, 1, '[2026-03-02 12:00+00,)', 5, 1);

-- what a report with these modules leaves, through the one way into the tables
CREATE FUNCTION send(clock text, modules jsonb, ignition bool DEFAULT true) RETURNS int LANGUAGE sql AS $$
	SELECT inserted FROM at402_ingest(ARRAY[at402_encode(jsonb_build_object('kind', 'packet', 'protocol', 'X',
		'imei', '490154203237518', 'reports', jsonb_build_array(jsonb_build_object('seq', 1, 'time', to_char(at(clock), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
			'reasons', '["time_interval"]'::jsonb, 'status', CASE WHEN ignition THEN '["ignition"]' ELSE '[]' END::jsonb, 'modules', modules))))],
		received_at => at(clock) + interval '1 minute')
$$;
CREATE FUNCTION gnss(clock text, longitude float8) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('gnss', jsonb_build_object('fix_time', to_char(at(clock), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'latitude_deg', 52,
		'longitude_deg', longitude, 'speed_kmh', 50, 'max_speed_kmh', 50, 'heading_deg', 90, 'altitude_m', 20, 'journey_distance_km', 1))
$$;
BEGIN;
SELECT send('08:00', gnss('08:00', 0.1) || '{"device_power": {"external_voltage_v": 12.4, "battery_level_percent": 90},
	"gnss_journey_stop": {"lifetime_odometer_km": 500, "engine_hours": 40},
	"digitals": {"states_mask": 1, "changes_mask": 1}}');
SELECT send('08:10', '{"digitals": {"states_mask": 3, "changes_mask": 2},
	"fms_journey_stop": {"lifetime_odometer_km": 100, "lifetime_hours": 10, "axle_weight_kg": 0, "journey_fuel_l": 2.5,
		"cruise_control_time_s": 0, "service_distance_km": 0}}');
SELECT send('08:30', gnss('08:30', 0.2) || '{"digitals": {"states_mask": 2, "changes_mask": 1}}');
SELECT send('09:00', '{"device_power": {"external_voltage_v": 12.1, "battery_level_percent": 80}}', false);
INSERT INTO at402.io (device_id, time, seq, content_hash, n, kind, line, value) VALUES (1, at('08:20'), 0, 0, 0, 'temperature', 2, -18.5);
INSERT INTO at402.ble (device_id, time, seq, content_hash, n, kind, mac, temperature_c, humidity_percent, valid)
	VALUES (1, at('08:21'), 0, 0, 0, 'sensor', '08:00:2b:01:02:03', 4.5, 60, true), (1, at('08:22'), 0, 0, 0, 'sensor', '08:00:2b:01:02:03', 99, 0, false);
INSERT INTO at402.event (device_id, time, seq, content_hash, n, kind)
	SELECT 1, at(clock), -1, 0, 0, kind FROM (VALUES ('07:59', 'online'), ('08:15', 'offline'), ('08:25', 'online')) AS v (clock, kind);

SELECT imei, time, source, fuel_level_raw, journey_fuel_l, total_fuel_l FROM at402.fuel;
SELECT imei, time, source, sensor, temperature_c, humidity_percent FROM at402.temperature ORDER BY time;
SELECT imei, line, started_at, ended_at, duration FROM at402.input_period ORDER BY started_at;
SELECT imei, started_at, ended_at, duration FROM at402.online_period ORDER BY started_at;
SELECT imei, time, position_time, longitude, lifetime_odometer_km, vehicle_id, vehicle, plate, odometer_km
FROM at402.last_position ORDER BY device_id;
SELECT lifetime_odometer_km, engine_hours FROM at402.device_state;

-- a Bluetooth sensor has a slot in place of an address
INSERT INTO at402.ble (device_id, time, seq, content_hash, n, kind, sensor_index, temperature_c) VALUES (1, at('10:00'), 0, 0, 0, 'sensor', 3, 5);
SELECT source, sensor, temperature_c FROM at402.temperature WHERE time = at('10:00');
-- on and off within a second, on again without off, off after days, still on; a clock that is years ahead ends nothing
INSERT INTO at402.position (device_id, time, seq, content_hash, received_at, reasons, status, ignition, time_suspect)
	VALUES (1, '2099-01-01', 9, 0, now(), 0, 0, false, true);
INSERT INTO at402.io (device_id, time, seq, content_hash, n, kind, line, state) VALUES
	(1, at('10:00'), 1, 0, 0, 'input', 5, true), (1, at('10:00'), 2, 0, 0, 'input', 5, false),
	(1, at('10:01'), 3, 0, 0, 'input', 5, false), (1, at('10:01'), 4, 0, 0, 'input', 5, true),
	(1, at('10:03'), 5, 0, 0, 'input', 5, true), (1, at('10:05') + interval '1 day', 6, 0, 0, 'input', 5, false),
	(1, at('10:07') + interval '1 day', 7, 0, 0, 'input', 5, true), (1, at('10:00') + interval '30 days', 8, 0, 0, 'input', 5, false),
	(1, at('10:07') + interval '31 days', 8, 0, 0, 'input', 5, true),
	(1, '2099-01-01', 9, 0, 0, 'input', 5, false), (1, '2099-01-01', 9, 0, 1, 'input', 5, true);
SELECT started_at, seq, ended_at, duration FROM at402.input_period WHERE line = 5 ORDER BY started_at, seq;

-- service: by km, by hours, by date
INSERT INTO at402.service (vehicle_id, name, every_km, every_engine_hours, every, done_km, done_engine_hours, done_on) VALUES
	(12, 'oil', 300, 100, '1 year', 250, 0, (now() AT TIME ZONE 'UTC')::date - 10), (12, 'tyres', 250, NULL, NULL, 250, 0, '2026-01-01'),
	(11, 'test', NULL, NULL, '10 days', 0, 0, (now() AT TIME ZONE 'UTC')::date - 10);
SELECT vehicle, service, odometer_km, engine_hours, due_km, left_km, due_engine_hours, left_engine_hours, left_days > 0 AS days_left, is_due
FROM at402.service_due ORDER BY 1, 2;
-- today is where the device is
UPDATE at402.device SET time_zone = CASE WHEN extract(hour FROM now()) < 12 THEN 'Etc/GMT+12' ELSE 'Etc/GMT-14' END WHERE id = 1;
UPDATE at402.vehicle_device SET vehicle_id = 11 WHERE vehicle_id = 12 AND device_id = 1;
SELECT left_days + extract(day FROM age((now() AT TIME ZONE d.time_zone)::date, (now() AT TIME ZONE 'UTC')::date)) AS days
FROM at402.service_due, at402.device AS d WHERE service = 'test' AND d.id = 1;
ROLLBACK;

-- the indexes answer: no plan reads a whole table
BEGIN;
SET LOCAL enable_seqscan = off;
CREATE FUNCTION plan_of(query text) RETURNS TABLE (node text) LANGUAGE plpgsql AS $$
BEGIN
	FOR node IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		node := substring(node FROM 'Seq Scan on .*|using .*(?:input|online|odometer|time).*_idx.* on');
		IF node IS NOT NULL THEN
			node := regexp_replace(node, '_\d{8}', '_day', 'g');
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
SELECT DISTINCT node LIKE 'using%' AS by_index FROM plan_of('SELECT * FROM at402.input_period WHERE device_id = 1 AND started_at >= now()');
SELECT DISTINCT node LIKE 'using%' AS by_index FROM plan_of('SELECT * FROM at402.online_period WHERE device_id = 1 AND started_at >= now()');
SELECT node FROM plan_of('SELECT * FROM at402.temperature WHERE device_id = 1 AND time >= now()') WHERE node LIKE 'Seq%';
SELECT node FROM plan_of('SELECT * FROM at402.fuel WHERE device_id = 1 AND time >= now()') WHERE node LIKE 'Seq%';
ROLLBACK;

-- ---- the fleet at a moment ----

BEGIN;
SELECT send('08:00', gnss('08:00', 0.1) || '{"gnss_journey_stop": {"lifetime_odometer_km": 500, "engine_hours": 40}}');
SELECT send('08:30', gnss('08:30', 0.2));
SELECT send('12:30', '{}', false);
-- came a day late
SELECT i.inserted FROM (SELECT at402_decode(frame) AS doc FROM at402.frame ORDER BY received_at LIMIT 1) AS f,
	at402_ingest(ARRAY[at402_encode(jsonb_set(doc, '{reports,0,time}', '"2026-03-02T08:05:00Z"'))],
		received_at => '2026-03-03 08:00+00') AS i;
CREATE FUNCTION shown(at timestamptz, known_at timestamptz DEFAULT 'infinity')
RETURNS TABLE (device_id int, "time" timestamptz, position_time timestamptz, longitude float8, ignition bool, odometer_km numeric,
	connected bool, vehicle text, last_seen timestamptz) LANGUAGE sql AS $$
	SELECT f.device_id, f.time, f.position_time, f.longitude, f.ignition, f.odometer_km, f.connected, f.vehicle, f.last_seen
	FROM at402_fleet_at(at, known_at) AS f ORDER BY 1 $$;
SELECT * FROM shown(at('07:59:59'));
SELECT * FROM shown(at('08:00'));
SELECT * FROM shown(at('08:20'));
SELECT time FROM shown(at('08:20'), at('12:00')) WHERE device_id = 1;
SELECT * FROM shown(at('13:00'));
-- far away in time, and without an end
SELECT time FROM shown('2026-03-20 00:00+00') WHERE device_id = 1;
SELECT time FROM shown('2027-03-20 00:00+00') WHERE device_id = 1;
SELECT time FROM shown('2036-03-20 00:00+00') WHERE device_id = 1;
SELECT time FROM shown('infinity') WHERE device_id = 1;
SELECT time FROM shown('-infinity') WHERE device_id = 1;
-- now it is as in last_position
SELECT l.device_id, l, f
FROM (SELECT device_id, time, position_time, longitude, speed_kmh, ignition, lifetime_odometer_km, vehicle_id, odometer_km
	  FROM at402.last_position) AS l
	JOIN (SELECT device_id, time, position_time, longitude, speed_kmh, ignition, lifetime_odometer_km, vehicle_id, odometer_km
		  FROM at402_fleet_at(now())) AS f USING (device_id)
WHERE l IS DISTINCT FROM f;
-- at any moment, as known at any other, it is what a search through all reports finds
SELECT setseed(0.402);
CREATE FUNCTION imei_of(n int) RETURNS text LANGUAGE sql AS $$
	SELECT digits || (1000 - sum(x / 10 + x % 10)) % 10
	FROM (SELECT '352999' || lpad(n::text, 8, '0') AS digits) AS d, generate_series(1, 14) AS i,
		LATERAL (SELECT substr(digits, i, 1)::int * CASE i % 2 WHEN 0 THEN 2 ELSE 1 END AS x) AS v
	GROUP BY digits
$$;
INSERT INTO at402.device (id, imei) SELECT 100 + n, imei_of(n) FROM generate_series(1, 12) AS n;
CREATE TEMP TABLE reports AS
SELECT d, CASE WHEN d = 5 AND n % 2 = 0 THEN '2009-06-01' ELSE at('12:00') - age END AS time, at('12:00') - age * random() ^ 3 AS received_at, random() < 0.8 AS fix,
	CASE WHEN random() < 0.4 THEN (1000 - extract(epoch FROM age) / 86400)::int END AS km, n
FROM generate_series(1, 11) AS d, generate_series(1, 40) AS n, LATERAL (
	-- some report all the time, some do so no more, some have not for long
	SELECT make_interval(secs => ((random() ^ 5) * CASE d % 3 WHEN 0 THEN 1e5 ELSE 6e7 END + CASE d WHEN 4 THEN 3e6 ELSE 0 END)::int) AS age) AS a;
SELECT sum(inserted) FROM (SELECT * FROM reports ORDER BY received_at) AS r, at402_ingest(ARRAY[at402_encode(jsonb_build_object(
	'kind', 'packet', 'protocol', 'X', 'imei', imei_of(d), 'reports', jsonb_build_array(jsonb_build_object(
		'seq', n, 'time', to_char(time, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'reasons', '["time_interval"]'::jsonb,
		'status', CASE WHEN fix THEN '[]' ELSE '["gnss_invalid"]' END::jsonb,
		'modules', CASE WHEN n % 7 = 0 THEN '{}' ELSE gnss('08:00', n * 0.1) END
			|| CASE WHEN km IS NULL THEN '{}' ELSE jsonb_build_object('gnss_journey_stop', jsonb_build_object('lifetime_odometer_km', km, 'engine_hours', 1)) END))))],
	received_at => r.received_at) AS i;
CREATE FUNCTION found(at timestamptz, known_at timestamptz)
RETURNS TABLE (device_id int, "time" timestamptz, received_at timestamptz, position_time timestamptz, geom geometry, km int) LANGUAGE sql AS $$
	SELECT d.id, r.time, r.received_at, f.time, f.geom, coalesce(r.lifetime_odometer_km, o.lifetime_odometer_km)
	FROM at402.device AS d
		LEFT JOIN LATERAL (SELECT * FROM at402.position AS p WHERE p.device_id = d.id AND p.time <= at AND p.received_at <= known_at AND NOT p.time_suspect
			ORDER BY p.time DESC, p.seq DESC, p.content_hash DESC LIMIT 1) AS r ON true
		LEFT JOIN LATERAL (SELECT * FROM at402.position AS p WHERE p.device_id = d.id AND p.time <= at AND p.received_at <= known_at AND NOT p.time_suspect
			AND p.gnss_valid AND p.geom IS NOT NULL ORDER BY p.time DESC, p.seq DESC, p.content_hash DESC LIMIT 1) AS f ON true
		LEFT JOIN LATERAL (SELECT * FROM at402.position AS p WHERE p.device_id = d.id AND p.time <= at AND p.time > at - interval '1 day'
			AND p.received_at <= known_at AND NOT p.time_suspect AND p.lifetime_odometer_km IS NOT NULL ORDER BY p.time DESC LIMIT 1) AS o ON true
	WHERE d.id > 100
$$;
SELECT count(*) AS asked, count(*) FILTER (WHERE (f.time, f.received_at, f.position_time, f.geom) IS DISTINCT FROM (w.time, w.received_at, w.position_time, w.geom)) AS wrong,
	-- the odometer of who has not reported since may be older than a day
	count(*) FILTER (WHERE f.lifetime_odometer_km IS DISTINCT FROM w.km AND (w.km IS NOT NULL OR f.connected IS NULL)) AS odometer_wrong,
	count(f.time) > 500 AS some, count(*) > count(f.time) AS some_had_not_reported, count(f.position_time) < count(f.time) AS some_without_fix
FROM generate_series(1, 150) AS n, LATERAL (SELECT at('12:00') - make_interval(secs => (n * n * n * 4)) AS at) AS a,
	LATERAL (SELECT CASE n % 3 WHEN 0 THEN 'infinity' WHEN 1 THEN at ELSE at + make_interval(secs => n * n * 400) END AS known_at) AS k,
	at402_fleet_at(at, known_at) AS f JOIN found(at, known_at) AS w USING (device_id);
SELECT array_agg(attname::text) = (SELECT proargnames[3:] FROM pg_proc WHERE proname = 'at402_fleet_at') AS same_columns
FROM (SELECT attname FROM pg_attribute WHERE attrelid = 'at402.last_position'::regclass ORDER BY attnum) AS a;
ROLLBACK;

-- ---- tenants ----

BEGIN;
CREATE ROLE regress_at402_north;
CREATE ROLE regress_at402_south;
CREATE ROLE regress_at402_nora IN ROLE regress_at402_north;
INSERT INTO at402.device_group (id, name) VALUES (21, 'regress_at402_north'), (22, 'regress_at402_south'), (23, 'nobody');
INSERT INTO at402.device_group_member VALUES (21, 1), (22, 2), (23, 1);
INSERT INTO at402.geofence (id, name, geom, radius_m, tags) VALUES
	(1, 'a depot of the north', 'SRID=4326;POINT(0.1 52)', 100, '{regress_at402_north}'),
	(2, 'a depot of the south', 'SRID=4326;POINT(0.1 52)', 90, '{regress_at402_south}');
SELECT send('08:00', gnss('08:00', 0.1) || '{"digitals": {"states_mask": 1, "changes_mask": 1}}');
SELECT i.inserted FROM (SELECT at402_decode(frame) AS doc FROM at402.frame LIMIT 1) AS f,
	at402_ingest(ARRAY[at402_encode(jsonb_set(doc, '{imei}', '"352099001761481"'))]) AS i;
SELECT send('08:10', '{}', false);
DO $$ BEGIN PERFORM at402_maintain(); END $$;
\set file :abs_srcdir '/../doc/tenants.sql'
\set ECHO none
\i :file
\set ECHO all

-- which devices a role sees, in each table and view that tells of devices; 1 is of the north, 2 of the south
CREATE FUNCTION seen() RETURNS TABLE (relation text, devices int[]) LANGUAGE plpgsql AS $$
BEGIN
	FOR relation IN
		SELECT c.relname FROM pg_class AS c
		WHERE c.relnamespace = 'at402'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
			AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'device_id')
		ORDER BY c.relname COLLATE "C"
	LOOP
		BEGIN
			EXECUTE format('SELECT array_agg(DISTINCT device_id) FROM at402.%I', relation) INTO devices;
		EXCEPTION WHEN insufficient_privilege THEN
			devices := NULL;
		END;
		IF devices IS NOT NULL THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
CREATE TEMP TABLE all_of_it AS SELECT * FROM seen();
GRANT SELECT ON all_of_it TO PUBLIC;
SELECT * FROM all_of_it;
SET LOCAL ROLE regress_at402_nora;
SELECT relation, s.devices FROM all_of_it AS a FULL JOIN seen() AS s USING (relation) WHERE s.devices IS DISTINCT FROM '{1}';
SELECT id FROM at402.device;
SELECT name FROM at402.vehicle;
SELECT name FROM at402.geofence;
SELECT start_geofence FROM at402_trips('490154203237518', '-infinity', 'infinity');
SELECT count(*) FROM at402_trips('352099001761481', '-infinity', 'infinity');
SELECT device_id FROM at402_fleet_at(now());
SELECT jsonb_array_length(at402_geojson('352099001761481', '-infinity', 'infinity')->'features') AS of_others;
SET LOCAL ROLE regress_at402_south;
SELECT relation, devices FROM seen() WHERE devices <> '{2}';
SELECT count(*) > 5 AS some FROM seen();
RESET ROLE;
-- no partition can be read around the policies
SELECT count(*) FROM pg_class AS c WHERE c.relnamespace = 'at402'::regnamespace AND c.relispartition
	AND has_table_privilege('regress_at402_nora', c.oid, 'SELECT');
ROLLBACK;

DROP SCHEMA at402 CASCADE;
DROP FUNCTION at(text), send(text, jsonb, bool), gnss(text, float8);
