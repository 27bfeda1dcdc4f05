/*
 * stat.c - what at402_stat_listener and at402_stat_connection show
 *
 * Each listener has a part of shared memory that it alone writes, word by word
 * and without locks, so that counting costs nothing and a reader never holds
 * up a tracker.  A reset does not touch the counters: it remembers what they
 * were, and the views subtract that.  What it remembers is under a lock, which
 * listeners do not know: counters only grow, so a reader never sees less.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inet.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/settings.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(at402_stat_listener_rows);
PG_FUNCTION_INFO_V1(at402_stat_connection_rows);
PG_FUNCTION_INFO_V1(at402_stat_reset);

#define ROUTES 65536			/* devices that do not get into each other's way, about */

/* At402ListenerStat of all listeners, then the slots of all, then routes. */
static At402ListenerStat *stats;
static LWLock *base_lock;

/*
 * Which of several listeners had a packet of a device last: a word a device, at
 * the place that its hash names: the hash, and the number of the listener.
 * Where two devices share a place, the one that was not heard last has none.
 */
static _Atomic uint64_t *routes;

static shmem_request_hook_type prev_shmem_request_hook;
static shmem_startup_hook_type prev_shmem_startup_hook;

static Size
slots_offset(void)
{
	return MAXALIGN(mul_size(at402_workers, sizeof(At402ListenerStat)));
}

static Size
routes_offset(void)
{
	return MAXALIGN(add_size(slots_offset(),
							 mul_size(mul_size(at402_workers, at402_max_connections),
									  sizeof(at402_net_slot))));
}

static Size
shmem_size(void)
{
	return add_size(routes_offset(), at402_workers > 1 ? ROUTES * sizeof(*routes) : 0);
}

static void
request_shmem(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(shmem_size());
	RequestNamedLWLockTranche("at402", 1);
}

static void
startup_shmem(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	stats = ShmemInitStruct("at402", shmem_size(), &found);
	if (!found)
		memset(stats, 0, shmem_size());
	routes = (_Atomic uint64_t *) ((char *) stats + routes_offset());
	base_lock = &GetNamedLWLockTranche("at402")->lock;
	LWLockRelease(AddinShmemInitLock);
}

void
at402_stat_request(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
}

bool
at402_stat_exists(void)
{
	return stats != NULL;
}

At402ListenerStat *
at402_stat_of(int listener)
{
	return &stats[listener - 1];
}

at402_net_slot *
at402_stat_slots(int listener)
{
	return (at402_net_slot *) ((char *) stats + slots_offset()) +
		(Size) (listener - 1) * at402_max_connections;
}

void
at402_stat_note_route(int listener, const char *imei)
{
	uint64_t	hash = hash_bytes((const unsigned char *) imei, (int) strlen(imei));

	if (at402_workers > 1)
		atomic_store_explicit(&routes[hash % ROUTES], hash << 32 | (uint64_t) listener,
							  memory_order_relaxed);
}

bool
at402_stat_has_route(int listener, const char *imei)
{
	uint64_t	hash = hash_bytes((const unsigned char *) imei, (int) strlen(imei));
	uint64_t	route;

	if (at402_workers == 1)
		return true;
	route = atomic_load_explicit(&routes[hash % ROUTES], memory_order_relaxed);
	return route >> 32 != hash || (uint32_t) route == (uint32_t) listener;
}

/* ---- texts: written between two changes of a number ---- */

static void
begin_texts(At402ListenerStat *stat)
{
	atomic_fetch_add(&stat->text_change, 1);
	atomic_thread_fence(memory_order_release);
}

static void
end_texts(At402ListenerStat *stat)
{
	atomic_thread_fence(memory_order_release);
	atomic_fetch_add(&stat->text_change, 1);
}

void
at402_stat_set_address(At402ListenerStat *stat, const char *address)
{
	begin_texts(stat);
	strlcpy(stat->address, address, sizeof(stat->address));
	end_texts(stat);
}

void
at402_stat_set_error(At402ListenerStat *stat, const char *message)
{
	begin_texts(stat);
	strlcpy(stat->last_error, message, sizeof(stat->last_error));
	stat->last_error_at = GetCurrentTimestamp();
	end_texts(stat);
}

/*
 * Copies what another process may be writing: tries again until the number is
 * the same and even before and after.
 */
static void
copy_consistent(void *to, const void *from, Size size, _Atomic uint32_t *change)
{
	for (;;)
	{
		uint32_t	before = atomic_load_explicit(change, memory_order_acquire);

		memcpy(to, from, size);
		atomic_thread_fence(memory_order_acquire);
		if (before % 2 == 0 && before == atomic_load_explicit(change, memory_order_relaxed))
			return;
		CHECK_FOR_INTERRUPTS();
	}
}

static void
copy_counters(At402ListenerStat *to, const At402ListenerStat *from)
{
	LWLockAcquire(base_lock, LW_SHARED);
	memcpy(&to->net_base, &from->net_base, sizeof(to->net_base));
	memcpy(&to->store_base, &from->store_base, sizeof(to->store_base));
	memcpy(&to->net, &from->net, sizeof(to->net));
	memcpy(&to->store, &from->store, sizeof(to->store));
	LWLockRelease(base_lock);
}

/* ---- views ---- */

static const char *
state_text(int state)
{
	switch ((At402State) state)
	{
		case AT402_PAUSED:
			return "paused";
		case AT402_OFF:
			return "off";
		case AT402_WAITING:
			return "waiting";
		case AT402_LISTENING:
			return "listening";
		case AT402_QUARANTINING:
			return "quarantining";
		case AT402_RETRYING:
			return "retrying";
		case AT402_STOPPED:
			break;
	}
	return "stopped";
}

static Datum
text_or_null(const char *string, bool *null)
{
	*null = string[0] == '\0';
	return *null ? (Datum) 0 : CStringGetTextDatum(string);
}

static Datum
timestamp_or_null(int64 at, bool *null)
{
	*null = at == 0;
	return TimestampTzGetDatum(at);
}

/* Where the number of a column is, and what it was at the last reset. */
static const struct
{
	const char *column;
	size_t		now;
	size_t		before;			/* 0: it is not counted from there */
}			numbers[] = {
#define COUNTED(part, name)                                                                        \
	{#name, offsetof(At402ListenerStat, part.name), offsetof(At402ListenerStat, part##_base.name)},
#define NET_COUNTER(name) COUNTED(net, name)
#define STORE_COUNTER(name) COUNTED(store, name)
#define NET_GAUGE(name) {#name, offsetof(At402ListenerStat, net.name), 0},
	AT402_NET_COUNTERS(NET_COUNTER)
	AT402_NET_GAUGES(NET_GAUGE)
	AT402_STORE_COUNTERS(STORE_COUNTER)
};

static Datum
number_or_null(const At402ListenerStat *s, const char *column, bool *null)
{
	const char *base = (const char *) s;

	for (int i = 0; i < lengthof(numbers); i++)
		if (strcmp(numbers[i].column, column) == 0)
		{
			uint64		now = *(const _Atomic uint64_t *) (base + numbers[i].now);
			uint64		before = numbers[i].before == 0 ? 0
				: *(const _Atomic uint64_t *) (base + numbers[i].before);

			return Int64GetDatum((int64) (now - before));
		}
	*null = true;				/* the library is older than the view */
	return (Datum) 0;
}

static Datum
average_latency(const At402ListenerStat *s, bool *null)
{
	uint64		frames = s->store.answered - s->store_base.answered;
	uint64		us = s->store.latency_us - s->store_base.latency_us;

	*null = frames == 0;
	return Float8GetDatum(frames == 0 ? 0 : us / 1000.0 / frames);
}

static Datum
longest_latency(const At402ListenerStat *s, bool *null)
{
	*null = s->store.answered == s->store_base.answered;
	return Float8GetDatum(s->latency_max_us / 1000.0);
}

static Datum
int_or_null(int number, bool *null)
{
	*null = number == 0;
	return Int32GetDatum(number);
}

/* The view may be of an older version than the library: it asks by name. */
static Datum
listener_column(const At402ListenerStat *s, int listener, const char *column, bool *null)
{
	*null = false;
	if (strcmp(column, "listener") == 0)
		return Int32GetDatum(listener);
	if (strcmp(column, "pid") == 0)
		return int_or_null(s->pid, null);
	if (strcmp(column, "state") == 0)
		return CStringGetTextDatum(state_text(s->pid != 0 ? s->state
											  : at402_paused ? AT402_PAUSED : AT402_STOPPED));
	if (strcmp(column, "address") == 0)
		return text_or_null(s->address, null);
	if (strcmp(column, "port") == 0)
		return int_or_null(s->port, null);
	if (strcmp(column, "started_at") == 0)
		return timestamp_or_null(s->started_at, null);
	if (strcmp(column, "ack_latency_avg_ms") == 0)
		return average_latency(s, null);
	if (strcmp(column, "ack_latency_max_ms") == 0)
		return longest_latency(s, null);
	if (strcmp(column, "last_error") == 0)
		return text_or_null(s->last_error, null);
	if (strcmp(column, "last_error_at") == 0)
		return timestamp_or_null(s->last_error_at, null);
	return number_or_null(s, column, null);
}

/*
 * at402_stat_listener_rows() -> one row a listener; none when the library is
 * not preloaded.  An error may tell what a tracker sent, so it is shown to
 * members of pg_read_all_stats only.
 */
Datum
at402_stat_listener_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		may_see = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);

	InitMaterializedSRF(fcinfo, 0);
	for (int n = 1; stats != NULL && n <= at402_workers; n++)
	{
		At402ListenerStat *live = at402_stat_of(n);
		At402ListenerStat s;
		TupleDesc	desc = rsinfo->setDesc;
		Datum	   *values = palloc(sizeof(Datum) * desc->natts);
		bool	   *nulls = palloc(sizeof(bool) * desc->natts);

		copy_consistent(&s, live, sizeof(s), &live->text_change);
		copy_counters(&s, live);
		if (!may_see)
			s.last_error[0] = '\0';
		for (int i = 0; i < desc->natts; i++)
			values[i] = listener_column(&s, n, NameStr(TupleDescAttr(desc, i)->attname),
										&nulls[i]);
		tuplestore_putvalues(rsinfo->setResult, desc, values, nulls);
	}
	return (Datum) 0;
}

static TimestampTz
from_unix_us(int64 us)
{
	return us - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (int64) USECS_PER_DAY;
}

/*
 * at402_stat_connection_rows() -> one row an open TCP connection.  Who is
 * connected is shown to members of pg_read_all_stats only.
 */
Datum
at402_stat_connection_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		may_see = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);

	InitMaterializedSRF(fcinfo, 0);
	for (int n = 1; stats != NULL && n <= at402_workers; n++)
		for (int i = 0; i < at402_max_connections && at402_stat_of(n)->pid != 0; i++)
		{
			at402_net_slot *live = &at402_stat_slots(n)[i];
			at402_net_slot s;
			Datum		values[10];
			bool		nulls[10] = {0};

			if (!live->in_use)
				continue;
			copy_consistent(&s, live, sizeof(s), &live->change);
			if (!s.in_use)
				continue;
			values[0] = Int32GetDatum(n);
			values[1] = text_or_null(may_see ? s.from.imei : "", &nulls[1]);
			values[2] = text_or_null((char[]) {s.from.protocol, '\0'}, &nulls[2]);
			nulls[3] = nulls[4] = !may_see;
			if (may_see)
				values[3] = DirectFunctionCall1(inet_in, CStringGetDatum(s.from.peer));
			values[4] = Int32GetDatum(s.from.peer_port);
			values[5] = TimestampTzGetDatum(from_unix_us(s.traffic.connected_at));
			nulls[6] = s.traffic.last_frame_at == 0;
			values[6] = TimestampTzGetDatum(from_unix_us(s.traffic.last_frame_at));
			values[7] = Int64GetDatum((int64) s.traffic.frames);
			values[8] = Int64GetDatum((int64) s.traffic.answers);
			values[9] = Int64GetDatum((int64) s.traffic.bytes);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	return (Datum) 0;
}

/* Begins to count anew.  The counters go on; what they are now is remembered. */
Datum
at402_stat_reset(PG_FUNCTION_ARGS)
{
	for (int n = 1; stats != NULL && n <= at402_workers; n++)
	{
		At402ListenerStat *s = at402_stat_of(n);

		LWLockAcquire(base_lock, LW_EXCLUSIVE);
		memcpy(&s->net_base, &s->net, sizeof(s->net));
		memcpy(&s->store_base, &s->store, sizeof(s->store));
		LWLockRelease(base_lock);
		s->latency_reset = true;
	}
	PG_RETURN_VOID();
}
