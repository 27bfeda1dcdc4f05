-- Visits of geofences, judged as reports are stored: in order, late, doubled, and the events of it.
-- Each part is rolled back, so that none depends on another.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/stored.sql'
\set ECHO none
\i :file
\set ECHO all

SELECT 1 << i AS invalid FROM generate_series(0, 15) AS i WHERE at402_status_names(1 << i) = '{gnss_invalid}' \gset

-- a square from 52.00 to 52.01 north and 1.00 to 1.01 east, and a yard of 100 m around 1.05 east
INSERT INTO at402.geofence (id, name, geom) VALUES
	(1, 'square', 'SRID=4326;POLYGON((1 52, 1.01 52, 1.01 52.01, 1 52.01, 1 52))');
INSERT INTO at402.geofence (id, name, geom, radius_m, hysteresis_m, min_dwell) VALUES
	(2, 'yard', 'SRID=4326;POINT(1.05 52.005)', 100, NULL, NULL);

-- a report made so many minutes after ten, at this longitude; valid or not
CREATE FUNCTION at(minute numeric, longitude numeric, status int DEFAULT 1, seq int DEFAULT NULL)
RETURNS bytea LANGUAGE sql AS $$
	SELECT x_report(coalesce(seq, 100 + (minute * 2)::int), '2026-01-01 10:00+00'::timestamptz + minute * interval '1 min',
		1, status, '2', gnss(52.005, longitude))
$$;
-- fences that have always been so
CREATE PROCEDURE anew(change text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'UPDATE at402.geofence SET ' || change;
	DELETE FROM at402.geofence_version WHERE NOT upper_inf(valid);
	UPDATE at402.geofence_version SET valid = tstzrange('-infinity', NULL);
END
$$;
CREATE VIEW visits AS
	SELECT d.imei, v.geofence_id AS fence, to_char(v.entered_at, 'HH24:MI:SS') AS entered,
		CASE WHEN v.left_at IS NOT NULL AND v.left_seq IS NULL THEN 'shape ended'
			ELSE to_char(v.left_at, 'HH24:MI:SS') END AS "left", v.seq, v.left_seq
	FROM at402.geofence_visit AS v JOIN at402.device AS d ON d.id = v.device_id
	ORDER BY d.imei, v.entered_at, v.geofence_id;
CREATE VIEW events AS
	SELECT to_char(e.time, 'HH24:MI:SS') AS time, e.seq, e.n, e.kind, e.late, e.detail, ST_AsText(e.geom) AS place
	FROM at402.event AS e WHERE e.kind LIKE 'geofence_%'
	ORDER BY e.device_id, e.time, e.seq, e.n;

-- ---- in order ----

BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 0.99))]);
TABLE visits;
-- the boundary is inside
SELECT * FROM at402_ingest(ARRAY[x(:a, at(1, 1.00))]);
TABLE visits;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(2, 1.005))]);
-- through the yard, without a report inside
SELECT * FROM at402_ingest(ARRAY[x(:a, at(3, 1.04)), x(:a, at(4, 1.06))]);
TABLE visits;
TABLE events;
ROLLBACK;

-- after a gap of more than five minutes nothing is crossed, after one of five it is; nor is a fence
-- that has min_dwell
BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.04), at(5.5, 1.06), at(10, 1.04), at(15, 1.06))]);
SELECT time, kind FROM events;
CALL anew('hysteresis_m = NULL, min_dwell = ''1 s''');
SELECT * FROM at402_ingest(ARRAY[x(:a, at(16, 1.04), at(17, 1.06))]);
SELECT time, kind FROM events;
ROLLBACK;

-- what does not count: no valid fix, no position, a clock that is far ahead; two reports of one second
BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.005), at(1, 0.99, 1 | :invalid), at(2, 1.05, 1 | :invalid),
	x_report(9, '2026-01-01 10:03+00'), x_report(10, '2099-01-01 00:00+00', 1, 1, '2', gnss(52.005, 0.99)))]);
TABLE visits;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(4, 1.005, 1, 1), at(4, 0.99, 1, 2), at(4, 1.005, 1, 3))]);
TABLE visits;
TABLE events;
ROLLBACK;

-- ---- hysteresis and dwell ----

BEGIN;
CALL anew('hysteresis_m = 500');
-- 0.002 east are 137 m: in the band, where nobody enters; then inside; in the band; far
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.052)), x(:a, at(1, 1.05)), x(:a, at(2, 1.052)), x(:a, at(3, 1.06)),
	x(:a, at(4, 1.052))]);
TABLE visits;
SELECT time, kind FROM events;
ROLLBACK;

BEGIN;
CALL anew('min_dwell = ''10 min''');
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.005), at(9, 1.005))]);
TABLE visits;
SELECT entered_at FROM at402.geofence_pending;
-- it appears with the report that is so long after, and the event is of that report
SELECT * FROM at402_ingest(ARRAY[x(:a, at(10, 1.006))]);
TABLE visits;
SELECT count(*) FROM at402.geofence_pending;
-- one that is too short leaves nothing behind; one that is long enough when it ends
SELECT * FROM at402_ingest(ARRAY[x(:a, at(20, 1.02), at(21, 1.005), at(25, 1.02))]);
SELECT * FROM at402_ingest(ARRAY[x(:a, at(30, 1.005))]);
SELECT * FROM at402_ingest(ARRAY[x(:a, at(45, 1.02))]);
TABLE visits;
TABLE events;
SELECT count(*) FROM at402.geofence_pending;
ROLLBACK;

-- ---- late and doubled ----

BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 0.99), at(10, 1.005), at(20, 1.005), at(30, 1.02))]);
TABLE visits;
-- it was inside earlier; outside for a while; and inside for longer
SELECT * FROM at402_ingest(ARRAY[x(:a, at(8, 1.005))]);
TABLE visits;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(15, 1.02))]);
TABLE visits;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(25, 1.005))]);
TABLE visits;
SELECT time, seq, n, kind, late, detail->>'at' AS at FROM events;
-- again: nothing
SELECT * FROM at402_ingest(ARRAY[x(:a, at(8, 1.005)), x(:a, at(15, 1.02)), x(:a, at(25, 1.005)), x(:a, at(30, 1.02))]);
SELECT count(*) FROM events;
SELECT count(*) FROM visits;
-- beside a reason flag of the report: its number is after that
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(99, '2026-01-01 10:40+00', 64, 1, '2', gnss(52.005, 1.005)))]);
SELECT n, kind FROM at402.event WHERE seq = 99 ORDER BY n;
ROLLBACK;

-- the ways to and from a late report; what the way between its neighbours crosses is known
BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.04), at(9, 1.06))]);
SELECT * FROM at402_ingest(ARRAY[x(:a, at(5, 1.045))]);
SELECT time, kind, late, detail->>'at' AS at FROM events;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(12, 1.04))]);
SELECT * FROM at402_ingest(ARRAY[x(:a, at(10.5, 1.06))]);
-- one beside it that is not late
SELECT * FROM at402_ingest(ARRAY[x(:a, at(8, 1.06), at(13, 1.06))]);
-- that it was inside on the way comes to light; what was told stays
SELECT * FROM at402_ingest(ARRAY[x(:a, at(17, 1.04))]);
SELECT * FROM at402_ingest(ARRAY[x(:a, at(15, 1.05))]);
SELECT time, kind, late, detail->>'at' AS at FROM events;
ROLLBACK;

-- ---- two devices, and history ----

BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.005), at(10, 1.02), at(20, 1.05)), x(:b, at(5, 1.005), at(6, 1.006))]);
TABLE visits;
SELECT v.geofence_id, v.name, v.entered_at, v.left_at
FROM at402.device AS d, at402_geofence_visits(d.imei, '2026-01-01 10:00', '2026-01-02') AS v ORDER BY 3;
-- half-open, and whole
SELECT geofence_id, entered_at, left_at FROM at402_geofence_visits(:a, '2026-01-01 10:09:59', '2026-01-01 10:20');
SELECT geofence_id, entered_at, left_at FROM at402_geofence_visits(:a, '2026-01-01 10:10:00', '2026-01-01 10:20:01');
SELECT geofence_id, entered_at, left_at FROM at402_geofence_visits(:a, '-infinity', 'infinity', 2);
SELECT count(*) FROM at402_geofence_visits('490154203237519', '-infinity', 'infinity');
ROLLBACK;

-- ---- the shape changes ----

BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.005)), x(:b, at(0, 1.05))]);
UPDATE at402.geofence SET geom = ST_Translate(geom, 0.01, 0) WHERE id = 1;
DELETE FROM at402.geofence WHERE id = 2;
SELECT geofence_id, entered_at, left_at = upper(valid) AS left_then, left_seq FROM at402.geofence_visit
JOIN at402.geofence_version AS v USING (geofence_id) WHERE v.valid @> entered_at ORDER BY 1;
-- late reports are judged by the shape of their time
SELECT * FROM at402_ingest(ARRAY[x(:a, at(-10, 1.005)), x(:b, at(10, 1.06))]);
TABLE visits;
SELECT time, kind, detail FROM events;
ROLLBACK;

-- ---- what is at fault costs no report, and only itself ----

BEGIN;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'not this one';
END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON at402.geofence_visit FOR EACH ROW WHEN (NEW.geofence_id = 1)
	EXECUTE FUNCTION refuse();
SET LOCAL client_min_messages = warning;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.005)), x(:b, at(0, 1.05))]);
TABLE visits;
SELECT count(*) FROM at402.event WHERE kind = 'geofence_enter';
-- mended, and judged again
DROP TRIGGER refuse ON at402.geofence_visit;
SELECT kind, r.geofence_id, r.name, at FROM at402.device AS d, at402_rejudge_geofences(d.id, '2026-01-01', '2026-01-02') AS r;
SELECT count(*) FROM visits;
ROLLBACK;

-- a trigger that changes fences and stores reports itself, while those of the batch are judged
BEGIN;
CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql SET search_path = regress_at402, public AS $$
BEGIN
	UPDATE at402.geofence SET name = name || ', renamed';
	PERFORM at402_ingest(ARRAY[x('352099001761481', at(0, 1.05))]);
	RETURN NULL;
END
$$;
CREATE TRIGGER more AFTER INSERT ON at402.geofence_visit FOR EACH ROW WHEN (NEW.geofence_id = 1)
	EXECUTE FUNCTION more();
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.005), at(1, 1.05)), x(:a, at(2, 1.06))]);
TABLE visits;
SELECT time, kind, detail->'name' AS name FROM events;
SELECT * FROM at402_ingest(ARRAY[x(:b, at(3, 1.06))]);
TABLE visits;
ROLLBACK;

-- ---- how long visits are kept ----

BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.005), at(10, 1.02), at(20, 1.05)), x(:b, at(0, 1.005), at(60, 1.02))]);
-- for ever, whatever is said of all tables
SET LOCAL at402.retention = '1 hour';
SELECT at402_internal.at402_maintain_visits();
TABLE visits;
-- those that ended before; what is still open stays
SELECT set_config('at402.retention_geofence_visit', (now() - '2026-01-01 10:30+00')::text, true) <> '' AS set;
SELECT at402_internal.at402_maintain_visits();
TABLE visits;
SET LOCAL at402.retention_geofence_visit = '';
SELECT at402_internal.at402_maintain_visits();
TABLE visits;
SELECT message FROM error_of('SET at402.retention_geofence_visit = ''a while''');
ROLLBACK;

-- with rules on the tables
BEGIN;
CREATE TABLE audit (fence int, kind text);
GRANT ALL ON audit TO PUBLIC;	-- rules work as the tables' owner
CREATE RULE audit AS ON INSERT TO at402.geofence_visit DO ALSO INSERT INTO audit VALUES (NEW.geofence_id, 'visit');
CREATE RULE audit AS ON INSERT TO at402.event DO ALSO INSERT INTO audit VALUES ((NEW.detail->>'geofence_id')::int, NEW.kind);
SELECT * FROM at402_ingest(ARRAY[x(:a, at(0, 1.005)), x(:a, at(1, 1.02))]);
SELECT * FROM audit ORDER BY 2, 1;
TABLE visits;
ROLLBACK;
DROP SCHEMA at402, regress_at402 CASCADE;
