/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "note.h"

static void
head_put(struct json *j, char *out, size_t size, const struct record_head *head,
	enum wire_action action)
{
	json_begin(j, out, size);
	json_time(j, "@timestamp", head->time);
	json_u64(j, "event.sequence", head->sequence);
	json_word(j, "event.action", wire_action_name(action));
	note_begin(head->note, action, head->sequence);
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

	head_put(&j, out, size, head, WIRE_ACTION_EXIT);
	json_word(&j, "event.reason", exit_class_reason(owner->exit));
	note_words(head->note, exit_class_reason(owner->exit), NULL, NULL);
	note_owner(head->note, owner->process, owner->exit);
	owner_put(&j, owner);
	return json_end(&j);
}

static void
address_put(struct json *j, const char *ip_name, const char *port_name, uint16_t family,
	const uint8_t address[16], uint16_t port)
{
	char text[INET6_ADDRSTRLEN];

	if (family == AF_INET)
		json_ipv4(j, ip_name, address);
	else
		json_word(j, ip_name, inet_ntop(family, address, text, sizeof(text)));
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

static void
decision_put(struct json *j, const struct record_head *head, const char *reason, const char *rule,
	enum policy_verdict verdict)
{
	json_word(j, "event.reason", reason);
	if (rule != NULL)
		json_word(j, "rule.name", rule);
	else
		json_null(j, "rule.name");
	json_word(j, "eghostbuster.verdict", verdict_name(verdict));
	note_words(head->note, reason, rule, verdict_name(verdict));
}

size_t
record_decide(char *out, size_t size, const struct record_head *head,
	const struct record_owner *owner, const struct record_ghost *ghost,
	const struct decision *decision)
{
	struct json j;

	head_put(&j, out, size, head, WIRE_ACTION_DECIDE);
	decision_put(&j, head, decision->reason,
		decision->rule != NULL ? decision->rule->name : NULL, decision->verdict);
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

	head_put(&j, out, size, head, WIRE_ACTION_DESTROY);
	json_word(&j, "event.outcome", result->outcome);
	json_u64(&j, "eghostbuster.ghost", ghost);
	note_result(head->note, result);
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

/* ---- batches ----------------------------------------------------------------------------------
 */

/* Whose budget is empty, and what is said of all its ghosts. */
static void
batch_head_put(struct json *j, uint64_t number, const struct budget_account *account,
	uint64_t count, uint64_t exits)
{
	json_u64(j, "eghostbuster.batch.id", number);
	json_word(j, "eghostbuster.batch.budget", budget_kind_name(account));
	json_u64(j, "eghostbuster.batch.ghosts_count", count);
	json_u64(j, "eghostbuster.batch.exits", exits);
}

/* In runs: numbers are given one after the other. */
static void
numbers_put(struct json *j, const char *name, const uint64_t *numbers, size_t count)
{
	size_t last;

	json_array_begin(j, name);
	for (size_t i = 0; i < count; i = last + 1) {
		for (last = i; last + 1 < count && numbers[last + 1] == numbers[last] + 1;)
			last++;
		json_element_range(j, numbers[i], numbers[last]);
	}
	json_array_end(j);
}

static void
batch_owner_put(struct json *j, const struct record_batch *batch)
{
	if (batch->owner.process != NULL) {
		owner_put(j, &batch->owner);
		return;
	}
	if (batch->uid != NULL)
		json_id(j, "user.id", *batch->uid);
	if (batch->unit != NULL)
		cstring_put(j, "eghostbuster.unit", batch->unit);
	exit_put(j, &batch->owner);
}

size_t
record_batch(
	char *out, size_t size, const struct record_head *head, const struct record_batch *batch)
{
	struct json j;

	head_put(&j, out, size, head, WIRE_ACTION_DECIDE);
	decision_put(&j, head, batch->reason, batch->rule, VERDICT_DESTROY);
	batch_head_put(&j, batch->number, batch->account, batch->count, batch->exits);
	batch_owner_put(&j, batch);
	note_count(head->note, batch->count, batch->number);
	note_owner(head->note, batch->owner.process, batch->owner.exit);
	note_owners(head->note, batch->uid, batch->unit);
	numbers_put(&j, "eghostbuster.batch.ghosts", batch->ghosts, batch->count);
	json_array_begin(&j, "eghostbuster.batch.cookies");
	for (size_t i = 0; i < batch->count; i++)
		json_element_hex(&j, batch->cookies[i]);
	json_array_end(&j);
	json_object_begin(&j, "eghostbuster.proof");
	json_u64(&j, "inode", 0);
	if (batch->proved)
		json_bool(&j, "stuck", true);
	else
		json_null(&j, "stuck");
	json_object_end(&j);
	return json_end(&j);
}

/* The account's own name, where it is one's. */
static void
account_put(struct json *j, const struct record_head *head, const struct budget_account *account)
{
	const struct budget_key *key = &account->key;
	uint32_t uid = (uint32_t)key->uid;

	if (key->kind == BUDGET_UID && key->uid < UINT32_MAX) {
		json_id(j, "user.id", uid);
		note_owners(head->note, &uid, NULL);
	}
	if (key->kind == BUDGET_UNIT && key->unit[0] != '\0') {
		cstring_put(j, "eghostbuster.unit", key->unit);
		note_owners(head->note, NULL, key->unit);
	}
}

size_t
record_left(
	char *out, size_t size, const struct record_head *head, const struct record_left *record)
{
	const struct budget_left *left = record->left;
	struct json j;

	head_put(&j, out, size, head, WIRE_ACTION_DECIDE);
	decision_put(&j, head, left->reason != NULL ? left->reason : "several",
		left->ruled && !left->several ? left->rule : NULL, record->verdict);
	batch_head_put(&j, record->number, record->account, left->count, left->exits);
	note_count(head->note, left->count, record->number);
	account_put(&j, head, record->account);
	json_u64(&j, "eghostbuster.batch.first", left->first);
	json_u64(&j, "eghostbuster.batch.last", left->last);
	json_object_begin(&j, "eghostbuster.batch.classes");
	for (unsigned c = 0; c < EXIT_CLASSES; c++) {
		if (left->classes[c] != 0)
			json_u64(&j, exit_class_name((enum exit_class)c), left->classes[c]);
	}
	json_object_end(&j);
	return json_end(&j);
}

static int
outcome_order(const struct record_outcome *x, const struct record_outcome *y)
{
	int names = strcmp(x->result, y->result);

	if (names != 0)
		return names;
	if (x->error != y->error)
		return x->error < y->error ? -1 : 1;
	return x->ghost < y->ghost ? -1 : x->ghost > y->ghost;
}

/* Shell's way. Not qsort(3): it asks the kernel how much memory there is (sysinfo(2)), which the
 * broker may not. */
static void
outcomes_sort(struct record_outcome *o, size_t count)
{
	static const size_t gaps[] = { 701, 301, 132, 57, 23, 10, 4, 1 };

	for (size_t g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++) {
		for (size_t i = gaps[g]; i < count; i++) {
			struct record_outcome one = o[i];
			size_t j = i;

			for (; j >= gaps[g] && outcome_order(&o[j - gaps[g]], &one) > 0;
				j -= gaps[g])
				o[j] = o[j - gaps[g]];
			o[j] = one;
		}
	}
}

static bool
outcome_same(const struct record_outcome *a, const struct record_outcome *b)
{
	return strcmp(a->result, b->result) == 0 && a->error == b->error;
}

/* Those that are as the first one is. Returns how many. */
static size_t
outcomes_put(struct json *j, const struct record_outcome *others, size_t count)
{
	uint64_t numbers[RECORD_GHOSTS_MAX];
	size_t n = 0;

	while (n < count && n < RECORD_GHOSTS_MAX && outcome_same(&others[0], &others[n])) {
		numbers[n] = others[n].ghost;
		n++;
	}
	json_element_begin(j);
	json_word(j, "result", others->result);
	json_word(j, "outcome", others->outcome);
	error_put(j, others->error);
	json_u64(j, "count", n);
	numbers_put(j, "ghosts", numbers, n);
	json_object_end(j);
	return n;
}

/* The worst there is. */
static const char *
batch_outcome(const struct record_batch_result *r)
{
	const char *outcome = r->left == 0 ? "success" : "unknown";

	for (size_t i = 0; i < r->count; i++) {
		if (strcmp(r->others[i].outcome, "failure") == 0)
			return "failure";
		if (strcmp(r->others[i].outcome, "unknown") == 0)
			outcome = "unknown";
	}
	return outcome;
}

/* What came of all of them, where it is the same. They are in order. */
static const char *
batch_verdict(const struct record_batch_result *r)
{
	if (r->count == 0)
		return r->destroyed != 0 ? "destroyed" : NULL;
	if (r->destroyed != 0 || !outcome_same(&r->others[0], &r->others[r->count - 1]))
		return "several";
	return r->others[0].result;
}

static void
destroyed_put(struct json *j, const struct record_batch_result *r)
{
	if (r->destroyed == 0)
		return;
	json_element_begin(j);
	json_word(j, "result", "destroyed");
	json_word(j, "outcome", "success");
	json_u64(j, "count", r->destroyed);
	json_u64(j, "peer_notice_rst", r->rst);
	json_u64(j, "latency_max_ns", r->latency_max_ns);
	json_u64(j, "look_to_act_max_ns", r->look_to_act_max_ns);
	json_object_end(j);
}

size_t
record_batch_result(
	char *out, size_t size, const struct record_head *head, struct record_batch_result *result)
{
	struct json j;

	outcomes_sort(result->others, result->count);
	head_put(&j, out, size, head, WIRE_ACTION_DESTROY);
	note_count(head->note, result->destroyed + result->count, result->number);
	note_words(head->note, NULL, NULL, batch_verdict(result));
	note_outcome(head->note, batch_outcome(result));
	json_word(&j, "event.outcome", batch_outcome(result));
	json_u64(&j, "eghostbuster.batch.id", result->number);
	json_u64(&j, "eghostbuster.batch.left", result->left);
	json_u64(&j, "eghostbuster.batch.turned_away", result->turned_away);
	json_array_begin(&j, "eghostbuster.batch.results");
	destroyed_put(&j, result);
	for (size_t i = 0; i < result->count;)
		i += outcomes_put(&j, &result->others[i], result->count - i);
	json_array_end(&j);
	return json_end(&j);
}

/* ---- the service -------------------------------------------------------------------------------
 */

size_t
record_start(
	char *out, size_t size, const struct record_head *head, const struct record_start *start)
{
	struct json j;

	head_put(&j, out, size, head, WIRE_ACTION_START);
	json_word(&j, "agent.version", start->version);
	json_word(&j, "eghostbuster.build_id", start->build_id);
	json_word(&j, "eghostbuster.bpf_object.sha256", start->bpf_object);
	json_word(&j, "eghostbuster.mode", start->mode);
	if (start->why_observe != NULL)
		json_word(&j, "event.reason", start->why_observe);
	cstring_put(&j, "host.boot.id", start->boot_id);
	cstring_put(&j, "host.os.kernel", start->kernel);
	json_word(&j, "eghostbuster.selftest", start->selftest);
	if (start->config != NULL)
		clipped_put(&j, "eghostbuster.config", start->config);
	else
		json_null(&j, "eghostbuster.config");
	json_u64(&j, "eghostbuster.tracker_features", start->tracker_features);
	json_u64(&j, "eghostbuster.socket.netns", start->netns);
	json_u64(&j, "eghostbuster.destroy_ceiling", start->destroy_ceiling);
	note_words(head->note, start->why_observe, NULL, start->mode);
	return json_end(&j);
}

static void
lost_put(struct json *j, const struct record_counts *counts)
{
	json_u64(j, "eghostbuster.lost.orphans", counts->lost_orphans);
	json_u64(j, "eghostbuster.lost.exits", counts->lost_exits);
	json_u64(j, "eghostbuster.lost.stamps", counts->lost_stamps);
}

static void
sinks_put(struct json *j, const struct record_sink *sinks)
{
	for (unsigned i = 0; i < RECORD_SINKS_MAX; i++) {
		char name[64];

		if (sinks[i].name == NULL)
			continue;
		snprintf(name, sizeof(name), "eghostbuster.sink.%s.sent", sinks[i].name);
		json_u64(j, name, sinks[i].sent);
		snprintf(name, sizeof(name), "eghostbuster.sink.%s.lost", sinks[i].name);
		json_u64(j, name, sinks[i].lost);
	}
}

size_t
record_stop(char *out, size_t size, const struct record_head *head, const char *reason,
	const struct record_counts *counts)
{
	struct json j;

	head_put(&j, out, size, head, WIRE_ACTION_STOP);
	json_word(&j, "event.reason", reason);
	note_words(head->note, reason, NULL, NULL);
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
	json_u64(&j, "eghostbuster.count.batched", counts->batched);
	lost_put(&j, counts);
	sinks_put(&j, counts->sinks);
	return json_end(&j);
}

size_t
record_reconcile(char *out, size_t size, const struct record_head *head,
	const struct record_reconcile *reconcile)
{
	struct json j;

	head_put(&j, out, size, head, WIRE_ACTION_RECONCILE);
	json_word(&j, "event.outcome", reconcile->error == 0 ? "success" : "failure");
	json_word(&j, "event.reason", reconcile->reason);
	note_words(head->note, reconcile->reason, NULL, NULL);
	note_outcome(head->note, reconcile->error == 0 ? "success" : "failure");
	note_error(head->note, reconcile->error);
	note_count(head->note, reconcile->adopted, 0);
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

	head_put(&j, out, size, head, WIRE_ACTION_BREAKER);
	json_word(&j, "event.reason", breaker->open ? "over-limit" : "hold-over");
	cstring_put(&j, "eghostbuster.unit", breaker->key);
	json_word(&j, "eghostbuster.breaker", breaker->open ? "open" : "closed");
	note_words(head->note, breaker->open ? "over-limit" : "hold-over", NULL,
		breaker->open ? "open" : "closed");
	note_owners(head->note, NULL, breaker->key);
	note_count(head->note, breaker->held_back, 0);
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

	head_put(&j, out, size, head, WIRE_ACTION_LOST);
	note_count(head->note, counts->lost_orphans + counts->lost_exits + counts->lost_stamps, 0);
	lost_put(&j, counts);
	return json_end(&j);
}

size_t
record_config_reload(char *out, size_t size, const struct record_head *head, const char *config,
	const char *mode, const char *error)
{
	struct json j;

	head_put(&j, out, size, head, WIRE_ACTION_CONFIG_RELOAD);
	json_word(&j, "event.outcome", error == NULL ? "success" : "failure");
	if (config != NULL)
		clipped_put(&j, "eghostbuster.config", config);
	json_word(&j, "eghostbuster.mode", mode);
	note_words(head->note, NULL, NULL, mode);
	note_outcome(head->note, error == NULL ? "success" : "failure");
	if (error != NULL)
		clipped_put(&j, "error.message", error);
	return json_end(&j);
}

size_t
record_log_open(
	char *out, size_t size, const struct record_head *head, const struct record_log_open *open)
{
	struct json j;

	head_put(&j, out, size, head, WIRE_ACTION_LOG_OPEN);
	json_word(&j, "event.reason", open->reason);
	note_words(head->note, open->reason, NULL, NULL);
	if (open->previous == NULL) {
		json_null(&j, "eghostbuster.log.previous");
	} else {
		json_object_begin(&j, "eghostbuster.log.previous");
		clipped_put(&j, "file", open->previous);
		json_u64(&j, "sequence", open->sequence);
		json_word(&j, "hash", open->hash);
		json_object_end(&j);
	}
	json_bool(&j, "eghostbuster.log.unclean", open->unclean);
	if (open->torn_bytes != 0)
		json_u64(&j, "eghostbuster.log.torn_bytes", open->torn_bytes);
	json_bool(&j, "eghostbuster.log.sealed", open->sealed);
	return json_end(&j);
}

size_t
record_log_close(char *out, size_t size, const struct record_head *head, const char *reason)
{
	struct json j;

	head_put(&j, out, size, head, WIRE_ACTION_LOG_CLOSE);
	json_word(&j, "event.reason", reason);
	note_words(head->note, reason, NULL, NULL);
	return json_end(&j);
}
