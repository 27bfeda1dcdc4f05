/*
 * sim_wire.c - the bytes that a tracker makes of what its vehicle does
 *
 * Written by hand from the protocol's description, not with the core's table
 * and encoder: a slip in the table then shows as a difference between the two
 * instead of being made twice.  Only the checksum is the core's.
 */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* Offsets in a report's header. */
#define MASK_AT 1
#define MASK_BYTES(letter) ((letter) == 'Y' ? 10 : 6)
#define STATUS_END(letter) ((letter) == 'Y' ? 27 : 17)

static void
put(sim_packet *p, uint64_t value, unsigned size)
{
	assert(p->length + size <= sizeof(p->bytes));
	while (size-- > 0)
		p->bytes[p->length++] = size < 8 ? (uint8_t) (value >> (8 * size)) : 0;
}

/* A number of so many units, held within what the bytes can say. */
static void
put_scaled(sim_packet *p, double value, double unit, unsigned size)
{
	put(p, (uint64_t) lround(fmin(fmax(value / unit, 0), ldexp(1, 8 * (int) size) - 1)), size);
}

/* Text of a fixed size, filled up with NULs. */
static void
put_text(sim_packet *p, const char *text, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		put(p, i < strlen(text) ? (uint8_t) text[i] : 0, 1);
}

/* A number already written, written over. */
static void
put_over(sim_packet *p, size_t offset, uint64_t value, unsigned size)
{
	size_t		length = p->length;

	p->length = offset;
	put(p, value, size);
	p->length = length;
}

/*
 * The modules of one report, in ascending order of their bits.  In Y each
 * starts with its length, known only when the next begins.
 */
typedef struct modules
{
	sim_packet *packet;
	bool		y;
	uint64_t	mask;			/* no bit above 63 is used */
	size_t		begin;
	unsigned	length_bytes;	/* of the open module; 0: none is open */
} modules;

static void
end_module(modules *m)
{
	if (m->length_bytes > 0)
		put_over(m->packet, m->begin, m->packet->length - m->begin, m->length_bytes);
	m->length_bytes = 0;
}

static void
begin_module(modules *m, unsigned bit)
{
	end_module(m);
	assert(m->mask >> bit == 0);
	m->mask |= (uint64_t) 1 << bit;
	if (m->y || bit == 45)		/* generic CAN has a length in X, too */
	{
		m->begin = m->packet->length;
		m->length_bytes = bit == 44 || bit == 45 ? 2 : 1;
		put(m->packet, 0, m->length_bytes);
	}
}

static void
put_gnss(modules *m, const sim_vehicle *v)
{
	sim_packet *p = m->packet;
	bool		good = v->tunnel_left == 0;

	begin_module(m, 1);
	put(p, (uint64_t) (v->fix.time - AT402_EPOCH_UNIX), 4);
	put(p, (uint64_t) lround(v->fix.latitude_deg * 1e6), 4);
	put(p, (uint64_t) lround(v->fix.longitude_deg * 1e6), 4);
	put_scaled(p, v->fix.speed_kmh, 2, 1);
	put_scaled(p, v->max_mps * 3.6, 2, 1);
	put(p, (uint64_t) (v->fix.heading_deg / 2), 1);
	put_scaled(p, v->fix.altitude_m, 20, 1);
	put_scaled(p, v->journey_m / 1000, 0.1, 2);
	if (m->y)
	{
		put(p, good ? 100 : 40, 1);
		put(p, good ? 9 + (unsigned) (8 * v->noise) : 2, 1);
		put_scaled(p, good ? 2 + 4 * v->noise : 50, 1, 1);
	}
}

/* FMS (bit 12) and OBD (bit 13) differ in their last field only. */
static void
put_engine(modules *m, const sim_vehicle *v)
{
	sim_packet *p = m->packet;
	bool		fms = v->can == SIM_FMS;
	bool		standing = v->max_mps == 0;
	double		top_rpm = fms ? 1900 : 3200;
	double		load = fmin(v->accel[0].max_mss * 30 + v->average_mps, 100);

	begin_module(m, fms ? 12 : 13);
	put_scaled(p, v->max_mps * 3.6, 1, 1);
	put_scaled(p, v->average_mps * 3.6, 1, 1);
	put_scaled(p, standing ? 800 : top_rpm - 400 * v->noise, 32, 1);
	put_scaled(p, standing ? 750 : 1000 + v->average_mps * 18, 32, 1);
	put_scaled(p, fmin(v->accel[0].max_mss * 40, 100), 1, 1);
	put_scaled(p, fmin(v->accel[0].max_mss * 15, 100), 1, 1);
	put_scaled(p, load, 1, 1);
	put_scaled(p, load / 2, 1, 1);
	put_scaled(p, v->journey_m / 1000, 0.1, 2);
	put_scaled(p, v->engine_c + 40, 1, 1);
	put(p, 0, 2);				/* status and events: bits unpublished */
	put(p, 0, 2);
	put_scaled(p, v->tank_percent, 1, 1);
	if (fms)
		put_scaled(p, v->fuel_l, m->y ? 0.001 : 0.5, 4);
	else
		put_scaled(p, v->journey_fuel_l, 0.1, 2);
}

static void
put_engine_at_stop(modules *m, const sim_vehicle *v)
{
	sim_packet *p = m->packet;
	bool		fms = v->can == SIM_FMS;

	begin_module(m, fms ? 15 : 16);
	put_scaled(p, v->odometer_m / 1000, 1, 3);
	put_scaled(p, v->engine_s / 3600, 1, 2);
	if (fms)
	{
		put(p, 11000 + v->number % 7 * 500, 2);	/* axle weight, kg */
		put_scaled(p, v->journey_fuel_l, 0.1, 2);
		put_scaled(p, v->idle_s / 4, 1, 2); /* cruise control, s */
		put_scaled(p, 40000 - fmod(v->odometer_m / 1000, 40000), 5, 2);
	}
	else
	{
		put(p, 0, 2);			/* how long and how far the warning lamp was */
		put(p, 0, 2);			/* on: never */
	}
}

static void
put_sensors(modules *m, const sim_vehicle *v)
{
	sim_packet *p = m->packet;

	begin_module(m, 32);		/* 6 slots: kind and valid bit, value */
	put(p, 0x81, 1);
	put(p, (uint64_t) lround(v->load_c * 100), 2);
	put(p, 0x82, 1);
	put_scaled(p, 65 + 10 * v->noise, 0.01, 2);
	put(p, 0, 3);
	put(p, 0, 3);
	put(p, 0, 3);
	put(p, 0, 3);
}

static void
put_beacons(modules *m, const sim_vehicle *v)
{
	sim_packet *p = m->packet;
	unsigned	count = 1 + (unsigned) (3 * v->noise);
	size_t		records;

	begin_module(m, 44);
	if (m->y)
		put(p, 0, 4);
	put(p, count, 1);
	records = p->length + 6;
	if (!m->y)
		put(p, 0, 2 + 4);		/* length of the records, and 4 reserved */
	for (unsigned i = 0; i < count; i++)
	{
		put(p, 0xC40212000000 + v->number * 4 + i, 6);
		put(p, (uint64_t) lround(-50 - 10.0 * i - 20 * v->noise), 1);
		put(p, i == 0, 1);		/* companion */
		put_scaled(p, 30 * v->noise, 1, 2);
		put(p, i == 1, 1);		/* kind of what follows: 1 is a height */
		put(p, i == 1 ? 2 : 0, 1);
		if (i == 1)
			put(p, 120, 2);
	}
	if (!m->y)
		put_over(p, records - 6, p->length - records, 2);
}

/* Two messages of J1939: engine speed (EEC1), wheel speed (CCVS1). */
static void
put_can_frames(modules *m, const sim_vehicle *v)
{
	sim_packet *p = m->packet;
	uint64_t	rpm = (uint64_t) lround((v->speed_mps == 0 ? 750 : 1000 + v->speed_mps * 18) * 8);
	uint64_t	kmh = (uint64_t) lround(v->speed_mps * 3.6 * 256);

	begin_module(m, 45);
	put(p, 0, 4);				/* reserved */
	put(p, 0x0CF00400, 4);
	put(p, 0xF07D7D, 3);
	put(p, (rpm & 0xFF) << 8 | rpm >> 8, 2);	/* little-endian, as J1939 is */
	put(p, 0xFFFFFF, 3);
	put(p, 0, 1);				/* age, s */
	put(p, 0x18FEF100, 4);
	put(p, 0xFF, 1);
	put(p, (kmh & 0xFF) << 8 | kmh >> 8, 2);
	put(p, 0xFFFFFFFFFF, 5);
	put(p, 1, 1);
}

static void
put_modules(modules *m, const sim_vehicle *v)
{
	sim_packet *p = m->packet;
	bool		start = v->reasons & SIM_JOURNEY_START;
	bool		stop = v->reasons & SIM_JOURNEY_STOP;
	bool		running = v->ignition && !start;

	begin_module(m, 0);
	put_scaled(p, v->external_v, m->y ? 0.1 : 0.2, m->y ? 2 : 1);
	put_scaled(p, v->battery_percent, 1, 1);
	put_gnss(m, v);
	begin_module(m, 2);
	put(p, v->outputs, 1);
	put(p, v->inputs, 1);
	put(p, v->output_changes, 1);
	put(p, v->changes, 1);
	begin_module(m, 3);
	put_scaled(p, 1000 * v->noise, 1, 2);
	put(p, 12, 2);
	if (running || stop)
	{
		begin_module(m, 4);
		for (int axis = 0; axis < 3; axis++)
		{
			put_scaled(p, v->accel[axis].max_mss, 0.1, 1);
			put_scaled(p, v->accel[axis].min_mss, 0.1, 1);
		}
		put_scaled(p, v->idle_s, 1, 2);
	}
	if (!m->y)
	{
		begin_module(m, 5);		/* signal: high nibble, satellites: low */
		put(p, (uint64_t) (6 + 8 * v->noise) << 4 |
			(v->tunnel_left ? 2 : (uint64_t) (7 + 7 * v->noise)), 1);
	}
	if (start)
	{
		begin_module(m, 6);
		put(p, 234, 2);			/* a British network */
		put(p, 10, 2);
		if (m->y)
		{
			put_scaled(p, 70 + 30 * v->noise, 1, 1);	/* -dBm */
			put(p, 2, 1);		/* LTE-M */
		}
	}
	if (v->reasons & SIM_GEOFENCE)
	{
		begin_module(m, 7);
		put(p, v->at_home ? 0x81 : 0x01, 1);	/* fence 1: entered, left */
	}
	if (start && v->driver != 0)
	{
		begin_module(m, 8);		/* an iButton: family, number, checksum */
		put(p, 1, 1);
		put(p, 0x01, 1);
		put(p, v->driver, 6);
		put(p, v->driver & 0xFF, 1);
	}
	if (start && v->can == SIM_FMS)
	{
		begin_module(m, 10);
		put(p, 11000 + v->number % 7 * 500, 2); /* axle weight, kg */
	}
	if (stop)
	{
		begin_module(m, 11);
		put_scaled(p, v->odometer_m / 1000, 1, 3);
		put_scaled(p, v->engine_s / 3600, 1, 2);
	}
	if (running && v->can != SIM_NO_CAN)
		put_engine(m, v);
	if (stop && v->can != SIM_NO_CAN)
	{
		if (v->can == SIM_OBD && v->number % 2 == 0)
		{
			begin_module(m, 14);	/* one trouble code, four places free */
			put_text(p, "P0420", 25);
		}
		put_engine_at_stop(m, v);
	}
	if (v->reasons & SIM_REBOOT)
	{
		char		iccid[32];

		snprintf(iccid, sizeof(iccid), "894410%014u", v->number);
		begin_module(m, 26);
		put(p, 234100000000000 + v->number, 7);
		begin_module(m, 27);
		put_text(p, iccid, 20);
	}
	if (v->cold)
		put_sensors(m, v);
	if (v->tagged)
		put_beacons(m, v);
	if (running && v->can == SIM_FMS)
		put_can_frames(m, v);
	end_module(m);
}

/* CRC-32C: reflected polynomial 0x82F63B78, start and final xor all ones. */
static int32_t
content_hash(const uint8_t *bytes, size_t length)
{
	uint32_t	crc = UINT32_MAX;

	while (length-- > 0)
	{
		crc ^= *bytes++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
	}
	return (int32_t) ~crc;
}

void
sim_packet_begin(sim_packet *p, char letter, const char *imei)
{
	p->length = 0;
	p->count = 0;
	put(p, (uint8_t) letter, 1);
	put(p, 0, 2);				/* length, see sim_packet_finish */
	put(p, 0, 1);				/* count */
	if (imei != NULL)
	{
		uint64_t	number = strtoull(imei, NULL, 10);

		put(p, number / 10000000, 4);
		put(p, number % 10000000, 3);
	}
}

bool
sim_packet_has_room(const sim_packet *p)
{
	return p->count < SIM_BUNDLE_MAX && sizeof(p->bytes) - p->length >= SIM_REPORT_MAX + 2;
}

void
sim_packet_add(sim_packet *p, const sim_vehicle *v)
{
	char		letter = (char) p->bytes[0];
	bool		y = letter == 'Y';
	sim_report *report = &p->reports[p->count++];
	modules		m = {.packet = p, .y = y};

	report->offset = p->length;
	report->time = v->time;
	report->seq = v->seq;
	put(p, v->seq, 1);
	put(p, 0, MASK_BYTES(letter));
	put(p, (uint64_t) (v->time - AT402_EPOCH_UNIX), 4);
	put(p, v->reasons, y ? 8 : 4);
	put(p, (v->ignition ? 1 << AT402_STATUS_IGNITION : 0) |
		(v->tunnel_left ? 1 << AT402_STATUS_GNSS_INVALID : 0), y ? 4 : 2);
	put_modules(&m, v);
	put_over(p, report->offset + MASK_AT, m.mask, MASK_BYTES(letter));
	assert(p->length - report->offset <= SIM_REPORT_MAX);
	report->content_hash = content_hash(p->bytes + report->offset, p->length - report->offset);
}

size_t
sim_packet_finish(sim_packet *p, bool stored, bool more_queued)
{
	uint16_t	crc;

	for (unsigned i = 0; i < p->count; i++)
	{
		uint8_t    *status = &p->bytes[p->reports[i].offset + STATUS_END(p->bytes[0]) - 1];

		*status &= (uint8_t) ~(1 << AT402_STATUS_STORED | 1 << AT402_STATUS_MORE_QUEUED);
		*status |= (uint8_t) (stored << AT402_STATUS_STORED |
							  more_queued << AT402_STATUS_MORE_QUEUED);
	}
	put_over(p, 1, p->length + 2, 2);
	put_over(p, 3, p->count, 1);
	crc = at402_crc16(p->bytes, p->length);
	put_over(p, p->length, crc, 2);
	return p->length + 2;
}

size_t
sim_login(char line[SIM_LOGIN_MAX], char letter, const char *imei, unsigned number)
{
	char		vin[18] = "";

	if (number % 4 != 3)		/* not every installer types it in */
		snprintf(vin, sizeof(vin), "SA9AT402000%06u", number % 1000000);
	return (size_t) snprintf(line, SIM_LOGIN_MAX, "$ASTRA;AT402;%s;%s;7.0.70.3;%c;1;8A1B\r\n",
							 imei, vin, letter);
}
