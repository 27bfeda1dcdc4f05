# 015_whose_fault.pl - two things at once: a report that is refused or hangs, and something else
# that is wrong too; nobody else pays for it, and no answer is false
use strict;
use warnings;
use At402;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $node = new_node('fault', 'at402.batch_delay = 100ms', 'at402.report_timeout = 1s');
my $n = 0;

# Runs for each new row of a table: some lines of plpgsql, which may say RETURN.
sub make_trigger
{
	my ($table, $body, $when) = @_;
	$when //= 'BEFORE INSERT';
	sql($node, "CREATE OR REPLACE FUNCTION public.user_trigger() RETURNS trigger LANGUAGE plpgsql
		AS \$\$ BEGIN $body; RETURN NEW; END \$\$;
		CREATE TRIGGER t $when ON at402.$table FOR EACH ROW
		EXECUTE FUNCTION public.user_trigger()");
}

sub drop_trigger
{
	sql($node, 'DROP FUNCTION public.user_trigger() CASCADE');
}

# Trackers that have logged in, numbers and sockets
sub trackers
{
	my ($count) = @_;
	return map { my $number = ++$n; [ $number, login_as($node, $number) ] } 1 .. $count;
}

sub ids
{
	return join(',', map { device_id($node, $_->[0]) } @_);
}

# Seconds until a tracker's packet is answered
sub seconds
{
	my ($tracker, $packet, $name) = @_;
	my $began = Time::HiRes::time();

	is(ask($tracker->[1], $packet), '06', $name);
	return Time::HiRes::time() - $began;
}

# ---- 1 ----

subtest '1: a repeat of a report that not even quarantine takes is not answered' => sub {
	my $imei = imei(++$n);
	my $packet = packet(imei => $imei);
	my $others = packet(imei => $imei, reports => [ report(seq => 5), report() ]);

	is(ask(connect_udp($node), packet(imei => $imei, seq => 9)), '06', 'the device is known');
	make_trigger('position', "IF NEW.seq = 0 THEN RAISE 'no'; END IF");
	foreach my $way ('it fails', 'it is full')
	{
		if ($way eq 'it fails')
		{
			sql($node, "CREATE FUNCTION public.shut() RETURNS trigger LANGUAGE plpgsql AS
				\$\$ BEGIN RAISE 'shut'; END \$\$; CREATE TRIGGER shut BEFORE INSERT
				ON at402.quarantine FOR EACH ROW EXECUTE FUNCTION public.shut()");
		}
		else
		{
			sql($node, "DROP FUNCTION public.shut() CASCADE;
				INSERT INTO at402.quarantine (reason, bytes) SELECT 'ballast',
					string_agg(decode(md5(n::text), 'hex'), '') FROM generate_series(1, 70000) AS n");
			reload_with($node, 'at402.quarantine_limit = 1MB');
		}
		my @sockets = map { connect_udp($node) } 1 .. 3;
		reset_stat($node);
		transmit($sockets[0], $packet);
		transmit($sockets[1], $packet);
		transmit($sockets[2], $others);
		wait_published($node, 'not_quarantined >= 3');
		ok(silent($_), "$way: not answered") foreach @sockets;
		is(stored($node, $n), '5,9', "$way: stored nowhere");
	}
	sql($node, "DELETE FROM at402.quarantine WHERE reason = 'ballast'");
	reload_with($node, 'at402.quarantine_limit = 1GB');
	my @sockets = map { connect_udp($node) } 1, 2;
	transmit($_, $packet) foreach @sockets;
	is(join('', map { receive($_, 1) } @sockets), '0606', 'with room: both copies are answered');
	is(quarantined($node, $n), 'rejected|P0001|0', 'and it is in quarantine, once');
	drop_trigger();
};

# ---- 2 ----

subtest '2: an internal error of one report does not silence the fleet' => sub {
	my ($one, $other, $third) = trackers(3);
	my $poison = packet(latitude => 0, longitude => 90);

	sql($node, 'ALTER TABLE at402.position ADD COLUMN utm public.geometry
		GENERATED ALWAYS AS (public.ST_Transform(geom, 32630)) STORED');
	like(($node->psql($At402::database, "SELECT public.ST_Transform(public.ST_SetSRID(
		public.ST_MakePoint(90, 0), 4326), 32630)"))[2], qr/ERROR/, 'PostGIS cannot do that');
	transmit($one->[1], $poison);
	wait_published($node, 'failed_batches > 0');
	ok(silent($one->[1]), 'alone it may be everybody\'s: silence');
	is(ask($other->[1], packet(seq => 1)), '06', 'another one comes: answered at once');
	is(receive($one->[1], 1), '06', 'and the one is told apart');
	like(quarantined($node, $one->[0]), qr/^rejected\|XX000\|0$/, 'in quarantine');
	is(stored($node, $other->[0]), '1', 'the other is stored');
	transmit($one->[1], packet(seq => 2, latitude => 0, longitude => 90));
	transmit($third->[1], packet(seq => 2));
	is(receive($_->[1], 1), '06', 'both in one batch: answered') foreach $one, $third;
	sql($node, 'ALTER TABLE at402.position DROP COLUMN utm');
	published_is($node, 'state', 'listening', 'listening');
};

subtest '2: whose error it is does not depend on the language of the trigger' => sub {
	my @cases = (
		[ 'plpgsql, internal error', 'LANGUAGE plpgsql', "BEGIN IF poison THEN RAISE 'x'
			USING ERRCODE = 'XX000'; END IF; RETURN NEW; END", 'XX000' ],
		[ 'plpgsql, not supported', 'LANGUAGE plpgsql', "BEGIN IF poison THEN RAISE 'x'
			USING ERRCODE = '0A000'; END IF; RETURN NEW; END", '0A000' ],
		[ 'plpgsql, object in use', 'LANGUAGE plpgsql', "BEGIN IF poison THEN RAISE 'x'
			USING ERRCODE = '55006'; END IF; RETURN NEW; END", '55006' ],
		[ 'plpgsql, no such table', 'LANGUAGE plpgsql', 'BEGIN IF poison THEN
			PERFORM FROM nowhere; END IF; RETURN NEW; END', '42P01' ],
		[ 'plpgsql, no right', 'LANGUAGE plpgsql', 'BEGIN IF poison THEN
			PERFORM FROM pg_authid; END IF; RETURN NEW; END', '42501' ],
		[ 'SQL', 'plpgsql', 'BEGIN NEW.speed_kmh := CASE WHEN poison THEN public.divide(1, 0)
			ELSE NEW.speed_kmh END; RETURN NEW; END', '22012' ],
	);

	sql($node, 'CREATE FUNCTION public.divide(a int, b int) RETURNS int LANGUAGE sql
		AS $$ SELECT a / b $$');
	foreach my $case (@cases)
	{
		my ($name, undef, $body, $state) = @$case;
		my ($one, $other) = trackers(2);
		my $poison = 'NEW.device_id = ' . device_id($node, $one->[0]);

		$body =~ s/\bpoison\b/$poison/g;
		sql($node, "CREATE FUNCTION public.user_trigger() RETURNS trigger LANGUAGE plpgsql AS
			\$\$ $body \$\$; CREATE TRIGGER t BEFORE INSERT ON at402.position FOR EACH ROW
			EXECUTE FUNCTION public.user_trigger()");
		transmit($_->[1], packet(seq => 1)) foreach $one, $other;
		is(receive($_->[1], 1), '06', "$name: answered") foreach $one, $other;
		is(quarantined($node, $one->[0]), "rejected|$state|0", "$name: the one is in quarantine");
		is(stored($node, $other->[0]), '1', "$name: the other is stored");
		drop_trigger();
	}

	# a trigger in C, of PostgreSQL itself
	my ($one, $other) = trackers(2);
	sql($node, 'ALTER TABLE at402.position ADD COLUMN odd xml');
	sql($node, 'CREATE TRIGGER t BEFORE INSERT ON at402.position FOR EACH ROW
		WHEN (NEW.device_id = ' . device_id($node, $one->[0]) . ")
		EXECUTE FUNCTION tsvector_update_trigger('odd', 'pg_catalog.simple', 'reasons')");
	transmit($_->[1], packet(seq => 1)) foreach $one, $other;
	is(receive($_->[1], 1), '06', 'C: answered') foreach $one, $other;
	like(quarantined($node, $one->[0]), qr/^rejected\|\w+\|0$/, 'C: the one is in quarantine');
	is(stored($node, $other->[0]), '1', 'C: the other is stored');
	sql($node, 'DROP TRIGGER t ON at402.position; ALTER TABLE at402.position DROP COLUMN odd');
};

subtest '2: an error of the environment that a trigger raises for one device does not last' => sub {
	my ($one, $other) = trackers(2);

	make_trigger('position', 'IF NEW.device_id = ' . ids($one) . " THEN RAISE 'no disk'
		USING ERRCODE = 'disk_full'; END IF");
	transmit($_->[1], packet(seq => 1)) foreach $one, $other;
	is(receive($other->[1], 1), '06', 'the other is answered');
	is(ask($other->[1], packet(seq => 2)), '06', 'and goes on');
	ok(silent($one->[1]), 'the one is not');
	is(quarantined($node, $one->[0]), '', 'nor is it in quarantine: that error is not judged');
	drop_trigger();
	is(receive($one->[1], 1), '06', 'answered when it is over');
	is(stored($node, $one->[0]), '1', 'and stored');
};

# ---- 3 ----

subtest '3: devices that hang: the others are answered within two timeouts, then without wait' => sub {
	my @hang = trackers(12);
	my @good = trackers(3);
	my $session = $node->background_psql($At402::database);

	$session->query_safe('SELECT pg_advisory_lock(402)');
	make_trigger('position', 'IF NEW.device_id IN (' . ids(@hang) . ')
		THEN PERFORM pg_advisory_xact_lock(402); END IF');
	# two frames of each that hangs, before the good ones
	foreach my $tracker (@hang)
	{
		transmit($tracker->[1], packet(seq => 1), packet(seq => 2));
	}
	my $slowest = 0;
	foreach my $tracker (@good)
	{
		my $took = seconds($tracker, packet(seq => 1), 'a good one is answered');
		$slowest = $took if $took > $slowest;
	}
	cmp_ok($slowest, '<', 4, 'within two timeouts, and the machine\'s share');
	my $began = Time::HiRes::time();
	foreach my $seq (2 .. 11)
	{
		seconds($_, packet(seq => $seq), 'answered') foreach @good;
	}
	my $took = Time::HiRes::time() - $began;
	cmp_ok($took, '<', 15, sprintf('30 more packets took %.1f s', $took));
	ok(silent($hang[0][1]) || quarantined($node, $hang[0][0]) ne '',
		'one that hangs is not answered before it is in quarantine');
	# they hang three times each; others pass meanwhile
	my $seq = 12;
	while ($seq < 2000 && grep { quarantined($node, $_->[0]) eq '' } @hang[ 0, 1 ])
	{
		ask($good[ $seq % 3 ][1], packet(seq => $seq % 256, time => now() + $seq));
		$seq++;
	}
	like(quarantined($node, $hang[0][0]), qr/^timeout\|57014\|/, 'in quarantine at last');
	drop_trigger();
	$session->query_safe('SELECT pg_advisory_unlock(402)');
	$session->quit;
	is(receive($hang[11][1], 1), '06', 'the last is answered when nothing hangs any more');
	wait_published($node, "state = 'listening'");
};

subtest '3: a device whose row of device_state is locked' => sub {
	my ($one, $other) = trackers(2);
	my $session = $node->background_psql($At402::database);

	is(ask($_->[1], packet(seq => 1)), '06', 'answered') foreach $one, $other;
	$session->query_safe('BEGIN; SELECT FROM at402.device_state WHERE device_id = '
		. ids($one) . ' FOR UPDATE');
	transmit($one->[1], packet(seq => 2), packet(seq => 3));
	cmp_ok(seconds($other, packet(seq => 2), 'the other is answered'), '<', 4,
		'within two timeouts');
	ok(silent($one->[1]), 'the one waits');
	$session->query_safe('COMMIT');
	$session->quit;
	is(receive($one->[1], 1), '06', 'and is answered when the lock is gone');
};

# ---- 5 ----

subtest '5: quarantine that is a plain table' => sub {
	my $plain = new_node('plain', 'at402.quarantine_limit = 1MB');

	sql($plain, 'DROP SCHEMA at402 CASCADE; SELECT at402_create_tables(partitioned => false)');
	my $tracker = connect_tcp($plain);
	is(ask($tracker, "\$ASTRA;AT402;123456789012345;;7;X;1\r\n"), '06', 'an impossible login');
	is(sql($plain, 'SELECT reason FROM at402.quarantine'), 'impossible_imei', 'is in quarantine');
	sql($plain, "INSERT INTO at402.quarantine (reason, bytes) SELECT 'ballast',
		string_agg(decode(md5(n::text), 'hex'), '') FROM generate_series(1, 70000) AS n");
	transmit($tracker, "\$ASTRA;AT402;123456789012346;;7;X;1\r\n");
	wait_published($plain, 'not_quarantined = 1');
	ok(silent($tracker), 'when it is full: silence');
	is(log_count($plain, '(?:server process|background worker) .* terminated by signal'), 0,
		'and no crash');
	$plain->stop;
};

# ---- 8 ----

subtest '8: a trigger that changes a key column' => sub {
	my ($one, $other) = trackers(2);

	make_trigger('position', 'IF NEW.device_id = ' . ids($one)
		. " THEN NEW.time := NEW.time - interval '1 hour'; END IF");
	transmit($_->[1], packet(seq => 1, reasons => 16)) foreach $one, $other;
	is(receive($_->[1], 1), '06', 'answered') foreach $one, $other;
	is(quarantined($node, $one->[0]), 'rejected|27000|0', 'the report is in quarantine');
	like(sql($node, 'SELECT message FROM at402.quarantine WHERE imei = \'' . imei($one->[0]) . "'"),
		qr/changed the key/, 'and says why');
	is(stored($node, $one->[0]), '', 'no half of it is stored');
	is(stored($node, $other->[0]), '1', 'the other is');
	drop_trigger();
};

# ---- 9 ----

subtest '9: quarantine does not multiply: one row a frame' => sub {
	my ($one) = trackers(1);
	my $packet = packet(reports => [ map { report(seq => $_, time => now() + $_) } 0 .. 254 ]);

	reload_with($node, 'at402.report_timeout = 20s');
	make_trigger('position', "IF NEW.seq > 1 THEN RAISE 'number %', NEW.seq; END IF");
	sql($node, 'DELETE FROM at402.quarantine');
	reset_stat($node);
	is(ask($one->[1], $packet), '06', 'answered');
	is(sql($node, 'SELECT count(*), sum(length(bytes)), min(report_no), array_length(min(report_nos), 1),
		min(message) FROM at402.quarantine'), '1|' . length($packet) . '|2|253|number 2',
		'one row, with the numbers of those rejected');
	published_is($node, 'inserted, quarantined', '2|253', 'all are counted');
	is(stored($node, $one->[0]), '0,1', 'the others are stored');
	drop_trigger();
	is(($node->psql($At402::database, 'SELECT * FROM at402_release()'))[1], '1|1|0', 'released');
	is(sql($node, 'SELECT count(*) FROM at402.position WHERE device_id = ' . ids($one)), '255',
		'all are stored');
};

# ---- 10 ----

subtest '10: rules of users on our tables' => sub {
	my ($one) = trackers(1);

	sql($node, 'CREATE TABLE public.copy (device_id int, seq smallint);
		GRANT INSERT ON public.copy TO at402;
		CREATE RULE also AS ON INSERT TO at402.position
			DO ALSO INSERT INTO public.copy VALUES (NEW.device_id, NEW.seq);
		CREATE RULE also_update AS ON UPDATE TO at402.device_state DO ALSO NOTHING;
		CREATE RULE also AS ON INSERT TO at402.device_state DO ALSO NOTHING;
		CREATE RULE also AS ON INSERT TO at402.device DO ALSO NOTHING;
		CREATE RULE also AS ON INSERT TO at402.event DO ALSO NOTHING');
	is(ask($one->[1], packet(seq => 1, reasons => 16)), '06', 'a report');
	is(ask($one->[1], packet(seq => 1, reasons => 16)), '06', 'a repeat');
	is(ask($one->[1], packet(reports => [ map { report(seq => $_, reasons => 16) } 1 .. 3 ])), '06',
		'a repeat among others');
	is(stored($node, $one->[0]), '1,2,3', 'each is stored once');
	is(quarantined($node, $one->[0]), '', 'none is in quarantine');
	is(ask(connect_tcp($node), packet(imei => imei(++$n), seq => 4)), '06', 'a new device');
	is(stored($node, $n), '4', 'is registered and stored');
	is(sql($node, "SELECT seq FROM at402.device_state WHERE device_id = " . device_id($node, $n)),
		'4', 'with its state');
	is(ask(connect_tcp($node), packet(imei => imei($n), seq => 5, time => now() + 60)), '06', 'more');
	is(sql($node, "SELECT seq FROM at402.device_state WHERE device_id = " . device_id($node, $n)),
		'5', 'the state follows');
	cmp_ok(sql($node, 'SELECT count(*) FROM public.copy'), '>=', 4, 'the rule was followed');
	sql($node, "DROP RULE also ON at402.$_") foreach qw(position device event device_state);
	sql($node, 'DROP RULE also_update ON at402.device_state; DROP TABLE public.copy');
};

subtest '10: forced row security without a policy to read' => sub {
	my ($one) = trackers(1);

	sql($node, 'ALTER TABLE at402.position ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON at402.position FOR INSERT WITH CHECK (true)');
	transmit($one->[1], packet(seq => 1));
	wait_published($node, 'failed_batches > 0');
	ok(silent($one->[1]), 'silence');
	is(published($node, "state, last_error ~ 'execute: CREATE POLICY at402_reads ON at402.position FOR SELECT TO at402'"),
		'waiting|t', 'the view says what for, with the policy');
	is(quarantined($node, $one->[0]), '', 'nothing is in quarantine');
	$node->wait_for_log(qr/HINT: .*CREATE POLICY at402_reads ON at402.position FOR SELECT TO at402/);
	pass('the log has the statement');
	sql($node, 'CREATE POLICY at402_reads ON at402.position FOR SELECT TO at402 USING (true)');
	is(receive($one->[1], 1), '06', 'with the policy: answered');
	is(stored($node, $one->[0]), '1', 'and stored');
	sql($node, 'ALTER TABLE at402.position DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;
		DROP POLICY p ON at402.position; DROP POLICY at402_reads ON at402.position');
};

# ---- 15 ----

subtest '15: tables of the version before are stored into' => sub {
	my ($one) = trackers(1);

	sql($node, 'ALTER TABLE at402.quarantine DROP COLUMN report_nos;
		ALTER TABLE at402.device_state DROP COLUMN dirty_since');
	is(ask($one->[1], packet(seq => 1)), '06', 'answered');
	is(ask($one->[1], frame('C', 'x' x 28)), '06', 'quarantine too');
	is(stored($node, $one->[0]), '1', 'stored');
	is(quarantined($node, $one->[0]), 'undecodable||', 'in quarantine');
	sql($node, 'SELECT at402_create_tables()');
	is(ask($one->[1], packet(seq => 2, time => now() + 1)), '06', 'with the new tables: answered');
	is(sql($node, 'SELECT dirty_since IS NOT NULL FROM at402.device_state WHERE device_id = '
		. ids($one)), 't', 'and the new columns are filled at once');
};

subtest '15: the extension dropped with CASCADE, and made again over tables that are filled' => sub {
	my ($one) = trackers(1);

	is(ask($one->[1], packet(seq => 1)), '06', 'answered');
	my $frames = sql($node, 'SELECT count(*) FROM at402.frame');
	sql($node, 'SET client_min_messages = warning; DROP EXTENSION at402 CASCADE');
	transmit($one->[1], packet(seq => 2));
	$node->wait_for_log(qr/extension "at402" does not exist/);
	ok(silent($one->[1]), 'without it: silence');
	sql($node, 'SET client_min_messages = warning; CREATE EXTENSION at402;
		ALTER TABLE at402.position DROP COLUMN received_at; SELECT at402_create_tables()');
	is(receive($one->[1], 1), '06', 'made again, and at402_create_tables(): answered');
	is(stored($node, $one->[0]), '1,2', 'what was stored is there, and the new report');
	is(sql($node, 'SELECT count(*) FILTER (WHERE frame IS NULL), count(frame) FROM at402.frame'),
		"$frames|1", 'the frames that went with their type are empty, the new one is not');
	is(sql($node, 'SELECT seq FROM at402.position WHERE received_at IS NOT NULL'), '2',
		'a column of the user\'s that was dropped is filled again');
	sql($node, 'SELECT at402_create_tables()');
	is(ask($one->[1], packet(seq => 3)), '06', 'called once more: nothing to do');
};

subtest '16: devices of a batch that is rolled back do not use up at402.register_limit' => sub {
	my $udp = connect_udp($node);

	reload_with($node, 'at402.register_limit = 2');
	make_trigger('position', "RAISE 'disk' USING ERRCODE = 'disk_full'");
	reset_stat($node);
	transmit($udp, packet(imei => imei(++$n)));
	wait_published($node, 'failed_batches >= 4');
	drop_trigger();
	is(receive($udp, 1), '06', 'answered when it is over');
	is(ask($udp, packet(imei => imei(++$n))), '06', 'a second device');
	transmit($udp, packet(imei => imei(++$n)));
	wait_published($node, 'over_limit = 1');
	ok(silent($udp), 'a third is over the limit');
	reload_with($node, 'at402.register_limit = -1');
};

subtest '16: a reload that moves the port in an outage does not end it' => sub {
	my ($one) = trackers(1);
	my ($port, $other_port) = (published($node, 'port'), PostgreSQL::Test::Cluster::get_free_port());

	make_trigger('position', "RAISE 'disk' USING ERRCODE = 'disk_full'");
	transmit($one->[1], packet(seq => 1));
	wait_published($node, "state = 'retrying'");
	reload_with($node, "at402.port = $other_port");
	published_is($node, 'port, state', "$other_port|retrying", 'the port moves, the outage goes on');
	drop_trigger();
	is(receive($one->[1], 1), '06', 'answered when it is over');
	published_is($node, 'state', 'listening', 'and only then it is listening');
	reload_with($node, "at402.port = $port");
	published_is($node, 'port', $port, 'the port as before');
};

subtest '16: what trackers sent is shown in last_error to those only who may see all statistics' => sub {
	my ($one) = trackers(1);
	my $ask = sub {
		return ($node->psql($At402::database, 'SELECT last_error FROM at402_stat_listener',
			extra_params => [ '-U', $_[0] ]))[1];
	};

	make_trigger('position', "RAISE 'no room for IMEI %', (SELECT imei FROM at402.device
		WHERE id = NEW.device_id) USING ERRCODE = 'disk_full'");
	transmit($one->[1], packet(seq => 1));
	wait_published($node, "state = 'retrying'");
	drop_trigger();
	is(receive($one->[1], 1), '06', 'answered');
	sql($node, 'CREATE ROLE nosy LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats');
	is($ask->('nosy'), '', 'anybody: nothing');
	like($ask->('watcher'), qr/no room for IMEI @{[ imei($one->[0]) ]}/, 'pg_read_all_stats: all');
};

subtest '16: whoever reads while somebody resets sees no negative number' => sub {
	my $fleet = start_fleet(published($node, 'port'), PostgreSQL::Test::Utils::tempdir() . '/journal',
		'--trackers', 20, '--reports', 150, '--first', '354000000000000');
	my ($errors, $resetting) = '';

	$resetting = IPC::Run::start([ 'psql', '-X', '-q', '-d', $node->connstr($At402::database), '-c',
		'DO $$ BEGIN FOR i IN 1..20000 LOOP PERFORM at402_stat_reset(); END LOOP; END $$' ],
		'2>', \$errors);
	my $negative = sql($node, q{DO $$ BEGIN FOR i IN 1..20000 LOOP
		IF (SELECT bytes < 0 OR frames < 0 OR answers < 0 OR reports < 0 OR inserted < 0 OR
			batches < 0 OR ack_latency_avg_ms < 0 FROM at402_stat_listener) THEN
			RAISE 'negative: %', (SELECT s FROM at402_stat_listener AS s);
		END IF; END LOOP; END $$; SELECT 'none'});
	is($negative, 'none', 'none is negative');
	$resetting->finish;
	is($errors, '', 'while the other resets');
	ok(finish_fleet($fleet), 'and trackers report');
};

is(still_answers($node), '06', 'after all of this a good tracker is answered');
$node->stop;
done_testing();
