/* SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <string.h>

#include "json.h"
#include "proto/build_id.h"

static void
ghosts_put(struct json *j, const struct ghosts *g)
{
	json_object_begin(j, "pending");
	json_u64(j, "undecided", g->counts[GHOST_FRESH]);
	json_u64(j, "waiting", g->counts[GHOST_WAITING]);
	json_u64(j, "sampling", g->counts[GHOST_UNSAMPLED] + g->counts[GHOST_SAMPLED]);
	json_u64(j, "decided", g->counts[GHOST_DECIDED]);
	json_u64(j, "requested", g->counts[GHOST_SENT]);
	json_u64(j, "held_back", g->counts[GHOST_HELD]);
	json_u64(j, "left_alone", g->counts[GHOST_LEFT]);
	json_object_end(j);
}

static void
counts_put(struct json *j, const struct engine *e)
{
	const struct record_counts *c = &e->counts;

	json_object_begin(j, "since_start");
	json_u64(j, "ghosts", c->ghosts);
	json_u64(j, "destroyed", c->destroyed);
	json_u64(j, "gone", c->gone);
	json_u64(j, "refused", c->refused);
	json_u64(j, "failed", c->failed);
	json_u64(j, "observed", c->observed);
	json_u64(j, "reported", c->reported);
	json_u64(j, "ignored", c->ignored);
	json_u64(j, "expired", c->expired);
	json_u64(j, "adopted", c->adopted);
	json_u64(j, "evicted", c->evicted);
	json_u64(j, "held_back", c->held_back);
	json_u64(j, "reconciles", e->adoption.round);
	json_u64(j, "repeated", e->repeated);
	json_u64(j, "exits", e->exits);
	json_object_end(j);
	json_object_begin(j, "lost");
	json_u64(j, "orphans", c->lost_orphans);
	json_u64(j, "exits", c->lost_exits);
	json_u64(j, "stamps", c->lost_stamps);
	json_object_end(j);
}

static void
log_put(struct json *j, const struct auditlog *log)
{
	json_object_begin(j, "audit_log");
	json_text(j, "path", log->path, strlen(log->path));
	json_u64(j, "sequence", log->sequence);
	json_bool(j, "writable", !log->failing);
	json_object_end(j);
}

size_t
status_print(const struct status *status, char *out, size_t size)
{
	struct json j;

	json_begin(&j, out, size);
	json_word(&j, "version", version_string);
	json_bool(&j, "ready", status->ready);
	json_word(&j, "mode", status->engine->hold == HOLD_NONE ? "enforce" : "observe");
	json_u64(&j, "uptime_s", status->uptime_ns / NS_PER_S);
	json_text(&j, "kernel", status->kernel, strlen(status->kernel));
	json_word(&j, "selftest", status->selftest);
	json_u64(&j, "netns", status->engine->netns);
	if (status->config != NULL)
		json_text(&j, "config", status->config, strlen(status->config));
	else
		json_null(&j, "config");
	json_u64(&j, "rules", status->policy->rule_count);
	ghosts_put(&j, &status->engine->ghosts);
	counts_put(&j, status->engine);
	log_put(&j, status->log);
	return json_end(&j);
}
