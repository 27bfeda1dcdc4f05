-- Take-out: GeoJSON, GPX, vector tiles; and what a map program reads from the catalogue.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/stored.sql'
\set ECHO none
\i :file
\set ECHO all

INSERT INTO at402.device (id, imei, name) VALUES (1, :a, 'van <1> & more'), (2, '352099001761481', NULL);
INSERT INTO at402.driver (id, name) VALUES (1, 'Ada');
INSERT INTO at402.driver_key (driver_id, serial) VALUES (1, 'A1');
INSERT INTO at402.position (device_id, time, seq, content_hash, received_at, reasons, status, ignition, gnss_valid,
		geom, speed_kmh, heading_deg, altitude_m)
	SELECT 1, timestamptz '2026-03-02 08:00+00' + n * interval '1 min', n, 0, '2026-03-02 12:00+00', 1, 0,
		n BETWEEN 2 AND 4, n <> 3, CASE WHEN n <> 6 THEN ST_SetSRID(ST_MakePoint(n * 0.01, 52), 4326) END, n * 10, 90, n * 20
	FROM generate_series(0, 6) AS n;
INSERT INTO at402.io (device_id, time, seq, content_hash, n, kind, text_value)
	VALUES (1, '2026-03-02 08:02+00', 2, 0, 0, 'driver_id', '00A1');

-- ---- GeoJSON ----

CREATE TEMP TABLE taken AS SELECT at402_geojson(:a, '2026-03-02 08:00+00', '2026-03-02 08:05+00') AS doc;
SELECT doc->>'type' AS type, jsonb_array_length(doc->'features') AS features FROM taken;
SELECT f->>'type' AS type, f->'geometry' AS geometry, f->'properties' AS properties
FROM taken, jsonb_array_elements(doc->'features') AS f;
-- PostGIS reads it
SELECT f->'properties'->>'kind' AS kind, GeometryType(g), ST_SRID(g), ST_IsValid(g)
FROM taken, jsonb_array_elements(doc->'features') AS f, ST_GeomFromGeoJSON(f->'geometry') AS g;
SELECT at402_geojson('352099001761481', '-infinity', 'infinity'), at402_geojson('nobody', '-infinity', 'infinity');

-- ---- GPX ----

\pset format unaligned
\pset tuples_only on
SELECT at402_gpx(:a, '2026-03-02 08:00+00', '2026-03-02 08:07+00');
SELECT at402_gpx('352099001761481', '-infinity', 'infinity');
SELECT at402_gpx('nobody', '-infinity', 'infinity');
\pset tuples_only off
\pset format aligned
SELECT xpath_exists('/g:gpx/g:trk/g:trkseg/g:trkpt[@lat="52"]/g:time', at402_gpx(:a, '-infinity', 'infinity')::xml,
	'{{g,http://www.topografix.com/GPX/1/1}}') AS is_gpx;

-- ---- at the edge of the map ----

BEGIN;
UPDATE at402.device SET name = E'a\u0001\u001f\tb\u007f\u20ac\U0001F69A\uFFFF' WHERE id = 2;
INSERT INTO at402.position (device_id, time, seq, content_hash, received_at, reasons, status, ignition, gnss_valid, geom)
	SELECT 2, timestamptz '2026-03-02 08:00+00' + n * interval '1 min', n, 0, '2026-03-02 12:00+00', 1, 0, true, true, ST_SetSRID(ST_MakePoint(x, y), 4326)
	FROM (VALUES (0, 179.98::float8, 0.00001::float8), (1, 179.99, -0.0000012), (2, 180, 0), (3, -179.99, 0.02), (4, -179.98, -0)) AS v (n, x, y);
SELECT f->'geometry' AS geometry
FROM jsonb_array_elements(at402_geojson('352099001761481', '-infinity', 'infinity')->'features') AS f WHERE f->'properties'->>'kind' = 'trip';
SELECT convert_to((xpath('//g:name/text()', gpx, ns))[1]::text, 'UTF8') AS name, xpath('//g:trkpt/@lat', gpx, ns) AS lat, xpath('//g:trkpt/@lon', gpx, ns) AS lon
FROM (SELECT at402_gpx('352099001761481', '-infinity', 'infinity')::xml AS gpx, '{{g,http://www.topografix.com/GPX/1/1}}'::text[] AS ns) AS g;
ROLLBACK;

-- ---- vector tiles ----

-- names and values in a tile are text in it
CREATE FUNCTION tile_has(tile bytea, words text[]) RETURNS text[] LANGUAGE sql AS
	$$ SELECT ARRAY(SELECT w FROM unnest(words) AS w WHERE position(convert_to(w, 'UTF8') IN tile) > 0) $$;
SELECT at402_mvt(0, 0, 0) = '' AS empty;
INSERT INTO at402.device_state (device_id, time, geom, speed_kmh) VALUES (1, '2026-03-02 08:05+00', 'SRID=4326;POINT(0.05 52)', 50);
INSERT INTO at402.geofence (id, name, geom, radius_m) VALUES (1, 'yard', 'SRID=4326;POINT(0.05 52)', 500),
	(2, 'far', 'SRID=4326;POLYGON((50 50, 51 50, 51 51, 50 50))', NULL);
\set words '''{last_position,geofence,yard,far,490154203237518}'''
SELECT tile_has(at402_mvt(0, 0, 0), :words) AS world;
SELECT tile_has(at402_mvt(8, 128, 84), :words) AS here, tile_has(at402_mvt(8, 163, 86), :words) AS there;
SELECT at402_mvt(8, 0, 0) = '' AS nothing_there;
UPDATE at402.geofence SET enabled = false WHERE id = 1;
SELECT tile_has(at402_mvt(8, 128, 84), :words) AS without_fence;
SELECT at402_mvt(1, 5, 0);
SELECT at402_mvt(0, 1, 0);
SELECT at402_mvt(1, 0, -1);
SELECT at402_mvt(-1, 0, 0);
SELECT at402_mvt(31, 0, 0);
SELECT at402_mvt(30, (1 << 30) - 1, 0) = '' AS smallest, at402_mvt(1, NULL, 0);

-- nothing where there is no time between, or nobody
SELECT at402_geojson(:a, '2026-03-02 09:00+00', '2026-03-02 08:00+00'), at402_geojson(:a, NULL, 'infinity');
SELECT at402_gpx(:a, '2026-03-02 09:00+00', '2026-03-02 08:00+00') AS gpx, at402_gpx(NULL, '-infinity', 'infinity');
SELECT count(t), count(s), count(v) FROM at402_trips(:a, '2026-03-02 09:00+00', '2026-03-02 08:00+00') AS t
	FULL JOIN at402_stops(:a, '2026-03-02 09:00+00', '2026-03-02 08:00+00') AS s ON true
	FULL JOIN at402_geofence_visits(:a, '2026-03-02 09:00+00', '2026-03-02 08:00+00') AS v ON true;

-- ---- what a map program needs to know ----

-- type and system of each geometry: none is left open but that of fences, which are of any
SELECT f_table_name, f_geometry_column, coord_dimension, srid, type FROM geometry_columns
WHERE f_table_schema = 'at402' AND f_table_name NOT LIKE '%\_20%' AND f_table_name NOT LIKE '%\_default' ORDER BY 1, 2;
-- a key for each table; for views, the columns that their comments name
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = 'at402'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
	AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary) ORDER BY 1;

-- CSV
\pset format aligned
COPY (SELECT time, speed_kmh, ST_X(geom) AS longitude, ST_Y(geom) AS latitude FROM at402.position ORDER BY time LIMIT 2)
	TO STDOUT WITH (FORMAT csv, HEADER);

DROP SCHEMA at402, regress_at402 CASCADE;
