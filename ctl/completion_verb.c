/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "launcher/entries.h"
#include "proto/log.h"

/* Completions for three shells, made from the tables that the parsers and --help are made from. */

/* ---- bash --------------------------------------------------------------------------------------
 */

static void
bash_option_case(const char *name, int value, const char *words, bool file)
{
	printf("\t\t--%s", name);
	if (value < 256)
		printf("|-%c", value);
	if (words != NULL)
		printf(") COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", words);
	else if (file)
		printf(") COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n");
	else
		printf(") return ;;\n");
}

static void
bash_verb(const struct ctl_verb *verb)
{
	printf("\t%s)\n\t\tcase $prev in\n", verb->name);
	for (size_t i = 0; i < verb->option_count; i++) {
		const struct ctl_option *o = &verb->options[i];

		if (o->arg != NULL)
			bash_option_case(o->name, o->value, o->words, o->complete == COMPLETE_FILE);
	}
	printf("\t\tesac\n");
	if (verb->complete == COMPLETE_FILE)
		printf("\t\tcase $cur in -*) ;; *) COMPREPLY=($(compgen -f -- \"$cur\")); return "
		       ";; esac\n");
	printf("\t\tCOMPREPLY=($(compgen -W '%s",
		verb->complete == COMPLETE_WORDS ? verb->operands : "");
	for (size_t i = 0; i < verb->option_count; i++)
		printf(" --%s", verb->options[i].name);
	printf(" --help' -- \"$cur\")) ;;\n");
}

static void
bash_print(void)
{
	printf("_eghostctl()\n{\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	       "\tCOMPREPLY=()\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W '");
	for (size_t i = 0; i < ctl_verb_count; i++)
		printf("%s ", ctl_verbs[i]->name);
	printf("--help --version' -- \"$cur\"))\n\t\treturn\n\tfi\n\tcase ${COMP_WORDS[1]} in\n");
	for (size_t i = 0; i < ctl_verb_count; i++)
		bash_verb(ctl_verbs[i]);
	printf("\tesac\n}\ncomplete -o filenames -F _eghostctl eghostctl\n\n");

	printf("_eghostbuster()\n{\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	       "\tCOMPREPLY=()\n\t\tcase $prev in\n");
	for (size_t i = 0; i < ENTRIES; i++) {
		if (entries[i].arg != NULL)
			bash_option_case(entries[i].name, entries[i].value, NULL,
				strcmp(entries[i].arg, "N") != 0);
	}
	printf("\t\tesac\n\tCOMPREPLY=($(compgen -W '");
	for (size_t i = 0; i < ENTRIES; i++)
		printf("--%s ", entries[i].name);
	printf("' -- \"$cur\"))\n}\ncomplete -o filenames -F _eghostbuster eghostbuster\n");
}

/* ---- zsh ---------------------------------------------------------------------------------------
 */

/* In single quotes, where [ ] : have a meaning of their own. */
static void
zsh_text(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			fputs("'\\''", stdout);
		else if (strchr("[]:\\", *text) != NULL)
			printf("\\%c", *text);
		else
			putchar(*text);
	}
}

static void
zsh_option(const char *name, int value, const char *arg, const char *words, bool file,
	const char *help)
{
	char letter[8] = "";

	if (value < 256)
		snprintf(letter, sizeof(letter), "-%c", value);
	for (int i = 0; i < 2; i++) {
		const char *spelled = i == 0 ? name : letter;

		if (*spelled == '\0')
			continue;
		printf(" \\\n\t\t'%s%s[", i == 0 ? "--" : "", spelled);
		zsh_text(help);
		putchar(']');
		if (arg != NULL)
			printf(":%s:%s%s%s", arg,
				words != NULL ? "("
				: file	      ? "_files"
					      : " ",
				words != NULL ? words : "", words != NULL ? ")" : "");
		putchar('\'');
	}
}

static void
zsh_verb(const struct ctl_verb *verb)
{
	printf("\t%s) _arguments", verb->name);
	for (size_t i = 0; i < verb->option_count; i++) {
		const struct ctl_option *o = &verb->options[i];

		zsh_option(
			o->name, o->value, o->arg, o->words, o->complete == COMPLETE_FILE, o->help);
	}
	zsh_option("help", 'h', NULL, NULL, false, "print this and exit");
	if (verb->complete == COMPLETE_FILE)
		printf(" \\\n\t\t'*:file:_files'");
	else if (verb->complete == COMPLETE_WORDS)
		printf(" \\\n\t\t'*:what:(%s)'", verb->operands);
	printf(" ;;\n");
}

static void
zsh_print(void)
{
	printf("#compdef eghostctl eghostbuster\n"
	       "if [[ $service = eghostbuster ]]; then\n\t_arguments");
	for (size_t i = 0; i < ENTRIES; i++)
		zsh_option(entries[i].name, entries[i].value, entries[i].arg, NULL,
			entries[i].arg != NULL && strcmp(entries[i].arg, "N") != 0,
			entries[i].help);
	printf("\n\treturn\nfi\n"
	       "if (( CURRENT == 2 )); then\n\tlocal -a verbs=(\n");
	for (size_t i = 0; i < ctl_verb_count; i++) {
		printf("\t\t'%s:", ctl_verbs[i]->name);
		zsh_text(ctl_verbs[i]->summary);
		printf("'\n");
	}
	printf("\t)\n\t_describe verb verbs\n\treturn\nfi\n"
	       "local verb=$words[2]\nshift words\n(( CURRENT-- ))\ncase $verb in\n");
	for (size_t i = 0; i < ctl_verb_count; i++)
		zsh_verb(ctl_verbs[i]);
	printf("esac\n");
}

/* ---- fish --------------------------------------------------------------------------------------
 */

static void
fish_text(const char *text)
{
	putchar('\'');
	for (; *text != '\0'; text++) {
		if (*text == '\'' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('\'');
}

static void
fish_option(const char *program, const char *condition, const char *name, int value,
	const char *arg, const char *words, bool file, const char *help)
{
	printf("complete -c %s", program);
	if (condition != NULL)
		printf(" -n '__fish_seen_subcommand_from %s'", condition);
	printf(" -l %s", name);
	if (value < 256)
		printf(" -s %c", value);
	if (arg != NULL)
		printf(file ? " -rF" : " -x");
	if (words != NULL)
		printf(" -a '%s'", words);
	printf(" -d ");
	fish_text(help);
	putchar('\n');
}

static void
fish_verb(const struct ctl_verb *verb)
{
	printf("complete -c eghostctl -n __fish_use_subcommand -a %s -d ", verb->name);
	fish_text(verb->summary);
	putchar('\n');
	for (size_t i = 0; i < verb->option_count; i++) {
		const struct ctl_option *o = &verb->options[i];

		fish_option("eghostctl", verb->name, o->name, o->value, o->arg, o->words,
			o->complete == COMPLETE_FILE, o->help);
	}
	fish_option("eghostctl", verb->name, "help", 'h', NULL, NULL, false, "print this and exit");
	if (verb->complete == COMPLETE_FILE)
		printf("complete -c eghostctl -n '__fish_seen_subcommand_from %s' -F\n",
			verb->name);
	else if (verb->complete == COMPLETE_WORDS)
		printf("complete -c eghostctl -n '__fish_seen_subcommand_from %s' -a '%s'\n",
			verb->name, verb->operands);
}

static void
fish_print(void)
{
	printf("complete -c eghostctl -f\n");
	for (size_t i = 0; i < ctl_verb_count; i++)
		fish_verb(ctl_verbs[i]);
	printf("complete -c eghostbuster -f\n");
	for (size_t i = 0; i < ENTRIES; i++)
		fish_option("eghostbuster", NULL, entries[i].name, entries[i].value, entries[i].arg,
			NULL, entries[i].arg != NULL && strcmp(entries[i].arg, "N") != 0,
			entries[i].help);
}

/* ------------------------------------------------------------------------------------------------
 */

#define SHELLS "bash zsh fish"

static const struct {
	const char *name;
	void (*print)(void);
} shells[] = { { "bash", bash_print }, { "zsh", zsh_print }, { "fish", fish_print } };

static bool
option_apply(void *context, int value, const char *arg)
{
	(void)context;
	(void)value;
	(void)arg;
	return false; /* it has none */
}

static int
completion_run(int argc, char **argv)
{
	int status;
	int first = ctl_options_read(&ctl_completion_verb, argc, argv, option_apply, NULL, &status);

	if (first < 0)
		return status;
	for (size_t i = 0; first + 1 == argc && i < sizeof(shells) / sizeof(shells[0]); i++) {
		if (strcmp(shells[i].name, argv[first]) == 0) {
			shells[i].print();
			return fflush(stdout) == 0 ? 0 : 1;
		}
	}
	log_error("completion: expected one of " SHELLS);
	return 2;
}

const struct ctl_verb ctl_completion_verb = {
	.name = "completion",
	.operands = SHELLS,
	.summary = "Completions of both programs' options for a shell",
	.complete = COMPLETE_WORDS,
	.run = completion_run,
};
