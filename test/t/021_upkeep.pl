# 021_upkeep.pl - the maintenance worker: chores before tables, each step a transaction of its own;
# what fails keeps nothing else from being done; code of the owner never runs as who calls
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('upkeep', 'at402.maintain_interval = 0');

# Chores of the test take the place of those of at402; each notes when it ran.
sql($node, <<'SQL');
ALTER EXTENSION at402 DROP FUNCTION at402_internal.at402_chores();
CREATE TABLE ran (chore text, step int, transaction xid8 DEFAULT pg_current_xact_id(),
	locks bigint);
GRANT ALL ON ran TO at402;
CREATE FUNCTION note(chore text, step int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO public.ran (chore, step, locks) SELECT chore, step, count(*) FROM pg_locks AS l
		JOIN pg_inherits AS i ON i.inhrelid = l.relation WHERE l.pid = pg_backend_pid() $$;
CREATE FUNCTION at402_internal.first_chore(step int) RETURNS int LANGUAGE sql AS $$
	SELECT public.note('first', step); SELECT CASE WHEN step < 20 THEN step + 10 END $$;
CREATE FUNCTION at402_internal.bad_chore(step int) RETURNS int LANGUAGE sql AS $$
	SELECT public.note('bad', step); SELECT 1 / step $$;
CREATE FUNCTION at402_internal.last_chore(step int) RETURNS int LANGUAGE sql AS $$
	SELECT public.note('last', step); SELECT NULL::int $$;
CREATE OR REPLACE FUNCTION at402_internal.at402_chores() RETURNS TABLE (function_name text, about text)
	LANGUAGE sql AS $$ VALUES ('first_chore', ''), ('bad_chore', ''), ('last_chore', '') $$;
SQL

my $partitions = "count(*) FROM pg_inherits WHERE inhparent = 'at402.position'::regclass";

# Lets the worker run once, until it has made so many partitions of each table.
sub run_worker
{
	my ($ahead) = @_;
	my $before = sql($node, "SELECT $partitions");

	reload_with($node, "at402.partitions_ahead = $ahead", 'at402.maintain_interval = 1h');
	wait_for($node, "$before < $partitions");
	wait_for($node, "state = 'idle' FROM pg_stat_activity WHERE backend_type = 'at402 maintenance'");
	reload_with($node, 'at402.maintain_interval = 0');
}

subtest 'the worker does chores in steps, and the tables after them' => sub {
	run_worker(4);
	is(sql($node, 'SELECT chore, step FROM ran ORDER BY transaction'),
		"first|0\nfirst|10\nfirst|20\nlast|0", 'one after the other; what fails leaves nothing');
	is(sql($node, 'SELECT count(DISTINCT transaction), max(locks) FROM ran'), '4|0',
		'a transaction each, in which no partition is locked');
	is(log_count($node, 'at402 could not run bad_chore: division by zero'), 1, 'it is logged');
	run_worker(5);
	is(sql($node, "SELECT count(*) FROM ran WHERE chore = 'last'"), 2, 'run again');
	is(log_count($node, 'at402 could not run bad_chore'), 1, 'it still fails: not logged again');

	sql($node, 'CREATE OR REPLACE FUNCTION at402_internal.bad_chore(step int) RETURNS int LANGUAGE sql
		AS $$ SELECT NULL::int $$');
	run_worker(6);
	sql($node, 'CREATE OR REPLACE FUNCTION at402_internal.bad_chore(step int) RETURNS int LANGUAGE sql
		AS $$ SELECT 1 / step $$');
	run_worker(7);
	is(log_count($node, 'at402 could not run bad_chore'), 2, 'mended, and broken again: logged');
};

subtest 'a list that cannot be read is logged once' => sub {
	sql($node, 'ALTER FUNCTION at402_internal.at402_chores() RENAME TO hidden');
	reload_with($node, 'at402.maintain_interval = 1s');
	$node->wait_for_log(qr/at402 could not run at402_chores: function at402_internal.at402_chores\(\) does/);
	sql($node, 'ALTER FUNCTION at402_internal.hidden() RENAME TO at402_chores; TRUNCATE ran');
	wait_for($node, "count(*) > 0 FROM ran WHERE chore = 'last'");
	is(log_count($node, 'at402 could not run at402_chores'), 1, 'and goes on by itself');
	reload_with($node, 'at402.maintain_interval = 0');
};

subtest 'at402_maintain() does the same' => sub {
	sql($node, 'TRUNCATE ran');
	my ($result, $out, $err) = $node->psql($At402::database, 'SET at402.partitions_ahead = 8;
		SELECT table_name, action FROM at402_maintain() WHERE table_name = \'ble\'');
	is($out, 'ble|create', 'tables are maintained');
	like($err, qr/WARNING:  bad_chore failed: division by zero/, 'what fails is told');
	is(sql($node, 'SELECT chore, step FROM ran ORDER BY chore, step'),
		"first|0\nfirst|10\nfirst|20\nlast|0", 'and keeps nothing else from running');
	is(sql($node, 'SELECT max(locks) FROM ran'), 0, 'no partition is locked before');
};

subtest 'who calls it works as the owner of the tables' => sub {
	sql($node, <<'SQL');
CREATE TABLE seen (who name);
GRANT INSERT ON seen TO PUBLIC;
SET ROLE at402;
CREATE FUNCTION at402.spy() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN INSERT INTO public.seen VALUES (current_user); RETURN OLD; END $$;
CREATE TRIGGER spy BEFORE DELETE ON at402.event FOR EACH ROW EXECUTE FUNCTION at402.spy();
RESET ROLE;
CREATE ROLE operator LOGIN IN ROLE at402;
CREATE ROLE stranger LOGIN;
SQL
	my $row = "INSERT INTO at402.event (device_id, time, seq, content_hash, n, kind)
		VALUES (1, now() - interval '1 day', 0, 0, 0, 'panic')";

	sql($node, "$row; SELECT at402_maintain()");
	is(sql($node, 'SELECT * FROM seen'), 'at402', 'a superuser: its triggers run as at402');
	sql($node, "TRUNCATE seen; DROP TABLE at402.event_20" . sql($node,
		"SELECT to_char(now() - interval '1 day', 'YYMMDD')"));
	sql($node, "$row; SELECT at402_internal.at402_maintain_table('event')");
	is(sql($node, 'SELECT * FROM seen'), 'at402', 'one step of one table as well');
	is(sql($node, "SET ROLE operator; SET at402.partitions_ahead = 9;
		SELECT count(*) FROM at402_maintain() WHERE table_name = 'ble'"), 1, 'a member may do it');
	is(sql($node, "SELECT count(*) FROM pg_class WHERE relnamespace = 'at402'::regnamespace
		AND relowner <> 'at402'::regrole"), 0, 'all belongs to at402');
	my ($result, $out, $err) = $node->psql($At402::database, "SET ROLE stranger;
		SELECT at402_internal.at402_maintain_table('position')");
	like($err, qr/permission denied for schema at402|must be owner/, 'a stranger may not');
};

$node->stop;
done_testing();
