-- Trips and stops do not depend on the order in which reports come, nor on what is asked for.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/trip.sql'
\set ECHO none
\i :file
\set ECHO all

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
-- feeds the day in an order, in batches, and derives trips after each of them, or as often as that
CREATE PROCEDURE feed(orders text, batch int, often float8 DEFAULT 1) LANGUAGE plpgsql AS $$
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
		IF random() < often THEN
			PERFORM at402_maintain();
		END IF;
	END LOOP;
	PERFORM at402_maintain();
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

-- Wilder evenings, up to the next day: several reports in a second, sequence numbers that repeat, ignition that
-- flutters, gaps about as long as those that end a trip, reports that come twice.
CREATE FUNCTION some_pause(on_trip bool) RETURNS int LANGUAGE sql VOLATILE AS $$
	SELECT (CASE WHEN random() < 0.15 THEN 0 WHEN random() < 0.04 THEN 1700 + 200 * random() WHEN random() < 0.02 THEN 4000
		WHEN random() < 0.1 THEN 250 + 100 * random() WHEN on_trip THEN 60 * random() ELSE 90 END)::int
$$;
CREATE PROCEDURE make_wild(seed float8) LANGUAGE sql AS $$
	SELECT setseed(seed);
	TRUNCATE day;
	INSERT INTO day
	WITH RECURSIVE life AS (
		SELECT imei, 0 AS n, at('21:00') AS time, 0::float8 AS x, 0 AS speed, false AS on_trip, random() AS dice
		FROM unnest('{490154203237518, 352099001761481, 356938035643809, 861311009999995}'::text[]) AS imei
		UNION ALL
		SELECT imei, n + 1, time + make_interval(secs => pause), x + CASE WHEN on_trip THEN speed / 3.6 * least(pause, 60) ELSE 0 END,
			CASE WHEN on_trip THEN (random() * 60 - 10)::int ELSE 0 END, on_trip <> (dice < 0.15), random()
		FROM (SELECT *, some_pause(on_trip) AS pause FROM life) AS l
		WHERE n < 80
	)
	SELECT imei, n, time, report(time, concat_ws(' ',
			CASE WHEN on_trip AND imei <> '352099001761481' OR random() < 0.01 THEN 'ignition' END,
			CASE WHEN imei = '352099001761481' AND dice < 0.15 OR random() < 0.02 THEN CASE WHEN on_trip THEN 'journey_stop' ELSE 'journey_start' END END,
			CASE WHEN random() < 0.01 THEN 'journey_start journey_stop' END, CASE WHEN dice > 0.95 THEN 'gnss_invalid' END),
		CASE WHEN dice > 0.9 AND dice < 0.93 THEN NULL WHEN dice > 0.93 AND dice < 0.95 THEN 5e5 ELSE x END,
		greatest(speed, 0), (x / 1000)::int % 6000) || jsonb_build_object('seq', CASE WHEN random() < 0.1 THEN 7 ELSE n % 256 END)
	FROM life;
	UPDATE day SET report = report || '{"time": "2099-01-01T00:00:00Z"}' WHERE n % 97 = 5;
	INSERT INTO day SELECT * FROM day WHERE random() < 0.1
$$;
CREATE VIEW short_trips AS
	SELECT d.imei, t.started_at, t.ended_at FROM at402.trip AS t JOIN at402.device AS d ON d.id = t.device_id;
CREATE VIEW judged_trips AS
	SELECT d.imei, j.started_at, j.ended_at
	FROM at402.device AS d, LATERAL (SELECT * FROM judged(d.imei) WHERE d.trip_by = 'ignition'
		UNION ALL SELECT * FROM judged_by_movement(d.imei) WHERE d.trip_by = 'movement') AS j;
-- what trips without jumps tell, added up in plain SQL
CREATE VIEW judged_values AS
WITH report AS (
	SELECT t.started_at, p.*, row_number() OVER (PARTITION BY p.device_id, t.started_at ORDER BY p.time, p.seq, p.content_hash) AS no
	FROM at402.trip AS t JOIN at402.position AS p ON p.device_id = t.device_id AND p.time BETWEEN t.started_at AND t.last_at AND NOT p.time_suspect
), fix AS (
	SELECT *, lag(geom) OVER w AS geom_before, time - lag(time) OVER w AS passed, speed_kmh < 5 AND lag(speed_kmh) OVER w < 5 AS stands
	FROM report WHERE gnss_valid AND geom IS NOT NULL WINDOW w AS (PARTITION BY device_id, started_at ORDER BY no)
), place AS (
	SELECT device_id, started_at, count(*) AS points, coalesce(sum(ST_Distance(geom_before::geography, geom::geography)), 0) AS metres,
		coalesce(sum(passed) FILTER (WHERE stands), '0') AS idle,
		bool_or(ST_DistanceSphere(geom_before, geom) > 100 + 70 * extract(epoch FROM passed)) AS jumps
	FROM fix GROUP BY 1, 2
), counter AS (
	SELECT device_id, started_at, sum(greatest(km - before, 0)) FILTER (WHERE before IS NOT NULL) AS km
	FROM (SELECT *, journey_distance_km AS km, lag(journey_distance_km) OVER (PARTITION BY device_id, started_at ORDER BY no) AS before
		  FROM report WHERE journey_distance_km IS NOT NULL) AS c GROUP BY 1, 2
)
SELECT device_id, started_at, p.jumps, p.points, p.metres, p.idle, c.km, r.top, r.private
FROM (SELECT device_id, started_at, max(greatest(speed_kmh, max_speed_kmh)) AS top, bool_or(status & 2 <> 0) AS private FROM report GROUP BY 1, 2) AS r
	LEFT JOIN place AS p USING (device_id, started_at) LEFT JOIN counter AS c USING (device_id, started_at);
-- in which ways: the table differs from the judges; what is asked for a part from the whole; other orders from this one
CREATE FUNCTION wild_differs(seed float8) RETURNS TABLE (trips bigint, judge bigint, told bigint, pieces bigint, backward bigint, shuffled bigint) LANGUAGE plpgsql AS $$
BEGIN
	CALL make_wild(seed);
	CALL feed('forward', 500);
	DELETE FROM expected;
	INSERT INTO expected SELECT * FROM table_trips;
	trips := (SELECT count(*) FROM expected);
	judge := differences('judged_trips', 'short_trips');
	told := (SELECT count(*) FROM at402.trip AS t JOIN judged_values AS j USING (device_id, started_at) WHERE j.jumps IS NOT TRUE
		AND ((t.idle, t.odometer_km, t.max_speed_kmh, t.private, coalesce(ST_NPoints(t.line), 1)) IS DISTINCT FROM (coalesce(j.idle, '0'), j.km, j.top, j.private, coalesce(j.points, 1))
			 OR abs(t.distance_km * 1000 - j.metres) > 2 OR num_nulls(t.distance_km, j.metres) = 1));
	pieces := pieces_differ();
	CALL feed('backward', 1, 0.1);
	backward := differences('expected', 'table_trips') + differences('expected', 'function_trips');
	CALL feed('shuffled', 50);
	shuffled := differences('expected', 'table_trips') + differences('expected', 'function_trips');
	RETURN NEXT;
END
$$;
SELECT seed, trips > 10 AS some, judge, told, pieces, backward, shuffled FROM unnest('{0.021, 0.402}'::float8[]) AS seed, wild_differs(seed);

DROP SCHEMA at402, regress_at402 CASCADE;
