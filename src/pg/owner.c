/*
 * owner.c - work on the tables as their owner
 *
 * Triggers, defaults and rules on the tables are code of their owner, and run
 * with the rights of whoever stores.  When that is a superuser who calls
 * at402_ingest(), that code could do anything.  So it is done as PostgreSQL
 * does REINDEX and VACUUM: as the owner of the table, and restricted, so that
 * the code cannot find its way back.  Whoever may not act for the owner has
 * only his own rights, and keeps them.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "pg/owner.h"

Oid
at402_owner_of(const char *name)
{
	Oid			schema = get_namespace_oid("at402", true);
	Oid			table = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

Oid
at402_tables_owner(void)
{
	return at402_owner_of("position");
}

At402Caller
at402_become(Oid role)
{
	At402Caller caller = {0};

	GetUserIdAndSecContext(&caller.user, &caller.context);
	if (!OidIsValid(role) || role == caller.user)
		return caller;
	caller.switched = true;
	SetUserIdAndSecContext(role, caller.context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	caller.guc_level = NewGUCNestLevel();
	return caller;
}

At402Caller
at402_become_owner(void)
{
	Oid			owner = at402_tables_owner();

	if (!OidIsValid(owner) || owner == GetUserId() || !is_member_of_role(GetUserId(), owner))
		return (At402Caller) {0};
	/* what is deferred could only run later, as the caller */
	SPI_connect();
	if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not make constraints immediate");
	SPI_finish();
	return at402_become(owner);
}

void
at402_become_caller(const At402Caller *caller)
{
	if (!caller->switched)
		return;
	AtEOXact_GUC(false, caller->guc_level);
	SetUserIdAndSecContext(caller->user, caller->context);
}
