/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef TESTS_BENCH_CALLS_H
#define TESTS_BENCH_CALLS_H

#define CALLS_PROCESSES_MAX 8
#define CALLS_NUMBERS_MAX   512

#endif
