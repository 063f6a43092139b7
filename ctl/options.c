/* SPDX-License-Identifier: Apache-2.0 */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "proto/log.h"

#define OPTIONS_MAX 32
#define HELP_VALUE  'h'

static void
option_help_print(const struct ctl_option *o)
{
	char left[64], dash[8] = "    ";

	if (o->value < 256)
		snprintf(dash, sizeof(dash), "-%c, ", o->value);
	snprintf(left, sizeof(left), "%s--%s%s%s", dash, o->name, o->arg != NULL ? " " : "",
		o->arg != NULL ? o->arg : "");
	printf("  %-26s %s\n", left, o->help);
}

static void
verb_help_print(const struct ctl_verb *verb)
{
	static const struct ctl_option help = {
		.value = HELP_VALUE, .name = "help", .help = "print this and exit"
	};

	printf("usage: eghostctl %s [options]%s%s\n%s.\n", verb->name,
		verb->operands != NULL ? " " : "", verb->operands != NULL ? verb->operands : "",
		verb->summary);
	for (size_t i = 0; i < verb->option_count; i++)
		option_help_print(&verb->options[i]);
	option_help_print(&help);
	printf("Exit status: %s.\n",
		verb->exit_status != NULL ? verb->exit_status : "0 done, 1 failed, 2 usage");
}

static void
tables_fill(const struct ctl_verb *verb, struct option *longs, char *shorts)
{
	size_t n = 0;

	for (size_t i = 0; i < verb->option_count; i++) {
		const struct ctl_option *o = &verb->options[i];

		longs[n++] = (struct option){
			.name = o->name, .has_arg = o->arg != NULL, .val = o->value
		};
		if (o->value >= 256)
			continue;
		*shorts++ = (char)o->value;
		if (o->arg != NULL)
			*shorts++ = ':';
	}
	longs[n++] = (struct option){ .name = "help", .val = HELP_VALUE };
	longs[n] = (struct option){ 0 };
	*shorts++ = HELP_VALUE;
	*shorts = '\0';
}

static bool
words_have(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (; words != NULL; words = strchr(words, ' ')) {
		words += *words == ' ';
		if (strcspn(words, " ") == len && memcmp(words, word, len) == 0)
			return true;
	}
	return false;
}

/* An argument that is one of some words is one of them: what was mistyped would find nothing. */
static bool
word_taken(const struct ctl_verb *verb, int value, const char *arg)
{
	for (size_t i = 0; i < verb->option_count; i++) {
		const struct ctl_option *o = &verb->options[i];

		if (o->value != value || o->words == NULL || words_have(o->words, arg))
			continue;
		log_error("--%s %s: expected one of %s", o->name, arg, o->words);
		return false;
	}
	return true;
}

int
ctl_options_read(const struct ctl_verb *verb, int argc, char **argv,
	bool (*apply)(void *context, int value, const char *arg), void *context, int *status)
{
	struct option longs[OPTIONS_MAX + 2];
	char shorts[2 * OPTIONS_MAX + 2];
	static char name[64]; /* as getopt_long() begins its complaints */
	int value;

	snprintf(name, sizeof(name), "eghostctl %s", verb->name);
	argv[0] = name;
	tables_fill(verb, longs, shorts);
	*status = 2;
	while ((value = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (value == '?')
			return -1; /* getopt_long() has said why */
		if (value == HELP_VALUE) {
			verb_help_print(verb);
			*status = fflush(stdout) == 0 ? 0 : 1;
			return -1;
		}
		if (!word_taken(verb, value, optarg) || !apply(context, value, optarg))
			return -1;
	}
	if (optind < argc && verb->operands == NULL) {
		log_error("%s: unexpected argument '%s'; try --help", verb->name, argv[optind]);
		return -1;
	}
	return optind;
}
