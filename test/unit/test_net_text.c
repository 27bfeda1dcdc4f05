/*
 * test_net_text.c - texts to trackers: they leave after answers, never before
 */
#include "net_rig.h"

#define TEXT "$SDIG,1,1\r\n"

static char got[8192];			/* by the client that listen_to was called for */
static size_t got_length;

static void
listen_to(const client *c)
{
	ssize_t		length;

	while ((length = recv(c->fd, got + got_length, sizeof(got) - got_length, MSG_DONTWAIT)) > 0)
		got_length += (size_t) length;
}

static bool
has_got(const client *c, const char *expected)
{
	listen_to(c);
	return got_length == strlen(expected) && memcmp(got, expected, got_length) == 0;
}

/* Gives net every chance to send, and sees that it does not. */
static bool
has_got_nothing(const client *c)
{
	at402_net_flush(net);
	settle();
	return has_got(c, "");
}

static client *
meet(void)
{
	client	   *c = connect_tcp();

	got_length = 0;
	put_packet(c, 1);
	wait_for(frames == 1);
	return c;
}

static bool
write_text(const char *text)
{
	return at402_net_write(net, records[0].input.from.ticket, text, strlen(text));
}

static bool
is_quiet(void)
{
	return at402_net_is_quiet(net, records[0].input.from.ticket);
}

static void
test_after_answers(void)
{
	uint8_t		bytes[40];
	client	   *c;

	/* a frame waits to be decided */
	start();
	c = meet();
	CHECK(!is_quiet());
	CHECK(write_text(TEXT));
	CHECK(has_got_nothing(c));
	answer(0, 1);
	wait_for(has_got(c, "\x06" TEXT));
	CHECK(is_quiet());

	/* nothing does: at once, and two in their order */
	got_length = 0;
	CHECK(write_text(TEXT) && write_text("$POLL\r\n"));
	at402_net_flush(net);
	wait_for(has_got(c, TEXT "$POLL\r\n"));

	/* bytes have come that nobody has looked at */
	got_length = 0;
	put_packet(c, 2);
	wait_for(!is_quiet());
	CHECK(frames == 1);
	CHECK(write_text(TEXT));
	at402_net_flush(net);
	CHECK(has_got(c, ""));
	wait_for(frames == 2);
	CHECK(has_got_nothing(c));
	answer(1, 2);
	wait_for(has_got(c, "\x06" TEXT));

	/* a frame has begun; then a text line, which gets no answer */
	got_length = 0;
	put(c, bytes, packet(bytes, 40, 3) - 1);
	wait_for(counters.buffered_bytes == 39);
	CHECK(!is_quiet());
	CHECK(write_text(TEXT));
	CHECK(has_got_nothing(c));
	put(c, bytes + 39, 1);
	wait_for(frames == 3);
	answer(2, 3);
	wait_for(has_got(c, "\x06" TEXT));
	got_length = 0;
	put(c, "$SDIG,O", 7);
	wait_for(counters.buffered_bytes == 7);
	CHECK(write_text(TEXT));
	CHECK(has_got_nothing(c));
	put(c, "K\r\n", 3);
	wait_for(frames == 4);
	at402_net_forget(net, records[3].input.from.ticket);
	at402_net_flush(net);
	wait_for(has_got(c, TEXT));
	stop();
}

static void
test_full(void)
{
	static uint8_t stream[2000 * 40];
	client	   *c;

	/* turned down: the peer waits, and so does the text */
	start();
	c = meet();
	answer(0, 1);
	wait_for(has_got(c, "\x06"));
	got_length = 0;
	room = 0;
	put_packet(c, 2);
	settle();
	CHECK(write_text(TEXT));
	CHECK(has_got_nothing(c));
	room = MAX_RECORDS;
	at402_net_resume(net);
	wait_for(frames == 2);
	answer(1, 2);
	wait_for(has_got(c, "\x06" TEXT));

	/* a flood: each answer comes before it, whatever is still to be read */
	got_length = 0;
	for (int i = 0; i < 2000; i++)
		packet(stream + 40 * i, 40, (uint8_t) i);
	CHECK(write_text("$POLL\r\n"));
	put(c, stream, sizeof(stream));
	for (int done = 2; done < 2002;)
	{
		wait_for(frames > done);
		answer(done, frames);
		done = frames;
	}
	wait_for((listen_to(c), got_length == 2000 + 7));
	for (int i = 0; i < 2000; i++)
		CHECK(got[i] == AT402_ACK);
	CHECK(memcmp(got + 2000, "$POLL\r\n", 7) == 0);
	stop();
}

static void
test_refused(void)
{
	char		large[4096];
	client	   *c;

	start();
	c = meet();
	memset(large, '$', sizeof(large));
	CHECK(at402_net_write(net, records[0].input.from.ticket, large, sizeof(large)));
	CHECK(!write_text(TEXT));
	at402_net_close(net, records[0].input.from.ticket);
	CHECK(!write_text(TEXT) && !is_quiet());
	at402_net_flush(net);
	wait_for(gone == 1);
	CHECK(!write_text(TEXT) && !is_quiet());
	CHECK(has_got(c, ""));

	/* with the text unsent, the net ends */
	frames = 0;
	c = meet();
	CHECK(write_text(TEXT));
	stop();
}

static void
test_datagram(void)
{
	client	   *c;

	start();
	c = connect_udp();
	got_length = 0;
	put_packet(c, 1);
	wait_for(frames == 1);
	at402_net_keep(net, records[0].input.from.ticket);
	answer(0, 1);
	CHECK(is_quiet());
	CHECK(write_text(TEXT));
	wait_for(has_got(c, "\x06" TEXT));
	at402_net_forget(net, records[0].input.from.ticket);
	CHECK(!is_quiet() && !write_text(TEXT));

	/* its place is used again */
	put_packet(c, 2);
	wait_for(frames == 2);
	answer(1, 2);
	CHECK(!at402_net_write(net, records[1].input.from.ticket, TEXT, strlen(TEXT)));
	wait_for(has_got(c, "\x06" TEXT "\x06"));
	stop();
}

int
main(void)
{
	test_after_answers();
	test_full();
	test_refused();
	test_datagram();
	return unit_done("test_net_text");
}
