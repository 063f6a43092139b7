/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_AUDITLOG_H
#define BROKER_AUDITLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chain.h"
#include "outbox.h"
#include "record.h"
#include "seal.h"

/*
 * Sealing: off where the file of its state is not there. A write to the log is sealed in its last
 * record, and only one seal is under way: what is recorded meanwhile waits for the next. First the
 * log is written, then the state goes on, then whoever waits for the flush: so that a service that
 * is killed leaves no epoch out, and a seal that is missing was cut off or went with the machine.
 * When a flush has come back, no key is left of what it wrote.
 */
struct auditlog_seals {
	int fd; /* the state, -1: nothing is sealed */
	struct seal_key key;
	size_t end;    /* bytes of the buffer up to the seal that is under way, 0: none is */
	bool owed;     /* it is in the log, and the state does not know yet */
	bool unsynced; /* the state is written, and the disk has to have it some time */
};

/* What was opened for it. */
struct auditlog_files {
	const char *path;
	int log, dir;
	int before; /* the log's predecessor, is closed; -1: there is none */
	int state;  /* of the seals, -1: there is none */
};

/*
 * The file of record. Records are collected in memory and written by auditlog_flush(), whole ones
 * in one write(2), as many as one turn of the loop made. What could not be written stays in memory
 * and goes first next time: nothing recorded is lost, and nothing is acted on before it is written
 * (I3).
 */
struct auditlog {
	int fd, dir;
	const char *path; /* for messages; its last component is opened in dir */
	char *buffer;
	size_t used, size;
	size_t partial;	      /* bytes at the buffer's begin, of its first record, that the file has
				 already */
	uint64_t sequence;    /* of the last record made */
	char hash[CHAIN_LEN]; /* of the last record made */
	size_t last;	      /* where the last record in the buffer begins */
	bool last_there;      /* there is one */
	char last_before[CHAIN_LEN]; /* the hash of the record before it */
	bool failing;	   /* the last flush did not write everything, or the disk failed */
	uint64_t sync_ns;  /* policy.h: when the disk has to have it */
	bool unsynced;	   /* written, and the disk has to have it some time */
	bool sync_failed;  /* the last try */
	uint64_t written;  /* the last record that is whole in the file */
	uint64_t synced;   /* the last record that was when the disk took all */
	uint64_t failures; /* times that it could be written no more */
	uint64_t doubtful; /* records that were written when the disk reported an error */
	struct auditlog_seals seals;
	struct outbox *outbox;	  /* of notes for other sinks, NULL: there are none */
	struct chain_tail before; /* what was there when it was opened */
	char previous[260];	  /* the file that held that */
};

/* What is in *files stays the caller's but for `before`. Reads how the file ends, or, when it is
 * empty, how the one does that logrotate(8) calls NAME.1: numbers, chain and seals go on from
 * there. Fatal when out of memory, when it cannot be read, or when the seals' state is damaged. A
 * file that ends in mid-line (a crash) gets the missing newline with the first flush. */
void auditlog_open(struct auditlog *log, const struct auditlog_files *files);

/* Makes `log-open`, which says what was there before, and `log-close`. Written by the next flush.
 */
void auditlog_begin(struct auditlog *log);
void auditlog_end(struct auditlog *log, const char *reason);

/* Room for one record of RECORD_MAX bytes, and its head filled in. auditlog_made() takes the length
 * of what was written there. Fatal when out of memory or when a record came out empty (a bug). */
char *auditlog_room(struct auditlog *log, struct record_head *head);
/* The same for a record of up to `size` bytes. */
char *auditlog_room_for(struct auditlog *log, size_t size, struct record_head *head);
void auditlog_made(struct auditlog *log, size_t len);

/* Writes all, and with AUDIT_SYNC_ALWAYS has the disk take it. True when nothing is left in memory.
 * Says so, once, when that fails and when it works again. */
bool auditlog_flush(struct auditlog *log);

/* From now on; by a duration whoever calls sees to it that auditlog_sync() follows a flush in time.
 */
void auditlog_sync_when(struct auditlog *log, uint64_t sync_ns);

/* Has the disk take what is written, when it has to have it. False when it fails: then nothing is
 * to be acted upon, until auditlog_flush() says that it works again. */
bool auditlog_sync(struct auditlog *log);

/* How the successor of a rotated log is opened: the role's filter lets nothing else pass. */
#define AUDITLOG_SUCCESSOR_FLAGS \
	(O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define AUDITLOG_SUCCESSOR_MODE 0640

/* After a rotation: opens the file now at path and puts it in place of the old one, which gets
 * `log-close`. No new file there: nothing changes. Returns false, having said why, when the file
 * cannot be opened, is no regular file with one name or belongs to a stranger; the old one then
 * stays in use. */
bool auditlog_reopen(struct auditlog *log);

#endif
