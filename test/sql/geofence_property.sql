-- Random walks against random geofences: at402.geofence_visit is what a judge finds who looks at
-- every report and every fence one after the other, and what at402_geofence_visits() finds, whatever
-- order the reports came in.  Fences change in the middle.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/stored.sql'
\set ECHO none
\i :file
\set ECHO all

\set devices 4
\set steps 80
SELECT setseed(0.402);

-- one report after the other, as written in the contract: nothing is shared with what it judges
CREATE FUNCTION brute_force() RETURNS TABLE (device_id int, geofence_id int, entered_at timestamptz, left_at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
	v		record;
	p		record;
	inside	bool;
	is_in	bool;
	is_near	bool;
	shown	bool;
BEGIN
	FOR v IN SELECT d.id AS device, f.* FROM at402.geofence_version AS f, at402.device AS d LOOP
		inside := false;
		FOR p IN SELECT * FROM at402.position AS q
			WHERE q.device_id = v.device AND q.time <@ v.valid
				AND q.gnss_valid AND q.geom IS NOT NULL AND NOT q.time_suspect
			ORDER BY q.time, q.seq, q.content_hash
		LOOP
			is_in := CASE WHEN v.radius_m > 0 THEN ST_Distance(v.geom::geography, p.geom::geography) <= v.radius_m
				ELSE ST_Covers(v.geom, p.geom) END;
			is_near := v.hysteresis_m > 0
				AND ST_Distance(v.geom::geography, p.geom::geography) <= v.radius_m + v.hysteresis_m;
			IF is_in AND NOT inside THEN
				inside := true;
				shown := false;
				entered_at := p.time;
			END IF;
			shown := shown OR p.time - entered_at >= v.min_dwell;
			IF inside AND NOT is_in AND NOT is_near THEN
				inside := false;
				device_id := v.device;
				geofence_id := v.geofence_id;
				left_at := p.time;
				IF shown THEN
					RETURN NEXT;
				END IF;
			END IF;
		END LOOP;
		IF inside AND shown THEN
			device_id := v.device;
			geofence_id := v.geofence_id;
			left_at := upper(v.valid);
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;

CREATE FUNCTION visits_of(since timestamptz, until timestamptz)
RETURNS TABLE (device_id int, geofence_id int, entered_at timestamptz, left_at timestamptz) LANGUAGE sql AS $$
	SELECT v.device_id, v.geofence_id, v.entered_at, v.left_at
	FROM at402.device AS d, at402_geofence_visits(d.imei, since, until) AS v
$$;

-- what only one of two has
CREATE FUNCTION differences(a text, b text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n	bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM ((%1$s EXCEPT ALL %2$s) UNION ALL (%2$s EXCEPT ALL %1$s)) AS d', a, b) INTO n;
	RETURN n;
END
$$;

CREATE PROCEDURE judge(what text) LANGUAGE plpgsql AS $$
DECLARE
	brute	text := '(SELECT * FROM brute)';
	since	timestamptz := now() - random() * interval '1 hour';
	until	timestamptz := now() + random() * interval '1 hour';
	n		int;
BEGIN
	DROP TABLE IF EXISTS brute;
	CREATE TABLE brute AS SELECT * FROM brute_force();
	n := (SELECT count(*) FROM brute);
	RAISE INFO '%: % visits, table differs in %, function in %, in a span in %', what,
		CASE WHEN n > 20 THEN 'many' ELSE n::text END,
		differences(brute, '(SELECT device_id, geofence_id, entered_at, left_at FROM at402.geofence_visit)'),
		differences(brute, '(SELECT * FROM visits_of(''-infinity'', ''infinity''))'),
		differences(format('(SELECT * FROM brute WHERE entered_at < %1$L AND (left_at > %2$L OR left_at IS NULL OR entered_at >= %2$L))',
				until, since), format('(SELECT * FROM visits_of(%L, %L))', since, until));
END
$$;

-- A mesh of places 100 m apart, 20 by 10; fences of all kinds upon it.
CREATE FUNCTION place(x float8, y float8) RETURNS geometry LANGUAGE sql AS
	$$ SELECT ST_SetSRID(ST_Point(1 + x * 0.0014, 52 + y * 0.0009), 4326) $$;
CREATE FUNCTION square(x float8, y float8, size float8) RETURNS geometry LANGUAGE sql AS
	$$ SELECT ST_MakeEnvelope(1 + x * 0.0014, 52 + y * 0.0009, 1 + (x + size) * 0.0014, 52 + (y + size) * 0.0009, 4326) $$;
INSERT INTO at402.geofence (name, geom, radius_m, hysteresis_m, min_dwell)
SELECT 'fence ' || i,
	CASE i % 4
		WHEN 0 THEN square(x, y, 4)
		WHEN 1 THEN ST_Difference(square(x, y, 5), square(x + 1, y + 1, 2))
		WHEN 2 THEN place(x, y)
		ELSE ST_MakeLine(place(x, y), place(x + 6, y + 3)) END,
	CASE WHEN i % 4 >= 2 THEN 30 + random() * 200 END,
	CASE WHEN i % 3 = 0 THEN random() * 200 END,
	CASE WHEN i % 5 = 0 THEN random() * interval '10 min' END
FROM generate_series(1, 30) AS i, LATERAL (SELECT floor(random() * 20 + i * 0) AS x, floor(random() * 8 + i * 0) AS y) AS r;

-- former shapes: some had another one until half an hour ago, some none
INSERT INTO at402.geofence_version (geofence_id, valid, name, geom, radius_m, hysteresis_m, min_dwell, box)
SELECT geofence_id, tstzrange('-infinity', now() - interval '30 min'), name, g, radius_m, hysteresis_m, min_dwell,
	at402_internal.at402_geofence_box(g, radius_m + hysteresis_m)
FROM at402.geofence_version, ST_Translate(geom, 0.0014, 0) AS g
WHERE geofence_id % 7 = 0;
UPDATE at402.geofence_version SET valid = tstzrange(now() - interval '30 min', NULL)
WHERE geofence_id % 7 <= 1 AND upper_inf(valid);

-- walks from an hour ago until in an hour: some reports of the same second, some without a fix
CREATE TABLE walk AS
SELECT i AS no, d AS device, date_trunc('second', now() - interval '1 hour')
		+ sum(CASE WHEN random() < 0.1 THEN 0 ELSE floor(random() * 7200 * 2 / :steps) END) OVER w * interval '1 s' AS time,
	10 + sum(floor(random() * 3) - 1) OVER w AS x, 5 + sum(floor(random() * 3) - 1) OVER w AS y, random() AS luck
FROM generate_series(1, :devices) AS d, generate_series(1, :steps) AS i
WINDOW w AS (PARTITION BY d ORDER BY i);
CREATE FUNCTION imei_of(device int) RETURNS text LANGUAGE sql AS $$
	SELECT digits || (10 - sum % 10) % 10
	FROM (SELECT lpad((86087304000000 + device)::text, 14, '0') AS digits) AS d, LATERAL (
		SELECT sum(CASE WHEN i % 2 = 1 THEN n ELSE n * 2 / 10 + n * 2 % 10 END)::int AS sum
		FROM generate_series(1, 14) AS i, LATERAL (SELECT substr(digits, i, 1)::int AS n) AS c) AS s
$$;
CREATE VIEW frames AS
SELECT w.*, x(imei_of(w.device), CASE WHEN luck < 0.05 THEN x_report(no % 256, time)
	ELSE x_report(no % 256, time, 1, CASE WHEN luck < 0.1 THEN 1 | g.invalid ELSE 1 END, '2',
		gnss(ST_Y(place(x, y))::numeric, ST_X(place(x, y))::numeric)) END) AS frame
FROM walk AS w, (SELECT bit AS invalid FROM (SELECT 1 << i AS bit FROM generate_series(0, 15) AS i) AS b
	WHERE at402_status_names(bit) = '{gnss_invalid}') AS g;

-- Stores the walks in batches, in an order of choice, and judges.
CREATE PROCEDURE walk(what text, sorted text, batch int, often int DEFAULT 1) LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE at402.position, at402.event, at402.device_state, at402.geofence_visit, at402.geofence_pending;
	CREATE TEMP TABLE sent ON COMMIT DROP AS SELECT frame, 0::float8 AS rank, 0::bigint AS part FROM frames, generate_series(1, often) LIMIT 0;
	EXECUTE format('INSERT INTO sent SELECT frame, row_number() OVER (ORDER BY %s) FROM frames, generate_series(1, %s)', sorted, often);
	PERFORM at402_ingest(array_agg(frame ORDER BY rank)) FROM sent GROUP BY ceil(rank / batch) ORDER BY ceil(rank / batch);
	DROP TABLE sent;
	CALL judge(what);
END
$$;

CALL walk('in order, all at once', 'time, no', 1000000);
CALL walk('in order, one by one', 'time, no', 1);
CALL walk('in order, in batches', 'time, no', 37);
CALL walk('reversed', 'time DESC, no DESC', 10);
CALL walk('reversed, one by one', 'time DESC, no DESC', 1);
CALL walk('shuffled', 'random()', 25);
CALL walk('shuffled, one by one', 'random()', 1);
CALL walk('shuffled and doubled', 'random()', 25, 2);
CALL walk('nearly in order', 'extract(epoch FROM time) + random() * 600', 8);

-- Fences change when a part of the reports has come, of before and after that moment.
CREATE PROCEDURE change() LANGUAGE plpgsql AS $$
BEGIN
	UPDATE at402.geofence SET geom = ST_Translate(geom, 0, 0.0009) WHERE id % 6 = 0;
	UPDATE at402.geofence SET enabled = false WHERE id % 6 = 1;
	DELETE FROM at402.geofence WHERE id % 6 = 2;
	UPDATE at402.geofence SET radius_m = radius_m + 50, hysteresis_m = 20, min_dwell = '3 min' WHERE id % 6 = 3;
	UPDATE at402.geofence SET enabled = true WHERE id % 12 = 1;
	UPDATE at402.geofence SET name = 'renamed' WHERE id % 6 = 4;
END
$$;
CREATE PROCEDURE changing_walk(what text, sorted text, batch int) LANGUAGE plpgsql AS $$
DECLARE
	frames	at402_frame[];
	n		bigint := 0;
BEGIN
	TRUNCATE at402.position, at402.event, at402.device_state, at402.geofence_visit, at402.geofence_pending;
	FOR frames IN EXECUTE format('SELECT array_agg(frame ORDER BY rank) FROM
		(SELECT frame, row_number() OVER (ORDER BY %s) AS rank FROM frames) AS f GROUP BY rank / %s ORDER BY rank / %2$s', sorted, batch)
	LOOP
		PERFORM at402_ingest(frames);
		n := n + cardinality(frames);
		IF n / 80 > (n - cardinality(frames)) / 80 THEN
			CALL change();
		END IF;
	END LOOP;
	CALL judge(what);
END
$$;
CALL changing_walk('changing, in order', 'time, no', 10);
CALL changing_walk('changing, device by device', 'device, time, no', 20);
CALL changing_walk('changing, shuffled', 'random()', 25);

-- a fence that came later is judged by what comes; the history can be judged again
INSERT INTO at402.geofence (name, geom) SELECT 'later', square(7, 3, 6);
SELECT count(*) > 10 AS some FROM at402.device AS d, at402_rejudge_geofences(d.id);
CALL judge('judged again');
SELECT count(*) AS nothing_new FROM at402.device AS d, at402_rejudge_geofences(d.id);
DROP SCHEMA at402, regress_at402 CASCADE;
