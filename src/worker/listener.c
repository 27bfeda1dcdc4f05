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

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg/settings.h"
#include "worker/listener.h"

#define LISTENING_SOCKETS 16	/* descriptors kept for them */

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
start(At402Listener *l, int number)
{
	const at402_net_callbacks callbacks = {l, at402_queue_take, at402_presence_gone};
	at402_net_slot *slots = at402_stat_slots(number);

	l->number = number;
	l->stat = at402_stat_of(number);
	l->stat->state = AT402_WAITING;
	l->stat->started_at = GetCurrentTimestamp();
	l->stat->pid = MyProcPid;
	memset(slots, 0, sizeof(*slots) * at402_max_connections);
	on_shmem_exit(say_goodbye, PointerGetDatum(l->stat));
	at402_queue_init(l);
	at402_retry_init(l);
	at402_presence_init(l);
	at402_refusals_init(l);
	l->net = at402_net_create(&callbacks, &l->stat->net, slots, reserve_descriptors());
	if (l->net == NULL)
		ereport(FATAL, errcode_for_socket_access(), errmsg("could not set up sockets: %m"));
	at402_port_set_limits(l);
}

static long
earliest(int64 a, int64 b)
{
	return a < 0 ? b : b < 0 ? a : Min(a, b);
}

/* Until something is due; -1: until something happens. */
static long
wait_ms(const At402Listener *l)
{
	int64		ms = at402_net_timeout(l->net);

	ms = earliest(ms, at402_queue_due(l));
	ms = earliest(ms, at402_port_due(l));
	return (long) earliest(ms, at402_refusals_due(l));
}

void
at402_listener_interrupts(At402Listener *l)
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

		WaitEventSetWait(set, more ? 0 : wait_ms(l), &event, 1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		at402_listener_interrupts(l);
		more = at402_net_turn(l->net);
		at402_queue_flush(l);
		at402_refusals_log(l);
	}
}
