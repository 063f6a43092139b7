/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/clock.h"
#include "proto/log.h"

#define CLIENTS_MAX 8u
/* Of the group at a time, and in a second: so that neither root nor the ghosts wait for it. */
#define MEMBERS_MAX	 4u
#define MEMBERS_A_SECOND 50u
#define VERB_MAX	 64u

#define NOBODY ((gid_t)-1)

enum peer { PEER_ROOT, PEER_MEMBER, PEER_OTHER };

static struct control {
	struct event_base *base;
	struct event *listener, *rest;
	gid_t group;
	control_answer answer;
	void *context;
	unsigned clients, members;
	mono_ns second; /* when the one began that these are counted in */
	unsigned this_second;
	struct control_counts counts;
} control;

struct client {
	int fd;
	enum peer peer;
	mono_ns until; /* however slowly it speaks and listens */
	struct event *event;
	char verb[VERB_MAX];
	size_t used;
	char *left; /* of its answer: what the socket had no room for */
	size_t left_len;
	uint64_t *outcome; /* the counter for it once it has all */
};

#define PATIENCE_NS (2 * NS_PER_S)
/* Without a descriptor for a client the listener stays readable: it is not looked at for so long.
 */
static const struct timeval rest_time = { .tv_sec = 1 };

static void
listener_watch(void)
{
	if (event_add(control.listener, NULL) < 0)
		fatal("cannot watch the control socket");
}

static void
client_close(struct client *client, uint64_t *outcome)
{
	(*outcome)++;
	event_free(client->event);
	close(client->fd);
	control.members -= client->peer == PEER_MEMBER;
	free(client->left);
	free(client);
	if (control.clients-- == CLIENTS_MAX)
		listener_watch();
}

/* Waits for the client, for what is left of its time. */
static void
client_wait(struct client *client)
{
	uint64_t now = clock_now().ns;
	uint64_t left = client->until.ns > now ? client->until.ns - now : 0;
	const struct timeval tv = { .tv_sec = (time_t)(left / NS_PER_S),
		.tv_usec = (suseconds_t)(left % NS_PER_S / 1000) };

	if (event_add(client->event, &tv) < 0)
		fatal("cannot watch a control client");
}

static void
client_watch(struct client *client, short what, event_callback_fn callback)
{
	if (event_assign(client->event, control.base, client->fd, (short)(what | EV_PERSIST),
		    callback, client) < 0)
		fatal("cannot watch a control client");
	client_wait(client);
}

/* ---- the answer --------------------------------------------------------------------------------
 */

/* What the socket takes of it; never waits. -1: the client is gone. */
static ssize_t
piece_send(const struct client *client, const char *text, size_t len)
{
	ssize_t n = send(client->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		log_debug("a control client left without its answer: %s", strerror(errno));
	return n;
}

static void
client_reads(evutil_socket_t fd, short what, void *arg)
{
	struct client *client = arg;
	ssize_t n = piece_send(client, client->left, client->left_len);

	(void)fd;
	if (n < 0) {
		client_close(client, &control.counts.cut_off);
		return;
	}
	client->left_len -= (size_t)n;
	memmove(client->left, client->left + n, client->left_len);
	if (client->left_len == 0)
		client_close(client, client->outcome);
	else if ((what & EV_TIMEOUT) != 0)
		client_close(client, &control.counts.cut_off);
	else
		client_wait(client);
}

static void
answer_send(struct client *client, const char *text, size_t len)
{
	ssize_t n = piece_send(client, text, len);

	if (n < 0 || (size_t)n == len) {
		client_close(client, n < 0 ? &control.counts.cut_off : client->outcome);
		return;
	}
	client->left_len = len - (size_t)n;
	client->left = malloc(client->left_len);
	if (client->left == NULL)
		fatal("out of memory for an answer to a control client");
	memcpy(client->left, text + n, client->left_len);
	event_del(client->event);
	client_watch(client, EV_WRITE, client_reads);
}

static void
client_answer(struct client *client)
{
	static const char unknown[] = "{\"error\":\"unknown request\"}\n";
	static char out[CONTROL_ANSWER_MAX];
	size_t len = control.answer(control.context, client->verb, out, sizeof(out));

	client->outcome = len == 0 ? &control.counts.unknown : &control.counts.answered;
	answer_send(client, len == 0 ? unknown : out, len == 0 ? sizeof(unknown) - 1 : len);
}

/* ---- the question ------------------------------------------------------------------------------
 */

/* False when it is gone, or its time is over. What it said in time it has said, even where this
 * process gets to read it late: the event loop then tells of the time alone. */
static bool
line_read(struct client *client, short what)
{
	ssize_t n;

	n = recv(
		client->fd, client->verb + client->used, VERB_MAX - 1 - client->used, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return (what & EV_TIMEOUT) == 0;
	client->used += n > 0 ? (size_t)n : 0;
	return n > 0;
}

static void
client_speaks(evutil_socket_t fd, short what, void *arg)
{
	struct client *client = arg;
	bool here = line_read(client, what);
	char *eol = memchr(client->verb, '\n', client->used);

	(void)fd;
	if (here && eol != NULL) {
		*eol = '\0';
		if (memchr(client->verb, '\0', (size_t)(eol - client->verb)) != NULL)
			client->verb[0] = '\0'; /* what stands before it is not all that was said */
		client_answer(client);
	} else if (here && (what & EV_TIMEOUT) == 0 && client->used < VERB_MAX - 1) {
		client_wait(client);
	} else {
		client_close(client, &control.counts.cut_off);
	}
}

/* ---- who asks ----------------------------------------------------------------------------------
 */

static bool
group_has(int fd, gid_t gid)
{
	static gid_t groups[NGROUPS_MAX];
	socklen_t len = sizeof(groups);

	if (gid == control.group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(groups[0]); i++) {
		if (groups[i] == control.group)
			return true;
	}
	return false;
}

/* As it was when it connected: a descriptor that is passed on stays what it is. */
static enum peer
peer_of(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return PEER_OTHER;
	if (cred.uid == 0)
		return PEER_ROOT;
	return control.group != NOBODY && group_has(fd, cred.gid) ? PEER_MEMBER : PEER_OTHER;
}

static void __attribute__((format(printf, 3, 4)))
turn_away(int fd, uint64_t *outcome, const char *fmt, ...)
{
	char text[160];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	send(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
	(*outcome)++;
}

/* True when there is no room for one more of the group. */
static bool
crowded(void)
{
	mono_ns now = clock_now();

	if (now.ns - control.second.ns >= NS_PER_S) {
		control.second = now;
		control.this_second = 0;
	}
	return control.members >= MEMBERS_MAX || control.this_second >= MEMBERS_A_SECOND;
}

static bool
peer_allowed(int fd, enum peer peer)
{
	if (peer == PEER_OTHER && control.group == NOBODY)
		turn_away(fd, &control.counts.denied,
			"{\"error\":\"permission denied: only root may ask\"}\n");
	else if (peer == PEER_OTHER)
		turn_away(fd, &control.counts.denied,
			"{\"error\":\"permission denied: only root and members of group %u may "
			"ask\"}\n",
			control.group);
	else if (peer == PEER_MEMBER && crowded())
		turn_away(fd, &control.counts.crowded,
			"{\"error\":\"too many of the group ask at once: try again\"}\n");
	else
		return true;
	return false;
}

static void
client_begin(int fd, enum peer peer)
{
	struct client *client = calloc(1, sizeof(*client));

	if (client == NULL)
		fatal("out of memory for a control client");
	client->fd = fd;
	client->peer = peer;
	client->until.ns = clock_now().ns + PATIENCE_NS;
	client->event = event_new(control.base, fd, EV_READ | EV_PERSIST, client_speaks, client);
	if (client->event == NULL)
		fatal("cannot watch a control client");
	client_wait(client);
	control.members += peer == PEER_MEMBER;
	control.this_second += peer == PEER_MEMBER;
	if (++control.clients == CLIENTS_MAX)
		event_del(control.listener);
}

/* Gone again, or one of the kernel's many other reasons: the next turn tries again. */
static void
accept_failed(int error)
{
	if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM)
		return;
	log_warning("no control client can be taken: %s", strerror(error));
	event_del(control.listener);
	if (event_add(control.rest, &rest_time) < 0)
		fatal("cannot set a timer");
}

static void
rested(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	if (control.clients < CLIENTS_MAX)
		listener_watch();
}

static void
client_arrives(evutil_socket_t listener, short what, void *arg)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	enum peer peer;

	(void)what;
	(void)arg;
	if (fd < 0) {
		accept_failed(errno);
		return;
	}
	peer = peer_of(fd);
	if (peer_allowed(fd, peer))
		client_begin(fd, peer);
}

void
control_open(struct event_base *base, int fd, gid_t group, control_answer answer, void *context)
{
	control = (struct control){
		.base = base, .group = group, .answer = answer, .context = context
	};
	control.listener = event_new(base, fd, EV_READ | EV_PERSIST, client_arrives, NULL);
	control.rest = event_new(base, -1, 0, rested, NULL);
	if (control.listener == NULL || control.rest == NULL)
		fatal("cannot watch the control socket");
	listener_watch();
}

const struct control_counts *
control_counts(void)
{
	return &control.counts;
}
