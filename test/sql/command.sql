-- Commands: what may be queued, by whom, and the functions that do it.
-- Sending needs a listener: test/t.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
DROP SCHEMA IF EXISTS at402 CASCADE;
SELECT at402_create_tables();
INSERT INTO at402.device (id, imei, immobiliser_output)
VALUES (1, '352999000000007', NULL), (2, '352999000000015', 2), (3, '352999000000023', NULL);

\set VERBOSITY terse
CREATE VIEW pg_temp.queue AS
	SELECT device_id, command, state, expires_at - created_at AS lives, attempts
	FROM at402.command ORDER BY id;

-- ---- text ----

SELECT at402_command('352999000000007', '$POLL') > 0 AS queued;
SELECT at402_command('352999000000007', '$DIST,500$JSEC,30', '1 hour') > 0 AS queued;
SELECT at402_command('352999000000007', '$GEOF,1,2,300,52.138826,-0.326804$POSN') > 0 AS queued;
TABLE pg_temp.queue;
SELECT created_by = current_user AS mine, sent_at, answered_at, answer, detail, listener
FROM at402.command LIMIT 1;

-- no command: 22023, and the text is never quoted
CREATE FUNCTION pg_temp.refused(command text, expires_in interval DEFAULT '1 day')
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail	text;
BEGIN
	PERFORM at402_command('352999000000007', command, expires_in);
	RETURN 'queued';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, SQLERRM || '.', detail);
END
$$;
SELECT v.command, pg_temp.refused(v.command)
FROM (VALUES (NULL), (''), ('POLL'), ('$poll'), ('$POL'), ('$POLLS'), ('$POLL '), (E'$POLL\r\n'), (E'$POLL\n'),
	(E'$DIST,5\r$POLL'), ('$DIST,5ü'), (E'$DIST,\t5'), (E'$DIST,\x7f'), ('$'), ('$$POLL'), ('x$POLL'), ('$POLL,$')) AS v (command);
SELECT pg_temp.refused('$PASS,1234$POLL'), pg_temp.refused('$POLL$PASS,1234');
SELECT pg_temp.refused('$GEOF,' || repeat('1', 954)), pg_temp.refused('$GEOF,' || repeat('1', 955));
SELECT pg_temp.refused('$POLL', '0'), pg_temp.refused('$POLL', '-1 s'), pg_temp.refused('$POLL', NULL);
SELECT at402_command('352999000000031', '$POLL');
SELECT at402_command(NULL, '$POLL');

-- a plain INSERT meets the same
INSERT INTO at402.command (device_id, command) VALUES (1, '$PASS,1234$POLL');
INSERT INTO at402.command (device_id, command) VALUES (1, 'POLL');
INSERT INTO at402.command (device_id, command) VALUES (99, '$POLL');
INSERT INTO at402.command (device_id, command, expires_at) VALUES (1, '$POLL', now());
UPDATE at402.command SET command = 'POLL';
TRUNCATE at402.command;

-- ---- helpers ----

SELECT at402_set_output('352999000000007', 1, true) > 0, at402_set_output('352999000000007', 16, false, '1 min') > 0,
	at402_poll('352999000000007') > 0, at402_immobilise('352999000000007', 4) > 0,
	at402_set_reporting('352999000000007', 500, 30) > 0,
	at402_set_reporting('352999000000007', heading_deg => 45, stationary_minutes => 60) > 0;
TABLE pg_temp.queue;
SELECT at402_set_output('352999000000007', 0, true);
SELECT at402_set_output('352999000000007', 17, true);
SELECT at402_set_output('352999000000007', NULL, true);
SELECT at402_set_output('352999000000007', 1, NULL);
SELECT at402_immobilise('352999000000007', 5);
SELECT at402_set_reporting('352999000000007', 70000);
SELECT at402_set_reporting('352999000000007');
TRUNCATE at402.command;

-- ---- cancelled, tried again, expired ----

SELECT at402_poll('352999000000007') AS poll \gset
SELECT at402_command_cancel(:poll), at402_command_cancel(:poll);
SELECT at402_command_retry(:poll), at402_command_retry(:poll);
UPDATE at402.command SET state = 'sent', sent_at = now(), listener = 1, attempts = 1;
SELECT at402_command_cancel(:poll), at402_command_retry(:poll);
-- one is on its way at the most
INSERT INTO at402.command (device_id, command, state) VALUES (1, '$POLL', 'sent');
UPDATE at402.command SET state = 'refused', answered_at = now(), answer = '$POLL,PR';
SELECT at402_command_retry(:poll, '2 hours');
SELECT device_id, command, state, expires_at > now() + interval '1 hour' AS lives_on, sent_at, answered_at, answer, attempts
FROM at402.command;
SELECT at402_command_cancel(0);
SELECT at402_command_retry(NULL);

UPDATE at402.command SET expires_at = now();
INSERT INTO at402.command (device_id, command, state, sent_at)
VALUES (2, '$POLL', 'sent', now() - interval '121 s'), (3, '$POLL', 'sent', now() - interval '119 s');
SELECT at402_maintain();
SELECT device_id, state FROM at402.command ORDER BY 1;
TRUNCATE at402.command;

-- ---- rights ----

CREATE ROLE regress_tenant_a;
CREATE ROLE regress_tenant_b;
GRANT USAGE ON SCHEMA at402 TO regress_tenant_a, regress_tenant_b;
GRANT SELECT ON at402.device TO regress_tenant_a, regress_tenant_b;
-- without EXECUTE, and without a right on the table
SET ROLE regress_tenant_a;
SELECT at402_poll('352999000000007');
RESET ROLE;
GRANT EXECUTE ON FUNCTION at402_command(text, text, interval) TO regress_tenant_a, regress_tenant_b;
SET ROLE regress_tenant_a;
SELECT at402_poll('352999000000007');
RESET ROLE;

-- tenants: each has a device
GRANT SELECT, INSERT, UPDATE ON at402.command TO regress_tenant_a, regress_tenant_b;
ALTER TABLE at402.command ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON at402.command USING (device_id = CASE current_user
	WHEN 'regress_tenant_a' THEN 1 WHEN 'regress_tenant_b' THEN 2 END);
SET ROLE regress_tenant_a;
SELECT at402_set_output('352999000000007', 1, true) AS mine \gset
SELECT at402_set_output('352999000000015', 1, true);
INSERT INTO at402.command (device_id, command) VALUES (2, '$SDIG,1,1');
UPDATE at402.command SET device_id = 2;
-- created_by is not to be chosen, nor is a state
INSERT INTO at402.command (device_id, command, created_by, created_at, attempts, answer)
VALUES (1, '$POLL', 'regress_tenant_b', '2000-01-01', 7, 'OK')
RETURNING created_by, created_at = now() AS now, attempts, answer;
INSERT INTO at402.command (device_id, command, state) VALUES (1, '$POLL', 'answered');
UPDATE at402.command SET state = 'answered';
UPDATE at402.command SET command = '$BOOT';
UPDATE at402.command SET created_by = 'regress_tenant_b';
UPDATE at402.command SET answer = '$SDIG,OK';
UPDATE at402.command SET state = 'expired';
SET ROLE regress_tenant_b;
SELECT count(*) FROM at402.command;
SELECT at402_command_cancel(:mine);
SELECT at402_command_retry(:mine);
SET ROLE regress_tenant_a;
SELECT at402_command_cancel(:mine);
SELECT at402_command_retry(:mine);

-- immobilisers
SELECT at402_internal.at402_may_immobilise();
SELECT at402_immobilise('352999000000007', 0);
INSERT INTO at402.command (device_id, command) VALUES (1, '$POLL$IMOB,4');
SET ROLE regress_tenant_b;
SELECT at402_set_output('352999000000015', 1, true) > 0 AS queued;
SELECT at402_set_output('352999000000015', 2, true);
SELECT at402_command('352999000000015', '$POLL$SDIG,2,0');
SELECT at402_command('352999000000015', '$SDIG,02,0');
SELECT at402_command('352999000000015', '$SDIG');
RESET ROLE;
INSERT INTO at402.command (device_id, command, state) VALUES (2, '$SDIG,2,1', 'refused') RETURNING id AS stopped \gset
SET ROLE regress_tenant_b;
SELECT at402_command_retry(:stopped);
RESET ROLE;
CREATE ROLE at402_immobiliser;
SET ROLE regress_tenant_b;
SELECT at402_internal.at402_may_immobilise();
RESET ROLE;
GRANT at402_immobiliser TO regress_tenant_b;
SET ROLE regress_tenant_b;
SELECT at402_internal.at402_may_immobilise(), at402_command_retry(:stopped), at402_immobilise('352999000000015', 1) > 0 AS queued;
RESET ROLE;
SELECT at402_internal.at402_may_immobilise();
SELECT created_by, device_id, command, state FROM at402.command ORDER BY id;

-- ---- PINs ----

INSERT INTO at402.device_secret VALUES (1, '1234'), (2, 'Abc9');
INSERT INTO at402.device_secret VALUES (3, '12 34');
INSERT INTO at402.device_secret VALUES (3, NULL);
UPDATE at402.device_secret SET pin = '1,2';
UPDATE at402.device_secret SET pin = '';
-- GRANT ON ALL TABLES does not show them
GRANT SELECT ON ALL TABLES IN SCHEMA at402 TO regress_tenant_a;
SET ROLE regress_tenant_a;
SELECT * FROM at402.device_secret;
RESET ROLE;
SELECT device_id FROM at402.device_secret ORDER BY 1;

-- ---- what the user's functions in schema at402 are: made once ----

INSERT INTO at402.driver (id, name) VALUES (1, 'Ann'), (2, 'Bob'), (3, 'Cem');
INSERT INTO at402.driver_key (driver_id, family, serial, valid) VALUES
	(1, '01', '00001900AB', DEFAULT), (2, NULL, '2B', DEFAULT), (3, '01', '3C', tstzrange(NULL, now() - interval '1 day'));
INSERT INTO at402.driver_device VALUES (2, 2), (2, 3);
-- any device, zeros and case do not count; a key of another family is unknown
SELECT at402.authorise_driver(1, '01', '1900AB'), at402.authorise_driver(2, '1', '0000001900ab'),
	at402.authorise_driver(1, '02', '1900AB');
-- two devices only; any family
SELECT at402.authorise_driver(1, '01', '2B'), at402.authorise_driver(2, '77', '2b'), at402.authorise_driver(3, '01', '02B');
-- not any more
SELECT at402.authorise_driver(1, '01', '3C');
-- unknown
SELECT at402.authorise_driver(1, '01', '4D') IS NULL AS silent;
SELECT count(*) FROM at402_internal.at402_data_functions();
CREATE OR REPLACE FUNCTION at402.authorise_driver(device_id int, family text, serial text) RETURNS text
LANGUAGE sql AS $$ SELECT 'DECLINE' $$;
SELECT at402_create_tables();
SELECT at402.authorise_driver(1, '01', '19');

-- ---- nobody's objects are called ----

CREATE FUNCTION public.trap() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'trapped'; END $$;
CREATE FUNCTION public.trap_text(text, text) RETURNS bool LANGUAGE sql AS 'SELECT trap()';
CREATE OPERATOR public.~ (LEFTARG = text, RIGHTARG = text, FUNCTION = public.trap_text);
CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.trap_text);
SET search_path = public, pg_catalog;
SELECT at402_set_output('352999000000007', 3, true) > 0 AS queued;
INSERT INTO at402.command (device_id, command) VALUES (1, '$POLL') RETURNING state;
SELECT at402_internal.at402_maintain_commands(), at402_internal.at402_maintain_commands(1);
RESET search_path;
DROP FUNCTION public.trap_text(text, text) CASCADE;
DROP FUNCTION public.trap();

DROP SCHEMA at402 CASCADE;
REVOKE ALL ON FUNCTION at402_command(text, text, interval) FROM regress_tenant_a, regress_tenant_b;
DROP ROLE at402_immobiliser;
DROP ROLE regress_tenant_a;
DROP ROLE regress_tenant_b;
