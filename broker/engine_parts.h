/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_ENGINE_PARTS_H
#define BROKER_ENGINE_PARTS_H

#include "engine.h"

/* What the parts of the engine ask of each other. Not for anybody else. */

/* ---- decide.c ---- */

/* Decides a fresh ghost: records, and moves it on. */
void decide_ghost(struct engine *e, struct ghost *ghost, mono_ns now);

/* Goes on with a ghost whose look has been taken into its proof. */
void decide_look(
	struct engine *e, struct ghost *ghost, const struct wire_sampled *look, mono_ns now);

/* Writes the `destroy` record and the line. */
void decide_result(struct engine *e, const struct ghost *ghost, const struct record_result *result,
	mono_ns now);

/* Units whose hold is over are recorded, and their ghosts decided anew. */
void decide_held(struct engine *e, mono_ns now);

/* In which states the policy would destroy this ghost: the reaper may find it further on than the
 * rule that matched. TIME-WAIT counts only where a rule names it. */
uint32_t decide_states(const struct engine *e, const struct ghost *ghost, mono_ns now);

/* Left alone, and remembered so that a reconcile does not report it once more. */
void decide_leave(struct engine *e, struct ghost *ghost);

/* ---- requests.c ---- */

/* Sends what is to be sampled and what is decided; call only when the log has it. True when the
 * channel is full. */
bool requests_send(struct engine *e, mono_ns now);

/* ---- adopt.c ---- */

/* Wants a reconcile at `due`; an earlier one that is wanted already stays. */
void adopt_want(struct engine *e, const char *reason, mono_ns due);

/* Sends a reconcile that is due. True when the channel is full. */
bool adopt_send(struct engine *e, mono_ns now);

#define RECONCILE_PERIOD_NS (60 * NS_PER_S)
/* A loss means a storm: what it left is looked for when it has had a moment to pass, and not more
 * often than that. */
#define RECONCILE_PAUSE_NS NS_PER_S

#endif
