/*
 * command.c - commands on their way to devices, and what becomes of them
 *
 *     queued --- claim, committed ---> sent --- answer ---> answered, refused
 *                                        +--- timeout, connection or worker gone ---> in_doubt
 *
 * A peer is a connection, or an address that datagrams come from.  The route of
 * a device is the peer that last brought a good packet of it; a login alone is
 * enough where there is none.  When somebody has queued a command (wake.c), when
 * a route is new, and once a second in case that a call was missed, the
 * devices whose peers are quiet are looked up in at402.command, all by one
 * statement.  It writes down as sent what it returns; when that is committed the
 * bytes go to net.  What the statement passes over is looked for again later.
 *
 * One message a peer is on its way, so that the next answer is its.  How it
 * ended is written down as soon as the row can be had; until then the device gets no
 * other.
 *
 * Reports come first: all of this may take a third of the time at most.  Over
 * UDP a datagram can be replied to only in the turn in which it is answered.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "pg/attempt.h"
#include "pg/command.h"
#include "pg/settings.h"
#include "worker/listener.h"

#define LOOK_MS 1000			/* a call may have been missed */
#define LIMIT_MS 200			/* for a transaction */
#define QUIET_MS 1000			/* after a line with data: it was the last */
#define AGAIN_MS 1000			/* after what could not be written down */
#define AVOID_MS 10000			/* a device whose command cannot be claimed, while others can */
#define LOG_QUIET_MS 60000
#define ANSWER_SIZE 8192		/* of which the rest is cut off */
#define STEP 200				/* devices, or answers, in a transaction, at most */
#define PAUSE_MS 50				/* after a transaction that failed ... */
#define LONG_PAUSE_MS 1000		/* ... and after many in a row */
#define MANY_FAILURES 12
#define TALKS_MS 100			/* between two looks at what is on its way */

/* A message that was sent. */
typedef struct Talk
{
	dlist_node	node;			/* in talks, or in finished */
	struct Peer *peer;			/* NULL: finished */
	char		imei[AT402_SENDER_SIZE];
	At402Outcome outcome;
	at402_awaited awaited;
	instr_time	sent;
	instr_time	heard;			/* the line that may be the last */
	char	   *answer;			/* lines; NULL: none */
	size_t		length;
	size_t		size;
} Talk;

typedef struct Peer
{
	At402PeerKey key;
	at402_ticket ticket;		/* to write to */
	bool		kept;			/* the datagram, in net and in the list of these */
	dlist_node	of_kept;
	dlist_head	routes;
	Talk	   *talk;			/* on its way */
	int			claims;			/* number of the claim that it takes part in */
} Peer;

/* Where to a device's commands go. */
typedef struct Route
{
	char		imei[AT402_SENDER_SIZE];	/* key */
	int			device_id;
	Peer	   *peer;
	dlist_node	of_peer;
	bool		by_packet;		/* and not by a login only */
	bool		missed;			/* its peer was not quiet: after its next answer */
	bool		listed;			/* in looks */
	bool		avoided;		/* its command alone could not be claimed, at ... */
	instr_time	avoided_at;
	uint64		avoided_passes;
	dlist_node	look;
} Route;

struct At402Commands
{
	MemoryContext context;		/* of one step */
	HTAB	   *peers;
	HTAB	   *routes;
	dlist_head	looks;			/* routes to be looked at */
	dlist_head	talks;			/* the one sent first is first */
	instr_time	talks_looked;
	dlist_head	finished;		/* to be written down */
	uint32		calls;			/* that were followed, see At402ListenerStat */
	int			claims;			/* so far */
	dlist_head	kept;			/* peers whose datagrams net keeps */
	bool		recovered;		/* from the listener before this one; tried at ... */
	instr_time	recovering;
	bool		unwritten;		/* some of them could not be written down, at ... */
	instr_time	written;
	instr_time	looked;			/* at all routes */
	instr_time	worked;			/* last, and then there is a rest */
	int64		rest_ms;
	int			step;			/* so many devices, or answers, in a transaction */
	int			failures;		/* in a row */
	uint64		passes;			/* claims that brought something */
	bool		failing;		/* the log has said so, last at ... */
	instr_time	failed;
};

void
at402_commands_init(At402Listener *l)
{
	HASHCTL		peers = {.keysize = sizeof(At402PeerKey), .entrysize = sizeof(Peer)};
	HASHCTL		routes = {.keysize = AT402_SENDER_SIZE, .entrysize = sizeof(Route)};
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

static Peer *
find_peer(At402Commands *c, const At402PeerKey *key, HASHACTION action)
{
	bool		found;
	Peer	   *p = hash_search(c->peers, key, action, &found);

	if (p != NULL && !found)
	{
		p->kept = false;
		p->talk = NULL;
		p->claims = 0;
		dlist_init(&p->routes);
	}
	return p;
}

static bool
is_udp(const Peer *p)
{
	return p->key.ticket == 0;
}

/* ---- routes ---- */

static void
list_route(At402Commands *c, Route *r)
{
	if (r->listed)
		return;
	r->listed = true;
	dlist_push_tail(&c->looks, &r->look);
}

static void
list_routes(At402Commands *c, Peer *p)
{
	dlist_iter	iter;

	dlist_foreach(iter, &p->routes)
		list_route(c, dlist_container(Route, of_peer, iter.cur));
}

static void
unlist_route(Route *r)
{
	if (r->listed)
		dlist_delete(&r->look);
	r->listed = false;
}

static void
remove_routes(At402Commands *c, Peer *p)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &p->routes)
	{
		Route	   *r = dlist_container(Route, of_peer, iter.cur);

		unlist_route(r);
		hash_search(c->routes, r->imei, HASH_REMOVE, NULL);
	}
	dlist_init(&p->routes);
}

static void
remove_peer(At402Commands *c, Peer *p)
{
	remove_routes(c, p);
	hash_search(c->peers, &p->key, HASH_REMOVE, NULL);
}

/* ---- talks ---- */

/* It is over: what became of it will be written down. */
static void
finish_talk(At402Listener *l, Talk *t, const char *state)
{
	At402Commands *c = l->commands;
	Peer	   *p = t->peer;

	t->outcome.state = state;
	t->outcome.answer = t->answer;
	t->peer = NULL;
	dlist_delete(&t->node);
	dlist_push_tail(&c->finished, &t->node);
	p->talk = NULL;
	if (is_udp(p) && !p->kept)
		remove_peer(c, p);
	else
		list_routes(c, p);
}

static void
end_talk(At402Listener *l, Talk *t)
{
	finish_talk(l, t, t->awaited.refused ? "refused" : "answered");
}

/* Room for so many bytes and a NUL, as far as there is any. */
static size_t
make_room(Talk *t, size_t length)
{
	size_t		size = Min(Max(2 * t->size, t->length + length + 1), ANSWER_SIZE);
	char	   *larger;

	if (t->length + length < t->size)
		return length;
	larger = size > t->size ? MemoryContextAllocExtended(TopMemoryContext, size,
														 MCXT_ALLOC_NO_OOM) : NULL;
	if (larger != NULL)
	{
		if (t->answer != NULL)
		{
			memcpy(larger, t->answer, t->length);
			pfree(t->answer);
		}
		t->answer = larger;
		t->size = size;
	}
	return t->size > 0 ? Min(length, t->size - 1 - t->length) : 0;
}

static void
append(Talk *t, const char *bytes, size_t length)
{
	length = make_room(t, length);
	if (t->answer == NULL)
		return;
	memcpy(t->answer + t->length, bytes, length);
	t->length += length;
	t->answer[t->length] = '\0';
}

/* A line of the answer; of one about a PIN only what became of it. */
static void
keep_line(Talk *t, const at402_input *input)
{
	at402_span	line = at402_text(at402_line_text(input->bytes, input->length));
	bool		hidden = t->awaited.secret && line.length > strlen("$PASS,OK");

	if (t->length > 0)
		append(t, "\n", 1);
	append(t, (const char *) line.bytes, hidden ? strlen("$PASS") : line.length);
}

bool
at402_commands_hear(At402Listener *l, const at402_input *line)
{
	At402PeerKey key;
	Peer	   *p;
	Talk	   *t;
	at402_answer answer;

	at402_peer_key(&key, line);
	p = find_peer(l->commands, &key, HASH_FIND);
	t = p != NULL ? p->talk : NULL;
	if (t == NULL)
		return false;
	answer = at402_awaited_take(&t->awaited, line->bytes, line->length);
	if (answer == AT402_ANSWER_NONE)
		return false;
	keep_line(t, line);
	t->outcome.answered_at = GetCurrentTimestamp();
	INSTR_TIME_SET_CURRENT(t->heard);
	if (answer == AT402_ANSWER_WHOLE)
		end_talk(l, t);
	return true;
}

static int64
talks_due(const At402Commands *c)
{
	if (dlist_is_empty(unconstify(dlist_head *, &c->talks)))
		return -1;
	return Max(TALKS_MS - at402_elapsed_ms(c->talks_looked), 0);
}

/* What has waited long enough. */
static void
end_old_talks(At402Listener *l)
{
	dlist_mutable_iter iter;

	if (talks_due(l->commands) != 0)
		return;
	INSTR_TIME_SET_CURRENT(l->commands->talks_looked);
	dlist_foreach_modify(iter, &l->commands->talks)
	{
		Talk	   *t = dlist_container(Talk, node, iter.cur);

		if (at402_awaited_may_end(&t->awaited) && at402_elapsed_ms(t->heard) >= QUIET_MS)
			end_talk(l, t);
		else if (at402_elapsed_ms(t->sent) >= at402_command_timeout * INT64CONST(1000))
			finish_talk(l, t, "in_doubt");
	}
}

/* ---- what net and the commits tell ---- */

void
at402_commands_gone(At402Listener *l, at402_ticket ticket)
{
	At402PeerKey key;
	Peer	   *p;

	at402_connection_key(&key, ticket);
	p = find_peer(l->commands, &key, HASH_FIND);
	if (p == NULL)
		return;
	if (p->talk != NULL)
		finish_talk(l, p->talk, "in_doubt");
	remove_peer(l->commands, p);
}

/* The datagram is to stay until the end of the turn, for a reply. */
static void
keep_datagram(At402Listener *l, Peer *p, at402_ticket ticket)
{
	if (p->kept)
		at402_net_forget(l->net, p->ticket);
	else
		dlist_push_tail(&l->commands->kept, &p->of_kept);
	p->ticket = ticket;
	p->kept = true;
	at402_net_keep(l->net, ticket);
}

void
at402_commands_note(At402Listener *l, const At402Queued *q)
{
	At402Commands *c = l->commands;
	at402_ticket ticket = q->input.from.ticket;
	bool		udp = at402_is_udp(&q->input);
	bool		by_packet = q->verdict.disposition == AT402_TO_ROWS;
	At402PeerKey key;
	Peer	   *p;
	Route	   *r;
	bool		found;

	if (udp ? !at402_commands_udp : !at402_net_is_open(l->net, ticket))
		return;
	at402_peer_key(&key, &q->input);
	p = find_peer(c, &key, HASH_ENTER);
	if (udp)
		keep_datagram(l, p, ticket);
	else
		p->ticket = ticket;
	r = hash_search(c->routes, q->verdict.imei, HASH_ENTER, &found);
	if (found && r->peer != p && r->by_packet && !by_packet)
		return;
	if (found && r->peer != p)
		dlist_delete(&r->of_peer);
	if (!found)
	{
		r->listed = false;
		r->missed = false;
		r->avoided = false;
	}
	if (!found || r->peer != p)
	{
		r->by_packet = by_packet;
		dlist_push_tail(&p->routes, &r->of_peer);
		list_route(c, r);
	}
	r->by_packet |= by_packet;
	r->peer = p;
	r->device_id = q->verdict.device_id;
	if (udp || r->missed)
		list_route(c, r);
	at402_stat_note_route(l->number, q->verdict.imei);
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
		const Route *r = step->items[i];

		targets[i] = (At402Target) {.device_id = r->device_id, .udp = is_udp(r->peer)};
	}
	step->sent = at402_command_claim(targets, step->count, step->l->number, c->context);
	end_work();
}

/* It is committed: now, and only now, it may leave. */
static void
send_command(At402Listener *l, const Route *r, const At402Sent *sent)
{
	At402Commands *c = l->commands;
	Talk	   *t = MemoryContextAllocExtended(TopMemoryContext, sizeof(Talk),
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
		finish_talk(l, t, "in_doubt");
	explicit_bzero(message, sizeof(message));
	at402_count(&l->stat->store.commands, 1);
}

static int
compare_routes(const void *a, const void *b)
{
	const Route *x = *(Route *const *) a;
	const Route *y = *(Route *const *) b;

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
		Route		key = {.device_id = sent->device_id};
		Route	  **r = bsearch(&(Route *) {&key}, step->items, step->count, sizeof(Route *),
								compare_routes);

		send_command(step->l, *r, sent);
		if (sent->pin != NULL)
			explicit_bzero(sent->pin, strlen(sent->pin));
	}
	at402_net_flush(step->l->net);
}

/* May a command go to this device now?  Else something will list it again. */
static bool
may_send(At402Listener *l, Route *r)
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
		Route	   *r = dlist_container(Route, look, iter.cur);

		if (r->peer->claims == c->claims)
			continue;			/* after that other one */
		if (step->count == c->step)
			break;
		unlist_route(r);
		if (!may_send(step->l, r))
			continue;
		r->peer->claims = c->claims;
		step->items[step->count++] = r;
	}
	qsort(step->items, step->count, sizeof(void *), compare_routes);
}

static void
avoid_route(At402Commands *c, Route *r)
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
			list_route(l->commands, step.items[i]);
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
put_off(At402Commands *c, Talk *t)
{
	dlist_delete(&t->node);
	dlist_push_tail(&c->finished, &t->node);
	c->unwritten = true;
	INSTR_TIME_SET_CURRENT(c->written);
}

static void
forget_talk(At402Commands *c, Talk *t)
{
	Route	   *r = hash_search(c->routes, t->imei, HASH_FIND, NULL);

	if (r != NULL)
		list_route(c, r);
	dlist_delete(&t->node);
	if (t->answer != NULL)
		pfree(t->answer);
	pfree(t);
}

static Talk *
talk_of(void *outcome)
{
	return (Talk *) ((char *) outcome - offsetof(Talk, outcome));
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
		step.items[step.count++] = &dlist_container(Talk, node, iter.cur)->outcome;
	}
	c->unwritten = false;
	if (try_step(&step))
		for (int i = 0; i < step.count; i++)
		{
			Talk	   *t = talk_of(step.items[i]);

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
	return at402_earliest(talks_due(c), work < 0 ? -1 : Max(work, rest_ms(c)));
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
	Route	   *r;

	if (!was_called(l) && at402_elapsed_ms(c->looked) < LOOK_MS)
		return;
	c->calls = l->stat->command_calls;
	INSTR_TIME_SET_CURRENT(c->looked);
	if (hash_get_num_entries(c->routes) == 0 || !try_step(&step) || !step.yes)
		return;
	hash_seq_init(&scan, c->routes);
	while ((r = hash_seq_search(&scan)) != NULL)
		list_route(c, r);
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

/* What was not replied to now cannot be. */
static void
release_datagrams(At402Listener *l)
{
	At402Commands *c = l->commands;

	while (!dlist_is_empty(&c->kept))
	{
		Peer	   *p = dlist_container(Peer, of_kept, dlist_pop_head_node(&c->kept));

		at402_net_forget(l->net, p->ticket);
		p->kept = false;
		remove_routes(c, p);
		if (p->talk == NULL)
			remove_peer(c, p);
	}
}

void
at402_commands_turn(At402Listener *l)
{
	const At402Commands *c = l->commands;

	end_old_talks(l);
	if (l->listening && rest_ms(c) == 0 && (finished_due(c) == 0 || look_due(l) == 0))
		work(l);
	release_datagrams(l);
}
