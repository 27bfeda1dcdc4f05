/*
 * at402sim.c - a simulated fleet of AT402 trackers: the command line
 *
 * Serves three masters: `make run` shows what the server does with it, tests
 * load the server with it, and the torture test takes its journal as the list
 * of what the server must not have lost.  With --send it is a small
 * netcat for frames in hex.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

#define SEND_MAX 4000000		/* --send: bytes of all together */
#define SENDS_MAX 1000

static const char help[] =
	"at402sim: a simulated fleet of AT402 trackers\n"
	"\n"
	"Usage: at402sim [OPTION]...\n"
	"       at402sim [--host H] [--port P] --send HEX [--send HEX]...\n"
	"\n"
	"Server:\n"
	"  --host NAME           name or address (127.0.0.1)\n"
	"  --port N              TCP and UDP port (8888)\n"
	"\n"
	"Fleet:\n"
	"  --trackers N          1 to 1000000 (20)\n"
	"  --reports N           reports of each tracker; 0: without end (60)\n"
	"  --rate R              reports per second and tracker; 0: as fast as answered (0)\n"
	"  --step S              seconds between reports by the trackers' clocks (10)\n"
	"  --start TIME          of the first report, Unix seconds (so that the last report\n"
	"                        is of about now; with --reports 0: now)\n"
	"  --udp N               trackers that use UDP, $MODE,5 (a quarter)\n"
	"  --mode4 N             trackers that use TCP without login, $MODE,4 (a quarter)\n"
	"  --y N                 trackers that send protocol Y, spread over the modes (a quarter)\n"
	"  --first IMEI          15 digits; tracker n has the first 14 plus n, and the check\n"
	"                        digit that belongs to them (352999000000000)\n"
	"  --center LAT,LON      degrees; homes are within 5 km of it (52.2053,0.1218)\n"
	"  --seed N              another seed, other journeys (1)\n"
	"  --parked              no journeys: they stand where they are\n"
	"\n"
	"Story (instead of a fleet at random):\n"
	"  --story               a firm of 12 vehicles in a town, from --start (midnight UTC of\n"
	"                        yesterday), which must be a midnight\n"
	"  --since TIME          sends only reports of this time and later, Unix seconds\n"
	"  --until TIME          and only those up to this one (now)\n"
	"  --sql                 prints its devices, drivers, places and rules as SQL, and ends\n"
	"\n"
	"Conversation:\n"
	"  --answer-timeout S    seconds until a packet is sent again over a new connection (10)\n"
	"  --bundle N            reports in one packet, at most, 1 to 8 (8)\n"
	"  --repeat P            probability, 0 to 1, to send an answered packet once more (0)\n"
	"\n"
	"Commands (all are carried out or refused as a device does):\n"
	"  --awkward P           probability, 0 to 1, that one is answered late, in pieces or\n"
	"                        never (0)\n"
	"  --pin TEXT            what $PASS has to say before each\n"
	"  --ask-drivers         asks at the start of a journey whether the driver may drive\n"
	"  --command-journal FILE  append a line for each message that came: imei message\n"
	"\n"
	"Run:\n"
	"  --duration S          seconds until no new reports are made; 0: without end (0).\n"
	"                        SIGINT and SIGTERM do the same. Answers are awaited for\n"
	"                        --answer-timeout at most; a second signal ends at once\n"
	"  --journal FILE        append a line for each report when first sent (S) and when\n"
	"                        answered (A): S|A imei unix_time seq content_hash\n"
	"  --quiet               no progress on standard error\n"
	"\n"
	"By hand:\n"
	"  --send HEX            send these bytes over one TCP connection and print the\n"
	"                        answer in hex; may be given several times\n"
	"  --udp-send HEX        the same over UDP, each in a datagram\n"
	"\n"
	"  --help                this text\n"
	"\n"
	"Exit status: 0 when every report was answered (without end: every report made;\n"
	"by hand: one 0x06 for each frame), 1 when not, 2 when it could not run.\n";

static _Noreturn void
refuse(const char *option, const char *text, const char *expected)
{
	fprintf(stderr, "at402sim: --%s %.60s: expected %s\n", option, text, expected);
	exit(2);
}

static double
number(const char *option, const char *text, double low, double high)
{
	char	   *end;
	double		value = strtod(text, &end);
	char		expected[80];

	if (end == text || *end != '\0' || !(value >= low && value <= high))
	{
		snprintf(expected, sizeof(expected), "a number from %.15g to %.15g", low, high);
		refuse(option, text, expected);
	}
	return value;
}

/* ---- by hand ---- */

typedef struct hand
{
	unsigned	parts;			/* of bytes, as given */
	size_t		ends[SENDS_MAX];
	uint8_t		bytes[SEND_MAX];
} hand;

/* What a hex digit stands for; -1: it is none. */
static int
hex_value(char digit)
{
	static const char digits[] = "0123456789abcdef";
	const char *found = digit == '\0' ? NULL : strchr(digits, tolower((unsigned char) digit));

	return found == NULL ? -1 : (int) (found - digits);
}

static void
take_hex(hand *h, const char *option, const char *hex)
{
	size_t		length = h->parts > 0 ? h->ends[h->parts - 1] : 0;

	for (; *hex != '\0'; hex += 2)
	{
		if (hex_value(hex[0]) < 0 || hex_value(hex[1]) < 0)
			refuse(option, hex, "pairs of hex digits");
		if (length == SEND_MAX)
			refuse(option, hex, "less: all together are too many bytes");
		h->bytes[length++] = (uint8_t) (hex_value(hex[0]) << 4 | hex_value(hex[1]));
	}
	if (h->parts == SENDS_MAX)
		refuse(option, "", "1000 of them at most");
	h->ends[h->parts++] = length;
}

/* How many answers a server owes for these bytes.  What is no good frame
 * counts as one, too: it will not come. */
static size_t
answers_due(const uint8_t *bytes, size_t length)
{
	size_t		due = 0;
	at402_frame frame;

	do
	{
		at402_status status = at402_frame_scan(bytes, length, &frame);

		due += status != AT402_OK || frame.kind != AT402_FRAME_TEXT;
		bytes += frame.length;
		length -= frame.length;
	} while (frame.length > 0 && length > 0);
	return due;
}

/* The first address that takes a connection. */
static int
connect_to(const struct addrinfo *address, bool udp, double timeout_s)
{
	struct timeval limit = {
		.tv_sec = (time_t) timeout_s,
		.tv_usec = (suseconds_t) (fmod(timeout_s, 1) * 1e6)
	};
	int			on = 1;

	for (; address != NULL; address = address->ai_next)
	{
		int			fd = socket(address->ai_family, udp ? SOCK_DGRAM : SOCK_STREAM, 0);

		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
		{
			if (!udp)			/* each --send leaves as it was given */
				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			return fd;
		}
		close(fd);
	}
	return -1;
}

static int
send_by_hand(const hand *h, bool udp, const struct addrinfo *addresses, double timeout_s)
{
	size_t		due = answers_due(h->bytes, h->ends[h->parts - 1]);
	size_t		acks = 0;
	double		deadline = sim_now() + timeout_s;
	int			fd = connect_to(addresses, udp, timeout_s);
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint8_t		answer[256];
	ssize_t		n = 0;

	if (fd < 0)
	{
		fprintf(stderr, "at402sim: no connection: %s\n", strerror(errno));
		return 1;
	}
	for (unsigned part = 0; part < h->parts && n >= 0; part++)
	{
		size_t		at = part > 0 ? h->ends[part - 1] : 0;

		while (at < h->ends[part] &&
			   (n = send(fd, h->bytes + at, h->ends[part] - at, MSG_NOSIGNAL)) > 0)
			at += (size_t) n;
	}
	while (acks < due &&
		   poll(&wait, 1, (int) ceil(fmax(deadline - sim_now(), 0) * 1e3)) > 0 &&
		   (n = recv(fd, answer, sizeof(answer), 0)) > 0)
	{
		for (ssize_t i = 0; i < n; i++)
		{
			printf("%02x", answer[i]);
			acks += answer[i] == AT402_ACK;
		}
	}
	printf("\n");
	if (acks < due)
		fprintf(stderr, "at402sim: %zu of %zu answers, then %s\n", acks, due,
				n > 0 ? "silence" : "the connection was closed");
	close(fd);
	return acks < due;
}

/* ---- options ---- */

typedef enum option_kind
{
	WHOLE, REAL, TEXT, FLAG, IMEI, CENTER, HEX, HELP
} option_kind;

static sim_options options = {
	.trackers = 20, .reports = 60, .step_s = 10, .udp = UINT_MAX, .mode4 = UINT_MAX,
	.y = UINT_MAX, .first_imei = 352999000000000, .latitude_deg = 52.2053,
	.longitude_deg = 0.1218, .seed = 1, .answer_timeout_s = 10, .bundle = SIM_BUNDLE_MAX
};
static const char *host = "127.0.0.1";
static unsigned port = 8888;
static hand tcp_hand;
static hand udp_hand;
static bool sql;

static const struct
{
	const char *name;
	option_kind kind;
	void	   *target;
	double		low;
	double		high;
}			rows[] = {
	{"host", TEXT, &host, 0, 0},
	{"port", WHOLE, &port, 1, 65535},
	{"trackers", WHOLE, &options.trackers, 1, 1000000},
	{"reports", WHOLE, &options.reports, 0, 1000000000},
	{"rate", REAL, &options.rate, 0, 1000000},
	{"step", WHOLE, &options.step_s, 1, 86400},
	{"start", WHOLE, &options.start, AT402_EPOCH_UNIX, UINT_MAX},
	{"story", FLAG, &options.story, 0, 0},
	{"since", WHOLE, &options.since, 0, UINT_MAX},
	{"until", WHOLE, &options.until, AT402_EPOCH_UNIX, UINT_MAX},
	{"sql", FLAG, &sql, 0, 0},
	{"udp", WHOLE, &options.udp, 0, 1000000},
	{"mode4", WHOLE, &options.mode4, 0, 1000000},
	{"y", WHOLE, &options.y, 0, 1000000},
	{"first", IMEI, &options.first_imei, 0, 0},
	{"center", CENTER, &options, 0, 0},
	{"seed", WHOLE, &options.seed, 0, UINT_MAX},
	{"parked", FLAG, &options.parked, 0, 0},
	{"answer-timeout", REAL, &options.answer_timeout_s, 0.01, 86400},
	{"bundle", WHOLE, &options.bundle, 1, SIM_BUNDLE_MAX},
	{"repeat", REAL, &options.repeat, 0, 1},
	{"duration", REAL, &options.duration_s, 0, 1e9},
	{"journal", TEXT, &options.journal, 0, 0},
	{"awkward", REAL, &options.awkward, 0, 1},
	{"pin", TEXT, &options.pin, 0, 0},
	{"ask-drivers", FLAG, &options.ask_drivers, 0, 0},
	{"command-journal", TEXT, &options.command_journal, 0, 0},
	{"quiet", FLAG, &options.quiet, 0, 0},
	{"send", HEX, &tcp_hand, 0, 0},
	{"udp-send", HEX, &udp_hand, 0, 0},
	{"help", HELP, NULL, 0, 0}
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void
take_imei(uint64_t *imei, const char *option, const char *text)
{
	if (strlen(text) != AT402_IMEI_DIGITS || strspn(text, "0123456789") != AT402_IMEI_DIGITS)
		refuse(option, text, "15 digits");
	*imei = strtoull(text, NULL, 10);
}

static void
take_center(sim_options *o, const char *option, const char *text)
{
	char		latitude[64];
	const char *comma = strchr(text, ',');

	if (comma == NULL || comma - text >= (ptrdiff_t) sizeof(latitude))
		refuse(option, text, "latitude and longitude in degrees, as 52.2,0.12");
	snprintf(latitude, sizeof(latitude), "%.*s", (int) (comma - text), text);
	o->latitude_deg = number(option, latitude, -80, 80);	/* poles have no roads */
	o->longitude_deg = number(option, comma + 1, -179, 179);
}

static void
take_option(unsigned row, const char *text)
{
	const char *name = rows[row].name;
	void	   *target = rows[row].target;

	switch (rows[row].kind)
	{
		case WHOLE:
			*(unsigned *) target = (unsigned) number(name, text, rows[row].low, rows[row].high);
			if (*(unsigned *) target != strtod(text, NULL))
				refuse(name, text, "a whole number");
			break;
		case REAL:
			*(double *) target = number(name, text, rows[row].low, rows[row].high);
			break;
		case TEXT:
			*(const char **) target = text;
			break;
		case FLAG:
			*(bool *) target = true;
			break;
		case IMEI:
			take_imei(target, name, text);
			break;
		case CENTER:
			take_center(target, name, text);
			break;
		case HEX:
			take_hex(target, name, text);
			break;
		case HELP:
			fputs(help, stdout);
			exit(0);
	}
}

static void
complete_story(void)
{
	unsigned	now = (unsigned) time(NULL);

	options.trackers = SIM_STORY_VEHICLES;
	options.reports = 0;
	options.rate = 0;
	if (options.start == 0)
		options.start = now - now % 86400 - 86400;
	if (options.until == 0)
		options.until = now;
	if (options.start % 86400 == 0)
		return;
	fprintf(stderr, "at402sim: with --story, --start %u has to be a midnight\n", options.start);
	exit(2);
}

/* What was not given follows from the rest. */
static void
complete_options(void)
{
	unsigned	quarter;

	if (options.story)
		complete_story();
	quarter = options.trackers / 4;

	if (options.udp == UINT_MAX)
		options.udp = quarter;
	if (options.mode4 == UINT_MAX)
		options.mode4 = quarter < options.trackers - options.udp ? quarter :
			options.trackers - options.udp;
	if (options.y == UINT_MAX)
		options.y = quarter;
	if (options.udp + options.mode4 > options.trackers || options.y > options.trackers)
	{
		fprintf(stderr, "at402sim: %u trackers cannot be %u with --udp and %u with --mode4, "
				"or %u with --y\n", options.trackers, options.udp, options.mode4, options.y);
		exit(2);
	}
	if (options.start == 0)
	{
		double		driven_s = fmax((double) options.reports - 1, 0) * options.step_s;
		double		lasts_s = options.rate > 0 ? options.reports / options.rate : 0;

		options.start = (unsigned) ((double) time(NULL) + fmin(lasts_s - driven_s, 0));
	}
}

static struct addrinfo *
resolve(void)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};	/* UDP has the same */
	struct addrinfo *addresses;
	char		service[8];
	int			error;

	snprintf(service, sizeof(service), "%u", port);
	error = getaddrinfo(host, service, &hints, &addresses);
	if (error != 0)
	{
		fprintf(stderr, "at402sim: --host %s: %s\n", host, gai_strerror(error));
		exit(2);
	}
	return addresses;
}

int
main(int argc, char **argv)
{
	struct option long_options[ROWS + 1] = {0};
	struct addrinfo *addresses;
	int			row;
	int			status;

	for (unsigned i = 0; i < ROWS; i++)
		long_options[i] = (struct option) {
			.name = rows[i].name, .val = (int) i,
			.has_arg = rows[i].kind == FLAG || rows[i].kind == HELP ?
				no_argument : required_argument
		};
	while ((row = getopt_long(argc, argv, "", long_options, NULL)) != -1 && row != '?')
		take_option((unsigned) row, optarg);
	if (row == '?' || optind < argc)
	{
		fputs("at402sim: see --help for what can be given\n", stderr);
		return 2;
	}
	if (tcp_hand.parts > 0 && udp_hand.parts > 0)
	{
		fputs("at402sim: --send and --udp-send do not go together\n", stderr);
		return 2;
	}
	complete_options();
	if (sql)
	{
		sim_story_print_sql(&options);
		return 0;
	}

	addresses = resolve();
	options.addresses = addresses;
	if (tcp_hand.parts > 0)
		status = send_by_hand(&tcp_hand, false, addresses, options.answer_timeout_s);
	else if (udp_hand.parts > 0)
		status = send_by_hand(&udp_hand, true, addresses, options.answer_timeout_s);
	else
		status = sim_fleet_run(&options);
	freeaddrinfo(addresses);
	return status;
}
