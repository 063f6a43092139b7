/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher: root, once, or the broker's account with what it takes of root's capabilities. It
 * parses nothing but its argv, opens what only it may open, starts the roles and becomes the
 * broker. After that no process of the service is root.
 */
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ask.h"
#include "files.h"
#include "ids.h"
#include "kept.h"
#include "options.h"
#include "proto/channel.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "proto/privs.h"
#include "spawn.h"

#define HEARTBEAT_MS 5000u
/* The kernel doubles them. The tracker's: the events of 100,000 orphans, in packets that are not
 * full, while whoever is to read them waits for the log's disk. The reaper's is smaller: nobody's
 * request overtakes what is in it. */
#define TRACKER_BUFFER (32 << 20)
#define REAPER_BUFFER  (4 << 20)
#define SINK_BUFFER    (1 << 16) /* what finds no room is kept by the broker, as far as it goes */

/* Who dies uses the processors while the ring fills. It is emptied in a fraction of that time. */
#define TRACKER_NICE (-10)

#define BTF_PATH "/sys/kernel/btf/vmlinux"

struct programs {
	int tracker, broker, reaper, sink; /* sink: -1 when there is to be none */
};

struct channels {
	int tracker[2], reaper[2], sink[2]; /* [0] the broker's end, [1] the role's */
};

static void
capability_check(unsigned cap, const char *name)
{
	if (!capng_have_capability(CAPNG_PERMITTED, cap) ||
		!capng_have_capability(CAPNG_BOUNDING_SET, cap))
		fatal("%s is missing: it is needed at the start, or by a role", name);
}

static void
requirements_check(void)
{
	static const struct {
		unsigned cap;
		const char *name;
	} needed[] = {
		{ CAP_BPF, "CAP_BPF" },
		{ CAP_PERFMON, "CAP_PERFMON" },
		{ CAP_NET_ADMIN, "CAP_NET_ADMIN" },
		{ CAP_SETUID, "CAP_SETUID" },
		{ CAP_SETGID, "CAP_SETGID" },
		{ CAP_SETPCAP, "CAP_SETPCAP" },
	};

	if (geteuid() != 0 && !capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID))
		fatal("must be started as root, to make unprivileged processes of itself");
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		capability_check(needed[i].cap, needed[i].name);
	if (access(BTF_PATH, R_OK) < 0)
		fatal("%s: %s: the kernel must have BTF (CONFIG_DEBUG_INFO_BTF=y, 5.8 or later)",
			BTF_PATH, strerror(errno));
}

/* A service manager that gives the capabilities can spare us being root. Whoever we are owns the
 * control socket, and stays what the broker is. */
static void
account_check(const struct ids *ids)
{
	if (geteuid() != 0 && geteuid() != ids->broker.uid)
		fatal("started as uid %u: expected root or the broker's account (%u)", geteuid(),
			ids->broker.uid);
}

static void
pair_make(int pair[2], int size)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		fatal("cannot make a socket pair: %s", strerror(errno));
	for (int i = 0; i < 2; i++) {
		if (setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
			fatal("cannot size a socket pair's buffer: %s", strerror(errno));
	}
}

/* Half of what the service manager's watchdog allows, at most HEARTBEAT_MS. */
static unsigned
heartbeat_choose(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	unsigned long long half;

	if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != getpid()))
		return HEARTBEAT_MS;
	half = strtoull(usec, NULL, 10) / 2000;
	if (half == 0)
		fatal("WATCHDOG_USEC=%s is too short for a watchdog", usec);
	return half < HEARTBEAT_MS ? (unsigned)half : HEARTBEAT_MS;
}

/* `eghostbuster --check-config`: the broker's program does it, without any privilege. Asked before
 * what a start asks, so that what the one takes the other does not refuse. */
static _Noreturn void
check_config(const struct options *opt)
{
	int program = spawn_program_open(opt->libexec, "broker");
	struct handles h = { .config = -1, .config_dir = -1 };
	const char *argv[ASK_ARGV_MAX];
	struct fd_place fds[1];
	static struct answers answers;
	struct ids ids = { 0 };

	files_config_open(&h, opt);
	if (geteuid() == 0 || capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID))
		ids_choose(&ids);
	ask_configuration(&answers, opt, &h, &ids.broker, program);
	ids_control_group(answers.of[ANSWER_CONTROL_GROUP]);
	ask_argv(argv, opt, &h, "check");
	fds[0] = (struct fd_place){ h.config, BROKER_FD_CONFIG };
	spawn_become(&(struct role){ .name = "broker",
			     .argv = argv,
			     .ids = ids.broker,
			     .fds = fds,
			     .fd_count = 1 },
		opt->libexec, program);
}

static pid_t
fork_or_die(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fatal("cannot fork: %s", strerror(errno));
	return pid;
}

static pid_t
role_fork(const struct role *role, const char *libexec, int program)
{
	pid_t pid = fork_or_die();

	if (pid == 0) {
		/* The terminal's ^C goes to all; the roles stop when the broker closes their
		 * channel. */
		signal(SIGINT, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		signal(SIGPIPE, SIG_IGN);
		spawn_become(role, libexec, program);
	}
	return pid;
}

static void
tracker_start(const struct options *opt, const struct ids *ids, const struct channels *ch,
	const struct handles *h, const struct kept_here *kept, int program)
{
	struct fd_place fds[2 + KEPT_PARTS] = { { ch->tracker[1], ROLE_CHANNEL_FD },
		{ h->notify, TRACKER_FD_NOTIFY } };
	const char *argv[12] = { "--heartbeat-ms" };
	char heartbeat[16], ring[32];
	unsigned n = 1;

	for (int i = 0; i < KEPT_PARTS; i++)
		fds[2 + i] = (struct fd_place){ kept->fds[i], TRACKER_FD_KEPT + i };
	snprintf(heartbeat, sizeof(heartbeat), "%u", heartbeat_choose());
	snprintf(ring, sizeof(ring), "%u", opt->ring_bytes);
	argv[n++] = heartbeat;
	argv[n++] = "--ring-bytes";
	argv[n++] = ring;
	if (h->notify >= 0)
		argv[n++] = "--notify";
	if (h->notify >= 0 && kept->here)
		argv[n++] = "--kept";
	if (opt->verbose)
		argv[n++] = "-v";
	argv[n] = NULL;
	role_fork(&(struct role){ .name = "tracker",
			  .argv = argv,
			  .ids = ids->tracker,
			  .caps = CAP_BIT(CAP_BPF) | CAP_BIT(CAP_PERFMON),
			  .bounding = CAP_BIT(CAP_BPF),
			  .nice = TRACKER_NICE,
			  .fds = fds,
			  .fd_count = sizeof(fds) / sizeof(fds[0]) },
		opt->libexec, program);
}

static void
reaper_start(
	const struct options *opt, const struct ids *ids, const struct channels *ch, int program)
{
	const struct fd_place fds[] = { { ch->reaper[1], ROLE_CHANNEL_FD } };
	const char *argv[8] = { "--ceiling" };
	char ceiling[32];
	unsigned n = 1;

	snprintf(ceiling, sizeof(ceiling), "%llu", (unsigned long long)opt->destroy_ceiling);
	argv[n++] = ceiling;
	if (opt->time_wait)
		argv[n++] = "--time-wait";
	if (opt->verbose)
		argv[n++] = "-v";
	argv[n] = NULL;
	role_fork(&(struct role){ .name = "reaper",
			  .argv = argv,
			  .ids = ids->reaper,
			  .caps = CAP_BIT(CAP_NET_ADMIN),
			  .bounding = CAP_BIT(CAP_NET_ADMIN),
			  .fds = fds,
			  .fd_count = 1 },
		opt->libexec, program);
}

static bool
wanted(const struct answers *answers, enum answer what)
{
	return strcmp(answers->of[what], "yes") == 0;
}

/* Where the configuration asks for it: -1 when it does not. */
static int
sink_open(const struct options *opt, const struct answers *answers)
{
	if (!wanted(answers, ANSWER_LINUX_AUDIT))
		return -1;
	capability_check(CAP_AUDIT_WRITE, "CAP_AUDIT_WRITE");
	return spawn_program_open(opt->libexec, "sink");
}

/* Returns its process, 0: there is none. */
static pid_t
sink_start(const struct options *opt, const struct ids *ids, struct channels *ch, int program)
{
	const char *argv[] = { opt->verbose ? "-v" : NULL, NULL };
	struct fd_place fds[1];

	ch->sink[0] = -1;
	if (program < 0)
		return 0;
	pair_make(ch->sink, SINK_BUFFER);
	fds[0] = (struct fd_place){ ch->sink[1], ROLE_CHANNEL_FD };
	return role_fork(&(struct role){ .name = "sink",
				 .argv = argv,
				 .ids = ids->sink,
				 .caps = CAP_BIT(CAP_AUDIT_WRITE),
				 .bounding = CAP_BIT(CAP_AUDIT_WRITE),
				 .fds = fds,
				 .fd_count = 1 },
		opt->libexec, program);
}

/* It cannot learn all from its descriptors. */
static unsigned
broker_argv(const char *argv[ASK_ARGV_MAX], const struct options *opt, const struct handles *h,
	const struct answers *answers, pid_t sink)
{
	static char group[16], pid[16];
	unsigned n = ask_argv(argv, opt, h, "run");

	argv[n++] = "--log-path";
	argv[n++] = answers->of[ANSWER_AUDIT_LOG];
	if (h->control_group != (gid_t)-1) {
		snprintf(group, sizeof(group), "%u", h->control_group);
		argv[n++] = "--control-gid";
		argv[n++] = group;
	}
	if (sink != 0) {
		snprintf(pid, sizeof(pid), "%d", sink);
		argv[n++] = "--sink-pid";
		argv[n++] = pid;
	}
	argv[n] = NULL;
	return n;
}

static _Noreturn void
broker_become(const struct options *opt, const struct ids *ids, const struct channels *ch,
	const struct handles *h, int program, const struct answers *answers, pid_t sink)
{
	const struct fd_place fds[] = {
		{ ch->tracker[0], BROKER_FD_TRACKER },
		{ ch->reaper[0], BROKER_FD_REAPER },
		{ h->control, BROKER_FD_CONTROL },
		{ h->lock, BROKER_FD_LOCK },
		{ h->log, BROKER_FD_LOG },
		{ h->log_dir, BROKER_FD_LOG_DIR },
		{ h->log_before, BROKER_FD_LOG_BEFORE },
		{ h->seal, BROKER_FD_SEAL },
		{ h->config, BROKER_FD_CONFIG },
		{ h->config_dir, BROKER_FD_CONFIG_DIR },
		{ h->notify, BROKER_FD_NOTIFY },
		{ ch->sink[0], BROKER_FD_SINK },
		{ h->journal, BROKER_FD_JOURNAL },
	};
	const char *argv[ASK_ARGV_MAX];

	broker_argv(argv, opt, h, answers, sink);
	spawn_become(&(struct role){ .name = "broker",
			     .argv = argv,
			     .ids = ids->broker,
			     .fds = fds,
			     .fd_count = sizeof(fds) / sizeof(fds[0]) },
		opt->libexec, program);
}

/* Kernels before 5.11 account BPF memory to RLIMIT_MEMLOCK. Where it cannot be raised and matters,
 * loading fails and says so. */
static void
memlock_raise(void)
{
	const struct rlimit wanted = { 64u << 20, 64u << 20 };
	struct rlimit now;

	if (getrlimit(RLIMIT_MEMLOCK, &now) == 0 && now.rlim_max < wanted.rlim_max)
		setrlimit(RLIMIT_MEMLOCK, &wanted);
}

/* A descriptor below 3 that is closed would be given to the next file opened. */
static void
stdio_ensure(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		fatal("cannot open /dev/null: %s", strerror(errno));
	close(fd);
}

int
main(int argc, char **argv)
{
	struct handles h = { -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, NULL, (gid_t)-1 };
	static struct answers answers;
	struct programs programs;
	struct channels channels;
	struct kept_here kept;
	struct options opt;
	struct ids ids;
	pid_t sink;

	log_open("eghostbuster", false);
	stdio_ensure();
	/* Dispositions are inherited, from whoever starts us and by the roles. */
	signal(SIGCHLD, SIG_DFL);
	signal(SIGXFSZ, SIG_IGN); /* a full log is an error of write(2), not a death */
	options_parse(&opt, argc, argv);
	kept_receive(&kept, opt.ring_bytes);
	if (opt.check_config)
		check_config(&opt);
	requirements_check();
	programs.tracker = spawn_program_open(opt.libexec, "tracker");
	programs.reaper = spawn_program_open(opt.libexec, "reaper");
	programs.broker = spawn_program_open(opt.libexec, "broker");
	ids_choose(&ids);
	account_check(&ids);
	files_config_open(&h, &opt);
	ask_configuration(&answers, &opt, &h, &ids.broker, programs.broker);
	h.control_group = ids_control_group(answers.of[ANSWER_CONTROL_GROUP]);
	programs.sink = sink_open(&opt, &answers);
	files_lock_take(&h, opt.control);
	files_notify_open(&h);
	if (wanted(&answers, ANSWER_JOURNALD))
		files_journal_open(&h);
	files_log_open(&h, answers.of[ANSWER_AUDIT_LOG], &ids.broker);
	files_control_open(&h, opt.control);
	pair_make(channels.tracker, TRACKER_BUFFER);
	pair_make(channels.reaper, REAPER_BUFFER);
	memlock_raise();
	sink = sink_start(&opt, &ids, &channels, programs.sink);
	reaper_start(&opt, &ids, &channels, programs.reaper);
	kept_discard(&kept, h.notify);
	tracker_start(&opt, &ids, &channels, &h, &kept, programs.tracker);
	broker_become(&opt, &ids, &channels, &h, programs.broker, &answers, sink);
}
