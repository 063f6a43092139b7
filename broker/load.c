/* SPDX-License-Identifier: Apache-2.0 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* By position: another process of the service has read the same open file before. */
static ssize_t
file_read(int fd, char *text, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size && (n = pread(fd, text + used, size - used, (off_t)used)) != 0) {
		if (n < 0 && errno != EINTR)
			return -1;
		if (n > 0)
			used += (size_t)n;
	}
	return (ssize_t)used;
}

static bool
file_parse(const char *path, int fd, struct policy *policy, char error[CONFIG_ERROR_MAX])
{
	char *text = malloc(CONFIG_TEXT_MAX + 1);
	ssize_t len = text == NULL ? -1 : file_read(fd, text, CONFIG_TEXT_MAX + 1);
	bool good = false;

	if (len < 0)
		snprintf(error, CONFIG_ERROR_MAX, "cannot read %s: %s", path, strerror(errno));
	else if (len > (ssize_t)CONFIG_TEXT_MAX)
		snprintf(error, CONFIG_ERROR_MAX, "%s has more than %u bytes", path,
			CONFIG_TEXT_MAX);
	else
		good = config_parse(path, text, (size_t)len, policy, error);
	free(text);
	return good;
}

static void
override(const struct args *args, struct policy *policy)
{
	if (args->observe)
		policy->mode = MODE_OBSERVE;
	if (args->audit_log != NULL)
		snprintf(policy->audit_log, sizeof(policy->audit_log), "%s", args->audit_log);
}

bool
load_policy(const struct args *args, int fd, struct policy *policy, char error[CONFIG_ERROR_MAX])
{
	if (args->config == NULL)
		policy_default(policy);
	else if (!file_parse(args->config, fd, policy, error))
		return false;
	override(args, policy);
	return true;
}

bool
load_policy_again(
	const struct args *args, int dir_fd, struct policy *policy, char error[CONFIG_ERROR_MAX])
{
	const char *slash = strrchr(args->config, '/');
	int fd = openat(dir_fd, slash == NULL ? args->config : slash + 1, LOAD_CONFIG_FLAGS);
	bool good;

	if (fd < 0) {
		snprintf(error, CONFIG_ERROR_MAX, "cannot open %s as uid %u: %s", args->config,
			getuid(), strerror(errno));
		return false;
	}
	good = file_parse(args->config, fd, policy, error);
	close(fd);
	if (good)
		override(args, policy);
	return good;
}
