/*
 * listener.c - the port: from a list of addresses to sockets that listen
 *
 * TCP and UDP share one port number on every address.  IPv6 sockets take IPv6
 * alone, so that "*" and a list behave the same whatever the system's setting.
 * A move opens the new sockets beside the former ones, so that a mistake in
 * the settings costs nothing; only where the former occupy the very port do
 * they go first, and come back if the new ones cannot be had.
 */
#include "net/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PORT_TRIES 16			/* for one that is free everywhere */

typedef struct address_list
{
	int			count;
	at402_address list[AT402_MAX_ADDRESSES];
} address_list;

/* What could not be had, and why: the first of all.  "": nothing. */
typedef struct refusal
{
	char		text[256];
} refusal;

static void refuse(refusal *first, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
refuse(refusal *first, const char *format, ...)
{
	va_list		arguments;

	if (first->text[0] != '\0')
		return;
	va_start(arguments, format);
	vsnprintf(first->text, sizeof(first->text), format, arguments);
	va_end(arguments);
}

/* ---- addresses ---- */

socklen_t
at402_address_size(const at402_address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

struct in6_addr
at402_address_v6(const at402_address *address)
{
	struct in6_addr mapped = {.s6_addr = {[10] = 0xFF, [11] = 0xFF}};

	if (address->any.sa_family != AF_INET)
		return address->v6.sin6_addr;
	memcpy(&mapped.s6_addr[12], &address->v4.sin_addr, sizeof(address->v4.sin_addr));
	return mapped;
}

void
at402_address_text(const at402_address *address, char text[AT402_PEER_SIZE], uint16_t *port)
{
	struct in6_addr v6 = at402_address_v6(address);

	if (IN6_IS_ADDR_V4MAPPED(&v6))
		inet_ntop(AF_INET, &v6.s6_addr[12], text, AT402_PEER_SIZE);
	else
		inet_ntop(AF_INET6, &v6, text, AT402_PEER_SIZE);
	/* the port is in the same place in both */
	*port = ntohs(address->v4.sin_port);
}

static void
set_port(at402_address *address, int port)
{
	address->v4.sin_port = htons((uint16_t) port);
}

/* An address may come twice: by two names, or twice in the hosts file. */
static bool
is_listed(const address_list *addresses, const at402_address *address)
{
	for (int i = 0; i < addresses->count; i++)
		if (memcmp(&addresses->list[i], address, sizeof(*address)) == 0)
			return true;
	return false;
}

/* Adds the addresses of one name; NULL: all of this machine. */
static void
resolve_name(const char *name, address_list *addresses, refusal *first)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found;
	int			failure = getaddrinfo(name, name == NULL ? "0" : NULL, &hints, &found);

	if (failure != 0)
	{
		refuse(first, "could not resolve \"%s\": %s", name == NULL ? "*" : name,
			   failure == EAI_SYSTEM ? strerror(errno) : gai_strerror(failure));
		return;
	}
	for (const struct addrinfo *one = found; one != NULL; one = one->ai_next)
	{
		at402_address address;

		if (one->ai_family != AF_INET && one->ai_family != AF_INET6)
			continue;
		memset(&address, 0, sizeof(address));
		memcpy(&address, one->ai_addr, one->ai_addrlen);
		if (is_listed(addresses, &address))
			continue;
		if (addresses->count == AT402_MAX_ADDRESSES)
		{
			refuse(first, "more than %d addresses to listen on", AT402_MAX_ADDRESSES);
			break;
		}
		addresses->list[addresses->count++] = address;
	}
	freeaddrinfo(found);
}

/* Reads the comma-separated list.  "*" stands for every address, and alone. */
static void
resolve(const char *names, address_list *addresses, refusal *first)
{
	static const char blanks[] = " \t\r\n";
	char		name[NI_MAXHOST];

	addresses->count = 0;
	for (const char *item = names;; item++)
	{
		size_t		length;

		item += strspn(item, blanks);
		length = strcspn(item, ",");
		while (length > 0 && strchr(blanks, item[length - 1]) != NULL)
			length--;
		if (length == 1 && item[0] == '*')
		{
			addresses->count = 0;
			resolve_name(NULL, addresses, first);
			return;
		}
		if (length >= sizeof(name))
			refuse(first, "address to listen on is too long: \"%.60s...\"", item);
		else if (length > 0)
		{
			memcpy(name, item, length);
			name[length] = '\0';
			resolve_name(name, addresses, first);
		}

		item += strcspn(item, ",");
		if (*item == '\0')
			return;
	}
}

/* ---- sockets ---- */

static at402_ticket
name_of(const at402_sockets *sockets, int index)
{
	return at402_ticket_make(AT402_TICKET_SOCKET, sockets->generation, index);
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
		(!udp || at402_datagram_prepare(fd, family)) &&
		bind(fd, &address->any, at402_address_size(address)) == 0 &&
		(udp || listen(fd, SOMAXCONN) == 0))
		return fd;
	failure = errno;
	close(fd);
	errno = failure;
	return -1;
}

void
at402_sockets_close(at402_sockets *sockets)
{
	for (int i = 0; i < sockets->count; i++)
		close(sockets->list[i].fd);
	sockets->count = 0;
	sockets->port = 0;
}

/*
 * Opens one more of the set, on the set's port; the first, where that is 0, on
 * any.  False with errno.
 */
static bool
add_socket(at402_net *net, at402_sockets *sockets, const at402_address *address, bool udp)
{
	at402_socket *socket = &sockets->list[sockets->count];
	socklen_t	size = sizeof(socket->address);
	int			failure;

	*socket = (at402_socket) {.udp = udp, .address = *address};
	set_port(&socket->address, sockets->port);
	socket->fd = open_socket(&socket->address, udp, sockets->share_port);
	if (socket->fd < 0)
		return false;
	if (getsockname(socket->fd, &socket->address.any, &size) != 0 ||
		!at402_poller_add(net->poller, socket->fd, AT402_POLL_READ,
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

static bool
has_socket(const at402_sockets *sockets, const at402_address *address, bool udp)
{
	struct in6_addr wanted = at402_address_v6(address);

	for (int i = 0; i < sockets->count; i++)
	{
		struct in6_addr open = at402_address_v6(&sockets->list[i].address);

		if (sockets->list[i].udp == udp && memcmp(&open, &wanted, sizeof(wanted)) == 0)
			return true;
	}
	return false;
}

/* Opens what is not open yet.  True when the port was in use somewhere. */
static bool
add_missing(at402_net *net, at402_sockets *sockets, const address_list *addresses, bool tcp,
			bool udp, refusal *first)
{
	bool		in_use = false;

	for (int i = 0; i < 2 * addresses->count; i++)
	{
		const at402_address *address = &addresses->list[i / 2];
		bool		is_udp = i % 2 == 1;
		char		text[AT402_PEER_SIZE];
		uint16_t	unused;

		if (!(is_udp ? udp : tcp) || has_socket(sockets, address, is_udp) ||
			add_socket(net, sockets, address, is_udp))
			continue;
		in_use |= errno == EADDRINUSE;
		at402_address_text(address, text, &unused);
		refuse(first, "could not listen on %s, %s port %d: %s", text, is_udp ? "UDP" : "TCP",
			   sockets->port, strerror(errno));
	}
	return in_use;
}

/*
 * Opens what can be opened, on one port for all.  True when some address had
 * that port in use already.
 */
static bool
add_sockets(at402_net *net, at402_sockets *sockets, const address_list *addresses, int port,
			bool tcp, bool udp, refusal *first)
{
	const refusal before = *first;

	/* The kernel chooses for the first only; a later one may find that port taken */
	for (int tries = port == 0 ? PORT_TRIES : 1;; tries--)
	{
		bool		in_use;

		sockets->port = port;
		in_use = add_missing(net, sockets, addresses, tcp, udp, first);
		if (!in_use || tries == 1)
			return in_use;
		at402_sockets_close(sockets);
		*first = before;
	}
}

bool
at402_net_listen(at402_net *net, const char *addresses, int port, bool tcp, bool udp,
				 bool share_port, char *error, size_t size)
{
	at402_sockets former = net->sockets;
	at402_sockets opened = {.generation = former.generation + 1, .share_port = share_port};
	address_list list = {0};
	refusal		first = {""};
	refusal		resolving;
	bool		in_use;
	bool		refused;

	if (tcp || udp)
		resolve(addresses, &list, &first);
	resolving = first;
	in_use = add_sockets(net, &opened, &list, port, tcp, udp, &first);
	if (in_use && port != 0 && port == at402_net_port(net))
	{
		/* It may be the former sockets that are in the way */
		at402_sockets_close(&opened);
		at402_sockets_close(&net->sockets);
		first = resolving;
		add_sockets(net, &opened, &list, port, tcp, udp, &first);
	}
	snprintf(error, size, "%s", first.text);

	refused = opened.count == 0 && first.text[0] != '\0';
	if (refused && net->sockets.count > 0)
		return false;
	if (refused)
	{
		opened.port = former.port;
		opened.share_port = former.share_port;
		for (int i = 0; i < former.count; i++)
			add_socket(net, &opened, &former.list[i].address, former.list[i].udp);
	}

	at402_sockets_close(&net->sockets);
	net->sockets = opened;
	net->accept_again_ms = AT402_NEVER;
	net->udp_resting = false;
	return !refused;
}

bool
at402_net_listen_missing(at402_net *net, const char *addresses, bool tcp, bool udp, char *error,
						 size_t size)
{
	address_list list = {0};
	refusal		first = {""};

	resolve(addresses, &list, &first);
	add_missing(net, &net->sockets, &list, tcp, udp, &first);
	snprintf(error, size, "%s", first.text);
	return first.text[0] == '\0';
}

int
at402_net_port(const at402_net *net)
{
	return net->sockets.count > 0 ? net->sockets.port : 0;
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
