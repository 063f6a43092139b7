/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: ctl/verify.c broker/chain.c broker/seal.c broker/record.c broker/note.c broker/budget.c broker/keyed.c broker/json.c broker/policy.c broker/exitclass.c proto/wire.c proto/log.c | pkg: nettle */
/* clang-format on */
#include "tests/unit/unit.h"

#include "broker/record.h"
#include "ctl/verify.h"

/*
 * A log of RECORDS records in FILES files, made with the broker's own writer, and what can be done
 * to it. Under the sanitizers fewer mutations are tried.
 */
#define RECORDS 10000u
#define FILES	3u
#ifdef EGB_SANITIZE
#define MUTATIONS 100u
#else
#define MUTATIONS 5000u
#endif

static const char *const names[FILES] = { "audit.jsonl.2", "audit.jsonl.1", "audit.jsonl" };

struct line {
	char *text;
	size_t len;
	unsigned file;
};

struct log {
	struct line lines[RECORDS + 8];
	size_t count;
	bool torn; /* the last line has no newline */
};

static struct log whole, changed;
static char *own[8]; /* text of changed lines */
static unsigned own_count;

static struct record_head
head_of(uint64_t sequence)
{
	return (struct record_head){ .time = { 1700000000000000000u + sequence },
		.sequence = sequence };
}

static size_t
record_make(uint64_t sequence, const char *hash, char *out)
{
	const struct record_head head = head_of(sequence);
	const struct record_log_open open = { .reason = "rotated",
		.previous = sequence == 1 ? NULL : names[0],
		.sequence = sequence - 1,
		.hash = hash };
	const struct record_result result = {
		.result = "destroyed", .outcome = "success", .peer_notice = "rst", .state = 4
	};
	uint64_t in_file = (sequence - 1) % (RECORDS / FILES + 1);

	if (in_file == 0)
		return record_log_open(out, RECORD_MAX, &head, &open);
	if (in_file == RECORDS / FILES || sequence == RECORDS)
		return record_log_close(out, RECORD_MAX, &head, "rotated");
	return record_destroy(out, RECORD_MAX, &head, sequence * 7, &result);
}

static int
group_setup(void **state)
{
	char hash[CHAIN_LEN];

	(void)state;
	random_start();
	memcpy(hash, chain_origin, sizeof(hash));
	for (uint64_t n = 1; n <= RECORDS; n++) {
		struct line *line = &whole.lines[whole.count++];

		line->text = malloc(RECORD_MAX + CHAIN_MEMBER_LEN);
		line->file = (unsigned)((n - 1) / (RECORDS / FILES + 1));
		line->len = record_make(n, hash, line->text);
		line->len = chain_append(hash, line->text, line->len) - 1;
	}
	return 0;
}

static int
group_teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < whole.count; i++)
		free(whole.lines[i].text);
	return 0;
}

/* ---- following it ---- */

static struct verify v;

/* Up to where one has come through the first lines of the whole log: what is changed behind them is
 * followed from there. */
#define STRIDE 250u
static struct mark {
	struct verify v;
	uint64_t number[FILES];
} marks[RECORDS / STRIDE];

static void
follow(const struct log *log, size_t from, uint64_t number[FILES], struct mark *marks_of_whole)
{
	for (size_t i = from; i < log->count; i++) {
		const struct line *l = &log->lines[i];

		if (marks_of_whole != NULL && i % STRIDE == 0 && i < RECORDS) {
			marks_of_whole[i / STRIDE].v = v;
			memcpy(marks_of_whole[i / STRIDE].number, number, sizeof(v.first) * FILES);
		}
		verify_line(&v, l->text, l->len, log->torn && i + 1 == log->count,
			(struct place){ names[l->file], ++number[l->file] });
	}
}

static bool
followed(const struct log *log, const char *head)
{
	uint64_t number[FILES] = { 0 };

	verify_begin(&v, head, NULL);
	follow(log, 0, number, log == &whole && head == NULL ? marks : NULL);
	return verify_end(&v);
}

/* The same, for a log that begins like the whole one, which has been followed. */
static bool
followed_from_change(const struct log *log)
{
	uint64_t number[FILES];
	size_t same = 0;

	while (same < log->count && same < RECORDS - 1 &&
		log->lines[same].text == whole.lines[same].text &&
		log->lines[same].len == whole.lines[same].len)
		same++;
	v = marks[same / STRIDE].v;
	memcpy(number, marks[same / STRIDE].number, sizeof(number));
	follow(log, same / STRIDE * STRIDE, number, NULL);
	return verify_end(&v);
}

static void
test_whole(void **state)
{
	(void)state;
	assert_true(followed(&whole, NULL));
	assert_true(v.closed);
	assert_int_equal(v.records, RECORDS);
	assert_int_equal(v.first, 1);
	assert_int_equal(v.last, RECORDS);
	assert_int_equal(v.torn, 0);
	assert_string_equal(v.before, chain_origin);
}

/* ---- changing it ---- */

static void
change_begin(void)
{
	while (own_count > 0)
		free(own[--own_count]);
	changed.count = whole.count;
	changed.torn = false;
	memcpy(changed.lines, whole.lines, sizeof(whole.lines));
}

/* A copy of a line's text, to be changed. */
static char *
line_own(size_t i)
{
	char *copy = malloc(changed.lines[i].len + 1);

	memcpy(copy, changed.lines[i].text, changed.lines[i].len);
	changed.lines[i].text = copy;
	own[own_count++] = copy;
	return copy;
}

static void
lines_remove(size_t i, size_t n)
{
	memmove(&changed.lines[i], &changed.lines[i + n],
		(changed.count - i - n) * sizeof(changed.lines[0]));
	changed.count -= n;
}

static void
line_insert(size_t i, struct line line)
{
	memmove(&changed.lines[i + 1], &changed.lines[i],
		(changed.count - i) * sizeof(changed.lines[0]));
	changed.lines[i] = line;
	changed.count++;
}

static void
line_swap(size_t i, size_t j)
{
	struct line kept = changed.lines[i];

	changed.lines[i].text = changed.lines[j].text;
	changed.lines[i].len = changed.lines[j].len;
	changed.lines[j].text = kept.text;
	changed.lines[j].len = kept.len;
}

static uint64_t
line_number(size_t i)
{
	uint64_t n = 0;

	for (size_t k = 0; k <= i; k++)
		n += changed.lines[k].file == changed.lines[i].file;
	return n;
}

/* The fault is of this kind, at line i of the changed log, and about that record. */
static void
fault_expect(enum fault_kind kind, size_t i, uint64_t sequence)
{
	assert_false(followed(&changed, NULL));
	assert_string_equal(fault_name(v.fault.kind), fault_name(kind));
	assert_string_equal(v.fault.place.file, names[changed.lines[i].file]);
	assert_int_equal(v.fault.place.line, line_number(i));
	assert_int_equal(v.fault.sequence, sequence);
}

/* Line i holds record i + 1. */
static void
test_edited(void **state)
{
	static const size_t places[] = { 1, 4999, RECORDS - 1 };

	(void)state;
	for (size_t p = 0; p < COUNT_OF(places); p++) {
		size_t i = places[p];

		change_begin();
		line_own(i)[20] ^= 1; /* in the timestamp */
		fault_expect(FAULT_EDITED, i, i + 1);
		change_begin();
		line_own(i)[changed.lines[i].len - 10] ^= 1; /* in its hash */
		if (v.fault.kind != FAULT_NONE)
			fault_expect(FAULT_EDITED, i, i + 1);
		change_begin();
		line_own(i)[0] = '['; /* no record any more */
		fault_expect(FAULT_EDITED, i, i + 1);
	}
}

/* Whoever edits a record and hashes it anew is found at the next one. */
static void
test_edited_and_hashed_anew(void **state)
{
	char hash[CHAIN_LEN], *text;
	struct chain_line r;

	(void)state;
	change_begin();
	text = line_own(700);
	text[20] ^= 1;
	assert_true(chain_line_read(changed.lines[699].text, changed.lines[699].len, &r));
	memcpy(hash, r.hash, CHAIN_DIGITS);
	assert_true(chain_line_read(text, changed.lines[700].len, &r));
	chain_next(hash, text, r.body_len);
	memcpy(text + (r.hash - text), hash, CHAIN_DIGITS);
	fault_expect(FAULT_EDITED, 701, 702);
}

static void
test_its_number_is_changed(void **state)
{
	char *digit;

	(void)state;
	change_begin();
	digit = strstr(line_own(5000), "\"event.sequence\":") + 17;
	*digit = *digit == '9' ? '8' : '9';
	fault_expect(FAULT_EDITED, 5000, 5001);
}

static void
test_missing(void **state)
{
	(void)state;
	change_begin();
	lines_remove(100, 1);
	fault_expect(FAULT_MISSING, 100, 101);
	assert_int_equal(v.fault.missing_to, 101);
	change_begin();
	lines_remove(3000, 2000); /* over the end of a file */
	fault_expect(FAULT_MISSING, 3000, 3001);
	assert_int_equal(v.fault.missing_to, 5000);
}

/* A whole file. */
static void
test_a_file_is_missing(void **state)
{
	size_t begin = RECORDS / FILES + 1;

	(void)state;
	change_begin();
	lines_remove(begin, begin);
	fault_expect(FAULT_FOREIGN, begin, begin + 1);
	change_begin();
	lines_remove(0, begin); /* older ones may have been thrown away: the first one says what it
				   follows */
	assert_true(followed(&changed, NULL));
	assert_true(v.closed);
	assert_int_equal(v.first, begin + 1);
	assert_memory_not_equal(v.before, chain_origin, CHAIN_DIGITS);
}

static void
test_the_beginning_is_missing(void **state)
{
	(void)state;
	change_begin();
	lines_remove(0, 5);
	fault_expect(FAULT_BEGINNING, 0, 6);
}

static void
test_reordered(void **state)
{
	struct line moved;

	(void)state;
	change_begin();
	line_swap(200, 201);
	fault_expect(FAULT_REORDERED, 200, 201);
	assert_int_equal(v.fault.moved.line, 202);
	change_begin();
	line_swap(200, 9000);
	fault_expect(FAULT_REORDERED, 200, 201);
	assert_string_equal(v.fault.moved.file, names[2]);
	change_begin();
	moved = changed.lines[300];
	lines_remove(300, 1);
	line_insert(400, moved);
	fault_expect(FAULT_REORDERED, 300, 301);
	assert_int_equal(v.fault.moved.line, 401);
}

static void
test_repeated(void **state)
{
	(void)state;
	change_begin();
	line_insert(500, changed.lines[499]);
	fault_expect(FAULT_REPEATED, 500, 500);
	change_begin();
	line_insert(changed.count, changed.lines[17]);
	changed.lines[changed.count - 1].file = 2;
	fault_expect(FAULT_REPEATED, changed.count - 1, 18);
}

static void
test_foreign(void **state)
{
	static char text[] = "{\"hello\":1}", empty[] = "";
	struct line line = { text, sizeof(text) - 1, 0 };

	(void)state;
	change_begin();
	line_insert(600, line);
	fault_expect(FAULT_FOREIGN, 600, 601);
	change_begin();
	line_insert(600, (struct line){ empty, 0, 0 });
	fault_expect(FAULT_FOREIGN, 600, 601);
	change_begin();
	line_insert(0, line);
	fault_expect(FAULT_FOREIGN, 0, 0);
	change_begin();
	line_insert(RECORDS / FILES + 1, (struct line){ empty, 0, 1 }); /* before a log-open */
	fault_expect(FAULT_FOREIGN, RECORDS / FILES + 1, RECORDS / FILES + 2);
	change_begin();
	line.file = 2;
	line_insert(changed.count, line);
	fault_expect(FAULT_FOREIGN, changed.count - 1, RECORDS + 1);
}

static void
test_cut_at_the_end(void **state)
{
	(void)state;
	for (size_t n = 1; n < 50; n++) {
		change_begin();
		changed.count -= n;
		assert_true(followed(&changed, NULL));
		assert_false(v.closed);
		assert_int_equal(v.last, RECORDS - n);
	}
	change_begin();
	changed.torn = true; /* its newline only */
	assert_true(followed(&changed, NULL));
	assert_false(v.closed);
	assert_int_equal(v.torn, changed.lines[RECORDS - 1].len);
}

/* At every byte of the last record. */
static void
test_cut_in_the_last_record(void **state)
{
	(void)state;
	change_begin();
	changed.torn = true;
	while (changed.lines[RECORDS - 1].len-- > 1) {
		assert_true(followed(&changed, NULL));
		assert_false(v.closed);
		assert_int_equal(v.last, RECORDS - 1);
		assert_int_equal(v.torn, changed.lines[RECORDS - 1].len);
		if (changed.lines[RECORDS - 1].len % 16 != 0 && changed.lines[RECORDS - 1].len > 8)
			changed.lines[RECORDS - 1].len -= 7;
	}
}

static void
test_expected_head(void **state)
{
	char head[CHAIN_LEN] = { 0 };
	struct chain_line r;

	(void)state;
	assert_true(chain_line_read(whole.lines[1233].text, whole.lines[1233].len, &r));
	memcpy(head, r.hash, CHAIN_DIGITS);
	assert_true(followed(&whole, head));
	assert_int_equal(v.expect_found, 1234);
	head[5] = head[5] == 'a' ? 'b' : 'a';
	assert_false(followed(&whole, head));
	assert_int_equal(v.fault.kind, FAULT_HEAD);
	change_begin();
	changed.count = 1000;
	head[5] = r.hash[5];
	assert_false(followed(&changed, head));
	assert_int_equal(v.fault.kind, FAULT_HEAD);
}

/* ---- at random ---- */

static void
byte_change(size_t i)
{
	char *text = line_own(i);
	size_t at = random_below(changed.lines[i].len);
	char was = text[at];

	do
		text[at] = (char)random_below(256);
	while (text[at] == was || text[at] == '\n');
}

/* Returns the first line that is not as it was, or RECORDS when only the end is missing. */
static size_t
mutate(void)
{
	size_t i = random_below(RECORDS), j = random_below(RECORDS);
	size_t low = i < j ? i : j, high = i < j ? j : i;
	struct line moved;

	switch (random_below(8)) {
	case 0:
		byte_change(i);
		return i;
	case 1:
		lines_remove(low, high == low ? 1 : high - low);
		return low;
	case 2:
		line_swap(low, high == low ? (high = low == 0 ? 1 : low - 1) : high);
		return low < high ? low : high;
	case 3:
		moved = changed.lines[high];
		lines_remove(high, 1);
		line_insert(high == low ? (low == 0 ? 0 : --low) : low, moved);
		return low;
	case 4:
		line_insert(i, changed.lines[j]);
		return i;
	case 5:
		changed.count = i + 1 == RECORDS ? i : i + 1;
		return RECORDS;
	case 6:
		line_own(i);
		changed.lines[i].len = random_below(changed.lines[i].len);
		return i;
	default:
		line_insert(i,
			(struct line){ own[own_count++] = strdup("x"), 1, changed.lines[i].file });
		return i;
	}
}

static bool
same_as_before(void)
{
	if (changed.count != whole.count)
		return false;
	for (size_t i = 0; i < whole.count; i++) {
		if (changed.lines[i].len != whole.lines[i].len)
			return false;
		if (changed.lines[i].text != whole.lines[i].text &&
			memcmp(changed.lines[i].text, whole.lines[i].text, whole.lines[i].len) != 0)
			return false;
	}
	return true;
}

/* Found, and not behind the place where it was done. */
static void
test_random_mutations(void **state)
{
	unsigned done = 0, opened = 0;

	(void)state;
	assert_true(followed(&whole, NULL));
	while (done < MUTATIONS) {
		uint64_t place;
		bool good;

		change_begin();
		place = mutate();
		if (same_as_before())
			continue;
		done++;
		good = followed_from_change(&changed);
		/* All that may pass for whole is a log whose end is missing, and then it is not
		 * closed or says that it goes on in another file, and one that begins with a later
		 * file. */
		if (good && (!v.closed || v.rotated) && changed.count < RECORDS)
			opened++;
		else if (good)
			assert_true(v.first != 1);
		else if (v.last > place + 1 && v.fault.kind != FAULT_BEGINNING)
			fail_msg("%s at %s:%llu, record %llu, but record %llu was changed",
				fault_name(v.fault.kind), v.fault.place.file,
				(unsigned long long)v.fault.place.line,
				(unsigned long long)v.fault.sequence,
				(unsigned long long)place + 1);
	}
	print_message("%u mutations of %u records: none missed, %u of them cut the end off\n", done,
		RECORDS, opened);
	change_begin();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_edited),
		cmocka_unit_test(test_edited_and_hashed_anew),
		cmocka_unit_test(test_its_number_is_changed),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_a_file_is_missing),
		cmocka_unit_test(test_the_beginning_is_missing),
		cmocka_unit_test(test_reordered),
		cmocka_unit_test(test_repeated),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_cut_at_the_end),
		cmocka_unit_test(test_cut_in_the_last_record),
		cmocka_unit_test(test_expected_head),
		cmocka_unit_test(test_random_mutations),
	};

	return cmocka_run_group_tests_name("verify", tests, group_setup, group_teardown);
}
