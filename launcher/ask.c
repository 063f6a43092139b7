/* SPDX-License-Identifier: Apache-2.0 */
#include "ask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/fds.h"
#include "proto/log.h"
#include "spawn.h"

unsigned
ask_argv(const char *argv[ASK_ARGV_MAX], const struct options *opt, const struct handles *h,
	const char *verb)
{
	unsigned n = 0;

	argv[n++] = verb;
	if (h->config_path != NULL) {
		argv[n++] = "--config";
		argv[n++] = h->config_path;
	}
	if (opt->audit_log != NULL) {
		argv[n++] = "--audit-log";
		argv[n++] = opt->audit_log;
	}
	if (opt->observe)
		argv[n++] = "--observe";
	if (opt->verbose)
		argv[n++] = "--verbose";
	argv[n] = NULL;
	return n;
}

static pid_t
child_start(int out, const struct options *opt, const struct handles *h,
	const struct role_ids *broker, int program)
{
	const struct fd_place fds[] = { { h->config, BROKER_FD_CONFIG }, { out, STDOUT_FILENO } };
	const char *argv[ASK_ARGV_MAX];
	pid_t pid = fork();

	if (pid < 0)
		fatal("cannot fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	ask_argv(argv, opt, h, "answers");
	spawn_become(&(struct role){ .name = "broker",
			     .argv = argv,
			     .ids = *broker,
			     .fds = fds,
			     .fd_count = sizeof(fds) / sizeof(fds[0]) },
		opt->libexec, program);
}

static size_t
text_read(int fd, char *text, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size && (n = read(fd, text + used, size - used)) != 0) {
		if (n < 0 && errno != EINTR)
			fatal("cannot read the configuration's answer: %s", strerror(errno));
		if (n > 0)
			used += (size_t)n;
	}
	return used;
}

/* By the letter: whoever made the child say anything else gains nothing. */
static void
answers_take(struct answers *answers, size_t len)
{
	static const char *const names[ANSWERS] = ANSWER_NAMES;
	const char *text = answers->text, *end = text + len;

	for (unsigned i = 0; i < ANSWERS; i++) {
		size_t name = strlen(names[i]), line = strnlen(text, (size_t)(end - text));

		if (text + line >= end || line <= name || line - name > ANSWER_MAX ||
			memcmp(text, names[i], name) != 0 || text[name] != '=')
			fatal("reading the configuration gave no answer about %s", names[i]);
		answers->of[i] = text + name + 1;
		text += line + 1;
	}
	if (text != end)
		fatal("reading the configuration gave more answers than there are questions");
}

void
ask_configuration(struct answers *answers, const struct options *opt, const struct handles *h,
	const struct role_ids *broker, int program)
{
	int out[2], status;
	pid_t pid;
	size_t len;

	if (pipe2(out, O_CLOEXEC) < 0)
		fatal("cannot make a pipe: %s", strerror(errno));
	pid = child_start(out[1], opt, h, broker, program);
	close(out[1]);
	len = text_read(out[0], answers->text, sizeof(answers->text));
	close(out[0]);
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		fatal("reading the configuration failed");
	if (WEXITSTATUS(status) != 0)
		exit(WEXITSTATUS(status)); /* it has said what is wrong */
	answers_take(answers, len);
	if (*answers->of[ANSWER_AUDIT_LOG] == '\0')
		fatal("reading the configuration gave no path for the audit log");
}
