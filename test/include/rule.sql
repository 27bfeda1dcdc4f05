-- Empty tables, rules that have time, and reports in few words: for the tests of rules.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
DROP SCHEMA IF EXISTS at402 CASCADE;
SELECT at402_create_tables() \g /dev/null
SET at402.alert_max_age = '10000 d';
SET at402.rule_timeout = '10 s';

-- two trackers
\set a '''490154203237518'''
\set b '''352099001761481'''

-- A report of 2026-03-02; of the words, those that are a status are one, and those that are a reason
CREATE FUNCTION report(clock text, speed_kmh int, words text DEFAULT '', modules jsonb DEFAULT '{}', seq int DEFAULT 1,
	x float8 DEFAULT 1)
RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('seq', seq, 'time', '2026-03-02T' || clock || 'Z',
		'status', ARRAY(SELECT w FROM unnest(string_to_array(words, ' ')) AS w WHERE w = ANY (at402_status_names(-1))),
		'reasons', ARRAY(SELECT w FROM unnest(string_to_array(words, ' ')) AS w WHERE w = ANY (at402_reason_names(-1))),
		'modules', modules || jsonb_build_object('gnss', jsonb_build_object(
			'fix_time', '2026-03-02T' || clock || 'Z', 'latitude_deg', 52, 'longitude_deg', x,
			'speed_kmh', speed_kmh, 'max_speed_kmh', speed_kmh, 'heading_deg', 90, 'altitude_m', 0,
			'journey_distance_km', 0)))
$$;
-- all of them in one batch
CREATE FUNCTION send(imei text, VARIADIC reports jsonb[]) RETURNS int LANGUAGE sql AS $$
	SELECT inserted FROM at402_ingest(ARRAY[at402_encode(jsonb_build_object('kind', 'packet',
		'protocol', 'X', 'imei', imei, 'reports', to_jsonb(reports)))])
$$;
