-- at402.geofence: what is refused, which shape is valid when, and what is inside of it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/stored.sql'
\set ECHO none
\i :file
\set ECHO all

-- ---- what is refused ----

CREATE FUNCTION refused(geom text, more text DEFAULT 'NULL, NULL, NULL')
RETURNS TABLE (state text, message text, detail text, hint text) LANGUAGE sql AS $$
	SELECT * FROM error_of(format('INSERT INTO at402.geofence
		(id, name, geom, radius_m, hysteresis_m, min_dwell) VALUES (7, ''yard'', %L, %s)', geom, more))
$$;
\x on
\t on
SELECT * FROM refused('SRID=4326;POINT(1 52)');
SELECT * FROM refused('SRID=4326;MULTILINESTRING((1 52, 2 52))', '0, 10, NULL');
SELECT * FROM refused('SRID=4326;POINT(1 52)', '''NaN'', NULL, NULL');
SELECT * FROM refused('SRID=4326;POINT(1 52)', '-1, NULL, NULL');
SELECT * FROM refused('SRID=4326;POINT(1 52)', '100, ''Infinity'', NULL');
SELECT * FROM refused('SRID=4326;POINT(1 52)', '100, 10, ''-1 s''');
-- with which a time of a report would leave the range of timestamps
SELECT * FROM refused('SRID=4326;POINT(1 52)', '100, 10, ''290000 years''');
SELECT * FROM refused('SRID=4326;POLYGON EMPTY');
SELECT * FROM refused('SRID=4326;MULTIPOINT(EMPTY, 1 52)', '100, NULL, NULL');
SELECT * FROM refused('SRID=4326;GEOMETRYCOLLECTION(POINT(1 52))');
SELECT * FROM refused('SRID=4326;CURVEPOLYGON(CIRCULARSTRING(0 0, 1 1, 2 0, 1 -1, 0 0))');
SELECT * FROM refused('SRID=4326;POLYGON((0 0, 1 1, 1 0, 0 1, 0 0))');
-- longitude and latitude changed places, or a projection
SELECT * FROM refused('SRID=4326;POINT(52 100)', '100, NULL, NULL');
SELECT * FROM refused('SRID=4326;POINT(500000 6000000)', '100, NULL, NULL');
SELECT * FROM refused('SRID=4326;POINT(NaN 0)', '100, NULL, NULL');
-- the antimeridian: drawn through it, around the globe, and only reached
SELECT * FROM refused('SRID=4326;POLYGON((179 0, 181 0, 181 1, 179 1, 179 0))');
SELECT * FROM refused('SRID=4326;POLYGON((179 0, -179 0, -179 1, 179 1, 179 0))');
SELECT * FROM refused('SRID=4326;POINT(179.999 52)', '100, NULL, NULL');
SELECT * FROM refused('SRID=4326;POLYGON((179 0, 180 0, 180 1, 179 1, 179 0))', 'NULL, 10, NULL');
-- around a pole what has a radius reaches all longitudes
SELECT * FROM refused('SRID=4326;POINT(1 89.95)', '100, NULL, NULL');
SELECT * FROM refused('SRID=4326;POLYGON((0 -90, 90 -90, 90 -80, 0 -80, 0 -90))', 'NULL, 10, NULL');
-- what the type of the column refuses
SELECT * FROM refused('SRID=3857;POINT(1 52)', '100, NULL, NULL');
SELECT * FROM refused('SRID=4326;POINT Z (1 52 0)', '100, NULL, NULL');
SELECT * FROM error_of('INSERT INTO at402.geofence (name) VALUES (''nowhere'')');
\t off
\x off

-- no more than that; two halves that meet at the antimeridian are fine
INSERT INTO at402.geofence (id, name, geom, radius_m, hysteresis_m, min_dwell) VALUES
	(1, 'yard', 'SRID=4326;POINT(1 52)', 100, 20, NULL),
	(2, 'road', 'SRID=4326;LINESTRING(2 52, 3 52)', 30, NULL, '5 min'),
	(3, 'park', 'SRID=4326;POLYGON((0 0, 1 0, 1 1, 0 1, 0 0), (0.2 0.2, 0.4 0.2, 0.4 0.4, 0.2 0.4, 0.2 0.2))',
	 NULL, NULL, NULL),
	(4, 'town', 'SRID=4326;POLYGON((-1 -1, 2 -1, 2 2, -1 2, -1 -1))', NULL, NULL, NULL),
	(5, 'islands', 'SRID=4326;MULTIPOLYGON(((179 0, 180 0, 180 1, 179 1, 179 0)),
		((-180 0, -179 0, -179 1, -180 1, -180 0)))', NULL, NULL, NULL),
	(6, 'reef', 'SRID=4326;POLYGON((10 10, 10.001 10, 10.001 10.001, 10 10.001, 10 10))', 50, NULL, NULL);
SELECT id, name, tags, enabled, attributes FROM at402.geofence ORDER BY id;
SELECT geofence_id, valid, name, radius_m, hysteresis_m, min_dwell FROM at402.geofence_version
ORDER BY geofence_id;

-- ---- what is inside ----

-- also what index and envelope find: never less than at402_geofence_side says
SELECT place, ARRAY(SELECT name FROM at402_geofence_at(('SRID=4326;' || place)::geometry, now())
		WITH ORDINALITY AS a(id, n) JOIN at402.geofence USING (id) ORDER BY n) AS inside,
	(SELECT string_agg(v.name, ',' ORDER BY v.name) FROM at402.geofence_version AS v
	 WHERE at402_internal.at402_geofence_side(v.geom, v.radius_m, v.hysteresis_m, ('SRID=4326;' || place)::geometry) = 0)
	AS in_the_band
FROM unnest(ARRAY['POINT(0.5 0.5)', 'POINT(0 0.5)', 'POINT(0.3 0.3)', 'POINT(0.2 0.3)', 'POINT(1.5 0.5)',
	'POINT(1.0014 52)', 'POINT(1.0016 52)', 'POINT(1.0018 52)',
	-- a line follows the globe: halfway it is 116 m north of the parallel
	'POINT(2.5 52)', 'POINT(2.5 52.00104)',
	'POINT(180 0.5)', 'POINT(-180 0.5)', 'POINT(10.0014 10)', 'POINT(10.0015 10)']) AS place;

-- the envelope holds all that is within reach: circles along lines that follow the globe
SELECT latitude, radius, bool_and(ST_Covers(at402_internal.at402_geofence_box(line, radius), around)) AS all_in_box
FROM unnest(ARRAY[0, 52, -70, 80]) AS latitude, unnest(ARRAY[1, 1000, 100000]) AS radius,
	LATERAL (SELECT ST_SetSRID(ST_MakeLine(ST_Point(5, latitude), ST_Point(15, latitude + 1)), 4326)) AS l(line),
	generate_series(0, 20) AS part, generate_series(0, 350, 10) AS angle,
	LATERAL (SELECT ST_Project(ST_LineInterpolatePoint(ST_Segmentize(line::geography, 1000)::geometry,
		part / 20.0)::geography, radius, radians(angle))::geometry) AS a(around)
GROUP BY 1, 2 ORDER BY 1, 2;

-- ---- versions ----

-- their order instead of the times that the test ran at
CREATE VIEW versions AS
	SELECT v.geofence_id, v.name, lower(v.valid) = '-infinity' AS first,
		lower(v.valid) = lag(upper(v.valid)) OVER w AS at_once, upper_inf(v.valid) AS last,
		v.radius_m, v.hysteresis_m, v.min_dwell
	FROM at402.geofence_version AS v WINDOW w AS (PARTITION BY geofence_id ORDER BY valid)
	ORDER BY v.geofence_id, v.valid;

-- what is no shape ends none; a new name is told
UPDATE at402.geofence SET name = 'depot', tags = '{own}', speed_limit_kmh = 10 WHERE id = 1;
UPDATE at402.geofence SET radius_m = radius_m, enabled = enabled;
SELECT * FROM versions WHERE geofence_id = 1;
-- what belongs to the shape does
UPDATE at402.geofence SET radius_m = 200 WHERE id = 1;
UPDATE at402.geofence SET hysteresis_m = 30 WHERE id = 1;
UPDATE at402.geofence SET min_dwell = '1 min' WHERE id = 1;
UPDATE at402.geofence SET geom = ST_Translate(geom, 0, 0.001) WHERE id = 1;
-- disabled for a while
UPDATE at402.geofence SET enabled = false WHERE id = 1;
UPDATE at402.geofence SET radius_m = 300 WHERE id = 1;
UPDATE at402.geofence SET enabled = true WHERE id = 1;
SELECT * FROM versions WHERE geofence_id = 1;
-- deleted, and one that takes its id
DELETE FROM at402.geofence WHERE id = 1;
INSERT INTO at402.geofence (id, name, geom, radius_m) VALUES (1, 'yard', 'SRID=4326;POINT(1 52)', 100);
SELECT * FROM versions WHERE geofence_id = 1 OFFSET 6;
-- one that is disabled from the beginning has its first shape when it is enabled
INSERT INTO at402.geofence (id, name, geom, enabled)
	VALUES (20, 'later', 'SRID=4326;POLYGON((5 5, 6 5, 6 6, 5 5))', false);
SELECT count(*) FROM versions WHERE geofence_id = 20;
UPDATE at402.geofence SET enabled = true WHERE id = 20;
SELECT * FROM versions WHERE geofence_id = 20;
-- made and gone in one transaction; renumbered; INSERT ON CONFLICT
BEGIN;
INSERT INTO at402.geofence (id, geom, radius_m) VALUES (21, 'SRID=4326;POINT(1 52)', 100);
UPDATE at402.geofence SET radius_m = 50 WHERE id = 21;
COMMIT;
UPDATE at402.geofence SET id = 22 WHERE id = 21;
INSERT INTO at402.geofence (id, geom, radius_m) VALUES (22, 'SRID=4326;POINT(1 52)', 60)
	ON CONFLICT (id) DO UPDATE SET radius_m = EXCLUDED.radius_m;
SELECT * FROM versions WHERE geofence_id IN (21, 22);
-- what was valid a moment ago is still judged by
SELECT count(*) FROM at402_geofence_at('SRID=4326;POINT(1 52)', '2020-01-01') AS id WHERE id = 1;
-- a refused one changes nothing, nor does what is rolled back
SELECT message FROM error_of('UPDATE at402.geofence SET radius_m = NULL');
BEGIN;
TRUNCATE at402.geofence;
SELECT count(*) FROM at402.geofence_version WHERE upper_inf(valid);
ROLLBACK;
SELECT count(*) FROM at402.geofence_version WHERE upper_inf(valid);
-- who may write fences without owning the tables (doc/geofences.md)
CREATE ROLE regress_planner;
GRANT USAGE ON SCHEMA at402 TO regress_planner;
GRANT SELECT ON ALL TABLES IN SCHEMA at402 TO regress_planner;
GRANT INSERT, UPDATE, DELETE ON at402.geofence, at402.geofence_version, at402.geofence_visit,
	at402.geofence_pending, at402.event, at402.trip_due TO regress_planner;
SET ROLE regress_planner;
INSERT INTO at402.geofence (id, name, geom, radius_m) VALUES (30, 'planned', 'SRID=4326;POINT(1 52)', 100);
UPDATE at402.geofence SET radius_m = 200 WHERE id = 30;
DELETE FROM at402.geofence WHERE id = 30;
SELECT count(*) FROM at402.geofence_version WHERE geofence_id = 30;
RESET ROLE;
DROP SCHEMA at402, regress_at402 CASCADE;
DROP ROLE regress_planner;
