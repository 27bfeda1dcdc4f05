/*
 * input.h - a frame on its way in, and who sent it
 *
 * Made where the frame is cut off: by net, or from an array in SQL.  From there to
 * the rows it is one thing: the listener's queue keeps it, a batch reads it.
 */
#ifndef AT402_INPUT_H
#define AT402_INPUT_H

#include "at402.h"

#define AT402_PEER_SIZE 52		/* an address as text, with its mask where SQL gives one */
#define AT402_SENDER_SIZE 32	/* IMEI as sent in a login, cut to this */

/* Who sent it, as far as the connection or datagram tells. */
typedef struct at402_origin
{
	uint64_t	ticket;			/* net's name for it; 0: it is not from net */
	char		peer[AT402_PEER_SIZE];	/* numeric, without a zone; IPv4-mapped shown as
										 * IPv4; "": not known */
	uint16_t	peer_port;
	bool		logged_in;		/* a login line came before (or is the frame), or SQL
								 * named the sender; never of a datagram */
	char		protocol;		/* letter of that login; 0 */
	char		imei[AT402_SENDER_SIZE];	/* of that login; may be impossible; "" without.  Of
											 * a datagram: of a login line before it therein;
											 * of a text line in the queue: whoever speaks there */
} at402_origin;

typedef struct at402_input
{
	at402_origin from;
	const char *transport;		/* tcp, udp; from SQL any word */
	const uint8_t *bytes;		/* one complete frame with good CRC */
	size_t		length;
	at402_frame_kind kind;
	int64_t		received_at;	/* as PostgreSQL's TimestampTz; not set by net */
} at402_input;

/*
 * Takes what a login line says of the sender into from: IMEI and protocol, with "?"
 * for what is not printable ASCII.
 */
extern void at402_input_login(at402_input *input);

#endif							/* AT402_INPUT_H */
