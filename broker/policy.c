/* SPDX-License-Identifier: Apache-2.0 */
#include "policy.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/fds.h"
#include "proto/scalars.h"

static const uint8_t v4_mapped[12] = { [10] = 0xff, [11] = 0xff };

/* All addresses are compared as IPv6, so that a rule for 10.0.0.0/8 also covers a v4-mapped peer.
 */
static void
address_map(const struct wire_tuple *tuple, uint8_t out[16])
{
	if (tuple->family == AF_INET6) {
		memcpy(out, tuple->dst, 16);
		return;
	}
	memcpy(out, v4_mapped, sizeof(v4_mapped));
	memcpy(out + 12, tuple->dst, 4);
}

static bool
remote_matches(const struct rule *rule, const struct wire_tuple *tuple)
{
	unsigned bytes = rule->remote_bits / 8, rest = rule->remote_bits % 8;
	uint8_t address[16];

	address_map(tuple, address);
	if (memcmp(address, rule->remote, bytes) != 0)
		return false;
	return rest == 0 || ((address[bytes] ^ rule->remote[bytes]) >> (8 - rest)) == 0;
}

/* A name that was cut may be any: it is covered by every rule that leaves alone, and by none that
 * destroys. */
static bool
unit_matches(const struct rule *rule, const struct wire_owner *owner)
{
	if (owner == NULL)
		return false;
	if ((owner->flags & WIRE_OWNER_UNIT_TRUNCATED) != 0)
		return rule->action != ACTION_DESTROY;
	return fnmatch(rule->unit, owner->unit, 0) == 0;
}

static bool
owner_matches(const struct rule *rule, const struct wire_owner *owner)
{
	if ((rule->keys & RULE_UNIT) != 0 && !unit_matches(rule, owner))
		return false;
	if ((rule->keys & RULE_COMM) != 0 &&
		(owner == NULL || fnmatch(rule->comm, owner->comm, 0) != 0))
		return false;
	return (rule->keys & RULE_UID) == 0 || (owner != NULL && owner->uid == rule->uid);
}

static bool
rule_matches(const struct rule *rule, const struct subject *subject)
{
	uint16_t port = subject->tuple->src_port;

	if ((rule->keys & RULE_EXIT) != 0 && (rule->exits & EXIT_BIT(subject->exit)) == 0)
		return false;
	if ((rule->keys & RULE_STATE) != 0 && (rule->states & TCP_STATE_BIT(subject->state)) == 0)
		return false;
	if ((rule->keys & RULE_LOCAL_PORT) != 0 &&
		(port < rule->port_first || port > rule->port_last))
		return false;
	if ((rule->keys & RULE_REMOTE) != 0 && !remote_matches(rule, subject->tuple))
		return false;
	return owner_matches(rule, subject->owner);
}

const struct rule *
policy_match(const struct policy *policy, const struct subject *subject)
{
	for (unsigned i = 0; i < policy->rule_count; i++) {
		if (rule_matches(&policy->rules[i], subject))
			return &policy->rules[i];
	}
	return NULL;
}

bool
rule_needs_proof(const struct rule *rule, enum exit_class exit)
{
	const uint32_t unasked = EXIT_BIT(EXIT_CRASH) | EXIT_BIT(EXIT_KILL) | EXIT_BIT(EXIT_OOM);

	if (rule->require == REQUIRE_STUCK || (EXIT_BIT(exit) & EXIT_BITS_ORDERLY) != 0)
		return true;
	return rule->require == REQUIRE_AUTO && (EXIT_BIT(exit) & unasked) == 0;
}

static struct decision
destroy_decide(const struct rule *rule, enum exit_class exit, uint64_t age_ns)
{
	struct decision d = { .verdict = VERDICT_DESTROY,
		.reason = exit_class_reason(exit),
		.rule = rule,
		.grace_ns = rule->grace_ns };

	if (rule_needs_proof(rule, exit)) {
		d.verdict = VERDICT_WAIT;
		d.reason = "proof";
		d.prove = true;
	} else if (age_ns < rule->grace_ns) {
		d.verdict = VERDICT_WAIT;
		d.reason = "grace";
	}
	return d;
}

struct decision
policy_decide(const struct policy *policy, const struct subject *subject, uint64_t age_ns)
{
	const struct rule *rule = policy_match(policy, subject);

	if (rule == NULL)
		return (struct decision){ .verdict = VERDICT_REPORT, .reason = "no-rule" };
	if (rule->action == ACTION_DESTROY)
		return destroy_decide(rule, subject->exit, age_ns);
	return (struct decision){
		.verdict = rule->action == ACTION_IGNORE ? VERDICT_IGNORE : VERDICT_REPORT,
		.reason = exit_class_reason(subject->exit),
		.rule = rule,
	};
}

static void
rule_default(struct policy *policy, const char *name, uint32_t exits, enum policy_action action)
{
	struct rule *rule = &policy->rules[policy->rule_count++];

	*rule = (struct rule){ .keys = RULE_EXIT | RULE_ACTION, .exits = exits, .action = action };
	snprintf(rule->name, sizeof(rule->name), "%s", name);
}

void
policy_default(struct policy *policy)
{
	struct rule *stopped;

	*policy = (struct policy){
		.mode = MODE_ENFORCE,
		.audit_log = DEFAULT_AUDIT_LOG,
		.destroy_limit = { 50000, NS_PER_S },
		.unit_limit = { 200000, 60 * NS_PER_S },
		.breaker_hold_ns = 300 * NS_PER_S,
		.record_budget = { 10000, 60 * NS_PER_S },
		.audit_sync_ns = AUDIT_SYNC_NEVER,
	};
	rule_default(policy, "killed",
		EXIT_BIT(EXIT_CRASH) | EXIT_BIT(EXIT_KILL) | EXIT_BIT(EXIT_OOM), ACTION_DESTROY);
	policy->rules[0].keys |= RULE_GRACE;
	rule_default(policy, "stopped", EXIT_BIT(EXIT_TERM) | EXIT_BIT(EXIT_ERROR), ACTION_DESTROY);
	stopped = &policy->rules[1];
	stopped->keys |= RULE_GRACE | RULE_REQUIRE;
	stopped->grace_ns = 30 * NS_PER_S;
	stopped->require = REQUIRE_STUCK;
	rule_default(
		policy, "finished", EXIT_BIT(EXIT_CLEAN) | EXIT_BIT(EXIT_CLOSED), ACTION_REPORT);
	rule_default(policy, "adopted", EXIT_BIT(EXIT_UNKNOWN), ACTION_REPORT);
}

const char *
verdict_name(enum policy_verdict verdict)
{
	static const char *const names[] = { "destroy", "report", "wait", "ignore" };

	return names[verdict];
}

const char *
action_name(enum policy_action action)
{
	static const char *const names[] = { "none", "destroy", "report", "ignore" };

	return names[action];
}
