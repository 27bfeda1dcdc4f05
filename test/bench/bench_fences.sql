-- What geofences cost: reports stored in a second with 0, 1,000 and 100,000 of them.
--
-- 1,000 vehicles drive through an area of 1,500 by 1,500 km, half of them on their way and half in
-- and out of a town, and report each minute.  Of the fences a half are towns, polygons of 100
-- corners and 2 to 8 km across, which cover two fifths of the area; the others are depots in them,
-- circles of 150 m and yards of 200 by 150 m, of which a part has hysteresis_m and min_dwell.  All of
-- it comes from a seed.  The reports are stored by at402_ingest, 500 in a transaction, four times
-- for each number of fences, upwards and downwards in turn; the best counts.  Wall time on a busy
-- machine tells little: the processor time of the backend stands beside it.
\ir ../include/frames.sql
\set ECHO none
\pset footer off
DROP SCHEMA IF EXISTS at402 CASCADE;
SELECT at402_create_tables() \g /dev/null
SET work_mem = '256MB';
SELECT setseed(0.402) \g /dev/null

-- ---- vehicles ----

CREATE FUNCTION imei_of(device int) RETURNS text LANGUAGE sql AS $$
	SELECT digits || (10 - sum % 10) % 10
	FROM (SELECT lpad((86087304000000 + device)::text, 14, '0') AS digits) AS d, LATERAL (
		SELECT sum(CASE WHEN i % 2 = 1 THEN n ELSE n * 2 / 10 + n * 2 % 10 END)::int AS sum
		FROM generate_series(1, 14) AS i, LATERAL (SELECT substr(digits, i, 1)::int AS n) AS c) AS s
$$;
-- degrees that are about 1 km at 50 degrees north
CREATE FUNCTION at_km(x float8, y float8) RETURNS geometry LANGUAGE sql AS
	$$ SELECT ST_SetSRID(ST_Point(x / 71.7, 43 + y / 111.2), 4326) $$;

CREATE TABLE town AS
SELECT i AS no, random() * 1500 AS x, random() * 1500 AS y, 1 + random() * 3 AS radius
FROM generate_series(1, 50000) AS i;

CREATE TEMP TABLE drive AS
SELECT v AS vehicle, i AS minute,
	greatest(0, least(1500, x + sum(speed * cos(m.heading)) OVER w)) AS x,
	greatest(0, least(1500, y + sum(speed * sin(m.heading)) OVER w)) AS y
FROM (SELECT v, t.x, t.y, random() * 6.28 AS heading FROM generate_series(1, 1000) AS v
		JOIN town AS t ON t.no = v * 37) AS s,
	LATERAL (SELECT i, s.heading + random(),
			CASE WHEN v % 2 = 0 THEN 1.5 ELSE 0.5 * (random() - 0.5) END
		FROM generate_series(1, 60) AS i) AS m(i, heading, speed)
WINDOW w AS (PARTITION BY v ORDER BY i);

CREATE TABLE batch AS
SELECT minute, vehicle % 2 AS half, array_agg(x(imei_of(vehicle), x_report(minute,
	date_trunc('day', now()) + minute * interval '1 min', 1, 1, '3', '\x7a23'
	|| gnss(ST_Y(at_km(x, y))::numeric, ST_X(at_km(x, y))::numeric, 50, date_trunc('day', now()) + minute * interval '1 min'))))
	AS frames
FROM drive GROUP BY 1, 2;

-- ---- fences ----

CREATE PROCEDURE fence(wanted int) LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM at402.geofence;
	DELETE FROM at402.geofence_version;
	INSERT INTO at402.geofence (name, geom)
	SELECT 'town ' || no, ST_MakePolygon(ST_MakeLine(corner ORDER BY i))
	FROM (SELECT t.no, i, at_km(x + radius * (0.8 + 0.2 * sin(i % 100 * 0.5)) * cos(i % 100 * 0.0628),
			y + radius * (0.8 + 0.2 * sin(i % 100 * 0.5)) * sin(i % 100 * 0.0628)) AS corner
		FROM town AS t, generate_series(0, 100) AS i WHERE t.no <= wanted / 2) AS c
	GROUP BY no;
	INSERT INTO at402.geofence (name, geom, radius_m, hysteresis_m, min_dwell)
	SELECT 'depot ' || no, CASE WHEN no % 2 = 0 THEN at_km(x + radius / 3, y)
			ELSE ST_MakeEnvelope(ST_X(p), ST_Y(p), ST_X(p) + 0.2 / 71.7, ST_Y(p) + 0.15 / 111.2, 4326) END,
		CASE WHEN no % 2 = 0 THEN 150 END, CASE WHEN no % 5 = 0 THEN 30 END,
		CASE WHEN no % 10 = 0 THEN interval '5 min' END
	FROM town, at_km(x, y - radius / 3) AS p WHERE no <= wanted / 2;
END
$$;

-- ---- measuring ----

CREATE TABLE measured (fences int, seconds float8, cpu float8, visits bigint, crossed bigint);
-- of this backend, in seconds
CREATE FUNCTION cpu() RETURNS float8 LANGUAGE sql AS $$
	SELECT (split_part(s, ' ', 14)::float8 + split_part(s, ' ', 15)::float8) / 100
	FROM pg_read_file('/proc/self/stat', 0, 1000) AS s
$$;
CREATE PROCEDURE measure(wanted int) LANGUAGE plpgsql AS $$
DECLARE
	b		record;
	began	timestamptz;
	cpu_began float8;
BEGIN
	TRUNCATE at402.position, at402.event, at402.device_state, at402.frame, at402.geofence_visit, at402.geofence_pending;
	-- devices are known, and the plans made
	PERFORM at402_ingest(frames) FROM batch WHERE minute = 1;
	COMMIT;
	began := clock_timestamp();
	cpu_began := cpu();
	FOR b IN SELECT minute, half FROM batch WHERE minute > 1 ORDER BY 1, 2 LOOP
		PERFORM at402_ingest(frames) FROM batch WHERE minute = b.minute AND half = b.half;
		COMMIT;
	END LOOP;
	INSERT INTO measured VALUES (wanted, extract(epoch FROM clock_timestamp() - began), cpu() - cpu_began,
		(SELECT count(*) FROM at402.geofence_visit), (SELECT count(*) FROM at402.event WHERE kind = 'geofence_crossed'));
	COMMIT;
END
$$;
SET client_min_messages = warning;
SELECT replace(statement, 'n)', wanted || ')')
FROM generate_series(1, 4) AS turn, unnest('{0,1000,100000}'::int[]) AS wanted,
	unnest('{CALL fence(n), "VACUUM at402.geofence, at402.geofence_version", CALL measure(n)}'::text[])
		WITH ORDINALITY AS s (statement, step)
ORDER BY turn, CASE WHEN turn % 2 = 1 THEN wanted ELSE -wanted END, step \gexec

\echo
\echo '## What geofences cost'
SELECT fences, round(59000 / min(seconds)) AS "reports/s",
	round((min(seconds) / first_value(min(seconds)) OVER (ORDER BY fences))::numeric, 2) AS "times none",
	round((min(cpu) * 1e6 / 59000)::numeric, 1) AS "us CPU a report",
	round((min(cpu) / first_value(min(cpu)) OVER (ORDER BY fences))::numeric, 2) AS "times none",
	max(visits) AS visits, max(crossed) AS crossed
FROM measured GROUP BY fences ORDER BY fences;
DROP SCHEMA at402, regress_at402 CASCADE;
