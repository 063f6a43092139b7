/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_BUDGET_H
#define BROKER_BUDGET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "breaker.h"
#include "exitclass.h"
#include "keyed.h"
#include "policy.h"
#include "proto/scalars.h"
#include "quantity.h"

/*
 * Who may write how much into the audit log (DESIGN 8, "Flooding"). Each uid and each unit has an
 * account, and all together have one. An account that is empty pays for no record of its ghosts'
 * own: they go into batches (batch.c), which the account pays for, too, at rates of their own.
 * Pure: time is a parameter.
 *
 * Accounts are kept in bounded tables. Only one that is full, and nothing is batched on, is
 * forgotten: it would come back just so. When there is none to forget, newcomers share one account:
 * nobody gains a fresh one by making many.
 */

/* Of each kind. */
#define BUDGET_ACCOUNTS_MAX 1024u

/* All together may have so many times what one may. */
#define BUDGET_ALL_TIMES 4u

/* Batches of one account: each costs a record or two, whatever is in it. */
#define BUDGET_BATCHES_COUNT 60u
#define BUDGET_BATCHES_NS    (60 * NS_PER_S)

/* Ghosts whose owner is not known have one account, too. */
#define BUDGET_UID_UNKNOWN UINT64_MAX

enum budget_kind { BUDGET_UID, BUDGET_UNIT, BUDGET_ALL, BUDGET_KINDS };

struct bucket {
	double tokens; /* below 0: owed */
	mono_ns filled;
};

/* Hashed as bytes, so without padding, and zero behind the text. */
struct budget_key {
	uint64_t kind;		    /* enum budget_kind */
	uint64_t uid;		    /* BUDGET_UID only */
	char unit[BREAKER_KEY_LEN]; /* BUDGET_UNIT only: breaker_key() */
};
_Static_assert(sizeof(struct budget_key) % 8 == 0, "budget_key");

/* Ghosts that were left alone over budget and of which no record speaks yet: numbers only. */
struct budget_left {
	uint64_t count, first, last; /* ghosts; their numbers */
	uint64_t exits;		     /* processes whose `exit` record this stands for */
	uint64_t classes[EXIT_CLASSES];
	const char *reason; /* NULL: several */
	char rule[RULE_NAME_MAX];
	bool ruled;    /* rule has the name of the first one's */
	bool several;  /* not all by that rule */
	mono_ns since; /* of the first */
};

TAILQ_HEAD(batch_queue, batch);

struct budget_account {
	struct budget_key key;
	struct bucket records, batches, ghosts;
	/* What is batched on it: of batch.c. */
	struct batch_queue open;
	unsigned open_count;
	struct budget_left left[2]; /* reported, ignored */
	mono_ns left_said;	    /* when the last record of these was made */
	mono_ns told;		    /* when standard error heard of it */
	bool active;		    /* in the list of those that something is batched on */
	TAILQ_ENTRY(budget_account) activity;
	TAILQ_ENTRY(budget_account) used; /* least recently used first */
	UT_hash_handle hh;
};
TAILQ_HEAD(budget_accounts, budget_account);

struct budget {
	const struct rate *records_rate, *ghosts_rate; /* a policy's: may change at any time */
	struct budget_account *by_key;
	struct budget_accounts used[2]; /* BUDGET_UID, BUDGET_UNIT */
	unsigned count[2];
	struct budget_account others[2]; /* shared by those without a place */
	struct budget_account all;
};

/* records: so many records may each account's ghosts have; ghosts: so many of them may be named in
 * batches. Both are also what may come at once. */
void budget_init(
	struct budget *b, const struct rate *records, const struct rate *ghosts, mono_ns now);

/* Pays `cost` records for a ghost of that uid and unit. NULL when it is paid; else the account that
 * is empty and nothing is paid: the uid's before the unit's before all's. */
struct budget_account *budget_pay(
	struct budget *b, uint64_t uid, const char *unit, unsigned cost, mono_ns now);

/* The same for what has to be written whatever the budget: it is paid for later. At most one
 * budget's worth is ever owed. */
void budget_owe(struct budget *b, uint64_t uid, const char *unit, unsigned cost, mono_ns now);

/* How many batches the account may have now, and how many ghosts in them. What it has a batch for,
 * all together must have, too: the last quarter of that is for those who are not over a budget of
 * their own. */
double budget_batches(struct budget *b, struct budget_account *account, mono_ns now);
double budget_ghosts(struct budget *b, struct budget_account *account, mono_ns now);

/* Pays for so many batches of so many ghosts. More than there is becomes owed, as above. */
void budget_batch_pay(struct budget *b, struct budget_account *account, unsigned batches,
	unsigned ghosts, mono_ns now);

/* Nanoseconds from `now` until the account may have a batch, and a ghost in it. 0: it may. */
uint64_t budget_batches_wait(struct budget *b, struct budget_account *account, mono_ns now);
uint64_t budget_ghosts_wait(struct budget *b, struct budget_account *account, mono_ns now);

/* "uid", "unit", "all". */
const char *budget_kind_name(const struct budget_account *account);

#endif
