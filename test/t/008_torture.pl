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
# Commands are on their way to all of these trackers meanwhile.  What came to a tracker came once, and
# what is called answered was there.
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
	'commit_siblings = 0', 'commit_delay = 3000', 'at402.commands_udp = on',
	"at402.command_timeout = '2s'");
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

# A trigger on a table that runs this PL/pgSQL for each row, until drop_trigger()
sub make_trigger
{
	my ($table, $body) = @_;
	sql($node, "CREATE FUNCTION public.hinder_$table() RETURNS trigger LANGUAGE plpgsql AS
		\$\$ BEGIN $body; RETURN NEW; END \$\$;
		CREATE TRIGGER hinder BEFORE INSERT ON at402.$table FOR EACH ROW
		EXECUTE FUNCTION public.hinder_$table()");
}

sub drop_trigger
{
	# all partitions at once: taken one by one they deadlock with whoever stores
	sql($node, "BEGIN; LOCK TABLE at402.$_[0]; DROP FUNCTION public.hinder_$_[0] CASCADE; COMMIT");
}

# What went to quarantine for a trigger that is gone.  In time: a listener may just be storing it.
sub release
{
	sql($node, "BEGIN; LOCK TABLE at402.quarantine IN SHARE MODE; COMMIT;
		SELECT at402_release(reason => 'rejected'); SELECT at402_release(reason => 'timeout')");
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

	# some reports are refused, and quarantine refuses them too: silence for these alone
	'refused, by quarantine too' => sub {
		my ($fleet) = @_;

		reset_stat($node);
		make_trigger('quarantine', "RAISE 'no'");
		make_trigger('position', "IF NEW.device_id % 5 = 0 THEN RAISE 'no'; END IF");
		reach($fleet, 'sum(not_quarantined) > ' . one_of(0, 20) . ' FROM at402_stat_listener');
		drop_trigger($_) foreach shuffle(qw(position quarantine));
		release();
	},

	'internal error for some' => sub {
		my ($fleet) = @_;
		my $state = one_of(qw(XX000 0A000 55000 P0001 40001));

		reset_stat($node);
		make_trigger('position', "IF NEW.device_id % 7 = 0 THEN RAISE 'no'
			USING ERRCODE = '$state'; END IF");
		# class 40 is never held against a report
		reach($fleet, $state eq '40001' ? 'max(failed_batches) >= 4 FROM at402_stat_listener'
			: 'count(*) > 0 FROM at402.quarantine');
		drop_trigger('position');
		release();
	},

	'hang for some' => sub {
		my ($fleet) = @_;
		my $session = $node->background_psql($At402::database);

		change_settings("SET at402.report_timeout = '400ms'");
		$session->query_safe('SELECT pg_advisory_lock(402)');
		make_trigger('position', 'IF NEW.device_id % ' . one_of(7, 25)
			. ' = 0 THEN PERFORM pg_advisory_xact_lock(402); END IF');
		reach($fleet, 'max(failed_batches) > 0 FROM at402_stat_listener');
		$session->query_safe('SELECT pg_advisory_unlock(402)');
		$session->quit;
		drop_trigger('position');
		change_settings('RESET at402.report_timeout');
		release();
	},

	'rows of some devices locked' => sub {
		my ($fleet) = @_;
		my $session = $node->background_psql($At402::database);

		change_settings("SET at402.report_timeout = '400ms'");
		$session->query_safe('BEGIN; SELECT FROM at402.device_state WHERE device_id % 10 = 0
			ORDER BY device_id FOR UPDATE');
		reach($fleet, 'max(failed_batches) > 0 FROM at402_stat_listener');
		$session->query_safe('COMMIT');
		$session->quit;
		change_settings('RESET at402.report_timeout');
		release();
	},

	'rules' => sub {
		my ($fleet) = @_;
		my @tables = grep { one_of(0, 1) } qw(position device_state device event);

		reset_stat($node);
		sql($node, "CREATE RULE hinder AS ON INSERT TO at402.$_ DO ALSO NOTHING") foreach @tables;
		reach($fleet, 'sum(inserted) > 200 FROM at402_stat_listener');
		sql($node, "DROP RULE hinder ON at402.$_") foreach @tables;
	},

	'bad logins, and quarantine in parts' => sub {
		my ($fleet) = @_;

		reset_stat($node);
		ask(connect_tcp($node), login('123456789012345')) for 1 .. 3;
		sql($node, 'ALTER TABLE at402.quarantine DETACH PARTITION at402.quarantine_default');
		ask(connect_tcp($node), login('123456789012345')) for 1 .. 3;
		sql($node, 'ALTER TABLE at402.quarantine ATTACH PARTITION at402.quarantine_default DEFAULT;
			DELETE FROM at402.quarantine WHERE reason = \'impossible_imei\'');
	},

	'who is connected is refused for some' => sub {
		my ($fleet) = @_;

		reset_stat($node);
		make_trigger('event', "IF NEW.device_id % 3 = 0 AND NEW.kind IN ('online', 'offline')
			THEN RAISE 'no'; END IF");
		reach($fleet, 'sum(inserted) > 300 FROM at402_stat_listener');
		drop_trigger('event');
	},

	'read-only role' => sub {
		sql($node, "ALTER ROLE at402 SET default_transaction_read_only = on");
		$node->restart;
		wait_published($node, "bool_and(state = 'waiting')");
		sql($node, 'ALTER ROLE at402 RESET default_transaction_read_only');
		$node->restart;
	},
);

# ---- rules ----

# Of each device every other report is a run of its own, and each event an alert.  Whatever the time
# a rule takes on a busy machine, it is not to lose a batch.
sql($node, "ALTER SYSTEM SET at402.rule_timeout = 0; SELECT pg_reload_conf();
	INSERT INTO at402.rule (name, source, condition, level, message) VALUES
		('even', 'position', 'r.seq % 2 = 0', 'info', '{seq} of {d.imei}'),
		('event', 'event', 'r.kind <> ''''', 'info', '{kind}'),
		('rise', 'position', 'r.speed_kmh > b.speed_kmh', 'info', NULL)");

# Alerts that are missing, that nothing calls for, or that end at another time than they should: the
# tables are read again from end to end, without any code of at402.
sub wrong_alerts
{
	my ($imeis) = @_;
	my $devices = "device_id IN (SELECT id FROM at402.device WHERE imei LIKE '$imeis')";
	my $key = 'device_id, time, seq, content_hash';

	return sql($node, "WITH told AS (
			SELECT $key, ended_at, rule_name FROM at402.alert WHERE $devices
		), run AS (
			SELECT $key, seq % 2 = 0 AS holds, count(*) FILTER (WHERE seq % 2 <> 0)
				OVER (PARTITION BY device_id ORDER BY time, seq, content_hash) AS no
			FROM at402.position WHERE $devices AND NOT time_suspect
		), ended AS (
			SELECT device_id, no - 1 AS no, time FROM run WHERE NOT holds
		)
		SELECT (SELECT count(*) FROM (SELECT device_id, no FROM run
				LEFT JOIN (SELECT * FROM told WHERE rule_name = 'even') AS t USING ($key)
				WHERE holds GROUP BY device_id, no HAVING count(t.rule_name) <> 1) AS lost_or_doubled)
			+ (SELECT count(*) FROM told LEFT JOIN run USING ($key)
				WHERE rule_name = 'even' AND holds IS NOT TRUE)
			+ (SELECT count(*) FROM told JOIN run USING ($key) LEFT JOIN ended AS e USING (device_id, no)
				WHERE rule_name = 'even' AND ended_at IS DISTINCT FROM e.time)
			+ (SELECT count(*) FROM (SELECT $key FROM at402.event WHERE $devices
				EXCEPT SELECT $key FROM told WHERE rule_name = 'event') AS lost)
			+ (SELECT count(*) FROM (SELECT $key FROM told WHERE rule_name = 'event'
				EXCEPT SELECT $key FROM at402.event) AS strange)
			+ (SELECT sum(failures) FROM at402.rule)");
}

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

# ---- commands ----

# So many for each device of a fleet, each another one
sub queue_commands
{
	my ($imeis, $count) = @_;

	sql($node, "INSERT INTO at402.command (device_id, command)
		SELECT id, '\$DIST,' || n FROM at402.device, generate_series(1, $count) AS n
		WHERE imei LIKE '$imeis' ORDER BY n, id");
}

# Commands that came twice, or that are not known to have been sent, or that are called answered and
# never came.  The journal has a line for each that came: imei and command.
sub misled
{
	my ($imeis, $journal) = @_;

	return sql($node, <<SQL);
CREATE TEMP TABLE came (imei text, command text);
\\copy came FROM '$journal' WITH (DELIMITER ' ')
CREATE TEMP VIEW known AS SELECT imei, command, state, attempts FROM at402.command
	JOIN at402.device AS d ON d.id = device_id WHERE imei LIKE '$imeis';
SELECT (SELECT count(*) - count(DISTINCT (imei, command)) FROM came)
	+ (SELECT count(*) FROM (SELECT imei, command FROM came
		EXCEPT SELECT imei, command FROM known WHERE attempts = 1 AND state <> 'queued') AS unknown)
	+ (SELECT count(*) FROM (SELECT imei, command FROM known WHERE state IN ('answered', 'refused')
		EXCEPT SELECT imei, command FROM came) AS dreamt);
SQL
}

# Judges a journal.  True when everything in it is as it should be.
sub judge
{
	my ($name, $journal, $imeis, $sent, %more) = @_;
	my %found = (%{ judge_journal($node, $journal, $imeis) }, inconsistent => inconsistent($imeis),
		wrong_alerts => wrong_alerts($imeis),
		%more);
	my @zeros = (qw(lost doubled strange inconsistent wrong_alerts), sort keys %more);

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
		'--answer-timeout', 1, '--repeat', 0.05, '--command-journal', "$journal.commands",
		'--awkward', one_of(0, 0, 0.1), @{ $fleet->{options} });

	reach($running, "sum(inserted) >= $when FROM at402_stat_listener");
	queue_commands("$imeis%", 1 + int rand 10);
	$faults{$fault}->($running);
	finish_fleet($running);
	listener_port($node);
	my ($surplus) = ${ $running->{output} } =~ /^surplus answers +(\d+)/m;
	my $name = sprintf('round %d, %s, %s, %d listener%s, %.1f s', $round, $fault, $fleet->{name},
		$workers, $workers > 1 ? 's' : '', time - $began);
	return judge($name, $journal, "$imeis%", $sent, surplus => $surplus,
		misled => misled("$imeis%", "$journal.commands"));
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
wait_for($node, "count(*) = 0 FROM at402.command WHERE state = 'sent'");
note('commands: ' . sql($node, "SELECT string_agg(state || ' ' || n, ', ' ORDER BY state)
	FROM (SELECT state, count(*) AS n FROM at402.command GROUP BY state) AS s"));

note("$_: $struck{$_}") foreach sort keys %struck;
note(sprintf('%d rounds, %.0f s, seed %d', $played, time - $began, $seed));
diag('kept: ' . $node->data_dir . ', ' . $node->logfile . ", $journals") if !$good;

$node->stop;
done_testing();
