/*
 * environment.h - is an error the environment's, and what is missing there
 */
#ifndef AT402_ENVIRONMENT_H
#define AT402_ENVIRONMENT_H

#include "utils/elog.h"

/* The statement that mends rights of at402.role. */
#define AT402_HAND_OVER "SELECT at402_create_tables();  -- as a superuser: it hands them over"

/*
 * What is missing for storing, as a sentence, and in *hint the statement that
 * mends it; NULL: nothing.  Both are valid until the next call.  Needs a
 * transaction.
 */
extern const char *at402_missing(const char **hint);

/* A statement was cancelled or waited for a lock too long: whose fault that
 * is, nobody knows. */
extern bool at402_is_timeout(const ErrorData *error);

/*
 * Did something fail that fails for everybody, and goes away by itself or by
 * the administrator's hand?  Then nothing is stored, nobody is answered, and
 * all of it is tried again.  attempts: how often that was done already.
 */
extern bool at402_is_environment(const ErrorData *error, int attempts);

/*
 * An error that is no timeout and not the environment's: can it only be that of
 * the row (its values, a constraint, the code of a user that saw it)?  Else it
 * is the row's only where other rows pass.
 */
extern bool at402_is_of_the_row(const ErrorData *error);

/* Such an error, when nothing has passed: what others bring will tell. */
extern bool at402_is_undecided(const ErrorData *error);

/* Raises an error again, with the statement that mends what is missing. */
extern void at402_raise_environment(ErrorData *error) pg_attribute_noreturn();

#endif							/* AT402_ENVIRONMENT_H */
