# SPDX-License-Identifier: Apache-2.0
# The service as it is installed, in virtual machines: make check-vm, make check-vm SCENARIOS=sinks VM_VERBOSE=1.

SCENARIOS ?= sinks unit

$(B)/vm-deps.stamp: dist/build-deps
	@mkdir -p $(@D)
	@sh dist/build-deps $(if $(CROSS),$(ARCH),vm)
	@touch $@

VM_DIR := $(abspath $(B)/vm)
VM_OVERLAY := $(VM_DIR)/overlay
VM_RUN = KERNELS_ARCH=$(ARCH) VM_DIR=$(VM_DIR) VM_OVERLAY=$(VM_OVERLAY) KERNELS_DIR=$(abspath $(B)/kernels) bash tests/vm/run.sh
.PHONY: check-vm check-systemd
check-vm: $(B)/vm-deps.stamp
	@rm -rf $(VM_DIR)/overlay
	@$(MAKE) --no-print-directory -s install DESTDIR=$(VM_DIR)/overlay PREFIX=/usr SYSCONFDIR=/etc
	@$(VM_RUN) fetch
	@$(VM_RUN) run $(SCENARIOS:%=tests/vm/%)

# The installed service under each kernel, with lockdown, and without its modules: a part of make check-kernels.
KERNELS ?= $(if $(filter arm64,$(ARCH)),6.1 6.12 6.12-16k,5.10 6.1 6.1-rt 6.12 6.18 7.3)
VM_ODD := 6.12
.PHONY: check-kernels-unit kernels-readme
check-kernels-unit: $(B)/vm-deps.stamp
	@rm -rf $(VM_OVERLAY) $(VM_DIR)/out-kernel-*
	@$(MAKE) --no-print-directory -s install DESTDIR=$(VM_OVERLAY) PREFIX=/usr SYSCONFDIR=/etc
	@VM_KERNELS="$(KERNELS)" $(VM_RUN) fetch
	@bad=0; VM_KERNELS="$(KERNELS)" $(VM_RUN) run tests/vm/kernel || bad=1; \
	VM_KERNELS=$(VM_ODD) VM_LABEL=lockdown VM_ARGUMENTS=lockdown=confidentiality $(VM_RUN) run tests/vm/kernel || bad=1; \
	VM_KERNELS=$(VM_ODD) VM_LABEL=modules_disabled VM_MODULES= $(VM_RUN) run tests/vm/kernel || bad=1; \
	/usr/bin/python3 -B tests/vm/matrix.py $(VM_DIR); exit $$bad

kernels-readme:
	@/usr/bin/python3 -B tests/vm/matrix.py --readme README.md $(VM_DIR) $(ARM64_B)/vm

# The unit tests in a machine, which may be another one than what builds them: a part of make check-arm64.
.PHONY: check-unit-vm
check-unit-vm: VM_OVERLAY := $(VM_DIR)/overlay-tests
check-unit-vm: $(B)/vm-deps.stamp $(UNIT_TESTS)
	@rm -rf $(VM_OVERLAY) && mkdir -p $(VM_OVERLAY)/programs
	@cp $(UNIT_TESTS) $(VM_OVERLAY)/programs
	@$(VM_RUN) fetch
	@$(VM_RUN) run tests/vm/programs

# All of check-kernels for arm64, and the unit tests: built here, with the headers and libraries that the machine's Debian
# is made of. Root only.
ARM64_B := build/arm64
ARM64_MAKE := $(MAKE) --no-print-directory B=$(ARM64_B) CC=aarch64-linux-gnu-gcc SYSROOT=$(ARM64_B)/vm/sysroot DEPS=given
$(ARM64_B)/deps-arm64.stamp: dist/build-deps
	@mkdir -p $(@D)
	@sh dist/build-deps arm64
	@touch $@

.PHONY: check-arm64 vm-fetch
check-arm64: $(ARM64_B)/deps-arm64.stamp
	@+$(ARM64_MAKE) -s vm-fetch
	@+$(ARM64_MAKE) -s check-kernels
	@+$(ARM64_MAKE) -s check-unit-vm

vm-fetch: $(B)/vm-deps.stamp
	@VM_KERNELS="$(KERNELS)" $(VM_RUN) fetch

# The system tests in such machines, a part of their files at a time: KERNELS="6.1 6.12" SUITE_PARTS="2/4". And with the AppArmor
# profiles in force, where nothing may be denied. Under 5.10 the service only observes, which is a test of the scenario above.
SUITE_KERNELS := $(filter-out 5.10,$(KERNELS))
SUITE_PARTS ?= $(foreach part,1 2 3 4,$(part)/4)
SUITE_PATIENCE ?= 10
SUITE_PACKAGES := apparmor binutils jq logrotate mandoc procps python3-fastjsonschema python3-prometheus-client python3-pytest \
	python3-pytest-timeout strace
SUITE_DIR := $(abspath $(B)/vm-suite)
SUITE_SOURCES := $(SUITE_DIR)/overlay/usr/src/eghostbuster
SUITE_RUN = VM_DIR=$(SUITE_DIR) VM_OVERLAY=$(SUITE_DIR)/overlay VM_PACKAGES="$(SUITE_PACKAGES)" VM_MODULES="inet_diag tcp_diag veth" \
	VM_MEMORY=3072 KERNELS_ARCH=$(ARCH) KERNELS_DIR=$(abspath $(B)/kernels) bash tests/vm/run.sh
.PHONY: check-kernels-suite check-apparmor-suite suite-overlay
# Links to the installed programs: a profile is found by the name that is at the end of them.
suite-overlay: all $(SYSTEM_PROGRAMS)
	@rm -rf $(SUITE_DIR)/overlay && mkdir -p $(SUITE_SOURCES)/build/tests
	@$(MAKE) --no-print-directory -s install DESTDIR=$(SUITE_DIR)/overlay PREFIX=/usr SYSCONFDIR=/etc
	@$(SOURCES) | grep -zv '^tests/fuzz/' | tar --null -T - -cf - | tar -C $(SUITE_SOURCES) -xf -
	@ln -s /usr/sbin/eghostbuster /usr/bin/eghostctl $(SUITE_SOURCES)/build/
	@ln -s /usr/libexec/eghostbuster $(SUITE_SOURCES)/build/libexec
	@for program in $(SYSTEM_PROGRAMS:$(B)/%=%); do install -D $(B)/$$program $(SUITE_SOURCES)/build/$$program || exit; done

check-kernels-suite: SUITE_LABEL := part
check-kernels-suite: SUITE_ARGUMENTS := apparmor=0
check-apparmor-suite: SUITE_LABEL := apparmor
check-apparmor-suite: SUITE_ARGUMENTS := apparmor=1 security=apparmor
check-apparmor-suite: SUITE_KERNELS := $(if $(filter file,$(origin KERNELS)),6.1,$(KERNELS))
check-kernels-suite check-apparmor-suite: $(B)/vm-deps.stamp suite-overlay
	$(if $(strip $(SUITE_KERNELS)),,$(error no kernel under which the service acts in KERNELS=$(KERNELS)))
	@VM_KERNELS="$(SUITE_KERNELS)" $(SUITE_RUN) fetch
	@bad=0; for part in $(SUITE_PARTS); do VM_KERNELS="$(SUITE_KERNELS)" VM_TIMEOUT=$${VM_TIMEOUT:-900} \
		VM_LABEL=$(SUITE_LABEL)-$$(echo $$part | tr / -) \
		VM_ARGUMENTS="$(SUITE_ARGUMENTS) EGB_PART=$$part EGB_PATIENCE=$(SUITE_PATIENCE)" \
		$(SUITE_RUN) run tests/vm/suite || bad=1; done; exit $$bad

# The package, and the same with a higher version: make check-systemd.
check-systemd: VM_OVERLAY := $(VM_DIR)/overlay-deb
check-systemd: $(B)/vm-deps.stamp deb
	@rm -rf $(VM_OVERLAY) && mkdir -p $(VM_OVERLAY)/packages
	@cp $(DEB_DIR)/eghostbuster_*.deb dist/debian/tests/ghost $(VM_OVERLAY)/packages/
	@sh tests/vm/next.sh $(VM_OVERLAY)/packages
	@$(VM_RUN) fetch
	@$(VM_RUN) run tests/vm/deb
