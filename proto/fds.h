/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_FDS_H
#define PROTO_FDS_H

/*
 * Descriptors the launcher hands to the broker, at fixed numbers. Tracker and reaper get their
 * channel only (ROLE_CHANNEL_FD). A descriptor marked optional is closed when there is nothing to
 * hand over.
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
	BROKER_FD_END = 12,
};

/* Where things are when nobody says otherwise. */
#define DEFAULT_CONFIG	  "/etc/eghostbuster/eghostbuster.conf"
#define DEFAULT_AUDIT_LOG "/var/log/eghostbuster/audit.jsonl"
#define DEFAULT_CONTROL	  "/run/eghostbuster/control.sock"

#endif
