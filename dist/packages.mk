# SPDX-License-Identifier: Apache-2.0
# Packages, from a tarball of what is in the repository (or, outside one, in this folder).

DISTNAME := eghostbuster-$(VERSION)
DEB_DIR := $(B)/deb
TARBALL := $(DEB_DIR)/eghostbuster_$(VERSION).orig.tar.xz
SOURCE_DATE_EPOCH ?= $(shell dpkg-parsechangelog -l dist/debian/changelog -S Timestamp 2>/dev/null)
export SOURCE_DATE_EPOCH
SOURCES = { git ls-files -z --deduplicate 2>/dev/null || find . -path ./build -prune -o -type f -printf '%P\0'; }

$(B)/package-deps.stamp: dist/build-deps
	@mkdir -p $(@D)
	@sh dist/build-deps packages
	@touch $@

.PHONY: tarball deb check-packages check-reproducible check-apparmor
# AppArmor profiles and audit rules, in virtual machines with kernels that have both.
check-apparmor: all $(B)/kernel-deps.stamp $(B)/package-deps.stamp
	@KERNELS="6.1 6.12" $(KERNEL_RUN) fetch
	@KERNELS_DIR=$(abspath $(B)/kernels) bash tests/packages/confined.sh $(B)

# The same bytes whoever packs them, and when.
tarball: $(B)/package-deps.stamp
	@mkdir -p $(DEB_DIR)
	@$(SOURCES) | tar --null -T - --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw --mtime=@$(SOURCE_DATE_EPOCH) \
		--transform 's,^,$(DISTNAME)/,' -cf - | xz -T1 >$(TARBALL)

deb: tarball
	@rm -rf $(DEB_DIR)/$(DISTNAME)
	@tar -C $(DEB_DIR) -xf $(TARBALL) && cp -r dist/debian $(DEB_DIR)/$(DISTNAME)/debian
	@cd $(DEB_DIR)/$(DISTNAME) && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS DEB_BUILD_OPTIONS="parallel=$(JOBS) $(DEB_BUILD_OPTIONS)" \
		dpkg-buildpackage -us -uc $(DEB_FLAGS) >../build.log 2>&1 || { tail -n 40 ../build.log >&2; exit 1; }
	@cd $(DEB_DIR) && ls *.deb

# Unpacked, not installed: that would start a server.
PROMTOOL ?= $(or $(shell command -v promtool),$(B)/tools/usr/bin/promtool)
NODE_EXPORTER ?= $(or $(shell command -v prometheus-node-exporter),$(B)/tools/usr/bin/prometheus-node-exporter)
define unpack
	@mkdir -p $(B)/tools
	@cd $(B)/tools && apt-get download -q $(1) >/dev/null && dpkg-deb -x $(1)_*.deb . && rm $(1)_*.deb
endef
$(B)/tools/usr/bin/promtool:
	$(call unpack,prometheus)
$(B)/tools/usr/bin/prometheus-node-exporter:
	$(call unpack,prometheus-node-exporter)

check-packages: all deb $(PROMTOOL) $(NODE_EXPORTER)
	@$(PROMTOOL) check rules dist/prometheus/alerts.yml
	@$(PROMTOOL) test rules tests/packages/alerts_test.yml
	@EGB_BUILD=$(B) unshare --net /usr/bin/python3 -B tests/packages/node_exporter.py $(NODE_EXPORTER)
	@sh tests/packages/deb.sh $(DEB_DIR)
	@bash tests/packages/others.sh $(B)

check-reproducible: $(B)/package-deps.stamp
	@sh tests/packages/reproducible.sh $(B)
