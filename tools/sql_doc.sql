-- Writes doc/sql.md, the reference of every type, function, view and table, from the comments in the
-- catalogue.  Run by psql in a database that has nothing yet.
\pset format unaligned
\pset tuples_only on
\pset footer off
SET client_min_messages = error;
CREATE EXTENSION at402 CASCADE;
SELECT FROM at402_create_tables();
SET search_path = pg_catalog, public;
SET timezone = 'UTC';

SELECT $$# SQL reference

Every type, function, view and table of at402, from the comments in the database: `\dT+`, `\df+` and
`\d+` show the same. `make docs` writes this page.

The extension's objects are in the schema that CREATE EXTENSION names (public here), and what only at402
itself calls is in schema at402_internal; the tables and views with the data are in schema at402 and belong to
you. What a value means on the wire is in
[protocol.md](protocol.md); settings and the meaning of states are in [operations.md](operations.md).$$;

CREATE TEMP VIEW member AS
SELECT d.classid, d.objid
FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'at402';

CREATE FUNCTION pg_temp.cell(about text) RETURNS text LANGUAGE sql AS
$$ SELECT replace(replace(coalesce(about, ''), '|', '\|'), E'\n', ' ') $$;

SELECT E'\n## Types\n\n| type | |\n|---|---|';
SELECT format('| `%s` | %s |', t.typname, pg_temp.cell(obj_description(t.oid, 'pg_type')))
FROM pg_type AS t JOIN member AS m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
WHERE t.typelem = 0
ORDER BY t.typname;

CREATE TEMP VIEW called AS
SELECT p.oid, p.proname, p.pronamespace AS schema
FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid;

SELECT E'\n## Functions';
SELECT format(E'\n### %s\n\n```\n%s\n```\n\n%s.', p.proname,
	string_agg(format('%s(%s) -> %s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)),
			   E'\n' ORDER BY p.pronargs),
	upper(left(min(about), 1)) || substr(min(about), 2))
FROM called AS c JOIN pg_proc AS p ON p.oid = c.oid, obj_description(p.oid, 'pg_proc') AS about
WHERE c.schema = 'public'::regnamespace
GROUP BY p.proname
ORDER BY p.proname;

CREATE TEMP VIEW shown AS
SELECT c.oid, c.relname, format('%s%s', CASE WHEN c.relnamespace = 'at402'::regnamespace THEN 'at402.' END,
	c.relname) AS name, c.relkind, c.relnamespace
FROM pg_class AS c
WHERE NOT c.relispartition AND c.relkind IN ('r', 'p', 'v')
	AND (c.relnamespace = 'at402'::regnamespace
		 OR EXISTS (SELECT FROM member AS m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid));

CREATE FUNCTION pg_temp.section(kinds text, data bool) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format(E'\n### %s\n\n%s.\n%s\n| column | type | |\n|---|---|---|\n%s', s.name,
		upper(left(about, 1)) || substr(about, 2),
		(SELECT format(E'\nKey: %s.\n', string_agg(a.attname, ', ' ORDER BY k.ord))
		 FROM pg_index AS i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, ord)
			JOIN pg_attribute AS a ON a.attnum = k.attnum
		 WHERE i.indrelid = s.oid AND i.indisprimary AND a.attrelid = s.oid),
		(SELECT string_agg(format('| `%s` | %s | %s |', a.attname, format_type(a.atttypid, a.atttypmod),
								  pg_temp.cell(col_description(s.oid, a.attnum))), E'\n' ORDER BY a.attnum)
		 FROM pg_attribute AS a WHERE a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped))
	FROM shown AS s, obj_description(s.oid, 'pg_class') AS about
	WHERE position(s.relkind::text IN kinds) > 0 AND (s.relnamespace = 'at402'::regnamespace) = data
	ORDER BY s.relname
$$;
SELECT E'\n## Tables';
SELECT pg_temp.section('rp', true);
SELECT E'\n## Views over the tables';
SELECT pg_temp.section('v', true);
SELECT E'\n## Views of the extension';
SELECT pg_temp.section('v', false);

SELECT $$
## Functions of schema at402_internal

at402 itself calls them: its statements, views, triggers, operators and other functions. Not for you: names and
arguments may change in any version.

| function | |
|---|---|$$;
SELECT format('| `%s` | %s |', c.proname, pg_temp.cell(obj_description(c.oid, 'pg_proc')))
FROM called AS c
WHERE c.schema = 'at402_internal'::regnamespace
ORDER BY c.proname;
