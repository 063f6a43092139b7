/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl.h"
#include "proto/fds.h"
#include "proto/log.h"

#define ANSWER_MAX (256u << 10)

static int
service_connect(const char *path)
{
	const struct timeval patience = { .tv_sec = 5 };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(un.sun_path)) {
		log_error("the socket path %s is too long", path);
		return -1;
	}
	strcpy(un.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0 &&
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0)
		return fd;
	log_error("cannot reach the service at %s: %s%s", path, strerror(errno),
		errno == EACCES				   ? " (only root may ask)"
		: errno == ENOENT || errno == ECONNREFUSED ? " (is it running?)"
							   : "");
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Returns the answer's length, -1 after a line on standard error. */
static ssize_t
service_ask(const char *path, const char *verb, char *out, size_t size)
{
	int fd = service_connect(path);
	size_t used = 0;
	ssize_t n = -1;

	if (fd < 0)
		return -1;
	if (send(fd, verb, strlen(verb), MSG_NOSIGNAL) == (ssize_t)strlen(verb)) {
		while (used < size && (n = recv(fd, out + used, size - used, 0)) > 0)
			used += (size_t)n;
	}
	if (n < 0)
		log_error("no answer from the service at %s: %s", path, strerror(errno));
	close(fd);
	return n < 0 ? -1 : (ssize_t)used;
}

static void
object_print(const char *prefix, json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		char name[128];

		snprintf(name, sizeof(name), "%s%s", prefix, key);
		if (json_is_object(value)) {
			strncat(name, ".", sizeof(name) - strlen(name) - 1);
			object_print(name, value);
		} else if (json_is_string(value)) {
			char safe[1024];

			text_escape(json_string_value(value), json_string_length(value), safe,
				sizeof(safe));
			printf("%-24s %s\n", name, safe);
		} else if (json_is_integer(value)) {
			printf("%-24s %" JSON_INTEGER_FORMAT "\n", name, json_integer_value(value));
		} else {
			printf("%-24s %s\n", name,
				json_is_true(value)    ? "yes"
				: json_is_false(value) ? "no"
						       : "-");
		}
	}
}

static int
answer_print(const char *text, size_t len, bool as_json)
{
	json_error_t error;
	json_t *root = json_loadb(text, len, 0, &error);
	const char *refused = root == NULL ? "an answer that is no JSON"
					   : json_string_value(json_object_get(root, "error"));
	int rc = 1;

	if (refused != NULL) {
		log_error("the service answered: %s", refused);
	} else if (as_json) {
		rc = fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0 ? 0 : 1;
	} else {
		object_print("", root);
		rc = fflush(stdout) == 0 ? 0 : 1;
	}
	json_decref(root);
	return rc;
}

int
ctl_status(int argc, char **argv)
{
	static const struct option longs[] = { { "json", no_argument, NULL, 'j' },
		{ "control", required_argument, NULL, 's' }, { 0 } };
	const char *control = DEFAULT_CONTROL;
	static char answer[ANSWER_MAX];
	bool as_json = false;
	ssize_t len;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == '?')
			return 2;
		if (c == 'j')
			as_json = true;
		else
			control = optarg;
	}
	if (optind < argc)
		return ctl_usage("status", argv[optind]);
	len = service_ask(control, "status\n", answer, sizeof(answer));
	return len < 0 ? 1 : answer_print(answer, (size_t)len, as_json);
}
