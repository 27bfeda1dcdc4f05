/*
 * refusals.c - what the log says of peers that are refused
 *
 * Whoever finds the port can make the listener refuse something thousands of
 * times a second.  All of it is counted; the log gets one line when a kind of
 * refusal begins, and again only after it has been quiet.
 */
#include "postgres.h"

#include "worker/listener.h"

#define LOOK_MS 1000
#define QUIET_MS 60000			/* after that a refusal is a new streak */

/* What is logged when it begins to happen, and again only after a quiet time. */
typedef struct Refusal
{
	const char *text;
	const char *hint;
	Size		counter;		/* offset in At402ListenerStat */
} Refusal;

#define NET(name) offsetof(At402ListenerStat, net) + offsetof(at402_net_counters, name)
#define STORE(name) offsetof(At402ListenerStat, store) + offsetof(At402StoreCounters, name)

static const Refusal refusals[AT402_REFUSALS] = {
	{"at402 refuses connections", "Raise at402.max_connections, max_connections_per_address or "
	 "receive_buffers, or see who connects in at402_stat_connection.", NET(refused)},
	{"at402 receives packets with a wrong checksum", NULL, NET(bad_crc)},
	{"at402 closes connections that do not speak the protocol", NULL, NET(unknown_protocol)},
	{"at402 loses datagrams in the kernel", "Raise net.core.rmem_max and rmem_default.",
	 NET(datagrams_lost)},
	{"at402 closes connections that send without IMEI and login", NULL,
	 STORE(unknown_sender)},
	{"at402 ignores unknown devices", "Insert them into at402.device, or set "
	 "at402.unknown_devices.", STORE(ignored)},
	{"at402 meets more unknown devices than it may register", "Raise at402.register_limit.",
	 STORE(over_limit)},
	{"at402 could not quarantine reports and does not answer them",
	 "See at402.quarantine_limit, and what is in at402.quarantine.", STORE(not_quarantined)},
};

static uint64
refusal_count(const At402Listener *l, int i)
{
	return *(_Atomic uint64_t *) ((char *) l->stat + refusals[i].counter);
}

/* Is there something that at402_refusals_log has not seen yet? */
static bool
refusal_begun(const At402Listener *l)
{
	for (int i = 0; i < AT402_REFUSALS; i++)
		if (refusal_count(l, i) != l->refusal_counts[i])
			return true;
	return false;
}

/* Once a second: has something begun that the administrator should know? */
void
at402_refusals_log(At402Listener *l)
{
	if (!INSTR_TIME_IS_ZERO(l->refusals_looked) && at402_elapsed_ms(l->refusals_looked) < LOOK_MS)
		return;
	INSTR_TIME_SET_CURRENT(l->refusals_looked);
	for (int i = 0; i < AT402_REFUSALS; i++)
	{
		uint64		now = refusal_count(l, i);

		if (now == l->refusal_counts[i])
			continue;
		if (INSTR_TIME_IS_ZERO(l->refusal_seen[i]) ||
			at402_elapsed_ms(l->refusal_seen[i]) > QUIET_MS)
			ereport(LOG, errmsg("%s", refusals[i].text),
					refusals[i].hint ? errhint("%s", refusals[i].hint) : 0);
		INSTR_TIME_SET_CURRENT(l->refusal_seen[i]);
		l->refusal_counts[i] = now;
	}
}

void
at402_refusals_init(At402Listener *l)
{
	for (int i = 0; i < AT402_REFUSALS; i++)
		l->refusal_counts[i] = refusal_count(l, i);
}

/* Milliseconds until there may be something to log; -1: nothing has happened. */
int64
at402_refusals_due(const At402Listener *l)
{
	if (!refusal_begun(l))
		return -1;
	return Max(LOOK_MS - at402_elapsed_ms(l->refusals_looked), 0);
}
