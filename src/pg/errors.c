/*
 * errors.c - the one place where a finding of the core becomes an error
 *
 * The core names what is wrong and the two facts that disagree; here they get
 * their words, SQLSTATE and hint, so that the same bytes are explained the same
 * way by the type, by the decoding functions and in the quarantine.
 */
#include "postgres.h"

#include "pg/errors.h"

char *
at402_problem_detail(const at402_problem *problem)
{
	switch (problem->status)
	{
		case AT402_INCOMPLETE:
			return psprintf("The frame needs at least %u bytes, found %u.", problem->expected,
							problem->found);
		case AT402_UNKNOWN_LETTER:
			return psprintf("Expected $, X, Y, K, M, V or C at offset 0, found byte 0x%02X.",
							problem->found);
		case AT402_BAD_LENGTH:
			return psprintf("Expected a length of at least %u at offset %zu, found %u.",
							problem->expected, problem->offset, problem->found);
		case AT402_BAD_CRC:
			return psprintf("Expected checksum 0x%04X at offset %zu, found 0x%04X.",
							problem->expected, problem->offset, problem->found);
		case AT402_LINE_TOO_LONG:
			return psprintf("Expected CR or LF within %u bytes, found none.", problem->expected);
		case AT402_TRAILING_BYTES:
			return psprintf("The frame ends at offset %zu, found %u more bytes.", problem->offset,
							problem->found);
		case AT402_NO_REPORTS:
			return psprintf("Expected at least 1 report at offset %zu, found 0.", problem->offset);
		case AT402_NO_LAYOUT:
			return psprintf("Packets with first byte \"%c\" are not read: an AT402 sends none.",
							(int) problem->found);
		case AT402_SHORT_REPORT:
		case AT402_SHORT_MODULE:
		case AT402_UNKNOWN_MODULE:
		case AT402_LEFT_OVER:
			return psprintf("Reading stopped at offset %zu, %u bytes before the checksum.",
							problem->offset, problem->found);
		case AT402_OK:
			break;
	}
	return pstrdup("");
}

static const char *
problem_hint(at402_status status)
{
	switch (status)
	{
		case AT402_BAD_CRC:
			return "The checksum is CRC-16/MODBUS, high byte first; at402_crc16() computes it.";
		case AT402_TRAILING_BYTES:
			return "Use at402_frames() to cut a capture into frames.";
		case AT402_INCOMPLETE:
		case AT402_BAD_LENGTH:
			return "The length field counts the whole packet; a text line ends with CR or LF.";
		default:
			return "A frame is a text line that begins with $, or a whole X, Y, K, M, V or C packet.";
	}
}

void
at402_raise_problem(const at402_problem *problem)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			errmsg("invalid AT402 frame: %s", at402_status_text(problem->status)),
			errdetail_internal("%s", at402_problem_detail(problem)),
			errhint("%s", problem_hint(problem->status)));
}
