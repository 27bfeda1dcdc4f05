-- Everything that the extension or at402_create_tables() makes has a comment.
SET client_min_messages = warning;
BEGIN;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
SELECT at402_create_tables();

SELECT pg_describe_object(classid, objid, 0)
FROM pg_depend
WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'at402')
	AND obj_description(objid, classid::regclass::name) IS NULL
ORDER BY 1;

SELECT oid::regclass
FROM pg_class
WHERE relnamespace = 'at402'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
	AND obj_description(oid, 'pg_class') IS NULL
ORDER BY oid::regclass::text;
ROLLBACK;
