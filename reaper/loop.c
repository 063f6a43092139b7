/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "proto/build_id.h"
#include "proto/log.h"
#include "proto/clock.h"

struct loop {
	struct channel *channel;
	struct work *work;
	bool greeted; /* the broker's HELLO was right */
	bool eof;     /* the broker says no more */
	bool pinged;  /* a PONG is owed */
	bool asked;   /* a FOUND_END is owed: nothing is read before */
	uint64_t nonce;
	uint64_t round;
};

static void
say(struct channel *channel, enum wire_type type, const void *records, size_t count)
{
	/* A broker that has gone is seen as the end of its channel. */
	if (channel_send(channel, type, records, count) < 0 && errno != EPIPE &&
		errno != ECONNRESET)
		fatal("sending %s to the broker: %s", wire_type_name(type), strerror(errno));
}

void
loop_hello(struct channel *channel, const struct work *work)
{
	struct wire_reaper_hello hello = {
		.ceiling = work->limit.ceiling,
		.netns = work->scope.netns,
		.selftest = work->scope.selftest,
		.time_wait = work->scope.time_wait,
	};

	memcpy(hello.build_id, build_id, sizeof(hello.build_id));
	say(channel, WIRE_R2B_HELLO, &hello, 1);
}

static void
take_hello(struct loop *l, const struct wire_view *view)
{
	const struct wire_broker_hello *hello = view->records;

	if (l->greeted)
		fatal("the broker broke the protocol: a second HELLO");
	if (memcmp(hello->build_id, build_id, sizeof(hello->build_id)) != 0)
		fatal("the broker is of another build");
	limit_set(&l->work->limit, hello->destroy_limit, clock_now());
	l->greeted = true;
}

static void
take_destroy(struct loop *l, const struct wire_view *view)
{
	const struct wire_destroy *requests = view->records;
	mono_ns now = clock_now();

	for (size_t i = 0; i < view->count; i++)
		work_add(l->work, &requests[i], now);
}

/* Does everything that was due when it began; what a retry puts back is due later. */
static void
do_work(struct loop *l)
{
	struct wire_result_record records[WIRE_BATCH_MAX];
	mono_ns now = clock_now();
	size_t results;

	while (work_batch(l->work, now, records, &results) > 0) {
		if (results > 0)
			say(l->channel, WIRE_R2B_RESULT, records, results);
	}
}

/* Answered at once, behind what was asked before: a sample never shows a ghost that a request read
 * earlier has still to end. */
static void
take_sample(struct loop *l, const struct wire_view *view)
{
	struct wire_sampled answers[WIRE_BATCH_MAX];
	const struct work *w = l->work;

	do_work(l);
	w->kind->sample(w->netlink, &w->scope, view->records, answers, view->count);
	say(l->channel, WIRE_R2B_SAMPLED, answers, view->count);
}

static void
take_reconcile(struct loop *l, const struct wire_view *view)
{
	const struct wire_reconcile *reconcile = view->records;

	l->asked = true;
	l->round = reconcile->round;
}

static void
take_limit(struct loop *l, const struct wire_view *view)
{
	const struct wire_limit *limit = view->records;

	limit_set(&l->work->limit, limit->destroy_limit, clock_now());
}

static void
take_ping(struct loop *l, const struct wire_view *view)
{
	const struct wire_ping *ping = view->records;

	l->pinged = true;
	l->nonce = ping->nonce;
}

static const struct {
	enum wire_type type;
	void (*take)(struct loop *l, const struct wire_view *view);
} takers[] = {
	{ WIRE_B2R_HELLO, take_hello },
	{ WIRE_B2R_DESTROY, take_destroy },
	{ WIRE_B2R_LIMIT, take_limit },
	{ WIRE_B2R_PING, take_ping },
	{ WIRE_B2R_SAMPLE, take_sample },
	{ WIRE_B2R_RECONCILE, take_reconcile },
};

static void
message_take(struct loop *l, const struct wire_view *view)
{
	if (!l->greeted && view->type != WIRE_B2R_HELLO)
		fatal("the broker broke the protocol: %s before HELLO", wire_type_name(view->type));
	for (size_t i = 0; i < sizeof(takers) / sizeof(takers[0]); i++) {
		if (takers[i].type == view->type) {
			takers[i].take(l, view);
			return;
		}
	}
	fatal("the broker broke the protocol: %s", wire_type_name(view->type));
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
		l->eof = true;
		break;
	case CHANNEL_EMPTY:
		break;
	}
}

/* What is read must find room: a packet may hold WIRE_BATCH_MAX requests. A full table is emptied
 * first, and the broker's own queue fills meanwhile. */
static bool
wants_more(const struct loop *l)
{
	return !l->eof && !l->pinged && !l->asked && queue_room(&l->work->queue) >= WIRE_BATCH_MAX;
}

/* Until something is due: NULL for ever, 0 when it is now. */
static const struct timespec *
patience(const struct loop *l, struct timespec *ts)
{
	mono_ns due, now = clock_now();
	uint64_t wait = UINT64_MAX, round;

	if (queue_next(&l->work->queue, &due))
		wait = due.ns > now.ns ? due.ns - now.ns : 0;
	round = l->asked ? limit_wait(&l->work->rounds, now) : UINT64_MAX;
	if (round < wait)
		wait = round;
	if (l->pinged)
		wait = 0;
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
	struct pollfd pfd = { .fd = l->channel->fd, .events = wants_more(l) ? POLLIN : 0 };

	if (ppoll(&pfd, 1, patience(l, &ts), NULL) < 0) {
		if (errno != EINTR)
			fatal("waiting for the broker: %s", strerror(errno));
		return 0;
	}
	return pfd.revents;
}

static void
say_found(void *arg, const struct wire_found_record *records, size_t count)
{
	say(arg, WIRE_R2B_FOUND, records, count);
}

/* In one go: nothing is destroyed between the kernel's row and the FOUND that tells of it. */
static void
answer_reconcile(struct loop *l)
{
	const struct work *w = l->work;
	const struct sink sink = { say_found, l->channel };
	struct wire_found_end end = { .round = l->round };

	if (!l->asked || !limit_take(&l->work->rounds, clock_now()))
		return;
	w->kind->reconcile(w->dumps, &w->scope, &sink, &end);
	end.done_mono_ns = clock_now().ns;
	say(l->channel, WIRE_R2B_FOUND_END, &end, 1);
	l->asked = false;
}

static void
answer_ping(struct loop *l)
{
	struct wire_pong pong = { .nonce = l->nonce };

	if (!l->pinged)
		return;
	say(l->channel, WIRE_R2B_PONG, &pong, 1);
	l->pinged = false;
}

/* One turn. False when it was the last. One packet a turn, of any type: no flood keeps a retry
 * waiting, and whoever has many requests fills his packets. */
static bool
turn(struct loop *l)
{
	short revents = channel_wait(l);
	mono_ns due;

	/* Nobody is left to write the results down, so nothing may be done any more (I3). A broker
	 * that stops in order only shuts its sending side down: that is an end of file without a
	 * hang-up. */
	if ((revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
		return false;
	if ((revents & POLLIN) != 0)
		packet_take(l);
	do_work(l);
	answer_reconcile(l);
	answer_ping(l);
	return !l->eof || queue_next(&l->work->queue, &due);
}

void
loop_run(struct channel *channel, struct work *work)
{
	static struct loop l;

	l = (struct loop){ .channel = channel, .work = work };
	while (turn(&l))
		continue;
}
