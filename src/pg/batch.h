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

#include "core/at402.h"

#define AT402_SENDER_TEXT 32	/* IMEI as a login line had it, cut to this */

/* What is done with a frame as a whole. */
typedef enum At402Fate
{
	AT402_FATE_ROWS,			/* reports of a packet become rows */
	AT402_FATE_DEVICE,			/* login line: what it says of the device is kept */
	AT402_FATE_TEXT,			/* other text line: kept as a frame */
	AT402_FATE_QUARANTINE,
	AT402_FATE_IGNORED,			/* unknown device, and the settings say so */
	AT402_FATE_REFUSED,			/* nobody knows whose it is, or too many strangers
								 * at once: not stored, not answered */
} At402Fate;

typedef struct At402Item
{
	const uint8_t *bytes;
	size_t		length;
	at402_frame_kind kind;
	bool		logged_in;		/* a login line came before, or the sender was named */
	char		login_imei[AT402_SENDER_TEXT];	/* whose; "" */
	char		protocol;		/* letter of that login; 0 */
	TimestampTz received_at;
	const char *transport;		/* tcp, udp, sql */
	const char *peer;			/* numeric address; NULL */
	uint64		ticket;			/* the caller's */
	const char *rejected;		/* the caller wants it in quarantine, with this
								 * message; else NULL */

	at402_packet packet;		/* where kind is AT402_FRAME_PACKET */
	char		imei[AT402_SENDER_TEXT];	/* of the sender; "" when unknown or impossible */
	int			device_id;		/* 0: none */
	bool		has_state;		/* there were reports before: the last one's */
	TimestampTz state_time;
	bool		state_ignition;
	At402Fate	fate;
	const char *reason;			/* of the quarantine: a word, */
	char	   *sqlstate;		/* the error, where one was raised; */
	char	   *message;		/* and a sentence */
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
	double		longitude;		/* degrees, as sent */
	double		latitude;
	bool		late;			/* came after a younger one of its device */
	bool		time_suspect;	/* its clock is far ahead */
	bool		ignition;
	bool		ignition_changed;	/* since the report before; late ones: not known */
	bool		is_new;			/* not stored before: its rows go into all tables */
	struct At402Report *repeat; /* the same report in another frame of the batch */
	bool		quarantined;
	const char *sqlstate;		/* why */
	char	   *message;
} At402Report;

/* A tracker came or went. */
typedef struct At402Presence
{
	char		imei[AT402_SENDER_TEXT];
	bool		connected;
	TimestampTz at;
} At402Presence;

typedef struct At402Batch
{
	int64		handle;			/* names it in SQL, see rows.c */
	dlist_node	node;
	MemoryContext context;		/* of everything below */
	int			listener;		/* number of the worker; 0: SQL */
	bool		releasing;		/* the frames are in quarantine already */
	List	   *items;			/* of At402Item */
	List	   *presence;		/* of At402Presence */
	At402Report **reports;		/* sorted by key, without repeats */
	int			report_count;
	int			first;			/* the slice that is being stored */
	int			last;
	int			passes;			/* over the frames, see rows.c */
	bool		any_late;
	bool		any_stored_flag;	/* a device sends from its memory: repeats are likely */

	int			reports_seen;	/* results */
	int			inserted;
	int			duplicates;
	int			quarantined;
} At402Batch;

/* An empty batch in a memory context of its own below the current one. */
extern At402Batch *at402_batch_create(void);
extern void at402_batch_destroy(At402Batch *batch);

/*
 * Adds a frame whose sender and circumstances the caller has filled in, reads
 * it and decides its fate as far as that needs no database.  The bytes must
 * stay until the batch is gone.
 */
extern At402Item *at402_batch_add(At402Batch *batch, const At402Item *item);

/* The batch with this handle; ERROR when there is none. */
extern At402Batch *at402_batch_find(int64 handle);

/*
 * Sorts the reports of all items whose fate is rows, takes repeats out, and
 * sees what is late and where the ignition changed.  The items must have their
 * devices.
 */
extern void at402_batch_collect(At402Batch *batch);

#endif							/* AT402_BATCH_H */
