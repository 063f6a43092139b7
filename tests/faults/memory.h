/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULTS_MEMORY_H
#define TESTS_FAULTS_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The memory of a traced process that is stopped. All end the injector when it cannot be reached.
 */
void memory_read(pid_t pid, uint64_t at, void *out, size_t size);
void memory_write(pid_t pid, uint64_t at, const void *in, size_t size);
uint64_t memory_word(pid_t pid, uint64_t at);
void memory_put(pid_t pid, uint64_t at, uint64_t word);

/* A text with its zero byte; cut at size. "?" where there is none. */
void memory_text(pid_t pid, uint64_t at, char *out, size_t size);

#endif
