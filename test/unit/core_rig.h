/*
 * core_rig.h - opens packets written with wire.h and tells what is in them
 */
#ifndef AT402_CORE_RIG_H
#define AT402_CORE_RIG_H

#include <stdarg.h>

#include "audit.h"
#include "unit.h"
#include "wire.h"

static at402_packet opened;		/* what open_packet opened last */

/*
 * Opens a copy of the packet, so that nothing behind it can be read, and
 * audits it whether it is good or not.
 */
static inline at402_status
open_packet(const wire *w, char protocol, at402_sender sender)
{
	static uint8_t *copy;
	at402_frame frame;
	at402_status status;
	const char *fault;

	free(copy);
	copy = wire_copy(w->bytes, w->length);
	CHECK(at402_frame_scan(copy, w->length, &frame) == AT402_OK && frame.length == w->length);
	status = at402_packet_open(&opened, copy, w->length, protocol, sender);
	CHECK(status == opened.problem.status);
	fault = audit_packet(&opened);
	if (!CHECK(fault == NULL))
		printf("rule: %s\n", fault);
	return status;
}

/* ---- modules as text ---- */

#define TRACE_SIZE 8192

typedef struct trace
{
	size_t		length;
	char		text[TRACE_SIZE];
} trace;

static inline void __attribute__((format(printf, 2, 3)))
trace_add(trace *t, const char *format, ...)
{
	va_list		arguments;

	va_start(arguments, format);
	t->length += (size_t) vsnprintf(t->text + t->length, TRACE_SIZE - t->length, format, arguments);
	va_end(arguments);
	assert(t->length < TRACE_SIZE);
}

/* Values as they are on the wire, unscaled. */
static inline void
trace_visit(void *context, at402_event event, const at402_field_def *field,
			const at402_value *value)
{
	trace	   *t = context;

	if (event == AT402_E_DERIVED)
		return;
	if (t->length > 0 && strchr("[{", t->text[t->length - 1]) == NULL &&
		event != AT402_E_ITEM_END && event != AT402_E_LIST_END)
		trace_add(t, " ");
	switch (event)
	{
		case AT402_E_LIST:
			trace_add(t, "%s=[", field->name);
			return;
		case AT402_E_LIST_END:
			trace_add(t, "]");
			return;
		case AT402_E_ITEM:
			trace_add(t, "{");
			return;
		case AT402_E_ITEM_END:
			trace_add(t, "}");
			return;
		case AT402_E_VALUE:
			trace_add(t, "%s=", field->name);
			break;
		case AT402_E_DERIVED:
			return;
	}
	if (value->kind == AT402_V_NULL)
		trace_add(t, "null");
	else if (value->kind == AT402_V_TEXT)
		trace_add(t, "'%.*s'", (int) value->span.length, (const char *) value->span.bytes);
	else if (value->kind == AT402_V_HEX || value->kind == AT402_V_MAC)
		for (size_t i = 0; i < value->span.length; i++)
			trace_add(t, "%02X", value->span.bytes[i]);
	else
		trace_add(t, "%lld", (long long) value->raw);
}

/* Report n of the opened packet; its bytes are NULL when there is none. */
static inline at402_report
report_at(unsigned n)
{
	at402_report report = {0};

	while (at402_report_next(&opened, &report))
		if (report.number == n)
			return report;
	return (at402_report) {0};
}

/* The names of a report's modules, with blanks between. */
static inline const char *
keys(const at402_report *report)
{
	static trace t;
	at402_module module = {0};
	char		buffer[AT402_KEY_SIZE];

	t.length = 0;
	t.text[0] = 0;
	while (report->bytes != NULL && at402_module_next(report, &module))
		trace_add(&t, "%s%s", t.length > 0 ? " " : "", at402_module_key(&module, buffer));
	return t.text;
}

/* The values of a module of the first report. */
static inline const char *
values(unsigned bit)
{
	static trace t;
	at402_report report = report_at(0);
	at402_module module = {0};

	t.length = 0;
	t.text[0] = 0;
	while (report.bytes != NULL && at402_module_next(&report, &module))
		if (module.bit == bit)
			at402_module_visit(&module, trace_visit, &t);
	return t.text;
}

static inline bool
same(const char *found, const char *expected)
{
	if (strcmp(found, expected) == 0)
		return true;
	printf("found    %s\nexpected %s\n", found, expected);
	return false;
}

#endif							/* AT402_CORE_RIG_H */
