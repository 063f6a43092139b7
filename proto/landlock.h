/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_LANDLOCK_H
#define PROTO_LANDLOCK_H

#include <stddef.h>
#include <stdint.h>

/*
 * Landlock (Linux 5.13 and later): what a role may still do with files, whatever its account may
 * and its system call filter lets pass. openat(2) with a folder's descriptor is no confinement: an
 * absolute path, or "..", leads out of it. Here it is one.
 */

enum landlock_right {
	LANDLOCK_READ,	 /* read files */
	LANDLOCK_APPEND, /* read, write and make regular files; not cut (ABI 3), not remove */
};

struct landlock_grant {
	int folder; /* descriptor, O_PATH will do */
	enum landlock_right right;
};

/* From now on, for good: of files only what is granted, at and below each folder (count 0: nothing
 * at all); no TCP bind() or connect() (ABI 4), no ioctl on devices (ABI 5), no abstract unix
 * sockets and no signals to anything outside this process (ABI 6). What is open stays usable. Needs
 * no-new-privs; goes before the filter, which has none of its calls. Where the kernel has no
 * Landlock, or it is off, a debug line says so; where it is offered and fails: fatal. */
void landlock_restrict(const struct landlock_grant *grants, size_t count);

#endif
