/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_STREAM_H
#define TRACKER_STREAM_H

#include "load.h"
#include "proto/channel.h"

struct ring_buffer;

/*
 * From the ring buffer to the broker: batched, each kind in the kernel's order. An ORPHAN goes at
 * once. Nothing waits for an EXIT: a packet of them goes when it is full, or with the next
 * HEARTBEAT. Sending blocks while the broker is behind; then the ring fills and the kernel side
 * counts what it drops. That is the back-pressure: bounded memory, and no loss that is not
 * reported.
 */
struct stream {
	struct channel *channel;
	struct ring_buffer *ring;
	const struct tracker_bpf_side *bpf;
	uint64_t heartbeat_ns;	 /* between two HEARTBEATs */
	uint64_t next_ns;	 /* CLOCK_MONOTONIC of the next one */
	bool stopping;		 /* the broker has ended its side: the order to stop */
	bool deaf;		 /* and does not read what is left, either */
	struct wire_lost before; /* lost, and reported, by runs before this one */
	struct wire_lost lost;	 /* by this one, as last reported */
	struct wire_heartbeat sent;
	unsigned round; /* records since the ring was last left */
	size_t exit_count, orphan_count;
	struct wire_exit exits[WIRE_BATCH_MAX];
	struct wire_orphan orphans[WIRE_BATCH_MAX];
};

/* Maps the ring buffer (a bpf() call: before the filter) and prepares *stream. *channel and *bpf
 * stay in use; *stream must not move. heartbeat_ms: more than 0. fatal() on failure. */
void stream_open(struct stream *stream, struct channel *channel, const struct tracker_bpf_side *bpf,
	uint32_t heartbeat_ms);

/* Forwards events until the broker closes its end or stops sending; what the ring holds then is
 * sent if the broker still listens. fatal() when the channel breaks in mid-send or on anything
 * received. */
void stream_run(struct stream *stream);

#endif
