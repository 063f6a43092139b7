/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <unistd.h>

static _Noreturn void
die(const char *what, uint64_t at)
{
	fprintf(stderr, "inject: %s at %llx: %s\n", what, (unsigned long long)at, strerror(errno));
	_exit(99);
}

void
memory_read(pid_t pid, uint64_t at, void *out, size_t size)
{
	struct iovec mine = { out, size }, its = { (void *)(uintptr_t)at, size };

	if (process_vm_readv(pid, &mine, 1, &its, 1, 0) != (ssize_t)size)
		die("cannot read memory", at);
}

void
memory_write(pid_t pid, uint64_t at, const void *in, size_t size)
{
	struct iovec mine = { (void *)(uintptr_t)in, size }, its = { (void *)(uintptr_t)at, size };

	if (process_vm_writev(pid, &mine, 1, &its, 1, 0) != (ssize_t)size)
		die("cannot write memory", at);
}

uint64_t
memory_word(pid_t pid, uint64_t at)
{
	uint64_t word;

	memory_read(pid, at, &word, sizeof(word));
	return word;
}

void
memory_put(pid_t pid, uint64_t at, uint64_t word)
{
	memory_write(pid, at, &word, sizeof(word));
}

/* Byte by byte: what is behind the text may not be mapped. */
void
memory_text(pid_t pid, uint64_t at, char *out, size_t size)
{
	size_t n = 0;

	for (; n + 1 < size; n++) {
		struct iovec mine = { out + n, 1 }, its = { (void *)(uintptr_t)(at + n), 1 };

		if (process_vm_readv(pid, &mine, 1, &its, 1, 0) != 1 || out[n] == '\0')
			break;
	}
	out[n] = '\0';
	if (n == 0)
		snprintf(out, size, "?");
}
