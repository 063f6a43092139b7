/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_SERVICE_PARTS_H
#define BROKER_SERVICE_PARTS_H

#include <event2/event.h>
#include <sys/utsname.h>

#include "args.h"
#include "auditlog.h"
#include "engine.h"
#include "proto/channel.h"
#include "proto/scalars.h"

/*
 * What the parts of the service share, and ask of each other. Not for anybody else.
 *
 *	service.c	opening, the turn, stopping
 *	ready.c		from the roles' HELLOs to READY
 *	peers.c		what tracker and reaper say, and the watchdog that they do
 *	orders.c	what the administrator says: signals
 */

struct service {
	struct event_base *base;
	struct event *tracker_event, *reaper_event, *reaper_write;
	struct event *due_timer, *retry_timer, *sync_timer, *patience_timer, *pong_timer;
	struct event *signal_event;
	const struct args *args;
	struct policy *policy;
	struct auditlog log;
	struct engine engine;
	struct channel tracker, reaper;
	struct wire_tracker_hello tracker_hello;
	struct wire_reaper_hello reaper_hello;
	bool tracker_here, reaper_here, ready;
	bool stopping;
	bool tracker_done;  /* it has said all and closed, after our order to stop */
	bool finished;	    /* service_run() is about to return */
	bool role_ended;    /* a child that is not the sink, */
	int role_status;    /* and how the first one did */
	bool limit_owed;    /* the reaper's channel was full when its limit changed */
	bool reload_wanted; /* a SIGHUP came before the service was ready */
	uint64_t ping_nonce, pong_nonce;
	bool reaper_heard; /* anything, since the last ping */
	mono_ns pinged;	   /* when the last ping was sent */
	uint32_t netns;	   /* our own network namespace, which has to be the reaper's */
	mono_ns started;
	wall_ns started_wall, config_read; /* config_read: the policy in force */
	bool config_bad;		   /* the policy that was read last was refused */
	uint64_t heartbeats;
	char kernel[sizeof(((struct utsname *)0)->release)];
	int status; /* what service_run() returns */
};

extern struct service svc;

/* ---- service.c ---- */

/* Fatal when it cannot be set: an event nobody waits for would be a service that hangs. */
void timer_set(struct event *timer, uint64_t in_ns);
void event_on(struct event *event);

/* An event that is not waited for yet. Fatal when it cannot be made. */
struct event *event_make(int fd, short what, event_callback_fn callback);

void nonblocking(int fd);

/* Takes note of children that have ended, and says how the sink did. */
void children_look(void);

/* The end of every turn that may have changed what is to be done: decides, writes, requests. */
void turn_end(void);

/* Ends the loop with this exit status, and the log with a `stop` record. */
void finish(int status, const char *reason);

/* A channel ended that should not have. */
void role_lost(const char *name);

/* ---- ready.c ---- */

/* Names of the mode in force and of the reaper's self-test verdict, as records spell them. */
const char *mode_name(void);
const char *selftest_name(unsigned verdict);

/* Enforcing or only watching, by the policy and by what the kernel can do. */
void hold_set(void);

/* Takes up work when both roles are here. */
void ready_check(void);

/* Fatal when a role is of another build. */
void build_check(const uint8_t theirs[WIRE_BUILD_ID_LEN], const char *name);

/* ---- peers.c ---- */

/* Callbacks of the event loop. */
void on_tracker(evutil_socket_t fd, short what, void *arg);
void on_reaper(evutil_socket_t fd, short what, void *arg);
void on_pong_late(evutil_socket_t fd, short what, void *arg);

/* Fatal when the reaper owes an answer for too long. Called with every heartbeat. */
void answers_check(void);

/* How long a role may be silent. */
uint64_t patience_ns(void);

/* ---- orders.c ---- */

void on_signal(evutil_socket_t fd, short what, void *arg);

/* SIGHUP: the log is opened again and the configuration read again; put off until READY. */
void reload(void);

#endif
