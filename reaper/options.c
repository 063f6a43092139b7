/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

#include "proto/limit.h"
#include "proto/log.h"

static uint64_t
ceiling_read(const char *text)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n == 0 ||
		n > LIMIT_CEILING_MAX)
		fatal("--ceiling takes 1 ... %u destroys per second, not \"%s\"", LIMIT_CEILING_MAX,
			text);
	return n;
}

struct options
options_read(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "ceiling", required_argument, NULL, 'c' },
		{ "time-wait", no_argument, NULL, 't' },
		{ "verbose", no_argument, NULL, 'v' },
		{ 0 },
	};
	struct options o = { 0 };
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "v", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o.ceiling = ceiling_read(optarg);
			break;
		case 't':
			o.time_wait = true;
			break;
		case 'v':
			o.verbose = true;
			break;
		default:
			fatal("unknown option, or one without its argument: %s", argv[optind - 1]);
		}
	}
	if (optind != argc)
		fatal("unexpected argument: %s", argv[optind]);
	if (o.ceiling == 0)
		fatal("--ceiling is missing");
	return o;
}
