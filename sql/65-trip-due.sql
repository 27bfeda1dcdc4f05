-- What trips owe to tables that people write: whose a key was, which vehicle a
-- device was in, what was fenced.
--
-- Such rows may come, change or go after the trips were derived.  Triggers then
-- note in at402.trip_due what is not as it was, and when; no more, so that it
-- costs little, and locks nothing that storing needs.  at402_maintain() finds the
-- trips concerned and looks up again this one thing of each: the rest of a trip
-- follows from reports, and need not be derived anew.
--
-- The schema of PostGIS is put in for @postgis@ when the extension is made.

CREATE FUNCTION at402_internal.at402_trip_due() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	concerned	text;
	others		text;
	changed		text;
BEGIN
	CASE TG_TABLE_NAME
		WHEN 'vehicle_device' THEN concerned := 'device_id'; others := 'vehicle_id';
		WHEN 'driver_key' THEN concerned := 'serial'; others := 'family, driver_id';
		ELSE concerned := 'box'; others := 'geofence_id, geom, radius_m';
	END CASE;
	changed := CASE TG_OP
		WHEN 'INSERT' THEN 'SELECT *, true AS is_new FROM new_rows'
		WHEN 'UPDATE' THEN 'SELECT *, true AS is_new FROM new_rows UNION ALL SELECT *, false FROM old_rows'
		WHEN 'DELETE' THEN 'SELECT *, false AS is_new FROM old_rows'
		ELSE format('SELECT *, false AS is_new FROM %s', TG_RELID::regclass) END;
	EXECUTE format($sql$
		INSERT INTO at402.trip_due (%1$s, valid)
		SELECT %1$s, unnest(was - became + (became - was))
		FROM (SELECT %1$s, coalesce(range_agg(valid) FILTER (WHERE NOT is_new), '{}') AS was,
				coalesce(range_agg(valid) FILTER (WHERE is_new), '{}') AS became
			  FROM (%3$s) AS c
			  GROUP BY %1$s, %2$s) AS c$sql$, concerned, others, changed);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_trip_due() IS
'trigger of at402.vehicle_device, driver_key and geofence_version: notes in at402.trip_due which trips may have another vehicle, driver or geofence now';

CREATE FUNCTION at402_internal.at402_trip_vehicle(device int, started_at timestamptz) RETURNS int
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- IS TRUE: not by the index of the constraint, which has all devices for a time
	RETURN (SELECT v.vehicle_id FROM at402.vehicle_device AS v
			WHERE v.device_id = device AND (v.valid @> started_at) IS TRUE);
END
$$;
COMMENT ON FUNCTION at402_internal.at402_trip_vehicle(int, timestamptz) IS
'part of at402_trips: vehicle of a trip';

CREATE FUNCTION at402_internal.at402_trip_driver(device int, started_at timestamptz, last_at timestamptz) RETURNS int
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT k.driver_id
		FROM at402.io AS i JOIN at402.driver_key AS k ON ltrim(upper(k.serial), '0') = ltrim(upper(i.text_value), '0')
		WHERE i.device_id = device AND i.kind = 'driver_id'
			AND i.time BETWEEN started_at - interval '10 minutes' AND last_at AND k.valid @> i.time
			AND i.state IS NOT FALSE			-- whoever may not drive does not
			-- a number in reports, hex in what devices ask
			AND coalesce(ltrim(upper(k.family), '0') = ltrim(upper(
				CASE jsonb_typeof(i.data->'family') WHEN 'number' THEN to_hex((i.data->>'family')::int)
				ELSE i.data->>'family' END), '0'), true)
		ORDER BY i.time < started_at, CASE WHEN i.time < started_at THEN i.time END DESC,
			i.time, i.seq, k.driver_id
		LIMIT 1);
END
$$;
COMMENT ON FUNCTION at402_internal.at402_trip_driver(int, timestamptz, timestamptz) IS
'part of at402_trips: driver of a trip, by the keys that were shown';

CALL at402_internal.at402_create($sql$

CREATE FUNCTION at402_internal.at402_trip_geofence(place @postgis@.geometry, "time" timestamptz) RETURNS int
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (SELECT f FROM @extschema@.at402_geofence_at(place, "time") AS f LIMIT 1);
END
$$;
COMMENT ON FUNCTION at402_internal.at402_trip_geofence(@postgis@.geometry, timestamptz) IS
'part of at402_trips: geofence that a trip began or ended in, the smallest';

-- The trips that a row of at402.trip_due may concern.
CREATE FUNCTION at402_internal.at402_trips_due(device int, serial text, box @postgis@.geometry, valid tstzrange)
RETURNS TABLE (device_id int, started_at timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF device IS NOT NULL THEN
		RETURN QUERY SELECT t.device_id, t.started_at FROM at402.trip AS t
		WHERE t.device_id = device AND at402_trips_due.valid @> t.started_at;
	ELSIF serial IS NOT NULL THEN
		RETURN QUERY SELECT t.device_id, t.started_at
		FROM (SELECT i.device_id, min(i.time) AS low, max(i.time) AS high FROM at402.io AS i
			  WHERE i.kind = 'driver_id' AND ltrim(upper(i.text_value), '0') = ltrim(upper(serial), '0')
				AND at402_trips_due.valid @> i.time
			  GROUP BY i.device_id) AS shown JOIN at402.trip AS t ON t.device_id = shown.device_id
		WHERE t.last_at >= shown.low AND t.started_at <= shown.high + interval '10 minutes';
	ELSE
		RETURN QUERY SELECT t.device_id, t.started_at FROM at402.trip AS t
		WHERE t.start_geom OPERATOR(@postgis@.&&) box AND at402_trips_due.valid @> t.started_at
			OR t.end_geom OPERATOR(@postgis@.&&) box AND at402_trips_due.valid @> t.ended_at;
	END IF;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_trips_due(int, text, @postgis@.geometry, tstzrange) IS
'part of at402_maintain: the trips of a device, of those who showed a key, or that begin or end within a box';

$sql$);

-- Corrects the trips that at402.trip_due has rows for, some of these in each
-- step.  Trips whose first report is kept no more stay as they are.
CREATE FUNCTION at402_internal.at402_maintain_trips_due(after int) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
	due		record;
	t		record;
	devices	int[];
	starts	timestamptz[];
	taken	int[];
BEGIN
	IF to_regclass('at402.trip_due') IS NULL THEN
		RETURN NULL;
	END IF;
	-- Citus plans by values
	PERFORM set_config('plan_cache_mode', 'auto', true) FROM pg_extension AS e WHERE e.extname = 'citus';
	-- a trip that is being derived by the former rows is waited for
	PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::int, 'at402.trip'::regclass::oid::int);

	FOR due IN SELECT * FROM at402.trip_due AS x WHERE x.id > after ORDER BY x.id LIMIT 100 LOOP
		taken := taken || due.id;
		SELECT array_agg(k.device_id), array_agg(k.started_at) INTO devices, starts
		FROM at402_internal.at402_trips_due(due.device_id, due.serial, due.box, due.valid) AS k;
		FOR t IN
			SELECT o.device_id, o.started_at, o.ended_at, o.last_at, o.start_geom, o.end_geom,
				o.vehicle_id, o.driver_id, o.start_geofence, o.end_geofence
			FROM unnest(devices, starts) AS k (device_id, started_at) JOIN at402.trip AS o
				ON o.device_id = k.device_id AND o.started_at = k.started_at
		LOOP
			IF due.device_id IS NOT NULL THEN
				t.vehicle_id := at402_internal.at402_trip_vehicle(t.device_id, t.started_at);
			ELSIF due.serial IS NOT NULL THEN
				t.driver_id := at402_internal.at402_trip_driver(t.device_id, t.started_at, t.last_at);
			ELSE
				t.start_geofence := at402_internal.at402_trip_geofence(t.start_geom, t.started_at);
				t.end_geofence := at402_internal.at402_trip_geofence(t.end_geom, t.ended_at);
			END IF;
			UPDATE at402.trip AS o
			SET (vehicle_id, driver_id, start_geofence, end_geofence)
				= (t.vehicle_id, t.driver_id, t.start_geofence, t.end_geofence)
			WHERE o.device_id = t.device_id AND o.started_at = t.started_at
				AND (o.vehicle_id, o.driver_id, o.start_geofence, o.end_geofence)
					IS DISTINCT FROM (t.vehicle_id, t.driver_id, t.start_geofence, t.end_geofence)
				AND EXISTS (SELECT FROM at402.position AS p
							WHERE p.device_id = t.device_id AND p.time = t.started_at);
		END LOOP;
	END LOOP;
	-- an older snapshot may not have seen all trips that there are
	DELETE FROM at402.trip_due AS x
	WHERE x.id = ANY (taken) AND current_setting('transaction_isolation') = 'read committed';
	RETURN taken[cardinality(taken)];
END
$$;
COMMENT ON FUNCTION at402_internal.at402_maintain_trips_due(int) IS
'part of at402_maintain: looks up vehicle, driver or geofences again of the trips that 100 rows of at402.trip_due, after this id, concern; returns the last of them, NULL: there were none';
