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
batch_flush(struct stream *s)
{
	if (s->count == 0)
		return;
	send_records(s, s->pending, &s->batch, s->count);
	if (s->pending == WIRE_T2B_ORPHAN)
		s->sent.orphans += s->count;
	else
		s->sent.exits += s->count;
	s->count = 0;
}

static void
batch_append(struct stream *s, const struct decoded *record)
{
	if (s->count == WIRE_BATCH_MAX || s->pending != record->type)
		batch_flush(s);
	s->pending = record->type;
	if (record->type == WIRE_T2B_ORPHAN)
		s->batch.orphans[s->count++] = record->orphan;
	else
		s->batch.exits[s->count++] = record->exit;
}

static int
record_received(void *context, void *data, size_t size)
{
	struct stream *s = context;
	struct decoded record;

	if (!decode_record(data, size, &record))
		fatal("the BPF programs wrote a record that makes no sense (%zu bytes)", size);
	batch_append(s, &record);
	if (s->stopping)
		return s->deaf ? ROUND_OVER : 0;
	return ++s->round < ROUND_MAX ? 0 : ROUND_OVER;
}

static struct wire_lost
drops_sum(const struct event_drops *drops)
{
	struct wire_lost sum = { 0 };

	for (size_t i = 0; i < EVENT_DROP_SLOTS; i++) {
		sum.ring_orphan += __atomic_load_n(&drops[i].orphan, __ATOMIC_RELAXED);
		sum.ring_exit += __atomic_load_n(&drops[i].exit, __ATOMIC_RELAXED);
		sum.stamp += __atomic_load_n(&drops[i].stamp, __ATOMIC_RELAXED);
	}
	return sum;
}

static void
lost_report(struct stream *s)
{
	struct wire_lost lost = drops_sum(s->bpf->drops);

	if (memcmp(&lost, &s->lost, sizeof(lost)) == 0)
		return;
	s->lost = lost;
	send_records(s, WIRE_T2B_LOST, &lost, 1);
}

static void
heartbeat_send(struct stream *s, uint64_t now)
{
	if (now < s->next_ns)
		return;
	s->next_ns = now + s->heartbeat_ns;
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
	batch_flush(s);
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

/* Sleeps until there is a record, the next heartbeat is due or the broker is heard. Returns whether
 * the broker stopped. */
static bool
stream_wait(struct stream *s, uint64_t now)
{
	uint64_t left = s->next_ns > now ? s->next_ns - now : 0;
	struct timespec timeout = { .tv_sec = (time_t)(left / NS_PER_S),
		.tv_nsec = (long)(left % NS_PER_S) };
	struct pollfd fds[] = {
		{ .fd = s->bpf->ring_fd, .events = POLLIN },
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
}
