/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "logset.h"
#include "proto/log.h"
#include "query.h"
#include "show.h"

struct asked {
	struct query query;
	enum show_format format;
	const char *color;
	bool reverse, follow;
	bool limited; /* -n */
	size_t limit;
	/* while it runs */
	struct query_state *state;
	char **kept; /* lines, when they cannot be shown as they come */
	size_t *kept_len;
	size_t kept_count, kept_size, kept_next;
};

/* ---- options -----------------------------------------------------------------------------------
 */

static bool
limit_option(struct asked *asked, const char *arg)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(arg, &end, 10);
	if (errno != 0 || end == arg || *end != '\0' || *arg == '-' || n > 10000000) {
		log_error("--lines %s: expected a number, 0 to 10000000", arg);
		return false;
	}
	asked->limited = true;
	asked->limit = (size_t)n;
	return true;
}

static bool
option_apply(void *context, int value, const char *arg)
{
	struct asked *asked = context;

	switch (value) {
	case 'o':
		asked->format = show_format_of(arg);
		return true;
	case 'j':
		asked->format = SHOW_JSON;
		return true;
	case 'n':
		return limit_option(asked, arg);
	case 'r':
		asked->reverse = true;
		return true;
	case 'f':
		asked->follow = true;
		return true;
	case 'c':
		asked->color = arg;
		return true;
	default:
		return query_option(&asked->query, value, arg);
	}
}

/* ---- the last n, or backwards ------------------------------------------------------------------
 */

static bool
grow(struct asked *asked)
{
	size_t size = asked->kept_size == 0 ? 1024 : 2 * asked->kept_size;
	char **lines = reallocarray(asked->kept, size, sizeof(*lines));
	size_t *lens;

	if (lines == NULL)
		return false;
	asked->kept = lines;
	lens = reallocarray(asked->kept_len, size, sizeof(*lens));
	if (lens == NULL)
		return false;
	asked->kept_len = lens;
	asked->kept_size = size;
	return true;
}

/* With a limit the place of the oldest is used again. */
static bool
keep(struct asked *asked, const struct record *r)
{
	size_t i = asked->kept_count;
	char *line = malloc(r->len + 1);

	if (asked->limited && asked->limit == 0) {
		free(line);
		return true;
	}
	if (asked->limited && i == asked->limit) {
		i = asked->kept_next;
		asked->kept_next = (i + 1) % asked->limit;
		free(asked->kept[i]);
	} else if (line != NULL && (i < asked->kept_size || grow(asked))) {
		asked->kept_count++;
	} else {
		log_error("out of memory for the records");
		free(line);
		return false;
	}
	if (line != NULL)
		memcpy(line, r->text, r->len);
	asked->kept[i] = line;
	asked->kept_len[i] = line != NULL ? r->len : 0;
	return line != NULL;
}

static void
kept_show(const struct asked *asked)
{
	for (size_t n = 0; n < asked->kept_count; n++) {
		size_t turn = asked->reverse ? asked->kept_count - 1 - n : n;
		size_t i = (asked->kept_next + turn) % asked->kept_count;
		struct record r;

		if (!record_parse(&r, asked->kept[i], asked->kept_len[i]))
			continue;
		show_record(stdout, asked->format, &r);
		record_free(&r);
	}
}

/* ---- the log -----------------------------------------------------------------------------------
 */

static bool
record_show(void *context, struct record *r)
{
	struct asked *asked = context;

	if (query_take(asked->state, r))
		show_record(stdout, asked->format, r);
	return ferror(stdout) == 0;
}

static bool
record_keep(void *context, struct record *r)
{
	struct asked *asked = context;

	return !query_take(asked->state, r) || keep(asked, r);
}

static void
output_flush(void)
{
	fflush(stdout);
}

static int
log_show(struct asked *asked, struct logset *set)
{
	bool later = asked->reverse || asked->limited;
	int rc = logset_walk(set, later ? record_keep : record_show, asked);

	if (later)
		kept_show(asked);
	logset_complain(set);
	if (rc == 0 && asked->follow)
		rc = logset_follow(set, record_show, output_flush, asked);
	for (size_t i = 0; i < asked->kept_count; i++)
		free(asked->kept[i]);
	free(asked->kept);
	free(asked->kept_len);
	return rc < 0 || fflush(stdout) != 0 ? 1 : 0;
}

static int
log_run(int argc, char **argv)
{
	struct asked asked = { .color = "auto" };
	struct logset set;
	int status = 2, first;

	first = ctl_options_read(&ctl_log_verb, argc, argv, option_apply, &asked, &status);
	if (first < 0)
		return status;
	if (asked.follow && asked.reverse) {
		log_error("log: --follow and --reverse do not go together");
		return 2;
	}
	show_color(asked.color, stdout);
	if (logset_open(&set, (const char **)argv + first, (size_t)(argc - first)) < 0)
		return 1;
	asked.state = query_begin(&asked.query);
	show_begin(stdout, asked.format);
	status = asked.state == NULL ? 1 : log_show(&asked, &set);
	if (asked.state != NULL)
		query_end(asked.state);
	logset_close(&set);
	return status;
}

static const struct ctl_option options[] = {
	{ 'o', "output", "FORMAT", SHOW_FORMATS, COMPLETE_WORDS,
		"short (a line each), full (all members), json (as in the log), csv" },
	{ 'j', "json", NULL, NULL, COMPLETE_NOTHING, "the same as --output json" },
	{ 'n', "lines", "N", NULL, COMPLETE_NOTHING, "the last N only" },
	{ 'r', "reverse", NULL, NULL, COMPLETE_NOTHING, "the newest first" },
	{ 'f', "follow", NULL, NULL, COMPLETE_NOTHING,
		"go on with what is written, over rotations" },
	{ 'c', "color", "WHEN", SHOW_COLORS, COMPLETE_WORDS,
		"auto: on a terminal, unless NO_COLOR is set" },
	QUERY_ACTION_OPTION,
	QUERY_OPTIONS,
};

const struct ctl_verb ctl_log_verb = {
	.name = "log",
	.operands = "[FILE...]",
	.summary = "The records of the audit log (default: the installed one and what was rotated)",
	CTL_OPTIONS(options),
	.complete = COMPLETE_FILE,
	.run = log_run,
};
