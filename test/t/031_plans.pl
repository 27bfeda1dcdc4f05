# 031_plans.pl - no statement that stores depends on statistics: none reads a table from end to end,
# whether it was planned while the tables were empty or full, and nobody has ever analysed them
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $many = 100_000;

# auto_explain writes each plan that the listener and we run, after it has run
my $node = new_node('plans', 'autovacuum = off', "shared_preload_libraries = 'at402,auto_explain'",
	'auto_explain.log_min_duration = 0', 'auto_explain.log_nested_statements = on',
	'auto_explain.log_level = LOG', 'log_statement = none',
	# some set it for their own statements; it must not make ours be planned anew each time
	'plan_cache_mode = force_custom_plan');

# The plans of what stores in the log since this offset: text of the statement => plan
sub plans
{
	my ($offset) = @_;
	my %plans = slurp_file($node->logfile, $offset) =~
	  /plan:\n\tQuery Text: (.*)\n((?:\t.*\n)+)/g;

	# ours are those that do not trust the search path; catalogues are no matter of size
	delete $plans{$_} foreach grep { !/ at402\.\w/ || !/OPERATOR\(pg_catalog|at402_batch_rows|unnest\(\$1[,)]/ }
	  keys %plans;
	# each worker marks the trackers of the one before it as offline, once, before it listens
	delete $plans{$_} foreach grep { /WITH gone AS/ } keys %plans;
	return %plans;
}

# rules that raise at once, look at what was before, and for the device
sql($node, "INSERT INTO at402.rule (name, source, condition, level, message, channels, min_duration) VALUES
	('run', 'position', 'r.seq > 0 AND d.enabled', 'info', '{d.imei}', '{hook}', '0'),
	('before', 'position', 'r.seq > b.seq', 'info', NULL, '{}', NULL),
	('event', 'event', 'r.time > b.time AND p.seq > 0', 'info', NULL, '{}', NULL)");

# frames of one device, with each module that there is
my $every_module = join("','", slurp_file('test/vectors/x.jsonl') =~ /"frame": ?"([^"]+)"/g);

# All that can come: new and known devices, repeats, late reports, every table, quarantine, text,
# a device that says something new of itself, trackers that come and go
sub store_everything
{
	my ($n, $name) = @_;
	my $offset = -s $node->logfile;
	my $tracker = login_as($node, $n);
	my $imei = imei($n);

	is(ask($tracker, packet(seq => 1, time => now() - 60, reasons => 16)), '06', "$name: new");
	is(ask($tracker, packet(seq => 1, time => now() - 60, reasons => 16)), '06', "$name: again");
	is(ask($tracker, packet(seq => 2, time => now() - 600, status => 1)), '06', "$name: late");
	is(ask($tracker, packet(seq => 3, status => 32)), '06', "$name: from its memory");
	is(ask($tracker, frame('C', 'x')), '06', "$name: quarantine");
	transmit($tracker, "\$TEXT,of some kind\r\n");
	close $tracker;
	wait_for($node, "NOT connected FROM at402.last_position WHERE imei = '$imei'");
	sql($node, "SELECT FROM at402_ingest(ARRAY['$every_module']::at402_frame[], '$imei')");
	my %plans = plans($offset);
	my %tables = map { $_ => 1 } map { /(?:INTO|UPDATE|FROM|JOIN) at402\.(\w+)/g } keys %plans;
	is(join(' ', grep { !$tables{$_} } qw(device device_state position event io motion can can_frame
		ble module frame quarantine)), '', "$name: statements of all tables were explained");
	foreach my $text (sort keys %plans)
	{
		# the rules that are enabled are read when one has changed, and all of them
		my @scans = grep { $_ ne 'rule' }
		  $plans{$text} =~ /(?:Seq|Bitmap Heap|Parallel \w+) Scan on (\w+)/g;
		my @joins = $plans{$text} =~ /(?:Hash|Merge) (?:\w+ )?Join/g;
		is("@scans @joins", ' ', "$name: by keys") or diag("$text\n$plans{$text}");
	}
}

store_everything(1, 'empty tables');
sql($node, "INSERT INTO at402.device (imei) SELECT 'other ' || n FROM generate_series(1, $many) AS n;
	INSERT INTO at402.device_state (device_id) SELECT id FROM at402.device ON CONFLICT DO NOTHING;
	INSERT INTO at402.position (device_id, time, seq, content_hash, reasons, status, ignition, received_at)
		SELECT id, now() - interval '1 hour', 0, 0, 0, 0, false, now() FROM at402.device");
store_everything(2, 'plans of empty tables, full tables');
$node->restart;
listener_port($node);
store_everything(3, 'plans of full tables');
is(sql($node, "SELECT count(*) FROM pg_stat_user_tables WHERE schemaname = 'at402'
	AND (last_analyze IS NOT NULL OR last_autoanalyze IS NOT NULL)"), '0', 'nobody has analysed them');

subtest 'what a table is made of is read again when it changes, and not for VACUUM' => sub {
	my $tracker = login_as($node, 4);
	my $read = qr/Query Text: SELECT d.column_name/;

	is(ask($tracker, packet(seq => 1)), '06', 'once');
	my $offset = -s $node->logfile;
	sql($node, "VACUUM (ANALYZE) at402.$_") foreach qw(device_state position);
	is(ask($tracker, packet(seq => 2)), '06', 'VACUUM: answered');
	unlike(slurp_file($node->logfile, $offset), $read, 'VACUUM: not read');
	sql($node, 'ALTER TABLE at402.position ADD COLUMN remark text');
	is(ask($tracker, packet(seq => 3)), '06', 'ALTER TABLE: answered');
	like(slurp_file($node->logfile, $offset), $read, 'ALTER TABLE: read');
};

$node->stop;
done_testing();
