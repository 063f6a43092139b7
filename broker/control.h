/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_CONTROL_H
#define BROKER_CONTROL_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The control socket: a client sends one line ("status\n"), gets one answer and the end. Read-only
 * verbs, for root and the members of one group, by the kernel's word (SO_PEERCRED, SO_PEERGROUPS).
 * A client that is slow, silent, talkative, reads nothing or is one of too many is cut off.
 */

/* The longest answer there may be: an empty socket's buffer takes it at once where nobody has made
 * that smaller (net.core.wmem_default). */
#define CONTROL_ANSWER_MAX (64u << 10)

/* Writes the answer to `verb` (zero-terminated, without newline) to out and returns its length, 0
 * when there is no such verb. */
typedef size_t (*control_answer)(void *context, const char *verb, char *out, size_t size);

/* What has become of clients. */
struct control_counts {
	uint64_t answered; /* all of an answer is on its way to it */
	uint64_t unknown;  /* the same, and the answer is that there is no such verb */
	uint64_t denied;   /* neither root nor of the group */
	uint64_t crowded;  /* one of the group, when enough of these had been served */
	uint64_t cut_off;  /* it sent no whole line, or did not take its answer */
};

/* fd: listening, non-blocking; kept. group: whose members may ask, -1 for root only. Fatal when it
 * cannot be watched. */
void control_open(
	struct event_base *base, int fd, gid_t group, control_answer answer, void *context);

const struct control_counts *control_counts(void);

#endif
