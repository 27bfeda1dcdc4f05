# At402.pm - what the TAP tests share: a server with the listener, trackers made of sockets, and
# the simulated fleet whose journal says what must not be lost
#
#   my $node = new_node('main', 'at402.batch_delay = 0');
#   my $tracker = connect_tcp($node);
#   is(ask($tracker, login(imei(1))), '06', 'a login is answered');
#   is(ask($tracker, packet(seq => 1), packet(seq => 2)), '0606', 'packets are answered');
#
# The bytes are packed by hand from the protocol: they must not repeat a slip of src/core.
#
# The extension is found through TEMP_CONFIG, a file of settings that make check writes and every
# PostgreSQL::Test::Cluster reads; without it, in PostgreSQL's directories (make install).
package At402;

use strict;
use warnings;
use Exporter 'import';
use IO::Select;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Test::More;
use Time::HiRes;

our @EXPORT = qw(init_node new_node listener_port start_again reload_with log_count
  sql wait_for device_id stored quarantined published wait_published published_is reset_stat
  frame report packet login imei golden now
  connect_tcp connect_udp login_as transmit receive hear ask silent still_answers
  start_fleet finish_fleet kill_hard judge_journal);

our $database = 'fleet';

# A peer that hangs up is a result, not the end of the test
$SIG{PIPE} = 'IGNORE';

# ---- the server ----

# A server that loads the library, not started yet.  More lines of settings may follow the name.
sub init_node
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding', 'UTF8' ]);
	$node->append_conf('postgresql.conf', $_)
	  foreach "shared_preload_libraries = 'at402'", 'at402.port = 0', @settings;
	return $node;
}

# A running server with role at402, database fleet, extension and tables, and the listener on a
# free port of localhost.
sub new_node
{
	my $node = init_node(@_);

	$node->start;
	$node->safe_psql('postgres', "CREATE ROLE at402 LOGIN; CREATE DATABASE $database");
	sql($node, 'CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables()');

	# Only now: a worker without its database dies and comes back seconds later.
	$node->append_conf('postgresql.conf', "at402.database = '$database'");
	$node->restart;
	listener_port($node);
	return $node;
}

# Waits until all listeners listen and returns their port.
sub listener_port
{
	my ($node) = @_;

	wait_published($node, "bool_and(state = 'listening')");
	return published($node, 'min(port)');
}

# Starts a server that was killed: what is left of the old one has to end first.
sub start_again
{
	my ($node) = @_;
	my $give_up = Time::HiRes::time() + $PostgreSQL::Test::Utils::timeout_default;

	until ($node->start(fail_ok => 1))
	{
		die 'the server does not start again' if Time::HiRes::time() > $give_up;
	}
}

# Adds lines to postgresql.conf and waits until the server has told its processes.
sub reload_with
{
	my ($node, @settings) = @_;
	my $before = sql($node, 'SELECT clock_timestamp()');

	$node->append_conf('postgresql.conf', $_) foreach @settings;
	$node->reload;
	wait_for($node, "pg_conf_load_time() > '$before'");
	# it is the checkpointer that tells who commits whether there is a standby to wait for
	sql($node, 'CHECKPOINT') if grep { /^synchronous_standby_names/ } @settings;
}

sub sql
{
	my ($node, $statements) = @_;
	return $node->safe_psql($database, $statements);
}

# Waits until an SQL condition holds.
sub wait_for
{
	my ($node, $condition) = @_;
	my $holds;

	# while the server starts, psql may end before it is told what to ask
	do
	{
		$holds = eval { $node->poll_query_until($database, "SELECT $condition") };
	} while ($@ =~ /Broken pipe/);
	return $holds || die $@ || "waited in vain for: $condition";
}

# at402.device.id of tracker n; empty: there is none
sub device_id
{
	my ($node, $n) = @_;
	return sql($node, "SELECT id FROM at402.device WHERE imei = '" . imei($n) . "'");
}

# The sequence numbers of what is stored of tracker n, separated by commas, the oldest first
sub stored
{
	my ($node, $n) = @_;
	return sql($node, "SELECT string_agg(seq::text, ',' ORDER BY time, seq)
		FROM at402.position JOIN at402.device ON id = device_id WHERE imei = '" . imei($n) . "'");
}

# What is in quarantine of tracker n: a line each of reason, sqlstate and report_no
sub quarantined
{
	my ($node, $n) = @_;
	return sql($node, "SELECT reason, sqlstate, report_no FROM at402.quarantine
		WHERE imei = '" . imei($n) . "' ORDER BY id");
}

# Columns of at402_stat_listener, as psql -At prints them
sub published
{
	my ($node, $columns) = @_;
	return sql($node, "SELECT $columns FROM at402_stat_listener");
}

sub wait_published
{
	my ($node, $condition) = @_;
	return wait_for($node, "$condition FROM at402_stat_listener");
}

# A test: the columns have these values, or soon will (an answer is counted just after it is sent).
sub published_is
{
	my ($node, $columns, $expected, $name) = @_;
	ok( $node->poll_query_until($database, "SELECT $columns FROM at402_stat_listener", $expected),
		$name);
}

# Begins to count anew, when all that was answered has been counted.
sub reset_stat
{
	my ($node) = @_;
	wait_for($node, "count(*) = 0 FROM pg_stat_activity
		WHERE backend_type = 'at402 listener' AND state <> 'idle'");
	sql($node, 'SELECT at402_stat_reset()');
}

# How often the server has logged something
sub log_count
{
	my ($node, $pattern) = @_;
	my @found = slurp_file($node->logfile) =~ /^.*(?:LOG|WARNING|ERROR|FATAL):  $pattern/mg;
	return scalar @found;
}

# ---- the wire ----

# Unix time of the moment when the test began, for reports of about now
my $began = time();

sub now
{
	return $began;
}

sub crc16
{
	my ($bytes) = @_;
	my $crc = 0xFFFF;

	foreach my $byte (unpack 'C*', $bytes)
	{
		$crc ^= $byte;
		$crc = $crc & 1 ? $crc >> 1 ^ 0xA001 : $crc >> 1 foreach 1 .. 8;
	}
	return $crc;
}

# A packet around these bytes, which begin with the report count: good as a frame whatever it holds
sub frame
{
	my ($letter, $body) = @_;
	my $bytes = $letter . pack('n', length($body) + 5) . $body;

	return $bytes . pack('n', crc16($bytes));
}

# Seconds from 1970 to the beginning of the trackers' time, 1980-01-06
my $epoch = 315964800;

# One report of an X packet: device power and GNSS, and with inputs => mask the digitals, of which
# all that are on have just changed.
# time is in Unix seconds; reasons and status are masks.
sub report
{
	my %r = (seq => 0, time => now(), reasons => 1, status => 0, latitude => 52.138826,
		longitude => -0.326804, speed_kmh => 0, heading_deg => 0, @_);
	my $mask = defined $r{inputs} ? 7 : 3;
	my $time = $r{time} - $epoch;

	return pack('C x2 N N N n', $r{seq}, $mask, $time, $r{reasons}, $r{status})
	  . pack('C C', 122, 35)
	  . pack('N l> l> C C C C n', $time, sprintf('%.0f', $r{latitude} * 1e6),
		sprintf('%.0f', $r{longitude} * 1e6), $r{speed_kmh} / 2, $r{speed_kmh} / 2,
		$r{heading_deg} / 2, 0, 0)
	  . (defined $r{inputs} ? pack('n n', $r{inputs}, $r{inputs}) : '');
}

# An X packet: of one report, described as above, or of several in reports => [...]; imei puts the
# sender in the packet ($MODE,4 and UDP), without it a login line has to come first.
sub packet
{
	my %p = @_;
	my $reports = delete $p{reports} // [ report(%p) ];
	my $sender = '';

	$sender = pack('N C n', substr($p{imei}, 0, 8), substr($p{imei}, 8) >> 16,
		substr($p{imei}, 8) & 0xFFFF)
	  if defined $p{imei};
	return frame('X', pack('C', scalar @$reports) . $sender . join('', @$reports));
}

sub login
{
	my ($imei, %l) = @_;
	%l = (model => 'AT402', vin => '', firmware => '7.0.70.3', protocol => 'X', %l);
	return "\$ASTRA;$l{model};$imei;$l{vin};$l{firmware};$l{protocol};1\r\n";
}

# The IMEI of tracker n, with its check digit
sub imei
{
	my ($n) = @_;
	my $digits = sprintf('86087304%06d', $n);
	my $sum = 0;

	foreach my $i (0 .. 13)
	{
		my $digit = substr($digits, $i, 1) * ($i % 2 ? 2 : 1);
		$sum += $digit > 9 ? $digit - 9 : $digit;
	}
	return $digits . (10 - $sum % 10) % 10;
}

# The packets captured from real devices, each with what it has to decode to; but for those whose
# login, which says who sent them, is not published
sub golden
{
	my @lines = map { decode_json($_) } grep { /^\{/ }
	  split(/\n/, slurp_file('test/vectors/captured.jsonl'));
	return grep { $_->{decoded}{kind} eq 'packet' && defined $_->{decoded}{imei} } @lines;
}

# ---- trackers ----

# To the port that the listener has now.  Options are those of IO::Socket::INET.
sub connect_tcp
{
	my ($node, %options) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
		PeerPort => published($node, 'min(port)'), %options) or die "no connection: $@";

	setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1);
	return $socket;
}

sub connect_udp
{
	my ($node, %options) = @_;
	return IO::Socket::INET->new(Proto => 'udp', PeerAddr => '127.0.0.1',
		PeerPort => published($node, 'min(port)'), %options) || die "no socket: $@";
}

# A test: tracker n connects, and its login is answered.
sub login_as
{
	my ($node, $n, %options) = @_;
	my $socket = connect_tcp($node, %options);

	is(ask($socket, login(imei($n))), '06', 'login');
	return $socket;
}

# Sends frames, each with a call of its own.  False when the peer has hung up.
sub transmit
{
	my ($socket, @frames) = @_;

	foreach my $frame (@frames)
	{
		for (my $at = 0; $at < length $frame;)
		{
			$at += syswrite($socket, $frame, length($frame) - $at, $at) // return 0;
		}
	}
	return 1;
}

# What comes, in hex, until there are so many bytes; " closed" is added when the peer hangs up
# before, " nothing" when nothing comes.
sub receive
{
	my ($socket, $count) = @_;
	my $select = IO::Select->new($socket);
	my $give_up = Time::HiRes::time() + $PostgreSQL::Test::Utils::timeout_default;
	my $got = '';

	while (length $got < $count)
	{
		my $left = $give_up - Time::HiRes::time();
		return unpack('H*', $got) . ' nothing' if $left < 0 || !$select->can_read($left);
		my $bytes = sysread($socket, $got, $count - length $got, length $got);
		return unpack('H*', $got) . ' closed' if !$bytes;
	}
	return unpack('H*', $got);
}

# What comes until an end of line, or so many seconds have gone; 0x06 is shown as ^
sub hear
{
	my ($socket, $seconds) = @_;
	my $select = IO::Select->new($socket);
	my $give_up = Time::HiRes::time() + ($seconds // $PostgreSQL::Test::Utils::timeout_default);
	my $got = '';

	while ($got !~ /\n$/ && $give_up > Time::HiRes::time() && $select->can_read($give_up - Time::HiRes::time()))
	{
		sysread($socket, $got, 1000, length $got) or return "$got closed";
	}
	return $got =~ s/\x06/^/gr =~ s/\r\n$//r;
}

# Sends frames and receives as many answers.
sub ask
{
	my ($socket, @frames) = @_;
	transmit($socket, @frames);
	return receive($socket, scalar @frames);
}

# Nothing has come, nor has the peer hung up.  True at once: ask only after something that was
# published shows that the answer would have been sent.
sub silent
{
	my ($socket) = @_;
	return !IO::Select->new($socket)->can_read(0);
}

# The answer that a good tracker gets, whatever happened before
my $good_reports = 0;

sub still_answers
{
	my ($node) = @_;
	my $time = now() + $good_reports++;
	return ask(connect_tcp($node), packet(imei => imei(999_999), time => $time));
}

# ---- the fleet, and the list of what it was promised ----

my @fleets;

# Starts the simulator, whose reports go into a journal.
sub start_fleet
{
	my ($port, $journal, @options) = @_;
	my $output = '';
	my $run = IPC::Run::start(
		[ 'tools/at402sim', '--port', $port, '--journal', $journal, '--quiet', @options ],
		'>&', \$output);

	push @fleets, $run;
	return { run => $run, output => \$output };
}

# Waits for its end.  True when every report was answered.
sub finish_fleet
{
	my ($fleet) = @_;
	my $answered = $fleet->{run}->finish;

	print map { "# $_\n" } split(/\n/, ${ $fleet->{output} });
	return $answered;
}

# Nothing is left running when a test gives up.
END
{
	local $?;    # the exit status
	$_->kill_kill foreach grep { $_->pumpable } @fleets;
}

# Is there no such process, or only what is left of it?
sub has_ended
{
	my ($pid) = @_;
	open my $stat, '<', "/proc/$pid/stat" or return 1;
	return (<$stat> // '') !~ /\) [^Z] /;
}

# Ends a listener, the maintenance worker, a backend or the postmaster as a crash does, and waits
# until the server listens again.  Needs restart_after_crash, which PostgreSQL::Test::Cluster turns
# off.
sub kill_hard
{
	my ($node, $victim) = @_;
	my $listeners = published($node, "string_agg(pid::text, ',')");

	if ($victim eq 'postmaster')
	{
		my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');

		$node->kill9;
		# while the system still knows it, another does not start; and where process 1 does not
		# collect the dead, it will know it for ever
		select(undef, undef, undef, 0.01) until has_ended($postmaster);
		unlink $node->data_dir . '/postmaster.pid' if -e "/proc/$postmaster";
		start_again($node);
	}
	elsif ($victim eq 'backend')
	{
		$node->psql($database, q(COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'));
	}
	else
	{
		kill 'KILL', sql($node, "SELECT pid FROM pg_stat_activity
			WHERE backend_type = 'at402 $victim' ORDER BY random() LIMIT 1");
	}
	wait_published($node, "bool_and(state = 'listening' AND pid <> ALL ('{$listeners}'))");
}

# Compares a journal with at402.position: reports sent and answered, those of the answered that are
# found and that are lost, rows that nobody sent, and rows of all tables that are there twice.  Of
# all devices, or of those with such IMEIs (a pattern of LIKE).
sub judge_journal
{
	my ($node, $journal, $imeis) = @_;
	my $devices = sprintf(q{device_id IN (SELECT id FROM at402.device WHERE imei LIKE '%s')},
		$imeis // '%');
	my $key = 'device_id, time, seq, content_hash';
	my $twice = join ' UNION ALL ', map { "SELECT count(*) - count(DISTINCT ($key, $_->[1])) AS n
		FROM at402.$_->[0] WHERE $devices AND seq >= 0" }
	  [ position => 0 ], map { [ $_ => 'n' ] } qw(event io motion can can_frame ble module);
	my %found;

	@found{qw(sent answered found lost strange doubled)} = split(/\|/, sql($node, <<SQL));
CREATE TEMP TABLE journal (what text, imei text, unix_time bigint, seq int, content_hash int);
\\copy journal FROM '$journal' WITH (DELIMITER ' ')
CREATE TEMP VIEW told AS SELECT what, id AS device_id, to_timestamp(unix_time) AS time,
	seq::smallint AS seq, content_hash FROM journal LEFT JOIN at402.device USING (imei);
SELECT (SELECT count(*) FROM journal WHERE what = 'S'),
	(SELECT count(*) FROM journal WHERE what = 'A'),
	(SELECT count(*) FROM told JOIN at402.position USING ($key) WHERE what = 'A'),
	(SELECT count(*) FROM (SELECT $key FROM told WHERE what = 'A'
		EXCEPT SELECT $key FROM at402.position) AS lost),
	(SELECT count(*) FROM (SELECT $key FROM at402.position WHERE $devices
		EXCEPT SELECT $key FROM told) AS strange),
	(SELECT sum(n) FROM ($twice) AS twice);
SQL
	return \%found;
}

1;
