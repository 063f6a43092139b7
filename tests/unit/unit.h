/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

/* What unit tests share: cmocka's header with what it needs, random numbers, things that exit. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef EGB_SANITIZE
#include <sanitizer/common_interface_defs.h>
#endif

#define COUNT_OF(table) (sizeof(table) / sizeof((table)[0]))

static uint64_t random_state;

/* Another seed at each run, printed; TEST_SEED in the environment repeats one. */
static inline void
random_start(void)
{
	const char *given = getenv("TEST_SEED");

	if (given != NULL)
		random_state = strtoull(given, NULL, 0);
	else if (getrandom(&random_state, sizeof(random_state), 0) != sizeof(random_state))
		random_state = 1;
	print_message("TEST_SEED=0x%llx\n", (unsigned long long)random_state);
}

/* splitmix64 */
static inline uint64_t
random_next(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* 0 ... n - 1 */
static inline uint64_t
random_below(uint64_t n)
{
	return random_next() % n;
}

static inline void
random_fill(void *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = (uint8_t)random_next();
}

/* Runs act() in a child, with what it writes to standard error in text. Returns its exit status, or
 * minus the signal that ended it. Assertions have no meaning in act(): it says what it found by
 * _exit(), and 0 is what follows from its return. */
static inline int
child_run(void (*act)(void *), void *arg, char *text, size_t size)
{
	size_t used = 0;
	int fds[2], status = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		act(arg);
		_exit(0);
	}
	assert_true(pid > 0);
	close(fds[1]);
	while (used + 1 < size && (n = read(fds[0], text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* One whole line, which contains `part`. */
static inline void
assert_one_line(const char *text, const char *part)
{
	const char *end = strchr(text, '\n');

	if (end == NULL || end[1] != '\0' || strstr(text, part) == NULL)
		fail_msg("expected one line with '%s', found '%s'", part, text);
}

/* Standard error goes to memory between stderr_keep() and stderr_give_back(), for setup and
 * teardown. */

static int stderr_before = -1, stderr_kept = -1;

/* What ends a test within the code under test has been said to memory. */
static inline void
stderr_rescue(void)
{
	char text[4096];
	off_t at = 0;
	ssize_t n;

	while (stderr_before >= 0 && (n = pread(stderr_kept, text, sizeof(text), at)) > 0 &&
		write(stderr_before, text, (size_t)n) == n)
		at += n;
}

static inline int
stderr_keep(void)
{
	static bool watched;

	if (!watched && atexit(stderr_rescue) != 0)
		return -1;
	watched = true;
	stderr_before = dup(STDERR_FILENO);
	stderr_kept = memfd_create("stderr", MFD_CLOEXEC);
#ifdef EGB_SANITIZE
	__sanitizer_set_report_fd((void *)(intptr_t)stderr_before);
#endif
	return stderr_before < 0 ? -1 : dup2(stderr_kept, STDERR_FILENO);
}

static inline void
stderr_give_back(void)
{
	dup2(stderr_before, STDERR_FILENO);
#ifdef EGB_SANITIZE
	__sanitizer_set_report_fd((void *)(intptr_t)STDERR_FILENO);
#endif
	close(stderr_before);
	close(stderr_kept);
	stderr_before = -1;
}

/* How often `part` has been said since stderr_keep(). */
static inline unsigned
stderr_count(const char *part)
{
	off_t size = lseek(stderr_kept, 0, SEEK_END);
	char *text = calloc(1, (size_t)size + 1);
	unsigned n = 0;

	assert_non_null(text);
	assert_int_equal(pread(stderr_kept, text, (size_t)size, 0), size);
	for (const char *p = text; (p = strstr(p, part)) != NULL; p++)
		n++;
	free(text);
	return n;
}

#endif
