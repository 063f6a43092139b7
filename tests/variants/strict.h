/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_STRICT_H
#define TESTS_STRICT_H

/*
 * Strict builds only (make STRICT=1): a system call that the filter refuses is named on standard
 * error, with its arguments, before the process ends. A filter entry that is missing is found by
 * the first test that needs it.
 */

#define STRICT_STATUS 86 /* the exit status that says so */

/* Called before the filter is loaded. */
void strict_prepare(void);

#endif
