/*
 * worker.h - the background workers and the statistics that they publish
 */
#ifndef AT402_WORKER_H
#define AT402_WORKER_H

#include <stdatomic.h>

#include "datatype/timestamp.h"
#include "postmaster/bgworker.h"

#include "net/net.h"
#include "pg/attempt.h"

#define AT402_TEXT_SIZE 512

/* Counted while storing; the worker is the only writer. */
#define AT402_STORE_COUNTERS(X)                                                                    \
	X(reports)                                                                                     \
	X(inserted)                                                                                    \
	X(duplicates)                                                                                  \
	X(quarantined)                                                                                 \
	X(unknown_sender)			/* packets and text lines of nobody */                             \
	X(ignored)					/* frames of unknown devices, by setting */                        \
	X(over_limit)				/* frames of unknown devices past at402.register_limit */          \
	X(not_quarantined)			/* frames: the quarantine is full or fails */                      \
	X(commands)					/* sent */                                                         \
	X(driver_checks)                                                                               \
	X(driver_failures)			/* checks that could not be answered, or were of others */         \
	X(batches)                                                                                     \
	X(failed_batches)

typedef struct At402StoreCounters
{
	AT402_STORE_COUNTERS(AT402_COUNTER)
	_Atomic uint64_t answered;	/* frames */
	_Atomic uint64_t latency_us;	/* sum, from frame complete to answer */
} At402StoreCounters;

typedef enum At402State
{
	AT402_STOPPED,
	AT402_PAUSED,				/* at402.paused: not in the database */
	AT402_OFF,					/* neither TCP nor UDP */
	AT402_WAITING,				/* for extension, tables, rights or a port */
	AT402_LISTENING,
	AT402_QUARANTINING,			/* listens, but nothing that comes can be stored */
	AT402_RETRYING				/* the last batch could not be stored */
} At402State;

/* What a listener publishes in shared memory. */
typedef struct At402ListenerStat
{
	_Atomic int pid;			/* 0: not running */
	_Atomic int state;			/* At402State */
	_Atomic int port;
	_Atomic int64_t started_at;
	_Atomic uint64_t latency_max_us;	/* of one frame, since the last reset */
	_Atomic bool latency_reset; /* asks the owner to begin anew */
	_Atomic uint32_t command_calls; /* written by those who queue commands */
	_Atomic uint32_t hung_function; /* version of at402.authorise_driver() that did not let
									 * itself be cancelled; 0: none */
	at402_net_counters net;
	At402StoreCounters store;
	at402_net_counters net_base;	/* what they were at the last reset */
	At402StoreCounters store_base;
	_Atomic uint32_t text_change;	/* odd while the texts are written */
	char		address[AT402_TEXT_SIZE];
	char		last_error[AT402_TEXT_SIZE];
	int64_t		last_error_at;
} At402ListenerStat;

/* stat.c */
extern void at402_stat_request(void);
extern bool at402_stat_exists(void);	/* is the library preloaded? */
extern At402ListenerStat *at402_stat_of(int listener);	/* 1, 2, ... */
extern at402_net_slot *at402_stat_slots(int listener);

/*
 * A good packet of this device came to that listener, the last of all; and: is
 * this the one?  Of two connections of a device the newer counts, whoever has it.
 */
extern void at402_stat_note_route(int listener, const char *imei);
extern bool at402_stat_has_route(int listener, const char *imei);
extern void at402_stat_set_address(At402ListenerStat *stat, const char *address);
extern void at402_stat_set_error(At402ListenerStat *stat, const char *message);

/* The owner's way to count: no lock is needed, only whole words. */
static inline void
at402_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
						  memory_order_relaxed);
}

/* common.c */

/* Connects to the database; while at402.paused is on it waits before. */
extern void at402_worker_start(void);

/* A time, in ms, that others may have to wait: a tenth of at402.report_timeout. */
extern int	at402_short_ms(void);

/*
 * Does the work in a transaction of its own that may take so long until its
 * commit begins (ms; 0: without end).  False: nothing has happened, for this
 * error.
 */
extern bool at402_transaction(At402Work work, void *argument, int limit_ms, ErrorData **error);

/*
 * Due in every turn, outside of transactions: without it, DROP DATABASE waits
 * for us in all databases.  True when the settings were read again.  Does not
 * return when at402.paused is on now.
 */
extern bool at402_worker_interrupts(void);

/*
 * Is everything there to store into?  Else *missing, which was what it was
 * before or "", becomes what is missing and the statement that mends it; where
 * that is news it also goes to the log, if it is to say so.
 */
extern bool at402_worker_ready(char *missing, size_t size, bool say);

/* listener.c, maintain.c */
extern PGDLLEXPORT void at402_listener_main(Datum number) pg_attribute_noreturn();
extern PGDLLEXPORT void at402_maintain_main(Datum unused) pg_attribute_noreturn();

#endif							/* AT402_WORKER_H */
