/*
 * unit.h - the whole test framework: count, name the line that failed, go on
 */
#ifndef AT402_UNIT_H
#define AT402_UNIT_H

#include <stdbool.h>
#include <stdio.h>

static int	unit_passed;
static int	unit_failed;

static inline bool
unit_check(bool passed, const char *condition, const char *file, int line)
{
	if (passed)
		unit_passed++;
	else
	{
		unit_failed++;
		printf("%s:%d: failed: %s\n", file, line, condition);
	}
	return passed;
}

#define CHECK(condition) unit_check((condition), #condition, __FILE__, __LINE__)

/* Prints the totals; what main() has to return. */
static inline int
unit_done(const char *name)
{
	printf("%s: %d passed, %d failed\n", name, unit_passed, unit_failed);
	return unit_failed > 0;
}

#endif							/* AT402_UNIT_H */
