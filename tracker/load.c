/* SPDX-License-Identifier: Apache-2.0 */
#include "load.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/events.h"
#include "proto/log.h"
#include "proto/wire.h"

/* Generated code: not ours to make warning-free. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "tracker.skel.h"
#pragma GCC diagnostic pop

#define LOG_TAIL_LINES 12

static char verifier_log[256 * 1024];

/* What the running kernel's type information says it can do. */
struct kernel {
	bool full;	 /* all helpers for orphans and stamps */
	bool group_dead; /* sched_process_exit says which thread is the last */
};

static int __attribute__((format(printf, 2, 0)))
libbpf_line(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[512];

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_debug("%s", line);
	return 0;
}

/* The last lines say which instruction was refused and why. */
static void
verifier_log_show(void)
{
	size_t end = strnlen(verifier_log, sizeof(verifier_log) - 1), begin = end;

	for (unsigned lines = 0; begin > 0; begin--) {
		if (verifier_log[begin - 1] == '\n' && lines++ == LOG_TAIL_LINES)
			break;
	}
	while (begin < end) {
		size_t len = strcspn(verifier_log + begin, "\n");

		log_error("verifier: %.*s", (int)len, verifier_log + begin);
		begin += len + 1;
	}
}

/* bpf_snprintf() came last of all helpers the orphan program calls, in 5.13; the others came to
 * tracing programs in 5.9 (bpf_skc_to_tcp_sock), 5.11 (bpf_get_current_task_btf,
 * bpf_sk_storage_get) and 5.12 (bpf_get_socket_cookie). Releases tell less: distributions backport.
 */
static bool
has_snprintf(const struct btf *btf)
{
	const struct btf_type *ids = btf__type_by_id(
		btf, (uint32_t)btf__find_by_name_kind(btf, "bpf_func_id", BTF_KIND_ENUM));
	const struct btf_enum *id = ids != NULL ? btf_enum(ids) : NULL;

	for (unsigned i = 0; ids != NULL && i < btf_vlen(ids); i++) {
		if (strcmp(btf__name_by_offset(btf, id[i].name_off), "BPF_FUNC_snprintf") == 0)
			return true;
	}
	return false;
}

/* typedef void (*btf_trace_sched_process_exit)(void *, struct task_struct *[, bool]) */
static bool
has_group_dead(const struct btf *btf)
{
	int32_t id = btf__find_by_name_kind(btf, "btf_trace_sched_process_exit", BTF_KIND_TYPEDEF);
	const struct btf_type *type = id > 0 ? btf__type_by_id(btf, (uint32_t)id) : NULL;

	while (type != NULL && (btf_is_typedef(type) || btf_is_ptr(type)))
		type = btf__type_by_id(btf, type->type);
	return type != NULL && btf_is_func_proto(type) && btf_vlen(type) == 3;
}

static struct kernel
kernel_examine(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	struct kernel kernel;

	if (btf == NULL && errno != ESRCH && errno != ENOENT)
		fatal("cannot read the kernel's type information: %s", strerror(errno));
	if (btf == NULL)
		fatal("this kernel offers no type information in /sys/kernel/btf/vmlinux "
		      "(CONFIG_DEBUG_INFO_BTF)");
	kernel.full = has_snprintf(btf);
	kernel.group_dead = has_group_dead(btf);
	btf__free(btf);
	return kernel;
}

/* The number the kernel knows this process's network namespace by. */
static uint32_t
netns_here(void)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) < 0)
		fatal("cannot read this network namespace's number: %s", strerror(errno));
	return (uint32_t)st.st_ino;
}

static void
configure(struct tracker_bpf *skel, const struct kernel *kernel, uint32_t ring_bytes)
{
	skel->rodata->can_read_names = kernel->full;
	skel->rodata->only_netns = netns_here();
	bpf_program__set_autoload(skel->progs.sock_state, kernel->full);
	bpf_program__set_autoload(skel->progs.process_exit, !kernel->group_dead);
	bpf_program__set_autoload(skel->progs.process_exit_group_dead, kernel->group_dead);
	bpf_map__set_autocreate(skel->maps.stamps, kernel->full);
	bpf_map__set_autocreate(skel->maps.reported, !kernel->group_dead);
	if (bpf_map__set_max_entries(skel->maps.events, ring_bytes) < 0)
		fatal("cannot set the ring buffer's size to %u: %s", ring_bytes, strerror(errno));
}

static _Noreturn void
load_failed(int error)
{
	verifier_log_show();
	if (error == EPERM)
		fatal("cannot load the BPF programs: %s (needs CAP_BPF and CAP_PERFMON, before "
		      "kernel 5.11 also RLIMIT_MEMLOCK; a container's policy may refuse bpf())",
			strerror(error));
	fatal("cannot load the BPF programs: %s", strerror(error));
}

static struct tracker_bpf *
object_open(void)
{
	const struct bpf_object_open_opts opts = { .sz = sizeof(opts),
		.kernel_log_buf = verifier_log,
		.kernel_log_size = sizeof(verifier_log) };
	struct tracker_bpf *skel = tracker_bpf__open_opts(&opts);

	if (skel != NULL)
		return skel;
	fatal("cannot open the BPF object: %s", strerror(errno));
}

/* libbpf, from 1.4 on, keeps an empty memory file in the place of a map that is not to be made, and
 * has no function that names it. No other descriptor knows seals. */
static void
placeholders_close(void)
{
	int end = (int)sysconf(_SC_OPEN_MAX);

	for (int fd = STDERR_FILENO + 1; fd < end; fd++) {
		if (fcntl(fd, F_GET_SEALS) >= 0)
			close(fd);
	}
}

/* What the stream needs of it, wherever it comes from. */
static void
side_fill(struct tracker_bpf_side *side, const struct kernel *kernel)
{
	struct tracker_bpf__bss *bss = side->kept.counters;

	side->features = WIRE_TRACKER_EXIT;
	if (kernel->full)
		side->features |= WIRE_TRACKER_ORPHAN | WIRE_TRACKER_STAMP;
	side->ring_fd = side->kept.fds[KEPT_RING];
	side->drops = bss->drops;
	side->told = &bss->told;
	side->netns = netns_here();
	/* The kernel's type information took some ten megabytes. */
	malloc_trim(0);
}

static int
link_fd(const struct bpf_link *link)
{
	return link != NULL ? bpf_link__fd(link) : -1;
}

void
load_programs(uint32_t ring_bytes, struct tracker_bpf_side *side)
{
	struct kernel kernel;
	struct tracker_bpf *skel;
	int rc;

	libbpf_set_print(libbpf_line);
	kernel = kernel_examine();
	skel = object_open();
	configure(skel, &kernel, ring_bytes);
	rc = tracker_bpf__load(skel);
	if (rc < 0)
		load_failed(-rc);
	rc = tracker_bpf__attach(skel);
	if (rc < 0)
		fatal("cannot attach the BPF programs: %s", strerror(-rc));
	placeholders_close();
	side->kept.counters = skel->bss;
	side->kept.fds[KEPT_RING] = bpf_map__fd(skel->maps.events);
	side->kept.fds[KEPT_COUNTERS] = bpf_map__fd(skel->maps.bss);
	side->kept.fds[KEPT_EXIT] = link_fd(
		kernel.group_dead ? skel->links.process_exit_group_dead : skel->links.process_exit);
	side->kept.fds[KEPT_STATE] = link_fd(skel->links.sock_state);
	side_fill(side, &kernel);
}

bool
load_kept(uint32_t ring_bytes, struct tracker_bpf_side *side)
{
	struct kernel kernel = kernel_examine();
	struct tracker_bpf *skel = object_open();
	size_t bss_size = bpf_map__value_size(skel->maps.bss);

	tracker_bpf__destroy(skel);
	if (!kept_take(&side->kept, ring_bytes, bss_size, kernel.full))
		return false;
	side_fill(side, &kernel);
	return true;
}
