/*
 * at402.h - the core: the AT402 wire protocol, and nothing else
 *
 * Pure C11: no PostgreSQL, no allocation, no I/O, no changing globals, so that
 * the same code runs in a backend, in the listener, in the simulator and under
 * a fuzzer.  Every function reads the caller's bytes in place and keeps
 * pointers into them; nothing has to be freed.
 *
 * From the stream to a value:
 *
 *     at402_frame_scan     cuts one frame off a stream, checks length and CRC
 *     at402_login_parse    reads a login line
 *     at402_packet_open    finds the reading of a packet whose walk ends
 *                          exactly at its end
 *     at402_report_next    the reports of a packet
 *     at402_module_next    the modules of a report
 *     at402_module_visit   the fields of a module, as values
 *
 * and back: at402_encode_packet, at402_encode_login.
 */
#ifndef AT402_H
#define AT402_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AT402_ACK 0x06			 /* the one answer there is */
#define AT402_MAX_FRAME 65535	 /* what the length field can say */
#define AT402_MAX_LINE 1024		 /* longest text line followed, with its CR or LF */
#define AT402_IMEI_DIGITS 15
#define AT402_IMEI_SIZE 7		/* bytes of an IMEI in a packet */
#define AT402_IMEI_TEXT 19		/* a u32 and a u24 may have 10 + 8 digits, and a NUL */
#define AT402_EPOCH_UNIX 315964800 /* 1980-01-06T00:00:00Z in Unix seconds */
#define AT402_CLOCK_SET 946339200	/* 2010-01-01T00:00:00Z, in seconds of the devices: no
									 * clock that was ever set is before it */

/* ---- what can be wrong ---- */

typedef enum at402_status
{
	AT402_OK = 0,
	AT402_INCOMPLETE,		/* the frame goes on past the bytes at hand */
	AT402_UNKNOWN_LETTER,	/* first byte belongs to no form of frame */
	AT402_BAD_LENGTH,		/* length field below the smallest packet of its letter */
	AT402_BAD_CRC,			/* checksum is not that of the bytes */
	AT402_LINE_TOO_LONG,	/* text line without end in AT402_MAX_LINE bytes */
	AT402_TRAILING_BYTES,	/* bytes after the end of the frame */
	AT402_NO_REPORTS,		/* report count is 0 */
	AT402_NO_LAYOUT,		/* letter C: of older devices, which at402 does not read */
	AT402_SHORT_REPORT,		/* report header runs past the end of the packet */
	AT402_SHORT_MODULE,		/* module runs past the end of the packet */
	AT402_UNKNOWN_MODULE,	/* module of X whose size is not known */
	AT402_LEFT_OVER			/* bytes left after the last report */
} at402_status;

/*
 * The short message of a status, in the form of PostgreSQL's error messages:
 * lower case, no full stop.  This is the one place such texts stand.
 */
extern const char *at402_status_text(at402_status status);

/* Where it went wrong: offset in the frame, and the two facts that disagree. */
typedef struct at402_problem
{
	at402_status status;
	size_t		offset;
	uint32_t	expected;		/* CRC computed, bytes needed, ...; by status */
	uint32_t	found;
} at402_problem;

/* A run of the caller's bytes; bytes is NULL where there is none. */
typedef struct at402_span
{
	const uint8_t *bytes;
	size_t		length;
} at402_span;

/* ---- checksums ---- */

/* CRC-16/MODBUS: start 0xFFFF, reflected polynomial 0xA001, no final xor. */
extern uint16_t at402_crc16(const uint8_t *bytes, size_t length);

/* So many bytes further, or one, from the state 0xFFFF on. */
extern uint16_t at402_crc16_more(uint16_t crc, const uint8_t *bytes, size_t length);
extern uint16_t at402_crc16_step(uint16_t crc, uint8_t byte);

/* ---- frames ---- */

typedef enum at402_frame_kind
{
	AT402_FRAME_LOGIN,			/* $ASTRA;... */
	AT402_FRAME_TEXT,			/* any other $ line */
	AT402_FRAME_PACKET
} at402_frame_kind;

typedef struct at402_frame
{
	at402_frame_kind kind;		/* set with AT402_OK */
	size_t		length;			/* bytes to take off the stream; with AT402_OK
								 * and AT402_BAD_CRC, else 0 */
	at402_problem problem;		/* set unless AT402_OK; for AT402_INCOMPLETE
								 * expected is how many bytes are needed at least */
} at402_frame;

/*
 * Looks at the first available bytes of a stream.  AT402_OK: frame->length of
 * them are one good frame.  AT402_INCOMPLETE: come again with more.
 * AT402_BAD_CRC: the frame can be stepped over.  Anything else: the stream
 * cannot be followed.
 *
 * A text line ends at CR, LF or CR LF.  A CR at the end of the bytes at hand
 * ends it too (a device may send a lone CR and wait for the answer); the LF
 * that may still come is then for the caller to skip: it stands where a frame
 * would begin.
 */
extern at402_status at402_frame_scan(const uint8_t *bytes, size_t available, at402_frame *frame);

/*
 * Bytes written as hexadecimal digits, with or without \x before them; white
 * space between digits is skipped.  bytes must have room for length / 2 of
 * them; *count says how many there are.  False where the text is not of this
 * form; *count is then the offset of the character that is not.
 */
extern bool at402_parse_hex(const char *text, size_t length, uint8_t *bytes, size_t *count);

/* Length of the smallest packet with this first byte; 0: it begins no packet. */
extern size_t at402_least_length(uint8_t letter);

/*
 * Frames in a capture that may hold anything else between them.  Takes linear
 * time on any bytes.  The struct is large (2 MiB): allocate it.  Who wants to do
 * something else meanwhile sets until to less than the length, and then on.
 */
#define AT402_FINDER_WINDOW (1 << 20)

typedef struct at402_finder
{
	const uint8_t *bytes;
	size_t		length;
	size_t		offset;			/* where the search goes on */
	size_t		until;			/* and ends: no frame is looked for from here on */
	size_t		window;			/* prefix[i]: state after i bytes from here */
	size_t		window_end;
	size_t		text_end;		/* no control character from the last line on to here */
	uint16_t	prefix[AT402_FINDER_WINDOW + 1];
	uint16_t	powers[AT402_MAX_FRAME + 1];	/* x^(8n) */
} at402_finder;

extern void at402_finder_init(at402_finder *finder, const uint8_t *bytes, size_t length);

/* The next frame before until; false when there is none.  What lies between is no frame. */
extern bool at402_find_frame(at402_finder *finder, size_t *start, size_t *length);

/* ---- who is talking ---- */

/* True for exactly 15 ASCII digits whose last is the Luhn check digit. */
extern bool at402_imei_valid(const uint8_t *digits, size_t length);

/* The fields of a login line.  A field that is missing has bytes NULL; an
 * empty one has length 0. */
typedef struct at402_login
{
	at402_span	model;
	at402_span	imei;
	at402_span	vin;
	at402_span	firmware;
	at402_span	protocol;
	at402_span	hardware;
	at402_span	settings_checksum;
} at402_login;

/* False when the line is no login line ($ASTRA;). */
extern bool at402_login_parse(const uint8_t *line, size_t length, at402_login *login);

/* Text as devices mean it: ends at the first NUL, trailing blanks go. */
extern at402_span at402_text(at402_span span);

/* The line without its terminator. */
extern at402_span at402_line_text(const uint8_t *line, size_t length);

/* ---- commands to a device (command.c) ---- */

#define AT402_CODE_SIZE 4		/* capital letters */
#define AT402_MAX_CODES (AT402_MAX_LINE / 5)	/* $CODE in a message */
#define AT402_KEY_DIGITS 16		/* hex, of a driver's key or its family */

/* What a message has to be answered with. */
typedef struct at402_awaited
{
	int			count;
	int			next;			/* the command that is awaited an answer of */
	bool		begun;			/* lines with data have come for it */
	bool		refused;		/* UN, ER or PR came */
	bool		secret;			/* the line taken last was about a PIN */
	char		codes[AT402_MAX_CODES][AT402_CODE_SIZE];
} at402_awaited;

typedef enum at402_answer
{
	AT402_ANSWER_NONE,			/* the line is no answer */
	AT402_ANSWER_PART,
	AT402_ANSWER_WHOLE			/* with it all is answered */
} at402_answer;

/* A message, $CODE,arguments$CODE,arguments, was sent. */
extern void at402_awaited_begin(at402_awaited *a, const char *message);

/* Is this line an answer to it? */
extern at402_answer at402_awaited_take(at402_awaited *a, const uint8_t *line, size_t length);

/* Is all answered if no more lines come? */
extern bool at402_awaited_may_end(const at402_awaited *a);

/* $DRID,model,CHECK,imei,family,serial: may the driver with this key drive? */
typedef struct at402_driver_check
{
	at402_span	imei;
	at402_span	family;			/* hex */
	at402_span	serial;			/* hex */
} at402_driver_check;

/* False when the line is no such check. */
extern bool at402_driver_check_parse(const uint8_t *line, size_t length,
									 at402_driver_check *check);

/* ---- the table ---- */

typedef enum at402_type
{
	AT402_T_SKIP, AT402_T_SEEK,
	AT402_T_U8, AT402_T_U16, AT402_T_U24, AT402_T_U32, AT402_T_U56,
	AT402_T_I8, AT402_T_I16, AT402_T_I32,
	AT402_T_U16LE, AT402_T_U24LE, AT402_T_U32LE,
	AT402_T_U4LO, AT402_T_U4HI, AT402_T_U12LO, AT402_T_U12HI,
	AT402_T_U8N, AT402_T_I8N,
	AT402_T_U1, AT402_T_U5, AT402_T_U7, AT402_T_U19,
	AT402_T_TIME, AT402_T_BOOL, AT402_T_ASCII, AT402_T_HEX, AT402_T_MAC,
	AT402_T_NAME, AT402_T_SLOT, AT402_T_LIST
} at402_type;

#define AT402_TYPES (AT402_T_LIST + 1)
extern const char *const at402_type_names[AT402_TYPES]; /* NULL for SKIP and SEEK */

typedef struct at402_field_def
{
	const char *name;			/* NULL for SKIP and SEEK */
	const char *list;			/* whose items have it; NULL: none */
	uint8_t		variants;		/* which have it, AT402_IN_ flags */
	uint8_t		type;			/* at402_type */
	uint8_t		size;			/* bytes the reader moves on; SEEK: offset;
								 * LIST: most items, 0: any number */
	uint8_t		range;			/* in at402_ranges */
	bool		derived;		/* for rows only */
	int32_t		num,			/* value = raw * num / den + off */
				den,
				off;
	const char *unit;			/* "" where there is none */
	const char *column;			/* of the home table, see protocol.def */
	const char *note;
} at402_field_def;

/* Which raw values of a field are measurements, for the reference page. */
typedef struct at402_range_def
{
	const char *words;
	const char *source;			/* "": needs none */
} at402_range_def;

extern const at402_range_def at402_ranges[];
extern const size_t at402_range_count;

/* Tables of SQL that a module's values are stored in; flags. */
enum
{
	AT402_HOME_POSITION = 1 << 0,
	AT402_HOME_EVENT = 1 << 1,
	AT402_HOME_IO = 1 << 2,
	AT402_HOME_MOTION = 1 << 3,
	AT402_HOME_CAN = 1 << 4,
	AT402_HOME_CAN_FRAME = 1 << 5,
	AT402_HOME_BLE = 1 << 6,
	AT402_HOME_MODULE = 1 << 7,
	AT402_HOME_DEVICE = 1 << 8
};

/* Variants of packet that a row of the table is valid for; flags. */
enum
{
	AT402_IN_X = 1 << 0,
	AT402_IN_Y = 1 << 1,
	AT402_IN_Z = 1 << 2,
	AT402_IN_K = 1 << 3,
	AT402_IN_M = 1 << 4,
	AT402_IN_V = 1 << 5,
	AT402_IN_OLD = 1 << 6,		/* X of older firmware */
	AT402_IN_OLD_Y = 1 << 7		/* Y of older firmware */
};

typedef enum at402_shape
{
	AT402_FIELDS,				/* the rows of the table, one after the other */
	AT402_BEACONS, AT402_GENERIC_CAN, AT402_SENSORS, AT402_DEBUG,
	AT402_TPMS, AT402_J1939_DTC, AT402_HGV_TRAILER
} at402_shape;

#define AT402_MAX_FIELDS 64		/* of a module */

typedef struct at402_module_def
{
	const char *key;			/* name in jsonb, can.source, module.name */
	const char *title;
	const char *kind;			/* io.kind or ble.kind; "" where none */
	const char *note;
	const at402_field_def *fields;	/* field_count of them */
	uint8_t		field_count;
	uint8_t		bit;			/* in the module mask; K, M, V: block number */
	uint8_t		shape;			/* at402_shape */
	uint8_t		variants;		/* AT402_IN_ flags */
	uint16_t	home;			/* AT402_HOME_ flags */
	uint16_t	size;			/* bytes of the fields in X */
	uint16_t	least;			/* and in Y, where a module may have more */
} at402_module_def;

/* All modules of all variants; those of X and of Y in the order of their bits. */
extern const at402_module_def at402_modules[];
extern const size_t at402_module_count;
#define AT402_MAX_MODULES 128

/* Modules that older firmware of X sends under a bit that means another now. */
#define AT402_OLDER_LAYOUTS 2
extern const at402_module_def *const at402_older_modules[AT402_OLDER_LAYOUTS];

typedef struct at402_block_def
{
	uint8_t		variant;		/* AT402_IN_ flag */
	uint8_t		number;
	uint8_t		size;
	int8_t		status_bit;		/* -1: no such condition */
	int8_t		reason_bit;
} at402_block_def;

extern const at402_block_def at402_blocks[];
extern const size_t at402_block_count;

/* offset in the report and width in bytes of a part of the report header */
typedef struct at402_part
{
	uint8_t		offset;
	uint8_t		width;
} at402_part;

typedef struct at402_variant_def
{
	char		name;			/* X Y Z K M V: what a login line calls it */
	char		letter;			/* first byte of its packets */
	bool		imei_always;	/* else with some device settings, and a report
								 * count stands before it */
	uint8_t		header;			/* bytes of the report header; 0: blocks */
	at402_part	mask;
	uint8_t		time;			/* offset */
	at402_part	reasons;
	at402_part	status;
	uint8_t		status_names;	/* how many status bits have a name */
	uint8_t		roll_over;		/* reason bit */
	uint8_t		rows;			/* AT402_IN_ flags of the rows that it reads */
	const at402_module_def *const *modules; /* by mask bit, NULL where none;
											 * NULL for K, M, V */
	const at402_module_def *const *base;	/* where modules has none; or NULL */
	const at402_module_def *const *by_size; /* what a module of just that size is
											 * instead; or NULL */
	bool		prefixed;		/* its modules carry a length */
	uint8_t		older_layouts;	/* of at402_older_modules: how many it may send */
} at402_variant_def;

#define AT402_VARIANTS 6
#define AT402_MAX_BLOCKS 3		/* of K, M, V */
#define AT402_MASK_BITS 80		/* of the widest module mask, Y's */
extern const at402_variant_def at402_variants[AT402_VARIANTS];

/* Names of the flag bits; bits past the end have no published name. */
#define AT402_REASONS 33
#define AT402_STATUSES 11
#define AT402_TRAILER_FLAGS 11
extern const char *const at402_reason_names[AT402_REASONS];
extern const char *const at402_status_names[AT402_STATUSES];
extern const char *const at402_trailer_flag_names[AT402_TRAILER_FLAGS];

/* The variant of packets with this first byte, of a device whose login said
 * protocol ('Z') or nothing (0); NULL: at402 does not read them. */
extern const at402_variant_def *at402_find_variant(char letter, char protocol);

/* How many reports a packet claims to have; of K, M and V, which do not count
 * them: how many it has room for. */
extern unsigned at402_claimed_reports(const uint8_t *bytes, size_t length);

/* The bit of a variant's reason flags that at402_reason_names calls so; -1: none. */
extern int	at402_reason_bit(const at402_variant_def *variant, int named);

/* Reason flags as sent, with the bits that at402_reason_names has for them. */
extern uint64_t at402_named_reasons(const at402_variant_def *variant, uint64_t sent);

/* Bits of these two that the code itself asks for. */
enum
{
	AT402_REASON_TIME_INTERVAL = 0,
	AT402_REASON_DISTANCE = 1,
	AT402_REASON_GEOFENCE = 3,
	AT402_REASON_HEADING_CHANGE = 8,
	AT402_REASON_ROLL_OVER = 30,
	AT402_STATUS_IGNITION = 0,
	AT402_STATUS_GNSS_INVALID = 2,
	AT402_STATUS_MORE_QUEUED = 4,
	AT402_STATUS_STORED = 5
};

/* ---- packets ---- */

/* What the connection tells of the sender: a tracker that logs in sends no IMEI
 * with its packets, one that does not, and every datagram, does. */
typedef enum at402_sender
{
	AT402_SENDER_UNKNOWN,		/* bytes without a connection */
	AT402_SENDER_LOGGED_IN,		/* a login line came before: no IMEI expected */
	AT402_SENDER_IN_PACKET		/* no login, or a datagram: IMEI expected */
} at402_sender;

typedef struct at402_packet
{
	const uint8_t *bytes;		/* the whole frame */
	size_t		length;
	const at402_variant_def *variant;	/* NULL with AT402_NO_LAYOUT */
	bool		has_imei;
	char		imei[AT402_IMEI_TEXT];	/* digits as sent, unchecked; "" without,
										 * and where the packet is too short */
	uint8_t		older;			/* bit i: at402_older_modules[i] is read */
	uint8_t		count;			/* reports announced; 0 for K, M, V */
	size_t		start;			/* offset of the first report */
	size_t		end;			/* offset up to which reports and modules can be
								 * read: the checksum, or problem.offset */
	at402_problem problem;		/* where the reading ended, unless AT402_OK */
} at402_packet;

/*
 * Finds how a packet has to be read.  bytes must be one frame that
 * at402_frame_scan found good.  protocol 'Z': the login said so; else 0.
 *
 * The first reading whose walk ends exactly at the end of the packet is taken,
 * in this order: newest layouts; bit 9 older; bit 44 older; both.  With
 * AT402_SENDER_UNKNOWN each is tried without IMEI, then with.  Otherwise the
 * way that the connection tells comes first with all layouts, then the other:
 * a packet with an IMEI on a connection that logged in can so be told from an
 * unreadable one.
 *
 * Unless AT402_OK, the packet is set to the first reading, problem says how
 * far it got, and at402_report_next gives what could be read.
 */
extern at402_status at402_packet_open(at402_packet *packet, const uint8_t *bytes, size_t length,
									  char protocol, at402_sender sender);

typedef struct at402_report
{
	const at402_packet *packet;
	const uint8_t *bytes;		/* from seq to the last module */
	size_t		length;
	unsigned	number;			/* 0, 1, ... in the packet */
	uint8_t		seq;
	uint32_t	time;			/* seconds since 1980-01-06T00:00:00Z */
	uint64_t	reasons;
	uint32_t	status;
	bool		cut;			/* the packet is undecodable from within here */
} at402_report;

/*
 * Steps to the next report.  Start with *report = (at402_report){0}.  False
 * after the last one that could be read (for an undecodable packet the last
 * may be cut: some of its modules are missing).
 */
extern bool at402_report_next(const at402_packet *packet, at402_report *report);

typedef struct at402_module
{
	const at402_report *report;
	const at402_module_def *def;	/* NULL: unknown module of Y */
	unsigned	bit;
	bool		raw;			/* to be shown as raw bytes: unknown, or too
								 * short for its fields */
	const uint8_t *bytes;		/* content, without a length that only counts;
								 * K, M, V: the whole report */
	size_t		length;
	size_t		end;			/* private: where in the report it ends */
	size_t		next;			/* private: where the search for the next begins */
} at402_module;

/* Steps to the next module.  Start with *module = (at402_module){0}. */
extern bool at402_module_next(const at402_report *report, at402_module *module);

/*
 * The module's name: its key, or module_<bit> for an unknown one, written to
 * buffer (AT402_KEY_SIZE bytes).
 */
#define AT402_KEY_SIZE 16
extern const char *at402_module_key(const at402_module *module, char *buffer);

/* ---- values ---- */

typedef enum at402_value_kind
{
	AT402_V_NULL,				/* the wire says "none" */
	AT402_V_NUMBER,				/* raw, to be scaled with the field's num, den, off */
	AT402_V_TIME,				/* raw seconds since 1980-01-06T00:00:00Z */
	AT402_V_BOOL,				/* raw 0 or 1 */
	AT402_V_DIGITS,				/* raw as 15 or more decimal digits */
	AT402_V_TEXT,				/* span, Latin-1 */
	AT402_V_HEX,				/* span */
	AT402_V_MAC					/* span of 6 */
} at402_value_kind;

typedef struct at402_value
{
	at402_value_kind kind;
	int64_t		raw;
	at402_span	span;
} at402_value;

typedef enum at402_event
{
	AT402_E_VALUE,
	AT402_E_DERIVED,			/* a value that was told already, in another unit */
	AT402_E_LIST,				/* a list begins, named by its field */
	AT402_E_ITEM,				/* an object in the list begins ... */
	AT402_E_ITEM_END,			/* ... and ends */
	AT402_E_LIST_END
} at402_event;

/* Called for every value of a module.  field and value are set with
 * AT402_E_VALUE and AT402_E_DERIVED, field with AT402_E_LIST. */
typedef void (*at402_visitor) (void *context, at402_event event,
							   const at402_field_def *field, const at402_value *value);

extern void at402_module_visit(const at402_module *module, at402_visitor visit, void *context);

/* Sensors that module sensors has room for. */
#define AT402_SENSOR_SLOTS 6

/* The two fields every module may have beside its own. */
extern const at402_field_def at402_raw_field;	/* bytes that could not be read */
extern const at402_field_def at402_error_field; /* and why */

/* ---- what a value says ---- */

/* Smallest and largest raw value of a field; for numbers, times and digits. */
extern void at402_raw_range(const at402_field_def *field, int64_t *least, int64_t *most);

/* The same of those that are measurements; false where no bounds tell. */
extern bool at402_measured_range(const at402_field_def *field, int64_t *least, int64_t *most);

/*
 * Is a value a measurement?  Makes it the one to store: a heading of 360 degrees
 * is 0.  *none goes from each value of a module to the next, false at first.
 */
extern bool at402_measure(const at402_field_def *field, at402_value *value, bool *none);

/* Do these bytes say anything: are there others than 0x00, 0xFF, blanks and "0"? */
extern bool at402_says_anything(at402_span span);

/* Is a value sent as zeros, or as ones only? */
extern bool at402_is_zeros(const at402_value *value);
extern bool at402_is_ones(const at402_field_def *field, const at402_value *value);

/* Are its values flags? */
extern bool at402_is_mask(const at402_field_def *field);

/* Does a module say nothing when this field has no measurement? */
extern bool at402_is_required(const at402_field_def *field);

/* Where a table has a value.  column: an SQL expression, of columns of that
 * table; in its jsonb, key is that of the value, list that of the array whose
 * items have it; NULL: none. */
typedef struct at402_place
{
	const char *column;
	const char *list;
	const char *key;
} at402_place;

/* False where a module's table, an AT402_HOME_ flag, does not have the field. */
extern bool at402_find_place(const at402_module_def *def, const at402_field_def *field,
							 unsigned home, at402_place *place);

/* ---- and back: encoding ---- */

/*
 * Bytes being written.  Writing past capacity sets overflow and drops the
 * bytes.  The buffer must be zero at first: what is not given stays zero.
 */
typedef struct at402_writer
{
	uint8_t    *bytes;
	size_t		capacity;
	size_t		length;
	bool		overflow;
	const at402_field_def *refused; /* a field that had to have another value */
} at402_writer;

/*
 * Where the encoder takes values from: an object is open, and its members are
 * asked for by field.  In a list, item opens one element: an object, or of a
 * list of plain values the value itself, which value then gives.  The functions
 * may not return when a value cannot be had: the writer needs no clean-up.
 */
typedef struct at402_source
{
	void	   *context;
	bool		(*value) (void *context, const at402_field_def *field, at402_value *value);
	bool		(*list) (void *context, const at402_field_def *field, size_t *count);
	void		(*item) (void *context, size_t i, bool object);
	void		(*close) (void *context);	/* the item or list opened last */
} at402_source;

/*
 * A packet: begin, then for each report begin, its modules in ascending order
 * of their bits, end; then end.  imei: 15 digits, or NULL.  K, M and V always
 * have one and do not count.
 */
extern void at402_encode_packet(at402_writer *w, const at402_variant_def *variant,
								const char *imei, unsigned count);
extern void at402_encode_packet_end(at402_writer *w);

typedef struct at402_report_writer
{
	at402_writer *w;
	const at402_variant_def *variant;
	size_t		start;			/* of the report */
} at402_report_writer;

extern at402_report_writer at402_encode_report(at402_writer *w, const at402_variant_def *variant,
											   uint8_t seq, uint32_t time, uint64_t reasons,
											   uint32_t status);

/* def NULL: an unknown module of Y, which has raw bytes only. */
extern void at402_encode_module(at402_report_writer *r, const at402_module_def *def, unsigned bit,
								const at402_source *source);

/* Does a K, M or V report with these flags have this block? */
extern bool at402_has_block(const at402_variant_def *variant, unsigned number, uint64_t reasons,
							uint32_t status);

#endif							/* AT402_H */
