-- at402_release: what is in quarantine is tried again; what is stored then leaves it, what is not
-- stays.  Each part is rolled back, so that none depends on another.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/release.sql'
\set ECHO none
\i :file
\set ECHO all

-- an empty quarantine
SELECT * FROM at402_release();

-- ---- which of them ----

BEGIN;
SET LOCAL at402.unknown_devices = 'quarantine';
SELECT quarantined FROM at402_ingest(ARRAY[x(:a, x_report(1)), x(:b, x_report(2))],
	received_at => '2026-01-01 00:00+00');
SELECT quarantined FROM at402_ingest(ARRAY[x(:a, x_report(3)), packet('X', '\x00')::at402_frame],
	imei => :a, received_at => '2026-01-02 00:00+00');
SELECT quarantined FROM at402_ingest(ARRAY[x('000000000000001', x_report(4)),
	x(NULL, x_report(5)), x(:c, x_report(6))], received_at => '2026-01-03 00:00+00');
SELECT received_on, imei, reason, message FROM quarantined;

-- nothing is different yet: all are tried, none is stored, none is there twice
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT * FROM at402.quarantine;
SELECT * FROM at402_release();
SELECT count(*) AS as_before FROM (TABLE before INTERSECT TABLE at402.quarantine) AS b;
SELECT count(*) AS there FROM at402.quarantine;
SELECT count(*) AS stored FROM at402.position;

-- a span: its begin belongs to it, its end does not
SELECT n, r.*
FROM (VALUES (1, '2026-01-01 00:00+00'::timestamptz, '2026-01-02 00:00+00'::timestamptz),
	(2, '2026-01-01 00:00:01+00', '2026-01-03 00:00+00'),
	(3, '2026-01-02 00:00+00', 'infinity'),
	(4, '-infinity', '2026-01-01 00:00+00'),
	(5, '2026-01-04 00:00+00', '2026-01-01 00:00+00')) AS v (n, since, until),
	at402_release(since, until) AS r
ORDER BY n;
-- a sender, a reason, all at once
SELECT * FROM at402_release(imei => :a);
SELECT * FROM at402_release(imei => '000000000000000');
SELECT * FROM at402_release(reason => 'unknown_device');
SELECT * FROM at402_release(reason => 'no_reports');
SELECT * FROM at402_release(reason => 'no such reason');
SELECT * FROM at402_release('2026-01-01 00:00+00', '2026-01-02 00:00+00', :b, 'unknown_device');
SELECT * FROM at402_release(since => '2026-01-02 00:00+00', imei => :b);

-- a device that was registered since: its frames are stored as if they came when they came
INSERT INTO at402.device (imei) VALUES (:a), (:b);
SELECT * FROM at402_release(until => '2026-01-02 00:00+00', imei => :a);
SELECT imei, seq, received_at FROM reports ORDER BY seq;
SELECT received_on, imei, reason FROM quarantined;
SELECT * FROM at402_release();
SELECT imei, seq, received_at FROM reports ORDER BY seq;
SELECT received_on, imei, reason FROM quarantined;
-- strangers are registered now
SET LOCAL at402.unknown_devices = 'register';
SELECT * FROM at402_release(reason => 'unknown_device');
SELECT imei, first_seen FROM at402.device WHERE imei = :c;
-- or ignored: that does not take what was quarantined away
SET LOCAL at402.unknown_devices = 'quarantine';
SELECT quarantined FROM at402_ingest(ARRAY[x('860873045366969', x_report(7))]);
SET LOCAL at402.unknown_devices = 'ignore';
SELECT * FROM at402_release(reason => 'unknown_device');
SELECT count(*) FROM at402.quarantine WHERE reason = 'unknown_device';
ROLLBACK;

-- ---- a device that was disabled ----

BEGIN;
INSERT INTO at402.device (imei, enabled) VALUES (:a, false);
SELECT quarantined FROM at402_ingest(ARRAY[x(:a, x_report(1), x_report(2)),
	text_line('$DIST,OK'), text_line('$ASTRA;AT402;490154203237518;;7.0.70.3;X;1')], imei => :a,
	received_at => '2026-01-01 00:00+00', peer => '192.0.2.7', transport => 'udp');
SELECT imei, report_no, reason FROM quarantined;
SELECT * FROM at402_release();
UPDATE at402.device SET enabled = true;
SELECT * FROM at402_release();
SELECT imei, seq FROM reports ORDER BY seq;
SELECT received_at, transport, peer, encode(frame::bytea, 'escape') LIKE '$%' AS text
FROM at402.frame ORDER BY text;
SELECT model, firmware FROM at402.device;
SELECT count(*) FROM at402.quarantine;
-- the same released again: nothing to do
SELECT * FROM at402_release();
ROLLBACK;

-- ---- a trigger that was mended ----

SELECT x(:a, VARIADIC array_agg(x_report(i, '2026-01-01 10:00+00'::timestamptz + i * interval '1 s',
	4, 1, '2', gnss(50 + i, i)) ORDER BY i)) AS eight
FROM generate_series(1, 8) AS i \gset

BEGIN;
-- one frame, a row for each of its reports that was kept out
INSERT INTO unwelcome VALUES (3), (6);
SELECT * FROM at402_ingest(ARRAY[:'eight']::at402_frame[], received_at => '2026-01-02 00:00+00');
SELECT report_no, report_nos, reason, sqlstate, message FROM quarantined;
SELECT * FROM at402_release();
SELECT report_nos FROM quarantined;
-- half mended: what can be stored is, and the frame stays until all of it is
DELETE FROM unwelcome WHERE seq = 3;
SELECT * FROM at402_release();
SELECT array_agg(seq ORDER BY seq) FROM reports;
SELECT count(*) FROM at402.quarantine WHERE 5 = ANY (report_nos);
DELETE FROM unwelcome;
SELECT * FROM at402_release();
SELECT array_agg(seq ORDER BY seq) FROM reports;
SELECT count(*) FROM at402.quarantine;
-- all that follows from a report is there, once; the frame too
SELECT seq, kind FROM at402.event WHERE seq IN (3, 6) ORDER BY seq, n;
SELECT DISTINCT received_at FROM reports;
SELECT count(DISTINCT frame) AS frames, count(*) > 0 AS any FROM at402.frame;
ROLLBACK;

BEGIN;
-- several frames, of several devices; some fail again
INSERT INTO unwelcome SELECT generate_series(1, 9);
SELECT * FROM at402_ingest(ARRAY[:'eight', x(:b, x_report(9)), x(:c, x_report(1), x_report(10)),
	x(:c, x_report(11))]::at402_frame[]);
SELECT imei, count(*) AS kept_out FROM quarantined GROUP BY imei ORDER BY imei;
DELETE FROM unwelcome WHERE seq <> 9;
SELECT * FROM at402_release();
SELECT imei, report_no, message FROM quarantined;
SELECT imei, array_agg(seq ORDER BY seq) AS seqs FROM reports GROUP BY imei ORDER BY imei;
ROLLBACK;

BEGIN;
-- the same frame quarantined twice, as it came twice
INSERT INTO unwelcome VALUES (1);
SELECT quarantined FROM at402_ingest(ARRAY[x(:a, x_report(1))],
	received_at => '2026-01-01 00:00+00');
SELECT quarantined FROM at402_ingest(ARRAY[x(:a, x_report(1))],
	received_at => '2026-01-02 00:00+00');
-- and its report in another frame, sent from memory
SELECT quarantined FROM at402_ingest(ARRAY[x(:a, x_report(2), x_report(1, status => 33))],
	received_at => '2026-01-03 00:00+00');
SELECT received_on, report_no FROM quarantined;
-- it fails again: none of them was stored, so all of them stay
SELECT * FROM at402_release();
SELECT received_on, report_no FROM quarantined;
SELECT array_agg(seq ORDER BY seq) FROM reports;
-- it does not: it is stored once, and all of them leave
DELETE FROM unwelcome;
SELECT * FROM at402_release();
SELECT count(*) FROM at402.quarantine;
SELECT array_agg(seq ORDER BY seq) FROM reports;
ROLLBACK;

BEGIN;
-- stored in the meantime, by a repeat: there is nothing left to do but to leave
INSERT INTO unwelcome VALUES (1);
SELECT quarantined FROM at402_ingest(ARRAY[x(:a, x_report(1))]);
DELETE FROM unwelcome;
SELECT inserted FROM at402_ingest(ARRAY[x(:a, x_report(1))]);
SELECT * FROM at402_release();
SELECT count(*) FROM at402.quarantine;
SELECT count(*) FROM reports;
ROLLBACK;

BEGIN;
-- more than are tried at a time (500)
INSERT INTO unwelcome SELECT generate_series(0, 255);
SELECT quarantined FROM at402_ingest(ARRAY(SELECT x(:a, x_report(i % 256,
	'2026-01-01 10:00+00'::timestamptz + i * interval '1 s')) FROM generate_series(1, 1100) AS i));
DELETE FROM unwelcome WHERE seq <> 7;
SELECT * FROM at402_release();
SELECT count(*) AS stored FROM reports;
SELECT count(*) AS there, count(DISTINCT bytes) AS frames FROM at402.quarantine;
ROLLBACK;

BEGIN;
-- an error of the surroundings is no report's fault: nothing is changed
INSERT INTO unwelcome VALUES (2);
SELECT quarantined FROM at402_ingest(ARRAY[x(:a, x_report(1), x_report(2))]);
DROP TRIGGER refuse ON at402.position;
CREATE TRIGGER refuse BEFORE INSERT ON at402.position FOR EACH ROW EXECUTE FUNCTION refuse('53100');
SELECT e.state, e.message FROM error_of('SELECT * FROM at402_release()') AS e;
SELECT report_no, sqlstate FROM quarantined;
SELECT array_agg(seq ORDER BY seq) FROM reports;
ROLLBACK;

DROP SCHEMA at402, regress_at402 CASCADE;
