/*
 * fence.c - geofences: who entered and left which, judged as reports are stored
 *
 * The reports of a slice are judged when their rows are stored: three look-ups
 * for all of them, and nothing is written as long as nobody enters or leaves.
 * Reports that follow on what is known of their device, as nearly all do, are
 * judged here: the visits that are open tell where the device was, and the
 * geofences near each report whether it is still there.  Which envelopes a report
 * touches this backend knows (fence_tree.c), and mostly the shapes in them
 * (fence_shape.c); PostGIS judges.  A report that came late changes what was known;
 * at402_rejudge_geofences() then judges the reports around it again, from the tables.
 *
 * A geofence must not stop a report.  All of this runs in a subtransaction, and
 * when that fails by what is not the environment's fault, one geofence after the
 * other is judged alone: only what one of them is at fault for is lost.
 *
 * While there are no geofences no statement runs (fence_known.c).
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/qunique.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/attempt.h"
#include "pg/environment.h"
#include "pg/fence.h"
#include "pg/fence_known.h"
#include "pg/fence_shape.h"
#include "pg/fence_tree.h"
#include "pg/statements.h"

#define CROSSING (5 * USECS_PER_MINUTE)	/* the longest gap that a fence is crossed in */

/* A geofence that is near a report. */
typedef struct Near
{
	const At402Shape *shape;
	int			side;			/* see at402_geofence_side() */
	bool		crossed;		/* by the way from the report before */
	bool		done;
} Near;

/* A report, and a geofence whose envelope it or the way to it touches. */
typedef struct Candidate
{
	int			step;
	int			geofence_id;
	const At402Shape *shape;	/* valid then */
} Candidate;

/* A report that is judged. */
typedef struct Step
{
	At402Report *report;
	const At402Report *before;	/* in the batch, of the same device; NULL: */
	const struct Walk *walk;	/* that it is part of */
	bool		follows;		/* on the fix that the device had before */
	List	   *near;			/* of Near */
} Step;

/* Where a visit was to be found before. */
typedef enum Kept
{
	NOWHERE,
	IN_PENDING,
	IN_VISIT
} Kept;

typedef struct Visit
{
	int			device_id;
	int			geofence_id;
	const char *name;
	TimestampTz until;
	TimestampTz entered_at;
	int			seq;			/* of the report that entered */
	int32		content_hash;
	TimestampTz due;			/* when it has lasted for min_dwell */
	Kept		kept;
	bool		shown;			/* it has */
	bool		over;
	TimestampTz left_at;
	const At402Report *left_by; /* NULL: the shape ended */
} Visit;

typedef struct Event
{
	const At402Report *report;	/* that revealed it */
	int			n;
	const char *kind;
	int			geofence_id;
	const char *name;
	TimestampTz at;
} Event;

/* The reports of a device. */
typedef struct Walk
{
	const At402Device *device;
	int			first;			/* steps */
	int			last;
	bool		in_order;
	List	   *visits;			/* of Visit: those that are open */
} Walk;

typedef struct At402Fences
{
	At402Batch *batch;
	int			only;			/* this geofence; 0: all */
	Step	   *steps;
	int			step_count;
	Walk	   *walks;			/* in the order of device ids */
	int			walk_count;
	Candidate  *candidates;
	int			candidate_count;
	int			candidate_room;
	int			searched;		/* the step that they are sought for */
	List	   *visits;			/* of Visit: all that were seen */
	List	   *events;			/* of Event */
	List	   *ids;			/* of the geofences to try one by one */
} At402Fences;

/* ---- which reports are judged ---- */

static bool
counts(const At402Report *r)
{
	return r->is_new && !r->time_suspect && at402_is_fix(r);
}

bool
at402_has_fences(const At402Batch *batch)
{
	TimestampTz until = at402_fences_until(batch);

	for (int i = batch->first; i < batch->last; i++)
		if (batch->reports[i]->time < until && counts(batch->reports[i]))
			return true;
	return false;
}

/* ---- where the devices were ---- */

void
at402_fences_before(At402Batch *batch)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		null;
		int			first = at402_first_of_device(batch, DatumGetInt32(SPI_getbinval(row, desc, 1, &null)));
		At402Device *d;

		if (first < 0)
			continue;
		d = batch->reports[first]->item->device;
		d->placed = true;
		d->fix_time = DatumGetTimestampTz(SPI_getbinval(row, desc, 2, &null));
		if (null)
			d->fix_time = DT_NOBEGIN;
		d->fix_seq = DatumGetInt16(SPI_getbinval(row, desc, 3, &null));
		d->fix_longitude = DatumGetFloat8(SPI_getbinval(row, desc, 4, &null));
		d->fix_latitude = DatumGetFloat8(SPI_getbinval(row, desc, 5, &null));
	}
}

/* ---- what is judged ---- */

/* Does the first report of a device follow on the last fix that it had? */
static bool
is_in_order(const At402Report *r)
{
	const At402Device *d = r->item->device;

	return d->placed && (r->time > d->fix_time ||
						 (r->time == d->fix_time && r->report.seq > d->fix_seq));
}

static void
collect(At402Fences *f)
{
	At402Batch *batch = f->batch;
	int			room = batch->last - batch->first;

	f->steps = palloc0(sizeof(Step) * room);
	f->walks = palloc0(sizeof(Walk) * room);
	for (int i = batch->first; i < batch->last; i++)
	{
		At402Report *r = batch->reports[i];
		Step	   *s = &f->steps[f->step_count];
		Walk	   *w = &f->walks[f->walk_count - 1];

		if (!counts(r))
			continue;
		s->report = r;
		if (f->walk_count > 0 && w->device == r->item->device)
			s->before = s[-1].report;
		else
		{
			w = &f->walks[f->walk_count++];
			w->device = r->item->device;
			w->first = f->step_count;
			w->in_order = is_in_order(r);
			s->follows = w->in_order && w->device->fix_time != DT_NOBEGIN;
		}
		s->walk = w;
		w->last = ++f->step_count;
	}
}

static Walk *
find_walk(At402Fences *f, int device_id)
{
	int			low = 0;

	for (int high = f->walk_count; low < high;)
	{
		int			middle = (low + high) / 2;

		if (f->walks[middle].device->id < device_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < f->walk_count && f->walks[low].device->id == device_id ? &f->walks[low] : NULL;
}

/* ---- looking up ---- */

/* Their ids: of all, or of those whose reports are in order. */
static Datum
devices_of(const At402Fences *f, bool all)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(f->walk_count, 1));
	int			count = 0;

	for (int i = 0; i < f->walk_count; i++)
		if (all || f->walks[i].in_order)
			ids[count++] = Int32GetDatum(f->walks[i].device->id);
	return PointerGetDatum(construct_array(ids, count, INT4OID, sizeof(int32), true,
										   TYPALIGN_INT));
}

/* Of which shape a visit is; NULL: of one that nobody knows any more. */
static void
give_shape(Visit *v, const At402Shape *shape)
{
	v->name = shape != NULL ? shape->name : NULL;
	v->until = shape != NULL ? shape->until : DT_NOEND;
	v->due = shape == NULL ? DT_NOEND
		: DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												  TimestampTzGetDatum(v->entered_at),
												  IntervalPGetDatum(&shape->min_dwell)));
}

/* When the first of the reports was made. */
static TimestampTz
first_time(const At402Fences *f)
{
	TimestampTz first = DT_NOEND;

	for (int i = 0; i < f->walk_count; i++)
		first = Min(first, f->steps[f->walks[i].first].report->time);
	return first;
}

/* The visits of these devices that are open, or were when the reports were made. */
static void
find_open(At402Fences *f)
{
	uint64		rows = at402_run(AT402_SQL_OPEN_VISITS,
								 (Datum[]) {devices_of(f, false), Int32GetDatum(f->only),
								 TimestampTzGetDatum(first_time(f))}, NULL);
	TupleDesc	desc = SPI_tuptable->tupdesc;

	for (uint64 i = 0; i < rows; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		Visit	   *v = palloc0(sizeof(Visit));
		bool		null;
		Walk	   *w;

		v->device_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &null));
		v->geofence_id = DatumGetInt32(SPI_getbinval(row, desc, 2, &null));
		v->entered_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &null));
		v->seq = DatumGetInt16(SPI_getbinval(row, desc, 4, &null));
		v->content_hash = DatumGetInt32(SPI_getbinval(row, desc, 5, &null));
		v->shown = DatumGetBool(SPI_getbinval(row, desc, 6, &null));
		v->kept = v->shown ? IN_VISIT : IN_PENDING;
		w = find_walk(f, v->device_id);
		w->visits = lappend(w->visits, v);
		f->visits = lappend(f->visits, v);
	}
}

/* ---- what is near ---- */

static void
add_candidate(void *context, int geofence_id)
{
	At402Fences *f = context;

	if (f->candidate_count == f->candidate_room)
	{
		f->candidate_room *= 2;
		f->candidates = repalloc_huge(f->candidates, sizeof(Candidate) * f->candidate_room);
	}
	if (f->only == 0 || f->only == geofence_id)
		f->candidates[f->candidate_count++] = (Candidate) {f->searched, geofence_id, NULL};
}

/* Where the report before was made, if the way from there can cross a geofence. */
static bool
comes_from(const Step *s, double *longitude, double *latitude)
{
	const At402Report *r = s->report;
	const At402Device *d = r->item->device;
	TimestampTz before = s->before != NULL ? s->before->time
		: s->follows ? d->fix_time : DT_NOBEGIN;

	*longitude = s->before != NULL ? s->before->longitude : d->fix_longitude;
	*latitude = s->before != NULL ? s->before->latitude : d->fix_latitude;
	/* a way of no length is none, nor is one to the other side of the globe */
	return before != DT_NOBEGIN && r->time - before <= CROSSING &&
		fabs(r->longitude - *longitude) <= 90 && fabs(r->latitude - *latitude) <= 90 &&
		(r->longitude != *longitude || r->latitude != *latitude);
}

static void
search(At402Fences *f, int number)
{
	const Step *s = &f->steps[number];
	const At402Report *r = s->report;
	At402Box	box = {r->longitude, r->latitude, r->longitude, r->latitude};
	double		longitude;
	double		latitude;

	if (comes_from(s, &longitude, &latitude))
		box = (At402Box) {Min(box.west, longitude), Min(box.south, latitude),
			Max(box.east, longitude), Max(box.north, latitude)};
	f->searched = number;
	at402_fence_tree_search(&box, add_candidate, f);
}

/* PostGIS is quick where the same geofence is asked for again. */
static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	if (x->geofence_id != y->geofence_id)
		return x->geofence_id < y->geofence_id ? -1 : 1;
	return x->step - y->step;
}

/* By the index on the envelopes. */
static void
look_up_candidates(At402Fences *f)
{
	uint64		rows = at402_run_batch(f->batch, AT402_SQL_NEAR_FENCES);

	for (uint64 i = 0; i < rows; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		null;

		f->searched = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &null));
		if (f->steps[f->searched].walk->in_order)
			add_candidate(f, DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &null)));
	}
}

/* Those of the reports that are in order. */
static void
find_candidates(At402Fences *f)
{
	f->candidate_room = Max(f->step_count, 16);
	f->candidates = palloc(sizeof(Candidate) * f->candidate_room);
	/* who has judged reports of these devices meanwhile may have known of more geofences */
	AcceptInvalidationMessages();
	if (at402_fences_until(f->batch) == DT_NOBEGIN)
		return;
	if (!at402_fence_tree_knows(f->step_count))
		look_up_candidates(f);
	else
		for (int i = 0; i < f->step_count; i++)
			if (f->steps[i].walk->in_order)
				search(f, i);
	qsort(f->candidates, f->candidate_count, sizeof(Candidate), compare_candidates);
	f->candidate_count = qunique(f->candidates, f->candidate_count, sizeof(Candidate),
								 compare_candidates);
}

/* Of the candidates and of the visits that are open. */
static void
read_shapes(At402Fences *f)
{
	int		   *ids = palloc(sizeof(int) * (f->candidate_count + list_length(f->visits) + 1));
	int			count = 0;
	ListCell   *lc;

	for (int i = 0; i < f->candidate_count; i++)
		if (i == 0 || f->candidates[i].geofence_id != f->candidates[i - 1].geofence_id)
			ids[count++] = f->candidates[i].geofence_id;
	foreach(lc, f->visits)
		ids[count++] = ((Visit *) lfirst(lc))->geofence_id;
	at402_fence_shapes_limit();
	at402_fence_shapes_read(ids, count);
	for (int i = 0; i < f->candidate_count; i++)
	{
		Candidate  *c = &f->candidates[i];

		c->shape = at402_fence_shape(c->geofence_id, f->steps[c->step].report->time);
	}
	foreach(lc, f->visits)
	{
		Visit	   *v = lfirst(lc);

		give_shape(v, at402_fence_shape(v->geofence_id, v->entered_at));
	}
}

static void
find_near(At402Fences *f)
{
	uint64		rows = f->candidate_count == 0 ? 0
		: at402_run_batch(f->batch, AT402_SQL_JUDGE_FENCES);

	for (uint64 i = 0; i < rows; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		Near	   *near = palloc0(sizeof(Near));
		bool		null;
		const Candidate *c = &f->candidates[DatumGetInt32(SPI_getbinval(row, desc, 1, &null))];
		Step	   *s = &f->steps[c->step];

		near->shape = c->shape;
		near->side = DatumGetInt32(SPI_getbinval(row, desc, 2, &null));
		near->crossed = DatumGetBool(SPI_getbinval(row, desc, 3, &null)) && !null;
		s->near = lappend(s->near, near);
	}
}

/* ---- walking ---- */

static void
add_event(At402Fences *f, At402Report *r, const char *kind, int geofence_id, const char *name,
		  TimestampTz at)
{
	Event	   *event = palloc(sizeof(Event));

	*event = (Event) {r, at402_event_count(r) + r->fence_events++, kind, geofence_id, name, at};
	f->events = lappend(f->events, event);
}

/* A visit that has lasted long enough by the time of a report is shown. */
static void
show_if_due(At402Fences *f, Visit *v, At402Report *r)
{
	if (v->shown || r->time < v->due)
		return;
	v->shown = true;
	add_event(f, r, "geofence_enter", v->geofence_id, v->name, v->entered_at);
}

static void
enter(At402Fences *f, Walk *w, At402Report *r, const Near *near)
{
	Visit	   *v = palloc0(sizeof(Visit));

	v->device_id = w->device->id;
	v->geofence_id = near->shape->geofence_id;
	v->entered_at = r->time;
	v->seq = r->report.seq;
	v->content_hash = r->content_hash;
	give_shape(v, near->shape);
	w->visits = lappend(w->visits, v);
	f->visits = lappend(f->visits, v);
	show_if_due(f, v, r);
}

static void
leave(At402Fences *f, Visit *v, At402Report *r)
{
	show_if_due(f, v, r);
	v->over = true;
	v->left_at = r->time;
	v->left_by = r;
	if (v->shown)
		add_event(f, r, "geofence_exit", v->geofence_id, v->name, r->time);
}

static Near *
near_of(const Step *s, int geofence_id)
{
	ListCell   *lc;

	foreach(lc, s->near)
		if (((Near *) lfirst(lc))->shape->geofence_id == geofence_id)
			return lfirst(lc);
	return NULL;
}

/* What becomes of the visits that are open, at the next report. */
static void
go_on(At402Fences *f, Walk *w, Step *s)
{
	ListCell   *lc;

	foreach(lc, w->visits)
	{
		Visit	   *v = lfirst(lc);
		Near	   *near = near_of(s, v->geofence_id);

		if (s->report->time >= v->until)
		{
			v->over = true;
			v->left_at = v->until;
		}
		else if (near == NULL || near->side < 0)
			leave(f, v, s->report);
		else
			show_if_due(f, v, s->report);
		if (near != NULL && s->report->time < v->until)
			near->done = true;
		if (v->over)
			w->visits = foreach_delete_current(w->visits, lc);
	}
}

static void
take_steps(At402Fences *f, Walk *w)
{
	for (int i = w->first; i < w->last; i++)
	{
		Step	   *s = &f->steps[i];
		ListCell   *lc;

		go_on(f, w, s);
		foreach(lc, s->near)
		{
			const Near *near = lfirst(lc);

			if (near->done)
				continue;
			if (near->side > 0)
				enter(f, w, s->report, near);
			else if (near->crossed)
				add_event(f, s->report, "geofence_crossed", near->shape->geofence_id,
						  near->shape->name, s->report->time);
		}
	}
}

/* ---- late reports ---- */

/* The last of the reports of a device that was made by then, or its first. */
static At402Report *
report_at(const At402Fences *f, const Walk *w, TimestampTz at)
{
	At402Report *found = f->steps[w->first].report;

	for (int i = w->first; i < w->last && f->steps[i].report->time <= at; i++)
		found = f->steps[i].report;
	return found;
}

static void
rejudge(At402Fences *f, const Walk *w)
{
	Datum		args[] = {Int32GetDatum(w->device->id),
		TimestampTzGetDatum(f->steps[w->first].report->time),
		TimestampTzGetDatum(f->steps[w->last - 1].report->time), Int32GetDatum(f->only)};
	uint64		rows = at402_run(AT402_SQL_REJUDGE_FENCES, args, f->only == 0 ? "   n" : NULL);
	TupleDesc	desc = SPI_tuptable->tupdesc;

	for (uint64 i = 0; i < rows; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		null;
		int			geofence_id = DatumGetInt32(SPI_getbinval(row, desc, 2, &null));
		TimestampTz at = DatumGetTimestampTz(SPI_getbinval(row, desc, 4, &null));

		add_event(f, report_at(f, w, at), SPI_getvalue(row, desc, 1), geofence_id,
				  SPI_getvalue(row, desc, 3), at);
	}
}

/* Of ways to and from the reports of a device. */
static void
find_late_crossings(At402Fences *f, const Walk *w)
{
	Datum		args[] = {Int64GetDatum(f->batch->handle), Int32GetDatum(w->device->id),
		TimestampTzGetDatum(f->steps[w->first].report->time),
		TimestampTzGetDatum(f->steps[w->last - 1].report->time), Int32GetDatum(f->only)};
	uint64		rows = at402_run(AT402_SQL_LATE_CROSSINGS, args, f->only == 0 ? "    n" : NULL);
	TupleDesc	desc = SPI_tuptable->tupdesc;

	for (uint64 i = 0; i < rows; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		bool		null;
		int			number = DatumGetInt32(SPI_getbinval(row, desc, 1, &null));

		add_event(f, f->steps[number].report, "geofence_crossed",
				  DatumGetInt32(SPI_getbinval(row, desc, 2, &null)), SPI_getvalue(row, desc, 3),
				  DatumGetTimestampTz(SPI_getbinval(row, desc, 4, &null)));
	}
}

/* ---- rows ---- */

static void
put_step(const Step *s, int number, bool has_way, Datum *values, bool *nulls)
{
	double		longitude;
	double		latitude;

	nulls[3] = nulls[4] = !comes_from(s, &longitude, &latitude) || !has_way;
	values[0] = Int32GetDatum(number);
	values[1] = Float8GetDatum(s->report->longitude);
	values[2] = Float8GetDatum(s->report->latitude);
	values[3] = Float8GetDatum(longitude);
	values[4] = Float8GetDatum(latitude);
}

static void
put_key(const At402Report *r, Datum *values)
{
	values[5] = TimestampTzGetDatum(r->time);
	values[6] = Int32GetDatum(r->item->device->id);
	values[7] = Int16GetDatum((int16) r->report.seq);
	values[8] = Int32GetDatum(r->content_hash);
}

/* Can the way cross it?  What was inside has left it, if it is outside. */
static bool
can_cross(const Step *s, const At402Shape *shape)
{
	ListCell   *lc;

	if (shape->min_dwell.time != 0 || shape->min_dwell.day != 0 || shape->min_dwell.month != 0)
		return false;
	if (s->before == NULL)
		foreach(lc, s->walk->visits)
		{
			const Visit *v = lfirst(lc);

			if (v->geofence_id == shape->geofence_id && s->report->time < v->until)
				return false;
		}
	return true;
}

static void
put_candidate(const At402Fences *f, int number, Datum *values, bool *nulls)
{
	const Step *s = &f->steps[f->candidates[number].step];
	const At402Shape *shape = f->candidates[number].shape;

	put_step(s, number, can_cross(s, shape), values, nulls);
	values[5] = shape->geom;
	values[6] = Float8GetDatum(shape->radius_m);
	values[7] = Float8GetDatum(shape->hysteresis_m);
}

static void
put_visit(const Visit *v, Datum *values, bool *nulls)
{
	values[0] = Int32GetDatum(v->device_id);
	values[1] = Int32GetDatum(v->geofence_id);
	values[2] = TimestampTzGetDatum(v->entered_at);
	values[3] = Int16GetDatum((int16) v->seq);
	values[4] = Int32GetDatum(v->content_hash);
	values[5] = TimestampTzGetDatum(v->over ? v->left_at : v->until);
	nulls[5] = !v->over && v->until == DT_NOEND;
	nulls[6] = nulls[7] = v->left_by == NULL;
	if (v->left_by == NULL)
		return;
	values[6] = Int16GetDatum((int16) v->left_by->report.seq);
	values[7] = Int32GetDatum(v->left_by->content_hash);
}

static void
put_event(const Event *e, Datum *values, bool *nulls)
{
	const At402Report *r = e->report;

	values[0] = Int32GetDatum(r->item->device->id);
	values[1] = TimestampTzGetDatum(r->time);
	values[2] = Int16GetDatum((int16) r->report.seq);
	values[3] = Int32GetDatum(r->content_hash);
	values[4] = Int16GetDatum((int16) e->n);
	values[5] = CStringGetTextDatum(e->kind);
	values[6] = BoolGetDatum(r->late);
	values[7] = Float8GetDatum(r->longitude);
	values[8] = Float8GetDatum(r->latitude);
	values[9] = Int32GetDatum(e->geofence_id);
	nulls[10] = e->name == NULL;
	values[10] = e->name == NULL ? (Datum) 0 : CStringGetTextDatum(e->name);
	values[11] = TimestampTzGetDatum(e->at);
}

/* Is this what becomes of the visit?  One of the words of at402_batch_fences. */
static bool
becomes(const Visit *v, const char *what)
{
	if (strcmp(what, "new") == 0)
		return v->shown && v->kept != IN_VISIT;
	if (strcmp(what, "left") == 0)
		return v->over && v->kept == IN_VISIT;
	if (strcmp(what, "pending") == 0)
		return !v->shown && !v->over && v->kept == NOWHERE;
	return (v->shown || v->over) && v->kept == IN_PENDING;
}

PG_FUNCTION_INFO_V1(at402_batch_fences);

/*
 * at402_batch_fences(batch, what) -> SETOF record: steps to judge, candidates, events,
 * or visits that are new, left, pending, or pending no more.
 */
Datum
at402_batch_fences(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const At402Fences *f = at402_batch_find(PG_GETARG_INT64(0))->fences;
	char	   *what = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Datum		values[12];
	bool		nulls[12] = {0};
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (f == NULL)
		return (Datum) 0;
	if (strcmp(what, "step") == 0)
		for (int i = 0; i < f->step_count; i++)
		{
			put_step(&f->steps[i], i, true, values, nulls);
			put_key(f->steps[i].report, values);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	else if (strcmp(what, "candidate") == 0)
		for (int i = 0; i < f->candidate_count; i++)
		{
			if (f->candidates[i].shape == NULL)
				continue;
			put_candidate(f, i, values, nulls);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	else if (strcmp(what, "event") == 0)
		foreach(lc, f->events)
		{
			put_event(lfirst(lc), values, nulls);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	else
		foreach(lc, f->visits)
			if (becomes(lfirst(lc), what))
			{
				put_visit(lfirst(lc), values, nulls);
				tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
			}
	return (Datum) 0;
}

static void
store_visits(At402Fences *f)
{
	static const struct
	{
		const char *what;
		At402Statement statement;
	}			changes[] = {
		{"gone", AT402_SQL_PENDING_GONE},
		{"pending", AT402_SQL_PENDING_VISITS},
		{"left", AT402_SQL_LEFT_VISITS},
		{"new", AT402_SQL_NEW_VISITS},
	};
	ListCell   *lc;

	for (int i = 0; i < lengthof(changes); i++)
		foreach(lc, f->visits)
			if (becomes(lfirst(lc), changes[i].what))
			{
				at402_run_batch(f->batch, changes[i].statement);
				break;
			}
}

/* ---- all of it ---- */

static void
judge(void *argument)
{
	At402Fences *f = argument;

	SPI_connect();
	f->batch->fences = f;
	collect(f);
	find_candidates(f);
	find_open(f);
	read_shapes(f);
	find_near(f);
	for (int i = 0; i < f->walk_count; i++)
		if (f->walks[i].in_order)
			take_steps(f, &f->walks[i]);
		else
		{
			rejudge(f, &f->walks[i]);
			find_late_crossings(f, &f->walks[i]);
		}
	store_visits(f);
	if (f->events != NIL)
		at402_run_batch(f->batch, AT402_SQL_FENCE_EVENTS);
	SPI_finish();
}

/* Returns what could not be judged: an error that is no fault of the environment. */
static ErrorData *
try_fences(At402Batch *batch, int only)
{
	At402Fences f = {.batch = batch, .only = only};
	ErrorData  *error = NULL;

	at402_attempt(AT402_SUBTRANSACTION, judge, &f, &error);
	batch->fences = NULL;
	if (error != NULL &&
		(at402_is_timeout(error) || at402_is_environment(error, batch->attempts)))
		at402_raise_environment(error);
	return error;
}

/* The geofences that the reports of the slice may have to do with. */
static void
list_fences(void *argument)
{
	At402Fences *f = argument;
	MemoryContext caller = CurrentMemoryContext;
	uint64		rows;

	SPI_connect();
	f->batch->fences = f;
	collect(f);
	rows = at402_run(AT402_SQL_FENCE_IDS, (Datum[]) {Int64GetDatum(f->batch->handle),
					 devices_of(f, true)}, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		bool		null;
		int			id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1,
													 &null));
		MemoryContext own = MemoryContextSwitchTo(caller);

		f->ids = lappend_int(f->ids, id);
		MemoryContextSwitchTo(own);
	}
	SPI_finish();
}

static void
judge_singly(At402Batch *batch)
{
	At402Fences f = {.batch = batch};
	ErrorData  *error = NULL;
	ListCell   *lc;

	if (!at402_attempt(AT402_SUBTRANSACTION, list_fences, &f, &error))
		at402_fence_lost(batch, 0, error);
	foreach(lc, f.ids)
		if ((error = try_fences(batch, lfirst_int(lc))) != NULL)
			at402_fence_lost(batch, lfirst_int(lc), error);
}

void
at402_judge_fences(At402Batch *batch)
{
	for (int i = batch->first; i < batch->last; i++)
		batch->reports[i]->fence_events = 0;
	if (try_fences(batch, 0) != NULL)
		judge_singly(batch);
	batch->fences = NULL;
}
