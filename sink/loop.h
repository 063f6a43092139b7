/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SINK_LOOP_H
#define SINK_LOOP_H

#include "audit.h"
#include "proto/channel.h"

/*
 * From the broker to the kernel's audit, one message for each note, in order. Notes of ghosts, of
 * which anybody can make thousands, are written at this rate only: a full backlog would make every
 * program that audits wait, and by some configurations ends the machine. Behind them the channel
 * fills, and then the broker counts what it cannot hand over. Whatever did not become a message is
 * told by one that has its number, as soon as there can be one again.
 */
#define LOOP_MESSAGES_PER_S 500u

/* Says HELLO to the broker. */
void loop_hello(struct channel *channel);

/* Serves the broker until it closes the channel. What it had handed over by then is written without
 * waiting for anything, as far as the rate allows. fatal() when it breaks the protocol. */
void loop_run(struct channel *channel, struct audit *audit);

#endif
