/* SPDX-License-Identifier: Apache-2.0 */
#include "auditlog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/log.h"

static void
room_ensure(struct auditlog *log, size_t wanted)
{
	size_t size = log->size == 0 ? 64 * 1024 : log->size;
	char *grown;

	if (log->size - log->used >= wanted)
		return;
	while (size - log->used < wanted)
		size *= 2;
	grown = realloc(log->buffer, size);
	if (grown == NULL)
		fatal("out of memory for %zu bytes of audit records", size);
	log->buffer = grown;
	log->size = size;
}

static void
torn_line_end(struct auditlog *log)
{
	struct stat st;
	char last;

	if (fstat(log->fd, &st) < 0 || st.st_size == 0)
		return;
	if (pread(log->fd, &last, 1, st.st_size - 1) == 1 && last != '\n') {
		room_ensure(log, 1);
		memmove(log->buffer + 1, log->buffer, log->used++);
		log->buffer[0] = '\n';
		log_warning("%s ends in the middle of a record: an earlier run was cut off there",
			log->path);
	}
}

void
auditlog_open(struct auditlog *log, int fd, int dir, const char *path)
{
	*log = (struct auditlog){ .fd = fd, .dir = dir, .path = path };
	room_ensure(log, RECORD_MAX);
	torn_line_end(log);
}

char *
auditlog_room(struct auditlog *log, struct record_head *head)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	room_ensure(log, RECORD_MAX);
	*head = (struct record_head){
		.time = { (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec },
		.sequence = ++log->sequence,
	};
	return log->buffer + log->used;
}

void
auditlog_made(struct auditlog *log, size_t len)
{
	if (len == 0)
		fatal("an audit record of more than %u bytes: this is a bug", RECORD_MAX);
	log->used += len;
}

static bool
flush_failed(struct auditlog *log, int error)
{
	if (!log->failing)
		log_error("cannot write the audit log %s: %s; nothing is destroyed until it can be "
			  "written",
			log->path, strerror(error));
	log->failing = true;
	return false;
}

/* Whole records that got out are forgotten. One that got out in part is kept whole, for another
 * file may have to take it; this one gets the rest only. */
static void
written_forget(struct auditlog *log, size_t done)
{
	const char *eol = memrchr(log->buffer, '\n', done);
	size_t whole = eol == NULL ? 0 : (size_t)(eol - log->buffer) + 1;

	memmove(log->buffer, log->buffer + whole, log->used - whole);
	log->used -= whole;
	log->partial = done - whole;
}

bool
auditlog_flush(struct auditlog *log)
{
	size_t done = log->partial;

	while (done < log->used) {
		ssize_t n = write(log->fd, log->buffer + done, log->used - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int error = n == 0 ? EIO : errno;

			written_forget(log, done);
			return flush_failed(log, error);
		}
		done += (size_t)n;
	}
	log->used = log->partial = 0;
	if (log->failing)
		log_warning("the audit log %s can be written again", log->path);
	log->failing = false;
	return true;
}

static void
log_event(struct auditlog *log, const char *action, const char *reason)
{
	struct record_head head;
	char *out = auditlog_room(log, &head);

	auditlog_made(log, record_log(out, RECORD_MAX, &head, action, reason));
}

static int
successor_open(const struct auditlog *log)
{
	const char *slash = strrchr(log->path, '/');
	const char *name = slash == NULL ? log->path : slash + 1;

	return openat(log->dir, name,
		O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
}

bool
auditlog_reopen(struct auditlog *log)
{
	struct stat now, old;
	int fd = successor_open(log);

	if (fd < 0) {
		log_error("cannot open %s as uid %u: %s; records go on to the file that was there "
			  "before",
			log->path, getuid(), strerror(errno));
		return false;
	}
	if (fstat(fd, &now) < 0 || fstat(log->fd, &old) < 0 || !S_ISREG(now.st_mode) ||
		now.st_nlink != 1) {
		log_error("%s is not a regular file with one name; records go on to the file "
			  "before it",
			log->path);
		close(fd);
		return false;
	}
	if (now.st_dev == old.st_dev && now.st_ino == old.st_ino) {
		close(fd);
		return true;
	}
	log_event(log, "log-close", "rotated");
	auditlog_flush(log); /* what cannot go there goes to the new file */
	if (dup3(fd, log->fd, O_CLOEXEC) < 0)
		fatal("cannot put the new audit log in place: %s", strerror(errno));
	close(fd);
	log->partial = 0;
	torn_line_end(log);
	log_event(log, "log-open", "rotated");
	return auditlog_flush(log);
}
