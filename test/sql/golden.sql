-- Golden vectors: each frame of test/vectors decodes to the value beside it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/golden.sql'
\set ECHO none
\i :file
\set ECHO all

-- the comparison finds what it has to find, and nothing else
SELECT * FROM differences(
	'{"a": 1.0000001, "b": null, "c": [1, {"d": 2}], "e": [], "f": "x", "g": true, "h": 1}',
	'{"a": 1, "c": [1, {"d": 2.1}, 3], "f": "y", "g": true, "h": "1", "i": null}')
ORDER BY path;

-- how much is compared; and all that differs: no row
SELECT file, count(DISTINCT no) AS frames, count(*) AS compared
FROM golden, leaves(jsonb_strip_nulls(decoded))
GROUP BY file ORDER BY file;

SELECT file, no, note, d.*
FROM golden, differences(decoded, at402_decode(frame, protocol)) AS d
ORDER BY file, no, path;

-- numbers are exact decimals: no digit more or less than the golden ones
SELECT file, no, leaf_path, e.leaf AS expected, f.leaf AS found
FROM golden, leaves(decoded) AS e
	JOIN leaves(at402_decode(frame, protocol)) AS f USING (leaf_path)
WHERE jsonb_typeof(e.leaf) = 'number' AND e.leaf::text <> f.leaf::text
ORDER BY file, no, leaf_path;

-- every module of X and of Y is among them, alone in a frame
SELECT protocol, module FROM (SELECT DISTINCT protocol, module FROM at402_fields()
							  WHERE protocol IN ('X', 'Y')) AS f
WHERE NOT EXISTS (SELECT FROM golden AS g
				  WHERE g.file = lower(f.protocol) AND g.note = f.module
					AND g.decoded @? format('$.reports[*].modules.%s', f.module)::jsonpath)
ORDER BY 1, 2;

-- at402_reports() says the same of the reports, a row each
SELECT g.file, count(*) AS reports, count(r.latitude) AS with_position
FROM golden AS g, at402_reports(g.frame, g.protocol) AS r
GROUP BY g.file ORDER BY g.file;

WITH expected AS (
	SELECT file, no, e.ordinality - 1 AS report_no, decoded - 'reports' AS packet,
		e.report - '{reasons_mask,status_mask}'::text[] AS report,
		coalesce(e.report->'modules'->'gnss', e.report->'modules'->'gnss_extended') AS gnss
	FROM golden, jsonb_array_elements(decoded->'reports') WITH ORDINALITY AS e (report, ordinality)
), found AS (
	SELECT g.file, g.no, r.report_no, to_jsonb(r) || jsonb_build_object(
			'time', to_char(r.time, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
			'fix_time', to_char(r.fix_time, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) AS report
	FROM golden AS g, at402_reports(g.frame, g.protocol) AS r
)
SELECT file, no, report_no, d.*
FROM expected AS e FULL JOIN found AS f USING (file, no, report_no),
	differences(e.packet - 'kind' || e.report || jsonb_build_object(
			'report_no', report_no,
			'longitude', e.gnss->'longitude_deg', 'latitude', e.gnss->'latitude_deg',
			'fix_time', e.gnss->'fix_time', 'speed_kmh', e.gnss->'speed_kmh',
			'heading_deg', e.gnss->'heading_deg', 'altitude_m', e.gnss->'altitude_m',
			'gnss_valid', CASE WHEN e.gnss IS NOT NULL
				THEN NOT e.report->'status' ? 'gnss_invalid' END),
		f.report) AS d
ORDER BY file, no, report_no, path;

-- every field that was decoded is in the catalogue, under its module and variant
SELECT DISTINCT variant, module, part.field
FROM (SELECT CASE WHEN protocol = 'Z' THEN '{Z,X}'
				  WHEN decoded->>'protocol' = 'X' THEN '{X,"X, older firmware"}'
				  ELSE ARRAY[decoded->>'protocol']::text END::text[] AS variant,
			 substring(leaf_path FROM '\.modules\.(\w+)') AS module,
			 substring(leaf_path FROM '\.modules\.\w+\.(.*)') AS fields
	  FROM golden, leaves(decoded)
	  WHERE leaf_path ~ '\.modules\.') AS l,
	regexp_split_to_table(regexp_replace(fields, '\[\d+\]', '', 'g'), '\.') AS part (field)
WHERE module !~ '^module_\d+$' AND part.field NOT IN ('raw', 'error')
	AND NOT EXISTS (SELECT FROM at402_fields() AS f
					WHERE f.protocol = ANY (variant) AND f.module = l.module
						AND f.field = part.field)
ORDER BY 1, 2, 3;

-- and the other way round: what was never decoded of the catalogue; two of these are no keys but
-- the numbers of a list, and no frame has a sensor of an unpublished type, or is from that firmware
-- of Y
SELECT f.protocol, f.module, f.field FROM at402_fields() AS f
WHERE NOT EXISTS (SELECT FROM golden AS g
				  WHERE g.decoded @? format('$.reports[*].modules.%s.**.%s', f.module,
					f.field)::jsonpath
					AND left(f.protocol, 1) = coalesce(g.protocol, g.decoded->>'protocol'))
ORDER BY 1, 2, 3;

DROP SCHEMA regress_at402 CASCADE;
