# 032_rules.pl - rules on a running server: whatever a rule does costs no report, no answer and no
# other rule; alerts are told of, delivered, and raised by the clock
use strict;
use warnings;
use At402;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('rules', 'at402.batch_delay = 0', 'at402.maintain_interval = 1',
	'log_statement = none', 'restart_after_crash = on');
my $reports = 0;

# One report of tracker n, answered
sub report_of
{
	my ($n, %r) = @_;
	return ask(connect_tcp($node), packet(imei => imei($n), time => now() + $reports++, %r));
}

sub alerts
{
	my ($rule) = @_;
	return sql($node, "SELECT count(*) FROM at402.alert WHERE rule_name = '$rule'");
}

# Makes a rule of role mallory, sends reports until it is switched off or has had enough of them,
# and tests that they were answered and that the good rule saw each.
sub survives
{
	my ($name, $condition, $reason, %more) = @_;
	my $before = alerts('good');

	sql($node, "SET ROLE mallory; INSERT INTO at402.rule (name, source, condition, level)
		VALUES ('$name', 'position', \$c\$$condition\$c\$, 'info')");
	my @answers = map { report_of(1, seq => $_) . report_of(2, seq => $_, speed_kmh => 100) . report_of(2, seq => $_ + 100) }
	  1 .. ($more{count} // 2);
	is_deeply(\@answers, [ ('060606') x @answers ], "$name: reports are answered");
	is(alerts('good') - $before, scalar @answers, "$name: the other rule goes on");
	like(sql($node, "SELECT last_error FROM at402.rule WHERE name = '$name'"), $reason, "$name: its error")
	  if defined $reason;
	is(alerts($name), 0, "$name: raised nothing") if defined $reason;
	sql($node, "DELETE FROM at402.rule WHERE name = '$name'");
}

# Mallory may write rules and read positions, and makes functions.
$node->safe_psql($At402::database, <<'SQL');
CREATE ROLE mallory;
CREATE SCHEMA mallory AUTHORIZATION mallory;
GRANT mallory TO at402;
GRANT USAGE ON SCHEMA at402 TO mallory;
GRANT SELECT, INSERT, UPDATE, DELETE ON at402.rule TO mallory;
GRANT SELECT ON at402.position TO mallory;
CREATE TABLE public.secret (s text);
INSERT INTO public.secret VALUES ('treasure');
CREATE TABLE public.diary (who name, session name);
GRANT INSERT, SELECT ON public.diary TO mallory;
SET ROLE mallory;
CREATE FUNCTION mallory.run(command text) RETURNS bool LANGUAGE plpgsql AS
	$$ BEGIN EXECUTE command; RETURN true; END $$;
CREATE FUNCTION mallory.loop() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN LOOP END LOOP; END $$;
CREATE FUNCTION mallory.stubborn() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
	LOOP
		BEGIN
			LOOP END LOOP;
		EXCEPTION WHEN query_canceled THEN NULL;
		END;
	END LOOP; END $$;
CREATE FUNCTION mallory.who() RETURNS bool LANGUAGE plpgsql VOLATILE AS
	$$ BEGIN RETURN current_user = 'mallory' AND NOT pg_has_role('postgres', 'USAGE'); END $$;
SQL
sql($node, "INSERT INTO at402.rule (name, source, condition, level)
	VALUES ('good', 'position', 'r.speed_kmh > 90', 'warning')");

# ---- hostile rules ----

my $read_only = qr/read-only transaction/;
survives('reads', "mallory.run('SELECT * FROM public.secret')", qr/permission denied for table secret/);
survives('reads authid', "mallory.run('SELECT * FROM pg_authid')", qr/permission denied/);
survives('writes', "mallory.run('INSERT INTO public.diary VALUES (current_user, session_user)')", $read_only);
survives('deletes', "mallory.run('DELETE FROM at402.position')", qr/$read_only|permission denied/);
survives('drops', "mallory.run('DROP TABLE at402.position')", qr/$read_only|must be owner/);
my $stays = qr/within security-definer function|security-restricted operation/;
survives('is at402', "mallory.run('RESET ROLE')", $stays);
survives('is somebody', "mallory.run('SET SESSION AUTHORIZATION at402')", $stays);
survives('is nobody', "mallory.run('SET ROLE NONE')", $stays);
survives('wants to write', "mallory.run('SET transaction_read_only = off')", qr/read-only transaction/);
survives('temporary', "mallory.run('CREATE TEMP TABLE t (i int)')", qr/$read_only|security-restricted/);
survives('commits', "mallory.run('COMMIT')", qr/transaction commands/);
survives('copies', "mallory.run('COPY (SELECT 1) TO PROGRAM ''true''')", qr/pg_execute_server_program/);
survives('raises', "mallory.run('DO \$\$ BEGIN RAISE ''no'' USING ERRCODE = ''53100''; END \$\$')", qr/53100: no/);
survives('deadlocks', "mallory.run('DO \$\$ BEGIN RAISE ''no'' USING ERRCODE = ''40P01''; END \$\$')", qr/40P01/);
survives('memory', "length(repeat('x', 600000000 + r.seq) || repeat('y', 600000000 + r.seq)) > 0", qr/memory|size|rule_timeout/);
survives('storm', '1 / (r.speed_kmh - r.speed_kmh) = 1', qr/division by zero/, count => 12);
survives('loops', 'mallory.loop()', qr/rule_timeout/, count => 12);
survives('is slow', '(SELECT count(*) FROM generate_series(1, 100000000)) > r.seq', qr/rule_timeout/);
is(sql($node, 'SELECT count(*) FROM public.diary'), 0, 'nothing was written');
is(log_count($node, 'at402 switches off rule "(?:storm|loops)" after 10 failures'), 2,
	'who fails ten times is switched off, with a line in the log');

# what is left behind in the session
sql($node, "SET ROLE mallory; INSERT INTO at402.rule (name, source, condition, level) VALUES
	('who', 'position', 'mallory.who()', 'info'),
	('setting', 'position', \$c\$set_config('search_path', 'mallory', false) = 'mallory'
		AND set_config('statement_timeout', '1', false) = '1ms'\$c\$, 'info'),
	('lock', 'position', 'pg_try_advisory_lock(402)', 'info'),
	('notify', 'position', \$c\$pg_notify('fake', 'news')::text = ''\$c\$, 'info')");
my $listening = $node->background_psql($At402::database);
$listening->query_safe('LISTEN fake');
is(report_of(3) . report_of(3), '0606', 'who sets, locks and notifies costs nothing');
is(alerts('who'), 1, 'a rule runs as its owner');
is(alerts('lock'), 1, 'and may take a lock');
is(sql($node, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0, 'which is not kept');
unlike($listening->query_safe('SELECT 1'), qr/fake/, 'nobody hears of what it tells');
$listening->quit;
sql($node, "DELETE FROM at402.rule WHERE name <> 'good'");

# consent is withdrawn
sql($node, "SET ROLE mallory; INSERT INTO at402.rule (name, source, condition, level)
	VALUES ('withdrawn', 'position', 'true', 'info')");
sql($node, 'REVOKE mallory FROM at402');
is(report_of(4), '06', 'without consent');
is(alerts('withdrawn'), 0, 'the rule does not run');
like(sql($node, "SELECT last_error FROM at402.rule WHERE name = 'withdrawn'"), qr/no member of "mallory"/, 'and says why');
sql($node, "DELETE FROM at402.rule WHERE name = 'withdrawn'; GRANT mallory TO at402");

# two cancels swallowed: the worker goes, and comes back without the rule
sql($node, "SET ROLE mallory; INSERT INTO at402.rule (name, source, condition, level)
	VALUES ('innocent', 'position', 'true', 'info'), ('stubborn', 'position', 'r.ignition OR mallory.stubborn()', 'info')");
my $stubborn = connect_tcp($node);
transmit($stubborn, packet(imei => imei(5), time => now() + $reports++));
wait_for($node, "NOT enabled AND last_error ~ 'cancelled' FROM at402.rule WHERE name = 'stubborn'");
is(sql($node, "SELECT enabled FROM at402.rule WHERE name = 'innocent'"), 't', 'the one beside it stays on');
listener_port($node);
is(still_answers($node), '06', 'the listener is back');
is(log_count($node, 'at402 switches off rule \d+: it did not let itself be cancelled'), 1, 'said in the log');
sql($node, "DELETE FROM at402.rule WHERE name <> 'good'");

# ---- triggers of users on alerts ----

sql($node, "CREATE FUNCTION public.hang() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN IF NEW.rule_name = ''hangs'' THEN LOOP END LOOP; END IF; RETURN NEW; END';
	CREATE TRIGGER hang BEFORE INSERT ON at402.alert FOR EACH ROW EXECUTE FUNCTION public.hang();
	INSERT INTO at402.rule (name, source, condition, level) VALUES ('hangs', 'position', 'r.speed_kmh > 90', 'info')");
is(report_of(6, speed_kmh => 100), '06', 'a trigger on alerts that hangs: the report is answered');
is(alerts('hangs'), 0, 'its rule loses the alert');
is(sql($node, "SELECT count(*) FROM at402.alert JOIN at402.device ON id = device_id
	WHERE rule_name = 'good' AND imei = '" . imei(6) . "'"), 1, 'the other does not');
sql($node, "DROP FUNCTION public.hang() CASCADE; DELETE FROM at402.rule WHERE name = 'hangs'");

# somebody alters at402.alert meanwhile: no rule is blamed
my $holder = $node->background_psql($At402::database);
$holder->query_safe('BEGIN; LOCK TABLE at402.alert IN ACCESS EXCLUSIVE MODE');
my $waiting = connect_tcp($node);
transmit($waiting, packet(imei => imei(7), time => now() + $reports++, speed_kmh => 100));
wait_for($node, "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'at402.alert'::regclass
	AND waitstart < clock_timestamp() - interval '300 ms')");
$holder->query_safe('COMMIT');
$holder->quit;
is(receive($waiting, 1), '06', 'a lock on at402.alert is waited for');
is(sql($node, 'SELECT sum(failures) FROM at402.rule'), 0, 'and counts against no rule');

# ---- by the clock ----

sql($node, "INSERT INTO at402.rule (name, source, condition, level, message)
	VALUES ('silent', 'state', \$c\$r.last_seen < now() - interval '1 h'\$c\$, 'warning', '{d.imei} is silent')");
report_of(8);
my $silent = device_id($node, 8);
sql($node, "UPDATE at402.device_state SET last_seen = now() - interval '2 h' WHERE device_id = $silent");
wait_for($node, "count(*) = 1 FROM at402.alert WHERE rule_name = 'silent' AND device_id = $silent AND ended_at IS NULL
	AND seq = -1 AND content_hash = 0 AND message = '" . imei(8) . " is silent' AND geom IS NOT NULL");
sql($node, 'SELECT FROM at402_maintain()');
is(alerts('silent'), 1, 'none while one is open');
report_of(8);
wait_for($node, "count(*) = 1 FROM at402.alert WHERE rule_name = 'silent' AND ended_at IS NOT NULL");
ok(1, 'it ends when the device is heard again');

# ---- told and delivered ----

sql($node, "UPDATE at402.rule SET channels = '{hook}' WHERE name = 'good'");
my $ears = $node->background_psql($At402::database);
$ears->query_safe('LISTEN at402_alert');
is(ask(connect_tcp($node), packet(imei => imei(9), reports => [ map { report(seq => $_, time => now() + $reports++,
		speed_kmh => $_ % 2 ? 100 : 10) } 1 .. 6 ])), '06', 'three alerts in a batch');
my $heard = $ears->query_safe('SELECT 1');
my @told = $heard =~ /notification "at402_alert" with payload "(.*)" received/g;
is(scalar @told, 1, 'one notification');
is(eval { decode_json($told[0])->{count} }, 3, 'with their number');
$ears->quit;

# A web server that fails the first time
my $server = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die $!;
my $url = sprintf('http://127.0.0.1:%d/hook', $server->sockport);

sub serve
{
	my ($status) = @_;
	my $client = $server->accept;
	my $head = '';

	$head .= readline $client until $head =~ /\r\n\r\n$/;
	my ($length) = $head =~ /^Content-Length: (\d+)/mi;
	read $client, my $body, $length;
	print $client "HTTP/1.1 $status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	close $client;
	return ($head, $body);
}

my @consumer = ('sh', 'tools/webhook.sh', 'hook', $url, $node->connstr($At402::database));
my ($out, $err);
my $run = IPC::Run::start([@consumer, '--once'], '>', \$out, '2>', \$err);
my ($head) = serve('500 Internal Server Error');
my (undef, $body) = serve('200 OK');
serve('204 No Content');
$run->finish;
like($head, qr{^POST /hook HTTP/}, 'the consumer posts');
is(decode_json($body)->{rule}, 'good', 'the alert as JSON');
is(sql($node, "SELECT string_agg(state || attempts, ' ' ORDER BY id) FROM at402.outbox"), 'queued1 done1 done1',
	'what failed is to be tried again');
like(sql($node, "SELECT last_error FROM at402.outbox WHERE state = 'queued'"), qr/500/, 'with the reason');
sql($node, "UPDATE at402.outbox SET next_try = now() WHERE state = 'queued'");
$run = IPC::Run::start([@consumer, '--once'], '>', \$out, '2>', \$err);
serve('200 OK');
$run->finish;
is(sql($node, "SELECT string_agg(state || attempts, ' ' ORDER BY id) FROM at402.outbox"), 'done2 done1 done1',
	'and is delivered then');

# ---- no rules: no statements ----

sql($node, 'DELETE FROM at402.rule');
my $offset = -s $node->logfile;
reload_with($node, "log_min_duration_statement = 0");
report_of(10);
unlike(slurp_file($node->logfile, $offset), qr/at402\.(?:rule|alert|rule_run)\b/, 'without rules nothing is asked for them');

$node->stop;
done_testing();
