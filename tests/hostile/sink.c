/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/build_id.h"
#include "proto/channel.h"
#include "role.h"

/*
 * A sink that is none: role.h says how it is started and told what to do. Nothing that it does may
 * be of any consequence to anybody but to what Linux audit is told.
 */

static const char *scenario;

static bool
is(const char *name)
{
	return strcmp(scenario, name) == 0;
}

static void
hello_send(void)
{
	struct wire_sink_hello hello;

	memcpy(hello.build_id, build_id, sizeof(hello.build_id));
	if (is("another-build"))
		hello.build_id[0] ^= 1;
	role_send(WIRE_S2B_HELLO, &hello, 1);
}

static void
report_send(uint64_t taken, uint64_t lost)
{
	const struct wire_report report = { .taken = taken, .lost = lost };

	role_send(WIRE_S2B_REPORT, &report, 1);
}

/* Reads until the end of the channel. Returns the notes that came. */
static uint64_t
read_on(int timeout_ms)
{
	static _Alignas(8) unsigned char packet[ROLE_PACKET_ROOM];
	const struct wire_header *head = (const struct wire_header *)packet;
	uint64_t notes = 0;
	long n;

	while ((n = role_receive(packet, sizeof(packet), timeout_ms)) > 0) {
		if (head->type == WIRE_B2S_NOTE)
			notes += ((size_t)n - sizeof(*head)) / sizeof(struct wire_note);
	}
	return notes;
}

/* What a broken protocol is, each in its way. */
static void
break_it(void)
{
	uint64_t notes = read_on(100);

	if (is("rubbish"))
		role_send_raw("rubbish", 7, -1);
	else if (is("too-much"))
		report_send(notes + 1, 0);
	for (unsigned i = 0; is("flood") && i < 100000; i++)
		report_send(notes, 0);
}

int
main(int argc, char **argv)
{
	struct scenario given = scenario_read(argv[0]);

	(void)argc;
	scenario = given.name;
	hello_send();
	break_it();
	read_on(-1);
	role_say("the end of the channel was seen");
	return 0;
}
