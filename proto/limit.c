/* SPDX-License-Identifier: Apache-2.0 */
#include "limit.h"

#define TOKEN NS_PER_S

static uint64_t
smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* No product here overflows: rate <= 1e7 and elapsed <= 1e9. */
static void
limit_settle(struct limit *l, mono_ns now)
{
	uint64_t elapsed = now.ns > l->settled.ns ? now.ns - l->settled.ns : 0;

	l->credit = smaller(l->credit + smaller(elapsed, NS_PER_S) * l->rate, l->rate * TOKEN);
	if (elapsed > 0)
		l->settled = now;
}

void
limit_init(struct limit *l, uint64_t ceiling, mono_ns now)
{
	ceiling = smaller(ceiling, LIMIT_CEILING_MAX);
	*l = (struct limit){
		.ceiling = ceiling,
		.rate = ceiling,
		.credit = ceiling * TOKEN,
		.settled = now,
	};
}

void
limit_set(struct limit *l, uint64_t rate, mono_ns now)
{
	limit_settle(l, now);
	l->rate = smaller(rate, l->ceiling);
	l->credit = smaller(l->credit, l->rate * TOKEN);
}

uint64_t
limit_wait(const struct limit *l, mono_ns now)
{
	struct limit then = *l;

	limit_settle(&then, now);
	if (then.credit >= TOKEN)
		return 0;
	return then.rate == 0 ? UINT64_MAX : (TOKEN - then.credit + then.rate - 1) / then.rate;
}

bool
limit_take(struct limit *l, mono_ns now)
{
	limit_settle(l, now);
	if (l->credit < TOKEN)
		return false;
	l->credit -= TOKEN;
	return true;
}
