# SPDX-License-Identifier: Apache-2.0
# Benchmarks: make bench, make bench-quick, make bench-readme.

# Each of these is one BPF object, and a program or a part of one that holds it.
BENCH_BPF := stopwatch relay iterator stats calls
$(BENCH_BPF:%=$(B)/bpf/%.bpf.o): $(B)/bpf/%.bpf.o: tests/bench/%.bpf.c $(wildcard tests/bench/*.h) bpf/kernel_types.h $(B)/deps.stamp
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -mcpu=v3 -I. $(SYSTEM_HEADERS) -c -o $@ $<
$(BENCH_BPF:%=$(B)/bpf/%.skel.h): $(B)/bpf/%.skel.h: $(B)/bpf/%.bpf.o
	$(Q)$(BPFTOOL) gen skeleton $< name $(*F)_bpf >$@
$(B)/obj/tests/bench/rival.o: $(B)/bpf/iterator.skel.h
$(foreach n,stopwatch relay stats calls,$(eval $(B)/obj/tests/bench/$(n).o: $(B)/bpf/$(n).skel.h))

storm_PARTS := tests/bench/storm.c tests/bench/rival.c tests/bench/stopwatch.c tests/bench/ends.c proto/diag.c
single_PARTS := tests/bench/single.c tests/bench/stopwatch.c tests/bench/ends.c
relay_PARTS := tests/bench/relay.c proto/diag.c
live_PARTS := tests/bench/live.c tests/bench/ends.c
loops_PARTS := tests/bench/loops.c tests/bench/ends.c
stats_PARTS := tests/bench/stats.c
calls_PARTS := tests/bench/calls.c
BENCH_NAMES := storm single relay live loops stats calls
BENCH_PROGRAMS := $(BENCH_NAMES:%=$(B)/tests/bench/%)

define bench_program
$(B)/tests/bench/$(1): $(patsubst %.c,$(B)/obj/%.o,$($(1)_PARTS) proto/log.c)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(LDFLAGS) -pthread -o $$@ $$^ -lbpf -lseccomp
endef
$(foreach n,$(BENCH_NAMES),$(eval $(call bench_program,$(n))))

# A broker that makes no records of ghosts, beside roles that are the real ones.
UNLOGGED := record_exit record_decide record_destroy chain_append
$(B)/tests/bench/unlogged/broker: $(broker_OBJ) $(B)/obj/tests/bench/unlogged.o
	@mkdir -p $(@D)
	@ln -sf $(abspath $(tracker_BIN) $(reaper_BIN)) $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) $(UNLOGGED:%=-Wl,--wrap=%) -o $@ $^ $$($(PKG_CONFIG) --libs $(broker_PKG))
BENCH_PROGRAMS += $(B)/tests/bench/unlogged/broker
test-programs: $(if $(VARIANT_SRC)$(SAN),,$(BENCH_PROGRAMS))

$(B)/bench-deps.stamp: dist/build-deps | $(B)/deps.stamp
	@mkdir -p $(@D)
	@sh dist/build-deps bench
	@touch $@

BENCH := EGB_BUILD=$(B) /usr/bin/python3 -B tests/bench/bench.py
.PHONY: bench bench-quick bench-tiny bench-readme
bench bench-quick bench-tiny: $(B)/bench-deps.stamp all $(BENCH_PROGRAMS)
	@$(BENCH) --size $(or $(patsubst bench-%,%,$(filter bench-%,$@)),full) $(BENCH_ONLY:%=--only %)

# The last results, and their plots, into the README.
bench-readme:
	@$(BENCH) --readme README.md
