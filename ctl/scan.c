/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/load.h"
#include "ctl.h"
#include "orphans.h"
#include "proto/fds.h"
#include "proto/log.h"
#include "proto/scalars.h"

struct scan {
	bool json, all;
	const char *config;
	struct policy policy;
	uint64_t fin_timeout_ms;
};

/* What is shown of one orphan. */
struct finding {
	const struct diag_row *row;
	struct decision decision;
	bool age_known;
	uint64_t age_ms;
};

/* Nobody has written down when an orphan was born. A mini-socket tells: it lives tcp_fin_timeout.
 */
static void
age_find(const struct scan *scan, struct finding *f)
{
	f->age_known = f->row->timer == 3 && f->row->state == TCP_STATE_FIN_WAIT2 &&
		       f->row->timer_ms <= scan->fin_timeout_ms;
	if (f->age_known)
		f->age_ms = scan->fin_timeout_ms - f->row->timer_ms;
}

/* From outside, without having seen the death, the owner is unknown. */
static struct finding
finding_make(const struct scan *scan, const struct diag_row *row)
{
	struct subject subject = {
		.exit = EXIT_UNKNOWN, .tuple = &row->tuple, .state = row->state
	};
	struct finding f = { .row = row };

	age_find(scan, &f);
	f.decision = policy_decide(&scan->policy, &subject, f.age_ms * NS_PER_MS);
	return f;
}

static void
finding_print(const struct finding *f)
{
	const struct wire_tuple *t = &f->row->tuple;
	char src[WIRE_ENDPOINT_TEXT], dst[WIRE_ENDPOINT_TEXT], timer[32], age[32] = "-";

	wire_endpoint_text(t->family, t->src, t->src_port, src);
	wire_endpoint_text(t->family, t->dst, t->dst_port, dst);
	snprintf(timer, sizeof(timer), "%s", tcp_timer_name(f->row->timer));
	if (f->row->timer != 0)
		snprintf(timer, sizeof(timer), "%s %u.%us", tcp_timer_name(f->row->timer),
			f->row->timer_ms / 1000, f->row->timer_ms / 100 % 10);
	if (f->age_known)
		snprintf(age, sizeof(age), "%u.%us", (unsigned)(f->age_ms / 1000),
			(unsigned)(f->age_ms / 100 % 10));
	printf("%-24s %-24s %-11s %10u  %-19s %-8s %s (%s%s%s)\n", src, dst,
		tcp_state_name(f->row->state), f->row->send_queue, timer, age,
		verdict_name(f->decision.verdict), f->decision.rule != NULL ? "rule " : "no rule",
		f->decision.rule != NULL ? f->decision.rule->name : "",
		f->decision.prove ? ", once proved stuck" : "");
}

static json_t *
finding_json(const struct finding *f)
{
	const struct diag_row *row = f->row;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN], cookie[24];

	inet_ntop(row->tuple.family, row->tuple.src, src, sizeof(src));
	inet_ntop(row->tuple.family, row->tuple.dst, dst, sizeof(dst));
	snprintf(cookie, sizeof(cookie), "0x%llx", (unsigned long long)row->cookie);
	return json_pack("{s:s, s:s, s:s, s:i, s:s, s:i, s:s, s:s, s:I, s:I, s:s, s:I, s:i, s:o, "
			 "s:o, s:s, s:s, "
			 "s:s?}",
		"network.transport", "tcp", "network.type",
		row->tuple.family == AF_INET ? "ipv4" : "ipv6", "source.ip", src, "source.port",
		(int)row->tuple.src_port, "destination.ip", dst, "destination.port",
		(int)row->tuple.dst_port, "eghostbuster.socket.cookie", cookie,
		"eghostbuster.socket.state", tcp_state_name(row->state),
		"eghostbuster.socket.ifindex", (json_int_t)row->tuple.ifindex,
		"eghostbuster.socket.send_queue", (json_int_t)row->send_queue,
		"eghostbuster.socket.timer", tcp_timer_name(row->timer),
		"eghostbuster.socket.timer_ms", (json_int_t)row->timer_ms,
		"eghostbuster.socket.retransmits", (int)row->retrans,
		"eghostbuster.socket.last_ack_ms",
		row->has_info ? json_integer(row->last_ack_ms) : json_null(), "eghostbuster.age_ms",
		f->age_known ? json_integer((json_int_t)f->age_ms) : json_null(),
		"eghostbuster.verdict", verdict_name(f->decision.verdict), "event.reason",
		f->decision.reason, "rule.name",
		f->decision.rule != NULL ? f->decision.rule->name : NULL);
}

static int
show_json(const struct scan *scan, const struct orphans *list)
{
	json_t *array = json_array(), *root;
	int rc = -1;

	for (size_t i = 0; i < list->count; i++) {
		struct finding f = finding_make(scan, &list->rows[i]);

		if (json_array_append_new(array, finding_json(&f)) < 0)
			break;
	}
	root = json_pack("{s:s?, s:o}", "policy", scan->config, "orphans", array);
	if (root != NULL && json_array_size(array) == list->count)
		rc = json_dumpf(root, stdout, JSON_INDENT(1) | JSON_ENSURE_ASCII);
	json_decref(root);
	putchar('\n');
	return rc < 0 || fflush(stdout) != 0 ? 1 : 0;
}

static int
show_table(const struct scan *scan, const struct orphans *list)
{
	if (list->count != 0)
		printf("%-24s %-24s %-11s %10s  %-19s %-8s %s\n", "LOCAL", "PEER", "STATE",
			"SEND-Q", "TIMER", "AGE", "POLICY WOULD");
	for (size_t i = 0; i < list->count; i++) {
		struct finding f = finding_make(scan, &list->rows[i]);

		finding_print(&f);
	}
	printf("%zu orphan%s, policy %s\n", list->count, list->count == 1 ? "" : "s",
		scan->config != NULL ? scan->config : "built in");
	return fflush(stdout) != 0 ? 1 : 0;
}

static bool
option_apply(void *context, int value, const char *arg)
{
	struct scan *scan = context;

	switch (value) {
	case 'j':
		scan->json = true;
		break;
	case 'a':
		scan->all = true;
		break;
	default:
		scan->config = arg;
		break;
	}
	return true;
}

/* The file named, else the installed one where there is one, else the built-in policy. */
static bool
policy_read(struct scan *scan)
{
	const char *path = scan->config != NULL ? scan->config : DEFAULT_CONFIG;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct args args = { .config = path };
	char error[CONFIG_ERROR_MAX];
	bool good;

	if (fd < 0 && scan->config == NULL && errno == ENOENT) {
		policy_default(&scan->policy);
		return true;
	}
	if (fd < 0) {
		log_error("cannot open the policy %s: %s", path, strerror(errno));
		return false;
	}
	scan->config = path;
	good = load_policy(&args, fd, &scan->policy, error);
	close(fd);
	if (!good)
		log_error("%s", error);
	return good;
}

static uint64_t
fin_timeout_read(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_fin_timeout", "re");
	unsigned seconds = 0;

	if (f == NULL || fscanf(f, "%u", &seconds) != 1)
		seconds = 0; /* then no age is known */
	if (f != NULL)
		fclose(f);
	return seconds * 1000ull;
}

static int
scan_run(int argc, char **argv)
{
	static struct scan scan;
	struct orphans list;
	uint32_t states = TCP_STATES_ORPHAN;
	int rc;

	if (ctl_options_read(&ctl_scan_verb, argc, argv, option_apply, &scan, &rc) < 0)
		return rc;
	if (!policy_read(&scan))
		return 1;
	if (scan.all)
		states |= TCP_STATE_BIT(TCP_STATE_TIME_WAIT);
	scan.fin_timeout_ms = fin_timeout_read();
	if (orphans_list(&list, states) < 0)
		return 1;
	rc = scan.json ? show_json(&scan, &list) : show_table(&scan, &list);
	free(list.rows);
	return rc;
}

static const struct ctl_option options[] = {
	{ 'j', "json", NULL, NULL, COMPLETE_NOTHING, "as one JSON object" },
	{ 'a', "all", NULL, NULL, COMPLETE_NOTHING, "TIME-WAIT, too" },
	{ 'c', "config", "FILE", NULL, COMPLETE_FILE,
		"the policy to tell by (default " DEFAULT_CONFIG ", else the built-in policy)" },
};

const struct ctl_verb ctl_scan_verb = {
	.name = "scan",
	.summary = "Every orphan now, and what the policy would do with it",
	CTL_OPTIONS(options),
	.run = scan_run,
};
