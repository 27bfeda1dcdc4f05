/*
 * fence_tree.h - the envelopes of all geofences, in the memory of the backend
 */
#ifndef AT402_FENCE_TREE_H
#define AT402_FENCE_TREE_H

/* Where something is, in degrees. */
typedef struct At402Box
{
	double		west;
	double		south;
	double		east;
	double		north;
} At402Box;

typedef void (*At402FenceFound) (void *context, int geofence_id);

/* Forgets the tree: the geofences have changed. */
extern void at402_fence_tree_forget(void);

/*
 * Is there a tree that tells where so many more reports are?  It is made when
 * that is worth while; SPI must be connected.
 */
extern bool at402_fence_tree_knows(int reports);

/* Calls found for each shape whose envelope touches the box: now or formerly that of
 * this geofence. */
extern void at402_fence_tree_search(const At402Box *box, At402FenceFound found, void *context);

#endif							/* AT402_FENCE_TREE_H */
