-- Commands to devices, and the word on drivers.
--
-- A command is a row of at402.command.  What holds for one is checked by a
-- trigger on that table, so that it holds for whoever inserts in whatever way;
-- at402_command() and the functions that make commands are a comfort.  They run
-- with the rights of who calls them: privileges and policies on the table say
-- who may command what.
--
-- The listener sends.  It is told by a second trigger (src/worker/wake.c),
-- and writes state, times and answer.

-- ---- rights ----

CREATE FUNCTION at402_internal.at402_may_immobilise() RETURNS bool
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM pg_roles
				   WHERE rolname = current_user AND rolsuper
					   OR rolname = 'at402_immobiliser' AND pg_has_role(oid, 'MEMBER'))
$$;
COMMENT ON FUNCTION at402_internal.at402_may_immobilise() IS
'may the current user command immobilisers?  Superusers may, and members of role at402_immobiliser where it exists';

-- An output whose number is not plain may be any: where a device has an
-- immobiliser, it is taken for that one.
CREATE FUNCTION at402_internal.at402_command_immobilises(command text, immobiliser_output int) RETURNS bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT command ~ '\$IMOB' OR immobiliser_output IS NOT NULL AND EXISTS (
		SELECT FROM regexp_matches(command, '\$SDIG,?([^,$]*)', 'g') AS sdig
		WHERE sdig[1] !~ '^[1-9][0-9]?$' OR sdig[1] = immobiliser_output::text)
$$;
COMMENT ON FUNCTION at402_internal.at402_command_immobilises(text, int) IS
'can this command stop a vehicle whose immobiliser is wired to this output (NULL: to none)?';

-- ---- the triggers of at402.command and at402.device_secret ----

-- Never quotes the text of a command: it may hold a PIN.
CREATE FUNCTION at402_internal.at402_command_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	for_owner	bool := (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = TG_RELID);
	immobiliser	int;
BEGIN
	IF TG_OP = 'UPDATE' AND NOT for_owner THEN
		IF (NEW.id, NEW.device_id, NEW.command, NEW.created_by, NEW.created_at, NEW.sent_at,
			NEW.answered_at, NEW.answer, NEW.detail, NEW.attempts, NEW.listener)
			IS DISTINCT FROM (OLD.id, OLD.device_id, OLD.command, OLD.created_by, OLD.created_at,
			OLD.sent_at, OLD.answered_at, OLD.answer, OLD.detail, OLD.attempts, OLD.listener) THEN
			RAISE EXCEPTION 'a command cannot be changed'
				USING ERRCODE = 'insufficient_privilege',
					DETAIL = 'Others than the tables'' owner may change state and expires_at only.',
					HINT = format('SELECT at402_command_cancel(%s); and queue another.', OLD.id);
		END IF;
		IF NEW.state <> OLD.state AND NOT (OLD.state = 'queued' AND NEW.state = 'cancelled'
			OR OLD.state IN ('refused', 'expired', 'cancelled', 'in_doubt')
				AND NEW.state = 'queued') THEN
			RAISE EXCEPTION 'a command that is % cannot be made %', OLD.state, NEW.state
				USING ERRCODE = 'insufficient_privilege',
					HINT = 'Use at402_command_cancel() and at402_command_retry().';
		END IF;
	END IF;
	IF NEW.state <> 'queued' THEN
		IF TG_OP = 'INSERT' AND NOT for_owner THEN
			RAISE EXCEPTION 'a new command has to be queued'
				USING ERRCODE = 'insufficient_privilege',
					HINT = 'Leave state out.';
		END IF;
		RETURN NEW;				-- what the listener writes, or history that is loaded
	END IF;
	IF TG_OP = 'UPDATE' AND OLD.state = 'queued'
		AND (NEW.device_id, NEW.command) = (OLD.device_id, OLD.command) THEN
		RETURN NEW;
	END IF;

	IF (NEW.command ~ '^(\$[A-Z]{4}(,[ -#%-~]*)?)+$' COLLATE "C") IS NOT TRUE THEN
		RAISE EXCEPTION 'invalid command'
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = 'A command is $, four capital letters and arguments after commas, in '
					'printable ASCII without an end of line; several may follow each other.',
				HINT = 'For example: $POLL, or $DIST,500$JSEC,30';
	ELSIF NEW.command LIKE '%$PASS%' THEN
		RAISE EXCEPTION 'a command must not hold a PIN'
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = 'Commands, with their answers, can be read by many.',
				HINT = 'INSERT INTO at402.device_secret (device_id, pin) ...; it is sent before '
					'each command.';
	ELSIF length(NEW.command) > 960 THEN
		RAISE EXCEPTION 'command is too long: % characters', length(NEW.command)
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = 'With a PIN before it a message may have 1024 bytes, so a command 960.';
	ELSIF NEW.expires_at <= now() THEN
		RAISE EXCEPTION 'the command has expired already'
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = format('expires_at is %s.', NEW.expires_at);
	END IF;
	SELECT d.immobiliser_output INTO immobiliser FROM at402.device AS d
	WHERE d.id = NEW.device_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'device % does not exist', NEW.device_id
			USING ERRCODE = 'foreign_key_violation',
				DETAIL = 'There is no such id in at402.device, or you may not see it.';
	ELSIF at402_internal.at402_command_immobilises(NEW.command, immobiliser)
		AND NOT at402_internal.at402_may_immobilise() THEN
		RAISE EXCEPTION 'permission denied to immobilise a vehicle'
			USING ERRCODE = 'insufficient_privilege',
				DETAIL = 'Superusers and members of role at402_immobiliser may.',
				HINT = format('CREATE ROLE at402_immobiliser; where there is none, and '
							  'GRANT at402_immobiliser TO %I;', current_user);
	END IF;

	IF TG_OP = 'INSERT' THEN
		NEW.created_by := current_user;
		NEW.created_at := now();
		NEW.attempts := 0;
	END IF;
	NEW.sent_at := NULL;
	NEW.answered_at := NULL;
	NEW.answer := NULL;
	NEW.detail := NULL;
	NEW.listener := NULL;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_command_check() IS
'trigger of at402.command: text, rights and states, for every way to write there; 22023: no command, 42501: no right, 23503: no such device';

CREATE FUNCTION at402_internal.at402_command_wake() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION at402_internal.at402_command_wake() IS
'trigger of at402.command: wakes the listeners when the transaction is committed';

CREATE FUNCTION at402_internal.at402_secret_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF (NEW.pin ~ '^[0-9A-Za-z]{1,32}$' COLLATE "C") IS NOT TRUE THEN
		RAISE EXCEPTION 'invalid PIN of device %', NEW.device_id
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = 'A PIN has 1 to 32 digits or letters.';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_secret_check() IS
'trigger of at402.device_secret: says what a PIN is made of, without showing it; 22023';

-- ---- commands ----

CREATE FUNCTION at402_command(imei text, command text, expires_in interval DEFAULT '1 day')
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	device		int;
	queued		bigint;
BEGIN
	IF (expires_in > interval '0') IS NOT TRUE THEN
		RAISE EXCEPTION 'invalid expires_in: "%"', coalesce(expires_in::text, 'NULL')
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = 'A positive interval is needed.';
	END IF;
	PERFORM at402_internal.at402_need_table('command');
	SELECT d.id INTO device FROM at402.device AS d WHERE d.imei = at402_command.imei;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'device "%" does not exist', coalesce(imei, 'NULL')
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = 'There is no such IMEI in at402.device, or you may not see it.',
				HINT = 'A device is registered by its first report, or: '
					'INSERT INTO at402.device (imei) ...';
	END IF;
	INSERT INTO at402.command AS c (device_id, command, expires_at)
	VALUES (device, at402_command.command, now() + expires_in)
	RETURNING c.id INTO queued;
	RETURN queued;
END
$$;
COMMENT ON FUNCTION at402_command(text, text, interval) IS
'queues a command to the device with this IMEI, to be sent as soon as it is connected, and returns its at402.command.id; 22023: no such device, or no command, 42501: no right';
REVOKE EXECUTE ON FUNCTION at402_command(text, text, interval) FROM PUBLIC;

CREATE FUNCTION at402_internal.at402_command_change(id bigint, before text[], after text, expires_at timestamptz)
RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	state		text;
BEGIN
	PERFORM at402_internal.at402_need_table('command');
	UPDATE at402.command AS c
	SET state = after, expires_at = coalesce(at402_command_change.expires_at, c.expires_at)
	WHERE c.id = at402_command_change.id AND c.state = ANY (before)
	RETURNING c.state INTO state;
	IF NOT FOUND THEN
		SELECT c.state INTO state FROM at402.command AS c WHERE c.id = at402_command_change.id;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'command % does not exist', coalesce(id::text, 'NULL')
				USING ERRCODE = 'undefined_object';
		END IF;
	END IF;
	RETURN state;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_command_change(bigint, text[], text, timestamptz) IS
'part of at402_command_cancel and at402_command_retry: from one of these states to that one; returns the state that the command is in now';

CREATE FUNCTION at402_command_cancel(id bigint) RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT at402_internal.at402_command_change($1, '{queued}', 'cancelled', NULL)
$$;
COMMENT ON FUNCTION at402_command_cancel(bigint) IS
'cancels a command that is not sent yet, and returns its state: cancelled, or what it is already; 42704: no such command';

CREATE FUNCTION at402_command_retry(id bigint, expires_in interval DEFAULT '1 day') RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT at402_internal.at402_command_change($1, '{refused,expired,cancelled,in_doubt}', 'queued',
											now() + $2)
$$;
COMMENT ON FUNCTION at402_command_retry(bigint, interval) IS
'queues a command once more that is in doubt, refused, expired or cancelled, and returns its state: queued, or what it is already; a command in doubt may then be carried out twice; 42704: no such command';

-- ---- commands with units ----

CREATE FUNCTION at402_internal.at402_command_number(name text, value int, low int, high int) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF (value BETWEEN low AND high) IS NOT TRUE THEN
		RAISE EXCEPTION 'invalid %: %', name, coalesce(value::text, 'NULL')
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = format('A number from %s to %s is needed.', low, high);
	END IF;
	RETURN value;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_command_number(text, int, int, int) IS
'an argument of a command as text; 22023 when it is NULL or out of its range';

CREATE FUNCTION at402_set_output(imei text, n int, "on" bool, expires_in interval DEFAULT '1 day')
RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT @extschema@.at402_command($1, format('$SDIG,%s,%s',
		at402_internal.at402_command_number('output', $2, 1, 16),
		at402_internal.at402_command_number('state of an output', $3::int, 0, 1)), $4)
$$;
COMMENT ON FUNCTION at402_set_output(text, int, bool, interval) IS
'queues the command that switches output n (1 to 16) of a device on or off; errors as at402_command';

CREATE FUNCTION at402_poll(imei text, expires_in interval DEFAULT '1 day') RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT @extschema@.at402_command($1, '$POLL', $2)
$$;
COMMENT ON FUNCTION at402_poll(text, interval) IS
'queues the command that makes a device report at once; errors as at402_command';

CREATE FUNCTION at402_immobilise(imei text, mode int, expires_in interval DEFAULT '1 day')
RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT @extschema@.at402_command($1, format('$IMOB,%s',
		at402_internal.at402_command_number('mode', $2, 0, 4)), $3)
$$;
COMMENT ON FUNCTION at402_immobilise(text, int, interval) IS
'queues the command that immobilises a vehicle; mode 0: no more, 1: when its ignition is off, 2: when it stands, 3: when both, 4: at once; errors as at402_command';

CREATE FUNCTION at402_set_reporting(imei text, distance_m int DEFAULT NULL,
	seconds int DEFAULT NULL, stationary_minutes int DEFAULT NULL, heading_deg int DEFAULT NULL,
	expires_in interval DEFAULT '1 day')
RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT @extschema@.at402_command($1, string_agg(format('$%s,%s', a.code,
		at402_internal.at402_command_number(a.name, a.value, 0, a.high)), '' ORDER BY a.n), $6)
	FROM (VALUES
		(1, 'DIST', 'distance_m', $2, 65535),
		(2, 'JSEC', 'seconds', $3, 65535),
		(3, 'STIM', 'stationary_minutes', $4, 65535),
		(4, 'HEAD', 'heading_deg', $5, 180)) AS a (n, code, name, value, high)
	WHERE a.value IS NOT NULL
$$;
COMMENT ON FUNCTION at402_set_reporting(text, int, int, int, int, interval) IS
'queues the commands that say when a device reports: each so many metres and seconds of a journey, minutes at rest, and at turns of so many degrees; NULL: as it is; errors as at402_command';

-- ---- upkeep ----

CREATE FUNCTION at402_internal.at402_maintain_commands(step int DEFAULT 0) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- a listener gives up sooner: nobody minds what is older
	orphaned	interval := current_setting('at402.command_timeout')::interval + interval '1 minute';
BEGIN
	IF to_regclass('at402.command') IS NULL THEN
		RETURN NULL;
	END IF;
	UPDATE at402.command SET state = 'in_doubt' WHERE state = 'sent' AND sent_at < now() - orphaned;
	UPDATE at402.command SET state = 'expired' WHERE id = ANY (ARRAY(
		SELECT id FROM at402.command WHERE state = 'queued' AND expires_at <= now() LIMIT 1000));
	RETURN CASE WHEN FOUND THEN step + 1 END;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_maintain_commands(int) IS
'chore: commands that were not sent in time become expired, 1000 at a time, and those of a listener that is gone in_doubt';

-- ---- drivers ----

-- Functions in schema at402 are the user's from the moment they are made: they
-- are never made anew.
CREATE FUNCTION at402_internal.at402_data_functions()
RETURNS TABLE (signature text, definition text, about text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $data$
	VALUES
	('authorise_driver(int, text, text)', $function$
CREATE FUNCTION at402.authorise_driver(device_id int, family text, serial text) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT CASE
			WHEN bool_or(k.fits) THEN 'APPROVE'
			WHEN count(*) > 0 THEN 'DECLINE'
			WHEN current_setting('at402.unknown_drivers', true) = 'approve' THEN 'APPROVE'
			WHEN current_setting('at402.unknown_drivers', true) = 'decline' THEN 'DECLINE' END
		FROM (SELECT key.valid @> now()
				AND coalesce((SELECT bool_or(d.device_id = $1) FROM at402.driver_device AS d
							  WHERE d.driver_id = key.driver_id), true) AS fits
			  FROM at402.driver_key AS key
			  WHERE ltrim(upper(key.serial), '0') = ltrim(upper($3), '0')
				AND coalesce(ltrim(upper(key.family), '0') = ltrim(upper($2), '0'), true)) AS k);
END
$$$function$,
	 'may the driver with this key drive?  APPROVE, DECLINE, or NULL: no answer; yours to replace')
$data$;
COMMENT ON FUNCTION at402_internal.at402_data_functions() IS
'definition of the functions that at402_create_tables makes where they are missing';
