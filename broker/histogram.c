/* SPDX-License-Identifier: Apache-2.0 */
#include "histogram.h"

#include "proto/scalars.h"

#define US(n) ((n)*1000ull)

const struct histogram_bound histogram_bounds[HISTOGRAM_BOUNDS] = {
	{ US(10), "1e-05" },
	{ US(25), "2.5e-05" },
	{ US(50), "5e-05" },
	{ US(100), "0.0001" },
	{ US(250), "0.00025" },
	{ US(500), "0.0005" },
	{ NS_PER_MS, "0.001" },
	{ US(2500), "0.0025" },
	{ 5 * NS_PER_MS, "0.005" },
	{ 10 * NS_PER_MS, "0.01" },
	{ 25 * NS_PER_MS, "0.025" },
	{ 50 * NS_PER_MS, "0.05" },
	{ 100 * NS_PER_MS, "0.1" },
	{ 250 * NS_PER_MS, "0.25" },
	{ 500 * NS_PER_MS, "0.5" },
	{ NS_PER_S, "1.0" },
	{ 2500 * NS_PER_MS, "2.5" },
	{ 5 * NS_PER_S, "5.0" },
	{ 10 * NS_PER_S, "10.0" },
	{ 30 * NS_PER_S, "30.0" },
	{ 60 * NS_PER_S, "60.0" },
	{ 120 * NS_PER_S, "120.0" },
	{ 300 * NS_PER_S, "300.0" },
	{ 600 * NS_PER_S, "600.0" },
};

void
histogram_add(struct histogram *h, uint64_t ns)
{
	unsigned i = 0;

	while (i < HISTOGRAM_BOUNDS && ns > histogram_bounds[i].ns)
		i++;
	h->counts[i]++;
	h->sum_ns += ns;
}
