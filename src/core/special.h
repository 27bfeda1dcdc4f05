/*
 * special.h - what the table's rows cannot say: sizes and contents of the
 * modules whose shape is not AT402_FIELDS
 */
#ifndef AT402_SPECIAL_H
#define AT402_SPECIAL_H

#include "field.h"

/* Bytes before the content that tell its length; 0: none.  prefixed: modules
 * carry a length.  def NULL: unknown. */
extern size_t at402_prefix_width(const at402_module_def *def, bool prefixed);

/* Does that length count itself? */
extern bool at402_prefix_counts(const at402_module_def *def);

/* Steps over them and sets the length of the content. */
MUST_CHECK extern at402_status at402_special_measure(const at402_module_def *def, bool prefixed,
													 cursor *c, uint64_t *length);

/* Is the content of a special module well formed? */
extern bool at402_special_fits(const at402_module *module);

/* Why a module is raw, where there is more to say than that it is too short; NULL. */
extern const char *at402_special_fault(const at402_module_def *def);

extern void at402_special_visit(const at402_module *module, at402_visitor visit, void *context);

extern void at402_put_special(at402_writer *w, const at402_module_def *def, bool prefixed,
							  const at402_source *source);

/* K, M, V: bytes of a block of a report with these flags; 0: it has none. */
extern size_t at402_block_size(const at402_variant_def *v, unsigned number, uint64_t reasons,
							   uint64_t status);

#endif							/* AT402_SPECIAL_H */
