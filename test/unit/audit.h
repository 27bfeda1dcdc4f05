/*
 * audit.h - what must hold for every packet that was opened, good or not
 *
 * Walks all reports, modules and values as a user of the core does.  Unit tests
 * call it for packets they made, fuzzers for anything.
 */
#ifndef AT402_AUDIT_H
#define AT402_AUDIT_H

#include <string.h>

#include "core/at402.h"

/* Returns the rule that is broken, as text, from the function it stands in. */
#define AUDIT(condition)                                                                           \
	do                                                                                             \
	{                                                                                              \
		if (!(condition))                                                                          \
			return #condition;                                                                     \
	} while (0)

#define AUDIT_MAX_VALUES 128	/* of one object */

typedef struct audit_state
{
	const at402_module *module;
	const char *fault;			/* first rule broken, or NULL */
	enum { IN_MODULE, IN_LIST, IN_ITEM } place;
	size_t		count[IN_ITEM + 1];
	const at402_field_def *told[IN_ITEM + 1][AUDIT_MAX_VALUES];
} audit_state;

static inline const char *
audit_value(const at402_module *module, const at402_field_def *field, const at402_value *value)
{
	const at402_packet *packet = module->report->packet;
	at402_span	span = value->span;
	bool		has_span = value->kind == AT402_V_TEXT || value->kind == AT402_V_HEX ||
		value->kind == AT402_V_MAC;

	AUDIT(field->name != NULL && field->den > 0);
	AUDIT(has_span == (span.bytes != NULL));
	/* names are the core's own words, all else stands in the packet */
	if (has_span && field->type != AT402_T_NAME && field->type != AT402_T_LIST)
	{
		AUDIT(span.bytes >= packet->bytes);
		AUDIT(span.bytes + span.length <= packet->bytes + packet->end);
	}
	if (value->kind == AT402_V_TEXT)
	{
		AUDIT(memchr(span.bytes, 0, span.length) == NULL);
		AUDIT(span.length == 0 || span.bytes[span.length - 1] != ' ');
	}
	AUDIT(value->kind != AT402_V_MAC || span.length == 6);
	AUDIT(value->kind != AT402_V_BOOL || value->raw == 0 || value->raw == 1);
	AUDIT(value->kind != AT402_V_TIME || (value->raw >= 0 && value->raw <= UINT32_MAX));
	return NULL;
}

static inline const char *
audit_event(audit_state *state, at402_event event, const at402_field_def *field,
			const at402_value *value)
{
	const at402_field_def **told = state->told[state->place];

	switch (event)
	{
		case AT402_E_LIST:
			AUDIT(state->place == IN_MODULE);
			AUDIT(field != NULL && field->type == AT402_T_LIST && value == NULL);
			told[state->count[IN_MODULE]++] = field;
			state->place = IN_LIST;
			return NULL;
		case AT402_E_LIST_END:
			AUDIT(state->place == IN_LIST);
			state->place = IN_MODULE;
			return NULL;
		case AT402_E_ITEM:
			AUDIT(state->place == IN_LIST && field == NULL && value == NULL);
			state->place = IN_ITEM;
			state->count[IN_ITEM] = 0;
			return NULL;
		case AT402_E_ITEM_END:
			AUDIT(state->place == IN_ITEM);
			state->place = IN_LIST;
			return NULL;
		case AT402_E_VALUE:
		case AT402_E_DERIVED:
			AUDIT(field != NULL && value != NULL);
			AUDIT(field->derived == (event == AT402_E_DERIVED));
			if (state->place != IN_LIST)
			{
				/* no member twice; that names differ is the table's affair */
				AUDIT(state->count[state->place] < AUDIT_MAX_VALUES);
				for (size_t i = 0; i < state->count[state->place]; i++)
					AUDIT(told[i] != field);
				told[state->count[state->place]++] = field;
			}
			return audit_value(state->module, field, value);
	}
	return "known event";
}

static inline void
audit_visit(void *context, at402_event event, const at402_field_def *field,
			const at402_value *value)
{
	audit_state *state = context;

	if (state->fault == NULL)
		state->fault = audit_event(state, event, field, value);
}

/* Bytes before the content that only tell its length. */
static inline size_t
audit_prefix(const at402_module *module)
{
	bool		y = module->report->packet->variant->letter == 'Y';

	switch (module->def != NULL ? (at402_shape) module->def->shape : AT402_FIELDS)
	{
		case AT402_GENERIC_CAN:
		case AT402_DEBUG:
			return 2;
		case AT402_BEACONS:
			return y ? 2 : 0;
		default:
			return y ? 1 : 0;
	}
}

static inline const char *
audit_module(const at402_module *module)
{
	audit_state state = {.module = module};
	char		buffer[AT402_KEY_SIZE];
	const char *key = at402_module_key(module, buffer);

	AUDIT(module->def != NULL ? key == module->def->key : strncmp(key, "module_", 7) == 0);
	AUDIT(module->def != NULL || module->raw);
	at402_module_visit(module, audit_visit, &state);
	if (state.fault != NULL)
		return state.fault;
	AUDIT(state.place == IN_MODULE);
	if (module->raw)
	{
		AUDIT(state.count[IN_MODULE] >= 1 && state.told[IN_MODULE][0] == &at402_raw_field);
		AUDIT(state.count[IN_MODULE] <= 2);
	}
	else
		AUDIT(state.count[IN_MODULE] > 0);
	return NULL;
}

/* Modules of X and Y: those of the mask, in its order, without gaps. */
static inline const char *
audit_modules(const at402_report *report)
{
	const at402_variant_def *v = report->packet->variant;
	const uint8_t *mask = report->bytes + v->mask.offset;
	const uint8_t *end = report->bytes + v->header;
	at402_module module = {0};
	int			bit = -1;
	int			bits = v->mask.width * 8;

	while (at402_module_next(report, &module))
	{
		const char *fault;

		for (bit++; bit < bits && !(mask[v->mask.width - 1 - bit / 8] >> bit % 8 & 1);)
			bit++;
		AUDIT((int) module.bit == bit);
		AUDIT(module.def == NULL || module.def->bit == bit);
		AUDIT(module.bytes == end + audit_prefix(&module));
		end = module.bytes + module.length;
		fault = audit_module(&module);
		if (fault != NULL)
			return fault;
	}
	AUDIT(end == report->bytes + report->length);
	if (!report->cut)
		for (bit++; bit < bits; bit++)
			AUDIT(!(mask[v->mask.width - 1 - bit / 8] >> bit % 8 & 1));
	return NULL;
}

/* Modules of K, M and V: each sees the whole report. */
static inline const char *
audit_blocks(const at402_report *report)
{
	at402_module module = {0};

	while (at402_module_next(report, &module))
	{
		const char *fault;

		AUDIT(module.bytes == report->bytes && module.length == report->length);
		AUDIT(module.def != NULL && !module.raw);
		fault = audit_module(&module);
		if (fault != NULL)
			return fault;
	}
	return NULL;
}

/* NULL, or the rule that a packet breaks. */
static inline const char *
audit_packet(const at402_packet *packet)
{
	const at402_problem *problem = &packet->problem;
	bool		good = problem->status == AT402_OK;
	const uint8_t *at = packet->bytes + packet->start;
	at402_report report = {0};
	unsigned	reports = 0;

	AUDIT(packet->end <= packet->length - 2);
	AUDIT(packet->has_imei ? packet->start > packet->end || packet->imei[0] != 0
		  : packet->imei[0] == 0);
	for (; at402_report_next(packet, &report); reports++)
	{
		const char *fault;

		AUDIT(report.packet == packet && report.number == reports);
		AUDIT(report.bytes == at && report.seq == *at);
		AUDIT(!report.cut || (!good && report.bytes + report.length == packet->bytes +
							  packet->end));
		fault = packet->variant->header > 0 ? audit_modules(&report) : audit_blocks(&report);
		if (fault != NULL)
			return fault;
		at += report.length;
	}
	if (packet->start <= packet->end)
		AUDIT(at == packet->bytes + packet->end);
	else
		AUDIT(reports == 0);
	if (good)
	{
		AUDIT(packet->end == packet->length - 2 && reports > 0);
		AUDIT(packet->variant->imei_always || reports == packet->count);
	}
	else if (problem->status == AT402_NO_LAYOUT || problem->status == AT402_NO_REPORTS)
		AUDIT(reports == 0);
	else
	{
		AUDIT(problem->offset == packet->end);
		AUDIT(packet->variant->imei_always || reports <= packet->count);
	}
	return NULL;
}

#endif							/* AT402_AUDIT_H */
