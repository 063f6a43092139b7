/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/engine.c broker/ghosts.c broker/auditlog.c broker/record.c broker/json.c broker/policy.c broker/exitclass.c broker/say.c proto/channel.c proto/wire.c proto/log.c | pkg: nettle */
/* clang-format on */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "broker/engine.h"
#include "broker/say.h"
#include "tests/unit/ghosts_free.h"

/* The test plays tracker, reaper and clock. The log is a file in memory, read as it grows. */

#define NETNS	   4026531840u
#define START	   (1000 * NS_PER_S)
#define GHOSTS_TOP 200000u /* numbers of ghosts that a test may come to */

static struct engine engine;
static struct policy policy;
static struct auditlog audit;
static struct channel to_reaper, reaper;
static int log_file = -1, log_full = -1;
static mono_ns now;

/* ---- what the log says ---- */

/* Counted line by line, as far as the file has been read. */
static struct {
	off_t read;
	uint64_t sequence;
	unsigned exits, lost;
	unsigned decided[GHOSTS_TOP]; /* decide records of that ghost with verdict destroy */
	unsigned left[GHOSTS_TOP];    /* ... with another */
	unsigned results[GHOSTS_TOP]; /* destroy records */
	unsigned observed;
	char last[RECORD_MAX]; /* line */
} seen;

static uint64_t
number_behind(const char *line, const char *name)
{
	const char *p = strstr(line, name);

	assert_non_null(p);
	return strtoull(p + strlen(name), NULL, 10);
}

static void
line_count(const char *line)
{
	bool decide = strstr(line, "\"event.action\":\"decide\"") != NULL;
	bool result = strstr(line, "\"event.action\":\"destroy\"") != NULL;
	bool destroy = strstr(line, "\"eghostbuster.verdict\":\"destroy\"") != NULL;
	uint64_t id = decide || result ? number_behind(line, "\"eghostbuster.ghost\":") : 0;

	assert_int_equal(number_behind(line, "\"event.sequence\":"), ++seen.sequence);
	assert_memory_equal(line, "{\"@timestamp\":\"2", 16);
	assert_int_equal(line[strlen(line) - 1], '}');
	assert_true(id < GHOSTS_TOP);
	seen.exits += strstr(line, "\"event.action\":\"exit\"") != NULL;
	seen.lost += strstr(line, "\"event.action\":\"lost\"") != NULL;
	seen.decided[id] += decide && destroy;
	seen.left[id] += decide && !destroy;
	seen.results[id] += result;
	seen.observed += strstr(line, "\"eghostbuster.result\":\"observed\"") != NULL;
	assert_true(strlen(line) < sizeof(seen.last));
	memcpy(seen.last, line, strlen(line) + 1);
}

static void
log_read(void)
{
	static char text[1 << 16];
	char *line, *eol;
	ssize_t n;

	while ((n = pread(log_file, text, sizeof(text) - 1, seen.read)) > 0) {
		text[n] = '\0';
		for (line = text; (eol = strchr(line, '\n')) != NULL; line = eol + 1) {
			*eol = '\0';
			line_count(line);
		}
		if (line == text)
			return; /* a part of a line */
		seen.read += line - text;
	}
}

static void
last_has(const char *part)
{
	log_read();
	if (strstr(seen.last, part) == NULL)
		fail_msg("no %s in %s", part, seen.last);
}

/* ---- the moment a request leaves ---- */

static unsigned requested[GHOSTS_TOP]; /* times that ghost was */
static unsigned packets;

/* In place of the C library's: whatever leaves for the reaper must be in the file by now (I3). */
ssize_t
sendmsg(int fd, const struct msghdr *msg, int flags)
{
	const struct wire_header *header = msg->msg_iov[0].iov_base;
	const struct wire_destroy *requests = msg->msg_iov[1].iov_base;
	ssize_t n = syscall(SYS_sendmsg, fd, msg, flags);

	if (n < 0 || header->type != WIRE_B2R_DESTROY)
		return n;
	packets++;
	log_read();
	for (size_t i = 0; i < msg->msg_iov[1].iov_len / sizeof(requests[0]); i++) {
		uint64_t id = requests[i].ghost;

		assert_true(id < GHOSTS_TOP);
		requested[id]++;
		assert_true(seen.decided[id] >= 1);
	}
	return n;
}

/* ---- the stage ---- */

static int
setup(void **state)
{
	int ends[2];

	(void)state;
	log_file = memfd_create("audit.jsonl", MFD_CLOEXEC);
	log_full = open("/dev/full", O_RDWR | O_CLOEXEC);
	if (log_file < 0 || log_full < 0 || fcntl(log_file, F_SETFL, O_APPEND) < 0 ||
		stderr_keep() < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	channel_open(&to_reaper, ends[0], "reaper", WIRE_R2B);
	channel_open(&reaper, ends[1], "broker", WIRE_B2R);
	policy_default(&policy);
	auditlog_open(&audit, dup(log_file), -1, "/log/audit.jsonl");
	engine_init(&engine, &policy, &audit, &to_reaper, "boot");
	engine.netns = NETNS;
	now.ns = START;
	memset(&seen, 0, sizeof(seen));
	memset(requested, 0, sizeof(requested));
	packets = 0;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	stderr_give_back();
	ghosts_free(&engine.ghosts);
	free(audit.buffer);
	close(audit.fd);
	close(log_file);
	close(log_full);
	close(to_reaper.fd);
	return reaper.fd < 0 ? 0 : close(reaper.fd);
}

static void
log_breaks(void)
{
	assert_true(dup2(log_full, audit.fd) >= 0);
}

static void
log_works(void)
{
	assert_true(dup2(log_file, audit.fd) >= 0);
}

static struct wire_orphan
orphan_of(uint32_t tgid, uint64_t cookie)
{
	return (struct wire_orphan){ .owner = { .start_boottime = 5,
					     .tgid = tgid,
					     .uid = 33,
					     .exit_code = 9,
					     .comm = "nginx",
					     .unit = "nginx.service" },
		.tuple = { .family = AF_INET,
			.src_port = 80,
			.dst_port = 4711,
			.netns = NETNS,
			.src = { 127, 0, 0, 1 },
			.dst = { 127, 0, 0, 2 } },
		.cookie = cookie,
		.born_mono_ns = now.ns,
		.send_queue = 100,
		.state = TCP_STATE_FIN_WAIT1 };
}

static void
orphan_in(const struct wire_orphan *orphan)
{
	engine_orphans(&engine, orphan, 1, now);
}

/* Left by a process that was killed: the built-in policy requests it at once. */
static void
killed_in(uint32_t tgid, uint64_t cookie)
{
	const struct wire_orphan orphan = orphan_of(tgid, cookie);

	orphan_in(&orphan);
}

/* Left by a process that was asked to stop, under a rule with a grace of 30 s. */
static void
stopped_in(uint32_t tgid, uint64_t cookie)
{
	struct wire_orphan orphan = orphan_of(tgid, cookie);

	policy.rules[1].exits = EXIT_BIT(EXIT_TERM);
	policy.rules[1].require = REQUIRE_NONE;
	orphan.owner.exit_code = 15;
	orphan_in(&orphan);
}

static struct wire_destroy requests[GHOSTS_TOP];

/* What the reaper can read now. Returns how many requests. */
static size_t
reaper_reads(void)
{
	struct wire_view view;
	size_t n = 0;

	while (channel_recv(&reaper, &view) == CHANNEL_MESSAGE) {
		assert_int_equal(view.type, WIRE_B2R_DESTROY);
		memcpy(&requests[n], view.records, view.count * sizeof(requests[0]));
		n += view.count;
	}
	return n;
}

static struct wire_result_record
result_of(const struct wire_destroy *request, enum wire_result result)
{
	bool destroyed = result == WIRE_RESULT_DESTROYED;

	return (struct wire_result_record){ .ghost = request->ghost,
		.cookie = request->cookie,
		.done_mono_ns = now.ns,
		.look_to_act_ns = destroyed ? 5 : 0,
		.tries = 1,
		.result = (uint8_t)result,
		.state = TCP_STATE_FIN_WAIT1,
		.peer_notice = destroyed ? WIRE_NOTICE_RST : WIRE_NOTICE_NONE };
}

static void
reaper_answers(const struct wire_destroy *request, enum wire_result result)
{
	const struct wire_result_record record = result_of(request, result);

	engine_results(&engine, &record, 1, now);
}

static bool
turn(void)
{
	bool full = engine_turn(&engine, now);

	log_read();
	return full;
}

/* Turns until the channel has had room for all. Returns how many requests the reaper has read. */
static size_t
all_sent(void)
{
	size_t n = 0;

	for (bool full = true; full;) {
		full = turn();
		n += reaper_reads();
	}
	return n;
}

/* ---- one ghost ---- */

static void
test_the_whole_way(void **state)
{
	(void)state;
	killed_in(812, 0x1007);
	assert_false(engine_idle(&engine));
	now.ns += NS_PER_MS;
	assert_false(turn());
	assert_int_equal(packets, 1);
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].ghost, 1);
	assert_int_equal(requests[0].cookie, 0x1007);
	assert_int_equal(requests[0].states, TCP_STATES_ORPHAN);
	assert_int_equal(requests[0].state, TCP_STATE_FIN_WAIT1);
	assert_int_equal(seen.sequence, 2); /* exit, decide */
	last_has("\"event.action\":\"decide\",\"event.reason\":\"owner-killed\",\"rule.name\":"
		 "\"killed\"");
	last_has("\"eghostbuster.proof\":{\"inode\":0,\"age_ms\":1,\"stuck\":null}");
	now.ns += NS_PER_MS;
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	assert_true(engine_idle(&engine));
	assert_false(turn());
	last_has("\"event.outcome\":\"success\",\"eghostbuster.ghost\":1,\"eghostbuster.result\":"
		 "\"destroyed\"");
	last_has("\"eghostbuster.peer_notice\":\"rst\",\"eghostbuster.latency_ns\":2000000,");
	last_has("\"eghostbuster.look_to_act_ns\":5,");
	assert_int_equal(seen.sequence, 3);
	assert_int_equal(engine.ghosts.total, 0);
	assert_int_equal(engine.counts.destroyed, 1);
	assert_int_equal(stderr_count("busted nginx[812] of nginx.service (SIGKILL)"), 1);
}

/* The reaper is told exactly what the tracker said. */
static void
test_request_is_faithful(void **state)
{
	struct wire_orphan orphan = orphan_of(812, 7);

	(void)state;
	orphan.tuple.family = AF_INET6;
	memset(orphan.tuple.src, 0xa1, 16);
	memset(orphan.tuple.dst, 0xb2, 16);
	orphan.tuple.ifindex = 3;
	orphan.state = TCP_STATE_LAST_ACK;
	orphan_in(&orphan);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_memory_equal(&requests[0].tuple, &orphan.tuple, sizeof(orphan.tuple));
	assert_int_equal(requests[0].state, TCP_STATE_LAST_ACK);
}

static void
test_each_result(void **state)
{
	static const struct {
		enum wire_result result;
		int32_t error;
		const char *want;
	} cases[] = {
		{ WIRE_RESULT_DESTROYED, 0, "\"event.outcome\":\"success\"" },
		{ WIRE_RESULT_GONE, 0, "\"event.outcome\":\"success\"" },
		{ WIRE_RESULT_REFUSED_LIVE, 0, "\"event.outcome\":\"failure\"" },
		{ WIRE_RESULT_REFUSED_PROGRESS, 0, "\"event.outcome\":\"failure\"" },
		{ WIRE_RESULT_OTHER_NETNS, 0, "\"event.outcome\":\"failure\"" },
		{ WIRE_RESULT_UNSUPPORTED, 0, "\"event.outcome\":\"failure\"" },
		{ WIRE_RESULT_FAILED, EPERM, "\"event.outcome\":\"failure\"" },
		{ WIRE_RESULT_FAILED, ENOENT, "\"event.outcome\":\"unknown\"" },
		{ WIRE_RESULT_FAILED, 9999, "\"error.code\":\"9999\"" },
	};
	char name[64];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct wire_result_record record;

		killed_in(812, i + 1);
		turn();
		assert_int_equal(reaper_reads(), 1);
		record = result_of(&requests[0], cases[i].result);
		record.error = cases[i].error;
		engine_results(&engine, &record, 1, now);
		turn();
		last_has(cases[i].want);
		snprintf(name, sizeof(name), "\"eghostbuster.result\":\"%s\"",
			wire_result_name(cases[i].result));
		last_has(name);
		assert_int_equal(engine.ghosts.total, 0);
	}
	assert_true(engine.counts.destroyed == 1 && engine.counts.gone == 1);
	assert_true(engine.counts.refused == 3 && engine.counts.failed == 4);
}

/* An answer that is older than the birth, by the clocks of two roles. */
static void
test_latency_is_never_negative(void **state)
{
	struct wire_result_record record;

	(void)state;
	killed_in(812, 1);
	turn();
	reaper_reads();
	record = result_of(&requests[0], WIRE_RESULT_DESTROYED);
	record.done_mono_ns = START - 1;
	engine_results(&engine, &record, 1, now);
	turn();
	last_has("\"eghostbuster.latency_ns\":0,");
}

/* ---- decisions ---- */

static void
left_expect(const struct wire_orphan *orphan, const char *reason)
{
	char want[64];

	orphan_in(orphan);
	turn();
	assert_int_equal(reaper_reads(), 0);
	assert_int_equal(engine.ghosts.total, 0);
	snprintf(want, sizeof(want), "\"event.action\":\"decide\",\"event.reason\":\"%s\"", reason);
	last_has(want);
}

static void
test_left_alone(void **state)
{
	struct wire_orphan orphan = orphan_of(1, 1);

	(void)state;
	orphan.owner.exit_code = 0;
	left_expect(&orphan, "owner-finished");
	orphan = orphan_of(2, 2);
	orphan.owner.exit_code = 15;
	left_expect(&orphan, "unproved");
	orphan = orphan_of(3, 3);
	orphan.flags = WIRE_ORPHAN_CLOSED; /* and its owner killed */
	left_expect(&orphan, "owner-closed");
	last_has("\"eghostbuster.exit.class\":\"closed\"");
	policy.rule_count = 0;
	orphan = orphan_of(4, 4);
	left_expect(&orphan, "no-rule");
	last_has("\"rule.name\":null,\"eghostbuster.verdict\":\"report\"");
	assert_int_equal(engine.counts.reported, 4);
}

static void
test_ignored(void **state)
{
	struct wire_orphan orphan = orphan_of(1, 1);

	(void)state;
	policy.rules[0].action = ACTION_IGNORE;
	left_expect(&orphan, "owner-killed");
	last_has("\"eghostbuster.verdict\":\"ignore\"");
	assert_int_equal(engine.counts.ignored, 1);
	assert_int_equal(stderr_count("left alone"), 0);
}

static void
test_other_netns(void **state)
{
	struct wire_orphan orphan = orphan_of(1, 1);

	(void)state;
	orphan.tuple.netns = NETNS + 1;
	left_expect(&orphan, "other-netns");
	last_has("\"eghostbuster.verdict\":\"report\"");
	policy.rules[0].grace_ns = NS_PER_S; /* nor is it waited for */
	orphan = orphan_of(2, 2);
	orphan.tuple.netns = 0;
	left_expect(&orphan, "other-netns");
	policy.rules[0].action = ACTION_IGNORE; /* but what is ignored is ignored everywhere */
	orphan = orphan_of(3, 3);
	orphan.tuple.netns = NETNS + 1;
	left_expect(&orphan, "owner-killed");
}

static void
test_observe(void **state)
{
	(void)state;
	engine.hold = HOLD_OBSERVE;
	for (uint64_t i = 1; i <= 200; i++)
		killed_in(812, i);
	assert_false(turn());
	assert_int_equal(packets, 0);
	assert_int_equal(reaper_reads(), 0);
	assert_int_equal(seen.observed, 200);
	assert_int_equal(engine.counts.observed, 200);
	assert_int_equal(engine.ghosts.total, 0);
	last_has("\"event.outcome\":\"unknown\",\"eghostbuster.ghost\":200,\"eghostbuster.result\":"
		 "\"observed\"}");
	for (uint64_t i = 1; i <= 200; i++)
		assert_true(seen.decided[i] == 1 && seen.results[i] == 1);
}

/* ---- the states a request may end ---- */

static uint32_t
states_requested(uint64_t cookie)
{
	killed_in(812, cookie);
	turn();
	assert_int_equal(reaper_reads(), 1);
	return requests[0].states;
}

/* TIME-WAIT only where a rule names it. */
static void
test_time_wait(void **state)
{
	struct rule *rule = &policy.rules[0];

	(void)state;
	assert_int_equal(states_requested(1), TCP_STATES_ORPHAN);
	rule->keys |= RULE_STATE;
	rule->states = TCP_STATES_RULE;
	assert_int_equal(states_requested(2), TCP_STATES_RULE);
	rule->states = TCP_STATES_ORPHAN;
	assert_int_equal(states_requested(3), TCP_STATES_ORPHAN);
	rule->states = TCP_STATE_BIT(TCP_STATE_FIN_WAIT1);
	assert_int_equal(states_requested(4), TCP_STATE_BIT(TCP_STATE_FIN_WAIT1));
}

/* Where another rule covers a ghost that has moved on, that rule's word counts there. */
static void
test_states_by_rule(void **state)
{
	struct rule *first = &policy.rules[0], *second = &policy.rules[1];

	(void)state;
	*second = *first;
	first->keys |= RULE_STATE;
	first->states = TCP_STATE_BIT(TCP_STATE_FIN_WAIT2) | TCP_STATE_BIT(TCP_STATE_TIME_WAIT);
	first->action = ACTION_REPORT;
	assert_int_equal(
		states_requested(1), TCP_STATES_ORPHAN & ~TCP_STATE_BIT(TCP_STATE_FIN_WAIT2));
	first->action = ACTION_DESTROY;
	first->require = REQUIRE_STUCK; /* no proof at hand */
	assert_int_equal(
		states_requested(2), TCP_STATES_ORPHAN & ~TCP_STATE_BIT(TCP_STATE_FIN_WAIT2));
	first->require = REQUIRE_AUTO;
	first->grace_ns = NS_PER_S; /* not yet */
	assert_int_equal(
		states_requested(3), TCP_STATES_ORPHAN & ~TCP_STATE_BIT(TCP_STATE_FIN_WAIT2));
	first->grace_ns = 0;
	assert_int_equal(states_requested(4), TCP_STATES_RULE);
}

/* ---- owners and repetitions ---- */

static void
test_one_exit_record(void **state)
{
	(void)state;
	killed_in(812, 1);
	killed_in(812, 2);
	turn();
	killed_in(812, 3);
	turn();
	assert_int_equal(reaper_reads(), 3);
	for (unsigned i = 0; i < 3; i++)
		reaper_answers(&requests[i], WIRE_RESULT_GONE);
	turn();
	killed_in(812, 4); /* it has no ghost in hand any more */
	turn();
	assert_int_equal(seen.exits, 1);
	killed_in(813, 5);
	turn();
	assert_int_equal(seen.exits, 2);
}

static void
test_repeated_cookie(void **state)
{
	(void)state;
	killed_in(812, 1);
	killed_in(812, 1);
	turn();
	killed_in(900, 1); /* sent by now */
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(engine.repeated, 2);
	assert_int_equal(engine.counts.ghosts, 1);
	assert_int_equal(seen.exits, 1);
	reaper_answers(&requests[0], WIRE_RESULT_GONE);
	killed_in(812, 1); /* and once more when it is over: another ghost */
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].ghost, 2);
}

static void
lost_in(uint64_t orphans, uint64_t exits, uint64_t stamps)
{
	const struct wire_lost lost = { orphans, exits, stamps };

	engine_lost(&engine, &lost);
}

/* A record a second at most, with the newest counts; what is left over at the stop. */
static void
test_lost(void **state)
{
	(void)state;
	lost_in(3, 4, 5);
	turn();
	assert_int_equal(seen.lost, 1);
	last_has(
		"\"eghostbuster.lost.orphans\":3,\"eghostbuster.lost.exits\":4,\"eghostbuster.lost."
		"stamps\":5");
	for (uint64_t i = 1; i <= 100; i++) {
		lost_in(3 + i, 4, 5);
		turn();
	}
	now.ns += NS_PER_S - 1;
	turn();
	assert_int_equal(seen.lost, 1);
	now.ns++;
	turn();
	assert_int_equal(seen.lost, 2);
	last_has("\"eghostbuster.lost.orphans\":103,");
	turn();
	engine_lost_record(&engine); /* nothing new */
	turn();
	assert_int_equal(seen.lost, 2);
	lost_in(103, 5, 5);
	engine_lost_record(&engine);
	turn();
	assert_int_equal(seen.lost, 3);
}

/* Not one a second into memory while the log cannot be written. */
static void
test_lost_without_a_log(void **state)
{
	size_t used;

	(void)state;
	log_breaks();
	lost_in(1, 0, 0);
	turn();
	used = audit.used;
	for (uint64_t i = 2; i < 100; i++) {
		lost_in(i, 0, 0);
		now.ns += 10 * NS_PER_S;
		turn();
	}
	assert_int_equal(audit.used, used);
	log_works();
	turn();
	turn();
	assert_int_equal(seen.lost, 2);
	last_has("\"eghostbuster.lost.orphans\":99,");
}

/* ---- waiting ---- */

static void
test_grace(void **state)
{
	uint64_t in_ns;

	(void)state;
	assert_false(engine_next_due(&engine, now, &in_ns));
	stopped_in(812, 1);
	turn();
	assert_int_equal(seen.sequence, 0); /* gone in time, it needs no record */
	assert_true(engine_next_due(&engine, now, &in_ns));
	assert_true(in_ns == 30 * NS_PER_S);
	assert_true(engine_idle(&engine)); /* a stop does not wait for it */
	now.ns += 30 * NS_PER_S - 1;
	turn();
	assert_int_equal(reaper_reads(), 0);
	assert_true(engine_next_due(&engine, now, &in_ns));
	assert_int_equal(in_ns, 1);
	now.ns++;
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_false(engine_next_due(&engine, now, &in_ns));
	assert_true(seen.decided[1] == 1 && seen.exits == 1);
	last_has("\"age_ms\":30000");
}

/* Late is due at once; and the time to it is not negative. */
static void
test_grace_over_long_ago(void **state)
{
	uint64_t in_ns;

	(void)state;
	stopped_in(812, 1);
	turn();
	now.ns += 3600 * NS_PER_S;
	assert_true(engine_next_due(&engine, now, &in_ns));
	assert_int_equal(in_ns, 0);
	stopped_in(812, 2);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].cookie, 1);
}

/* A ghost that comes in late has waited already. */
static void
test_grace_runs_from_birth(void **state)
{
	struct wire_orphan orphan;
	uint64_t in_ns;

	(void)state;
	stopped_in(1, 99); /* the policy */
	orphan = orphan_of(812, 1);
	orphan.owner.exit_code = 15;
	orphan.born_mono_ns = now.ns - 30 * NS_PER_S;
	orphan_in(&orphan);
	turn();
	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].cookie, 1);
	assert_true(engine_next_due(&engine, now, &in_ns) && in_ns == 30 * NS_PER_S);
}

static void
test_policy_changed(void **state)
{
	(void)state;
	stopped_in(812, 1);
	stopped_in(812, 2);
	turn();
	assert_int_equal(engine.ghosts.counts[GHOST_WAITING], 2);
	policy.rules[1].grace_ns = 0;
	engine_policy_changed(&engine);
	turn();
	assert_int_equal(reaper_reads(), 2);
	stopped_in(812, 3);
	policy.rules[1].grace_ns = NS_PER_S;
	turn();
	policy.rule_count = 0;
	engine_policy_changed(&engine);
	turn();
	assert_int_equal(reaper_reads(), 0);
	assert_int_equal(seen.left[3], 1);
}

static void
turned_away_expect(uint64_t ghost)
{
	uint64_t in_ns;

	assert_int_equal(reaper_reads(), 1);
	assert_int_equal(requests[0].ghost, ghost);
	reaper_answers(&requests[0], WIRE_RESULT_REFUSED_RATE);
	turn();
	assert_int_equal(reaper_reads(), 0);
	assert_true(engine_next_due(&engine, now, &in_ns) && in_ns == 100 * NS_PER_MS);
	now.ns += 100 * NS_PER_MS - 1;
	turn();
	assert_int_equal(reaper_reads(), 0);
	now.ns++;
	turn();
}

/* Asked for again every 100 ms, by the same decision; the log says it once. */
static void
test_refused_rate(void **state)
{
	(void)state;
	killed_in(812, 1);
	turn();
	for (unsigned n = 0; n < 50; n++)
		turned_away_expect(1);
	last_has("\"event.outcome\":\"failure\",\"eghostbuster.ghost\":1,"
		 "\"eghostbuster.result\":\"refused-rate\"");
	assert_int_equal(reaper_reads(), 1);
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	turn();
	assert_int_equal(seen.exits, 1);
	assert_int_equal(seen.decided[1], 1);
	assert_int_equal(seen.results[1], 2); /* refused-rate, destroyed */
	assert_int_equal(engine.counts.refused, 1);
	assert_int_equal(engine.ghosts.total, 0);
}

/* A new policy is asked about what the rate limit has turned away, too. */
static void
test_refused_rate_and_a_new_policy(void **state)
{
	(void)state;
	killed_in(812, 1);
	turn();
	assert_int_equal(reaper_reads(), 1);
	reaper_answers(&requests[0], WIRE_RESULT_REFUSED_RATE);
	policy.rules[0].action = ACTION_REPORT;
	engine_policy_changed(&engine);
	now.ns += NS_PER_S;
	turn();
	assert_int_equal(reaper_reads(), 0);
	assert_int_equal(seen.left[1], 1);
	assert_int_equal(engine.ghosts.total, 0);
}

/* ---- the log cannot be written ---- */

static void
test_no_log_no_request(void **state)
{
	const uint64_t count = 3000; /* more than one turn's decisions */

	(void)state;
	log_breaks();
	for (uint64_t i = 1; i <= count; i++)
		killed_in((uint32_t)(1 + i / 100), i);
	for (unsigned n = 0; n < 10; n++) {
		assert_false(turn());
		now.ns += NS_PER_S;
	}
	assert_int_equal(packets, 0);
	assert_int_equal(reaper_reads(), 0);
	assert_int_equal(engine.ghosts.total, count);
	assert_true(
		engine.ghosts.counts[GHOST_FRESH] > 0); /* memory is not filled with decisions */
	assert_false(engine_idle(&engine));
	assert_int_equal(stderr_count("cannot write the audit log"), 1);
	log_works();
	assert_int_equal(all_sent(), count);
	for (uint64_t i = 1; i <= count; i++)
		assert_true(requested[i] == 1 && seen.decided[i] == 1);
	assert_int_equal(stderr_count("can be written again"), 1);
	assert_int_equal(seen.exits, 31);
}

/* It breaks with requests out and results coming in: those are kept, nothing new leaves. */
static void
test_log_breaks_on_the_way(void **state)
{
	(void)state;
	killed_in(1, 1);
	turn();
	assert_int_equal(reaper_reads(), 1);
	log_breaks();
	killed_in(1, 2);
	reaper_answers(&requests[0], WIRE_RESULT_DESTROYED);
	turn();
	killed_in(1, 3);
	turn();
	assert_int_equal(reaper_reads(), 0);
	log_works();
	turn();
	assert_int_equal(reaper_reads(), 2);
	assert_int_equal(seen.results[1], 1);
	assert_true(requested[2] == 1 && requested[3] == 1);
}

/* Told to observe while decisions wait for the log: none of them leaves when it works again. */
static void
test_observe_while_the_log_is_broken(void **state)
{
	(void)state;
	log_breaks();
	killed_in(812, 1);
	turn();
	engine.hold = HOLD_OBSERVE;
	engine_policy_changed(&engine);
	log_works();
	turn();
	assert_int_equal(packets, 0);
	assert_int_equal(seen.observed, 1);
	assert_int_equal(engine.ghosts.total, 0);
}

/* ---- the reaper's channel ---- */

static void
test_full_channel(void **state)
{
	const uint64_t count = 30000;

	(void)state;
	for (uint64_t i = 1; i <= count; i++)
		killed_in(812, i);
	assert_true(turn());
	assert_true(turn()); /* still */
	assert_true(
		engine.ghosts.counts[GHOST_DECIDED] > 0 && engine.ghosts.counts[GHOST_FRESH] == 0);
	assert_int_equal(all_sent(), count);
	for (uint64_t i = 1; i <= count; i++)
		assert_int_equal(requested[i], 1);
	assert_int_equal(packets, (count + WIRE_BATCH_MAX - 1) / WIRE_BATCH_MAX);
}

/* The loop sees its end; the engine neither dies of it nor takes what it could not send for sent.
 */
static void
test_reaper_gone(void **state)
{
	(void)state;
	close(reaper.fd);
	reaper.fd = -1;
	killed_in(812, 1);
	assert_false(turn());
	assert_int_equal(engine.ghosts.counts[GHOST_DECIDED], 1);
	assert_int_equal(engine.ghosts.counts[GHOST_SENT], 0);
}

/* ---- a reaper that is not what it should be ---- */

static struct wire_result_record wrong;

static void
wrong_answer(void *arg)
{
	(void)arg;
	engine_results(&engine, &wrong, 1, now);
}

static void
twice_answered(void *arg)
{
	(void)arg;
	engine_results(&engine, &wrong, 1, now);
	engine_results(&engine, &wrong, 1, now);
}

static void
fatal_expect(void (*act)(void *))
{
	char said[8192];

	assert_int_equal(child_run(act, NULL, said, sizeof(said)), 1);
	assert_non_null(strstr(said, " broke the protocol: "));
}

static void
lost_less(void *counts)
{
	const uint64_t *c = counts;

	lost_in(c[0], c[1], c[2]);
}

/* Counters only grow; a message without news is play. */
static void
test_lost_that_cannot_be(void **state)
{
	uint64_t wrong_counts[][3] = { { 3, 4, 5 }, { 2, 4, 5 }, { 4, 3, 5 }, { 9, 9, 4 },
		{ 0, 0, 0 } };

	(void)state;
	lost_in(3, 4, 5);
	for (size_t i = 0; i < COUNT_OF(wrong_counts); i++) {
		char said[1024];

		assert_int_equal(child_run(lost_less, wrong_counts[i], said, sizeof(said)), 1);
		assert_one_line(said, "the tracker broke the protocol");
	}
}

static void
test_results_nobody_asked_for(void **state)
{
	struct wire_result_record good;

	(void)state;
	killed_in(812, 1);
	turn();
	reaper_reads();
	good = wrong = result_of(&requests[0], WIRE_RESULT_GONE);
	assert_int_equal(child_run(wrong_answer, NULL, (char[64]){ 0 }, 64), 0);
	fatal_expect(twice_answered);
	wrong.cookie = 2; /* none of that cookie */
	fatal_expect(wrong_answer);
	wrong = good;
	wrong.ghost = 2; /* none of that number */
	fatal_expect(wrong_answer);
	killed_in(812, 2); /* fresh: not requested yet */
	wrong.cookie = 2;
	fatal_expect(wrong_answer);
	engine.hold = HOLD_NONE;
	stopped_in(813, 3); /* waits */
	engine_turn(&engine, now);
	wrong.ghost = 3;
	wrong.cookie = 3;
	fatal_expect(wrong_answer);
	wrong = good; /* the number of one, the cookie of another, both requested */
	wrong.ghost = 2;
	fatal_expect(wrong_answer);
}

static void
test_results_that_contradict_themselves(void **state)
{
	struct wire_result_record good;

	(void)state;
	killed_in(812, 1);
	turn();
	reaper_reads();
	good = wrong = result_of(&requests[0], WIRE_RESULT_DESTROYED);
	assert_int_equal(child_run(wrong_answer, NULL, (char[256]){ 0 }, 256), 0);
	wrong.error = EPERM; /* destroyed, with an error */
	fatal_expect(wrong_answer);
	wrong = good;
	wrong.tries = 0; /* without a look */
	fatal_expect(wrong_answer);
	wrong = result_of(&requests[0], WIRE_RESULT_GONE);
	wrong.peer_notice = WIRE_NOTICE_RST; /* a reset, and nothing destroyed */
	fatal_expect(wrong_answer);
	for (uint8_t s = 0; s <= TCP_STATE_NEW_SYN_RECV; s++) {
		bool orphan =
			(TCP_STATE_BIT(s) & TCP_STATES_ORPHAN) != 0 || s == TCP_STATE_TIME_WAIT;

		wrong = good;
		wrong.state = s; /* destroyed in a state that no orphan has */
		if (!orphan)
			fatal_expect(wrong_answer);
	}
}

/* ---- bounds ---- */

static void
test_full_table(void **state)
{
	(void)state;
	assert_false(engine_full(&engine));
	for (uint64_t i = 1; i < GHOSTS_MAX; i++)
		killed_in(812, i);
	assert_false(engine_full(&engine));
	killed_in(812, GHOSTS_MAX);
	assert_true(engine_full(&engine));
}

/* ---- fuzz: 20,000 ghosts, everything that can happen, in any order ---- */

static struct wire_destroy in_flight[GHOSTS_TOP];
static size_t in_flight_count;
static bool turned_away[GHOSTS_TOP]; /* by the rate limit: those stay, and are counted once */
static uint64_t turned_away_count;

static void
fuzz_policy(void)
{
	policy_default(&policy);
	policy.rules[0].grace_ns = random_below(3) * NS_PER_S;
	policy.rules[1].exits = EXIT_BIT(EXIT_TERM);
	policy.rules[1].require = REQUIRE_NONE;
	policy.rules[1].grace_ns = random_below(20) * NS_PER_S;
	if (random_below(3) == 0)
		policy.rules[2].action = ACTION_IGNORE;
	policy.rule_count = 1 + (unsigned)random_below(4);
}

static void
fuzz_orphans(void)
{
	static const uint32_t codes[] = { 0, 9, 9, 9, 9, 15, 15, 11, 3 << 8 };

	for (uint64_t n = random_below(200); n > 0; n--) {
		uint32_t tgid = (uint32_t)(1 + random_below(500));
		struct wire_orphan orphan = orphan_of(tgid, 1 + random_below(50000));

		orphan.owner.exit_code = codes[tgid % COUNT_OF(codes)];
		orphan.flags = random_below(10) == 0 ? WIRE_ORPHAN_CLOSED : 0;
		orphan.tuple.netns += random_below(20) == 0;
		orphan.born_mono_ns -= random_below(NS_PER_S);
		orphan_in(&orphan);
	}
}

static void
fuzz_reaper_reads(void)
{
	size_t n = reaper_reads();

	assert_true(in_flight_count + n <= GHOSTS_TOP);
	memcpy(&in_flight[in_flight_count], requests, n * sizeof(requests[0]));
	in_flight_count += n;
}

static void
fuzz_answers(size_t count)
{
	for (; count > 0 && in_flight_count > 0; count--) {
		size_t i = random_below(in_flight_count);
		enum wire_result result = (enum wire_result)(1 + random_below(8));

		if (result == WIRE_RESULT_REFUSED_RATE && !turned_away[in_flight[i].ghost]) {
			turned_away[in_flight[i].ghost] = true;
			turned_away_count++;
		}
		reaper_answers(&in_flight[i], result);
		in_flight[i] = in_flight[--in_flight_count];
	}
}

static void
counters_consistent(void)
{
	const struct record_counts *c = &engine.counts;
	uint64_t over = c->destroyed + c->gone + c->failed + c->observed + c->reported +
			c->ignored + c->refused - turned_away_count;
	unsigned sum = 0;

	for (unsigned i = 0; i < GHOST_PHASES; i++)
		sum += engine.ghosts.counts[i];
	assert_int_equal(sum, engine.ghosts.total);
	assert_int_equal(HASH_COUNT(engine.ghosts.by_cookie), engine.ghosts.total);
	assert_int_equal(c->ghosts, engine.ghosts.total + over);
	assert_true(engine.ghosts.counts[GHOST_SENT] >= in_flight_count);
}

static void
fuzz_step(void)
{
	switch (random_below(10)) {
	case 0:
		log_breaks();
		break;
	case 1:
		fuzz_policy();
		engine_policy_changed(&engine);
		break;
	case 2:
		engine.hold = random_below(3) == 0 ? HOLD_OBSERVE : HOLD_NONE;
		break;
	case 3:
		log_works();
		break;
	case 4:
	case 5:
		fuzz_orphans();
		break;
	case 6:
		fuzz_reaper_reads();
		break;
	case 7:
		fuzz_answers(random_below(100));
		break;
	default:
		now.ns += random_below(2 * NS_PER_S);
		turn();
	}
	counters_consistent();
}

static void
fuzz_finish(void)
{
	log_works();
	engine.hold = HOLD_NONE;
	for (unsigned n = 0; engine.ghosts.total > 0 && n < 10000; n++) {
		turn();
		fuzz_reaper_reads();
		assert_int_equal(engine.ghosts.counts[GHOST_SENT], in_flight_count);
		fuzz_answers(1000);
		now.ns += 30 * NS_PER_S;
	}
	turn();
	assert_int_equal(engine.ghosts.total, 0);
	assert_true(engine_idle(&engine));
	counters_consistent();
}

static void
test_fuzz(void **state)
{
	(void)state;
	random_start();
	in_flight_count = turned_away_count = 0;
	memset(turned_away, 0, sizeof(turned_away));
	while (engine.counts.ghosts < 20000)
		fuzz_step();
	fuzz_finish();
	/* A ghost is over by one record: left alone, or a result, before which there may be one
	 * that it was turned away. And one that was requested had been decided (see sendmsg()
	 * above). */
	for (size_t i = 1; i <= engine.ghosts.last_id; i++)
		assert_int_equal(seen.left[i] + seen.results[i], 1 + turned_away[i]);
	assert_int_equal(seen.observed, engine.counts.observed);
	assert_int_equal(audit.sequence, seen.sequence);
	say_rest();
}

#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		ON_STAGE(test_the_whole_way),
		ON_STAGE(test_request_is_faithful),
		ON_STAGE(test_each_result),
		ON_STAGE(test_latency_is_never_negative),
		ON_STAGE(test_left_alone),
		ON_STAGE(test_ignored),
		ON_STAGE(test_other_netns),
		ON_STAGE(test_observe),
		ON_STAGE(test_time_wait),
		ON_STAGE(test_states_by_rule),
		ON_STAGE(test_one_exit_record),
		ON_STAGE(test_repeated_cookie),
		ON_STAGE(test_lost),
		ON_STAGE(test_lost_without_a_log),
		ON_STAGE(test_grace),
		ON_STAGE(test_grace_over_long_ago),
		ON_STAGE(test_grace_runs_from_birth),
		ON_STAGE(test_policy_changed),
		ON_STAGE(test_refused_rate),
		ON_STAGE(test_refused_rate_and_a_new_policy),
		ON_STAGE(test_no_log_no_request),
		ON_STAGE(test_log_breaks_on_the_way),
		ON_STAGE(test_observe_while_the_log_is_broken),
		ON_STAGE(test_full_channel),
		ON_STAGE(test_reaper_gone),
		ON_STAGE(test_lost_that_cannot_be),
		ON_STAGE(test_results_nobody_asked_for),
		ON_STAGE(test_results_that_contradict_themselves),
		ON_STAGE(test_full_table),
		ON_STAGE(test_fuzz),
	};

	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
