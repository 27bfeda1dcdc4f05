# 007_time.pl - late, out-of-order and future reports, and clocks that are wrong: stored by their
# own time; at402.device_state never goes back
use strict;
use warnings;
use At402;
use Test::More;

my $node = new_node('time');
my $tracker = connect_tcp($node);
my ($hour, $day) = (3600, 86400);

# The device's last report as at402.device_state has it: seconds after now, seq, speed, and seconds
# of the last good position
sub state_of
{
	my ($n) = @_;
	return sql($node, "SELECT extract(epoch FROM time)::bigint - " . now() . ", seq, speed_kmh,
		extract(epoch FROM position_time)::bigint - " . now() . "
		FROM at402.device_state WHERE device_id = " . device_id($node, $n));
}

sub rows_of
{
	my ($n, $columns, $table) = @_;
	return sql($node, "SELECT $columns FROM at402.$table t
		WHERE device_id = " . device_id($node, $n) . " AND seq >= 0 ORDER BY t.time, seq");
}

sub send_ok
{
	my ($n, %report) = @_;
	is(ask($tracker, packet(imei => imei($n), %report)), '06', 'answered');
}

subtest 'late reports are stored by their own time and do not set the state back' => sub {
	send_ok(1, seq => 10, time => now() - 60, speed_kmh => 50);
	is(state_of(1), '-60|10|50|-60', 'the first');
	send_ok(1, seq => 11, time => now(), speed_kmh => 60);
	is(state_of(1), '0|11|60|0', 'a younger one');
	send_ok(1, seq => 5, time => now() - 3 * $hour, speed_kmh => 70, reasons => 16, status => 0x20);
	is(state_of(1), '0|11|60|0', 'a late one');
	send_ok(1, seq => 4, time => now() - 2 * $day, speed_kmh => 80);
	is(state_of(1), '0|11|60|0', 'a very late one');
	is(ask($tracker, packet(imei => imei(1), reports => [ map {
		report(seq => $_->[0], time => now() + $_->[1], speed_kmh => $_->[2]) }
		[ 14, 40, 20 ], [ 12, -10, 30 ], [ 15, 50, 40 ], [ 13, 30, 10 ] ])), '06',
		'four in a packet, out of order');
	is(state_of(1), '50|15|40|50', 'the youngest of them');
	is(stored($node, 1), '4,5,10,12,11,13,14,15', 'all are stored by their own time');
	is(rows_of(1, 'kind, late', 'event'), 'panic|t', 'events of late reports say so');
};

subtest 'within a second, the higher sequence number is the younger' => sub {
	send_ok(2, seq => 8, speed_kmh => 10);
	send_ok(2, seq => 7, speed_kmh => 20);
	is(state_of(2), '0|8|10|0', 'the later by number stays');
	send_ok(2, seq => 9, speed_kmh => 30);
	is(state_of(2), '0|9|30|0', 'the next comes');
};

subtest 'without a fix the last good position stays' => sub {
	send_ok(3, seq => 1, time => now() - 60, speed_kmh => 10);
	send_ok(3, seq => 2, time => now(), speed_kmh => 20, status => 4);
	is(state_of(3), '0|2|10|-60', 'time of the last report, position of the last good one');
	send_ok(3, seq => 1, time => now() - 30, speed_kmh => 30);
	is(state_of(3), '0|2|30|-30', 'a late good position is newer than the last good one');
	send_ok(3, seq => 0, time => now() - 90, speed_kmh => 40);
	is(state_of(3), '0|2|30|-30', 'one that is later still is not');
};

subtest 'ignition events hold for late reports too' => sub {
	send_ok(4, seq => 1, time => now() - 100, status => 1);
	send_ok(4, seq => 5, time => now() - 60, status => 0);
	send_ok(4, seq => 3, time => now() - 80, status => 0);
	is(rows_of(4, "extract(epoch FROM t.time)::bigint - " . now() . ', kind, late', 'event'),
		"-80|ignition_off|t\n-60|ignition_off|f",
		'compared with the report before it by time');
};

subtest 'future reports are flagged, stored, and do not count as the last' => sub {
	send_ok(5, seq => 1, time => now() - 10, speed_kmh => 10);
	send_ok(5, seq => 2, time => now() + $hour, speed_kmh => 20);
	is(state_of(5), "$hour|2|20|$hour", 'an hour ahead is within the limit');
	send_ok(5, seq => 3, time => now() + 2 * $day, speed_kmh => 30);
	is(state_of(5), "$hour|2|20|$hour", 'two days ahead are not');
	send_ok(5, seq => 4, time => now() + $hour + 60, speed_kmh => 40);
	is(state_of(5), $hour + 60 . '|4|40|' . ($hour + 60), 'and do not keep later reports out');
	is(rows_of(5, 'seq, time_suspect', 'position'), "1|f\n2|f\n4|f\n3|t", 'flagged, not lost');

	reload_with($node, 'at402.future_limit = 10min');
	send_ok(6, seq => 1, time => now() + $hour);
	is(rows_of(6, 'seq, time_suspect', 'position'), '1|t', 'the limit is a setting');
	is(state_of(6), '|||', 'its only report is suspect: nothing is known of its state');
	reload_with($node, 'at402.future_limit = 1d');
};

subtest 'clocks of 1980 and 2099: the default partition catches them' => sub {
	my $y1980 = 315964800;			# the tracker's clock begins
	my $y2099 = 4070908800;
	my $where = "extract(year FROM t.time AT TIME ZONE 'UTC'), t.tableoid::regclass";

	send_ok(7, seq => 1, time => $y1980, speed_kmh => 10, reasons => 0x4000, inputs => 1);
	send_ok(7, seq => 2, time => $y2099, speed_kmh => 20, reasons => 0x4000, inputs => 1);
	is(rows_of(7, $where, $_), "1980|at402.${_}_default\n2099|at402.${_}_default", "at402.$_")
	  foreach qw(position event io);
	send_ok(7, seq => 3, time => now(), speed_kmh => 30);
	is(state_of(7), '0|3|30|0', 'the state follows the good clock');
	send_ok(7, seq => 4, time => $y1980 + 5, speed_kmh => 40);
	is(state_of(7), '0|3|30|0', 'whatever comes after it');
	sql($node, 'SELECT at402_maintain()');
	is(rows_of(7, $where, 'event'), "1980|at402.event_default\n2099|at402.event_default",
		'maintenance makes no partitions for them');
	is(ask($tracker, packet(imei => imei(7), seq => 1, time => $y1980, speed_kmh => 10,
		reasons => 0x4000, inputs => 1)), '06', 'sent again: answered');
	is(rows_of(7, 'seq', 'position'), "1\n4\n3\n2", 'sent again: stored once');
	is(ask($tracker, packet(imei => imei(7), seq => 5, time => 4610932095)), '06',
		'the last second of the clock, in 2116: answered');
	is(rows_of(7, 'seq', 'position'), "1\n4\n3\n2\n5", 'and stored');
};

subtest 'received_at is the server\'s clock' => sub {
	is(sql($node, 'SELECT bool_and(received_at BETWEEN to_timestamp(' . now() . ') AND now())
		FROM at402.position'), 't', 'whatever the trackers\' say');
	is(sql($node, 'SELECT bool_and(last_seen BETWEEN to_timestamp(' . now() . ') AND now())
		FROM at402.device_state'), 't', 'last_seen too');
};

$node->stop;
done_testing();
