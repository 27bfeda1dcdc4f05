/*
 * encode_value.c - values in jsonb, as at402_encode reads them
 *
 * Numbers are checked against the range of their field in its unit and before
 * rounding, so that 51.05 V is refused where 51.0 V is the most, and is not sent
 * as 51.0 V.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inet.h"
#include "utils/timestamp.h"

#include "pg/encode_value.h"
#include "pg/value.h"

/* ---- reading jsonb ---- */

void
at402_raise_invalid(const char *what, const char *name, const char *hint)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s: \"%s\"", what, name),
			hint ? errhint("%s", hint) : 0);
}

JsonbValue *
at402_json_member(const JsonbValue *object, const char *key)
{
	JsonbValue *value;

	if (object->type != jbvBinary || !JsonContainerIsObject(object->val.binary.data))
		return NULL;
	value = getKeyJsonValueFromContainer(object->val.binary.data, key, (int) strlen(key), NULL);
	return value != NULL && value->type == jbvNull ? NULL : value;
}

static const char *
type_word(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return "a string";
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return "a boolean";
		case jbvBinary:
			return JsonContainerIsScalar(value->val.binary.data) ? "a single value"
				: JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
		default:
			return "null";
	}
}

void
at402_json_expect(const JsonbValue *value, bool right, const char *name, const char *wanted)
{
	if (!right)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" must be %s", name, wanted),
				errdetail("Found %s.", type_word(value)));
}

char *
at402_json_string(const JsonbValue *value, const char *name)
{
	at402_json_expect(value, value->type == jbvString, name, "a string");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

bool
at402_json_is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

bool
at402_json_is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

/* Refuses the members of an object that nothing asks for. */
void
at402_json_check_members(const JsonbValue *object,
						 bool (*known) (const void *context, const char *key),
						 const void *context, const char *what)
{
	JsonbIterator *it = JsonbIteratorInit(object->val.binary.data);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		if (token == WJB_KEY)
		{
			char	   *key = pnstrdup(value.val.string.val, value.val.string.len);

			if (!known(context, key))
				ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unknown key \"%s\" in %s", key, what),
						errhint("at402_fields() lists modules and fields."));
		}
}

/* ---- single values ---- */

static Numeric
numeric_of(int64 value)
{
	return int64_to_numeric(value);
}

static Numeric
calculate(PGFunction function, Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(function, NumericGetDatum(a), NumericGetDatum(b)));
}

static int
compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/* The raw number that is nearest to a value within the field's range. */
int64
at402_json_number(const at402_field_def *field, Numeric value)
{
	int64_t		ends[2] = {PG_INT64_MIN, PG_INT64_MAX};
	Numeric		least;
	Numeric		most;
	Numeric		raw;

	/* a mask of 8 bytes is shown as a signed number */
	if (field->size < sizeof(int64))
		at402_raw_range(field, &ends[0], &ends[1]);
	least = at402_value_numeric(field, ends[field->num < 0]);
	most = at402_value_numeric(field, ends[field->num > 0]);
	if (numeric_is_nan(value) || compare(value, least) < 0 || compare(value, most) > 0)
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("value of \"%s\" is out of range: %s", field->name,
					   numeric_normalize(value)),
				errdetail("The range is %s to %s%s%s.", numeric_normalize(least),
						  numeric_normalize(most), field->unit[0] ? " " : "",
						  at402_core_cstring(field->unit)));
	raw = calculate(numeric_sub, value, numeric_of(field->off));
	raw = calculate(numeric_mul, raw, numeric_of(field->den));
	raw = calculate(numeric_div, raw, numeric_of(field->num));
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(raw)));
}

/* A time that means the same in every session: ISO 8601 with its zone. */
static bool
is_iso_time(const char *string)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd";
	const char *zone;

	for (size_t i = 0; i < sizeof(form) - 1; i++)
		if (form[i] == 'd' ? !isdigit((unsigned char) string[i])
			: string[i] != form[i] && !(form[i] == 'T' && string[i] == ' '))
			return false;
	zone = string + sizeof(form) - 1;
	if (*zone == '.')
		zone += 1 + strspn(zone + 1, "0123456789");
	return strcmp(zone, "Z") == 0 || *zone == '+' || *zone == '-';
}

uint32_t
at402_json_time(const JsonbValue *json, const char *name)
{
	char	   *string = at402_json_string(json, name);
	TimestampTz time;

	if (!is_iso_time(string))
		ereport(ERROR, errcode(ERRCODE_INVALID_DATETIME_FORMAT),
				errmsg("value of \"%s\" is no time: \"%s\"", name, string),
				errhint("Write it as \"2026-01-31T12:00:00Z\"."));
	time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(string),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
	if (TIMESTAMP_NOT_FINITE(time) || time < at402_time(0) || time > at402_time(UINT32_MAX))
		ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				errmsg("value of \"%s\" is out of range: %s", name, string),
				errdetail("The range is %s to %s.", at402_time_text(0),
						  at402_time_text(UINT32_MAX)));
	return (uint32_t) ((time - at402_time(0) + USECS_PER_SEC / 2) / USECS_PER_SEC);
}

static at402_span
span_of(const char *bytes, size_t length)
{
	return (at402_span) {(const uint8_t *) bytes, length};
}

at402_span
at402_json_text(const JsonbValue *json, const char *name, size_t most)
{
	char	   *string = at402_json_string(json, name);
	char	   *latin1 = at402_latin1_of(string);

	if (strlen(latin1) > most)
		ereport(ERROR, errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				errmsg("value of \"%s\" is too long: \"%s\"", name, string),
				errdetail("It has %zu characters, and there is room for %zu.",
						  strlen(latin1), most));
	return span_of(latin1, strlen(latin1));
}

static at402_span
hex_of(const JsonbValue *json, const char *name, size_t size)
{
	char	   *string = at402_json_string(json, name);
	size_t		length = strlen(string);
	char	   *bytes = palloc(length / 2 + 1);

	if (length % 2 != 0 || strspn(string, "0123456789abcdefABCDEF") != length)
		ereport(ERROR, errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				errmsg("value of \"%s\" is not hexadecimal: \"%s\"", name, string));
	if (size > 0 && length != 2 * size)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("value of \"%s\" has the wrong length", name),
				errdetail("Bytes expected: %zu, found: %zu.", size, length / 2));
	return span_of(bytes, hex_decode(string, length, bytes));
}

static at402_span
mac_of(const JsonbValue *json, const char *name)
{
	char	   *string = at402_json_string(json, name);
	macaddr    *mac = DatumGetMacaddrP(DirectFunctionCall1(macaddr_in, CStringGetDatum(string)));

	return span_of((const char *) mac, sizeof(macaddr));
}

static int64
digits_of(const at402_field_def *field, const JsonbValue *json)
{
	char	   *string = at402_json_string(json, field->name);
	Datum		number;

	if (string[0] == '\0' || strspn(string, "0123456789") != strlen(string))
		ereport(ERROR, errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				errmsg("value of \"%s\" is not a string of digits: \"%s\"", field->name, string));
	number = DirectFunctionCall3(numeric_in, CStringGetDatum(string), ObjectIdGetDatum(InvalidOid),
								 Int32GetDatum(-1));
	return at402_json_number(field, DatumGetNumeric(number));
}

void
at402_json_read(const at402_field_def *field, const JsonbValue *json, at402_value *value)
{
	switch ((at402_type) field->type)
	{
		case AT402_T_TIME:
			value->raw = at402_json_time(json, field->name);
			break;
		case AT402_T_BOOL:
			at402_json_expect(json, json->type == jbvBool, field->name, "a boolean");
			value->raw = json->val.boolean;
			break;
		case AT402_T_U56:
			value->raw = digits_of(field, json);
			break;
		case AT402_T_ASCII:
			value->span = at402_json_text(json, field->name, field->size);
			break;
		case AT402_T_NAME:
		case AT402_T_LIST:
			value->span = at402_json_text(json, field->name, NAMEDATALEN);
			break;
		case AT402_T_HEX:
			value->span = hex_of(json, field->name, field->size);
			break;
		case AT402_T_MAC:
			value->span = mac_of(json, field->name);
			break;
		default:
			at402_json_expect(json, json->type == jbvNumeric, field->name, "a number");
			value->raw = at402_json_number(field, json->val.numeric);
			break;
	}
}
