/* SPDX-License-Identifier: Apache-2.0 */
#include "ids.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/log.h"

#define DYNAMIC_COUNT (IDS_DYNAMIC_LAST - IDS_DYNAMIC_FIRST + 1)

/* Ids in use by anybody: accounts are asked one by one, processes are read once. */
static bool in_use[DYNAMIC_COUNT];

static void
processes_mark(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	struct stat st;

	if (proc == NULL)
		fatal("cannot read /proc, to find ids nobody uses: %s", strerror(errno));
	while ((e = readdir(proc)) != NULL) {
		if (e->d_name[0] < '0' || e->d_name[0] > '9')
			continue;
		if (fstatat(dirfd(proc), e->d_name, &st, 0) < 0)
			continue; /* gone meanwhile */
		if (st.st_uid >= IDS_DYNAMIC_FIRST && st.st_uid <= IDS_DYNAMIC_LAST)
			in_use[st.st_uid - IDS_DYNAMIC_FIRST] = true;
	}
	closedir(proc);
}

/* The same name starts at the same id every time, so that a log's owner is stable where it can be.
 */
static unsigned
name_hash(const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return h % DYNAMIC_COUNT;
}

static struct role_ids
dynamic_choose(const char *name)
{
	unsigned start = name_hash(name);

	for (unsigned n = 0; n < DYNAMIC_COUNT; n++) {
		unsigned slot = (start + n) % DYNAMIC_COUNT;
		uid_t id = IDS_DYNAMIC_FIRST + slot;

		if (in_use[slot] || getpwuid(id) != NULL || getgrgid(id) != NULL)
			continue;
		in_use[slot] = true;
		return (struct role_ids){ .uid = id, .gid = id };
	}
	fatal("no unused id between %u and %u for %s", IDS_DYNAMIC_FIRST, IDS_DYNAMIC_LAST, name);
}

/* Without an answer an account that is there would pass for one that is not. Other numbers are name
 * services' ways to say "no such account". */
static bool
was_no_answer(int error)
{
	return error == EIO || error == EMFILE || error == ENFILE || error == ENOMEM;
}

static struct role_ids
role_choose(const char *name)
{
	const struct passwd *pw;

	errno = 0;
	pw = getpwnam(name);
	if (pw == NULL && was_no_answer(errno))
		fatal("cannot tell whether there is an account %s: %s", name, strerror(errno));
	if (pw == NULL)
		return dynamic_choose(name);
	if (pw->pw_uid == 0 || pw->pw_gid == 0)
		fatal("the account %s has uid %u and gid %u: it must not be root", name, pw->pw_uid,
			pw->pw_gid);
	return (struct role_ids){ .uid = pw->pw_uid, .gid = pw->pw_gid };
}

/* Who set up the accounts may have set up that one too. */
static gid_t
default_group(void)
{
	const struct group *gr;

	errno = 0;
	gr = getgrnam("_eghost-control");
	if (gr == NULL && was_no_answer(errno))
		fatal("cannot tell whether there is a group _eghost-control: %s", strerror(errno));
	return gr == NULL ? (gid_t)-1 : gr->gr_gid;
}

gid_t
ids_control_group(const char *group)
{
	const struct group *gr;

	if (*group == '\0')
		return default_group();
	if (group[strspn(group, "0123456789")] == '\0')
		return (gid_t)strtoul(group, NULL, 10);
	errno = 0;
	gr = getgrnam(group);
	if (gr == NULL && was_no_answer(errno))
		fatal("cannot tell whether there is a group %s: %s", group, strerror(errno));
	if (gr == NULL)
		fatal("control_group = %s: there is no such group", group);
	return gr->gr_gid;
}

static bool
uid_shared(const struct ids *ids)
{
	const uid_t uids[] = { ids->tracker.uid, ids->broker.uid, ids->reaper.uid, ids->sink.uid };
	const size_t count = sizeof(uids) / sizeof(uids[0]);

	for (size_t i = 0; i < count; i++) {
		for (size_t j = i + 1; j < count; j++) {
			if (uids[i] == uids[j])
				return true;
		}
	}
	return false;
}

void
ids_choose(struct ids *ids)
{
	processes_mark();
	ids->tracker = role_choose("_eghost-tracker");
	ids->broker = role_choose("_eghost-broker");
	ids->reaper = role_choose("_eghost-reaper");
	ids->sink = role_choose("_eghost-sink");
	if (uid_shared(ids))
		fatal("the roles' accounts share a uid (%u, %u, %u, %u): they must be four",
			ids->tracker.uid, ids->broker.uid, ids->reaper.uid, ids->sink.uid);
}
