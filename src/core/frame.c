/*
 * frame.c - where a frame starts and ends, and the text lines
 *
 * A stream carries packets and text lines in any order, split and joined in any
 * way.  The scanner has no state: it looks at the bytes at hand and says what
 * stands at their beginning, so the same function serves a socket, a capture in
 * a bytea and the input of a type.
 */
#include <string.h>

#include "at402.h"

#define CRC_SIZE 2
#define LENGTH_END 3			/* letter and length field */

const char *
at402_status_text(at402_status status)
{
	switch (status)
	{
		case AT402_OK:
			return "good";
		case AT402_INCOMPLETE:
			return "frame is incomplete";
		case AT402_UNKNOWN_LETTER:
			return "first byte begins no frame";
		case AT402_BAD_LENGTH:
			return "length field is impossible";
		case AT402_BAD_CRC:
			return "checksum is wrong";
		case AT402_LINE_TOO_LONG:
			return "text line does not end";
		case AT402_TRAILING_BYTES:
			return "bytes follow the frame";
		case AT402_NO_REPORTS:
			return "report count is zero";
		case AT402_NO_LAYOUT:
			return "packet of an older device";
		case AT402_SHORT_REPORT:
			return "report header runs past the end of the packet";
		case AT402_SHORT_MODULE:
			return "module runs past the end of the packet";
		case AT402_UNKNOWN_MODULE:
			return "size of this module is not known";
		case AT402_LEFT_OVER:
			return "bytes are left after the last report";
	}
	return "unknown status";
}

size_t
at402_least_length(uint8_t letter)
{
	const at402_variant_def *v = at402_find_variant((char) letter, 0);

	if (v != NULL)
		return LENGTH_END + (v->imei_always ? AT402_IMEI_SIZE : 1) + CRC_SIZE;
	/* C is of older devices; it is framed as the others are, and kept whole */
	return letter == 'C' ? LENGTH_END + CRC_SIZE : 0;
}

static at402_status
problem(at402_frame *frame, at402_status status, size_t offset, size_t expected, size_t found)
{
	frame->problem.status = status;
	frame->problem.offset = offset;
	frame->problem.expected = (uint32_t) expected;
	frame->problem.found = (uint32_t) found;
	return status;
}

static bool
is_line_end(uint8_t byte)
{
	return byte == '\r' || byte == '\n';
}

static at402_status
scan_line(const uint8_t *bytes, size_t available, at402_frame *frame)
{
	size_t		limit = available < AT402_MAX_LINE ? available : AT402_MAX_LINE;
	size_t		end = 0;
	at402_login login;

	while (end < limit && !is_line_end(bytes[end]))
		end++;
	if (end == AT402_MAX_LINE)
		return problem(frame, AT402_LINE_TOO_LONG, 0, AT402_MAX_LINE, available);
	if (end == limit)
		return problem(frame, AT402_INCOMPLETE, available, available + 1, available);

	frame->length = end + 1;
	if (bytes[end] == '\r' && end + 1 < available && bytes[end + 1] == '\n')
		frame->length++;
	frame->kind = at402_login_parse(bytes, frame->length, &login) ? AT402_FRAME_LOGIN
																  : AT402_FRAME_TEXT;
	return AT402_OK;
}

at402_status
at402_frame_scan(const uint8_t *bytes, size_t available, at402_frame *frame)
{
	size_t		least;
	size_t		length;
	uint16_t	computed;
	uint16_t	sent;

	memset(frame, 0, sizeof(*frame));
	if (available == 0)
		return problem(frame, AT402_INCOMPLETE, 0, 1, 0);
	if (bytes[0] == '$')
		return scan_line(bytes, available, frame);

	least = at402_least_length(bytes[0]);
	if (least == 0)
		return problem(frame, AT402_UNKNOWN_LETTER, 0, 0, bytes[0]);
	if (available < LENGTH_END)
		return problem(frame, AT402_INCOMPLETE, available, LENGTH_END, available);
	length = (size_t) bytes[1] << 8 | bytes[2];
	if (length < least)
		return problem(frame, AT402_BAD_LENGTH, 1, least, length);
	if (available < length)
		return problem(frame, AT402_INCOMPLETE, available, length, available);

	frame->kind = AT402_FRAME_PACKET;
	frame->length = length;
	computed = at402_crc16(bytes, length - CRC_SIZE);
	sent = (uint16_t) (bytes[length - 2] << 8 | bytes[length - 1]);
	if (computed != sent)
		return problem(frame, AT402_BAD_CRC, length - CRC_SIZE, computed, sent);
	return AT402_OK;
}

bool
at402_imei_valid(const uint8_t *digits, size_t length)
{
	unsigned	sum = 0;

	if (length != AT402_IMEI_DIGITS)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		unsigned	digit = (unsigned) (digits[i] - '0');

		if (digits[i] < '0' || digits[i] > '9')
			return false;
		/* Luhn: every second digit from the right is doubled, its digits added */
		if (i % 2 == 1)
			digit = digit * 2 > 9 ? digit * 2 - 9 : digit * 2;
		sum += digit;
	}
	return sum % 10 == 0;
}

at402_span
at402_line_text(const uint8_t *line, size_t length)
{
	while (length > 0 && is_line_end(line[length - 1]))
		length--;
	return (at402_span) {line, length};
}

bool
at402_login_parse(const uint8_t *line, size_t length, at402_login *login)
{
	static const char mark[] = "$ASTRA;";
	at402_span	text = at402_line_text(line, length);
	at402_span *const parts[] = {&login->model, &login->imei, &login->vin,
		&login->firmware, &login->protocol, &login->hardware, &login->settings_checksum};
	size_t		at = sizeof(mark) - 1;

	memset(login, 0, sizeof(*login));
	if (text.length < at || memcmp(text.bytes, mark, at) != 0)
		return false;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && at <= text.length; i++)
	{
		size_t		start = at;

		while (at < text.length && text.bytes[at] != ';')
			at++;
		*parts[i] = at402_text((at402_span) {text.bytes + start, at - start});
		at++;					/* the semicolon */
	}
	return true;
}

at402_span
at402_text(at402_span span)
{
	const uint8_t *nul = span.length > 0 ? memchr(span.bytes, 0, span.length) : NULL;

	if (nul != NULL)
		span.length = (size_t) (nul - span.bytes);
	while (span.length > 0 && span.bytes[span.length - 1] == ' ')
		span.length--;
	return span;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

bool
at402_parse_hex(const char *text, size_t length, uint8_t *bytes, size_t *count)
{
	size_t		at = 0;
	size_t		digits = 0;
	int			high = 0;

	while (at < length && is_space(text[at]))
		at++;
	if (length - at >= 2 && text[at] == '\\' && (text[at + 1] | 0x20) == 'x')
		at += 2;
	for (; at < length; at++)
	{
		int			digit = hex_digit(text[at]);

		if (digit < 0 && is_space(text[at]))
			continue;
		if (digit < 0)
		{
			*count = at;
			return false;
		}
		if (digits % 2 != 0)
			bytes[digits / 2] = (uint8_t) (high << 4 | digit);
		high = digit;
		digits++;
	}
	*count = digits % 2 == 0 ? digits / 2 : length;
	return digits % 2 == 0;
}
