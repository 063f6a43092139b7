/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/auditlog.c broker/outbox.c broker/chain.c broker/seal.c broker/record.c broker/note.c broker/json.c broker/policy.c broker/exitclass.c proto/wire.c proto/log.c broker/budget.c broker/keyed.c | pkg: nettle */
/* clang-format on */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "broker/auditlog.h"

static char folder[] = "/tmp/eghostbuster-test-XXXXXX";
static char path[64], other[64];
static int dir = -1, predecessor = -1;
static struct auditlog audit;

/* The disk is played: what it has taken, and whether it does. */
static struct {
	int error; /* of the next tries, 0: none */
	unsigned calls;
	ino_t inode; /* of the last file, and its size then */
	off_t size;
} disk;

int
fdatasync(int fd)
{
	struct stat st;

	disk.calls++;
	if (disk.error != 0) {
		errno = disk.error;
		disk.error = disk.error == EINTR ? 0 : disk.error;
		return -1;
	}
	if (fstat(fd, &st) < 0)
		return -1;
	disk.inode = st.st_ino;
	disk.size = st.st_size;
	return 0;
}

static int
group_setup(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/audit.jsonl", folder);
	snprintf(other, sizeof(other), "%s/audit.jsonl.1", folder);
	dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? -1 : 0;
}

static int
group_teardown(void **state)
{
	(void)state;
	close(dir);
	return rmdir(folder);
}

static int
file_open(const char *name)
{
	return open(name, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

static int state_fd = -1; /* of the seals */

static void
log_open_with(int fd, int before)
{
	auditlog_open(&audit,
		&(struct auditlog_files){
			.path = path, .log = fd, .dir = dir, .before = before, .state = state_fd });
}

/* An empty file, open. */
static int
setup(void **state)
{
	int fd = file_open(path);

	(void)state;
	if (fd < 0 || stderr_keep() < 0)
		return -1;
	memset(&disk, 0, sizeof(disk));
	log_open_with(fd, -1);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	stderr_give_back();
	close(audit.fd);
	free(audit.buffer);
	unlink(other);
	return unlink(path);
}

/* ---- files and records ---- */

static char text[1 << 20];

static size_t
file_read(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n;

	if (fd < 0)
		return (size_t)-1;
	while ((n = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	close(fd);
	return used;
}

static void
file_write(const char *name, const char *what)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	assert_int_equal(write(fd, what, strlen(what)), strlen(what));
	close(fd);
}

/* A record that says its own number. */
static void
record_add(void)
{
	struct record_head head;
	char *out = auditlog_room(&audit, &head), reason[32];

	snprintf(reason, sizeof(reason), "r%u", (unsigned)head.sequence);
	auditlog_made(&audit, record_log_close(out, RECORD_MAX, &head, reason));
}

static void
records_add(unsigned count)
{
	while (count-- > 0)
		record_add();
}

/* The file's lines are whole records of the sequence numbers first ... last, and nothing else.
 * False when they are not: for use in children, too. */
static bool
file_holds(const char *name, unsigned first, unsigned last)
{
	char want[64];
	const char *line = text, *eol;

	if (file_read(name) == (size_t)-1)
		return false;
	for (unsigned i = first; i <= last; i++, line = eol + 1) {
		eol = strchr(line, '\n');
		if (eol == NULL || strncmp(line, "{\"@timestamp\":\"2", 16) != 0 || eol[-1] != '}')
			return false;
		snprintf(want, sizeof(want), ",\"event.sequence\":%u,", i);
		if (memmem(line, (size_t)(eol - line), want, strlen(want)) == NULL)
			return false;
	}
	return *line == '\0';
}

static void
test_nothing_to_write(void **state)
{
	(void)state;
	assert_true(auditlog_flush(&audit));
	assert_int_equal(file_read(path), 0);
	assert_int_equal(audit.sequence, 0);
}

static void
test_written_by_flush_only(void **state)
{
	(void)state;
	records_add(3);
	assert_int_equal(file_read(path), 0);
	assert_true(auditlog_flush(&audit));
	assert_true(file_holds(path, 1, 3));
	assert_true(auditlog_flush(&audit));
	records_add(2);
	assert_true(auditlog_flush(&audit));
	assert_true(file_holds(path, 1, 5));
}

static void
test_time_is_now(void **state)
{
	struct record_head head;
	struct timespec before, after;

	(void)state;
	clock_gettime(CLOCK_REALTIME, &before);
	auditlog_room(&audit, &head);
	clock_gettime(CLOCK_REALTIME, &after);
	assert_in_range(head.time.ns, (uint64_t)before.tv_sec * NS_PER_S + (uint64_t)before.tv_nsec,
		(uint64_t)after.tv_sec * NS_PER_S + (uint64_t)after.tv_nsec);
	assert_int_equal(head.sequence, 1);
}

/* More than the buffer begins with; all of one turn in one write(2), which a packet socket shows.
 */
static void
test_one_write(void **state)
{
	int pair[2], size = 1 << 20;
	ssize_t n;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	assert_true(dup2(pair[0], audit.fd) >= 0);
	records_add(1200);
	assert_true(audit.used > 128 * 1024);
	assert_true(auditlog_flush(&audit));
	n = recv(pair[1], text, sizeof(text), 0);
	assert_true(n > 128 * 1024);
	assert_int_equal(text[n - 1], '\n');
	assert_true(recv(pair[1], text, sizeof(text), 0) < 0);
	close(pair[0]);
	close(pair[1]);
}

static void
make_nothing(void *arg)
{
	(void)arg;
	auditlog_made(&audit, 0);
}

static void
test_a_record_that_does_not_fit(void **state)
{
	char said[1024];

	(void)state;
	assert_int_equal(child_run(make_nothing, NULL, said, sizeof(said)), 1);
	assert_one_line(said, "this is a bug");
}

/* ---- a file that cannot be written ---- */

static void
test_full_device(void **state)
{
	int full = open("/dev/full", O_RDWR | O_APPEND | O_CLOEXEC), file = dup(audit.fd);

	(void)state;
	assert_true(full >= 0 && dup2(full, audit.fd) >= 0);
	for (unsigned i = 0; i < 5; i++) {
		records_add(3);
		assert_false(auditlog_flush(&audit));
		assert_true(audit.failing);
	}
	assert_int_equal(stderr_count("cannot write the audit log"), 1);
	assert_int_equal(stderr_count("No space left on device"), 1);
	assert_true(dup2(file, audit.fd) >= 0);
	assert_true(auditlog_flush(&audit));
	assert_false(audit.failing);
	assert_int_equal(stderr_count("can be written again"), 1);
	records_add(1);
	assert_true(auditlog_flush(&audit));
	assert_true(file_holds(path, 1, 16));
	close(full);
	close(file);
}

static void
file_limit(rlim_t bytes)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
		_exit(90);
	limit.rlim_cur = bytes;
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		_exit(91);
}

/* The file takes only so many bytes, then so many more, then all. */
static void
write_in_parts(void *arg)
{
	const rlim_t *parts = arg;

	signal(SIGXFSZ, SIG_IGN);
	close(STDERR_FILENO); /* the pipe is no place for a thousand warnings */
	records_add(5);
	for (unsigned i = 0; i < 3; i++) {
		file_limit(parts[i]);
		if (auditlog_flush(&audit) || !audit.failing)
			_exit(10);
		if (file_read(path) != parts[i])
			_exit(11);
		record_add();
	}
	file_limit(RLIM_INFINITY);
	if (!auditlog_flush(&audit) || audit.failing)
		_exit(12);
	record_add();
	if (!auditlog_flush(&audit))
		_exit(13);
	_exit(file_holds(path, 1, 9) ? 0 : 14);
}

/* A record is about a hundred bytes: every place in it where a write can end. */
static void
test_partial_writes(void **state)
{
	char said[1024];

	(void)state;
	for (rlim_t at = 0; at < 250; at++) {
		rlim_t parts[3] = { at, at + at % 3, at + 120 };

		assert_int_equal(truncate(path, 0), 0);
		assert_int_equal(child_run(write_in_parts, parts, said, sizeof(said)), 0);
	}
}

/* A record cut by a full disk goes to the next file whole, once; the old file keeps what it has of
 * it. */
static void
rotate_when_full(void *arg)
{
	rlim_t room = *(const rlim_t *)arg;

	signal(SIGXFSZ, SIG_IGN);
	records_add(3);
	file_limit(room);
	if (auditlog_flush(&audit) || file_read(path) != room)
		_exit(10);
	if (rename(path, other) < 0)
		_exit(11);
	file_write(path, "");
	if (auditlog_reopen(&audit)) /* the limit is on each file */
		_exit(12);
	file_limit(RLIM_INFINITY);
	if (!auditlog_flush(&audit))
		_exit(13);
	_exit(0);
}

static void
test_rotation_of_a_full_file(void **state)
{
	rlim_t room = 20;
	char said[4096];

	(void)state;
	assert_int_equal(child_run(rotate_when_full, &room, said, sizeof(said)), 0);
	assert_true(file_holds(path, 1, 5)); /* three, log-close, log-open */
	assert_non_null(strstr(text, "\"event.action\":\"log-close\""));
	assert_int_equal(file_read(other), room);
}

/* ---- when the disk has it ---- */

static void
test_never_synced(void **state)
{
	(void)state;
	records_add(3);
	assert_true(auditlog_flush(&audit) && auditlog_sync(&audit));
	assert_false(audit.unsynced);
	assert_int_equal(disk.calls, 0);
}

/* All that a flush has written, before it returns; and nothing when there was nothing to write. */
static void
test_always_synced(void **state)
{
	(void)state;
	auditlog_sync_when(&audit, AUDIT_SYNC_ALWAYS);
	assert_true(auditlog_flush(&audit));
	assert_int_equal(disk.calls, 0);
	for (unsigned i = 1; i <= 3; i++) {
		records_add(i);
		disk.error = EINTR;
		assert_true(auditlog_flush(&audit));
		assert_int_equal(disk.calls, 2 * i);
		assert_int_equal(disk.size, file_read(path));
	}
	assert_int_equal(stderr_count("\n"), 0);
}

static void
test_synced_by_and_by(void **state)
{
	(void)state;
	auditlog_sync_when(&audit, NS_PER_S);
	assert_false(audit.unsynced);
	for (unsigned i = 0; i < 3; i++) {
		records_add(2);
		assert_true(auditlog_flush(&audit));
		assert_true(audit.unsynced);
	}
	assert_int_equal(disk.calls, 0);
	assert_true(auditlog_sync(&audit));
	assert_false(audit.unsynced);
	assert_true(auditlog_sync(&audit));
	assert_int_equal(disk.calls, 1);
	assert_int_equal(disk.size, file_read(path));
}

/* As a file that cannot be written; and what the kernel may have given up is named. */
static void
disk_fails(uint64_t sync_ns)
{
	auditlog_sync_when(&audit, sync_ns);
	records_add(2);
	assert_true(auditlog_flush(&audit) && auditlog_sync(&audit));
	disk.error = EIO;
	for (unsigned i = 0; i < 3; i++) {
		records_add(1);
		auditlog_flush(&audit);
		assert_false(auditlog_sync(&audit));
		assert_true(audit.failing);
		assert_false(auditlog_flush(&audit));
	}
	assert_true(file_holds(path, 1, 5));
	assert_int_equal(stderr_count("\n"), 1);
	assert_int_equal(stderr_count("cannot write the audit log"), 1);
	assert_int_equal(stderr_count("to the disk: Input/output error"), 1);
	disk.error = 0;
	assert_true(auditlog_flush(&audit));
	assert_false(audit.failing || audit.unsynced);
	assert_int_equal(stderr_count("may lack the records 3 to 5 when"), 1);
	assert_int_equal(stderr_count("can be written again"), 1);
	records_add(1);
	assert_true(auditlog_flush(&audit) && auditlog_sync(&audit));
	assert_int_equal(stderr_count("\n"), 3);
}

static void
test_a_disk_that_fails(void **state)
{
	(void)state;
	disk_fails(AUDIT_SYNC_ALWAYS);
}

static void
test_a_disk_that_fails_later(void **state)
{
	(void)state;
	disk_fails(NS_PER_S);
}

/* The administrator, whose disk hangs, wants no more of it. */
static void
test_synced_no_more(void **state)
{
	(void)state;
	auditlog_sync_when(&audit, AUDIT_SYNC_ALWAYS);
	disk.error = EIO;
	records_add(1);
	assert_false(auditlog_flush(&audit));
	auditlog_sync_when(&audit, AUDIT_SYNC_NEVER);
	assert_true(auditlog_flush(&audit));
	assert_false(audit.failing);
	assert_int_equal(disk.calls, 1);
}

/* The old file, to its end, before it is left; the new one, which nothing has been written to yet.
 */
static void
test_a_rotated_file_is_synced(void **state)
{
	struct stat old;

	(void)state;
	auditlog_sync_when(&audit, NS_PER_S);
	records_add(2);
	assert_int_equal(rename(path, other), 0);
	file_write(path, "");
	assert_true(auditlog_reopen(&audit));
	assert_int_equal(stat(other, &old), 0);
	assert_int_equal(disk.calls, 1);
	assert_true(disk.inode == old.st_ino && disk.size == old.st_size);
	assert_true(audit.unsynced); /* its log-open */
}

/* ---- a file that ends in the middle of a line ---- */

static void
reopened_with(const char *before)
{
	close(audit.fd);
	free(audit.buffer);
	file_write(path, before);
	log_open_with(file_open(path), predecessor);
}

static void
test_torn_line(void **state)
{
	static const char *const torn[] = { "{\"@timestamp\":\"20", "{\"a\":1}\n{", "x", "\n\nx" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(torn); i++) {
		reopened_with(torn[i]);
		assert_int_equal(stderr_count("ends in the middle of a record"), i + 1);
		assert_int_equal(file_read(path), strlen(torn[i])); /* not before the first flush */
		record_add();
		assert_true(auditlog_flush(&audit));
		file_read(path);
		assert_memory_equal(text, torn[i], strlen(torn[i]));
		assert_memory_equal(text + strlen(torn[i]), "\n{\"@timestamp\"", 14);
	}
}

static void
test_whole_line(void **state)
{
	static const char *const whole[] = { "", "\n", "{\"a\":1}\n" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(whole); i++) {
		reopened_with(whole[i]);
		record_add();
		assert_true(auditlog_flush(&audit));
		file_read(path);
		assert_memory_equal(text, whole[i], strlen(whole[i]));
		assert_memory_equal(text + strlen(whole[i]), "{\"@timestamp\"", 13);
	}
	assert_int_equal(stderr_count("ends in the middle"), 0);
}

/* ---- rotation ---- */

static void
last_action_expect(const char *action, const char *reason)
{
	char want[128], *last = memrchr(text, '\n', strlen(text) - 1);

	snprintf(want, sizeof(want), "\"event.action\":\"%s\",\"event.reason\":\"%s\",", action,
		reason);
	assert_non_null(strstr(last == NULL ? text : last, want));
}

static void
test_rotation(void **state)
{
	int fd = audit.fd;

	(void)state;
	records_add(2);
	assert_true(auditlog_flush(&audit));
	records_add(1); /* of this turn: belongs to the old file */
	assert_int_equal(rename(path, other), 0);
	file_write(path, "");
	assert_true(auditlog_reopen(&audit));
	assert_int_equal(audit.fd, fd);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_APPEND | O_ACCMODE), O_APPEND | O_RDWR);
	assert_true(file_holds(other, 1, 4));
	last_action_expect("log-close", "rotated");
	assert_true(file_holds(path, 5, 5));
	last_action_expect("log-open", "rotated");
	records_add(1);
	assert_true(auditlog_flush(&audit));
	assert_true(file_holds(path, 5, 6));
	assert_int_equal(stderr_count("\n"), 0);
}

/* A file put there that an earlier run has left in mid-line. */
static void
test_rotation_to_a_torn_file(void **state)
{
	(void)state;
	assert_int_equal(rename(path, other), 0);
	file_write(path, "{\"half");
	assert_true(auditlog_reopen(&audit));
	file_read(path);
	assert_memory_equal(text, "{\"half\n{\"@timestamp\"", 20);
	last_action_expect("log-open", "rotated");
	assert_int_equal(stderr_count("ends in the middle of a record"), 1);
}

/* The newline that the file before it lacked, and had no room for, is none of the new one's. */
static void
rotate_torn_and_full(void *arg)
{
	(void)arg;
	signal(SIGXFSZ, SIG_IGN);
	reopened_with("x");
	records_add(3);
	file_limit(1);
	if (auditlog_flush(&audit) || file_read(path) != 1)
		_exit(10);
	if (rename(path, other) < 0)
		_exit(11);
	file_write(path, "");
	auditlog_reopen(&audit);
	file_limit(RLIM_INFINITY);
	_exit(auditlog_flush(&audit) ? 0 : 12);
}

static void
test_rotation_of_a_torn_full_file(void **state)
{
	char said[4096];

	(void)state;
	assert_int_equal(child_run(rotate_torn_and_full, NULL, said, sizeof(said)), 0);
	assert_true(file_holds(path, 1, 5));
	assert_int_equal(file_read(other), 1);
}

/* The number the next descriptor would get: grows when one is lost. */
static int
next_fd(void)
{
	int fd = dup(dir);

	close(fd);
	return fd;
}

static void
test_many_rotations(void **state)
{
	int before = next_fd();

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(rename(path, other), 0);
		file_write(path, "");
		assert_true(auditlog_reopen(&audit));
	}
	assert_int_equal(next_fd(), before);
	assert_true(file_holds(path, 100, 100));
	assert_true(file_holds(other, 98, 99));
}

/* The signal without a rotation. */
static void
test_same_file(void **state)
{
	int before = next_fd();

	(void)state;
	records_add(1);
	for (unsigned i = 0; i < 100; i++)
		assert_true(auditlog_reopen(&audit));
	assert_true(auditlog_flush(&audit));
	assert_true(file_holds(path, 1, 1));
	assert_int_equal(next_fd(), before);
}

static void
refused_expect(void)
{
	struct stat before, after;
	int fd_before = next_fd();

	records_add(1);
	assert_int_equal(fstat(audit.fd, &before), 0);
	assert_false(auditlog_reopen(&audit));
	assert_int_equal(fstat(audit.fd, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(next_fd(), fd_before);
	assert_true(auditlog_flush(&audit));
	assert_int_equal(stderr_count("records go on to the file"), 1);
	assert_true(file_holds(other, 1, 1));
}

static void
test_symlink_refused(void **state)
{
	char target[80];

	(void)state;
	assert_int_equal(rename(path, other), 0);
	snprintf(target, sizeof(target), "%s/target", folder);
	assert_int_equal(symlink("target", path), 0);
	refused_expect();
	assert_int_equal(access(target, F_OK), -1); /* nor made */
	unlink(target);
}

static void
test_symlink_to_itself_refused(void **state)
{
	(void)state;
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink("audit.jsonl.1", path), 0); /* even to the file in use */
	refused_expect();
}

static void
test_fifo_refused(void **state)
{
	(void)state;
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(mkfifo(path, 0640), 0);
	refused_expect(); /* and no waiting for a reader */
}

static void
test_socket_refused(void **state)
{
	(void)state;
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(mknod(path, S_IFSOCK | 0640, 0), 0);
	refused_expect();
}

static void
test_hard_link_refused(void **state)
{
	char victim[80];

	(void)state;
	assert_int_equal(rename(path, other), 0);
	snprintf(victim, sizeof(victim), "%s/victim", folder);
	file_write(victim, "");
	assert_int_equal(link(victim, path), 0);
	refused_expect();
	assert_int_equal(file_read(victim), 0);
	unlink(victim);
}

static void
test_folder_refused(void **state)
{
	(void)state;
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(mkdir(path, 0750), 0);
	refused_expect();
	assert_int_equal(rmdir(path), 0);
	file_write(path, ""); /* for teardown */
}

/* The folder cannot be searched any more: an fd that is none stands for it. */
static void
test_folder_lost(void **state)
{
	(void)state;
	assert_int_equal(rename(path, other), 0);
	audit.dir = -1;
	refused_expect();
	file_write(path, "");
}

/* What the old file could not take goes to the new one. */
static void
test_rotation_away_from_a_full_device(void **state)
{
	int full = open("/dev/full", O_RDWR | O_APPEND | O_CLOEXEC);

	(void)state;
	assert_true(full >= 0 && dup2(full, audit.fd) >= 0);
	records_add(2);
	assert_false(auditlog_flush(&audit));
	assert_true(auditlog_reopen(&audit));
	assert_false(audit.failing);
	assert_int_equal(stderr_count("can be written again"), 1);
	assert_true(file_holds(path, 1, 4)); /* two, log-close, log-open */
	close(full);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* ---- the chain over files and runs ---- */

/* Another run begins with the file as the last one left it. */
static void
restart(void)
{
	auditlog_flush(&audit);
	close(audit.fd);
	free(audit.buffer);
	log_open_with(file_open(path), predecessor);
}

static void
begun(void)
{
	auditlog_begin(&audit);
	assert_true(auditlog_flush(&audit));
}

/* Every line follows the one before it; lines that are no records are passed over. */
static void
chain_expect(const char *name, char hash[CHAIN_LEN], uint64_t sequence)
{
	const char *line = text, *eol;
	struct chain_line r;

	assert_true(file_read(name) != (size_t)-1);
	for (; (eol = strchr(line, '\n')) != NULL; line = eol + 1) {
		if (!chain_line_read(line, (size_t)(eol - line), &r))
			continue;
		chain_next(hash, line, r.body_len);
		assert_memory_equal(hash, r.hash, CHAIN_DIGITS);
		assert_int_equal(r.sequence, sequence++);
	}
	assert_int_equal(sequence, audit.sequence + 1);
	assert_string_equal(hash, audit.hash);
}

static void
chain_whole(void)
{
	char hash[CHAIN_LEN];

	memcpy(hash, chain_origin, sizeof(hash));
	chain_expect(path, hash, 1);
}

static void
test_chain_over_runs(void **state)
{
	(void)state;
	begun();
	assert_non_null(strstr((file_read(path), text), "\"eghostbuster.log.previous\":null,"
							"\"eghostbuster.log.unclean\":false"));
	records_add(2);
	auditlog_end(&audit, "stop");
	restart();
	begun();
	chain_whole();
	assert_non_null(strstr(text, "\"eghostbuster.log.previous\":{\"file\":\"audit.jsonl\","
				     "\"sequence\":4,\"hash\":\""));
	assert_null(strstr(text, "\"eghostbuster.log.unclean\":true"));
}

static void
test_chain_behind_a_crash(void **state)
{
	(void)state;
	begun();
	record_add();
	assert_true(auditlog_flush(&audit));
	assert_int_equal(write(audit.fd, "{\"@timest", 9), 9);
	restart();
	begun();
	chain_whole();
	assert_non_null(strstr(text, "\"sequence\":2,\"hash\":\""));
	assert_non_null(strstr(text, "\"eghostbuster.log.unclean\":true,"
				     "\"eghostbuster.log.torn_bytes\":9,"));
}

/* Killed between two writes: nothing is torn, and yet the end is missing. */
static void
test_chain_behind_a_kill(void **state)
{
	(void)state;
	begun();
	records_add(1);
	restart();
	begun();
	chain_whole();
	/* The first of the two is what records_add() makes: a log-close. */
	assert_null(strstr(text, "\"eghostbuster.log.unclean\":true"));
	restart();
	begun();
	chain_whole();
	assert_non_null(strstr(text, "\"eghostbuster.log.unclean\":true"));
	assert_null(strstr(text, "torn_bytes"));
}

static void
test_chain_over_rotations(void **state)
{
	char hash[CHAIN_LEN];

	(void)state;
	begun();
	record_add();
	assert_int_equal(rename(path, other), 0);
	file_write(path, "");
	assert_true(auditlog_reopen(&audit));
	record_add();
	assert_true(auditlog_flush(&audit));
	memcpy(hash, chain_origin, sizeof(hash));
	file_read(other);
	for (const char *line = text, *eol; (eol = strchr(line, '\n')) != NULL; line = eol + 1)
		chain_next(hash, line, (size_t)(eol - line) - CHAIN_MEMBER_LEN - 1);
	chain_expect(path, hash, 4);
}

/* Rotated while nothing ran: the new file goes on from the old one, wherever it stopped. */
static void
test_chain_over_a_rotation_at_rest(void **state)
{
	char hash[CHAIN_LEN];

	(void)state;
	begun();
	record_add();
	assert_true(auditlog_flush(&audit));
	memcpy(hash, audit.hash, sizeof(hash));
	assert_int_equal(rename(path, other), 0);
	file_write(path, "");
	predecessor = open(other, O_RDONLY | O_CLOEXEC);
	restart();
	assert_int_equal(fcntl(predecessor, F_GETFD), -1);
	predecessor = -1;
	begun();
	chain_expect(path, hash, 3);
	assert_non_null(strstr(text, "\"eghostbuster.log.previous\":{\"file\":\"audit.jsonl.1\","
				     "\"sequence\":2,"));
}

/* A file that holds no record is no predecessor, and one that holds records of its own has none. */
static void
test_no_predecessor(void **state)
{
	(void)state;
	file_write(other, "hello\n");
	predecessor = open(other, O_RDONLY | O_CLOEXEC);
	restart();
	predecessor = -1;
	begun();
	chain_whole();
	assert_non_null(strstr(text, "\"eghostbuster.log.previous\":null,"));
	auditlog_end(&audit, "stop");
	predecessor = open("/dev/null", O_RDONLY | O_CLOEXEC);
	restart();
	predecessor = -1;
	begun();
	chain_whole();
	assert_non_null(strstr(text, "{\"file\":\"audit.jsonl\",\"sequence\":2,"));
}

/* Somebody else's lines: passed over, and said to be no clean end. */
static void
test_chain_behind_foreign_lines(void **state)
{
	(void)state;
	begun();
	auditlog_end(&audit, "stop");
	assert_true(auditlog_flush(&audit));
	assert_int_equal(write(audit.fd, "hello\n", 6), 6);
	restart();
	begun();
	chain_whole();
	assert_non_null(strstr(text, "\"eghostbuster.log.unclean\":true"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FILE(test_nothing_to_write),
		WITH_FILE(test_written_by_flush_only),
		WITH_FILE(test_time_is_now),
		WITH_FILE(test_one_write),
		WITH_FILE(test_a_record_that_does_not_fit),
		WITH_FILE(test_full_device),
		WITH_FILE(test_partial_writes),
		WITH_FILE(test_rotation_of_a_full_file),
		WITH_FILE(test_never_synced),
		WITH_FILE(test_always_synced),
		WITH_FILE(test_synced_by_and_by),
		WITH_FILE(test_a_disk_that_fails),
		WITH_FILE(test_a_disk_that_fails_later),
		WITH_FILE(test_synced_no_more),
		WITH_FILE(test_a_rotated_file_is_synced),
		WITH_FILE(test_torn_line),
		WITH_FILE(test_whole_line),
		WITH_FILE(test_rotation),
		WITH_FILE(test_rotation_to_a_torn_file),
		WITH_FILE(test_rotation_of_a_torn_full_file),
		WITH_FILE(test_many_rotations),
		WITH_FILE(test_same_file),
		WITH_FILE(test_symlink_refused),
		WITH_FILE(test_symlink_to_itself_refused),
		WITH_FILE(test_fifo_refused),
		WITH_FILE(test_socket_refused),
		WITH_FILE(test_hard_link_refused),
		WITH_FILE(test_folder_refused),
		WITH_FILE(test_folder_lost),
		WITH_FILE(test_rotation_away_from_a_full_device),
		WITH_FILE(test_chain_over_runs),
		WITH_FILE(test_chain_behind_a_crash),
		WITH_FILE(test_chain_behind_a_kill),
		WITH_FILE(test_chain_over_rotations),
		WITH_FILE(test_chain_over_a_rotation_at_rest),
		WITH_FILE(test_no_predecessor),
		WITH_FILE(test_chain_behind_foreign_lines),
	};

	return cmocka_run_group_tests_name("auditlog", tests, group_setup, group_teardown);
}
