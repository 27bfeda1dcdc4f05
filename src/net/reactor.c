/*
 * reactor.c - the turn: everything that is due, a bounded share for each
 *
 * A turn never waits.  Each socket that is ready gets one share of work (one
 * receive, some datagrams, some new connections) and has to come again for
 * more, so none can keep the turn for itself.
 *
 * Back-pressure is for all at once.  When the driver turns a frame down, net is
 * full: it offers nothing more, and each socket that has something to say is
 * taken out of the poller and lines up, unread.  The kernel's window then
 * holds its peer.  at402_net_resume() lets them on in the order they came.
 *
 * Timers are not kept sorted.  next_scan_ms is a moment before which none can
 * run out; when it comes, one pass over the connections closes those whose
 * time is over and finds the next moment.  Most deadlines only ever move away,
 * so with 10,000 connections that is a pass now and then, and nothing per frame.
 */
#include "net/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- beginning and end ---- */

at402_net *
at402_net_create(const at402_net_callbacks *callbacks, at402_net_counters *counters,
				 at402_net_slot *slots, int max_connections)
{
	at402_net  *net = calloc(1, sizeof(*net));
	int			failure;

	if (net == NULL)
		return NULL;
	net->callbacks = *callbacks;
	net->counters = counters;
	net->limits.max_buffered_bytes = SIZE_MAX;
	net->slots = slots;
	net->max_connections = max_connections;
	TAILQ_INIT(&net->waiting);
	TAILQ_INIT(&net->todo);
	TAILQ_INIT(&net->free);
	TAILQ_INIT(&net->freed);
	net->accept_again_ms = AT402_NEVER;
	net->next_scan_ms = AT402_NEVER;

	net->poller = at402_poller_open();
	net->connections = calloc((size_t) max_connections, sizeof(*net->connections));
	net->addresses = calloc((size_t) max_connections, sizeof(*net->addresses));
	net->datagrams = calloc(AT402_MAX_DATAGRAMS, sizeof(*net->datagrams));
	/* what a connection holds is less than a frame where it is read */
	net->receive = malloc(AT402_MAX_FRAME + AT402_RECEIVE_SIZE);
	net->datagram = malloc(AT402_RECEIVE_SIZE);
	if (net->poller < 0 || net->connections == NULL || net->addresses == NULL ||
		net->datagrams == NULL || net->receive == NULL || net->datagram == NULL)
	{
		failure = errno;
		at402_net_destroy(net);
		errno = failure;
		return NULL;
	}

	for (int i = 0; i < AT402_MAX_DATAGRAMS; i++)
		net->datagrams[i].next_free = i + 1;
	net->datagrams[AT402_MAX_DATAGRAMS - 1].next_free = -1;
	for (int i = 0; i < max_connections; i++)
		at402_slot_clear(&slots[i]);
	atomic_store(&counters->connections, 0);
	atomic_store(&counters->buffered_bytes, 0);
	return net;
}

void
at402_net_destroy(at402_net *net)
{
	at402_sockets_close(&net->sockets);
	for (int i = 0; i < net->used; i++)
	{
		if (net->connections[i].fd < 0)
			continue;
		close(net->connections[i].fd);
		free(net->connections[i].buffer);
		free(net->connections[i].text);
		at402_slot_clear(&net->slots[i]);
	}
	atomic_store(&net->counters->connections, 0);
	atomic_store(&net->counters->buffered_bytes, 0);
	if (net->poller >= 0)
		close(net->poller);
	free(net->connections);
	free(net->addresses);
	free(net->datagrams);
	free(net->receive);
	free(net->datagram);
	free(net);
}

void
at402_net_set_limits(at402_net *net, const at402_net_limits *limits)
{
	net->limits = *limits;
	net->next_scan_ms = 0;		/* look at all timers anew */
}

/* ---- waiting ---- */

int
at402_net_fd(const at402_net *net)
{
	return net->poller;
}

/* Something a turn would do although no socket has become ready. */
static bool
has_work(const at402_net *net)
{
	return !TAILQ_EMPTY(&net->todo) ||
		(!net->full && (!TAILQ_EMPTY(&net->waiting) || net->datagram_length > 0)) ||
		(net->udp_resting && at402_datagram_room(net));
}

static int64_t
next_scan(const at402_net *net)
{
	int64_t		rested = net->last_scan_ms + AT402_SCAN_REST_MS;

	/* while nobody is read, nobody is late */
	if (net->full || net->next_scan_ms == AT402_NEVER)
		return AT402_NEVER;
	return net->next_scan_ms > rested ? net->next_scan_ms : rested;
}

int64_t
at402_net_timeout(const at402_net *net)
{
	int64_t		next = next_scan(net);
	int64_t		now = at402_now_ms();

	if (has_work(net))
		return 0;
	if (net->accept_again_ms < next)
		next = net->accept_again_ms;
	if (next == AT402_NEVER)
		return -1;
	return next > now ? next - now : 0;
}

/* ---- the turn ---- */

static void
serve_waiting_datagrams(at402_net *net)
{
	if (!net->full && net->datagram_length > 0)
		at402_datagram_offer(net);
	if (!net->udp_resting || !at402_datagram_room(net))
		return;
	net->udp_resting = false;
	at402_sockets_wake(net, true);
	for (int i = 0; i < net->sockets.count; i++)
		if (net->sockets.list[i].udp)
			at402_datagram_receive(net, i);
}

static void
serve_waiting_connections(at402_net *net)
{
	for (int i = 0; i < AT402_POLL_EVENTS && !net->full && !TAILQ_EMPTY(&net->waiting); i++)
		at402_connection_go_on(net, TAILQ_FIRST(&net->waiting));
}

/*
 * Lets those on who waited for room, while there is any.  A flood of either
 * kind could take all of it, so each is first every other time.
 */
static void
serve_waiting(at402_net *net)
{
	if (net->full)
		return;
	net->datagrams_first = !net->datagrams_first;
	if (net->datagrams_first)
		serve_waiting_datagrams(net);
	serve_waiting_connections(net);
	if (!net->datagrams_first)
		serve_waiting_datagrams(net);
}

static void
serve_connection(at402_net *net, at402_connection *c, const at402_poll_event *event)
{
	if (event->writable)
		at402_connection_mark(net, c);
	if (event->broken && (c->closing || c->waiting))
		at402_connection_free(net, c);
	else if ((event->readable || event->broken) && !c->closing)
	{
		if (net->full || c->waiting)
			at402_connection_wait(net, c);
		else
			at402_connection_read(net, c);
	}
}

static void
run_timers(at402_net *net)
{
	int64_t		now = at402_now_ms();

	if (now >= net->accept_again_ms)
	{
		net->accept_again_ms = AT402_NEVER;
		at402_sockets_wake(net, false);
	}
	if (now < next_scan(net))
		return;

	net->last_scan_ms = now;
	net->next_scan_ms = AT402_NEVER;
	for (int i = 0; i < net->used; i++)
	{
		at402_connection *c = &net->connections[i];
		int64_t		deadline;

		/* the driver may have been away for long: what has come meanwhile counts */
		if (c->fd >= 0 && !c->closing && !net->full && at402_connection_deadline(net, c) <= now)
			at402_connection_read(net, c);
		if (c->fd < 0)
			continue;
		deadline = at402_connection_deadline(net, c);
		if (deadline <= now && !net->full)
		{
			at402_count(&net->counters->timeouts, 1);
			at402_connection_free(net, c);
		}
		else if (deadline < net->next_scan_ms)
			net->next_scan_ms = deadline;
	}
}

static void
settle_all(at402_net *net)
{
	at402_connection *c;

	while ((c = TAILQ_FIRST(&net->todo)) != NULL)
	{
		TAILQ_REMOVE(&net->todo, c, todo_link);
		c->marked = false;
		at402_connection_settle(net, c);
	}
}

bool
at402_net_turn(at402_net *net)
{
	at402_poll_event events[AT402_POLL_EVENTS];
	bool		accepting[AT402_MAX_SOCKETS] = {false};
	int			count;

	net->in_turn = true;
	serve_waiting(net);
	count = at402_poller_ready(net->poller, events);
	for (int i = 0; i < count; i++)
	{
		uint32_t	index = at402_ticket_index(events[i].name);
		at402_connection *c = at402_connection_find(net, events[i].name);

		if (c != NULL)
			serve_connection(net, c, &events[i]);
		else if (at402_ticket_kind_of(events[i].name) != AT402_TICKET_SOCKET)
			continue;			/* ended in this turn */
		else if (net->sockets.list[index].udp)
			at402_datagram_receive(net, (int) index);
		else
			accepting[index] = true;
	}
	run_timers(net);
	settle_all(net);

	/* Nothing points to the freed any more.  Accept last, into their places */
	TAILQ_CONCAT(&net->free, &net->freed, todo_link);
	for (int i = 0; i < net->sockets.count; i++)
		if (accepting[i])
			at402_connection_accept(net, &net->sockets.list[i]);
	net->in_turn = false;
	return count == AT402_POLL_EVENTS || has_work(net);
}

void
at402_net_resume(at402_net *net)
{
	net->full = false;
}

/* ---- what the driver decides ---- */

void
at402_net_answer(at402_net *net, at402_ticket ticket)
{
	at402_connection *c = at402_connection_find(net, ticket);
	at402_datagram *datagram = at402_datagram_find(net, ticket);

	if (datagram != NULL)
		at402_datagram_answer(net, datagram);
	else if (c == NULL)
		at402_count(&net->counters->answers_lost, 1);
	else if (c->due > 0)
	{
		c->due--;
		c->unsent++;
		c->since_ms = at402_now_ms();
		at402_connection_mark(net, c);
	}
}

void
at402_net_forget(at402_net *net, at402_ticket ticket)
{
	at402_connection *c = at402_connection_find(net, ticket);
	at402_datagram *datagram = at402_datagram_find(net, ticket);

	if (datagram != NULL)
		at402_datagram_forget(net, datagram);
	else if (c != NULL && c->due > 0)
	{
		c->due--;
		at402_connection_mark(net, c);
	}
}

void
at402_net_close(at402_net *net, at402_ticket ticket)
{
	at402_connection *c = at402_connection_find(net, ticket);

	at402_net_forget(net, ticket);
	if (c != NULL)
		at402_connection_end(net, c);
}

bool
at402_net_write(at402_net *net, at402_ticket ticket, const char *text, size_t length)
{
	at402_connection *c = at402_connection_find(net, ticket);
	at402_datagram *datagram = at402_datagram_find(net, ticket);

	if (datagram != NULL)
		return at402_datagram_write(net, datagram, text, length);
	return c != NULL && at402_connection_write(net, c, text, length);
}

bool
at402_net_is_quiet(at402_net *net, at402_ticket ticket)
{
	at402_connection *c = at402_connection_find(net, ticket);

	return c != NULL ? at402_connection_is_quiet(c) : at402_datagram_find(net, ticket) != NULL;
}

void
at402_net_keep(at402_net *net, at402_ticket ticket)
{
	at402_datagram *datagram = at402_datagram_find(net, ticket);

	if (datagram != NULL)
		datagram->due++;
}

void
at402_net_flush(at402_net *net)
{
	if (!net->in_turn)			/* which ends with it */
		settle_all(net);
}

bool
at402_net_is_open(at402_net *net, at402_ticket ticket)
{
	return at402_ticket_kind_of(ticket) == AT402_TICKET_CONNECTION &&
		at402_connection_find(net, ticket) != NULL;
}
