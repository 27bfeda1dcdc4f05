-- The tables: making them, bringing older ones up to date, partitions, retention.
-- Dates are shown as days from today; each block is one transaction, so that
-- today does not end in it.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
DROP SCHEMA IF EXISTS at402 CASCADE;
SET timezone = 'UTC';

-- the partitions of a table: first and last day, and how many rows they hold
CREATE FUNCTION pg_temp.days(parent regclass)
RETURNS TABLE (from_day int, to_day int, name_fits bool, live_rows bigint)
LANGUAGE plpgsql AS $$
DECLARE
	p	record;
BEGIN
	FOR p IN SELECT * FROM at402_partitions(parent) ORDER BY span LOOP
		from_day := lower(p.span)::date - now()::date;
		to_day := upper(p.span)::date - now()::date;
		name_fits := p.partition::text LIKE '%' || to_char(lower(p.span), '_YYYYMMDD') || '%';
		EXECUTE format('SELECT count(*) FROM %s', p.partition) INTO live_rows;
		RETURN NEXT;
	END LOOP;
END
$$;

-- ---- making them ----

SELECT at402_create_tables();

SELECT c.relname, c.relkind, pg_get_partkeydef(c.oid) AS key,
	to_regclass('at402.' || c.relname || '_default') IS NOT NULL AS has_default,
	obj_description(c.oid, 'pg_class') IS NOT NULL AS commented
FROM pg_class AS c
WHERE c.relnamespace = 'at402'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
	AND NOT c.relispartition
ORDER BY c.relname COLLATE "C";

SELECT c.relname, a.attname,
	regexp_replace(format_type(a.atttypid, a.atttypmod), '.*\.', '') AS type, a.attnotnull AS not_null, pg_get_expr(d.adbin, d.adrelid) AS "default"
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
	LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'at402'::regnamespace AND c.relkind IN ('r', 'p', 'v')
	AND NOT c.relispartition
ORDER BY c.relname COLLATE "C", a.attnum;

SELECT tablename, regexp_replace(indexdef, '.* USING ', '') AS index
FROM pg_indexes
WHERE schemaname = 'at402' AND tablename IN (SELECT table_name FROM at402_data_tables())
ORDER BY 1, 2;

-- a name that says a unit is explained with it: no numeric column goes without
SELECT table_name, column_name FROM at402_data_columns()
WHERE definition = 'numeric' AND about IS NULL;

-- the typed columns of can are the fields of the FMS and OBD modules, and no other
SELECT coalesce(f.field, c.column_name) AS field
FROM (SELECT DISTINCT field FROM at402_fields()
	  WHERE protocol IN ('X', 'Y')
		AND module IN ('fms_journey_start', 'fms_in_journey', 'obd_in_journey', 'fms_journey_stop',
					   'obd_journey_stop', 'fms_driver_id', 'fms_in_journey_high_res',
					   'fms_driver_working_states')) AS f
	FULL JOIN (SELECT * FROM at402_data_columns() WHERE table_name = 'can') AS c
		ON c.column_name = f.field
WHERE f.field IS NULL OR c.column_name IS NULL
ORDER BY 1;

-- partitions from today to three days ahead, of all ten tables alike
BEGIN;
SELECT from_day, to_day, name_fits, count(*)
FROM at402_data_tables() AS t, pg_temp.days(format('at402.%I', t.table_name)::regclass)
WHERE t.range_column IS NOT NULL
GROUP BY 1, 2, 3 ORDER BY 1;
SELECT * FROM at402_maintain();		-- nothing left to do
COMMIT;

-- the extension cannot go while a table has its type
\set VERBOSITY terse
DROP EXTENSION at402;
\set VERBOSITY default

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
DROP TABLE at402.io, at402.motion_default;
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

-- ---- where rows go ----

-- what reports leave in position, and an event of each
CREATE PROCEDURE pg_temp.report(device int, times timestamptz[], received timestamptz[] DEFAULT NULL)
LANGUAGE sql AS $$
	INSERT INTO at402.position (device_id, time, seq, content_hash, received_at, reasons, status,
								ignition)
		SELECT device, t, 0, 0, coalesce(r, now()), 4, 1, true
		FROM unnest(times, received) AS u (t, r);
	INSERT INTO at402.event (device_id, time, seq, content_hash, n, kind)
		SELECT device, t, 0, 0, 0, 'on_demand' FROM unnest(times) AS t;
$$;
CREATE FUNCTION pg_temp.last_days(n int) RETURNS timestamptz[] LANGUAGE sql AS
	'SELECT array_agg(now() - d * interval ''1 day'') FROM generate_series(0, n - 1) AS d';

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

-- ---- partitions ----

-- what users put on a table is on its new partitions too
BEGIN;
CREATE INDEX my_index ON at402.event (kind);
ALTER TABLE at402.event ADD CONSTRAINT my_check CHECK (kind <> '');
CREATE FUNCTION pg_temp.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER my_trigger AFTER INSERT ON at402.event
	FOR EACH ROW EXECUTE FUNCTION pg_temp.mine();
SET LOCAL at402.partitions_ahead = 4;
SELECT action, row_count FROM at402_maintain_table('event');
SELECT action, row_count FROM at402_maintain_table('event');
WITH newest AS (SELECT partition FROM at402_partitions('at402.event') ORDER BY span DESC LIMIT 1)
SELECT (SELECT count(*) FROM pg_index WHERE indrelid = partition) AS indexes,
	(SELECT array_agg(tgname) FROM pg_trigger WHERE tgrelid = partition) AS triggers
FROM newest;
ROLLBACK;

-- rows that wait in the default partition get theirs: all of yesterday, or from
-- when the caller says; a clock of 1980 gets none
BEGIN;
CALL pg_temp.report(1, pg_temp.last_days(10) || timestamptz '1980-01-06 00:00:10+00');
CALL pg_temp.report(2, ARRAY[date_trunc('day', now()) - interval '1 day']);
SELECT table_name, action, row_count FROM at402_maintain();
SELECT table_name, action, row_count FROM at402_maintain(now() - interval '5 days');
SELECT * FROM pg_temp.days('at402.event');
SELECT count(*) FROM at402.event_default;
SELECT count(*), count(DISTINCT time) FROM at402.event;
ROLLBACK;

-- with a retention, as far back as that
BEGIN;
CALL pg_temp.report(1, pg_temp.last_days(10));
SET LOCAL at402.retention = '3 days';
SELECT table_name, action, row_count FROM at402_maintain('1980-01-01');
SELECT * FROM pg_temp.days('at402.event');
ROLLBACK;

-- another length later on: no overlap, no gap, no name twice
BEGIN;
SET LOCAL at402.partition_interval = '8 hours';
SET LOCAL at402.partitions_ahead = 30;
SELECT count(*) > 10 AS made FROM at402_maintain() WHERE table_name = 'ble';
SET LOCAL at402.partition_interval = '1 month';
SET LOCAL at402.partitions_ahead = 2;
SELECT count(*) >= 2 AS made FROM at402_maintain() WHERE table_name = 'ble';
SET LOCAL at402.partition_interval = '7 days';
SELECT count(*) <= 1 AS made FROM at402_maintain() WHERE table_name = 'ble';
SELECT count(*) FILTER (WHERE lower(span) < last) AS overlaps,
	count(*) FILTER (WHERE lower(span) > last) AS gaps,
	count(*) FILTER (WHERE upper(span) <= lower(span)) AS empty,
	max(upper(span)) = date_trunc('month', now()) + interval '3 months' AS complete
FROM (SELECT span, lag(upper(span)) OVER (ORDER BY span) AS last
	  FROM at402_partitions('at402.ble')) AS p;
ROLLBACK;

-- what is left of a range between older partitions may be past retention as a whole:
-- such a partition would be dropped as soon as it is made
BEGIN;
CREATE TABLE at402.older PARTITION OF at402.event
	FOR VALUES FROM ('2025-03-10 00:00+00') TO ('2025-04-01 00:00+00');
CALL pg_temp.report(1, '{2025-03-09 07:30+00}');
SET LOCAL at402.partition_interval = '1 month';
SELECT set_config('at402.retention_event', (now() - timestamptz '2025-03-20 00:00+00')::text, true)
	IS NOT NULL AS set;
SELECT action, partition_name FROM at402_maintain('2025-01-01')
WHERE partition_name LIKE 'event_2025%';
SELECT count(*) FROM at402.event_default;
ROLLBACK;

-- where partitions start: months in UTC, weeks on Mondays, hours round the clock
SELECT at402_partition_start('2026-11-25 13:45+00', i::interval)
FROM unnest('{1 month, 7 days, 1 day, 8 hours, 1 hour}'::text[]) AS i;
SET timezone = 'America/New_York';
SELECT at402_partition_start('2026-11-30 22:45-05', '1 month') = '2026-12-01 00:00+00' AS in_utc;
BEGIN;
CALL pg_temp.report(1, '{2025-03-09 07:30+00}');
SELECT partition_name, row_count FROM at402_maintain('2025-01-01');
CALL pg_temp.report(1, '{2025-03-08 00:30+00, 2025-03-08 21:30+00}');
SET LOCAL at402.partition_interval = '1 hour';
SELECT partition_name, row_count FROM at402_maintain('2025-01-01')
WHERE partition_name LIKE 'event_2025%';
ROLLBACK;
SET timezone = 'UTC';

-- a name that is taken
BEGIN;
CALL pg_temp.report(1, '{2025-03-09 07:30+00}');
CREATE TABLE at402.event_20250309 ();
SELECT table_name, partition_name, row_count FROM at402_maintain('2025-01-01');
ROLLBACK;

-- an empty interval leaves partitions to others
BEGIN;
SET LOCAL at402.partition_interval = '';
SET LOCAL at402.partitions_ahead = 30;
SELECT * FROM at402_maintain();
ROLLBACK;

-- ---- retention ----

BEGIN;
CALL pg_temp.report(1, pg_temp.last_days(10), pg_temp.last_days(10));
-- wrong clocks: what counts is when the report came, and so for its event
CALL pg_temp.report(2, '{1980-01-06 00:00:10+00}', ARRAY[now() - interval '1 day']);
CALL pg_temp.report(3, '{1980-01-06 00:00:10+00}', ARRAY[now() - interval '9 days']);
CALL pg_temp.report(4, '{2099-12-31 23:59:59+00}', ARRAY[now() - interval '1 day']);
CALL pg_temp.report(5, '{2099-12-31 23:59:59+00}', ARRAY[now() - interval '9 days']);
SELECT count(*) FROM at402_maintain(now() - interval '20 days');
SET LOCAL at402.retention = '4 days';
SET LOCAL at402.retention_event = '2 days';
SELECT table_name, action, count(*), sum(row_count) FROM at402_maintain()
GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM pg_temp.days('at402.position') WHERE live_rows > 0;
SELECT * FROM pg_temp.days('at402.event') WHERE live_rows > 0;
SELECT device_id FROM at402.position_default ORDER BY 1;
SELECT device_id FROM at402.event_default ORDER BY 1;
ROLLBACK;

-- published tables can be tidied up as well
BEGIN;
SET LOCAL client_min_messages = error;	-- wal_level may be too low to publish for real
CREATE PUBLICATION at402_test FOR ALL TABLES;
CALL pg_temp.report(1, ARRAY[now() - interval '1 day']);
SELECT table_name, action, row_count FROM at402_maintain();
DELETE FROM at402.event;
CALL pg_temp.report(2, '{1980-01-06 00:00:10+00}', ARRAY[now() - interval '9 days']);
SET LOCAL at402.retention = '4 days';
SELECT table_name, action, row_count FROM at402_maintain();
ROLLBACK;

-- settings that make no sense
SET at402.retention = '-1 day';
SET at402.retention = '30 dyas';
SET at402.retention_event = 'a while';
SET at402.retention_event = '0';
SET at402.partition_interval = '2 months';
SET at402.partition_interval = '1 month 1 day';
SET at402.partition_interval = '59 minutes';
SET at402.partition_interval = 'forever';
-- and others that do
BEGIN;
SET LOCAL at402.retention = '3 mons 4 days';
SET LOCAL at402.retention_event = 'P1Y';
SET LOCAL at402.retention_io = 'forever';
SELECT t, at402_retention(t) FROM unnest('{position,event,io}'::text[]) AS t;
SET LOCAL at402.partition_interval = '1 month';
SET LOCAL at402.partition_interval = '30 days';
SET LOCAL at402.partition_interval = '1:00';
SELECT at402_interval_setting('partition_interval');
ROLLBACK;
SELECT * FROM at402_maintain_table('device');

-- ---- whom they belong to ----

-- the role that at402.role names: none in the first block, one in the second
CREATE PROCEDURE pg_temp.change_role(command text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format(command, current_setting('at402.role'));
EXCEPTION WHEN undefined_object OR duplicate_object THEN
END
$$;

BEGIN;
CALL pg_temp.change_role('ALTER ROLE %I RENAME TO regress_at402_renamed');
CREATE ROLE regress_at402_caller SUPERUSER;
SET LOCAL ROLE regress_at402_caller;
SET LOCAL client_min_messages = notice;
SELECT at402_create_tables();
ROLLBACK;

BEGIN;
CALL pg_temp.change_role('CREATE ROLE %I');
SELECT at402_create_tables();
SELECT c.relkind, count(*) > 0 AS there,
	count(*) FILTER (WHERE relowner <> current_setting('at402.role')::regrole) AS not_its_own
FROM pg_class AS c WHERE relnamespace = 'at402'::regnamespace GROUP BY 1 ORDER BY 1;
SELECT nspowner = current_setting('at402.role')::regrole AS its_own FROM pg_namespace
WHERE nspname = 'at402';
-- it does the upkeep by itself, and what others do of it is its own
SET LOCAL at402.partitions_ahead = 4;
SELECT set_config('role', current_setting('at402.role'), true) IS NOT NULL AS as_that_role;
SELECT action FROM at402_maintain_table('position');
RESET ROLE;
SELECT action FROM at402_maintain_table('event');
SELECT count(*) FROM pg_class
WHERE relnamespace = 'at402'::regnamespace AND relowner <> current_setting('at402.role')::regrole;
ROLLBACK;

-- ---- plain tables ----

BEGIN;
DROP SCHEMA at402 CASCADE;
SELECT at402_create_tables(partitioned => false);
SELECT relkind, count(*) FROM pg_class
WHERE relnamespace = 'at402'::regnamespace AND relkind IN ('r', 'p', 'v') GROUP BY 1 ORDER BY 1;
CALL pg_temp.report(1, pg_temp.last_days(10), pg_temp.last_days(10));
CALL pg_temp.report(2, '{1980-01-06 00:00:10+00}', ARRAY[now() - interval '1 day']);
SET LOCAL at402.retention = '4 days 12 hours';
SELECT * FROM at402_maintain();
SELECT device_id, count(*) FROM at402.position GROUP BY 1 ORDER BY 1;
SELECT at402_create_tables(partitioned => true);
ROLLBACK;

DROP SCHEMA at402 CASCADE;
