/* SPDX-License-Identifier: Apache-2.0 */
#include "sinks.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "journal.h"
#include "outbox.h"
#include "proto/build_id.h"
#include "proto/channel.h"
#include "proto/clock.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "say.h"
#include "service_parts.h"

/* Entries for journald between two looks at everything else: each is a system call. */
#define ENTRIES_A_TURN 64u

/* Packets from the sink, likewise. */
#define PACKETS_A_TURN 4u

/* It reports once a second, and some may wait. */
#define REPORTS_AT_ONCE 10u

#define SAY_PAUSE_NS (60 * NS_PER_S)

static struct sinks {
	struct outbox box;
	bool on[SINKS];
	struct outlet outlets[SINKS];
	int errors[SINKS]; /* errno of what was refused last, 0: it takes */

	struct channel channel; /* to the sink's process */
	struct event *sink_read, *sink_write;
	uint8_t boot_id[WIRE_BOOT_ID_LEN];
	bool here, gone;
	uint64_t handed; /* notes that are in its channel, or were */
	struct wire_report report;
	uint64_t reports;
	mono_ns greeted;

	struct event *journal_write;
	bool journal_there;
	uint64_t entries;
} sinks;

_Static_assert(SINKS == RECORD_SINKS_MAX, "a `stop` record has room for all sinks");

static const char *const names[SINKS] = { "linux_audit", "journald" };

const char *
sink_name(enum sink sink)
{
	return names[sink];
}

/* Once when it begins, once when it is over; not more than once a minute. */
static void
trouble_say(enum sink sink, int error)
{
	static const char *const who[SINKS] = { "Linux audit", "systemd-journald" };
	static mono_ns said[SINKS];
	static bool told[SINKS];
	mono_ns now = clock_now();

	if (error != 0 && sinks.errors[sink] == 0 &&
		(said[sink].ns == 0 || now.ns - said[sink].ns > SAY_PAUSE_NS)) {
		log_warning("%s does not take records: %s; they are in the audit log only",
			who[sink], strerror(error));
		said[sink] = now;
		told[sink] = true;
	} else if (error == 0 && told[sink]) {
		log_info("%s takes records again", who[sink]);
		told[sink] = false;
	}
	sinks.errors[sink] = error;
}

/* ---- systemd-journald --------------------------------------------------------------------------
 */

/* Returns 0, or the errno. */
static int
entry_send(const struct wire_note *note)
{
	char entry[JOURNAL_ENTRY_MAX];
	size_t len = journal_entry(note, entry);

	return send(BROKER_FD_JOURNAL, entry, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}

/* Up to `most` of them. True when more could be sent at once. */
static bool
journal_send(unsigned most)
{
	struct outlet *outlet = &sinks.outlets[SINK_JOURNALD];
	const struct wire_note *note;
	unsigned n;

	for (n = 0; n < most && outlet_next(&sinks.box, outlet, 1, &note) != 0; n++) {
		int error = sinks.journal_there ? entry_send(note) : ENOTCONN;

		if (error == EAGAIN)
			return true;
		trouble_say(SINK_JOURNALD, error);
		if (error != 0) {
			outlet_refused(&sinks.box, outlet);
			return false;
		}
		sinks.entries += note->action != WIRE_ACTION_SUPPRESSED;
		outlet_taken(outlet, 1);
	}
	return n == most;
}

/* The rest when journald has read some, or everything else has had its turn. */
static void
journal_turn(void)
{
	if (journal_send(ENTRIES_A_TURN))
		event_on(sinks.journal_write);
}

static void
on_journal_room(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	journal_turn();
}

/* ---- the sink's process ------------------------------------------------------------------------
 */

/* True when its channel is full. */
static bool
notes_send(void)
{
	struct outlet *outlet = &sinks.outlets[SINK_LINUX_AUDIT];
	const struct wire_note *notes;
	size_t n;

	while ((n = outlet_next(&sinks.box, outlet, WIRE_NOTES_MAX, &notes)) != 0) {
		if (sinks.gone || channel_send(&sinks.channel, WIRE_B2S_NOTE, notes, n) < 0) {
			if (!sinks.gone && errno == EAGAIN)
				return true;
			outlet_refused(&sinks.box, outlet);
			break;
		}
		if (notes->action != WIRE_ACTION_SUPPRESSED)
			sinks.handed += n;
		outlet_taken(outlet, n);
	}
	return false;
}

static void
notes_turn(void)
{
	if ((sinks.here || sinks.gone) && notes_send())
		event_on(sinks.sink_write);
}

static void
on_sink_room(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	notes_turn();
}

void
sinks_reap(void)
{
	if (sinks.gone)
		children_look();
}

/* The service goes on without it. Its end of the channel sees the end of ours, should it live: the
 * descriptor itself stays, for no other may have its number. */
static void
sink_lost(void)
{
	struct outlet *outlet = &sinks.outlets[SINK_LINUX_AUDIT];

	sinks.gone = true;
	event_del(sinks.sink_read);
	event_del(sinks.sink_write);
	if (shutdown(BROKER_FD_SINK, SHUT_RDWR) < 0)
		log_debug("the sink's channel: %s", strerror(errno));
	outlet->lost += sinks.handed - sinks.report.taken - sinks.report.lost;
	log_error("the sink is gone: Linux audit gets no more records, which are in the audit log "
		  "only");
	sinks_reap();
	notes_turn();
}

static bool
hello_take(const struct wire_sink_hello *hello)
{
	struct wire_sink_greeting mine;

	if (sinks.here || memcmp(hello->build_id, build_id, WIRE_BUILD_ID_LEN) != 0) {
		log_error(sinks.here ? "the sink broke the protocol: a second HELLO"
				     : "the sink is of another build: install all parts of one "
				       "version and restart");
		return false;
	}
	memcpy(mine.build_id, build_id, sizeof(mine.build_id));
	memcpy(mine.boot_id, sinks.boot_id, sizeof(mine.boot_id));
	sinks.greeted = clock_now();
	sinks.here = channel_send(&sinks.channel, WIRE_B2S_HELLO, &mine, 1) == 0;
	return sinks.here;
}

/* Counters only grow, and not beyond what there was to count; and not at every moment. */
static bool
report_take(const struct wire_report *report)
{
	const struct wire_report *before = &sinks.report;
	uint64_t seconds = (clock_now().ns - sinks.greeted.ns) / NS_PER_S;

	if (!sinks.here || ++sinks.reports > REPORTS_AT_ONCE + seconds ||
		report->taken < before->taken || report->lost < before->lost ||
		report->taken > sinks.handed || report->lost > sinks.handed - report->taken) {
		log_error(
			"the sink broke the protocol: a report of what cannot be, or one too many");
		return false;
	}
	sinks.report = *report;
	trouble_say(SINK_LINUX_AUDIT, report->error);
	return true;
}

static bool
message_take(const struct wire_view *view)
{
	return view->type == WIRE_S2B_HELLO ? hello_take(view->records)
					    : report_take(view->records);
}

static void
on_sink(evutil_socket_t fd, short what, void *arg)
{
	struct wire_view view;

	(void)fd;
	(void)what;
	(void)arg;
	for (unsigned n = 0; n < PACKETS_A_TURN; n++) {
		enum channel_event event = channel_recv(&sinks.channel, &view);

		if (event == CHANNEL_EMPTY)
			break;
		if (event != CHANNEL_MESSAGE || !message_take(&view)) {
			sink_lost();
			return;
		}
	}
	notes_turn();
}

/* ---- all of them -------------------------------------------------------------------------------
 */

static uint8_t
digit_of(char c)
{
	return (uint8_t)(isdigit((unsigned char)c) ? c - '0'
						   : tolower((unsigned char)c) - 'a' + 10);
}

static void
boot_id_parse(const char *text, uint8_t id[WIRE_BOOT_ID_LEN])
{
	unsigned digits = 0;

	for (; *text != '\0' && digits < 2 * WIRE_BOOT_ID_LEN; text++) {
		uint8_t *byte = &id[digits / 2];

		if (!isxdigit((unsigned char)*text))
			continue;
		*byte = (uint8_t)(*byte * 16 + digit_of(*text));
		digits++;
	}
}

static void
audit_open(void)
{
	channel_open(&sinks.channel, BROKER_FD_SINK, "sink", WIRE_S2B);
	sinks.channel.spare = true;
	nonblocking(BROKER_FD_SINK);
	sinks.sink_read = event_make(BROKER_FD_SINK, EV_READ | EV_PERSIST, on_sink);
	sinks.sink_write = event_make(BROKER_FD_SINK, EV_WRITE, on_sink_room);
	event_on(sinks.sink_read);
}

/* Where nothing was handed over the number is taken by /dev/null. */
static void
journal_open(void)
{
	int type;
	socklen_t len = sizeof(type);

	sinks.journal_there = getsockopt(BROKER_FD_JOURNAL, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
	if (!sinks.journal_there) {
		sinks.errors[SINK_JOURNALD] = ENOTCONN; /* the launcher has said so */
		return;
	}
	sinks.journal_write = event_make(BROKER_FD_JOURNAL, EV_WRITE, on_journal_room);
	say_silence();
}

void
sinks_open(const struct policy *policy, struct auditlog *log, const char *boot_id)
{
	sinks.on[SINK_LINUX_AUDIT] = policy->linux_audit;
	sinks.on[SINK_JOURNALD] = policy->journald;
	if (!policy->linux_audit && !policy->journald)
		return;
	boot_id_parse(boot_id, sinks.boot_id);
	outbox_open(&sinks.box);
	log->outbox = &sinks.box;
	if (policy->linux_audit)
		audit_open();
	if (policy->journald)
		journal_open();
}

void
sinks_turn(void)
{
	if (sinks.on[SINK_LINUX_AUDIT])
		notes_turn();
	if (sinks.on[SINK_JOURNALD])
		journal_turn();
}

void
sinks_end(void)
{
	if (sinks.on[SINK_LINUX_AUDIT] && sinks.here)
		notes_send();
	if (sinks.on[SINK_JOURNALD])
		journal_send(OUTBOX_NOTES);
}

static const char *
state_of(enum sink sink)
{
	bool audit = sink == SINK_LINUX_AUDIT;

	if (!sinks.on[sink])
		return "off";
	if (audit ? sinks.gone : !sinks.journal_there)
		return "gone";
	if (sinks.errors[sink] != 0)
		return "failing";
	return audit && sinks.report.taken == 0 ? "starting" : "working";
}

void
sinks_look(struct sink_look looks[SINKS])
{
	for (unsigned i = 0; i < SINKS; i++)
		looks[i] = (struct sink_look){ .state = state_of((enum sink)i),
			.lost = sinks.outlets[i].lost,
			.error = sinks.errors[i] };
	looks[SINK_LINUX_AUDIT].sent = sinks.report.taken;
	looks[SINK_LINUX_AUDIT].lost += sinks.report.lost;
	looks[SINK_JOURNALD].sent = sinks.entries;
}

void
sinks_count(struct record_sink counts[RECORD_SINKS_MAX])
{
	struct sink_look looks[SINKS];

	sinks_look(looks);
	for (unsigned i = 0; i < SINKS; i++) {
		if (sinks.on[i])
			counts[i] = (struct record_sink){ names[i], looks[i].sent, looks[i].lost };
	}
}
