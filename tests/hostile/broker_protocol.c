/* SPDX-License-Identifier: Apache-2.0 */
#include "broker.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reaper_peer.h"
#include "sockets.h"
#include "tap.h"

/* Packets that break the protocol, and the end of the channel. */

void
test_violations(void)
{
	struct reaper r = reaper_start("10", NULL);
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1);
	struct wire_broker_hello stranger = { .destroy_limit = 1 };

	packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
	dies(&r, "a request before HELLO");
	r = reaper_ready("10", NULL);
	hello_send(&r, 1);
	dies(&r, "a second HELLO");
	r = reaper_start("10", NULL);
	packet_send(&r, WIRE_B2R_HELLO, &stranger, 1);
	dies(&r, "a HELLO of another build");
	for (int i = 0; i < 2; i++) {
		d.cookie = i == 0 ? UINT64_MAX : 0;
		r = reaper_ready("10", NULL);
		packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
		dies(&r, i == 0 ? "cookie ~0, which means any" : "cookie 0");
	}
	d.cookie = 1;
	d.seen.bytes_acked = 1;
	r = reaper_ready("10", NULL);
	packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
	dies(&r, "a sample, but nothing proved");
	memset(&d.seen, 0, sizeof(d.seen));
	r = reaper_ready("10", NULL);
	r.seq_out++;
	packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
	dies(&r, "a gap in the numbers");
	r = reaper_ready("10", NULL);
	must((int)send(r.fd, &d, sizeof(d), MSG_NOSIGNAL), "send");
	dies(&r, "a packet without a header");
	ok(alive(&p), "the living pair named in all of them: still talks");
	pair_close(&p);
}

void
test_sample_violations(void)
{
	const uint64_t cookies[] = { 0, UINT64_MAX };
	struct wire_sample s = { .tuple.family = AF_INET };
	struct reaper r = reaper_start("10", NULL);

	reconcile_send(&r, 1);
	dies(&r, "RECONCILE before HELLO");
	r = reaper_start("10", NULL);
	s.cookie = 1;
	packet_send(&r, WIRE_B2R_SAMPLE, &s, 1);
	dies(&r, "SAMPLE before HELLO");
	for (size_t i = 0; i < 2; i++) {
		s.cookie = cookies[i];
		r = reaper_ready("10", NULL);
		packet_send(&r, WIRE_B2R_SAMPLE, &s, 1);
		dies(&r, i == 0 ? "SAMPLE of cookie 0" : "SAMPLE of cookie ~0, which means any");
	}
}

void
test_fd_passing(void)
{
	struct reaper r = reaper_ready("10", NULL);
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct wire_header header;
	struct wire_ping record = { 1 };
	struct iovec iov[] = { { &header, sizeof(header) }, { &record, sizeof(record) } };
	struct msghdr msg = { .msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = &control,
		.msg_controllen = sizeof(control.space) };

	wire_header_fill(&header, WIRE_B2R_PING, 1, r.seq_out);
	memcpy(CMSG_DATA(&control.head), &r.fd, sizeof(r.fd));
	must((int)sendmsg(r.fd, &msg, 0), "sendmsg");
	dies(&r, "a passed descriptor");
}

void
test_stop(void)
{
	struct reaper r = reaper_ready("10", NULL);
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1);
	struct wire_result_record got = { 0 };

	shutdown(p.client, SHUT_WR);
	packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
	shutdown(r.fd, SHUT_WR);
	packet_recv(&r, WIRE_R2B_RESULT, &got, sizeof(got));
	ok(got.result == WIRE_RESULT_REFUSED_LIVE,
		"an ordered stop: the request in hand is answered");
	ok(reaper_wait(&r) == 0, "an ordered stop: exit 0");

	r = reaper_ready("10", NULL);
	packet_send(&r, WIRE_B2R_DESTROY, &d, 1);
	ping(&r);
	close(r.fd);
	r.fd = -1;
	ok(reaper_wait(&r) == 0, "a vanished broker: exit 0, with a request in hand");
	pair_close(&p);
}
