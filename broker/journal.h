/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_JOURNAL_H
#define BROKER_JOURNAL_H

#include <stddef.h>

#include "proto/wire.h"

/*
 * A note as an entry for systemd-journald, by its native protocol: fields, each "NAME=value" and a
 * newline, or, where the value is not ours, "NAME", a newline, the value's length in eight bytes,
 * the value and a newline: whatever bytes a name has, it stays one value. Pure.
 */

#define JOURNAL_ENTRY_MAX 4096u

/* Writes one datagram and returns its length. Always fits. */
size_t journal_entry(const struct wire_note *note, char out[JOURNAL_ENTRY_MAX]);

#endif
