/*
 * rule_judge.h - from rows that satisfy a condition to alerts
 */
#ifndef AT402_RULE_JUDGE_H
#define AT402_RULE_JUDGE_H

#include "pg/rule_eval.h"

/* An alert that is there, or is to be. */
typedef struct At402Alert
{
	const At402Rule *rule;
	At402Key	key;
	int			n;				/* of the row that raised it */
	const char *part;
	TimestampTz since;			/* when the condition began to hold */
	bool		is_new;
	bool		dropped;		/* not stored: it is there, or came in the cooldown of another */
	bool		has_end;
	TimestampTz ended_at;
	bool		end_found;		/* it was, by the rows that were judged */
	const char *message;
	bool		has_place;		/* where the device was; found when the alert is stored */
	double		longitude;
	double		latitude;
} At402Alert;

/*
 * A sequence of rows of one device, for one rule, as far as it was judged.  The
 * rows of a rule without runs are each for itself.
 */
typedef struct At402Judge
{
	const At402Rule *rule;
	TimestampTz oldest;			/* rows before that raise none */
	bool		on;				/* the last row satisfied the condition */
	bool		decided;		/* min_duration was reached */
	bool		has_due;		/* and by this row: */
	At402Row	due;
	TimestampTz since;			/* time of the first row of the run */
	At402Alert *raised;			/* by the run; NULL: none */
	List	   *alerts;			/* of At402Alert: those that the rows concern */
} At402Judge;

/* The next row, in the order of the keys. */
extern void at402_judge(At402Judge *judge, const At402Row *row, bool satisfies);

/* There are no more rows. */
extern void at402_judge_end(At402Judge *judge);

/*
 * Drops new alerts of a rule that has a cooldown: those that come within it after
 * another of their device.  To be called with those of all parts, since it counts
 * over them; former: alerts that were there.
 */
extern void at402_cool(List *alerts, List *former);

#endif							/* AT402_RULE_JUDGE_H */
