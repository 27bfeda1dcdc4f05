# 005_faults.pl - what breaks around the listener: silence while it lasts, recovery by itself,
# nothing lost and nothing doubled
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $node = new_node('faults', "at402.port = $port", 'restart_after_crash = on');
my $dir = PostgreSQL::Test::Utils::tempdir();

# Breaks something, sees that a packet is not answered and what the listener says, mends it, and sees that it then is,
# without being sent again.
my $n = 0;
sub outage_ok
{
	my ($state, $error, $break, $mend) = @_;
	my $tracker = login_as($node, ++$n);

	$break->();
	reset_stat($node);
	my $lines = log_count($node, 'at402 could not store a batch');
	transmit($tracker, packet(seq => 1, reasons => 16));
	wait_published($node, 'failed_batches >= 2');
	ok(silent($tracker), 'silence while it lasts');
	is(published($node, "state, answers, last_error ~ '$error'"), "$state|0|t",
		'at402_stat_listener says why');
	is(log_count($node, 'at402 could not store a batch') - $lines, 1, 'logged once for the streak');
	$mend->();
	is(receive($tracker, 1), '06', 'answered when it is over');
	is(stored($node, $n), '1', 'and stored');
	is(quarantined($node, $n), '', 'not in quarantine');
	published_is($node, 'state, inserted, answers', 'listening|1|1', 'once');
	is(sql($node, "SELECT count(*) FROM at402.event WHERE kind = 'panic'
		AND device_id = " . device_id($node, $n)), '1', 'with all that belongs to it');
}

# ---- kill -9 ----

subtest 'kill -9 of listener, backend and postmaster: every answered report is stored once' => sub {
	my $journal = "$dir/journal";
	my $fleet = start_fleet($port, $journal, '--trackers', 20, '--reports', 400,
		'--answer-timeout', 1, '--bundle', 3, '--repeat', 0.1);

	# Each crash waits until the server has stored something since the last
	foreach my $victim (qw(listener backend postmaster listener postmaster))
	{
		wait_published($node, 'inserted > 300');
		kill_hard($node, $victim);
		pass("$victim killed, listens again");
	}
	ok(finish_fleet($fleet), 'the fleet is answered in the end');

	my $found = judge_journal($node, $journal);
	is($found->{sent}, 20 * 400, 'reports sent');
	is($found->{answered}, 20 * 400, 'reports answered');
	is($found->{lost}, 0, 'none of them is lost');
	is($found->{doubled}, 0, 'none is doubled');
	is($found->{strange}, 0, 'nothing is stored that was not sent');
};

subtest 'rows move out of default partitions while trackers report' => sub {
	my $journal = "$dir/late";
	my $days_ago = 6;
	my $default = 'count(*) FROM at402.position_default';

	# nine hours of every tracker, all in the past, where there are no partitions
	my $fleet = start_fleet($port, $journal, '--trackers', 20, '--reports', 400, '--step', 80,
		'--start', now() - $days_ago * 86400, '--first', '353000000000000');
	my $partitions = 0;
	until ($partitions)
	{
		wait_for($node, "count(*) > 0 FROM at402.position_default");
		$partitions = sql($node, "SELECT count(*) FROM at402_maintain(now() - interval '8 days')
			WHERE table_name = 'position' AND action = 'create' AND row_count > 0");
	}
	ok(finish_fleet($fleet), 'the fleet is answered');
	sql($node, "SELECT at402_maintain(now() - interval '8 days')");
	is(sql($node, "SELECT $default"), 0, 'all rows have moved');
	my $found = judge_journal($node, $journal, '353%');
	is($found->{answered}, 20 * 400, 'reports answered');
	is($found->{$_}, 0, "none is $_") foreach qw(lost doubled strange);
};

# ---- outages ----

subtest 'read-only mode' => sub {
	outage_ok('retrying', 'read-only',
		sub { reload_with($node, 'default_transaction_read_only = on') },
		sub { reload_with($node, 'default_transaction_read_only = off') });
};

subtest 'a partition dropped under it: rows go to the default partition' => sub {
	my $tracker = login_as($node, ++$n);
	my $stored_in = 'SELECT DISTINCT position.tableoid::regclass FROM at402.position
		JOIN at402.device ON id = device_id WHERE imei = \'' . imei($n) . '\'';

	is(ask($tracker, packet(seq => 1)), '06', 'answered');
	my $partition = sql($node, $stored_in);
	like($partition, qr/^at402\.position_\d+$/, 'stored in a partition of its day');
	sql($node, "DROP TABLE $partition");
	is(ask($tracker, packet(seq => 2)), '06', 'without it: answered');
	is(stored($node, $n), '2', 'stored');
	is(sql($node, $stored_in), 'at402.position_default', 'in the default partition');
	sql($node, 'SELECT at402_maintain()');
	is(sql($node, $stored_in), $partition, 'at402_maintain() moves them to a new partition');
};

subtest 'no partition at all' => sub {
	outage_ok('retrying', 'no partition',
		sub {
			sql($node, 'DO $$ DECLARE p regclass; BEGIN
				FOR p IN SELECT inhrelid FROM pg_inherits
					WHERE inhparent = \'at402.event\'::regclass
				LOOP EXECUTE format(\'DROP TABLE %s\', p); END LOOP; END $$');
		},
		sub { sql($node, 'SELECT at402_create_tables()') });
};

subtest 'a table dropped' => sub {
	outage_ok('waiting', 'table at402.event does not exist; execute: SELECT at402_create_tables',
		sub { sql($node, 'DROP TABLE at402.event CASCADE') },
		sub { sql($node, 'SELECT at402_create_tables()') });
};

subtest 'a column dropped' => sub {
	outage_ok('waiting', 'a column of table at402.position does not exist; execute: SELECT at402_create_tables',
		sub { sql($node, 'ALTER TABLE at402.position DROP COLUMN hdop') },
		sub { sql($node, 'SELECT at402_create_tables()') });
};

subtest 'rights revoked' => sub {
	outage_ok('waiting', 'the role may not write to table at402.event; execute: ',
		sub { sql($node, 'ALTER TABLE at402.event OWNER TO CURRENT_USER') },
		sub { sql($node, 'ALTER TABLE at402.event OWNER TO at402') });
};

subtest 'the schema dropped, data and all' => sub {
	my $tracker = login_as($node, ++$n);

	sql($node, 'DROP SCHEMA at402 CASCADE');
	transmit($tracker, packet(seq => 1));
	wait_published($node, "state <> 'listening'");
	ok(silent($tracker), 'silence');
	sql($node, 'SELECT at402_create_tables()');
	is(receive($tracker, 1), '06', 'answered when the tables are there');
	is(stored($node, $n), '1', 'and stored, device and all');
};

subtest 'the extension dropped, and made again elsewhere' => sub {
	my $tracker = login_as($node, ++$n);

	sql($node, 'DROP SCHEMA at402 CASCADE; DROP EXTENSION at402; CREATE SCHEMA elsewhere');
	transmit($tracker, packet(seq => 1));
	wait_for($node, "count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'at402 listener'");
	$node->wait_for_log('extension "at402" does not exist');
	ok(silent($tracker), 'silence');
	sql($node, 'CREATE EXTENSION at402 SCHEMA elsewhere; SELECT elsewhere.at402_create_tables()');
	is(receive($tracker, 1), '06', 'answered when it is there');
	is(stored($node, $n), '1', 'and stored');
	sql($node, "ALTER DATABASE $At402::database SET search_path = public, elsewhere");
};

# ---- waits without end ----

# A trigger that waits for a lock which the test holds in a session of its own
sub hold_up
{
	my ($condition) = @_;
	my $session = $node->background_psql($At402::database);

	$session->query_safe('SELECT pg_advisory_lock(402)');
	sql($node, "CREATE FUNCTION public.hold_up() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		IF $condition THEN PERFORM pg_advisory_xact_lock(402); END IF; RETURN NEW; END \$\$;
		CREATE TRIGGER hold_up BEFORE INSERT ON at402.position FOR EACH ROW
		EXECUTE FUNCTION public.hold_up()");
	return $session;
}

subtest 'a trigger that waits without end: everybody\'s reports' => sub {
	my $session;

	reload_with($node, 'at402.report_timeout = 300ms');
	outage_ok('retrying', 'timeout', sub { $session = hold_up('true') },
		sub { $session->query_safe('SELECT pg_advisory_unlock(402)') });
	sql($node, 'DROP FUNCTION public.hold_up CASCADE');
	$session->quit;
};

subtest 'a report that alone waits without end is quarantined, while others pass' => sub {
	my @trackers = map { login_as($node, ++$n) } 1 .. 5;
	my $session = hold_up('NEW.device_id = ' . device_id($node, $n));

	reload_with($node, 'at402.batch_delay = 200ms', 'at402.report_timeout = 600ms');
	reset_stat($node);
	transmit($_, packet(seq => 1)) foreach @trackers;
	wait_for($node, "count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
	my $other_port = PostgreSQL::Test::Cluster::get_free_port();
	reload_with($node, "at402.port = $other_port");
	is(join('', map { receive($_, 1) } @trackers[ 0 .. 3 ]), '06060606', 'the others are answered');
	is(stored($node, $n - 1), '1', 'and stored');

	# it has to fail three times while others pass
	my $seq = 2;
	while ($seq < 2000 && quarantined($node, $n) eq '')
	{
		ask($trackers[0], packet(seq => $seq % 256, time => now() + $seq));
		$seq++;
	}
	is(receive($trackers[4], 1), '06', 'the one is answered');
	like(quarantined($node, $n), qr/^\w+\|57014\|/, 'and in quarantine');
	is(stored($node, $n), '', 'not stored');
	sql($node, 'DROP FUNCTION public.hold_up CASCADE');
	$session->quit;
	is(ask($trackers[4], packet(seq => 2)), '06', 'its next report is answered');
	is(stored($node, $n), '2', 'and stored');
	published_is($node, 'port', $other_port, 'a reload in the meantime takes effect');
	reload_with($node, 'at402.batch_delay = 5ms', 'at402.report_timeout = 60s',
		"at402.port = $port");
	published_is($node, 'port', $port, 'the port as before');
};

is(still_answers($node), '06', 'after all of this a good tracker is answered');
is(log_count($node, '(?:server process|background worker) .* terminated by signal'), 3,
	'no crash but those of the test');

$node->stop;
done_testing();
