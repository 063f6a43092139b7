/* SPDX-License-Identifier: Apache-2.0 */
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <unistd.h>

#include "reaper_peer.h"
#include "sockets.h"
#include "tap.h"

/* Requests: what has to end, and what has to survive them. */

void
test_orphans(struct reaper *r)
{
	for (enum flavour f = IPV4; f < FLAVOURS; f++) {
		struct pair p;
		struct wire_destroy d = orphan_make(&p, f);
		struct wire_result_record got = ask(r, &d);

		ok(got.result == WIRE_RESULT_DESTROYED && got.state == TCP_STATE_FIN_WAIT1 &&
				got.peer_notice == WIRE_NOTICE_RST && got.send_queue > 0 &&
				got.look_to_act_ns > 0 && got.done_mono_ns > 0,
			"orphan, %s: %s, send queue %u, look to act %llu ns", flavour_names[f],
			wire_result_name(got.result), got.send_queue,
			(unsigned long long)got.look_to_act_ns);
		ok(state_of(&d) == 0 && drained_error(p.server) == ECONNRESET,
			"orphan, %s: gone, and the peer sees ECONNRESET", flavour_names[f]);
		expect(r, &d, WIRE_RESULT_FAILED, ENOENT, "the same once more");
		pair_close(&p);
	}
}

static void
silent_end(struct reaper *r, const struct wire_destroy *d, unsigned state, const char *what)
{
	struct wire_result_record got = ask(r, d);

	ok(got.result == WIRE_RESULT_DESTROYED && got.state == state &&
			got.peer_notice == WIRE_NOTICE_NONE && state_of(d) == 0,
		"%s: %s in state %s, peer notice %u", what, wire_result_name(got.result),
		tcp_state_name(got.state), got.peer_notice);
}

void
test_silent_states(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy d;

	fill(p.server);
	d = request_for(p.server, TCP_STATE_LAST_ACK);
	shutdown(p.client, SHUT_WR);
	readable(p.server);
	close(p.server);
	p.server = -1;
	silent_end(r, &d, TCP_STATE_LAST_ACK, "LAST-ACK");
	pair_close(&p);

	d = orphan_make(&p, IPV4);
	shutdown(p.server, SHUT_WR);
	silent_end(r, &d, TCP_STATE_CLOSING, "CLOSING");
	pair_close(&p);

	p = pair_make(IPV4);
	d = request_for(p.client, TCP_STATE_FIN_WAIT1);
	close(p.client);
	p.client = -1;
	/* The peer's acknowledgement may be delayed; every look at the kernel gives it time. */
	for (int i = 0; i < 10000 && state_of(&d) == TCP_STATE_FIN_WAIT1; i++)
		continue;
	silent_end(r, &d, TCP_STATE_FIN_WAIT2, "FIN-WAIT-2 in a mini-socket");
	pair_close(&p);
}

void
test_time_wait(struct reaper *r)
{
	struct wire_destroy d = time_wait_make();
	struct reaper permitted = reaper_ready("1000", "--time-wait");

	expect(r, &d, WIRE_RESULT_GONE, 0, "TIME-WAIT, allowed by the request only");
	ok(state_of(&d) == TCP_STATE_TIME_WAIT,
		"TIME-WAIT, allowed by the request only: untouched");
	d.states = TCP_STATES_ORPHAN;
	expect(&permitted, &d, WIRE_RESULT_GONE, 0, "TIME-WAIT, allowed by argv only");
	ok(state_of(&d) == TCP_STATE_TIME_WAIT, "TIME-WAIT, allowed by argv only: untouched");
	d.states = TCP_STATES_RULE;
	silent_end(&permitted, &d, TCP_STATE_TIME_WAIT, "TIME-WAIT, allowed by both");
	reaper_stop(&permitted, "--time-wait");
}

/* ---- what must survive ---------------------------------------------------------------------- */

/* Each is looked at for a second before it is given up. */
void
test_live(struct reaper *r)
{
	struct pair pairs[FLAVOURS];
	struct wire_destroy requests[2 * FLAVOURS];
	struct tally t = { 0 };

	for (enum flavour f = IPV4; f < FLAVOURS; f++) {
		pairs[f] = pair_make(f);
		requests[2 * f] = request_for(pairs[f].client, TCP_STATE_FIN_WAIT1);
		requests[2 * f + 1] = request_for(pairs[f].server, TCP_STATE_LAST_ACK);
	}
	packet_send(r, WIRE_B2R_DESTROY, requests, 2 * FLAVOURS);
	tally_read(r, &t, 2 * FLAVOURS);
	ok(t.by_result[WIRE_RESULT_REFUSED_LIVE] == 2 * FLAVOURS,
		"both ends of living pairs: %u of %u refused-live",
		t.by_result[WIRE_RESULT_REFUSED_LIVE], 2 * FLAVOURS);
	for (enum flavour f = IPV4; f < FLAVOURS; f++) {
		ok(alive(&pairs[f]), "living pair, %s: still talks", flavour_names[f]);
		pair_close(&pairs[f]);
	}
}

void
test_accept_queue(struct reaper *r)
{
	struct pair p = pair_queued(IPV4);
	struct wire_destroy c = request_for(p.client, TCP_STATE_FIN_WAIT1), s = c;

	s.tuple = reversed(&c.tuple);
	s.cookie = far_end(&c.tuple).cookie;
	expect(r, &s, WIRE_RESULT_REFUSED_LIVE, 0, "accept queue, ESTABLISHED");
	shutdown(p.client, SHUT_WR);
	ok(state_of(&s) == TCP_STATE_CLOSE_WAIT, "accept queue: now in CLOSE-WAIT");
	s.state = TCP_STATE_LAST_ACK;
	expect(r, &s, WIRE_RESULT_REFUSED_LIVE, 0, "accept queue, CLOSE-WAIT");
	p.server = must(accept4(p.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	ok(one_way(p.server, p.client), "accept queue: accepted afterwards, and talks");
	pair_close(&p);
}

void
test_listener(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy vanished = request_for(p.server, TCP_STATE_FIN_WAIT1);
	struct wire_destroy l = request_for(p.listener, TCP_STATE_FIN_WAIT1);

	close(p.client);
	p.client = -1;
	drained_error(p.server);
	close(p.server);
	p.server = -1;
	expect(r, &l, WIRE_RESULT_REFUSED_LIVE, 0, "listener by its own cookie");
	expect(r, &vanished, WIRE_RESULT_FAILED, ENOENT,
		"vanished child, whose tuple finds the listener");
	vanished.cookie = l.cookie;
	expect(r, &vanished, WIRE_RESULT_REFUSED_LIVE, 0,
		"vanished child's tuple, the listener's cookie");
	pair_close(&p);

	p = pair_queued(IPV4);
	l = request_for(p.listener, TCP_STATE_FIN_WAIT1);
	expect(r, &l, WIRE_RESULT_REFUSED_LIVE, 0, "listener with a full queue");
	p.server = must(accept4(p.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	ok(alive(&p), "listener: still accepts");
	pair_close(&p);
}

void
test_wrong_claims(struct reaper *r)
{
	struct pair p;
	struct wire_destroy d = orphan_make(&p, IPV4), lie;

	lie = d;
	lie.cookie++;
	expect(r, &lie, WIRE_RESULT_FAILED, ENOENT, "orphan, another cookie");
	lie = d;
	lie.tuple.src_port++;
	expect(r, &lie, WIRE_RESULT_FAILED, ENOENT, "orphan, another port");
	lie = d;
	lie.tuple.ifindex = if_nametoindex("lo");
	expect(r, &lie, WIRE_RESULT_FAILED, ESTALE, "orphan, a device it is not bound to");
	lie = d;
	lie.state = TCP_STATE_LAST_ACK;
	expect(r, &lie, WIRE_RESULT_FAILED, ESTALE, "orphan, a state it never was in");
	lie = d;
	lie.tuple.netns++;
	expect(r, &lie, WIRE_RESULT_OTHER_NETNS, 0, "orphan, another namespace");
	ok(state_of(&d) == TCP_STATE_FIN_WAIT1, "orphan of five lies: untouched");
	expect(r, &d, WIRE_RESULT_DESTROYED, 0, "orphan, the truth");
	pair_close(&p);
}

void
test_other_netns(struct reaper *r)
{
	int home = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "open netns");
	struct pair p;
	struct wire_destroy d;

	must(unshare(CLONE_NEWNET), "unshare");
	loopback_up();
	d = orphan_make(&p, IPV4);
	expect(r, &d, WIRE_RESULT_OTHER_NETNS, 0, "an orphan of another namespace");
	d.tuple.netns = r->hello.netns;
	expect(r, &d, WIRE_RESULT_FAILED, ENOENT, "an orphan of another namespace, called ours");
	ok(state_of(&d) == TCP_STATE_FIN_WAIT1, "an orphan of another namespace: untouched");
	pair_close(&p);
	must(setns(home, CLONE_NEWNET), "setns");
	close(home);
}

/* ---- closes that are under way ----------------------------------------------------------------
 */

void
test_outrun(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1);
	struct wire_result_record got = { 0 };

	fill(p.client);
	shutdown(p.client, SHUT_WR);
	packet_send(r, WIRE_B2R_DESTROY, &d, 1);
	ping(r);
	close(p.client);
	p.client = -1;
	packet_recv(r, WIRE_R2B_RESULT, &got, sizeof(got));
	ok(got.result == WIRE_RESULT_DESTROYED && got.tries > 1,
		"an event that outran its close: %s at look %u", wire_result_name(got.result),
		got.tries);
	pair_close(&p);
}

/* A half-closed socket of a living process looks like a close under way, for a second at most. */
void
test_half_closed(struct reaper *r)
{
	struct pair p = pair_make(IPV4), q;
	struct wire_destroy live = request_for(p.client, TCP_STATE_FIN_WAIT1);
	struct wire_destroy ghost = orphan_make(&q, IPV4);
	struct wire_result_record got = { 0 };

	shutdown(p.client, SHUT_WR);
	packet_send(r, WIRE_B2R_DESTROY, &live, 1);
	ping(r);
	expect(r, &ghost, WIRE_RESULT_DESTROYED, 0, "an orphan behind a close under way");
	packet_recv(r, WIRE_R2B_RESULT, &got, sizeof(got));
	ok(got.ghost == live.ghost && got.result == WIRE_RESULT_REFUSED_LIVE && got.tries > 10,
		"half-closed by a living process: %s at look %u", wire_result_name(got.result),
		got.tries);
	ok(one_way(p.server, p.client), "half-closed by a living process: still hears its peer");
	pair_close(&p);
	pair_close(&q);
}
