/* SPDX-License-Identifier: Apache-2.0 */
#include "kept.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "build_id.h"

/* FNV-1a: a label, not a proof. Who could forge a name in the store can do anything. */
static uint64_t
fnv(uint64_t hash, const void *bytes, size_t len)
{
	const unsigned char *b = bytes;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ b[i]) * 0x100000001b3ull;
	return hash;
}

void
kept_tag(char tag[KEPT_TAG_LEN], uint32_t netns, uint32_t ring_bytes)
{
	uint64_t hash = fnv(0xcbf29ce484222325ull, bpf_object_hash, strlen(bpf_object_hash));

	hash = fnv(hash, &netns, sizeof(netns));
	hash = fnv(hash, &ring_bytes, sizeof(ring_bytes));
	snprintf(tag, KEPT_TAG_LEN, "%016llx", (unsigned long long)hash);
}

void
kept_name(char name[KEPT_NAME_LEN], const char *tag, enum kept_part part)
{
	static const char *const parts[KEPT_PARTS] = {
		[KEPT_RING] = "ring",
		[KEPT_COUNTERS] = "counters",
		[KEPT_EXIT] = "exit",
		[KEPT_STATE] = "state",
	};

	snprintf(name, KEPT_NAME_LEN, KEPT_PREFIX "%s-%s", tag, parts[part]);
}
