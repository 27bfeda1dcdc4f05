/*
 * connection.c - one TCP connection, from accept to close
 *
 *     open ---> closing ---> freed ---> free
 *
 * open: is read, frames are offered.  closing, after the peer's end of stream,
 * bytes that cannot be followed, lack of memory, or the driver's word: not read
 * any more, but frames that were taken keep their answers due.  freed, when
 * the last of them was sent or forgotten (or the peer is gone): its place is
 * used again when the turn is over.
 *
 * All connections share one receive buffer.  Bytes that cannot be handed on yet
 * go to a buffer of exactly their size: memory follows what a peer has sent,
 * not what the length in a header promises, and a silent connection has none.
 *
 * Who sends, and how much has come, is kept in the connection; its slot shows it.
 */
#include "net/internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- its place, and its slot ---- */

static int
index_of(const at402_net *net, const at402_connection *c)
{
	return (int) (c - net->connections);
}

at402_connection *
at402_connection_find(at402_net *net, at402_ticket ticket)
{
	uint32_t	index = at402_ticket_index(ticket);
	at402_connection *c;

	if (at402_ticket_kind_of(ticket) != AT402_TICKET_CONNECTION || index >= (uint32_t) net->used)
		return NULL;
	c = &net->connections[index];
	return c->fd >= 0 && c->from.ticket == ticket ? c : NULL;
}

/* Odd even where a process that died within a change left the number odd. */
static void
slot_change(at402_net_slot *slot)
{
	uint32_t	change = atomic_load_explicit(&slot->change, memory_order_relaxed);

	atomic_store_explicit(&slot->change, change | 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

static void
slot_changed(at402_net_slot *slot)
{
	uint32_t	change = atomic_load_explicit(&slot->change, memory_order_relaxed);

	atomic_store_explicit(&slot->change, change + 1, memory_order_release);
}

void
at402_slot_clear(at402_net_slot *slot)
{
	slot_change(slot);
	slot->in_use = false;
	slot_changed(slot);
}

/* Shows what is known of it now. */
static void
publish(const at402_net *net, const at402_connection *c)
{
	at402_net_slot *slot = &net->slots[index_of(net, c)];

	slot_change(slot);
	slot->in_use = true;
	slot->from = c->from;
	slot->traffic = c->traffic;
	slot_changed(slot);
}

static int64_t
unix_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- its timer ---- */

/* While its frames wait for the driver, silence is not the peer's fault. */
int64_t
at402_connection_deadline(const at402_net *net, const at402_connection *c)
{
	const at402_net_limits *limits = &net->limits;
	int64_t		deadline = AT402_NEVER;

	if (c->due > 0 || c->waiting)
		return AT402_NEVER;
	if (limits->idle_timeout_ms > 0 && !c->closing)
		deadline = c->since_ms + limits->idle_timeout_ms;
	if (limits->login_timeout_ms > 0 && c->begun_ms > 0 &&
		c->begun_ms + limits->login_timeout_ms < deadline)
		deadline = c->begun_ms + limits->login_timeout_ms;
	return deadline;
}

static void
note_deadline(at402_net *net, const at402_connection *c)
{
	int64_t		deadline = at402_connection_deadline(net, c);

	if (deadline < net->next_scan_ms)
		net->next_scan_ms = deadline;
}

/* ---- beginning ---- */

static bool
may_connect(const at402_net *net, const struct in6_addr *address)
{
	int			same = 0;

	if (TAILQ_EMPTY(&net->free) && net->used == net->max_connections)
		return false;
	if (net->limits.max_per_address <= 0)
		return true;
	for (int i = 0; i < net->used; i++)
		same += memcmp(&net->addresses[i], address, sizeof(*address)) == 0;
	return same < net->limits.max_per_address;
}

static void
start(at402_net *net, int fd, const at402_address *peer)
{
	const int	on = 1;
	struct in6_addr address = at402_address_v6(peer);
	at402_connection *c;
	uint32_t	generation;

	if (!may_connect(net, &address))
	{
		close(fd);
		at402_count(&net->counters->refused, 1);
		return;
	}

	c = TAILQ_FIRST(&net->free);
	if (c != NULL)
		TAILQ_REMOVE(&net->free, c, todo_link);
	else
		c = &net->connections[net->used++];
	generation = c->generation;
	*c = (at402_connection) {.fd = fd, .generation = generation, .interest = AT402_POLL_READ};
	c->begun_ms = c->since_ms = at402_now_ms();
	c->from.ticket = at402_ticket_make(AT402_TICKET_CONNECTION, generation, index_of(net, c));
	at402_address_text(peer, c->from.peer, &c->from.peer_port);
	c->traffic.connected_at = unix_us();
	net->addresses[index_of(net, c)] = address;
	publish(net, c);
	at402_count(&net->counters->connections, 1);

	/* An answer must not wait for a full segment; both calls are only advice */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (!at402_poller_add(net->poller, fd, c->interest, c->from.ticket))
	{
		at402_count(&net->counters->refused, 1);
		at402_connection_free(net, c);
		return;
	}
	at402_count(&net->counters->accepted, 1);
	note_deadline(net, c);
}

void
at402_connection_accept(at402_net *net, at402_socket *socket)
{
	for (int i = 0; i < AT402_ACCEPTS; i++)
	{
		at402_address peer;
		socklen_t	size = sizeof(peer);
		int			fd = accept4(socket->fd, &peer.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			start(net, fd, &peer);
		else if (errno == EAGAIN)
			return;
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		{
			/* the peer stays in the kernel's queue; trying on would only burn time */
			at402_socket_rest(net, socket);
			net->accept_again_ms = at402_now_ms() + AT402_ACCEPT_REST_MS;
			return;
		}
		/* any other error is that of one connection, which is gone */
	}
}

/* ---- bytes ---- */

/*
 * Keeps these bytes and no others for the next time.  They lie in the shared
 * buffer, or within the connection's own.  False: no memory, or more than all
 * connections together may hold.
 */
static bool
hold(at402_net *net, at402_connection *c, const uint8_t *bytes, size_t length)
{
	size_t		others = net->held - c->held;
	uint8_t    *buffer;

	if (length > c->held)
	{
		if (others + length > net->limits.max_buffered_bytes)
			return false;
		buffer = realloc(c->buffer, length);
		if (buffer == NULL)
			return false;
		c->buffer = buffer;
		memcpy(c->buffer, bytes, length);
	}
	else if (length > 0)
	{
		memmove(c->buffer, bytes, length);
		buffer = realloc(c->buffer, length);
		if (buffer != NULL)
			c->buffer = buffer;
	}
	else
	{
		free(c->buffer);
		c->buffer = NULL;
	}
	c->held = (uint32_t) length;
	net->held = others + length;
	atomic_store_explicit(&net->counters->buffered_bytes, net->held, memory_order_relaxed);
	return true;
}

/* Offers one good frame.  False: it was turned down. */
static bool
offer(at402_net *net, at402_connection *c, at402_input *input)
{
	if (input->kind == AT402_FRAME_LOGIN)
	{
		input->from.logged_in = true;
		at402_input_login(input);
	}

	c->due++;					/* the callback may decide at once */
	if (!at402_offer(net, input))
	{
		c->due--;
		return false;
	}
	if (input->kind == AT402_FRAME_LOGIN)
		c->from = input->from;
	return true;
}

/*
 * Cuts frames off these bytes, the last received of which are new, offers
 * them, and holds the rest.
 */
static void
cut(at402_net *net, at402_connection *c, const uint8_t *bytes, size_t available, size_t received)
{
	at402_input input = {.from = c->from, .transport = "tcp"};
	size_t		used = 0;
	uint64_t	frames = 0;

	while (used < available && !c->closing)
	{
		at402_frame frame;
		at402_status status;
		bool		after_cr = c->after_cr;

		c->after_cr = false;
		if (after_cr && bytes[used] == '\n')
		{
			used++;
			continue;
		}

		status = at402_frame_scan(bytes + used, available - used, &frame);
		if (status == AT402_INCOMPLETE)
			break;
		if (status == AT402_BAD_CRC)
			at402_count(&net->counters->bad_crc, 1);
		else if (status != AT402_OK)
		{
			at402_count(&net->counters->unknown_protocol, 1);
			at402_connection_end(net, c);
		}
		else
		{
			input.bytes = bytes + used;
			input.length = frame.length;
			input.kind = frame.kind;
			if (!offer(net, c, &input))
			{
				at402_connection_wait(net, c);
				break;
			}
			frames++;
			c->after_cr = frame.kind != AT402_FRAME_PACKET && used + frame.length == available &&
				bytes[available - 1] == '\r';
		}
		used += frame.length;
	}

	if (frames > 0)
	{
		c->proven = true;
		c->since_ms = at402_now_ms();
		c->traffic.last_frame_at = unix_us();
	}
	if (c->proven && !c->closing)
	{
		if (used == available)
			c->begun_ms = 0;
		else if (used > 0 || c->begun_ms == 0)
			c->begun_ms = at402_now_ms();
	}

	c->traffic.bytes += received;
	c->traffic.frames += frames;
	publish(net, c);

	if (!c->closing && !hold(net, c, bytes + used, available - used))
	{
		at402_count(&net->counters->refused, 1);
		at402_connection_end(net, c);
	}
	at402_connection_mark(net, c);
}

void
at402_connection_read(at402_net *net, at402_connection *c)
{
	ssize_t		received;

	if (c->held > 0)
		memcpy(net->receive, c->buffer, c->held);
	received = recv(c->fd, net->receive + c->held, AT402_RECEIVE_SIZE, 0);
	if (received > 0)
	{
		at402_count(&net->counters->bytes, (uint64_t) received);
		cut(net, c, net->receive, c->held + (size_t) received, (size_t) received);
	}
	else if (received == 0)
		at402_connection_end(net, c);	/* half-closed perhaps: it may still listen */
	else if (errno != EAGAIN && errno != EINTR)
		at402_connection_free(net, c);
}

/* ---- waiting for room ---- */

void
at402_connection_wait(at402_net *net, at402_connection *c)
{
	if (c->waiting)
		return;
	c->waiting = true;
	TAILQ_INSERT_TAIL(&net->waiting, c, wait_link);
	at402_connection_mark(net, c);
}

static void
stop_waiting(at402_net *net, at402_connection *c)
{
	if (!c->waiting)
		return;
	c->waiting = false;
	TAILQ_REMOVE(&net->waiting, c, wait_link);
}

void
at402_connection_go_on(at402_net *net, at402_connection *c)
{
	stop_waiting(net, c);
	at402_connection_mark(net, c);
	if (c->held > 0)
		cut(net, c, c->buffer, c->held, 0);
	else
		at402_connection_read(net, c);
}

/* ---- answers, and the end ---- */

void
at402_connection_mark(at402_net *net, at402_connection *c)
{
	if (c->marked)
		return;
	c->marked = true;
	TAILQ_INSERT_TAIL(&net->todo, c, todo_link);
}

void
at402_connection_end(at402_net *net, at402_connection *c)
{
	if (c->closing)
		return;
	c->closing = true;
	c->begun_ms = at402_now_ms();
	at402_connection_mark(net, c);
}

/* False: the peer is gone.  What the kernel does not take yet stays unsent. */
static bool
send_answers(at402_net *net, at402_connection *c)
{
	uint8_t		answers[256];

	memset(answers, AT402_ACK, sizeof(answers));
	while (c->unsent > 0)
	{
		size_t		size = c->unsent < sizeof(answers) ? c->unsent : sizeof(answers);
		ssize_t		sent = send(c->fd, answers, size, MSG_NOSIGNAL);

		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		c->unsent -= (uint32_t) sent;
		at402_count(&net->counters->answers, (uint64_t) sent);
		c->traffic.answers += (uint64_t) sent;
		publish(net, c);
	}
	return true;
}

/* ---- texts ---- */

bool
at402_connection_is_quiet(const at402_connection *c)
{
	uint8_t		byte;

	return !c->closing && !c->waiting && c->due == 0 && c->unsent == 0 && c->held == 0 &&
		recv(c->fd, &byte, 1, MSG_PEEK) < 0 && errno == EAGAIN;
}

/* A text may hold a secret: nothing of it stays in memory that is used again. */
static void
drop_text(at402_connection *c)
{
	if (c->text != NULL)
		explicit_bzero(c->text, c->text_length);
	free(c->text);
	c->text = NULL;
	c->text_length = c->text_sent = 0;
}

bool
at402_connection_write(at402_net *net, at402_connection *c, const char *text, size_t length)
{
	uint8_t    *longer;

	if (c->closing || c->text_length + length > AT402_MAX_TEXT)
		return false;
	longer = malloc(c->text_length + length);
	if (longer == NULL)
		return false;
	if (c->text_length > 0)
	{
		memcpy(longer, c->text, c->text_length);
		explicit_bzero(c->text, c->text_length);
		free(c->text);
	}
	memcpy(longer + c->text_length, text, length);
	c->text = longer;
	c->text_length += (uint32_t) length;
	at402_connection_mark(net, c);
	return true;
}

/* False: the peer is gone.  What the kernel does not take yet stays. */
static bool
send_text(at402_connection *c)
{
	while (c->text_sent < c->text_length)
	{
		ssize_t		sent = send(c->fd, c->text + c->text_sent, c->text_length - c->text_sent,
								MSG_NOSIGNAL);

		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		c->text_sent += (uint32_t) sent;
	}
	drop_text(c);
	return true;
}

/* Answers first, but for a text that has begun.  False: the peer is gone. */
static bool
send_all(at402_net *net, at402_connection *c)
{
	if (c->text_sent > 0 && !send_text(c))
		return false;
	if (c->text_sent == 0 && !send_answers(net, c))
		return false;
	return c->text_length == 0 || c->text_sent > 0 || !at402_connection_is_quiet(c) ||
		send_text(c);
}

/*
 * Closing with bytes unread makes the kernel send a reset, which may overtake
 * the last answers.  That costs a repeat; lingering for every sender of noise
 * would cost a place each.
 */
void
at402_connection_settle(at402_net *net, at402_connection *c)
{
	uint8_t		interest = 0;

	if (!send_all(net, c))
	{
		at402_connection_free(net, c);
		return;
	}
	if (c->closing)
	{
		stop_waiting(net, c);
		hold(net, c, NULL, 0);
		if (c->due == 0 && c->unsent == 0)
		{
			at402_connection_free(net, c);
			return;
		}
	}

	if (!c->closing && !c->waiting)
		interest |= AT402_POLL_READ;
	if (c->unsent > 0 || c->text_sent > 0)
		interest |= AT402_POLL_WRITE;
	if (interest != c->interest)
	{
		if (!at402_poller_change(net->poller, c->fd, interest, c->from.ticket))
		{
			at402_count(&net->counters->refused, 1);
			at402_connection_free(net, c);
			return;
		}
		c->interest = interest;
	}
	note_deadline(net, c);
}

void
at402_connection_free(at402_net *net, at402_connection *c)
{
	close(c->fd);
	c->fd = -1;
	c->generation++;
	at402_count(&net->counters->answers_lost, c->unsent);
	atomic_fetch_sub_explicit(&net->counters->connections, 1, memory_order_relaxed);
	stop_waiting(net, c);
	hold(net, c, NULL, 0);
	drop_text(c);
	if (c->marked)
		TAILQ_REMOVE(&net->todo, c, todo_link);
	TAILQ_INSERT_TAIL(&net->freed, c, todo_link);
	memset(&net->addresses[index_of(net, c)], 0, sizeof(net->addresses[0]));
	at402_slot_clear(&net->slots[index_of(net, c)]);
	if (c->proven)
		net->callbacks.gone(net->callbacks.context, c->from.ticket);
}
