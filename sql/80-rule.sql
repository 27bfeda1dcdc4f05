-- Rules: conditions in SQL, and what is done with the alerts that they raise.
--
-- A rule is a row of at402.rule.  Listeners and at402_ingest() look at each row
-- that they store with all the rules of its table, in C (rule_run.c); source
-- state is looked at by the maintenance worker.

CREATE FUNCTION at402_rule_check() RETURNS trigger
	AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION at402_rule_check() IS
'trigger of at402.rule: refuses a rule that cannot run (42601, 42703, 42804, 42501 ...), keeps its condition with all names qualified, and makes whoever wrote it its owner';

-- ---- trying a rule ----

CREATE FUNCTION at402_test_rule_rows(rule text, since timestamptz, until timestamptz,
	OUT device_id int, OUT "time" timestamptz, OUT seq smallint, OUT content_hash int, OUT n smallint,
	OUT part text, OUT run_since timestamptz, OUT ended_at timestamptz, OUT message text)
RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION at402_test_rule_rows(text, timestamptz, timestamptz) IS
'part of at402_test_rule';

CREATE FUNCTION at402_test_condition_rows(source text, condition text, since timestamptz,
	until timestamptz, OUT device_id int, OUT "time" timestamptz, OUT seq smallint,
	OUT content_hash int, OUT n smallint, OUT part text, OUT run_since timestamptz,
	OUT ended_at timestamptz, OUT message text)
RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION at402_test_condition_rows(text, text, timestamptz, timestamptz) IS
'part of at402_test_rule';

-- (the schema of PostGIS is put in for @postgis@)
DO $do$
BEGIN
	EXECUTE (SELECT pg_catalog.replace($sql$
CREATE FUNCTION at402_test_rule(rule text, since timestamptz, until timestamptz)
RETURNS TABLE (device_id int, "time" timestamptz, seq smallint, content_hash int, rule_id int,
	rule_name text, part text, ended_at timestamptz, level text, message text, geom @postgis@.geometry,
	detail jsonb)
LANGUAGE sql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT a.device_id, a.time, a.seq, a.content_hash, r.id, r.name, a.part, a.ended_at, r.level,
		a.message, p.geom, jsonb_build_object('since', a.run_since, 'n', a.n)
	FROM @extschema@.at402_test_rule_rows(rule, since, until) AS a
		JOIN at402.rule AS r ON r.name = rule
		LEFT JOIN at402.position AS p ON p.device_id = a.device_id AND p.time = a.time
			AND p.seq = a.seq AND p.content_hash = a.content_hash
	ORDER BY a.time, a.device_id, a.seq, a.content_hash
$$;
COMMENT ON FUNCTION at402_test_rule(text, timestamptz, timestamptz) IS
'the alerts that a rule of at402.rule, enabled or not, would have raised from since up to until, and when they ended; with the rights of the caller, and nothing is written; 42704: no such rule, 0A000: source state, 42501: rights';

CREATE FUNCTION at402_test_rule(source text, condition text, since timestamptz, until timestamptz)
RETURNS TABLE (device_id int, "time" timestamptz, seq smallint, content_hash int, rule_id int,
	rule_name text, part text, ended_at timestamptz, level text, message text, geom @postgis@.geometry,
	detail jsonb)
LANGUAGE sql VOLATILE STRICT
AS $$
	-- (the names in the condition are those of the caller)
	SELECT a.device_id, a.time, a.seq, a.content_hash, NULL::pg_catalog.int4, NULL::pg_catalog.text,
		a.part, a.ended_at, NULL::pg_catalog.text, a.message, p.geom,
		pg_catalog.jsonb_build_object('since', a.run_since, 'n', a.n)
	FROM @extschema@.at402_test_condition_rows(source, condition, since, until) AS a
		LEFT JOIN at402.position AS p ON p.device_id OPERATOR(pg_catalog.=) a.device_id
			AND p.time OPERATOR(pg_catalog.=) a.time AND p.seq OPERATOR(pg_catalog.=) a.seq
			AND p.content_hash OPERATOR(pg_catalog.=) a.content_hash
	ORDER BY a.time, a.device_id, a.seq, a.content_hash
$$;
COMMENT ON FUNCTION at402_test_rule(text, text, timestamptz, timestamptz) IS
'the alerts that a rule of this source with this condition would have raised from since up to until; as the other form';
	$sql$, '@postgis@', extnamespace::regnamespace::pg_catalog.text)
	FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'postgis');
END
$do$;
