-- What at402 asks of a database, and the schema of its own.

-- What trackers send is Latin-1 (ISO 8859-1): these can hold all of it.
DO $$
BEGIN
	IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) ALL ('{UTF8,LATIN1,SQL_ASCII}') THEN
		RAISE EXCEPTION 'at402 needs a database with encoding UTF8, LATIN1 or SQL_ASCII'
			USING ERRCODE = 'feature_not_supported',
				DETAIL = pg_catalog.format('The encoding of database "%s" is %s.',
					pg_catalog.current_database(), pg_catalog.getdatabaseencoding()),
				HINT = 'CREATE DATABASE fleet ENCODING ''UTF8'' TEMPLATE template0;';
	END IF;
END
$$;

-- What at402 itself calls (statements, views, triggers, operators, other functions) stands here, so
-- that \df shows what is there to be called.  Names and arguments may change in any version.
-- Whoever stores or asks needs USAGE: these names are looked up with his rights.
CREATE SCHEMA at402_internal;
COMMENT ON SCHEMA at402_internal IS 'functions that at402 itself calls; they may change in any version';
GRANT USAGE ON SCHEMA at402_internal TO PUBLIC;

-- In scripts of PostgreSQL 15 nothing stands for the schema of another extension.  What names objects of
-- PostGIS is made by this, with the schema that PostGIS is in for @postgis@.
CREATE PROCEDURE at402_internal.at402_create(statements text)
LANGUAGE plpgsql
AS $$
BEGIN
	EXECUTE pg_catalog.replace(statements, '@postgis@',
		(SELECT e.extnamespace::pg_catalog.regnamespace::pg_catalog.text
		FROM pg_catalog.pg_extension AS e WHERE e.extname OPERATOR(pg_catalog.=) 'postgis'));
END
$$;
COMMENT ON PROCEDURE at402_internal.at402_create(text) IS
'part of CREATE EXTENSION at402: runs statements, with the schema of PostGIS in the place of @postgis@';
