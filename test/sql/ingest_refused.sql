-- at402_ingest: what goes to quarantine, what refuses the whole batch, and who may call it.
-- Each part is rolled back, so that none depends on another.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/ingest.sql'
\set ECHO none
\i :file
\set ECHO all

-- ---- what goes to quarantine, and how it looks there ----

BEGIN;
INSERT INTO at402.device (imei, enabled) VALUES (:c, false);
CREATE TEMP TABLE bad ON COMMIT DROP AS SELECT * FROM (VALUES
	(1, 'disabled', x(:c, x_report(1))),
	(2, 'impossible IMEI', x('490154203237519', x_report(2))),
	(3, 'no sender', x(NULL, x_report(3))),
	(4, 'count 0', packet('X', '\x00')::at402_frame),
	(5, 'count 0, with IMEI', packet('Y', '\x00' || imei(:a))::at402_frame),
	(6, 'letter C', packet('C', '\x010203')::at402_frame),
	(7, 'undecodable', x(:a, x_report(7) || '\xabcdef')),
	(8, 'undecodable Y', y(:a, y_report(8, mask => '1', modules => '\x63'))),
	(9, 'undecodable K', packet('K', imei(:a) || '\x0102')::at402_frame),
	(10, 'login, impossible IMEI', text_line('$ASTRA;AT402;490154203237519;;7;X;1')),
	(11, 'packet after it', x(NULL, x_report(11))),
	(12, 'login without IMEI', text_line('$ASTRA;AT402')),
	(13, 'login', text_line('$ASTRA;AT402;' || :b || ';;7;X;1')),
	(14, 'other IMEI', x(:a, x_report(14))),
	(15, 'undecodable after login', x(NULL, x_report(15) || '\xabcdef')),
	(16, 'good', x(NULL, x_report(16))),
	(17, 'login, disabled', text_line('$ASTRA;AT402;' || :c || ';;8;X;1')),
	(18, 'login, not ASCII', text_line(U&'$ASTRA;AT402;49015420323751\00E9;;7;\00E9;1')),
	(19, 'packet after it', x(NULL, x_report(19)))
) AS v (n, what, frame);
SELECT * FROM at402_ingest((SELECT array_agg(frame ORDER BY n) FROM bad),
	received_at => '2026-01-02 03:04:05+00', peer => '192.0.2.7', transport => 'udp');
\pset expanded on
SELECT b.n, b.what, q.reason, q.imei, q.logged_in, q.protocol, q.report_no, q.sqlstate, q.message
FROM bad AS b LEFT JOIN at402.quarantine AS q ON q.bytes = b.frame::bytea ORDER BY b.n, q.id;
\pset expanded off
SELECT DISTINCT received_at, transport, peer FROM at402.quarantine;
-- the good ones were stored; nothing else was
SELECT imei, seq FROM reports;
SELECT imei, firmware FROM at402.device ORDER BY imei;
-- again: quarantine keeps what comes
SELECT * FROM at402_ingest((SELECT array_agg(frame ORDER BY n) FROM bad WHERE n < 10),
	received_at => '2026-01-02 03:04:05+00');
ROLLBACK;

-- a limit to it: an error, since what is not stored must not seem to be
BEGIN;
SET LOCAL at402.quarantine_limit = '1MB';
SELECT quarantined FROM at402_ingest(ARRAY(
	SELECT packet('C', noise('limit' || i, 60000))::at402_frame
	FROM generate_series(1, 20) AS i));
SELECT * FROM error_of($$SELECT at402_ingest(ARRAY['58000600e410']::at402_frame[])$$);
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1))]);
ROLLBACK;

-- ---- poison: a user's trigger stops one report, not the others ----

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.seq IN (3, 6) THEN
		RAISE EXCEPTION 'number % is not welcome', NEW.seq USING ERRCODE = TG_ARGV[0];
	END IF;
	RETURN NEW;
END
$$;

BEGIN;
CREATE TRIGGER refuse BEFORE INSERT ON at402.position FOR EACH ROW EXECUTE FUNCTION refuse('P0001');
SELECT x(:a, VARIADIC array_agg(x_report(i, '2026-01-01 10:00+00'::timestamptz + i * interval '1 s',
	4, 1, '2', gnss(50 + i, i)) ORDER BY i)) AS eight
FROM generate_series(1, 8) AS i \gset
SELECT * FROM at402_ingest(ARRAY[:'eight']::at402_frame[], received_at => '2026-01-02 03:04:05+00');
SELECT array_agg(seq ORDER BY seq) FROM at402.position;
SELECT array_agg(seq ORDER BY seq) FROM at402.event;
SELECT imei, report_no, report_nos, reason, sqlstate, message, bytes = :'eight' AS whole_frame FROM quarantined;
SELECT seq, at FROM state;
SELECT count(*) FROM at402.frame;
-- again, with the trigger mended: only what was missing
DROP TRIGGER refuse ON at402.position;
SELECT * FROM at402_ingest(ARRAY[:'eight']::at402_frame[]);
ROLLBACK;

BEGIN;
-- on a table that is written later: nothing of the report stays
CREATE TRIGGER refuse BEFORE INSERT ON at402.event FOR EACH ROW EXECUTE FUNCTION refuse('22012');
SELECT * FROM at402_ingest(ARRAY[:'eight']::at402_frame[]);
SELECT array_agg(seq ORDER BY seq) FROM at402.position;
SELECT report_no, report_nos, reason, sqlstate, message FROM quarantined;
ROLLBACK;

BEGIN;
-- constraints of the user
ALTER TABLE at402.position ADD CONSTRAINT slow CHECK (speed_kmh < 100);
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1, mask => '2', modules => gnss(1, 1, 98)),
	x_report(2, mask => '2', modules => gnss(1, 1, 100)))]);
SELECT report_no, report_nos, sqlstate, reason FROM quarantined;
ROLLBACK;

BEGIN;
-- a user's trigger that misses something of the user's
CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql
	AS 'BEGIN INSERT INTO no_such_table VALUES (1); RETURN NEW; END';
CREATE TRIGGER broken BEFORE INSERT ON at402.position FOR EACH ROW WHEN (NEW.seq = 2)
	EXECUTE FUNCTION broken();
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1), x_report(2))]);
SELECT report_no, report_nos, sqlstate, message FROM quarantined;
ROLLBACK;

BEGIN;
-- on device: all of that device, and nobody else's
CREATE FUNCTION stranger() RETURNS trigger LANGUAGE plpgsql
	AS 'BEGIN RAISE EXCEPTION ''no strangers''; END';
CREATE TRIGGER stranger BEFORE INSERT ON at402.device FOR EACH ROW
	WHEN (NEW.imei = '352099001761481') EXECUTE FUNCTION stranger();
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1)), x(:b, x_report(2), x_report(3)),
	x(:c, x_report(4))]);
SELECT imei, report_no, reason, sqlstate, message FROM quarantined;
SELECT imei, seq FROM reports ORDER BY 2;
ROLLBACK;

BEGIN;
-- a trigger that puts a row aside: not stored, no error, no rows that follow from it
CREATE FUNCTION aside() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER aside BEFORE INSERT ON at402.position FOR EACH ROW WHEN (NEW.seq = 2)
	EXECUTE FUNCTION aside();
SELECT reports, inserted, quarantined FROM at402_ingest(ARRAY[x(:a, x_report(1), x_report(2),
	x_report(3))]);
SELECT array_agg(seq ORDER BY seq) FROM at402.position;
SELECT array_agg(seq ORDER BY seq) FROM at402.event;
ROLLBACK;

-- the surroundings: an error, and nothing of the batch is stored
BEGIN;
CREATE TRIGGER refuse BEFORE INSERT ON at402.position FOR EACH ROW EXECUTE FUNCTION refuse('53100');
SELECT e.* FROM error_of(format('SELECT at402_ingest(ARRAY[%L]::at402_frame[])', :'eight')) AS e;
SELECT * FROM row_counts();
ROLLBACK;
BEGIN;
DROP TABLE at402.position_default;
SELECT e.state FROM error_of(format('SELECT at402_ingest(ARRAY[%L]::at402_frame[])',
	:'eight')) AS e;
SELECT * FROM row_counts();
ROLLBACK;
-- a column of ours that is missing, whoever calls
BEGIN;
ALTER TABLE at402.event RENAME COLUMN late TO mine;
SELECT e.state, e.message
FROM error_of(format('SELECT at402_ingest(ARRAY[%L]::at402_frame[])', :'eight')) AS e;
SELECT * FROM row_counts();
\set VERBOSITY sqlstate
SELECT * FROM at402_ingest(ARRAY[:'eight']::at402_frame[]);
\set VERBOSITY default
ROLLBACK;
BEGIN;
DROP SCHEMA at402 CASCADE;
SELECT e.* FROM error_of($$SELECT at402_ingest(ARRAY[x('490154203237518', x_report(1))])$$) AS e;
ROLLBACK;

-- ---- in transactions, triggers, and by others ----

BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1))]);
SAVEPOINT s;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(2)), x(:b, x_report(3))]);
ROLLBACK TO s;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(2))]);
SELECT imei, seq FROM reports ORDER BY seq;
ROLLBACK;
SELECT * FROM row_counts();

BEGIN;
-- a trigger that ingests while a batch is being stored
CREATE FUNCTION forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM at402_ingest(ARRAY[x('352099001761481', x_report(100 + NEW.seq))]);
	RETURN NEW;
END
$$;
CREATE TRIGGER forward AFTER INSERT ON at402.position FOR EACH ROW WHEN (NEW.seq < 100)
	EXECUTE FUNCTION forward();
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1), x_report(2))]);
SELECT imei, seq FROM reports ORDER BY seq;
SELECT imei, seq, kind FROM events ORDER BY seq;
SELECT count(*) FROM at402.frame;
ROLLBACK;

BEGIN;
-- by a role without rights, and with those of writing only
CREATE ROLE regress_plain;
SET LOCAL ROLE regress_plain;
SELECT e.state, e.message, e.hint LIKE 'Execute: GRANT % TO regress_plain;' AS hint
FROM error_of($$SELECT at402_ingest(ARRAY['24410d'::at402_frame])$$) AS e;
RESET ROLE;
GRANT USAGE ON SCHEMA at402 TO regress_plain;
SET LOCAL ROLE regress_plain;
SELECT e.state, e.message FROM error_of(
	$$SELECT at402_ingest(ARRAY['24410d'::at402_frame], '490154203237518')$$) AS e;
RESET ROLE;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA at402 TO regress_plain;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA at402 TO regress_plain;
SELECT x(:a, x_report(1, mask => '3', modules => '\x3d64'::bytea || gnss(52.5, -1.25))) AS one \gset
SET LOCAL ROLE regress_plain;
SELECT * FROM at402_ingest(ARRAY[:'one', '240d', '58000600e410']::at402_frame[]);
RESET ROLE;
SELECT * FROM row_counts();
ROLLBACK;

-- the sources of at402_ingest are of no use outside it
SELECT e.* FROM error_of('SELECT * FROM at402_internal.at402_batch_rows(1, ''io'') AS r(n smallint)') AS e;
SELECT e.* FROM error_of('SELECT * FROM at402_internal.at402_batch_rows(1, ''pg_class'') AS r(n int)') AS e;

DROP SCHEMA at402, regress_at402 CASCADE;
