#!/bin/sh
# webhook.sh - posts alerts to a webhook: takes them from at402.outbox, and says what became of each
#
#   webhook.sh CHANNEL URL [CONNECTION] [--once]
#
# CHANNEL is one of the channels of your rules; CONNECTION is what psql takes, and default what
# PGDATABASE and so on say.  The role needs SELECT and UPDATE on at402.outbox.  With --once it ends when
# there is nothing left to take, for cron; else it looks again every 5 seconds.
#
# An alert is delivered at least once: when this script dies between posting and saying so, it is posted
# again after 5 minutes.  Each has a key (device_id, time, seq, content_hash, rule_id) by which the
# receiver can tell.  Needs psql and curl.  For mail put a mailer in the place of curl in post().
set -eu

channel=$1 url=$2 connection=${3:-} once=${4:-}

sql() {
	psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$connection" "$@"
}

post() {
	curl --silent --show-error --max-time 30 --output /dev/null --write-out '%{http_code}' \
		--header 'Content-Type: application/json' --data-binary @- "$url"
}

# One line an alert: its number, a blank, the JSON
take() {
	sql -v channel="$channel" <<-'SQL'
	SELECT id || ' ' || payload FROM at402_outbox_take(:'channel', 20);
	SQL
}

tell() {
	sql -v id="$1" -v error="$2" <<-SQL >/dev/null
	SELECT $3;
	SQL
}

while :; do
	taken=$(take)
	printf '%s\n' "$taken" | while read -r id payload; do
		[ -n "$id" ] || continue
		status=$(printf '%s' "$payload" | post 2>&1) || true
		case $status in
		2??) tell "$id" '' 'at402_outbox_done(:id)' ;;
		*) tell "$id" "$status" "at402_outbox_failed(:id, :'error')" ;;
		esac
	done
	[ -n "$taken" ] && continue
	[ "$once" = --once ] && exit 0
	sleep 5
done
