/*
 * test_command.c - which lines answer a message, and checks of drivers
 */
#include <string.h>

#include "core/at402.h"
#include "unit.h"

static at402_awaited awaited;

static at402_answer
take(const char *line)
{
	return at402_awaited_take(&awaited, (const uint8_t *) line, strlen(line));
}

#define NONE AT402_ANSWER_NONE
#define PART AT402_ANSWER_PART
#define WHOLE AT402_ANSWER_WHOLE

static void
test_statuses(void)
{
	static const char *const bad[] = {"$SDIG,UN\r\n", "$SDIG,ER\r", "$SDIG,PR\n", "$SDIG,PR \r\n"};

	at402_awaited_begin(&awaited, "$SDIG,1,1");
	CHECK(awaited.count == 1);
	CHECK(take("$POLL,OK\r\n") == NONE && take("$SDIGX,OK\r\n") == NONE);
	CHECK(take("$SDI,OK\r\n") == NONE && take("SDIG,OK\r\n") == NONE && take("$\r") == NONE);
	CHECK(take("$SDIG;OK\r\n") == NONE && take("\r\n") == NONE && take("\n") == NONE);
	CHECK(take("$SDIG,OK\r") == WHOLE && !awaited.refused);
	CHECK(take("$SDIG,OK\r\n") == NONE);
	for (int i = 0; i < 4; i++)
	{
		at402_awaited_begin(&awaited, "$SDIG,1,1");
		CHECK(take(bad[i]) == WHOLE && awaited.refused);
	}

	/* several: one after the other, and no other way */
	at402_awaited_begin(&awaited, "$DIST,500$JSEC,30$DIST,600");
	CHECK(awaited.count == 3);
	CHECK(take("$JSEC,OK\r") == NONE);
	CHECK(take("$DIST,OK\r") == PART);
	CHECK(take("$DIST,OK\r") == NONE);
	CHECK(!at402_awaited_may_end(&awaited));
	CHECK(take("$JSEC,ER\r") == PART && awaited.refused);
	CHECK(take("$DIST,OK\r\n") == WHOLE && awaited.refused);
}

static void
test_data(void)
{
	at402_awaited_begin(&awaited, "$IMEI");
	CHECK(take("$IMEI,352999000000007\r\n") == WHOLE && !awaited.refused);
	/* after a lone CR more may come */
	at402_awaited_begin(&awaited, "$STAT");
	CHECK(take("$STAT,1\r") == PART && at402_awaited_may_end(&awaited));
	CHECK(take("$STAT,2\r\n") == WHOLE);
	at402_awaited_begin(&awaited, "$POLL");
	CHECK(take("$POLL\r\n") == WHOLE);

	/* lines until the next is answered */
	at402_awaited_begin(&awaited, "$POSN$STAT$POLL");
	CHECK(take("$POSN,52.1,0.2\r") == PART);
	CHECK(take("$POSN,52.1,0.2\r\n") == PART && !at402_awaited_may_end(&awaited));
	CHECK(take("$POLL,OK\r") == NONE);
	CHECK(take("$STAT,ER\r") == PART);
	CHECK(take("$POLL,OK\r\n") == WHOLE && awaited.refused);

	/* parameters have lines with codes of their own, and CR LF may end each */
	at402_awaited_begin(&awaited, "$PARA");
	CHECK(take("$DIST,500\r") == NONE);
	CHECK(take("$PARA,1\r\n") == PART && take("$DIST,500\r\n") == PART);
	CHECK(take("$JSEC,OK\r\n") == PART && at402_awaited_may_end(&awaited));
	at402_awaited_begin(&awaited, "$PARA$POLL");
	CHECK(take("$PARA,1\r") == PART && take("$DIST,500\r") == PART);
	CHECK(take("$POLL,OK\r\n") == WHOLE && !awaited.refused);
}

static void
test_pin(void)
{
	at402_awaited_begin(&awaited, "$PASS,1234$SDIG,1,1");
	CHECK(awaited.count == 2);
	CHECK(take("$SDIG,OK\r\n") == WHOLE && !awaited.secret);
	at402_awaited_begin(&awaited, "$PASS,1234$SDIG,1,1");
	CHECK(take("$PASS,1234\r") == PART && awaited.secret);
	CHECK(take("$SDIG,OK\r\n") == WHOLE && !awaited.secret);
	at402_awaited_begin(&awaited, "$PASS,1234$SDIG,1,1");
	CHECK(take("$PASS,ER\r") == PART && awaited.secret);
	CHECK(take("$SDIG,PR\r\n") == WHOLE && awaited.refused);
}

/* As many as fit, and garbage. */
static void
test_bounds(void)
{
	char		message[AT402_MAX_LINE + 20] = "";
	unsigned	random = 1;

	for (size_t at = 0; at < AT402_MAX_LINE + 10; at += 5)
		memcpy(message + at, "$POLL", 6);
	at402_awaited_begin(&awaited, message);
	CHECK(awaited.count == AT402_MAX_CODES);
	for (int i = 1; i < AT402_MAX_CODES; i++)
		CHECK(take("$POLL,OK\r") == PART);
	CHECK(take("$POLL,OK\r") == WHOLE && take("$POLL,OK\r") == NONE);

	at402_awaited_begin(&awaited, "");
	CHECK(awaited.count == 0 && take("$POLL,OK\r") == NONE);
	at402_awaited_begin(&awaited, "$POL");
	CHECK(awaited.count == 0 && !at402_awaited_may_end(&awaited));

	at402_awaited_begin(&awaited, "$PARA$POSN");
	for (int i = 0; i < 100000; i++)
	{
		uint8_t		line[24];
		size_t		length = 1 + random % sizeof(line);

		for (size_t at = 0; at < length; at++)
			line[at] = (uint8_t) "$PARAOSN,\r\n\0\xFF"[(random = random * 1103515245 + 12345) >> 16 & 12];
		at402_awaited_take(&awaited, line, length);
		CHECK(awaited.next <= awaited.count);
	}
}

static bool
is(at402_span field, const char *expected)
{
	return field.length == strlen(expected) && memcmp(field.bytes, expected, field.length) == 0;
}

static bool
check_parse(const char *line, at402_driver_check *check)
{
	return at402_driver_check_parse((const uint8_t *) line, strlen(line), check);
}

static void
test_driver_check(void)
{
	static const char *const none[] = {
		"$DRID", "$DRID,AT402", "$DRID,AT402,CHECK", "$DRID,AT402,CHECK,352999000000007,01",
		"$DRID,AT402,CHECK,352999000000007,01,", "$DRID,AT402,CHECK,352999000000007,,19",
		"$DRID,AT402,CHECK,352999000000008,01,19", "$DRID,AT402,CHECK,35299900000000,01,19",
		"$DRID,AT402,CHECK,352999000000007,0x,19", "$DRID,AT402,CHECK,352999000000007,01,19'",
		"$DRID,AT402,CHECK,352999000000007,01,00112233445566778", "$DRID,AT402,CHECKS,352999000000007,01,19",
		"$DRIX,AT402,CHECK,352999000000007,01,19", "$DRID,OK", "", "$", "\r\n"};
	at402_driver_check check;

	CHECK(check_parse("$DRID,AT402,CHECK,352999000000007,01,0000001900AB\r\n", &check));
	CHECK(is(check.imei, "352999000000007") && is(check.family, "01"));
	CHECK(is(check.serial, "0000001900AB"));
	/* more or fewer fields around it */
	CHECK(check_parse("$DRID,CHECK,352999000000007,1,19ab,7,8\r", &check));
	CHECK(is(check.family, "1") && is(check.serial, "19ab"));
	CHECK(check_parse("$DRID,AT402,7.0,CHECK,352999000000007,01,19 ", &check));
	CHECK(is(check.serial, "19"));
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		if (!CHECK(!check_parse(none[i], &check)))
			printf("%s\n", none[i]);
}

int
main(void)
{
	test_statuses();
	test_data();
	test_pin();
	test_bounds();
	test_driver_check();
	return unit_done("test_command");
}
