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

-- a schema of that name that somebody else has made is not taken
DROP SCHEMA IF EXISTS at402 CASCADE;
DROP EXTENSION at402;
CREATE SCHEMA at402_internal AUTHORIZATION regress_anybody;
CREATE EXTENSION at402;
ROLLBACK;
