# 018_presence.pl - who is connected, where that cannot be stored: what is refused for one tracker
# hides no other, holds up no report, and is tried again
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $node = new_node('presence', 'at402.report_timeout = 2s', 'restart_after_crash = on');
my $refusal = 'could not store which trackers are connected: ';

sub state_of
{
	my ($n) = @_;
	my $of_device = "JOIN at402.device ON id = device_id WHERE imei = '" . imei($n) . "'";

	return "(SELECT concat_ws(' ', connected::text, (SELECT string_agg(kind, ' ' ORDER BY time)
		FROM at402.event $of_device AND kind IN ('online', 'offline')))
		FROM at402.device_state $of_device)";
}

sub becomes
{
	my ($n, $expected, $name) = @_;
	ok($node->poll_query_until($At402::database, 'SELECT ' . state_of($n), $expected), $name);
}

sub is_state
{
	my ($n, $expected, $name) = @_;
	is(sql($node, 'SELECT ' . state_of($n)), $expected, $name);
}

# Refuses events of this kind for tracker n
sub refuse
{
	my ($n, $kind, $raise) = @_;
	$raise //= "RAISE 'not this one'";
	sql($node, "CREATE OR REPLACE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
		\$\$ BEGIN IF NEW.kind = '$kind' AND NEW.device_id = " . device_id($node, $n)
		. " THEN $raise; END IF; RETURN NEW; END \$\$;
		CREATE TRIGGER refuse BEFORE INSERT ON at402.event FOR EACH ROW
		EXECUTE FUNCTION public.refuse()");
}

sub refuse_nothing
{
	sql($node, 'DROP FUNCTION public.refuse() CASCADE');
}

# All of them are known, by UDP, which is no connection.
foreach my $n (1 .. 40)
{
	ask(connect_udp($node), packet(imei => imei($n)));
}

subtest '11: one refused event online hides no other, and is tried again' => sub {
	refuse(3, 'online');
	my @trackers = map { login_as($node, $_) } 1 .. 8;
	becomes($_, 'true online', "tracker $_ is online") foreach 1, 2, 4 .. 8;
	is_state(3, 'false', 'the one that is refused is not');
	is(ask($_, packet(seq => 1)), '06', 'answered') foreach @trackers;
	my $later = login_as($node, 9);
	becomes(9, 'true online', 'one that comes later is online');
	is(log_count($node, $refusal), 1, 'one line in the log');
	refuse_nothing();
	becomes(3, 'true online', 'when nothing refuses it any more it is online, without a word of it');
	close $trackers[2];
	becomes(3, 'false online offline', 'and offline when it goes');
	close $_ foreach @trackers;
	becomes($_, 'false online offline', "tracker $_ is offline") foreach 1, 8;
};

subtest '11: an error of the environment for one tracker, and an internal one' => sub {
	foreach my $state (qw(53100 XX000))
	{
		my $first = $state eq 'XX000' ? 11 : 14;
		refuse($first, 'online', "RAISE 'no' USING ERRCODE = '$state'");
		my @trackers = map { login_as($node, $_) } $first .. $first + 2;
		becomes($_, 'true online', "$state: the other is online") foreach $first + 1, $first + 2;
		is_state($first, 'false', "$state: the one is not");
		is(ask($_, packet(seq => 1)), '06', "$state: answered") foreach @trackers;
		published_is($node, 'state, failed_batches', 'listening|0', "$state: no batch has failed");
		refuse_nothing();
		becomes($first, 'true online', "$state: at last it is");
	}
};

subtest '11: a tracker whose row is locked holds up nobody' => sub {
	my $session = $node->background_psql($At402::database);

	$session->query_safe('BEGIN; SELECT FROM at402.device_state WHERE device_id = '
		. device_id($node, 21) . ' FOR UPDATE');
	my @trackers = map { login_as($node, $_) } 21 .. 24;
	my $slowest = 0;
	foreach my $seq (1 .. 10)
	{
		foreach my $tracker (@trackers[ 1 .. 3 ])
		{
			my $began = Time::HiRes::time();
			is(ask($tracker, packet(seq => $seq, time => now() + $seq)), '06', 'answered');
			my $took = Time::HiRes::time() - $began;
			$slowest = $took if $took > $slowest;
		}
	}
	cmp_ok($slowest, '<', 1, sprintf('the slowest answer took %.0f ms', 1000 * $slowest));
	becomes($_, 'true online', "tracker $_ is online") foreach 22 .. 24;
	published_is($node, 'failed_batches', '0', 'no batch has failed');
	$session->query_safe('COMMIT');
	$session->quit;
	becomes(21, 'true online', 'the one is online when the lock is gone');
};

subtest '11: what is refused at the start of a listener does not keep it from listening' => sub {
	my @trackers = map { login_as($node, $_) } 31 .. 34;

	becomes($_, 'true online', "tracker $_ is online") foreach 31 .. 34;
	refuse(32, 'offline');
	kill_hard($node, 'listener');
	is(still_answers($node), '06', 'it listens and answers');
	becomes($_, 'false online offline', "tracker $_ is offline") foreach 31, 33, 34;
	is_state(32, 'true online', 'the one that is refused is not yet');
	refuse_nothing();
	becomes(32, 'false online offline', 'at last it is');
};

subtest '11: what one connection may bring is bounded' => sub {
	my $gateway = connect_tcp($node);
	my $connected = "count(*) FROM at402.device_state JOIN at402.device ON id = device_id
		WHERE connected AND imei LIKE '8608730490%'";
	my @imeis = map { imei(900_000 + $_) } 0 .. 1_199;

	transmit($gateway, join('', map { packet(imei => $_) } @imeis));
	is(receive($gateway, scalar @imeis), '06' x @imeis, '1,200 trackers behind a gateway: answered');
	is(sql($node, "SELECT count(*) FROM at402.position JOIN at402.device ON id = device_id
		WHERE imei LIKE '8608730490%'"), scalar @imeis, 'all are stored');
	wait_for($node, "1000 = $connected");
	is(ask($gateway, packet(imei => $imeis[0], seq => 1)), '06', 'it goes on');
	is(sql($node, "SELECT $connected"), '1000', '1,000 count as connected');
	close $gateway;
	wait_for($node, "0 = $connected");
	pass('none when it goes');
};

subtest '11: rules on the tables that tell who is connected' => sub {
	sql($node, 'CREATE RULE also AS ON INSERT TO at402.event DO ALSO NOTHING;
		CREATE RULE also AS ON INSERT TO at402.device_state DO ALSO NOTHING;
		CREATE RULE also_update AS ON UPDATE TO at402.device_state DO ALSO NOTHING');
	my $tracker = login_as($node, 50);
	becomes(50, 'true online', 'online');
	close $tracker;
	becomes(50, 'false online offline', 'offline');
	sql($node, 'DROP RULE also ON at402.event; DROP RULE also ON at402.device_state;
		DROP RULE also_update ON at402.device_state');
};

subtest '11: a tracker that moves from one listener to another' => sub {
	# which share a port only where it has a number
	my $port = PostgreSQL::Test::Cluster::get_free_port();

	$node->append_conf('postgresql.conf', $_) foreach 'at402.workers = 2', "at402.port = $port";
	$node->restart;
	listener_port($node);
	my @connections = map { login_as($node, 60) } 1 .. 16;
	wait_for($node, "(SELECT min(accepted) FROM at402_stat_listener) > 0");
	becomes(60, 'true online', 'connected to both: online, once');
	while (@connections > 1)
	{
		close shift @connections;
	}
	published_is($node, 'sum(connections)', '1', 'one connection is left');
	is(ask($connections[0], packet(seq => 1)), '06', 'it goes on');
	close $connections[0];
	wait_for($node, "NOT connected FROM at402.device_state WHERE device_id = "
		. device_id($node, 60));
	is(sql($node, "SELECT count(*) FILTER (WHERE kind = 'online') - count(*) FILTER
		(WHERE kind = 'offline') FROM at402.event WHERE device_id = " . device_id($node, 60)), '0',
		'as often online as offline');
	my @others = map { login_as($node, 60 + $_) } 1 .. 16;
	wait_for($node, "count(DISTINCT listener) = 2 FROM at402.device_state WHERE connected");
	$node->append_conf('postgresql.conf', 'at402.workers = 1');
	$node->restart;
	listener_port($node);
	wait_for($node, 'count(*) = 0 FROM at402.device_state WHERE connected');
	pass('with one listener less nobody is left connected to it');
};

is(still_answers($node), '06', 'after all of this a good tracker is answered');
$node->stop;
done_testing();
