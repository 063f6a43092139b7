/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REAPER_LOOP_H
#define REAPER_LOOP_H

#include "proto/channel.h"
#include "work.h"

/* Says HELLO to the broker: what this kernel and this process can do. */
void loop_hello(struct channel *channel, const struct work *work);

/* Serves the broker until it closes the channel. Requests that were read are then finished if the
 * broker still listens. fatal() when it breaks the protocol. */
void loop_run(struct channel *channel, struct work *work);

#endif
