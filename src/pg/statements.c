/*
 * statements.c - the SQL that stores a batch, and its plans
 *
 * One set-based statement for each table, INSERT ... SELECT from the row
 * function (rows.c): privileges, row security, triggers, rules, partitions and
 * foreign planners apply as to any INSERT.  Which columns a statement fills is
 * not written down here: it fills those of at402_data_columns() that the table
 * has, so that a newer library stores into the tables of an older version.
 *
 * Everything is qualified, functions and operators of pg_catalog included: the
 * search path stays the role's, since triggers of users run under it, and what
 * a user puts there must not be called by us.  For the same reason there is no
 * IN, BETWEEN, USING or IS DISTINCT FROM: their operator is looked up by name.
 *
 * Plans must not depend on statistics: a table that was empty when a plan was
 * made may hold 100,000 rows an hour later, and nobody has analysed it.  All
 * our look-ups are by key, so the plans are made with scans and joins of whole
 * tables switched off, once and for any argument.  The switches are back on
 * before a plan runs, since triggers plan their statements then.  (Citus needs
 * the arguments to plan: there it is left to it.)
 *
 * What holds on Citus too: an INSERT ends with RETURNING, and where rows may
 * conflict it stands in WITH.  Both are refused where a user has put rules on
 * the table: there what is there already is looked up first, and what is not is
 * inserted by a plain INSERT.  (In one statement a rule would find nothing: it
 * runs the source of the INSERT again, after it.)
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "pg/catalog.h"
#include "pg/statements.h"

#define MAX_ARGUMENTS 16

#define EQ " OPERATOR(pg_catalog.=) "
#define KEY "device_id, \"time\", seq, content_hash"
#define SAME_KEY(a, b)                                                                             \
	a ".device_id" EQ b ".device_id AND " a ".\"time\"" EQ b ".\"time\" AND "                      \
	a ".seq" EQ b ".seq AND " a ".content_hash" EQ b ".content_hash"

/* What a statement is made of. */
typedef enum Pattern
{
	AS_WRITTEN,					/* text; %1$s: schema of at402, %2$s: of PostGIS */
	INSERT_ROWS,				/* into table */
	INSERT_MISSING_ROWS,
	INSERT_NEW_REPORTS,
	INSERT_REPORTS,				/* that are not there yet */
	FIND_REPORTS,				/* that are there */
	UPDATE_STATE				/* of devices that have one */
} Pattern;

typedef struct Definition
{
	Pattern		pattern;
	const char *text;			/* or the table */
	const char *table;			/* with rules it is another text */
	const char *with_rules;
	int			arguments;
	Oid			types[MAX_ARGUMENTS];
} Definition;

#define OF_BATCH .arguments = 1, .types = {INT8OID}

static const Definition definitions[AT402_STATEMENTS] = {
	[AT402_SQL_CHECK_AT_ONCE] = {AS_WRITTEN, "SET CONSTRAINTS ALL IMMEDIATE", .arguments = 0},
	[AT402_SQL_FIND_DEVICES] = {AS_WRITTEN,
		"SELECT d.imei, d.id, d.enabled, d.model, d.firmware, d.hardware, d.vin, d.protocol, "
		"  d.imsi, d.iccid FROM at402.device AS d WHERE d.imei" EQ "ANY ($1)",
		.arguments = 1, .types = {TEXTARRAYOID}},
	[AT402_SQL_FIND_STATES] = {AS_WRITTEN,
		"SELECT s.device_id, s.\"time\", s.ignition FROM at402.device_state AS s "
		"WHERE s.device_id" EQ "ANY ($1)",
		.arguments = 1, .types = {INT4ARRAYOID}},
#define INSERT_UNKNOWN                                                                             \
	"INSERT INTO at402.device (imei, first_seen) SELECT u.imei, u.first_seen "                     \
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u(imei, first_seen) "        \
	"ORDER BY u.imei"
	[AT402_SQL_REGISTER_DEVICES] = {AS_WRITTEN,
		"WITH stored AS (" INSERT_UNKNOWN " ON CONFLICT (imei) DO NOTHING RETURNING 1) "
		"SELECT 1 FROM stored",
		"device", INSERT_UNKNOWN,
		.arguments = 2, .types = {TEXTARRAYOID, 1185 /* timestamptz[] */ }},
	/* in the order of At402Fact */
	[AT402_SQL_UPDATE_DEVICE] = {AS_WRITTEN,
		"UPDATE at402.device AS d SET model = coalesce($2, d.model), "
		"  firmware = coalesce($3, d.firmware), hardware = coalesce($4, d.hardware), "
		"  vin = coalesce($5, d.vin), protocol = coalesce($6, d.protocol), "
		"  imsi = coalesce($7, d.imsi), iccid = coalesce($8, d.iccid) WHERE d.id" EQ "$1",
		.arguments = 8,
		.types = {INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID}},
	/* of two listeners with reports of one device the second waits here */
	[AT402_SQL_LOCK_STATES] = {AS_WRITTEN,
		"UPDATE at402.device_state AS s SET last_seen = s.last_seen WHERE s.device_id" EQ
		/* printf wants to hear of its first argument, too */
		"ANY ($1)%1$.0s RETURNING s.device_id, s.position_time, s.position_seq, "
		"  %2$s.st_x(s.geom), %2$s.st_y(s.geom)",
		.arguments = 1, .types = {INT4ARRAYOID}},
	[AT402_SQL_STATE] = {UPDATE_STATE, OF_BATCH},
#define INSERT_STATES                                                                              \
	"INSERT INTO at402.device_state (device_id) "                                                  \
	"SELECT u.id FROM pg_catalog.unnest($1) AS u(id) ORDER BY u.id"
	[AT402_SQL_NEW_STATES] = {AS_WRITTEN,
		"WITH stored AS (" INSERT_STATES " ON CONFLICT (device_id) DO NOTHING RETURNING 1) "
		"SELECT 1 FROM stored",
		"device_state", INSERT_STATES,
		.arguments = 1, .types = {INT4ARRAYOID}},
	[AT402_SQL_NEW_POSITIONS] = {INSERT_NEW_REPORTS, OF_BATCH},
	[AT402_SQL_POSITIONS] = {INSERT_REPORTS, OF_BATCH},
	[AT402_SQL_FIND_POSITIONS] = {FIND_REPORTS, OF_BATCH},
	[AT402_SQL_IGNITION_BEFORE] = {AS_WRITTEN,
		"SELECT p.ignition FROM at402.position AS p WHERE p.device_id" EQ "$1 "
		"AND p.\"time\" OPERATOR(pg_catalog.<) $2 AND p.\"time\" OPERATOR(pg_catalog.>) "
		"  ($2 OPERATOR(pg_catalog.-) '1 day'::pg_catalog.interval) "
		"ORDER BY p.\"time\" DESC, p.seq DESC LIMIT 1",
		.arguments = 2, .types = {INT4OID, TIMESTAMPTZOID}},
	[AT402_SQL_EVENTS] = {INSERT_ROWS, "event", OF_BATCH},
	[AT402_SQL_IO] = {INSERT_ROWS, "io", OF_BATCH},
	[AT402_SQL_MOTION] = {INSERT_ROWS, "motion", OF_BATCH},
	[AT402_SQL_CAN] = {INSERT_ROWS, "can", OF_BATCH},
	[AT402_SQL_CAN_FRAMES] = {INSERT_ROWS, "can_frame", OF_BATCH},
	[AT402_SQL_BLE] = {INSERT_ROWS, "ble", OF_BATCH},
	[AT402_SQL_MODULES] = {INSERT_ROWS, "module", OF_BATCH},
	[AT402_SQL_MISSING_EVENTS] = {INSERT_MISSING_ROWS, "event", OF_BATCH},
	[AT402_SQL_MISSING_IO] = {INSERT_MISSING_ROWS, "io", OF_BATCH},
	[AT402_SQL_MISSING_MOTION] = {INSERT_MISSING_ROWS, "motion", OF_BATCH},
	[AT402_SQL_MISSING_CAN] = {INSERT_MISSING_ROWS, "can", OF_BATCH},
	[AT402_SQL_MISSING_CAN_FRAMES] = {INSERT_MISSING_ROWS, "can_frame", OF_BATCH},
	[AT402_SQL_MISSING_BLE] = {INSERT_MISSING_ROWS, "ble", OF_BATCH},
	[AT402_SQL_MISSING_MODULES] = {INSERT_MISSING_ROWS, "module", OF_BATCH},
	[AT402_SQL_FRAMES] = {INSERT_ROWS, "frame", OF_BATCH},
	[AT402_SQL_QUARANTINE] = {INSERT_ROWS, "quarantine", OF_BATCH},
	/* of this listener, or of one that is no more: there are so many */
	[AT402_SQL_LEFT_CONNECTED] = {AS_WRITTEN,
		"SELECT d.imei FROM at402.device_state AS s JOIN at402.device AS d ON d.id" EQ "s.device_id "
		"WHERE s.connected AND (s.listener" EQ "$1 OR s.listener OPERATOR(pg_catalog.>) $2)",
		.arguments = 2, .types = {INT4OID, INT4OID}},
	[AT402_SQL_CONNECTED] = {AS_WRITTEN,
		"UPDATE at402.device_state AS s SET connected = true, listener = $2, "
		"  last_seen = greatest(s.last_seen, pg_catalog.now()) "
		"WHERE s.device_id" EQ "ANY ($1) AND NOT s.connected RETURNING s.device_id",
		.arguments = 2, .types = {INT4ARRAYOID, INT4OID}},
	/* from another listener, which will find nothing to disconnect then */
	[AT402_SQL_MOVED] = {AS_WRITTEN,
		"UPDATE at402.device_state AS s SET listener = $2 WHERE s.device_id" EQ "ANY ($1) "
		"AND s.connected AND s.listener OPERATOR(pg_catalog.<>) $2",
		.arguments = 2, .types = {INT4ARRAYOID, INT4OID}},
	[AT402_SQL_DISCONNECTED] = {AS_WRITTEN,
		"UPDATE at402.device_state AS s SET connected = false, listener = NULL "
		"WHERE s.device_id" EQ "ANY ($1) AND s.connected "
		"AND (s.listener" EQ "$2 OR s.listener OPERATOR(pg_catalog.>) $3) RETURNING s.device_id",
		.arguments = 3, .types = {INT4ARRAYOID, INT4OID, INT4OID}},
#define INSERT_PRESENCE                                                                            \
	"INSERT INTO at402.event (" KEY ", n, kind) SELECT p.device_id, p.at, -1, 0, "                  \
	"  CASE WHEN p.connected THEN 0 ELSE 1 END, "                                                   \
	"  CASE WHEN p.connected THEN 'online' ELSE 'offline' END "                                     \
	"FROM %1$s.at402_batch_rows($1, 'presence'::pg_catalog.text) AS p(device_id pg_catalog.int4, "  \
	"  connected pg_catalog.bool, at pg_catalog.timestamptz)"
	[AT402_SQL_PRESENCE_EVENTS] = {AS_WRITTEN, INSERT_PRESENCE " RETURNING 1",
		"event", INSERT_PRESENCE, OF_BATCH},
	[AT402_SQL_COMMAND_WAITS] = {AS_WRITTEN,
		"SELECT FROM at402.command AS c WHERE c.state" EQ "'queued' LIMIT 1", .arguments = 0},
	/* the oldest of each device, unless one is on its way or somebody has locked it */
	[AT402_SQL_COMMAND_CLAIM] = {AS_WRITTEN,
		"WITH head AS MATERIALIZED (SELECT q.id "
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u(device_id, udp) "
		"  CROSS JOIN LATERAL (SELECT c.id FROM at402.command AS c "
		"    WHERE c.device_id" EQ "u.device_id AND c.state" EQ "'queued' "
		"      AND c.expires_at OPERATOR(pg_catalog.>) $4 ORDER BY c.id LIMIT 1) AS q "
		"  WHERE NOT EXISTS (SELECT FROM at402.command AS s "
		"      WHERE s.device_id" EQ "u.device_id AND s.state" EQ "'sent') "
		"    AND NOT (u.udp AND EXISTS (SELECT FROM at402.device_secret AS s "
		"      WHERE s.device_id" EQ "u.device_id))), "
		"free AS MATERIALIZED (SELECT c.id FROM at402.command AS c "
		"  WHERE c.id" EQ "ANY (ARRAY(SELECT h.id FROM head AS h)) AND c.state" EQ "'queued' "
		"  ORDER BY c.id FOR UPDATE SKIP LOCKED) "
		"UPDATE at402.command AS c SET state = 'sent', sent_at = $4, listener = $3, "
		"  attempts = c.attempts OPERATOR(pg_catalog.+) 1 "
		"FROM free AS f WHERE c.id" EQ "f.id RETURNING c.id, c.device_id, c.command, "
		"  (SELECT s.pin FROM at402.device_secret AS s WHERE s.device_id" EQ "c.device_id)",
		.arguments = 4, .types = {INT4ARRAYOID, BOOLARRAYOID, INT4OID, TIMESTAMPTZOID}},
	[AT402_SQL_COMMAND_FINISH] = {AS_WRITTEN,
		"WITH u AS MATERIALIZED (SELECT v.id, v.state, v.answered_at, v.answer, v.detail "
		"  FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"      pg_catalog.unnest($4), pg_catalog.unnest($5)) "
		"    AS v(id, state, answered_at, answer, detail) "
		"  CROSS JOIN LATERAL (SELECT FROM at402.command AS c WHERE c.id" EQ "v.id "
		"    AND c.state" EQ "'sent' FOR UPDATE SKIP LOCKED) AS free) "
		"UPDATE at402.command AS c SET state = u.state, answered_at = u.answered_at, "
		"  answer = u.answer, detail = u.detail::pg_catalog.jsonb "
		"FROM u WHERE c.id" EQ "u.id RETURNING 1",
		.arguments = 5, .types = {INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID}},
	[AT402_SQL_COMMAND_OPEN] = {AS_WRITTEN,
		"SELECT c.id FROM at402.command AS c WHERE c.id" EQ "ANY ($1) AND c.state" EQ "'sent'",
		.arguments = 1, .types = {INT8ARRAYOID}},
	[AT402_SQL_COMMAND_RESTART] = {AS_WRITTEN,
		"UPDATE at402.command SET state = 'in_doubt' WHERE state" EQ "'sent' "
		"AND (listener" EQ "$1 OR listener OPERATOR(pg_catalog.>) $2) RETURNING 1",
		.arguments = 2, .types = {INT4OID, INT4OID}},
	[AT402_SQL_AUTHORISE] = {AS_WRITTEN, "SELECT at402.authorise_driver($1, $2, $3)",
		.arguments = 3, .types = {INT4OID, TEXTOID, TEXTOID}},
	[AT402_SQL_DRIVER_IO] = {AS_WRITTEN,
		"INSERT INTO at402.io (" KEY ", n, kind, state, text_value, data) "
		"SELECT $1, $2, -1, 0, 0, 'driver_id', $5" EQ "'APPROVE', $3, "
		"  pg_catalog.jsonb_build_object('check', true, 'family', $4, 'answer', $5) RETURNING 1",
		.arguments = 5, .types = {INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID}},

	/* geofences, see fence.c */
	[AT402_SQL_FENCES_UNTIL] = {AS_WRITTEN,
		"SELECT CASE WHEN EXISTS (SELECT FROM at402.geofence_version AS v "
		"  WHERE pg_catalog.upper(v.valid) IS NULL) THEN 'infinity'::pg_catalog.timestamptz "
		"  ELSE (SELECT pg_catalog.max(pg_catalog.upper(v.valid)) FROM at402.geofence_version AS v) END",
		.arguments = 0},
	/* places and ways; a way of no length, or around the globe, is none */
#define PROBES                                                                                     \
	"(SELECT q.number, q.\"time\", q.place, q.way, coalesce(q.way, q.place) AS probe FROM ( "      \
	"  SELECT s.number, s.\"time\", "                                                              \
	"    %2$s.st_setsrid(%2$s.st_makepoint(s.longitude, s.latitude), 4326) AS place, "             \
	"    CASE WHEN pg_catalog.abs(s.longitude OPERATOR(pg_catalog.-) s.before_longitude) "         \
	"        OPERATOR(pg_catalog.<=) 180::pg_catalog.float8 "                                      \
	"      AND (s.longitude OPERATOR(pg_catalog.<>) s.before_longitude "                           \
	"        OR s.latitude OPERATOR(pg_catalog.<>) s.before_latitude) "                            \
	"    THEN %2$s.st_setsrid(%2$s.st_makeline("                                                   \
	"      %2$s.st_makepoint(s.before_longitude, s.before_latitude), "                             \
	"      %2$s.st_makepoint(s.longitude, s.latitude)), 4326) END AS way "                         \
	"  FROM %1$s.at402_batch_fences($1, 'step'::pg_catalog.text) AS s(number pg_catalog.int4, "    \
	"    \"time\" pg_catalog.timestamptz, longitude pg_catalog.float8, latitude pg_catalog.float8, " \
	"    before_longitude pg_catalog.float8, before_latitude pg_catalog.float8)) AS q OFFSET 0) AS r "
	[AT402_SQL_NEAR_FENCES] = {AS_WRITTEN,
		"SELECT n.number, n.geofence_id, n.name, n.until, n.min_dwell, n.side, n.crossed "
		"FROM (SELECT m.*, CASE WHEN m.side OPERATOR(pg_catalog.<) 1 AND m.way IS NOT NULL "
		"    AND m.min_dwell" EQ "'0'::pg_catalog.interval "
		"  THEN %1$s.at402_geofence_side(m.geom, m.radius_m, 0, m.way)" EQ "1 ELSE false END AS crossed "
		"  FROM (SELECT r.number, r.way, v.geofence_id, v.name, pg_catalog.upper(v.valid) AS until, "
		"      v.min_dwell, v.geom, v.radius_m, "
		"      %1$s.at402_geofence_side(v.geom, v.radius_m, v.hysteresis_m, r.place) AS side "
		"    FROM " PROBES "JOIN at402.geofence_version AS v "
		"      ON v.box OPERATOR(%2$s.&&) r.probe AND v.valid OPERATOR(pg_catalog.@>) r.\"time\" "
		"    WHERE $2" EQ "0 OR v.geofence_id" EQ "$2 OFFSET 0) AS m OFFSET 0) AS n "
		"WHERE n.side OPERATOR(pg_catalog.>=) 0 OR n.crossed",
		.arguments = 2, .types = {INT8OID, INT4OID}},
	[AT402_SQL_OPEN_VISITS] = {AS_WRITTEN,
		"WITH known AS MATERIALIZED (SELECT g.device_id, g.geofence_id, g.entered_at, g.seq, g.content_hash, true AS shown "
		"    FROM at402.geofence_visit AS g WHERE g.device_id" EQ "ANY ($1) AND g.left_at IS NULL "
		/* closed because the shape ended, which it had not yet when the reports were made */
		"  UNION ALL SELECT g.device_id, g.geofence_id, g.entered_at, g.seq, g.content_hash, true "
		"    FROM at402.geofence_visit AS g WHERE g.device_id" EQ "ANY ($1) "
		"      AND g.left_at OPERATOR(pg_catalog.>) $3 AND g.left_seq IS NULL "
		"  UNION ALL SELECT g.device_id, g.geofence_id, g.entered_at, g.seq, g.content_hash, false "
		"    FROM at402.geofence_pending AS g WHERE g.device_id" EQ "ANY ($1)) "
		"SELECT s.device_id, s.geofence_id, s.entered_at, s.seq, s.content_hash, s.shown, v.name, "
		"  pg_catalog.upper(v.valid), v.min_dwell FROM known AS s "
		"LEFT JOIN at402.geofence_version AS v ON v.geofence_id" EQ "s.geofence_id "
		"  AND v.valid OPERATOR(pg_catalog.@>) s.entered_at "
		"WHERE $2" EQ "0 OR s.geofence_id" EQ "$2",
		.arguments = 3, .types = {INT4ARRAYOID, INT4OID, TIMESTAMPTZOID}},
#define VISITS(what)                                                                               \
	"FROM %1$s.at402_batch_fences($1, '" what "'::pg_catalog.text) AS r(device_id pg_catalog.int4, " \
	"  geofence_id pg_catalog.int4, entered_at pg_catalog.timestamptz, seq pg_catalog.int2, "      \
	"  content_hash pg_catalog.int4, left_at pg_catalog.timestamptz, left_seq pg_catalog.int2, "   \
	"  left_hash pg_catalog.int4) "
#define SAME_VISIT                                                                                 \
	"WHERE v.device_id" EQ "r.device_id AND v.geofence_id" EQ "r.geofence_id "                     \
	"AND v.entered_at" EQ "r.entered_at AND v.seq" EQ "r.seq "                                     \
	"AND v.content_hash" EQ "r.content_hash"
#define INSERT_VISITS                                                                              \
	"INSERT INTO at402.geofence_visit (device_id, geofence_id, entered_at, seq, content_hash, "    \
	"  left_at, left_seq, left_hash) SELECT r.device_id, r.geofence_id, r.entered_at, r.seq, "     \
	"  r.content_hash, r.left_at, r.left_seq, r.left_hash " VISITS("new")
	[AT402_SQL_NEW_VISITS] = {AS_WRITTEN, INSERT_VISITS "RETURNING 1",
		"geofence_visit", INSERT_VISITS, OF_BATCH},
	[AT402_SQL_LEFT_VISITS] = {AS_WRITTEN,
		"UPDATE at402.geofence_visit AS v SET left_at = r.left_at, left_seq = r.left_seq, "
		"  left_hash = r.left_hash " VISITS("left") SAME_VISIT, OF_BATCH},
#define INSERT_PENDING                                                                             \
	"INSERT INTO at402.geofence_pending (device_id, geofence_id, entered_at, seq, content_hash) "  \
	"SELECT r.device_id, r.geofence_id, r.entered_at, r.seq, r.content_hash " VISITS("pending")
	[AT402_SQL_PENDING_VISITS] = {AS_WRITTEN, INSERT_PENDING "RETURNING 1",
		"geofence_pending", INSERT_PENDING, OF_BATCH},
	[AT402_SQL_PENDING_GONE] = {AS_WRITTEN,
		"DELETE FROM at402.geofence_pending AS v USING (SELECT r.* " VISITS("gone") ") AS r " SAME_VISIT,
		OF_BATCH},
#define INSERT_FENCE_EVENTS                                                                        \
	"INSERT INTO at402.event (" KEY ", n, kind, late, geom, detail) SELECT r.device_id, r.\"time\", " \
	"  r.seq, r.content_hash, r.n, r.kind, r.late, "                                               \
	"  %2$s.st_setsrid(%2$s.st_makepoint(r.longitude, r.latitude), 4326), "                        \
	"  pg_catalog.jsonb_build_object('geofence_id', r.geofence_id, 'name', r.name, 'at', "         \
	"    pg_catalog.to_char(pg_catalog.timezone('UTC', r.at), 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')) "  \
	"FROM %1$s.at402_batch_fences($1, 'event'::pg_catalog.text) AS r(device_id pg_catalog.int4, "  \
	"  \"time\" pg_catalog.timestamptz, seq pg_catalog.int2, content_hash pg_catalog.int4, "       \
	"  n pg_catalog.int2, kind pg_catalog.text, late pg_catalog.bool, longitude pg_catalog.float8, " \
	"  latitude pg_catalog.float8, geofence_id pg_catalog.int4, name pg_catalog.text, "            \
	"  at pg_catalog.timestamptz) "
	/* those of a report that was stored before, and deleted, may be there */
	[AT402_SQL_FENCE_EVENTS] = {AS_WRITTEN,
		"WITH stored AS (" INSERT_FENCE_EVENTS "ON CONFLICT DO NOTHING RETURNING 1) SELECT 1 FROM stored",
		"event", INSERT_FENCE_EVENTS, OF_BATCH},
	[AT402_SQL_REJUDGE_FENCES] = {AS_WRITTEN,
		"SELECT j.kind, j.geofence_id, j.name, j.at FROM %1$s.at402_rejudge_geofences($1, $2, $3, $4) AS j",
		.arguments = 4, .types = {INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID}},
	[AT402_SQL_FENCE_IDS] = {AS_WRITTEN,
		"SELECT v.geofence_id FROM " PROBES "JOIN at402.geofence_version AS v "
		"  ON v.box OPERATOR(%2$s.&&) r.probe AND v.valid OPERATOR(pg_catalog.@>) r.\"time\" "
		"UNION SELECT g.geofence_id FROM at402.geofence_visit AS g WHERE g.device_id" EQ "ANY ($2) "
		"  AND g.left_at IS NULL "
		"UNION SELECT g.geofence_id FROM at402.geofence_pending AS g WHERE g.device_id" EQ "ANY ($2)",
		.arguments = 2, .types = {INT8OID, INT4ARRAYOID}},
	/* rules: what stands in the tables */
#define UNNEST(n) "pg_catalog.unnest($" #n ")"
#define UNNEST_2 UNNEST(1) ", " UNNEST(2)
#define UNNEST_3 UNNEST_2 ", " UNNEST(3)
#define UNNEST_4 UNNEST_3 ", " UNNEST(4)
#define UNNEST_5 UNNEST_4 ", " UNNEST(5)
#define UNNEST_6 UNNEST_5 ", " UNNEST(6)
#define UNNEST_9 UNNEST_6 ", " UNNEST(7) ", " UNNEST(8) ", " UNNEST(9)
#define UNNEST_14 UNNEST_9 ", " UNNEST(10) ", " UNNEST(11) ", " UNNEST(12) ", " UNNEST(13) ", " UNNEST(14)
	[AT402_SQL_RULE_RUNS] = {AS_WRITTEN,
		"SELECT u.rule_id, u.device_id, u.part, u.version, u.since, u.decided, u.alert_time, "
		"  u.alert_seq, u.alert_content_hash "
		"FROM at402.rule_run AS u WHERE u.device_id" EQ "ANY ($1)",
		.arguments = 1, .types = {INT4ARRAYOID}},
	[AT402_SQL_RULE_ALERTS] = {AS_WRITTEN,
		"SELECT a.device_id, a.\"time\", a.seq, a.content_hash, a.part, a.ended_at "
		"FROM at402.alert AS a WHERE a.device_id" EQ "ANY ($1) "
		"AND a.\"time\" OPERATOR(pg_catalog.>=) $2 AND a.rule_id" EQ "$3",
		.arguments = 3, .types = {INT4ARRAYOID, TIMESTAMPTZOID, INT4OID}},
	[AT402_SQL_RULE_LAST] = {AS_WRITTEN,
		"SELECT s.device_id, s.\"time\", s.seq, s.content_hash FROM at402.device_state AS s "
		"WHERE s.device_id" EQ "ANY ($1) AND s.\"time\" IS NOT NULL",
		.arguments = 1, .types = {INT4ARRAYOID}},
	[AT402_SQL_RULE_AMONG] = {AS_WRITTEN,
		"SELECT p.device_id, pg_catalog.count(*) "
		"FROM ROWS FROM (" UNNEST_3 ") AS u(device_id, first, last) "
		"JOIN at402.position AS p ON p.device_id" EQ "u.device_id "
		"  AND p.\"time\" OPERATOR(pg_catalog.>=) u.first AND p.\"time\" OPERATOR(pg_catalog.<=) u.last "
		"WHERE NOT p.time_suspect GROUP BY p.device_id",
		.arguments = 3, .types = {INT4ARRAYOID, 1185 /* timestamptz[] */ , 1185}},
	/* and what becomes of them */
	[AT402_SQL_LOCK_ALERTS] = {AS_WRITTEN,
		"LOCK TABLE at402.rule_run, at402.alert, at402.outbox IN ROW EXCLUSIVE MODE",
		.arguments = 0},
	[AT402_SQL_ALERT_PLACES] = {AS_WRITTEN,
		/* printf wants to hear of its first argument, too */
		"SELECT u.no%1$.0s, %2$s.st_x(p.geom), %2$s.st_y(p.geom) "
		"FROM ROWS FROM (" UNNEST_4 ") WITH ORDINALITY AS u(" KEY ", no) "
		"JOIN at402.position AS p ON " SAME_KEY("p", "u") " WHERE p.geom IS NOT NULL "
		"UNION ALL SELECT u.no, %2$s.st_x(s.geom), %2$s.st_y(s.geom) "
		"FROM ROWS FROM (" UNNEST(1) ", " UNNEST(5) ") WITH ORDINALITY AS u(device_id, of_state, no) "
		"JOIN at402.device_state AS s ON s.device_id" EQ "u.device_id "
		"WHERE u.of_state AND s.geom IS NOT NULL",
		.arguments = 5, .types = {INT4ARRAYOID, 1185, INT2ARRAYOID, INT4ARRAYOID, BOOLARRAYOID}},
#define INSERT_ALERTS                                                                              \
	"INSERT INTO at402.alert (" KEY ", rule_id, part, ended_at, level, message, rule_name, "       \
	"  geom, detail) "                                                                             \
	"SELECT u.device_id, u.\"time\", u.seq, u.content_hash, u.rule_id, u.part, u.ended_at, "       \
	"  u.level, u.message, u.rule_name, "                                                          \
	"  %2$s.st_setsrid(%2$s.st_makepoint(u.longitude, u.latitude), 4326), "                        \
	"  pg_catalog.jsonb_build_object('since', u.since, 'n', u.n) "                                 \
	"FROM ROWS FROM (" UNNEST_14 ") AS u(" KEY ", rule_id, part, ended_at, "                       \
	"  level, message, rule_name, since, n, longitude, latitude) "
	[AT402_SQL_NEW_ALERTS] = {AS_WRITTEN,
		"WITH stored AS (" INSERT_ALERTS "ON CONFLICT DO NOTHING RETURNING 1) SELECT 1%1$.0s FROM stored",
		"alert", INSERT_ALERTS "WHERE NOT EXISTS (SELECT FROM at402.alert AS a WHERE " SAME_KEY("a", "u")
		" AND a.rule_id" EQ "u.rule_id%1$.0s)",
		.arguments = 14, .types = {INT4ARRAYOID, 1185, INT2ARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
			TEXTARRAYOID, 1185, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, 1185, INT4ARRAYOID,
			FLOAT8ARRAYOID, FLOAT8ARRAYOID}},
	[AT402_SQL_ALERT_ENDS] = {AS_WRITTEN,
		"UPDATE at402.alert AS a SET ended_at = u.ended_at "
		"FROM " "ROWS FROM (" UNNEST_6 ") AS u(" KEY ", rule_id, ended_at) "
		"WHERE " SAME_KEY("a", "u") " AND a.rule_id" EQ "u.rule_id",
		.arguments = 6, .types = {INT4ARRAYOID, 1185, INT2ARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
			1185}},
	[AT402_SQL_OUTBOX] = {AS_WRITTEN,
		"INSERT INTO at402.outbox (channel, payload) "
		"SELECT c.channel, pg_catalog.jsonb_build_object("
		"  'rule', a.rule_name, 'level', a.level, 'message', a.message, "
		"  'imei', d.imei, 'device', d.name, 'time', a.\"time\", "
		"  'since', a.detail OPERATOR(pg_catalog.->) 'since', 'ended_at', a.ended_at, "
		"  'raised_at', a.raised_at, 'longitude', (a.geom::pg_catalog.point)[0], 'latitude', (a.geom::pg_catalog.point)[1], "
		"  'device_id', a.device_id, 'seq', a.seq, 'content_hash', a.content_hash, "
		"  'rule_id', a.rule_id) "
		"FROM ROWS FROM (" UNNEST_5 ") WITH ORDINALITY AS u(" KEY ", rule_id, no) "
		"JOIN at402.alert AS a ON " SAME_KEY("a", "u") " AND a.rule_id" EQ "u.rule_id "
		"JOIN at402.rule AS r ON r.id" EQ "u.rule_id "
		"JOIN at402.device AS d ON d.id" EQ "u.device_id "
		"CROSS JOIN LATERAL (SELECT DISTINCT n.channel FROM pg_catalog.unnest(r.channels) AS n(channel) "
		"  WHERE n.channel IS NOT NULL) AS c ORDER BY u.no, c.channel",
		.arguments = 5, .types = {INT4ARRAYOID, 1185, INT2ARRAYOID, INT4ARRAYOID, INT4ARRAYOID}},
	[AT402_SQL_RUNS_GONE] = {AS_WRITTEN,
		"DELETE FROM at402.rule_run AS g USING ROWS FROM (" UNNEST_3 ") AS u(device_id, rule_id, part) "
		"WHERE g.device_id" EQ "u.device_id AND g.rule_id" EQ "u.rule_id AND g.part" EQ "u.part",
		.arguments = 3, .types = {INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID}},
#define INSERT_RUNS                                                                                \
	"INSERT INTO at402.rule_run (device_id, rule_id, part, version, since, decided, "              \
	"  alert_time, alert_seq, alert_content_hash) "                                                \
	"SELECT * FROM ROWS FROM (" UNNEST_9 ") AS u"
	[AT402_SQL_RUNS_ON] = {AS_WRITTEN, INSERT_RUNS " RETURNING 1", "rule_run", INSERT_RUNS,
		.arguments = 9, .types = {INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, 1185,
			1000 /* bool[] */ , 1185, INT2ARRAYOID, INT4ARRAYOID}},
	[AT402_SQL_RUNS_STALE] = {AS_WRITTEN,
		"UPDATE at402.rule_run SET version = -1 WHERE rule_id" EQ "$1 AND device_id" EQ "ANY ($2)",
		.arguments = 2, .types = {INT4OID, INT4ARRAYOID}},
	/* whoever has locked the rule is not waited for */
	[AT402_SQL_RULE_FAILED] = {AS_WRITTEN,
		"UPDATE at402.rule AS r SET failures = r.failures OPERATOR(pg_catalog.+) 1, "
		"  last_error = $2, enabled = r.failures OPERATOR(pg_catalog.+) 1 OPERATOR(pg_catalog.<) $3 "
		"WHERE r.id" EQ "(SELECT x.id FROM at402.rule AS x WHERE x.id" EQ "$1 AND x.enabled "
		"  FOR NO KEY UPDATE SKIP LOCKED) RETURNING r.enabled",
		.arguments = 3, .types = {INT4OID, TEXTOID, INT4OID}},
	/* by the clock */
	[AT402_SQL_ENDED_TRIPS] = {AS_WRITTEN,
		"SELECT t.device_id, t.ended_at FROM at402.trip AS t "
		"WHERE t.ended_at IS NOT NULL AND NOT t.rules_seen ORDER BY t.device_id, t.ended_at LIMIT 10000",
		.arguments = 0},
	[AT402_SQL_TRIPS_SEEN] = {AS_WRITTEN,
		"UPDATE at402.trip AS t SET rules_seen = true "
		"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u(device_id, ended_at) "
		"WHERE t.device_id" EQ "u.device_id AND t.ended_at" EQ "u.ended_at",
		.arguments = 2, .types = {INT4ARRAYOID, 1185}},
	[AT402_SQL_NEXT_STATES] = {AS_WRITTEN,
		"SELECT s.device_id, pg_catalog.now() FROM at402.device_state AS s "
		"WHERE s.device_id OPERATOR(pg_catalog.>) $1 ORDER BY s.device_id LIMIT 500",
		.arguments = 1, .types = {INT4OID}},
};

/* How a column of device_state follows from that of a report. */
typedef enum Follows
{
	OF_LAST,					/* report of the device */
	OF_FIX,						/* report with a good position */
	GREATEST,
	LEAST
} Follows;

static const struct
{
	const char *column;
	Follows		follows;
}			state_columns[] = {
	{"time", OF_LAST}, {"seq", OF_LAST}, {"content_hash", OF_LAST}, {"received_at", OF_LAST},
	{"reasons", OF_LAST}, {"status", OF_LAST}, {"ignition", OF_LAST},
	{"battery_percent", OF_LAST}, {"external_voltage_v", OF_LAST},
	{"journey_distance_km", OF_LAST},
	{"position_time", OF_FIX}, {"position_seq", OF_FIX}, {"geom", OF_FIX}, {"speed_kmh", OF_FIX},
	{"heading_deg", OF_FIX}, {"altitude_m", OF_FIX},
	{"lifetime_odometer_km", GREATEST}, {"engine_hours", GREATEST}, {"last_seen", GREATEST}, {"dirty_since", LEAST},
};

/* ---- what is known of the tables ---- */

static SPIPlanPtr plans[AT402_STATEMENTS];
static bool stale = true;		/* a table may have changed since the plans were made */
static Oid	planned_schema;		/* that they were made for */
static Oid	planned_postgis;
static Oid	planned_role;		/* the right to use a schema is looked at once */
static bool distributed;		/* Citus is there */

/*
 * Columns and rules change seldom: it does no harm to make plans for any change
 * anew.  What VACUUM and ANALYZE note of a table is none, and comes often.
 */
static void
table_changed(Datum unused, int cache, uint32 hash)
{
	stale = true;
}

void
at402_statements_refresh(void)
{
	static bool registered = false;
	Oid			schema = at402_extension_schema("at402");
	Oid			postgis = at402_extension_schema("postgis");

	if (!registered)
	{
		CacheRegisterSyscacheCallback(ATTNUM, table_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(RULERELNAME, table_changed, (Datum) 0);
	}
	registered = true;
	/* a plan that is being run must stay: a trigger may call at402_ingest */
	if ((!stale && schema == planned_schema && postgis == planned_postgis &&
		 GetUserId() == planned_role) || at402_batch_is_nested())
		return;
	for (int i = 0; i < AT402_STATEMENTS; i++)
	{
		if (plans[i] != NULL)
			SPI_freeplan(plans[i]);
		plans[i] = NULL;
	}
	stale = false;
	planned_schema = schema;
	planned_postgis = postgis;
	planned_role = GetUserId();
	distributed = OidIsValid(get_extension_oid("citus", true));
}

bool
at402_is_distributed(void)
{
	return distributed;
}

/* ---- the texts ---- */

/* The columns of a table that rows of a batch fill. */
typedef struct Columns
{
	StringInfoData names;		/* in the table */
	StringInfoData values;		/* from r, a row */
	StringInfoData types;		/* of r: the definition of its columns */
	StringInfoData changes;		/* device_state: SET of an update by r */
	const char *row;			/* in changes: r, or EXCLUDED */
} Columns;

static void
add(StringInfo list, const char *format, const char *name, const char *more)
{
	if (list->len > 0)
		appendStringInfoString(list, ", ");
	appendStringInfo(list, format, quote_identifier(name), more);
}

/* Types that have a name of their own in the grammar are found nowhere else. */
static const char *
qualified_type(const char *type)
{
	static const char *const words[] = {"int", "smallint", "bigint", "numeric"};

	for (int i = 0; i < lengthof(words); i++)
		if (strncmp(type, words[i], strlen(words[i])) == 0)
			return type;
	return strchr(type, '.') != NULL ? type : psprintf("pg_catalog.%s", type);
}

/* A column of device_state: what becomes of it when a report comes. */
static void
add_change(Columns *c, const char *name)
{
	const char *row = c->row;
	const char *column = quote_identifier(name);
	int			i = 0;

	while (i < lengthof(state_columns) && strcmp(state_columns[i].column, name) != 0)
		i++;
	Assert(i < lengthof(state_columns));
	switch (state_columns[i].follows)
	{
		case OF_LAST:
			add(&c->changes, psprintf(
				"%%s = CASE WHEN s.\"time\" IS NULL "
				"OR (%1$s.\"time\", %1$s.seq) OPERATOR(pg_catalog.>) (s.\"time\", s.seq) "
				"OR (%1$s.\"time\", %1$s.seq)" EQ "(s.\"time\", s.seq) "
				"AND %1$s.content_hash OPERATOR(pg_catalog.<>) s.content_hash "
				"THEN coalesce(%1$s.%2$s, s.%2$s) ELSE s.%2$s END", row, column), name, "");
			break;
		case OF_FIX:
			add(&c->changes, psprintf(
				"%%s = CASE WHEN %1$s.position_time IS NOT NULL AND (s.position_time IS NULL "
				"OR (%1$s.position_time, %1$s.position_seq) OPERATOR(pg_catalog.>=) "
				"(s.position_time, s.position_seq)) THEN %1$s.%2$s ELSE s.%2$s END",
				row, column), name, "");
			break;
		case GREATEST:
			add(&c->changes, psprintf("%%s = greatest(s.%2$s, %1$s.%2$s)", row, column), name, "");
			break;
		case LEAST:
			add(&c->changes, psprintf("%%s = least(s.%2$s, %1$s.%2$s)", row, column), name, "");
			break;
	}
}

static bool
is_filled(const char *table, const char *column)
{
	if (strcmp(table, "device_state") != 0 || strcmp(column, "device_id") == 0)
		return true;
	for (int i = 0; i < lengthof(state_columns); i++)
		if (strcmp(state_columns[i].column, column) == 0)
			return true;
	return false;
}

/*
 * Reads which columns a table has of those in at402_data_columns().  42703 when
 * one is missing, unless it is a later one: tables of an older version do not
 * have it.
 */
static Columns
read_columns(const char *table, const char *row)
{
	static const char *const sql =
		"SELECT d.column_name, pg_catalog.regexp_replace(d.definition, "
		"    ' (NOT NULL|NULL|DEFAULT|CHECK|UNIQUE|REFERENCES).*$', ''), a.attname IS NOT NULL, "
		"  EXISTS (SELECT FROM %s.at402_later_columns() AS l "
		"    WHERE l.table_name" EQ "d.table_name AND l.column_name" EQ "d.column_name) "
		"FROM %s.at402_data_columns() WITH ORDINALITY AS d "
		"JOIN pg_catalog.pg_namespace AS n ON n.nspname" EQ "'at402' "
		"JOIN pg_catalog.pg_class AS c ON c.relnamespace" EQ "n.oid "
		"  AND c.relname::pg_catalog.text" EQ "d.table_name "
		"LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid" EQ "c.oid "
		"  AND a.attname::pg_catalog.text" EQ "d.column_name AND NOT a.attisdropped "
		"WHERE d.table_name" EQ "$1 AND d.definition OPERATOR(pg_catalog.!~) 'serial|GENERATED' "
		"ORDER BY d.ordinality";
	Columns		c = {.row = row};
	Datum		argument = CStringGetTextDatum(table);
	const char *schema = at402_schema_name("at402");
	const char *postgis = at402_schema_name("postgis");

	initStringInfo(&c.names);
	initStringInfo(&c.values);
	initStringInfo(&c.types);
	initStringInfo(&c.changes);
	if (SPI_execute_with_args(psprintf(sql, schema, schema), 1, (Oid[]) {TEXTOID},
							  &argument, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the columns of at402.%s", table);
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation \"at402.%s\" does not exist", table));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		const char *name = SPI_getvalue(tuple, desc, 1);
		bool		null;

		if (!DatumGetBool(SPI_getbinval(tuple, desc, 3, &null)))
		{
			if (!DatumGetBool(SPI_getbinval(tuple, desc, 4, &null)))
				ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("column \"%s\" of relation \"%s\" does not exist", name, table));
			continue;
		}
		if (!is_filled(table, name))
			continue;
		add(&c.names, "%s", name, "");
		if (strcmp(name, "geom") == 0)
		{
			add(&c.values, psprintf("%1$s.st_setsrid(%1$s.st_makepoint(r.longitude, r.latitude), "
									"4326) AS %%s", postgis), name, "");
			add(&c.types, "longitude pg_catalog.float8, latitude pg_catalog.float8", "", "");
		}
		else
		{
			add(&c.values, "r.%s", name, "");
			add(&c.types, "%s %s", name, qualified_type(SPI_getvalue(tuple, desc, 2)));
		}
		if (strcmp(table, "device_state") == 0 && strcmp(name, "device_id") != 0)
			add_change(&c, name);
	}
	return c;
}

/* INSERT INTO at402.table ... SELECT ... FROM the rows of the batch AS r */
static char *
insert_rows(const char *table, const Columns *c)
{
	return psprintf("INSERT INTO at402.%s%s (%s) SELECT %s FROM %s.at402_batch_rows($1, '%s'::pg_catalog.text) AS r(%s)",
					table, strcmp(table, "device_state") == 0 ? " AS s" : "", c->names.data,
					c->values.data, at402_schema_name("at402"), table, c->types.data);
}

static char *
statement_text(const Definition *d)
{
	Columns		c;
	char	   *insert;

	if (d->pattern == AS_WRITTEN)
		return psprintf(d->table != NULL && at402_has_rules(d->table) ? d->with_rules : d->text,
						at402_schema_name("at402"), at402_schema_name("postgis"));
	if (d->pattern == INSERT_ROWS || d->pattern == INSERT_MISSING_ROWS)
	{
		c = read_columns(d->text, NULL);
		insert = insert_rows(d->text, &c);
		/* a rule that takes the place of the INSERT has nothing to return */
		if (at402_has_rules(d->text))
			return insert;
		return d->pattern == INSERT_ROWS ? psprintf("%s RETURNING 1", insert)
			: psprintf("WITH stored AS (%s ON CONFLICT DO NOTHING RETURNING 1) "
					   "SELECT 1 FROM stored", insert);
	}
	if (d->pattern == FIND_REPORTS)
		return psprintf("SELECT p.device_id, p.\"time\", p.seq, p.content_hash "
						"FROM %s.at402_batch_rows($1, 'position'::pg_catalog.text) AS r(device_id pg_catalog.int4, "
						"\"time\" pg_catalog.timestamptz, seq pg_catalog.int2, "
						"content_hash pg_catalog.int4) JOIN at402.position AS p ON "
						SAME_KEY("p", "r"), at402_schema_name("at402"));
	if (d->pattern == INSERT_NEW_REPORTS || d->pattern == INSERT_REPORTS)
	{
		c = read_columns("position", NULL);
		insert = insert_rows("position", &c);
		if (d->pattern == INSERT_NEW_REPORTS)
			return psprintf("%s RETURNING " KEY, insert);
		return psprintf("WITH stored AS (%s ON CONFLICT (" KEY ") DO NOTHING RETURNING " KEY ") "
						"SELECT " KEY " FROM stored", insert);
	}

	c = read_columns("device_state", distributed ? "EXCLUDED" : "e");
	if (distributed)
		return psprintf("WITH stored AS (%s ON CONFLICT (device_id) DO UPDATE SET %s "
						"RETURNING 1) SELECT 1 FROM stored", insert_rows("device_state", &c),
						c.changes.data);
	return psprintf("UPDATE at402.device_state AS s SET %s FROM (SELECT %s "
					"FROM %s.at402_batch_rows($1, 'device_state'::pg_catalog.text) AS r(%s)) AS e "
					"WHERE s.device_id" EQ "e.device_id",
					c.changes.data, c.values.data, at402_schema_name("at402"), c.types.data);
}

/* ---- the plans ---- */

SPIPlanPtr
at402_prepare(const char *sql, int arguments, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, arguments, types,
										  distributed ? 0 : CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare statement: %s", SPI_result_code_string(SPI_result));
	return plan;
}

void
at402_plan_by_keys(SPIPlanPtr plan)
{
	/* a bitmap would lock rows in the order in which they lie, not in that of their keys */
	static const char *const switches[] = {"enable_seqscan", "enable_bitmapscan",
		"enable_hashjoin", "enable_mergejoin", "jit"};
	int			level;
	CachedPlan *made;

	if (distributed)
		return;
	level = NewGUCNestLevel();
	for (int i = 0; i < lengthof(switches); i++)
		set_config_option(switches[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
						  false);
	made = SPI_plan_get_cached_plan(plan);
	if (made != NULL)
		ReleaseCachedPlan(made, CurrentResourceOwner);
	AtEOXact_GUC(true, level);
}

uint64
at402_run(At402Statement statement, Datum *args, const char *nulls)
{
	const Definition *d = &definitions[statement];
	int			level = NewGUCNestLevel();
	int			result;

	if (plans[statement] == NULL)
		plans[statement] = at402_prepare(statement_text(d), d->arguments, (Oid *) d->types);
	at402_plan_by_keys(plans[statement]);
	/* or the server's setting could put another plan in place of this one */
	set_config_option("plan_cache_mode", "auto", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
					  0, false);
	result = SPI_execute_plan(plans[statement], args, nulls, false, 0);
	AtEOXact_GUC(true, level);
	if (result < 0)
		elog(ERROR, "could not run statement: %s", SPI_result_code_string(result));
	return SPI_processed;
}

uint64
at402_run_batch(At402Batch *batch, At402Statement statement)
{
	return at402_run(statement, (Datum[]) {Int64GetDatum(batch->handle)}, NULL);
}
