/* SPDX-License-Identifier: Apache-2.0 */
#include "broker.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "crowd.h"
#include "proto/clock.h"
#include "random.h"
#include "reaper_peer.h"
#include "sockets.h"
#include "tap.h"

/* Whatever a broker can say that the protocol allows, as fast as the reaper takes it, on a crowded
 * host: every state, family, kind of cookie, flag, invented proofs, looks, limits up and down. */

#define FLOOD_LIVE    1000u
#define FLOOD_ORPHANS 1000u
#define FLOOD_CEILING 50u
#define RSS_MORE_KB \
	4096u /* the reaper has no memory that grows; a page here and there it touches */

static struct {
	struct target targets[TARGETS_MAX];
	size_t target_count;
	uint64_t sent, records, by_result[WIRE_RESULT_FAILED + 1], sampled, pongs, found;
	uint64_t strangers; /* destroyed, and no orphan of ours */
	uint64_t destroyed_at[FLOOD_ORPHANS + 1];
	unsigned destroyed;
	bool silent; /* nobody reads the answers */
} flood;

/* ---- what is said ---------------------------------------------------------------------------- */

static const struct target *
target_any(void)
{
	return &flood.targets[random_below(flood.target_count)];
}

/* Of one of the living, fully and truly named, the reaper looks for a second whether its close is
 * under way: those are few, so that the rest is not held up. */
static const struct target *
target_for_request(void)
{
	const struct target *t = target_any();
	bool live = t->kind == TARGET_BYSTANDER && t->state != TCP_STATE_LISTEN;

	while (live && !random_once_in(40)) {
		t = target_any();
		live = t->kind == TARGET_BYSTANDER && t->state != TCP_STATE_LISTEN;
	}
	return t;
}

static uint64_t
cookie_made_up(void)
{
	uint64_t cookie = random_once_in(2) ? random_next() : 1 + random_below(100000);

	return cookie == UINT64_MAX ? 1 : cookie;
}

/* Truly named, or with another's address, or with a cookie that is nobody's. */
static void
aim(struct wire_tuple *tuple, uint64_t *cookie)
{
	const struct target *t = target_for_request();

	*tuple = t->tuple;
	*cookie = t->cookie;
	switch (random_below(8)) {
	case 0:
		*tuple = target_any()->tuple;
		*cookie = target_any()->cookie;
		break;
	case 1:
		*cookie = cookie_made_up();
		break;
	case 2:
		tuple->ifindex = (uint32_t)random_below(3);
		break;
	case 3:
		tuple->netns += (uint32_t)random_below(2);
		break;
	case 4: /* wildcards */
		memset(random_once_in(2) ? tuple->src : tuple->dst, 0, sizeof(tuple->src));
		break;
	default:
		break;
	}
}

static struct wire_destroy
random_destroy(void)
{
	struct wire_destroy d = { .ghost = random_next() };

	aim(&d.tuple, &d.cookie);
	d.states = (uint32_t)random_next() & TCP_STATES_RULE;
	d.state = (uint8_t)(1 + random_below(TCP_STATE_NEW_SYN_RECV));
	if (random_once_in(2)) {
		d.states = TCP_STATES_RULE;
		d.state = TCP_STATE_FIN_WAIT1;
	}
	if (random_once_in(3)) {
		d.flags = WIRE_DESTROY_PROVED;
		d.seen.bytes_acked = random_once_in(2) ? random_next() : random_below(100000);
		d.seen.window_end = random_once_in(2) ? UINT64_MAX : random_next();
		d.seen.timer = (uint8_t)random_below(6);
	}
	return d;
}

static struct wire_sample
random_sample(void)
{
	struct wire_sample s = { .ghost = random_next() };

	aim(&s.tuple, &s.cookie);
	if (random_once_in(2)) {
		const struct target *t = target_any();

		s.tuple = t->tuple;
		s.cookie = t->cookie;
	}
	return s;
}

static uint64_t
random_limit(void)
{
	static const uint64_t limits[] = { 0, 1, FLOOD_CEILING, FLOOD_CEILING + 1, 1000000,
		UINT64_MAX, UINT64_MAX, UINT64_MAX };

	return limits[random_below(sizeof(limits) / sizeof(limits[0]))];
}

/* Most packets hold one record, some are full. */
static size_t
random_count(void)
{
	return random_once_in(100) ? WIRE_BATCH_MAX : 1 + random_below(2);
}

static size_t
random_packet(unsigned char *packet, uint32_t seq)
{
	unsigned char *records = packet + sizeof(struct wire_header);
	enum wire_type type = WIRE_B2R_DESTROY;
	uint64_t dice = random_below(100000);
	size_t count = random_count();

	if (dice < 3) {
		type = WIRE_B2R_RECONCILE;
		count = 1;
		*(struct wire_reconcile *)(void *)records =
			(struct wire_reconcile){ random_next() };
	} else if (dice < 4000) {
		type = random_once_in(2) ? WIRE_B2R_LIMIT : WIRE_B2R_PING;
		count = 1;
		*(uint64_t *)(void *)records =
			type == WIRE_B2R_LIMIT ? random_limit() : random_next();
	} else if (dice < 30000) {
		type = WIRE_B2R_SAMPLE;
		for (size_t i = 0; i < count; i++)
			((struct wire_sample *)(void *)records)[i] = random_sample();
	} else {
		for (size_t i = 0; i < count; i++)
			((struct wire_destroy *)(void *)records)[i] = random_destroy();
	}
	flood.records += count;
	return wire_header_fill((struct wire_header *)(void *)packet, type, count, seq);
}

/* ---- what is answered ------------------------------------------------------------------------ */

static bool
is_orphan(uint64_t cookie)
{
	for (size_t i = 0; i < flood.target_count; i++) {
		if (flood.targets[i].cookie == cookie)
			return flood.targets[i].kind == TARGET_ORPHAN;
	}
	return false;
}

static void
results_take(const struct wire_result_record *results, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		flood.by_result[results[i].result]++;
		if (results[i].result != WIRE_RESULT_DESTROYED)
			continue;
		flood.strangers += !is_orphan(results[i].cookie);
		if (flood.destroyed < FLOOD_ORPHANS)
			flood.destroyed_at[flood.destroyed++] = results[i].done_mono_ns;
	}
}

/* False at the end of the channel. */
static bool
answer_take(struct reaper *r)
{
	struct wire_view view;

	if (!packet_any(r, &view))
		return false;
	switch ((int)view.type) {
	case WIRE_R2B_RESULT:
		results_take(view.records, view.count);
		break;
	case WIRE_R2B_SAMPLED:
		flood.sampled += view.count;
		break;
	case WIRE_R2B_FOUND:
		flood.found += view.count;
		break;
	case WIRE_R2B_PONG:
		flood.pongs++;
		break;
	default:
		break;
	}
	return true;
}

/* Sends when there is room, reads when there is something. False when the reaper takes nothing any
 * more, which it may not when nobody reads. */
static bool
step(struct reaper *r, int wait_ms)
{
	static _Alignas(8) unsigned char packet[WIRE_PACKET_MAX];
	static size_t ready;
	struct pollfd pfd = { .fd = r->fd, .events = POLLOUT };

	if (!flood.silent)
		pfd.events |= POLLIN;
	if (must(poll(&pfd, 1, wait_ms), "poll") == 0)
		return false;
	if ((pfd.revents & POLLIN) != 0 && !answer_take(r))
		die("the reaper ended");
	if ((pfd.revents & POLLOUT) == 0)
		return true;
	if (ready == 0)
		ready = random_packet(packet, r->seq_out);
	if (send(r->fd, packet, ready, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		if (errno != EAGAIN)
			die("send to the reaper");
		return true;
	}
	r->seq_out++;
	flood.sent++;
	ready = 0;
	return true;
}

/* ---- what is claimed ------------------------------------------------------------------------- */

static unsigned
rss_kb(pid_t pid)
{
	char path[64], line[128];
	unsigned kb = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	if (f == NULL)
		die(path);
	while (fgets(line, sizeof(line), f) != NULL)
		sscanf(line, "VmHWM: %u kB", &kb);
	fclose(f);
	return kb;
}

/* A bucket that holds a second's worth: within any time t no more than ceiling * (1 + t). */
static bool
ceiling_kept(void)
{
	for (unsigned i = 0; i < flood.destroyed; i++) {
		for (unsigned j = i + 1; j < flood.destroyed; j++) {
			double s = (double)(flood.destroyed_at[j] - flood.destroyed_at[i]) / 1e9;

			if (j - i + 1 > FLOOD_CEILING * (1 + s) + 1)
				return false;
		}
	}
	return true;
}

static void
flood_report(double s)
{
	printf("# %llu messages with %llu records in %.1f s: %.0f messages, %.0f records a "
	       "second\n",
		(unsigned long long)flood.sent, (unsigned long long)flood.records, s,
		(double)flood.sent / s, (double)flood.records / s);
	for (unsigned i = WIRE_RESULT_DESTROYED; i <= WIRE_RESULT_FAILED; i++)
		printf("# %s %llu\n", wire_result_name(i), (unsigned long long)flood.by_result[i]);
	printf("# samples %llu, found %llu, pongs %llu; destroyed %.1f a second, ceiling %u\n",
		(unsigned long long)flood.sampled, (unsigned long long)flood.found,
		(unsigned long long)flood.pongs, flood.destroyed / s, FLOOD_CEILING);
}

/* Nobody reads what the reaper says: it stops taking, and neither grows nor ends. */
static void
test_unread(struct reaper *r)
{
	uint64_t before = flood.sent;
	unsigned kb = rss_kb(r->pid);

	flood.silent = true;
	while (step(r, 1000))
		continue;
	ok(flood.sent > before && rss_kb(r->pid) < kb + RSS_MORE_KB,
		"answers that nobody reads: after %llu messages it takes no more, memory %u then "
		"%u kB",
		(unsigned long long)(flood.sent - before), kb, rss_kb(r->pid));
	flood.silent = false;
	before = flood.sent;
	while (flood.sent < before + 1000)
		step(r, PATIENCE_MS);
	ok(true, "answers that nobody reads: read, it goes on");
}

/* The end of the channel is the order to stop: whatever is still on its way is answered before. */
static void
stop_flood(struct reaper *r)
{
	must(shutdown(r->fd, SHUT_WR), "shutdown");
	while (answer_take(r))
		continue;
	ok(reaper_wait(r) == 0, "a flood: exit 0 at the end of the channel");
}

void
test_broker_flood(uint64_t messages)
{
	char ceiling[16];
	struct reaper r;
	uint64_t begun;
	unsigned kb, left;

	snprintf(ceiling, sizeof(ceiling), "%u", FLOOD_CEILING);
	r = reaper_ready(ceiling, NULL);
	crowd_make(FLOOD_LIVE, FLOOD_ORPHANS);
	crowd_describe();
	ok(crowd_unharmed(), "the crowd, before");
	flood.target_count = crowd_targets(flood.targets, TARGETS_MAX);
	kb = rss_kb(r.pid);
	begun = clock_now().ns;
	while (flood.sent < messages)
		step(&r, PATIENCE_MS);
	flood_report((double)(clock_now().ns - begun) / 1e9);
	test_unread(&r);
	ok(rss_kb(r.pid) < kb + RSS_MORE_KB, "the reaper's memory: %u, then %u kB", kb,
		rss_kb(r.pid));
	stop_flood(&r);
	ok(crowd_unharmed(), "the crowd, after %llu messages of a hostile broker",
		(unsigned long long)flood.sent);
	left = crowd_orphans_left();
	ok(flood.strangers == 0 && flood.destroyed > 0 &&
			flood.by_result[WIRE_RESULT_DESTROYED] == FLOOD_ORPHANS - left,
		"%llu destroyed, of which %llu were no orphans; %u orphans are left",
		(unsigned long long)flood.by_result[WIRE_RESULT_DESTROYED],
		(unsigned long long)flood.strangers, left);
	ok(ceiling_kept(), "never more than the ceiling allows, whatever LIMIT says");
	ok(crowd_accept_all(), "what waited to be accepted is accepted, and talks");
}
