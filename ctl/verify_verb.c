/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "logfile.h"
#include "proto/log.h"
#include "verify.h"

enum { EXIT_INTACT = 0, EXIT_ERROR = 1, EXIT_BROKEN = 3, EXIT_OPEN = 4 };

struct asked {
	bool json;
	const char *head;
	bool sealed; /* there is a key */
	uint8_t root[SEAL_KEY_LEN];
};

static bool
hash_given(const char *text)
{
	return strlen(text) == CHAIN_DIGITS && strspn(text, "0123456789abcdef") == CHAIN_DIGITS;
}

/* Never on the command line, which others can read. */
static bool
root_given(struct asked *asked, const char *path)
{
	bool standard = strcmp(path, "-") == 0;
	FILE *in = standard ? stdin : fopen(path, "re");
	char text[4 * SEAL_DIGITS];
	size_t len;

	if (in == NULL) {
		log_error("cannot open %s: %s", path, strerror(errno));
		return false;
	}
	len = fread(text, 1, sizeof(text), in);
	asked->sealed = seal_root_read(text, len, asked->root);
	explicit_bzero(text, sizeof(text));
	if (!standard)
		fclose(in);
	if (!asked->sealed)
		log_error("--seal-key %s: expected a file with the %u hex digits that eghostctl "
			  "seal-key has shown",
			path, SEAL_DIGITS);
	return asked->sealed;
}

static bool
option_apply(void *context, int value, const char *arg)
{
	struct asked *asked = context;

	if (value == 'j') {
		asked->json = true;
		return true;
	}
	if (value == 'k')
		return root_given(asked, arg);
	asked->head = arg;
	if (hash_given(arg))
		return true;
	log_error("--expect-head %s: expected %u lower-case hex digits", arg, CHAIN_DIGITS);
	return false;
}

/* Returns 0, -1 when the file cannot be read. */
static int
file_follow(struct verify *v, const char *path)
{
	enum logfile_event event;
	struct logfile f;
	const char *line;
	size_t len;

	if (logfile_open(&f, path) < 0)
		return -1;
	while ((event = logfile_next(&f, &line, &len)) == LOGFILE_LINE || event == LOGFILE_TORN)
		verify_line(v, line, len, event == LOGFILE_TORN, (struct place){ path, f.line });
	logfile_close(&f);
	return event == LOGFILE_END ? 0 : -1;
}

/* ---- for a reader ------------------------------------------------------------------------------
 */

static void
seal_fault_explain(const struct verify *v)
{
	const struct fault *f = &v->fault;

	switch (f->kind) {
	case FAULT_SEAL:
		printf("seal wrong: the records %" PRIu64 " to %" PRIu64
		       " are not all what was sealed in epoch %" PRIu64 "%s\n",
			f->sequence, f->missing_to, f->epoch,
			v->seals.found ? "" : ", or this is not the log's key");
		break;
	case FAULT_SEALED:
		printf("seal repeated: record %" PRIu64 " has one of epoch %" PRIu64
		       ", which has been before\n",
			f->sequence, f->epoch);
		break;
	case FAULT_CUT:
		printf("cut: before record %" PRIu64 " the seals of the epochs %" PRIu64
		       " to %" PRIu64 " are missing, with the records they were of: cut off by "
		       "somebody, or, unless audit_sync was always, lost when the machine "
		       "stopped\n",
			f->sequence, f->epoch, f->epoch_to);
		break;
	default:
		printf("unsealed: from record %" PRIu64
		       " on there is no seal, and nothing that proves anything\n",
			f->sequence);
		break;
	}
}

static void
chain_fault_explain(const struct verify *v)
{
	const struct fault *f = &v->fault;

	switch (f->kind) {
	case FAULT_EDITED:
		printf("edited: record %" PRIu64
		       ", or the one before it, is not what was written\n",
			f->sequence);
		break;
	case FAULT_MISSING:
		printf("missing: the records %" PRIu64 " to %" PRIu64 " should be here\n",
			f->sequence, f->missing_to);
		break;
	case FAULT_REORDERED:
		printf("reordered: record %" PRIu64 " should be here and is at %s:%" PRIu64 "\n",
			f->sequence, f->moved.file, f->moved.line);
		break;
	case FAULT_REPEATED:
		printf("repeated: record %" PRIu64 " has been before\n", f->sequence);
		break;
	case FAULT_FOREIGN:
		printf("foreign: this is no record that follows record %" PRIu64 "\n", v->last);
		break;
	default:
		printf("the beginning is missing: record %" PRIu64
		       " is no log-open; files before this one?\n",
			f->sequence);
		break;
	}
}

static bool
is_of_seals(enum fault_kind kind)
{
	return kind == FAULT_SEAL || kind == FAULT_SEALED || kind == FAULT_CUT ||
	       kind == FAULT_UNSEALED;
}

static void
fault_explain(const struct verify *v)
{
	const struct fault *f = &v->fault;

	if (f->kind == FAULT_HEAD) {
		printf("broken: none of the records has the hash %s: the log was cut or written "
		       "anew\n",
			v->expect_head);
		return;
	}
	printf("broken: %s:%" PRIu64 ": ", f->place.file, f->place.line);
	if (is_of_seals(f->kind))
		seal_fault_explain(v);
	else
		chain_fault_explain(v);
}

/* What the key has proved, or what is not known without it. */
static void
seals_explain(const struct verify *v)
{
	const struct verify_seals *s = &v->seals;

	if (s->found)
		printf("sealed, epochs %" PRIu64 " to %" PRIu64 ": nobody who got into the host "
		       "later has changed the records %" PRIu64 " to %" PRIu64
		       "; the first seal is in record %" PRIu64 "\n",
			s->first_epoch, s->last_epoch, v->first, s->last_record, s->first_record);
	if (s->found && s->bare != 0 && v->fault.kind == FAULT_NONE)
		printf("behind the last seal are %" PRIu64 " records of a write that was cut off: "
		       "nothing proves them before the next start\n",
			s->bare);
	if (!s->asked && s->count != 0)
		printf("%" PRIu64 " seals, which were not looked at: only with --seal-key it shows "
		       "when somebody has made the log anew\n",
			s->count);
}

static void
whole_explain(const struct verify *v)
{
	if (v->closed)
		printf("intact and closed");
	else if (v->torn != 0)
		printf("intact, but it ends in %zu bytes of a record that was cut off", v->torn);
	else
		printf("intact, but open: it is being written, or its end is missing");
	printf(": records %" PRIu64 " to %" PRIu64 ", head %s\n", v->first, v->last, v->hash);
	if (memcmp(v->before, chain_origin, CHAIN_DIGITS) != 0)
		printf("it goes on from record %" PRIu64 " (%s), which is in none of these files\n",
			v->first - 1, v->before);
	if (v->rotated)
		printf("it was rotated away: the log goes on in another file\n");
	if (v->crashes != 0)
		printf("%" PRIu64 " times the service had not closed the log before: a crash or a "
		       "kill, said by the record after it\n",
			v->crashes);
	if (v->expect_found != 0)
		printf("the expected head is record %" PRIu64 "; %" PRIu64 " have followed it\n",
			v->expect_found, v->last - v->expect_found);
}

static void
explain(const struct verify *v)
{
	if (v->fault.kind != FAULT_NONE)
		fault_explain(v);
	else
		whole_explain(v);
	seals_explain(v);
}

/* ---- for a program -----------------------------------------------------------------------------
 */

static json_t *
place_json(const struct place *place)
{
	if (place->line == 0)
		return json_null();
	return json_pack("{s:s, s:I}", "file", place->file, "line", (json_int_t)place->line);
}

static json_t *
fault_json(const struct fault *f)
{
	json_t *root;

	if (f->kind == FAULT_NONE)
		return json_null();
	root = json_pack("{s:s, s:I, s:I, s:o, s:o}", "kind", fault_name(f->kind), "sequence",
		(json_int_t)f->sequence, "missing_to", (json_int_t)f->missing_to, "place",
		place_json(&f->place), "moved_to", place_json(&f->moved));
	if (is_of_seals(f->kind) && f->kind != FAULT_UNSEALED)
		json_object_update_new(root, json_pack("{s:I, s:I}", "epoch", (json_int_t)f->epoch,
						     "epoch_to", (json_int_t)f->epoch_to));
	return root;
}

static json_t *
seals_json(const struct verify_seals *s, uint64_t first)
{
	json_t *proved = !s->found ? json_null()
				   : json_pack("{s:I, s:I, s:I, s:I, s:I}", "first",
					     (json_int_t)first, "last", (json_int_t)s->last_record,
					     "first_sealed", (json_int_t)s->first_record,
					     "first_epoch", (json_int_t)s->first_epoch,
					     "last_epoch", (json_int_t)s->last_epoch);

	return json_pack("{s:I, s:b, s:o, s:I}", "count", (json_int_t)s->count, "checked", s->asked,
		"proved", proved, "unsealed", (json_int_t)(s->asked ? s->bare : 0));
}

static int
json_print(const struct verify *v, const char *result)
{
	json_t *root = json_pack("{s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:o, s:o}", "result", result,
		"records", (json_int_t)v->records, "first", (json_int_t)v->first, "last",
		(json_int_t)v->last, "head", v->hash, "torn_bytes", (json_int_t)v->torn, "crashes",
		(json_int_t)v->crashes, "seals", seals_json(&v->seals, v->first), "fault",
		fault_json(&v->fault));
	int rc = root == NULL ? -1 : json_dumpf(root, stdout, JSON_INDENT(1) | JSON_ENSURE_ASCII);

	json_decref(root);
	putchar('\n');
	return rc;
}

static int
answer(const struct verify *v, const struct asked *asked)
{
	int status = v->fault.kind != FAULT_NONE ? EXIT_BROKEN
		     : v->closed		 ? EXIT_INTACT
						 : EXIT_OPEN;
	int rc = 0;

	if (asked->json)
		rc = json_print(v, status == EXIT_BROKEN   ? "broken"
				   : status == EXIT_INTACT ? "intact"
							   : "open");
	else
		explain(v);
	return rc < 0 || fflush(stdout) != 0 ? EXIT_ERROR : status;
}

static int
files_verify(const char **paths, size_t count, const struct asked *asked)
{
	struct verify v;

	if (logfile_sort(paths, &count) < 0)
		return EXIT_ERROR;
	verify_begin(&v, asked->head, asked->sealed ? asked->root : NULL);
	for (size_t i = 0; i < count; i++) {
		if (file_follow(&v, paths[i]) < 0)
			return EXIT_ERROR;
	}
	verify_end(&v);
	if (v.records == 0 && v.fault.kind == FAULT_NONE) {
		log_error(
			"there is no record in %s%s", paths[0], count > 1 ? " and the others" : "");
		return EXIT_ERROR;
	}
	return answer(&v, asked);
}

static int
verify_run(int argc, char **argv)
{
	struct asked asked = { 0 };
	int status, first;

	first = ctl_options_read(&ctl_verify_verb, argc, argv, option_apply, &asked, &status);
	if (first < 0)
		return status;
	if (first == argc) {
		log_error("verify: expected one file or more; try --help");
		return 2;
	}
	status = files_verify((const char **)argv + first, (size_t)(argc - first), &asked);
	explicit_bzero(&asked, sizeof(asked));
	return status;
}

static const struct ctl_option options[] = {
	{ 'j', "json", NULL, NULL, COMPLETE_NOTHING, "as one JSON object" },
	{ 'e', "expect-head", "HASH", NULL, COMPLETE_NOTHING,
		"the event.hash of a record noted elsewhere, which must be in the log" },
	{ 'k', "seal-key", "FILE", NULL, COMPLETE_FILE,
		"check the seals, too, by the key that seal-key has shown (- is standard input)" },
};

const struct ctl_verb ctl_verify_verb = {
	.name = "verify",
	.operands = "FILE...",
	.summary = "Whether audit log files are whole and unchanged",
	CTL_OPTIONS(options),
	.complete = COMPLETE_FILE,
	.exit_status =
		"0 intact and closed, 1 failed, 2 usage, 3 broken, 4 intact but open (live, or "
		"the end is missing)",
	.run = verify_run,
};
