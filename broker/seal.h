/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_SEAL_H
#define BROKER_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chain.h"

/*
 * Seals: what whoever takes over the host later cannot make, and so cannot make anew. Pure: used by
 * the broker, which seals, and by eghostctl(1), which makes keys and checks.
 *
 * The last record of each write to the log has a member eghostbuster.seal, "<epoch>:<mac>",
 *directly before event.hash. The MAC is the HMAC-SHA256, by the key of this epoch, of the text
 * "<epoch>:<hash>", in which hash is the event.hash that the record would have without its seal: so
 * it covers all records before it. Each epoch's key seals once. Then the next one is made of it,
 *and it is forgotten:
 *
 *	key of epoch 0     = SHA-256("eghostbuster seal key of a root", root 0)
 *	key of epoch e + 1 = SHA-256("eghostbuster seal key", key of epoch e), but where e + 1 is a
 *	                     multiple of SEAL_STRIDE made of root (e + 1) / SEAL_STRIDE as the first
 *	root r + 1         = SHA-256("eghostbuster seal root", root r)
 *
 * Root 0 is what `eghostctl seal-key` shows. The roots are for whoever checks: to come to the key
 *of epoch 10^9 takes some hundred thousand steps. The broker holds the key of the epoch and the
 *root that comes next, and from neither there is a way back.
 */

#define SEAL_KEY_LEN 32u
#define SEAL_DIGITS  (2u * SEAL_KEY_LEN)
#define SEAL_STRIDE  262144u

/* A thousand writes a second for thirty years. Coming that far takes a second, not hours. */
#define SEAL_EPOCH_MAX ((uint64_t)1 << 40)

struct seal_key {
	uint64_t epoch;
	uint8_t key[SEAL_KEY_LEN];
	uint8_t root[SEAL_KEY_LEN]; /* the next one */
};

/* Of epoch 0, from root 0. */
void seal_begin(struct seal_key *k, const uint8_t root[SEAL_KEY_LEN]);

/* To the next epoch: what was there is gone. */
void seal_next(struct seal_key *k);

/* To a later epoch, or this one. False, and nothing is changed, when there is no way there: back,
 * or behind SEAL_EPOCH_MAX. */
bool seal_ahead(struct seal_key *k, uint64_t epoch);

void seal_wipe(struct seal_key *k);

/* ---- in records --------------------------------------------------------------------------------
 */

/* So much is added to a line at most: ,"eghostbuster.seal":"<13 digits>:<64>" */
#define SEAL_MEMBER_MAX (22u + 13u + 1u + SEAL_DIGITS + 1u)

/*
 * Seals a whole record that has its hash ("...,"event.hash":"<64>"}\n", len bytes, with room for
 * SEAL_MEMBER_MAX more) and goes on to the next epoch. before: the hash of the record before it;
 * hash: its own, becomes the one it has with the seal. Returns the new length.
 */
size_t seal_append(struct seal_key *k, const char before[CHAIN_LEN], char hash[CHAIN_LEN],
	char *line, size_t len);

struct seal {
	uint64_t epoch;
	const char *mac; /* SEAL_DIGITS of them */
	size_t body_len; /* bytes of the line before the seal */
};

/* body: a line up to its hash member. False when it has no seal there, or none that a broker
 * writes. */
bool seal_find(const char *body, size_t len, struct seal *seal);

/* True when `seal` is the one of a record that follows the record with the hash `before`. k must be
 * of its epoch. */
bool seal_right(const struct seal_key *k, const struct seal *seal, const char before[CHAIN_LEN],
	const char *body);

/* The last seal of a log. */
struct seal_last {
	bool found;
	bool known; /* the record before it is there, too, and so `before` */
	struct seal seal;
	const char *body;
	char before[CHAIN_LEN];
};

/* bytes: as for chain_tail_read(); they have to stay for seal_right(). */
void seal_last_read(const char *bytes, size_t len, bool whole, struct seal_last *out);

/* ---- at rest -----------------------------------------------------------------------------------
 */

/* The file beside the log (SEAL_SUFFIX in proto/fds.h): {magic, epoch, key, root, SHA-256 of
 * these}, little-endian.
 */
#define SEAL_MAGIC     "eghostsl"
#define SEAL_MAGIC_LEN 8u
#define SEAL_STATE_LEN (SEAL_MAGIC_LEN + 8u + 3u * SEAL_KEY_LEN)

void seal_state_write(const struct seal_key *k, uint8_t out[SEAL_STATE_LEN]);

/* False when these bytes are no such file's, or damaged. */
bool seal_state_read(const uint8_t *bytes, size_t len, struct seal_key *k);

/* Root 0 as 64 hex digits, as it is shown; reading allows white space around them. */
void seal_root_print(const uint8_t root[SEAL_KEY_LEN], char out[SEAL_DIGITS + 1]);
bool seal_root_read(const char *text, size_t len, uint8_t root[SEAL_KEY_LEN]);

#endif
