/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: ctl/verify.c broker/chain.c broker/seal.c broker/record.c broker/note.c broker/budget.c broker/keyed.c broker/json.c broker/policy.c broker/exitclass.c proto/wire.c proto/log.c | pkg: nettle */
/* clang-format on */
#include "tests/unit/unit.h"

#include "broker/record.h"
#include "ctl/verify.h"

/*
 * A sealed log, and an intruder who can do more than the one of test_verify.c: he writes any log he
 * likes, with numbers, hashes and all, and he has the state, so he can seal from its epoch on. What
 * was written before he came he can only show as it was, or not at all; and then it is missed.
 */
#define RECORDS	 3000u
#define FILE_LEN 1000u /* records of a file */
#define LINE_MAX 768u
#ifdef EGB_SANITIZE
#define ATTACKS 100u
#else
#define ATTACKS 3000u
#endif

static uint8_t root[SEAL_KEY_LEN];
static struct seal_key stolen; /* the state that the intruder finds */

struct line {
	char *text;
	size_t len;
	uint64_t epoch; /* of its seal */
	bool sealed;
};

static struct log {
	struct line lines[2 * RECORDS];
	char text[2 * RECORDS][LINE_MAX];
	size_t count;
	char hash[CHAIN_LEN];
	bool torn;
} whole, forged;

static const char *const names[] = { "audit.jsonl.2", "audit.jsonl.1", "audit.jsonl",
	"audit.jsonl.x", "audit.jsonl.y", "audit.jsonl.z" };

/* ---- writing ---- */

/* What is said in the record of that name: `lie` makes it another. */
static size_t
body_make(const struct log *log, unsigned name, bool lie, char *out)
{
	const struct record_head head = { .time = { 1700000000000000000u + name },
		.sequence = log->count + 1 };
	const struct record_log_open open = { .reason = name == 1 ? "start" : "rotated",
		.previous = log->count == 0 ? NULL : "audit.jsonl",
		.sequence = log->count,
		.hash = log->hash,
		.sealed = !lie };
	const struct record_result result = {
		.result = "destroyed", .outcome = "success", .peer_notice = "rst", .state = 4
	};

	if (name % FILE_LEN == 1)
		return record_log_open(out, LINE_MAX / 2, &head, &open);
	if (name % FILE_LEN == 0)
		return record_log_close(
			out, LINE_MAX / 2, &head, name == RECORDS ? "stop" : "rotated");
	return record_destroy(out, LINE_MAX / 2, &head, lie ? 1 : name * 7, &result);
}

/* The next record; with a seal by this key, which goes on. */
static void
write_record(struct log *log, unsigned name, bool lie, struct seal_key *key)
{
	struct line *line = &log->lines[log->count];
	char before[CHAIN_LEN];

	line->text = log->text[log->count];
	line->len = body_make(log, name, lie, line->text);
	memcpy(before, log->hash, sizeof(before));
	line->len = chain_append(log->hash, line->text, line->len);
	line->sealed = key != NULL;
	line->epoch = key != NULL ? key->epoch : 0;
	if (key != NULL)
		line->len = seal_append(key, before, log->hash, line->text, line->len);
	line->len--;
	log->count++;
}

/* The same, with a seal that was on a record once. */
static void
write_copied(struct log *log, unsigned name, bool lie, const struct line *from)
{
	struct line *line = &log->lines[log->count];
	char before[CHAIN_LEN];
	struct chain_line r;
	struct seal seal;
	size_t member;

	memcpy(before, log->hash, sizeof(before));
	write_record(log, name, lie, NULL);
	assert_true(chain_line_read(from->text, from->len, &r));
	assert_true(seal_find(from->text, r.body_len, &seal));
	member = r.body_len - seal.body_len;
	line->len = line->len + 1 - CHAIN_MEMBER_LEN - 2;
	memcpy(line->text + line->len, from->text + seal.body_len, member);
	memcpy(line->text + line->len + member, "}\n", 2);
	memcpy(log->hash, before, sizeof(before));
	line->len = chain_append(log->hash, line->text, line->len + member + 2) - 1;
	line->sealed = true;
	line->epoch = from->epoch;
}

static void
log_begin(struct log *log)
{
	log->count = 0;
	memcpy(log->hash, chain_origin, CHAIN_LEN);
	log->torn = false;
}

/* As it was written, up to and with record `to`. */
static void
show(struct log *log, unsigned from, unsigned to)
{
	for (unsigned n = from; n <= to; n++) {
		if (whole.lines[n - 1].sealed)
			write_copied(log, n, false, &whole.lines[n - 1]);
		else
			write_record(log, n, false, NULL);
	}
}

/* One to thirty records a write. */
static bool
write_ends(unsigned n)
{
	return n % FILE_LEN < 2 || n % 30 == 2 || n % 7 == 3;
}

static int
group_setup(void **state)
{
	struct seal_key key;

	(void)state;
	random_start();
	random_fill(root, sizeof(root));
	seal_begin(&key, root);
	log_begin(&whole);
	for (unsigned n = 1; n <= RECORDS; n++)
		write_record(&whole, n, false, write_ends(n) ? &key : NULL);
	return 0;
}

/* The first record behind the seal before that of record n. */
static unsigned
write_begin(unsigned n)
{
	while (n > 1 && !whole.lines[n - 2].sealed)
		n--;
	return n;
}

/* The intruder comes when record n, which ends a write, is in the log. */
static void
steal_behind(unsigned n)
{
	seal_begin(&stolen, root);
	assert_true(whole.lines[n - 1].sealed);
	seal_ahead(&stolen, whole.lines[n - 1].epoch + 1);
}

static unsigned
seal_before(unsigned n)
{
	while (!whole.lines[n - 1].sealed)
		n--;
	return n;
}

/* ---- following ---- */

static struct verify v;

static bool
followed(const struct log *log, size_t from, const uint8_t *with)
{
	uint64_t number = 0;
	unsigned file = 0;

	verify_begin(&v, NULL, with);
	for (size_t i = from; i < log->count; i++) {
		const struct line *l = &log->lines[i];
		struct chain_line r;

		if (i > from && chain_line_read(l->text, l->len, &r) &&
			chain_action_is(&r, "log-open")) {
			file++;
			number = 0;
		}
		verify_line(&v, l->text, l->len, log->torn && i + 1 == log->count,
			(struct place){ names[file % COUNT_OF(names)], ++number });
	}
	return verify_end(&v);
}

static void
fault_expect(enum fault_kind kind, uint64_t sequence)
{
	assert_true(followed(&forged, 0, NULL)); /* without the key nothing is wrong with it */
	assert_false(followed(&forged, 0, root));
	assert_string_equal(fault_name(v.fault.kind), fault_name(kind));
	assert_int_equal(v.fault.sequence, sequence);
}

static void
test_whole(void **state)
{
	uint64_t seals = 0;

	(void)state;
	for (size_t i = 0; i < whole.count; i++)
		seals += whole.lines[i].sealed;
	assert_true(followed(&whole, 0, root));
	assert_true(v.closed && v.seals.found);
	assert_int_equal(v.seals.count, seals);
	assert_int_equal(v.seals.first_epoch, 0);
	assert_int_equal(v.seals.last_epoch, seals - 1);
	assert_int_equal(v.seals.first_record, 1);
	assert_int_equal(v.seals.last_record, RECORDS);
	assert_int_equal(v.seals.bare, 0);
	assert_true(followed(&whole, 0, NULL));
	assert_false(v.seals.found);
	assert_int_equal(v.seals.count, seals);
}

static void
test_another_key(void **state)
{
	uint8_t other[SEAL_KEY_LEN];

	(void)state;
	memcpy(other, root, sizeof(other));
	other[31] ^= 1;
	assert_false(followed(&whole, 0, other));
	assert_int_equal(v.fault.kind, FAULT_SEAL);
	assert_int_equal(v.fault.place.line, 1);
	assert_false(v.seals.found);
}

/* Later files alone: their seals begin somewhere. */
static void
test_older_files_are_gone(void **state)
{
	(void)state;
	assert_true(followed(&whole, FILE_LEN, root));
	assert_int_equal(v.seals.first_epoch, whole.lines[FILE_LEN].epoch);
	assert_true(followed(&whole, 2 * FILE_LEN, root));
	assert_int_equal(v.seals.last_record, RECORDS);
}

/* ---- what an intruder does to what was before him ---- */

static void
test_edited(void **state)
{
	static const unsigned places[] = { 2, 30, 31, 999, 1500, RECORDS - 1 };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(places); i++) {
		unsigned n = places[i], end = n;

		while (!whole.lines[end - 1].sealed)
			end++;
		log_begin(&forged);
		show(&forged, 1, n - 1);
		if (whole.lines[n - 1].sealed)
			write_copied(&forged, n, true, &whole.lines[n - 1]);
		else
			write_record(&forged, n, true, NULL);
		show(&forged, n + 1, RECORDS);
		fault_expect(FAULT_SEAL, write_begin(n));
		assert_int_equal(v.fault.missing_to, end);
		assert_int_equal(v.fault.epoch, whole.lines[end - 1].epoch);
	}
}

static void
test_left_out(void **state)
{
	(void)state;
	log_begin(&forged);
	show(&forged, 1, 499);
	show(&forged, 501, RECORDS);
	fault_expect(FAULT_SEAL, write_begin(500));
	log_begin(&forged);
	show(&forged, 1, seal_before(500)); /* whole writes */
	show(&forged, seal_before(600) + 1, RECORDS);
	fault_expect(FAULT_SEAL, seal_before(500) + 1);
}

static void
test_added_and_moved(void **state)
{
	(void)state;
	log_begin(&forged);
	show(&forged, 1, 700);
	write_record(&forged, 2, true, NULL);
	show(&forged, 701, RECORDS);
	fault_expect(FAULT_SEAL, seal_before(700) + 1);
	log_begin(&forged);
	show(&forged, 1, 703);
	show(&forged, 705, 705);
	show(&forged, 704, 704);
	show(&forged, 706, RECORDS);
	fault_expect(FAULT_SEAL, write_begin(704));
}

/* The end is cut off, and the log goes on by the state that is there now. */
static void
test_cut_and_gone_on(void **state)
{
	unsigned kept = seal_before(1000), came = seal_before(2000);

	(void)state;
	steal_behind(came);
	log_begin(&forged);
	show(&forged, 1, kept);
	write_record(&forged, came + 1, false, NULL);
	write_record(&forged, came + 2, false, &stolen);
	write_record(&forged, RECORDS, false, &stolen);
	fault_expect(FAULT_CUT, kept + 2);
	assert_int_equal(v.fault.epoch, whole.lines[kept - 1].epoch + 1);
	assert_int_equal(v.fault.epoch_to, whole.lines[came - 1].epoch);
}

/* All of it anew. */
static void
test_written_anew(void **state)
{
	(void)state;
	steal_behind(seal_before(2000));
	log_begin(&forged);
	for (unsigned n = 1; n <= RECORDS; n++)
		write_record(&forged, n, n == 500, write_ends(n) ? &stolen : NULL);
	fault_expect(FAULT_CUT, 1);
	assert_int_equal(v.fault.epoch, 0);
}

static void
test_seals_taken_away(void **state)
{
	(void)state;
	log_begin(&forged);
	for (unsigned n = 1; n <= RECORDS; n++)
		write_record(&forged, n, n == 500, NULL);
	fault_expect(FAULT_UNSEALED, 1);
	log_begin(&forged);
	show(&forged, 1, 499);
	for (unsigned n = 500; n <= RECORDS; n++)
		write_record(&forged, n, n == 500, NULL);
	fault_expect(FAULT_UNSEALED, seal_before(499) + 1);
	assert_string_equal(v.fault.place.file, names[0]);
	assert_int_equal(v.fault.place.line, seal_before(499) + 1);
}

/* A file of once in the place of one, with numbers and hashes that fit. */
static void
test_an_older_file_in_its_place(void **state)
{
	(void)state;
	log_begin(&forged);
	show(&forged, 1, 2 * FILE_LEN);
	show(&forged, FILE_LEN + 1, 2 * FILE_LEN);
	fault_expect(FAULT_SEALED, 2 * FILE_LEN + 1);
	assert_int_equal(v.fault.epoch, whole.lines[FILE_LEN].epoch);
}

/* Nothing proves what no seal is behind; but a write that was cut off is nobody's fault. */
static void
test_an_end_without_a_seal(void **state)
{
	unsigned last = seal_before(1500);

	(void)state;
	log_begin(&forged);
	show(&forged, 1, last + 2);
	fault_expect(FAULT_UNSEALED, last + 1);
	forged.torn = true;
	assert_true(followed(&forged, 0, root));
	assert_false(v.closed);
	assert_int_equal(v.seals.bare, 1);
	assert_int_equal(v.seals.last_record, last);
	log_begin(&forged); /* a seal alone is none behind what is cut off, either */
	write_record(&forged, 1, false, NULL);
	write_record(&forged, 2, false, NULL);
	forged.torn = true;
	assert_false(followed(&forged, 0, root));
	assert_int_equal(v.fault.kind, FAULT_UNSEALED);
}

/* The part of a write that got out before a kill is sealed with the next run's first write. */
static void
test_a_write_that_was_cut_off(void **state)
{
	unsigned last = seal_before(1500);
	struct seal_key key;

	(void)state;
	steal_behind(last);
	key = stolen;
	log_begin(&forged);
	show(&forged, 1, last + 1);
	write_record(&forged, 2001, false, &key); /* log-open */
	write_record(&forged, RECORDS, false, &key);
	assert_true(followed(&forged, 0, root));
	assert_true(v.closed);
	assert_int_equal(v.seals.last_record, last + 3);
}

static void
test_sealing_that_was_switched_off(void **state)
{
	unsigned last = seal_before(1500);
	struct seal_key key;

	(void)state;
	steal_behind(last);
	key = stolen;
	log_begin(&forged);
	show(&forged, 1, last);
	write_record(&forged, 2001, true, NULL); /* a log-open that says so */
	write_record(&forged, 2002, false, &key);
	fault_expect(FAULT_UNSEALED, last + 1);
}

/* Before the first seal nothing is expected: sealing may begin in a log that is there. */
static void
test_sealing_that_was_switched_on(void **state)
{
	struct seal_key key;

	(void)state;
	seal_begin(&key, root);
	log_begin(&forged);
	write_record(&forged, 1, true, NULL);
	for (unsigned n = 2; n <= 50; n++)
		write_record(&forged, n, false, n > 40 ? &key : NULL);
	assert_true(followed(&forged, 0, root));
	assert_int_equal(v.seals.first_record, 41);
	seal_next(&key); /* one is left out */
	write_record(&forged, 51, false, &key);
	fault_expect(FAULT_CUT, 51);
	assert_true(v.fault.epoch == 10 && v.fault.epoch_to == 10);
}

/* The first of all with a later epoch: what was before it is gone, and denied. */
static void
test_a_beginning_that_was_not(void **state)
{
	(void)state;
	steal_behind(seal_before(300));
	log_begin(&forged);
	write_record(&forged, 1, false, &stolen);
	write_record(&forged, RECORDS, false, &stolen);
	fault_expect(FAULT_CUT, 1);
	assert_int_equal(v.fault.epoch, 0);
	assert_int_equal(v.fault.epoch_to, whole.lines[seal_before(300) - 1].epoch);
}

/* An epoch that nobody has come to costs a second, and then it is wrong. */
static void
test_an_absurd_epoch(void **state)
{
	struct seal_key key;

	(void)state;
	seal_begin(&key, root);
	key.epoch = SEAL_EPOCH_MAX - 1;
	log_begin(&forged);
	show(&forged, 1, seal_before(200));
	write_record(&forged, 2, false, &key);
	fault_expect(FAULT_SEAL, seal_before(200) + 1);
}

/* ---- at random ---- */

/* What he shows of the writes before he came; `worse` when it is not all that there was. */
static bool
past_show(unsigned came)
{
	unsigned n = 1 + (unsigned)random_below(came), m = 1 + (unsigned)random_below(came);
	unsigned low = n < m ? n : m, high = n < m ? m : n;
	bool lie = low % FILE_LEN > 1;

	show(&forged, 1, low - 1);
	switch (random_below(4)) {
	case 0: /* another in its place */
		if (!lie || !whole.lines[low - 1].sealed)
			write_record(&forged, low, lie, NULL);
		else
			write_copied(&forged, low, lie, &whole.lines[low - 1]);
		show(&forged, low + 1, came);
		return lie || whole.lines[low - 1].sealed;
	case 1: /* some are left out */
		show(&forged, high + 1, came);
		return true;
	case 2: /* some twice */
		show(&forged, low, high);
		show(&forged, low, came);
		return true;
	default: /* all but their seals */
		for (n = low; n <= high; n++)
			write_record(&forged, n, false, NULL);
		show(&forged, high + 1, came);
		for (n = low; n <= high && !whole.lines[n - 1].sealed;)
			n++;
		return n <= high;
	}
}

static void
test_random_attacks(void **state)
{
	unsigned kinds[FAULT_HEAD + 1] = { 0 }, done = 0;

	(void)state;
	while (done < ATTACKS) {
		unsigned came = seal_before(2 + (unsigned)random_below(300));

		steal_behind(came);
		log_begin(&forged);
		if (!past_show(came) || forged.count == 0)
			continue;
		for (unsigned n = 0; n <= random_below(3); n++)
			write_record(&forged, came + 2 + n, true, &stolen);
		done++;
		if (followed(&forged, 0, root))
			fail_msg("an attack on %u records was not found", came);
		kinds[v.fault.kind]++;
	}
	print_message("%u attacks:", done);
	for (unsigned kind = FAULT_EDITED; kind <= FAULT_HEAD; kind++) {
		if (kinds[kind] != 0)
			print_message(" %u %s", kinds[kind], fault_name((enum fault_kind)kind));
	}
	print_message("; none missed\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_another_key),
		cmocka_unit_test(test_older_files_are_gone),
		cmocka_unit_test(test_edited),
		cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_added_and_moved),
		cmocka_unit_test(test_cut_and_gone_on),
		cmocka_unit_test(test_written_anew),
		cmocka_unit_test(test_seals_taken_away),
		cmocka_unit_test(test_an_older_file_in_its_place),
		cmocka_unit_test(test_an_end_without_a_seal),
		cmocka_unit_test(test_a_write_that_was_cut_off),
		cmocka_unit_test(test_sealing_that_was_switched_off),
		cmocka_unit_test(test_sealing_that_was_switched_on),
		cmocka_unit_test(test_a_beginning_that_was_not),
		cmocka_unit_test(test_an_absurd_epoch),
		cmocka_unit_test(test_random_attacks),
	};

	return cmocka_run_group_tests_name("verify seals", tests, group_setup, NULL);
}
