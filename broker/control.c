/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/log.h"

#define CLIENTS_MAX 8u
#define VERB_MAX    64u
#define ANSWER_MAX  (64u << 10)

static struct control {
	struct event_base *base;
	struct event *listener;
	control_answer answer;
	void *context;
	unsigned clients;
} control;

struct client {
	int fd;
	struct event *event;
	char verb[VERB_MAX];
	size_t used;
};

static const struct timeval patience = { .tv_sec = 2 };

static void
client_close(struct client *client)
{
	event_free(client->event);
	close(client->fd);
	free(client);
	if (control.clients-- == CLIENTS_MAX)
		event_add(control.listener, NULL);
}

/* One try: the answer is smaller than an empty socket's buffer, and who does not read gets none. */
static void
client_answer(struct client *client)
{
	static char out[ANSWER_MAX];
	size_t len = control.answer(control.context, client->verb, out, sizeof(out));

	if (len == 0) {
		static const char unknown[] = "{\"error\":\"unknown request\"}\n";

		memcpy(out, unknown, sizeof(unknown));
		len = sizeof(unknown) - 1;
	}
	if (send(client->fd, out, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("a control client left without its answer: %s", strerror(errno));
}

static void
client_event(evutil_socket_t fd, short what, void *arg)
{
	struct client *client = arg;
	ssize_t n;
	char *eol;

	if ((what & EV_TIMEOUT) != 0) {
		client_close(client);
		return;
	}
	n = recv(fd, client->verb + client->used, VERB_MAX - 1 - client->used, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_close(client);
		return;
	}
	client->used += (size_t)n;
	eol = memchr(client->verb, '\n', client->used);
	if (eol == NULL && client->used < VERB_MAX - 1)
		return;
	if (eol != NULL) {
		*eol = '\0';
		client_answer(client);
	}
	client_close(client);
}

static bool
peer_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.uid == 0;
}

static void
client_begin(int fd)
{
	struct client *client = calloc(1, sizeof(*client));

	if (client == NULL)
		fatal("out of memory for a control client");
	client->fd = fd;
	client->event = event_new(control.base, fd, EV_READ | EV_PERSIST, client_event, client);
	if (client->event == NULL || event_add(client->event, &patience) < 0)
		fatal("cannot watch a control client");
	if (++control.clients == CLIENTS_MAX)
		event_del(control.listener);
}

static void
client_arrives(evutil_socket_t listener, short what, void *arg)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)what;
	(void)arg;
	if (fd < 0)
		return; /* gone again, or no descriptor left: the next turn tries again */
	if (!peer_allowed(fd)) {
		static const char refused[] =
			"{\"error\":\"permission denied: only root may ask\"}\n";

		send(fd, refused, sizeof(refused) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		close(fd);
		return;
	}
	client_begin(fd);
}

void
control_open(struct event_base *base, int fd, control_answer answer, void *context)
{
	control = (struct control){ .base = base, .answer = answer, .context = context };
	control.listener = event_new(base, fd, EV_READ | EV_PERSIST, client_arrives, NULL);
	if (control.listener == NULL || event_add(control.listener, NULL) < 0)
		fatal("cannot watch the control socket");
}
