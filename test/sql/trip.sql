-- Trips and stops: what they are.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/trip.sql'
\set ECHO none
\i :file
\set ECHO all

-- ---- by ignition ----

BEGIN;
SELECT send(:a, ARRAY[
	report(at('08:00'), '', 0, 0),
	report(at('08:10'), 'ignition journey_start', 0, 0, 0),
	report(at('08:11'), 'ignition', 0, 0, 0),
	report(at('08:12'), 'ignition', 1000, 60, 1.0),
	report(at('08:13'), 'ignition gnss_invalid', 1000, 60, 1.0),		-- a tunnel
	report(at('08:14'), 'ignition', NULL, NULL),
	report(at('08:15'), 'ignition', 4000, 70, 4.1),
	report(at('08:16'), 'ignition', 90000, 50, 5.0),					-- a jump
	report(at('08:17'), 'ignition', 6000, 40, 6.2),
	report(at('08:18'), 'journey_stop', 6000, 0, 6.2),
	report(at('09:18'), '', 6020, 0, 6.2),
	report(at('12:00'), '', 40000, 0, 6.2),								-- moved by somebody: no trip
	report(at('13:00'), 'ignition', 40000, 0, 0),
	report(at('17:00'), 'ignition', 50000, 30, 10.5)]);					-- after a gap: still the same trip
CALL derive();
SELECT * FROM trips;
SELECT clock(started_at) AS started, ST_AsText(start_geom, 3) AS "from", ST_AsText(end_geom, 3) AS "to",
	ST_AsText(line, 3) AS line, clock(last_at) AS last, clock(to_timestamp(ST_M(ST_EndPoint(line)))) AS m
FROM at402.trip ORDER BY 1;
SELECT clock(started_at) AS started, clock(ended_at) AS ended, duration, idle, ST_AsText(geom, 3) AS at, geofence
FROM at402_stops(:a, '-infinity', 'infinity');

-- what overlaps a time comes whole: [since, until)
SELECT clock(started_at) AS started, clock(ended_at) AS ended FROM at402_trips(:a, at('08:14'), at('08:15'));
SELECT clock(started_at) AS started FROM at402_trips(:a, at('08:18'), at('13:00'));
SELECT clock(started_at) AS started FROM at402_trips(:a, at('08:17:59'), at('13:00:01'));
SELECT clock(started_at) AS started, clock(ended_at) AS ended FROM at402_stops(:a, at('10:00'), at('10:00:01'));
SELECT count(*) FROM at402_trips(:a, at('09:00'), at('09:00'));
SELECT count(*) FROM at402_trips(:b, '-infinity', 'infinity');

-- off for a moment late in the gap: two trips; the stop between them
SELECT send(:a, ARRAY[report(at('14:00'), '', 40000, 0, 0), report(at('15:00'), 'ignition', 40000, 0, 0)]);
SELECT started_at FROM at402.trip WHERE ended_at IS NULL AND started_at <> at('13:00');
CALL derive();
SELECT started, ended, km FROM trips WHERE started >= '13';
SELECT dirty_since IS NULL AS all_is_derived FROM at402.device_state;

-- nothing has changed: no row is written
SELECT ctid AS before FROM at402.trip WHERE started_at = at('15:00') \gset
UPDATE at402.device_state SET dirty_since = '-infinity';
CALL derive();
SELECT ctid = :'before' AS same FROM at402.trip WHERE started_at = at('15:00');
ROLLBACK;

-- without an ignition wire the flags tell; where there is one, they do not matter
BEGIN;
SELECT send(:a, ARRAY[
	report(at('08:00'), 'journey_start', 0, 10), report(at('08:01'), '', 1000, 40),
	report(at('08:02'), 'journey_stop', 2000, 0), report(at('08:03'), '', 2000, 0),
	report(at('09:00'), 'ignition', 2000, 0), report(at('09:01'), 'ignition journey_stop', 3000, 30),
	report(at('09:02'), 'ignition journey_start', 4000, 30), report(at('09:03'), '', 4000, 0)]);
CALL derive();
SELECT started, ended FROM trips;
ROLLBACK;

-- several reports of a second: the last by number holds; clocks far ahead do not take part
BEGIN;
SELECT send(:a, ARRAY[
	report(at('08:00'), 'ignition', 0, 0) || '{"seq": 5}', report(at('08:00'), '', 0, 0) || '{"seq": 6}',
	report(at('08:01'), '', 0, 0) || '{"seq": 7}', report(at('08:01'), 'ignition', 0, 0) || '{"seq": 8}',
	report(at('08:05'), '', 0, 0), report('2099-01-01', 'ignition', 0, 0)]);
CALL derive();
SELECT started, ended FROM trips;
ROLLBACK;

-- so for standing and for the counter
BEGIN;
SELECT send(:a, ARRAY[
	report(at('08:00'), 'ignition', 0, 0, 5) || '{"seq": 5}', report(at('08:00'), 'ignition', 0, 40, 0) || '{"seq": 6}',
	report(at('08:01'), 'ignition', 0, 0, 0.4), report(at('08:02'), '', 0, 0, 0.4)]);
CALL derive();
SELECT started, ended, odo, idle FROM trips;
ROLLBACK;

-- ---- by movement ----

BEGIN;
INSERT INTO at402.device (imei, trip_by) VALUES (:a, 'movement');
SELECT send(:a, ARRAY[
	report(at('08:00'), '', 0, 0),
	report(at('08:10'), '', 0, 4),
	report(at('08:11'), '', 500, 30),			-- moves
	report(at('08:12'), '', 1000, 0),			-- moved: it is farther
	report(at('08:13'), '', 1000, 0),			-- a traffic light
	report(at('08:16'), '', 1500, 30),
	report(at('08:17'), '', 2000, 0),
	report(at('08:18'), '', 2000, 0),			-- stands from here on
	report(at('08:40'), '', 2010, 0),
	report(at('11:00'), '', 30000, 0),			-- nobody saw it move
	report(at('12:00'), '', 30000, 20),
	report(at('12:01'), '', 30500, 30),
	report(at('14:00'), '', 60000, 30),			-- nor that it went on so long
	report(at('14:01'), '', 60500, 0),
	report(at('14:02'), '', 60510, 0),
	report(at('14:06'), '', 60510, 0)]);
CALL derive();
SELECT started, ended, km, idle FROM trips;
SELECT clock(started_at) AS started, clock(ended_at) AS ended, duration FROM at402_stops(:a, '-infinity', 'infinity');
-- five minutes have passed since it stood
SELECT send(:a, ARRAY[report(at('14:07'), '', 60510, 0)]);
CALL derive();
SELECT started, ended FROM trips WHERE started = '14:00:00';
-- other limits
SELECT clock(started_at) AS started, clock(ended_at) AS ended
FROM at402_trips(:a, '-infinity', 'infinity', min_speed_kmh => 4, stop_time => '2 minutes', max_gap => '3 hours');
ROLLBACK;

-- a report that moves alone is no trip, until another comes late
BEGIN;
INSERT INTO at402.device (imei, trip_by) VALUES (:a, 'movement');
SELECT send(:a, ARRAY[report(at('08:00'), '', 0, 30), report(at('10:00'), '', 0, 0)]);
CALL derive();
SELECT started, ended FROM trips;
SELECT send(:a, ARRAY[report(at('08:29'), '', 9000, 0)]);
CALL derive();
SELECT started, ended, differences('table_trips', 'function_trips') FROM trips;
ROLLBACK;

-- ---- jumps ----

CREATE FUNCTION chains(xs float8[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(coalesce(chain::text, '-'), '' ORDER BY n)
	FROM (SELECT n, at402_internal.at402_track(at('08:00') + n * interval '10 s', x / 68678.0, CASE WHEN x IS NOT NULL THEN 52 END)
			OVER (ORDER BY n) AS chain
		  FROM unnest(xs) WITH ORDINALITY AS u (x, n)) AS t
$$;
SELECT label, chains(xs) FROM (VALUES
	(1, 'none', '{0,200,400,600}'::float8[]), (2, 'one', '{0,200,9e4,600,800}'), (3, 'two', '{0,200,9e4,9e4,800}'),
	(4, 'there and back', '{0,9e4,100,9e4,200,9e4,300}'), (5, 'the first was wrong', '{9e4,0,200,400}'),
	(6, 'the first two were', '{9e4,9e4,0,200,400}'), (7, 'the last', '{0,200,400,9e4}'),
	(8, 'by ferry', '{0,200,400,9e4,90200,90400}'), (9, 'one of two', '{0,9e4}'), (10, 'no place', '{0,NULL,200}'),
	(11, 'noise of a fix', '{0,700,0,700}'), (12, 'two of three', '{9e4,0,200}'), (13, 'none has one', '{NULL,NULL}')) AS v (no, label, xs)
ORDER BY no;
-- what lies between two chains is no distance
BEGIN;
SELECT send(:a, ARRAY(SELECT report(at('08:00') + n * interval '10 s', CASE WHEN n < 10 THEN 'ignition' ELSE '' END,
		n * 100 + CASE WHEN n > 4 THEN 90000 ELSE 0 END, 36)
	FROM generate_series(0, 10) AS n));
SELECT distance_km, ST_NPoints(line) AS points FROM at402_trips(:a, '-infinity', 'infinity');
ROLLBACK;
-- no fix at all, and a single one
BEGIN;
SELECT send(:a, ARRAY[report(at('08:00'), 'ignition', NULL, NULL), report(at('08:01'), '', NULL, NULL),
	report(at('09:00'), 'ignition', 100, 0), report(at('09:01'), '', NULL, NULL)]);
SELECT clock(started_at) AS started, distance_km, odometer_km, line, ST_AsText(start_geom, 3) AS "from",
	ST_AsText(end_geom, 3) AS "to", mean_speed_kmh
FROM at402_trips(:a, '-infinity', 'infinity');
ROLLBACK;

-- ---- who, with what, where ----

BEGIN;
INSERT INTO at402.device (id, imei) VALUES (1, :a);
INSERT INTO at402.driver (id, name) VALUES (1, 'Ada'), (2, 'Bob'), (3, 'Cy');
INSERT INTO at402.driver_key (driver_id, serial, valid) VALUES
	(1, '00eb8902c4', '(,2026-03-02 12:00+00)'), (3, 'EB8902C4', '[2026-03-02 12:00+00,)'), (2, 'B0B', '(,)');
INSERT INTO at402.vehicle (id, name) VALUES (1, 'van'), (2, 'car');
INSERT INTO at402.vehicle_device (vehicle_id, device_id, valid) VALUES
	(1, 1, '(,2026-03-02 12:00+00)'), (2, 1, '[2026-03-02 12:00+00,)');
INSERT INTO at402.geofence (id, name, geom, radius_m) VALUES
	(1, 'town', 'SRID=4326;POLYGON((-1 51, 1 51, 1 53, -1 53, -1 51))', NULL), (2, 'depot', 'SRID=4326;POINT(0 52)', 100);
CREATE FUNCTION key(serial text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('driver_id', jsonb_build_object('source', 1, 'serial_number', lpad(serial, 16, '0')))
$$;
CREATE FUNCTION fuel(km int, litres numeric) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('fms_journey_stop', jsonb_build_object('lifetime_odometer_km', km, 'lifetime_hours', 10,
		'axle_weight_kg', 0, 'journey_fuel_l', litres, 'cruise_control_time_s', 0, 'service_distance_km', 0))
$$;
SELECT send(:a, ARRAY[
	report(at('07:40'), '', 0, 0, 0, key('B0B')),
	report(at('07:55'), '', 0, 0, 0, key('EB8902C4')),			-- shown before
	report(at('08:00'), 'ignition', 0, 0),
	report(at('08:05'), 'ignition private_mode', 3000, 60, 3),
	report(at('08:10'), '', 5000, 0, 5.2, fuel(1000, 1.4)),
	report(at('08:15'), 'ignition', 5000, 0, 0),
	report(at('08:16'), 'ignition', 5000, 0, 0, key('B0B')),		-- shown during it
	report(at('08:17'), 'ignition', 5000, 0, 0, key('EB8902C4')),
	report(at('08:30'), '', 0, 0, 5.1, fuel(1005, 2.2)),
	report(at('12:30'), 'ignition', 0, 0, 0, key('EB8902C4')),		-- another's key by then
	report(at('12:31'), '', 0, 0, 0)]);
CALL derive();
SELECT clock(t.started_at) AS started, d.name AS driver, v.name AS vehicle, s.name AS "from", e.name AS "to",
	t.fuel_l, t.private
FROM at402.trip AS t LEFT JOIN at402.driver AS d ON d.id = t.driver_id
	LEFT JOIN at402.vehicle AS v ON v.id = t.vehicle_id
	LEFT JOIN at402.geofence AS s ON s.id = t.start_geofence LEFT JOIN at402.geofence AS e ON e.id = t.end_geofence
ORDER BY 1;
SELECT clock(started_at) AS started, geofence FROM at402_stops(:a, '-infinity', 'infinity');
ROLLBACK;

-- K tells the family of a key as well, as a number; who is asked about, in hex, may be declined
BEGIN;
INSERT INTO at402.driver (id, name) VALUES (1, 'Ada'), (2, 'Bob');
INSERT INTO at402.driver_key (driver_id, family, serial) VALUES (1, '01', 'A1'), (2, '0A', 'A1');
INSERT INTO at402.device (id, imei) VALUES (1, :a);
INSERT INTO at402.position (device_id, time, seq, content_hash, received_at, reasons, status, ignition)
	SELECT 1, at('08:00') + n * interval '1 hour', 0, 0, now(), 0, 0, n % 2 = 0 FROM generate_series(0, 9) AS n;
INSERT INTO at402.io (device_id, time, seq, content_hash, n, kind, state, text_value, data) VALUES
	(1, at('08:00'), 0, 0, 0, 'driver_id', NULL, 'A1', '{"family": 1}'),
	(1, at('10:00'), 0, 0, 0, 'driver_id', NULL, 'A1', '{"family": 10}'),
	(1, at('12:00'), 0, 0, 0, 'driver_id', NULL, 'A1', '{"family": 3}'),
	(1, at('14:00'), -1, 0, 0, 'driver_id', true, 'A1', '{"check": true, "family": "0A"}'),
	(1, at('16:00'), -1, 0, 0, 'driver_id', false, 'A1', '{"check": true, "family": "01"}');
SELECT clock(started_at) AS started, driver_id FROM at402_trips(:a, '-infinity', 'infinity');
ROLLBACK;

-- ---- what is kept no more ----

BEGIN;
SELECT send(:a, ARRAY[
	report(at('01:00'), 'ignition', 0, 0, 0), report(at('01:30'), 'ignition', 9000, 50, 9), report(at('02:00'), '', 9000, 0, 9),
	report(at('03:00'), 'ignition', 9000, 0, 0), report(at('05:00'), 'ignition', 19000, 50, 10)]);
CALL derive();
CREATE TEMP TABLE before AS SELECT * FROM trips;
DELETE FROM at402.position WHERE time < at('04:00');
-- late for the first, and for the second; the second goes on
SELECT send(:a, ARRAY[report(at('01:10'), '', 0, 0), report(at('03:10'), 'ignition', 0, 0),
	report(at('06:00'), 'ignition', 29000, 50, 20), report(at('06:10'), '', 29000, 0, 20)]);
CALL derive();
SELECT * FROM trips;
SELECT * FROM before;
ROLLBACK;

DROP SCHEMA at402, regress_at402 CASCADE;
