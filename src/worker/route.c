/*
 * route.c - where commands go, and the message that is on its way there
 *
 * Over UDP a datagram can be replied to only in the turn in which it is answered:
 * until then net keeps it.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/settings.h"
#include "worker/route.h"

#define QUIET_MS 1000			/* after a line with data: it was the last */
#define ANSWER_SIZE 8192		/* of which the rest is cut off */
#define TALKS_MS 100			/* between two looks at what is on its way */

static At402Peer *
find_peer(At402Commands *c, const At402PeerKey *key, HASHACTION action)
{
	bool		found;
	At402Peer  *p = hash_search(c->peers, key, action, &found);

	if (p != NULL && !found)
	{
		p->kept = false;
		p->talk = NULL;
		p->claims = 0;
		dlist_init(&p->routes);
	}
	return p;
}

/* ---- routes ---- */

void
at402_route_list(At402Commands *c, At402Route *r)
{
	if (r->listed)
		return;
	r->listed = true;
	dlist_push_tail(&c->looks, &r->look);
}

static void
list_routes(At402Commands *c, At402Peer *p)
{
	dlist_iter	iter;

	dlist_foreach(iter, &p->routes)
		at402_route_list(c, dlist_container(At402Route, of_peer, iter.cur));
}

void
at402_route_unlist(At402Route *r)
{
	if (r->listed)
		dlist_delete(&r->look);
	r->listed = false;
}

static void
remove_routes(At402Commands *c, At402Peer *p)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &p->routes)
	{
		At402Route *r = dlist_container(At402Route, of_peer, iter.cur);

		at402_route_unlist(r);
		hash_search(c->routes, r->imei, HASH_REMOVE, NULL);
	}
	dlist_init(&p->routes);
}

static void
remove_peer(At402Commands *c, At402Peer *p)
{
	remove_routes(c, p);
	hash_search(c->peers, &p->key, HASH_REMOVE, NULL);
}

/* ---- talks ---- */

/* It is over: what became of it will be written down. */
void
at402_talk_finish(At402Listener *l, At402Talk *t, const char *state)
{
	At402Commands *c = l->commands;
	At402Peer  *p = t->peer;

	t->outcome.state = state;
	t->outcome.answer = t->answer;
	t->peer = NULL;
	dlist_delete(&t->node);
	dlist_push_tail(&c->finished, &t->node);
	p->talk = NULL;
	if (at402_peer_is_udp(p) && !p->kept)
		remove_peer(c, p);
	else
		list_routes(c, p);
}

static void
end_talk(At402Listener *l, At402Talk *t)
{
	at402_talk_finish(l, t, t->awaited.refused ? "refused" : "answered");
}

/* Room for so many bytes and a NUL, as far as there is any. */
static size_t
make_room(At402Talk *t, size_t length)
{
	size_t		size = Min(Max(2 * t->size, t->length + length + 1), ANSWER_SIZE);
	char	   *larger;

	if (t->length + length < t->size)
		return length;
	larger = size > t->size ? MemoryContextAllocExtended(TopMemoryContext, size,
														 MCXT_ALLOC_NO_OOM) : NULL;
	if (larger != NULL)
	{
		if (t->answer != NULL)
		{
			memcpy(larger, t->answer, t->length);
			pfree(t->answer);
		}
		t->answer = larger;
		t->size = size;
	}
	return t->size > 0 ? Min(length, t->size - 1 - t->length) : 0;
}

static void
append(At402Talk *t, const char *bytes, size_t length)
{
	length = make_room(t, length);
	if (t->answer == NULL)
		return;
	memcpy(t->answer + t->length, bytes, length);
	t->length += length;
	t->answer[t->length] = '\0';
}

/* A line of the answer; of one about a PIN only what became of it. */
static void
keep_line(At402Talk *t, const at402_input *input)
{
	at402_span	line = at402_text(at402_line_text(input->bytes, input->length));
	bool		hidden = t->awaited.secret && line.length > strlen("$PASS,OK");

	if (t->length > 0)
		append(t, "\n", 1);
	append(t, (const char *) line.bytes, hidden ? strlen("$PASS") : line.length);
}

bool
at402_routes_hear(At402Listener *l, const at402_input *line)
{
	At402PeerKey key;
	At402Peer  *p;
	At402Talk  *t;
	at402_answer answer;

	at402_peer_key(&key, line);
	p = find_peer(l->commands, &key, HASH_FIND);
	t = p != NULL ? p->talk : NULL;
	if (t == NULL)
		return false;
	answer = at402_awaited_take(&t->awaited, line->bytes, line->length);
	if (answer == AT402_ANSWER_NONE)
		return false;
	keep_line(t, line);
	t->outcome.answered_at = GetCurrentTimestamp();
	INSTR_TIME_SET_CURRENT(t->heard);
	if (answer == AT402_ANSWER_WHOLE)
		end_talk(l, t);
	return true;
}

int64
at402_talks_due(const At402Commands *c)
{
	if (dlist_is_empty(unconstify(dlist_head *, &c->talks)))
		return -1;
	return Max(TALKS_MS - at402_elapsed_ms(c->talks_looked), 0);
}

/* What has waited long enough. */
void
at402_talks_end_old(At402Listener *l)
{
	dlist_mutable_iter iter;

	if (at402_talks_due(l->commands) != 0)
		return;
	INSTR_TIME_SET_CURRENT(l->commands->talks_looked);
	dlist_foreach_modify(iter, &l->commands->talks)
	{
		At402Talk  *t = dlist_container(At402Talk, node, iter.cur);

		if (at402_awaited_may_end(&t->awaited) && at402_elapsed_ms(t->heard) >= QUIET_MS)
			end_talk(l, t);
		else if (at402_elapsed_ms(t->sent) >= at402_command_timeout * INT64CONST(1000))
			at402_talk_finish(l, t, "in_doubt");
	}
}

/* ---- what net and the commits tell ---- */

void
at402_routes_gone(At402Listener *l, at402_ticket ticket)
{
	At402PeerKey key;
	At402Peer  *p;

	at402_connection_key(&key, ticket);
	p = find_peer(l->commands, &key, HASH_FIND);
	if (p == NULL)
		return;
	if (p->talk != NULL)
		at402_talk_finish(l, p->talk, "in_doubt");
	remove_peer(l->commands, p);
}

/* The datagram is to stay until the end of the turn, for a reply. */
static void
keep_datagram(At402Listener *l, At402Peer *p, at402_ticket ticket)
{
	if (p->kept)
		at402_net_forget(l->net, p->ticket);
	else
		dlist_push_tail(&l->commands->kept, &p->of_kept);
	p->ticket = ticket;
	p->kept = true;
	at402_net_keep(l->net, ticket);
}

void
at402_routes_note(At402Listener *l, const At402Queued *q)
{
	At402Commands *c = l->commands;
	at402_ticket ticket = q->input.from.ticket;
	bool		udp = at402_is_udp(&q->input);
	bool		by_packet = q->verdict.disposition == AT402_TO_ROWS;
	At402PeerKey key;
	At402Peer  *p;
	At402Route *r;
	bool		found;

	if (udp ? !at402_commands_udp : !at402_net_is_open(l->net, ticket))
		return;
	at402_peer_key(&key, &q->input);
	p = find_peer(c, &key, HASH_ENTER);
	if (udp)
		keep_datagram(l, p, ticket);
	else
		p->ticket = ticket;
	r = hash_search(c->routes, q->verdict.imei, HASH_ENTER, &found);
	if (found && r->peer != p && r->by_packet && !by_packet)
		return;
	if (found && r->peer != p)
		dlist_delete(&r->of_peer);
	if (!found)
	{
		r->listed = false;
		r->missed = false;
		r->avoided = false;
	}
	if (!found || r->peer != p)
	{
		r->by_packet = by_packet;
		dlist_push_tail(&p->routes, &r->of_peer);
		at402_route_list(c, r);
	}
	r->by_packet |= by_packet;
	r->peer = p;
	r->device_id = q->verdict.device_id;
	if (udp || r->missed)
		at402_route_list(c, r);
	at402_stat_note_route(l->number, q->verdict.imei);
}

void
at402_routes_release(At402Listener *l)
{
	At402Commands *c = l->commands;

	while (!dlist_is_empty(&c->kept))
	{
		At402Peer  *p = dlist_container(At402Peer, of_kept, dlist_pop_head_node(&c->kept));

		at402_net_forget(l->net, p->ticket);
		p->kept = false;
		remove_routes(c, p);
		if (p->talk == NULL)
			remove_peer(c, p);
	}
}
