/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BROKER_FILTER_H
#define BROKER_FILTER_H

#include "proto/filter.h"

#define BROKER_FILTER_GROUPS 6
extern const struct filter_group broker_filter[BROKER_FILTER_GROUPS];

/* For reading a configuration and printing: no descriptor is opened. */
#define CHECK_FILTER_GROUPS 2
extern const struct filter_group check_filter[CHECK_FILTER_GROUPS];

#endif
