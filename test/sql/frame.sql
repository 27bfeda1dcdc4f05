-- Type at402_frame: what it takes and refuses, its operators and indexes; its checksum.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/frames.sql'
\set ECHO none
\i :file
\set ECHO all

SELECT x(5);

-- ---- text form ----

-- with and without \x, upper case, blanks between the digits: all the same
SELECT n, input::at402_frame
FROM unnest(ARRAY[
	'580017010500000000000053d3d49e0000000400010074',
	'\x580017010500000000000053D3D49E0000000400010074',
	'\X580017010500000000000053d3d49e0000000400010074',
	E' \n\\x 5800 17\t01 05 000000000000 53d3d49e 00000004 0001 0074 \r\n',
	E'5 80017010500000000000053d3d49e000000040001007 4']) WITH ORDINALITY AS u (input, n);

-- written the same whatever bytea_output says
BEGIN;
SET LOCAL bytea_output = 'escape';
SELECT '244f4b0d'::at402_frame, '244f4b0d'::at402_frame::text, '244f4b0d'::at402_frame::bytea;
ROLLBACK;

-- all forms of frame
SELECT form, length(bytes::at402_frame::bytea), bytes::at402_frame::bytea = bytes AS same
FROM (VALUES
	('login', '\x2441535452413b0d0a'::bytea),
	('text, CR', '$DIST,OK'::bytea || '\x0d'),
	('text, LF', '$DIST,OK'::bytea || '\x0a'),
	('text, CR LF', '$DIST,OK'::bytea || '\x0d0a'),
	('text, empty', '\x240d'),
	('text, any bytes', '\x2400ff7f0d'),
	('text, longest', ('$' || repeat('x', 1022))::bytea || '\x0d'),
	('X, least', packet('X', '\x00')),
	('Y, least', packet('Y', '\x00')),
	('K, least', packet('K', '\x00000000000000')),
	('M, least', packet('M', '\x00000000000000')),
	('V, least', packet('V', '\x00000000000000')),
	('C, least', packet('C', '')),
	('Y, longest', packet('Y', decode(repeat('00', 65530), 'hex')))) AS v (form, bytes);

-- ---- what is refused, and what is said of it ----

\pset expanded on
SELECT what, e.*
FROM (VALUES
	(1, 'not hex', '58zz'),
	(2, 'not hex, from the start', 'hello'),
	(3, '\x twice', '\x\x58'),
	(4, 'not ASCII', '\x58é0'),
	(5, 'odd number of digits', '\x58001'),
	(6, 'empty', ''),
	(7, 'only \x', '\x'),
	(8, 'unknown letter', '\x5a00170105'),
	(9, 'lower-case letter', '\x78001701'),
	(10, 'zero', '\x00'),
	(11, 'length not there', '\x5800'),
	(12, 'length too small for X', '\x580005' || repeat('00', 5)),
	(13, 'length too small for K', '\x4b000b' || repeat('00', 8)),
	(14, 'length too small for C', '\x430004' || repeat('00', 5)),
	(15, 'cut', left('580017010500000000000053d3d49e0000000400010074', 40)),
	(16, 'wrong checksum', replace('580017010500000000000053d3d49e0000000400010074', '0074',
		'0075')),
	(17, 'checksum turned round', replace('580017010500000000000053d3d49e0000000400010074', '0074',
		'7400')),
	(18, 'bytes behind', '580017010500000000000053d3d49e0000000400010074' || '0d0a'),
	(19, 'two lines', '244f4b0d' || '244f4b0d'),
	(20, 'LF CR', '244f4b0a0d'),
	(21, 'line without end', '244f4b'),
	(22, 'endless line', '24' || repeat('78', 1024))) AS v (n, what, input),
	error_of(format('SELECT %L::at402_frame', input)) AS e
ORDER BY n;

-- the cast from bytea checks the same
SELECT e.* FROM error_of($$SELECT '\x5800170105'::bytea::at402_frame$$) AS e;
SELECT e.* FROM error_of($$SELECT ''::bytea::at402_frame$$) AS e;
\pset expanded off

-- ---- casts ----

CREATE TEMP TABLE t (n int, frame at402_frame, bytes bytea);
INSERT INTO t VALUES (1, x(1)::at402_frame, x(1)::at402_frame);	-- assignment
SELECT frame::bytea = bytes AND frame::bytea = x(1) AS same FROM t;
\set VERBOSITY terse
INSERT INTO t (frame) VALUES (x(1));	-- bytea to frame: only when written
SELECT length(frame) FROM t;					-- frame to bytea: not where a function wants one
SELECT frame = bytes FROM t;
\set VERBOSITY default

-- ---- binary form ----

INSERT INTO t SELECT 2, '2441535452413b0d0a';
INSERT INTO t SELECT 3, packet('Y', noise('binary', 65530))::at402_frame;
INSERT INTO t VALUES (4, NULL);
SELECT n, at402_internal.at402_frame_send(frame) = frame::bytea AS same FROM t ORDER BY n;
\copy (SELECT n, frame FROM t ORDER BY n) TO 'results/frame.binary' (FORMAT binary)
CREATE TEMP TABLE received (n int, frame at402_frame);
\copy received FROM 'results/frame.binary' (FORMAT binary)
SELECT n, t.frame = r.frame AS same, r.frame IS NULL AS is_null, length(r.frame::bytea)
FROM t FULL JOIN received AS r USING (n) ORDER BY n;
\copy (SELECT 5, '\x5800170105'::bytea) TO 'results/frame.binary' (FORMAT binary)
\copy received FROM 'results/frame.binary' (FORMAT binary)
\copy (SELECT 5, ''::bytea) TO 'results/frame.binary' (FORMAT binary)
\copy received FROM 'results/frame.binary' (FORMAT binary)

-- text form in COPY
\copy (SELECT n, frame FROM t ORDER BY n) TO 'results/frame.text'
TRUNCATE received;
\copy received FROM 'results/frame.text'
SELECT n, t.frame = r.frame AS same, r.frame IS NULL AS is_null
FROM t FULL JOIN received AS r USING (n) ORDER BY n;

-- ---- order, equality, hash ----

-- as the bytes: each of the operators agrees with bytea's on every pair
CREATE TEMP TABLE sample AS
	SELECT b::at402_frame AS f, b FROM unnest(ARRAY[x(1), x(2), x(255),
		packet('X', '\x00'), packet('Y', '\x00'), '\x240d', '\x240d0a', '\x24ff0a',
		packet('Y', noise('order', 5000))]) AS b;
SELECT count(*) AS pairs,
	count(*) FILTER (WHERE (x.f = y.f) <> (x.b = y.b)) AS eq,
	count(*) FILTER (WHERE (x.f <> y.f) <> (x.b <> y.b)) AS ne,
	count(*) FILTER (WHERE (x.f < y.f) <> (x.b < y.b)) AS lt,
	count(*) FILTER (WHERE (x.f <= y.f) <> (x.b <= y.b)) AS le,
	count(*) FILTER (WHERE (x.f > y.f) <> (x.b > y.b)) AS gt,
	count(*) FILTER (WHERE (x.f >= y.f) <> (x.b >= y.b)) AS ge,
	count(*) FILTER (WHERE sign(at402_internal.at402_frame_cmp(x.f, y.f)) <> sign(byteacmp(x.b, y.b))) AS cmp,
	count(*) FILTER (WHERE x.f = y.f AND at402_internal.at402_frame_hash(x.f) <> at402_internal.at402_frame_hash(y.f)) AS hash
FROM sample AS x, sample AS y;
SELECT left(f::text, 20) AS begins FROM sample ORDER BY f;

-- where NULLs stand, what is distinct
SELECT n, left(frame::text, 12) AS begins FROM t ORDER BY frame, n;
INSERT INTO t SELECT n + 10, frame FROM t;
SELECT count(*), count(frame), count(DISTINCT frame) FROM t;
SELECT count(*) FROM (SELECT frame FROM t GROUP BY frame) AS g;

CREATE TEMP TABLE many AS SELECT i AS n, packet('X', '\x01'
	|| number(i, 4))::at402_frame AS frame FROM generate_series(1, 2000) AS i;
ANALYZE many;
CREATE FUNCTION nodes(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line	text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		line := substring(line FROM '(Hash Join|Merge Join|HashAggregate|Index (?:Only )?Scan using \w+)');
		IF line IS NOT NULL THEN
			RETURN NEXT line;
		END IF;
	END LOOP;
END
$$;
-- by hash
BEGIN;
SET LOCAL enable_mergejoin = off;
SET LOCAL enable_nestloop = off;
SET LOCAL enable_sort = off;
SELECT nodes('SELECT FROM many AS a JOIN many AS b USING (frame)');
SELECT count(*) FROM many AS a JOIN many AS b USING (frame);
SELECT nodes('SELECT DISTINCT frame FROM many');
SELECT count(*) FROM (SELECT DISTINCT frame FROM (TABLE many UNION ALL TABLE many) AS u) AS d;
ROLLBACK;
-- by merging
BEGIN;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_nestloop = off;
SELECT nodes('SELECT FROM many AS a JOIN many AS b USING (frame)');
SELECT count(*) FROM many AS a JOIN many AS b USING (frame);
ROLLBACK;

-- indexes
CREATE INDEX many_btree ON many (frame);
CREATE INDEX many_hash ON many USING hash (frame);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT nodes($$SELECT FROM many WHERE frame < '2441535452413b0d0a'$$);
SELECT count(*) FROM many WHERE frame < '2441535452413b0d0a';
SELECT count(*) FROM many WHERE frame >= '2441535452413b0d0a';
SELECT n FROM many WHERE frame = packet('X', '\x01000007d0')::at402_frame;
DROP INDEX many_btree;
SELECT nodes($$SELECT FROM many WHERE frame = '2441535452413b0d0a'$$);
SELECT n FROM many WHERE frame = packet('X', '\x01000007d0')::at402_frame;
SELECT count(*) FROM many WHERE frame = '2441535452413b0d0a';
RESET enable_seqscan;
RESET enable_bitmapscan;
CREATE UNIQUE INDEX ON many (frame);
INSERT INTO many SELECT 0, frame FROM many WHERE n = 1 ON CONFLICT (frame) DO NOTHING;

-- hash partitions: the hash with a seed
CREATE TEMP TABLE parts (frame at402_frame) PARTITION BY HASH (frame);
CREATE TEMP TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TEMP TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parts SELECT frame FROM many;
SELECT count(*), count(DISTINCT tableoid), (SELECT count(*) FROM parts
	JOIN many USING (frame)) AS same
FROM parts;

-- ---- arrays, large frames ----

SELECT ARRAY['240d', NULL, '240a']::at402_frame[] AS a;
SELECT a[1], a[2] IS NULL AS is_null, '240a' = ANY (a) AS has, array_length(a, 1)
FROM (SELECT '{"\\x240d",NULL,240a}'::at402_frame[] AS a) AS s;
SELECT state, message FROM error_of($$SELECT '{240d,24}'::at402_frame[]$$);

CREATE TEMP TABLE large (n int, frame at402_frame);
INSERT INTO large VALUES
	(1, packet('Y', decode(repeat('00', 65530), 'hex'))::at402_frame),
	(2, packet('Y', noise('large', 65530))::at402_frame);
SELECT n, length(frame::bytea), length(frame::text), pg_column_size(frame) < 2000 AS compressed,
	frame::text::at402_frame = frame AS same, at402_decode(frame)->>'protocol' AS protocol
FROM large ORDER BY n;
SELECT pg_relation_size(reltoastrelid) > 65000 AS out_of_line FROM pg_class
WHERE oid = 'large'::regclass;
SELECT typname, typlen, typstorage, typcategory FROM pg_type WHERE typname = 'at402_frame';

-- ---- checksum ----

-- CRC-16/MODBUS: its published check value is 0x4B37
SELECT to_hex(at402_crc16('123456789')), at402_crc16(''), at402_crc16('\x00'), at402_crc16('\xff'),
	at402_crc16(NULL);
SELECT at402_crc16(substr(b, 1, length(b) - 2)) = get_byte(b, length(b) - 2) * 256 + get_byte(b,
	length(b) - 1) AS fits
FROM (SELECT x(5) AS b) AS p;

-- the checksum of more than is computed at once: with its own checksum behind, low byte first, it is 0
SELECT at402_crc16(m || decode(lpad(to_hex(((c & 255) << 8) | (c >> 8)), 4, '0'), 'hex')) AS zero
FROM (SELECT m, at402_crc16(m) AS c FROM decode(repeat('a1b2c3d4e5', 500000), 'hex') AS m) AS big;

DROP SCHEMA regress_at402 CASCADE;
