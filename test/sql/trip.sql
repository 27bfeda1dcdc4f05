-- Trips and stops: what they are, and that they do not depend on the order in which reports come.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/frames.sql'
\set ECHO none
\i :file
\set ECHO all
\set SHOW_CONTEXT never
DROP SCHEMA IF EXISTS at402 CASCADE;
SELECT at402_create_tables();

-- three trackers
\set a '''490154203237518'''
\set b '''352099001761481'''
\set c '''356938035643809'''

-- A report at a time of 2026-03-02.  x: metres east of (0, 52), NULL: no GNSS module; of the words,
-- those that are a status are one, and those that are a reason
CREATE FUNCTION report("time" timestamptz, words text, x float8, speed_kmh int, km numeric DEFAULT 0,
	modules jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('seq', (extract(epoch FROM "time") * 7)::bigint % 256, 'time', at,
		'status', ARRAY(SELECT w FROM unnest(string_to_array(words, ' ')) AS w WHERE w = ANY (at402_status_names(-1))),
		'reasons', ARRAY(SELECT w FROM unnest(string_to_array(words, ' ')) AS w WHERE w = ANY (at402_reason_names(-1))),
		'modules', modules || CASE WHEN x IS NULL THEN '{}' ELSE jsonb_build_object('gnss', jsonb_build_object(
			'fix_time', at, 'latitude_deg', 52, 'longitude_deg', round((x / 68678.0)::numeric, 6),
			'speed_kmh', speed_kmh, 'max_speed_kmh', speed_kmh, 'heading_deg', 90, 'altitude_m', 0,
			'journey_distance_km', km)) END)
	FROM to_char("time", 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at
$$;
CREATE FUNCTION at(clock text) RETURNS timestamptz LANGUAGE sql AS
	$$ SELECT ('2026-03-02 ' || clock || '+00')::timestamptz $$;
CREATE FUNCTION send(imei text, reports jsonb[]) RETURNS int LANGUAGE sql AS $$
	SELECT inserted FROM at402_ingest(ARRAY(
		SELECT at402_encode(jsonb_build_object('kind', 'packet', 'protocol', 'X', 'imei', imei,
											   'reports', jsonb_agg(r ORDER BY n)))
		FROM unnest(reports) WITH ORDINALITY AS u (r, n) GROUP BY n / 20))
$$;
CREATE PROCEDURE derive() LANGUAGE plpgsql AS $$ BEGIN PERFORM at402_maintain(); END $$;
CREATE FUNCTION clock("time" timestamptz) RETURNS text LANGUAGE sql AS
	$$ SELECT to_char("time", 'HH24:MI:SS') $$;
CREATE VIEW trips AS
	SELECT d.imei, clock(t.started_at) AS started, clock(t.ended_at) AS ended, t.distance_km AS km,
		t.odometer_km AS odo, t.duration, t.idle, t.max_speed_kmh AS top, t.mean_speed_kmh AS mean
	FROM at402.trip AS t JOIN at402.device AS d ON d.id = t.device_id ORDER BY 1, 2;

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

-- ---- jumps ----

CREATE FUNCTION chains(xs float8[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(coalesce(chain::text, '-'), '' ORDER BY n)
	FROM (SELECT n, at402_track(at('08:00') + n * interval '10 s', x / 68678.0, CASE WHEN x IS NOT NULL THEN 52 END)
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

-- ---- any order ----

-- A day of some trackers: they drive and stand, lose their fix and their connection, jump, and have
-- clocks that are wrong.  One is without an ignition wire, two are judged by movement.
SELECT setseed(0.402);
CREATE TEMP TABLE day AS
WITH RECURSIVE life AS (
	SELECT '490154203237518' AS imei, 0 AS n, at('04:00') AS time, 0::float8 AS x, 0 AS speed, false AS on_trip, random() AS dice
	UNION ALL SELECT '352099001761481', 0, at('04:00'), 0, 0, false, random()
	UNION ALL SELECT '356938035643809', 0, at('04:00'), 0, 0, false, random()
	UNION ALL SELECT '861311009999995', 0, at('04:00'), 0, 0, false, random()
	UNION ALL
	SELECT imei, n + 1, time + make_interval(secs => pause), x + CASE WHEN on_trip THEN speed / 3.6 * least(pause, 60) ELSE 0 END,
		CASE WHEN on_trip THEN (random() * 60 - 10)::int ELSE 0 END, on_trip <> (dice < 0.08), random()
	FROM (SELECT *, (CASE WHEN random() < 0.02 THEN 4000 WHEN random() < 0.1 THEN 400 WHEN on_trip THEN 60 * random() ELSE 90 END)::int AS pause
		  FROM life) AS l
	WHERE n < 400
)
SELECT imei, n, time, report(time, concat_ws(' ',
		CASE WHEN on_trip AND imei <> '352099001761481' THEN 'ignition' END,
		CASE WHEN imei = '352099001761481' AND dice < 0.08 THEN CASE WHEN on_trip THEN 'journey_stop' ELSE 'journey_start' END END,
		CASE WHEN dice > 0.95 THEN 'gnss_invalid' END),
	CASE WHEN dice > 0.9 AND dice < 0.93 THEN NULL WHEN dice > 0.93 AND dice < 0.95 THEN 5e5 ELSE x END,
	greatest(speed, 0), (x / 1000)::int % 6000) || jsonb_build_object('seq', n % 256) AS report
FROM life;
UPDATE day SET time = '2099-01-01' WHERE n % 97 = 5;
UPDATE day SET report = report || '{"time": "2099-01-01T00:00:00Z"}' WHERE n % 97 = 5;
SELECT count(*), count(DISTINCT imei) AS trackers, min(time), max(time) FILTER (WHERE time < '2099-01-01'),
	count(*) - count(DISTINCT (imei, time)) AS in_the_same_second FROM day;

CREATE PROCEDURE begin_anew() LANGUAGE sql AS $$
	TRUNCATE at402.device, at402.device_state, at402.position, at402.event, at402.motion, at402.frame, at402.trip;
	INSERT INTO at402.device (imei, trip_by) VALUES ('356938035643809', 'movement'), ('861311009999995', 'movement');
$$;
-- feeds the day in an order, in batches, and derives trips after each of them
CREATE PROCEDURE feed(orders text, batch int) LANGUAGE plpgsql AS $$
DECLARE
	b	record;
BEGIN
	CALL begin_anew();
	FOR b IN
		SELECT array_agg(frame ORDER BY place) AS frames
		FROM (SELECT at402_encode(jsonb_build_object('kind', 'packet', 'protocol', 'X', 'imei', imei,
					'reports', jsonb_build_array(report))) AS frame,
				row_number() OVER (ORDER BY CASE orders WHEN 'forward' THEN n WHEN 'backward' THEN -n
					ELSE hashtext(orders || imei || n) END) AS place
			  FROM day) AS f
		GROUP BY place / batch ORDER BY min(place)
	LOOP
		PERFORM at402_ingest(b.frames);
		PERFORM at402_maintain();
	END LOOP;
END
$$;
CREATE VIEW table_trips AS
	SELECT d.imei, to_jsonb(t) - 'device_id' - 'rules_seen' AS trip FROM at402.trip AS t JOIN at402.device AS d ON d.id = t.device_id;
CREATE VIEW function_trips AS
	SELECT t.imei, to_jsonb(t) - 'device_id' - 'imei' AS trip
	FROM (SELECT DISTINCT imei FROM day) AS d, at402_trips(d.imei, '-infinity', 'infinity') AS t;
-- in which ways two sets of trips differ: none
CREATE FUNCTION differences(a text, b text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n	bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT TABLE %2$s) UNION ALL (TABLE %2$s EXCEPT TABLE %1$s)) AS d', a, b)
	INTO n;
	RETURN n;
END
$$;

CALL feed('forward', 2000);
CREATE TEMP TABLE expected AS TABLE table_trips;
SELECT imei, count(*) AS trips, round(sum((trip->>'distance_km')::numeric)) AS km,
	sum((trip->>'idle')::interval) > '0' AS some_idling, count(*) FILTER (WHERE trip->>'ended_at' IS NULL) AS under_way
FROM expected GROUP BY 1 ORDER BY 1;
SELECT differences('expected', 'function_trips');
CALL feed('forward', 37);
SELECT differences('expected', 'table_trips'), differences('expected', 'function_trips');
CALL feed('backward', 41);
SELECT differences('expected', 'table_trips'), differences('expected', 'function_trips');
CALL feed('shuffled', 43);
SELECT differences('expected', 'table_trips'), differences('expected', 'function_trips');
CALL feed('shuffled otherwise', 300);
SELECT differences('expected', 'table_trips'), differences('expected', 'function_trips');

-- what is asked for a part of the day is what of the whole overlaps it
CREATE FUNCTION pieces_differ() RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*)
	FROM (SELECT imei, low, low + make_interval(mins => (n * 7)) AS high
		  FROM (SELECT DISTINCT imei FROM day) AS d, generate_series(1, 12) AS n, LATERAL (SELECT at('03:30') + n * interval '67 min' AS low) AS l) AS p,
		LATERAL (
			(SELECT started_at, ended_at, distance_km FROM at402_trips(p.imei, low, high)
			 EXCEPT SELECT started_at, ended_at, distance_km FROM at402_trips(p.imei, '-infinity', 'infinity')
				WHERE started_at < high AND coalesce(ended_at, 'infinity') > low)
			UNION ALL (SELECT started_at, ended_at, distance_km FROM at402_trips(p.imei, '-infinity', 'infinity')
				WHERE started_at < high AND coalesce(ended_at, 'infinity') > low
			 EXCEPT SELECT started_at, ended_at, distance_km FROM at402_trips(p.imei, low, high))
			UNION ALL (SELECT started_at, ended_at, 0 FROM at402_stops(p.imei, '-infinity', 'infinity')
				WHERE started_at < high AND coalesce(ended_at, 'infinity') > low
			 EXCEPT SELECT started_at, ended_at, 0 FROM at402_stops(p.imei, low, high))
			UNION ALL (SELECT started_at, ended_at, 0 FROM at402_stops(p.imei, low, high)
			 EXCEPT SELECT started_at, ended_at, 0 FROM at402_stops(p.imei, '-infinity', 'infinity'))) AS x
$$;
SELECT pieces_differ();

-- trips and stops make the whole day, without a gap
SELECT imei, count(*) FILTER (WHERE started_at <> before) AS holes
FROM (SELECT imei, started_at, lag(ended_at) OVER (PARTITION BY imei ORDER BY started_at) AS before
	  FROM (SELECT DISTINCT imei FROM day) AS d,
		LATERAL (SELECT started_at, ended_at FROM at402_trips(d.imei, '-infinity', 'infinity')
				 UNION ALL SELECT started_at, ended_at FROM at402_stops(d.imei, '-infinity', 'infinity')) AS s) AS t
GROUP BY 1 ORDER BY 1;

-- a judge that goes from report to report finds the same
CREATE FUNCTION judged(imei text) RETURNS TABLE (started_at timestamptz, ended_at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	p			record;
	journey		bool := false;
BEGIN
	FOR p IN
		SELECT DISTINCT ON (time) time, ignition, reasons & 64 <> 0 AS starts, reasons & 128 <> 0 AS stops
		FROM at402.position JOIN at402.device AS d ON d.id = device_id
		WHERE d.imei = judged.imei AND NOT time_suspect
		ORDER BY time, seq DESC, content_hash DESC
	LOOP
		journey := CASE WHEN p.ignition OR p.stops THEN false ELSE journey OR p.starts END;
		IF (p.ignition OR journey) AND started_at IS NULL THEN
			started_at := p.time;
		ELSIF NOT (p.ignition OR journey) AND started_at IS NOT NULL THEN
			ended_at := p.time;
			RETURN NEXT;
			started_at := NULL; ended_at := NULL;
		END IF;
	END LOOP;
	IF started_at IS NOT NULL THEN
		RETURN NEXT;
	END IF;
END
$$;
SELECT imei, count(*) FROM unnest(ARRAY[:a, :b]) AS imei, LATERAL (
	(SELECT started_at, ended_at FROM at402_trips(imei, '-infinity', 'infinity') EXCEPT SELECT * FROM judged(imei))
	UNION ALL (SELECT * FROM judged(imei) EXCEPT SELECT started_at, ended_at FROM at402_trips(imei, '-infinity', 'infinity'))) AS x
GROUP BY 1;
CREATE FUNCTION judged_by_movement(imei text) RETURNS TABLE (started_at timestamptz, ended_at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	p			record;
	last		record;
	metres		float8;
	moved_at	timestamptz;
	stood_at	timestamptz;
	latest		timestamptz;
BEGIN
	last := (NULL::timestamptz, NULL::geometry);
	FOR p IN
		SELECT DISTINCT ON (time) time, geom, speed_kmh
		FROM at402.position JOIN at402.device AS d ON d.id = device_id
		WHERE d.imei = judged_by_movement.imei AND NOT time_suspect AND gnss_valid AND geom IS NOT NULL
		ORDER BY time, seq DESC, content_hash DESC
	LOOP
		metres := CASE WHEN last.f1 >= p.time - interval '30 min' THEN ST_DistanceSphere(last.f2, p.geom) END;
		IF p.speed_kmh >= 5 OR metres BETWEEN 200 AND 100 + 70 * extract(epoch FROM p.time - last.f1) THEN
			-- did it stand, or was it not seen?
			IF p.time - stood_at >= '5 min' OR coalesce(stood_at, p.time) - moved_at > '30 min' THEN
				ended_at := CASE WHEN stood_at - moved_at <= '30 min' THEN stood_at ELSE moved_at END;
				IF ended_at > started_at THEN
					RETURN NEXT;
				END IF;
				started_at := NULL; ended_at := NULL;
			END IF;
			started_at := coalesce(started_at, p.time);
			moved_at := p.time;
			stood_at := NULL;
		ELSE
			stood_at := coalesce(stood_at, p.time);
		END IF;
		last := (p.time, p.geom);
	END LOOP;
	SELECT max(time) INTO latest FROM at402.position JOIN at402.device AS d ON d.id = device_id
	WHERE d.imei = judged_by_movement.imei AND NOT time_suspect;
	IF stood_at - moved_at <= '30 min' AND latest - stood_at >= '5 min' THEN
		ended_at := stood_at;
	ELSIF latest - moved_at > '30 min' AND NOT coalesce(stood_at - moved_at <= '30 min', false) THEN
		ended_at := moved_at;
	END IF;
	IF started_at IS NOT NULL AND coalesce(ended_at, 'infinity') > started_at THEN
		RETURN NEXT;
	END IF;
END
$$;
SELECT imei, count(*) FROM unnest(ARRAY[:c, '861311009999995']) AS imei, LATERAL (
	(SELECT started_at, ended_at FROM at402_trips(imei, '-infinity', 'infinity') EXCEPT SELECT * FROM judged_by_movement(imei))
	UNION ALL (SELECT * FROM judged_by_movement(imei) EXCEPT SELECT started_at, ended_at FROM at402_trips(imei, '-infinity', 'infinity'))) AS x
GROUP BY 1;
SELECT count(*) > 10 AS some FROM judged_by_movement(:c);

DROP SCHEMA at402, regress_at402 CASCADE;
