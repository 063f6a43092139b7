/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_BENCH_ENDS_H
#define TESTS_BENCH_ENDS_H

#include <netinet/in.h>

#include "proto/wire.h"

/* Both ends of connections on the loopback device. fatal() on failure. */

/* A socket that its owner's death makes a ghost, by the names that SOCK_DESTROY wants. */
struct target {
	uint64_t cookie;
	struct wire_tuple tuple;
};

/* As many descriptors as this process may have; returns how many. */
unsigned ends_room(void);

/* Listens on 127.0.0.1 at a free port. small: with the smallest window there is. */
int ends_listen(struct sockaddr_in *at, bool small);

/* Connects, and with `bytes` sends more than a small window takes. */
int ends_connect(const struct sockaddr_in *to, size_t bytes);

/* What a small window does not take, and the kernel's buffers do. */
#define ENDS_BYTES 4000

/* From now on close() resets it: neither a FIN nor a TIME-WAIT. */
void ends_reset_at_close(int fd);

struct target ends_target(int fd);

#endif
