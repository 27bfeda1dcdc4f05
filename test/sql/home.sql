-- No measurement is dropped: the golden packets are stored, and what the tables tell is compared
-- with what at402_decode has to say, module for module and value for value.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/stored.sql'
\set ECHO none
\i :file
\set file :abs_srcdir '/include/golden.sql'
\i :file
\set ECHO all

-- Every golden packet as if sent by a tracker of its own, which the argument imei names: X and Y
-- without an IMEI, K, M and V with that one, Z after its login.
CREATE TEMP TABLE sent AS
	SELECT g.file, g.no, g.decoded, i.imei, CASE
		WHEN g.protocol = 'Z' THEN ARRAY[text_line('$ASTRA;AT402;' || i.imei || ';;1;Z;1'), g.frame]
		WHEN letter IN ('K', 'M', 'V')
			THEN ARRAY[packet(letter, imei(i.imei) || substr(b, 11, length(b) - 12))::at402_frame]
		WHEN g.decoded->>'imei' IS NOT NULL
			THEN ARRAY[packet(letter, substr(b, 4, 1) || substr(b, 12, length(b) - 13))::at402_frame]
		ELSE ARRAY[g.frame] END AS frames
	FROM (SELECT *, frame::bytea AS b, decoded->>'protocol' AS letter,
			  '35000000' || lpad((row_number() OVER (ORDER BY file, no))::text, 6, '0') AS digits
		  FROM golden WHERE decoded->>'kind' = 'packet') AS g,
		-- with the check digit that makes it an IMEI
		LATERAL (SELECT digits || check_digit AS imei FROM generate_series(0, 9) AS check_digit
				 WHERE (SELECT sum(CASE WHEN at % 2 = 1 THEN c::int ELSE c::int * 2 / 10 + c::int * 2 % 10 END)
						FROM regexp_split_to_table(digits || check_digit, '')
							WITH ORDINALITY AS s (c, at)) % 10 = 0) AS i;
SELECT file, count(*) AS packets, sum(r.reports) AS reports, sum(r.inserted) AS inserted,
	sum(r.quarantined) AS quarantined
FROM sent, at402_ingest(frames, imei, '2030-01-01 00:00+00') AS r
GROUP BY file ORDER BY file;

-- what is a measurement, in the unit that at402_decode shows
CREATE FUNCTION shown(type text, scale text, raw bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	value	numeric;
BEGIN
	IF raw IS NULL THEN
		RETURN NULL;
	ELSIF type = 'time' THEN
		RETURN to_jsonb(to_char('1980-01-06'::timestamp + make_interval(secs => raw),
			'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
	END IF;
	EXECUTE format('SELECT %s', replace(coalesce(scale, 'raw'), 'raw', format('(%s::numeric)', raw)))
		INTO value;
	RETURN to_jsonb(value);
END
$$;
CREATE TEMP TABLE bounds AS
	SELECT DISTINCT translate(left(protocol, 1), 'Z', 'X') AS letter, module, field, type LIKE 'ascii%' AS is_text,
		least(shown(type, scale, raw_min), shown(type, scale, raw_max)) AS low,
		greatest(shown(type, scale, raw_min), shown(type, scale, raw_max)) AS high
	FROM at402_fields() WHERE (raw_min IS NOT NULL OR type LIKE 'ascii%') AND type <> 'u56';

-- a module as decoded, without what is no measurement; a full circle is 0
CREATE FUNCTION measured(sender text, of_module text, decoded jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT coalesce(jsonb_object_agg(m.key, CASE
		WHEN m.key = 'heading_deg' AND m.value = '360' THEN '0'
		WHEN jsonb_typeof(m.value) = 'array' THEN (SELECT coalesce(jsonb_agg(
			CASE jsonb_typeof(item) WHEN 'object' THEN measured(sender, of_module, item)
				ELSE item END ORDER BY no), '[]')
			FROM jsonb_array_elements(m.value) WITH ORDINALITY AS i (item, no))
		ELSE m.value END), '{}')
	FROM jsonb_each(decoded) AS m
		LEFT JOIN bounds AS b ON (b.letter, b.module, b.field) = (sender, of_module, m.key)
	WHERE CASE WHEN b.is_text THEN m.value #>> '{}' !~ '^ÿ*$'
		ELSE b.low IS NULL OR m.value BETWEEN b.low AND b.high END
$$;

-- the modules of each report, as decoded: what of them is a measurement
CREATE TEMP TABLE decoded AS
	SELECT s.file, s.no, d.id AS device_id, (r->>'time')::timestamptz AS time,
		(r->>'seq')::int AS seq, s.decoded->>'protocol' AS letter,
		r->'reasons' ? 'geofence' AS geofence, m.key AS module,
		measured(s.decoded->>'protocol', m.key, jsonb_strip_nulls(m.value)) AS value
	FROM sent AS s JOIN at402.device AS d USING (imei),
		jsonb_array_elements(s.decoded->'reports') AS r,
		jsonb_each(r->'modules') AS m;
CREATE TEMP TABLE home AS SELECT DISTINCT module, unnest(string_to_array(home, ', ')) AS home
	FROM at402_fields();

-- what the tables tell of it, in the form of at402_decode
CREATE TEMP TABLE stored AS
	SELECT device_id, time, seq, module, value
	FROM at402.position AS p, LATERAL (VALUES
		('device_power', jsonb_build_object('external_voltage_v', external_voltage_v,
			'battery_level_percent', battery_percent)),
		('gnss', jsonb_build_object('fix_time', to_char(fix_time, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
			'latitude_deg', ST_Y(geom),
			'longitude_deg', ST_X(geom), 'speed_kmh', speed_kmh, 'max_speed_kmh', max_speed_kmh,
				'heading_deg', heading_deg,
			'altitude_m', altitude_m, 'journey_distance_km', journey_distance_km,
				'fix_availability_percent', fix_availability_percent,
			'satellites_in_view', satellites_in_view, 'position_error_m', position_error_m)),
		('digitals', jsonb_build_object('states_mask', inputs + coalesce(outputs, 0) * 256)),
		('analogues', jsonb_build_object('adc1_raw', adc1_raw, 'adc2_raw', adc2_raw, 'adc1_mv',
			adc1_mv, 'adc2_mv', adc2_mv)),
		('signal_quality', jsonb_build_object('satellites_in_use', satellites, 'gsm_signal_dbm',
			gsm_signal_dbm)),
		('gnss_journey_stop', jsonb_build_object('lifetime_odometer_km', lifetime_odometer_km,
			'engine_hours', engine_hours))
	) AS v (module, value);
INSERT INTO stored			-- io
	SELECT device_id, time, seq, 'digitals', jsonb_build_object('changes_mask',
		sum(1 << line - 1 + CASE kind WHEN 'output' THEN 8 ELSE 0 END))
	FROM at402.io WHERE kind IN ('input', 'output') GROUP BY 1, 2, 3
	UNION ALL
	SELECT device_id, time, seq, kind, data || jsonb_build_object(
		CASE kind WHEN 'driver_id' THEN 'serial_number' ELSE 'text' END, text_value)
	FROM at402.io WHERE kind IN ('driver_id', 'trailer_id')
	UNION ALL
	SELECT device_id, time, seq, 'driver_alcohol_test',
		data || jsonb_build_object('breath_result_ugl', value)
	FROM at402.io WHERE kind = 'alcohol_test'
	UNION ALL
	SELECT device_id, time, seq, 'one_wire_temperature',
		jsonb_object_agg(format('probe_%s_temperature_c', line), value)
	FROM at402.io WHERE kind = 'temperature' GROUP BY 1, 2, 3;
INSERT INTO stored			-- buses and beacons
	SELECT device_id, time, seq, 'driver_behaviour', to_jsonb(m) FROM at402.motion AS m
	UNION ALL
	SELECT device_id, time, seq, source, to_jsonb(c) - 'source' - 'data' || coalesce(data, '{}')
		FROM at402.can AS c
	UNION ALL
	SELECT device_id, time, seq, 'generic_can', jsonb_build_object('frames',
		jsonb_agg(jsonb_build_object('id', can_id, 'data', upper(encode(data, 'hex')), 'age_s',
			age_s) ORDER BY n))
	FROM at402.can_frame GROUP BY 1, 2, 3
	UNION ALL
	SELECT device_id, time, seq, kind || 's', jsonb_build_object(kind || 's', jsonb_agg(CASE kind
		WHEN 'beacon' THEN to_jsonb(b) - 'meta_type' - 'data'
			|| jsonb_build_object('type', meta_type)
		ELSE to_jsonb(b) - '{sensor_index,sensor_type,data}'::text[]
			|| jsonb_build_object('index', sensor_index, 'type', sensor_type)
			|| coalesce(data, '{}') END
		- '{device_id,time,seq,content_hash,n,kind}'::text[] ORDER BY n))
	FROM at402.ble AS b GROUP BY 1, 2, 3, kind;
INSERT INTO stored			-- the rest
	SELECT device_id, time, seq, name, data FROM at402.module
	UNION ALL
	SELECT device_id, time, seq, 'geofence', jsonb_build_object('event_raw', detail->'event_raw')
		FROM at402.event WHERE kind = 'geofence';
CREATE TEMP TABLE told AS		-- a module may be in two tables
	SELECT device_id, time, seq, module,
		jsonb_strip_nulls(jsonb_object_agg(key, v ORDER BY v = 'null' DESC)) AS value
	FROM stored, jsonb_each(value - '{device_id,time,seq,content_hash,n}'::text[]) AS e (key, v)
	GROUP BY 1, 2, 3, 4;

SELECT file, count(*) AS modules, count(DISTINCT module) AS kinds FROM decoded GROUP BY 1
	ORDER BY 1;

-- what differs: no row.  Not stored, because it says nothing: blocks of zeros, lines that did not
-- change, geofence 0, empty lists.
SELECT d.file, d.no, d.seq, d.module, x.*
FROM decoded AS d LEFT JOIN told AS t USING (device_id, time, seq, module),
	-- what the columns of gnss have from gnss_extended
	LATERAL (SELECT CASE WHEN module = 'gnss' AND EXISTS (
			SELECT FROM decoded AS x WHERE x.module = 'gnss_extended'
				AND (x.device_id, x.time, x.seq) = (d.device_id, d.time, d.seq))
		THEN t.value - '{fix_availability_percent,satellites_in_view,position_error_m}'::text[]
		ELSE t.value END AS value) AS f,
	LATERAL (SELECT CASE
		WHEN module = 'obd_dtc' THEN jsonb_build_object('dtcs',
			(SELECT jsonb_agg(v ORDER BY k) FROM jsonb_each(d.value) AS e (k, v)))
		WHEN module = 'digitals' AND d.value->'changes_mask' = '0' THEN d.value - 'changes_mask'
		-- of M and V the low byte is states, the next their changes
		WHEN module = 'digitals' AND d.letter IN ('M', 'V') THEN jsonb_build_object(
			'states_mask', (d.value->>'states_mask')::int & 255,
			'changes_mask', (d.value->>'states_mask')::int >> 8 & 255)
		WHEN module = 'analogues' AND d.letter = 'V' THEN d.value || jsonb_build_object(
			'adc1_mv', round((d.value->>'adc1_raw')::numeric * 5000 / 4095),
			'adc2_mv', round((d.value->>'adc2_raw')::numeric * 15000 / 4095))
		WHEN module = 'driver_id' AND NOT d.value ?| '{source,family}' THEN '{}'
		WHEN module = 'geofence' AND NOT d.geofence AND d.value = '{"event_raw": 0}' THEN '{}'
		WHEN module = 'gnss' AND (abs((d.value->>'latitude_deg')::numeric) > 90
			OR abs((d.value->>'longitude_deg')::numeric) > 180)
			THEN d.value - 'latitude_deg' - 'longitude_deg'
		WHEN d.value IN ('{"beacons": []}', '{"sensors": []}', '{"frames": []}',
			'{"dtcs": []}') THEN '{}'
		WHEN EXISTS (SELECT FROM home AS h WHERE h.module = d.module
			AND h.home IN ('can', 'motion'))
			AND NOT EXISTS (SELECT FROM leaves(d.value)
				WHERE leaf NOT IN ('0', '-40', '""')) THEN '{}'
		ELSE d.value END AS value) AS e,
	differences(jsonb_strip_nulls(e.value), CASE WHEN e.value = '{}' THEN coalesce(f.value, '{}')
		ELSE f.value END) AS x
ORDER BY d.file, d.no, d.seq, d.module, x.path;

-- and no more is told than was decoded
SELECT module, count(*) FROM told AS t
WHERE value <> '{}' AND NOT EXISTS (SELECT FROM decoded AS d
	WHERE (d.device_id, d.time, d.seq) = (t.device_id, t.time, t.seq)
		AND (d.module = t.module OR (t.module, d.module)	-- fills the same columns
			IN (('gnss', 'gnss_extended'), ('signal_quality', 'network'))))
GROUP BY 1 ORDER BY 1;

-- each home of the catalogue has rows of each of its modules
SELECT h.module, h.home FROM home AS h
WHERE h.module IN (SELECT module FROM decoded) AND NOT CASE h.home
	WHEN 'module' THEN EXISTS (SELECT FROM at402.module WHERE name = h.module)
	WHEN 'can' THEN EXISTS (SELECT FROM at402.can WHERE source = h.module)
	WHEN 'position' THEN EXISTS (SELECT FROM told WHERE module = h.module AND value <> '{}')
		OR h.module = 'gnss_extended'
	WHEN 'device' THEN EXISTS (SELECT FROM at402.device WHERE CASE h.module
		WHEN 'sim_subscriber_id' THEN imsi ELSE iccid END IS NOT NULL)
	ELSE EXISTS (SELECT FROM told WHERE module = h.module AND value <> '{}') END
ORDER BY 1, 2;

-- a field of home position or motion is a column; these are called otherwise or make up others
SELECT DISTINCT f.module, f.field FROM at402_fields() AS f,
	unnest(string_to_array(f.home, ', ')) AS t
WHERE t IN ('position', 'motion') AND NOT EXISTS (SELECT FROM at402_internal.at402_data_columns() AS c
	WHERE c.table_name = t AND c.column_name = f.field)
ORDER BY 1, 2;

-- columns of what reports leave that no packet has filled: who adds one fills it, in rows.c
CREATE FUNCTION never_filled() RETURNS TABLE (never_filled text) LANGUAGE plpgsql AS $$
DECLARE
	c	record;
	filled	bool;
BEGIN
	FOR c IN
		SELECT table_name, column_name FROM at402_internal.at402_data_columns() JOIN at402_internal.at402_data_tables() USING (table_name)
		WHERE table_name = 'device_state' OR range_column IS NOT NULL AND table_name NOT IN ('quarantine', 'alert')
	LOOP
		EXECUTE format('SELECT EXISTS (SELECT FROM at402.%I WHERE %I IS NOT NULL)', c.table_name, c.column_name)
		INTO filled;
		IF NOT filled THEN
			never_filled := c.table_name || '.' || c.column_name;
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
SELECT * FROM never_filled() ORDER BY never_filled COLLATE "C";

DROP SCHEMA at402, regress_at402 CASCADE;
