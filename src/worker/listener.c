/*
 * listener.c - the background worker that receives, stores and then answers
 *
 *     wait -> interrupts, settings -> net turn: frames into the queue
 *       ^                                     |
 *       +---- answers <- COMMIT <- store <----+  at batch_reports or batch_delay
 *
 * One process, one loop.  Frames of many connections are stored in one
 * transaction, and only when its COMMIT has returned does net send the answers.
 */
#include "postgres.h"

#include <limits.h>
#include <sys/resource.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg/settings.h"
#include "worker/listener.h"

#define OTHER_DESCRIPTORS 100	/* sockets on the port, and what libraries open */
#define BUSY_SHARE 10			/* a batch one tenth full makes the next wait in full */
#define BACKLOG_MS 5			/* longest time to take in what lies at the sockets already */

/* ---- frames in ---- */

/* Takes a frame into the queue; net's callback.  Does not raise. */
static bool
take_frame(void *listener, const at402_input *input)
{
	At402Listener *l = listener;
	At402Queued *q;

	if (input->kind == AT402_FRAME_TEXT &&
		(at402_routes_hear(l, input) || at402_drivers_hear(l, input)))
	{
		at402_net_forget(l->net, input->from.ticket);
		return true;
	}
	if (input->kind == AT402_FRAME_TEXT && at402_senders_find(l, input) == NULL)
	{
		at402_senders_refuse(l, input);
		return true;
	}
	q = at402_queue_has_room(l) ? at402_queue_make(l, input) : NULL;
	l->full = q == NULL;
	if (!l->full && !at402_retry_takes(l, q))
		at402_queue_add(l, q);
	return !l->full;
}

/* net's callback, too. */
static void
connection_gone(void *listener, at402_ticket ticket)
{
	at402_routes_gone(listener, ticket);
	at402_senders_gone(listener, ticket);
	at402_presence_gone(listener, ticket);
}

/* ---- storing, when it is due ---- */

/*
 * How long a frame waits for others to be stored with.  Where few came the last
 * time it hardly pays: on a quiet port a frame does not wait at all.
 */
static int64
batch_delay_ms(const At402Listener *l)
{
	int64		share = Min((int64) l->committed_frames * BUSY_SHARE, at402_batch_reports);

	return at402_batch_delay * share / at402_batch_reports;
}

static int64
queue_due(const At402Listener *l)
{
	bool		empty = dlist_is_empty(unconstify(dlist_head *, &l->queue));

	if (l->failures > 0 && !(l->undecided && l->others_came))
		return Max(l->retry_ms - at402_elapsed_ms(l->failed), 0);
	if (l->queued_reports >= at402_batch_reports)
		return 0;
	if (!empty)
		return Max(Max(batch_delay_ms(l), l->backlog ? BACKLOG_MS : 0) -
				   at402_elapsed_ms(l->first_arrived), 0);
	return -1;
}

/* Milliseconds until something has to be stored; -1: nothing waits. */
static int64
store_due(const At402Listener *l)
{
	return at402_earliest(at402_earliest(queue_due(l), at402_retry_due(l)),
						  at402_presence_due(l));
}

/* Stores what is due, and answers what is committed. */
static void
store_what_is_due(At402Listener *l)
{
	if (store_due(l) == 0)
	{
		pgstat_report_activity(STATE_RUNNING, "storing reports");
		if (queue_due(l) == 0)
			at402_retry_queue(l);
		if (at402_retry_due(l) == 0)
			at402_retry_suspect(l);
		if (at402_presence_due(l) == 0)
			at402_presence_flush(l);
		pgstat_report_stat(false);
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	if (l->full && at402_queue_has_room(l))
	{
		l->full = false;
		at402_net_resume(l->net);
	}
}

/* ---- the loop ---- */

/*
 * How many connections the descriptors of this process allow.  PostgreSQL keeps
 * to max_safe_fds of them, made for the soft limit that it was started with; our
 * sockets are not its files and are counted here, up to the hard limit.
 */
static int
count_descriptors(void)
{
	struct rlimit limit;
	int64		room;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		ereport(FATAL, errmsg("could not raise the limit of open files: %m"));
	room = (int64) Min(limit.rlim_cur, INT_MAX) - max_safe_fds - OTHER_DESCRIPTORS;
	if (room >= at402_max_connections)
		return at402_max_connections;
	room = Max(room, 1);
	ereport(WARNING,
			errmsg("at402.max_connections is %d, but there are file descriptors for %d only",
				   at402_max_connections, (int) room),
			errhint("Raise the hard limit of open files of the server, LimitNOFILE= of its "
					"systemd unit or ulimit -Hn, to at least %d.",
					at402_max_connections + max_safe_fds + OTHER_DESCRIPTORS));
	return (int) room;
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
start(At402Listener *l, int number)
{
	const at402_net_callbacks callbacks = {l, take_frame, connection_gone};
	at402_net_slot *slots = at402_stat_slots(number);

	l->number = number;
	l->stat = at402_stat_of(number);
	at402_state_publish(l);
	l->stat->started_at = GetCurrentTimestamp();
	l->stat->pid = MyProcPid;
	memset(slots, 0, sizeof(*slots) * at402_max_connections);
	on_shmem_exit(say_goodbye, PointerGetDatum(l->stat));
	at402_queue_init(l);
	at402_retry_init(l);
	at402_senders_init(l);
	at402_presence_init(l);
	at402_commands_init(l);
	at402_drivers_init(l);
	at402_refusals_init(l);
	l->net = at402_net_create(&callbacks, &l->stat->net, slots, count_descriptors());
	if (l->net == NULL)
		ereport(FATAL, errcode_for_socket_access(), errmsg("could not set up sockets: %m"));
	at402_port_set_limits(l);
}

/* Until something is due; -1: until something happens. */
static long
wait_ms(const At402Listener *l)
{
	int64		ms = at402_net_timeout(l->net);

	ms = at402_earliest(ms, store_due(l));
	ms = at402_earliest(ms, at402_port_due(l));
	ms = at402_earliest(ms, at402_commands_due(l));
	ms = at402_earliest(ms, at402_drivers_due(l));
	return (long) at402_earliest(ms, at402_refusals_due(l));
}

/* Interrupts, and the settings where they were read again. */
static void
take_interrupts(At402Listener *l)
{
	bool		reloaded = at402_worker_interrupts();

	if (reloaded)
		at402_port_set_limits(l);
	at402_port_check(l, reloaded);
}

void
at402_listener_main(Datum number)
{
	At402Listener *l = MemoryContextAllocZero(TopMemoryContext, sizeof(At402Listener));
	WaitEventSet *set;

	at402_worker_start();
	start(l, DatumGetInt32(number));
	set = CreateWaitEventSet(TopMemoryContext, 3);
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, at402_net_fd(l->net), NULL, NULL);

	for (;;)
	{
		WaitEvent	event;

		WaitEventSetWait(set, l->backlog ? 0 : wait_ms(l), &event, 1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		take_interrupts(l);
		l->backlog = at402_net_turn(l->net);
		store_what_is_due(l);
		at402_commands_turn(l);
		at402_drivers_turn(l);
		at402_refusals_log(l);
	}
}
