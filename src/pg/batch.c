/*
 * batch.c - reading frames and deciding what becomes of them
 *
 * The part of it that the bytes alone decide; what needs at402.device is in
 * devices.c.
 */
#include "postgres.h"

#include "port/pg_crc32c.h"
#include "utils/memutils.h"

#include "pg/batch.h"
#include "pg/errors.h"
#include "pg/settings.h"
#include "pg/value.h"

/* Batches of this backend; more than one when a trigger calls at402_ingest. */
static dlist_head batches = DLIST_STATIC_INIT(batches);
static int64 last_handle = 0;

static void
forget_batch(void *argument)
{
	dlist_delete(&((At402Batch *) argument)->node);
}

At402Batch *
at402_batch_create(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "at402 batch",
												  ALLOCSET_DEFAULT_SIZES);
	At402Batch *batch = MemoryContextAllocZero(context, sizeof(At402Batch));
	MemoryContextCallback *callback = MemoryContextAlloc(context, sizeof(*callback));

	batch->context = context;
	batch->handle = ++last_handle;
	dlist_push_head(&batches, &batch->node);
	/* an error that unwinds the caller takes the batch off the list too */
	callback->func = forget_batch;
	callback->arg = batch;
	MemoryContextRegisterResetCallback(context, callback);
	return batch;
}

void
at402_batch_destroy(At402Batch *batch)
{
	MemoryContextDelete(batch->context);
}

bool
at402_batch_is_nested(void)
{
	return !dlist_is_empty(&batches) && dlist_has_next(&batches, dlist_head_node(&batches));
}

void
at402_batch_discard(MemoryContext context)
{
	if (at402_batch_is_nested())
		MemoryContextSetParent(context, TopTransactionContext);
	else
		MemoryContextDelete(context);
}

At402Batch *
at402_batch_find(int64 handle)
{
	dlist_iter	iter;

	dlist_foreach(iter, &batches)
	{
		At402Batch *batch = dlist_container(At402Batch, node, iter.cur);

		if (batch->handle == handle)
			return batch;
	}
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("batch %lld does not exist", (long long) handle),
			errhint("This function is part of at402_ingest() and is not to be called alone."));
}

/* ---- reading ---- */

void
at402_quarantine(At402Item *item, const char *reason, const char *message)
{
	item->disposition = AT402_TO_QUARANTINE;
	item->reason = reason;
	item->message = message;
}

void
at402_reject(At402Item *item, const char *sqlstate, const char *message)
{
	if (item->disposition == AT402_REFUSED || item->disposition == AT402_TO_QUARANTINE)
		return;
	at402_quarantine(item, "timeout", message);
	item->sqlstate = sqlstate;
}

At402Verdict
at402_verdict(const At402Item *item)
{
	At402Verdict v = {.disposition = item->disposition, .reason = item->reason,
		.device_id = item->device != NULL ? item->device->id : 0};

	strlcpy(v.imei, item->imei, sizeof(v.imei));
	return v;
}

static void
set_imei(At402Item *item, const char *imei)
{
	strlcpy(item->imei, imei, sizeof(item->imei));
}

static bool
imei_valid(const char *imei)
{
	return at402_imei_valid((const uint8_t *) imei, strlen(imei));
}

static void
read_login(At402Item *item)
{
	at402_login login;

	at402_login_parse(item->input->bytes, item->input->length, &login);
	if (!at402_imei_valid(login.imei.bytes, login.imei.length))
	{
		at402_quarantine(item, "impossible_imei",
						 psprintf("login with IMEI \"%s\"",
								  login.imei.bytes ? at402_text_cstring(login.imei) : ""));
		return;
	}
	item->disposition = AT402_TO_DEVICE;
	memcpy(item->imei, login.imei.bytes, login.imei.length);
	item->imei[login.imei.length] = '\0';
}

static void
read_packet(At402Item *item)
{
	const at402_input *input = item->input;
	at402_packet *packet = &item->packet;
	at402_status status;

	status = at402_packet_open(packet, input->bytes, input->length, input->from.protocol,
							   input->from.logged_in ? AT402_SENDER_LOGGED_IN : AT402_SENDER_IN_PACKET);
	item->disposition = AT402_TO_ROWS;
	if (status != AT402_OK)
	{
		at402_quarantine(item, status == AT402_NO_REPORTS ? "no_reports" : "undecodable",
						 psprintf("%s: %s", at402_status_text(status),
								  at402_problem_detail(&packet->problem)));
		if (input->from.logged_in && imei_valid(input->from.imei))
			set_imei(item, input->from.imei);
		else if (!input->from.logged_in && imei_valid(packet->imei))
			set_imei(item, packet->imei);
	}
	else if (packet->has_imei && !imei_valid(packet->imei))
		at402_quarantine(item, "impossible_imei",
						 psprintf("packet with IMEI \"%s\"", packet->imei));
	else if (input->from.logged_in && !imei_valid(input->from.imei))
		at402_quarantine(item, "impossible_imei",
						 psprintf("packet after a login with IMEI \"%s\"", input->from.imei));
	else if (packet->has_imei && input->from.logged_in &&
			 strcmp(packet->imei, input->from.imei) != 0)
	{
		set_imei(item, input->from.imei);
		at402_quarantine(item, "other_imei",
						 psprintf("packet with IMEI \"%s\" after the login of \"%s\"",
								  packet->imei, input->from.imei));
	}
	else if (packet->has_imei)
		set_imei(item, packet->imei);
	else if (input->from.logged_in)
		set_imei(item, input->from.imei);
	else
	{
		item->disposition = AT402_REFUSED;
		item->reason = "unknown_sender";
	}
}

At402Item *
at402_batch_add(At402Batch *batch, const at402_input *input)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	At402Item  *item = palloc0(sizeof(At402Item));

	item->input = input;
	switch (input->kind)
	{
		case AT402_FRAME_LOGIN:
			read_login(item);
			break;
		case AT402_FRAME_TEXT:
			item->disposition = AT402_TO_FRAME;
			if (imei_valid(input->from.imei))
				set_imei(item, input->from.imei);
			break;
		case AT402_FRAME_PACKET:
			read_packet(item);
			break;
	}
	batch->items = lappend(batch->items, item);
	MemoryContextSwitchTo(caller);
	return item;
}

/* ---- reports ---- */

/*
 * CRC-32C over the report as sent, with the two status bits cleared that may
 * change when a device sends the same report again: stored and more_queued.
 * Part of the key of at402.position: frozen for ever.
 */
static int32
content_hash(const at402_report *report)
{
	const at402_part *part = &report->packet->variant->status;
	uint32		status = report->status &
		~(1U << AT402_STATUS_STORED | 1U << AT402_STATUS_MORE_QUEUED);
	uint8_t		sent[4];
	pg_crc32c	crc;

	for (int i = 0; i < part->width; i++)
		sent[i] = (uint8_t) (status >> 8 * (part->width - 1 - i));
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, report->bytes, part->offset);
	COMP_CRC32C(crc, sent, part->width);
	COMP_CRC32C(crc, report->bytes + part->offset + part->width,
				report->length - part->offset - part->width);
	FIN_CRC32C(crc);
	return (int32) crc;
}

static void
visit_point(void *context, at402_event event, const at402_field_def *field,
			const at402_value *value)
{
	At402Report *r = context;
	double		degrees = (double) value->raw * field->num / field->den;

	if (strcmp(field->name, "fix_time") == 0)
		r->was_fixed = value->raw != 0;
	else if (strcmp(field->name, "latitude_deg") == 0)
	{
		r->latitude = degrees;
		r->has_point = true;
	}
	else if (strcmp(field->name, "longitude_deg") == 0)
		r->longitude = degrees;
}

/* Where the values of a module go; those that stay raw all to one table. */
static uint32
module_homes(const at402_module *module)
{
	return module->raw ? AT402_HOME_MODULE : module->def->home;
}

static At402Report *
make_report(At402Item *item, const at402_report *report)
{
	At402Report *r = palloc0(sizeof(At402Report));
	at402_module module = {0};

	r->item = item;
	r->report = *report;
	r->report.packet = &item->packet;
	r->time = at402_time(report->time);
	r->content_hash = content_hash(report);
	r->is_new = true;
	r->ignition = report->status >> AT402_STATUS_IGNITION & 1;
	r->time_suspect = report->time < AT402_CLOCK_SET ||
		r->time - item->input->received_at > at402_future_limit * USECS_PER_SEC;
	while (at402_module_next(&r->report, &module))
	{
		uint32		homes = module_homes(&module);

		r->homes |= homes;
		if ((homes & AT402_HOME_POSITION) && !r->has_point)
			at402_module_visit(&module, visit_point, r);
	}
	return r;
}

static int
compare_reports(const void *a, const void *b)
{
	const At402Report *x = *(At402Report *const *) a;
	const At402Report *y = *(At402Report *const *) b;

	if (x->item->device->id != y->item->device->id)
		return x->item->device->id < y->item->device->id ? -1 : 1;
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	if (x->report.seq != y->report.seq)
		return x->report.seq < y->report.seq ? -1 : 1;
	if (x->content_hash != y->content_hash)
		return x->content_hash < y->content_hash ? -1 : 1;
	return 0;
}

/*
 * Compares each report with the one before of its device: in the batch, or the
 * last one stored.  What stood before a late report only the table knows.  A
 * clock far ahead would make all later reports late, and one that was never set
 * says nothing: they do not count.
 */
void
at402_see_changes(At402Batch *batch)
{
	At402Report *before = NULL;

	batch->any_late = false;
	for (int i = batch->first; i < batch->last; i++)
	{
		At402Report *r = batch->reports[i];
		const At402Device *device = r->item->device;

		r->late = r->ignition_changed = false;

		if (before != NULL && before->item->device != device)
			before = NULL;
		if (r->time_suspect)
			continue;
		r->late = device->has_state && r->time < device->state_time;
		batch->any_late |= r->late;
		if (r->late)
			continue;
		if (before != NULL)
			r->ignition_changed = r->ignition != before->ignition;
		else if (device->has_state)
			r->ignition_changed = r->ignition != device->state_ignition;
		before = r;
	}
}

int
at402_first_of_device(const At402Batch *batch, int device_id)
{
	int			low = batch->first;

	for (int high = batch->last; low < high;)
	{
		int			middle = (low + high) / 2;

		if (batch->reports[middle]->item->device->id < device_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < batch->last && batch->reports[low]->item->device->id == device_id ? low : -1;
}

int
at402_reports_of_device(const At402Batch *batch, int first)
{
	int			next = first + 1;

	while (next < batch->last &&
		   batch->reports[next]->item->device == batch->reports[first]->item->device)
		next++;
	return next - first;
}

/* Equal reports in the order they came: the first is stored, with its frame. */
static int
compare_in_order(const void *a, const void *b)
{
	const At402Report *x = *(At402Report *const *) a;
	const At402Report *y = *(At402Report *const *) b;
	int			order = compare_reports(a, b);

	return order != 0 ? order : x->number < y->number ? -1 : x->number > y->number;
}

void
at402_batch_collect(At402Batch *batch)
{
	MemoryContext caller = MemoryContextSwitchTo(batch->context);
	List	   *list = NIL;
	ListCell   *lc;
	int			n = 0;

	foreach(lc, batch->items)
	{
		At402Item  *item = lfirst(lc);
		at402_report report = {0};

		if (item->disposition != AT402_TO_ROWS)
			continue;
		while (at402_report_next(&item->packet, &report))
		{
			list = lappend(list, make_report(item, &report));
			batch->any_stored_flag |= report.status >> AT402_STATUS_STORED & 1;
		}
	}
	batch->reports_seen = list_length(list);
	batch->reports = palloc(sizeof(At402Report *) * (list_length(list) + 1));
	foreach(lc, list)
	{
		batch->reports[n] = lfirst(lc);
		batch->reports[n]->number = n;
		n++;
	}
	qsort(batch->reports, n, sizeof(At402Report *), compare_in_order);
	for (int i = 0; i < n; i++)
	{
		At402Report *r = batch->reports[i];
		At402Report *last = i > 0 ? batch->reports[batch->report_count - 1] : NULL;

		if (last != NULL && compare_reports(&r, &last) == 0)
		{
			r->repeat = last->repeat;
			last->repeat = r;
			batch->duplicates++;
		}
		else
			batch->reports[batch->report_count++] = r;
	}
	MemoryContextSwitchTo(caller);
}
