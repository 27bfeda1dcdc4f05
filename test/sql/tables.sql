-- The tables: making them, bringing older ones up to date, partitions, retention.
-- Dates are shown as days from today; each block is one transaction, so that
-- today does not end in it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/tables.sql'
\set ECHO none
\i :file
\set ECHO all

-- ---- making them ----

SELECT at402_create_tables();

SELECT c.relname, c.relkind, pg_get_partkeydef(c.oid) AS key,
	to_regclass('at402.' || c.relname || '_default') IS NOT NULL AS has_default,
	obj_description(c.oid, 'pg_class') IS NOT NULL AS commented
FROM pg_class AS c
WHERE c.relnamespace = 'at402'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
	AND NOT c.relispartition
ORDER BY c.relname COLLATE "C";

-- doc/sql.md lists all columns; here: each is what its definition says
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, d.definition
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
	FULL JOIN at402_internal.at402_data_columns() AS d ON d.table_name = c.relname AND d.column_name = a.attname
WHERE (c.oid IS NULL OR c.relnamespace = 'at402'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition)
	AND (a.attname IS NULL OR d.column_name IS NULL
		OR a.attnotnull <> (d.definition ~ 'NOT NULL|serial|IDENTITY' OR EXISTS (
			SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)))
		OR a.atthasdef <> (d.definition ~ 'DEFAULT [^A]|serial'));

SELECT tablename, regexp_replace(indexdef, '.* USING ', '') AS index
FROM pg_indexes
WHERE schemaname = 'at402' AND tablename IN (SELECT table_name FROM at402_internal.at402_data_tables())
ORDER BY 1, 2;

-- a name that says a unit is explained with it: no numeric column goes without
SELECT table_name, column_name FROM at402_internal.at402_data_columns()
WHERE definition = 'numeric' AND about IS NULL;

-- the typed columns of can are the fields of the FMS and OBD modules, and no other
SELECT coalesce(f.field, c.column_name) AS field
FROM (SELECT DISTINCT field FROM at402_fields()
	  WHERE protocol IN ('X', 'Y')
		AND module IN ('fms_journey_start', 'fms_in_journey', 'obd_in_journey', 'fms_journey_stop',
					   'obd_journey_stop', 'fms_driver_id', 'fms_in_journey_high_res',
					   'fms_driver_working_states')) AS f
	FULL JOIN (SELECT * FROM at402_internal.at402_data_columns() WHERE table_name = 'can') AS c
		ON c.column_name = f.field
WHERE f.field IS NULL OR c.column_name IS NULL
ORDER BY 1;

-- partitions from today to three days ahead, of all ten tables alike
BEGIN;
SELECT from_day, to_day, name_fits, count(*)
FROM at402_internal.at402_data_tables() AS t, pg_temp.days(format('at402.%I', t.table_name)::regclass)
WHERE t.range_column IS NOT NULL
GROUP BY 1, 2, 3 ORDER BY 1;
SELECT * FROM at402_maintain();		-- nothing left to do
COMMIT;

-- the extension cannot go while a table has its type
\set VERBOSITY terse
DROP EXTENSION at402;
\set VERBOSITY default

-- with CASCADE it takes the frames along; after that it can be made again, and nothing else is missing
CREATE TEMP VIEW ours AS
	SELECT tgrelid::regclass::text AS of, tgname AS name FROM pg_trigger
	WHERE tgname LIKE 'at402\_%' AND tgparentid = 0
	UNION ALL
	SELECT 'frame', attname FROM pg_attribute
	WHERE attrelid = 'at402.frame'::regclass AND attnum > 0 AND NOT attisdropped;
BEGIN;
CREATE TEMP TABLE made ON COMMIT DROP AS TABLE ours;
INSERT INTO at402.frame (received_at, frame) VALUES (now(), '24410d');
DROP EXTENSION at402 CASCADE;
SELECT count(*) > 0 AS missing FROM (TABLE made EXCEPT TABLE ours) AS m;
TRUNCATE at402.frame;
CREATE EXTENSION at402;
SELECT at402_create_tables();
TABLE made EXCEPT TABLE ours;
ROLLBACK;

-- ---- made again: what is missing comes back, the rest stays ----

CREATE TEMP TABLE before AS
	SELECT attrelid::regclass::text, attname, atttypid, attnotnull FROM pg_attribute
	WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'at402'::regnamespace)
		AND attnum > 0;
BEGIN;
SELECT at402_create_tables();
-- no lock on a table but those of reading (the view is made anew)
SELECT DISTINCT c.relkind, l.mode FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND c.relnamespace = 'at402'::regnamespace
	AND l.mode <> 'AccessShareLock'
ORDER BY 1, 2;
COMMIT;

COMMENT ON COLUMN at402.position.speed_kmh IS 'mine';
ALTER TABLE at402.position DROP COLUMN hdop, DROP COLUMN geom;
ALTER TABLE at402.device DROP COLUMN attributes;
DROP INDEX at402.event_kind_time_idx;
DROP TABLE at402.io, at402.motion_default CASCADE;
DROP VIEW at402.last_position;
SELECT at402_create_tables();
SELECT b.attrelid, b.attname FROM before AS b
WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
				  WHERE a.attrelid = to_regclass(b.attrelid)
					AND a.attname = b.attname AND a.atttypid = b.atttypid
					AND a.attnotnull = b.attnotnull);
SELECT col_description('at402.position'::regclass, attnum) FROM pg_attribute
WHERE attrelid = 'at402.position'::regclass AND attname IN ('speed_kmh', 'hdop') ORDER BY 1;
SELECT to_regclass('at402.event_kind_time_idx') IS NOT NULL AS event_index,
	to_regclass('at402.last_position') IS NOT NULL AS last_position;

-- as older versions made them: an index in place of the key, which they get where no row is
-- there twice
BEGIN;
ALTER TABLE at402.event DROP CONSTRAINT event_pkey;
ALTER TABLE at402.io DROP CONSTRAINT io_pkey;
CREATE INDEX event_device_id_time_idx ON at402.event (device_id, time);
CREATE INDEX io_device_id_time_idx ON at402.io (device_id, time);
ALTER TABLE at402.event REPLICA IDENTITY FULL;
ALTER TABLE at402.event_default REPLICA IDENTITY FULL;
INSERT INTO at402.event (device_id, time, seq, content_hash, n, kind) VALUES
	(1, '2026-01-01', 1, 1, 0, 'panic');
INSERT INTO at402.io (device_id, time, seq, content_hash, n, kind)
	SELECT 1, '2026-01-01', 1, 1, 0, 'input' FROM generate_series(1, 2);
SELECT at402_create_tables();
SELECT tablename, regexp_replace(indexdef, '.* USING ', '') AS index
FROM pg_indexes WHERE schemaname = 'at402' AND tablename IN ('event', 'io')
ORDER BY 1, 2;
SELECT oid::regclass, relreplident FROM pg_class
WHERE oid IN ('at402.event'::regclass, 'at402.event_default'::regclass) ORDER BY 1;
DELETE FROM at402.io;
SELECT at402_create_tables();
SELECT count(*) FROM pg_index WHERE indrelid = 'at402.io'::regclass AND indisprimary;
ROLLBACK;

-- those who load day and night may want fewer indexes
BEGIN;
DROP SCHEMA at402 CASCADE;
SELECT at402_create_tables(indexes => '{event_kind_time_idx}');
SELECT indexname FROM pg_indexes
WHERE schemaname = 'at402' AND tablename IN ('position', 'event', 'frame') ORDER BY 1;
SELECT at402_create_tables(indexes => '{event_kind_time_idx, position_idx}');
ROLLBACK;

-- tables of another kind are not touched
SELECT at402_create_tables(partitioned => false);
BEGIN;
ALTER TABLE at402.device RENAME TO tracker;
CREATE VIEW at402.device AS SELECT * FROM at402.tracker;
SELECT at402_create_tables();
ROLLBACK;

-- How many columns the tables of the first version had.  Who adds one names it in at402_internal.at402_later_columns():
-- else the listener waits, where the library is newer than the tables.
SELECT table_name, count(*)
FROM at402_internal.at402_data_columns() AS c
WHERE table_name = ANY ('{device,device_state,position,event,io,motion,can,can_frame,ble,module,frame,quarantine}')
	AND NOT EXISTS (SELECT FROM at402_internal.at402_later_columns() AS l
		WHERE (l.table_name, l.column_name) = (c.table_name, c.column_name))
GROUP BY table_name ORDER BY table_name COLLATE "C";

-- ---- where rows go ----

BEGIN;
CALL pg_temp.report(1, ARRAY[now(), '1980-01-06 00:00:10+00', '2099-12-31 23:59:59+00']);
SELECT time > '2099-01-01' AS future, tableoid::regclass FROM at402.position
WHERE tableoid = 'at402.position_default'::regclass ORDER BY 1;
SELECT from_day, live_rows FROM pg_temp.days('at402.position') WHERE live_rows > 0;
ROLLBACK;

-- the last position of each device, also of one that never sent any
BEGIN;
INSERT INTO at402.device (id, imei, name)
	VALUES (1, '490154203237518', 'van'), (2, '352099001761481', 'car');
INSERT INTO at402.device_state (device_id, time, geom, speed_kmh, ignition, connected)
	VALUES (1, '2026-01-01 12:00+00', 'SRID=4326;POINT(-1.5 52.25)', 50, true, true);
SELECT device_id, imei, name, time, longitude, latitude, speed_kmh, ignition, connected, last_seen
FROM at402.last_position ORDER BY 1;
ROLLBACK;
