/*
 * commit.c - a batch is stored in a transaction, and then answered
 *
 * answer() is the only place where answers come from, and it is reached only
 * when COMMIT has returned.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "pg/attempt.h"
#include "pg/settings.h"
#include "pg/store.h"
#include "worker/listener.h"

#define QUIET_MS 60000			/* after that the log says it anew */

/* What is tried together. */
typedef struct Attempt
{
	At402Listener *l;
	dlist_head *frames;
	int			reports;		/* results */
	int			inserted;
	int			duplicates;
	int			quarantined;
	char		first_reason[64];	/* of what is in quarantine */
	char		first_message[AT402_TEXT_SIZE];
} Attempt;

/* Runs in a transaction of its own. */
static void
store(void *argument)
{
	Attempt    *attempt = argument;
	At402Batch *batch = at402_batch_create();
	dlist_iter	iter;

	batch->listener = attempt->l->number;
	batch->attempts = attempt->l->failures;
	dlist_foreach(iter, attempt->frames)
	{
		At402Queued *q = AT402_QUEUED(iter);

		q->item = at402_batch_add(batch, &q->input);
		if (q->sqlstate != NULL)
			at402_reject(q->item, q->sqlstate, "could not be stored alone, while others could");
	}
	at402_store_batch(batch);
	dlist_foreach(iter, attempt->frames)
		AT402_QUEUED(iter)->verdict = at402_verdict(AT402_QUEUED(iter)->item);
	attempt->reports = batch->reports_seen;
	attempt->inserted = batch->inserted;
	attempt->duplicates = batch->duplicates;
	attempt->quarantined = batch->quarantined;
	if (batch->first_reason != NULL)
	{
		strlcpy(attempt->first_reason, batch->first_reason, sizeof(attempt->first_reason));
		strlcpy(attempt->first_message, batch->first_message, sizeof(attempt->first_message));
	}
	at402_batch_destroy(batch);
}

/* ---- answers ---- */

static void
count_refused(At402StoreCounters *count, const At402Verdict *verdict)
{
	if (verdict->disposition == AT402_IGNORED)
		at402_count(&count->ignored, 1);
	else if (strcmp(verdict->reason, "unknown_sender") == 0)
		at402_count(&count->unknown_sender, 1);
	else if (strcmp(verdict->reason, "not_quarantined") == 0)
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
 * sender.
 */
static void
answer(At402Listener *l, const At402Queued *q)
{
	const At402Verdict *verdict = &q->verdict;
	at402_ticket ticket = q->input.from.ticket;
	bool		tcp = !at402_is_udp(&q->input);

	switch (verdict->disposition)
	{
		case AT402_TO_ROWS:
		case AT402_TO_DEVICE:
			at402_routes_note(l, q);
			at402_net_answer(l->net, ticket);
			count_latency(l->stat, q->arrived);
			if (tcp)
				at402_presence_note(l, q);
			break;
		case AT402_TO_QUARANTINE:
			at402_net_answer(l->net, ticket);
			count_latency(l->stat, q->arrived);
			break;
		case AT402_TO_FRAME:
			at402_net_forget(l->net, ticket);
			break;
		case AT402_IGNORED:
		case AT402_REFUSED:
			count_refused(&l->stat->store, verdict);
			if (tcp && (verdict->disposition == AT402_IGNORED ||
						strcmp(verdict->reason, "unknown_sender") == 0))
				at402_net_close(l->net, ticket);
			else
				at402_net_forget(l->net, ticket);
			break;
	}
}

/*
 * What goes to quarantine is answered, so the tracker forgets it: somebody has
 * to know.  One line when it begins, and again only after a quiet time.
 */
static void
note_quarantined(At402Listener *l, const Attempt *attempt)
{
	if (attempt->inserted + attempt->duplicates > 0)
		l->rejected = 0;
	if (attempt->quarantined == 0)
		return;
	/* other reasons say nothing of the tables */
	if (strcmp(attempt->first_reason, "rejected") == 0)
		l->rejected += attempt->quarantined;
	if (!l->quarantine_seen || at402_elapsed_ms(l->quarantined) > QUIET_MS)
	{
		ereport(LOG,
				errmsg("at402 puts reports in quarantine: %d of %d, %s: %s",
					   attempt->quarantined, Max(attempt->reports, attempt->quarantined),
					   attempt->first_reason, attempt->first_message),
				errhint("See at402.quarantine; when it is mended: SELECT * FROM at402_release();"));
		at402_stat_set_error(l->stat, psprintf("%s: %s", attempt->first_reason,
											   attempt->first_message));
	}
	l->quarantine_seen = true;
	INSTR_TIME_SET_CURRENT(l->quarantined);
}

ErrorData *
at402_commit(At402Listener *l, dlist_head *frames, int limit_ms)
{
	Attempt		attempt = {.l = l, .frames = frames};
	At402StoreCounters *count = &l->stat->store;
	ErrorData  *error = NULL;
	dlist_mutable_iter iter;

	if (!at402_transaction(store, &attempt, limit_ms, &error))
		return error;
	/*
	 * Told to end during the commit: its wait for a standby may have been cut
	 * short, and then nobody knows whether the batch will last.
	 */
	if (ProcDiePending)
		CHECK_FOR_INTERRUPTS();
	l->committed_frames = 0;
	dlist_foreach_modify(iter, frames)
	{
		l->committed_frames++;
		answer(l, AT402_QUEUED(iter));
		at402_queue_free(l, AT402_QUEUED(iter));
	}
	at402_net_flush(l->net);
	at402_count(&count->reports, attempt.reports);
	at402_count(&count->inserted, attempt.inserted);
	at402_count(&count->duplicates, attempt.duplicates);
	at402_count(&count->quarantined, attempt.quarantined);
	at402_count(&count->batches, 1);
	l->passes += attempt.inserted + attempt.duplicates > 0;
	note_quarantined(l, &attempt);
	return NULL;
}
