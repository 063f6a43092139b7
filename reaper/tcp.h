/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REAPER_TCP_H
#define REAPER_TCP_H

#include "proto/diag.h"
#include "kind.h"

/* Pure. May this request be looked at in this scope? VERDICT_LOOK, UNSUPPORTED, INVALID (no cookie,
 * no such family) or OTHER_NETNS. */
enum verdict tcp_validate(const struct kind_scope *scope, const struct wire_destroy *request);

/*
 * Pure, and the one place where it is decided (I1). row: the kernel's answer to our own look-up of
 * the request's cookie.
 *
 * - ACT: an orphan. Inode 0; FIN-WAIT-1, FIN-WAIT-2, CLOSING or LAST-ACK; a full socket that is
 * shut down in both directions, or a mini-socket. TIME-WAIT only when request and scope both allow
 * it.
 * - RETRY: an inode, in a state that a close leads to or starts from. __tcp_close() changes the
 *   state before sock_orphan(), and the tracker hears of it before the change: a close that is
 * under way looks like this. So does a socket that its owner, dying but not dead, shut down long
 * before - and any living one, which is refused when its time is up.
 * - GONE: TIME-WAIT that may not be touched: the ghost is no more than an entry that expires.
 * CLOSE: it has ended, and the table shows the last of it.
 * - LIVE: everything else. Inode 0 in ESTABLISHED, CLOSE-WAIT or SYN-RECV is an accept queue or an
 *   MPTCP subflow (KERNEL 2.2).
 * - MOVED: an orphan, in a state in which the broker does not want it released; or, where the
 *   request says that it was proved stuck, one that has moved since the second sample: another
 *   state, bytes acknowledged, or the window's end further on.
 * - STALE: an orphan, but with another address or another history than the broker described.
 * - BLIND: a proved request, and the row does not tell what would have moved.
 */
enum verdict tcp_verdict(const struct kind_scope *scope, const struct wire_destroy *request,
	const struct diag_row *row);

/* Pure. What a sample says of a row: ORPHAN under the same conditions as ACT; TIME_WAIT; HELD:
 * everything somebody may reach. FAILED, with *error: ESTALE for another socket than the one named,
 * ENODATA where the row does not tell what a proof compares. */
enum wire_found tcp_found(const struct kind_scope *scope, const struct wire_sample *sample,
	const struct diag_row *row, int *error);

/* Pure. What a proof compares, and its evidence. All zero but the timer of a mini-socket. */
struct wire_progress tcp_progress(const struct diag_row *row);

/* Pure. True, and *record filled in, when the row is an orphan with a cookie (TIME-WAIT is none).
 */
bool tcp_record(const struct kind_scope *scope, const struct diag_row *row,
	struct wire_found_record *record);

/* Pure. What the peer hears when a socket that looks like row is destroyed: tcp_need_reset() says a
 * reset for FIN-WAIT-1 and FIN-WAIT-2; a mini-socket, LAST-ACK and CLOSING go silently. */
enum wire_peer_notice tcp_peer_notice(const struct diag_row *row);

#endif
