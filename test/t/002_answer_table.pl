# 002_answer_table.pl - what comes, and what becomes of it: stored, answered, connection, counted
#
# Each subtest is a row of the table of answers.
use strict;
use warnings;
use At402;
use Test::More;

my $node = new_node('answer_table');
my $quarantine = 'SELECT reason, imei, transport, peer, bytes FROM at402.quarantine';
my $impossible = '860873041761487';		# its check digit is wrong

# The bytes are answered and the next packet on the connection too; the bytes are in quarantine for
# the reason, and the counters say so.
sub quarantined_ok
{
	my ($tracker, $bytes, $reason, $imei, $next) = @_;

	reset_stat($node);
	sql($node, 'DELETE FROM at402.quarantine');
	is(ask($tracker, $bytes), '06', 'answered');
	is(sql($node, $quarantine), "$reason|$imei|tcp|127.0.0.1|\\x" . unpack('H*', $bytes),
		"in quarantine: $reason");
	is(ask($tracker, $next), '06', 'the connection stays');
	published_is($node, 'quarantined, answers, unknown_protocol, bad_crc', '1|2|0|0', 'counted');
}

# Nothing is answered and the connection is closed; the counter says so.
sub closed_ok
{
	my ($bytes, $counter) = @_;
	my $tracker = connect_tcp($node);

	reset_stat($node);
	transmit($tracker, $bytes);
	is(receive($tracker, 1), ' closed', 'not answered, connection closed');
	published_is($node, "$counter, answers, inserted, quarantined", '1|0|0|0', 'counted');
	is(still_answers($node), '06', 'others are answered');
}

sub of_device
{
	my ($n, $columns) = @_;
	return sql($node, "SELECT $columns FROM at402.device WHERE imei = '" . imei($n) . "'");
}

subtest 'packet of a known or registered device: rows, answered, stays' => sub {
	my $tracker = connect_tcp($node);

	reset_stat($node);
	is(ask($tracker, packet(imei => imei(1), seq => 1)), '06', 'unknown device: answered');
	is(of_device(1, 'protocol, enabled, first_seen <= now()'), 'X|t|t', 'it is registered');
	is(ask($tracker, packet(imei => imei(1), seq => 2)), '06', 'known device: answered');
	is(stored($node, 1), '1,2', 'stored');
	published_is($node, 'inserted, answers, quarantined', '2|2|0', 'counted');
};

subtest 'packet of several reports: one answer' => sub {
	my $tracker = connect_tcp($node);

	reset_stat($node);
	my @reports = map { report(seq => $_) } 1 .. 5;
	is(ask($tracker, packet(imei => imei(2), reports => \@reports)), '06', 'answered');
	is(stored($node, 2), '1,2,3,4,5', 'stored');
	published_is($node, 'frames, reports, inserted, answers', '1|5|5|1', 'counted');
};

subtest 'login line, good IMEI: device, answered; a later login names a new sender' => sub {
	my $tracker = login_as($node, 3);

	is(of_device(3, 'model, vin, firmware, hardware, protocol'), 'AT402||7.0.70.3|1|X', 'device');
	is(ask($tracker, packet(seq => 1)), '06', 'packet of the first sender');
	is(ask($tracker, login(imei(4))), '06', 'another login');
	is(ask($tracker, packet(seq => 2)), '06', 'packet of the new sender');
	is(stored($node, 3), '1', 'stored for the first sender');
	is(stored($node, 4), '2', 'stored for the new sender');
	is(ask($tracker, "\$ASTRA;AT402;" . imei(4) . ";;7.0.71.0;X;1\r"), '06', 'login with CR only');
	is(of_device(4, 'firmware'), '7.0.71.0', 'a login brings the device up to date');
};

subtest 'login line with an impossible IMEI: quarantine, answered, stays' => sub {
	my $tracker = connect_tcp($node);

	quarantined_ok($tracker, login($_), 'impossible_imei', $_, login(imei(1)))
	  foreach $impossible, '12345', '86087304176148A', '';
	is(ask($tracker, login($impossible)), '06', 'another');
	quarantined_ok($tracker, packet(seq => 1), 'impossible_imei', $impossible, login(imei(5)));
	is(ask($tracker, packet(seq => 2)), '06', 'a packet after a good login: answered');
	is(stored($node, 5), '2', 'and stored');
};

subtest 'packet with an impossible IMEI: quarantine, answered, stays' => sub {
	quarantined_ok(connect_tcp($node), packet(imei => $impossible), 'impossible_imei', $impossible,
		login(imei(1)));
};

subtest 'other $ line of a known sender: frame, not answered, stays' => sub {
	my $tracker = login_as($node, 6);

	reset_stat($node);
	transmit($tracker, "\$POLL,OK\r\n");
	is(ask($tracker, packet(seq => 1)), '06', 'only the packet after it is answered');
	published_is($node, 'frames, answers, quarantined', '2|1|0', 'counted');
	is(sql($node, "SELECT frame::bytea, transport FROM at402.frame
		WHERE device_id = " . device_id($node, 6) . " AND frame::bytea LIKE '\$P%'"),
		'\x' . unpack('H*', "\$POLL,OK\r\n") . '|tcp', 'it is in at402.frame, with its sender');

	my $packets = connect_tcp($node);
	my $udp = connect_udp($node);
	my $n = 100;
	foreach my $socket ($packets, $udp)
	{
		my $line = "\$HELLO," . ++$n . "\n";
		transmit($socket, packet(imei => imei($n), seq => 1) . $line);
		is(receive($socket, 1), '06', 'a packet with IMEI');
		is(ask($socket, packet(imei => imei($n), seq => 2)), '06', 'and one after the line');
		is(sql($node, "SELECT transport FROM at402.frame WHERE frame::bytea = '"
			. ($line =~ s/\n/\\012/r) . "' AND device_id = " . device_id($node, $n)),
			$socket == $udp ? 'udp' : 'tcp', 'the line is that of its sender');
	}
};

subtest 'other $ line of nobody: counted, not answered, closes after a few' => sub {
	my $stranger = connect_tcp($node);
	my $udp = connect_udp($node);
	my $frames = 'SELECT count(*) FROM at402.frame';
	my $before = sql($node, $frames);

	reset_stat($node);
	transmit($stranger, "\$HELLO,1\n");
	wait_published($node, 'unknown_sender = 1');
	is(ask($stranger, packet(imei => imei(6), seq => 2)), '06', 'one: the connection stays');
	transmit($udp, "\$HELLO,2\n");
	wait_published($node, 'unknown_sender = 2');
	is(ask($udp, packet(imei => imei(6), seq => 3)), '06', 'by UDP too');
	is(ask(connect_tcp($node), login($impossible)), '06', 'a login with an impossible IMEI');
	$stranger = connect_tcp($node);
	transmit($stranger, "\$HELLO\n" x 3);
	wait_published($node, 'unknown_sender = 5');
	ok(silent($stranger), 'silence');
	transmit($stranger, "\$HELLO\n" x 1000);
	is(receive($stranger, 1), ' closed', 'a few: closed');
	published_is($node, 'unknown_sender', '7', 'the fifth was the last');
	is(sql($node, $frames), $before + 2, 'no line is in at402.frame');
};

subtest 'device disabled: quarantine, answered, stays' => sub {
	my $tracker = login_as($node, 7);

	is(ask($tracker, packet(seq => 1)), '06', 'enabled: answered');
	sql($node, "UPDATE at402.device SET enabled = false WHERE imei = '" . imei(7) . "'");
	quarantined_ok($tracker, packet(seq => 2), 'device_disabled', imei(7), login(imei(8)));
	quarantined_ok($tracker, login(imei(7)), 'device_disabled', imei(7), login(imei(8)));
	sql($node, "UPDATE at402.device SET enabled = true WHERE imei = '" . imei(7) . "'");
	is(ask($tracker, login(imei(7))), '06', 'enabled again: login');
	is(ask($tracker, packet(seq => 3)), '06', 'enabled again: answered');
	is(stored($node, 7), '1,3', 'and stored');
};

subtest 'report count 0: quarantine, answered, stays' => sub {
	quarantined_ok(login_as($node, 8), frame('X', "\0"), 'no_reports', imei(8), packet(seq => 1));
};

subtest 'undecodable packet: quarantine, answered, stays' => sub {
	quarantined_ok(login_as($node, 8), frame('X', "\1" . 'none of it fits'), 'undecodable', imei(8),
		packet(seq => 2));
	quarantined_ok(login_as($node, 8), frame('X', "\1" . report() . 'rest'), 'undecodable', imei(8),
		packet(seq => 3));
};

subtest 'letter C: quarantine, answered, stays' => sub {
	quarantined_ok(login_as($node, 8), frame('C', 'nobody knows'), 'undecodable', imei(8),
		packet(seq => 4));
};

subtest 'IMEI in the packet other than the login\'s: quarantine, answered, stays' => sub {
	my $tracker = login_as($node, 9);

	is(ask($tracker, packet(imei => imei(9), seq => 1)), '06', 'the same IMEI: answered');
	is(stored($node, 9), '1', 'and stored');
	quarantined_ok($tracker, packet(imei => imei(10), seq => 1), 'other_imei', imei(9),
		packet(seq => 2));
	is(of_device(10, 'count(*)'), '0', 'the other is not registered');
};

subtest 'unknown_devices = quarantine: quarantine, answered, stays' => sub {
	reload_with($node, 'at402.unknown_devices = quarantine');
	quarantined_ok(connect_tcp($node), packet(imei => imei(11)), 'unknown_device', imei(11),
		login(imei(1)));
	quarantined_ok(connect_tcp($node), login(imei(11)), 'unknown_device', imei(11),
		login(imei(1)));
	is(of_device(11, 'count(*)'), '0', 'not registered');
	reload_with($node, 'at402.unknown_devices = register');
};

subtest 'unknown_devices = ignore: counted, not answered, closes' => sub {
	sql($node, 'DELETE FROM at402.quarantine');
	is(still_answers($node), '06', 'a device becomes known');
	reload_with($node, 'at402.unknown_devices = ignore');
	is(ask(connect_tcp($node), login(imei(1))), '06', 'a known device: answered');
	closed_ok(packet(imei => imei(12)), 'ignored');
	closed_ok(login(imei(12)), 'ignored');
	is(of_device(12, 'count(*)'), '0', 'not registered');
	is(sql($node, 'SELECT count(*) FROM at402.quarantine'), '0', 'not in quarantine');
	reload_with($node, 'at402.unknown_devices = register');
};

subtest 'packet without IMEI and without login before it: counted, not answered, closes' => sub {
	closed_ok(packet(seq => 1), 'unknown_sender');
};

subtest 'wrong CRC: counted, not answered, stays' => sub {
	my $tracker = login_as($node, 13);
	my $bad = packet(seq => 1) ^ ("\0" x 20 . "\1");

	reset_stat($node);
	is(ask($tracker, $bad . packet(seq => 2)), '06', 'only the good packet is answered');
	transmit($tracker, $bad);
	wait_published($node, 'bad_crc = 2');
	ok(silent($tracker), 'silence');
	is(ask($tracker, packet(seq => 3)), '06', 'the connection stays');
	is(stored($node, 13), '2,3', 'only the good packets are stored');
	published_is($node, 'bad_crc, frames, answers, quarantined', '2|2|2|0', 'counted');
};

subtest 'impossible length: counted, not answered, closes' => sub {
	closed_ok('X' . pack('n', $_) . 'abcdefghij', 'unknown_protocol') foreach 0, 5;
};

subtest 'unknown first byte: counted, not answered, closes' => sub {
	closed_ok($_, 'unknown_protocol')
	  foreach 'GET / HTTP/1.0', "\x16\x03\x01\x02\x00", "\0", "\xFF", 'x';
};

subtest 'text line without end past 1,024 bytes: counted, not answered, closes' => sub {
	my $tracker = login_as($node, 14);

	reset_stat($node);
	transmit($tracker, '$' . 'A' x 1022 . "\n");
	is(ask($tracker, packet(seq => 1)), '06', '1,024 bytes with its end: stays');
	closed_ok('$' . 'A' x 1023, 'unknown_protocol');
};

subtest 'several packets in one datagram: each stored, one byte each' => sub {
	my $udp = connect_udp($node);
	my $bad = packet(imei => imei(15), seq => 2) ^ ("\0" x 20 . "\1");

	reset_stat($node);
	transmit($udp, packet(imei => imei(15), seq => 1) . $bad . packet(imei => imei(15), seq => 3)
		  . packet(seq => 4) . "\$POLL,OK\r\n");
	is(join(' ', map { receive($udp, 1) } 1 .. 2), '06 06', 'two are good');
	is(stored($node, 15), '1,3', 'stored');
	published_is($node, 'datagrams, bad_crc, unknown_sender, answers', '1|1|1|2', 'counted');
	is(ask($udp, packet(imei => imei(15), seq => 5)), '06', 'the next datagram is answered');
	published_is($node, 'answers', '3', 'and no other');
};

$node->stop;
done_testing();
