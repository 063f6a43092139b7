/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/build_id.h"
#include "proto/fds.h"
#include "proto/log.h"

#ifndef EGB_LIBEXECDIR
#define EGB_LIBEXECDIR "/usr/libexec/eghostbuster"
#endif
#ifndef EGB_SBINDIR
#define EGB_SBINDIR "/usr/sbin"
#endif

enum {
	OPT_CHECK = 256,
	OPT_AUDIT_LOG,
	OPT_CONTROL,
	OPT_LIBEXEC,
	OPT_CEILING,
	OPT_TIME_WAIT,
	OPT_RING
};

/* One table for the parser and for --help. */
static const struct entry {
	const char *name;
	const char *arg;
	const char *help;
	int value;
} entries[] = {
	{ "config", "FILE", "policy file (default " DEFAULT_CONFIG ", else the built-in policy)",
		'c' },
	{ "observe", NULL, "decide and record, touch nothing", 'n' },
	{ "check-config", NULL, "check the policy, print it in full and exit", OPT_CHECK },
	{ "audit-log", "FILE", "audit log (default: as configured, " DEFAULT_AUDIT_LOG ")",
		OPT_AUDIT_LOG },
	{ "control", "SOCKET", "control socket (default " DEFAULT_CONTROL ")", OPT_CONTROL },
	{ "libexec", "DIR", "folder with the roles' programs", OPT_LIBEXEC },
	{ "destroy-ceiling", "N[/s]",
		"sockets destroyed per second at most, whatever is configured", OPT_CEILING },
	{ "allow-time-wait", NULL, "let rules that name the state time-wait release such sockets",
		OPT_TIME_WAIT },
	{ "ring-bytes", "N", "size of the event ring, a power of two (default 2097152)", OPT_RING },
	{ "verbose", NULL, "say more", 'v' },
	{ "version", NULL, "print the version and exit", 'V' },
	{ "help", NULL, "print this and exit", 'h' },
};
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

static _Noreturn void
help_print(void)
{
	printf("usage: eghostbuster [options]\n"
	       "Finds what dead processes left in the kernel, proves that nobody holds it, "
	       "releases it.\n\n");
	for (size_t i = 0; i < ENTRIES; i++) {
		char left[64], dash[8] = "    ";

		if (entries[i].value < 256)
			snprintf(dash, sizeof(dash), "-%c, ", entries[i].value);
		snprintf(left, sizeof(left), "%s--%s%s%s", dash, entries[i].name,
			entries[i].arg != NULL ? " " : "",
			entries[i].arg != NULL ? entries[i].arg : "");
		printf("  %-28s %s\n", left, entries[i].help);
	}
	exit(0);
}

static _Noreturn void
version_print(void)
{
	printf("eghostbuster %s (build ", version_string);
	for (size_t i = 0; i < WIRE_BUILD_ID_LEN; i++)
		printf("%02x", build_id[i]);
	printf(")\n");
	exit(0);
}

static _Noreturn void
usage_error(const char *what, const char *value)
{
	log_error("%s: %s; try --help", what, value);
	exit(2);
}

static uint64_t
number_parse(const char *name, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *text == '-' || (*end != '\0' && strcmp(end, "/s") != 0) ||
		n < min || n > max)
		usage_error(name, "expected a number in range");
	return n;
}

/* A program in its installed place uses the installed roles; one in a build folder uses its own. */
static const char *
libexec_default(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("/libexec"));
	char *slash;

	if (n <= 0)
		return EGB_LIBEXECDIR;
	path[n] = '\0';
	slash = strrchr(path, '/');
	*slash = '\0';
	if (strcmp(path, EGB_SBINDIR) == 0)
		return EGB_LIBEXECDIR;
	strcpy(slash, "/libexec");
	return path;
}

static void
option_apply(struct options *opt, int value, const char *arg)
{
	switch (value) {
	case 'c':
		opt->config = arg;
		break;
	case 'n':
		opt->observe = true;
		break;
	case OPT_CHECK:
		opt->check_config = true;
		break;
	case OPT_AUDIT_LOG:
		opt->audit_log = arg;
		break;
	case OPT_CONTROL:
		opt->control = arg;
		break;
	case OPT_LIBEXEC:
		opt->libexec = arg;
		break;
	case OPT_CEILING:
		opt->destroy_ceiling = number_parse("--destroy-ceiling", arg, 1, 10000000);
		break;
	case OPT_TIME_WAIT:
		opt->time_wait = true;
		break;
	case OPT_RING:
		opt->ring_bytes = number_parse("--ring-bytes", arg, 4096, 1u << 30);
		break;
	case 'v':
		opt->verbose = true;
		break;
	case 'V':
		version_print();
	case 'h':
		help_print();
	default:
		exit(2); /* getopt_long() has said why */
	}
}

void
options_parse(struct options *opt, int argc, char **argv)
{
	struct option longs[ENTRIES + 1] = { 0 };
	int value;

	for (size_t i = 0; i < ENTRIES; i++)
		longs[i] = (struct option){ .name = entries[i].name,
			.has_arg = entries[i].arg != NULL,
			.val = entries[i].value };
	*opt = (struct options){ .control = DEFAULT_CONTROL, .destroy_ceiling = 50000 };
	while ((value = getopt_long(argc, argv, "c:nvVh", longs, NULL)) != -1)
		option_apply(opt, value, optarg);
	if (optind < argc)
		usage_error("unexpected argument", argv[optind]);
	if (opt->libexec == NULL)
		opt->libexec = libexec_default();
}
