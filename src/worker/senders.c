/*
 * senders.c - whose is a text line?
 *
 * A line that is no login does not say who sent it.  It is that of the login
 * before it, or else of the device whose packets its connection, or its UDP
 * address, has brought in the last ten minutes.  Any other is nobody's.  Whoever
 * finds the port can send millions of them, so they make no rows: they are
 * counted, and a connection that sends a few is closed.
 *
 * This is called by net, so nothing here raises; what finds no memory is not
 * remembered.  Addresses can be forged, so there is a bound: past it the one
 * that was heard least lately is forgotten.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "worker/listener.h"

#define KNOWN_MS 600000			/* after the last packet */
#define STRANGE_LINES 5			/* the last of them closes the connection */
#define MAX_SENDERS 20000
#define BUCKETS 4096

typedef struct Sender
{
	dlist_node	in_bucket;
	dlist_node	in_order;		/* the one that was heard last is last */
	At402PeerKey peer;
	char		imei[AT402_SENDER_SIZE];	/* "": nobody knows */
	instr_time	heard;
	int			strange_lines;
} Sender;

struct At402Senders
{
	dlist_head	buckets[BUCKETS];
	dlist_head	order;
	int			count;
};

void
at402_senders_init(At402Listener *l)
{
	l->senders = MemoryContextAllocZero(TopMemoryContext, sizeof(At402Senders));
}

void
at402_connection_key(At402PeerKey *key, at402_ticket ticket)
{
	memset(key, 0, sizeof(*key));
	key->ticket = ticket;
}

void
at402_peer_key(At402PeerKey *key, const at402_input *input)
{
	const at402_origin *from = &input->from;

	at402_connection_key(key, at402_is_udp(input) ? 0 : from->ticket);
	if (at402_is_udp(input))
	{
		strlcpy(key->peer, from->peer, sizeof(key->peer));
		key->port = from->peer_port;
	}
}

static dlist_head *
bucket_of(At402Senders *all, const At402PeerKey *peer)
{
	return &all->buckets[hash_bytes((const unsigned char *) peer, sizeof(*peer)) % BUCKETS];
}

static Sender *
find_sender(At402Senders *all, const At402PeerKey *peer)
{
	dlist_iter	iter;

	dlist_foreach(iter, bucket_of(all, peer))
	{
		Sender	   *s = dlist_container(Sender, in_bucket, iter.cur);

		if (memcmp(&s->peer, peer, sizeof(*peer)) == 0)
			return s;
	}
	return NULL;
}

static void
forget_sender(At402Senders *all, Sender *s)
{
	dlist_delete(&s->in_bucket);
	dlist_delete(&s->in_order);
	all->count--;
	pfree(s);
}

/* NULL: no memory. */
static Sender *
find_or_make(At402Senders *all, const At402PeerKey *peer)
{
	Sender	   *s = find_sender(all, peer);

	if (s != NULL)
		return s;
	if (all->count >= MAX_SENDERS)
		forget_sender(all, dlist_head_element(Sender, in_order, &all->order));
	s = MemoryContextAllocExtended(TopMemoryContext, sizeof(Sender),
								   MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (s == NULL)
		return NULL;
	memcpy(&s->peer, peer, sizeof(*peer));
	dlist_push_tail(bucket_of(all, peer), &s->in_bucket);
	dlist_push_tail(&all->order, &s->in_order);
	all->count++;
	return s;
}

void
at402_senders_note(At402Listener *l, const at402_input *input, const char *imei)
{
	At402PeerKey peer;
	Sender	   *s;

	if (!at402_imei_valid((const uint8_t *) imei, strlen(imei)))
		return;
	at402_peer_key(&peer, input);
	s = find_or_make(l->senders, &peer);
	if (s == NULL)
		return;
	strlcpy(s->imei, imei, sizeof(s->imei));
	INSTR_TIME_SET_CURRENT(s->heard);
	dlist_delete(&s->in_order);
	dlist_push_tail(&l->senders->order, &s->in_order);
}

const char *
at402_senders_find(At402Listener *l, const at402_input *line)
{
	const char *imei = line->from.imei;
	At402PeerKey peer;
	const Sender *s;

	if (at402_imei_valid((const uint8_t *) imei, strlen(imei)))
		return imei;
	at402_peer_key(&peer, line);
	s = find_sender(l->senders, &peer);
	return s != NULL && s->imei[0] != '\0' && at402_elapsed_ms(s->heard) < KNOWN_MS ? s->imei
																					 : NULL;
}

void
at402_senders_refuse(At402Listener *l, const at402_input *line)
{
	At402PeerKey peer;
	Sender	   *s;

	at402_peer_key(&peer, line);
	s = at402_is_udp(line) ? NULL : find_or_make(l->senders, &peer);
	at402_count(&l->stat->store.unknown_sender, 1);
	if (s != NULL && ++s->strange_lines >= STRANGE_LINES)
		at402_net_close(l->net, line->from.ticket);
	else
		at402_net_forget(l->net, line->from.ticket);
}

void
at402_senders_gone(At402Listener *l, at402_ticket ticket)
{
	At402PeerKey peer;
	Sender	   *s;

	at402_connection_key(&peer, ticket);
	s = find_sender(l->senders, &peer);
	if (s != NULL)
		forget_sender(l->senders, s);
}
