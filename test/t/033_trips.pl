# 033_trips.pl - trips while reports come: what is committed while trips are derived is not lost, and
# neither waits for the other
use strict;
use warnings;
use At402;
use Test::More;

my $node = new_node('trips', 'at402.maintain_interval = 0');
my $tracker = connect_tcp($node);

# Tracker n reports at minutes of the last hour, with ignition on or off.
sub send_ok
{
	my ($n, %ignition) = @_;

	is(ask($tracker, map {
		packet(imei => imei($n), seq => $_, time => now() - 3600 + 60 * $_, status => $ignition{$_})
	} keys %ignition), '06' x keys %ignition, 'answered');
}

# Trips of tracker n: minutes of start and end
sub trips
{
	my ($n) = @_;
	return sql($node, "SELECT (extract(epoch FROM started_at) - " . now() . ")::int / 60 + 60,
			(extract(epoch FROM ended_at) - " . now() . ")::int / 60 + 60
		FROM at402.trip WHERE device_id = " . device_id($node, $n) . ' ORDER BY 1');
}

sub is_dirty
{
	my ($n) = @_;
	return sql($node, "SELECT dirty_since IS NOT NULL FROM at402.device_state
		WHERE device_id = " . device_id($node, $n));
}

subtest 'a report that is stored while trips are derived' => sub {
	send_ok(1, 10 => 1, 20 => 0);
	# a trigger of the table stores it, in another session, when the reports have been read
	sql($node, q(CREATE EXTENSION dblink;
		CREATE TABLE late AS SELECT frame FROM at402.frame LIMIT 0));
	my $late = unpack('H*', packet(imei => imei(1), seq => 15, time => now() - 3600 + 900, status => 0));
	sql($node, "INSERT INTO late VALUES ('\\x$late')");
	sql($node, q(CREATE FUNCTION interfere() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			PERFORM FROM public.dblink('dbname=' || current_database(), 'SET statement_timeout = 10000;
				SELECT inserted FROM at402_ingest(ARRAY(SELECT frame FROM late))') AS t (inserted int);
			RETURN NEW;
		END $$;
		CREATE TRIGGER interfere BEFORE INSERT ON at402.trip
			FOR EACH ROW EXECUTE FUNCTION interfere()));
	sql($node, 'SELECT at402_maintain()');
	is(stored($node, 1), '10,15,20', 'it is stored: nothing had to wait');
	is(trips(1), '10|20', 'it was not seen');
	is(is_dirty(1), 't', 'so the device stays dirty');
	sql($node, 'DROP TRIGGER interfere ON at402.trip');
	sql($node, 'SELECT at402_maintain()');
	is(trips(1), '10|15', 'the next time it is');
	is(is_dirty(1), 'f', 'and all is derived');
};

subtest 'a report that is being stored' => sub {
	my $session = $node->background_psql($At402::database);
	my $frame = unpack('H*', packet(imei => imei(1), seq => 12, time => now() - 3600 + 720, status => 0));

	send_ok(2, 30 => 1, 40 => 0);
	$session->query_safe("BEGIN; SELECT at402_ingest(ARRAY['\\x$frame'::at402_frame])");
	sql($node, "SET statement_timeout = '20s'; UPDATE at402.device_state SET dirty_since = '-infinity'
		WHERE device_id = " . device_id($node, 2) . '; SELECT at402_maintain()');
	is(trips(2), '30|40', 'others are derived: it is not waited for');
	$session->query_safe('COMMIT');
	$session->quit;
	is(is_dirty(1), 't', 'its device is dirty');
	sql($node, 'SELECT at402_maintain()');
	is(trips(1), '10|12', 'until it has been derived');
};

subtest 'a transaction that read before cannot undo what came since' => sub {
	my $session = $node->background_psql($At402::database);

	send_ok(3, 10 => 1, 50 => 0);
	$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM at402.position');
	send_ok(3, 30 => 0);
	# a snapshot of before: it may fail, or derive what it sees
	$session->query('SELECT at402_maintain(); COMMIT');
	$session->quit;
	sql($node, 'SELECT at402_maintain()');
	is(trips(3), '10|30', 'the table is right after the next run');
};

subtest 'a vehicle that is told while trips are derived' => sub {
	my ($one, $two) = map { $node->background_psql($At402::database) } 1 .. 2;
	my ($device, $other) = map { device_id($node, $_) } 3, 2;
	my $vehicles = 'SELECT device_id, vehicle_id FROM at402.trip AS t
		WHERE device_id IN (2, 3) AND vehicle_id IS NOT NULL ORDER BY 1' =~ s/2, 3/$other, $device/r;

	sql($node, "INSERT INTO at402.vehicle (id, name) VALUES (1, 'van'), (2, 'car')");
	$_->query_safe('BEGIN') for $one, $two;
	$one->query_safe("INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (1, $device)");
	$two->query_safe("INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (2, $other)");
	send_ok(3, 20 => 1);
	sql($node, "SET statement_timeout = '20s'; SELECT at402_maintain()");
	is(sql($node, $vehicles), '', 'what is not committed is not waited for, nor does storing wait');
	$one->query_safe('COMMIT');
	sql($node, 'SELECT at402_maintain()');
	is(sql($node, $vehicles), "$device|1", 'after the commit, the next time');

	# another session commits when the trips have been read, and some are derived by what was before
	sql($node, "DELETE FROM late; UPDATE at402.device_state SET dirty_since = '-infinity'; DELETE FROM at402.trip");
	sql($node, q(CREATE OR REPLACE FUNCTION interfere() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			PERFORM FROM public.dblink('dbname=' || current_database(), 'SET statement_timeout = 10000;
				UPDATE at402.vehicle_device SET vehicle_id = 2 RETURNING 1') AS t (n int);
			RETURN NEW;
		END $$;
		CREATE TRIGGER interfere AFTER INSERT ON at402.trip
			FOR EACH ROW EXECUTE FUNCTION interfere()));
	sql($node, 'SELECT at402_maintain()');
	sql($node, 'DROP TRIGGER interfere ON at402.trip');
	is(sql($node, "SELECT DISTINCT vehicle_id FROM at402.trip WHERE device_id = $device"), '2', 'all trips are right');

	# a snapshot of before does not know of the trip
	$one->query_safe("INSERT INTO at402.vehicle_device (vehicle_id, device_id) VALUES (1, " . device_id($node, 1) . ')');
	$one->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM at402.trip');
	$two->query_safe('COMMIT');
	send_ok(2, 50 => 1);
	sql($node, 'SELECT at402_maintain()');
	$one->query('SELECT at402_maintain(); COMMIT');
	sql($node, 'SELECT at402_maintain()');
	is(sql($node, "SELECT string_agg(vehicle_id::text, ',') FROM at402.trip WHERE device_id = $other"), '2,2',
		'the table is right after the next run');
	$_->quit for $one, $two;
	is(sql($node, 'SELECT count(*) FROM at402.trip_due'), '0', 'and nothing is left to do');
};

subtest 'the worker does it by itself' => sub {
	send_ok(4, 10 => 1, 20 => 0, 30 => 1);
	reload_with($node, 'at402.maintain_interval = 1s');
	my $trips = 'count(*) FROM at402.trip WHERE device_id = ' . device_id($node, 4);
	wait_for($node, "2 = $trips");
	is(trips(4), "10|20\n30|", 'trips are there');
	send_ok(4, 40 => 0);
	wait_for($node, "0 = $trips AND ended_at IS NULL");
	is(trips(4), "10|20\n30|40", 'and follow the reports');
	send_ok(4, 15 => 0, 17 => 1);
	wait_for($node, "3 = $trips");
	is(trips(4), "10|15\n17|20\n30|40", 'late ones, too');
	is(log_count($node, 'at402 could not run'), 0, 'no failure in the log');
};

$node->stop;
done_testing();
