/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HOSTILE_REAPER_PEER_H
#define TESTS_HOSTILE_REAPER_PEER_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/wire.h"

/* The real reaper, started as the launcher starts it, and a broker's end of its channel. What
 * breaks the protocol here is the reaper's fault and the end of the program. */

#define REAPER_UID 61199

struct reaper {
	pid_t pid;
	int fd;
	uint32_t seq_in, seq_out;
	struct wire_reaper_hello hello;
};

/* The folder that the reaper's program is in. */
extern const char *libexec;

/* Started, and its HELLO read; ready: greeted, too. option: one more argument, or NULL. */
struct reaper reaper_start(const char *ceiling, const char *option);
void hello_send(struct reaper *r, uint64_t limit);
struct reaper reaper_ready(const char *ceiling, const char *option);

/* Waits for its end and returns the exit status, or minus the signal. */
int reaper_wait(struct reaper *r);
/* The end of the channel is the order to stop: exit status 0. */
void reaper_stop(struct reaper *r, const char *what);
/* It ends by itself, with status 1. */
void dies(struct reaper *r, const char *what);

void packet_send(struct reaper *r, enum wire_type type, const void *records, size_t count);
/* One checked packet of any type. False at the end. *view holds until the next. */
bool packet_any(struct reaper *r, struct wire_view *view);
/* One packet of one type. Returns the number of records, 0 at the end. */
size_t packet_recv(struct reaper *r, enum wire_type type, void *records, size_t size);

/* One request and its result, and what that has to be. */
struct wire_result_record ask(struct reaper *r, const struct wire_destroy *request);
void expect(struct reaper *r, const struct wire_destroy *request, enum wire_result result,
	int error, const char *what);

/* Returns when the reaper has taken its first look at everything sent so far. */
void ping(struct reaper *r);

struct wire_sample sample_for(const struct wire_destroy *d);
struct wire_sampled sample(struct reaper *r, const struct wire_destroy *d);
void expect_sample(struct reaper *r, const struct wire_destroy *d, enum wire_found found, int error,
	unsigned state, const char *what);
/* Samples until the ghost has moved on from *before; until two in a row are the same. */
struct wire_sampled sample_moved(
	struct reaper *r, const struct wire_destroy *d, const struct wire_progress *before);
struct wire_sampled sample_still(struct reaper *r, const struct wire_destroy *d);

void reconcile_send(struct reaper *r, uint64_t round);
void limit_send(struct reaper *r, uint64_t limit);

struct tally {
	unsigned by_result[WIRE_RESULT_FAILED + 1];
	unsigned total, packets;
};

/* Reads results until there are so many. */
void tally_read(struct reaper *r, struct tally *t, unsigned total);

#endif
