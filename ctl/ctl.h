/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * eghostctl's verbs as data: one table each for the parser, --help and the shell completions, so
 * that the three cannot differ.
 */

/* What a shell should offer for an option's argument. */
enum ctl_complete { COMPLETE_NOTHING, COMPLETE_FILE, COMPLETE_WORDS };

struct ctl_option {
	int value;	   /* what apply() is told; below 256 also the short letter */
	const char *name;  /* long name */
	const char *arg;   /* its argument's name in --help, NULL: it takes none */
	const char *words; /* COMPLETE_WORDS: what it may be, one space between; nothing else is
			      taken */
	enum ctl_complete complete;
	const char *help;
};

struct ctl_verb {
	const char *name;
	const char *operands; /* "FILE...", NULL: it takes none */
	const char *summary;
	const struct ctl_option *options;
	size_t option_count;
	enum ctl_complete complete; /* of its operands */
	const char *exit_status;    /* a line for --help, NULL: 0 done, 1 failed, 2 usage */
	/* argv[0] is the verb. Returns the exit status. */
	int (*run)(int argc, char **argv);
};

#define CTL_OPTIONS(table) .options = (table), .option_count = sizeof(table) / sizeof((table)[0])

/*
 * Reads a verb's options; apply() gets each with its argument, and returns false, having said why,
 * when it makes no sense. Returns the index of the first operand. Otherwise, and for operands of a
 * verb that takes none, -1 with *status the exit status: 2 after a line on standard error, 0 after
 * --help.
 */
int ctl_options_read(const struct ctl_verb *verb, int argc, char **argv,
	bool (*apply)(void *context, int value, const char *arg), void *context, int *status);

/* All verbs, in the order of --help. */
extern const struct ctl_verb *const ctl_verbs[];
extern const size_t ctl_verb_count;

extern const struct ctl_verb ctl_scan_verb, ctl_status_verb, ctl_metrics_verb, ctl_log_verb,
	ctl_report_verb, ctl_explain_verb, ctl_verify_verb, ctl_seal_key_verb, ctl_completion_verb;

#endif
