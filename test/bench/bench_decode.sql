-- Reports decoded in a second by the SQL functions, one backend: the best of five runs of each.
-- Read by test/check.sh bench-decode, which says where the vectors are.
\set QUIET on
\pset footer off
SET client_min_messages = warning;
SET max_parallel_workers_per_gather = 0;
SET jit = off;
SET enable_memoize = off;		-- many of the frames are the same
CREATE EXTENSION at402 CASCADE;
CREATE TEMP TABLE line (input text, n serial, l jsonb);
\copy line (l) from program 'cat test/vectors/captured.jsonl'
UPDATE line SET input = 'captured';
\copy line (l) from program 'cat test/vectors/x.jsonl test/vectors/y.jsonl'
UPDATE line SET input = 'mix' WHERE input IS NULL;

CREATE TEMP TABLE packet AS
SELECT input, n, (l->>'frame')::at402_frame AS frame,
	jsonb_array_length(l->'decoded'->'reports') AS reports
FROM line WHERE l->'decoded'->>'kind' = 'packet';

-- each input often enough for a run of some tenths of a second
CREATE TEMP TABLE sample AS
SELECT 1 AS input_no, 'captured two-module packet' AS input, frame, reports
FROM (SELECT * FROM packet WHERE input = 'captured' ORDER BY n LIMIT 1) p,
	generate_series(1, 300000)
UNION ALL
SELECT 2, 'all captured packets', frame, reports
FROM packet, generate_series(1, 8000) WHERE input = 'captured'
UNION ALL
SELECT 3, 'golden mix of X and Y', frame, reports
FROM packet, generate_series(1, 200) WHERE input = 'mix';
ANALYZE sample;

CREATE FUNCTION pg_temp.rate(query text, reports bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	began	timestamptz;
	best	interval;
BEGIN
	FOR run IN 1 .. 5 LOOP
		began := clock_timestamp();
		EXECUTE query;
		best := least(best, clock_timestamp() - began);
	END LOOP;
	RETURN round(reports / extract(epoch FROM best));
END
$$;

SELECT input AS "reports/s in SQL",
	pg_temp.rate(format('SELECT count(at402_decode(frame)) FROM sample WHERE input_no = %s',
		input_no), sum(reports)) AS at402_decode,
	pg_temp.rate(format('SELECT count(*) FROM sample, at402_reports(frame) WHERE input_no = %s',
		input_no), sum(reports)) AS at402_reports
FROM sample GROUP BY input_no, input ORDER BY input_no;
