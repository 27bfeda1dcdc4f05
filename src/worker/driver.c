/*
 * driver.c - devices that ask whether the driver with this key may drive
 *
 * at402.authorise_driver() decides.  It may be a user's, and slow or broken: it
 * has half a second, and then there is silence, which a device understands.
 * Checks are asked one at a time, after reports are stored, and for a third of the
 * time at most.  A connection has one check that waits: a newer one takes its
 * place, so a flood of them costs nobody else anything.
 *
 * A function that swallows its cancel (plpgsql can) is cancelled twice more, and
 * then the process ends and starts again.  It is not called any more until it
 * is replaced.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "pg/attempt.h"
#include "pg/command.h"
#include "worker/listener.h"

#define LIMIT_MS 500
#define CANCELS 2				/* that may be swallowed, besides the first */
#define MAX_CHECKS 200			/* that wait; past it there is silence */
#define LOG_QUIET_MS 60000

/* A check that waits. */
typedef struct Waiting
{
	dlist_node	node;
	at402_ticket ticket;
	bool		udp;
	TimestampTz at;
	char		imei[AT402_SENDER_SIZE];
	char		family[AT402_KEY_DIGITS + 1];
	char		serial[AT402_KEY_DIGITS + 1];
	const char *answer;			/* result */
	char		problem[AT402_TEXT_SIZE];	/* why there is none; "" */
} Waiting;

struct At402Drivers
{
	MemoryContext context;		/* of one check */
	dlist_head	waiting;
	int			count;
	instr_time	asked;			/* last, and then there is a rest */
	int64		rest_ms;
	bool		failing;		/* the log has said so, last at ... */
	instr_time	failed;
};

/* ---- the function that is called ---- */

static TimeoutId hang_timeout;
static volatile sig_atomic_t hangs; /* times that it ran out for this call */
static volatile uint32 version; /* of the function */
static At402ListenerStat *stat;

static void
strike(void)
{
	InterruptPending = true;
	if (++hangs <= CANCELS)
		QueryCancelPending = true;
	else
	{
		stat->hung_function = version;
		ProcDiePending = true;
	}
	SetLatch(MyLatch);
}

static void
begin_call(void)
{
	version = at402_authorise_version();
	if (version != 0 && version == stat->hung_function)
		ereport(ERROR, errcode(ERRCODE_QUERY_CANCELED),
				errmsg("at402.authorise_driver() did not let itself be cancelled"),
				errhint("Replace it; until then it is not called."));
	hangs = 0;
	enable_timeout_every(hang_timeout,
						 TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 2 * LIMIT_MS),
						 LIMIT_MS);
}

static void
end_call(void)
{
	disable_timeout(hang_timeout, false);
	disable_timeout(STATEMENT_TIMEOUT, false);
}

void
at402_drivers_init(At402Listener *l)
{
	At402Drivers *d = MemoryContextAllocZero(TopMemoryContext, sizeof(At402Drivers));

	d->context = AllocSetContextCreate(TopMemoryContext, "at402 drivers", ALLOCSET_SMALL_SIZES);
	dlist_init(&d->waiting);
	INSTR_TIME_SET_CURRENT(d->asked);
	hang_timeout = RegisterTimeout(USER_TIMEOUT, strike);
	stat = l->stat;
	l->drivers = d;
}

/* ---- asked by a device ---- */

static void
copy_field(char *to, size_t size, at402_span field)
{
	size_t		length = Min(field.length, size - 1);

	memcpy(to, field.bytes, length);
	to[length] = '\0';
}

/* The one of this connection; else a new one, or NULL: too many, no memory. */
static Waiting *
find_or_make(At402Drivers *d, at402_ticket ticket)
{
	Waiting    *w = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &d->waiting)
		if (dlist_container(Waiting, node, iter.cur)->ticket == ticket)
			return dlist_container(Waiting, node, iter.cur);
	if (d->count < MAX_CHECKS)
		w = MemoryContextAllocExtended(TopMemoryContext, sizeof(Waiting),
									   MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (w == NULL)
		return NULL;
	w->ticket = ticket;
	d->count++;
	dlist_push_tail(&d->waiting, &w->node);
	return w;
}

bool
at402_drivers_hear(At402Listener *l, const at402_input *line)
{
	at402_driver_check check;
	const char *sender;
	Waiting    *w;

	if (!at402_driver_check_parse(line->bytes, line->length, &check))
		return false;
	sender = at402_senders_find(l, line);
	if (sender == NULL)
		return false;			/* a line of nobody */
	at402_count(&l->stat->store.driver_checks, 1);
	w = check.imei.length == strlen(sender) &&
		memcmp(check.imei.bytes, sender, check.imei.length) == 0
		? find_or_make(l->drivers, line->from.ticket) : NULL;
	if (w == NULL)
	{
		at402_count(&l->stat->store.driver_failures, 1);
		return true;
	}
	w->udp = at402_is_udp(line);
	if (w->udp)
		at402_net_keep(l->net, line->from.ticket);
	w->at = GetCurrentTimestamp();
	copy_field(w->imei, sizeof(w->imei), check.imei);
	copy_field(w->family, sizeof(w->family), check.family);
	copy_field(w->serial, sizeof(w->serial), check.serial);
	return true;
}

/* ---- asked here ---- */

static void
ask(void *argument)
{
	Waiting    *w = argument;
	const At402Check check = {.imei = w->imei, .family = w->family, .serial = w->serial,
							  .at = w->at};
	char	   *problem;
	const char *answer;

	begin_call();
	answer = at402_authorise(&check, LIMIT_MS, &problem);
	/* it has to outlive the transaction */
	w->answer = answer == NULL ? NULL : strcmp(answer, "APPROVE") == 0 ? "APPROVE" : "DECLINE";
	if (problem != NULL)
		strlcpy(w->problem, problem, sizeof(w->problem));
	end_call();
	CHECK_FOR_INTERRUPTS();
}

static void
note_failure(At402Listener *l, const char *problem)
{
	At402Drivers *d = l->drivers;

	at402_count(&l->stat->store.driver_failures, 1);
	if (!d->failing || at402_elapsed_ms(d->failed) > LOG_QUIET_MS)
		ereport(LOG, errmsg("at402 could not answer a device that asked about a driver: %s",
							problem));
	d->failing = true;
	INSTR_TIME_SET_CURRENT(d->failed);
}

static void
reply(At402Listener *l, const Waiting *w)
{
	char		text[64];
	int			length = snprintf(text, sizeof(text), "$DRID,%s,%s,%s\r\n", w->answer, w->family,
								  w->serial);

	at402_net_write(l->net, w->ticket, text, length);
	at402_net_flush(l->net);
}

static void
decide(At402Listener *l, Waiting *w)
{
	ErrorData  *error;

	if (!at402_attempt(AT402_TRANSACTION, ask, w, &error))
	{
		end_call();
		QueryCancelPending = false;
		w->answer = NULL;
		strlcpy(w->problem, error->message, sizeof(w->problem));
	}
	else if (ProcDiePending)
		CHECK_FOR_INTERRUPTS();
	if (w->problem[0] != '\0')
		note_failure(l, w->problem);
	if (w->answer != NULL)
		reply(l, w);
}

void
at402_drivers_turn(At402Listener *l)
{
	At402Drivers *d = l->drivers;
	MemoryContext caller;
	Waiting    *w;
	instr_time	began;

	if (at402_drivers_due(l) != 0)
		return;
	INSTR_TIME_SET_CURRENT(began);
	caller = MemoryContextSwitchTo(d->context);
	pgstat_report_activity(STATE_RUNNING, "asking about a driver");
	w = dlist_container(Waiting, node, dlist_pop_head_node(&d->waiting));
	d->count--;
	if (w->udp || at402_net_is_open(l->net, w->ticket))
		decide(l, w);
	if (w->udp)
		at402_net_forget(l->net, w->ticket);
	pfree(w);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(d->context);
	d->rest_ms = 2 * at402_elapsed_ms(began);
	INSTR_TIME_SET_CURRENT(d->asked);
}

int64
at402_drivers_due(const At402Listener *l)
{
	const At402Drivers *d = l->drivers;

	if (d->count == 0 || !l->listening)
		return -1;
	return Max(d->rest_ms - at402_elapsed_ms(d->asked), 0);
}
