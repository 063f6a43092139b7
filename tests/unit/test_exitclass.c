/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/exitclass.c */
#include "tests/unit/unit.h"

#include <signal.h>

#include "broker/exitclass.h"

/* signal(7), the signals whose default action is "Core", by number: these are the same on every
 * architecture but MIPS, SPARC, Alpha and PA-RISC. */
static bool
dumps_core(unsigned sig)
{
	static const unsigned char core[] = { 3, 4, 5, 6, 7, 8, 11, 24, 25, 31 };

	return memchr(core, (int)sig, sizeof(core)) != NULL;
}

static enum exit_class
class_naive(uint32_t code, bool oom)
{
	unsigned sig = code % 128, status = code / 256 % 256;

	if (sig == 9 && oom)
		return EXIT_OOM;
	if (sig == 9)
		return EXIT_KILL;
	if (dumps_core(sig))
		return EXIT_CRASH;
	if (sig > 0)
		return EXIT_TERM;
	return status > 0 ? EXIT_ERROR : EXIT_CLEAN;
}

/* All 65,536 codes wait(2) can report, with and without the OOM killer. */
static void
test_every_code(void **state)
{
	(void)state;
	for (uint32_t code = 0; code <= 0xffff; code++) {
		unsigned sig = code % 128;

		assert_int_equal(exit_classify(code, false), class_naive(code, false));
		assert_int_equal(exit_classify(code, true), class_naive(code, true));
		assert_int_equal(exit_signal(code), sig);
		assert_int_equal(exit_status(code), sig != 0 ? 0 : code / 256);
	}
}

/* The ones the documentation names. */
static void
test_named_signals(void **state)
{
	static const int crash[] = { SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGTRAP,
		SIGQUIT, SIGXCPU, SIGXFSZ };
	static const int term[] = { SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2,
		SIGVTALRM, SIGPROF, SIGSTKFLT, SIGIO, SIGPWR };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(crash); i++) {
		assert_int_equal(exit_classify((uint32_t)crash[i], false), EXIT_CRASH);
		assert_int_equal(exit_classify((uint32_t)crash[i] | 0x80, false), EXIT_CRASH);
	}
	for (size_t i = 0; i < COUNT_OF(term); i++)
		assert_int_equal(exit_classify((uint32_t)term[i], true), EXIT_TERM);
	assert_int_equal(exit_classify((uint32_t)SIGRTMAX, false), EXIT_TERM);
}

/* What wait(2) says of a real child. sig 0: it exits with that status. */
static uint32_t
real_code(int sig, int exit_with)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		raise(sig);
		_exit(exit_with);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return (uint32_t)status;
}

static void
test_real_deaths(void **state)
{
	(void)state;
	assert_int_equal(exit_classify(real_code(0, 0), false), EXIT_CLEAN);
	assert_int_equal(exit_classify(real_code(0, 3), false), EXIT_ERROR);
	assert_int_equal(exit_classify(real_code(0, 255), false), EXIT_ERROR);
	assert_int_equal(exit_status(real_code(0, 255)), 255);
	assert_int_equal(exit_classify(real_code(SIGTERM, 0), false), EXIT_TERM);
	assert_int_equal(exit_classify(real_code(SIGKILL, 0), false), EXIT_KILL);
	assert_int_equal(exit_signal(real_code(SIGKILL, 0)), SIGKILL);
}

static void
test_names(void **state)
{
	static const char *const names[] = { "crash", "kill", "oom", "closed", "term", "error",
		"clean", "unknown" };
	static const char *const none[] = { "", "Crash", "crashed", "cras", "kill ", "?", "core" };
	enum exit_class c;

	(void)state;
	assert_int_equal(COUNT_OF(names), EXIT_CLASSES);
	for (unsigned i = 0; i < EXIT_CLASSES; i++) {
		assert_string_equal(exit_class_name((enum exit_class)i), names[i]);
		assert_true(exit_class_by_name(names[i], &c) && c == i);
		assert_int_equal(strncmp(exit_class_reason((enum exit_class)i), "owner-", 6), 0);
	}
	for (size_t i = 0; i < COUNT_OF(none); i++)
		assert_false(exit_class_by_name(none[i], &c));
	assert_string_equal(exit_class_reason(EXIT_KILL), "owner-killed");
}

static void
test_reasons_differ(void **state)
{
	(void)state;
	for (unsigned a = 0; a < EXIT_CLASSES; a++) {
		for (unsigned b = 0; b < a; b++)
			assert_string_not_equal(exit_class_reason((enum exit_class)a),
				exit_class_reason((enum exit_class)b));
	}
}

static void
test_bits(void **state)
{
	(void)state;
	assert_int_equal(EXIT_BIT_ALL, 0xff);
	assert_int_equal(EXIT_BITS_ORDERLY,
		EXIT_BIT(EXIT_CLOSED) | EXIT_BIT(EXIT_CLEAN) | EXIT_BIT(EXIT_ERROR));
}

static void
test_cause(void **state)
{
	char text[32];

	(void)state;
	exit_cause_print(SIGKILL, text, sizeof(text));
	assert_string_equal(text, "SIGKILL");
	exit_cause_print(SIGSEGV | 0x80, text, sizeof(text));
	assert_string_equal(text, "SIGSEGV");
	exit_cause_print(3 << 8, text, sizeof(text));
	assert_string_equal(text, "exit status 3");
	exit_cause_print(0, text, sizeof(text));
	assert_string_equal(text, "exit status 0");
	exit_cause_print(64, text, sizeof(text));
	assert_string_equal(text, "signal 64");
}

/* Every code fits where the broker prints it, and a short buffer is not overrun. */
static void
test_cause_fits(void **state)
{
	char text[32], little[4];

	(void)state;
	for (uint32_t code = 0; code <= 0xffff; code++) {
		exit_cause_print(code, text, sizeof(text));
		assert_in_range(strlen(text), 5, sizeof(text) - 2);
		exit_cause_print(code, little, sizeof(little));
		assert_int_equal(strlen(little), sizeof(little) - 1);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_code),
		cmocka_unit_test(test_named_signals),
		cmocka_unit_test(test_real_deaths),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_reasons_differ),
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_cause),
		cmocka_unit_test(test_cause_fits),
	};

	return cmocka_run_group_tests_name("exitclass", tests, NULL, NULL);
}
