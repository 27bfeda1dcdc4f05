/*
 * test_frame.c - checksum, where frames begin and end, text lines, IMEI
 */
#include "unit.h"
#include "vectors.h"
#include "wire.h"

#include "core/at402.h"

static vectors frames;

/* Scans a copy of just these bytes. */
static at402_status
scan(const void *bytes, size_t length, at402_frame *frame)
{
	uint8_t    *copy = wire_copy(bytes, length);
	at402_status status = at402_frame_scan(copy, length, frame);

	free(copy);
	return status;
}

static bool
is_text(at402_span span, const char *text)
{
	return span.bytes != NULL && span.length == strlen(text) &&
		memcmp(span.bytes, text, span.length) == 0;
}

/* ---- checksum ---- */

static void
test_crc(void)
{
	bool		equal = true;

	CHECK(at402_crc16((const uint8_t *) "123456789", 9) == 0x4B37);
	CHECK(at402_crc16(NULL, 0) == 0xFFFF);
	for (size_t length = 0; length <= 600; length++)
	{
		uint8_t    *bytes = malloc(length);
		uint16_t	crc = 0xFFFF;

		for (size_t i = 0; i < length; i++)
		{
			bytes[i] = (uint8_t) wire_random();
			crc = at402_crc16_step(crc, bytes[i]);
		}
		equal = equal && crc == wire_crc(bytes, length) && at402_crc16(bytes, length) == crc;
		free(bytes);
	}
	CHECK(equal);
}

/* ---- frames ---- */

/* Every frame of the vectors is good whole, and incomplete at every cut. */
static void
test_cuts(void)
{
	for (size_t i = 0; i < frames.count; i++)
	{
		const uint8_t *bytes = frames.of[i].bytes;
		size_t		length = frames.of[i].length;
		at402_frame frame;
		bool		good = true;

		CHECK(scan(bytes, length, &frame) == AT402_OK && frame.length == length);
		CHECK(frame.kind == (bytes[0] == '$' ? AT402_FRAME_LOGIN : AT402_FRAME_PACKET));
		for (size_t cut = 0; cut < length; cut++)
		{
			at402_status status = scan(bytes, cut, &frame);

			if (bytes[0] == '$' && cut > 0 && bytes[cut - 1] == '\r')
				good = good && status == AT402_OK && frame.length == cut;
			else
				good = good && status == AT402_INCOMPLETE && frame.length == 0 &&
					frame.problem.status == status && frame.problem.found == cut &&
					frame.problem.expected > cut && frame.problem.expected <= length;
		}
		if (!CHECK(good))
			printf("frame %zu\n", i);
	}
}

/* A packet with one wrong bit is never taken for one of the same length. */
static void
test_bit_errors(void)
{
	for (size_t i = 0; i < frames.count; i++)
	{
		uint8_t    *bytes = frames.of[i].bytes;
		size_t		length = frames.of[i].length;
		at402_frame frame;
		bool		found = true;

		if (bytes[0] == '$')
			continue;
		for (size_t bit = 0; bit < length * 8; bit++)
		{
			at402_status status;

			bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
			status = at402_frame_scan(bytes, length, &frame);
			found = found && (status != AT402_OK || frame.length != length);
			/* a length that did not change makes it certain what is wrong */
			if (bit >= 24)
				found = found && status == AT402_BAD_CRC && frame.length == length &&
					frame.problem.offset == length - 2 &&
					frame.problem.expected != frame.problem.found;
			bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
		}
		if (!CHECK(found))
			printf("frame %zu\n", i);
	}
}

/*
 * A receiver of a stream: an accumulator that takes off what is complete, as
 * any user of the scanner does.  The frames must come out in order.
 */
typedef struct receiver
{
	const uint8_t *stream;
	size_t		begin;			/* of what is not taken off yet */
	size_t		end;			/* of what has come */
	size_t		next;			/* frame expected */
	bool		after_cr;		/* a line feed may still come */
	bool		good;
} receiver;

static void
receive(receiver *r, size_t n)
{
	r->end += n;
	while (r->begin < r->end)
	{
		const uint8_t *bytes = r->stream + r->begin;
		uint8_t    *copy;
		at402_frame frame;
		at402_status status;
		at402_span	text;

		if (r->after_cr && bytes[0] == '\n')
		{
			r->begin++;
			continue;
		}
		r->after_cr = false;
		copy = wire_copy(bytes, r->end - r->begin);
		status = at402_frame_scan(copy, r->end - r->begin, &frame);
		free(copy);
		if (status == AT402_INCOMPLETE)
			break;
		if (status != AT402_OK || r->next == frames.count)
		{
			r->good = false;
			break;
		}
		if (bytes[0] == '$')
		{
			at402_span	expected = at402_line_text(frames.of[r->next].bytes,
												   frames.of[r->next].length);

			text = at402_line_text(bytes, frame.length);
			r->after_cr = bytes[frame.length - 1] == '\r';
			r->good = r->good && text.length == expected.length &&
				memcmp(text.bytes, expected.bytes, text.length) == 0;
		}
		else
			r->good = r->good && frame.length == frames.of[r->next].length &&
				memcmp(bytes, frames.of[r->next].bytes, frame.length) == 0;
		r->next++;
		r->begin += frame.length;
	}
}

/* Frames first to last joined; free it. */
static uint8_t *
join(size_t first, size_t last, size_t *length)
{
	uint8_t    *stream = NULL;

	*length = 0;
	for (size_t i = first; i <= last; i++)
	{
		stream = realloc(stream, *length + frames.of[i].length);
		memcpy(stream + *length, frames.of[i].bytes, frames.of[i].length);
		*length += frames.of[i].length;
	}
	return stream;
}

/*
 * The scanner has no memory, so what a cut in two does is seen in the frames
 * around it: every two neighbours are cut at every byte.
 */
static void
test_split_in_two(void)
{
	for (size_t i = 0; i + 1 < frames.count; i++)
	{
		size_t		length;
		uint8_t    *stream = join(i, i + 1, &length);
		bool		good = true;

		for (size_t cut = 0; cut <= length; cut++)
		{
			receiver	r = {.stream = stream, .next = i, .good = true};

			receive(&r, cut);
			receive(&r, length - cut);
			good = good && r.good && r.begin == length && r.next == i + 2;
		}
		if (!CHECK(good))
			printf("frames %zu and %zu\n", i, i + 1);
		free(stream);
	}
}

/* All frames as one stream, in pieces of random size up to limit. */
static void
test_split_at_random(unsigned limit)
{
	size_t		length;
	uint8_t    *stream = join(0, frames.count - 1, &length);
	receiver	r = {.stream = stream, .good = true};

	while (r.end < length)
	{
		size_t		piece = 1 + wire_below(limit);

		receive(&r, piece < length - r.end ? piece : length - r.end);
	}
	if (!CHECK(r.good && r.begin == length && r.next == frames.count))
		printf("pieces up to %u\n", limit);
	free(stream);
}

static void
test_lengths(void)
{
	static const struct
	{
		char		letter;
		size_t		least;
	}			letters[] = {{'X', 6}, {'Y', 6}, {'K', 12}, {'M', 12}, {'V', 12}, {'C', 5}};
	at402_frame frame;

	for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
	{
		wire		w;

		CHECK(at402_least_length((uint8_t) letters[i].letter) == letters[i].least);
		for (size_t length = 0; length < letters[i].least; length++)
		{
			const uint8_t head[] = {(uint8_t) letters[i].letter, 0, (uint8_t) length};

			CHECK(scan(head, 3, &frame) == AT402_BAD_LENGTH);
			CHECK(frame.problem.offset == 1 && frame.problem.expected == letters[i].least &&
				  frame.problem.found == length && frame.length == 0);
		}
		wire_begin(&w, letters[i].letter);
		wire_put_random(&w, letters[i].least - 5);
		wire_end(&w);
		CHECK(scan(w.bytes, w.length, &frame) == AT402_OK && frame.length == letters[i].least);
		wire_begin(&w, letters[i].letter);
		wire_put_random(&w, AT402_MAX_FRAME - 5);
		wire_end(&w);
		CHECK(scan(w.bytes, w.length, &frame) == AT402_OK && frame.length == AT402_MAX_FRAME);
	}
	for (unsigned letter = 0; letter < 256; letter++)
	{
		uint8_t		bytes[200] = {(uint8_t) letter};

		if (letter == 0 || strchr("$XYKMVC", (int) letter) == NULL)
		{
			CHECK(at402_least_length((uint8_t) letter) == 0);
			CHECK(scan(bytes, 1, &frame) == AT402_UNKNOWN_LETTER);
			CHECK(scan(bytes, sizeof(bytes), &frame) == AT402_UNKNOWN_LETTER);
			CHECK(frame.problem.found == letter && frame.length == 0);
		}
		else
			CHECK(scan(bytes, 1, &frame) == AT402_INCOMPLETE);
	}
}

/* ---- text lines ---- */

static void
test_lines(void)
{
	static const struct
	{
		const char *bytes;		/* ends where a frame would begin */
		const char *text;
	}			lines[] = {
		{"$POLL,OK\r\n", "$POLL,OK"},
		{"$POLL,OK\r", "$POLL,OK"},
		{"$POLL,OK\n", "$POLL,OK"},
		{"$\r", "$"},
		{"$ASTRA\r\n", "$ASTRA"},
		{"$astra;AT402\r\n", "$astra;AT402"},
		{"$\x01\x1b\x7f\xff\t\r\n", "$\x01\x1b\x7f\xff\t"},
	};
	at402_frame frame;
	char		line[AT402_MAX_LINE + 2];
	at402_span	text;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
	{
		CHECK(scan(lines[i].bytes, strlen(lines[i].bytes), &frame) == AT402_OK);
		CHECK(frame.kind == AT402_FRAME_TEXT && frame.length == strlen(lines[i].bytes));
		CHECK(is_text(at402_line_text((const uint8_t *) lines[i].bytes, frame.length),
					  lines[i].text));
	}

	/* only one end belongs to a line */
	CHECK(scan("$A\r\r\n", 5, &frame) == AT402_OK && frame.length == 3);
	CHECK(scan("$A\n\r", 4, &frame) == AT402_OK && frame.length == 3);
	CHECK(scan("$A\n\n", 4, &frame) == AT402_OK && frame.length == 3);
	CHECK(scan("$A\r\n\n", 5, &frame) == AT402_OK && frame.length == 4);

	/* NUL is a character like others here */
	CHECK(scan("$A\0B\r\n", 6, &frame) == AT402_OK && frame.length == 6);
	text = at402_line_text((const uint8_t *) "$A\0B\r\n", 6);
	CHECK(text.length == 4 && memcmp(text.bytes, "$A\0B", 4) == 0);
	CHECK(at402_line_text((const uint8_t *) "\r\n", 2).length == 0);

	/* a line may have 1,024 bytes with its CR or LF */
	memset(line, 'A', sizeof(line));
	line[0] = '$';
	for (size_t length = 1; length < AT402_MAX_LINE; length++)
	{
		CHECK(scan(line, length, &frame) == AT402_INCOMPLETE);
		CHECK(frame.problem.expected == length + 1 && frame.problem.found == length);
	}
	CHECK(scan(line, AT402_MAX_LINE, &frame) == AT402_LINE_TOO_LONG && frame.length == 0);
	CHECK(scan(line, sizeof(line), &frame) == AT402_LINE_TOO_LONG);
	line[AT402_MAX_LINE] = '\r';
	CHECK(scan(line, sizeof(line), &frame) == AT402_LINE_TOO_LONG);
	line[AT402_MAX_LINE - 1] = '\r';
	CHECK(scan(line, AT402_MAX_LINE, &frame) == AT402_OK && frame.length == AT402_MAX_LINE);
	line[AT402_MAX_LINE] = '\n';
	CHECK(scan(line, sizeof(line), &frame) == AT402_OK && frame.length == AT402_MAX_LINE + 1);
	line[AT402_MAX_LINE - 1] = '\n';
	CHECK(scan(line, sizeof(line), &frame) == AT402_OK && frame.length == AT402_MAX_LINE);
}

/* Reads a copy of a login line, so that nothing behind it can be read. */
static bool
parse(const char *line, size_t length, at402_login *login)
{
	static uint8_t *copy;

	free(copy);
	copy = wire_copy(line, length);
	return at402_login_parse(copy, length, login);
}

static void
test_login(void)
{
	static const char full[] =
		"$ASTRA;AT402;860873045366969;WVWZZZ1JZXW000001;7.0.70.3;X;1;A1B2\r\n";
	at402_login login;
	at402_frame frame;

	CHECK(scan(full, strlen(full), &frame) == AT402_OK && frame.kind == AT402_FRAME_LOGIN);
	for (size_t end = 0; end <= 2; end++)	/* CR LF, CR, nothing */
	{
		CHECK(parse(full, strlen(full) - end, &login));
		CHECK(is_text(login.model, "AT402") && is_text(login.imei, "860873045366969"));
		CHECK(is_text(login.vin, "WVWZZZ1JZXW000001") && is_text(login.firmware, "7.0.70.3"));
		CHECK(is_text(login.protocol, "X") && is_text(login.hardware, "1"));
		CHECK(is_text(login.settings_checksum, "A1B2"));
	}

	/* missing fields are none, empty ones are empty */
	CHECK(parse("$ASTRA;AT402;860873045366969;;7.0;X;1\n", 38, &login));
	CHECK(is_text(login.vin, "") && is_text(login.firmware, "7.0") && is_text(login.hardware, "1"));
	CHECK(login.settings_checksum.bytes == NULL && login.settings_checksum.length == 0);
	CHECK(parse("$ASTRA;AT402", 12, &login));
	CHECK(is_text(login.model, "AT402") && login.imei.bytes == NULL && login.vin.bytes == NULL);
	CHECK(parse("$ASTRA;AT402;", 13, &login));
	CHECK(is_text(login.model, "AT402") && is_text(login.imei, "") && login.vin.bytes == NULL);
	CHECK(parse("$ASTRA;\r\n", 9, &login));
	CHECK(is_text(login.model, "") && login.imei.bytes == NULL);
	CHECK(parse("$ASTRA;;;;;;;;;;;;\r", 19, &login));
	CHECK(is_text(login.model, "") && is_text(login.settings_checksum, ""));
	CHECK(parse("$ASTRA;1;2;3;4;5;6;7;8;9", 24, &login));
	CHECK(is_text(login.hardware, "6") && is_text(login.settings_checksum, "7"));

	/* NUL ends a field, trailing blanks go, other control characters stay */
	CHECK(parse("$ASTRA;AT402\0x;1 ;\x01\x1b; ;Z \r\n", 26, &login));
	CHECK(is_text(login.model, "AT402") && is_text(login.imei, "1"));
	CHECK(is_text(login.vin, "\x01\x1b") && is_text(login.firmware, "") &&
		  is_text(login.protocol, "Z"));
	CHECK(parse("$ASTRA;\xe9\xff", 9, &login) && is_text(login.model, "\xe9\xff"));

	CHECK(!parse("", 0, &login) && !parse("$", 1, &login) && !parse("\r\n", 2, &login));
	CHECK(!parse("$ASTRA", 6, &login) && !parse("$ASTRA\r\n;", 9, &login));
	CHECK(!parse("$astra;AT402", 12, &login) && !parse(" $ASTRA;", 8, &login));
	parse("", 0, &login);		/* gives the copy back */
}

static void
test_text(void)
{
	CHECK(is_text(at402_text((at402_span) {(const uint8_t *) "abc  ", 5}), "abc"));
	CHECK(is_text(at402_text((at402_span) {(const uint8_t *) "  a b", 5}), "  a b"));
	CHECK(is_text(at402_text((at402_span) {(const uint8_t *) "ab\0cd", 5}), "ab"));
	CHECK(is_text(at402_text((at402_span) {(const uint8_t *) "ab \0", 4}), "ab"));
	CHECK(is_text(at402_text((at402_span) {(const uint8_t *) "\0abc", 4}), ""));
	CHECK(is_text(at402_text((at402_span) {(const uint8_t *) "    ", 4}), ""));
	CHECK(at402_text((at402_span) {NULL, 0}).length == 0);
}

/* ---- IMEI ---- */

static bool
imei_valid(const char *digits)
{
	uint8_t    *copy = wire_copy(digits, strlen(digits));
	bool		valid = at402_imei_valid(copy, strlen(digits));

	free(copy);
	return valid;
}

static void
test_imei(void)
{
	static const char *const good[] = {"860873041761486", "860873045366969", "866224026657899",
		"862950025797534", "357322043523841", "490154203237518"};
	static const char *const bad[] = {"", "0", "86087304176148", "8608730417614860",
		"86087304176148a", "86087304176148 ", " 60873041761486", "86087304176148:",
		"86087304176148/", "860873041761\xff\x38\x36", "352625333222111", "860873041764186",
		/* characters before and after the digits that would make a good sum */
		"86361656346573:", "86361656346573&"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
	{
		char		imei[] = "000000000000000";

		CHECK(imei_valid(good[i]));
		/* every wrong digit is seen */
		for (size_t at = 0; at < AT402_IMEI_DIGITS; at++)
			for (char digit = '0'; digit <= '9'; digit++)
			{
				memcpy(imei, good[i], AT402_IMEI_DIGITS);
				imei[at] = digit;
				CHECK(imei_valid(imei) == (digit == good[i][at]));
			}
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!imei_valid(bad[i]));
}

/* ---- hexadecimal ---- */

static void
test_parse_hex(void)
{
	static const struct
	{
		const char *text;
		const char *bytes;		/* as hex; NULL: refused at offset */
		size_t		offset;
	}			texts[] = {
		{"", "", 0}, {"\\x", "", 0}, {"\\X", "", 0}, {" \t\n\v\f\r", "", 0},
		{"0009afAF", "0009AFAF", 0}, {"9876543210", "9876543210", 0},
		{"abcdefABCDEF", "ABCDEFABCDEF", 0}, {"\\x58ff", "58FF", 0}, {" \n\\x5 8 f\tf ", "58FF", 0},
		{"5", NULL, 1}, {"580", NULL, 3}, {"5 8f", NULL, 4}, {"5g", NULL, 1},
		{"\\x58\\x59", NULL, 4}, {"\\y58", NULL, 0}, {"\\", NULL, 0}, {"x58", NULL, 0},
		{"58/", NULL, 2}, {"58:", NULL, 2}, {"58@", NULL, 2}, {"58G", NULL, 2}, {"58`", NULL, 2},
		{"58\xff", NULL, 2}, {"0x58", NULL, 1}, {"58\x0e", NULL, 2}, {"58\x08", NULL, 2}};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		size_t		length = strlen(texts[i].text);
		uint8_t    *text = wire_copy(texts[i].text, length);
		uint8_t    *bytes = malloc(length / 2);
		char		hex[100] = "";
		size_t		count = 0;
		bool		good = at402_parse_hex((const char *) text, length, bytes, &count);

		CHECK(good == (texts[i].bytes != NULL));
		for (size_t b = 0; good && b < count; b++)
			sprintf(hex + 2 * b, "%02X", bytes[b]);
		if (!CHECK(good ? strcmp(hex, texts[i].bytes) == 0 : count == texts[i].offset))
			printf("text: %s\n", texts[i].text);
		free(text);
		free(bytes);
	}
	/* a NUL is a character like others */
	CHECK(!at402_parse_hex("58\0" "59", 5, (uint8_t[2]) {0}, &(size_t) {0}));
}

static void
test_status_text(void)
{
	for (int status = AT402_OK; status <= AT402_LEFT_OVER; status++)
	{
		const char *text = at402_status_text((at402_status) status);

		CHECK(strcmp(text, "unknown status") != 0);
		CHECK(text[0] >= 'a' && text[0] <= 'z' && text[strlen(text) - 1] != '.');
		for (int other = AT402_OK; other < status; other++)
			CHECK(strcmp(text, at402_status_text((at402_status) other)) != 0);
	}
}

int
main(void)
{
	vectors_read(&frames, "vectors/captured.jsonl");
	vectors_read(&frames, "vectors/other.jsonl");
	vectors_read(&frames, "vectors/x.jsonl");
	vectors_read(&frames, "vectors/y.jsonl");

	test_crc();
	test_cuts();
	test_bit_errors();
	test_split_in_two();
	test_split_at_random(1);
	for (unsigned limit = 2; limit < 5000; limit += 1 + limit / 2)
		test_split_at_random(limit);
	test_lengths();
	test_lines();
	test_login();
	test_text();
	test_imei();
	test_parse_hex();
	test_status_text();

	vectors_free(&frames);
	return unit_done("test_frame");
}
