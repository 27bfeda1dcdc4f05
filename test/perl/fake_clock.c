/*
 * fake_clock.c - a clock that a test can set
 *
 * Preloaded into a server of the test's own, it moves the time of day by the
 * seconds in the file that AT402_CLOCK names.  The monotonic clock goes on.
 */
#define _GNU_SOURCE 1
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t
moved_s(void)
{
	static volatile const int64_t *seconds;
	static const int64_t none = 0;

	if (seconds == NULL)
	{
		const char *file = getenv("AT402_CLOCK");
		int			fd = file != NULL ? open(file, O_RDONLY | O_CLOEXEC) : -1;
		void	   *mapped = fd < 0 ? MAP_FAILED
			: mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);

		seconds = mapped == MAP_FAILED ? &none : mapped;
		if (fd >= 0)
			close(fd);
	}
	return *seconds;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	long		result = syscall(SYS_clock_gettime, clock, now);

	if (result == 0 && clock == CLOCK_REALTIME)
		now->tv_sec += moved_s();
	return (int) result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;
	int			result = clock_gettime(CLOCK_REALTIME, &precise);

	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return result;
}

time_t
time(time_t *now)
{
	struct timespec precise;

	clock_gettime(CLOCK_REALTIME, &precise);
	if (now != NULL)
		*now = precise.tv_sec;
	return precise.tv_sec;
}
