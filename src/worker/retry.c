/*
 * retry.c - what fails or hangs: whose fault it is, and again later
 *
 * An error that is a report's was dealt with while storing.  What comes up here
 * is the environment's, or may be: then all of it stays in the queue and is
 * tried again after a pause.
 *
 * A timeout may be everybody's (a lock on a table) or that of one device (a
 * trigger that does not come to an end for it, a lock on its row).  After one,
 * the senders are tried one by one, each for a short time, so that all of them
 * together take no longer than the timeout did.  Whoever hangs alone while
 * others pass is a suspect: its frames no longer go into the queue.  Suspects
 * are tried apart, one at a time, for a tenth of the timeout, and rest for
 * twice the time that it took, so that the others have two thirds of all time
 * and never wait long.  A frame that hung three times alone while others passed
 * is quarantined.  Where nothing passes, it is the environment's fault.
 *
 * An error that only the environment should raise, but that does not go away,
 * is looked at in the same way: a user's trigger can raise anything.  But what
 * fails so is never quarantined.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/environment.h"
#include "pg/settings.h"
#include "worker/listener.h"

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 5000
#define PATIENCE 3				/* failures until the senders are tried one by one */
#define SURE_FAILURES 5			/* of senders alone, and nothing passes */
#define DEFAULT_TIMEOUT_MS 20000	/* to share out, where at402.report_timeout is 0 */
#define ALONE_MIN_MS 20
#define ALONE_MAX_MS 1000
#define SUSPECT_REST_MS 1000	/* between two tries of one, at least */
#define CAREFUL_TIMEOUTS 10		/* so long after one the queue gets a tenth of the time */
#define MAX_HANGS 3				/* of a frame of a suspect */
#define MAX_SUSPECTS 10000
#define FORGET_MS 600000		/* a suspect that was not heard of */

/* A device whose frames hang while those of others pass. */
typedef struct Suspect
{
	char		imei[AT402_SENDER_SIZE];	/* key */
	At402Queued *waiting;		/* its oldest frame; NULL: none */
	int			hangs;			/* of that frame, while others passed */
	uint64		passes;			/* of the listener, when one was counted last */
	instr_time	counted;
	instr_time	tried;
	bool		of_environment; /* it fails with an error that is not to be judged */
	char		sqlstate[6];
} Suspect;

void
at402_retry_init(At402Listener *l)
{
	HASHCTL		ctl = {.keysize = AT402_SENDER_SIZE, .entrysize = sizeof(Suspect),
					   .hcxt = l->context};

	l->suspects = hash_create("at402 suspects", 64, &ctl,
							  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

static int
timeout_ms(void)
{
	return at402_report_timeout > 0 ? at402_report_timeout : DEFAULT_TIMEOUT_MS;
}

/* ---- suspects ---- */

static void
forget_frame(At402Listener *l, At402Queued *q)
{
	at402_net_forget(l->net, q->input.from.ticket);
	pfree(q);
}

/* The frame becomes the one of its suspect that waits. */
static void
keep_frame(At402Listener *l, Suspect *s, At402Queued *q)
{
	s->waiting = q;
	s->hangs = 0;
	l->waiting_suspects++;
	l->suspect_bytes += q->input.length;
}

/* It is out of the suspect's hands: answered, or to be forgotten. */
static At402Queued *
release_frame(At402Listener *l, Suspect *s)
{
	At402Queued *q = s->waiting;

	s->waiting = NULL;
	l->waiting_suspects--;
	l->suspect_bytes -= q->input.length;
	return q;
}

static bool
has_room(const At402Listener *l)
{
	return l->suspect_bytes < (size_t) at402_receive_buffers * 1024 / 4;
}

bool
at402_retry_takes(At402Listener *l, At402Queued *q)
{
	Suspect    *s = hash_search(l->suspects, q->sender, HASH_FIND, NULL);

	if (s == NULL)
		return false;
	if (s->waiting == NULL && has_room(l))
		keep_frame(l, s, q);
	else
		forget_frame(l, q);		/* the tracker sends it again */
	return true;
}

/* The frames of a sender that has failed alone are no longer the queue's. */
static void
suspect(At402Listener *l, dlist_head *frames, const ErrorData *error)
{
	At402Queued *first = dlist_head_element(At402Queued, node, frames);
	Suspect    *s = NULL;
	bool		found;
	dlist_mutable_iter iter;

	if (hash_get_num_entries(l->suspects) < MAX_SUSPECTS)
	{
		s = hash_search(l->suspects, first->sender, HASH_ENTER, &found);
		if (!found)
			s->waiting = NULL;
		s->passes = l->passes;
		s->of_environment = !at402_is_timeout(error) && !at402_is_undecided(error);
		strlcpy(s->sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(s->sqlstate));
		INSTR_TIME_SET_CURRENT(s->tried);
		s->counted = s->tried;
	}
	dlist_foreach_modify(iter, frames)
	{
		At402Queued *q = AT402_QUEUED(iter);

		dlist_delete(&q->node);
		l->queued_reports -= q->reports;
		l->queued_bytes -= q->input.length;
		if (s != NULL && s->waiting == NULL && has_room(l))
		{
			keep_frame(l, s, q);
			s->hangs = 1;
		}
		else
			forget_frame(l, q);
	}
}

/* The suspect to be tried next, and when it is due, in ms. */
static Suspect *
next_suspect(const At402Listener *l, int64 *due)
{
	HASH_SEQ_STATUS scan;
	Suspect    *next = NULL;
	Suspect    *s;

	*due = -1;
	hash_seq_init(&scan, l->suspects);
	while ((s = hash_seq_search(&scan)) != NULL)
	{
		int64		rest = Max(SUSPECT_REST_MS - at402_elapsed_ms(s->tried), 0);

		if (s->waiting != NULL && (next == NULL || rest < *due))
		{
			next = s;
			*due = rest;
		}
	}
	return next;
}

int64
at402_retry_due(const At402Listener *l)
{
	int64		due;

	if (l->waiting_suspects == 0)
		return -1;
	if (l->suspect_tried)
	{
		int64		rest = l->suspects_rest_ms - at402_elapsed_ms(l->suspects_tried);

		if (rest > 0)
			return rest;
	}
	next_suspect(l, &due);
	return due;
}

static void
forget_old_suspects(At402Listener *l)
{
	HASH_SEQ_STATUS scan;
	Suspect    *s;

	hash_seq_init(&scan, l->suspects);
	while ((s = hash_seq_search(&scan)) != NULL)
		if (s->waiting == NULL && at402_elapsed_ms(s->tried) > FORGET_MS)
			hash_search(l->suspects, s->imei, HASH_REMOVE, NULL);
}

/* Stores the frame that waits; NULL: that was done. */
static ErrorData *
try_frame(At402Listener *l, Suspect *s)
{
	dlist_head	one;
	At402Queued *q = release_frame(l, s);
	ErrorData  *error;

	dlist_init(&one);
	dlist_push_tail(&one, &q->node);
	l->queued_reports += q->reports;
	l->queued_bytes += q->input.length;
	error = at402_commit(l, &one, at402_short_ms());
	if (error == NULL)
		return NULL;
	dlist_delete(&q->node);
	l->queued_reports -= q->reports;
	l->queued_bytes -= q->input.length;
	s->waiting = q;
	l->waiting_suspects++;
	l->suspect_bytes += q->input.length;
	return error;
}

void
at402_retry_suspect(At402Listener *l)
{
	int64		due;
	Suspect    *s = next_suspect(l, &due);
	uint64		passes = l->passes;
	instr_time	began;
	ErrorData  *error;

	INSTR_TIME_SET_CURRENT(began);
	error = try_frame(l, s);
	if (error == NULL)
		hash_search(l->suspects, s->imei, HASH_REMOVE, NULL);
	else
	{
		s->of_environment = !at402_is_timeout(error) && !at402_is_undecided(error);
		strlcpy(s->sqlstate, unpack_sql_state(error->sqlerrcode), sizeof(s->sqlstate));
		FreeErrorData(error);
		INSTR_TIME_SET_CURRENT(s->tried);
		/* where nothing else has passed, nobody knows whose fault it was; and three of them
		 * must not be over while somebody alters a table */
		if (passes != s->passes && at402_elapsed_ms(s->counted) >= timeout_ms())
		{
			s->hangs++;
			s->passes = passes;
			s->counted = s->tried;
		}
		if (s->hangs >= MAX_HANGS && !s->of_environment)
		{
			s->waiting->sqlstate = s->sqlstate;
			error = try_frame(l, s);
			if (error != NULL)
				FreeErrorData(error);
		}
	}
	forget_old_suspects(l);
	l->suspect_tried = true;
	l->suspects_rest_ms = 2 * at402_elapsed_ms(began);
	INSTR_TIME_SET_CURRENT(l->suspects_tried);
}

/* ---- the queue ---- */

/* Logs the first failure of a streak; the end of it is logged too. */
static void
note_failure(At402Listener *l, const ErrorData *error)
{
	char		missing[AT402_TEXT_SIZE] = "";

	l->lacks = !at402_worker_ready(missing, sizeof(missing), false);
	at402_count(&l->stat->store.failed_batches, 1);
	at402_stat_set_error(l->stat, l->lacks ? missing : error->message);
	l->failures++;
	at402_state_publish(l);
	if (l->failures == 1)
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
	at402_state_publish(l);
}

/* Takes the frames of the first sender out of the queue. */
static void
take_sender(At402Listener *l, dlist_head *frames)
{
	const At402Queued *first = dlist_head_element(At402Queued, node, &l->queue);
	dlist_mutable_iter iter;

	dlist_init(frames);
	dlist_foreach_modify(iter, &l->queue)
	{
		At402Queued *q = AT402_QUEUED(iter);

		if (q != first && strcmp(q->sender, first->sender) != 0)
			continue;
		dlist_delete(&q->node);
		dlist_push_tail(frames, &q->node);
	}
}

static void
append(dlist_head *to, dlist_head *from)
{
	while (!dlist_is_empty(from))
		dlist_push_tail(to, dlist_pop_head_node(from));
}

static int
count_senders(At402Listener *l)
{
	HASHCTL		ctl = {.keysize = AT402_SENDER_SIZE, .entrysize = AT402_SENDER_SIZE,
					   .hcxt = CurrentMemoryContext};
	HTAB	   *senders = hash_create("at402 senders", 64, &ctl,
									  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	dlist_iter	iter;
	int			count;

	dlist_foreach(iter, &l->queue)
		hash_search(senders, AT402_QUEUED(iter)->sender, HASH_ENTER, NULL);
	count = (int) hash_get_num_entries(senders);
	hash_destroy(senders);
	return count;
}

/* The frames of a sender that failed alone, and its error. */
typedef struct Failed
{
	dlist_head	frames;
	ErrorData  *error;
} Failed;

/*
 * Tries the senders one by one.  Those that fail while others pass become
 * suspects.  False: nothing passes.
 */
static bool
sort_out(At402Listener *l)
{
	int			senders = count_senders(l);
	int			limit = Min(Max(timeout_ms() / 2 / senders, ALONE_MIN_MS), ALONE_MAX_MS);
	uint64		before = l->passes;
	List	   *failed = NIL;
	int			errors = 0;
	instr_time	began;
	ListCell   *lc;

	limit = Min(limit, timeout_ms());
	INSTR_TIME_SET_CURRENT(began);
	while (!dlist_is_empty(&l->queue) && at402_elapsed_ms(began) < timeout_ms() &&
		   (errors < SURE_FAILURES || l->passes != before))
	{
		Failed	   *f = palloc(sizeof(Failed));

		take_sender(l, &f->frames);
		f->error = at402_commit(l, &f->frames, limit);
		if (f->error != NULL)
		{
			errors += !at402_is_timeout(f->error);
			failed = lappend(failed, f);
		}
		CHECK_FOR_INTERRUPTS(); /* no more: a reload has to wait for the loop */
	}
	foreach(lc, failed)
	{
		Failed	   *f = lfirst(lc);

		if (l->passes != before)
			suspect(l, &f->frames, f->error);
		else
			append(&l->queue, &f->frames);	/* behind those not tried yet */
		FreeErrorData(f->error);
	}
	if (l->passes != before && failed != NIL)
		ereport(LOG, errmsg("at402 stores the reports of %d devices apart: they fail or hang",
							list_length(failed)));
	return l->passes != before;
}

/*
 * After a timeout no batch may take so long again for a while.  But what fails
 * again and again, with nothing new beside it, gets all of its time.
 */
static int
queue_limit_ms(const At402Listener *l)
{
	bool		careful = l->has_hung &&
		at402_elapsed_ms(l->hung) < CAREFUL_TIMEOUTS * (int64) timeout_ms();

	return careful && (l->failures == 0 || l->others_came) ? at402_short_ms()
														   : at402_report_timeout;
}

void
at402_retry_queue(At402Listener *l)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "at402 retry",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	ErrorData  *error = at402_commit(l, &l->queue, queue_limit_ms(l));
	bool		stored = error == NULL;

	if (error != NULL)
	{
		bool		hung = at402_is_timeout(error);

		note_failure(l, error);
		l->undecided = at402_is_undecided(error) || (hung && count_senders(l) == 1);
		l->others_came = false;
		if (hung)
		{
			l->has_hung = true;
			INSTR_TIME_SET_CURRENT(l->hung);
		}
		if ((hung || l->failures > PATIENCE) && !dlist_is_empty(&l->queue))
			stored = sort_out(l);
	}
	if (stored)
		note_success(l);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
