/* SPDX-License-Identifier: Apache-2.0 */
#include "broker.h"

#include <sys/socket.h>

#include "reaper_peer.h"
#include "sockets.h"
#include "tap.h"

/* Many at once. */

#define MANY 5000 /* more than the reaper's table has room for */

void
test_batch(struct reaper *r)
{
	struct pair pairs[WIRE_BATCH_MAX];
	struct wire_destroy requests[WIRE_BATCH_MAX];
	struct tally t = { 0 };

	for (unsigned i = 0; i < WIRE_BATCH_MAX; i++)
		requests[i] = orphan_make(&pairs[i], IPV4);
	packet_send(r, WIRE_B2R_DESTROY, requests, WIRE_BATCH_MAX);
	tally_read(r, &t, WIRE_BATCH_MAX);
	ok(t.by_result[WIRE_RESULT_DESTROYED] == WIRE_BATCH_MAX && t.packets == 1,
		"a batch: %u destroyed, answered in %u packets", t.by_result[WIRE_RESULT_DESTROYED],
		t.packets);
	for (unsigned i = 0; i < WIRE_BATCH_MAX; i++)
		pair_close(&pairs[i]);
}

void
test_duplicates(struct reaper *r)
{
	struct wire_destroy requests[WIRE_BATCH_MAX];
	struct tally t = { 0 };
	struct pair p;

	requests[0] = orphan_make(&p, IPV4);
	for (unsigned i = 1; i < WIRE_BATCH_MAX; i++)
		requests[i] = requests[0];
	packet_send(r, WIRE_B2R_DESTROY, requests, WIRE_BATCH_MAX);
	tally_read(r, &t, WIRE_BATCH_MAX);
	ok(t.by_result[WIRE_RESULT_DESTROYED] == 1 &&
			t.by_result[WIRE_RESULT_GONE] == WIRE_BATCH_MAX - 1,
		"one orphan %u times: %u destroyed, %u gone", WIRE_BATCH_MAX,
		t.by_result[WIRE_RESULT_DESTROYED], t.by_result[WIRE_RESULT_GONE]);
	pair_close(&p);
}

/* More requests than the table has room for, all of which have to be retried. */
void
test_flood(struct reaper *r)
{
	struct pair p = pair_make(IPV4);
	struct wire_destroy requests[WIRE_BATCH_MAX];
	struct tally t = { 0 };

	shutdown(p.client, SHUT_WR);
	for (unsigned i = 0; i < WIRE_BATCH_MAX; i++)
		requests[i] = request_for(p.client, TCP_STATE_FIN_WAIT1);
	for (unsigned sent = 0; sent < MANY; sent += WIRE_BATCH_MAX)
		packet_send(r, WIRE_B2R_DESTROY, requests, WIRE_BATCH_MAX);
	tally_read(r, &t, MANY);
	tally_read(r, &t, (MANY + WIRE_BATCH_MAX - 1) / WIRE_BATCH_MAX * WIRE_BATCH_MAX);
	ok(t.by_result[WIRE_RESULT_REFUSED_LIVE] == t.total, "a flood of %u: %u refused", t.total,
		t.by_result[WIRE_RESULT_REFUSED_LIVE]);
	ok(one_way(p.server, p.client), "a flood: the socket still hears its peer");
	ping(r);
	pair_close(&p);
}

#define GHOSTS 20

static struct tally
ghosts_ask(struct reaper *r, struct pair *pairs, struct wire_destroy *requests)
{
	struct tally t = { 0 };

	for (unsigned i = 0; i < GHOSTS; i++)
		requests[i] = orphan_make(&pairs[i], IPV4);
	packet_send(r, WIRE_B2R_DESTROY, requests, GHOSTS);
	tally_read(r, &t, GHOSTS);
	return t;
}

static void
ghosts_close(struct pair *pairs)
{
	for (unsigned i = 0; i < GHOSTS; i++)
		pair_close(&pairs[i]);
}

void
test_rate(void)
{
	struct reaper r = reaper_ready("5", NULL);
	struct wire_destroy requests[GHOSTS];
	struct pair pairs[GHOSTS];
	struct tally t;

	for (unsigned i = 0; i < 100; i++)
		limit_send(&r, UINT64_MAX);
	t = ghosts_ask(&r, pairs, requests);
	ok(t.by_result[WIRE_RESULT_DESTROYED] == 5 && t.by_result[WIRE_RESULT_REFUSED_RATE] == 15,
		"ceiling 5, limit raised a hundred times: %u destroyed, %u refused",
		t.by_result[WIRE_RESULT_DESTROYED], t.by_result[WIRE_RESULT_REFUSED_RATE]);
	ok(state_of(&requests[GHOSTS - 1]) == TCP_STATE_FIN_WAIT1, "the last one is untouched");
	ghosts_close(pairs);
	reaper_stop(&r, "ceiling 5");

	r = reaper_start("1000", NULL);
	hello_send(&r, 0);
	t = ghosts_ask(&r, pairs, requests);
	ok(t.by_result[WIRE_RESULT_REFUSED_RATE] == GHOSTS, "limit 0: %u refused",
		t.by_result[WIRE_RESULT_REFUSED_RATE]);
	ghosts_close(pairs);
	reaper_stop(&r, "limit 0");
}
