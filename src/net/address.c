/*
 * address.c - addresses: of peers, as text, and of a list of names
 */
#include "net/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
at402_refuse(at402_refusal *first, const char *format, ...)
{
	va_list		arguments;

	if (first->text[0] != '\0')
		return;
	va_start(arguments, format);
	vsnprintf(first->text, sizeof(first->text), format, arguments);
	va_end(arguments);
}

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

void
at402_address_set_port(at402_address *address, int port)
{
	address->v4.sin_port = htons((uint16_t) port);
}

/* An address may come twice: by two names, or twice in the hosts file. */
static bool
is_listed(const at402_address_list *addresses, const at402_address *address)
{
	for (int i = 0; i < addresses->count; i++)
		if (memcmp(&addresses->list[i], address, sizeof(*address)) == 0)
			return true;
	return false;
}

/* Adds the addresses of one name; NULL: all of this machine. */
static void
resolve_name(const char *name, at402_address_list *addresses, at402_refusal *first)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found;
	int			failure = getaddrinfo(name, name == NULL ? "0" : NULL, &hints, &found);

	if (failure != 0)
	{
		at402_refuse(first, "could not resolve \"%s\": %s", name == NULL ? "*" : name,
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
			at402_refuse(first, "more than %d addresses to listen on", AT402_MAX_ADDRESSES);
			break;
		}
		addresses->list[addresses->count++] = address;
	}
	freeaddrinfo(found);
}

void
at402_resolve(const char *names, at402_address_list *addresses, at402_refusal *first)
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
			at402_refuse(first, "address to listen on is too long: \"%.60s...\"", item);
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
