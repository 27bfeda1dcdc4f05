/*
 * field.h - reading and writing the value of one field
 */
#ifndef AT402_FIELD_H
#define AT402_FIELD_H

#include "cursor.h"
#include "table.h"
#include "writer.h"

/* Reads one field and moves on; false at the end of the bytes. */
MUST_CHECK extern bool at402_read_value(cursor *c, const at402_field_def *field,
										at402_value *value);

/* Writes the value that the source has for a field, and moves on. */
extern void at402_put_field(at402_writer *w, const at402_field_def *field,
							const at402_source *source);

/* What the source has for a field; zero or no bytes, and false, where it has
 * nothing. */
extern bool at402_get_raw(const at402_source *source, const at402_field_def *field, int64_t *raw);
extern bool at402_get_span(const at402_source *source, const at402_field_def *field,
						   at402_span *span);

#endif							/* AT402_FIELD_H */
