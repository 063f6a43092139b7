/* SPDX-License-Identifier: Apache-2.0 */
#include "keyed.h"

#include <stdint.h>
#include <string.h>
#include <sys/random.h>

static uint64_t secret[2];

void
keyed_start(void)
{
	if (secret[0] == 0 && getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		fatal("cannot draw random numbers");
}

/* Multiply and fold, after mixing in what nobody outside knows. */
unsigned
keyed_hash(const void *key, size_t len)
{
	uint64_t hash = secret[0], word;

	for (size_t i = 0; i + sizeof(word) <= len; i += sizeof(word)) {
		memcpy(&word, (const char *)key + i, sizeof(word));
		hash = (hash ^ word) * (secret[1] | 1);
		hash ^= hash >> 29;
	}
	return (unsigned)(hash >> 32);
}
