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
HOSTILE_SRC := tests/system/hostile_broker.c launcher/spawn.c proto/wire.c proto/diag.c proto/log.c
$(B)/tests/hostile_broker: $(patsubst %.c,$(B)/obj/%.o,$(HOSTILE_SRC))
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ -lcap-ng
$(B)/tests/race: $(B)/obj/tests/system/race.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
$(B)/tests/fork_storm: $(B)/obj/tests/system/fork_storm.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^
SYSTEM_PROGRAMS := $(B)/tests/fork_storm $(B)/tests/actor $(B)/tests/hostile_broker $(B)/tests/race

test-programs: $(UNIT_TESTS) $(SYSTEM_PROGRAMS)

$(B)/test-deps.stamp: dist/build-deps
	@mkdir -p $(@D)
	@sh dist/build-deps test
	@touch $@

C_FILES := $(wildcard bpf/*.[ch] proto/*.[ch] tracker/*.[ch] broker/*.[ch] reaper/*.[ch] launcher/*.[ch] \
	ctl/*.[ch] tests/*/*.[ch])
SHELL_FILES := dist/build-deps .ci/run tests/install.sh $(wildcard tests/*/*.sh)
# nullPointerRedundantCheck does not see that fatal() ends the process where it is called without arguments.
CPPCHECK := cppcheck --quiet --library=tests/cppcheck.cfg --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,portability \
	--suppress=missingIncludeSystem --suppress=nullPointerRedundantCheck -I. -D_GNU_SOURCE -j2

LINT_STEPS := \
	--step "clang-format" "clang-format --dry-run -Werror $(C_FILES)" \
	--step "cppcheck" "$(CPPCHECK) proto tracker broker reaper launcher ctl" \
	--step "shellcheck" "shellcheck $(SHELL_FILES)" \
	--step "clang builds without a warning" "$(MAKE) --no-print-directory -s CC=clang B=build/clang all test-programs" \
	--step "install puts every file in its place" "sh tests/install.sh $(B)"

lint: $(B)/test-deps.stamp
	python3 tests/run.py $(LINT_STEPS)

check-unit: $(B)/test-deps.stamp $(UNIT_TESTS)
	/usr/bin/python3 tests/run.py --build $(B)

# Everything, twice: as shipped, and with the sanitizers.
check: $(B)/test-deps.stamp all test-programs
	@$(MAKE) --no-print-directory -s SAN=1 B=build/san all test-programs
	@/usr/bin/python3 tests/run.py $(LINT_STEPS) --build $(B) --build build/san --system tests/system

# One static program, with the tracker's own loader in it, boots under each kernel: as it is, and locked down.
KERNELS_SRC := tests/kernels/load_all.c tracker/load.c tracker/decode.c proto/log.c
$(B)/tests/kernels/load_all: $(KERNELS_SRC) $(SKEL) $(wildcard bpf/*.h tracker/*.h proto/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 $(WARN) $(CFLAGS) $(CPPFLAGS) -static -o $@ $(KERNELS_SRC) -lbpf -lelf -lz

$(B)/kernel-deps.stamp: dist/build-deps
	@mkdir -p $(@D)
	@sh dist/build-deps kernels
	@touch $@

KERNEL_RUN := KERNELS_DIR=$(B)/kernels bash tests/kernels/run.sh
# The same tests as in `check`, for longer: make soak SECONDS=600, make fork-storm SECONDS=60.
SECONDS ?= $(if $(filter soak,$(MAKECMDGOALS)),600,60)
LONG := EGB_BUILD=$(B) /usr/bin/python3 -B -m pytest -q -s -p no:cacheprovider
.PHONY: soak fork-storm race
soak: all test-programs
	EGB_SOAK_SECONDS=$(SECONDS) $(LONG) tests/system/test_soak.py
fork-storm: all test-programs
	EGB_STORM_SECONDS=$(SECONDS) $(LONG) tests/system/test_fork_storm.py
race: all test-programs
	EGB_RACE_STRICT=1 $(LONG) tests/system/test_race.py

check-kernels: $(B)/kernel-deps.stamp
	@$(MAKE) --no-print-directory -s $(B)/tests/kernels/load_all
	$(KERNEL_RUN) fetch
	$(KERNEL_RUN) run $(B)/tests/kernels/load_all
	KERNELS_CMDLINE=lockdown=confidentiality $(KERNEL_RUN) run $(B)/tests/kernels/load_all
