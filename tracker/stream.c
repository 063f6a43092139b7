/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "bpf/events.h"
#include "decode.h"
#include "proto/clock.h"
#include "proto/log.h"

/* A storm must not keep heartbeats, losses and the stop order waiting: after so many records the
 * ring is left for a moment. */
#define ROUND_MAX  4096
#define ROUND_OVER (-ECANCELED)

/* Whoever writes a record behind the last one that was read has to wake us
 * (bpf_ringbuf_commit()): where many come one by one that takes a dying process as long as its own
 * work. After a round of so many the ring is left alone for a moment. */
#define STORM_RECORDS  4
#define STORM_PAUSE_NS (200 * 1000ull)

static void
send_records(struct stream *s, enum wire_type type, const void *records, size_t count)
{
	if (s->deaf || channel_send(s->channel, type, records, count) == 0)
		return;
	if (errno != EPIPE && errno != ECONNRESET)
		fatal("sending to the broker: %s", strerror(errno));
	/* The broker has gone, and with it the order to stop. */
	s->deaf = s->stopping = true;
}

static void
orphans_flush(struct stream *s)
{
	if (s->orphan_count == 0)
		return;
	send_records(s, WIRE_T2B_ORPHAN, s->orphans, s->orphan_count);
	s->sent.orphans += s->orphan_count;
	s->orphan_count = 0;
}

static void
exits_flush(struct stream *s)
{
	if (s->exit_count == 0)
		return;
	send_records(s, WIRE_T2B_EXIT, s->exits, s->exit_count);
	s->sent.exits += s->exit_count;
	s->exit_count = 0;
}

static void
record_take(struct stream *s, const struct decoded *record)
{
	if (record->type == WIRE_T2B_ORPHAN) {
		s->orphans[s->orphan_count++] = record->orphan;
		if (s->orphan_count == WIRE_BATCH_MAX)
			orphans_flush(s);
		return;
	}
	s->exits[s->exit_count++] = record->exit;
	if (s->exit_count == WIRE_BATCH_MAX)
		exits_flush(s);
}

static int
record_received(void *context, void *data, size_t size)
{
	struct stream *s = context;
	struct decoded record;

	if (!decode_record(data, size, &record))
		fatal("the BPF programs wrote a record that makes no sense (%zu bytes)", size);
	record_take(s, &record);
	if (s->stopping)
		return s->deaf ? ROUND_OVER : 0;
	return ++s->round < ROUND_MAX ? 0 : ROUND_OVER;
}

static struct wire_lost
drops_sum(const struct event_drops *drops, size_t slots)
{
	struct wire_lost sum = { 0 };

	for (size_t i = 0; i < slots; i++) {
		sum.ring_orphan += __atomic_load_n(&drops[i].orphan, __ATOMIC_RELAXED);
		sum.ring_exit += __atomic_load_n(&drops[i].exit, __ATOMIC_RELAXED);
		sum.stamp += __atomic_load_n(&drops[i].stamp, __ATOMIC_RELAXED);
	}
	return sum;
}

static void
lost_report(struct stream *s)
{
	struct wire_lost all = drops_sum(s->bpf->drops, EVENT_DROP_SLOTS);
	struct wire_lost lost = { .ring_orphan = all.ring_orphan - s->before.ring_orphan,
		.ring_exit = all.ring_exit - s->before.ring_exit,
		.stamp = all.stamp - s->before.stamp };

	if (memcmp(&lost, &s->lost, sizeof(lost)) == 0)
		return;
	s->lost = lost;
	send_records(s, WIRE_T2B_LOST, &lost, 1);
	if (!s->deaf)
		*s->bpf->told = (struct event_drops){
			.orphan = all.ring_orphan, .exit = all.ring_exit, .stamp = all.stamp
		};
}

static void
heartbeat_send(struct stream *s, uint64_t now)
{
	if (now < s->next_ns)
		return;
	s->next_ns = now + s->heartbeat_ns;
	exits_flush(s);
	s->sent.mono_ns = now;
	send_records(s, WIRE_T2B_HEARTBEAT, &s->sent, 1);
}

/* Everything the ring holds, before the stop at most ROUND_MAX records; then what was lost. */
static void
ring_forward(struct stream *s)
{
	int rc;

	s->round = 0;
	rc = ring_buffer__consume(s->ring);
	if (rc < 0 && rc != ROUND_OVER)
		fatal("reading the ring buffer: %s", strerror(-rc));
	orphans_flush(s);
	lost_report(s);
}

/* Nothing but EOF may come from the broker. */
static bool
broker_stopped(struct stream *s)
{
	struct wire_view view;

	switch (channel_recv(s->channel, &view)) {
	case CHANNEL_EMPTY:
		return false;
	case CHANNEL_EOF:
		return true;
	case CHANNEL_MESSAGE:
		break;
	}
	fatal("the broker broke the protocol: it sent a message to the tracker");
}

/* Sleeps until there is a record, in a storm a moment longer, the next heartbeat is due or the
 * broker is heard. Returns whether the broker stopped. */
static bool
stream_wait(struct stream *s, uint64_t now)
{
	bool storm = s->round >= STORM_RECORDS && s->round < ROUND_MAX;
	uint64_t left = storm ? STORM_PAUSE_NS : s->next_ns > now ? s->next_ns - now : 0;
	struct timespec timeout = { .tv_sec = (time_t)(left / NS_PER_S),
		.tv_nsec = (long)(left % NS_PER_S) };
	struct pollfd fds[] = {
		{ .fd = storm ? -1 : s->bpf->ring_fd, .events = POLLIN },
		{ .fd = s->channel->fd, .events = POLLIN },
	};

	if (ppoll(fds, 2, &timeout, NULL) < 0 && errno != EINTR)
		fatal("waiting for events: %s", strerror(errno));
	return fds[1].revents != 0 && broker_stopped(s);
}

void
stream_open(struct stream *s, struct channel *channel, const struct tracker_bpf_side *bpf,
	uint32_t heartbeat_ms)
{
	memset(s, 0, sizeof(*s));
	s->channel = channel;
	s->bpf = bpf;
	s->before = drops_sum(bpf->told, 1);
	s->heartbeat_ns = heartbeat_ms * NS_PER_MS;
	s->ring = ring_buffer__new(bpf->ring_fd, record_received, s, NULL);
	if (s->ring == NULL)
		fatal("cannot map the ring buffer: %s", strerror(errno));
}

void
stream_run(struct stream *s)
{
	uint64_t now = clock_now().ns;

	s->next_ns = now + s->heartbeat_ns;
	while (!s->stopping) {
		s->stopping = stream_wait(s, now);
		ring_forward(s);
		now = clock_now().ns;
		if (!s->stopping)
			heartbeat_send(s, now);
	}
	exits_flush(s);
}
