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

/* ---- batch.c ---- */

/* A ghost that is to be destroyed, and for whose records `account` cannot pay: it waits in a batch.
 */
void batch_add(struct engine *e, struct budget_account *account, struct ghost *ghost,
	const struct decision *decision, mono_ns now);

/* The same for one that is left alone: it is counted. */
void batch_leave(struct engine *e, struct budget_account *account, struct ghost *ghost,
	const struct decision *decision, mono_ns now);

/* What came of a ghost that is in a batch; it leaves it. */
void batch_result(struct engine *e, struct ghost *ghost, const struct record_result *result);

/* A ghost is decided anew: it leaves its batch, if it is in one. */
void batch_withdraw(struct engine *e, struct ghost *ghost);

/* Closes what is due. Not while the log cannot be written. */
void batches_turn(struct engine *e, mono_ns now);

/* The last records there will be. */
void batches_end(struct engine *e, mono_ns now);

/* ---- requests.c ---- */

/* When more may be asked of the reaper than its rate limit allows now: nanoseconds from `now`.
 * False when nothing waits for that. */
bool requests_due(const struct engine *e, mono_ns now, uint64_t *in_ns);

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
/* So many that were not complete are repeated after that pause, further ones after twice the last.
 */
#define RECONCILE_QUICK 8u
/* A look at a table that somebody has made long keeps the reaper from its work: so many times what
 * the last one took passes until the next. */
#define RECONCILE_SHARE	       4u
#define RECONCILE_PAUSE_MAX_NS (10 * NS_PER_S)

#endif
