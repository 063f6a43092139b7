/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/config.c broker/policy.c broker/quantity.c broker/exitclass.c proto/wire.c | pkg: inih */
/* clang-format on */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <signal.h>

#include "broker/config.h"
#include "proto/scalars.h"

/*
 * Random rule sets, written as a user would write them, and random ghosts. What the policy says to
 * each is compared with a second, naive reading of the documentation, which works on the words of
 * the rules themselves: no bits, no shared code, nothing clever. It also says which rule sets must
 * be refused.
 */

#define SETS	      4000
#define GHOSTS_A_SET  25
#define SIM_RULES_MAX 8
#define TEXT_MAX      16384
#define WORDS_MAX     8

static const char *const class_words[] = { "crash", "kill", "oom", "closed", "term", "error",
	"clean", "unknown" };
static const char *const state_words[] = { "fin-wait-1", "fin-wait-2", "closing", "last-ack",
	"time-wait" };
static const uint8_t state_numbers[] = { TCP_STATE_FIN_WAIT1, TCP_STATE_FIN_WAIT2,
	TCP_STATE_CLOSING, TCP_STATE_LAST_ACK, TCP_STATE_TIME_WAIT };

struct words {
	const char *word[WORDS_MAX];
	size_t count; /* 0: the key is not given */
};

/* A rule as it is written. NULL, 0 and -1 are keys that are not given. */
struct sim_rule {
	char name[16];
	struct words exits, states;
	const char *action; /* NULL: forgotten */
	const char *grace_unit;
	unsigned grace;
	const char *require;
	char unit[24], comm[24]; /* "": not given */
	int64_t uid;
	int first_port, last_port; /* 0: not given */
	uint8_t remote[16];
	int remote_family, remote_bits; /* family 0: not given */
	bool kind;
	const char *mistake; /* a line too many */
};

struct sim_set {
	struct sim_rule rules[SIM_RULES_MAX];
	size_t count;
};

/* A ghost, as words. */
struct sim_ghost {
	struct wire_owner owner;
	bool owner_known;
	struct wire_tuple tuple;
	const char *class;
	const char *state;
	uint8_t state_number;
	uint64_t age_ns;
};

/* What is to be done, in words. */
struct sim_answer {
	const char *verdict, *reason;
	const char *rule; /* NULL: none */
	bool prove;
};

static bool
chance(unsigned of_hundred)
{
	return random_below(100) < of_hundred;
}

static bool
same(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static bool
has_word(const struct words *words, const char *word)
{
	for (size_t i = 0; i < words->count; i++) {
		if (same(words->word[i], word))
			return true;
	}
	return false;
}

/* ---- the naive reading ---- */

/* What a bracket [...] says of c; *end is set behind it. */
static bool
naive_bracket(const char *p, char c, const char **end)
{
	bool negated = *p == '!', found = false;

	p += negated;
	for (bool first = true; first || *p != ']'; first = false, p++) {
		if (p[1] == '-' && p[2] != ']') {
			found = found || (p[0] <= c && c <= p[2]);
			p += 2;
		} else {
			found = found || *p == c;
		}
	}
	*end = p + 1;
	return found != negated;
}

static bool
naive_glob(const char *p, const char *text)
{
	const char *end;

	if (*p == '\0')
		return *text == '\0';
	if (*p == '*')
		return naive_glob(p + 1, text) || (*text != '\0' && naive_glob(p, text + 1));
	if (*text == '\0')
		return false;
	if (*p == '?')
		return naive_glob(p + 1, text + 1);
	if (*p == '[')
		return naive_bracket(p + 1, *text, &end) && naive_glob(end, text + 1);
	if (*p == '\\')
		p++;
	return *p == *text && naive_glob(p + 1, text + 1);
}

static bool
bit_of(const uint8_t *bytes, int bit)
{
	return bytes[bit / 8] >> (7 - bit % 8) & 1;
}

static bool
is_v4_mapped(const uint8_t *v6)
{
	for (int i = 0; i < 10; i++) {
		if (v6[i] != 0)
			return false;
	}
	return v6[10] == 0xff && v6[11] == 0xff;
}

/* An IPv4 network covers IPv4 peers, also of IPv6 sockets; an IPv6 network covers IPv4 peers by the
 * address they have there. */
static bool
naive_remote(const struct sim_rule *rule, const struct wire_tuple *tuple)
{
	uint8_t peer[16] = { [10] = 0xff, [11] = 0xff };
	const uint8_t *compared = peer;

	if (tuple->family == AF_INET6)
		memcpy(peer, tuple->dst, 16);
	else
		memcpy(peer + 12, tuple->dst, 4);
	if (rule->remote_family == AF_INET) {
		if (!is_v4_mapped(peer))
			return false;
		compared = peer + 12;
	}
	for (int bit = 0; bit < rule->remote_bits; bit++) {
		if (bit_of(compared, bit) != bit_of(rule->remote, bit))
			return false;
	}
	return true;
}

/* A unit's name that was cut may be any: rules that leave alone cover it, those that destroy do
 * not. */
static bool
naive_unit(const struct sim_rule *rule, const struct sim_ghost *ghost)
{
	if (!ghost->owner_known)
		return false;
	if (ghost->owner.flags & WIRE_OWNER_UNIT_TRUNCATED)
		return !same(rule->action, "destroy");
	return naive_glob(rule->unit, ghost->owner.unit);
}

static bool
naive_match(const struct sim_rule *rule, const struct sim_ghost *ghost)
{
	int port = ghost->tuple.src_port;

	if (rule->exits.count && !has_word(&rule->exits, ghost->class))
		return false;
	if (rule->states.count && !has_word(&rule->states, ghost->state))
		return false;
	if (rule->first_port && (port < rule->first_port || port > rule->last_port))
		return false;
	if (rule->remote_family && !naive_remote(rule, &ghost->tuple))
		return false;
	if (rule->unit[0] && !naive_unit(rule, ghost))
		return false;
	if (rule->comm[0] && !(ghost->owner_known && naive_glob(rule->comm, ghost->owner.comm)))
		return false;
	return rule->uid < 0 || (ghost->owner_known && ghost->owner.uid == rule->uid);
}

static bool
is_orderly(const char *class)
{
	return same(class, "closed") || same(class, "error") || same(class, "clean");
}

static bool
naive_needs_proof(const struct sim_rule *rule, const char *class)
{
	if (is_orderly(class))
		return true;
	if (rule->require != NULL)
		return same(rule->require, "stuck");
	return same(class, "term") || same(class, "unknown");
}

static uint64_t
naive_grace_ns(const struct sim_rule *rule)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = { { "ms", 1000000 }, { "s", 1000000000 }, { "min", 60000000000 },
		{ "h", 3600000000000 }, { "d", 86400000000000 } };

	for (size_t i = 0; rule->grace_unit != NULL && i < COUNT_OF(units); i++) {
		if (same(units[i].unit, rule->grace_unit))
			return rule->grace * units[i].ns;
	}
	return 0;
}

static const char *
naive_reason(const char *class)
{
	static const char *const reasons[][2] = { { "crash", "owner-crashed" },
		{ "kill", "owner-killed" }, { "oom", "owner-oom" }, { "closed", "owner-closed" },
		{ "term", "owner-terminated" }, { "error", "owner-failed" },
		{ "clean", "owner-finished" }, { "unknown", "owner-unknown" } };

	for (size_t i = 0; i < COUNT_OF(reasons); i++) {
		if (same(reasons[i][0], class))
			return reasons[i][1];
	}
	return "?";
}

static struct sim_answer
naive_answer(const struct sim_rule *rule, const struct sim_ghost *ghost)
{
	if (!same(rule->action, "destroy"))
		return (struct sim_answer){ rule->action, naive_reason(ghost->class), rule->name,
			false };
	if (naive_needs_proof(rule, ghost->class))
		return (struct sim_answer){ "wait", "proof", rule->name, true };
	if (ghost->age_ns < naive_grace_ns(rule))
		return (struct sim_answer){ "wait", "grace", rule->name, false };
	return (struct sim_answer){ "destroy", naive_reason(ghost->class), rule->name, false };
}

static struct sim_answer
naive_decide(const struct sim_set *set, const struct sim_ghost *ghost)
{
	for (size_t i = 0; i < set->count; i++) {
		if (naive_match(&set->rules[i], ghost))
			return naive_answer(&set->rules[i], ghost);
	}
	return (struct sim_answer){ "report", "no-rule", NULL, false };
}

static bool
naive_covers_orderly(const struct sim_rule *rule)
{
	return rule->exits.count == 0 || has_word(&rule->exits, "closed") ||
	       has_word(&rule->exits, "error") || has_word(&rule->exits, "clean");
}

static bool
naive_rule_valid(const struct sim_rule *rule)
{
	if (rule->action == NULL || rule->mistake != NULL)
		return false;
	if (!same(rule->action, "destroy"))
		return rule->grace_unit == NULL && rule->require == NULL;
	return rule->require == NULL || same(rule->require, "stuck") || !naive_covers_orderly(rule);
}

static bool
naive_valid(const struct sim_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		if (!naive_rule_valid(&set->rules[i]))
			return false;
		for (size_t j = 0; j < i; j++) {
			if (same(set->rules[i].name, set->rules[j].name))
				return false;
		}
	}
	return set->count != 0;
}

/* signal(7): those that dump core by default. */
static const char *
naive_class(uint32_t code, bool oom)
{
	static const int core[] = { SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV,
		SIGXCPU, SIGXFSZ, SIGSYS };

	if (WIFEXITED((int)code))
		return WEXITSTATUS((int)code) == 0 ? "clean" : "error";
	if (WTERMSIG((int)code) == SIGKILL)
		return oom ? "oom" : "kill";
	for (size_t i = 0; i < COUNT_OF(core); i++) {
		if (WTERMSIG((int)code) == core[i])
			return "crash";
	}
	return "term";
}

/* ---- random rules ---- */

static void
words_random(struct words *words, const char *const *all, size_t count)
{
	words->count = 0;
	for (size_t i = 0; i < count; i++) {
		if (chance(40))
			words->word[words->count++] = all[i];
	}
	for (size_t i = words->count; i > 1; i--) { /* in any order */
		size_t j = random_below(i);
		const char *word = words->word[i - 1];

		words->word[i - 1] = words->word[j];
		words->word[j] = word;
	}
}

/* Few letters, so that patterns do match. */
static void
name_random(char *out, size_t max)
{
	size_t len = random_below(max + 1);

	for (size_t i = 0; i < len; i++)
		out[i] = "aab.*"[random_below(5)];
	out[len] = '\0';
}

static void
glob_random(char out[24])
{
	static const char *const pieces[] = { "a", "a", "b", ".", "*", "*", "?", "[ab]", "[!a]",
		"[.-b]", "\\*", "[]a]" };

	out[0] = '\0';
	do
		strcat(out, pieces[random_below(COUNT_OF(pieces))]);
	while (strlen(out) < 18 && chance(60));
}

/* Few networks, for the same reason. */
static void
address_random(uint8_t out[16], int family)
{
	uint8_t v4[16];

	memset(out, 0, 16);
	if (family == AF_INET) {
		out[0] = 10;
		out[1] = (uint8_t)random_below(3);
		out[3] = (uint8_t)random_below(4);
		return;
	}
	if (chance(30)) {
		address_random(v4, AF_INET);
		memcpy(out + 12, v4, 4);
		out[10] = out[11] = 0xff;
		return;
	}
	out[0] = 0xfd;
	out[1] = (uint8_t)random_below(3);
	out[15] = (uint8_t)random_below(4);
}

static void
remote_random(struct sim_rule *rule)
{
	rule->remote_family = chance(50) ? AF_INET : AF_INET6;
	address_random(rule->remote, rule->remote_family);
	rule->remote_bits = (int)random_below(rule->remote_family == AF_INET ? 33 : 129);
	for (int bit = rule->remote_bits; bit < 128; bit++)
		rule->remote[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

static void
rule_match_random(struct sim_rule *rule)
{
	if (chance(60))
		words_random(&rule->exits, class_words, COUNT_OF(class_words));
	if (chance(25))
		words_random(&rule->states, state_words, COUNT_OF(state_words));
	if (chance(25))
		glob_random(rule->unit);
	if (chance(25))
		glob_random(rule->comm);
	if (chance(20))
		rule->uid = (int64_t)random_below(3);
	if (chance(20)) {
		rule->first_port = 1 + (int)random_below(10);
		rule->last_port = rule->first_port + (int)random_below(5);
	}
	if (chance(25))
		remote_random(rule);
	rule->kind = chance(20);
}

static void
rule_action_random(struct sim_rule *rule)
{
	static const char *const actions[] = { "destroy", "destroy", "report", "ignore" };
	static const char *const grace_units[] = { "ms", "s", "min", "h", "d" };
	bool destroys;

	rule->action = actions[random_below(COUNT_OF(actions))];
	destroys = same(rule->action, "destroy");
	if (chance(destroys ? 50 : 1)) {
		rule->grace = (unsigned)random_below(5);
		rule->grace_unit = grace_units[random_below(COUNT_OF(grace_units))];
	}
	if (chance(destroys ? 40 : 1))
		rule->require = chance(80) || naive_covers_orderly(rule) ? "stuck" : "none";
	if (destroys && chance(2))
		rule->require = "none"; /* whatever it covers */
}

static void
rule_random(struct sim_rule *rule, unsigned number)
{
	static const char *const mistakes[] = { "action = report\n", "colour = red\n",
		"exit = drowned\n", "uid = -1\n", "local_port = 9-3\n", "remote = 10.0.0.1/8\n",
		"kind = udp\n", "state = established\n", "grace\n" };

	*rule = (struct sim_rule){ .uid = -1 };
	snprintf(rule->name, sizeof(rule->name), "rule-%u", chance(1) ? 0 : number);
	rule_match_random(rule);
	rule_action_random(rule);
	if (chance(1))
		rule->action = NULL;
	if (chance(1))
		rule->mistake = mistakes[random_below(COUNT_OF(mistakes))];
}

static void
set_random(struct sim_set *set)
{
	set->count = chance(2) ? 0 : 1 + random_below(SIM_RULES_MAX);
	for (size_t i = 0; i < set->count; i++)
		rule_random(&set->rules[i], (unsigned)i);
}

/* ---- rules as text ---- */

static char text[TEXT_MAX];

static void __attribute__((format(printf, 1, 2))) put(const char *fmt, ...)
{
	size_t used = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + used, sizeof(text) - used, fmt, ap);
	va_end(ap);
}

/* What a user may do with a line without changing what it says. */
static void
put_line(const char *key, const char *value)
{
	static const char *const before[] = { "", "", "  ", "\t", "; a comment\n", "\n",
		"# another\n" };
	static const char *const equals[] = { " = ", "=", "= ", "  =  ", ":" };
	static const char *const after[] = { "", "", " ", " ; why", "\t; x = y" };

	put("%s%s%s%s%s\n", before[random_below(COUNT_OF(before))], key,
		equals[random_below(COUNT_OF(equals))], value,
		after[random_below(COUNT_OF(after))]);
}

static void
put_words(const char *key, const struct words *words)
{
	char value[128] = "";

	if (words->count == 0)
		return;
	for (size_t i = 0; i < words->count; i++) {
		strcat(value, words->word[i]);
		strcat(value, i + 1 == words->count ? "" : chance(80) ? " " : " \t ");
	}
	put_line(key, value);
}

static void
put_remote(const struct sim_rule *rule)
{
	char address[INET6_ADDRSTRLEN], value[80];
	int all = rule->remote_family == AF_INET ? 32 : 128;

	if (!rule->remote_family)
		return;
	inet_ntop(rule->remote_family, rule->remote, address, sizeof(address));
	if (rule->remote_bits == all && chance(50))
		put_line("remote", address);
	else {
		snprintf(value, sizeof(value), "%s/%d", address, rule->remote_bits);
		put_line("remote", value);
	}
}

static void
put_port(const struct sim_rule *rule)
{
	char value[32];

	if (!rule->first_port)
		return;
	snprintf(value, sizeof(value), "%d-%d", rule->first_port, rule->last_port);
	if (rule->first_port == rule->last_port && chance(50))
		*strchr(value, '-') = '\0';
	put_line("local_port", value);
}

static void
put_uid(const struct sim_rule *rule)
{
	char value[32];

	snprintf(value, sizeof(value), "%lld", (long long)rule->uid);
	if (rule->uid >= 0)
		put_line("uid", value);
}

static void
put_grace(const struct sim_rule *rule)
{
	char value[32];

	if (rule->grace_unit == NULL)
		return;
	snprintf(value, sizeof(value), "%u%s", rule->grace, rule->grace_unit);
	put_line("grace", value);
}

static void
put_key(const struct sim_rule *rule, unsigned key)
{
	switch (key) {
	case 0:
		put_words("exit", &rule->exits);
		break;
	case 1:
		put_words("state", &rule->states);
		break;
	case 2:
		put_remote(rule);
		break;
	case 3:
		put_port(rule);
		break;
	case 4:
		put_uid(rule);
		break;
	case 5:
		put_grace(rule);
		break;
	case 6:
		if (rule->unit[0])
			put_line("unit", rule->unit);
		break;
	case 7:
		if (rule->comm[0])
			put_line("comm", rule->comm);
		break;
	case 8:
		if (rule->action)
			put_line("action", rule->action);
		break;
	case 9:
		if (rule->require)
			put_line("require", rule->require);
		break;
	default:
		if (rule->kind)
			put_line("kind", "tcp");
	}
}

#define SIM_KEYS 11u

/* Its keys in any order. A section without a key would be refused for that. */
static void
put_rule(const struct sim_rule *rule)
{
	unsigned first = (unsigned)random_below(SIM_KEYS);

	put("%s[rule %s]%s\n", chance(50) ? "\n" : "", rule->name,
		chance(10) ? " ; a comment" : "");
	for (unsigned i = 0; i < SIM_KEYS; i++)
		put_key(rule, (first + i * 3) % SIM_KEYS);
	if (rule->mistake != NULL)
		put("%s", rule->mistake);
	if (rule->mistake != NULL && same(rule->mistake, "action = report\n") &&
		rule->action == NULL)
		put("%s", rule->mistake);
}

static void
put_set(const struct sim_set *set)
{
	text[0] = '\0';
	if (chance(30))
		put("[daemon]\nmode = %s\nunit_limit = 10/min\n",
			chance(50) ? "observe" : "enforce");
	for (size_t i = 0; i < set->count; i++)
		put_rule(&set->rules[i]);
}

/* ---- random ghosts ---- */

static void
ghost_owner_random(struct sim_ghost *ghost)
{
	static const int signals[] = { SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGALRM, SIGQUIT,
		SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS,
		SIGUSR1, 34 };
	bool by_signal = chance(60);
	uint32_t status = (uint32_t)(chance(40) ? 0 : random_below(256)) << 8;
	uint32_t number = (uint32_t)signals[random_below(COUNT_OF(signals))];

	ghost->owner.uid = (uint32_t)random_below(3);
	ghost->owner.exit_code = by_signal ? number | (chance(30) ? 0x80 : 0) : status;
	ghost->owner.flags =
		(chance(30) ? WIRE_OWNER_OOM : 0) | (chance(5) ? WIRE_OWNER_UNIT_TRUNCATED : 0);
	name_random(ghost->owner.unit, 6);
	name_random(ghost->owner.comm, 6);
}

static void
ghost_random(struct sim_ghost *ghost)
{
	static const uint64_t ages[] = { 0, 1, 1000000, 3000000, 999999999, 1000000000, 2000000000,
		120000000000, 7200000000000, 345600000000000 };
	size_t state = random_below(COUNT_OF(state_words));

	*ghost = (struct sim_ghost){ .owner_known = chance(85),
		.state = state_words[state],
		.state_number = state_numbers[state],
		.age_ns = ages[random_below(COUNT_OF(ages))] };
	ghost_owner_random(ghost);
	if (!ghost->owner_known)
		ghost->class = "unknown";
	else if (chance(15))
		ghost->class = "closed";
	else
		ghost->class = naive_class(
			ghost->owner.exit_code, (ghost->owner.flags & WIRE_OWNER_OOM) != 0);
	ghost->tuple.family = chance(50) ? AF_INET : AF_INET6;
	ghost->tuple.src_port = (uint16_t)(1 + random_below(16));
	address_random(ghost->tuple.dst, ghost->tuple.family);
}

/* The class as the broker finds it. */
static enum exit_class
exit_of(const struct sim_ghost *ghost)
{
	if (!ghost->owner_known)
		return EXIT_UNKNOWN;
	if (same(ghost->class, "closed"))
		return EXIT_CLOSED;
	return exit_classify(ghost->owner.exit_code, (ghost->owner.flags & WIRE_OWNER_OOM) != 0);
}

/* ---- comparing ---- */

static struct policy policy, again;
static char error[CONFIG_ERROR_MAX];

static void
assert_same_answer(
	const struct policy *by, const struct sim_set *set, const struct sim_ghost *ghost)
{
	struct subject subject = { .exit = exit_of(ghost),
		.owner = ghost->owner_known ? &ghost->owner : NULL,
		.tuple = &ghost->tuple,
		.state = ghost->state_number };
	struct decision d = policy_decide(by, &subject, ghost->age_ns);
	struct sim_answer expected = naive_decide(set, ghost);
	const char *rule = d.rule == NULL ? "none" : d.rule->name;
	const char *wanted = expected.rule == NULL ? "none" : expected.rule;

	if (!same(exit_class_name(subject.exit), ghost->class))
		fail_msg("exit code %#x is %s, expected %s", ghost->owner.exit_code,
			exit_class_name(subject.exit), ghost->class);
	if (!same(verdict_name(d.verdict), expected.verdict) || !same(d.reason, expected.reason) ||
		!same(rule, wanted) || d.prove != expected.prove)
		fail_msg("%s\n%s ghost in %s, unit '%s', comm '%s', uid %u, port %u, age %llu ns: "
			 "rule "
			 "%s, %s (%s)%s; expected rule %s, %s (%s)%s",
			text, ghost->class, ghost->state, ghost->owner.unit, ghost->owner.comm,
			ghost->owner.uid, ghost->tuple.src_port, (unsigned long long)ghost->age_ns,
			rule, verdict_name(d.verdict), d.reason, d.prove ? " prove" : "", wanted,
			expected.verdict, expected.reason, expected.prove ? " prove" : "");
	if (d.verdict == VERDICT_WAIT)
		assert_int_equal(d.grace_ns, d.rule->grace_ns);
}

/* Returns whether the set was good, and counts the rules that were met. */
static bool
simulate(struct sim_set *set)
{
	static char printed[TEXT_MAX];
	struct sim_ghost ghost;
	size_t len;

	set_random(set);
	put_set(set);
	if (config_parse("sim", text, strlen(text), &policy, error) != naive_valid(set))
		fail_msg("%s\nis %s: %s", text, error[0] ? "refused" : "taken", error);
	if (!naive_valid(set))
		return false;
	len = config_print(&policy, printed, sizeof(printed));
	assert_int_not_equal(len, 0);
	if (!config_parse("printed", printed, len, &again, error))
		fail_msg("%s\nis printed as\n%s\nand refused: %s", text, printed, error);
	for (int i = 0; i < GHOSTS_A_SET; i++) {
		ghost_random(&ghost);
		assert_same_answer(&policy, set, &ghost);
		assert_same_answer(&again, set, &ghost);
	}
	return true;
}

static void
test_simulator(void **state)
{
	static struct sim_set set;
	unsigned good = 0;

	(void)state;
	for (int i = 0; i < SETS; i++)
		good += simulate(&set);
	assert_in_range(good, SETS / 2, SETS - 1); /* both kinds were there */
}

/* All answers are reached, or the comparison says little. */
static void
test_every_answer_is_met(void **state)
{
	static const char *const verdicts[] = { "destroy", "report", "wait", "ignore" };
	unsigned met[COUNT_OF(verdicts)] = { 0 }, no_rule = 0, proofs = 0;
	static struct sim_set set;
	struct sim_ghost ghost;

	(void)state;
	for (int i = 0; i < SETS; i++) {
		set_random(&set);
		ghost_random(&ghost);
		if (!naive_valid(&set))
			continue;
		struct sim_answer answer = naive_decide(&set, &ghost);
		for (size_t v = 0; v < COUNT_OF(verdicts); v++)
			met[v] += same(answer.verdict, verdicts[v]);
		no_rule += answer.rule == NULL;
		proofs += answer.prove;
	}
	for (size_t v = 0; v < COUNT_OF(verdicts); v++)
		assert_in_range(met[v], SETS / 100, SETS);
	assert_in_range(no_rule, SETS / 100, SETS);
	assert_in_range(proofs, SETS / 100, SETS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_simulator),
		cmocka_unit_test(test_every_answer_is_met),
	};

	random_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
