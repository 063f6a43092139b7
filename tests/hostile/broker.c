/* SPDX-License-Identifier: Apache-2.0 */
#include "broker.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "reaper_peer.h"
#include "sockets.h"
#include "tap.h"

/*
 * A broker that lies. It starts the real reaper in a network namespace of its own, names it living
 * sockets, accept queues, listeners, other namespaces, duplicates and nonsense, and checks after
 * each lie that nothing but true orphans has ended. Root. Prints TAP, exits 0 when all is well.
 *
 *	hostile_broker LIBEXEC-FOLDER [MESSAGES]
 *
 * With a number: no lies one by one, but so many at full speed.
 */

static void
test_all(struct reaper *r)
{
	test_live(r);
	test_accept_queue(r);
	test_listener(r);
	test_other_netns(r);
	test_orphans(r);
	test_silent_states(r);
	test_time_wait(r);
	test_wrong_claims(r);
	test_sample_orphans(r);
	test_sample_held(r);
	test_sample_others(r);
	test_sample_batch(r);
	test_proved_still(r);
	test_proved_moved(r);
	test_proved_other_state(r);
	test_proved_live(r);
	test_proved_quick(r);
	test_outrun(r);
	test_half_closed(r);
	test_batch(r);
	test_duplicates(r);
	test_flood(r);
	reaper_stop(r, "after all that");
	test_rate();
	test_stop();
	test_sample_flood();
	test_reconcile();
}

int
main(int argc, char **argv)
{
	struct reaper r;

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: hostile_broker LIBEXEC-FOLDER [MESSAGES]\n");
		return 2;
	}
	libexec = argv[1];
	signal(SIGPIPE, SIG_IGN);
	must(unshare(CLONE_NEWNET), "unshare (root is needed)");
	loopback_up();
	if (argc == 3) {
		test_broker_flood(strtoull(argv[2], NULL, 10));
		printf("1..%u\n", tap_tests);
		return tap_failures == 0 ? 0 : 1;
	}
	r = reaper_ready("100000", NULL);
	ok(r.hello.netns == netns_now() && r.hello.ceiling == 100000 && r.hello.time_wait == 0,
		"HELLO: self-test %u, ceiling %llu", r.hello.selftest,
		(unsigned long long)r.hello.ceiling);
	if (r.hello.selftest == WIRE_SELFTEST_PASSED)
		test_all(&r);
	else
		test_unsupported(&r);
	test_violations();
	test_sample_violations();
	test_fd_passing();
	printf("1..%u\n", tap_tests);
	return tap_failures == 0 ? 0 : 1;
}
