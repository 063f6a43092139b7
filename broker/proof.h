/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_PROOF_H
#define BROKER_PROOF_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/scalars.h"
#include "proto/wire.h"

/*
 * When is an orphan stuck (I5)? When data or its FIN is outstanding and, between two looks at least
 * the rule's grace apart, the peer has neither acknowledged a byte nor allowed one more. Pure.
 */

/* Two looks closer than this prove nothing, whatever grace a rule gives: a retransmission or a
 * window update on its way needs some time to arrive. */
#define PROOF_INTERVAL_MIN_NS (100 * NS_PER_MS)

struct proof_look {
	mono_ns at; /* 0: not taken */
	struct wire_progress progress;
	uint8_t state;
};

struct proof {
	struct proof_look first, second;
};

enum proof_step {
	PROOF_BEGUN,   /* this look is the first, or shows progress: it is the new first */
	PROOF_EARLY,   /* nothing has moved, but the grace is not over */
	PROOF_STUCK,   /* both looks are set and prove it */
	PROOF_NOTHING, /* FIN-WAIT-2 over the grace: the peer has taken everything, it only has not
			  closed */
};

/* False when a look cannot be of the socket of which the first one is: its state lies before that
 * one's, bytes are no longer acknowledged, or a mini-socket has become a full one. */
bool proof_agrees(const struct proof *proof, const struct wire_sampled *look);

/* Takes one look into *proof. grace_ns below PROOF_INTERVAL_MIN_NS counts as that. */
enum proof_step proof_take(struct proof *proof, const struct wire_sampled *look, uint64_t grace_ns);

/* When the next look is worth taking. Only after proof_take(). */
mono_ns proof_next(const struct proof *proof, uint64_t grace_ns);

#endif
