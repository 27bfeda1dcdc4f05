/*
 * poller.h - which of many sockets have something to do
 */
#ifndef AT402_POLLER_H
#define AT402_POLLER_H

#include <stdbool.h>
#include <stdint.h>

/* What to wait for; may be combined.  0: nothing, though a broken socket is
 * reported all the same. */
enum
{
	AT402_POLL_READ = 1,
	AT402_POLL_WRITE = 2
};

typedef struct at402_poll_event
{
	uint64_t	name;			/* as given with the socket */
	bool		readable;
	bool		writable;
	bool		broken;			/* reset, or closed in both directions */
} at402_poll_event;

/* A descriptor that is readable while any socket is ready; -1 with errno. */
extern int	at402_poller_open(void);

/* False with errno.  A socket leaves the poller when it is closed. */
extern bool at402_poller_add(int poller, int fd, unsigned interest, uint64_t name);
extern bool at402_poller_change(int poller, int fd, unsigned interest, uint64_t name);

/* Which sockets are ready now; does not wait.  How many; a full array means
 * that there may be more. */
#define AT402_POLL_EVENTS 128
extern int	at402_poller_ready(int poller, at402_poll_event events[AT402_POLL_EVENTS]);

#endif							/* AT402_POLLER_H */
