/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HOSTILE_CROWD_H
#define TESTS_HOSTILE_CROWD_H

#include <stdbool.h>
#include <stddef.h>

#include "target.h"

/*
 * A host full of what must not be harmed, in this network namespace and, with the same addresses,
 * in another: living connections of every kind, half-closed ones, listeners, full accept queues,
 * requests that are not connections yet, UDP, MPTCP - and some true orphans. What cannot be made is
 * the end of the program.
 */

#define CROWD_ORPHANS_MAX 4096u

/* live: connections; orphans: ghosts in FIN-WAIT-1 whose peers live on. */
void crowd_make(unsigned live, unsigned orphans);

/* All that the kernel shows of both namespaces. Returns how many, at most max. */
size_t crowd_targets(struct target *out, size_t max);

/* Whether every one of them is as it was: data goes both ways, listeners accept, what waited to be
 * accepted still waits. What was harmed is printed; nothing is changed by it. */
bool crowd_unharmed(void);

/* The end: what waited is accepted, and talks. */
bool crowd_accept_all(void);

/* How many of the orphans there still are. */
unsigned crowd_orphans_left(void);

/* One line: how many of what. */
void crowd_describe(void);

#endif
