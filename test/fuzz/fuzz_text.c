/*
 * fuzz_text.c - text that people write: the hexadecimal form of a frame, and
 * login lines
 *
 * What is read from text must be what the same digits say, whatever blanks and
 * cases they are written with, and nothing outside the text may be touched.
 */
#include <string.h>

#include "fuzz.h"

/* The digits of bytes, as a mixture of cases with blanks between. */
static size_t
write_hex(const uint8_t *bytes, size_t size, char *text)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	size_t		length = 0;

	text[length++] = '\\';
	text[length++] = 'x';
	for (size_t i = 0; i < size; i++)
	{
		size_t		upper = bytes[i] & 0x10;

		text[length++] = digits[(bytes[i] >> 4) + upper];
		if (bytes[i] % 3 == 0)
			text[length++] = "\t\n\v\f\r "[bytes[i] % 6];
		text[length++] = digits[(bytes[i] & 0x0F) + (16 - upper)];
	}
	return length;
}

static void
check_login(const uint8_t *data, size_t size)
{
	at402_login login;
	const at402_span *spans = &login.model;

	if (!at402_login_parse(data, size, &login))
		return;
	for (size_t i = 0; i < sizeof(login) / sizeof(at402_span); i++)
	{
		if (spans[i].bytes == NULL)
			continue;
		REQUIRE(spans[i].bytes >= data && spans[i].bytes + spans[i].length <= data + size);
		REQUIRE(spans[i].length == 0 || memchr(spans[i].bytes, ';', spans[i].length) == NULL);
		REQUIRE(spans[i].length == 0 || memchr(spans[i].bytes, 0, spans[i].length) == NULL);
	}
	if (at402_imei_valid(login.imei.bytes, login.imei.length))
		REQUIRE(login.imei.length == AT402_IMEI_DIGITS);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = malloc(2 + 3 * size);
	uint8_t    *exact = malloc(size / 2);	/* as much as the function is promised */
	uint8_t    *bytes = malloc(size + size / 2 + 2);
	uint8_t    *login = malloc(size + 7);
	size_t		count;

	/* any text: refused at an offset within it, or read */
	if (at402_parse_hex((const char *) data, size, exact, &count))
		REQUIRE(count <= size / 2);
	else
		REQUIRE(count <= size);
	/* text of these bytes: read as them */
	REQUIRE(at402_parse_hex(text, write_hex(data, size, text), bytes, &count));
	REQUIRE(count == size && memcmp(bytes, data, size) == 0);

	check_login(data, size);
	memcpy(login, "$ASTRA;", 7);
	memcpy(login + 7, data, size);
	check_login(login, size + 7);
	free(text);
	free(exact);
	free(bytes);
	free(login);
	return 0;
}
