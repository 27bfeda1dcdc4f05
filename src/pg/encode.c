/*
 * encode.c - at402_encode: from jsonb to a frame, the inverse of at402_decode
 *
 * The jsonb is read in the form that at402_decode writes.  A key that means nothing
 * is refused: it is a typing error.
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/builtins.h"

#include "pg/encode_value.h"
#include "pg/frame.h"

PG_FUNCTION_INFO_V1(at402_encode);

#define MAX_DEPTH 4				/* module, list, item */

/* The objects and arrays that are open, innermost last. */
typedef struct Source
{
	const at402_writer *writer;
	const char *module;			/* for messages */
	JsonbValue	open[MAX_DEPTH];
	List	   *asked[MAX_DEPTH];	/* names of their members that were asked for */
	int			depth;
} Source;

/* ---- the source of the core's encoder ---- */

static const JsonbValue *
innermost(const Source *s)
{
	return &s->open[s->depth - 1];
}

/* The member of the innermost object; of a plain value, that value. */
static const JsonbValue *
ask(Source *s, const at402_field_def *field)
{
	List	  **asked = &s->asked[s->depth - 1];

	*asked = lappend(*asked, unconstify(char *, field->name));
	return at402_json_is_object(innermost(s)) ? at402_json_member(innermost(s), field->name) : innermost(s);
}

static bool
source_value(void *context, const at402_field_def *field, at402_value *value)
{
	const JsonbValue *json = ask(context, field);

	if (json == NULL || json->type == jbvNull)
		return false;
	at402_json_read(field, json, value);
	return true;
}

static void
open_value(Source *s, const JsonbValue *value)
{
	Assert(s->depth < MAX_DEPTH);
	s->asked[s->depth] = NIL;
	s->open[s->depth++] = *value;
}

static bool
source_list(void *context, const at402_field_def *field, size_t *count)
{
	Source	   *s = context;
	const JsonbValue *list = ask(s, field);

	*count = 0;
	if (list == NULL)
		return false;
	at402_json_expect(list, at402_json_is_array(list), field->name, "an array");
	*count = JsonContainerSize(list->val.binary.data);
	if (field->size > 0 && *count > field->size)
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("\"%s\" has too many elements: %zu", field->name, *count),
				errdetail("The range is 0 to %d elements.", field->size));
	open_value(s, list);
	return true;
}

static void
source_item(void *context, size_t i, bool object)
{
	Source	   *s = context;
	JsonbValue *element = getIthJsonbValueFromContainer(innermost(s)->val.binary.data, (uint32) i);

	if (object)
		at402_json_expect(element, at402_json_is_object(element), llast(s->asked[s->depth - 2]),
						  "an array of objects");
	open_value(s, element);
}

static bool
was_asked(const void *context, const char *key)
{
	ListCell   *lc;

	foreach(lc, (const List *) context)
		if (strcmp(lfirst(lc), key) == 0)
			return true;
	return strcmp(key, at402_error_field.name) == 0;
}

/* What nobody asked for means nothing; but a writer that failed asks no more. */
static void
source_close(void *context)
{
	Source	   *s = context;

	if (at402_json_is_object(innermost(s)) && !s->writer->overflow && s->writer->refused == NULL)
		at402_json_check_members(innermost(s), was_asked, s->asked[s->depth - 1],
								 psprintf("module \"%s\"", s->module));
	s->depth--;
}

/* ---- modules ---- */

/* A packet under construction. */
typedef struct Encoder
{
	at402_writer w;
	const at402_variant_def *variant;
	uint8_t		older;			/* layouts that the modules' names call for */
	uint8_t		newer;
} Encoder;

static bool
is_of(const at402_module_def *def, const at402_variant_def *v)
{
	return def->variants & (v->rows | (v->name == 'X' ? AT402_IN_Z : 0));
}

static void
encode_module(Encoder *e, at402_report_writer *r, const at402_module_def *def, unsigned bit,
			  const char *key, const JsonbValue *value)
{
	Source		s = {.writer = &e->w, .module = key};
	at402_source source = {&s, source_value, source_list, source_item, source_close};

	at402_json_expect(value, at402_json_is_object(value), key, "an object");
	for (int i = 0; def != NULL && i < AT402_OLDER_LAYOUTS; i++)
		if (at402_older_modules[i] == def)
			e->older |= 1 << i;
		else if (i < e->variant->older_layouts && at402_older_modules[i]->bit == def->bit)
			e->newer |= 1 << i;
	open_value(&s, value);
	at402_encode_module(r, def, bit, &source);
	if (e->w.refused != NULL)
		at402_raise_invalid("module has no such value", psprintf("%s.%s", key, e->w.refused->name),
							"at402_fields() lists what it may be.");
	source_close(&s);
}

/* A bit of the mask stands for one module. */
static void
check_bit(bool *taken, unsigned bit, const char *key)
{
	if (*taken)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("report has another module under the bit of \"%s\"", key),
				errdetail("Both stand under bit %u of the module mask.", bit));
	*taken = true;
}

/* Does a key name an unknown module of Y? */
static bool
is_unknown_module(const char *key)
{
	char		unknown[AT402_KEY_SIZE];

	for (unsigned bit = 0; bit < AT402_MASK_BITS; bit++)
	{
		snprintf(unknown, sizeof(unknown), "module_%u", bit);
		if (strcmp(key, unknown) == 0)
			return true;
	}
	return false;
}

/* All modules of a report, in the order of their bits. */
static void
encode_modules(Encoder *e, at402_report_writer *r, const JsonbValue *modules)
{
	int			found = 0;

	for (unsigned bit = 0; bit < AT402_MASK_BITS; bit++)
	{
		char		unknown[AT402_KEY_SIZE];
		bool		taken = false;
		JsonbValue *value;

		for (size_t i = 0; i < at402_module_count; i++)
		{
			const at402_module_def *def = &at402_modules[i];

			if (def->bit != bit || !is_of(def, e->variant) ||
				(value = at402_json_member(modules, def->key)) == NULL)
				continue;
			/* the bit of K, M and V is a block of many modules */
			if (e->variant->header != 0)
				check_bit(&taken, bit, def->key);
			encode_module(e, r, def, bit, def->key, value);
			found++;
		}
		snprintf(unknown, sizeof(unknown), "module_%u", bit);
		if (e->variant->prefixed && (value = at402_json_member(modules, unknown)) != NULL)
		{
			check_bit(&taken, bit, unknown);
			encode_module(e, r, NULL, bit, unknown, value);
			found++;
		}
	}
	if (found < JsonContainerSize(modules->val.binary.data))
	{
		JsonbIterator *it = JsonbIteratorInit(modules->val.binary.data);
		JsonbIteratorToken token;
		JsonbValue	key;

		while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
		{
			char	   *name;
			bool		known = false;

			if (token != WJB_KEY)
				continue;
			name = pnstrdup(key.val.string.val, key.val.string.len);
			for (size_t i = 0; i < at402_module_count; i++)
				known |= is_of(&at402_modules[i], e->variant) &&
					strcmp(at402_modules[i].key, name) == 0;
			if (!known && !(e->variant->prefixed && is_unknown_module(name)))
				at402_raise_invalid("packet of this protocol has no such module", name,
									"at402_fields() lists modules and fields.");
		}
	}
}

/* ---- reports ---- */

/* Flags of a report: what their mask and their names are called, and which bit a
 * name has in a variant; -1: none. */
typedef struct Flags
{
	const char *mask_key;
	const char *names_key;
	const char *const *names;
	int			count;
	int			(*bit_of) (const at402_variant_def *variant, int named);
} Flags;

static int
status_bit(const at402_variant_def *v, int named)
{
	return named < v->status_names ? named : -1;
}

static const Flags reason_flags = {"reasons_mask", "reasons", at402_reason_names, AT402_REASONS,
	at402_reason_bit};
static const Flags status_flags = {"status_mask", "status", at402_status_names, AT402_STATUSES,
	status_bit};

static uint64
flag_of(const at402_variant_def *v, const Flags *flags, const char *name)
{
	int			named = 0;
	int			bit;

	while (named < flags->count && strcmp(flags->names[named], name) != 0)
		named++;
	bit = named < flags->count ? flags->bit_of(v, named) : -1;
	if (bit < 0)
		at402_raise_invalid("packet of this protocol has no such flag", name,
							"at402_reason_names(-1) and at402_status_names(-1) list the flags.");
	return UINT64CONST(1) << bit;
}

/* The mask if there is one, else that of the names. */
static uint64
flags_of(const at402_variant_def *v, const JsonbValue *report, const Flags *flags, int width)
{
	JsonbValue *value = at402_json_member(report, flags->mask_key);
	at402_field_def mask = {.name = flags->mask_key, .type = AT402_T_U32, .size = (uint8_t) width,
		.num = 1, .den = 1, .unit = ""};
	uint64		set = 0;

	if (value != NULL)
	{
		at402_json_expect(value, value->type == jbvNumeric, flags->mask_key, "a number");
		return (uint64) at402_json_number(&mask, value->val.numeric);
	}
	value = at402_json_member(report, flags->names_key);
	if (value == NULL)
		return 0;
	at402_json_expect(value, at402_json_is_array(value), flags->names_key, "an array");
	for (uint32 i = 0; i < JsonContainerSize(value->val.binary.data); i++)
		set |= flag_of(v, flags,
					   at402_json_string(getIthJsonbValueFromContainer(value->val.binary.data, i),
										 flags->names_key));
	return set;
}

static bool
is_report_key(const void *context, const char *key)
{
	static const char *const keys[] = {"seq", "time", "reasons", "reasons_mask", "status",
		"status_mask", "modules"};

	for (int i = 0; i < lengthof(keys); i++)
		if (strcmp(keys[i], key) == 0)
			return true;
	return false;
}

/* The blocks that the modules of a K, M or V report stand in must be there. */
static uint64
check_blocks(const at402_variant_def *v, const JsonbValue *modules, uint64 reasons, uint64 status,
			 bool masks_given)
{
	for (size_t i = 0; modules != NULL && i < at402_module_count; i++)
	{
		const at402_module_def *def = &at402_modules[i];

		if (!(def->variants & v->rows) || at402_json_member(modules, def->key) == NULL ||
			at402_has_block(v, def->bit, reasons, (uint32_t) status))
			continue;
		for (size_t b = 0; b < at402_block_count; b++)
			if ((at402_blocks[b].variant & v->rows) && at402_blocks[b].number == def->bit)
			{
				uint64		with = status | UINT64CONST(1) << at402_blocks[b].status_bit;

				if (!masks_given && at402_has_block(v, def->bit, reasons, (uint32_t) with))
					status = with;	/* a bit that has no name */
				else
					ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("report with these flags has no module \"%s\"", def->key),
							errdetail("Its block follows status bit %d%s.",
									  at402_blocks[b].status_bit,
									  at402_blocks[b].reason_bit >= 0 ? " and reason journey_stop"
																	  : ""));
			}
	}
	return status;
}

static void
encode_report(Encoder *e, const JsonbValue *report)
{
	const at402_variant_def *v = e->variant;
	at402_field_def seq_field = {.name = "seq", .type = AT402_T_U8, .size = 1, .num = 1, .den = 1,
		.unit = ""};
	JsonbValue *modules;
	JsonbValue *seq;
	JsonbValue *time;
	uint64		reasons;
	uint64		status;
	at402_report_writer r;

	at402_json_expect(report, at402_json_is_object(report), "reports", "an array of objects");
	at402_json_check_members(report, is_report_key, NULL, "a report");
	modules = at402_json_member(report, "modules");
	if (modules != NULL)
		at402_json_expect(modules, at402_json_is_object(modules), "modules", "an object");
	seq = at402_json_member(report, "seq");
	if (seq != NULL)
		at402_json_expect(seq, seq->type == jbvNumeric, "seq", "a number");
	time = at402_json_member(report, "time");
	if (time == NULL)
		at402_raise_invalid("report lacks a member", "time", NULL);
	reasons = flags_of(v, report, &reason_flags, v->reasons.width);
	status = flags_of(v, report, &status_flags, v->status.width);
	if (v->header == 0)
		status = check_blocks(v, modules, reasons, status, at402_json_member(report, "status_mask") != NULL);
	r = at402_encode_report(&e->w, v,
							seq ? (uint8_t) at402_json_number(&seq_field, seq->val.numeric) : 0,
							at402_json_time(time, "time"), reasons, (uint32_t) status);
	if (modules != NULL)
		encode_modules(e, &r, modules);
}

/* ---- frames ---- */

static bool
is_packet_key(const void *context, const char *key)
{
	return strcmp(key, "kind") == 0 || strcmp(key, "protocol") == 0 || strcmp(key, "imei") == 0 ||
		strcmp(key, "reports") == 0;
}

static At402Frame *
encode_packet(const JsonbValue *object)
{
	Encoder		e = {0};
	JsonbValue *protocol = at402_json_member(object, "protocol");
	JsonbValue *imei = at402_json_member(object, "imei");
	JsonbValue *reports = at402_json_member(object, "reports");
	char	   *letter;
	char	   *digits = NULL;
	uint32		count;

	at402_json_check_members(object, is_packet_key, NULL, "a packet");
	if (protocol == NULL || reports == NULL)
		at402_raise_invalid("packet lacks a member", protocol == NULL ? "protocol" : "reports", NULL);
	letter = at402_json_string(protocol, "protocol");
	if (letter[0] != '\0' && letter[1] == '\0')
		e.variant = at402_find_variant(letter[0], 0);
	if (e.variant == NULL)
		at402_raise_invalid("packet of unknown protocol", letter, "Use X, Y, K, M or V.");
	if (imei != NULL)
	{
		digits = at402_json_string(imei, "imei");
		if (strlen(digits) != AT402_IMEI_DIGITS ||
			strspn(digits, "0123456789") != AT402_IMEI_DIGITS)
			at402_raise_invalid("IMEI is not 15 digits", digits, NULL);
	}
	else if (e.variant->imei_always)
		at402_raise_invalid("packet of this protocol lacks a member", "imei", NULL);
	at402_json_expect(reports, at402_json_is_array(reports), "reports", "an array");
	count = JsonContainerSize(reports->val.binary.data);
	if (count == 0 || (count > UINT8_MAX && !e.variant->imei_always))
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("\"reports\" has %u elements", count),
				errdetail(e.variant->imei_always ? "There must be one at least."
												 : "The range is 1 to 255 reports."));

	e.w.capacity = AT402_MAX_FRAME;
	e.w.bytes = palloc0(AT402_MAX_FRAME);
	at402_encode_packet(&e.w, e.variant, digits, count);
	for (uint32 i = 0; i < count; i++)
		encode_report(&e, getIthJsonbValueFromContainer(reports->val.binary.data, i));
	at402_encode_packet_end(&e.w);
	if (e.w.overflow)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("values do not fit into the packet"),
				errdetail("A packet has at most %d bytes, a module of Y at most 255 (lists: "
						  "65535).", AT402_MAX_FRAME));
	if (e.older & e.newer)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("packet mixes layouts of older and newer firmware"),
				errdetail("One choice holds for all reports of a packet."));
	return at402_frame_make(e.w.bytes, e.w.length);
}

static void
append_part(StringInfo line, const JsonbValue *object, const char *key)
{
	JsonbValue *value = at402_json_member(object, key);
	at402_span	span = {NULL, 0};

	if (value != NULL)
		span = at402_json_text(value, key, AT402_MAX_LINE);
	for (size_t i = 0; i < span.length; i++)
		if (span.bytes[i] == ';' || span.bytes[i] == '\r' || span.bytes[i] == '\n')
			at402_raise_invalid("text of a line has a forbidden character in member", key,
								"Leave out semicolons and line ends.");
	appendStringInfoChar(line, ';');
	appendBinaryStringInfo(line, (const char *) span.bytes, (int) span.length);
}

static bool
is_login_key(const void *context, const char *key)
{
	static const char *const keys[] = {"kind", "model", "imei", "vin", "firmware", "protocol",
		"hardware", "settings_checksum"};

	for (int i = 0; i < lengthof(keys); i++)
		if (strcmp(keys[i], key) == 0)
			return true;
	return false;
}

static bool
is_text_key(const void *context, const char *key)
{
	return strcmp(key, "kind") == 0 || strcmp(key, "text") == 0;
}

static At402Frame *
encode_line(const JsonbValue *object, bool login)
{
	static const char *const parts[] = {"model", "imei", "vin", "firmware", "protocol",
		"hardware", "settings_checksum"};
	StringInfoData line;
	int			count = 0;

	initStringInfo(&line);
	if (login)
	{
		at402_json_check_members(object, is_login_key, NULL, "a login line");
		appendStringInfoString(&line, "$ASTRA");
		/* a part that is missing is empty where another follows */
		for (int i = lengthof(parts); i > 1 && count == 0; i--)
			if (at402_json_member(object, parts[i - 1]) != NULL)
				count = i;
		for (int i = 0; i < Max(count, 1); i++)
			append_part(&line, object, parts[i]);
	}
	else
	{
		JsonbValue *value = at402_json_member(object, "text");
		at402_span	span;

		at402_json_check_members(object, is_text_key, NULL, "a text line");
		if (value == NULL)
			at402_raise_invalid("text line lacks a member", "text", NULL);
		span = at402_json_text(value, "text", AT402_MAX_LINE);
		appendBinaryStringInfo(&line, (const char *) span.bytes, (int) span.length);
	}
	appendStringInfoString(&line, "\r\n");
	at402_frame_check((const uint8_t *) line.data, (size_t) line.len);
	return at402_frame_make((const uint8_t *) line.data, (size_t) line.len);
}

/*
 * at402_encode(jsonb) -> at402_frame
 *
 * 22003: a value is out of the range of its field.  22001: a text is too long.
 * 22023: a member is missing, unknown or of the wrong type or length.  22007: no time with its zone.  22P02: not
 * hexadecimal, not digits.  22P03: a text line that is none.  22P05: text that
 * Latin-1 cannot hold.  54000: the packet would be too long.
 */
Datum
at402_encode(PG_FUNCTION_ARGS)
{
	Jsonb	   *jsonb = PG_GETARG_JSONB_P(0);
	JsonbValue	object = {.type = jbvBinary};
	JsonbValue *kind;
	char	   *word;

	object.val.binary.data = &jsonb->root;
	object.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	at402_json_expect(&object, at402_json_is_object(&object), "frame", "an object");
	kind = at402_json_member(&object, "kind");
	word = kind ? at402_json_string(kind, "kind") : "packet";
	if (strcmp(word, "packet") == 0)
		PG_RETURN_POINTER(encode_packet(&object));
	if (strcmp(word, "login") == 0)
		PG_RETURN_POINTER(encode_line(&object, true));
	if (strcmp(word, "text") == 0)
		PG_RETURN_POINTER(encode_line(&object, false));
	at402_raise_invalid("frame of unknown kind", word, "Use packet, login or text.");
	PG_RETURN_NULL();
}
