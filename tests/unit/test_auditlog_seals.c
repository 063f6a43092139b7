/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/auditlog.c broker/outbox.c broker/chain.c broker/seal.c broker/record.c broker/note.c broker/json.c broker/policy.c broker/exitclass.c proto/wire.c proto/log.c broker/budget.c broker/keyed.c ctl/verify.c | pkg: nettle */
/* clang-format on */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "broker/auditlog.h"
#include "ctl/verify.h"

/*
 * The audit log with seals, through whatever may befall it: the one who checks it with the key, who
 * is the real one, is to find no fault but where something is gone.
 */

static char folder[] = "/tmp/eghostbuster-test-XXXXXX";
static char path[64], other[64], state_path[64];
static int dir = -1, predecessor = -1;
static struct auditlog audit;
static uint8_t root[SEAL_KEY_LEN];

/* ---- what the disk and the state's file are made to answer ---- */

#define STATE_FD 40

static struct {
	int state_error, sync_error; /* of the next calls, 0: none */
	bool state_short;
	char calls[64]; /* a letter each: w(rite) the log, s(ync) it, k(ey) written, K(ey) synced */
} played;

static void
call_note(char letter)
{
	size_t n = strlen(played.calls);

	if (n + 1 < sizeof(played.calls))
		played.calls[n] = letter;
}

ssize_t
pwrite(int fd, const void *bytes, size_t len, off_t at)
{
	assert_int_equal(fd, STATE_FD);
	assert_true(len == SEAL_STATE_LEN && at == 0);
	if (played.state_error != 0) {
		errno = played.state_error;
		played.state_error = played.state_error == EINTR ? 0 : played.state_error;
		return -1;
	}
	call_note('k');
	return syscall(SYS_pwrite64, fd, bytes, played.state_short ? len - 1 : len, at);
}

ssize_t
write(int fd, const void *bytes, size_t len)
{
	if (fd == audit.fd)
		call_note('w');
	return syscall(SYS_write, fd, bytes, len);
}

int
fdatasync(int fd)
{
	errno = played.sync_error;
	if (played.sync_error == 0)
		call_note(fd == STATE_FD ? 'K' : 's');
	return played.sync_error == 0 ? 0 : -1;
}

/* ---- files ---- */

static int
group_setup(void **state)
{
	(void)state;
	random_start();
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/audit.jsonl", folder);
	snprintf(other, sizeof(other), "%s/audit.jsonl.1", folder);
	snprintf(state_path, sizeof(state_path), "%s/audit.jsonl.seal", folder);
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

static char text[4 << 20];
static size_t text_len;

static void
file_read(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	assert_true(fd >= 0 && n >= 0);
	text_len = (size_t)n;
	text[text_len] = '\0';
	close(fd);
}

static void
file_write(const char *name, const void *bytes, size_t len)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	assert_true(fd >= 0);
	assert_int_equal(syscall(SYS_write, fd, bytes, len), len);
	close(fd);
}

/* The state's bytes as the disk has them. */
static void
state_get(uint8_t bytes[SEAL_STATE_LEN])
{
	assert_int_equal(pread(STATE_FD, bytes, SEAL_STATE_LEN, 0), SEAL_STATE_LEN);
}

static void
state_put(const uint8_t bytes[SEAL_STATE_LEN])
{
	assert_int_equal(syscall(SYS_pwrite64, STATE_FD, bytes, SEAL_STATE_LEN, 0), SEAL_STATE_LEN);
}

static uint64_t
state_epoch(void)
{
	uint8_t bytes[SEAL_STATE_LEN];
	struct seal_key key;

	state_get(bytes);
	assert_true(seal_state_read(bytes, sizeof(bytes), &key));
	return key.epoch;
}

static void
log_open_now(int state)
{
	auditlog_open(
		&audit, &(struct auditlog_files){ .path = path,
				.log = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0640),
				.dir = dir,
				.before = predecessor,
				.state = state });
	predecessor = -1;
}

/* Killed: what was in memory is gone. */
static void
killed(void)
{
	close(audit.fd);
	free(audit.buffer);
	audit.fd = -1;
}

static void
begun(void)
{
	auditlog_begin(&audit);
	assert_true(auditlog_flush(&audit));
}

/* An empty log with a new key, begun. */
static void
fresh(void)
{
	uint8_t bytes[SEAL_STATE_LEN];
	struct seal_key key;

	memset(&played, 0, sizeof(played));
	random_fill(root, sizeof(root));
	seal_begin(&key, root);
	seal_state_write(&key, bytes);
	state_put(bytes);
	log_open_now(STATE_FD);
	begun();
}

static int
setup(void **state)
{
	int fd = open(state_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	(void)state;
	if (fd < 0 || dup2(fd, STATE_FD) < 0 || stderr_keep() < 0)
		return -1;
	close(fd);
	fresh();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	stderr_give_back();
	if (audit.fd >= 0)
		killed();
	close(STATE_FD);
	unlink(state_path);
	unlink(other);
	return unlink(path);
}

/* ---- records ---- */

static void
record_add(void)
{
	const struct record_counts counts = { .lost_orphans = audit.sequence };
	struct record_head head;
	char *out = auditlog_room(&audit, &head);

	auditlog_made(&audit, record_lost(out, RECORD_MAX, &head, &counts));
}

static void
records_add(unsigned count)
{
	while (count-- > 0)
		record_add();
}

static void
written(unsigned count)
{
	records_add(count);
	assert_true(auditlog_flush(&audit));
}

/* ---- checking ---- */

static struct verify v;

static void
file_follow(const char *name)
{
	struct place place = { name, 1 };
	const char *eol;

	file_read(name);
	for (const char *line = text; line < text + text_len; line = eol + 1, place.line++) {
		eol = memchr(line, '\n', (size_t)(text + text_len - line));
		if (eol == NULL) {
			verify_line(&v, line, (size_t)(text + text_len - line), true, place);
			return;
		}
		verify_line(&v, line, (size_t)(eol - line), false, place);
	}
}

static bool
checked(void)
{
	verify_begin(&v, NULL, root);
	if (access(other, F_OK) == 0)
		file_follow(other);
	file_follow(path);
	return verify_end(&v);
}

/* Nothing is wrong, and all records are proved. */
static void
whole_expect(uint64_t records, uint64_t seals)
{
	if (!checked())
		fail_msg("%s in line %llu of %s", fault_name(v.fault.kind),
			(unsigned long long)v.fault.place.line, v.fault.place.file);
	assert_int_equal(v.records, records);
	assert_int_equal(v.seals.count, seals);
	assert_int_equal(v.seals.first_epoch, 0);
	assert_int_equal(v.seals.last_epoch, seals - 1);
	assert_int_equal(v.seals.last_record, records);
}

/* ---- without a fault ---- */

static void
test_a_seal_for_each_write(void **state)
{
	(void)state;
	whole_expect(1, 1);
	for (unsigned n = 1; n <= 20; n++) {
		written(n);
		assert_int_equal(state_epoch(), n + 1);
	}
	assert_true(auditlog_flush(&audit));
	whole_expect(211, 21);
	assert_int_equal(stderr_count("\n"), 0);
}

/* What the seal adds has its room, wherever the buffer ends. */
static void
test_room_for_the_seal(void **state)
{
	struct record_head head;
	uint64_t records = 1, seals = 1;

	(void)state;
	for (unsigned n = 0; n < 40; n++) {
		while (audit.size - audit.used > 4 * RECORD_MAX) {
			record_add();
			records++;
		}
		auditlog_room_for(&audit,
			audit.size - audit.used - CHAIN_MEMBER_LEN - SEAL_MEMBER_MAX -
				random_below(200),
			&head);
		audit.sequence--;
		record_add();
		records++;
		assert_true(auditlog_flush(&audit));
		seals++;
	}
	whole_expect(records, seals);
}

static bool
holds(const void *where, size_t size, const uint8_t key[SEAL_KEY_LEN])
{
	return memmem(where, size, key, SEAL_KEY_LEN) != NULL;
}

/* Neither in the file nor in the log's memory is a key of what was written. */
static void
test_no_key_is_left(void **state)
{
	uint8_t bytes[SEAL_STATE_LEN];
	struct seal_key old[5];

	(void)state;
	seal_begin(&old[0], root);
	for (unsigned e = 1; e < 5; e++) {
		old[e] = old[e - 1];
		seal_next(&old[e]);
		written(3);
		state_get(bytes);
		for (unsigned i = 0; i < e + 1; i++) {
			bool wanted = i == e + 1;

			assert_int_equal(holds(bytes, sizeof(bytes), old[i].key), wanted);
			assert_int_equal(holds(&audit, sizeof(audit), old[i].key), wanted);
			assert_false(holds(audit.buffer, audit.size, old[i].key));
		}
	}
	assert_false(holds(bytes, sizeof(bytes), root));
	assert_true(holds(bytes, sizeof(bytes), audit.seals.key.key));
}

static void
test_over_rotations_and_runs(void **state)
{
	(void)state;
	written(2);
	records_add(2);
	assert_int_equal(rename(path, other), 0);
	file_write(path, "", 0);
	assert_true(auditlog_reopen(&audit)); /* two, log-close; log-open */
	written(1);
	auditlog_end(&audit, "stop");
	assert_true(auditlog_flush(&audit));
	killed();
	log_open_now(STATE_FD);
	begun();
	whole_expect(10, 7);
	assert_int_equal(stderr_count("\n"), 0);
}

/* While nothing ran; and the state's file was not told of the last seal. */
static void
test_over_a_rotation_at_rest(void **state)
{
	uint8_t before[SEAL_STATE_LEN];

	(void)state;
	state_get(before);
	written(2);
	state_put(before);
	killed();
	assert_int_equal(rename(path, other), 0);
	file_write(path, "", 0);
	predecessor = open(other, O_RDONLY | O_CLOEXEC);
	log_open_now(STATE_FD);
	begun();
	whole_expect(4, 3);
}

/* ---- killed ---- */

/* Before the log is written, or behind it and before the state is: no epoch is left out. */
static void
test_killed_at_any_time(void **state)
{
	uint8_t before[SEAL_STATE_LEN];

	(void)state;
	records_add(3);
	killed();
	log_open_now(STATE_FD);
	begun();
	whole_expect(2, 2);
	state_get(before);
	written(2);
	state_put(before);
	killed();
	log_open_now(STATE_FD);
	assert_int_equal(state_epoch(), 3);
	begun();
	whole_expect(5, 4);
	assert_int_equal(stderr_count("\n"), 0);
}

static void
file_limit(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* What the next run makes of a file that ends there. */
static void
cut_expect(const char *bytes, size_t at, uint64_t records, uint64_t seals, int state)
{
	file_write(path, bytes, at);
	log_open_now(state);
	begun();
	if (state >= 0) {
		whole_expect(records + 1, seals + 1);
	} else {
		verify_begin(&v, NULL, NULL);
		file_follow(path);
		assert_true(verify_end(&v));
		assert_int_equal(v.records, records + 1);
	}
	assert_int_equal(v.crashes, 1);
	assert_memory_equal(text, bytes, at);
	killed();
}

/* At every byte of a write of three records, sealed or not: what is there stays, the next run says
 * what is torn, and its seal is behind all. Of the record that lacks but its newline nothing is
 * torn. */
static void
test_killed_in_the_middle_of_a_write(void **state)
{
	static char bytes[8192];
	uint8_t before[SEAL_STATE_LEN];
	uint64_t records = 2;
	size_t begin, end;

	(void)state;
	written(1);
	begin = (file_read(path), text_len);
	state_get(before);
	written(3);
	end = (file_read(path), text_len);
	assert_true(end < sizeof(bytes));
	memcpy(bytes, text, end);
	killed();
	for (size_t at = begin, torn = 0; at < end; at++) {
		bool unended = bytes[at] == '\n';

		file_write(path, bytes, at);
		assert_int_equal(checked(), at == begin || torn != 0);
		assert_int_equal(v.torn, torn);
		state_put(before);
		cut_expect(bytes, at, records + unended, at + 1 == end ? 3 : 2, STATE_FD);
		cut_expect(bytes, at, records + unended, 0, -1);
		records += unended;
		torn = unended ? 0 : torn + 1;
	}
}

/* ---- what cannot be written ---- */

/* The disk is full, and has room again, record by record. One seal is under way and no more. */
static void
test_a_full_disk(void **state)
{
	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	for (unsigned n = 0; n < 40; n++) {
		file_read(path);
		file_limit(text_len + random_below(900));
		records_add(1 + (unsigned)random_below(4));
		if (auditlog_flush(&audit))
			continue;
		assert_true(audit.failing);
		assert_in_range(audit.seals.key.epoch, state_epoch(), state_epoch() + 1);
		if (random_below(4) == 0) {
			file_limit(RLIM_INFINITY);
			killed();
			log_open_now(STATE_FD);
			begun();
			assert_true(checked());
		}
	}
	file_limit(RLIM_INFINITY);
	signal(SIGXFSZ, SIG_DFL);
	assert_true(auditlog_flush(&audit));
	written(1);
	assert_true(checked());
	assert_int_equal(v.seals.bare, 0);
}

/* The record that got out in part goes to the new file whole, with its seal. */
static void
test_rotation_of_a_full_file(void **state)
{
	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	for (unsigned n = 0; n < 50; n++) {
		file_read(path);
		file_limit(text_len + 1 + random_below(600));
		records_add(4);
		assert_false(auditlog_flush(&audit));
		assert_int_equal(rename(path, other), 0);
		file_write(path, "", 0);
		auditlog_reopen(&audit);
		file_limit(RLIM_INFINITY);
		assert_true(auditlog_flush(&audit));
		whole_expect(7, 3); /* log-open, four; log-close and log-open in one write */
		killed();
		unlink(path);
		unlink(other);
		fresh();
	}
	signal(SIGXFSZ, SIG_DFL);
}

/* As a log that cannot be written: the records are there, and nothing may be done that they say. */
static void
test_a_state_that_cannot_be_written(void **state)
{
	(void)state;
	played.state_error = ENOSPC;
	for (unsigned n = 0; n < 3; n++) {
		records_add(2);
		assert_false(auditlog_flush(&audit));
		assert_true(audit.failing);
		assert_int_equal(state_epoch(), 1);
	}
	assert_int_equal(stderr_count("\n"), 1);
	assert_int_equal(stderr_count("audit.jsonl.seal: No space left on device"), 1);
	played.state_error = 0;
	played.state_short = true;
	assert_false(auditlog_flush(&audit));
	played.state_short = false;
	played.state_error = EINTR;
	assert_true(auditlog_flush(&audit));
	assert_int_equal(stderr_count("can be written again"), 1);
	whole_expect(7, 3);
	assert_int_equal(state_epoch(), 3);
}

/* Killed then: the seal that got out is followed. */
static void
test_a_state_that_could_not_be_written(void **state)
{
	(void)state;
	played.state_error = EIO;
	records_add(2);
	assert_false(auditlog_flush(&audit));
	killed();
	played.state_error = 0;
	log_open_now(STATE_FD);
	begun();
	whole_expect(4, 3);
}

/* On the disk, too, the state is never ahead of the log. */
static void
test_the_order_of_things(void **state)
{
	(void)state;
	auditlog_sync_when(&audit, AUDIT_SYNC_ALWAYS);
	memset(&played, 0, sizeof(played));
	written(2);
	assert_string_equal(played.calls, "wskK");
	played.sync_error = EIO;
	records_add(1);
	assert_false(auditlog_flush(&audit));
	assert_string_equal(played.calls, "wskKw");
	played.sync_error = 0;
	written(1);
	assert_string_equal(played.calls, "wskKwskKwskK");
	auditlog_sync_when(&audit, NS_PER_S);
	memset(&played, 0, sizeof(played));
	written(1);
	written(1);
	assert_true(auditlog_sync(&audit) && auditlog_sync(&audit));
	assert_string_equal(played.calls, "wkwksK");
	auditlog_sync_when(&audit, AUDIT_SYNC_NEVER);
	memset(&played, 0, sizeof(played));
	written(1);
	assert_true(auditlog_sync(&audit));
	assert_string_equal(played.calls, "wk");
}

/* ---- the machine stopped, and the disk had not all ---- */

static void
test_a_state_that_was_left_behind(void **state)
{
	uint8_t before[SEAL_STATE_LEN];

	(void)state;
	state_get(before);
	for (unsigned n = 0; n < 30; n++)
		written(1);
	killed();
	state_put(before);
	log_open_now(STATE_FD);
	assert_int_equal(state_epoch(), 31);
	begun();
	whole_expect(32, 32);
	assert_int_equal(stderr_count("\n"), 0);
}

/* Behind a megabyte of a write that was cut off. */
static void
test_a_state_left_far_behind(void **state)
{
	uint8_t before[SEAL_STATE_LEN];

	(void)state;
	state_get(before);
	for (unsigned n = 0; n < 5; n++)
		written(1);
	records_add(5000);
	assert_true(audit.used > 1 << 20);
	assert_true(syscall(SYS_write, audit.fd, audit.buffer, audit.used - 500) > 1 << 20);
	killed();
	state_put(before);
	log_open_now(STATE_FD);
	assert_int_equal(state_epoch(), 6);
}

/* Or somebody has cut it: the next start says so, and whoever checks it knows. */
static void
test_a_log_that_was_left_behind(void **state)
{
	size_t kept;

	(void)state;
	written(1);
	file_read(path);
	kept = text_len;
	for (unsigned n = 0; n < 3; n++)
		written(1);
	killed();
	assert_int_equal(truncate(path, (off_t)kept), 0);
	log_open_now(STATE_FD);
	assert_int_equal(stderr_count("ends with the seal of epoch 1, but 5 were made"), 1);
	begun();
	assert_false(checked());
	assert_int_equal(v.fault.kind, FAULT_CUT);
	assert_true(v.fault.epoch == 2 && v.fault.epoch_to == 4);
}

/* ---- what is no seal to go by ---- */

static void
last_line_put(const char *seal)
{
	char line[RECORD_MAX], hash[CHAIN_LEN];
	size_t len = (size_t)sprintf(line,
		"{\"@timestamp\":\"2026-11-22T08:01:02.123456789Z\",\"event.sequence\":%u,"
		"\"event.action\":\"lost\",\"eghostbuster.seal\":\"%s\"}\n",
		(unsigned)audit.sequence + 1, seal);

	memcpy(hash, audit.hash, sizeof(hash));
	len = chain_append(hash, line, len);
	assert_int_equal(syscall(SYS_write, audit.fd, line, len), len);
}

/* Whoever can write the log cannot drive the state on. */
static void
test_somebody_elses_seal(void **state)
{
	static const char *const seals[] = {
		"5:0000000000000000000000000000000000000000000000000000000000000000",
		"1099511627776:0000000000000000000000000000000000000000000000000000000000000000",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(seals); i++) {
		last_line_put(seals[i]);
		killed();
		log_open_now(STATE_FD);
		assert_int_equal(stderr_count("is not by audit.jsonl.seal"), i + 1);
		assert_int_equal(state_epoch(), 1);
	}
	begun();
	assert_int_equal(state_epoch(), 2);
	assert_false(checked());
	assert_int_equal(v.fault.kind, FAULT_SEAL);
}

static void
test_sealing_switched_off(void **state)
{
	(void)state;
	written(1);
	killed();
	log_open_now(-1);
	assert_int_equal(stderr_count("was sealed, and is no more"), 1);
	begun();
	assert_int_equal(state_epoch(), 2);
	assert_false(checked());
	assert_int_equal(v.fault.kind, FAULT_UNSEALED);
	assert_int_equal(v.fault.sequence, 3);
}

static void
open_damaged(void *arg)
{
	(void)arg;
	log_open_now(STATE_FD);
}

static void
test_a_damaged_state(void **state)
{
	uint8_t bytes[SEAL_STATE_LEN];
	char said[1024];

	(void)state;
	killed();
	state_get(bytes);
	bytes[20] ^= 1;
	state_put(bytes);
	assert_int_equal(child_run(open_damaged, NULL, said, sizeof(said)), 1);
	assert_one_line(said, "audit.jsonl.seal is damaged");
	bytes[20] ^= 1;
	state_put(bytes);
	assert_int_equal(ftruncate(STATE_FD, SEAL_STATE_LEN + 1), 0);
	assert_int_equal(child_run(open_damaged, NULL, said, sizeof(said)), 1);
	assert_one_line(said, "audit.jsonl.seal is damaged");
}

#define WITH_LOG(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_LOG(test_a_seal_for_each_write),
		WITH_LOG(test_room_for_the_seal),
		WITH_LOG(test_no_key_is_left),
		WITH_LOG(test_over_rotations_and_runs),
		WITH_LOG(test_over_a_rotation_at_rest),
		WITH_LOG(test_killed_at_any_time),
		WITH_LOG(test_killed_in_the_middle_of_a_write),
		WITH_LOG(test_a_full_disk),
		WITH_LOG(test_rotation_of_a_full_file),
		WITH_LOG(test_a_state_that_cannot_be_written),
		WITH_LOG(test_a_state_that_could_not_be_written),
		WITH_LOG(test_the_order_of_things),
		WITH_LOG(test_a_state_that_was_left_behind),
		WITH_LOG(test_a_state_left_far_behind),
		WITH_LOG(test_a_log_that_was_left_behind),
		WITH_LOG(test_somebody_elses_seal),
		WITH_LOG(test_sealing_switched_off),
		WITH_LOG(test_a_damaged_state),
	};

	return cmocka_run_group_tests_name("auditlog seals", tests, group_setup, group_teardown);
}
