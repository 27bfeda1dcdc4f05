/*
 * socket.c - the sockets on the port: opened, rested, closed
 */
#include "net/internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static at402_ticket
name_of(const at402_sockets *sockets, int index)
{
	return at402_ticket_make(AT402_TICKET_SOCKET, sockets->generation, index);
}

/* ---- opening and closing ---- */

/* Asks the kernel for the addresses and counts that receiving datagrams needs. */
static bool
prepare_for_datagrams(int fd, int family)
{
	const int	on = 1;

	return (family == AF_INET
				? setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on))
				: setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on))) == 0 &&
		setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on)) == 0;
}

/* -1 with errno. */
static int
open_socket(const at402_address *address, bool udp, bool share_port)
{
	const int	on = 1;
	int			family = address->any.sa_family;
	int			type = (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
	int			fd = socket(family, type, 0);
	int			failure;

	if (fd < 0)
		return -1;
	/* SO_REUSEADDR would let a UDP port be taken away; for TCP it only passes
	 * over old connections */
	if ((udp || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0) &&
		(!share_port || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
		(family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0) &&
		(!udp || prepare_for_datagrams(fd, family)) &&
		bind(fd, &address->any, at402_address_size(address)) == 0 &&
		(udp || listen(fd, SOMAXCONN) == 0))
		return fd;
	failure = errno;
	close(fd);
	errno = failure;
	return -1;
}

/* -1 with errno. */
static int
open_on_port(at402_address *address, bool udp, at402_sharing sharing)
{
	socklen_t	size = sizeof(*address);
	int			fd = open_socket(address, udp, sharing == AT402_PORT_FOLLOWS);

	/* where the kernel chose the port */
	if (fd >= 0)
		getsockname(fd, &address->any, &size);
	if (fd < 0 || sharing != AT402_PORT_FIRST)
		return fd;
	/* nobody else has it, which only one that does not share can find out */
	close(fd);
	return open_socket(address, udp, true);
}

bool
at402_socket_add(at402_net *net, at402_sockets *sockets, const at402_address *address, bool udp)
{
	at402_socket *socket = &sockets->list[sockets->count];
	int			failure;

	*socket = (at402_socket) {.udp = udp, .address = *address};
	at402_address_set_port(&socket->address, sockets->port);
	socket->fd = open_on_port(&socket->address, udp, sockets->sharing);
	if (socket->fd < 0)
		return false;
	if (!at402_poller_add(net->poller, socket->fd, AT402_POLL_READ,
						  name_of(sockets, sockets->count)))
	{
		failure = errno;
		close(socket->fd);
		errno = failure;
		return false;
	}
	sockets->port = ntohs(socket->address.v4.sin_port);
	sockets->count++;
	return true;
}

void
at402_sockets_close(at402_sockets *sockets)
{
	for (int i = 0; i < sockets->count; i++)
		close(sockets->list[i].fd);
	sockets->count = 0;
	sockets->port = 0;
}

/* ---- resting ---- */

void
at402_socket_rest(at402_net *net, at402_socket *socket)
{
	at402_ticket name = name_of(&net->sockets, (int) (socket - net->sockets.list));

	socket->resting = at402_poller_change(net->poller, socket->fd, 0, name);
}

void
at402_sockets_wake(at402_net *net, bool udp)
{
	for (int i = 0; i < net->sockets.count; i++)
	{
		at402_socket *socket = &net->sockets.list[i];

		if (socket->resting && socket->udp == udp)
			socket->resting = !at402_poller_change(net->poller, socket->fd, AT402_POLL_READ,
												   name_of(&net->sockets, i));
	}
}
