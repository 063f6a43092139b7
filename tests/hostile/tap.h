/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HOSTILE_TAP_H
#define TESTS_HOSTILE_TAP_H

#include <stdbool.h>

/* What a test program that plays a hostile peer says: TAP. */

/* Nothing here takes that long: only a failure waits for it. */
#define PATIENCE_MS 10000

extern unsigned tap_tests, tap_failures;

/* One line of the plan: "ok N - what". */
__attribute__((format(printf, 2, 3))) void ok(bool good, const char *fmt, ...);

/* "Bail out!", with errno's text; exit status 99. */
_Noreturn void die(const char *what);

/* rc, or the end when it is negative. */
int must(int rc, const char *what);

/* EGB_PATIENCE of tests/system/machine.py: so many times slower than others this machine is. */
unsigned patience(void);

/* Whether fd can be read from within PATIENCE_MS. */
bool readable(int fd);

#endif
