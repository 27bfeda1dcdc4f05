/*
 * fence.c - geofences: who entered and left which, judged as reports are stored
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "utils/inval.h"

PG_FUNCTION_INFO_V1(at402_geofence_version_changed);

/*
 * Trigger of at402.geofence_version: whoever keeps in mind whether there are
 * geofences looks again, when this transaction commits.
 */
Datum
at402_geofence_version_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("at402_geofence_version_changed() is a trigger"));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
