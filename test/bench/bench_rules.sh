#!/bin/bash
# bench_rules.sh - what rules cost: reports that a listener stores and answers in a second, with 0, 20
# and 200 rules
#
#   bench_rules.sh SIMULATOR      in a server with the listener; psql finds its database by PGHOST and so on
#
# 300 simulated trackers send 60 reports each, one in a packet, as fast as they are answered, on the same
# machine.  The sets of rules take turns, so that a busy moment meets all; the medians are printed.
set -eu

simulator=$1 turns=${TURNS:-5}
here=$(dirname "$0")
results=$(mktemp)
trap 'rm -f "$results"' EXIT

port=$(psql -X -A -t -c 'SELECT min(port) FROM at402_stat_listener')
fleet=1000
for turn in $(seq "$turns"); do
	for set in '0 false' '20 false' '20 true' '200 false' '200 true'; do
		number=${set% *} with_b=${set#* }
		fleet=$((fleet + 1))
		psql -X -q -v ON_ERROR_STOP=1 -v number="$number" -v with_b="$with_b" -f "$here/bench_rules.sql"
		"$simulator" --port "$port" --trackers 300 --reports 60 --bundle 1 --quiet --first "3529${fleet}0000000" |
			awk -v name="$number rules$([ "$with_b" = true ] && echo ', half with b')" \
				'/^(reports\/s|latency p50|latency p99)/ { v[n++] = $NF } END { print name "\t" v[0] "\t" v[1] "\t" v[2] }' >>"$results"
	done
done

# median NAME COLUMN
median() {
	awk -F '\t' -v name="$1" -v column="$2" '$1 == name { print $column }' "$results" | sort -n |
		awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

printf '%-24s %10s %8s %14s %14s\n' '' reports/s cost 'latency p50' 'latency p99'
none=$(median '0 rules' 2)
cut -f 1 "$results" | awk '!seen[$0]++' | while read -r name; do
	rate=$(median "$name" 2)
	printf '%-24s %10.0f %6.0f %% %11.1f ms %11.1f ms\n' "$name" "$rate" \
		"$(awk -v a="$rate" -v b="$none" 'BEGIN { print 100 * (1 - a / b) }')" "$(median "$name" 3)" "$(median "$name" 4)"
done
