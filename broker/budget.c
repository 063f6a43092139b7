/* SPDX-License-Identifier: Apache-2.0 */
#include "budget.h"

#include <stdlib.h>
#include <string.h>

static const struct rate batches_rate = { BUDGET_BATCHES_COUNT, BUDGET_BATCHES_NS };

/* ---- buckets ---- */

static unsigned
times(const struct budget_account *account)
{
	return account->key.kind == BUDGET_ALL ? BUDGET_ALL_TIMES : 1;
}

static double
capacity(const struct budget_account *account, const struct rate *rate)
{
	return (double)rate->count * times(account);
}

static double
per_ns(const struct budget_account *account, const struct rate *rate)
{
	return capacity(account, rate) / (double)rate->per_ns;
}

/* A capacity at most, a capacity more every rate->per_ns. Returns what is there. */
static double
level(const struct budget_account *account, struct bucket *bucket, const struct rate *rate,
	mono_ns now)
{
	double most = capacity(account, rate);

	if (now.ns > bucket->filled.ns) {
		bucket->tokens += (double)(now.ns - bucket->filled.ns) * per_ns(account, rate);
		bucket->filled = now;
	}
	if (bucket->tokens > most)
		bucket->tokens = most;
	return bucket->tokens;
}

static void
pay(const struct budget_account *account, struct bucket *bucket, const struct rate *rate,
	double cost)
{
	double least = -capacity(account, rate);

	bucket->tokens -= cost;
	if (bucket->tokens < least)
		bucket->tokens = least;
}

/* ---- accounts ---- */

/* The table's macros shift and subtract hash values in plain int. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"

static struct budget_account *
account_find(const struct budget *b, const struct budget_key *key)
{
	struct budget_account *account;

	HASH_FIND(hh, b->by_key, key, sizeof(*key), account);
	return account;
}

static void
account_insert(struct budget *b, struct budget_account *account)
{
	HASH_ADD(hh, b->by_key, key, sizeof(account->key), account);
	TAILQ_INSERT_TAIL(&b->used[account->key.kind], account, used);
	b->count[account->key.kind]++;
}

static void
account_forget(struct budget *b, struct budget_account *account)
{
	HASH_DELETE(hh, b->by_key, account);
	TAILQ_REMOVE(&b->used[account->key.kind], account, used);
	b->count[account->key.kind]--;
	free(account);
}

#pragma GCC diagnostic pop

static void
account_fill(struct budget *b, struct budget_account *account, mono_ns now)
{
	TAILQ_INIT(&account->open);
	account->records = (struct bucket){ capacity(account, b->records_rate), now };
	account->batches = (struct bucket){ capacity(account, &batches_rate), now };
	account->ghosts = (struct bucket){ capacity(account, b->ghosts_rate), now };
}

static bool
is_full(struct budget *b, struct budget_account *account, mono_ns now)
{
	const struct {
		struct bucket *bucket;
		const struct rate *rate;
	} all[] = { { &account->records, b->records_rate }, { &account->batches, &batches_rate },
		{ &account->ghosts, b->ghosts_rate } };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (level(account, all[i].bucket, all[i].rate, now) <
			capacity(account, all[i].rate))
			return false;
	}
	return true;
}

/* One of the least recently used that nothing is lost with. */
#define FORGET_STEPS_MAX 8u

static bool
room_make(struct budget *b, unsigned kind, mono_ns now)
{
	struct budget_account *account = TAILQ_FIRST(&b->used[kind]);

	for (unsigned n = 0; account != NULL && n < FORGET_STEPS_MAX; n++) {
		if (!account->active && is_full(b, account, now)) {
			account_forget(b, account);
			return true;
		}
		account = TAILQ_NEXT(account, used);
	}
	return false;
}

static struct budget_account *
account_use(struct budget *b, const struct budget_key *key, mono_ns now)
{
	struct budget_account *account = account_find(b, key);

	if (account != NULL) {
		TAILQ_REMOVE(&b->used[key->kind], account, used);
		TAILQ_INSERT_TAIL(&b->used[key->kind], account, used);
		return account;
	}
	if (b->count[key->kind] >= BUDGET_ACCOUNTS_MAX && !room_make(b, (unsigned)key->kind, now))
		return &b->others[key->kind];
	account = calloc(1, sizeof(*account));
	if (account == NULL)
		fatal("out of memory for %u accounts", b->count[key->kind] + 1);
	account->key = *key;
	account_fill(b, account, now);
	account_insert(b, account);
	return account;
}

void
budget_init(struct budget *b, const struct rate *records, const struct rate *ghosts, mono_ns now)
{
	keyed_start();
	*b = (struct budget){ .records_rate = records, .ghosts_rate = ghosts };
	for (unsigned kind = BUDGET_UID; kind <= BUDGET_UNIT; kind++) {
		TAILQ_INIT(&b->used[kind]);
		b->others[kind].key.kind = kind;
		account_fill(b, &b->others[kind], now);
	}
	b->all.key.kind = BUDGET_ALL;
	account_fill(b, &b->all, now);
}

static void
accounts_of(struct budget *b, uint64_t uid, const char *unit, mono_ns now,
	struct budget_account *accounts[BUDGET_KINDS])
{
	struct budget_key key = { .kind = BUDGET_UID, .uid = uid };

	accounts[BUDGET_UID] = account_use(b, &key, now);
	key = (struct budget_key){ .kind = BUDGET_UNIT };
	memccpy(key.unit, unit, '\0', sizeof(key.unit) - 1);
	accounts[BUDGET_UNIT] = account_use(b, &key, now);
	accounts[BUDGET_ALL] = &b->all;
}

struct budget_account *
budget_pay(struct budget *b, uint64_t uid, const char *unit, unsigned cost, mono_ns now)
{
	struct budget_account *accounts[BUDGET_KINDS];

	accounts_of(b, uid, unit, now, accounts);
	for (unsigned i = 0; i < BUDGET_KINDS; i++) {
		if (level(accounts[i], &accounts[i]->records, b->records_rate, now) < cost)
			return accounts[i];
	}
	for (unsigned i = 0; i < BUDGET_KINDS; i++)
		pay(accounts[i], &accounts[i]->records, b->records_rate, cost);
	return NULL;
}

void
budget_owe(struct budget *b, uint64_t uid, const char *unit, unsigned cost, mono_ns now)
{
	struct budget_account *accounts[BUDGET_KINDS];

	accounts_of(b, uid, unit, now, accounts);
	for (unsigned i = 0; i < BUDGET_KINDS; i++) {
		level(accounts[i], &accounts[i]->records, b->records_rate, now);
		pay(accounts[i], &accounts[i]->records, b->records_rate, cost);
	}
}

/* ---- batches ---- */

/* Of all's, what the others must leave. */
static double
reserve(const struct budget_account *account, const struct rate *rate)
{
	return capacity(account, rate) / 4;
}

static double
batch_level(struct budget *b, struct budget_account *account, struct bucket *own,
	struct bucket *all, const struct rate *rate, mono_ns now)
{
	double mine = level(account, own, rate, now), rest;

	if (account == &b->all)
		return mine;
	rest = level(&b->all, all, rate, now) - reserve(&b->all, rate);
	return mine < rest ? mine : rest;
}

double
budget_batches(struct budget *b, struct budget_account *account, mono_ns now)
{
	return batch_level(b, account, &account->batches, &b->all.batches, &batches_rate, now);
}

double
budget_ghosts(struct budget *b, struct budget_account *account, mono_ns now)
{
	return batch_level(b, account, &account->ghosts, &b->all.ghosts, b->ghosts_rate, now);
}

static void
account_pay(struct budget *b, struct budget_account *account, unsigned batches, unsigned ghosts)
{
	pay(account, &account->batches, &batches_rate, batches);
	pay(account, &account->ghosts, b->ghosts_rate, ghosts);
}

void
budget_batch_pay(struct budget *b, struct budget_account *account, unsigned batches,
	unsigned ghosts, mono_ns now)
{
	budget_batches(b, account, now);
	budget_ghosts(b, account, now);
	account_pay(b, account, batches, ghosts);
	if (account != &b->all)
		account_pay(b, &b->all, batches, ghosts);
}

static uint64_t
wait_for(const struct budget_account *account, const struct bucket *bucket, const struct rate *rate,
	double wanted)
{
	if (bucket->tokens >= wanted)
		return 0;
	return (uint64_t)((wanted - bucket->tokens) / per_ns(account, rate)) + 1;
}

static uint64_t
batch_wait(struct budget *b, struct budget_account *account, struct bucket *own, struct bucket *all,
	const struct rate *rate)
{
	uint64_t mine = wait_for(account, own, rate, 1), rest;

	if (account == &b->all)
		return mine;
	rest = wait_for(&b->all, all, rate, 1 + reserve(&b->all, rate));
	return mine > rest ? mine : rest;
}

uint64_t
budget_batches_wait(struct budget *b, struct budget_account *account, mono_ns now)
{
	budget_batches(b, account, now);
	return batch_wait(b, account, &account->batches, &b->all.batches, &batches_rate);
}

uint64_t
budget_ghosts_wait(struct budget *b, struct budget_account *account, mono_ns now)
{
	budget_ghosts(b, account, now);
	return batch_wait(b, account, &account->ghosts, &b->all.ghosts, b->ghosts_rate);
}

const char *
budget_kind_name(const struct budget_account *account)
{
	static const char *const names[BUDGET_KINDS] = { "uid", "unit", "all" };

	return names[account->key.kind];
}
