/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/auditlog.c broker/outbox.c broker/chain.c broker/seal.c broker/record.c broker/note.c broker/json.c broker/policy.c broker/exitclass.c proto/wire.c proto/log.c broker/budget.c broker/keyed.c | pkg: jansson nettle */
/* clang-format on */
/*
 * The audit log on top of a file that is already there and ends anyhow, on a disk that takes some
 * of a write, none, or fails, and with rotations in between. What was in the file stays; behind it
 * come whole records, each once and in order, whatever file they are in; and where there is a state
 * of seals, seals without a gap, up to the last record.
 *
 * The input: the length of what is there, that, and one byte for each act. verify.c has the reader
 * of whole logs.
 */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/auditlog.h"
#include "line.h"

#define FILES_MAX 8u
#define ACTS_MAX  64u

enum goal {
	GOAL_GOES_ON,
	GOAL_BEFORE,
	GOAL_FAILED,
	GOAL_ROTATED,
	GOAL_SEALED,
	GOAL_STATE_FAILED,
	GOALS
};
FUZZ_GOALS(GOALS);

static char folder[64];
static char path[96], old[FILES_MAX][128];
static int dir = -1;
static unsigned rotated;
static struct auditlog audit;
static uint64_t expected; /* the next record's number */
static struct {
	bool on;
	int error;   /* of the next writes, 0: none */
	size_t room; /* bytes that the disk still takes */
	bool state;  /* the state's file is what fails */
} disk;

/* The log's own descriptor is played; what would be said of it is not. */
ssize_t
write(int fd, const void *data, size_t len)
{
	if (fd == STDERR_FILENO)
		return (ssize_t)len;
	if (!disk.on || fd != audit.fd)
		return syscall(SYS_write, fd, data, len);
	if (disk.room == 0 && disk.error != 0) {
		REACHED(GOAL_FAILED);
		errno = disk.error;
		return -1;
	}
	if (len > disk.room)
		len = disk.room;
	disk.room -= len;
	return syscall(SYS_write, fd, data, len);
}

/* The state of the seals: on the same disk. */
static int state = -1;
static struct {
	struct seal_key key; /* of the seal that has to come next */
	bool on;
	bool bare;	      /* the last record had none */
	char hash[CHAIN_LEN]; /* of the record before */
} seals;

ssize_t
pwrite(int fd, const void *data, size_t len, off_t at)
{
	if (fd == state && disk.on && disk.state && disk.error != 0) {
		REACHED(GOAL_STATE_FAILED);
		errno = disk.error;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, data, len, at);
}

static void
state_begin(bool sealed)
{
	static const uint8_t root[SEAL_KEY_LEN];
	uint8_t bytes[SEAL_STATE_LEN];

	seals.on = sealed;
	seals.bare = false;
	seal_begin(&seals.key, root);
	seal_state_write(&seals.key, bytes);
	REQUIRE(syscall(SYS_pwrite64, state, bytes, sizeof(bytes), 0) == (long)sizeof(bytes));
}

static void
folder_remove(void)
{
	rmdir(folder);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	strcpy(folder, "/dev/shm/eghostbuster-fuzz-XXXXXX");
	if (mkdtemp(folder) == NULL) {
		strcpy(folder, "/tmp/eghostbuster-fuzz-XXXXXX");
		REQUIRE(mkdtemp(folder) != NULL);
	}
	snprintf(path, sizeof(path), "%s/audit.jsonl", folder);
	for (unsigned i = 0; i < FILES_MAX; i++)
		snprintf(old[i], sizeof(old[i]), "%s.%u", path, i);
	dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	state = memfd_create("state", MFD_CLOEXEC);
	REQUIRE(dir >= 0 && state >= 0);
	atexit(folder_remove);
	return 0;
}

/* What is there is in the file, or in the one before it, which is given up. */
static void
log_begin(const uint8_t *there, size_t len, bool before)
{
	int other = before ? memfd_create("before", MFD_CLOEXEC) : -1;
	int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	REQUIRE(fd >= 0 && (other >= 0 || !before));
	REQUIRE(syscall(SYS_write, before ? other : fd, there, len) == (long)len);
	disk.on = false;
	rotated = 0;
	auditlog_open(&audit, &(struct auditlog_files){ .path = path,
				      .log = fd,
				      .dir = dir,
				      .before = other,
				      .state = seals.on ? state : -1 });
	memcpy(seals.hash, audit.hash, sizeof(seals.hash));
	expected = audit.sequence + 1;
	if (audit.before.found)
		REACHED(before ? GOAL_BEFORE : GOAL_GOES_ON);
	auditlog_begin(&audit);
	disk.on = true;
	disk.error = 0;
	disk.room = SIZE_MAX;
}

static void
record_add(unsigned length)
{
	struct record_head head;
	char reason[64], *out = auditlog_room(&audit, &head);

	memset(reason, 'r', sizeof(reason));
	reason[length] = '\0';
	auditlog_made(&audit, record_log_close(out, RECORD_MAX, &head, reason));
}

static void
rotate(void)
{
	REACHED(GOAL_ROTATED);
	if (rotated < FILES_MAX)
		REQUIRE(rename(path, old[rotated++]) == 0);
	auditlog_reopen(&audit);
}

static void
act(unsigned what)
{
	static const int errors[] = { EINTR, ENOSPC, EIO, EROFS };

	switch (what / 64) {
	case 0:
		record_add(what % 64);
		break;
	case 1:
		REQUIRE(auditlog_flush(&audit) == (audit.used == 0 && !audit.seals.owed));
		break;
	case 2: /* the disk fills up or fails; EINTR for ever would be a hang, here and there */
		disk.error = errors[what % 4];
		disk.state = (what & 4) != 0;
		disk.room = disk.state ? SIZE_MAX : (what % 64) / 4 * 16;
		if (disk.error == EINTR)
			disk.error = 0;
		break;
	default:
		if (what % 4 == 0)
			rotate();
		disk.error = 0;
		disk.room = SIZE_MAX;
	}
}

static void
seal_check(const char *line, size_t len)
{
	struct chain_line r;
	struct seal seal;

	REQUIRE(chain_line_read(line, len, &r));
	seals.bare = !seal_find(line, r.body_len, &seal);
	REQUIRE(seals.bare || seals.on);
	if (!seals.bare) {
		REACHED(GOAL_SEALED);
		REQUIRE(seal_right(&seals.key, &seal, seals.hash, line));
		seal_next(&seals.key);
	}
	memcpy(seals.hash, r.hash, CHAIN_DIGITS);
}

/* The last record is sealed, and the state is ready for the next. */
static void
seals_check(void)
{
	uint8_t bytes[SEAL_STATE_LEN];
	struct seal_key key;

	if (!seals.on)
		return;
	REQUIRE(!seals.bare && pread(state, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
	REQUIRE(seal_state_read(bytes, sizeof(bytes), &key));
	REQUIRE(memcmp(&key, &seals.key, sizeof(key)) == 0);
}

/* The whole records in text: each once, in order. Something that is no line is allowed at the end
 * only, where another file took over. */
static void
lines_check(const char *text, size_t len, bool last)
{
	const char *end = text + len, *eol;

	for (; (eol = memchr(text, '\n', (size_t)(end - text))) != NULL; text = eol + 1) {
		json_t *record = line_read(text, (size_t)(eol + 1 - text));

		REQUIRE(json_integer_value(json_object_get(record, "event.sequence")) ==
			(json_int_t)expected++);
		json_decref(record);
		seal_check(text, (size_t)(eol - text));
	}
	REQUIRE(!last || text == end);
}

static void
file_check(const char *name, const uint8_t *there, size_t len, bool last)
{
	static char text[1 << 20];
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text));
	size_t at = len;

	REQUIRE(n >= (ssize_t)len && n < (ssize_t)sizeof(text));
	REQUIRE(memcmp(text, there, len) == 0);
	if (len > 0 && there[len - 1] != '\n' && (size_t)n > len)
		REQUIRE(text[at++] == '\n');
	lines_check(text + at, (size_t)n - at, last);
	close(fd);
	unlink(name);
}

static void
files_check(const uint8_t *there, size_t len)
{
	for (unsigned i = 0; i < rotated; i++)
		file_check(old[i], there, i == 0 ? len : 0, false);
	file_check(path, there, rotated == 0 ? len : 0, true);
	REQUIRE(expected == audit.sequence + 1);
	seals_check();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned head = (unsigned)input_number(&in, 2);
	bool before = head >= 0x8000;
	size_t len = head % 4096;
	uint8_t *there = input_copy(&in, &len);

	state_begin((head & 0x4000) != 0);
	log_begin(there, len, before);
	for (unsigned i = 0; i < ACTS_MAX && in.left > 0; i++)
		act((unsigned)input_number(&in, 1));
	disk.error = 0;
	disk.room = SIZE_MAX;
	auditlog_end(&audit, "stop");
	REQUIRE(auditlog_flush(&audit) && audit.used == 0 && !audit.failing);
	disk.on = false;
	close(audit.fd);
	free(audit.buffer);
	files_check(there, before ? 0 : len);
	free(there);
	return 0;
}
