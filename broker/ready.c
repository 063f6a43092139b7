/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "notify.h"
#include "proto/build_id.h"
#include "proto/clock.h"
#include "proto/log.h"
#include "service_parts.h"

const char *
selftest_name(unsigned verdict)
{
	static const char *const names[] = { "passed", "forever-orphan", "no-sock-destroy" };

	return names[verdict];
}

/* Reasons why the service only watches although it was told to enforce. NULL: there is none. */
static const char *
observe_reason(void)
{
	if (svc.reaper_hello.selftest == WIRE_SELFTEST_FOREVER_ORPHAN)
		return "kernel-forever-orphan";
	if (svc.reaper_hello.selftest == WIRE_SELFTEST_NO_DESTROY)
		return "kernel-no-sock-destroy";
	if ((svc.tracker_hello.features & WIRE_TRACKER_ORPHAN) == 0)
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
			svc.kernel);
	else if (strcmp(reason, "kernel-no-sock-destroy") == 0)
		log_warning("observe mode: Linux %s is built without CONFIG_INET_DIAG_DESTROY",
			svc.kernel);
	else
		log_warning(
			"observe mode: Linux %s cannot tell which process left a socket; 5.13 can",
			svc.kernel);
}

const char *
mode_name(void)
{
	return svc.engine.hold == HOLD_NONE ? "enforce" : "observe";
}

static void
start_record(const char *why_observe)
{
	char id[2 * WIRE_BUILD_ID_LEN + 1];
	struct record_start start = {
		.version = version_string,
		.build_id = id,
		.bpf_object = bpf_object_hash,
		.mode = mode_name(),
		.why_observe = why_observe,
		.boot_id = svc.engine.ghosts.boot_id,
		.kernel = svc.kernel,
		.selftest = selftest_name(svc.reaper_hello.selftest),
		.config = svc.args->config,
		.tracker_features = svc.tracker_hello.features,
		.netns = svc.reaper_hello.netns,
		.destroy_ceiling = svc.reaper_hello.ceiling,
	};
	struct record_head head;
	char *out;

	for (unsigned i = 0; i < WIRE_BUILD_ID_LEN; i++)
		snprintf(id + 2 * i, 3, "%02x", build_id[i]);
	auditlog_begin(&svc.log);
	out = auditlog_room(&svc.log, &head);
	auditlog_made(&svc.log, record_start(out, RECORD_MAX, &head, &start));
	if (!auditlog_flush(&svc.log))
		fatal("the audit log cannot take its first record: not starting");
}

static void
guard_say(void)
{
	log_info("eghostbuster %s %s network namespace %u on Linux %s: TCP orphans of dead "
		 "processes; policy "
		 "%s (%u rules), audit log %s%s",
		version_string, svc.engine.hold == HOLD_NONE ? "guards" : "observes",
		svc.reaper_hello.netns, svc.kernel,
		svc.args->config != NULL ? svc.args->config : "built in", svc.policy->rule_count,
		svc.log.path, svc.log.seals.fd >= 0 ? ", sealed" : "");
	for (unsigned i = 0; i < svc.policy->rule_count; i++)
		log_debug("rule %u: %s, %s", i + 1, svc.policy->rules[i].name,
			action_name(svc.policy->rules[i].action));
}

void
hold_set(void)
{
	bool observe = svc.policy->mode == MODE_OBSERVE || observe_reason() != NULL;

	svc.engine.hold = observe ? HOLD_OBSERVE : HOLD_NONE;
}

void
ready_check(void)
{
	const char *why;

	if (svc.ready || !svc.tracker_here || !svc.reaper_here)
		return;
	why = observe_reason();
	svc.engine.netns = svc.reaper_hello.netns;
	svc.engine.ceiling = svc.reaper_hello.ceiling;
	hold_set();
	if (why != NULL)
		observe_explain(why);
	start_record(why);
	svc.ready = true;
	engine_start(&svc.engine, clock_now());
	/* From now on the timer watches the heartbeat: three may be missed. */
	timer_set(svc.patience_timer, patience_ns());
	guard_say();
	notify_send(svc.engine.hold == HOLD_NONE ? "READY=1\nSTATUS=guarding"
						 : "READY=1\nSTATUS=observing");
	if (svc.reload_wanted)
		reload();
}

void
build_check(const uint8_t theirs[WIRE_BUILD_ID_LEN], const char *name)
{
	if (memcmp(theirs, build_id, WIRE_BUILD_ID_LEN) != 0)
		fatal("the %s is of another build: install all parts of one version and restart",
			name);
}
