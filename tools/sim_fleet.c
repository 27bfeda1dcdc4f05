/*
 * sim_fleet.c - many trackers that talk to a server as real ones do
 *
 * Each tracker stops and waits: it keeps a packet until the byte 0x06 has
 * come, and sends it again over a new connection when it doesn't come in
 * time.  "New connection" holds for UDP, too: a new socket has a new port, so
 * a late answer to an older datagram can't be taken for the answer to a newer
 * one, and "answered" in the journal means what it says.
 *
 *     CLOSED -> CONNECTING -> LOGGING_IN -> READY <-> WAITING
 *        ^          |             |           |          |
 *        +----------+-------------+-----------+----------+   lost, or no answer in time
 *
 * Reports wait "in flash" as a number only: vehicles don't depend on the
 * server, so a report can be made when its turn to be sent has come.  For the
 * same reason those of a vehicle without network need no memory: the vehicle
 * as it was lives through that time once more.
 *
 * One thread and edge-triggered epoll.  A tracker has one timer; all stand in
 * one array that is looked through once a turn, which takes microseconds even
 * for thousands.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

#define BACKOFF_MIN_S 0.2
#define BACKOFF_MAX_S 2.0
#define EVENTS 512				/* looked at in one turn */
#define SPARE_FILES 16			/* descriptors besides one a tracker */
#define LATE_S 600				/* after a time without network the new reports go first */

/* Latencies are counted in classes that grow by 2 %, from 1 microsecond. */
#define LATENCY_CLASSES 1100	/* up to 2,800 s */
#define LATENCY_GROWTH 1.02

typedef enum tracker_state
{
	CLOSED,						/* wakes to connect, or when a report is due */
	CONNECTING,
	LOGGING_IN,
	READY,						/* wakes when a report is due */
	WAITING						/* for the answer to its packet */
} tracker_state;

typedef struct tracker
{
	sim_vehicle vehicle;
	sim_packet	packet;			/* not yet answered; count 0: none */
	char		imei[AT402_IMEI_DIGITS + 1];
	char		letter;
	int			mode;			/* as in $MODE: 4, 5 or 6 */
	sim_vehicle late;			/* as it was when it lost the network ... */
	bool		has_late;
	int64_t		late_until;		/* ... and when it came back */
	unsigned	made;			/* reports */
	bool		behind;			/* the packet's reports waited in flash */
	unsigned	sent;			/* times the packet was */
	bool		answered;		/* and yet sent again, on purpose */
	bool		over;			/* nothing left to do */

	tracker_state state;
	int			socket;			/* unless CLOSED */
	bool		connected_before;
	unsigned	failures;		/* in a row */
	double		sent_at;
	char		login[SIM_LOGIN_MAX];
	size_t		login_length;
	const void *out;			/* being sent */
	size_t		out_length;
	sim_talk	talk;
} tracker;

static struct
{
	const sim_options *options;
	tracker    *trackers;
	double	   *wakes;			/* when to look at each tracker, at the latest */
	int			epoll;
	FILE	   *journal;
	FILE	   *command_journal;
	unsigned short random[3];
	double		began;
	bool		stopping;		/* nothing new is made */
	unsigned	active;			/* trackers that are not over */

	uint64_t	made;
	uint64_t	sent;
	uint64_t	answered;
	uint64_t	repeats;		/* packets */
	uint64_t	reconnects;
	uint64_t	surplus;		/* bytes that no tracker waited for */
	uint64_t	latencies[LATENCY_CLASSES];
	uint64_t	latency_count;
	double		latency_max_s;
} fleet;

static volatile sig_atomic_t signals;	/* SIGINT and SIGTERM so far */

double
sim_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec * 1e-9;
}

static void
count_signal(int signal)
{
	(void) signal;
	signals++;
}

/* ---- what there is to send ---- */

/* When a tracker's n-th report (from 0) is made. */
static double
report_due(const tracker *t, unsigned n)
{
	double		phase = fmod(t->vehicle.number * 0.618034, 1);	/* not all at once */

	return fleet.options->rate > 0 ? fleet.began + (n + phase) / fleet.options->rate : 0;
}

/* Will it make another one? */
static bool
has_more(const tracker *t)
{
	const sim_options *o = fleet.options;

	if (o->story)
		return !fleet.stopping && (t->has_late ||
								   t->vehicle.time + sim_story_step_s(&t->vehicle) <= o->until);
	return !fleet.stopping && (o->reports == 0 || t->made < o->reports);
}

static void
live_on(sim_vehicle *v)
{
	sim_vehicle_step(v, sim_story_step_s(v));
}

/* In the story: what goes out next, which is not in the order of time. */
static const sim_vehicle *
next_in_story(tracker *t)
{
	sim_vehicle *v = &t->vehicle;
	bool		over = v->time + sim_story_step_s(v) > fleet.options->until;

	if (t->has_late && (over || v->time > t->late_until + LATE_S))
	{
		live_on(&t->late);
		t->has_late = t->late.time + sim_story_step_s(&t->late) < t->late_until;
		t->behind = true;
		return &t->late;
	}
	if (!t->has_late)
		t->late = *v;
	live_on(v);
	while (sim_story_is_silent(v) && !over)
	{
		t->has_late = true;
		live_on(v);
		t->late_until = v->time;
		over = v->time + sim_story_step_s(v) > fleet.options->until;
	}
	return v;
}

/* The next report, as the vehicle that makes it. */
static const sim_vehicle *
next_report(tracker *t)
{
	const sim_vehicle *v = &t->vehicle;

	if (fleet.options->story)
		do
			v = next_in_story(t);
		while (v->time < fleet.options->since && has_more(t));
	else
		sim_vehicle_step(&t->vehicle, fleet.options->step_s);
	return v;
}

/* Reports made by now and not yet put into a packet. */
static unsigned
waiting_reports(const tracker *t, double now)
{
	double		limit = fleet.options->reports > 0 ? fleet.options->reports : UINT_MAX;
	double		due = limit;

	if (!has_more(t))
		return 0;
	if (t->talk.polled)
		return 1;
	if (fleet.options->rate > 0)
		due = fmin(floor((now - report_due(t, 0)) * fleet.options->rate) + 1, limit);
	return due > t->made ? (unsigned) due - t->made : 0;
}

/* Fills the packet with what waits; false: nothing does. */
static bool
make_packet(tracker *t, double now)
{
	const sim_options *options = fleet.options;
	unsigned	waiting = waiting_reports(t, now);
	unsigned	count = 1;

	if (waiting == 0)
		return false;
	/* with --rate 0 clocks stand still until the answer comes: none is behind */
	t->behind = options->rate > 0 && waiting > 1;
	if (t->behind || options->rate == 0)
		count += (unsigned) sim_between(fleet.random, 0,
										waiting < options->bundle ? waiting : options->bundle);
	sim_packet_begin(&t->packet, t->letter, t->mode == 6 ? NULL : t->imei);
	while (t->packet.count < count && has_more(t) && sim_packet_has_room(&t->packet))
		sim_packet_add(&t->packet, next_report(t));
	if (fleet.options->ask_drivers && t->vehicle.driver != 0 &&
		t->vehicle.reasons & SIM_JOURNEY_START)
		sim_talk_ask(&t->talk, t->imei, t->vehicle.driver);
	t->talk.polled = false;
	t->made += t->packet.count;
	fleet.made += t->packet.count;
	t->sent = 0;
	t->answered = false;
	return true;
}

static void
write_journal(const tracker *t, char what)
{
	if (fleet.journal == NULL)
		return;
	for (unsigned i = 0; i < t->packet.count; i++)
		fprintf(fleet.journal, "%c %s %lld %u %d\n", what, t->imei,
				(long long) t->packet.reports[i].time, t->packet.reports[i].seq,
				t->packet.reports[i].content_hash);
}

/* ---- connections ---- */

static void
set_wake(const tracker *t, double when)
{
	fleet.wakes[t - fleet.trackers] = when;
}

/* The connection is of no use any more. */
static void
lose(tracker *t, double now)
{
	double		longest_s = fmin(BACKOFF_MAX_S, BACKOFF_MIN_S * ldexp(1, (int) t->failures + 1));

	if (t->socket >= 0)
		close(t->socket);
	t->socket = -1;
	t->state = CLOSED;
	t->out_length = 0;
	sim_talk_end(&t->talk);
	if (t->packet.count == 0)
	{
		set_wake(t, now);
		return;
	}
	set_wake(t, now + sim_between(fleet.random, BACKOFF_MIN_S, longest_s));
	t->failures++;
}

/* Hands bytes to the kernel, as many as it takes. */
static void
send_out(tracker *t, double now)
{
	while (t->out_length > 0)
	{
		ssize_t		n = send(t->socket, t->out, t->out_length, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return;				/* an event will come */
		if (n < 0)
		{
			lose(t, now);
			return;
		}
		t->out = (const char *) t->out + n;
		t->out_length -= (size_t) n;
	}
}

static void
send_packet(tracker *t, double now)
{
	bool		stored = t->behind || t->sent > 0;

	if (t->sent == 0)
	{
		write_journal(t, 'S');
		fleet.sent += t->packet.count;
	}
	else
		fleet.repeats++;
	t->sent++;
	t->state = WAITING;
	t->sent_at = now;
	set_wake(t, now + fleet.options->answer_timeout_s);
	t->out = t->packet.bytes;
	t->out_length = sim_packet_finish(&t->packet, stored, stored && waiting_reports(t, now) > 0);
	send_out(t, now);
}

/* There is a connection. */
static void
greet(tracker *t, double now)
{
	if (t->connected_before)
		fleet.reconnects++;
	t->connected_before = true;
	t->state = READY;
	if (t->mode == 6)
	{
		t->state = LOGGING_IN;
		set_wake(t, now + fleet.options->answer_timeout_s);
		t->out = t->login;
		t->out_length = t->login_length;
		send_out(t, now);
	}
}

static void
open_connection(tracker *t, double now)
{
	const struct addrinfo *address = fleet.options->addresses;
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = t};
	bool		udp = t->mode == 5;
	int			on = 1;

	for (unsigned i = 0; i < t->failures; i++)	/* another one each time */
		address = address->ai_next ? address->ai_next : fleet.options->addresses;
	set_wake(t, now + fleet.options->answer_timeout_s);
	t->state = CONNECTING;
	t->socket = socket(address->ai_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0);
	if (t->socket < 0 ||
		(!udp && setsockopt(t->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0) ||
		(connect(t->socket, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS) ||
		epoll_ctl(fleet.epoll, EPOLL_CTL_ADD, t->socket, &event) < 0)
		lose(t, now);
	else if (udp)
	{
		greet(t, now);
		send_packet(t, now);
	}
}

/* What a tracker does when it has nothing to wait for. */
static void
proceed(tracker *t, double now)
{
	if (t->packet.count > 0 || make_packet(t, now))
	{
		if (t->state == CLOSED)
			open_connection(t, now);
		else
			send_packet(t, now);
	}
	else if (has_more(t))
		set_wake(t, report_due(t, t->made));
	else
	{
		set_wake(t, INFINITY);
		fleet.active -= !t->over;
		t->over = true;
	}
}

static void
count_latency(double seconds)
{
	int			class = (int) (log(fmax(seconds * 1e6, 1)) / log(LATENCY_GROWTH));

	fleet.latencies[class < LATENCY_CLASSES ? class : LATENCY_CLASSES - 1]++;
	fleet.latency_count++;
	fleet.latency_max_s = fmax(fleet.latency_max_s, seconds);
}

/* What has come in one go.  Stop and wait: only the first byte can be the
 * answer, and only when one is waited for. */
static void
take_bytes(tracker *t, uint8_t first, size_t count, double now)
{
	bool		expected = t->out_length == 0 && (t->state == LOGGING_IN || t->state == WAITING);

	if (!expected || first != AT402_ACK)
	{
		fleet.surplus += count;
		return;
	}
	fleet.surplus += count - 1;
	t->failures = 0;
	if (t->state == WAITING)
	{
		bool		again = !t->answered &&
			sim_between(fleet.random, 0, 1) < fleet.options->repeat;

		count_latency(now - t->sent_at);
		if (!t->answered)
		{
			write_journal(t, 'A');
			fleet.answered += t->packet.count;
		}
		t->answered = true;
		if (!again)
			t->packet.count = 0;
	}
	t->state = READY;
	sim_talk_goes_on(&t->talk);
}

/* Does what a message asks for, and says what there is to say. */
static void
talk(tracker *t, double now)
{
	const sim_options *o = fleet.options;
	bool		awkward = o->awkward > 0 && sim_between(fleet.random, 0, 1) < o->awkward;
	const char *text;
	size_t		length;

	if (t->talk.complete && fleet.command_journal)
	{
		fprintf(fleet.command_journal, "%s %s\n", t->imei, t->talk.heard);
		fflush(fleet.command_journal);
	}
	sim_talk_answer(&t->talk, &t->vehicle, t->imei, o->pin,
					awkward ? sim_between(fleet.random, 0, 1) : 1);
	while (t->out_length == 0 && (length = sim_talk_say(&t->talk, &text)) > 0)
		if (send(t->socket, text, length, MSG_NOSIGNAL) != (ssize_t) length)
		{
			lose(t, now);
			return;
		}
}

/* Something has happened at a tracker's socket. */
static void
serve(tracker *t, double now)
{
	uint8_t		first = 0;
	uint8_t		bytes[256];
	size_t		count = 0;
	ssize_t		n;
	bool		lost;

	if (t->state == CONNECTING)
	{
		int			error = 0;
		socklen_t	size = sizeof(error);

		if (getsockopt(t->socket, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error != 0)
			lose(t, now);
		else
			greet(t, now);
	}
	else
		send_out(t, now);
	if (t->state == CLOSED)
		return;

	while ((n = recv(t->socket, bytes, sizeof(bytes), 0)) > 0)
	{
		size_t		others = sim_talk_hear(&t->talk, bytes, (size_t) n);

		if (count == 0 && others > 0)
			first = bytes[0];
		count += others;
	}
	lost = n == 0 ? t->mode != 5 : errno != EAGAIN;
	if (count > 0)
		take_bytes(t, first, count, now);
	if (!lost)
		talk(t, now);		/* which may lose it */
	if (lost)
		lose(t, now);
	else if (t->state == READY)
		proceed(t, now);
}

/* ---- all of them ---- */

/* Serves the timers that are due; returns when the next one is. */
static double
serve_timers(void)
{
	double		now = sim_now();
	double		next = INFINITY;

	for (unsigned i = 0; i < fleet.options->trackers; i++)
	{
		tracker    *t = &fleet.trackers[i];

		if (fleet.wakes[i] <= now)
		{
			if (t->state == CLOSED || t->state == READY)
				proceed(t, now);
			else
				lose(t, now);	/* no answer in time */
		}
		next = fmin(next, fleet.wakes[i]);
	}
	return next;
}

/* Lets trackers without a packet rest; the others still wait for answers. */
static void
stop(double now)
{
	fleet.stopping = true;
	for (unsigned i = 0; i < fleet.options->trackers; i++)
		if (fleet.trackers[i].packet.count == 0)
			proceed(&fleet.trackers[i], now);
}

void
sim_imei(char imei[AT402_IMEI_DIGITS + 1], uint64_t first, unsigned n)
{
	unsigned	sum = 0;

	/* the check digit makes the sum of all digits, every second one doubled and its own digits
	 * added, a multiple of ten */
	snprintf(imei, AT402_IMEI_DIGITS + 1, "%014llu",
			 (unsigned long long) (first / 10 + n) % 100000000000000);
	for (int i = 0; i < 14; i++)
	{
		unsigned	digit = (unsigned) (imei[i] - '0') * (i % 2 ? 2 : 1);

		sum += digit / 10 + digit % 10;
	}
	imei[14] = (char) ('0' + (10 - sum % 10) % 10);
	imei[15] = '\0';
}

static void
init_tracker(tracker *t, unsigned number)
{
	const sim_options *options = fleet.options;
	uint64_t	n = number;

	sim_vehicle_init(&t->vehicle, number, options->seed, options->latitude_deg,
					 options->longitude_deg, options->start);
	t->vehicle.parked = options->parked;
	if (options->story)
		sim_story_begin(&t->vehicle, options->latitude_deg, options->longitude_deg);
	t->mode = number < options->udp ? 5 : number < options->udp + options->mode4 ? 4 : 6;
	/* evenly spread, so that each mode has its share */
	t->letter = (n + 1) * options->y / options->trackers > n * options->y / options->trackers ?
		'Y' : 'X';
	t->socket = -1;
	sim_imei(t->imei, options->first_imei, number);
	t->login_length = sim_login(t->login, t->letter, t->imei, number);
}

/* Room for one socket a tracker. */
static bool
raise_file_limit(unsigned trackers)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return true;			/* socket() will tell */
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < trackers + SPARE_FILES)
	{
		fprintf(stderr, "at402sim: %u trackers need %u file descriptors, the hard limit is %llu\n",
				trackers, trackers + SPARE_FILES, (unsigned long long) limit.rlim_max);
		return false;
	}
	return true;
}

/* The latency, ms, that this part of the answers did not exceed. */
static double
latency_ms(double part)
{
	uint64_t	below = 0;
	int			class = 0;

	while (class < LATENCY_CLASSES - 1 &&
		   (double) (below += fleet.latencies[class]) < part * (double) fleet.latency_count)
		class++;
	return fmin(pow(LATENCY_GROWTH, class + 1) / 1e3, fleet.latency_max_s * 1e3);
}

static void
print_summary(double seconds)
{
	printf("trackers          %u\n"
		   "reports sent      %llu\n"
		   "reports answered  %llu\n"
		   "repeats           %llu\n"
		   "reconnects        %llu\n"
		   "surplus answers   %llu\n"
		   "seconds           %.2f\n"
		   "reports/s         %.0f\n",
		   fleet.options->trackers, (unsigned long long) fleet.sent,
		   (unsigned long long) fleet.answered, (unsigned long long) fleet.repeats,
		   (unsigned long long) fleet.reconnects, (unsigned long long) fleet.surplus,
		   seconds, (double) fleet.answered / seconds);
	printf("latency p50 ms    %.2f\n"
		   "latency p99 ms    %.2f\n"
		   "latency max ms    %.2f\n",
		   latency_ms(0.5), latency_ms(0.99), fleet.latency_max_s * 1e3);
}

static void
print_progress(double now)
{
	fprintf(stderr, "%.0f s: %llu reports sent, %llu answered, %llu reconnects\n",
			now - fleet.began, (unsigned long long) fleet.sent,
			(unsigned long long) fleet.answered, (unsigned long long) fleet.reconnects);
}

/* Until all is done or the time is over. */
static void
drive_fleet(void)
{
	const sim_options *options = fleet.options;
	struct epoll_event events[EVENTS];
	double		now = fleet.began;
	double		end = options->duration_s > 0 ? now + options->duration_s : INFINITY;
	double		progress = options->quiet ? INFINITY : now + 1;

	for (;;)
	{
		double		next = serve_timers();
		int			ready;

		if (fleet.journal)
			fflush(fleet.journal);
		now = sim_now();
		if (!fleet.stopping && (now >= end || signals > 0))
		{
			stop(now);
			end = now + options->answer_timeout_s;
		}
		if (fleet.active == 0 || now >= end || signals > 1)
			return;
		if (now >= progress)
		{
			print_progress(now);
			progress = now + 1;
		}

		next = fmin(fmin(next, end), fmin(progress, now + 1));
		ready = epoll_wait(fleet.epoll, events, EVENTS, (int) ceil(fmax(next - now, 0) * 1e3));
		for (int i = 0; i < ready; i++)
			serve(events[i].data.ptr, sim_now());
	}
}

int
sim_fleet_run(const sim_options *options)
{
	struct sigaction action = {.sa_handler = count_signal};
	uint64_t	expected = (uint64_t) options->trackers * options->reports;

	if (!raise_file_limit(options->trackers))
		return 2;
	fleet.options = options;
	fleet.trackers = calloc(options->trackers, sizeof(*fleet.trackers));
	fleet.wakes = calloc(options->trackers, sizeof(*fleet.wakes));
	fleet.epoll = epoll_create1(0);
	if (options->journal)
		fleet.journal = fopen(options->journal, "a");
	if (options->command_journal)
		fleet.command_journal = fopen(options->command_journal, "a");
	if (!fleet.trackers || !fleet.wakes || fleet.epoll < 0 ||
		(options->journal && !fleet.journal) ||
		(options->command_journal && !fleet.command_journal))
	{
		fprintf(stderr, "at402sim: cannot begin%s%s: %s\n", options->journal ? " with journal " : "",
				options->journal ? options->journal : "", strerror(errno));
		return 2;
	}
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);

	fleet.random[0] = (unsigned short) options->seed;
	fleet.active = options->trackers;
	for (unsigned i = 0; i < options->trackers; i++)
		init_tracker(&fleet.trackers[i], i);
	fleet.began = sim_now();
	drive_fleet();
	print_summary(sim_now() - fleet.began);
	if (fleet.journal && (ferror(fleet.journal) | fclose(fleet.journal)))
	{
		fprintf(stderr, "at402sim: journal %s is not complete\n", options->journal);
		return 2;
	}
	/* a story that has been told up to now has nothing to send */
	return fleet.answered == (expected > 0 ? expected : fleet.made) &&
		(fleet.answered > 0 || options->story) ? 0 : 1;
}
