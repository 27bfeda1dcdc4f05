/*
 * state.c - what becomes of at402.device_state when reports come
 *
 * All reports of a device in a batch make one row.  It is written by an UPDATE
 * of the states as they lie there, which asks for each of them what becomes of
 * it (statements.c):
 *
 *     at402_state_change(batch, device_id, what is known ...)   in its WHERE
 *     at402_state_value(batch, column, what it was)             in its SET
 *
 * So a state is looked up once, by the statement that changes it, and the batch
 * hears what was known before, which tells what is late and where the ignition
 * changed.  PostgreSQL evaluates the WHERE of a row before its SET, and both
 * anew where another listener has changed the row meanwhile.
 *
 * Where rows are inserted or updated by one statement (Citus) they are emitted
 * like those of the other tables.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/timestamp.h"

#include "pg/state.h"

/* Places of columns that decide over others */
enum
{
	TIME = 1,
	SEQ,
	CONTENT_HASH,
	POSITION_TIME = 11,
	POSITION_SEQ
};

const At402StateColumn at402_state_columns[] = {
	{"device_id", INT4OID, AT402_OF_LAST},
	[TIME] = {"time", TIMESTAMPTZOID, AT402_OF_LAST},
	[SEQ] = {"seq", INT2OID, AT402_OF_LAST},
	[CONTENT_HASH] = {"content_hash", INT4OID, AT402_OF_LAST},
	{"received_at", TIMESTAMPTZOID, AT402_OF_LAST},
	{"reasons", INT8OID, AT402_OF_LAST},
	{"status", INT8OID, AT402_OF_LAST},
	{"ignition", BOOLOID, AT402_OF_LAST},
	{"battery_percent", INT2OID, AT402_OF_LAST},
	{"external_voltage_v", NUMERICOID, AT402_OF_LAST},
	{"journey_distance_km", NUMERICOID, AT402_OF_LAST},
	[POSITION_TIME] = {"position_time", TIMESTAMPTZOID, AT402_OF_FIX},
	[POSITION_SEQ] = {"position_seq", INT2OID, AT402_OF_FIX},
	{"longitude", FLOAT8OID, AT402_OF_FIX},
	{"latitude", FLOAT8OID, AT402_OF_FIX},
	{"speed_kmh", INT2OID, AT402_OF_FIX},
	{"heading_deg", INT2OID, AT402_OF_FIX},
	{"altitude_m", INT2OID, AT402_OF_FIX},
	{"lifetime_odometer_km", INT4OID, AT402_GREATEST},
	{"engine_hours", INT4OID, AT402_GREATEST},
	{"last_seen", TIMESTAMPTZOID, AT402_GREATEST},
	{"dirty_since", TIMESTAMPTZOID, AT402_LEAST},
};
const int	at402_state_column_count = lengthof(at402_state_columns);

int
at402_state_column(const char *name)
{
	int			i = at402_state_column_count - 1;

	while (i >= 0 && strcmp(at402_state_columns[i].name, name) != 0)
		i--;
	return i;
}

/* ---- the row of a device ---- */

/* Makes rows of states. */
typedef struct Maker
{
	At402Emitter *e;
	bool	   *of_last;		/* columns */
	bool	   *of_fix;
} Maker;

static Maker
make_maker(At402Emitter *e)
{
	Maker		m = {e, palloc(e->desc->natts * sizeof(bool)), palloc(e->desc->natts * sizeof(bool))};

	for (int i = 0; i < e->desc->natts; i++)
	{
		int			column = at402_state_column(NameStr(TupleDescAttr(e->desc, i)->attname));

		m.of_fix[i] = column >= 0 && at402_state_columns[column].follows == AT402_OF_FIX;
		m.of_last[i] = !m.of_fix[i];
	}
	return m;
}

/* What only grows. */
static void
visit_counter(void *context, at402_event event, const at402_field_def *field,
			  const at402_value *value)
{
	static const char *const counters[] = {"lifetime_odometer_km", "engine_hours"};
	At402Emitter *e = context;
	at402_value measured = *value;

	for (int i = 0; i < lengthof(counters); i++)
	{
		int			column;

		if (strcmp(field->name, counters[i]) != 0)
			continue;
		column = at402_find_column(e, counters[i], counters[i]);
		if (column != AT402_NO_COLUMN && e->nulls[column] &&
			at402_measure(field, &measured, &e->none))
			at402_set(e, column, at402_to_datum(TupleDescAttr(e->desc, column)->atttypid, field,
												&measured));
	}
}

/* The values of a report, into these columns; NULL: all. */
static void
set_values(At402Emitter *e, const At402Report *r, const bool *wanted)
{
	at402_module module = {0};

	e->wanted = wanted;
	while (at402_module_next(&r->report, &module))
		if (!module.raw && module.def->home & AT402_HOME_POSITION)
			at402_visit_module(e, &module);
	e->wanted = NULL;
}

static void
set_counters(At402Emitter *e, const At402Report *r)
{
	at402_module module = {0};

	while (at402_module_next(&r->report, &module))
		if (!module.raw && module.def->home & AT402_HOME_POSITION)
			at402_module_visit(&module, visit_counter, e);
}

/* Does it count?  A clock far ahead would make all later reports late, and one that was never
 * set says nothing. */
static bool
counts(const At402Report *r)
{
	return !r->time_suspect && r->is_new;
}

static void
set_last(At402Emitter *e, const At402Report *last)
{
	at402_set_named(e, "device_id", Int32GetDatum(last->item->device->id));
	at402_set_named(e, "time", TimestampTzGetDatum(last->time));
	at402_set_named(e, "seq", Int16GetDatum(last->report.seq));
	at402_set_named(e, "content_hash", Int32GetDatum(last->content_hash));
	at402_set_named(e, "received_at", TimestampTzGetDatum(last->item->input->received_at));
	at402_set_named(e, "reasons", Int64GetDatum((int64) at402_reasons_of(last)));
	at402_set_named(e, "status", Int64GetDatum(last->report.status));
	at402_set_named(e, "ignition", BoolGetDatum(last->ignition));
}

static void
set_fix(At402Emitter *e, const At402Report *fix)
{
	e->report = fix;
	at402_set_named(e, "position_time", TimestampTzGetDatum(fix->time));
	at402_set_named(e, "position_seq", Int16GetDatum(fix->report.seq));
	at402_set_point(e);
}

/* The row of these reports of one device, in the order of time.  False: none of them counts. */
static bool
make_row(const Maker *m, At402Report **reports, int count)
{
	At402Emitter *e = m->e;
	const At402Report *last = NULL;
	const At402Report *fix = NULL;
	const At402Report *first = NULL;
	TimestampTz received_at = 0;

	at402_clear_row(e);
	for (int i = count - 1; i >= 0; i--)
	{
		const At402Report *r = reports[i];

		if (!counts(r))
			continue;
		first = r;
		if (last == NULL)
			last = r;
		if (fix == NULL && at402_is_fix(r))
			fix = r;
		received_at = Max(received_at, r->item->input->received_at);
	}
	if (last == NULL)
		return false;
	set_last(e, last);
	at402_set_named(e, "last_seen", TimestampTzGetDatum(received_at));
	at402_set_named(e, "dirty_since", TimestampTzGetDatum(first->time));
	if (fix != NULL)
		set_fix(e, fix);
	set_values(e, last, fix == last ? NULL : m->of_last);
	if (fix != NULL && fix != last)
		set_values(e, fix, m->of_fix);
	/* the youngest that tells of them */
	for (int i = count - 1; i >= 0; i--)
		if (reports[i] != last && counts(reports[i]))
			set_counters(e, reports[i]);
	return true;
}

void
at402_emit_states(At402Emitter *e)
{
	const At402Batch *batch = e->batch;
	Maker		m = make_maker(e);
	MemoryContext caller = MemoryContextSwitchTo(e->row_context);

	for (int i = batch->first; i < batch->last;)
	{
		int			count = at402_reports_of_device(batch, i);

		if (make_row(&m, batch->reports + i, count))
			at402_end_row(e);
		MemoryContextReset(e->row_context);
		i += count;
	}
	MemoryContextSwitchTo(caller);
}

/* ---- the state that is changed ---- */

typedef struct At402StateChange
{
	At402Emitter emitter;
	Maker		maker;
	bool		newer;			/* the last report is, than that of the state */
	bool		fixed;			/* since the state had its position */
} At402StateChange;

static TupleDesc
describe_row(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(at402_state_column_count);

	for (int i = 0; i < at402_state_column_count; i++)
		TupleDescInitEntry(desc, i + 1, at402_state_columns[i].name, at402_state_columns[i].type,
						   -1, 0);
	return desc;
}

static At402StateChange *
change_of(At402Batch *batch)
{
	MemoryContext caller;
	At402StateChange *c = batch->state_change;

	if (c != NULL)
		return c;
	caller = MemoryContextSwitchTo(batch->context);
	c = batch->state_change = palloc0(sizeof(At402StateChange));
	at402_emitter_init(&c->emitter, batch, describe_row());
	c->maker = make_maker(&c->emitter);
	MemoryContextSwitchTo(caller);
	return c;
}

/* Positive: later than the other; negative: earlier. */
static int
compare_moments(TimestampTz time, int seq, TimestampTz other_time, int other_seq)
{
	if (time != other_time)
		return time > other_time ? 1 : -1;
	return seq > other_seq ? 1 : seq < other_seq ? -1 : 0;
}

static void
compare_with_state(At402StateChange *c, FunctionCallInfo fcinfo)
{
	const Datum *values = c->emitter.values;
	int			order;

	c->newer = PG_ARGISNULL(2);
	if (!c->newer)
	{
		order = compare_moments(DatumGetTimestampTz(values[TIME]), DatumGetInt16(values[SEQ]),
								PG_GETARG_TIMESTAMPTZ(2), PG_GETARG_INT16(3));
		c->newer = order > 0 || (order == 0 && DatumGetInt32(values[CONTENT_HASH]) != PG_GETARG_INT32(4));
	}
	c->fixed = !c->emitter.nulls[POSITION_TIME] &&
		(PG_ARGISNULL(6) ||
		 compare_moments(DatumGetTimestampTz(values[POSITION_TIME]), DatumGetInt16(values[POSITION_SEQ]),
						 PG_GETARG_TIMESTAMPTZ(6), PG_GETARG_INT16(7)) >= 0);
}

static void
hear_place(At402Device *device, FunctionCallInfo fcinfo)
{
	device->placed = true;
	device->fix_time = PG_ARGISNULL(6) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(6);
	device->fix_seq = PG_ARGISNULL(7) ? 0 : PG_GETARG_INT16(7);
	device->fix_longitude = PG_ARGISNULL(8) ? 0 : PG_GETARG_FLOAT8(8);
	device->fix_latitude = PG_ARGISNULL(9) ? 0 : PG_GETARG_FLOAT8(9);
}

PG_FUNCTION_INFO_V1(at402_state_change);
PG_FUNCTION_INFO_V1(at402_state_value);

/*
 * at402_state_change(batch, device_id, time, seq, content_hash, ignition, position_time,
 *   position_seq, longitude, latitude) -> does the batch change the state of which this is
 * known?  The place is told where geofences ask for it.
 */
Datum
at402_state_change(PG_FUNCTION_ARGS)
{
	At402Batch *batch = at402_batch_find(PG_GETARG_INT64(0));
	At402StateChange *c = change_of(batch);
	int			first = at402_first_of_device(batch, PG_GETARG_INT32(1));
	At402Device *device;
	MemoryContext caller;
	bool		changes;

	if (first < 0)
		PG_RETURN_BOOL(false);
	device = batch->reports[first]->item->device;
	device->has_row = true;
	device->has_state = !PG_ARGISNULL(2);
	device->state_time = PG_ARGISNULL(2) ? 0 : PG_GETARG_TIMESTAMPTZ(2);
	device->state_ignition = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5);
	hear_place(device, fcinfo);
	MemoryContextReset(c->emitter.row_context);
	caller = MemoryContextSwitchTo(c->emitter.row_context);
	changes = make_row(&c->maker, batch->reports + first, at402_reports_of_device(batch, first));
	if (changes)
		compare_with_state(c, fcinfo);
	MemoryContextSwitchTo(caller);
	PG_RETURN_BOOL(changes);
}

/* Anybody may call it: the type of its result is that of the column.  Looked at once a place in
 * a statement, not once a row. */
static const At402StateColumn *
column_asked_for(FunctionCallInfo fcinfo)
{
	int			place = PG_GETARG_INT32(1);
	const At402StateColumn *column = &at402_state_columns[Max(place, 0)];

	if (fcinfo->flinfo->fn_extra == column)
		return column;
	if (place < 0 || place >= at402_state_column_count ||
		get_fn_expr_argtype(fcinfo->flinfo, 2) != column->type)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("a state has no column %d of this type", place));
	fcinfo->flinfo->fn_extra = unconstify(At402StateColumn *, column);
	return column;
}

/*
 * at402_state_value(batch, column, former) -> what it becomes in the state that was asked for
 * last; of what only grows or falls: what the batch says
 */
Datum
at402_state_value(PG_FUNCTION_ARGS)
{
	const At402StateChange *c = change_of(at402_batch_find(PG_GETARG_INT64(0)));
	const At402StateColumn *column = column_asked_for(fcinfo);
	int			place = (int) (column - at402_state_columns);
	bool		null = c->emitter.nulls[place];

	switch (column->follows)
	{
		case AT402_OF_LAST:
			null |= !c->newer;
			break;
		case AT402_OF_FIX:
			/* such a position may come without a speed, and the former speed is not its */
			if (c->fixed && null)
				PG_RETURN_NULL();
			null |= !c->fixed;
			break;
		case AT402_GREATEST:
		case AT402_LEAST:
			break;
	}
	if (!null)
		return c->emitter.values[place];
	if (PG_ARGISNULL(2))
		PG_RETURN_NULL();
	return PG_GETARG_DATUM(2);
}
