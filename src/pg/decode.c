/*
 * decode.c - at402_decode, at402_reports, at402_fields and the flag names
 *
 * All of them read the table of the core; none knows a module by name but for
 * the two GNSS modules that at402_reports spreads over columns.
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "pg/errors.h"
#include "pg/frame.h"
#include "pg/value.h"

PG_FUNCTION_INFO_V1(at402_decode);
PG_FUNCTION_INFO_V1(at402_reports);
PG_FUNCTION_INFO_V1(at402_fields);
PG_FUNCTION_INFO_V1(at402_reason_names_sql);
PG_FUNCTION_INFO_V1(at402_has_reason);
PG_FUNCTION_INFO_V1(at402_has_status);
PG_FUNCTION_INFO_V1(at402_status_names_sql);

/* ---- jsonb ---- */

static void
json_string_member(At402Json *json, const char *key, const char *value)
{
	at402_json_key(json, key);
	at402_json_cstring(json, value);
}

static void
json_int_member(At402Json *json, const char *key, int64 value)
{
	at402_json_key(json, key);
	at402_json_int64(json, value);
}

static void
json_names_member(At402Json *json, const char *key, const char *const *names, int count,
				  uint64_t mask)
{
	at402_json_key(json, key);
	at402_json_open(json, true);
	for (int bit = 0; bit < count; bit++)
		if (mask >> bit & 1)
			at402_json_cstring(json, names[bit]);
	at402_json_close(json, true);
}

static void
json_modules(At402Json *json, const at402_report *report)
{
	at402_module module = {0};
	char		key[AT402_KEY_SIZE];

	at402_json_open(json, false);
	while (at402_module_next(report, &module))
	{
		/* the jsonb under construction keeps the pointer */
		at402_json_key(json, module.def ? module.def->key
										: pstrdup(at402_module_key(&module, key)));
		at402_json_open(json, false);
		at402_json_module(json, &module);
		at402_json_close(json, false);
	}
	at402_json_close(json, false);
}

static void
json_report(At402Json *json, const at402_report *report)
{
	/* in the order in which jsonb keeps members: it need not sort them */
	at402_json_open(json, false);
	json_int_member(json, "seq", report->seq);
	json_string_member(json, "time", at402_time_text(report->time));
	json_names_member(json, "status", at402_status_names,
					  report->packet->variant->status_names, report->status);
	at402_json_key(json, "modules");
	json_modules(json, report);
	json_names_member(json, "reasons", at402_reason_names, AT402_REASONS,
					  at402_named_reasons(report->packet->variant, report->reasons));
	json_int_member(json, "status_mask", report->status);
	json_int_member(json, "reasons_mask", (int64) report->reasons);
	at402_json_close(json, false);
}

static void
json_packet(At402Json *json, const at402_packet *packet)
{
	char		letter[2] = {(char) packet->bytes[0], 0};
	at402_report report = {0};

	json_string_member(json, "kind", "packet");
	json_string_member(json, "protocol", letter);
	json_string_member(json, "imei", packet->has_imei ? packet->imei : NULL);
	at402_json_key(json, "reports");
	at402_json_open(json, true);
	while (at402_report_next(packet, &report))
		json_report(json, &report);
	at402_json_close(json, true);
	if (packet->problem.status != AT402_OK)
	{
		size_t		tail = packet->length - 2 - packet->end;

		json_string_member(json, "error", at402_status_text(packet->problem.status));
		json_int_member(json, "offset", (int64) packet->problem.offset);
		json_string_member(json, "tail",
						   at402_hex_cstring((at402_span) {packet->bytes + packet->end, tail}));
	}
}

static void
json_login(At402Json *json, const at402_login *login)
{
	const struct
	{
		const char *key;
		at402_span	span;
	}			parts[] = {
		{"model", login->model},
		{"imei", login->imei},
		{"vin", login->vin},
		{"firmware", login->firmware},
		{"protocol", login->protocol},
		{"hardware", login->hardware},
		{"settings_checksum", login->settings_checksum},
	};

	json_string_member(json, "kind", "login");
	for (int i = 0; i < lengthof(parts); i++)
		json_string_member(json, parts[i].key,
						   parts[i].span.bytes ? at402_text_cstring(parts[i].span) : NULL);
}

/*
 * at402_decode(at402_frame, protocol text) -> jsonb
 *
 * Everything in the frame.  What cannot be read is shown as far as it could:
 * error, offset, the reports before it and the bytes after it.
 */
Datum
at402_decode(PG_FUNCTION_ARGS)
{
	At402Json	json = {0};
	at402_span	span;
	at402_frame frame;
	at402_packet packet;
	char		protocol;
	at402_login login;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	span = at402_frame_bytes(PG_GETARG_AT402_FRAME_PP(0));
	protocol = at402_protocol_arg(fcinfo, 1);
	at402_frame_scan(span.bytes, span.length, &frame);

	at402_json_open(&json, false);
	switch (frame.kind)
	{
		case AT402_FRAME_LOGIN:
			at402_login_parse(span.bytes, span.length, &login);
			json_login(&json, &login);
			break;
		case AT402_FRAME_TEXT:
			json_string_member(&json, "kind", "text");
			json_string_member(&json, "text",
							   at402_text_cstring(at402_text(at402_line_text(span.bytes,
																			 span.length))));
			break;
		case AT402_FRAME_PACKET:
			at402_packet_open(&packet, span.bytes, span.length, protocol,
							  AT402_SENDER_UNKNOWN);
			json_packet(&json, &packet);
			break;
	}
	at402_json_close(&json, false);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(json.result));
}

/* ---- reports as rows ---- */

static Datum
names_array(const char *const *names, int count, uint64_t mask)
{
	Datum		elems[64];
	int			n = 0;

	for (int bit = 0; bit < count; bit++)
		if (mask >> bit & 1)
			elems[n++] = CStringGetTextDatum(names[bit]);
	return PointerGetDatum(construct_array(elems, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* The columns that a GNSS module fills. */
typedef struct GnssColumns
{
	Datum	   *values;
	bool	   *nulls;
	int			next;			/* of the columns that are looked for */
} GnssColumns;

enum
{
	COL_REPORT_NO, COL_IMEI, COL_PROTOCOL, COL_SEQ, COL_TIME, COL_REASONS, COL_STATUS,
	COL_LONGITUDE, COL_LATITUDE, COL_FIX_TIME, COL_GNSS_VALID, COL_SPEED, COL_HEADING,
	COL_ALTITUDE, COL_MODULES, REPORT_COLUMNS
};

static void
visit_gnss(void *context, at402_event event, const at402_field_def *field,
		   const at402_value *value)
{
	/* in the order of the fields */
	static const struct
	{
		const char *name;
		int			column;
	}			columns[] = {
		{"fix_time", COL_FIX_TIME},
		{"latitude_deg", COL_LATITUDE},
		{"longitude_deg", COL_LONGITUDE},
		{"speed_kmh", COL_SPEED},
		{"heading_deg", COL_HEADING},
		{"altitude_m", COL_ALTITUDE},
	};
	GnssColumns *row = context;
	int			c;

	if (event != AT402_E_VALUE || row->next == lengthof(columns) ||
		strcmp(columns[row->next].name, field->name) != 0)
		return;
	c = columns[row->next++].column;
	row->nulls[c] = false;
	if (value->kind == AT402_V_TIME)
		row->values[c] = TimestampTzGetDatum(at402_time((uint32_t) value->raw));
	else if (at402_value_whole(field))
		row->values[c] = Int32GetDatum((int32) at402_value_int64(field, value->raw));
	else
		row->values[c] = Float8GetDatum((double) value->raw * field->num / field->den);
}

/*
 * at402_reports(at402_frame, protocol text) -> one row a report
 *
 * No row for text lines and for packets that cannot be read: at402_decode
 * shows those.
 */
Datum
at402_reports(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	at402_span	span;
	at402_frame frame;
	at402_packet packet;
	char		protocol;
	at402_report report = {0};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	span = at402_frame_bytes(PG_GETARG_AT402_FRAME_PP(0));
	protocol = at402_protocol_arg(fcinfo, 1);
	at402_frame_scan(span.bytes, span.length, &frame);
	if (frame.kind != AT402_FRAME_PACKET ||
		at402_packet_open(&packet, span.bytes, span.length, protocol,
						  AT402_SENDER_UNKNOWN) != AT402_OK)
		return (Datum) 0;

	while (at402_report_next(&packet, &report))
	{
		Datum		values[REPORT_COLUMNS] = {0};
		bool		nulls[REPORT_COLUMNS];
		GnssColumns row = {values, nulls, 0};
		At402Json	json = {0};
		at402_module module = {0};
		char		letter[2] = {(char) packet.bytes[0], 0};

		memset(nulls, true, sizeof(nulls));
		while (nulls[COL_LATITUDE] && at402_module_next(&report, &module))
			if (!module.raw && module.def->home & AT402_HOME_POSITION &&
				(strcmp(module.def->key, "gnss") == 0 ||
				 strcmp(module.def->key, "gnss_extended") == 0))
				at402_module_visit(&module, visit_gnss, &row);
		json_modules(&json, &report);

		values[COL_REPORT_NO] = Int32GetDatum((int32) report.number);
		values[COL_IMEI] = packet.has_imei ? CStringGetTextDatum(packet.imei) : (Datum) 0;
		values[COL_PROTOCOL] = CStringGetTextDatum(letter);
		values[COL_SEQ] = Int32GetDatum(report.seq);
		values[COL_TIME] = TimestampTzGetDatum(at402_time(report.time));
		values[COL_REASONS] = names_array(at402_reason_names, AT402_REASONS,
										  at402_named_reasons(packet.variant, report.reasons));
		values[COL_STATUS] = names_array(at402_status_names, packet.variant->status_names,
										 report.status);
		values[COL_GNSS_VALID] =
			BoolGetDatum(!(report.status >> AT402_STATUS_GNSS_INVALID & 1));
		values[COL_MODULES] = JsonbPGetDatum(JsonbValueToJsonb(json.result));
		nulls[COL_GNSS_VALID] = nulls[COL_LATITUDE];
		for (int i = COL_REPORT_NO; i <= COL_STATUS; i++)
			nulls[i] = false;
		nulls[COL_IMEI] = !packet.has_imei;
		nulls[COL_MODULES] = false;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
at402_reason_names_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(names_array(at402_reason_names, AT402_REASONS, (uint64_t) PG_GETARG_INT64(0)));
}

Datum
at402_status_names_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(names_array(at402_status_names, AT402_STATUSES,
								(uint64_t) PG_GETARG_INT64(0)));
}

/* Is the flag of this name set?  kind: of which flags, for the message. */
static bool
has_flag(const char *const *names, int count, uint64_t mask, const text *name, const char *kind)
{
	for (int bit = 0; bit < count; bit++)
		if (strlen(names[bit]) == VARSIZE_ANY_EXHDR(name) &&
			memcmp(names[bit], VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) == 0)
			return mask >> bit & 1;
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("there is no %s flag \"%s\"", kind, text_to_cstring(name)),
			errhint("SELECT at402_%s_names(-1); lists them.", kind));
}

Datum
at402_has_reason(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(has_flag(at402_reason_names, AT402_REASONS, (uint64_t) PG_GETARG_INT64(0),
							PG_GETARG_TEXT_PP(1), "reason"));
}

Datum
at402_has_status(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(has_flag(at402_status_names, AT402_STATUSES, (uint64_t) PG_GETARG_INT64(0),
							PG_GETARG_TEXT_PP(1), "status"));
}

/* ---- the field catalogue ---- */

static char *
type_text(const at402_field_def *field)
{
	bool		sized = field->type == AT402_T_ASCII || field->type == AT402_T_HEX;

	if (sized && field->size > 0)
		return psprintf("%s:%d", at402_type_names[field->type], field->size);
	return pstrdup(at402_type_names[field->type]);
}

static char *
scale_text(const at402_field_def *field)
{
	StringInfoData s;

	if (field->num == 1 && field->den == 1 && field->off == 0)
		return NULL;
	initStringInfo(&s);
	appendStringInfoString(&s, field->num == -1 ? "-raw" : "raw");
	if (field->num != 1 && field->num != -1)
		appendStringInfo(&s, " * %d", field->num);
	if (field->den != 1)
		appendStringInfo(&s, " / %d", field->den);
	if (field->off != 0)
		appendStringInfo(&s, " %c %d", field->off < 0 ? '-' : '+', abs(field->off));
	return s.data;
}

static char *
home_text(uint16_t home)
{
	static const char *const tables[] = {"position", "event", "io", "motion", "can", "can_frame",
		"ble", "module", "device"};
	StringInfoData s;

	initStringInfo(&s);
	for (int i = 0; i < lengthof(tables); i++)
		if (home >> i & 1)
			appendStringInfo(&s, "%s%s", s.len > 0 ? ", " : "", tables[i]);
	return s.data;
}

/* The columns of these tables, one after the other, as SQL expressions. */
static char *
column_text(const at402_module_def *def, const at402_field_def *field, uint16_t home)
{
	StringInfoData s;

	initStringInfo(&s);
	for (int i = 0; i < 16; i++)
	{
		at402_place place;

		if (!(home >> i & 1) || !at402_find_place(def, field, 1 << i, &place))
			continue;
		if (s.len > 0)
			appendStringInfoString(&s, "; ");
		if (place.list != NULL)
			appendStringInfo(&s, "jsonb_path_query(%s, '$.%s[*]%s%s')", place.column, place.list,
							 place.key ? "." : "", place.key ? place.key : "");
		else if (place.key != NULL)
			appendStringInfo(&s, "%s->'%s'", place.column, place.key);
		else
			appendStringInfoString(&s, place.column);
	}
	return s.data;
}

/* Tables of its module that a field is in; if it is in none itself, all. */
static uint16_t
field_homes(const at402_module_def *def, const at402_field_def *field)
{
	uint16_t	homes = 0;
	at402_place place;

	for (int i = 0; i < 16; i++)
		if (at402_find_place(def, field, 1 << i, &place))
			homes |= 1 << i;
	return homes != 0 ? homes : def->home;
}

static void
put_text(Datum *value, bool *null, const char *string)
{
	*null = string == NULL || string[0] == 0;
	*value = *null ? (Datum) 0 : CStringGetTextDatum(string);
}

/*
 * at402_fields() -> the field catalogue, from the table that decodes
 *
 * A row for each field of each module and each variant that sends it; bit is
 * NULL for K, M and V, which have no module mask.
 */
Datum
at402_fields(PG_FUNCTION_ARGS)
{
	static const char *const protocols[] = {"X", "Y", "Z", "K", "M", "V", "X, older firmware",
		"Y, older firmware"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int p = 0; p < lengthof(protocols); p++)
		for (size_t m = 0; m < at402_module_count; m++)
		{
			const at402_module_def *def = &at402_modules[m];

			if (!(def->variants >> p & 1))
				continue;
			for (int i = 0; i < def->field_count; i++)
			{
				const at402_field_def *field = &def->fields[i];
				Datum		values[12];
				bool		nulls[12] = {0};
				uint16_t	homes = field_homes(def, field);
				int64_t		least;
				int64_t		most;

				if (field->name == NULL || field->derived || !(field->variants >> p & 1))
					continue;
				values[0] = CStringGetTextDatum(protocols[p]);
				values[1] = Int32GetDatum(def->bit);
				nulls[1] = def->variants & (AT402_IN_K | AT402_IN_M | AT402_IN_V);
				values[2] = CStringGetTextDatum(def->key);
				values[3] = CStringGetTextDatum(field->name);
				values[4] = CStringGetTextDatum(type_text(field));
				put_text(&values[5], &nulls[5], scale_text(field));
				put_text(&values[6], &nulls[6], at402_core_cstring(field->unit));
				put_text(&values[7], &nulls[7], home_text(homes));
				put_text(&values[8], &nulls[8], column_text(def, field, homes));
				nulls[9] = nulls[10] = !at402_measured_range(field, &least, &most);
				values[9] = Int64GetDatum(least);
				values[10] = Int64GetDatum(most);
				put_text(&values[11], &nulls[11], at402_core_cstring(field->note[0] ? field->note : def->note));
				tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
			}
		}
	return (Datum) 0;
}
