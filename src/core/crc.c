/*
 * crc.c - CRC-16/MODBUS, the checksum of every packet
 *
 * Eight bytes a step: slice k holds the checksum of each byte value followed
 * by k zero bytes.  A CRC is linear, so the eight entries for the single bits
 * give all 256 of a slice, and the compiler builds the tables as constants.
 */
#include "at402.h"

#define ENTRY(i, b0, b1, b2, b3, b4, b5, b6, b7)                                                   \
	(uint16_t) (((i) & 1 ? (b0) : 0) ^ ((i) & 2 ? (b1) : 0) ^ ((i) & 4 ? (b2) : 0) ^               \
				((i) & 8 ? (b3) : 0) ^ ((i) & 16 ? (b4) : 0) ^ ((i) & 32 ? (b5) : 0) ^             \
				((i) & 64 ? (b6) : 0) ^ ((i) & 128 ? (b7) : 0))
#define ENTRIES_4(i, ...)                                                                          \
	ENTRY(i, __VA_ARGS__), ENTRY((i) + 1, __VA_ARGS__), ENTRY((i) + 2, __VA_ARGS__),               \
		ENTRY((i) + 3, __VA_ARGS__)
#define ENTRIES_16(i, ...)                                                                         \
	ENTRIES_4(i, __VA_ARGS__), ENTRIES_4((i) + 4, __VA_ARGS__), ENTRIES_4((i) + 8, __VA_ARGS__),   \
		ENTRIES_4((i) + 12, __VA_ARGS__)
#define ENTRIES_64(i, ...)                                                                         \
	ENTRIES_16(i, __VA_ARGS__), ENTRIES_16((i) + 16, __VA_ARGS__),                                 \
		ENTRIES_16((i) + 32, __VA_ARGS__), ENTRIES_16((i) + 48, __VA_ARGS__)
#define SLICE(...)                                                                                 \
	{                                                                                              \
		ENTRIES_64(0, __VA_ARGS__), ENTRIES_64(64, __VA_ARGS__), ENTRIES_64(128, __VA_ARGS__),     \
			ENTRIES_64(192, __VA_ARGS__)                                                           \
	}

/* Arguments: the checksums, from 0, of the bytes 1, 2, 4 ... 128 and k zeros. */
static const uint16_t slices[8][256] = {
	SLICE(0xC0C1, 0xC181, 0xC301, 0xC601, 0xCC01, 0xD801, 0xF001, 0xA001),
	SLICE(0x9001, 0x6001, 0xC002, 0xC007, 0xC00D, 0xC019, 0xC031, 0xC061),
	SLICE(0xC051, 0xC0A1, 0xC141, 0xC281, 0xC501, 0xCA01, 0xD401, 0xE801),
	SLICE(0xFC01, 0xB801, 0x3001, 0x6002, 0xC004, 0xC00B, 0xC015, 0xC029),
	SLICE(0xC03D, 0xC079, 0xC0F1, 0xC1E1, 0xC3C1, 0xC781, 0xCF01, 0xDE01),
	SLICE(0xD101, 0xE201, 0x8401, 0x4801, 0x9002, 0x6007, 0xC00E, 0xC01F),
	SLICE(0xC010, 0xC023, 0xC045, 0xC089, 0xC111, 0xC221, 0xC441, 0xC881),
	SLICE(0xCCC1, 0xD981, 0xF301, 0xA601, 0x0C01, 0x1802, 0x3004, 0x6008),
};

uint16_t
at402_crc16_step(uint16_t crc, uint8_t byte)
{
	return (uint16_t) (crc >> 8 ^ slices[0][(crc ^ byte) & 0xFF]);
}

uint16_t
at402_crc16(const uint8_t *bytes, size_t length)
{
	return at402_crc16_more(0xFFFF, bytes, length);
}

uint16_t
at402_crc16_more(uint16_t crc, const uint8_t *bytes, size_t length)
{
	for (; length >= 8; bytes += 8, length -= 8)
		crc = slices[7][bytes[0] ^ (crc & 0xFF)] ^ slices[6][bytes[1] ^ (crc >> 8)] ^
			slices[5][bytes[2]] ^ slices[4][bytes[3]] ^ slices[3][bytes[4]] ^
			slices[2][bytes[5]] ^ slices[1][bytes[6]] ^ slices[0][bytes[7]];
	for (; length > 0; bytes++, length--)
		crc = at402_crc16_step(crc, *bytes);
	return crc;
}
