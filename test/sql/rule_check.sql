-- Rules are checked when they are written: the condition, the message, and the rights.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
DROP SCHEMA IF EXISTS at402 CASCADE;
DO $$BEGIN IF to_regrole('at402') IS NULL THEN CREATE ROLE at402; END IF; END$$;
SELECT at402_create_tables();
RESET client_min_messages;

-- ---- what is kept ----

CREATE VIEW kept AS SELECT name, owner = current_user AS mine, checked_condition, checked_message,
	uses, version FROM at402.rule ORDER BY id;

-- name, source, condition and level are enough; names are qualified, casts are spelled out
INSERT INTO at402.rule (name, source, condition, level)
	VALUES ('fast', 'position', 'r.speed_kmh > 90.5 AND p.ignition', 'warning');
INSERT INTO at402.rule (name, source, condition, level, message) VALUES
	('panic', 'event', $$r.kind = 'panic' AND ST_X(p.geom) > 0 AND b IS NULL$$, 'critical',
	 'panic of {d.name} at {time}, {speed_kmh} km/h {{sic}}'),
	('warmer', 'ble', 'r.temperature_c > b.temperature_c AND b.valid', 'info', '{mac}'),
	('silent', 'state', $$now() - r.last_seen > interval '2 h'$$, 'info', 'silent for long'),
	('known', 'io', $$EXISTS (SELECT FROM at402.device AS b WHERE b.attributes ? r.text_value
		AND b.id = r.device_id)$$, 'info', NULL);
SELECT * FROM kept;
SELECT name, min_duration, cooldown, channels, enabled, failures, last_error, attributes
	FROM at402.rule WHERE name = 'fast';

-- text that looks as if it could leave its place
INSERT INTO at402.rule (name, source, condition, level) VALUES
	('comment', 'position', E'r.ignition -- it drives', 'info'),
	('block', 'position', 'r.ignition /* ) OR ( */', 'info'),
	('quotes', 'event', $$r.kind = $x$a';--$x$ OR r.kind = E'\''$$, 'info');
SELECT * FROM kept OFFSET 5;

-- ---- what is refused, with its place ----

CREATE PROCEDURE refused(condition text, source text DEFAULT 'position', message text DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
	m text; s text; d text; h text;
BEGIN
	INSERT INTO at402.rule (name, source, condition, level, message)
		VALUES ('refused', source, condition, 'info', message);
	RAISE EXCEPTION 'not refused';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, s = RETURNED_SQLSTATE, d = PG_EXCEPTION_DETAIL,
		h = PG_EXCEPTION_HINT;
	RAISE INFO '% %', s, concat_ws('; ', m, nullif(d, ''), nullif(h, ''));
END $$;

INSERT INTO at402.rule (name, source, condition, level)
	VALUES ('x', 'position', 'r.speed_kmh > 90 AND r.nothing', 'info');
INSERT INTO at402.rule (name, source, condition, level)
	VALUES ('x', 'position', 'r.ignition) OR (true', 'info');
CALL refused('');
CALL refused('true; DELETE FROM at402.rule');
CALL refused('true AS x');
CALL refused('true, true');
CALL refused('*');
CALL refused('r.*');
CALL refused('true FROM pg_class');
CALL refused('true UNION SELECT true');
CALL refused('true WHERE true');
CALL refused('true LIMIT 1');
CALL refused('DISTINCT true');
CALL refused('true FOR UPDATE');
CALL refused('r.speed_kmh');
CALL refused($$'perhaps'$$);
CALL refused('count(*) > 1');
CALL refused('row_number() OVER () > 1');
CALL refused('generate_series(1, 2) > 1');
CALL refused('$1');
CALL refused('no_such_function(r.speed_kmh)');
CALL refused('speed_kmh > 90');
CALL refused('b.time IS NULL', 'state');
CALL refused('true', 'device');
CALL refused('1 / 0 = 1');
CALL refused('true', message => '{nothing}');
CALL refused('true', message => '{b.time}');
CALL refused('true', message => '{time');
CALL refused('true', message => '{tableoid}');
CALL refused('(WITH x AS (DELETE FROM at402.rule RETURNING 1) SELECT true FROM x)');
CREATE TEMP TABLE mine (id int);
CREATE FUNCTION pg_temp.mine() RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE DOMAIN pg_temp.small AS int CHECK (VALUE < 10);
CALL refused('EXISTS (SELECT FROM mine)');
CALL refused('pg_temp.mine()');
CALL refused('r.speed_kmh::pg_temp.small = 1');
INSERT INTO at402.rule (name, source, condition, level, min_duration)
	VALUES ('x', 'event', 'true', 'info', '1 min');
INSERT INTO at402.rule (name, source, condition, level, min_duration)
	VALUES ('x', 'position', 'true', 'info', '-1 min');
INSERT INTO at402.rule (name, source, condition, level, cooldown)
	VALUES ('x', 'event', 'true', 'info', '-1 min');
-- with these a time of a report would leave the range of timestamps
INSERT INTO at402.rule (name, source, condition, level, min_duration)
	VALUES ('x', 'position', 'true', 'info', '300000 years');
INSERT INTO at402.rule (name, source, condition, level, cooldown)
	VALUES ('x', 'event', 'true', 'info', '7000 years');
INSERT INTO at402.rule (name, source, condition, level) VALUES ('x', 'event', 'true', 'high');
INSERT INTO at402.rule (name, source, condition) VALUES ('x', 'event', 'true');
INSERT INTO at402.rule (name, source, level) VALUES ('x', 'event', 'info');
SELECT at402_internal.at402_rule_check();

-- ---- nothing is run ----

CREATE TABLE ran (what text);
CREATE FUNCTION shout() RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN RAISE WARNING 'run'; RETURN true; END $$;
CREATE FUNCTION shout(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN RAISE WARNING 'run with %', $1; RETURN 1; END $$;
CREATE DOMAIN loud AS int CHECK (shout(VALUE) = 1);
CREATE OPERATOR !! (RIGHTARG = int, FUNCTION = shout);
INSERT INTO at402.rule (name, source, condition, level) VALUES ('loud', 'position',
	$$shout() AND shout(1) = 1 AND !! 2 = 1 AND 3::loud = 3 AND '4'::loud = 4
		AND EXISTS (SELECT FROM at402.device AS x WHERE shout() AND x.id = shout(5))
		AND EXISTS (SELECT FROM shout(6))$$, 'info');
SELECT checked_condition FROM at402.rule WHERE name = 'loud';

-- ---- names mean what they meant when they were written ----

CREATE SCHEMA hidden;
CREATE FUNCTION hidden.is_odd(numeric) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 % 2 = 1';
GRANT USAGE ON SCHEMA hidden TO at402;
SET search_path = hidden, public;
INSERT INTO at402.rule (name, source, condition, level)
	VALUES ('odd', 'position', 'is_odd(r.seq)', 'info');
RESET search_path;
SELECT checked_condition FROM at402.rule WHERE name = 'odd';

-- ---- whose rule it is ----

CREATE ROLE regress_analyst;
CREATE ROLE regress_colleague;
CREATE ROLE regress_stranger;
GRANT USAGE ON SCHEMA at402, hidden TO regress_analyst, regress_colleague, regress_stranger;
GRANT SELECT, INSERT, UPDATE, DELETE ON at402.rule TO regress_analyst, regress_colleague, regress_stranger;
GRANT SELECT ON at402.position TO regress_analyst, regress_colleague, regress_stranger;
GRANT SELECT (device_id, time, seq, content_hash, n, kind) ON at402.event TO regress_analyst;
GRANT regress_analyst, regress_colleague TO at402;
CREATE FUNCTION hidden.secret() RETURNS bool LANGUAGE sql AS 'SELECT true';
REVOKE EXECUTE ON FUNCTION hidden.secret() FROM PUBLIC;

-- without consent
SET ROLE regress_stranger;
CALL refused('true');

-- a column owner is never believed, nor is what at402 sets
SET ROLE regress_analyst;
INSERT INTO at402.rule (name, source, condition, level, owner, failures, last_error,
		checked_condition, uses, version)
	VALUES ('forged', 'position', 'r.ignition', 'info', 'postgres', 9, 'x', 'true', '{d}', 7);
SELECT owner, failures, last_error, checked_condition, uses, version FROM at402.rule
	WHERE name = 'forged';
UPDATE at402.rule SET owner = 'postgres', checked_condition = 'false', version = 9
	WHERE name = 'forged'
	RETURNING owner, checked_condition, version;

-- what its owner may not read or call
INSERT INTO at402.rule (name, source, condition, level)
	VALUES ('x', 'position', 'r.ignition AND hidden.secret()', 'info');
CALL refused($$d.name = 'x'$$);
CALL refused('true', message => '{d.name}');
CALL refused('EXISTS (SELECT FROM pg_authid)');
CALL refused('r.geom IS NULL', 'event');
CALL refused('r.state', 'io');
INSERT INTO at402.rule (name, source, condition, level)
	VALUES ('columns', 'event', $$r.kind = 'panic'$$, 'info');

-- who changes what it says is its owner; who switches it off is not
SET ROLE regress_colleague;
UPDATE at402.rule SET enabled = false, name = 'renamed', cooldown = '1 min', level = 'warning'
	WHERE name = 'forged' RETURNING owner, version;
UPDATE at402.rule SET enabled = true WHERE name = 'renamed' RETURNING owner, version, failures;
UPDATE at402.rule SET message = '{seq}' WHERE name = 'renamed' RETURNING owner, version;
SET ROLE regress_analyst;
UPDATE at402.rule SET min_duration = '1 min' WHERE name = 'renamed' RETURNING owner, version;
SET ROLE regress_colleague;
UPDATE at402.rule SET condition = 'NOT r.ignition' WHERE name = 'renamed'
	RETURNING owner, version, checked_condition;
-- what the new owner may not read
UPDATE at402.rule SET condition = $$r.kind = 'sos'$$ WHERE name = 'columns';
-- a superuser's rule runs as at402
RESET ROLE;
INSERT INTO at402.rule (name, source, condition, level)
	VALUES ('x', 'position', 'EXISTS (SELECT FROM pg_authid)', 'info');
UPDATE at402.rule SET condition = 'r.ignition' WHERE name = 'renamed' RETURNING owner = current_user AS mine;

SET client_min_messages = warning;
DROP SCHEMA at402, hidden CASCADE;
DROP TABLE ran;
DROP DOMAIN loud;
DROP OPERATOR !! (NONE, int);
DROP FUNCTION shout(), shout(int);
DROP PROCEDURE refused;
DROP ROLE regress_analyst, regress_colleague, regress_stranger;
