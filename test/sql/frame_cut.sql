-- at402_frames: captures cut into frames, wherever they begin and end.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/frames.sql'
\set ECHO none
\i :file
\set ECHO all

-- rows whose offsets do not follow from the lengths before, that are not either a frame or skipped,
-- whose skipped bytes were not merged with their neighbours; and whether all bytes came back
CREATE FUNCTION check_cut(stream bytea, OUT frames int, OUT wrong_rows int, OUT complete bool)
LANGUAGE sql AS $$
	WITH r AS MATERIALIZED (
		SELECT row_number() OVER () AS n, byte_offset, frame, skipped,
			coalesce(frame::bytea, skipped) AS bytes
		FROM at402_frames(stream)
	), o AS (
		SELECT *, coalesce(sum(length(bytes)) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING
													AND 1 PRECEDING), 0) AS due,
			lag(skipped) OVER (ORDER BY n) AS skipped_before
		FROM r
	)
	SELECT count(frame)::int,
		(count(*) FILTER (WHERE byte_offset <> due OR (frame IS NULL) = (skipped IS NULL)
							OR length(bytes) = 0
							OR skipped IS NOT NULL AND skipped_before IS NOT NULL))::int,
		coalesce(string_agg(bytes, '' ORDER BY n), '') = stream
	FROM o
$$;

-- a capture with everything in it
CREATE TEMP TABLE capture AS
	SELECT '\xdeadbeef' || x(1) || x(2)
		|| '$ASTRA;AT402;860873045366969;;7.0.70.3;X;1;8A1B'::bytea || '\x0d0a'
		|| '$POSN,OK'::bytea || '\x0d' || '$PARA,UN'::bytea || '\x0a'
		|| '\x0a0d'								-- ends of lines without a line
		|| substr(x(3), 1, 12)			-- a packet that was cut, and the next one
		|| x(4)
		|| overlay(x(5) PLACING '\xff' FROM 8)	-- wrong checksum
		|| packet('K', '\x00000000000000')
		|| '\x58ffff58ffff'						-- letters with lengths beyond the end
		|| packet('C', '\x01')
		|| '$no end'::bytea AS stream;
SELECT f.*
FROM capture, at402_frames(stream) AS f
WHERE f.frame IS NULL OR get_byte(f.frame::bytea, 0) <> ascii('$');
SELECT f.byte_offset, convert_from(rtrim(f.frame::bytea, '\x0d0a'), 'LATIN1') AS line
FROM capture, at402_frames(stream) AS f
WHERE get_byte(f.frame::bytea, 0) = ascii('$');
SELECT c.* FROM capture, check_cut(stream) AS c;

-- a frame within a frame is part of it; behind a wrong checksum it is one
SELECT length(f.frame::bytea), length(f.skipped)
FROM at402_frames(packet('X', '\x01' || x(1))) AS f;
SELECT f.byte_offset, length(f.frame::bytea), length(f.skipped)
FROM at402_frames(overlay(packet('X', '\x01' || x(1)) PLACING '\x00' FROM 4)) AS f;

-- the end of a line may come as CR and LF
SELECT byte_offset, frame FROM at402_frames('\x24410d0a24420d24430a0a24440a0d');

SELECT * FROM at402_frames('');
SELECT * FROM at402_frames(NULL);

-- cut at any byte: what is whole is found, what is not is skipped
SELECT bool_and(c.complete AND c.wrong_rows = 0) AS good, min(c.frames), max(c.frames)
FROM capture, generate_series(0, length(stream)) AS cut,
	check_cut(substr(stream, cut + 1)) AS c;
SELECT bool_and(c.complete AND c.wrong_rows = 0) AS good, min(c.frames), max(c.frames)
FROM capture, generate_series(0, length(stream)) AS cut,
	check_cut(substr(stream, 1, cut)) AS c;

-- noise in which every byte may begin a frame: time must not grow with the square of the length
BEGIN;
SET LOCAL statement_timeout = '60s';
CREATE FUNCTION repeat_bytes(pattern bytea, size int) RETURNS bytea LANGUAGE sql AS
	$$ SELECT decode(repeat(encode(pattern, 'hex'), size / length(pattern)), 'hex') $$;
SELECT what, length(stream), c.*
FROM (VALUES
	('X only', repeat_bytes('\x58', 4000000)),
	('X and the largest length', repeat_bytes('\x58ffff', 4000000)),
	('X and a length within', repeat_bytes('\x580fff', 4000000)),
	('zeros', repeat_bytes('\x00', 4000000)),
	('$ only', repeat_bytes('$', 4000000)),
	('$ and a control character', repeat_bytes('$$$$$$$$$$$$$$$'::bytea || '\x01', 4000000)),
	('random', noise('frames', 2000000)),
	('frames over windows', (SELECT string_agg(x(i), '') FROM generate_series(1, 100000) AS i)),
	('frames in noise', (SELECT string_agg(x(i) || noise('n' || i, 20), '')
						 FROM generate_series(1, 20000) AS i))
) AS v (what, stream), check_cut(stream) AS c;
ROLLBACK;

-- and it can be cancelled on its way
CREATE TEMP TABLE noise AS SELECT decode(repeat('58', 40000000), 'hex') AS stream;
SELECT clock_timestamp() AS began \gset
SELECT count(*) FROM noise, at402_frames(stream);
SELECT clock_timestamp() - timestamptz :'began' AS took \gset
SET statement_timeout = '10ms';
SELECT clock_timestamp() AS began \gset
SELECT count(*) FROM noise, at402_frames(stream);
RESET statement_timeout;
SELECT clock_timestamp() - timestamptz :'began' < interval :'took' / 2 AS soon;

DROP SCHEMA regress_at402 CASCADE;
