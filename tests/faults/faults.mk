# SPDX-License-Identifier: Apache-2.0
# The fault matrix: make faults (all of it), make faults FAULTS="--only 'run reaper' --lines".

INJECT_SRC := tests/faults/inject.c tests/faults/details.c tests/faults/memory.c
$(B)/tests/inject: $(patsubst %.c,$(B)/obj/%.o,$(INJECT_SRC))
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ -lseccomp
FILTERS_SRC := tests/faults/filters.c proto/filter.c proto/log.c $(wildcard tracker/filter.c reaper/filter.c sink/filter.c broker/filter.c)
$(B)/tests/filters: $(patsubst %.c,$(B)/obj/%.o,$(FILTERS_SRC))
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ -lseccomp

# It sets registers: x86-64's.
ifeq ($(TARGET_CPU),x86_64)
test-programs: $(if $(VARIANT_SRC),,$(B)/tests/inject $(B)/tests/filters)
endif

# What `make check` has of it: so many cells, drawn anew each time.
FAULT_STEP = --step "fault matrix, a draw of it" "EGB_BUILD=$(B) /usr/bin/python3 -B tests/faults/matrix.py --quick 36"

FAULTS ?=
.PHONY: faults
faults: $(B)/test-deps.stamp all test-programs
	EGB_BUILD=$(B) /usr/bin/python3 -B tests/faults/matrix.py $(FAULTS)
