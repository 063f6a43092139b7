/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "notify.h"
#include "proto/build_id.h"
#include "proto/clock.h"
#include "proto/log.h"
#include "say.h"
#include "service_parts.h"
#include "sinks.h"

/* More heartbeats than this make no more pings, nor does the service manager hear of them. */
#define PING_PAUSE_NS (10 * NS_PER_MS)

/* Per channel: then what was read is dealt with. More at a time from the tracker would make the
 * reaper wait for a storm's end, less would let the ring behind it fill, and what has no room there
 * is lost. */
#define PACKETS_A_TURN 16u

/* A turn's packets, until take() says that it is enough. Whoever has more to say fills his packets:
 * so behind one that is not full nothing is looked for, unless one before it was. Should there be
 * something, the loop comes round at once. */
static enum channel_event
packets_take(struct channel *channel, bool (*take)(const struct wire_view *view))
{
	enum channel_event event = CHANNEL_MESSAGE;
	struct wire_view view;
	bool many = false;

	for (unsigned n = 0; n < PACKETS_A_TURN && !svc.finished; n++) {
		event = channel_recv(channel, &view);
		if (event != CHANNEL_MESSAGE || !take(&view))
			break;
		many = many || view.count == WIRE_BATCH_MAX;
		if (!many)
			break;
	}
	return event;
}

/* ---- the tracker -------------------------------------------------------------------------------
 */

static void
tracker_hello(const struct wire_tracker_hello *hello)
{
	if (svc.tracker_here)
		fatal("the tracker broke the protocol: a second HELLO");
	build_check(hello->build_id, "tracker");
	svc.tracker_hello = *hello;
	svc.tracker_here = true;
	event_del(svc.tracker_event); /* what follows waits until the reaper is here, too */
	ready_check();
	if (svc.ready)
		event_on(svc.tracker_event);
}

uint64_t
patience_ns(void)
{
	return 3ull * svc.tracker_hello.heartbeat_ms * NS_PER_MS + NS_PER_S;
}

/* One ping at a time. A heartbeat drives it through the reaper, so that the watchdog hears of it
 * only when all three loops have turned. */
static void
ping_send(void)
{
	struct wire_ping ping = { .nonce = svc.ping_nonce + 1 };
	mono_ns now = clock_now();

	if (svc.pinged.ns != 0 && now.ns - svc.pinged.ns < PING_PAUSE_NS)
		return;
	if (svc.pong_nonce != svc.ping_nonce ||
		channel_send(&svc.reaper, WIRE_B2R_PING, &ping, 1) < 0)
		return; /* the last is not answered, or the channel is full: the next heartbeat
			   tries */
	svc.ping_nonce++;
	svc.pinged = now;
	svc.reaper_heard = false;
	timer_set(svc.pong_timer, patience_ns());
}

void
answers_check(void)
{
	if (engine_overdue(&svc.engine, clock_now()))
		fatal("the reaper owes an answer for more than %llu s: the service stops",
			ANSWER_PATIENCE_NS / NS_PER_S);
}

static void
heartbeat_take(void)
{
	svc.heartbeats++;
	if (svc.stopping)
		return;
	timer_set(svc.patience_timer, patience_ns());
	answers_check();
	sinks_reap();
	ping_send();
	say_rest();
}

/* False where what follows has to wait until the service is ready. */
static bool
tracker_message(const struct wire_view *view)
{
	if (!svc.tracker_here && view->type != WIRE_T2B_HELLO)
		fatal("the tracker broke the protocol: %s before HELLO",
			wire_type_name(view->type));
	switch ((int)view->type) {
	case WIRE_T2B_HELLO:
		tracker_hello(view->records);
		break;
	case WIRE_T2B_ORPHAN:
		engine_orphans(&svc.engine, view->records, view->count, clock_now());
		break;
	case WIRE_T2B_EXIT:
		svc.engine.exits += view->count;
		break;
	case WIRE_T2B_LOST:
		engine_lost(&svc.engine, view->records, clock_now());
		break;
	case WIRE_T2B_HEARTBEAT:
		heartbeat_take();
		break;
	default:
		fatal("the tracker sent a message nobody expects: this is a bug");
	}
	return svc.ready;
}

void
on_tracker(evutil_socket_t fd, short what, void *arg)
{
	enum channel_event event = packets_take(&svc.tracker, tracker_message);

	(void)fd;
	(void)what;
	(void)arg;
	if (event == CHANNEL_EOF && !svc.stopping) {
		role_lost("tracker");
		return;
	}
	if (event == CHANNEL_EOF) {
		svc.tracker_done = true;
		event_del(svc.tracker_event);
	}
	turn_end();
}

/* ---- the reaper --------------------------------------------------------------------------------
 */

static void
reaper_hello(const struct wire_reaper_hello *hello)
{
	struct wire_broker_hello mine;

	if (svc.reaper_here)
		fatal("the reaper broke the protocol: a second HELLO");
	build_check(hello->build_id, "reaper");
	if (hello->netns != svc.netns)
		fatal("the reaper broke the protocol: it says it is in network namespace %u, and "
		      "was "
		      "started in %u",
			hello->netns, svc.netns);
	svc.reaper_hello = *hello;
	svc.reaper_here = true;
	memcpy(mine.build_id, build_id, sizeof(mine.build_id));
	mine.destroy_limit = rate_per_second(&svc.policy->destroy_limit);
	if (channel_send(&svc.reaper, WIRE_B2R_HELLO, &mine, 1) < 0)
		fatal("cannot greet the reaper: %s", strerror(errno));
	ready_check();
	if (svc.ready)
		event_on(svc.tracker_event);
}

static void
pong_take(const struct wire_pong *pong)
{
	if (pong->nonce <= svc.pong_nonce || pong->nonce > svc.ping_nonce)
		fatal("the reaper broke the protocol: an answer to a ping that was not sent");
	svc.pong_nonce = pong->nonce;
	event_del(svc.pong_timer);
	notify_send("WATCHDOG=1");
}

static bool
reaper_message(const struct wire_view *view)
{
	svc.reaper_heard = true;
	if (!svc.reaper_here && view->type != WIRE_R2B_HELLO)
		fatal("the reaper broke the protocol: %s before HELLO", wire_type_name(view->type));
	switch ((int)view->type) {
	case WIRE_R2B_HELLO:
		reaper_hello(view->records);
		break;
	case WIRE_R2B_RESULT:
		engine_results(&svc.engine, view->records, view->count, clock_now());
		break;
	case WIRE_R2B_SAMPLED:
		engine_samples(&svc.engine, view->records, view->count, clock_now());
		break;
	case WIRE_R2B_FOUND:
		engine_found(&svc.engine, view->records, view->count, clock_now());
		break;
	case WIRE_R2B_FOUND_END:
		engine_found_end(&svc.engine, view->records, clock_now());
		break;
	case WIRE_R2B_PONG:
		pong_take(view->records);
		break;
	default:
		fatal("the reaper sent a message nobody expects: this is a bug");
	}
	return true;
}

void
on_reaper(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	if (packets_take(&svc.reaper, reaper_message) == CHANNEL_EOF)
		role_lost("reaper");
	else
		turn_end();
}

/* An answer may wait behind a long row of results: what counts is that the reaper is heard at all.
 */
void
on_pong_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	if (!svc.reaper_heard || clock_now().ns - svc.pinged.ns > ANSWER_PATIENCE_NS)
		fatal("the reaper does not answer: the service stops");
	svc.reaper_heard = false;
	timer_set(svc.pong_timer, patience_ns());
}
