-- What the tests of the tables share; the tables are not there yet.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
DROP SCHEMA IF EXISTS at402 CASCADE;
SET timezone = 'UTC';
SET check_function_bodies = off;

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
