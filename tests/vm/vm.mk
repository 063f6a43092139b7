# SPDX-License-Identifier: Apache-2.0
# The service as it is installed, in virtual machines: make check-vm, make check-vm SCENARIOS=sinks VM_VERBOSE=1.

SCENARIOS ?= sinks unit

$(B)/vm-deps.stamp: dist/build-deps
	@mkdir -p $(@D)
	@sh dist/build-deps vm
	@touch $@

VM_DIR := $(abspath $(B)/vm)
VM_OVERLAY := $(VM_DIR)/overlay
VM_RUN = VM_DIR=$(VM_DIR) VM_OVERLAY=$(VM_OVERLAY) KERNELS_DIR=$(abspath $(B)/kernels) bash tests/vm/run.sh
.PHONY: check-vm check-systemd
check-vm: $(B)/vm-deps.stamp
	@rm -rf $(VM_DIR)/overlay
	@$(MAKE) --no-print-directory -s install DESTDIR=$(VM_DIR)/overlay PREFIX=/usr SYSCONFDIR=/etc
	@$(VM_RUN) fetch
	@$(VM_RUN) run $(SCENARIOS:%=tests/vm/%)

# The package, and the same with a higher version: make check-systemd.
check-systemd: VM_OVERLAY := $(VM_DIR)/overlay-deb
check-systemd: $(B)/vm-deps.stamp deb
	@rm -rf $(VM_OVERLAY) && mkdir -p $(VM_OVERLAY)/packages
	@cp $(DEB_DIR)/eghostbuster_*.deb $(VM_OVERLAY)/packages/
	@sh tests/vm/next.sh $(VM_OVERLAY)/packages
	@$(VM_RUN) fetch
	@$(VM_RUN) run tests/vm/deb
