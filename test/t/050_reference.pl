# 050_reference.pl - doc/sql.md is what make docs writes: made from the comments in the catalogue
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding', 'UTF8', '--no-locale' ]);
$node->start;

my ($written, $errors) = run_command([
	'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', 'tools/sql_doc.sql'
]);
my @written = split /\n/, $written;
my @kept = split /\n/, slurp_file('doc/sql.md');
my ($first) = grep { ($written[$_] // '') ne ($kept[$_] // '') } 0 .. ($#written > $#kept ? $#written : $#kept);

is($errors, '', 'no errors');
ok(@written > 400, 'there is something to write');
ok(!defined $first, 'doc/sql.md is what make docs writes')
  or diag("line " . ($first + 1) . ":\n", $kept[$first] // '(end)', "\nshould be:\n", $written[$first] // '(end)');

done_testing();
