/* SPDX-License-Identifier: Apache-2.0 */
#include "query.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uthash.h>

#include "proto/log.h"

/* ---- options -----------------------------------------------------------------------------------
 */

static when_ns
time_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (when_ns)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static bool
time_option(const char *name, const char *arg, bool *has, when_ns *when)
{
	*has = when_parse(arg, time_now(), when);
	if (!*has)
		log_error("--%s %s: expected a time such as '2026-11-22 08:00', today, -2h or "
			  "@1700000000",
			name, arg);
	return *has;
}

static bool
number_option(const char *name, const char *arg, uint64_t max, bool *has, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(arg, &end, 10);
	*has = errno == 0 && end != arg && *end == '\0' && *arg != '-' && *value <= max;
	if (!*has)
		log_error("--%s %s: expected a number, 0 to %llu", name, arg,
			(unsigned long long)max);
	return *has;
}

/* Addresses are compared as the broker spells them. */
static bool
address_option(const char *name, const char *arg, char text[INET6_ADDRSTRLEN], const char **address)
{
	unsigned char raw[16];
	int family = strchr(arg, ':') != NULL ? AF_INET6 : AF_INET;

	if (inet_pton(family, arg, raw) != 1) {
		log_error("--%s %s: expected an address", name, arg);
		return false;
	}
	*address = inet_ntop(family, raw, text, INET6_ADDRSTRLEN);
	return true;
}

static bool
boot_option(struct query *q, const char *arg)
{
	static char id[64];
	int fd;
	ssize_t n;

	q->boot = arg;
	if (strcmp(arg, "now") != 0)
		return true;
	fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, id, sizeof(id) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 1) {
		log_error("--boot now: cannot read this boot's id: %s", strerror(errno));
		return false;
	}
	id[n - 1] = '\0';
	q->boot = id;
	return true;
}

bool
query_option(struct query *q, int value, const char *arg)
{
	static char local[INET6_ADDRSTRLEN], remote[INET6_ADDRSTRLEN];
	bool has;

	switch (value - QUERY_OPTION_FIRST) {
	case 0:
		return time_option("since", arg, &q->has_since, &q->since);
	case 1:
		return time_option("until", arg, &q->has_until, &q->until);
	case 2:
		return boot_option(q, arg);
	case 3:
		return number_option("pid", arg, INT32_MAX, &q->has_pid, &q->pid);
	case 4:
		q->comm = arg;
		return true;
	case 5:
		q->unit = arg;
		return true;
	case 6:
		q->uid = arg;
		return number_option("uid", arg, UINT32_MAX, &has, &(uint64_t){ 0 });
	case 7:
		return address_option("local", arg, local, &q->local);
	case 8:
		return address_option("remote", arg, remote, &q->remote);
	case 9:
		return number_option("port", arg, UINT16_MAX, &q->has_port, &q->port);
	case 10:
		q->result = arg;
		return true;
	case 11:
		q->rule = arg;
		return true;
	case 12:
		return number_option("ghost", arg, UINT64_MAX, &q->has_ghost, &q->ghost);
	default:
		q->action = arg;
		return true;
	}
}

/* ---- one record --------------------------------------------------------------------------------
 */

static bool
text_is(const struct record *r, const char *name, const char *wanted)
{
	const char *text = record_text(r, name);

	return wanted == NULL || (text != NULL && strcmp(text, wanted) == 0);
}

static bool
text_like(const struct record *r, const char *name, const char *pattern)
{
	const char *text = record_text(r, name);

	return pattern == NULL || (text != NULL && fnmatch(pattern, text, 0) == 0);
}

static bool
number_is(const struct record *r, const char *name, uint64_t wanted)
{
	uint64_t value;

	return record_number(r, name, &value) && value == wanted;
}

/* What only a record about a process or a ghost can say. */
static bool
asks_for_owner(const struct query *q)
{
	return q->has_pid || q->comm != NULL || q->unit != NULL || q->uid != NULL ||
	       q->local != NULL || q->remote != NULL || q->has_port || q->rule != NULL;
}

static bool
owner_matches(const struct query *q, const struct record *r)
{
	return (!q->has_pid || number_is(r, "process.pid", q->pid)) &&
	       text_like(r, "process.name", q->comm) &&
	       text_like(r, "eghostbuster.unit", q->unit) && text_is(r, "user.id", q->uid) &&
	       text_is(r, "source.ip", q->local) && text_is(r, "destination.ip", q->remote) &&
	       (!q->has_port || number_is(r, "source.port", q->port) ||
		       number_is(r, "destination.port", q->port)) &&
	       text_is(r, "rule.name", q->rule);
}

static bool
frame_matches(const struct query *q, const struct record *r)
{
	return (!q->has_since || r->when >= q->since) && (!q->has_until || r->when <= q->until) &&
	       (q->action == NULL || record_is(r, q->action)) &&
	       (q->result == NULL || record_results(r, q->result) != 0);
}

/* ---- from record to record ---------------------------------------------------------------------
 */

/* A decision that matched, and of which results are still to come. */
struct pending {
	uint64_t subject; /* record_subject() */
	UT_hash_handle hh;
};

struct query_state {
	const struct query *query;
	struct pending *pending;
	uint64_t run;
	bool boot_matches;
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"

static struct pending *
pending_find(const struct query_state *s, uint64_t subject)
{
	struct pending *p;

	HASH_FIND(hh, s->pending, &subject, sizeof(subject), p);
	return p;
}

static void
pending_remove(struct query_state *s, struct pending *p)
{
	HASH_DELETE(hh, s->pending, p);
	free(p);
}

static void
pending_add(struct query_state *s, uint64_t subject)
{
	struct pending *p = pending_find(s, subject) != NULL ? NULL : calloc(1, sizeof(*p));

	if (p == NULL)
		return;
	p->subject = subject;
	HASH_ADD(hh, s->pending, subject, sizeof(p->subject), p);
}

static void
pending_clear(struct query_state *s)
{
	struct pending *p, *next;

	HASH_ITER(hh, s->pending, p, next)
	pending_remove(s, p);
}

#pragma GCC diagnostic pop

struct query_state *
query_begin(const struct query *q)
{
	struct query_state *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->query = q;
	s->boot_matches = q->boot == NULL;
	return s;
}

void
query_end(struct query_state *s)
{
	pending_clear(s);
	free(s);
}

/* A run begins: its ghosts are counted anew. */
static void
run_begin(struct query_state *s, const struct record *r)
{
	s->run++;
	pending_clear(s);
	s->boot_matches = text_is(r, "host.boot.id", s->query->boot);
}

/* What is still to come of a decision that matched. */
static bool
result_matches(struct query_state *s, const struct record *r)
{
	struct pending *p = pending_find(s, record_subject(r));
	bool more = text_is(r, "eghostbuster.result", "refused-rate") ||
		    record_count(r, "eghostbuster.batch.left") != 0;

	if (p == NULL)
		return false;
	if (!more) /* turned away by a limit it comes once more */
		pending_remove(s, p);
	return true;
}

/* Owner, address, rule and ghost: its own, or for a result those of the decision before it. */
static bool
subject_matches(struct query_state *s, const struct record *r)
{
	const struct query *q = s->query;
	bool matches;

	if (!q->has_ghost && !asks_for_owner(q))
		return true;
	if (record_is(r, "destroy"))
		return result_matches(s, r);
	matches = owner_matches(q, r) && (!q->has_ghost || record_about(r, q->ghost));
	if (matches && record_is(r, "decide") && text_is(r, "eghostbuster.verdict", "destroy"))
		pending_add(s, record_subject(r));
	return matches;
}

bool
query_take(struct query_state *s, struct record *r)
{
	bool subject;

	if (record_is(r, "start"))
		run_begin(s, r);
	r->run = s->run;
	subject = subject_matches(s, r); /* always: it remembers */
	return subject && s->boot_matches && frame_matches(s->query, r);
}
