/* SPDX-License-Identifier: Apache-2.0 */
#include "note.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- filling it in -----------------------------------------------------------------------------
 */

void
note_begin(struct wire_note *note, enum wire_action action, uint64_t sequence)
{
	if (note == NULL)
		return;
	*note = (struct wire_note){ .action = (uint8_t)action, .sequence = sequence };
}

static void
word_put(char *to, size_t size, const char *word)
{
	if (word != NULL)
		snprintf(to, size, "%s", word);
}

void
note_words(struct wire_note *note, const char *reason, const char *rule, const char *verdict)
{
	if (note == NULL)
		return;
	word_put(note->reason, sizeof(note->reason), reason);
	word_put(note->rule, sizeof(note->rule), rule);
	word_put(note->verdict, sizeof(note->verdict), verdict);
}

void
note_outcome(struct wire_note *note, const char *outcome)
{
	if (note == NULL)
		return;
	if (strcmp(outcome, "success") == 0)
		note->outcome = WIRE_OUTCOME_SUCCESS;
	else if (strcmp(outcome, "failure") == 0)
		note->outcome = WIRE_OUTCOME_FAILURE;
	else
		note->outcome = WIRE_OUTCOME_UNKNOWN;
}

void
note_error(struct wire_note *note, int32_t error)
{
	if (note != NULL)
		note->error = error;
}

void
note_owner(struct wire_note *note, const struct wire_owner *process, enum exit_class exit_class)
{
	if (note == NULL)
		return;
	word_put(note->class, sizeof(note->class), exit_class_name(exit_class));
	if (process == NULL)
		return;
	note->pid = process->tgid;
	note->exit_code = process->exit_code;
	note->flags |= WIRE_NOTE_EXIT;
	word_put(note->comm, sizeof(note->comm), process->comm);
	note_owners(note, &process->uid, process->unit);
}

void
note_owners(struct wire_note *note, const uint32_t *uid, const char *unit)
{
	if (note == NULL)
		return;
	if (uid != NULL) {
		note->uid = *uid;
		note->flags |= WIRE_NOTE_UID;
	}
	word_put(note->unit, sizeof(note->unit), unit);
}

void
note_ghost(struct wire_note *note, const struct ghost *ghost)
{
	if (note == NULL)
		return;
	note_owner(note, ghost->owner != NULL ? &ghost->owner->process : NULL, ghost->exit);
	note->ghost = ghost->id;
	note->cookie = ghost->cookie;
	note->tuple = ghost->tuple;
	if (note->state == 0) /* else as the reaper saw it */
		note->state = ghost->state;
	note->send_queue = ghost->send_queue;
}

void
note_result(struct wire_note *note, const struct record_result *result)
{
	if (note == NULL)
		return;
	note_words(note, NULL, NULL, result->result);
	note_outcome(note, result->outcome);
	note_error(note, result->error);
	if (result->state != 0)
		note->state = result->state;
	note->latency_ns = result->latency_ns;
	if (result->peer_notice != NULL && strcmp(result->peer_notice, "rst") == 0)
		note->notice = WIRE_NOTICE_RST;
}

void
note_count(struct wire_note *note, uint64_t count, uint64_t batch)
{
	if (note == NULL)
		return;
	note->count = count;
	note->batch = batch;
}

/* ---- a line for people -------------------------------------------------------------------------
 */

static void
bytes_print(uint64_t n, char *out, size_t size)
{
	static const char *const units[] = { "KiB", "MiB", "GiB" };
	double v = (double)n / 1024;
	unsigned u = 0;

	if (n < 1024) {
		snprintf(out, size, "%" PRIu64 " bytes", n);
		return;
	}
	for (; v >= 1024 && u < 2; u++)
		v /= 1024;
	snprintf(out, size, "%.1f %s", v, units[u]);
}

#define OWNER_TEXT 256u

/* "nginx[812] of nginx.service (SIGKILL)" */
static void
owner_print(const struct wire_note *note, char out[OWNER_TEXT])
{
	const char *how = "";
	char cause[32];

	if (note->pid == 0) {
		snprintf(out, OWNER_TEXT, "unknown process");
		return;
	}
	if (strcmp(note->class, "oom") == 0)
		how = "out of memory, ";
	else if (strcmp(note->class, "closed") == 0)
		how = "closed before, ";
	exit_cause_print(note->exit_code, cause, sizeof(cause));
	snprintf(out, OWNER_TEXT, "%s[%u]%s%s (%s%s)", note->comm, note->pid,
		note->unit[0] != '\0' ? " of " : "", note->unit, how, cause);
}

/* "OWNER: 127.0.0.1:80 -> 127.0.0.1:4711 fin-wait-1, 3.6 MiB unsent" */
static void
ghost_print(const struct wire_note *note, char *out, size_t size)
{
	char owner[OWNER_TEXT], src[WIRE_ENDPOINT_TEXT], dst[WIRE_ENDPOINT_TEXT], queue[32];
	const struct wire_tuple *t = &note->tuple;

	owner_print(note, owner);
	wire_endpoint_text(t->family, t->src, t->src_port, src);
	wire_endpoint_text(t->family, t->dst, t->dst_port, dst);
	bytes_print(note->send_queue, queue, sizeof(queue));
	snprintf(out, size, "%s: %s -> %s %s, %s unsent", owner, src, dst,
		tcp_state_name(note->state), queue);
}

static void
destroy_print(const struct wire_note *note, char *out, size_t size)
{
	const char *error = error_name(note->error);
	char ghost[NOTE_TEXT_MAX];

	ghost_print(note, ghost, sizeof(ghost));
	if (strcmp(note->verdict, "destroyed") == 0)
		snprintf(out, size, "busted %s; %s in %" PRIu64 " us, peer notice %s", ghost,
			note->verdict, note->latency_ns / 1000,
			note->notice == WIRE_NOTICE_RST ? "rst" : "none");
	else if (strcmp(note->verdict, "observed") == 0)
		snprintf(out, size, "would bust %s", ghost);
	else
		snprintf(out, size, "not busted %s; %s%s%s", ghost, note->verdict,
			error != NULL ? ": " : "", error != NULL ? error : "");
}

static void
decide_print(const struct wire_note *note, char *out, size_t size)
{
	bool left = strcmp(note->verdict, "destroy") != 0;
	char ghost[NOTE_TEXT_MAX];

	ghost_print(note, ghost, sizeof(ghost));
	snprintf(out, size, "%s %s; %s%s%s", left ? "left alone" : "to be busted", ghost,
		note->reason, note->rule[0] != '\0' ? ", rule " : "", note->rule);
}

static void
batch_print(const struct wire_note *note, char *out, size_t size)
{
	if (note->action == WIRE_ACTION_DECIDE)
		snprintf(out, size, "batch %" PRIu64 ": %" PRIu64 " ghosts, %s; %s%s%s",
			note->batch, note->count, note->verdict, note->reason,
			note->rule[0] != '\0' ? ", rule " : "", note->rule);
	else
		snprintf(out, size, "batch %" PRIu64 ": %" PRIu64 " ghosts, %s", note->batch,
			note->count, note->verdict);
}

static void
exit_print(const struct wire_note *note, char *out, size_t size)
{
	char owner[OWNER_TEXT];

	owner_print(note, owner);
	snprintf(out, size, "died and left ghosts: %s", owner);
}

/* What is the service's own: "breaker closed: hold-over, nginx.service, 3". */
static void
service_print(const struct wire_note *note, char *out, size_t size)
{
	const char *error = error_name(note->error);
	int n = snprintf(out, size, "%s%s%s%s%s%s%s", wire_action_name(note->action),
		note->verdict[0] != '\0' ? " " : "", note->verdict,
		note->reason[0] != '\0' ? ": " : "", note->reason,
		note->unit[0] != '\0' ? ", " : "", note->unit);

	if (n > 0 && (size_t)n < size && error != NULL)
		snprintf(out + n, size - (size_t)n, ": %s", error);
	else if (n > 0 && (size_t)n < size && note->outcome == WIRE_OUTCOME_FAILURE)
		snprintf(out + n, size - (size_t)n, " failed");
}

void
note_text(const struct wire_note *note, char *out, size_t size)
{
	bool of_ghosts = wire_note_of_ghosts(note);

	if (of_ghosts && note->batch != 0)
		batch_print(note, out, size);
	else if (note->action == WIRE_ACTION_DESTROY)
		destroy_print(note, out, size);
	else if (note->action == WIRE_ACTION_DECIDE)
		decide_print(note, out, size);
	else if (note->action == WIRE_ACTION_EXIT)
		exit_print(note, out, size);
	else if (note->action == WIRE_ACTION_SUPPRESSED)
		snprintf(out, size, "%" PRIu64 " records are missing here: see the audit log",
			note->count);
	else
		service_print(note, out, size);
}
