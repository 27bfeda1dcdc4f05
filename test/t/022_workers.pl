# 022_workers.pl - several listeners on one port: it is theirs, and nobody else's
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

# a database may be set to what would let two listeners not see each other's rows
my $node = new_node('workers', 'at402.workers = 3', "default_transaction_isolation = 'serializable'");
my $port = published($node, 'min(port)');

subtest 'listeners share the port that the first one has opened' => sub {
	is(published($node, 'count(*), count(DISTINCT port)'), '3|1', 'whichever the kernel chose');
	sql($node, q(CREATE TABLE seen (level text); GRANT INSERT ON seen TO at402;
		CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO public.seen VALUES (current_setting('transaction_isolation')); RETURN NEW; END $$;
		CREATE TRIGGER see BEFORE INSERT ON at402.frame FOR EACH ROW EXECUTE FUNCTION see()));
	my @trackers = map { login_as($node, $_) } 1 .. 30;
	cmp_ok(published($node, 'count(*) FILTER (WHERE connections > 0)'), '>', 1,
		'connections are spread');
	is(ask($_, packet(seq => 1)), '06', 'answered') foreach @trackers;
	is(sql($node, 'SELECT count(*) FROM at402.position'), '30', 'stored');
	is(sql($node, 'SELECT DISTINCT level FROM seen'), 'read committed', 'each as the others left it');
	sql($node, 'DROP FUNCTION see() CASCADE');
};

subtest 'what is stored of one device at once: the second one sees what the first has stored' => sub {
	my $tracker = login_as($node, 60);
	my $time = now() - 60;
	my $session = $node->background_psql($At402::database);

	is(ask($tracker, packet(seq => 1, time => $time, status => 1)), '06', 'ignition is on');
	# as another listener would: seq 2 with the ignition off, and its state is locked
	$session->query_safe("BEGIN; SELECT FROM at402_ingest(ARRAY['"
		. unpack('H*', packet(seq => 2, time => $time + 1, imei => imei(60))) . "'::at402_frame])");
	transmit($tracker, packet(seq => 3, time => $time + 2, status => 1));
	$node->poll_query_until($At402::database, "SELECT count(*) > 0 FROM pg_stat_activity
		WHERE backend_type = 'at402 listener' AND wait_event_type = 'Lock'") or die 'nobody waits';
	$session->query_safe('COMMIT');
	$session->quit;
	is(receive($tracker, 1), '06', 'answered');
	is(sql($node, "SELECT string_agg(e.seq || ' ' || kind, ', ' ORDER BY e.time)
		FROM at402.event AS e JOIN at402.device AS d ON d.id = e.device_id
		WHERE d.imei = '${\imei(60)}' AND kind LIKE 'ignition%'"), '2 ignition_off, 3 ignition_on',
		'off and on again');
	is(sql($node, "SELECT s.seq, s.ignition FROM at402.device_state AS s JOIN at402.device AS d
		ON d.id = s.device_id WHERE d.imei = '${\imei(60)}'"), '3|t', 'the state is that of the last');
};

subtest 'a second server of the same user is not let in' => sub {
	my $second = init_node('second', 'at402.workers = 2', "at402.port = $port");

	$second->start;
	$second->safe_psql('postgres', "CREATE ROLE at402 LOGIN; CREATE DATABASE $At402::database");
	sql($second, 'CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables()');
	$second->append_conf('postgresql.conf', "at402.database = '$At402::database'");
	$second->restart;
	wait_published($second, "bool_or(last_error LIKE '%port $port: Address already in use')");
	is(published($second, "string_agg(DISTINCT state, ',')"), 'waiting', 'its listeners wait');
	is(ask(connect_tcp($node), packet(imei => imei(40 + $_))), '06', 'trackers reach the first one')
	  foreach 1 .. 10;
	is(sql($node, 'SELECT count(*) FROM at402.position'), '43', 'and all of them');

	$node->stop;
	listener_port($second);
	is(published($second, 'count(*), min(port), max(port)'), "2|$port|$port",
		'when the first one leaves it is let in');
	is(still_answers($second), '06', 'and answers');
	$second->stop;
	$node->start;
	listener_port($node);
};

subtest 'the port moves for all of them' => sub {
	my $other_port = PostgreSQL::Test::Cluster::get_free_port();

	reload_with($node, "at402.port = $other_port");
	wait_published($node, "bool_and(port = $other_port)");
	is(still_answers($node), '06', 'answered there');
	reload_with($node, 'at402.tcp = off', 'at402.udp = off');
	wait_published($node, "bool_and(state = 'off')");
	pass('all close it');
	reload_with($node, 'at402.tcp = on', 'at402.udp = on');
	wait_published($node, "bool_and(port = $other_port)");
	is(still_answers($node), '06', 'and open it again');
};

subtest 'a listener that starts finds those of the one before it, however many' => sub {
	sql($node, "INSERT INTO at402.device (imei) SELECT 'left ' || n FROM generate_series(1, 20000) AS n;
		INSERT INTO at402.device_state (device_id, connected, listener)
			SELECT id, true, 1 + id % 3 FROM at402.device WHERE imei LIKE 'left %'");
	$node->restart;
	wait_for($node, 'NOT EXISTS (SELECT FROM at402.device_state WHERE connected)');
	is(sql($node, "SELECT count(*) FROM at402.event AS e JOIN at402.device AS d ON d.id = e.device_id
		WHERE d.imei LIKE 'left %' AND e.kind = 'offline'"), '20000', 'each is offline, once');
	is(still_answers($node), '06', 'a tracker is answered');
	is(log_count($node, '(?:server process|background worker) .* terminated by signal'), 0, 'no crash');
};

$node->stop;
done_testing();
