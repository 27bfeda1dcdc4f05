-- Views: one question, one view.  And the fleet at any moment.
--
-- Views show their rows with the rights, and the row security, of who asks.  They
-- have no window functions, so that a condition on device_id and time reaches the
-- indexes of the tables below.  (IS TRUE keeps the planner from the index of the
-- constraint of vehicle_device, which has all devices for a time.)  What comes next
-- is looked for in the day after first: that is one or two partitions, and not all.
CREATE FUNCTION at402_internal.at402_data_views()
RETURNS TABLE (view_name text, query text, about text)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT v.view_name, format(v.query, e.extnamespace::regnamespace), v.about
	FROM pg_extension AS e, LATERAL (VALUES
	('last_position',
	 'SELECT d.id AS device_id, d.imei, d.name, s.time, s.received_at, s.position_time,
		s.geom, %1$s.ST_X(s.geom) AS longitude, %1$s.ST_Y(s.geom) AS latitude,
		s.speed_kmh, s.heading_deg, s.altitude_m, s.ignition, s.external_voltage_v,
		s.battery_percent, s.lifetime_odometer_km, s.journey_distance_km,
		coalesce(s.connected, false) AS connected, s.last_seen,
		b.vehicle_id, v.name AS vehicle, v.plate,
		s.lifetime_odometer_km + coalesce(b.odometer_offset_km, 0) AS odometer_km
	  FROM at402.device AS d
		LEFT JOIN at402.device_state AS s ON s.device_id = d.id
		LEFT JOIN at402.vehicle_device AS b ON b.device_id = d.id AND (b.valid @> coalesce(s.time, now())) IS TRUE
		LEFT JOIN at402.vehicle AS v ON v.id = b.vehicle_id',
	 'where each device was last, in which state and in which vehicle'),

	('fuel',
	 'SELECT c.device_id, d.imei, c.time, c.seq, c.content_hash, c.n, c.source, c.fuel_level_percent,
		c.fuel_level_raw, c.journey_fuel_l, c.total_fuel_l
	  FROM at402.can AS c JOIN at402.device AS d ON d.id = c.device_id
	  WHERE num_nonnulls(c.fuel_level_percent, c.fuel_level_raw, c.journey_fuel_l, c.total_fuel_l) > 0',
	 'what the vehicle told of its fuel, and when'),

	('temperature',
	 'SELECT i.device_id, d.imei, i.time, i.seq, i.content_hash, i.n, ''1-wire'' AS source,
		i.line::text AS sensor, i.value AS temperature_c, NULL::numeric AS humidity_percent
	  FROM at402.io AS i JOIN at402.device AS d ON d.id = i.device_id
	  WHERE i.kind = ''temperature'' AND i.value IS NOT NULL
	  UNION ALL
	  SELECT b.device_id, d.imei, b.time, b.seq, b.content_hash, b.n, ''ble'',
		coalesce(b.mac::text, b.sensor_index::text), b.temperature_c,
		b.humidity_percent
	  FROM at402.ble AS b JOIN at402.device AS d ON d.id = b.device_id
	  WHERE b.temperature_c IS NOT NULL AND b.valid IS NOT FALSE',
	 'temperatures, and humidities, of 1-Wire probes and Bluetooth sensors'),

	('input_period',
	 'SELECT i.device_id, d.imei, i.line, i.time AS started_at, i.seq, i.content_hash, i.n, o.time AS ended_at,
		o.time - i.time AS duration
	  FROM at402.io AS i JOIN at402.device AS d ON d.id = i.device_id
		CROSS JOIN LATERAL (SELECT coalesce(
			(SELECT o.time FROM at402.io AS o
			 WHERE o.device_id = i.device_id AND o.kind = ''input'' AND o.line = i.line
				AND o.time >= i.time AND o.time <= i.time + interval ''1 day''
				AND (o.time, o.seq, o.content_hash, o.n) > (i.time, i.seq, i.content_hash, i.n)
			 ORDER BY o.time LIMIT 1),
			(SELECT o.time FROM at402.io AS o
			 WHERE o.device_id = i.device_id AND o.kind = ''input'' AND o.line = i.line
				AND o.time > i.time + interval ''1 day'' AND (
					SELECT p.time_suspect FROM at402.position AS p
					WHERE p.device_id = o.device_id AND p.time = o.time AND p.seq = o.seq
						AND p.content_hash = o.content_hash) IS NOT TRUE
			 ORDER BY o.time LIMIT 1)) AS time OFFSET 0) AS o
	  WHERE i.kind = ''input'' AND i.state AND (
		SELECT p.time_suspect FROM at402.position AS p
		WHERE p.device_id = i.device_id AND p.time = i.time AND p.seq = i.seq
			AND p.content_hash = i.content_hash) IS NOT TRUE',
	 'from when to when each input was on'),

	('online_period',
	 'SELECT e.device_id, d.imei, e.time AS started_at, e.seq, e.content_hash, e.n, o.time AS ended_at,
		o.time - e.time AS duration
	  FROM at402.event AS e JOIN at402.device AS d ON d.id = e.device_id
		CROSS JOIN LATERAL (SELECT coalesce(
			(SELECT o.time FROM at402.event AS o
			 WHERE o.device_id = e.device_id AND (o.kind = ''online'' OR o.kind = ''offline'')
				AND o.time > e.time AND o.time <= e.time + interval ''1 day''
			 ORDER BY o.time LIMIT 1),
			(SELECT o.time FROM at402.event AS o
			 WHERE o.device_id = e.device_id AND (o.kind = ''online'' OR o.kind = ''offline'')
				AND o.time > e.time + interval ''1 day''
			 ORDER BY o.time LIMIT 1)) AS time OFFSET 0) AS o
	  WHERE e.kind = ''online''',
	 'from when to when each device was connected'),

	('service_due',
	 'SELECT u.service_id, u.vehicle_id, u.vehicle, u.plate, u.service, u.odometer_km, u.engine_hours,
		u.due_km, u.due_engine_hours, u.due_on, u.due_km - u.odometer_km AS left_km,
		u.due_engine_hours - u.engine_hours AS left_engine_hours, u.due_on - u.today AS left_days,
		coalesce(u.due_km <= u.odometer_km, false) OR coalesce(u.due_engine_hours <= u.engine_hours, false)
			OR coalesce(u.due_on <= u.today, false) AS is_due
	  FROM (
		SELECT s.id AS service_id, s.vehicle_id, v.name AS vehicle, v.plate, s.name AS service,
			s.done_km + s.every_km AS due_km, s.done_engine_hours + s.every_engine_hours AS due_engine_hours,
			(s.done_on + s.every)::date AS due_on, n.odometer_km, n.engine_hours,
			coalesce(n.today, (now() AT TIME ZONE ''UTC'')::date) AS today
		FROM at402.service AS s JOIN at402.vehicle AS v ON v.id = s.vehicle_id
			LEFT JOIN (
				SELECT b.vehicle_id, max(t.lifetime_odometer_km + b.odometer_offset_km) AS odometer_km,
					max(t.engine_hours + b.engine_hours_offset) AS engine_hours,
					max((now() AT TIME ZONE d.time_zone)::date) AS today
				FROM at402.vehicle_device AS b JOIN at402.device AS d ON d.id = b.device_id
					LEFT JOIN at402.device_state AS t ON t.device_id = b.device_id
				WHERE b.valid @> now()
				GROUP BY b.vehicle_id) AS n ON n.vehicle_id = s.vehicle_id) AS u',
	 'when each service of each vehicle is due, and what is left until then')
		) AS v (view_name, query, about)
	WHERE e.extname = 'postgis'
$$;
COMMENT ON FUNCTION at402_internal.at402_data_views() IS
'definition of the views that at402_create_tables makes, in their order; in query, %1$s stands for the schema of PostGIS';

-- The comment of a column of a view is that of the column of its name in a
-- table that the view reads.  Those that are in no table:
CREATE FUNCTION at402_internal.at402_data_view_columns()
RETURNS TABLE (view_name text, column_name text, about text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	('last_position', 'longitude', 'degrees east of Greenwich'),
	('last_position', 'latitude', 'degrees north of the equator'),
	('last_position', 'vehicle_id', 'vehicle.id that the device was in at time'),
	('last_position', 'vehicle', 'its name'),
	('last_position', 'odometer_km', 'km, of the vehicle: lifetime_odometer_km and the offset'),
	('temperature', 'source', '1-wire or ble'),
	('temperature', 'sensor', 'number of the probe; of a Bluetooth sensor its MAC address, or else its slot'),
	('temperature', 'temperature_c', 'degrees Celsius'),
	('input_period', 'line', 'number of the input, from 1'),
	('input_period', 'started_at', 'when it went on; key with device_id to n'),
	('input_period', 'ended_at', 'when it changed next; NULL: it is still on'),
	('input_period', 'duration', 'NULL: it is still on'),
	('online_period', 'started_at', 'when it connected; key with device_id to n'),
	('online_period', 'ended_at', 'when its last connection was gone; NULL: it is connected'),
	('online_period', 'duration', 'NULL: it is connected'),
	('service_due', 'service_id', 'service.id'),
	('service_due', 'vehicle', 'its name'),
	('service_due', 'service', 'what is to be done'),
	('service_due', 'odometer_km', 'km, of the vehicle now'),
	('service_due', 'engine_hours', 'h, of the vehicle now'),
	('service_due', 'due_km', 'km, odometer at which it is due'),
	('service_due', 'due_engine_hours', 'h, engine hours at which it is due'),
	('service_due', 'due_on', 'date on which it is due'),
	('service_due', 'left_km', 'km until it is due; negative: overdue'),
	('service_due', 'left_engine_hours', 'h until it is due; negative: overdue'),
	('service_due', 'left_days', 'days until it is due, in the time zone of the device; negative: overdue'),
	('service_due', 'is_due', 'by any of the three')
$$;
COMMENT ON FUNCTION at402_internal.at402_data_view_columns() IS
'comments of those columns of views that are in no table';

CALL at402_internal.at402_create($sql$

-- The last reports up to a time are looked for in the day before first: that is one
-- or two partitions, and the others are left out once, when the query begins.  Only
-- who did not report in that day is searched for in the 8 days before, 64 days,
-- 512 days, and everywhere: a search that is open into the past looks into every
-- partition for each device.
CREATE FUNCTION at402_internal.at402_last_reports(devices int[], at timestamptz, known_at timestamptz, with_fix bool)
RETURNS TABLE (device_id int, "time" timestamptz, received_at timestamptz, has_fix bool, geom @postgis@.geometry,
	speed_kmh smallint, heading_deg smallint, altitude_m smallint, ignition bool, external_voltage_v numeric,
	battery_percent smallint, journey_distance_km numeric, lifetime_odometer_km int)
LANGUAGE plpgsql STABLE ROWS 100		-- or their joins would be made for millions
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_nestloop = on
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
SET plan_cache_mode = force_custom_plan			-- one for the partitions of these days
AS $$
#variable_conflict use_column
DECLARE
	ages	interval[] := '{0, 1 day, 8 days, 64 days, 512 days, NULL}';
	low		timestamptz;
	high	timestamptz;
	found	bigint;
BEGIN
	FOR i IN 2 .. cardinality(ages) LOOP
		low := coalesce(at - ages[i], '-infinity');
		high := at - ages[i - 1];
		RETURN QUERY
		SELECT d.id, p.time, p.received_at, p.gnss_valid AND p.geom IS NOT NULL, p.geom, p.speed_kmh, p.heading_deg,
			p.altitude_m, p.ignition, p.external_voltage_v, p.battery_percent, p.journey_distance_km, p.lifetime_odometer_km
		FROM unnest(devices) AS d (id), LATERAL (
			SELECT * FROM at402.position AS p
			WHERE p.device_id = d.id AND p.time <= high AND p.time > low AND p.received_at <= known_at
				AND NOT p.time_suspect AND (NOT with_fix OR p.gnss_valid AND p.geom IS NOT NULL)
			ORDER BY p.time DESC, p.seq DESC, p.content_hash DESC LIMIT 1) AS p;
		GET DIAGNOSTICS found = ROW_COUNT;
		EXIT WHEN found = cardinality(devices);
		devices := ARRAY(
			-- (NOT EXISTS would be a join, of any kind)
			SELECT d.id FROM unnest(devices) AS d (id) WHERE (
				SELECT true FROM at402.position AS p
				WHERE p.device_id = d.id AND p.time <= high AND p.time > low AND p.received_at <= known_at
					AND NOT p.time_suspect AND (NOT with_fix OR p.gnss_valid AND p.geom IS NOT NULL)
				LIMIT 1) IS NULL);
	END LOOP;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_last_reports(int[], timestamptz, timestamptz, bool) IS
'part of at402_fleet_at: the last report of each of these devices up to a time, of those that were known at another; with_fix: the last with a good position';

CREATE FUNCTION at402_internal.at402_last_odometers(devices int[], at timestamptz, known_at timestamptz)
RETURNS TABLE (device_id int, lifetime_odometer_km int)
LANGUAGE plpgsql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_nestloop = on
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
	RETURN QUERY
	SELECT d.id, p.lifetime_odometer_km FROM unnest(devices) AS d (id), LATERAL (
		SELECT p.lifetime_odometer_km FROM at402.position AS p
		WHERE p.device_id = d.id AND p.time <= at AND p.time > at - interval '1 day'
			AND p.received_at <= known_at AND NOT p.time_suspect AND p.lifetime_odometer_km IS NOT NULL
		ORDER BY p.time DESC LIMIT 1) AS p;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_last_odometers(int[], timestamptz, timestamptz) IS
'part of at402_fleet_at: what each of these devices told of its odometer last in the day before a time';

-- Who has not reported since, and brought nothing that was not known then, is where
-- at402.device_state tells.
CREATE FUNCTION at402_fleet_at(at timestamptz, known_at timestamptz DEFAULT 'infinity')
RETURNS TABLE (device_id int, imei text, name text, "time" timestamptz, received_at timestamptz,
	position_time timestamptz, geom @postgis@.geometry, longitude float8, latitude float8,
	speed_kmh smallint, heading_deg smallint, altitude_m smallint, ignition bool,
	external_voltage_v numeric, battery_percent smallint, lifetime_odometer_km int,
	journey_distance_km numeric, connected bool, last_seen timestamptz, vehicle_id int, vehicle text,
	plate text, odometer_km numeric)
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	PERFORM at402_internal.at402_need_table('device');
	RETURN QUERY
	WITH state AS (
		SELECT *, s.time <= at AND s.last_seen <= known_at AS is_it FROM at402.device_state AS s
	), last AS MATERIALIZED (
		SELECT * FROM at402_internal.at402_last_reports(
			ARRAY(SELECT s.device_id FROM state AS s WHERE is_it IS NOT TRUE AND s.time IS NOT NULL), at, known_at, false)
	), fix AS (
		SELECT r.* FROM last AS r WHERE r.has_fix
		UNION ALL
		SELECT * FROM at402_internal.at402_last_reports(
			ARRAY(SELECT r.device_id FROM last AS r WHERE has_fix IS NOT TRUE), at, known_at, true)
	), odometer AS (
		SELECT * FROM at402_internal.at402_last_odometers(
			ARRAY(SELECT r.device_id FROM last AS r WHERE r.lifetime_odometer_km IS NULL), at, known_at)
	), told AS (
		SELECT s.device_id, s.time, s.received_at, s.position_time, s.geom, s.speed_kmh, s.heading_deg, s.altitude_m,
			s.ignition, s.external_voltage_v, s.battery_percent, s.lifetime_odometer_km, s.journey_distance_km, s.connected
		FROM state AS s WHERE s.is_it
		UNION ALL
		SELECT r.device_id, r.time, r.received_at, f.time, f.geom, f.speed_kmh, f.heading_deg, f.altitude_m,
			r.ignition, r.external_voltage_v, r.battery_percent,
			coalesce(r.lifetime_odometer_km, o.lifetime_odometer_km), r.journey_distance_km, NULL
		FROM last AS r LEFT JOIN fix AS f ON f.device_id = r.device_id LEFT JOIN odometer AS o ON o.device_id = r.device_id
	)
	SELECT d.id, d.imei, d.name, t.time, t.received_at, t.position_time, t.geom, @postgis@.ST_X(t.geom),
		@postgis@.ST_Y(t.geom), t.speed_kmh, t.heading_deg, t.altitude_m, t.ignition, t.external_voltage_v,
		t.battery_percent, t.lifetime_odometer_km, t.journey_distance_km, t.connected, t.received_at,
		b.vehicle_id, v.name, v.plate, t.lifetime_odometer_km + coalesce(b.odometer_offset_km, 0)
	FROM at402.device AS d
		LEFT JOIN told AS t ON t.device_id = d.id
		LEFT JOIN at402.vehicle_device AS b ON b.device_id = d.id AND b.valid @> coalesce(t.time, at)
		LEFT JOIN at402.vehicle AS v ON v.id = b.vehicle_id;
END
$$;
COMMENT ON FUNCTION at402_fleet_at(timestamptz, timestamptz) IS
'where each device was at a time, in which state and in which vehicle, as of what had been received by known_at: one row a device, columns as in at402.last_position.  Voltage, battery and journey_distance_km are those of the last report; lifetime_odometer_km: of that report, or the last that was told in the day before at; connected: NULL when the device has reported since (online_period tells it).  last_seen: when the last report was received';

$sql$);
