# 017_upkeep_locks.pl - the upkeep beside trackers and readers: whom it makes wait, and how long
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $node = new_node('upkeep_locks', 'at402.maintain_interval = 0', 'at402.partitions_ahead = 1');
my $idle = "backend_type = 'at402 maintenance' AND state = 'idle'";

sub partitions
{
	my ($table) = @_;
	return sql($node, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'at402.$table'::regclass");
}

# ---- 12 ----

subtest '12: a long reader: the upkeep rests, and trackers wait for a moment only' => sub {
	my $reader = $node->background_psql($At402::database);
	my $tracker = login_as($node, 1);
	my ($slowest, $asked, $before) = (0, 0, partitions('position'));

	$reader->query_safe('BEGIN; ' . join(' ', map { "SELECT count(*) FROM at402.$_;" }
			qw(position event io motion can can_frame ble module frame quarantine)));
	reload_with($node, 'at402.partitions_ahead = 3', 'at402.maintain_interval = 1s');
	wait_for($node, "count(*) > 0 FROM pg_locks WHERE NOT granted");

	# reports that lie in the default partition, until the upkeep has been through all tables and
	# rests: what it waits for is in their way
	until (sql($node, "SELECT count(*) FROM pg_stat_activity WHERE $idle") || $asked == 5000)
	{
		my $began = Time::HiRes::time();
		my $packet = packet(seq => $asked % 256, time => 400_000_000 + $asked, reasons => 16);
		is(ask($tracker, $packet), '06', 'answered') or last;
		my $took = Time::HiRes::time() - $began;
		$slowest = $took if $took > $slowest;
		$asked++;
	}
	cmp_ok($slowest, '<', 0.4,
		sprintf('of %d answers the slowest took %.0f ms', $asked, 1000 * $slowest));
	my $rests = sql($node, "SELECT state_change FROM pg_stat_activity WHERE $idle");
	wait_for($node, "state_change > '$rests' FROM pg_stat_activity
		WHERE backend_type = 'at402 maintenance'");
	cmp_ok(sql($node, "SELECT extract(epoch FROM state_change - '$rests') FROM pg_stat_activity
		WHERE backend_type = 'at402 maintenance'"), '>', 0.9, 'it rests as long as it is told to');
	is(partitions('position'), $before, 'meanwhile no partition is made');
	$reader->query_safe('COMMIT');
	$reader->quit;
	wait_for($node, "$before < (SELECT count(*) FROM pg_inherits
		WHERE inhparent = 'at402.position'::regclass)");
	pass('without the reader they are made');
	reload_with($node, 'at402.maintain_interval = 0');
	wait_for($node, "count(*) > 0 FROM pg_stat_activity WHERE $idle");
};

# ---- 13 ----

subtest '13: a large default partition is not looked through while everybody is locked out' => sub {
	my $tracker = login_as($node, 2);
	my $tomorrow = "date_trunc('day', now(), 'UTC') + interval '5 days'";
	my $step = sub {
		my ($result, $output, $error) = $node->psql($At402::database, "SET client_min_messages = debug1;
			SET at402.partitions_ahead = 5; SELECT action, partition_name, row_count
			FROM at402_internal.at402_maintain_table('position') WHERE action IS NOT NULL");
		return ($output, $error);
	};

	is(ask($tracker, packet(seq => 1)), '06', 'answered');
	my $id = device_id($node, 2);
	sql($node, "INSERT INTO at402.position (device_id, time, seq, content_hash, received_at, reasons,
			status, ignition)
		SELECT $id, timestamptz '1980-01-06 00:00+00' + n * interval '1 s', 0, 0, now(), 1, 0, false
		FROM generate_series(1, 110000) AS n;
		INSERT INTO at402.position (device_id, time, seq, content_hash, received_at, reasons, status,
			ignition) VALUES ($id, $tomorrow + interval '1 hour', 0, 0, now(), 1, 0, false)");
	cmp_ok(sql($node, "SELECT pg_relation_size('at402.position_default')"), '>', 8 << 20,
		'clocks of 1980 fill the default partition');
	# the fourth day is made first; it is the fifth that we look at
	my ($output, $error) = $step->();
	like($output, qr/^prepare\|position_\d+\|$/, 'a partition is prepared');
	($output, $error) = $step->();
	like($output, qr/^create\|position_\d+\|0$/, 'and made');
	like($error, qr/partition constraint for default partition "position_default" is implied by existing constraints/,
		'by ATTACH that looks at no row of the default partition');

	($output, $error) = $step->();
	like($output, qr/^prepare\|/, 'the next is prepared');
	my $time = sql($node, "SELECT extract(epoch FROM $tomorrow)::bigint + 7200");
	reset_stat($node);
	transmit($tracker, packet(seq => 2, time => $time));
	wait_published($node, 'failed_batches > 0');
	ok(silent($tracker), 'a report of its time waits');
	($output, $error) = $step->();
	like($output, qr/^create\|position_\d+\|1$/, 'it is made, and the row of its time has moved');
	like($error, qr/is implied by existing constraints/, 'without a look at the others');
	is(receive($tracker, 1), '06', 'the report is answered');
	is(sql($node, "SELECT count(*), count(DISTINCT tableoid) FROM at402.position
		WHERE time >= $tomorrow"), '2|1', 'and stored beside that row');
	is(quarantined($node, 2), '', 'nothing is in quarantine');
	is(sql($node, "SELECT count(*) FROM pg_constraint WHERE conname LIKE 'at402%makes%'"), '0',
		'no constraint is left');

	# settings that change between the two steps
	sql($node, "SET at402.partitions_ahead = 6; SELECT at402_internal.at402_maintain_table('position')");
	is(sql($node, "SELECT count(*) FROM pg_constraint WHERE conname LIKE 'at402%makes%'"), '1',
		'prepared');
	sql($node, "SET at402.partitions_ahead = 8; SET at402.partition_interval = '8 hours';
		SELECT at402_internal.at402_maintain_table('position'); SELECT at402_internal.at402_maintain_table('position')");
	is(sql($node, "SELECT count(*) FROM pg_constraint WHERE conname LIKE 'at402%makes%'"), '1',
		'another length: the former constraint has gone')
	  or diag(sql($node, 'SELECT conname FROM pg_constraint'));
};

is(still_answers($node), '06', 'after all of this a good tracker is answered');
$node->stop;
done_testing();
