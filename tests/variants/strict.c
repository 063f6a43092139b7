/* SPDX-License-Identifier: Apache-2.0 */
#include "strict.h"

#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#define NUMBERS 1024

static char role[16];
static const char *names[NUMBERS];

static void
arguments_read(const ucontext_t *context, uint64_t args[6])
{
#if defined(__x86_64__)
	const int places[6] = { REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9 };

	for (unsigned i = 0; i < 6; i++)
		args[i] = (uint64_t)context->uc_mcontext.gregs[places[i]];
#elif defined(__aarch64__)
	for (unsigned i = 0; i < 6; i++)
		args[i] = context->uc_mcontext.regs[i];
#else
	(void)context;
	for (unsigned i = 0; i < 6; i++)
		args[i] = 0;
#endif
}

/* Ends here: what the role was about to do is as undone as with the real filter. */
static void
on_sigsys(int sig, siginfo_t *info, void *context)
{
	int nr = info->si_syscall;
	const char *name = nr >= 0 && nr < NUMBERS && names[nr] != NULL ? names[nr] : "?";
	uint64_t a[6];
	char line[256];
	int n;

	(void)sig;
	arguments_read(context, a);
	n = snprintf(line, sizeof(line),
		"<3>%s: the filter refuses %s (%d): 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx\n",
		role, name, nr, (unsigned long long)a[0], (unsigned long long)a[1],
		(unsigned long long)a[2], (unsigned long long)a[3], (unsigned long long)a[4],
		(unsigned long long)a[5]);
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(STRICT_STATUS + 1);
	_exit(STRICT_STATUS);
}

void
strict_prepare(void)
{
	struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };

	prctl(PR_GET_NAME, role, 0, 0, 0);
	for (int nr = 0; nr < NUMBERS; nr++)
		names[nr] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);
	if (sigaction(SIGSYS, &action, NULL) < 0)
		abort();
}
