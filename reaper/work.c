/* SPDX-License-Identifier: Apache-2.0 */
#include "work.h"

#include <errno.h>

#include "proto/log.h"
#include "proto/clock.h"

void
work_add(struct work *w, const struct wire_destroy *request, mono_ns now)
{
	struct ticket *t = queue_new(&w->queue);

	if (t == NULL)
		fatal("no room for a request that was read: this is a bug");
	t->request = *request;
	t->result.ghost = request->ghost;
	t->result.cookie = request->cookie;
	t->verdict = VERDICT_LOOK;
	t->due = now;
	queue_put(&w->queue, t);
}

uint64_t
work_backoff(unsigned tries)
{
	uint64_t pause = WORK_RETRY_FIRST_NS;

	while (tries-- > 1 && pause < WORK_RETRY_MAX_NS)
		pause *= 2;
	return pause < WORK_RETRY_MAX_NS ? pause : WORK_RETRY_MAX_NS;
}

static void
validate(const struct work *w, struct ticket *const *tickets, size_t count, mono_ns now)
{
	for (size_t i = 0; i < count; i++) {
		struct ticket *t = tickets[i];

		t->verdict = w->kind->validate(&w->scope, &t->request);
		t->result.done_mono_ns = now.ns;
		if (t->first_look.ns == 0)
			t->first_look = now;
	}
}

static void
take_tokens(struct work *w, struct ticket *const *tickets, size_t count)
{
	mono_ns now = clock_now();

	for (size_t i = 0; i < count; i++) {
		if (tickets[i]->verdict == VERDICT_ACT && !limit_take(&w->limit, now))
			tickets[i]->verdict = VERDICT_RATE;
	}
}

static size_t
select_by(enum verdict verdict, struct ticket *const *from, size_t count, struct ticket **to)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if (from[i]->verdict == verdict)
			to[n++] = from[i];
	}
	return n;
}

static void
look_and_act(struct work *w, struct ticket *const *tickets, size_t count)
{
	struct ticket *part[WIRE_BATCH_MAX];
	size_t n;

	w->kind->still_ghost(w->netlink, &w->scope, tickets, count);
	take_tokens(w, tickets, count);
	n = select_by(VERDICT_ACT, tickets, count, part);
	if (n > 0)
		w->kind->release(w->netlink, part, n);
}

/* Without a proof nothing is compared that could change between look and act: a batch is cheaper.
 */
static void
unproved_do(struct work *w, struct ticket *const *tickets, size_t count)
{
	struct ticket *part[WIRE_BATCH_MAX];
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if ((tickets[i]->request.flags & WIRE_DESTROY_PROVED) == 0)
			part[n++] = tickets[i];
	}
	if (n > 0)
		look_and_act(w, part, n);
}

/* Puts a ticket that must be looked at again back. False when its time is up. */
static bool
retry(struct work *w, struct ticket *t)
{
	if (t->looked.ns - t->first_look.ns >= WORK_RETRY_TOTAL_NS)
		return false;
	t->due.ns = t->looked.ns + work_backoff(t->result.tries);
	queue_put(&w->queue, t);
	return true;
}

static const struct answer {
	enum wire_result result;
	int error; /* where the kernel was not the one who said no */
} answers[] = {
	[VERDICT_RETRY] = { WIRE_RESULT_REFUSED_LIVE, 0 },
	[VERDICT_BUSY] = { WIRE_RESULT_FAILED, 0 },
	[VERDICT_LIVE] = { WIRE_RESULT_REFUSED_LIVE, 0 },
	[VERDICT_GONE] = { WIRE_RESULT_GONE, 0 },
	[VERDICT_MOVED] = { WIRE_RESULT_REFUSED_PROGRESS, 0 },
	[VERDICT_RELEASED] = { WIRE_RESULT_DESTROYED, 0 },
	[VERDICT_RATE] = { WIRE_RESULT_REFUSED_RATE, 0 },
	[VERDICT_OTHER_NETNS] = { WIRE_RESULT_OTHER_NETNS, 0 },
	[VERDICT_UNSUPPORTED] = { WIRE_RESULT_UNSUPPORTED, 0 },
	[VERDICT_STALE] = { WIRE_RESULT_FAILED, ESTALE },
	[VERDICT_BLIND] = { WIRE_RESULT_FAILED, ENODATA },
	[VERDICT_INVALID] = { WIRE_RESULT_FAILED, EINVAL },
	[VERDICT_FAILED] = { WIRE_RESULT_FAILED, 0 },
};

static void
result_finish(struct ticket *t)
{
	const struct answer *answer = &answers[t->verdict];

	t->result.result = (uint8_t)answer->result;
	if (answer->error != 0)
		t->result.error = answer->error;
	if (t->verdict != VERDICT_RELEASED)
		t->result.peer_notice = WIRE_NOTICE_NONE;
	log_debug("ghost %llu: %s, state %s, error %d, look %u",
		(unsigned long long)t->result.ghost, wire_result_name(t->result.result),
		tcp_state_name(t->result.state), t->result.error, t->result.tries);
}

static size_t
settle(struct work *w, struct ticket *const *tickets, size_t count,
	struct wire_result_record *records)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		struct ticket *t = tickets[i];

		if ((t->verdict == VERDICT_RETRY || t->verdict == VERDICT_BUSY) && retry(w, t))
			continue;
		result_finish(t);
		records[n++] = t->result;
		queue_free(&w->queue, t);
	}
	return n;
}

size_t
work_batch(struct work *w, mono_ns now, struct wire_result_record *records, size_t *results)
{
	struct ticket *batch[WIRE_BATCH_MAX], *part[WIRE_BATCH_MAX];
	size_t count = queue_take(&w->queue, now, batch, WIRE_BATCH_MAX), n;

	validate(w, batch, count, now);
	n = select_by(VERDICT_LOOK, batch, count, part);
	unproved_do(w, part, n);
	for (size_t i = 0; i < n; i++) {
		if (part[i]->verdict == VERDICT_LOOK)
			look_and_act(w, &part[i], 1);
	}
	*results = settle(w, batch, count, records);
	return count;
}
