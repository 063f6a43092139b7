/* SPDX-License-Identifier: Apache-2.0 */
#include "rival.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "proto/diag.h"
#include "proto/log.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "iterator.skel.h"
#pragma GCC diagnostic pop

extern char **environ;

/* ---- "destroy": knows every cookie, and sends SOCK_DESTROY by the batch ---- */

#define BATCH 64u

static int diag_fd;

static void
destroy_prepare(const struct victims *victims)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int room = 4 << 20;

	(void)victims;
	diag_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (diag_fd < 0 || connect(diag_fd, (struct sockaddr *)&kernel, sizeof(kernel)) < 0 ||
		setsockopt(diag_fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		fatal("cannot open a netlink socket: %s", strerror(errno));
}

/* One acknowledgement for each request. The kernel has sent them all when writev() returns. */
static void
acks_read(size_t count)
{
	static char buffers[BATCH][256];
	static struct mmsghdr messages[BATCH];
	static struct iovec iov[BATCH];

	for (size_t i = 0; i < count; i++) {
		iov[i] = (struct iovec){ buffers[i], sizeof(buffers[i]) };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	if (recvmmsg(diag_fd, messages, (unsigned)count, MSG_DONTWAIT, NULL) != (int)count)
		fatal("not every request was answered");
}

static void
destroy_act(const struct victims *victims, unsigned number, bool all)
{
	static _Alignas(4) unsigned char requests[BATCH][DIAG_REQUEST_LEN];
	const struct target *targets = victims->targets + number * victims->each_count;

	(void)all;
	for (size_t done = 0, n; done < victims->each_count; done += n) {
		struct iovec iov = { .iov_base = requests };

		for (n = 0; n < BATCH && done + n < victims->each_count; n++) {
			const struct target *t = &targets[done + n];

			diag_exact(requests[n], SOCK_DESTROY, 1, t->cookie, &t->tuple);
		}
		iov.iov_len = n * DIAG_REQUEST_LEN;
		if (writev(diag_fd, &iov, 1) < 0)
			fatal("cannot send requests: %s", strerror(errno));
		acks_read(n);
	}
}

/* ---- "ss": what an administrator has ---- */

static void
ss_act(const struct victims *victims, unsigned number, bool all)
{
	char *const argv[] = { (char[]){ "ss" }, (char[]){ "-KHnt" }, (char[]){ "state" },
		(char[]){ "fin-wait-1" }, NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;

	(void)victims;
	(void)number;
	if (!all)
		return;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	errno = posix_spawnp(&pid, "ss", &actions, NULL, argv, environ);
	if (errno != 0)
		fatal("cannot start ss: %s", strerror(errno));
	if (waitpid(pid, &status, 0) < 0 || status != 0)
		fatal("ss has failed");
	posix_spawn_file_actions_destroy(&actions);
}

/* ---- "iterator": a BPF iterator over all sockets ---- */

static struct bpf_link *walk;

static void
iterator_prepare(const struct victims *victims)
{
	struct iterator_bpf *skel = iterator_bpf__open_and_load();

	(void)victims;
	if (skel == NULL)
		fatal("cannot load the iterator: %s", strerror(errno));
	walk = bpf_program__attach_iter(skel->progs.reap, NULL);
	if (walk == NULL)
		fatal("cannot attach the iterator: %s", strerror(errno));
}

static void
iterator_act(const struct victims *victims, unsigned number, bool all)
{
	int fd = bpf_iter_create(bpf_link__fd(walk));
	char byte;

	(void)victims;
	(void)number;
	(void)all;
	if (fd < 0 || read(fd, &byte, 1) < 0)
		fatal("cannot run the iterator: %s", strerror(errno));
	close(fd);
}

/* ---- all ---- */

static const struct rival rivals[] = {
	{ "destroy", destroy_prepare, destroy_act },
	{ "ss", NULL, ss_act },
	{ "iterator", iterator_prepare, iterator_act },
};

const struct rival *
rival_find(const char *name)
{
	for (size_t i = 0; i < sizeof(rivals) / sizeof(rivals[0]); i++) {
		if (strcmp(rivals[i].name, name) == 0)
			return &rivals[i];
	}
	return NULL;
}

_Noreturn void
rival_run(const struct rival *rival, const struct victims *victims)
{
	struct pollfd fds[sizeof(victims->pidfd) / sizeof(victims->pidfd[0])];
	unsigned left = victims->count;

	for (unsigned i = 0; i < victims->count; i++)
		fds[i] = (struct pollfd){ .fd = victims->pidfd[i], .events = POLLIN };
	while (left > 0) {
		if (poll(fds, victims->count, -1) < 0)
			fatal("waiting for deaths: %s", strerror(errno));
		for (unsigned i = 0; i < victims->count; i++) {
			if (fds[i].fd < 0 || fds[i].revents == 0)
				continue;
			fds[i].fd = -1;
			rival->act(victims, i, --left == 0);
		}
	}
	_exit(0);
}
