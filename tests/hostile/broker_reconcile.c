/* SPDX-License-Identifier: Apache-2.0 */
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "proto/clock.h"

#include "reaper_peer.h"
#include "sockets.h"
#include "tap.h"

/* Looks at the whole namespace. */

#define ORPHANS 600

static struct {
	struct wire_found_record records[2 * ORPHANS];
	size_t count;
	struct wire_found_end end;
} found;

/* Reads FOUND records until their end. */
static void
found_read(struct reaper *r)
{
	struct wire_view view;

	found.count = 0;
	while (packet_any(r, &view) && view.type == WIRE_R2B_FOUND) {
		if (found.count + view.count > 2 * ORPHANS)
			die("too many orphans found");
		memcpy(&found.records[found.count], view.records,
			view.count * sizeof(found.records[0]));
		found.count += view.count;
	}
	if (view.type != WIRE_R2B_FOUND_END)
		die("no FOUND_END");
	found.end = *(const struct wire_found_end *)view.records;
}

static unsigned
found_times(const struct wire_destroy *d)
{
	unsigned n = 0;

	for (size_t i = 0; i < found.count; i++)
		n += found.records[i].cookie == d->cookie &&
		     wire_tuple_equal(&found.records[i].tuple, &d->tuple);
	return n;
}

static bool
found_whole(uint64_t round, size_t count)
{
	return found.end.round == round && found.end.complete == 1 && found.end.error == 0 &&
	       found.end.count == found.count && found.count == count && found.end.done_mono_ns > 0;
}

static struct pair ghosts[ORPHANS];
static struct wire_destroy ghost_requests[ORPHANS];

static void
ghosts_make(void)
{
	for (unsigned i = 0; i < ORPHANS; i++) {
		ghost_requests[i] = orphan_make(&ghosts[i], (enum flavour)(i % FLAVOURS));
		close(ghosts[i].listener);
		ghosts[i].listener = -1;
	}
}

static unsigned
ghosts_found(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ORPHANS; i++)
		n += found_times(&ghost_requests[i]) == 1;
	return n;
}

/* What looks like a ghost to somebody who looks at the state only, or the inode only. */
struct bystanders {
	struct pair live, live6, half, queue;
	int more[4]; /* clients until the accept queue is full */
};

static void
bystanders_make(struct bystanders *b)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	b->live = pair_make(IPV4);
	b->live6 = pair_make(IPV6);
	b->half = pair_make(MAPPED);
	fill(b->half.client);
	shutdown(b->half.client, SHUT_WR);
	b->queue = pair_queued(IPV4);
	must(listen(b->queue.listener, 3), "listen");
	must(getsockname(b->queue.listener, (struct sockaddr *)&ss, &len), "getsockname");
	for (unsigned i = 0; i < 4; i++) {
		b->more[i] = must(
			socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
		(void)connect(b->more[i], (struct sockaddr *)&ss, len);
	}
	shutdown(b->more[0], SHUT_WR); /* in the queue, in CLOSE-WAIT */
	time_wait_make();
}

static void
bystanders_check(struct bystanders *b)
{
	int heard;

	ok(alive(&b->live) && alive(&b->live6), "reconcile: the living still talk");
	ok(one_way(b->half.server, b->half.client), "reconcile: the half-closed hears its peer");
	b->queue.server = must(accept4(b->queue.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	heard = must(accept4(b->queue.listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	ok(alive(&b->queue) && one_way(heard, b->more[0]),
		"reconcile: the accept queue is accepted, and talks");
	close(heard);
	pair_close(&b->live);
	pair_close(&b->live6);
	pair_close(&b->half);
	pair_close(&b->queue);
	for (unsigned i = 0; i < 4; i++)
		close(b->more[i]);
}

static void
found_details(void)
{
	unsigned good = 0;

	for (size_t i = 0; i < found.count; i++) {
		const struct wire_found_record *f = &found.records[i];

		good += f->mini == 1
				? f->state == TCP_STATE_FIN_WAIT2 && f->progress.timer == 3
				: f->state == TCP_STATE_FIN_WAIT1 && f->progress.send_queue > 0 &&
					  f->progress.bytes_acked > 0;
	}
	ok(good == found.count, "reconcile: %u records with state and progress", good);
}

static void
test_found(struct reaper *r)
{
	struct bystanders b;
	struct wire_destroy mini;
	struct wire_result_record result;
	uint64_t asked_at;
	struct pair p;
	unsigned n;

	reconcile_send(r, 1);
	found_read(r);
	ok(found_whole(1, 0), "reconcile: nothing in an empty namespace");
	bystanders_make(&b);
	reconcile_send(r, 2);
	found_read(r);
	ok(found_whole(2, 0), "reconcile: nothing among bystanders, %zu", found.count);
	ghosts_make();
	mini = mini_make(&p);
	asked_at = clock_now().ns;
	reconcile_send(r, UINT64_MAX);
	found_read(r);
	n = ghosts_found();
	ok(found_whole(UINT64_MAX, ORPHANS + 1) && n == ORPHANS && found_times(&mini) == 1,
		"reconcile: %u of %u orphans and a mini-socket, %zu in all, in %llu us", n, ORPHANS,
		found.count, (unsigned long long)(found.end.done_mono_ns - asked_at) / 1000);
	found_details();
	packet_send(r, WIRE_B2R_DESTROY, &ghost_requests[0], 1);
	reconcile_send(r, 4);
	packet_recv(r, WIRE_R2B_RESULT, &result, sizeof(result));
	found_read(r);
	ok(result.result == WIRE_RESULT_DESTROYED && found_whole(4, ORPHANS) &&
			found_times(&ghost_requests[0]) == 0,
		"reconcile: what was destroyed before is not found");
	bystanders_check(&b);
	pair_close(&p);
}

/* FOUND records can be asked for as they are. */
static void
test_found_destroyed(struct reaper *r)
{
	unsigned total = 0, destroyed = 0;

	/* A delayed acknowledgement is progress, too. */
	for (unsigned i = 1; i < ORPHANS; i++)
		sample_still(r, &ghost_requests[i]);
	reconcile_send(r, 5);
	found_read(r);
	for (size_t i = 0; i < found.count; i++) {
		const struct wire_found_record *f = &found.records[i];
		struct wire_destroy d = { .cookie = f->cookie,
			.tuple = f->tuple,
			.states = TCP_STATES_ORPHAN,
			.state = f->state,
			.flags = WIRE_DESTROY_PROVED,
			.seen = f->progress };

		total++;
		destroyed += ask(r, &d).result == WIRE_RESULT_DESTROYED;
	}
	ok(total == ORPHANS - 1 && destroyed == total, "reconcile: %u of %u found were destroyed",
		destroyed, total);
	for (unsigned i = 0; i < ORPHANS; i++)
		pair_close(&ghosts[i]);
}

#define ROUNDS 12

/* Ten a second at most; the rest wait for their turn, and what is behind them with them. What is to
 * be looked at again does not. */
static void
test_reconcile_flood(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy d = request_for(p.client, TCP_STATE_FIN_WAIT1);
	uint64_t done[ROUNDS], result_at = 0;
	struct wire_view view;
	unsigned n = 0;

	shutdown(p.client, SHUT_WR);
	packet_send(r, WIRE_B2R_DESTROY, &d, 1);
	for (unsigned i = 0; i < ROUNDS; i++)
		reconcile_send(r, 100 + i);
	while (n < ROUNDS && packet_any(r, &view)) {
		const struct wire_found_end *end = view.records;
		const struct wire_result_record *result = view.records;

		if (view.type == WIRE_R2B_FOUND_END && end->round == 100 + n)
			done[n++] = end->done_mono_ns;
		else if (view.type == WIRE_R2B_RESULT)
			result_at = result->done_mono_ns;
	}
	ping(r);
	ok(n == ROUNDS && done[10] - done[0] >= 1000000000 && done[11] - done[1] >= 1000000000,
		"a flood of %u rounds: all in order, ten in %llu ms", n,
		(unsigned long long)(done[10] - done[0]) / 1000000);
	ok(result_at > done[0] && result_at < done[ROUNDS - 1],
		"a flood of rounds: a retry is not held up by it");
	ok(one_way(p.server, p.client), "a flood of rounds: the half-closed hears its peer");
	pair_close(&p);
}

void
test_reconcile(void)
{
	const struct rlimit many = { 4 * ORPHANS, 4 * ORPHANS };
	int home = must(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), "open netns");
	struct reaper r;

	must(setrlimit(RLIMIT_NOFILE, &many), "RLIMIT_NOFILE");
	must(unshare(CLONE_NEWNET), "unshare");
	loopback_up();
	r = reaper_ready("100000", NULL);
	test_found(&r);
	test_found_destroyed(&r);
	reaper_stop(&r, "reconcile");
	r = reaper_ready("100000", NULL);
	test_reconcile_flood(&r);
	reaper_stop(&r, "a flood of rounds");
	must(setns(home, CLONE_NEWNET), "setns");
	close(home);
}

/* A kernel that failed the self-test: nothing is ever asked of it. */
void
test_unsupported(struct reaper *r)
{
	struct pair p;
	struct wire_destroy d = orphan_make(&p, IPV4);

	expect(r, &d, WIRE_RESULT_UNSUPPORTED, 0,
		"an orphan on a kernel that failed the self-test");
	ok(state_of(&d) == TCP_STATE_FIN_WAIT1, "an orphan on such a kernel: untouched");
	expect_sample(r, &d, WIRE_FOUND_ORPHAN, 0, TCP_STATE_FIN_WAIT1, "it, all the same");
	reconcile_send(r, 1);
	found_read(r);
	ok(found_times(&d) == 1, "an orphan on such a kernel: found by reconcile");
	pair_close(&p);
	reaper_stop(r, "after that");
}
