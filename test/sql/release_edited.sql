-- at402_release after the user has edited the quarantine, at its limit, in transactions and by others.
-- Each part is rolled back, so that none depends on another.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/release.sql'
\set ECHO none
\i :file
\set ECHO all

-- ---- what a user has mended ----

BEGIN;
-- a packet of nobody: the user knows whose it is
SELECT quarantined FROM at402_ingest(ARRAY[x(NULL, x_report(1))]);
-- a packet after a login with an IMEI that cannot be
SELECT quarantined FROM at402_ingest(ARRAY[text_line('$ASTRA;AT402;490154203237519;;7;X;1'),
	x(NULL, x_report(2))]);
-- a packet with another IMEI than the login's: which of them is right?
SELECT quarantined FROM at402_ingest(ARRAY[x(:b, x_report(3)), x(:b, x_report(4))], imei => :c);
-- a packet with an IMEI that cannot be: it stands in the bytes
SELECT quarantined FROM at402_ingest(ARRAY[x('352099001761480', x_report(5))]);
SELECT imei, logged_in, report_no, reason, message FROM quarantined;
SELECT * FROM at402_release();
-- the sender alone, without logged_in, says nothing: such a packet has its sender in itself
UPDATE at402.quarantine SET imei = :a WHERE imei IS NULL AND reason = 'unknown_sender';
SELECT * FROM at402_release(reason => 'unknown_sender');
UPDATE at402.quarantine SET logged_in = true WHERE reason = 'unknown_sender';
SELECT * FROM at402_release(reason => 'unknown_sender');
UPDATE at402.quarantine SET imei = :a WHERE reason = 'impossible_imei' AND logged_in;
SELECT * FROM at402_release(imei => :a);
UPDATE at402.quarantine SET imei = :b WHERE reason = 'other_imei'
	AND bytes = x(:b, x_report(3))::bytea;
UPDATE at402.quarantine SET logged_in = false WHERE bytes = x(:b, x_report(4))::bytea;
SELECT * FROM at402_release(reason => 'other_imei');
UPDATE at402.quarantine SET bytes = at402_encode(at402_decode(bytes::at402_frame)
	|| jsonb_build_object('imei', :b)) WHERE bytes = x('352099001761480', x_report(5))::bytea;
SELECT * FROM at402_release(reason => 'impossible_imei');
SELECT imei, seq FROM reports ORDER BY seq;
-- the login line is left
SELECT imei, encode(bytes, 'escape') AS line FROM at402.quarantine;
UPDATE at402.quarantine SET bytes = text_line('$ASTRA;AT402;490154203237518;;7;X;1');
SELECT * FROM at402_release();
SELECT imei, model FROM at402.device ORDER BY imei;
SELECT count(*) FROM at402.quarantine;
ROLLBACK;

BEGIN;
-- what somebody else put there: no frame, no sender
INSERT INTO at402.quarantine (reason, bytes, imei, logged_in) VALUES
	('mine', '\x', NULL, false),
	('mine', '\x5800170105', NULL, false),						-- cut
	('mine', x(:a, x_report(1))::bytea || '\x00', NULL, false),	-- a byte too many
	('mine', x(NULL, x_report(2)), NULL, true),
	('mine', x(NULL, x_report(3)), 'me', true),
	('mine', x(:a, x_report(4)), NULL, false);
SELECT * FROM at402_release();
SELECT length(bytes) AS bytes, imei, logged_in FROM at402.quarantine ORDER BY id;
SELECT imei, seq FROM reports;
ROLLBACK;

-- ---- Z ----

BEGIN;
-- the letter of the login is kept beside the packet: as X it could not be read
INSERT INTO unwelcome VALUES (1);
SELECT x(NULL, x_report(1, mask => '40000002', modules => gnss(52.5, -1.25, 60) || '\x2a'))
	AS z \gset
SELECT at402_decode(:'z')->'error' AS as_x;
SELECT quarantined FROM at402_ingest(ARRAY[text_line('$ASTRA;AT402;490154203237518;;7;Z;1'), :'z']);
SELECT imei, logged_in, protocol, reason FROM quarantined;
DELETE FROM unwelcome;
SELECT * FROM at402_release();
SELECT imei, seq, speed_kmh FROM reports;
SELECT name, data FROM at402.module;
SELECT protocol FROM at402.device;
ROLLBACK;
BEGIN;
-- undecodable as X: the user says that it is Z
SELECT quarantined FROM at402_ingest(ARRAY[:'z']::at402_frame[], imei => :a);
SELECT imei, logged_in, protocol, reason FROM quarantined;
SELECT * FROM at402_release();
UPDATE at402.quarantine SET protocol = 'Z';
SELECT * FROM at402_release();
SELECT imei, seq, speed_kmh FROM reports;
ROLLBACK;

-- ---- limit of the quarantine ----

BEGIN;
SET LOCAL at402.unknown_devices = 'quarantine';
SELECT quarantined FROM at402_ingest(ARRAY(
	SELECT y(:a, y_report(i)) FROM generate_series(1, 3) AS i));
SELECT quarantined FROM at402_ingest(ARRAY(
	SELECT packet('C', noise('limit' || i, 60000))::at402_frame FROM generate_series(1, 20) AS i));
-- it is full: what would go there is refused with an error, so that nothing seems to be kept
SET LOCAL at402.quarantine_limit = '1MB';
SELECT * FROM error_of(format('SELECT at402_ingest(ARRAY[x(%L, x_report(1))])', :b));
-- trying again puts nothing there, and is the way out
SELECT * FROM at402_release();
INSERT INTO at402.device (imei) VALUES (:a);
SELECT * FROM at402_release();
SELECT array_agg(seq ORDER BY seq) FROM reports;
SELECT count(*) FROM at402.quarantine;
SET LOCAL at402.quarantine_limit = '1GB';
SELECT quarantined FROM at402_ingest(ARRAY[x(:b, x_report(1))]);
SET LOCAL at402.quarantine_limit = 0;
SELECT quarantined FROM at402_ingest(ARRAY[x(:b, x_report(2))]);
ROLLBACK;

-- ---- in transactions, and by others ----

BEGIN;
INSERT INTO unwelcome VALUES (1), (2);
SELECT quarantined FROM at402_ingest(ARRAY[x(:a, x_report(1)), x(:b, x_report(2))]);
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT * FROM at402.quarantine;
DELETE FROM unwelcome;
-- taken back: all is in quarantine again, as it was
SAVEPOINT s;
SELECT * FROM at402_release();
SELECT count(*) FROM at402.quarantine;
ROLLBACK TO s;
SELECT count(*) AS as_before FROM (TABLE before INTERSECT TABLE at402.quarantine) AS b;
SELECT count(*) FROM reports;
-- and once more
SELECT * FROM at402_release();
SELECT imei, seq FROM reports ORDER BY seq;
ROLLBACK;
SELECT count(*) FROM at402.quarantine;
SELECT count(*) FROM at402.position;

BEGIN;
-- by a role that may not delete: nothing is stored that then would be there and in quarantine
INSERT INTO unwelcome VALUES (1);
SELECT quarantined FROM at402_ingest(ARRAY[x(:a, x_report(1))]);
DELETE FROM unwelcome;
CREATE ROLE regress_release;
GRANT USAGE ON SCHEMA at402 TO regress_release;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA at402 TO regress_release;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA at402 TO regress_release;
GRANT SELECT ON unwelcome TO regress_release;
SET LOCAL ROLE regress_release;
SELECT e.state, e.message FROM error_of('SELECT * FROM at402_release()') AS e;
RESET ROLE;
SELECT count(*) FROM at402.quarantine;
SELECT count(*) FROM reports;
GRANT DELETE ON at402.quarantine TO regress_release;
SET LOCAL ROLE regress_release;
SELECT * FROM at402_release();
RESET ROLE;
SELECT count(*) FROM at402.quarantine;
SELECT count(*) FROM reports;
ROLLBACK;

DROP SCHEMA at402, regress_at402 CASCADE;
