/*
 * cursor.h - the only way the core touches bytes from the wire
 *
 * A cursor is a window on the caller's bytes.  Every reader checks the end
 * first and returns false without moving when the bytes do not suffice, so no
 * length that lies can lead outside the window.
 */
#ifndef AT402_CURSOR_H
#define AT402_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a reader or a check found must be looked at. */
#define MUST_CHECK __attribute__((warn_unused_result))

typedef struct cursor
{
	const uint8_t *bytes;
	size_t		length;
	size_t		offset;			/* never past length */
} cursor;

static inline size_t
cursor_left(const cursor *c)
{
	return c->length - c->offset;
}

/* The next n bytes in place. */
MUST_CHECK static inline bool
cursor_take(cursor *c, size_t n, const uint8_t **bytes)
{
	if (cursor_left(c) < n)
		return false;
	*bytes = c->bytes + c->offset;
	c->offset += n;
	return true;
}

MUST_CHECK static inline bool
cursor_skip(cursor *c, size_t n)
{
	const uint8_t *ignored;

	return cursor_take(c, n, &ignored);
}

MUST_CHECK static inline bool
cursor_seek(cursor *c, size_t offset)
{
	if (offset > c->length)
		return false;
	c->offset = offset;
	return true;
}

/* Back by n bytes that were read. */
static inline void
cursor_back(cursor *c, size_t n)
{
	c->offset -= n;
}

/* An unsigned integer of width bytes (1 to 8), most significant first. */
MUST_CHECK static inline bool
cursor_uint(cursor *c, size_t width, uint64_t *value)
{
	const uint8_t *p;
	uint64_t	v = 0;

	if (!cursor_take(c, width, &p))
		return false;
	for (size_t i = 0; i < width; i++)
		v = v << 8 | p[i];
	*value = v;
	return true;
}

/* The same, least significant byte first. */
MUST_CHECK static inline bool
cursor_uint_le(cursor *c, size_t width, uint64_t *value)
{
	const uint8_t *p;
	uint64_t	v = 0;

	if (!cursor_take(c, width, &p))
		return false;
	for (size_t i = width; i > 0; i--)
		v = v << 8 | p[i - 1];
	*value = v;
	return true;
}

#endif							/* AT402_CURSOR_H */
