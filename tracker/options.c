/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/fds.h"
#include "proto/log.h"

#define HEARTBEAT_MS_MAX 3600000u
#define RING_BYTES_MAX	 (1u << 30)

static bool
number_read(const char *text, uint32_t max, uint32_t *out)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	/* strtoul() takes "-1" for ULONG_MAX. */
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value > max)
		return false;
	*out = (uint32_t)value;
	return true;
}

/* What the kernel's ringbuf_map_alloc() asks for. */
static bool
ring_size_valid(uint32_t bytes)
{
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);

	return bytes >= page && (bytes & (bytes - 1)) == 0;
}

bool
options_read(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
		{ "heartbeat-ms", required_argument, NULL, 'b' },
		{ "ring-bytes", required_argument, NULL, 'r' },
		{ "notify", no_argument, NULL, 'n' },
		{ "kept", no_argument, NULL, 'k' },
		{ NULL, 0, NULL, 0 },
	};
	bool good = true;
	int c;

	*o = (struct options){ .ring_bytes = TRACKER_RING_BYTES_DEFAULT };
	opterr = 0;
	while (good && (c = getopt_long(argc, argv, "v", names, NULL)) != -1) {
		if (c == 'b')
			good = number_read(optarg, HEARTBEAT_MS_MAX, &o->heartbeat_ms);
		else if (c == 'r')
			good = number_read(optarg, RING_BYTES_MAX, &o->ring_bytes);
		else if (c == 'n')
			o->notify = true;
		else if (c == 'k')
			o->kept = true;
		else if (c == 'v')
			o->verbose = true;
		else
			good = false;
	}
	if (good && optind == argc && (o->notify || !o->kept) && o->heartbeat_ms != 0 &&
		ring_size_valid(o->ring_bytes))
		return true;
	log_error("usage: tracker --heartbeat-ms N [--ring-bytes N] [--notify [--kept]] [-v], N of "
		  "--ring-bytes a power of two and at least a page");
	return false;
}
