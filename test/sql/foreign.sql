-- Schema at402, or something in it, that somebody else has made: not taken for ours.
-- Terse: detail and hint name the role that runs the tests.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
DROP SCHEMA IF EXISTS at402 CASCADE;
CREATE ROLE regress_mallory;
CREATE ROLE regress_fleet;

-- a whole schema
CREATE SCHEMA at402 AUTHORIZATION regress_mallory;
SELECT at402_create_tables();
DROP SCHEMA at402;

-- a table in a schema of ours, with a trigger that waits for somebody to store
CREATE SCHEMA at402;
GRANT USAGE, CREATE ON SCHEMA at402 TO regress_mallory;
SET ROLE regress_mallory;
CREATE TABLE at402.device_group (id int);
CREATE FUNCTION pg_temp.waits() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER waits AFTER INSERT ON at402.device_group
	FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.waits();
RESET ROLE;
SELECT at402_create_tables();
SELECT count(*) FROM pg_class WHERE relnamespace = 'at402'::regnamespace;
DROP TABLE at402.device_group;
DROP FUNCTION pg_temp.waits();

-- a view
SET ROLE regress_mallory;
CREATE VIEW at402.last_position AS SELECT 1 AS device_id;
RESET ROLE;
SELECT at402_create_tables();
DROP VIEW at402.last_position;

-- what is not of ours by name is nobody's business
SET ROLE regress_mallory;
CREATE TABLE at402.notes (note text);
RESET ROLE;
SELECT at402_create_tables();

-- a table, or a partition, that has got another owner
ALTER TABLE at402.event OWNER TO regress_mallory;
SELECT at402_create_tables();
ALTER TABLE at402.event OWNER TO CURRENT_USER;
ALTER TABLE at402.io_default OWNER TO regress_mallory;
SELECT at402_create_tables();
ALTER TABLE at402.io_default OWNER TO CURRENT_USER;
SELECT at402_create_tables();

-- neither may somebody who is no superuser take what belongs to others
ALTER SCHEMA at402 OWNER TO regress_mallory;
GRANT USAGE, CREATE ON SCHEMA at402 TO regress_fleet;
SET ROLE regress_fleet;
SELECT at402_create_tables();
RESET ROLE;
ALTER SCHEMA at402 OWNER TO CURRENT_USER;
SELECT at402_create_tables();

DROP SCHEMA at402 CASCADE;
DROP ROLE regress_mallory, regress_fleet;
