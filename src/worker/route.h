/*
 * route.h - where commands go, and the message that is on its way there
 *
 * A peer is a connection, or an address that datagrams come from.  The route of
 * a device is the peer that last brought a good packet of it; a login alone is
 * enough where there is none.  One message a peer is on its way, so that the next
 * answer is its.
 */
#ifndef AT402_ROUTE_H
#define AT402_ROUTE_H

#include "pg/command.h"
#include "worker/listener.h"

/* A message that was sent. */
typedef struct At402Talk
{
	dlist_node	node;			/* in talks, or in finished */
	struct At402Peer *peer;		/* NULL: finished */
	char		imei[AT402_SENDER_SIZE];
	At402Outcome outcome;
	at402_awaited awaited;
	instr_time	sent;
	instr_time	heard;			/* the line that may be the last */
	char	   *answer;			/* lines; NULL: none */
	size_t		length;
	size_t		size;
} At402Talk;

typedef struct At402Peer
{
	At402PeerKey key;
	at402_ticket ticket;		/* to write to */
	bool		kept;			/* the datagram, in net and in the list of these */
	dlist_node	of_kept;
	dlist_head	routes;
	At402Talk  *talk;			/* on its way */
	int			claims;			/* number of the claim that it takes part in */
} At402Peer;

/* Where to a device's commands go. */
typedef struct At402Route
{
	char		imei[AT402_SENDER_SIZE];	/* key */
	int			device_id;
	At402Peer  *peer;
	dlist_node	of_peer;
	bool		by_packet;		/* and not by a login only */
	bool		missed;			/* its peer was not quiet: after its next answer */
	bool		listed;			/* in looks */
	bool		avoided;		/* its command alone could not be claimed, at ... */
	instr_time	avoided_at;
	uint64		avoided_passes;
	dlist_node	look;
} At402Route;

struct At402Commands
{
	MemoryContext context;		/* of one step */
	HTAB	   *peers;
	HTAB	   *routes;
	dlist_head	looks;			/* routes to be looked at */
	dlist_head	talks;			/* the one sent first is first */
	instr_time	talks_looked;
	dlist_head	finished;		/* to be written down */
	uint32		calls;			/* that were followed, see At402ListenerStat */
	int			claims;			/* so far */
	dlist_head	kept;			/* peers whose datagrams net keeps */
	bool		recovered;		/* from the listener before this one; tried at ... */
	instr_time	recovering;
	bool		unwritten;		/* some of them could not be written down, at ... */
	instr_time	written;
	instr_time	looked;			/* at all routes */
	instr_time	worked;			/* last, and then there is a rest */
	int64		rest_ms;
	int			step;			/* so many devices, or answers, in a transaction */
	int			failures;		/* in a row */
	uint64		passes;			/* claims that brought something */
	bool		failing;		/* the log has said so, last at ... */
	instr_time	failed;
};

static inline bool
at402_peer_is_udp(const At402Peer *p)
{
	return p->key.ticket == 0;
}

/* Puts it on the list of those to be looked at, or takes it off. */
extern void at402_route_list(At402Commands *c, At402Route *r);
extern void at402_route_unlist(At402Route *r);

/* What was not replied to now cannot be: the end of the turn. */
extern void at402_routes_release(At402Listener *l);

/* It is over: what became of it will be written down. */
extern void at402_talk_finish(At402Listener *l, At402Talk *t, const char *state);

/* Ends what has waited long enough, and when that is due, in ms; -1: nothing waits. */
extern void at402_talks_end_old(At402Listener *l);
extern int64 at402_talks_due(const At402Commands *c);

#endif							/* AT402_ROUTE_H */
