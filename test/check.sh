#!/bin/sh
# check.sh - make check: builds everything and runs every test
#
#   check.sh                all of them
#   check.sh bench          make bench: test/bench/bench.pl, which tells what the variables BENCH* are
#   check.sh bench-decode   make bench-decode: rates of the decoder
#   check.sh bench-rules    make bench-rules: what 20 and 200 rules cost the listener
#   check.sh bench-fences   make bench-fences: what 1,000 and 100,000 geofences cost storing
#   check.sh docs           make docs: writes doc/sql.md of the checkout
#   check.sh torture        make torture: test/t/008_torture.pl alone, for ROUNDS rounds with SEED
#
# All of it happens in a copy of the checkout, uncommitted files included, and as a user who is
# not root: nothing depends on earlier builds, and nothing is left behind.  When something fails,
# the end of its log is shown, and all logs are kept in .check of the checkout; of a torture that
# failed, the copy itself stays, with the server's data.
set -eu
cd "$(dirname "$0")/.."
. tools/common.sh

checkout=$PWD
passed=0
failed=0
keep_copy=''

# make_in TREE COMPILER ARGUMENT...: make as the test user, in the same environment everywhere
make_in()
{
	local tree=$1 cc=$2
	shift 2
	as_user "$user" env -i PATH="$PATH" HOME="$work" TMPDIR="$TMPDIR" LC_ALL=C.UTF-8 \
		TEMP_CONFIG="$work/server.conf" \
		make -s -C "$work/$tree" CC="$cc" PG_CONFIG="$PG_CONFIG" WERROR=1 "$@"
}

# start_server SETTING...: a server of the test user, with its socket in the work folder
start_server()
{
	local data=$work/server
	as_user "$user" "$bindir/initdb" -A trust -E UTF8 --no-locale -D "$data" >"$logs/initdb" &&
		printf '%s\n' "$@" | cat "$work/server.conf" - >>"$data/postgresql.conf" &&
		as_user "$user" "$bindir/pg_ctl" -D "$data" -l "$work/server.log" -w -s \
			-o "-c listen_addresses= -c unix_socket_directories=$work" start
}

# run_sql DATABASE ARGUMENT...
run_sql()
{
	as_user "$user" "$bindir/psql" -X -q -h "$work" -v ON_ERROR_STOP=1 -d "$@"
}

stop_server()
{
	as_user "$user" "$bindir/pg_ctl" -D "$work/server" -s -m fast stop
}

# Compiler and tree have the same name.
build()
{
	make_in "$1" "$1" clean &&
		make_in "$1" "$1" -j "$(nproc)" all sim &&
		make_in "$1" "$1" install DESTDIR="$work/$1.installed" &&
		say "ok - builds with $1"
}

unit()
{
	make_in "$1" "$1" -j "$(nproc)" unit
}

regress()
{
	make_in gcc gcc installcheck TAP_TESTS= \
		EXTRA_REGRESS_OPTS="--temp-instance=$work/regress --temp-config=$work/server.conf" ||
		{ cat regression.diffs; return 1; }
}

# The same in a server that runs already, with the listener in another database and a role at402, as
# for somebody who has installed it; and with a library that stops the server at the first undefined
# behaviour.  In place of the one that is installed: last of all.
regress_running_ubsan()
{
	local trap='-fsanitize=undefined -fsanitize-undefined-trap-on-error'
	make_in gcc gcc clean &&
		make_in gcc gcc -j "$(nproc)" COPT="$trap" all &&
		make_in gcc gcc COPT="$trap" install DESTDIR="$work/gcc.installed" &&
		start_server "shared_preload_libraries = 'at402'" "at402.port = 0" \
			"at402.database = 'fleet'" &&
		run_sql postgres -c 'CREATE ROLE at402 LOGIN' -c 'CREATE DATABASE fleet' &&
		run_sql fleet -c 'CREATE EXTENSION at402 CASCADE' -c 'SELECT at402_create_tables()' &&
		{ make_in gcc gcc installcheck TAP_TESTS= PGHOST="$work" ||
			{ cat regression.diffs; return 1; }; } &&
		stop_server
}

tap()
{
	make_in gcc gcc installcheck REGRESS= PROVE_FLAGS=-v
}

torture()
{
	make_in gcc gcc installcheck REGRESS= PROVE_TESTS=test/t/008_torture.pl PROVE_FLAGS=-v \
		ROUNDS="${ROUNDS:-200}" SEED="${SEED:-}"
}

# in_server FILE: psql runs it in a server made for it, whose database has nothing yet
in_server()
{
	start_server && run_sql postgres -f "$1" && stop_server
}

# The results stay in .bench of the checkout.
bench()
{
	case ${BENCH:-} in *instructions*) need_packages valgrind;; esac
	mkdir "$work/results" && chown "$user" "$work/results" &&
		make_in gcc gcc bench-load &&
		make_in gcc gcc installcheck REGRESS= PROVE_TESTS=test/bench/bench.pl PROVE_FLAGS=-v \
			BENCH="${BENCH:-}" BENCH_SECONDS="${BENCH_SECONDS:-}" BENCH_ROWS="${BENCH_ROWS:-}" \
			BENCH_RESULTS="$work/results" &&
		rm -rf "$checkout/.bench" && cp -r "$work/results" "$checkout/.bench"
}

# Rates of the decoder: the core alone, then in a server.
bench_decode()
{
	make_in gcc gcc bench-core && in_server test/bench/bench_decode.sql
}

# What rules cost the listener.
bench_rules()
{
	make_in gcc gcc sim && make_in gcc gcc installcheck REGRESS= PROVE_TESTS=test/bench/bench_rules.pl \
		PROVE_FLAGS=-v
}

# What geofences cost storing.
bench_fences()
{
	in_server test/bench/bench_fences.sql
}

# doc/sql.md, from the comments in the catalogue
docs()
{
	in_server tools/sql_doc.sql >"$work/sql.md" && cat "$work/sql.md" >"$checkout/doc/sql.md"
}

# step NAME COMMAND...: runs a command and counts the results it writes, which are lines of TAP
# (ok ..., not ok ...) or of pg_regress (... ok, ... FAILED).
step()
{
	local name=$1 log="$logs/$1" status=0 ok bad
	shift
	"$@" >"$log" 2>&1 || status=$?
	ok=$(grep -E '^ok |\.\.\. ok ' "$log" | grep -c -v -i '# skip') || :
	bad=$(grep -E '^not ok |\.\.\. FAILED' "$log" | grep -c -v '# TODO') || :
	if [ "$bad" = 0 ] && { [ "$status" != 0 ] || [ "$ok" = 0 ]; }; then
		say "$name broke off with status $status, or ran nothing" >>"$log"
		bad=1
	fi
	passed=$((passed + ok))
	failed=$((failed + bad))
	[ "$bad" = 0 ] || tail -n 100 "$log"
	say "$name: $ok passed, $bad failed"
}

# Servers are still there only when the tests were interrupted.  A test that killed its server may
# have left a number that belongs to another process by now: a server works in its data folder.
clean_up()
{
	local file pid
	find "$work" -name postmaster.pid | while read -r file; do
		pid=$(head -n 1 "$file")
		[ "$(readlink "/proc/$pid/cwd")" != "${file%/*}" ] || kill -QUIT "$pid"
	done
	[ -n "$keep_copy" ] || rm -rf "$work"
}

need_packages $SERVER_PACKAGES clang libclang-rt-14-dev perl libipc-run-perl curl
user=$(server_user)
bindir=$("$PG_CONFIG" --bindir)
[ "$(id -u)" != 0 ] || TMPDIR=/tmp		# root's own may be closed to others
TMPDIR=${TMPDIR:-/tmp}
work=$(mktemp -d "$TMPDIR/at402-check.XXXXXX")
logs=$work/logs
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

mkdir "$work/gcc" "$work/clang" "$logs"
tar -cf "$work/checkout.tar" --exclude-vcs --exclude-vcs-ignores .
tar -xf "$work/checkout.tar" -C "$work/gcc"
tar -xf "$work/checkout.tar" -C "$work/clang"
cat >"$work/server.conf" <<-CONF
	extension_destdir = '$work/gcc.installed'
	dynamic_library_path = '$work/gcc.installed$("$PG_CONFIG" --pkglibdir):\$libdir'
CONF
chown -R "$user" "$work"
cd "$work/gcc"

case ${1:-} in
bench)
	build gcc >/dev/null
	bench
	exit
	;;
bench-decode)
	build gcc >/dev/null
	bench_decode
	exit
	;;
bench-rules)
	build gcc >/dev/null
	bench_rules
	exit
	;;
bench-fences)
	build gcc >/dev/null
	bench_fences
	exit
	;;
docs)
	build gcc >/dev/null
	docs
	exit
	;;
esac
if [ "${1:-}" = torture ]; then
	build gcc
	torture || { keep_copy=1; exit 1; }
	exit
fi

step walls as_user "$user" perl test/walls.pl
step build-gcc build gcc
step build-clang build clang
step unit-gcc unit gcc
step unit-clang unit clang
step regress regress
step tap tap
step regress-running-ubsan regress_running_ubsan

rm -rf "$checkout/.check"
if [ "$failed" != 0 ]; then
	for kept in regression.diffs results log tmp_check/log; do
		[ ! -e "$kept" ] || cp -r "$kept" "$logs/${kept%/log}"
	done
	cp -r "$logs" "$checkout/.check"
	say "all logs: $checkout/.check"
fi
say "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
