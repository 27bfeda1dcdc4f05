# 019_rights.pl - code of one role does not run as another: names that users put on the search path,
# triggers of the tables' owner when a superuser stores
use strict;
use warnings;
use At402;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('rights', 'at402.batch_delay = 0', 'at402.maintain_interval = 0');

sub hex_of
{
	return "'\\x" . unpack('H*', $_[0]) . "'::at402_frame";
}

# Every name in our sources that stands before a bracket, and every operator
my (%names, %operators);
foreach my $file (glob('src/pg/*.c src/worker/*.c sql/*.sql'))
{
	my $text = slurp_file($file);
	$names{ lc $_ } = 1 foreach $text =~ /([a-z_][a-z0-9_]*)\s*\(/gi;
	$operators{$_} = 1 foreach $text =~ /OPERATOR\(pg_catalog\.([^)\s]+)\)/g;
}
$operators{$_} = 1 foreach qw(= <> < > <= >= || + - * / ~ !~ && @> <@);

# ---- 4 ----

subtest '4: what a superuser stores runs triggers of the owner as the owner, restricted' => sub {
	sql($node, "CREATE TABLE public.witness (what text, who text, super text);
		GRANT ALL ON public.witness TO PUBLIC;
		GRANT CREATE ON SCHEMA public TO at402;
		SET ROLE at402;
		CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
			INSERT INTO public.witness SELECT tg_name, current_user, rolsuper::text
				FROM pg_catalog.pg_roles WHERE rolname = current_user;
			RETURN NEW; END \$\$;
		CREATE TRIGGER at_once BEFORE INSERT ON at402.position FOR EACH ROW
			EXECUTE FUNCTION public.note();
		CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON at402.position
			DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.note()");
	my $witness = 'SELECT what, who, super FROM public.witness ORDER BY 1';
	my $frame = hex_of(packet(imei => imei(10), seq => 1));

	is(sql($node, "SELECT inserted FROM at402_ingest(ARRAY[$frame]); SELECT current_user = session_user"),
		"1\nt", 'at402_ingest; whoever called is who he was');
	is(sql($node, $witness), "at_once|at402|false\ndeferred|at402|false", 'all as the owner');
	sql($node, 'DELETE FROM public.witness; DELETE FROM at402.position;
		INSERT INTO at402.quarantine (reason, logged_in, bytes) SELECT \'x\', false, ' . "$frame\::bytea");
	is(sql($node, 'SELECT released FROM at402_release()'), '1', 'at402_release');
	is(sql($node, $witness), "at_once|at402|false\ndeferred|at402|false", 'all as the owner');
};

subtest '4: the owner\'s code does not find its way back to who called' => sub {
	my $n = 20;
	my %ways = (
		'RESET ROLE' => 'RESET ROLE',
		'SET SESSION AUTHORIZATION' => 'SET SESSION AUTHORIZATION DEFAULT',
		'a temporary table' => 'CREATE TEMP TABLE trap (i int)',
		'a deferred trigger' => 'SET CONSTRAINTS ALL DEFERRED');

	foreach my $way (sort keys %ways)
	{
		sql($node, "CREATE OR REPLACE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS \$\$
			BEGIN EXECUTE '$ways{$way}'; INSERT INTO public.witness SELECT '$way', current_user, '';
			RETURN NEW; END \$\$; DELETE FROM public.witness");
		sql($node, 'SELECT * FROM at402_ingest(ARRAY[' . hex_of(packet(imei => imei(++$n))) . '])');
		is(sql($node, "SELECT count(*) FROM public.witness WHERE who <> 'at402'"), '0',
			"$way: nothing ran as the superuser");
	}
	sql($node, 'DROP FUNCTION public.note() CASCADE');
};

subtest '4: errors, calls within calls, settings and constraints of the caller' => sub {
	my $frame = hex_of(packet(imei => imei(30), seq => 1));
	my $error = ($node->psql($At402::database, "DO \$\$ BEGIN
		BEGIN PERFORM at402_ingest(ARRAY[$frame], imei => 'none'); EXCEPTION WHEN OTHERS THEN
			RAISE NOTICE 'after an error: %', current_user = session_user; END;
		END \$\$; CREATE TEMP TABLE mine (i int);"))[2];
	like($error, qr/after an error: t/, 'after an error the caller is who he was');
	unlike($error, qr/ERROR/, 'and not restricted any more');

	sql($node, 'SET ROLE at402; CREATE FUNCTION public.again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.seq < 5 THEN PERFORM public.at402_ingest(ARRAY[f], NULL) FROM (VALUES
			(' . hex_of(packet(imei => imei(31), seq => 7)) . ')) AS v(f); END IF;
		SET LOCAL work_mem = \'1234kB\'; RETURN NEW; END $$;
		CREATE TRIGGER again AFTER INSERT ON at402.position FOR EACH ROW EXECUTE FUNCTION public.again()');
	is(sql($node, "SELECT inserted FROM at402_ingest(ARRAY[$frame]); SHOW work_mem"), "1\n4MB",
		'a trigger that stores, and sets something: that does not outlast it');
	is(stored($node, $_), $_ == 30 ? '1' : '7', "tracker $_ is stored") foreach 30, 31;
	sql($node, 'DROP FUNCTION public.again() CASCADE');

	# what the caller has deferred is checked at the call, as himself
	sql($node, 'CREATE TABLE public.parent (i int PRIMARY KEY); CREATE TABLE public.child (i int
		REFERENCES public.parent DEFERRABLE INITIALLY DEFERRED)');
	like(($node->psql($At402::database, 'BEGIN; INSERT INTO public.child VALUES (1);
		SELECT at402_ingest(ARRAY[' . hex_of(packet(imei => imei(32))) . ']); COMMIT'))[2],
		qr/violates foreign key constraint/, 'a constraint of the caller\'s that does not hold: an error');
	is(sql($node, 'BEGIN; INSERT INTO public.child VALUES (1); INSERT INTO public.parent VALUES (1);
		SELECT inserted FROM at402_ingest(ARRAY[' . hex_of(packet(imei => imei(32))) . ']); COMMIT'), '1',
		'one that holds: stored');
};

subtest '4: who may not act for the owner works with his own rights' => sub {
	my $call = 'SELECT inserted FROM at402_ingest(ARRAY[' . hex_of(packet(imei => imei(40))) . '])';

	sql($node, 'CREATE ROLE loader; GRANT USAGE ON SCHEMA at402 TO loader;
		GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA at402 TO loader;
		GRANT USAGE ON ALL SEQUENCES IN SCHEMA at402 TO loader');
	is(sql($node, "SET ROLE loader; $call"), '1', 'with grants: stored');
	sql($node, 'REVOKE INSERT ON at402.position FROM loader');
	like(($node->psql($At402::database, 'SET ROLE loader; SELECT inserted FROM at402_ingest(ARRAY['
		. hex_of(packet(imei => imei(40), seq => 2)) . '])'))[2], qr/permission denied/,
		'without: denied');
	sql($node, 'CREATE ROLE operator; GRANT at402 TO operator');
	is(sql($node, 'SET ROLE operator; SELECT inserted FROM at402_ingest(ARRAY['
		. hex_of(packet(imei => imei(40), seq => 3)) . '])'), '1', 'a member of the owner: stored');
};

# last of all, since thousands of traps stay
subtest '4: overloads of all that our statements use are never called' => sub {
	my $sprung = 'sprung: ';
	my $names = join ',', map { "'$_'" } sort keys %names;
	my $operators = join ',', map { "'$_'" } sort keys %operators;

	# functions of all these names over types that the catalogue does not have them for, and
	# operators; each says when it is called, and by whom
	my $made = sql($node, <<"SQL");
CREATE ROLE mallory;
GRANT CREATE ON SCHEMA public TO mallory;
SET ROLE mallory;
SET client_min_messages = error;
CREATE TEMP TABLE types AS SELECT t::regtype AS t FROM unnest('{text,name,oid,regclass,regnamespace,regrole,
	"char",smallint,int,bigint,double precision,bool,timestamptz,interval,text[],int[]}'
	::text[]) AS t;
CREATE TEMP TABLE made (kind text);
DO \$\$
DECLARE
	f record;
	body text := 'LANGUAGE plpgsql AS ''BEGIN RAISE LOG ''''$sprung%s as %%'''', current_user; RETURN%s; END''';
BEGIN
	FOR f IN
		WITH called AS (SELECT proname, min(CASE WHEN prorettype::regtype::text ~ '^(any|record)' THEN 'text'
				ELSE prorettype::regtype::text END) AS result, bool_or(proretset) AS many,
				array_agg(DISTINCT pronargs) AS arities
			FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind IN ('f', 'a')
				AND proname IN ($names) AND prorettype::regtype::text !~ '^(internal|trigger|cstring|void)'
			GROUP BY proname),
		lists AS (SELECT 1 AS arity, t::text AS list FROM types
			UNION ALL SELECT 2, format('%s, %s', a.t, b.t) FROM types a, types b
			UNION ALL SELECT 3, format('%s, %s, text', a.t, b.t) FROM types a, types b)
		SELECT * FROM called JOIN lists ON arity = ANY (arities)
	LOOP
		EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s %s ', f.proname, f.list,
			CASE WHEN f.many THEN 'SETOF ' ELSE '' END || f.result,
			format(body, f.proname, CASE WHEN f.many THEN '' ELSE ' NULL' END));
		INSERT INTO made VALUES ('function');
	END LOOP;
	FOR f IN SELECT o, a.t AS a, b.t AS b FROM pg_catalog.unnest(ARRAY[$operators]) AS o, types AS a, types AS b
		WHERE NOT EXISTS (SELECT FROM pg_operator WHERE oprname = o AND oprleft = a.t AND oprright = b.t)
	LOOP
		BEGIN
			EXECUTE format('CREATE OR REPLACE FUNCTION public.operate(%s, %s) RETURNS bool %s', f.a, f.b,
				format(body, 'operator', ' NULL'));
			EXECUTE format('CREATE OPERATOR public.%s (FUNCTION = public.operate, LEFTARG = %s,
				RIGHTARG = %s)', f.o, f.a, f.b);
			INSERT INTO made VALUES ('operator');
		EXCEPTION WHEN invalid_function_definition THEN
		END;
	END LOOP;
END \$\$;
SELECT (SELECT count(*) > 1000 FROM made WHERE kind = 'function'),
	(SELECT count(*) > 1000 FROM made WHERE kind = 'operator');
SQL
	is($made, 't|t', 'traps are made, of more than 1,000 each');
	sql($node, q{SELECT lower('x'::name), 'a'::text = 'b'::name, 1::oid || 1::bigint});
	cmp_ok(log_count($node, $sprung), '>=', 2, 'and whoever names no schema is caught in them');

	# the listener, from its first statement on
	$node->restart;
	listener_port($node);
	my $tracker = login_as($node, 1, LocalAddr => '127.0.0.1');
	foreach my $seq (1 .. 3)
	{
		is(ask($tracker, packet(seq => $seq, reasons => 0x5010, inputs => $seq)), '06', 'answered');
	}
	is(ask($tracker, packet(seq => 1, reasons => 0x5010, inputs => 1)), '06', 'a repeat');
	is(ask($tracker, packet(seq => 9, time => now() - 3600, reasons => 16, status => 4)), '06', 'late');
	is(ask($tracker, login(imei(1), firmware => '8')), '06', 'news of the device');
	is(ask(connect_tcp($node), pack('H*', $_->{frame})), '06', 'a captured packet') foreach golden();
	transmit($tracker, "\$TEXT\r\n");
	is(ask($tracker, frame('C', 'x')), '06', 'quarantine');
	close $tracker;
	wait_for($node, "NOT connected FROM at402.device_state WHERE device_id = " . device_id($node, 1));
	sql($node, 'CREATE RULE r AS ON INSERT TO at402.position DO ALSO NOTHING;
		CREATE RULE r AS ON INSERT TO at402.device_state DO ALSO NOTHING;
		CREATE RULE r AS ON INSERT TO at402.device DO ALSO NOTHING');
	is(ask(connect_tcp($node), packet(imei => imei(2), seq => $_)), '06', 'with rules on the tables')
	  foreach 1, 2, 2;
	sql($node, "DROP RULE r ON at402.$_") foreach qw(position device_state device);
	sql($node, 'ALTER TABLE at402.event RENAME TO hidden');
	$tracker = connect_tcp($node);
	transmit($tracker, packet(imei => imei(3), reasons => 16));
	wait_published($node, "failed_batches > 0 AND state = 'waiting'");
	sql($node, 'ALTER TABLE at402.hidden RENAME TO event');
	is(receive($tracker, 1), '06', 'what is missing is looked for');

	# what a superuser calls; statements of this test may be caught, those in one of at402 may not
	my $before = log_count($node, $sprung);
	sql($node, 'SELECT at402_ingest(ARRAY[' . hex_of(packet(imei => imei(4), seq => 1)) . ', '
		. hex_of(packet(imei => imei(4), seq => 2)) . "]); SELECT at402_release();
		SET at402.partitions_ahead = 5; SELECT * FROM at402_maintain(now() - interval '3 days');
		SET at402.retention = '1 hour'; SELECT * FROM at402_maintain();
		SELECT at402_create_tables(); DROP SCHEMA at402 CASCADE; SELECT at402_create_tables();
		SELECT * FROM at402_stat_listener, at402_stat_connection; SELECT * FROM at402.last_position");
	is(log_count($node, $sprung), $before, 'nothing that a superuser calls was caught in a trap');
	is(still_answers($node), '06', 'it goes on');

	# the maintenance worker
	reload_with($node, 'at402.partitions_ahead = 6', 'at402.maintain_interval = 1h');
	wait_for($node, "count(*) > 0 FROM pg_stat_activity
		WHERE backend_type = 'at402 maintenance' AND state = 'idle'");
	wait_for($node, "count(*) >= 7 FROM pg_class WHERE relname LIKE 'quarantine_2%' AND relkind = 'r'");
	reload_with($node, 'at402.maintain_interval = 0');
	is(log_count($node, "$sprung\\w+ as at402"), 0, 'nothing that the workers do was caught in a trap');
};

is(still_answers($node), '06', 'after all of this a good tracker is answered');
$node->stop;
done_testing();
