-- Empty tables, and three trackers: for the tests of what is stored.
\ir frames.sql
\set SHOW_CONTEXT never
DROP SCHEMA IF EXISTS at402 CASCADE;
SELECT at402_create_tables() \g /dev/null

\set a '''490154203237518'''
\set b '''352099001761481'''
\set c '''356938035643809'''
