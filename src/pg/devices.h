/*
 * devices.h - the devices that frames of a batch are from
 */
#ifndef AT402_DEVICES_H
#define AT402_DEVICES_H

#include "pg/batch.h"

/*
 * Gives the frames of the batch their devices, registers those that are unknown
 * and keeps what login lines say of them, as the settings ask.  A frame without
 * one, or whose device is disabled, is quarantined, ignored or refused.  Raises
 * what at402_store_batch raises.
 */
extern void at402_resolve_devices(At402Batch *batch);

/*
 * Keeps what new reports of the slice say of their devices (SIM card); SPI must
 * be connected.
 */
extern void at402_update_devices(At402Batch *batch);

#endif							/* AT402_DEVICES_H */
