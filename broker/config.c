/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The library cuts a longer section name without a word, and takes a longer line for two. */
#define INI_SECTION_MAX 49u

struct parser {
	const char *path;
	const char *text, *end; /* what is left to read */
	unsigned line;
	unsigned header_line; /* of a [section] from which no key has come yet, else 0 */
	struct policy *policy;
	struct rule *rule; /* of the current section, NULL in [daemon] */
	uint32_t daemon_keys;
	bool daemon_seen;
	bool rules_seen;
	char *error;
	unsigned error_line;
};

static bool __attribute__((format(printf, 3, 4)))
parser_fail(struct parser *p, unsigned line, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (p->error[0] != '\0')
		return false; /* the first error is the one to mend first */
	p->error_line = line;
	n = snprintf(p->error, CONFIG_ERROR_MAX, "%s:%u: ", p->path, line);
	if (n < 0 || n >= (int)CONFIG_ERROR_MAX)
		return false;
	va_start(ap, fmt);
	vsnprintf(p->error + n, CONFIG_ERROR_MAX - (size_t)n, fmt, ap);
	va_end(ap);
	return false;
}

/* ---- values ---------------------------------------------------------------------------------- */

struct named {
	const char *name;
	unsigned value;
};

static bool
named_find(const struct named *table, size_t count, const char *name, unsigned *value)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(table[i].name, name) == 0) {
			*value = table[i].value;
			return true;
		}
	}
	return false;
}

static const struct named modes[] = { { "enforce", MODE_ENFORCE }, { "observe", MODE_OBSERVE } };
static const struct named actions[] = { { "destroy", ACTION_DESTROY }, { "report", ACTION_REPORT },
	{ "ignore", ACTION_IGNORE } };
static const struct named requires[] = { { "stuck", REQUIRE_STUCK }, { "none", REQUIRE_NONE } };
#define NAMED(table) table, sizeof(table) / sizeof((table)[0])

static bool
mode_set(struct parser *p, const char *value)
{
	unsigned v;

	if (!named_find(NAMED(modes), value, &v))
		return parser_fail(p, p->line, "mode = %s: expected enforce or observe", value);
	p->policy->mode = (enum policy_mode)v;
	return true;
}

static bool
audit_log_set(struct parser *p, const char *value)
{
	size_t len = strlen(value);

	if (value[0] != '/' || value[len - 1] == '/' || len >= sizeof(p->policy->audit_log))
		return parser_fail(
			p, p->line, "audit_log = %s: expected the absolute path of a file", value);
	memcpy(p->policy->audit_log, value, len + 1);
	return true;
}

/* A number, or what can be a group's name and no number. Whether there is such a group is asked by
 * the launcher. */
static bool
control_group_set(struct parser *p, const char *value)
{
	size_t len = strlen(value), digits = strspn(value, "0123456789");
	size_t name = strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_.-$");
	bool number = digits == len && len <= 10 && strtoull(value, NULL, 10) < UINT32_MAX;

	if (!number && (name != len || digits == len || value[0] == '-' || len >= GROUP_MAX))
		return parser_fail(
			p, p->line, "control_group = %s: expected a group's name or number", value);
	memcpy(p->policy->control_group, value, len + 1);
	return true;
}

static bool
rate_set(struct parser *p, const char *key, const char *value, struct rate *rate)
{
	if (!rate_parse(value, rate))
		return parser_fail(p, p->line,
			"%s = %s: expected a rate such as 50000/s or 200000/min", key, value);
	return true;
}

static bool
destroy_limit_set(struct parser *p, const char *value)
{
	return rate_set(p, "destroy_limit", value, &p->policy->destroy_limit);
}

static bool
unit_limit_set(struct parser *p, const char *value)
{
	return rate_set(p, "unit_limit", value, &p->policy->unit_limit);
}

static bool
record_budget_set(struct parser *p, const char *value)
{
	return rate_set(p, "record_budget", value, &p->policy->record_budget);
}

static bool
duration_set(struct parser *p, const char *key, const char *value, uint64_t *ns)
{
	if (!duration_parse(value, ns))
		return parser_fail(p, p->line,
			"%s = %s: expected a duration such as 500ms, 30s, 5min, 2h or 1d", key,
			value);
	return true;
}

static bool
breaker_hold_set(struct parser *p, const char *value)
{
	return duration_set(p, "breaker_hold", value, &p->policy->breaker_hold_ns);
}

static bool
audit_sync_set(struct parser *p, const char *value)
{
	uint64_t *ns = &p->policy->audit_sync_ns;

	if (strcmp(value, "never") == 0)
		*ns = AUDIT_SYNC_NEVER;
	else if (strcmp(value, "always") == 0)
		*ns = AUDIT_SYNC_ALWAYS;
	else if (!duration_parse(value, ns))
		return parser_fail(p, p->line,
			"audit_sync = %s: expected never, always, or a duration such as 500ms or "
			"5s",
			value);
	return true;
}

static bool
yes_no_set(struct parser *p, const char *key, const char *value, bool *yes)
{
	*yes = strcmp(value, "yes") == 0;
	return *yes || strcmp(value, "no") == 0 ||
	       parser_fail(p, p->line, "%s = %s: expected yes or no", key, value);
}

static bool
linux_audit_set(struct parser *p, const char *value)
{
	return yes_no_set(p, "linux_audit", value, &p->policy->linux_audit);
}

static bool
journald_set(struct parser *p, const char *value)
{
	return yes_no_set(p, "journald", value, &p->policy->journald);
}

static bool
grace_set(struct parser *p, const char *value)
{
	return duration_set(p, "grace", value, &p->rule->grace_ns);
}

static bool
action_set(struct parser *p, const char *value)
{
	unsigned v;

	if (!named_find(NAMED(actions), value, &v))
		return parser_fail(
			p, p->line, "action = %s: expected destroy, report or ignore", value);
	p->rule->action = (enum policy_action)v;
	return true;
}

static bool
require_set(struct parser *p, const char *value)
{
	unsigned v;

	if (!named_find(NAMED(requires), value, &v))
		return parser_fail(p, p->line, "require = %s: expected stuck or none", value);
	p->rule->require = (enum policy_require)v;
	return true;
}

/* A list of words; word_bit() returns the bit of one, 0 when there is no such word. */
static bool
words_set(struct parser *p, const char *key, const char *value, uint32_t (*word_bit)(const char *),
	const char *expected, uint32_t *mask)
{
	char words[256], *save = NULL;
	const char *word;

	snprintf(words, sizeof(words), "%s", value);
	for (word = strtok_r(words, " \t", &save); word != NULL;
		word = strtok_r(NULL, " \t", &save)) {
		uint32_t bit = word_bit(word);

		if (bit == 0)
			return parser_fail(p, p->line, "%s: '%s' is none; expected some of %s", key,
				word, expected);
		if ((*mask & bit) != 0)
			return parser_fail(p, p->line, "%s: '%s' is named twice", key, word);
		*mask |= bit;
	}
	return true;
}

static uint32_t
exit_word_bit(const char *word)
{
	enum exit_class c;

	return exit_class_by_name(word, &c) ? EXIT_BIT(c) : 0;
}

static bool
exit_set(struct parser *p, const char *value)
{
	return words_set(p, "exit", value, exit_word_bit,
		"crash kill oom closed term error clean unknown", &p->rule->exits);
}

static uint32_t
state_word_bit(const char *word)
{
	return TCP_STATE_BIT(tcp_state_by_name(word)) & TCP_STATES_RULE;
}

static bool
state_set(struct parser *p, const char *value)
{
	return words_set(p, "state", value, state_word_bit,
		"fin-wait-1 fin-wait-2 closing last-ack time-wait", &p->rule->states);
}

static uint32_t
kind_word_bit(const char *word)
{
	return strcmp(word, "tcp") == 0 ? 1 : 0;
}

static bool
kind_set(struct parser *p, const char *value)
{
	uint32_t kinds = 0;

	return words_set(p, "kind", value, kind_word_bit, "tcp", &kinds);
}

static bool
pattern_set(struct parser *p, const char *key, const char *value, char out[PATTERN_MAX])
{
	if (strlen(value) >= PATTERN_MAX)
		return parser_fail(
			p, p->line, "%s: a pattern of more than %u bytes", key, PATTERN_MAX - 1);
	strcpy(out, value);
	return true;
}

static bool
unit_set(struct parser *p, const char *value)
{
	return pattern_set(p, "unit", value, p->rule->unit);
}

static bool
comm_set(struct parser *p, const char *value)
{
	return pattern_set(p, "comm", value, p->rule->comm);
}

/* All digits, at most max. *text is moved behind them. */
static bool
number_parse(const char **text, uint64_t max, uint64_t *value)
{
	char *end;

	if (!isdigit((unsigned char)**text))
		return false;
	*value = strtoull(*text, &end, 10);
	*text = end;
	return *value <= max;
}

static bool
uid_set(struct parser *p, const char *value)
{
	const char *text = value;
	uint64_t uid;

	if (!number_parse(&text, UINT32_MAX - 1, &uid) || *text != '\0')
		return parser_fail(
			p, p->line, "uid = %s: expected a number, 0 to 4294967294", value);
	p->rule->uid = (uint32_t)uid;
	return true;
}

static bool
local_port_set(struct parser *p, const char *value)
{
	const char *text = value;
	uint64_t first = 0, last;
	bool good = number_parse(&text, 65535, &first);

	last = first;
	if (good && *text == '-') {
		text++;
		good = number_parse(&text, 65535, &last);
	}
	if (!good || *text != '\0' || first == 0 || last < first)
		return parser_fail(p, p->line,
			"local_port = %s: expected a port or a range such as 8000-8099", value);
	p->rule->port_first = (uint16_t)first;
	p->rule->port_last = (uint16_t)last;
	return true;
}

static bool
address_parse(const char *text, uint8_t out[16], unsigned *max_bits)
{
	if (inet_pton(AF_INET6, text, out) == 1) {
		*max_bits = 128;
		return true;
	}
	memset(out, 0, 10);
	out[10] = out[11] = 0xff;
	*max_bits = 32;
	return inet_pton(AF_INET, text, out + 12) == 1;
}

static bool
host_bits_zero(const uint8_t address[16], unsigned bits)
{
	for (unsigned b = bits; b < 128; b++) {
		if ((address[b / 8] & (0x80u >> (b % 8))) != 0)
			return false;
	}
	return true;
}

static bool
remote_set(struct parser *p, const char *value)
{
	char address[64];
	const char *slash = strchr(value, '/');
	int len = slash == NULL ? (int)strlen(value) : (int)(slash - value);
	unsigned max_bits = 0;
	uint64_t bits;
	bool good;

	snprintf(address, sizeof(address), "%.*s", len, value);
	good = len < (int)sizeof(address) && address_parse(address, p->rule->remote, &max_bits);
	bits = max_bits;
	if (good && slash != NULL) {
		slash++;
		good = number_parse(&slash, max_bits, &bits) && *slash == '\0';
	}
	if (!good)
		return parser_fail(p, p->line,
			"remote = %s: expected an address or a network such as "
			"10.0.0.0/8 or fd00::/8",
			value);
	p->rule->remote_bits = (uint8_t)(bits + (128 - max_bits));
	if (!host_bits_zero(p->rule->remote, p->rule->remote_bits))
		return parser_fail(
			p, p->line, "remote = %s: bits are set behind the prefix", value);
	return true;
}

/* ---- keys and sections -------------------------------------------------------------------------
 */

struct key {
	const char *name;
	uint32_t bit;
	bool (*set)(struct parser *p, const char *value);
};

static const struct key daemon_keys[] = {
	{ "mode", 1u << 0, mode_set },
	{ "audit_log", 1u << 1, audit_log_set },
	{ "destroy_limit", 1u << 2, destroy_limit_set },
	{ "unit_limit", 1u << 3, unit_limit_set },
	{ "breaker_hold", 1u << 4, breaker_hold_set },
	{ "record_budget", 1u << 5, record_budget_set },
	{ "audit_sync", 1u << 6, audit_sync_set },
	{ "control_group", 1u << 7, control_group_set },
	{ "linux_audit", 1u << 8, linux_audit_set },
	{ "journald", 1u << 9, journald_set },
};

static const struct key rule_keys[] = {
	{ "exit", RULE_EXIT, exit_set },
	{ "action", RULE_ACTION, action_set },
	{ "grace", RULE_GRACE, grace_set },
	{ "require", RULE_REQUIRE, require_set },
	{ "unit", RULE_UNIT, unit_set },
	{ "comm", RULE_COMM, comm_set },
	{ "uid", RULE_UID, uid_set },
	{ "local_port", RULE_LOCAL_PORT, local_port_set },
	{ "remote", RULE_REMOTE, remote_set },
	{ "state", RULE_STATE, state_set },
	{ "kind", RULE_KIND, kind_set },
};

static bool
key_apply(struct parser *p, const struct key *keys, size_t count, uint32_t *seen, const char *name,
	const char *value)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(keys[i].name, name) != 0)
			continue;
		if ((*seen & keys[i].bit) != 0)
			return parser_fail(p, p->line, "'%s' is there twice in this section", name);
		if (*value == '\0')
			return parser_fail(p, p->line, "'%s' has no value", name);
		if (*value == ';') /* behind a space it would be a comment: printed, it would not
				      parse back */
			return parser_fail(p, p->line, "'%s' begins with a ';'", name);
		*seen |= keys[i].bit;
		return keys[i].set(p, value);
	}
	return parser_fail(p, p->line, "unknown key '%s' in [%s%s]", name,
		p->rule != NULL ? "rule " : "daemon", p->rule != NULL ? p->rule->name : "");
}

static bool
rule_name_valid(const char *name)
{
	size_t len =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

	return len != 0 && name[len] == '\0' && len < RULE_NAME_MAX;
}

static bool
rule_begin(struct parser *p, const char *name)
{
	struct policy *policy = p->policy;

	if (!rule_name_valid(name))
		return parser_fail(p, p->header_line,
			"a rule's name is made of letters, digits, '_', '.' and '-', found '%s'",
			name);
	for (unsigned i = 0; i < policy->rule_count; i++) {
		if (strcmp(policy->rules[i].name, name) == 0)
			return parser_fail(p, p->header_line,
				"the rule '%s' is there twice, first in line %u", name,
				policy->rules[i].line);
	}
	if (policy->rule_count == POLICY_RULES_MAX)
		return parser_fail(p, p->header_line, "more than %u rules", POLICY_RULES_MAX);
	p->rule = &policy->rules[policy->rule_count++];
	*p->rule = (struct rule){ .line = p->header_line };
	strcpy(p->rule->name, name);
	return true;
}

static bool
section_begin(struct parser *p, const char *section)
{
	bool good;

	if (strncmp(section, "rule ", 5) == 0) {
		good = rule_begin(p, section + 5 + strspn(section + 5, " \t"));
	} else if (strcmp(section, "daemon") != 0) {
		good = parser_fail(p, p->header_line,
			"unknown section [%s]; expected [daemon] or [rule NAME]", section);
	} else {
		good = !p->daemon_seen ||
		       parser_fail(p, p->header_line, "the section [daemon] is there twice");
		p->daemon_seen = true;
		p->rule = NULL;
	}
	p->header_line = 0;
	return good;
}

static int
ini_key(void *user, const char *section, const char *name, const char *value)
{
	struct parser *p = user;

	if (p->error[0] != '\0')
		return 0;
	if (section[0] == '\0' && p->header_line == 0)
		return parser_fail(p, p->line, "'%s' stands before the first section", name);
	if (p->header_line != 0 && !section_begin(p, section))
		return 0;
	if (p->rule == NULL)
		return key_apply(p, daemon_keys, sizeof(daemon_keys) / sizeof(daemon_keys[0]),
			&p->daemon_keys, name, value);
	return key_apply(p, rule_keys, sizeof(rule_keys) / sizeof(rule_keys[0]), &p->rule->keys,
		name, value);
}

/* ---- lines -------------------------------------------------------------------------------------
 */

static bool
header_note(struct parser *p, const char *line, size_t len)
{
	const char *end = line + len, *close = memchr(line, ']', len), *rest;

	if (p->header_line != 0)
		return parser_fail(p, p->header_line, "this section is empty");
	if (close == NULL || memchr(line, ';', (size_t)(close - line)) != NULL)
		return parser_fail(p, p->line, "a section needs its ']' and has no ';'");
	if ((size_t)(close - line) - 1 > INI_SECTION_MAX)
		return parser_fail(
			p, p->line, "a section name of more than %u bytes", INI_SECTION_MAX);
	for (rest = close + 1; rest < end && isspace((unsigned char)*rest); rest++)
		;
	if (rest < end && *rest != ';') /* the library would pass over it without a word */
		return parser_fail(p, p->line, "something behind the section's ']'");
	p->header_line = p->line;
	return true;
}

static bool
line_check(struct parser *p, const char *line, size_t len, size_t room)
{
	if (memchr(line, '\0', len) != NULL)
		return parser_fail(p, p->line, "a NUL byte");
	if (len + 2 > room)
		return parser_fail(
			p, p->line, "a line of %zu bytes, expected at most %zu", len, room - 2);
	return len == 0 || line[0] != '[' || header_note(p, line, len);
}

/* ini_reader: one line a call, like fgets(). Indentation is taken away, since the library would
 * read an indented "key = value" as more of the value above it. */
static char *
ini_line(char *out, int size, void *stream)
{
	struct parser *p = stream;
	const char *eol, *line = p->text;
	size_t len;

	if (p->text == p->end || p->error[0] != '\0')
		return NULL;
	p->line++;
	eol = memchr(line, '\n', (size_t)(p->end - line));
	if (eol == NULL)
		eol = p->end;
	p->text = eol == p->end ? eol : eol + 1;
	if (p->line == 1 && eol - line >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
		line += 3; /* a byte order mark must not hide a section */
	while (line < eol && isspace((unsigned char)*line))
		line++;
	len = (size_t)(eol - line);
	if (!line_check(p, line, len, (size_t)size))
		return NULL;
	memcpy(out, line, len);
	out[len] = '\n';
	out[len + 1] = '\0';
	return out;
}

static bool
rule_complete(struct parser *p, const struct rule *rule)
{
	uint32_t exits = (rule->keys & RULE_EXIT) != 0 ? rule->exits : EXIT_BIT_ALL;

	if ((rule->keys & RULE_ACTION) == 0)
		return parser_fail(p, rule->line, "the rule '%s' has no action", rule->name);
	if (rule->action != ACTION_DESTROY && (rule->keys & (RULE_GRACE | RULE_REQUIRE)) != 0)
		return parser_fail(p, rule->line,
			"the rule '%s' destroys nothing: grace and require have no "
			"meaning there",
			rule->name);
	if (rule->action == ACTION_DESTROY && rule->require == REQUIRE_NONE &&
		(rule->keys & RULE_REQUIRE) != 0 && (exits & EXIT_BITS_ORDERLY) != 0)
		return parser_fail(p, rule->line,
			"the rule '%s' may not say require = none: it covers exits "
			"closed, error or clean, whose data in flight is still the peer's",
			rule->name);
	return true;
}

static bool
policy_complete(struct parser *p)
{
	if (p->header_line != 0)
		return parser_fail(p, p->header_line, "this section is empty");
	if (p->policy->rule_count == 0)
		return parser_fail(p, p->line, "no rule: a policy needs at least one [rule NAME]");
	for (unsigned i = 0; i < p->policy->rule_count; i++) {
		if (!rule_complete(p, &p->policy->rules[i]))
			return false;
	}
	return true;
}

bool
config_parse(const char *path, const char *text, size_t len, struct policy *policy,
	char error[CONFIG_ERROR_MAX])
{
	struct parser p = {
		.path = path, .text = text, .end = text + len, .policy = policy, .error = error
	};
	int rc;

	error[0] = '\0';
	policy_default(policy);
	policy->rule_count = 0;
	rc = ini_parse_stream(ini_line, &p, ini_key, &p);
	/* The library goes on behind a line that makes no sense, and its number is the first one's.
	 */
	if (rc > 0 && (error[0] == '\0' || (unsigned)rc < p.error_line)) {
		error[0] = '\0';
		parser_fail(&p, (unsigned)rc, "expected [section], key = value or ; comment");
	} else if (error[0] == '\0' && rc < 0) {
		parser_fail(&p, p.line, "out of memory");
	}
	return error[0] == '\0' && policy_complete(&p);
}

/* ---- printing ----------------------------------------------------------------------------------
 */

struct printer {
	char *out;
	size_t size, used;
	bool full;
};

static void __attribute__((format(printf, 2, 3))) put(struct printer *o, const char *fmt, ...)
{
	size_t room = o->size - o->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(o->out + o->used, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room)
		o->full = true;
	else
		o->used += (size_t)n;
}

static void
exits_print(struct printer *o, uint32_t exits)
{
	put(o, "exit =");
	for (unsigned c = 0; c < EXIT_CLASSES; c++) {
		if ((exits & EXIT_BIT(c)) != 0)
			put(o, " %s", exit_class_name((enum exit_class)c));
	}
	put(o, "\n");
}

static void
states_print(struct printer *o, uint32_t states)
{
	put(o, "state =");
	for (unsigned s = 1; s <= TCP_STATE_NEW_SYN_RECV; s++) {
		if ((states & TCP_STATE_BIT(s)) != 0)
			put(o, " %s", tcp_state_name(s));
	}
	put(o, "\n");
}

static void
remote_print(struct printer *o, const struct rule *rule)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool v4 = rule->remote_bits >= 96 && memcmp(rule->remote, mapped, 12) == 0;
	char text[INET6_ADDRSTRLEN];

	inet_ntop(
		v4 ? AF_INET : AF_INET6, v4 ? rule->remote + 12 : rule->remote, text, sizeof(text));
	put(o, "remote = %s/%u\n", text, v4 ? rule->remote_bits - 96u : rule->remote_bits);
}

static void
match_print(struct printer *o, const struct rule *rule)
{
	if ((rule->keys & RULE_EXIT) != 0)
		exits_print(o, rule->exits);
	if ((rule->keys & RULE_UNIT) != 0)
		put(o, "unit = %s\n", rule->unit);
	if ((rule->keys & RULE_COMM) != 0)
		put(o, "comm = %s\n", rule->comm);
	if ((rule->keys & RULE_UID) != 0)
		put(o, "uid = %u\n", rule->uid);
	if ((rule->keys & RULE_LOCAL_PORT) != 0)
		put(o, "local_port = %u-%u\n", rule->port_first, rule->port_last);
	if ((rule->keys & RULE_REMOTE) != 0)
		remote_print(o, rule);
	if ((rule->keys & RULE_STATE) != 0)
		states_print(o, rule->states);
	if ((rule->keys & RULE_KIND) != 0)
		put(o, "kind = tcp\n");
}

static void
rule_print(struct printer *o, const struct rule *rule)
{
	char grace[QUANTITY_TEXT];

	put(o, "\n[rule %s]\n", rule->name);
	match_print(o, rule);
	put(o, "action = %s\n", action_name(rule->action));
	if (rule->action != ACTION_DESTROY)
		return;
	duration_print(rule->grace_ns, grace);
	put(o, "grace = %s\n", grace);
	if ((rule->keys & RULE_REQUIRE) != 0)
		put(o, "require = %s\n", rule->require == REQUIRE_STUCK ? "stuck" : "none");
}

static void
audit_sync_print(uint64_t ns, char out[QUANTITY_TEXT])
{
	if (ns == AUDIT_SYNC_NEVER || ns == AUDIT_SYNC_ALWAYS)
		snprintf(out, QUANTITY_TEXT, "%s", ns == AUDIT_SYNC_NEVER ? "never" : "always");
	else
		duration_print(ns, out);
}

size_t
config_print(const struct policy *policy, char *out, size_t size)
{
	struct printer o = { .out = out, .size = size };
	char limit[QUANTITY_TEXT], unit[QUANTITY_TEXT], hold[QUANTITY_TEXT], budget[QUANTITY_TEXT];
	char sync[QUANTITY_TEXT];

	rate_print(&policy->destroy_limit, limit);
	rate_print(&policy->unit_limit, unit);
	duration_print(policy->breaker_hold_ns, hold);
	rate_print(&policy->record_budget, budget);
	audit_sync_print(policy->audit_sync_ns, sync);
	put(&o,
		"[daemon]\nmode = %s\naudit_log = %s\ndestroy_limit = %s\nunit_limit = %s\n"
		"breaker_hold = %s\nrecord_budget = %s\naudit_sync = %s\nlinux_audit = %s\n"
		"journald = %s\n",
		policy->mode == MODE_ENFORCE ? "enforce" : "observe", policy->audit_log, limit,
		unit, hold, budget, sync, policy->linux_audit ? "yes" : "no",
		policy->journald ? "yes" : "no");
	if (policy->control_group[0] != '\0')
		put(&o, "control_group = %s\n", policy->control_group);
	for (unsigned i = 0; i < policy->rule_count; i++)
		rule_print(&o, &policy->rules[i]);
	return o.full ? 0 : o.used;
}
