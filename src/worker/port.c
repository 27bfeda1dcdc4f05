/*
 * port.c - when the listener listens, and where
 *
 * Not before the extension and its tables are there: a tracker that is not
 * answered had better not be connected.  What could not be opened is tried
 * again each second, the rest serves meanwhile.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/attempt.h"
#include "pg/settings.h"
#include "worker/listener.h"

#define FOLLOW_MS 50			/* until the port of the first listener is looked for again */

void
at402_port_set_limits(At402Listener *l)
{
	at402_net_set_limits(l->net, &(at402_net_limits) {
		.max_per_address = at402_max_connections_per_address,
		.max_buffered_bytes = (size_t) at402_receive_buffers * 1024,
		.idle_timeout_ms = (int64) at402_idle_timeout * 1000,
		.login_timeout_ms = (int64) at402_login_timeout * 1000,
	});
}

static bool
settings_changed(const At402Listener *l)
{
	return l->addresses == NULL || strcmp(l->addresses, at402_listen_addresses) != 0 ||
		l->port != at402_port || l->tcp != at402_tcp || l->udp != at402_udp;
}

/* Remembers why the port is not open.  True when the log has not said it yet. */
static bool
is_news(At402Listener *l, const char *error)
{
	bool		news = error[0] != '\0' && strcmp(error, l->refused) != 0;

	if (news)
		at402_stat_set_error(l->stat, error);
	strlcpy(l->refused, error, sizeof(l->refused));
	return news;
}

static void
note_refusal(At402Listener *l, const char *error)
{
	if (is_news(l, error))
		ereport(LOG, errmsg("at402 could not listen: %s", error),
				errhint("Free the port or change at402.port or at402.listen_addresses."));
}

static void
announce(const At402Listener *l)
{
	if (!at402_tcp && !at402_udp)
		ereport(LOG, errmsg("at402 not listening: at402.tcp and at402.udp are off"));
	else
		ereport(LOG, errmsg("at402 listening on \"%s\", port %d%s%s%s", at402_listen_addresses,
						at402_net_port(l->net), at402_tcp ? ", TCP" : "", at402_udp ? ", UDP" : "",
						l->refused[0] != '\0' ? ", but not everywhere" : ""));
}

static bool
wants_port(void)
{
	return (at402_tcp || at402_udp) &&
		at402_listen_addresses[strspn(at402_listen_addresses, " \t\r\n,")] != '\0';
}

/* The port that another listener of this server has open, where it is the right one. */
static int
port_of_others(const At402Listener *l)
{
	for (int n = 1; n <= at402_workers; n++)
	{
		int			port = n == l->number ? 0 : at402_stat_of(n)->port;

		if (port != 0 && (at402_port == 0 || port == at402_port))
			return port;
	}
	return 0;
}

/*
 * Opens the port, or moves it; the former one stays where the new is refused.
 * Of several listeners the first is to find it unused, or another server of the
 * same user would get a share of it unnoticed; the others follow.
 */
static void
open_port(At402Listener *l)
{
	char		error[AT402_TEXT_SIZE];
	int			others = port_of_others(l);
	bool		opened;

	l->follows = l->number > 1 && others == 0 && wants_port();
	if (l->follows)
		return;
	opened = at402_net_listen(l->net, at402_listen_addresses, others != 0 ? others : at402_port,
							  at402_tcp, at402_udp,
							  at402_workers == 1 ? AT402_PORT_ALONE
							  : others != 0 ? AT402_PORT_FOLLOWS : AT402_PORT_FIRST,
							  error, sizeof(error));
	note_refusal(l, error);
	l->listening = opened || at402_net_port(l->net) != 0;
	l->stat->port = at402_net_port(l->net);
	if (!opened)
		return;

	if (l->addresses != NULL)
		pfree(l->addresses);
	l->addresses = MemoryContextStrdup(TopMemoryContext, at402_listen_addresses);
	l->port = at402_port;
	l->tcp = at402_tcp;
	l->udp = at402_udp;
	at402_stat_set_address(l->stat, at402_listen_addresses);
	at402_state_publish(l);
	announce(l);
}

/* Opens what could not be opened while the rest could. */
static void
complete_port(At402Listener *l)
{
	char		error[AT402_TEXT_SIZE];

	at402_net_listen_missing(l->net, at402_listen_addresses, at402_tcp, at402_udp, error,
							 sizeof(error));
	note_refusal(l, error);
	if (error[0] == '\0')
		announce(l);
}

/* Is everything there to store into?  Then nobody is connected, at first. */
static bool
get_ready(At402Listener *l)
{
	ErrorData  *error;

	if (l->forgotten)
		return true;
	/* the log needs the word of one listener only */
	if (!at402_worker_ready(l->missing, sizeof(l->missing), l->number == 1))
	{
		at402_stat_set_error(l->stat, l->missing);
		return false;
	}
	l->forgotten = at402_presence_recover(l, &error);
	if (!l->forgotten)
	{
		if (is_news(l, error->message))
			ereport(LOG, errmsg("at402 could not mark trackers as offline: %s",
								error->message));
		FreeErrorData(error);
	}
	return l->forgotten;
}

static bool
is_complete(const At402Listener *l)
{
	return l->listening && l->refused[0] == '\0' && !l->follows;
}

void
at402_port_check(At402Listener *l, bool reloaded)
{
	if (at402_port_due(l) != 0 && !(reloaded && l->listening && settings_changed(l)))
		return;
	INSTR_TIME_SET_CURRENT(l->looked);
	if (!get_ready(l))
		return;
	if (settings_changed(l))
		open_port(l);
	else if (!is_complete(l))
		complete_port(l);
}

int64
at402_port_due(const At402Listener *l)
{
	if (is_complete(l))
		return -1;
	if (INSTR_TIME_IS_ZERO(l->looked))
		return 0;
	return Max((l->follows ? FOLLOW_MS : AT402_LOOK_AGAIN_MS) - at402_elapsed_ms(l->looked), 0);
}
