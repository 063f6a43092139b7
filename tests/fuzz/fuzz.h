/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

/*
 * What fuzz targets share. A target links the real files it feeds and nothing more (the line
 * "links:" as in tests/unit); with libFuzzer it looks for new inputs (make fuzz), with replay.c it
 * runs the kept ones (make check). A target that wants something once defines
 * LLVMFuzzerInitialize().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What must hold whatever the input is. */
#define REQUIRE(condition)                                                                \
	do {                                                                              \
		if (!(condition)) {                                                       \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, \
				#condition);                                              \
			abort();                                                          \
		}                                                                         \
	} while (0)

/*
 * What the kept inputs together must reach: a target whose inputs end at the first check, since
 * something else has changed, finds nothing any more. FUZZ_GOALS(n) once, and REACHED(0 ... n - 1).
 */
extern uint32_t fuzz_reached;
extern const uint32_t fuzz_goals;
/* libFuzzer takes the counters for coverage, and so keeps an input for each goal. */
#define FUZZ_GOALS(n)                                \
	uint32_t fuzz_reached;                       \
	const uint32_t fuzz_goals = (1u << (n)) - 1; \
	__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t fuzz_counters[n]
#define REACHED(goal) (fuzz_counters[goal] = 1, fuzz_reached |= 1u << (goal))

/* The input, taken from its begin. What is behind its end is zero. */
struct input {
	const uint8_t *at;
	size_t left;
};

/* Moves up to len bytes to out; the rest of out is zero. Returns the number of bytes there were. */
static inline size_t
input_fill(struct input *in, void *out, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(out, 0, len);
	if (n > 0)
		memcpy(out, in->at, n);
	in->at += n;
	in->left -= n;
	return n;
}

/* A number of 1 ... 8 bytes, little end first. */
static inline uint64_t
input_number(struct input *in, size_t bytes)
{
	uint8_t b[8] = { 0 };
	uint64_t n = 0;

	input_fill(in, b, bytes);
	for (size_t i = bytes; i-- > 0;)
		n = n << 8 | b[i];
	return n;
}

/* len bytes, or what is left, in memory of exactly that size: reading behind it is seen. Freed by
 * the caller. */
static inline uint8_t *
input_copy(struct input *in, size_t *len)
{
	uint8_t *copy;

	if (*len > in->left)
		*len = in->left;
	copy = malloc(*len);
	REQUIRE(copy != NULL || *len == 0);
	input_fill(in, copy, *len);
	return copy;
}

#endif
