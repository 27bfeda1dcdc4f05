-- Decoding in SQL: values, packets that cannot be read, text, arguments; the field catalogue.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/frames.sql'
\set ECHO none
\i :file
\set ECHO all

-- ---- what a frame says ----

SELECT jsonb_pretty(at402_decode('58003201052196881ae0ce1f00000000000353d3d49e0010200000093d2353d3d49d031b934afffb036c0000a0000000e0eb'));

-- decimals are exact, through all values of a byte
SELECT raw, d->'reports'->0->'modules'->'device_power'->>'external_voltage_v' AS volt
FROM generate_series(0, 255, 51) AS raw,
	at402_decode(x(NULL, x_report(1, mask => '1', modules => number(raw, 1) || '\x64'))) AS d
UNION ALL
SELECT raw, d->'reports'->0->'modules'->'device_power'->>'external_voltage_v'
FROM unnest('{61,62,1}'::int[]) AS raw,
	at402_decode(x(NULL, x_report(1, mask => '1', modules => number(raw, 1) || '\x64'))) AS d;
SELECT count(*) FROM generate_series(0, 255) AS raw,
	at402_decode(x(NULL, x_report(1, mask => '1', modules => number(raw, 1) || '\x64'))) AS d
WHERE (d->'reports'->0->'modules'->'device_power'->>'external_voltage_v')::numeric <> raw / 5.0;

-- the ends of the coordinates and of the clock
SELECT m->>'latitude_deg' AS latitude, m->>'longitude_deg' AS longitude, m->>'fix_time' AS fix_time,
	r->>'time' AS "time"
FROM (VALUES (90.0, -180.0, timestamptz '1980-01-06 00:00:00+00'),
	(-0.000001, 0.000001, '2116-02-12 06:28:15+00'),
			 (-2147.483648, 2147.483647, '2000-02-29 23:59:59+00')) AS v (lat, lon, t),
	at402_decode(x(NULL, x_report(1, t, mask => '2', modules => gnss(lat, lon, 0, t)))) AS d,
	LATERAL (SELECT d->'reports'->0 AS r, d->'reports'->0->'modules'->'gnss' AS m) AS j;

-- flags without a name show in the masks only
SELECT r->'reasons' AS reasons, r->'reasons_mask' AS reasons_mask, r->'status' AS status,
	r->'status_mask' AS status_mask
FROM (SELECT at402_decode(f)->'reports'->0 AS r
	  FROM unnest(ARRAY[x(NULL, x_report(1, reasons => 0, status => 0)),
			x(NULL, x_report(1, reasons => 2147483648, status => 64512)),
			y(NULL, y_report(1, reasons => 4611686022722355201, status => 2147483647))]) AS f) AS d;

-- who sent it
SELECT d->>'protocol' AS protocol, d->>'imei' AS imei, jsonb_array_length(d->'reports') AS reports
FROM unnest(ARRAY[x('490154203237518', x_report(1)),
				  x('000000000000000', x_report(1)),		-- zeros on the left stay
				  y('490154203237518', y_report(1), y_report(2)),
				  x(NULL, x_report(1))]) AS f, at402_decode(f) AS d;

-- ---- text ----

SELECT at402_decode(f) FROM unnest(ARRAY[
	text_line('$ASTRA;AT402;860873045366969;WVWZZZ1JZXW000001;7.0.70.3;Y;1;8A1B'),
	text_line('$ASTRA;AT402;860873045366969;;7.0.70.3;X;1', '\x0d'),
	text_line('$ASTRA;AT402', '\x0a'),
	text_line('$ASTRA;'),
	text_line('$ASTRA;a;b;c;d;e;f;g;h;i'),
	text_line('$ASTRA;Modèle  ;860873045366969'),
	text_line('$ASTRA'),
	text_line('$DIST,OK'),
	text_line('$STAT,a "quoted" \back/slash  '),
	text_line('$DRID,café µg'),				-- Latin-1
	text_line('$', '\x800d'),				-- a control character of Latin-1
	text_line('$before', '\x0061667465720d'),	-- ends at the NUL
	text_line('$')]) AS f;

-- text in modules: sim_serial_number (bit 27), obd_dtc (bit 14)
SELECT d->'reports'->0->'modules' FROM unnest(ARRAY[
	x(NULL, x_report(1, mask => '8000000', modules => '89441000301234567890')),
	x(NULL, x_report(1, mask => '8000000', modules => '8944é   '::bytea || '\x00' || 'hidden7890')),
	x(NULL, x_report(1, mask => '8000000', modules => decode(repeat('e9', 20), 'hex'))),
	x(NULL, x_report(1, mask => '4000', modules => 'P0420'::bytea || '\x0000000000'
		|| 'C12  U0100     '))])
	AS f, at402_decode(f) AS d;

-- ---- packets that cannot be read ----

SELECT what, d->>'error' AS error, d->'offset' AS "offset",
	jsonb_array_length(d->'reports') AS reports,
	d->'reports'->-1->'modules' AS modules_of_last, d->'tail' AS tail,
	encode(substr(f::bytea, length(f::bytea) - 1 - length(d->>'tail') / 2),
		'hex') LIKE lower(d->>'tail') || '____' AS is_end
FROM (VALUES
	(1, 'no report', packet('X', '\x00')::at402_frame),
	(2, 'no report, with a body', packet('Y', '\x00abcdef')::at402_frame),
	(3, 'cut header', packet('X', '\x01' || substr(x_report(1), 1, 10))::at402_frame),
	(4, 'second report missing', packet('X', '\x02' || x_report(1))::at402_frame),
	(5, 'bytes left', x(NULL, x_report(1) || '\xabcdef')),
	(6, 'cut module', x(NULL, x_report(1, mask => '3', modules => '\x3d6453d3d4'))),
	(7, 'Y: length below itself', y(NULL, y_report(1, mask => '5', modules => '\x04007a6400ff'))),
	(8, 'Y: module beyond the end', y(NULL, y_report(1, mask => '5', modules => '\x04007a6463ff'))),
	(9, 'K: cut', packet('K', imei('490154203237518') || '\x0102')::at402_frame),
	(10, 'C', packet('C', '\x0102030405')::at402_frame)
) AS v (n, what, f), at402_decode(f) AS d
ORDER BY n;

-- there are no other keys
SELECT jsonb_object_keys(at402_decode(packet('X', '\x00')::at402_frame)) AS key ORDER BY 1;

-- a module of Y that is unknown, too short, or longer than known
SELECT d->'error' AS error, d->'reports'->0->'modules' AS modules
FROM unnest(ARRAY[
	y(NULL, y_report(1, mask => '1000000000001', modules => '\x04007a6403abcd')),
	y(NULL, y_report(1, mask => '1', modules => '\x02ff')),
	y(NULL, y_report(1, mask => '1', modules => '\x01')),
	y(NULL, y_report(1, mask => '1', modules => '\x06007a640102'))]) AS f, at402_decode(f) AS d;

-- ---- reports as rows ----

SELECT report_no, imei, protocol, seq, time, reasons, status, longitude, latitude, fix_time, gnss_valid
FROM at402_reports(x('860873041769307',
	x_report(60, '2024-07-24 17:21:53+00', 1, 57, '2', gnss(52.138927, -0.326837)),
	x_report(61, '2024-07-24 17:22:46+00', 10240, 41, '3', '\x3d64'::bytea || gnss(-33.9, 151.2, 80))));
-- no GNSS module; a position that is old; gnss_extended (bit 43); gnss before it
SELECT r.report_no, r.seq, r.longitude, r.latitude, r.fix_time, r.gnss_valid, r.speed_kmh,
	r.heading_deg, r.altitude_m
FROM at402_reports(x(NULL,
	x_report(1),
	x_report(2, status => 5, mask => '2', modules => gnss(52.5, -1.25, 40)),
	x_report(3, mask => '80000000000', modules => gnss(10.5, 20.25, 60)
		|| '\x01020304050600000000'),
	x_report(4, mask => '80000000002', modules => gnss(52.5, -1.25, 40)
					 || gnss(10.5, 20.25, 60) || '\x01020304050600000000'))) AS r;
-- no reports
SELECT count(*) FROM unnest(ARRAY[text_line('$DIST,OK'), text_line('$ASTRA;AT402'), NULL,
								  packet('X', '\x00')::at402_frame]) AS f, at402_reports(f);

-- ---- argument protocol ----

-- Z has other contents under some bits, here 19 and 30: 10 bytes and 1
SELECT p, at402_decode(x(NULL, x_report(1, mask => '40080000',
	modules => '\x0102030405060708090a0b')), p)
	->'reports'->0->'modules' AS decode,
	(SELECT modules FROM at402_reports(x(NULL, x_report(1, mask => '40080000',
		modules => '\x0102030405060708090a0b')), p)) AS reports
FROM unnest(ARRAY['Z', 'X', 'Y', 'K', 'M', 'V', NULL]) AS p;
SELECT at402_decode(y(NULL, y_report(1)), protocol => 'Z')->>'protocol';
SELECT p, e.* FROM unnest('{z,Q,C,XY,$,"",é}'::text[]) AS p,
	error_of(format('SELECT at402_decode(x(NULL, x_report(1)), %L)', p)) AS e;
SELECT e.* FROM error_of($$SELECT * FROM at402_reports(x(NULL, x_report(1)), 'z')$$) AS e;
-- whatever the frame is
SELECT count(*) FROM error_of($$SELECT at402_decode(text_line('$DIST,OK'), 'z')$$)
	WHERE state = '22023';
SELECT count(*) FROM error_of($$SELECT * FROM at402_reports(text_line('$DIST,OK'), 'z')$$)
	WHERE state = '22023';

-- ---- flag names ----

SELECT n, at402_reason_names(n) AS reasons, at402_status_names(n) AS status
FROM unnest('{0,1,5,8589934592}'::bigint[]) AS n;
SELECT cardinality(at402_reason_names(-1)),
	at402_reason_names(-1) = at402_reason_names((1::bigint << 33) - 1) AS reasons,
	cardinality(at402_status_names(-1)),
		at402_status_names(-1) = at402_status_names(2047) AS status;
SELECT at402_reason_names((1::bigint << 33) - 1), at402_status_names(2047);

-- one flag of a mask: the same answer as the names give, for each
SELECT count(*) FROM unnest(at402_reason_names(-1)) WITH ORDINALITY AS f(name, no),
	generate_series(0, 32) AS bit
WHERE at402_has_reason(1::bigint << bit, name) <> (no = bit + 1);
SELECT count(*) FROM unnest(at402_status_names(-1)) WITH ORDINALITY AS f(name, no),
	generate_series(0, 32) AS bit
WHERE at402_has_status(1::bigint << bit, name) <> (no = bit + 1);
SELECT at402_has_reason(0, 'time_interval'), at402_has_reason(-1, 'trailer_data'),
	at402_has_reason(NULL, 'panic'), at402_has_status(2, NULL);
SELECT e.* FROM error_of($$SELECT at402_has_reason(0, 'panik')$$) AS e;
SELECT e.* FROM error_of($$SELECT at402_has_status(0, '')$$) AS e;

-- ---- NULL ----

SELECT at402_decode(NULL) IS NULL, at402_decode(NULL, 'Z') IS NULL,
	at402_reason_names(NULL) IS NULL,
	at402_status_names(NULL) IS NULL;

-- ---- the field catalogue ----

SELECT protocol, count(DISTINCT module) AS modules, count(*) AS fields FROM at402_fields()
	GROUP BY 1 ORDER BY 1;
-- a field once; a bit stands for one module; all 48 of X
SELECT protocol, module, field FROM at402_fields() GROUP BY 1, 2, 3 HAVING count(*) > 1;
SELECT protocol, "bit" FROM at402_fields() WHERE "bit" IS NOT NULL GROUP BY 1, 2
	HAVING count(DISTINCT module) > 1;
SELECT count(DISTINCT "bit"), min("bit"), max("bit") FROM at402_fields() WHERE protocol = 'X';
-- homes are tables
SELECT DISTINCT home FROM at402_fields(), regexp_split_to_table(home, ', ') AS t
WHERE to_regclass('at402.' || t) IS NULL AND t NOT IN (SELECT table_name FROM at402_internal.at402_data_tables());
SELECT count(*) FROM at402_fields() WHERE home IS NULL OR module IS NULL OR field IS NULL
	OR type IS NULL OR protocol IS NULL;
-- a unit is in the name of the field, and in column unit
SELECT unit, array_agg(DISTINCT substring(field FROM '[^_]*$')) AS names_end
FROM at402_fields() WHERE unit IS NOT NULL GROUP BY unit ORDER BY unit COLLATE "C";
SELECT module, field FROM at402_fields()
WHERE unit IS NULL AND type <> 'list' AND substring(field FROM '_([^_]*)$') IN (
	SELECT substring(field FROM '_([^_]*)$') FROM at402_fields() WHERE unit IS NOT NULL);
SELECT * FROM at402_fields() WHERE protocol = 'X' AND module = 'device_power';

-- ---- what the planner is told ----

-- C, IMMUTABLE STRICT PARALLEL SAFE; but these
SELECT p.proname, l.lanname AS language, p.provolatile, p.proisstrict, p.proparallel
FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
	JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension AS e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
WHERE e.extname = 'at402' AND l.lanname NOT IN ('sql', 'plpgsql')
	AND p.proname !~ '^at402_(batch|stat)_'
	AND (p.provolatile, p.proisstrict, p.proparallel) <> ('i', true, 's')
ORDER BY p.proname COLLATE "C";

-- names, arguments and results of the contract
\pset format unaligned
SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments,
	pg_get_function_result(p.oid) AS result
FROM pg_proc AS p
WHERE p.proname IN ('at402_decode', 'at402_reports', 'at402_frames', 'at402_fields',
	'at402_reason_names', 'at402_status_names', 'at402_crc16', 'at402_ingest', 'at402_create_tables',
	'at402_version')
ORDER BY p.proname COLLATE "C";

DROP SCHEMA regress_at402 CASCADE;
