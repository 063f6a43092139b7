/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_HOSTILE_BROKER_H
#define TESTS_HOSTILE_BROKER_H

/* What a hostile broker tries, one lie after the other; each checks what it left. */

#include <stdint.h>

struct reaper;

/* broker_acts.c: requests: what has to end, and what has to survive them */
void test_orphans(struct reaper *r);
void test_silent_states(struct reaper *r);
void test_time_wait(struct reaper *r);
void test_live(struct reaper *r);
void test_accept_queue(struct reaper *r);
void test_listener(struct reaper *r);
void test_wrong_claims(struct reaper *r);
void test_other_netns(struct reaper *r);
void test_outrun(struct reaper *r);
void test_half_closed(struct reaper *r);

/* broker_proof.c: looks, and requests that rest on them */
void test_sample_orphans(struct reaper *r);
void test_sample_held(struct reaper *r);
void test_sample_others(struct reaper *r);
void test_sample_batch(struct reaper *r);
void test_sample_flood(void);
void test_proved_still(struct reaper *r);
void test_proved_moved(struct reaper *r);
void test_proved_other_state(struct reaper *r);
void test_proved_live(struct reaper *r);
void test_proved_quick(struct reaper *r);

/* broker_reconcile.c: looks at the whole namespace */
void test_reconcile(void);
void test_unsupported(struct reaper *r);

/* broker_numbers.c: many at once */
void test_batch(struct reaper *r);
void test_duplicates(struct reaper *r);
void test_flood(struct reaper *r);
void test_rate(void);

/* broker_protocol.c: what breaks the protocol */
void test_violations(void);
void test_sample_violations(void);
void test_fd_passing(void);
void test_stop(void);

/* broker_flood.c: everything at once, at full speed */
void test_broker_flood(uint64_t messages);

#endif
