# 041_drivers.pl - devices ask whether somebody may drive, and nobody pays for a slow answer
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('drivers');

sub check
{
	my ($n, $family, $serial) = @_;
	return "\$DRID,AT402,CHECK," . imei($n) . ",$family,$serial,0\r\n";
}

# A test: a tracker asks and hears this; an empty answer is silence, after all is done.
sub asks
{
	my ($socket, $check, $expected, $name) = @_;
	my $done = "(SELECT count(*) FROM at402.io WHERE kind = 'driver_id')
		+ (SELECT sum(driver_failures) FROM at402_stat_listener)";
	my $before = sql($node, "SELECT $done");

	transmit($socket, $check);
	return is(hear($socket), $expected, $name) if $expected ne '';
	wait_for($node, "$done > $before");
	is(ask($socket, packet(seq => 99)), '06', $name);
}

sub rows_of
{
	my ($n) = @_;
	return sql($node, "SELECT text_value, state, seq, data FROM at402.io WHERE kind = 'driver_id'
		AND device_id = " . device_id($node, $n) . ' ORDER BY time');
}

my $t = login_as($node, 1);
my $other = login_as($node, 2);
sql($node, "INSERT INTO at402.driver (id, name) VALUES (1, 'Ann'), (2, 'Bob');
	INSERT INTO at402.driver_key (driver_id, family, serial) VALUES (1, '01', '1900AB'), (2, NULL, '2B');
	INSERT INTO at402.driver_device SELECT 2, id FROM at402.device WHERE imei = '" . imei(2) . "'");

# ---- the answers ----

my $began = time();
asks($t, check(1, '01', '0000001900AB'), '$DRID,APPROVE,01,0000001900AB', 'a driver who may');
note(sprintf('%.0f ms', 1000 * (time() - $began)));
asks($t, check(1, '01', '2B'), '$DRID,DECLINE,01,2B', 'one who may not drive this one');
asks($other, check(2, '01', '2b'), '$DRID,APPROVE,01,2b', 'but another');
asks($t, check(1, '01', '3C'), '', 'one that nobody knows: silence');
foreach my $setting ([ decline => 'DECLINE' ], [ approve => 'APPROVE' ])
{
	reload_with($node, "at402.unknown_drivers = $setting->[0]");
	asks($t, check(1, '01', '3C'), "\$DRID,$setting->[1],01,3C", "or $setting->[0]");
}
is(rows_of(1), join("\n", map { "$_->[0]|$_->[1]|-1|{\"check\": true, \"answer\": "
		. ($_->[2] ? "\"$_->[2]\"" : 'null') . ', "family": "01"}' }
	['0000001900AB', 't', 'APPROVE'], ['2B', 'f', 'DECLINE'], ['3C', '', ''], ['3C', 'f', 'DECLINE'],
	['3C', 't', 'APPROVE']), 'what was asked and answered is in at402.io');
is(sql($node, 'SELECT count(*) FROM at402.frame WHERE protocol IS NULL'), 0, 'and in no frame');

# ---- whose, and in which form ----

my $failures = published($node, 'driver_failures');
asks($t, check(2, '01', '1900AB'), '', 'a check of another device: silence');
published_is($node, 'driver_failures', ++$failures, 'and it is counted');
transmit($t, "\$DRID,AT402,CHECK," . imei(1) . ",01\r\n\$DRID,AT402,CHECK," . imei(1) . ",01,'; DROP\r\n");
wait_for($node, 'count(*) = 2 FROM at402.frame WHERE protocol IS NULL');
pass('what is no check is a text line');
my $mode4 = connect_tcp($node);
is(ask($mode4, packet(imei => imei(3), seq => 1)), '06', 'a device without a login');
asks($mode4, check(3, '01', '1900AB'), '$DRID,APPROVE,01,1900AB', 'is known by its packets');
my $udp = connect_udp($node);
is(ask($udp, packet(imei => imei(4), seq => 1)), '06', 'a datagram');
asks($udp, check(4, '01', '1900AB'), '$DRID,APPROVE,01,1900AB', 'over UDP too');
transmit($other, packet(seq => 1) . check(2, '01', '1900AB') . packet(seq => 2));
is(hear($other), '^^$DRID,APPROVE,01,1900AB', 'answers to reports come first');
my $stranger = connect_tcp($node);
transmit($stranger, check(5, '01', '1900AB'));
is(hear($stranger, 0.3), '', 'a stranger is not answered');
close $stranger;
sql($node, "UPDATE at402.device SET enabled = false WHERE imei = '" . imei(3) . "'");
transmit($mode4, check(3, '01', '1900AB'));
is(hear($mode4, 0.3), '', 'nor is a device that is disabled');

# ---- a function of the user ----

sub replace
{
	my ($body) = @_;
	sql($node, "CREATE OR REPLACE FUNCTION at402.authorise_driver(device_id int, family text,
		serial text) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN $body END \$\$");
}

replace("RETURN CASE WHEN serial = 'AA' THEN 'DECLINE' ELSE 'APPROVE' END;");
asks($t, check(1, '01', 'AA'), '$DRID,DECLINE,01,AA', 'a function of the user decides');
sql($node, 'SELECT at402_create_tables()');
asks($t, check(1, '01', 'AA'), '$DRID,DECLINE,01,AA', 'and stays');

$failures = published($node, 'driver_failures');
foreach my $body ("RAISE 'no';", "RETURN 'PERHAPS';", "RETURN 1 / 0;", "PERFORM drop_everything();")
{
	replace($body);
	asks($t, check(1, '01', 'BB'), '', "one that fails ($body): silence");
	published_is($node, 'driver_failures', ++$failures, 'and it is counted');
}
is(log_count($node, 'at402 could not answer a device that asked about a driver: no'), 1,
	'the log says it once');

# one that does not come to an end: reports are answered all the same, each time
replace('LOOP END LOOP;');
$began = time();
transmit($t, check(1, '01', 'CC'));
wait_for($node, "count(*) > 0 FROM pg_stat_activity WHERE query = 'asking about a driver' OR
	backend_type = 'at402 listener' AND state = 'active'");
is(ask($other, packet(seq => 3)), '06', 'a report waits for a slow function');
cmp_ok(time() - $began, '<', 5, 'no longer than half a second, and a bit');
published_is($node, 'driver_failures', ++$failures, 'it is counted');
is(rows_of(1) =~ /CC\|\|-1\|.*"answer": null/ ? 1 : 0, 1, 'what was asked is in at402.io');

# one that swallows its cancels: the listener starts again, and does not call it any more
replace('LOOP BEGIN LOOP END LOOP; EXCEPTION WHEN query_canceled THEN END; END LOOP;');
my $pid = published($node, 'pid');
transmit($t, check(1, '01', 'CC'));
wait_published($node, "state = 'listening' AND pid <> $pid");
($t, $other) = (login_as($node, 1), login_as($node, 2));
$pid = published($node, 'pid');
$failures = published($node, 'driver_failures');
asks($t, check(1, '01', 'CC'), '', 'one that swallows its cancels: silence');
published_is($node, 'driver_failures, pid', ++$failures . "|$pid", 'and it is not called again');
replace("RETURN 'APPROVE';");
asks($t, check(1, '01', 'CC'), '$DRID,APPROVE,01,CC', 'until it is replaced');
replace('LOOP END LOOP;');

# a flood of checks with a function that does not come to an end
my @flood = map { login_as($node, 10 + $_) } 1 .. 5;
reset_stat($node);
transmit($flood[$_ % 5], map { check(11 + $_ % 5, '01', sprintf('%X', $_)) } 1 .. 40) foreach 0 .. 4;
my @taken;
for (my ($seq, $end) = (4, time() + 4); time() < $end; $seq++)
{
	my $sent = time();
	transmit($other, packet(seq => $seq % 200));
	push @taken, time() - $sent if receive($other, 1) eq '06';
}
@taken = sort { $a <=> $b } @taken;
note(sprintf('%d reports, half of them within %.0f ms, all within %.0f ms', scalar @taken,
	1000 * $taken[@taken / 2], 1000 * $taken[-1]));
cmp_ok($taken[@taken / 2], '<', 0.25, 'during a flood of checks most reports do not wait');
cmp_ok($taken[-1], '<', 2, 'and none for long');
published_is($node, 'driver_checks', 200, 'all checks are counted');
close $_ foreach @flood;

# ---- as whom ----

sql($node, "CREATE ROLE nosy; GRANT CREATE, USAGE ON SCHEMA at402 TO nosy;
	DROP FUNCTION at402.authorise_driver(int, text, text)");
asks($t, check(1, '01', 'DD'), '', 'without a function: silence');
sql($node, "SET ROLE nosy; CREATE FUNCTION at402.authorise_driver(int, text, text) RETURNS text
	LANGUAGE plpgsql AS \$\$ BEGIN
		RAISE WARNING 'as % of %, %', current_user, session_user, current_setting('search_path');
		PERFORM FROM at402.driver; RETURN 'APPROVE'; END \$\$");
asks($t, check(1, '01', 'DD'), '', 'a function has the rights of its owner only');
cmp_ok(log_count($node, 'as nosy of at402, pg_catalog, pg_temp'), '>=', 1,
	'and finds nothing of others');
sql($node, 'GRANT SELECT ON at402.driver TO nosy');
asks($t, check(1, '01', 'DD'), '$DRID,APPROVE,01,DD', 'with a right it works');
asks($t, check(1, '01', 'EE'), '$DRID,APPROVE,01,EE', 'again and again');

$node->stop;
done_testing();
