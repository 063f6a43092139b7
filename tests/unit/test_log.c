/* SPDX-License-Identifier: Apache-2.0 */
/* links: proto/log.c */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <termios.h>

#include "proto/log.h"

/* ---- text_escape() ---- */

static void
test_escape(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "", "" },
		{ "plain ASCII ~!", "plain ASCII ~!" },
		{ "a\\b", "a\\x5cb" },
		{ "\x1b[31m", "\\x1b[31m" },
		{ "line\nfeed\r\t", "line\\x0afeed\\x0d\\x09" },
		{ "\x7f\x80\xff", "\\x7f\\x80\\xff" },
		{ "\xc3\xa9", "\\xc3\\xa9" },
		{ "'\"%s", "'\"%s" },
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		text_escape(cases[i].text, strlen(cases[i].text), out, sizeof(out));
		assert_string_equal(out, cases[i].want);
	}
	text_escape("a\0b", 3, out, sizeof(out));
	assert_string_equal(out, "a\\x00b");
	text_escape("abc", 0, out, sizeof(out));
	assert_string_equal(out, "");
}

static void
test_escape_each_byte(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		char byte = (char)c, want[8], out[8];

		if (c < 0x20 || c > 0x7e || c == '\\')
			snprintf(want, sizeof(want), "\\x%02x", c);
		else
			snprintf(want, sizeof(want), "%c", byte);
		text_escape(&byte, 1, out, sizeof(out));
		assert_string_equal(out, want);
	}
}

/* Whatever the room: a beginning of the whole text, no half escape, as much as fits, nothing
 * behind. */
static void
test_escape_borders(void **state)
{
	static const char text[] = "ab\x01"
				   "c\\\xff"
				   "defg\n";
	char whole[64], out[64];
	size_t len;

	(void)state;
	text_escape(text, sizeof(text) - 1, whole, sizeof(whole));
	assert_string_equal(whole, "ab\\x01c\\x5c\\xffdefg\\x0a");
	for (size_t size = 1; size <= strlen(whole) + 1; size++) {
		memset(out, '#', sizeof(out));
		text_escape(text, sizeof(text) - 1, out, size);
		len = strlen(out);
		assert_true(len < size && len + 4 >= size);
		assert_memory_equal(out, whole, len);
		assert_true(whole[len] == '\\' || len + 1 == size);
		for (size_t i = len + 1; i < sizeof(out); i++)
			assert_int_equal(out[i], '#');
	}
}

/* ---- lines ---- */

static void
say_each_level(void *verbose)
{
	log_open("tracker", *(bool *)verbose);
	log_error("one");
	log_warning("two %d", 2);
	log_info("three");
	log_debug("four");
}

static void
test_levels(void **state)
{
	bool verbose = false;
	char text[256];

	(void)state;
	assert_int_equal(child_run(say_each_level, &verbose, text, sizeof(text)), 0);
	assert_string_equal(text, "<3>tracker: one\n<4>tracker: two 2\n<6>tracker: three\n");
	verbose = true;
	assert_int_equal(child_run(say_each_level, &verbose, text, sizeof(text)), 0);
	assert_string_equal(
		text, "<3>tracker: one\n<4>tracker: two 2\n<6>tracker: three\n<7>tracker: four\n");
}

static void
say_hostile(void *arg)
{
	(void)arg;
	log_info("%s", "x\n<0>forged: \x1b[2J\xff");
}

static void
test_a_line_stays_one(void **state)
{
	char text[256];

	(void)state;
	assert_int_equal(child_run(say_hostile, NULL, text, sizeof(text)), 0);
	assert_string_equal(text, "<6>eghostbuster: x\\x0a<0>forged: \\x1b[2J\\xff\n");
}

static char long_text[5000];

static void
say_long(void *arg)
{
	(void)arg;
	log_info("%s", long_text);
}

static void
test_long_lines_are_cut(void **state)
{
	char text[8192];

	(void)state;
	for (unsigned c = 1; c < 256; c += 60) { /* some escaped, some not */
		memset(long_text, (int)c, sizeof(long_text) - 1);
		assert_int_equal(child_run(say_long, NULL, text, sizeof(text)), 0);
		assert_one_line(text, "<6>eghostbuster: ");
		assert_in_range(strlen(text), 1000, 2048);
	}
}

static char long_name[3000];

static void
say_with_long_name(void *arg)
{
	(void)arg;
	log_open(long_name, false);
	log_info("text");
}

static void
test_long_name(void **state)
{
	char text[8192];

	(void)state;
	memset(long_name, 'n', sizeof(long_name) - 1);
	assert_int_equal(child_run(say_with_long_name, NULL, text, sizeof(text)), 0);
	assert_one_line(text, "<6>nnn");
	assert_in_range(strlen(text), 2000, 2048);
}

static void
die(void *arg)
{
	(void)arg;
	log_open("reaper", false);
	fatal("no %s: %d", "way", 7);
}

static void
test_fatal(void **state)
{
	char text[256];

	(void)state;
	assert_int_equal(child_run(die, NULL, text, sizeof(text)), 1);
	assert_string_equal(text, "<3>reaper: no way: 7\n");
}

static void
die_without_stderr(void *arg)
{
	(void)arg;
	close(STDERR_FILENO);
	log_info("nobody reads this");
	fatal("nor this");
}

static void
test_no_standard_error(void **state)
{
	char text[256];

	(void)state;
	assert_int_equal(child_run(die_without_stderr, NULL, text, sizeof(text)), 1);
	assert_string_equal(text, "");
}

/* Standard error is a pipe that is full, or not set not to block at all. */
static void
say_to_full_pipe(void *arg)
{
	int fds[2], to_parent = dup(STDERR_FILENO);
	char text[512];
	ssize_t n;

	if (pipe2(fds, O_NONBLOCK) < 0)
		_exit(99);
	while (write(fds[1], long_text, sizeof(long_text)) > 0)
		;
	if (*(bool *)arg)
		fcntl(fds[1], F_SETFL, 0); /* blocks */
	dup2(fds[1], STDERR_FILENO);
	for (unsigned i = 0; i < 1000; i++)
		log_info("%s", long_text);
	while (read(fds[0], text, sizeof(text)) > 0)
		; /* there is a reader again */
	log_info("back");
	log_info("and again");
	n = read(fds[0], text, sizeof(text));
	if (n > 0 && write(to_parent, text, (size_t)n) < 0)
		_exit(98);
}

/* A reader that has stopped must not stop a role. What it has missed is counted, and said once. */
static void
test_full_pipe(void **state)
{
	bool blocks = false;
	char text[512];

	(void)state;
	for (unsigned i = 0; i < 2; i++, blocks = true) {
		assert_int_equal(child_run(say_to_full_pipe, &blocks, text, sizeof(text)), 0);
		assert_string_equal(text,
			"<4>eghostbuster: 1000 lines were not taken by standard error\n"
			"<6>eghostbuster: back\n<6>eghostbuster: and again\n");
	}
}

static void
say_to_terminal(void *arg)
{
	dup2(*(int *)arg, STDERR_FILENO);
	log_open("broker", false);
	log_error("no \x1b"
		  "c");
}

static void
test_terminal(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	char text[256], ignored[16];
	ssize_t n;

	(void)state;
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		skip(); /* no /dev/pts here */
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(slave >= 0);
	assert_int_equal(child_run(say_to_terminal, &slave, ignored, sizeof(ignored)), 0);
	n = read(master, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(text, "broker: no \\x1bc\r\n");
	close(slave);
	close(master);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_escape_each_byte),
		cmocka_unit_test(test_escape_borders),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_a_line_stays_one),
		cmocka_unit_test(test_long_lines_are_cut),
		cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_fatal),
		cmocka_unit_test(test_no_standard_error),
		cmocka_unit_test(test_full_pipe),
		cmocka_unit_test(test_terminal),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
