-- What \df shows of at402 is what is there to be called: the rest stands in schema at402_internal.
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
CREATE TEMP VIEW member AS
SELECT p.oid, p.proname, p.pronargs, p.pronamespace AS schema
FROM pg_extension AS e JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
	JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
WHERE e.extname = 'at402' AND d.deptype = 'e';

SELECT oid::regprocedure AS function
FROM member WHERE pg_function_is_visible(oid)
ORDER BY proname COLLATE "C", pronargs;

-- they stand where CREATE EXTENSION put them, and each says what it does and not that it is part of another
SELECT m.oid::regprocedure
FROM member AS m JOIN pg_extension AS e ON e.extname = 'at402'
WHERE CASE m.schema WHEN 'at402_internal'::regnamespace THEN pg_function_is_visible(m.oid)
	ELSE m.schema <> e.extnamespace OR obj_description(m.oid, 'pg_proc') ~ '^(part|trigger|rows) of ' END;

-- anybody may find what they call, and nobody may add to it
CREATE ROLE regress_anybody;
SELECT has_schema_privilege('regress_anybody', 'at402_internal', 'USAGE') AS use,
	has_schema_privilege('regress_anybody', 'at402_internal', 'CREATE') AS create;

-- who asks before there are tables is told what to do (at402_geofence_at stands in other queries, which are not slowed down)
DROP SCHEMA IF EXISTS at402 CASCADE;
CREATE FUNCTION hint_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint	text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN undefined_table THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws('; ', SQLERRM, hint);
END $$;
SELECT call, hint_of('SELECT ' || call) FROM unnest(ARRAY[
	$$at402_command('352099001761481', '$POLL')$$, $$at402_command_cancel(1)$$, $$at402_poll('352099001761481')$$,
	$$count(*) FROM at402_fleet_at(now())$$,
	$$count(*) FROM at402_geofence_visits('352099001761481', '-infinity', 'infinity')$$,
	$$at402_geojson('352099001761481', '-infinity', 'infinity')$$, $$at402_gpx('352099001761481', '-infinity', 'infinity')$$,
	$$count(*) FROM at402_ingest(ARRAY['$LOGN,x'::bytea || '\x0d']::at402_frame[])$$,
	$$count(*) FROM at402_maintain()$$, $$at402_mvt(0, 0, 0)$$, $$count(*) FROM at402_rejudge_geofences(1)$$,
	$$count(*) FROM at402_release()$$, $$at402_standard_rules()$$,
	$$count(*) FROM at402_stops('352099001761481', '-infinity', 'infinity')$$,
	$$count(*) FROM at402_test_rule('panic', '-infinity', 'infinity')$$,
	$$count(*) FROM at402_test_rule('event', 'true', '-infinity', 'infinity')$$,
	$$count(*) FROM at402_trips('352099001761481', '-infinity', 'infinity')$$]) AS call;

-- a schema of that name that somebody else has made is not taken
DROP EXTENSION at402;
CREATE SCHEMA at402_internal AUTHORIZATION regress_anybody;
CREATE EXTENSION at402;
ROLLBACK;
