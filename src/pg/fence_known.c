/*
 * fence_known.c - are there geofences?
 *
 * Each backend knows until when one of them is valid, where they are (fence_tree.c)
 * and what some of them look like (fence_shape.c).  It looks again when at402.geofence_version was changed: the
 * change of a transaction reaches the others with its commit, as that of the
 * catalogue does, and its own backend with the next statement, and once more when
 * it is rolled back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/attempt.h"
#include "pg/environment.h"
#include "pg/fence_known.h"
#include "pg/fence_shape.h"
#include "pg/fence_tree.h"
#include "pg/statements.h"

#define QUIET (60 * USECS_PER_SEC)	/* between two words on the same geofence */

/* While this holds: what the transaction sees that has looked, as this role. */
static bool looked = false;
static Oid	looked_as;
static LocalTransactionId looked_in;	/* 0: what is committed */
static Oid	versions;			/* at402.geofence_version */
static TimestampTz valid_until; /* the last of them; DT_NOBEGIN: there is none */

static void
relation_changed(Datum unused, Oid relation)
{
	if (relation == versions || !OidIsValid(versions) || !OidIsValid(relation))
		looked = false;
}

static void
look(void *argument)
{
	bool		null;

	SPI_connect();
	valid_until = DT_NOBEGIN;
	if (at402_run(AT402_SQL_FENCES_UNTIL, NULL, NULL) == 1)
	{
		Datum		until = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);

		if (!null)
			valid_until = DatumGetTimestampTz(until);
	}
	SPI_finish();
}

/* A transaction that sees what was when it began may have heard of changes since. */
static LocalTransactionId
fixed_transaction(void)
{
	return IsolationUsesXactSnapshot() ? MyProc->lxid : InvalidLocalTransactionId;
}

void
at402_fence_lost(const At402Batch *batch, int geofence_id, const ErrorData *error)
{
	static int	last_id = -1;
	static TimestampTz last_said = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (batch->listener != 0 && geofence_id == last_id && now - last_said < QUIET)
		return;
	last_id = geofence_id;
	last_said = now;
	ereport(WARNING, errcode(error->sqlerrcode),
			errmsg("could not judge geofence %d: %s", geofence_id, error->message),
			errdetail("The reports are stored; visits and events of this geofence are not."));
}

TimestampTz
at402_fences_until(const At402Batch *batch)
{
	static bool called_back = false;
	ErrorData  *error;

	if (!called_back)
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	called_back = true;
	if (looked && looked_as == GetUserId() && looked_in == fixed_transaction())
		return valid_until;
	looked = true;				/* first: what changes meanwhile is looked at again */
	looked_as = GetUserId();
	looked_in = fixed_transaction();
	at402_fence_tree_forget();
	at402_fence_shapes_forget();
	valid_until = DT_NOBEGIN;
	versions = get_relname_relid("geofence_version", get_namespace_oid("at402", false));
	if (OidIsValid(versions) && !at402_attempt(AT402_SUBTRANSACTION, look, NULL, &error))
	{
		looked = false;
		if (at402_is_timeout(error) || at402_is_environment(error, batch->attempts))
			at402_raise_environment(error);
		at402_fence_lost(batch, 0, error);
	}
	return valid_until;
}

PG_FUNCTION_INFO_V1(at402_geofence_version_changed);

/* Trigger of at402.geofence_version: all backends look again, when this
 * transaction commits. */
Datum
at402_geofence_version_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("at402_geofence_version_changed() is a trigger"));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
