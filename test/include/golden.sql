-- The golden vectors as table golden, and a comparison of documents: for the tests in test/sql,
-- which read this file with ECHO off and drop schema regress_at402 at their end.
\getenv abs_srcdir PG_ABS_SRCDIR
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
CREATE SCHEMA IF NOT EXISTS regress_at402;
GRANT USAGE ON SCHEMA regress_at402 TO public;
SET search_path = regress_at402, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- the values of a document that have no parts, with their paths
CREATE FUNCTION leaves(document jsonb, path text DEFAULT '')
RETURNS TABLE (leaf_path text, leaf jsonb)
LANGUAGE plpgsql AS $$
DECLARE
	part	record;
BEGIN
	FOR part IN
		SELECT '.' || e.key AS step, e.value
		FROM jsonb_each(CASE jsonb_typeof(document) WHEN 'object' THEN document END) AS e
		UNION ALL
		SELECT format('[%s]', a.ordinality - 1), a.value
		FROM jsonb_array_elements(CASE jsonb_typeof(document) WHEN 'array' THEN document END)
			WITH ORDINALITY AS a
	LOOP
		RETURN QUERY SELECT * FROM leaves(part.value, path || part.step);
	END LOOP;
	IF jsonb_typeof(document) NOT IN ('object', 'array') OR document IN ('{}', '[]') THEN
		RETURN QUERY SELECT path, document;
	END IF;
END
$$;

-- what differs between two documents: numbers by more than 1e-6; a null is no value
CREATE FUNCTION differences(expected jsonb, found jsonb)
RETURNS TABLE (path text, expected_value jsonb, found_value jsonb)
LANGUAGE sql AS $$
	SELECT coalesce(e.leaf_path, f.leaf_path), e.leaf, f.leaf
	FROM leaves(jsonb_strip_nulls(expected)) AS e
		FULL JOIN leaves(jsonb_strip_nulls(found)) AS f USING (leaf_path)
	WHERE CASE WHEN jsonb_typeof(e.leaf) = 'number' AND jsonb_typeof(f.leaf) = 'number'
		THEN abs(e.leaf::numeric - f.leaf::numeric) > 1e-6
		ELSE e.leaf IS DISTINCT FROM f.leaf END
$$;

CREATE TEMP TABLE line (
	file	text,
	no		int GENERATED ALWAYS AS IDENTITY,
	content jsonb NOT NULL
);

-- each line is one JSON document: delimiter and quote are bytes that JSON never holds
\set file :abs_srcdir '/vectors/captured.jsonl'
COPY line (content) FROM :'file' (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02');
UPDATE line SET file = 'captured' WHERE file IS NULL;
\set file :abs_srcdir '/vectors/x.jsonl'
COPY line (content) FROM :'file' (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02');
UPDATE line SET file = 'x' WHERE file IS NULL;
\set file :abs_srcdir '/vectors/y.jsonl'
COPY line (content) FROM :'file' (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02');
UPDATE line SET file = 'y' WHERE file IS NULL;
\set file :abs_srcdir '/vectors/other.jsonl'
COPY line (content) FROM :'file' (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02');
UPDATE line SET file = 'other' WHERE file IS NULL;

CREATE TEMP TABLE golden AS
	SELECT file, row_number() OVER (PARTITION BY file ORDER BY no) AS no,
		content->>'note' AS note, content->>'protocol' AS protocol,
		(content->>'frame')::at402_frame AS frame, content->'decoded' AS decoded
	FROM line;
