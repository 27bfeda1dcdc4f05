# 053_make_run.pl - make run, as somebody in a checkout does it: the demo, a command to the tracker that
# stays connected, once more, a wrong address, and away with it
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

# Runs tools/run.sh; its exit status and what it says
sub run_sh
{
	my ($command, %settings) = @_;
	my ($out, $error) = ('', '');
	local %ENV = (%ENV, PORT => 0, %settings);
	delete @ENV{qw(PGHOST PGPORT PGDATABASE PGUSER)};

	IPC::Run::run([ 'tools/run.sh', $command ], '<', \undef, '>', \$out, '2>', \$error);
	return ($? >> 8, "$out$error");
}

# Asks the server in .run
sub ask_sql
{
	my ($query) = @_;
	my $port = slurp_file('.run/port') =~ s/\n//r;
	my ($out, $error) = run_command([ 'psql', '-X', '-h', "$ENV{PWD}/.run", '-p', $port, '-d', 'fleet', '-Atc', $query ]);
	return $out . $error;
}

# The process of the tracker that stays connected
sub tracker
{
	return -e '.run/live' ? slurp_file('.run/live') =~ s/\n//r : 'none';
}

sub runs
{
	my ($pid) = @_;
	return -e "/proc/$pid" && slurp_file("/proc/$pid/cmdline") =~ /at402sim/;
}

# Nothing is left running when the test gives up.
END
{
	local $?;    # the exit status
	run_sh('stop') if -d '.run';
}

chomp($ENV{PWD} = `pwd`);
my ($status, $said) = run_sh('run');
is($status, 0, 'make run') or diag($said);
like($said, qr/^SQL:  psql /m, 'ends with the line that calls psql');
my $reports = ask_sql('SELECT count(*) FROM at402.position');
cmp_ok($reports, '>', 5000, 'a day and more of reports');
cmp_ok(ask_sql('SELECT max(time) - min(time) > $$20 hours$$ FROM at402.position'), 'eq', 't', 'spread over the day');

# the section of README.md
my ($section) = slurp_file('README.md') =~ /^## A command to a tracker\n(.*?)^## /ms;
my ($switch, $look) = map { s/^fleet=# //r } $section =~ /^(fleet=# SELECT .*?;)$/msg;
like(ask_sql($switch), qr/^\d+$/, 'an output is switched');
my $give_up = time + $PostgreSQL::Test::Utils::timeout_default;
my $row = '';
while ($row !~ /answered/ && time < $give_up)
{
	$row = ask_sql($look);
}
like($row, qr/^\$SDIG,1,1\|answered\|00:00:\d/, 'and the tracker that stays connected has answered');
is(system('tools/at402sim', '--parked', '--first', '352999000200006', '--trackers', 5, '--reports', 300, '--quiet',
		'--port', ask_sql('SELECT port FROM at402_stat_listener') =~ s/\n//r), 0, 'others of its kind');
is(ask_sql(q(SELECT count(*), max(speed_kmh), count(DISTINCT geom), bool_or(ignition), (SELECT count(*) FROM at402.alert AS a
		JOIN at402.device AS b ON b.id = a.device_id WHERE b.imei LIKE '3529990002%')
	FROM at402.position AS p JOIN at402.device AS d ON d.id = p.device_id WHERE d.imei LIKE '3529990002%')),
	'1500|0|5|f|0', 'stand, and give no alarm');
my $tracker = tracker();
ok(runs($tracker), 'its process is known');

($status, $said) = run_sh('run');
is($status, 0, 'once more') or diag($said);
ok(!runs($tracker), 'the tracker has gone');
$tracker = tracker();
ok(runs($tracker), 'for another');
is(ask_sql(q(SELECT count(*) FROM at402.vehicle_device AS v JOIN at402.device AS d ON d.id = v.device_id
	WHERE d.name = 'Workshop')), 0, 'of which the firm knows nothing');
my $fastest = 'SELECT max(ST_Distance(geom::geography, before::geography) / extract(epoch FROM time - before_time) * 3.6)
	FROM (SELECT geom, time, lag(geom) OVER w AS before, lag(time) OVER w AS before_time FROM at402.position
		WHERE gnss_valid WINDOW w AS (PARTITION BY device_id ORDER BY time, seq)) AS p
	WHERE time > before_time';
cmp_ok(ask_sql($fastest), '<', 200, 'nobody jumps: it goes on where it stopped');
cmp_ok(ask_sql('SELECT count(*) FROM at402.position'), '>=', $reports, 'with what was there');

($status, $said) = run_sh('run', DEMO => 0);
is($status, 0, 'without the demo') or diag($said);
ok(!runs($tracker), 'no tracker');
is(tracker(), 'none', 'at all');
($status, $said) = run_sh('run');
$tracker = tracker();
ok(runs($tracker), 'with it again');
run_sh('stop');
ok(!runs($tracker), 'make stop ends it too');

# killed, where nobody buries the dead: this process adopts them, and does not
SKIP:
{
	my $prctl = { x86_64 => 157, aarch64 => 167 }->{ `uname -m` =~ s/\n//r };
	skip 'no number of prctl() for this machine', 3 if !$prctl;
	is(syscall($prctl, 36, 1, 0, 0, 0), 0, 'PR_SET_CHILD_SUBREAPER');
	run_sh('run', DEMO => 0);
	my ($server) = slurp_file('.run/data/postmaster.pid') =~ /^(\d+)$/m;
	kill 'KILL', $server;
	($status, $said) = run_sh('stop');
	like("$status $said", qr/^0 at402 is not running/, 'make stop after kill -9');
	like(slurp_file("/proc/$server/status"), qr/^State:\s+Z/m, 'although it is still there');
}

my $began = time;
($status, $said) = run_sh('run', LISTEN => '192.0.2.1');
isnt($status, 0, 'an address of another machine is refused');
like($said, qr/the listener does not listen: .*192\.0\.2\.1/, 'and it says so');
cmp_ok(time - $began, '<', 25, 'at once');

($status, $said) = run_sh('clean-run');
is($status, 0, 'make clean-run');
ok(!-e '.run', 'nothing is left');
done_testing();
