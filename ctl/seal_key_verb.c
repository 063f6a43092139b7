/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/seal.h"
#include "ctl.h"
#include "proto/fds.h"
#include "proto/log.h"

static bool
option_apply(void *context, int value, const char *arg)
{
	const char **log = context;

	(void)value;
	*log = arg;
	return true;
}

static int
fail(const char *what, const char *path)
{
	log_error("%s %s: %s", what, path, strerror(errno));
	return -1;
}

/* So that the file's name is there, too, when the machine stops. */
static int
folder_sync(const char *path)
{
	char copy[PATH_MAX];
	int fd, rc;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 ? -1 : fsync(fd);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int
state_fill(int fd, const uint8_t root[SEAL_KEY_LEN])
{
	uint8_t state[SEAL_STATE_LEN];
	struct seal_key key;
	ssize_t n;

	seal_begin(&key, root);
	seal_state_write(&key, state);
	seal_wipe(&key);
	n = write(fd, state, sizeof(state));
	explicit_bzero(state, sizeof(state));
	if (n >= 0 && n != (ssize_t)sizeof(state))
		errno = ENOSPC;
	return n == (ssize_t)sizeof(state) ? fsync(fd) : -1;
}

/* It belongs to whom the log belongs, or will: a service that is not started as root can open no
 * other. */
static int
state_give(int fd, const char *log)
{
	char folder[PATH_MAX];
	struct stat st;

	snprintf(folder, sizeof(folder), "%s", log);
	if (lstat(log, &st) < 0 && stat(dirname(folder), &st) < 0)
		return -1;
	return fchown(fd, st.st_uid, (gid_t)-1);
}

/* A state that is there is not replaced: with it the keys of a log that is sealed would be lost. */
static int
state_make(const char *path, const char *log, const uint8_t root[SEAL_KEY_LEN])
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), rc;

	if (fd < 0)
		return fail("cannot make", path);
	rc = state_fill(fd, root);
	if (state_give(fd, log) < 0)
		rc = -1;
	if (close(fd) < 0 || rc < 0 || folder_sync(path) < 0) {
		fail("cannot write", path);
		unlink(path);
		return -1;
	}
	return 0;
}

/* The only time. */
static int
root_show(const uint8_t root[SEAL_KEY_LEN])
{
	char text[SEAL_DIGITS + 1];
	int rc;

	seal_root_print(root, text);
	rc = puts(text) < 0 || fflush(stdout) != 0 ? -1 : 0;
	explicit_bzero(text, sizeof(text));
	return rc;
}

static void
advise(const char *log)
{
	fprintf(stderr,
		"With this key the seals of %s can be checked. It is shown this once, and is not "
		"on "
		"this host:\n"
		"keep it where nobody who breaks in here will find it. Whoever has it can make "
		"seals. Without it no seal\n"
		"can ever be checked, and nothing brings it back; there is no other key for the "
		"same "
		"log.\n"
		"Sealing begins with the next start of eghostbuster. To check, on a host that you "
		"trust:\n"
		"  eghostctl verify --seal-key KEYFILE %s*\n",
		log, log);
}

static int
key_make(const char *log)
{
	uint8_t root[SEAL_KEY_LEN];
	char path[PATH_MAX];
	int rc;

	if (snprintf(path, sizeof(path), "%s%s", log, SEAL_SUFFIX) >= (int)sizeof(path)) {
		log_error("the path %.40s... is too long", log);
		return 1;
	}
	if (getrandom(root, sizeof(root), 0) != (ssize_t)sizeof(root)) {
		log_error("the kernel has no random bytes for a key: %s", strerror(errno));
		return 1;
	}
	rc = state_make(path, log, root);
	if (rc == 0 && root_show(root) < 0) {
		rc = fail("the key could not be shown, so there is no", path);
		unlink(path);
	}
	explicit_bzero(root, sizeof(root));
	if (rc == 0)
		advise(log);
	return rc == 0 ? 0 : 1;
}

static int
seal_key_run(int argc, char **argv)
{
	const char *log = DEFAULT_AUDIT_LOG;
	int status;

	if (ctl_options_read(&ctl_seal_key_verb, argc, argv, option_apply, &log, &status) < 0)
		return status;
	if (geteuid() != 0) {
		log_error("seal-key: only root makes a key that others cannot know");
		return 1;
	}
	return key_make(log);
}

static const struct ctl_option options[] = {
	{ 'l', "log", "FILE", NULL, COMPLETE_FILE,
		"the audit log (default " DEFAULT_AUDIT_LOG ")" },
};

const struct ctl_verb ctl_seal_key_verb = {
	.name = "seal-key",
	.summary = "Make the key that seals the audit log, and show it once",
	CTL_OPTIONS(options),
	.run = seal_key_run,
};
