/* SPDX-License-Identifier: Apache-2.0 */
#include "ghosts.h"

#include <inttypes.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "budget.h"
#include "proto/log.h"

/* The table's macros shift and subtract hash values in plain int. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"

static void
ghost_insert(struct ghosts *g, struct ghost *ghost)
{
	HASH_ADD(hh, g->by_cookie, cookie, sizeof(ghost->cookie), ghost);
}

struct ghost *
ghosts_find(const struct ghosts *g, uint64_t cookie)
{
	struct ghost *ghost;

	HASH_FIND(hh, g->by_cookie, &cookie, sizeof(cookie), ghost);
	return ghost;
}

static void
ghost_delete(struct ghosts *g, struct ghost *ghost)
{
	HASH_DELETE(hh, g->by_cookie, ghost);
}

static void
owner_insert(struct ghosts *g, struct owner *owner)
{
	HASH_ADD(hh, g->by_process, key, sizeof(owner->key), owner);
}

static struct owner *
owner_find(const struct ghosts *g, const void *key, size_t size)
{
	struct owner *owner;

	HASH_FIND(hh, g->by_process, key, size, owner);
	return owner;
}

static void
owner_delete(struct ghosts *g, struct owner *owner)
{
	HASH_DELETE(hh, g->by_process, owner);
}

#pragma GCC diagnostic pop

static void *
allocate(size_t size)
{
	void *p = calloc(1, size);

	if (p == NULL)
		fatal("out of memory for one more ghost");
	return p;
}

void
entity_id_make(const char *boot_id, uint32_t tgid, uint64_t start_boottime, char out[ENTITY_ID_LEN])
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx sha;
	char text[160];
	int n = snprintf(
		text, sizeof(text), "%s:%" PRIu32 ":%" PRIu64, boot_id, tgid, start_boottime);

	sha256_init(&sha);
	sha256_update(&sha, (size_t)n, (const uint8_t *)text);
	sha256_digest(&sha, sizeof(digest), digest);
	for (unsigned i = 0; i < ENTITY_ID_LEN - 1; i++)
		out[i] = "0123456789abcdef"[digest[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
	out[ENTITY_ID_LEN - 1] = '\0';
}

static unsigned
slot_of(uint64_t uid, const char *unit)
{
	const uint64_t who[2] = { uid, 1 };
	struct {
		char unit[BREAKER_KEY_LEN];
	} what = { 0 };

	memccpy(what.unit, unit, '\0', sizeof(what.unit) - 1);
	return keyed_hash(who, sizeof(who)) % FAIR_UIDS * FAIR_UNITS +
	       keyed_hash(&what, sizeof(what)) % FAIR_UNITS;
}

static void
fair_init(struct fair *f)
{
	for (unsigned i = 0; i < FAIR_SLOTS; i++)
		TAILQ_INIT(&f->parts[i]);
}

void
ghosts_init(struct ghosts *g, const char *boot_id)
{
	keyed_start();
	memset(g, 0, sizeof(*g));
	TAILQ_INIT(&g->idle);
	fair_init(&g->fresh);
	fair_init(&g->unsampled);
	fair_init(&g->decided);
	g->unknown_slot = slot_of(BUDGET_UID_UNKNOWN, "unknown");
	for (unsigned i = 0; i < GHOST_PHASES; i++)
		TAILQ_INIT(&g->queues[i]);
	for (unsigned i = 0; i < GHOST_LANES; i++)
		TAILQ_INIT(&g->lanes[i]);
	snprintf(g->boot_id, sizeof(g->boot_id), "%s", boot_id);
}

static struct owner *
owner_make(struct ghosts *g, const struct wire_owner *process)
{
	struct owner *owner = allocate(sizeof(*owner));

	owner->key.start_boottime = process->start_boottime;
	owner->key.tgid = process->tgid;
	owner->process = *process;
	owner->exit = exit_classify(process->exit_code, (process->flags & WIRE_OWNER_OOM) != 0);
	entity_id_make(g->boot_id, process->tgid, process->start_boottime, owner->entity_id);
	breaker_key(process, owner->unit);
	owner->slot = slot_of(process->uid, owner->unit);
	owner_insert(g, owner);
	return owner;
}

static struct owner *
owner_known(const struct ghosts *g, const struct wire_owner *process)
{
	struct owner probe;

	memset(&probe.key, 0, sizeof(probe.key));
	probe.key.start_boottime = process->start_boottime;
	probe.key.tgid = process->tgid;
	return owner_find(g, &probe.key, sizeof(probe.key));
}

static struct owner *
owner_take(struct ghosts *g, const struct wire_owner *process)
{
	struct owner *owner = owner_known(g, process);

	if (owner == NULL) {
		owner = owner_make(g, process);
	} else if (owner->ghosts == 0) {
		TAILQ_REMOVE(&g->idle, owner, idle);
		g->idle_count--;
	}
	owner->ghosts++;
	return owner;
}

static void
owner_release(struct ghosts *g, struct owner *owner)
{
	struct owner *oldest;

	if (--owner->ghosts != 0)
		return;
	TAILQ_INSERT_TAIL(&g->idle, owner, idle);
	if (++g->idle_count <= OWNERS_IDLE_MAX)
		return;
	oldest = TAILQ_FIRST(&g->idle);
	TAILQ_REMOVE(&g->idle, oldest, idle);
	g->idle_count--;
	owner_delete(g, oldest);
	free(oldest);
}

/* ---- queues ------------------------------------------------------------------------------------
 */

static struct fair *
fair_of(struct ghosts *g, enum ghost_phase phase)
{
	return phase == GHOST_FRESH	  ? &g->fresh
	       : phase == GHOST_DECIDED	  ? &g->decided
	       : phase == GHOST_UNSAMPLED ? &g->unsampled
					  : NULL;
}

static struct ghost_queue *
queue_of(struct ghosts *g, const struct ghost *ghost)
{
	struct fair *fair = fair_of(g, ghost->phase);

	if (fair != NULL)
		return &fair->parts[ghost->slot];
	return ghost->phase == GHOST_WAITING ? &g->lanes[ghost->lane] : &g->queues[ghost->phase];
}

/* The bits that say which parts are not empty. */
static void
fair_note(struct ghosts *g, const struct ghost *ghost)
{
	struct fair *f = fair_of(g, ghost->phase);
	unsigned uid = ghost->slot / FAIR_UNITS;
	uint64_t unit_bit = 1ull << ghost->slot % FAIR_UNITS, uid_bit = 1ull << uid;

	if (f == NULL)
		return;
	if (TAILQ_EMPTY(&f->parts[ghost->slot]))
		f->units[uid] &= ~unit_bit;
	else
		f->units[uid] |= unit_bit;
	if (f->units[uid] == 0)
		f->uids &= ~uid_bit;
	else
		f->uids |= uid_bit;
}

/* The first bit that is set, from `from` on and round. */
static unsigned
bit_next(uint64_t bits, unsigned from)
{
	uint64_t behind = bits & ~0ull << from;

	return (unsigned)__builtin_ctzll(behind != 0 ? behind : bits);
}

static struct ghost *
fair_first(struct fair *f)
{
	unsigned uid, unit;

	if (f->uids == 0)
		return NULL;
	uid = bit_next(f->uids, f->uid_next);
	unit = bit_next(f->units[uid], f->unit_next[uid]);
	f->uid_next = (uint8_t)((uid + 1) % FAIR_UIDS);
	f->unit_next[uid] = (uint8_t)((unit + 1) % FAIR_UNITS);
	return TAILQ_FIRST(&f->parts[uid * FAIR_UNITS + unit]);
}

struct ghost *
ghosts_first(struct ghosts *g, enum ghost_phase phase)
{
	struct fair *fair = fair_of(g, phase);

	return fair != NULL ? fair_first(fair) : TAILQ_FIRST(&g->queues[phase]);
}

static void
queue_insert(struct ghosts *g, struct ghost *ghost, enum ghost_phase phase)
{
	ghost->phase = phase;
	g->counts[phase]++;
	TAILQ_INSERT_TAIL(queue_of(g, ghost), ghost, queue);
	fair_note(g, ghost);
}

static void
queue_remove(struct ghosts *g, struct ghost *ghost)
{
	TAILQ_REMOVE(queue_of(g, ghost), ghost, queue);
	fair_note(g, ghost);
	g->counts[ghost->phase]--;
	if (ghost->phase == GHOST_HELD)
		ghosts_part(ghost);
}

void
ghosts_put_back(struct ghosts *g, struct ghost *ghost, enum ghost_phase phase)
{
	queue_remove(g, ghost);
	ghost->phase = phase;
	g->counts[phase]++;
	TAILQ_INSERT_HEAD(queue_of(g, ghost), ghost, queue);
	fair_note(g, ghost);
}

void
ghosts_part(struct ghost *ghost)
{
	if (ghost->group != NULL)
		TAILQ_REMOVE(ghost->group, ghost, kin);
	ghost->group = NULL;
}

void
ghosts_join(struct ghost *ghost, struct ghost_group *group)
{
	ghosts_part(ghost);
	ghost->group = group;
	TAILQ_INSERT_TAIL(group, ghost, kin);
}

/* ---- ghosts ------------------------------------------------------------------------------------
 */

uint64_t
ghost_uid(const struct ghost *ghost)
{
	return ghost->owner != NULL ? ghost->owner->process.uid : BUDGET_UID_UNKNOWN;
}

const char *
ghost_unit(const struct ghost *ghost)
{
	return ghost->owner != NULL ? ghost->owner->unit : "unknown";
}

static void
slot_set(struct ghosts *g, struct ghost *ghost, unsigned slot)
{
	g->slot_counts[ghost->slot]--;
	ghost->slot = slot;
	g->slot_counts[slot]++;
}

/* Ghosts come nearly in order. How far back a place is looked for is bounded, since births are the
 * tracker's word: a ghost further out of order waits longer than it need, never shorter. */
#define LANE_STEPS_MAX 64u

static void
lane_insert(struct ghosts *g, struct ghost *ghost)
{
	struct ghost_queue *lane = &g->lanes[ghost->lane];
	struct ghost *before = TAILQ_LAST(lane, ghost_queue);
	unsigned steps = 0;

	ghost->phase = GHOST_WAITING;
	g->counts[GHOST_WAITING]++;
	while (before != NULL && before->due.ns > ghost->due.ns && steps++ < LANE_STEPS_MAX)
		before = TAILQ_PREV(before, ghost_queue, queue);
	if (before == NULL) {
		TAILQ_INSERT_HEAD(lane, ghost, queue);
		return;
	}
	if (before->due.ns > ghost->due.ns)
		ghost->due = before->due;
	TAILQ_INSERT_AFTER(lane, before, ghost, queue);
}

static struct ghost *
ghost_make(struct ghosts *g, uint64_t cookie, const struct wire_tuple *tuple)
{
	struct ghost *ghost = allocate(sizeof(*ghost));

	ghost->id = ++g->last_id;
	ghost->cookie = cookie;
	ghost->tuple = *tuple;
	ghost->exit = EXIT_UNKNOWN;
	ghost->slot = g->unknown_slot;
	g->slot_counts[ghost->slot]++;
	ghost_insert(g, ghost);
	queue_insert(g, ghost, GHOST_FRESH);
	g->total++;
	return ghost;
}

void
ghosts_name(struct ghosts *g, struct ghost *ghost, const struct wire_orphan *orphan, mono_ns now)
{
	enum ghost_phase phase = ghost->phase;

	ghost->born.ns = orphan->born_mono_ns < now.ns ? orphan->born_mono_ns : now.ns;
	ghost->send_queue = orphan->send_queue;
	ghost->state = orphan->state;
	ghost->owner = owner_take(g, &orphan->owner);
	queue_remove(g, ghost); /* its part of a queue may be another one */
	slot_set(g, ghost, ghost->owner->slot);
	if (phase == GHOST_WAITING)
		lane_insert(g, ghost);
	else
		queue_insert(g, ghost, phase);
	ghost->exit = (orphan->flags & WIRE_ORPHAN_CLOSED) != 0 ? EXIT_CLOSED : ghost->owner->exit;
}

struct ghost *
ghosts_add(struct ghosts *g, const struct wire_orphan *orphan, mono_ns now)
{
	struct ghost *ghost;

	if (ghosts_find(g, orphan->cookie) != NULL)
		return NULL;
	ghost = ghost_make(g, orphan->cookie, &orphan->tuple);
	ghosts_name(g, ghost, orphan, now);
	return ghost;
}

struct ghost *
ghosts_adopt(struct ghosts *g, const struct wire_found_record *found, mono_ns now)
{
	struct ghost *ghost;

	if (ghosts_find(g, found->cookie) != NULL)
		return NULL;
	ghost = ghost_make(g, found->cookie, &found->tuple);
	ghost->born = now;
	ghost->send_queue = found->progress.send_queue;
	ghost->state = found->state;
	return ghost;
}

void
ghosts_move(struct ghosts *g, struct ghost *ghost, enum ghost_phase phase)
{
	queue_remove(g, ghost);
	queue_insert(g, ghost, phase);
}

void
ghosts_wait(
	struct ghosts *g, struct ghost *ghost, unsigned lane, mono_ns due, enum ghost_phase next)
{
	queue_remove(g, ghost);
	ghost->next = next;
	ghost->lane = lane;
	ghost->due = due;
	lane_insert(g, ghost);
}

struct ghost *
ghosts_first_due(const struct ghosts *g)
{
	struct ghost *first = NULL;

	for (unsigned i = 0; i < GHOST_LANES; i++) {
		struct ghost *head = TAILQ_FIRST(&g->lanes[i]);

		if (head != NULL && (first == NULL || head->due.ns < first->due.ns))
			first = head;
	}
	return first;
}

void
ghosts_remove(struct ghosts *g, struct ghost *ghost)
{
	ghosts_part(ghost);
	queue_remove(g, ghost);
	ghost_delete(g, ghost);
	if (ghost->owner != NULL)
		owner_release(g, ghost->owner);
	g->slot_counts[ghost->slot]--;
	g->total--;
	free(ghost);
}

/* ---- room --------------------------------------------------------------------------------------
 */

static bool
slot_room(const struct ghosts *g, unsigned slot)
{
	return g->total < GHOSTS_MAX && g->slot_counts[slot] < GHOSTS_MAX - g->total;
}

static unsigned
process_slot(const struct ghosts *g, const struct wire_owner *process)
{
	const struct owner *owner;
	char unit[BREAKER_KEY_LEN];

	if (process == NULL)
		return g->unknown_slot;
	owner = owner_known(g, process);
	if (owner != NULL)
		return owner->slot;
	breaker_key(process, unit);
	return slot_of(process->uid, unit);
}

bool
ghosts_room(const struct ghosts *g, const struct wire_owner *process)
{
	if (g->total < GHOSTS_MAX / 2)
		return true; /* for anybody: spares the look */
	return slot_room(g, process_slot(g, process));
}

/* How far behind the oldest, who may have few, one is looked for that has too many. */
#define EVICT_STEPS_MAX 16u

static struct ghost *
greedy_find(const struct ghosts *g, const struct ghost_queue *queue)
{
	struct ghost *ghost = TAILQ_FIRST(queue);

	for (unsigned n = 0; ghost != NULL && n < EVICT_STEPS_MAX; n++) {
		if (!slot_room(g, ghost->slot))
			return ghost;
		ghost = TAILQ_NEXT(ghost, queue);
	}
	return NULL;
}

/* What the rate limit has turned away is decided, and waits for its result. */
static struct ghost *
evictable(const struct ghosts *g, unsigned slot)
{
	struct ghost *found = TAILQ_FIRST(&g->queues[GHOST_LEFT]);

	if (found == NULL)
		found = greedy_find(g, &g->queues[GHOST_HELD]);
	if (found == NULL)
		found = TAILQ_FIRST(&g->unsampled.parts[slot]);
	for (unsigned lane = 0; lane < GHOST_LANES && found == NULL; lane++) {
		if (lane != GHOST_LANE_RATE)
			found = greedy_find(g, &g->lanes[lane]);
	}
	return found;
}

bool
ghosts_evict(struct ghosts *g, const struct wire_owner *process)
{
	struct ghost *oldest = evictable(g, process_slot(g, process));

	if (oldest == NULL)
		return false;
	ghosts_remove(g, oldest);
	return true;
}
