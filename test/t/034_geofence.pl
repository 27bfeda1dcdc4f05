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

# ---- what a backend keeps in memory of them ----

# Other fences, so many that a change has them looked up by the index before they are in memory again.
sql($node, "DELETE FROM at402.geofence WHERE id = 1; INSERT INTO at402.geofence (id, name, geom)
	SELECT 100 + i, 'far', ST_MakeEnvelope(10 + i, 10, 10.5 + i, 11, 4326) FROM generate_series(1, 60) AS i");
my $tracker = 10;

# Three trackers that come into the square after this, each with a connection of its own: where they
# are by their first report, and after more.
sub inside_after
{
	my ($change, $fences, $name) = @_;
	my @inside;

	sql($node, $change);
	foreach my $connection (1 .. 3)
	{
		$tracker++;
		$time = now() + 60;
		drive($tracker, $in);
		push @inside, visits($tracker);
		drive($tracker, ($in) x 9);
		push @inside, visits($tracker);
	}
	is(join('; ', @inside), join('; ', ($fences) x 6), $name);
}

inside_after("INSERT INTO at402.geofence (id, name, geom) VALUES (1000, 'square', $square)", '1000 open', 'made');
inside_after('UPDATE at402.geofence SET geom = ST_Translate(geom, 1, 1) WHERE id = 1000', '', 'moved away');
inside_after('UPDATE at402.geofence SET geom = ST_Translate(geom, -1, -1) WHERE id = 1000', '1000 open', 'moved back');
inside_after('UPDATE at402.geofence SET enabled = false WHERE id = 1000', '', 'disabled');
inside_after('UPDATE at402.geofence SET enabled = true WHERE id = 1000', '1000 open', 'enabled');
inside_after('BEGIN; DELETE FROM at402.geofence WHERE id = 1000; ROLLBACK', '1000 open', 'not deleted');
inside_after("BEGIN; SAVEPOINT a; INSERT INTO at402.geofence (id, name, geom) VALUES (1001, 'square', $square);
	ROLLBACK TO a; INSERT INTO at402.geofence (id, name, geom) VALUES (1002, 'square', $square); COMMIT",
	'1000 open, 1002 open', 'one made, and one not');
inside_after('DELETE FROM at402.geofence WHERE id >= 1000', '', 'deleted');
inside_after("UPDATE at402.geofence_version SET geom = $square, box = $square WHERE geofence_id = 101", '101 open',
	'a version that was written by hand');
inside_after('TRUNCATE at402.geofence', '', 'none left');

# A session sees what it has changed itself, as long as it has.
my @ingest = map { "SELECT inserted FROM at402_ingest('{\\\\x" . unpack('H*', packet(imei => imei(9), seq => $_,
		time => now() + 60 * $_, latitude => 52.005, longitude => $in)) . "}')" } 0 .. 4;
my $open = "SELECT string_agg(geofence_id::text, ' ') FROM at402.geofence_visit JOIN at402.device ON id = device_id
	WHERE left_at IS NULL AND imei = '" . imei(9) . "'";
is(sql($node, "BEGIN; SAVEPOINT a; INSERT INTO at402.geofence (id, name, geom) VALUES (2000, 'square', $square);
	$ingest[1]; $open; ROLLBACK TO a;
	INSERT INTO at402.geofence (id, name, geom) VALUES (2001, 'square', $square);
	$ingest[2]; $open; ROLLBACK; $ingest[2]; $open"),
	"1\n2000\n1\n2001\n1\n", 'what a session made itself, and took back');

# One that sees what was when its transaction began does not keep that for later.
my $session = $node->background_psql($At402::database);
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM at402.geofence');
sql($node, "INSERT INTO at402.geofence (id, name, geom) VALUES (2002, 'square', $square)");
is($session->query_safe("$ingest[3]; $open; COMMIT") =~ s/\s+$//r, '1', 'with what was before');
is($session->query_safe("$ingest[4]; $open") =~ s/\s+$//r, "1\n2002", 'and after it');
$session->quit;

# Another database has others.
$node->safe_psql('postgres', 'CREATE DATABASE other ENCODING UTF8 TEMPLATE template0');
like($node->safe_psql('other', "SET client_min_messages = error; CREATE EXTENSION at402 CASCADE; SELECT FROM at402_create_tables();
	INSERT INTO at402.geofence (id, name, geom) VALUES (3000, 'square', $square); $ingest[1]; $open"),
	qr/^1\n3000$/m, 'another database has its own');
$node->safe_psql('postgres', 'DROP DATABASE other');
inside_after('SELECT', '2002 open', 'and this one knows nothing of them');
sql($node, "TRUNCATE at402.geofence; INSERT INTO at402.geofence (id, name, geom) VALUES (1, 'square', $square)");

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
