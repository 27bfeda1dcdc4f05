# 040_commands.pl - commands reach their devices once, after answers, and their answers the rows
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# of several listeners each would choose a port of its own
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $node = new_node('commands', 'restart_after_crash = on', 'log_statement = none',
	"at402.port = $port");

# A test: nothing has been sent to a tracker; a command would have come before this answer.
sub nothing_came
{
	my ($socket, $name, @packet) = @_;
	is(ask($socket, packet(seq => 200, @packet)), '06', $name);
}

# Queues a command to tracker n and returns its id.
sub queue
{
	my ($n, $command, $expires_in) = @_;
	return sql($node, "SELECT at402_command('" . imei($n) . "', '$command', '"
		. ($expires_in // '1 day') . "')");
}

# A test: the tracker gets this
sub gets
{
	my ($socket, $expected, $name) = @_;
	is(hear($socket), $expected, $name);
}

# A test: the command ends so, with this answer.
sub ends
{
	my ($id, $expected, $name) = @_;
	ok($node->poll_query_until($At402::database,
		"SELECT concat_ws('|', state, replace(answer, E'\\n', ' ')) FROM at402.command
		WHERE id = $id", $expected), $name)
	  or diag(sql($node, "SELECT * FROM at402.command WHERE id = $id"));
}

sub state_of
{
	my ($id) = @_;
	return sql($node, "SELECT state FROM at402.command WHERE id = $id");
}

# The text lines of tracker n that are kept as frames
sub lines_of
{
	my ($n) = @_;
	return sql($node, "SELECT string_agg(rtrim(convert_from(f.frame::bytea, 'LATIN1'), E'\\r\\n'), ' '
		ORDER BY received_at) FROM at402.frame AS f
		WHERE device_id = " . device_id($node, $n) . ' AND protocol IS NULL');
}

# ---- sent, and answered ----

my $t = login_as($node, 1);
my $began = time();
my $id = sql($node, "SELECT at402_set_output('" . imei(1) . "', 1, true)");
gets($t, '$SDIG,1,1', 'a command is sent, also to a tracker that has only logged in');
is(state_of($id), 'sent', 'it is written down as sent');
transmit($t, "\$SDIG,OK\r\n");
ends($id, 'answered|$SDIG,OK', 'so is its answer');
note(sprintf('%.0f ms', 1000 * (time() - $began)));
is(sql($node, "SELECT created_at <= sent_at, sent_at <= answered_at, answered_at <= now(),
	answered_at - created_at < '10 s', attempts, listener, detail FROM at402.command"),
	't|t|t|t|1|1|', 'with its times');
is(ask($t, packet(seq => 1)), '06', 'a report is answered as ever');

$id = sql($node, "INSERT INTO at402.command (device_id, command)
	SELECT id, '\$POLL' FROM at402.device RETURNING id");
gets($t, '$POLL', 'a plain INSERT sends too');
transmit($t, "\$POLL,O", "K\r", "\n");
ends($id, 'answered|$POLL,OK', 'the answer may come in pieces');
sql($node, "BEGIN; SELECT at402_command('" . imei(1) . "', '\$BOOT'); ROLLBACK");
nothing_came($t, 'what is rolled back is not sent');
published_is($node, 'commands', 2, 'commands are counted');

# several in a message, in their order; what is no answer stays a frame
$id = queue(1, '$DIST,500$JSEC,30');
my $second = queue(1, '$HEAD,45');
gets($t, '$DIST,500$JSEC,30', 'several in one message');
transmit($t, "\$JSEC,OK\r\$POLL,OK\r\$DIST,OK\r", packet(seq => 2) . "\$TEST,1\r\n\$JS",
	"EC,OK\r\n\$JSEC,OK\r\n");
is(hear($t), '^$HEAD,45', 'the next is sent when it is answered');
ends($id, 'answered|$DIST,OK $JSEC,OK', 'answers are matched in order, between packets, in pieces');
transmit($t, "\$HEAD,ER\r\n");
ends($second, 'refused|$HEAD,ER', 'ER: refused');
wait_for($node, "count(*) = 4 FROM at402.frame WHERE protocol IS NULL");
is(lines_of(1), '$JSEC,OK $POLL,OK $TEST,1 $JSEC,OK', 'lines that answer nothing are frames, no others');
foreach my $status (qw(UN PR))
{
	$id = queue(1, '$SDIG,1,0');
	gets($t, '$SDIG,1,0', 'a command');
	transmit($t, "\$SDIG,$status\r");
	ends($id, "refused|\$SDIG,$status", "$status: refused");
}

# data
$id = queue(1, '$IMEI$POSN$STAT$POLL');
gets($t, '$IMEI$POSN$STAT$POLL', 'queries');
transmit($t, '$IMEI,' . imei(1) . "\r\$POSN,52.138826,-0.326804,\"x\"\r\$STAT,1,,\xE9\r\$POLL,OK\r\n");
ends($id, 'answered|$IMEI,' . imei(1) . ' $POSN,52.138826,-0.326804,"x" $STAT,1,,é $POLL,OK',
	'data is kept as text');
is(sql($node, "SELECT detail FROM at402.command WHERE id = $id"),
	'{"POSN": ["52.138826", "-0.326804", "\"x\""], "STAT": ["1", "", "é"]}',
	'positions and states as jsonb');
$id = queue(1, '$PARA');
gets($t, '$PARA', 'a query');
transmit($t, "\$PARA,1\r\$DIST,500\r", "\$JSEC,OK\r\n");
ends($id, 'answered|$PARA,1 $DIST,500 $JSEC,OK', 'parameters over several lines');
$id = queue(1, '$IMEI');
gets($t, '$IMEI', 'a query');
transmit($t, '$IMEI,' . imei(1) . "\r");
ends($id, 'answered|$IMEI,' . imei(1), 'a lone CR is an end of line');
$id = queue(1, '$STAT');
gets($t, '$STAT', 'a query');
transmit($t, ('$STAT,' . 'x' x 1000 . "\r") x 20);
ok($node->poll_query_until($At402::database,
	"SELECT state, length(answer) FROM at402.command WHERE id = $id", 'answered|8191'),
	'an answer without end is cut');

# ---- after answers, never before ----

my $lock = $node->background_psql($At402::database);
$lock->query_safe('BEGIN; LOCK TABLE at402.position');
transmit($t, packet(seq => 3));
wait_for($node, "count(*) > 0 FROM pg_stat_activity
	WHERE backend_type = 'at402 listener' AND wait_event_type = 'Lock'");
$id = queue(1, '$POLL');
$lock->query_safe('COMMIT');
gets($t, '^$POLL', 'first the answer to a report, then the command');
transmit($t, "\$POLL,OK\r\n");
ends($id, 'answered|$POLL,OK', 'and it is answered');

# half a packet, then a command, then the rest
my $packet = packet(seq => 4);
reset_stat($node);
transmit($t, substr($packet, 0, 20));
wait_published($node, 'bytes = 20');
$id = queue(1, '$POLL');
is(hear($t, 0.5), '', 'nothing is sent while a packet has begun');
is(state_of($id), 'queued', 'it waits');
transmit($t, substr($packet, 20));
gets($t, '^$POLL', 'it is sent after the answer');
transmit($t, "\$POLL,OK\r\n");
ends($id, 'answered|$POLL,OK', 'and answered');

# ---- offline, expired, cancelled ----

close $t;
wait_for($node, 'count(*) = 0 FROM at402_stat_connection');
my @ids = map { queue(1, $_) } '$DIST,1', '$DIST,2', '$DIST,3';
my $expiring = queue(1, '$DIST,4', '1 ms');
is(sql($node, "SELECT at402_command_cancel($ids[1])"), 'cancelled', 'cancelled');
$t = login_as($node, 1);
foreach my $i (0, 2)
{
	gets($t, '$DIST,' . ($i + 1), 'a tracker that connects gets what waits, in order');
	is(sql($node, "SELECT at402_command_cancel($ids[$i])"), 'sent', 'too late to cancel');
	transmit($t, "\$DIST,OK\r\n");
	ends($ids[$i], 'answered|$DIST,OK', 'answered');
}
nothing_came($t, 'what was cancelled or has expired is not sent');
is(state_of($expiring), 'queued', 'until the upkeep');
sql($node, 'SELECT at402_internal.at402_maintain_commands()');
is(state_of($expiring), 'expired', 'what has expired is called so');

# a row that somebody has locked, and the next of its device, wait; others do not
$id = queue(1, '$DIST,5', '1 ms');
$lock->query_safe('BEGIN; SELECT FROM at402.command WHERE state = \'expired\' FOR UPDATE');
sql($node, "UPDATE at402.command SET expires_at = now() + '1 day' WHERE id = $id");
gets($t, '$DIST,5', 'a command');
$lock->query_safe("ROLLBACK; BEGIN; SELECT FROM at402.command WHERE id = $id FOR UPDATE");
transmit($t, "\$DIST,OK\r\n");
nothing_came($t, 'a report is answered while the row of a command is locked');
is(state_of($id), 'sent', 'its answer waits');
$lock->query_safe('COMMIT');
ends($id, 'answered|$DIST,OK', 'and is not lost');
$lock->query_safe('BEGIN; LOCK TABLE at402.command');
nothing_came($t, 'a report is answered while the table is locked');
$lock->query_safe("INSERT INTO at402.command (device_id, command) SELECT id, '\$DIST,6' FROM at402.device");
nothing_came($t, 'what is not committed is not sent');
$lock->query_safe('COMMIT');
gets($t, '$DIST,6', 'then it is');
transmit($t, "\$DIST,OK\r\n");

# ---- in doubt ----

reload_with($node, "at402.command_timeout = '1s'");
$id = queue(1, '$BOOT');
gets($t, '$BOOT', 'a command');
ends($id, 'in_doubt', 'no answer in time: in doubt');
transmit($t, "\$BOOT,OK\r\n");
wait_for($node, 'count(*) = 1 FROM at402.frame WHERE protocol IS NULL AND frame::bytea LIKE \'$BOOT%\'');
is(state_of($id), 'in_doubt', 'an answer that comes later is a frame');
is(sql($node, "SELECT at402_command_retry($id)"), 'queued', 'tried again');
gets($t, '$BOOT', 'and only so it is sent again');
reload_with($node, "at402.command_timeout = '60s'");
close $t;
ends($id, 'in_doubt', 'the connection ends: in doubt');
$t = login_as($node, 1);
nothing_came($t, 'it is not sent again by itself');
is(sql($node, "SELECT attempts FROM at402.command WHERE id = $id"), 2, 'it was sent twice');

# part of an answer
$id = queue(1, '$DIST,7$JSEC,7');
gets($t, '$DIST,7$JSEC,7', 'a command');
transmit($t, "\$DIST,OK\r");
ok(!!close($t), 'half of the answer');
ends($id, 'in_doubt|$DIST,OK', 'is kept, and the command is in doubt');

# whoever ends: a listener, a backend, the server
foreach my $victim (qw(listener backend postmaster))
{
	$t = login_as($node, 1);
	$id = queue(1, '$BOOT');
	gets($t, '$BOOT', 'a command');
	my $waits = queue(1, '$POLL');
	kill_hard($node, $victim);
	ends($id, 'in_doubt', "after kill -9 of the $victim it is in doubt");
	is(hear($t, 1), ' closed', 'its connection is gone');
	$t = login_as($node, 1);
	gets($t, '$POLL', 'it is not sent again, but what waits is');
	transmit($t, "\$POLL,OK\r\n");
	ends($waits, 'answered|$POLL,OK', 'and answered');
}

# ---- which connection ----

my $other = connect_tcp($node);
is(ask($other, packet(imei => imei(1), seq => 5)), '06', 'another connection brings a packet of it');
$id = queue(1, '$POLL');
gets($other, '$POLL', 'the command goes to the connection that last brought a good packet');
transmit($t, "\$POLL,OK\r\n");
transmit($other, "\$POLL,UN\r\n");
ends($id, 'refused|$POLL,UN', 'only what comes there is its answer');
is(ask($t, packet(seq => 6)), '06', 'a packet on the first');
my $liar = login_as($node, 1);
$id = queue(1, '$POLL');
gets($t, '$POLL', 'moves it back, and a login alone does not take it away');
transmit($t, "\$POLL,OK\r\n");
ends($id, 'answered|$POLL,OK', 'answered');
close $_ foreach $other, $liar;

# ---- a PIN ----

my $pin = 'Geheim4711';
sql($node, "INSERT INTO at402.device_secret SELECT id, '$pin' FROM at402.device WHERE imei = '"
	. imei(1) . "'");
foreach my $answer ("\$SDIG,OK\r\n", "\$PASS,OK\r\$SDIG,OK\r\n", "\$PASS,$pin\r\$SDIG,OK\r\n")
{
	$id = queue(1, '$SDIG,2,1');
	gets($t, "\$PASS,$pin\$SDIG,2,1", 'the PIN comes first');
	transmit($t, $answer);
	ends($id, 'answered|' . ($answer =~ /PASS,OK/ ? '$PASS,OK ' : $answer =~ /PASS/ ? '$PASS ' : '')
		. '$SDIG,OK', 'answered');
}
is(sql($node, "SELECT count(*) FROM at402.command AS c WHERE c::text LIKE '%$pin%'"), 0,
	'it is in no row');
is(sql($node, "SELECT count(*) FROM at402.frame AS f WHERE frame::bytea LIKE '%$pin%'"), 0,
	'nor in a frame');
is(log_count($node, ".*$pin"), 0, 'nor in the log');

# ---- UDP ----

my $udp = connect_udp($node);
is(ask($udp, packet(imei => imei(2), seq => 1)), '06', 'a datagram');
$id = queue(2, '$POLL');
is(ask($udp, packet(imei => imei(2), seq => 2)), '06', 'is answered, and no more');
is(hear($udp, 0.3), '', 'no command goes over UDP');
reload_with($node, 'at402.commands_udp = on');
transmit($udp, packet(imei => imei(2), seq => 3));
is(join(' ', map { receive($udp, $_) } 1, 7), '06 ' . unpack('H*', "\$POLL\r\n"),
	'unless it is allowed: in reply to a datagram');
transmit($udp, "\$POLL,OK\r\n");
ends($id, 'answered|$POLL,OK', 'it is answered in a datagram');
is(ask($udp, packet(imei => imei(2), seq => 4)), '06', 'and not sent again');
sql($node, "INSERT INTO at402.device_secret SELECT id, '$pin' FROM at402.device
	WHERE imei = '" . imei(2) . "'");
$id = queue(2, '$POLL');
is(ask($udp, packet(imei => imei(2), seq => 5)), '06', 'where there is a PIN');
is(hear($udp, 0.3), '', 'it is not sent over UDP');
is(state_of($id), 'queued', 'but waits for a connection');

# ---- garbage ----

sql($node, 'DELETE FROM at402.device_secret');
srand 402;
$id = queue(1, '$STAT$POSN');
gets($t, '$STAT$POSN', 'a command');
my $quiet = login_as($node, 3);
foreach my $round (1 .. 10)
{
	transmit($t, map { '$' . join('', map { (qw(S T A P O N K 1), ',', "\xFF", "\0")[rand 11] } 1 .. rand 40)
		. (qw(OK UN))[rand 2] . "\r\n" } 1 .. 50);
	transmit($t, '$POSN,OK' . "\r\n", "\$STA\r\n", "\$STATS,1\r\n") if $round == 10;
	is(ask($quiet, packet(seq => $round)), '06', 'reports of others are answered') if $round % 5 == 0;
}
is(state_of($id), 'sent', 'garbage is no answer');
is(sql($node, "SELECT answer FROM at402.command WHERE id = $id"), '', 'nor a part of one');
transmit($t, 'STAT');
ends($id, 'in_doubt', 'when it makes the connection end, the command is in doubt');
transmit($quiet, ("\$POLL,OK\r\n") x 1000, packet(seq => 30));
is(hear($quiet, 1) =~ s/[^^]//gr, '^', 'answers to nothing do not matter');
is(sql($node, "SELECT count(*) FROM at402.command AS c JOIN at402.device AS d ON d.id = device_id
	WHERE imei = '" . imei(3) . "'"), 0, 'they make no command');
close $quiet;
$t = login_as($node, 1);

# ---- what users do to the table ----

sql($node, 'UPDATE at402.command SET state = \'cancelled\'
	WHERE state = \'queued\';
	CREATE FUNCTION public.hinder() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.state = \'sent\' AND NEW.command = \'$BOOT\' THEN RAISE \'not this one\'; END IF;
		RETURN NEW; END $$;
	CREATE TRIGGER hinder BEFORE UPDATE ON at402.command FOR EACH ROW
	EXECUTE FUNCTION public.hinder()');
my @trackers = ($t, map { login_as($node, $_) } 3 .. 6);
sql($node, "SELECT at402_command(imei, CASE WHEN imei = '" . imei(4) . "' THEN '\$BOOT' ELSE '\$POLL' END)
	FROM at402.device WHERE imei <> '" . imei(2) . "' ORDER BY id");
gets($trackers[$_], '$POLL', 'a trigger that fails for one device does not stop the others')
  foreach 0, 1, 3, 4;
transmit($_, "\$POLL,OK\r\n") foreach @trackers;
wait_for($node, 'count(*) = 4 FROM at402.command WHERE state = \'answered\' AND command = \'$POLL\'
	AND created_at = (SELECT max(created_at) FROM at402.command)');
nothing_came($trackers[2], 'and nothing is sent that is not written down');
cmp_ok(log_count($node, 'at402 could not write to at402.command: not this one'), '>=', 1,
	'the log says why');
sql($node, 'DROP TRIGGER hinder ON at402.command');
gets($trackers[2], '$BOOT', 'when it is mended the command is sent');
close $_ foreach @trackers[1 .. 4];

# an alert that commands, as in doc/commands.md
my ($siren) = slurp_file('doc/commands.md') =~ /^(CREATE FUNCTION public\.siren.*?)^```/ms;
sql($node, $siren);
my $alert = 'INSERT INTO at402.alert (device_id, time, seq, content_hash, rule_id, rule_name, level, message)
	SELECT id, now(), 1, 0, 1, %s, \'critical\', \'\' FROM at402.device WHERE imei = \'' . imei(1) . '\'';
sql($node, sprintf("SET ROLE at402; BEGIN; $alert; ROLLBACK; $alert", ("'left at night'", "'another'")));
nothing_came($t, 'an alert that is rolled back, or another one, commands nothing');
sql($node, sprintf("SET ROLE at402; DELETE FROM at402.alert; $alert", "'left at night'"));
gets($t, '$SDIG,1,1', 'an alert queues a command in its own transaction');
transmit($t, "\$SDIG,OK\r\n");
wait_for($node, "count(*) = 1 FROM at402.command WHERE state = 'answered' AND created_by = 'at402'");
sql($node, 'DROP FUNCTION public.siren CASCADE');

# tables of an older version
sql($node, 'DROP TABLE at402.command, at402.device_secret');
nothing_came($t, 'without the tables reports are answered');
sql($node, 'SELECT at402_create_tables()');
$id = queue(1, '$POLL');
gets($t, '$POLL', 'and with them commands are sent again');

# ---- several listeners ----

sql($node, 'ALTER SYSTEM SET at402.workers = 3');
$node->restart;
listener_port($node);
@trackers = map { login_as($node, $_) } 1 .. 12;
cmp_ok(sql($node, 'SELECT count(DISTINCT listener) FROM at402_stat_connection'), '>', 1,
	'trackers at several listeners');
sql($node, "UPDATE at402.command SET state = 'cancelled' WHERE state = 'queued';
	SELECT at402_poll(imei) FROM at402.device");
gets($_, '$POLL', 'each gets its own') foreach @trackers;
transmit($_, "\$POLL,OK\r\n") foreach @trackers;
wait_for($node, 'count(*) = 12 FROM at402.command WHERE state = \'answered\' AND command = \'$POLL\'
	AND created_at = (SELECT max(created_at) FROM at402.command)');
is(sql($node, 'SELECT max(attempts) FROM at402.command'), 1, 'once');

# one device at all of them: the last that brought a packet gets it
@trackers = map { login_as($node, 1) } 1 .. 12;
foreach my $i (0, 7, 3)
{
	is(ask($trackers[$i], packet(seq => 20 + $i)), '06', 'a packet');
	$id = queue(1, '$POLL');
	gets($trackers[$i], '$POLL', 'the connection that brought the last packet gets it');
	transmit($trackers[$i], "\$POLL,OK\r\n");
	ends($id, 'answered|$POLL,OK', 'answered');
}
nothing_came($_, 'and no other') foreach @trackers;

$node->stop;
done_testing();
