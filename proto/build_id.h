/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_BUILD_ID_H
#define PROTO_BUILD_ID_H

#include "wire.h"

/* The first 16 bytes of a SHA-256 over all sources, made by the build. Roles of different builds
 * refuse to work together. Same sources, same id, wherever they are built. */
extern const uint8_t build_id[WIRE_BUILD_ID_LEN];
extern const char version_string[]; /* "0.1.0" */

/* SHA-256 of the BPF object, in hex. */
extern const char bpf_object_hash[];

#endif
