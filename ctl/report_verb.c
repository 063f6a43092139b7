/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uthash.h>

#include "ctl.h"
#include "logset.h"
#include "proto/log.h"
#include "query.h"
#include "show.h"

#define KEY_MAX 256

/* All that is summed up of one process, unit, reason ... */
struct group {
	char id[KEY_MAX]; /* tells two from one another that have the same name */
	char key[KEY_MAX];
	uint64_t ghosts, destroyed, gone, other, left_alone, unsent, latency_max_ns;
	UT_hash_handle hh;
};

/* A decision whose results are still to come. */
struct awaited {
	uint64_t subject; /* record_subject() */
	struct group *group;
	uint64_t unsent;
	UT_hash_handle hh;
};

struct report {
	struct query query;
	const char *result; /* only ghosts with this result, NULL: all */
	struct query_state *state;
	const char *by;
	bool json;
	void (*key)(const struct record *r, char out[KEY_MAX]);
	struct group *groups;
	struct awaited *awaited;
	uint64_t run;
	bool failed; /* out of memory */
};

/* ---- what it is summed up by -------------------------------------------------------------------
 */

/* A batch is silent about what its ghosts do not have in common. */
static const char *
without(const struct record *r, const char *name)
{
	bool batch = (record_subject(r) & RECORD_BATCH_BIT) != 0;

	return batch && json_object_get(r->root, name) == NULL ? "(several)" : "-";
}

static void
text_key(const struct record *r, const char *name, char out[KEY_MAX])
{
	snprintf(out, KEY_MAX, "%s", show_text(r, name, without(r, name)));
}

static void
process_key(const struct record *r, char out[KEY_MAX])
{
	uint64_t pid;

	if (record_number(r, "process.pid", &pid))
		snprintf(out, KEY_MAX, "%s[%" PRIu64 "]", show_text(r, "process.name", "?"), pid);
	else
		snprintf(out, KEY_MAX, "%s", without(r, "process.pid"));
}

static void
unit_key(const struct record *r, char out[KEY_MAX])
{
	text_key(r, "eghostbuster.unit", out);
}

static void
reason_key(const struct record *r, char out[KEY_MAX])
{
	text_key(r, "event.reason", out);
}

static void
peer_key(const struct record *r, char out[KEY_MAX])
{
	text_key(r, "destination.ip", out);
}

static void
rule_key(const struct record *r, char out[KEY_MAX])
{
	text_key(r, "rule.name", out);
}

static void
hour_key(const struct record *r, char out[KEY_MAX])
{
	time_t seconds = (time_t)(r->when / 1000000000);
	struct tm tm;

	localtime_r(&seconds, &tm);
	strftime(out, KEY_MAX, "%Y-%m-%d %H:00", &tm);
}

static const struct {
	const char *name;
	void (*key)(const struct record *r, char out[KEY_MAX]);
} kinds[] = {
	{ "process", process_key },
	{ "unit", unit_key },
	{ "reason", reason_key },
	{ "peer", peer_key },
	{ "rule", rule_key },
	{ "hour", hour_key },
};
#define KINDS "process unit reason peer rule hour"

/* ---- tables ------------------------------------------------------------------------------------
 */

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"

/* A process is one whatever becomes of its pid. */
static struct group *
group_of(struct report *report, const struct record *r)
{
	char id[KEY_MAX], key[KEY_MAX];
	struct group *g;

	report->key(r, key);
	snprintf(id, sizeof(id), "%s",
		report->key == process_key ? show_text(r, "process.entity_id", key) : key);
	HASH_FIND_STR(report->groups, id, g);
	if (g != NULL)
		return g;
	g = calloc(1, sizeof(*g));
	if (g == NULL)
		return NULL;
	strcpy(g->id, id);
	strcpy(g->key, key);
	HASH_ADD_STR(report->groups, id, g);
	return g;
}

static struct awaited *
awaited_find(const struct report *report, uint64_t subject)
{
	struct awaited *a;

	HASH_FIND(hh, report->awaited, &subject, sizeof(subject), a);
	return a;
}

static bool
awaited_add(struct report *report, uint64_t subject, struct group *group, uint64_t unsent)
{
	struct awaited *a = awaited_find(report, subject);

	if (a == NULL) {
		a = calloc(1, sizeof(*a));
		if (a == NULL)
			return false;
		a->subject = subject;
		HASH_ADD(hh, report->awaited, subject, sizeof(a->subject), a);
	}
	a->group = group;
	a->unsent = unsent;
	return true;
}

static void
awaited_remove(struct report *report, struct awaited *a)
{
	HASH_DELETE(hh, report->awaited, a);
	free(a);
}

static void
awaited_clear(struct report *report)
{
	struct awaited *a, *next;

	HASH_ITER(hh, report->awaited, a, next)
	awaited_remove(report, a);
}

static int
group_compare(const struct group *a, const struct group *b)
{
	if (a->ghosts != b->ghosts)
		return a->ghosts > b->ghosts ? -1 : 1;
	return strcmp(a->key, b->key);
}

static int
group_compare_keys(const struct group *a, const struct group *b)
{
	return strcmp(a->key, b->key);
}

static void
groups_sort(struct report *report)
{
	if (report->key == hour_key)
		HASH_SORT(report->groups, group_compare_keys);
	else
		HASH_SORT(report->groups, group_compare);
}

static void
groups_free(struct report *report)
{
	struct group *g, *next;

	HASH_ITER(hh, report->groups, g, next)
	{
		HASH_DELETE(hh, report->groups, g);
		free(g);
	}
}

#pragma GCC diagnostic pop

/* ---- records -----------------------------------------------------------------------------------
 */

static void
result_count(struct group *g, const char *result, uint64_t count, uint64_t latency_ns)
{
	if (strcmp(result, "destroyed") == 0)
		g->destroyed += count;
	else if (strcmp(result, "gone") == 0)
		g->gone += count;
	else
		g->other += count;
	if (latency_ns > g->latency_max_ns)
		g->latency_max_ns = latency_ns;
}

/* Asked for one result, ghosts are counted when they have it. */
static void
result_take(const struct report *report, struct awaited *a, const char *result, uint64_t count,
	uint64_t latency_ns)
{
	if (result == NULL || (report->result != NULL && strcmp(result, report->result) != 0))
		return;
	if (report->result != NULL) {
		a->group->ghosts += count;
		a->group->unsent += a->unsent;
	}
	result_count(a->group, result, count, latency_ns);
}

static void
batch_take(const struct report *report, struct awaited *a, const struct record *r)
{
	const json_t *results = json_object_get(r->root, "eghostbuster.batch.results");

	for (size_t i = 0; i < json_array_size(results); i++) {
		const struct record one = { .root = json_array_get(results, i) };

		result_take(report, a, record_text(&one, "result"), record_count(&one, "count"),
			record_count(&one, "latency_max_ns"));
	}
}

static void
destroy_take(struct report *report, const struct record *r)
{
	struct awaited *a = awaited_find(report, record_subject(r));
	const char *result = record_text(r, "eghostbuster.result");
	bool asked_again = result != NULL && strcmp(result, "refused-rate") == 0;

	/* Turned away by a limit it is asked for again, by the same decision. */
	if (a == NULL || (asked_again && report->result == NULL))
		return;
	if (result != NULL)
		result_take(report, a, result, 1, record_count(r, "eghostbuster.latency_ns"));
	else
		batch_take(report, a, r);
	if (!asked_again && record_count(r, "eghostbuster.batch.left") == 0)
		awaited_remove(report, a);
}

static bool
decide_take(struct report *report, const struct record *r)
{
	const char *verdict = record_text(r, "eghostbuster.verdict");
	uint64_t unsent = record_count(r, "eghostbuster.socket.send_queue");
	bool destroy = verdict != NULL && strcmp(verdict, "destroy") == 0;
	struct group *g = group_of(report, r);

	if (g == NULL || (destroy && !awaited_add(report, record_subject(r), g, unsent)))
		return false;
	if (report->result != NULL)
		return true;
	g->ghosts += record_ghosts(r);
	g->unsent += unsent;
	if (!destroy)
		g->left_alone += record_ghosts(r);
	return true;
}

static bool
record_add(void *context, struct record *r)
{
	struct report *report = context;
	bool wanted = query_take(report->state, r);

	if (r->run != report->run)
		awaited_clear(report);
	report->run = r->run;
	if (wanted && record_is(r, "destroy"))
		destroy_take(report, r);
	else if (wanted && record_is(r, "decide") && !decide_take(report, r))
		report->failed = true;
	return !report->failed;
}

/* ---- printing ----------------------------------------------------------------------------------
 */

static void
group_print(const struct group *g)
{
	char unsent[32], latency[32] = "-";

	show_bytes(g->unsent, unsent, sizeof(unsent));
	if (g->latency_max_ns != 0)
		show_duration(g->latency_max_ns, latency, sizeof(latency));
	printf("%-32s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %11s %9s\n",
		g->key, g->ghosts, g->destroyed, g->gone, g->other, g->left_alone, unsent, latency);
}

static int
table_print(const struct report *report)
{
	printf("%-32s %9s %9s %9s %9s %9s %11s %9s\n", report->by, "ghosts", "destroyed", "gone",
		"other", "left", "unsent", "slowest");
	for (const struct group *g = report->groups; g != NULL; g = g->hh.next) {
		if (g->ghosts != 0)
			group_print(g);
	}
	return 0;
}

static json_t *
group_json(const struct group *g)
{
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "key", g->key, "ghosts",
		(json_int_t)g->ghosts, "destroyed", (json_int_t)g->destroyed, "gone",
		(json_int_t)g->gone, "other", (json_int_t)g->other, "left_alone",
		(json_int_t)g->left_alone, "send_queue", (json_int_t)g->unsent, "latency_max_ns",
		(json_int_t)g->latency_max_ns);
}

static int
json_print(const struct report *report)
{
	json_t *rows = json_array();
	int rc = 0;

	for (const struct group *g = report->groups; g != NULL && rc == 0; g = g->hh.next) {
		if (g->ghosts != 0)
			rc = json_array_append_new(rows, group_json(g));
	}
	rows = json_pack("{s:s, s:o}", "by", report->by, "groups", rows);
	if (rc == 0)
		rc = rows == NULL ? -1
				  : json_dumpf(rows, stdout, JSON_INDENT(1) | JSON_ENSURE_ASCII);
	json_decref(rows);
	putchar('\n');
	return rc;
}

static int
report_make(struct report *report, struct logset *set)
{
	int rc = logset_walk(set, record_add, report);

	if (report->failed)
		log_error("out of memory for the report");
	logset_complain(set);
	if (rc == 0 && !report->failed) {
		groups_sort(report);
		rc = report->json ? json_print(report) : table_print(report);
	}
	return rc < 0 || report->failed || fflush(stdout) != 0 ? 1 : 0;
}

/* ---- options -----------------------------------------------------------------------------------
 */

static bool
option_apply(void *context, int value, const char *arg)
{
	struct report *report = context;

	if (value == 'j') {
		report->json = true;
		return true;
	}
	if (value != 'b')
		return query_option(&report->query, value, arg);
	report->by = arg;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].name, arg) == 0)
			report->key = kinds[i].key;
	}
	return true;
}

static int
report_run(int argc, char **argv)
{
	struct report report = { .by = "process", .key = process_key };
	struct logset set;
	int status, first;

	first = ctl_options_read(&ctl_report_verb, argc, argv, option_apply, &report, &status);
	if (first < 0)
		return status;
	if (logset_open(&set, (const char **)argv + first, (size_t)(argc - first)) < 0)
		return 1;
	report.result = report.query.result;
	report.query.result = NULL;
	report.state = query_begin(&report.query);
	status = report.state == NULL ? 1 : report_make(&report, &set);
	if (report.state != NULL)
		query_end(report.state);
	awaited_clear(&report);
	groups_free(&report);
	logset_close(&set);
	return status;
}

static const struct ctl_option options[] = {
	{ 'b', "by", "WHAT", KINDS, COMPLETE_WORDS, "sum up by " KINDS " (default process)" },
	{ 'j', "json", NULL, NULL, COMPLETE_NOTHING, "as one JSON object" },
	QUERY_OPTIONS,
};

const struct ctl_verb ctl_report_verb = {
	.name = "report",
	.operands = "[FILE...]",
	.summary = "What the audit log says, summed up",
	CTL_OPTIONS(options),
	.complete = COMPLETE_FILE,
	.run = report_run,
};
