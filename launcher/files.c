/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdbool.h>
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

/* Whatever the umask is: 0640, and who may read logs on Debian. One that is not root's has its
 * folder's group, where that is handed down (mode 2750). */
static void
log_create_finish(int fd, const char *path, const struct role_ids *broker)
{
	const struct group *adm = getgrnam("adm");

	if (fchmod(fd, 0640) < 0)
		fatal("cannot set the mode of %s: %s", path, strerror(errno));
	if (geteuid() == 0 && fchown(fd, broker->uid, adm != NULL ? adm->gr_gid : broker->gid) < 0)
		fatal("cannot give %s to uid %u: %s", path, broker->uid, strerror(errno));
}

/* Who owns it can rewrite it. A broker without an account had an id of the dynamic range, perhaps
 * another one than now. */
static bool
log_owner_good(const struct stat *st, const struct role_ids *broker)
{
	bool dynamic = st->st_uid >= IDS_DYNAMIC_FIRST && st->st_uid <= IDS_DYNAMIC_LAST;

	return st->st_uid == 0 || st->st_uid == broker->uid || dynamic;
}

static void
log_owner_check(const struct stat *st, const char *path, const struct role_ids *broker)
{
	if (!log_owner_good(st, broker))
		fatal("the audit log %s belongs to uid %u, expected root or the broker (%u)", path,
			st->st_uid, broker->uid);
	if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
		log_warning("the audit log %s can be changed by others (mode %04o)", path,
			st->st_mode & 07777);
}

/* What logrotate(8) made of the log while nothing ran: the chain goes on from its end. It may
 * belong to another id than the broker has now. */
static int
log_before_open(int dir, const char *name, const struct role_ids *broker)
{
	char before[NAME_MAX + 1];
	struct stat st;
	int fd;

	if (snprintf(before, sizeof(before), "%s.1", name) >= (int)sizeof(before))
		return -1;
	fd = openat(dir, before, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
		log_owner_good(&st, broker))
		return fd;
	close(fd);
	return -1;
}

/* The seals are worth what this file is kept from. */
static void
seal_check(int fd, const char *path, const struct role_ids *broker)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1)
		fatal("%s%s must be a regular file with one name", path, SEAL_SUFFIX);
	if (!log_owner_good(&st, broker))
		fatal("%s%s belongs to uid %u, expected root or the broker (%u)", path, SEAL_SUFFIX,
			st.st_uid, broker->uid);
	if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		fatal("%s%s is open to others (mode %04o, expected 0600): a key that they may know "
		      "proves nothing",
			path, SEAL_SUFFIX, st.st_mode & 07777);
}

/* The state of the log's seals. Where there is none nothing is sealed. */
static int
seal_open(int dir, const char *name, const char *path, const struct role_ids *broker)
{
	char state[NAME_MAX + 1];
	int fd;

	if (snprintf(state, sizeof(state), "%s%s", name, SEAL_SUFFIX) >= (int)sizeof(state))
		return -1;
	fd = openat(dir, state, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return -1;
	if (fd < 0)
		fatal("cannot open %s%s: %s", path, SEAL_SUFFIX, strerror(errno));
	seal_check(fd, path, broker);
	return fd;
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
	h->log_before = log_before_open(h->log_dir, name, broker);
	h->seal = seal_open(h->log_dir, name, path, broker);
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

/* Made with its mode and its group: what stands at that path a moment later may be another's. */
static void
control_bind(int fd, const char *path, gid_t group)
{
	bool shared = group != (gid_t)-1;
	gid_t mine = getegid();
	struct sockaddr_un un;
	socklen_t len;
	mode_t mask;

	address_fill(&un, &len, path);
	mask = umask(shared ? 0117 : 0177);
	if (shared && setegid(group) < 0)
		fatal("cannot give the control socket to group %u: %s", group, strerror(errno));
	if (bind(fd, (struct sockaddr *)&un, len) < 0 || listen(fd, 8) < 0)
		fatal("cannot listen on the control socket %s: %s", path, strerror(errno));
	if (setegid(mine) < 0)
		fatal("cannot take back group %u: %s", mine, strerror(errno));
	umask(mask);
}

void
files_control_open(struct handles *h, const char *path)
{
	struct stat st;

	if (path[0] == '@')
		fatal("the control socket %s must have a path", path);
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		fatal("%s is there and is no socket", path);
	if (unlink(path) < 0 && errno != ENOENT)
		fatal("cannot remove the old control socket %s: %s", path, strerror(errno));
	h->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->control < 0)
		fatal("cannot make the control socket: %s", strerror(errno));
	control_bind(h->control, path, h->control_group);
}

/* How much of what journald has not read yet the kernel keeps for us; how many entries, it says
 * itself (net.unix.max_dgram_qlen). */
#define JOURNAL_BUFFER (2 << 20)

void
files_journal_open(struct handles *h)
{
	const int size = JOURNAL_BUFFER;
	struct sockaddr_un un;
	socklen_t len;

	address_fill(&un, &len, JOURNAL_SOCKET);
	h->journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (h->journal < 0 ||
		setsockopt(h->journal, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		fatal("cannot make a socket for systemd-journald: %s", strerror(errno));
	if (connect(h->journal, (struct sockaddr *)&un, len) == 0)
		return;
	log_warning("journald = yes, but systemd-journald cannot be reached at %s: %s; records go "
		    "to the audit log only",
		JOURNAL_SOCKET, strerror(errno));
	close(h->journal);
	h->journal = -1;
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
