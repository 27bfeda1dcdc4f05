/*
 * frame.h - SQL type at402_frame and what all functions on it share
 */
#ifndef AT402_FRAME_H
#define AT402_FRAME_H

#include "fmgr.h"
#include "core/at402.h"

/* A frame is stored as a bytea is; one that exists has passed the scan. */
typedef struct varlena At402Frame;

#define DatumGetAt402FramePP(d) ((At402Frame *) PG_DETOAST_DATUM_PACKED(d))
#define PG_GETARG_AT402_FRAME_PP(n) DatumGetAt402FramePP(PG_GETARG_DATUM(n))

/* The bytes of a frame, in place. */
extern at402_span at402_frame_bytes(const At402Frame *frame);

/* A palloc'd frame of bytes that are known to be good. */
extern At402Frame *at402_frame_make(const uint8_t *bytes, size_t length);

/*
 * Checks that bytes are exactly one good frame; else ERROR 22P03.
 */
extern at402_frame_kind at402_frame_check(const uint8_t *bytes, size_t length);

/*
 * The argument that tells the variant of a packet: NULL, or a letter as in a
 * login line.  Returns 'Z' for that variant, else 0.  ERROR 22023 for a word
 * that is no protocol.
 */
extern char at402_protocol_arg(FunctionCallInfo fcinfo, int n);

#endif							/* AT402_FRAME_H */
