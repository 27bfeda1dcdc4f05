/*
 * value.h - values of the wire as PostgreSQL values
 */
#ifndef AT402_VALUE_H
#define AT402_VALUE_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "core/at402.h"

/* raw * num / den + off as an exact decimal without trailing zeros.  Where the
 * quotient has no end (x / 52), 12 digits after the point. */
extern Numeric at402_value_numeric(const at402_field_def *field, int64 raw);

/* Is every value of this field a whole number? */
extern bool at402_value_whole(const at402_field_def *field);

/* The same as an integer, rounded where it is none. */
extern int64 at402_value_int64(const at402_field_def *field, int64 raw);

/* Seconds since 1980-01-06T00:00:00Z as a timestamp, and back in text form. */
extern TimestampTz at402_time(uint32_t seconds);
extern char *at402_time_text(uint32_t seconds);

/* Latin-1 bytes as a palloc'd string in the server's encoding, and back; 22P05: not Latin-1. */
extern char *at402_text_cstring(at402_span span);
extern char *at402_latin1_of(const char *text);

/* A text of the core, as units are, in the server's encoding. */
extern char *at402_core_cstring(const char *text);

/* Bytes as upper-case hexadecimal digits. */
extern char *at402_hex_cstring(at402_span span);

/* A value in text form; NULL for "none". */
extern char *at402_value_cstring(const at402_field_def *field, const at402_value *value);

/*
 * A jsonb object or array under construction.  Pushing is all that is ever
 * done with it.
 */
typedef struct At402Json
{
	JsonbParseState *state;
	JsonbValue *result;			/* set by the last close */
} At402Json;

extern void at402_json_open(At402Json *json, bool array);
extern void at402_json_close(At402Json *json, bool array);
extern void at402_json_key(At402Json *json, const char *key);
extern void at402_json_cstring(At402Json *json, const char *value);	/* NULL: null */
extern void at402_json_int64(At402Json *json, int64 value);
extern void at402_json_value(At402Json *json, const at402_field_def *field,
							 const at402_value *value, bool with_key);

/* A module's values as members of the object that is open. */
extern void at402_json_module(At402Json *json, const at402_module *module);

#endif							/* AT402_VALUE_H */
