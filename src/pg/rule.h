/*
 * rule.h - the rules of at402.rule: what they look at, and the SQL that looks
 */
#ifndef AT402_RULE_H
#define AT402_RULE_H

#include "postgres_ext.h"
#include "nodes/pg_list.h"

/* A table whose rows rules look at. */
typedef struct At402Source
{
	const char *name;
	const char *table;			/* in schema at402 */
	bool		runs;			/* one alert for a run of rows that satisfy the condition */
	bool		numbered;		/* has column n */
	const char *part;			/* rows of a device that form a sequence of their own, as text */
	const char *before;			/* b belongs to r, as a condition; NULL: always */
} At402Source;

/* NULL: there is none of that name. */
extern const At402Source *at402_rule_source(const char *name);

extern bool at402_rule_source_has_b(const At402Source *source);

/* What a condition or message uses beside r. */
typedef struct At402Uses
{
	bool		p;
	bool		d;
	bool		b;
	bool		whole_b;		/* as a row */
	List	   *b_columns;		/* names */
} At402Uses;

/* As it is kept in at402.rule.uses: words. */
extern List *at402_uses_words(const At402Uses *uses);
extern void at402_uses_add(At402Uses *uses, const char *word);

/* Which rows a statement looks at. */
typedef enum At402Look
{
	AT402_LOOK_KEYS,			/* $1 to $4: arrays of device_id, time, seq, content_hash */
	AT402_LOOK_NEXT,			/* the same: those that come next after them, within a day */
	AT402_LOOK_BACK,			/* $1 device_id, from $2 back to $3, part $4: the last first */
	AT402_LOOK_ON,				/* $1 device_id, from $2 up to $3, part $4 */
	AT402_LOOK_SPAN				/* of all devices, from $1 up to, but without, $2; in order */
} At402Look;

#define AT402_LOOK_ARGUMENTS 4	/* the next is $5 */
#define AT402_LOOK_COLUMNS 6	/* device_id, time, seq, content_hash, n, part */

/*
 * The SELECT that evaluates expressions over r, p, d and b.  Its columns are
 * those above, and then the expressions.  It is to be planned and run under a
 * search_path of pg_catalog.
 */
extern char *at402_rule_statement(const At402Source *source, At402Look look,
								  const At402Uses *uses, List *expressions);

/*
 * Settings that the meaning or the text of a condition depends on, for all rules
 * the same; until the subtransaction or GUC level ends.
 */
extern void at402_rule_settings(void);

/*
 * Whose rights a rule of this owner runs with.  InvalidOid: it may not run, since
 * at402.role is no member of the owner.
 */
extern Oid	at402_rule_run_as(Oid owner);

/* Whose member it would have to be: at402.role, or the owner of the tables. */
extern Oid	at402_rule_worker(void);

/* ---- checking (rule_check.c) ---- */

typedef struct At402Checked
{
	const At402Source *source;
	char	   *condition;		/* qualified */
	char	   *message;		/* SQL expression; NULL: constant */
	At402Uses	uses;
} At402Checked;

/*
 * Reads and checks a condition, and a message unless it is NULL, of the current
 * user.  42601, 42703, 42804 ... with the position, 42501 for rights.
 */
extern At402Checked at402_rule_checked(const char *source, const char *condition,
									   const char *message, Oid run_as);

#endif							/* AT402_RULE_H */
