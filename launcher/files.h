/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LAUNCHER_FILES_H
#define LAUNCHER_FILES_H

#include "ids.h"
#include "options.h"

/* What root opens for the broker. -1: not there (only where proto/fds.h says optional). */
struct handles {
	int config, config_dir;
	int log, log_dir, log_before;
	int seal;
	int control, lock;
	int notify;
	int journal;
	const char *config_path; /* NULL with the built-in policy */
	gid_t control_group;	 /* whose members may ask at the control socket, -1: root only */
};

/* Each opens its part of *h or is fatal with one line that names the path. */

/* opt->config must exist; without it the default file may be missing. */
void files_config_open(struct handles *h, const struct options *opt);

/* path: absolute or relative; its folder must exist (the default one is made). Never follows a link
 * in the last component, takes regular files with one name only, since the folder may belong to the
 * broker's account. */
void files_log_open(struct handles *h, const char *path, const struct role_ids *broker);

/* Takes the lock beside the control socket; fatal when a living instance holds it. The lock, not
 * the socket's file, says who lives. First of all that leaves a trace. */
void files_lock_take(struct handles *h, const char *path);

/* Binds the control socket in place of one that nobody listens on, for root and, where there is
 * one, the control group. Needs the lock. Last, so that a refused start leaves none behind. */
void files_control_open(struct handles *h, const char *path);

/* Connects to $NOTIFY_SOCKET when there is one. */
void files_notify_open(struct handles *h);

/* Connects to systemd-journald. Where there is none a line says so, and the service does without.
 */
void files_journal_open(struct handles *h);

#endif
