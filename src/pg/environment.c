/*
 * environment.c - whose fault is an error: the environment's, or a report's?
 *
 * A report that is at fault goes to quarantine and is answered; while the
 * environment is at fault nobody is answered.  Either mistake costs: a fault
 * of one report taken for the environment's would silence the fleet, the other
 * way round a full disk would fill the quarantine.  So the SQLSTATE decides
 * where it is sure, and what becomes of the others decides where it is not:
 *
 * environment      what only disk, memory, network, replication, shutdown or
 *                  recovery raise; a partition that is missing, since it may
 *                  just be being made; tables, columns, rights or policies of
 *                  ours that are missing, looked up and not guessed
 * not sure         internal errors, since PostGIS raises nearly everything as
 *                  one, and others that a statement or what it calls may raise
 *                  for one row or for all.  It is the row's where others pass
 * row              everything else: values, constraints, the code of users
 *
 * A timeout is not sure either, but finding out takes time: the listener does.
 */
#include "postgres.h"

#include "commands/extension.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "pg/environment.h"
#include "pg/settings.h"

#define PATIENCE 3				/* attempts while a partition may be being made */

/* The first table that cannot be stored into, and why. */
static const char *const find_missing =
"SELECT t.table_name, m.problem, pg_catalog.quote_ident(CURRENT_USER::pg_catalog.text), "
"  CURRENT_USER::pg_catalog.text, pg_catalog.pg_get_userbyid(c.relowner) "
"FROM at402_internal.at402_data_tables() WITH ORDINALITY AS t "
"LEFT JOIN (pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n "
"    ON n.oid OPERATOR(pg_catalog.=) c.relnamespace AND n.nspname OPERATOR(pg_catalog.=) 'at402') "
"  ON c.relname::pg_catalog.text OPERATOR(pg_catalog.=) t.table_name "
"CROSS JOIN LATERAL (SELECT CASE "
"  WHEN c.oid IS NULL THEN 'table' "
"  WHEN NOT pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE') THEN 'schema' "
"  WHEN NOT pg_catalog.has_table_privilege(c.oid, 'INSERT') "
"    OR NOT pg_catalog.has_table_privilege(c.oid, 'SELECT') "
"    OR t.table_name OPERATOR(pg_catalog.~) '^device' "
"      AND NOT pg_catalog.has_table_privilege(c.oid, 'UPDATE') THEN 'right' "
"  WHEN pg_catalog.row_security_active(c.oid) AND NOT EXISTS ( "
"    SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid OPERATOR(pg_catalog.=) c.oid "
"      AND p.polpermissive AND p.polcmd OPERATOR(pg_catalog.=) ANY (ARRAY['r', '*']::pg_catalog.\"char\"[]) "
"      AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) AS r(oid) "
"        WHERE r.oid OPERATOR(pg_catalog.=) 0::pg_catalog.oid "
"          OR pg_catalog.pg_has_role(r.oid, 'USAGE'))) THEN 'policy' "
"  WHEN EXISTS (SELECT FROM at402_internal.at402_data_columns() AS d "
"    WHERE d.table_name OPERATOR(pg_catalog.=) t.table_name "
"      AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a "
"        WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND NOT a.attisdropped "
"          AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) d.column_name) "
"      AND NOT EXISTS (SELECT FROM at402_internal.at402_later_columns() AS l "
"        WHERE l.table_name OPERATOR(pg_catalog.=) t.table_name "
"          AND l.column_name OPERATOR(pg_catalog.=) d.column_name)) THEN 'column' END) AS m(problem) "
"WHERE m.problem IS NOT NULL AND t.table_name OPERATOR(pg_catalog.=) ANY ('{device, device_state, "
"  position, event, io, motion, can, can_frame, ble, module, frame, quarantine}'::pg_catalog.text[]) "
"ORDER BY t.ordinality LIMIT 1";

/* The statement for the role of the row just read, which lacks these rights. */
static void
mend_rights(char *mend, size_t size, const char *rights)
{
	HeapTuple	row = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	const char *quoted_role = SPI_getvalue(row, desc, 3);
	const char *role = SPI_getvalue(row, desc, 4);
	const char *owner = SPI_getvalue(row, desc, 5);

	if (strcmp(role, at402_role) == 0 && strcmp(role, owner) != 0)
		strlcpy(mend, AT402_HAND_OVER, size);
	else if (strcmp(owner, at402_role) == 0 && strcmp(role, owner) != 0)
		snprintf(mend, size, "GRANT %s TO %s;", quote_identifier(owner), quoted_role);
	else
		snprintf(mend, size, "GRANT %s TO %s;", rights, quoted_role);
}

const char *
at402_missing(const char **hint)
{
	static char missing[256];
	static char mend[512];
	const char *table;
	const char *problem;

	*hint = mend;
	if (!OidIsValid(get_extension_oid("at402", true)))
	{
		*hint = "CREATE EXTENSION at402 CASCADE; SELECT at402_create_tables();";
		return "extension at402 does not exist";
	}
	strlcpy(mend, "SELECT at402_create_tables();", sizeof(mend));

	SPI_connect();
	if (SPI_execute(find_missing, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for the tables of at402");
	if (SPI_processed == 0)
	{
		SPI_finish();
		return NULL;
	}
	table = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	problem = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	if (strcmp(problem, "table") == 0)
		snprintf(missing, sizeof(missing), "table at402.%s does not exist", table);
	else if (strcmp(problem, "column") == 0)
		snprintf(missing, sizeof(missing), "a column of table at402.%s does not exist", table);
	else if (strcmp(problem, "policy") == 0)
	{
		snprintf(missing, sizeof(missing),
				 "row security of table at402.%s is forced, and no policy lets the role read", table);
		snprintf(mend, sizeof(mend), "CREATE POLICY at402_reads ON at402.%s FOR SELECT TO %s "
				 "USING (true);", table,
				 SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3));
	}
	else if (strcmp(problem, "schema") == 0)
	{
		strlcpy(missing, "the role may not use schema at402", sizeof(missing));
		mend_rights(mend, sizeof(mend), "USAGE ON SCHEMA at402");
	}
	else
	{
		snprintf(missing, sizeof(missing), "the role may not write to table at402.%s", table);
		mend_rights(mend, sizeof(mend), psprintf("SELECT, INSERT, UPDATE ON at402.%s", table));
	}
	SPI_finish();
	return missing;
}

bool
at402_is_timeout(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* Does the upkeep keep rows out of a default partition just now? */
static bool
partition_is_made(void)
{
	bool		made;

	SPI_connect();
	if (SPI_execute("SELECT FROM pg_catalog.pg_constraint AS c "
					"JOIN pg_catalog.pg_class AS t ON t.oid OPERATOR(pg_catalog.=) c.conrelid "
					"JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.relnamespace "
					"WHERE n.nspname OPERATOR(pg_catalog.=) 'at402' "
					"AND pg_catalog.starts_with(c.conname::pg_catalog.text, 'at402_makes_'::pg_catalog.text)",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for partitions that are being made");
	made = SPI_processed > 0;
	SPI_finish();
	return made;
}

bool
at402_is_environment(const ErrorData *error, int attempts)
{
	const char *hint;

	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_SYSTEM_ERROR:
			return true;
	}
	switch (error->sqlerrcode)
	{
		case ERRCODE_READ_ONLY_SQL_TRANSACTION:
		case ERRCODE_ADMIN_SHUTDOWN:
		case ERRCODE_CRASH_SHUTDOWN:
		case ERRCODE_CANNOT_CONNECT_NOW:
		case ERRCODE_DATABASE_DROPPED:
			return true;
		case ERRCODE_CHECK_VIOLATION:
			/* of a partition: it names the table and no constraint */
			if ((error->constraint_name == NULL && error->table_name != NULL) || partition_is_made())
				return attempts < PATIENCE;
			break;
	}
	return at402_missing(&hint) != NULL;
}

bool
at402_is_of_the_row(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_INTERNAL_ERROR:
		case ERRCODE_FEATURE_NOT_SUPPORTED:
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_CONFIG_FILE_ERROR:
		case ERRCODE_FDW_ERROR:
		case ERRCODE_EXTERNAL_ROUTINE_EXCEPTION:
		case ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION:
			return false;
	}
	return true;
}

bool
at402_is_undecided(const ErrorData *error)
{
	return !at402_is_of_the_row(error) && !at402_is_timeout(error) &&
		error->sqlerrcode != ERRCODE_READ_ONLY_SQL_TRANSACTION;
}

void
at402_raise_environment(ErrorData *error)
{
	const char *hint;

	if (error->hint == NULL && !at402_is_timeout(error) && at402_missing(&hint) != NULL)
		error->hint = psprintf("Execute: %s", hint);
	ReThrowError(error);
}
