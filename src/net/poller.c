/*
 * poller.c - epoll behind four calls
 *
 * A port to another system is made here and nowhere else in net.  epoll is
 * used level-triggered: what one turn leaves unread is reported again, so
 * bounding the work per turn can lose nothing, and the kernel moves a socket
 * it has reported to the end of its list, which makes the turns fair.
 */
#include "net/poller.h"

#ifndef __linux__
#error "at402 needs epoll(7), which is Linux"
#endif

#include <sys/epoll.h>

static bool
control(int poller, int operation, int fd, unsigned interest, uint64_t name)
{
	struct epoll_event event = {.data.u64 = name};

	if (interest & AT402_POLL_READ)
		event.events |= EPOLLIN;
	if (interest & AT402_POLL_WRITE)
		event.events |= EPOLLOUT;
	return epoll_ctl(poller, operation, fd, &event) == 0;
}

int
at402_poller_open(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

bool
at402_poller_add(int poller, int fd, unsigned interest, uint64_t name)
{
	return control(poller, EPOLL_CTL_ADD, fd, interest, name);
}

bool
at402_poller_change(int poller, int fd, unsigned interest, uint64_t name)
{
	return control(poller, EPOLL_CTL_MOD, fd, interest, name);
}

int
at402_poller_ready(int poller, at402_poll_event events[AT402_POLL_EVENTS])
{
	struct epoll_event ready[AT402_POLL_EVENTS];
	int			count = epoll_wait(poller, ready, AT402_POLL_EVENTS, 0);

	for (int i = 0; i < count; i++)
	{
		events[i].name = ready[i].data.u64;
		events[i].readable = (ready[i].events & EPOLLIN) != 0;
		events[i].writable = (ready[i].events & EPOLLOUT) != 0;
		events[i].broken = (ready[i].events & (EPOLLERR | EPOLLHUP)) != 0;
	}
	return count < 0 ? 0 : count;
}
