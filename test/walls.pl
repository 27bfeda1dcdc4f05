# walls.pl - the walls between the parts of at402, and other rules that no compiler sees
#
# Run at the top of the source tree; writes TAP.
use strict;
use warnings;
use File::Find;
use File::Temp;
use JSON::PP;
use Test::More;

sub slurp
{
	my ($file) = @_;
	open my $handle, '<', $file or die "$file: $!";
	local $/;
	return scalar <$handle>;
}

# C without its comments, which may say what they like
sub code
{
	my ($file) = @_;
	my $text = slurp($file);
	$text =~ s{("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|/\*.*?\*/|//[^\n]*}{$1 // ' '}gse;
	return $text;
}

# "file: words" for each match of a pattern in the code of some files
sub matches
{
	my ($pattern, @files) = @_;
	my @found;
	foreach my $file (@files)
	{
		push @found, map { "$file: $_" } code($file) =~ /$pattern/g;
	}
	return @found;
}

sub none
{
	my ($name, @found) = @_;
	ok(!@found, $name) or diag(join("\n", @found));
}

# All of them in one file at the most, which is how a subject stays in one place
sub one_file
{
	my ($name, @found) = @_;
	my %files = map { s/: .*//sr => 1 } @found;
	ok(keys %files <= 1, $name) or diag(join("\n", @found));
}

my @core = glob('src/core/*.[ch] src/core/*.def');
my @net = glob('src/net/*.[ch]');
my @pg = glob('src/pg/*.[ch] src/pg/*.def');
my @worker = glob('src/worker/*.[ch]');
my @source = (@core, @net, @pg, @worker);
my @tests = grep { !/walls\.pl$/ } glob('test/*.* test/{sql,t,perl}/* test/{unit,fuzz}/*.[ch]');

# Walls
none('core and net know nothing of PostgreSQL',
	matches(qr/\bpostgres\.h|\bpalloc\w*|\bpfree\b|\bereport\b|\belog\b|\bSPI_\w+/, @core, @net));
none('core allocates nothing and does no I/O',
	matches(qr/\b(?:m|c|re)alloc\b|\bfree\b|\bstdio\.h|\bunistd\.h|\w*printf\b/, @core));
is(system('cc', '-std=c11', '-pedantic-errors', '-fsyntax-only', '-Isrc', glob('src/core/*.c')),
	0, 'core is C11 and nothing more');
none('core includes only core', matches(qr/#\s*include\s*"(?:net|pg|worker)\/[^"]*"/, @core));
none('net includes only core and net', matches(qr/#\s*include\s*"(?:pg|worker)\/[^"]*"/, @net));
none('pg includes neither net nor worker', matches(qr/#\s*include\s*"(?:net|worker)\/[^"]*"/, @pg));

# One place for each subject
one_file('transactions are entered in one file',
	matches(qr/\bStartTransactionCommand\b|\bBeginInternalSubTransaction\b/, @source));
one_file('errors are caught in one file', matches(qr/\bPG_TRY\b/, @source));
one_file('versions of PostgreSQL are told apart in one file',
	matches(qr/\bPG_VERSION_NUM\b/, @source));

# Within a folder files stand on each other in one direction: a chain of calls that leads from a
# file back to it is a circle.
sub circles
{
	my @files = @_;
	my %text = map { $_ => code($_) =~ s/"(?:\\.|[^"\\])*"/""/gr } @files;
	my (%home, %below, @found);

	foreach my $file (@files)
	{
		$home{$_} = $file foreach $text{$file} =~ /^(at402_\w+)\([^;{}]*\)\s*\{/mg;
	}
	foreach my $file (@files)
	{
		$below{$file}{ $home{$_} } = $_
		  foreach grep { $home{$_} && $home{$_} ne $file } $text{$file} =~ /\b(at402_\w+)\s*[(,;)]/g;
	}
	foreach my $file (@files)
	{
		my @next = keys %{ $below{$file} };
		my %seen;
		while (defined(my $other = shift @next))
		{
			push @next, keys %{ $below{$other} } unless $seen{$other}++;
		}
		push @found, $file if $seen{$file};
	}
	return @found;
}
foreach my $folder (qw(core net pg worker))
{
	none("no circle of files in src/$folder", circles(glob("src/$folder/*.c")));
}

# Files
my @all;
find({ no_chdir => 1, wanted => sub {
	$File::Find::prune = 1 if m{^\./(?:\.git|\.run|\.check|tmp_check|results)$};
	push @all, s{^\./}{}r if -f && !m{^\./regression\.} } }, '.');
none('no strays of a merge or an editor', grep { /\.(?:orig|rej|bak|swp)$|~$/ } @all);

# What documents and comments call a file must be one.  Generated files have a version in their names.
my %exists = map { $_ => 1, m{([^/]+)$} ? ($1 => 1) : () } @all;
none('documents and comments name files that are there',
	map { my $file = $_; map { "$file: $_" }
		grep { my $name = s{^\./}{}r; !$exists{$name} && !/at402--|^test_\w+\.c$/ && !-e $name }
		slurp($file) =~ m{(?<![\w/.*%\$-])((?:(?:src|sql|test|tools|doc)/)(?:[\w.-]+/)*[\w-]+\.(?:c|h|sql|def|pl|pm|sh|md))\b}g }
	grep { /\.(?:c|h|def|sql|pl|pm|sh|md)$|^Makefile$/ && !m{^(?:expected|\.)|^test/expected} } @all);
# Links in documents lead to a file, and to a heading of it.
sub headings
{
	return map { lc =~ s/[^\w\- ]//gr =~ tr/ /-/r } slurp($_[0]) =~ /^#+ +(.*?) *$/mg;
}
my @lost;
foreach my $file (grep { /\.md$/ } @all)
{
	my $folder = $file =~ s{[^/]*$}{}r;
	my $text = slurp($file);
	while ($text =~ /\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)/g)
	{
		my ($name, $heading) = ($1, $2 // '');
		my $target = $name ? $folder . $name : $file;
		push @lost, "$file: $name#$heading"
		  if !-e $target || $heading && !grep { $_ eq $heading } headings($target);
	}
}
none('links in documents lead somewhere', @lost);
none('every C file opens with a comment that says what it is',
	grep { slurp($_) !~ m{^/\*\n \* \Q@{[s{.*/}{}r]}\E - } }
	@source, glob('tools/*.[ch] test/*/*.[ch]'));
my %numbered;
push @{ $numbered{ m{t/(\d+)_} ? $1 : $_ } }, $_ foreach glob('test/t/*.pl');
none('each file of test/t has a number of its own', map { join(', ', @$_) } grep { @$_ > 1 } values %numbered);
my $sleep = qr/^.*\b(?:pg_|u|nano)?sleep\b.*$/m;
none('no test waits by sleeping',
	map { my $file = $_; map { "$file: $_" } slurp($file) =~ /$sleep/g } @tests);

# Everything is qualified: what a user puts on the search path must not be called by at402.  A function
# in SQL pins its path instead, and a C file may, which then says so in these words.
my $pinned = qr/search_path(?: = |", ")pg_catalog, pg_temp/;

# Names in a statement, or a piece of one, that are looked up along the search path
sub unqualified
{
	my ($sql) = @_;
	my $grammar = join '|', qw(ANY ALL ARRAY VALUES EXISTS IN AS AND OR NOT WHERE ON SELECT FROM BY WHEN
		THEN ELSE CASE SET WITH MATERIALIZED OVER FILTER LATERAL CONFLICT INTO KEY UNION RETURNING DISTINCT
		JOIN COALESCE GREATEST LEAST ROW EXTRACT INSERT USING ORDINALITY OPERATOR GROUP HAVING LIMIT UPDATE DELETE CHECK);

	$sql =~ s/--[^\n]*//g;
	$sql =~ s/'(?:[^']|'')*'/ '' /g;
	$sql =~ s/"\w+"/name/g;
	$sql =~ s/\@\w+\@/schema/g;
	$sql =~ s/OPERATOR\s*\(\s*[%\w\$]+\.[^()\s]+\s*\)/ , /g;
	# whose operator is looked up by name
	my @found = $sql =~ /\b(BETWEEN|I?LIKE|SIMILAR TO|DISTINCT FROM|NULLIF\s*\(|IN\s*\(|JOIN[^()]*?\bUSING\s*\()/gi;
	push @found, $sql =~ /(::\s*(?!pg_catalog\.|int\b|smallint\b|bigint\b|numeric\b|[%\w]+\.)\w+)/g;

	my $calls = $sql =~ s/\w+\s+AS\s+(?:NOT\s+)?MATERIALIZED\b//gri;
	$calls =~ s/\b(?:INTO|TABLE)\s+[\w.%\$]+\s*\(/ (/gi;
	$calls =~ s/\b(?:AS|WITH|RECURSIVE)\s+\w+\s*\(/ (/gi;
	push @found, grep { !/^(?:$grammar)\s*\(/i } $calls =~ /(?<![\w.%\$])([a-zA-Z_]\w*\s*\()/g;

	# the = of SET, * for all columns, and the - of a number are no operators
	$sql =~ s/\bSET\s+(.*?)(?=\bWHERE\b|\bFROM\b|\bRETURNING\b|$)/$1 =~ s{(\w)\s*=\s*}{$1 , }gr/gise;
	$sql =~ s/::|:=|=>|\.\*|\(\s*\*\s*\)|%\d?\$?(?:\.0)?[sIL]|(?:SELECT|RETURNING|,)\s*\*|\$\d+|(?<=[\s,(])-\d+/ /gi;
	push @found, $sql =~ m{([-+*/<>=~!\@#%^&|`?]+)}g;
	return @found;
}

# SQL that a C file runs: literals that stand together, perhaps with macros between.  What ends in a
# semicolon is a hint for people.
sub statements
{
	my ($file) = @_;
	my $text = code($file);
	my @found;

	return () if $text =~ $pinned;
	$text =~ s/\berr(?:msg|detail|hint|context)\w*\((?:[^()"]|"(?:\\.|[^"\\])*"|\([^()]*\))*\)//g;
	while ($text =~ /((?:"(?:\\.|[^"\\])*"[\s\\]*(?:\b[A-Z_]+\b(?:\([^()]*\))?[\s\\]*)*)+)/g)
	{
		my $sql = join '', map { /^"(.*)"$/s ? $1 : ' , ' }
		  $1 =~ /("(?:\\.|[^"\\])*"|\b[A-Z_]+\b(?:\([^()]*\))?)/g;
		push @found, $sql =~ s/\\"/"/gr
		  if $sql =~ /\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WHERE|JOIN)\b.*\s/ && $sql !~ /;\s*(?:--.*)?$/;
	}
	return @found;
}

is_deeply([ unqualified(q{SELECT lower(a), b::text, -1 FROM t WHERE a = 'x' AND c BETWEEN $1 AND d || 'y'
	AND e OPERATOR(pg_catalog.=) pg_catalog.upper(f)}) ], [ 'BETWEEN', '::text', 'lower(', '=', '||' ],
	'what is not qualified is found');
none('SQL in C names the schema of functions, operators and types',
	map { my $file = $_; map { my $sql = $_; map { "$file: $_ in $sql" } unqualified($sql) } statements($file) }
	@pg, @worker);
none('functions in SQL pin their search_path, or name the schema of everything',
	map { my $file = $_; my $text = slurp($file); my @all;
		while ($text =~ /CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) (\S+?)\((.*?)(\$(\w*)\$.*?\$\4\$|MODULE_PATHNAME)/gs)
		{
			my ($name, $head, $body) = ($1, $2, $3);
			push @all, map { "$file: $name: $_" } unqualified($body)
			  if $body ne 'MODULE_PATHNAME' && $head !~ $pinned;
		}
		@all } glob('sql/*.sql'));

# The documents
my $build = File::Temp->newdir;
is(system('cc', '-std=c11', '-Isrc', '-o', "$build/protocol_doc", 'tools/protocol_doc.c',
		glob('src/core/*.c')),
	0, 'tools/protocol_doc.c is C11 and needs the core only');
ok(qx("$build/protocol_doc") eq slurp('doc/protocol.md'), 'doc/protocol.md is what make docs writes');

my $operations = slurp('doc/operations.md');

# What of these words or sentences does doc/operations.md not say?
sub unsaid
{
	return grep { index($operations, $_) < 0 } @_;
}

my $settings = slurp('src/pg/settings.c');
my ($retained) = $settings =~ /retained_tables\[\] = \{(.*?)\}/s;
my @settings = sort($settings =~ /"(at402\.\w+)"/g,
	map { "at402.retention_$_" } $retained =~ /"(\w+)"/g);
is_deeply([sort $operations =~ /^\| `(at402\.\w+)` \|/mg], \@settings,
	'doc/operations.md has a line for each setting, and no other');
none('it says what each column of the views of statistics means',
	unsaid(map { "| `$_` |" } slurp('sql/70-stat.sql') =~ /OUT "?(\w+)/g));
my @quarantined = map { code($_) =~ /\bat402_quarantine\((.*?)\);/gs } @pg;
none('it says what each reason of the quarantine means',
	unsaid(map { "| `$_` |" } map { /"([a-z_]+)"/g } @quarantined));
my ($kinds) = slurp('sql/40-tables.sql') =~ /\('event', 'kind', .*?,\s*'(.*?)'\)/s;
none('the comment of at402.event.kind names each derived event', grep { $kinds !~ /\b$_\b/ }
	map { /"([a-z_]+)"/g } map { code($_) =~ /\b(?:begin|add)_event\((.*?)\);/gs } @pg);
my @logged = map { code($_) =~ /ereport\((?:LOG|WARNING|FATAL),[^;]*?errmsg\("((?:[^"\\]|\\.)*)"/g,
	code($_) =~ /\{"(at402 [^"]+)"/g } @pg, @worker;
none('it says what each line means that the workers write to the log',
	unsaid(map { s/\\"/"/gr } map { split /%\w+/ } @logged));

# The version
my ($version) = slurp('at402.control') =~ /^default_version = '(.*)'$/m;
my $meta = decode_json(slurp('META.json'));
is($meta->{version}, $version, 'META.json has the version of at402.control');
is($meta->{provides}{at402}{version}, $version, 'and so has what it provides');

done_testing();
