/*
 * presence.c - which trackers are connected, for at402.device_state and the
 * events online and offline
 *
 * Changes are written with the next batch, or on their own after a short while;
 * until they are committed they are still to be written.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "worker/listener.h"

/* A tracker with open connections here. */
typedef struct Tracker
{
	char		imei[AT402_SENDER_TEXT];	/* key */
	int			connections;
	bool		announced;		/* at402.device_state says connected */
	TimestampTz changed_at;
} Tracker;

/* Whose connection is it?  A gateway may send for many trackers. */
typedef struct Connection
{
	at402_ticket ticket;		/* key */
	List	   *trackers;		/* of Tracker, which stay while they are in a list */
} Connection;

static HTAB *
create_hash(const char *name, Size key, Size entry, int flags)
{
	HASHCTL		ctl = {.keysize = key, .entrysize = entry};

	return hash_create(name, 256, &ctl, HASH_ELEM | flags);
}

void
at402_presence_init(At402Listener *l)
{
	l->trackers = create_hash("at402 trackers", AT402_SENDER_TEXT, sizeof(Tracker),
							  HASH_STRINGS);
	l->connections = create_hash("at402 connections", sizeof(at402_ticket), sizeof(Connection),
								 HASH_BLOBS);
}

static void
tracker_left(At402Listener *l, Tracker *t)
{
	t->connections--;
	t->changed_at = GetCurrentTimestamp();
	l->presence_changed = true;
}

void
at402_presence_gone(At402Listener *l, at402_ticket ticket)
{
	Connection *c = hash_search(l->connections, &ticket, HASH_FIND, NULL);
	ListCell   *lc;

	if (c == NULL)
		return;
	foreach(lc, c->trackers)
		tracker_left(l, lfirst(lc));
	list_free(c->trackers);
	hash_search(l->connections, &ticket, HASH_REMOVE, NULL);
}

/*
 * A frame was stored: its connection, if it is still there, is that tracker's.
 * A login names a new sender in place of the one before it.
 */
void
at402_presence_note(At402Listener *l, const At402Input *input, const char *imei)
{
	MemoryContext caller;
	Connection *c;
	Tracker    *t;
	ListCell   *lc;
	bool		found;

	if (!at402_net_is_open(l->net, input->ticket))
		return;
	t = hash_search(l->trackers, imei, HASH_ENTER, &found);
	if (!found)
	{
		t->connections = 0;
		t->announced = false;
	}
	c = hash_search(l->connections, &input->ticket, HASH_ENTER, &found);
	if (!found)
		c->trackers = NIL;
	if (list_member_ptr(c->trackers, t))
		return;
	if (input->logged_in)
	{
		foreach(lc, c->trackers)
			tracker_left(l, lfirst(lc));
		list_free(c->trackers);
		c->trackers = NIL;
	}
	caller = MemoryContextSwitchTo(TopMemoryContext);
	c->trackers = lappend(c->trackers, t);
	MemoryContextSwitchTo(caller);
	t->connections++;
	t->changed_at = input->received_at;
	l->presence_changed = true;
}

void
at402_presence_add(At402Listener *l, At402Batch *batch)
{
	HASH_SEQ_STATUS scan;
	Tracker    *t;
	MemoryContext caller = MemoryContextSwitchTo(batch->context);

	if (l->presence_changed)
	{
		hash_seq_init(&scan, l->trackers);
		while ((t = hash_seq_search(&scan)) != NULL)
		{
			At402Presence *p;

			if (t->announced == (t->connections > 0))
				continue;
			p = palloc(sizeof(At402Presence));
			strlcpy(p->imei, t->imei, sizeof(p->imei));
			p->connected = t->connections > 0;
			p->at = t->changed_at;
			batch->presence = lappend(batch->presence, p);
		}
	}
	MemoryContextSwitchTo(caller);
}

void
at402_presence_stored(At402Listener *l)
{
	HASH_SEQ_STATUS scan;
	Tracker    *t;

	hash_seq_init(&scan, l->trackers);
	while ((t = hash_seq_search(&scan)) != NULL)
	{
		t->announced = t->connections > 0;
		if (!t->announced)
			hash_search(l->trackers, t->imei, HASH_REMOVE, NULL);
	}
	l->presence_changed = false;
}
