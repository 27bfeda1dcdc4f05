/*
 * find.c - frames in a capture that also holds other bytes
 *
 * After a break in a capture any byte may begin a frame, and a length field in
 * noise may claim 65,535 bytes.  Computing a checksum for each such claim takes
 * quadratic time, so the checksum of any stretch is derived from the checksums
 * of two prefixes: CRC is linear, and moving a state over n zero bytes is a
 * multiplication by x^(8n).  Every byte is then looked at a bounded number of
 * times, whatever the bytes are.
 */
#include <string.h>

#include "at402.h"

#define POLYNOMIAL 0xA001		/* reflected: bit 15 is x^0 */
#define ONE 0x8000
#define X8 0x0080				/* x^8: one byte further */

/* a * b modulo the polynomial, reflected. */
static uint16_t
multiply(uint16_t a, uint16_t b)
{
	uint16_t	product = 0;

	for (uint16_t bit = ONE; bit != 0; bit >>= 1)
	{
		if (a & bit)
			product ^= b;
		b = (uint16_t) (b >> 1 ^ (b & 1 ? POLYNOMIAL : 0));
	}
	return product;
}

void
at402_finder_init(at402_finder *finder, const uint8_t *bytes, size_t length)
{
	finder->bytes = bytes;
	finder->length = length;
	finder->offset = 0;
	finder->until = length;
	finder->window = 0;
	finder->window_end = 0;
	finder->text_end = 0;
	finder->powers[0] = ONE;
	for (size_t n = 1; n <= AT402_MAX_FRAME && n <= length; n++)
		finder->powers[n] = multiply(finder->powers[n - 1], X8);
}

/* Checksum states of all prefixes of the stretch that begins here. */
static void
move_window(at402_finder *finder, size_t start)
{
	size_t		size = finder->length - start;
	uint16_t	crc = 0xFFFF;

	if (size > AT402_FINDER_WINDOW)
		size = AT402_FINDER_WINDOW;
	finder->window = start;
	finder->window_end = start + size;
	finder->prefix[0] = crc;
	for (size_t i = 0; i < size; i++)
		finder->prefix[i + 1] = crc = at402_crc16_step(crc, finder->bytes[start + i]);
}

/* CRC-16 of length bytes from start on, in constant time. */
static uint16_t
stretch_crc(at402_finder *finder, size_t start, size_t length)
{
	uint16_t	before;

	if (start < finder->window || start + length > finder->window_end)
		move_window(finder, start);
	before = finder->prefix[start - finder->window];
	return finder->prefix[start - finder->window + length] ^
		multiply(before ^ 0xFFFF, finder->powers[length]);
}

/* Length of the text line that begins at start; 0: none.  In a capture only
 * printable bytes make a line: in noise any byte 0x24 would. */
static size_t
line_length(at402_finder *finder, size_t start)
{
	const uint8_t *b = finder->bytes;
	size_t		end;

	if (finder->text_end < start)
		finder->text_end = start;
	while (finder->text_end < finder->length && b[finder->text_end] >= 0x20 &&
		   b[finder->text_end] != 0x7F)
		finder->text_end++;
	end = finder->text_end;
	if (end == finder->length || end - start >= AT402_MAX_LINE ||
		(b[end] != '\r' && b[end] != '\n'))
		return 0;
	if (b[end] == '\r' && end + 1 < finder->length && b[end + 1] == '\n')
		end++;
	return end + 1 - start;
}

static size_t
packet_length(at402_finder *finder, size_t start)
{
	const uint8_t *p = finder->bytes + start;
	size_t		least = at402_least_length(p[0]);
	size_t		length;

	if (least == 0 || finder->length - start < least)
		return 0;
	length = (size_t) p[1] << 8 | p[2];
	if (length < least || finder->length - start < length ||
		stretch_crc(finder, start, length - 2) != (p[length - 2] << 8 | p[length - 1]))
		return 0;
	return length;
}

bool
at402_find_frame(at402_finder *finder, size_t *start, size_t *length)
{
	for (; finder->offset < finder->until; finder->offset++)
	{
		*start = finder->offset;
		*length = finder->bytes[*start] == '$' ? line_length(finder, *start)
											   : packet_length(finder, *start);
		if (*length > 0)
		{
			finder->offset += *length;
			return true;
		}
	}
	return false;
}
