/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_EXITCLASS_H
#define BROKER_EXITCLASS_H

#include <stdbool.h>
#include <stdint.h>

/* How a process ended decides what may be done with what it left (DESIGN 1). Pure. */

enum exit_class {
	EXIT_CRASH,   /* a signal whose default action dumps core */
	EXIT_KILL,    /* SIGKILL */
	EXIT_OOM,     /* SIGKILL from the OOM killer */
	EXIT_CLOSED,  /* the FIN was ordered before the death */
	EXIT_TERM,    /* any other fatal signal: somebody asked it to stop */
	EXIT_ERROR,   /* exit status not 0 */
	EXIT_CLEAN,   /* exit status 0 */
	EXIT_UNKNOWN, /* the death was not seen */
	EXIT_CLASSES,
};
#define EXIT_BIT(c)  (1u << (c))
#define EXIT_BIT_ALL (EXIT_BIT(EXIT_CLASSES) - 1)

/* Deaths after which data in flight is still the peer's, whatever a rule says (I5). */
#define EXIT_BITS_ORDERLY (EXIT_BIT(EXIT_CLOSED) | EXIT_BIT(EXIT_ERROR) | EXIT_BIT(EXIT_CLEAN))

/* exit_code as wait(2) reports it: status << 8 | core 0x80 | signal. oom: signal->oom_mm was set.
 * Whether a core was written does not matter: a limit of 0 makes a crash no less a crash. */
enum exit_class exit_classify(uint32_t exit_code, bool oom);

/* The fatal signal, 0 when it exited by itself. */
unsigned exit_signal(uint32_t exit_code);
/* The exit status, 0 ... 255; 0 when a signal ended it. */
unsigned exit_status(uint32_t exit_code);

/* "crash", "kill", "oom", "closed", "term", "error", "clean", "unknown". */
const char *exit_class_name(enum exit_class c);
/* Returns false when there is no such class. */
bool exit_class_by_name(const char *name, enum exit_class *c);

/* event.reason of a decision that follows from the death alone: "owner-killed" ... */
const char *exit_class_reason(enum exit_class c);

/* For people: "SIGKILL", "exit status 3". */
void exit_cause_print(uint32_t exit_code, char *out, unsigned long size);

#endif
