/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What the roles say to one another. One SOCK_SEQPACKET packet is a 16-byte header and one or more
 * records of one type. Host byte order (both ends are on one machine), fixed widths, explicit pads
 * that must be zero. PROTOCOL.md has the table of messages and what each receiver checks again.
 *
 * This file and wire.c are pure: values in, values out; no I/O, no clock, no log.
 */

#define WIRE_MAGIC   0x31474745u /* "EGG1" in memory on a little-endian machine */
#define WIRE_VERSION 1u

#define WIRE_BATCH_MAX	64u  /* records in one packet */
#define WIRE_RECORD_MAX 256u /* bytes in one record of such a packet */
#define WIRE_PACKET_MAX (sizeof(struct wire_header) + WIRE_BATCH_MAX * WIRE_RECORD_MAX)
#define WIRE_NOTES_MAX	32u /* notes in one packet: they are longer */

#define WIRE_COMM_LEN	  16u /* task_struct.comm with its terminating zero */
#define WIRE_UNIT_LEN	  96u /* docker-<64 hex>.scope and cri-containerd-<64 hex>.scope fit */
#define WIRE_BUILD_ID_LEN 16u
#define WIRE_BOOT_ID_LEN  16u
#define WIRE_WORD_LEN	  32u  /* a reason, a result: with its terminating zero */
#define WIRE_RULE_LEN	  64u  /* a rule's name */
#define WIRE_KEY_LEN	  120u /* a unit's name, or what a breaker holds in its place */

#define WIRE_ERRNO_MAX 4095u /* MAX_ERRNO, include/linux/err.h: the kernel has no higher one */
#define WIRE_HEARTBEAT_MAX_MS \
	5000u		   /* what the launcher orders at most: a longer silence is no promise */
#define WIRE_TIMER_MINI 3u /* idiag_timer of every mini-socket, and of no other */

enum wire_direction { WIRE_T2B, WIRE_B2R, WIRE_R2B, WIRE_B2S, WIRE_S2B };

enum wire_type {
	WIRE_T2B_HELLO = 1,
	WIRE_T2B_EXIT = 2,
	WIRE_T2B_ORPHAN = 3,
	WIRE_T2B_LOST = 4,
	WIRE_T2B_HEARTBEAT = 5,

	WIRE_B2R_HELLO = 32,
	WIRE_B2R_DESTROY = 33,
	WIRE_B2R_LIMIT = 34,
	WIRE_B2R_PING = 35,
	WIRE_B2R_SAMPLE = 36,
	WIRE_B2R_RECONCILE = 37,

	WIRE_R2B_HELLO = 64,
	WIRE_R2B_RESULT = 65,
	WIRE_R2B_PONG = 66,
	WIRE_R2B_SAMPLED = 67,
	WIRE_R2B_FOUND = 68,
	WIRE_R2B_FOUND_END = 69,

	WIRE_B2S_HELLO = 96,
	WIRE_B2S_NOTE = 97,

	WIRE_S2B_HELLO = 128,
	WIRE_S2B_REPORT = 129,
};

struct wire_header {
	uint32_t magic;	  /* WIRE_MAGIC */
	uint16_t version; /* WIRE_VERSION */
	uint16_t type;	  /* enum wire_type */
	uint32_t length;  /* of the whole packet: header and records */
	uint32_t seq;	  /* 0, 1, 2, ... per direction; a gap is fatal */
};

/* Kernel TCP states, include/net/tcp_states.h (5.8 ... 7.3: same numbers). */
enum tcp_state {
	TCP_STATE_ESTABLISHED = 1,
	TCP_STATE_SYN_SENT = 2,
	TCP_STATE_SYN_RECV = 3,
	TCP_STATE_FIN_WAIT1 = 4,
	TCP_STATE_FIN_WAIT2 = 5,
	TCP_STATE_TIME_WAIT = 6,
	TCP_STATE_CLOSE = 7,
	TCP_STATE_CLOSE_WAIT = 8,
	TCP_STATE_LAST_ACK = 9,
	TCP_STATE_LISTEN = 10,
	TCP_STATE_CLOSING = 11,
	TCP_STATE_NEW_SYN_RECV = 12,
};
#define TCP_STATE_BIT(s) (1u << (s))
/* The states in which a socket without an inode is an orphan (KERNEL: __tcp_close() changes the
 * state before sock_orphan(), so an orphan is never ESTABLISHED, CLOSE-WAIT or SYN-*). */
#define TCP_STATES_ORPHAN                                                          \
	(TCP_STATE_BIT(TCP_STATE_FIN_WAIT1) | TCP_STATE_BIT(TCP_STATE_FIN_WAIT2) | \
		TCP_STATE_BIT(TCP_STATE_CLOSING) | TCP_STATE_BIT(TCP_STATE_LAST_ACK))

/* What a rule may name, and a request may end. */
#define TCP_STATES_RULE (TCP_STATES_ORPHAN | TCP_STATE_BIT(TCP_STATE_TIME_WAIT))

/* A TCP socket's address for inet_diag's exact look-up. The identity is the cookie, never this. */
struct wire_tuple {
	uint16_t family;   /* AF_INET or AF_INET6; v4-mapped sockets are AF_INET6 */
	uint16_t src_port; /* host order */
	uint16_t dst_port; /* host order */
	uint16_t pad;
	uint32_t ifindex; /* bound device, 0 when unbound */
	uint32_t netns;	  /* inode number of the network namespace, as in /proc/PID/ns/net */
	uint8_t src[16];  /* network order; IPv4 in the first four bytes, the rest zero */
	uint8_t dst[16];
};

enum wire_owner_flags {
	WIRE_OWNER_OOM = 1u << 0,	     /* signal->oom_mm was set: the OOM killer chose it */
	WIRE_OWNER_UNIT_TRUNCATED = 1u << 1, /* the unit's name did not fit: no rule may match it */
};

/* A dying thread group, in its own last words as the kernel keeps them. All of it the tracker's
 * word. */
struct wire_owner {
	uint64_t start_boottime;  /* of the leader */
	uint64_t cgroup_id;	  /* cgroup v2, default hierarchy */
	uint32_t tgid;		  /* in the initial pid namespace */
	uint32_t uid;		  /* real uid, in the initial user namespace */
	uint32_t exit_code;	  /* as in wait(2): status << 8 | core 0x80 | signal */
	uint32_t flags;		  /* enum wire_owner_flags */
	char comm[WIRE_COMM_LEN]; /* zero-terminated, chosen by whoever runs the program */
	char unit[WIRE_UNIT_LEN]; /* nearest .service or .scope ancestor, "" when there is none */
};

/*
 * How a connection is doing, from inet_diag and tcp_info. What a proof of being stuck compares is
 * bytes_acked and window_end; the rest is evidence for the record. All zero on a mini-socket but
 * the timer.
 */
struct wire_progress {
	uint64_t bytes_acked; /* tcpi_bytes_acked */
	uint64_t window_end;  /* bytes_acked + tcpi_snd_wnd: how far the peer has let us send */
	uint32_t send_queue;  /* idiag_wqueue, bytes */
	uint32_t unacked;     /* tcpi_unacked, segments */
	uint32_t notsent;     /* tcpi_notsent_bytes */
	uint32_t last_ack_ms; /* tcpi_last_ack_recv; an ack alone only shows that the peer lives */
	uint32_t timer_ms;    /* until the timer fires */
	uint8_t timer;	      /* idiag_timer; 0 on an orphan: nothing will ever end it */
	uint8_t retransmits;  /* tcpi_retransmits */
	uint8_t probes;	      /* tcpi_probes */
	uint8_t backoff;      /* tcpi_backoff */
};

/* T2B: what the tracker can see. */
enum wire_tracker_features {
	WIRE_TRACKER_EXIT = 1u << 0,
	WIRE_TRACKER_ORPHAN = 1u << 1,
	WIRE_TRACKER_STAMP = 1u << 2,
};

struct wire_tracker_hello {
	uint8_t build_id[WIRE_BUILD_ID_LEN];
	uint32_t features;     /* enum wire_tracker_features */
	uint32_t heartbeat_ms; /* promised time between two HEARTBEATs */
};

struct wire_exit {
	struct wire_owner owner;
	uint64_t died_mono_ns; /* bpf_ktime_get_ns() at sched_process_exit */
};

enum wire_orphan_flags {
	WIRE_ORPHAN_CLOSED = 1u << 0, /* the FIN was ordered before the death */
};

struct wire_orphan {
	struct wire_owner owner;
	struct wire_tuple tuple;
	uint64_t cookie;       /* bpf_get_socket_cookie() */
	uint64_t born_mono_ns; /* bpf_ktime_get_ns() at the transition */
	uint32_t send_queue;   /* write_seq - snd_una, bytes */
	uint8_t state; /* the state entered: FIN-WAIT-1 or LAST-ACK; CLOSED: the one it was in */
	uint8_t flags; /* enum wire_orphan_flags */
	uint8_t pad[2];
};

/* Where records were dropped. Counters since the tracker's start, never reset. */
struct wire_lost {
	uint64_t ring_orphan; /* orphan records for which the ring buffer had no room */
	uint64_t ring_exit;   /* exit records for which the ring buffer had no room */
	uint64_t stamp;	      /* stamps that could not be stored */
};

struct wire_heartbeat {
	uint64_t mono_ns;
	uint64_t orphans; /* ORPHAN records sent since start */
	uint64_t exits;	  /* EXIT records sent since start */
};

struct wire_broker_hello {
	uint8_t build_id[WIRE_BUILD_ID_LEN];
	uint64_t destroy_limit; /* per second; the reaper takes min(this, its own ceiling) */
};

/* B2R: what the broker believes. The reaper compares with its own look-up, then acts. */
enum wire_destroy_flags {
	WIRE_DESTROY_PROVED =
		1u << 0, /* by two samples: refused when anything moved since the second */
};

struct wire_destroy {
	uint64_t ghost; /* the broker's number, returned in the RESULT */
	uint64_t cookie;
	struct wire_tuple tuple;
	struct wire_progress seen; /* PROVED: the second sample; else all zero */
	uint32_t states; /* TCP_STATE_BIT(): where the policy says destroy; it may have moved on.
			  * TIME-WAIT needs the reaper's argv, too */
	uint8_t state;	 /* as last seen */
	uint8_t flags;	 /* enum wire_destroy_flags */
	uint8_t pad[2];
};

/* A look, and no act. */
struct wire_sample {
	uint64_t ghost;
	uint64_t cookie;
	struct wire_tuple tuple;
};

/* A look at the whole network namespace. Answered by any number of FOUND and one FOUND_END. */
struct wire_reconcile {
	uint64_t round; /* returned in FOUND_END */
};

struct wire_limit {
	uint64_t destroy_limit; /* per second, as in struct wire_broker_hello */
};

struct wire_ping {
	uint64_t nonce;
};

/* R2B. */
enum wire_selftest {
	WIRE_SELFTEST_PASSED = 0,
	WIRE_SELFTEST_FOREVER_ORPHAN = 1, /* tcp_abort() leaves the orphan: observe only */
	WIRE_SELFTEST_NO_DESTROY = 2,	  /* CONFIG_INET_DIAG_DESTROY=n: observe only */
};

struct wire_reaper_hello {
	uint8_t build_id[WIRE_BUILD_ID_LEN];
	uint64_t ceiling;  /* destroys per second, from its argv */
	uint32_t netns;	   /* inode number of its own network namespace */
	uint8_t selftest;  /* enum wire_selftest */
	uint8_t time_wait; /* 1 when its argv lets it touch TIME-WAIT */
	uint8_t pad[2];
};

enum wire_result {
	WIRE_RESULT_DESTROYED = 1,    /* the kernel acknowledged SOCK_DESTROY for this cookie */
	WIRE_RESULT_GONE = 2,	      /* found once by this reaper, and gone (or TIME-WAIT) since */
	WIRE_RESULT_REFUSED_LIVE = 3, /* has an inode, or a state that no orphan has */
	WIRE_RESULT_REFUSED_PROGRESS =
		4, /* PROVED and moved since; or in a state the policy leaves alone */
	WIRE_RESULT_REFUSED_RATE = 5,
	WIRE_RESULT_OTHER_NETNS = 6,
	WIRE_RESULT_UNSUPPORTED = 7, /* the self-test did not pass on this kernel */
	WIRE_RESULT_FAILED =
		8, /* see error; ENOENT: this reaper never found the cookie; ESTALE: it did,
		    * with an address or a history that is not the one described */
};

enum wire_peer_notice {
	WIRE_NOTICE_NONE = 0,
	WIRE_NOTICE_RST = 1, /* tcp_need_reset(): one packet, not repeated */
};

struct wire_result_record {
	uint64_t ghost;
	uint64_t cookie;
	uint64_t done_mono_ns;	 /* when the kernel's answer was read */
	uint64_t look_to_act_ns; /* from before the look to the act's acknowledgement: what the
				  * peer does outside this time is seen; 0 without an act */
	uint32_t send_queue;	 /* idiag_wqueue of the look-up, bytes */
	int32_t error;		 /* errno of the kernel's answer, 0 or positive */
	uint16_t tries;		 /* look-ups made */
	uint8_t result;		 /* enum wire_result */
	uint8_t state;		 /* of the look-up, 0 when never found */
	uint8_t timer;		 /* idiag_timer of the look-up */
	uint8_t peer_notice;	 /* enum wire_peer_notice */
	uint8_t pad[2];
};

struct wire_pong {
	uint64_t nonce;
};

enum wire_found {
	WIRE_FOUND_ORPHAN = 1,	/* inode 0 and an orphan's state, closed in both directions */
	WIRE_FOUND_NOTHING = 2, /* no such socket (any more) */
	WIRE_FOUND_HELD = 3,	/* an inode, or a state no orphan has */
	WIRE_FOUND_TIME_WAIT = 4,
	WIRE_FOUND_FAILED = 5, /* see error; also another address than the one named (ESTALE) */
};

/* One for each SAMPLE record. */
struct wire_sampled {
	uint64_t ghost;
	uint64_t cookie;
	uint64_t sampled_mono_ns; /* when the kernel's answer was read */
	struct wire_progress progress;
	int32_t error; /* errno, 0 or positive */
	uint8_t found; /* enum wire_found */
	uint8_t state; /* 0 when nothing was found */
	uint8_t mini;  /* 1: a mini-socket */
	uint8_t pad;
};

/* One orphan of the reaper's network namespace. A dump may show a socket twice. */
struct wire_found_record {
	uint64_t cookie;
	struct wire_tuple tuple;
	struct wire_progress progress;
	uint8_t state;
	uint8_t mini;
	uint8_t pad[6];
};

struct wire_found_end {
	uint64_t round;
	uint64_t done_mono_ns;
	uint32_t count;	  /* FOUND records since the RECONCILE */
	int32_t error;	  /* errno, 0 or positive */
	uint8_t complete; /* 0: the table moved under the dump, or it failed: ask again */
	uint8_t pad[7];
};

/* B2S: what other sinks are told about one record of the audit log. */
struct wire_sink_greeting {
	uint8_t build_id[WIRE_BUILD_ID_LEN];
	uint8_t boot_id[WIRE_BOOT_ID_LEN]; /* with the record's number its name everywhere */
};

/* event.action, and what a sink says of records that it was not given. */
enum wire_action {
	WIRE_ACTION_START = 1,
	WIRE_ACTION_STOP = 2,
	WIRE_ACTION_EXIT = 3,
	WIRE_ACTION_DECIDE = 4,
	WIRE_ACTION_DESTROY = 5,
	WIRE_ACTION_LOST = 6,
	WIRE_ACTION_RECONCILE = 7,
	WIRE_ACTION_BREAKER = 8,
	WIRE_ACTION_CONFIG_RELOAD = 9,
	WIRE_ACTION_LOG_OPEN = 10,
	WIRE_ACTION_LOG_CLOSE = 11,
	WIRE_ACTION_SUPPRESSED = 12,
};

enum wire_outcome {
	WIRE_OUTCOME_NONE = 0, /* the record has no event.outcome */
	WIRE_OUTCOME_SUCCESS = 1,
	WIRE_OUTCOME_FAILURE = 2,
	WIRE_OUTCOME_UNKNOWN = 3,
};

enum wire_note_flags {
	WIRE_NOTE_UID = 1u << 0,  /* uid is known */
	WIRE_NOTE_EXIT = 1u << 1, /* exit_code is known */
};

/* All of it the broker's word. What is not known, or not the same of all that the record speaks of,
 * is zero. Words are made of letters, digits, '_', '.' and '-'. */
struct wire_note {
	uint64_t sequence; /* event.sequence; 0: SUPPRESSED, which has none */
	uint64_t ghost;
	uint64_t batch;
	uint64_t count; /* ghosts of a batch; records suppressed; events lost; orphans adopted */
	uint64_t cookie;
	uint64_t latency_ns; /* destroyed: from birth to the kernel's answer */
	uint32_t pid;	     /* of the dead process */
	uint32_t uid;	     /* its real uid: WIRE_NOTE_UID */
	uint32_t exit_code;  /* as in wait(2): WIRE_NOTE_EXIT */
	uint32_t send_queue; /* bytes */
	int32_t error;	     /* errno, 0 or positive */
	uint8_t action;	     /* enum wire_action */
	uint8_t outcome;     /* enum wire_outcome */
	uint8_t state;	     /* of the socket */
	uint8_t flags;	     /* enum wire_note_flags */
	uint8_t notice;	     /* destroyed: enum wire_peer_notice */
	uint8_t pad[7];
	struct wire_tuple tuple;     /* family 0: no socket's */
	char comm[WIRE_COMM_LEN];    /* chosen by whoever runs the program: any bytes */
	char unit[WIRE_KEY_LEN];     /* chosen by whoever may make control groups: any bytes */
	char reason[WIRE_WORD_LEN];  /* event.reason */
	char verdict[WIRE_WORD_LEN]; /* of a decision, what came of it, the mode, the breaker */
	char class[WIRE_WORD_LEN];   /* eghostbuster.exit.class */
	char rule[WIRE_RULE_LEN];    /* rule.name */
};

/* S2B. */
struct wire_sink_hello {
	uint8_t build_id[WIRE_BUILD_ID_LEN];
};

/* Counters since the sink's start. */
struct wire_report {
	uint64_t taken; /* notes that the kernel has acknowledged */
	uint64_t lost;	/* notes that it refused, or that were over the sink's own limit */
	int32_t error;	/* errno of the last refusal, 0 when the kernel took the last one */
	uint8_t pad[4];
};

enum wire_error {
	WIRE_OK = 0,
	WIRE_ERR_SHORT, /* shorter than a header */
	WIRE_ERR_MAGIC,
	WIRE_ERR_VERSION,
	WIRE_ERR_LENGTH, /* header's length is not the packet's */
	WIRE_ERR_SEQ,
	WIRE_ERR_TYPE,	    /* no such type */
	WIRE_ERR_DIRECTION, /* a type this peer may not send */
	WIRE_ERR_SIZE,	    /* not a whole number of records, none, or too many */
	WIRE_ERR_PAD,	    /* a pad that is not zero */
	WIRE_ERR_VALUE,	    /* a field out of its range */
};

struct wire_view {
	enum wire_type type;
	size_t count;	     /* records, 1 ... WIRE_BATCH_MAX */
	const void *records; /* array of the type's struct; points into the checked packet */
};

/*
 * Checks one whole packet that came from the peer that may only send in `dir`.
 * packet must be aligned to 8 bytes. expected_seq is the number this packet must carry.
 * Returns WIRE_OK and fills *view, or the first rule the packet breaks (*view is then undefined).
 * Checked: header, size, pads, closed value sets, zero-terminated strings. Not checked: truth.
 */
enum wire_error wire_check(const void *packet, size_t len, enum wire_direction dir,
	uint32_t expected_seq, struct wire_view *view);

/* Fills in a header for `count` records of `type`. Returns the packet's length, 0 when type does
 * not exist or count is not 1 ... that type's maximum. */
size_t wire_header_fill(
	struct wire_header *header, enum wire_type type, size_t count, uint32_t seq);

/* Size of one record of `type` in bytes, 0 when there is no such type. */
size_t wire_record_size(enum wire_type type);

/* True for what speaks of ghosts, of which anybody can make thousands; the rest is the service's
 * own doing. */
bool wire_note_of_ghosts(const struct wire_note *note);

/* event.action as the audit log spells it: "decide", "config-reload", ... "suppressed". */
const char *wire_action_name(unsigned action);

/* Names for messages to people. Never NULL. */
const char *wire_type_name(unsigned type);
const char *wire_error_text(enum wire_error error);

/* RESULT's name as in the audit record: "destroyed", "gone", "refused-live", ... "?" if unknown. */
const char *wire_result_name(unsigned result);

/* TCP state as in the audit record: "fin-wait-1", "last-ack", ... "?" if unknown. */
const char *tcp_state_name(unsigned state);

/* The inverse of tcp_state_name(). Returns 0 when there is no such state. */
unsigned tcp_state_by_name(const char *name);

/* Where a socket that was last seen in `state` may have come to since, as TCP_STATE_BIT()s (RFC
 * 9293, figure 5); 0 for a state that no orphan comes from. */
uint32_t tcp_states_after(unsigned state);

/* idiag_timer as in the audit record: "none", "retransmit", "keepalive", "mini-socket",
 * "zero-window". */
const char *tcp_timer_name(unsigned timer);

#define WIRE_ENDPOINT_TEXT 56 /* bytes enough for any endpoint */

/* "127.0.0.1:80" or "[::1]:80"; family is AF_INET or AF_INET6. */
void wire_endpoint_text(
	uint16_t family, const uint8_t address[16], uint16_t port, char out[WIRE_ENDPOINT_TEXT]);

/* True when the peer has taken something, or allowed more, between the two looks: bytes
 * acknowledged, or the right edge of its window advanced. A window that shrinks is no progress (RFC
 * 9293, 3.8.6). */
bool wire_progress_made(const struct wire_progress *before, const struct wire_progress *after);

/* True when a and b address the same socket (netns included). */
bool wire_tuple_equal(const struct wire_tuple *a, const struct wire_tuple *b);

_Static_assert(sizeof(struct wire_header) == 16, "wire_header");
_Static_assert(sizeof(struct wire_tuple) == 48, "wire_tuple");
_Static_assert(sizeof(struct wire_owner) == 144, "wire_owner");
_Static_assert(sizeof(struct wire_tracker_hello) == 24, "wire_tracker_hello");
_Static_assert(sizeof(struct wire_exit) == 152, "wire_exit");
_Static_assert(sizeof(struct wire_orphan) == 216, "wire_orphan");
_Static_assert(sizeof(struct wire_lost) == 24, "wire_lost");
_Static_assert(sizeof(struct wire_heartbeat) == 24, "wire_heartbeat");
_Static_assert(sizeof(struct wire_broker_hello) == 24, "wire_broker_hello");
_Static_assert(sizeof(struct wire_progress) == 40, "wire_progress");
_Static_assert(sizeof(struct wire_destroy) == 112, "wire_destroy");
_Static_assert(sizeof(struct wire_sample) == 64, "wire_sample");
_Static_assert(sizeof(struct wire_reconcile) == 8, "wire_reconcile");
_Static_assert(sizeof(struct wire_sampled) == 72, "wire_sampled");
_Static_assert(sizeof(struct wire_found_record) == 104, "wire_found_record");
_Static_assert(sizeof(struct wire_found_end) == 32, "wire_found_end");
_Static_assert(sizeof(struct wire_limit) == 8, "wire_limit");
_Static_assert(sizeof(struct wire_reaper_hello) == 32, "wire_reaper_hello");
_Static_assert(sizeof(struct wire_result_record) == 48, "wire_result_record");
_Static_assert(sizeof(struct wire_sink_greeting) == 32, "wire_sink_greeting");
_Static_assert(sizeof(struct wire_note) == 424, "wire_note");
_Static_assert(sizeof(struct wire_sink_hello) == 16, "wire_sink_hello");
_Static_assert(sizeof(struct wire_report) == 24, "wire_report");
_Static_assert(WIRE_NOTES_MAX * sizeof(struct wire_note) <= WIRE_BATCH_MAX * WIRE_RECORD_MAX,
	"a packet of notes");
_Static_assert(offsetof(struct wire_note, tuple) == 80, "wire_note.tuple");
_Static_assert(offsetof(struct wire_orphan, cookie) == 192, "wire_orphan.cookie");
_Static_assert(offsetof(struct wire_destroy, tuple) == 16, "wire_destroy.tuple");

#endif
