/* SPDX-License-Identifier: Apache-2.0 */
#include "reaper_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/spawn.h"
#include "proto/channel.h"
#include "proto/privs.h"
#include "tap.h"

const char *libexec;

void
packet_send(struct reaper *r, enum wire_type type, const void *records, size_t count)
{
	_Alignas(8) unsigned char packet[WIRE_PACKET_MAX];
	size_t len = wire_header_fill((struct wire_header *)packet, type, count, r->seq_out++);

	memcpy(packet + sizeof(struct wire_header), records, len - sizeof(struct wire_header));
	if (send(r->fd, packet, len, MSG_NOSIGNAL) < 0)
		die("send to the reaper");
}

/* One checked packet of any type. False at the end. *view holds until the next. */
bool
packet_any(struct reaper *r, struct wire_view *view)
{
	static _Alignas(8) unsigned char packet[WIRE_PACKET_MAX];
	ssize_t n;

	if (!readable(r->fd)) {
		errno = ETIMEDOUT;
		die("the reaper says nothing");
	}
	n = recv(r->fd, packet, sizeof(packet), 0);
	if (n <= 0)
		return false;
	if (wire_check(packet, (size_t)n, WIRE_R2B, r->seq_in++, view) != WIRE_OK) {
		errno = EPROTO;
		die("the reaper broke the protocol");
	}
	return true;
}

/* One packet of one type. Returns the number of records, 0 at the end. */
size_t
packet_recv(struct reaper *r, enum wire_type type, void *records, size_t size)
{
	struct wire_view view;

	if (!packet_any(r, &view))
		return 0;
	if (view.type != type || view.count * wire_record_size(type) > size) {
		printf("# expected %s, not %s\n", wire_type_name(type), wire_type_name(view.type));
		errno = EPROTO;
		die("the reaper broke the order");
	}
	memcpy(records, view.records, view.count * wire_record_size(type));
	return view.count;
}

static void
reaper_exec(int fd, const char *ceiling, const char *option)
{
	const char *const argv[] = { "--ceiling", ceiling, option, NULL };
	const struct fd_place place = { fd, ROLE_CHANNEL_FD };
	const struct role role = {
		.name = "reaper",
		.argv = argv,
		.ids = { REAPER_UID, REAPER_UID },
		.caps = CAP_BIT(CAP_NET_ADMIN),
		.bounding = CAP_BIT(CAP_NET_ADMIN),
		.fds = &place,
		.fd_count = 1,
	};

	spawn_become(&role, libexec, spawn_program_open(libexec, "reaper"));
}

struct reaper
reaper_start(const char *ceiling, const char *option)
{
	struct reaper r = { 0 };
	int pair[2], room = 4 << 20;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
	must(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)),
		"SO_SNDBUFFORCE");
	must(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)),
		"SO_SNDBUFFORCE");
	r.fd = pair[0];
	r.pid = must(fork(), "fork");
	if (r.pid == 0)
		reaper_exec(pair[1], ceiling, option);
	close(pair[1]);
	if (packet_recv(&r, WIRE_R2B_HELLO, &r.hello, sizeof(r.hello)) != 1)
		die("no HELLO from the reaper");
	return r;
}

void
hello_send(struct reaper *r, uint64_t limit)
{
	struct wire_broker_hello hello = { .destroy_limit = limit };

	memcpy(hello.build_id, r->hello.build_id, sizeof(hello.build_id));
	packet_send(r, WIRE_B2R_HELLO, &hello, 1);
}

struct reaper
reaper_ready(const char *ceiling, const char *option)
{
	struct reaper r = reaper_start(ceiling, option);

	hello_send(&r, UINT64_MAX);
	return r;
}

/* Waits for its end and returns the exit status, or minus the signal. */
int
reaper_wait(struct reaper *r)
{
	int status;

	must(waitpid(r->pid, &status, 0), "waitpid");
	close(r->fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void
reaper_stop(struct reaper *r, const char *what)
{
	shutdown(r->fd, SHUT_WR);
	ok(reaper_wait(r) == 0, "%s: exit 0 at the end of the channel", what);
}

struct wire_result_record
ask(struct reaper *r, const struct wire_destroy *request)
{
	struct wire_result_record result = { 0 };

	packet_send(r, WIRE_B2R_DESTROY, request, 1);
	if (packet_recv(r, WIRE_R2B_RESULT, &result, sizeof(result)) != 1)
		die("the reaper ended");
	return result;
}

void
expect(struct reaper *r, const struct wire_destroy *request, enum wire_result result, int error,
	const char *what)
{
	struct wire_result_record got = ask(r, request);

	ok(got.result == result && got.error == error && got.ghost == request->ghost &&
			got.cookie == request->cookie,
		"%s: %s (error %d, state %s, looks %u)", what, wire_result_name(got.result),
		got.error, tcp_state_name(got.state), got.tries);
}

/* Returns when the reaper has taken its first look at everything sent so far. */
void
ping(struct reaper *r)
{
	struct wire_ping ping = { .nonce = 4711 };
	struct wire_pong pong = { 0 };

	packet_send(r, WIRE_B2R_PING, &ping, 1);
	if (packet_recv(r, WIRE_R2B_PONG, &pong, sizeof(pong)) != 1 || pong.nonce != ping.nonce)
		die("no PONG");
}

struct wire_sample
sample_for(const struct wire_destroy *d)
{
	return (struct wire_sample){ .ghost = d->ghost, .cookie = d->cookie, .tuple = d->tuple };
}

struct wire_sampled
sample(struct reaper *r, const struct wire_destroy *d)
{
	struct wire_sample question = sample_for(d);
	struct wire_sampled answer = { 0 };

	packet_send(r, WIRE_B2R_SAMPLE, &question, 1);
	if (packet_recv(r, WIRE_R2B_SAMPLED, &answer, sizeof(answer)) != 1)
		die("the reaper ended");
	return answer;
}

void
expect_sample(struct reaper *r, const struct wire_destroy *d, enum wire_found found, int error,
	unsigned state, const char *what)
{
	struct wire_sampled got = sample(r, d);

	ok(got.found == found && got.error == error && got.state == state &&
			got.ghost == d->ghost && got.cookie == d->cookie && got.sampled_mono_ns > 0,
		"sample of %s: found %u, error %d, state %s", what, got.found, got.error,
		tcp_state_name(got.state));
}

/* Samples until the ghost has moved on from *before. */
struct wire_sampled
sample_moved(struct reaper *r, const struct wire_destroy *d, const struct wire_progress *before)
{
	struct wire_sampled now;

	do
		now = sample(r, d);
	while (now.found == WIRE_FOUND_ORPHAN && !wire_progress_made(before, &now.progress));
	return now;
}

/* Samples until two in a row are the same: the peer's window is closed again. */
struct wire_sampled
sample_still(struct reaper *r, const struct wire_destroy *d)
{
	struct wire_sampled before, now = sample(r, d);

	do {
		before = now;
		now = sample(r, d);
	} while (wire_progress_made(&before.progress, &now.progress) ||
		 now.progress.timer != 4 /* zero window */);
	return now;
}

void
reconcile_send(struct reaper *r, uint64_t round)
{
	struct wire_reconcile record = { round };

	packet_send(r, WIRE_B2R_RECONCILE, &record, 1);
}

void
dies(struct reaper *r, const char *what)
{
	int status = reaper_wait(r);

	ok(status == 1, "%s: exit %d", what, status);
}

void
limit_send(struct reaper *r, uint64_t limit)
{
	struct wire_limit record = { limit };

	packet_send(r, WIRE_B2R_LIMIT, &record, 1);
}

void
tally_read(struct reaper *r, struct tally *t, unsigned total)
{
	struct wire_result_record results[WIRE_BATCH_MAX];

	while (t->total < total) {
		size_t n = packet_recv(r, WIRE_R2B_RESULT, results, sizeof(results));

		if (n == 0)
			return;
		for (size_t i = 0; i < n; i++)
			t->by_result[results[i].result]++;
		t->total += (unsigned)n;
		t->packets++;
	}
}
