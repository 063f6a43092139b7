/* SPDX-License-Identifier: Apache-2.0 */
#include "exitclass.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	const char *reason;
} classes[EXIT_CLASSES] = {
	[EXIT_CRASH] = { "crash", "owner-crashed" },
	[EXIT_KILL] = { "kill", "owner-killed" },
	[EXIT_OOM] = { "oom", "owner-oom" },
	[EXIT_CLOSED] = { "closed", "owner-closed" },
	[EXIT_TERM] = { "term", "owner-terminated" },
	[EXIT_ERROR] = { "error", "owner-failed" },
	[EXIT_CLEAN] = { "clean", "owner-finished" },
	[EXIT_UNKNOWN] = { "unknown", "owner-unknown" },
};

/* signal(7), default action "Core". */
static bool
signal_dumps_core(unsigned sig)
{
	switch (sig) {
	case SIGSEGV:
	case SIGABRT:
	case SIGBUS:
	case SIGILL:
	case SIGFPE:
	case SIGSYS:
	case SIGTRAP:
	case SIGQUIT:
	case SIGXCPU:
	case SIGXFSZ:
		return true;
	default:
		return false;
	}
}

unsigned
exit_signal(uint32_t exit_code)
{
	return exit_code & 0x7f;
}

unsigned
exit_status(uint32_t exit_code)
{
	return exit_signal(exit_code) != 0 ? 0 : (exit_code >> 8) & 0xff;
}

enum exit_class
exit_classify(uint32_t exit_code, bool oom)
{
	unsigned sig = exit_signal(exit_code);

	if (sig == SIGKILL)
		return oom ? EXIT_OOM : EXIT_KILL;
	if (sig != 0)
		return signal_dumps_core(sig) ? EXIT_CRASH : EXIT_TERM;
	return exit_status(exit_code) != 0 ? EXIT_ERROR : EXIT_CLEAN;
}

const char *
exit_class_name(enum exit_class c)
{
	return classes[c].name;
}

const char *
exit_class_reason(enum exit_class c)
{
	return classes[c].reason;
}

bool
exit_class_by_name(const char *name, enum exit_class *c)
{
	for (unsigned i = 0; i < EXIT_CLASSES; i++) {
		if (strcmp(classes[i].name, name) == 0) {
			*c = (enum exit_class)i;
			return true;
		}
	}
	return false;
}

void
exit_cause_print(uint32_t exit_code, char *out, unsigned long size)
{
	unsigned sig = exit_signal(exit_code);
	const char *name = sig != 0 ? sigabbrev_np((int)sig) : NULL;

	if (name != NULL)
		snprintf(out, size, "SIG%s", name);
	else if (sig != 0)
		snprintf(out, size, "signal %u", sig);
	else
		snprintf(out, size, "exit status %u", exit_status(exit_code));
}
