# 051_readme.pl - README.md, followed literally: the statements of "In a server of yours" on a fresh
# server, the frame sent by hand, the queries shown; and the statements of pages of doc
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file('README.md');

# The text of a section, up to the next of its kind
sub section
{
	my ($title) = @_;
	my ($text) = $readme =~ /^## \Q$title\E\n(.*?)(?=^## |\z)/ms;
	return $text // die "README.md has no section \"$title\"";
}

# The blocks of a section that are marked so
sub blocks
{
	my ($text, $kind) = @_;
	my @found;

	while ($text =~ /^```(\w*)\n(.*?)^```$/msg)
	{
		push @found, $2 if $1 eq $kind;
	}
	return @found;
}

# What psql answers to a script that is typed into it, in the form of the README
sub typed
{
	my ($node, $database, $script) = @_;
	my ($output, $error) = ('', '');
	my $done = IPC::Run::run([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-P', 'pager=off', '-d',
			$node->connstr($database) ], '<', \$script, '>', \$output, '2>', \$error);

	ok($done, 'psql takes it: ' . ($script =~ /(\S[^\n]*)/)[0]) or diag($error);
	return $output;
}

my $node = PostgreSQL::Test::Cluster->new('readme');
$node->init(extra => [ '--encoding', 'UTF8' ]);
# so that the test disturbs no other server of this machine
$node->append_conf('postgresql.conf', 'at402.port = 0');
# as tools/run.sh sets it: what it shows includes alerts of yesterday
$node->append_conf('postgresql.conf', "at402.alert_max_age = '3d'");
$node->start;

my ($make, $settings, $state) = blocks(section('In a server of yours'), 'sql');
typed($node, 'postgres', $make . $settings);
$node->restart;
my $port = listener_port($node);
like(typed($node, $At402::database, $state), qr/^\s*listening \|\s+$port \|\s*$/m, 'and it listens');

my $by_hand = section('One frame by hand');
my ($hex) = $by_hand =~ /^ +echo ([0-9a-f]+) \|$/m;
is(ask(connect_tcp($node), pack('H*', $hex)), '06', 'the frame is answered with 06');
my ($query) = blocks($by_hand, 'sql');
my ($shown) = blocks($by_hand, '');
is(typed($node, $At402::database, $query), "$shown\n", 'and the row is the one that is shown');

# the queries of "Try it", in the database of make run
typed($node, $At402::database, scalar qx(tools/at402sim --story --sql));
is(system('tools/at402sim', '--story', '--quiet', '--port', $port), 0, 'the firm reports');
typed($node, $At402::database, 'SELECT at402_maintain() \\g /dev/null');
my $session = join "\n", blocks(section('Try it'), '');
my @queries = $session =~ /^(fleet=# .*?;)$/msg;
cmp_ok(scalar @queries, '>', 0, 'README shows queries');
foreach my $typed (@queries)
{
	my $output = typed($node, $At402::database, $typed =~ s/^fleet[=-]# //mgr);
	unlike($output, qr/^\(0 rows\)/m, 'with rows');
}

# doc/queries.md: statements that work
my @statements = blocks(slurp_file('doc/queries.md'), 'sql');
cmp_ok(scalar @statements, '>', 0, 'doc/queries.md has statements');
typed($node, $At402::database, $_) foreach @statements;

my ($questions) = slurp_file('doc/operations.md') =~ /^## Questions to ask regularly\n(.*?)(?=^## )/ms;
typed($node, $At402::database, $_) foreach blocks($questions, 'sql');

# Pages whose statements can be typed in one after the other, each in a database without data
typed($node, 'postgres', 'CREATE ROLE fleet_reader');		# of doc/operations.md
foreach my $page (qw(rules geofences commands fleet))
{
	my $features = '{"features": [{"properties": {"name": "yard", "radius": 50}, '
	  . '"geometry": {"type": "Point", "coordinates": [1, 52]}}]}';
	my $script = join '', blocks(slurp_file("doc/$page.md"), 'sql');

	$script =~ s/`cat fences\.geojson`/'$features'/;
	typed($node, 'postgres', "CREATE DATABASE page_$page");
	typed($node, "page_$page", "CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables();
		INSERT INTO at402.device (imei) VALUES ('352999000000007'), ('352999000000015'), ('490154203237518');
		$script");
}

# what make run shows
my ($show) = slurp_file('tools/run.sh') =~ /^show\(\)\n\{\n.*?<<-'SQL'\n(.*?)\n\tSQL$/ms;
unlike(typed($node, $At402::database, $show), qr/^\(0 rows\)/m, 'make run shows rows of everything');

done_testing();
