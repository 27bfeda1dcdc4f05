-- Ready-made rules, each with what raises it; the outbox; acknowledging; rules of trips and states.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/rule.sql'
\set ECHO none
\i :file
\set ECHO all

SELECT count(*) FROM at402_standard_rules();
SELECT count(*) FROM at402_standard_rules();
SELECT name, source, enabled, level, min_duration, cooldown FROM at402.rule ORDER BY id;

CREATE FUNCTION report(clock text, words text, speed_kmh int DEFAULT 0, modules jsonb DEFAULT '{}', x float8 DEFAULT 1)
RETURNS jsonb LANGUAGE sql AS
	$$ SELECT report(clock, speed_kmh, words, modules, 1, x) $$;
CREATE FUNCTION power(volt numeric, percent int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('device_power', jsonb_build_object('external_voltage_v', volt, 'battery_level_percent', percent))
$$;
CREATE FUNCTION dtc(a text, b text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('obd_dtc', jsonb_build_object('dtc_1', a, 'dtc_2', b, 'dtc_3', '', 'dtc_4', '', 'dtc_5', ''))
$$;
CREATE FUNCTION bus(fuel int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT '{"fms_in_journey": {"max_wheel_speed_kmh": 0, "average_wheel_speed_kmh": 0, "max_engine_rpm": 0,
		"average_engine_rpm": 0, "max_accelerator_percent": 0, "average_accelerator_percent": 0,
		"max_engine_load_percent": 0, "average_engine_load_percent": 0, "journey_distance_km": 1,
		"engine_temperature_c": 20, "fms_status_mask": 0, "fms_events_mask": 0, "total_fuel_l": 100}}'::jsonb
		|| jsonb_build_object('fms_in_journey', '{"max_wheel_speed_kmh": 0, "average_wheel_speed_kmh": 0, "max_engine_rpm": 0,
		"average_engine_rpm": 0, "max_accelerator_percent": 0, "average_accelerator_percent": 0,
		"max_engine_load_percent": 0, "average_engine_load_percent": 0, "journey_distance_km": 1,
		"engine_temperature_c": 20, "fms_status_mask": 0, "fms_events_mask": 0, "total_fuel_l": 100}'::jsonb
		|| jsonb_build_object('fuel_level_raw', fuel))
$$;
CREATE FUNCTION stop(km int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('fms_journey_stop', jsonb_build_object('lifetime_odometer_km', 1000, 'lifetime_hours', 10,
		'axle_weight_kg', 0, 'journey_fuel_l', 1, 'cruise_control_time_s', 0, 'service_distance_km', km))
$$;
CREATE FUNCTION warm(c numeric) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('sensors', jsonb_build_object('sensors', jsonb_build_array(jsonb_build_object(
		'index', 0, 'type', 'temperature', 'valid', true, 'temperature_c', c))))
$$;
CREATE FUNCTION heard(seconds int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('beacons', jsonb_build_object('beacons', jsonb_build_array(jsonb_build_object(
		'mac', '00:00:00:00:00:01', 'rssi_dbm', -60, 'companion', true, 'last_seen_s', seconds, 'type', 0))))
$$;

UPDATE at402.rule SET enabled = true;
INSERT INTO at402.geofence (name, geom, speed_limit_kmh)
	VALUES ('yard', ST_MakeEnvelope(1.99, 51.99, 2.01, 52.01, 4326), 30);
-- nothing is wrong but a trouble code
SELECT send(:a, report('07:00:00', 'ignition', 50, power(12, 90) || bus(200) || dtc('P0101', '') || stop(5000) || warm(5) || heard(5)),
	report('07:00:30', 'ignition', 50, power(12, 90)));
SELECT count(*) FROM at402.alert;
-- and now everything is
SELECT send(:a, report('08:00:00', 'ignition panic towing collision tamper acceleration unauthorised_driver jammer', 140,
		power(3, 10) || dtc('P0101', 'P0202') || stop(300) || warm(9) || heard(700))),
	send(:a, report('08:00:30', 'ignition', 140, power(3, 10))),
	send(:a, report('08:01:00', 'ignition', 50, power(3, 10), 2)),
	send(:a, report('08:02:00', 'ignition', 0, power(3, 10), 2)),
	send(:a, report('08:10:00', 'ignition', 0, power(3, 10) || warm(10))),
	send(:a, report('08:12:00', 'ignition', 0, power(12, 90) || warm(10))),
	send(:a, report('08:13:00', '', 0, bus(100))),
	send(:a, report('23:00:00', 'ignition', 40, '{}', 2));
UPDATE at402.device_state SET last_seen = now() - interval '3 h';
SELECT count(*) >= 0 FROM at402_maintain();
SELECT r.name, count(a.*), min(to_char(a.time, 'HH24:MI:SS')) FILTER (WHERE a.seq >= 0) AS first,
	min(a.message) FILTER (WHERE a.seq >= 0 AND r.source <> 'event' OR r.source = 'state' AND r.name <> 'offline') AS message
FROM at402.rule AS r LEFT JOIN at402.alert AS a ON a.rule_id = r.id GROUP BY r.id ORDER BY r.id;
SELECT name, last_error FROM at402.rule WHERE failures > 0;

-- ---- states ----

-- the visit is long ago: it is now that counts; none while one is open, and it ends
SELECT count(*) >= 0 FROM at402_maintain();
SELECT rule_name, count(*), count(ended_at) FROM at402.alert WHERE seq = -1 AND rule_name IN ('offline', 'geofence dwell') GROUP BY 1 ORDER BY 1;
SELECT send(:a, report('23:01:00', 'ignition', 40, '{}', 1));
SELECT count(*) >= 0 FROM at402_maintain();
SELECT rule_name, count(*), count(ended_at) FROM at402.alert WHERE seq = -1 AND rule_name IN ('offline', 'geofence dwell') GROUP BY 1 ORDER BY 1;
-- min_duration by the clock
INSERT INTO at402.rule (name, source, condition, level, min_duration) VALUES ('on', 'state', 'r.ignition', 'info', '1 min');
SELECT count(*) >= 0 FROM at402_maintain();
SELECT count(*) FROM at402.alert WHERE rule_name = 'on';
UPDATE at402.rule_run SET since = since - interval '1 min' WHERE rule_id = (SELECT id FROM at402.rule WHERE name = 'on');
SELECT count(*) >= 0 FROM at402_maintain();
SELECT count(*), count(ended_at), bool_and(geom IS NOT NULL) FROM at402.alert WHERE rule_name = 'on';
DELETE FROM at402.rule WHERE name = 'on';
SELECT count(*) >= 0 FROM at402_maintain();
SELECT count(*) FROM at402.rule_run WHERE rule_id NOT IN (SELECT id FROM at402.rule);

-- ---- trips ----

INSERT INTO at402.rule (name, source, condition, level, message) VALUES
	('trip', 'trip', 'r.duration > interval ''1 min''', 'info', 'from {started_at}'),
	('short', 'trip', 'r.duration < interval ''1 min'' OR p.ignition', 'info', NULL);
SELECT count(*) >= 0 FROM at402_maintain();
SELECT rule_name, time, ended_at, seq, content_hash, message FROM at402.alert WHERE rule_name IN ('trip', 'short') ORDER BY 2;
-- once, and of those that end later
SELECT send(:a, report('23:02:00', '', 0));
SELECT count(*) >= 0 FROM at402_maintain();
SELECT count(*) >= 0 FROM at402_maintain();
SELECT rule_name, time, ended_at, seq, content_hash, message FROM at402.alert WHERE rule_name IN ('trip', 'short') ORDER BY 2;
SELECT time, message FROM at402_test_rule('trip', '-infinity', 'infinity');

-- ---- two events of a report are two alerts, delivered and seen each for itself ----

BEGIN;
INSERT INTO at402.rule (name, source, condition, level, message, channels) VALUES
	('both', 'event', 'r.kind IN (''panic'', ''towing'')', 'info', '{kind}', '{both}');
SELECT send(:a, report('23:00:00', 'panic towing'));
SELECT n, message FROM at402.alert WHERE rule_name = 'both' ORDER BY n;
SELECT payload->>'n' AS n, payload->>'message' AS message FROM at402_outbox_take('both', 9);
SELECT device_id, time, seq, content_hash, rule_id FROM at402.alert WHERE rule_name = 'both' LIMIT 1 \gset
SELECT at402_acknowledge(:device_id, :'time', :seq, :content_hash, :rule_id, 1);
SELECT n, acknowledged_at IS NOT NULL AS seen FROM at402.alert WHERE rule_name = 'both' ORDER BY n;
SELECT at402_acknowledge(:device_id, :'time', :seq, :content_hash, :rule_id);
SELECT count(*) FROM at402.alert WHERE rule_name = 'both' AND acknowledged_at IS NOT NULL;
ROLLBACK;

-- ---- what is there already is not delivered again; a rule of the user's on the table is followed ----

BEGIN;
INSERT INTO at402.rule (name, source, condition, level, channels) VALUES
	('again', 'event', 'r.kind = ''panic'' AND b.time IS DISTINCT FROM r.time', 'info', '{again}');
CREATE TABLE copied (n smallint);
GRANT INSERT ON copied TO PUBLIC;	-- the owner of the tables writes it
CREATE RULE also AS ON INSERT TO at402.alert WHERE NEW.rule_name = 'again' DO ALSO INSERT INTO copied VALUES (NEW.n);
SELECT send(:a, report('22:00:00', 'panic')), send(:a, report('22:10:00', 'panic')), send(:a, report('22:05:00', 'panic'));
SELECT (SELECT count(*) FROM at402.alert WHERE rule_name = 'again') AS alerts,
	(SELECT count(*) FROM at402.outbox WHERE channel = 'again') AS deliveries, (SELECT count(*) FROM copied) AS copied;
DROP RULE also ON at402.alert;
SELECT send(:a, report('22:07:00', 'panic'));
SELECT (SELECT count(*) FROM at402.alert WHERE rule_name = 'again') AS alerts,
	(SELECT count(*) FROM at402.outbox WHERE channel = 'again') AS deliveries, failures FROM at402.rule WHERE name = 'again';
ROLLBACK;

-- ---- seen ----

SELECT device_id, time, seq, content_hash, rule_id FROM at402.alert WHERE rule_name = 'panic' \gset
SELECT at402_acknowledge(:device_id, :'time', :seq, :content_hash, :rule_id), at402_acknowledge(1, :'time', 0, 0, 0);
SELECT at402_acknowledge(:device_id, :'time', :seq, :content_hash, :rule_id);
SELECT acknowledged_by = current_user AS by_me, acknowledged_at IS NOT NULL AS when FROM at402.alert WHERE rule_name = 'panic';

-- ---- the outbox ----

DELETE FROM at402.rule;
-- to each channel once
INSERT INTO at402.rule (name, source, condition, level, channels) VALUES
	('panic', 'event', 'r.kind = ''panic''', 'critical', '{mail,hook,mail,NULL}');
SELECT send(:a, report('23:10:00', 'panic')), send(:a, report('23:11:00', 'panic')), send(:a, report('23:12:00', 'panic'));
SELECT id - min(id) OVER () AS id, channel, payload->>'imei' AS imei, payload->>'rule' AS rule, payload->>'level' AS level,
	payload->>'time' AS time, payload->>'longitude' AS x, payload->>'latitude' AS y, state, attempts
	FROM at402.outbox ORDER BY id;
SELECT channel, payload->>'time' AS time, attempts FROM at402_outbox_take('hook', 2);
SELECT channel, payload->>'time' AS time, attempts FROM at402_outbox_take('hook', 9);
SELECT count(*) FROM at402_outbox_take('hook', 9);
SELECT count(*) FROM at402_outbox_take('sms', 9);
-- delivered, failed, and not heard of again
SELECT array_agg(id ORDER BY id) AS ids FROM at402.outbox WHERE channel = 'hook' \gset
SELECT at402_outbox_done((:'ids'::bigint[])[1]), at402_outbox_done((:'ids'::bigint[])[1]), at402_outbox_done(-1);
SELECT at402_outbox_failed((:'ids'::bigint[])[2], 'no answer'), at402_outbox_failed((:'ids'::bigint[])[1], 'no'),
	at402_outbox_failed((:'ids'::bigint[])[2], 'twice');
SELECT state, attempts, last_error, done_at IS NOT NULL AS done,
	round(extract(epoch FROM next_try - now())::numeric, -1) AS seconds FROM at402.outbox WHERE channel = 'hook' ORDER BY id;
UPDATE at402.outbox SET next_try = next_try - interval '6 min';
SELECT channel, payload->>'time' AS time, attempts FROM at402_outbox_take('hook', 9);
-- again and again
DO $$
DECLARE
	i bigint;
BEGIN
	FOR n IN 3 .. 10 LOOP
		UPDATE at402.outbox SET next_try = next_try - interval '2 h';
		FOR i IN SELECT id FROM at402_outbox_take('hook', 1) LOOP PERFORM at402_outbox_failed(i, 'error ' || n); END LOOP;
		PERFORM FROM at402_outbox_take('hook', 9);
	END LOOP;
	UPDATE at402.outbox SET next_try = next_try - interval '2 h';
END $$;
SELECT count(*) FROM at402_outbox_take('hook', 9);
SELECT state, attempts FROM at402.outbox WHERE channel = 'hook' ORDER BY id;
-- what was delivered is forgotten a day later
UPDATE at402.outbox SET done_at = done_at - interval '25 h';
SELECT count(*) >= 0 FROM at402_maintain();
SELECT channel, state, count(*) FROM at402.outbox GROUP BY 1, 2 ORDER BY 1, 2;

-- an alert that is not committed is not delivered
BEGIN;
SELECT send(:a, report('23:13:00', 'panic'));
ROLLBACK;
SELECT count(*) FROM at402.outbox;

-- ---- rules that are looked at no more ----

-- what they left open ends: of a rule that is switched off or deleted, and of one whose owner is no more,
-- which is switched off: whoever gets that name later is somebody else
CREATE ROLE regress_gone;
CREATE ROLE regress_stays;
SELECT tableowner AS owner FROM pg_tables WHERE schemaname = 'at402' AND tablename = 'rule' \gset
GRANT regress_gone, regress_stays TO :"owner";
GRANT USAGE ON SCHEMA at402 TO regress_gone, regress_stays;
GRANT SELECT ON at402.position, at402.device_state TO regress_gone, regress_stays;
GRANT SELECT, INSERT, UPDATE ON at402.rule TO regress_gone, regress_stays;
INSERT INTO at402.rule (name, source, condition, level) VALUES
	('off state', 'state', 'true', 'info'), ('off position', 'position', 'true', 'info'),
	('away state', 'state', 'true', 'info'), ('away position', 'position', 'true', 'info'),
	('in force', 'state', 'true', 'info');
SET ROLE regress_gone;
INSERT INTO at402.rule (name, source, condition, level) VALUES ('gone', 'position', 'true', 'info');
SET ROLE regress_stays;
INSERT INTO at402.rule (name, source, condition, level) VALUES ('stays', 'position', 'true', 'info');
RESET ROLE;
SELECT send(:a, report('23:20:10', 'ignition')), send(:a, report('23:20:20', 'ignition'));
SELECT count(*) >= 0 FROM at402_maintain();
SELECT rule_name, count(*), count(ended_at) FROM at402.alert WHERE rule_name ~ 'off |away|force|gone|stays' GROUP BY 1 ORDER BY 1;
UPDATE at402.rule SET enabled = false WHERE name LIKE 'off %';
DELETE FROM at402.rule WHERE name LIKE 'away%';
DROP OWNED BY regress_gone;
DROP ROLE regress_gone;
SELECT count(*) >= 0 FROM at402_maintain();
SELECT rule_name, count(*), min(ended_at) BETWEEN now() - interval '1 min' AND now() AS ended
FROM at402.alert WHERE rule_name ~ 'off |away|force|gone|stays' GROUP BY 1 ORDER BY 1;
SELECT name, enabled, last_error FROM at402.rule WHERE name IN ('gone', 'stays', 'in force') ORDER BY 1;
-- switched on again: by the clock it raises again; among reports it is the run that has raised
UPDATE at402.rule SET enabled = true WHERE name LIKE 'off %';
SELECT send(:a, report('23:20:30', 'ignition'));
SELECT count(*) >= 0 FROM at402_maintain();
SELECT rule_name, count(*), count(ended_at) FROM at402.alert WHERE rule_name LIKE 'off %' GROUP BY 1 ORDER BY 1;
DROP OWNED BY regress_stays;
DROP ROLE regress_stays;

DROP SCHEMA at402 CASCADE;
DROP FUNCTION report(text, int, text, jsonb, int, float8), report(text, text, int, jsonb, float8), send, power(numeric, int), dtc, bus, stop, warm, heard;
