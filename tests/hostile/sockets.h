/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HOSTILE_SOCKETS_H
#define TESTS_HOSTILE_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "proto/diag.h"
#include "proto/wire.h"

/* Sockets of this process on the loopback device, and what the kernel says of them. Every failure
 * of a system call is the end of the program. */

struct pair {
	int listener, client, server; /* -1: closed */
};

enum flavour { IPV4, IPV6, MAPPED, ON_DEVICE, FLAVOURS };
extern const char *const flavour_names[];

/* Inode number of this network namespace. */
uint32_t netns_now(void);
void loopback_up(void);

/* A TCP socket with small buffers, and the loopback address it goes with. */
int socket_make(enum flavour flavour);
socklen_t address_make(enum flavour flavour, struct sockaddr_storage *ss);

/* A listener and a client that is connected to it; pair_make() accepts it, too. */
struct pair pair_queued(enum flavour flavour);
struct pair pair_make(enum flavour flavour);
void pair_close(struct pair *p);

/* One byte from here to there; both ways. */
bool one_way(int from, int to);
bool alive(const struct pair *p);

/* A request that describes fd as the ghost it is not (yet). */
struct wire_destroy request_for(int fd, uint8_t state);

/* Calls take for every row of a dump of that family and those states. */
void rows_dump(uint16_t family, uint32_t states,
	void (*take)(void *arg, const struct diag_row *row), void *arg);

/* The socket at the other end of tuple, in any state but LISTEN. cookie 0 when there is none. */
struct diag_row far_end(const struct wire_tuple *tuple);
struct wire_tuple reversed(const struct wire_tuple *t);

/* The kernel's state of the socket a request names, 0 when it is gone. */
unsigned state_of(const struct wire_destroy *d);

/* Sends until nothing more is taken. */
void fill(int fd);

/* Reads to the end; errno of the end, 0 for an orderly one. */
int drained_error(int fd);

/* An orphan in FIN-WAIT-1 that waits at a closed window; the peer lives on in p->server. The big
 * one has much more to send than its peer has room for. */
struct wire_destroy orphan_make(struct pair *p, enum flavour flavour);
struct wire_destroy big_orphan_make(struct pair *p);

/* A mini-socket in FIN-WAIT-2; one in TIME-WAIT. */
struct wire_destroy mini_make(struct pair *p);
struct wire_destroy time_wait_make(void);

#endif
