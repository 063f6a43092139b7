/* SPDX-License-Identifier: Apache-2.0 */
#include "proof.h"

static uint64_t
interval(uint64_t grace_ns)
{
	return grace_ns < PROOF_INTERVAL_MIN_NS ? PROOF_INTERVAL_MIN_NS : grace_ns;
}

/* Another state is progress, too: the FIN was acknowledged, or the peer's arrived. */
static bool
moved(const struct proof_look *before, const struct wire_sampled *now)
{
	return now->state != before->state || wire_progress_made(&before->progress, &now->progress);
}

bool
proof_agrees(const struct proof *proof, const struct wire_sampled *look)
{
	const struct proof_look *first = &proof->first;
	bool mini = look->mini != 0, was_mini = first->progress.timer == WIRE_TIMER_MINI;

	if (first->at.ns == 0 || look->found != WIRE_FOUND_ORPHAN)
		return true;
	if ((TCP_STATE_BIT(look->state) & tcp_states_after(first->state)) == 0)
		return false;
	if (mini || was_mini)
		return mini; /* never a full one again */
	return look->progress.bytes_acked >= first->progress.bytes_acked;
}

enum proof_step
proof_take(struct proof *proof, const struct wire_sampled *look, uint64_t grace_ns)
{
	struct proof_look taken = {
		.at = { look->sampled_mono_ns }, .progress = look->progress, .state = look->state
	};

	if (proof->first.at.ns == 0 || moved(&proof->first, look)) {
		proof->first = taken;
		proof->second = (struct proof_look){ 0 };
		return PROOF_BEGUN;
	}
	if (taken.at.ns < proof->first.at.ns + interval(grace_ns))
		return PROOF_EARLY;
	proof->second = taken;
	return look->state == TCP_STATE_FIN_WAIT2 ? PROOF_NOTHING : PROOF_STUCK;
}

mono_ns
proof_next(const struct proof *proof, uint64_t grace_ns)
{
	return (mono_ns){ proof->first.at.ns + interval(grace_ns) };
}
