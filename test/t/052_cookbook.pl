# 052_cookbook.pl - doc/cookbook.md: each of its queries, asked of the simulator's story, still gives
# the answer that is written there
#
# The page as it should be is left in tmp_check/cookbook.md: where an answer has changed for a good
# reason, that is the new doc/cookbook.md.
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $monday = 1772409600;    # 2026-03-02
my $page = slurp_file('doc/cookbook.md');
my $node = new_node('cookbook', "TimeZone = 'UTC'", "at402.alert_max_age = '20000d'");

sub answer
{
	my ($query) = @_;
	my ($output, $error) = ('', '');

	IPC::Run::run([ 'psql', '-X', '-q', '-P', 'pager=off', '-d', $node->connstr($At402::database) ],
		'<', \$query, '>', \$output, '2>', \$error);
	return $error . $output =~ s/\n\n\z/\n/r;
}

sql($node, scalar qx(tools/at402sim --story --sql));
is(system('tools/at402sim', '--story', '--start', $monday, '--until', $monday + 86400, '--quiet', '--port',
		listener_port($node)), 0, 'the firm reports');
sql($node, "SELECT count(*) FROM at402_maintain('2026-03-01')");

my $asked = 0;
my $now = $page =~ s{(## (.*?)\n\n```sql\n)(.*?)(\n```\n\n```\n)(.*?)(```\n)}{
	my ($begin, $question, $query, $middle, $written, $end) = ($1, $2, $3, $4, $5, $6);
	my $answer = answer($query);
	is($answer, $written, $question);
	$asked++;
	$begin . $query . $middle . $answer . $end }gsre;
is($asked, () = $page =~ /^```sql$/mg, 'each query has an answer');
append_to_file("$PostgreSQL::Test::Utils::tmp_check/cookbook.md", $now) if $now ne $page;

done_testing();
