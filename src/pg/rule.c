/*
 * rule.c - what rules look at, and the SQL that looks
 *
 * A condition stands over r, the row, p, its position, d, its device, and b,
 * the row before it.  All of them are joined here, and only those that are
 * named: what a rule does not use costs nothing and needs no right.
 *
 * The statements are planned and run under a search_path of pg_catalog, which
 * is why names of pg_catalog stand here as they are.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "pg/owner.h"
#include "pg/rule.h"
#include "pg/settings.h"

#define KEYS_GIVEN "unnest($1, $2, $3, $4) AS k(device_id, \"time\", seq, content_hash)"
#define SAME_KEY(a, b)                                                                             \
	a ".device_id = " b ".device_id AND " a ".\"time\" = " b ".\"time\" AND "                      \
	a ".seq = " b ".seq AND " a ".content_hash = " b ".content_hash"

static const At402Source sources[] = {
	{.name = "position", .table = "position", .runs = true},
	{.name = "event", .table = "event", .numbered = true, .before = "b.kind = r.kind"},
	{.name = "io", .table = "io", .numbered = true,
		.before = "b.kind = r.kind AND coalesce(b.line, -1) = coalesce(r.line, -1)"},
	{.name = "can", .table = "can", .runs = true, .numbered = true, .part = "r.source",
		.before = "b.source = r.source"},
	{.name = "ble", .table = "ble", .runs = true, .numbered = true,
		.part = "coalesce(r.mac::text, r.sensor_index::text, '')",
		.before = "coalesce(b.mac::text, b.sensor_index::text, '') = "
		"coalesce(r.mac::text, r.sensor_index::text, '')"},
	{.name = "motion", .table = "motion", .numbered = true},
	{.name = "trip", .table = "trip"},
	{.name = "state", .table = "device_state", .runs = true},
};

const At402Source *
at402_rule_source(const char *name)
{
	for (int i = 0; i < lengthof(sources); i++)
		if (strcmp(sources[i].name, name) == 0)
			return &sources[i];
	return NULL;
}

bool
at402_rule_source_has_b(const At402Source *source)
{
	return strcmp(source->name, "state") != 0;
}

/* ---- what is used ---- */

List *
at402_uses_words(const At402Uses *uses)
{
	List	   *words = NIL;
	ListCell   *lc;

	if (uses->p)
		words = lappend(words, "p");
	if (uses->d)
		words = lappend(words, "d");
	if (uses->b)
		words = lappend(words, uses->whole_b ? "b.*" : "b");
	foreach(lc, uses->b_columns)
		words = lappend(words, psprintf("b.%s", (char *) lfirst(lc)));
	return words;
}

void
at402_uses_add(At402Uses *uses, const char *word)
{
	ListCell   *lc;

	uses->p |= word[0] == 'p';
	uses->d |= word[0] == 'd';
	uses->b |= word[0] == 'b';
	uses->whole_b |= strcmp(word, "b.*") == 0;
	if (word[0] != 'b' || word[1] == '\0' || strcmp(word, "b.*") == 0)
		return;
	foreach(lc, uses->b_columns)
		if (strcmp(lfirst(lc), word + 2) == 0)
			return;
	uses->b_columns = lappend(uses->b_columns, pstrdup(word + 2));
}

/* ---- the statement ---- */

static bool
is_trip(const At402Source *source)
{
	return strcmp(source->name, "trip") == 0;
}

static void
add_position(StringInfo sql, const At402Source *source)
{
	if (is_trip(source))
		appendStringInfoString(sql,
			" LEFT JOIN LATERAL (SELECT * FROM at402.position AS x "
			"WHERE x.device_id = r.device_id AND x.\"time\" = r.ended_at "
			"ORDER BY x.seq DESC, x.content_hash DESC LIMIT 1) AS p ON true");
	else
		appendStringInfoString(sql,
			" LEFT JOIN at402.position AS p ON " SAME_KEY("p", "r"));
}

/* Reports whose clock is far ahead take no part. */
static const char *
not_suspect(const At402Source *source, const char *row)
{
	if (strcmp(source->table, "position") == 0)
		return psprintf("NOT %s.time_suspect", row);
	return psprintf("NOT EXISTS (SELECT FROM at402.position AS s WHERE " SAME_KEY("s", "%1$s")
					" AND s.time_suspect)", row);
}

static const char *
columns_of_b(const At402Uses *uses)
{
	StringInfoData list;
	ListCell   *lc;

	if (uses->whole_b)
		return "b.*";
	initStringInfo(&list);
	foreach(lc, uses->b_columns)
		appendStringInfo(&list, "%sb.%s", lc == list_head(uses->b_columns) ? "" : ", ",
						 quote_identifier(lfirst(lc)));
	return list.data;
}

static void
add_before(StringInfo sql, const At402Source *source, const At402Uses *uses)
{
	if (is_trip(source))
		appendStringInfo(sql,
			" LEFT JOIN LATERAL (SELECT %s FROM at402.trip AS b WHERE b.device_id = r.device_id "
			"AND b.started_at < r.started_at "
			"AND b.ended_at >= r.started_at - interval '24:00' "
			"ORDER BY b.started_at DESC LIMIT 1) AS b ON true", columns_of_b(uses));
	else
		appendStringInfo(sql,
			" LEFT JOIN LATERAL (SELECT %1$s FROM at402.%2$s AS b "
			"WHERE b.device_id = r.device_id AND b.\"time\" <= r.\"time\" "
			"AND b.\"time\" >= r.\"time\" - interval '24:00' "
			"AND (b.\"time\", b.seq, b.content_hash%3$s) < (r.\"time\", r.seq, r.content_hash%4$s) "
			"AND %5$s AND %6$s "
			"ORDER BY b.\"time\" DESC, b.seq DESC, b.content_hash DESC%7$s LIMIT 1) AS b ON true",
			columns_of_b(uses), source->table, source->numbered ? ", b.n" : "",
			source->numbered ? ", r.n" : "", source->before ? source->before : "true",
			not_suspect(source, "b"), source->numbered ? ", b.n DESC" : "");
}

static const char *
key_columns(const At402Source *source)
{
	if (is_trip(source))
		return "r.device_id, r.ended_at, (-1)::int2, 0, 0::int2, "
			"to_char(r.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
	if (!at402_rule_source_has_b(source))
		return "r.device_id, now(), (-1)::int2, 0, 0::int2, ''::text";
	return psprintf("r.device_id, r.\"time\", r.seq, r.content_hash, %s, %s",
					source->numbered ? "r.n" : "0::int2", source->part ? source->part : "''::text");
}

/* Keys of the rows that come next after those of the keys given. */
static void
add_next_keys(StringInfo sql, const At402Source *source)
{
	const char *n = source->numbered ? ", %s.n" : "";

	appendStringInfo(sql,
		"(SELECT DISTINCT r.device_id, r.\"time\", r.seq, r.content_hash%1$s "
		"FROM " KEYS_GIVEN " JOIN at402.%2$s AS b ON " SAME_KEY("b", "k") " "
		"JOIN LATERAL (SELECT * FROM at402.%2$s AS r WHERE r.device_id = b.device_id "
		"  AND r.\"time\" >= b.\"time\" AND r.\"time\" <= b.\"time\" + interval '24:00' "
		"  AND (r.\"time\", r.seq, r.content_hash%1$s) > (b.\"time\", b.seq, b.content_hash%3$s) "
		"  AND %4$s AND %5$s "
		"  ORDER BY r.\"time\", r.seq, r.content_hash%1$s LIMIT 1) AS r ON true) AS k",
		psprintf(n, "r"), source->table, psprintf(n, "b"), source->before ? source->before : "true",
		not_suspect(source, "r"));
}

static void
add_rows(StringInfo sql, const At402Source *source, At402Look look)
{
	appendStringInfoString(sql, " FROM ");
	if (look == AT402_LOOK_NEXT)
		add_next_keys(sql, source);
	else if (look == AT402_LOOK_KEYS)
		appendStringInfoString(sql, KEYS_GIVEN);
	else
	{
		appendStringInfo(sql, "at402.%s AS r", source->table);
		return;
	}
	appendStringInfo(sql, " JOIN at402.%s AS r ON ", source->table);
	if (is_trip(source))
		appendStringInfoString(sql, "r.device_id = k.device_id AND r.ended_at = k.\"time\"");
	else if (!at402_rule_source_has_b(source))
		appendStringInfoString(sql, "r.device_id = k.device_id");
	else
		appendStringInfoString(sql, SAME_KEY("r", "k"));
	if (look == AT402_LOOK_NEXT && source->numbered)
		appendStringInfoString(sql, " AND r.n = k.n");
}

static void
add_limits(StringInfo sql, const At402Source *source, At402Look look)
{
	const char *direction = look == AT402_LOOK_BACK ? " DESC" : "";
	const char *time = is_trip(source) ? "ended_at" : "\"time\"";

	if (look == AT402_LOOK_KEYS || look == AT402_LOOK_NEXT)
		return;
	if (look == AT402_LOOK_SPAN)
		appendStringInfo(sql, " WHERE r.%1$s >= $1 AND r.%1$s < $2", time);
	else
		appendStringInfo(sql, " WHERE r.device_id = $1 AND r.\"time\" %s $2 AND r.\"time\" %s $3 "
						 "AND %s = $4",
						 look == AT402_LOOK_BACK ? "<=" : ">=", look == AT402_LOOK_BACK ? ">=" : "<=",
						 source->part ? source->part : "''");
	if (!is_trip(source))
		appendStringInfo(sql, " AND %s", not_suspect(source, "r"));
	appendStringInfoString(sql, " ORDER BY ");
	if (look == AT402_LOOK_SPAN)
		appendStringInfo(sql, "r.device_id, %s", source->part ? psprintf("%s, ", source->part) : "");
	appendStringInfo(sql, "r.%s%s", time, direction);
	if (!is_trip(source))
		appendStringInfo(sql, ", r.seq%1$s, r.content_hash%1$s", direction);
	if (source->numbered)
		appendStringInfo(sql, ", r.n%s", direction);
}

char *
at402_rule_statement(const At402Source *source, At402Look look, const At402Uses *uses,
					 List *expressions)
{
	StringInfoData sql;
	ListCell   *lc;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s", key_columns(source));
	foreach(lc, expressions)
		appendStringInfo(&sql, ", %s", (char *) lfirst(lc));
	add_rows(&sql, source, look);
	if (uses->p && strcmp(source->table, "position") != 0)
		add_position(&sql, source);
	if (uses->d)
		appendStringInfoString(&sql, " LEFT JOIN at402.device AS d ON d.id = r.device_id");
	if (uses->b)
		add_before(&sql, source, uses);
	add_limits(&sql, source, look);
	return sql.data;
}

void
at402_rule_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"}, {"row_security", "on"}, {"jit", "off"},
		{"datestyle", "ISO, YMD"}, {"intervalstyle", "postgres"}, {"extra_float_digits", "1"},
		{"quote_all_identifiers", "off"}, {"transform_null_equals", "off"},
		{"standard_conforming_strings", "on"}, {"plan_cache_mode", "auto"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
						  GUC_ACTION_SAVE, true, 0, false);
}

/* ---- rights ---- */

Oid
at402_rule_worker(void)
{
	Oid			role = get_role_oid(at402_role, true);

	return OidIsValid(role) ? role : at402_tables_owner();
}

Oid
at402_rule_run_as(Oid owner)
{
	Oid			worker = at402_rule_worker();

	if (superuser_arg(owner))
		return worker;
	return is_member_of_role(worker, owner) ? owner : InvalidOid;
}
