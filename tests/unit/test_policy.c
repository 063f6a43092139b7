/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/policy.c broker/exitclass.c */
#include "tests/unit/unit.h"

#include <arpa/inet.h>

#include "broker/policy.h"
#include "proto/scalars.h"

static struct policy policy;
static struct wire_owner owner;
static struct wire_tuple tuple;
static struct subject subject;

/* A policy without rules, a killed nginx's ghost. */
static int
setup(void **state)
{
	(void)state;
	policy_default(&policy);
	policy.rule_count = 0;
	owner = (struct wire_owner){ .start_boottime = 1,
		.tgid = 812,
		.uid = 33,
		.exit_code = 9,
		.comm = "nginx",
		.unit = "nginx.service" };
	tuple = (struct wire_tuple){ .family = AF_INET, .src_port = 8080, .dst_port = 48670 };
	inet_pton(AF_INET, "10.1.2.3", tuple.dst);
	subject = (struct subject){
		.exit = EXIT_KILL, .owner = &owner, .tuple = &tuple, .state = TCP_STATE_FIN_WAIT1
	};
	return 0;
}

static struct rule *
rule_add(uint32_t keys, enum policy_action action)
{
	struct rule *rule = &policy.rules[policy.rule_count++];

	*rule = (struct rule){ .keys = keys | RULE_ACTION, .action = action };
	snprintf(rule->name, sizeof(rule->name), "r%u", policy.rule_count);
	return rule;
}

static bool
matches(void)
{
	return policy_match(&policy, &subject) != NULL;
}

/* ---- which rule ---- */

static void
test_first_match_wins(void **state)
{
	struct rule *first, *second, *third;

	(void)state;
	first = rule_add(RULE_EXIT, ACTION_IGNORE);
	second = rule_add(RULE_UID, ACTION_REPORT);
	third = rule_add(0, ACTION_DESTROY);
	first->exits = EXIT_BIT(EXIT_CLEAN);
	second->uid = 33;
	assert_ptr_equal(policy_match(&policy, &subject), second);
	first->exits |= EXIT_BIT(EXIT_KILL);
	assert_ptr_equal(policy_match(&policy, &subject), first);
	first->exits = 0;
	second->uid = 34;
	assert_ptr_equal(policy_match(&policy, &subject), third);
}

static void
test_no_rule(void **state)
{
	struct decision d;

	(void)state;
	rule_add(RULE_EXIT, ACTION_DESTROY)->exits = EXIT_BIT(EXIT_OOM);
	assert_null(policy_match(&policy, &subject));
	d = policy_decide(&policy, &subject, UINT64_MAX);
	assert_int_equal(d.verdict, VERDICT_REPORT);
	assert_string_equal(d.reason, "no-rule");
	assert_null(d.rule);
}

static void
test_a_rule_without_keys_matches_all(void **state)
{
	(void)state;
	rule_add(0, ACTION_DESTROY);
	subject.owner = NULL;
	for (unsigned c = 0; c < EXIT_CLASSES; c++) {
		subject.exit = (enum exit_class)c;
		assert_true(matches());
	}
}

/* ---- each key ---- */

static void
test_exit_key(void **state)
{
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_EXIT, ACTION_DESTROY);
	for (unsigned of_rule = 0; of_rule <= EXIT_BIT_ALL; of_rule++) {
		rule->exits = of_rule;
		for (unsigned c = 0; c < EXIT_CLASSES; c++) {
			subject.exit = (enum exit_class)c;
			assert_int_equal(matches(), of_rule >> c & 1);
		}
	}
}

static void
test_state_key(void **state)
{
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_STATE, ACTION_DESTROY);
	for (unsigned of_rule = 1; of_rule <= TCP_STATE_NEW_SYN_RECV; of_rule++) {
		rule->states = TCP_STATE_BIT(of_rule);
		for (unsigned s = 1; s <= TCP_STATE_NEW_SYN_RECV; s++) {
			subject.state = (uint8_t)s;
			assert_int_equal(matches(), s == of_rule);
		}
	}
}

static void
test_uid_key(void **state)
{
	const uint32_t uids[] = { 0, 1, 33, 65534, UINT32_MAX - 1, UINT32_MAX };
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_UID, ACTION_DESTROY);
	for (size_t i = 0; i < COUNT_OF(uids); i++) {
		rule->uid = uids[i];
		for (size_t j = 0; j < COUNT_OF(uids); j++) {
			owner.uid = uids[j];
			assert_int_equal(matches(), i == j);
		}
	}
}

static void
ports_try(uint16_t first, uint16_t last)
{
	struct rule *rule = &policy.rules[0];

	rule->port_first = first;
	rule->port_last = last;
	for (unsigned port = 0; port <= UINT16_MAX; port++) {
		tuple.src_port = (uint16_t)port;
		assert_int_equal(matches(), port >= first && port <= last);
	}
}

static void
test_local_port_key(void **state)
{
	(void)state;
	rule_add(RULE_LOCAL_PORT, ACTION_DESTROY);
	ports_try(80, 80);
	ports_try(8000, 8099);
	ports_try(1, 1);
	ports_try(1, 65535);
	ports_try(65535, 65535);
	policy.rules[0].port_first = policy.rules[0].port_last = tuple.dst_port;
	tuple.src_port = 1;
	assert_false(matches()); /* the peer's port is not meant */
}

static const struct glob {
	const char *pattern, *text;
	bool match;
} globs[] = {
	{ "nginx", "nginx", true },
	{ "nginx", "nginx2", false },
	{ "nginx", "Nginx", false },
	{ "ngin", "nginx", false },
	{ "ng*", "nginx", true },
	{ "*", "nginx", true },
	{ "*", "", true },
	{ "?", "", false },
	{ "*x", "nginx", true },
	{ "n?inx", "nginx", true },
	{ "n?inx", "ninx", false },
	{ "[a-n]ginx", "nginx", true },
	{ "[!n]ginx", "nginx", false },
	{ "php-fpm*", "php-fpm: pool w", true },
	{ "*", "a/b", true },
	{ "a*c", "a/b.c", true },
	{ "*", ".hidden", true },
	{ "\\*", "*", true },
	{ "\\*", "x", false },
	{ "[", "[", true },
	{ "a[", "ab", false },
};

static void
test_comm_key(void **state)
{
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_COMM, ACTION_DESTROY);
	for (size_t i = 0; i < COUNT_OF(globs); i++) {
		snprintf(rule->comm, sizeof(rule->comm), "%s", globs[i].pattern);
		snprintf(owner.comm, sizeof(owner.comm), "%s", globs[i].text);
		if (matches() != globs[i].match)
			fail_msg("'%s' on '%s'", globs[i].pattern, globs[i].text);
	}
}

static void
test_unit_key(void **state)
{
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_UNIT, ACTION_DESTROY);
	for (size_t i = 0; i < COUNT_OF(globs); i++) {
		snprintf(rule->unit, sizeof(rule->unit), "%s", globs[i].pattern);
		snprintf(owner.unit, sizeof(owner.unit), "%s", globs[i].text);
		if (matches() != globs[i].match)
			fail_msg("'%s' on '%s'", globs[i].pattern, globs[i].text);
	}
}

/* A name that was cut may be any: no rule that destroys takes it for its own, every other does. */
static void
test_truncated_unit(void **state)
{
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_UNIT, ACTION_DESTROY);
	owner.flags = WIRE_OWNER_UNIT_TRUNCATED;
	for (size_t i = 0; i < COUNT_OF(globs); i++) {
		snprintf(rule->unit, sizeof(rule->unit), "%s", globs[i].pattern);
		snprintf(owner.unit, sizeof(owner.unit), "%s", globs[i].text);
		rule->action = ACTION_DESTROY;
		assert_false(matches());
		rule->action = ACTION_REPORT;
		assert_true(matches());
		rule->action = ACTION_IGNORE;
		assert_true(matches());
	}
	rule->keys |= RULE_UID; /* the other keys still count */
	assert_false(matches());
}

/* A rule that keeps a unit's ghosts must not be got round by a longer name. */
static void
test_truncated_unit_and_a_rule_that_spares(void **state)
{
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_UNIT, ACTION_REPORT);
	snprintf(rule->unit, sizeof(rule->unit), "precious*");
	rule_add(0, ACTION_DESTROY);
	assert_int_equal(policy_decide(&policy, &subject, 0).verdict, VERDICT_DESTROY);
	owner.flags = WIRE_OWNER_UNIT_TRUNCATED;
	assert_int_equal(policy_decide(&policy, &subject, 0).verdict, VERDICT_REPORT);
}

/* A cut unit is no reason not to match by other keys. */
static void
test_truncated_unit_and_other_keys(void **state)
{
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_COMM, ACTION_DESTROY);
	snprintf(rule->comm, sizeof(rule->comm), "nginx");
	owner.flags = WIRE_OWNER_UNIT_TRUNCATED;
	assert_true(matches());
}

/* The names are whatever bytes a process chose. */
static void
test_names_of_any_bytes(void **state)
{
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_COMM | RULE_UNIT, ACTION_DESTROY);
	memset(owner.comm, 0xff, sizeof(owner.comm) - 1);
	memset(owner.unit, 0x01, sizeof(owner.unit) - 1);
	snprintf(rule->comm, sizeof(rule->comm), "*");
	snprintf(rule->unit, sizeof(rule->unit), "*");
	assert_true(matches());
	snprintf(rule->comm, sizeof(rule->comm), "nginx*");
	assert_false(matches());
}

/* Nobody known: no rule about the owner matches, whatever it says. */
static void
test_unknown_owner(void **state)
{
	struct rule *rule;

	(void)state;
	subject.owner = NULL;
	subject.exit = EXIT_UNKNOWN;
	rule = rule_add(RULE_UNIT, ACTION_DESTROY);
	snprintf(rule->unit, sizeof(rule->unit), "*");
	snprintf(rule->comm, sizeof(rule->comm), "*");
	assert_false(matches());
	rule->keys = RULE_COMM;
	assert_false(matches());
	rule->keys = RULE_UID;
	assert_false(matches());
	rule->keys = RULE_EXIT;
	rule->exits = EXIT_BIT(EXIT_UNKNOWN);
	assert_true(matches());
}

/* ---- networks ---- */

static void
network_set(const char *text, uint8_t bits)
{
	struct rule *rule = &policy.rules[0];

	if (inet_pton(AF_INET6, text, rule->remote) == 1) {
		rule->remote_bits = bits;
		return;
	}
	memset(rule->remote, 0, 10);
	rule->remote[10] = rule->remote[11] = 0xff;
	assert_int_equal(inet_pton(AF_INET, text, rule->remote + 12), 1);
	rule->remote_bits = (uint8_t)(bits + 96);
}

static void
peer_set(const char *text)
{
	memset(tuple.dst, 0, sizeof(tuple.dst));
	tuple.family = strchr(text, ':') == NULL ? AF_INET : AF_INET6;
	assert_int_equal(inet_pton(tuple.family, text, tuple.dst), 1);
}

static void
test_networks(void **state)
{
	static const struct {
		const char *network;
		uint8_t bits;
		const char *peer;
		bool match;
	} cases[] = {
		{ "10.0.0.0", 8, "10.0.0.0", true },
		{ "10.0.0.0", 8, "10.255.255.255", true },
		{ "10.0.0.0", 8, "9.255.255.255", false },
		{ "10.0.0.0", 8, "11.0.0.0", false },
		{ "10.0.0.0", 8, "::ffff:10.1.2.3", true },
		{ "10.0.0.0", 8, "::ffff:11.1.2.3", false },
		{ "10.0.0.0", 8, "::10.1.2.3", false },
		{ "10.0.0.0", 8, "a00::", false },
		{ "192.168.4.0", 22, "192.168.7.255", true },
		{ "192.168.4.0", 22, "192.168.8.0", false },
		{ "192.168.4.0", 22, "192.168.3.255", false },
		{ "127.0.0.1", 32, "127.0.0.1", true },
		{ "127.0.0.1", 32, "127.0.0.0", false },
		{ "127.0.0.1", 32, "127.0.0.2", false },
		{ "127.0.0.1", 31, "127.0.0.1", true },
		{ "0.0.0.0", 0, "255.255.255.255", true },
		{ "0.0.0.0", 0, "::ffff:1.2.3.4", true },
		{ "0.0.0.0", 0, "::1", false },
		{ "0.0.0.0", 0, "::fffe:1.2.3.4", false },
		{ "128.0.0.0", 1, "128.0.0.0", true },
		{ "128.0.0.0", 1, "127.255.255.255", false },
		{ "::", 0, "1.2.3.4", true },
		{ "::", 0, "fe80::1", true },
		{ "fd00::", 8, "fdff:ffff::1", true },
		{ "fd00::", 8, "fe00::", false },
		{ "fd00::", 8, "fcff:ffff::", false },
		{ "2001:db8::", 33, "2001:db8:7fff:ffff::1", true },
		{ "2001:db8::", 33, "2001:db8:8000::", false },
		{ "2001:db8::1", 128, "2001:db8::1", true },
		{ "2001:db8::1", 128, "2001:db8::", false },
		{ "2001:db8::", 127, "2001:db8::1", true },
		{ "2001:db8::", 127, "2001:db8::2", false },
		{ "::ffff:0:0", 96, "1.2.3.4", true },
		{ "::ffff:10.0.0.0", 104, "10.1.2.3", true },
		{ "::1", 128, "::1", true },
		{ "::1", 128, "0.0.0.1", false },
	};

	(void)state;
	rule_add(RULE_REMOTE, ACTION_DESTROY);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		network_set(cases[i].network, cases[i].bits);
		peer_set(cases[i].peer);
		if (matches() != cases[i].match)
			fail_msg("%s/%u on %s", cases[i].network, cases[i].bits, cases[i].peer);
	}
}

/* All prefix lengths: the peer that differs in exactly one bit matches if that bit lies behind. */
static void
test_each_prefix(void **state)
{
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_REMOTE, ACTION_DESTROY);
	tuple.family = AF_INET6;
	for (unsigned bits = 0; bits <= 128; bits++) {
		for (unsigned b = 0; b < 128; b++) {
			memset(tuple.dst, 0, 16);
			memset(rule->remote, 0, 16);
			rule->remote_bits = (uint8_t)bits;
			tuple.dst[b / 8] = (uint8_t)(0x80 >> b % 8);
			assert_int_equal(matches(), b >= bits);
		}
	}
}

/* All keys at once: each of them alone can make the rule miss. */
static void
test_all_keys_must_hit(void **state)
{
	struct rule *rule;

	(void)state;
	rule = rule_add(RULE_EXIT | RULE_UNIT | RULE_COMM | RULE_UID | RULE_LOCAL_PORT |
				RULE_REMOTE | RULE_STATE | RULE_KIND,
		ACTION_DESTROY);
	rule->exits = EXIT_BIT(EXIT_KILL);
	rule->uid = 33;
	rule->port_first = rule->port_last = 8080;
	rule->states = TCP_STATE_BIT(TCP_STATE_FIN_WAIT1);
	snprintf(rule->unit, sizeof(rule->unit), "*.service");
	snprintf(rule->comm, sizeof(rule->comm), "nginx");
	network_set("10.0.0.0", 8);
	assert_true(matches());
	subject.exit = EXIT_OOM;
	assert_false(matches());
	subject.exit = EXIT_KILL;
	owner.uid++;
	assert_false(matches());
	owner.uid--;
	tuple.src_port++;
	assert_false(matches());
	tuple.src_port--;
	subject.state = TCP_STATE_LAST_ACK;
	assert_false(matches());
	subject.state = TCP_STATE_FIN_WAIT1;
	owner.unit[0] = '\0';
	assert_false(matches());
	memcpy(owner.unit, "x.service", 10);
	owner.comm[0] = 'N';
	assert_false(matches());
	owner.comm[0] = 'n';
	peer_set("11.0.0.1");
	assert_false(matches());
	peer_set("10.0.0.1");
	assert_true(matches());
}

/* ---- decisions ---- */

/* The documented matrix: AUTO and NONE let a death be acted on at once, by class. STUCK never does.
 */
static void
test_needs_proof(void **state)
{
	static const struct {
		enum exit_class exit;
		bool by_auto, by_none;
	} rows[] = {
		{ EXIT_CRASH, false, false },
		{ EXIT_KILL, false, false },
		{ EXIT_OOM, false, false },
		{ EXIT_CLOSED, true, true },
		{ EXIT_TERM, true, false },
		{ EXIT_ERROR, true, true },
		{ EXIT_CLEAN, true, true },
		{ EXIT_UNKNOWN, true, false },
	};
	struct rule rule = { 0 };

	(void)state;
	assert_int_equal(COUNT_OF(rows), EXIT_CLASSES);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		rule.require = REQUIRE_STUCK;
		assert_true(rule_needs_proof(&rule, rows[i].exit));
		rule.require = REQUIRE_AUTO;
		assert_int_equal(rule_needs_proof(&rule, rows[i].exit), rows[i].by_auto);
		rule.require = REQUIRE_NONE;
		assert_int_equal(rule_needs_proof(&rule, rows[i].exit), rows[i].by_none);
	}
}

/* Whatever the rule and the age: a ghost of an orderly death waits for its proof (I5). */
static void
test_orderly_deaths_never_destroyed(void **state)
{
	static const enum exit_class orderly[] = { EXIT_CLOSED, EXIT_ERROR, EXIT_CLEAN };
	static const enum policy_require requires[] = { REQUIRE_AUTO, REQUIRE_NONE, REQUIRE_STUCK };
	struct rule *rule;

	(void)state;
	rule = rule_add(0, ACTION_DESTROY);
	for (size_t e = 0; e < COUNT_OF(orderly); e++) {
		for (size_t r = 0; r < COUNT_OF(requires); r++) {
			struct decision d;

			subject.exit = orderly[e];
			rule->require = requires[r];
			d = policy_decide(&policy, &subject, UINT64_MAX);
			assert_int_equal(d.verdict, VERDICT_WAIT);
			assert_true(d.prove);
			assert_string_equal(d.reason, "proof");
			assert_ptr_equal(d.rule, rule);
		}
	}
}

static void
test_actions(void **state)
{
	struct rule *rule;
	struct decision d;

	(void)state;
	rule = rule_add(0, ACTION_REPORT);
	d = policy_decide(&policy, &subject, 0);
	assert_int_equal(d.verdict, VERDICT_REPORT);
	assert_string_equal(d.reason, "owner-killed");
	assert_ptr_equal(d.rule, rule);
	rule->action = ACTION_IGNORE;
	d = policy_decide(&policy, &subject, 0);
	assert_int_equal(d.verdict, VERDICT_IGNORE);
	assert_string_equal(d.reason, "owner-killed");
	rule->action = ACTION_DESTROY;
	d = policy_decide(&policy, &subject, 0);
	assert_int_equal(d.verdict, VERDICT_DESTROY);
	assert_string_equal(d.reason, "owner-killed");
}

static void
test_grace(void **state)
{
	struct rule *rule;
	struct decision d;

	(void)state;
	rule = rule_add(RULE_GRACE, ACTION_DESTROY);
	rule->grace_ns = 30 * NS_PER_S;
	d = policy_decide(&policy, &subject, 0);
	assert_int_equal(d.verdict, VERDICT_WAIT);
	assert_string_equal(d.reason, "grace");
	assert_true(d.grace_ns == 30 * NS_PER_S);
	assert_false(d.prove); /* the time is all it waits for */
	assert_int_equal(policy_decide(&policy, &subject, 30 * NS_PER_S - 1).verdict, VERDICT_WAIT);
	assert_int_equal(policy_decide(&policy, &subject, 30 * NS_PER_S).verdict, VERDICT_DESTROY);
	assert_int_equal(policy_decide(&policy, &subject, UINT64_MAX).verdict, VERDICT_DESTROY);
	assert_false(policy_decide(&policy, &subject, UINT64_MAX).prove);
	rule->require = REQUIRE_STUCK; /* then waiting alone brings nothing */
	for (uint64_t age = 0; age <= 60 * NS_PER_S; age += 30 * NS_PER_S) {
		d = policy_decide(&policy, &subject, age);
		assert_int_equal(d.verdict, VERDICT_WAIT);
		assert_true(d.prove && d.grace_ns == 30 * NS_PER_S);
	}
}

/* ---- the built-in policy ---- */

static void
default_expect(
	enum exit_class exit, const char *rule, enum policy_verdict verdict, const char *reason)
{
	struct decision d;

	subject.exit = exit;
	d = policy_decide(&policy, &subject, 0);
	assert_string_equal(d.rule->name, rule);
	assert_int_equal(d.verdict, verdict);
	assert_string_equal(d.reason, reason);
	assert_int_equal(d.prove, verdict == VERDICT_WAIT);
}

static void
test_default_decisions(void **state)
{
	(void)state;
	policy_default(&policy);
	default_expect(EXIT_CRASH, "killed", VERDICT_DESTROY, "owner-crashed");
	default_expect(EXIT_KILL, "killed", VERDICT_DESTROY, "owner-killed");
	default_expect(EXIT_OOM, "killed", VERDICT_DESTROY, "owner-oom");
	default_expect(EXIT_TERM, "stopped", VERDICT_WAIT, "proof");
	default_expect(EXIT_ERROR, "stopped", VERDICT_WAIT, "proof");
	default_expect(EXIT_CLEAN, "finished", VERDICT_REPORT, "owner-finished");
	default_expect(EXIT_CLOSED, "finished", VERDICT_REPORT, "owner-closed");
	default_expect(EXIT_UNKNOWN, "adopted", VERDICT_REPORT, "owner-unknown");
}

static void
test_default_values(void **state)
{
	(void)state;
	memset(&policy, 0xff, sizeof(policy));
	policy_default(&policy);
	assert_int_equal(policy.mode, MODE_ENFORCE);
	assert_string_equal(policy.audit_log, "/var/log/eghostbuster/audit.jsonl");
	assert_true(policy.destroy_limit.count == 50000 && policy.destroy_limit.per_ns == NS_PER_S);
	assert_true(policy.unit_limit.count == 200000 && policy.unit_limit.per_ns == 60 * NS_PER_S);
	assert_true(policy.breaker_hold_ns == 300 * NS_PER_S);
	assert_int_equal(policy.rule_count, 4);
	assert_true(policy.rules[0].grace_ns == 0 && policy.rules[0].require == REQUIRE_AUTO);
	assert_true(policy.rules[1].grace_ns == 30 * NS_PER_S);
	assert_int_equal(policy.rules[1].require, REQUIRE_STUCK);
}

static void
test_names(void **state)
{
	(void)state;
	assert_string_equal(verdict_name(VERDICT_DESTROY), "destroy");
	assert_string_equal(verdict_name(VERDICT_REPORT), "report");
	assert_string_equal(verdict_name(VERDICT_WAIT), "wait");
	assert_string_equal(verdict_name(VERDICT_IGNORE), "ignore");
	assert_string_equal(action_name(ACTION_DESTROY), "destroy");
	assert_string_equal(action_name(ACTION_REPORT), "report");
	assert_string_equal(action_name(ACTION_IGNORE), "ignore");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_first_match_wins, setup),
		cmocka_unit_test_setup(test_no_rule, setup),
		cmocka_unit_test_setup(test_a_rule_without_keys_matches_all, setup),
		cmocka_unit_test_setup(test_exit_key, setup),
		cmocka_unit_test_setup(test_state_key, setup),
		cmocka_unit_test_setup(test_uid_key, setup),
		cmocka_unit_test_setup(test_local_port_key, setup),
		cmocka_unit_test_setup(test_comm_key, setup),
		cmocka_unit_test_setup(test_unit_key, setup),
		cmocka_unit_test_setup(test_truncated_unit, setup),
		cmocka_unit_test_setup(test_truncated_unit_and_a_rule_that_spares, setup),
		cmocka_unit_test_setup(test_truncated_unit_and_other_keys, setup),
		cmocka_unit_test_setup(test_names_of_any_bytes, setup),
		cmocka_unit_test_setup(test_unknown_owner, setup),
		cmocka_unit_test_setup(test_networks, setup),
		cmocka_unit_test_setup(test_each_prefix, setup),
		cmocka_unit_test_setup(test_all_keys_must_hit, setup),
		cmocka_unit_test_setup(test_needs_proof, setup),
		cmocka_unit_test_setup(test_orderly_deaths_never_destroyed, setup),
		cmocka_unit_test_setup(test_actions, setup),
		cmocka_unit_test_setup(test_grace, setup),
		cmocka_unit_test_setup(test_default_decisions, setup),
		cmocka_unit_test_setup(test_default_values, setup),
		cmocka_unit_test_setup(test_names, setup),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
