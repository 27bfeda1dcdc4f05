/*
 * fuzz_frame.c - a stream gives the same frames however it is split, and the
 * finder finds what a slow search finds
 */
#include <string.h>

#include "core/at402.h"
#include "fuzz.h"

#define MAX_STREAM 4096

/* What a receiver saw: frames taken off, and how it ended. */
typedef struct seen
{
	size_t		count;
	struct
	{
		size_t		start;
		size_t		length;		/* of a line without its end */
		at402_status status;
		at402_frame_kind kind;
	}			frames[MAX_STREAM];
	size_t		end;			/* where the stream could not be followed, or its end */
	at402_status status;
} seen;

/* Takes off frames while the stream comes in pieces of this size. */
static void
receive(const uint8_t *stream, size_t length, size_t piece, seen *s)
{
	size_t		begin = 0;
	bool		after_cr = false;

	s->count = 0;
	s->end = 0;
	s->status = AT402_OK;
	for (size_t come = 0; come < length;)
	{
		come = length - come < piece ? length : come + piece;
		while (begin < come)
		{
			const uint8_t *bytes = stream + begin;
			at402_frame frame;

			if (after_cr && bytes[0] == '\n')
			{
				begin++;		/* belongs to the line before */
				after_cr = false;
				continue;
			}
			s->status = at402_frame_scan(bytes, come - begin, &frame);
			s->end = begin;
			if (s->status == AT402_INCOMPLETE)
			{
				REQUIRE(frame.length == 0 && frame.problem.expected > come - begin);
				break;
			}
			if (s->status != AT402_OK && s->status != AT402_BAD_CRC)
			{
				REQUIRE(frame.length == 0);
				return;
			}
			REQUIRE(frame.length > 0 && frame.length <= come - begin);
			s->frames[s->count].start = begin;
			s->frames[s->count].status = s->status;
			s->frames[s->count].kind = frame.kind;
			s->frames[s->count].length = bytes[0] == '$' ?
				at402_line_text(bytes, frame.length).length : frame.length;
			s->count++;
			begin += frame.length;
			after_cr = bytes[0] == '$' && bytes[frame.length - 1] == '\r';
		}
		if (begin == come)		/* nothing is left that could be incomplete */
		{
			s->end = begin;
			s->status = AT402_OK;
		}
	}
}

static size_t
slow_length(const uint8_t *bytes, size_t available)
{
	at402_frame frame;

	if (at402_frame_scan(bytes, available, &frame) != AT402_OK)
		return 0;
	for (size_t i = 0; bytes[0] == '$' && bytes[i] != '\r' && bytes[i] != '\n'; i++)
		if (bytes[i] < 0x20 || bytes[i] == 0x7F)
			return 0;
	return frame.length;
}

static void
find(const uint8_t *bytes, size_t length)
{
	static at402_finder finder;
	size_t		offset = 0;
	size_t		start;
	size_t		found;

	at402_finder_init(&finder, bytes, length);
	while (at402_find_frame(&finder, &start, &found))
	{
		for (; offset < start; offset++)
			REQUIRE(slow_length(bytes + offset, length - offset) == 0);
		REQUIRE(offset == start && found > 0);
		REQUIRE(slow_length(bytes + start, length - start) == found);
		offset += found;
	}
	for (; offset < length; offset++)
		REQUIRE(slow_length(bytes + offset, length - offset) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces[] = {1, 2, 3, 17, 200};
	static seen whole;
	static seen split;

	if (size > MAX_STREAM)
		return 0;
	receive(data, size, size, &whole);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
	{
		receive(data, size, pieces[i], &split);
		REQUIRE(whole.end == split.end && whole.status == split.status);
		REQUIRE(whole.count == split.count &&
				memcmp(whole.frames, split.frames, whole.count * sizeof(whole.frames[0])) == 0);
	}
	find(data, size);
	return 0;
}
