/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_IDS_H
#define LAUNCHER_IDS_H

#include <sys/types.h>

/* systemd's DynamicUser= range. */
#define IDS_DYNAMIC_FIRST 61184u
#define IDS_DYNAMIC_LAST  65519u

struct role_ids {
	uid_t uid;
	gid_t gid;
};

struct ids {
	struct role_ids tracker, broker, reaper, sink;
};

/*
 * The accounts _eghost-tracker, _eghost-broker, _eghost-reaper and _eghost-sink where they exist,
 * else for each an id of systemd's dynamic range (61184-65519) that no account, no group and no
 * running process has. Fatal when the four are not different and unprivileged.
 */
void ids_choose(struct ids *ids);

/* The number of a group that is given by name or number; for "" that of _eghost-control, (gid_t)-1
 * where there is none. Fatal when there is no such group. */
gid_t ids_control_group(const char *group);

#endif
