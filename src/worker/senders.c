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

/* A connection, or an address that datagrams come from.  No byte undefined. */
typedef struct Origin
{
	at402_ticket ticket;		/* 0: datagrams */
	char		peer[AT402_PEER_SIZE];
	uint16		port;
} Origin;

typedef struct Sender
{
	dlist_node	in_bucket;
	dlist_node	in_order;		/* the one that was heard last is last */
	Origin		origin;
	char		imei[AT402_SENDER_TEXT];	/* "": nobody knows */
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

static Origin
origin_of(const at402_arrival *from)
{
	Origin		origin;

	memset(&origin, 0, sizeof(origin));
	if (from->udp)
	{
		strlcpy(origin.peer, from->peer, sizeof(origin.peer));
		origin.port = from->peer_port;
	}
	else
		origin.ticket = from->ticket;
	return origin;
}

static dlist_head *
bucket_of(At402Senders *all, const Origin *origin)
{
	return &all->buckets[hash_bytes((const unsigned char *) origin, sizeof(*origin)) % BUCKETS];
}

static Sender *
find_sender(At402Senders *all, const Origin *origin)
{
	dlist_iter	iter;

	dlist_foreach(iter, bucket_of(all, origin))
	{
		Sender	   *s = dlist_container(Sender, in_bucket, iter.cur);

		if (memcmp(&s->origin, origin, sizeof(*origin)) == 0)
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
find_or_make(At402Senders *all, const Origin *origin)
{
	Sender	   *s = find_sender(all, origin);

	if (s != NULL)
		return s;
	if (all->count >= MAX_SENDERS)
		forget_sender(all, dlist_head_element(Sender, in_order, &all->order));
	s = MemoryContextAllocExtended(TopMemoryContext, sizeof(Sender),
								   MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (s == NULL)
		return NULL;
	s->origin = *origin;
	dlist_push_tail(bucket_of(all, origin), &s->in_bucket);
	dlist_push_tail(&all->order, &s->in_order);
	all->count++;
	return s;
}

void
at402_senders_note(At402Listener *l, const at402_arrival *from, const char *imei)
{
	Origin		origin = origin_of(from);
	Sender	   *s;

	if (!at402_imei_valid((const uint8_t *) imei, strlen(imei)))
		return;
	s = find_or_make(l->senders, &origin);
	if (s == NULL)
		return;
	strlcpy(s->imei, imei, sizeof(s->imei));
	INSTR_TIME_SET_CURRENT(s->heard);
	dlist_delete(&s->in_order);
	dlist_push_tail(&l->senders->order, &s->in_order);
}

const char *
at402_senders_find(At402Listener *l, const at402_arrival *from)
{
	Origin		origin = origin_of(from);
	const Sender *s;

	if (at402_imei_valid((const uint8_t *) from->imei, strlen(from->imei)))
		return from->imei;
	s = find_sender(l->senders, &origin);
	return s != NULL && s->imei[0] != '\0' && at402_elapsed_ms(s->heard) < KNOWN_MS ? s->imei
																					 : NULL;
}

void
at402_senders_refuse(At402Listener *l, const at402_arrival *from)
{
	Origin		origin = origin_of(from);
	Sender	   *s = from->udp ? NULL : find_or_make(l->senders, &origin);

	at402_count(&l->stat->store.unknown_sender, 1);
	if (s != NULL && ++s->strange_lines >= STRANGE_LINES)
		at402_net_close(l->net, from->ticket);
	else
		at402_net_forget(l->net, from->ticket);
}

void
at402_senders_gone(At402Listener *l, at402_ticket ticket)
{
	Origin		origin;
	Sender	   *s;

	memset(&origin, 0, sizeof(origin));
	origin.ticket = ticket;
	s = find_sender(l->senders, &origin);
	if (s != NULL)
		forget_sender(l->senders, s);
}
