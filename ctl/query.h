/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CTL_QUERY_H
#define CTL_QUERY_H

#include "ctl.h"
#include "record.h"

/*
 * Which records are wanted. What a ghost's `decide` record says of owner, address and rule counts
 * for its `destroy` record, too, which does not repeat it.
 */
struct query {
	bool has_since, has_until;
	when_ns since, until;
	const char *boot;	 /* host.boot.id */
	const char *comm, *unit; /* fnmatch(3) patterns */
	const char *uid;
	const char *local, *remote; /* addresses */
	const char *action, *result, *rule;
	bool has_pid, has_port, has_ghost;
	uint64_t pid, port, ghost;
};

/* The options of a query, for a verb's table; their values are above QUERY_OPTION_FIRST. */
#define QUERY_OPTION_FIRST 512
#define QUERY_OPTIONS                                                                             \
	{ QUERY_OPTION_FIRST, "since", "TIME", NULL, COMPLETE_NOTHING,                            \
		"not before: 2026-11-22 08:00, today, yesterday, -2h, @1700000000" },             \
		{ QUERY_OPTION_FIRST + 1, "until", "TIME", NULL, COMPLETE_NOTHING, "not after" }, \
		{ QUERY_OPTION_FIRST + 2, "boot", "ID", NULL, COMPLETE_NOTHING,                   \
			"of this boot; 'now' is the one that runs" },                             \
		{ QUERY_OPTION_FIRST + 3, "pid", "PID", NULL, COMPLETE_NOTHING,                   \
			"left by this process" },                                                 \
		{ QUERY_OPTION_FIRST + 4, "comm", "NAME", NULL, COMPLETE_NOTHING,                 \
			"left by processes of this name; * ? [ ]" },                              \
		{ QUERY_OPTION_FIRST + 5, "unit", "UNIT", NULL, COMPLETE_NOTHING,                 \
			"left by this unit's processes; * ? [ ]" },                               \
		{ QUERY_OPTION_FIRST + 6, "uid", "UID", NULL, COMPLETE_NOTHING,                   \
			"left by this user's processes" },                                        \
		{ QUERY_OPTION_FIRST + 7, "local", "ADDRESS", NULL, COMPLETE_NOTHING,             \
			"local address of the socket" },                                          \
		{ QUERY_OPTION_FIRST + 8, "remote", "ADDRESS", NULL, COMPLETE_NOTHING,            \
			"address of the peer" },                                                  \
		{ QUERY_OPTION_FIRST + 9, "port", "PORT", NULL, COMPLETE_NOTHING,                 \
			"local or remote port" },                                                 \
		{ QUERY_OPTION_FIRST + 10, "result", "RESULT",                                    \
			"destroyed gone refused-live refused-progress refused-rate "              \
			"other-netns unsupported failed observed withdrawn unanswered unsent",    \
			COMPLETE_WORDS, "with this result, alone or among those of a batch" },    \
		{ QUERY_OPTION_FIRST + 11, "rule", "NAME", NULL, COMPLETE_NOTHING,                \
			"decided by this rule" },                                                 \
	{                                                                                         \
		QUERY_OPTION_FIRST + 12, "ghost", "NUMBER", NULL, COMPLETE_NOTHING,               \
			"about this ghost"                                                        \
	}
/* Where single records are wanted. */
#define QUERY_ACTION_OPTION                                                      \
	{                                                                        \
		QUERY_OPTION_FIRST + 13, "action", "ACTION",                     \
			"start stop exit decide destroy lost reconcile breaker " \
			"config-reload log-open log-close",                      \
			COMPLETE_WORDS, "records of this kind"                   \
	}

/* Takes one of these options. False after a line on standard error. */
bool query_option(struct query *q, int value, const char *arg);

/* What is remembered from record to record. */
struct query_state;

/* NULL when out of memory. */
struct query_state *query_begin(const struct query *q);
void query_end(struct query_state *state);

/* Takes the next record of the log, in order; sets its run. True when it is wanted. */
bool query_take(struct query_state *state, struct record *r);

#endif
