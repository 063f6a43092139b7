/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_POLICY_H
#define BROKER_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "exitclass.h"
#include "proto/answers.h"
#include "proto/wire.h"
#include "quantity.h"

/* Rules and their application to one ghost. Pure: used by the broker and by `eghostctl scan`. */

#define RULE_NAME_MAX	 64u
#define PATTERN_MAX	 128u
#define GROUP_MAX	 33u /* of a group's name, as the shadow suite has it */
#define POLICY_RULES_MAX 64u

enum policy_mode { MODE_ENFORCE, MODE_OBSERVE };
enum policy_action { ACTION_NONE, ACTION_DESTROY, ACTION_REPORT, ACTION_IGNORE };
/* AUTO: proof is required after deaths in which data in flight is still the peer's, and when the
 * death is not known; not after a kill, a crash or an OOM kill. */
enum policy_require { REQUIRE_AUTO, REQUIRE_NONE, REQUIRE_STUCK };
enum policy_verdict { VERDICT_DESTROY, VERDICT_REPORT, VERDICT_WAIT, VERDICT_IGNORE };

enum rule_keys { /* which keys a rule has */
	RULE_EXIT = 1u << 0,
	RULE_ACTION = 1u << 1,
	RULE_GRACE = 1u << 2,
	RULE_REQUIRE = 1u << 3,
	RULE_UNIT = 1u << 4,
	RULE_COMM = 1u << 5,
	RULE_UID = 1u << 6,
	RULE_LOCAL_PORT = 1u << 7,
	RULE_REMOTE = 1u << 8,
	RULE_STATE = 1u << 9,
	RULE_KIND = 1u << 10,
};

#define AUDIT_SYNC_ALWAYS ((uint64_t)0) /* before anything that was decided is requested */
#define AUDIT_SYNC_NEVER  UINT64_MAX	/* when the kernel gets round to it */

struct rule {
	char name[RULE_NAME_MAX];
	uint32_t keys;	/* enum rule_keys: those given */
	uint32_t exits; /* EXIT_BIT() */
	enum policy_action action;
	enum policy_require require;
	uint64_t grace_ns;
	char unit[PATTERN_MAX]; /* fnmatch(3) without flags: * matches any byte */
	char comm[PATTERN_MAX];
	uint32_t uid;
	uint16_t port_first, port_last;
	uint8_t remote[16];  /* network order; a v4 network is kept v4-mapped */
	uint8_t remote_bits; /* of the 128 */
	uint32_t states;     /* TCP_STATE_BIT() */
	unsigned line;	     /* where the rule begins, for messages; 0 built in */
};

struct policy {
	enum policy_mode mode;
	char audit_log[ANSWER_MAX];
	bool linux_audit;	       /* records go to the kernel's audit, too */
	bool journald;		       /* and to systemd-journald */
	char control_group[GROUP_MAX]; /* who besides root may ask, by name or number; "": nobody */
	struct rate destroy_limit;
	struct rate unit_limit;
	uint64_t breaker_hold_ns;
	struct rate record_budget; /* audit records for the ghosts of one uid, and of one unit */
	uint64_t audit_sync_ns;	   /* so long after a write it is on the disk, or one of these */
	struct rule rules[POLICY_RULES_MAX];
	unsigned rule_count;
};

/* What is known of a ghost when a rule is looked for. */
struct subject {
	enum exit_class exit;
	const struct wire_owner
		*owner; /* NULL when unknown: no rule with unit, comm or uid matches */
	const struct wire_tuple *tuple;
	uint8_t state;
};

struct decision {
	enum policy_verdict verdict;
	const char *reason;	 /* event.reason, static text */
	const struct rule *rule; /* NULL when none matched */
	uint64_t grace_ns;	 /* with VERDICT_WAIT: from birth, or between two samples */
	bool prove;		 /* with VERDICT_WAIT: destroy once it is proved to be stuck */
};

/* The first rule that matches, NULL when none does. */
const struct rule *policy_match(const struct policy *policy, const struct subject *subject);

/* True when `rule` asks for proof before it destroys a ghost of that death. Orderly deaths always
 * need it (I5). */
bool rule_needs_proof(const struct rule *rule, enum exit_class exit);

/*
 * What to do with a ghost of age age_ns. A ghost that no rule matches is reported. A release that
 * needs proof that the ghost is stuck is VERDICT_WAIT with `prove` set, whatever its age.
 */
struct decision policy_decide(
	const struct policy *policy, const struct subject *subject, uint64_t age_ns);

/* The built-in policy: the four rules of the documentation. */
void policy_default(struct policy *policy);

const char *verdict_name(enum policy_verdict verdict);
const char *action_name(enum policy_action action);

#endif
