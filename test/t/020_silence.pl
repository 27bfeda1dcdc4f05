# 020_silence.pl - nothing goes wrong in silence, and nothing right makes noise: what
# at402_stat_listener and the log say of a listener that waits, is off, quarantines everything,
# pauses or ends
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('silence', "at402.role = 'at402'");
my $tracker = login_as($node, 1);

sub restart_to_wait
{
	$node->restart;
	wait_published($node, "state = 'waiting' AND last_error IS NOT NULL");
	return published($node, 'last_error');
}

# ---- what the listener waits for ----

subtest 'what is missing stands in last_error, with the statement that mends it' => sub {
	my @missing = (
		[ 'DROP TABLE at402.motion', 'table at402.motion does not exist' ],
		[ 'ALTER TABLE at402.event OWNER TO CURRENT_USER', 'the role may not write to table at402.event' ],
		[ 'REVOKE INSERT ON at402.event FROM at402', 'the role may not write to table at402.event' ],
		[ 'REVOKE USAGE ON SCHEMA at402 FROM at402', 'the role may not use schema at402' ],
		[ 'REVOKE USAGE ON SCHEMA public, at402_internal FROM PUBLIC',
			'permission denied for schema at402_internal' ],
		[ 'ALTER TABLE at402.io ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
			'row security of table at402.io is forced, and no policy lets the role read' ]);

	foreach (@missing)
	{
		my ($damage, $what) = @$_;

		sql($node, $damage);
		like(restart_to_wait(), qr/^\Q$what\E; execute: /, "$damage: says what");
		my ($mend) = published($node, 'last_error') =~ /execute: (.*)/;
		sql($node, $mend);
		wait_published($node, "state = 'listening'");
		pass("and $mend mends it");
	}
	sql($node, 'ALTER TABLE at402.io DISABLE ROW LEVEL SECURITY');
	is(still_answers($node), '06', 'then it answers');
};

# ---- quarantine ----

subtest 'what nobody can store goes to quarantine, and that is said' => sub {
	my $lines = log_count($node, 'at402 puts reports in quarantine');

	sql($node, 'TRUNCATE at402.position; ALTER TABLE at402.position ADD COLUMN mine int NOT NULL');
	$tracker = login_as($node, 1);
	is(ask($tracker, packet(seq => 1)), '06', 'one report: answered');
	published_is($node, 'state, quarantined', 'listening|1', 'and may be the only one');
	is(ask($tracker, map { packet(seq => $_) } 2 .. 10), '06' x 9, 'all that follow, too');
	published_is($node, 'state, quarantined', 'quarantining|10', 'now the state says so');
	like(published($node, 'last_error'), qr/^rejected: null value in column "mine"/, 'last_error: why');
	is(log_count($node, 'at402 puts reports in quarantine: 1 of 1, rejected: null value in column "mine"'),
		$lines + 1, 'and one line in the log');
	like(slurp_file($node->logfile), qr/HINT:  .*SELECT \* FROM at402_release\(\)/, 'with what to do');

	sql($node, 'ALTER TABLE at402.position DROP COLUMN mine');
	is(ask($tracker, packet(seq => 11)), '06', 'mended: a report is stored');
	published_is($node, 'state', 'listening', 'and the state is good');
	is(sql($node, 'SELECT * FROM at402_release()'), '10|10|0', 'so are those in quarantine');
};

subtest 'strangers in quarantine do not spoil the state' => sub {
	is(ask(connect_tcp($node), map { login('123456789012345') } 1 .. 12), '06' x 12, 'answered');
	published_is($node, 'state', 'listening', 'listening all the same');
};

# ---- off ----

subtest 'neither TCP nor UDP is off, and not a port 0' => sub {
	reload_with($node, 'at402.tcp = off', 'at402.udp = off');
	published_is($node, 'state, port', 'off|', 'the state');
	is(log_count($node, 'at402 not listening: at402.tcp and at402.udp are off'), 1, 'the log');
	reload_with($node, 'at402.tcp = on', 'at402.udp = on');
	wait_published($node, "state = 'listening'");
	is(still_answers($node), '06', 'on again');
};

# ---- pausing ----

subtest 'at402.paused: the database is free, and trackers keep their reports' => sub {
	my $port = published($node, 'port');

	$tracker = login_as($node, 2);
	reload_with($node, 'at402.paused = on', "at402.port = $port");
	is(receive($tracker, 1), ' closed', 'connections are closed');
	wait_published($node, "state = 'paused'");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity
		WHERE datname = '$At402::database' AND backend_type LIKE 'at402%'"), '0', 'nobody is in the database');
	is(($node->psql('postgres', "CREATE DATABASE copy TEMPLATE $At402::database"))[2], '',
		'it can be copied');
	ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port),
		'no tracker is taken');
	$node->restart;
	is(published($node, 'state, pid'), 'paused|', 'also after a restart');
	is(($node->psql('postgres', "ALTER DATABASE $At402::database RENAME TO renamed;
		ALTER DATABASE renamed RENAME TO $At402::database"))[2], '', 'and renamed');
	reload_with($node, 'at402.paused = off');
	is(listener_port($node), $port, 'off: it listens again');
	is(still_answers($node), '06', 'and answers');
};

# ---- the end ----

subtest 'an ordinary shutdown is no failure' => sub {
	my $before = log_count($node, 'terminating');

	login_as($node, 3);
	$node->stop('fast');
	is(log_count($node, 'terminating'), $before, 'no FATAL in the log');
};

done_testing();
