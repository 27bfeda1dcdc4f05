# 003_bad_input.pl - whoever finds the port may send anything: nothing is answered that must not be,
# every refusal is counted, memory and time are bounded, and good trackers notice nothing
use strict;
use warnings;
use At402;
use IO::Select;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('bad_input', 'at402.max_connections = 40');
my $first_listener = published($node, 'pid');

# What every subtest ends with: the same process goes on, holds no bytes, and answers.
sub unharmed
{
	is(still_answers($node), '06', 'a good tracker is answered');
	published_is($node, 'pid, buffered_bytes', "$first_listener|0", 'the listener is unharmed');
}

subtest 'wrong CRC' => sub {
	my $tracker = login_as($node, 1);
	my $good = packet(seq => 1);

	reset_stat($node);
	transmit($tracker, map { $good ^ ("\0" x $_ . "\1") } 3, 10, map { length($good) - $_ } 2, 1);
	is(ask($tracker, $good), '06', 'only the good packet is answered');
	published_is($node, 'bad_crc, frames, answers, inserted', '4|1|1|1', 'counted');
	unharmed();
};

subtest 'a length that lies' => sub {
	my $tracker = login_as($node, 2);
	my ($first, $second, $third) = map { packet(seq => $_) } 1 .. 3;

	# too long by a packet: this one and the next are one frame with a wrong checksum
	reset_stat($node);
	transmit($tracker, substr($first, 0, 1) . pack('n', 2 * length $first) . substr($first, 3));
	is(ask($tracker, $second . $third), '06', 'too long: the packet after the frame is answered');
	is(stored($node, 2), '3', 'too long: and stored');
	published_is($node, 'bad_crc, frames, answers', '1|1|1', 'too long: counted');

	# too short: the rest begins in the middle of nowhere
	reset_stat($node);
	transmit($tracker, substr($first, 0, 1) . pack('n', 10) . substr($first, 3));
	is(receive($tracker, 1), ' closed', 'too short: no answer, closed');
	published_is($node, 'bad_crc, unknown_protocol, frames, answers', '1|1|0|0',
		'too short: counted');

	# of nothing at all
	foreach my $length (0, 1, 5)
	{
		my $other = connect_tcp($node);
		reset_stat($node);
		transmit($other, 'X' . pack('n', $length) . "\0" x 100);
		is(receive($other, 1), ' closed', "$length: no answer, closed");
		published_is($node, 'unknown_protocol, answers', '1|0', "$length: counted");
	}
	unharmed();
};

subtest 'half a frame and silence, silence from the start, a byte now and then' => sub {
	my $packet = packet(seq => 1);
	my $half = substr($packet, 0, 20);

	reload_with($node, 'at402.login_timeout = 1s');
	reset_stat($node);
	my $mute = connect_tcp($node);
	my $stopped = connect_tcp($node);
	my $logged_in = login_as($node, 3);
	my $busy = login_as($node, 4);
	my $slow = login_as($node, 5);
	transmit($stopped, $half);
	transmit($logged_in, $half);
	transmit($slow, 'X' . pack('n', 60_000));
	my $bytes = 0;
	while (!IO::Select->new($slow)->can_read(0.05))
	{
		transmit($slow, 'a');
		$bytes++;
	}
	is(receive($slow, 1), ' closed', 'a byte now and then: closed');
	cmp_ok($bytes, '<', 1000, 'which it does not put off');
	is(receive($mute, 1), ' closed', 'silence from the start: closed');
	is(receive($stopped, 1), ' closed', 'half a frame and silence: closed');
	is(receive($logged_in, 1), ' closed', 'half a frame after a login: closed');
	published_is($node, 'timeouts, frames, answers', '4|3|3', 'counted');
	is(ask($busy, $packet), '06', 'a tracker that has logged in may be silent');
	published_is($node, 'connections', '1', 'only that one is connected');
	reload_with($node, 'at402.login_timeout = 60s');
	unharmed();
};

subtest 'noise' => sub {
	srand 402;
	my $noise = join('', map { chr int rand 256 } 1 .. 1 << 20);

	foreach my $begin ('', 'X', "X\xFF\xFF", "\$", 'K', "\x06")
	{
		my $tracker = connect_tcp($node);
		reset_stat($node);
		transmit($tracker, $begin . $noise);
		is(receive($tracker, 1), ' closed', 'a megabyte of noise: no answer, closed');
		published_is($node, 'answers, inserted, quarantined, unknown_protocol', '0|0|0|1',
			'counted');
	}
	my $udp = connect_udp($node);
	reset_stat($node);
	transmit($udp, substr($noise, 1000 * $_, 1000)) foreach 0 .. 99;
	is(ask($udp, packet(imei => imei(6))), '06', 'noise over UDP: only what is good is answered');
	published_is($node, 'answers, inserted, quarantined', '1|1|0', 'counted');
	unharmed();
};

subtest 'unknown letter' => sub {
	foreach my $bytes ('A', 'GET / HTTP/1.1', "\0", "\x80")
	{
		my $tracker = connect_tcp($node);
		reset_stat($node);
		transmit($tracker, $bytes);
		is(receive($tracker, 1), ' closed', 'no answer, closed');
		published_is($node, 'unknown_protocol, answers, bad_crc', '1|0|0', 'counted');
	}
	unharmed();
};

subtest 'endless text line' => sub {
	my $tracker = login_as($node, 7);

	reset_stat($node);
	transmit($tracker, '$' . 'A' x 100_000);
	is(receive($tracker, 1), ' closed', 'no answer, closed');
	published_is($node, 'unknown_protocol, answers, frames', '1|0|0', 'counted');
	unharmed();
};

subtest 'frames that claim 65,535 bytes' => sub {
	my $claim = "X\xFF\xFF";
	my @trackers = map { connect_tcp($node) } 1 .. 30;

	reset_stat($node);
	transmit($_, $claim . 'a' x 97) foreach @trackers;
	published_is($node, 'buffered_bytes, bytes', '3000|3000', 'memory follows what was sent');
	is(still_answers($node), '06', 'a good tracker is answered meanwhile');
	close $_ foreach @trackers;
	published_is($node, 'buffered_bytes', '0', 'memory is given back');

	my $tracker = login_as($node, 8);
	my $largest = frame('X', "\1" . 'a' x (65_535 - 6));
	is(length $largest, 65_535, 'the largest frame there can be');
	is(ask($tracker, $largest), '06', 'is taken: answered');
	is(quarantined($node, 8), 'undecodable||', 'and in quarantine');
	is(sql($node, 'SELECT max(length(bytes)) FROM at402.quarantine'), '65535', 'as it is');
	unharmed();
};

subtest 'SQL and control characters in login fields' => sub {
	my $tracker = connect_tcp($node);
	my $sql = "x'), ('') ON CONFLICT DO NOTHING --";
	my $control = "a\x01\x08\x1B[31m\x7Fb";
	my $device = "SELECT convert_to(model, 'UTF8'), convert_to(vin, 'UTF8'),
		convert_to(firmware, 'UTF8') FROM at402.device WHERE imei = '" . imei(9) . "'";
	my $hex = sub { join('|', map { '\x' . unpack('H*', $_) } @_) };

	is(ask($tracker, login(imei(9), model => $sql, vin => $control, firmware => "\"'\\%s\$1{}")),
		'06', 'answered');
	is(ask($tracker, packet(seq => 1)), '06', 'its packet too');
	is(sql($node, $device), $hex->($sql, $control, "\"'\\%s\$1{}"), 'kept as sent, as data');
	is(ask($tracker, login(imei(9), model => "M\xFCnchen  ", vin => "V\0rest", firmware => "\xFFf")),
		'06', 'Latin-1 and NUL: answered');
	is(sql($node, $device), $hex->("M\xC3\xBCnchen", 'V', "\xC3\xBFf"),
		'read as Latin-1, up to the NUL, without trailing blanks');
	is(ask($tracker, login(imei(9), model => '  ', vin => '000', firmware => "\xFF\xFF")),
		'06', 'blanks: answered');
	is(sql($node, $device), $hex->("M\xC3\xBCnchen", 'V', "\xC3\xBFf"), 'and no news');
	foreach my $imei ("' OR 1=1 --", "\x00\x01\x02", '9' x 900, "\xFF" x 15, '$' x 15)
	{
		is(ask($tracker, login($imei)), '06', 'an IMEI that is none: answered');
	}
	is(sql($node, "SELECT count(*) FROM at402.quarantine WHERE reason = 'impossible_imei'"), '5',
		'and in quarantine');
	is(sql($node, 'SELECT count(*) FROM at402_stat_connection WHERE imei ~ \'[^ -~]\''), '0',
		'what at402_stat_connection shows is printable');
	unharmed();
};

subtest 'a login that changes IMEI in mid-connection' => sub {
	my $tracker = connect_tcp($node);
	my $shown = 'SELECT imei FROM at402_stat_connection WHERE peer_port = ' . $tracker->sockport;

	my $frames = login(imei(10)) . packet(seq => 1) . login(imei(11)) . packet(seq => 2)
	  . login(imei(10)) . packet(seq => 3);
	transmit($tracker, $frames);
	is(receive($tracker, 6), '06' x 6, 'answered');
	is(stored($node, 10), '1,3', 'each packet belongs to the login before it');
	is(stored($node, 11), '2', 'also of the other');
	is(sql($node, $shown), imei(10), 'at402_stat_connection shows the last');
	is(ask($tracker, login(imei(11))), '06', 'another');
	is(sql($node, $shown), imei(11), 'is shown');
	wait_for($node, "bool_and(connected = (imei = '" . imei(11) . "')) FROM at402.last_position
		WHERE imei IN ('" . imei(10) . "', '" . imei(11) . "')");
	pass('and only the last is connected');
	unharmed();
};

subtest 'a known device\'s IMEI from elsewhere' => sub {
	my $here = login_as($node, 12);
	my $elsewhere = connect_tcp($node, LocalAddr => '127.0.0.3');

	is(ask($here, packet(seq => 1)), '06', 'here: answered');
	is(ask($elsewhere, login(imei(12)), packet(seq => 2)), '0606', 'elsewhere: answered');
	is(ask($here, packet(seq => 3)), '06', 'it does not put the other off');
	is(stored($node, 12), '1,2,3', 'all is stored');
	is(sql($node, "SELECT string_agg(host(peer), ',' ORDER BY received_at) FROM at402.frame
		WHERE device_id = " . device_id($node, 12) . "
		AND get_byte(frame::bytea, 0) = ascii('X')"), '127.0.0.1,127.0.0.3,127.0.0.1',
		'at402.frame tells from where');
	unharmed();
};

subtest 'at402.max_connections' => sub {
	my @trackers = map { connect_tcp($node) } 1 .. 40;
	published_is($node, 'connections', '40', 'as many as are allowed');

	reset_stat($node);
	my @refused = map { connect_tcp($node) } 1 .. 5;
	is(receive($_, 1), ' closed', 'one more: closed') foreach @refused;
	published_is($node, 'refused, accepted, connections', '5|0|40', 'counted');
	eval { $node->wait_for_log('at402 refuses connections') };
	is(log_count($node, 'at402 refuses connections'), 1, 'logged once for the streak');
	is(ask($trackers[20], packet(imei => imei(13))), '06', 'those connected are answered');
	close shift @trackers;
	published_is($node, 'connections', '39', 'one leaves');
	unharmed();
};

subtest 'at402.max_connections_per_address' => sub {
	reload_with($node, 'at402.max_connections_per_address = 2');
	my @trackers = map { connect_tcp($node) } 1 .. 2;
	published_is($node, 'connections', '2', 'as many as are allowed');

	reset_stat($node);
	my $refused = connect_tcp($node);
	is(receive($refused, 1), ' closed', 'one more: closed');
	published_is($node, 'refused, accepted', '1|0', 'counted');
	my $elsewhere = connect_tcp($node, LocalAddr => '127.0.0.2');
	is(ask($elsewhere, packet(imei => imei(14))), '06', 'from another address: answered');
	is(ask($trackers[1], packet(imei => imei(14), seq => 2)), '06', 'those connected are answered');
	reload_with($node, 'at402.max_connections_per_address = 0');
	unharmed();
};

subtest 'at402.register_limit' => sub {
	my $devices = 'SELECT count(*) FROM at402.device';
	is(still_answers($node), '06', 'a device is known');
	my $known = sql($node, $devices);

	reload_with($node, 'at402.register_limit = 2');
	reset_stat($node);
	my @trackers = map { connect_tcp($node) } 1 .. 3;
	is(ask($trackers[$_], packet(imei => imei(20 + $_))), '06', 'a stranger: answered')
	  foreach 0, 1;
	transmit($trackers[2], packet(imei => imei(22)));
	wait_published($node, 'over_limit = 1');
	ok(silent($trackers[2]), 'past the limit: silence, but not closed');
	is(sql($node, $devices) - $known, 2, 'two are registered');
	is(still_answers($node), '06', 'known devices are answered');
	published_is($node, 'over_limit, inserted, answers, quarantined', '1|3|3|0', 'counted');

	# a flood of made up senders
	reload_with($node, 'at402.register_limit = 0');
	reset_stat($node);
	my $udp = connect_udp($node);
	transmit($udp, packet(imei => imei(1000 + $_))) foreach 1 .. 2000;
	is(still_answers($node), '06', 'a flood of strangers over UDP: known devices are answered');
	wait_published($node, 'over_limit + datagrams_lost >= 1');
	is(sql($node, $devices) - $known, 2, 'none is registered');
	published_is($node, 'answers, inserted, quarantined', '1|1|0', 'none is answered');

	reload_with($node, 'at402.register_limit = -1');
	is(ask($trackers[2], packet(imei => imei(22))), '06', 'without limit: answered');
	unharmed();
};

subtest 'at402.receive_buffers' => sub {
	my $large = frame('X', "\1" . 'a' x 29_994);	# 30,000 bytes, undecodable

	reload_with($node, 'at402.receive_buffers = 64kB');
	reset_stat($node);
	my @trackers = map { login_as($node, 30 + $_) } 0 .. 2;
	foreach my $i (0, 1)
	{
		transmit($trackers[$i], substr($large, 0, -1));
		published_is($node, 'buffered_bytes', 29_999 * ($i + 1), 'half a frame is held');
	}
	transmit($trackers[2], substr($large, 0, -1));
	is(receive($trackers[2], 1), ' closed', 'one more than fits: closed, no answer');
	published_is($node, 'refused, buffered_bytes', '1|59998', 'counted; the others keep theirs');
	is(still_answers($node), '06', 'whole frames need no room: answered');
	is(ask($trackers[$_], substr($large, -1)), '06', 'the others go on: answered') foreach 0, 1;
	reload_with($node, 'at402.receive_buffers = 16MB');
	unharmed();
};

is(log_count($node, 'at402.*panic|.*terminated by signal'), 0, 'no crash in the log');
is(published($node, 'pid'), $first_listener, 'the same listener from beginning to end');

$node->stop;
done_testing();
