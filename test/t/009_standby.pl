# 009_standby.pl - a standby does not listen until it is promoted; an answer can mean that it has
# the report
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_node('primary', 'wal_level = replica', 'max_wal_senders = 4');
my $standby = PostgreSQL::Test::Cluster->new('standby');

$primary->backup('base');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
reload_with($primary, "synchronous_standby_names = 'standby'", 'synchronous_commit = remote_apply');
wait_for($primary, "count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");

is(published($standby, 'state, port, pid'), 'stopped||', 'a standby does not listen');

# What is answered is on the standby, without waiting for it
my $tracker = connect_tcp($primary);
my $seen = 0;
foreach my $seq (1 .. 20)
{
	die 'not answered' if ask($tracker, packet(imei => imei(1), seq => $seq)) ne '06';
	$seen++ if stored($standby, 1) eq join(',', 1 .. $seq);
}
is($seen, 20, 'remote_apply: each report is on the standby when it is answered');

# The standby is away: silence, and nothing lost
my $port = listener_port($primary);
$standby->stop;
transmit($tracker, packet(imei => imei(1), seq => 21));
wait_for($primary, "count(*) = 1 FROM pg_stat_activity
	WHERE backend_type = 'at402 listener' AND wait_event = 'SyncRep'");
ok(silent($tracker), 'the standby is down: silence');
$standby->start;
is(receive($tracker, 1), '06', 'it is back: answered');

# The primary is away: its trackers come to the other
$primary->stop('immediate');
is(receive($tracker, 1), ' closed', 'the primary is gone');
$standby->promote;
listener_port($standby);
pass('promoted, it listens');
$tracker = connect_tcp($standby);
is(ask($tracker, map { packet(imei => imei(1), seq => $_) } 1 .. 22), '06' x 22,
	'trackers are answered');
is(stored($standby, 1), join(',', 1 .. 22), 'every report is there once');
published_is($standby, 'inserted, duplicates', '1|21', 'all that was answered before was there');

$standby->stop;
done_testing();
