/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef BPF_KERNEL_TYPES_H
#define BPF_KERNEL_TYPES_H

/*
 * The few kernel fields the programs read, and no more. Names must be the kernel's; places and
 * sizes need not be: libbpf relocates every access against the running kernel's BTF (CO-RE). A
 * vmlinux.h made from the running kernel would tie the build to that kernel.
 */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

/* Processes. */

typedef struct {
	__u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct mm_struct;

struct signal_struct {
	atomic_t live; /* threads that have not begun to exit */
	int group_exit_code;
	unsigned int flags;
	struct mm_struct *oom_mm; /* set when the OOM killer chose the process */
};

struct css_set;

struct task_struct {
	unsigned int flags;
	int exit_code;
	int tgid;
	__u64 start_boottime;
	struct task_struct *group_leader;
	const struct cred *real_cred;
	char comm[16];
	struct signal_struct *signal;
	struct css_set *cgroups;
};

/* Control groups. */

struct kernfs_node {
	const char *name;
	__u64 id;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp; /* in the default (v2) hierarchy */
};

/* Sockets. */

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport; /* network order */
	__u16 skc_num;	 /* host order */
	unsigned short skc_family;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

typedef struct {
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	__u8 sk_shutdown;
};

struct tcp_sock {
	__u32 write_seq;
	__u32 snd_una;
	bool is_mptcp; /* only with CONFIG_MPTCP */
};

#pragma clang attribute pop

/* include/linux/sched.h, sched/signal.h, net/sock.h: same values 5.8 ... 7.3. */
#define PF_EXITING	  0x00000004u
#define PF_KTHREAD	  0x00200000u
#define SIGNAL_GROUP_EXIT 0x00000004u
#define SEND_SHUTDOWN	  2

#define AF_INET	 2
#define AF_INET6 10

#define TCP_FIN_WAIT1 4
#define TCP_FIN_WAIT2 5
#define TCP_LAST_ACK  9
#define TCP_CLOSING   11

#endif
