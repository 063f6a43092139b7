/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: ctl/verify.c ctl/logfile.c broker/chain.c broker/seal.c broker/record.c broker/note.c broker/json.c broker/policy.c broker/exitclass.c proto/wire.c proto/log.c broker/budget.c broker/keyed.c | pkg: nettle zlib */
/* clang-format on */
/*
 * What `eghostctl verify` reads. The input makes a log that is right, then does something to its
 * bytes; the rest of the input is appended as it is. What is said to be whole must be what was
 * written, or a part of it without a gap. A log that is sealed may be numbered and hashed anew
 * after that, and be gone on with by a later key: it must not help.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/chain.h"
#include "broker/record.h"
#include "ctl/logfile.h"
#include "ctl/verify.h"

#define RECORDS_MAX 12u
#define TEXT_MAX    (64u << 10)
#define EDITS_MAX   4u

/* Each fault there is, but the one that takes an expected head; whole, closed, torn. */
enum goal { GOAL_FAULTS = FAULT_HEAD, GOAL_WHOLE = GOAL_FAULTS, GOAL_CLOSED, GOAL_TORN, GOALS };
FUZZ_GOALS(GOALS);

static const uint8_t root[SEAL_KEY_LEN];
static char written[TEXT_MAX], text[TEXT_MAX], anew[TEXT_MAX];
static struct seal_key sealer; /* of the next seal */
static size_t written_len, text_len;
static char path[64];
static int file = -1;

/* What is said on standard error is not looked at here. */
ssize_t
write(int fd, const void *data, size_t len)
{
	return fd == STDERR_FILENO ? (ssize_t)len : syscall(SYS_write, fd, data, len);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	file = memfd_create("log", MFD_CLOEXEC);
	REQUIRE(file >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return 0;
}

/* ---- a log ----------------------------------------------------------------------------------- */

/* A run: log-open, records, and log-close when the byte says so. Two in three are sealed, as is the
 * last. */
static void
log_write(unsigned how, bool sealed)
{
	char hash[CHAIN_LEN], before[CHAIN_LEN], *out;
	unsigned count = how % RECORDS_MAX + 1;

	memcpy(hash, chain_origin, sizeof(hash));
	seal_begin(&sealer, root);
	written_len = 0;
	for (unsigned i = 1; i <= count; i++) {
		struct record_head head = { .time = { i }, .sequence = i };
		struct record_log_open open = { .reason = "start" };
		size_t len;

		out = written + written_len;
		if (i == 1)
			len = record_log_open(out, RECORD_MAX, &head, &open);
		else if (i == count && how >= 128)
			len = record_log_close(out, RECORD_MAX, &head, "stop");
		else
			len = record_lost(out, RECORD_MAX, &head,
				&(struct record_counts){ .lost_orphans = i });
		memcpy(before, hash, sizeof(before));
		len = chain_append(hash, out, len);
		if (sealed && (i % 3 != 0 || i == count))
			len = seal_append(&sealer, before, hash, out, len);
		written_len += len;
	}
}

/* ---- what is done to it ---------------------------------------------------------------------- */

static size_t
line_begin(size_t at)
{
	while (at > 0 && text[at - 1] != '\n')
		at--;
	return at;
}

static size_t
line_end(size_t at)
{
	while (at < text_len && text[at] != '\n')
		at++;
	return at < text_len ? at + 1 : at;
}

/* Takes bytes away and puts others there. */
static void
replace(size_t at, size_t gone, const char *bytes, size_t len)
{
	if (text_len - gone + len > sizeof(text))
		return;
	memmove(text + at + len, text + at + gone, text_len - at - gone);
	memcpy(text + at, bytes, len);
	text_len = text_len - gone + len;
}

static void
edit(struct input *in)
{
	unsigned what = (unsigned)input_number(in, 1);
	size_t at = text_len == 0 ? 0 : input_number(in, 2) % text_len;
	size_t begin = line_begin(at), end = line_end(at);
	char line[RECORD_MAX + CHAIN_MEMBER_LEN], byte = (char)input_number(in, 1);

	switch (what % 7) {
	case 0: /* a byte is another */
		replace(at, text_len > 0, &byte, 1);
		break;
	case 1: /* or one more */
		replace(at, 0, &byte, 1);
		break;
	case 2: /* a line is gone */
		replace(begin, end - begin, "", 0);
		break;
	case 3: /* there twice */
		memcpy(line, text + begin, end - begin < sizeof(line) ? end - begin : sizeof(line));
		if (end - begin <= sizeof(line))
			replace(end, 0, line, end - begin);
		break;
	case 4: /* the end is gone */
		text_len = at;
		break;
	case 5: /* the beginning is gone */
		replace(0, at, "", 0);
		break;
	default: /* a part of the log again */
		end = (unsigned char)byte * 16u;
		replace(at, 0, written, end < written_len ? end : written_len);
	}
}

/* A record of the text with the number that its place asks for. Returns the new length. */
static size_t
record_renumber(const char *line, size_t body_len, uint64_t number, char *out)
{
	const char *digits = memmem(line, body_len, "sequence\":", 10), *rest;
	size_t len;

	REQUIRE(digits != NULL);
	digits += 10;
	for (rest = digits; *rest >= '0' && *rest <= '9'; rest++)
		;
	memcpy(out, line, (size_t)(digits - line));
	len = (size_t)(digits - line);
	len += (size_t)sprintf(out + len, "%llu", (unsigned long long)number);
	memcpy(out + len, rest, (size_t)(line + body_len - rest));
	len += (size_t)(line + body_len - rest);
	memcpy(out + len, "}\n", 2);
	return len + 2;
}

/* What whoever may write the file can do without a key. `key`: another record by this one. */
static void
chain_anew(const struct seal_key *key)
{
	char hash[CHAIN_LEN], before[CHAIN_LEN];
	const char *end = text + text_len, *eol;
	uint64_t number = 0;
	size_t used = 0, len;
	struct chain_line r;

	memcpy(hash, chain_origin, sizeof(hash));
	for (const char *line = text; line < end; line = eol + 1) {
		eol = memchr(line, '\n', (size_t)(end - line));
		if (eol == NULL || used + RECORD_MAX + CHAIN_MEMBER_LEN > sizeof(anew))
			break;
		if (!chain_line_read(line, (size_t)(eol - line), &r) || r.body_len > RECORD_MAX / 2)
			continue;
		len = record_renumber(line, r.body_len, ++number, anew + used);
		used += chain_append(hash, anew + used, len);
	}
	if (key != NULL && used + 2 * RECORD_MAX < sizeof(anew)) {
		const struct record_head head = { .time = { 7 }, .sequence = number + 1 };
		struct seal_key k = *key;

		memcpy(before, hash, sizeof(before));
		len = record_log_close(anew + used, RECORD_MAX, &head, "stop");
		len = chain_append(hash, anew + used, len);
		used += seal_append(&k, before, hash, anew + used, len);
	}
	memcpy(text, anew, used);
	text_len = used;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The way of the verb, which takes a hundred times as long. */
static void
file_read(struct verify *v)
{
	struct logfile f;
	enum logfile_event event;
	const char *line;
	size_t len;

	REQUIRE(ftruncate(file, 0) == 0);
	REQUIRE(pwrite(file, text, text_len, 0) == (ssize_t)text_len);
	if (logfile_open(&f, path) < 0)
		return;
	while ((event = logfile_next(&f, &line, &len)) <= LOGFILE_TORN)
		verify_line(v, line, len, event == LOGFILE_TORN, (struct place){ path, f.line });
	logfile_close(&f);
}

static void
text_read(struct verify *v)
{
	const char *end = text + text_len, *eol;
	struct place place = { "text", 1 };

	for (const char *line = text; line < end; line = eol + 1, place.line++) {
		eol = memchr(line, '\n', (size_t)(end - line));
		if (eol == NULL) {
			verify_line(v, line, (size_t)(end - line), true, place);
			return;
		}
		verify_line(v, line, (size_t)(eol - line), false, place);
	}
}

/* The whole lines that read like records are lines of the log, one behind the other. */
static void
whole_require(const struct verify *v)
{
	const char *at = NULL, *eol;
	struct chain_line r;
	uint64_t records = 0;

	for (const char *line = text; line < text + text_len; line = eol + 1) {
		eol = memchr(line, '\n', (size_t)(text + text_len - line));
		if (eol == NULL)
			break;
		if (!chain_line_read(line, (size_t)(eol - line), &r))
			continue;
		if (at == NULL)
			at = memmem(written, written_len, line, (size_t)(eol + 1 - line));
		REQUIRE(at != NULL &&
			(size_t)(written + written_len - at) >= (size_t)(eol + 1 - line));
		REQUIRE(memcmp(at, line, (size_t)(eol + 1 - line)) == 0);
		at += eol + 1 - line;
		records++;
	}
	REQUIRE(v->records == records && (records == 0 || v->last - v->first + 1 == records));
}

/* Up to the last seal it is the log: but for the record that a later key has made. */
static void
sealed_require(const struct verify *v, bool gone_on)
{
	uint64_t number = 1, last = v->seals.last_record - gone_on;
	const char *line = text, *was = written;

	for (; number <= last; number++) {
		size_t len = (size_t)((const char *)rawmemchr(line, '\n') + 1 - line);

		REQUIRE(was + len <= written + written_len && memcmp(line, was, len) == 0);
		line += len;
		was += len;
	}
	REQUIRE(!gone_on || was == written + written_len);
}

#define SEALED	0x80u /* the log is */
#define ANEW	0x40u /* it is hashed anew */
#define GONE_ON 0x20u /* by a key that is so many epochs further */

static void
verify_all(struct verify *v, bool by_file, bool sealed)
{
	verify_begin(v, NULL, sealed ? root : NULL);
	if (by_file)
		file_read(v);
	else
		text_read(v);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1), what = (unsigned)input_number(&in, 1);
	unsigned edits = what % GONE_ON % (EDITS_MAX + 1);
	bool sealed = (what & SEALED) != 0, gone_on = sealed && (what & ANEW) && (what & GONE_ON);
	struct seal_key further;
	struct verify v;

	log_write(how, sealed);
	memcpy(text, written, written_len);
	text_len = written_len;
	for (unsigned i = 0; i < edits; i++)
		edit(&in);
	further = sealer;
	if (gone_on)
		REQUIRE(seal_ahead(&further, sealer.epoch + input_number(&in, 1) % 3));
	if (sealed && (what & ANEW) != 0)
		chain_anew(gone_on ? &further : NULL);
	text_len += input_fill(&in, text + text_len, sizeof(text) - text_len);
	verify_all(&v, how % 128 / 16 == 0, sealed);
	if (!verify_end(&v))
		REQUIRE(text_len != written_len || memcmp(text, written, text_len) != 0);
	else if (sealed)
		sealed_require(&v, gone_on);
	else
		whole_require(&v);
	REQUIRE(fault_name(v.fault.kind) != NULL);
	REACHED(v.fault.kind);
	if (v.fault.kind == FAULT_NONE)
		REACHED(v.torn != 0 ? GOAL_TORN : v.closed ? GOAL_CLOSED : GOAL_WHOLE);
	return 0;
}
