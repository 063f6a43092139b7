/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HOSTILE_ROLE_H
#define TESTS_HOSTILE_ROLE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/wire.h"

/*
 * A program in a role's place, started by the real launcher: its argv, its uid, the channel as
 * descriptor 3, nothing else. What it is to do is in the file "NAME.scenario" beside it: a word and
 * a number. What it has done it says on standard error, which is the service's.
 */

struct scenario {
	char name[64];
	uint64_t count;
};

/* Reads PROGRAM.scenario. Any failure in this file is the end, with status 99. */
struct scenario scenario_read(const char *program);

/* Reads `name` beside the program; returns the bytes read, 0 when there is no such file. */
size_t role_file_read(const char *program, const char *name, void *buf, size_t size);

/* One packet of records, with the next number. Blocks. Ends in silence when the broker has gone. */
void role_send(enum wire_type type, const void *records, size_t count);

/* Any bytes; fd: attached to them, or -1. */
void role_send_raw(const void *packet, size_t len, int fd);

/* A correct packet to be spoilt: header and records. Returns its length; the number is used up. */
size_t role_packet(void *packet, enum wire_type type, const void *records, size_t count);

/* What the channel holds: bytes read, 0 at its end, -1 when nothing came within the time. */
long role_receive(void *packet, size_t size, int timeout_ms);

/* One line on standard error. */
__attribute__((format(printf, 1, 2))) void role_say(const char *fmt, ...);

/* The number of the next packet. */
extern uint32_t role_seq;

#define ROLE_PACKET_ROOM (WIRE_PACKET_MAX + 4096)

#endif
