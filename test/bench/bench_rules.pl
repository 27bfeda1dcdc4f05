# bench_rules.pl - a server with the listener for bench_rules.sh, and its table as comments
use strict;
use warnings;
use At402;
use Test::More;

my $node = new_node('bench', 'log_statement = none', 'at402.rule_timeout = 1s');

local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => $At402::database);
my $table = qx(test/bench/bench_rules.sh tools/at402sim);
is($?, 0, 'all sets of rules were measured');
note($table);
is(sql($node, 'SELECT sum(failures) FROM at402.rule'), 0, 'no rule has failed');

$node->stop;
done_testing();
