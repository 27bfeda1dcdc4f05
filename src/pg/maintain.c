/*
 * maintain.c - upkeep that is called in SQL, done as the owner of the tables
 *
 * The upkeep itself is written in SQL (sql/60-maintain.sql).  It moves and
 * deletes rows, so triggers of the owner run, and not with the rights of a
 * superuser who calls it (owner.c).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "pg/owner.h"

PG_FUNCTION_INFO_V1(at402_as_owner);

#define MAX_ARGUMENTS 4

/* SELECT * FROM at402_internal.<name>_as_caller($1, ...) */
static char *
call_of(Oid function, int arguments)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT * FROM at402_internal.%s_as_caller(", get_func_name(function));
	for (int i = 1; i <= arguments; i++)
		appendStringInfo(&sql, "%s$%d", i > 1 ? ", " : "", i);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/*
 * Any function in SQL that is bound to this one returns the rows of the function of
 * at402_internal that is called as it is, with _as_caller behind: run as the tables' owner.
 */
Datum
at402_as_owner(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[MAX_ARGUMENTS];
	Datum		values[MAX_ARGUMENTS];
	char		nulls[MAX_ARGUMENTS];
	At402Caller caller;

	Assert(PG_NARGS() <= MAX_ARGUMENTS);
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < PG_NARGS(); i++)
	{
		types[i] = get_fn_expr_argtype(fcinfo->flinfo, i);
		values[i] = fcinfo->args[i].value;
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	caller = at402_become_owner();
	SPI_connect();
	if (SPI_execute_with_args(call_of(fcinfo->flinfo->fn_oid, PG_NARGS()), PG_NARGS(), types,
							  values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not do the upkeep");
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	at402_become_caller(&caller);
	return (Datum) 0;
}
