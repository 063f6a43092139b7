/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_CONTROL_H
#define BROKER_CONTROL_H

#include <event2/event.h>
#include <stddef.h>

/*
 * The control socket: a client sends one line ("status\n"), gets one answer and the end. Read-only
 * verbs. Root only, by SO_PEERCRED. A client that is slow, silent, talkative or one of too many is
 * cut off.
 */

/* Writes the answer to `verb` (zero-terminated, without newline) to out and returns its length, 0
 * when there is no such verb. */
typedef size_t (*control_answer)(void *context, const char *verb, char *out, size_t size);

/* fd: listening, non-blocking; kept. Fatal when it cannot be watched. */
void control_open(struct event_base *base, int fd, control_answer answer, void *context);

#endif
