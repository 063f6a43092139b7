/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULTS_DETAILS_H
#define TESTS_FAULTS_DETAILS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What tells one use of a system call from another: the file or the descriptor it is about, the
 * operation it asks for. The same in every run: digits become '#', what begins with folder (the
 * test's own) begins with '~', there is no space in it. "-" when the call is enough.
 */
void detail_of(pid_t pid, const char *call, const uint64_t args[6], const char *folder, char *out,
	size_t size);

#endif
