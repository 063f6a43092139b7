/* SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <stdio.h>
#include <string.h>

#include "json.h"
#include "proto/build_id.h"

static void
ghosts_take(struct metrics *m, const struct ghosts *g)
{
	m->tracked = g->total;
	m->tracked_max = GHOSTS_MAX;
	m->processes = HASH_COUNT(g->by_process);
	m->undecided = g->counts[GHOST_FRESH];
	m->waiting = g->counts[GHOST_WAITING];
	m->sampling = g->counts[GHOST_UNSAMPLED] + g->counts[GHOST_SAMPLED];
	m->batched = g->counts[GHOST_BATCHED];
	m->decided = g->counts[GHOST_DECIDED];
	m->requested = g->counts[GHOST_SENT];
	m->held_back = g->counts[GHOST_HELD];
	m->left_alone = g->counts[GHOST_LEFT];
}

static void
counts_take(struct metrics *m, const struct record_counts *c)
{
	m->ghosts = c->ghosts;
	m->adopted = c->adopted;
	m->expired = c->expired;
	m->evicted = c->evicted;
	m->reported = c->reported;
	m->ignored = c->ignored;
	m->observed = c->observed;
	m->ever_held_back = c->held_back;
	m->ever_batched = c->batched;
	m->lost_orphans = c->lost_orphans;
	m->lost_exits = c->lost_exits;
	m->lost_stamps = c->lost_stamps;
}

static void
stats_take(struct metrics *m, const struct engine_stats *s)
{
	m->orphan_events = s->orphan_events;
	m->ordered = s->ordered;
	memcpy(m->results, s->results, sizeof(m->results));
	m->turned_away = s->turned_away;
	m->not_ours = s->not_ours;
	m->nothing_outstanding = s->nothing_outstanding;
	memcpy(m->looks, s->looks, sizeof(m->looks));
	m->latency = s->latency;
	m->look_to_act = s->look_to_act;
	m->rounds_failed = s->rounds_failed;
	m->breaker_opened = s->breaker_opened;
}

static void
engine_take(struct metrics *m, const struct engine *e)
{
	ghosts_take(m, &e->ghosts);
	counts_take(m, &e->counts);
	stats_take(m, &e->stats);
	m->exit_events = e->exits;
	m->repeated = e->repeated;
	m->rounds = e->adoption.round;
	m->breaker_open = e->breaker.open;
	m->batches = e->batches.last_number;
	m->destroy_limit = engine_destroy_limit(e);
	m->enforce = e->hold == HOLD_NONE;
	m->observe = e->hold != HOLD_NONE;
}

static void
log_take(struct metrics *m, const struct auditlog *log)
{
	m->records = log->written - log->before.sequence;
	m->records_lost = log->doubtful;
	m->record_sequence = log->sequence;
	m->seal_epoch = log->seals.key.epoch;
	m->log_writable = !log->failing;
	m->log_failures = log->failures;
	m->log_pending = log->used - log->partial;
}

static void
sinks_take(struct metrics *m, const struct sink_look *sinks)
{
	m->linux_audit_sent = sinks[SINK_LINUX_AUDIT].sent;
	m->linux_audit_lost = sinks[SINK_LINUX_AUDIT].lost;
	m->journald_sent = sinks[SINK_JOURNALD].sent;
	m->journald_lost = sinks[SINK_JOURNALD].lost;
}

static void
control_take(struct metrics *m, const struct control_counts *c)
{
	m->answered = c->answered;
	m->unknown = c->unknown;
	m->denied = c->denied;
	m->crowded = c->crowded;
	m->cut_off = c->cut_off;
}

static void
service_take(struct metrics *m, const struct status *s)
{
	m->version = version_string;
	m->kernel = s->kernel;
	m->start_time_ns = s->started.ns;
	m->ready = s->ready;
	m->up_tracker = s->tracker_here;
	m->up_broker = 1;
	m->up_reaper = s->reaper_here;
	m->test_events = s->tracker_here && (s->tracker_features & WIRE_TRACKER_ORPHAN) != 0;
	m->test_destroy = s->reaper_here && s->selftest != WIRE_SELFTEST_NO_DESTROY;
	m->test_ends = s->reaper_here && s->selftest == WIRE_SELFTEST_PASSED;
	m->heartbeats = s->heartbeats;
	m->lines_held_back = s->lines_held_back;
	m->rules = s->policy->rule_count;
	m->config_good = !s->config_bad;
	m->config_time_ns = s->config_read.ns;
}

static void
metrics_take(struct metrics *m, const struct status *s)
{
	*m = (struct metrics){ 0 };
	service_take(m, s);
	engine_take(m, s->engine);
	log_take(m, s->log);
	sinks_take(m, s->sinks);
	control_take(m, s->control);
}

static void
log_put(struct json *j, const struct auditlog *log)
{
	json_object_begin(j, "audit_log");
	json_text(j, "path", log->path, strlen(log->path));
	json_u64(j, "sequence", log->sequence);
	json_bool(j, "writable", !log->failing);
	json_bool(j, "sealed", log->seals.fd >= 0);
	json_u64(j, "seal_epoch", log->seals.key.epoch);
	json_object_end(j);
}

static void
sinks_put(struct json *j, const struct sink_look *sinks)
{
	for (unsigned i = 0; i < SINKS; i++) {
		json_object_begin(j, sink_name((enum sink)i));
		json_word(j, "state", sinks[i].state);
		json_u64(j, "sent", sinks[i].sent);
		json_u64(j, "lost", sinks[i].lost);
		if (error_name(sinks[i].error) != NULL)
			json_word(j, "error", error_name(sinks[i].error));
		json_object_end(j);
	}
}

size_t
status_print(const struct status *status, char *out, size_t size)
{
	struct metrics m;
	struct json j;

	metrics_take(&m, status);
	json_begin(&j, out, size);
	json_word(&j, "version", version_string);
	json_bool(&j, "ready", status->ready);
	json_word(&j, "mode", m.enforce ? "enforce" : "observe");
	json_u64(&j, "uptime_s", status->uptime_ns / NS_PER_S);
	json_text(&j, "kernel", status->kernel, strlen(status->kernel));
	json_word(&j, "selftest", status->selftest_name);
	json_u64(&j, "netns", status->engine->netns);
	if (status->config != NULL)
		json_text(&j, "config", status->config, strlen(status->config));
	else
		json_null(&j, "config");
	json_u64(&j, "rules", status->policy->rule_count);
	metrics_members_put(&j, &m, "pending");
	metrics_members_put(&j, &m, "since_start");
	metrics_members_put(&j, &m, "lost");
	log_put(&j, status->log);
	sinks_put(&j, status->sinks);
	return json_end(&j);
}

size_t
status_metrics_print(const struct status *status, char *out, size_t size)
{
	char id[2 * WIRE_BUILD_ID_LEN + 1];
	struct metrics m;

	metrics_take(&m, status);
	for (unsigned i = 0; i < WIRE_BUILD_ID_LEN; i++)
		snprintf(id + 2 * i, 3, "%02x", build_id[i]);
	m.build_id = id;
	return metrics_print(&m, out, size);
}
