/*
 * encode_value.h - values in jsonb, as at402_encode reads them
 *
 * name: what the value is called, for messages.  22023: a value of another type than
 * wanted.
 */
#ifndef AT402_ENCODE_VALUE_H
#define AT402_ENCODE_VALUE_H

#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "core/at402.h"

/* 22023: this, which is called so. */
extern void at402_raise_invalid(const char *what, const char *name, const char *hint);

/* A member of an object; NULL where it is missing or null, or this is no object. */
extern JsonbValue *at402_json_member(const JsonbValue *object, const char *key);

extern bool at402_json_is_array(const JsonbValue *value);
extern bool at402_json_is_object(const JsonbValue *value);

/* 22023 unless the value is right: it must be what is wanted. */
extern void at402_json_expect(const JsonbValue *value, bool right, const char *name,
							  const char *wanted);
extern char *at402_json_string(const JsonbValue *value, const char *name);

/* Refuses the members of an object that nothing asks for (22023). */
extern void at402_json_check_members(const JsonbValue *object,
									 bool (*known) (const void *context, const char *key),
									 const void *context, const char *what);

/* The raw number that is nearest to a value within the field's range (22003). */
extern int64 at402_json_number(const at402_field_def *field, Numeric value);

/* Seconds of the devices; 22007: no time with its zone, 22003. */
extern uint32_t at402_json_time(const JsonbValue *json, const char *name);

/* Latin-1; 22001: longer than the most, 22P05: what Latin-1 cannot hold. */
extern at402_span at402_json_text(const JsonbValue *json, const char *name, size_t most);

/* A value of a field, whatever its type; all of the errors above, and 22P02. */
extern void at402_json_read(const at402_field_def *field, const JsonbValue *json,
							at402_value *value);

#endif							/* AT402_ENCODE_VALUE_H */
