/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_SERVICE_H
#define BROKER_SERVICE_H

#include "args.h"
#include "policy.h"

/*
 * The event loop: what comes in from the roles, the clock, signals and eghostctl, and the service's
 * life from the roles' HELLO to the last record.
 */

/* Before the filter: makes the loop, takes the signals, opens the channels. Fatal on failure. */
void service_open(const struct args *args, struct policy *policy);

/* After the filter: runs until an ordered stop (returns 0) or until a role is lost (returns 1). */
int service_run(void);

#endif
