# 023_make_run.pl - make run, as somebody in a checkout does it: the demo, once more, a wrong address,
# and away with it
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

($status, $said) = run_sh('run');
is($status, 0, 'once more') or diag($said);
my $fastest = 'SELECT max(ST_Distance(geom::geography, before::geography) / extract(epoch FROM time - before_time) * 3.6)
	FROM (SELECT geom, time, lag(geom) OVER w AS before, lag(time) OVER w AS before_time FROM at402.position
		WHERE gnss_valid WINDOW w AS (PARTITION BY device_id ORDER BY time, seq)) AS p
	WHERE time > before_time';
cmp_ok(ask_sql($fastest), '<', 200, 'nobody jumps: it goes on where it stopped');
cmp_ok(ask_sql('SELECT count(*) FROM at402.position'), '>=', $reports, 'with what was there');

my $began = time;
($status, $said) = run_sh('run', LISTEN => '192.0.2.1');
isnt($status, 0, 'an address of another machine is refused');
like($said, qr/the listener does not listen: .*192\.0\.2\.1/, 'and it says so');
cmp_ok(time - $began, '<', 25, 'at once');

($status, $said) = run_sh('clean-run');
is($status, 0, 'make clean-run');
ok(!-e '.run', 'nothing is left');
done_testing();
