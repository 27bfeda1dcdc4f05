/*
 * listener.h - the parts of the background worker that listens
 *
 *     listener.c   the loop: wait, interrupts, net, store what is due
 *     driver.c     devices that ask whether somebody may drive
 *     retry.c      what fails or hangs: whose fault it is, and again later
 *     commit.c     a transaction, and the answers to it
 *     command.c    commands to devices, and what becomes of them
 *     route.c      where they go, and the answers
 *     queue.c      frames that wait
 *     senders.c    whose a text line is
 *     presence.c   which trackers are connected
 *     port.c       addresses and port, settings of net
 *     refusals.c   what the log says of peers that are refused
 *     state.c      what the listener says it does
 *
 * Each uses only files below it.
 */
#ifndef AT402_LISTENER_H
#define AT402_LISTENER_H

#include "lib/ilist.h"
#include "portability/instr_time.h"
#include "utils/hsearch.h"

#include "pg/batch.h"
#include "worker/worker.h"

#define AT402_LOOK_AGAIN_MS 1000	/* for extension, tables, a free port */
#define AT402_REFUSALS 8		/* kinds that are logged */

typedef struct At402Commands At402Commands;
typedef struct At402Drivers At402Drivers;
typedef struct At402Senders At402Senders;
typedef struct At402Presences At402Presences;

typedef struct At402Listener
{
	int			number;
	At402ListenerStat *stat;
	at402_net  *net;
	bool		backlog;		/* the last turn left some of what lies at the sockets */

	/* queue.c */
	MemoryContext context;		/* of what is queued */
	dlist_head	queue;			/* of At402Queued */
	int			queued_reports;
	size_t		queued_bytes;
	instr_time	first_arrived;	/* of the queue */
	bool		full;			/* net was told that there is no room */

	/* retry.c */
	int			failures;		/* to store the queue, in a row */
	bool		lacks;			/* at the last of them a table or a right was missing */
	int64		retry_ms;		/* after a failure */
	instr_time	failed;
	bool		undecided;		/* what others bring will tell whose fault it was */
	bool		others_came;	/* since then */
	bool		has_hung;		/* a batch ran into a timeout, then ... */
	instr_time	hung;
	uint64		passes;			/* batches of which reports were stored */
	HTAB	   *suspects;		/* devices whose reports hang while others pass */
	int			waiting_suspects;	/* that have a frame */
	size_t		suspect_bytes;
	bool		suspect_tried;	/* the time for them is a share of all, from ... */
	instr_time	suspects_tried;
	int64		suspects_rest_ms;

	/* commit.c */
	int			committed_frames;	/* of the last transaction */
	uint64		rejected;		/* reports since one was stored */
	bool		quarantine_seen;	/* the log has said so, last needed at ... */
	instr_time	quarantined;

	At402Commands *commands;
	At402Drivers *drivers;
	At402Senders *senders;

	At402Presences *presence;

	/* port.c */
	bool		listening;
	bool		follows;		/* waits for the first listener to open it */
	bool		forgotten;		/* trackers connected to the listener before this one */
	char		missing[AT402_TEXT_SIZE];	/* what the log has said is missing */
	char		refused[AT402_TEXT_SIZE];	/* what the log has said of the port */
	instr_time	looked;			/* when extension and port were looked for */
	char	   *addresses;		/* what the port was opened for */
	int			port;
	bool		tcp;
	bool		udp;

	/* refusals.c */
	instr_time	refusals_looked;
	uint64		refusal_counts[AT402_REFUSALS];
	instr_time	refusal_seen[AT402_REFUSALS];
} At402Listener;

static inline int64
at402_elapsed_ms(instr_time since)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, since);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/* Of two times to wait, where -1 is for ever. */
static inline int64
at402_earliest(int64 a, int64 b)
{
	return a < 0 ? b : b < 0 ? a : Min(a, b);
}

/* A frame that waits to be stored. */
typedef struct At402Queued
{
	dlist_node	node;
	at402_input	input;
	char		sender[AT402_SENDER_SIZE];	/* IMEI as sent; "" */
	instr_time	arrived;
	int			reports;		/* that it claims to hold */
	const char *sqlstate;		/* it has failed alone too often, with this; NULL */
	At402Item  *item;			/* of the attempt that is under way */
	At402Verdict verdict;		/* of the one that was committed */
} At402Queued;

/* Where frames come from: a connection, or an address that sends datagrams. */
typedef struct At402PeerKey
{
	at402_ticket ticket;		/* 0: datagrams */
	char		peer[AT402_PEER_SIZE];
	uint16		port;
} At402PeerKey;

static inline bool
at402_is_udp(const at402_input *input)
{
	return strcmp(input->transport, "udp") == 0;
}

#define AT402_QUEUED(iter) dlist_container(At402Queued, node, (iter).cur)

extern void at402_queue_init(At402Listener *l);

/* Is there room for one more frame? */
extern bool at402_queue_has_room(const At402Listener *l);

/* With a copy of the bytes, which are net's; NULL: no memory.  Does not raise. */
extern At402Queued *at402_queue_make(At402Listener *l, const at402_input *input);
extern void at402_queue_add(At402Listener *l, At402Queued *q);

/* It is answered, or will not be. */
extern void at402_queue_free(At402Listener *l, At402Queued *q);

/*
 * Stores these frames in one transaction that may take so long (ms; 0: without
 * end), answers them when it is committed, and forgets them.  Else returns the
 * error, and nothing has happened.
 */
extern ErrorData *at402_commit(At402Listener *l, dlist_head *frames, int limit_ms);

extern void at402_retry_init(At402Listener *l);

/*
 * Is the frame of a device that hangs?  Then it is taken care of: tried apart,
 * or forgotten while another one of the device waits.  Does not raise.
 */
extern bool at402_retry_takes(At402Listener *l, At402Queued *q);

/* Stores the queue; finds out whose fault it is when that fails. */
extern void at402_retry_queue(At402Listener *l);

/* Tries one of those that hang, and when the next is due; -1: there are none. */
extern void at402_retry_suspect(At402Listener *l);
extern int64 at402_retry_due(const At402Listener *l);

extern void at402_senders_init(At402Listener *l);

/* No byte of a key is undefined. */
extern void at402_peer_key(At402PeerKey *key, const at402_input *input);
extern void at402_connection_key(At402PeerKey *key, at402_ticket ticket);

/* A packet or login of this device has come from there. */
extern void at402_senders_note(At402Listener *l, const at402_input *input, const char *imei);

/* Whose line it is; NULL: nobody's, which is to be refused. */
extern const char *at402_senders_find(At402Listener *l, const at402_input *line);
extern void at402_senders_refuse(At402Listener *l, const at402_input *line);

/* A connection has ended. */
extern void at402_senders_gone(At402Listener *l, at402_ticket ticket);

extern void at402_presence_init(At402Listener *l);
extern void at402_presence_gone(At402Listener *l, at402_ticket ticket);

/* A frame of this sender was stored and answered. */
extern void at402_presence_note(At402Listener *l, const At402Queued *q);

/* Stores what at402.device_state does not know yet; false when that failed. */
extern bool at402_presence_flush(At402Listener *l);

/* Milliseconds until that is due; -1: there is nothing. */
extern int64 at402_presence_due(const At402Listener *l);

/*
 * The listener begins: the trackers that were connected to the one before it
 * are not any more.  False: the database cannot be written to.
 */
extern bool at402_presence_recover(At402Listener *l, ErrorData **error);

extern void at402_port_set_limits(At402Listener *l);

/* Opens, moves or completes the port as far as settings and tables ask for it. */
extern void at402_port_check(At402Listener *l, bool reloaded);

/* Milliseconds until at402_port_check has to be called; -1: all is open. */
extern int64 at402_port_due(const At402Listener *l);

/* Shows what the listener does, as far as it is known now. */
extern void at402_state_publish(At402Listener *l);

extern void at402_refusals_init(At402Listener *l);
extern void at402_refusals_log(At402Listener *l);
extern int64 at402_refusals_due(const At402Listener *l);

extern void at402_commands_init(At402Listener *l);

/*
 * A packet or login is committed and about to be answered: where it came from is
 * where commands to its device go.
 */
extern void at402_routes_note(At402Listener *l, const At402Queued *q);

/* Is this text line the answer to a command?  Then nobody else needs it.  Does
 * not raise. */
extern bool at402_routes_hear(At402Listener *l, const at402_input *line);

/* A connection has ended. */
extern void at402_routes_gone(At402Listener *l, at402_ticket ticket);

/* Sends what is due, after the answers to reports; and when the next turn is
 * due, in ms; -1: not by itself. */
extern void at402_commands_turn(At402Listener *l);
extern int64 at402_commands_due(const At402Listener *l);

extern void at402_drivers_init(At402Listener *l);

/* Does this text line ask about a driver?  Does not raise. */
extern bool at402_drivers_hear(At402Listener *l, const at402_input *line);
extern void at402_drivers_turn(At402Listener *l);
extern int64 at402_drivers_due(const At402Listener *l);

#endif							/* AT402_LISTENER_H */
