/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_GHOSTS_H
#define BROKER_GHOSTS_H

#include <sys/queue.h>
#include <uthash.h>

#include "policy.h"
#include "proto/scalars.h"
#include "proto/wire.h"
#include "record.h"

/*
 * What is known of the ghosts in hand and of the processes that left them. A ghost is in exactly
 * one queue, which says what happens to it next. Owners are kept as long as a ghost names them, and
 * some longer, so that one death makes one `exit` record.
 */

#define GHOSTS_MAX \
	131072u /* over it the tracker is not read; its ring buffer counts what it drops */
#define OWNERS_IDLE_MAX 4096u

/* A lane per rule's grace, and one for requests the reaper's rate limit turned away. */
#define GHOST_LANES	 (POLICY_RULES_MAX + 1)
#define GHOST_LANE_RETRY POLICY_RULES_MAX

struct owner {
	struct {
		uint64_t start_boottime;
		uint64_t tgid;
	} key; /* struct proc_id without padding: it is hashed as bytes */
	struct wire_owner process;
	enum exit_class exit;
	char entity_id[ENTITY_ID_LEN];
	bool recorded; /* its `exit` record is made */
	unsigned ghosts;
	TAILQ_ENTRY(owner) idle;
	UT_hash_handle hh;
};

enum ghost_phase {
	GHOST_FRESH,   /* no decision yet */
	GHOST_WAITING, /* its rule's grace runs */
	GHOST_DECIDED, /* the record is made; the request may leave once it is written */
	GHOST_SENT,    /* the reaper has it */
	GHOST_PHASES,
};

struct ghost {
	uint64_t id;
	uint64_t cookie;
	struct wire_tuple tuple;
	mono_ns born;
	mono_ns due; /* end of grace, in GHOST_WAITING */
	uint32_t send_queue;
	uint8_t state;
	enum exit_class exit; /* its owner's, or EXIT_CLOSED */
	bool turned_away;     /* the reaper's rate limit has, and a record says so */
	enum ghost_phase phase;
	unsigned lane; /* in GHOST_WAITING: the rule's number or GHOST_LANE_RETRY */
	struct owner *owner;
	TAILQ_ENTRY(ghost) queue;
	UT_hash_handle hh;
};
TAILQ_HEAD(ghost_queue, ghost);
TAILQ_HEAD(owner_queue, owner);

struct ghosts {
	struct ghost *by_cookie;
	struct owner *by_process;
	struct owner_queue idle;
	unsigned idle_count;
	struct ghost_queue queues[GHOST_PHASES]; /* GHOST_WAITING's is not used: see lanes */
	struct ghost_queue lanes[GHOST_LANES];	 /* one delay each, so first in is first due */
	unsigned counts[GHOST_PHASES];
	unsigned total;
	uint64_t last_id;
	char boot_id[64]; /* goes into entity ids */
};

/* boot_id: the text of /proc/sys/kernel/random/boot_id. Also draws the secret of the tables' hash:
 * cookies are chosen by the tracker. */
void ghosts_init(struct ghosts *g, const char *boot_id);

/* Takes an orphan in as GHOST_FRESH. NULL when its cookie is already in hand (a repetition). The
 * owner's first account of itself counts: later ghosts of the same process cannot change it. A
 * birth after `now` was now. Fatal when out of memory. */
struct ghost *ghosts_add(struct ghosts *g, const struct wire_orphan *orphan, mono_ns now);

/* NULL when there is none. */
struct ghost *ghosts_find(const struct ghosts *g, uint64_t cookie);

/* To the end of another phase's queue. */
void ghosts_move(struct ghosts *g, struct ghost *ghost, enum ghost_phase phase);

/* To GHOST_WAITING in that lane until `due`. */
void ghosts_wait(struct ghosts *g, struct ghost *ghost, unsigned lane, mono_ns due);

/* The waiting ghost that is due first, NULL when none waits. */
struct ghost *ghosts_first_due(const struct ghosts *g);

/* Forgets a ghost; it must not be used afterwards. */
void ghosts_remove(struct ghosts *g, struct ghost *ghost);

/* hash of (boot id, tgid, start_boottime): the first 8 bytes of a SHA-256, in hex. */
void entity_id_make(
	const char *boot_id, uint32_t tgid, uint64_t start_boottime, char out[ENTITY_ID_LEN]);

#endif
