/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_SINKS_H
#define BROKER_SINKS_H

#include "auditlog.h"
#include "policy.h"

/*
 * Where else records go once the audit log has them: the kernel's audit, through the sink's
 * process, and systemd-journald. Both are extras. Whatever becomes of them is counted and said, and
 * nothing waits for them: not a request, not the log, not the stop.
 */

enum sink { SINK_LINUX_AUDIT, SINK_JOURNALD, SINKS };

struct sink_look {
	const char *state; /* "off", "starting", "working", "failing", "gone" */
	uint64_t sent;	   /* records that it has taken */
	uint64_t lost;	   /* records that it has not, or of which nothing is known any more */
	int32_t error;	   /* why, errno; 0: it takes records, or has taken none yet */
};

/* "linux_audit", "journald": also the configuration's keys. */
const char *sink_name(enum sink sink);

/* Those that policy asks for; log has a note of each of its records from now on. boot_id: the text
 * of /proc/sys/kernel/random/boot_id. */
void sinks_open(const struct policy *policy, struct auditlog *log, const char *boot_id);

/* Hands over what the log has written. */
void sinks_turn(void);

/* The same for the last time: what finds no room now is lost. */
void sinks_end(void);

/* Now and then: the sink's process may have ended. */
void sinks_reap(void);

void sinks_look(struct sink_look looks[SINKS]);

/* For the `stop` record. */
void sinks_count(struct record_sink sinks[RECORD_SINKS_MAX]);

#endif
