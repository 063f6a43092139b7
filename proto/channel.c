/* SPDX-License-Identifier: Apache-2.0 */
#include "channel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"

static bool
is_seqpacket_pair(int fd)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(int), peer_len = sizeof(peer);
	int type = 0, domain = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET)
		return false;
	len = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX)
		return false;
	return getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0;
}

void
channel_open(struct channel *ch, int fd, const char *peer, enum wire_direction in)
{
	errno = 0;
	if (!is_seqpacket_pair(fd)) {
		if (errno == ENOBUFS || errno == ENOMEM)
			fatal("cannot examine the channel to the %s: %s", peer, strerror(errno));
		log_error("not to be started by hand: this is a part of eghostbuster(8), which "
			  "starts it");
		_exit(2);
	}
	*ch = (struct channel){ .fd = fd, .peer = peer, .in = in };
}

/* One piece, sent by a call that can carry neither an address nor a file descriptor: a captured
 * role has no other to send by. */
int
channel_send(struct channel *ch, enum wire_type type, const void *records, size_t count)
{
	static _Alignas(8) unsigned char packet[WIRE_PACKET_MAX];
	struct wire_header header;
	size_t length = wire_header_fill(&header, type, count, ch->seq_out);
	ssize_t n;

	if (length == 0)
		fatal("%zu records of %s do not make a packet: this is a bug", count,
			wire_type_name(type));
	memcpy(packet, &header, sizeof(header));
	memcpy(packet + sizeof(header), records, length - sizeof(header));
	do
		n = send(ch->fd, packet, length, CHANNEL_SEND_FLAGS);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	ch->seq_out++;
	return 0;
}

static ssize_t
packet_receive(struct channel *ch, int *flags)
{
	struct iovec iov = { .iov_base = ch->packet, .iov_len = sizeof(ch->packet) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	do
		n = recvmsg(ch->fd, &msg, 0);
	while (n < 0 && errno == EINTR);
	*flags = msg.msg_flags;
	return n;
}

static enum channel_event __attribute__((format(printf, 2, 3)))
broken(const struct channel *ch, const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (!ch->spare)
		fatal("%s", what);
	log_error("%s", what);
	return CHANNEL_EOF;
}

enum channel_event
channel_recv(struct channel *ch, struct wire_view *view)
{
	enum wire_error err;
	int flags = 0;
	ssize_t n = packet_receive(ch, &flags);

	if (n < 0 && errno == EAGAIN)
		return CHANNEL_EMPTY;
	if (n < 0 && errno == ECONNRESET)
		return CHANNEL_EOF; /* the peer died with packets of ours unread */
	if (n < 0)
		return broken(ch, "receiving from the %s: %s", ch->peer, strerror(errno));
	/* No room is offered for ancillary data, so an fd never arrives; that one was sent is told
	 * by MSG_CTRUNC, that a packet was longer than any correct one by MSG_TRUNC. */
	if ((flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
		return broken(ch,
			"the %s broke the protocol: an oversized packet or a file descriptor",
			ch->peer);
	if (n == 0)
		return CHANNEL_EOF; /* no correct packet is empty: either way the talk is over */
	err = wire_check(ch->packet, (size_t)n, ch->in, ch->seq_in, view);
	if (err != WIRE_OK)
		return broken(ch, "the %s broke the protocol: %s (packet %u, %zd bytes)", ch->peer,
			wire_error_text(err), ch->seq_in, n);
	ch->seq_in++;
	return CHANNEL_MESSAGE;
}
