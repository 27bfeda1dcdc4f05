/*
 * datagram.c - UDP: whole packets in, one byte for each out
 *
 * One datagram is cut at a time, in a buffer of its own: where the driver turns
 * a frame down, the rest stays there and no other is received until there is
 * room, so nothing is dropped for want of room and the kernel's queue is the
 * only queue.  What remains of a datagram afterwards is an entry in a fixed
 * table: where it came from, and which of our addresses it was sent to - a
 * device behind a stateful network hears an answer from no other.
 */
#include "net/internal.h"

#include <arpa/inet.h>
#include <string.h>

/* Room for the control messages asked for: IPv6 address, count of drops. */
typedef union control_buffer
{
	struct cmsghdr align;
	char		bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint32_t))];
} control_buffer;

bool
at402_datagram_room(const at402_net *net)
{
	return !net->full && net->datagram_length == 0 && net->free_datagram >= 0;
}

static at402_ticket
ticket_of(const at402_net *net, const at402_datagram *datagram)
{
	return at402_ticket_make(AT402_TICKET_DATAGRAM, datagram->generation,
							 (int) (datagram - net->datagrams));
}

at402_datagram *
at402_datagram_find(at402_net *net, at402_ticket ticket)
{
	uint32_t	index = at402_ticket_index(ticket);
	at402_datagram *datagram;

	if (at402_ticket_kind_of(ticket) != AT402_TICKET_DATAGRAM || index >= AT402_MAX_DATAGRAMS)
		return NULL;
	datagram = &net->datagrams[index];
	return datagram->due > 0 && ticket_of(net, datagram) == ticket ? datagram : NULL;
}

static void
free_if_done(at402_net *net, at402_datagram *datagram)
{
	if (datagram->due > 0 || datagram->cutting)
		return;
	datagram->next_free = net->free_datagram;
	net->free_datagram = (int) (datagram - net->datagrams);
}

/* ---- receiving ---- */

static void
read_control(at402_net *net, at402_socket *socket, struct msghdr *message,
			 at402_datagram *datagram)
{
	for (struct cmsghdr *one = CMSG_FIRSTHDR(message); one != NULL; one = CMSG_NXTHDR(message, one))
	{
		if (one->cmsg_level == IPPROTO_IP && one->cmsg_type == IP_PKTINFO)
		{
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(one), sizeof(info));
			datagram->local.v4 = info.ipi_spec_dst;
		}
		else if (one->cmsg_level == IPPROTO_IPV6 && one->cmsg_type == IPV6_PKTINFO)
		{
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(one), sizeof(info));
			datagram->local.v6 = info.ipi6_addr;
		}
		else if (one->cmsg_level == SOL_SOCKET && one->cmsg_type == SO_RXQ_OVFL)
		{
			uint32_t	drops;

			memcpy(&drops, CMSG_DATA(one), sizeof(drops));
			at402_count(&net->counters->datagrams_lost, (uint32_t) (drops - socket->drops));
			socket->drops = drops;
		}
	}
}

/* Receives one and begins to cut it.  False: there is none. */
static bool
receive_one(at402_net *net, int index)
{
	at402_socket *socket = &net->sockets.list[index];
	at402_datagram *datagram = &net->datagrams[net->free_datagram];
	control_buffer control;
	struct iovec bytes = {.iov_base = net->datagram, .iov_len = AT402_RECEIVE_SIZE};
	struct msghdr message = {.msg_name = &datagram->peer,
							 .msg_namelen = sizeof(datagram->peer),
							 .msg_iov = &bytes,
							 .msg_iovlen = 1,
							 .msg_control = &control,
							 .msg_controllen = sizeof(control)};
	at402_input *input = &net->datagram_input;
	ssize_t		length = recvmsg(socket->fd, &message, 0);

	if (length < 0)
		return false;
	at402_count(&net->counters->datagrams, 1);
	at402_count(&net->counters->bytes, (uint64_t) length);
	memset(&datagram->local, 0, sizeof(datagram->local));
	read_control(net, socket, &message, datagram);
	if (length == 0)
		return true;

	net->free_datagram = datagram->next_free;
	datagram->generation++;
	datagram->cutting = true;
	datagram->socket = index;
	datagram->sockets_generation = net->sockets.generation;

	net->datagram_length = (size_t) length;
	net->datagram_used = 0;
	*input = (at402_input) {.from.ticket = ticket_of(net, datagram), .transport = "udp"};
	at402_address_text(&datagram->peer, input->from.peer, &input->from.peer_port);
	return true;
}

void
at402_datagram_offer(at402_net *net)
{
	at402_input *input = &net->datagram_input;
	at402_datagram *datagram = &net->datagrams[at402_ticket_index(input->from.ticket)];

	while (net->datagram_used < net->datagram_length)
	{
		at402_frame frame;

		input->bytes = net->datagram + net->datagram_used;
		switch (at402_frame_scan(input->bytes, net->datagram_length - net->datagram_used, &frame))
		{
			case AT402_OK:
				input->length = frame.length;
				input->kind = frame.kind;
				if (frame.kind == AT402_FRAME_LOGIN)
					at402_input_login(input);
				datagram->due++;	/* the callback may decide at once */
				if (!at402_offer(net, input))
				{
					datagram->due--;
					return;
				}
				net->datagram_used += frame.length;
				break;
			case AT402_BAD_CRC:
				at402_count(&net->counters->bad_crc, 1);
				net->datagram_used += frame.length;
				break;
			default:			/* also half a frame: the rest can never come */
				at402_count(&net->counters->unknown_protocol, 1);
				net->datagram_used = net->datagram_length;
		}
	}
	net->datagram_length = 0;
	datagram->cutting = false;
	free_if_done(net, datagram);
}

void
at402_datagram_receive(at402_net *net, int index)
{
	for (int i = 0; i < AT402_DATAGRAMS; i++)
	{
		if (!at402_datagram_room(net))
		{
			at402_socket_rest(net, &net->sockets.list[index]);
			net->udp_resting = true;
			return;
		}
		if (!receive_one(net, index))
			return;
		if (net->datagram_length > 0)
			at402_datagram_offer(net);
	}
}

/* ---- answering ---- */

void
at402_datagram_forget(at402_net *net, at402_datagram *datagram)
{
	datagram->due--;
	free_if_done(net, datagram);
}

/* False: the socket it came to is closed, or the kernel did not take it. */
static bool
reply(const at402_net *net, at402_datagram *datagram, const void *what, size_t length)
{
	control_buffer control = {0};
	struct iovec bytes = {.iov_base = (void *) (uintptr_t) what, .iov_len = length};
	struct msghdr message = {.msg_name = &datagram->peer,
							 .msg_namelen = at402_address_size(&datagram->peer),
							 .msg_iov = &bytes,
							 .msg_iovlen = 1,
							 .msg_control = &control,
							 .msg_controllen = sizeof(control)};
	struct cmsghdr *one = CMSG_FIRSTHDR(&message);

	if (datagram->sockets_generation != net->sockets.generation)
		return false;
	/* Interface 0: the routes decide, not where the datagram came in */
	if (datagram->peer.any.sa_family == AF_INET)
	{
		const struct in_pktinfo info = {.ipi_spec_dst = datagram->local.v4};

		one->cmsg_level = IPPROTO_IP;
		one->cmsg_type = IP_PKTINFO;
		one->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(one), &info, sizeof(info));
		message.msg_controllen = CMSG_SPACE(sizeof(info));
	}
	else
	{
		const struct in6_pktinfo info = {.ipi6_addr = datagram->local.v6};

		one->cmsg_level = IPPROTO_IPV6;
		one->cmsg_type = IPV6_PKTINFO;
		one->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(one), &info, sizeof(info));
		message.msg_controllen = CMSG_SPACE(sizeof(info));
	}
	return sendmsg(net->sockets.list[datagram->socket].fd, &message, MSG_NOSIGNAL) ==
		(ssize_t) length;
}

void
at402_datagram_answer(at402_net *net, at402_datagram *datagram)
{
	const uint8_t answer = AT402_ACK;

	at402_count(reply(net, datagram, &answer, 1) ? &net->counters->answers
												 : &net->counters->answers_lost, 1);
	at402_datagram_forget(net, datagram);
}

bool
at402_datagram_write(at402_net *net, at402_datagram *datagram, const char *text, size_t length)
{
	return reply(net, datagram, text, length);
}
