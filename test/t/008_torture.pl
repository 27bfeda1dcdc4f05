# 008_torture.pl - whatever happens to the server under load: what was answered is stored, once
#
# In each round a simulated fleet reports, and when it has come so far, a fault strikes.  The
# fleet repeats what is not answered, so it comes to its end when the listener has recovered by
# itself.  Then its journal is compared with the tables.  Every round has devices of its own;
# their rows stay, and in the end all rounds are judged once more: what was stored has to
# outlive the crashes that follow.
#
#   make torture             200 rounds; make check has five
#   make torture ROUNDS=1000 SEED=42
#
# The seed decides which faults strike which fleets and when; the scheduler does the rest.
#
# Commits are made slow, so that many a kill meets one: whoever answers before COMMIT is found
# out.  (PostgreSQL delays them only with fsync, which PostgreSQL::Test::Cluster switches off.
# Nothing else here needs it: processes are killed, not the system they run on.)
use strict;
use warnings;
use At402;
use List::Util qw(shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $rounds = $ENV{ROUNDS} || 5;
my $seed = $ENV{SEED} || int time;
my $trackers = 50;
my $workers = 1;

# below the ports of clients: no tracker takes it while the listener is away
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $node = new_node('torture', "at402.port = $port", 'log_statement = none',
	'restart_after_crash = on', 'fsync = on', 'recovery_init_sync_method = syncfs',
	'commit_siblings = 0', 'commit_delay = 3000');
my $journals = PostgreSQL::Test::Utils::tempdir('journals');

# A quarter of each fleet uses UDP, a quarter packets with IMEI, a quarter protocol Y.  A late
# answer over UDP can meet a socket that got the port of an older one; so the fleet whose patience
# ends while the server is only slow, uses TCP alone.
my @fleets = (
	{ name => 'flood', reports => 200, options => [] },
	{ name => 'steady', reports => 40, options => [qw(--rate 20)] },
	{ name => 'impatient', reports => 80, options => [qw(--rate 80 --udp 0 --answer-timeout 0.1)] },
);

# ---- faults ----

sub one_of
{
	return $_[ rand @_ ];
}

# Waits until an SQL condition holds; the fleet may come to its end before.
sub reach
{
	my ($fleet, $condition) = @_;
	my $run = $fleet->{run};

	while ($run->pumpable && sql($node, "SELECT $condition") ne 't')
	{
		$run->pump_nb if $run->pumpable;
	}
}

sub change_settings
{
	sql($node, join('', map { "ALTER SYSTEM $_;" } @_) . 'SELECT pg_reload_conf()');
}

# Each returns when it is over.  What lasts, lasts less than trackers wait for answers over UDP.
my %faults = (
	(map { my $victim = $_; ("kill -9 $victim" => sub { kill_hard($node, $victim) }) }
		qw(listener maintenance backend postmaster)),

	'terminate listener' => sub {
		my $pid = sql($node, "SELECT pid FROM at402_stat_listener ORDER BY random() LIMIT 1");

		sql($node, "SELECT pg_terminate_backend($pid)");
		wait_published($node, "bool_and(state = 'listening' AND pid <> $pid)");
	},

	'immediate shutdown' => sub {
		$node->stop('immediate');
		$node->start;
	},

	# from one listener to two, or back
	'fast restart' => sub {
		$workers = 3 - $workers;
		sql($node, "ALTER SYSTEM SET at402.workers = $workers");
		$node->restart;
	},

	'reload' => sub {
		my $address = one_of('localhost', '127.0.0.1');

		change_settings("SET at402.listen_addresses = '$address'",
			'SET at402.batch_delay = ' . one_of(0, 5, 50),
			'SET at402.batch_reports = ' . one_of(10, 100, 500));
		wait_published($node, "bool_and(address = '$address')");
	},

	# until somebody has waited for it for a time, or nobody cares
	'lock' => sub {
		my $table = one_of(qw(device position event frame device_state));
		my $ms = int rand 400;

		sql($node, "BEGIN; LOCK TABLE at402.$table IN ACCESS EXCLUSIVE MODE;
			DO \$\$ BEGIN
				WHILE clock_timestamp() < now() + interval '1 s' AND NOT EXISTS (SELECT FROM pg_locks
					WHERE waitstart < clock_timestamp() - interval '$ms ms')
				LOOP NULL; END LOOP;
			END \$\$; COMMIT");
	},

	'read-only server' => sub {
		my ($fleet) = @_;

		reset_stat($node);
		change_settings('SET default_transaction_read_only = on');
		reach($fleet, 'max(failed_batches) >= ' . one_of(1, 2, 3) . ' FROM at402_stat_listener');
		change_settings('RESET default_transaction_read_only');
	},

	'read-only role' => sub {
		sql($node, "ALTER ROLE at402 SET default_transaction_read_only = on");
		$node->restart;
		wait_published($node, "bool_and(state = 'waiting')");
		sql($node, 'ALTER ROLE at402 RESET default_transaction_read_only');
		$node->restart;
	},
);

# ---- a round ----

# What does not belong together in the rows of some devices: details without their report, reports
# without their events, devices whose last report is another one; and what is in quarantine
sub inconsistent
{
	my ($imeis) = @_;
	my $devices = "device_id IN (SELECT id FROM at402.device WHERE imei LIKE '$imeis')";
	my $key = 'device_id, time, seq, content_hash';
	my $routine = 1 << 0 | 1 << 1 | 1 << 8;    # time_interval, distance, heading_change
	my $details = join ' UNION ALL ',
	  map { "SELECT $key FROM at402.$_ WHERE $devices AND seq >= 0" }
	  qw(event io motion can can_frame ble module);

	return sql($node, "SELECT (SELECT count(*) FROM (
			$details EXCEPT SELECT $key FROM at402.position) AS orphans)
		+ (SELECT count(*) FROM (
			SELECT $key FROM at402.position WHERE $devices AND reasons & ~$routine <> 0
			EXCEPT SELECT $key FROM at402.event) AS bare)
		+ (SELECT count(*) FROM (
			(SELECT DISTINCT ON (device_id) $key FROM at402.position WHERE $devices
				ORDER BY device_id, time DESC, seq DESC)
			EXCEPT SELECT $key FROM at402.device_state) AS behind)
		+ (SELECT count(*) FROM at402.quarantine)");
}

# Judges a journal.  True when everything in it is as it should be.
sub judge
{
	my ($name, $journal, $imeis, $sent, %more) = @_;
	my %found = (%{ judge_journal($node, $journal, $imeis) }, inconsistent => inconsistent($imeis),
		%more);
	my @zeros = (qw(lost doubled strange inconsistent), sort keys %more);

	return is_deeply(\%found,
		{ (map { $_ => $sent } qw(sent answered found)), (map { $_ => 0 } @zeros) },
		"$name: " . join(', ', map { "$found{$_} $_" } qw(sent answered found), @zeros));
}

sub play_round
{
	my ($round, $fault, $fleet) = @_;
	my $began = time;
	my $imeis = sprintf('35299%05d', $round);
	my $journal = "$journals/$round";
	my $sent = $trackers * $fleet->{reports};
	my $when = rand(0.7) * $sent;
	reset_stat($node);
	my $running = start_fleet($port, $journal, '--first', "${imeis}00000", '--seed', $round,
		'--trackers', $trackers, '--reports', $fleet->{reports}, '--duration', 60,
		'--answer-timeout', 1, '--repeat', 0.05, @{ $fleet->{options} });

	reach($running, "sum(inserted) >= $when FROM at402_stat_listener");
	$faults{$fault}->($running);
	finish_fleet($running);
	listener_port($node);
	my ($surplus) = ${ $running->{output} } =~ /^surplus answers +(\d+)/m;
	my $name = sprintf('round %d, %s, %s, %d listener%s, %.1f s', $round, $fault, $fleet->{name},
		$workers, $workers > 1 ? 's' : '', time - $began);
	return judge($name, $journal, "$imeis%", $sent, surplus => $surplus);
}

srand $seed;
note("seed $seed");
my $began = time;
my ($played, $sent, $good, %struck, @due) = (0, 0, 1);
my $all = "$journals/all";

while ($good && $played < $rounds)
{
	my $fleet = one_of(@fleets);

	@due = shuffle(sort keys %faults) if !@due;
	my $fault = shift @due;
	$played++;
	$struck{$fault}++;
	$sent += $trackers * $fleet->{reports};
	$good = eval { play_round($played, $fault, $fleet) } // fail("round $played, $fault: $@");
	append_to_file($all, slurp_file("$journals/$played"));
}
$good &&= judge('all rounds', $all, '%', $sent);

note("$_: $struck{$_}") foreach sort keys %struck;
note(sprintf('%d rounds, %.0f s, seed %d', $played, time - $began, $seed));
diag('kept: ' . $node->data_dir . ', ' . $node->logfile . ", $journals") if !$good;

$node->stop;
done_testing();
