# 004_promises.pl - the promises of the listener, one by one
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Socket qw(SO_LINGER);
use Test::More;

# Replication is switched on for the promise about standbys
# upkeep writes too: it would wait for a standby with rows locked
my $node = new_node('promises', 'at402.maintain_interval = 0', 'wal_level = replica',
	'max_wal_senders = 4',
	'track_commit_timestamp = on');
my $waits_for_lock = "count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)
	WHERE NOT granted AND backend_type = 'at402 listener'";

# How many packets of tracker n are in at402.frame
sub packets_kept
{
	my ($n) = @_;
	return sql($node, "SELECT count(*) FROM at402.frame WHERE frame::bytea LIKE 'X%'
		AND device_id = " . device_id($node, $n));
}

# A trigger on a table of at402 that runs this PL/pgSQL for each row
sub make_trigger
{
	my ($table, $when, $body) = @_;
	sql($node, "CREATE FUNCTION public.user_trigger() RETURNS trigger LANGUAGE plpgsql AS
		\$\$ BEGIN $body; RETURN NEW; END \$\$;
		CREATE $when ON at402.$table FOR EACH ROW EXECUTE FUNCTION public.user_trigger()");
}

sub drop_trigger
{
	sql($node, 'DROP FUNCTION public.user_trigger CASCADE; DELETE FROM at402.quarantine');
}

# ---- 1 ----

subtest 'promise 1: 0x06 leaves only after COMMIT' => sub {
	my $tracker = login_as($node, 1);
	my $session = $node->background_psql($At402::database);

	reset_stat($node);
	$session->query_safe('BEGIN; LOCK TABLE at402.position IN ACCESS EXCLUSIVE MODE');
	transmit($tracker, packet(seq => 1));
	wait_for($node, $waits_for_lock);
	ok(silent($tracker), 'while the table is locked: silence');
	$session->query_safe('COMMIT');
	is(receive($tracker, 1), '06', 'when it is free: answered');
	is(stored($node, 1), '1', 'and stored');
	published_is($node, 'inserted, answers, failed_batches', '1|1|0', 'counted');

	# rolled back, then stored
	reset_stat($node);
	make_trigger('position', 'TRIGGER t BEFORE INSERT', "RAISE SQLSTATE '53100'");
	transmit($tracker, packet(seq => 2));
	wait_published($node, 'failed_batches >= 2');
	ok(silent($tracker), 'while batches are rolled back: silence');
	is(published($node, 'state'), 'retrying', 'at402_stat_listener shows it');
	is(stored($node, 1), '1', 'nothing is stored');
	drop_trigger();
	is(receive($tracker, 1), '06', 'when one is committed: answered');
	is(stored($node, 1), '1,2', 'and stored');
	published_is($node, 'state, inserted, answers, quarantined', 'listening|1|1|0', 'counted once');
	$session->quit;
};

subtest 'promise 1: a tracker that leaves before its answer' => sub {
	my $tracker = login_as($node, 6);
	my $session = $node->background_psql($At402::database);

	reset_stat($node);
	$session->query_safe('BEGIN; LOCK TABLE at402.position IN ACCESS EXCLUSIVE MODE');
	transmit($tracker, packet(seq => 1));
	wait_for($node, $waits_for_lock);
	$tracker->sockopt(SO_LINGER, pack('ii', 1, 0));		# as one whose radio link breaks
	close $tracker;
	$session->query_safe('COMMIT');
	$session->quit;
	wait_published($node, 'inserted = 1 AND connections = 0');
	is(published($node, 'answers'), '0', 'nobody is answered');
	is(stored($node, 6), '1', 'its report is stored');
	is(ask(login_as($node, 6), packet(seq => 1)), '06', 'it comes again: answered');
	is(stored($node, 6), '1', 'stored once');
};

subtest 'promise 1: all who wait are answered, though the queue is full' => sub {
	my @trackers = map { login_as($node, 7 + $_) } 0 .. 2;
	my $udp = connect_udp($node);
	my $session = $node->background_psql($At402::database);
	my $count = 300;

	reload_with($node, 'at402.batch_reports = 10');
	reset_stat($node);
	$session->query_safe('BEGIN; LOCK TABLE at402.position IN ACCESS EXCLUSIVE MODE');
	foreach my $tracker (@trackers)
	{
		transmit($tracker, map { packet(seq => $_ % 256, time => now() + $_) } 1 .. $count);
	}
	transmit($udp, packet(imei => imei(10)));
	wait_for($node, $waits_for_lock);
	ok(silent($_), 'silence') foreach @trackers, $udp;
	$session->query_safe('COMMIT');
	$session->quit;
	is(receive($_, $count), '06' x $count, 'all are answered') foreach @trackers;
	is(receive($udp, 1), '06', 'over UDP too');
	published_is($node, 'inserted, duplicates, answers, buffered_bytes',
		join('|', (3 * $count + 1), 0, (3 * $count + 1), 0), 'each once');
	reload_with($node, 'at402.batch_reports = 500');
};

subtest 'promise 1: 0x06 leaves only after a synchronous standby has it' => sub {
	my $tracker = login_as($node, 2);
	my $waits_for_standby = "count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'at402 listener' AND wait_event = 'SyncRep'";

	# who is connected is stored a moment later, and would wait for the standby as well
	wait_for($node, "count(*) = (SELECT sum(connections) FROM at402_stat_listener)
		FROM at402.device_state WHERE connected");
	reload_with($node, "synchronous_standby_names = 'nobody'", 'synchronous_commit = remote_apply');
	reset_stat($node);
	transmit($tracker, packet(seq => 1));
	wait_for($node, $waits_for_standby);
	ok(silent($tracker), 'no standby: silence');
	my $pid = published($node, 'pid');
	is(sql($node, "SELECT pg_cancel_backend($pid)"), 't', 'pg_cancel_backend');
	is(sql($node, "SELECT pg_cancel_backend($pid)"), 't', 'once more');
	wait_for($node, $waits_for_standby);
	ok(silent($tracker), 'does not make it answer');
	is(sql($node, "SELECT pg_terminate_backend($pid)"), 't', 'pg_terminate_backend');
	is(receive($tracker, 1), ' closed', 'neither does it: closed without an answer');

	reload_with($node, "synchronous_standby_names = ''", 'synchronous_commit = on');
	wait_published($node, "state = 'listening' AND pid <> $pid");
	$tracker = login_as($node, 2);
	is(ask($tracker, packet(seq => 1)), '06', 'sent again when no standby is asked for: answered');
	is(ask($tracker, packet(seq => 2)), '06', 'so is the next');
	is(stored($node, 2), '1,2', 'stored once');
};

# ---- 2 ----

subtest 'promise 2: a report sent again is stored once' => sub {
	my $report = report(seq => 7);
	my $stored_flags = report(seq => 7, status => 0x30);
	my $packet = packet(imei => imei(3), reports => [$report]);
	my $several = packet(imei => imei(3),
		reports => [ report(seq => 6), $report, $report, report(seq => 8) ]);
	my @ways = (
		[ 'over another connection', sub { ask(connect_tcp($node), $packet) } ],
		[ 'after a login', sub { ask(login_as($node, 3), packet(reports => [$report])) } ],
		[ 'over UDP', sub { ask(connect_udp($node), $packet) } ],
		[ 'with status bits stored and more_queued',
			sub { ask(login_as($node, 3), packet(reports => [$stored_flags])) } ],
		[ 'twice in a packet, among others', sub { ask(connect_tcp($node), $several) } ],
	);

	reset_stat($node);
	is(ask(connect_tcp($node), $packet), '06', 'at first');
	is($_->[1]->(), '06', "$_->[0]: answered") foreach @ways;
	is(stored($node, 3), '6,7,8', 'stored once');
	published_is($node, 'reports, inserted, duplicates', '9|3|6', 'repeats are counted');
	$node->restart;
	listener_port($node);
	is($_->[1]->(), '06', "after a restart, $_->[0]: answered") foreach @ways;
	is(stored($node, 3), '6,7,8', 'stored once');
	is(packets_kept(3), '2', 'of the frames only those are kept that brought anything');
};

# ---- 3 ----

subtest 'promise 2: two different reports are both kept though device, time and seq agree' => sub {
	my @reports = map { report(seq => 0, time => 315964800, speed_kmh => $_) } 10, 20;
	my $rows = 'SELECT string_agg(speed_kmh::text, \',\' ORDER BY speed_kmh) FROM at402.position
		WHERE device_id = ';

	is(ask(connect_tcp($node), packet(imei => imei(4), reports => [$reports[0]])), '06', 'first');
	is(ask(connect_tcp($node), packet(imei => imei(4), reports => [$reports[1]])), '06', 'second');
	is(sql($node, $rows . device_id($node, 4)), '10,20', 'both are stored');
	is(ask(connect_tcp($node), packet(imei => imei(4), reports => \@reports)), '06', 'again');
	is(sql($node, $rows . device_id($node, 4)), '10,20', 'each once');
	is(ask(login_as($node, 5), packet(reports => \@reports)), '06', 'both in one packet');
	is(sql($node, $rows . device_id($node, 5)), '10,20', 'both are stored');
};

# ---- 4 ----

subtest 'promise 4: poison is isolated, the other 499 reports of its batch are stored' => sub {
	my @trackers = map { login_as($node, 100 + $_) } 0 .. 49;
	my $poison = 'NEW.seq = 5 AND NEW.device_id = ' . device_id($node, 125);
	my $of_these = "device_id IN (SELECT id FROM at402.device
		WHERE imei BETWEEN '" . imei(100) . "' AND '" . imei(149) . "')";

	reload_with($node, 'at402.batch_delay = 200ms');
	make_trigger('position', 'TRIGGER t BEFORE INSERT', "IF $poison THEN RAISE 'poison %', NEW.seq
		USING DETAIL = 'of a user', ERRCODE = 'P0402'; END IF");
	reset_stat($node);
	my $packet = packet(reports => [ map { report(seq => $_) } 0 .. 9 ]);
	transmit($_, $packet) foreach @trackers;
	is(join('', map { receive($_, 1) } @trackers), '06' x 50, 'all are answered');
	is(sql($node, "SELECT count(*), count(DISTINCT pg_xact_commit_timestamp(position.xmin)) = 1
		FROM at402.position WHERE $of_these"), '499|t', '499 are stored, in one transaction');
	is(stored($node, 125), '0,1,2,3,4,6,7,8,9', 'also those of its packet');
	is(sql($node, "SELECT imei, reason, sqlstate, message, report_no, logged_in, transport, bytes
		FROM at402.quarantine"),
		join('|', imei(125), 'rejected', 'P0402', 'poison 5', 5, 't', 'tcp',
			'\x' . unpack('H*', $packet)),
		'the one is in quarantine with the error and all its bytes');
	published_is($node, 'reports, inserted, quarantined, answers', '500|499|1|50', 'counted');
	is(sql($node, "SELECT count(*) FROM at402.event WHERE seq >= 0 AND $of_these"), '0',
		'no routine events');
	is(packets_kept($_), '1', 'the packet is kept once') foreach 100, 125;
	is(ask($trackers[25], $packet), '06', 'sent again: answered');
	is(stored($node, 125), '0,1,2,3,4,6,7,8,9', 'sent again: nothing new');
	reload_with($node, 'at402.batch_delay = 5ms');
	drop_trigger();
};

subtest 'promise 4: triggers on other tables' => sub {
	my $panic = 16;
	my @cases = (
		[ 'event', 'TRIGGER t BEFORE INSERT', "NEW.kind = 'panic'", 'rejected|P0001|0' ],
		[ 'event', 'TRIGGER t AFTER INSERT', "NEW.kind = 'panic'", 'rejected|P0001|0' ],
		[ 'io', 'TRIGGER t BEFORE INSERT', 'true', 'rejected|P0001|0' ],
		[ 'device_state', 'TRIGGER t BEFORE INSERT OR UPDATE', 'NEW.seq = 66', 'rejected|P0001|0' ],
		[ 'frame', 'TRIGGER t BEFORE INSERT', 'NEW.frame::bytea LIKE \'X%\'', 'rejected|P0001|0' ],
		[ 'position', 'CONSTRAINT TRIGGER t AFTER INSERT', 'true', 'rejected|P0001|0' ],
		[ 'position', 'CONSTRAINT TRIGGER t AFTER INSERT', '1 / 0 = 1', 'rejected|22012|0' ],
		[ 'position', 'TRIGGER t BEFORE INSERT', 'EXISTS (SELECT FROM public.nowhere)',
			'rejected|42P01|0' ],
		[ 'position', 'TRIGGER t BEFORE INSERT', 'NEW.no_such_column', 'rejected|42703|0' ],
	);
	my $n = 11;

	reload_with($node, 'at402.batch_delay = 200ms');
	foreach my $case (@cases)
	{
		my ($table, $when, $condition, $quarantined) = @$case;
		my @trackers = map { login_as($node, $_) } $n, $n + 1;

		# all of the device's other rows pass
		my $poison = 'NEW.device_id = ' . device_id($node, $n);
		make_trigger($table, $when,
			"IF $poison THEN IF $condition THEN RAISE 'no'; END IF; END IF");
		my @packet = map { packet(seq => $_, reasons => $panic, inputs => 1) } 66, 67;
		transmit($trackers[0], $packet[0]);
		transmit($trackers[1], $packet[0]);
		is(join('', map { receive($_, 1) } @trackers), '0606', "$when on $table: both answered");
		is(stored($node, $n), '', 'the one is not stored');
		is(quarantined($node, $n), $quarantined, 'but in quarantine');
		is(stored($node, $n + 1), '66', 'the other is stored');
		drop_trigger();
		is(ask($trackers[0], $packet[1]), '06', 'without trigger: answered');
		is(stored($node, $n), '67', 'without trigger: stored');
		$n += 2;
	}
	reload_with($node, 'at402.batch_delay = 5ms');
};

subtest 'promise 4: a trigger on device' => sub {
	make_trigger('device', 'TRIGGER t BEFORE INSERT',
		"IF NEW.imei = '" . imei(40) . "' THEN RAISE 'not this one'; END IF");
	reload_with($node, 'at402.batch_delay = 200ms');
	my @trackers = map { connect_tcp($node) } 1 .. 3;
	transmit($trackers[0], login(imei(40)));
	transmit($trackers[1], packet(imei => imei(40)));
	transmit($trackers[2], packet(imei => imei(41)));
	is(join('', map { receive($_, 1) } @trackers), '060606', 'all are answered');
	is(quarantined($node, 40), "rejected|P0001|\nrejected|P0001|",
		'login and packet are in quarantine');
	is(stored($node, 41), '0', 'another device is registered and stored');
	reload_with($node, 'at402.batch_delay = 5ms');
	drop_trigger();
};

subtest 'promise 4: a constraint trigger that raises at COMMIT' => sub {
	my @trackers = map { login_as($node, 50 + $_) } 0, 1;

	make_trigger('position', 'CONSTRAINT TRIGGER t AFTER INSERT',
		'IF NEW.device_id = ' . device_id($node, 50) . " THEN RAISE 'too late'; END IF");
	sql($node, 'DROP TRIGGER t ON at402.position; CREATE CONSTRAINT TRIGGER t
		AFTER INSERT ON at402.position DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
		EXECUTE FUNCTION public.user_trigger()');
	reload_with($node, 'at402.batch_delay = 200ms');
	reset_stat($node);
	transmit($_, packet(seq => 1)) foreach @trackers;
	wait_published($node, 'answers > 0 OR failed_batches > 2');
	ok(!silent($_), 'answered') foreach @trackers;
	is(quarantined($node, 50), 'rejected|P0001|0', 'the one is in quarantine');
	is(stored($node, 51), '1', 'the other is stored');
	reload_with($node, 'at402.batch_delay = 5ms');
	drop_trigger();
	is(receive($_, 1), '06', 'answered at last') foreach @trackers;
};

# ---- 3 ----

subtest 'promise 3: silence when quarantine fails or is full' => sub {
	my @trackers = map { login_as($node, 60 + $_) } 0, 1;
	my $undecodable = frame('C', 'x' x 1000);

	reload_with($node, 'at402.batch_delay = 200ms');
	make_trigger('quarantine', 'TRIGGER t BEFORE INSERT', "RAISE 'no'");
	reset_stat($node);
	transmit($trackers[0], $undecodable);
	is(ask($trackers[1], packet(seq => 1)), '06', 'it fails: others are answered');
	published_is($node, 'not_quarantined, inserted, quarantined, answers', '1|1|0|1', 'counted');
	ok(silent($trackers[0]), 'silence');
	drop_trigger();

	sql($node, "INSERT INTO at402.quarantine (reason, bytes)
		SELECT 'ballast', string_agg(decode(md5(n::text), 'hex'), '')
		FROM generate_series(1, 70000) AS n");
	reload_with($node, 'at402.quarantine_limit = 1MB');
	reset_stat($node);
	transmit($trackers[0], $undecodable);
	is(ask($trackers[1], packet(seq => 2)), '06', 'it is full: others are answered');
	published_is($node, 'not_quarantined, inserted, quarantined, answers', '1|1|0|1', 'counted');
	ok(silent($trackers[0]), 'silence');

	reload_with($node, 'at402.quarantine_limit = 1GB');
	is(ask($trackers[0], $undecodable), '06', 'sent again when there is room: answered');
	is(quarantined($node, 60), 'undecodable||', 'and in quarantine');
	sql($node, 'DELETE FROM at402.quarantine');
	reload_with($node, 'at402.batch_delay = 5ms');
};

# ---- 5 ----

subtest 'promise 5: at402.unknown_devices' => sub {
	my $in_device = "SELECT count(*) FROM at402.device WHERE imei = '" . imei(70) . "'";
	my $udp = connect_udp($node);

	reload_with($node, 'at402.unknown_devices = ignore');
	reset_stat($node);
	transmit($udp, packet(imei => imei(70), seq => 1));
	published_is($node, 'ignored, answers', '1|0', 'ignore: counted, not answered');
	is(sql($node, $in_device), '0', 'ignore: not registered');

	reload_with($node, 'at402.unknown_devices = quarantine');
	is(ask($udp, packet(imei => imei(70), seq => 2)), '06', 'quarantine: answered');
	is(quarantined($node, 70), 'unknown_device||', 'quarantine: in quarantine');
	is(sql($node, $in_device), '0', 'quarantine: not registered');

	reload_with($node, 'at402.unknown_devices = register');
	is(ask($udp, packet(imei => imei(70), seq => 3)), '06', 'register: answered');
	is(stored($node, 70), '3', 'register: registered and stored');
};

# ---- 6 ----

subtest 'promise 6: the listener works as a plain role' => sub {
	sql($node, 'CREATE TABLE public.witness (who name, superuser text);
		GRANT INSERT ON public.witness TO PUBLIC');
	make_trigger('position', 'TRIGGER t AFTER INSERT',
		"INSERT INTO public.witness VALUES (current_user, current_setting('is_superuser'))");
	is(ask(login_as($node, 71), packet(seq => 1)), '06', 'answered');
	is(sql($node, 'SELECT * FROM public.witness'), 'at402|off', 'at402.role stores it');
	is(sql($node, "SELECT DISTINCT usename FROM pg_stat_activity WHERE backend_type LIKE 'at402%'"),
		'at402', 'all workers are that role');
	is(sql($node, "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
		FROM pg_roles WHERE rolname = 'at402'"), 'f', 'a role without any rights');
	is(sql($node, "SELECT bool_and(relowner = 'at402'::regrole) FROM pg_class
		WHERE relnamespace = 'at402'::regnamespace AND relkind IN ('r', 'p', 'v')"), 't',
		'which owns the tables');
	drop_trigger();
};

subtest 'promise 6: row security holds for it where it is FORCEd' => sub {
	my @trackers = map { login_as($node, 80 + $_) } 0, 1;

	sql($node, 'ALTER TABLE at402.position ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON at402.position USING (true)
		WITH CHECK (device_id <> ' . device_id($node, 80) . ')');
	reset_stat($node);
	reload_with($node, 'at402.batch_delay = 200ms');
	transmit($_, packet(seq => 1)) foreach @trackers;
	wait_published($node, 'answers > 0 OR failed_batches > 2');
	ok(!silent($_), 'answered') foreach @trackers;
	is(stored($node, 80), '', 'what the policy forbids is not stored');
	is(quarantined($node, 80), 'rejected|42501|0', 'but in quarantine');
	is(stored($node, 81), '1', 'what it allows is stored');
	sql($node, 'DROP POLICY p ON at402.position;
		ALTER TABLE at402.position DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY');
	is(receive($_, 1), '06', 'answered at last') foreach @trackers;
	reload_with($node, 'at402.batch_delay = 5ms');
	sql($node, 'DELETE FROM at402.quarantine');
};

# ---- 2, with two workers ----

subtest 'promise 2: stored once by two workers at the same time' => sub {
	my $fixed = PostgreSQL::Test::Cluster::get_free_port();
	$node->append_conf('postgresql.conf', 'at402.workers = 2');
	$node->append_conf('postgresql.conf', "at402.port = $fixed");
	$node->restart;
	is(listener_port($node), $fixed, 'both listen on one port');

	# the kernel spreads connections by chance
	my @trackers;
	until (published($node, 'min(connections) >= 5') eq 't')
	{
		push @trackers, map { connect_tcp($node) } 1 .. 10;
		wait_published($node, 'sum(connections) = ' . @trackers);
	}
	my $session = $node->background_psql($At402::database);
	$session->query_safe('BEGIN; LOCK TABLE at402.position IN ACCESS EXCLUSIVE MODE');
	reset_stat($node);
	transmit($_, packet(imei => imei(90), reports => [ map { report(seq => $_) } 0 .. 9 ]))
	  foreach @trackers;
	wait_for($node, "count(DISTINCT pid) = 2 FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE NOT granted AND backend_type = 'at402 listener'");
	pass('both store');
	$session->query_safe('COMMIT');
	$session->quit;
	is(join('', map { receive($_, 1) } @trackers), '06' x @trackers, 'all are answered');
	is(stored($node, 90), '0,1,2,3,4,5,6,7,8,9', 'each report is stored once');
	published_is($node, 'sum(inserted), sum(duplicates), sum(quarantined), sum(failed_batches)',
		'10|' . (10 * @trackers - 10) . '|0|0', 'repeats are counted');
	is(packets_kept(90), '1', 'and the frame is kept once');
};

# ---- what is quarantined is not lost ----

subtest 'at402_release() brings in what was quarantined after the mend' => sub {
	my $tracker = login_as($node, 95);

	sql($node, 'DELETE FROM at402.quarantine');
	make_trigger('position', 'TRIGGER t BEFORE INSERT', "RAISE 'not today'");
	is(ask($tracker, packet(seq => 1)), '06', 'answered');
	is(quarantined($node, 95), 'rejected|P0001|0', 'in quarantine');
	is(($node->psql($At402::database, 'SELECT released, kept FROM at402_release()'))[1], '0|1',
		'released too early: kept');
	sql($node, 'DROP FUNCTION public.user_trigger CASCADE');
	is(($node->psql($At402::database, 'SELECT released, kept FROM at402_release()'))[1], '1|0',
		'released after the mend');
	is(stored($node, 95), '1', 'stored');
	is(quarantined($node, 95), '', 'and left quarantine');
};

$node->stop;
done_testing();
