/*
 * special.h - what the table's rows cannot say: sizes and contents of the
 * modules whose shape is not AT402_FIELDS
 */
#ifndef AT402_SPECIAL_H
#define AT402_SPECIAL_H

#include "cursor.h"
#include "table.h"

/*
 * Steps over the bytes that only tell a module's length and sets the length of
 * its content.  prefixed: modules carry a length (Y).  def NULL: unknown.
 */
extern at402_status at402_special_measure(const at402_module_def *def, bool prefixed, cursor *c,
										  uint64_t *length);

/* Is the content of a special module well formed? */
extern bool at402_special_fits(const at402_module *module);

/* Visits the values of a special module that fits. */
extern void at402_special_visit(const at402_module *module, at402_visitor visit, void *context);

/* Reads one field and moves on; false at the end of the bytes. */
extern bool at402_read_value(cursor *c, const at402_field_def *field, at402_value *value);

#endif							/* AT402_SPECIAL_H */
