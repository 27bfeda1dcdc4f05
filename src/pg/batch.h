/*
 * batch.h - frames on their way into the tables
 *
 * A batch is filled with frames, of many senders or from an array in SQL, and
 * stored in one go (store.h).  Filling needs no database: each frame is read,
 * and it is decided whether it brings rows or goes to quarantine.
 */
#ifndef AT402_BATCH_H
#define AT402_BATCH_H

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "nodes/pg_list.h"
#include "utils/elog.h"
#include "utils/hsearch.h"

#include "core/input.h"

StaticAssertDecl(AT402_SENDER_SIZE >= AT402_IMEI_TEXT, "an IMEI in a packet would be cut");

/* What is done with a frame as a whole. */
typedef enum At402Disposition
{
	AT402_TO_ROWS,				/* reports of a packet become rows */
	AT402_TO_DEVICE,			/* login line: what it says of the device is kept */
	AT402_TO_FRAME,				/* other text line: kept as a frame */
	AT402_TO_QUARANTINE,
	AT402_IGNORED,				/* unknown device, and the settings say so */
	AT402_REFUSED				/* nobody knows whose it is, too many unknown devices
								 * at once, or not even quarantine takes it: not
								 * stored, not answered */
} At402Disposition;

/* What became of a frame, for whoever brought it.  It outlives the batch. */
typedef struct At402Verdict
{
	At402Disposition disposition;
	const char *reason;			/* of quarantine or refusal: a word; NULL */
	char		imei[AT402_SENDER_SIZE];	/* of the sender; "" when unknown or impossible */
	int			device_id;		/* 0: none */
} At402Verdict;

/* What is said of a device: by login lines, by packets, or in at402.device. */
typedef enum At402Fact
{
	AT402_MODEL,
	AT402_FIRMWARE,
	AT402_HARDWARE,
	AT402_VIN,
	AT402_PROTOCOL,
	AT402_IMSI,
	AT402_ICCID,
	AT402_FACTS
} At402Fact;

/* A device whose frames are in the batch. */
typedef struct At402Device
{
	char		imei[AT402_SENDER_SIZE];	/* key */
	int			id;				/* 0: not in at402.device */
	bool		enabled;
	TimestampTz first_seen;		/* when the first frame of the batch came */
	const char *known[AT402_FACTS]; /* what at402.device says; NULL: nothing */
	const char *said[AT402_FACTS];	/* what the batch says; NULL: nothing */
	bool		has_row;		/* in at402.device_state, as this attempt to store found */
	bool		has_state;		/* there were reports before: the last one's */
	TimestampTz state_time;
	bool		state_ignition;
	bool		placed;			/* its state has told where it was: */
	TimestampTz fix_time;		/* DT_NOBEGIN: it has had no good position */
	int			fix_seq;
	double		fix_longitude;
	double		fix_latitude;
	struct At402Rejection *rejection;	/* why it could not be looked up or stored */
} At402Device;

/* Why something could not be stored. */
typedef struct At402Rejection
{
	const char *sqlstate;
	const char *message;
} At402Rejection;

typedef struct At402Item
{
	const at402_input *input;
	at402_packet packet;		/* where it is a packet */
	char		imei[AT402_SENDER_SIZE];	/* of the sender; "" when unknown or impossible */
	At402Device *device;		/* NULL: has none, or needs none */
	At402Disposition disposition;
	const char *reason;			/* of quarantine or refusal: a word, */
	const char *sqlstate;		/* the error, where one was raised; */
	const char *message;		/* and a sentence */
	List	   *rejected;		/* of At402Report: those that are kept out, while
								 * the others become rows */
	bool		kept;			/* its frame is in at402.frame */
	int			emitted;		/* last pass over the frames that had it */
} At402Item;

typedef struct At402Report
{
	At402Item  *item;
	at402_report report;
	int			number;			/* in the batch, as they came */
	TimestampTz time;
	int32		content_hash;
	uint32		homes;			/* AT402_HOME_ flags of its modules */
	bool		has_point;
	bool		was_fixed;		/* the receiver has had a fix since it was made */
	double		longitude;		/* degrees, as sent */
	double		latitude;
	bool		late;			/* came after a younger one of its device */
	bool		time_suspect;	/* its clock is far ahead, or was never set */
	bool		ignition;
	bool		ignition_changed;	/* since the report before */
	bool		is_new;			/* not stored before: its rows go into all tables */
	int			fence_events;	/* rows in event that geofences brought */
	struct At402Report *repeat; /* the same report in another frame of the batch */
	At402Rejection *rejection;	/* why it is kept out; NULL: it is not */
} At402Report;

/* A tracker came or went. */
typedef struct At402Presence
{
	char		imei[AT402_SENDER_SIZE];
	bool		connected;
	TimestampTz at;
	int			device_id;		/* 0: not in at402.device */
	bool		has_row;		/* in at402.device_state */
	bool		changed;		/* that row, by this */
	At402Rejection *rejection;	/* why it could not be stored */
} At402Presence;

typedef struct At402Batch
{
	int64		handle;			/* names it in SQL, see rows.c */
	dlist_node	node;
	MemoryContext context;		/* of everything below */
	int			listener;		/* number of the worker; 0: SQL */
	bool		releasing;		/* the frames are in quarantine already */
	List	   *items;			/* of At402Item */
	HTAB	   *devices;		/* of At402Device, by IMEI */
	At402Presence **presence;
	int			presence_count;
	At402Report **reports;		/* sorted by key, without repeats */
	int			report_count;
	int			first;			/* the slice that is being stored */
	int			last;
	int			passes;			/* over the frames, see rows.c */
	struct At402StateChange *state_change;	/* see state.c */
	bool		fenced;			/* geofences judge the slice */
	struct At402Fences *fences; /* while they do */
	bool		any_late;
	bool		any_stored_flag;	/* a device sends from its memory: repeats are likely */
	int			attempts;		/* to store these frames that failed before, in a row */
	int			passed;			/* reports or devices that could be stored */
	ErrorData  *undecided;		/* an error that may be the environment's or that of
								 * what raised it: nothing else has passed yet */

	int			reports_seen;	/* results */
	int			inserted;
	int			duplicates;
	int			quarantined;	/* reports and whole frames */
	const char *first_reason;	/* of what is in quarantine */
	const char *first_message;
} At402Batch;

/* An empty batch in a memory context of its own below the current one. */
extern At402Batch *at402_batch_create(void);
extern void at402_batch_destroy(At402Batch *batch);

/*
 * Adds a frame, reads it and decides what becomes of it as far as that needs no
 * database.  The input must stay until the batch is gone.
 */
extern At402Item *at402_batch_add(At402Batch *batch, const at402_input *input);

/* The frame goes to quarantine, for a reason in a word and in a sentence. */
extern void at402_quarantine(At402Item *item, const char *reason, const char *message);

/* The same, where it was to be stored, but has failed alone with this error time and again. */
extern void at402_reject(At402Item *item, const char *sqlstate, const char *message);

/* What became of it, when the batch is stored. */
extern At402Verdict at402_verdict(const At402Item *item);

/* Is its position good: valid, and a place on earth? */
extern bool at402_is_fix(const At402Report *report);

/* How many rows it brings into event by itself. */
extern int	at402_event_count(const At402Report *report);

/* Is another batch being stored, for whose rows a trigger is storing this one? */
extern bool at402_batch_is_nested(void);

/* Frees what outlives batches; when that other batch may use it, at the end of the transaction. */
extern void at402_batch_discard(MemoryContext context);

/* The batch with this handle; ERROR when there is none. */
extern At402Batch *at402_batch_find(int64 handle);

/*
 * Sorts the reports of all items that become rows, and takes repeats out.  The
 * items must have their devices.
 */
extern void at402_batch_collect(At402Batch *batch);

/* The first report of this device in the slice, -1: it has none; and how many of its device
 * begin there. */
extern int	at402_first_of_device(const At402Batch *batch, int device_id);
extern int	at402_reports_of_device(const At402Batch *batch, int first);

/* Sees what is late in the slice and where the ignition changed; the states before it must be
 * known. */
extern void at402_see_changes(At402Batch *batch);

#endif							/* AT402_BATCH_H */
