# 010_disk_full.pl - the disk is full: silence while it lasts, recovery by itself, nothing lost
#
# The tables lie on a disk of a few megabytes, in memory.  Mounting one needs no rights in a user
# namespace of one's own: the test runs itself again in there.  PostgreSQL refuses to run as root,
# which is who one is in such a namespace, so a second one within it brings the user back.
use strict;
use warnings;

# Before PostgreSQL::Test::Utils takes standard output
BEGIN
{
	use File::Temp;

	if (!defined $ENV{AT402_SMALL_DISK})
	{
		my $disk = File::Temp->newdir;
		my ($group) = split / /, $(;
		my @root = ('unshare', '--user', '--map-root-user', '--mount', 'sh', '-c',
			'mount -t tmpfs -o size=24m tmpfs "$0" && exec "$@"', $disk);
		my @user = ('unshare', '--user', "--map-user=$<", "--map-group=$group");

		if (system("unshare --user --map-root-user --mount mount -t tmpfs tmpfs $disk 2>&1") != 0)
		{
			print "1..0 # SKIP user namespaces are not allowed here\n";
			exit 0;
		}
		$ENV{AT402_SMALL_DISK} = $disk;
		exit system(@root, @user, $^X, (map { "-I$_" } @INC), $0) >> 8;
	}
}

use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $disk = $ENV{AT402_SMALL_DISK};
my $journal = PostgreSQL::Test::Utils::tempdir() . '/journal';
my $node = new_node('disk_full');

mkdir "$disk/tables" or die "$disk/tables: $!";
sql($node, "CREATE TABLESPACE small OWNER at402 LOCATION '$disk/tables'");
sql($node, "ALTER $_ ALL IN TABLESPACE pg_default OWNED BY at402 SET TABLESPACE small")
  foreach qw(TABLE INDEX);

# A file that takes what is left of the disk
sub fill_disk
{
	open my $file, '>', "$disk/ballast" or die "$disk/ballast: $!";
	my $block = "\1" x 4096;
	1 while syswrite $file, $block;
	close $file;
}

fill_disk();
reset_stat($node);
my $fleet = start_fleet(listener_port($node), $journal, '--trackers', 20, '--reports', 100,
	'--answer-timeout', 2, '--step', 1);
wait_published($node, 'failed_batches >= 3');
is(published($node, "state, last_error ~ 'No space left on device'"), 'retrying|t',
	'the disk is full: at402_stat_listener says so');
my $tracker = connect_tcp($node);
transmit($tracker, login(imei(1)), packet(seq => 1));
wait_published($node, 'failed_batches >= ' . (published($node, 'failed_batches') + 2));
ok(silent($tracker), 'silence');
is(log_count($node, 'at402 could not store a batch'), 1, 'one line in the log');
is(sql($node, 'SELECT count(*) FROM at402.quarantine'), '0', 'it is nobody\'s fault');

unlink "$disk/ballast" or die "$disk/ballast: $!";
is(receive($tracker, 2), '0606', 'there is room again: answered');
is(stored($node, 1), '1', 'and stored');
ok(finish_fleet($fleet), 'the fleet is answered');

my $found = judge_journal($node, $journal);
is($found->{answered}, 20 * 100, 'reports answered');
is($found->{lost}, 0, 'none of them is lost');
is($found->{doubled}, 0, 'none is doubled');

$node->stop;
done_testing();
