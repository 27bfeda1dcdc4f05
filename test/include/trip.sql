-- Reports of a drive in few words: for the tests of trips.
\ir stored.sql

-- A report at a time of 2026-03-02.  x: metres east of (0, 52), NULL: no GNSS module; of the words,
-- those that are a status are one, and those that are a reason
CREATE FUNCTION report("time" timestamptz, words text, x float8, speed_kmh int, km numeric DEFAULT 0,
	modules jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('seq', (extract(epoch FROM "time") * 7)::bigint % 256, 'time', at,
		'status', ARRAY(SELECT w FROM unnest(string_to_array(words, ' ')) AS w WHERE w = ANY (at402_status_names(-1))),
		'reasons', ARRAY(SELECT w FROM unnest(string_to_array(words, ' ')) AS w WHERE w = ANY (at402_reason_names(-1))),
		'modules', modules || CASE WHEN x IS NULL THEN '{}' ELSE jsonb_build_object('gnss', jsonb_build_object(
			'fix_time', at, 'latitude_deg', 52, 'longitude_deg', round((x / 68678.0)::numeric, 6),
			'speed_kmh', speed_kmh, 'max_speed_kmh', speed_kmh, 'heading_deg', 90, 'altitude_m', 0,
			'journey_distance_km', km)) END)
	FROM to_char("time", 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at
$$;
CREATE FUNCTION at(clock text) RETURNS timestamptz LANGUAGE sql AS
	$$ SELECT ('2026-03-02 ' || clock || '+00')::timestamptz $$;
CREATE FUNCTION send(imei text, reports jsonb[]) RETURNS int LANGUAGE sql AS $$
	SELECT inserted FROM at402_ingest(ARRAY(
		SELECT at402_encode(jsonb_build_object('kind', 'packet', 'protocol', 'X', 'imei', imei,
											   'reports', jsonb_agg(r ORDER BY n)))
		FROM unnest(reports) WITH ORDINALITY AS u (r, n) GROUP BY n / 20))
$$;
CREATE PROCEDURE derive() LANGUAGE plpgsql AS $$ BEGIN PERFORM at402_maintain(); END $$;
CREATE FUNCTION clock("time" timestamptz) RETURNS text LANGUAGE sql AS
	$$ SELECT to_char("time", 'HH24:MI:SS') $$;
CREATE VIEW trips AS
	SELECT d.imei, clock(t.started_at) AS started, clock(t.ended_at) AS ended, t.distance_km AS km,
		t.odometer_km AS odo, t.duration, t.idle, t.max_speed_kmh AS top, t.mean_speed_kmh AS mean
	FROM at402.trip AS t JOIN at402.device AS d ON d.id = t.device_id ORDER BY 1, 2;
-- what the table has, and what at402_trips() finds
CREATE VIEW table_trips AS
	SELECT d.imei, to_jsonb(t) - 'device_id' - 'rules_seen' AS trip FROM at402.trip AS t JOIN at402.device AS d ON d.id = t.device_id;
CREATE VIEW function_trips AS
	SELECT t.imei, to_jsonb(t) - 'device_id' - 'imei' AS trip
	FROM at402.device AS d, at402_trips(d.imei, '-infinity', 'infinity') AS t;
-- in which ways two sets of trips differ: none
CREATE FUNCTION differences(a text, b text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n	bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT TABLE %2$s) UNION ALL (TABLE %2$s EXCEPT TABLE %1$s)) AS d', a, b)
	INTO n;
	RETURN n;
END
$$;
