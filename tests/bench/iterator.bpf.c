/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/*
 * One way to do without a service: an iterator that walks all TCP sockets of this network namespace
 * and ends those in FIN-WAIT-1 (bpf_sock_destroy(), since 6.5).
 */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock_common {
	unsigned char skc_state;
};
struct bpf_iter__tcp {
	struct sock_common *sk_common;
};
#pragma clang attribute pop

#define TCP_FIN_WAIT1 4

extern int bpf_sock_destroy(struct sock_common *sock) __ksym;

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("iter/tcp")
int
reap(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sock = ctx->sk_common;

	if (sock && sock->skc_state == TCP_FIN_WAIT1)
		bpf_sock_destroy(sock);
	return 0;
}
