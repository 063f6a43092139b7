/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_PRIVS_H
#define PROTO_PRIVS_H

#include <stdint.h>

/*
 * Privileges are dropped by the launcher, between fork and exec. A role does not believe that: it
 * reads back what it has, tries to get back what it must not have, and dies if that works.
 * Every function here is fatal() on failure: nothing fails open.
 */

#define CAP_BIT(cap) (1ull << (cap))

/* What a role may hold from now on, as masks of CAP_BIT(). */
struct privs {
	uint64_t permitted; /* = effective = inheritable */
	uint64_t bounding;
	uint64_t ambient;
};

/* Process hygiene: not dumpable (no core, no ptrace by the own uid), no new privileges, no core
 * file, no further process (RLIMIT_NPROC 0), at most nofile descriptors, every descriptor from
 * first_closed up closed, standard input and output on /dev/null, working directory "/". name: what
 * ps(1) shows, at most 15 bytes (before 6.14 a program executed by descriptor is called by its
 * number). */
void privs_harden(const char *name, unsigned nofile, unsigned first_closed);

/* Gives up every capability outside *keep (which may be less than the process has) and proves it.
 */
void privs_drop_to(const struct privs *keep);

/* Proof: three equal uids and gids that are not 0, no supplementary group, the capability sets
 * exactly *want, no-new-privs set, dumpable off; then setuid(0), setgid(0) and a capset() that adds
 * a capability must all fail. */
void privs_prove(const struct privs *want);

#endif
