/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* links: proto/filter.c proto/log.c tracker/filter.c reaper/filter.c sink/filter.c broker/filter.c | pkg: libseccomp */
/* clang-format on */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "broker/auditlog.h"
#include "broker/filter.h"
#include "broker/load.h"
#include "proto/channel.h"
#include "proto/fds.h"
#include "reaper/filter.h"
#include "reaper/netlink.h"
#include "sink/audit.h"
#include "sink/filter.h"
#include "tracker/filter.h"

/*
 * Each role's filter, as the kernel gets it, run here on every call there is. What an unconditional
 * verdict is, is known for certain: the program then has not looked at an argument.
 */

#define NUMBERS	    1000 /* more calls than any architecture has */
#define PROGRAM_MAX 4096

enum role { TRACKER, REAPER, BROKER, CHECK, SINK, ROLES };

static const char *const role_names[ROLES] = { "tracker", "reaper", "broker", "config check",
	"sink" };

static struct program {
	struct sock_filter code[PROGRAM_MAX];
	size_t len;
} programs[ROLES];

static void
program_export(scmp_filter_ctx ctx, struct program *to)
{
	int fd = memfd_create("filter", MFD_CLOEXEC);
	ssize_t n;

	assert_non_null(ctx);
	assert_int_equal(seccomp_export_bpf(ctx, fd), 0);
	n = pread(fd, to->code, sizeof(to->code), 0);
	assert_true(n > 0 && (size_t)n < sizeof(to->code) && n % (ssize_t)sizeof(to->code[0]) == 0);
	to->len = (size_t)n / sizeof(to->code[0]);
	close(fd);
	seccomp_release(ctx);
}

static int
group_setup(void **state)
{
	(void)state;
	program_export(filter_build(tracker_filter, tracker_filter_count), &programs[TRACKER]);
	program_export(filter_build(reaper_filter, REAPER_FILTER_GROUPS), &programs[REAPER]);
	program_export(filter_build(broker_filter, BROKER_FILTER_GROUPS), &programs[BROKER]);
	program_export(filter_build(check_filter, CHECK_FILTER_GROUPS), &programs[CHECK]);
	program_export(filter_build(sink_filter, SINK_FILTER_GROUPS), &programs[SINK]);
	return 0;
}

/* ---- classic BPF, as far as a filter uses it ---- */

struct verdict {
	uint32_t action;
	bool by_arguments; /* an argument was looked at on the way */
};

static uint32_t
word_at(const struct seccomp_data *data, uint32_t at)
{
	uint32_t word;

	assert_true(at % 4 == 0 && at + 4 <= sizeof(*data));
	memcpy(&word, (const char *)data + at, sizeof(word));
	return word;
}

/* How many instructions a jump passes over. */
static size_t
jump(const struct sock_filter *in, uint32_t a)
{
	bool taken = false;

	switch (BPF_OP(in->code)) {
	case BPF_JA:
		return in->k;
	case BPF_JEQ:
		taken = a == in->k;
		break;
	case BPF_JGT:
		taken = a > in->k;
		break;
	case BPF_JGE:
		taken = a >= in->k;
		break;
	case BPF_JSET:
		taken = (a & in->k) != 0;
		break;
	default:
		fail_msg("jump 0x%x", in->code);
	}
	return taken ? in->jt : in->jf;
}

static struct verdict
run(const struct program *p, const struct seccomp_data *data)
{
	struct verdict v = { 0 };
	uint32_t a = 0;

	for (size_t pc = 0; pc < p->len; pc++) {
		const struct sock_filter *in = &p->code[pc];

		if (in->code == (BPF_RET | BPF_K)) {
			v.action = in->k;
			return v;
		}
		if (in->code == (BPF_LD | BPF_W | BPF_ABS)) {
			v.by_arguments |= in->k >= offsetof(struct seccomp_data, args);
			a = word_at(data, in->k);
		} else if (in->code == (BPF_ALU | BPF_AND | BPF_K)) {
			a &= in->k;
		} else if (BPF_CLASS(in->code) == BPF_JMP && BPF_SRC(in->code) == BPF_K) {
			pc += jump(in, a);
		} else {
			fail_msg("instruction 0x%x", in->code);
		}
	}
	fail_msg("the program has no end");
	return v;
}

static struct verdict
judge(enum role role, int nr, const uint64_t args[6])
{
	struct seccomp_data data = { .nr = nr, .arch = seccomp_arch_native() };

	if (args != NULL)
		memcpy(data.args, args, sizeof(data.args));
	return run(&programs[role], &data);
}

static bool
allows(enum role role, int nr, const uint64_t args[6])
{
	uint32_t action = judge(role, nr, args).action;

	assert_true(action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_KILL_PROCESS);
	return action == SECCOMP_RET_ALLOW;
}

/* ---- the whole surface ---- */

/* A call, and whether it is allowed whatever its arguments. */
struct surface {
	int nr;
	bool free;
};

#define FREE(name)                   \
	{                            \
		SCMP_SYS(name), true \
	}
#define BY_ARGUMENTS(name)            \
	{                             \
		SCMP_SYS(name), false \
	}
#ifdef __NR_epoll_wait
#define WAIT epoll_wait
#else
#define WAIT epoll_pwait
#endif
#define COMMON                                                                     \
	FREE(exit_group), BY_ARGUMENTS(clock_gettime), BY_ARGUMENTS(gettimeofday), \
		BY_ARGUMENTS(write), BY_ARGUMENTS(ppoll)
#define MEMORY FREE(munmap), FREE(brk), BY_ARGUMENTS(mmap), BY_ARGUMENTS(mremap)

static const struct surface tracker_surface[] = { COMMON, BY_ARGUMENTS(sendto),
	BY_ARGUMENTS(recvmsg) };
static const struct surface reaper_surface[] = { COMMON, BY_ARGUMENTS(sendto),
	BY_ARGUMENTS(recvmsg), BY_ARGUMENTS(recvmmsg), BY_ARGUMENTS(writev) };
static const struct surface broker_surface[] = { COMMON, MEMORY, BY_ARGUMENTS(WAIT),
	BY_ARGUMENTS(epoll_pwait2), BY_ARGUMENTS(epoll_ctl), BY_ARGUMENTS(read),
	BY_ARGUMENTS(recvmsg), BY_ARGUMENTS(sendto), BY_ARGUMENTS(recvfrom), BY_ARGUMENTS(shutdown),
	BY_ARGUMENTS(close), BY_ARGUMENTS(wait4), BY_ARGUMENTS(rt_sigtimedwait),
	BY_ARGUMENTS(accept4), BY_ARGUMENTS(getsockopt), BY_ARGUMENTS(pread64),
	BY_ARGUMENTS(fdatasync), BY_ARGUMENTS(pwrite64), BY_ARGUMENTS(openat), BY_ARGUMENTS(dup3),
	FREE(fstat), FREE(getuid) };
static const struct surface sink_surface[] = { COMMON, BY_ARGUMENTS(sendto), BY_ARGUMENTS(recvfrom),
	BY_ARGUMENTS(recvmsg) };
static const struct surface check_surface[] = { COMMON, MEMORY, BY_ARGUMENTS(pread64) };

static const struct {
	const struct surface *calls;
	size_t count;
} surfaces[ROLES] = {
	[TRACKER] = { tracker_surface, COUNT_OF(tracker_surface) },
	[REAPER] = { reaper_surface, COUNT_OF(reaper_surface) },
	[BROKER] = { broker_surface, COUNT_OF(broker_surface) },
	[CHECK] = { check_surface, COUNT_OF(check_surface) },
	[SINK] = { sink_surface, COUNT_OF(sink_surface) },
};

#ifdef EGB_SANITIZE
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* What the sanitizers' run-time needs besides, in their builds only. */
static bool
is_for_sanitizers(int nr)
{
#ifdef EGB_SANITIZE
	const int calls[] = { SCMP_SYS(munmap), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(futex),
		SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(sched_yield), SCMP_SYS(sigaltstack),
		SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(readlink),
		SCMP_SYS(getrlimit), SCMP_SYS(prlimit64) };

	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		if (calls[i] == nr)
			return true;
	}
#else
	(void)nr;
#endif
	return false;
}

static const struct surface *
surface_find(enum role role, int nr)
{
	for (size_t i = 0; i < surfaces[role].count; i++) {
		if (surfaces[role].calls[i].nr == nr)
			return &surfaces[role].calls[i];
	}
	return NULL;
}

static void
number_try(enum role role, int nr)
{
	const struct surface *s = surface_find(role, nr);
	struct verdict v = judge(role, nr, NULL);
	bool allowed = v.action == SECCOMP_RET_ALLOW;
	bool good;

	if ((s != NULL && !s->free) ||
		(SANITIZED && (nr == SCMP_SYS(mprotect) || nr == SCMP_SYS(mmap))))
		good = v.by_arguments; /* which, the tests below say */
	else
		good = !v.by_arguments && allowed == (s != NULL || is_for_sanitizers(nr));
	if (!good)
		fail_msg("%s: call %d is %s%s", role_names[role], nr,
			allowed ? "allowed" : "killed", v.by_arguments ? " by its arguments" : "");
}

/* Every number: what is in no table is killed whatever its arguments. */
static void
test_surface(void **state)
{
	(void)state;
	for (unsigned role = 0; role < ROLES; role++) {
		for (int nr = -10; nr < NUMBERS; nr++)
			number_try((enum role)role, nr);
		number_try((enum role)role, INT32_MAX);
		number_try((enum role)role, INT32_MIN);
	}
}

#define NAMED(name)                   \
	{                             \
		SCMP_SYS(name), #name \
	}

/* The calls by which a captured role could get out of its place, by name. */
static const struct {
	int nr;
	const char *name;
} forbidden[] = { NAMED(execve), NAMED(execveat), NAMED(fork), NAMED(vfork), NAMED(clone),
	NAMED(clone3), NAMED(ptrace), NAMED(process_vm_readv), NAMED(process_vm_writev),
	NAMED(pidfd_getfd), NAMED(pidfd_open), NAMED(pidfd_send_signal), NAMED(kcmp), NAMED(kill),
	NAMED(tkill), NAMED(tgkill), NAMED(rt_sigqueueinfo), NAMED(rt_tgsigqueueinfo),
	NAMED(socket), NAMED(socketpair), NAMED(connect), NAMED(bind), NAMED(listen), NAMED(accept),
	NAMED(setsockopt), NAMED(sendmsg), NAMED(sendmmsg), NAMED(rt_sigreturn),
	NAMED(restart_syscall), NAMED(exit), NAMED(newfstatat), NAMED(statx), NAMED(stat),
	NAMED(lstat), NAMED(access), NAMED(faccessat), NAMED(faccessat2), NAMED(getdents64),
	NAMED(readlinkat), NAMED(waitid), NAMED(vmsplice), NAMED(tee), NAMED(process_madvise),
	NAMED(process_mrelease), NAMED(fanotify_init), NAMED(inotify_init1), NAMED(timerfd_create),
	NAMED(signalfd4), NAMED(eventfd2), NAMED(pipe2), NAMED(epoll_create1), NAMED(msgget),
	NAMED(shmget), NAMED(mq_open), NAMED(quotactl), NAMED(landlock_restrict_self),
	NAMED(set_mempolicy), NAMED(migrate_pages), NAMED(move_pages), NAMED(bpf),
	NAMED(perf_event_open), NAMED(userfaultfd), NAMED(io_uring_setup), NAMED(io_uring_enter),
	NAMED(io_uring_register), NAMED(open), NAMED(openat2), NAMED(creat),
	NAMED(open_by_handle_at), NAMED(name_to_handle_at), NAMED(setuid), NAMED(setgid),
	NAMED(setreuid), NAMED(setregid), NAMED(setresuid), NAMED(setresgid), NAMED(setgroups),
	NAMED(setfsuid), NAMED(setfsgid), NAMED(capset), NAMED(prctl), NAMED(seccomp),
	NAMED(personality), NAMED(setns), NAMED(unshare), NAMED(mount), NAMED(umount2),
	NAMED(move_mount), NAMED(open_tree), NAMED(fsopen), NAMED(mount_setattr), NAMED(pivot_root),
	NAMED(chroot), NAMED(chdir), NAMED(fchdir), NAMED(rename), NAMED(renameat),
	NAMED(renameat2), NAMED(unlink), NAMED(unlinkat), NAMED(rmdir), NAMED(link), NAMED(linkat),
	NAMED(symlink), NAMED(symlinkat), NAMED(mkdir), NAMED(mkdirat), NAMED(mknod),
	NAMED(mknodat), NAMED(truncate), NAMED(ftruncate), NAMED(fallocate), NAMED(chmod),
	NAMED(fchmod), NAMED(fchmodat), NAMED(chown), NAMED(fchown), NAMED(lchown), NAMED(fchownat),
	NAMED(setxattr), NAMED(fsetxattr), NAMED(utimensat), NAMED(pwritev), NAMED(pwritev2),
	NAMED(sendfile), NAMED(splice), NAMED(copy_file_range), NAMED(fcntl), NAMED(ioctl),
	NAMED(dup), NAMED(dup2), NAMED(memfd_create), NAMED(memfd_secret), NAMED(pkey_mprotect),
	NAMED(remap_file_pages), NAMED(shmat), NAMED(add_key), NAMED(request_key), NAMED(keyctl),
	NAMED(init_module), NAMED(finit_module), NAMED(delete_module), NAMED(kexec_load),
	NAMED(kexec_file_load), NAMED(reboot), NAMED(swapon), NAMED(settimeofday),
	NAMED(clock_settime), NAMED(adjtimex), NAMED(sethostname), NAMED(syslog), NAMED(setrlimit),
	NAMED(landlock_create_ruleset), NAMED(arch_prctl), NAMED(modify_ldt), NAMED(iopl),
	NAMED(ioperm) };

static void
test_forbidden(void **state)
{
	(void)state;
	for (unsigned role = 0; role < ROLES; role++) {
		for (size_t i = 0; i < COUNT_OF(forbidden); i++) {
			struct verdict v = judge((enum role)role, forbidden[i].nr, NULL);

			assert_int_not_equal(forbidden[i].nr, __NR_SCMP_ERROR);
			if (v.action != SECCOMP_RET_KILL_PROCESS || v.by_arguments)
				fail_msg("%s: %s", role_names[role], forbidden[i].name);
		}
	}
}

/* Opening files is the broker's only, and of no other role in any form. */
static void
test_no_files(void **state)
{
	const enum role closed[] = { TRACKER, REAPER, CHECK, SINK };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(closed); i++) {
		struct verdict v = judge(closed[i], SCMP_SYS(openat), NULL);

		assert_true(v.action == SECCOMP_RET_KILL_PROCESS && !v.by_arguments);
	}
}

/* ---- another architecture's numbers ---- */

static void
test_other_architectures(void **state)
{
	const uint32_t others[] = { AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_X86_64,
		AUDIT_ARCH_AARCH64, AUDIT_ARCH_PPC64LE, AUDIT_ARCH_S390X, 0, UINT32_MAX };

	(void)state;
	for (unsigned role = 0; role < ROLES; role++) {
		for (size_t i = 0; i < COUNT_OF(others); i++) {
			for (int nr = 0; nr < NUMBERS && others[i] != seccomp_arch_native(); nr++) {
				struct seccomp_data data = { .nr = nr, .arch = others[i] };

				assert_int_equal(run(&programs[role], &data).action,
					SECCOMP_RET_KILL_PROCESS);
			}
		}
	}
}

/* x32 has x86-64's architecture and a bit in the number. */
static void
test_x32(void **state)
{
	(void)state;
	for (unsigned role = 0; role < ROLES; role++) {
		for (int nr = 0; nr < NUMBERS; nr++)
			assert_false(allows((enum role)role, 0x40000000 | nr, NULL));
		for (unsigned bit = 10; bit < 32; bit++)
			assert_false(allows((enum role)role,
				(int)(1u << bit | (unsigned)SCMP_SYS(exit_group)), NULL));
	}
}

/* ---- arguments ---- */

#define CALL(name) SCMP_SYS(name), #name

#define OPENED 0x7fffffff00000000ull /* stands for all that are opened later */
#define FLAGS  (MSG_NOSIGNAL | MSG_DONTWAIT)

/* Of a call with otherwise good arguments, which values argument `at` may have. */
static const struct by_value {
	enum role role;
	int nr;
	const char *name;
	uint64_t args[6];
	unsigned at;
	uint64_t good[4]; /* 0 after the first: no more */
} by_value[] = {
	{ TRACKER, CALL(write), { 0 }, 0, { STDERR_FILENO } },
	{ REAPER, CALL(write), { 0 }, 0, { STDERR_FILENO } },
	{ BROKER, CALL(write), { 0 }, 0, { STDERR_FILENO, BROKER_FD_LOG } },
	{ CHECK, CALL(write), { 0 }, 0, { STDERR_FILENO, STDOUT_FILENO } },
	{ TRACKER, CALL(sendto), { ROLE_CHANNEL_FD, 9, 9, MSG_NOSIGNAL }, 0, { ROLE_CHANNEL_FD } },
	{ TRACKER, CALL(sendto), { ROLE_CHANNEL_FD, 9, 9, MSG_NOSIGNAL }, 3, { MSG_NOSIGNAL } },
	{ TRACKER, CALL(sendto), { ROLE_CHANNEL_FD, 9, 9, MSG_NOSIGNAL }, 4, { 0 } },
	{ TRACKER, CALL(sendto), { ROLE_CHANNEL_FD, 9, 9, MSG_NOSIGNAL }, 5, { 0 } },
	{ TRACKER, CALL(recvmsg), { ROLE_CHANNEL_FD }, 0, { ROLE_CHANNEL_FD } },
	{ TRACKER, CALL(recvmsg), { ROLE_CHANNEL_FD }, 2, { 0 } },
	{ REAPER, CALL(sendto), { ROLE_CHANNEL_FD, 9, 9, MSG_NOSIGNAL }, 0, { ROLE_CHANNEL_FD } },
	{ REAPER, CALL(sendto), { ROLE_CHANNEL_FD, 9, 9, MSG_NOSIGNAL }, 3, { MSG_NOSIGNAL } },
	{ REAPER, CALL(sendto), { ROLE_CHANNEL_FD, 9, 9, MSG_NOSIGNAL }, 4, { 0 } },
	{ REAPER, CALL(sendto), { NETLINK_DUMP_FD, 9, 9, 0 }, 0, { NETLINK_DUMP_FD } },
	{ REAPER, CALL(sendto), { NETLINK_DUMP_FD, 9, 9, 0 }, 3, { 0 } },
	{ REAPER, CALL(sendto), { NETLINK_DUMP_FD, 9, 9, 0 }, 4, { 0 } },
	{ REAPER, CALL(sendto), { NETLINK_DUMP_FD, 9, 9, 0 }, 5, { 0 } },
	{ REAPER, CALL(writev), { NETLINK_FD, 9, 9 }, 0, { NETLINK_FD } },
	{ REAPER, CALL(recvmsg), { ROLE_CHANNEL_FD }, 0, { ROLE_CHANNEL_FD } },
	{ REAPER, CALL(recvmsg), { ROLE_CHANNEL_FD }, 2, { 0 } },
	{ REAPER, CALL(recvmsg), { NETLINK_DUMP_FD, 9, MSG_DONTWAIT }, 0, { NETLINK_DUMP_FD } },
	{ REAPER, CALL(recvmsg), { NETLINK_DUMP_FD, 9, MSG_DONTWAIT }, 2, { MSG_DONTWAIT } },
	{ REAPER, CALL(recvmmsg), { NETLINK_FD, 9, 9, MSG_DONTWAIT }, 0, { NETLINK_FD } },
	{ REAPER, CALL(recvmmsg), { NETLINK_FD, 9, 9, MSG_DONTWAIT }, 3, { MSG_DONTWAIT } },
	{ REAPER, CALL(recvmmsg), { NETLINK_FD, 9, 9, MSG_DONTWAIT }, 4, { 0 } },
	{ SINK, CALL(write), { 0 }, 0, { STDERR_FILENO } },
	{ SINK, CALL(sendto), { ROLE_CHANNEL_FD, 9, 9, MSG_NOSIGNAL }, 0, { ROLE_CHANNEL_FD } },
	{ SINK, CALL(sendto), { ROLE_CHANNEL_FD, 9, 9, MSG_NOSIGNAL }, 3, { MSG_NOSIGNAL } },
	{ SINK, CALL(sendto), { ROLE_CHANNEL_FD, 9, 9, MSG_NOSIGNAL }, 4, { 0 } },
	{ SINK, CALL(sendto), { AUDIT_FD, 9, 9, 0 }, 0, { AUDIT_FD } },
	{ SINK, CALL(sendto), { AUDIT_FD, 9, 9, 0 }, 3, { 0 } },
	{ SINK, CALL(sendto), { AUDIT_FD, 9, 9, 0 }, 4, { 0 } },
	{ SINK, CALL(sendto), { AUDIT_FD, 9, 9, 0 }, 5, { 0 } },
	{ SINK, CALL(recvfrom), { AUDIT_FD, 9, 9, MSG_DONTWAIT }, 0, { AUDIT_FD } },
	{ SINK, CALL(recvfrom), { AUDIT_FD, 9, 9, MSG_DONTWAIT }, 3, { MSG_DONTWAIT } },
	{ SINK, CALL(recvfrom), { AUDIT_FD, 9, 9, MSG_DONTWAIT }, 4, { 0 } },
	{ SINK, CALL(recvfrom), { AUDIT_FD, 9, 9, MSG_DONTWAIT }, 5, { 0 } },
	{ SINK, CALL(recvmsg), { ROLE_CHANNEL_FD }, 0, { ROLE_CHANNEL_FD } },
	{ SINK, CALL(recvmsg), { ROLE_CHANNEL_FD }, 2, { 0 } },
	{ SINK, CALL(ppoll), { 0 }, 1, { 1 } },
	{ SINK, CALL(ppoll), { 9, 1 }, 3, { 0 } },
	{ TRACKER, CALL(ppoll), { 0 }, 1, { 1, 2 } },
	{ REAPER, CALL(ppoll), { 0 }, 1, { 1 } },
	{ BROKER, CALL(ppoll), { 0 }, 1, { 1 } },
	{ CHECK, CALL(ppoll), { 0 }, 1, { 1 } },
	{ TRACKER, CALL(ppoll), { 9, 2 }, 3, { 0 } },
	{ REAPER, CALL(ppoll), { 9, 1 }, 3, { 0 } },
	{ BROKER, CALL(ppoll), { 9, 1 }, 3, { 0 } },
	{ BROKER, CALL(mremap), { 9, 9, 9, MREMAP_MAYMOVE }, 3, { MREMAP_MAYMOVE } },
	{ BROKER, CALL(gettimeofday), { 9, 0 }, 1, { 0 } },
	{ BROKER, CALL(WAIT), { 16 }, 0, { OPENED } },
	{ BROKER, CALL(epoll_pwait2), { 16 }, 0, { OPENED } },
	{ BROKER, CALL(epoll_pwait2), { 16 }, 4, { 0 } },
	{ BROKER, CALL(epoll_ctl), { 16 }, 0, { OPENED } },
	{ BROKER, CALL(read), { 16 }, 0, { OPENED } },
	{ BROKER, CALL(recvmsg), { BROKER_FD_TRACKER }, 0,
		{ BROKER_FD_TRACKER, BROKER_FD_REAPER, BROKER_FD_SINK } },
	{ BROKER, CALL(recvmsg), { BROKER_FD_TRACKER }, 2, { 0 } },
	{ BROKER, CALL(recvmsg), { BROKER_FD_REAPER }, 2, { 0 } },
	{ BROKER, CALL(sendto), { BROKER_FD_REAPER, 9, 9, MSG_NOSIGNAL }, 0,
		{ BROKER_FD_REAPER, BROKER_FD_SINK } },
	{ BROKER, CALL(sendto), { BROKER_FD_REAPER, 9, 9, MSG_NOSIGNAL }, 3, { MSG_NOSIGNAL } },
	{ BROKER, CALL(sendto), { BROKER_FD_REAPER, 9, 9, MSG_NOSIGNAL }, 4, { 0 } },
	{ BROKER, CALL(sendto), { BROKER_FD_NOTIFY, 9, 9, FLAGS }, 0,
		{ BROKER_FD_NOTIFY, BROKER_FD_JOURNAL, OPENED } },
	{ BROKER, CALL(sendto), { BROKER_FD_SINK, 9, 9, MSG_NOSIGNAL }, 3, { MSG_NOSIGNAL } },
	{ BROKER, CALL(sendto), { BROKER_FD_JOURNAL, 9, 9, FLAGS }, 3, { FLAGS } },
	{ BROKER, CALL(sendto), { BROKER_FD_JOURNAL, 9, 9, FLAGS }, 4, { 0 } },
	{ BROKER, CALL(sendto), { BROKER_FD_NOTIFY, 9, 9, FLAGS }, 3, { FLAGS } },
	{ BROKER, CALL(sendto), { BROKER_FD_NOTIFY, 9, 9, FLAGS }, 4, { 0 } },
	{ BROKER, CALL(sendto), { BROKER_FD_NOTIFY, 9, 9, FLAGS }, 5, { 0 } },
	{ BROKER, CALL(sendto), { 16, 9, 9, FLAGS }, 3, { FLAGS } },
	{ BROKER, CALL(sendto), { 16, 9, 9, FLAGS }, 4, { 0 } },
	{ BROKER, CALL(recvfrom), { 16, 9, 9, MSG_DONTWAIT }, 0, { OPENED } },
	{ BROKER, CALL(recvfrom), { 16, 9, 9, MSG_DONTWAIT }, 3, { MSG_DONTWAIT } },
	{ BROKER, CALL(recvfrom), { 16, 9, 9, MSG_DONTWAIT }, 4, { 0 } },
	{ BROKER, CALL(recvfrom), { 16, 9, 9, MSG_DONTWAIT }, 5, { 0 } },
	{ BROKER, CALL(shutdown), { BROKER_FD_TRACKER, SHUT_WR }, 0, { BROKER_FD_TRACKER } },
	{ BROKER, CALL(shutdown), { BROKER_FD_TRACKER, SHUT_WR }, 1, { SHUT_WR } },
	{ BROKER, CALL(shutdown), { BROKER_FD_SINK, SHUT_RDWR }, 0, { BROKER_FD_SINK } },
	{ BROKER, CALL(shutdown), { BROKER_FD_SINK, SHUT_RDWR }, 1, { SHUT_RDWR } },
	{ BROKER, CALL(close), { 0 }, 0,
		{ BROKER_FD_TRACKER, BROKER_FD_REAPER, BROKER_FD_SINK, OPENED } },
	{ BROKER, CALL(wait4), { UINT64_MAX, 9, WNOHANG }, 2, { WNOHANG } },
	{ BROKER, CALL(wait4), { UINT64_MAX, 9, WNOHANG }, 3, { 0 } },
	{ BROKER, CALL(rt_sigtimedwait), { 9, 0, 9, 8 }, 1, { 0 } },
	{ BROKER, CALL(accept4), { BROKER_FD_CONTROL, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK }, 0,
		{ BROKER_FD_CONTROL } },
	{ BROKER, CALL(accept4), { BROKER_FD_CONTROL, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK }, 1,
		{ 0 } },
	{ BROKER, CALL(accept4), { BROKER_FD_CONTROL, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK }, 3,
		{ SOCK_CLOEXEC | SOCK_NONBLOCK } },
	{ BROKER, CALL(getsockopt), { 16, SOL_SOCKET, SO_PEERCRED }, 0, { OPENED } },
	{ BROKER, CALL(getsockopt), { 16, SOL_SOCKET, SO_PEERCRED }, 1, { SOL_SOCKET } },
	{ BROKER, CALL(getsockopt), { 16, SOL_SOCKET, SO_PEERCRED }, 2,
		{ SO_PEERCRED, SO_PEERGROUPS } },
	{ BROKER, CALL(pread64), { 0 }, 0, { BROKER_FD_LOG, OPENED } },
	{ BROKER, CALL(fdatasync), { 0 }, 0, { BROKER_FD_LOG, BROKER_FD_SEAL } },
	{ BROKER, CALL(pwrite64), { BROKER_FD_SEAL, 9, SEAL_STATE_LEN, 0 }, 0, { BROKER_FD_SEAL } },
	{ BROKER, CALL(pwrite64), { BROKER_FD_SEAL, 9, SEAL_STATE_LEN, 0 }, 2, { SEAL_STATE_LEN } },
	{ BROKER, CALL(pwrite64), { BROKER_FD_SEAL, 9, SEAL_STATE_LEN, 0 }, 3, { 0 } },
	{ CHECK, CALL(pread64), { 0 }, 0, { BROKER_FD_CONFIG } },
	{ BROKER, CALL(dup3), { 16, BROKER_FD_LOG, O_CLOEXEC }, 0, { OPENED } },
	{ BROKER, CALL(dup3), { 16, BROKER_FD_LOG, O_CLOEXEC }, 1, { BROKER_FD_LOG } },
	{ BROKER, CALL(dup3), { 16, BROKER_FD_LOG, O_CLOEXEC }, 2, { O_CLOEXEC } },
	{ BROKER, CALL(openat), { BROKER_FD_LOG_DIR, 1, AUDITLOG_SUCCESSOR_FLAGS, 0640 }, 0,
		{ BROKER_FD_LOG_DIR } },
	{ BROKER, CALL(openat), { BROKER_FD_LOG_DIR, 1, AUDITLOG_SUCCESSOR_FLAGS, 0640 }, 2,
		{ AUDITLOG_SUCCESSOR_FLAGS } },
	{ BROKER, CALL(openat), { BROKER_FD_LOG_DIR, 1, AUDITLOG_SUCCESSOR_FLAGS, 0640 }, 3,
		{ 0640 } },
	{ BROKER, CALL(openat), { BROKER_FD_CONFIG_DIR, 1, LOAD_CONFIG_FLAGS }, 0,
		{ BROKER_FD_CONFIG_DIR } },
	{ BROKER, CALL(openat), { BROKER_FD_CONFIG_DIR, 1, LOAD_CONFIG_FLAGS }, 2,
		{ LOAD_CONFIG_FLAGS } },
};

static bool
value_is_good(const struct by_value *row, uint64_t value)
{
	for (size_t i = 0; i < COUNT_OF(row->good); i++) {
		if (i > 0 && row->good[i] == 0)
			break;
		if (value == row->good[i] || (row->good[i] == OPENED && value >= BROKER_FD_OPENED &&
						     value < BROKER_NOFILE))
			return true;
	}
	return false;
}

static void
value_try(const struct by_value *row, uint64_t value)
{
	uint64_t args[6];
	bool good = value_is_good(row, value);

	memcpy(args, row->args, sizeof(args));
	args[row->at] = value;
	if (allows(row->role, row->nr, args) != good)
		fail_msg("%s: %s with argument %u = 0x%llx", role_names[row->role], row->name,
			row->at, (unsigned long long)value);
}

/* Small numbers, each single bit, and the right value with one more bit: also above the 32nd. */
static void
test_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(by_value); i++) {
		for (uint64_t value = 0; value < 5000; value++)
			value_try(&by_value[i], value);
		for (unsigned bit = 0; bit < 64; bit++) {
			value_try(&by_value[i], 1ull << bit);
			value_try(&by_value[i], by_value[i].good[0] ^ 1ull << bit);
		}
		value_try(&by_value[i], UINT64_MAX);
		value_try(&by_value[i], (uint32_t)AT_FDCWD);
		value_try(&by_value[i], (uint64_t)AT_FDCWD);
	}
}

/* Tracker, reaper and sink have all their memory before their filter is on. */
static bool
allocates(enum role role)
{
	return role == BROKER || role == CHECK;
}

/* Memory as malloc() wants it and no other: nothing to execute, nothing of a file, nothing that was
 * executable or read-only made otherwise. */
static void
test_memory(void **state)
{
	(void)state;
	for (unsigned role = 0; role < ROLES; role++) {
		for (uint64_t prot = 0; prot < 0x1000; prot++) {
			uint64_t mprotect[6] = { 0x1000, 0x1000, prot };
			uint64_t of_file[6] = { 0, 4096, prot, MAP_PRIVATE, 3 };
			uint64_t anonymous[6] = { 0, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS,
				UINT64_MAX };
			bool data_only = (prot & PROT_EXEC) == 0;

			assert_int_equal(allows((enum role)role, SCMP_SYS(mprotect), mprotect),
				SANITIZED && data_only);
			assert_int_equal(allows((enum role)role, SCMP_SYS(mmap), anonymous),
				SANITIZED ? data_only
					  : allocates((enum role)role) &&
						    prot == (PROT_READ | PROT_WRITE));
			assert_false(allows((enum role)role, SCMP_SYS(mmap), of_file));
			anonymous[2] |= 1ull << 32;
			assert_int_equal(allows((enum role)role, SCMP_SYS(mmap), anonymous),
				SANITIZED && data_only);
		}
	}
}

static void
test_mapping_flags(void **state)
{
	(void)state;
	for (unsigned role = 0; role < ROLES; role++) {
		for (uint64_t flags = 0; flags < 0x1000; flags++) {
			uint64_t args[6] = { 0, 4096, PROT_READ | PROT_WRITE, flags, 3 };
			bool anonymous = (flags & MAP_ANONYMOUS) != 0;

			assert_int_equal(allows((enum role)role, SCMP_SYS(mmap), args),
				SANITIZED ? anonymous
					  : allocates((enum role)role) &&
						    flags == (MAP_PRIVATE | MAP_ANONYMOUS));
		}
	}
}

/* The system's clocks, but not other processes' or devices' (negative ids). */
static void
test_clocks(void **state)
{
	(void)state;
	for (unsigned role = 0; role < ROLES; role++) {
		for (int id = -5000; id < 5000; id++) {
			uint64_t args[6] = { (uint64_t)id, 9 }, half[6] = { (uint32_t)id, 9 };
			bool of_the_system = id >= 0 && id < 16;

			assert_int_equal(allows((enum role)role, SCMP_SYS(clock_gettime), args),
				of_the_system);
			assert_int_equal(allows((enum role)role, SCMP_SYS(clock_gettime), half),
				of_the_system);
		}
	}
}

/* The broker waits for any child, and asks about no other process: the kernel looks at the lower
 * half. */
static void
test_wait(void **state)
{
	(void)state;
	for (int pid = -5000; pid < 5000; pid++) {
		uint64_t args[6] = { (uint64_t)pid, 9, WNOHANG },
			 half[6] = { (uint32_t)pid, 9, WNOHANG };

		assert_int_equal(allows(BROKER, SCMP_SYS(wait4), args), pid == -1);
		assert_int_equal(allows(BROKER, SCMP_SYS(wait4), half), pid == -1);
	}
}

/* A descriptor's upper half means nothing to the kernel: it must not mean anything here. */
static void
test_upper_halves(void **state)
{
	(void)state;
	for (uint64_t fd = 0; fd < 64; fd++) {
		for (unsigned bit = 32; bit < 64; bit++) {
			uint64_t args[6] = { fd | 1ull << bit, 9, 9, MSG_DONTWAIT };

			assert_false(allows(BROKER, SCMP_SYS(recvfrom), args));
			assert_false(allows(BROKER, SCMP_SYS(read), args));
			assert_false(allows(BROKER, SCMP_SYS(close), args));
			assert_false(allows(BROKER, SCMP_SYS(pread64), args));
		}
	}
}

/* Whatever a file is opened with: never cut, never made but by the log, never a folder's listing.
 */
static void
test_open_flags(void **state)
{
	const uint64_t bits[] = { O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_NONBLOCK,
		O_CLOEXEC, O_NOFOLLOW, O_DIRECTORY, O_PATH, O_NOCTTY };

	(void)state;
	for (unsigned set = 0; set < 1u << COUNT_OF(bits); set++) {
		uint64_t log[6] = { BROKER_FD_LOG_DIR, 1, 0, 0640 };
		uint64_t config[6] = { BROKER_FD_CONFIG_DIR, 1, 0, 0 };
		uint64_t flags = 0;

		for (unsigned b = 0; b < COUNT_OF(bits); b++)
			flags |= (set >> b & 1) != 0 ? bits[b] : 0;
		log[2] = config[2] = flags;
		assert_int_equal(
			allows(BROKER, SCMP_SYS(openat), log), flags == AUDITLOG_SUCCESSOR_FLAGS);
		assert_int_equal(
			allows(BROKER, SCMP_SYS(openat), config), flags == LOAD_CONFIG_FLAGS);
	}
	assert_int_equal(AUDITLOG_SUCCESSOR_FLAGS & O_TRUNC, 0);
	assert_int_equal(AUDITLOG_SUCCESSOR_FLAGS & (O_APPEND | O_NOFOLLOW), O_APPEND | O_NOFOLLOW);
	assert_int_equal(LOAD_CONFIG_FLAGS & (O_ACCMODE | O_CREAT | O_TRUNC), O_RDONLY);
}

/* ---- tables that must not become filters ---- */

static const struct filter_rule bare[] = { FILTER_ALLOW(openat) };
static const struct filter_rule filtered[] = { { SCMP_SYS(openat), 1, { FILTER_EQ(0, 3) } } };
static const struct filter_rule nonsense[] = { { __NR_SCMP_ERROR, 0, { { 0 } } } };
static const struct filter_rule bare_write[] = { FILTER_ALLOW(write) };

/* An unconditional rule makes the one with arguments void: in one group, in two, and with the
 * common one. */
static void
test_voided_rules(void **state)
{
	const struct filter_group both[] = { FILTER_GROUP("a", filtered), FILTER_GROUP("b", bare) };
	const struct filter_group twice[] = { FILTER_GROUP("a", filtered),
		FILTER_GROUP("b", filtered) };
	const struct filter_group against_common[] = { FILTER_GROUP("a", bare_write) };
	scmp_filter_ctx ctx;

	(void)state;
	assert_null(filter_build(both, 2));
	assert_null(filter_build(against_common, 1));
	ctx = filter_build(twice, 2); /* says the same twice: no harm */
	assert_non_null(ctx);
	seccomp_release(ctx);
	ctx = filter_build(&both[1], 1);
	assert_non_null(ctx);
	seccomp_release(ctx);
}

static void
test_refused_tables(void **state)
{
	const struct filter_group wrong[] = { FILTER_GROUP("a", nonsense) };
	const struct filter_group one = FILTER_GROUP("a", filtered);
	struct filter_group many[20];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(many); i++)
		many[i] = one;
	assert_null(filter_build(wrong, 1));
	assert_null(filter_build(many, COUNT_OF(many)));
}

static void
install_wrong(void *arg)
{
	const struct filter_group wrong[] = { FILTER_GROUP("a", nonsense) };

	(void)arg;
	filter_install(wrong, 1);
}

static void
test_nothing_fails_open(void **state)
{
	char said[512];

	(void)state;
	assert_int_equal(child_run(install_wrong, NULL, said, sizeof(said)), 1);
	assert_one_line(said, "filter cannot be built");
}

/* ---- in the kernel ---- */

static void
install_and_call(void *arg)
{
	filter_install(reaper_filter, REAPER_FILTER_GROUPS);
	syscall(*(int *)arg, 0, 0, 0, 0, 0, 0);
}

/* The program run above is what the kernel runs. */
static void
test_in_the_kernel(void **state)
{
	int fork_it = SYS_clone, end_it = SYS_exit_group, open_it = SYS_openat, run_it = SYS_execve;
	char said[4096];

	(void)state;
	assert_int_equal(child_run(install_and_call, &end_it, said, sizeof(said)), 0);
	assert_int_equal(child_run(install_and_call, &fork_it, said, sizeof(said)), -SIGSYS);
	assert_int_equal(child_run(install_and_call, &open_it, said, sizeof(said)), -SIGSYS);
	assert_int_equal(child_run(install_and_call, &run_it, said, sizeof(said)), -SIGSYS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_surface),
		cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_other_architectures),
		cmocka_unit_test(test_x32),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_mapping_flags),
		cmocka_unit_test(test_clocks),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_upper_halves),
		cmocka_unit_test(test_open_flags),
		cmocka_unit_test(test_voided_rules),
		cmocka_unit_test(test_refused_tables),
		cmocka_unit_test(test_nothing_fails_open),
		cmocka_unit_test(test_in_the_kernel),
	};

	return cmocka_run_group_tests_name("filter", tests, group_setup, NULL);
}
