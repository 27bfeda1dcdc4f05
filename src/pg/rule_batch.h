/*
 * rule_batch.h - what rules make of the rows just stored
 */
#ifndef AT402_RULE_BATCH_H
#define AT402_RULE_BATCH_H

#include "pg/batch.h"
#include "pg/rule_judge.h"

#define AT402_RULE_REACH USECS_PER_DAY	/* b, and windows, reach back so far */

/* A run that is on: a row of at402.rule_run. */
typedef struct At402Run
{
	int			rule_id;
	const At402Rule *rule;		/* NULL: not judged */
	int			device_id;
	const char *part;
	int			version;
	TimestampTz since;
	bool		decided;
	bool		has_alert;
	At402Key	alert;
	int			alert_n;		/* see At402Alert */
	bool		on;				/* it is to be in the table */
} At402Run;

/* A rule that loses this batch, and why. */
typedef struct At402Failure
{
	const At402Rule *rule;
	const char *why;
} At402Failure;

typedef struct At402RuleBatch
{
	int			attempts;		/* see At402Batch */
	Datum		keys[AT402_LOOK_ARGUMENTS]; /* of the reports, as arrays */
	At402Key   *reports;		/* the same */
	int			report_count;	/* of reports; */
	int			key_count;		/* events without a report follow */
	List	   *devices;		/* their ids */
	List	   *behind;			/* those of devices that have younger reports already */
	TimestampTz oldest;			/* older rows raise none */
	HTAB	   *runs;			/* of At402Run, see at402_run_of() */
	List	   *changed_runs;	/* of At402Run */
	List	   *alerts;			/* of At402Alert: new ones, and those whose end changes */
	List	   *failures;		/* of At402Failure */
	int			raised;			/* result: alerts that were inserted */
	const At402Alert *newest;	/* the last of them */
} At402RuleBatch;

/* The rule loses the batch. */
extern void at402_rule_fails(At402RuleBatch *b, const At402Rule *rule, const char *why);
extern bool at402_rule_has_failed(const At402RuleBatch *b, const At402Rule *rule);

/*
 * Evaluates the rules in force over the new reports of the batch and the events
 * without a report that it brought, and stores what follows.  Nothing that a rule
 * does is raised.
 */
extern void at402_rules_run(At402Batch *batch);

/* As an array for a statement. */
extern Datum at402_ids_of(List *devices);

/* The same for keys that are collected, and these groups. */
extern void at402_rules_judge(At402RuleBatch *b, List *groups);

/* ---- what was before (rule_before.c) ---- */

/* Fills keys and, where they are asked for, behind and runs. */
extern void at402_rules_look_back(At402RuleBatch *b, bool order, bool runs);

/* The run of this place; NULL: there is none, and none is to be made. */
extern At402Run *at402_run_of(const At402RuleBatch *b, int rule_id, int device_id, const char *part,
							  bool make);

/*
 * Alerts of a rule from these devices, from a time on.  Those of the same run may
 * be older: then its row in at402.rule_run tells.
 */
extern List *at402_alerts_of(const At402Rule *rule, List *devices, TimestampTz since);

/* ---- writing (rule_alert.c) ---- */

/* Renders messages, stores alerts, ends and runs, counts failures, notifies. */
extern void at402_alerts_write(At402RuleBatch *b);

#endif							/* AT402_RULE_BATCH_H */
