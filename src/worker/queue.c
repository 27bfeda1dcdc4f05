/*
 * queue.c - frames that wait to be stored
 *
 * The queue holds what came in; a batch is made of it anew for each attempt, so
 * that nothing of a failed attempt is left.  What could not be stored stays and
 * is tried again (retry.c); meanwhile nobody is answered, the queue fills, net
 * stops reading, and the trackers keep their reports.
 */
#include "postgres.h"

#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/settings.h"
#include "worker/listener.h"

#define QUEUE_BATCHES 4			/* the queue holds this many full batches */
#define PRESENCE_MS 500			/* at402.device_state.connected may lag so long */

void
at402_queue_init(At402Listener *l)
{
	l->context = AllocSetContextCreate(TopMemoryContext, "at402 queue", ALLOCSET_DEFAULT_SIZES);
	dlist_init(&l->queue);
	INSTR_TIME_SET_CURRENT(l->flushed);
}

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

/* Whose it is, as far as its bytes and its connection tell. */
static void
set_sender(At402Arrival *a)
{
	const At402Input *input = &a->input;
	at402_packet packet;

	if (input->logged_in || input->kind != AT402_FRAME_PACKET)
		strlcpy(a->sender, input->login_imei, sizeof(a->sender));
	else if (at402_packet_open(&packet, input->bytes, input->length, input->protocol,
							   AT402_SENDER_IN_PACKET) == AT402_OK)
		strlcpy(a->sender, packet.imei, sizeof(a->sender));
}

bool
at402_queue_take(void *listener, const at402_arrival *from)
{
	At402Listener *l = listener;
	At402Arrival *a = NULL;
	size_t		peer_size = strlen(from->peer) + 1;
	char	   *memory;

	if (has_room(l))
		a = MemoryContextAllocExtended(l->context,
									   MAXALIGN(sizeof(At402Arrival)) + peer_size + from->length,
									   MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (a == NULL)
	{
		l->full = true;
		return false;
	}
	memory = (char *) a + MAXALIGN(sizeof(At402Arrival));
	a->input.peer = memcpy(memory, from->peer, peer_size);
	a->input.bytes = memcpy(memory + peer_size, from->bytes, from->length);
	a->input.length = from->length;
	a->input.kind = from->kind;
	a->input.logged_in = from->logged_in;
	strlcpy(a->input.login_imei, from->imei, sizeof(a->input.login_imei));
	a->input.protocol = from->protocol;
	a->input.received_at = GetCurrentTimestamp();
	a->input.transport = from->udp ? "udp" : "tcp";
	a->input.ticket = from->ticket;
	a->reports = claimed_reports(from);
	INSTR_TIME_SET_CURRENT(a->arrived);
	set_sender(a);
	if (at402_retry_takes(l, a))
		return true;

	if (dlist_is_empty(&l->queue))
		l->first_arrived = a->arrived;
	dlist_push_tail(&l->queue, &a->node);
	l->queued_reports += a->reports;
	l->queued_bytes += a->input.length;
	l->others_came = true;
	return true;
}

void
at402_arrival_free(At402Listener *l, At402Arrival *a)
{
	dlist_delete(&a->node);
	l->queued_reports -= a->reports;
	l->queued_bytes -= a->input.length;
	pfree(a);
}

/* ---- when ---- */

static int64
queue_due(const At402Listener *l)
{
	bool		empty = dlist_is_empty(unconstify(dlist_head *, &l->queue));

	if (l->failures > 0 && !(l->undecided && l->others_came))
		return Max(l->retry_ms - at402_elapsed_ms(l->failed), 0);
	if (l->queued_reports >= at402_batch_reports)
		return 0;
	if (!empty)
		return Max(at402_batch_delay - at402_elapsed_ms(l->first_arrived), 0);
	if (l->presence_changed)
		return Max(PRESENCE_MS - at402_elapsed_ms(l->flushed), 0);
	return -1;
}

int64
at402_queue_due(const At402Listener *l)
{
	int64		queue = queue_due(l);
	int64		suspects = at402_retry_due(l);

	return queue < 0 ? suspects : suspects < 0 ? queue : Min(queue, suspects);
}

void
at402_queue_flush(At402Listener *l)
{
	if (at402_queue_due(l) == 0)
	{
		pgstat_report_activity(STATE_RUNNING, "storing reports");
		if (queue_due(l) == 0)
			at402_retry_queue(l);
		if (at402_retry_due(l) == 0)
			at402_retry_suspect(l);
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
