/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SINK_AUDIT_H
#define SINK_AUDIT_H

#include <stddef.h>
#include <stdint.h>

/*
 * The kernel's audit system, to which it speaks on one netlink socket. A message is sent and
 * acknowledged in one call, in which the kernel makes the sender wait while its backlog is full and
 * auditd does not take from it: for a minute, or for as long as audit's backlog_wait_time says.
 */

#define AUDIT_FD 4 /* fixed, so that the filter is a constant table */

struct audit {
	uint32_t seq; /* of the next message */
};

/* Opens the socket as AUDIT_FD. fatal() when the kernel has no audit. */
void audit_open(struct audit *audit);

/* Sends text (len bytes and the zero behind them) as a message of type AUDIT_TRUSTED_APP. Returns 0
 * when the kernel has acknowledged it, which it does with auditing switched off, too; else the
 * errno: EPERM without CAP_AUDIT_WRITE, ECONNREFUSED in a user namespace, ENOBUFS without an
 * answer.
 */
int audit_write(struct audit *audit, const char *text, size_t len);

#endif
