-- Partitions of the tables, made ahead and for late rows, and retention.
-- Dates are shown as days from today; each block is one transaction, so that
-- today does not end in it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/tables.sql'
\set ECHO none
\i :file
\set ECHO all

SELECT at402_create_tables();

-- ---- partitions ----

-- what users put on a table is on its new partitions too
BEGIN;
CREATE INDEX my_index ON at402.event (kind);
ALTER TABLE at402.event ADD CONSTRAINT my_check CHECK (kind <> '');
CREATE FUNCTION pg_temp.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER my_trigger AFTER INSERT ON at402.event
	FOR EACH ROW EXECUTE FUNCTION pg_temp.mine();
SET LOCAL at402.partitions_ahead = 4;
SELECT action, row_count FROM at402_internal.at402_maintain_table('event');
SELECT action, row_count FROM at402_internal.at402_maintain_table('event');
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
SELECT at402_internal.at402_partition_start('2026-11-25 13:45+00', i::interval)
FROM unnest('{1 month, 7 days, 1 day, 8 hours, 1 hour}'::text[]) AS i;
SET timezone = 'America/New_York';
SELECT at402_internal.at402_partition_start('2026-11-30 22:45-05', '1 month') = '2026-12-01 00:00+00' AS in_utc;
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
SELECT t, at402_internal.at402_retention(t) FROM unnest('{position,event,io}'::text[]) AS t;
SET LOCAL at402.partition_interval = '1 month';
SET LOCAL at402.partition_interval = '30 days';
SET LOCAL at402.partition_interval = '1:00';
SELECT at402_internal.at402_interval_setting('partition_interval');
ROLLBACK;
SELECT * FROM at402_internal.at402_maintain_table('device');

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
DROP SCHEMA at402 CASCADE;
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
SELECT action FROM at402_internal.at402_maintain_table('position');
RESET ROLE;
SELECT action FROM at402_internal.at402_maintain_table('event');
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
