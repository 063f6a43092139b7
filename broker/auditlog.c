/* SPDX-License-Identifier: Apache-2.0 */
#include "auditlog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/clock.h"
#include "proto/fds.h"
#include "proto/log.h"

/* And always for the seal of the last record. */
static void
room_ensure(struct auditlog *log, size_t wanted)
{
	size_t size = log->size == 0 ? 64 * 1024 : log->size;
	char *grown;

	wanted += SEAL_MEMBER_MAX;
	if (log->size - log->used >= wanted)
		return;
	while (size - log->used < wanted)
		size *= 2;
	grown = realloc(log->buffer, size);
	/* What is recorded is not lost with the memory for more: written, it leaves room. */
	if (grown == NULL && auditlog_flush(log) && log->size - log->used >= wanted)
		return;
	if (grown == NULL)
		fatal("out of memory for %zu bytes of audit records", size);
	log->buffer = grown;
	log->size = size;
}

/* Elsewhere fstat(2) fills another struct than the C library's. */
_Static_assert(sizeof(long) == 8, "a 64-bit architecture");

/* By its number: since 2.33 the C library makes newfstatat(2) of fstat(), and that takes paths. */
static int
file_stat(int fd, struct stat *st)
{
	return (int)syscall(SYS_fstat, fd, st);
}

/* ---- what is there already -----------------------------------------------------------------
 */

/* The largest record and the one before it are in the last so many bytes of a file. */
#define TAIL_MAX (256u << 10)

/* And the last seal in so many: behind it is a part of one write at most. */
#define SEAL_TAIL_MAX (8u << 20)

/* Up to the file's end, in as many pieces as it comes: an end that was not read would pass for one
 * that was cut off. */
static size_t
bytes_read(int fd, char *bytes, size_t size, off_t begin)
{
	size_t used = 0;
	ssize_t n;

	while (used < size &&
		(n = pread(fd, bytes + used, size - used, begin + (off_t)used)) != 0) {
		if (n < 0 && errno != EINTR)
			fatal("cannot read the end of the audit log: %s", strerror(errno));
		if (n > 0)
			used += (size_t)n;
	}
	return used;
}

struct file_end {
	char *bytes;
	size_t len;
	bool whole; /* it is all of the file */
};

static void
file_end_read(int fd, size_t most, struct file_end *end)
{
	struct stat st;
	off_t begin;

	if (file_stat(fd, &st) < 0)
		fatal("cannot examine the audit log: %s", strerror(errno));
	begin = st.st_size > (off_t)most ? st.st_size - (off_t)most : 0;
	end->whole = begin == 0;
	end->len = (size_t)(st.st_size - begin);
	end->bytes = malloc(end->len + 1); /* an empty file needs one, too */
	if (end->bytes == NULL)
		fatal("out of memory for the end of the audit log");
	end->len = bytes_read(fd, end->bytes, end->len, begin);
}

static void
tail_read(int fd, struct chain_tail *tail)
{
	struct file_end end;

	file_end_read(fd, TAIL_MAX, &end);
	chain_tail_read(end.bytes, end.len, end.whole, tail);
	free(end.bytes);
}

/* The next record begins on a line of its own, whatever was cut off there. */
static void
last_line_end(struct auditlog *log, const struct chain_tail *tail)
{
	if (tail->torn == 0 && !tail->unended)
		return;
	room_ensure(log, 1);
	memmove(log->buffer + 1, log->buffer, log->used++);
	log->buffer[0] = '\n';
	log->last++;
	log->seals.end += log->seals.end != 0;
	if (tail->torn != 0)
		log_warning("%s ends in the middle of a record: an earlier run was cut off there",
			log->path);
}

static const char *
file_name(const struct auditlog *log)
{
	const char *slash = strrchr(log->path, '/');

	return slash == NULL ? log->path : slash + 1;
}

/* An empty file may be the successor of one that was rotated while nothing ran. */
static void
predecessor_read(struct auditlog *log, int before)
{
	snprintf(log->previous, sizeof(log->previous), "%s.1", file_name(log));
	tail_read(before, &log->before);
}

/* The newline that another file lacked, and did not get any more. */
static void
last_line_forget(struct auditlog *log)
{
	if (log->used == 0 || log->buffer[0] != '\n')
		return;
	memmove(log->buffer, log->buffer + 1, --log->used);
	log->last--;
	log->seals.end -= log->seals.end != 0;
}

/* ---- seals, from one run to the next -----------------------------------------------------------
 */

static void
state_read(struct auditlog *log)
{
	uint8_t state[SEAL_STATE_LEN + 1];
	size_t len = bytes_read(log->seals.fd, (char *)state, sizeof(state), 0);

	if (!seal_state_read(state, len, &log->seals.key))
		fatal("%s%s is damaged: no seal can be made with it; without that file nothing is "
		      "sealed",
			log->path, SEAL_SUFFIX);
	explicit_bzero(state, sizeof(state));
}

static bool state_write(struct auditlog *log);

/* The state stood still where the machine did before the disk had it. It follows only a seal that
 * is right: whoever may write the log must not drive it on. */
static void
state_follow(struct auditlog *log, const struct seal_last *last)
{
	struct seal_key key = log->seals.key;

	if (!last->known || !seal_ahead(&key, last->seal.epoch) ||
		!seal_right(&key, &last->seal, last->before, last->body)) {
		log_warning("%s: the last seal, of epoch %" PRIu64 ", is not by %s%s; eghostctl "
			    "verify tells more",
			log->path, last->seal.epoch, file_name(log), SEAL_SUFFIX);
		seal_wipe(&key);
		return;
	}
	seal_next(&key);
	log->seals.key = key;
	seal_wipe(&key);
	if (!state_write(log))
		fatal("nothing can be sealed: not starting");
}

static void
seal_last_compare(struct auditlog *log, const struct seal_last *last)
{
	if (log->seals.fd < 0)
		log_warning("%s was sealed, and is no more: there is no %s%s", log->path,
			file_name(log), SEAL_SUFFIX);
	else if (last->seal.epoch >= log->seals.key.epoch)
		state_follow(log, last);
	else if (last->seal.epoch + 1 < log->seals.key.epoch)
		log_warning("%s ends with the seal of epoch %" PRIu64 ", but %" PRIu64
			    " were made: its end was cut off, or the machine stopped before the "
			    "disk had it",
			log->path, last->seal.epoch, log->seals.key.epoch);
}

/* False when there is no seal in that file. */
static bool
seals_go_on(struct auditlog *log, int fd)
{
	struct seal_last last;
	struct file_end end;

	file_end_read(fd, log->seals.fd < 0 ? TAIL_MAX : SEAL_TAIL_MAX, &end);
	seal_last_read(end.bytes, end.len, end.whole, &last);
	if (last.found)
		seal_last_compare(log, &last);
	free(end.bytes);
	return last.found;
}

/* The key is not to be found in swap space later. */
static void
seals_open(struct auditlog *log, const struct auditlog_files *files)
{
	if (log->seals.fd >= 0) {
		if (mlock(&log->seals.key, sizeof(log->seals.key)) < 0)
			fatal("cannot keep the sealing key in memory: %s", strerror(errno));
		state_read(log);
	}
	if (!seals_go_on(log, log->fd) && files->before >= 0)
		seals_go_on(log, files->before);
}

void
auditlog_open(struct auditlog *log, const struct auditlog_files *files)
{
	*log = (struct auditlog){
		.fd = files->log,
		.dir = files->dir,
		.path = files->path,
		.sync_ns = AUDIT_SYNC_NEVER,
		.seals = { .fd = files->state },
	};
	room_ensure(log, RECORD_MAX);
	snprintf(log->previous, sizeof(log->previous), "%s", file_name(log));
	tail_read(log->fd, &log->before);
	last_line_end(log, &log->before);
	seals_open(log, files);
	if (files->before >= 0 && !log->before.found && !log->before.foreign &&
		log->before.torn == 0)
		predecessor_read(log, files->before);
	if (files->before >= 0)
		close(files->before);
	log->sequence = log->written = log->synced = log->before.sequence;
	memcpy(log->hash, log->before.hash, sizeof(log->hash));
}

/* ---- records -----------------------------------------------------------------------------------
 */

char *
auditlog_room(struct auditlog *log, struct record_head *head)
{
	return auditlog_room_for(log, RECORD_MAX, head);
}

char *
auditlog_room_for(struct auditlog *log, size_t size, struct record_head *head)
{
	room_ensure(log, size + CHAIN_MEMBER_LEN);
	*head = (struct record_head){
		.time = clock_wall(),
		.sequence = ++log->sequence,
		.note = log->outbox != NULL ? outbox_room(log->outbox) : NULL,
	};
	return log->buffer + log->used;
}

void
auditlog_made(struct auditlog *log, size_t len)
{
	if (len == 0)
		fatal("an audit record that does not fit: this is a bug");
	memcpy(log->last_before, log->hash, sizeof(log->last_before));
	log->last = log->used;
	log->last_there = true;
	log->used += chain_append(log->hash, log->buffer + log->used, len);
	if (log->outbox != NULL)
		outbox_made(log->outbox);
}

void
auditlog_begin(struct auditlog *log)
{
	const struct chain_tail *before = &log->before;
	struct record_log_open open = {
		.reason = "start",
		.previous = before->found ? log->previous : NULL,
		.sequence = before->sequence,
		.hash = before->hash,
		.unclean =
			!before->closed && (before->found || before->foreign || before->torn != 0),
		.torn_bytes = before->torn,
		.sealed = log->seals.fd >= 0,
	};
	struct record_head head;
	char *out = auditlog_room(log, &head);

	auditlog_made(log, record_log_open(out, RECORD_MAX, &head, &open));
}

void
auditlog_end(struct auditlog *log, const char *reason)
{
	struct record_head head;
	char *out = auditlog_room(log, &head);

	auditlog_made(log, record_log_close(out, RECORD_MAX, &head, reason));
}

static bool
flush_failed(struct auditlog *log, const char *where, int error)
{
	if (!log->failing)
		log_error("cannot write the audit log %s%s: %s; nothing is destroyed until it can "
			  "be written",
			log->path, where, strerror(error));
	log->failures += !log->failing;
	log->failing = true;
	return false;
}

/* Bytes of the buffer that got out. */
static void
buffer_drop(struct auditlog *log, size_t len)
{
	memmove(log->buffer, log->buffer + len, log->used - len);
	log->used -= len;
	log->last -= len;
	log->seals.end -= log->seals.end != 0 ? len : 0;
	log->last_there = log->used != 0;
}

/* Whole records that got out are forgotten. One that got out in part is kept whole, for another
 * file may have to take it; this one gets the rest only. */
static void
written_forget(struct auditlog *log, size_t done)
{
	const char *eol = memrchr(log->buffer, '\n', done);
	size_t whole = eol == NULL ? 0 : (size_t)(eol - log->buffer) + 1;

	buffer_drop(log, whole);
	log->partial = done - whole;
}

/* The buffer up to there. */
static bool
buffer_write(struct auditlog *log, size_t end)
{
	size_t done = log->partial;

	while (done < end) {
		ssize_t n = write(log->fd, log->buffer + done, end - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int error = n == 0 ? EIO : errno;

			written_forget(log, done);
			return flush_failed(log, "", error);
		}
		done += (size_t)n;
		log->unsynced = log->sync_ns != AUDIT_SYNC_NEVER;
	}
	log->partial = 0;
	buffer_drop(log, end);
	if (log->used == 0)
		log->written = log->sequence;
	return true;
}

/* ---- seals -------------------------------------------------------------------------------------
 */

static bool
state_write(struct auditlog *log)
{
	uint8_t state[SEAL_STATE_LEN];
	ssize_t n;

	seal_state_write(&log->seals.key, state);
	do
		n = pwrite(log->seals.fd, state, sizeof(state), 0);
	while (n < 0 && errno == EINTR);
	explicit_bzero(state, sizeof(state));
	if (n != (ssize_t)sizeof(state))
		return flush_failed(log, SEAL_SUFFIX, n < 0 ? errno : EIO);
	log->seals.owed = false;
	log->seals.unsynced = log->sync_ns != AUDIT_SYNC_NEVER;
	return true;
}

/* False when there is nothing to seal. */
static bool
seal_make(struct auditlog *log)
{
	if (log->seals.fd < 0 || !log->last_there)
		return false;
	if (log->seals.end != 0)
		return true; /* one is under way */
	log->used = log->last + seal_append(&log->seals.key, log->last_before, log->hash,
					log->buffer + log->last, log->used - log->last);
	log->seals.end = log->used;
	return true;
}

/* What is in the buffer, or as much of it as one seal covers. */
static bool
piece_flush(struct auditlog *log)
{
	if (!log->seals.owed) {
		bool sealed = seal_make(log);

		if (!buffer_write(log, sealed ? log->seals.end : log->used))
			return false;
		log->seals.owed = sealed;
	}
	if (log->sync_ns == AUDIT_SYNC_ALWAYS && !auditlog_sync(log))
		return false;
	if (!log->seals.owed)
		return true;
	return state_write(log) && (log->sync_ns != AUDIT_SYNC_ALWAYS || auditlog_sync(log));
}

bool
auditlog_flush(struct auditlog *log)
{
	while (log->used != 0 || log->seals.owed) {
		if (!piece_flush(log))
			return false;
	}
	if (log->failing && !auditlog_sync(log))
		return false;
	if (log->failing)
		log_warning("the audit log %s can be written again", log->path);
	log->failing = false;
	if (log->outbox != NULL)
		outbox_written(log->outbox);
	return true;
}

/* ---- the disk ----------------------------------------------------------------------------------
 */

void
auditlog_sync_when(struct auditlog *log, uint64_t sync_ns)
{
	log->sync_ns = sync_ns;
	if (sync_ns == AUDIT_SYNC_NEVER)
		log->unsynced = log->seals.unsynced = log->sync_failed = false;
}

/* Linux tells once that a page could not be written, and then takes it for clean: that the next try
 * works does not mean that the disk has it. */
static void
sync_works_again(struct auditlog *log)
{
	log_warning("the disk takes the audit log %s again, but may lack the records %" PRIu64
		    " to %" PRIu64 " when the machine stops",
		log->path, log->synced + 1, log->written);
	log->doubtful += log->written - log->synced;
	log->sync_failed = false;
}

static bool
disk_take(struct auditlog *log, int fd, const char *where)
{
	int rc;

	do
		rc = fdatasync(fd);
	while (rc < 0 && errno == EINTR);
	return rc == 0 || flush_failed(log, where, errno);
}

static bool
records_sync(struct auditlog *log)
{
	if (!log->unsynced)
		return true;
	if (!disk_take(log, log->fd, " to the disk")) {
		log->sync_failed = true;
		return false;
	}
	if (log->sync_failed)
		sync_works_again(log);
	log->unsynced = false;
	log->synced = log->written;
	return true;
}

/* The log first: on the disk, too, the state is not to be ahead of it. */
bool
auditlog_sync(struct auditlog *log)
{
	if (!records_sync(log))
		return false;
	if (log->seals.unsynced && !disk_take(log, log->seals.fd, SEAL_SUFFIX " to the disk"))
		return false;
	log->seals.unsynced = false;
	return true;
}

/* ---- rotation ----------------------------------------------------------------------------------
 */

static int
successor_open(const struct auditlog *log)
{
	return openat(log->dir, file_name(log), AUDITLOG_SUCCESSOR_FLAGS, AUDITLOG_SUCCESSOR_MODE);
}

/* The chain goes on from the file that was there before, whatever the new one holds. */
static bool
successor_begin(struct auditlog *log)
{
	struct chain_tail there;
	struct record_log_open open = {
		.reason = "rotated",
		.previous = file_name(log),
		.sequence = log->sequence,
		.sealed = log->seals.fd >= 0,
	};
	char before[CHAIN_LEN];
	struct record_head head;
	char *out;

	tail_read(log->fd, &there);
	last_line_end(log, &there);
	memcpy(before, log->hash, sizeof(before));
	open.hash = before;
	out = auditlog_room(log, &head);
	auditlog_made(log, record_log_open(out, RECORD_MAX, &head, &open));
	return auditlog_flush(log);
}

/* Takes fd. What the old file cannot take any more goes to the new one. */
static bool
successor_take(struct auditlog *log, int fd)
{
	auditlog_end(log, "rotated");
	if (auditlog_flush(log))
		auditlog_sync(log);
	if (dup3(fd, log->fd, O_CLOEXEC) < 0)
		fatal("cannot put the new audit log in place: %s", strerror(errno));
	close(fd);
	log->partial = 0;
	log->unsynced = false;
	last_line_forget(log);
	return successor_begin(log);
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
	if (file_stat(fd, &now) < 0 || file_stat(log->fd, &old) < 0) {
		log_error("cannot look at %s: %s; records go on to the file before it", log->path,
			strerror(errno));
		close(fd);
		return false;
	}
	if (!S_ISREG(now.st_mode) || now.st_nlink != 1) {
		log_error("%s is not a regular file with one name; records go on to the file "
			  "before it",
			log->path);
		close(fd);
		return false;
	}
	/* Who owns it can rewrite it. */
	if (now.st_uid != 0 && now.st_uid != getuid() && now.st_uid != old.st_uid) {
		log_error(
			"%s belongs to uid %u, expected root or the broker (%u); records go on to "
			"the file before it",
			log->path, now.st_uid, getuid());
		close(fd);
		return false;
	}
	if (now.st_dev == old.st_dev && now.st_ino == old.st_ino) {
		close(fd);
		return true;
	}
	return successor_take(log, fd);
}
