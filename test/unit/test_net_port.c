/*
 * test_net_port.c - the socket layer: datagrams, and listening on a port
 */
#include "net_rig.h"

/* ---- datagrams ---- */

static void
test_udp(void)
{
	uint8_t		bytes[500];
	size_t		length;
	client	   *c;
	client	   *d;

	start();
	c = connect_udp();
	length = packet(bytes, 40, 1);
	length += packet(bytes + length, 50, 2);
	bytes[length - 5] ^= 1;		/* wrong checksum: stepped over */
	memcpy(bytes + length, LOGIN, strlen(LOGIN));
	length += strlen(LOGIN);
	length += packet(bytes + length, 60, 3);
	put(c, bytes, length);
	wait_for(frames == 3);
	CHECK(counters.datagrams == 1 && counters.bytes == length && counters.bad_crc == 1);
	CHECK(came_by_udp(0) && !records[0].input.from.logged_in);
	CHECK(records[0].input.from.imei[0] == '\0' && records[0].first[3] == 1);
	CHECK(strcmp(records[0].input.from.peer, "127.0.0.1") == 0 && records[0].input.from.peer_port > 0);
	CHECK(records[1].input.kind == AT402_FRAME_LOGIN);
	CHECK(!records[1].input.from.logged_in && strcmp(records[1].input.from.imei, IMEI) == 0);
	CHECK(strcmp(records[2].input.from.imei, IMEI) == 0 && records[2].input.from.protocol == 'X');
	answer(0, 2);
	at402_net_forget(net, records[2].input.from.ticket);
	wait_for(acks(c) == 2);
	at402_net_answer(net, records[2].input.from.ticket);
	CHECK(counters.answers == 2 && counters.answers_lost == 1);

	/* the sender was that of one datagram; others are told apart */
	d = connect_udp();
	put_packet(d, 4);
	put_packet(c, 5);
	wait_for(frames == 5);
	CHECK(records[3].input.from.imei[0] == '\0' && records[3].input.from.protocol == '\0');
	CHECK(records[3].input.from.peer_port != records[4].input.from.peer_port);
	CHECK(records[3].input.from.ticket != records[4].input.from.ticket);
	answer(3, 5);
	wait_for(acks(d) == 1 && acks(c) == 3);

	/* noise, or half a frame, spoils the rest of its datagram only */
	length = packet(bytes, 40, 6);
	memcpy(bytes + length, "\xFF\xFF", 2);
	packet(bytes + length + 2, 40, 7);
	put(c, bytes, length + 42);
	put(c, bytes, length - 1);
	put(c, "", 0);
	put_packet(c, 8);
	wait_for(frames == 7 && counters.datagrams == 7);
	CHECK(counters.unknown_protocol == 2 && records[5].first[3] == 6 && records[6].first[3] == 8);

	/* a driver that answers from within the callback */
	habit = ANSWER_AT_ONCE;
	length = packet(bytes, 40, 9);
	length += packet(bytes + length, 40, 10);
	put(c, bytes, length);
	wait_for(acks(c) == 5);
	habit = CLOSE_AT_ONCE;
	put_packet(c, 1);
	wait_for(frames == 10);
	CHECK(acks(c) == 5 && gone == 0 && counters.connections == 0);
	stop();
}

static void
test_udp_answer_address(void)
{
	struct sockaddr_in6 from6 = {0};
	struct sockaddr_in from = {0};
	struct sockaddr_in target;
	struct sockaddr_in6 target6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	socklen_t	size = sizeof(from);
	uint8_t		bytes[40];
	uint8_t		got[8];
	char		error[200];
	bool		ipv6;
	int			fd;

	begin(MAX_CONNECTIONS);
	/* IPv6 may be missing on the machine, which is then told */
	fd = socket(AF_INET6, SOCK_DGRAM, 0);
	ipv6 = bind(fd, (struct sockaddr *) &target6, sizeof(target6)) == 0;
	close(fd);
	CHECK(at402_net_listen(net, " * ", 0, true, true, AT402_PORT_ALONE, error, sizeof(error)));
	CHECK((error[0] == '\0') == ipv6);
	packet(bytes, sizeof(bytes), 1);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	target = loopback("127.0.0.2", at402_net_port(net));
	CHECK(sendto(fd, bytes, sizeof(bytes), 0, (struct sockaddr *) &target, sizeof(target)) == 40);
	wait_for(frames == 1);
	answer(0, 1);
	CHECK(recvfrom(fd, got, sizeof(got), 0, (struct sockaddr *) &from, &size) == 1);
	CHECK(got[0] == AT402_ACK);
	CHECK(from.sin_addr.s_addr == target.sin_addr.s_addr && from.sin_port == target.sin_port);
	close(fd);

	if (ipv6)
	{
		fd = socket(AF_INET6, SOCK_DGRAM, 0);
		target6.sin6_port = target.sin_port;
		CHECK(sendto(fd, bytes, 40, 0, (struct sockaddr *) &target6, sizeof(target6)) == 40);
		wait_for(frames == 2);
		CHECK(strcmp(records[1].input.from.peer, "::1") == 0);
		answer(1, 2);
		size = sizeof(from6);
		CHECK(recvfrom(fd, got, sizeof(got), 0, (struct sockaddr *) &from6, &size) == 1);
		CHECK(memcmp(&from6.sin6_addr, &in6addr_loopback, sizeof(in6addr_loopback)) == 0);
		CHECK(from6.sin6_port == target.sin_port);
		close(fd);
		fd = socket(AF_INET6, SOCK_STREAM, 0);
		CHECK(connect(fd, (struct sockaddr *) &target6, sizeof(target6)) == 0);
		wait_for(counters.connections == 1);
		CHECK(strcmp(slots[0].from.peer, "::1") == 0);
		close(fd);
	}
	stop();
}

/* Without room the kernel keeps the datagrams; none is dropped by us. */
static void
test_udp_back_pressure(void)
{
	client	   *c;
	client	   *t;

	start();
	c = connect_udp();
	t = connect_tcp();
	room = 1;
	put_packets(c, 3, 0);
	put_packet(c, 10);
	put_packet(c, 11);
	settle();
	CHECK(frames == 1 && counters.datagrams == 1 && at402_net_timeout(net) == -1);
	put_packet(t, 12);
	room = 1;
	at402_net_resume(net);
	CHECK(at402_net_timeout(net) == 0);
	settle();
	CHECK(frames == 2 && counters.datagrams == 1);
	answer(0, 2);				/* while its third frame still waits */
	wait_for(acks(c) == 2);
	room = MAX_RECORDS;
	at402_net_resume(net);
	wait_for(frames == 6);
	CHECK(records[2].first[3] == 2 && records[2].input.from.ticket == records[0].input.from.ticket);
	answer(2, 6);
	wait_for(acks(c) == 5 && acks(t) == 1);
	CHECK(counters.datagrams == 3 && counters.answers_lost == 0);
	answer(0, 1);				/* nothing is due any more */
	CHECK(counters.answers_lost == 1);
	put_packet(c, 20);
	wait_for(frames == 7);
	stop();
}

static void
test_udp_table_full(void)
{
	client	   *c;

	start();
	c = connect_udp();
	for (int i = 0; i < 4096; i++)
	{
		put_packet(c, 1);
		at402_net_turn(net);
	}
	wait_for(frames == 4096);
	put_packet(c, 2);
	put_packet(c, 3);
	settle();
	CHECK(counters.datagrams == 4096 && at402_net_timeout(net) == -1);
	at402_net_forget(net, records[5].input.from.ticket);
	CHECK(at402_net_timeout(net) == 0);
	settle();
	CHECK(frames == 4097 && records[4096].first[3] == 2);
	answer(7, 8);
	settle();
	CHECK(frames == 4098 && records[4097].first[3] == 3);
	wait_for(acks(c) == 1);
	/* the entries are used again under other tickets */
	at402_net_answer(net, records[5].input.from.ticket);
	CHECK(counters.answers_lost == 1);
	stop();
}

/* Gives the UDP socket on net's port a queue of a few datagrams. */
static void
shorten_queue(void)
{
	const int	small = 4096;

	for (int fd = 3; fd < 100; fd++)
	{
		struct sockaddr_in in;
		socklen_t	size = sizeof(in);
		int			type = 0;
		socklen_t	type_size = sizeof(type);

		if (getsockname(fd, (struct sockaddr *) &in, &size) == 0 &&
			getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) == 0 && type == SOCK_DGRAM &&
			ntohs(in.sin_port) == at402_net_port(net))
			CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0);
	}
}

static void
test_udp_lost(void)
{
	client	   *c;

	start();
	c = connect_udp();
	for (int i = 0; i < 100; i++)
		put_packet(c, 1);
	at402_net_turn(net);
	CHECK(counters.datagrams == 64);	/* so many in a turn */
	settle();
	CHECK(frames == 100);
	stop();

	start();
	shorten_queue();
	habit = ANSWER_AT_ONCE;
	c = connect_udp();
	for (int i = 0; i < 200; i++)
		put_packet(c, 1);
	settle();
	put_packet(c, 1);			/* carries the count */
	settle();
	CHECK(counters.datagrams_lost > 0);
	CHECK(counters.datagrams + counters.datagrams_lost == 201);
	CHECK(frames == (int) counters.datagrams);
	stop();
}

/* ---- the port ---- */

static bool
can_connect(const char *address, int port)
{
	int			fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in target = loopback(address, port);
	bool		connected = connect(fd, (struct sockaddr *) &target, sizeof(target)) == 0;

	close(fd);
	return connected;
}

/* A TCP port on this address, taken by somebody else. */
static int
occupy(const char *address, int *port)
{
	int			fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in in = loopback(address, *port);
	socklen_t	size = sizeof(in);

	CHECK(bind(fd, (struct sockaddr *) &in, sizeof(in)) == 0 && listen(fd, 1) == 0);
	getsockname(fd, (struct sockaddr *) &in, &size);
	*port = ntohs(in.sin_port);
	return fd;
}

#define LISTEN(addresses, port, tcp, udp)                                                          \
	at402_net_listen(net, addresses, port, tcp, udp, AT402_PORT_ALONE, error, sizeof(error))

static void
test_listen(void)
{
	char		error[200];
	int			port;
	int			taken = 0;
	int			fd;
	client	   *c;

	begin(MAX_CONNECTIONS);
	CHECK(at402_net_port(net) == 0);

	/* one port for TCP and UDP on all addresses; an address twice is one */
	CHECK(LISTEN(" 127.0.0.1,, 127.0.0.3 ,127.0.0.1,", 0, true, true) && error[0] == '\0');
	port = at402_net_port(net);
	CHECK(can_connect("127.0.0.1", port) && can_connect("127.0.0.3", port));
	CHECK(!can_connect("127.0.0.2", port));
	put_packet(dial(SOCK_DGRAM, "127.0.0.1", "127.0.0.3", port), 1);
	wait_for(frames == 1);
	CHECK(LISTEN("localhost", 0, true, true));

	/* some addresses cannot be had: those that can are */
	CHECK(LISTEN("192.0.2.1, 127.0.0.1", 0, true, true));
	CHECK(strncmp(error, "could not bind TCP address \"192.0.2.1\", port ", 45) == 0);
	port = at402_net_port(net);
	CHECK(can_connect("127.0.0.1", port));

	/* none can: all stays as it was */
	CHECK(!LISTEN("192.0.2.1", 0, true, true) && error[0] != '\0');
	CHECK(!LISTEN("192.0.2.1", port, true, true) && error[0] != '\0');
	CHECK(!LISTEN("::1%nowhere", 0, true, true));
	CHECK(strncmp(error, "could not resolve \"::1%nowhere\": ", 32) == 0);
	fd = occupy("127.0.0.1", &taken);
	CHECK(!LISTEN("127.0.0.1", taken, true, false));
	CHECK(strstr(error, strerror(EADDRINUSE)) != NULL);
	close(fd);
	CHECK(at402_net_port(net) == port && can_connect("127.0.0.1", port));
	/* even where the former had to go to make room for them */
	fd = occupy("127.0.0.3", &port);
	CHECK(!LISTEN("127.0.0.3", port, true, false));
	CHECK(strstr(error, strerror(EADDRINUSE)) != NULL);
	close(fd);
	CHECK(at402_net_port(net) == port && can_connect("127.0.0.1", port));
	CHECK(!can_connect("127.0.0.3", port));

	/* a move: open connections stay, with what they hold */
	c = dial(SOCK_STREAM, "127.0.0.1", "127.0.0.1", port);
	put(c, LOGIN, 10);
	wait_for(counters.buffered_bytes == 10);
	CHECK(LISTEN("127.0.0.1", 0, true, true) && error[0] == '\0');
	CHECK(at402_net_port(net) != port);
	CHECK(!can_connect("127.0.0.1", port));
	port = at402_net_port(net);
	CHECK(can_connect("127.0.0.1", port));
	put(c, &LOGIN[10], strlen(LOGIN) - 10);
	wait_for(frames == 2);
	answer(1, 2);
	wait_for(acks(c) == 1);

	/* to the same port on more addresses, and back to fewer */
	CHECK(LISTEN("*", port, true, true));
	CHECK(at402_net_port(net) == port && can_connect("127.0.0.7", port));
	CHECK(LISTEN("127.0.0.1", port, true, true) && error[0] == '\0');
	CHECK(!can_connect("127.0.0.7", port) && can_connect("127.0.0.1", port));

	/* an answer to a datagram of the former socket has no way to go */
	put_packet(dial(SOCK_DGRAM, "127.0.0.1", "127.0.0.1", port), 1);
	wait_for(frames == 3);
	CHECK(LISTEN("127.0.0.1", 0, true, true));
	answer(2, 3);
	CHECK(counters.answers_lost == 1);

	/* one kind only, or none */
	CHECK(LISTEN("127.0.0.1", 0, false, true));
	port = at402_net_port(net);
	CHECK(port > 0 && !can_connect("127.0.0.1", port));
	CHECK(LISTEN("127.0.0.1", 0, true, false));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(bind(fd, (struct sockaddr *) &(struct sockaddr_in) {.sin_family = AF_INET,
			   .sin_port = htons((uint16_t) at402_net_port(net)),
			   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, sizeof(struct sockaddr_in)) == 0);
	close(fd);
	CHECK(LISTEN("127.0.0.1", 0, false, false) && error[0] == '\0' && at402_net_port(net) == 0);
	CHECK(LISTEN("127.0.0.1", port, false, false) && at402_net_port(net) == 0);
	CHECK(LISTEN(" , ", 0, true, true) && error[0] == '\0' && at402_net_port(net) == 0);
	CHECK(!ended(c));
	stop();
}

static void
test_share_port(void)
{
	at402_net  *first;
	at402_net  *second;
	const at402_net_callbacks callbacks = {&habit, on_frame, on_gone};
	static at402_net_counters other_counters;
	static at402_net_slot other_slots[1];
	char		error[200];
	int			port;

	start();
	first = net;
	second = at402_net_create(&callbacks, &other_counters, other_slots, 1);
	port = at402_net_port(first);
#define SHARE(who, where, sharing)                                                                 \
	at402_net_listen(who, "127.0.0.1", where, true, true, sharing, error, sizeof(error))
	CHECK(!SHARE(second, port, AT402_PORT_ALONE));
	CHECK(!SHARE(second, port, AT402_PORT_FOLLOWS));
	CHECK(SHARE(first, 0, AT402_PORT_FIRST));
	port = at402_net_port(first);
	CHECK(port != 0);
	CHECK(!SHARE(second, port, AT402_PORT_ALONE));
	CHECK(!SHARE(second, port, AT402_PORT_FIRST));
	CHECK(SHARE(second, port, AT402_PORT_FOLLOWS));
	CHECK(at402_net_port(second) == port && error[0] == '\0');
	at402_net_destroy(second);
	stop();
}

int
main(void)
{
	test_udp();
	test_udp_answer_address();
	test_udp_back_pressure();
	test_udp_table_full();
	test_udp_lost();
	test_listen();
	test_share_port();
	return unit_done("test_net_port");
}
