/* SPDX-License-Identifier: Apache-2.0 */
#include "say.h"

#include <inttypes.h>

#include "note.h"
#include "proto/log.h"

#define LINES_PER_S 200u

static uint64_t window_start; /* ns */
static unsigned window_lines;
static uint64_t held_back, ever_held_back;

static bool silent;

void
say_silence(void)
{
	silent = true;
}

static bool
line_allowed(mono_ns now)
{
	if (silent)
		return false;
	if (now.ns - window_start >= NS_PER_S) {
		window_start = now.ns;
		window_lines = 0;
	}
	if (window_lines < LINES_PER_S) {
		window_lines++;
		return true;
	}
	held_back++;
	ever_held_back++;
	return false;
}

void
say_rest(void)
{
	if (held_back != 0)
		log_info("%" PRIu64 " more of the like: see the audit log", held_back);
	held_back = 0;
}

static void
say(const struct wire_note *note)
{
	char text[NOTE_TEXT_MAX];

	note_text(note, text, sizeof(text));
	log_info("%s", text);
}

void
say_result(const struct ghost *ghost, const struct record_result *result, mono_ns now)
{
	struct wire_note note;

	if (!line_allowed(now))
		return;
	note_begin(&note, WIRE_ACTION_DESTROY, 0);
	note_ghost(&note, ghost);
	note_result(&note, result);
	say(&note);
}

void
say_left(const struct ghost *ghost, const struct decision *decision, mono_ns now)
{
	struct wire_note note;

	if (!line_allowed(now))
		return;
	note_begin(&note, WIRE_ACTION_DECIDE, 0);
	note_ghost(&note, ghost);
	note_words(&note, decision->reason, decision->rule != NULL ? decision->rule->name : NULL,
		verdict_name(decision->verdict));
	say(&note);
}

uint64_t
say_held_back(void)
{
	return ever_held_back;
}
