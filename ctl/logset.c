/* SPDX-License-Identifier: Apache-2.0 */
#include "logset.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "logfile.h"
#include "proto/fds.h"
#include "proto/log.h"

#define ROTATED_MAX 62

/* ---- which files -------------------------------------------------------------------------------
 */

static void
found_add(struct logset *set, char *path)
{
	set->found[set->found_count++] = path;
}

/* NAME.2, else NAME.2.gz. */
static char *
rotated_find(unsigned number)
{
	static const char *const endings[] = { "", ".gz" };
	char *path;

	for (size_t i = 0; i < 2; i++) {
		if (asprintf(&path, "%s.%u%s", DEFAULT_AUDIT_LOG, number, endings[i]) < 0)
			return NULL;
		if (access(path, F_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

static void
installed_find(struct logset *set)
{
	char *path;

	for (unsigned i = 1; i <= ROTATED_MAX && (path = rotated_find(i)) != NULL; i++)
		found_add(set, path);
	found_add(set, strdup(DEFAULT_AUDIT_LOG));
	set->paths = (const char **)set->found;
	set->count = set->found_count;
}

int
logset_open(struct logset *set, const char **paths, size_t count)
{
	*set = (struct logset){ .paths = paths, .count = count };
	if (count == 0)
		installed_find(set);
	if (logfile_sort(set->paths, &set->count) == 0)
		return 0;
	logset_close(set);
	return -1;
}

void
logset_close(struct logset *set)
{
	while (set->found_count > 0)
		free(set->found[--set->found_count]);
}

/* ---- walking -----------------------------------------------------------------------------------
 */

static bool
line_take(struct logset *set, const char *line, size_t len,
	bool (*take)(void *context, struct record *r), void *context)
{
	struct record r;
	bool more;

	if (!record_parse(&r, line, len)) {
		set->foreign++;
		return true;
	}
	more = take(context, &r);
	record_free(&r);
	return more;
}

/* Returns 1 when take() wants no more. */
static int
file_walk(struct logset *set, const char *path, bool (*take)(void *context, struct record *r),
	void *context)
{
	enum logfile_event event;
	struct logfile f;
	const char *line;
	bool more = true;
	size_t len;

	if (logfile_open(&f, path) < 0)
		return -1;
	set->walked = 0;
	while (more && (event = logfile_next(&f, &line, &len)) == LOGFILE_LINE) {
		more = line_take(set, line, len, take, context);
		set->walked = f.offset;
	}
	logfile_close(&f);
	if (!more)
		return 1;
	return event == LOGFILE_ERROR ? -1 : 0;
}

int
logset_walk(struct logset *set, bool (*take)(void *context, struct record *r), void *context)
{
	int rc = 0;

	for (size_t i = 0; i < set->count && rc == 0; i++)
		rc = file_walk(set, set->paths[i], take, context);
	return rc < 0 ? -1 : 0;
}

void
logset_complain(const struct logset *set)
{
	if (set->foreign != 0)
		log_warning("%lu lines were no records and were passed over: eghostctl verify "
			    "tells which",
			set->foreign);
}

/* ---- following ---------------------------------------------------------------------------------
 */

struct follower {
	const char *path;
	int notify; /* tells of writes, renames and new files */
	int fd;	    /* the file now followed */
	ino_t inode;
	char *buffer;
	size_t used;
};

static int
follower_fail(const struct follower *f, const char *what)
{
	log_error("%s %s: %s", what, f->path, strerror(errno));
	return -1;
}

/* The file at the path if it is another than the one followed and has been written to, or -1. */
static int
follower_next(const struct follower *f)
{
	struct stat st;
	int fd = open(f->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || (f->fd >= 0 && (st.st_ino == f->inode || st.st_size == 0))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int
follower_switch(struct follower *f, int fd)
{
	struct stat st;

	if (f->fd >= 0)
		close(f->fd);
	f->fd = fd;
	f->used = 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return -1;
	f->inode = st.st_ino;
	return 0;
}

static int
follower_open(struct follower *f, const char *path, uint64_t offset)
{
	char copy[PATH_MAX];

	*f = (struct follower){ .path = path, .fd = -1, .notify = inotify_init1(IN_CLOEXEC) };
	f->buffer = malloc(LOGFILE_LINE_MAX);
	snprintf(copy, sizeof(copy), "%s", path);
	if (f->notify < 0 || f->buffer == NULL ||
		inotify_add_watch(f->notify, dirname(copy),
			IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM) < 0)
		return follower_fail(f, "cannot watch");
	if (follower_switch(f, follower_next(f)) < 0)
		return follower_fail(f, "cannot follow");
	return lseek(f->fd, (off_t)offset, SEEK_SET) < 0 ? follower_fail(f, "cannot follow") : 0;
}

/* All whole lines that are there. A line too long to be a record is passed over. */
static bool
follower_read(struct follower *f, struct logset *set, bool (*take)(void *context, struct record *r),
	void *context)
{
	char *line, *newline;
	bool more = true;
	ssize_t n;

	while (more && (n = read(f->fd, f->buffer + f->used, LOGFILE_LINE_MAX - f->used)) > 0) {
		f->used += (size_t)n;
		line = f->buffer;
		while (more && (newline = memchr(line, '\n', f->used)) != NULL) {
			size_t len = (size_t)(newline - line);

			more = line_take(set, line, len, take, context);
			f->used -= len + 1;
			line = newline + 1;
		}
		if (f->used == LOGFILE_LINE_MAX)
			f->used = 0;
		memmove(f->buffer, line, f->used);
	}
	return more;
}

/* Sleeps until something happened in the log's folder. */
static int
follower_wait(const struct follower *f)
{
	_Alignas(struct inotify_event) char events[4096];

	if (read(f->notify, events, sizeof(events)) < 0 && errno != EINTR)
		return follower_fail(f, "cannot watch");
	return 0;
}

int
logset_follow(struct logset *set, bool (*take)(void *context, struct record *r), void (*idle)(void),
	void *context)
{
	struct follower f;
	int rc = follower_open(&f, set->paths[set->count - 1], set->walked), next = -1;

	while (rc == 0 && follower_read(&f, set, take, context)) {
		idle();
		next = follower_next(&f);
		if (next < 0) {
			rc = follower_wait(&f);
			continue;
		}
		/* Who writes to the new file is done with the old: what it got since, and no more.
		 */
		if (!follower_read(&f, set, take, context))
			break;
		rc = follower_switch(&f, next);
		next = -1;
	}
	if (next >= 0)
		close(next);
	if (f.fd >= 0)
		close(f.fd);
	if (f.notify >= 0)
		close(f.notify);
	free(f.buffer);
	return rc;
}
