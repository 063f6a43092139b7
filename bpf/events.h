/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef BPF_EVENTS_H
#define BPF_EVENTS_H

/*
 * What the BPF programs and the tracker share: the records in the ring buffer, the stamp on a
 * socket and the drop counters. Fixed widths, host order, the same layout for every architecture.
 * Each record begins with its kind. Reserved ring memory is not zeroed: bytes behind a string's
 * terminating zero are whatever an older record left there.
 */

#include <linux/types.h>

enum event_kind {
	EVENT_EXIT = 1,
	EVENT_ORPHAN = 2,
};

#define EVENT_COMM_LEN 16
#define EVENT_UNIT_LEN 96

enum event_owner_flags {
	EVENT_OWNER_OOM = 1 << 0,
	EVENT_OWNER_UNIT_TRUNCATED = 1 << 1, /* too long, or could not be read */
};

enum event_orphan_flags {
	EVENT_ORPHAN_CLOSED = 1 << 0, /* the FIN was ordered before the death */
};

/* A dying thread group. */
struct event_owner {
	__u64 start_boottime; /* of the leader */
	__u64 cgroup_id;      /* default hierarchy */
	__u32 tgid;	      /* initial pid namespace */
	__u32 uid;	      /* real uid, initial user namespace */
	__u32 exit_code;      /* as in wait(2) */
	__u32 flags;	      /* enum event_owner_flags */
	char comm[EVENT_COMM_LEN];
	char unit[EVENT_UNIT_LEN];
};

/* The last thread of a process has begun to exit; its sockets are still open. */
struct event_exit {
	__u32 kind;
	__u32 pad;
	__u64 died_mono_ns;
	struct event_owner owner;
};

/* A TCP socket is being closed because its owner dies. */
struct event_orphan {
	__u32 kind;
	__u32 send_queue; /* write_seq - snd_una, before the FIN */
	__u64 born_mono_ns;
	__u64 cookie;
	__u32 ifindex; /* bound device, 0 when unbound */
	__u32 netns;   /* inode number */
	__u16 family;
	__u16 src_port; /* host order */
	__u16 dst_port; /* host order */
	__u8 state;	/* the state entered, or with EVENT_ORPHAN_CLOSED the one it was in */
	__u8 flags;	/* enum event_orphan_flags */
	__u8 src[16];	/* network order; IPv4 in the first four bytes, the rest zero */
	__u8 dst[16];
	struct event_owner owner;
};

/* Left on a socket by a living process's own shutdown(). Lives until the full socket is destroyed.
 */
struct event_stamp {
	__u64 start_boottime; /* of the process's leader */
	__u64 when_mono_ns;
	__u32 tgid;
	__u32 pad;
};

/* Records and stamps that were lost. One slot to a cache line, chosen by the CPU's number: that
 * spreads the writers, and the additions are atomic, so CPUs may share a slot. */
#define EVENT_DROP_SLOTS 128

struct event_drops {
	__u64 orphan;
	__u64 exit;
	__u64 stamp;
	__u64 pad[5];
};

_Static_assert(sizeof(struct event_owner) == 144, "event_owner");
_Static_assert(sizeof(struct event_exit) == 160, "event_exit");
_Static_assert(sizeof(struct event_orphan) == 216, "event_orphan");
_Static_assert(sizeof(struct event_stamp) == 24, "event_stamp");
_Static_assert(sizeof(struct event_drops) == 64, "event_drops");
_Static_assert(__builtin_offsetof(struct event_exit, owner) == 16, "event_exit.owner");
_Static_assert(__builtin_offsetof(struct event_orphan, owner) == 72, "event_orphan.owner");

#endif
