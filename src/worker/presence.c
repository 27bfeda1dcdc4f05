/*
 * presence.c - which trackers are connected, for at402.device_state and the
 * events online and offline
 *
 * Who is connected is not worth a report, nor a moment of its way: changes are
 * stored a little later, in transactions of their own, and only those that are
 * still to be stored are looked at.  Each transaction may take a tenth of
 * at402.report_timeout.  When it cannot be committed fewer are tried together,
 * down to one alone.  What is refused is put aside and tried again later.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/presence.h"
#include "pg/settings.h"
#include "worker/listener.h"

#define FLUSH_MS 500			/* at402.device_state.connected may lag so long */
#define REFUSED_MS 10000		/* what was refused is tried again */
#define FAILED_MS 1000			/* and what could not be committed */
#define QUIET_MS 60000			/* after that the log says it anew */
#define MAX_TOGETHER 1000
#define MAX_TRACKERS 1000		/* of one connection: a gateway's */

/* A tracker with open connections here, or whose last one is still to be stored. */
typedef struct Tracker
{
	char		imei[AT402_SENDER_SIZE];	/* key */
	int			connections;
	bool		announced;		/* at402.device_state says connected */
	TimestampTz changed_at;
	dlist_node	node;			/* in the list changed, or refused */
	bool		listed;			/* in one of them */
	instr_time	refused;		/* when, if in the latter */
} Tracker;

/* Whose connection is it?  A gateway may send for many trackers. */
typedef struct Connection
{
	at402_ticket ticket;		/* key */
	List	   *trackers;		/* of Tracker, which stay while they are in a list */
} Connection;

struct At402Presences
{
	HTAB	   *trackers;
	HTAB	   *connections;
	dlist_head	changed;		/* of Tracker: to be stored */
	dlist_head	refused;		/* of Tracker: to be tried again, the oldest first */
	int			together;		/* so many are stored in one transaction */
	int64		rest_ms;		/* until the next, since ... */
	instr_time	flushed;
	bool		logged;			/* the log has told of a refusal, at ... */
	instr_time	last_refusal;
};

static HTAB *
create_hash(const char *name, Size key, Size entry, int flags)
{
	HASHCTL		ctl = {.keysize = key, .entrysize = entry};

	return hash_create(name, 256, &ctl, HASH_ELEM | flags);
}

void
at402_presence_init(At402Listener *l)
{
	At402Presences *all = MemoryContextAllocZero(TopMemoryContext, sizeof(At402Presences));

	all->trackers = create_hash("at402 trackers", AT402_SENDER_SIZE, sizeof(Tracker),
								HASH_STRINGS);
	all->connections = create_hash("at402 connections", sizeof(at402_ticket), sizeof(Connection),
								   HASH_BLOBS);
	dlist_init(&all->changed);
	dlist_init(&all->refused);
	all->together = MAX_TOGETHER;
	INSTR_TIME_SET_CURRENT(all->flushed);
	l->presence = all;
}

/* ---- who comes and goes ---- */

static Tracker *
find_or_make(At402Presences *all, const char *imei)
{
	bool		found;
	Tracker    *t = hash_search(all->trackers, imei, HASH_ENTER, &found);

	if (!found)
		memset((char *) t + sizeof(t->imei), 0, sizeof(*t) - sizeof(t->imei));
	return t;
}

/* A connection more, or less; one that was refused goes on waiting. */
static void
tracker_changed(At402Presences *all, Tracker *t, int connections, TimestampTz at)
{
	t->connections += connections;
	t->changed_at = at;
	if (!t->listed)
		dlist_push_tail(&all->changed, &t->node);
	t->listed = true;
}

static void
connection_left(At402Presences *all, Connection *c)
{
	ListCell   *lc;

	foreach(lc, c->trackers)
		tracker_changed(all, lfirst(lc), -1, GetCurrentTimestamp());
	list_free(c->trackers);
	c->trackers = NIL;
}

void
at402_presence_gone(At402Listener *l, at402_ticket ticket)
{
	Connection *c = hash_search(l->presence->connections, &ticket, HASH_FIND, NULL);

	if (c == NULL)
		return;
	connection_left(l->presence, c);
	hash_search(l->presence->connections, &ticket, HASH_REMOVE, NULL);
}

/*
 * A frame was stored: its connection, if it is still there, is that tracker's.
 * A login names a new sender in place of the one before it.
 */
void
at402_presence_note(At402Listener *l, const At402Queued *q)
{
	At402Presences *all = l->presence;
	const at402_origin *from = &q->input.from;
	const char *imei = q->verdict.imei;
	Tracker    *t = hash_search(all->trackers, imei, HASH_FIND, NULL);
	MemoryContext caller;
	Connection *c;
	bool		found;

	if (!at402_net_is_open(l->net, from->ticket))
		return;
	c = hash_search(all->connections, &from->ticket, HASH_ENTER, &found);
	if (!found)
		c->trackers = NIL;
	if (t != NULL && list_member_ptr(c->trackers, t))
		return;
	if (from->logged_in)
		connection_left(all, c);
	if (list_length(c->trackers) >= MAX_TRACKERS)
		return;
	t = find_or_make(all, imei);
	caller = MemoryContextSwitchTo(TopMemoryContext);
	c->trackers = lappend(c->trackers, t);
	MemoryContextSwitchTo(caller);
	tracker_changed(all, t, 1, q->input.received_at);
}

/* ---- storing it ---- */

/* One to be stored, and what became of it. */
typedef struct Change
{
	Tracker    *tracker;
	At402Presence presence;
	bool		refused;
} Change;

typedef struct Flush
{
	At402Listener *l;
	Change	   *changes;
	int			count;
	char		message[AT402_TEXT_SIZE];	/* of the last that was refused */
} Flush;

static void
store(void *argument)
{
	Flush	   *f = argument;
	At402Batch *batch = at402_batch_create();

	batch->listener = f->l->number;
	batch->presence = palloc(sizeof(At402Presence *) * f->count);
	batch->presence_count = f->count;
	for (int i = 0; i < f->count; i++)
		batch->presence[i] = &f->changes[i].presence;
	at402_store_presence(batch);
	for (int i = 0; i < f->count; i++)
	{
		const At402Rejection *rejection = f->changes[i].presence.rejection;

		f->changes[i].refused = rejection != NULL;
		if (rejection != NULL)
			strlcpy(f->message, rejection->message, sizeof(f->message));
	}
	at402_batch_destroy(batch);
}

static void
unlist(At402Presences *all, Tracker *t)
{
	dlist_delete(&t->node);
	t->listed = false;
	if (t->connections == 0 && !t->announced)
		hash_search(all->trackers, t->imei, HASH_REMOVE, NULL);
}

static void
set_aside(At402Presences *all, Tracker *t)
{
	dlist_delete(&t->node);
	dlist_push_tail(&all->refused, &t->node);
	INSTR_TIME_SET_CURRENT(t->refused);
}

/* Those that are to be stored now; who came and went meanwhile is not. */
static void
choose(At402Presences *all, Flush *f)
{
	dlist_mutable_iter iter;

	f->changes = palloc0(sizeof(Change) * all->together);
	dlist_foreach_modify(iter, &all->changed)
	{
		Tracker    *t = dlist_container(Tracker, node, iter.cur);
		Change	   *c = &f->changes[f->count];

		if (t->announced == (t->connections > 0))
		{
			unlist(all, t);
			continue;
		}
		c->tracker = t;
		strlcpy(c->presence.imei, t->imei, sizeof(c->presence.imei));
		c->presence.connected = t->connections > 0;
		c->presence.at = t->changed_at;
		if (++f->count == all->together)
			break;
	}
}

/* Once when it begins, and again only after a quiet time. */
static void
note_refusal(At402Presences *all, const char *message)
{
	if (!all->logged || at402_elapsed_ms(all->last_refusal) > QUIET_MS)
		ereport(LOG, errmsg("could not store which trackers are connected: %s", message));
	all->logged = true;
	INSTR_TIME_SET_CURRENT(all->last_refusal);
}

static void
note_stored(At402Presences *all, const Flush *f)
{
	for (int i = 0; i < f->count; i++)
	{
		Tracker    *t = f->changes[i].tracker;

		if (f->changes[i].refused)
			set_aside(all, t);
		else
		{
			t->announced = f->changes[i].presence.connected;
			unlist(all, t);
		}
	}
	if (f->message[0] != '\0')
		note_refusal(all, f->message);
	all->together = Min(all->together * 2, MAX_TOGETHER);
	all->rest_ms = FLUSH_MS;
}

/* None of them is stored.  Fewer are tried next, until one is alone. */
static void
note_failed(At402Presences *all, const Flush *f, const ErrorData *error, int64 took_ms)
{
	if (f->count == 1)
		set_aside(all, f->changes[0].tracker);
	note_refusal(all, error->message);
	all->together = Max(f->count / 2, 1);
	all->rest_ms = Max(2 * took_ms, f->count > 1 ? FLUSH_MS : FAILED_MS);
}

bool
at402_presence_flush(At402Listener *l)
{
	At402Presences *all = l->presence;
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "at402 presence",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	Flush		f = {.l = l};
	ErrorData  *error = NULL;
	instr_time	began;

	INSTR_TIME_SET_CURRENT(began);
	while (!dlist_is_empty(&all->refused) &&
		   at402_elapsed_ms(dlist_head_element(Tracker, node, &all->refused)->refused) >= REFUSED_MS)
		dlist_push_tail(&all->changed, dlist_pop_head_node(&all->refused));
	choose(all, &f);
	all->rest_ms = FLUSH_MS;
	if (f.count > 0 && at402_transaction(store, &f, at402_short_ms(), &error))
		note_stored(all, &f);
	else if (f.count > 0)
		note_failed(all, &f, error, at402_elapsed_ms(began));
	INSTR_TIME_SET_CURRENT(all->flushed);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return error == NULL;
}

int64
at402_presence_due(const At402Listener *l)
{
	At402Presences *all = l->presence;
	int64		due = Max(all->rest_ms - at402_elapsed_ms(all->flushed), 0);

	if (!dlist_is_empty(&all->changed))
		return due;
	if (dlist_is_empty(&all->refused))
		return -1;
	return Max(due, REFUSED_MS -
			   at402_elapsed_ms(dlist_head_element(Tracker, node, &all->refused)->refused));
}

/* ---- beginning ---- */

static void
find_left(void *argument)
{
	At402Listener *l = argument;
	List	   *imeis = at402_left_connected(l->number);
	ListCell   *lc;

	foreach(lc, imeis)
	{
		Tracker    *t = find_or_make(l->presence, lfirst(lc));

		t->announced = true;
		tracker_changed(l->presence, t, 0, GetCurrentTimestamp());
	}
}

bool
at402_presence_recover(At402Listener *l, ErrorData **error)
{
	if (!at402_transaction(find_left, l, at402_short_ms(), error))
		return false;
	while (!dlist_is_empty(&l->presence->changed) && at402_presence_flush(l))
		CHECK_FOR_INTERRUPTS();
	return true;
}
