/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/log.h"

/* The table's own idea of running out of memory is exit(-1) without a word. */
#define uthash_fatal(msg) fatal("%s", (msg))
/* Keys are chosen by a role that may be hostile, so the table's own hash, which has no secret, will
 * not do. */
#define HASH_FUNCTION(key, len, hash) (hash) = hash_with_secret((key), (len))
#include "ghosts.h"

#include <inttypes.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static uint64_t secret[2];

/* Multiply and fold, after mixing in what nobody outside knows. All keys are whole words of 8
 * bytes. */
static unsigned
hash_with_secret(const void *key, size_t len)
{
	uint64_t hash = secret[0], word;

	for (size_t i = 0; i + sizeof(word) <= len; i += sizeof(word)) {
		memcpy(&word, (const char *)key + i, sizeof(word));
		hash = (hash ^ word) * (secret[1] | 1);
		hash ^= hash >> 29;
	}
	return (unsigned)(hash >> 32);
}

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
	for (unsigned i = 0; i < (ENTITY_ID_LEN - 1) / 2; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

void
ghosts_init(struct ghosts *g, const char *boot_id)
{
	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		fatal("cannot draw random numbers");
	*g = (struct ghosts){ 0 };
	TAILQ_INIT(&g->idle);
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
	owner_insert(g, owner);
	return owner;
}

static struct owner *
owner_take(struct ghosts *g, const struct wire_owner *process)
{
	struct owner probe;
	struct owner *owner;

	memset(&probe.key, 0, sizeof(probe.key));
	probe.key.start_boottime = process->start_boottime;
	probe.key.tgid = process->tgid;
	owner = owner_find(g, &probe.key, sizeof(probe.key));
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

static struct ghost_queue *
queue_of(struct ghosts *g, const struct ghost *ghost)
{
	return ghost->phase == GHOST_WAITING ? &g->lanes[ghost->lane] : &g->queues[ghost->phase];
}

static void
queue_insert(struct ghosts *g, struct ghost *ghost, enum ghost_phase phase)
{
	ghost->phase = phase;
	g->counts[phase]++;
	TAILQ_INSERT_TAIL(queue_of(g, ghost), ghost, queue);
}

static void
queue_remove(struct ghosts *g, struct ghost *ghost)
{
	TAILQ_REMOVE(queue_of(g, ghost), ghost, queue);
	g->counts[ghost->phase]--;
}

static struct ghost *
ghost_make(struct ghosts *g, uint64_t cookie, const struct wire_tuple *tuple)
{
	struct ghost *ghost = allocate(sizeof(*ghost));

	ghost->id = ++g->last_id;
	ghost->cookie = cookie;
	ghost->tuple = *tuple;
	ghost->exit = EXIT_UNKNOWN;
	ghost_insert(g, ghost);
	queue_insert(g, ghost, GHOST_FRESH);
	g->total++;
	return ghost;
}

void
ghosts_name(struct ghosts *g, struct ghost *ghost, const struct wire_orphan *orphan, mono_ns now)
{
	ghost->born.ns = orphan->born_mono_ns < now.ns ? orphan->born_mono_ns : now.ns;
	ghost->send_queue = orphan->send_queue;
	ghost->state = orphan->state;
	ghost->owner = owner_take(g, &orphan->owner);
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
	queue_remove(g, ghost);
	ghost_delete(g, ghost);
	if (ghost->owner != NULL)
		owner_release(g, ghost->owner);
	g->total--;
	free(ghost);
}

bool
ghosts_evict(struct ghosts *g)
{
	static const enum ghost_phase phases[] = { GHOST_LEFT, GHOST_HELD, GHOST_UNSAMPLED };
	struct ghost *oldest = NULL;

	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]) && oldest == NULL; i++)
		oldest = TAILQ_FIRST(&g->queues[phases[i]]);
	for (unsigned lane = 0; lane < GHOST_LANES && oldest == NULL; lane++)
		oldest = TAILQ_FIRST(&g->lanes[lane]);
	if (oldest == NULL)
		return false;
	ghosts_remove(g, oldest);
	return true;
}
