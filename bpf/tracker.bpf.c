/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */

/*
 * Two tracepoints tell who dies and what it leaves behind.
 *
 * Kernel memory is read only by following BTF pointers (task->signal->flags), never by
 * bpf_probe_read_kernel(): lockdown=confidentiality refuses that helper but not these loads.
 * Nothing is kept in per-CPU memory between two instructions: a tracepoint may be preempted.
 */

#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "events.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* False where the kernel has no bpf_snprintf() (5.13): the verifier then never sees the calls. */
const volatile bool can_read_names = true;

/* Inode number of the only network namespace that is looked at, 0: all. What others leave in theirs
 * must not fill our ring; they have instances of their own. */
const volatile __u32 only_netns = 0;

/* An orphan in a cgroup this deep below its unit has no unit. */
#define CGROUP_DEPTH_MAX 24

#define STAMPERS_MAX 8192
#define REPORTED_MAX 4096
#define HOLDERS_MAX  2048
#define UNITS_MAX    1024
#define EEXIST	     17

/* An array, so that it is in .rodata: bpf_snprintf() wants its format in a frozen map. */
static const char as_string[] = "%s";

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* set anew by the tracker */
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct event_stamp);
} stamps SEC(".maps");

/* A process for ever: pids are used again. */
struct process {
	__u64 start_boottime; /* of the leader */
	__u64 tgid;
};

/* Living processes that have stamped a socket: their end is reported even when it is clean. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STAMPERS_MAX);
	__type(key, struct process);
	__type(value, __u8);
} stampers SEC(".maps");

/* How many of them have a tgid that leaves this remainder. One page: a look here is what a clean
 * exit pays, where a look into the hash of all stampers would cost it four cache misses. */
#define HINTS 1024
__u32 stamper_hints[HINTS];

/* Deaths reported lately. Only for kernels that do not say which thread is the last (process_exit).
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, REPORTED_MAX);
	__type(key, struct process);
	__type(value, __u8);
} reported SEC(".maps");

/*
 * How much of the ring somebody holds: bytes written in each eighth of it, and which time round
 * that was. Whoever is at this for the first time, or was pushed out, begins with nothing: what he
 * may hold depends on what all others have left.
 */
#define EIGHTHS 8
struct holder {
	__u32 round[EIGHTHS]; /* position in the ring, in eighths, since its beginning */
	__u32 bytes[EIGHTHS];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, HOLDERS_MAX);
	__type(key, __u64); /* a uid, or HOLDER_CGROUP and a cgroup's id */
	__type(value, struct holder);
} holders SEC(".maps");

#define HOLDER_CGROUP (1ull << 63)

/* The unit of a control group, so that it is looked for once, not for every orphan of a storm. Its
 * id is never given out again, and neither it nor what is above it can be renamed. */
struct unit {
	char name[EVENT_UNIT_LEN];
	__u64 flags; /* of enum event_owner_flags */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, UNITS_MAX);
	__type(key, __u64);
	__type(value, struct unit);
} units SEC(".maps");

/* Nobody holds more of the ring than so many times what is left. The smaller share is a cgroup's,
 * so that one of them that floods leaves some to others of its uid, too. */
#define UID_SHARE    7
#define CGROUP_SHARE 3

/* .bss, not a per-CPU array: the tracker reads it by mmap, without bpf(). */
struct event_drops drops[EVENT_DROP_SLOTS] __attribute__((aligned(64)));

/* How much of it a tracker has reported: the next one goes on from there (proto/kept.h). */
struct event_drops told;

#define count_drop(what) \
	__sync_fetch_and_add(&drops[bpf_get_smp_processor_id() % EVENT_DROP_SLOTS].what, 1)

static __always_inline struct process
process_of(struct task_struct *task)
{
	return (struct process){ .start_boottime = task->group_leader->start_boottime,
		.tgid = task->tgid };
}

/* What wait(2) will report. Before 6.1 do_group_exit() leaves the group's fields alone in a process
 * with one thread; where they are not set, wait(2) takes the leader's. */
static __always_inline __u32
exit_code(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;

	if (signal->flags & SIGNAL_GROUP_EXIT)
		return signal->group_exit_code;
	return task->group_leader->exit_code;
}

/* Up to eight characters as one number: 5.10 and 6.1 refuse the loop that would compare them. */
union word {
	char text[16]; /* room for a terminating zero */
	__u64 number;
};

#define WORD(constant) (((union word){ .text = constant }).number)

/* The end of a name is fetched on its own, so that the answer does not depend on how much of a long
 * name fits into a record. A name that cannot be read must not leave an outer unit to match. */
static __always_inline bool
ends_with(struct unit *unit, const char *name, long len, __u64 suffix, int suffix_len)
{
	__u64 end = (__u64)name + len - suffix_len;
	union word word = {};

	if (len <= suffix_len)
		return false;
	if (bpf_snprintf(word.text, suffix_len + 1, as_string, &end, sizeof(end)) < 0)
		unit->flags |= EVENT_OWNER_UNIT_TRUNCATED;
	return word.number == suffix;
}

static __always_inline bool
is_unit(struct unit *unit, const char *name, long len)
{
	return ends_with(unit, name, len, WORD(".service"), 8) ||
	       ends_with(unit, name, len, WORD(".scope"), 6);
}

/* The nearest service or scope around the task. bpf_snprintf() because a char pointer cannot be
 * followed directly: refused by the verifiers of 5.10 ... 6.12. */
static __always_inline void
find_unit(struct unit *unit, struct cgroup *cgroup)
{
	for (int depth = 0; depth < CGROUP_DEPTH_MAX; depth++) {
		const char *name = cgroup->kn->name;
		__u64 arg = (__u64)name;
		long size = bpf_snprintf(unit->name, EVENT_UNIT_LEN, as_string, &arg, sizeof(arg));

		if (size < 0) {
			unit->flags |= EVENT_OWNER_UNIT_TRUNCATED;
			break;
		}
		if (is_unit(unit, name, size - 1)) {
			if (size > EVENT_UNIT_LEN)
				unit->flags |= EVENT_OWNER_UNIT_TRUNCATED;
			return;
		}
		struct cgroup_subsys_state *parent = cgroup->self.parent;
		if (!parent)
			break;
		cgroup = parent->cgroup;
	}
	unit->name[0] = 0;
}

static __always_inline void
put_unit(struct event_owner *owner, const struct unit *unit)
{
	__builtin_memcpy(owner->unit, unit->name, sizeof(owner->unit));
	owner->flags |= unit->flags;
}

static __always_inline void
fill_unit(struct event_owner *owner, struct cgroup *cgroup)
{
	__u64 id = cgroup->kn->id;
	struct unit *known = bpf_map_lookup_elem(&units, &id), fresh = {};

	/* Not one pointer to either: the compiler would then add to it before it is known to be
	 * none. */
	if (known) {
		put_unit(owner, known);
		return;
	}
	find_unit(&fresh, cgroup);
	if (!fresh.flags) /* what could not be read is tried again */
		bpf_map_update_elem(&units, &id, &fresh, BPF_ANY);
	put_unit(owner, &fresh);
}

static __always_inline void
fill_owner(struct event_owner *owner, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct cgroup *cgroup = task->cgroups->dfl_cgrp;

	owner->start_boottime = leader->start_boottime;
	owner->cgroup_id = cgroup->kn->id;
	owner->tgid = task->tgid;
	owner->uid = task->real_cred->uid.val;
	owner->exit_code = exit_code(task);
	owner->flags = task->signal->oom_mm ? EVENT_OWNER_OOM : 0;
	for (int i = 0; i < EVENT_COMM_LEN; i++)
		owner->comm[i] = leader->comm[i];
	owner->unit[0] = 0;
	if (can_read_names)
		fill_unit(owner, cgroup);
}

static __always_inline void
fill_address(__u8 out[16], const struct in6_addr *v6, __u32 v4, bool is_v6)
{
	__u32 *word = (__u32 *)out;

	word[0] = is_v6 ? v6->in6_u.u6_addr32[0] : v4;
	word[1] = is_v6 ? v6->in6_u.u6_addr32[1] : 0;
	word[2] = is_v6 ? v6->in6_u.u6_addr32[2] : 0;
	word[3] = is_v6 ? v6->in6_u.u6_addr32[3] : 0;
}

static __always_inline void
fill_tuple(struct event_orphan *orphan, const struct sock *sk)
{
	bool is_v6 = sk->__sk_common.skc_family == AF_INET6;

	orphan->family = sk->__sk_common.skc_family;
	orphan->src_port = sk->__sk_common.skc_num;
	orphan->dst_port = bpf_ntohs(sk->__sk_common.skc_dport);
	orphan->ifindex = sk->__sk_common.skc_bound_dev_if;
	/* Not the task's: it has already left its namespaces (exit_task_namespaces()). */
	orphan->netns = sk->__sk_common.skc_net.net->ns.inum;
	fill_address(orphan->src, &sk->__sk_common.skc_v6_rcv_saddr, sk->__sk_common.skc_rcv_saddr,
		is_v6);
	fill_address(orphan->dst, &sk->__sk_common.skc_v6_daddr, sk->__sk_common.skc_daddr, is_v6);
}

static __always_inline bool
is_elsewhere(const struct sock *sk)
{
	return only_netns && sk->__sk_common.skc_net.net->ns.inum != only_netns;
}

/* Takes note of one record of this holder at the ring's position `head`; false when it has too much
 * there already, behind `tail`. Counts may be off by a record or two where CPUs meet. */
static __always_inline bool
holder_take(__u64 key, __u64 head, __u64 tail, __u64 size, __u64 most)
{
	__u32 now = (__u32)(head / (size / EIGHTHS)), oldest = (__u32)(tail / (size / EIGHTHS));
	__u32 slot = now % EIGHTHS;
	__u64 bytes = 0;
	struct holder *holder = bpf_map_lookup_elem(&holders, &key);

	if (!holder) {
		struct holder fresh = {};

		bpf_map_update_elem(&holders, &key, &fresh, BPF_NOEXIST);
		holder = bpf_map_lookup_elem(&holders, &key);
		if (!holder)
			return true;
	}
	for (int i = 0; i < EIGHTHS; i++) {
		if (holder->round[i] - oldest <= EIGHTHS)
			bytes += holder->bytes[i];
	}
	if (bytes > most)
		return false;
	if (holder->round[slot] != now) {
		holder->round[slot] = now;
		holder->bytes[slot] = 0;
	}
	__sync_fetch_and_add(&holder->bytes[slot], sizeof(struct event_orphan));
	return true;
}

/* Whoever makes orphans as fast as can be must not crowd others' out: neither a uid nor a cgroup
 * fills the ring. Nothing is looked at while it is nearly empty. */
static __always_inline bool
room_for_orphan(struct task_struct *task)
{
	__u64 size = bpf_ringbuf_query(&events, BPF_RB_RING_SIZE);
	__u64 used = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA);
	struct cgroup *cgroup = task->cgroups->dfl_cgrp;
	__u64 head, tail, left;

	if (used < size / 4 || size < EIGHTHS)
		return true;
	head = bpf_ringbuf_query(&events, BPF_RB_PROD_POS);
	tail = bpf_ringbuf_query(&events, BPF_RB_CONS_POS);
	left = used < size ? size - used : 0;
	if (!holder_take(task->real_cred->uid.val, head, tail, size, UID_SHARE * left))
		return false;
	/* Without control groups all are in the root. */
	if (!cgroup->self.parent)
		return true;
	return holder_take(HOLDER_CGROUP | cgroup->kn->id, head, tail, size, CGROUP_SHARE * left);
}

/* The last thread is closing the files of its dead process. */
static __always_inline void
report_orphan(const struct sock *sk, struct task_struct *task, int state, __u8 flags)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock((void *)sk);

	/* An MPTCP subflow belongs to its MPTCP socket, whatever its own state says. */
	if (!tcp || (bpf_core_field_exists(tcp->is_mptcp) && tcp->is_mptcp))
		return;

	struct event_orphan *orphan =
		room_for_orphan(task) ? bpf_ringbuf_reserve(&events, sizeof(*orphan), 0) : NULL;
	if (!orphan) {
		count_drop(orphan);
		return;
	}
	orphan->kind = EVENT_ORPHAN;
	orphan->send_queue = tcp->write_seq - tcp->snd_una;
	orphan->born_mono_ns = bpf_ktime_get_ns();
	orphan->cookie = bpf_get_socket_cookie((void *)sk);
	orphan->state = state;
	orphan->flags = flags;
	fill_tuple(orphan, sk);
	fill_owner(&orphan->owner, task);
	bpf_ringbuf_submit(orphan, 0);
}

static __always_inline void
remember_stamper(struct process *who)
{
	__u8 yes = 1;

	if (bpf_map_lookup_elem(&stampers, who))
		return;
	/* The hint first: who is in the map is never without one. */
	__sync_fetch_and_add(&stamper_hints[who->tgid % HINTS], 1);
	int rc = bpf_map_update_elem(&stampers, who, &yes, BPF_NOEXIST);
	if (rc)
		__sync_fetch_and_add(&stamper_hints[who->tgid % HINTS], -1);
	if (rc && rc != -EEXIST) /* not by another thread of it meanwhile */
		count_drop(stamp);
}

/* True once for each process that has stamped a socket. */
static __always_inline bool
forget_stamper(struct task_struct *task)
{
	__u32 hint = (__u32)task->tgid % HINTS;

	if (!stamper_hints[hint])
		return false;

	struct process who = process_of(task);

	if (bpf_map_delete_elem(&stampers, &who))
		return false;
	__sync_fetch_and_add(&stamper_hints[hint], -1);
	return true;
}

/* A living process ordered this FIN: whatever kills it later did not cut the stream. */
static __always_inline void
stamp(const struct sock *sk, struct task_struct *task)
{
	struct process who = process_of(task);
	struct event_stamp *left =
		bpf_sk_storage_get(&stamps, (void *)sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!left) {
		count_drop(stamp);
		return;
	}
	left->start_boottime = who.start_boottime;
	left->when_mono_ns = bpf_ktime_get_ns();
	left->tgid = who.tgid;
	left->pad = 0;
	remember_stamper(&who);
}

/* Runs at every state change of every TCP socket: the first lines decide what the service costs. */
SEC("tp_btf/inet_sock_set_state")
int
BPF_PROG(sock_state, const struct sock *sk, int old_state, int new_state)
{
	/* tcp_close_state() also "enters" the state that an earlier shutdown() led to: that FIN was
	 * ordered before. */
	bool closed = old_state == new_state;

	if (new_state != TCP_FIN_WAIT1 && new_state != TCP_LAST_ACK &&
		!(closed && (new_state == TCP_FIN_WAIT2 || new_state == TCP_CLOSING)))
		return 0;
	/* Not locked by its caller: a softirq works on it and current is anybody. */
	if (!sk->sk_lock.owned || is_elsewhere(sk))
		return 0;

	struct task_struct *task = bpf_get_current_task_btf();
	unsigned int flags = task->flags;

	if (flags & PF_KTHREAD)
		return 0;
	if (flags & PF_EXITING) {
		/* A thread with files of its own also closes them here, in a living process. */
		if (!task->signal->live.counter)
			report_orphan(sk, task, new_state, closed ? EVENT_ORPHAN_CLOSED : 0);
	} else if (!closed && sk->sk_shutdown == SEND_SHUTDOWN) {
		/* inet_shutdown() sets sk_shutdown before tcp_shutdown() changes the state; close()
		 * sets both halves, as do shutdown(SHUT_RDWR) and a FIN of the peer's before. */
		stamp(sk, task);
	}
	return 0;
}

/* A clean end that left nothing stamped costs no event, and as few looks as can be: what is looked
 * at here is in no cache. Whoever the OOM killer chose and killed has a signal to show for it. */
static __always_inline bool
exit_matters(struct task_struct *task)
{
	if (task->flags & PF_KTHREAD)
		return false;
	return forget_stamper(task) || exit_code(task);
}

/* Deaths are many and orphans are what matters: half of the ring is kept for those, so that nobody
 * who only forks and fails can crowd them out. */
static __always_inline bool
room_for_exit(void)
{
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) <
	       bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 2;
}

/* Not inline, so that a death that costs no event runs through few cache lines. */
static __noinline void
report_exit(struct task_struct *task)
{
	struct event_exit *event =
		room_for_exit() ? bpf_ringbuf_reserve(&events, sizeof(*event), 0) : NULL;
	if (!event) {
		count_drop(exit);
		return;
	}
	event->kind = EVENT_EXIT;
	event->pad = 0;
	event->died_mono_ns = bpf_ktime_get_ns();
	fill_owner(&event->owner, task);
	bpf_ringbuf_submit(event, 0);
}

/* Up to 6.15 the tracepoint does not say which thread is the last, and two that exit at the same
 * moment can both see 0 here. The first reports. */
SEC("tp_btf/sched_process_exit")
int
BPF_PROG(process_exit, struct task_struct *task)
{
	if (task->signal->live.counter || !exit_matters(task))
		return 0;

	struct process who = process_of(task);
	__u8 yes = 1;
	/* An int: before 6.4 the upper half of the result is not set. */
	int rc = bpf_map_update_elem(&reported, &who, &yes, BPF_NOEXIST);
	if (rc != -EEXIST)
		report_exit(task);
	return 0;
}

/* From 6.16 on it does. The tracker loads the one that fits. */
SEC("tp_btf/sched_process_exit")
int
BPF_PROG(process_exit_group_dead, struct task_struct *task, bool group_dead)
{
	if (group_dead && exit_matters(task))
		report_exit(task);
	return 0;
}
