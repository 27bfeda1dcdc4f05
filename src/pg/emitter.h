/*
 * emitter.h - rows for at402_batch_rows()
 */
#ifndef AT402_EMITTER_H
#define AT402_EMITTER_H

#include "access/tupdesc.h"
#include "utils/tuplestore.h"

#include "pg/batch.h"
#include "pg/value.h"

#define AT402_COLUMN_BITS 8
#define AT402_NO_COLUMN (-1)

/* Makes the rows of one table. */
typedef struct At402Emitter
{
	At402Batch *batch;
	Tuplestorestate *store;
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;
	MemoryContext row_context;

	const At402Report *report;
	int			n;				/* next row of this report */
	const bool *wanted;			/* columns that fields may go to; NULL: all */

	/* columns by field or by literal name, found once */
	struct
	{
		const void *key;
		int			column;
	}			cache[1 << AT402_COLUMN_BITS];

	/* the module that is visited */
	const at402_module_def *def;
	bool		by_item;		/* a row for each item of its list */
	bool		whole;			/* all of it goes into data */
	int			depth;			/* of lists and items */
	bool		none;			/* the value before was no measurement */
	bool		lacks;			/* a field without which it says nothing */
	bool		all_zeros;		/* as sent */
	bool		all_ones;
	bool		measured;		/* a value, or a flag that is set */
	At402Json	data;			/* what finds no column */
	int			data_column;
	bool		data_open;
	List	   *texts;			/* for a column of type text[] */
	int			texts_column;
} At402Emitter;

/* For rows of this form; all else of the emitter must be zero. */
extern void at402_emitter_init(At402Emitter *e, At402Batch *batch, TupleDesc desc);

/* The column with this name; key: an address that stands for the name. */
extern int	at402_find_column(At402Emitter *e, const void *key, const char *name);

extern void at402_set(At402Emitter *e, int column, Datum value);

/* name must be a literal: its address is remembered.  Nothing is done where the
 * table, of an older version perhaps, does not have the column. */
extern void at402_set_named(At402Emitter *e, const char *name, Datum value);
extern void at402_set_named_text(At402Emitter *e, const char *name, const char *string);

/* A value as the type of its column. */
extern Datum at402_to_datum(Oid type, const at402_field_def *field, const at402_value *value);

/* A row: empty, or with the key of the report; the latter may be numbered
 * within it. */
extern void at402_clear_row(At402Emitter *e);
extern void at402_begin_row(At402Emitter *e);
extern void at402_end_row(At402Emitter *e);
extern void at402_end_numbered_row(At402Emitter *e);

/* Makes the row's data an object that can be added to. */
extern void at402_open_data(At402Emitter *e);

/* Takes a measurement, or all of a module's, into the row. */
extern void at402_put_value(At402Emitter *e, const at402_field_def *field,
							const at402_value *value);
extern void at402_visit_module(At402Emitter *e, const at402_module *module);

/* Reason flags, those of K, M and V under the bits of X and Y. */
extern uint64 at402_reasons_of(const At402Report *report);

/* Longitude and latitude of the emitter's report, where they are a place. */
extern void at402_set_point(At402Emitter *e);

/* Did the module that was visited tell anything?  Zeros only, ones only, or
 * flags that are not set beside values that are not there: its source was
 * silent. */
extern bool at402_module_says_anything(const At402Emitter *e);

#endif							/* AT402_EMITTER_H */
