/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/log.h"
#include "text.h"

/* "Trusted app msg - freestyle text": of the numbers that audit's user space has given out, which
 * the kernel's headers do not name. */
#define AUDIT_TRUSTED_APP 1121

/* What is read besides: answers to earlier messages, and interruptions. */
#define STRAYS_MAX 8

struct message {
	struct nlmsghdr head;
	char text[TEXT_MAX];
};

struct answer {
	struct nlmsghdr head;
	struct nlmsgerr error;
	char copy[sizeof(struct message)]; /* of the message that was refused */
};

void
audit_open(struct audit *audit)
{
	/* Connected to the kernel, so that other senders are turned away. */
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT);

	*audit = (struct audit){ .seq = 1 };
	if (fd < 0)
		fatal("this kernel has no Linux audit: %s", strerror(errno));
	if (fd != AUDIT_FD)
		fatal("the audit socket is descriptor %d, expected %d", fd, AUDIT_FD);
	if (connect(fd, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		fatal("cannot connect the audit socket to the kernel: %s", strerror(errno));
}

/* The kernel has answered before the call that sent the message returns. */
static int
answer_read(uint32_t seq)
{
	struct answer answer;

	for (unsigned i = 0; i <= STRAYS_MAX; i++) {
		ssize_t n = recv(AUDIT_FD, &answer, sizeof(answer), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? ENOBUFS : errno;
		if ((size_t)n < offsetof(struct answer, copy) || answer.head.nlmsg_seq != seq ||
			answer.head.nlmsg_type != NLMSG_ERROR)
			continue;
		return answer.error.error <= 0 ? -answer.error.error : EBADMSG;
	}
	return EBADMSG;
}

int
audit_write(struct audit *audit, const char *text, size_t len)
{
	static struct message message;
	uint32_t seq = audit->seq++;
	ssize_t n;

	if (len >= sizeof(message.text))
		return EMSGSIZE;
	message.head = (struct nlmsghdr){
		.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + len + 1),
		.nlmsg_type = AUDIT_TRUSTED_APP,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		.nlmsg_seq = seq,
	};
	memcpy(message.text, text, len);
	message.text[len] = '\0';
	do
		n = send(AUDIT_FD, &message, message.head.nlmsg_len, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? errno : answer_read(seq);
}
