/*
 * fuzz.h - what a fuzz target is: a function that takes any bytes and aborts
 * when a rule is broken
 *
 * libFuzzer calls it with bytes it invents (make fuzz); replay.c calls it with
 * bytes from files, with any compiler (make unit).
 */
#ifndef AT402_FUZZ_H
#define AT402_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/at402.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                         \
	do                                                                                             \
	{                                                                                              \
		if (!(condition))                                                                          \
		{                                                                                          \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                \
			abort();                                                                               \
		}                                                                                          \
	} while (0)

/*
 * A packet of these bytes, with length and checksum made right: bytes that get
 * no further than the checksum teach the fuzzer nothing.  Of just this size, so
 * that nothing behind it may be read; NULL when no packet begins so.
 */
static inline uint8_t *
fuzz_packet(const uint8_t *data, size_t size)
{
	uint8_t    *bytes;
	uint16_t	crc;

	if (size < 1 || size > AT402_MAX_FRAME || at402_least_length(data[0]) == 0 ||
		size < at402_least_length(data[0]))
		return NULL;
	bytes = malloc(size);
	memcpy(bytes, data, size);
	bytes[1] = (uint8_t) (size >> 8);
	bytes[2] = (uint8_t) size;
	crc = at402_crc16(bytes, size - 2);
	bytes[size - 2] = (uint8_t) (crc >> 8);
	bytes[size - 1] = (uint8_t) crc;
	return bytes;
}

#endif							/* AT402_FUZZ_H */
