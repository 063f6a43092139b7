/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher: root, once. It parses nothing but its argv, opens what only root may open, starts
 * the roles and becomes the broker. After that no process of the service is root.
 */
#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "ids.h"
#include "options.h"
#include "proto/channel.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "proto/privs.h"
#include "spawn.h"

#define HEARTBEAT_MS   5000u
#define CHANNEL_BUFFER (4 << 20) /* the default holds some 278 small packets */

#define BTF_PATH "/sys/kernel/btf/vmlinux"

struct programs {
	int tracker, broker, reaper;
};

struct channels {
	int tracker[2], reaper[2]; /* [0] the broker's end, [1] the role's */
};

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

	if (geteuid() != 0)
		fatal("must be started as root, to make three unprivileged processes of itself");
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (!capng_have_capability(CAPNG_PERMITTED, needed[i].cap) ||
			!capng_have_capability(CAPNG_BOUNDING_SET, needed[i].cap))
			fatal("%s is missing: it is needed at the start, or by a role",
				needed[i].name);
	}
	if (access(BTF_PATH, R_OK) < 0)
		fatal("%s: %s: the kernel must have BTF (CONFIG_DEBUG_INFO_BTF=y, 5.8 or later)",
			BTF_PATH, strerror(errno));
}

static void
pair_make(int pair[2])
{
	const int size = CHANNEL_BUFFER;

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

/* The broker's arguments: what it cannot learn from its descriptors. */
static void
broker_argv(const char *argv[16], const struct options *opt, const struct handles *h,
	const char *verb, const char *log_path)
{
	unsigned n = 0;

	argv[n++] = verb;
	if (h->config_path != NULL) {
		argv[n++] = "--config";
		argv[n++] = h->config_path;
	}
	if (opt->audit_log != NULL) {
		argv[n++] = "--audit-log";
		argv[n++] = opt->audit_log;
	}
	if (log_path != NULL) {
		argv[n++] = "--log-path";
		argv[n++] = log_path;
	}
	if (opt->observe)
		argv[n++] = "--observe";
	if (opt->verbose)
		argv[n++] = "--verbose";
	argv[n] = NULL;
}

/* `eghostbuster --check-config`: the broker's program does it, without any privilege. */
static _Noreturn void
check_config(const struct options *opt)
{
	struct handles h = { .config = -1, .config_dir = -1 };
	struct ids ids = { 0 };
	const char *argv[16];
	struct fd_place fds[1];

	files_config_open(&h, opt);
	if (geteuid() == 0)
		ids_choose(&ids);
	broker_argv(argv, opt, &h, "check", NULL);
	fds[0] = (struct fd_place){ h.config, BROKER_FD_CONFIG };
	spawn_become(&(struct role){ .name = "broker",
			     .argv = argv,
			     .ids = ids.broker,
			     .fds = fds,
			     .fd_count = 1 },
		opt->libexec, spawn_program_open(opt->libexec, "broker"));
}

static pid_t
fork_or_die(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fatal("cannot fork: %s", strerror(errno));
	return pid;
}

static size_t
line_read(int fd, char *line, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size && (n = read(fd, line + used, size - used)) != 0) {
		if (n < 0 && errno != EINTR)
			fatal("cannot read the configuration's answer: %s", strerror(errno));
		if (n > 0)
			used += (size_t)n;
	}
	return used;
}

/*
 * Where the audit log goes is in the configuration, which root does not parse. A child without
 * privileges, which has heard nobody but that file, reads it and answers one line: the path. A bad
 * file ends here, before anything is started.
 */
static const char *
log_path_ask(const struct options *opt, const struct handles *h, const struct ids *ids, int program)
{
	static char path[PATH_MAX + 1];
	const char *argv[16];
	int out[2], status;
	pid_t pid;
	size_t n;

	if (pipe2(out, O_CLOEXEC) < 0)
		fatal("cannot make a pipe: %s", strerror(errno));
	broker_argv(argv, opt, h, "log-path", NULL);
	pid = fork_or_die();
	if (pid == 0) {
		const struct fd_place fds[] = { { h->config, BROKER_FD_CONFIG },
			{ out[1], STDOUT_FILENO } };

		spawn_become(&(struct role){ .name = "broker",
				     .argv = argv,
				     .ids = ids->broker,
				     .fds = fds,
				     .fd_count = 2 },
			opt->libexec, program);
	}
	close(out[1]);
	n = line_read(out[0], path, sizeof(path) - 1);
	close(out[0]);
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		fatal("reading the configuration failed");
	if (WEXITSTATUS(status) != 0)
		exit(WEXITSTATUS(status)); /* it has said what is wrong */
	path[n] = '\0';
	if (n < 2 || strlen(path) != n || path[n - 1] != '\n')
		fatal("reading the configuration gave no path for the audit log");
	path[n - 1] = '\0';
	return path;
}

static void
role_fork(const struct role *role, const char *libexec, int program)
{
	if (fork_or_die() == 0) {
		/* The terminal's ^C goes to all; the roles stop when the broker closes their
		 * channel. */
		signal(SIGINT, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		signal(SIGPIPE, SIG_IGN);
		spawn_become(role, libexec, program);
	}
}

static void
tracker_start(const struct options *opt, const struct ids *ids, const struct channels *ch,
	int program, unsigned heartbeat_ms)
{
	const struct fd_place fds[] = { { ch->tracker[1], ROLE_CHANNEL_FD } };
	const char *argv[8] = { "--heartbeat-ms" };
	char heartbeat[16], ring[32];
	unsigned n = 1;

	snprintf(heartbeat, sizeof(heartbeat), "%u", heartbeat_ms);
	argv[n++] = heartbeat;
	if (opt->ring_bytes != 0) {
		snprintf(ring, sizeof(ring), "%llu", (unsigned long long)opt->ring_bytes);
		argv[n++] = "--ring-bytes";
		argv[n++] = ring;
	}
	if (opt->verbose)
		argv[n++] = "-v";
	argv[n] = NULL;
	role_fork(&(struct role){ .name = "tracker",
			  .argv = argv,
			  .ids = ids->tracker,
			  .caps = CAP_BIT(CAP_BPF) | CAP_BIT(CAP_PERFMON),
			  .bounding = CAP_BIT(CAP_BPF),
			  .fds = fds,
			  .fd_count = 1 },
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

static _Noreturn void
broker_become(const struct options *opt, const struct ids *ids, const struct channels *ch,
	const struct handles *h, int program, const char *log_path)
{
	const struct fd_place fds[] = {
		{ ch->tracker[0], BROKER_FD_TRACKER },
		{ ch->reaper[0], BROKER_FD_REAPER },
		{ h->control, BROKER_FD_CONTROL },
		{ h->lock, BROKER_FD_LOCK },
		{ h->log, BROKER_FD_LOG },
		{ h->log_dir, BROKER_FD_LOG_DIR },
		{ h->config, BROKER_FD_CONFIG },
		{ h->config_dir, BROKER_FD_CONFIG_DIR },
		{ h->notify, BROKER_FD_NOTIFY },
	};
	const char *argv[16];

	broker_argv(argv, opt, h, "run", log_path);
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
		_exit(1);
	close(fd);
}

int
main(int argc, char **argv)
{
	struct handles h = { -1, -1, -1, -1, -1, -1, -1, NULL };
	struct programs programs;
	struct channels channels;
	struct options opt;
	struct ids ids;
	const char *log_path;

	stdio_ensure();
	/* Dispositions are inherited, from whoever starts us and by the roles. */
	signal(SIGCHLD, SIG_DFL);
	signal(SIGXFSZ, SIG_IGN); /* a full log is an error of write(2), not a death */
	log_open("eghostbuster", false);
	options_parse(&opt, argc, argv);
	if (opt.check_config)
		check_config(&opt);
	requirements_check();
	programs.tracker = spawn_program_open(opt.libexec, "tracker");
	programs.reaper = spawn_program_open(opt.libexec, "reaper");
	programs.broker = spawn_program_open(opt.libexec, "broker");
	ids_choose(&ids);
	files_config_open(&h, &opt);
	log_path = log_path_ask(&opt, &h, &ids, programs.broker);
	files_lock_take(&h, opt.control);
	files_notify_open(&h);
	files_log_open(&h, log_path, &ids.broker);
	files_control_open(&h, opt.control);
	pair_make(channels.tracker);
	pair_make(channels.reaper);
	memlock_raise();
	reaper_start(&opt, &ids, &channels, programs.reaper);
	tracker_start(&opt, &ids, &channels, programs.tracker, heartbeat_choose());
	broker_become(&opt, &ids, &channels, &h, programs.broker, log_path);
}
