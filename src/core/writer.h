/*
 * writer.h - the only way the core puts bytes into a packet being made
 *
 * A writer that is full drops what does not fit and says so at the end
 * (overflow), so that nobody has to ask after each byte.
 */
#ifndef AT402_WRITER_H
#define AT402_WRITER_H

#include <string.h>

#include "at402.h"

/* Room for n more bytes, which are zero; NULL where there is none. */
static inline uint8_t *
writer_extend(at402_writer *w, size_t n)
{
	if (w->overflow || w->capacity - w->length < n)
	{
		w->overflow = true;
		return NULL;
	}
	w->length += n;
	return w->bytes + w->length - n;
}

/* An unsigned integer of width bytes, most significant first. */
static inline void
writer_put_at(uint8_t *at, size_t width, uint64_t value)
{
	for (size_t i = width; i > 0; i--, value >>= 8)
		at[i - 1] = (uint8_t) value;
}

static inline void
writer_put(at402_writer *w, size_t width, uint64_t value)
{
	uint8_t    *at = writer_extend(w, width);

	if (at != NULL)
		writer_put_at(at, width, value);
}

static inline void
writer_put_span(at402_writer *w, at402_span span)
{
	uint8_t    *at = writer_extend(w, span.length);

	if (at != NULL && span.length > 0)
		memcpy(at, span.bytes, span.length);
}

#endif							/* AT402_WRITER_H */
