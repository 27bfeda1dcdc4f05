/*
 * test_net.c - the socket layer: what becomes of the bytes of a connection,
 * and of the answers to it
 */
#include "net_rig.h"

/* ---- the stream ---- */

static void
test_login(void)
{
	static const char again[] = "$ASTRA;AT402;49015420323751\x01;;1;Z;1\r";
	uint32_t	change;
	client	   *c;
	const at402_input *a;

	start();
	c = connect_tcp();
	put_packet(c, 1);
	wait_for(frames == 1);
	a = &records[0].input;
	CHECK(a->kind == AT402_FRAME_PACKET && a->length == 40);
	CHECK(!a->from.logged_in && a->from.imei[0] == '\0' && a->from.protocol == '\0');
	CHECK(!came_by_udp(0));
	CHECK(strcmp(a->from.peer, "127.0.0.1") == 0 && a->from.peer_port > 0);
	CHECK(slots[0].in_use && slots[0].traffic.last_frame_at >= slots[0].traffic.connected_at);

	/* the login carries its own sender, and so does what follows */
	put(c, LOGIN, strlen(LOGIN));
	put_packet(c, 2);
	wait_for(frames == 3);
	for (int i = 1; i < 3; i++)
	{
		a = &records[i].input;
		CHECK(a->kind == (i == 1 ? AT402_FRAME_LOGIN : AT402_FRAME_PACKET));
		CHECK(a->from.logged_in && strcmp(a->from.imei, IMEI) == 0 && a->from.protocol == 'X');
		CHECK(a->from.ticket == records[0].input.from.ticket);
	}
	change = slots[0].change;
	CHECK(change % 2 == 0);
	CHECK(strcmp(slots[0].from.imei, IMEI) == 0 && slots[0].from.protocol == 'X');
	CHECK(slots[0].traffic.frames == 3 && slots[0].traffic.bytes == 80 + strlen(LOGIN));
	CHECK(strcmp(slots[0].from.peer, "127.0.0.1") == 0 && slots[0].from.peer_port == a->from.peer_port);

	/* a later login names another; what cannot be printed is not */
	put(c, again, strlen(again));
	wait_for(frames == 4);
	CHECK(strcmp(records[3].input.from.imei, "49015420323751?") == 0);
	CHECK(records[3].input.from.protocol == 'Z');

	/* too long an IMEI is cut, a missing one is empty */
	put(c, "$ASTRA;A;1234567890123456789012345678901234567890\r\n", 51);
	put(c, "$ASTRA;A\r\n", 10);
	wait_for(frames == 6);
	CHECK(strcmp(records[4].input.from.imei, "1234567890123456789012345678901") == 0);
	CHECK(records[5].input.from.imei[0] == '\0' && records[5].input.from.logged_in);
	CHECK(records[5].input.from.protocol == '\0');

	put(c, LOGIN, strlen(LOGIN));
	wait_for(frames == 7);
	answer(0, 7);
	wait_for(acks(c) == 7);
	CHECK(slots[0].traffic.answers == 7 && counters.answers == 7);
	CHECK(slots[0].change > change && slots[0].change % 2 == 0);
	hang_up(c);
	wait_for(counters.connections == 0);
	CHECK(gone == 1 && gone_ticket == records[0].input.from.ticket);
	CHECK(!slots[0].in_use && slots[0].change % 2 == 0);
	CHECK(counters.accepted == 1 && counters.frames == 7 && counters.unknown_protocol == 0);
	stop();
}

static void
test_split(void)
{
	uint8_t		stream[400];
	size_t		length = 0;
	const size_t login = strlen(LOGIN);

	memcpy(stream, LOGIN, login);
	length = login + packet(stream + login, 60, 1);
	memcpy(stream + length, "$STAT,OK\n", 9);
	length += 9;
	length += packet(stream + length, 200, 2);

	/* in two parts, cut everywhere; also within CR LF */
	start();
	for (size_t at = 1; at <= length; at++)
	{
		client	   *c = connect_tcp();
		uint64_t	bytes = counters.bytes;

		frames = 0;
		put(c, stream, at);
		wait_for(counters.bytes == bytes + at);
		if (at < length)
			put(c, stream + at, length - at);
		wait_for(frames == 4);
		CHECK(counters.buffered_bytes == 0);
		CHECK(records[0].input.kind == AT402_FRAME_LOGIN);
		CHECK(records[1].input.kind == AT402_FRAME_PACKET && records[1].first[3] == 1);
		CHECK(records[1].input.length == 60 && records[1].input.from.logged_in);
		CHECK(records[2].input.kind == AT402_FRAME_TEXT && records[2].input.length == 9);
		CHECK(records[3].crc == at402_crc16(stream + length - 200, 200));
		CHECK(at402_net_timeout(net) == -1);
		answer(0, 4);
		hang_up(c);
		client_count--;
		wait_for(counters.connections == 0);
	}
	CHECK(counters.unknown_protocol == 0 && counters.bad_crc == 0);
	CHECK(gone == (int) length);
	stop();
}

static void
test_byte_by_byte(void)
{
	uint8_t		bytes[64];
	client	   *c;
	size_t		login = strlen(LOGIN);

	start();
	c = connect_tcp();
	for (size_t i = 0; i < login; i++)
	{
		put(c, &LOGIN[i], 1);
		wait_for(counters.bytes == i + 1);
		/* memory is what has come, not more */
		CHECK(counters.buffered_bytes == (i < login - 2 ? i + 1 : 0));
	}
	CHECK(frames == 1);
	packet(bytes, sizeof(bytes), 7);
	for (size_t i = 0; i < sizeof(bytes); i++)
	{
		put(c, bytes + i, 1);
		wait_for(counters.bytes == login + i + 1);
		CHECK(counters.buffered_bytes == (i + 1) % sizeof(bytes));
	}
	CHECK(frames == 2 && records[1].crc == at402_crc16(bytes, sizeof(bytes)));
	stop();
}

/* The LF of a CR LF that was cut in two is skipped: once, and only there. */
static void
test_line_feed(void)
{
	client	   *c;

	start();
	c = connect_tcp();
	put(c, "$STAT,OK\r", 9);
	wait_for(frames == 1);
	put(c, "\n", 1);
	wait_for(counters.bytes == 10);
	put(c, "$STAT,OK\r", 9);
	wait_for(frames == 2);
	put_packet(c, 1);
	wait_for(frames == 3);
	CHECK(counters.unknown_protocol == 0 && counters.connections == 1);
	CHECK(counters.buffered_bytes == 0);
	put(c, "\n", 1);			/* after a packet: noise */
	wait_for(counters.unknown_protocol == 1);

	c = connect_tcp();
	put(c, "$STAT,OK\r", 9);
	wait_for(frames == 4);
	put(c, "\n\n", 2);
	wait_for(counters.unknown_protocol == 2);
	c = connect_tcp();
	put(c, "$STAT,OK\r\n\n", 11);
	wait_for(counters.unknown_protocol == 3);
	CHECK(frames == 5);
	stop();
}

static void
test_bad_crc(void)
{
	uint8_t		bytes[120];
	client	   *c;

	start();
	habit = ANSWER_AT_ONCE;
	c = connect_tcp();
	for (int i = 0; i < 3; i++)
		packet(bytes + i * 40, 40, (uint8_t) i);
	bytes[70] ^= 1;
	put(c, bytes, sizeof(bytes));
	wait_for(acks(c) == 2);
	CHECK(frames == 2 && records[0].first[3] == 0 && records[1].first[3] == 2);
	CHECK(counters.bad_crc == 1 && counters.frames == 2 && counters.connections == 1);
	put_packet(c, 3);
	wait_for(acks(c) == 3);
	CHECK(!ended(c));
	stop();
}

/* What cannot be followed ends the connection, but not the frames before it. */
static void
test_noise(void)
{
	static const uint8_t noises[][4] = {{0xFF, 'X', 0, 40}, {'X', 0, 5, 0}, {0, 0, 0, 0}, {'\n'}};
	uint8_t		bytes[84];
	client	   *c;

	start();
	for (int i = 0; i < 4; i++)
	{
		frames = 0;
		c = connect_tcp();
		packet(bytes, 40, 1);
		packet(bytes + 40, 40, 2);
		memcpy(bytes + 80, noises[i], 4);
		put(c, bytes, sizeof(bytes));
		wait_for(counters.unknown_protocol == (unsigned) i + 1);
		CHECK(frames == 2);
		answer(0, 1);
		wait_for(acks(c) == 1);
		put_packet(c, 3);		/* no more from this one */
		settle();
		CHECK(counters.connections == 1 && gone == i && !ended(c));
		answer(1, 2);
		CHECK(counters.connections == 0 && gone == i + 1);
		CHECK(acks(c) == 2);
		wait_for(ended(c));
		CHECK(frames == 2 && counters.buffered_bytes == 0);
	}

	/* who has sent nothing else is closed at once, and nobody need know */
	for (int i = 0; i < 4; i++)
	{
		c = connect_tcp();
		put(c, noises[i], 4);
		wait_for(ended(c));
		CHECK(acks(c) == 0);
	}
	wait_for(counters.connections == 0);
	CHECK(counters.unknown_protocol == 8 && gone == 4);
	CHECK(counters.answers_lost == 0 && counters.timeouts == 0);
	stop();
}

static void
test_long_line(void)
{
	char		line[AT402_MAX_LINE];
	client	   *c;

	start();
	memset(line, 'a', sizeof(line));
	line[0] = '$';
	c = connect_tcp();
	put(c, line, sizeof(line) - 1);
	wait_for(counters.bytes == sizeof(line) - 1);
	CHECK(counters.connections == 1 && counters.buffered_bytes == sizeof(line) - 1);
	put(c, "\r", 1);
	wait_for(frames == 1);
	CHECK(records[0].input.length == AT402_MAX_LINE);
	at402_net_forget(net, records[0].input.from.ticket);

	put(c, line, sizeof(line) - 1);
	wait_for(counters.bytes == 2 * sizeof(line) - 1);
	CHECK(counters.connections == 1);
	put(c, "a", 1);
	wait_for(ended(c));
	CHECK(acks(c) == 0 && counters.unknown_protocol == 1 && frames == 1 && gone == 1);
	stop();
}

/* The longest packet there is, and frames behind it in the same stream. */
static void
test_largest(void)
{
	static uint8_t bytes[3 * AT402_MAX_FRAME];
	client	   *c;
	size_t		sent = 0;

	start();
	for (int i = 0; i < 3; i++)
		packet(bytes + i * AT402_MAX_FRAME, AT402_MAX_FRAME, (uint8_t) (i + 1));
	c = connect_tcp();
	while (sent < sizeof(bytes))
	{
		ssize_t		now = send(c->fd, bytes + sent, sizeof(bytes) - sent, MSG_DONTWAIT);

		sent += now > 0 ? (size_t) now : 0;
		at402_net_turn(net);
		CHECK(counters.buffered_bytes < AT402_MAX_FRAME);
	}
	wait_for(frames == 3);
	for (int i = 0; i < 3; i++)
		CHECK(records[i].crc == at402_crc16(bytes + i * AT402_MAX_FRAME, AT402_MAX_FRAME));
	CHECK(counters.buffered_bytes == 0);
	stop();
}

/* Any stream, in any pieces, with room or without: the same frames in order. */
static void
test_random(void)
{
	static uint8_t stream[200 * 400];
	uint16_t	expected[400];
	int			expected_count = 0;
	size_t		length = 0;
	uint32_t	seed = 402;
	client	   *c;

#define RANDOM(n) ((seed = seed * 1103515245 + 12345, seed >> 8) % (n))
	for (int i = 0; i < 400; i++)
	{
		uint8_t    *at = stream + length;
		size_t		size;

		if (RANDOM(10) == 0)
		{
			size = (size_t) sprintf((char *) at, "$LINE,%u\r", RANDOM(1000));
			if (RANDOM(2) == 0)
				at[size++] = '\n';
		}
		else
			size = packet(at, 6 + RANDOM(190), (uint8_t) i);
		if (at[0] == 'X' && RANDOM(10) == 0)
			at[size - 1] ^= 0x55;
		else
			expected[expected_count++] = at402_crc16(at, size);
		length += size;
	}

	start();
	room = 0;
	c = connect_tcp();
	for (size_t at = 0; at < length;)
	{
		size_t		size = 1 + RANDOM(700);

		if (size > length - at)
			size = length - at;
		put(c, stream + at, size);
		at += size;
		at402_net_turn(net);
		if (RANDOM(3) > 0)
		{
			room = (int) RANDOM(9);
			at402_net_resume(net);
			at402_net_turn(net);
		}
	}
	room = MAX_RECORDS;
	at402_net_resume(net);
	wait_for(frames == expected_count && counters.bytes == length);
	for (int i = 0; i < expected_count; i++)
	{
		const at402_input *a = &records[i].input;
		bool		lf_apart = a->kind == AT402_FRAME_TEXT && records[i].crc != expected[i];

		/* only the LF that came apart from its CR may be missing */
		CHECK(records[i].crc == expected[i] || lf_apart);
	}
	CHECK(counters.bad_crc + (unsigned) expected_count == 400);
	CHECK(counters.unknown_protocol == 0 && counters.connections == 1);
	stop();
}

/* ---- answers ---- */

static void
test_pipelined(void)
{
	client	   *c;

	start();
	c = connect_tcp();
	put_packets(c, 100, 0);
	wait_for(frames == 100);
	for (int i = 0; i < 100; i++)
		CHECK(records[i].first[3] == i);
	for (int i = 0; i < 50; i++)
		at402_net_answer(net, records[i].input.from.ticket);
	CHECK(counters.answers == 0);	/* they leave together */
	at402_net_flush(net);
	CHECK(counters.answers == 50);
	for (int i = 50; i < 100; i++)
		at402_net_answer(net, records[i].input.from.ticket);
	CHECK(at402_net_timeout(net) == 0);
	at402_net_turn(net);		/* which flushes too */
	wait_for(acks(c) == 100);

	/* nothing is due any more: a wrong ticket too many changes nothing */
	answer(0, 1);
	put_packet(c, 1);
	wait_for(frames == 101);
	answer(100, 101);
	wait_for(acks(c) == 101);
	stop();
}

static void
test_half_close(void)
{
	client	   *c;

	start();
	c = connect_tcp();
	put_packets(c, 2, 0);
	put(c, "X\0", 2);			/* and half a frame, that nobody will miss */
	shutdown(c->fd, SHUT_WR);
	wait_for(frames == 2 && counters.bytes == 82);
	settle();
	CHECK(counters.connections == 1 && counters.buffered_bytes == 0);
	CHECK(at402_net_timeout(net) == -1);
	answer(0, 1);
	wait_for(acks(c) == 1);
	CHECK(!ended(c));
	at402_net_forget(net, records[1].input.from.ticket);
	at402_net_flush(net);
	wait_for(ended(c));
	CHECK(acks(c) == 1 && counters.connections == 0 && gone == 1);

	/* without frames there is nothing to wait for */
	c = connect_tcp();
	put(c, "X", 1);
	wait_for(counters.bytes == 83);
	shutdown(c->fd, SHUT_WR);
	wait_for(ended(c));
	CHECK(counters.connections == 0 && gone == 1 && counters.unknown_protocol == 0);
	stop();
}

static void
test_driver_closes(void)
{
	client	   *c;

	start();
	c = connect_tcp();
	put_packets(c, 3, 0);
	wait_for(frames == 3);
	at402_net_close(net, records[0].input.from.ticket);
	at402_net_close(net, records[0].input.from.ticket);
	at402_net_flush(net);
	put_packet(c, 9);
	settle();
	CHECK(counters.connections == 1 && frames == 3);
	answer(2, 3);
	wait_for(ended(c));
	CHECK(acks(c) == 1 && gone == 1);

	/* from within the callback, with more frames at hand: they are not for us */
	habit = CLOSE_AT_ONCE;
	c = connect_tcp();
	put_packets(c, 3, 0);
	wait_for(ended(c));
	CHECK(frames == 4 && acks(c) == 0 && gone == 2 && counters.buffered_bytes == 0);
	CHECK(counters.connections == 0);

	/* while frames wait for room */
	habit = LATER;
	room = 1;
	c = connect_tcp();
	put_packets(c, 3, 0);
	wait_for(frames == 5 && counters.buffered_bytes == 80);
	at402_net_close(net, records[4].input.from.ticket);
	at402_net_flush(net);
	wait_for(ended(c));
	CHECK(gone == 3 && counters.buffered_bytes == 0);
	stop();
}

static void
test_stale_ticket(void)
{
	client	   *old;
	client	   *new;
	at402_ticket stale;

	begin(1);
	listen_on("127.0.0.1");
	old = connect_tcp();
	put_packet(old, 1);
	wait_for(frames == 1);
	stale = records[0].input.from.ticket;
	reset(old);
	wait_for(counters.connections == 0);
	CHECK(gone == 1 && gone_ticket == stale);

	new = connect_tcp();
	put_packet(new, 2);
	wait_for(frames == 2);
	CHECK(slots[0].in_use && records[1].input.from.ticket != stale);
	CHECK(at402_net_is_open(net, records[1].input.from.ticket) && !at402_net_is_open(net, stale));
	at402_net_answer(net, stale);
	CHECK(counters.answers_lost == 1);
	at402_net_forget(net, stale);
	at402_net_close(net, stale);
	settle();
	CHECK(counters.connections == 1 && acks(new) == 0);
	answer(1, 2);
	wait_for(acks(new) == 1);
	CHECK(counters.answers == 1 && counters.answers_lost == 1);

	at402_net_answer(net, 0);
	at402_net_answer(net, UINT64_MAX);
	at402_net_answer(net, UINT64_C(2) << 62 | 4095);
	CHECK(counters.answers_lost == 4);
	stop();
}

/* Sends packets without reading until answers can no longer be sent; bytes sent. */
static size_t
stuff(client *c)
{
	uint8_t		bytes[200 * 40];
	size_t		sent = 0;
	int64_t		give_up = now_ms() + PATIENCE_MS;

	for (int i = 0; i < 200; i++)
		packet(bytes + i * 40, 40, 1);
	while (counters.answers == counters.frames && now_ms() < give_up)
	{
		size_t		at = sent % sizeof(bytes);
		ssize_t		now = send(c->fd, bytes + at, sizeof(bytes) - at, MSG_DONTWAIT);

		sent += now > 0 ? (size_t) now : 0;
		frames = 0;
		at402_net_turn(net);
	}
	CHECK(counters.answers < counters.frames);
	frames = 0;
	return sent;
}

/* A peer that does not read its answers: they are counted, not piled up. */
static void
test_blocked_answers(void)
{
	const int	small = 2048;
	uint8_t		bytes[40];
	size_t		sent;
	int			fd;
	client	   *c;

	start();
	habit = ANSWER_AT_ONCE;
	room = INT32_MAX;
	receive_buffer = small;
	c = connect_tcp();
	receive_buffer = 0;
	/* the number that accept will give */
	fd = dup(0);
	close(fd);
	wait_for(counters.accepted == 1);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
	sent = stuff(c);
	CHECK(counters.buffered_bytes < 40);
	/* the rest of the last packet */
	packet(bytes, sizeof(bytes), 1);
	put(c, bytes + sent % 40, 40 - sent % 40);
	sent += 40 - sent % 40;
	wait_for(acks(c) == (int) (sent / 40));
	CHECK(counters.frames == sent / 40 && counters.answers == counters.frames);
	CHECK(counters.answers_lost == 0 && counters.connections == 1);

	/* and what was never sent when the peer goes is lost */
	stuff(c);
	reset(c);
	wait_for(counters.connections == 0);
	CHECK(counters.answers_lost == counters.frames - counters.answers && counters.answers_lost > 0);
	stop();
}

int
main(void)
{
	test_login();
	test_split();
	test_byte_by_byte();
	test_line_feed();
	test_bad_crc();
	test_noise();
	test_long_line();
	test_largest();
	test_random();
	test_pipelined();
	test_half_close();
	test_driver_closes();
	test_stale_ticket();
	test_blocked_answers();
	return unit_done("test_net");
}
