/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "bpf/kernel_types.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "tests/bench/relay.h"

/* The least that tells of a ghost. */

const volatile __u32 only_netns;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("tp_btf/inet_sock_set_state")
int
BPF_PROG(on_state, const struct sock *sk, int old_state, int new_state)
{
	struct relay_event *event;

	if (new_state != TCP_FIN_WAIT1 || !sk->sk_lock.owned ||
		sk->__sk_common.skc_net.net->ns.inum != only_netns ||
		!(bpf_get_current_task_btf()->flags & PF_EXITING))
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	event->cookie = bpf_get_socket_cookie((void *)sk);
	event->src = sk->__sk_common.skc_rcv_saddr;
	event->dst = sk->__sk_common.skc_daddr;
	event->src_port = sk->__sk_common.skc_num;
	event->dst_port = bpf_ntohs(sk->__sk_common.skc_dport);
	event->pad = 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}
