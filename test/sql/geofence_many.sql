-- Hundreds of geofences all over the world, from 10 m to half a hemisphere across: reports are judged
-- by those that they are near, as if each report had been held against each fence.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/stored.sql'
\set ECHO none
\i :file
\set ECHO all

SELECT setseed(0.402);

-- ---- fences ----

-- somewhere; each fifth one at the edge of the world or near a pole
CREATE FUNCTION somewhere(n int) RETURNS geometry LANGUAGE sql AS $$
	SELECT ST_SetSRID(ST_Point(
		CASE n % 10 WHEN 0 THEN 180 WHEN 1 THEN -180 ELSE random() * 360 - 180 END,
		CASE n % 15 WHEN 0 THEN 90 WHEN 1 THEN -90 WHEN 2 THEN 89.5 WHEN 3 THEN -88
			ELSE degrees(asin(random() * 2 - 1)) END), 4326)
$$;
-- an envelope around a place that stays within the world
CREATE FUNCTION around(place geometry, size float8) RETURNS geometry LANGUAGE sql AS $$
	SELECT ST_MakeEnvelope(greatest(-180, ST_X(place) - size), greatest(-90, ST_Y(place) - size),
		least(180, ST_X(place) + size), least(90, ST_Y(place) + size), 4326)
$$;
-- some with radius_m, some with a hole, some with a band; what would be refused is left out
CREATE PROCEDURE make(first int, last int) LANGUAGE sql AS $$
	INSERT INTO at402.geofence (id, name, geom, radius_m, hysteresis_m)
	SELECT i, 'fence ' || i, s.geom, s.radius_m, s.hysteresis_m
	FROM (SELECT i, somewhere(i) AS place, 0.0001 * 10 ^ (random() * 5.8) AS size FROM generate_series(first, last) AS i) AS r,
		LATERAL (SELECT
			CASE i % 4 WHEN 0 THEN around(place, size) WHEN 1 THEN place
				WHEN 2 THEN ST_Difference(around(place, size), around(place, size / 2))
				ELSE ST_MakeLine(place, ST_Translate(place, size / 2 * sign(-ST_X(place)), size / 3 * sign(-ST_Y(place)))) END AS geom,
			CASE WHEN i % 2 = 1 THEN least(size * 30000, 1e5) END AS radius_m,
			CASE WHEN i % 3 = 0 THEN least(size * 20000, 1e5) END AS hysteresis_m OFFSET 0) AS s
	WHERE (at402_internal.at402_geofence_problem(s.geom, s.radius_m, s.hysteresis_m, NULL)).message IS NULL
$$;
CALL make(1, 500);
SELECT count(*) > 250 AS many, count(*) FILTER (WHERE ST_XMax(box) - ST_XMin(box) > 50) > 5 AS some_huge,
	count(*) FILTER (WHERE ST_YMax(box) > 89.5) > 5 AS some_at_a_pole, count(*) FILTER (WHERE ST_XMax(box) >= 180) > 5 AS some_at_the_edge
FROM at402.geofence_version;

-- ---- reports ----

CREATE FUNCTION imei_of(device int) RETURNS text LANGUAGE sql AS $$
	SELECT digits || (10 - sum % 10) % 10
	FROM (SELECT lpad((86087304000000 + device)::text, 14, '0') AS digits) AS d, LATERAL (
		SELECT sum(CASE WHEN i % 2 = 1 THEN n ELSE n * 2 / 10 + n * 2 % 10 END)::int AS sum
		FROM generate_series(1, 14) AS i, LATERAL (SELECT substr(digits, i, 1)::int AS n) AS c) AS s
$$;
-- A report of each of 40 devices: somewhere, in a fence, or near the place before.
CREATE PROCEDURE report(minute int) LANGUAGE sql AS $$
	SELECT at402_ingest(array_agg(x(imei_of(d), x_report(minute, '2026-01-01 10:00+00'::timestamptz + minute * interval '1 min',
		1, 1, '2', gnss(ST_Y(place)::numeric, ST_X(place)::numeric)))))
	FROM generate_series(1, 40) AS d LEFT JOIN at402.device AS v ON v.imei = imei_of(d)
		LEFT JOIN at402.device_state AS s ON s.device_id = v.id,
		LATERAL (SELECT CASE WHEN s.geom IS NOT NULL AND d % 3 = 0
				THEN ST_Centroid(around(s.geom, random() * 0.3))
			WHEN d % 3 = 1 THEN (SELECT ST_PointOnSurface(f.geom) FROM at402.geofence AS f
				ORDER BY f.id OFFSET (d * 7 + minute * 31) % 250 LIMIT 1)
			ELSE somewhere(d + minute) END AS place OFFSET 0) AS p
$$;
CALL report(1);
CALL report(2);
-- after a change the first reports are looked up by the index on the envelopes
CALL make(501, 510);
CALL report(3);
CALL report(4);

-- ---- each report against each fence ----

CREATE TABLE seen AS
SELECT p.device_id, p.seq AS minute, v.geofence_id,
	at402_internal.at402_geofence_side(v.geom, v.radius_m, v.hysteresis_m, p.geom) AS side,
	v.radius_m = 0 AND abs(ST_X(p.geom) - ST_X(b.geom)) <= 90 AND abs(ST_Y(p.geom) - ST_Y(b.geom)) <= 90 AND NOT p.geom ~= b.geom
		AND ST_Intersects(v.geom, ST_MakeLine(b.geom, p.geom)) AS on_the_way
FROM at402.position AS p CROSS JOIN at402.geofence_version AS v
	LEFT JOIN at402.position AS b ON b.device_id = p.device_id AND b.seq = p.seq - 1
WHERE v.geofence_id <= 500 OR p.seq >= 3;
-- in the band it stays what it was
CREATE TABLE judged AS
WITH RECURSIVE j AS (
	SELECT device_id, geofence_id, 0::smallint AS minute, false AS inside, false AS entered, false AS exited, false AS crossed
	FROM (SELECT DISTINCT device_id, geofence_id FROM seen WHERE side >= 0 OR on_the_way) AS d
	UNION ALL
	SELECT j.device_id, j.geofence_id, m.minute::smallint, m.inside, m.inside AND NOT j.inside, j.inside AND NOT m.inside,
		NOT j.inside AND NOT m.inside AND coalesce(m.on_the_way, false)
	FROM j, LATERAL (SELECT j.minute + 1 AS minute, coalesce(s.side = 1 OR s.side = 0 AND j.inside, false) AS inside, s.on_the_way
		FROM (VALUES (1)) AS one LEFT JOIN seen AS s ON s.device_id = j.device_id AND s.geofence_id = j.geofence_id
			AND s.minute = j.minute + 1) AS m
	WHERE j.minute < 4)
SELECT * FROM j WHERE entered OR exited OR crossed;
SELECT count(*) FILTER (WHERE entered) > 50 AS entered, count(*) FILTER (WHERE exited) > 50 AS exited,
	count(*) FILTER (WHERE crossed) > 20 AS crossed, count(*) FILTER (WHERE geofence_id > 500) > 0 AS of_the_last
FROM judged;
SELECT kind, count(*) FILTER (WHERE NOT found IS TRUE) AS missing, count(*) FILTER (WHERE NOT is_so IS TRUE) AS too_many
FROM (SELECT j.*, k.* FROM judged AS j, LATERAL (VALUES ('geofence_enter', entered), ('geofence_exit', exited),
		('geofence_crossed', crossed)) AS k (kind, is_so) WHERE k.is_so) AS j
	FULL JOIN (SELECT e.device_id, e.seq AS minute, e.kind, v.geofence_id, true AS found FROM at402.event AS e
		JOIN at402.geofence_version AS v ON v.geofence_id = (e.detail->>'geofence_id')::int
		WHERE e.kind IN ('geofence_enter', 'geofence_exit') OR e.kind = 'geofence_crossed' AND v.radius_m = 0) AS e
	USING (device_id, geofence_id, minute, kind)
GROUP BY kind ORDER BY kind;

-- ---- the same reports in another order make the same visits, and cross the same ----

CREATE TABLE sent AS SELECT f.frame, r.seq AS minute FROM at402.frame AS f, at402_reports(f.frame) AS r;
CREATE TABLE visited (ordered text, imei text, geofence_id int, entered_at timestamptz, left_at timestamptz);
CREATE TABLE crossed (ordered text, imei text, geofence_id int, at text);
-- what was in the band of hysteresis_m is not known before the reports before it
CREATE PROCEDURE send(ordered text, direction int) LANGUAGE sql AS $$
	TRUNCATE at402.position, at402.event, at402.device_state, at402.geofence_visit, at402.geofence_pending;
	SELECT at402_ingest(frames) FROM (
		SELECT array_agg(frame) AS frames FROM sent GROUP BY minute ORDER BY minute * direction) AS f;
	INSERT INTO visited
	SELECT ordered, d.imei, v.geofence_id, v.entered_at, v.left_at
	FROM at402.geofence_visit AS v JOIN at402.device AS d ON d.id = v.device_id;
	INSERT INTO crossed
	SELECT ordered, d.imei, v.geofence_id, e.detail->>'at' FROM at402.event AS e JOIN at402.device AS d ON d.id = e.device_id
		JOIN at402.geofence_version AS v ON v.geofence_id = (e.detail->>'geofence_id')::int
	WHERE e.kind = 'geofence_crossed' AND v.hysteresis_m = 0
$$;
CALL send('in order', 1);
CALL send('reversed', -1);
SELECT count(*) > 100 AS some FROM visited WHERE ordered = 'reversed';
SELECT max(ordered) AS only, count(*) FROM visited GROUP BY imei, geofence_id, entered_at, left_at HAVING count(*) <> 2;
SELECT count(*) > 10 AS some FROM crossed WHERE ordered = 'reversed';
SELECT max(ordered) AS only, count(*) FROM crossed GROUP BY imei, geofence_id, at HAVING count(*) <> 2;
DROP SCHEMA at402, regress_at402 CASCADE;
