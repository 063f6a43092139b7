/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_STATUS_H
#define BROKER_STATUS_H

#include "engine.h"

/* What `eghostctl status` shows. */
struct status {
	const struct engine *engine;
	const struct auditlog *log;
	const struct policy *policy;
	const char *config; /* NULL: built-in policy */
	const char *kernel, *selftest;
	uint64_t uptime_ns;
	bool ready;
};

/* One JSON object and a newline. Returns its length, 0 when size is too small. */
size_t status_print(const struct status *status, char *out, size_t size);

#endif
