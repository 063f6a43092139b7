/* SPDX-License-Identifier: Apache-2.0 */
#include "verify.h"

#include <string.h>

/* Behind the first `text` of the line, NULL when it is not there. Text of others cannot look like
 * a member: its quotes are escaped. */
static const char *
member_find(const char *line, size_t len, const char *text)
{
	const char *found = memmem(line, len, text, strlen(text));

	return found == NULL ? NULL : found + strlen(text);
}

static size_t
torn_bytes(const char *line, size_t len)
{
	const char *digit = member_find(line, len, "\"eghostbuster.log.torn_bytes\":");
	size_t n = 0;

	for (; digit != NULL && digit < line + len && *digit >= '0' && *digit <= '9'; digit++)
		n = n * 10 + (size_t)(*digit - '0');
	return n;
}

/* ---- one record --------------------------------------------------------------------------------
 */

/* A line as read: record is false when it does not read like one. */
struct input {
	const char *line;
	size_t len;
	struct chain_line r;
	struct place place;
	bool record, torn;
};

static bool
follows(const char previous[CHAIN_LEN], const struct input *in)
{
	char hash[CHAIN_LEN];

	memcpy(hash, previous, sizeof(hash));
	chain_next(hash, in->line, in->r.body_len);
	return memcmp(hash, in->r.hash, CHAIN_DIGITS) == 0;
}

static bool
is_next(const struct verify *v, const struct input *in)
{
	return in->record && in->r.sequence == v->last + 1 && follows(v->hash, in);
}

static void
fault_set(struct verify *v, enum fault_kind kind, struct place place, uint64_t sequence)
{
	v->fault = (struct fault){ .kind = kind, .place = place, .sequence = sequence };
}

static void
missing_set(struct verify *v, struct place place, uint64_t to)
{
	fault_set(v, FAULT_MISSING, place, v->last + 1);
	v->fault.missing_to = to;
}

/* ---- seals -------------------------------------------------------------------------------------
 */

static void
bare_take(struct verify_seals *s, const struct input *in)
{
	if (s->bare++ != 0)
		return;
	s->bare_sequence = in->r.sequence;
	s->bare_place = in->place;
}

/* A log that was sealed does not stop to be, but by somebody's doing. */
static void
bare_look(struct verify *v, const struct input *in)
{
	bare_take(&v->seals, in);
	if (v->seals.found && chain_action_is(&in->r, "log-open") &&
		member_find(in->line, in->len, "\"eghostbuster.log.sealed\":false") != NULL)
		fault_set(v, FAULT_UNSEALED, in->place, in->r.sequence);
}

static void
seal_fault(struct verify *v, enum fault_kind kind, const struct input *in, uint64_t first,
	uint64_t last)
{
	fault_set(v, kind, in->place, in->r.sequence);
	v->fault.epoch = first;
	v->fault.epoch_to = last;
}

/* Whether the epoch is the one that has to come: at the beginning any, unless nothing was before.
 */
static void
epoch_check(struct verify *v, const struct input *in, uint64_t wanted, uint64_t epoch)
{
	bool any = !v->seals.found && !v->seals.at_origin;

	if (epoch > wanted && !any)
		seal_fault(v, FAULT_CUT, in, wanted, epoch - 1);
}

/* The hash before this record is still v->hash. */
static void
seal_take(struct verify *v, const struct input *in, const struct seal *seal)
{
	struct verify_seals *s = &v->seals;
	uint64_t wanted = s->key.epoch;

	bare_take(s, in);
	if (seal->epoch < wanted) {
		seal_fault(v, FAULT_SEALED, in, seal->epoch, seal->epoch);
		return;
	}
	seal_ahead(&s->key, seal->epoch);
	if (!seal_right(&s->key, seal, v->hash, in->line)) {
		seal_fault(v, FAULT_SEAL, in, seal->epoch, seal->epoch);
		v->fault.sequence = s->bare_sequence;
		v->fault.missing_to = in->r.sequence;
		return;
	}
	epoch_check(v, in, wanted, seal->epoch);
	if (!s->found) {
		s->first_epoch = seal->epoch;
		s->first_record = in->r.sequence;
	}
	s->found = true;
	s->last_epoch = seal->epoch;
	s->last_record = in->r.sequence;
	s->bare = 0;
	seal_next(&s->key);
}

/* False when there is something wrong with it. */
static bool
seals_follow(struct verify *v, const struct input *in)
{
	struct seal seal;
	bool sealed = seal_find(in->line, in->r.body_len, &seal);

	v->seals.count += sealed;
	if (!v->seals.asked)
		return true;
	if (sealed)
		seal_take(v, in, &seal);
	else
		bare_look(v, in);
	return v->fault.kind == FAULT_NONE;
}

/* Behind the last seal is what a write that was cut off has left, in mid-line, or what somebody has
 * put there. */
static void
last_seal_look(struct verify *v)
{
	const struct verify_seals *s = &v->seals;

	if (!s->asked || (s->found && (s->bare == 0 || v->torn != 0)))
		return;
	fault_set(v, FAULT_UNSEALED, s->bare_place, s->bare_sequence);
}

/* ---- records, one behind the other -------------------------------------------------------------
 */

static void
accept(struct verify *v, const struct input *in)
{
	if (!seals_follow(v, in))
		return;
	v->last = in->r.sequence;
	memcpy(v->hash, in->r.hash, CHAIN_DIGITS);
	v->closed = chain_action_is(&in->r, "log-close");
	v->rotated =
		v->closed && member_find(in->line, in->len, "\"event.reason\":\"rotated\"") != NULL;
	v->records++;
	if (chain_action_is(&in->r, "log-open") &&
		member_find(in->line, in->len, "\"eghostbuster.log.unclean\":true") != NULL)
		v->crashes++;
	if (v->expect_head != NULL && memcmp(v->hash, v->expect_head, CHAIN_DIGITS) == 0)
		v->expect_found = v->last;
}

/* Where the first file begins, the record itself says what it follows. */
static void
first_take(struct verify *v, const struct input *in)
{
	if (in->torn) {
		v->torn = in->len;
		return;
	}
	if (!in->record) {
		fault_set(v, FAULT_FOREIGN, in->place, 0);
		return;
	}
	v->torn = 0;
	v->begun = true;
	v->first = in->r.sequence;
	v->last = in->r.sequence - 1;
	if (!chain_action_is(&in->r, "log-open")) {
		fault_set(v, FAULT_BEGINNING, in->place, in->r.sequence);
		return;
	}
	v->seals.at_origin = !chain_previous_hash(in->line, in->r.body_len, v->before);
	memcpy(v->hash, v->before, sizeof(v->hash));
	if (follows(v->hash, in))
		accept(v, in);
	else
		fault_set(v, FAULT_EDITED, in->place, in->r.sequence);
}

/* A `log-open` that is right by what it says itself, but does not go on from the record before. */
static bool
other_log_begins(const struct input *in)
{
	char hash[CHAIN_LEN];

	if (!in->record || !chain_action_is(&in->r, "log-open"))
		return false;
	chain_previous_hash(in->line, in->r.body_len, hash);
	return follows(hash, in);
}

static void
suspect_hold(struct verify *v, const struct input *in)
{
	struct suspect *s = &v->suspect;

	*s = (struct suspect){ .held = true,
		.record = in->record,
		.torn = in->torn,
		.place = in->place,
		.len = in->len };
	if (!in->record)
		return;
	s->sequence = in->r.sequence;
	memcpy(s->hash, in->r.hash, CHAIN_DIGITS);
}

static void
next_take(struct verify *v, const struct input *in)
{
	if (is_next(v, in))
		accept(v, in);
	else if (other_log_begins(in))
		fault_set(v, FAULT_FOREIGN, in->place, v->last + 1);
	else if (in->record && in->r.sequence == v->last + 1)
		fault_set(v, FAULT_EDITED, in->place, in->r.sequence);
	else
		suspect_hold(v, in);
}

/* ---- what the line after a suspect says of it --------------------------------------------------
 */

/* A record that was cut off is no fault when the next one says so, or when the next file has it
 * whole. */
static bool
cut_explained(const struct verify *v, const struct suspect *s, const struct input *in)
{
	if (!is_next(v, in))
		return false;
	return s->torn || (s->len != 0 && chain_action_is(&in->r, "log-open") &&
				  torn_bytes(in->line, in->r.body_len) == s->len);
}

static void
not_a_record(struct verify *v, const struct suspect *s, const struct input *in)
{
	bool inserted = !in->record || in->r.sequence == v->last + 1;

	if (cut_explained(v, s, in))
		accept(v, in);
	else
		fault_set(v, inserted ? FAULT_FOREIGN : FAULT_EDITED, s->place, v->last + 1);
}

static void
wrong_number(struct verify *v, const struct suspect *s, const struct input *in)
{
	uint64_t wanted = v->last + 1;

	if (in->record && in->r.sequence == wanted + 1 && follows(s->hash, in)) {
		fault_set(v, FAULT_EDITED, s->place, wanted); /* only its number is wrong */
	} else if (s->sequence < wanted) {
		fault_set(v, FAULT_REPEATED, s->place, s->sequence);
	} else {
		missing_set(v, s->place, s->sequence - 1);
	}
}

/* Behind the first fault only one thing is of interest: whether what is missing stands elsewhere.
 */
static void
moved_look(struct verify *v, const struct input *in)
{
	if (v->fault.kind != FAULT_MISSING || !in->record || in->r.sequence != v->fault.sequence)
		return;
	v->fault.kind = FAULT_REORDERED;
	v->fault.moved = in->place;
}

static void
suspect_resolve(struct verify *v, const struct input *in)
{
	struct suspect s = v->suspect;

	v->suspect.held = false;
	if (s.record)
		wrong_number(v, &s, in);
	else
		not_a_record(v, &s, in);
	moved_look(v, in);
}

/* ---- the whole ---------------------------------------------------------------------------------
 */

void
verify_begin(struct verify *v, const char *expect_head, const uint8_t *root)
{
	*v = (struct verify){ .expect_head = expect_head, .seals.asked = root != NULL };
	if (root != NULL)
		seal_begin(&v->seals.key, root);
}

void
verify_line(struct verify *v, const char *line, size_t len, bool torn, struct place place)
{
	struct input in = { .line = line, .len = len, .place = place, .torn = torn };

	in.record = !torn && chain_line_read(line, len, &in.r) && in.r.sequence != 0;
	if (v->fault.kind != FAULT_NONE)
		moved_look(v, &in);
	else if (!v->begun)
		first_take(v, &in);
	else if (v->suspect.held)
		suspect_resolve(v, &in);
	else
		next_take(v, &in);
}

static void
last_suspect(struct verify *v)
{
	const struct suspect *s = &v->suspect;

	if (s->torn)
		v->torn = s->len;
	else if (!s->record)
		fault_set(v, v->closed ? FAULT_FOREIGN : FAULT_EDITED, s->place, v->last + 1);
	else if (s->sequence <= v->last)
		fault_set(v, FAULT_REPEATED, s->place, s->sequence);
	else
		missing_set(v, s->place, s->sequence - 1);
}

bool
verify_end(struct verify *v)
{
	if (v->fault.kind == FAULT_NONE && v->suspect.held)
		last_suspect(v);
	if (v->torn != 0)
		v->closed = false;
	if (v->fault.kind == FAULT_NONE && v->records != 0)
		last_seal_look(v);
	seal_wipe(&v->seals.key);
	if (v->fault.kind == FAULT_NONE && v->expect_head != NULL && v->expect_found == 0)
		fault_set(v, FAULT_HEAD, (struct place){ 0 }, v->last);
	return v->fault.kind == FAULT_NONE;
}

const char *
fault_name(enum fault_kind kind)
{
	static const char *const names[] = {
		[FAULT_NONE] = "none",
		[FAULT_EDITED] = "edited",
		[FAULT_MISSING] = "missing",
		[FAULT_REORDERED] = "reordered",
		[FAULT_REPEATED] = "repeated",
		[FAULT_FOREIGN] = "foreign",
		[FAULT_BEGINNING] = "beginning-missing",
		[FAULT_SEAL] = "seal-wrong",
		[FAULT_SEALED] = "seal-repeated",
		[FAULT_CUT] = "cut",
		[FAULT_UNSEALED] = "unsealed",
		[FAULT_HEAD] = "head-not-found",
	};

	return names[kind];
}
