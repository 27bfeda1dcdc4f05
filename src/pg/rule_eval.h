/*
 * rule_eval.h - the code of a rule's owner is run
 */
#ifndef AT402_RULE_EVAL_H
#define AT402_RULE_EVAL_H

#include "datatype/timestamp.h"
#include "utils/elog.h"

#include "pg/rule_set.h"

/* Key of a report, or of what there was no report of. */
typedef struct At402Key
{
	int			device_id;
	TimestampTz time;
	int16		seq;
	int32		content_hash;
} At402Key;

extern int	at402_compare_keys(const At402Key *a, const At402Key *b);

/* A row that was looked at. */
typedef struct At402Row
{
	At402Key	key;
	int			n;				/* of the rows of its report */
	const char *part;			/* see At402Source */
	const char *message;		/* of an alert that it raises; NULL: not rendered */
} At402Row;

/* Takes a row and the values of the expressions; false: no more are wanted. */
typedef bool (*At402Take) (void *argument, const At402Row *row, const Datum *values,
						   const bool *nulls);

typedef struct At402Reading
{
	const At402Source *source;
	const char *owner;			/* of the rules; NULL: they run as the current user */
	At402Look	look;
	const At402Uses *uses;
	List	   *expressions;	/* text */
	List	   *rules;			/* whose expressions they are; NIL: one rule's */
	bool	   *due;			/* of the rules; the others are skipped and NULL; NULL: all */
	SPIPlanPtr *plan;
	Datum		args[AT402_LOOK_ARGUMENTS];
	At402Take	take;
	void	   *argument;
	bool		unlimited;		/* in time */
	MemoryContext context;		/* of what is taken: the one of the caller */
	ErrorData  *error;			/* results: what was raised; */
	bool		timed_out;
	int			culprit;		/* index of the rule that was being run; -1: none */
} At402Reading;

/*
 * Evaluates the expressions as the owner: restricted, reading only, for a limited
 * time.  NULL: done; else what went wrong, in the current memory context.  Raises
 * a cancel that was meant for the caller.
 */
extern const char *at402_rules_read(At402Reading *reading);

/*
 * Runs other work that rules are to blame for, in a subtransaction, for the same
 * time.  Result as above; *code: the SQLSTATE.
 */
extern const char *at402_rules_attempt(void (*work) (void *), void *argument, ErrorData **error);

#endif							/* AT402_RULE_EVAL_H */
