/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/scalars.h"

enum kind {
	COUNTER, /* its samples' names end in _total */
	GAUGE,
	SECONDS,   /* a gauge that is kept in nanoseconds */
	INFO,	   /* texts: a gauge that is 1 */
	HISTOGRAM, /* a struct histogram */
};

/* One number of a family. */
struct sample {
	const char *labels;	     /* as they are written, NULL: none */
	size_t at;		     /* where in struct metrics */
	const char *object, *member; /* its place in `status`, NULL: none */
};

struct family {
	const char *name;
	enum kind kind;
	const char *help; /* one paragraph, as in eghostctl(1) */
	const struct sample *samples;
	size_t count;
};

#define AT(field) offsetof(struct metrics, field)
#define SAMPLES(...)                            \
	(const struct sample[]){ __VA_ARGS__ }, \
		sizeof((const struct sample[]){ __VA_ARGS__ }) / sizeof(struct sample)
#define TCP	      "object=\"tcp\""
#define HIDDEN	      NULL, NULL /* not in `status` */
#define PENDING(name) "pending", name
#define SINCE(name)   "since_start", name
#define LOST(name)    "lost", name

static const struct family families[] = {
	{ "eghostbuster_build_info", INFO,
		"The version that runs, its build, and the kernel's release: always 1.",
		SAMPLES({ NULL, 0, HIDDEN }) },
	{ "eghostbuster_start_time_seconds", SECONDS, "When the service started, since 1970.",
		SAMPLES({ NULL, AT(start_time_ns), HIDDEN }) },
	{ "eghostbuster_ready", GAUGE,
		"Whether ghosts are dealt with: all roles are there and the kernel is tried.",
		SAMPLES({ NULL, AT(ready), HIDDEN }) },
	{ "eghostbuster_up", GAUGE,
		"Whether the role is there. The end of one is the end of all: whoever gets no "
		"answer knows.",
		SAMPLES({ "role=\"tracker\"", AT(up_tracker), HIDDEN },
			{ "role=\"broker\"", AT(up_broker), HIDDEN },
			{ "role=\"reaper\"", AT(up_reaper), HIDDEN }) },
	{ "eghostbuster_mode", GAUGE,
		"Which mode is in force, of what the policy asks for and the kernel can do.",
		SAMPLES({ "mode=\"enforce\"", AT(enforce), HIDDEN },
			{ "mode=\"observe\"", AT(observe), HIDDEN }) },
	{ "eghostbuster_self_test_ok", GAUGE,
		"Whether the kernel can do what is needed: tell which process left a socket, "
		"destroy one on request, and end the orphan that is destroyed. Where one is 0 the "
		"service only observes.",
		SAMPLES({ "check=\"orphan-events\"", AT(test_events), HIDDEN },
			{ "check=\"sock-destroy\"", AT(test_destroy), HIDDEN },
			{ "check=\"orphan-ends\"", AT(test_ends), HIDDEN }) },
	{ "eghostbuster_events", COUNTER,
		"What the tracker has told: orphans, deaths of processes, heartbeats.",
		SAMPLES({ "type=\"orphan\"", AT(orphan_events), HIDDEN },
			{ "type=\"exit\"", AT(exit_events), SINCE("exits") },
			{ "type=\"heartbeat\"", AT(heartbeats), HIDDEN }) },
	{ "eghostbuster_events_repeated", COUNTER,
		"Orphans that were told of while they were in hand.",
		SAMPLES({ NULL, AT(repeated), SINCE("repeated") }) },
	{ "eghostbuster_events_lost", COUNTER,
		"Events for which there was no room, in the ring buffer or in the map of shut-down "
		"sockets. The ghosts they would have told of are found by a reconcile, as of "
		"unknown owners.",
		SAMPLES({ "where=\"ring\",type=\"orphan\"", AT(lost_orphans), LOST("orphans") },
			{ "where=\"ring\",type=\"exit\"", AT(lost_exits), LOST("exits") },
			{ "where=\"map\",type=\"stamp\"", AT(lost_stamps), LOST("stamps") }) },
	{ "eghostbuster_orphans_detected", COUNTER, "Orphans that were told of or found.",
		SAMPLES({ TCP, AT(ghosts), SINCE("ghosts") }) },
	{ "eghostbuster_orphans_adopted", COUNTER,
		"Of these, those that a reconcile has found: nobody saw the death.",
		SAMPLES({ TCP, AT(adopted), SINCE("adopted") }) },
	{ "eghostbuster_orphans_expired", COUNTER,
		"Of these, those that were gone before they were decided upon. They have no "
		"record.",
		SAMPLES({ TCP, AT(expired), SINCE("expired") }) },
	{ "eghostbuster_orphans_evicted", COUNTER,
		"Of these, those that were forgotten because their owner had filled the table. A "
		"reconcile finds them again.",
		SAMPLES({ TCP, AT(evicted), SINCE("evicted") }) },
	{ "eghostbuster_orphans_pending", GAUGE,
		"Ghosts that something is still to be done with, by what comes next.",
		SAMPLES({ TCP ",phase=\"undecided\"", AT(undecided), PENDING("undecided") },
			{ TCP ",phase=\"waiting\"", AT(waiting), PENDING("waiting") },
			{ TCP ",phase=\"sampling\"", AT(sampling), PENDING("sampling") },
			{ TCP ",phase=\"batched\"", AT(batched), PENDING("batched") },
			{ TCP ",phase=\"decided\"", AT(decided), PENDING("decided") },
			{ TCP ",phase=\"requested\"", AT(requested), PENDING("requested") },
			{ TCP ",phase=\"held-back\"", AT(held_back), PENDING("held_back") }) },
	{ "eghostbuster_orphans_left_alone", GAUGE,
		"Ghosts that it was decided to leave alone and that are remembered.",
		SAMPLES({ TCP, AT(left_alone), PENDING("left_alone") }) },
	{ "eghostbuster_tracked_objects", GAUGE, "Ghosts in hand, pending or left alone.",
		SAMPLES({ TCP, AT(tracked), HIDDEN }) },
	{ "eghostbuster_tracked_objects_limit", GAUGE, "So many can be in hand.",
		SAMPLES({ TCP, AT(tracked_max), HIDDEN }) },
	{ "eghostbuster_tracked_processes", GAUGE, "Dead processes that are remembered.",
		SAMPLES({ NULL, AT(processes), HIDDEN }) },
	{ "eghostbuster_decisions", COUNTER,
		"Decisions, of which each is in the audit log, alone or in a batch.",
		SAMPLES({ "verdict=\"destroy\"", AT(ordered), SINCE("ordered") },
			{ "verdict=\"report\"", AT(reported), SINCE("reported") },
			{ "verdict=\"ignore\"", AT(ignored), SINCE("ignored") }) },
	{ "eghostbuster_reaps", COUNTER,
		"What came of decisions to destroy, by eghostbuster.result of the audit log.",
		SAMPLES({ TCP ",result=\"destroyed\"", AT(results[WIRE_RESULT_DESTROYED]),
				SINCE("destroyed") },
			{ TCP ",result=\"gone\"", AT(results[WIRE_RESULT_GONE]), SINCE("gone") },
			{ TCP ",result=\"refused-live\"", AT(results[WIRE_RESULT_REFUSED_LIVE]),
				SINCE("refused_live") },
			{ TCP ",result=\"refused-progress\"",
				AT(results[WIRE_RESULT_REFUSED_PROGRESS]),
				SINCE("refused_progress") },
			{ TCP ",result=\"refused-rate\"", AT(results[WIRE_RESULT_REFUSED_RATE]),
				SINCE("refused_rate") },
			{ TCP ",result=\"other-netns\"", AT(results[WIRE_RESULT_OTHER_NETNS]),
				HIDDEN },
			{ TCP ",result=\"unsupported\"", AT(results[WIRE_RESULT_UNSUPPORTED]),
				HIDDEN },
			{ TCP ",result=\"failed\"", AT(results[WIRE_RESULT_FAILED]),
				SINCE("failed") },
			{ TCP ",result=\"observed\"", AT(observed), SINCE("observed") }) },
	{ "eghostbuster_refusals", COUNTER,
		"Times that a ghost was not destroyed though a rule says so: somebody holds it, "
		"something moved, over destroy_limit (each time it was asked for), in another "
		"network namespace, nothing outstanding that could be stuck, its unit over "
		"unit_limit.",
		SAMPLES({ "reason=\"live\"", AT(results[WIRE_RESULT_REFUSED_LIVE]), HIDDEN },
			{ "reason=\"progress\"", AT(results[WIRE_RESULT_REFUSED_PROGRESS]),
				HIDDEN },
			{ "reason=\"rate\"", AT(turned_away), HIDDEN },
			{ "reason=\"other-netns\"", AT(not_ours), HIDDEN },
			{ "reason=\"nothing-outstanding\"", AT(nothing_outstanding), HIDDEN },
			{ "reason=\"unit-limit\"", AT(ever_held_back), SINCE("held_back") }) },
	{ "eghostbuster_reap_latency_seconds", HISTOGRAM,
		"From the birth of a ghost that was destroyed to the kernel's acknowledgement, "
		"what a rule grants it included.",
		SAMPLES({ NULL, AT(latency), HIDDEN }) },
	{ "eghostbuster_look_to_act_seconds", HISTOGRAM,
		"From before the reaper's last look at a ghost that was destroyed to the kernel's "
		"acknowledgement.",
		SAMPLES({ NULL, AT(look_to_act), HIDDEN }) },
	{ "eghostbuster_looks", COUNTER,
		"Looks that were to prove ghosts stuck, by what the reaper saw.",
		SAMPLES({ "found=\"orphan\"", AT(looks[WIRE_FOUND_ORPHAN]), HIDDEN },
			{ "found=\"nothing\"", AT(looks[WIRE_FOUND_NOTHING]), HIDDEN },
			{ "found=\"held\"", AT(looks[WIRE_FOUND_HELD]), HIDDEN },
			{ "found=\"time-wait\"", AT(looks[WIRE_FOUND_TIME_WAIT]), HIDDEN },
			{ "found=\"failed\"", AT(looks[WIRE_FOUND_FAILED]), HIDDEN }) },
	{ "eghostbuster_reconciles", COUNTER,
		"Comparisons with the kernel's own table that were asked for.",
		SAMPLES({ NULL, AT(rounds), SINCE("reconciles") }) },
	{ "eghostbuster_reconciles_failed", COUNTER,
		"Of these, those that were not complete, and are made again.",
		SAMPLES({ NULL, AT(rounds_failed), HIDDEN }) },
	{ "eghostbuster_breaker_open_units", GAUGE,
		"Units that are left alone because they were over unit_limit.",
		SAMPLES({ NULL, AT(breaker_open), HIDDEN }) },
	{ "eghostbuster_breaker_opened", COUNTER, "Times that a unit came over unit_limit.",
		SAMPLES({ NULL, AT(breaker_opened), HIDDEN }) },
	{ "eghostbuster_batches", COUNTER,
		"Records that speak of many ghosts, because somebody was over record_budget.",
		SAMPLES({ NULL, AT(batches), HIDDEN }) },
	{ "eghostbuster_batched_ghosts", COUNTER, "Ghosts that such records speak of.",
		SAMPLES({ NULL, AT(ever_batched), SINCE("batched") }) },
	{ "eghostbuster_destroy_limit", GAUGE,
		"Sockets destroyed per second at most: the lower of destroy_limit and the reaper's "
		"own ceiling.",
		SAMPLES({ NULL, AT(destroy_limit), HIDDEN }) },
	{ "eghostbuster_audit_records", COUNTER, "Audit records that the sink has been given.",
		SAMPLES({ "sink=\"file\"", AT(records), HIDDEN },
			{ "sink=\"linux_audit\"", AT(linux_audit_sent), HIDDEN },
			{ "sink=\"journald\"", AT(journald_sent), HIDDEN }) },
	{ "eghostbuster_audit_lost", COUNTER,
		"Audit records that the sink may lack. The file: those that were written when the "
		"disk reported an error, which only a machine that stops then loses. What cannot "
		"be written at all is kept in memory, and nothing is destroyed. The other sinks: "
		"those that they did not take, or not in time.",
		SAMPLES({ "sink=\"file\"", AT(records_lost), HIDDEN },
			{ "sink=\"linux_audit\"", AT(linux_audit_lost), HIDDEN },
			{ "sink=\"journald\"", AT(journald_lost), HIDDEN }) },
	{ "eghostbuster_audit_chain_sequence", GAUGE,
		"Number of the last audit record that was made.",
		SAMPLES({ NULL, AT(record_sequence), HIDDEN }) },
	{ "eghostbuster_audit_seal_epoch", GAUGE,
		"Seals that the audit log has been given with this key. Who cuts its end off "
		"cannot take them back from where this was noted.",
		SAMPLES({ NULL, AT(seal_epoch), HIDDEN }) },
	{ "eghostbuster_audit_writable", GAUGE,
		"Whether the audit log can be written. Where it cannot, nothing is destroyed.",
		SAMPLES({ NULL, AT(log_writable), HIDDEN }) },
	{ "eghostbuster_audit_write_failures", COUNTER, "Times that it could be written no more.",
		SAMPLES({ NULL, AT(log_failures), HIDDEN }) },
	{ "eghostbuster_audit_pending_bytes", GAUGE,
		"Bytes of audit records that are still to be written.",
		SAMPLES({ NULL, AT(log_pending), HIDDEN }) },
	{ "eghostbuster_policy_rules", GAUGE, "Rules in force.",
		SAMPLES({ NULL, AT(rules), HIDDEN }) },
	{ "eghostbuster_config_last_reload_successful", GAUGE,
		"Whether the policy that was read last is the one in force. Where it is not, it "
		"had an error.",
		SAMPLES({ NULL, AT(config_good), HIDDEN }) },
	{ "eghostbuster_config_last_reload_success_timestamp_seconds", SECONDS,
		"When the policy in force was read, since 1970.",
		SAMPLES({ NULL, AT(config_time_ns), HIDDEN }) },
	{ "eghostbuster_control_clients", COUNTER,
		"Who came to the control socket: answered, asked for what there is not, was "
		"neither root nor of control_group, was one too many of that group, or was cut off "
		"because it spoke or read too slowly.",
		SAMPLES({ "outcome=\"answered\"", AT(answered), HIDDEN },
			{ "outcome=\"unknown\"", AT(unknown), HIDDEN },
			{ "outcome=\"denied\"", AT(denied), HIDDEN },
			{ "outcome=\"crowded\"", AT(crowded), HIDDEN },
			{ "outcome=\"cut-off\"", AT(cut_off), HIDDEN }) },
	{ "eghostbuster_stderr_lines_held_back", COUNTER,
		"Lines about single ghosts that were not said on standard error: some hundred a "
		"second are, the audit log has all.",
		SAMPLES({ NULL, AT(lines_held_back), HIDDEN }) },
};

#define FAMILIES (sizeof(families) / sizeof(families[0]))

struct printer {
	char *out;
	size_t size, used;
	bool full;
};

static void __attribute__((format(printf, 2, 3))) put(struct printer *p, const char *fmt, ...)
{
	size_t room = p->size - p->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(p->out + p->used, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		p->full = true;
	else
		p->used += (size_t)n;
}

static uint64_t
value_at(const struct metrics *m, size_t at)
{
	uint64_t value;

	memcpy(&value, (const char *)m + at, sizeof(value));
	return value;
}

static void
seconds_put(struct printer *p, uint64_t ns)
{
	put(p, "%llu.%09llu\n", ns / NS_PER_S, ns % NS_PER_S);
}

/* Readers take any text; a terminal does not. */
static void
label_put(struct printer *p, const char *name, const char *text, const char *end)
{
	put(p, "%s=\"", name);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			put(p, "\\%c", *text);
		else
			put(p, "%c", *text >= 0x20 && *text < 0x7f ? *text : '?');
	}
	put(p, "\"%s", end);
}

static void
info_put(struct printer *p, const char *name, const struct metrics *m)
{
	put(p, "%s{", name);
	label_put(p, "version", m->version, ",");
	label_put(p, "build_id", m->build_id, ",");
	label_put(p, "kernel", m->kernel, "} 1\n");
}

/* Each bucket has all that took as long or less. */
static void
histogram_put(struct printer *p, const char *name, const struct metrics *m, size_t at)
{
	struct histogram h;
	uint64_t sum = 0;

	memcpy(&h, (const char *)m + at, sizeof(h));
	for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
		sum += h.counts[i];
		put(p, "%s_bucket{le=\"%s\"} %" PRIu64 "\n", name, histogram_bounds[i].seconds,
			sum);
	}
	sum += h.counts[HISTOGRAM_BOUNDS];
	put(p, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_count %" PRIu64 "\n%s_sum ", name, sum, name,
		sum, name);
	seconds_put(p, h.sum_ns);
}

static void
sample_put(
	struct printer *p, const struct family *f, const struct sample *s, const struct metrics *m)
{
	if (f->kind == HISTOGRAM) {
		histogram_put(p, f->name, m, s->at);
		return;
	}
	if (f->kind == INFO) {
		info_put(p, f->name, m);
		return;
	}
	put(p, "%s%s", f->name, f->kind == COUNTER ? "_total" : "");
	if (s->labels != NULL)
		put(p, "{%s}", s->labels);
	put(p, " ");
	if (f->kind == SECONDS)
		seconds_put(p, value_at(m, s->at));
	else
		put(p, "%" PRIu64 "\n", value_at(m, s->at));
}

static bool
ends_in(const char *name, const char *end)
{
	size_t len = strlen(name), tail = strlen(end);

	return len > tail && strcmp(name + len - tail, end) == 0;
}

/* Of the types those only that older readers know as well: an `info` they refuse. */
static void
family_put(struct printer *p, const struct family *f, const struct metrics *m)
{
	static const char *const types[] = { [COUNTER] = "counter",
		[GAUGE] = "gauge",
		[SECONDS] = "gauge",
		[INFO] = "gauge",
		[HISTOGRAM] = "histogram" };

	put(p, "# TYPE %s %s\n", f->name, types[f->kind]);
	if (ends_in(f->name, "_seconds"))
		put(p, "# UNIT %s seconds\n", f->name);
	if (ends_in(f->name, "_bytes"))
		put(p, "# UNIT %s bytes\n", f->name);
	put(p, "# HELP %s %s\n", f->name, f->help);
	for (size_t i = 0; i < f->count; i++)
		sample_put(p, f, &f->samples[i], m);
}

size_t
metrics_print(const struct metrics *m, char *out, size_t size)
{
	struct printer p = { .out = out, .size = size };

	for (size_t i = 0; i < FAMILIES; i++)
		family_put(&p, &families[i], m);
	put(&p, "# EOF\n");
	return p.full ? 0 : p.used;
}

void
metrics_members_put(struct json *j, const struct metrics *m, const char *object)
{
	json_object_begin(j, object);
	for (size_t i = 0; i < FAMILIES; i++) {
		for (size_t n = 0; n < families[i].count; n++) {
			const struct sample *s = &families[i].samples[n];

			if (s->object != NULL && strcmp(s->object, object) == 0)
				json_u64(j, s->member, value_at(m, s->at));
		}
	}
	json_object_end(j);
}
