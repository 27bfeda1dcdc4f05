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

StaticAssertDecl(AT402_SENDER_TEXT == AT402_SENDER_SIZE, "an IMEI of net would be cut again");

/* How many reports a frame holds, as it claims; other frames count as one. */
static int
claimed_reports(const at402_arrival *a)
{
	if (a->kind != AT402_FRAME_PACKET)
		return 1;
	return Max((int) at402_claimed_reports(a->bytes, a->length), 1);
}

bool
at402_queue_has_room(const At402Listener *l)
{
	return l->queued_reports < at402_batch_reports * QUEUE_BATCHES &&
		l->queued_bytes < (size_t) at402_receive_buffers * 1024;
}

/* Whose it is, as far as its bytes and its connection tell. */
static void
set_sender(At402Listener *l, At402Arrival *a, const at402_arrival *from)
{
	At402Input *input = &a->input;
	const char *line = input->kind == AT402_FRAME_TEXT ? at402_senders_find(l, from) : NULL;
	at402_packet packet;

	strlcpy(input->login_imei, line != NULL ? line : from->imei, sizeof(input->login_imei));
	if (input->logged_in || input->kind != AT402_FRAME_PACKET)
		strlcpy(a->sender, input->login_imei, sizeof(a->sender));
	else if (at402_packet_open(&packet, input->bytes, input->length, input->protocol,
							   AT402_SENDER_IN_PACKET) == AT402_OK)
		strlcpy(a->sender, packet.imei, sizeof(a->sender));
	if (input->kind != AT402_FRAME_TEXT)
		at402_senders_note(l, from, a->sender);
}

At402Arrival *
at402_arrival_make(At402Listener *l, const at402_arrival *from)
{
	size_t		peer_size = strlen(from->peer) + 1;
	At402Arrival *a = MemoryContextAllocExtended(l->context,
												 MAXALIGN(sizeof(At402Arrival)) + peer_size +
												 from->length,
												 MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	char	   *memory;

	if (a == NULL)
		return NULL;
	memory = (char *) a + MAXALIGN(sizeof(At402Arrival));
	a->input.peer = memcpy(memory, from->peer, peer_size);
	a->input.bytes = memcpy(memory + peer_size, from->bytes, from->length);
	a->input.length = from->length;
	a->input.kind = from->kind;
	a->input.logged_in = from->logged_in;
	a->input.protocol = from->protocol;
	a->input.received_at = GetCurrentTimestamp();
	a->input.transport = from->udp ? "udp" : "tcp";
	a->input.ticket = from->ticket;
	a->peer_port = from->peer_port;
	a->reports = claimed_reports(from);
	INSTR_TIME_SET_CURRENT(a->arrived);
	set_sender(l, a, from);
	return a;
}

void
at402_queue_add(At402Listener *l, At402Arrival *a)
{
	if (dlist_is_empty(&l->queue))
		l->first_arrived = a->arrived;
	dlist_push_tail(&l->queue, &a->node);
	l->queued_reports += a->reports;
	l->queued_bytes += a->input.length;
	l->others_came = true;
}

void
at402_arrival_free(At402Listener *l, At402Arrival *a)
{
	dlist_delete(&a->node);
	l->queued_reports -= a->reports;
	l->queued_bytes -= a->input.length;
	pfree(a);
}
