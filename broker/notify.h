/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_NOTIFY_H
#define BROKER_NOTIFY_H

/* sd_notify(3)'s protocol on the socket the launcher connected; without a service manager nothing.
 */

/* fd: connected datagram socket; -1: all calls do nothing. */
void notify_open(int fd);

/* state: "READY=1", "STOPPING=1", "WATCHDOG=1", with newlines between several. A service manager
 * that does not listen is said once and is no reason to stop; what it did not take comes again
 * before the next, unless that was a sign of life. state is kept: a literal. */
void notify_send(const char *state);

#endif
