/*
 * state.c - what the listener says it does
 *
 * Follows from what the other parts have found, and is said here only.  To be
 * called where that changes.
 */
#include "postgres.h"

#include "worker/listener.h"

#define SURE_REJECTED 10		/* reports in a row, and none was stored */

static At402State
state_of(const At402Listener *l)
{
	if (l->failures > 0)		/* an outage goes on, wherever the port is */
		return l->lacks ? AT402_WAITING : AT402_RETRYING;
	if (!l->listening)
		return AT402_WAITING;
	if (!l->tcp && !l->udp)
		return AT402_OFF;
	return l->rejected < SURE_REJECTED ? AT402_LISTENING : AT402_QUARANTINING;
}

void
at402_state_publish(At402Listener *l)
{
	l->stat->state = state_of(l);
}
