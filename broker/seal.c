/* SPDX-License-Identifier: Apache-2.0 */
#include "seal.h"

#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

#define MEMBER	   ",\"eghostbuster.seal\":\""
#define MEMBER_LEN (sizeof(MEMBER) - 1)
#define EPOCH_MAX  13u /* digits */

#define LABEL_FIRST "eghostbuster seal key of a root"
#define LABEL_NEXT  "eghostbuster seal key"
#define LABEL_ROOT  "eghostbuster seal root"

_Static_assert(SEAL_KEY_LEN == SHA256_DIGEST_SIZE, "a key is a hash");
_Static_assert(SEAL_DIGITS == CHAIN_DIGITS, "a MAC is as long as a hash");
_Static_assert(MEMBER_LEN + EPOCH_MAX + 1 + SEAL_DIGITS + 1 == SEAL_MEMBER_MAX, "seal member");
_Static_assert(SEAL_EPOCH_MAX < 10000000000000u, "an epoch has 13 digits at most");

/* ---- keys --------------------------------------------------------------------------------------
 */

static void
derive(uint8_t out[SEAL_KEY_LEN], const char *label, const uint8_t in[SEAL_KEY_LEN])
{
	struct sha256_ctx sha;

	sha256_init(&sha);
	sha256_update(&sha, strlen(label), (const uint8_t *)label);
	sha256_update(&sha, SEAL_KEY_LEN, in);
	sha256_digest(&sha, SEAL_KEY_LEN, out);
	explicit_bzero(&sha, sizeof(sha));
}

/* The first key of a root's, and the root after it. */
static void
root_open(struct seal_key *k, const uint8_t root[SEAL_KEY_LEN])
{
	derive(k->key, LABEL_FIRST, root);
	derive(k->root, LABEL_ROOT, root);
}

void
seal_begin(struct seal_key *k, const uint8_t root[SEAL_KEY_LEN])
{
	k->epoch = 0;
	root_open(k, root);
}

void
seal_next(struct seal_key *k)
{
	if (++k->epoch % SEAL_STRIDE == 0)
		root_open(k, k->root);
	else
		derive(k->key, LABEL_NEXT, k->key);
}

bool
seal_ahead(struct seal_key *k, uint64_t epoch)
{
	uint64_t root = epoch / SEAL_STRIDE;

	if (epoch < k->epoch || epoch > SEAL_EPOCH_MAX)
		return false;
	if (k->epoch / SEAL_STRIDE != root) {
		for (k->epoch = (k->epoch / SEAL_STRIDE + 1) * SEAL_STRIDE;
			k->epoch / SEAL_STRIDE != root; k->epoch += SEAL_STRIDE)
			derive(k->root, LABEL_ROOT, k->root);
		root_open(k, k->root);
	}
	while (k->epoch != epoch)
		seal_next(k);
	return true;
}

void
seal_wipe(struct seal_key *k)
{
	explicit_bzero(k, sizeof(*k));
}

/* ---- in records --------------------------------------------------------------------------------
 */

static void
hex_put(char *out, const uint8_t *bytes, size_t len)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = hex[bytes[i] >> 4];
		out[2 * i + 1] = hex[bytes[i] & 15];
	}
}

static void
mac_put(const struct seal_key *k, const char hash[CHAIN_LEN], char out[SEAL_DIGITS])
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct hmac_sha256_ctx hmac;
	char text[EPOCH_MAX + 1 + CHAIN_LEN];
	int len = snprintf(text, sizeof(text), "%llu:%.*s", (unsigned long long)k->epoch,
		(int)CHAIN_DIGITS, hash);

	hmac_sha256_set_key(&hmac, SEAL_KEY_LEN, k->key);
	hmac_sha256_update(&hmac, (size_t)len, (const uint8_t *)text);
	hmac_sha256_digest(&hmac, sizeof(digest), digest);
	explicit_bzero(&hmac, sizeof(hmac));
	hex_put(out, digest, sizeof(digest));
}

size_t
seal_append(struct seal_key *k, const char before[CHAIN_LEN], char hash[CHAIN_LEN], char *line,
	size_t len)
{
	size_t body = len - 2 - CHAIN_MEMBER_LEN;
	char *end = line + body;

	end += sprintf(end, MEMBER "%llu:", (unsigned long long)k->epoch);
	mac_put(k, hash, end);
	memcpy(end + SEAL_DIGITS, "\"}\n", 3);
	seal_next(k);
	memcpy(hash, before, CHAIN_LEN);
	return chain_append(hash, line, (size_t)(end + SEAL_DIGITS + 3 - line));
}

static bool
hex_valid(const char *digits)
{
	for (unsigned i = 0; i < SEAL_DIGITS; i++) {
		if (!((digits[i] >= '0' && digits[i] <= '9') ||
			    (digits[i] >= 'a' && digits[i] <= 'f')))
			return false;
	}
	return true;
}

/* From its end, which has a place that is known. The one way of writing an epoch. */
bool
seal_find(const char *body, size_t len, struct seal *seal)
{
	const size_t rest = 1 + SEAL_DIGITS + 1; /* :<mac>" */
	const char *end = body + len - rest, *digit = end;
	uint64_t weight = 1;

	if (len < MEMBER_LEN + 1 + rest || end[0] != ':' || body[len - 1] != '"')
		return false;
	seal->epoch = 0;
	while (digit > body && digit[-1] >= '0' && digit[-1] <= '9' &&
		(size_t)(end - digit) < EPOCH_MAX) {
		seal->epoch += weight * (uint64_t)(*--digit - '0');
		weight *= 10;
	}
	if (digit == end || (*digit == '0' && end - digit > 1) || seal->epoch > SEAL_EPOCH_MAX)
		return false;
	if ((size_t)(digit - body) < MEMBER_LEN ||
		memcmp(digit - MEMBER_LEN, MEMBER, MEMBER_LEN) != 0 || !hex_valid(end + 1))
		return false;
	seal->mac = end + 1;
	seal->body_len = (size_t)(digit - body) - MEMBER_LEN;
	return true;
}

bool
seal_right(const struct seal_key *k, const struct seal *seal, const char before[CHAIN_LEN],
	const char *body)
{
	char hash[CHAIN_LEN], mac[SEAL_DIGITS];

	if (k->epoch != seal->epoch)
		return false;
	memcpy(hash, before, sizeof(hash));
	chain_next(hash, body, seal->body_len);
	mac_put(k, hash, mac);
	return memeql_sec(mac, seal->mac, sizeof(mac)) != 0;
}

/* The hash before a record: as the record says itself, or the one before it, which comes next. */
static bool
before_read(struct chain_walk *walk, const char *line, const struct chain_line *r,
	char before[CHAIN_LEN])
{
	struct chain_line older;
	const char *at;
	size_t len;

	if (chain_action_is(r, "log-open")) {
		chain_previous_hash(line, r->body_len, before);
		return true;
	}
	while (chain_walk_line(walk, &at, &len)) {
		if (!chain_line_read(at, len, &older))
			continue;
		memcpy(before, older.hash, CHAIN_DIGITS);
		before[CHAIN_DIGITS] = '\0';
		return true;
	}
	return false;
}

void
seal_last_read(const char *bytes, size_t len, bool whole, struct seal_last *out)
{
	struct chain_walk walk;
	struct chain_line line;
	size_t n;

	memset(out, 0, sizeof(*out));
	chain_walk_begin(&walk, bytes, len, whole);
	while (chain_walk_line(&walk, &out->body, &n)) {
		if (!chain_line_read(out->body, n, &line) ||
			!seal_find(out->body, line.body_len, &out->seal))
			continue;
		out->found = true;
		out->known = before_read(&walk, out->body, &line, out->before);
		return;
	}
}

/* ---- at rest -----------------------------------------------------------------------------------
 */

#define STATE_EPOCH SEAL_MAGIC_LEN
#define STATE_KEY   (STATE_EPOCH + 8)
#define STATE_ROOT  (STATE_KEY + SEAL_KEY_LEN)
#define STATE_SUM   (STATE_ROOT + SEAL_KEY_LEN)

static void
state_sum(const uint8_t *state, uint8_t out[SHA256_DIGEST_SIZE])
{
	struct sha256_ctx sha;

	sha256_init(&sha);
	sha256_update(&sha, STATE_SUM, state);
	sha256_digest(&sha, SHA256_DIGEST_SIZE, out);
	explicit_bzero(&sha, sizeof(sha));
}

void
seal_state_write(const struct seal_key *k, uint8_t out[SEAL_STATE_LEN])
{
	memcpy(out, SEAL_MAGIC, SEAL_MAGIC_LEN);
	for (unsigned i = 0; i < 8; i++)
		out[STATE_EPOCH + i] = (uint8_t)(k->epoch >> (8 * i));
	memcpy(out + STATE_KEY, k->key, SEAL_KEY_LEN);
	memcpy(out + STATE_ROOT, k->root, SEAL_KEY_LEN);
	state_sum(out, out + STATE_SUM);
}

bool
seal_state_read(const uint8_t *bytes, size_t len, struct seal_key *k)
{
	uint8_t sum[SHA256_DIGEST_SIZE];

	if (len != SEAL_STATE_LEN || memcmp(bytes, SEAL_MAGIC, SEAL_MAGIC_LEN) != 0)
		return false;
	state_sum(bytes, sum);
	if (memcmp(sum, bytes + STATE_SUM, sizeof(sum)) != 0)
		return false;
	k->epoch = 0;
	for (unsigned i = 0; i < 8; i++)
		k->epoch |= (uint64_t)bytes[STATE_EPOCH + i] << (8 * i);
	memcpy(k->key, bytes + STATE_KEY, SEAL_KEY_LEN);
	memcpy(k->root, bytes + STATE_ROOT, SEAL_KEY_LEN);
	return k->epoch <= SEAL_EPOCH_MAX;
}

void
seal_root_print(const uint8_t root[SEAL_KEY_LEN], char out[SEAL_DIGITS + 1])
{
	hex_put(out, root, SEAL_KEY_LEN);
	out[SEAL_DIGITS] = '\0';
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int
nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool
seal_root_read(const char *text, size_t len, uint8_t root[SEAL_KEY_LEN])
{
	while (len > 0 && is_space(text[len - 1]))
		len--;
	for (; len > 0 && is_space(text[0]); len--)
		text++;
	if (len != SEAL_DIGITS)
		return false;
	for (unsigned i = 0; i < SEAL_KEY_LEN; i++) {
		int high = nibble(text[2 * i]), low = nibble(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		root[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
