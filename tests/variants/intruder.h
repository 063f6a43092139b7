/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_INTRUDER_H
#define TESTS_INTRUDER_H

/*
 * Intruder builds only (make INTRUDER=1): somebody has code running inside a role. One system call
 * of his is made right behind the filter. Which, and in which role, says the file "script" beside
 * the role's program: "ROLE ACTION\n". What the kernel lets return is told in one line on standard
 * error: "intruder: ACTION: done" or "intruder: ACTION: errno N"; the role then goes on.
 */

/* Reads the script. Called before confinement. */
void intruder_prepare(void);

/* Called when the filter is on. */
void intruder_act(void);

#endif
