/*
 * command.c - commands and checks of drivers, as far as tables are concerned
 *
 * A command is sent once because two things hold: it is written down as sent,
 * and that is on disk, before a byte of it leaves (so nobody finds it waiting
 * again), and of two listeners that want the same row one finds it locked or
 * sent.  A constraint of at402.command sees that a device has one command on its
 * way.  Rows that somebody has locked are passed over: a listener does not wait.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "core/at402.h"
#include "pg/attempt.h"
#include "pg/command.h"
#include "pg/statements.h"
#include "pg/value.h"

/* Tables of an older version do not have it: InvalidOid. */
static Oid
command_table(void)
{
	Oid			schema = get_namespace_oid("at402", true);

	return OidIsValid(schema) ? get_relname_relid("command", schema) : InvalidOid;
}

/* Is it there, and nobody rewriting it?  To wait for that would hold up reports. */
static bool
may_write(void)
{
	Oid			table = command_table();

	return OidIsValid(table) && ConditionalLockRelationOid(table, RowExclusiveLock) &&
		SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table));
}

static Datum
make_array(Datum *elements, const bool *nulls, int count, Oid type)
{
	int			bounds = 1;
	int16		size;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(type, &size, &by_value, &align);
	return PointerGetDatum(construct_md_array(elements, unconstify(bool *, nulls), 1, &count,
											  &bounds, type, size, by_value, align));
}

/* ---- sending ---- */

static At402Sent *
read_sent(HeapTuple row, TupleDesc desc)
{
	At402Sent  *sent = palloc(sizeof(At402Sent));
	bool		null;

	sent->id = DatumGetInt64(SPI_getbinval(row, desc, 1, &null));
	sent->device_id = DatumGetInt32(SPI_getbinval(row, desc, 2, &null));
	sent->command = SPI_getvalue(row, desc, 3);
	sent->pin = SPI_getvalue(row, desc, 4);
	return sent;
}

List *
at402_command_claim(const At402Target *targets, int count, int listener, MemoryContext context)
{
	Datum	   *ids = palloc(sizeof(Datum) * count);
	Datum	   *udp = palloc(sizeof(Datum) * count);
	MemoryContext caller;
	List	   *result = NIL;

	if (!may_write())
		return NIL;
	at402_statements_refresh();
	for (int i = 0; i < count; i++)
	{
		ids[i] = Int32GetDatum(targets[i].device_id);
		udp[i] = BoolGetDatum(targets[i].udp);
	}
	SPI_connect();
	at402_run(AT402_SQL_COMMAND_CLAIM, (Datum[]) {make_array(ids, NULL, count, INT4OID),
					make_array(udp, NULL, count, BOOLOID), Int32GetDatum(listener),
					TimestampTzGetDatum(GetCurrentTimestamp())}, NULL);
	caller = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
		result = lappend(result, read_sent(SPI_tuptable->vals[i], SPI_tuptable->tupdesc));
	MemoryContextSwitchTo(caller);
	SPI_finish();
	/* with synchronous_commit = off a crash would have it waiting again */
	if (result != NIL)
		ForceSyncCommit();
	return result;
}

bool
at402_command_waits(void)
{
	uint64		rows;

	if (!may_write())
		return false;
	at402_statements_refresh();
	SPI_connect();
	rows = at402_run(AT402_SQL_COMMAND_WAITS, NULL, NULL);
	SPI_finish();
	return rows > 0;
}

bool
at402_command_restart(int listener, int listeners)
{
	if (!may_write())
		return !OidIsValid(command_table());
	at402_statements_refresh();
	SPI_connect();
	at402_run(AT402_SQL_COMMAND_RESTART, (Datum[]) {Int32GetDatum(listener),
					Int32GetDatum(listeners)}, NULL);
	SPI_finish();
	return true;
}

/* ---- answers ---- */

/* The fields of a line behind its code, as a JSON array. */
static void
append_fields(StringInfo json, const char *fields)
{
	appendStringInfoChar(json, '[');
	for (const char *field = fields; field != NULL;)
	{
		const char *comma = strchr(field, ',');

		escape_json(json, comma != NULL ? pnstrdup(field, comma - field) : field);
		if (comma != NULL)
			appendStringInfoString(json, ", ");
		field = comma != NULL ? comma + 1 : NULL;
	}
	appendStringInfoChar(json, ']');
}

/* {"POSN": [...], "STAT": [...]}; NULL where the answer has neither. */
static char *
detail_of(const char *answer)
{
	StringInfoData json;
	char	   *lines = pstrdup(answer);
	char	   *rest = lines;
	char	   *line;

	initStringInfo(&json);
	while ((line = strsep(&rest, "\n")) != NULL)
	{
		if (strncmp(line, "$POSN,", 6) != 0 && strncmp(line, "$STAT,", 6) != 0)
			continue;
		appendStringInfo(&json, "%s\"%.4s\": ", json.len == 0 ? "{" : ", ", line + 1);
		append_fields(&json, line + 6);
	}
	if (json.len == 0)
		return NULL;
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* Bytes of a device as text. */
static char *
text_of(const char *bytes)
{
	return at402_text_cstring((at402_span) {(const uint8_t *) bytes, strlen(bytes)});
}

/* Those of the ids in the rows just read are not done. */
static void
mark_open(At402Outcome **outcomes, int count)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		null;
		int64		id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
													 SPI_tuptable->tupdesc, 1, &null));

		for (int o = 0; o < count; o++)
			if (outcomes[o]->id == id)
				outcomes[o]->done = false;
	}
}

void
at402_command_finish(At402Outcome **outcomes, int count)
{
	enum { ID, STATE, AT, ANSWER, DETAIL, COLUMNS };
	static const Oid types[COLUMNS] = {INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID};
	Datum	   *values[COLUMNS];
	bool	   *nulls[COLUMNS];
	Datum		args[COLUMNS];

	if (!may_write())
		return;
	for (int c = 0; c < COLUMNS; c++)
	{
		values[c] = palloc0(sizeof(Datum) * count);
		nulls[c] = palloc0(sizeof(bool) * count);
	}
	for (int i = 0; i < count; i++)
	{
		const At402Outcome *o = outcomes[i];
		char	   *answer = o->answer != NULL ? text_of(o->answer) : NULL;
		char	   *detail = answer != NULL ? detail_of(answer) : NULL;

		values[ID][i] = Int64GetDatum(o->id);
		values[STATE][i] = CStringGetTextDatum(o->state);
		values[AT][i] = TimestampTzGetDatum(o->answered_at);
		nulls[AT][i] = o->answered_at == 0;
		nulls[ANSWER][i] = answer == NULL;
		if (answer != NULL)
			values[ANSWER][i] = CStringGetTextDatum(answer);
		nulls[DETAIL][i] = detail == NULL;
		if (detail != NULL)
			values[DETAIL][i] = CStringGetTextDatum(detail);
	}
	for (int c = 0; c < COLUMNS; c++)
		args[c] = make_array(values[c], nulls[c], count, types[c]);
	at402_statements_refresh();
	SPI_connect();
	at402_run(AT402_SQL_COMMAND_FINISH, args, NULL);
	for (int i = 0; i < count; i++)
		outcomes[i]->done = true;
	at402_run(AT402_SQL_COMMAND_OPEN, args, NULL);
	mark_open(outcomes, count);
	SPI_finish();
}

/* ---- drivers ---- */

typedef struct Asking
{
	int			device_id;
	const At402Check *check;
	int			limit_ms;
	const char *answer;
	MemoryContext context;
} Asking;

static HeapTuple
find_function(bool missing_ok)
{
	Oid			function = LookupFuncName(list_make2(makeString("at402"),
													 makeString("authorise_driver")), 3,
										  (Oid[]) {INT4OID, TEXTOID, TEXTOID}, missing_ok);

	return SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
}

/* 42883 when there is no such function. */
static Oid
owner_of_function(void)
{
	HeapTuple	tuple = find_function(false);
	Oid			owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;

	ReleaseSysCache(tuple);
	return owner;
}

uint32
at402_authorise_version(void)
{
	HeapTuple	tuple = find_function(true);
	uint32		version;

	if (!HeapTupleIsValid(tuple))
		return 0;
	version = HeapTupleHeaderGetRawXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	return version;
}

/*
 * The function is a user's code: it runs as its owner, restricted, and finds
 * nothing but what it names with its schema.  What it defers would run as us.
 */
static void
ask(void *argument)
{
	Asking	   *a = argument;
	Oid			user;
	int			context;
	int			guc_level;
	MemoryContext caller = CurrentMemoryContext;

	SPI_connect();
	at402_run(AT402_SQL_CHECK_AT_ONCE, NULL, NULL);
	GetUserIdAndSecContext(&user, &context);
	guc_level = NewGUCNestLevel();
	set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
					  GUC_ACTION_SAVE, true, 0, false);
	SetUserIdAndSecContext(owner_of_function(), context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	enable_timeout_after(STATEMENT_TIMEOUT, a->limit_ms);
	at402_run(AT402_SQL_AUTHORISE, (Datum[]) {Int32GetDatum(a->device_id),
					CStringGetTextDatum(a->check->family), CStringGetTextDatum(a->check->serial)},
			  NULL);
	disable_timeout(STATEMENT_TIMEOUT, false);
	SetUserIdAndSecContext(user, context);
	AtEOXact_GUC(false, guc_level);
	MemoryContextSwitchTo(a->context);
	a->answer = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	MemoryContextSwitchTo(caller);
	SPI_finish();
	if (a->answer != NULL && strcmp(a->answer, "APPROVE") != 0 &&
		strcmp(a->answer, "DECLINE") != 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("at402.authorise_driver() returned \"%s\"", a->answer),
				errdetail("Expected APPROVE, DECLINE or NULL."));
}

/* The id of an enabled device; 0: there is none. */
static int
find_device(const char *imei)
{
	Datum		name = CStringGetTextDatum(imei);
	bool		null;

	if (at402_run(AT402_SQL_FIND_DEVICES, (Datum[]) {make_array(&name, NULL, 1, TEXTOID)},
				  NULL) != 1 ||
		!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &null)))
		return 0;
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));
}

const char *
at402_authorise(const At402Check *check, int limit_ms, char **problem)
{
	Asking		a = {.check = check, .limit_ms = limit_ms, .context = CurrentMemoryContext};
	ErrorData  *error;

	*problem = NULL;
	at402_statements_refresh();
	SPI_connect();
	enable_timeout_after(STATEMENT_TIMEOUT, limit_ms);
	a.device_id = find_device(check->imei);
	if (a.device_id != 0)
	{
		if (!at402_attempt(AT402_SUBTRANSACTION, ask, &a, &error))
		{
			a.answer = NULL;
			*problem = MemoryContextStrdup(a.context, error->message);
		}
		enable_timeout_after(STATEMENT_TIMEOUT, limit_ms);
		at402_run(AT402_SQL_DRIVER_IO, (Datum[]) {Int32GetDatum(a.device_id),
						TimestampTzGetDatum(check->at), CStringGetTextDatum(check->serial),
						CStringGetTextDatum(check->family),
						a.answer != NULL ? CStringGetTextDatum(a.answer) : (Datum) 0},
				  a.answer != NULL ? NULL : "    n");
	}
	SPI_finish();
	return a.answer;
}
