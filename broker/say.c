/* SPDX-License-Identifier: Apache-2.0 */
#include "say.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/log.h"

#define LINES_PER_S 200u

static uint64_t window_start; /* ns */
static unsigned window_lines;
static uint64_t held_back;

static bool
line_allowed(mono_ns now)
{
	if (now.ns - window_start >= NS_PER_S) {
		window_start = now.ns;
		window_lines = 0;
	}
	if (window_lines < LINES_PER_S) {
		window_lines++;
		return true;
	}
	held_back++;
	return false;
}

void
say_rest(void)
{
	if (held_back != 0)
		log_info("%" PRIu64 " more of the like: see the audit log", held_back);
	held_back = 0;
}

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

/* "nginx[812] of nginx.service (SIGKILL)". Names are escaped where all lines are (log.c). */
static void
owner_print(const struct ghost *ghost, char *out, size_t size)
{
	const struct wire_owner *p;
	const char *how = "";
	char cause[32];

	if (ghost->owner == NULL) {
		snprintf(out, size, "unknown process");
		return;
	}
	p = &ghost->owner->process;
	if (ghost->exit == EXIT_OOM)
		how = "out of memory, ";
	else if (ghost->exit == EXIT_CLOSED)
		how = "closed before, ";
	exit_cause_print(p->exit_code, cause, sizeof(cause));
	snprintf(out, size, "%s[%u]%s%s (%s%s)", p->comm, p->tgid, p->unit[0] != '\0' ? " of " : "",
		p->unit, how, cause);
}

/* "OWNER: 127.0.0.1:80 -> 127.0.0.1:4711 fin-wait-1, 3.6 MiB unsent" */
static void
ghost_print(const struct ghost *ghost, char *out, size_t size)
{
	char owner[256], src[WIRE_ENDPOINT_TEXT], dst[WIRE_ENDPOINT_TEXT], queue[32];

	owner_print(ghost, owner, sizeof(owner));
	wire_endpoint_text(ghost->tuple.family, ghost->tuple.src, ghost->tuple.src_port, src);
	wire_endpoint_text(ghost->tuple.family, ghost->tuple.dst, ghost->tuple.dst_port, dst);
	bytes_print(ghost->send_queue, queue, sizeof(queue));
	snprintf(out, size, "%s: %s -> %s %s, %s unsent", owner, src, dst,
		tcp_state_name(ghost->state), queue);
}

void
say_result(const struct ghost *ghost, const struct record_result *result, mono_ns now)
{
	const char *error = error_name(result->error);
	char text[768];

	if (!line_allowed(now))
		return;
	ghost_print(ghost, text, sizeof(text));
	if (result->peer_notice != NULL)
		log_info("busted %s; %s in %" PRIu64 " us, peer notice %s", text, result->result,
			result->latency_ns / 1000, result->peer_notice);
	else if (strcmp(result->result, "observed") == 0)
		log_info("would bust %s", text);
	else
		log_info("not busted %s; %s%s%s", text, result->result, error != NULL ? ": " : "",
			error != NULL ? error : "");
}

void
say_left(const struct ghost *ghost, const struct decision *decision, mono_ns now)
{
	char text[768];

	if (!line_allowed(now))
		return;
	ghost_print(ghost, text, sizeof(text));
	log_info("left alone %s; %s%s%s", text, decision->reason,
		decision->rule != NULL ? ", rule " : "",
		decision->rule != NULL ? decision->rule->name : "");
}
