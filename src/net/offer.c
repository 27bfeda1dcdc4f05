/*
 * offer.c - what TCP and UDP share: the clock, tickets, and how a frame is
 * handed to the driver
 */
#include "net/internal.h"

#include <time.h>

int64_t
at402_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*
 * A ticket: 2 bits kind, 30 bits generation, 32 bits index.  The kind is never
 * 0, so no ticket is.
 */
at402_ticket
at402_ticket_make(at402_ticket_kind kind, uint32_t generation, int index)
{
	return (at402_ticket) kind << 62 | (at402_ticket) (generation & 0x3FFFFFFF) << 32 |
		(uint32_t) index;
}

at402_ticket_kind
at402_ticket_kind_of(at402_ticket ticket)
{
	return (at402_ticket_kind) (ticket >> 62);
}

uint32_t
at402_ticket_index(at402_ticket ticket)
{
	return (uint32_t) ticket;
}

bool
at402_offer(at402_net *net, const at402_input *input)
{
	if (!net->full)
		net->full = !net->callbacks.frame(net->callbacks.context, input);
	if (net->full)
		return false;
	at402_count(&net->counters->frames, 1);
	return true;
}
