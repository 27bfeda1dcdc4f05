-- Rules: conditions in SQL, and what is done with the alerts that they raise.
--
-- A rule is a row of at402.rule.  Listeners and at402_ingest() look at each row
-- that they store with all the rules of its table, in C (rule_run.c); source
-- state is looked at by the maintenance worker.

CREATE FUNCTION at402_internal.at402_rule_check() RETURNS trigger
	AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION at402_internal.at402_rule_check() IS
'trigger of at402.rule: refuses a rule that cannot run (42601, 42703, 42804, 42501 ...), keeps its condition with all names qualified, and makes whoever wrote it its owner';

-- ---- trying a rule ----

CREATE FUNCTION at402_internal.at402_test_rule_rows(rule text, since timestamptz, until timestamptz,
	OUT device_id int, OUT "time" timestamptz, OUT seq smallint, OUT content_hash int, OUT n smallint,
	OUT part text, OUT run_since timestamptz, OUT ended_at timestamptz, OUT message text)
RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION at402_internal.at402_test_rule_rows(text, timestamptz, timestamptz) IS
'part of at402_test_rule';

CREATE FUNCTION at402_internal.at402_test_condition_rows(source text, condition text, since timestamptz,
	until timestamptz, OUT device_id int, OUT "time" timestamptz, OUT seq smallint,
	OUT content_hash int, OUT n smallint, OUT part text, OUT run_since timestamptz,
	OUT ended_at timestamptz, OUT message text)
RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION at402_internal.at402_test_condition_rows(text, text, timestamptz, timestamptz) IS
'part of at402_test_rule';

-- (the schema of PostGIS is put in for @postgis@)
CALL at402_internal.at402_create($sql$
CREATE FUNCTION at402_test_rule(rule text, since timestamptz, until timestamptz)
RETURNS TABLE (device_id int, "time" timestamptz, seq smallint, content_hash int, rule_id int,
	n smallint, rule_name text, part text, ended_at timestamptz, level text, message text, geom @postgis@.geometry,
	detail jsonb)
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM at402_internal.at402_need_table('rule');
	SELECT r.id, r.name, r.level INTO rule_id, rule_name, level FROM at402.rule AS r WHERE r.name = $1;
	RETURN QUERY
	WITH alert AS MATERIALIZED (
		SELECT * FROM at402_internal.at402_test_rule_rows($1, $2, $3)
	), place AS MATERIALIZED (
		SELECT p.device_id, p.time, p.seq, p.content_hash, a.n, p.geom
		FROM alert AS a JOIN at402.position AS p ON p.device_id = a.device_id AND p.time = a.time
			AND p.seq = a.seq AND p.content_hash = a.content_hash
	)
	SELECT a.device_id, a.time, a.seq, a.content_hash, rule_id, a.n, rule_name, a.part, a.ended_at, level,
		a.message, p.geom, jsonb_build_object('since', a.run_since)
	FROM alert AS a
		LEFT JOIN place AS p ON p.device_id = a.device_id AND p.time = a.time
			AND p.seq = a.seq AND p.content_hash = a.content_hash AND p.n = a.n
	ORDER BY a.time, a.device_id, a.seq, a.content_hash, a.n;
END
$$;
COMMENT ON FUNCTION at402_test_rule(text, timestamptz, timestamptz) IS
'the alerts that a rule of at402.rule, enabled or not, would have raised from since up to until, and when they ended; with the rights of the caller, and nothing is written; 42704: no such rule, 0A000: source state, 42501: rights';

CREATE FUNCTION at402_test_rule(source text, condition text, since timestamptz, until timestamptz)
RETURNS TABLE (device_id int, "time" timestamptz, seq smallint, content_hash int, rule_id int,
	n smallint, rule_name text, part text, ended_at timestamptz, level text, message text, geom @postgis@.geometry,
	detail jsonb)
LANGUAGE plpgsql VOLATILE STRICT
AS $$
BEGIN
	PERFORM at402_internal.at402_need_table('position');
	-- (the names in the condition are those of the caller)
	RETURN QUERY
	WITH alert AS MATERIALIZED (
		SELECT * FROM at402_internal.at402_test_condition_rows($1, $2, $3, $4)
	), place AS MATERIALIZED (
		SELECT p.device_id, p.time, p.seq, p.content_hash, a.n, p.geom
		FROM alert AS a JOIN at402.position AS p ON p.device_id OPERATOR(pg_catalog.=) a.device_id
			AND p.time OPERATOR(pg_catalog.=) a.time AND p.seq OPERATOR(pg_catalog.=) a.seq
			AND p.content_hash OPERATOR(pg_catalog.=) a.content_hash
	)
	SELECT a.device_id, a.time, a.seq, a.content_hash, NULL::pg_catalog.int4, a.n,
		NULL::pg_catalog.text, a.part, a.ended_at, NULL::pg_catalog.text, a.message, p.geom,
		pg_catalog.jsonb_build_object('since', a.run_since)
	FROM alert AS a
		LEFT JOIN place AS p ON p.device_id OPERATOR(pg_catalog.=) a.device_id
			AND p.time OPERATOR(pg_catalog.=) a.time AND p.seq OPERATOR(pg_catalog.=) a.seq
			AND p.content_hash OPERATOR(pg_catalog.=) a.content_hash AND p.n OPERATOR(pg_catalog.=) a.n
	ORDER BY a.time, a.device_id, a.seq, a.content_hash, a.n;
END
$$;
COMMENT ON FUNCTION at402_test_rule(text, text, timestamptz, timestamptz) IS
'the alerts that a rule of this source with this condition would have raised from since up to until; as the other form';
$sql$);

-- ---- delivery ----

CREATE FUNCTION at402_outbox_take(channel text, n int)
RETURNS TABLE (id bigint, channel text, payload jsonb, attempts int)
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
	-- whoever took it so often and never said what became of it, will not
	UPDATE at402.outbox AS o SET state = 'dead', last_error = coalesce(o.last_error, 'was taken, and not heard of again')
	WHERE o.channel = $1 AND o.state = 'leased' AND o.attempts >= 10 AND o.next_try <= clock_timestamp();

	WITH due AS MATERIALIZED (
		SELECT o.id FROM at402.outbox AS o
		WHERE o.channel = $1 AND o.state IN ('queued', 'leased') AND o.next_try <= clock_timestamp()
		ORDER BY o.next_try, o.id
		LIMIT greatest($2, 0) FOR UPDATE SKIP LOCKED
	), taken AS (
		UPDATE at402.outbox AS o SET state = 'leased', attempts = o.attempts + 1,
			next_try = clock_timestamp() + interval '5 minutes'
		FROM due WHERE o.id = due.id
		RETURNING o.id, o.channel, o.payload, o.attempts
	)
	SELECT t.id, t.channel, t.payload, t.attempts FROM taken AS t ORDER BY t.id
$$;
COMMENT ON FUNCTION at402_outbox_take(text, int) IS
'takes at most n alerts of a channel to deliver them: they are the caller''s for 5 minutes, then anybody''s again; attempts: how often they were taken, this time included';

CREATE FUNCTION at402_outbox_done(id bigint) RETURNS bool
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
	WITH done AS (
		UPDATE at402.outbox AS o SET state = 'done', done_at = clock_timestamp()
		WHERE o.id = $1 AND o.state <> 'done' RETURNING 1
	)
	SELECT EXISTS (SELECT FROM done)
$$;
COMMENT ON FUNCTION at402_outbox_done(bigint) IS
'what was taken has been delivered; false: there is no such row, or it was done before';

CREATE FUNCTION at402_outbox_failed(id bigint, error text) RETURNS text
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
	UPDATE at402.outbox AS o
	SET state = CASE WHEN o.attempts >= 10 THEN 'dead' ELSE 'queued' END, last_error = $2,
		next_try = clock_timestamp() + least(interval '1 hour',
			interval '10 seconds' * power(2, least(greatest(o.attempts, 1), 10) - 1))
	WHERE o.id = $1 AND o.state = 'leased'
	RETURNING o.state
$$;
COMMENT ON FUNCTION at402_outbox_failed(bigint, text) IS
'what was taken could not be delivered: it is to be had again after 10 s, 20 s, 40 s ... up to an hour, and dead after 10 attempts; returns its state, NULL: it is not leased';

CREATE FUNCTION at402_acknowledge(device_id int, "time" timestamptz, seq int, content_hash int, rule_id int,
	n int DEFAULT NULL)
RETURNS bool
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH seen AS (
		UPDATE at402.alert AS a SET acknowledged_by = current_user, acknowledged_at = clock_timestamp()
		WHERE a.device_id = $1 AND a.time = $2 AND a.seq = $3 AND a.content_hash = $4 AND a.rule_id = $5
			AND ($6 IS NULL OR a.n = $6) AND a.acknowledged_at IS NULL
		RETURNING 1
	)
	SELECT EXISTS (SELECT FROM seen)
$$;
COMMENT ON FUNCTION at402_acknowledge(int, timestamptz, int, int, int, int) IS
'the caller has seen the alert with this key, n NULL: all that the rule raised for this report; false: there is none, or somebody has seen it before';

-- ---- by the clock ----

-- Nobody looks any more whether the condition holds, so the alert has ended.
CREATE FUNCTION at402_internal.at402_maintain_alerts(step int) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	moment	timestamptz := now();
	watched	int[];
	run		record;
BEGIN
	IF to_regclass('at402.rule_run') IS NULL OR to_regclass('at402.alert') IS NULL THEN
		RETURN NULL;
	END IF;
	-- whoever gets that name later is somebody else
	UPDATE at402.rule AS r SET enabled = false, last_error = format('role "%s" does not exist', r.owner)
	WHERE r.enabled AND NOT EXISTS (SELECT FROM pg_roles AS o WHERE o.rolname = r.owner);

	watched := ARRAY(SELECT r.id FROM at402.rule AS r
					 WHERE r.enabled AND r.source IN ('position', 'can', 'ble', 'state'));
	FOR run IN DELETE FROM at402.rule_run AS g WHERE g.rule_id <> ALL (watched) RETURNING g.* LOOP
		UPDATE at402.alert AS a SET ended_at = greatest(moment, a.time)
		WHERE a.device_id = run.device_id AND a.time = run.alert_time AND a.seq = run.alert_seq
			AND a.content_hash = run.alert_content_hash AND a.rule_id = run.rule_id AND a.n = run.alert_n
			AND a.ended_at IS NULL;
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_maintain_alerts(int) IS
'part of at402_maintain: switches off rules whose owner does not exist any more, and ends the alerts of rules that were switched off or deleted';

CREATE FUNCTION at402_internal.at402_run_rules(after int) RETURNS int
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION at402_internal.at402_run_rules(int) IS
'part of at402_maintain_rules: looks at 500 devices after this id with the rules of source state, and before the first at trips that have ended; returns the last of the devices, NULL: there were none';

CREATE FUNCTION at402_internal.at402_maintain_rules(after int) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF to_regclass('at402.rule_run') IS NULL OR to_regclass('at402.alert') IS NULL THEN
		RETURN NULL;
	END IF;
	-- one at a time: two would raise the same alert
	PERFORM pg_advisory_xact_lock('pg_class'::regclass::oid::int, 'at402.rule_run'::regclass::oid::int);
	IF after = 0 THEN
		DELETE FROM at402.outbox AS o WHERE o.state = 'done' AND o.done_at < now() - interval '1 day';
	END IF;
	RETURN at402_internal.at402_run_rules(after);
END
$$;
COMMENT ON FUNCTION at402_internal.at402_maintain_rules(int) IS
'part of at402_maintain: rules of sources state and trip; forgets what was delivered a day ago';

-- ---- ready-made rules ----

CREATE FUNCTION at402_standard_rules() RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM at402_internal.at402_need_table('rule');
	RETURN QUERY
	INSERT INTO at402.rule AS r (name, source, level, min_duration, cooldown, message, condition, enabled)
	SELECT v.name, v.source, v.level, v.min_duration::interval, v.cooldown::interval, v.message, v.condition, false
	FROM (VALUES
	('panic', 'event', 'critical', NULL, NULL, '{d.imei}: panic button',
	 $c$r.kind = 'panic'$c$),
	('overspeed', 'position', 'warning', '30 s', NULL, '{d.imei}: {speed_kmh} km/h',
	 $c$r.speed_kmh > 130$c$),
	('overspeed in fence', 'position', 'warning', NULL, NULL, '{d.imei}: {speed_kmh} km/h where there is a limit',
	 $c$r.gnss_valid AND r.speed_kmh > (SELECT min(f.speed_limit_kmh) FROM at402.geofence AS f
	 WHERE f.enabled AND f.id = ANY (ARRAY(SELECT @extschema@.at402_geofence_at(r.geom, r.time))))$c$),
	('towing', 'event', 'critical', NULL, NULL, '{d.imei}: is being towed',
	 $c$r.kind = 'towing'$c$),
	('collision', 'event', 'critical', NULL, NULL, '{d.imei}: {kind}',
	 $c$r.kind IN ('collision', 'roll_over')$c$),
	('tamper', 'event', 'critical', NULL, NULL, '{d.imei}: tampered with',
	 $c$r.kind = 'tamper'$c$),
	('low battery', 'position', 'warning', '5 min', NULL, '{d.imei}: battery at {battery_percent} %',
	 $c$r.battery_percent < 20$c$),
	('external power cut', 'position', 'critical', NULL, NULL, '{d.imei}: supply at {external_voltage_v} V',
	 $c$r.external_voltage_v < 5$c$),
	('jamming', 'position', 'critical', NULL, NULL, '{d.imei}: a jammer is near',
	 $c$@extschema@.at402_has_status(r.status, 'jammer')$c$),
	('harsh driving', 'event', 'info', NULL, '1 min', '{d.imei}: harsh {kind}',
	 $c$r.kind IN ('acceleration', 'deceleration', 'cornering')$c$),
	('unauthorised driver', 'event', 'warning', NULL, NULL, '{d.imei}: unauthorised driver',
	 $c$r.kind = 'unauthorised_driver'$c$),
	('offline', 'state', 'warning', NULL, NULL, '{d.imei}: not heard of since {last_seen}',
	 $c$d.enabled AND r.last_seen < now() - interval '2 h'$c$),
	('fuel drop', 'can', 'warning', NULL, NULL, '{d.imei}: fuel is gone while it stands',
	 $c$NOT p.ignition AND coalesce(r.fuel_level_percent, r.fuel_level_raw)
	 < 0.85 * coalesce(b.fuel_level_percent, b.fuel_level_raw)$c$),
	('temperature out of range', 'ble', 'warning', '10 min', NULL, '{d.imei}: {temperature_c} degrees at sensor {sensor_index}',
	 $c$r.valid IS NOT FALSE AND r.temperature_c NOT BETWEEN 2 AND 8$c$),
	('new trouble code', 'can', 'warning', NULL, NULL, '{d.imei}: {dtcs}',
	 $c$NOT r.dtcs <@ coalesce(b.dtcs, '{}')$c$),
	('movement outside hours', 'position', 'warning', NULL, '1 h', '{d.imei}: moves at {time}',
	 $c$r.ignition AND r.speed_kmh >= 5
	 AND (r.time AT TIME ZONE d.time_zone)::time NOT BETWEEN '06:00' AND '20:00'$c$),
	('beacon lost', 'ble', 'warning', NULL, NULL, '{d.imei}: beacon {mac} not heard for {last_seen_s} s',
	 $c$r.kind = 'beacon' AND r.companion AND r.last_seen_s > 600$c$),
	('geofence enter', 'event', 'info', NULL, NULL, '{d.imei}: enters {detail}',
	 $c$r.kind = 'geofence_enter'$c$),
	('geofence exit', 'event', 'info', NULL, NULL, '{d.imei}: leaves {detail}',
	 $c$r.kind = 'geofence_exit'$c$),
	('geofence dwell', 'state', 'info', NULL, NULL, '{d.imei}: in a fence for long',
	 $c$EXISTS (SELECT FROM at402.geofence_visit AS v WHERE v.device_id = r.device_id
	 AND v.left_at IS NULL AND v.entered_at < now() - interval '8 h')$c$),
	('idling', 'position', 'info', '10 min', NULL, '{d.imei}: idles',
	 $c$r.ignition AND r.speed_kmh < 5$c$),
	('service due', 'can', 'info', NULL, '1 day', '{d.imei}: service in {service_distance_km} km',
	 $c$r.service_distance_km < 500$c$)
	) AS v (name, source, level, min_duration, cooldown, message, condition)
	ON CONFLICT (name) DO NOTHING
	RETURNING r.name;
END
$$;
COMMENT ON FUNCTION at402_standard_rules() IS
'inserts ready-made rules, disabled, and returns their names; those whose name is taken are left out. Choose with UPDATE at402.rule SET enabled = true WHERE name = ...';
