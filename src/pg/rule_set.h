/*
 * rule_set.h - the rules in force
 */
#ifndef AT402_RULE_SET_H
#define AT402_RULE_SET_H

#include "datatype/timestamp.h"
#include "executor/spi.h"

#include "pg/rule.h"

/* A rule that is enabled. */
typedef struct At402Rule
{
	int			id;
	const char *name;
	const char *level;
	const char *message;		/* as written; NULL: the name */
	const char *condition;		/* qualified */
	const char *expression;		/* of the message, in SQL; NULL: it is constant */
	const At402Source *source;
	const char *owner;
	At402Uses	uses;
	Interval   *min_duration;	/* NULL: none */
	Interval   *cooldown;		/* NULL: none */
	bool		has_channels;
	int			version;
	SPIPlanPtr	back_plan;		/* NULL: not made yet */
	SPIPlanPtr	on_plan;
	SPIPlanPtr	message_plan;
} At402Rule;

/* Rules of one owner and source: one statement evaluates all of them. */
typedef struct At402RuleGroup
{
	const At402Source *source;
	const char *owner;
	At402Uses	uses;			/* of all */
	List	   *rules;			/* of At402Rule, by id */
	SPIPlanPtr	plan;			/* NULL: not made yet */
	SPIPlanPtr	next_plan;
} At402RuleGroup;

/* The groups, by id of their first rule; read anew when a rule was written. */
extern List *at402_rules_in_force(void);

/* The rule of this name, enabled or not, as the current user may read it. */
extern bool at402_rule_find(const char *name, At402Rule *rule);

/*
 * 42501 when the condition of somebody else's rule calls code that is neither a
 * superuser's nor the current user's own.
 */
extern void at402_rule_check_trust(const At402Rule *rule);

/* Forgets a plan. */
extern void at402_rule_replan(SPIPlanPtr *plan);

#endif							/* AT402_RULE_SET_H */
