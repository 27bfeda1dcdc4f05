/*
 * net.h - sockets: from bytes on a port to complete, checked frames and back
 *
 * net knows the core and libc, and nothing of PostgreSQL: it allocates with
 * malloc, never raises, never blocks (but see at402_net_listen) and logs
 * nothing.  Whoever drives it (the background worker, a unit test) gets frames
 * through a callback and says later, when they are stored, which to answer:
 *
 *     for (;;)
 *         wait until at402_net_fd() is readable, or at402_net_timeout() is over
 *         at402_net_turn()             calls frame() and gone()
 *         where a batch is due: store it, at402_net_answer() for each of its
 *         frames, at402_net_resume(), at402_net_flush()
 *
 * Bounded everywhere: work per socket and turn, bytes per connection, bytes of
 * all connections together, connections, datagrams that wait for an answer.
 * What goes past a bound is refused and counted, never queued.
 */
#ifndef AT402_NET_H
#define AT402_NET_H

#include <stdatomic.h>

#include "core/input.h"

typedef struct at402_net at402_net;

/* Names a connection or a datagram; stays unique when its slot is used again. */
typedef uint64_t at402_ticket;

/*
 * Everything net counts, once: the counters, and what is so now.  What reads
 * them (a view of statistics) goes by these lists.
 */
#define AT402_NET_COUNTERS(X)                                                                      \
	X(accepted)					/* connections, without the refused */                             \
	X(refused)					/* over max_connections, max_per_address or memory */              \
	X(bytes)					/* received */                                                     \
	X(frames)					/* complete and good */                                            \
	X(bad_crc)                                                                                     \
	X(unknown_protocol)			/* first byte or length impossible, line too long: stream not      \
								 * followed; half a frame at the end of a datagram */              \
	X(timeouts)					/* closed by login, frame or idle timeout */                       \
	X(datagrams)				/* received */                                                     \
	X(datagrams_lost)			/* dropped by the kernel: SO_RXQ_OVFL */                           \
	X(answers)					/* 0x06 handed to the kernel */                                    \
	X(answers_lost)				/* connection gone before its answer, or datagram not taken by     \
								 * the kernel */
#define AT402_NET_GAUGES(X)                                                                        \
	X(connections)				/* open */                                                         \
	X(buffered_bytes)			/* of unfinished frames, and from frames turned down on */

/*
 * The owner may place them in shared memory: net is the only writer and writes
 * whole words.
 */
typedef struct at402_net_counters
{
#define AT402_COUNTER(name) _Atomic uint64_t name;
	AT402_NET_COUNTERS(AT402_COUNTER)
	AT402_NET_GAUGES(AT402_COUNTER)
} at402_net_counters;

/* What went over a connection. */
typedef struct at402_net_traffic
{
	int64_t		connected_at;	/* Unix microseconds */
	int64_t		last_frame_at;	/* 0: none yet */
	uint64_t	frames;
	uint64_t	answers;
	uint64_t	bytes;
} at402_net_traffic;

/*
 * A connection as at402_stat_connection shows it.  Written by net and never read
 * by it, read by other processes: the writer makes change odd before and even
 * after; a reader copies and retries until it saw the same even number on both sides.
 */
typedef struct at402_net_slot
{
	_Atomic uint32_t change;
	bool		in_use;
	at402_origin from;
	at402_net_traffic traffic;
} at402_net_slot;

typedef struct at402_net_limits
{
	int			max_per_address;	/* TCP connections from one address; 0: no limit */
	size_t		max_buffered_bytes; /* buffered_bytes of all connections */
	int64_t		idle_timeout_ms;	/* since the last good frame, or its answer; 0: none */
	int64_t		login_timeout_ms;	/* for the first frame, and for any frame that
									 * has begun; 0: none */
} at402_net_limits;

/*
 * Callbacks may call at402_net_answer, _forget, _close, _resume and _flush
 * (which then waits for the end of the turn), nothing else of net.
 */
typedef struct at402_net_callbacks
{
	void	   *context;

	/*
	 * A frame has come; its bytes are valid during the callback only.  False:
	 * no room now, for anybody; net keeps the bytes, stops reading, and offers
	 * this frame and others after at402_net_resume.
	 */
	bool		(*frame) (void *context, const at402_input *input);

	/*
	 * A connection has ended that had sent a good frame; called once for it, by
	 * at402_net_turn or at402_net_flush.  Its ticket is no longer known.
	 */
	void		(*gone) (void *context, at402_ticket ticket);
} at402_net_callbacks;

/*
 * slots: array of max_connections (at least 1) that outlives the net; counters
 * likewise, which go on from what they were.  Until at402_net_set_limits there
 * are no other limits.  NULL when memory or the poller cannot be had (errno).
 */
extern at402_net *at402_net_create(const at402_net_callbacks *callbacks,
								   at402_net_counters *counters,
								   at402_net_slot *slots, int max_connections);

/* Closes all sockets, without a callback.  Unsent answers are lost: the senders
 * repeat. */
extern void at402_net_destroy(at402_net *net);

/* Takes effect at once, also for connections that are open. */
extern void at402_net_set_limits(at402_net *net, const at402_net_limits *limits);

/* Is the port also for others?  SO_REUSEPORT lets in any process of the same user. */
typedef enum at402_sharing
{
	AT402_PORT_ALONE,
	AT402_PORT_FIRST,			/* others may follow, but nobody must have it yet */
	AT402_PORT_FOLLOWS			/* somebody has it, and may share it */
} at402_sharing;

/*
 * Listens on these addresses ("*" all, or a comma-separated list of names and
 * numeric addresses; at most 32) and this port (0: one the kernel chooses, the
 * same for TCP and UDP and all addresses).  Called again it moves: the new
 * sockets are opened first where the old do not stand in their way; open
 * connections stay; datagrams not answered yet get no answer.  An empty list,
 * or neither TCP nor UDP, ends listening.  Names are looked up here, which may
 * take as long as the resolver does.
 *
 * False when nothing could be bound; then error (size bytes) says which
 * address and why, in words, and the former sockets go on listening where
 * they could be kept.  With some addresses bound and others not, true and
 * error holds the first refusal; else error is "".
 */
extern bool at402_net_listen(at402_net *net, const char *addresses, int port,
							 bool tcp, bool udp, at402_sharing sharing,
							 char *error, size_t size);

/*
 * Opens what at402_net_listen with the same arguments could not, on the port of
 * the others, and touches nothing else.  True when nothing is missing any more;
 * else error holds the first refusal.
 */
extern bool at402_net_listen_missing(at402_net *net, const char *addresses, bool tcp, bool udp,
									 char *error, size_t size);

/* Port listened on; 0 when not listening. */
extern int	at402_net_port(const at402_net *net);

/* Readable when there is something to do; for the driver's own wait. */
extern int	at402_net_fd(const at402_net *net);

/* Milliseconds until a turn is due by itself: work left over (0) or a timer; -1: none. */
extern int64_t at402_net_timeout(const at402_net *net);

/* Does what is due, bounded; never blocks.  True when work was left over for
 * another turn at once. */
extern bool at402_net_turn(at402_net *net);

/* Room again: from the next turn on (at402_net_timeout is 0 until then) offers
 * what was turned down and reads on, in the order in which they had to wait. */
extern void at402_net_resume(at402_net *net);

/*
 * Answers one frame: one byte 0x06 to where it came from; a datagram's from
 * the local address it was sent to.  A ticket whose connection is gone is
 * counted, else ignored.  Answers to one connection leave together with
 * at402_net_flush (or the next turn); each frame of a datagram gets a
 * datagram of one byte, at once.
 */
extern void at402_net_answer(at402_net *net, at402_ticket ticket);
extern void at402_net_flush(at402_net *net);

/* The frame will get no answer: lets go of what was kept for one.  Every frame
 * the callback took must end in answer, forget or close. */
extern void at402_net_forget(at402_net *net, at402_ticket ticket);

/* Forgets the frame and closes its connection once all other frames taken from
 * it are decided and their answers sent; no more frames come from it. */
extern void at402_net_close(at402_net *net, at402_ticket ticket);

/*
 * A text to where this ticket is from.  On a connection it leaves with
 * at402_net_flush, but never before an answer: not while a frame waits for one,
 * nor while bytes are there that may be a frame.  Until at402_net_is_quiet says
 * so it may have to wait for long.  To a datagram it leaves at once.  False:
 * nothing will be sent (it is gone or closing, too many texts wait, no memory).
 */
extern bool at402_net_write(at402_net *net, at402_ticket ticket, const char *text,
							size_t length);
extern bool at402_net_is_quiet(at402_net *net, at402_ticket ticket);

/* The datagram stays, for a text, until at402_net_forget is called once more. */
extern void at402_net_keep(at402_net *net, at402_ticket ticket);

/* Is the TCP connection of this ticket still there? */
extern bool at402_net_is_open(at402_net *net, at402_ticket ticket);

#endif							/* AT402_NET_H */
