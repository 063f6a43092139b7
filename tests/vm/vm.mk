# SPDX-License-Identifier: Apache-2.0
# The service as it is installed, in virtual machines: make check-vm, make check-vm SCENARIOS=sinks VM_VERBOSE=1.

SCENARIOS ?= $(notdir $(patsubst %/run,%,$(wildcard tests/vm/*/run)))

$(B)/vm-deps.stamp: dist/build-deps
	@mkdir -p $(@D)
	@sh dist/build-deps vm
	@touch $@

VM_DIR := $(abspath $(B)/vm)
VM_RUN := VM_DIR=$(VM_DIR) VM_OVERLAY=$(VM_DIR)/overlay KERNELS_DIR=$(abspath $(B)/kernels) bash tests/vm/run.sh
.PHONY: check-vm
check-vm: $(B)/vm-deps.stamp
	@rm -rf $(VM_DIR)/overlay
	@$(MAKE) --no-print-directory -s install DESTDIR=$(VM_DIR)/overlay PREFIX=/usr SYSCONFDIR=/etc
	@$(VM_RUN) fetch
	@$(VM_RUN) run $(SCENARIOS:%=tests/vm/%)
