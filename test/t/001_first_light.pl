# 001_first_light.pl - a real tracker's bytes become a row, and are answered
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('first_light');
my $port = listener_port($node);
my @golden = golden();

# What at402.position has to show of a captured packet
sub expected_rows
{
	my ($decoded) = @_;
	return map {
		my $gnss = $_->{modules}{gnss};
		join('|', $decoded->{imei}, $_->{time}, $_->{seq},
			sprintf('%.6f|%.6f', $gnss->{latitude_deg}, $gnss->{longitude_deg}),
			$gnss->{speed_kmh})
	} @{ $decoded->{reports} };
}

sub rows
{
	my ($imei) = @_;
	return split /\n/, sql($node, "SELECT imei,
		to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), seq,
		round(ST_Y(geom)::numeric, 6), round(ST_X(geom)::numeric, 6), speed_kmh
		FROM at402.position JOIN at402.device ON id = device_id
		WHERE imei = '$imei' ORDER BY time, seq");
}

# ---- captured frames ----

cmp_ok(scalar @golden, '>=', 5, 'there are captured packets');
my $tracker = connect_tcp($node);
foreach my $capture (@golden)
{
	my $decoded = $capture->{decoded};
	my $name = "captured $decoded->{protocol} packet of $decoded->{imei}";

	is(ask($tracker, pack('H*', $capture->{frame})), '06', "$name: answered");
	is_deeply([ rows($decoded->{imei}) ], [ expected_rows($decoded) ],
		"$name: position, time and speed are those of the golden file");
}

my $reports = sql($node, 'SELECT count(*) FROM at402.position');
reset_stat($node);
foreach my $capture (@golden)
{
	is(ask($tracker, pack('H*', $capture->{frame})), '06', 'sent again: answered again');
}
is(sql($node, 'SELECT count(*) FROM at402.position'), $reports, 'sent again: stored once');
published_is($node, 'duplicates, inserted, frames, answers',
	join('|', $reports, 0, (scalar @golden) x 2), 'sent again: counted as duplicates');

# ---- login ----

is(ask($tracker, login(imei(1), vin => 'WVWZZZ1JZXW000001')), '06', 'a login line is answered');
is(ask($tracker, packet(seq => 1, latitude => -33.8568, longitude => 151.2153, speed_kmh => 84)),
	'06', 'a packet without IMEI after a login is answered');
my $day = sql($node, 'SELECT to_char(to_timestamp(' . now() . ") AT TIME ZONE 'UTC',
	'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')");
is_deeply([ rows(imei(1)) ], [ imei(1) . "|$day|1|-33.856800|151.215300|84" ],
	'a packet without IMEI belongs to the login');
is(sql($node, "SELECT model, vin, firmware, hardware, protocol FROM at402.device
	WHERE imei = '" . imei(1) . "'"), 'AT402|WVWZZZ1JZXW000001|7.0.70.3|1|X',
	'a login tells of the device');
ok($node->poll_query_until($At402::database, "SELECT speed_kmh, round(longitude::numeric, 4),
	connected FROM at402.last_position WHERE imei = '" . imei(1) . "'", '84|151.2153|t'),
	'last_position shows it');

# ---- any split of the stream ----

my $stream = login(imei(2)) . packet(seq => 1) . packet(seq => 2);
transmit($tracker, split(//, $stream));
is(receive($tracker, 3), '060606', 'byte by byte: each frame is answered');

$stream .= packet(seq => 3) . packet(seq => 4) . packet(seq => 5);
is(ask($tracker, $stream), '06', 'joined frames are answered');
is(receive($tracker, 5), '0606060606', 'each of the joined frames is answered');

my ($first, $second) = map { packet(seq => $_) } 6, 7;
foreach my $cut (1, 4, length($first) - 1, length($first) + 2)
{
	reset_stat($node);
	my $both = $first . $second;
	transmit($tracker, substr($both, 0, $cut));
	wait_published($node, "bytes = $cut");
	transmit($tracker, substr($both, $cut));
	is(receive($tracker, 2), '0606', "read in two parts, cut at $cut: both packets are answered");
}
is(stored($node, 2), '1,2,3,4,5,6,7', 'any split of the stream: each report is stored once');

# as nc does when its input ends
my $nc = connect_tcp($node);
transmit($nc, packet(imei => imei(2), seq => 8));
shutdown $nc, 1;
is(receive($nc, 2), '06 closed', 'a sender that has said all is answered, then let go');

# ---- UDP ----

my $udp = connect_udp($node);
is(ask($udp, packet(imei => imei(3), seq => 1)), '06', 'a datagram is answered');
is(ask($udp, pack('H*', $golden[0]{frame})), '06', 'what came over TCP is answered over UDP');
is_deeply([ rows($golden[0]{decoded}{imei}) ], [ expected_rows($golden[0]{decoded}) ],
	'over TCP and UDP: stored once');

transmit($udp, packet(imei => imei(3), seq => 2) . packet(imei => imei(4), seq => 1));
is(receive($udp, 1) . ' ' . receive($udp, 1), '06 06',
	'two packets in a datagram: two answers of one byte');
is(sql($node, "SELECT imei, transport, f.protocol, peer FROM at402.frame f
	JOIN at402.device d ON d.id = device_id WHERE imei IN ('" . imei(3) . "', '" . imei(4) . "')
	ORDER BY 1"),
	join("\n", map { "$_|udp|X|127.0.0.1" } imei(3), imei(3), imei(4)),
	'at402.frame tells where frames came from');

reload_with($node, "at402.listen_addresses = '*'");
wait_published($node, "address = '*'");
is(ask(connect_udp($node, PeerAddr => '127.0.0.2'), packet(imei => imei(3), seq => 3)), '06',
	'a datagram is answered from the address that it was sent to');
reload_with($node, "at402.listen_addresses = 'localhost'");
wait_published($node, "address = 'localhost'");

# ---- what is published ----

reset_stat($node);
$port = listener_port($node);
my $other = connect_tcp($node);
my $sent = login(imei(5)) . packet(seq => 1);
transmit($other, $sent);
is(receive($other, 2), '0606', 'another tracker is answered');
published_is($node, 'listener, state, address, port, connections, accepted, refused, bytes, frames,
	answers, reports, inserted, duplicates, quarantined, bad_crc',
	"1|listening|localhost|$port|2|1|0|" . length($sent) . '|2|2|1|1|0|0|0',
	'at402_stat_listener counts it');
published_is($node, 'ack_latency_avg_ms > 0 AND ack_latency_max_ms >= ack_latency_avg_ms',
	't', 'at402_stat_listener shows how long answers took');
is(published($node, 'pid'),
	sql($node, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'at402 listener'"),
	'at402_stat_listener shows the process');

my $peer_port = $other->sockport;
my $connection = "FROM at402_stat_connection WHERE peer_port = $peer_port";
is(sql($node, "SELECT listener, imei, protocol, peer, frames, answers, bytes,
	connected_at <= last_frame_at AND last_frame_at <= now() $connection"),
	'1|' . imei(5) . '|X|127.0.0.1|2|2|' . length($sent) . '|t', 'at402_stat_connection shows it');

sql($node, 'CREATE ROLE nosy LOGIN; CREATE ROLE monitor LOGIN IN ROLE pg_read_all_stats');
my $seen = 'SELECT count(*), count(imei), count(peer), count(peer_port), count(frames)
	FROM at402_stat_connection';
is($node->safe_psql($At402::database, $seen, extra_params => [ '-U', 'nosy' ]), '2|0|0|0|2',
	'a plain role sees no peers and IMEIs');
is($node->safe_psql($At402::database, $seen, extra_params => [ '-U', 'monitor' ]), '2|2|2|2|2',
	'a member of pg_read_all_stats does');
isnt($node->psql($At402::database, 'SELECT at402_stat_reset()', extra_params => [ '-U', 'nosy' ]),
	0, 'a plain role cannot reset the counters');

close $other;
wait_for($node, "count(*) = 0 $connection");
wait_published($node, 'connections = 1');
pass('a connection that ended is not shown any more');

$node->stop;
done_testing();
