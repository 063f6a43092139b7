/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/build_id.h"
#include "proto/clock.h"
#include "random.h"
#include "role.h"
#include "target.h"

/* A tracker that lies: role.h says how it is started and told what to do. */

#define GHOSTS_FIRST 0x7000000000000000ull /* cookies that no kernel gives out */

static struct target targets[TARGETS_MAX];
static size_t target_count;
static uint32_t netns;
static uint64_t messages, records;

static void
send_counted(enum wire_type type, const void *from, size_t count)
{
	role_send(type, from, count);
	messages++;
	records += count;
}

static void
heartbeat(void)
{
	const struct wire_heartbeat record = { clock_now().ns, records, 0 };

	role_send(WIRE_T2B_HEARTBEAT, &record, 1);
}

/* Heartbeats until the broker has had enough. */
static void
live_on(int every_ms)
{
	char packet[64];
	long n;

	while ((n = role_receive(packet, sizeof(packet), every_ms)) != 0) {
		if (n < 0)
			heartbeat();
	}
}

/* ---- inventions ------------------------------------------------------------------------------ */

/* What a name may be made of, by who wants to write records of his own. */
static const char *const names[] = { "\n", "\r\n", "\x1b[31mred", "\x1b]0;title\a",
	"\"},{\"event.action\":\"destroy\"", "\\", "\\u0000\\", "\xff\xfe", "\xc3\x28",
	"\xed\xa0\x80", "\xf4\x90\x80\x80", "\x7f", "\xc2\x9b", "\xe2\x80\xae\xe2\x80\xa8",
	"%s%n%s", "{\"a\":1}", "null", "'; rm", "\xc0\xaf", "\t\b\f", "nginx\nnginx.service", "" };

static void
name_put(char *out, size_t size)
{
	memset(out, 0, size);
	while (!random_once_in(3)) {
		const char *part = names[random_below(sizeof(names) / sizeof(names[0]))];

		if (strlen(out) + strlen(part) >= size)
			return;
		strcat(out, part);
	}
	if (random_once_in(8)) /* every byte that can be */
		for (size_t i = 0; i + 1 < size; i++)
			out[i] = (char)(1 + random_below(255));
}

/* Few processes, of which ever other things are told; killed, most of them. */
static struct wire_owner
owner_invent(void)
{
	struct wire_owner owner = { .start_boottime = 1 + random_below(50),
		.cgroup_id = random_below(5),
		.tgid = (uint32_t)(1 + random_below(500)),
		.uid = (uint32_t)random_below(4),
		.exit_code = 9,
		.flags = (uint32_t)random_below(4) };

	if (random_once_in(8))
		owner.exit_code = (uint32_t)random_below(0x10000);
	name_put(owner.comm, sizeof(owner.comm));
	name_put(owner.unit, sizeof(owner.unit));
	return owner;
}

static const struct target *
target_any(void)
{
	static const struct target none = { .tuple = { .family = AF_INET, .src_port = 1 },
		.cookie = 1 };

	return target_count == 0 ? &none : &targets[random_below(target_count)];
}

static struct wire_orphan
orphan_invent(void)
{
	const struct target *t = target_any();
	struct wire_orphan o = { .owner = owner_invent(),
		.tuple = t->tuple,
		.cookie = t->cookie,
		.born_mono_ns = random_once_in(4) ? random_next() : clock_now().ns,
		.send_queue = (uint32_t)random_next(),
		.state = random_once_in(2) ? TCP_STATE_FIN_WAIT1 : TCP_STATE_LAST_ACK };

	switch (random_below(16)) {
	case 0: /* another's address */
		o.tuple = target_any()->tuple;
		break;
	case 1: /* nobody's cookie */
		o.cookie = 1 + random_below(2000);
		break;
	case 2:
		memset(random_once_in(2) ? o.tuple.src : o.tuple.dst, 0, sizeof(o.tuple.src));
		o.tuple.src_port = random_once_in(2) ? 0 : o.tuple.src_port;
		break;
	case 3:
		o.tuple.netns += 1;
		break;
	case 4:
		o.tuple.ifindex = (uint32_t)random_below(4);
		break;
	case 5:
		o.flags = WIRE_ORPHAN_CLOSED;
		o.state = random_once_in(2) ? TCP_STATE_FIN_WAIT2 : TCP_STATE_CLOSING;
		break;
	case 6:
		if (random_once_in(10))
			o.cookie = 1 + random_below(UINT64_MAX - 2);
		break;
	default:
		break;
	}
	return o;
}

/* One packet of anything that the protocol allows. */
static void
anything_send(void)
{
	static struct wire_lost lost;
	struct wire_orphan orphans[WIRE_BATCH_MAX];
	struct wire_exit exits[WIRE_BATCH_MAX];
	size_t count = random_once_in(500) ? WIRE_BATCH_MAX : 1;
	uint64_t dice = random_below(1000);

	if (dice < 20) {
		heartbeat();
		messages++;
		records++;
	} else if (dice < 25) {
		lost.ring_orphan += random_below(2);
		lost.ring_exit++;
		send_counted(WIRE_T2B_LOST, &lost, 1);
	} else if (dice < 150) {
		for (size_t i = 0; i < count; i++)
			exits[i] = (struct wire_exit){ owner_invent(), random_next() };
		send_counted(WIRE_T2B_EXIT, exits, count);
	} else {
		for (size_t i = 0; i < count; i++)
			orphans[i] = orphan_invent();
		send_counted(WIRE_T2B_ORPHAN, orphans, count);
	}
}

/* A ghost that nobody has, of a process that was killed (term: asked to stop). */
static struct wire_orphan
ghost_of(uint64_t number, bool term)
{
	return (struct wire_orphan){ .owner = { .start_boottime = 5,
					     .tgid = 812,
					     .uid = 33,
					     .exit_code = term ? 15 : 9,
					     .comm = "invented",
					     .unit = "invented.service" },
		.tuple = { .family = AF_INET,
			.src_port = 80,
			.dst_port = 4711,
			.netns = netns,
			.src = { 127, 0, 0, 1 },
			.dst = { 127, 0, 0, 2 } },
		.cookie = GHOSTS_FIRST + number,
		.born_mono_ns = clock_now().ns,
		.state = TCP_STATE_FIN_WAIT1 };
}

/* ---- scenarios that keep to the protocol ----------------------------------------------------- */

static void
flood(uint64_t count)
{
	uint64_t begun = clock_now().ns;
	double s;

	while (messages < count)
		anything_send();
	heartbeat();
	s = (double)(clock_now().ns - begun) / 1e9;
	role_say("hostile tracker: %llu messages with %llu records in %.1f s, %.0f messages a "
		 "second",
		(unsigned long long)messages, (unsigned long long)records, s, (double)messages / s);
	live_on(100);
}

static void
heartbeats(uint64_t count)
{
	uint64_t begun = clock_now().ns;

	for (uint64_t i = 0; i < count; i++)
		heartbeat();
	role_say("hostile tracker: %llu heartbeats in %.1f s", (unsigned long long)count,
		(double)(clock_now().ns - begun) / 1e9);
	live_on(100);
}

/* With heartbeats: a slow broker takes longer for them all than it waits for one. */
static void
ghosts_send(uint64_t count, bool term)
{
	for (uint64_t i = 1; i <= count; i++) {
		struct wire_orphan o = ghost_of(i, term);

		send_counted(WIRE_T2B_ORPHAN, &o, 1);
		if (i % 100 == 0)
			heartbeat();
	}
	live_on(100);
}

static void
killed(uint64_t count)
{
	ghosts_send(count, false);
}

static void
termed(uint64_t count)
{
	ghosts_send(count, true);
}

/* Every name by itself, each with an owner of its own. */
static void
evil_names(uint64_t count)
{
	for (uint64_t i = 1; i <= count; i++) {
		struct wire_orphan o = ghost_of(i, false);

		o.owner.tgid = (uint32_t)i;
		name_put(o.owner.comm, sizeof(o.owner.comm));
		name_put(o.owner.unit, sizeof(o.owner.unit));
		o.owner.flags = (uint32_t)random_below(4);
		o.owner.exit_code = (uint32_t)random_below(0x10000);
		o.owner.uid = (uint32_t)random_next();
		send_counted(WIRE_T2B_ORPHAN, &o, 1);
	}
	live_on(100);
}

/* One process, of which each message tells something else. */
static void
contradict(uint64_t count)
{
	static const uint32_t codes[] = { 9, 15, 0, 0x100, 11, 139 };

	for (uint64_t i = 1; i <= count; i++) {
		struct wire_orphan o = ghost_of(i, false);

		o.owner.exit_code = codes[(i - 1) % 6];
		o.owner.uid = (uint32_t)i;
		snprintf(o.owner.comm, sizeof(o.owner.comm), "number-%u", (unsigned)i);
		snprintf(o.owner.unit, sizeof(o.owner.unit), "unit-%u.service", (unsigned)i);
		send_counted(WIRE_T2B_ORPHAN, &o, 1);
	}
	live_on(100);
}

static void
quiet(uint64_t count)
{
	(void)count;
	live_on(100);
}

static void
silent(uint64_t count)
{
	char packet[64];

	(void)count;
	role_receive(packet, sizeof(packet), -1);
}

/* A ghost now and then, and no heartbeat. */
static void
drip(uint64_t count)
{
	char packet[64];

	for (uint64_t i = 1; role_receive(packet, sizeof(packet), 50) != 0; i++) {
		struct wire_orphan o = ghost_of(i, false);

		if (i <= count)
			send_counted(WIRE_T2B_ORPHAN, &o, 1);
	}
}

static void
vanish(uint64_t count)
{
	for (uint64_t i = 1; i <= count; i++)
		anything_send();
}

/* ---- scenarios that break it ----------------------------------------------------------------- */

static _Alignas(8) unsigned char packet[ROLE_PACKET_ROOM];

static struct wire_header *
head(void)
{
	return (struct wire_header *)(void *)packet;
}

static struct wire_orphan *
body(void)
{
	return (struct wire_orphan *)(void *)(packet + sizeof(struct wire_header));
}

static void
spoil_magic(void)
{
	head()->magic ^= 1;
}

static void
spoil_version(void)
{
	head()->version++;
}

static void
spoil_length(void)
{
	head()->length--;
}

static void
spoil_type(void)
{
	head()->type = 99;
}

static void
spoil_direction(void)
{
	head()->type = WIRE_B2R_DESTROY;
}

static void
spoil_replay(void)
{
	head()->seq--;
}

static void
spoil_skip(void)
{
	head()->seq += 7;
}

static void
spoil_tuple_pad(void)
{
	body()->tuple.pad = 1;
}

static void
spoil_pad(void)
{
	body()->pad[1] = 1;
}

static void
spoil_flags(void)
{
	body()->flags = 2;
}

static void
spoil_owner_flags(void)
{
	body()->owner.flags = 4;
}

static void
spoil_cookie_none(void)
{
	body()->cookie = 0;
}

static void
spoil_cookie_any(void)
{
	body()->cookie = UINT64_MAX;
}

static void
spoil_family(void)
{
	body()->tuple.family = AF_UNIX;
}

static void
spoil_state(void)
{
	body()->state = TCP_STATE_ESTABLISHED;
}

static void
spoil_state_wild(void)
{
	body()->state = 200;
}

static void
spoil_comm(void)
{
	memset(body()->owner.comm, 'x', sizeof(body()->owner.comm));
}

static void
spoil_unit(void)
{
	memset(body()->owner.unit, 'x', sizeof(body()->owner.unit));
}

static void
spoil_tgid(void)
{
	body()->owner.tgid = 0;
}

static void
spoil_exit_code(void)
{
	body()->owner.exit_code = 0x10000;
}

static void
spoil_v4_tail(void)
{
	body()->tuple.src[4] = 1;
}

static const struct {
	const char *name;
	void (*spoil)(void);
} spoilers[] = {
	{ "magic", spoil_magic },
	{ "version", spoil_version },
	{ "length", spoil_length },
	{ "type", spoil_type },
	{ "direction", spoil_direction },
	{ "replay", spoil_replay },
	{ "skip", spoil_skip },
	{ "tuple-pad", spoil_tuple_pad },
	{ "pad", spoil_pad },
	{ "flags", spoil_flags },
	{ "owner-flags", spoil_owner_flags },
	{ "cookie-none", spoil_cookie_none },
	{ "cookie-any", spoil_cookie_any },
	{ "family", spoil_family },
	{ "state", spoil_state },
	{ "state-wild", spoil_state_wild },
	{ "comm", spoil_comm },
	{ "unit", spoil_unit },
	{ "tgid", spoil_tgid },
	{ "exit-code", spoil_exit_code },
	{ "v4-tail", spoil_v4_tail },
};

/* Lengths and what comes with a packet. */
static bool
misshape(const char *name, size_t len)
{
	const size_t whole = sizeof(struct wire_header) + sizeof(struct wire_orphan);

	if (strcmp(name, "short") == 0) {
		role_send_raw(packet, 8, -1);
	} else if (strcmp(name, "empty") == 0) {
		role_send_raw(packet, 0, -1);
	} else if (strcmp(name, "header-only") == 0) {
		head()->length = sizeof(struct wire_header);
		role_send_raw(packet, sizeof(struct wire_header), -1);
	} else if (strcmp(name, "half-record") == 0) {
		head()->length = (uint32_t)whole - 100;
		role_send_raw(packet, whole - 100, -1);
	} else if (strcmp(name, "one-too-many") == 0) {
		for (size_t i = 1; i <= WIRE_BATCH_MAX; i++)
			body()[i] = body()[0];
		len = sizeof(struct wire_header) +
		      (WIRE_BATCH_MAX + 1) * sizeof(struct wire_orphan);
		head()->length = (uint32_t)len;
		role_send_raw(packet, len, -1);
	} else if (strcmp(name, "oversized") == 0) {
		head()->length = sizeof(packet);
		role_send_raw(packet, sizeof(packet), -1);
	} else if (strcmp(name, "descriptor") == 0) {
		role_send_raw(packet, len, STDERR_FILENO);
	} else {
		return false;
	}
	return true;
}

static bool
lose(const char *name)
{
	struct wire_lost lost = { 5, 5, 5 };

	if (strncmp(name, "lost-", 5) != 0)
		return false;
	role_send(WIRE_T2B_LOST, &lost, 1);
	lost.ring_exit -= strcmp(name, "lost-back") == 0;
	lost.ring_orphan += strcmp(name, "lost-back") == 0; /* lost-none: nothing has moved */
	role_send(WIRE_T2B_LOST, &lost, 1);
	return true;
}

static bool
break_protocol(const char *name)
{
	struct wire_orphan o = ghost_of(1, false);
	size_t len;

	if (lose(name))
		return true;
	len = role_packet(packet, WIRE_T2B_ORPHAN, &o, 1);
	if (misshape(name, len))
		return true;
	for (size_t i = 0; i < sizeof(spoilers) / sizeof(spoilers[0]); i++) {
		if (strcmp(spoilers[i].name, name) == 0) {
			spoilers[i].spoil();
			role_send_raw(packet, len, -1);
			return true;
		}
	}
	role_seq--;
	return false;
}

/* ---- beginning ------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(uint64_t count);
} scenarios[] = {
	{ "flood", flood },
	{ "heartbeats", heartbeats },
	{ "killed", killed },
	{ "termed", termed },
	{ "names", evil_names },
	{ "contradict", contradict },
	{ "quiet", quiet },
	{ "silent", silent },
	{ "drip", drip },
	{ "vanish", vanish },
};

static void
hello_say(const char *name)
{
	struct wire_tracker_hello hello = { .features = WIRE_TRACKER_EXIT | WIRE_TRACKER_ORPHAN |
							WIRE_TRACKER_STAMP,
		.heartbeat_ms = 1000 };
	struct wire_orphan o = ghost_of(1, false);

	memcpy(hello.build_id, build_id, sizeof(hello.build_id));
	if (strcmp(name, "hello-none") == 0)
		role_send(WIRE_T2B_ORPHAN, &o, 1);
	hello.build_id[0] ^= strcmp(name, "hello-build") == 0;
	if (strcmp(name, "hello-features") == 0)
		hello.features = 0xff;
	if (strcmp(name, "hello-never") == 0)
		hello.heartbeat_ms = UINT32_MAX;
	if (strcmp(name, "hello-zero") == 0)
		hello.heartbeat_ms = 0;
	role_send(WIRE_T2B_HELLO, &hello, 1);
	if (strcmp(name, "hello-twice") == 0)
		role_send(WIRE_T2B_HELLO, &hello, 1);
}

int
main(int argc, char **argv)
{
	struct scenario scenario = scenario_read(argv[0]);
	struct stat st;

	(void)argc;
	if (stat("/proc/self/ns/net", &st) == 0)
		netns = (uint32_t)st.st_ino;
	target_count =
		role_file_read(argv[0], "targets", targets, sizeof(targets)) / sizeof(targets[0]);
	hello_say(scenario.name);
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (strcmp(scenarios[i].name, scenario.name) == 0) {
			scenarios[i].run(scenario.count);
			return 0;
		}
	}
	if (!break_protocol(scenario.name) && strncmp(scenario.name, "hello-", 6) != 0) {
		role_say("hostile tracker: no scenario %s", scenario.name);
		return 99;
	}
	live_on(100);
	return 0;
}
