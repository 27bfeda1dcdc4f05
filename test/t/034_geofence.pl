# 034_geofence.pl - geofences and a listener that runs: made, changed and gone while it stores;
# what fails in them costs no report; tables of a version without them
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('geofence', 'at402.batch_delay = 0', 'at402.workers = 2');
my $square = 'ST_MakeEnvelope(1, 52, 1.01, 52.01, 4326)';
my ($in, $out) = (1.005, 0.99);
my $time = now() - 3600;

# Reports of a tracker, a minute apart, at these longitudes
sub drive
{
	my ($n, @longitudes) = @_;
	my @packets = map { packet(imei => imei($n), seq => $time / 60 % 256, time => $time += 60,
			latitude => 52.005, longitude => $_) } @longitudes;

	is(ask(connect_tcp($node), @packets), '06' x @packets, "answered: tracker $n at @longitudes");
}

# Visits of a tracker: fence and open or closed
sub visits
{
	my ($n) = @_;
	return sql($node, "SELECT string_agg(geofence_id || CASE WHEN left_at IS NULL THEN ' open' ELSE ' left' END,
			', ' ORDER BY entered_at, geofence_id)
		FROM at402.geofence_visit JOIN at402.device ON id = device_id WHERE imei = '" . imei($n) . "'");
}

# ---- while the listener runs ----

drive(1, $in);
is(visits(1), '', 'no fence, no visit');
sql($node, "INSERT INTO at402.geofence (id, name, geom) VALUES (1, 'square', $square)");
drive(1, $in);
is(visits(1), '1 open', 'a fence that is made is heard of by every listener');
sql($node, "BEGIN; INSERT INTO at402.geofence (id, name, geom) VALUES (2, 'never', $square); ROLLBACK");
drive(1, $in);
is(visits(1), '1 open', 'one that is rolled back is not');
sql($node, 'UPDATE at402.geofence SET enabled = false');
is(visits(1), '1 left', 'disabled: what is open is closed');
drive(1, $in);
is(visits(1), '1 left', 'and nobody enters');
sql($node, 'UPDATE at402.geofence SET enabled = true');
$time = now() + 60;
drive(1, $in, $out);
is(visits(1), '1 left, 1 left', 'enabled again');
is(sql($node, "SELECT string_agg(kind, ', ' ORDER BY time, n) FROM at402.event WHERE kind LIKE 'geofence_%'"),
	'geofence_enter, geofence_enter, geofence_exit', 'events: closing by a change makes none');

# ---- one tracker at two listeners ----

# each connection goes to either; together they drive in and out, and one of them is always late
foreach my $round (1 .. 10)
{
	my @sockets = map { connect_tcp($node) } 1 .. 2;
	foreach my $i (0 .. 1)
	{
		transmit($sockets[$i], map { packet(imei => imei(2), seq => $_, time => $time + 60 * (2 * $_ + $i),
				latitude => 52.005, longitude => ($_ + $i) % 3 ? $in : $out) } 10 * $round .. 10 * $round + 9);
	}
	is(receive($_, 10), '06' x 10, "round $round: answered") foreach @sockets;
}
is(sql($node, q(WITH judged AS (SELECT geofence_id, entered_at, left_at
			FROM at402_geofence_visits('@{[imei(2)]}', '-infinity', 'infinity')),
		kept AS (SELECT geofence_id, entered_at, left_at
			FROM at402.geofence_visit JOIN at402.device ON id = device_id WHERE imei = '@{[imei(2)]}')
	SELECT (SELECT count(*) > 20 FROM judged),
		(SELECT count(*) FROM (TABLE judged EXCEPT ALL TABLE kept) AS d),
		(SELECT count(*) FROM (TABLE kept EXCEPT ALL TABLE judged) AS d)) =~ s/\@\{\[imei\(2\)\]\}/imei(2)/ger),
	't|0|0', 'two listeners with reports of one tracker keep the visits that all of them make');

# ---- what fails ----

sql($node, q(CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'not this fence'; END $$;
	CREATE TRIGGER refuse BEFORE INSERT ON at402.geofence_visit FOR EACH ROW WHEN (NEW.geofence_id = 1)
		EXECUTE FUNCTION refuse();)
	  . "INSERT INTO at402.geofence (id, name, geom) VALUES (3, 'the same', $square)");
$time += 60;
drive(3, $out, $in);
is(visits(3), '3 open', 'only what is at fault is lost');
is(quarantined($node, 3), '', 'and no report');
is(log_count($node, 'could not judge geofence 1: not this fence'), 1, 'it is said once');
sql($node, 'DROP TRIGGER refuse ON at402.geofence_visit');
sql($node, 'SELECT FROM at402.device AS d, at402_rejudge_geofences(d.id)');
is(visits(3), '1 open, 3 open', 'mended, and judged again');
sql($node, 'REVOKE ALL ON at402.geofence_visit FROM at402; ALTER TABLE at402.geofence_visit OWNER TO CURRENT_USER');
drive(4, $out, $in);
is(stored($node, 4) =~ tr/,//, 1, 'a right that is missing costs no report either');
sql($node, 'ALTER TABLE at402.geofence_visit OWNER TO at402');

# ---- tables of a version that had no geofences ----

sql($node, 'DROP TABLE at402.geofence, at402.geofence_version, at402.geofence_visit, at402.geofence_pending');
drive(5, $in);
is(stored($node, 5) =~ tr/,//, 0, 'without the tables reports are stored');
sql($node, "SELECT at402_create_tables(); INSERT INTO at402.geofence (id, name, geom) VALUES (1, 'square', $square)");
drive(5, $in);
is(visits(5), '1 open', 'and judged once they are there');
$node->stop;
done_testing();
