/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "auditlog.h"
#include "control.h"
#include "engine.h"
#include "load.h"
#include "notify.h"
#include "proto/build_id.h"
#include "proto/clock.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "say.h"
#include "status.h"

#define HELLO_PATIENCE_S 60 /* loading BPF takes seconds on an emulated machine */
#define DRAIN_PATIENCE_S 3
#define PACKETS_A_TURN	 16u /* per channel: then the other side gets its turn */

static struct service {
	struct event_base *base;
	struct event *tracker_event, *reaper_event, *reaper_write;
	struct event *due_timer, *retry_timer, *patience_timer, *pong_timer;
	struct event *signal_event;
	const struct args *args;
	struct policy *policy;
	struct auditlog log;
	struct engine engine;
	struct channel tracker, reaper;
	struct wire_tracker_hello tracker_hello;
	struct wire_reaper_hello reaper_hello;
	bool tracker_here, reaper_here, ready;
	bool stopping;
	bool tracker_done;  /* it has said all and closed, after our order to stop */
	bool finished;	    /* service_run() is about to return */
	bool limit_owed;    /* the reaper's channel was full when its limit changed */
	bool reload_wanted; /* a SIGHUP came before the service was ready */
	uint64_t ping_nonce, pong_nonce;
	bool reaper_heard; /* anything, since the last ping */
	mono_ns started;
	char kernel[sizeof(((struct utsname *)0)->release)];
	int status; /* what service_run() returns */
} s;

static void
timer_set(struct event *timer, uint64_t in_ns)
{
	struct timeval tv = { .tv_sec = (time_t)(in_ns / NS_PER_S),
		.tv_usec = (suseconds_t)(in_ns % NS_PER_S / 1000) };

	if (event_add(timer, &tv) < 0)
		fatal("cannot set a timer");
}

/* ---- stopping ----------------------------------------------------------------------------------
 */

static void
stop_record(const char *reason)
{
	struct record_counts *c = &s.engine.counts;
	struct record_head head;
	char *out;

	c->waiting = s.engine.ghosts.counts[GHOST_WAITING] + s.engine.ghosts.counts[GHOST_FRESH] +
		     s.engine.ghosts.counts[GHOST_UNSAMPLED] +
		     s.engine.ghosts.counts[GHOST_SAMPLED];
	c->unanswered = s.engine.ghosts.counts[GHOST_SENT];
	c->unsent = s.engine.ghosts.counts[GHOST_DECIDED];
	if (c->unanswered + c->unsent != 0)
		s.status = 1;
	engine_lost_record(&s.engine);
	out = auditlog_room(&s.log, &head);
	auditlog_made(&s.log, record_stop(out, RECORD_MAX, &head, reason, c));
	if (!auditlog_flush(&s.log)) {
		log_error("the last records could not be written: %zu bytes are lost", s.log.used);
		s.status = 1;
	}
}

/* Roles are our children (the launcher became this process). Waits until all are gone, or a second
 * has passed without one going. first: report how the first one ended. */
static void
children_wait(bool report)
{
	const struct timespec second = { .tv_sec = 1 };
	sigset_t chld;
	int status;
	pid_t pid;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	while ((pid = waitpid(-1, &status, WNOHANG)) >= 0) {
		if (pid == 0 && sigtimedwait(&chld, NULL, &second) < 0 && errno == EAGAIN)
			break;
		if (pid == 0 || !report)
			continue;
		if (WIFSIGNALED(status))
			log_error("process %d was ended by signal %d", pid, WTERMSIG(status));
		return;
	}
}

static void
finish(int status, const char *reason)
{
	if (s.finished)
		return;
	s.finished = true;
	s.status = status;
	if (s.ready) {
		say_rest();
		stop_record(reason);
	}
	event_base_loopbreak(s.base);
}

/* A role that could not start has said why; one that vanished later is worth a line. */
static void
role_lost(const char *name)
{
	static char reason[32];

	if (s.stopping)
		return;
	if (s.ready)
		log_error("the %s is gone: the service stops", name);
	children_wait(true);
	snprintf(reason, sizeof(reason), "%s-lost", name);
	finish(1, reason);
}

static void
drained_check(void)
{
	if (s.stopping && s.tracker_done && engine_idle(&s.engine))
		finish(0, "ordered");
}

/* ---- turns -------------------------------------------------------------------------------------
 */

/* Owed until the reaper's channel has room; before any request that follows. */
static void
limit_send(void)
{
	struct wire_limit limit = { .destroy_limit = rate_per_second(&s.policy->destroy_limit) };

	if (!s.limit_owed)
		return;
	if (channel_send(&s.reaper, WIRE_B2R_LIMIT, &limit, 1) == 0)
		s.limit_owed = false;
	else if (errno == EAGAIN)
		event_add(s.reaper_write, NULL);
	else if (errno != EPIPE && errno != ECONNRESET)
		fatal("cannot tell the reaper its new limit: %s", strerror(errno));
}

/* The end of every turn that may have changed what is to be done. */
static void
turn_end(void)
{
	mono_ns now = clock_now();
	uint64_t in_ns;

	if (!s.ready || s.finished)
		return;
	limit_send();
	if (engine_turn(&s.engine, now))
		event_add(s.reaper_write, NULL);
	if (s.log.failing)
		timer_set(s.retry_timer, NS_PER_S);
	if (engine_next_due(&s.engine, now, &in_ns))
		timer_set(s.due_timer, in_ns);
	/* A full table: what the tracker has more waits in its ring buffer, which counts its
	 * losses. */
	if (engine_full(&s.engine))
		event_del(s.tracker_event);
	else if (!s.tracker_done)
		event_add(s.tracker_event, NULL);
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

static void reload(void);

/* ---- READY -------------------------------------------------------------------------------------
 */

static const char *
selftest_name(unsigned verdict)
{
	static const char *const names[] = { "passed", "forever-orphan", "no-sock-destroy" };

	return names[verdict];
}

/* Reasons why the service only watches although it was told to enforce. NULL: there is none. */
static const char *
observe_reason(void)
{
	if (s.reaper_hello.selftest == WIRE_SELFTEST_FOREVER_ORPHAN)
		return "kernel-forever-orphan";
	if (s.reaper_hello.selftest == WIRE_SELFTEST_NO_DESTROY)
		return "kernel-no-sock-destroy";
	if ((s.tracker_hello.features & WIRE_TRACKER_ORPHAN) == 0)
		return "kernel-no-orphan-events";
	return NULL;
}

static void
observe_explain(const char *reason)
{
	if (strcmp(reason, "kernel-forever-orphan") == 0)
		log_warning("observe mode: tcp_abort() of Linux %s leaves a destroyed orphan "
			    "behind for ever; "
			    "fixed in 6.11, 6.10.8, 6.6.84 and 6.1.132",
			s.kernel);
	else if (strcmp(reason, "kernel-no-sock-destroy") == 0)
		log_warning("observe mode: Linux %s is built without CONFIG_INET_DIAG_DESTROY",
			s.kernel);
	else
		log_warning(
			"observe mode: Linux %s cannot tell which process left a socket; 5.13 can",
			s.kernel);
}

static const char *
mode_name(void)
{
	return s.engine.hold == HOLD_NONE ? "enforce" : "observe";
}

static void
start_record(const char *why_observe)
{
	char id[2 * WIRE_BUILD_ID_LEN + 1];
	struct record_start start = {
		.version = version_string,
		.build_id = id,
		.mode = mode_name(),
		.why_observe = why_observe,
		.kernel = s.kernel,
		.selftest = selftest_name(s.reaper_hello.selftest),
		.config = s.args->config,
		.tracker_features = s.tracker_hello.features,
		.netns = s.reaper_hello.netns,
		.destroy_ceiling = s.reaper_hello.ceiling,
	};
	struct record_head head;
	char *out;

	for (unsigned i = 0; i < WIRE_BUILD_ID_LEN; i++)
		snprintf(id + 2 * i, 3, "%02x", build_id[i]);
	out = auditlog_room(&s.log, &head);
	auditlog_made(&s.log, record_log(out, RECORD_MAX, &head, "log-open", "start"));
	out = auditlog_room(&s.log, &head);
	auditlog_made(&s.log, record_start(out, RECORD_MAX, &head, &start));
	if (!auditlog_flush(&s.log))
		fatal("the audit log cannot take its first record: not starting");
}

static void
guard_say(void)
{
	log_info("eghostbuster %s %s network namespace %u on Linux %s: TCP orphans of dead "
		 "processes; policy "
		 "%s (%u rules), audit log %s",
		version_string, s.engine.hold == HOLD_NONE ? "guards" : "observes",
		s.reaper_hello.netns, s.kernel,
		s.args->config != NULL ? s.args->config : "built in", s.policy->rule_count,
		s.log.path);
	for (unsigned i = 0; i < s.policy->rule_count; i++)
		log_debug("rule %u: %s, %s", i + 1, s.policy->rules[i].name,
			action_name(s.policy->rules[i].action));
}

static void
hold_set(void)
{
	bool observe = s.policy->mode == MODE_OBSERVE || observe_reason() != NULL;

	s.engine.hold = observe ? HOLD_OBSERVE : HOLD_NONE;
}

static void
ready_check(void)
{
	const char *why;

	if (s.ready || !s.tracker_here || !s.reaper_here)
		return;
	why = observe_reason();
	s.engine.netns = s.reaper_hello.netns;
	hold_set();
	if (why != NULL)
		observe_explain(why);
	start_record(why);
	s.ready = true;
	engine_start(&s.engine, clock_now());
	/* From now on the timer watches the heartbeat: three may be missed. */
	timer_set(s.patience_timer, 3ull * s.tracker_hello.heartbeat_ms * NS_PER_MS + NS_PER_S);
	guard_say();
	notify_send(s.engine.hold == HOLD_NONE ? "READY=1\nSTATUS=guarding"
					       : "READY=1\nSTATUS=observing");
	if (s.reload_wanted)
		reload();
}

static void
build_check(const uint8_t theirs[WIRE_BUILD_ID_LEN], const char *name)
{
	if (memcmp(theirs, build_id, WIRE_BUILD_ID_LEN) != 0)
		fatal("the %s is of another build: install all parts of one version and restart",
			name);
}

/* ---- the tracker -------------------------------------------------------------------------------
 */

static void
tracker_hello(const struct wire_tracker_hello *hello)
{
	if (s.tracker_here)
		fatal("the tracker broke the protocol: a second HELLO");
	build_check(hello->build_id, "tracker");
	s.tracker_hello = *hello;
	s.tracker_here = true;
	event_del(s.tracker_event); /* what follows waits until the reaper is here, too */
	ready_check();
	if (s.ready)
		event_add(s.tracker_event, NULL);
}

static uint64_t
patience_ns(void)
{
	return 3ull * s.tracker_hello.heartbeat_ms * NS_PER_MS + NS_PER_S;
}

/* One ping at a time. A heartbeat drives it through the reaper, so that the watchdog hears of it
 * only when all three loops have turned. */
static void
ping_send(void)
{
	struct wire_ping ping = { .nonce = s.ping_nonce + 1 };

	if (s.pong_nonce != s.ping_nonce || channel_send(&s.reaper, WIRE_B2R_PING, &ping, 1) < 0)
		return; /* the last is not answered, or the channel is full: the next heartbeat
			   tries */
	s.ping_nonce++;
	s.reaper_heard = false;
	timer_set(s.pong_timer, patience_ns());
}

static void
heartbeat_take(void)
{
	if (s.stopping)
		return;
	timer_set(s.patience_timer, patience_ns());
	ping_send();
	say_rest();
}

static void
tracker_message(const struct wire_view *view)
{
	if (!s.tracker_here && view->type != WIRE_T2B_HELLO)
		fatal("the tracker broke the protocol: %s before HELLO",
			wire_type_name(view->type));
	switch ((int)view->type) {
	case WIRE_T2B_HELLO:
		tracker_hello(view->records);
		break;
	case WIRE_T2B_ORPHAN:
		engine_orphans(&s.engine, view->records, view->count, clock_now());
		break;
	case WIRE_T2B_EXIT:
		s.engine.exits += view->count;
		break;
	case WIRE_T2B_LOST:
		engine_lost(&s.engine, view->records, clock_now());
		break;
	case WIRE_T2B_HEARTBEAT:
		heartbeat_take();
		break;
	default:
		fatal("the tracker sent a message nobody expects: this is a bug");
	}
}

static void
on_tracker(evutil_socket_t fd, short what, void *arg)
{
	struct wire_view view;

	(void)fd;
	(void)what;
	(void)arg;
	for (unsigned n = 0; n < PACKETS_A_TURN && !engine_full(&s.engine) && !s.finished; n++) {
		enum channel_event event = channel_recv(&s.tracker, &view);

		if (event == CHANNEL_EOF && s.stopping) {
			s.tracker_done = true;
			event_del(s.tracker_event);
			break;
		}
		if (event == CHANNEL_EOF) {
			role_lost("tracker");
			return;
		}
		if (event == CHANNEL_EMPTY)
			break;
		tracker_message(&view);
		if (!s.ready)
			return;
	}
	turn_end();
}

/* ---- the reaper --------------------------------------------------------------------------------
 */

static void
reaper_hello(const struct wire_reaper_hello *hello)
{
	struct wire_broker_hello mine;

	if (s.reaper_here)
		fatal("the reaper broke the protocol: a second HELLO");
	build_check(hello->build_id, "reaper");
	s.reaper_hello = *hello;
	s.reaper_here = true;
	memcpy(mine.build_id, build_id, sizeof(mine.build_id));
	mine.destroy_limit = rate_per_second(&s.policy->destroy_limit);
	if (channel_send(&s.reaper, WIRE_B2R_HELLO, &mine, 1) < 0)
		fatal("cannot greet the reaper: %s", strerror(errno));
	ready_check();
	if (s.ready)
		event_add(s.tracker_event, NULL);
}

static void
pong_take(const struct wire_pong *pong)
{
	if (pong->nonce <= s.pong_nonce || pong->nonce > s.ping_nonce)
		fatal("the reaper broke the protocol: an answer to a ping that was not sent");
	s.pong_nonce = pong->nonce;
	event_del(s.pong_timer);
	notify_send("WATCHDOG=1");
}

static void
reaper_message(const struct wire_view *view)
{
	if (!s.reaper_here && view->type != WIRE_R2B_HELLO)
		fatal("the reaper broke the protocol: %s before HELLO", wire_type_name(view->type));
	switch ((int)view->type) {
	case WIRE_R2B_HELLO:
		reaper_hello(view->records);
		break;
	case WIRE_R2B_RESULT:
		engine_results(&s.engine, view->records, view->count, clock_now());
		break;
	case WIRE_R2B_SAMPLED:
		engine_samples(&s.engine, view->records, view->count, clock_now());
		break;
	case WIRE_R2B_FOUND:
		engine_found(&s.engine, view->records, view->count, clock_now());
		break;
	case WIRE_R2B_FOUND_END:
		engine_found_end(&s.engine, view->records, clock_now());
		break;
	case WIRE_R2B_PONG:
		pong_take(view->records);
		break;
	default:
		fatal("the reaper sent a message nobody expects: this is a bug");
	}
}

static void
on_reaper(evutil_socket_t fd, short what, void *arg)
{
	struct wire_view view;

	(void)fd;
	(void)what;
	(void)arg;
	for (unsigned n = 0; n < PACKETS_A_TURN && !s.finished; n++) {
		enum channel_event event = channel_recv(&s.reaper, &view);

		if (event == CHANNEL_EOF) {
			role_lost("reaper");
			return;
		}
		if (event == CHANNEL_EMPTY)
			break;
		s.reaper_heard = true;
		reaper_message(&view);
	}
	turn_end();
}

/* ---- signals and timers ------------------------------------------------------------------------
 */

/* What has died before the order is still dealt with. */
static void
stop_ordered(unsigned sig)
{
	if (s.stopping)
		return;
	log_info("%s: stopping", sig == SIGINT ? "interrupted" : "terminated");
	notify_send("STOPPING=1");
	if (!s.ready) {
		finish(0, "ordered");
		return;
	}
	s.stopping = true;
	/* The end of the tracker's channel, one way: it empties its ring buffer and closes the
	 * other. */
	if (shutdown(BROKER_FD_TRACKER, SHUT_WR) < 0)
		log_debug("the tracker has gone before: %s", strerror(errno));
	timer_set(s.patience_timer, DRAIN_PATIENCE_S * NS_PER_S);
	turn_end();
}

static void
reload_record(const char *error)
{
	struct record_head head;
	char *out = auditlog_room(&s.log, &head);

	auditlog_made(&s.log,
		record_config_reload(out, RECORD_MAX, &head, s.args->config, mode_name(), error));
}

static bool
policy_reload(struct policy *policy, char error[CONFIG_ERROR_MAX])
{
	if (!load_policy_again(s.args, BROKER_FD_CONFIG_DIR, policy, error))
		return false;
	if (strcmp(policy->audit_log, s.policy->audit_log) == 0)
		return true;
	snprintf(error, CONFIG_ERROR_MAX,
		"%s: audit_log cannot change while the service runs: restart it", s.args->config);
	return false;
}

static void
policy_replace(const struct policy *policy)
{
	*s.policy = *policy;
	hold_set();
	engine_policy_changed(&s.engine);
	s.limit_owed = true;
	log_info("reloaded %s: %u rules", s.args->config, policy->rule_count);
}

static void
config_reload(void)
{
	char error[CONFIG_ERROR_MAX];
	struct policy *fresh;

	if (s.args->config == NULL) {
		log_info("the policy is built in: nothing to reload");
		return;
	}
	fresh = malloc(sizeof(*fresh));
	if (fresh == NULL)
		fatal("out of memory for a configuration");
	if (policy_reload(fresh, error)) {
		policy_replace(fresh);
		reload_record(NULL);
	} else {
		reload_record(error);
		log_error("%s; the old policy stays", error);
	}
	free(fresh);
}

static void
reload(void)
{
	s.reload_wanted = !s.ready;
	if (!s.ready || s.stopping)
		return;
	auditlog_reopen(&s.log);
	config_reload();
	turn_end();
}

static void
on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct signalfd_siginfo info;

	(void)what;
	(void)arg;
	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			reload();
		else
			stop_ordered(info.ssi_signo);
	}
}

/* An answer may wait behind a long row of results: what counts is that the reaper is heard at all.
 */
static void
on_pong_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	if (!s.reaper_heard)
		fatal("the reaper does not answer: the service stops");
	s.reaper_heard = false;
	timer_set(s.pong_timer, patience_ns());
}

static void
on_patience(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	if (s.stopping)
		finish(1, "ordered"); /* something was left undone: the record's counts say what */
	else if (!s.ready)
		fatal("a role has not said HELLO within %d s", HELLO_PATIENCE_S);
	else if (engine_full(&s.engine))
		timer_set(s.patience_timer,
			NS_PER_S); /* its heartbeats wait behind what is not read */
	else
		fatal("the tracker's heartbeat has stopped: the service stops");
}

/* ---- opening -----------------------------------------------------------------------------------
 */

static struct event *
event_make(int fd, short what, event_callback_fn callback)
{
	struct event *event = event_new(s.base, fd, what, callback, NULL);

	if (event == NULL)
		fatal("cannot make an event");
	return event;
}

static struct event *
event_watch(int fd, short what, event_callback_fn callback)
{
	struct event *event = event_make(fd, what, callback);

	if (event_add(event, NULL) < 0)
		fatal("cannot watch descriptor or signal %d", fd);
	return event;
}

static void
nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		fatal("cannot make descriptor %d non-blocking: %s", fd, strerror(errno));
}

static void
boot_id_read(char *out, size_t size)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	if (n <= 1)
		fatal("cannot read the boot id: %s", strerror(errno));
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
	if (fd < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		fatal("cannot take the signals: %s", strerror(errno));
	return fd;
}

/* What the loop needs is all made here: behind the filter there is no socket() and no sigaction().
 */
static void
loop_make(void)
{
	s.base = event_base_new();
	if (s.base == NULL)
		fatal("cannot make the event loop");
	s.signal_event = event_watch(signals_take(), EV_READ | EV_PERSIST, on_signal);
	s.tracker_event = event_watch(BROKER_FD_TRACKER, EV_READ | EV_PERSIST, on_tracker);
	s.reaper_event = event_watch(BROKER_FD_REAPER, EV_READ | EV_PERSIST, on_reaper);
	s.reaper_write = event_make(BROKER_FD_REAPER, EV_WRITE, on_turn);
	s.due_timer = event_make(-1, 0, on_turn);
	s.retry_timer = event_make(-1, 0, on_turn);
	s.patience_timer = event_make(-1, 0, on_patience);
	s.pong_timer = event_make(-1, 0, on_pong_late);
	timer_set(s.patience_timer, HELLO_PATIENCE_S * NS_PER_S);
}

static size_t
control_reply(void *context, const char *verb, char *out, size_t size)
{
	struct status status = {
		.engine = &s.engine,
		.log = &s.log,
		.policy = s.policy,
		.config = s.args->config,
		.kernel = s.kernel,
		.selftest = selftest_name(s.reaper_hello.selftest),
		.uptime_ns = clock_now().ns - s.started.ns,
		.ready = s.ready,
	};

	(void)context;
	if (strcmp(verb, "status") != 0)
		return 0;
	return status_print(&status, out, size);
}

void
service_open(const struct args *args, struct policy *policy)
{
	struct utsname uts;
	char boot_id[64];

	s.args = args;
	s.policy = policy;
	s.started = clock_now();
	if (uname(&uts) == 0)
		memcpy(s.kernel, uts.release, sizeof(s.kernel));
	boot_id_read(boot_id, sizeof(boot_id));
	channel_open(&s.tracker, BROKER_FD_TRACKER, "tracker", WIRE_T2B);
	channel_open(&s.reaper, BROKER_FD_REAPER, "reaper", WIRE_R2B);
	nonblocking(BROKER_FD_TRACKER);
	nonblocking(BROKER_FD_REAPER);
	notify_open(BROKER_FD_NOTIFY);
	auditlog_open(&s.log, BROKER_FD_LOG, BROKER_FD_LOG_DIR, args->log_path);
	engine_init(&s.engine, policy, &s.log, &s.reaper, boot_id);
	loop_make();
	control_open(s.base, BROKER_FD_CONTROL, control_reply, NULL);
}

int
service_run(void)
{
	if (event_base_dispatch(s.base) < 0)
		fatal("the event loop failed");
	/* The end of their channels is the roles' order to stop. */
	close(BROKER_FD_TRACKER);
	close(BROKER_FD_REAPER);
	children_wait(false);
	return s.status;
}
