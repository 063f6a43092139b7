/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_ANSWERS_H
#define PROTO_ANSWERS_H

/*
 * What a child without privileges answers the launcher about the configuration, which root does not
 * parse: NAME=VALUE of each of these, in this order, with a zero byte behind each and nothing else.
 */
enum answer {
	ANSWER_AUDIT_LOG,     /* path, at most ANSWER_MAX - 1 bytes */
	ANSWER_CONTROL_GROUP, /* a group's name or number, empty: root only */
	ANSWER_LINUX_AUDIT,   /* "yes" or "no" */
	ANSWER_JOURNALD,      /* "yes" or "no" */
	ANSWERS,
};

#define ANSWER_NAMES                                                    \
	{                                                               \
		"audit_log", "control_group", "linux_audit", "journald" \
	}

#define ANSWER_MAX 4096u /* bytes of a value with its zero byte */

#endif
