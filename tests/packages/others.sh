#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# others.sh BUILD-FOLDER: builds what the RPM spec and the PKGBUILD say, with this system's compilers. rpmbuild fails
# when %files and what is installed differ; a PKGBUILD takes all.
set -eu
build=$(readlink -f "$1")
env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s B="$1" tarball
tarball=$(ls "$build"/deb/eghostbuster_*.orig.tar.xz)
version=$(sed -n 's/^VERSION := //p' GNUmakefile)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset MAKEFLAGS MAKELEVEL

rpm_build() {
	local define=(_unitdir=/usr/lib/systemd/system _sysusersdir=/usr/lib/sysusers.d _tmpfilesdir=/usr/lib/tmpfiles.d
		_modulesloaddir=/usr/lib/modules-load.d _journalcatalogdir=/usr/lib/systemd/catalog) name macro args=()

	mkdir -p "$scratch/rpm/SOURCES"
	cp "$tarball" "$scratch/rpm/SOURCES/eghostbuster-$version.tar.xz"
	cp dist/systemd/sysusers.conf "$scratch/rpm/SOURCES/"
	# What Fedora's systemd-rpm-macros has.
	for name in "${define[@]}"; do args+=(--define "${name/=/ }"); done
	for macro in systemd_post systemd_preun systemd_postun_with_restart sysusers_create_compat; do
		args+=(--define "$macro() %{nil}")
	done
	rpmbuild -bb --nodeps "${args[@]}" --define "_topdir $scratch/rpm" dist/rpm/eghostbuster.spec >"$scratch/rpm.log" 2>&1 ||
		{ tail -n 30 "$scratch/rpm.log" >&2; return 1; }
	rpm -qlp "$scratch"/rpm/RPMS/*/eghostbuster-"$version"*.rpm | grep -c . | sed 's/^/rpm: files: /'
	rpmlint dist/rpm/eghostbuster.spec >"$scratch/rpmlint" 2>&1 || { cat "$scratch/rpmlint" >&2; return 1; }
}

arch_build() (
	srcdir=$scratch/arch pkgdir=$scratch/pkg
	mkdir -p "$srcdir" "$pkgdir"
	tar -C "$srcdir" -xf "$tarball"
	# shellcheck disable=SC1091 # it is no script
	. dist/arch/PKGBUILD
	# shellcheck disable=SC2154 # the PKGBUILD says it
	[ "$pkgver" = "$version" ]
	cd "$srcdir"
	if ! { (build) && (package); } >"$scratch/arch.log" 2>&1; then
		tail -n 30 "$scratch/arch.log" >&2
		return 1
	fi
	# Everything names the programs where they are there.
	[ -x "$pkgdir/usr/bin/eghostbuster" ] && [ -x "$pkgdir/usr/lib/eghostbuster/broker" ]
	if grep -rE '/usr/(sbin|libexec)/' "$pkgdir/usr/lib/systemd" "$pkgdir/etc" "$pkgdir/usr/share/eghostbuster"; then
		return 1
	fi
	find "$pkgdir" -type f | grep -c . | sed 's/^/PKGBUILD: files: /'
)

rpm_build
arch_build
