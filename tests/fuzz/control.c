/* SPDX-License-Identifier: Apache-2.0 */
/* links: broker/control.c proto/log.c | pkg: libevent_core */
/*
 * Clients of the control socket, through the real event loop: they come, send in pieces, close,
 * fall silent, wait for one another. accept4() and the peer's credentials are played, and so is the
 * clock: what takes seconds takes none.
 *
 * The input is a byte for each act (3 bits what, 4 bits which client), and what the act needs. Each
 * client hears one answer or none, that of the line it sent; in the end everything is closed, and
 * who comes next is served.
 */
#include "fuzz.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "broker/control.h"

#define CLIENTS	   16u
#define ACTS_MAX   96u
#define VERB_MAX   64u /* what a line may have, with its newline: broker/control.c */
#define TURNS_MAX  64
#define PATIENCE_S 2u

#define GROUP 4242u
#define LARGE (48u << 10)

enum goal {
	GOAL_STATUS,
	GOAL_LARGE,
	GOAL_PIECES, /* an answer for which there was no room at once */
	GOAL_UNKNOWN,
	GOAL_REFUSED,
	GOAL_CROWDED,
	GOAL_CUT_OFF,
	GOALS
};
FUZZ_GOALS(GOALS);

static struct event_base *base;
static int doorbell = -1; /* readable while somebody waits: the listening socket */
static time_t ahead;	  /* the time: it goes on when the input says so */

enum who { OTHER, ROOT, MEMBER, SUPPLEMENTARY };

static struct client {
	int mine, theirs; /* theirs: until it is accepted */
	bool used;
	enum who who;
	uint8_t sent[2 * VERB_MAX];
	size_t sent_len;
	char heard[256];
	size_t heard_len, heard_all;
} clients[CLIENTS];
static unsigned queue[CLIENTS], queue_len;
static struct client *accepted; /* the last one */
static int no_room;		/* errno of accept4(2) */

/* ---- what is played -------------------------------------------------------------------------- */

int
clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE)
		return (int)syscall(SYS_clock_gettime, clock, ts);
	*ts = (struct timespec){ .tv_sec = 1000 + ahead };
	return 0;
}

static void
doorbell_set(void)
{
	uint64_t n;

	while (read(doorbell, &n, sizeof(n)) > 0)
		;
	n = 1;
	if (queue_len > 0)
		REQUIRE(write(doorbell, &n, sizeof(n)) == sizeof(n));
}

int
accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	REQUIRE(fd == doorbell && address == NULL && len == NULL);
	REQUIRE(flags == (SOCK_CLOEXEC | SOCK_NONBLOCK));
	if (queue_len == 0 || no_room == EMFILE) {
		errno = queue_len == 0 ? EAGAIN : no_room;
		return -1;
	}
	accepted = &clients[queue[0]];
	memmove(queue, queue + 1, --queue_len * sizeof(queue[0]));
	doorbell_set();
	fd = accepted->theirs;
	accepted->theirs = -1;
	if (no_room == 0)
		return fd;
	close(fd); /* it is gone, and that is said once */
	errno = no_room;
	no_room = 0;
	return -1;
}

int
getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
	if (level == SOL_SOCKET && option == SO_PEERCRED) {
		*(struct ucred *)value = (struct ucred){ .uid = accepted->who == ROOT ? 0 : 1000,
			.gid = accepted->who == MEMBER ? GROUP : 1000 };
		return 0;
	}
	if (level == SOL_SOCKET && option == SO_PEERGROUPS) {
		const gid_t groups[2] = { 7, accepted->who == SUPPLEMENTARY ? GROUP : 8 };

		REQUIRE(*len >= sizeof(groups));
		memcpy(value, groups, sizeof(groups));
		*len = sizeof(groups);
		return 0;
	}
	return (int)syscall(SYS_getsockopt, fd, level, option, value, len);
}

static size_t
answer(void *context, const char *verb, char *out, size_t size)
{
	REQUIRE(context == &clients && strlen(verb) < VERB_MAX - 1 && strchr(verb, '\n') == NULL);
	if (strcmp(verb, "large") == 0) {
		REQUIRE(size >= LARGE);
		memset(out, 'x', LARGE);
		return LARGE;
	}
	return strcmp(verb, "status") == 0 ? (size_t)snprintf(out, size, "{\"status\":1}\n") : 0;
}

/* ---- clients --------------------------------------------------------------------------------- */

static void
turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

static void
client_come(struct client *c, enum who who)
{
	const int little = 1;
	int pair[2];

	if (c->used)
		return;
	REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	*c = (struct client){ .mine = pair[0], .theirs = pair[1], .used = true, .who = who };
	if (who == SUPPLEMENTARY) /* a host on which socket buffers are small */
		REQUIRE(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)) == 0);
	queue[queue_len++] = (unsigned)(c - clients);
	doorbell_set();
}

static void
client_send(struct client *c, struct input *in)
{
	size_t len = input_number(in, 1) % (VERB_MAX + 8), room = sizeof(c->sent) - c->sent_len;
	uint8_t bytes[VERB_MAX + 8];

	input_fill(in, bytes, len);
	if (!c->used || c->mine < 0 || len > room)
		return;
	if (send(c->mine, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
		return;
	memcpy(c->sent + c->sent_len, bytes, len);
	c->sent_len += len;
}

/* True when the other side has closed. */
static bool
client_hear(struct client *c)
{
	char more[4096];
	ssize_t n = 0;

	if (!c->used || c->mine < 0)
		return true;
	while ((n = recv(c->mine, more, sizeof(more), 0)) > 0) {
		size_t room = sizeof(c->heard) - 1 - c->heard_len;

		if ((size_t)n < room)
			room = (size_t)n;
		memcpy(c->heard + c->heard_len, more, room);
		c->heard_len += room;
		c->heard_all += (size_t)n;
	}
	return n == 0 || errno != EAGAIN;
}

static void
client_go(struct client *c, bool all)
{
	if (!c->used || c->mine < 0)
		return;
	if (!all) {
		shutdown(c->mine, SHUT_WR);
		return;
	}
	client_hear(c);
	close(c->mine);
	c->mine = -1;
}

/* Not a client that closed before it had heard all. */
static void
large_require(const struct client *c)
{
	REQUIRE(memcmp(c->sent, "large", 5) == 0 && c->who != OTHER);
	REACHED(GOAL_LARGE);
	REQUIRE(c->heard_all <= LARGE);
	if (c->who == SUPPLEMENTARY && c->heard_all == LARGE)
		REACHED(GOAL_PIECES);
}

/* Answers are for whole lines of who may ask, each for its own. */
static void
client_require(const struct client *c)
{
	static const char refused[] = "{\"error\":\"permission denied: only root and members of "
				      "group 4242 may ask\"}\n";
	static const char crowded[] = "{\"error\":\"too many of the group ask at once: try "
				      "again\"}\n";
	const char *heard = c->heard, *status = "{\"status\":1}\n";
	size_t head = c->sent_len < VERB_MAX - 1 ? c->sent_len : VERB_MAX - 1;
	const uint8_t *eol = memchr(c->sent, '\n', head);

	if (c->heard_len == 0) {
		REACHED(GOAL_CUT_OFF);
		return;
	}
	if (c->who == OTHER) {
		REACHED(GOAL_REFUSED);
		REQUIRE(strcmp(heard, refused) == 0);
		return;
	}
	if (strcmp(heard, crowded) == 0) {
		REACHED(GOAL_CROWDED);
		REQUIRE(c->who != ROOT);
		return;
	}
	REQUIRE(eol != NULL);
	if (strcmp(heard, status) == 0) {
		REACHED(GOAL_STATUS);
		REQUIRE(memcmp(c->sent, "status", 6) == 0);
	} else if (heard[0] == 'x') {
		large_require(c);
	} else {
		REACHED(GOAL_UNKNOWN);
		REQUIRE(strcmp(heard, "{\"error\":\"unknown request\"}\n") == 0);
	}
}

/* Time passes, until everybody is cut off. */
static void
everybody_leaves(void)
{
	bool all = false;

	no_room = 0;
	for (int i = 0; i < TURNS_MAX && (!all || queue_len > 0); i++) {
		ahead += PATIENCE_S + 1;
		turn();
		all = true;
		for (unsigned c = 0; c < CLIENTS; c++)
			all = client_hear(&clients[c]) && all;
	}
	REQUIRE(all && queue_len == 0);
	for (unsigned c = 0; c < CLIENTS; c++) {
		if (clients[c].used)
			client_require(&clients[c]);
		if (clients[c].used && clients[c].mine >= 0)
			close(clients[c].mine);
		clients[c].used = false;
	}
}

/* Whatever was before: a good client is served, even by a broker that had no CPU for long. */
static void
next_is_served(void)
{
	struct client *c = &clients[0];
	bool closed = false;

	client_come(c, ROOT);
	turn();
	REQUIRE(send(c->mine, "status\n", 7, MSG_NOSIGNAL) == 7);
	ahead += PATIENCE_S + 1;
	for (int i = 0; i < 3 && !closed; i++) {
		turn();
		closed = client_hear(c);
	}
	REQUIRE(closed && strcmp(c->heard, "{\"status\":1}\n") == 0);
	close(c->mine);
	c->used = false;
}

static void
act(struct input *in)
{
	static const int errors[] = { 0, 0, EMFILE, ECONNABORTED };
	unsigned what = (unsigned)input_number(in, 1);
	struct client *c = &clients[what / 8 % CLIENTS];

	switch (what % 8) {
	case 0:
		client_come(c, what < 128 ? ROOT : SUPPLEMENTARY);
		break;
	case 1:
		client_come(c, what < 128 ? OTHER : MEMBER);
		break;
	case 2:
	case 3:
		client_send(c, in);
		break;
	case 4:
		client_go(c, what >= 128);
		break;
	case 5:
		client_hear(c);
		no_room = errors[what / 8 % 4];
		break;
	case 6:
		ahead++;
		break;
	default:
		turn();
	}
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	base = event_base_new();
	doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	REQUIRE(base != NULL && doorbell >= 0);
	control_open(base, doorbell, GROUP, answer, &clients);
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	for (unsigned i = 0; i < ACTS_MAX && in.left > 0; i++)
		act(&in);
	everybody_leaves();
	next_is_served();
	return 0;
}
