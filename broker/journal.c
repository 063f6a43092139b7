/* SPDX-License-Identifier: Apache-2.0 */
#include "journal.h"

#include <arpa/inet.h>
#include <endian.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "exitclass.h"
#include "note.h"
#include "proto/log.h"

/* What an entry is, for whoever looks for one kind, and for the catalog, which explains each. */
static const char *const message_ids[] = {
	[WIRE_ACTION_START] = "ee009f5a4d674bd189bb80d459df2c83",
	[WIRE_ACTION_STOP] = "201017a60e0d4b00ba936554eaf2b894",
	[WIRE_ACTION_EXIT] = "c450a956ceca4b138f4b57b580b71a3f",
	[WIRE_ACTION_DECIDE] = "84e5b8729b5f4e4ba0fc566d035e9145",
	[WIRE_ACTION_DESTROY] = "65df1f6868a6403ca76354f63e6c4517",
	[WIRE_ACTION_LOST] = "0fe84bfccb074069817a3a6e0ef092c7",
	[WIRE_ACTION_RECONCILE] = "d583699e6804436db1cbf163656c9c76",
	[WIRE_ACTION_BREAKER] = "858fc889af364d96b75ad29b6451ebc4",
	[WIRE_ACTION_CONFIG_RELOAD] = "6429b228d664468b8cb433882b8de2b9",
	[WIRE_ACTION_LOG_OPEN] = "f8ee74121b14461fb6ed8fdf3c38e0c2",
	[WIRE_ACTION_LOG_CLOSE] = "8ec7b84fe4b046e99cad704a3098cf8e",
	[WIRE_ACTION_SUPPRESSED] = "5c3ee16c96114c74b73ec4fd63366ca9",
};

struct entry {
	char *out;
	size_t used;
};

static void
bytes_put(struct entry *e, const void *bytes, size_t len)
{
	if (len > JOURNAL_ENTRY_MAX - e->used)
		return; /* cannot be: fields have bounds, and there is room for all */
	memcpy(e->out + e->used, bytes, len);
	e->used += len;
}

static void __attribute__((format(printf, 3, 4)))
field_put(struct entry *e, const char *name, const char *fmt, ...)
{
	char value[64];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	if (n <= 0 || n >= (int)sizeof(value))
		return;
	bytes_put(e, name, strlen(name));
	bytes_put(e, "=", 1);
	bytes_put(e, value, (size_t)n);
	bytes_put(e, "\n", 1);
}

static void
word_put(struct entry *e, const char *name, const char *word)
{
	if (*word != '\0')
		field_put(e, name, "%s", word);
}

static void
number_put(struct entry *e, const char *name, uint64_t number)
{
	if (number != 0)
		field_put(e, name, "%" PRIu64, number);
}

/* Somebody else's bytes. */
static void
untrusted_put(struct entry *e, const char *name, const char *text)
{
	uint64_t len = strlen(text), wire = htole64(len);

	if (len == 0)
		return;
	bytes_put(e, name, strlen(name));
	bytes_put(e, "\n", 1);
	bytes_put(e, &wire, sizeof(wire));
	bytes_put(e, text, len);
	bytes_put(e, "\n", 1);
}

static void
message_put(struct entry *e, const struct wire_note *note)
{
	char raw[NOTE_TEXT_MAX], safe[2 * NOTE_TEXT_MAX];

	note_text(note, raw, sizeof(raw));
	text_escape(raw, strlen(raw), safe, sizeof(safe));
	untrusted_put(e, "MESSAGE", safe);
}

static enum log_level
priority_of(const struct wire_note *note)
{
	bool warns = note->outcome == WIRE_OUTCOME_FAILURE || note->action == WIRE_ACTION_LOST ||
		     note->action == WIRE_ACTION_SUPPRESSED ||
		     (note->action == WIRE_ACTION_BREAKER && strcmp(note->verdict, "open") == 0);

	return warns ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
}

static void
verdict_put(struct entry *e, const struct wire_note *note)
{
	static const char *const names[] = {
		[WIRE_ACTION_START] = "EGHOSTBUSTER_MODE",
		[WIRE_ACTION_CONFIG_RELOAD] = "EGHOSTBUSTER_MODE",
		[WIRE_ACTION_DECIDE] = "EGHOSTBUSTER_VERDICT",
		[WIRE_ACTION_DESTROY] = "EGHOSTBUSTER_RESULT",
		[WIRE_ACTION_BREAKER] = "EGHOSTBUSTER_BREAKER",
	};

	if (note->action < sizeof(names) / sizeof(names[0]) && names[note->action] != NULL)
		word_put(e, names[note->action], note->verdict);
}

static void
outcome_put(struct entry *e, const struct wire_note *note)
{
	static const char *const names[] = { "", "success", "failure", "unknown" };

	word_put(e, "EGHOSTBUSTER_OUTCOME", names[note->outcome]);
	if (note->error != 0)
		field_put(e, "ERRNO", "%d", note->error);
}

static void
owner_put(struct entry *e, const struct wire_note *note)
{
	number_put(e, "EGHOSTBUSTER_PID", note->pid);
	untrusted_put(e, "EGHOSTBUSTER_COMM", note->comm);
	if ((note->flags & WIRE_NOTE_UID) != 0)
		field_put(e, "EGHOSTBUSTER_UID", "%u", note->uid);
	untrusted_put(e, "EGHOSTBUSTER_UNIT", note->unit);
	word_put(e, "EGHOSTBUSTER_EXIT_CLASS", note->class);
	if ((note->flags & WIRE_NOTE_EXIT) == 0)
		return;
	if (exit_signal(note->exit_code) != 0)
		field_put(e, "EGHOSTBUSTER_EXIT_SIGNAL", "%u", exit_signal(note->exit_code));
	else
		field_put(e, "EGHOSTBUSTER_EXIT_STATUS", "%u", exit_status(note->exit_code));
}

static void
address_put(struct entry *e, const char *name, uint16_t family, const uint8_t address[16])
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(family, address, text, sizeof(text));
	word_put(e, name, text);
}

static void
socket_put(struct entry *e, const struct wire_note *note)
{
	const struct wire_tuple *t = &note->tuple;

	if (t->family == 0)
		return;
	address_put(e, "EGHOSTBUSTER_LOCAL_ADDRESS", t->family, t->src);
	field_put(e, "EGHOSTBUSTER_LOCAL_PORT", "%u", t->src_port);
	address_put(e, "EGHOSTBUSTER_REMOTE_ADDRESS", t->family, t->dst);
	field_put(e, "EGHOSTBUSTER_REMOTE_PORT", "%u", t->dst_port);
	field_put(e, "EGHOSTBUSTER_NETNS", "%u", t->netns);
	field_put(e, "EGHOSTBUSTER_COOKIE", "0x%" PRIx64, note->cookie);
	if (note->state != 0)
		word_put(e, "EGHOSTBUSTER_STATE", tcp_state_name(note->state));
	field_put(e, "EGHOSTBUSTER_SEND_QUEUE", "%u", note->send_queue);
	if (note->latency_ns == 0)
		return;
	field_put(e, "EGHOSTBUSTER_LATENCY_NS", "%" PRIu64, note->latency_ns);
	word_put(e, "EGHOSTBUSTER_PEER_NOTICE", note->notice == WIRE_NOTICE_RST ? "rst" : "none");
}

size_t
journal_entry(const struct wire_note *note, char out[JOURNAL_ENTRY_MAX])
{
	struct entry e = { .out = out };

	message_put(&e, note);
	field_put(&e, "PRIORITY", "%d", priority_of(note));
	word_put(&e, "SYSLOG_IDENTIFIER", "eghostbuster");
	word_put(&e, "MESSAGE_ID", message_ids[note->action]);
	word_put(&e, "EGHOSTBUSTER_ACTION", wire_action_name(note->action));
	number_put(&e, "EGHOSTBUSTER_SEQUENCE", note->sequence);
	word_put(&e, "EGHOSTBUSTER_REASON", note->reason);
	word_put(&e, "EGHOSTBUSTER_RULE", note->rule);
	verdict_put(&e, note);
	outcome_put(&e, note);
	number_put(&e, "EGHOSTBUSTER_GHOST", note->ghost);
	number_put(&e, "EGHOSTBUSTER_BATCH", note->batch);
	number_put(&e, "EGHOSTBUSTER_COUNT", note->count);
	owner_put(&e, note);
	socket_put(&e, note);
	return e.used;
}
