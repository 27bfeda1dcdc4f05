/*
 * fence_known.h - are there geofences?
 */
#ifndef AT402_FENCE_KNOWN_H
#define AT402_FENCE_KNOWN_H

#include "pg/batch.h"

/*
 * Until when one of them is valid, as this transaction sees them; DT_NOBEGIN: there
 * is none.  To be asked before fence_tree.h is.
 */
extern TimestampTz at402_fences_until(const At402Batch *batch);

/* Says that what a geofence would have brought is lost, but not at each batch; 0: all
 * of them. */
extern void at402_fence_lost(const At402Batch *batch, int geofence_id, const ErrorData *error);

#endif							/* AT402_FENCE_KNOWN_H */
