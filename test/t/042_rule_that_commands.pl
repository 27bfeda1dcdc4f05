# 042_rule_that_commands.pl - the example of doc/commands.md, from the tracker's report to its answer:
# at night a vehicle leaves a geofence, and its siren goes on
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('rule_that_commands', 'at402.batch_delay = 0', "at402.alert_max_age = '3d'");
my ($midnight, $in, $out) = (now() - now() % 86400 - 86400, 52.005, 52.1);
my $reports = 0;

# A report at so many o'clock yesterday, at this latitude
sub report_at
{
	my ($hour, $latitude) = @_;
	$reports++;
	return packet(seq => $reports, time => $midnight + $hour * 3600 + $reports, longitude => 1.005,
		latitude => $latitude);
}

# Alerts and commands of tracker n
sub outcome
{
	my ($n) = @_;
	my $device = device_id($node, $n);
	return sql($node, "SELECT (SELECT count(*) FROM at402.alert WHERE device_id = $device),
		(SELECT count(*) FROM at402.command WHERE device_id = $device)");
}

my ($example) = slurp_file('doc/commands.md') =~ /^(INSERT INTO at402\.rule.*?)^```/ms;
sql($node, "$example INSERT INTO at402.geofence (name, geom)
	VALUES ('yard', ST_MakeEnvelope(1, 52, 1.01, 52.01, 4326))");

# ---- the whole way ----

my $t = login_as($node, 1);
is(ask($t, report_at(1, $in)), '06', 'inside, at night');
is(ask($t, report_at(2, $in)), '06', 'and an hour later');
is(outcome(1), '0|0', 'nothing happens');
transmit($t, report_at(3, $out));
my $sent = '06' . unpack('H*', "\$SDIG,1,1\r\n");
is(receive($t, length($sent) / 2), $sent, 'outside: the answer, then the command');
is(sql($node, 'SELECT rule_name, level, message, c.state, c.created_by, c.created_at = a.raised_at
	FROM at402.alert AS a JOIN at402.command AS c USING (device_id)'),
	'left at night|critical|left at night|sent|at402|t', 'alert and command are of one transaction');
transmit($t, "\$SDIG,OK\r\n");
wait_for($node, q(state = 'answered' AND answer = '$SDIG,OK' FROM at402.command));
is(ask($t, report_at(4, $in), report_at(12, $out)), '0606', 'in again, and out at noon');
is(outcome(1), '1|1', 'which is no alert');

# ---- a command that is refused ----

my $u = login_as($node, 2);
sql($node, "UPDATE at402.device SET immobiliser_output = 1 WHERE imei = '" . imei(2) . "'");
is(ask($u, report_at(1, $in), report_at(2, $out), report_at(3, $out)), '060606',
	'output 1 is an immobiliser, which role at402 may not command: reports are answered');
is(sql($node, 'SELECT failures, last_error FROM at402.rule'),
	'1|42501: permission denied to immobilise a vehicle', 'the rule says why');
is(stored($node, 2), '6,7,8', 'and stored');
is(outcome(2), '0|0', 'there is neither alert nor command');
sql($node, 'UPDATE at402.device SET immobiliser_output = NULL');
is(ask($u, report_at(4, $in)), '06', 'in again');
transmit($u, report_at(5, $out));
is(receive($u, length($sent) / 2), $sent, 'where it is none, the rule goes on');
is(outcome(2), '1|1', 'and what was lost is lost');

# ---- a device that is disabled ----

$u = login_as($node, 3);
is(ask($u, report_at(1, $in)), '06', 'inside');
sql($node, "UPDATE at402.device SET enabled = false WHERE imei = '" . imei(3) . "'");
is(ask($u, report_at(2, $out)), '06', 'disabled, and outside');
is(quarantined($node, 3), 'device_disabled||', 'its report is kept apart');
is(outcome(3), '0|0', 'neither alert nor command');
done_testing();
