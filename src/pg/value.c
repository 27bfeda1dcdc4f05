/*
 * value.c - values of the wire as numeric, timestamp, text and jsonb
 *
 * The scale of a field is a fraction, and nearly all denominators divide a
 * power of ten: the value is then an integer with a decimal point, made
 * without dividing.  So 12.2 is 12.2, and never 12.200000000000001.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/value.h"

#define MAX_DIGITS 8			/* after the point; 1/256 has 8 */
#define ENDLESS_DIGITS 12
#define EPOCH_JDATE (UNIX_EPOCH_JDATE + AT402_EPOCH_UNIX / SECS_PER_DAY)

bool
at402_value_whole(const at402_field_def *field)
{
	return field->den == 1;
}

int64
at402_value_int64(const at402_field_def *field, int64 raw)
{
	int64		scaled = raw * field->num;

	/* half away from zero, as numeric does */
	return (scaled + (scaled < 0 ? -field->den : field->den) / 2) / field->den + field->off;
}

Numeric
at402_value_numeric(const at402_field_def *field, int64 raw)
{
	int64		scaled;
	int64		power = 1;
	int			digits = 0;
	bool		error;

	if (at402_value_whole(field))
		return int64_to_numeric(at402_value_int64(field, raw));

	while (power % field->den != 0 && digits < MAX_DIGITS)
	{
		power *= 10;
		digits++;
	}
	if (power % field->den != 0)
	{
		Numeric		quotient = numeric_div_opt_error(int64_to_numeric(raw * field->num),
													 int64_to_numeric(field->den), &error);
		Datum		rounded = DirectFunctionCall2(numeric_round, NumericGetDatum(quotient),
												  Int32GetDatum(ENDLESS_DIGITS));
		Datum		moved = DirectFunctionCall2(numeric_add, rounded,
												NumericGetDatum(int64_to_numeric(field->off)));

		return DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, moved));
	}
	scaled = raw * field->num * (power / field->den) + field->off * power;
	while (digits > 0 && scaled % 10 == 0)
	{
		scaled /= 10;
		digits--;
	}
	return digits == 0 ? int64_to_numeric(scaled) : int64_div_fast_to_numeric(scaled, digits);
}

TimestampTz
at402_time(uint32_t seconds)
{
	return (seconds - (POSTGRES_EPOCH_JDATE - EPOCH_JDATE) * (int64) SECS_PER_DAY) *
		USECS_PER_SEC;
}

char *
at402_time_text(uint32_t seconds)
{
	uint32_t	second = seconds % SECS_PER_DAY;
	char	   *text_form = palloc(sizeof("1980-01-06T00:00:00Z"));
	char	   *end = text_form;
	int			year;
	int			month;
	int			day;

	j2date(EPOCH_JDATE + (int) (seconds / SECS_PER_DAY), &year, &month, &day);
	end = pg_ultostr_zeropad(end, year, 4);
	*end++ = '-';
	end = pg_ultostr_zeropad(end, month, 2);
	*end++ = '-';
	end = pg_ultostr_zeropad(end, day, 2);
	*end++ = 'T';
	end = pg_ultostr_zeropad(end, second / SECS_PER_HOUR, 2);
	*end++ = ':';
	end = pg_ultostr_zeropad(end, second / SECS_PER_MINUTE % MINS_PER_HOUR, 2);
	*end++ = ':';
	end = pg_ultostr_zeropad(end, second % SECS_PER_MINUTE, 2);
	*end++ = 'Z';
	*end = '\0';
	return text_form;
}

/* Encoding of the texts here.  Where the server is told none they are UTF-8, as clients send it. */
static int
text_encoding(void)
{
	return GetDatabaseEncoding() == PG_SQL_ASCII ? PG_UTF8 : GetDatabaseEncoding();
}

static char *
convert(const char *text, size_t length, int from, int to)
{
	return (char *) pg_do_encoding_conversion((unsigned char *) text, (int) length, from, to);
}

char *
at402_text_cstring(at402_span span)
{
	char	   *latin1 = pnstrdup((const char *) span.bytes, span.length);

	return convert(latin1, span.length, PG_LATIN1, text_encoding());
}

char *
at402_latin1_of(const char *text)
{
	return convert(text, strlen(text), text_encoding(), PG_LATIN1);
}

char *
at402_core_cstring(const char *text)
{
	return convert(text, strlen(text), PG_UTF8, text_encoding());
}

char *
at402_hex_cstring(at402_span span)
{
	static const char digits[] = "0123456789ABCDEF";
	char	   *hex = palloc(2 * span.length + 1);

	for (size_t i = 0; i < span.length; i++)
	{
		hex[2 * i] = digits[span.bytes[i] >> 4];
		hex[2 * i + 1] = digits[span.bytes[i] & 0x0F];
	}
	hex[2 * span.length] = 0;
	return hex;
}

char *
at402_value_cstring(const at402_field_def *field, const at402_value *value)
{
	const uint8_t *b = value->span.bytes;

	switch (value->kind)
	{
		case AT402_V_NULL:
			return NULL;
		case AT402_V_NUMBER:
			return numeric_normalize(at402_value_numeric(field, value->raw));
		case AT402_V_TIME:
			return at402_time_text((uint32_t) value->raw);
		case AT402_V_BOOL:
			return pstrdup(value->raw ? "true" : "false");
		case AT402_V_DIGITS:
			return psprintf("%015lld", (long long) value->raw);
		case AT402_V_TEXT:
			return at402_text_cstring(value->span);
		case AT402_V_HEX:
			return at402_hex_cstring(value->span);
		case AT402_V_MAC:
			return psprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
	}
	return NULL;
}

/* ---- jsonb ---- */

void
at402_json_open(At402Json *json, bool array)
{
	pushJsonbValue(&json->state, array ? WJB_BEGIN_ARRAY : WJB_BEGIN_OBJECT, NULL);
}

void
at402_json_close(At402Json *json, bool array)
{
	json->result = pushJsonbValue(&json->state, array ? WJB_END_ARRAY : WJB_END_OBJECT, NULL);
}

static void
push_string(At402Json *json, JsonbIteratorToken as, const char *string)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = unconstify(char *, string);
	v.val.string.len = (int) strlen(string);
	pushJsonbValue(&json->state, as, &v);
}

/* A value is an element where an array is open, else the value of the last key. */
static JsonbIteratorToken
place(const At402Json *json)
{
	return json->state->contVal.type == jbvArray ? WJB_ELEM : WJB_VALUE;
}

void
at402_json_key(At402Json *json, const char *key)
{
	push_string(json, WJB_KEY, key);
}

void
at402_json_cstring(At402Json *json, const char *value)
{
	JsonbValue	null = {.type = jbvNull};

	if (value != NULL)
		push_string(json, place(json), value);
	else
		pushJsonbValue(&json->state, place(json), &null);
}

static void
push_numeric(At402Json *json, Numeric value)
{
	JsonbValue	v = {.type = jbvNumeric};

	v.val.numeric = value;
	pushJsonbValue(&json->state, place(json), &v);
}

void
at402_json_int64(At402Json *json, int64 value)
{
	push_numeric(json, int64_to_numeric(value));
}

void
at402_json_value(At402Json *json, const at402_field_def *field, const at402_value *value,
				 bool with_key)
{
	JsonbValue	v = {.type = jbvBool};

	if (with_key)
		at402_json_key(json, field->name);
	if (value->kind == AT402_V_NUMBER)
		push_numeric(json, at402_value_numeric(field, value->raw));
	else if (value->kind == AT402_V_BOOL)
	{
		v.val.boolean = value->raw != 0;
		pushJsonbValue(&json->state, place(json), &v);
	}
	else
		at402_json_cstring(json, at402_value_cstring(field, value));
}

static void
visit_json(void *context, at402_event event, const at402_field_def *field,
		   const at402_value *value)
{
	At402Json  *json = context;

	switch (event)
	{
		case AT402_E_VALUE:
			at402_json_value(json, field, value, json->state->contVal.type == jbvObject);
			break;
		case AT402_E_DERIVED:
			break;				/* it is there already */
		case AT402_E_LIST:
			at402_json_key(json, field->name);
			at402_json_open(json, true);
			break;
		case AT402_E_ITEM:
			at402_json_open(json, false);
			break;
		case AT402_E_ITEM_END:
			at402_json_close(json, false);
			break;
		case AT402_E_LIST_END:
			at402_json_close(json, true);
			break;
	}
}

/* The values of a module without lists, to be pushed in another order. */
typedef struct Members
{
	int			count;
	const at402_field_def *fields[AT402_MAX_FIELDS];
	at402_value values[AT402_MAX_FIELDS];
} Members;

static void
visit_member(void *context, at402_event event, const at402_field_def *field,
			 const at402_value *value)
{
	Members    *m = context;

	m->fields[m->count] = field;
	m->values[m->count++] = *value;
}

static int
compare_members(const void *a, const void *b, void *context)
{
	const Members *m = context;
	const char *x = m->fields[*(const uint8 *) a]->name;
	const char *y = m->fields[*(const uint8 *) b]->name;
	size_t		x_length = strlen(x);
	size_t		y_length = strlen(y);

	return x_length != y_length ? (x_length < y_length ? -1 : 1) : strcmp(x, y);
}

/*
 * The order in which jsonb keeps the members of such a module.  It is the same
 * for all modules of the kind, so that it is sorted out once; sorting in each
 * object takes longer than decoding it.
 */
static const uint8 *
member_order(const at402_module *module, const Members *m)
{
	/* the two variants that share rows send different ones of them */
	static uint8 *orders[AT402_VARIANTS][AT402_MAX_MODULES];
	uint8	  **order = &orders[module->report->packet->variant - at402_variants]
							   [module->def - at402_modules];

	if (*order == NULL)
	{
		uint8	   *sorted = MemoryContextAlloc(TopMemoryContext, m->count);

		for (int i = 0; i < m->count; i++)
			sorted[i] = (uint8) i;
		qsort_arg(sorted, m->count, sizeof(uint8), compare_members, unconstify(Members *, m));
		*order = sorted;
	}
	return *order;
}

void
at402_json_module(At402Json *json, const at402_module *module)
{
	Members		m;
	const uint8 *order;

	/* K, M and V share rows and differ in them too: they are too rare to care */
	if (module->raw || module->def->shape != AT402_FIELDS ||
		module->report->packet->variant->header == 0)
	{
		at402_module_visit(module, visit_json, json);
		return;
	}
	m.count = 0;
	at402_module_visit(module, visit_member, &m);
	order = member_order(module, &m);
	for (int i = 0; i < m.count; i++)
		at402_json_value(json, m.fields[order[i]], &m.values[order[i]], true);
}
