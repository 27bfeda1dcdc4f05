/*
 * table_rows.h - one pass over protocol.def
 *
 * Define the row macros that the pass is about and include this file: the rows
 * of all other kinds vanish, and all macros are forgotten afterwards.  Without
 * an include guard: there is a pass for each array.
 */
#ifndef VARIANT
#define VARIANT(...)
#endif
#ifndef BLOCK
#define BLOCK(...)
#endif
#ifndef REASON
#define REASON(...)
#endif
#ifndef STATUS
#define STATUS(...)
#endif
#ifndef RANGE
#define RANGE(...)
#endif
#ifndef TRAILER_FLAG
#define TRAILER_FLAG(...)
#endif
#ifndef MODULE
#define MODULE(...)
#endif
#ifndef F
#define F(...)
#endif
#ifndef D
#define D(...)
#endif
#ifndef S
#define S(...)
#endif
#ifndef I
#define I(...)
#endif
#ifndef SKIP
#define SKIP(...)
#endif
#ifndef SEEK
#define SEEK(...)
#endif
#ifndef END
#define END(...)
#endif

#include "protocol.def"

#undef VARIANT
#undef BLOCK
#undef REASON
#undef STATUS
#undef RANGE
#undef TRAILER_FLAG
#undef MODULE
#undef F
#undef D
#undef S
#undef I
#undef SKIP
#undef SEEK
#undef END
