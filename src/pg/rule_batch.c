/*
 * rule_batch.c - which rows of a batch the rules look at
 *
 * Those of reports that are new and whose clock can be believed, and the events
 * of trackers that came or went.  Groups whose tables got no rows are left out.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "pg/owner.h"
#include "pg/rule_batch.h"
#include "pg/settings.h"

/* The modules that make rows of a source. */
static uint32
homes_of(const At402Source *source)
{
	static const struct
	{
		const char *table;
		uint32		homes;
	}			tables[] = {
		{"io", AT402_HOME_IO}, {"motion", AT402_HOME_MOTION}, {"can", AT402_HOME_CAN},
		{"ble", AT402_HOME_BLE}, {"trip", 0}, {"device_state", 0},
	};

	for (int i = 0; i < lengthof(tables); i++)
		if (strcmp(tables[i].table, source->table) == 0)
			return tables[i].homes;
	return AT402_HOME_POSITION;
}

static bool
is_judged(const At402Report *r)
{
	return r->is_new && !r->time_suspect;
}

static void
collect_keys(At402RuleBatch *b, const At402Batch *batch, uint32 *homes)
{
	int			before = 0;

	b->reports = palloc(sizeof(At402Key) *
						(batch->report_count + batch->presence_count + 1));
	for (int i = 0; i < batch->report_count; i++)
	{
		const At402Report *r = batch->reports[i];

		if (!is_judged(r))
			continue;
		b->reports[b->report_count++] = (At402Key) {r->item->device->id, r->time, r->report.seq,
			r->content_hash};
		*homes |= r->homes;
		if (r->item->device->id != before)
			b->devices = lappend_int(b->devices, r->item->device->id);
		before = r->item->device->id;
	}
}

/* The events online and offline have no report. */
static void
collect_presence(At402RuleBatch *b, const At402Batch *batch)
{
	b->key_count = b->report_count;
	for (int i = 0; i < batch->presence_count; i++)
	{
		const At402Presence *p = batch->presence[i];

		if (!p->changed || p->rejection != NULL)
			continue;
		b->reports[b->key_count++] = (At402Key) {p->device_id, p->at, -1, 0};
		b->devices = list_append_unique_int(b->devices, p->device_id);
	}
}

/* Those whose rows the batch may have brought. */
static List *
due_groups(List *groups, uint32 homes)
{
	List	   *due = NIL;
	ListCell   *lc;

	foreach(lc, groups)
		if (homes & homes_of(((At402RuleGroup *) lfirst(lc))->source))
			due = lappend(due, lfirst(lc));
	return due;
}

void
at402_rules_run(At402Batch *batch)
{
	List	   *groups = at402_rules_in_force();
	At402RuleBatch b = {.attempts = batch->attempts};
	uint32		homes = 0;
	At402Caller caller;

	if (groups == NIL)
		return;
	b.oldest = GetCurrentTransactionStartTimestamp() - at402_alert_max_age * USECS_PER_SEC;
	collect_keys(&b, batch, &homes);
	collect_presence(&b, batch);
	caller = at402_become(at402_tables_owner());
	groups = due_groups(groups, homes | AT402_HOME_POSITION);
	if (groups != NIL)
		at402_rules_judge(&b, groups);
	at402_become_caller(&caller);
}
