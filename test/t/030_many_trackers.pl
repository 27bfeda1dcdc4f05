# 030_many_trackers.pl - as many connections as the system allows, whatever PostgreSQL was started
# with, and no waiting where there are few
use strict;
use warnings;
use At402;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

# Open files of this process, and of what it starts from now on: soft limit, hard limit
sub limit_files
{
	my ($soft, $hard) = @_;
	system_or_bail('prlimit', '--pid', $$, "--nofile=$soft:$hard");
}

my ($hard) = slurp_file("/proc/$$/limits") =~ /^Max open files +\d+ +(\d+)/m;
my $wanted = 600;

# as a service manager starts it: few open files, more where a process asks for them
limit_files(300, '');
my $node = new_node('many', "at402.max_connections = $wanted");
limit_files($hard, '');

subtest 'a soft limit of open files does not limit connections' => sub {
	is(log_count($node, 'at402.max_connections is'), 0, 'no complaint');
	my %address = (PeerAddr => '127.0.0.1', PeerPort => published($node, 'port'));
	my @trackers = map { IO::Socket::INET->new(%address) } 1 .. $wanted;
	published_is($node, 'connections, refused', "$wanted|0", 'all are connected');
	is(ask($trackers[-1], packet(imei => imei(1))), '06', 'the last is answered');
};

subtest 'on a quiet port a report does not wait for others' => sub {
	my $tracker = login_as($node, 2);
	my $began = Time::HiRes::time();

	reload_with($node, 'at402.batch_delay = 10s');
	is(ask($tracker, packet(seq => $_)), '06', "packet $_ is answered") foreach 1 .. 5;
	cmp_ok(Time::HiRes::time() - $began, '<', 10, 'before one delay is over');
	reload_with($node, 'at402.batch_delay = 5ms');
};

subtest 'a hard limit does, and the log says what to raise' => sub {
	$node->stop;
	limit_files(500, 500);
	$node->start;
	listener_port($node);
	$node->wait_for_log(qr/at402.max_connections is $wanted, but there are file descriptors for \d+ only/);
	$node->wait_for_log(qr/HINT:  Raise the hard limit of open files of the server, LimitNOFILE= /);
	is(still_answers($node), '06', 'those that it has are used');
};

$node->stop;
done_testing();
