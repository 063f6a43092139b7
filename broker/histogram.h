/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_HISTOGRAM_H
#define BROKER_HISTOGRAM_H

#include <stdint.h>

/* How often something took how long. Pure. From one look at a socket (microseconds) to the time
 * that a rule grants a ghost (minutes). */
#define HISTOGRAM_BOUNDS 24u

struct histogram {
	uint64_t
		counts[HISTOGRAM_BOUNDS + 1]; /* above the bound before, up to this one; the rest */
	uint64_t sum_ns;
};

struct histogram_bound {
	uint64_t ns;
	const char *seconds; /* as OpenMetrics has it */
};
extern const struct histogram_bound histogram_bounds[HISTOGRAM_BOUNDS];

void histogram_add(struct histogram *h, uint64_t ns);

#endif
