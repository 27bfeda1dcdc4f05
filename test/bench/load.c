/*
 * load.c - thousands of trackers that report as fast as they are answered
 *
 *     load [option value]...
 *
 *     --echo 1           is the other side instead: answers each packet and does nothing else
 *     --port n           of 127.0.0.1; an echo prints the one that it was given
 *     --udp 1            datagrams, no connection
 *     --trackers n       --connect_s n    seconds over which they connect
 *     --reports n        in a packet      --mix plain | full
 *     --login 1          begins with a login line; the packets carry no IMEI then
 *     --interval_ms n    between two packets of a tracker; 0: the next follows the answer
 *     --seconds n        how long, after all have connected; --packets n: so many of each
 *     --timeout_ms n     a packet is sent again after such a silence
 *     --first n          number of the first tracker; --begin n: Unix time of the first reports
 *     --counts file      a line for each tracker: IMEI and reports that were answered
 *
 * A tracker waits for each answer, as real ones do.  Latency is measured from
 * the first sending of a packet to its answer.  At the end all answers are
 * waited for, so that the tables must hold what was answered, and nothing else.
 * One line is written: name=value, separated by blanks.
 *
 * One thread, no allocation in the loop: what the generator itself takes is part
 * of what is measured, and known from a run against --echo.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/at402.h"
#include "wire.h"

#define EVENTS 512
#define LATENCY_CLASSES 2400	/* each 1 % above the one before, from 1 us */
#define LATENCY_GROWTH 1.01
#define SCAN_MS 20				/* between two looks for trackers that are due */
#define RECONNECT_MS 1000
#define CONNECT_S 60				/* all must have been answered by then */
#define SEQ_AT 0				/* offsets in a report of X */
#define TIME_AT 7
#define REASONS_AT 11
#define HEADER_SIZE 17
#define FIX_TIME_AT (HEADER_SIZE + 2)	/* after the module device_power */
#define LATITUDE_AT (FIX_TIME_AT + 4)

typedef struct tracker
{
	int			socket;			/* -1: not connected */
	uint64_t	answered;		/* packets */
	int64_t		first_sent_us;	/* of the packet that waits; 0: none does */
	int64_t		sent_us;		/* the last time */
	int64_t		due_us;			/* when the next packet is to go */
	bool		logging_in;
} tracker;

static struct
{
	bool		echo;
	bool		udp;
	bool		login;
	bool		full;
	long		port;
	long		trackers;
	long		connect_s;
	long		reports;
	long		interval_ms;
	long		seconds;
	long		packets;
	long		timeout_ms;
	long		first;
	long		begin;
	const char *counts;
} options = {.trackers = 1, .reports = 1, .seconds = 10, .timeout_ms = 30000};

static struct sockaddr_in server = {.sin_family = AF_INET};
static int	poller;
static tracker *trackers;
static wire packet;				/* as all trackers send it, but for what differs */
static size_t reports_at;		/* offset of the first report */
static size_t report_size;
static bool holding;			/* an answer is not followed by the next packet */
static long waiting;			/* for an answer */

static uint64_t answered;
static uint64_t repeats;
static uint64_t reconnects;
static uint64_t latencies[LATENCY_CLASSES];
static uint64_t latency_count;
static int64_t latency_max_us;

static void
die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- what is sent ---- */

/* The 14 digits of a number and the check digit that makes the sum a multiple of ten. */
static void
make_imei(long number, char imei[16])
{
	int			sum = 0;

	snprintf(imei, 16, "35298%09ld", number % 1000000000);
	for (int i = 0; i < 14; i++)
	{
		int			digit = (imei[i] - '0') * (i % 2 ? 2 : 1);

		sum += digit / 10 + digit % 10;
	}
	imei[14] = (char) ('0' + (10 - sum % 10) % 10);
	imei[15] = '\0';
}

/* Modules of a report: power and GNSS; in the full mix driving style, CAN, and for some BLE. */
static void
put_report(wire *w)
{
	uint64_t	mask = 1 << 0 | 1 << 1;

	if (options.full)
		mask |= 1 << 2 | 1 << 4 | 1 << 5 | 1 << 12 | (uint64_t) 1 << 44;
	wire_put(w, 1, 0);			/* seq */
	wire_put(w, 6, mask);
	wire_put(w, 4, 0);			/* time */
	wire_put(w, 4, 1);			/* reasons: time_interval */
	wire_put(w, 2, 1);			/* status: ignition */
	wire_put(w, 1, 138);		/* 27.6 V */
	wire_put(w, 1, 100);
	wire_put(w, 4, 0);			/* time of the fix */
	wire_put(w, 4, 52138826);	/* degrees / 1,000,000 */
	wire_put(w, 4, (uint32_t) -326804);
	wire_put(w, 4, 0x1E20B403);	/* speed, top speed, heading, altitude */
	wire_put(w, 2, 123);		/* km / 10 */
	if (!options.full)
		return;
	wire_put(w, 4, 0x00010000); /* digital lines: states, changes */
	wire_put(w, 8, 0x0502030104020010); /* driving style: six accelerations, idle time */
	wire_put(w, 1, 0x89);		/* satellites, signal */
	wire_put(w, 8, 0x503C28201E0A3214); /* FMS: speeds, engine speeds, pedal, load */
	wire_put(w, 3, 0x007B78);	/* distance, engine temperature */
	wire_put(w, 5, 50);			/* status, events, fuel level */
	wire_put(w, 4, 123456);		/* fuel used */
	wire_put(w, 1, 1);			/* beacons, */
	wire_put(w, 2, 12);			/* their bytes, */
	wire_put(w, 4, 0);
	wire_put(w, 6, 0xC40212000001); /* MAC, signal, companion, age, type, length */
	wire_put(w, 6, 0xC80100030000);
}

static void
make_packet(void)
{
	wire_put(&packet, 1, 'X');
	wire_put(&packet, 2, 0);
	wire_put(&packet, 1, (uint64_t) options.reports);
	if (!options.login)
		wire_put(&packet, 7, 0);
	reports_at = packet.length;
	for (long i = 0; i < options.reports; i++)
		put_report(&packet);
	report_size = (packet.length - reports_at) / (size_t) options.reports;
	wire_put(&packet, 2, 0);
	packet.bytes[1] = (uint8_t) (packet.length >> 8);
	packet.bytes[2] = (uint8_t) packet.length;
}

static void
patch(size_t at, size_t width, uint64_t value)
{
	while (width-- > 0)
	{
		packet.bytes[at + width] = (uint8_t) value;
		value >>= 8;
	}
}

/* Makes the shared packet the next one of this tracker: a report a second. */
static void
address_packet(const tracker *t)
{
	long		number = t - trackers;
	char		imei[16];
	uint16_t	crc;

	make_imei(options.first + number, imei);
	if (!options.login)
	{
		patch(8, 3, strtoul(imei + 8, NULL, 10));
		imei[8] = '\0';
		patch(4, 4, strtoul(imei, NULL, 10));
	}
	for (long i = 0; i < options.reports; i++)
	{
		size_t		at = reports_at + (size_t) i * report_size;
		uint64_t	n = t->answered * (uint64_t) options.reports + (uint64_t) i;
		uint64_t	time = (uint64_t) options.begin - AT402_EPOCH_UNIX + n;

		patch(at + SEQ_AT, 1, n);
		patch(at + TIME_AT, 4, time);
		patch(at + FIX_TIME_AT, 4, time);
		patch(at + LATITUDE_AT, 4, 52138826 + (uint64_t) number + n % 10000);
		if (options.full)
			patch(at + REASONS_AT, 4, n % 8 == 0 ? 1 << 15 | 1 : 1);
	}
	crc = at402_crc16(packet.bytes, packet.length - 2);
	patch(packet.length - 2, 2, crc);
}

/* ---- a tracker ---- */

static void
note_latency(int64_t us)
{
	int			class = us > 1 ? (int) (log((double) us) / log(LATENCY_GROWTH)) : 0;

	latencies[class < LATENCY_CLASSES ? class : LATENCY_CLASSES - 1]++;
	latency_count++;
	if (us > latency_max_us)
		latency_max_us = us;
}

static void
transmit(tracker *t, int64_t now)
{
	char		login[128];
	char		imei[16];
	const void *bytes = packet.bytes;
	size_t		length = packet.length;

	if (t->logging_in)
	{
		make_imei(options.first + (t - trackers), imei);
		length = (size_t) snprintf(login, sizeof(login), "$ASTRA;LOAD;%s;;1.0;X;1\r\n", imei);
		bytes = login;
	}
	else
		address_packet(t);
	/* what the kernel does not take now goes with the next repeat */
	(void) send(t->socket, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	t->sent_us = now;
	if (t->first_sent_us == 0)
	{
		t->first_sent_us = now;
		waiting++;
	}
	else
		repeats++;
}

static void
open_tracker(tracker *t, int64_t now)
{
	const int	on = 1;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = t};

	t->socket = socket(AF_INET, (options.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (t->socket < 0 || connect(t->socket, (struct sockaddr *) &server, sizeof(server)) < 0)
		die("connect");
	if (!options.udp)
		setsockopt(t->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (epoll_ctl(poller, EPOLL_CTL_ADD, t->socket, &event) < 0)
		die("epoll_ctl");
	t->logging_in = options.login && !options.udp;
	t->due_us = now;
	if (t->first_sent_us != 0)
		transmit(t, now);
}

/* An answer has come. */
static void
go_on(tracker *t, int64_t now)
{
	if (t->logging_in)
		t->logging_in = false;
	else
	{
		note_latency(now - t->first_sent_us);
		t->answered++;
		answered++;
	}
	t->first_sent_us = 0;
	waiting--;
	if (options.interval_ms > 0)
		t->due_us += options.interval_ms * 1000;
	else if (!holding && (options.packets == 0 || t->answered < (uint64_t) options.packets))
		transmit(t, now);
}

static void
serve(tracker *t)
{
	uint8_t		answer[64];
	ssize_t		received = recv(t->socket, answer, sizeof(answer), MSG_DONTWAIT);
	int64_t		now = now_us();

	if (received > 0 && t->first_sent_us != 0)
		go_on(t, now);
	else if (received == 0 || (received < 0 && errno != EAGAIN && !options.udp))
	{
		close(t->socket);
		t->socket = -1;
		t->due_us = now + RECONNECT_MS * 1000;
		reconnects++;
	}
}

/* Sends what is due, and again what was not answered. */
static void
look_at_all(int64_t now)
{
	for (tracker *t = trackers; t < trackers + options.trackers; t++)
	{
		if (t->socket < 0 && now >= t->due_us)
			open_tracker(t, now);
		if (t->socket < 0)
			continue;
		if (t->first_sent_us != 0 && now - t->sent_us > options.timeout_ms * 1000)
			transmit(t, now);
		else if (t->first_sent_us == 0 && options.interval_ms > 0 && !holding &&
				 now >= t->due_us)
			transmit(t, now);
	}
}

/* ---- all of them ---- */

/* The latency that this part of the answers did not exceed. */
static double
latency_ms(double part)
{
	uint64_t	below = 0;
	int			class = 0;

	while (class < LATENCY_CLASSES - 1 &&
		   (double) (below += latencies[class]) < part * (double) latency_count)
		class++;
	return fmin(pow(LATENCY_GROWTH, class + 1), (double) latency_max_us) / 1e3;
}

static void
print_results(double connecting_s, double running_s, double packets)
{
	printf("trackers=%ld connects_per_s=%.0f packets=%.0f reports=%.0f seconds=%.2f "
		   "packets_per_s=%.0f reports_per_s=%.0f p50_ms=%.2f p95_ms=%.2f p99_ms=%.2f "
		   "max_ms=%.2f repeats=%llu reconnects=%llu unanswered=%ld packet_bytes=%zu\n",
		   options.trackers, (double) options.trackers / connecting_s, packets,
		   packets * (double) options.reports, running_s, packets / running_s,
		   packets * (double) options.reports / running_s, latency_ms(0.5), latency_ms(0.95),
		   latency_ms(0.99), (double) latency_max_us / 1e3, (unsigned long long) repeats,
		   (unsigned long long) reconnects, waiting, packet.length);
}

static void
write_counts(void)
{
	FILE	   *file = fopen(options.counts, "w");
	char		imei[16];

	if (file == NULL)
		die(options.counts);
	for (long i = 0; i < options.trackers; i++)
	{
		make_imei(options.first + i, imei);
		fprintf(file, "%s\t%llu\n", imei,
				(unsigned long long) trackers[i].answered * (unsigned long long) options.reports);
	}
	fclose(file);
}

static void
serve_ready(int timeout_ms)
{
	struct epoll_event events[EVENTS];
	int			count = epoll_wait(poller, events, EVENTS, timeout_ms);

	for (int i = 0; i < count; i++)
		serve(events[i].data.ptr);
}

static void
wait_for_answers(int64_t until)
{
	int64_t		looked = 0;

	while (waiting > 0 && now_us() < until)
	{
		serve_ready(SCAN_MS);
		if (now_us() - looked > SCAN_MS * 1000)
			look_at_all(looked = now_us());
	}
}

static bool
all_done(void)
{
	if (options.packets == 0)
		return false;
	for (long i = 0; i < options.trackers; i++)
		if (trackers[i].answered < (uint64_t) options.packets)
			return false;
	return true;
}

/*
 * All connect and send their first line or packet.  Seconds until all of them
 * are answered.
 */
static double
connect_all(void)
{
	int64_t		start = now_us();

	holding = true;
	for (long i = 0; i < options.trackers; i++)
	{
		int64_t		now = now_us();

		while (now < start + options.connect_s * 1000000 * i / options.trackers)
		{
			serve_ready(1);
			now = now_us();
		}
		open_tracker(&trackers[i], now);
		transmit(&trackers[i], now);
		if (i % 32 == 0)
			serve_ready(0);
	}
	wait_for_answers(start + (options.connect_s + CONNECT_S) * 1000000);
	if (waiting > 0)
	{
		fprintf(stderr, "load: %ld trackers are not served\n", waiting);
		exit(2);
	}
	return (double) (now_us() - start) / 1e6;
}

/* Seconds that it took; sets how many packets were answered in them. */
static double
report_all(double *packets)
{
	uint64_t	before = answered;
	int64_t		start = now_us();
	int64_t		end = start + options.seconds * 1000000;
	int64_t		looked = start;
	int64_t		now = start;

	memset(latencies, 0, sizeof(latencies));
	latency_count = 0;
	latency_max_us = 0;
	repeats = 0;
	holding = false;
	for (long i = 0; i < options.trackers; i++)
	{
		trackers[i].due_us = start + options.interval_ms * 1000 * i / options.trackers;
		if (options.interval_ms == 0)
			transmit(&trackers[i], now_us());
		if (i % 32 == 0)
			serve_ready(0);
	}
	while (now < end && !all_done())
	{
		serve_ready(options.interval_ms > 0 ? 1 : SCAN_MS);
		now = now_us();
		if (now - looked > (options.interval_ms > 0 ? 1000 : SCAN_MS * 1000))
			look_at_all(looked = now);
	}
	*packets = (double) (answered - before);
	holding = true;
	return (double) (now - start) / 1e6;
}

static void
play_trackers(void)
{
	double		connecting_s;
	double		running_s;
	double		packets;

	trackers = calloc((size_t) options.trackers, sizeof(*trackers));
	if (trackers == NULL)
		die("calloc");
	for (long i = 0; i < options.trackers; i++)
	{
		trackers[i].socket = -1;
		trackers[i].due_us = INT64_MAX;
	}
	make_packet();
	connecting_s = connect_all();
	running_s = report_all(&packets);
	wait_for_answers(now_us() + 2 * options.timeout_ms * 1000);
	print_results(connecting_s, running_s, packets);
	if (options.counts != NULL)
		write_counts();
}

/* ---- the other side ---- */

/* The answers to what has come; a connection's packets come whole or in order. */
static void
echo_one(int socket)
{
	static uint32_t lacking[1 << 20];	/* bytes of the packet that has begun, by descriptor */
	static uint8_t bytes[1 << 16];
	static const uint8_t answers[1 << 12] = {[0 ... (1 << 12) - 1] = AT402_ACK};
	ssize_t		received = recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT);
	size_t		count = 0;

	if (received <= 0)
	{
		lacking[socket] = 0;
		if (received == 0)
			close(socket);
		return;
	}
	for (size_t at = 0, rest = (size_t) received; rest > 0;)
	{
		size_t		part;

		if (lacking[socket] == 0)
			lacking[socket] = (uint32_t) (bytes[at + 1] << 8 | bytes[at + 2]);
		part = lacking[socket] < rest ? lacking[socket] : rest;
		lacking[socket] -= (uint32_t) part;
		count += lacking[socket] == 0;
		at += part;
		rest -= part;
	}
	(void) send(socket, answers, count, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
play_echo(void)
{
	socklen_t	size = sizeof(server);
	int			listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = listening};
	struct epoll_event events[EVENTS];

	if (listening < 0 || bind(listening, (struct sockaddr *) &server, size) < 0 ||
		listen(listening, SOMAXCONN) < 0 ||
		getsockname(listening, (struct sockaddr *) &server, &size) < 0 ||
		epoll_ctl(poller, EPOLL_CTL_ADD, listening, &event) < 0)
		die("listen");
	printf("%d\n", ntohs(server.sin_port));
	fflush(stdout);
	for (;;)
	{
		int			count = epoll_wait(poller, events, EVENTS, -1);

		for (int i = 0; i < count; i++)
		{
			if (events[i].data.fd != listening)
			{
				echo_one(events[i].data.fd);
				continue;
			}
			event.data.fd = accept(listening, NULL, NULL);
			if (event.data.fd >= 0)
				epoll_ctl(poller, EPOLL_CTL_ADD, event.data.fd, &event);
		}
	}
}

/* ---- the command line ---- */

static void
read_options(int argc, char **argv)
{
	const struct
	{
		const char *name;
		long	   *number;
		bool	   *flag;
	}			names[] = {
		{"--echo", NULL, &options.echo}, {"--udp", NULL, &options.udp},
		{"--login", NULL, &options.login}, {"--port", &options.port, NULL},
		{"--trackers", &options.trackers, NULL}, {"--connect_s", &options.connect_s, NULL},
		{"--reports", &options.reports, NULL}, {"--interval_ms", &options.interval_ms, NULL},
		{"--seconds", &options.seconds, NULL}, {"--packets", &options.packets, NULL},
		{"--timeout_ms", &options.timeout_ms, NULL}, {"--first", &options.first, NULL},
		{"--begin", &options.begin, NULL},
	};

	for (int i = 1; i + 1 < argc; i += 2)
	{
		size_t		n = 0;

		if (strcmp(argv[i], "--mix") == 0)
			options.full = strcmp(argv[i + 1], "full") == 0;
		else if (strcmp(argv[i], "--counts") == 0)
			options.counts = argv[i + 1];
		else
		{
			while (n < sizeof(names) / sizeof(names[0]) && strcmp(argv[i], names[n].name) != 0)
				n++;
			if (n == sizeof(names) / sizeof(names[0]))
			{
				fprintf(stderr, "load: unknown option %s\n", argv[i]);
				exit(2);
			}
			if (names[n].number != NULL)
				*names[n].number = atol(argv[i + 1]);
			else
				*names[n].flag = atol(argv[i + 1]) != 0;
		}
	}
}

int
main(int argc, char **argv)
{
	struct rlimit limit;

	read_options(argc, argv);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	server.sin_port = htons((uint16_t) options.port);
	server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (options.begin == 0)
		options.begin = (long) (time(NULL) / 86400 * 86400);
	if (options.echo)
		play_echo();
	else
		play_trackers();
	return 0;
}
