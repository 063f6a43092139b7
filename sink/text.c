/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct text {
	char *out;
	size_t used;
};

static void __attribute__((format(printf, 2, 3))) put(struct text *t, const char *fmt, ...)
{
	size_t room = TEXT_MAX - t->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->out + t->used, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->used += (size_t)n < room ? (size_t)n : room - 1;
}

/* The message stands between apostrophes in the record that the kernel makes of it: so they are not
 * plain either, though the kernel's own rule lets them pass. */
static bool
is_plain(const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x21 || c > 0x7e || c == '"' || c == '\'')
			return false;
	}
	return true;
}

static void
untrusted_put(struct text *t, const char *key, const char *text)
{
	if (*text == '\0')
		return;
	if (is_plain(text)) {
		put(t, " %s=\"%s\"", key, text);
		return;
	}
	put(t, " %s=", key);
	for (; *text != '\0'; text++)
		put(t, "%02X", (unsigned char)*text);
}

static void
word_put(struct text *t, const char *key, const char *word)
{
	if (*word != '\0')
		put(t, " %s=%s", key, word);
}

static void
operation_put(struct text *t, const struct wire_note *note)
{
	bool what = note->action == WIRE_ACTION_DECIDE || note->action == WIRE_ACTION_BREAKER;

	if (note->action == WIRE_ACTION_SUPPRESSED)
		put(t, "op=audit-suppressed");
	else if (what && note->verdict[0] != '\0')
		put(t, "op=%s-%s", wire_action_name(note->action), note->verdict);
	else
		put(t, "op=%s", wire_action_name(note->action));
}

static void
socket_put(struct text *t, const struct wire_tuple *tuple)
{
	char local[INET6_ADDRSTRLEN], remote[INET6_ADDRSTRLEN];

	if (tuple->family == 0)
		return;
	inet_ntop(tuple->family, tuple->src, local, sizeof(local));
	inet_ntop(tuple->family, tuple->dst, remote, sizeof(remote));
	put(t, " laddr=%s lport=%u addr=%s rport=%u proto=%d", local, tuple->src_port, remote,
		tuple->dst_port, IPPROTO_TCP);
}

static void
owner_put(struct text *t, const struct wire_note *note)
{
	if (note->pid != 0)
		put(t, " opid=%u", note->pid);
	untrusted_put(t, "ocomm", note->comm);
	if ((note->flags & WIRE_NOTE_UID) != 0)
		put(t, " ouid=%u", note->uid);
	if ((note->exit_code & 0x7f) != 0)
		put(t, " sig=%u", note->exit_code & 0x7f);
	untrusted_put(t, "unit", note->unit);
}

/* What came of a request is its reason; of the mode the service is in, its state. */
static void
words_put(struct text *t, const struct wire_note *note)
{
	bool result = note->action == WIRE_ACTION_DESTROY;
	bool mode = note->action == WIRE_ACTION_START || note->action == WIRE_ACTION_CONFIG_RELOAD;

	word_put(t, "reason", result ? note->verdict : note->reason);
	if (mode)
		word_put(t, "state", note->verdict);
	else if (note->state != 0)
		word_put(t, "state", tcp_state_name(note->state));
}

static const char *
result_of(const struct wire_note *note)
{
	if (note->action == WIRE_ACTION_SUPPRESSED || note->outcome == WIRE_OUTCOME_FAILURE)
		return "failed";
	return note->outcome == WIRE_OUTCOME_UNKNOWN ? "?" : "success";
}

static void
uuid_put(struct text *t, const uint8_t id[WIRE_BOOT_ID_LEN])
{
	put(t, " uuid=");
	for (unsigned i = 0; i < WIRE_BOOT_ID_LEN; i++)
		put(t, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
}

size_t
text_format(
	const struct wire_note *note, const uint8_t boot_id[WIRE_BOOT_ID_LEN], char out[TEXT_MAX])
{
	struct text t = { .out = out };

	operation_put(&t, note);
	socket_put(&t, &note->tuple);
	owner_put(&t, note);
	words_put(&t, note);
	if (note->count != 0)
		put(&t, " count=%" PRIu64, note->count);
	if (note->sequence != 0)
		put(&t, " seqno=%" PRIu64, note->sequence);
	uuid_put(&t, boot_id);
	put(&t, " res=%s", result_of(note));
	return t.used;
}
