/*
 * test_net_limits.c - the socket layer: room, limits and time
 */
#include "net_rig.h"

#include <sys/resource.h>

/* ---- room ---- */

static void
test_back_pressure(void)
{
	const at402_net_limits limits = {0, 1 << 20, 10, 10};
	client	   *c[4];
	uint64_t	bytes;

	start();
	for (int i = 0; i < 4; i++)
		c[i] = connect_tcp();
	wait_for(counters.accepted == 4);
	room = 3;
	put(c[0], LOGIN, strlen(LOGIN));
	put_packets(c[0], 5, 0);
	wait_for(frames == 3 && counters.buffered_bytes == 3 * 40);
	CHECK(!came_by_udp(0) && records[2].input.from.logged_in);

	/* full: nobody is read, nothing is offered, no timer runs, nothing spins */
	at402_net_set_limits(net, &limits);
	bytes = counters.bytes;
	put_packet(c[1], 11);
	put_packet(c[2], 12);
	settle();
	CHECK(counters.bytes == bytes && frames == 3);
	CHECK(at402_net_timeout(net) == -1);
	answer(0, 3);				/* answers do pass */
	wait_for(acks(c[0]) == 3);

	/* room for two: again full after them */
	at402_net_set_limits(net, &(at402_net_limits) {0, 1 << 20, 0, 0});
	room = 2;
	at402_net_resume(net);
	CHECK(at402_net_timeout(net) == 0);
	settle();
	CHECK(frames == 5 && counters.bytes == bytes);
	CHECK(records[3].first[3] == 2 && records[4].first[3] == 3);
	CHECK(strcmp(records[4].input.from.imei, IMEI) == 0);

	/* who has waited longer comes first: the two others, then the rest of the first */
	room = MAX_RECORDS;
	at402_net_resume(net);
	wait_for(frames == 8);
	CHECK(records[5].first[3] == 11 && records[6].first[3] == 12 && records[7].first[3] == 4);
	CHECK(counters.bytes == bytes + 80 && counters.buffered_bytes == 0);
	answer(3, 8);
	wait_for(acks(c[0]) == 5 + 1 && acks(c[1]) == 1 && acks(c[2]) == 1);
	CHECK(counters.timeouts == 0 && counters.connections == 4);

	/* a login that was turned down does not name the sender before it is taken */
	room = 0;
	put(c[1], LOGIN, strlen(LOGIN));
	wait_for(counters.buffered_bytes == strlen(LOGIN));
	CHECK(slots[1].from.imei[0] == '\0' && slots[1].traffic.frames == 1);
	room = 1;
	at402_net_resume(net);
	wait_for(frames == 9);
	CHECK(strcmp(slots[1].from.imei, IMEI) == 0 && slots[1].traffic.frames == 2);

	/* frames before noise are kept, and their answers, though there is no room */
	room = 0;
	put(c[2], "$A\r\n\xFF", 5);
	wait_for(counters.buffered_bytes == 5);
	CHECK(counters.unknown_protocol == 0);
	room = 1;
	at402_net_resume(net);
	wait_for(counters.unknown_protocol == 1);
	CHECK(frames == 10 && counters.connections == 4);
	answer(9, 10);
	wait_for(ended(c[2]));
	CHECK(acks(c[2]) == 2);

	/* one that goes while it waits is not waited for */
	room = 0;
	put_packet(c[0], 1);
	put_packet(c[1], 1);
	wait_for(counters.buffered_bytes == 40);
	reset(c[0]);
	reset(c[1]);
	wait_for(counters.connections == 1);
	CHECK(gone == 3 && counters.buffered_bytes == 0);
	at402_net_resume(net);
	settle();
	CHECK(frames == 10);
	stop();
}

/* One that sends without end gets its share, and no more, in each turn. */
static void
test_fairness(void)
{
	static uint8_t bytes[40 * 50000];
	client	   *flood;
	client	   *modest;
	uint64_t	before;

	start();
	flood = connect_tcp();
	modest = connect_tcp();
	wait_for(counters.accepted == 2);
	for (int i = 0; i < 50000; i++)
		packet(bytes + i * 40, 40, 1);
	before = 0;
	while (send(flood->fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		before++;
	CHECK(before > 0);
	put_packet(modest, 2);
	at402_net_turn(net);
	CHECK(counters.bytes > 40 && counters.bytes <= 65536 + 40);
	CHECK(frames > 1 && (records[0].first[3] == 2 || records[frames - 1].first[3] == 2));
	stop();
}

/* While room is short, neither TCP nor UDP can keep the other out. */
static void
test_short_room(void)
{
	client	   *tcp[3];
	client	   *udp;

	for (int flood_is_tcp = 0; flood_is_tcp < 2; flood_is_tcp++)
	{
		bool		served = false;

		start();
		udp = connect_udp();
		for (int i = 0; i < 3; i++)
			tcp[i] = connect_tcp();
		wait_for(counters.accepted == 3);
		room = 0;
		for (int i = 0; i < 3; i++)
			if (flood_is_tcp)
				put_packets(tcp[i], 200, 0);
			else
				for (int j = 0; j < 30; j++)
					put_packet(udp, 1);
		put_packet(flood_is_tcp ? udp : tcp[0], 1);
		settle();
		for (int i = 0; i < 4; i++)
		{
			room = 10;
			at402_net_resume(net);
			settle();
		}
		CHECK(frames == 40);
		for (int i = 0; i < frames; i++)
			served |= came_by_udp(i) == flood_is_tcp;
		CHECK(served);
		stop();
	}
}

/* ---- limits ---- */

static void
test_max_connections(void)
{
	client	   *c[3];

	begin(2);
	listen_on("127.0.0.1");
	for (int i = 0; i < 3; i++)
		c[i] = connect_tcp();
	wait_for(ended(c[2]));
	CHECK(counters.refused == 1 && counters.accepted == 2 && counters.connections == 2);
	hang_up(c[0]);
	wait_for(counters.connections == 1);
	c[0] = connect_tcp();
	put_packet(c[0], 1);
	wait_for(frames == 1);
	CHECK(counters.refused == 1 && counters.accepted == 3);
	/* leaving and coming in one turn */
	hang_up(c[1]);
	c[1] = connect_tcp();
	wait_for(counters.accepted == 4);
	CHECK(counters.refused == 1 && gone == 0);
	stop();
}

static void
test_max_per_address(void)
{
	at402_net_limits limits = {2, 1 << 20, 0, 0};
	client	   *c[2];
	client	   *one;

	start();
	at402_net_set_limits(net, &limits);
	c[0] = connect_tcp();
	c[1] = connect_tcp();
	one = connect_tcp();
	wait_for(ended(one));
	CHECK(counters.refused == 1 && counters.connections == 2);
	dial(SOCK_STREAM, "127.0.0.5", "127.0.0.1", at402_net_port(net));
	wait_for(counters.connections == 3);
	hang_up(c[0]);
	wait_for(counters.connections == 2);
	connect_tcp();
	wait_for(counters.connections == 3);
	limits.max_per_address = 3;
	at402_net_set_limits(net, &limits);
	connect_tcp();
	wait_for(counters.connections == 4);
	CHECK(counters.refused == 1);
	stop();
}

static void
test_max_buffered(void)
{
	at402_net_limits limits = {0, 100, 0, 0};
	uint8_t		bytes[500];
	client	   *a;
	client	   *b;

	start();
	at402_net_set_limits(net, &limits);
	packet(bytes, 400, 1);
	a = connect_tcp();
	put(a, bytes, 100);
	wait_for(counters.buffered_bytes == 100);
	put(a, bytes + 100, 1);
	wait_for(ended(a));
	CHECK(counters.refused == 1 && counters.buffered_bytes == 0);

	/* together */
	a = connect_tcp();
	b = connect_tcp();
	put(a, bytes, 60);
	wait_for(counters.buffered_bytes == 60);
	put(b, bytes, 40);
	wait_for(counters.buffered_bytes == 100);
	put(b, bytes + 40, 1);
	wait_for(ended(b));
	CHECK(counters.refused == 2 && counters.buffered_bytes == 60);
	put(a, bytes + 60, 340);	/* completes: is never held */
	wait_for(frames == 1);
	CHECK(counters.buffered_bytes == 0 && gone == 0);

	/* the frame before keeps its answer */
	packet(bytes, 40, 1);
	packet(bytes + 40, 400, 1);
	put(a, bytes, 40 + 101);
	wait_for(counters.refused == 3);
	CHECK(frames == 2 && counters.connections == 1);
	answer(0, 2);
	wait_for(ended(a));
	CHECK(acks(a) == 2 && counters.connections == 0 && gone == 1);
	stop();
}

static void
test_accepts_per_turn(void)
{
	start();
	for (int i = 0; i < 40; i++)
		connect_tcp();
	at402_net_turn(net);
	CHECK(counters.accepted == 32);
	at402_net_turn(net);
	CHECK(counters.accepted == 40);
	stop();
}

/* Without a descriptor accepting rests, and goes on by itself. */
static void
test_no_descriptor(void)
{
	struct rlimit limit;
	struct rlimit none;
	client	   *c;
	client	   *other;
	int64_t		began;
	int			next;

	start();
	other = connect_tcp();
	wait_for(counters.accepted == 1);
	c = connect_tcp();
	put_packet(c, 1);
	getrlimit(RLIMIT_NOFILE, &limit);
	next = dup(0);
	close(next);
	none = (struct rlimit) {(rlim_t) next, limit.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	began = now_ms();
	settle();
	CHECK(counters.accepted == 1 && counters.refused == 0);
	CHECK(at402_net_timeout(net) > 0 && at402_net_timeout(net) <= 1000);
	put_packet(other, 2);		/* the others are served meanwhile */
	wait_for(frames == 1);
	setrlimit(RLIMIT_NOFILE, &limit);
	wait_for(frames == 2);
	CHECK(now_ms() - began >= 1000);
	CHECK(counters.accepted == 2 && counters.refused == 0);
	stop();
}

/* ---- time ---- */

/* Turns on and on for so long. */
static void
pass(int64_t ms)
{
	int64_t		end = now_ms() + ms;

	while (now_ms() < end)
		at402_net_turn(net);
}

/* A byte a millisecond of a frame that would take 400: closed before, as timeout n. */
static void
trickle(client *c, unsigned n)
{
	uint8_t		bytes[400];
	int64_t		began = now_ms();
	int			sent = 0;

	packet(bytes, sizeof(bytes), 1);
	while (sent < 399 && counters.timeouts < n)
	{
		put(c, bytes + sent++, 1);
		pass(1);
	}
	CHECK(now_ms() - began >= 140 && counters.timeouts == n);
	wait_for(ended(c));
}

static void
test_timeouts(void)
{
	const at402_net_limits login = {0, 1 << 20, 0, 150};
	const at402_net_limits idle = {0, 1 << 20, 250, 0};
	const at402_net_limits both = {0, 1 << 20, 30, 30};
	uint8_t		bytes[400];
	client	   *c;
	int64_t		began;

	start();
	packet(bytes, sizeof(bytes), 1);

	/* nothing, or never a whole frame, in time */
	at402_net_set_limits(net, &login);
	began = now_ms();
	c = connect_tcp();
	wait_for(ended(c));
	CHECK(now_ms() - began >= 150 && counters.timeouts == 1);
	c = connect_tcp();
	trickle(c, 2);
	CHECK(gone == 0);

	/* after a good frame: only a frame that has begun must end */
	c = connect_tcp();
	put_packet(c, 1);
	wait_for(frames == 1);
	answer(0, 1);
	settle();
	CHECK(at402_net_timeout(net) == -1 || at402_net_timeout(net) > 0);
	began = now_ms();
	put(c, bytes, 100);
	wait_for(counters.buffered_bytes == 100);
	wait_for(ended(c));
	CHECK(now_ms() - began >= 150 && counters.timeouts == 3);
	CHECK(acks(c) == 1 && gone == 1 && counters.buffered_bytes == 0);

	/* which more bytes do not put off */
	c = connect_tcp();
	put_packet(c, 1);
	wait_for(frames == 2);
	answer(1, 2);
	trickle(c, 4);

	/* idle: since the last good frame, answered or not */
	at402_net_set_limits(net, &idle);
	c = connect_tcp();
	pass(150);
	began = now_ms();
	put_packet(c, 1);
	wait_for(frames == 3);
	at402_net_forget(net, records[2].input.from.ticket);
	wait_for(ended(c));
	CHECK(now_ms() - began >= 250 && counters.timeouts == 5 && gone == 3);

	/* not while an answer is due, however long that takes, and not right after */
	c = connect_tcp();
	put_packet(c, 1);
	wait_for(frames == 4);
	pass(400);
	CHECK(at402_net_timeout(net) == -1 && counters.connections == 1);
	began = now_ms();
	answer(3, 4);
	wait_for(ended(c));
	CHECK(now_ms() - began >= 250 && acks(c) == 1 && counters.timeouts == 6);

	/* new limits hold for open connections */
	at402_net_set_limits(net, &(at402_net_limits) {0, 1 << 20, 0, 0});
	c = connect_tcp();
	wait_for(counters.connections == 1);
	wait_for(at402_net_timeout(net) == -1);
	at402_net_set_limits(net, &both);
	wait_for(ended(c));
	CHECK(counters.timeouts == 7);
	stop();
}

/* What came while the driver was away counts, however late it is read. */
static void
test_driver_away(void)
{
	const at402_net_limits limits = {0, 1 << 20, 0, 100};
	struct pollfd quiet = {.fd = -1};
	client	   *c[200];

	start();
	for (int i = 0; i < 200; i++)
		c[i] = connect_tcp();
	wait_for(counters.accepted == 200);
	at402_net_set_limits(net, &limits);
	for (int i = 0; i < 200; i++)
		put_packet(c[i], 1);
	poll(&quiet, 1, 150);		/* this is the driver being away */
	at402_net_turn(net);
	CHECK(frames == 200 && counters.timeouts == 0);
	stop();
}

int
main(void)
{
	test_back_pressure();
	test_fairness();
	test_short_room();
	test_max_connections();
	test_max_per_address();
	test_max_buffered();
	test_accepts_per_turn();
	test_no_descriptor();
	test_timeouts();
	test_driver_away();
	return unit_done("test_net_limits");
}
