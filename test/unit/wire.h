/*
 * wire.h - packets written by hand, for tests
 *
 * A second hand: nothing here is taken from src/core, so that a slip there
 * cannot agree with itself.  The checksum is computed bit by bit.
 */
#ifndef AT402_WIRE_H
#define AT402_WIRE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- random numbers, the same in every run ---- */

static uint64_t wire_state = 0x9E3779B97F4A7C15;

static inline uint64_t
wire_random(void)
{
	wire_state ^= wire_state << 13;
	wire_state ^= wire_state >> 7;
	wire_state ^= wire_state << 17;
	return wire_state * 0x2545F4914F6CDD1D;
}

static inline unsigned
wire_below(unsigned limit)
{
	return (unsigned) (wire_random() >> 32) % limit;
}

/* ---- bytes ---- */

typedef struct wire
{
	size_t		length;
	uint8_t		bytes[65535];
} wire;

/* An unsigned integer, most significant byte first. */
static inline void
wire_put(wire *w, size_t width, uint64_t value)
{
	assert(w->length + width <= sizeof(w->bytes));
	for (size_t i = width; i > 0; i--)
		w->bytes[w->length++] = (uint8_t) (value >> 8 * (i - 1));
}

static inline void
wire_put_bytes(wire *w, const void *bytes, size_t n)
{
	assert(w->length + n <= sizeof(w->bytes));
	memcpy(w->bytes + w->length, bytes, n);
	w->length += n;
}

static inline void
wire_put_random(wire *w, size_t n)
{
	while (n-- > 0)
		wire_put(w, 1, wire_below(256));
}

/* CRC-16/MODBUS as it is defined. */
static inline uint16_t
wire_crc(const uint8_t *bytes, size_t length)
{
	uint16_t	crc = 0xFFFF;

	for (size_t i = 0; i < length * 8; i++)
	{
		bool		bit = (crc ^ bytes[i / 8] >> i % 8) & 1;

		crc = (uint16_t) (crc >> 1 ^ (bit ? 0xA001 : 0));
	}
	return crc;
}

/* ---- packets ---- */

static inline void
wire_begin(wire *w, char letter)
{
	w->length = 0;
	wire_put(w, 1, (uint8_t) letter);
	wire_put(w, 2, 0);
}

/* X and Y: report count and, where has_imei, an IMEI. */
static inline void
wire_count(wire *w, unsigned count, bool has_imei)
{
	wire_put(w, 1, count);
	if (has_imei)
	{
		wire_put(w, 4, 86087304);
		wire_put(w, 3, 1761486);
	}
}

/* X and Y: a report header; high is bits 64 to 79 of Y's module mask. */
static inline void
wire_report(wire *w, unsigned high, uint64_t mask)
{
	bool		y = w->bytes[0] == 'Y';

	wire_put(w, 1, 7);
	if (y)
		wire_put(w, 2, high);
	wire_put(w, y ? 8 : 6, mask);
	wire_put(w, 4, 0x566D3E80);
	wire_put(w, y ? 8 : 4, 0);
	wire_put(w, y ? 4 : 2, 0);
}

/* Length and checksum. */
static inline void
wire_end(wire *w)
{
	size_t		length = w->length + 2;

	w->bytes[1] = (uint8_t) (length >> 8);
	w->bytes[2] = (uint8_t) length;
	wire_put(w, 2, wire_crc(w->bytes, w->length));
}

/* The bytes in an allocation of just their size; free it. */
static inline uint8_t *
wire_copy(const void *bytes, size_t length)
{
	uint8_t    *copy = malloc(length);

	if (length > 0)
		memcpy(copy, bytes, length);
	return copy;
}

#endif							/* AT402_WIRE_H */
