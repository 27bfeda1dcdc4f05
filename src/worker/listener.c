/*
 * listener.c - the background worker that receives, stores and then answers
 *
 *     wait -> interrupts, settings -> net turn: frames into the queue
 *       ^                                     |
 *       +---- answers <- COMMIT <- store <----+  at batch_reports or batch_delay
 *
 * One process, one loop.  Frames of many connections are stored in one
 * transaction, and only when its COMMIT has returned does net send the
 * answers.  A batch that could not be stored stays in the queue and is tried
 * again; meanwhile nobody is answered, the queue fills, net stops reading, and
 * the trackers keep their reports.
 *
 * The queue holds what came in; a batch is made of it anew for each attempt,
 * so that nothing of a failed attempt is left.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "pg/attempt.h"
#include "pg/settings.h"
#include "pg/store.h"
#include "worker/worker.h"

#define LISTENING_SOCKETS 16	/* descriptors kept for them */
#define QUEUE_BATCHES 4			/* the queue holds this many full batches */
#define LOOK_AGAIN_MS 1000		/* for extension, tables, a free port */
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 5000
#define STREAKS 8				/* refusals that are logged */
#define STREAK_LOOK_MS 1000
#define STREAK_QUIET_MS 60000	/* after that a refusal is a new streak */
#define MAX_TIMEOUTS 3			/* of a report that is tried alone */
#define PRESENCE_MS 500			/* at402.device_state.connected may lag so long */

/* A frame that waits to be stored. */
typedef struct Arrival
{
	At402Item	item;			/* as at402_batch_add wants it */
	At402Item  *outcome;		/* of the attempt */
	instr_time	arrived;
	int			timeouts;		/* that it ran into when it was tried alone */
} Arrival;

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

typedef struct Listener
{
	int			number;
	At402ListenerStat *stat;
	at402_net  *net;
	MemoryContext queue_context;
	List	   *queue;			/* of Arrival */
	int			queued_reports;
	size_t		queued_bytes;
	instr_time	first_arrived;	/* of the queue */
	bool		full;			/* net was told that there is no room */
	HTAB	   *trackers;
	HTAB	   *connections;
	bool		presence_changed;
	instr_time	flushed;		/* when last, for the presence */

	struct						/* of the batch, counted when it is committed */
	{
		int			reports;
		int			inserted;
		int			duplicates;
		int			quarantined;
	}			result;

	bool		listening;
	char		missing[AT402_TEXT_SIZE];	/* what the log has said is missing */
	char		refused[AT402_TEXT_SIZE];	/* what the log has said of the port */
	int			failures;		/* of the batch, in a row */
	int64		retry_ms;		/* until the next attempt */
	instr_time	failed;
	instr_time	looked;			/* when extension and port were looked for */

	instr_time	streaks_looked;
	uint64		streak_counts[STREAKS];
	instr_time	streak_seen[STREAKS];

	/* what the port was opened for */
	char	   *addresses;
	int			port;
	bool		tcp;
	bool		udp;
} Listener;

static int64
elapsed_ms(instr_time since)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, since);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/* ---- from net ---- */

/* How many reports a frame holds, as it claims; K, M and V do not say. */
static int
claimed_reports(const at402_arrival *a)
{
	if (a->kind != AT402_FRAME_PACKET)
		return 1;
	return a->bytes[0] == 'X' || a->bytes[0] == 'Y' ? Max(a->bytes[3], 1)
													: 1 + (int) a->length / 40;
}

/* Takes a frame into the queue.  Must not raise: net cannot be left that way. */
static bool
take_frame(void *context, const at402_arrival *a)
{
	Listener   *l = context;
	MemoryContext caller;
	Arrival    *arrival;
	char	   *memory;
	size_t		peer_size = strlen(a->peer) + 1;

	if (l->queued_reports >= at402_batch_reports * QUEUE_BATCHES ||
		l->queued_bytes >= (size_t) at402_receive_buffers * 1024)
	{
		l->full = true;
		return false;
	}
	memory = MemoryContextAllocExtended(l->queue_context,
										MAXALIGN(sizeof(Arrival)) + peer_size + a->length,
										MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (memory == NULL)
	{
		l->full = true;
		return false;
	}
	arrival = (Arrival *) memory;
	memory += MAXALIGN(sizeof(Arrival));
	arrival->item.peer = memcpy(memory, a->peer, peer_size);
	arrival->item.bytes = memcpy(memory + peer_size, a->bytes, a->length);
	arrival->item.length = a->length;
	arrival->item.kind = a->kind;
	arrival->item.logged_in = a->logged_in;
	strlcpy(arrival->item.login_imei, a->imei, sizeof(arrival->item.login_imei));
	arrival->item.protocol = a->protocol;
	arrival->item.received_at = GetCurrentTimestamp();
	arrival->item.transport = a->udp ? "udp" : "tcp";
	arrival->item.ticket = a->ticket;
	INSTR_TIME_SET_CURRENT(arrival->arrived);

	if (l->queue == NIL)
		l->first_arrived = arrival->arrived;
	caller = MemoryContextSwitchTo(l->queue_context);
	l->queue = lappend(l->queue, arrival);
	MemoryContextSwitchTo(caller);
	l->queued_reports += claimed_reports(a);
	l->queued_bytes += a->length;
	return true;
}

static void
tracker_left(Listener *l, Tracker *t)
{
	t->connections--;
	t->changed_at = GetCurrentTimestamp();
	l->presence_changed = true;
}

static void
connection_gone(void *context, at402_ticket ticket, const char *imei)
{
	Listener   *l = context;
	Connection *c = hash_search(l->connections, &ticket, HASH_FIND, NULL);
	ListCell   *lc;

	if (c == NULL)
		return;
	foreach(lc, c->trackers)
		tracker_left(l, lfirst(lc));
	list_free(c->trackers);
	hash_search(l->connections, &ticket, HASH_REMOVE, NULL);
}

/* ---- who is connected ---- */

static HTAB *
create_hash(const char *name, Size key, Size entry, int flags)
{
	HASHCTL		ctl = {.keysize = key, .entrysize = entry};

	return hash_create(name, 256, &ctl, HASH_ELEM | flags);
}

/*
 * A frame was stored: its connection, if it is still there, is that tracker's.
 * A login names a new sender in place of the one before it.
 */
static void
note_connection(Listener *l, const At402Item *item)
{
	MemoryContext caller;
	Connection *c;
	Tracker    *t;
	ListCell   *lc;
	bool		found;

	if (!at402_net_is_open(l->net, item->ticket))
		return;
	t = hash_search(l->trackers, item->imei, HASH_ENTER, &found);
	if (!found)
	{
		t->connections = 0;
		t->announced = false;
	}
	c = hash_search(l->connections, &item->ticket, HASH_ENTER, &found);
	if (!found)
		c->trackers = NIL;
	if (list_member_ptr(c->trackers, t))
		return;
	if (item->logged_in)
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
	t->changed_at = item->received_at;
	l->presence_changed = true;
}

/* What at402.device_state does not know yet. */
static void
add_presence(Listener *l, At402Batch *batch)
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

static void
presence_stored(Listener *l)
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

/* ---- storing ---- */

/* Stores the queue; runs in a transaction of its own. */
static void
store_queue(void *argument)
{
	Listener   *l = argument;
	At402Batch *batch = at402_batch_create();
	ListCell   *lc;

	if (at402_report_timeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, at402_report_timeout);
	batch->listener = l->number;
	foreach(lc, l->queue)
	{
		Arrival    *a = lfirst(lc);

		a->outcome = at402_batch_add(batch, &a->item);
	}
	add_presence(l, batch);
	at402_store_batch(batch);
	/* what the answers depend on has to outlive the transaction */
	foreach(lc, l->queue)
	{
		Arrival    *a = lfirst(lc);

		strlcpy(a->item.imei, a->outcome->imei, sizeof(a->item.imei));
		a->item.fate = a->outcome->fate;
		a->item.reason = a->outcome->reason;
	}
	l->result.reports = batch->reports_seen;
	l->result.inserted = batch->inserted;
	l->result.duplicates = batch->duplicates;
	l->result.quarantined = batch->quarantined;
	at402_batch_destroy(batch);
	/*
	 * COMMIT may wait for a standby, and must not be cut short.  From here on no
	 * cancel can come; one that just came is taken now.
	 */
	disable_timeout(STATEMENT_TIMEOUT, false);
	CHECK_FOR_INTERRUPTS();
}

static void
count_fate(Listener *l, const At402Item *item)
{
	At402StoreCounters *count = &l->stat->store;

	if (item->fate == AT402_FATE_IGNORED)
		at402_count(&count->ignored, 1);
	else if (item->fate == AT402_FATE_REFUSED)
		at402_count(strcmp(item->reason, "unknown_sender") == 0 ? &count->unknown_sender
					: strcmp(item->reason, "not_quarantined") == 0 ? &count->not_quarantined
																   : &count->over_limit, 1);
}

/*
 * The batch is committed: tells net whom to answer.  This is the only place
 * where answers come from.
 */
static void
answer_queue(Listener *l)
{
	At402StoreCounters *count = &l->stat->store;
	ListCell   *lc;

	if (l->stat->latency_reset)
	{
		l->stat->latency_max_us = 0;
		l->stat->latency_reset = false;
	}
	foreach(lc, l->queue)
	{
		Arrival    *a = lfirst(lc);
		At402Item  *item = &a->item;
		bool		tcp = strcmp(item->transport, "tcp") == 0;
		instr_time	now;

		count_fate(l, item);
		if (item->fate == AT402_FATE_ROWS || item->fate == AT402_FATE_DEVICE ||
			item->fate == AT402_FATE_QUARANTINE)
		{
			at402_net_answer(l->net, item->ticket);
			INSTR_TIME_SET_CURRENT(now);
			INSTR_TIME_SUBTRACT(now, a->arrived);
			at402_count(&count->answered, 1);
			at402_count(&count->latency_us, INSTR_TIME_GET_MICROSEC(now));
			if (INSTR_TIME_GET_MICROSEC(now) > l->stat->latency_max_us)
				l->stat->latency_max_us = INSTR_TIME_GET_MICROSEC(now);
			if (tcp && item->fate != AT402_FATE_QUARANTINE)
				note_connection(l, item);
		}
		else if (tcp && (item->fate == AT402_FATE_IGNORED ||
						 (item->fate == AT402_FATE_REFUSED &&
						  strcmp(item->reason, "unknown_sender") == 0)))
			at402_net_close(l->net, item->ticket);
		else
			at402_net_forget(l->net, item->ticket);
	}
	at402_net_flush(l->net);
	at402_count(&count->reports, l->result.reports);
	at402_count(&count->inserted, l->result.inserted);
	at402_count(&count->duplicates, l->result.duplicates);
	at402_count(&count->quarantined, l->result.quarantined);
	at402_count(&count->batches, 1);
}

static void
clear_queue(Listener *l)
{
	MemoryContextReset(l->queue_context);
	l->queue = NIL;
	l->queued_reports = 0;
	l->queued_bytes = 0;
	if (l->full)
	{
		l->full = false;
		at402_net_resume(l->net);
	}
}

/* Logs the first failure of a streak, and its end. */
static void
batch_failed(Listener *l, ErrorData *error)
{
	at402_count(&l->stat->store.failed_batches, 1);
	at402_stat_set_error(l->stat, error->message);
	l->stat->state = AT402_RETRYING;
	if (l->failures++ == 0)
		ereport(LOG, errcode(error->sqlerrcode),
				errmsg("at402 could not store a batch and answers nobody until it can: %s",
					   error->message),
				error->detail ? errdetail_internal("%s", error->detail) : 0,
				error->context ? errcontext("%s", error->context) : 0);
	l->retry_ms = Min(l->retry_ms == 0 ? RETRY_MIN_MS : l->retry_ms * 2, RETRY_MAX_MS);
	INSTR_TIME_SET_CURRENT(l->failed);
	FreeErrorData(error);
}

static void
batch_stored(Listener *l)
{
	if (l->failures > 0)
		ereport(LOG, errmsg("at402 stores again after %d failed attempts", l->failures));
	l->failures = 0;
	l->retry_ms = 0;
	l->stat->state = l->listening ? AT402_LISTENING : AT402_WAITING;
}

/* One attempt to store the queue, and the answers when it is committed. */
static ErrorData *
attempt_queue(Listener *l)
{
	ErrorData  *error = NULL;

	if (!at402_attempt(AT402_TRANSACTION, store_queue, l, &error))
	{
		disable_timeout(STATEMENT_TIMEOUT, false);
		QueryCancelPending = false; /* one that came too late to be caught */
		return error;
	}
	/*
	 * Told to end during the commit: its wait for a standby may have been cut
	 * short, and then nobody knows whether the batch will last.
	 */
	if (ProcDiePending)
		CHECK_FOR_INTERRUPTS();
	if (l->presence_changed)
		presence_stored(l);		/* before the answers tell of new connections */
	answer_queue(l);
	return NULL;
}

static bool
is_timeout(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/*
 * After a timeout: is it everybody's, or that of one report?  Tries the frames
 * one by one.  Those that pass are answered; one that times out again and
 * again while others pass goes to quarantine.  When the first two both time
 * out it is the surroundings, and all wait.
 */
static void
store_singly(Listener *l)
{
	List	   *all = l->queue;
	List	   *left = NIL;
	int			passed = 0;
	int			failed = 0;
	ListCell   *lc;

	foreach(lc, all)
	{
		Arrival    *a = lfirst(lc);
		ErrorData  *error = NULL;
		bool		tried = passed > 0 || failed < 2;

		at402_worker_interrupts();
		l->queue = list_make1(a);
		if (tried && (error = attempt_queue(l)) == NULL)
		{
			passed++;
			continue;
		}
		if (tried && is_timeout(error))
		{
			failed++;
			a->timeouts++;
		}
		if (error != NULL)
			FreeErrorData(error);
		left = lappend(left, a);
	}
	foreach(lc, left)
	{
		Arrival    *a = lfirst(lc);

		if (passed > 0 && a->timeouts >= MAX_TIMEOUTS)
			a->item.rejected = "ran into a timeout while other reports could be stored";
	}
	l->queue = left;
}

static void
flush(Listener *l)
{
	ErrorData  *error;

	pgstat_report_activity(STATE_RUNNING, "storing reports");
	error = attempt_queue(l);
	if (error == NULL)
	{
		batch_stored(l);
		clear_queue(l);
	}
	else
	{
		bool		timeout = is_timeout(error);

		batch_failed(l, error);
		if (timeout && list_length(l->queue) > 1)
		{
			MemoryContext caller = MemoryContextSwitchTo(l->queue_context);

			store_singly(l);
			MemoryContextSwitchTo(caller);
			if (l->queue == NIL)
			{
				batch_stored(l);
				clear_queue(l);
			}
		}
	}
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	INSTR_TIME_SET_CURRENT(l->flushed);
}

/* Milliseconds until the queue has to be stored; -1: nothing waits. */
static int64
flush_due(const Listener *l)
{
	if (l->failures > 0)
		return Max(l->retry_ms - elapsed_ms(l->failed), 0);
	if (l->queued_reports >= at402_batch_reports)
		return 0;
	if (l->queue != NIL)
		return Max(at402_batch_delay - elapsed_ms(l->first_arrived), 0);
	if (l->presence_changed)
		return Max(PRESENCE_MS - elapsed_ms(l->flushed), 0);
	return -1;
}

/* ---- the port ---- */

static void
set_limits(Listener *l)
{
	at402_net_set_limits(l->net, &(at402_net_limits) {
		.max_per_address = at402_max_connections_per_address,
		.max_buffered_bytes = (size_t) at402_receive_buffers * 1024,
		.idle_timeout_ms = (int64) at402_idle_timeout * 1000,
		.login_timeout_ms = (int64) at402_login_timeout * 1000,
	});
}

static bool
port_settings_changed(const Listener *l)
{
	return l->addresses == NULL || strcmp(l->addresses, at402_listen_addresses) != 0 ||
		l->port != at402_port || l->tcp != at402_tcp || l->udp != at402_udp;
}

/* Says once what could not be opened. */
static void
note_refusal(Listener *l, const char *error)
{
	if (error[0] != '\0' && strcmp(error, l->refused) != 0)
	{
		ereport(LOG, errmsg("at402 could not listen: %s", error),
				errhint("Free the port or change at402.port or at402.listen_addresses."));
		at402_stat_set_error(l->stat, error);
	}
	strlcpy(l->refused, error, sizeof(l->refused));
}

static void
announce_port(const Listener *l)
{
	ereport(LOG, errmsg("at402 listens on \"%s\", port %d%s%s%s", at402_listen_addresses,
						at402_net_port(l->net), at402_tcp ? ", TCP" : "", at402_udp ? ", UDP" : "",
						l->refused[0] != '\0' ? ", but not everywhere" : ""));
}

/* Opens or moves the port. */
static void
open_port(Listener *l)
{
	char		error[AT402_TEXT_SIZE];

	l->listening = at402_net_listen(l->net, at402_listen_addresses, at402_port, at402_tcp,
									at402_udp, at402_workers > 1, error, sizeof(error));
	note_refusal(l, error);
	l->stat->port = at402_net_port(l->net);
	if (!l->listening)
		return;

	if (l->addresses != NULL)
		pfree(l->addresses);
	l->addresses = MemoryContextStrdup(TopMemoryContext, at402_listen_addresses);
	l->port = at402_port;
	l->tcp = at402_tcp;
	l->udp = at402_udp;
	at402_stat_set_address(l->stat, at402_listen_addresses);
	l->stat->state = AT402_LISTENING;
	announce_port(l);
}

/* Tries again what could not be opened while the rest could. */
static void
complete_port(Listener *l)
{
	char		error[AT402_TEXT_SIZE];

	if (elapsed_ms(l->looked) < LOOK_AGAIN_MS)
		return;
	INSTR_TIME_SET_CURRENT(l->looked);
	at402_net_listen_missing(l->net, at402_listen_addresses, at402_tcp, at402_udp, error,
							 sizeof(error));
	note_refusal(l, error);
	if (error[0] == '\0')
		announce_port(l);
}

static void
forget_trackers(void *argument)
{
	at402_store_restart(((Listener *) argument)->number);
}

/* Looks once a second whether what was missing has come. */
static void
get_ready(Listener *l)
{
	ErrorData  *error;

	if (!INSTR_TIME_IS_ZERO(l->looked) && elapsed_ms(l->looked) < LOOK_AGAIN_MS)
		return;
	INSTR_TIME_SET_CURRENT(l->looked);
	l->stat->state = AT402_WAITING;
	if (!at402_worker_ready(l->missing, sizeof(l->missing)))
		return;
	/* whoever was connected to the listener before this one is not any more */
	if (!at402_attempt(AT402_TRANSACTION, forget_trackers, l, &error))
	{
		ereport(LOG, errmsg("at402 could not mark trackers as offline: %s", error->message));
		FreeErrorData(error);
		return;
	}
	open_port(l);
}

/* ---- refusals in the log ---- */

/* What is logged when it begins to happen, and again only after a quiet time. */
typedef struct Streak
{
	const char *text;
	const char *hint;
	Size		counter;		/* offset in At402ListenerStat */
} Streak;

#define NET(name) offsetof(At402ListenerStat, net) + offsetof(at402_net_counters, name)
#define STORE(name) offsetof(At402ListenerStat, store) + offsetof(At402StoreCounters, name)

static const Streak streaks[STREAKS] = {
	{"at402 refuses connections", "Raise at402.max_connections, max_connections_per_address or "
	 "receive_buffers, or see who connects in at402_stat_connection.", NET(refused)},
	{"at402 receives packets with a wrong checksum", NULL, NET(bad_crc)},
	{"at402 closes connections that do not speak the protocol", NULL, NET(unknown_protocol)},
	{"at402 loses datagrams in the kernel", "Raise net.core.rmem_max and rmem_default.",
	 NET(datagrams_lost)},
	{"at402 closes connections that send packets without IMEI and login", NULL,
	 STORE(unknown_sender)},
	{"at402 ignores unknown devices", "Insert them into at402.device, or set "
	 "at402.unknown_devices.", STORE(ignored)},
	{"at402 meets more unknown devices than it may register", "Raise at402.register_limit.",
	 STORE(over_limit)},
	{"at402 could not quarantine reports and does not answer them",
	 "See at402.quarantine_limit, and what is in at402.quarantine.", STORE(not_quarantined)},
};

static uint64
streak_count(const Listener *l, int i)
{
	return *(_Atomic uint64_t *) ((char *) l->stat + streaks[i].counter);
}

/* Is there something that log_streaks has not seen yet? */
static bool
streak_begun(const Listener *l)
{
	for (int i = 0; i < STREAKS; i++)
		if (streak_count(l, i) != l->streak_counts[i])
			return true;
	return false;
}

/* Once a second: has something begun that the administrator should know? */
static void
log_streaks(Listener *l)
{
	if (!INSTR_TIME_IS_ZERO(l->streaks_looked) && elapsed_ms(l->streaks_looked) < STREAK_LOOK_MS)
		return;
	INSTR_TIME_SET_CURRENT(l->streaks_looked);
	for (int i = 0; i < STREAKS; i++)
	{
		uint64		now = streak_count(l, i);

		if (now == l->streak_counts[i])
			continue;
		if (INSTR_TIME_IS_ZERO(l->streak_seen[i]) ||
			elapsed_ms(l->streak_seen[i]) > STREAK_QUIET_MS)
			ereport(LOG, errmsg("%s", streaks[i].text),
					streaks[i].hint ? errhint("%s", streaks[i].hint) : 0);
		INSTR_TIME_SET_CURRENT(l->streak_seen[i]);
		l->streak_counts[i] = now;
	}
}

/* ---- the loop ---- */

/* How many connections the descriptors of this process allow. */
static int
reserve_descriptors(void)
{
	int			reserved = 0;

	while (reserved < at402_max_connections + LISTENING_SOCKETS && AcquireExternalFD())
		reserved++;
	reserved = Max(reserved - LISTENING_SOCKETS, 1);
	if (reserved < at402_max_connections)
		ereport(WARNING,
				errmsg("at402.max_connections is %d, but there are file descriptors for %d only",
					   at402_max_connections, reserved),
				errhint("Raise max_files_per_process to at least %d.",
						3 * (at402_max_connections + LISTENING_SOCKETS) + 100));
	return Min(reserved, at402_max_connections);
}

static void
say_goodbye(int code, Datum argument)
{
	At402ListenerStat *stat = (At402ListenerStat *) DatumGetPointer(argument);

	stat->pid = 0;
	stat->port = 0;
	stat->net.connections = 0;
	stat->net.buffered_bytes = 0;
}

static void
start(Listener *l, int number)
{
	const at402_net_callbacks callbacks = {l, take_frame, connection_gone};
	at402_net_slot *slots = at402_stat_slots(number);

	l->number = number;
	l->stat = at402_stat_of(number);
	l->stat->state = AT402_WAITING;
	l->stat->started_at = GetCurrentTimestamp();
	l->stat->pid = MyProcPid;
	memset(slots, 0, sizeof(*slots) * at402_max_connections);
	on_shmem_exit(say_goodbye, PointerGetDatum(l->stat));
	l->queue_context = AllocSetContextCreate(TopMemoryContext, "at402 queue",
											 ALLOCSET_DEFAULT_SIZES);
	l->trackers = create_hash("at402 trackers", AT402_SENDER_TEXT, sizeof(Tracker),
							  HASH_STRINGS);
	l->connections = create_hash("at402 connections", sizeof(at402_ticket), sizeof(Connection),
								 HASH_BLOBS);
	INSTR_TIME_SET_CURRENT(l->flushed);
	l->net = at402_net_create(&callbacks, &l->stat->net, slots, reserve_descriptors());
	if (l->net == NULL)
		ereport(FATAL, errcode_for_socket_access(), errmsg("could not set up sockets: %m"));
	set_limits(l);
	for (int i = 0; i < STREAKS; i++)
		l->streak_counts[i] = streak_count(l, i);
}

static long
wait_ms(const Listener *l, bool more)
{
	int64		net_ms = at402_net_timeout(l->net);
	int64		flush_ms = flush_due(l);
	int64		ms = l->listening && l->refused[0] == '\0' ? -1 : LOOK_AGAIN_MS;

	if (more)
		return 0;
	if (streak_begun(l))
		ms = ms < 0 ? STREAK_LOOK_MS : Min(ms, STREAK_LOOK_MS);
	if (net_ms >= 0)
		ms = ms < 0 ? net_ms : Min(ms, net_ms);
	if (flush_ms >= 0)
		ms = ms < 0 ? flush_ms : Min(ms, flush_ms);
	return (long) ms;
}

void
at402_listener_main(Datum number)
{
	Listener   *l = MemoryContextAllocZero(TopMemoryContext, sizeof(Listener));
	WaitEventSet *set;
	bool		more = false;

	at402_worker_start();
	/* it needs a descriptor too: before all others are reserved for trackers */
	set = CreateWaitEventSet(TopMemoryContext, 3);
	start(l, DatumGetInt32(number));
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, at402_net_fd(l->net), NULL, NULL);

	for (;;)
	{
		WaitEvent	event;

		WaitEventSetWait(set, wait_ms(l, more), &event, 1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if (at402_worker_interrupts())
		{
			set_limits(l);
			if (l->listening && port_settings_changed(l))
				open_port(l);
		}
		if (!l->listening)
			get_ready(l);
		else if (l->refused[0] != '\0')
			complete_port(l);
		more = at402_net_turn(l->net);
		if (flush_due(l) == 0)
			flush(l);
		else if (l->full && l->queue == NIL)
			clear_queue(l);
		log_streaks(l);
	}
}
