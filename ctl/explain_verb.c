/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uthash.h>

#include "ctl.h"
#include "logset.h"
#include "orphans.h"
#include "proto/log.h"
#include "show.h"

/*
 * The story of one ghost, or of one socket: what the log says of it, from the death to the release,
 * and what the kernel says of it now.
 */

enum asked_kind { ASKED_COOKIE, ASKED_GHOST, ASKED_PORT, ASKED_NUMBER };

/* A process whose death belongs to the story. */
struct death {
	char entity[32];
	UT_hash_handle hh;
};

/* A decision told in this run, whose results belong to the story. */
struct chapter {
	uint64_t subject; /* record_subject() */
	uint64_t ghost;	  /* of a batch the one that is asked for, until its result is told; or 0 */
	UT_hash_handle hh;
};

struct story {
	enum asked_kind kind;
	uint64_t number;   /* ghost or port */
	char cookie[24];   /* "0x1007" */
	const char *color; /* WHEN */
	uint64_t told;	   /* records about it */
	struct death *deaths;
	struct chapter *chapters;
	bool failed; /* out of memory */
};

/* ---- what is asked for -------------------------------------------------------------------------
 */

static bool
number_read(const char *text, int base, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, base);
	return errno == 0 && end != text && *end == '\0' && *text != '-';
}

/* 0x1007 is a cookie, :8080 a port, #42 a ghost; a bare number may be a ghost or a port. */
static bool
asked_read(struct story *s, const char *text)
{
	if (strncmp(text, "0x", 2) == 0) {
		s->kind = ASKED_COOKIE;
		if (!number_read(text + 2, 16, &s->number))
			return false;
		snprintf(s->cookie, sizeof(s->cookie), "0x%" PRIx64, s->number);
		return true;
	}
	s->kind = *text == ':' ? ASKED_PORT : *text == '#' ? ASKED_GHOST : ASKED_NUMBER;
	return number_read(s->kind == ASKED_NUMBER ? text : text + 1, 10, &s->number) &&
	       (s->kind != ASKED_PORT || s->number <= UINT16_MAX);
}

/* ---- what the log says -------------------------------------------------------------------------
 */

static bool
port_matches(const struct story *s, const struct record *r)
{
	return record_count(r, "source.port") == s->number ||
	       record_count(r, "destination.port") == s->number;
}

static bool
decision_matches(const struct story *s, const struct record *r)
{
	switch (s->kind) {
	case ASKED_COOKIE:
		return record_has_cookie(r, s->cookie);
	case ASKED_GHOST:
		return record_about(r, s->number);
	case ASKED_PORT:
		return port_matches(s, r);
	case ASKED_NUMBER:
		return record_about(r, s->number) || port_matches(s, r);
	}
	return false;
}

/* The ghost of a batch that is asked for. */
static uint64_t
batch_ghost(const struct story *s, const struct record *r)
{
	if (s->kind == ASKED_COOKIE)
		return record_ghost_of_cookie(r, s->cookie);
	return record_about(r, s->number) ? s->number : 0;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"

static void
death_note(struct story *s, const struct record *r)
{
	const char *entity = record_text(r, "process.entity_id");
	struct death *death = NULL;

	if (entity == NULL || strlen(entity) >= sizeof(death->entity))
		return;
	HASH_FIND_STR(s->deaths, entity, death);
	if (death != NULL)
		return;
	death = calloc(1, sizeof(*death));
	s->failed = s->failed || death == NULL;
	if (death == NULL)
		return;
	strcpy(death->entity, entity);
	HASH_ADD_STR(s->deaths, entity, death);
}

static bool
death_matches(const struct story *s, const struct record *r)
{
	const char *entity = record_text(r, "process.entity_id");
	struct death *death = NULL;

	if (entity != NULL)
		HASH_FIND_STR(s->deaths, entity, death);
	return death != NULL;
}

static struct chapter *
chapter_find(const struct story *s, uint64_t subject)
{
	struct chapter *c;

	HASH_FIND(hh, s->chapters, &subject, sizeof(subject), c);
	return c;
}

static void
chapter_begin(struct story *s, const struct record *r)
{
	uint64_t subject = record_subject(r);
	struct chapter *c = chapter_find(s, subject);

	if (c != NULL) /* decided once more */
		return;
	c = calloc(1, sizeof(*c));
	s->failed = s->failed || c == NULL;
	if (c == NULL)
		return;
	c->subject = subject;
	c->ghost = (subject & RECORD_BATCH_BIT) != 0 ? batch_ghost(s, r) : 0;
	HASH_ADD(hh, s->chapters, subject, sizeof(c->subject), c);
}

static void
chapters_forget(struct story *s)
{
	struct chapter *c, *next;

	HASH_ITER(hh, s->chapters, c, next)
	{
		HASH_DELETE(hh, s->chapters, c);
		free(c);
	}
}

static void
deaths_forget(struct story *s)
{
	struct death *d, *next;

	HASH_ITER(hh, s->deaths, d, next)
	{
		HASH_DELETE(hh, s->deaths, d);
		free(d);
	}
}

#pragma GCC diagnostic pop

static void
sample_print(const json_t *sample)
{
	const struct record one = { .root = (json_t *)(uintptr_t)sample };
	char unsent[32];

	show_bytes(record_count(&one, "send_queue"), unsent, sizeof(unsent));
	printf("      at %" PRIu64 " ms: %" PRIu64 " bytes acknowledged, window to %" PRIu64
	       ", %s unsent; timer %s, %" PRIu64 " retransmissions, %" PRIu64
	       " probes, last ack %" PRIu64 " ms ago\n",
		record_count(&one, "age_ms"), record_count(&one, "bytes_acked"),
		record_count(&one, "window_end"), unsent, show_text(&one, "timer", "?"),
		record_count(&one, "retransmits"), record_count(&one, "probes"),
		record_count(&one, "last_ack_ms"));
}

/* Why it was held for a ghost, and why it could be released. */
static void
proof_print(const struct record *r)
{
	const json_t *proof = json_object_get(r->root, "eghostbuster.proof");
	const json_t *samples = json_object_get(proof, "samples");
	const struct record p = { .root = (json_t *)(uintptr_t)proof };

	if (proof == NULL)
		return;
	printf("    proof: no process holds it (inode 0)");
	if (record_number(&p, "age_ms", &(uint64_t){ 0 }))
		printf(", %" PRIu64 " ms old", record_count(&p, "age_ms"));
	if (json_is_true(json_object_get(proof, "stuck")))
		printf("; stuck: nothing moved in %" PRIu64 " ms", record_count(&p, "interval_ms"));
	putchar('\n');
	for (size_t i = 0; i < json_array_size(samples); i++)
		sample_print(json_array_get(samples, i));
}

static void
vouched_print(const struct record *r)
{
	if (record_text(r, "eghostbuster.peer_notice") == NULL)
		return;
	printf("    the reaper had looked %" PRIu64
	       " us before the kernel acknowledged; the peer %s\n",
		record_count(r, "eghostbuster.look_to_act_ns") / 1000,
		strcmp(record_text(r, "eghostbuster.peer_notice"), "rst") == 0
			? "was sent one reset"
			: "was told nothing");
}

static const struct {
	const char *result, *meaning;
} meanings[] = {
	{ "gone", "it was there at the first look, and had gone by itself before the act" },
	{ "refused-live", "somebody held it, or it was no orphan: it was not touched" },
	{ "refused-progress",
		"something moved, or it was in a state in which the policy leaves it alone: "
		"it was not touched" },
	{ "refused-rate", "over the limit: asked for again, by the same decision" },
	{ "failed", "it was gone before the first look, or is as it was" },
	{ "observed", "observe mode: nothing was asked for" },
	{ "withdrawn", "decided anew, by another policy or with another owner" },
	{ "unanswered", "the service ended before the reaper's answer" },
	{ "unsent", "the service ended before it was asked for" },
};

static void
meaning_print(const char *result)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		if (strcmp(result, meanings[i].result) == 0)
			printf("    %s\n", meanings[i].meaning);
	}
}

/* Of the batch's ghosts that one which is asked for. */
static void
member_print(const struct record *r, struct chapter *c)
{
	const char *result = record_result_of(r, c->ghost);
	char safe[64];

	if (result == NULL)
		return;
	text_escape(result, strlen(result), safe, sizeof(safe));
	printf("    ghost %" PRIu64 ": %s\n", c->ghost, safe);
	meaning_print(result);
	c->ghost = 0;
}

static void
told(struct story *s, const struct record *r)
{
	show_record(stdout, SHOW_SHORT, r);
	s->told++;
}

static void
destroy_tell(struct story *s, const struct record *r)
{
	struct chapter *c = chapter_find(s, record_subject(r));
	const char *result = record_text(r, "eghostbuster.result");

	if (c == NULL)
		return;
	told(s, r);
	if (result != NULL)
		meaning_print(result);
	else if (c->ghost != 0)
		member_print(r, c);
	vouched_print(r);
}

static bool
record_tell(void *context, struct record *r)
{
	struct story *s = context;

	if (record_is(r, "start")) {
		chapters_forget(s); /* ghosts are counted anew */
	} else if (record_is(r, "exit") && death_matches(s, r)) {
		told(s, r);
	} else if (record_is(r, "decide") && decision_matches(s, r)) {
		told(s, r);
		proof_print(r);
		chapter_begin(s, r);
	} else if (record_is(r, "destroy")) {
		destroy_tell(s, r);
	}
	return !s->failed;
}

/* A death stands before its ghosts: the first time through tells which ones. */
static bool
record_note(void *context, struct record *r)
{
	struct story *s = context;

	if (record_is(r, "decide") && decision_matches(s, r))
		death_note(s, r);
	return !s->failed;
}

/* ---- what the kernel says ----------------------------------------------------------------------
 */

#define ALL_STATES 0xffeu /* TCP_ESTABLISHED to TCP_CLOSING, without 6.8's pseudo-state */

static bool
row_matches(const struct story *s, const struct diag_row *row)
{
	if (s->kind == ASKED_COOKIE)
		return row->cookie == s->number;
	return s->kind != ASKED_GHOST &&
	       (row->tuple.src_port == s->number || row->tuple.dst_port == s->number);
}

/* "socket:[INODE]" among a process's descriptors; those of others need root. */
static bool
process_holds(const char *pid, uint32_t inode)
{
	char path[300], wanted[64], link[64];
	struct dirent *e;
	bool holds = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	snprintf(wanted, sizeof(wanted), "socket:[%u]", inode);
	dir = opendir(path);
	while (dir != NULL && !holds && (e = readdir(dir)) != NULL) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);

		link[n > 0 ? n : 0] = '\0';
		holds = strcmp(link, wanted) == 0;
	}
	if (dir != NULL)
		closedir(dir);
	return holds;
}

static void
comm_print(const char *pid)
{
	char path[300], comm[32], safe[130];
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	f = fopen(path, "re");
	if (f != NULL) {
		n = fread(comm, 1, sizeof(comm), f);
		fclose(f);
	}
	while (n > 0 && comm[n - 1] == '\n')
		n--;
	text_escape(comm, n, safe, sizeof(safe));
	printf(" %s[%s]", safe, pid);
}

static void
holders_print(uint32_t inode)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	bool any = false;

	printf("    it is no ghost: held by");
	while (proc != NULL && (e = readdir(proc)) != NULL) {
		if (e->d_name[strspn(e->d_name, "0123456789")] != '\0' ||
			!process_holds(e->d_name, inode))
			continue;
		comm_print(e->d_name);
		any = true;
	}
	if (proc != NULL)
		closedir(proc);
	printf("%s\n", any		? ""
		       : geteuid() == 0 ? " the kernel, or a descriptor in flight"
					: " a process that only root may look at");
}

static void
row_print(const struct diag_row *row)
{
	const struct wire_tuple *t = &row->tuple;
	char src[WIRE_ENDPOINT_TEXT], dst[WIRE_ENDPOINT_TEXT], unsent[32];

	wire_endpoint_text(t->family, t->src, t->src_port, src);
	wire_endpoint_text(t->family, t->dst, t->dst_port, dst);
	show_bytes(row->send_queue, unsent, sizeof(unsent));
	printf("now: 0x%" PRIx64 " %s -> %s %s, %s unsent, timer %s\n", row->cookie, src, dst,
		tcp_state_name(row->state), unsent, tcp_timer_name(row->timer));
	if (row->inode != 0)
		holders_print(row->inode);
	else if (row->mptcp)
		printf("    it is no ghost: a subflow of an MPTCP connection\n");
	else if ((TCP_STATE_BIT(row->state) & TCP_STATES_ORPHAN) != 0)
		printf("    an orphan: no process can reach it\n");
	else if (row->state == TCP_STATE_TIME_WAIT)
		printf("    TIME-WAIT: it is over, and left to the kernel\n");
	else
		printf("    it is no ghost: a connection that nobody has accepted yet\n");
}

static int
kernel_ask(const struct story *s, bool *any)
{
	struct orphans list;

	*any = false;
	if (sockets_list(&list, ALL_STATES) < 0)
		return -1;
	for (size_t i = 0; i < list.count; i++) {
		if (row_matches(s, &list.rows[i])) {
			row_print(&list.rows[i]);
			*any = true;
		}
	}
	free(list.rows);
	return 0;
}

/* ---- both --------------------------------------------------------------------------------------
 */

static int
log_tell(struct story *s, struct logset *set)
{
	int rc = logset_walk(set, record_note, s);

	set->foreign = 0; /* they are counted once more */
	if (rc == 0 && !s->failed)
		rc = logset_walk(set, record_tell, s);
	logset_complain(set);
	if (s->failed)
		log_error("out of memory for the story");
	else if (rc == 0 && s->told == 0)
		printf("the log says nothing of it; a ghost that goes by itself within its grace "
		       "has no record\n");
	return s->failed ? -1 : rc;
}

static int
story_tell(struct story *s, struct logset *set)
{
	bool any;
	int rc = log_tell(s, set);

	if (rc == 0)
		rc = kernel_ask(s, &any);
	if (rc == 0 && !any && s->kind != ASKED_GHOST)
		printf("now: the kernel has no such TCP socket in this network namespace\n");
	return rc < 0 || fflush(stdout) != 0 ? 1 : 0;
}

static bool
option_apply(void *context, int value, const char *arg)
{
	struct story *s = context;

	(void)value;
	s->color = arg;
	return true;
}

static int
explain_run(int argc, char **argv)
{
	struct story s = { .color = "auto" };
	struct logset set;
	int status, first;

	first = ctl_options_read(&ctl_explain_verb, argc, argv, option_apply, &s, &status);
	if (first < 0)
		return status;
	if (first == argc || !asked_read(&s, argv[first])) {
		log_error("explain: expected a cookie (0x1007), a port (:8080), a ghost (#42) or a "
			  "number");
		return 2;
	}
	show_color(s.color, stdout);
	if (logset_open(&set, (const char **)argv + first + 1, (size_t)(argc - first - 1)) < 0)
		return 1;
	status = story_tell(&s, &set);
	chapters_forget(&s);
	deaths_forget(&s);
	logset_close(&set);
	return status;
}

static const struct ctl_option options[] = {
	{ 'c', "color", "WHEN", SHOW_COLORS, COMPLETE_WORDS,
		"auto: on a terminal, unless NO_COLOR is set" },
};

const struct ctl_verb ctl_explain_verb = {
	.name = "explain",
	.operands = "COOKIE|:PORT|#GHOST [FILE...]",
	.summary = "The story of one ghost, or why a socket is none",
	CTL_OPTIONS(options),
	.complete = COMPLETE_FILE,
	.run = explain_run,
};
