/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/budget.c broker/keyed.c proto/log.c */
#include "tests/unit/unit.h"

#include "broker/budget.h"
#include "tests/unit/budget_free.h"

#define START (1000 * NS_PER_S)

static struct budget budget;
static struct rate records, ghosts;
static mono_ns now;

/* Sixty at once, and one more every second. */
static int
setup(void **state)
{
	(void)state;
	records = (struct rate){ 60, 60 * NS_PER_S };
	ghosts = (struct rate){ 600, 60 * NS_PER_S };
	now.ns = START;
	budget_init(&budget, &records, &ghosts, now);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	budget_free(&budget);
	return 0;
}

static struct budget_account *
paid(uint64_t uid, const char *unit, unsigned cost)
{
	return budget_pay(&budget, uid, unit, cost, now);
}

/* How many times it can be paid, one record each. */
static unsigned
spend(uint64_t uid, const char *unit)
{
	unsigned n = 0;

	while (paid(uid, unit, 1) == NULL)
		n++;
	return n;
}

static void
empty_expect(const struct budget_account *account, enum budget_kind kind)
{
	assert_non_null(account);
	assert_int_equal(account->key.kind, kind);
}

/* ---- who pays ---- */

static void
test_uid(void **state)
{
	const struct budget_account *account;

	(void)state;
	assert_int_equal(spend(33, "a"), 60);
	account = paid(33, "b", 1); /* whatever the unit */
	empty_expect(account, BUDGET_UID);
	assert_int_equal(account->key.uid, 33);
	assert_string_equal(budget_kind_name(account), "uid");
	assert_int_equal(spend(34, "b"), 60);
}

static void
test_unit(void **state)
{
	const struct budget_account *account;

	(void)state;
	for (uint64_t uid = 1; uid <= 60; uid++)
		assert_null(paid(uid, "a", 1));
	account = paid(61, "a", 1);
	empty_expect(account, BUDGET_UNIT);
	assert_string_equal(account->key.unit, "a");
	assert_string_equal(budget_kind_name(account), "unit");
	assert_null(paid(61, "aa", 1));
	assert_null(paid(61, "", 1));
}

/* Made-up uids and units: all together have four times one's. */
static void
test_all(void **state)
{
	char unit[16];

	(void)state;
	for (unsigned i = 0; i < 240; i++) {
		snprintf(unit, sizeof(unit), "u%u", i);
		assert_null(paid(i, unit, 1));
	}
	empty_expect(paid(1000, "new", 1), BUDGET_ALL);
	assert_string_equal(budget_kind_name(paid(1000, "new", 1)), "all");
	now.ns += NS_PER_S;
	assert_null(paid(1000, "new", 4));
	empty_expect(paid(1001, "newer", 1), BUDGET_ALL);
}

/* Who cannot pay all pays nothing. */
static void
test_nothing_is_half_paid(void **state)
{
	(void)state;
	assert_null(paid(33, "a", 59));
	empty_expect(paid(33, "b", 2), BUDGET_UID);
	assert_int_equal(spend(34, "b"), 60); /* b's account has not paid for 33 */
	empty_expect(paid(33, "a", 3), BUDGET_UID);
	assert_null(paid(33, "c", 1));
}

static void
test_unknown(void **state)
{
	(void)state;
	assert_int_equal(spend(BUDGET_UID_UNKNOWN, "unknown"), 60);
	assert_int_equal(spend(UINT32_MAX, "a"), 60); /* a uid like any other */
}

/* ---- time ---- */

static void
test_fills_with_time(void **state)
{
	(void)state;
	assert_int_equal(spend(33, "a"), 60);
	now.ns += NS_PER_S;
	assert_int_equal(spend(33, "a"), 1);
	now.ns += 10 * NS_PER_S;
	assert_int_equal(spend(33, "a"), 10);
	now.ns += UINT64_MAX / 2;
	assert_int_equal(spend(33, "a"), 60);
}

/* In whole minutes: never more than the rate, but for the first. */
static void
test_bound(void **state)
{
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 600 * 100; i++) {
		now.ns += 10 * NS_PER_MS;
		n += spend(33, "a");
	}
	assert_in_range(n, 600 + 59, 600 + 60);
}

/* A new policy counts from now on. */
static void
test_another_rate(void **state)
{
	(void)state;
	assert_int_equal(spend(33, "a"), 60);
	records.count = 600;
	now.ns += NS_PER_S;
	assert_int_equal(spend(33, "a"), 10);
	now.ns += 60 * NS_PER_S;
	records.count = 6;
	assert_int_equal(spend(33, "a"), 6);
}

/* What had to be written is paid for later, but one budget's worth is the most. */
static void
test_owed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 60 + 10; i++)
		budget_owe(&budget, 33, "a", 1, now);
	now.ns += 10 * NS_PER_S;
	assert_int_equal(spend(33, "a"), 0);
	now.ns += NS_PER_S;
	assert_int_equal(spend(33, "a"), 1);
	for (unsigned i = 0; i < 1000; i++)
		budget_owe(&budget, 33, "a", 1, now);
	now.ns += 62 * NS_PER_S;
	assert_int_equal(spend(33, "a"), 2);
}

/* ---- batches ---- */

static struct budget_account *
empty_account(uint64_t uid)
{
	struct budget_account *account;
	char unit[16];

	snprintf(unit, sizeof(unit), "u%llu", (unsigned long long)uid);
	spend(uid, unit);
	account = paid(uid, unit, 1);
	assert_non_null(account);
	return account;
}

static void
test_batches(void **state)
{
	struct budget_account *account = empty_account(33);

	(void)state;
	assert_true(budget_batches(&budget, account, now) >= BUDGET_BATCHES_COUNT);
	for (unsigned i = 0; i < BUDGET_BATCHES_COUNT; i++)
		budget_batch_pay(&budget, account, 1, 2, now);
	assert_true(budget_batches(&budget, account, now) < 1);
	assert_int_equal(budget_batches_wait(&budget, account, now) / NS_PER_MS, 1000);
	assert_int_equal(budget_ghosts_wait(&budget, account, now), 0);
	now.ns += NS_PER_S;
	assert_int_equal(budget_batches_wait(&budget, account, now), 0);
	budget_batch_pay(&budget, account, 0, 1000, now); /* a full one: more than there are */
	assert_true(budget_ghosts(&budget, account, now) < 0);
	assert_int_equal(budget_batches_wait(&budget, account, now), 0);
	now.ns += budget_ghosts_wait(&budget, account, now);
	assert_true(budget_ghosts(&budget, account, now) >= 1);
	assert_true(now.ns < START + 60 * NS_PER_S);
}

/* Those over budgets of their own leave a quarter of all's to whoever has no place elsewhere. */
static void
test_reserve(void **state)
{
	unsigned batches = 0;

	(void)state;
	for (uint64_t uid = 1; uid <= 10; uid++) {
		struct budget_account *account = empty_account(uid);

		now.ns += 1;
		if (account->key.kind == BUDGET_ALL)
			break;
		while (budget_batches_wait(&budget, account, now) == 0) {
			budget_batch_pay(&budget, account, 1, 1, now);
			batches++;
		}
	}
	assert_in_range(batches, 3 * BUDGET_BATCHES_COUNT - 1, 3 * BUDGET_BATCHES_COUNT + 1);
	assert_int_equal(budget_batches_wait(&budget, &budget.all, now), 0);
	while (budget_batches_wait(&budget, &budget.all, now) == 0) {
		budget_batch_pay(&budget, &budget.all, 1, 1, now);
		batches++;
	}
	assert_in_range(batches, 4 * BUDGET_BATCHES_COUNT - 1, 4 * BUDGET_BATCHES_COUNT + 1);
	now.ns += NS_PER_S; /* four batches a second of all's: still not for those */
	assert_int_equal(budget_batches_wait(&budget, &budget.all, now), 0);
	assert_true(budget_batches_wait(&budget, empty_account(1), now) > 0);
}

/* ---- many ---- */

static unsigned
others_count(unsigned first, unsigned count)
{
	char unit[16];
	unsigned n = 0;

	for (unsigned i = first; i < first + count; i++) {
		snprintf(unit, sizeof(unit), "u%u", i);
		n += paid(i, unit, 1) == NULL;
	}
	return n;
}

/* Without a place for them newcomers share one account: however many they are. */
static void
test_no_fresh_account_for_many(void **state)
{
	(void)state;
	records.count = 1000000; /* all's does not come into it */
	budget.all.records.tokens = 4e6;
	assert_int_equal(others_count(0, BUDGET_ACCOUNTS_MAX), BUDGET_ACCOUNTS_MAX);
	records.count = 60;
	budget.all.records.tokens = 4e6;
	for (unsigned round = 0; round < 2; round++) {
		struct budget_account *account;

		TAILQ_FOREACH (account, &budget.used[round], used)
			account->records.tokens = 30;
	}
	budget.others[0].records.tokens = budget.others[1].records.tokens = 60;
	for (unsigned i = 0; i < 60; i++) {
		budget.all.records.tokens = 4e6;
		assert_int_equal(others_count(100000 + i, 1), 1);
	}
	budget.all.records.tokens = 4e6;
	assert_int_equal(others_count(200000, 10000), 0);
	assert_int_equal(budget.count[0], BUDGET_ACCOUNTS_MAX);
	assert_int_equal(budget.count[1], BUDGET_ACCOUNTS_MAX);
	/* Who has a place keeps it. */
	assert_int_equal(others_count(5, 1), 1);
	/* In time they are full again, and can be forgotten. */
	now.ns += 60 * NS_PER_S;
	assert_int_equal(others_count(300000, 60), 60);
	assert_int_equal(budget.count[0], BUDGET_ACCOUNTS_MAX);
}

/* Memory for nobody's sake. */
static void
test_tables_are_bounded(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		others_count(i * 1000, 1000);
		now.ns += 20 * NS_PER_S;
		assert_true(budget.count[0] <= BUDGET_ACCOUNTS_MAX);
		assert_true(budget.count[1] <= BUDGET_ACCOUNTS_MAX);
		assert_true(HASH_COUNT(budget.by_key) <= 2 * BUDGET_ACCOUNTS_MAX);
	}
}

/* Something is batched on it: it is not forgotten, however full. */
static void
test_active_accounts_stay(void **state)
{
	struct budget_account *account = empty_account(33);

	(void)state;
	account->active = true;
	for (unsigned i = 0; i < 10; i++) {
		now.ns += 3600 * NS_PER_S;
		others_count(i * 1000, 1000);
	}
	now.ns += 3600 * NS_PER_S;
	assert_int_equal(spend(33, "u33"), 60);
	assert_ptr_equal(paid(33, "u33", 1), account);
}

#define WITH_BUDGET(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_BUDGET(test_uid),
		WITH_BUDGET(test_unit),
		WITH_BUDGET(test_all),
		WITH_BUDGET(test_nothing_is_half_paid),
		WITH_BUDGET(test_unknown),
		WITH_BUDGET(test_fills_with_time),
		WITH_BUDGET(test_bound),
		WITH_BUDGET(test_another_rate),
		WITH_BUDGET(test_owed),
		WITH_BUDGET(test_batches),
		WITH_BUDGET(test_reserve),
		WITH_BUDGET(test_no_fresh_account_for_many),
		WITH_BUDGET(test_tables_are_bounded),
		WITH_BUDGET(test_active_accounts_stay),
	};

	return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
