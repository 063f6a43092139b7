/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_ENTRIES_H
#define LAUNCHER_ENTRIES_H

#include <stddef.h>

#include "proto/fds.h"

/* eghostbuster's options: one table for the parser, --help and the shell completions. */

enum {
	OPT_CHECK = 256,
	OPT_AUDIT_LOG,
	OPT_CONTROL,
	OPT_LIBEXEC,
	OPT_CEILING,
	OPT_TIME_WAIT,
	OPT_RING
};

static const struct entry {
	const char *name;
	const char *arg;
	const char *help;
	int value; /* below 256 also the short letter */
} entries[] = {
	{ "config", "FILE", "policy file (default " DEFAULT_CONFIG ", else the built-in policy)",
		'c' },
	{ "observe", NULL, "decide and record, touch nothing", 'n' },
	{ "check-config", NULL, "check the policy, print it in full and exit", OPT_CHECK },
	{ "audit-log", "FILE", "audit log (default: as configured, " DEFAULT_AUDIT_LOG ")",
		OPT_AUDIT_LOG },
	{ "control", "SOCKET", "control socket (default " DEFAULT_CONTROL ")", OPT_CONTROL },
	{ "libexec", "DIR", "folder with the roles' programs", OPT_LIBEXEC },
	{ "destroy-ceiling", "N[/s]",
		"sockets destroyed per second at most, whatever is configured", OPT_CEILING },
	{ "allow-time-wait", NULL, "let rules that name the state time-wait release such sockets",
		OPT_TIME_WAIT },
	{ "ring-bytes", "N", "size of the event ring, a power of two (default 2097152)", OPT_RING },
	{ "verbose", NULL, "say more", 'v' },
	{ "version", NULL, "print the version and exit", 'V' },
	{ "help", NULL, "print this and exit", 'h' },
};
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

#endif
