/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#include "bpf/kernel_types.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "tests/bench/marks.h"

/*
 * When the sockets of a dying process enter FIN-WAIT-1, and when the kernel has let go of them: the
 * one clock for the service and for all that it is compared with.
 */

const volatile __u32 only_netns;

struct marks {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MARKS_MAX);
	__type(key, __u32);
	__type(value, struct mark);
};

struct marks born SEC(".maps");
struct marks gone SEC(".maps");
__u32 born_count, gone_count;

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void
mark_add(void *marks, __u32 *count, const struct sock *sk)
{
	__u32 n = __sync_fetch_and_add(count, 1);
	struct mark *mark = bpf_map_lookup_elem(marks, &n);

	if (!mark)
		return;
	mark->cookie = bpf_get_socket_cookie((void *)sk);
	mark->mono_ns = bpf_ktime_get_ns();
}

SEC("tp_btf/inet_sock_set_state")
int
BPF_PROG(on_state, const struct sock *sk, int old_state, int new_state)
{
	if (new_state != TCP_FIN_WAIT1 || !sk->sk_lock.owned ||
		sk->__sk_common.skc_net.net->ns.inum != only_netns)
		return 0;
	if (bpf_get_current_task_btf()->flags & PF_EXITING)
		mark_add(&born, &born_count, sk);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int
BPF_PROG(on_destroy, const struct sock *sk)
{
	if (sk->__sk_common.skc_net.net->ns.inum == only_netns)
		mark_add(&gone, &gone_count, sk);
	return 0;
}
