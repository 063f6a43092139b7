/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_FDS_H
#define PROTO_FDS_H

/*
 * Descriptors the launcher hands to the broker, at fixed numbers. Reaper and sink get their channel
 * only (ROLE_CHANNEL_FD). A descriptor marked optional is closed when there is nothing to hand
 * over.
 */
enum broker_fd {
	BROKER_FD_TRACKER = 3,	   /* SEQPACKET, non-blocking */
	BROKER_FD_REAPER = 4,	   /* SEQPACKET, non-blocking */
	BROKER_FD_CONTROL = 5,	   /* listening AF_UNIX stream socket, non-blocking */
	BROKER_FD_LOCK = 6,	   /* holds the flock(2) that makes a second instance stop */
	BROKER_FD_LOG = 7,	   /* the audit log, O_RDWR | O_APPEND */
	BROKER_FD_LOG_DIR = 8,	   /* its directory, to open a rotated log's successor */
	BROKER_FD_CONFIG = 9,	   /* optional: the configuration, read-only */
	BROKER_FD_CONFIG_DIR = 10, /* optional: its directory, to open an edited file */
	BROKER_FD_NOTIFY = 11,	   /* optional: datagram socket connected to the service manager */
	BROKER_FD_LOG_BEFORE = 12, /* optional: the log's predecessor NAME.1, read-only */
	BROKER_FD_SEAL = 13,	   /* optional: the state of the log's seals, read and write */
	BROKER_FD_SINK = 14,	   /* optional: SEQPACKET, non-blocking */
	BROKER_FD_JOURNAL = 15,	   /* optional: datagram socket connected to systemd-journald */
	BROKER_FD_END = 16,
};

/* The tracker's, beside its channel. */
enum tracker_fd {
	TRACKER_FD_NOTIFY = 4, /* optional: datagram socket connected to the service manager */
	TRACKER_FD_KEPT = 5,   /* optional: one for each enum kept_part, from here on */
	TRACKER_FD_END = TRACKER_FD_KEPT + 4,
};

#define TRACKER_RING_BYTES_DEFAULT (2u << 20)

/* What the broker opens itself, and the clients it accepts, get numbers from 16 to 31: its filter
 * tells them by one mask. What is free below is taken by /dev/null. */
#define BROKER_FD_OPENED      16
#define BROKER_FD_OPENED_MASK (~15ull)
#define BROKER_NOFILE	      32

/* Where things are when nobody says otherwise. */
#define DEFAULT_CONFIG	  "/etc/eghostbuster/eghostbuster.conf"
#define DEFAULT_AUDIT_LOG "/var/log/eghostbuster/audit.jsonl"
#define DEFAULT_CONTROL	  "/run/eghostbuster/control.sock"

/* Where a unit that hides /proc/sys from the service lends it this boot's id. */
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_LENT "/run/eghostbuster/boot_id"

/* Beside the audit log, and called like it but for this: the state of its seals (broker/seal.h). */
#define SEAL_SUFFIX ".seal"

/* Where systemd-journald takes entries; of a unit in a journal namespace, the namespace's. */
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

#endif
