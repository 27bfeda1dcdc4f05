/*
 * command.c - commands on their way to devices, and what becomes of them
 *
 *     queued --- claim, committed ---> sent --- answer ---> answered, refused
 *                                        +--- timeout, connection or worker gone ---> in_doubt
 *
 * When somebody has queued a command (wake.c), when a route is new (route.c), and
 * once a second in case that a call was missed, the devices whose peers are quiet
 * are looked up in at402.command, all by one statement.  It writes down as sent
 * what it returns; when that is committed the bytes go to net.  What the statement
 * passes over is looked for again later.
 *
 * How a message ended is written down as soon as the row can be had; until then the
 * device gets no other.
 *
 * Reports come first: all of this may take a third of the time at most.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "pg/attempt.h"
#include "pg/settings.h"
#include "worker/route.h"

#define LOOK_MS 1000			/* a call may have been missed */
#define LIMIT_MS 200			/* for a transaction */
#define AGAIN_MS 1000			/* after what could not be written down */
#define AVOID_MS 10000			/* a device whose command cannot be claimed, while others can */
#define LOG_QUIET_MS 60000
#define STEP 200				/* devices, or answers, in a transaction, at most */
#define PAUSE_MS 50				/* after a transaction that failed ... */
#define LONG_PAUSE_MS 1000		/* ... and after many in a row */
#define MANY_FAILURES 12

void
at402_commands_init(At402Listener *l)
{
	HASHCTL		peers = {.keysize = sizeof(At402PeerKey), .entrysize = sizeof(At402Peer)};
	HASHCTL		routes = {.keysize = AT402_SENDER_SIZE, .entrysize = sizeof(At402Route)};
	At402Commands *c = MemoryContextAllocZero(TopMemoryContext, sizeof(At402Commands));

	c->context = AllocSetContextCreate(TopMemoryContext, "at402 commands",
									   ALLOCSET_DEFAULT_SIZES);
	c->peers = hash_create("at402 peers", 256, &peers, HASH_ELEM | HASH_BLOBS);
	c->routes = hash_create("at402 routes", 256, &routes, HASH_ELEM | HASH_STRINGS);
	dlist_init(&c->looks);
	dlist_init(&c->talks);
	dlist_init(&c->finished);
	dlist_init(&c->kept);
	c->calls = l->stat->command_calls;
	INSTR_TIME_SET_CURRENT(c->looked);
	c->worked = c->talks_looked = c->looked;
	c->step = STEP;
	l->commands = c;
}

/* ---- what is done in transactions ---- */

/*
 * Work for several routes or talks at once.  When it fails the next time it is
 * for half as many, until what it fails for is alone; then for more again.
 */
typedef struct Step
{
	At402Listener *l;
	At402Work	work;
	void	   *items[STEP];
	int			count;
	bool		yes;			/* result */
	List	   *sent;			/* result of a claim */
} Step;

static void
note_failure(At402Commands *c, const ErrorData *error)
{
	if (!c->failing || at402_elapsed_ms(c->failed) > LOG_QUIET_MS)
		ereport(LOG, errcode(error->sqlerrcode),
				errmsg("at402 could not write to at402.command: %s", error->message),
				error->detail ? errdetail_internal("%s", error->detail) : 0,
				error->hint ? errhint("%s", error->hint) : 0);
	c->failing = true;
	INSTR_TIME_SET_CURRENT(c->failed);
	FreeErrorData(unconstify(ErrorData *, error));
}

/* COMMIT may wait for a standby and must not be cut short, see commit.c. */
static void
end_work(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	CHECK_FOR_INTERRUPTS();
}

static bool
try_step(Step *step)
{
	At402Commands *c = step->l->commands;
	ErrorData  *error;

	if (at402_attempt(AT402_TRANSACTION, step->work, step, &error))
	{
		/* told to end meanwhile: nobody knows whether this will last */
		if (ProcDiePending)
			CHECK_FOR_INTERRUPTS();
		c->failures = 0;
		c->step = Min(2 * c->step, STEP);
		return true;
	}
	disable_timeout(STATEMENT_TIMEOUT, false);
	QueryCancelPending = false;
	note_failure(c, error);
	c->failures++;
	c->step = Max(step->count / 2, 1);
	return false;
}

/* ---- sending ---- */

static void
claim(void *argument)
{
	Step	   *step = argument;
	At402Commands *c = step->l->commands;
	At402Target *targets = palloc(sizeof(At402Target) * step->count);

	enable_timeout_after(STATEMENT_TIMEOUT, LIMIT_MS);
	for (int i = 0; i < step->count; i++)
	{
		const At402Route *r = step->items[i];

		targets[i] = (At402Target) {.device_id = r->device_id, .udp = at402_peer_is_udp(r->peer)};
	}
	step->sent = at402_command_claim(targets, step->count, step->l->number, c->context);
	end_work();
}

/* It is committed: now, and only now, it may leave. */
static void
send_command(At402Listener *l, const At402Route *r, const At402Sent *sent)
{
	At402Commands *c = l->commands;
	At402Talk  *t = MemoryContextAllocExtended(TopMemoryContext, sizeof(At402Talk),
											   MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	char		message[AT402_MAX_LINE + 1];
	int			length;

	if (t == NULL)
		return;					/* in doubt, by the upkeep */
	length = snprintf(message, sizeof(message), "%s%s%s\r\n", sent->pin ? "$PASS," : "",
					  sent->pin ? sent->pin : "", sent->command);
	strlcpy(t->imei, r->imei, sizeof(t->imei));
	t->outcome.id = sent->id;
	at402_awaited_begin(&t->awaited, message);
	INSTR_TIME_SET_CURRENT(t->sent);
	dlist_push_tail(&c->talks, &t->node);
	t->peer = r->peer;
	r->peer->talk = t;
	if (!at402_net_write(l->net, r->peer->ticket, message, length))
		at402_talk_finish(l, t, "in_doubt");
	explicit_bzero(message, sizeof(message));
	at402_count(&l->stat->store.commands, 1);
}

static int
compare_routes(const void *a, const void *b)
{
	const At402Route *x = *(At402Route *const *) a;
	const At402Route *y = *(At402Route *const *) b;

	return x->device_id < y->device_id ? -1 : x->device_id > y->device_id;
}

static void
send_claimed(Step *step)
{
	ListCell   *lc;

	step->l->commands->passes += step->sent != NIL;
	foreach(lc, step->sent)
	{
		const At402Sent *sent = lfirst(lc);
		At402Route	key = {.device_id = sent->device_id};
		At402Route **r = bsearch(&(At402Route *) {&key}, step->items, step->count, sizeof(At402Route *),
								compare_routes);

		send_command(step->l, *r, sent);
		if (sent->pin != NULL)
			explicit_bzero(sent->pin, strlen(sent->pin));
	}
	at402_net_flush(step->l->net);
}

/* May a command go to this device now?  Else something will list it again. */
static bool
may_send(At402Listener *l, At402Route *r)
{
	if (r->peer->talk != NULL || !at402_stat_has_route(l->number, r->imei))
		return false;
	/* where nothing has passed since, it is nobody's fault */
	if (r->avoided && l->commands->passes != r->avoided_passes &&
		at402_elapsed_ms(r->avoided_at) < AVOID_MS)
		return false;
	r->missed = !at402_net_is_quiet(l->net, r->peer->ticket);
	return !r->missed;
}

/* Takes those off the list that a command may go to, one of each peer. */
static void
take_routes(Step *step)
{
	At402Commands *c = step->l->commands;
	dlist_mutable_iter iter;

	c->claims++;
	dlist_foreach_modify(iter, &c->looks)
	{
		At402Route *r = dlist_container(At402Route, look, iter.cur);

		if (r->peer->claims == c->claims)
			continue;			/* after that other one */
		if (step->count == c->step)
			break;
		at402_route_unlist(r);
		if (!may_send(step->l, r))
			continue;
		r->peer->claims = c->claims;
		step->items[step->count++] = r;
	}
	qsort(step->items, step->count, sizeof(void *), compare_routes);
}

static void
avoid_route(At402Commands *c, At402Route *r)
{
	r->avoided = true;
	r->avoided_passes = c->passes;
	INSTR_TIME_SET_CURRENT(r->avoided_at);
}

static void
look(At402Listener *l)
{
	Step		step = {.l = l, .work = claim};

	take_routes(&step);
	if (step.count == 0)
		return;
	if (try_step(&step))
		send_claimed(&step);
	else if (step.count == 1)
		avoid_route(l->commands, step.items[0]);
	else
		for (int i = 0; i < step.count; i++)
			at402_route_list(l->commands, step.items[i]);
}

/* ---- what became of them ---- */

static void
write_down(void *argument)
{
	Step	   *step = argument;

	enable_timeout_after(STATEMENT_TIMEOUT, LIMIT_MS);
	at402_command_finish((At402Outcome **) step->items, step->count);
	end_work();
}

/* It could not be written down: again after the others, and after a while. */
static void
put_off(At402Commands *c, At402Talk *t)
{
	dlist_delete(&t->node);
	dlist_push_tail(&c->finished, &t->node);
	c->unwritten = true;
	INSTR_TIME_SET_CURRENT(c->written);
}

static void
forget_talk(At402Commands *c, At402Talk *t)
{
	At402Route *r = hash_search(c->routes, t->imei, HASH_FIND, NULL);

	if (r != NULL)
		at402_route_list(c, r);
	dlist_delete(&t->node);
	if (t->answer != NULL)
		pfree(t->answer);
	pfree(t);
}

static At402Talk *
talk_of(void *outcome)
{
	return (At402Talk *) ((char *) outcome - offsetof(At402Talk, outcome));
}

static void
write_finished(At402Listener *l)
{
	At402Commands *c = l->commands;
	Step		step = {.l = l, .work = write_down};
	dlist_iter	iter;

	dlist_foreach(iter, &c->finished)
	{
		if (step.count == c->step)
			break;
		step.items[step.count++] = &dlist_container(At402Talk, node, iter.cur)->outcome;
	}
	c->unwritten = false;
	if (try_step(&step))
		for (int i = 0; i < step.count; i++)
		{
			At402Talk  *t = talk_of(step.items[i]);

			if (t->outcome.done)
				forget_talk(c, t);
			else
				put_off(c, t);	/* somebody has locked the row */
		}
	else if (step.count == 1)
		put_off(c, talk_of(step.items[0]));
}

/* ---- when ---- */

static bool
was_called(const At402Listener *l)
{
	return l->commands->calls != l->stat->command_calls;
}

static int64
rest_ms(const At402Commands *c)
{
	return Max(c->rest_ms - at402_elapsed_ms(c->worked), 0);
}

/* Until what has finished is to be written down; -1: nothing has. */
static int64
finished_due(const At402Commands *c)
{
	if (dlist_is_empty(unconstify(dlist_head *, &c->finished)))
		return -1;
	return c->unwritten ? Max(AGAIN_MS - at402_elapsed_ms(c->written), 0) : 0;
}

static int64
look_due(const At402Listener *l)
{
	const At402Commands *c = l->commands;

	if (!c->recovered)
		return INSTR_TIME_IS_ZERO(c->recovering) ? 0
			: Max(AGAIN_MS - at402_elapsed_ms(c->recovering), 0);
	if (was_called(l) || !dlist_is_empty(unconstify(dlist_head *, &c->looks)))
		return 0;
	return hash_get_num_entries(c->routes) > 0
		? Max(LOOK_MS - at402_elapsed_ms(c->looked), 0) : -1;
}

int64
at402_commands_due(const At402Listener *l)
{
	const At402Commands *c = l->commands;
	int64		work = at402_earliest(finished_due(c), look_due(l));

	if (!l->listening)
		return -1;
	return at402_earliest(at402_talks_due(c), work < 0 ? -1 : Max(work, rest_ms(c)));
}

static void
restart(void *argument)
{
	Step	   *step = argument;

	enable_timeout_after(STATEMENT_TIMEOUT, LIMIT_MS);
	step->yes = at402_command_restart(step->l->number, at402_workers);
	end_work();
}

/* First of all: what the listener before this one has left. */
static void
recover(At402Listener *l)
{
	Step		step = {.l = l, .work = restart};

	INSTR_TIME_SET_CURRENT(l->commands->recovering);
	l->commands->recovered = try_step(&step) && step.yes;
}

static void
see_waiting(void *argument)
{
	Step	   *step = argument;

	enable_timeout_after(STATEMENT_TIMEOUT, LIMIT_MS);
	step->yes = at402_command_waits();
	end_work();
}

/* Lists all routes when somebody has called, or may have. */
static void
list_all_routes(At402Listener *l)
{
	At402Commands *c = l->commands;
	Step		step = {.l = l, .work = see_waiting};
	HASH_SEQ_STATUS scan;
	At402Route *r;

	if (!was_called(l) && at402_elapsed_ms(c->looked) < LOOK_MS)
		return;
	c->calls = l->stat->command_calls;
	INSTR_TIME_SET_CURRENT(c->looked);
	if (hash_get_num_entries(c->routes) == 0 || !try_step(&step) || !step.yes)
		return;
	hash_seq_init(&scan, c->routes);
	while ((r = hash_seq_search(&scan)) != NULL)
		at402_route_list(c, r);
}

static void
work(At402Listener *l)
{
	At402Commands *c = l->commands;
	MemoryContext caller = MemoryContextSwitchTo(c->context);
	instr_time	began;

	INSTR_TIME_SET_CURRENT(began);
	pgstat_report_activity(STATE_RUNNING, "sending commands");
	if (finished_due(c) == 0)
		write_finished(l);
	if (!c->recovered)
		recover(l);
	if (c->recovered)
		list_all_routes(l);
	if (c->recovered && !dlist_is_empty(&c->looks))
		look(l);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(c->context);
	c->rest_ms = 2 * at402_elapsed_ms(began);
	if (c->failures > 0)
		c->rest_ms = Max(c->rest_ms, c->failures < MANY_FAILURES ? PAUSE_MS : LONG_PAUSE_MS);
	INSTR_TIME_SET_CURRENT(c->worked);
}

void
at402_commands_turn(At402Listener *l)
{
	const At402Commands *c = l->commands;

	at402_talks_end_old(l);
	if (l->listening && rest_ms(c) == 0 && (finished_due(c) == 0 || look_due(l) == 0))
		work(l);
	at402_routes_release(l);
}
