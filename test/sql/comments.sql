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

-- each column of a table or view, in words that a database in any encoding can hold
SELECT format('%s.%s', c.oid::regclass, a.attname) AS no_comment
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE (c.relnamespace = 'at402'::regnamespace OR c.relname LIKE 'at402_stat_%') AND c.relkind IN ('r', 'p', 'v')
	AND NOT c.relispartition AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL
ORDER BY c.relname COLLATE "C", a.attnum;
SELECT pg_describe_object(d.classoid, d.objoid, d.objsubid) AS not_ascii
FROM pg_description AS d LEFT JOIN pg_class AS c
	ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass
WHERE d.description ~ '[^ -~]'
	AND (c.relnamespace = 'at402'::regnamespace
		OR EXISTS (SELECT FROM pg_depend AS x WHERE x.classid = d.classoid AND x.objid = d.objoid
				AND x.deptype = 'e'
				AND x.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'at402')))
ORDER BY 1;
ROLLBACK;
