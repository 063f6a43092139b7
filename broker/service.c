/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "notify.h"
#include "proto/clock.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "say.h"
#include "service_parts.h"
#include "sinks.h"
#include "status.h"

#define HELLO_PATIENCE_S 60 /* loading BPF takes seconds on an emulated machine */

/* Nothing writes later what the last record's write(2) could not. */
#define LAST_WRITES 3u

struct service svc;

void
timer_set(struct event *timer, uint64_t in_ns)
{
	struct timeval tv = { .tv_sec = (time_t)(in_ns / NS_PER_S),
		.tv_usec = (suseconds_t)(in_ns % NS_PER_S / 1000) };

	if (event_add(timer, &tv) < 0)
		fatal("cannot set a timer");
}

void
event_on(struct event *event)
{
	if (event_add(event, NULL) < 0)
		fatal("cannot watch descriptor or signal %d", event_get_fd(event));
}

/* ---- stopping ----------------------------------------------------------------------------------
 */

static bool
last_write(void)
{
	return auditlog_flush(&svc.log) && auditlog_sync(&svc.log);
}

static void
stop_record(const char *reason)
{
	struct record_counts *c = &svc.engine.counts;
	struct record_head head;
	char *out;

	engine_end(&svc.engine, clock_now());
	sinks_count(c->sinks);
	if (c->unanswered + c->unsent != 0)
		svc.status = 1;
	out = auditlog_room(&svc.log, &head);
	auditlog_made(&svc.log, record_stop(out, RECORD_MAX, &head, reason, c));
	auditlog_end(&svc.log, "stop");
	for (unsigned n = 1; !last_write() && n < LAST_WRITES; n++)
		continue;
	if (!svc.log.failing)
		return;
	log_error("the last records could not be written: %zu bytes are lost, %s", svc.log.used,
		svc.log.sync_failed ? "and others perhaps not on the disk"
				    : "all others are there");
	svc.status = 1;
}

/* One line on how a role ended that should not have. It lies in the same folder as this program. */
static void
death_report(const char *name, int status)
{
	const char *mine = svc.args->program, *slash = strrchr(mine, '/');
	int dir = slash == NULL ? 0 : (int)(slash - mine) + 1;

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		log_error("the %s (%.*s%s) was ended by SIGSYS: it made a system call that its "
			  "filter refuses",
			name, dir, mine, name);
	else if (WIFSIGNALED(status))
		log_error("the %s (%.*s%s) was ended by signal %d", name, dir, mine, name,
			WTERMSIG(status));
}

/* A child that has ended: roles are our children (the launcher became this process). How the sink
 * did is said here; how the first of the others did, when it is asked for. Returns its pid, 0 when
 * none has ended, -1 when there are none. */
static pid_t
child_take(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG);

	if (pid > 0 && pid == svc.args->sink) {
		death_report("sink", status);
	} else if (pid > 0 && !svc.role_ended) {
		svc.role_ended = true;
		svc.role_status = status;
	}
	return pid;
}

void
children_look(void)
{
	while (child_take() > 0)
		continue;
}

/* Waits until all are gone, or a second has passed without one going. lost: reports how the first
 * one ended, which is called so, and waits for no other. */
static void
children_wait(const char *lost)
{
	const struct timespec second = { .tv_sec = 1 };
	sigset_t chld;
	pid_t pid;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	while ((pid = child_take()) >= 0) {
		if (lost != NULL && svc.role_ended)
			break;
		if (pid == 0 && sigtimedwait(&chld, NULL, &second) < 0 && errno == EAGAIN)
			break;
	}
	if (lost != NULL && svc.role_ended)
		death_report(lost, svc.role_status);
}

void
finish(int status, const char *reason)
{
	if (svc.finished)
		return;
	svc.finished = true;
	svc.status = status;
	if (svc.ready) {
		say_rest();
		stop_record(reason);
		sinks_end();
	}
	event_base_loopbreak(svc.base);
}

/* Of a role that could not start: what it said, or what was said of the signal that ended it. */
static bool
has_said_why(void)
{
	return svc.role_ended && (!WIFEXITED(svc.role_status) || WEXITSTATUS(svc.role_status) != 0);
}

void
role_lost(const char *name)
{
	static char reason[32];

	if (svc.stopping)
		return;
	if (svc.ready)
		log_error("the %s is gone: the service stops", name);
	children_wait(name);
	if (!svc.ready && !has_said_why())
		log_error("the %s is gone: the service does not start", name);
	snprintf(reason, sizeof(reason), "%s-lost", name);
	finish(1, reason);
}

/* Results that were taken are not lost with what ends the service, and the log says that it ended.
 */
static void
last_words(void)
{
	finish(1, "failure");
}

static void
drained_check(void)
{
	if (svc.stopping && svc.tracker_done && engine_idle(&svc.engine))
		finish(0, "ordered");
}

/* ---- turns -------------------------------------------------------------------------------------
 */

/* Owed until the reaper's channel has room; before any request that follows. */
static void
limit_send(void)
{
	struct wire_limit limit = { .destroy_limit = rate_per_second(&svc.policy->destroy_limit) };

	if (!svc.limit_owed)
		return;
	if (channel_send(&svc.reaper, WIRE_B2R_LIMIT, &limit, 1) == 0)
		svc.limit_owed = false;
	else if (errno == EAGAIN)
		event_on(svc.reaper_write);
	else if (errno != EPIPE && errno != ECONNRESET)
		fatal("cannot tell the reaper its new limit: %s", strerror(errno));
}

/* From the first write on that the disk does not have: what follows is in the same go. */
static void
sync_plan(void)
{
	if (svc.log.unsynced && !svc.log.failing &&
		!event_pending(svc.sync_timer, EV_TIMEOUT, NULL))
		timer_set(svc.sync_timer, svc.log.sync_ns);
}

/* The end of every turn that may have changed what is to be done. */
void
turn_end(void)
{
	mono_ns now = clock_now();
	uint64_t in_ns;

	if (!svc.ready || svc.finished)
		return;
	limit_send();
	if (engine_turn(&svc.engine, now))
		event_on(svc.reaper_write);
	sinks_turn();
	sync_plan();
	if (svc.log.failing)
		timer_set(svc.retry_timer, NS_PER_S);
	if (engine_next_due(&svc.engine, now, &in_ns))
		timer_set(svc.due_timer, in_ns);
	drained_check();
}

static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	turn_end();
}

static void
on_sync(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	auditlog_sync(&svc.log);
	turn_end();
}

static void
on_patience(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	if (svc.stopping) {
		log_error("the stop takes too long: the `stop` record counts what is left undone");
		finish(1, "ordered");
		return;
	}
	if (!svc.ready)
		fatal("a role has not said HELLO within %d s", HELLO_PATIENCE_S);
	fatal("the tracker's heartbeat has stopped: the service stops");
}

/* ---- opening -----------------------------------------------------------------------------------
 */

struct event *
event_make(int fd, short what, event_callback_fn callback)
{
	struct event *event = event_new(svc.base, fd, what, callback, NULL);

	if (event == NULL)
		fatal("cannot make an event");
	return event;
}

static struct event *
event_watch(int fd, short what, event_callback_fn callback)
{
	struct event *event = event_make(fd, what, callback);

	event_on(event);
	return event;
}

void
nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		fatal("cannot make descriptor %d non-blocking: %s", fd, strerror(errno));
}

/* The network namespace that the launcher left us and the reaper in. */
static uint32_t
netns_read(void)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) < 0)
		fatal("cannot read which network namespace this is: %s", strerror(errno));
	return (uint32_t)st.st_ino;
}

static void
boot_id_read(char *out, size_t size)
{
	int fd = open(BOOT_ID_PATH, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0 && errno == ENOENT)
		fd = open(BOOT_ID_LENT, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, out, size - 1);
	if (n <= 1)
		fatal("cannot read the boot id: %s", n < 0 ? strerror(errno) : "it is empty");
	close(fd);
	out[n - 1] = '\0';
}

/* Signals are read, not handled: nothing interrupts anything. SIGCHLD is waited for at the end
 * only. */
static int
signals_take(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	sigaddset(&set, SIGCHLD);
	if (fd < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
		signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
		signal(SIGXFSZ, SIG_IGN) == SIG_ERR) /* a log at its limit is no reason to die */
		fatal("cannot take the signals: %s", strerror(errno));
	return fd;
}

/* What the loop needs is all made here: behind the filter there is no socket() and no sigaction().
 */
static void
loop_make(void)
{
	svc.base = event_base_new();
	if (svc.base == NULL)
		fatal("cannot make the event loop");
	svc.signal_event = event_watch(signals_take(), EV_READ | EV_PERSIST, on_signal);
	svc.tracker_event = event_watch(BROKER_FD_TRACKER, EV_READ | EV_PERSIST, on_tracker);
	svc.reaper_event = event_watch(BROKER_FD_REAPER, EV_READ | EV_PERSIST, on_reaper);
	svc.reaper_write = event_make(BROKER_FD_REAPER, EV_WRITE, on_turn);
	svc.due_timer = event_make(-1, 0, on_turn);
	svc.retry_timer = event_make(-1, 0, on_turn);
	svc.sync_timer = event_make(-1, 0, on_sync);
	svc.patience_timer = event_make(-1, 0, on_patience);
	svc.pong_timer = event_make(-1, 0, on_pong_late);
	timer_set(svc.patience_timer, HELLO_PATIENCE_S * NS_PER_S);
}

/* A number that means something to the filter must not be given to what is opened later. */
static void
numbers_reserve(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && fd < BROKER_FD_OPENED);
	if (fd < 0)
		fatal("cannot open /dev/null: %s", strerror(errno));
	close(fd);
}

static const struct {
	const char *name;
	size_t (*print)(const struct status *status, char *out, size_t size);
} verbs[] = { { "status", status_print }, { "metrics", status_metrics_print } };

static struct status
status_now(void)
{
	struct status status = {
		.engine = &svc.engine,
		.log = &svc.log,
		.policy = svc.policy,
		.control = control_counts(),
		.config = svc.args->config,
		.kernel = svc.kernel,
		.selftest = svc.reaper_hello.selftest,
		.selftest_name = selftest_name(svc.reaper_hello.selftest),
		.tracker_features = svc.tracker_hello.features,
		.uptime_ns = clock_now().ns - svc.started.ns,
		.heartbeats = svc.heartbeats,
		.lines_held_back = say_held_back(),
		.started = svc.started_wall,
		.config_read = svc.config_read,
		.ready = svc.ready,
		.tracker_here = svc.tracker_here,
		.reaper_here = svc.reaper_here,
		.config_bad = svc.config_bad,
	};

	sinks_look(status.sinks);
	return status;
}

static size_t
control_reply(void *context, const char *verb, char *out, size_t size)
{
	struct status status = status_now();

	(void)context;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].name, verb) == 0)
			return verbs[i].print(&status, out, size);
	}
	return 0;
}

/* -1 when the launcher had nothing to hand over. */
static int
optional(int fd)
{
	if (fcntl(fd, F_GETFD) >= 0)
		return fd;
	if (errno != EBADF)
		fatal("cannot tell whether descriptor %d is there: %s", fd, strerror(errno));
	return -1;
}

void
service_open(const struct args *args, struct policy *policy)
{
	struct utsname uts;
	char boot_id[64];

	svc.args = args;
	svc.policy = policy;
	svc.started = clock_now();
	svc.started_wall = svc.config_read = clock_wall();
	if (uname(&uts) < 0)
		fatal("cannot tell the kernel's release: %s", strerror(errno));
	memcpy(svc.kernel, uts.release, sizeof(svc.kernel));
	boot_id_read(boot_id, sizeof(boot_id));
	svc.netns = netns_read();
	channel_open(&svc.tracker, BROKER_FD_TRACKER, "tracker", WIRE_T2B);
	channel_open(&svc.reaper, BROKER_FD_REAPER, "reaper", WIRE_R2B);
	nonblocking(BROKER_FD_TRACKER);
	nonblocking(BROKER_FD_REAPER);
	notify_open(optional(BROKER_FD_NOTIFY));
	auditlog_open(&svc.log, &(struct auditlog_files){
					.path = args->log_path,
					.log = BROKER_FD_LOG,
					.dir = BROKER_FD_LOG_DIR,
					.before = optional(BROKER_FD_LOG_BEFORE),
					.state = optional(BROKER_FD_SEAL),
				});
	auditlog_sync_when(&svc.log, policy->audit_sync_ns);
	engine_init(&svc.engine, policy, &svc.log, &svc.reaper, boot_id);
	numbers_reserve();
	loop_make();
	sinks_open(policy, &svc.log, boot_id);
	control_open(svc.base, BROKER_FD_CONTROL, args->control_group, control_reply, NULL);
}

int
service_run(void)
{
	log_last_words(last_words);
	if (event_base_dispatch(svc.base) < 0)
		fatal("the event loop failed");
	/* The end of their channels is the roles' order to stop. */
	close(BROKER_FD_TRACKER);
	close(BROKER_FD_REAPER);
	close(BROKER_FD_SINK);
	children_wait(NULL);
	return svc.status;
}
