/*
 * fence_shape.h - the shapes of geofences that reports are near, in the memory of the backend
 */
#ifndef AT402_FENCE_SHAPE_H
#define AT402_FENCE_SHAPE_H

#include "datatype/timestamp.h"

/* A row of at402.geofence_version. */
typedef struct At402Shape
{
	int			geofence_id;
	TimestampTz since;			/* it is valid; DT_NOBEGIN: always was */
	TimestampTz until;			/* DT_NOEND: still */
	const char *name;			/* NULL: it has none */
	double		radius_m;
	double		hysteresis_m;
	Interval	min_dwell;
	Datum		geom;			/* geometry */
	struct At402Shape *other;	/* of the same geofence */
} At402Shape;

/* Forgets all of them: the geofences have changed. */
extern void at402_fence_shapes_forget(void);

/* Forgets them where they take much room: before a batch is judged. */
extern void at402_fence_shapes_limit(void);

/* Reads the shapes of these geofences that are not there yet; SPI must be connected. */
extern void at402_fence_shapes_read(const int *geofence_ids, int count);

/* The shape that a geofence, which was read, had at this time; NULL: none. */
extern const At402Shape *at402_fence_shape(int geofence_id, TimestampTz at);

#endif							/* AT402_FENCE_SHAPE_H */
