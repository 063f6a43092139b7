/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_GHOSTS_H
#define BROKER_GHOSTS_H

#include <sys/queue.h>
#include <uthash.h>

#include "policy.h"
#include "proof.h"
#include "proto/scalars.h"
#include "proto/wire.h"
#include "record.h"

/*
 * What is known of the ghosts in hand and of the processes that left them. A ghost is in exactly
 * one queue, which says what happens to it next. Owners are kept as long as a ghost names them, and
 * some longer, so that one death makes one `exit` record.
 */

/* Over it the oldest that nothing is proved of are forgotten, counted, and found again by a
 * reconcile; with none of these the tracker is not read, and its ring buffer counts what it drops.
 */
#define GHOSTS_MAX	131072u
#define OWNERS_IDLE_MAX 4096u

/* A lane per rule's grace, one for what is tried again soon, one for orphans found without an
 * owner, which a late event may still name. */
#define GHOST_LANES	  (POLICY_RULES_MAX + 2)
#define GHOST_LANE_RETRY  POLICY_RULES_MAX
#define GHOST_LANE_SETTLE (POLICY_RULES_MAX + 1)

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
	GHOST_FRESH,	 /* no decision yet */
	GHOST_WAITING,	 /* in a lane, until it is due */
	GHOST_UNSAMPLED, /* a sample is to be asked for */
	GHOST_SAMPLED,	 /* the reaper has been asked for a sample */
	GHOST_DECIDED,	 /* the record is made; the request may leave once it is written */
	GHOST_SENT,	 /* the reaper has it */
	GHOST_HELD,	 /* its unit is over its limit: left alone until the breaker closes */
	GHOST_LEFT,	 /* decided and left alone: remembered until it is no longer found */
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
	bool proved;	      /* decided by proof: the request carries the second sample */
	bool again;	      /* in GHOST_LEFT: decide anew when it is found again */
	bool unseen;	      /* in GHOST_LEFT: undecided, because the reaper could not look */
	bool held;	      /* counted as held back */
	enum ghost_phase phase;
	enum ghost_phase next; /* in GHOST_WAITING: where it goes when it is due */
	unsigned lane;	       /* in GHOST_WAITING */
	unsigned held_looks;   /* samples that still saw the close under way */
	uint64_t round;	       /* of the reconcile that last saw it, or began before it was left */
	struct proof proof;
	struct owner *owner; /* NULL: the death was not seen */
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

/* Takes in an orphan that a reconcile has found, without an owner, as GHOST_FRESH. NULL when its
 * cookie is in hand. */
struct ghost *ghosts_adopt(struct ghosts *g, const struct wire_found_record *found, mono_ns now);

/* Names the owner of a ghost that had none. */
void ghosts_name(
	struct ghosts *g, struct ghost *ghost, const struct wire_orphan *orphan, mono_ns now);

/* To GHOST_WAITING in that lane until `due`, and then to `next`. A lane is kept in order of due;
 * what would have to go far ahead of others waits as long as they do. */
void ghosts_wait(
	struct ghosts *g, struct ghost *ghost, unsigned lane, mono_ns due, enum ghost_phase next);

/* Forgets the ghost that has been left alone the longest, else one that is held, is to be sampled,
 * or waits. False when there is none. */
bool ghosts_evict(struct ghosts *g);

/* The waiting ghost that is due first, NULL when none waits. */
struct ghost *ghosts_first_due(const struct ghosts *g);

/* Forgets a ghost; it must not be used afterwards. */
void ghosts_remove(struct ghosts *g, struct ghost *ghost);

/* hash of (boot id, tgid, start_boottime): the first 8 bytes of a SHA-256, in hex. */
void entity_id_make(
	const char *boot_id, uint32_t tgid, uint64_t start_boottime, char out[ENTITY_ID_LEN]);

#endif
