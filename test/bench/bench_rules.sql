-- bench_rules.sql - what rules cost: reports stored in a second with 0, 20 and 200 rules
--
-- Batches of 500 reports, one of each of 500 devices, go through at402_ingest() as the listener's do, each
-- in a transaction of its own.  The rules are of five kinds, as people write them, and hardly ever hold;
-- half of a second set compares with the report before (b).  Each set gets the same reports, of which the
-- first tenth is not measured; the sets take turns, so that a busy moment of the machine meets all.
--
-- To be run in a database of its own: it makes at402 anew.
\set ON_ERROR_STOP on
\pset footer off
SET client_min_messages = error;
SET at402.rule_timeout = '10 s';
DROP SCHEMA IF EXISTS at402 CASCADE;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
SELECT at402_create_tables();
\set devices 500
\if :{?batches}
\else
	\set batches 40
\endif
\if :{?turns}
\else
	\set turns 3
\endif

-- packets of 500 devices, for each second of a batch and turn
CREATE UNLOGGED TABLE public.bench_frame (no int, frames at402_frame[]);
CREATE UNLOGGED TABLE public.bench_result (rules text, seconds float8);

CREATE FUNCTION public.bench_imei(n int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT digits || (10 - sum(CASE WHEN i % 2 = 0 THEN d * 2 / 10 + d * 2 % 10 ELSE d END) % 10) % 10
	FROM (SELECT '35299900' || lpad(n::text, 6, '0') AS digits) AS x,
		generate_series(1, 14) AS i, CAST(substr(digits, i, 1) AS int) AS d
	GROUP BY digits
$$;

CREATE PROCEDURE public.bench_frames(devices int, batches int) LANGUAGE sql AS $$
	INSERT INTO public.bench_frame
	SELECT b, array_agg(at402_encode(jsonb_build_object('kind', 'packet', 'protocol', 'X',
		'imei', public.bench_imei(n), 'reports', jsonb_build_array(jsonb_build_object(
			'seq', b % 256, 'time', at, 'reasons', '["time_interval"]'::jsonb, 'status', '["ignition"]'::jsonb,
			'modules', jsonb_build_object('gnss', jsonb_build_object('fix_time', at, 'latitude_deg', 52,
				'longitude_deg', 0.5 + n * 0.0001, 'speed_kmh', (b * 4 + n) % 50 * 2, 'max_speed_kmh', 90,
				'heading_deg', 90, 'altitude_m', 20, 'journey_distance_km', b)))))) ORDER BY n)
	FROM generate_series(1, batches) AS b, generate_series(1, devices) AS n,
		to_char(date_trunc('second', now() - interval '20 h' + b * interval '30 s') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at
	GROUP BY b
$$;

CREATE PROCEDURE public.bench_rules(number int, with_b bool) LANGUAGE sql AS $$
	DELETE FROM at402.rule;
	INSERT INTO at402.rule (name, source, level, condition)
	SELECT 'bench ' || n, 'position', 'info', CASE
		WHEN with_b AND n % 2 = 0 THEN format('r.speed_kmh > b.speed_kmh + %s', 200 + n)
		WHEN n % 5 = 0 THEN format('r.speed_kmh > %s AND p.ignition', 120 + n)
		WHEN n % 5 = 1 THEN format('r.external_voltage_v < %s', n / 100.0)
		WHEN n % 5 = 2 THEN format('d.attributes ? %L AND r.speed_kmh > 50', 'bench' || n)
		WHEN n % 5 = 3 THEN format('r.heading_deg = %s AND NOT r.gnss_valid', n)
		ELSE format('r.gnss_valid AND r.geom && ST_MakeEnvelope(%s, 10, %s, 11, 4326)', n % 90, n % 90 + 1) END
	FROM generate_series(1, number) AS n
$$;

-- one set of rules, from empty tables
CREATE PROCEDURE public.bench_set(name text, number int, with_b bool, batches int) LANGUAGE plpgsql AS $$
DECLARE
	f at402_frame[];
	began timestamptz;
BEGIN
	TRUNCATE at402.position, at402.event, at402.frame, at402.device_state, at402.alert, at402.rule_run;
	CALL public.bench_rules(number, with_b);
	COMMIT;
	FOR n IN 1 .. batches LOOP
		SELECT frames INTO f FROM public.bench_frame WHERE no = n;
		began := clock_timestamp();
		PERFORM FROM at402_ingest(f);
		COMMIT;
		IF n > batches / 10 THEN
			INSERT INTO public.bench_result VALUES (name, extract(epoch FROM clock_timestamp() - began));
		END IF;
	END LOOP;
END $$;

CALL public.bench_frames(:devices, :batches);
SELECT format('CALL public.bench_set(%L, %s, %L, %s)', name, number, with_b, :batches)
FROM generate_series(1, :turns) AS turn, (VALUES
	('0', 0, false), ('20 without b', 20, false), ('20 with b', 20, true),
	('200 without b', 200, false), ('200 with b', 200, true)) AS v (name, number, with_b)
ORDER BY turn, number, with_b \gexec

WITH r AS (
	SELECT rules, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median,
		percentile_cont(0.99) WITHIN GROUP (ORDER BY seconds) AS p99
	FROM public.bench_result GROUP BY rules
)
SELECT rules, round(:devices / median) AS reports_per_second,
	round((100 * (1 - (SELECT median FROM r WHERE rules = '0') / median))::numeric, 1) AS cost_percent,
	round((1000 * median)::numeric, 1) AS batch_median_ms, round((1000 * p99)::numeric, 1) AS batch_p99_ms
FROM r ORDER BY split_part(rules, ' ', 1)::int, median;
SELECT count(*) AS alerts, (SELECT sum(failures) FROM at402.rule) AS failures FROM at402.alert;
DROP TABLE public.bench_frame, public.bench_result;
DROP PROCEDURE public.bench_set, public.bench_rules, public.bench_frames;
DROP FUNCTION public.bench_imei;
