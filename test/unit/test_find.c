/*
 * test_find.c - frames in a capture that also holds other bytes
 *
 * The finder is compared with a slow reference that tries every offset and
 * computes every checksum.  Where that would take too long, all frames that
 * were put in must be found.
 */
#include "unit.h"
#include "vectors.h"
#include "wire.h"

#include "core/at402.h"

typedef struct place
{
	size_t		start;
	size_t		length;
} place;

static at402_finder finder;

/* Length of the frame that begins at this offset, by the rules and no trick. */
static size_t
reference(const uint8_t *bytes, size_t length, size_t start)
{
	at402_frame frame;

	if (at402_frame_scan(bytes + start, length - start, &frame) != AT402_OK)
		return 0;
	/* in a capture only a line of printable bytes is one */
	if (bytes[start] == '$')
		for (size_t i = 0; bytes[start + i] != '\r' && bytes[start + i] != '\n'; i++)
			if (bytes[start + i] < 0x20 || bytes[start + i] == 0x7F)
				return 0;
	return frame.length;
}

/* As who wants to do something else meanwhile. */
static bool
find_in_steps(size_t *start, size_t *length)
{
	bool		found;

	do
	{
		finder.until = finder.offset + 1 + wire_below(9);
		if (finder.until > finder.length)
			finder.until = finder.length;
		found = at402_find_frame(&finder, start, length);
	} while (!found && finder.until < finder.length);
	return found;
}

static bool
agrees_with_reference(const uint8_t *bytes, size_t length)
{
	size_t		offset = 0;

	at402_finder_init(&finder, bytes, length);
	for (;;)
	{
		size_t		start = 0;
		size_t		found = 0;
		bool		more = find_in_steps(&start, &found);
		size_t		expected = 0;

		while (offset < length && (expected = reference(bytes, length, offset)) == 0)
			offset++;
		if (more != (offset < length) || (more && (start != offset || found != expected)))
			return false;
		if (!more)
			return !at402_find_frame(&finder, &start, &found);
		offset += found;
	}
}

/* ---- against the reference ---- */

/* Bytes that frames are made of, with small lengths: many beginnings, some frames. */
static void
test_small(void)
{
	static const char alphabet[] = "XYKMVC$$$$AB\r\n\0\0\0\0\0\1\x07\x1f\x7f\xff";
	bool		agrees = true;

	for (int round = 0; round < 3000; round++)
	{
		size_t		length = wire_below(300);
		uint8_t    *bytes = malloc(length);

		for (size_t i = 0; i < length; i++)
			bytes[i] = (uint8_t) alphabet[wire_below(sizeof(alphabet))];
		for (int frames = 0; frames < 4 && length > 20; frames++)
		{
			/* a packet at a random place, perhaps over another one */
			wire		w;
			size_t		n = wire_below(10);

			wire_begin(&w, "XYKMVC"[wire_below(6)]);
			wire_put_random(&w, n);
			wire_end(&w);
			memcpy(bytes + wire_below((unsigned) (length - w.length)), w.bytes, w.length);
		}
		agrees = agrees && agrees_with_reference(bytes, length);
		free(bytes);
	}
	CHECK(agrees);
}

static void
test_lines(void)
{
	static const struct
	{
		const char *bytes;
		size_t		start;
		size_t		length;
	}			lines[] = {
		{"$A\r\n", 0, 4}, {"$A\r", 0, 3}, {"$A\n\n", 0, 3}, {"x$\rx", 1, 2}, {"$\x01$A\r", 2, 3},
		{"$\x7f$A\r", 2, 3}, {"$A$B\r\n", 0, 6}, {"$\xe9\xff\r", 0, 4}, {"\r\n$A\r\n", 2, 4},
		{"$A", 0, 0}, {"$A\t\r", 0, 0}, {"A\r\n", 0, 0}, {"", 0, 0}};
	static char line[3 * AT402_MAX_LINE];
	size_t		start;
	size_t		length;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
	{
		size_t		n = strlen(lines[i].bytes);
		uint8_t    *copy = wire_copy(lines[i].bytes, n);

		at402_finder_init(&finder, copy, n);
		if (lines[i].length == 0)
			CHECK(!at402_find_frame(&finder, &start, &length));
		else
			CHECK(at402_find_frame(&finder, &start, &length) && start == lines[i].start &&
				  length == lines[i].length);
		CHECK(agrees_with_reference(copy, n));
		free(copy);
	}

	/* at the longest, and $ on the way to an end too far off */
	for (size_t n = AT402_MAX_LINE - 2; n < AT402_MAX_LINE + 3; n++)
		for (size_t dollar = 0; dollar < 4; dollar++)
		{
			memset(line, 'A', sizeof(line));
			line[0] = '$';
			line[dollar] = '$';
			line[n] = '\r';
			CHECK(agrees_with_reference((uint8_t *) line, sizeof(line)));
		}
}

/* ---- large captures ---- */

#define LARGE ((size_t) 8 << 20)

/* Noise of this kind; NULL for any byte that begins no frame. */
static uint8_t *
noise(const char *pattern, size_t n)
{
	uint8_t    *bytes = malloc(LARGE);

	for (size_t i = 0; i < LARGE; i++)
		if (pattern != NULL)
			bytes[i] = (uint8_t) pattern[i % n];
		else
			do
				bytes[i] = (uint8_t) wire_random();
			while (strchr("$XYKMVC", bytes[i]) != NULL && bytes[i] != 0);
	return bytes;
}

/*
 * Frames of all lengths put into noise, some joined, some apart, are found
 * again, also across the windows that the finder works with.
 */
static void
test_frames_in_noise(void)
{
	static vectors frames;
	static place places[20000];
	static wire w;
	size_t		count = 0;
	size_t		at = 0;
	uint8_t    *bytes = noise(NULL, 0);
	bool		found = true;
	size_t		start;
	size_t		length;

	vectors_read(&frames, "vectors/captured.jsonl");
	vectors_read(&frames, "vectors/x.jsonl");
	vectors_read(&frames, "vectors/y.jsonl");
	for (; count < sizeof(places) / sizeof(places[0]); count++)
	{
		unsigned	kind = wire_below(1000);
		size_t		i = wire_below((unsigned) frames.count);
		const uint8_t *frame = w.bytes;

		length = w.length;
		if (kind < 4)
		{
			/* the longest ones, which reach over the end of a window */
			wire_begin(&w, "XYKMVC"[wire_below(6)]);
			wire_put_random(&w, AT402_MAX_FRAME - 5 - wire_below(kind < 2 ? 60000 : 2));
			wire_end(&w);
			length = w.length;
		}
		else
		{
			frame = frames.of[i].bytes;
			length = frames.of[i].length;
		}
		if (wire_below(2) > 0)
			at += wire_below(300);
		if (LARGE - at < length + 300)
			break;
		memcpy(bytes + at, frame, length);
		places[count] = (place) {at, length};
		at += length;
	}
	CHECK(count > 5000 && count < sizeof(places) / sizeof(places[0]));

	at402_finder_init(&finder, bytes, LARGE);
	for (size_t i = 0; i < count && found; i++)
		found = at402_find_frame(&finder, &start, &length) && start == places[i].start &&
			length == places[i].length;
	CHECK(found && !at402_find_frame(&finder, &start, &length));
	vectors_free(&frames);
	free(bytes);
}

/*
 * Bytes each of which claims to begin a long frame.  They hold none; one packet
 * behind them is found.  A finder that computed each checksum would not come to
 * an end here.
 */
static void
test_false_beginnings(const char *pattern, size_t n)
{
	static wire w;
	uint8_t    *bytes = noise(pattern, n);
	size_t		start;
	size_t		length;

	wire_begin(&w, 'X');
	wire_count(&w, 1, false);
	wire_report(&w, 0, 0);
	wire_end(&w);
	memcpy(bytes + LARGE - w.length, w.bytes, w.length);
	at402_finder_init(&finder, bytes, LARGE);
	CHECK(at402_find_frame(&finder, &start, &length));
	CHECK(start == LARGE - w.length && length == w.length);
	CHECK(!at402_find_frame(&finder, &start, &length));
	free(bytes);
}

int
main(void)
{
	test_small();
	test_lines();
	test_frames_in_noise();
	test_false_beginnings("X", 1);
	test_false_beginnings("$", 1);
	test_false_beginnings("X\xff\xff", 3);
	test_false_beginnings("X\xff\xfeY\xff\xff", 6);
	test_false_beginnings("$A", 2);
	test_false_beginnings("$\x01", 2);
	return unit_done("test_find");
}
