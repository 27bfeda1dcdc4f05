/*
 * command.c - commands to a device, its answers, and what it asks of drivers
 *
 * A message is one or more commands, $CODE,arguments, without a separator.  Each
 * is answered by a line $CODE,OK, UN, ER or PR, or by one with data; $PARA by
 * several.  The answers come in the order of the commands, and nothing but the
 * code tells which command a line answers: a line whose code is not awaited
 * next is no answer.
 */
#include "at402.h"

#include <string.h>

#define CODE_END (1 + AT402_CODE_SIZE)	/* after $ and code */

static bool
has_code(const char *code, const char *expected)
{
	return memcmp(code, expected, AT402_CODE_SIZE) == 0;
}

void
at402_awaited_begin(at402_awaited *a, const char *message)
{
	memset(a, 0, sizeof(*a));
	for (const char *at = message; (at = strchr(at, '$')) != NULL; at++)
		if (strlen(at) >= CODE_END && a->count < AT402_MAX_CODES)
			memcpy(a->codes[a->count++], at + 1, AT402_CODE_SIZE);
}

/* The code of a line, or NULL; *rest: what follows it and a comma. */
static const char *
read_code(at402_span text, at402_span *rest)
{
	if (text.length < CODE_END || text.bytes[0] != '$' ||
		(text.length > CODE_END && text.bytes[CODE_END] != ','))
		return NULL;
	rest->bytes = text.bytes + CODE_END + (text.length > CODE_END);
	rest->length = text.length - (size_t) (rest->bytes - text.bytes);
	return (const char *) text.bytes + 1;
}

/* OK, UN, ER or PR; else NULL: data. */
static const char *
read_status(at402_span rest)
{
	static const char *const statuses[] = {"OK", "UN", "ER", "PR"};
	at402_span	text = at402_text(rest);

	for (size_t i = 0; text.length == 2 && i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (memcmp(text.bytes, statuses[i], 2) == 0)
			return statuses[i];
	return NULL;
}

static bool
is_awaited(const at402_awaited *a, int n, const char *code)
{
	return n < a->count && code != NULL && has_code(a->codes[n], code);
}

/* Which of the commands does a line with this code answer?  -1: none. */
static int
answered_by(const at402_awaited *a, const char *code)
{
	/* a PIN need not be answered */
	bool		may_skip = a->begun || (a->next == 0 && has_code(a->codes[0], "PASS"));

	if (may_skip && is_awaited(a, a->next + 1, code))
		return a->next + 1;
	if (is_awaited(a, a->next, code))
		return a->next;
	return a->begun && code != NULL && has_code(a->codes[a->next], "PARA") ? a->next : -1;
}

at402_answer
at402_awaited_take(at402_awaited *a, const uint8_t *line, size_t length)
{
	at402_span	rest = {0};
	const char *code = read_code(at402_line_text(line, length), &rest);
	const char *status;
	bool		several;
	int			n = answered_by(a, code);

	if (n < 0)
		return AT402_ANSWER_NONE;
	several = has_code(a->codes[n], "PARA");
	status = has_code(a->codes[n], code) ? read_status(rest) : NULL;
	a->next = n;
	a->begun = true;
	a->secret = has_code(code, "PASS");
	if (status == NULL)
		return n == a->count - 1 && !several && line[length - 1] == '\n' ? AT402_ANSWER_WHOLE
																		  : AT402_ANSWER_PART;
	a->refused |= strcmp(status, "OK") != 0;
	a->next++;
	a->begun = false;
	return a->next == a->count ? AT402_ANSWER_WHOLE : AT402_ANSWER_PART;
}

bool
at402_awaited_may_end(const at402_awaited *a)
{
	return a->begun && a->next == a->count - 1;
}

/* The next field of a line; false: there is none. */
static bool
next_field(at402_span *rest, at402_span *field)
{
	const uint8_t *comma;

	if (rest->bytes == NULL)
		return false;
	comma = rest->length > 0 ? memchr(rest->bytes, ',', rest->length) : NULL;
	field->bytes = rest->bytes;
	field->length = comma != NULL ? (size_t) (comma - rest->bytes) : rest->length;
	rest->length -= comma != NULL ? field->length + 1 : field->length;
	rest->bytes = comma != NULL ? comma + 1 : NULL;
	*field = at402_text(*field);
	return true;
}

/* As a device shows a key. */
static bool
is_hex(at402_span field)
{
	for (size_t i = 0; i < field.length; i++)
		if (field.bytes[i] == '\0' || strchr("0123456789ABCDEFabcdef", field.bytes[i]) == NULL)
			return false;
	return field.length > 0 && field.length <= AT402_KEY_DIGITS;
}

bool
at402_driver_check_parse(const uint8_t *line, size_t length, at402_driver_check *check)
{
	at402_span	rest;
	at402_span	field = {0};
	const char *code = read_code(at402_line_text(line, length), &rest);

	if (code == NULL || !has_code(code, "DRID"))
		return false;
	while (field.length != 5 || memcmp(field.bytes, "CHECK", 5) != 0)
		if (!next_field(&rest, &field))
			return false;
	return next_field(&rest, &check->imei) && next_field(&rest, &check->family) &&
		next_field(&rest, &check->serial) &&
		at402_imei_valid(check->imei.bytes, check->imei.length) && is_hex(check->family) &&
		is_hex(check->serial);
}
