/*
 * frame.c - SQL type at402_frame: one complete frame as received
 *
 * Stored as a bytea, so that it costs nothing beside the bytes and casts to
 * bytea for free; made only of bytes that passed the scan (letter, length,
 * CRC), so that whoever holds one may rely on that.  Its comparison and hash
 * functions are those of bytea, bound in SQL.
 */
#include "postgres.h"

#include "funcapi.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "pg/errors.h"
#include "pg/frame.h"

PG_FUNCTION_INFO_V1(at402_frame_in);
PG_FUNCTION_INFO_V1(at402_frame_out);
PG_FUNCTION_INFO_V1(at402_frame_recv);
PG_FUNCTION_INFO_V1(at402_frame_send);
PG_FUNCTION_INFO_V1(at402_frame_from_bytea);
PG_FUNCTION_INFO_V1(at402_frames);
PG_FUNCTION_INFO_V1(at402_crc16_sql);

#define LOOK_BYTES ((size_t) 1 << 20)	/* between two looks whether to go on */

at402_span
at402_frame_bytes(const At402Frame *frame)
{
	return (at402_span) {(const uint8_t *) VARDATA_ANY(frame), VARSIZE_ANY_EXHDR(frame)};
}

At402Frame *
at402_frame_make(const uint8_t *bytes, size_t length)
{
	At402Frame *frame = palloc(length + VARHDRSZ);

	SET_VARSIZE(frame, length + VARHDRSZ);
	memcpy(VARDATA(frame), bytes, length);
	return frame;
}

at402_frame_kind
at402_frame_check(const uint8_t *bytes, size_t length)
{
	at402_frame frame;

	if (at402_frame_scan(bytes, length, &frame) != AT402_OK)
		at402_raise_problem(&frame.problem);
	if (frame.length < length)
	{
		frame.problem = (at402_problem) {AT402_TRAILING_BYTES, frame.length, 0,
			(uint32_t) (length - frame.length)};
		at402_raise_problem(&frame.problem);
	}
	return frame.kind;
}

char
at402_protocol_arg(FunctionCallInfo fcinfo, int n)
{
	text	   *arg;

	if (PG_ARGISNULL(n))
		return 0;
	arg = PG_GETARG_TEXT_PP(n);
	if (VARSIZE_ANY_EXHDR(arg) == 1)
		for (int i = 0; i < AT402_VARIANTS; i++)
			if (at402_variants[i].name == *VARDATA_ANY(arg))
				return at402_variants[i].name == 'Z' ? 'Z' : 0;
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("protocol \"%s\" is not known", text_to_cstring(arg)),
			errhint("Use a letter of a login line, X, Y, Z, K, M or V, or NULL."));
}

/* Hexadecimal digits, with or without \x before them; blanks are skipped. */
Datum
at402_frame_in(PG_FUNCTION_ARGS)
{
	const char *input = PG_GETARG_CSTRING(0);
	size_t		length = strlen(input);
	uint8_t    *bytes = palloc(length / 2 + 1);
	size_t		count;

	if (!at402_parse_hex(input, length, bytes, &count))
		ereport(ERROR, errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				errmsg("invalid input syntax for type %s", "at402_frame"),
				errdetail("Expected a hexadecimal digit at character %zu, found %s.", count + 1,
						  count < length ? psprintf("\"%.*s\"", pg_mblen(input + count),
													input + count)
										 : "the end"),
				errhint("Write the bytes in hexadecimal, as in '\\x244153545241...'."));
	at402_frame_check(bytes, count);
	PG_RETURN_POINTER(at402_frame_make(bytes, count));
}

/* \x and lower-case digits, whatever bytea_output says. */
Datum
at402_frame_out(PG_FUNCTION_ARGS)
{
	at402_span	span = at402_frame_bytes(PG_GETARG_AT402_FRAME_PP(0));
	char	   *digits = palloc(2 + 2 * span.length + 1);

	digits[0] = '\\';
	digits[1] = 'x';
	digits[2 + hex_encode((const char *) span.bytes, span.length, digits + 2)] = 0;
	PG_RETURN_CSTRING(digits);
}

Datum
at402_frame_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int			length = buf->len - buf->cursor;
	const uint8_t *bytes = (const uint8_t *) pq_getmsgbytes(buf, length);

	at402_frame_check(bytes, length);
	PG_RETURN_POINTER(at402_frame_make(bytes, length));
}

Datum
at402_frame_send(PG_FUNCTION_ARGS)
{
	PG_RETURN_BYTEA_P(PG_GETARG_BYTEA_P_COPY(0));
}

/* The explicit cast: checks what the input function checks. */
Datum
at402_frame_from_bytea(PG_FUNCTION_ARGS)
{
	at402_span	span = at402_frame_bytes(PG_GETARG_AT402_FRAME_PP(0));

	at402_frame_check(span.bytes, span.length);
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

static bytea *
make_bytea(const uint8_t *bytes, size_t length)
{
	return (bytea *) at402_frame_make(bytes, length);
}

/* The next frame; false: there is none.  A long stretch of noise can be cancelled. */
static bool
find_frame(at402_finder *finder, size_t *start, size_t *length)
{
	bool		found;

	do
	{
		CHECK_FOR_INTERRUPTS();
		finder->until = Min(finder->offset + LOOK_BYTES, finder->length);
		found = at402_find_frame(finder, start, length);
	} while (!found && finder->until < finder->length);
	return found;
}

/*
 * at402_frames(bytea) -> byte_offset, frame, skipped
 *
 * A row a frame; the bytes between two frames come back as one row in skipped.
 */
Datum
at402_frames(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bytea	   *stream = PG_GETARG_BYTEA_PP(0);
	const uint8_t *bytes = (const uint8_t *) VARDATA_ANY(stream);
	size_t		length = VARSIZE_ANY_EXHDR(stream);
	at402_finder *finder = palloc(sizeof(at402_finder));
	size_t		done = 0;
	bool		found = true;

	InitMaterializedSRF(fcinfo, 0);
	at402_finder_init(finder, bytes, length);
	while (found)
	{
		size_t		start;
		size_t		frame_length;
		Datum		values[3] = {0};

		found = find_frame(finder, &start, &frame_length);
		if (!found)
			start = length;
		if (start > done)
		{
			values[0] = Int32GetDatum((int32) done);
			values[2] = PointerGetDatum(make_bytea(bytes + done, start - done));
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
								 (bool[]) {false, true, false});
		}
		if (found)
		{
			values[0] = Int32GetDatum((int32) start);
			values[1] = PointerGetDatum(at402_frame_make(bytes + start, frame_length));
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
								 (bool[]) {false, false, true});
			done = start + frame_length;
		}
	}
	return (Datum) 0;
}

Datum
at402_crc16_sql(PG_FUNCTION_ARGS)
{
	bytea	   *arg = PG_GETARG_BYTEA_PP(0);
	const uint8_t *bytes = (const uint8_t *) VARDATA_ANY(arg);
	size_t		left = VARSIZE_ANY_EXHDR(arg);
	uint16_t	crc = at402_crc16(bytes, 0);

	while (left > 0)
	{
		size_t		some = Min(left, LOOK_BYTES);

		CHECK_FOR_INTERRUPTS();
		crc = at402_crc16_more(crc, bytes, some);
		bytes += some;
		left -= some;
	}
	PG_RETURN_INT32(crc);
}
