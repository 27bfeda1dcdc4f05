/*
 * state.h - what becomes of at402.device_state
 */
#ifndef AT402_STATE_H
#define AT402_STATE_H

#include "pg/emitter.h"

/* How a column of device_state follows from that of a report. */
typedef enum At402Follows
{
	AT402_OF_LAST,				/* report of the device */
	AT402_OF_FIX,				/* report with a good position */
	AT402_GREATEST,
	AT402_LEAST
} At402Follows;

typedef struct At402StateColumn
{
	const char *name;
	Oid			type;
	At402Follows follows;
} At402StateColumn;

/* The columns of the row that reports of a device make; longitude and latitude become geom. */
extern const At402StateColumn at402_state_columns[];
extern const int at402_state_column_count;

/* The place of a column among them; -1: no report changes it. */
extern int	at402_state_column(const char *name);

/* Emits a row a device of the slice. */
extern void at402_emit_states(At402Emitter *e);

#endif							/* AT402_STATE_H */
