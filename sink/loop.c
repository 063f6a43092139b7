/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "proto/build_id.h"
#include "proto/clock.h"
#include "proto/limit.h"
#include "proto/log.h"
#include "text.h"

#define REPORT_PAUSE_NS NS_PER_S

/* Without a broker nobody waits for a message any more: one that the kernel holds up for so long is
 * the last. */
#define ALONE_PATIENCE_NS NS_PER_S

struct loop {
	struct channel *channel;
	struct audit *audit;
	uint8_t boot_id[WIRE_BOOT_ID_LEN];
	bool greeted;
	bool alone;   /* the broker has gone; its last packets may still be unread */
	bool ended;   /* and nothing is left of them */
	bool stalled; /* or the kernel does not take it in time */
	const struct wire_note *notes; /* what is left of the packet that was read last */
	size_t count;
	struct limit limit;
	uint64_t suppressed; /* since the last message that said so */
	struct wire_report report, told;
	mono_ns report_due;
};

static void
say(struct channel *channel, enum wire_type type, const void *record)
{
	/* A broker that has gone is seen as the end of its channel. */
	if (channel_send(channel, type, record, 1) < 0 && errno != EPIPE && errno != ECONNRESET)
		fatal("sending %s to the broker: %s", wire_type_name(type), strerror(errno));
}

void
loop_hello(struct channel *channel)
{
	struct wire_sink_hello hello;

	memcpy(hello.build_id, build_id, sizeof(hello.build_id));
	say(channel, WIRE_S2B_HELLO, &hello);
}

/* ---- messages ----------------------------------------------------------------------------------
 */

static int
message_write(struct loop *l, const struct wire_note *note)
{
	uint64_t begun = clock_now().ns;
	char text[TEXT_MAX];
	int error = audit_write(l->audit, text, text_format(note, l->boot_id, text));

	if (l->alone && clock_now().ns - begun > ALONE_PATIENCE_NS)
		l->stalled = true;
	return error;
}

/* What is missing is told before anything that follows it. */
static int
gap_write(struct loop *l)
{
	const struct wire_note gap = { .action = WIRE_ACTION_SUPPRESSED, .count = l->suppressed };
	int error = l->suppressed == 0 ? 0 : message_write(l, &gap);

	if (error == 0)
		l->suppressed = 0;
	return error;
}

static void
note_lose(struct loop *l)
{
	l->report.lost++;
	l->suppressed++;
}

static void
note_write(struct loop *l, const struct wire_note *note)
{
	int error = gap_write(l);

	if (error == 0)
		error = message_write(l, note);
	l->report.error = error;
	if (error == 0)
		l->report.taken++;
	else
		note_lose(l);
}

/* False when it has to wait for its turn. */
static bool
note_take(struct loop *l, const struct wire_note *note)
{
	if (note->action == WIRE_ACTION_SUPPRESSED) {
		l->suppressed += note->count; /* of the broker's counting */
		l->report.error = gap_write(l);
	} else if (!wire_note_of_ghosts(note) || limit_take(&l->limit, clock_now())) {
		note_write(l, note);
	} else if (l->alone) {
		note_lose(l);
	} else {
		return false;
	}
	return true;
}

static void
notes_take(struct loop *l)
{
	while (l->count > 0 && !l->stalled && note_take(l, l->notes)) {
		l->notes++;
		l->count--;
	}
}

/* ---- the broker --------------------------------------------------------------------------------
 */

static void
greeting_take(struct loop *l, const struct wire_sink_greeting *greeting)
{
	if (l->greeted)
		fatal("the broker broke the protocol: a second HELLO");
	if (memcmp(greeting->build_id, build_id, sizeof(greeting->build_id)) != 0)
		fatal("the broker is of another build");
	memcpy(l->boot_id, greeting->boot_id, sizeof(l->boot_id));
	l->greeted = true;
}

static void
message_take(struct loop *l, const struct wire_view *view)
{
	if (view->type == WIRE_B2S_HELLO) {
		greeting_take(l, view->records);
		return;
	}
	if (!l->greeted)
		fatal("the broker broke the protocol: %s before HELLO", wire_type_name(view->type));
	l->notes = view->records;
	l->count = view->count;
}

static void
packet_take(struct loop *l)
{
	struct wire_view view;

	switch (channel_recv(l->channel, &view)) {
	case CHANNEL_MESSAGE:
		message_take(l, &view);
		break;
	case CHANNEL_EOF:
		l->ended = true;
		break;
	case CHANNEL_EMPTY:
		break;
	}
}

static bool
report_owed(const struct loop *l)
{
	return memcmp(&l->report, &l->told, sizeof(l->told)) != 0;
}

static void
report_send(struct loop *l)
{
	mono_ns now = clock_now();

	if (l->alone || !report_owed(l) || now.ns < l->report_due.ns)
		return;
	say(l->channel, WIRE_S2B_REPORT, &l->report);
	l->told = l->report;
	l->report_due.ns = now.ns + REPORT_PAUSE_NS;
}

/* ---- turns -------------------------------------------------------------------------------------
 */

/* Until something is due: NULL for ever. */
static const struct timespec *
patience(const struct loop *l, struct timespec *ts)
{
	mono_ns now = clock_now();
	uint64_t wait = l->count > 0 ? limit_wait(&l->limit, now) : UINT64_MAX;

	if (report_owed(l)) {
		uint64_t due = l->report_due.ns > now.ns ? l->report_due.ns - now.ns : 0;

		wait = due < wait ? due : wait;
	}
	if (wait == UINT64_MAX)
		return NULL;
	ts->tv_sec = (time_t)(wait / NS_PER_S);
	ts->tv_nsec = (long)(wait % NS_PER_S);
	return ts;
}

static short
channel_wait(const struct loop *l)
{
	struct timespec ts;
	struct pollfd pfd = { .fd = l->channel->fd, .events = l->count == 0 ? POLLIN : 0 };

	if (ppoll(&pfd, 1, patience(l, &ts), NULL) < 0) {
		if (errno != EINTR)
			fatal("waiting for the broker: %s", strerror(errno));
		return 0;
	}
	return pfd.revents;
}

static void
turn(struct loop *l)
{
	short revents = channel_wait(l);

	if ((revents & (POLLHUP | POLLERR)) != 0)
		l->alone = true;
	if (l->count == 0 && (revents & (POLLIN | POLLHUP | POLLERR)) != 0)
		packet_take(l);
	notes_take(l);
	report_send(l);
}

void
loop_run(struct channel *channel, struct audit *audit)
{
	static struct loop l;

	l = (struct loop){ .channel = channel, .audit = audit };
	limit_init(&l.limit, LOOP_MESSAGES_PER_S, clock_now());
	while (!l.ended && !l.stalled)
		turn(&l);
	if (!l.stalled)
		gap_write(&l);
}
