/* SPDX-License-Identifier: Apache-2.0 */
#include "kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/log.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define FDS_MAX	 32

/* Names of ours that nobody can use any more. A store names many descriptors alike. */
static char stale[FDS_MAX][KEPT_NAME_LEN];
static unsigned stale_count;

static unsigned
fds_given(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	unsigned long n;

	if (pid == NULL || count == NULL || strtol(pid, NULL, 10) != getpid())
		return 0;
	n = strtoul(count, NULL, 10);
	if (n > FDS_MAX)
		fatal("LISTEN_FDS=%s: expected at most %u descriptors", count, FDS_MAX);
	return (unsigned)n;
}

static uint32_t
netns_here(void)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) < 0)
		fatal("cannot read this network namespace's number: %s", strerror(errno));
	return (uint32_t)st.st_ino;
}

static void
stale_note(const char *name)
{
	if (stale_count < FDS_MAX)
		snprintf(stale[stale_count++], KEPT_NAME_LEN, "%s", name);
}

static void
fd_take(struct kept_here *kept, const char *tag, const char *name, int fd)
{
	char ours[KEPT_NAME_LEN];

	if (strncmp(name, KEPT_PREFIX, strlen(KEPT_PREFIX)) != 0) {
		log_warning(
			"the service manager hands over a descriptor named \"%s\", which nobody "
			"here knows: ignored",
			name);
		return;
	}
	for (int i = 0; i < KEPT_PARTS; i++) {
		kept_name(ours, tag, (enum kept_part)i);
		if (strcmp(name, ours) != 0 || kept->fds[i] >= 0)
			continue;
		kept->fds[i] = fd;
		return;
	}
	close(fd);
	stale_note(name);
}

/* All or nothing: with a part of it nobody can go on. */
static void
whole_check(struct kept_here *kept, const char *tag)
{
	char name[KEPT_NAME_LEN];

	kept->here = kept->fds[KEPT_RING] >= 0 && kept->fds[KEPT_COUNTERS] >= 0 &&
		     kept->fds[KEPT_EXIT] >= 0;
	for (int i = 0; !kept->here && i < KEPT_PARTS; i++) {
		if (kept->fds[i] < 0)
			continue;
		close(kept->fds[i]);
		kept->fds[i] = -1;
		kept_name(name, tag, (enum kept_part)i);
		stale_note(name);
	}
}

void
kept_receive(struct kept_here *kept, uint32_t ring_bytes)
{
	unsigned count = fds_given();
	const char *names = getenv("LISTEN_FDNAMES");
	char tag[KEPT_TAG_LEN], *list = strdup(names != NULL ? names : ""), *next = list, *name;
	int fd = FIRST_FD;

	if (list == NULL)
		fatal("out of memory for LISTEN_FDNAMES");
	for (int i = 0; i < KEPT_PARTS; i++)
		kept->fds[i] = -1;
	kept_tag(tag, netns_here(), ring_bytes);
	for (; fd < FIRST_FD + (int)count && (name = strsep(&next, ":")) != NULL; fd++) {
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			fatal("LISTEN_FDS=%u, but descriptor %d is not open", count, fd);
		fd_take(kept, tag, name, fd);
	}
	free(list);
	whole_check(kept, tag);
}

void
kept_discard(const struct kept_here *kept, int notify)
{
	char text[128];

	if (stale_count > 0)
		log_warning("the tracking that was kept is another version's%s",
			kept->here ? ", too"
				   : ": deaths since then will be found, but not whose "
				     "they were");
	for (unsigned i = 0; i < stale_count && notify >= 0; i++) {
		snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", stale[i]);
		if (send(notify, text, strlen(text), MSG_NOSIGNAL) < 0)
			log_warning("the service manager does not let go of %s: %s", stale[i],
				strerror(errno));
	}
}
