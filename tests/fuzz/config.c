/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: broker/config.c broker/policy.c broker/quantity.c broker/exitclass.c proto/wire.c | pkg: inih */
/* clang-format on */
/*
 * The input is a configuration file. What is accepted is printed, read back and is the same, and
 * decides on all kinds of deaths; what is refused is refused by file and line.
 */
#include "fuzz.h"

#include <sys/socket.h>

#include "broker/config.h"

#define PATH "fuzz.conf"

/* A sum of all lines a file may have: more text than any policy prints. */
static char printed[2 * CONFIG_TEXT_MAX], again[2 * CONFIG_TEXT_MAX];
static struct policy policy, back;

enum goal { GOAL_REFUSED, GOAL_REPORT, GOAL_DESTROY, GOAL_PROVE, GOALS };
FUZZ_GOALS(GOALS);

static void
error_require(const char *error, const uint8_t *text, size_t len)
{
	unsigned long line, lines = 1;
	char *end;

	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	REQUIRE(strncmp(error, PATH ":", strlen(PATH) + 1) == 0);
	line = strtoul(error + strlen(PATH) + 1, &end, 10);
	REQUIRE(end > error + strlen(PATH) + 1 && strncmp(end, ": ", 2) == 0 && end[2] != '\0');
	REQUIRE(line <= lines && (line >= 1 || len == 0));
	REQUIRE(strlen(error) < CONFIG_ERROR_MAX && strchr(error, '\n') == NULL);
}

static void
rule_same(const struct rule *a, const struct rule *b)
{
	/* A grace that was not given is printed as the 0s that it is. */
	uint32_t not_given = a->action == ACTION_DESTROY ? RULE_GRACE : 0;

	REQUIRE(strcmp(a->name, b->name) == 0);
	REQUIRE((a->keys | not_given) == (b->keys | not_given));
	REQUIRE(a->exits == b->exits && a->action == b->action && a->require == b->require);
	REQUIRE(a->grace_ns == b->grace_ns && a->uid == b->uid && a->states == b->states);
	REQUIRE(strcmp(a->unit, b->unit) == 0 && strcmp(a->comm, b->comm) == 0);
	REQUIRE(a->port_first == b->port_first && a->port_last == b->port_last);
	REQUIRE(a->remote_bits == b->remote_bits);
	REQUIRE(memcmp(a->remote, b->remote, sizeof(a->remote)) == 0);
}

static void
policy_same(const struct policy *a, const struct policy *b)
{
	REQUIRE(a->mode == b->mode && strcmp(a->audit_log, b->audit_log) == 0);
	REQUIRE(strcmp(a->control_group, b->control_group) == 0);
	REQUIRE(a->linux_audit == b->linux_audit && a->journald == b->journald);
	REQUIRE(a->destroy_limit.count == b->destroy_limit.count);
	REQUIRE(a->destroy_limit.per_ns == b->destroy_limit.per_ns);
	REQUIRE(a->unit_limit.count == b->unit_limit.count);
	REQUIRE(a->unit_limit.per_ns == b->unit_limit.per_ns);
	REQUIRE(a->breaker_hold_ns == b->breaker_hold_ns && a->rule_count == b->rule_count);
	REQUIRE(a->rule_count >= 1 && a->rule_count <= POLICY_RULES_MAX);
	for (unsigned i = 0; i < a->rule_count; i++)
		rule_same(&a->rules[i], &b->rules[i]);
}

static void
round_trip(void)
{
	char error[CONFIG_ERROR_MAX];
	size_t len = config_print(&policy, printed, sizeof(printed));

	REQUIRE(len > 0 && len == strlen(printed));
	REQUIRE(config_parse(PATH, printed, len, &back, error));
	policy_same(&policy, &back);
	REQUIRE(config_print(&back, again, sizeof(again)) == len);
	REQUIRE(memcmp(printed, again, len) == 0);
}

static void
decide(const struct wire_owner *owner, const struct wire_tuple *tuple, enum exit_class exit,
	uint8_t state)
{
	struct subject subject = { .exit = exit, .owner = owner, .tuple = tuple, .state = state };
	struct decision d = policy_decide(&policy, &subject, 0);
	const struct rule *rule = policy_match(&policy, &subject);

	REQUIRE(d.reason != NULL && d.rule == rule);
	REQUIRE(verdict_name(d.verdict) != NULL);
	REACHED(d.verdict == VERDICT_DESTROY ? GOAL_DESTROY : d.prove ? GOAL_PROVE : GOAL_REPORT);
	if (d.verdict != VERDICT_DESTROY && d.verdict != VERDICT_WAIT)
		return;
	REQUIRE(rule->action == ACTION_DESTROY);
	/* Whatever the file says, after an orderly end nothing goes without proof. */
	REQUIRE((EXIT_BIT(exit) & EXIT_BITS_ORDERLY) == 0 || d.prove);
	REQUIRE(!d.prove || d.verdict == VERDICT_WAIT);
	REQUIRE((rule->keys & RULE_STATE) == 0 || (rule->states & TCP_STATE_BIT(state)) != 0);
	REQUIRE(owner != NULL || (rule->keys & (RULE_UNIT | RULE_COMM | RULE_UID)) == 0);
}

static void
decide_all(void)
{
	static const struct wire_owner owners[] = {
		{ .tgid = 1, .comm = "nginx", .unit = "nginx.service", .uid = 33 },
		{ .tgid = 1, .comm = "[a\\*?]]", .unit = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab" },
		{ .tgid = 1, .flags = WIRE_OWNER_UNIT_TRUNCATED },
	};
	static const struct wire_tuple tuples[] = {
		{ .family = AF_INET, .src_port = 80, .dst = { 10, 0, 0, 1 } },
		{ .family = AF_INET6, .src_port = 65535, .dst = { 0xfd, [15] = 1 } },
	};

	for (enum exit_class exit = EXIT_CRASH; exit < EXIT_CLASSES; exit++) {
		decide(NULL, &tuples[exit % 2], exit, TCP_STATE_LAST_ACK);
		for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
			decide(&owners[i], &tuples[0], exit, TCP_STATE_FIN_WAIT1);
			decide(&owners[i], &tuples[1], exit, TCP_STATE_TIME_WAIT);
		}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	char error[CONFIG_ERROR_MAX];
	size_t len = size;
	uint8_t *text = input_copy(&in, &len);

	if (config_parse(PATH, (const char *)text, len, &policy, error)) {
		round_trip();
		decide_all();
	} else {
		REACHED(GOAL_REFUSED);
		error_require(error, text, len);
	}
	free(text);
	return 0;
}
