/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_CHANNEL_H
#define PROTO_CHANNEL_H

#include "wire.h"

/*
 * One end of a SOCK_SEQPACKET pair. The kernel keeps packet borders, so there is no partial read,
 * and both ends see EOF as soon as the other dies: the life-line between the roles.
 */

struct channel {
	int fd;
	const char *peer;	/* for messages: "tracker" */
	enum wire_direction in; /* the only direction accepted from the peer */
	bool spare; /* the service goes on without this peer: it may break the protocol */
	uint32_t seq_in, seq_out;
	_Alignas(8) unsigned char packet[WIRE_PACKET_MAX];
};

/* Prepares *ch. Exits with "not to be started by hand" when fd is not one end of a SEQPACKET pair.
 */
void channel_open(struct channel *ch, int fd, const char *peer, enum wire_direction in);

/* Sends `count` records of `type` as one packet. Returns 0, or -1 with errno: EAGAIN when a
 * non-blocking socket is full (nothing was sent, the number is not used up), EPIPE or ECONNRESET
 * when the peer is gone. Blocks on a blocking socket. */
#define CHANNEL_SEND_FLAGS MSG_NOSIGNAL
int channel_send(struct channel *ch, enum wire_type type, const void *records, size_t count);

enum channel_event {
	CHANNEL_MESSAGE, /* *view holds until the next channel_recv() */
	CHANNEL_EMPTY,	 /* non-blocking and nothing there */
	CHANNEL_EOF,	 /* the peer closed: the order to stop */
};

/* Receives and checks one packet. A packet that breaks the protocol, or carries ancillary data (a
 * file descriptor), is fatal: the peer is not what it should be. Of a spare one a line says so, and
 * it is as if it had closed. */
enum channel_event channel_recv(struct channel *ch, struct wire_view *view);

/* The only fd a role is given besides standard error. */
#define ROLE_CHANNEL_FD 3

#endif
