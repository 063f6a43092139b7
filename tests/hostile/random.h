/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HOSTILE_RANDOM_H
#define TESTS_HOSTILE_RANDOM_H

#include <stdint.h>

/* xorshift64*: the same run again for the same seed. */
static uint64_t random_state = 88172645463325252ull;

static inline uint64_t
random_next(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 2685821657736338717ull;
}

static inline uint64_t
random_below(uint64_t n)
{
	return random_next() % n;
}

/* True once in n times. */
static inline int
random_once_in(uint64_t n)
{
	return random_below(n) == 0;
}

#endif
