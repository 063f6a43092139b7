/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_SAY_H
#define BROKER_SAY_H

#include "ghosts.h"

/*
 * One readable line per act on standard error. It is a courtesy, the audit log is the record: above
 * some hundred lines a second the rest are counted and summed up in one.
 */

/* A request was answered, or would have been sent (observe). */
void say_result(const struct ghost *ghost, const struct record_result *result, mono_ns now);

/* A decision to leave the ghost alone. */
void say_left(const struct ghost *ghost, const struct decision *decision, mono_ns now);

/* No such lines any more: whoever reads them gets records. */
void say_silence(void);

/* Prints the sum of what was held back, if anything was. To be called about once a second and at
 * the end. */
void say_rest(void);

/* How many lines were, since the start. */
uint64_t say_held_back(void);

#endif
