-- at402_encode: the inverse of at402_decode.  Golden frames, a sweep over all fields with numbers,
-- random documents, headers and packets.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/frames.sql'
\set ECHO none
\i :file
\set file :abs_srcdir '/include/golden.sql'
\i :file
\set file :abs_srcdir '/include/documents.sql'
\i :file
\set ECHO all

-- ---- golden frames ----

-- a frame that is canonical comes back as it was; the others differ in what no value tells: line
-- ends, reserved bytes, extra bytes of Y.  So the values are the same, and encoding them once more
-- changes nothing
SELECT file, count(*) AS frames, count(*) FILTER (WHERE again = frame) AS canonical,
	count(*) FILTER (WHERE decoded_again = decoded_once) AS same_values,
	count(*) FILTER (WHERE at402_encode(decoded_again) = again) AS fixpoints
FROM golden, at402_decode(frame, protocol) AS decoded_once,
	at402_encode(decoded_once) AS again, at402_decode(again, protocol) AS decoded_again
GROUP BY file ORDER BY file;

-- of the module alone in its frame: which of them are not canonical
SELECT file, string_agg(note, ' ' ORDER BY note) AS reserved_or_extra_bytes
FROM (SELECT DISTINCT file, note FROM golden
	  WHERE file IN ('x', 'y') AND note IS NOT NULL
		AND at402_encode(at402_decode(frame)) <> frame) AS g
GROUP BY file ORDER BY file;

-- what was written by hand or by another program encodes as well: nulls left out, no kind
SELECT count(*) AS documents,
	count(*) FILTER (WHERE at402_encode(jsonb_strip_nulls(decoded - 'kind')) = again) AS same
FROM golden, at402_encode(decoded) AS again WHERE decoded->>'kind' = 'packet';

-- masks and names say the same
SELECT count(*) AS documents, count(*) FILTER (WHERE again =
		at402_encode(jsonb_set(decoded, '{reports}', with_masks))) AS masks_alone,
	count(*) FILTER (WHERE again =
		at402_encode(jsonb_set(decoded, '{reports}', with_names))) AS names_alone
FROM golden, at402_encode(decoded) AS again,
	LATERAL (SELECT jsonb_agg(r - '{reasons,status}'::text[] ORDER BY n) AS with_masks,
				 jsonb_agg(r - '{reasons_mask,status_mask}'::text[] ORDER BY n) AS with_names
			 FROM jsonb_array_elements(decoded->'reports') WITH ORDINALITY AS e (r, n)) AS a
WHERE decoded->>'kind' = 'packet'
	-- bits without a name are in the masks alone; but that of a block of K, M and V follows from
	-- its modules
	AND NOT EXISTS (SELECT FROM jsonb_array_elements(decoded->'reports') AS r
		WHERE (r->>'reasons_mask')::bigint NOT BETWEEN 0 AND (1::bigint << 33) - 1
			OR (r->>'status_mask')::bigint & ~256 <> (SELECT coalesce(sum(1 << b), 0)
				FROM generate_series(0, 10) AS b
				WHERE b <> 8 AND r->'status' ?| at402_status_names(1 << b)));

-- ---- every field with a number ----

CREATE FUNCTION scaled(scale text, raw bigint) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	result	numeric;
BEGIN
	EXECUTE 'SELECT ' || replace(coalesce(scale, 'raw'), 'raw', format('(%s)::numeric', raw))
		INTO result;
	RETURN trim_scale(round(result, 12));
END
$$;

CREATE TEMP TABLE number_field AS
WITH f AS (
	SELECT left(protocol, 1) AS protocol, module, field, type, nullif(scale, '') AS scale, unit,
		substring(type FROM '\d+')::int AS bits
	FROM at402_fields()
	-- type_raw takes the unpublished types only: see below
	WHERE type ~ '^([ui]\d|slot)' AND field <> 'type_raw'
), ranges AS (
	SELECT *,
		CASE WHEN type = 'i8 or none' THEN -127
			 WHEN type LIKE 'i%' THEN -(1::bigint << bits - 1) ELSE 0 END AS low,
		CASE WHEN type = 'slot' THEN 5
			 WHEN type = 'u8 or none' THEN 254
			 WHEN type LIKE 'i%' THEN (1::bigint << bits - 1) - 1
			 ELSE (1::bigint << bits) - 1 END AS high
	FROM f
)
SELECT *, abs(scaled(scale, 1) - scaled(scale, 0)) AS step,
	least(scaled(scale, low), scaled(scale, high)) AS lowest,
	greatest(scaled(scale, low), scaled(scale, high)) AS highest
FROM ranges;

-- a number that follows from a seed, from low to high
CREATE FUNCTION random_raw(seed text, low bigint, high bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT low + ('x' || substr(md5(seed), 1, 15))::bit(60)::bigint % (high - low + 1)
$$;

-- the list that a field is a part of; an element is a number by itself, or has other parts
CREATE FUNCTION list_of(module text, field text) RETURNS text LANGUAGE sql AS $$
	SELECT CASE
		WHEN module IN ('beacons', 'sensors') THEN module
		WHEN module = 'generic_can' THEN 'frames'
		WHEN module = 'tpms' THEN 'sensors'
		WHEN module = 'j1939_dtc' THEN 'dtcs'
		WHEN field IN ('watchdog_level', 'brake_pressure_kpa')
			THEN regexp_replace(field, '(level|pressure)', '\1s')
		WHEN module = 'hgv_trailer' AND field IN ('wheel', 'axle', 'tyre_pressure_bar',
			'brake_temperature_c', 'brake_lining_wear_percent') THEN 'wheels' END
$$;
CREATE FUNCTION module_with(module text, field text, value jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object(module,
		CASE WHEN module = 'debug' AND field <> 'type' THEN '{"type": 1}' ELSE '{}' END::jsonb
		|| CASE WHEN list IS NULL THEN jsonb_build_object(field, value)
				WHEN field IN ('watchdog_level', 'brake_pressure_kpa')
				THEN jsonb_build_object(list, jsonb_build_array(value))
				ELSE jsonb_build_object(list, jsonb_build_array(CASE
					WHEN field = 'height_cm' THEN '{"type": 1}'
					WHEN module || field = 'sensorstemperature_c' THEN '{"type": "temperature"}'
					WHEN field = 'humidity_percent' THEN '{"type": "humidity"}'
					WHEN module = 'sensors' THEN '{"type": "light"}'
					-- a code of zeros would end the list
					WHEN module = 'j1939_dtc' THEN '{"spn": 1, "oc": 1}'
					ELSE '{}' END::jsonb || jsonb_build_object(field, value))) END)
	FROM list_of(module, field) AS list
$$;
CREATE FUNCTION value_in(modules jsonb, module text, field text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT CASE WHEN list IS NULL THEN modules->module->field
				WHEN field IN ('watchdog_level', 'brake_pressure_kpa') THEN modules->module->list->0
				ELSE modules->module->list->0->field END
	FROM list_of(module, field) AS list
$$;

-- the least, the greatest and a random value of each
CREATE TEMP TABLE sweep AS
SELECT f.*, raw, document(f.protocol, module_with(module, field, value),
	'{"reasons": ["journey_stop"]}') AS document, value
FROM number_field AS f,
	unnest(ARRAY[low, high, random_raw(protocol || module || field, low, high)]) AS raw,
	LATERAL (SELECT CASE type WHEN 'u56' THEN to_jsonb(lpad(raw::text, 15, '0'))
					ELSE to_jsonb(scaled(scale, raw)) END AS value) AS v;
ALTER TABLE sweep ADD frame at402_frame;
UPDATE sweep SET frame = at402_encode(document);

SELECT protocol, count(DISTINCT module) AS modules, count(DISTINCT (module, field)) AS fields,
	count(*) AS tried, count(*) FILTER (WHERE value::text =
		value_in(at402_decode(frame)->'reports'->0->'modules', module, field)::text) AS same,
	count(*) FILTER (WHERE at402_encode(at402_decode(frame)) = frame) AS fixpoints
FROM sweep GROUP BY protocol ORDER BY protocol;
SELECT protocol, module, field, raw, value,
	value_in(at402_decode(frame)->'reports'->0->'modules', module, field) AS found
FROM sweep
WHERE value::text IS DISTINCT FROM
	value_in(at402_decode(frame)->'reports'->0->'modules', module, field)::text
ORDER BY 1, 2, 3, 4;

-- none of the types and scales is missing among them
SELECT type, count(*) AS fields, array_agg(DISTINCT coalesce(scale, 'raw') COLLATE "C") AS scales
FROM number_field GROUP BY type ORDER BY type COLLATE "C";

-- beyond the ends, by a step and by a tenth of one: range is checked before rounding
CREATE TEMP TABLE beyond AS
SELECT f.*, v AS value, e.*
FROM number_field AS f,
	unnest(ARRAY[lowest - step, lowest - step / 2, lowest - step / 10,
				 highest + step / 10, highest + step / 2, highest + step]) AS v,
	refused(document(protocol, module_with(module, field, to_jsonb(v)),
		'{"reasons": ["journey_stop"]}')) AS e
WHERE type <> 'u56';
SELECT protocol, count(DISTINCT (module, field)) AS fields, count(*) AS tried,
	count(*) FILTER (WHERE state = '22003'
		AND message = format('value of "%s" is out of range: %s', field, trim_scale(value))
		AND detail = format('The range is %s to %s%s.', lowest, highest, ' ' || nullif(unit, '')))
	AS refused
FROM beyond GROUP BY protocol ORDER BY protocol;
SELECT field, message, detail FROM beyond
WHERE protocol = 'X' AND module IN ('device_power', 'signal_quality', 'one_wire_temperature',
	'core_bike') AND value > highest AND value - highest < step / 5
ORDER BY field;

-- between two steps: the nearest
WITH middle AS (
	SELECT *, random_raw(field || module || protocol, low, high - 1) AS raw FROM number_field
	WHERE type <> 'u56'
), tried AS (
	SELECT m.*, part, there_and_back(document(protocol, module_with(module, field, to_jsonb(
				scaled(scale, raw) + part * (scaled(scale, raw + 1) - scaled(scale, raw)))),
			'{"reasons": ["journey_stop"]}')) AS modules
	FROM middle AS m, unnest('{0.01, 0.49, 0.51, 0.99}'::numeric[]) AS part
)
SELECT protocol, count(*) AS tried, count(*) FILTER (WHERE value_in(modules, module, field)
	= to_jsonb(scaled(scale, raw + round(part)::int))) AS nearest
FROM tried GROUP BY protocol ORDER BY protocol;

-- all modules at once, each with a chance of a half, all fields random
WITH chosen AS (
	SELECT protocol, n, module, jsonb_object_agg(field, scaled(scale, random_raw(
		concat_ws('.', n, module, field), low, high))) AS fields
	FROM number_field, generate_series(1, 50) AS n
	WHERE list_of(module, field) IS NULL AND module <> 'debug' AND type <> 'u56'
		-- older firmware; another scale for the same bytes
		AND module <> 'trailer_id' AND field !~ '^adc\d_mv'
		AND get_bit(decode(md5(concat_ws('.', protocol, n, module)), 'hex'), 0) = 1
	GROUP BY protocol, n, module
), documents AS (
	SELECT protocol, n, document(protocol, jsonb_object_agg(module, fields),
			jsonb_build_object('reasons', ARRAY['journey_stop'],
				'seq', random_raw('seq' || n, 0, 255), 'time', timestamptz '1980-01-06 00:00+00'
					+ random_raw('time' || n, 0, 4294967295) * interval '1 s'))
		AS document, sum((SELECT count(*) FROM jsonb_object_keys(fields))) AS fields
	FROM chosen GROUP BY protocol, n
)
SELECT protocol, count(*) AS documents, sum(fields) AS fields,
	count(*) FILTER (WHERE decoded->'reports'->0->'modules' @>
		(document->'reports'->0->'modules')) AS same_modules,
	count(*) FILTER (WHERE decoded->'reports'->0->'seq' = document->'reports'->0->'seq'
		AND (decoded->'reports'->0->>'time')::timestamptz =
			(document->'reports'->0->>'time')::timestamptz) AS same_header,
	count(*) FILTER (WHERE at402_encode(decoded) = frame) AS fixpoints
FROM documents, at402_encode(document) AS frame, at402_decode(frame) AS decoded
GROUP BY protocol ORDER BY protocol;

-- ---- header of a report ----

-- masks win over names; names alone; neither
SELECT n, r->'reasons_mask' AS reasons_mask, jsonb_array_length(r->'reasons') AS names,
	r->'reasons'->-1 AS last, r->'status_mask' AS status_mask,
	jsonb_array_length(r->'status') AS names, r->'status'->-1 AS last
FROM (VALUES
	(1, 'X', '{"reasons": ["panic"], "reasons_mask": 1, "status": ["roaming"],
		"status_mask": 4}'::jsonb),
	(2, 'X', '{"reasons": ["towing", "panic"], "status": ["backup_battery_charging", "ignition"]}'),
	(3, 'X', '{"reasons": ["motion_while_parked"], "status_mask": 65535}'),
	(4, 'X', '{"reasons_mask": 4294967295}'),
	(5, 'X', '{"reasons": ["panic"], "reasons_mask": null}'),
	(6, 'X', '{"reasons": ["no such name"], "reasons_mask": 0}'),
	(7, 'Y', '{"reasons": ["trailer_data"], "status_mask": 4294967295}'),
	(8, 'Y', '{"reasons_mask": -9223372036854775808}'),
	(9, 'Y', '{"reasons_mask": 9223372036854775807}'),
	(10, 'K', '{"reasons": ["roll_over"], "status": ["stored"]}')) AS v (n, protocol, report),
	jsonb_path_query(at402_decode(at402_encode(document(protocol, '{}', report))),
		'$.reports[0]') AS r
ORDER BY n;

SELECT n, e.state, e.message, coalesce(nullif(e.detail, ''), e.hint) AS detail_or_hint
FROM (VALUES
	(1, 'X', '{"reasons": ["no such name"]}'::jsonb),
	(2, 'X', '{"reasons": ["trailer_data"]}'),			-- Y only
	(3, 'K', '{"reasons": ["carrier"]}'),				-- K has 24
	(4, 'K', '{"status": ["immobilised"]}'),
	(5, 'X', '{"reasons_mask": 4294967296}'),
	(6, 'X', '{"reasons_mask": -1}'),
	(7, 'X', '{"reasons_mask": "1"}'),
	(8, 'X', '{"status_mask": 65536}'),
	(9, 'Y', '{"status_mask": 4294967296}'),
	(10, 'Y', '{"reasons_mask": 9223372036854775808}'),
	(11, 'Y', '{"reasons_mask": -9223372036854775808.1}'),
	(12, 'K', '{"reasons_mask": 16777216}'),
	(13, 'X', '{"reasons": "panic"}'),
	(14, 'X', '{"reasons": [4]}'),
	(15, 'X', '{"reasons": {"panic": true}}'),
	(16, 'X', '{"seq": 256}'),
	(17, 'X', '{"seq": -0.1}'),
	(18, 'X', '{"seq": "5"}'),
	(19, 'X', '{"time": null}'),
	(20, 'X', '{"time": 1000000000}'),
	(21, 'X', '{"time": "1980-01-05T23:59:59.9Z"}'),
	(22, 'X', '{"time": "2116-02-12T06:28:15.1Z"}'),
	(23, 'X', '{"time": "infinity"}'),
	(24, 'X', '{"time": "half past ten"}'),
	(25, 'X', '{"report_no": 0}'),
	(26, 'X', '{"modules": []}'),
	(27, 'K', '{"reasons": ["can"]}')				-- its bit means roll over
) AS v (n, protocol, report),
	refused(document(protocol, '{}', report)) AS e
ORDER BY n;

-- times to the second, whatever the zone they are given in
SELECT r->>'time' AS "time"
FROM (VALUES (1, '1980-01-06T00:00:00Z'), (2, '2116-02-12T06:28:15Z'),
	(3, '2024-02-29 23:59:59.5+00'), (4, '2024-07-30T18:17:34+02:00')) AS v (n, "time"),
	jsonb_path_query(at402_decode(at402_encode(document('X', '{}',
		jsonb_build_object('time', "time")))), '$.reports[0]') AS r
ORDER BY n;

-- ---- packets ----

-- who sent it; many reports; a packet without kind or modules
SELECT at402_encode('{"kind": "packet", "protocol": "X", "imei": "490154203237518",
		"reports": [{"seq": 5, "time": "2024-07-30T16:17:34Z", "reasons_mask": 4,
			"status_mask": 1}]}')
	= x('490154203237518', x_report(5)) AS with_imei,
	at402_encode('{"protocol": "X", "imei": null, "reports": [{"seq": 5,
		"time": "2024-07-30T16:17:34Z", "reasons": ["on_demand"], "status": ["ignition"]}]}')
	= x(NULL, x_report(5)) AS without,
	at402_encode('{"protocol": "Y", "imei": "000000000000000", "reports": [{"time":
		"2024-07-30T16:17:34Z", "reasons_mask": 4, "status_mask": 1, "modules": {}}]}')
	= y('000000000000000', y_report(0)) AS zeros;
SELECT protocol, jsonb_array_length(d->'reports') AS reports,
	d = document || '{"kind": "packet"}' AS same
FROM unnest('{X,Y,K}'::text[]) AS protocol,
	LATERAL (SELECT jsonb_build_object('protocol', protocol, 'imei', '490154203237518', 'reports',
		(SELECT jsonb_agg(jsonb_set(at402_decode(at402_encode(document(protocol, '{}')))
			->'reports'->0, '{seq}', to_jsonb(n)) ORDER BY n) FROM generate_series(0, 254) AS n))
		AS document) AS j,
	at402_decode(at402_encode(document)) AS d;

SELECT n, e.state, e.message, e.detail, e.hint
FROM (VALUES
	(1, '[]'::jsonb),
	(2, '"packet"'),
	(3, '{}'),
	(4, '{"kind": "letter"}'),
	(5, '{"kind": 1}'),
	(6, '{"protocol": "X"}'),
	(7, '{"protocol": "X", "reports": null}'),
	(8, '{"protocol": "Z", "reports": []}'),			-- decodes as X
	(9, '{"protocol": "C", "reports": []}'),
	(10, '{"protocol": "XY", "reports": []}'),
	(11, '{"protocol": "", "reports": []}'),
	(12, '{"protocol": 5, "reports": []}'),
	(13, '{"protocol": "X", "reports": []}'),
	(14, '{"protocol": "X", "reports": {}}'),
	(15, '{"protocol": "X", "reports": [null]}'),
	(16, '{"protocol": "X", "reports": [[]]}'),
	(17, '{"protocol": "X", "reports": [{}]}'),
	(18, '{"protocol": "X", "imei": "49015420323751", "reports": [{}]}'),
	(19, '{"protocol": "X", "imei": "4901542032375188", "reports": [{}]}'),
	(20, '{"protocol": "X", "imei": "49015420323751x", "reports": [{}]}'),
	(21, '{"protocol": "X", "imei": 490154203237518, "reports": [{}]}'),
	(22, '{"protocol": "K", "reports": [{}]}'),
	(23, '{"protocol": "X", "sender": "me", "reports": []}')) AS v (n, document),
	refused(document) AS e
ORDER BY n;

-- a packet that could not be read has no document that says all of it
SELECT e.state, e.message FROM refused(at402_decode(x(NULL, x_report(1) || '\xabcdef'))) AS e;
SELECT e.state, e.message FROM refused(at402_decode(packet('C', '\x01')::at402_frame)) AS e;

-- too many, too long
SELECT n, e.state, e.message, e.detail
FROM (VALUES
	(1, 'X', 256, '{}'::jsonb),
	(2, 'K', 1725, '{}'),
	(3, 'X', 255, jsonb_build_object('nmea_2000', '{}'::jsonb, 'gnss', '{}'::jsonb,
		'stars_acim', '{}'::jsonb, 'torrot_scooter', '{}'::jsonb, 'torrot_battery', '{}'::jsonb,
		'ecooter_serials', '{}'::jsonb))) AS v (n, protocol, reports, modules),
	LATERAL (SELECT jsonb_set(document(protocol, modules), '{reports}', (SELECT jsonb_agg(r)
		FROM generate_series(1, reports), jsonb_path_query(document(protocol, modules),
			'$.reports[0]')
			AS r)) AS document) AS j,
	refused(document) AS e
ORDER BY n;
SELECT length(at402_encode(jsonb_set(document('K', '{}'), '{reports}', (SELECT jsonb_agg(r)
	FROM generate_series(1, 1724), jsonb_path_query(document('K', '{}'), '$.reports[0]') AS r)))
	::bytea) AS longest_k;

DROP SCHEMA regress_at402 CASCADE;
