/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/log.h"

/* Who may ask is what the socket's mode says: root, and its group where that may write. */
static void
who_may_print(const char *path, char *out, size_t size)
{
	const struct group *group;
	struct stat st;

	if (lstat(path, &st) < 0 || (st.st_mode & S_IWGRP) == 0) {
		snprintf(out, size, " (only root may ask)");
		return;
	}
	group = getgrgid(st.st_gid);
	if (group != NULL)
		snprintf(out, size, " (only root and members of the group %s may ask)",
			group->gr_name);
	else
		snprintf(out, size, " (only root and members of group %u may ask)", st.st_gid);
}

static int
connect_failed(const char *path, int fd)
{
	int error = errno;
	char why[320] = "";

	if (error == EACCES)
		who_may_print(path, why, sizeof(why));
	else if (error == ENOENT || error == ECONNREFUSED)
		snprintf(why, sizeof(why), " (is it running?)");
	log_error("cannot reach the service at %s: %s%s", path, strerror(error), why);
	if (fd >= 0)
		close(fd);
	return -1;
}

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
	return connect_failed(path, fd);
}

/* {"error":"..."} is what the service answers to whom it will not answer. */
static bool
was_refused(const char *text, size_t len)
{
	json_error_t error;
	json_t *root = json_loadb(text, len, 0, &error);
	const char *refused = json_string_value(json_object_get(root, "error"));

	if (refused != NULL)
		log_error("the service answered: %s", refused);
	json_decref(root);
	return refused != NULL;
}

ssize_t
service_ask(const char *path, const char *verb, char out[SERVICE_ANSWER_MAX])
{
	int fd = service_connect(path);
	size_t used = 0;
	ssize_t n = -1;
	char line[64];

	if (fd < 0)
		return -1;
	snprintf(line, sizeof(line), "%s\n", verb);
	/* Whoever is turned away may hear so before the question has left. */
	send(fd, line, strlen(line), MSG_NOSIGNAL);
	while (used < SERVICE_ANSWER_MAX &&
		(n = recv(fd, out + used, SERVICE_ANSWER_MAX - used, 0)) > 0)
		used += (size_t)n;
	if (used > 0 && was_refused(out, used)) {
		close(fd);
		return -1;
	}
	if (n < 0)
		log_error("no answer from the service at %s: %s", path, strerror(errno));
	close(fd);
	return n < 0 ? -1 : (ssize_t)used;
}
