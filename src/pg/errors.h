/*
 * errors.h - the core's findings as PostgreSQL errors
 */
#ifndef AT402_ERRORS_H
#define AT402_ERRORS_H

#include "core/at402.h"

/*
 * Raises ERROR 22P03 (invalid binary representation) for bytes that are no
 * frame, with what was expected, what was found and at which offset.
 */
extern void at402_raise_problem(const at402_problem *problem) pg_attribute_noreturn();

/* The same facts as one palloc'd line, for jsonb and the quarantine. */
extern char *at402_problem_detail(const at402_problem *problem);

#endif							/* AT402_ERRORS_H */
