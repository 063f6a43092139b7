/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * A process that does exactly the system calls it is told to. The test listens on a SOCK_SEQPACKET
 * socket, and every process and every thread of an actor has a connection of its own to it: so a
 * test decides who does what, and when. One packet is an order ("connect 3 127.0.0.1 8080"), the
 * answer is one packet: "ok ..." or "error ERRNO WHAT". Nothing here waits for time to pass.
 *
 *	actor PATH	connects to PATH
 *	actor PATH FD	goes on with the connection FD (after the order "exec")
 */

#define ORDER_MAX 8192
#define ARGS_MAX  4
#define CHUNK	  65536

struct control {
	int fd;
	int passed; /* descriptor that came with the order, or -1 */
	char order[ORDER_MAX];
};

static const char *control_path;

static _Noreturn void
die(const char *what)
{
	perror(what);
	_exit(99);
}

__attribute__((format(printf, 2, 3))) static void
answer(const struct control *c, const char *fmt, ...)
{
	char text[ORDER_MAX * 2 + 16];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
		_exit(98); /* the test is gone */
}

/* What nearly every system call's answer comes down to. */
static void
answer_result(const struct control *c, const char *what, long result)
{
	if (result < 0)
		answer(c, "error %d %s", errno, what);
	else
		answer(c, "ok %ld", result);
}

static int
number(const char *text)
{
	return (int)strtol(text, NULL, 0);
}

/* Returns the length of the address, 0 when `text` is none. */
static socklen_t
address_parse(const char *text, const char *port, struct sockaddr_storage *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)number(port));
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)number(port));
		return sizeof(*in6);
	}
	return 0;
}

/* ---- sockets ---- */

static void
verb_socket(struct control *c, char **arg)
{
	answer_result(
		c, "socket", socket(number(arg[0]) == 6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0));
}

static void
verb_mptcp(struct control *c, char **arg)
{
	answer_result(c, "mptcp",
		socket(number(arg[0]) == 6 ? AF_INET6 : AF_INET, SOCK_STREAM, IPPROTO_MPTCP));
}

static void
verb_device(struct control *c, char **arg)
{
	answer_result(c, "SO_BINDTODEVICE",
		setsockopt(number(arg[0]), SOL_SOCKET, SO_BINDTODEVICE, arg[1],
			(socklen_t)strlen(arg[1])));
}

static void
verb_sndbuf(struct control *c, char **arg)
{
	int bytes = number(arg[1]);

	answer_result(c, "SO_SNDBUFFORCE",
		setsockopt(number(arg[0]), SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)));
}

/* What a listener has, the connections it accepts begin with. */
static void
verb_rcvbuf(struct control *c, char **arg)
{
	int bytes = number(arg[1]);

	answer_result(c, "SO_RCVBUFFORCE",
		setsockopt(number(arg[0]), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)));
}

static void
verb_bind(struct control *c, char **arg)
{
	struct sockaddr_storage ss;
	socklen_t len = address_parse(arg[1], arg[2], &ss);
	int one = 1;

	setsockopt(number(arg[0]), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	answer_result(c, "bind", bind(number(arg[0]), (struct sockaddr *)&ss, len));
}

static void
verb_connect(struct control *c, char **arg)
{
	struct sockaddr_storage ss;
	socklen_t len = address_parse(arg[1], arg[2], &ss);

	answer_result(c, "connect", connect(number(arg[0]), (struct sockaddr *)&ss, len));
}

static void
verb_listen(struct control *c, char **arg)
{
	answer_result(c, "listen", listen(number(arg[0]), number(arg[1])));
}

static void
verb_accept(struct control *c, char **arg)
{
	answer_result(c, "accept", accept(number(arg[0]), NULL, NULL));
}

/* FD COUNT: accepts that many, and keeps them. */
static void
verb_accept_many(struct control *c, char **arg)
{
	int count = number(arg[1]);

	for (int i = 0; i < count; i++) {
		if (accept(number(arg[0]), NULL, NULL) < 0) {
			answer_result(c, "accept", -1);
			return;
		}
	}
	answer(c, "ok %d", count);
}

static int
port_of(const struct sockaddr_storage *ss)
{
	if (ss->ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)ss)->sin6_port);
	return ntohs(((const struct sockaddr_in *)ss)->sin_port);
}

/* ok COOKIE LOCAL-PORT REMOTE-PORT (0 for a listener) */
static void
verb_name(struct control *c, char **arg)
{
	struct sockaddr_storage local = { 0 }, remote = { 0 };
	socklen_t local_len = sizeof(local), remote_len = sizeof(remote);
	uint64_t cookie = 0;
	socklen_t cookie_len = sizeof(cookie);
	int fd = number(arg[0]);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &cookie_len) ||
		getsockname(fd, (struct sockaddr *)&local, &local_len)) {
		answer_result(c, "name", -1);
		return;
	}
	if (getpeername(fd, (struct sockaddr *)&remote, &remote_len))
		memset(&remote, 0, sizeof(remote));
	answer(c, "ok %llu %d %d", (unsigned long long)cookie, port_of(&local), port_of(&remote));
}

/* The bytes of every stream: position n carries n * 31 + n / 251, so that a lost or doubled piece
 * shows. sockets.py has the same formula. */
static void
pattern(unsigned char *out, size_t len, size_t position)
{
	for (size_t i = 0; i < len; i++, position++)
		out[i] = (unsigned char)(position * 31 + position / 251);
}

static long
stream_write(int fd, size_t limit, size_t position, int flags)
{
	static _Thread_local unsigned char chunk[CHUNK];
	size_t done = 0;

	while (done < limit) {
		size_t want = limit - done < CHUNK ? limit - done : CHUNK;

		pattern(chunk, want, position + done);
		ssize_t n = send(fd, chunk, want, flags | MSG_NOSIGNAL);
		if (n < 0 && (flags & MSG_DONTWAIT) && errno == EAGAIN)
			break;
		if (n < 0)
			return -1;
		done += (size_t)n;
	}
	return (long)done;
}

/* FD POSITION: until the socket takes no more, because its peer does not read. */
static void
verb_fill(struct control *c, char **arg)
{
	answer_result(c, "fill",
		stream_write(number(arg[0]), SIZE_MAX / 2, (size_t)atol(arg[1]), MSG_DONTWAIT));
}

/* FD BYTES POSITION */
static void
verb_write(struct control *c, char **arg)
{
	answer_result(c, "write",
		stream_write(number(arg[0]), (size_t)atol(arg[1]), (size_t)atol(arg[2]), 0));
}

/* Numbers from CROWD_FD on have no gaps. */
#define CROWD_FD 64

static int
crowd_connect(const struct sockaddr_storage *ss, socklen_t len, size_t bytes)
{
	int low = socket(ss->ss_family, SOCK_STREAM, 0);
	int fd = fcntl(low, F_DUPFD_CLOEXEC, CROWD_FD);

	close(low);
	if (fd < 0 || connect(fd, (const struct sockaddr *)ss, len) ||
		stream_write(fd, bytes, 0, MSG_DONTWAIT) != (long)bytes)
		return -1;
	return fd;
}

/* ADDRESS PORT COUNT BYTES: many connections, with BYTES written to each. Answers the first
 * descriptor; the others follow it without a gap. */
static void
verb_crowd(struct control *c, char **arg)
{
	struct sockaddr_storage ss;
	socklen_t len = address_parse(arg[0], arg[1], &ss);
	int count = number(arg[2]), first = -1;

	for (int i = 0; i < count; i++) {
		int fd = crowd_connect(&ss, len, (size_t)atol(arg[3]));

		if (i == 0)
			first = fd;
		if (fd < 0 || fd != first + i) {
			answer_result(c, "crowd", -1);
			return;
		}
	}
	answer(c, "ok %d", first);
}

static void
verb_send(struct control *c, char **arg)
{
	answer_result(c, "send", send(number(arg[0]), arg[1], strlen(arg[1]), MSG_NOSIGNAL));
}

/* Waits for exactly that many bytes of text. */
static void
verb_read(struct control *c, char **arg)
{
	char text[ORDER_MAX] = "";
	size_t want = (size_t)number(arg[1]);

	if (want >= sizeof(text))
		want = sizeof(text) - 1;
	ssize_t n = recv(number(arg[0]), text, want, MSG_WAITALL);
	if (n < 0)
		answer_result(c, "read", n);
	else
		answer(c, "ok %s", text);
}

static void
verb_close(struct control *c, char **arg)
{
	answer_result(c, "close", close(number(arg[0])));
}

static void
verb_shutdown(struct control *c, char **arg)
{
	answer_result(c, "shutdown", shutdown(number(arg[0]), number(arg[1])));
}

/* ---- descriptors that change hands ---- */

static void
verb_give(struct control *c, char **arg)
{
	int fd = number(arg[0]);
	char text[] = "ok 0";
	struct iovec iov = { text, sizeof(text) - 1 };
	_Alignas(struct cmsghdr) char buf[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof(buf)
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	if (sendmsg(c->fd, &msg, MSG_NOSIGNAL) < 0)
		answer_result(c, "give", -1);
}

static void
verb_take(struct control *c, char **arg)
{
	(void)arg;
	errno = EBADF;
	answer_result(c, "take", c->passed);
}

static void
verb_steal(struct control *c, char **arg)
{
	long pidfd = syscall(SYS_pidfd_open, number(arg[0]), 0);
	long fd = pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, (int)pidfd, number(arg[1]), 0);

	answer_result(c, "steal", fd);
	if (pidfd >= 0)
		close((int)pidfd);
}

/* ---- sockets that no descriptor names ---- */

static int
post(int queue, const int *fds, size_t count)
{
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	_Alignas(struct cmsghdr) char buf[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = buf,
		.msg_controllen = CMSG_SPACE(count * sizeof(int)) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
	return sendmsg(queue, &msg, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Into the queue of a socket of this very process, which nobody reads. */
static void
verb_post(struct control *c, char **arg)
{
	int pair[2], fd = number(arg[0]);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) || post(pair[0], &fd, 1) || close(fd))
		answer_result(c, "post", -1);
	else
		answer(c, "ok 0");
}

/* Into a queue that holds its own end, too: when both ends are closed only the kernel's garbage
 * collector can find it. */
static void
verb_bury(struct control *c, char **arg)
{
	int pair[2], fds[2] = { number(arg[0]), -1 };

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair)) {
		answer_result(c, "bury", -1);
		return;
	}
	fds[1] = pair[1];
	if (post(pair[0], fds, 2) || close(fds[0]))
		answer_result(c, "bury", -1);
	else
		answer(c, "ok 0");
}

/* Registered with an io_uring, which then holds it alone. */
static void
verb_ring(struct control *c, char **arg)
{
	struct io_uring_params params = { 0 };
	int fd = number(arg[0]);
	int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

	if (ring < 0 || syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &fd, 1) ||
		close(fd))
		answer_result(c, "io_uring", -1);
	else
		answer(c, "ok %d", ring);
}

/* ---- who the process is ---- */

static int
hex_digit(char digit)
{
	return digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
}

/* In hex, because the name may hold any byte but zero. */
static void
verb_comm(struct control *c, char **arg)
{
	char name[16] = "";

	for (size_t i = 0; i < sizeof(name) - 1 && arg[0][2 * i] && arg[0][2 * i + 1]; i++)
		name[i] = (char)(hex_digit(arg[0][2 * i]) << 4 | hex_digit(arg[0][2 * i + 1]));
	answer_result(c, "comm", prctl(PR_SET_NAME, name));
}

static void
verb_uid(struct control *c, char **arg)
{
	uid_t uid = (uid_t)number(arg[0]);

	answer_result(c, "uid", setresuid(uid, uid, uid));
}

/* A network namespace of its own, with loopback up. */
static void
verb_netns(struct control *c, char **arg)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	struct stat st = { 0 };

	(void)arg;
	if (unshare(CLONE_NEWNET)) {
		answer_result(c, "netns", -1);
		return;
	}
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (ioctl(fd, SIOCSIFFLAGS, &ifr) || stat("/proc/self/ns/net", &st))
		answer_result(c, "netns", -1);
	else
		answer(c, "ok %llu", (unsigned long long)st.st_ino);
	close(fd);
}

/* ---- processes and threads ---- */

static void control_serve(struct control *c);
static int control_connect(void);

static _Noreturn void
child_main(const struct control *parents)
{
	static struct control c;

	close(parents->fd);
	c.fd = control_connect();
	control_serve(&c);
	_exit(0);
}

static void
verb_fork(struct control *c, char **arg)
{
	pid_t pid = fork();

	(void)arg;
	if (pid == 0)
		child_main(c);
	answer_result(c, "fork", pid);
}

/* fork() with a pid of the test's choice. */
static void
verb_spawn(struct control *c, char **arg)
{
	pid_t want = number(arg[0]);
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&want, .set_tid_size = 1
	};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		child_main(c);
	answer_result(c, "clone3", pid);
}

static void *
thread_main(void *arg)
{
	struct control c = { .fd = control_connect() };

	(void)arg;
	control_serve(&c);
	_exit(0);
}

static void
verb_thread(struct control *c, char **arg)
{
	pthread_attr_t attr;
	pthread_t thread;

	(void)arg;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	errno = pthread_create(&thread, &attr, thread_main, NULL);
	answer_result(c, "thread", errno ? -1 : 0);
	pthread_attr_destroy(&attr);
}

static void
verb_private_files(struct control *c, char **arg)
{
	(void)arg;
	answer_result(c, "unshare", unshare(CLONE_FILES));
}

/* The new image answers. */
static void
verb_exec(struct control *c, char **arg)
{
	char fd[16], self[] = "actor";
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *argv[] = { self, path, fd, NULL };

	(void)arg;
	snprintf(path, sizeof(path), "%s", control_path);
	snprintf(fd, sizeof(fd), "%d", dup(c->fd)); /* without FD_CLOEXEC */
	execv("/proc/self/exe", argv);
	answer_result(c, "execve", -1);
}

/* ---- deaths; none of them answers ---- */

static void
verb_exit(struct control *c, char **arg)
{
	(void)c;
	_exit(number(arg[0])); /* exit_group(), from whichever thread */
}

static void
verb_pthread_exit(struct control *c, char **arg)
{
	(void)arg;
	shutdown(c->fd, SHUT_RDWR); /* other tables may hold copies of the descriptor */
	close(c->fd);
	pthread_exit(NULL);
}

/* By a page that is there and may not be written: a sanitizer would catch a null pointer first. */
static void
verb_segv(struct control *c, char **arg)
{
	volatile char *page = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)c;
	(void)arg;
	signal(SIGSEGV, SIG_DFL);
	*page = 1;
}

static void
verb_sigpipe(struct control *c, char **arg)
{
	int fds[2];

	(void)arg;
	if (pipe(fds) == 0)
		close(fds[0]);
	answer_result(c, "sigpipe", write(fds[1], "x", 1));
}

/* Eats memory until the OOM killer of its cgroup comes; a gigabyte is enough to see that none does.
 */
static void
verb_hog(struct control *c, char **arg)
{
	const size_t step = 1 << 20;

	(void)arg;
	for (int i = 0; i < 1024; i++) {
		char *p = mmap(
			NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			break;
		memset(p, 1, step);
	}
	answer_result(c, "hog", 0);
}

/* ---- orders ---- */

static const struct verb {
	const char *name;
	int args;
	void (*run)(struct control *c, char **arg);
} verbs[] = {
	{ "socket", 1, verb_socket },
	{ "mptcp", 1, verb_mptcp },
	{ "device", 2, verb_device },
	{ "sndbuf", 2, verb_sndbuf },
	{ "rcvbuf", 2, verb_rcvbuf },
	{ "bind", 3, verb_bind },
	{ "connect", 3, verb_connect },
	{ "listen", 2, verb_listen },
	{ "accept", 1, verb_accept },
	{ "accept-many", 2, verb_accept_many },
	{ "name", 1, verb_name },
	{ "fill", 2, verb_fill },
	{ "write", 3, verb_write },
	{ "crowd", 4, verb_crowd },
	{ "send", 2, verb_send },
	{ "read", 2, verb_read },
	{ "close", 1, verb_close },
	{ "shutdown", 2, verb_shutdown },
	{ "give", 1, verb_give },
	{ "take", 0, verb_take },
	{ "steal", 2, verb_steal },
	{ "post", 1, verb_post },
	{ "bury", 1, verb_bury },
	{ "ring", 1, verb_ring },
	{ "comm", 1, verb_comm },
	{ "uid", 1, verb_uid },
	{ "netns", 0, verb_netns },
	{ "fork", 0, verb_fork },
	{ "spawn", 1, verb_spawn },
	{ "thread", 0, verb_thread },
	{ "private-files", 0, verb_private_files },
	{ "exec", 0, verb_exec },
	{ "exit", 1, verb_exit },
	{ "pthread-exit", 0, verb_pthread_exit },
	{ "segv", 0, verb_segv },
	{ "sigpipe", 0, verb_sigpipe },
	{ "hog", 0, verb_hog },
};

static void
control_run(struct control *c)
{
	char *arg[ARGS_MAX] = { 0 }, *rest = c->order;
	const char *name = strsep(&rest, " ");
	int args = 0;

	while (rest && args < ARGS_MAX)
		arg[args++] = strsep(&rest, " ");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].name, name) == 0 && verbs[i].args == args) {
			verbs[i].run(c, arg);
			return;
		}
	}
	answer(c, "error %d no such order", EINVAL);
}

/* Returns false when the test has hung up. */
static bool
control_receive(struct control *c)
{
	struct iovec iov = { c->order, sizeof(c->order) - 1 };
	_Alignas(struct cmsghdr) char buf[CMSG_SPACE(sizeof(int))];
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = buf, .msg_controllen = sizeof(buf)
	};
	ssize_t n = recvmsg(c->fd, &msg, 0);

	if (n <= 0)
		return false;
	c->order[n] = '\0';
	c->passed = -1;
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(&c->passed, CMSG_DATA(cmsg), sizeof(c->passed));
	return true;
}

static void
control_serve(struct control *c)
{
	answer(c, "ok %d %ld", getpid(), syscall(SYS_gettid));
	while (control_receive(c))
		control_run(c);
}

static int
control_connect(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", control_path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)))
		die(control_path);
	return fd;
}

int
main(int argc, char **argv)
{
	static struct control c;
	const struct rlimit no_core = { 0, 0 };

	if (argc < 2 || argc > 3)
		return 2;
	control_path = argv[1];
	setrlimit(RLIMIT_CORE, &no_core);
	if (argc == 2 && close_range(3, ~0u, 0)) /* what the caller left open is none of ours */
		die("close_range");
	c.fd = argc == 3 ? number(argv[2]) : control_connect();
	control_serve(&c);
	return 0;
}
