/*
 * queue.c - frames that wait to be stored
 *
 * The queue holds what came in; a batch is made of it anew for each attempt, so
 * that nothing of a failed attempt is left.  What could not be stored stays and
 * is tried again (retry.c); meanwhile nobody is answered, the queue fills, net
 * stops reading, and the trackers keep their reports.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/settings.h"
#include "worker/listener.h"

#define QUEUE_BATCHES 4			/* the queue holds this many full batches */

void
at402_queue_init(At402Listener *l)
{
	l->context = AllocSetContextCreate(TopMemoryContext, "at402 queue", ALLOCSET_DEFAULT_SIZES);
	dlist_init(&l->queue);
}

/* How many reports a frame holds, as it claims; other frames count as one. */
static int
claimed_reports(const at402_input *input)
{
	if (input->kind != AT402_FRAME_PACKET)
		return 1;
	return Max((int) at402_claimed_reports(input->bytes, input->length), 1);
}

bool
at402_queue_has_room(const At402Listener *l)
{
	return l->queued_reports < at402_batch_reports * QUEUE_BATCHES &&
		l->queued_bytes < (size_t) at402_receive_buffers * 1024;
}

/* Whose it is, as far as its bytes and its connection tell. */
static void
set_sender(At402Listener *l, At402Queued *q)
{
	at402_origin *from = &q->input.from;
	const char *speaker = q->input.kind == AT402_FRAME_TEXT ? at402_senders_find(l, &q->input) : NULL;
	at402_packet packet;

	if (speaker != NULL && speaker != from->imei)
		strlcpy(from->imei, speaker, sizeof(from->imei));
	if (from->logged_in || q->input.kind != AT402_FRAME_PACKET)
		strlcpy(q->sender, from->imei, sizeof(q->sender));
	else if (at402_packet_open(&packet, q->input.bytes, q->input.length, from->protocol,
							   AT402_SENDER_IN_PACKET) == AT402_OK)
		strlcpy(q->sender, packet.imei, sizeof(q->sender));
	if (q->input.kind != AT402_FRAME_TEXT)
		at402_senders_note(l, &q->input, q->sender);
}

At402Queued *
at402_queue_make(At402Listener *l, const at402_input *input)
{
	At402Queued *q = MemoryContextAllocExtended(l->context, sizeof(At402Queued) + input->length,
												MCXT_ALLOC_NO_OOM);

	if (q == NULL)
		return NULL;
	*q = (At402Queued) {.input = *input, .reports = claimed_reports(input)};
	q->input.bytes = memcpy(q + 1, input->bytes, input->length);
	q->input.received_at = GetCurrentTimestamp();
	INSTR_TIME_SET_CURRENT(q->arrived);
	set_sender(l, q);
	return q;
}

void
at402_queue_add(At402Listener *l, At402Queued *q)
{
	if (dlist_is_empty(&l->queue))
		l->first_arrived = q->arrived;
	dlist_push_tail(&l->queue, &q->node);
	l->queued_reports += q->reports;
	l->queued_bytes += q->input.length;
	l->others_came = true;
}

void
at402_queue_free(At402Listener *l, At402Queued *q)
{
	dlist_delete(&q->node);
	l->queued_reports -= q->reports;
	l->queued_bytes -= q->input.length;
	pfree(q);
}
