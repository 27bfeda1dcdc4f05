-- Each field of the catalogue: which raw numbers are measurements, and the column it lands in,
-- proved by storing it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/stored.sql'
\set ECHO none
\i :file
\set ECHO all

-- ---- which raw numbers are measurements ----

-- By rules that are written down here once more, the first that fits counts: no row.
CREATE TEMP TABLE rule (no serial, module text, field text, type text, raw_min bigint, raw_max bigint);
INSERT INTO rule (module, field, type, raw_min, raw_max) VALUES
	('.', '_mask$', '.', NULL, NULL),
	('hgv_trailer', '(demand|wear)_percent$', '.', 0, 250),		-- 0.4 % each
	('.', '_percent$', '^u8', 0, 100),
	('nmea_2000', '_percent$', 'i16', 0, 25000),
	('sensors', 'humidity_percent', 'u16', 0, 10000),
	('^(fms|obd|can)_', 'engine_rpm$', 'u8', 0, 250),
	('^(fms|obd|can)_', 'engine_temperature_c', 'u8', 1, 250),
	('^(fms_|nmea_2000|can_summary|can_journey_stop)', '.', '^u8$', 0, 250),
	('^(fms_|nmea_2000|can_summary|can_journey_stop)', '.', '^u16$', 0, 64255),
	('^(fms_|nmea_2000|can_summary|can_journey_stop)', '.', '^u24$', 0, 16449535),
	('^(fms_|nmea_2000|can_summary|can_journey_stop)', '.', '^u32$', 0, 4211081215),
	('one_wire_temperature', '.', '.', 0, 1800),
	('.', '^(lifetime_odometer_.*|lifetime_hours|engine_hours|standby_hours)$', 'u16', 0, 65534),
	('.', '^(lifetime_odometer_.*|lifetime_hours)$', 'u24', 0, 16777214),
	('.', '^lifetime_odometer_m$', 'u32', 0, 4294967294),
	('.', '^heading_deg$', '.', 0, 180),
	('.', '^(hdop|satellites_in_view|position_error_m)$', 'u8', 0, 254),
	('.', '^latitude_deg$', '.', -90000000, 90000000),
	('.', '^longitude_deg$', '.', -180000000, 180000000),
	('.', '.', 'time', 946339200, 4294967294),
	('tpms', 'pressure_bar', '.', 0, 254),
	('sim_subscriber_id', 'imsi', '.', 1, 72057594037927934),
	('driver_id', 'source', '.', 1, 255),
	('network', 'rssi_dbm', '.', 1, 254),
	('device_power', 'external_voltage_v', 'u16', 0, 65534),
	('core_bike', '.', '.', 0, 65534),
	('hgv_trailer', '.', '^u8$', 0, 254),
	('hgv_trailer', '.', '^u16$', 0, 65534),
	('.', '.', '^u8 or none', 0, 254),
	('.', '.', '^i8 or none', -127, 127),
	('.', '.', '.', NULL, NULL);
SELECT f.protocol, f.module, f.field, f.type, f.raw_min, f.raw_max, r.raw_min, r.raw_max
FROM at402_fields() AS f, LATERAL (
	SELECT * FROM rule AS r
	WHERE f.module ~ r.module AND f.field ~ r.field AND f.type ~ r.type ORDER BY r.no LIMIT 1) AS r
WHERE (f.raw_min, f.raw_max) IS DISTINCT FROM (r.raw_min, r.raw_max);

-- every unit is said, or why not
SELECT protocol, module, field FROM at402_fields() WHERE field ~ '_raw$' AND note IS NULL;

-- ---- what to send ----

-- the largest raw number of a type; what has no number: 1
CREATE FUNCTION largest(type text) RETURNS bigint LANGUAGE sql AS $$
	SELECT CASE WHEN type ~ '^[ui]\d' THEN (1::bigint << bits - (type ~ '^i')::int) - 1
		- (type ~ '^u.*none$')::int
		WHEN type = 'time' THEN 4294967295 WHEN type = 'slot' THEN 5 ELSE 1 END
	FROM (SELECT substring(type FROM '\d+')::int AS bits) AS b
$$;

-- Each field in each of its tables, with three raw numbers: the largest that is a measurement,
-- ones, zeros.  -1 stands for ones where there is a sign, none, or no number.
CREATE TEMP TABLE field AS
	SELECT f.protocol, f.module, f.field, f.type, coalesce(f.scale, 'raw') AS scale, f.raw_min,
		f.raw_max, h.home, h."column", k.kind,
		row_number() OVER (ORDER BY f.ordinality, h.ordinality, k.kind) AS no,
		CASE k.kind WHEN 'largest' THEN coalesce(f.raw_max, largest(f.type))
			WHEN 'ones' THEN CASE WHEN f.type ~ '^(i|ascii|hex|mac)|none$' THEN -1
				ELSE largest(f.type) END
			ELSE 0 END AS raw
	FROM at402_fields() WITH ORDINALITY AS f,
		ROWS FROM (unnest(string_to_array(f.home, ', ')), unnest(string_to_array(f."column", '; ')))
			WITH ORDINALITY AS h (home, "column", ordinality),
		unnest('{largest,ones,zeros}'::text[]) AS k (kind)
	WHERE k.kind = 'largest' OR (f.type NOT IN ('list', 'name') AND f.field <> 'type_raw');
CREATE INDEX ON field (protocol, module);
ANALYZE field;

-- the value as at402_encode takes it; a text is as long as its field
CREATE FUNCTION value(f field) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	size	int := coalesce(nullif(split_part(f.type, ':', 2), ''), '2');
	letter	int := CASE f.raw WHEN 0 THEN 1 WHEN -1 THEN 2 ELSE 3 END;
	number	numeric;
BEGIN
	IF f.type = 'time' THEN
		RETURN to_jsonb(to_char('1980-01-06'::timestamp + make_interval(secs => f.raw),
			'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
	ELSIF f.type LIKE 'ascii%' THEN
		RETURN to_jsonb(repeat(('{"",ÿ,A}'::text[])[letter], size));
	ELSIF f.type LIKE 'hex%' THEN
		RETURN to_jsonb(repeat(('{00,FF,AB}'::text[])[letter], size));
	ELSIF f.type = 'mac' THEN
		RETURN to_jsonb(repeat(('{00:,ff:,ab:}'::text[])[letter], 5) || '01');
	ELSIF f.type = 'bool' THEN
		RETURN to_jsonb(f.raw <> 0);
	ELSIF f.type = 'u56' THEN
		RETURN to_jsonb(lpad(f.raw::text, greatest(15, length(f.raw::text)), '0'));
	ELSIF f.type ~ 'none$' AND f.raw = -1 THEN
		RETURN 'null';
	END IF;
	EXECUTE format('SELECT %s', replace(f.scale, 'raw', format('(%s::numeric)', f.raw))) INTO number;
	RETURN to_jsonb(trim_scale(number));
END
$$;

-- What has to stand beside a field; %1$s: "field": value, %2$s: value.  The first that fits.
CREATE TEMP TABLE template (no serial, module text, field text, content text);
INSERT INTO template (module, field, content) VALUES
	('^[^KM].* gnss(_extended)?$', '^(?!fix_time)', '{"fix_time": "2026-01-01T00:00:00Z", %1$s}'),
	('driver_id', 'source', '{"serial_number": "00000000000000AB", %1$s}'),
	('driver_id', 'family', '{"serial_number": "0000000000AB", %1$s}'),
	('sensors', 'humidity', '{"sensors": [{"index": 2, "valid": true, "type": "humidity", %1$s}]}'),
	('sensors', 'light', '{"sensors": [{"index": 2, "valid": true, "type": "light", %1$s}]}'),
	('sensors', 'type_raw', '{"sensors": [{"index": 2, "valid": true, "type_raw": 9, "raw": "0102"}]}'),
	('sensors', '^(sensors|type)$',
	 '{"sensors": [{"index": 2, "valid": true, "type": "temperature"}]}'),
	('sensors', '.', '{"sensors": [{"index": 2, "valid": true, "type": "temperature", %1$s}]}'),
	('beacons', 'beacons', '{"beacons": [{"mac": "ab:00:00:00:00:01", "type": 0}]}'),
	('beacons', 'height_cm', '{"beacons": [{"mac": "ab:00:00:00:00:01", "type": 1, %1$s}]}'),
	('beacons', 'meta', '{"beacons": [{"mac": "ab:00:00:00:00:01", "type": 7, %1$s}]}'),
	('beacons', '.', '{"beacons": [{"mac": "ab:00:00:00:00:01", "type": 0, %1$s}]}'),
	('generic_can', 'frames', '{"frames": [{"id": 1, "data": "0000000000000001", "age_s": 1}]}'),
	('generic_can', '.',
	 '{"frames": [{"id": 1, "data": "0000000000000001", "age_s": 1, %1$s}]}'),
	('debug', 'watchdog_level', '{"type": 1, "watchdog_levels": [%2$s]}'),
	('debug', '^type$', '{"raw": "", %1$s}'),
	('debug', '.', '{"type": 1, %1$s}'),
	('tpms', 'sensors', '{"sensors": [{"axle": 1, "wheel": 2, "pressure_bar": 2.5}]}'),
	('tpms', '.', '{"sensors": [{"axle": 1, "wheel": 2, "pressure_bar": 2.5, %1$s}]}'),
	('j1939_dtc', 'dtcs', '{"dtcs": [{"spn": 100, "fmi": 3, "oc": 1}]}'),
	('j1939_dtc', '.', '{"dtcs": [{"spn": 100, "fmi": 3, "oc": 1, %1$s}]}'),
	('hgv_trailer', '^flags$', '{"flags": ["abs_error"]}'),
	('hgv_trailer', '^wheels$', '{"wheels": [{"axle": 1, "wheel": 2}]}'),
	('hgv_trailer', '^(wheel|axle|tyre_.*|brake_temp.*|brake_lining.*)$',
	 '{"wheels": [{"axle": 1, "wheel": 2, %1$s}]}'),
	('hgv_trailer', '^brake_pressures?_kpa$', '{"brake_pressures_kpa": [%2$s]}'),
	('.', '.', '{%3$s %1$s}');

-- another field of the module, so that it says something
CREATE FUNCTION beside(f field) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce((SELECT format('"%s": %s,', o.field, value(o)) FROM field AS o
		WHERE (o.protocol, o.module) = (f.protocol, f.module) AND o.field <> f.field
			AND o.kind = 'largest' AND o.type ~ '^[ui]' AND o.type <> 'u56'
			AND o.field !~ '_mask$' AND f.module NOT IN ('digitals', 'analogues')
		ORDER BY o.no LIMIT 1), '')
$$;

CREATE FUNCTION content(f field) RETURNS jsonb LANGUAGE sql AS $$
	SELECT format(t.content, format('"%s": %s', f.field, v), v, beside(f))::jsonb
	FROM value(f) AS v, template AS t
	WHERE f.protocol || ' ' || f.module ~ t.module AND f.field ~ t.field ORDER BY t.no LIMIT 1
$$;

-- of the report; in K and M it is the fix time as well
CREATE FUNCTION time_of(f field) RETURNS timestamptz LANGUAGE sql AS $$
	SELECT CASE WHEN f.protocol IN ('K', 'M') AND f.field = 'fix_time'
		THEN timestamptz '1980-01-06 00:00:00+00' + make_interval(secs => f.raw)
		ELSE timestamptz '2026-01-01 00:00:00+00' + make_interval(secs => f.no) END
$$;

CREATE FUNCTION packet_of(f field) RETURNS at402_frame LANGUAGE sql AS $$
	SELECT at402_encode(jsonb_build_object('protocol', translate(left(f.protocol, 1), 'Z', 'X'),
		'imei', CASE WHEN f.protocol IN ('K', 'M', 'V') THEN '490154203237518' END,
		'reports', jsonb_build_array(jsonb_build_object('time', to_char(time_of(f),
			'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'reasons', '["geofence", "journey_stop"]'::jsonb,
			'modules', jsonb_build_object(f.module, content(f))))))
$$;

SELECT protocol, i.* FROM (
		SELECT left(protocol, 1) AS protocol, array_agg(packet_of(f) ORDER BY no) AS frames
		FROM field AS f GROUP BY 1) AS p,
	at402_ingest(text_line('$ASTRA;AT402;490154203237518;;1;' || protocol || ';1') || frames,
		received_at => '2026-02-01 00:00+00') AS i
ORDER BY protocol;

-- ---- what is found ----

CREATE FUNCTION is_measurement(f field) RETURNS bool LANGUAGE sql AS $$
	SELECT CASE WHEN f.type LIKE 'ascii%' OR f.field = 'serial_number' AND f.module = 'driver_id'
		THEN f.raw > 0
		WHEN f.type ~ 'none$' AND f.raw = -1 THEN false
		ELSE f.raw BETWEEN coalesce(f.raw_min, f.raw) AND coalesce(f.raw_max, f.raw) END
$$;

-- a block of a bus of which nothing else is known: zeros, or ones, say nothing
CREATE FUNCTION is_silent(f field) RETURNS bool LANGUAGE sql AS $$
	SELECT f.home = 'can' AND f.module NOT IN ('tpms', 'j1939_dtc') AND beside(f) = ''
		AND (f.kind = 'zeros' OR f.kind = 'ones' AND NOT EXISTS (SELECT FROM field AS o
			WHERE (o.protocol, o.module) = (f.protocol, f.module) AND o.field <> f.field))
$$;

CREATE FUNCTION expected(f field) RETURNS jsonb LANGUAGE sql AS $$
	SELECT CASE
		WHEN NOT is_measurement(f) OR is_silent(f) THEN '[null]'
		WHEN f.field = 'heading_deg' AND v = '360' THEN '[0]'
		WHEN f."column" = 'inputs, outputs' THEN jsonb_build_array(f.raw & 255, f.raw >> 8)
		WHEN f."column" = 'inputs' THEN jsonb_build_array(f.raw & 255)
		WHEN f.type = 'time' AND f."column" = 'fix_time'
			THEN jsonb_build_array((v #>> '{}')::timestamptz)
		WHEN f."column" = 'dtcs' THEN jsonb_build_array(jsonb_build_array(v))
		WHEN f."column" = 'data' THEN jsonb_build_array('\x' || lower(v #>> '{}'))
		WHEN f.type = 'list' THEN '["array"]'
		WHEN f."column" = 'sensor_type' THEN '["temperature"]'
		WHEN f.field = 'type_raw' THEN '[9]'
		ELSE jsonb_build_array(v) END
	FROM value(f) AS v
$$;

CREATE FUNCTION found(f field) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	expression text := CASE WHEN f.field = 'latitude_deg' AND f.home = 'position' THEN 'ST_Y(geom)'
		WHEN f.field = 'longitude_deg' AND f.home = 'position' THEN 'ST_X(geom)'
		WHEN f.type = 'list' THEN format('jsonb_typeof(%s)', f."column")
		ELSE f."column" END;
	result	jsonb;
BEGIN
	EXECUTE format('SELECT jsonb_build_array(%s) FROM at402.%I WHERE time = $1 AND %s LIMIT 1',
		expression, f.home, CASE f.module WHEN 'one_wire_temperature'
			THEN 'line = ' || substring(f.field FROM '\d') ELSE 'true' END)
		INTO result USING time_of(f);
	RETURN coalesce(result, '[null]');
END
$$;

-- The column of each field, and what is there: no row.  Not asked here are the SIM's numbers in
-- device and single digital lines; a list whose items are rows of their own has no column.
CREATE TEMP TABLE answer AS
	SELECT f.*, expected(f) AS expected, found(f) AS found FROM field AS f
	WHERE home <> 'device' AND (module, home) <> ('digitals', 'io') AND "column" IS NOT NULL;
SELECT protocol, module, field, home, "column", kind, raw, expected, found FROM answer
WHERE CASE WHEN jsonb_typeof(expected->0) = 'number' AND jsonb_typeof(found->0) = 'number'
	THEN abs((expected->>0)::numeric - (found->>0)::numeric) > 1e-9 ELSE expected <> found END
ORDER BY no;

-- how many were asked, and of how many there is no measurement
SELECT home, count(*) FILTER (WHERE kind = 'largest') AS fields,
	count(*) FILTER (WHERE kind = 'largest' AND found = '[null]') AS largest_null,
	count(*) FILTER (WHERE kind = 'ones' AND found = '[null]') AS ones_null,
	count(*) FILTER (WHERE kind = 'zeros' AND found = '[null]') AS zeros_null
FROM answer GROUP BY home ORDER BY home;
SELECT protocol, module, field, home, "column" FROM field WHERE kind = 'largest' AND no NOT IN (
	SELECT no FROM answer) ORDER BY no;

-- one question finds what one quantity is called in all modules
SELECT DISTINCT module, field, home, "column", unit FROM at402_fields() WHERE field ~ 'fuel_level'
ORDER BY 1, 2;

DROP SCHEMA at402, regress_at402 CASCADE;
