/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REAPER_NETLINK_H
#define REAPER_NETLINK_H

#include <errno.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/diag.h"
#include "proto/scalars.h"

struct mnl_socket;

/*
 * One conversation with the kernel's sock_diag. Questions go out in one writev(2); the kernel
 * answers them inside that call (netlink_rcv_skb(), 5.8 ... 7.3), so reading never has to wait, and
 * what has not been answered then never will be.
 */

#define NETLINK_FD	  4 /* fixed, so that the filter is a constant table */
#define NETLINK_DUMP_FD	  5 /* dumps have their own: what is left of one is in nobody's way */
#define NETLINK_BATCH_MAX WIRE_BATCH_MAX

struct netlink {
	struct mnl_socket *socket;
	uint32_t seq;	   /* of the next question */
	mono_ns sent;	   /* when the last exchange's questions left */
	uint64_t overruns; /* times the kernel had no room for an answer */
};

struct netlink_query {
	/* By diag_exact(). Its sequence number is overwritten. */
	_Alignas(4) unsigned char request[DIAG_REQUEST_LEN];
	size_t len; /* what diag_exact() returned; 0 is never sent and answers EINVAL */
	int error;  /* 0, or the kernel's errno; ENOBUFS: no answer, EBADMSG: not readable */
	bool asked; /* the kernel has had the question, whatever became of the answer */
	bool answered;
	bool has_row; /* `row` was answered. error 0 without it is an acknowledgement */
	struct diag_row row;
	mono_ns read; /* when the answer was read */
};

/* The status in an NLMSG_ERROR or NLMSG_DONE as an errno: 0, or positive. EBADMSG for a number that
 * is no error of the kernel's (they end at MAX_ERRNO, 4095), and has no negative either. */
static inline int
netlink_errno(int status)
{
	return status <= 0 && status >= -4095 ? -status : EBADMSG;
}

/* Opens and connects the socket on descriptor `want`, with room for NETLINK_BATCH_MAX answers.
 * fatal() when the kernel has no sock_diag. */
void netlink_open(struct netlink *nl, int want);

/* Asks count (<= NETLINK_BATCH_MAX) questions and reads the answers, from the kernel only, matched
 * by sequence number. Fills everything of each query but request and len. Does not block. */
void netlink_exchange(struct netlink *nl, struct netlink_query *queries, size_t count);

#endif
