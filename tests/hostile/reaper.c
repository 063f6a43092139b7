/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/build_id.h"
#include "proto/clock.h"
#include "random.h"
#include "role.h"

/*
 * A reaper that lies: role.h says how it is started and told what to do. Where its scenario says
 * nothing else it answers as a reaper would that finds no socket at all.
 */

static const char *scenario;
static uint64_t count;
static uint32_t netns;
static unsigned samples_seen;

static bool
is(const char *name)
{
	return strcmp(scenario, name) == 0;
}

/* ---- RESULT ---------------------------------------------------------------------------------- */

typedef struct wire_result_record result;

static result
honest(const struct wire_destroy *d)
{
	return (result){ .ghost = d->ghost,
		.cookie = d->cookie,
		.done_mono_ns = clock_now().ns,
		.error = ENOENT,
		.tries = 1,
		.result = WIRE_RESULT_FAILED };
}

/* A lie that agrees with itself: nothing in it can be found out. */
static result
plausible(const struct wire_destroy *d)
{
	result r = honest(d);

	r.error = 0;
	r.result = WIRE_RESULT_DESTROYED;
	r.state = TCP_STATE_FIN_WAIT1;
	r.peer_notice = WIRE_NOTICE_RST;
	r.look_to_act_ns = 1;
	r.send_queue = (uint32_t)random_next();
	return r;
}

static void
lie_error(result *r)
{
	r->error = EPERM;
}

static void
lie_established(result *r)
{
	r->state = TCP_STATE_ESTABLISHED;
	r->peer_notice = WIRE_NOTICE_NONE;
}

static void
lie_listen(result *r)
{
	r->state = TCP_STATE_LISTEN;
	r->peer_notice = WIRE_NOTICE_NONE;
}

static void
lie_time_wait(result *r)
{
	r->state = TCP_STATE_TIME_WAIT;
	r->timer = WIRE_TIMER_MINI;
	r->peer_notice = WIRE_NOTICE_NONE;
}

/* No way leads there from FIN-WAIT-1. */
static void
lie_last_ack(result *r)
{
	r->state = TCP_STATE_LAST_ACK;
	r->peer_notice = WIRE_NOTICE_NONE;
}

static void
lie_closing_rst(result *r)
{
	r->state = TCP_STATE_CLOSING;
}

static void
lie_mini_rst(result *r)
{
	r->state = TCP_STATE_FIN_WAIT2;
	r->timer = WIRE_TIMER_MINI;
}

static void
lie_no_rst(result *r)
{
	r->peer_notice = WIRE_NOTICE_NONE;
}

static void
lie_unlooked(result *r)
{
	r->tries = 0;
}

static void
lie_future(result *r)
{
	r->done_mono_ns += 3600 * NS_PER_S;
}

static void
lie_for_ever(result *r)
{
	r->done_mono_ns = UINT64_MAX;
}

static void
lie_past(result *r)
{
	r->done_mono_ns = 1;
}

static void
lie_no_act(result *r)
{
	r->look_to_act_ns = 0;
}

static void
lie_slow_act(result *r)
{
	r->look_to_act_ns = UINT64_MAX;
}

static void
lie_state_range(result *r)
{
	r->state = 13;
}

static void
lie_result_none(result *r)
{
	r->result = 0;
}

static void
lie_result_range(result *r)
{
	r->result = 9;
}

static void
lie_error_negative(result *r)
{
	r->result = WIRE_RESULT_FAILED;
	r->error = -1;
}

static void
lie_error_huge(result *r)
{
	r->result = WIRE_RESULT_FAILED;
	r->error = INT32_MAX;
}

static void
lie_failed_without_error(result *r)
{
	r->result = WIRE_RESULT_FAILED;
	r->peer_notice = WIRE_NOTICE_NONE;
}

static void
lie_gone_rst(result *r)
{
	r->result = WIRE_RESULT_GONE;
}

static void
lie_gone_unlooked(result *r)
{
	r->result = WIRE_RESULT_GONE;
	r->peer_notice = WIRE_NOTICE_NONE;
	r->tries = 0;
}

static void
lie_refused_rst(result *r)
{
	r->result = WIRE_RESULT_REFUSED_LIVE;
}

static void
lie_other_netns(result *r)
{
	r->result = WIRE_RESULT_OTHER_NETNS;
	r->peer_notice = WIRE_NOTICE_NONE;
}

static void
lie_unsupported(result *r)
{
	r->result = WIRE_RESULT_UNSUPPORTED;
	r->peer_notice = WIRE_NOTICE_NONE;
}

static void
lie_progress(result *r)
{
	r->result = WIRE_RESULT_REFUSED_PROGRESS;
	r->peer_notice = WIRE_NOTICE_NONE;
}

static void
lie_ghost(result *r)
{
	r->ghost += 1000000;
}

static void
lie_cookie(result *r)
{
	r->cookie ^= 1;
}

static void
lie_pad(result *r)
{
	r->pad[0] = 1;
}

/* Each is found out. */
static const struct {
	const char *name;
	void (*tell)(result *r);
} lies[] = {
	{ "result-error", lie_error },
	{ "result-established", lie_established },
	{ "result-listen", lie_listen },
	{ "result-time-wait", lie_time_wait },
	{ "result-last-ack", lie_last_ack },
	{ "result-closing-rst", lie_closing_rst },
	{ "result-mini-rst", lie_mini_rst },
	{ "result-no-rst", lie_no_rst },
	{ "result-unlooked", lie_unlooked },
	{ "result-future", lie_future },
	{ "result-for-ever", lie_for_ever },
	{ "result-past", lie_past },
	{ "result-no-act", lie_no_act },
	{ "result-slow-act", lie_slow_act },
	{ "result-state-range", lie_state_range },
	{ "result-none", lie_result_none },
	{ "result-range", lie_result_range },
	{ "result-error-negative", lie_error_negative },
	{ "result-error-huge", lie_error_huge },
	{ "result-failed-without-error", lie_failed_without_error },
	{ "result-gone-rst", lie_gone_rst },
	{ "result-gone-unlooked", lie_gone_unlooked },
	{ "result-refused-rst", lie_refused_rst },
	{ "result-other-netns", lie_other_netns },
	{ "result-unsupported", lie_unsupported },
	{ "result-progress", lie_progress },
	{ "result-ghost", lie_ghost },
	{ "result-cookie", lie_cookie },
	{ "result-pad", lie_pad },
};

/* Any result that agrees with itself: the log is full of lies, and in good order. */
static result
random_lie(const struct wire_destroy *d)
{
	result r = plausible(d);

	switch (random_below(5)) {
	case 0:
		r.result = WIRE_RESULT_GONE;
		break;
	case 1:
		r.result = WIRE_RESULT_REFUSED_LIVE;
		break;
	case 2:
		r.result = WIRE_RESULT_FAILED;
		r.error = (int32_t)(1 + random_below(WIRE_ERRNO_MAX));
		break;
	case 3:
		r.result = WIRE_RESULT_REFUSED_RATE;
		break;
	default:
		return r;
	}
	r.peer_notice = WIRE_NOTICE_NONE;
	r.look_to_act_ns = 0;
	return r;
}

static result
result_for(const struct wire_destroy *d)
{
	result r;

	if (is("lies"))
		return random_lie(d);
	if (is("destroys"))
		return plausible(d);
	if (is("refuses")) {
		r = plausible(d);
		lie_progress(&r);
		r.look_to_act_ns = 0;
		r.result = WIRE_RESULT_REFUSED_RATE;
		return r;
	}
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		if (is(lies[i].name)) {
			r = plausible(d);
			lies[i].tell(&r);
			return r;
		}
	}
	return honest(d);
}

static void
destroy_answer(const struct wire_destroy *requests, size_t n)
{
	result results[WIRE_BATCH_MAX];

	if (is("unanswered"))
		return;
	for (size_t i = 0; i < n; i++)
		results[i] = result_for(&requests[i]);
	if (!is("slow")) {
		role_send(WIRE_R2B_RESULT, results, n);
		if (is("result-twice"))
			role_send(WIRE_R2B_RESULT, results, n);
		return;
	}
	for (size_t i = 0; i < n; i++) { /* one in 5 ms; what comes meanwhile waits */
		usleep(5000);
		role_send(WIRE_R2B_RESULT, &results[i], 1);
	}
}

/* ---- SAMPLED --------------------------------------------------------------------------------- */

static struct wire_sampled
stuck(const struct wire_sample *s)
{
	return (struct wire_sampled){ .ghost = s->ghost,
		.cookie = s->cookie,
		.sampled_mono_ns = clock_now().ns,
		.progress = { .bytes_acked = 1000,
			.window_end = 1000,
			.send_queue = 5,
			.timer = 4 },
		.found = WIRE_FOUND_ORPHAN,
		.state = TCP_STATE_FIN_WAIT1 };
}

static struct wire_sampled
sampled_for(const struct wire_sample *s)
{
	struct wire_sampled a = stuck(s);
	bool first = samples_seen++ == 0;

	if (is("sampled-past"))
		a.sampled_mono_ns = 1;
	if (is("sampled-future"))
		a.sampled_mono_ns += 60 * NS_PER_S;
	if (is("sampled-back") && !first)
		a.progress.bytes_acked = a.progress.window_end = 999;
	if (is("sampled-state-back") && !first)
		a.state = TCP_STATE_LAST_ACK;
	if (is("sampled-window"))
		a.progress.window_end = 1;
	if (is("sampled-mini"))
		a.mini = 1;
	if (is("sampled-established"))
		a.state = TCP_STATE_ESTABLISHED;
	if (is("sampled-nothing-with-state"))
		a.found = WIRE_FOUND_NOTHING;
	if (is("sampled-failed-without-error"))
		a.found = WIRE_FOUND_FAILED;
	if (is("sampled-ghost"))
		a.ghost++;
	if (is("sampled-moves")) { /* moves for ever */
		a.progress.bytes_acked += samples_seen;
		a.progress.window_end = a.progress.bytes_acked;
	}
	return a;
}

static void
sample_answer(const struct wire_sample *questions, size_t n)
{
	struct wire_sampled answers[WIRE_BATCH_MAX];

	for (size_t i = 0; i < n; i++)
		answers[i] = sampled_for(&questions[i]);
	role_send(WIRE_R2B_SAMPLED, answers, n);
	if (is("sampled-twice"))
		role_send(WIRE_R2B_SAMPLED, answers, n);
}

/* ---- FOUND ----------------------------------------------------------------------------------- */

static struct wire_found_record
found_invented(uint64_t number)
{
	struct wire_found_record f = { .cookie = 0x6000000000000000ull + number,
		.tuple = { .family = random_once_in(2) ? AF_INET : AF_INET6, .netns = netns },
		.progress = { .bytes_acked = number, .window_end = number, .timer = 4 },
		.state = TCP_STATE_FIN_WAIT1 };

	for (size_t i = 0; i < (f.tuple.family == AF_INET ? 4 : 16); i++)
		f.tuple.src[i] = (uint8_t)random_next();
	f.tuple.src_port = (uint16_t)random_next();
	return f;
}

static void
found_flood(uint64_t n)
{
	struct wire_found_record found[WIRE_BATCH_MAX];

	for (uint64_t sent = 0; sent < n; sent += WIRE_BATCH_MAX) {
		for (uint64_t i = 0; i < WIRE_BATCH_MAX; i++)
			found[i] = found_invented(sent + i);
		role_send(WIRE_R2B_FOUND, found, WIRE_BATCH_MAX);
	}
}

static void
reconcile_answer(const struct wire_reconcile *ask)
{
	struct wire_found_end end = { .round = ask->round, .complete = 1 };
	struct wire_found_record f = found_invented(1);
	bool one = true;

	if (is("found-netns"))
		f.tuple.netns++;
	else if (is("found-time-wait"))
		f.state = TCP_STATE_TIME_WAIT;
	else if (is("found-mini"))
		f.mini = 1;
	else if (is("found-cookie"))
		f.cookie = UINT64_MAX;
	else
		one = false;
	if (one)
		role_send(WIRE_R2B_FOUND, &f, 1);
	end.count = one;
	if (is("found-flood")) {
		found_flood(count);
		end.count =
			(uint32_t)((count + WIRE_BATCH_MAX - 1) / WIRE_BATCH_MAX * WIRE_BATCH_MAX);
	}
	end.done_mono_ns = clock_now().ns;
	end.count += is("end-count");
	end.round += is("end-round");
	end.done_mono_ns += is("end-future") ? NS_PER_S : 0;
	if (is("end-past"))
		end.done_mono_ns = 0;
	end.complete = !is("never-complete");
	end.error = is("end-error") ? ENOMEM : 0;
	role_send(WIRE_R2B_FOUND_END, &end, 1);
}

/* ---- PONG ------------------------------------------------------------------------------------ */

static void
ping_answer(const struct wire_ping *ping)
{
	struct wire_pong pong = { ping->nonce };

	if (is("pong-unsent"))
		pong.nonce += 1000;
	role_send(WIRE_R2B_PONG, &pong, 1);
	if (is("pong-twice"))
		role_send(WIRE_R2B_PONG, &pong, 1);
}

/* ---- what nobody asked for ------------------------------------------------------------------- */

static void
unasked_say(void)
{
	const struct wire_destroy d = { .ghost = 1, .cookie = 1 };
	const struct wire_sample s = { .ghost = 1, .cookie = 1 };
	const struct wire_tracker_hello t = { .heartbeat_ms = 1 };
	struct wire_found_record f = found_invented(1);
	struct wire_found_end end = { .round = 77, .done_mono_ns = clock_now().ns, .complete = 1 };
	struct wire_sampled a = stuck(&s);
	struct wire_pong pong = { 1 };
	result r = honest(&d);

	if (is("unasked-result"))
		role_send(WIRE_R2B_RESULT, &r, 1);
	if (is("unasked-sampled"))
		role_send(WIRE_R2B_SAMPLED, &a, 1);
	if (is("unasked-found"))
		role_send(WIRE_R2B_FOUND, &f, 1);
	if (is("unasked-end"))
		role_send(WIRE_R2B_FOUND_END, &end, 1);
	if (is("unasked-pong"))
		role_send(WIRE_R2B_PONG, &pong, 1);
	if (is("direction"))
		role_send(WIRE_T2B_HELLO, &t, 1);
	if (is("text"))
		role_send_raw("hello, broker\n", 14, -1);
	if (is("empty"))
		role_send_raw("", 0, -1);
	if (is("descriptor"))
		role_send_raw("hello, broker, a file for you\n", 30, STDERR_FILENO);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void
hello_say(void)
{
	struct wire_reaper_hello hello = { .ceiling = 50000, .netns = netns };

	memcpy(hello.build_id, build_id, sizeof(hello.build_id));
	if (is("hello-wild")) {
		hello.ceiling = UINT64_MAX;
		hello.time_wait = 1;
	}
	hello.netns += is("hello-netns");
	hello.build_id[3] ^= is("hello-build");
	if (is("hello-selftest"))
		hello.selftest = 3;
	if (is("hello-forever-orphan"))
		hello.selftest = WIRE_SELFTEST_FOREVER_ORPHAN;
	if (is("hello-time-wait"))
		hello.time_wait = 2;
	if (is("hello-empty"))
		role_send_raw("", 0, -1);
	if (is("hello-none"))
		role_send(WIRE_R2B_PONG, &(struct wire_pong){ 1 }, 1);
	role_send(WIRE_R2B_HELLO, &hello, 1);
	if (is("hello-twice"))
		role_send(WIRE_R2B_HELLO, &hello, 1);
}

static void
message_answer(const struct wire_view *view)
{
	if (is("mute"))
		return;
	switch ((int)view->type) {
	case WIRE_B2R_HELLO:
		unasked_say();
		break;
	case WIRE_B2R_DESTROY:
		destroy_answer(view->records, view->count);
		break;
	case WIRE_B2R_SAMPLE:
		sample_answer(view->records, view->count);
		break;
	case WIRE_B2R_RECONCILE:
		reconcile_answer(view->records);
		break;
	case WIRE_B2R_PING:
		ping_answer(view->records);
		break;
	default:
		break;
	}
}

int
main(int argc, char **argv)
{
	static _Alignas(8) unsigned char packet[ROLE_PACKET_ROOM];
	struct scenario order = scenario_read(argv[0]);
	struct wire_view view;
	uint32_t seq = 0;
	struct stat st;
	long n;

	(void)argc;
	scenario = order.name;
	count = order.count;
	if (stat("/proc/self/ns/net", &st) == 0)
		netns = (uint32_t)st.st_ino;
	hello_say();
	while ((n = role_receive(packet, sizeof(packet), -1)) > 0) {
		/* That the broker keeps to the protocol is seen to here. */
		if (wire_check(packet, (size_t)n, WIRE_B2R, seq++, &view) != WIRE_OK) {
			role_say("hostile reaper: the broker broke the protocol");
			return 99;
		}
		message_answer(&view);
	}
	return 0;
}
