/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/ghosts.c broker/exitclass.c proto/log.c broker/budget.c broker/keyed.c broker/breaker.c | pkg: nettle */
/* clang-format on */
#include "tests/unit/unit.h"

#include <sys/socket.h>

#include "broker/ghosts.h"
#include "tests/unit/ghosts_free.h"

static struct ghosts table;

static int
setup(void **state)
{
	(void)state;
	ghosts_init(&table, "boot");
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	ghosts_free(&table);
	return 0;
}

static struct wire_orphan
orphan_of(uint32_t tgid, uint64_t cookie)
{
	return (struct wire_orphan){ .owner = { .start_boottime = 1000 + tgid,
					     .tgid = tgid,
					     .uid = 33,
					     .exit_code = 9,
					     .comm = "nginx" },
		.tuple = { .family = AF_INET, .src_port = 80, .netns = 5 },
		.cookie = cookie,
		.born_mono_ns = 77,
		.send_queue = 88,
		.state = TCP_STATE_FIN_WAIT1 };
}

static struct ghost *
add(uint32_t tgid, uint64_t cookie)
{
	const struct wire_orphan orphan = orphan_of(tgid, cookie);

	return ghosts_add(&table, &orphan, (mono_ns){ 1000 });
}

static void
test_add(void **state)
{
	struct wire_orphan orphan = orphan_of(812, 0x1007);
	struct ghost *ghost = ghosts_add(&table, &orphan, (mono_ns){ 1000 });

	(void)state;
	assert_non_null(ghost);
	assert_int_equal(ghost->id, 1);
	assert_int_equal(ghost->cookie, 0x1007);
	assert_int_equal(ghost->phase, GHOST_FRESH);
	assert_int_equal(ghost->born.ns, 77);
	assert_int_equal(ghost->send_queue, 88);
	assert_int_equal(ghost->state, TCP_STATE_FIN_WAIT1);
	assert_int_equal(ghost->exit, EXIT_KILL);
	assert_memory_equal(&ghost->tuple, &orphan.tuple, sizeof(orphan.tuple));
	assert_memory_equal(&ghost->owner->process, &orphan.owner, sizeof(orphan.owner));
	assert_false(ghost->owner->recorded);
	assert_ptr_equal(ghosts_find(&table, 0x1007), ghost);
	assert_null(ghosts_find(&table, 0x1008));
	assert_int_equal(table.total, 1);
	assert_int_equal(table.counts[GHOST_FRESH], 1);
}

static void
test_cookie_once(void **state)
{
	(void)state;
	assert_non_null(add(1, 5));
	assert_null(add(1, 5));
	assert_null(add(2, 5)); /* whoever is said to have left it */
	assert_int_equal(table.total, 1);
	ghosts_remove(&table, ghosts_find(&table, 5));
	assert_null(ghosts_find(&table, 5));
	assert_int_equal(table.total, 0);
	assert_int_equal(add(1, 5)->id, 2); /* another ghost, another number */
}

/* Cookies that differ in one bit are different sockets. */
static void
test_cookies_are_whole(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++)
		assert_non_null(add(1, 1ull << bit));
	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(ghosts_find(&table, 1ull << bit)->id, bit + 1);
	assert_null(ghosts_find(&table, 3));
}

static void
test_exit_classes(void **state)
{
	struct wire_orphan orphan = orphan_of(1, 1);
	struct ghost *ghost;

	(void)state;
	orphan.owner.flags = WIRE_OWNER_OOM;
	ghost = ghosts_add(&table, &orphan, (mono_ns){ 1000 });
	assert_int_equal(ghost->exit, EXIT_OOM);
	/* Closed before the death: the ghost is, its owner died of what it died of. */
	orphan.cookie = 2;
	orphan.flags = WIRE_ORPHAN_CLOSED;
	ghost = ghosts_add(&table, &orphan, (mono_ns){ 1000 });
	assert_int_equal(ghost->exit, EXIT_CLOSED);
	assert_int_equal(ghost->owner->exit, EXIT_OOM);
}

/* A birth that has not been yet, by the tracker's word, was now: no grace begins in the future. */
static void
test_birth_is_not_in_the_future(void **state)
{
	const uint64_t births[] = { 0, 1, 999, 1000, 1001, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(births); i++) {
		struct wire_orphan orphan = orphan_of(1, i + 1);
		struct ghost *ghost;

		orphan.born_mono_ns = births[i];
		ghost = ghosts_add(&table, &orphan, (mono_ns){ 1000 });
		assert_int_equal(ghost->born.ns, births[i] < 1000 ? births[i] : 1000);
	}
}

/* ---- owners ---- */

static void
test_one_owner(void **state)
{
	struct ghost *a = add(812, 1), *b = add(812, 2), *c = add(813, 3);

	(void)state;
	assert_ptr_equal(a->owner, b->owner);
	assert_ptr_not_equal(a->owner, c->owner);
	assert_int_equal(a->owner->ghosts, 2);
}

/* The same pid, another process. */
static void
test_pid_used_again(void **state)
{
	struct wire_orphan orphan = orphan_of(812, 1);
	struct ghost *a = ghosts_add(&table, &orphan, (mono_ns){ 1000 }), *b;

	(void)state;
	orphan.cookie = 2;
	orphan.owner.start_boottime++;
	b = ghosts_add(&table, &orphan, (mono_ns){ 1000 });
	assert_ptr_not_equal(a->owner, b->owner);
	assert_string_not_equal(a->owner->entity_id, b->owner->entity_id);
}

static void
test_first_account_counts(void **state)
{
	struct wire_orphan orphan = orphan_of(812, 1);
	struct ghost *ghost;

	(void)state;
	orphan.owner.exit_code = 0;
	ghosts_add(&table, &orphan, (mono_ns){ 1000 });
	orphan.cookie = 2;
	orphan.owner.exit_code = 9; /* a clean exit cannot become a kill */
	orphan.owner.uid = 0;
	memcpy(orphan.owner.comm, "other", 6);
	ghost = ghosts_add(&table, &orphan, (mono_ns){ 1000 });
	assert_int_equal(ghost->exit, EXIT_CLEAN);
	assert_int_equal(ghost->owner->process.uid, 33);
	assert_string_equal(ghost->owner->process.comm, "nginx");
}

static void
test_owner_stays_a_while(void **state)
{
	struct ghost *ghost = add(812, 1);
	struct owner *owner = ghost->owner;

	(void)state;
	owner->recorded = true;
	ghosts_remove(&table, ghost);
	assert_int_equal(table.idle_count, 1);
	ghost = add(812, 2);
	assert_ptr_equal(ghost->owner, owner);
	assert_true(owner->recorded);
	assert_int_equal(owner->ghosts, 1);
	assert_int_equal(table.idle_count, 0);
}

static void
leave_once(uint32_t tgid)
{
	struct ghost *ghost = add(tgid, tgid);

	ghost->owner->recorded = true;
	ghosts_remove(&table, ghost);
}

static bool
is_remembered(uint32_t tgid)
{
	struct ghost *ghost = add(tgid, tgid);
	bool recorded = ghost->owner->recorded;

	ghost->owner->recorded = true;
	ghosts_remove(&table, ghost);
	return recorded;
}

/* As many as there is room for; the one idle for longest goes first. */
static void
test_idle_owners_are_bounded(void **state)
{
	(void)state;
	for (uint32_t tgid = 1; tgid <= OWNERS_IDLE_MAX; tgid++)
		leave_once(tgid);
	assert_int_equal(table.idle_count, OWNERS_IDLE_MAX);
	assert_true(is_remembered(1)); /* and is the youngest now */
	leave_once(OWNERS_IDLE_MAX + 1);
	assert_int_equal(table.idle_count, OWNERS_IDLE_MAX);
	assert_true(is_remembered(1));
	assert_true(is_remembered(3));
	assert_false(is_remembered(2));
	for (uint32_t tgid = 1; tgid <= 3 * OWNERS_IDLE_MAX; tgid++)
		leave_once(100000 + tgid);
	assert_int_equal(table.idle_count, OWNERS_IDLE_MAX);
}

/* An owner with a ghost in hand is not idle, however many others come and go. */
static void
test_busy_owner_stays(void **state)
{
	struct ghost *ghost = add(1, 1);

	(void)state;
	ghost->owner->recorded = true;
	for (uint32_t tgid = 2; tgid <= 2 * OWNERS_IDLE_MAX; tgid++)
		leave_once(tgid);
	assert_ptr_equal(add(1, 999999)->owner, ghost->owner);
}

/* ---- queues ---- */

static void
queue_expect(struct ghost_queue *queue, const uint64_t *cookies, size_t count)
{
	const struct ghost *ghost = TAILQ_FIRST(queue);

	for (size_t i = 0; i < count; i++, ghost = TAILQ_NEXT(ghost, queue)) {
		assert_non_null(ghost);
		assert_int_equal(ghost->cookie, cookies[i]);
	}
	assert_null(ghost);
}

static void
test_first_come(void **state)
{
	struct ghost *a = add(1, 1), *b = add(1, 2), *c = add(1, 3);

	(void)state;
	queue_expect(&table.fresh.parts[a->slot], (const uint64_t[]){ 1, 2, 3 }, 3);
	ghosts_move(&table, b, GHOST_DECIDED);
	ghosts_move(&table, a, GHOST_DECIDED);
	queue_expect(&table.fresh.parts[a->slot], (const uint64_t[]){ 3 }, 1);
	queue_expect(&table.decided.parts[a->slot], (const uint64_t[]){ 2, 1 }, 2);
	ghosts_move(&table, c, GHOST_FRESH);
	ghosts_move(&table, b, GHOST_SENT);
	assert_int_equal(table.counts[GHOST_FRESH], 1);
	assert_int_equal(table.counts[GHOST_DECIDED], 1);
	assert_int_equal(table.counts[GHOST_SENT], 1);
	assert_int_equal(table.total, 3);
	ghosts_remove(&table, a);
	assert_int_equal(table.counts[GHOST_DECIDED], 0);
}

static void
keep_waiting(struct ghost *ghost, unsigned lane, uint64_t due)
{
	ghosts_wait(&table, ghost, lane, (mono_ns){ due }, GHOST_FRESH);
}

static void
test_waiting(void **state)
{
	struct ghost *a = add(1, 1), *b = add(1, 2), *c = add(1, 3), *d = add(1, 4);

	(void)state;
	assert_null(ghosts_first_due(&table));
	keep_waiting(a, 0, 300);
	assert_ptr_equal(ghosts_first_due(&table), a);
	keep_waiting(b, GHOST_LANE_RETRY, 100);
	keep_waiting(c, 5, 200);
	keep_waiting(d, 5, 250);
	assert_int_equal(table.counts[GHOST_WAITING], 4);
	assert_ptr_equal(ghosts_first_due(&table), b);
	ghosts_move(&table, b, GHOST_FRESH);
	assert_ptr_equal(ghosts_first_due(&table), c);
	ghosts_remove(&table, c);
	assert_ptr_equal(ghosts_first_due(&table), d);
	keep_waiting(d, POLICY_RULES_MAX - 1, 400); /* to another lane */
	assert_ptr_equal(ghosts_first_due(&table), a);
	ghosts_move(&table, a, GHOST_FRESH);
	ghosts_move(&table, d, GHOST_FRESH);
	assert_null(ghosts_first_due(&table));
	assert_int_equal(table.counts[GHOST_WAITING], 0);
}

/* Where it goes when it is due is kept until then, and each lane is another. */
static void
test_waiting_for(void **state)
{
	struct ghost *a = add(1, 1), *b = add(1, 2);

	(void)state;
	ghosts_wait(&table, a, GHOST_LANE_SETTLE, (mono_ns){ 20 }, GHOST_FRESH);
	ghosts_wait(&table, b, GHOST_LANE_RETRY, (mono_ns){ 10 }, GHOST_UNSAMPLED);
	assert_true(a->phase == GHOST_WAITING && a->next == GHOST_FRESH && a->due.ns == 20);
	assert_true(b->phase == GHOST_WAITING && b->next == GHOST_UNSAMPLED && b->due.ns == 10);
	assert_ptr_equal(ghosts_first_due(&table), b);
	ghosts_move(&table, b, b->next);
	queue_expect(&table.unsampled.parts[b->slot], (const uint64_t[]){ 2 }, 1);
	queue_expect(&table.lanes[GHOST_LANE_SETTLE], (const uint64_t[]){ 1 }, 1);
	assert_true(TAILQ_EMPTY(&table.lanes[GHOST_LANE_RETRY]));
}

/* ---- found without an owner ---- */

static struct ghost *
adopt(uint64_t cookie)
{
	const struct wire_orphan orphan = orphan_of(1, cookie);
	const struct wire_found_record found = { .cookie = cookie,
		.tuple = orphan.tuple,
		.progress = { .send_queue = 99 },
		.state = TCP_STATE_LAST_ACK };

	return ghosts_adopt(&table, &found, (mono_ns){ 1000 });
}

static void
test_adopt(void **state)
{
	struct wire_orphan orphan = orphan_of(812, 7);
	struct ghost *ghost = adopt(7);

	(void)state;
	assert_non_null(ghost);
	assert_null(ghost->owner);
	assert_int_equal(ghost->exit, EXIT_UNKNOWN);
	assert_int_equal(ghost->phase, GHOST_FRESH);
	assert_int_equal(ghost->born.ns, 1000);
	assert_int_equal(ghost->send_queue, 99);
	assert_int_equal(ghost->state, TCP_STATE_LAST_ACK);
	assert_memory_equal(&ghost->tuple, &orphan.tuple, sizeof(orphan.tuple));
	assert_ptr_equal(ghosts_find(&table, 7), ghost);
	assert_null(adopt(7));
	assert_null(add(812, 7)); /* naming is another thing */
	add(812, 8);
	assert_null(adopt(8));
	ghosts_remove(&table, ghost); /* without an owner to be released */
	assert_int_equal(table.total, 1);
	assert_int_equal(table.idle_count, 0);
}

static void
test_name(void **state)
{
	struct wire_orphan orphan = orphan_of(812, 7);
	struct ghost *ghost = adopt(7), *other = add(812, 8);

	(void)state;
	ghosts_name(&table, ghost, &orphan, (mono_ns){ 2000 });
	assert_ptr_equal(ghost->owner, other->owner);
	assert_int_equal(ghost->owner->ghosts, 2);
	assert_int_equal(ghost->exit, EXIT_KILL);
	assert_int_equal(ghost->born.ns, 77);
	assert_int_equal(ghost->send_queue, 88);
	assert_int_equal(ghost->state, TCP_STATE_FIN_WAIT1);
	assert_int_equal(ghost->id, 1);
	assert_int_equal(table.total, 2);
	ghost = adopt(9);
	orphan = orphan_of(813, 9);
	orphan.flags = WIRE_ORPHAN_CLOSED;
	orphan.born_mono_ns = UINT64_MAX;
	ghosts_name(&table, ghost, &orphan, (mono_ns){ 2000 });
	assert_int_equal(ghost->exit, EXIT_CLOSED);
	assert_int_equal(ghost->born.ns, 2000);
	ghosts_remove(&table, ghost);
	assert_int_equal(table.idle_count, 1);
}

/* ---- who makes room ---- */

static const struct wire_owner nobody; /* any owner: another one's slot */

static void
test_evict(void **state)
{
	static const uint64_t order[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
	const struct wire_owner *process;
	unsigned *count;

	(void)state;
	assert_false(ghosts_evict(&table, &nobody));
	ghosts_wait(&table, add(1, 9), GHOST_LANE_SETTLE, (mono_ns){ 1 }, GHOST_FRESH);
	keep_waiting(add(1, 7), 0, 50);
	keep_waiting(add(1, 8), 3, 20);
	ghosts_move(&table, add(1, 5), GHOST_UNSAMPLED);
	ghosts_move(&table, add(1, 6), GHOST_UNSAMPLED);
	ghosts_move(&table, add(1, 3), GHOST_HELD);
	ghosts_move(&table, add(1, 4), GHOST_HELD);
	ghosts_move(&table, add(1, 1), GHOST_LEFT);
	ghosts_move(&table, add(1, 2), GHOST_LEFT);
	add(1, 21);
	ghosts_move(&table, add(1, 22), GHOST_SAMPLED);
	ghosts_move(&table, add(1, 23), GHOST_DECIDED);
	ghosts_move(&table, add(1, 24), GHOST_SENT);
	ghosts_wait(&table, add(1, 25), GHOST_LANE_RATE, (mono_ns){ 1 }, GHOST_DECIDED);
	ghosts_move(&table, add(1, 26), GHOST_BATCHED);
	process = &ghosts_find(&table, 21)->owner->process;
	count = &table.slot_counts[ghosts_find(&table, 21)->slot];
	*count += GHOSTS_MAX; /* as if there were */
	for (size_t i = 0; i < COUNT_OF(order); i++) {
		assert_non_null(ghosts_find(&table, order[i]));
		assert_true(ghosts_evict(&table, process));
		assert_null(ghosts_find(&table, order[i]));
	}
	assert_false(ghosts_evict(&table, process));
	assert_int_equal(table.total, 6);
	*count -= GHOSTS_MAX;
	assert_int_equal(*count, 6);
}

/* Whose owner has no more than its share makes no room for another's. */
static void
test_evict_the_greedy_only(void **state)
{
	(void)state;
	keep_waiting(add(1, 1), 0, 50);
	ghosts_move(&table, add(1, 2), GHOST_HELD);
	assert_false(ghosts_evict(&table, &nobody));
	assert_false(ghosts_evict(&table, NULL));
	ghosts_move(&table, add(1, 3), GHOST_LEFT);
	assert_true(ghosts_evict(&table, &nobody)); /* but for what was only to be remembered */
	assert_null(ghosts_find(&table, 3));
}

/* ---- turns ---- */

static struct ghost *
add_of(uint32_t uid, const char *unit, uint64_t cookie)
{
	struct wire_orphan orphan = orphan_of(uid * 1000 + (uint32_t)strlen(unit), cookie);

	orphan.owner.uid = uid;
	snprintf(orphan.owner.unit, sizeof(orphan.owner.unit), "%s", unit);
	orphan.owner.start_boottime += (uint64_t)(unsigned char)unit[0] << 32;
	return ghosts_add(&table, &orphan, (mono_ns){ 1000 });
}

/* How many of the next `turns` that are asked for are of that uid. */
static unsigned
served(uint32_t uid, unsigned turns)
{
	unsigned n = 0;

	for (unsigned i = 0; i < turns; i++) {
		struct ghost *ghost = ghosts_first(&table, GHOST_DECIDED);

		assert_non_null(ghost);
		n += ghost->owner->process.uid == uid;
		ghosts_move(&table, ghost, GHOST_SENT);
	}
	return n;
}

/* However many ghosts one has, and however many units: another waits for one turn each. Secrets
 * differ, so two uids that are to have parts of their own are looked for. */
static void
test_turns(void **state)
{
	char unit[] = "a.service";
	uint32_t other = 2;

	(void)state;
	for (uint64_t i = 0; i < 1000; i++) {
		unit[0] = (char)('a' + i % 20);
		ghosts_move(&table, add_of(1, unit, 1 + i), GHOST_DECIDED);
	}
	while (add_of(other, "b.service", 100000 + other)->slot / FAIR_UNITS ==
		ghosts_find(&table, 1)->slot / FAIR_UNITS)
		other++;
	for (uint64_t i = 0; i < 5; i++)
		ghosts_move(&table, add_of(other, "b.service", 200000 + i), GHOST_DECIDED);
	assert_int_equal(served(other, 10), 5);
	assert_int_equal(served(other, 995), 0);
	assert_null(ghosts_first(&table, GHOST_DECIDED));
	assert_true(table.decided.uids == 0);
}

/* Within one uid its units take turns, and each unit's ghosts come in order; what was put back is
 * the first again. */
static void
test_turns_of_units(void **state)
{
	struct ghost *first, *second;
	unsigned n = 0;

	(void)state;
	for (uint64_t i = 1; i <= 100; i++)
		ghosts_move(&table, add_of(1, "many.service", i), GHOST_UNSAMPLED);
	first = ghosts_first(&table, GHOST_UNSAMPLED);
	assert_int_equal(first->cookie, 1);
	ghosts_move(&table, first, GHOST_SAMPLED);
	second = ghosts_first(&table, GHOST_UNSAMPLED);
	ghosts_move(&table, second, GHOST_SAMPLED);
	ghosts_put_back(&table, second, GHOST_UNSAMPLED);
	ghosts_put_back(&table, first, GHOST_UNSAMPLED);
	for (uint64_t cookie = 1; cookie <= 3; cookie++) {
		assert_int_equal(ghosts_first(&table, GHOST_UNSAMPLED)->cookie, cookie);
		ghosts_move(&table, ghosts_find(&table, cookie), GHOST_SAMPLED);
	}
	for (char name[] = "a.service"; n == 0 && name[0] <= 'z'; name[0]++) {
		struct ghost *few = add_of(1, name, 1000 + (uint64_t)name[0]);

		if (few->slot == first->slot)
			continue;
		ghosts_move(&table, few, GHOST_UNSAMPLED);
		while (ghosts_first(&table, GHOST_UNSAMPLED) != few)
			n++;
		assert_true(n <= 1);
		return;
	}
	fail_msg("all units share one part");
}

/* ---- entity ids ---- */

static void
test_entity_id(void **state)
{
	char a[ENTITY_ID_LEN], b[ENTITY_ID_LEN];

	(void)state;
	entity_id_make("boot", 812, 123456789, a);
	assert_string_equal(a, "ac7da8e90b3e04ba"); /* SHA-256 of "boot:812:123456789" */
	entity_id_make("boot", 812, 123456789, b);
	assert_string_equal(a, b);
	entity_id_make("boot", 812, 123456788, b);
	assert_string_not_equal(a, b);
	entity_id_make("boot", 813, 123456789, b);
	assert_string_not_equal(a, b);
	entity_id_make("toob", 812, 123456789, b);
	assert_string_not_equal(a, b);
	entity_id_make("e1c1a7a4-9d2d-4fd0-8d7b-3b0f6f0c2a11", UINT32_MAX, UINT64_MAX, b);
	assert_int_equal(strspn(b, "0123456789abcdef"), 16);
}

static void
test_long_boot_id(void **state)
{
	char boot_id[200];

	(void)state;
	memset(boot_id, 'b', sizeof(boot_id) - 1);
	boot_id[sizeof(boot_id) - 1] = '\0';
	ghosts_free(&table);
	ghosts_init(&table, boot_id);
	assert_int_equal(strlen(add(1, 1)->owner->entity_id), 16);
}

/* ---- fuzz ---- */

#define COOKIES 3000u

static uint64_t ids[COOKIES]; /* of the ghost with that cookie, 0: none */

static unsigned
queue_length(const struct ghost_queue *queue, enum ghost_phase phase)
{
	const struct ghost *ghost;
	unsigned n = 0;

	TAILQ_FOREACH (ghost, queue, queue) {
		assert_int_equal(ghost->phase, phase);
		assert_true(ghost->id == ids[ghost->cookie - 1] &&
			    (ghost->owner == NULL || ghost->owner->ghosts > 0));
		n++;
	}
	return n;
}

/* The bits say which parts are not empty. */
static unsigned
fair_length(const struct fair *f, enum ghost_phase phase)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAIR_SLOTS; i++) {
		unsigned part = queue_length(&f->parts[i], phase);
		bool bit = (f->units[i / FAIR_UNITS] >> i % FAIR_UNITS & 1) != 0;

		assert_int_equal(part != 0, bit);
		assert_true(!bit || (f->uids >> i / FAIR_UNITS & 1) != 0);
		n += part;
	}
	for (unsigned i = 0; i < FAIR_UIDS; i++)
		assert_int_equal(f->units[i] != 0, f->uids >> i & 1);
	return n;
}

static void
table_consistent(void)
{
	unsigned waiting = 0, sum = 0, in_hand = 0;

	for (unsigned i = 0; i < GHOST_LANES; i++)
		waiting += queue_length(&table.lanes[i], GHOST_WAITING);
	assert_int_equal(waiting, table.counts[GHOST_WAITING]);
	for (unsigned i = 0; i < GHOST_PHASES; i++) {
		const struct fair *fair = i == GHOST_FRESH	 ? &table.fresh
					  : i == GHOST_UNSAMPLED ? &table.unsampled
					  : i == GHOST_DECIDED	 ? &table.decided
								 : NULL;

		if (fair != NULL)
			assert_int_equal(fair_length(fair, (enum ghost_phase)i), table.counts[i]);
		else if (i != GHOST_WAITING)
			assert_int_equal(queue_length(&table.queues[i], (enum ghost_phase)i),
				table.counts[i]);
		sum += table.counts[i];
	}
	for (unsigned i = 0; i < COOKIES; i++)
		in_hand += ids[i] != 0;
	assert_int_equal(sum, table.total);
	assert_int_equal(in_hand, table.total);
	assert_int_equal(HASH_COUNT(table.by_cookie), table.total);
	assert_true(HASH_COUNT(table.by_process) >= table.idle_count);
}

static void
random_name(struct ghost *ghost)
{
	const struct wire_orphan orphan =
		orphan_of((uint32_t)(1 + random_below(300)), ghost->cookie);

	if (ghost->owner == NULL)
		ghosts_name(&table, ghost, &orphan, (mono_ns){ 1000 });
}

static void
random_step(void)
{
	uint64_t cookie = 1 + random_below(COOKIES), known = ids[cookie - 1];
	struct ghost *ghost = ghosts_find(&table, cookie);

	assert_int_equal(ghost == NULL, known == 0);
	if (ghost == NULL) {
		ghost = random_below(4) == 0 ? adopt(cookie)
					     : add((uint32_t)(1 + random_below(300)), cookie);
		ids[cookie - 1] = ghost->id;
		return;
	}
	switch (random_below(5)) {
	case 0:
		ghosts_remove(&table, ghost);
		ids[cookie - 1] = 0;
		break;
	case 1:
		assert_null(add(7, cookie));
		assert_null(adopt(cookie));
		break;
	case 3:
		random_name(ghost);
		break;
	case 2:
		keep_waiting(ghost, (unsigned)random_below(GHOST_LANES), random_below(1000));
		break;
	default:
		ghosts_move(&table, ghost,
			(const enum ghost_phase[]){ GHOST_FRESH, GHOST_UNSAMPLED, GHOST_SAMPLED,
				GHOST_DECIDED, GHOST_SENT, GHOST_HELD,
				GHOST_LEFT }[random_below(7)]);
	}
}

static void
test_fuzz(void **state)
{
	(void)state;
	random_start();
	memset(ids, 0, sizeof(ids));
	for (unsigned n = 0; n < 200000; n++) {
		random_step();
		if (n % 5000 == 0)
			table_consistent();
	}
	table_consistent();
}

#define WITH_TABLE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_TABLE(test_add),
		WITH_TABLE(test_cookie_once),
		WITH_TABLE(test_cookies_are_whole),
		WITH_TABLE(test_exit_classes),
		WITH_TABLE(test_birth_is_not_in_the_future),
		WITH_TABLE(test_one_owner),
		WITH_TABLE(test_pid_used_again),
		WITH_TABLE(test_first_account_counts),
		WITH_TABLE(test_owner_stays_a_while),
		WITH_TABLE(test_idle_owners_are_bounded),
		WITH_TABLE(test_busy_owner_stays),
		WITH_TABLE(test_first_come),
		WITH_TABLE(test_waiting),
		WITH_TABLE(test_waiting_for),
		WITH_TABLE(test_adopt),
		WITH_TABLE(test_name),
		WITH_TABLE(test_evict),
		WITH_TABLE(test_evict_the_greedy_only),
		WITH_TABLE(test_turns),
		WITH_TABLE(test_turns_of_units),
		WITH_TABLE(test_entity_id),
		WITH_TABLE(test_long_boot_id),
		WITH_TABLE(test_fuzz),
	};

	return cmocka_run_group_tests_name("ghosts", tests, NULL, NULL);
}
