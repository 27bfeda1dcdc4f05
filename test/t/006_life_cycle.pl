# 006_life_cycle.pl - the listener from the first start to restore: what comes and goes around it,
# settings that change, who is connected
use strict;
use warnings;
use At402;
use IO::Select;
use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $database = $At402::database;
my ($port, $other_port) = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 2;
my $node = init_node('life', "at402.port = $port", "at402.database = '$database'",
	"at402.role = 'at402'", 'restart_after_crash = on');

# DROP DATABASE waits for every process of the server; a worker that does not listen holds it up.
sub drop_other_ok
{
	my ($when) = @_;
	my ($result, undef, $error) = $node->psql('postgres', 'CREATE DATABASE other;
		SET statement_timeout = \'20s\';
		DROP DATABASE other');
	is($error, '', "DROP DATABASE of another database is not held up $when");
}

sub refuses
{
	my ($address, $refused_port) = @_;
	return !IO::Socket::INET->new(PeerAddr => $address, PeerPort => $refused_port);
}

# ---- the first start ----

subtest 'without database, extension or tables it waits, and says so once' => sub {
	my @waits = map { qr/at402 waits in database "$database": $_ do(?:es)? not exist/ }
	  'extension at402', 'table at402.device';

	$node->start;
	$node->wait_for_log(qr/FATAL:  (?:role "at402"|database "$database") does not exist/);
	drop_other_ok('while there is no database for it');
	$node->safe_psql('postgres', "CREATE ROLE at402 LOGIN; CREATE DATABASE $database");
	$node->wait_for_log($waits[0]);
	$node->wait_for_log(qr/HINT:  .*CREATE EXTENSION at402 CASCADE;/);
	pass('no extension: the log has the statement to run');
	drop_other_ok('while there is no extension');
	sql($node, 'CREATE EXTENSION at402 CASCADE');
	$node->wait_for_log($waits[1]);
	$node->wait_for_log(qr/HINT:  .*SELECT at402_create_tables\(\);/);
	pass('no tables: the log has the statement to run');
	is(published($node, 'state, port'), 'waiting|', 'at402_stat_listener shows that it waits');
	ok(refuses('127.0.0.1', $port), 'the port is closed');
	drop_other_ok('while there are no tables');
	sql($node, 'SELECT at402_create_tables()');
	is(listener_port($node), $port, 'with tables it listens');
	is(log_count($node, $_), 1, 'one line in the log') foreach @waits;
	is(still_answers($node), '06', 'and answers');
};

# ---- DROP ----

subtest 'DROP DATABASE of another database is never held up' => sub {
	my $tracker = login_as($node, 1);
	my $session = $node->background_psql($database);

	drop_other_ok('while it listens');
	$session->query_safe('BEGIN; LOCK TABLE at402.position IN ACCESS EXCLUSIVE MODE');
	transmit($tracker, packet(seq => 1));
	wait_for($node, "count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE NOT granted AND backend_type = 'at402 listener'");
	drop_other_ok('while it stores');
	ok(silent($tracker), 'meanwhile: silence');
	$session->query_safe('COMMIT');
	$session->quit;
	is(receive($tracker, 1), '06', 'afterwards: answered');

	reset_stat($node);
	sql($node, 'ALTER TABLE at402.event RENAME TO hidden');
	transmit($tracker, packet(seq => 2, reasons => 16));
	wait_published($node, "failed_batches > 0 AND state = 'waiting'");
	drop_other_ok('while it waits');
	sql($node, 'ALTER TABLE at402.hidden RENAME TO event');
	is(receive($tracker, 1), '06', 'afterwards: answered');
};

subtest 'DROP EXTENSION is refused while tables use its type' => sub {
	my ($result, undef, $error) = $node->psql($database, '\set VERBOSITY verbose
		DROP EXTENSION at402');
	like($error, qr/2BP01/, 'refused');
	is(still_answers($node), '06', 'nothing has changed');
};

subtest 'DROP DATABASE of its own database' => sub {
	my $tracker = login_as($node, 2);
	my ($result, undef, $error) = $node->psql('postgres', "DROP DATABASE $database");

	like($error, qr/is being accessed by other users/, 'refused');
	is(ask($tracker, packet(seq => 1)), '06', 'it goes on');
	$node->safe_psql('postgres', "DROP DATABASE $database WITH (FORCE)");
	is(receive($tracker, 1), ' closed', 'with FORCE: its connections are closed');
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	sql($node, 'CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables()');
	listener_port($node);
	is(ask(connect_tcp($node), packet(imei => imei(2))), '06', 'made again: it answers');
};

# ---- reload ----

subtest 'reload: at402.port' => sub {
	my $tracker = login_as($node, 3);

	reload_with($node, "at402.port = $other_port");
	published_is($node, 'state, port', "listening|$other_port", 'at402_stat_listener shows it');
	ok(refuses('127.0.0.1', $port), 'the former port is closed');
	is(ask($tracker, packet(seq => 1)), '06', 'the open connection goes on');
	is(still_answers($node), '06', 'a new one is answered');
	is(ask(connect_udp($node), packet(imei => imei(3), seq => 2)), '06', 'a datagram too');
	reload_with($node, "at402.port = $port");
	published_is($node, 'state, port', "listening|$port", 'and back');
	is(ask($tracker, packet(seq => 3)), '06', 'the open connection goes on');
	wait_for($node, "connected FROM at402.last_position WHERE imei = '" . imei(3) . "'");
	pass('and counts as connected');
};

subtest 'reload: at402.listen_addresses' => sub {
	my $tracker = login_as($node, 4);

	reload_with($node, "at402.listen_addresses = '127.0.0.2, 127.0.0.3'");
	published_is($node, 'address', '127.0.0.2, 127.0.0.3', 'at402_stat_listener shows it');
	ok(refuses('127.0.0.1', $port), 'the former address is closed');
	is(ask(login_as($node, 4, PeerAddr => "127.0.0.$_"), packet(seq => $_)), '06',
		"127.0.0.$_ is open") foreach 2, 3;
	is(ask($tracker, packet(seq => 4)), '06', 'the open connection goes on');

	my $refused = 'at402 could not listen: .*192\.0\.2\.1';
	reload_with($node, "at402.listen_addresses = '192.0.2.1'");	# nobody has this one
	$node->wait_for_log(qr/$refused/);
	ok(!IO::Select->new($tracker)->can_read(2.5), 'while it tries again: connections stay');
	is(log_count($node, $refused), 1, 'an address that cannot be had: one line in the log');
	is(ask(login_as($node, 4, PeerAddr => '127.0.0.2'), packet(seq => 5)),
		'06', 'the former addresses stay open');
	is(ask($tracker, packet(seq => 6)), '06', 'so do connections');
	is(sql($node, "SELECT connected FROM at402.last_position WHERE imei = '" . imei(4) . "'"), 't',
		'which count as connected');
	reload_with($node, "at402.listen_addresses = 'localhost'");
	published_is($node, 'state, address', 'listening|localhost', 'and back');
	is(sql($node, "SELECT count(*) FROM at402.event WHERE kind = 'offline' 
		AND device_id = " . device_id($node, 4)), '0', 'never offline');
};

subtest 'reload: at402.tcp and at402.udp' => sub {
	my $tracker = login_as($node, 5);
	my $at = -s $node->logfile;

	reload_with($node, 'at402.tcp = off');
	$at = $node->wait_for_log(qr/at402 listening on "localhost", port $port, UDP$/m, $at);
	ok(refuses('127.0.0.1', $port), 'no TCP: the port is closed');
	is(ask(connect_udp($node), packet(imei => imei(5), seq => 1)), '06', 'no TCP: UDP is answered');
	is(ask($tracker, packet(seq => 2)), '06', 'and the open connection');
	reload_with($node, 'at402.tcp = on', 'at402.udp = off');
	$at = $node->wait_for_log(qr/at402 listening on "localhost", port $port, TCP$/m, $at);
	my $udp = connect_udp($node);
	transmit($udp, packet(imei => imei(5), seq => 3));
	is(receive($udp, 1), ' closed', 'no UDP: the port is closed');
	is(still_answers($node), '06', 'no UDP: TCP is answered');
	reload_with($node, 'at402.udp = on');
	$node->wait_for_log(qr/at402 listening on "localhost", port $port, TCP, UDP$/m, $at);
	$udp = connect_udp($node);
	is(ask($udp, packet(imei => imei(5), seq => 4)), '06', 'and back');
	is(stored($node, 5), '1,2,4', 'stored');
};

subtest 'reload: at402.batch_reports and at402.batch_delay' => sub {
	my $tracker = login_as($node, 6);

	reload_with($node, 'at402.batch_delay = 10s', 'at402.batch_reports = 3');
	reset_stat($node);
	transmit($tracker, map { packet(seq => $_) } 1, 2);
	wait_published($node, 'frames = 2');
	ok(silent($tracker), 'two of three reports: they wait');
	transmit($tracker, packet(seq => 3));
	is(receive($tracker, 3), '060606', 'the third: all are answered');
	transmit($tracker, packet(seq => 4));
	wait_published($node, 'frames = 4');
	ok(silent($tracker), 'one waits for others');
	reload_with($node, 'at402.batch_delay = 5ms', 'at402.batch_reports = 500');
	is(receive($tracker, 1), '06', 'with a short delay it does not');
};

subtest 'reload: at402.idle_timeout' => sub {
	my $tracker = login_as($node, 7);

	reload_with($node, 'at402.idle_timeout = 1s');
	reset_stat($node);
	is(receive($tracker, 1), ' closed', 'a silent connection is closed');
	published_is($node, 'timeouts, connections', '1|0', 'and counted');
	reload_with($node, 'at402.idle_timeout = 2h');
};

subtest 'reload: at402.store_frames and at402.routine_events' => sub {
	my $tracker = login_as($node, 8);
	my $rows = "SELECT (SELECT count(*) FROM at402.frame WHERE device_id = d.id),
		(SELECT count(*) FROM at402.event WHERE device_id = d.id AND seq >= 0)
		FROM at402.device d WHERE imei = '" . imei(8) . "'";

	is(ask($tracker, packet(seq => 1)), '06', 'answered');
	is(sql($node, $rows), '1|0', 'frames are kept, routine events are not');
	reload_with($node, 'at402.store_frames = off', 'at402.routine_events = on');
	is(ask($tracker, packet(seq => 2, reasons => 0x103)), '06', 'answered');
	is(sql($node, $rows), '1|3', 'the other way round');
	reload_with($node, 'at402.store_frames = on', 'at402.routine_events = off');
};

subtest 'reload: at402.maintain_interval and at402.partitions_ahead' => sub {
	my $partitions = "count(*) FROM pg_inherits WHERE inhparent = 'at402.position'::regclass";
	my $before = sql($node, "SELECT $partitions");

	reload_with($node, 'at402.partitions_ahead = 6', 'at402.maintain_interval = 1s');
	wait_for($node, $before + 3 . " = $partitions");
	pass('the maintenance worker makes partitions ahead');
	is(still_answers($node), '06', 'while it runs: answered');
	reload_with($node, 'at402.partitions_ahead = 3', 'at402.maintain_interval = 10min');
};

# ---- the port is taken ----

subtest 'two clusters on one port: the second says so, and waits' => sub {
	my $second = new_node('second');
	my $refused = 'at402 could not listen: .*in use';

	# as they begin
	$second->append_conf('postgresql.conf', "at402.port = $port");
	$second->restart;
	wait_published($second, 'last_error IS NOT NULL');
	is(published($second, 'state, port'), 'waiting|', 'at402_stat_listener shows it');
	my $tracker = login_as($node, 19);
	ok(!IO::Select->new($tracker)->can_read(2.5), 'while it tries again: the first goes on');
	is(log_count($second, $refused), 1, 'one line in the log');
	is(still_answers($node), '06', 'the first is not disturbed');
	$node->stop;
	listener_port($second);
	is(still_answers($second), '06', 'when the port is free it listens');
	$second->stop;
	$node->start;
	listener_port($node);
};

subtest 'one of the two sockets is taken: the rest serves, and it is opened when it is free' => sub {
	my $taken = PostgreSQL::Test::Cluster::get_free_port();
	my $thief = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $taken, Proto => 'udp')
	  or die "cannot take a port: $!";
	my $listens = qr/at402 listening on "127.0.0.1", port $taken, TCP, UDP/;

	reload_with($node, "at402.listen_addresses = '127.0.0.1'", "at402.port = $taken");
	my $at = $node->wait_for_log(qr/$listens, but not everywhere$/m);
	published_is($node, 'state, port', "listening|$taken", 'TCP is open');
	is(still_answers($node), '06', 'and answers');
	close $thief;
	$node->wait_for_log(qr/$listens$/m, $at);
	my $tracker = connect_udp($node);
	transmit($tracker, packet(imei => imei(19), seq => 200));
	is(receive($tracker, 1), '06', 'UDP is open too');
	reload_with($node, "at402.listen_addresses = 'localhost'", "at402.port = $port");
	published_is($node, 'state, port', "listening|$port", 'as before');
};

# ---- restart ----

subtest 'restart with connected trackers' => sub {
	my @trackers = map { login_as($node, 20 + $_) } 0 .. 9;

	is(ask($_, packet(seq => 1)), '06', 'answered') foreach @trackers;
	$node->restart;
	is(receive($_, 1), ' closed', 'closed') foreach @trackers;
	listener_port($node);
	@trackers = map { login_as($node, 20 + $_) } 0 .. 9;
	is(ask($_, packet(seq => 1), packet(seq => 2)), '0606', 'answered again') foreach @trackers;
	is(stored($node, 20 + $_), '1,2', 'stored once') foreach 0 .. 9;
};

subtest 'at402_stat_reset()' => sub {
	my $tracker = login_as($node, 30);

	is(ask($tracker, packet(seq => 1), packet(seq => 1)), '0606', 'answered');
	published_is($node, 'inserted > 0 AND duplicates > 0 AND batches > 0', 't', 'counted');
	reset_stat($node);
	is(published($node, 'accepted, bytes, frames, answers, reports, inserted, duplicates, batches,
		ack_latency_avg_ms, ack_latency_max_ms'), '0|0|0|0|0|0|0|0||', 'zero');
	published_is($node, 'connections, state', '1|listening', 'what is so is so');
	is(ask($tracker, packet(seq => 2)), '06', 'answered');
	published_is($node, 'frames, answers, inserted', '1|1|1', 'counted anew');
};

# ---- who is connected ----

subtest 'online and offline' => sub {
	my $of_device = "d JOIN at402.device ON id = device_id WHERE imei = '" . imei(40) . "'";
	my $shown = "SELECT (SELECT connected FROM at402.device_state $of_device),
		(SELECT string_agg(kind, ' ' ORDER BY time) FROM at402.event $of_device)";
	my $becomes = sub { ok($node->poll_query_until($database, $shown, $_[0]), $_[1]) };

	my $tracker = login_as($node, 40);
	$becomes->('t|online', 'it connects: online');
	my $second = login_as($node, 40);
	is(ask($second, packet(seq => 1)), '06', 'a second connection');
	close $tracker;
	published_is($node, 'connections', '1', 'one of them ends');
	is(ask($second, packet(seq => 2)), '06', 'the other goes on');
	$becomes->('t|online', 'still online');
	close $second;
	$becomes->('f|online offline', 'none is left: offline');
	$tracker = login_as($node, 40);
	$becomes->('t|online offline online', 'it comes again: online');
	kill_hard($node, 'postmaster');
	$becomes->('f|online offline online offline', 'kill -9 of the server: offline');
	$tracker = login_as($node, 40);
	$becomes->('t|online offline online offline online', 'it comes again: online');
	kill_hard($node, 'listener');
	$becomes->('f|online offline online offline online offline',
		'kill -9 of the listener: offline');
	my $udp = connect_udp($node);
	is(ask($udp, packet(imei => imei(40), seq => 3)), '06', 'a datagram');
	$becomes->('f|online offline online offline online offline', 'is no connection');
};

# ---- dump and restore ----

subtest 'pg_dump and restore, with triggers and indexes of the user' => sub {
	my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
	my $count = join(', ', map { "(SELECT count(*) FROM at402.$_)" }
		  qw(device device_state position event io motion can frame quarantine));
	my $own = "SELECT string_agg(indexdef, ' ' ORDER BY indexdef) FROM pg_indexes
		WHERE indexname LIKE 'own%' UNION ALL
		SELECT string_agg(tgname || tgrelid::regclass, ' ') FROM pg_trigger WHERE tgname = 'own'";

	sql($node, q{CREATE TABLE public.heard (imei text);
		GRANT ALL ON public.heard TO at402;
		CREATE FUNCTION public.hear() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO public.heard SELECT imei FROM at402.device WHERE id = NEW.device_id;
			RETURN NEW; END $$;
		CREATE TRIGGER own AFTER INSERT ON at402.position FOR EACH ROW
			EXECUTE FUNCTION public.hear();
		CREATE INDEX own_received ON at402.position (received_at);
		CREATE INDEX own_kind ON at402.event (kind, time)});
	my $tracker = login_as($node, 50);
	is(ask($tracker, packet(seq => 1, reasons => 0x5010, inputs => 3), frame('C', 'x')), '0606',
		'answered');
	wait_for($node, "connected FROM at402.last_position WHERE imei = '" . imei(50) . "'");
	my ($before, $mine) = (sql($node, "SELECT $count"), sql($node, $own));

	$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr($database) ], 'pg_dump');
	$node->safe_psql('postgres', "DROP DATABASE $database WITH (FORCE)");
	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0");
	$node->command_ok([ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f',
		$dump, $node->connstr($database) ], 'restore');
	is(sql($node, "SELECT $count"), $before, 'all rows are there');
	is(sql($node, $own), $mine, 'triggers and indexes of the user too');

	listener_port($node);
	$tracker = login_as($node, 50);
	is(ask($tracker, packet(seq => 1, reasons => 0x5010, inputs => 3), packet(seq => 2)), '0606',
		'trackers are answered');
	is(stored($node, 50), '1,2', 'what was stored before is stored once');
	is(sql($node, "SELECT count(*) FROM public.heard WHERE imei = '" . imei(50) . "'"), '2',
		'the user\'s trigger goes on');
	is(ask(connect_tcp($node), packet(imei => imei(51))), '06', 'a new device is registered');
};

subtest 'fences, rules, alerts, commands and trips are restored as they were' => sub {
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $rows = join(' UNION ALL ', map { "SELECT '$_', count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM at402.$_ AS t" }
		  qw(geofence geofence_version geofence_visit rule rule_run alert outbox driver_key trip command device_secret));
	my $restore = sub {
		my ($copy, $file, $role) = @_;
		$node->command_ok([ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null',
			'-c', "SET session_replication_role = $role", '-f', $file, $node->connstr($copy) ], "restore to $copy");
		is($node->safe_psql($copy, $rows), sql($node, $rows), "the rows are there, as they were");
	};

	sql($node, q{CREATE ROLE writer;
		GRANT writer TO at402;
		GRANT USAGE ON SCHEMA at402 TO writer;
		GRANT SELECT ON at402.position, at402.device TO writer;
		GRANT SELECT, INSERT ON at402.rule TO writer;
		INSERT INTO at402.geofence (name, geom, radius_m) VALUES ('yard', 'SRID=4326;POINT(-0.3268 52.1388)', 100);
		UPDATE at402.geofence SET radius_m = 50;
		INSERT INTO at402.driver (name) VALUES ('Ann');
		INSERT INTO at402.driver_key (driver_id, serial) VALUES (1, 'A1');
		INSERT INTO at402.rule (name, source, condition, level, channels) VALUES ('any', 'position', 'r.speed_kmh < 5', 'info', '{mail}');
		SET ROLE writer;
		INSERT INTO at402.rule (name, source, condition, level) VALUES ('moves', 'position', 'r.speed_kmh > 5', 'info')});
	my $tracker = login_as($node, 52);
	is(ask($tracker, map { packet(seq => $_, time => now() + $_, status => $_ % 2, speed_kmh => 20 * ($_ % 2)) } 1 .. 4), '06' x 4,
		'answered');
	close $tracker;
	wait_for($node, "NOT connected FROM at402.last_position WHERE imei = '" . imei(52) . "'");
	sql($node, "INSERT INTO at402.device_secret SELECT id, '1234' FROM at402.device WHERE imei = '" . imei(52) . "';
		SELECT at402_command_cancel(at402_command('" . imei(52) . q{', '$POLL'));
		SELECT at402_command('} . imei(52) . q{', '$STAT'); SELECT at402_maintain()});
	is(sql($node, "SELECT count(*) FROM ($rows) AS t WHERE count = 0"), '0', 'rows in all of them');

	$node->command_ok([ 'pg_dump', '-f', "$dir/whole.sql", $node->connstr($database) ], 'pg_dump');
	$node->safe_psql('postgres', 'CREATE DATABASE whole TEMPLATE template0');
	$restore->('whole', "$dir/whole.sql", 'origin');
	$node->command_ok([ 'pg_dump', '--data-only', '--load-via-partition-root', '-n', 'at402', '-f', "$dir/data.sql",
		$node->connstr($database) ], 'pg_dump of the data only');
	$node->safe_psql('postgres', 'CREATE DATABASE data TEMPLATE template0');
	$node->safe_psql('data', 'CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables()');
	$restore->('data', "$dir/data.sql", 'replica');
	# and they go on
	like($node->safe_psql('whole', q{INSERT INTO at402.geofence (name, geom) VALUES ('more', ST_MakeEnvelope(1, 1, 2, 2, 4326));
		UPDATE at402.rule SET enabled = false WHERE name = 'moves' RETURNING owner;
		SELECT at402_command('} . imei(52) . q{', '$POLL') > 0}), qr/^writer\nt$/, 'triggers and owners, too');
};

$node->stop;

# ---- not preloaded ----

subtest 'without shared_preload_libraries: functions, and empty views' => sub {
	my $plain = init_node('plain', "shared_preload_libraries = ''");

	$plain->start;
	$plain->safe_psql('postgres', "CREATE DATABASE $database");
	sql($plain, 'CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables()');
	is(sql($plain, 'SELECT (SELECT count(*) FROM at402_stat_listener),
		(SELECT count(*) FROM at402_stat_connection)'), '0|0', 'no rows');
	my $hex = unpack('H*', packet(imei => imei(1)));
	is(sql($plain, "SELECT inserted FROM at402_ingest(ARRAY['\\x$hex'::at402_frame])"), '1',
		'at402_ingest works');
	$plain->stop;
};

done_testing();
