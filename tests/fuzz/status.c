/* SPDX-License-Identifier: Apache-2.0 */
/* links: ctl/status.c ctl/metrics_verb.c ctl/service.c ctl/options.c proto/log.c | pkg: jansson */
/*
 * What answers `eghostctl status` and `metrics`: the input, in pieces, from a socket that is
 * played. Whatever it is, the verb ends with 0 or 1, and a table and metrics have nothing in them
 * that drives a terminal.
 */
#include "fuzz.h"

#include <errno.h>
#include <getopt.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ctl/ctl.h"

#define SOCKET_FD 9

/* A table, JSON, metrics; done or failed. */
FUZZ_GOALS(6);

static struct input source;
static const struct ctl_verb *verb;
static size_t piece; /* at most, in one recv(2) */

int
socket(int family, int type, int protocol)
{
	(void)type;
	(void)protocol;
	return family == AF_UNIX ? dup2(STDERR_FILENO, SOCKET_FD) : -1;
}

int
connect(int fd, const struct sockaddr *address, socklen_t len)
{
	(void)address;
	(void)len;
	return fd == SOCKET_FD ? 0 : -1;
}

int
setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	(void)level;
	(void)option;
	(void)value;
	(void)len;
	return fd == SOCKET_FD ? 0 : -1;
}

ssize_t
send(int fd, const void *data, size_t len, int flags)
{
	REQUIRE(fd == SOCKET_FD && flags == MSG_NOSIGNAL && len == strlen(verb->name) + 1);
	REQUIRE(memcmp(data, verb->name, len - 1) == 0 && ((const char *)data)[len - 1] == '\n');
	return (ssize_t)len;
}

ssize_t
recv(int fd, void *out, size_t len, int flags)
{
	REQUIRE(fd == SOCKET_FD && flags == 0);
	if (len > piece)
		len = piece;
	return (ssize_t)input_fill(&source, out, len < source.left ? len : source.left);
}

/* What is said on standard error is not looked at here. */
ssize_t
write(int fd, const void *data, size_t len)
{
	return fd == STDERR_FILENO ? (ssize_t)len : syscall(SYS_write, fd, data, len);
}

static void
text_require(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		REQUIRE(text[i] == '\n' || (text[i] >= 0x20 && text[i] < 0x7f));
}

/* Runs the verb; what it prints is *text. */
static int
verb_run(bool as_json, char **text, size_t *len)
{
	char *argv[] = { (char[]){ "verb" }, (char[]){ "--json" }, NULL };
	FILE *real = stdout;
	int rc;

	stdout = open_memstream(text, len);
	REQUIRE(stdout != NULL);
	optind = 0;
	rc = verb->run(as_json ? 2 : 1, argv);
	fclose(stdout);
	stdout = real;
	REQUIRE(rc == 0 || rc == 1);
	return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned how = (unsigned)input_number(&in, 1);
	bool metrics = how % 16 == 14, as_json = !metrics && how % 2 == 1;
	char *text = NULL;
	size_t len = 0;
	int rc;

	verb = metrics ? &ctl_metrics_verb : &ctl_status_verb;
	piece = how / 2 + 1;
	source = in;
	rc = verb_run(as_json, &text, &len);
	REACHED((metrics ? 4 : as_json ? 2 : 0) + rc);
	if (as_json || metrics)
		REQUIRE(len == (rc == 0 ? in.left : 0));
	if (!as_json)
		text_require(text, len);
	free(text);
	return 0;
}
