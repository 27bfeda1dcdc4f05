/*
 * presence.h - which trackers are connected, into the tables
 */
#ifndef AT402_PRESENCE_H
#define AT402_PRESENCE_H

#include "pg/batch.h"

/*
 * Stores what the list presence of the batch says, in at402.device_state and as
 * events online and offline, within the transaction that is open.  What is
 * refused has its rejection, the others are stored.  Raises what is the
 * environment's fault, and timeouts.
 */
extern void at402_store_presence(At402Batch *batch);

/*
 * IMEIs of the devices that listener left connected when it ended: of this
 * number, or of one that is no more.  Raises what storing would while the
 * database is read-only.
 */
extern List *at402_left_connected(int listener);

#endif							/* AT402_PRESENCE_H */
