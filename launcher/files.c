/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/fds.h"
#include "proto/log.h"

/* Splits path into a folder (".", "/" or the text before the last slash) and a name. */
static const char *
path_split(const char *path, char dir[PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	size_t len = slash == NULL ? 0 : (size_t)(slash - path);

	if (strlen(path) >= PATH_MAX)
		fatal("a path of more than %d bytes: %.40s...", PATH_MAX - 1, path);
	if (slash == NULL)
		strcpy(dir, ".");
	else if (len == 0)
		strcpy(dir, "/");
	else
		snprintf(dir, PATH_MAX, "%.*s", (int)len, path);
	return slash == NULL ? path : slash + 1;
}

static int
dir_open(const char *path, char dir[PATH_MAX], const char **name)
{
	*name = path_split(path, dir);
	if (**name == '\0')
		fatal("%s is a folder, expected a file", path);
	return open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Only the folders of the built-in defaults are made: a mistyped path is an error, not a new
 * folder. */
static void
default_dir_make(
	const char *path, const char *default_path, mode_t mode, const struct role_ids *owner)
{
	char dir[PATH_MAX];

	if (strcmp(path, default_path) != 0)
		return;
	path_split(path, dir);
	if (mkdir(dir, mode) < 0) {
		if (errno != EEXIST)
			fatal("cannot make %s: %s", dir, strerror(errno));
		return;
	}
	if (owner != NULL && lchown(dir, owner->uid, (gid_t)-1) < 0)
		fatal("cannot give %s to uid %u: %s", dir, owner->uid, strerror(errno));
}

void
files_config_open(struct handles *h, const struct options *opt)
{
	const char *path = opt->config != NULL ? opt->config : DEFAULT_CONFIG;
	char dir[PATH_MAX];
	const char *name;

	h->config = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (h->config < 0 && errno == ENOENT && opt->config == NULL)
		return;
	if (h->config < 0)
		fatal("cannot open the configuration %s: %s", path, strerror(errno));
	h->config_dir = dir_open(path, dir, &name);
	if (h->config_dir < 0)
		fatal("cannot open the folder %s: %s", dir, strerror(errno));
	h->config_path = path;
}

static void
log_create_finish(int fd, const char *path, const struct role_ids *broker)
{
	const struct group *adm = getgrnam("adm"); /* who may read logs on Debian */

	if (fchown(fd, broker->uid, adm != NULL ? adm->gr_gid : broker->gid) < 0)
		fatal("cannot give %s to uid %u: %s", path, broker->uid, strerror(errno));
}

/* Who owns it can rewrite it. A broker without an account had an id of the dynamic range, perhaps
 * another one than now. */
static void
log_owner_check(const struct stat *st, const char *path, const struct role_ids *broker)
{
	bool dynamic = st->st_uid >= IDS_DYNAMIC_FIRST && st->st_uid <= IDS_DYNAMIC_LAST;

	if (st->st_uid != 0 && st->st_uid != broker->uid && !dynamic)
		fatal("the audit log %s belongs to uid %u, expected root or the broker (%u)", path,
			st->st_uid, broker->uid);
	if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
		log_warning("the audit log %s can be changed by others (mode %04o)", path,
			st->st_mode & 07777);
}

void
files_log_open(struct handles *h, const char *path, const struct role_ids *broker)
{
	const int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	char dir[PATH_MAX];
	const char *name;
	struct stat st;

	default_dir_make(path, DEFAULT_AUDIT_LOG, 0750, broker);
	h->log_dir = dir_open(path, dir, &name);
	if (h->log_dir < 0)
		fatal("cannot open the audit log's folder %s: %s", dir, strerror(errno));
	h->log = openat(h->log_dir, name, flags);
	if (h->log < 0 && errno == ENOENT) {
		h->log = openat(h->log_dir, name, flags | O_CREAT | O_EXCL, 0640);
		if (h->log >= 0)
			log_create_finish(h->log, path, broker);
	}
	if (h->log < 0)
		fatal("cannot write the audit log %s: %s", path, strerror(errno));
	if (fstat(h->log, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1)
		fatal("the audit log %s must be a regular file with one name", path);
	log_owner_check(&st, path, broker);
	if (flock(h->log, LOCK_EX | LOCK_NB) < 0)
		fatal("another process writes the audit log %s: %s", path, strerror(errno));
}

static void
address_fill(struct sockaddr_un *un, socklen_t *len, const char *path)
{
	size_t n = strlen(path);

	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (n == 0 || n >= sizeof(un->sun_path))
		fatal("the socket path %s is empty or longer than %zu bytes", path,
			sizeof(un->sun_path) - 1);
	memcpy(un->sun_path, path, n);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	if (path[0] == '@')
		un->sun_path[0] = '\0'; /* abstract, as service managers write it */
	else
		(*len)++;
}

void
files_lock_take(struct handles *h, const char *socket_path)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s.lock", socket_path);

	if (n < 0 || (size_t)n >= sizeof(path))
		fatal("the socket path %s is too long", socket_path);
	default_dir_make(socket_path, DEFAULT_CONTROL, 0755, NULL);
	h->lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
	if (h->lock < 0)
		fatal("cannot open %s: %s", path, strerror(errno));
	if (flock(h->lock, LOCK_EX | LOCK_NB) == 0)
		return;
	if (errno == EWOULDBLOCK)
		fatal("another eghostbuster runs on the control socket %s", socket_path);
	fatal("cannot lock %s: %s", path, strerror(errno));
}

void
files_control_open(struct handles *h, const char *path)
{
	struct sockaddr_un un;
	socklen_t len;
	struct stat st;
	mode_t mask;

	if (path[0] == '@')
		fatal("the control socket %s must have a path", path);
	address_fill(&un, &len, path);
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		fatal("%s is there and is no socket", path);
	if (unlink(path) < 0 && errno != ENOENT)
		fatal("cannot remove the old control socket %s: %s", path, strerror(errno));
	h->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0177);
	if (h->control < 0 || bind(h->control, (struct sockaddr *)&un, len) < 0 ||
		listen(h->control, 8) < 0)
		fatal("cannot listen on the control socket %s: %s", path, strerror(errno));
	umask(mask);
}

void
files_notify_open(struct handles *h)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un un;
	socklen_t len;

	if (path == NULL || *path == '\0')
		return;
	address_fill(&un, &len, path);
	h->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (h->notify < 0 || connect(h->notify, (struct sockaddr *)&un, len) < 0)
		fatal("cannot reach the service manager at NOTIFY_SOCKET=%s: %s", path,
			strerror(errno));
}
