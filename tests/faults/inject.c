/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the service and makes one of its system calls go wrong, once: the programs are those that
 * are shipped, and their filters are on.
 *
 *	inject --report FILE [options] -- COMMAND...
 *
 * COMMAND becomes this process; the injector is a process beside it that traces it and everything
 * it starts. A call that is to fail is replaced, at its entry, by a clock_gettime(2) that has
 *nowhere to put the time: every role's filter allows it, where it kills for the number -1 that a
 *tracer otherwise uses for "no call". Its result it gets at the exit. A short transfer is asked for
 *with a smaller length.
 *
 * FILE gets lines as things happen. Signals to the injector say how far the test is: SIGUSR1 "run",
 * SIGUSR2 "stop"; SIGHUP "heal" ends a fault that lasts.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "details.h"
#include "memory.h"

#ifndef __x86_64__
#error "the injector knows the registers of x86-64 only"
#endif

#define AT_NULL_    0
#define AT_IGNORE_  1
#define AT_SYSINFO_ 33 /* AT_SYSINFO_EHDR: where the vDSO is */
#define TRACEES_MAX 64
#define SEEN_MAX    4096
#define TRACE_EVENTS                                                                             \
	(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | \
		PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL)

enum phase { PHASE_START, PHASE_RUN, PHASE_STOP };

static const char *const phase_names[] = { "start", "run", "stop" };

enum effect {
	EFFECT_NONE,
	EFFECT_ERROR, /* not made; answers value */
	EFFECT_SHORT, /* made with a length of at most value */
	EFFECT_AFTER, /* made; answers value */
};

static struct plan {
	const char *report, *role, *call, *detail, *folder;
	enum phase from;
	enum effect effect;
	long value; /* an errno, or a length */
	unsigned long nth;
	long times; /* 0: until healed */
	bool record;
	bool clock; /* the clocks are read by system calls, and lie */
	clockid_t which;
	long long offset_ns; /* 0: it stands still for stall_ns */
	long long stall_ns;
} plan = { .nth = 1, .times = 1, .role = "", .call = "", .folder = "" };

static struct tracee {
	pid_t pid;
	char role[32];
	bool in_call;
	enum effect pending;
	struct user_regs_struct saved;
	uint64_t poked, poked_value; /* a word of its memory to be put back at the exit */
	uint64_t nr, args[6];
} tracees[TRACEES_MAX];

static volatile sig_atomic_t phase_now, healed;
static enum phase phase_said;
static unsigned long matched;
static long fired;
static int report_fd = -1;
static int forks; /* and the process that is traced first */
static struct timespec stalled_at;

static __attribute__((format(printf, 1, 2))) void
report(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line) || write(report_fd, line, (size_t)n) != n)
		_exit(98);
}

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
	_exit(99);
}

/* ---- what was seen ---- */

static struct seen {
	enum phase phase;
	char key[256];
	unsigned long count;
} seen[SEEN_MAX];

static void
record_call(const char *key)
{
	struct seen *s = seen;

	for (; s < seen + SEEN_MAX && s->count != 0; s++) {
		if (s->phase == (enum phase)phase_now && strcmp(s->key, key) == 0)
			break;
	}
	if (s == seen + SEEN_MAX)
		die("too many different calls");
	if (s->count++ != 0)
		return;
	s->phase = (enum phase)phase_now;
	snprintf(s->key, sizeof(s->key), "%s", key);
}

static void
record_report(void)
{
	for (struct seen *s = seen; s < seen + SEEN_MAX && s->count != 0; s++)
		report("seen %s %s %lu\n", phase_names[s->phase], s->key, s->count);
}

/* ---- one call ---- */

static const char *
call_name(uint64_t nr)
{
	static char *names[1024];

	if (nr >= sizeof(names) / sizeof(names[0]))
		return "none";
	if (names[nr] == NULL)
		names[nr] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)nr);
	return names[nr] != NULL ? names[nr] : "none";
}

/* Replaces the call by one that does nothing. */
static void
call_skip(struct tracee *t)
{
	struct user_regs_struct regs = t->saved;

	if (t->nr == SYS_brk) { /* it tells a failure by answering where the break is */
		regs.rdi = 0;
	} else {
		regs.orig_rax = SYS_clock_gettime;
		regs.rdi = CLOCK_REALTIME;
		regs.rsi = 0;
	}
	if (ptrace(PTRACE_SETREGS, t->pid, NULL, &regs) < 0)
		die("PTRACE_SETREGS");
}

static void
call_shorten(struct tracee *t)
{
	struct user_regs_struct regs = t->saved;
	uint64_t iov, most = (uint64_t)plan.value;

	switch (t->nr) {
	case SYS_getrandom:
		regs.rsi = regs.rsi < most ? regs.rsi : most;
		break;
	case SYS_recvmsg:
	case SYS_sendmsg:
		iov = memory_word(t->pid, t->args[1] + offsetof(struct msghdr, msg_iov));
		t->poked = iov + offsetof(struct iovec, iov_len);
		t->poked_value = memory_word(t->pid, t->poked);
		memory_put(t->pid, t->poked, t->poked_value < most ? t->poked_value : most);
		break;
	default: /* the length, or the number of messages, is the third argument */
		regs.rdx = regs.rdx < most ? regs.rdx : most;
	}
	if (ptrace(PTRACE_SETREGS, t->pid, NULL, &regs) < 0)
		die("PTRACE_SETREGS");
}

/* Some faults are not one call's: no more memory, no more descriptors. */
static bool
call_is_meant(const char *name)
{
	static const char *const groups[][8] = {
		{ "memory", "brk", "mmap", "mremap" },
		{ "descriptors", "openat", "accept4", "socket", "epoll_create1", "pipe2" },
	};

	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++) {
		if (strcmp(plan.call, groups[g][0]) != 0)
			continue;
		for (size_t i = 1; groups[g][i] != NULL; i++) {
			if (strcmp(name, groups[g][i]) == 0)
				return true;
		}
	}
	return strcmp(name, plan.call) == 0;
}

static bool
call_matches(const struct tracee *t, const char *name, const char *detail)
{
	if (plan.effect == EFFECT_NONE || healed || (plan.times != 0 && fired >= plan.times))
		return false;
	if ((enum phase)phase_now < plan.from || strcmp(t->role, plan.role) != 0 ||
		!call_is_meant(name))
		return false;
	return plan.detail == NULL || strcmp(detail, plan.detail) == 0;
}

static bool
wants_detail(const struct tracee *t, const char *name)
{
	return plan.record || (strcmp(t->role, plan.role) == 0 && call_is_meant(name));
}

static void
call_enter(struct tracee *t, const struct __ptrace_syscall_info *info)
{
	const char *name = call_name(info->entry.nr);
	char detail[160] = "-", key[256];

	t->in_call = true;
	t->nr = info->entry.nr;
	memcpy(t->args, info->entry.args, sizeof(t->args));
	if (wants_detail(t, name))
		detail_of(t->pid, name, t->args, plan.folder, detail, sizeof(detail));
	if (plan.record) {
		snprintf(key, sizeof(key), "%s %s %s", t->role, name, detail);
		record_call(key);
	}
	if (!call_matches(t, name, detail) || ++matched < plan.nth)
		return;
	if (ptrace(PTRACE_GETREGS, t->pid, NULL, &t->saved) < 0)
		die("PTRACE_GETREGS");
	t->pending = plan.effect;
	if (plan.effect == EFFECT_ERROR)
		call_skip(t);
	else if (plan.effect == EFFECT_SHORT)
		call_shorten(t);
	report("%s %s %s %s\n", fired++ == 0 ? "fired" : "again", t->role, name, detail);
}

/* Arguments are as they were before: the kernel's promise to its callers. */
static void
result_put(const struct tracee *t)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, t->pid, NULL, &regs) < 0)
		die("PTRACE_GETREGS");
	regs.rdi = t->saved.rdi;
	regs.rsi = t->saved.rsi;
	regs.rdx = t->saved.rdx;
	if (t->pending != EFFECT_SHORT && t->nr != SYS_brk)
		regs.rax = (unsigned long long)-plan.value;
	if (ptrace(PTRACE_SETREGS, t->pid, NULL, &regs) < 0)
		die("PTRACE_SETREGS");
}

static bool
clock_is(uint64_t id)
{
	if (plan.which == CLOCK_REALTIME)
		return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE;
	return id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE;
}

static long long
since_stalled(const struct timespec *now)
{
	if (stalled_at.tv_sec == 0)
		stalled_at = *now;
	return (now->tv_sec - stalled_at.tv_sec) * 1000000000ll + now->tv_nsec - stalled_at.tv_nsec;
}

/* What the process is told instead of the time. */
static void
clock_lie(const struct tracee *t)
{
	struct timespec ts;
	long long ns;

	memory_read(t->pid, t->args[1], &ts, sizeof(ts));
	ns = ts.tv_sec * 1000000000ll + ts.tv_nsec + plan.offset_ns;
	if (plan.stall_ns != 0) {
		if (since_stalled(&ts) > plan.stall_ns)
			return;
		ns = stalled_at.tv_sec * 1000000000ll + stalled_at.tv_nsec;
	}
	ts.tv_sec = ns / 1000000000ll;
	ts.tv_nsec = ns % 1000000000ll;
	if (ts.tv_nsec < 0) {
		ts.tv_sec--;
		ts.tv_nsec += 1000000000ll;
	}
	memory_write(t->pid, t->args[1], &ts, sizeof(ts));
	if (fired++ == 0)
		report("fired %s clock_gettime -\n", t->role);
}

static void
call_exit(struct tracee *t, const struct __ptrace_syscall_info *info)
{
	t->in_call = false;
	if (t->poked != 0)
		memory_put(t->pid, t->poked, t->poked_value);
	t->poked = 0;
	if (t->pending != EFFECT_NONE)
		result_put(t);
	t->pending = EFFECT_NONE;
	if (plan.clock && t->nr == SYS_clock_gettime && clock_is(t->args[0]) &&
		(enum phase)phase_now >= plan.from && info->exit.rval == 0)
		clock_lie(t);
}

static void
call_stop(struct tracee *t)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, sizeof(info), &info) < 0)
		return; /* it has been killed meanwhile */
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		call_enter(t, &info);
	else if (info.op == PTRACE_SYSCALL_INFO_EXIT && t->in_call)
		call_exit(t, &info);
}

/* ---- processes ---- */

/* What the launcher forks goes by its number until it becomes a role. Its first stop may be seen
 * before the launcher's, at the fork. */
static struct tracee *
tracee_find(pid_t pid)
{
	struct tracee *free_one = NULL;

	for (struct tracee *t = tracees; t < tracees + TRACEES_MAX; t++) {
		if (t->pid == pid)
			return t;
		if (t->pid == 0 && free_one == NULL)
			free_one = t;
	}
	if (free_one == NULL)
		die("too many processes");
	*free_one = (struct tracee){ .pid = pid };
	snprintf(free_one->role, sizeof(free_one->role), "child-%d", forks++);
	return free_one;
}

static void
role_at_fork(const struct tracee *parent)
{
	unsigned long child;

	if (ptrace(PTRACE_GETEVENTMSG, parent->pid, NULL, &child) == 0)
		tracee_find((pid_t)child);
}

static void
role_at_exec(struct tracee *t)
{
	char path[64], text[512];
	const char *name;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", t->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		die("reading a command line");
	close(fd);
	text[n] = '\0';
	name = strrchr(text, '/');
	name = name == NULL ? text : name + 1;
	if (strcmp(name, "eghostbuster") == 0)
		name = "launcher";
	else if (strcmp(name, "broker") == 0 && strcmp(text + strlen(text) + 1, "run") != 0)
		name = "config";
	snprintf(t->role, sizeof(t->role), "%.*s", (int)sizeof(t->role) - 1, name);
	report("exec %s %d\n", t->role, t->pid);
}

/* Without a vDSO the C library asks the kernel for the time, where it can be answered for it. */
static void
vdso_hide(const struct tracee *t)
{
	struct user_regs_struct regs;
	uint64_t at;

	if (ptrace(PTRACE_GETREGS, t->pid, NULL, &regs) < 0)
		die("PTRACE_GETREGS");
	at = regs.rsp + 8 * (memory_word(t->pid, regs.rsp) + 2); /* argc, argv, NULL */
	while (memory_word(t->pid, at) != 0)
		at += 8;
	for (at += 8; memory_word(t->pid, at) != AT_NULL_; at += 16) {
		if (memory_word(t->pid, at) == AT_SYSINFO_)
			memory_put(t->pid, at, AT_IGNORE_);
	}
}

/* ---- the tracer ---- */

static void
on_signal(int sig)
{
	if (sig == SIGUSR1)
		phase_now = PHASE_RUN;
	else if (sig == SIGUSR2)
		phase_now = PHASE_STOP;
	else
		healed = 1;
}

static void
phase_report(void)
{
	static bool healed_said;

	if (phase_said != (enum phase)phase_now)
		report("phase %s\n", phase_names[phase_now]);
	phase_said = (enum phase)phase_now;
	if (healed && !healed_said)
		report("healed\n");
	healed_said = healed != 0;
}

static bool
over(const struct tracee *t)
{
	return plan.effect != EFFECT_NONE && (healed || (plan.times != 0 && fired >= plan.times)) &&
	       t->pending == EFFECT_NONE && t->poked == 0;
}

static void
process_stopped(struct tracee *t, int status)
{
	int sig = WSTOPSIG(status), event = status >> 16;

	if (event == PTRACE_EVENT_STOP && sig == SIGSTOP) {
		ptrace(PTRACE_LISTEN, t->pid, NULL, NULL); /* it stays stopped */
		return;
	}
	if (sig == (SIGTRAP | 0x80)) {
		call_stop(t);
		sig = 0;
	} else if (event == PTRACE_EVENT_EXEC) {
		role_at_exec(t);
		if (plan.clock)
			vdso_hide(t);
		sig = 0;
	} else if (event != 0) {
		if (event != PTRACE_EVENT_STOP)
			role_at_fork(t);
		sig = 0;
	}
	/* What is done is done: the rest goes at its own speed. */
	ptrace(over(t) ? PTRACE_DETACH : PTRACE_SYSCALL, t->pid, NULL, (void *)(long)sig);
}

static _Noreturn void
trace_all(void)
{
	int status;
	pid_t pid;

	for (;;) {
		pid = waitpid(-1, &status, __WALL);
		phase_report();
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0)
			break;
		if (WIFSTOPPED(status)) {
			process_stopped(tracee_find(pid), status);
			continue;
		}
		report("ended %s %d %s %d\n", tracee_find(pid)->role, pid,
			WIFEXITED(status) ? "status" : "signal",
			WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
		tracee_find(pid)->pid = 0;
	}
	if (plan.record)
		record_report();
	report("end %ld\n", fired);
	_exit(0);
}

static _Noreturn void
tracer_become(pid_t service, int ready)
{
	struct sigaction act = { .sa_handler = on_signal };
	int status;

	sigaction(SIGUSR1, &act, NULL);
	sigaction(SIGUSR2, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	report_fd = open(plan.report, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (report_fd < 0)
		die(plan.report);
	if (ptrace(PTRACE_SEIZE, service, NULL, TRACE_EVENTS) < 0 ||
		ptrace(PTRACE_INTERRUPT, service, NULL, NULL) < 0 ||
		waitpid(service, &status, __WALL) != service)
		die("PTRACE_SEIZE");
	snprintf(tracee_find(service)->role, sizeof(tracees[0].role), "inject");
	report("tracer %d\n", getpid());
	ptrace(PTRACE_SYSCALL, service, NULL, NULL);
	if (write(ready, "", 1) != 1)
		die("write");
	close(ready);
	trace_all();
}

/* The tracer is nobody's child: the service waits for all of its own. */
static void
tracer_start(void)
{
	pid_t self = getpid(), between;
	int ready[2];
	char byte;

	if (pipe2(ready, O_CLOEXEC) < 0)
		die("pipe2");
	between = fork();
	if (between == 0) {
		if (fork() == 0)
			tracer_become(self, ready[1]);
		_exit(0);
	}
	close(ready[1]);
	if (between < 0 || waitpid(between, NULL, 0) != between || read(ready[0], &byte, 1) != 1)
		die("starting the tracer");
	close(ready[0]);
}

/* ---- the command line ---- */

static long
errno_number(const char *name)
{
	for (int e = 1; e < 200; e++) {
		const char *known = strerrorname_np(e);

		if (known != NULL && strcmp(known, name) == 0)
			return e;
	}
	fprintf(stderr, "inject: no such errno: %s\n", name);
	exit(2);
}

static void
effect_parse(char *text)
{
	char *value = strchr(text, ':');

	*value++ = '\0';
	if (strcmp(text, "short") == 0) {
		plan.effect = EFFECT_SHORT;
		plan.value = atol(value);
		return;
	}
	plan.effect = strcmp(text, "after") == 0 ? EFFECT_AFTER : EFFECT_ERROR;
	plan.value = strcmp(text, "return") == 0 ? -atol(value) : errno_number(value);
}

static void
clock_parse(const char *text)
{
	const char *value = strchr(text, ':') + 1;

	plan.clock = true;
	plan.which = strncmp(text, "realtime", 8) == 0 ? CLOCK_REALTIME : CLOCK_MONOTONIC;
	if (strncmp(value, "stall:", 6) == 0)
		plan.stall_ns = atoll(value + 6) * 1000000ll;
	else
		plan.offset_ns = atoll(value) * 1000000000ll;
}

static void
phase_parse(const char *text)
{
	while (strcmp(phase_names[plan.from], text) != 0) {
		if (plan.from == PHASE_STOP)
			exit(2);
		plan.from++;
	}
}

static const struct option options[] = {
	{ "report", required_argument, NULL, 'o' },
	{ "record", no_argument, NULL, 'R' },
	{ "role", required_argument, NULL, 'r' },
	{ "call", required_argument, NULL, 'c' },
	{ "detail", required_argument, NULL, 'd' },
	{ "from", required_argument, NULL, 'f' },
	{ "nth", required_argument, NULL, 'n' },
	{ "times", required_argument, NULL, 't' },
	{ "effect", required_argument, NULL, 'e' },
	{ "clock", required_argument, NULL, 'k' },
	{ "folder", required_argument, NULL, 'F' },
	{ NULL, 0, NULL, 0 },
};

static void
option_apply(int option)
{
	switch (option) {
	case 'o':
		plan.report = optarg;
		break;
	case 'R':
		plan.record = true;
		break;
	case 'r':
		plan.role = optarg;
		break;
	case 'c':
		plan.call = optarg;
		break;
	case 'd':
		plan.detail = optarg;
		break;
	case 'f':
		phase_parse(optarg);
		break;
	case 'n':
		plan.nth = strtoul(optarg, NULL, 10);
		break;
	case 't':
		plan.times = atol(optarg);
		break;
	case 'e':
		effect_parse(optarg);
		break;
	case 'k':
		clock_parse(optarg);
		break;
	case 'F':
		plan.folder = optarg;
		break;
	default:
		exit(2);
	}
}

int
main(int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1)
		option_apply(option);
	if (optind >= argc || plan.report == NULL)
		return 2;
	tracer_start();
	execvp(argv[optind], argv + optind);
	die(argv[optind]);
}
