-- Frames to order, and what an error says: for the tests in test/sql, which read this file
-- with ECHO off and drop schema regress_at402 at their end.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
CREATE SCHEMA IF NOT EXISTS regress_at402;
GRANT USAGE ON SCHEMA regress_at402 TO public;
SET search_path = regress_at402, public;
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- a number as bytes, highest first
CREATE FUNCTION number(value bigint, bytes int) RETURNS bytea LANGUAGE sql AS
	$$ SELECT substr(int8send(value), 9 - bytes) $$;

-- a packet: letter and content are given, length and checksum are made to fit
CREATE FUNCTION packet(letter text, content bytea) RETURNS bytea LANGUAGE sql AS $$
	SELECT whole || number(at402_crc16(whole), 2)
	FROM (SELECT letter::bytea || number(length(content) + 5, 2) || content AS whole) AS w
$$;

-- an IMEI as in a packet: 8 digits in 4 bytes, 7 digits in 3
CREATE FUNCTION imei(digits text) RETURNS bytea LANGUAGE sql AS $$
	SELECT number(left(digits, 8)::bigint, 4) || number(right(digits, 7)::bigint, 3)
$$;

CREATE FUNCTION seconds("time" timestamptz) RETURNS bytea LANGUAGE sql AS
	$$ SELECT number(extract(epoch FROM "time" - '1980-01-06 00:00+00')::bigint, 4) $$;

-- reports of X and Y; mask: hexadecimal digits, modules: their bytes
CREATE FUNCTION x_report(seq int, "time" timestamptz DEFAULT '2024-07-30 16:17:34+00',
	reasons bigint DEFAULT 4, status int DEFAULT 1, mask text DEFAULT '', modules bytea DEFAULT '')
RETURNS bytea LANGUAGE sql AS $$
	SELECT number(seq, 1) || decode(lpad(mask, 12, '0'), 'hex') || seconds("time")
		|| number(reasons, 4) || number(status, 2) || modules
$$;
CREATE FUNCTION y_report(seq int, "time" timestamptz DEFAULT '2024-07-30 16:17:34+00',
	reasons bigint DEFAULT 4, status int DEFAULT 1, mask text DEFAULT '', modules bytea DEFAULT '')
RETURNS bytea LANGUAGE sql AS $$
	SELECT number(seq, 1) || decode(lpad(mask, 20, '0'), 'hex') || seconds("time")
		|| number(reasons, 8) || number(status, 4) || modules
$$;

-- packets of them
CREATE FUNCTION x(imei text, VARIADIC reports bytea[]) RETURNS at402_frame LANGUAGE sql AS $$
	SELECT packet('X', number(cardinality(reports), 1)
		|| coalesce(imei(imei), '') || (SELECT string_agg(r, '') FROM unnest(reports) AS r))
		::at402_frame
$$;
CREATE FUNCTION y(imei text, VARIADIC reports bytea[]) RETURNS at402_frame LANGUAGE sql AS $$
	SELECT packet('Y', number(cardinality(reports), 1)
		|| coalesce(imei(imei), '') || (SELECT string_agg(r, '') FROM unnest(reports) AS r))
		::at402_frame
$$;

-- X with one report, which has no module
CREATE FUNCTION x(seq int) RETURNS bytea LANGUAGE sql AS
	$$ SELECT x(NULL, x_report(seq % 256))::bytea $$;

-- module gnss of X: mask bit 1
CREATE FUNCTION gnss(latitude numeric, longitude numeric, speed_kmh int DEFAULT 0,
	fix_time timestamptz DEFAULT '2024-07-30 16:17:33+00') RETURNS bytea LANGUAGE sql AS $$
	SELECT seconds(fix_time) || number((latitude * 1000000)::bigint, 4)
		|| number((longitude * 1000000)::bigint, 4) || number(speed_kmh / 2, 1)
		|| '\x0000000000'
$$;

CREATE FUNCTION text_line(content text, line_end bytea DEFAULT '\x0d0a') RETURNS at402_frame
	LANGUAGE sql AS $$ SELECT (convert_to(content, 'LATIN1') || line_end)::at402_frame $$;

-- bytes that hold no pattern and never change
CREATE FUNCTION noise(seed text, size int) RETURNS bytea LANGUAGE sql AS $$
	SELECT substr(string_agg(decode(md5(seed || i), 'hex'), ''), 1, size)
	FROM generate_series(1, size / 16 + 1) AS i
$$;

-- what a statement's error says; no row when there is none
CREATE FUNCTION error_of(command text)
RETURNS TABLE (state text, message text, detail text, hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT;
END
$$;
