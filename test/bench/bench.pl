# bench.pl - make bench: what a listener reaches on this machine, and what else the machine could do
#
#   BENCH="ratio profile latency connections flat size queries"   parts to run, all of these by
#                      default; instructions: what at402_ingest() costs whatever else the machine does,
#                      counted by valgrind
#   BENCH_SECONDS=8    of each measurement
#   BENCH_ROWS=20      million rows for the parts flat and queries
#
# Writes tables to standard output, and to .bench bench.csv, flat.svg and bench.txt with the same.
# Every run is checked: what was answered, and nothing else, is in the tables.  Figures of one run
# are to be compared with each other: generator and server share the machine.
#
#   E  packets/s, the generator against a server that only answers
#   C  reports/s, COPY of the same rows, in binary, into empty tables of the same definition
#   I  reports/s, at402_ingest() of the same frames from SQL, 500 reports a transaction
#   T  reports/s, the listener, durable, with default settings
#   L  reports/s, 1 / (1 / E + 1 / C): network, then storage, and nothing between
use strict;
use warnings;
use At402;
use List::Util qw(max min sum);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{BENCH_SECONDS} || 8;
my $million_rows = $ENV{BENCH_ROWS} || 20;
my %parts = map { $_ => 1 } split ' ', $ENV{BENCH} || 'ratio profile latency connections flat size queries';
my $results = $ENV{BENCH_RESULTS} || '.';
my $files = PostgreSQL::Test::Utils::tempdir();
my @tables = qw(position event io motion can can_frame ble module frame);
my $first = 0;					# number of the next tracker

open my $csv, '>', "$results/bench.csv" or die "bench.csv: $!";
open my $text, '>', "$results/bench.txt" or die "bench.txt: $!";
$| = 1;

# ---- output ----

sub say_line
{
	my ($line) = @_;
	print { Test::More->builder->output } "$line\n";	# standard output is the log of the test
	print $text "$line\n";
	$text->flush;
}

# 12,345 or 12.3
sub figure
{
	my ($number) = @_;
	return '' unless defined $number && $number ne '';
	return $number unless $number =~ /^-?[\d.]+(?:e[-+]\d+)?$/;
	my $digits = sprintf($number >= 100 ? '%.0f' : $number >= 10 ? '%.1f' : '%.2f', $number);
	1 while $digits =~ s/^(\d+)(\d{3})/$1,$2/;
	return $digits;
}

# A table: its name, columns, and rows that are arrays; the values go into the CSV as they are.
sub table
{
	my ($name, $columns, @rows) = @_;
	my @shown = map { [ map { figure($_) } @$_ ] } @rows;
	my @width = map { my $i = $_; max map { length($_->[$i] // '') } $columns, @shown } 0 .. $#$columns;

	say_line('');
	say_line("## $name");
	foreach my $row ($columns, [ map { '-' x $_ } @width ], @shown)
	{
		say_line('| ' . join(' | ', map { sprintf("%-*s", $width[$_], $row->[$_] // '') }
			0 .. $#width) . ' |');
	}
	print $csv join(',', map { "\"$_\"" } 'table', @$columns), "\n";
	print $csv join(',', "\"$name\"", map { defined $_ ? /^[\d.]+$/ ? $_ : "\"$_\"" : '' } @$_), "\n"
	  foreach @rows;
	$csv->flush;
}

# ---- the server ----

my $node = new_node('bench', 'fsync = on', 'log_statement = none', 'autovacuum = on',
	'shared_buffers = 1GB', 'max_wal_size = 8GB', 'checkpoint_timeout = 30min',
	'at402.max_connections = 16000', 'max_locks_per_transaction = 200');

# Empty tables, and so many listeners
sub begin_with
{
	my ($workers, @settings) = @_;

	sql($node, 'DROP SCHEMA at402 CASCADE');
	$node->append_conf('postgresql.conf', $_) foreach "at402.workers = $workers", @settings;
	$node->restart;
	sql($node, 'SELECT at402_create_tables(); CHECKPOINT');
	return listener_port($node);
}

# User and system time of the listeners, in seconds
sub cpu_s
{
	return sum map { my @stat = split ' ', slurp_file("/proc/$_/stat") =~ s/^.*\) //sr;
		($stat[11] + $stat[12]) / 100 } split /\n/, published($node, 'pid');
}

# Memory that a listener alone has, in kB
sub memory_kb
{
	return sum map { slurp_file("/proc/$_/smaps_rollup") =~ /^Private_Dirty: +(\d+)/m }
	  split /\n/, published($node, 'pid');
}

# ---- the generator ----

# Plays trackers that nobody has played before.  Returns what the generator says, and the time of
# the listeners' processors.  What it was answered must be what the tables hold.
sub load
{
	my ($port, %options) = @_;
	my $counts = "$files/counts";
	my ($out, $err);
	my $echo = delete $options{echo};
	my $before = $echo ? 0 : cpu_s();

	%options = (seconds => $seconds, reports => 1, mix => 'plain', trackers => 1000,
		first => $first, %options);
	$first += $options{trackers};
	IPC::Run::run([ 'test/bench/load.bin', '--port', $port, '--counts', $counts,
		map { ("--$_", $options{$_}) } sort keys %options ], '>', \$out, '2>', \$err)
	  or die "load: $err";
	my %result = $out =~ /(\w+)=([\d.]+)/g;
	$result{cpu_s} = cpu_s() - $before unless $echo;
	return \%result;
}

sub load_and_check
{
	my ($name, $port, %options) = @_;
	my $result = load($port, %options);

	sql($node, "CREATE TEMP TABLE answered (imei text PRIMARY KEY, reports bigint);
		COPY answered FROM '$files/counts'");
	my $wrong = sql($node, "CREATE TEMP TABLE answered (imei text PRIMARY KEY, reports bigint);
		COPY answered FROM '$files/counts';
		SELECT count(*) FROM answered AS a LEFT JOIN
			(SELECT d.imei, count(*) AS stored FROM at402.position AS p
				JOIN at402.device AS d ON d.id = p.device_id GROUP BY d.imei) AS s USING (imei)
		WHERE a.reports <> coalesce(s.stored, 0)");
	is($wrong, '0', "$name: what was answered is in the tables, and nothing else");
	$result->{cpu_us} = 1e6 * $result->{cpu_s} / max($result->{reports}, 1);
	return $result;
}

# Packets a second between the generator and a server that does nothing else
sub measure_echo
{
	my (%options) = @_;
	my ($port, $echo) = ('');

	$echo = IPC::Run::start([ 'test/bench/load.bin', '--echo', 1 ], '>', \$port);
	$echo->pump until $port =~ /\n/;
	my $result = load($port + 0, %options, echo => 1);
	$echo->kill_kill;
	return $result->{packets_per_s};
}

# ---- C and I ----

# A second database with the same tables, empty
sub second_database
{
	my ($name) = @_;
	$node->safe_psql('postgres', "DROP DATABASE IF EXISTS $name");
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, 'CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables()');
}

sub measure_copy
{
	my ($reports) = @_;
	my $elapsed = 0;

	second_database('copy');
	sql($node, "COPY (SELECT * FROM at402.$_) TO '$files/$_' BINARY") foreach @tables;
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->safe_psql('copy', "\\timing on\nCOPY at402.$_ FROM '$files/$_' BINARY") =~ /Time: ([\d.]+)/
	  and $elapsed += $1 / 1000 foreach @tables;
	return $reports / $elapsed;
}

# A database ingest: the frames as they lie in at402.frame, so many in a batch, to be stored into
# empty tables.  Packets without an IMEI would need their login lines.
sub capture_batches
{
	my ($frames) = @_;

	second_database('ingest');
	sql($node, "COPY (SELECT frame FROM at402.frame) TO '$files/frame' BINARY");
	$node->safe_psql('ingest', "CREATE TABLE captured (n int GENERATED ALWAYS AS IDENTITY,
			frame at402_frame);
		COPY captured (frame) FROM '$files/frame' BINARY;
		CREATE TABLE batch AS SELECT (n - 1) / $frames AS n, array_agg(frame ORDER BY n) AS frames
			FROM captured GROUP BY (n - 1) / $frames;
		CREATE INDEX ON batch (n)");
}

sub measure_ingest
{
	my ($reports, $in_packet) = @_;

	capture_batches(max(1, int(500 / $in_packet)));
	$node->safe_psql('ingest', "CREATE PROCEDURE ingest_all() LANGUAGE plpgsql AS \$\$
		DECLARE f at402_frame[];
		BEGIN
			FOR i IN 0 .. (SELECT max(n) FROM batch) LOOP
				SELECT frames INTO f FROM batch WHERE n = i;
				PERFORM FROM at402_ingest(f);
				COMMIT;
			END LOOP;
		END \$\$");
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $elapsed = $node->safe_psql('ingest', "\\timing on\nCALL ingest_all()") =~ /Time: ([\d.]+)/
	  ? $1 / 1000 : die 'no time';
	is($node->safe_psql('ingest', 'SELECT count(*) FROM at402.position'),
		sql($node, 'SELECT count(*) FROM at402.position'), 'I stores what T stored');
	return $reports / $elapsed;
}

# ---- instructions ----

# Instructions a report of at402_ingest() and of functions that it calls: function => instructions.
# In a server of one user, so that nothing else is counted; the devices are known and the plans made.
sub count_instructions
{
	my ($in_packet) = @_;
	my $frames = int(500 / $in_packet);
	my $store = 'SELECT r.reports FROM batch AS b, at402_ingest(b.frames) AS r WHERE b.n =';
	my ($out, $profile);

	capture_batches($frames);
	$node->safe_psql('ingest', join(';', map { "$store $_" } 0 .. 9));
	$node->stop;
	IPC::Run::run([ qw(valgrind -q --tool=callgrind --toggle-collect=at402_ingest
			--zero-before=at402_version), "--callgrind-out-file=$files/profile",
		$node->config_data('--bindir') . '/postgres', '--single', '-D', $node->data_dir, 'ingest' ],
		'<', \join("\n", (map { "$store $_" } 10 .. 14), 'SELECT at402_version()',
			(map { "$store $_" } 15 .. 44), ''), '>&', \$out) or die "postgres: $out";
	$node->start;
	is($node->safe_psql('ingest', 'SELECT count(*) FROM at402.position'), 45 * $frames * $in_packet,
		"$in_packet a packet: what was counted is stored");
	IPC::Run::run([ 'callgrind_annotate', '--inclusive=yes', '--threshold=100', "$files/profile" ],
		'>', \$profile) or die 'callgrind_annotate';
	my %count = reverse $profile =~ /^ *([\d,]+) \([ \d.]+%\)  \S*?:(\w+) \[/mg;
	$_ = s/,//gr / (30 * $frames * $in_packet) foreach values %count;
	return \%count;
}

# ---- the parts ----

sub part_ratio
{
	my @rows;
	my @latencies;

	foreach my $case ([ 'plain', 1, 200, 2, 1 ], [ 'plain', 1, 1000, 4, 2, 1 ],
		[ 'plain', 1, 10000, 2, 1 ], [ 'plain', 8, 500, 2, 1 ], [ 'full', 4, 1000, 2, 1 ])
	{
		my ($mix, $reports, $trackers, @workers) = @$case;
		my %options = (mix => $mix, reports => $reports, trackers => $trackers);
		my $name = "$mix mix, $reports a packet, $trackers trackers";
		my $echo = $reports * measure_echo(%options);
		my (%rate, $copy, $ingest);

		foreach my $workers (@workers)
		{
			my $result = load_and_check("$name, $workers workers", begin_with($workers), %options);
			$rate{$workers} = $result->{reports_per_s};
			push @latencies, [ $name, $workers, @$result{qw(reports_per_s cpu_us p50_ms p95_ms p99_ms
				max_ms repeats)} ];
		}
		my $stored = sql($node, 'SELECT count(*) FROM at402.position');
		$copy = measure_copy($stored);
		$ingest = measure_ingest($stored, $reports);
		my $limit = 1 / (1 / $echo + 1 / $copy);
		push @rows, [ $name, $echo, $copy, $limit, $ingest, @rate{1, 2, 4}, $rate{1} / $limit,
			max($rate{1}, $rate{2}) / $limit, $ingest / $copy ];
	}
	table('reports a second', [ '', qw(E C L I T1 T2 T4 T1/L T/L I/C) ], @rows);
	table('under full load', [ '', 'workers', 'reports/s', 'CPU us/report', 'p50 ms', 'p95 ms', 'p99 ms',
		'max ms', 'repeats' ], @latencies);
}

# Where the time of a report goes: executing statements, by pg_stat_statements, and all the rest
sub part_profile
{
	my @rows;

	foreach my $case ([ 'plain', 1, 1000 ], [ 'plain', 8, 500 ], [ 'full', 4, 1000 ])
	{
		my ($mix, $reports, $trackers) = @$case;
		my $name = "$mix mix, $reports a packet";
		my $port = begin_with(1, "shared_preload_libraries = 'at402,pg_stat_statements'",
			"pg_stat_statements.track = 'all'");

		sql($node, 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()');
		my $result = load_and_check($name, $port, mix => $mix, reports => $reports, trackers => $trackers);
		my $stored = sql($node, 'SELECT count(*) FROM at402.position');
		my @statements = map { [ $name, split /\|/ ] } split /\n/, sql($node, "SELECT
				CASE WHEN query LIKE 'SELECT d.imei%' THEN 'device: found'
					WHEN query LIKE 'SELECT s.device_id%' THEN 'device_state: read'
					ELSE substring(query FROM '(?:INTO|UPDATE) at402\\.(\\w+)') || ': written' END AS what,
				round((sum(total_exec_time) * 1000 / $stored)::numeric, 2)
			FROM pg_stat_statements WHERE query ~ 'OPERATOR\\(pg_catalog|at402_batch_rows'
			AND query !~ 'at402_data_' GROUP BY what
			HAVING sum(total_exec_time) * 1000 / $stored > 0.02 ORDER BY 2 DESC");
		my $all = 1e6 / $result->{reports_per_s};
		push @rows, @statements, [ $name, 'all else: network, decoding, commit',
			$all - sum map { $_->[2] } @statements ], [ $name, 'in all', $all ];
	}
	begin_with(1, "shared_preload_libraries = 'at402'");
	table('where the time goes, one listener', [ '', 'what', 'us/report' ], @rows);
}

# What the storing of a report takes, whatever else the machine does
sub part_instructions
{
	my @parts = ([ 'all of at402_ingest()', 'at402_ingest' ], [ 'devices are found', 'at402_resolve_devices' ],
		[ 'their states are changed', 'change_states' ], [ 'rows are made', 'at402_batch_rows' ],
		[ 'rows are written', 'heap_insert' ], [ 'B-tree indexes', 'btinsert' ],
		[ 'GiST index of places', 'gistinsert' ], [ 'BRIN indexes', 'brininsert' ]);
	my @counts;

	foreach my $case ([ 'plain', 1, 1000 ], [ 'plain', 8, 500 ], [ 'full', 4, 1000 ])
	{
		my ($mix, $reports, $trackers) = @$case;
		load(begin_with(1), mix => $mix, reports => $reports, trackers => $trackers);
		push @counts, count_instructions($reports);
	}
	table('instructions of a report, by valgrind', [ '', 'plain mix, 1 a packet', 'plain mix, 8 a packet',
		'full mix, 4 a packet' ], map { my ($what, $function) = @$_;
			[ $what, map { $_->{$function} } @counts ] } @parts);
}

sub part_latency
{
	my @rows;
	my $full = load_and_check('full load', begin_with(1));
	my $half = int(1000 * 1000 / ($full->{packets_per_s} / 2));
	foreach my $case (
		[ 'one tracker', trackers => 1 ],
		[ 'one tracker, a report a second', trackers => 1, interval_ms => 1000, seconds => 20 ],
		[ '10 trackers', trackers => 10 ],
		[ 'half of the highest rate', interval_ms => $half ],
		[ 'half, batch_delay 5 ms', interval_ms => $half, batch_delay => 5 ],
		[ 'half, over UDP', interval_ms => $half, udp => 1, connect_s => 1,
			timeout_ms => 1000 ],
		[ 'full load, 6,000 trackers', trackers => 6000 ])
	{
		my ($name, %options) = @$case;
		my $delay = delete $options{batch_delay} || 0;
		my $result = load_and_check($name, begin_with(1, "at402.batch_delay = $delay"), %options);
		push @rows, [ $name, @$result{qw(reports_per_s cpu_us p50_ms p95_ms p99_ms max_ms repeats)},
			$result->{p99_ms} / $result->{p50_ms} ];
	}
	table('time to the answer, one listener', [ '', 'reports/s', 'CPU us/report', 'p50 ms', 'p95 ms',
		'p99 ms', 'max ms', 'repeats', 'p99/p50' ], @rows);
}

sub part_connections
{
	my @rows;
	my $trackers = 15000;

	foreach my $workers (1 .. 3)
	{
		my %fleet = (trackers => $trackers, login => 1, first => $first);

		# all of them are known when they come back after a restart
		load(begin_with($workers), %fleet, interval_ms => 60000, seconds => 0);
		$node->restart;
		my $port = listener_port($node);
		load($port, trackers => 100, seconds => 2);
		my $before = memory_kb();
		my $result = load_and_check("$trackers connections, $workers workers", $port, %fleet,
			interval_ms => 30000, seconds => 35);
		push @rows, [ $workers, $result->{connects_per_s}, 1024 * (memory_kb() - $before) / $trackers,
			@$result{qw(reports_per_s p50_ms p95_ms p99_ms max_ms)} ];
	}
	table("$trackers connections, a report every 30 s of each", [ 'workers', 'come back/s',
		'bytes a connection', 'reports/s', 'p50 ms', 'p95 ms', 'p99 ms', 'max ms' ], @rows);
}

# Rows that somebody else has brought: devices with their state, and reports of today
sub fill
{
	my ($devices, $rows) = @_;

	sql($node, "INSERT INTO at402.device (imei) SELECT 'other ' || n FROM generate_series(1, $devices) AS n;
		INSERT INTO at402.device_state (device_id, time, seq, content_hash, ignition)
			SELECT id, current_date, 0, 0, false FROM at402.device");
	sql($node, "INSERT INTO at402.position (device_id, time, seq, content_hash, geom, gnss_valid, fix_time,
			speed_kmh, heading_deg, altitude_m, reasons, status, ignition, received_at)
		SELECT 1 + n / 100000, current_date + n % 86400 * interval '1 s', n % 256, n,
			ST_SetSRID(ST_MakePoint(-0.5 + n % 100000 / 1e5, 52 + n / 1e8), 4326), true, now(),
			50, 180, 20, 1, 1, true, now()
		FROM generate_series(1, $rows) AS n") if $rows > 0;
}

# So many partitions of the past in each table that the plain mix is stored into, an hour each
sub make_partitions
{
	my ($count) = @_;

	foreach my $table (qw(position event frame))
	{
		sql($node, join(';', map { my $hours = 48 + $_; my $before = $hours + 1;
			"CREATE TABLE at402.${table}_past$_ PARTITION OF at402.$table FOR VALUES
				FROM (current_date - interval '$before hours') TO (current_date - interval '$hours hours')" }
			1 .. $count));
	}
}

my @flat;

sub measure_flat
{
	my ($what, $count, $devices, $rows, $partitions) = @_;
	my $port = begin_with(1);

	fill($devices, $rows);
	make_partitions($partitions) if $partitions;
	$node->safe_psql('postgres', 'CHECKPOINT');
	# what plans were made while a table was empty must do when it is full
	my $result = load($port, trackers => 200);
	push @flat, [ $what, $count, $result->{reports_per_s}, 1e6 * $result->{cpu_s} / $result->{reports},
		$result->{p50_ms}, $result->{p99_ms} ];
}

sub part_flat
{
	measure_flat('devices', $_, $_, 0) foreach 100, 1000, 10000, 100000;
	foreach my $million (1, 10, 50)
	{
		measure_flat('million rows', $million, 100, 1e6 * $million) if $million <= $million_rows;
	}
	measure_flat('partitions', $_, 100, 0, $_) foreach 10, 100, 1000;
	table('cost of a report, 200 trackers, one listener', [ 'growing', 'to', 'reports/s',
		'CPU us/report', 'p50 ms', 'p99 ms' ], @flat);
	draw_flat();
}

# Processor time of a report over what grows, each series against its first point
sub draw_flat
{
	my %color = (devices => '#1f77b4', 'million rows' => '#d62728', partitions => '#2ca02c');
	my ($width, $height, $left, $top) = (640, 320, 60, 30);
	my $svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"$width\" height=\"$height\" "
	  . "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
	my $y_of = sub { my ($part) = @_; return $top + 220 - 110 * $part; };
	my $legend = 0;

	foreach my $part (0, 0.5, 0.8, 1, 1.2, 1.5, 2)
	{
		my $y = $y_of->($part);
		my $color = $part == 0.8 || $part == 1.2 ? '#999' : '#ddd';
		$svg .= "<line x1=\"$left\" x2=\"620\" y1=\"$y\" y2=\"$y\" stroke=\"$color\"/>"
		  . "<text x=\"20\" y=\"" . ($y + 4) . "\">$part</text>\n";
	}
	foreach my $what ('devices', 'million rows', 'partitions')
	{
		my @points = grep { $_->[0] eq $what } @flat or next;
		my @at = map { [ $left + 20 + 180 * $_, $y_of->($points[$_][3] / $points[0][3]) ] } 0 .. $#points;
		$svg .= "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"$color{$what}\" points=\""
		  . join(' ', map { sprintf('%.0f,%.1f', @$_) } @at) . "\"/>\n";
		$svg .= sprintf("<circle cx=\"%.0f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", @$_, $color{$what})
		  foreach @at;
		$svg .= sprintf("<text x=\"%d\" y=\"%d\" fill=\"%s\">%s: %s</text>\n", $left + 20,
			$height - 52 + 16 * $legend++, $color{$what}, $what,
			join(', ', map { figure($_->[1]) } @points));
	}
	$svg .= "<text x=\"20\" y=\"16\">processor time of a report, against the leftmost point of each "
	  . "line; from left to right:</text>\n</svg>\n";
	open my $file, '>', "$results/flat.svg" or die "flat.svg: $!";
	print $file $svg;
	close $file;
}

sub part_size
{
	my @rows;

	foreach my $in_packet (1, 8)
	{
		my $port = begin_with(1);
		my $result = load_and_check("a day, $in_packet a packet", $port, trackers => 500,
			reports => $in_packet, packets => 1440 / $in_packet, seconds => 600);
		my $reports = sql($node, 'SELECT count(*) FROM at402.position');
		my @sizes = split /\n/, sql($node, "SELECT c.relname || '|' || sum(pg_relation_size(m.relid))
			FROM pg_class AS c, pg_partition_tree(c.oid) AS m
			WHERE c.relnamespace = 'at402'::regnamespace AND c.relkind IN ('p', 'I')
			GROUP BY c.relname, c.relkind HAVING sum(pg_relation_size(m.relid)) / ${reports}::numeric > 0.5
			ORDER BY c.relkind DESC, c.relname");
		push @rows, map { my ($name, $bytes) = split /\|/; [ $in_packet, $name, $bytes / $reports ] } @sizes;
		sql($node, 'REINDEX TABLE at402.position');
		push @rows, [ $in_packet, 'position_pkey after REINDEX', sql($node, "SELECT sum(pg_relation_size(relid))
			FROM pg_partition_tree('at402.position_pkey')") / $reports ];
	}
	table('bytes a report, a day of 500 devices that report each minute', [ 'a packet', 'table or index',
		'bytes a report' ], @rows);
}

# Devices on their roads for four weeks, and the questions that people ask of them
sub part_queries
{
	my $devices = 1000;
	my $days = 28;
	my $daily = int(1e6 * $million_rows / $devices / $days);
	my %queries = (
		'1 last position of every device' =>
		  'SELECT device_id, position_time, geom FROM at402.last_position',
		'2 one device, one day' => "SELECT time, geom, speed_kmh FROM at402.position WHERE device_id = 500
			AND time >= current_date - 10 AND time < current_date - 9 ORDER BY time",
		'3 who was inside a polygon, one hour' => "SELECT DISTINCT device_id FROM at402.position
			WHERE geom && ST_MakeEnvelope(0.1, 52.1, 0.2, 52.2, 4326)
			AND ST_Intersects(geom, ST_Buffer(ST_SetSRID(ST_MakePoint(0.15, 52.15), 4326), 0.04))
			AND time >= current_date - interval '10 days' AND time < current_date - interval '239 hours'",
		'4 top speeds of a week' => "SELECT device_id, max(speed_kmh) FROM at402.position
			WHERE time >= current_date - 14 AND time < current_date - 7
			GROUP BY device_id ORDER BY max(speed_kmh) DESC LIMIT 10",
		'5 engine hours by month' => "SELECT device_id, date_trunc('month', time) AS month,
			max(engine_hours) - min(engine_hours) AS hours
			FROM at402.position WHERE engine_hours IS NOT NULL AND time >= current_date - 28
			GROUP BY device_id, month ORDER BY device_id, month",
	);
	my @rows;

	begin_with(1);
	sql($node, "INSERT INTO at402.device (imei) SELECT 'query ' || n FROM generate_series(1, $devices) AS n;
		DO \$\$ BEGIN FOR d IN 1 .. $days LOOP EXECUTE format('CREATE TABLE at402.%I PARTITION OF at402.position
			FOR VALUES FROM (%L) TO (%L)', 'position_' || to_char(current_date - d, 'YYYYMMDD'),
			current_date - d, current_date - d + 1); END LOOP; END \$\$");
	foreach my $day (reverse 1 .. $days)
	{
		sql($node, "INSERT INTO at402.position (device_id, time, seq, content_hash, geom, gnss_valid,
				fix_time, speed_kmh, max_speed_kmh, heading_deg, altitude_m, satellites, reasons, status,
				ignition, external_voltage_v, battery_percent, lifetime_odometer_km, engine_hours, received_at)
			SELECT d, t, n % 256, hashint8(d * 1000000::bigint + n),
				ST_SetSRID(ST_MakePoint(0.5 + 0.4 * sin(d + n / 300.0), 52 + 0.4 * cos(d * 2 + n / 500.0)), 4326),
				true, t, 20 + (d * 7 + n) % 80, 30 + (d * 7 + n) % 80, n % 360, 20, 9, 1, 1, true, 27.6, 100,
				CASE WHEN n % 100 = 0 THEN 1000 + n END,
				CASE WHEN n % 100 = 0 THEN 500 + ($days - $day) * 8 + n / 100 END, t
			FROM generate_series(1, $devices) AS d, generate_series(0, $daily - 1) AS n,
				LATERAL (SELECT current_date - $day + n * interval '1 day' / $daily AS t) AS t");
	}
	sql($node, 'INSERT INTO at402.device_state (device_id, time, seq, content_hash, position_time, geom)
		SELECT d.id, p.time, p.seq, p.content_hash, p.time, p.geom FROM at402.device AS d, LATERAL
			(SELECT * FROM at402.position WHERE device_id = d.id ORDER BY time DESC LIMIT 1) AS p;
		VACUUM (ANALYZE)');
	foreach my $name (sort keys %queries)
	{
		my ($plan, $best);
		foreach (1 .. 3)
		{
			$plan = sql($node, "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) $queries{$name}");
			my ($ms) = $plan =~ /Execution Time: ([\d.]+)/;
			$best = $ms if !defined $best || $ms < $best;
		}
		my %partitions = map { $_ => 1 } $plan =~ /on (position_(?:\d{8}|default))\b/g;
		my %nodes = map { $_ => 1 } $plan =~ /(\w[\w ]* Scan) (?:using|on)/g;
		push @rows, [ $name =~ s/^\d //r, $best, scalar keys %partitions, join(', ', sort keys %nodes) ];
	}
	table("queries on $million_rows million rows, $days days, $devices devices (best of three)",
		[ '', 'ms', 'partitions read', 'scans' ], @rows);
}

say_line(qx(date -u +%F) =~ s/\n//r . ', ' . qx(nproc) =~ s/\n//r . ' cores, '
	. (slurp_file('/proc/cpuinfo') =~ /^model name\s*: (.*)/m)[0] . ', '
	. int((slurp_file('/proc/meminfo') =~ /^MemTotal: +(\d+)/)[0] / 1048576 + 0.5) . ' GB, Linux '
	. qx(uname -r) =~ s/\n//r . ', PostgreSQL ' . sql($node, 'SHOW server_version'));
part_ratio() if $parts{ratio};
part_profile() if $parts{profile};
part_instructions() if $parts{instructions};
part_latency() if $parts{latency};
part_connections() if $parts{connections};
part_flat() if $parts{flat};
part_size() if $parts{size};
part_queries() if $parts{queries};
is(log_count($node, '(?:server process|background worker) .* terminated by signal'), 0, 'no crash');
$node->stop;
done_testing();
