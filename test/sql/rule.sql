-- Rules look at what is stored: which rows raise alerts, when these end, whatever order reports come in.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/rule.sql'
\set ECHO none
\i :file
\set ECHO all

CREATE VIEW alerts AS
	SELECT a.rule_name, d.imei, to_char(a.time, 'HH24:MI:SS') AS at, to_char(a.ended_at, 'HH24:MI:SS') AS ended,
		substr(a.detail->>'since', 12, 8) AS since, a.part, a.message
	FROM at402.alert AS a JOIN at402.device AS d ON d.id = a.device_id ORDER BY 1, 2, 3, a.seq, a.n;
-- What replay says and the table does not, and the other way round
CREATE VIEW differences AS
	WITH live AS (
		SELECT device_id, time, seq, content_hash, rule_id, n, rule_name, part, ended_at, level, message, detail
		FROM at402.alert
	), replay AS (
		SELECT t.device_id, t.time, t.seq, t.content_hash, t.rule_id, t.n, t.rule_name, t.part, t.ended_at,
			t.level, t.message, t.detail
		FROM at402.rule AS r, at402_test_rule(r.name, '-infinity', 'infinity') AS t WHERE r.source <> 'state'
	)
	SELECT 'live' AS only_in, * FROM (SELECT * FROM live EXCEPT ALL SELECT * FROM replay) AS l
	UNION ALL SELECT 'replay', * FROM (SELECT * FROM replay EXCEPT ALL SELECT * FROM live) AS r;

-- ---- runs, and rows ----

BEGIN;
INSERT INTO at402.rule (name, source, condition, level, min_duration, cooldown, message) VALUES
	('1 fast', 'position', 'r.speed_kmh > 90', 'warning', NULL, NULL, '{speed_kmh} km/h by {d.imei} ({gnss_valid})'),
	('2 fast for 2 min', 'position', 'r.speed_kmh > 90', 'critical', '2 min', NULL, 'constant'),
	('3 fast, rarely', 'position', 'r.speed_kmh > 90', 'info', NULL, '5 min', NULL),
	('4 event', 'event', $$r.kind IN ('panic', 'towing')$$, 'info', NULL, NULL, '{kind} at {p.speed_kmh} km/h'),
	('5 faster', 'position', 'r.speed_kmh > b.speed_kmh + 50', 'info', NULL, NULL, NULL),
	('6 unknown', 'position', 'r.hdop > 1 OR NULL', 'info', NULL, NULL, NULL);
-- one by one, two of a second, and several together: it makes no difference
SELECT send(:a, report('08:00:00', 50), report('08:01:00', 100)),
	send(:a, report('08:02:00', 110)),
	send(:a, report('08:03:00', 120, 'panic')),
	send(:a, report('08:03:00', 120, 'towing tamper', seq => 2)),
	send(:a, report('08:04:00', 90), report('08:05:00', 92), report('08:06:00', 0, 'panic towing'));
SELECT send(:a, report('08:07:00', 100), report('08:08:00', 100)), send(:b, report('08:00:00', 100));
SELECT * FROM alerts;
SELECT * FROM differences;
SELECT rule_id - min(rule_id) OVER () AS rule, since, decided, alert_time FROM at402.rule_run ORDER BY device_id, rule_id;
-- the alert of a row that satisfies no rule any more
SELECT send(:a, report('08:09:00', 0)), send(:b, report('08:01:00', 0));
SELECT count(*) FROM at402.rule_run;
SELECT * FROM differences;
ROLLBACK;

-- ---- late ----

-- a run is extended to the front, split, and ended earlier; nothing is withdrawn, nothing is raised twice
BEGIN;
INSERT INTO at402.rule (name, source, condition, level, min_duration) VALUES
	('1 fast', 'position', 'r.speed_kmh > 90', 'warning', NULL),
	('2 fast for 2 min', 'position', 'r.speed_kmh > 90', 'critical', '2 min');
SELECT send(:a, report('08:10:00', 100)), send(:a, report('08:11:00', 100)), send(:a, report('08:12:00', 100)),
	send(:a, report('08:15:00', 100)), send(:a, report('08:20:00', 0));
SELECT * FROM alerts;
SELECT send(:a, report('08:09:00', 100));
SELECT * FROM alerts;
SELECT send(:a, report('08:13:00', 0));
SELECT * FROM alerts;
SELECT send(:a, report('08:18:00', 100)), send(:a, report('08:19:00', 20)), send(:a, report('08:05:00', 100));
SELECT * FROM alerts;
-- into the run that is on
SELECT send(:a, report('08:30:00', 100)), send(:a, report('08:40:00', 100));
SELECT send(:a, report('08:35:00', 0));
SELECT * FROM alerts WHERE at >= '08:30';
SELECT send(:a, report('08:41:00', 0));
SELECT * FROM alerts WHERE at >= '08:30';
SELECT count(*) FROM at402.rule_run;
-- the alert of a run was raised by a row that is not its first: what comes before the cut raises one
SELECT send(:a, report('08:55:00', 100)), send(:a, report('08:50:00', 100)), send(:a, report('08:59:00', 0)),
	send(:a, report('08:52:00', 0));
SELECT * FROM alerts WHERE at >= '08:50';
-- sent again
SELECT send(:a, report('08:35:00', 0), report('08:40:00', 100), report('08:41:00', 0));
SELECT count(*) FROM alerts;
ROLLBACK;

-- b of the row that comes next is another one now
BEGIN;
INSERT INTO at402.rule (name, source, condition, level) VALUES
	('faster', 'position', 'r.speed_kmh > b.speed_kmh + 50', 'info'),
	('again', 'event', 'b.time > r.time - interval ''1 min''', 'info');
SELECT send(:a, report('08:00:00', 60, 'panic')), send(:a, report('08:02:00', 100, 'panic')),
	send(:a, report('08:03:00', 0));
SELECT * FROM alerts;
SELECT send(:a, report('08:01:30', 10, 'panic'), report('07:00:00', 0));
SELECT * FROM alerts;
ROLLBACK;

-- what a late report leaves behind it of a run is still within the cooldown
BEGIN;
INSERT INTO at402.rule (name, source, condition, level, cooldown) VALUES
	('fast, rarely', 'position', 'r.speed_kmh > 90', 'info', '5 min');
SELECT send(:a, report('08:00:00', 100)), send(:a, report('08:02:00', 100)), send(:a, report('08:03:00', 0));
SELECT send(:a, report('08:01:00', 0));
SELECT * FROM alerts;
SELECT * FROM differences;
ROLLBACK;

-- too old
BEGIN;
SET LOCAL at402.alert_max_age = '1 min';
INSERT INTO at402.rule (name, source, condition, level) VALUES
	('fast', 'position', 'r.speed_kmh > 90', 'warning'), ('panic', 'event', $$r.kind = 'panic'$$, 'critical');
SELECT send(:a, report('08:00:00', 100, 'panic')), send(:a, report('08:01:00', 0));
SELECT count(*) FROM at402.alert;
SELECT rule_name, to_char(time, 'HH24:MI') AS at, to_char(ended_at, 'HH24:MI') AS ended
	FROM at402_test_rule('fast', '2026-03-02', '2026-03-03');
ROLLBACK;

-- ---- rules that change ----

BEGIN;
INSERT INTO at402.rule (name, source, condition, level, min_duration)
	VALUES ('fast', 'position', 'r.speed_kmh > 90', 'warning', '1 min');
SELECT send(:a, report('08:00:00', 50)), send(:a, report('08:01:00', 95));
UPDATE at402.rule SET enabled = false;
SELECT send(:a, report('08:02:00', 50)), send(:a, report('08:03:00', 95));
UPDATE at402.rule SET enabled = true;
-- it has been fast since 08:03, not since 08:01
SELECT send(:a, report('08:03:30', 95));
SELECT * FROM alerts;
SELECT send(:a, report('08:04:00', 95));
SELECT * FROM alerts;
-- the run goes on for the new condition, and its end is seen
UPDATE at402.rule SET condition = 'r.speed_kmh > 70';
SELECT send(:a, report('08:05:00', 75)), send(:a, report('08:06:00', 60));
SELECT * FROM alerts;
DELETE FROM at402.rule;
SELECT send(:a, report('08:07:00', 100)), count(*) FROM at402.alert;
ROLLBACK;

-- a rule that is rolled back was never there
BEGIN;
SAVEPOINT s;
INSERT INTO at402.rule (name, source, condition, level) VALUES ('all', 'position', 'true', 'info');
SELECT send(:a, report('08:00:00', 50));
SELECT count(*) FROM at402.alert;
ROLLBACK TO s;
SELECT send(:a, report('08:00:00', 50));
SELECT count(*) FROM at402.alert;
ROLLBACK;

-- ---- a rule that fails ----

BEGIN;
CREATE FUNCTION picky(v int) RETURNS bool LANGUAGE plpgsql AS
	$$ BEGIN IF v > 200 THEN RAISE 'too fast for me: %', v; END IF; RETURN true; END $$;
INSERT INTO at402.rule (name, source, condition, level) VALUES
	('1 good', 'position', 'r.speed_kmh > 90', 'info'),
	('2 picky', 'position', 'picky(r.speed_kmh)', 'info'),
	('3 zero', 'position', '100 / r.speed_kmh = 1', 'info'),
	('4 good', 'position', 'r.speed_kmh > 90', 'info');
SELECT send(:a, report('08:00:00', 100)), send(:b, report('08:00:00', 100)), send(:a, report('08:01:00', 210)),
	send(:a, report('08:02:00', 0));
SELECT * FROM alerts;
SELECT name, enabled, failures, last_error FROM at402.rule ORDER BY name;
-- nine more
SELECT sum(send(:a, report('08:03:' || to_char(n, 'FM00'), 0))) FROM generate_series(1, 8) AS n;
SELECT name, enabled, failures FROM at402.rule WHERE name = '3 zero';
SELECT send(:a, report('08:03:50', 0));
SELECT name, enabled, failures, last_error FROM at402.rule WHERE name = '3 zero';
SELECT send(:a, report('08:03:51', 0));
SELECT name, enabled, failures, last_error FROM at402.rule WHERE name = '3 zero';
UPDATE at402.rule SET enabled = true WHERE name = '3 zero' RETURNING failures, last_error;
ROLLBACK;

-- what it calls is gone: the others go on
BEGIN;
CREATE FUNCTION mine(v int) RETURNS bool LANGUAGE sql AS 'SELECT v > 90';
INSERT INTO at402.rule (name, source, condition, level) VALUES
	('1 good', 'position', 'r.speed_kmh > 90', 'info'), ('2 mine', 'position', 'mine(r.speed_kmh)', 'info');
SELECT send(:a, report('08:00:00', 100)), send(:a, report('08:01:00', 0));
DROP FUNCTION mine(int);
SELECT send(:a, report('08:02:00', 100)), send(:a, report('08:03:00', 0));
SELECT * FROM alerts;
SELECT name, failures, last_error FROM at402.rule ORDER BY name;
-- made anew, but it is no condition; then one that raises what a timeout raises
CREATE FUNCTION mine(speed int) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN ''false''; END';
SELECT send(:a, report('08:04:00', 100)), send(:a, report('08:05:00', 0));
SELECT * FROM alerts WHERE at > '08:03:00';
SELECT name, failures, last_error FROM at402.rule ORDER BY name;
DROP FUNCTION mine(int);
CREATE FUNCTION mine(speed int) RETURNS bool LANGUAGE plpgsql AS
	$$ BEGIN RAISE 'no timeout' USING ERRCODE = 'query_canceled'; END $$;
SELECT send(:a, report('08:06:00', 100)), send(:a, report('08:07:00', 0));
SELECT * FROM alerts WHERE at > '08:05:00';
SELECT name, failures, last_error FROM at402.rule ORDER BY name;
-- a cancel by somebody else is not the rule's, and is not swallowed
SET LOCAL at402.rule_timeout = 0;
CREATE OR REPLACE FUNCTION mine(speed int) RETURNS bool LANGUAGE plpgsql SECURITY DEFINER AS
	$$ BEGIN PERFORM pg_cancel_backend(pg_backend_pid()); LOOP END LOOP; END $$;
SELECT send(:a, report('08:08:00', 100));
ROLLBACK;

-- a trigger on at402.alert counts against the rule whose alert it refuses
BEGIN;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF NEW.rule_name = '2 fast' THEN RAISE 'not this one' USING ERRCODE = TG_ARGV[0]; END IF;
	IF NEW.rule_name = '3 fast' THEN RETURN NULL; END IF;
	RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON at402.alert FOR EACH ROW EXECUTE FUNCTION refuse('P0001');
INSERT INTO at402.rule (name, source, condition, level, channels)
	SELECT n || ' fast', 'position', 'r.speed_kmh > 90', 'info', '{mail}' FROM generate_series(1, 4) AS n;
SELECT send(:a, report('08:00:00', 100)), send(:a, report('08:01:00', 0));
SELECT * FROM alerts;
SELECT name, failures, last_error FROM at402.rule ORDER BY name;
SELECT payload->>'rule' AS rule, payload->>'ended_at' AS ended FROM at402.outbox ORDER BY id;
SELECT count(*) FROM at402.position;
CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON at402.alert FOR EACH ROW EXECUTE FUNCTION refuse('57014');
SELECT send(:a, report('08:02:00', 100)), send(:a, report('08:03:00', 0));
SELECT rule_name, at FROM alerts WHERE at > '08:01:00';
SELECT name, failures, last_error FROM at402.rule ORDER BY name;
ROLLBACK;

-- ---- parts: each bus and each beacon has a run of its own ----

BEGIN;
INSERT INTO at402.rule (name, source, condition, level) VALUES
	('warm', 'ble', 'r.rssi_dbm > -50', 'info'), ('closer', 'ble', 'r.rssi_dbm > b.rssi_dbm', 'info');
CREATE FUNCTION heard(VARIADIC rssi int[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('beacons', jsonb_build_object('beacons', jsonb_agg(jsonb_build_object(
		'mac', '00:00:00:00:00:0' || n, 'rssi_dbm', r, 'companion', false, 'last_seen_s', 0, 'type', 0) ORDER BY n)))
	FROM unnest(rssi) WITH ORDINALITY AS u (r, n)
$$;
SELECT send(:a, report('08:00:00', 0, '', heard(-60, -40))), send(:a, report('08:01:00', 0, '', heard(-40, -45))),
	send(:a, report('08:02:00', 0, '', heard(-40, -60))), send(:a, report('08:03:00', 0, '', heard(-70, -30))),
	send(:a, report('08:04:00', 0, '', heard(-70, -70))), send(:a, report('08:05:00', 0, '', heard(-40, -40))),
	send(:a, report('08:06:00', 0, '', heard(-41, -70))), send(:a, report('08:07:00', 0, '', heard(-70, -70)));
SELECT * FROM alerts;
SELECT * FROM differences;
-- a cooldown counts over all of them, in the order of time
UPDATE at402.rule SET cooldown = '3 min';
SELECT send(:b, report('09:00:00', 0, '', heard(-60, -60)), report('09:01:00', 0, '', heard(-60, -40)),
		report('09:02:00', 0, '', heard(-40, -40)), report('09:03:00', 0, '', heard(-60, -60)),
		report('09:04:00', 0, '', heard(-40, -60)), report('09:05:00', 0, '', heard(-60, -40)));
SELECT send(:b, report('09:06:00', 0, '', heard(-60, -60))), send(:b, report('09:07:00', 0, '', heard(-60, -40)));
SELECT * FROM alerts WHERE at > '09';
SELECT * FROM differences WHERE device_id = (SELECT id FROM at402.device WHERE imei = :b);
ROLLBACK;

-- ---- the day live, and in replay ----

BEGIN;
INSERT INTO at402.rule (name, source, condition, level, min_duration, cooldown, message) VALUES
	('fast', 'position', 'r.speed_kmh > 90', 'warning', '30 s', '10 min', '{speed_kmh} at {time}'),
	('slower', 'position', 'r.speed_kmh < b.speed_kmh - 4', 'info', NULL, NULL, NULL),
	('events', 'event', 'r.kind <> ''distance''', 'info', NULL, '3 min', '{kind}'),
	('stands', 'position', 'r.speed_kmh < 5 AND p.gnss_valid', 'info', '1 min', NULL, '{d.imei}');
SELECT sum(send(imei, VARIADIC reports)) FROM (
	SELECT imei, n / size AS batch, array_agg(report(to_char('00:00'::time + n * interval '10 s', 'HH24:MI:SS'),
			(60 + 60 * sin(n / 11.0))::int / 2 * 2, CASE WHEN n % 17 = 0 THEN 'panic' WHEN n % 7 = 0 THEN 'tamper' ELSE '' END)
			ORDER BY n) AS reports
	FROM (VALUES (:a, 1), (:b, 20)) AS v (imei, size), generate_series(0, 499) AS n
	GROUP BY imei, n / size ORDER BY batch) AS batches;
SELECT rule_name, imei, count(*), count(ended) FROM alerts GROUP BY 1, 2 ORDER BY 1, 2;
SELECT * FROM differences;
ROLLBACK;

-- ---- trying ----

BEGIN;
SELECT send(:a, report('08:00:00', 100), report('08:01:00', 100), report('08:02:00', 0), report('08:03:00', 100));
SELECT to_char(time, 'HH24:MI') AS at, to_char(ended_at, 'HH24:MI') AS ended, rule_name, message, ST_AsText(geom)
	FROM at402_test_rule('position', 'r.speed_kmh > 90', '2026-03-02', '2026-03-03');
-- a run that began before is none of the span, and an end behind it is seen
SELECT to_char(time, 'HH24:MI') AS at, to_char(ended_at, 'HH24:MI') AS ended
	FROM at402_test_rule('position', 'r.speed_kmh > 90', '2026-03-02 08:01+00', '2026-03-03');
SELECT to_char(time, 'HH24:MI') AS at, to_char(ended_at, 'HH24:MI') AS ended
	FROM at402_test_rule('position', 'r.speed_kmh > 90', '2026-03-02 08:00+00', '2026-03-02 08:01+00');
SELECT count(*) FROM at402_test_rule('position', 'true', '2026-03-03', 'infinity');
SAVEPOINT s;
SELECT * FROM at402_test_rule('state', 'true', '-infinity', 'infinity');
ROLLBACK TO s;
SELECT * FROM at402_test_rule('position', 'r.speed_kmh >', '-infinity', 'infinity');
ROLLBACK TO s;
SELECT * FROM at402_test_rule('no such rule', '-infinity', 'infinity');
ROLLBACK TO s;
CREATE FUNCTION writes(int) RETURNS bool LANGUAGE plpgsql AS
	$$ BEGIN DELETE FROM at402.position; RETURN true; END $$;
SELECT * FROM at402_test_rule('position', 'writes(r.speed_kmh)', '-infinity', 'infinity');
ROLLBACK TO s;
SELECT * FROM at402_test_rule('position', '1 / (r.speed_kmh - 100) = 1', '-infinity', 'infinity');
ROLLBACK;

DROP VIEW alerts, differences;
DROP FUNCTION report, send;
