/* SPDX-License-Identifier: Apache-2.0 */
#include "show.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/log.h"

static bool colors;

enum show_format
show_format_of(const char *name)
{
	static const char *const names[] = { "short", "full", "json", "csv" };
	unsigned i = 0;

	while (i + 1 < sizeof(names) / sizeof(names[0]) && strcmp(names[i], name) != 0)
		i++;
	return (enum show_format)i;
}

void
show_color(const char *when, FILE *out)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
	bool plain = (none != NULL && *none != '\0') || term == NULL || strcmp(term, "dumb") == 0;

	colors = strcmp(when, "always") == 0;
	if (strcmp(when, "auto") == 0)
		colors = !plain && isatty(fileno(out)) == 1;
}

const char *
show_tint(enum show_tint tint)
{
	static const char *const codes[] = { [TINT_NONE] = "\033[0m",
		[TINT_GOOD] = "\033[32m",
		[TINT_BAD] = "\033[31m",
		[TINT_WARN] = "\033[33m",
		[TINT_DIM] = "\033[2m",
		[TINT_BOLD] = "\033[1m" };

	return colors ? codes[tint] : "";
}

/* ---- parts of a line ---------------------------------------------------------------------------
 */

static const char *
scaled_find(double *value, double step, const char *const *names, unsigned count)
{
	unsigned i = 0;

	for (; *value >= step && i + 1 < count; i++)
		*value /= step;
	return names[i];
}

void
show_bytes(uint64_t bytes, char *out, size_t size)
{
	static const char *const names[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes;
	const char *name = scaled_find(&value, 1024, names, 5);

	snprintf(out, size, bytes < 1024 ? "%.0f %s" : "%.1f %s", value, name);
}

void
show_duration(uint64_t ns, char *out, size_t size)
{
	static const char *const names[] = { "ns", "us", "ms", "s" };
	double value = (double)ns;
	const char *name = scaled_find(&value, 1000, names, 4);

	snprintf(out, size, value < 10 && ns >= 1000 ? "%.1f %s" : "%.0f %s", value, name);
}

const char *
show_text(const struct record *r, const char *name, const char *missing)
{
	static char buffers[16][1024];
	static unsigned next;
	const json_t *member = json_object_get(r->root, name);
	char *out = buffers[next++ % 16];

	if (!json_is_string(member))
		return missing;
	text_escape(json_string_value(member), json_string_length(member), out, sizeof(buffers[0]));
	return out;
}

static void
cause_print(const struct record *r, char *out, size_t size)
{
	const char *class = show_text(r, "eghostbuster.exit.class", "?");
	uint64_t number;

	if (record_number(r, "eghostbuster.exit.signal", &number)) {
		const char *name = number < 65 ? sigabbrev_np((int)number) : NULL;

		snprintf(out, size, "%s%s, %s", name != NULL ? "SIG" : "signal",
			name != NULL ? name : "", class);
	} else if (record_number(r, "process.exit_code", &number)) {
		snprintf(out, size, "exit status %" PRIu64 ", %s", number, class);
	} else {
		snprintf(out, size, "%s", class);
	}
}

void
show_owner(const struct record *r, char *out, size_t size)
{
	const char *unit = record_text(r, "eghostbuster.unit");
	char cause[64];
	uint64_t pid;

	if (!record_number(r, "process.pid", &pid)) {
		snprintf(out, size, "unknown process");
		return;
	}
	cause_print(r, cause, sizeof(cause));
	snprintf(out, size, "%s[%" PRIu64 "]%s%s (%s)", show_text(r, "process.name", "?"), pid,
		unit != NULL ? " of " : "",
		unit != NULL ? show_text(r, "eghostbuster.unit", "") : "", cause);
}

static void
endpoint_print(const struct record *r, const char *ip, const char *port, char *out, size_t size)
{
	const char *address = show_text(r, ip, "?");
	bool v6 = strchr(address, ':') != NULL;

	snprintf(out, size, "%s%s%s:%" PRIu64, v6 ? "[" : "", address, v6 ? "]" : "",
		record_count(r, port));
}

void
show_addresses(const struct record *r, char *out, size_t size)
{
	char local[80], remote[80];

	endpoint_print(r, "source.ip", "source.port", local, sizeof(local));
	endpoint_print(r, "destination.ip", "destination.port", remote, sizeof(remote));
	snprintf(out, size, "%s -> %s", local, remote);
}

/* ---- short -------------------------------------------------------------------------------------
 */

static void
verdict_print(FILE *out, const struct record *r)
{
	const char *verdict = show_text(r, "eghostbuster.verdict", "?");

	fprintf(out, "%s%s%s (%s%s%s)",
		show_tint(strcmp(verdict, "destroy") == 0 ? TINT_BOLD : TINT_WARN), verdict,
		show_tint(TINT_NONE), show_text(r, "event.reason", "?"),
		record_text(r, "rule.name") != NULL ? ", rule " : ", no rule",
		show_text(r, "rule.name", ""));
}

/* Whoever is over its budget of records has one for many ghosts. */
static void
batch_decide_short(FILE *out, const struct record *r)
{
	fprintf(out, "batch %" PRIu64 ", %" PRIu64 " ghosts of %s%s%s%s: ",
		record_count(r, "eghostbuster.batch.id"), record_ghosts(r),
		record_text(r, "user.id") != NULL ? "uid " : "",
		show_text(r, "user.id", "several users"),
		record_text(r, "eghostbuster.unit") != NULL ? " in " : "",
		show_text(r, "eghostbuster.unit", ""));
	verdict_print(out, r);
}

static void
decide_short(FILE *out, const struct record *r)
{
	char owner[1400], addresses[200], bytes[32];

	if ((record_subject(r) & RECORD_BATCH_BIT) != 0) {
		batch_decide_short(out, r);
		return;
	}
	show_owner(r, owner, sizeof(owner));
	show_addresses(r, addresses, sizeof(addresses));
	show_bytes(record_count(r, "eghostbuster.socket.send_queue"), bytes, sizeof(bytes));
	fprintf(out, "ghost %" PRIu64 " of %s: %s %s, %s unsent; ",
		record_count(r, "eghostbuster.ghost"), owner, addresses,
		show_text(r, "eghostbuster.socket.state", "?"), bytes);
	verdict_print(out, r);
}

static enum show_tint
result_tint(const char *result)
{
	if (strcmp(result, "destroyed") == 0)
		return TINT_GOOD;
	return strcmp(result, "failed") == 0 ? TINT_BAD : TINT_WARN;
}

static void
batch_destroy_short(FILE *out, const struct record *r)
{
	const json_t *results = json_object_get(r->root, "eghostbuster.batch.results");

	fprintf(out, "batch %" PRIu64 ":", record_count(r, "eghostbuster.batch.id"));
	for (size_t i = 0; i < json_array_size(results); i++) {
		struct record one = { .root = json_array_get(results, i) };
		const char *result = show_text(&one, "result", "?");

		fprintf(out, "%s %" PRIu64 " %s%s%s", i == 0 ? "" : ",",
			record_count(&one, "count"), show_tint(result_tint(result)), result,
			show_tint(TINT_NONE));
	}
	if (record_count(r, "eghostbuster.batch.left") != 0)
		fprintf(out, ", %" PRIu64 " to come", record_count(r, "eghostbuster.batch.left"));
}

static void
destroy_short(FILE *out, const struct record *r)
{
	const char *result = show_text(r, "eghostbuster.result", "?");
	char latency[32];

	if ((record_subject(r) & RECORD_BATCH_BIT) != 0) {
		batch_destroy_short(out, r);
		return;
	}
	fprintf(out, "ghost %" PRIu64 ": %s%s%s", record_count(r, "eghostbuster.ghost"),
		show_tint(result_tint(result)), result, show_tint(TINT_NONE));
	if (record_text(r, "eghostbuster.peer_notice") != NULL) {
		show_duration(record_count(r, "eghostbuster.latency_ns"), latency, sizeof(latency));
		fprintf(out, " in %s, peer notice %s", latency,
			show_text(r, "eghostbuster.peer_notice", ""));
	}
	if (record_text(r, "error.code") != NULL)
		fprintf(out, ": %s", show_text(r, "error.code", ""));
}

static void
exit_short(FILE *out, const struct record *r)
{
	char owner[1400];

	show_owner(r, owner, sizeof(owner));
	fprintf(out, "%s, uid %s", owner, show_text(r, "user.id", "?"));
}

static void
start_short(FILE *out, const struct record *r)
{
	fprintf(out, "eghostbuster %s, %s, on Linux %s", show_text(r, "agent.version", "?"),
		show_text(r, "eghostbuster.mode", "?"), show_text(r, "host.os.kernel", "?"));
}

static void
stop_short(FILE *out, const struct record *r)
{
	fprintf(out,
		"%s; %" PRIu64 " ghosts, %" PRIu64 " destroyed, %" PRIu64 " reported, %" PRIu64
		" gone by themselves",
		show_text(r, "event.reason", "?"), record_count(r, "eghostbuster.count.ghosts"),
		record_count(r, "eghostbuster.count.destroyed"),
		record_count(r, "eghostbuster.count.reported"),
		record_count(r, "eghostbuster.count.expired"));
}

static void
lost_short(FILE *out, const struct record *r)
{
	fprintf(out,
		"%sevents without room since the start: %" PRIu64 " orphans, %" PRIu64
		" exits, %" PRIu64 " stamps%s",
		show_tint(TINT_WARN), record_count(r, "eghostbuster.lost.orphans"),
		record_count(r, "eghostbuster.lost.exits"),
		record_count(r, "eghostbuster.lost.stamps"), show_tint(TINT_NONE));
}

static void
reconcile_short(FILE *out, const struct record *r)
{
	fprintf(out, "%s (%s): %" PRIu64 " orphans found, %" PRIu64 " of them unknown before",
		show_text(r, "event.outcome", "?"), show_text(r, "event.reason", "?"),
		record_count(r, "eghostbuster.reconcile.found"),
		record_count(r, "eghostbuster.reconcile.adopted"));
}

static void
breaker_short(FILE *out, const struct record *r)
{
	fprintf(out, "%s%s%s for %s", show_tint(TINT_WARN),
		show_text(r, "eghostbuster.breaker", "?"), show_tint(TINT_NONE),
		show_text(r, "eghostbuster.unit", "?"));
}

static void
reload_short(FILE *out, const struct record *r)
{
	fprintf(out, "%s%s%s", show_text(r, "event.outcome", "?"),
		record_text(r, "error.message") != NULL ? ": " : "",
		show_text(r, "error.message", ""));
}

static void
log_short(FILE *out, const struct record *r)
{
	fprintf(out, "%s%s", show_text(r, "event.reason", "?"),
		json_is_true(json_object_get(r->root, "eghostbuster.log.unclean"))
			? ", what was before was not closed"
			: "");
}

static const struct {
	const char *action;
	void (*print)(FILE *out, const struct record *r);
} shorts[] = {
	{ "decide", decide_short },
	{ "destroy", destroy_short },
	{ "exit", exit_short },
	{ "start", start_short },
	{ "stop", stop_short },
	{ "lost", lost_short },
	{ "reconcile", reconcile_short },
	{ "breaker", breaker_short },
	{ "config-reload", reload_short },
	{ "log-open", log_short },
	{ "log-close", log_short },
};

static void
short_print(FILE *out, const struct record *r)
{
	char when[48];

	when_print(r->when, when, sizeof(when));
	fprintf(out, "%s%s%s %-9s ", show_tint(TINT_DIM), when, show_tint(TINT_NONE),
		show_text(r, "event.action", "?"));
	for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
		if (record_is(r, shorts[i].action))
			shorts[i].print(out, r);
	}
	putc('\n', out);
}

/* ---- full --------------------------------------------------------------------------------------
 */

static void
member_print(FILE *out, const char *name, const json_t *value)
{
	char safe[1100], *text;

	if (json_is_string(value)) {
		text_escape(
			json_string_value(value), json_string_length(value), safe, sizeof(safe));
		fprintf(out, "  %-32s %s\n", name, safe);
		return;
	}
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	fprintf(out, "  %-32s %s\n", name, text != NULL ? text : "?");
	free(text);
}

static void
full_print(FILE *out, const struct record *r)
{
	const char *key;
	json_t *value;
	char safe[256];

	short_print(out, r);
	json_object_foreach(r->root, key, value)
	{
		text_escape(key, strlen(key), safe, sizeof(safe));
		member_print(out, safe, value);
	}
	putc('\n', out);
}

/* ---- csv ---------------------------------------------------------------------------------------
 */

static const char *const columns[] = { "@timestamp", "event.sequence", "event.action",
	"event.outcome", "event.reason", "eghostbuster.ghost", "eghostbuster.verdict", "rule.name",
	"eghostbuster.result", "eghostbuster.peer_notice", "process.pid", "process.name", "user.id",
	"eghostbuster.unit", "eghostbuster.exit.class", "source.ip", "source.port",
	"destination.ip", "destination.port", "eghostbuster.socket.cookie",
	"eghostbuster.socket.state", "eghostbuster.socket.send_queue", "eghostbuster.latency_ns",
	"error.code", "eghostbuster.batch.id", "eghostbuster.batch.ghosts_count" };
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* RFC 4180; a text that a spreadsheet would take for a formula gets an apostrophe in front. */
static void
cell_print(FILE *out, const json_t *value)
{
	const char *text = json_string_value(value);
	char safe[1100];

	if (json_is_integer(value)) {
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		return;
	}
	if (text == NULL)
		return;
	text_escape(text, json_string_length(value), safe, sizeof(safe));
	putc('"', out);
	if (strchr("=+-@", safe[0]) != NULL && safe[0] != '\0')
		putc('\'', out);
	for (const char *c = safe; *c != '\0'; c++) {
		if (*c == '"')
			putc('"', out);
		putc(*c, out);
	}
	putc('"', out);
}

static void
csv_print(FILE *out, const struct record *r)
{
	for (size_t i = 0; i < COLUMNS; i++) {
		if (i != 0)
			putc(',', out);
		cell_print(out, json_object_get(r->root, columns[i]));
	}
	fputs("\r\n", out);
}

/* As it is in the log; where that is not plain ASCII, the same in ASCII. */
static void
json_line(FILE *out, const struct record *r)
{
	char *text;

	for (size_t i = 0; i < r->len; i++) {
		if (r->text[i] >= 0x20 && r->text[i] < 0x7f)
			continue;
		text = json_dumps(r->root, JSON_COMPACT | JSON_ENSURE_ASCII);
		fputs(text != NULL ? text : "{}", out);
		free(text);
		putc('\n', out);
		return;
	}
	fwrite(r->text, 1, r->len, out);
	putc('\n', out);
}

void
show_begin(FILE *out, enum show_format format)
{
	for (size_t i = 0; format == SHOW_CSV && i < COLUMNS; i++)
		fprintf(out, "%s%s", columns[i], i + 1 < COLUMNS ? "," : "\r\n");
}

void
show_record(FILE *out, enum show_format format, const struct record *r)
{
	switch (format) {
	case SHOW_SHORT:
		short_print(out, r);
		break;
	case SHOW_FULL:
		full_print(out, r);
		break;
	case SHOW_JSON:
		json_line(out, r);
		break;
	case SHOW_CSV:
		csv_print(out, r);
		break;
	}
}
