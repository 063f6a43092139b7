/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "service.h"

/* Plain text up to its end mark: half an answer would pass for one in which the rest is missing. */
static bool
is_whole(const char *text, size_t len)
{
	static const char end[] = "\n# EOF\n";

	for (size_t i = 0; i < len; i++) {
		if (text[i] != '\n' && (text[i] < 0x20 || text[i] > 0x7e))
			return false;
	}
	return len >= strlen(end) && memcmp(text + len - strlen(end), end, strlen(end)) == 0;
}

struct wanted {
	const char *control, *output;
};

static bool
option_apply(void *context, int value, const char *arg)
{
	struct wanted *wanted = context;

	if (value == 's')
		wanted->control = arg;
	else
		wanted->output = arg;
	return true;
}

static bool
text_print(FILE *out, const char *text, size_t len)
{
	return fwrite(text, 1, len, out) == len && fflush(out) == 0;
}

static int
output_failed(const char *path)
{
	log_error("cannot write %s: %s", path, strerror(errno));
	return 1;
}

/* Under another name first: whoever reads the file meanwhile has all of the one before. */
static int
file_write(const char *path, const char *text, size_t len)
{
	char new[PATH_MAX];
	FILE *out;
	bool good;
	int fd;

	if (snprintf(new, sizeof(new), "%s.new", path) >= (int)sizeof(new)) {
		log_error("the path %.40s... is too long", path);
		return 1;
	}
	fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
	out = fd < 0 ? NULL : fdopen(fd, "w");
	if (out == NULL)
		return output_failed(new);
	good = text_print(out, text, len);
	if (fclose(out) != 0 || !good) {
		output_failed(new);
		unlink(new);
		return 1;
	}
	if (rename(new, path) == 0)
		return 0;
	output_failed(path);
	unlink(new);
	return 1;
}

static int
metrics_run(int argc, char **argv)
{
	static char answer[SERVICE_ANSWER_MAX];
	struct wanted wanted = { .control = DEFAULT_CONTROL };
	ssize_t len;
	int status;

	if (ctl_options_read(&ctl_metrics_verb, argc, argv, option_apply, &wanted, &status) < 0)
		return status;
	len = service_ask(wanted.control, "metrics", answer);
	if (len < 0)
		return 1;
	if (!is_whole(answer, (size_t)len)) {
		log_error("the service answered something that is no OpenMetrics text, or half of "
			  "one");
		return 1;
	}
	if (wanted.output != NULL)
		return file_write(wanted.output, answer, (size_t)len);
	return text_print(stdout, answer, (size_t)len) ? 0 : 1;
}

static const struct ctl_option options[] = {
	{ 's', "control", "SOCKET", NULL, COMPLETE_FILE,
		"the service's control socket (default " DEFAULT_CONTROL ")" },
	{ 'o', "output", "FILE", NULL, COMPLETE_FILE,
		"write this file anew instead of standard output" },
};

const struct ctl_verb ctl_metrics_verb = {
	.name = "metrics",
	.summary = "The same in numbers, as OpenMetrics text",
	CTL_OPTIONS(options),
	.run = metrics_run,
};
