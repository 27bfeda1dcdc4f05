# 023_long_run.pl - what happens to a server in the long run: clocks that jump, midnight, tables that
# are altered under load, memory
#
# The server of this test has a clock of its own, see test/perl/fake_clock.c.
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $clock = "$dir/clock";

# Moves the server's clock by so many seconds from the true time.
sub set_clock
{
	my ($seconds) = @_;
	open my $file, '+>', $clock or die "$clock: $!";
	syswrite $file, pack('q', $seconds) or die "$clock: $!";
	close $file;
}

# written in place: the server has the file mapped
sub move_clock
{
	my ($seconds) = @_;
	open my $file, '+<', $clock or die "$clock: $!";
	syswrite $file, pack('q', $seconds) or die "$clock: $!";
	close $file;
}

set_clock(0);
system_or_bail('cc', '-shared', '-fPIC', '-o', "$dir/fake_clock.so", 'test/perl/fake_clock.c');
$ENV{AT402_CLOCK} = $clock;
$ENV{LD_PRELOAD} = "$dir/fake_clock.so";

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $node = new_node('long_run', "at402.port = $port", 'at402.maintain_interval = 0');
my $fleets = 0;

sub fleet
{
	my ($trackers, $reports, @options) = @_;
	my $first = sprintf('3570%02d000000000', ++$fleets);

	return { %{ start_fleet($port, "$dir/journal$fleets", '--first', $first, '--seed', $fleets,
		'--trackers', $trackers, '--reports', $reports, '--answer-timeout', 2, @options) },
		journal => "$dir/journal$fleets", imeis => substr($first, 0, 6) . '%',
		sent => $trackers * $reports };
}

# All of the fleet is answered, and stored once.
sub fleet_ok
{
	my ($fleet, $name) = @_;

	finish_fleet($fleet);
	my $found = judge_journal($node, $fleet->{journal}, $fleet->{imeis});
	is_deeply([ @$found{qw(answered found lost strange doubled)} ],
		[ $fleet->{sent}, $fleet->{sent}, 0, 0, 0 ], $name);
}

sub wait_half
{
	my ($fleet) = @_;
	wait_for($node, "count(*) > $fleet->{sent} / 4 FROM at402.position JOIN at402.device
		ON id = device_id WHERE imei LIKE '$fleet->{imeis}'");
}

subtest 'the clock jumps by hours, both ways, under load' => sub {
	my $fleet = fleet(20, 200, '--rate', 40);
	my $udp = connect_udp($node);

	reload_with($node, 'at402.register_limit = 25');
	wait_half($fleet);
	my $before = sql($node, 'SELECT now()');
	move_clock(5 * 3600);
	cmp_ok(sql($node, "SELECT extract(epoch FROM now() - '$before')"), '>', 4 * 3600, 'five hours on');
	is(ask($udp, packet(imei => imei(1))), '06', 'a new device is registered');
	move_clock(-7 * 3600);
	cmp_ok(sql($node, "SELECT extract(epoch FROM now() - '$before')"), '<', -6 * 3600,
		'twelve hours back');
	is(ask($udp, packet(imei => imei(1), seq => 1)), '06', 'a report is answered');
	foreach my $n (2 .. 20)
	{
		is(ask($udp, packet(imei => imei($n))), '06', 'the minute of at402.register_limit has begun anew');
	}
	move_clock(0);
	fleet_ok($fleet, 'the fleet is answered, each report is stored once');
	published_is($node, 'state, failed_batches', 'listening|0', 'no batch has failed');
	reload_with($node, 'at402.register_limit = -1');
};

subtest 'midnight under load, without partitions ahead of time' => sub {
	my $to_midnight = 86400 - time() % 86400;

	sql($node, "DO \$\$ DECLARE p regclass; BEGIN FOR p IN SELECT k.partition FROM at402_internal.at402_data_tables() AS t,
		at402_partitions(to_regclass('at402.' || t.table_name)) AS k WHERE lower(k.span) > now()
		LOOP EXECUTE format('DROP TABLE %s', p); END LOOP; END \$\$");
	move_clock($to_midnight - 3);
	my $fleet = fleet(20, 200, '--rate', 25, '--step', 1, '--start', time() + $to_midnight - 100);
	wait_for($node, 'count(*) > 0 FROM at402.position_default');
	pass('the first reports of the new day lie in the default partition');
	reload_with($node, 'at402.maintain_interval = 1s', 'at402.partitions_ahead = 1');
	wait_for($node, 'count(*) = 0 FROM at402.position_default');
	pass('the upkeep makes its partition and moves them');
	fleet_ok($fleet, 'the fleet is answered, each report is stored once');
	is(sql($node, "SELECT count(DISTINCT position.tableoid) FROM at402.position JOIN at402.device
		ON id = device_id WHERE imei LIKE '$fleet->{imeis}'"), '2', 'in two partitions');
	is(sql($node, 'SELECT count(*) FROM at402.quarantine'), '0', 'nothing is in quarantine');
	reload_with($node, 'at402.maintain_interval = 0');
	move_clock(0);
};

subtest 'two listeners with the same devices, while tables are altered' => sub {
	$node->append_conf('postgresql.conf', 'at402.workers = 2');
	$node->restart;
	listener_port($node);
	# the same reports from two fleets: half of them are repeats
	my @fleets = map { start_fleet($port, "$dir/both$_", '--first', '357090000000000', '--seed', 9,
		'--trackers', 50, '--reports', 150, '--rate', 25, '--start', now(), '--answer-timeout', 2) } 1, 2;

	my $stored = 0;
	foreach my $type (qw(int smallint int smallint))
	{
		$stored += 1500;
		wait_for($node, "count(*) > $stored FROM at402.position JOIN at402.device ON id = device_id
			WHERE imei LIKE '35709%'");
		sql($node, "ALTER TABLE at402.position ALTER COLUMN altitude_m TYPE $type");
		sql($node, 'ALTER TABLE at402.position DETACH PARTITION at402.position_default;
			ALTER TABLE at402.position ATTACH PARTITION at402.position_default DEFAULT');
	}
	finish_fleet($_) foreach @fleets;
	foreach my $which (1, 2)
	{
		my $found = judge_journal($node, "$dir/both$which", '35709%');
		is_deeply([ @$found{qw(answered found lost strange doubled)} ], [ 7500, 7500, 0, 0, 0 ],
			"fleet $which is answered, each report is stored once");
	}
	is(sql($node, 'SELECT count(*) FROM at402.quarantine'), '0', 'nothing is in quarantine');
	$node->append_conf('postgresql.conf', 'at402.workers = 1');
	$node->restart;
	listener_port($node);
};

subtest 'memory of the workers does not grow' => sub {
	my $kb = sub {
		my %kb;

		foreach my $row (split /\n/, sql($node, "SELECT backend_type || ',' || pid
			FROM pg_stat_activity WHERE backend_type LIKE 'at402%'"))
		{
			my ($name, $pid) = split /,/, $row;
			($kb{$name}) = slurp_file("/proc/$pid/status") =~ /RssAnon:\s+(\d+)/;
		}
		return \%kb;
	};

	# and upkeep has looked at what it brought
	my $fleet_is_done = sub {
		fleet_ok(fleet(50, 500), $_[0]);
		wait_for($node, 'count(*) = 0 FROM at402.device_state WHERE dirty_since IS NOT NULL');
	};

	reload_with($node, 'at402.maintain_interval = 1s');
	$fleet_is_done->('a fleet') foreach 1 .. 4;	# plans are made, memory is had
	my $before = $kb->();
	$fleet_is_done->('another fleet') foreach 1, 2;
	my $after = $kb->();
	foreach my $name (sort keys %$before)
	{
		cmp_ok($after->{$name} - $before->{$name}, '<', 3072,
			"$name: $before->{$name} kB, after 50,000 more reports $after->{$name} kB");
	}
};

is(log_count($node, '(?:server process|background worker) .* terminated by signal'), 0, 'no crash');
is(still_answers($node), '06', 'after all of this a good tracker is answered');
$node->stop;
done_testing();
