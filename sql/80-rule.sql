-- Rules: conditions in SQL, and what is done with the alerts that they raise.
--
-- A rule is a row of at402.rule.  Listeners and at402_ingest() look at each row
-- that they store with all the rules of its table, in C (rule_run.c); source
-- state is looked at by the maintenance worker.

CREATE FUNCTION at402_rule_check() RETURNS trigger
	AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION at402_rule_check() IS
'trigger of at402.rule: refuses a rule that cannot run (42601, 42703, 42804, 42501 ...), keeps its condition with all names qualified, and makes whoever wrote it its owner';
