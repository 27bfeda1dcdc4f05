#!/bin/sh
# run.sh - make run, stop, clean-run, picture: a private PostgreSQL with at402 listening
#
#   run.sh run        installs what is missing, builds, starts, shows what SQL sees
#   run.sh stop
#   run.sh clean-run  stops it and removes its folder, with all data
#   run.sh picture    doc/day.svg, the map of the first day in its database
#
# Everything but Debian's packages stays in one folder: .run of the checkout or, where the
# server's user cannot work there, the one that choose_folder names.  The build is not installed
# into PostgreSQL's directories either: extension_destdir, a setting of Debian's PostgreSQL,
# and dynamic_library_path point at the copy in that folder.
#
#   install/     the extension, as make install lays it out
#   data/        the cluster; appears only when it is complete
#   at402.conf   settings, written anew by each run; ALTER SYSTEM wins over them
#   port         PostgreSQL's own port, chosen once
#   demo         the midnight that the simulated firm began at, Unix seconds
#   live         process id of the simulated tracker that stays connected
#   started      checksum of build and settings that the server was started with
#   log          the server's log
set -eu
cd "$(dirname "$0")/.."
. tools/common.sh

PORT=${PORT:-8888}
LISTEN=${LISTEN:-localhost}
DEMO=${DEMO:-1}

# In somebody's checkout root carries on as that somebody and leaves no files of its own.
become_owner()
{
	local owner
	[ "$(id -u)" = 0 ] || return 0
	owner=$(stat -c %U .)
	case $owner in
	root | UNKNOWN) ;;
	*) exec runuser -u "$owner" -- tools/run.sh "$1" ;;
	esac
}

# Sets user, folder and data.  The folder's path ends up in settings that are lists and in the
# address of a socket (107 bytes at the most), so it has to be short and plain.
choose_folder()
{
	user=$(server_user)
	folder=$PWD/.run
	case $folder in *[!A-Za-z0-9/._+-]*) folder='' ;; esac
	if [ -z "$folder" ] || [ ${#folder} -gt 80 ] || ! as_user "$user" test -x "$PWD" 2>/dev/null; then
		if [ "$(id -u)" = 0 ]; then
			folder=/var/lib/at402-run
		else
			folder=${TMPDIR:-/tmp}/at402-run-$(id -u)
		fi
	fi
	data=$folder/data
}

# pg_ctl as the server's user, from a folder which that user may enter
server()
{
	(cd "$folder" && as_user "$user" "$bindir/pg_ctl" -D data -s "$@")
}

sql()
{
	PGOPTIONS='-c client_min_messages=warning' "$bindir/psql" -X -q -v ON_ERROR_STOP=1 \
		-P pager=off -P footer=off -h "$folder" -p "$(cat "$folder/port")" -U "$user" -d fleet "$@"
}

running()
{
	local pid
	pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null) || return 1
	# Killed, and not buried where process 1 does not do that: PostgreSQL would take it for alive.
	if grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; then
		rm -f "$data/postmaster.pid" "$folder"/.s.PGSQL.*.lock
	fi
	server status >/dev/null 2>&1
}

# False while the server is starting, or was just killed and the system still knows it.
settled()
{
	! running || "$bindir/pg_isready" -q -h "$folder" -p "$(cat "$folder/port")"
}

# No socket, TCP or UDP, on this port?  0A: a TCP socket that listens; 07: a UDP socket.
free()
{
	cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 2>/dev/null |
		awk -v port=":$(printf %04X "$1")\$" '
			$2 ~ port && $4 ~ /^0[7A]$/ { found = 1 }
			END { exit found }'
}

# within SECONDS COMMAND...: waits for a command to succeed
within()
{
	local attempts=$(($1 * 10))
	shift
	until "$@"; do
		attempts=$((attempts - 1))
		[ $attempts -gt 0 ] || return 1
		sleep 0.1
	done
}

make_folder()
{
	local space
	mkdir -p "$folder"
	if [ "$(id -u)" = 0 ]; then
		chown "$user" "$folder"
	fi
	[ "$(stat -c %U "$folder")" = "$user" ] || die "$folder does not belong to user $user"
	space=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
	[ "$space" -ge 500 ] || die "too little disk: $space MB free in $folder, 500 MB needed"
}

# A cluster that an earlier run made: can this one carry on with it?
check_cluster()
{
	local version
	[ -d "$data" ] || return 0
	[ "$(stat -c %U "$data")" = "$user" ] ||
		die "$data belongs to user $(stat -c %U "$data"), not to $user"
	version=$(cat "$data/PG_VERSION")
	[ "$version" = "$major" ] || die "$data is a cluster of PostgreSQL $version, not $major"
	within 60 settled || die "the server in $data neither answers nor ends (log: $folder/log)"
}

# PostgreSQL's own port is chosen once, below those that the kernel gives to clients.
check_ports()
{
	local port=15432
	if [ ! -f "$folder/port" ]; then
		until free $port; do port=$((port + 1)); done
		echo $port >"$folder/port"
	elif ! running && ! within 2 free "$(cat "$folder/port")"; then
		die "port $(cat "$folder/port") is in use; another for PostgreSQL: rm $folder/port"
	fi
	if running && grep -q "^at402.port = $PORT\$" "$folder/at402.conf"; then
		return 0
	fi
	within 2 free "$PORT" || die "port $PORT is in use (ss -lntup shows by whom); another: make run PORT=..."
}

build()
{
	local script new
	make -s -j "$(nproc)" PG_CONFIG="$PG_CONFIG" all sim
	rm -rf "$folder/install.new"
	make -s PG_CONFIG="$PG_CONFIG" DESTDIR="$folder/install.new" install
	for script in "$folder/install$("$PG_CONFIG" --sharedir)"/extension/at402--*.sql; do
		new=$folder/install.new${script#"$folder/install"}
		[ ! -f "$new" ] || cmp -s "$script" "$new" ||
			say "${script##*/} changed, its version did not: the database keeps the old functions" \
				"(to start afresh: make stop; rm -rf $folder)"
	done
	rm -rf "$folder/install"
	mv "$folder/install.new" "$folder/install"
}

# Made under another name, so that a cluster which is not complete never looks like one.
make_cluster()
{
	local problem
	[ ! -d "$data" ] || return 0
	say "making a PostgreSQL cluster in $data"
	rm -rf "$data.new"
	(
		cd "$folder"
		as_user "$user" "$bindir/initdb" -D data.new -E UTF8 --locale=C.UTF-8 \
			--auth-host=scram-sha-256 --auth-local=peer >/dev/null
		# On the socket everybody is who the system says; root may be the server's user too.
		sed -i 's/^local.*peer$/& map=at402/' data.new/pg_hba.conf
		printf 'at402 %s %s\n' '/(.*)' '\1' root "$user" >>data.new/pg_ident.conf
		# In single-user mode errors show in the output only.
		problem=$(printf '%s;\n\n' 'CREATE ROLE at402 LOGIN' 'CREATE DATABASE fleet' |
			as_user "$user" "$bindir/postgres" --single -j -D data.new postgres 2>&1 |
			grep -E -m 1 'ERROR|FATAL|PANIC') || :
		[ -z "$problem" ] || die "cannot make the database: $problem"
		echo "include '../at402.conf'" >>data.new/postgresql.conf
	)
	mv "$data.new" "$data"
}

write_settings()
{
	cat >"$folder/at402.conf" <<-SETTINGS
		port = $(cat "$folder/port")
		listen_addresses = 'localhost'
		unix_socket_directories = '$folder'
		extension_destdir = '$folder/install'
		dynamic_library_path = '$folder/install$("$PG_CONFIG" --pkglibdir):\$libdir'
		shared_preload_libraries = 'at402'
		at402.database = 'fleet'
		at402.role = 'at402'
		at402.listen_addresses = '$LISTEN'
		at402.port = $PORT
		at402.alert_max_age = '3d'	# the demo reports what happened since yesterday's midnight
	SETTINGS
}

start()
{
	local sum
	sum=$(cd "$folder" && find install at402.conf -type f -exec cksum {} + | sort | cksum)
	if running; then
		[ "$sum" != "$(cat "$folder/started" 2>/dev/null)" ] || return 0
		say "restarting PostgreSQL: the build or the settings changed"
		server stop -m fast
	fi
	server -l log start 2>/dev/null ||
		die "PostgreSQL does not start: $(grep -E 'FATAL|PANIC' "$folder/log" | tail -n 1)" \
			"(log: $folder/log)"
	echo "$sum" >"$folder/started"
}

make_extension()
{
	sql -o /dev/null <<-'SQL'
		CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
		ALTER EXTENSION at402 UPDATE;
		SELECT at402_create_tables();
	SQL
}

# Prints the port that trackers may report to.  An address that is no address does not get better.
wait_for_listener()
{
	sql -At <<-'SQL'
		DO $$
		BEGIN
			FOR attempt IN 1 .. 300
			LOOP
				EXIT WHEN EXISTS (SELECT FROM at402_stat_listener
					WHERE state = 'listening' OR last_error LIKE 'could not %');
				PERFORM pg_sleep(0.1);
			END LOOP;
		END
		$$;
		SELECT DISTINCT port FROM at402_stat_listener WHERE state = 'listening';
	SQL
}

# Unix time from which on the firm's trackers have something to send
demo_since()
{
	sql -At <<-'SQL'
		SELECT coalesce(min(coalesce(extract(epoch FROM s.time)::bigint + 1, 0)), 0)
		FROM at402.vehicle_device AS v LEFT JOIN at402.device_state AS s USING (device_id);
	SQL
}

# demo HOST PORT: the simulated firm reports what it has not reported yet, up to now
demo()
{
	if [ ! -f "$folder/demo" ]; then
		tools/at402sim --story --sql | sql -1
		date -u -d 'yesterday 00:00' +%s >"$folder/demo"
	fi
	say "12 simulated vehicles report to port $2 what they did since $(date -u -d "@$(cat "$folder/demo")" +%F)"
	tools/at402sim --story --start "$(cat "$folder/demo")" --since "$(demo_since)" --host "$1" --port "$2"
	sql -o /dev/null -c 'SELECT * FROM at402_maintain()'
}

# live HOST PORT: one more tracker, which is not in the story, stays connected for a day
live()
{
	sql -c "INSERT INTO at402.device (imei, name) VALUES ('352999000000122', 'Workshop')
		ON CONFLICT (imei) DO NOTHING"
	setsid tools/at402sim --first 352999000000122 --trackers 1 --parked --reports 0 --rate 0.1 --duration 86400 \
		--quiet --host "$1" --port "$2" </dev/null >/dev/null 2>&1 &
	echo $! >"$folder/live"
}

# Does it run, and is it no other process that got its number?
is_live()
{
	[ -f "$folder/live" ] && grep -qs at402sim "/proc/$(cat "$folder/live")/cmdline"
}

has_left()
{
	! is_live
}

stop_live()
{
	if is_live; then
		kill "$(cat "$folder/live")"
		within 20 has_left || die "the simulated tracker does not end: process $(cat "$folder/live")"
	fi
	rm -f "$folder/live"
}

show()
{
	sql <<-'SQL'
		SET TIME ZONE 'UTC';
		\echo
		\echo Last positions
		SELECT imei, name, time, round(latitude::numeric, 5) AS latitude,
			round(longitude::numeric, 5) AS longitude, speed_kmh, ignition
		FROM at402.last_position WHERE geom IS NOT NULL ORDER BY time DESC LIMIT 5;

		\echo Trips
		SELECT d.name, t.started_at::date AS day, count(*) AS trips, sum(t.distance_km) AS km,
			sum(t.duration) AS driving, sum(t.idle) AS idle, max(t.max_speed_kmh) AS highest_kmh
		FROM at402.trip AS t JOIN at402.device AS d ON d.id = t.device_id
		GROUP BY d.id, day ORDER BY day DESC, d.id LIMIT 5;

		\echo Visits
		SELECT f.name AS place, count(*) AS visits, count(DISTINCT v.device_id) AS vehicles,
			avg(v.left_at - v.entered_at)::interval(0) AS usual
		FROM at402.geofence_visit AS v JOIN at402.geofence AS f ON f.id = v.geofence_id
		WHERE 'customer' = ANY (f.tags) GROUP BY f.id ORDER BY visits DESC, place LIMIT 5;

		\echo Alerts
		SELECT a.time, r.name AS rule, a.level, a.message
		FROM at402.alert AS a JOIN at402.rule AS r ON r.id = a.rule_id
		ORDER BY a.level = 'info', a.time DESC LIMIT 5;

		\echo Events
		SELECT kind, count(*) AS events, max(time) AS last
		FROM at402.event GROUP BY kind ORDER BY events, kind LIMIT 5;
	SQL
}

run()
{
	local port host
	[ "$PORT" -ge 0 ] 2>/dev/null && [ "$PORT" -le 65535 ] || die "PORT=$PORT is no port"
	need_packages $SERVER_PACKAGES
	become_owner run
	bindir=$("$PG_CONFIG" --bindir)
	major=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
	choose_folder
	[ "$folder" = "$PWD/.run" ] || say "PostgreSQL cannot work in $PWD; using $folder"
	make_folder
	check_cluster
	stop_live
	check_ports
	build
	make_cluster
	write_settings
	start
	make_extension
	port=$(wait_for_listener)
	[ -n "$port" ] || die "the listener does not listen:" \
		"$(sql -Atc 'SELECT state, last_error FROM at402_stat_listener') (log: $folder/log)"

	if [ "$DEMO" != 0 ]; then
		case $LISTEN in
		'*' | 0.0.0.0 | ::) host=localhost ;;
		*) host=${LISTEN%%,*} ;;
		esac
		demo "$host" "$port"
	fi
	show
	[ "$DEMO" = 0 ] || live "$host" "$port"
	say "listening on $LISTEN port $port, TCP and UDP; make stop stops it" \
		"SQL:  psql -h $folder -p $(cat "$folder/port") -U $user fleet"
}

stop()
{
	become_owner stop
	choose_folder
	bindir=$("$PG_CONFIG" --bindir 2>/dev/null) || bindir=''
	stop_live
	if running; then
		server stop -m fast
		say "stopped; the data stays in $data"
	else
		say "at402 is not running"
	fi
}

clean_run()
{
	become_owner clean-run
	stop
	rm -rf "$folder"
	say "removed $folder"
}

picture()
{
	become_owner picture
	choose_folder
	bindir=$("$PG_CONFIG" --bindir)
	running || die "at402 is not running: make run"
	sql -f tools/picture.sql >doc/day.svg.new
	mv doc/day.svg.new doc/day.svg
}

case ${1:-} in
run | stop | picture) "$1" ;;
clean-run) clean_run ;;
*) die "usage: run.sh run | stop | clean-run | picture" ;;
esac
