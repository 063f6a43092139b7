/* SPDX-License-Identifier: Apache-2.0 */
#include "broker.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reaper_peer.h"
#include "sockets.h"
#include "tap.h"

/* Looks, and requests that rest on them. */

static void
read_some(int fd)
{
	char buf[65536];

	must((int)recv(fd, buf, sizeof(buf), MSG_DONTWAIT), "recv");
}

void
test_sample_orphans(struct reaper *r)
{
	for (enum flavour f = IPV4; f < FLAVOURS; f++) {
		struct pair p;
		struct wire_destroy d = orphan_make(&p, f);
		struct wire_sampled s = sample(r, &d);

		ok(s.found == WIRE_FOUND_ORPHAN && s.state == TCP_STATE_FIN_WAIT1 && s.mini == 0 &&
				s.progress.bytes_acked > 0 && s.progress.send_queue > 0 &&
				s.progress.window_end >= s.progress.bytes_acked,
			"sample of an orphan, %s: acked %llu, window end %llu, queue %u",
			flavour_names[f], (unsigned long long)s.progress.bytes_acked,
			(unsigned long long)s.progress.window_end, s.progress.send_queue);
		ok(state_of(&d) == TCP_STATE_FIN_WAIT1, "sample of an orphan: untouched");
		pair_close(&p);
		expect_sample(r, &d, WIRE_FOUND_NOTHING, 0, 0, "what is gone");
	}
}

void
test_sample_held(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy c = request_for(p.client, TCP_STATE_FIN_WAIT1), s;
	struct wire_destroy l = request_for(p.listener, TCP_STATE_FIN_WAIT1);

	expect_sample(r, &c, WIRE_FOUND_HELD, 0, TCP_STATE_ESTABLISHED, "a living client");
	expect_sample(r, &l, WIRE_FOUND_HELD, 0, TCP_STATE_LISTEN, "a listener");
	ok(alive(&p), "sampled living pair: still talks");
	shutdown(p.client, SHUT_WR);
	readable(p.server);
	expect_sample(r, &c, WIRE_FOUND_HELD, 0, state_of(&c), "a half-closed client");
	pair_close(&p);

	p = pair_queued(IPV4);
	c = s = request_for(p.client, TCP_STATE_FIN_WAIT1);
	s.tuple = reversed(&c.tuple);
	s.cookie = far_end(&c.tuple).cookie;
	expect_sample(r, &s, WIRE_FOUND_HELD, 0, TCP_STATE_ESTABLISHED, "an accept queue");
	shutdown(p.client, SHUT_WR);
	expect_sample(r, &s, WIRE_FOUND_HELD, 0, TCP_STATE_CLOSE_WAIT, "the same in CLOSE-WAIT");
	p.server = must(accept4(p.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	ok(one_way(p.server, p.client), "sampled accept queue: accepted afterwards, and talks");
	pair_close(&p);
}

void
test_sample_others(struct reaper *r)
{
	struct pair p;
	struct wire_destroy d = mini_make(&p), lie;
	struct wire_sampled s = sample(r, &d);

	ok(s.found == WIRE_FOUND_ORPHAN && s.state == TCP_STATE_FIN_WAIT2 && s.mini == 1 &&
			s.progress.timer == 3 && s.progress.bytes_acked == 0,
		"sample of a mini-socket: found %u, state %s, mini %u", s.found,
		tcp_state_name(s.state), s.mini);
	pair_close(&p);
	d = time_wait_make();
	expect_sample(r, &d, WIRE_FOUND_TIME_WAIT, 0, TCP_STATE_TIME_WAIT, "TIME-WAIT");
	d = orphan_make(&p, IPV4);
	lie = d;
	lie.cookie++;
	expect_sample(r, &lie, WIRE_FOUND_NOTHING, 0, 0, "another cookie");
	lie = d;
	lie.tuple.dst_port++;
	expect_sample(r, &lie, WIRE_FOUND_NOTHING, 0, 0, "another port");
	lie = d;
	lie.tuple.ifindex = if_nametoindex("lo");
	expect_sample(r, &lie, WIRE_FOUND_FAILED, ESTALE, 0, "a device it is not bound to");
	lie = d;
	lie.tuple.netns++;
	expect_sample(r, &lie, WIRE_FOUND_FAILED, EXDEV, 0, "another namespace");
	pair_close(&p);
}

/* One packet in, one packet out, in its order, and behind what was asked before. */
void
test_sample_batch(struct reaper *r)
{
	struct pair p, q;
	struct wire_destroy first = orphan_make(&p, IPV4), second = orphan_make(&q, IPV4);
	struct wire_sample questions[WIRE_BATCH_MAX];
	struct wire_sampled answers[WIRE_BATCH_MAX];
	struct wire_result_record result;
	unsigned good = 0;

	for (unsigned i = 0; i < WIRE_BATCH_MAX; i++) {
		questions[i] = sample_for(i % 2 == 0 ? &first : &second);
		questions[i].ghost = i;
		questions[i].cookie += i % 4 == 3;
	}
	packet_send(r, WIRE_B2R_DESTROY, &first, 1);
	packet_send(r, WIRE_B2R_SAMPLE, questions, WIRE_BATCH_MAX);
	packet_recv(r, WIRE_R2B_RESULT, &result, sizeof(result));
	if (packet_recv(r, WIRE_R2B_SAMPLED, answers, sizeof(answers)) != WIRE_BATCH_MAX)
		die("not all samples answered");
	for (unsigned i = 0; i < WIRE_BATCH_MAX; i++)
		good += answers[i].ghost == i &&
			answers[i].found == (i % 4 == 1 ? WIRE_FOUND_ORPHAN : WIRE_FOUND_NOTHING);
	ok(good == WIRE_BATCH_MAX, "a batch of samples behind a destroy: %u as expected", good);
	pair_close(&p);
	pair_close(&q);
}

#define SAMPLE_PACKETS 300

/* A flood is answered in its order, and costs nothing of the rate. */
void
test_sample_flood(void)
{
	struct reaper r = reaper_ready("1", NULL);
	struct wire_sample questions[WIRE_BATCH_MAX];
	struct wire_sampled answers[WIRE_BATCH_MAX];
	struct pair p;
	struct wire_destroy d = orphan_make(&p, IPV4);
	unsigned good = 0;

	for (unsigned n = 0; n < SAMPLE_PACKETS; n++) {
		for (unsigned i = 0; i < WIRE_BATCH_MAX; i++) {
			questions[i] = sample_for(&d);
			questions[i].ghost = n * WIRE_BATCH_MAX + i;
		}
		packet_send(&r, WIRE_B2R_SAMPLE, questions, WIRE_BATCH_MAX);
	}
	for (unsigned n = 0; n < SAMPLE_PACKETS; n++) {
		size_t count = packet_recv(&r, WIRE_R2B_SAMPLED, answers, sizeof(answers));

		for (unsigned i = 0; i < count; i++)
			good += answers[i].ghost == n * WIRE_BATCH_MAX + i &&
				answers[i].found == WIRE_FOUND_ORPHAN;
	}
	ok(good == SAMPLE_PACKETS * WIRE_BATCH_MAX, "a flood of samples: %u in their order", good);
	expect(&r, &d, WIRE_RESULT_DESTROYED, 0, "a destroy behind it, at 1 per second");
	pair_close(&p);
	reaper_stop(&r, "a flood of samples");
}

/* ---- proved ---------------------------------------------------------------------------------- */

static struct wire_destroy
proved(const struct wire_destroy *d, const struct wire_sampled *seen)
{
	struct wire_destroy request = *d;

	request.flags = WIRE_DESTROY_PROVED;
	request.state = seen->state;
	request.seen = seen->progress;
	return request;
}

void
test_proved_still(struct reaper *r)
{
	for (enum flavour f = IPV4; f < FLAVOURS; f++) {
		struct pair p;
		struct wire_destroy d = orphan_make(&p, f), request;
		struct wire_sampled seen = sample_still(r, &d);

		request = proved(&d, &seen);
		expect(r, &request, WIRE_RESULT_DESTROYED, 0, "proved, and nothing moved");
		ok(state_of(&d) == 0 && drained_error(p.server) == ECONNRESET,
			"proved, %s: gone, and the peer sees ECONNRESET", flavour_names[f]);
		pair_close(&p);
	}
}

void
test_proved_moved(struct reaper *r)
{
	struct pair p;
	struct wire_destroy d = big_orphan_make(&p), request;
	struct wire_sampled first = sample_still(r, &d), now;

	read_some(p.server);
	now = sample_moved(r, &d, &first.progress);
	ok(now.found == WIRE_FOUND_ORPHAN && now.state == TCP_STATE_FIN_WAIT1,
		"the peer read something: acked %llu, then %llu",
		(unsigned long long)first.progress.bytes_acked,
		(unsigned long long)now.progress.bytes_acked);
	request = proved(&d, &first);
	expect(r, &request, WIRE_RESULT_REFUSED_PROGRESS, 0, "proved, but the peer read something");
	ok(state_of(&d) == TCP_STATE_FIN_WAIT1, "proved, but moved: untouched");
	memset(&request.seen, 0, sizeof(request.seen));
	expect(r, &request, WIRE_RESULT_REFUSED_PROGRESS, 0, "proved by nothing");
	memset(&request.seen, 0xff, sizeof(request.seen));
	request.seen.timer = 4;
	expect(r, &request, WIRE_RESULT_FAILED, ESTALE, "proved by what cannot have been");
	now = sample_still(r, &d);
	request = proved(&d, &now);
	expect(r, &request, WIRE_RESULT_DESTROYED, 0, "proved again, with a new sample");
	pair_close(&p);
}

void
test_proved_other_state(struct reaper *r)
{
	struct pair p;
	struct wire_destroy d = orphan_make(&p, IPV4), request;
	struct wire_sampled seen = sample_still(r, &d);

	request = proved(&d, &seen);
	shutdown(p.server, SHUT_WR);
	expect(r, &request, WIRE_RESULT_REFUSED_PROGRESS, 0, "proved in FIN-WAIT-1, now CLOSING");
	ok(state_of(&d) == TCP_STATE_CLOSING, "proved in another state: untouched");
	seen = sample(r, &d);
	request = proved(&d, &seen);
	expect(r, &request, WIRE_RESULT_DESTROYED, 0, "proved in CLOSING");
	pair_close(&p);

	d = mini_make(&p);
	seen = sample(r, &d);
	request = proved(&d, &seen);
	request.seen.timer = 2;
	expect(r, &request, WIRE_RESULT_REFUSED_PROGRESS, 0, "proved when it was a full socket");
	request = proved(&d, &seen);
	expect(r, &request, WIRE_RESULT_DESTROYED, 0, "proved as a mini-socket");
	pair_close(&p);
}

void
test_proved_live(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1), request;
	struct wire_sampled seen = sample(r, &d);
	struct wire_result_record got = { 0 };

	request = proved(&d, &seen);
	expect(r, &request, WIRE_RESULT_REFUSED_LIVE, 0, "a living client, proved");
	ok(alive(&p), "a living client, proved: still talks");
	fill(p.client);
	shutdown(p.client, SHUT_WR);
	seen = sample_still(r, &d);
	request = proved(&d, &seen);
	packet_send(r, WIRE_B2R_DESTROY, &request, 1);
	ping(r);
	close(p.client);
	p.client = -1;
	packet_recv(r, WIRE_R2B_RESULT, &got, sizeof(got));
	ok(seen.found == WIRE_FOUND_HELD && got.result == WIRE_RESULT_DESTROYED && got.tries > 1,
		"proved before its close: %s at look %u", wire_result_name(got.result), got.tries);
	pair_close(&p);
}

#define PROVED 256

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Reads PROVED results. Returns how many were destroyed, and their times from look to act. */
static unsigned
times_read(struct reaper *r, uint64_t ns[PROVED])
{
	struct wire_result_record results[WIRE_BATCH_MAX];
	unsigned n = 0, destroyed = 0;

	while (n < PROVED) {
		size_t count = packet_recv(r, WIRE_R2B_RESULT, results, sizeof(results));

		if (count == 0)
			die("the reaper ended");
		for (size_t i = 0; i < count; i++) {
			destroyed += results[i].result == WIRE_RESULT_DESTROYED;
			ns[n++] = results[i].look_to_act_ns;
		}
	}
	qsort(ns, PROVED, sizeof(ns[0]), by_value);
	return destroyed;
}

/* In full batches: one by one, each is acted upon at once. */
void
test_proved_quick(struct reaper *r)
{
	static struct pair pairs[PROVED];
	static struct wire_destroy requests[PROVED];
	uint64_t ns[PROVED];
	unsigned destroyed;

	for (unsigned i = 0; i < PROVED; i++)
		requests[i] = orphan_make(&pairs[i], IPV4);
	for (unsigned i = 0; i < PROVED; i++) {
		struct wire_sampled seen = sample_still(r, &requests[i]);

		requests[i] = proved(&requests[i], &seen);
	}
	for (unsigned i = 0; i < PROVED; i += WIRE_BATCH_MAX)
		packet_send(r, WIRE_B2R_DESTROY, &requests[i], WIRE_BATCH_MAX);
	destroyed = times_read(r, ns);
	ok(destroyed == PROVED && ns[PROVED * 99 / 100] < 1000000 * patience(),
		"%u proved: look to act %llu ns, p99 %llu ns, at most %llu ns", destroyed,
		(unsigned long long)ns[PROVED / 2], (unsigned long long)ns[PROVED * 99 / 100],
		(unsigned long long)ns[PROVED - 1]);
	for (unsigned i = 0; i < PROVED; i++)
		pair_close(&pairs[i]);
}
