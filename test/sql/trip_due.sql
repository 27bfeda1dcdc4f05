-- Vehicles, keys, geofences and kinds of trips that are told after the trips were derived.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/trip.sql'
\set ECHO none
\i :file
\set ECHO all

-- Two trackers, of one trip each hour from 08:00 to 12:00, 3 km forth or back; a key is shown at the
-- start of each.
INSERT INTO at402.device (id, imei) VALUES (1, :a), (2, :b);
CREATE FUNCTION drive(device int, hour int) RETURNS jsonb[] LANGUAGE sql AS $$
	SELECT ARRAY[
		report(start, 'ignition', here, 0, 0, jsonb_build_object('driver_id', jsonb_build_object('source', 1,
			'serial_number', lpad(device::text || 'A' || hour % 2, 16, '0')))),
		report(start + '4 min', 'ignition', (here + there) / 2, 50, 1.5),
		report(start + '8 min', '', there, 0, 3)]
	FROM at(lpad(hour::text, 2, '0') || ':00') AS start, LATERAL (SELECT hour % 2 * 3000 AS here, (1 - hour % 2) * 3000 AS there) AS x
$$;
SELECT send(:a, drive(1, 8) || drive(1, 9) || drive(1, 10) || drive(1, 11) || drive(1, 12)) AS a,
	send(:b, drive(2, 8) || drive(2, 9) || drive(2, 10) || drive(2, 11) || drive(2, 12)) AS b;
INSERT INTO at402.driver (id, name) VALUES (1, 'Ada'), (2, 'Bob');
INSERT INTO at402.vehicle (id, name) VALUES (1, 'van'), (2, 'car');
CALL derive();
-- what is in a column of the trips, hour by hour; and whether at402_trips() says the same
CREATE FUNCTION told(what text) RETURNS TABLE (device int, hours text, same bool) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM at402_maintain();
	RETURN QUERY EXECUTE format('SELECT device_id, string_agg(concat(%s), '' '' ORDER BY started_at), differences(''table_trips'', ''function_trips'') = 0
		FROM at402.trip GROUP BY 1 ORDER BY 1', what);
END
$$;
SELECT * FROM told($$ coalesce(vehicle_id, 0), coalesce(driver_id, 0), coalesce(start_geofence, 0), coalesce(end_geofence, 0) $$);
CREATE VIEW due AS SELECT device_id, serial, ST_AsText(box, 2) AS box, valid FROM at402.trip_due ORDER BY id;
-- that it was noted is forgotten
SELECT count(*) FROM due;

-- ---- vehicles ----

BEGIN;
INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (1, 1), (2, 2);
SELECT * FROM told('vehicle_id');
-- trackers change places: all in one statement
UPDATE at402.vehicle_device SET vehicle_id = 3 - vehicle_id;
SELECT * FROM told('vehicle_id');
-- one moves at 10:30: only what comes after that is noted
UPDATE at402.vehicle_device SET valid = tstzrange(NULL, at('10:30')) WHERE device_id = 1;
INSERT INTO at402.vehicle_device (vehicle_id, device_id, valid) VALUES (1, 1, tstzrange(at('10:30'), NULL));
SELECT * FROM due;
SELECT * FROM told('vehicle_id');
-- that was earlier: both rows in one statement
UPDATE at402.vehicle_device SET valid = CASE vehicle_id WHEN 1 THEN tstzrange(at('08:30'), NULL) ELSE '[2026-03-01 00:00+00,2026-03-02 08:30+00)' END
	WHERE device_id = 1;
SELECT * FROM due;
SELECT * FROM told('vehicle_id');
-- what does not matter to trips
UPDATE at402.vehicle_device SET odometer_offset_km = 10, engine_hours_offset = 2;
UPDATE at402.vehicle SET name = 'bus', attributes = '{"seats": 9}' WHERE id = 1;
UPDATE at402.device SET time_zone = 'Europe/Rome', name = 'one' WHERE id = 1;
SELECT * FROM due;
DELETE FROM at402.vehicle_device WHERE vehicle_id = 1 AND device_id = 1;
SELECT * FROM told('coalesce(vehicle_id, 0)');
-- what hangs on a vehicle goes with it
DELETE FROM at402.vehicle WHERE id = 1;
SELECT * FROM told('coalesce(vehicle_id, 0)');
ROLLBACK;
BEGIN;
INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (1, 1), (2, 2);
SELECT * FROM told('coalesce(vehicle_id, 0)');
TRUNCATE at402.vehicle CASCADE;
SELECT * FROM told('coalesce(vehicle_id, 0)');
ROLLBACK;
-- of what is rolled back nothing is left
SELECT * FROM due;
SELECT * FROM told('coalesce(vehicle_id, 0)');
-- in part, too
BEGIN;
INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (1, 1);
SAVEPOINT before;
UPDATE at402.vehicle_device SET vehicle_id = 2;
INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (1, 2);
ROLLBACK TO before;
SELECT * FROM due;
SELECT * FROM told('coalesce(vehicle_id, 0)');
-- nothing has changed: no row is written
SELECT ctid AS before FROM at402.trip WHERE device_id = 1 ORDER BY started_at LIMIT 1 \gset
DELETE FROM at402.vehicle_device;
INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (1, 1);
SELECT * FROM told('coalesce(vehicle_id, 0)');
SELECT ctid = :'before' AS same FROM at402.trip WHERE device_id = 1 ORDER BY started_at LIMIT 1;
ROLLBACK;

-- ---- drivers ----

BEGIN;
INSERT INTO at402.driver_key (driver_id, serial) VALUES (1, '01a0'), (2, '2A1');
SELECT * FROM told('coalesce(driver_id, 0)');
-- it changes hands, another is found
UPDATE at402.driver_key SET valid = tstzrange(NULL, at('10:00')) WHERE serial = '01a0';
INSERT INTO at402.driver_key (driver_id, serial, valid) VALUES (2, '1A0', tstzrange(at('10:00'), NULL)), (1, '1A1', '(,)');
SELECT serial, valid FROM due;
SELECT * FROM told('coalesce(driver_id, 0)');
-- a serial was mistyped
UPDATE at402.driver_key SET serial = '2A0' WHERE serial = '2A1';
SELECT serial, valid FROM due;
SELECT * FROM told('coalesce(driver_id, 0)');
UPDATE at402.driver_key SET family = '7' WHERE serial = '1A1';
SELECT * FROM told('coalesce(driver_id, 0)');
UPDATE at402.driver SET name = 'Ben' WHERE id = 2;
INSERT INTO at402.driver_device VALUES (1, 2);
SELECT * FROM due;
DELETE FROM at402.driver WHERE id = 2;
SELECT * FROM told('coalesce(driver_id, 0)');
TRUNCATE at402.driver_key;
SELECT * FROM told('coalesce(driver_id, 0)');
-- shown in the ten minutes before a trip
INSERT INTO at402.io (device_id, time, seq, content_hash, n, kind, text_value) VALUES
	(1, at('08:51'), 0, 0, 0, 'driver_id', 'B0B'), (1, at('09:49'), 0, 0, 0, 'driver_id', 'B0B');
DELETE FROM at402.io WHERE device_id = 1 AND text_value <> 'B0B';
INSERT INTO at402.driver_key (driver_id, serial) VALUES (1, 'B0B');
SELECT * FROM told('coalesce(driver_id, 0)');
ROLLBACK;

-- ---- geofences ----

BEGIN;
INSERT INTO at402.geofence (id, name, geom, radius_m) VALUES (1, 'depot', 'SRID=4326;POINT(0 52)', 100),
	(2, 'town', 'SRID=4326;POLYGON((-1 51, 1 51, 1 53, -1 53, -1 51))', NULL);
SELECT * FROM told('start_geofence, end_geofence');
-- another shape is valid from now on: what was, stays
UPDATE at402.geofence SET radius_m = 10000 WHERE id = 1;
SELECT lower(valid) >= now() AND upper_inf(valid) AS from_now FROM at402.trip_due;
SELECT * FROM told('start_geofence, end_geofence');
DELETE FROM at402.geofence WHERE id = 1;
SELECT * FROM told('start_geofence, end_geofence');
-- history is corrected: the yard was opened at 10:30
INSERT INTO at402.geofence (id, name, geom, radius_m) VALUES (3, 'yard', 'SRID=4326;POINT(0.04368 52)', 50);
SELECT * FROM told('start_geofence, end_geofence');
UPDATE at402.geofence_version SET valid = tstzrange(at('10:30'), NULL) WHERE geofence_id = 3;
SELECT box IS NOT NULL AS boxed, valid FROM due;
SELECT * FROM told('start_geofence, end_geofence');
-- what does not matter to trips
UPDATE at402.geofence SET name = 'yards', speed_limit_kmh = 20, tags = '{x}' WHERE id = 3;
SELECT * FROM due;
UPDATE at402.geofence_version SET geom = 'SRID=4326;POINT(0 52)', box = at402_internal.at402_geofence_box('SRID=4326;POINT(0 52)', 50) WHERE geofence_id = 3;
SELECT * FROM told('start_geofence, end_geofence');
TRUNCATE at402.geofence_version;
SELECT * FROM told('coalesce(start_geofence, 0)');
ROLLBACK;

-- ---- by ignition or by movement ----

BEGIN;
SELECT dirty_since, trip_by FROM at402.device_state;
SELECT * FROM told('to_char(started_at, ''HH24:MI'')');
UPDATE at402.device SET trip_by = 'movement' WHERE id = 1;
SELECT * FROM told('to_char(started_at, ''HH24:MI'')');
UPDATE at402.device SET trip_by = CASE trip_by WHEN 'ignition' THEN 'movement' ELSE 'ignition' END;
SELECT * FROM told('to_char(started_at, ''HH24:MI'')');
SELECT dirty_since, trip_by FROM at402.device_state;
ROLLBACK;

-- ---- all at once ----

BEGIN;
INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (1, 1);
INSERT INTO at402.driver_key (driver_id, serial) VALUES (2, '1A1');
INSERT INTO at402.geofence (id, name, geom, radius_m) VALUES (1, 'depot', 'SRID=4326;POINT(0 52)', 100);
UPDATE at402.device SET trip_by = 'movement' WHERE id = 2;
SELECT send(:a, drive(1, 7) || drive(1, 13));
SELECT * FROM told($$ coalesce(vehicle_id, 0), coalesce(driver_id, 0), coalesce(start_geofence, 0), coalesce(end_geofence, 0) $$);
-- what is kept no more stays as it is
DELETE FROM at402.position WHERE device_id = 1 AND time < at('09:30');
DELETE FROM at402.vehicle_device;
DELETE FROM at402.driver_key;
TRUNCATE at402.geofence_version;
CALL derive();
SELECT clock(started_at), vehicle_id, driver_id, start_geofence FROM at402.trip WHERE device_id = 1 ORDER BY 1;
ROLLBACK;

-- ---- at random ----

-- rows of the tables above come, change and go, some at a time, and at402_trips() knows
CREATE FUNCTION moment() RETURNS timestamptz LANGUAGE sql VOLATILE AS
	$$ SELECT CASE WHEN random() < 0.8 THEN at('07:00') + random() * interval '6 hours' END $$;
CREATE FUNCTION span() RETURNS tstzrange LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	a	timestamptz := moment();
	b	timestamptz := moment();
BEGIN
	RETURN CASE WHEN a > b THEN tstzrange(b, a) WHEN a = b THEN '(,)' ELSE tstzrange(a, b) END;
END
$$;
CREATE FUNCTION change() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CASE (random() * 14)::int
		WHEN 0, 12, 13 THEN INSERT INTO at402.vehicle_device (vehicle_id, device_id, valid)
			SELECT 1 + (random())::int, 1 + random()::int, span();
		WHEN 1 THEN UPDATE at402.vehicle_device SET vehicle_id = 1 + random()::int WHERE random() < 0.5;
		WHEN 2 THEN UPDATE at402.vehicle_device SET valid = span() WHERE random() < 0.3;
		WHEN 3 THEN DELETE FROM at402.vehicle_device WHERE random() < 0.3;
		WHEN 4, 5 THEN INSERT INTO at402.driver_key (driver_id, serial, valid)
			SELECT 1 + random()::int, (1 + random()::int) || 'a' || random()::int, span() FROM generate_series(0, random()::int);
		WHEN 6 THEN UPDATE at402.driver_key SET valid = span(), driver_id = 1 + random()::int WHERE random() < 0.5;
		WHEN 7 THEN DELETE FROM at402.driver_key WHERE random() < 0.4;
		WHEN 8, 9 THEN INSERT INTO at402.geofence (geom, radius_m)
			SELECT ST_SetSRID(ST_MakePoint(0.04 * random(), 52), 4326), 10 + 1000 * random() FROM generate_series(0, random()::int);
			UPDATE at402.geofence_version SET valid = span() WHERE random() < 0.3;
		WHEN 10 THEN DELETE FROM at402.geofence_version WHERE random() < 0.3;
		WHEN 11 THEN UPDATE at402.device SET trip_by = CASE WHEN random() < 0.5 THEN 'ignition' ELSE 'movement' END;
		ELSE UPDATE at402.device_state SET dirty_since = moment();
	END CASE;
EXCEPTION WHEN exclusion_violation OR unique_violation THEN
	NULL;			-- it cannot be so, and is not
END
$$;
CREATE FUNCTION random_changes(seed float8, rounds int) RETURNS TABLE (wrong bigint, some_driver bigint, some_vehicle bigint, some_fence bigint)
LANGUAGE plpgsql AS $$
BEGIN
	PERFORM setseed(seed);
	wrong := 0; some_driver := 0; some_vehicle := 0; some_fence := 0;
	FOR r IN 1 .. rounds LOOP
		PERFORM change() FROM generate_series(0, (random() * 3)::int);
		PERFORM at402_maintain();
		wrong := wrong + differences('table_trips', 'function_trips');
		some_driver := some_driver + (SELECT count(driver_id) FROM at402.trip);
		some_vehicle := some_vehicle + (SELECT count(vehicle_id) FROM at402.trip);
		some_fence := some_fence + (SELECT count(start_geofence) FROM at402.trip);
	END LOOP;
	RETURN NEXT;
END
$$;
BEGIN;
SELECT wrong, some_driver > 100 AS some_driver, some_vehicle > 100 AS some_vehicle, some_fence > 100 AS some_fence FROM random_changes(0.402, 60);
ROLLBACK;

-- a role that may write a table but not note what follows is refused
CREATE ROLE regress_clerk;
GRANT USAGE ON SCHEMA at402 TO regress_clerk;
GRANT INSERT ON at402.vehicle_device TO regress_clerk;
SET ROLE regress_clerk;
INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (1, 1);
RESET ROLE;
GRANT INSERT ON at402.trip_due TO regress_clerk;
SET ROLE regress_clerk;
INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (1, 1);
RESET ROLE;
SELECT * FROM told('coalesce(vehicle_id, 0)');

DROP SCHEMA at402, regress_at402 CASCADE;
DROP ROLE regress_clerk;
