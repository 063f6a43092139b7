/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "notify.h"
#include "proto/clock.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "service_parts.h"

#define DRAIN_PATIENCE_S 3

/* What has died before the order is still dealt with. */
static void
stop_ordered(unsigned sig)
{
	if (svc.stopping)
		return;
	log_info("%s: stopping", sig == SIGINT ? "interrupted" : "terminated");
	notify_send("STOPPING=1");
	if (!svc.ready) {
		finish(0, "ordered");
		return;
	}
	svc.stopping = true;
	engine_drain(&svc.engine);
	/* The end of the tracker's channel, one way: it empties its ring buffer and closes the
	 * other. */
	if (shutdown(BROKER_FD_TRACKER, SHUT_WR) < 0)
		log_debug("the tracker has gone before: %s", strerror(errno));
	timer_set(svc.patience_timer, DRAIN_PATIENCE_S * NS_PER_S);
	turn_end();
}

static void
reload_record(const char *error)
{
	struct record_head head;
	char *out = auditlog_room(&svc.log, &head);

	auditlog_made(&svc.log,
		record_config_reload(out, RECORD_MAX, &head, svc.args->config, mode_name(), error));
}

static bool
policy_reload(struct policy *policy, char error[CONFIG_ERROR_MAX])
{
	const char *fixed = NULL;

	if (!load_policy_again(svc.args, BROKER_FD_CONFIG_DIR, policy, error))
		return false;
	if (strcmp(policy->audit_log, svc.policy->audit_log) != 0)
		fixed = "audit_log";
	else if (strcmp(policy->control_group, svc.policy->control_group) != 0)
		fixed = "control_group";
	else if (policy->linux_audit != svc.policy->linux_audit)
		fixed = "linux_audit";
	else if (policy->journald != svc.policy->journald)
		fixed = "journald";
	if (fixed == NULL)
		return true;
	snprintf(error, CONFIG_ERROR_MAX, "%s: %s cannot change while the service runs: restart it",
		svc.args->config, fixed);
	return false;
}

static void
policy_replace(const struct policy *policy)
{
	*svc.policy = *policy;
	svc.config_read = clock_wall();
	hold_set();
	engine_policy_changed(&svc.engine);
	svc.limit_owed = true;
	auditlog_sync_when(&svc.log, policy->audit_sync_ns);
	event_del(svc.sync_timer); /* may have been set by a longer duration */
	log_info("reloaded %s: %u rules", svc.args->config, policy->rule_count);
}

static void
config_reload(void)
{
	char error[CONFIG_ERROR_MAX];
	struct policy *fresh;

	if (svc.args->config == NULL) {
		log_info("the policy is built in: nothing to reload");
		return;
	}
	fresh = malloc(sizeof(*fresh));
	if (fresh == NULL)
		fatal("out of memory for a configuration");
	svc.config_bad = !policy_reload(fresh, error);
	if (!svc.config_bad) {
		policy_replace(fresh);
		reload_record(NULL);
	} else {
		reload_record(error);
		log_error("%s; the old policy stays", error);
	}
	free(fresh);
}

void
reload(void)
{
	svc.reload_wanted = !svc.ready;
	if (!svc.ready || svc.stopping)
		return;
	auditlog_reopen(&svc.log);
	config_reload();
	turn_end();
}

void
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
