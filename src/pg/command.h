/*
 * command.h - commands and checks of drivers, as far as tables are concerned
 *
 * All of these need an open transaction, and raise.
 */
#ifndef AT402_COMMAND_H
#define AT402_COMMAND_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* Where a command may go to. */
typedef struct At402Target
{
	int			device_id;
	bool		udp;			/* there nothing with a PIN goes */
} At402Target;

/* A command that is on its way from now on. */
typedef struct At402Sent
{
	int64		id;
	int			device_id;
	const char *command;
	char	   *pin;			/* NULL: none */
} At402Sent;

/* What became of a command. */
typedef struct At402Outcome
{
	int64		id;
	const char *state;			/* answered, refused, in_doubt */
	TimestampTz answered_at;	/* 0: was not */
	const char *answer;			/* lines, as received; NULL */
	bool		done;			/* result: it is written, or nobody waits for it */
} At402Outcome;

/*
 * Writes down as sent the oldest command that waits for each of these devices,
 * which come in the order of their ids, and returns these commands (of
 * At402Sent), in this memory context.  When this is committed, and not before,
 * they may be sent, once.
 */
extern List *at402_command_claim(const At402Target *targets, int count, int listener,
								 MemoryContext context);

/* Does any command wait? */
extern bool at402_command_waits(void);

/* Writes down what became of commands; those whose rows are locked, later. */
extern void at402_command_finish(At402Outcome **outcomes, int count);

/*
 * A listener of this number, of so many, begins: what it, or one that is no more,
 * had sent before is in doubt.  False: not now.
 */
extern bool at402_command_restart(int listener, int listeners);

/* Which at402.authorise_driver() this is: changes when it is replaced.  0: there
 * is none. */
extern uint32 at402_authorise_version(void);

/* A check as a device asks for it. */
typedef struct At402Check
{
	const char *imei;
	const char *family;
	const char *serial;
	TimestampTz at;
} At402Check;

/*
 * Asks at402.authorise_driver(), which may take so long (ms), and writes down
 * what was asked and answered: APPROVE, DECLINE or NULL for silence.  *problem:
 * what it raised, or NULL.  Leaves a statement timeout behind.
 */
extern const char *at402_authorise(const At402Check *check, int limit_ms, char **problem);

#endif							/* AT402_COMMAND_H */
