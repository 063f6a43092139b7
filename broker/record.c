/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <arpa/inet.h>
#include <string.h>

#include "json.h"

static void
head_put(struct json *j, char *out, size_t size, const struct record_head *head, const char *action)
{
	json_begin(j, out, size);
	json_time(j, "@timestamp", head->time);
	json_u64(j, "event.sequence", head->sequence);
	json_word(j, "event.action", action);
}

static void
cstring_put(struct json *j, const char *name, const char *text)
{
	json_text(j, name, text, strlen(text));
}

/* Paths and messages name what somebody else chose the length of: a record has room for so much. */
#define CLIPPED_MAX 400u

static void
clipped_put(struct json *j, const char *name, const char *text)
{
	json_text(j, name, text, strnlen(text, CLIPPED_MAX));
}

static void
exit_put(struct json *j, const struct record_owner *owner)
{
	json_word(j, "eghostbuster.exit.class", exit_class_name(owner->exit));
	if (owner->process == NULL)
		return;
	if (exit_signal(owner->process->exit_code) != 0)
		json_u64(j, "eghostbuster.exit.signal", exit_signal(owner->process->exit_code));
	else
		json_u64(j, "process.exit_code", exit_status(owner->process->exit_code));
}

static void
owner_put(struct json *j, const struct record_owner *owner)
{
	const struct wire_owner *process = owner->process;

	if (process != NULL) {
		json_u64(j, "process.pid", process->tgid);
		json_word(j, "process.entity_id", owner->entity_id);
		cstring_put(j, "process.name", process->comm);
		json_id(j, "user.id", process->uid);
		if (process->unit[0] != '\0')
			cstring_put(j, "eghostbuster.unit", process->unit);
		else
			json_null(j, "eghostbuster.unit");
		if ((process->flags & WIRE_OWNER_UNIT_TRUNCATED) != 0)
			json_bool(j, "eghostbuster.unit_truncated", true);
	}
	exit_put(j, owner);
}

size_t
record_exit(
	char *out, size_t size, const struct record_head *head, const struct record_owner *owner)
{
	struct json j;

	head_put(&j, out, size, head, "exit");
	json_word(&j, "event.reason", exit_class_reason(owner->exit));
	owner_put(&j, owner);
	return json_end(&j);
}

static void
address_put(struct json *j, const char *ip_name, const char *port_name, uint16_t family,
	const uint8_t address[16], uint16_t port)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(family, address, text, sizeof(text));
	json_word(j, ip_name, text);
	json_u64(j, port_name, port);
}

static void
ghost_put(struct json *j, const struct record_ghost *ghost)
{
	const struct wire_tuple *t = ghost->tuple;

	json_word(j, "network.transport", "tcp");
	json_word(j, "network.type", t->family == AF_INET ? "ipv4" : "ipv6");
	address_put(j, "source.ip", "source.port", t->family, t->src, t->src_port);
	address_put(j, "destination.ip", "destination.port", t->family, t->dst, t->dst_port);
	json_hex(j, "eghostbuster.socket.cookie", ghost->cookie);
	json_word(j, "eghostbuster.socket.state", tcp_state_name(ghost->state));
	json_u64(j, "eghostbuster.socket.netns", t->netns);
	if (t->ifindex != 0)
		json_u64(j, "eghostbuster.socket.ifindex", t->ifindex);
	json_u64(j, "eghostbuster.socket.send_queue", ghost->send_queue);
}

static void
sample_put(struct json *j, const struct record_sample *sample)
{
	const struct wire_progress *p = sample->progress;

	json_element_begin(j);
	json_u64(j, "age_ms", sample->age_ns / NS_PER_MS);
	json_u64(j, "bytes_acked", p->bytes_acked);
	json_u64(j, "window_end", p->window_end);
	json_u64(j, "send_queue", p->send_queue);
	json_u64(j, "unacked", p->unacked);
	json_u64(j, "notsent", p->notsent);
	json_u64(j, "last_ack_ms", p->last_ack_ms);
	json_word(j, "timer", tcp_timer_name(p->timer));
	json_u64(j, "timer_ms", p->timer_ms);
	json_u64(j, "retransmits", p->retransmits);
	json_u64(j, "probes", p->probes);
	json_u64(j, "backoff", p->backoff);
	json_object_end(j);
}

/* inode 0: the tracker saw the last close, or the reaper a socket without one; whether it is still
 * so is proved by the reaper's own look-up, whose answer is the result record. */
static void
proof_put(struct json *j, const struct record_ghost *ghost)
{
	const struct record_sample *samples = ghost->samples;

	json_object_begin(j, "eghostbuster.proof");
	json_u64(j, "inode", 0);
	json_u64(j, "age_ms", ghost->age_ns / NS_PER_MS);
	if (samples == NULL) {
		json_null(j, "stuck");
	} else {
		json_bool(j, "stuck", true);
		json_u64(j, "interval_ms", (samples[1].age_ns - samples[0].age_ns) / NS_PER_MS);
		json_array_begin(j, "samples");
		sample_put(j, &samples[0]);
		sample_put(j, &samples[1]);
		json_array_end(j);
	}
	json_object_end(j);
}

size_t
record_decide(char *out, size_t size, const struct record_head *head,
	const struct record_owner *owner, const struct record_ghost *ghost,
	const struct decision *decision)
{
	struct json j;

	head_put(&j, out, size, head, "decide");
	json_word(&j, "event.reason", decision->reason);
	if (decision->rule != NULL)
		json_word(&j, "rule.name", decision->rule->name);
	else
		json_null(&j, "rule.name");
	json_word(&j, "eghostbuster.verdict", verdict_name(decision->verdict));
	json_u64(&j, "eghostbuster.ghost", ghost->id);
	owner_put(&j, owner);
	ghost_put(&j, ghost);
	proof_put(&j, ghost);
	return json_end(&j);
}

const char *
error_name(int error)
{
	return error == 0 ? NULL : strerrorname_np(error);
}

static void
error_put(struct json *j, int error)
{
	if (error_name(error) != NULL)
		json_word(j, "error.code", error_name(error));
	else if (error != 0)
		json_id(j, "error.code", (uint64_t)error);
}

size_t
record_destroy(char *out, size_t size, const struct record_head *head, uint64_t ghost,
	const struct record_result *result)
{
	struct json j;

	head_put(&j, out, size, head, "destroy");
	json_word(&j, "event.outcome", result->outcome);
	json_u64(&j, "eghostbuster.ghost", ghost);
	json_word(&j, "eghostbuster.result", result->result);
	if (result->peer_notice != NULL) {
		json_word(&j, "eghostbuster.peer_notice", result->peer_notice);
		json_u64(&j, "eghostbuster.latency_ns", result->latency_ns);
		json_u64(&j, "eghostbuster.look_to_act_ns", result->look_to_act_ns);
	}
	if (result->state != 0)
		json_word(&j, "eghostbuster.socket.state", tcp_state_name(result->state));
	error_put(&j, result->error);
	return json_end(&j);
}

size_t
record_start(
	char *out, size_t size, const struct record_head *head, const struct record_start *start)
{
	struct json j;

	head_put(&j, out, size, head, "start");
	json_word(&j, "agent.version", start->version);
	json_word(&j, "eghostbuster.build_id", start->build_id);
	json_word(&j, "eghostbuster.mode", start->mode);
	if (start->why_observe != NULL)
		json_word(&j, "event.reason", start->why_observe);
	cstring_put(&j, "host.os.kernel", start->kernel);
	json_word(&j, "eghostbuster.selftest", start->selftest);
	if (start->config != NULL)
		clipped_put(&j, "eghostbuster.config", start->config);
	else
		json_null(&j, "eghostbuster.config");
	json_u64(&j, "eghostbuster.tracker_features", start->tracker_features);
	json_u64(&j, "eghostbuster.socket.netns", start->netns);
	json_u64(&j, "eghostbuster.destroy_ceiling", start->destroy_ceiling);
	return json_end(&j);
}

static void
lost_put(struct json *j, const struct record_counts *counts)
{
	json_u64(j, "eghostbuster.lost.orphans", counts->lost_orphans);
	json_u64(j, "eghostbuster.lost.exits", counts->lost_exits);
	json_u64(j, "eghostbuster.lost.stamps", counts->lost_stamps);
}

size_t
record_stop(char *out, size_t size, const struct record_head *head, const char *reason,
	const struct record_counts *counts)
{
	struct json j;

	head_put(&j, out, size, head, "stop");
	json_word(&j, "event.reason", reason);
	json_u64(&j, "eghostbuster.count.ghosts", counts->ghosts);
	json_u64(&j, "eghostbuster.count.destroyed", counts->destroyed);
	json_u64(&j, "eghostbuster.count.gone", counts->gone);
	json_u64(&j, "eghostbuster.count.refused", counts->refused);
	json_u64(&j, "eghostbuster.count.failed", counts->failed);
	json_u64(&j, "eghostbuster.count.observed", counts->observed);
	json_u64(&j, "eghostbuster.count.reported", counts->reported);
	json_u64(&j, "eghostbuster.count.ignored", counts->ignored);
	json_u64(&j, "eghostbuster.count.waiting", counts->waiting);
	json_u64(&j, "eghostbuster.count.expired", counts->expired);
	json_u64(&j, "eghostbuster.count.adopted", counts->adopted);
	json_u64(&j, "eghostbuster.count.evicted", counts->evicted);
	json_u64(&j, "eghostbuster.count.held_back", counts->held_back);
	json_u64(&j, "eghostbuster.count.unanswered", counts->unanswered);
	json_u64(&j, "eghostbuster.count.unsent", counts->unsent);
	lost_put(&j, counts);
	return json_end(&j);
}

size_t
record_reconcile(char *out, size_t size, const struct record_head *head,
	const struct record_reconcile *reconcile)
{
	struct json j;

	head_put(&j, out, size, head, "reconcile");
	json_word(&j, "event.outcome", reconcile->error == 0 ? "success" : "failure");
	json_word(&j, "event.reason", reconcile->reason);
	json_u64(&j, "eghostbuster.reconcile.round", reconcile->round);
	json_u64(&j, "eghostbuster.reconcile.found", reconcile->found);
	json_u64(&j, "eghostbuster.reconcile.adopted", reconcile->adopted);
	json_u64(&j, "eghostbuster.reconcile.forgotten", reconcile->forgotten);
	error_put(&j, reconcile->error);
	return json_end(&j);
}

size_t
record_breaker(char *out, size_t size, const struct record_head *head,
	const struct record_breaker *breaker)
{
	struct json j;

	head_put(&j, out, size, head, "breaker");
	json_word(&j, "event.reason", breaker->open ? "over-limit" : "hold-over");
	cstring_put(&j, "eghostbuster.unit", breaker->key);
	json_word(&j, "eghostbuster.breaker", breaker->open ? "open" : "closed");
	if (breaker->open)
		json_u64(&j, "eghostbuster.breaker.hold_ms", breaker->hold_ns / NS_PER_MS);
	else
		json_u64(&j, "eghostbuster.breaker.held_back", breaker->held_back);
	return json_end(&j);
}

size_t
record_lost(
	char *out, size_t size, const struct record_head *head, const struct record_counts *counts)
{
	struct json j;

	head_put(&j, out, size, head, "lost");
	lost_put(&j, counts);
	return json_end(&j);
}

size_t
record_config_reload(char *out, size_t size, const struct record_head *head, const char *config,
	const char *mode, const char *error)
{
	struct json j;

	head_put(&j, out, size, head, "config-reload");
	json_word(&j, "event.outcome", error == NULL ? "success" : "failure");
	if (config != NULL)
		clipped_put(&j, "eghostbuster.config", config);
	json_word(&j, "eghostbuster.mode", mode);
	if (error != NULL)
		clipped_put(&j, "error.message", error);
	return json_end(&j);
}

size_t
record_log(char *out, size_t size, const struct record_head *head, const char *action,
	const char *reason)
{
	struct json j;

	head_put(&j, out, size, head, action);
	json_word(&j, "event.reason", reason);
	return json_end(&j);
}
