/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "entries.h"
#include "proto/build_id.h"
#include "proto/log.h"

#ifndef EGB_LIBEXECDIR
#define EGB_LIBEXECDIR "/usr/libexec/eghostbuster"
#endif
#ifndef EGB_SBINDIR
#define EGB_SBINDIR "/usr/sbin"
#endif

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
	printf(", BPF object sha256 %s)\n", bpf_object_hash);
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
		opt->ring_bytes = (uint32_t)number_parse("--ring-bytes", arg, 4096, 1u << 30);
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
	*opt = (struct options){ .control = DEFAULT_CONTROL,
		.destroy_ceiling = 50000,
		.ring_bytes = TRACKER_RING_BYTES_DEFAULT };
	while ((value = getopt_long(argc, argv, "c:nvVh", longs, NULL)) != -1)
		option_apply(opt, value, optarg);
	if (optind < argc)
		usage_error("unexpected argument", argv[optind]);
	if (opt->libexec == NULL)
		opt->libexec = libexec_default();
}
