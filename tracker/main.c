/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The tracker: hears from the kernel who dies and what it leaves behind, and tells the broker.
 * It starts with CAP_BPF and CAP_PERFMON to load its programs, and gives up CAP_PERFMON, for good,
 * before the first event: with both it could load a program that kills sockets.
 */

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <unistd.h>

#include "filter.h"
#include "load.h"
#include "options.h"
#include "proto/build_id.h"
#include "proto/channel.h"
#include "proto/fds.h"
#include "proto/landlock.h"
#include "proto/log.h"
#include "proto/privs.h"
#include "stream.h"

/* Three standard ones, the channel, and the maps, programs and links with some to spare. */
#define NOFILE_MAX 32

static void
hello_send(struct channel *channel, uint32_t features, uint32_t heartbeat_ms)
{
	struct wire_tracker_hello hello = { .features = features, .heartbeat_ms = heartbeat_ms };

	memcpy(hello.build_id, build_id, sizeof(hello.build_id));
	if (channel_send(channel, WIRE_T2B_HELLO, &hello, 1) < 0 && errno != EPIPE &&
		errno != ECONNRESET)
		fatal("sending HELLO to the broker: %s", strerror(errno));
}

/* What the launcher says it has handed over is all there is. */
static unsigned
first_closed(const struct options *options)
{
	if (options->kept)
		return TRACKER_FD_END;
	return options->notify ? TRACKER_FD_KEPT : TRACKER_FD_NOTIFY;
}

/* Goes on with what was kept over a restart; else loads, and has it kept where that can be. */
static void
bpf_side_open(const struct options *options, struct tracker_bpf_side *bpf)
{
	bool going_on = options->kept && load_kept(options->ring_bytes, bpf);

	if (!going_on) {
		for (int fd = TRACKER_FD_KEPT; options->kept && fd < TRACKER_FD_END; fd++)
			close(fd);
		load_programs(options->ring_bytes, bpf);
	}
	if (!going_on && options->notify)
		kept_offer(&bpf->kept, bpf->netns, options->ring_bytes, options->kept);
	if (options->notify)
		close(TRACKER_FD_NOTIFY);
	log_debug("%s", going_on ? "going on with what an earlier run has loaded"
				 : "the BPF programs are loaded");
}

int
main(int argc, char **argv)
{
	const struct privs steady = { .permitted = CAP_BIT(CAP_BPF), .bounding = CAP_BIT(CAP_BPF) };
	static struct tracker_bpf_side bpf;
	static struct channel channel;
	static struct stream stream;
	struct options options;

	log_open("tracker", false);
	/* First: whoever starts it by hand is told so, whatever the arguments. */
	channel_open(&channel, ROLE_CHANNEL_FD, "broker", WIRE_T2B);
	if (!options_read(argc, argv, &options))
		return 2;
	log_open("tracker", options.verbose);
	privs_harden("eghost-tracker", NOFILE_MAX, first_closed(&options));
	bpf_side_open(&options, &bpf);
	stream_open(&stream, &channel, &bpf, options.heartbeat_ms);
	privs_drop_to(&steady);
	privs_prove(&steady);
	landlock_restrict(NULL, 0);
	filter_install(tracker_filter, tracker_filter_count);
	hello_send(&channel, bpf.features, options.heartbeat_ms);
	stream_run(&stream);
	log_debug("the broker closed the channel");
	return 0;
}
