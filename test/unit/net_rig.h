/*
 * net_rig.h - a driver for the socket layer, and clients over loopback
 *
 * One process is both sides: clients are plain sockets, the driver records
 * what it is given.  Nothing sleeps: wait_for() turns net until something can
 * be seen, and waits in poll() as long as net's own timeout says.
 */
#ifndef AT402_NET_RIG_H
#define AT402_NET_RIG_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/net.h"
#include "unit.h"

#define MAX_CONNECTIONS 256
#define MAX_CLIENTS 256
#define MAX_RECORDS 8192
#define PATIENCE_MS 20000
#define IMEI "358244017671308"
#define LOGIN "$ASTRA;AT402;" IMEI ";;7.0.25;X;1\r\n"

/* ---- the driver ---- */

typedef struct record
{
	at402_input input;
	uint8_t		first[16];		/* of its bytes */
	uint16_t	crc;			/* over all its bytes */
} record;

static at402_net *net;
static at402_net_counters counters;
static at402_net_slot slots[MAX_CONNECTIONS];
static record records[MAX_RECORDS];
static int	frames;				/* records taken */
static int	room;				/* frames that may still be taken */
static int	gone;
static at402_ticket gone_ticket;
static enum { LATER, ANSWER_AT_ONCE, CLOSE_AT_ONCE } habit;

static inline bool
on_frame(void *context, const at402_input *input)
{
	record	   *r = &records[frames];

	CHECK(context == &habit);
	if (room == 0 || frames == MAX_RECORDS)
		return false;
	room--;
	frames++;
	r->input = *input;
	memset(r->first, 0, sizeof(r->first));
	memcpy(r->first, input->bytes, input->length < 16 ? input->length : 16);
	r->crc = at402_crc16(input->bytes, input->length);
	if (habit == ANSWER_AT_ONCE)
		at402_net_answer(net, input->from.ticket);
	if (habit == CLOSE_AT_ONCE)
		at402_net_close(net, input->from.ticket);
	at402_net_flush(net);
	return true;
}

static inline bool
came_by_udp(int i)
{
	return strcmp(records[i].input.transport, "udp") == 0;
}

static inline void
on_gone(void *context, at402_ticket ticket)
{
	CHECK(context == &habit);
	gone++;
	gone_ticket = ticket;
}

static inline int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- clients ---- */

typedef struct client
{
	int			fd;				/* -1: closed */
	int			acks;			/* bytes 0x06 received */
	int			others;			/* any other bytes; must stay 0 */
	bool		ended;			/* the server has closed */
} client;

static client clients[MAX_CLIENTS];
static int	client_count;
static int	receive_buffer;		/* bytes, for the clients to come; 0: the usual */

static inline struct sockaddr_in
loopback(const char *address, int port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t) port)};

	inet_pton(AF_INET, address, &in.sin_addr);
	return in;
}

/* Connects from one loopback address to another; type SOCK_STREAM or SOCK_DGRAM. */
static inline client *
dial(int type, const char *from, const char *to, int port)
{
	client	   *c = &clients[client_count++];
	struct sockaddr_in source = loopback(from, 0);
	struct sockaddr_in target = loopback(to, port);

	*c = (client) {.fd = socket(AF_INET, type | SOCK_CLOEXEC, 0)};
	if (receive_buffer > 0)
		setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
	CHECK(bind(c->fd, (struct sockaddr *) &source, sizeof(source)) == 0);
	CHECK(connect(c->fd, (struct sockaddr *) &target, sizeof(target)) == 0);
	return c;
}

static inline client *
connect_tcp(void)
{
	return dial(SOCK_STREAM, "127.0.0.1", "127.0.0.1", at402_net_port(net));
}

static inline client *
connect_udp(void)
{
	return dial(SOCK_DGRAM, "127.0.0.1", "127.0.0.1", at402_net_port(net));
}

static inline void
put(client *c, const void *bytes, size_t length)
{
	CHECK(send(c->fd, bytes, length, MSG_NOSIGNAL) == (ssize_t) length);
}

static inline void
hang_up(client *c)
{
	close(c->fd);
	c->fd = -1;
}

/* Ends with a reset, so that the server learns of it at once. */
static inline void
reset(client *c)
{
	const struct linger none = {.l_onoff = 1};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	hang_up(c);
}

/* Takes what has come. */
static inline void
absorb(client *c)
{
	uint8_t		bytes[4096];
	ssize_t		length;

	while (c->fd >= 0 && !c->ended &&
		   (length = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) != -1)
	{
		for (ssize_t i = 0; i < length; i++)
			if (bytes[i] == AT402_ACK)
				c->acks++;
			else
				c->others++;
		c->ended = length == 0;
	}
	if (c->fd >= 0 && errno == ECONNRESET)
		c->ended = true;
}

static inline int
acks(client *c)
{
	absorb(c);
	CHECK(c->others == 0);
	return c->acks;
}

static inline bool
ended(client *c)
{
	absorb(c);
	return c->ended;
}

/* ---- turning ---- */

static inline void
step(void)
{
	struct pollfd fds[MAX_CLIENTS + 1] = {{.fd = at402_net_fd(net), .events = POLLIN}};
	int64_t		timeout = at402_net_timeout(net);

	for (int i = 0; i < client_count; i++)
	{
		fds[i + 1].fd = clients[i].ended ? -1 : clients[i].fd;
		fds[i + 1].events = POLLIN;
	}
	poll(fds, (nfds_t) client_count + 1, timeout < 0 || timeout > 1000 ? 1000 : (int) timeout);
	at402_net_turn(net);
}

#define wait_for(condition)                                                                        \
	do                                                                                             \
	{                                                                                              \
		int64_t		give_up = now_ms() + PATIENCE_MS;                                              \
																								   \
		while (!(condition) && now_ms() < give_up)                                                 \
			step();                                                                                \
		CHECK(condition);                                                                          \
	} while (0)

/* Turns until net has nothing left that it could do now. */
static inline void
settle(void)
{
	struct pollfd fd = {.fd = at402_net_fd(net), .events = POLLIN};
	int			turns = 0;

	do
		at402_net_turn(net);
	while (turns++ < 1000 && (at402_net_timeout(net) == 0 || poll(&fd, 1, 0) > 0));
	CHECK(turns < 1000);
}

static inline void
answer(int from, int to)
{
	for (int i = from; i < to; i++)
		at402_net_answer(net, records[i].input.from.ticket);
	at402_net_flush(net);
}

/* ---- each test begins with a new net ---- */

static inline void
begin(int max_connections)
{
	const at402_net_callbacks callbacks = {&habit, on_frame, on_gone};

	memset(&counters, 0, sizeof(counters));
	frames = gone = client_count = 0;
	room = MAX_RECORDS;
	habit = LATER;
	net = at402_net_create(&callbacks, &counters, slots, max_connections);
	CHECK(net != NULL);
}

static inline void
listen_on(const char *addresses)
{
	char		error[200] = "left";

	CHECK(at402_net_listen(net, addresses, 0, true, true, AT402_PORT_ALONE, error, sizeof(error)));
	CHECK(error[0] == '\0');
	CHECK(at402_net_port(net) > 0);
}

static inline void
start(void)
{
	begin(MAX_CONNECTIONS);
	listen_on("127.0.0.1");
}

static inline void
stop(void)
{
	for (int i = 0; i < client_count; i++)
		if (clients[i].fd >= 0)
			close(clients[i].fd);
	at402_net_destroy(net);
	CHECK(counters.connections == 0);
	CHECK(counters.buffered_bytes == 0);
}

/* ---- frames ---- */

/* A good packet of this many bytes (6 to 65535), told from others by mark. */
static inline size_t
packet(uint8_t *bytes, size_t length, uint8_t mark)
{
	uint16_t	crc;

	memset(bytes, mark, length);
	bytes[0] = 'X';
	bytes[1] = (uint8_t) (length >> 8);
	bytes[2] = (uint8_t) length;
	bytes[3] = mark;
	crc = at402_crc16(bytes, length - 2);
	bytes[length - 2] = (uint8_t) (crc >> 8);
	bytes[length - 1] = (uint8_t) crc;
	return length;
}

static inline void
put_packet(client *c, uint8_t mark)
{
	uint8_t		bytes[40];

	put(c, bytes, packet(bytes, sizeof(bytes), mark));
}

/* So many packets at once, marked 0, 1, ... */
static inline void
put_packets(client *c, int count, uint8_t mark)
{
	uint8_t		bytes[200 * 40];

	for (int i = 0; i < count; i++)
		packet(bytes + i * 40, 40, (uint8_t) (mark + i));
	put(c, bytes, (size_t) count * 40);
}

#endif							/* AT402_NET_RIG_H */
