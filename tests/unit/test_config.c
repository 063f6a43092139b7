/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/config.c broker/policy.c broker/quantity.c broker/exitclass.c proto/wire.c | pkg: inih */
/* clang-format on */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "broker/config.h"
#include "proto/scalars.h"

#define PATH   "/etc/test.conf"
#define REPORT "[rule a]\naction = report\n"

static struct policy policy;
static char error[CONFIG_ERROR_MAX];

/* From memory of exactly len bytes, so that a sanitizer sees a read behind them. */
static bool
parse_bytes(const char *text, size_t len, struct policy *to)
{
	char *copy = malloc(len + (len == 0));
	bool good;

	assert_non_null(copy);
	memcpy(copy, text, len);
	memset(error, '#', sizeof(error));
	good = config_parse(PATH, copy, len, to, error);
	free(copy);
	return good;
}

static bool
parse(const char *text)
{
	return parse_bytes(text, strlen(text), &policy);
}

static void
parse_good(const char *text)
{
	if (!parse(text))
		fail_msg("'%s' is refused: %s", text, error);
}

/* ---- good text ---- */

static const char sample[] =
	"[daemon]\n"
	"mode = enforce                ; enforce | observe (decide and log, touch nothing)\n"
	"audit_log = /var/log/eghostbuster/audit.jsonl\n"
	"destroy_limit = 50000/s       ; the reaper enforces it on its own\n"
	"unit_limit = 200000/min       ; breaker: over it the unit goes to report for "
	"breaker_hold\n"
	"breaker_hold = 5min\n"
	"record_budget = 10000/min\n"
	"audit_sync = never\n"
	"linux_audit = no\njournald = no\n"
	"\n"
	"[rule killed]\n"
	"exit = crash kill oom         ; see the classes below\n"
	"action = destroy              ; destroy | report | ignore\n"
	"grace = 0s                    ; at once\n"
	"\n"
	"[rule stopped]\n"
	"exit = term error\n"
	"action = destroy\n"
	"grace = 30s\n"
	"require = stuck               ; stuck | none\n"
	"\n"
	"[rule finished]\n"
	"exit = clean closed           ; the kernel gives a paused peer 4-7 minutes\n"
	"action = report\n"
	"\n"
	"[rule adopted]\n"
	"exit = unknown\n"
	"action = report\n";

static bool
rule_equal(const struct rule *a, const struct rule *b)
{
	struct rule x = *a, y = *b;

	x.line = y.line = 0;
	return x.keys == y.keys && x.exits == y.exits && x.action == y.action &&
	       x.require == y.require && x.grace_ns == y.grace_ns && x.uid == y.uid &&
	       x.port_first == y.port_first && x.port_last == y.port_last &&
	       x.remote_bits == y.remote_bits && x.states == y.states &&
	       memcmp(x.remote, y.remote, sizeof(x.remote)) == 0 && strcmp(x.name, y.name) == 0 &&
	       strcmp(x.unit, y.unit) == 0 && strcmp(x.comm, y.comm) == 0;
}

static void
assert_policy_equal(const struct policy *a, const struct policy *b)
{
	assert_int_equal(a->mode, b->mode);
	assert_string_equal(a->audit_log, b->audit_log);
	assert_memory_equal(&a->destroy_limit, &b->destroy_limit, sizeof(a->destroy_limit));
	assert_memory_equal(&a->unit_limit, &b->unit_limit, sizeof(a->unit_limit));
	assert_true(a->breaker_hold_ns == b->breaker_hold_ns);
	assert_memory_equal(&a->record_budget, &b->record_budget, sizeof(a->record_budget));
	assert_true(a->audit_sync_ns == b->audit_sync_ns);
	assert_string_equal(a->control_group, b->control_group);
	assert_int_equal(a->linux_audit, b->linux_audit);
	assert_int_equal(a->journald, b->journald);
	assert_int_equal(a->rule_count, b->rule_count);
	for (unsigned i = 0; i < a->rule_count; i++) {
		if (!rule_equal(&a->rules[i], &b->rules[i]))
			fail_msg("rule %u, '%s', is not the same", i, a->rules[i].name);
	}
}

/* The sample of the documentation is the built-in policy, written out. */
static void
test_sample(void **state)
{
	struct policy built_in;

	(void)state;
	parse_good(sample);
	policy_default(&built_in);
	assert_policy_equal(&policy, &built_in);
	assert_int_equal(policy.rules[0].line, 12);
	assert_int_equal(policy.rules[3].line, 27);
}

static void
test_every_key(void **state)
{
	const struct rule *r = &policy.rules[0];

	(void)state;
	parse_good("[daemon]\nmode = observe\naudit_log = /a/b c\ndestroy_limit = 7/s\n"
		   "unit_limit = 8/h\nbreaker_hold = 9ms\nrecord_budget = 10/min\n"
		   "audit_sync = 1500ms\n"
		   "control_group = _a-b.C$9\nlinux_audit = yes\njournald = yes\n"
		   "[rule all.of-them_1]\nexit = term\nunit = *.service\ncomm = n?inx\nuid = "
		   "4294967294\n"
		   "local_port = 8000-8099\nremote = fd00::/8\nstate = fin-wait-1 time-wait\nkind "
		   "= tcp\n"
		   "action = destroy\ngrace = 1d\nrequire = none\n");
	assert_int_equal(policy.mode, MODE_OBSERVE);
	assert_string_equal(policy.audit_log, "/a/b c");
	assert_true(policy.destroy_limit.count == 7 && policy.unit_limit.count == 8);
	assert_true(policy.breaker_hold_ns == 9 * NS_PER_MS);
	assert_true(
		policy.record_budget.count == 10 && policy.record_budget.per_ns == 60 * NS_PER_S);
	assert_true(policy.audit_sync_ns == 1500 * NS_PER_MS);
	assert_string_equal(policy.control_group, "_a-b.C$9");
	assert_true(policy.linux_audit && policy.journald);
	assert_int_equal(policy.rule_count, 1);
	assert_string_equal(r->name, "all.of-them_1");
	assert_int_equal(r->keys, 0x7ff);
	assert_int_equal(r->exits, EXIT_BIT(EXIT_TERM));
	assert_true(r->action == ACTION_DESTROY && r->require == REQUIRE_NONE);
	assert_true(r->grace_ns == 86400 * NS_PER_S && r->uid == UINT32_MAX - 1);
	assert_string_equal(r->unit, "*.service");
	assert_string_equal(r->comm, "n?inx");
	assert_true(r->port_first == 8000 && r->port_last == 8099);
	assert_true(r->remote[0] == 0xfd && r->remote_bits == 8);
	assert_int_equal(
		r->states, TCP_STATE_BIT(TCP_STATE_FIN_WAIT1) | TCP_STATE_BIT(TCP_STATE_TIME_WAIT));
}

/* What is not said is as in the built-in policy; rules are not. */
static void
test_defaults(void **state)
{
	struct policy built_in;

	(void)state;
	parse_good(REPORT);
	policy_default(&built_in);
	built_in.rule_count = 1;
	built_in.rules[0] =
		(struct rule){ .name = "a", .keys = RULE_ACTION, .action = ACTION_REPORT };
	assert_policy_equal(&policy, &built_in);
}

/* Layout that people and editors make. */
static void
test_layout(void **state)
{
	static const char *const same[] = {
		"[rule a]\naction = report",
		"[rule a]\r\naction = report\r\n",
		"\r\n[rule a]\r\n\r\naction = report\r\n",
		"[rule a]\naction=report\n",
		"[rule a]\naction: report\n",
		"  [rule a]  \n\taction \t=\t report \t\n",
		"\v[rule a]\n\f\raction = report\n",
		"[rule   a]\naction = report\n",
		"[rule a];c\naction = report ;c\n",
		"[rule a] ; [rule b]\naction = report\n",
		"# c\n; c\n  ; c\n  # = c\n[rule a]\n;\n#\naction = report\n; [x\n",
		"\xef\xbb\xbf[rule a]\naction = report\n",
		"\xef\xbb\xbf; c\n[rule a]\naction = report\n",
		"\xef\xbb\xbf  [rule a]\naction = report\n",
		"\n\n\n[rule a]\n\n\naction = report\n\n\n",
	};
	struct policy plain;

	(void)state;
	parse_good(REPORT);
	plain = policy;
	for (size_t i = 0; i < COUNT_OF(same); i++) {
		parse_good(same[i]);
		assert_policy_equal(&policy, &plain);
	}
}

/* An indented line is a line of its own, not more of the value above it. */
static void
test_indented_keys(void **state)
{
	(void)state;
	parse_good("[rule a]\n  exit = kill\n    action = destroy\n\tgrace = 5s\n  \n");
	assert_int_equal(policy.rules[0].keys, RULE_EXIT | RULE_ACTION | RULE_GRACE);
	assert_true(policy.rules[0].grace_ns == 5 * NS_PER_S);
}

static void
test_daemon_may_come_last(void **state)
{
	(void)state;
	parse_good(REPORT "[daemon]\nmode = observe\n");
	assert_int_equal(policy.mode, MODE_OBSERVE);
	parse_good(REPORT "[daemon]\nmode = observe\n[rule b]\naction = ignore\n");
	assert_int_equal(policy.rules[1].action, ACTION_IGNORE);
}

static void
test_networks(void **state)
{
	static const struct {
		const char *text, *printed;
		uint8_t bits;
	} good[] = {
		{ "10.0.0.0/8", "10.0.0.0/8", 104 },
		{ "10.1.2.3", "10.1.2.3/32", 128 },
		{ "0.0.0.0/0", "0.0.0.0/0", 96 },
		{ "128.0.0.0/1", "128.0.0.0/1", 97 },
		{ "::/0", "::/0", 0 },
		{ "::1", "::1/128", 128 },
		{ "fd00::/8", "fd00::/8", 8 },
		{ "2001:DB8::/33", "2001:db8::/33", 33 },
		{ "::ffff:10.0.0.0/104", "10.0.0.0/8", 104 },
		{ "::ffff:0:0/96", "0.0.0.0/0", 96 },
	};
	char text[128], out[4096];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		snprintf(text, sizeof(text), REPORT "remote = %s\n", good[i].text);
		parse_good(text);
		assert_int_equal(policy.rules[0].remote_bits, good[i].bits);
		out[config_print(&policy, out, sizeof(out) - 1)] = '\0';
		snprintf(text, sizeof(text), "\nremote = %s\n", good[i].printed);
		assert_non_null(strstr(out, text));
	}
}

static void
test_limits_that_fit(void **state)
{
	char text[512], name[45], pattern[PATTERN_MAX];

	(void)state;
	memset(name, 'n', sizeof(name) - 1); /* "rule " before it: 49 bytes */
	name[sizeof(name) - 1] = '\0';
	memset(pattern, 'p', sizeof(pattern) - 1);
	pattern[sizeof(pattern) - 1] = '\0';
	snprintf(text, sizeof(text), "[rule %s]\naction = report\nunit = %s\ncomm = %s\n", name,
		pattern, pattern);
	parse_good(text);
	assert_string_equal(policy.rules[0].name, name);
	assert_string_equal(policy.rules[0].unit, pattern);
	assert_string_equal(policy.rules[0].comm, pattern);
}

/* ---- errors ---- */

#define A "[rule a]\n"

static const struct {
	const char *text;
	unsigned line;
	const char *part;
} errors[] = {
	/* sections */
	{ "[nonsense]\nmode = observe\n", 1, "unknown section [nonsense]" },
	{ REPORT "\n[Daemon]\nmode = observe\n", 4, "unknown section [Daemon]" },
	{ "[daemons]\nmode = observe\n", 1, "unknown section [daemons]" },
	{ "[rule]\naction = report\n", 1, "unknown section [rule]" },
	{ "[rules a]\naction = report\n", 1, "unknown section [rules a]" },
	{ "[ rule a]\naction = report\n", 1, "unknown section [ rule a]" },
	{ "[]\naction = report\n", 1, "unknown section []" },
	{ "\xef\xbb\xbf[nonsense]\nmode = observe\n" REPORT, 1, "unknown section [nonsense]" },
	{ "[rule ]\naction = report\n", 1, "a rule's name" },
	{ "[rule a b]\naction = report\n", 1, "a rule's name" },
	{ "[rule a ]\naction = report\n", 1, "a rule's name" },
	{ "[rule a/b]\naction = report\n", 1, "a rule's name" },
	{ "[rule \xc3\xa9]\naction = report\n", 1, "a rule's name" },
	{ "[rule a\naction = report\n", 1, "needs its ']'" },
	{ REPORT "[rule b\naction = report\n", 3, "needs its ']'" },
	{ "[rule a ; b]\naction = report\n", 1, "needs its ']'" },
	{ "[rule a] exit = kill\naction = destroy\n", 1, "behind the section" },
	{ "[rule a]]\naction = report\n", 1, "behind the section" },
	{ REPORT "[rule b]\n", 3, "this section is empty" },
	{ "[daemon]\n" REPORT, 1, "this section is empty" },
	{ "[rule b]\n; nothing\n\n" REPORT, 1, "this section is empty" },
	{ "[rule b]\n\v" REPORT, 1, "this section is empty" },
	{ "\xef\xbb\xbf[rule b]\n" REPORT, 1, "this section is empty" },
	{ REPORT "\n" REPORT, 4, "the rule 'a' is there twice, first in line 1" },
	{ REPORT "[rule  a]\naction = ignore\n", 3,
		"the rule 'a' is there twice, first in line 1" },
	{ "[daemon]\nmode = observe\n" REPORT "[daemon]\nmode = observe\n", 5,
		"the section [daemon] is there twice" },
	{ "\xef\xbb\xbf[daemon]\nmode = observe\n[daemon]\nunit_limit = 1/s\n" REPORT, 3,
		"the section [daemon] is there twice" },

	/* keys */
	{ "mode = observe\n", 1, "'mode' stands before the first section" },
	{ "\n\n  a = b\n" REPORT, 3, "'a' stands before the first section" },
	{ A "exits = kill\naction = report\n", 2, "unknown key 'exits' in [rule a]" },
	{ A "Action = report\n", 2, "unknown key 'Action' in [rule a]" },
	{ A "mode = observe\naction = report\n", 2, "unknown key 'mode' in [rule a]" },
	{ A "= report\n", 2, "unknown key '' in [rule a]" },
	{ "[daemon]\naction = report\n" REPORT, 2, "unknown key 'action' in [daemon]" },
	{ A "action = report\naction = report\n", 3, "'action' is there twice" },
	{ A "  action = report\n  action = report\n", 3, "'action' is there twice" },
	{ "[daemon]\nmode = observe\nmode = enforce\n" REPORT, 3, "'mode' is there twice" },
	{ A "action = report\nuid = 1\n\nuid = 1\n", 5, "'uid' is there twice" },
	{ A "action =\n", 2, "'action' has no value" },
	{ A "action = ; report\n", 2, "'action' has no value" },
	{ A "action = report\nunit =;x\n", 3, "begins with a ';'" },
	{ A "action\n", 2, "expected [section], key = value or ; comment" },
	{ A "action = report\n\n\nnonsense\n", 5, "expected [section], key = value or ; comment" },
	{ A "exit = kill\n  oom\naction = report\n", 3, "expected [section], key = value" },

	/* values of [daemon] */
	{ "[daemon]\nmode = Observe\n", 2, "mode = Observe: expected enforce or observe" },
	{ "[daemon]\nmode = enforce;observe\n", 2, "expected enforce or observe" },
	{ "[daemon]\naudit_log = audit.jsonl\n", 2, "expected the absolute path" },
	{ "[daemon]\naudit_log = /var/log/\n", 2, "expected the absolute path" },
	{ "[daemon]\naudit_log = /\n", 2, "expected the absolute path" },
	{ "[daemon]\n\ndestroy_limit = 50000\n", 3, "destroy_limit = 50000: expected a rate" },
	{ "[daemon]\ndestroy_limit = 0/s\n", 2, "expected a rate" },
	{ "[daemon]\ndestroy_limit = -1/s\n", 2, "expected a rate" },
	{ "[daemon]\nunit_limit = 1/d\n", 2, "unit_limit = 1/d: expected a rate" },
	{ "[daemon]\nunit_limit = 1000000001/s\n", 2, "expected a rate" },
	{ "[daemon]\nrecord_budget = 0/min\n", 2, "record_budget = 0/min: expected a rate" },
	{ "[daemon]\nlinux_audit = on\n", 2, "linux_audit = on: expected yes or no" },
	{ "[daemon]\njournald = Yes\n", 2, "journald = Yes: expected yes or no" },
	{ "[daemon]\ncontrol_group = 4294967295\n", 2, "expected a group's name or number" },
	{ "[daemon]\ncontrol_group = 99999999999\n", 2, "expected a group's name or number" },
	{ "[daemon]\ncontrol_group = -1\n", 2, "control_group = -1: expected a group's" },
	{ "[daemon]\ncontrol_group = domain users\n", 2, "expected a group's name or number" },
	{ "[daemon]\ncontrol_group = abcdefghijklmnopqrstuvwxyzabcdefg\n", 2,
		"expected a group's" },
	{ "[daemon]\nbreaker_hold = 300\n", 2, "breaker_hold = 300: expected a duration" },
	{ "[daemon]\nbreaker_hold = 367d\n", 2, "expected a duration" },
	{ "[daemon]\naudit_sync = 5\n", 2,
		"audit_sync = 5: expected never, always, or a duration" },
	{ "[daemon]\naudit_sync = Never\n", 2, "audit_sync = Never: expected never, always" },

	/* values of rules */
	{ A "action = kill\n", 2, "action = kill: expected destroy, report or ignore" },
	{ A "action = destroy report\n", 2, "expected destroy, report or ignore" },
	{ A "action = none\n", 2, "expected destroy, report or ignore" },
	{ A "action = destroy\ngrace = 30\n", 3, "grace = 30: expected a duration" },
	{ A "action = destroy\ngrace = -1s\n", 3, "expected a duration" },
	{ A "action = destroy\nrequire = proof\n", 3, "require = proof: expected stuck or none" },
	{ A "action = destroy\nrequire = auto\n", 3, "expected stuck or none" },
	{ A "exit = kill crashed\n", 2, "exit: 'crashed' is none; expected some of crash kill" },
	{ A "exit = kill, oom\n", 2, "exit: 'kill,' is none" },
	{ A "exit = kill kill\n", 2, "exit: 'kill' is named twice" },
	{ A "state = established\n", 2, "state: 'established' is none" },
	{ A "state = close-wait\n", 2, "state: 'close-wait' is none" },
	{ A "state = listen\n", 2, "state: 'listen' is none" },
	{ A "state = closing closing\n", 2, "state: 'closing' is named twice" },
	{ A "kind = udp\n", 2, "kind: 'udp' is none; expected some of tcp" },
	{ A "uid = root\n", 2, "uid = root: expected a number" },
	{ A "uid = -1\n", 2, "expected a number" },
	{ A "uid = +1\n", 2, "expected a number" },
	{ A "uid = 4294967295\n", 2, "expected a number, 0 to 4294967294" },
	{ A "uid = 18446744073709551616\n", 2, "expected a number" },
	{ A "uid = 1 2\n", 2, "expected a number" },
	{ A "uid = 0x10\n", 2, "expected a number" },
	{ A "local_port = 0\n", 2, "local_port = 0: expected a port or a range" },
	{ A "local_port = 65536\n", 2, "expected a port" },
	{ A "local_port = 18446744073709551617\n", 2, "expected a port" },
	{ A "local_port = 90-80\n", 2, "expected a port" },
	{ A "local_port = 80-\n", 2, "expected a port" },
	{ A "local_port = -80\n", 2, "expected a port" },
	{ A "local_port = 80 - 90\n", 2, "expected a port" },
	{ A "local_port = 80-90-99\n", 2, "expected a port" },
	{ A "local_port = 80-65536\n", 2, "expected a port" },
	{ A "local_port = http\n", 2, "expected a port" },
	{ A "remote = example.org\n", 2, "remote = example.org: expected an address or a network" },
	{ A "remote = 10.0.0/8\n", 2, "expected an address" },
	{ A "remote = 10.0.0.0/\n", 2, "expected an address" },
	{ A "remote = 10.0.0.0/33\n", 2, "expected an address" },
	{ A "remote = 10.0.0.0/-1\n", 2, "expected an address" },
	{ A "remote = 10.0.0.0/8/8\n", 2, "expected an address" },
	{ A "remote = 10.0.0.0/255.0.0.0\n", 2, "expected an address" },
	{ A "remote = 010.0.0.0/8\n", 2, "expected an address" },
	{ A "remote = fd00::/129\n", 2, "expected an address" },
	{ A "remote = fe80::1%eth0\n", 2, "expected an address" },
	{ A "remote = /8\n", 2, "expected an address" },
	{ A "remote = 10.0.0.1/8\n", 2, "bits are set behind the prefix" },
	{ A "remote = 10.0.0.1/31\n", 2, "bits are set behind the prefix" },
	{ A "remote = ::1/0\n", 2, "bits are set behind the prefix" },
	{ A "remote = ::ffff:10.0.0.0/80\n", 2, "bits are set behind the prefix" },

	/* whole rules */
	{ A "exit = kill\n", 1, "the rule 'a' has no action" },
	{ "[rule b]\naction = report\n\n[rule a]\nexit = kill\n", 4, "the rule 'a' has no action" },
	{ A "action = report\ngrace = 1s\n", 1, "the rule 'a' destroys nothing" },
	{ A "require = stuck\naction = ignore\n", 1, "the rule 'a' destroys nothing" },
	{ "[daemon]\nmode = observe\n", 2, "no rule" },
	{ "\n", 1, "no rule" },
	{ "; nothing\n# but comments", 2, "no rule" },
};

/* "PATH:LINE: text" on one line. */
static void
assert_error(const char *what, unsigned line, const char *part)
{
	char place[64];

	snprintf(place, sizeof(place), PATH ":%u: ", line);
	if (strncmp(error, place, strlen(place)) != 0 || strstr(error, part) == NULL)
		fail_msg("'%s': expected %s...%s, found %s", what, place, part, error);
	assert_null(strchr(error, '\n'));
}

static void
test_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(errors); i++) {
		if (parse(errors[i].text))
			fail_msg("'%s' is taken", errors[i].text);
		assert_error(errors[i].text, errors[i].line, errors[i].part);
	}
}

static void
test_empty(void **state)
{
	(void)state;
	assert_false(parse(""));
	assert_non_null(strstr(error, "no rule"));
	assert_false(parse("\xef\xbb\xbf"));
	assert_non_null(strstr(error, "no rule"));
}

/* After orderly deaths data in flight is the peer's: no rule that covers one may go without proof.
 */
static void
test_require_none(void **state)
{
	char text[256];

	(void)state;
	assert_false(parse(A "action = destroy\nrequire = none\n")); /* covers all */
	assert_error("no exit", 1, "may not say require = none");
	for (unsigned c = 0; c < EXIT_CLASSES; c++) {
		bool orderly = c == EXIT_CLEAN || c == EXIT_CLOSED || c == EXIT_ERROR;

		snprintf(text, sizeof(text), A "require = none\naction = destroy\nexit = %s\n",
			exit_class_name((enum exit_class)c));
		assert_int_equal(parse(text), !orderly);
		snprintf(text, sizeof(text), A "require = none\naction = destroy\nexit = oom %s\n",
			exit_class_name((enum exit_class)c));
		if (c != EXIT_OOM)
			assert_int_equal(parse(text), !orderly);
		if (orderly)
			assert_error(text, 1, "may not say require = none");
	}
}

static void
test_nul(void **state)
{
	static const char base[] = "[daemon]\nmode = observe\n" REPORT "; end\n";
	char text[sizeof(base)];

	(void)state;
	for (size_t at = 0; at < sizeof(base) - 1; at++) {
		unsigned line = 1;

		memcpy(text, base, sizeof(base));
		for (size_t i = 0; i < at; i++)
			line += text[i] == '\n';
		text[at] = '\0';
		assert_false(parse_bytes(text, sizeof(text) - 1, &policy));
		assert_error("NUL", line, "a NUL byte");
	}
}

/* Up to 198 bytes are taken; the library would make two lines of a longer one. */
static void
test_long_lines(void **state)
{
	char text[1024], path[512];

	(void)state;
	for (int len = 150; len <= 400; len++) {
		memset(path, 'p', sizeof(path));
		snprintf(
			text, sizeof(text), "[daemon]\naudit_log = /%.*s\n" REPORT, len - 13, path);
		assert_int_equal(parse(text), len <= 198);
		if (len > 198)
			assert_error("long", 2, "a line of ");
		else
			assert_int_equal(strlen(policy.audit_log), len - 12);
		snprintf(text, sizeof(text), REPORT "\n;%.*s", len - 1, path);
		assert_int_equal(parse(text), len <= 198);
		if (len > 198)
			assert_error("long comment", 4, "a line of ");
	}
}

static void
test_long_names_and_patterns(void **state)
{
	char text[512], name[200];

	(void)state;
	memset(name, 'n', sizeof(name));
	for (int len = 45; len <= 180; len++) {
		snprintf(text, sizeof(text), REPORT "[rule %.*s]\naction = report\n", len, name);
		assert_false(parse(text));
		assert_error("name", 3, "a section name of more than 49 bytes");
	}
	for (int len = PATTERN_MAX; len <= 190; len++) {
		snprintf(text, sizeof(text), REPORT "unit = %.*s\n", len, name);
		assert_false(parse(text));
		assert_error("unit", 3, "unit: a pattern of more than 127 bytes");
		snprintf(text, sizeof(text), REPORT "comm = %.*s\n", len, name);
		assert_false(parse(text));
		assert_error("comm", 3, "comm: a pattern of more than 127 bytes");
	}
}

static void
test_too_many_rules(void **state)
{
	char text[8192];
	size_t used = 0;

	(void)state;
	for (unsigned i = 0; i <= POLICY_RULES_MAX; i++) {
		if (i == POLICY_RULES_MAX)
			parse_good(text);
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "[rule r%u]\naction = report\n", i);
	}
	assert_false(parse(text));
	assert_error("rules", 2 * POLICY_RULES_MAX + 1, "more than 64 rules");
}

/* The first of several errors is the one that is named. */
static void
test_first_error(void **state)
{
	(void)state;
	assert_false(parse("[daemon]\nmode = x\nunit_limit = y\n[rule ?]\n"));
	assert_error("several", 2, "mode = x");
	assert_false(parse(A "exit = kill\n[rule b]\nuid = x\n"));
	assert_error("several", 4, "uid = x");
}

/* A path that leaves no room for the text is still named. */
static void
test_long_path(void **state)
{
	char path[2 * CONFIG_ERROR_MAX], text[CONFIG_ERROR_MAX + 1];

	(void)state;
	memset(path, 'p', sizeof(path) - 1);
	for (size_t len = CONFIG_ERROR_MAX - 100; len < sizeof(path); len++) {
		path[len] = '\0';
		memset(text, '#', sizeof(text));
		assert_false(config_parse(path, "x = y", 5, &policy, text));
		assert_in_range(strnlen(text, CONFIG_ERROR_MAX), CONFIG_ERROR_MAX - 100,
			CONFIG_ERROR_MAX - 1);
		assert_int_equal(text[CONFIG_ERROR_MAX], '#');
		path[len] = 'p';
	}
}

/* ---- printing ---- */

static char printed[CONFIG_TEXT_MAX], again[CONFIG_TEXT_MAX];

/* What is printed is read back to the same policy, and that prints the same. */
static void
round_trip(const struct policy *p)
{
	static struct policy back;
	size_t len = config_print(p, printed, sizeof(printed));

	assert_true(len > 0);
	if (!parse_bytes(printed, len, &back))
		fail_msg("%s in:\n%.*s", error, (int)len, printed);
	assert_policy_equal(p, &back);
	assert_int_equal(config_print(&back, again, sizeof(again)), len);
	assert_memory_equal(printed, again, len);
}

static void
test_print_known(void **state)
{
	struct policy built_in;

	(void)state;
	policy_default(&built_in);
	round_trip(&built_in);
	parse_good(sample);
	round_trip(&policy);
}

/* Each size too small gives 0 and nothing behind the buffer. */
static void
test_print_borders(void **state)
{
	size_t whole;
	char *out;

	(void)state;
	parse_good(sample);
	whole = config_print(&policy, printed, sizeof(printed));
	for (size_t size = 1; size <= whole + 2; size++) {
		out = malloc(size + 1);
		assert_non_null(out);
		out[size] = '#';
		assert_int_equal(config_print(&policy, out, size), size > whole ? whole : 0);
		assert_int_equal(out[size], '#');
		free(out);
	}
}

/* Any bytes that a line of the file can give a pattern: neither a comment nor space at its ends. */
static void
random_pattern(char out[PATTERN_MAX])
{
	static const char bytes[] = "abcxyz019*?[]!-.=:#;/\\ %\"'\x01\x1b\x7f\x80\xc3\xa9\xff";
	size_t len = 1 + random_below(random_below(8) == 0 ? PATTERN_MAX - 1 : 12);

	for (size_t i = 0; i < len; i++) {
		out[i] = bytes[random_below(sizeof(bytes) - 1)];
		if ((out[i] == ' ' && (i == 0 || i == len - 1)) ||
			(out[i] == ';' && (i == 0 || out[i - 1] == ' ')))
			out[i] = '+';
	}
	out[len] = '\0';
}

static void
random_name(char out[RULE_NAME_MAX], unsigned number)
{
	static const char bytes[] = "abcxyzABCXYZ0123456789_.-";
	size_t len = random_below(40);

	for (size_t i = 0; i < len; i++)
		out[i] = bytes[random_below(sizeof(bytes) - 1)];
	snprintf(out + len, RULE_NAME_MAX - len, "-%u", number);
}

static void
random_remote(struct rule *rule)
{
	bool v4 = random_below(2) == 0;

	random_fill(rule->remote, 16);
	if (v4)
		memcpy(rule->remote, (const uint8_t[12]){ [10] = 0xff, [11] = 0xff }, 12);
	rule->remote_bits = (uint8_t)(v4 ? 96 + random_below(33) : random_below(129));
	for (unsigned b = rule->remote_bits; b < 128; b++)
		rule->remote[b / 8] &= (uint8_t) ~(0x80u >> b % 8);
}

static uint64_t
random_duration(void)
{
	static const uint64_t units[] = { NS_PER_MS, NS_PER_S, 60 * NS_PER_S, 3600 * NS_PER_S };

	return random_below(8000) * units[random_below(4)];
}

static struct rate
random_rate(void)
{
	static const uint64_t spans[] = { NS_PER_S, 60 * NS_PER_S, 3600 * NS_PER_S };

	return (struct rate){ 1 + random_below(1000000000), spans[random_below(3)] };
}

static void
random_action(struct rule *rule)
{
	bool orderly = (rule->keys & RULE_EXIT) == 0 || (rule->exits & EXIT_BITS_ORDERLY) != 0;

	rule->keys |= RULE_ACTION;
	rule->action = (enum policy_action)(ACTION_DESTROY + random_below(3));
	if (rule->action != ACTION_DESTROY)
		return;
	rule->keys |= RULE_GRACE;
	rule->grace_ns = random_duration();
	rule->require = (enum policy_require)random_below(3);
	if (rule->require == REQUIRE_NONE && orderly)
		rule->require = REQUIRE_STUCK;
	if (rule->require != REQUIRE_AUTO)
		rule->keys |= RULE_REQUIRE;
}

/* As the parser leaves it: fields without their key are zero. */
static void
random_rule(struct rule *rule, unsigned number)
{
	const uint32_t states = TCP_STATES_ORPHAN | TCP_STATE_BIT(TCP_STATE_TIME_WAIT);

	*rule = (struct rule){ .keys = (uint32_t)random_next() & 0x7f1 };
	random_name(rule->name, number);
	if ((rule->keys & RULE_EXIT) != 0)
		rule->exits = 1 + (uint32_t)random_below(EXIT_BIT_ALL);
	if ((rule->keys & RULE_UNIT) != 0)
		random_pattern(rule->unit);
	if ((rule->keys & RULE_COMM) != 0)
		random_pattern(rule->comm);
	if ((rule->keys & RULE_UID) != 0)
		rule->uid = (uint32_t)random_below(UINT32_MAX);
	if ((rule->keys & RULE_LOCAL_PORT) != 0) {
		rule->port_first = (uint16_t)(1 + random_below(65535));
		rule->port_last =
			(uint16_t)(rule->port_first + random_below(65536u - rule->port_first));
	}
	if ((rule->keys & RULE_REMOTE) != 0)
		random_remote(rule);
	while ((rule->keys & RULE_STATE) != 0 && rule->states == 0)
		rule->states = (uint32_t)random_next() & states;
	random_action(rule);
}

static void
test_print_random(void **state)
{
	(void)state;
	random_start();
	for (unsigned n = 0; n < 500; n++) {
		policy = (struct policy){ .mode = (enum policy_mode)random_below(2),
			.destroy_limit = random_rate(),
			.unit_limit = random_rate(),
			.breaker_hold_ns = random_duration(),
			.record_budget = random_rate(),
			.audit_sync_ns =
				random_below(3) == 0 ? AUDIT_SYNC_NEVER : random_duration(),
			.linux_audit = random_below(2) == 0,
			.journald = random_below(2) == 0,
			.rule_count = 1 + (unsigned)random_below(
						  random_below(10) == 0 ? POLICY_RULES_MAX : 8) };
		policy.audit_log[0] = '/';
		random_pattern(policy.audit_log + 1);
		if (random_below(2) == 0)
			snprintf(policy.control_group, sizeof(policy.control_group), "%s%u",
				random_below(2) == 0 ? "g" : "",
				(unsigned)random_below(UINT32_MAX));
		if (policy.audit_log[strlen(policy.audit_log) - 1] == '/')
			strcat(policy.audit_log, "x");
		for (unsigned i = 0; i < policy.rule_count; i++)
			random_rule(&policy.rules[i], i);
		round_trip(&policy);
	}
}

/* ---- fuzz ---- */

/* Whatever the text: one line of error that names a line of it, or a policy that prints and reads
 * back. */
static void
any_text(const char *text, size_t len)
{
	unsigned long line, lines = 1;
	char *end;

	if (parse_bytes(text, len, &policy)) {
		for (unsigned i = 0; i < policy.rule_count; i++) {
			policy.rules[i].keys |=
				policy.rules[i].action == ACTION_DESTROY ? RULE_GRACE : 0;
		}
		round_trip(&policy);
		return;
	}
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	assert_int_equal(strncmp(error, PATH ":", strlen(PATH ":")), 0);
	line = strtoul(error + strlen(PATH ":"), &end, 10);
	assert_in_range(line, len == 0 ? 0 : 1, lines);
	assert_memory_equal(end, ": ", 2);
	assert_null(strchr(error, '\n'));
}

static void
test_fuzz(void **state)
{
	static const char bytes[] = "\n\n\r \t\v\f;#[]=:0/-.*ak\x01\xef\xbb\xbf\xff";
	char text[sizeof(sample)];

	(void)state;
	random_start();
	for (unsigned n = 0; n < 20000; n++) {
		size_t start = random_below(4) == 0 ? 190 : 0; /* behind [daemon] */
		size_t len = 1 + random_below(sizeof(sample) - 1 - start);

		memcpy(text, sample + start, len);
		for (uint64_t changes = random_below(4); changes > 0; changes--)
			text[random_below(len)] = bytes[random_below(sizeof(bytes) - 1)];
		any_text(text, len);
	}
}

/* The most that is read from a file. */
static void
test_garbage(void **state)
{
	static const char *const alphabets[] = { "\n", " ", "[", ";", "=\n", "[rule a]\n", "a=b\n",
		" \t\r\n;#[]=:aA0" };
	char *text = malloc(CONFIG_TEXT_MAX);

	(void)state;
	random_start();
	assert_non_null(text);
	for (size_t a = 0; a < COUNT_OF(alphabets); a++) {
		for (size_t i = 0; i < CONFIG_TEXT_MAX; i++)
			text[i] = alphabets[a][i % strlen(alphabets[a])];
		any_text(text, CONFIG_TEXT_MAX);
		for (size_t i = 0; i < CONFIG_TEXT_MAX; i++)
			text[i] = alphabets[a][random_below(strlen(alphabets[a]))];
		any_text(text, CONFIG_TEXT_MAX);
	}
	random_fill(text, CONFIG_TEXT_MAX);
	any_text(text, CONFIG_TEXT_MAX);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_every_key),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_indented_keys),
		cmocka_unit_test(test_daemon_may_come_last),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_limits_that_fit),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_require_none),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_long_names_and_patterns),
		cmocka_unit_test(test_too_many_rules),
		cmocka_unit_test(test_first_error),
		cmocka_unit_test(test_long_path),
		cmocka_unit_test(test_print_known),
		cmocka_unit_test(test_print_borders),
		cmocka_unit_test(test_print_random),
		cmocka_unit_test(test_fuzz),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
