/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HOSTILE_TARGET_H
#define TESTS_HOSTILE_TARGET_H

#include <stdint.h>

#include "proto/wire.h"

/* What hostile peers aim at: a file of these is written by who makes the host. */

enum target_kind {
	TARGET_BYSTANDER, /* of the service's namespace, of any kind but the next */
	TARGET_ORPHAN,	  /* a true ghost */
	TARGET_ELSEWHERE, /* of another namespace, called the service's own */
};

struct target {
	struct wire_tuple tuple;
	uint64_t cookie;
	uint32_t kind;	/* enum target_kind */
	uint32_t state; /* enum tcp_state when it was written down */
};

#define TARGETS_MAX 16384u

#endif
