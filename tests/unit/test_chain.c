/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/chain.c | pkg: nettle */
#include "tests/unit/unit.h"

#include "broker/chain.h"

#define FIRST                                                                      \
	"{\"@timestamp\":\"2026-11-22T08:01:02.123456789Z\",\"event.sequence\":1," \
	"\"event.action\":\"log-open\"}\n"
#define SECOND                                                                     \
	"{\"@timestamp\":\"2026-11-22T08:01:02.123456790Z\",\"event.sequence\":2," \
	"\"event.action\":\"log-close\"}\n"

/* By `printf %s "$previous${line%\}}" | sha256sum`, a program that is not ours. */
static void
sha256sum(const char *previous, const char *line, size_t body, char out[CHAIN_LEN])
{
	char path[] = "/tmp/eghostbuster-chain-XXXXXX", command[128];
	int fd = mkstemp(path);
	FILE *answer;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, previous, CHAIN_DIGITS), CHAIN_DIGITS);
	assert_int_equal(write(fd, line, body), body);
	close(fd);
	snprintf(command, sizeof(command), "sha256sum <%s", path);
	answer = popen(command, "r");
	assert_non_null(answer);
	assert_non_null(fgets(out, CHAIN_LEN, answer));
	pclose(answer);
	unlink(path);
}

static void
test_hash_is_what_the_shell_says(void **state)
{
	char line[512] = FIRST, hash[CHAIN_LEN], wanted[CHAIN_LEN];
	size_t body = strlen(FIRST) - 2, len;

	(void)state;
	sha256sum(chain_origin, line, body, wanted);
	memcpy(hash, chain_origin, sizeof(hash));
	len = chain_append(hash, line, strlen(line));
	assert_string_equal(hash, wanted);
	assert_int_equal(len, strlen(FIRST) + CHAIN_MEMBER_LEN);
	line[len] = '\0';
	snprintf(wanted, sizeof(wanted), "%s", hash);
	assert_non_null(strstr(line, ",\"event.hash\":\""));
	assert_string_equal(line + len - 3, "\"}\n");

	strcpy(line, SECOND);
	sha256sum(hash, line, strlen(SECOND) - 2, wanted);
	chain_append(hash, line, strlen(line));
	assert_string_equal(hash, wanted);
}

static void
test_reading(void **state)
{
	char line[512] = SECOND, hash[CHAIN_LEN];
	struct chain_line r;
	size_t len;

	(void)state;
	memcpy(hash, chain_origin, sizeof(hash));
	len = chain_append(hash, line, strlen(line)) - 1;
	assert_true(chain_line_read(line, len, &r));
	assert_int_equal(r.sequence, 2);
	assert_true(chain_action_is(&r, "log-close"));
	assert_false(chain_action_is(&r, "log-clos"));
	assert_false(chain_action_is(&r, "log-close2"));
	assert_int_equal(r.body_len, strlen(SECOND) - 2);
	assert_memory_equal(r.hash, hash, CHAIN_DIGITS);
}

/* Whatever is cut off or changed in what every record has: no record. */
static void
test_what_is_no_record(void **state)
{
	char line[512] = SECOND, hash[CHAIN_LEN], copy[512];
	struct chain_line r;
	size_t len, body = strlen(SECOND) - 2;

	(void)state;
	memcpy(hash, chain_origin, sizeof(hash));
	len = chain_append(hash, line, strlen(line)) - 1;
	for (size_t n = 0; n < len; n++)
		assert_false(chain_line_read(line, n, &r));
	for (size_t i = 0; i < len; i++) {
		bool timestamp = i >= 15 && i < 45, number = i == 64;
		bool action = i >= 82 && i < 91, digits = i >= body + 15 && i < len - 2;

		memcpy(copy, line, len);
		copy[i] = '#';
		if (timestamp || action)
			assert_true(chain_line_read(copy, len, &r));
		else
			assert_false(chain_line_read(copy, len, &r));
		assert_false((number || digits) && chain_line_read(copy, len, &r));
	}
	strcpy(copy, line);
	memset(copy + body + 15, 'A', CHAIN_DIGITS); /* lower case only */
	assert_false(chain_line_read(copy, len, &r));
}

/* Returns the length, with the newline. */
static size_t
numbered_line(char line[512], const char *number)
{
	char hash[CHAIN_LEN];

	memcpy(hash, chain_origin, sizeof(hash));
	snprintf(line, 512, "{\"@timestamp\":\"x\",\"event.sequence\":%s,\"event.action\":\"a\"}\n",
		number);
	return chain_append(hash, line, strlen(line));
}

static void
test_a_number_that_is_too_large(void **state)
{
	static const char *const large[] = { "18446744073709551616", "9999999999999999999",
		"9223372036854775808" };
	char line[512];
	struct chain_line r;
	size_t len;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(large); i++) {
		len = numbered_line(line, large[i]);
		assert_false(chain_line_read(line, len - 1, &r));
	}
	len = numbered_line(line, "9223372036854775807");
	assert_true(chain_line_read(line, len - 1, &r));
	assert_true(r.sequence == INT64_MAX);
}

/* A file that says it has come so far leaves no room for the numbers of a run. */
static void
test_a_number_to_go_on_from(void **state)
{
	static const struct {
		const char *number;
		bool found;
	} cases[] = { { "1000000000000000000", true }, { "4611686018427387903", true },
		{ "4611686018427387904", false }, { "9223372036854775807", false } };
	struct chain_tail tail;
	char line[512];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		chain_tail_read(line, numbered_line(line, cases[i].number), true, &tail);
		assert_int_equal(tail.found, cases[i].found);
		assert_int_equal(tail.foreign, !cases[i].found);
		assert_true(cases[i].found || tail.sequence == 0);
	}
}

static char file[4096];

static size_t
file_make(char hash[CHAIN_LEN])
{
	size_t used = 0;

	memcpy(hash, chain_origin, CHAIN_LEN);
	strcpy(file, FIRST);
	used += chain_append(hash, file, strlen(FIRST));
	strcpy(file + used, SECOND);
	used += chain_append(hash, file + used, strlen(SECOND));
	return used;
}

static void
test_the_end_of_a_file(void **state)
{
	char hash[CHAIN_LEN];
	struct chain_tail tail;
	size_t len = file_make(hash);

	(void)state;
	chain_tail_read(file, len, true, &tail);
	assert_true(tail.found && tail.closed && !tail.foreign);
	assert_int_equal(tail.torn, 0);
	assert_int_equal(tail.sequence, 2);
	assert_string_equal(tail.hash, hash);

	strcpy(file + len, "somebody was here\n");
	chain_tail_read(file, strlen(file), true, &tail);
	assert_true(tail.found && tail.foreign && !tail.closed);
	assert_int_equal(tail.sequence, 2);

	chain_tail_read(file, 0, true, &tail);
	assert_false(tail.found || tail.closed || tail.foreign);
	assert_string_equal(tail.hash, chain_origin);
}

/* Cut at every byte: the records before the cut are what the next ones follow, and so is the one
 * that has lost but its newline. */
static void
test_a_file_cut_anywhere(void **state)
{
	char hash[CHAIN_LEN], first[CHAIN_LEN];
	size_t len = file_make(hash), begin;
	struct chain_tail tail;
	struct chain_line r;

	(void)state;
	begin = (size_t)((char *)memchr(file, '\n', len) + 1 - file);
	assert_true(chain_line_read(file, begin - 1, &r));
	memcpy(first, r.hash, CHAIN_DIGITS);
	for (size_t cut = 0; cut < len; cut++) {
		bool unended = cut == begin - 1 || cut == len - 1;
		unsigned records = cut >= len - 1 ? 2 : cut >= begin - 1;

		chain_tail_read(file, cut, true, &tail);
		assert_int_equal(tail.found, records != 0);
		assert_false(tail.closed);
		assert_int_equal(tail.unended, unended);
		assert_int_equal(tail.sequence, records);
		assert_memory_equal(tail.hash,
			records == 0   ? chain_origin
			: records == 1 ? first
				       : hash,
			CHAIN_DIGITS);
		assert_int_equal(tail.torn, unended ? 0 : records == 0 ? cut : cut - begin);
	}
}

/* Of a file of which only the end is read the first line may have lost its beginning. */
static void
test_a_part_of_a_file(void **state)
{
	char hash[CHAIN_LEN];
	size_t len = file_make(hash), begin;
	struct chain_tail tail;

	(void)state;
	begin = (size_t)((char *)memchr(file, '\n', len) + 1 - file);
	chain_tail_read(file + 10, len - 10, false, &tail);
	assert_true(tail.found);
	assert_int_equal(tail.sequence, 2);
	chain_tail_read(file + begin, len - begin, false, &tail);
	assert_false(tail.found);
	chain_tail_read(file + begin, len - begin, true, &tail);
	assert_true(tail.found);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash_is_what_the_shell_says),
		cmocka_unit_test(test_reading),
		cmocka_unit_test(test_what_is_no_record),
		cmocka_unit_test(test_a_number_that_is_too_large),
		cmocka_unit_test(test_a_number_to_go_on_from),
		cmocka_unit_test(test_the_end_of_a_file),
		cmocka_unit_test(test_a_file_cut_anywhere),
		cmocka_unit_test(test_a_part_of_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
