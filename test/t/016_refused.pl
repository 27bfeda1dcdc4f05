# 016_refused.pl - what at402 refuses to begin with: a database that cannot hold what trackers send,
# settings that cannot work, lines of nobody
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('refused');

# ---- 6 ----

sub create_database
{
	my ($name, $encoding) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
}

subtest '6: a database that cannot hold Latin-1' => sub {
	create_database('latin9', 'LATIN9');
	my ($result, undef, $error) = $node->psql('latin9', '\set VERBOSITY verbose
		CREATE EXTENSION at402 CASCADE');
	like($error, qr/0A000: at402 needs a database with encoding UTF8, LATIN1 or SQL_ASCII/, 'CREATE EXTENSION: refused');
	like($error, qr/DETAIL:  The encoding of database "latin9" is LATIN9/, 'with the facts');
	like($error, qr/HINT:  CREATE DATABASE .* ENCODING 'UTF8'/, 'and the statement to use');
	is($node->safe_psql('latin9', "SELECT count(*) FROM pg_extension WHERE extname = 'at402'"), '0',
		'nothing is left of it');
};

# Clients of SQL_ASCII get what is stored, byte for byte: that is UTF-8.
subtest "6: $_ holds what trackers send" => sub {
	my $encoding = $_;
	my $name = lc $encoding;
	my $client = 'SET client_encoding = ' . ($encoding eq 'LATIN1' ? 'UTF8' : $encoding);
	my $text = sub { $node->safe_psql($name, "$client; $_[0]") };

	create_database($name, $encoding);
	$text->('CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables()');
	is($text->("SELECT string_agg(DISTINCT unit, ' ' ORDER BY unit) FROM at402_fields() WHERE unit ~ '[^ -~]'"),
		$text->("SELECT string_agg(unit, ' ' ORDER BY unit) FROM unnest('{°,°C,g/m²,m/s²,µg/l}'::text[]) AS unit"), 'units');
	is($text->(q{SELECT at402_decode(at402_encode('{"kind": "text", "text": "$POSN,é"}'))->>'text'}), '$POSN,é',
		'text, there and back');
	is($text->(q{SELECT encode(at402_encode('{"kind": "text", "text": "$é"}')::bytea, 'hex')}), '24e90d0a', 'on the wire it is Latin-1');
	like(($node->psql($name, qq{$client; SELECT at402_encode('{"kind": "text", "text": "\$€"}')}))[2], qr/has no equivalent in encoding "LATIN1"/,
		'what is not Latin-1 is refused');
	$node->append_conf('postgresql.conf', "at402.database = '$name'");
	$node->restart;
	listener_port($node);
	my $tracker = connect_tcp($node);
	is(ask($tracker, '$ASTRA;AT402 ' . "\xE9" . ';' . imei(6) . ";;8;X;1\r\n"), '06', 'a login');
	is(ask($tracker, packet(seq => 1)), '06', 'a packet');
	is($text->('SELECT model, count(*) FROM at402.device AS d JOIN at402.position AS p ON p.device_id = d.id GROUP BY model'),
		'AT402 é|1', 'are stored');
}
foreach 'LATIN1', 'SQL_ASCII';

$node->append_conf('postgresql.conf', "at402.database = '$At402::database'");
$node->restart;
listener_port($node);
is(still_answers($node), '06', 'back in a database that is UTF8 it answers');

# ---- 7 ----

subtest '7: lines of nobody make no rows, however many come' => sub {
	my $frames = 'SELECT count(*) FROM at402.frame';
	my $before = sql($node, $frames);
	my ($connections, $sent, $udp) = (20, 0, connect_udp($node));

	reset_stat($node);
	foreach (1 .. $connections)
	{
		my $stranger = connect_tcp($node);
		transmit($stranger, "\$\n" x 10_000);
		is(receive($stranger, 1), ' closed', 'closed');
	}
	foreach (1 .. 200)
	{
		transmit($udp, "\$\n" x 5);
	}
	is(ask($udp, packet(imei => imei(1))), '06', 'a packet from the same address: answered');
	published_is($node, 'unknown_sender, inserted, quarantined', $connections * 5 + 1000 . '|1|0',
		'each line that was read is counted');
	is(sql($node, $frames), $before + 1, 'only the packet is in at402.frame');
	transmit($udp, "\$NOW\n");
	wait_for($node, 'count(*) = 1 FROM at402.frame WHERE frame::bytea LIKE \'$NOW%\'');
	pass('after that packet the address is somebody\'s: its line is kept');
};

# ---- 14 ----

subtest '14: settings that cannot work are refused when they are set' => sub {
	my %refused = ('at402.retention' => '30 dyas', 'at402.retention_event' => '-1 day',
		'at402.partition_interval' => '2 months', 'at402.role' => '');

	foreach my $name (sort keys %refused)
	{
		my $before = sql($node, "SHOW $name");
		my ($result, undef, $error) =
		  $node->psql($At402::database, "ALTER SYSTEM SET $name = '$refused{$name}'");
		like($error, qr/invalid value for parameter "$name": "$refused{$name}"/, "$name: refused");
		like($error, qr/DETAIL:  \S/, "$name: and it says why");
		is(sql($node, "SHOW $name"), $before, "$name: as it was");
	}

	# a reload goes on with what was in force
	reload_with($node, "at402.retention = '90 days'");
	reload_with($node, "at402.retention = '30 dyas'");
	$node->wait_for_log(qr/invalid value for parameter "at402.retention": "30 dyas"/);
	is(sql($node, 'SHOW at402.retention'), '90 days', 'a file with a slip: the former value stays');
	is(still_answers($node), '06', 'and trackers are answered');
	$node->append_conf('postgresql.conf', "at402.retention = ''");
};

subtest '14: with an empty at402.role in the file nobody works as a superuser' => sub {
	$node->append_conf('postgresql.conf', "at402.role = ''");
	$node->restart;
	listener_port($node);
	like(slurp_file($node->logfile), qr/invalid value for parameter "at402.role": ""/,
		'the log says that it is refused');
	is(sql($node, "SELECT DISTINCT usename FROM pg_stat_activity WHERE backend_type LIKE 'at402%'"),
		'at402', 'the workers are the default role');
	$node->append_conf('postgresql.conf', "at402.role = 'at402'");
};

is(still_answers($node), '06', 'after all of this a good tracker is answered');
$node->stop;
done_testing();
