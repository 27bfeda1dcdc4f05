-- Trips and stops: from reports to journeys.
--
-- What a trip is depends on device.trip_by:
--
-- ignition  from the first report with ignition on to the first with it off.  A
--           device without an ignition wire may tell by flags: a report with
--           journey_start and ignition off begins one, which lasts until
--           journey_stop.  Gaps change nothing.
-- movement  from the first report that moves to the first of those that stand for
--           stop_time.  A report moves that is at min_speed_kmh, or min_distance_m
--           away from the one before, unless that is longer ago than max_gap: what
--           nobody saw is no trip.  A trip that is not seen to end within max_gap
--           ended with its last report that moves.
--
-- Of several reports of a second the last by seq says what holds in it.  Reports
-- that are time_suspect take no part.  Those without a valid fix tell of
-- ignition, counters and so on, but of no place.
--
-- All follows from the reports and their times alone, never from the order in
-- which they came.  So at402.trip, where the trips from the one on that a late
-- report falls into are derived again, has the same rows as at402_trips().
--
-- These functions read by key and are planned so, whatever the statistics say.
-- The schema of PostGIS is put in for @postgis@ when the extension is made.

CREATE FUNCTION at402_internal.at402_track("time" timestamptz, longitude float8, latitude float8) RETURNS int
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE WINDOW;
COMMENT ON FUNCTION at402_internal.at402_track(timestamptz, float8, float8) IS
'over the positions of a trip in their order: number, from 1, of the chain that a position belongs to; NULL: it has no place, or is a jump, farther from the place before than 100 m and 252 km/h allow.  Three such places in a row that agree are right: they begin a chain of their own';

-- All trips and stops of a device that overlap a span of time, each as a whole:
-- it is read from as far before and up to as far after as it takes.
CREATE FUNCTION at402_internal.at402_timeline(imei text, since timestamptz, until timestamptz,
	min_speed_kmh int, min_distance_m float8, stop_time interval, max_gap interval)
RETURNS TABLE (device_id int, is_trip bool, started_at timestamptz, ended_at timestamptz, last_at timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	d			record;
	low			timestamptz := since - interval '1 day';
	high		timestamptz := until + interval '1 day';
	starts		timestamptz[];
	ends		timestamptz[];
	lasts		timestamptz[];
	more_before	bool;
	more_after	bool;
BEGIN
	PERFORM at402_internal.at402_need_table('device');
	SELECT * INTO d FROM at402.device AS v WHERE v.imei = at402_timeline.imei;
	IF NOT FOUND OR since >= until THEN
		RETURN;
	END IF;
	LOOP
		SELECT array_agg(s.started_at ORDER BY s.started_at), array_agg(s.ended_at ORDER BY s.started_at),
			array_agg(s.last_at ORDER BY s.started_at)
		INTO starts, ends, lasts
		FROM at402_internal.at402_trip_spans(ARRAY[d.id], ARRAY[d.trip_by], ARRAY[low], high,
			min_speed_kmh, min_distance_m, stop_time, max_gap) AS s;
		-- the end of a trip is right whatever was before, so all that follows it is
		more_before := EXISTS (SELECT FROM at402.position AS p
							   WHERE p.device_id = d.id AND p.time < low AND NOT p.time_suspect);
		more_after := EXISTS (SELECT FROM at402.position AS p
							  WHERE p.device_id = d.id AND p.time >= high AND NOT p.time_suspect)
			AND NOT coalesce(until <= ANY (starts || ends), false);
		IF more_before AND NOT coalesce(since >= ANY (ends), false) THEN
			low := low - (since - low);
		ELSIF more_after THEN
			high := high + (high - until);
		ELSE
			EXIT;
		END IF;
	END LOOP;

	RETURN QUERY
	WITH trip AS (
		SELECT * FROM unnest(starts, ends, lasts) AS t (started_at, ended_at, last_at)
	), report AS (
		SELECT min(p.time) AS first, max(p.time) AS last FROM at402.position AS p
		WHERE p.device_id = d.id AND p.time >= low AND p.time < high AND NOT p.time_suspect
	)
	SELECT d.id, s.is_trip, s.started_at, s.ended_at, s.last_at
	FROM (
		SELECT true AS is_trip, * FROM trip
		UNION ALL
		-- from the end of a trip to the next one
		SELECT false, t.ended_at, t.next, coalesce(t.next, r.last)
		FROM (SELECT *, lead(started_at) OVER (ORDER BY started_at) AS next FROM trip) AS t, report AS r
		WHERE t.ended_at IS NOT NULL
		UNION ALL
		-- before the first trip
		SELECT false, r.first, starts[1], coalesce(starts[1], r.last)
		FROM report AS r
		WHERE NOT more_before AND r.first < coalesce(starts[1], 'infinity')) AS s
	WHERE s.started_at < until AND coalesce(s.ended_at, 'infinity') > since;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_timeline(text, timestamptz, timestamptz, int, float8, interval, interval) IS
'part of at402_trips and at402_stops: from when to when the trips and stops of a device are that overlap a span of time';

CALL at402_internal.at402_create($sql$

-- From when to when.  last_at: time of the last report of the trip so far.
CREATE FUNCTION at402_internal.at402_trip_spans(devices int[], kinds text[], since timestamptz[], until timestamptz,
	min_speed_kmh int, min_distance_m float8, stop_time interval, max_gap interval)
RETURNS TABLE (device_id int, started_at timestamptz, ended_at timestamptz, last_at timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH asked AS (
		SELECT * FROM unnest(devices, kinds, at402_trip_spans.since) AS a (device_id, kind, since)
	), report AS (
		SELECT a.device_id, p.time, p.ignition,
			CASE WHEN p.ignition OR p.reasons & 128 <> 0 THEN 0		-- journey_stop
				WHEN p.reasons & 64 <> 0 THEN 1 END AS journey,		-- journey_start
			lead(p.time) OVER w IS DISTINCT FROM p.time AS counts
		FROM asked AS a, LATERAL (
			SELECT * FROM at402.position AS p
			WHERE p.device_id = a.device_id AND p.time >= a.since AND p.time < until
				AND NOT p.time_suspect) AS p
		WHERE a.kind = 'ignition'
		WINDOW w AS (PARTITION BY a.device_id ORDER BY p.time, p.seq, p.content_hash)
	), state AS (
		-- what was last said of the journey: the largest of the times, with 0 or 1 below it
		SELECT device_id, time, max(time) OVER (PARTITION BY device_id) AS latest, ignition
			OR coalesce(max(date_part('epoch', time)::bigint * 2 + journey) OVER w & 1 = 1, false) AS is_on
		FROM report WHERE counts
		WINDOW w AS (PARTITION BY device_id ORDER BY time)
	), edge AS (
		SELECT device_id, time, is_on, latest, lead(time) OVER (PARTITION BY device_id ORDER BY time) AS next
		FROM (SELECT *, lag(is_on, 1, false) OVER (PARTITION BY device_id ORDER BY time) AS was_on
			  FROM state) AS s
		WHERE is_on <> was_on
	),

	place AS (
		SELECT *, lead(time) OVER w IS DISTINCT FROM time AS counts
		FROM (SELECT p.*, a.since, max(p.time) OVER (PARTITION BY a.device_id) AS latest
			  FROM asked AS a, LATERAL (
				SELECT * FROM at402.position AS p
				WHERE p.device_id = a.device_id AND p.time >= a.since - max_gap AND p.time < until
					AND NOT p.time_suspect) AS p
			  WHERE a.kind = 'movement') AS p
		WHERE gnss_valid AND geom IS NOT NULL
		WINDOW w AS (PARTITION BY device_id ORDER BY time, seq, content_hash)
	), step AS (
		SELECT *, time - lag(time) OVER w AS passed, @postgis@.ST_DistanceSphere(lag(geom) OVER w, geom) AS metres
		FROM place WHERE counts
		WINDOW w AS (PARTITION BY device_id ORDER BY time)
	), move AS (
		-- each report that moves, and the first after it that stands
		SELECT device_id, n, min(latest) AS latest, min(time) FILTER (WHERE moves) AS moved_at,
			min(time) FILTER (WHERE NOT moves) AS stood_at
		FROM (SELECT *, count(*) FILTER (WHERE moves) OVER (PARTITION BY device_id ORDER BY time) AS n
			  FROM (SELECT *, coalesce(time >= since AND (speed_kmh >= min_speed_kmh
						OR passed <= max_gap AND metres >= min_distance_m
							-- farther, it is a jump (at402_track)
							AND metres <= 100 + 70 * date_part('epoch', passed)), false) AS moves
					FROM step) AS s) AS s
		WHERE n > 0
		GROUP BY device_id, n
	), numbered AS (
		SELECT *, lead(moved_at) OVER w IS NOT NULL AS moves_again,
			count(*) FILTER (WHERE begins) OVER w AS trip
		FROM (SELECT *, coalesce(
				coalesce(lag(stood_at) OVER w, moved_at) - lag(moved_at) OVER w > max_gap
				OR moved_at - lag(stood_at) OVER w >= stop_time, lag(moved_at) OVER w IS NULL) AS begins
			  FROM move WINDOW w AS (PARTITION BY device_id ORDER BY n)) AS m
		WINDOW w AS (PARTITION BY device_id ORDER BY n)
	), trip AS (
		SELECT DISTINCT ON (device_id, trip) device_id, latest,
			min(moved_at) OVER (PARTITION BY device_id, trip) AS started_at,
			CASE WHEN stood_at - moved_at <= max_gap THEN stood_at ELSE moved_at END AS stopped_at,
			moves_again OR CASE WHEN stood_at - moved_at <= max_gap THEN latest - stood_at >= stop_time
				ELSE latest - moved_at > max_gap END AS is_over
		FROM numbered
		ORDER BY device_id, trip, n DESC
	)
	SELECT device_id, time, next, coalesce(next, latest) FROM edge WHERE is_on
	UNION ALL
	SELECT device_id, started_at, CASE WHEN is_over THEN stopped_at END,
		CASE WHEN is_over THEN stopped_at ELSE latest END
	FROM trip
	WHERE NOT is_over OR stopped_at > started_at;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_trip_spans(int[], text[], timestamptz[], timestamptz, int, float8, interval, interval) IS
'part of at402_trips: from when to when the trips of devices are, derived from their reports since a time, before which each stood, until another';

-- What is to be told of trips whose spans are known.
CREATE FUNCTION at402_internal.at402_trip_rows(devices int[], starts timestamptz[], ends timestamptz[], lasts timestamptz[])
RETURNS TABLE (device_id int, started_at timestamptz, ended_at timestamptz, last_at timestamptz,
	start_geom @postgis@.geometry, end_geom @postgis@.geometry, line @postgis@.geometry,
	distance_km numeric, odometer_km numeric, duration interval, idle interval, max_speed_kmh int,
	mean_speed_kmh numeric, fuel_l numeric, driver_id int, vehicle_id int, start_geofence int,
	end_geofence int, private bool)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
	t	record;
BEGIN
	-- Citus plans by values
	PERFORM set_config('plan_cache_mode', 'auto', true) FROM pg_extension AS e WHERE e.extname = 'citus';
	FOR t IN
	WITH span AS (
		SELECT * FROM unnest(devices, starts, ends, lasts) AS s (device_id, started_at, ended_at, last_at)
	), report AS (
		SELECT s.*, p.time, p.seq, p.content_hash, p.longitude, p.latitude,
			date_part('epoch', p.time)::bigint AS second, p.speed_kmh < 5 AS stands,
			greatest(p.speed_kmh, p.max_speed_kmh) AS top_speed_kmh, p.status & 2 <> 0 AS private,
			(p.journey_distance_km * 10)::int AS counted, p.lifetime_odometer_km
		FROM span AS s, LATERAL (
			SELECT *, CASE WHEN p.gnss_valid THEN @postgis@.ST_X(p.geom) END AS longitude,
				CASE WHEN p.gnss_valid THEN @postgis@.ST_Y(p.geom) END AS latitude
			FROM at402.position AS p
			WHERE p.device_id = s.device_id AND p.time BETWEEN s.started_at AND s.last_at
				AND NOT p.time_suspect) AS p
	), tracked AS (
		SELECT *, at402_internal.at402_track(time, longitude, latitude) OVER w AS chain,
			row_number() OVER w AS no
		FROM report
		WINDOW w AS (PARTITION BY device_id, started_at ORDER BY time, seq, content_hash)
	), step AS (
		-- what the last report before said that has a place, or has counted: the largest of their
		-- numbers, and below it 20 bits for the value
		SELECT *, max((no << 20) + stands::int) FILTER (WHERE chain > 0) OVER w & 1 = 1 AS stood,
			max(second) FILTER (WHERE chain > 0 AND stands IS NOT NULL) OVER w AS placed_at,
			max((no << 20) + counted) FILTER (WHERE counted >= 0) OVER w & 1048575 AS counted_before
		FROM tracked
		WINDOW w AS (PARTITION BY device_id, started_at ORDER BY time, seq, content_hash
					 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
	), chain AS (
		SELECT device_id, started_at, ended_at, last_at, chain, count(chain) AS fixes,
			@postgis@.ST_MakeLine(@postgis@.ST_SetSRID(@postgis@.ST_MakePointM(longitude, latitude, second), 4326)
								  ORDER BY time, seq, content_hash) FILTER (WHERE chain > 0) AS line,
			sum(CASE WHEN chain > 0 AND stands AND stood THEN second - placed_at END) AS idle_s,
			sum(CASE WHEN counted_before IS NOT NULL THEN greatest(counted - counted_before, 0) END) AS counted,
			min(lifetime_odometer_km) AS odometer_from, max(lifetime_odometer_km) AS odometer_to,
			count(lifetime_odometer_km) AS odometers, max(top_speed_kmh) AS top_speed_kmh,
			bool_or(private) AS private
		FROM step
		GROUP BY device_id, started_at, ended_at, last_at, chain
	), trip AS (
		SELECT device_id, started_at, ended_at, last_at, last_at - started_at AS duration, sum(fixes) AS fixes,
			@postgis@.ST_MakeLine(line ORDER BY chain) FILTER (WHERE chain > 0) AS line,
			round(sum(@postgis@.ST_Length(line::@postgis@.geography))::numeric / 1000, 3) AS distance_km,
			sum(idle_s) AS idle_s, sum(counted) AS counted, min(odometer_from) AS odometer_from,
			max(odometer_to) AS odometer_to, sum(odometers) AS odometers,
			max(top_speed_kmh)::int AS top_speed_kmh, bool_or(private) AS private
		FROM chain
		GROUP BY device_id, started_at, ended_at, last_at
	), ended AS (
		SELECT *, @postgis@.ST_Force2D(@postgis@.ST_StartPoint(line)) AS start_geom,
			CASE WHEN ended_at IS NOT NULL THEN @postgis@.ST_Force2D(@postgis@.ST_EndPoint(line)) END AS end_geom
		FROM trip
	)
	SELECT *, CASE WHEN t.fixes > 1 THEN t.line END AS shown_line,
		coalesce(t.counted / 10.0, CASE WHEN t.odometers > 1 THEN t.odometer_to - t.odometer_from END)::numeric(12, 1) AS odometer_km,
		make_interval(secs => coalesce(t.idle_s, 0)::float8) AS idle,
		round(t.distance_km * 3600 / nullif(extract(epoch FROM t.duration), 0), 1) AS mean_speed_kmh
	FROM ended AS t
	LOOP
		device_id := t.device_id;
		started_at := t.started_at;
		ended_at := t.ended_at;
		last_at := t.last_at;
		start_geom := t.start_geom;
		end_geom := t.end_geom;
		line := t.shown_line;
		distance_km := t.distance_km;
		odometer_km := t.odometer_km;
		duration := t.duration;
		idle := t.idle;
		max_speed_kmh := t.top_speed_kmh;
		mean_speed_kmh := t.mean_speed_kmh;
		private := coalesce(t.private, false);
		SELECT coalesce((array_agg(c.journey_fuel_l ORDER BY c.time DESC, c.seq DESC, c.content_hash, c.n)
						 FILTER (WHERE c.journey_fuel_l IS NOT NULL))[1],
						CASE WHEN count(c.total_fuel_l) > 1 THEN max(c.total_fuel_l) - min(c.total_fuel_l) END)
		INTO fuel_l
		FROM at402.can AS c
		WHERE c.device_id = t.device_id AND c.time BETWEEN t.started_at AND t.last_at;
		driver_id := at402_internal.at402_trip_driver(t.device_id, t.started_at, t.last_at);
		vehicle_id := at402_internal.at402_trip_vehicle(t.device_id, t.started_at);
		start_geofence := at402_internal.at402_trip_geofence(t.start_geom, t.started_at);
		end_geofence := at402_internal.at402_trip_geofence(t.end_geom, t.ended_at);
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_trip_rows(int[], timestamptz[], timestamptz[], timestamptz[]) IS
'part of at402_trips: the rows of trips whose device, start, end and last report are given';

CREATE FUNCTION at402_trips(imei text, since timestamptz, until timestamptz,
	min_speed_kmh int DEFAULT 5, min_distance_m float8 DEFAULT 200,
	stop_time interval DEFAULT '5 minutes', max_gap interval DEFAULT '30 minutes')
RETURNS TABLE (device_id int, imei text, started_at timestamptz, ended_at timestamptz, last_at timestamptz,
	start_geom @postgis@.geometry, end_geom @postgis@.geometry, line @postgis@.geometry,
	distance_km numeric, odometer_km numeric, duration interval, idle interval, max_speed_kmh int,
	mean_speed_kmh numeric, fuel_l numeric, driver_id int, vehicle_id int, start_geofence int,
	end_geofence int, private bool)
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.device_id, $1, r.started_at, r.ended_at, r.last_at, r.start_geom, r.end_geom, r.line,
		r.distance_km, r.odometer_km, r.duration, r.idle, r.max_speed_kmh, r.mean_speed_kmh, r.fuel_l,
		r.driver_id, r.vehicle_id, r.start_geofence, r.end_geofence, r.private
	FROM (SELECT array_agg(t.device_id) AS devices, array_agg(t.started_at) AS starts,
			  array_agg(t.ended_at) AS ends, array_agg(t.last_at) AS lasts
		  FROM at402_internal.at402_timeline($1, $2, $3, $4, $5, $6, $7) AS t WHERE t.is_trip) AS t,
		at402_internal.at402_trip_rows(t.devices, t.starts, t.ends, t.lasts) AS r
	ORDER BY r.started_at
$$;
COMMENT ON FUNCTION at402_trips(text, timestamptz, timestamptz, int, float8, interval, interval) IS
'trips of a device that overlap the time from since up to until, each as a whole, from the reports that are kept: columns as in at402.trip.  The last four are for devices with trip_by = movement: a report moves at min_speed_kmh (5 km/h), or min_distance_m (200 m) away from one before that is no older than max_gap (30 minutes); a trip ends when it stands for stop_time (5 minutes)';

CREATE FUNCTION at402_internal.at402_stop_rows(imei text, since timestamptz, until timestamptz,
	min_speed_kmh int, min_distance_m float8, stop_time interval, max_gap interval)
RETURNS TABLE (device_id int, started_at timestamptz, ended_at timestamptz, duration interval,
	idle interval, geom @postgis@.geometry, geofence int)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	PERFORM at402_internal.at402_need_table('position');
	RETURN QUERY
	SELECT s.device_id, s.started_at, s.ended_at, s.last_at - s.started_at,
		coalesce(idle.duration, '0'), place.geom,
		(SELECT f FROM @extschema@.at402_geofence_at(place.geom, s.started_at) AS f LIMIT 1)
	FROM at402_internal.at402_timeline($1, $2, $3, $4, $5, $6, $7) AS s
		LEFT JOIN LATERAL (
			SELECT p.geom FROM at402.position AS p
			WHERE p.device_id = s.device_id AND p.time BETWEEN s.started_at AND s.last_at
				AND p.gnss_valid AND p.geom IS NOT NULL AND NOT p.time_suspect
			ORDER BY p.time, p.seq, p.content_hash LIMIT 1) AS place ON true
		LEFT JOIN LATERAL (
			SELECT sum(p.next - p.time) FILTER (WHERE p.ignition AND p.still_on) AS duration
			FROM (SELECT p.time, p.ignition, lead(p.time) OVER w AS next, lead(p.ignition) OVER w AS still_on
				  FROM at402.position AS p
				  WHERE p.device_id = s.device_id AND p.time BETWEEN s.started_at AND s.last_at
					AND NOT p.time_suspect
				  WINDOW w AS (ORDER BY p.time, p.seq, p.content_hash)) AS p) AS idle ON true
	WHERE NOT s.is_trip
	ORDER BY s.started_at;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_stop_rows(text, timestamptz, timestamptz, int, float8, interval, interval) IS
'part of at402_stops';

CREATE FUNCTION at402_stops(imei text, since timestamptz, until timestamptz,
	min_speed_kmh int DEFAULT 5, min_distance_m float8 DEFAULT 200,
	stop_time interval DEFAULT '5 minutes', max_gap interval DEFAULT '30 minutes')
RETURNS TABLE (device_id int, imei text, started_at timestamptz, ended_at timestamptz,
	duration interval, idle interval, geom @postgis@.geometry, geofence int)
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.device_id, $1, r.started_at, r.ended_at, r.duration, r.idle, r.geom, r.geofence
	FROM at402_internal.at402_stop_rows($1, $2, $3, $4, $5, $6, $7) AS r
	ORDER BY r.started_at
$$;
COMMENT ON FUNCTION at402_stops(text, timestamptz, timestamptz, int, float8, interval, interval) IS
'stops of a device that overlap the time from since up to until, each as a whole: from the end of a trip, or the first report, to the start of the next; ended_at is NULL while it stands, duration is up to the last report then.  idle: with ignition on.  geom: the first valid fix.  The last four arguments as in at402_trips';

-- Derives the trips of devices that reports have come of (device_state.dirty_since),
-- or whose trips are of another kind now, some devices in each step, in the order of
-- their ids.
--
-- No row of a device is locked while its trips are derived: ingestion does not
-- wait.  A report that is committed meanwhile has changed device_state first.
-- So a device stays dirty whose row is not the one that was there before the
-- reports were read, or is being changed.
--
-- Trips whose first report is kept no more are not touched, nor what was before
-- their end; one that was under way ends with the last report it had.
CREATE FUNCTION at402_internal.at402_maintain_trips(after int) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '200ms'
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
DECLARE
	devices		int[];
	kinds		text[];
	starts		timestamptz[];
	versions	xid[];
	former_start	timestamptz;
	former_end	timestamptz;
BEGIN
	IF to_regclass('at402.trip_due') IS NULL THEN		-- which came last of what is needed here
		RETURN NULL;
	END IF;
	-- one at a time: of two that derive the same trip, one would fail
	PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::int, 'at402.trip'::regclass::oid::int);

	SELECT array_agg(d.device_id), array_agg(d.kind), array_agg(d.version), array_agg(d.dirty_since)
	INTO devices, kinds, versions, starts
	FROM (SELECT s.device_id, s.xmin AS version, coalesce(v.trip_by, 'ignition') AS kind,
			CASE WHEN s.trip_by <> v.trip_by THEN '-infinity' ELSE s.dirty_since END AS dirty_since
		  FROM at402.device_state AS s LEFT JOIN at402.device AS v ON v.id = s.device_id
		  WHERE s.device_id > after AND (s.dirty_since IS NOT NULL OR s.trip_by <> v.trip_by)
		  ORDER BY s.device_id LIMIT 50) AS d;
	IF devices IS NULL THEN
		RETURN NULL;
	END IF;
	FOR i IN 1 .. cardinality(devices) LOOP
		SELECT t.started_at, t.ended_at INTO former_start, former_end FROM at402.trip AS t
		WHERE t.device_id = devices[i] AND t.started_at <= starts[i]
		ORDER BY t.started_at DESC LIMIT 1;
		IF kinds[i] = 'movement' THEN
			-- a single report that moved is no trip, but with the one after it, it may begin one
			starts[i] := coalesce(former_start, starts[i] - interval '30 minutes');
		ELSIF coalesce(former_end, 'infinity') >= starts[i] THEN
			starts[i] := coalesce(former_start, starts[i]);
		END IF;
	END LOOP;

	WITH gone AS (
		SELECT t.device_id, t.started_at, coalesce(t.ended_at, t.last_at) AS ended_at
		FROM unnest(devices, starts) AS d (device_id, start) JOIN at402.trip AS t
			ON t.device_id = d.device_id AND t.started_at >= d.start
		WHERE NOT EXISTS (SELECT FROM at402.position AS p
						  WHERE p.device_id = t.device_id AND p.time = t.started_at)
	), ended AS (
		UPDATE at402.trip AS t SET ended_at = g.ended_at FROM gone AS g
		WHERE t.device_id = g.device_id AND t.started_at = g.started_at AND t.ended_at IS NULL
	)
	SELECT array_agg(greatest(d.start, (SELECT max(g.ended_at) FROM gone AS g WHERE g.device_id = d.device_id))
					 ORDER BY d.n)
	INTO starts
	FROM unnest(devices, starts) WITH ORDINALITY AS d (device_id, start, n);

	WITH span AS (
		SELECT array_agg(s.device_id) AS devices, array_agg(s.started_at) AS starts,
			array_agg(s.ended_at) AS ends, array_agg(s.last_at) AS lasts
		FROM at402_internal.at402_trip_spans(devices, kinds, starts, 'infinity', 5, 200, '5 minutes', '30 minutes') AS s
	), derived AS MATERIALIZED (
		SELECT r.* FROM span AS s, at402_internal.at402_trip_rows(s.devices, s.starts, s.ends, s.lasts) AS r
	), there AS MATERIALIZED (
		SELECT t.device_id, t.started_at
		FROM unnest(devices, starts) AS d (device_id, start) JOIN at402.trip AS t
			ON t.device_id = d.device_id AND t.started_at >= d.start AND coalesce(t.ended_at, 'infinity') > d.start
	), removed AS (
		DELETE FROM at402.trip AS t USING there AS o
		WHERE t.device_id = o.device_id AND t.started_at = o.started_at AND NOT EXISTS (
			SELECT FROM derived AS d WHERE d.device_id = o.device_id AND d.started_at = o.started_at)
	), changed AS (
		UPDATE at402.trip AS t
		SET (ended_at, last_at, start_geom, end_geom, line, distance_km, odometer_km, duration, idle,
			max_speed_kmh, mean_speed_kmh, fuel_l, driver_id, vehicle_id, start_geofence,
			end_geofence, private)
			= (d.ended_at, d.last_at, d.start_geom, d.end_geom, d.line, d.distance_km, d.odometer_km,
			d.duration, d.idle, d.max_speed_kmh, d.mean_speed_kmh, d.fuel_l, d.driver_id,
			d.vehicle_id, d.start_geofence, d.end_geofence, d.private)
		FROM derived AS d
		WHERE t.device_id = d.device_id AND t.started_at = d.started_at
			AND (t.ended_at, t.last_at, @postgis@.ST_AsEWKB(t.start_geom),
				@postgis@.ST_AsEWKB(t.end_geom), @postgis@.ST_AsEWKB(t.line), t.distance_km,
				t.odometer_km, t.duration, t.idle, t.max_speed_kmh, t.mean_speed_kmh, t.fuel_l,
				t.driver_id, t.vehicle_id, t.start_geofence, t.end_geofence, t.private)
				IS DISTINCT FROM
				(d.ended_at, d.last_at, @postgis@.ST_AsEWKB(d.start_geom),
				@postgis@.ST_AsEWKB(d.end_geom), @postgis@.ST_AsEWKB(d.line), d.distance_km,
				d.odometer_km, d.duration, d.idle, d.max_speed_kmh, d.mean_speed_kmh, d.fuel_l,
				d.driver_id, d.vehicle_id, d.start_geofence, d.end_geofence, d.private)
	)
	INSERT INTO at402.trip (device_id, started_at, ended_at, last_at, start_geom, end_geom, line, distance_km, odometer_km,
		duration, idle, max_speed_kmh, mean_speed_kmh, fuel_l, driver_id, vehicle_id,
		start_geofence, end_geofence, private)
	SELECT d.device_id, d.started_at, d.ended_at, d.last_at, d.start_geom, d.end_geom, d.line, d.distance_km,
		d.odometer_km, d.duration, d.idle, d.max_speed_kmh, d.mean_speed_kmh, d.fuel_l,
		d.driver_id, d.vehicle_id, d.start_geofence, d.end_geofence, d.private
	FROM derived AS d
	WHERE NOT EXISTS (SELECT FROM there AS o WHERE o.device_id = d.device_id AND o.started_at = d.started_at);

	FOR i IN 1 .. cardinality(devices) LOOP
		PERFORM FROM at402.device_state AS s
		WHERE s.device_id = devices[i] AND s.xmin = versions[i] FOR UPDATE SKIP LOCKED;
		IF FOUND THEN
			UPDATE at402.device_state AS s SET dirty_since = NULL, trip_by = kinds[i]
			WHERE s.device_id = devices[i];
		END IF;
	END LOOP;
	RETURN devices[cardinality(devices)];
END
$$;
COMMENT ON FUNCTION at402_internal.at402_maintain_trips(int) IS
'part of at402_maintain: derives at402.trip anew for devices that reports have come of, 50 devices after this id; returns the last of them, NULL: there were none';

$sql$);

