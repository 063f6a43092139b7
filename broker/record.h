/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_RECORD_H
#define BROKER_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "budget.h"
#include "exitclass.h"
#include "policy.h"
#include "proto/scalars.h"
#include "proto/wire.h"

/* Audit records as bytes (DESIGN 8). Pure: time and sequence are parameters. Each function writes
 * one whole line to out and returns its length, 0 when size is too small (RECORD_MAX always is
 * enough). */

#define RECORD_MAX    4096u
#define ENTITY_ID_LEN 17u /* 16 hex digits and a zero */

struct record_head {
	wall_ns time;
	uint64_t sequence;
	struct wire_note *note; /* filled in with what other sinks are told; NULL: there are none */
};

/* A dead process as records name it. */
struct record_owner {
	const struct wire_owner *process; /* NULL: unknown */
	const char *entity_id;		  /* 16 hex digits */
	enum exit_class exit;
};

/* One of the two looks that prove a ghost stuck. */
struct record_sample {
	uint64_t age_ns; /* of the ghost, when it was taken */
	const struct wire_progress *progress;
};

struct record_ghost {
	uint64_t id;
	const struct wire_tuple *tuple;
	uint64_t cookie;
	uint32_t send_queue;
	uint8_t state;
	uint64_t age_ns;
	const struct record_sample *samples; /* two, or NULL: nothing was to be proved */
};

/* The result of one request, or "observed" when none was sent. */
struct record_result {
	const char *result;	 /* wire_result_name() or "observed" */
	const char *outcome;	 /* success, failure, unknown */
	const char *peer_notice; /* NULL: nothing was destroyed */
	uint8_t state;		 /* as the reaper saw it, 0: it did not */
	int32_t error;
	uint64_t latency_ns; /* from birth to the kernel's answer; 0 unless destroyed */
	uint64_t look_to_act_ns;
};

size_t record_exit(
	char *out, size_t size, const struct record_head *head, const struct record_owner *owner);
size_t record_decide(char *out, size_t size, const struct record_head *head,
	const struct record_owner *owner, const struct record_ghost *ghost,
	const struct decision *decision);
size_t record_destroy(char *out, size_t size, const struct record_head *head, uint64_t ghost,
	const struct record_result *result);

/* ---- batches: one record for many ghosts ---- */

#define RECORD_GHOSTS_MAX 1024u
/* All cookies, ghost numbers and errors as long as can be. */
#define RECORD_BATCH_MAX (192u << 10)

/* Ghosts that are to be destroyed, all by one rule, for one reason. */
struct record_batch {
	uint64_t number;
	const struct budget_account *account; /* the one that is over its budget */
	const char *rule, *reason;
	bool proved;
	uint64_t exits;			  /* processes whose `exit` record it stands for */
	struct record_owner owner;	  /* exit; process and entity_id where all have one owner */
	const uint32_t *uid;		  /* all have this uid, NULL: they differ, or are unknown */
	const char *unit;		  /* all have this unit, NULL as above */
	const uint64_t *ghosts, *cookies; /* one of each per ghost, in order */
	size_t count;			  /* 1 ... RECORD_GHOSTS_MAX */
};
size_t record_batch(
	char *out, size_t size, const struct record_head *head, const struct record_batch *batch);

/* Ghosts that were left alone. */
struct record_left {
	uint64_t number;
	const struct budget_account *account;
	const struct budget_left *left;
	enum policy_verdict verdict;
};
size_t record_left(
	char *out, size_t size, const struct record_head *head, const struct record_left *left);

/* What came of a ghost of a batch, when it was not destroyed. */
struct record_outcome {
	const char *result;  /* wire_result_name(), "observed", "withdrawn", "unanswered" */
	const char *outcome; /* success, failure, unknown */
	int32_t error;
	uint64_t ghost;
};

/* What has come of a batch since the last record that said so. */
struct record_batch_result {
	uint64_t number;
	uint64_t destroyed, rst, turned_away;
	uint64_t latency_max_ns, look_to_act_max_ns; /* of those destroyed */
	uint64_t left;				     /* ghosts that have no result yet */
	struct record_outcome
		*others; /* put in order by the call: same result and error together */
	size_t count;	 /* up to RECORD_GHOSTS_MAX */
};
size_t record_batch_result(
	char *out, size_t size, const struct record_head *head, struct record_batch_result *result);

struct record_start {
	const char *version, *build_id, *bpf_object, *mode,
		*why_observe; /* why_observe: NULL when asked for or not so */
	const char *boot_id, *kernel, *selftest;
	const char *config; /* path, NULL: built-in policy */
	uint32_t tracker_features;
	uint32_t netns;
	uint64_t destroy_ceiling;
};

/* Another sink of the records than the audit log. */
struct record_sink {
	const char *name; /* "linux_audit", "journald"; NULL: there is none */
	uint64_t sent, lost;
};
#define RECORD_SINKS_MAX 2u

struct record_counts {
	uint64_t ghosts, reported, ignored, destroyed, gone, refused, failed, observed;
	uint64_t waiting;   /* undecided at the stop: left as they are */
	uint64_t expired;   /* gone by themselves before they were decided upon */
	uint64_t adopted;   /* found by a reconcile: the death was not seen */
	uint64_t evicted;   /* forgotten because the table was full */
	uint64_t held_back; /* left alone because their unit was over its limit */
	uint64_t lost_orphans, lost_exits, lost_stamps;
	uint64_t unanswered; /* requests without a result at the stop */
	uint64_t unsent;     /* decided, but not requested at the stop */
	uint64_t batched;    /* had no record of their own: over a budget */
	struct record_sink sinks[RECORD_SINKS_MAX];
};

size_t record_start(
	char *out, size_t size, const struct record_head *head, const struct record_start *start);
size_t record_stop(char *out, size_t size, const struct record_head *head, const char *reason,
	const struct record_counts *counts);
struct record_reconcile {
	const char *reason; /* "start", "lost", "evicted", "periodic" */
	uint64_t round, found, adopted, forgotten;
	int32_t error; /* errno, 0 when complete */
};
size_t record_reconcile(char *out, size_t size, const struct record_head *head,
	const struct record_reconcile *reconcile);

struct record_breaker {
	const char *key; /* the unit, or what stands for it */
	bool open;
	uint64_t hold_ns;   /* when it opens */
	uint64_t held_back; /* when it closes */
};
size_t record_breaker(char *out, size_t size, const struct record_head *head,
	const struct record_breaker *breaker);

size_t record_lost(
	char *out, size_t size, const struct record_head *head, const struct record_counts *counts);
/* error: NULL on success, else one line of text. */
size_t record_config_reload(char *out, size_t size, const struct record_head *head,
	const char *config, const char *mode, const char *error);
/* The begin of a file or of a run, and what came before it. */
struct record_log_open {
	const char *reason;   /* "start", "rotated" */
	const char *previous; /* file that holds the record before, NULL: there is none */
	uint64_t sequence;    /* of that record */
	const char *hash;
	bool unclean;	     /* what was there does not end with `log-close`: a crash */
	uint64_t torn_bytes; /* of a record that was cut off, 0: none was */
	bool sealed;	     /* the file gets seals */
};
size_t record_log_open(
	char *out, size_t size, const struct record_head *head, const struct record_log_open *open);
/* reason: "stop", "rotated". */
size_t record_log_close(char *out, size_t size, const struct record_head *head, const char *reason);

/* ECS name of an errno: "ENOENT"; NULL when it has none. */
const char *error_name(int error);

#endif
