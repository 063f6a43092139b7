/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACKER_DECODE_H
#define TRACKER_DECODE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/wire.h"

/*
 * Ring-buffer records (bpf/events.h) into wire records. Pure: bytes in, values out.
 */

struct decoded {
	enum wire_type type; /* WIRE_T2B_EXIT or WIRE_T2B_ORPHAN: says which of the two is set */
	union {
		struct wire_exit exit;
		struct wire_orphan orphan;
	};
};

/* Translates one record of size bytes; data needs no alignment. Every byte of the wire record is
 * set, pads to zero; strings are cut at their first zero byte, ended by one and filled up with
 * zeros. Returns false, with *out undefined, for an unknown kind, a size that is not exactly the
 * kind's, or a field that wire_check() would refuse: the programs never write such a record. */
bool decode_record(const void *data, size_t size, struct decoded *out);

#endif
