/*
 * queue.c - frames that wait to be stored, and their answers
 *
 * The queue holds what came in; a batch is made of it anew for each attempt, so
 * that nothing of a failed attempt is left.  What could not be stored stays and
 * is tried again; meanwhile nobody is answered, the queue fills, net stops
 * reading, and the trackers keep their reports.
 *
 * A timeout may be everybody's (a lock on a table) or that of one report (a
 * trigger that does not come to an end for it).  After one, the frames are
 * tried one by one; those that time out alone while others pass are set apart,
 * so that the others go on, and are quarantined when that has happened often
 * enough.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "pg/attempt.h"
#include "pg/settings.h"
#include "pg/store.h"
#include "worker/listener.h"

#define QUEUE_BATCHES 4			/* the queue holds this many full batches */
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 5000
#define SUSPECT_MS 1000			/* at least, between two tries of those set apart */
#define MAX_TIMEOUTS 3			/* of a frame that is tried alone */
#define SURE_TIMEOUTS 2			/* in a row, and nothing passes: it is everybody's */
#define PRESENCE_MS 500			/* at402.device_state.connected may lag so long */

/* A frame that waits to be stored. */
typedef struct Arrival
{
	dlist_node	node;
	At402Item	item;			/* as at402_batch_add wants it */
	At402Item  *outcome;		/* of the attempt */
	instr_time	arrived;
	int			reports;		/* that it claims to hold */
	int			timeouts;		/* that it ran into when it was tried alone */
	char		sqlstate[6];	/* of the last of them */
} Arrival;

/* What is tried together. */
typedef struct Attempt
{
	At402Listener *l;
	dlist_head *arrivals;
	int			reports;		/* results */
	int			inserted;
	int			duplicates;
	int			quarantined;
} Attempt;

#define ARRIVAL(iter) dlist_container(Arrival, node, (iter).cur)

void
at402_queue_init(At402Listener *l)
{
	l->context = AllocSetContextCreate(TopMemoryContext, "at402 queue", ALLOCSET_DEFAULT_SIZES);
	dlist_init(&l->queue);
	dlist_init(&l->suspects);
	INSTR_TIME_SET_CURRENT(l->flushed);
}

/* ---- in ---- */

/* How many reports a frame holds, as it claims; K, M and V do not say. */
static int
claimed_reports(const at402_arrival *a)
{
	if (a->kind != AT402_FRAME_PACKET)
		return 1;
	return a->bytes[0] == 'X' || a->bytes[0] == 'Y' ? Max(a->bytes[3], 1)
													: 1 + (int) a->length / 40;
}

static bool
has_room(const At402Listener *l)
{
	return l->queued_reports < at402_batch_reports * QUEUE_BATCHES &&
		l->queued_bytes < (size_t) at402_receive_buffers * 1024;
}

bool
at402_queue_take(void *listener, const at402_arrival *a)
{
	At402Listener *l = listener;
	Arrival    *arrival = NULL;
	size_t		peer_size = strlen(a->peer) + 1;
	char	   *memory;

	if (has_room(l))
		arrival = MemoryContextAllocExtended(l->context,
											 MAXALIGN(sizeof(Arrival)) + peer_size + a->length,
											 MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (arrival == NULL)
	{
		l->full = true;
		return false;
	}
	memory = (char *) arrival + MAXALIGN(sizeof(Arrival));
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
	arrival->reports = claimed_reports(a);
	INSTR_TIME_SET_CURRENT(arrival->arrived);

	if (dlist_is_empty(&l->queue))
		l->first_arrived = arrival->arrived;
	dlist_push_tail(&l->queue, &arrival->node);
	l->queued_reports += arrival->reports;
	l->queued_bytes += a->length;
	return true;
}

static void
drop(At402Listener *l, Arrival *a)
{
	dlist_delete(&a->node);
	l->queued_reports -= a->reports;
	l->queued_bytes -= a->item.length;
	pfree(a);
}

/* ---- storing ---- */

/* Runs in a transaction of its own. */
static void
store(void *argument)
{
	Attempt    *attempt = argument;
	At402Batch *batch = at402_batch_create();
	dlist_iter	iter;

	if (at402_report_timeout > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, at402_report_timeout);
	batch->listener = attempt->l->number;
	dlist_foreach(iter, attempt->arrivals)
		ARRIVAL(iter)->outcome = at402_batch_add(batch, &ARRIVAL(iter)->item);
	at402_presence_add(attempt->l, batch);
	at402_store_batch(batch);
	/* what the answers depend on has to outlive the transaction */
	dlist_foreach(iter, attempt->arrivals)
	{
		Arrival    *a = ARRIVAL(iter);

		strlcpy(a->item.imei, a->outcome->imei, sizeof(a->item.imei));
		a->item.fate = a->outcome->fate;
		a->item.reason = a->outcome->reason;
	}
	attempt->reports = batch->reports_seen;
	attempt->inserted = batch->inserted;
	attempt->duplicates = batch->duplicates;
	attempt->quarantined = batch->quarantined;
	at402_batch_destroy(batch);
	/*
	 * COMMIT may wait for a standby, and must not be cut short.  From here on no
	 * cancel can come; one that just came is taken now.
	 */
	disable_timeout(STATEMENT_TIMEOUT, false);
	CHECK_FOR_INTERRUPTS();
}

static void
count_refused(At402StoreCounters *count, const At402Item *item)
{
	if (item->fate == AT402_FATE_IGNORED)
		at402_count(&count->ignored, 1);
	else if (strcmp(item->reason, "unknown_sender") == 0)
		at402_count(&count->unknown_sender, 1);
	else if (strcmp(item->reason, "not_quarantined") == 0)
		at402_count(&count->not_quarantined, 1);
	else
		at402_count(&count->over_limit, 1);
}

static void
count_latency(At402ListenerStat *stat, instr_time arrived)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, arrived);
	at402_count(&stat->store.answered, 1);
	at402_count(&stat->store.latency_us, INSTR_TIME_GET_MICROSEC(now));
	if (stat->latency_reset || INSTR_TIME_GET_MICROSEC(now) > stat->latency_max_us)
		stat->latency_max_us = INSTR_TIME_GET_MICROSEC(now);
	stat->latency_reset = false;
}

/*
 * The frame is committed, or refused for good: tells net what becomes of its
 * sender.  This is the only place where answers come from.
 */
static void
answer(At402Listener *l, const Arrival *a)
{
	const At402Item *item = &a->item;
	bool		tcp = strcmp(item->transport, "tcp") == 0;

	switch (item->fate)
	{
		case AT402_FATE_ROWS:
		case AT402_FATE_DEVICE:
			at402_net_answer(l->net, item->ticket);
			count_latency(l->stat, a->arrived);
			if (tcp)
				at402_presence_note(l, item);
			break;
		case AT402_FATE_QUARANTINE:
			at402_net_answer(l->net, item->ticket);
			count_latency(l->stat, a->arrived);
			break;
		case AT402_FATE_TEXT:
			at402_net_forget(l->net, item->ticket);
			break;
		case AT402_FATE_IGNORED:
		case AT402_FATE_REFUSED:
			count_refused(&l->stat->store, item);
			if (tcp && (item->fate == AT402_FATE_IGNORED ||
						strcmp(item->reason, "unknown_sender") == 0))
				at402_net_close(l->net, item->ticket);
			else
				at402_net_forget(l->net, item->ticket);
			break;
	}
}

/*
 * Stores these frames in one transaction, answers them when it is committed,
 * and forgets them.  Else returns the error, and nothing has happened.
 */
static ErrorData *
attempt(At402Listener *l, dlist_head *arrivals)
{
	Attempt		attempt = {.l = l, .arrivals = arrivals};
	At402StoreCounters *count = &l->stat->store;
	ErrorData  *error = NULL;
	dlist_mutable_iter iter;

	if (!at402_attempt(AT402_TRANSACTION, store, &attempt, &error))
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
	at402_presence_stored(l);	/* before the answers tell of new connections */
	dlist_foreach_modify(iter, arrivals)
	{
		answer(l, ARRIVAL(iter));
		drop(l, ARRIVAL(iter));
	}
	at402_net_flush(l->net);
	at402_count(&count->reports, attempt.reports);
	at402_count(&count->inserted, attempt.inserted);
	at402_count(&count->duplicates, attempt.duplicates);
	at402_count(&count->quarantined, attempt.quarantined);
	at402_count(&count->batches, 1);
	return NULL;
}

/* ---- failures ---- */

/* Logs the first failure of a streak; the end of it is logged too. */
static void
note_failure(At402Listener *l, const ErrorData *error)
{
	at402_count(&l->stat->store.failed_batches, 1);
	at402_stat_set_error(l->stat, error->message);
	l->stat->state = AT402_RETRYING;
	if (l->failures++ == 0)
		ereport(LOG, errcode(error->sqlerrcode),
				errmsg("at402 could not store a batch and answers nobody until it can: %s",
					   error->message),
				error->detail ? errdetail_internal("%s", error->detail) : 0,
				error->hint ? errhint("%s", error->hint) : 0,
				error->context ? errcontext("%s", error->context) : 0);
	l->retry_ms = Min(l->retry_ms == 0 ? RETRY_MIN_MS : l->retry_ms * 2, RETRY_MAX_MS);
	INSTR_TIME_SET_CURRENT(l->failed);
}

static void
note_success(At402Listener *l)
{
	if (l->failures > 0)
		ereport(LOG, errmsg("at402 stores again after %d failed attempts", l->failures));
	l->failures = 0;
	l->retry_ms = 0;
	l->others_passed = true;
	l->stat->state = l->listening ? AT402_LISTENING : AT402_WAITING;
}

static bool
is_timeout(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* Tries one frame alone.  True when it was stored; else it is on the list. */
static bool
attempt_alone(At402Listener *l, Arrival *a, dlist_head *list)
{
	dlist_head	one;
	ErrorData  *error;

	dlist_delete(&a->node);
	dlist_init(&one);
	dlist_push_tail(&one, &a->node);
	error = attempt(l, &one);
	if (error == NULL)
		return true;
	if (is_timeout(error))
	{
		a->timeouts++;
		strlcpy(a->sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(a->sqlstate));
	}
	FreeErrorData(error);
	dlist_delete(&a->node);
	dlist_push_tail(list, &a->node);
	return false;
}

/* Tries the queue one by one; what times out alone while others pass is set
 * apart.  False: nothing passes. */
static bool
sort_out(At402Listener *l)
{
	dlist_head	left;
	bool		passed = false;
	int			timeouts = 0;

	dlist_init(&left);
	while (!dlist_is_empty(&l->queue) && (passed || timeouts < SURE_TIMEOUTS))
	{
		Arrival    *a = dlist_head_element(Arrival, node, &l->queue);

		if (attempt_alone(l, a, &left))
			passed = true;
		else
			timeouts += a->timeouts;
		at402_listener_interrupts(l);
	}
	while (!dlist_is_empty(&left))
	{
		Arrival    *a = dlist_tail_element(Arrival, node, &left);

		dlist_delete(&a->node);
		if (passed && a->timeouts > 0)
		{
			dlist_push_tail(&l->suspects, &a->node);
			INSTR_TIME_SET_CURRENT(l->suspects_tried);
		}
		else
		{
			a->timeouts = 0;
			dlist_push_head(&l->queue, &a->node);
		}
	}
	return passed;
}

static void
store_queue(At402Listener *l)
{
	ErrorData  *error = attempt(l, &l->queue);
	bool		stored = error == NULL;

	if (error != NULL)
	{
		bool		timeout = is_timeout(error);

		note_failure(l, error);
		FreeErrorData(error);
		stored = timeout && sort_out(l);
	}
	if (stored)
		note_success(l);
}

/* Tries those set apart again; after the last time they go to quarantine. */
static void
store_suspects(At402Listener *l)
{
	dlist_mutable_iter iter;
	dlist_head	again;

	dlist_init(&again);
	dlist_foreach_modify(iter, &l->suspects)
	{
		Arrival    *a = ARRIVAL(iter);
		int			before = a->timeouts;

		at402_listener_interrupts(l);
		if (attempt_alone(l, a, &again))
			continue;
		if (!l->others_passed)
			a->timeouts = before;	/* nobody knows whose it was */
		if (a->timeouts >= MAX_TIMEOUTS)
		{
			a->item.rejected = "ran into a timeout while other reports could be stored";
			a->item.sqlstate = a->sqlstate;
			attempt_alone(l, a, &again);
		}
	}
	while (!dlist_is_empty(&again))
		dlist_push_tail(&l->suspects, dlist_pop_head_node(&again));
	l->others_passed = false;
	INSTR_TIME_SET_CURRENT(l->suspects_tried);
}

/* ---- when ---- */

static int64
queue_due(const At402Listener *l)
{
	if (l->failures > 0)
		return Max(l->retry_ms - at402_elapsed_ms(l->failed), 0);
	if (l->queued_reports >= at402_batch_reports)
		return 0;
	if (!dlist_is_empty(unconstify(dlist_head *, &l->queue)))
		return Max(at402_batch_delay - at402_elapsed_ms(l->first_arrived), 0);
	if (l->presence_changed)
		return Max(PRESENCE_MS - at402_elapsed_ms(l->flushed), 0);
	return -1;
}

static int64
suspects_due(const At402Listener *l)
{
	if (dlist_is_empty(unconstify(dlist_head *, &l->suspects)))
		return -1;
	/* waiting for them may take a third of the time, not more */
	return Max(Max(SUSPECT_MS, 2 * (int64) at402_report_timeout) -
			   at402_elapsed_ms(l->suspects_tried), 0);
}

int64
at402_queue_due(const At402Listener *l)
{
	int64		queue = queue_due(l);
	int64		suspects = suspects_due(l);

	return queue < 0 ? suspects : suspects < 0 ? queue : Min(queue, suspects);
}

void
at402_queue_flush(At402Listener *l)
{
	if (at402_queue_due(l) == 0)
	{
		pgstat_report_activity(STATE_RUNNING, "storing reports");
		if (queue_due(l) == 0)
			store_queue(l);
		if (suspects_due(l) == 0)
			store_suspects(l);
		pgstat_report_stat(false);
		pgstat_report_activity(STATE_IDLE, NULL);
		INSTR_TIME_SET_CURRENT(l->flushed);
	}
	if (l->full && has_room(l))
	{
		l->full = false;
		at402_net_resume(l->net);
	}
}
