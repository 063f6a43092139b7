/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SINK_TEXT_H
#define SINK_TEXT_H

#include <stddef.h>

#include "proto/wire.h"

/*
 * A note as the text of an audit message: keys of the audit field dictionary where it has one, and
 * values that no byte of somebody else's choice can get out of. Pure.
 *
 *	op=destroy laddr=192.0.2.1 lport=443 addr=198.51.100.7 rport=40112 proto=6 opid=812
 *	ocomm="nginx" ouid=33 sig=9 unit="nginx.service" reason=destroyed state=fin-wait-1 seqno=18
 *	uuid=4ea18160-5b3b-48f2-a7d7-7fb5ac53fdd8 res=success
 *
 * comm and unit are quoted where they are plain, else in hexadecimal, as the kernel does it: a
 * reader that knows the key decodes it (ausearch -i).
 */

#define TEXT_MAX 1024u

/* Writes the text, zero-terminated, and returns its length. The note has passed wire_check(), and
 * so fits. boot_id: uuid, which with seqno is the record's name everywhere. */
size_t text_format(
	const struct wire_note *note, const uint8_t boot_id[WIRE_BOOT_ID_LEN], char out[TEXT_MAX]);

#endif
