/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_KEYED_H
#define BROKER_KEYED_H

#include <stddef.h>

#include "proto/log.h"

/*
 * uthash for tables whose keys a hostile role chooses: its own hash has no secret, so anybody could
 * make a table of one long chain. Include this, never <uthash.h>.
 */

/* The table's own idea of running out of memory is exit(-1) without a word. */
#define uthash_fatal(msg)	      fatal("%s", (msg))
#define HASH_FUNCTION(key, len, hash) (hash) = keyed_hash((key), (len))
#include <uthash.h>

/* Draws the secret, once in a process's life. Fatal when there are no random numbers. Before
 * keyed_hash() is used. */
void keyed_start(void);

/* len: whole words of 8 bytes; a rest is not looked at. */
unsigned keyed_hash(const void *key, size_t len);

#endif
