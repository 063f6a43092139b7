/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_ENGINE_STAGE_H
#define TESTS_UNIT_ENGINE_STAGE_H

/* The broker's engine on a stage: the test plays tracker, reaper and clock. The log is a file in
 * memory, read as it grows. For one test program each: it has send() in it. */

#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "broker/engine.h"
#include "tests/unit/breaker_free.h"
#include "tests/unit/budget_free.h"
#include "tests/unit/ghosts_free.h"

#define NETNS	   4026531840u
#define START	   (1000 * NS_PER_S)
#define GHOSTS_TOP 300000u /* numbers of ghosts that a test may come to */

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
	unsigned exits, lost, reconciles, breakers;
	unsigned decided[GHOSTS_TOP]; /* decide records of that ghost with verdict destroy */
	unsigned proved[GHOSTS_TOP];  /* ... and with two samples */
	unsigned left[GHOSTS_TOP];    /* ... with another verdict */
	unsigned results[GHOSTS_TOP]; /* destroy records */
	uint64_t observed;
	unsigned batches;	     /* decide records of batches with verdict destroy */
	uint64_t batched;	     /* ghosts in them */
	unsigned lefts;		     /* decide records of batches with another verdict */
	uint64_t left_batched;	     /* ghosts they count */
	uint64_t turned_away;	     /* by the rate limit, as destroy records of batches say */
	uint64_t withdrawn;	     /* from batches */
	char last[RECORD_BATCH_MAX]; /* line */
} seen;

/* The ghosts of each batch that have no result yet. */
static struct {
	uint64_t *ghosts;
	size_t count;
} batch_members[GHOSTS_TOP];

static inline uint64_t
number_behind(const char *line, const char *name)
{
	const char *p = strstr(line, name);

	assert_non_null(p);
	return strtoull(p + strlen(name), NULL, 10);
}

static inline void
ghost_line_count(const char *line, bool decide)
{
	bool destroy = strstr(line, "\"eghostbuster.verdict\":\"destroy\"") != NULL;
	bool proof = strstr(line, "\"stuck\":true,") != NULL;
	uint64_t id = number_behind(line, "\"eghostbuster.ghost\":");

	assert_true(id < GHOSTS_TOP);
	seen.decided[id] += decide && destroy;
	seen.proved[id] += decide && destroy && proof;
	seen.left[id] += decide && !destroy;
	seen.results[id] += !decide;
	assert_true(destroy || !proof); /* what is proved is destroyed */
}

/* Calls take(arg, N) for each number in an array of strings "N" and "N-M". Returns how many. */
static inline size_t
numbers_read(const char *line, const char *name, void (*take)(uint64_t, uint64_t), uint64_t arg)
{
	const char *p = strstr(line, name);
	size_t n = 0;
	char *end;

	assert_non_null(p);
	for (p += strlen(name); *p == '"'; p = end + 1 + (end[1] == ',')) {
		uint64_t first = strtoull(p + 1, &end, 10), last = first;

		if (*end == '-')
			last = strtoull(end + 1, &end, 10);
		assert_int_equal(*end, '"');
		for (; first <= last; first++, n++)
			take(arg, first);
	}
	assert_int_equal(*p, ']');
	return n;
}

static inline void
member_take(uint64_t batch, uint64_t ghost)
{
	assert_true(batch < GHOSTS_TOP && ghost < GHOSTS_TOP);
	seen.decided[ghost]++;
	seen.batched++;
	batch_members[batch].ghosts[batch_members[batch].count++] = ghost;
}

static inline void
proved_take(uint64_t batch, uint64_t ghost)
{
	seen.proved[ghost]++;
	member_take(batch, ghost);
}

/* It is said to have this result: it was in the batch, and had none. */
static inline void
member_done(uint64_t batch, uint64_t ghost)
{
	for (size_t i = 0; i < batch_members[batch].count; i++) {
		if (batch_members[batch].ghosts[i] != ghost)
			continue;
		batch_members[batch].ghosts[i] =
			batch_members[batch].ghosts[--batch_members[batch].count];
		return;
	}
	fail_msg("ghost %llu has a result in batch %llu, which it is not in",
		(unsigned long long)ghost, (unsigned long long)batch);
}

static inline void
result_take(uint64_t batch, uint64_t ghost)
{
	seen.results[ghost]++;
	member_done(batch, ghost);
}

static inline void
withdrawn_take(uint64_t batch, uint64_t ghost)
{
	seen.withdrawn++;
	member_done(batch, ghost);
}

static inline size_t
cookies_count(const char *line)
{
	const char *p = strstr(line, "\"eghostbuster.batch.cookies\":[");
	size_t n = 0;

	assert_non_null(p);
	for (; *p != ']'; p++)
		n += *p == 'x';
	return n;
}

static inline void
batch_decide_count(const char *line)
{
	uint64_t id = number_behind(line, "\"eghostbuster.batch.id\":");
	uint64_t count = number_behind(line, "\"eghostbuster.batch.ghosts_count\":");
	bool stuck = strstr(line, "\"stuck\":true") != NULL;

	if (strstr(line, "\"eghostbuster.verdict\":\"destroy\"") == NULL) {
		seen.lefts++;
		seen.left_batched += count;
		return;
	}
	assert_true(id < GHOSTS_TOP && count <= RECORD_GHOSTS_MAX);
	assert_null(batch_members[id].ghosts); /* a number is given once */
	batch_members[id].ghosts = calloc(count, sizeof(uint64_t));
	seen.batches++;
	assert_int_equal(numbers_read(line, "\"eghostbuster.batch.ghosts\":[",
				 stuck ? proved_take : member_take, id),
		count);
	assert_int_equal(cookies_count(line), count);
}

static inline void
batch_result_count(const char *line)
{
	uint64_t id = number_behind(line, "\"eghostbuster.batch.id\":"), destroyed = 0;
	uint64_t left = number_behind(line, "\"eghostbuster.batch.left\":");
	const char *p = line;

	assert_true(id < GHOSTS_TOP && batch_members[id].ghosts != NULL);
	seen.turned_away += number_behind(line, "\"eghostbuster.batch.turned_away\":");
	while ((p = strstr(p, "{\"result\":\"")) != NULL) {
		p += strlen("{\"result\":\"");
		seen.observed +=
			strncmp(p, "observed", 8) == 0 ? number_behind(p, "\"count\":") : 0;
		if (strncmp(p, "destroyed", 9) == 0)
			destroyed = number_behind(p, "\"count\":");
		else
			numbers_read(p, "\"ghosts\":[",
				strncmp(p, "withdrawn", 9) == 0 ? withdrawn_take : result_take, id);
	}
	/* Which ones were destroyed is what remains when there are no others. */
	assert_true(batch_members[id].count >= destroyed + left);
	while (left == 0 && batch_members[id].count > 0)
		result_take(id, batch_members[id].ghosts[0]);
}

static inline void
line_count(const char *line)
{
	bool decide = strstr(line, "\"event.action\":\"decide\"") != NULL;

	assert_int_equal(number_behind(line, "\"event.sequence\":"), ++seen.sequence);
	assert_memory_equal(line, "{\"@timestamp\":\"2", 16);
	assert_int_equal(line[strlen(line) - 1], '}');
	if (strstr(line, "\"eghostbuster.batch.id\":") != NULL)
		(decide ? batch_decide_count : batch_result_count)(line);
	else if (decide || strstr(line, "\"event.action\":\"destroy\"") != NULL)
		ghost_line_count(line, decide);
	seen.exits += strstr(line, "\"event.action\":\"exit\"") != NULL;
	seen.lost += strstr(line, "\"event.action\":\"lost\"") != NULL;
	seen.reconciles += strstr(line, "\"event.action\":\"reconcile\"") != NULL;
	seen.breakers += strstr(line, "\"event.action\":\"breaker\"") != NULL;
	seen.observed += strstr(line, "\"eghostbuster.result\":\"observed\"") != NULL;
	assert_true(strlen(line) < sizeof(seen.last));
	memcpy(seen.last, line, strlen(line) + 1);
}

static inline void
log_read(void)
{
	static char text[1 << 19];
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

static inline void
last_has(const char *part)
{
	log_read();
	if (strstr(seen.last, part) == NULL)
		fail_msg("no %s in %s", part, seen.last);
}

/* ---- the moment a request leaves ---- */

static unsigned requested[GHOSTS_TOP]; /* times that ghost was */
static unsigned packets;	       /* of requests to destroy */

static inline void
request_check(const struct wire_destroy *request)
{
	static const struct wire_progress none;
	bool proved = (request->flags & WIRE_DESTROY_PROVED) != 0;

	assert_true(request->ghost < GHOSTS_TOP);
	requested[request->ghost]++;
	assert_true(seen.decided[request->ghost] >= 1);
	assert_true(!proved || seen.proved[request->ghost] >= 1);
	assert_true(proved || memcmp(&request->seen, &none, sizeof(none)) == 0);
}

/* In place of the C library's: whatever leaves for the reaper must be in the file by now (I3). */
ssize_t
send(int fd, const void *packet, size_t len, int flags)
{
	const struct wire_header *header = packet;
	const struct wire_destroy *requests = (const void *)(header + 1);
	ssize_t n = syscall(SYS_sendto, fd, packet, len, flags, NULL, 0);

	if (n < 0 || header->type != WIRE_B2R_DESTROY)
		return n;
	packets++;
	log_read();
	for (size_t i = 0; i < (len - sizeof(*header)) / sizeof(requests[0]); i++)
		request_check(&requests[i]);
	return n;
}

/* ---- the stage ---- */

static inline int
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
	policy.record_budget.count = 1000000000; /* a test that is about it says so */
	auditlog_open(&audit, &(struct auditlog_files){ .path = "/log/audit.jsonl",
				      .log = dup(log_file),
				      .dir = -1,
				      .before = -1,
				      .state = -1 });
	engine_init(&engine, &policy, &audit, &to_reaper, "boot");
	engine.netns = NETNS;
	engine.ceiling = 1000000000;
	policy.destroy_limit.count = 1000000000;
	now.ns = START;
	memset(&seen, 0, sizeof(seen));
	memset(requested, 0, sizeof(requested));
	packets = 0;
	return 0;
}

/* The broker ends with its batches, too. */
static inline void
batches_free(void)
{
	struct budget_account *account;
	struct batch *batch;

	TAILQ_FOREACH (account, &engine.batches.active, activity)
		TAILQ_CONCAT(&engine.batches.closed, &account->open, queue);
	while ((batch = TAILQ_FIRST(&engine.batches.closed)) != NULL) {
		TAILQ_REMOVE(&engine.batches.closed, batch, queue);
		free(batch->result.others);
		free(batch);
	}
	for (size_t i = 0; i < GHOSTS_TOP; i++) {
		free(batch_members[i].ghosts);
		batch_members[i].ghosts = NULL;
		batch_members[i].count = 0;
	}
}

static inline int
teardown(void **state)
{
	(void)state;
	stderr_give_back();
	ghosts_free(&engine.ghosts);
	batches_free();
	breaker_free(&engine.breaker);
	budget_free(&engine.budget);
	free(audit.buffer);
	close(audit.fd);
	close(log_file);
	close(log_full);
	close(to_reaper.fd);
	return reaper.fd < 0 ? 0 : close(reaper.fd);
}

#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static inline void
log_breaks(void)
{
	assert_true(dup2(log_full, audit.fd) >= 0);
}

static inline void
log_works(void)
{
	assert_true(dup2(log_file, audit.fd) >= 0);
}

/* ---- the tracker's part ---- */

static inline struct wire_orphan
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

static inline void
orphan_in(const struct wire_orphan *orphan)
{
	engine_orphans(&engine, orphan, 1, now);
}

/* Left by a process that was killed: the built-in policy requests it at once. */
static inline void
killed_in(uint32_t tgid, uint64_t cookie)
{
	const struct wire_orphan orphan = orphan_of(tgid, cookie);

	orphan_in(&orphan);
}

/* Left by a process that was asked to stop: the built-in policy wants proof, 30 s long. */
static inline void
asked_in(uint32_t tgid, uint64_t cookie)
{
	struct wire_orphan orphan = orphan_of(tgid, cookie);

	orphan.owner.exit_code = 15;
	orphan_in(&orphan);
}

/* Left by a process that was asked to stop, under a rule with a grace of 30 s and no proof. */
static inline void
stopped_in(uint32_t tgid, uint64_t cookie)
{
	policy.rules[1].exits = EXIT_BIT(EXIT_TERM);
	policy.rules[1].require = REQUIRE_NONE;
	asked_in(tgid, cookie);
}

static inline void
lost_in(uint64_t orphans, uint64_t exits, uint64_t stamps)
{
	const struct wire_lost lost = { orphans, exits, stamps };

	engine_lost(&engine, &lost, now);
}

/* ---- the reaper's part ---- */

static struct wire_destroy requests[GHOSTS_TOP];
static struct wire_sample samples[GHOSTS_TOP];

/* Of the last reaper_hears(). */
static struct {
	size_t destroys; /* in requests */
	size_t samples;	 /* in samples */
	unsigned reconciles;
	uint64_t round; /* of the last of these */
} heard;

static inline void
message_hear(const struct wire_view *view)
{
	switch ((int)view->type) {
	case WIRE_B2R_DESTROY:
		memcpy(&requests[heard.destroys], view->records, view->count * sizeof(requests[0]));
		heard.destroys += view->count;
		break;
	case WIRE_B2R_SAMPLE:
		memcpy(&samples[heard.samples], view->records, view->count * sizeof(samples[0]));
		heard.samples += view->count;
		break;
	case WIRE_B2R_RECONCILE:
		heard.reconciles++;
		heard.round = ((const struct wire_reconcile *)view->records)->round;
		break;
	default:
		fail_msg("the engine sent a %s", wire_type_name(view->type));
	}
}

/* Takes in what the reaper can read now. */
static inline void
reaper_hears(void)
{
	struct wire_view view;

	memset(&heard, 0, sizeof(heard));
	while (channel_recv(&reaper, &view) == CHANNEL_MESSAGE)
		message_hear(&view);
}

/* The same where nothing but requests to destroy is expected. Returns how many. */
static inline size_t
reaper_reads(void)
{
	reaper_hears();
	assert_int_equal(heard.samples, 0);
	assert_int_equal(heard.reconciles, 0);
	return heard.destroys;
}

/* As tcp_need_reset() has it, of a full socket. */
static inline uint8_t
notice_of(uint8_t state)
{
	return state == TCP_STATE_FIN_WAIT1 || state == TCP_STATE_FIN_WAIT2 ? WIRE_NOTICE_RST
									    : WIRE_NOTICE_NONE;
}

/* An act takes its time: 5 ns at least have passed since the request. */
static inline uint64_t
act_takes(const struct wire_destroy *request)
{
	const struct ghost *ghost = ghosts_find(&engine.ghosts, request->cookie);

	if (ghost != NULL && now.ns < ghost->asked.ns + 5)
		now.ns = ghost->asked.ns + 5;
	return 5;
}

/* What an honest reaper may answer. Without a proof only another state than those named is
 * progress.
 */
static inline struct wire_result_record
result_of(const struct wire_destroy *request, enum wire_result result)
{
	bool destroyed = result == WIRE_RESULT_DESTROYED;
	bool moved = result == WIRE_RESULT_REFUSED_PROGRESS &&
		     (request->flags & WIRE_DESTROY_PROVED) == 0 &&
		     (request->states & TCP_STATE_BIT(request->state)) != 0;
	uint8_t state = moved ? (uint8_t)TCP_STATE_FIN_WAIT2 : request->state;
	uint64_t took = destroyed ? act_takes(request) : 0;

	return (struct wire_result_record){ .ghost = request->ghost,
		.cookie = request->cookie,
		.done_mono_ns = now.ns,
		.look_to_act_ns = took,
		.tries = 1,
		.error = result == WIRE_RESULT_FAILED ? EPERM : 0,
		.result = (uint8_t)result,
		.state = state,
		.peer_notice = destroyed ? notice_of(state) : (uint8_t)WIRE_NOTICE_NONE };
}

static inline void
reaper_answers(const struct wire_destroy *request, enum wire_result result)
{
	const struct wire_result_record record = result_of(request, result);

	engine_results(&engine, &record, 1, now);
}

static inline struct wire_sampled
sampled_of(const struct wire_sample *sample, enum wire_found found)
{
	bool orphan = found == WIRE_FOUND_ORPHAN;

	return (struct wire_sampled){ .ghost = sample->ghost,
		.cookie = sample->cookie,
		.sampled_mono_ns = now.ns,
		.progress = { .bytes_acked = orphan ? 1000 : 0,
			.window_end = orphan ? 2000 : 0,
			.send_queue = orphan ? 700 : 0 },
		.found = (uint8_t)found,
		.state = orphan ? TCP_STATE_FIN_WAIT1 : 0 };
}

static inline void
reaper_samples(const struct wire_sample *sample, enum wire_found found)
{
	const struct wire_sampled record = sampled_of(sample, found);

	engine_samples(&engine, &record, 1, now);
}

static inline struct wire_found_record
found_of(uint64_t cookie)
{
	const struct wire_orphan orphan = orphan_of(1, cookie);
	return (struct wire_found_record){ .cookie = cookie,
		.tuple = orphan.tuple,
		.progress = { .bytes_acked = 1000, .window_end = 2000, .send_queue = 700 },
		.state = TCP_STATE_FIN_WAIT1 };
}

static inline void
reaper_finds(uint64_t cookie)
{
	const struct wire_found_record found = found_of(cookie);

	engine_found(&engine, &found, 1, now);
}

static inline void
reaper_has_found(uint64_t round, uint32_t count)
{
	const struct wire_found_end end = {
		.round = round, .done_mono_ns = now.ns, .count = count, .complete = 1
	};

	engine_found_end(&engine, &end, now);
}

/* ---- turns ---- */

/* As the loop does: a turn at once where the last was not for all. */
static inline bool
turn(void)
{
	bool full;

	do {
		full = engine_turn(&engine, now);
		log_read();
	} while (engine.ghosts.counts[GHOST_FRESH] != 0 && !engine.log->failing);
	return full;
}

/* Turns until the channel has had room for all. Returns how many requests the reaper has read. */
static inline size_t
all_sent(void)
{
	size_t n = 0;

	for (bool full = true; full;) {
		full = turn();
		n += reaper_reads();
	}
	return n;
}

/* Ghosts that something is still to be done with. */
static inline unsigned
in_hand(void)
{
	return engine.ghosts.total - engine.ghosts.counts[GHOST_LEFT];
}

/* Counts per phase add up, and each ghost is in the table. */
static inline void
table_consistent(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < GHOST_PHASES; i++)
		sum += engine.ghosts.counts[i];
	assert_int_equal(sum, engine.ghosts.total);
	sum = 0;
	for (unsigned i = 0; i < FAIR_SLOTS; i++)
		sum += engine.ghosts.slot_counts[i];
	assert_int_equal(sum, engine.ghosts.total);
	assert_int_equal(HASH_COUNT(engine.ghosts.by_cookie), engine.ghosts.total);
}

/* ---- a peer that is not what it should be ---- */

/* act() ends the process, and says that `who` broke the protocol. */
static inline void
protocol_expect(void (*act)(void *), void *arg, const char *who)
{
	char said[8192], want[64];

	assert_int_equal(child_run(act, arg, said, sizeof(said)), 1);
	snprintf(want, sizeof(want), "the %s broke the protocol: ", who);
	if (strstr(said, want) == NULL)
		fail_msg("no '%s' in '%s'", want, said);
}

#endif
