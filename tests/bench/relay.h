/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef TESTS_BENCH_RELAY_H
#define TESTS_BENCH_RELAY_H

#include <linux/types.h>

/* What the relay hands on: IPv4, network order as in the socket, but for the ports. */
struct relay_event {
	__u64 cookie;
	__u32 src, dst;
	__u16 src_port, dst_port; /* host order */
	__u32 pad;
};

#endif
