/* SPDX-License-Identifier: Apache-2.0 */
#include "chain.h"

#include <nettle/sha2.h>
#include <string.h>

#define MEMBER	      ",\"event.hash\":\""
#define MEMBER_LEN    (sizeof(MEMBER) - 1)
#define LINE_END      "\"}"
#define LINE_END_LEN  (sizeof(LINE_END) - 1)
#define SEQUENCE_MAX  19u /* digits: below 10^19 nothing overflows */
#define ACTION_MAX    32u
#define TIMESTAMP_MAX 40u

_Static_assert(MEMBER_LEN + CHAIN_DIGITS + 1 == CHAIN_MEMBER_LEN, "hash member");

const char chain_origin[CHAIN_LEN] =
	"0000000000000000000000000000000000000000000000000000000000000000";

void
chain_next(char hash[CHAIN_LEN], const char *body, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx sha;

	sha256_init(&sha);
	sha256_update(&sha, CHAIN_DIGITS, (const uint8_t *)hash);
	sha256_update(&sha, len, (const uint8_t *)body);
	sha256_digest(&sha, sizeof(digest), digest);
	for (unsigned i = 0; i < sizeof(digest); i++) {
		hash[2 * i] = hex[digest[i] >> 4];
		hash[2 * i + 1] = hex[digest[i] & 15];
	}
	hash[CHAIN_DIGITS] = '\0';
}

size_t
chain_append(char hash[CHAIN_LEN], char *line, size_t len)
{
	size_t body = len - 2; /* without "}\n" */
	char *end = line + body;

	chain_next(hash, line, body);
	memcpy(end, MEMBER, MEMBER_LEN);
	memcpy(end + MEMBER_LEN, hash, CHAIN_DIGITS);
	memcpy(end + MEMBER_LEN + CHAIN_DIGITS, LINE_END "\n", LINE_END_LEN + 1);
	return len + CHAIN_MEMBER_LEN;
}

/* ---- reading -----------------------------------------------------------------------------------
 */

struct reader {
	const char *at, *end;
};

static bool
text_take(struct reader *r, const char *text)
{
	size_t len = strlen(text);

	if ((size_t)(r->end - r->at) < len || memcmp(r->at, text, len) != 0)
		return false;
	r->at += len;
	return true;
}

/* Up to the next quote, which is taken, too. False when it is not within max bytes. */
static bool
word_take(struct reader *r, size_t max, const char **word, size_t *len)
{
	size_t left = (size_t)(r->end - r->at);
	const char *quote = memchr(r->at, '"', left < max ? left : max);

	if (quote == NULL)
		return false;
	*word = r->at;
	*len = (size_t)(quote - r->at);
	r->at = quote + 1;
	return true;
}

static bool
number_take(struct reader *r, uint64_t *value)
{
	unsigned digits = 0;

	*value = 0;
	for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
		if (++digits > SEQUENCE_MAX)
			return false;
		*value = *value * 10 + (uint64_t)(*r->at - '0');
	}
	return digits != 0 && *value <= INT64_MAX; /* what readers have room for */
}

static bool
hash_valid(const char *hash)
{
	for (unsigned i = 0; i < CHAIN_DIGITS; i++) {
		bool digit =
			(hash[i] >= '0' && hash[i] <= '9') || (hash[i] >= 'a' && hash[i] <= 'f');

		if (!digit)
			return false;
	}
	return true;
}

/* The hash is the last member, at a place that is known from the end. */
static bool
hash_read(const char *line, size_t len, struct chain_line *out)
{
	const char *member = line + len - LINE_END_LEN - CHAIN_DIGITS - MEMBER_LEN;

	if (len < LINE_END_LEN + CHAIN_DIGITS + MEMBER_LEN)
		return false;
	out->body_len = (size_t)(member - line);
	out->hash = member + MEMBER_LEN;
	return memcmp(member, MEMBER, MEMBER_LEN) == 0 && hash_valid(out->hash) &&
	       memcmp(out->hash + CHAIN_DIGITS, LINE_END, LINE_END_LEN) == 0;
}

bool
chain_line_read(const char *line, size_t len, struct chain_line *out)
{
	struct reader r = { line, line + len };
	const char *time;
	size_t time_len;

	return hash_read(line, len, out) && text_take(&r, "{\"@timestamp\":\"") &&
	       word_take(&r, TIMESTAMP_MAX, &time, &time_len) &&
	       text_take(&r, ",\"event.sequence\":") && number_take(&r, &out->sequence) &&
	       text_take(&r, ",\"event.action\":\"") &&
	       word_take(&r, ACTION_MAX, &out->action, &out->action_len) &&
	       r.at <= line + out->body_len;
}

bool
chain_action_is(const struct chain_line *line, const char *action)
{
	return line->action_len == strlen(action) &&
	       memcmp(line->action, action, line->action_len) == 0;
}

/* ---- what `log-open` says of what was before ---------------------------------------------------
 */

/* Behind the first `text`, NULL when it is not there. Text of others cannot look like a member: its
 * quotes are escaped. */
static const char *
behind(const char *at, const char *end, const char *text)
{
	const char *found = at == NULL ? NULL : memmem(at, (size_t)(end - at), text, strlen(text));

	return found == NULL ? NULL : found + strlen(text);
}

bool
chain_previous_hash(const char *body, size_t len, char hash[CHAIN_LEN])
{
	const char *end = body + len;
	const char *digits = behind(body, end, "\"eghostbuster.log.previous\":{");

	digits = behind(digits, end, "\"hash\":\"");
	memcpy(hash, chain_origin, CHAIN_LEN);
	if (digits == NULL || (size_t)(end - digits) < CHAIN_DIGITS)
		return false;
	memcpy(hash, digits, CHAIN_DIGITS);
	return true;
}

/* ---- the end of a file -------------------------------------------------------------------------
 */

void
chain_walk_begin(struct chain_walk *w, const char *bytes, size_t len, bool whole)
{
	const char *newline = len == 0 ? NULL : memrchr(bytes, '\n', len);
	const char *rest = newline == NULL ? bytes : newline + 1;
	struct chain_line r;

	*w = (struct chain_walk){ .bytes = bytes, .end = newline, .whole = whole };
	w->torn = len - (size_t)(rest - bytes);
	w->unended = (newline != NULL || whole) && chain_line_read(rest, w->torn, &r);
	if (w->unended) {
		w->torn = 0;
		w->end = bytes + len;
	}
}

bool
chain_walk_line(struct chain_walk *w, const char **line, size_t *len)
{
	const char *before;

	if (w->end == NULL)
		return false;
	before = memrchr(w->bytes, '\n', (size_t)(w->end - w->bytes));
	if (before == NULL && !w->whole)
		return false;
	*line = before == NULL ? w->bytes : before + 1;
	*len = (size_t)(w->end - *line);
	w->end = before;
	return true;
}

void
chain_tail_read(const char *bytes, size_t len, bool whole, struct chain_tail *out)
{
	struct chain_walk walk;
	struct chain_line line;
	const char *begin;
	size_t n;

	chain_walk_begin(&walk, bytes, len, whole);
	*out = (struct chain_tail){ .torn = walk.torn, .unended = walk.unended };
	memcpy(out->hash, chain_origin, sizeof(out->hash));
	while (chain_walk_line(&walk, &begin, &n)) {
		if (!chain_line_read(begin, n, &line) || line.sequence > CHAIN_SEQUENCE_MAX) {
			out->foreign = true;
			continue;
		}
		out->found = true;
		out->sequence = line.sequence;
		memcpy(out->hash, line.hash, CHAIN_DIGITS);
		out->closed = chain_action_is(&line, "log-close") && !out->foreign &&
			      out->torn == 0 && !out->unended;
		return;
	}
}
