/*
 * internal.h - what the files of net share
 *
 *     reactor.c     the turn: who is served when; timers; the calls of net.h
 *     connection.c  TCP: accepting, receiving, cutting, holding, answering, ending
 *     datagram.c    UDP: receiving, cutting, answering
 *     port.c        opening and moving the sockets on the port
 *     socket.c      one of these sockets: opened, rested, closed
 *     offer.c       the clock, tickets, how a frame is handed to the driver
 *     address.c     addresses of peers, as text, and of a list of names
 *     poller.c      which sockets are ready
 *
 * Each uses only files below it.
 *
 * A connection changes only while it is served.  Whatever else concerns it (an
 * answer, a close, a pause) is marked in it and puts it on the list `todo`;
 * at402_connection_settle() then sends, ends and tells the poller, for each
 * connection once, at the end of the turn or at a flush.  So a callback may
 * call back into net without pulling the ground from under the caller.
 */
#ifndef AT402_NET_INTERNAL_H
#define AT402_NET_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1			/* accept4, struct in6_pktinfo */
#endif

#include <netinet/in.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "net/net.h"
#include "net/poller.h"

/* Bytes taken from a socket at once; no UDP datagram is longer. */
#define AT402_RECEIVE_SIZE 65536

#define AT402_MAX_ADDRESSES 32	/* in listen_addresses, after resolving */
#define AT402_MAX_SOCKETS (2 * AT402_MAX_ADDRESSES) /* TCP and UDP */
#define AT402_MAX_TEXT 4096		/* bytes of texts that wait to be sent to one peer */
#define AT402_MAX_DATAGRAMS 4096	/* that wait for an answer */
#define AT402_ACCEPTS 32		/* per listening socket and turn */
#define AT402_DATAGRAMS 64		/* per socket and turn */
#define AT402_ACCEPT_REST_MS 1000	/* after the system had no descriptor left */
#define AT402_SCAN_REST_MS 100	/* between two looks at all timers */

#define AT402_NEVER INT64_MAX

typedef union at402_address
{
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} at402_address;

/* What a ticket, and a name in the poller, stands for. */
typedef enum at402_ticket_kind
{
	AT402_TICKET_CONNECTION = 1,
	AT402_TICKET_DATAGRAM,
	AT402_TICKET_SOCKET			/* of the poller only */
} at402_ticket_kind;

typedef struct at402_connection
{
	int			fd;				/* -1: free */
	uint32_t	generation;		/* counts the uses of this place */
	at402_origin from;			/* another sender with each login */
	at402_net_traffic traffic;
	uint8_t    *buffer;			/* bytes not taken yet: an unfinished frame, or
								 * from the frame on that was turned down */
	uint32_t	held;			/* how many; 0: no buffer */
	uint8_t    *text;			/* to be sent when no answer is due */
	uint32_t	text_length;	/* 0: none */
	uint32_t	text_sent;		/* of it; over 0: nothing may come between */
	uint32_t	due;			/* frames taken and not decided yet */
	uint32_t	unsent;			/* answers decided and not sent yet */
	uint8_t		interest;		/* as the poller knows it */
	bool		proven;			/* has sent a good frame */
	bool		after_cr;		/* an LF here belongs to the line before */
	bool		waiting;		/* on the list waiting: not read */
	bool		closing;		/* not read any more; ends when due and unsent are 0 */
	bool		marked;			/* on the list todo */
	int64_t		begun_ms;		/* when the login or the frame that must come to an
								 * end began; closing: since when; 0: none */
	int64_t		since_ms;		/* last good frame or answer, or connected */
	TAILQ_ENTRY(at402_connection) wait_link;
	TAILQ_ENTRY(at402_connection) todo_link;	/* todo; of a free one: free, freed */
} at402_connection;

typedef TAILQ_HEAD(at402_list, at402_connection) at402_list;

typedef struct at402_socket
{
	int			fd;
	bool		udp;
	bool		resting;		/* not polled: no descriptor or no room left */
	uint32_t	drops;			/* datagrams the kernel has dropped so far */
	at402_address address;		/* bound to, with the port */
} at402_socket;

typedef struct at402_sockets
{
	int			count;
	int			port;
	uint32_t	generation;		/* counts the moves */
	at402_sharing sharing;
	at402_socket list[AT402_MAX_SOCKETS];
} at402_sockets;

/* A datagram some of whose frames wait for an answer. */
typedef struct at402_datagram
{
	uint32_t	generation;
	uint32_t	due;			/* frames taken and not decided yet */
	bool		cutting;		/* more may follow */
	int			next_free;		/* index; -1: last */
	int			socket;			/* index, valid while sockets.generation is ... */
	uint32_t	sockets_generation;
	at402_address peer;
	union
	{
		struct in_addr v4;
		struct in6_addr v6;
	}			local;			/* it was sent to */
} at402_datagram;

struct at402_net
{
	at402_net_callbacks callbacks;
	at402_net_counters *counters;
	at402_net_limits limits;
	int			poller;
	bool		in_turn;
	bool		full;			/* a frame was turned down: offer none until resume */

	/* connections */
	at402_connection *connections;
	struct in6_addr *addresses; /* their peers', to be counted fast; IPv4 mapped */
	at402_net_slot *slots;
	int			max_connections;
	int			used;			/* places below were used at least once */
	size_t		held;			/* bytes in all buffers */
	at402_list	waiting;		/* in the order in which they will be served */
	at402_list	todo;			/* to be settled */
	at402_list	free;
	at402_list	freed;			/* free when the turn is over */
	uint8_t    *receive;		/* what a connection holds, and what it now gets */

	/* sockets on the port */
	at402_sockets sockets;
	int64_t		accept_again_ms;	/* end of the rest; AT402_NEVER: no rest */

	/* datagrams */
	at402_datagram *datagrams;
	int			free_datagram;	/* index; -1: all wait for answers */
	bool		udp_resting;	/* some socket is */
	bool		datagrams_first;	/* whose turn it is, when there is room again */
	uint8_t    *datagram;		/* the one being cut */
	size_t		datagram_length;	/* 0: none */
	size_t		datagram_used;
	at402_input datagram_input;

	/* timers */
	int64_t		next_scan_ms;	/* no deadline lies before; AT402_NEVER: none */
	int64_t		last_scan_ms;
};

/* ---- address.c ---- */

typedef struct at402_address_list
{
	int			count;
	at402_address list[AT402_MAX_ADDRESSES];
} at402_address_list;

/* What could not be had, and why: the first of all.  "": nothing. */
typedef struct at402_refusal
{
	char		text[256];
} at402_refusal;

extern void at402_refuse(at402_refusal *first, const char *format, ...)
			__attribute__((format(printf, 2, 3)));
extern socklen_t at402_address_size(const at402_address *address);
extern void at402_address_set_port(at402_address *address, int port);

/* IPv4 comes out as IPv4-mapped; as text IPv4-mapped comes out as IPv4. */
extern struct in6_addr at402_address_v6(const at402_address *address);
extern void at402_address_text(const at402_address *address, char text[AT402_PEER_SIZE],
							   uint16_t *port);

/* Reads a comma-separated list.  "*" stands for every address, and alone. */
extern void at402_resolve(const char *names, at402_address_list *addresses,
						  at402_refusal *first);

/* ---- offer.c ---- */

extern int64_t at402_now_ms(void);	/* monotonic */
extern at402_ticket at402_ticket_make(at402_ticket_kind kind, uint32_t generation, int index);
extern at402_ticket_kind at402_ticket_kind_of(at402_ticket ticket);
extern uint32_t at402_ticket_index(at402_ticket ticket);

/* Hands a frame to the driver; false: turned down, and net is full. */
extern bool at402_offer(at402_net *net, const at402_input *input);

static inline void
at402_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- socket.c ---- */

/*
 * Opens one more of the set, on the set's port; the first, where that is 0, on
 * any.  False with errno.
 */
extern bool at402_socket_add(at402_net *net, at402_sockets *sockets,
							 const at402_address *address, bool udp);
extern void at402_sockets_close(at402_sockets *sockets);

/* Takes a socket out of the poller, or back. */
extern void at402_socket_rest(at402_net *net, at402_socket *socket);
extern void at402_sockets_wake(at402_net *net, bool udp);

/* ---- datagram.c ---- */

/* Is there room to receive one? */
extern bool at402_datagram_room(const at402_net *net);
extern void at402_datagram_receive(at402_net *net, int socket);

/* Offers what is left of the datagram that is being cut. */
extern void at402_datagram_offer(at402_net *net);
extern at402_datagram *at402_datagram_find(at402_net *net, at402_ticket ticket);
extern void at402_datagram_answer(at402_net *net, at402_datagram *datagram);
extern void at402_datagram_forget(at402_net *net, at402_datagram *datagram);
extern bool at402_datagram_write(at402_net *net, at402_datagram *datagram, const char *text,
								 size_t length);

/* ---- connection.c ---- */

extern void at402_connection_accept(at402_net *net, at402_socket *socket);

/* NULL: that connection has ended. */
extern at402_connection *at402_connection_find(at402_net *net, at402_ticket ticket);
extern void at402_connection_read(at402_net *net, at402_connection *c);

/* Puts it on the list waiting. */
extern void at402_connection_wait(at402_net *net, at402_connection *c);

/* Takes it off, and offers what it holds, or else what it has to say. */
extern void at402_connection_go_on(at402_net *net, at402_connection *c);

/* No more frames from it; it ends when no answer is due. */
extern void at402_connection_end(at402_net *net, at402_connection *c);

/* Is nothing under way that an answer is, or may become, due for? */
extern bool at402_connection_is_quiet(const at402_connection *c);

/* Adds to the text to be sent.  False: there is no room, or no memory. */
extern bool at402_connection_write(at402_net *net, at402_connection *c, const char *text,
								   size_t length);

/* Has something for at402_connection_settle to do. */
extern void at402_connection_mark(at402_net *net, at402_connection *c);

/* Sends, ends, tells the poller. */
extern void at402_connection_settle(at402_net *net, at402_connection *c);

/* When its timer runs out; AT402_NEVER. */
extern int64_t at402_connection_deadline(const at402_net *net, const at402_connection *c);

/* Ends it now. */
extern void at402_connection_free(at402_net *net, at402_connection *c);

/* Empties a slot of a former net. */
extern void at402_slot_clear(at402_net_slot *slot);

#endif							/* AT402_NET_INTERNAL_H */
