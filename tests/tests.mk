# SPDX-License-Identifier: Apache-2.0
# Tests. Each tests/unit/test_*.c says in a comment what it links:
#	/* links: proto/wire.c broker/policy.c | pkg: inih */

links_line = sed -n 's,^/\* links: *\(.*\) *\*/$$,\1,p' $(1)
test_links = $(shell $(links_line) | cut -d'|' -f1)
test_pkgs = $(shell $(links_line) | cut -s -d'|' -f2 | sed 's/ *pkg: *//') cmocka

define unit_test
$(B)/tests/$(1): $(B)/obj/tests/unit/$(1).o $$(patsubst %.c,$(B)/obj/%.o,$$(call test_links,tests/unit/$(1).c)) $(B)/obj/gen/build_id.o
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$$$($$(PKG_CONFIG) --libs $$(call test_pkgs,tests/unit/$(1).c))
endef
$(foreach t,$(notdir $(UNIT_TESTS)),$(eval $(call unit_test,$(t))))

# What system tests play with: actors, hostile peers. Never part of the service.
$(B)/tests/actor: $(B)/obj/tests/system/actor.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -pthread -o $@ $^
HOSTILE_SHARED := tests/hostile/tap.c tests/hostile/sockets.c proto/wire.c proto/diag.c proto/log.c
HOSTILE_BROKER_SRC := $(wildcard tests/hostile/broker*.c) tests/hostile/reaper_peer.c tests/hostile/crowd.c launcher/spawn.c \
	$(HOSTILE_SHARED)
$(B)/tests/hostile_broker: $(patsubst %.c,$(B)/obj/%.o,$(HOSTILE_BROKER_SRC))
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ -lcap-ng
$(B)/tests/hostile/host: $(patsubst %.c,$(B)/obj/%.o,tests/hostile/host.c tests/hostile/crowd.c $(HOSTILE_SHARED))
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/tests/hostile/tracker $(B)/tests/hostile/reaper $(B)/tests/hostile/sink: $(B)/tests/hostile/%: $(B)/obj/tests/hostile/%.o \
		$(B)/obj/tests/hostile/role.o $(B)/obj/proto/wire.o $(B)/obj/gen/build_id.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/tests/race: $(B)/obj/tests/system/race.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/tests/fork_storm: $(B)/obj/tests/system/fork_storm.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/tests/flood: $(B)/obj/tests/system/flood.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
SYSTEM_PROGRAMS := $(B)/tests/fork_storm $(B)/tests/flood $(B)/tests/actor $(B)/tests/hostile_broker $(B)/tests/race \
	$(B)/tests/hostile/host $(B)/tests/hostile/tracker $(B)/tests/hostile/reaper $(B)/tests/hostile/sink

# Which rules of the filters a run of the system suite uses.
$(B)/bpf/watch.bpf.o: tests/variants/watch.bpf.c tests/variants/watch.h $(B)/deps.stamp
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -mcpu=v3 -D__TARGET_ARCH_$(if $(filter arm64,$(ARCH)),arm64,x86) \
		-I. $(SYSTEM_HEADERS) -c -o $@ $<
$(B)/bpf/watch.skel.h: $(B)/bpf/watch.bpf.o
	$(Q)$(BPFTOOL) gen skeleton $< name watch_bpf >$@
$(B)/obj/tests/variants/watch.o: $(B)/bpf/watch.skel.h
WATCH_SRC := tests/variants/watch.c tracker/filter.c reaper/filter.c sink/filter.c broker/filter.c proto/filter.c proto/log.c \
	$(VARIANT_SRC)
$(B)/tests/watch: $(patsubst %.c,$(B)/obj/%.o,$(WATCH_SRC))
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ -lbpf -lseccomp

SYSTEM_PROGRAMS += $(if $(STRICT),$(B)/tests/watch)

# Fuzz targets say what they link, like unit tests. Without FUZZ=1 they run what they are given (replay.c).
FUZZ_NAMES := $(filter-out replay,$(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c)))
FUZZ_TARGETS := $(FUZZ_NAMES:%=$(B)/tests/fuzz/%)
fuzz_pkgs = $(shell $(links_line) | cut -s -d'|' -f2 | sed 's/ *pkg: *//')

define fuzz_target
$(B)/tests/fuzz/$(1): $(B)/obj/tests/fuzz/$(1).o $$(patsubst %.c,$(B)/obj/%.o,$$(call test_links,tests/fuzz/$(1).c)) \
		$(if $(FUZZ),,$(B)/obj/tests/fuzz/replay.o)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(ALL_CFLAGS) $$(LDFLAGS) $(if $(FUZZ),-fsanitize=fuzzer) -o $$@ $$^ \
		$$(if $$(call fuzz_pkgs,tests/fuzz/$(1).c),$$$$($$(PKG_CONFIG) --libs $$(call fuzz_pkgs,tests/fuzz/$(1).c)))
endef
$(foreach t,$(FUZZ_NAMES),$(eval $(call fuzz_target,$(t))))

fuzz-programs: $(FUZZ_TARGETS)
test-programs: $(if $(VARIANT_SRC),,$(UNIT_TESTS) $(FUZZ_TARGETS)) $(SYSTEM_PROGRAMS)

$(B)/test-deps.stamp: dist/build-deps | $(B)/deps.stamp
	@mkdir -p $(@D)
	$(if $(DEPS),,@sh dist/build-deps test)
	@touch $@
$(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/*/*.c tests/*/*/*.c)): | $(B)/test-deps.stamp

C_FILES := $(wildcard bpf/*.[ch] proto/*.[ch] tracker/*.[ch] broker/*.[ch] reaper/*.[ch] sink/*.[ch] launcher/*.[ch] \
	ctl/*.[ch] tests/*/*.[ch])
SHELL_FILES := dist/build-deps .ci/run dist/debian/tests/installed $(wildcard dist/debian/*.p[ro]*) $(wildcard tests/*.sh tests/*/*.sh)
# nullPointerRedundantCheck does not see that fatal() ends the process where it is called without arguments.
CPPCHECK := cppcheck --quiet --library=tests/cppcheck.cfg --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,portability \
	--suppress=missingIncludeSystem --suppress=nullPointerRedundantCheck -I. -D_GNU_SOURCE -D__LP64__ -j2

# Each file on its own, so many at a time as there are processors.
TIDY_FILES := $(wildcard proto/*.c tracker/*.c broker/*.c reaper/*.c sink/*.c launcher/*.c ctl/*.c)
TIDY_FLAGS ?=
.PHONY: tidy
tidy: $(B)/test-deps.stamp $(SKEL) $(B)/gen/build_id.c
	@printf '%s\n' $(TIDY_FILES) | xargs -P $(JOBS) -I@ clang-tidy --quiet $(TIDY_FLAGS) @ -- -std=gnu11 $(CPPFLAGS) \
		2>$(B)/tidy.log || { cat $(B)/tidy.log >&2; exit 1; }
# The analyzer, nine tenths of the time that clang-tidy takes, is for `lint` alone.
TIDY_STEP = --step "clang-tidy" "$(MAKE) --no-print-directory -s B=$(B) tidy"
TIDY_FAST_STEP = --step "clang-tidy without its analyzer" \
	"$(MAKE) --no-print-directory -s B=$(B) TIDY_FLAGS=--checks=-clang-analyzer-* tidy"

LINT_STEPS := \
	--step "clang-format" "clang-format --dry-run -Werror $(C_FILES)" \
	--step "cppcheck" "$(CPPCHECK) proto tracker broker reaper sink launcher ctl" \
	--step "shellcheck" "shellcheck $(SHELL_FILES)" \
	--step "mandoc" "mandoc -T lint -W warning $(MAN_PAGES)" \
	--step "clang builds without a warning" "$(MAKE) --no-print-directory -s -j$(JOBS) CC=clang B=build/clang all" \
	--step "install puts every file in its place" "sh tests/install.sh $(B)" \
	--step "systemd units: verified, and how far they confine" "sh tests/units.sh $(B)" \
	--step "AppArmor profiles" "apparmor_parser -Q -K dist/apparmor/eghostbuster" \
	--step "alert rules and dashboard ask for what there is" "/usr/bin/python3 -B tests/packages/monitoring.py"

FUZZ_RUN := /usr/bin/python3 -B tests/fuzz/run.py
# The kept inputs, once through each build.
FUZZ_STEPS := \
	--step "fuzz targets: kept inputs" "$(FUZZ_RUN) --build $(B) --replay" \
	--step "fuzz targets: kept inputs, sanitizers" "$(FUZZ_RUN) --build build/san --replay"

# The steps cannot take part in this make's jobs: Python passes no descriptors on.
RUN_TESTS = MAKEFLAGS='$(filter-out -j% --jobserver-%,$(MAKEFLAGS))' /usr/bin/python3 tests/run.py

lint: $(B)/test-deps.stamp
	$(RUN_TESTS) $(LINT_STEPS) $(TIDY_STEP)

check-unit: $(B)/test-deps.stamp $(UNIT_TESTS)
	$(RUN_TESTS) --build $(B)

# Everything: as shipped, with the sanitizers, and, by another compiler, under the strict filter.
VARIANT := $(MAKE) --no-print-directory -s
check: $(B)/test-deps.stamp all test-programs
	@+$(VARIANT) INTRUDER=1 B=$(B)/intruder all
	@+$(VARIANT) SAN=1 B=build/san all test-programs
	@+$(VARIANT) STRICT=1 CC=clang B=build/strict all test-programs
	@$(RUN_TESTS) $(LINT_STEPS) $(TIDY_FAST_STEP) $(FAULT_STEP) $(FUZZ_STEPS) --build $(B) --build build/san --strict build/strict --system tests/system

# The system suite under the strict filter, by both compilers.
.PHONY: check-strict
check-strict: $(B)/test-deps.stamp
	@+$(VARIANT) STRICT=1 CC=gcc B=build/strict-gcc all test-programs
	@+$(VARIANT) STRICT=1 CC=clang B=build/strict all test-programs
	@$(RUN_TESTS) --strict build/strict-gcc --strict build/strict --system tests/system

# One static program, with the tracker's own loader in it, boots under each kernel: as it is, and locked down.
KERNELS_SRC := tests/kernels/load_all.c tracker/load.c tracker/kept.c tracker/decode.c proto/kept.c proto/log.c $(B)/gen/build_id.c
$(B)/tests/kernels/load_all: $(KERNELS_SRC) $(SKEL) $(wildcard bpf/*.h tracker/*.h proto/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(SYSROOT_FLAG) $(WARN) $(CFLAGS) $(CPPFLAGS) -static -o $@ $(KERNELS_SRC) -lbpf -lelf -lz

$(B)/kernel-deps.stamp: dist/build-deps
	@mkdir -p $(@D)
	@sh dist/build-deps $(if $(CROSS),$(ARCH),kernels)
	@touch $@

KERNEL_RUN := KERNELS_ARCH=$(ARCH) KERNELS_DIR=$(abspath $(B)/kernels) bash tests/kernels/run.sh
# The same tests as in `check`, for longer: make soak SECONDS=600, make fork-storm SECONDS=60, make flood SECONDS=300.
SECONDS ?= $(if $(filter soak,$(MAKECMDGOALS)),600,$(if $(filter flood,$(MAKECMDGOALS)),300,60))
LONG := EGB_BUILD=$(B) /usr/bin/python3 -B -m pytest -q -s -p no:cacheprovider
# ... and with more messages of a hostile tracker and of a hostile broker: make hostile MESSAGES=10000000.
MESSAGES ?= 10000000
.PHONY: soak fork-storm race flood hostile cut-log
# How fast a log is verified, on one core: fails below what is asked of it.
.PHONY: verify-speed
verify-speed: $(ctl_BIN)
	@/usr/bin/python3 -B tests/verify_speed.py $(B)
# ... and with the log's last record cut off at every byte.
cut-log: all test-programs
	EGB_CUTS=all $(LONG) tests/system/test_verify.py -k cut_off
hostile: all test-programs
	EGB_MESSAGES=$(MESSAGES) $(LONG) tests/system/test_hostile_tracker.py tests/system/test_reaper.py \
		-k "forged_messages or full_speed"
soak: all test-programs
	EGB_SOAK_SECONDS=$(SECONDS) $(LONG) tests/system/test_soak.py
fork-storm: all test-programs
	EGB_STORM_SECONDS=$(SECONDS) $(LONG) tests/system/test_fork_storm.py
flood: all test-programs
	EGB_FLOOD_SECONDS=$(SECONDS) $(LONG) tests/system/test_flood.py
race: all test-programs
	EGB_RACE_STRICT=1 $(LONG) tests/system/test_race.py

# What the README and eghostbuster-audit(5) show, as it is now (root).
.PHONY: docs
docs: all test-programs
	EGB_BUILD=$(B) /usr/bin/python3 -B tests/docs.py

# make fuzz SECONDS=60 FUZZ_TARGET="wire ring" FUZZ_JOBS=2: what it learns stays in build/fuzz, and make fuzz-keep takes
# from there what the kept inputs do not reach.
FUZZ_TARGET ?=
FUZZ_JOBS ?= 1
$(B)/fuzz-deps.stamp: dist/build-deps
	@mkdir -p $(@D)
	@sh dist/build-deps fuzz
	@touch $@
.PHONY: fuzz-keep fuzz-programs
fuzz fuzz-keep: $(B)/fuzz-deps.stamp
	@$(MAKE) --no-print-directory -s FUZZ=1 B=build/fuzz fuzz-programs
	@$(FUZZ_RUN) --build build/fuzz $(FUZZ_TARGET:%=--target %) \
		$(if $(filter fuzz-keep,$@),--keep,--seconds $(SECONDS) --jobs $(FUZZ_JOBS))

check-kernels: $(B)/kernel-deps.stamp
	@$(MAKE) --no-print-directory -s $(B)/tests/kernels/load_all
	KERNELS="$(KERNELS)" $(KERNEL_RUN) fetch
	$(KERNEL_RUN) run $(B)/tests/kernels/load_all
	KERNELS_CMDLINE=lockdown=confidentiality $(KERNEL_RUN) run $(B)/tests/kernels/load_all
	@$(MAKE) --no-print-directory -s check-kernels-unit

# Unit and system tests with the compilers and libraries of other releases: DEBIAN_SUITES="trixie"
# DEBIAN_COMPILERS="clang". Root only.
$(B)/debian-deps.stamp: dist/build-deps
	@mkdir -p $(@D)
	@sh dist/build-deps debian
	@touch $@

.PHONY: check-debian
check-debian: $(B)/debian-deps.stamp
	@DEBIAN_DIR="$(CURDIR)/$(B)/debian" bash tests/debian/run.sh
include tests/faults/faults.mk
include tests/bench/bench.mk
include tests/vm/vm.mk
