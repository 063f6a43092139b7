/* SPDX-License-Identifier: Apache-2.0 */
#include "stopwatch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "marks.h"
#include "proto/log.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "stopwatch.skel.h"
#pragma GCC diagnostic pop

static struct {
	struct stopwatch_bpf *skel;
	const struct mark *born, *gone;
} watch;

static const struct mark *
marks_map(const struct bpf_map *map)
{
	void *at = mmap(
		NULL, MARKS_MAX * sizeof(struct mark), PROT_READ, MAP_SHARED, bpf_map__fd(map), 0);

	if (at == MAP_FAILED)
		fatal("cannot map the stopwatch's marks: %s", strerror(errno));
	return at;
}

void
stopwatch_open(void)
{
	struct stat st;

	watch.skel = stopwatch_bpf__open();
	if (watch.skel == NULL || stat("/proc/self/ns/net", &st) < 0)
		fatal("cannot open the stopwatch: %s", strerror(errno));
	watch.skel->rodata->only_netns = (uint32_t)st.st_ino;
	if (stopwatch_bpf__load(watch.skel) < 0 || stopwatch_bpf__attach(watch.skel) < 0)
		fatal("cannot start the stopwatch: %s", strerror(errno));
	watch.born = marks_map(watch.skel->maps.born);
	watch.gone = marks_map(watch.skel->maps.gone);
}

void
stopwatch_reset(void)
{
	__atomic_store_n(&watch.skel->bss->born_count, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&watch.skel->bss->gone_count, 0, __ATOMIC_RELAXED);
}

static unsigned
count_of(const uint32_t *count)
{
	uint32_t n = __atomic_load_n(count, __ATOMIC_ACQUIRE);

	return n < MARKS_MAX ? n : MARKS_MAX;
}

unsigned
stopwatch_born(void)
{
	return count_of(&watch.skel->bss->born_count);
}

unsigned
stopwatch_gone(void)
{
	return count_of(&watch.skel->bss->gone_count);
}

static int
by_cookie(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;

	return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

size_t
stopwatch_read(struct life *lives, size_t max)
{
	size_t born = stopwatch_born(), gone = stopwatch_gone();
	struct mark *ends = calloc(gone + 1, sizeof(*ends));

	if (ends == NULL)
		fatal("out of memory for %zu marks", gone);
	memcpy(ends, watch.gone, gone * sizeof(*ends));
	qsort(ends, gone, sizeof(*ends), by_cookie);
	if (born > max)
		born = max;
	for (size_t i = 0; i < born; i++) {
		const struct mark *end =
			bsearch(&watch.born[i], ends, gone, sizeof(*ends), by_cookie);

		lives[i] = (struct life){ .cookie = watch.born[i].cookie,
			.born_ns = watch.born[i].mono_ns,
			.gone_ns = end != NULL ? end->mono_ns : 0 };
	}
	free(ends);
	return born;
}
