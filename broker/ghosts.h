/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_GHOSTS_H
#define BROKER_GHOSTS_H

#include <sys/queue.h>

#include "breaker.h"
#include "keyed.h"
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

/* Nobody has more ghosts in the table than it has room left: one alone fills half of it, and there
 * is always room for whoever has few. */
#define GHOSTS_MAX	262144u
#define OWNERS_IDLE_MAX 4096u

/* A lane per rule's grace, one for looks that are made again soon, one for orphans found without an
 * owner, which a late event may still name, one for what the reaper's rate limit has turned away.
 */
#define GHOST_LANES	  (POLICY_RULES_MAX + 3)
#define GHOST_LANE_RETRY  POLICY_RULES_MAX
#define GHOST_LANE_SETTLE (POLICY_RULES_MAX + 1)
#define GHOST_LANE_RATE	  (POLICY_RULES_MAX + 2)

/* Whoever leaves many ghosts must not keep the service from others: the queues of what is to be
 * decided, sampled and destroyed are divided by uid, and each part by unit, and served in turn. The
 * place is a hash with a secret, so that nobody can choose whose it shares. */
#define FAIR_UIDS  64u
#define FAIR_UNITS 64u
#define FAIR_SLOTS (FAIR_UIDS * FAIR_UNITS)

struct owner {
	struct {
		uint64_t start_boottime;
		uint64_t tgid;
	} key; /* struct proc_id without padding: it is hashed as bytes */
	struct wire_owner process;
	enum exit_class exit;
	char entity_id[ENTITY_ID_LEN];
	char unit[BREAKER_KEY_LEN]; /* breaker_key() */
	unsigned slot;		    /* of its uid and unit, below FAIR_SLOTS */
	bool recorded;		    /* its `exit` record is made, or stands in a batch */
	unsigned ghosts;
	TAILQ_ENTRY(owner) idle;
	UT_hash_handle hh;
};

enum ghost_phase {
	GHOST_FRESH,	 /* no decision yet */
	GHOST_WAITING,	 /* in a lane, until it is due */
	GHOST_UNSAMPLED, /* a sample is to be asked for */
	GHOST_SAMPLED,	 /* the reaper has been asked for a sample */
	GHOST_BATCHED,	 /* decided over budget: in a batch whose record is not made yet */
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
	bool exit_batched;    /* its batch stands for its owner's `exit` record because of it */
	enum ghost_phase phase;
	enum ghost_phase next; /* in GHOST_WAITING: where it goes when it is due */
	unsigned lane;	       /* in GHOST_WAITING */
	unsigned held_looks;   /* samples that still saw the close under way */
	mono_ns asked;	       /* in GHOST_SENT and GHOST_SAMPLED: when the reaper was */
	uint32_t states;       /* in GHOST_SENT: those the request named */
	uint64_t round;	       /* of the reconcile that last saw it, or began before it was left */
	struct proof proof;
	struct owner *owner;	   /* NULL: the death was not seen */
	unsigned slot;		   /* its owner's; of the unknown, one of their own */
	struct batch *batch;	   /* whose records are its records, NULL: it has its own */
	struct ghost_group *group; /* that it is in, NULL: none */
	TAILQ_ENTRY(ghost) kin;	   /* in the group */
	TAILQ_ENTRY(ghost) queue;
	UT_hash_handle hh;
};
TAILQ_HEAD(ghost_queue, ghost);

/* A queue in parts that are served in turn. */
struct fair {
	struct ghost_queue parts[FAIR_SLOTS];
	uint64_t units[FAIR_UIDS];		/* bits: parts of that uid that are not empty */
	uint64_t uids;				/* bits: uids that have such parts */
	uint8_t unit_next[FAIR_UIDS], uid_next; /* where the next turn begins */
};
TAILQ_HEAD(owner_queue, owner);

struct ghosts {
	struct ghost *by_cookie;
	struct owner *by_process;
	struct owner_queue idle;
	unsigned idle_count;
	struct ghost_queue queues[GHOST_PHASES]; /* but those that are in lanes, or fair */
	struct ghost_queue lanes[GHOST_LANES];	 /* one delay each, so first in is first due */
	struct fair fresh, unsampled, decided;	 /* GHOST_FRESH, GHOST_UNSAMPLED, GHOST_DECIDED */
	unsigned counts[GHOST_PHASES];
	unsigned slot_counts[FAIR_SLOTS];
	unsigned unknown_slot;
	unsigned total;
	uint64_t last_id;
	char boot_id[64]; /* goes into entity ids and the `start` record */
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

/* To the end of another phase's queue; out of its group when it was held. */
void ghosts_move(struct ghosts *g, struct ghost *ghost, enum ghost_phase phase);

/* Back to the head of the queue that ghosts_first() had it from. */
void ghosts_put_back(struct ghosts *g, struct ghost *ghost, enum ghost_phase phase);

/* The ghost whose turn it is in that phase, NULL when there is none. Not for GHOST_WAITING. */
struct ghost *ghosts_first(struct ghosts *g, enum ghost_phase phase);

/* Into a group, and out of the one it is in, if it is. A ghost that is removed leaves its group. */
void ghosts_join(struct ghost *ghost, struct ghost_group *group);
void ghosts_part(struct ghost *ghost);

/* Whose it is, for budgets: BUDGET_UID_UNKNOWN and "unknown" when the owner is. */
uint64_t ghost_uid(const struct ghost *ghost);
const char *ghost_unit(const struct ghost *ghost);

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

/* True when there is room for one more ghost of that owner (NULL: unknown). */
bool ghosts_room(const struct ghosts *g, const struct wire_owner *process);

/* Forgets one ghost, so that another of that owner can be taken in: the one left alone the longest,
 * else one that is held, is to be sampled, or waits, and whose owner has more than its share, too.
 * False when there is none. */
bool ghosts_evict(struct ghosts *g, const struct wire_owner *process);

/* The waiting ghost that is due first, NULL when none waits. */
struct ghost *ghosts_first_due(const struct ghosts *g);

/* Forgets a ghost; it must not be used afterwards. */
void ghosts_remove(struct ghosts *g, struct ghost *ghost);

/* hash of (boot id, tgid, start_boottime): the first 8 bytes of a SHA-256, in hex. */
void entity_id_make(
	const char *boot_id, uint32_t tgid, uint64_t start_boottime, char out[ENTITY_ID_LEN]);

#endif
