/*
 * port.c - from a list of addresses to sockets that listen
 *
 * TCP and UDP share one port number on every address.  IPv6 sockets take IPv6
 * alone, so that "*" and a list behave the same whatever the system's setting.
 * A move opens the new sockets beside the former ones, so that a mistake in
 * the settings costs nothing; only where the former occupy the very port do
 * they go first, and come back if the new ones cannot be had.
 */
#include "net/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PORT_TRIES 16			/* for one that is free everywhere */

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
add_missing(at402_net *net, at402_sockets *sockets, const at402_address_list *addresses, bool tcp,
			bool udp, at402_refusal *first)
{
	bool		in_use = false;

	for (int i = 0; i < 2 * addresses->count; i++)
	{
		const at402_address *address = &addresses->list[i / 2];
		bool		is_udp = i % 2 == 1;
		char		text[AT402_PEER_SIZE];
		uint16_t	unused;

		if (!(is_udp ? udp : tcp) || has_socket(sockets, address, is_udp) ||
			at402_socket_add(net, sockets, address, is_udp))
			continue;
		in_use |= errno == EADDRINUSE;
		at402_address_text(address, text, &unused);
		at402_refuse(first, "could not bind %s address \"%s\", port %d: %s",
					 is_udp ? "UDP" : "TCP", text, sockets->port, strerror(errno));
	}
	return in_use;
}

/*
 * Opens what can be opened, on one port for all.  True when some address had
 * that port in use already.
 */
static bool
add_sockets(at402_net *net, at402_sockets *sockets, const at402_address_list *addresses, int port,
			bool tcp, bool udp, at402_refusal *first)
{
	const at402_refusal before = *first;

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
				 at402_sharing sharing, char *error, size_t size)
{
	at402_sockets former = net->sockets;
	at402_sockets opened = {.generation = former.generation + 1, .sharing = sharing};
	at402_address_list list = {0};
	at402_refusal 	first = {""};
	at402_refusal 	resolving;
	bool		in_use;
	bool		refused;

	if (tcp || udp)
		at402_resolve(addresses, &list, &first);
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
		opened.sharing = former.sharing == AT402_PORT_ALONE ? AT402_PORT_ALONE
			: AT402_PORT_FOLLOWS;
		for (int i = 0; i < former.count; i++)
			at402_socket_add(net, &opened, &former.list[i].address, former.list[i].udp);
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
	at402_address_list list = {0};
	at402_refusal 	first = {""};

	at402_resolve(addresses, &list, &first);
	add_missing(net, &net->sockets, &list, tcp, udp, &first);
	snprintf(error, size, "%s", first.text);
	return first.text[0] == '\0';
}

int
at402_net_port(const at402_net *net)
{
	return net->sockets.count > 0 ? net->sockets.port : 0;
}
