#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs one static test program under several Debian kernels in plain QEMU: no root, no KVM.
#
#   run.sh fetch             downloads and unpacks the kernels (installs nothing, about 250 MB)
#   run.sh run PROG [ARG..]  boots each kernel with PROG as its only process; one line per kernel,
#                            the program's output where it failed; exit status 1 if any failed
#
# Needs: qemu-system-x86 busybox-static cpio kmod zstd xz-utils, and the apt of a Debian.
# Environment: KERNELS_DIR work folder, KERNELS which ones, KERNELS_JOBS at a time,
# KERNELS_TIMEOUT seconds for one, KERNELS_CMDLINE more kernel arguments
# (lockdown=confidentiality), KERNELS_VERBOSE=1 the program's output always.
set -u

dir=${KERNELS_DIR:-$PWD/build/kernels}
kernels=${KERNELS:-"5.10 6.1 6.1-rt 6.12 6.18 7.3"}
jobs=${KERNELS_JOBS:-2}
limit=${KERNELS_TIMEOUT:-120}
modules="inet_diag tcp_diag"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# ---- fetch: an apt state of its own, which also knows the neighbouring suites ----

apt_site() { # archive or security: the mirror this machine already uses
	local flag=-v
	[ "$1" = security ] && flag=
	# shellcheck disable=SC2016,SC2086 # apt's own variable; a flag that may be none
	apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep $flag security | head -1
}

apt_prepare() {
	local archive security suite
	[ -s "$dir/apt/apt.conf" ] && return
	mkdir -p "$dir/apt/state" "$dir/apt/cache/archives/partial"
	archive=$(apt_site archive)
	archive=${archive:-http://deb.debian.org/debian}
	security=$(apt_site security)
	security=${security:-http://security.debian.org/debian-security}
	for suite in bullseye bookworm bookworm-backports trixie trixie-backports; do
		echo "deb [signed-by=$keyring] $archive $suite main"
	done >"$dir/apt/sources.list"
	for suite in bullseye-security bookworm-security; do
		echo "deb [signed-by=$keyring] $security $suite main"
	done >>"$dir/apt/sources.list"
	cat >"$dir/apt/apt.conf" <<-END
		Dir::State "$dir/apt/state";
		Dir::Cache "$dir/apt/cache";
		Dir::Etc::sourcelist "$dir/apt/sources.list";
		Dir::Etc::sourceparts "-";
		Dir::State::status "/dev/null";
	END
	APT_CONFIG=$dir/apt/apt.conf apt-get update -q >"$dir/apt/update.log" 2>&1
}

resolve() { # 6.1, 6.1-rt -> 6.1.0-56-cloud-amd64, the newest there is
	local flavour=cloud version=$1
	case $version in *-rt) flavour=rt version=${version%-rt} ;; esac
	APT_CONFIG=$dir/apt/apt.conf apt-cache pkgnames "linux-image-$version" |
		grep -E "^linux-image-${version//./\\.}\\.[0-9][.0-9+debn~bpo-]*-$flavour-amd64$" |
		sed s/linux-image-// | sort -V | tail -1
}

first() { # the first of the paths that exists
	local path
	for path in "$@"; do [ -e "$path" ] && echo "$path" && return; done
}

image_of() { first "$dir/k/$1/boot/vmlinuz-$1" "$dir/k/$1/usr/lib/modules/$1/vmlinuz"; }
modules_of() { first "$dir/k/$1/lib/modules/$1" "$dir/k/$1/usr/lib/modules/$1"; }

unpack() { # newer kernels come in several packages
	local version=$1 package deb
	cd "$dir/debs" || return
	for package in image binary modules base; do
		APT_CONFIG=$dir/apt/apt.conf apt-get download -q "linux-$package-$version" 2>/dev/null
	done
	for deb in linux-*-"${version}"_*.deb; do
		[ -e "$deb" ] && dpkg -x "$deb" "$dir/k/$version"
	done
}

fetch() {
	local kernel version
	mkdir -p "$dir/debs" "$dir/k"
	apt_prepare
	: >"$dir/versions"
	for kernel in $kernels; do
		version=$(resolve "$kernel")
		[ -n "$version" ] || { echo "$kernel: not offered by the mirror" >&2; continue; }
		[ -n "$(image_of "$version")" ] || (unpack "$version") >/dev/null
		[ -n "$(image_of "$version")" ] || { echo "$kernel: no image unpacked" >&2; continue; }
		echo "$version" >>"$dir/versions"
		echo "$kernel: $version"
	done
	[ -s "$dir/versions" ]
}

# ---- run: an initial file system with the program, busybox and a few modules ----

module_copy() { # uncompressed: busybox reads no zstd
	local from=$1 to=$2/${1##*/}
	case $from in
	*.xz) xz -dc "$from" >"${to%.xz}" ;;
	*.zst) zstd -qdc "$from" >"${to%.zst}" ;;
	*) cp "$from" "$to" ;;
	esac
}

init_script() { # the result goes to the console, what the program prints to the second port
	cat <<-END
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		export PATH=/bin:/sbin
		mount -t proc proc /proc
		mount -t sysfs sys /sys
		mount -t devtmpfs dev /dev 2>/dev/null
		mount -t cgroup2 cgroup /sys/fs/cgroup 2>/dev/null
		ifconfig lo up
		for m in $modules; do modprobe \$m 2>/dev/null; done
		echo GUEST-BOOTED
		cd /tmp
		/test $arguments >/dev/ttyS1 2>&1
		echo "GUEST-STATUS=\$?"
		poweroff -f
	END
}

guest_make() { # version folder: packs folder.cpio
	local version=$1 root=$2 from name module
	from=$(modules_of "$version")
	mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp} "$root/lib/modules/$version"
	cp /bin/busybox "$root/bin/"
	ln -s /bin/busybox "$root/sbin/modprobe"
	cp "$program" "$root/test"
	for name in $modules; do
		module=$(find "$from" -name "$name.ko*" | head -1)
		[ -n "$module" ] && module_copy "$module" "$root/lib/modules/$version"
	done
	cp "$from"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$version/" 2>/dev/null
	depmod -b "$root" "$version" 2>/dev/null
	init_script >"$root/init"
	chmod +x "$root/init"
	(cd "$root" && find . | cpio -o -H newc --quiet) >"$root.cpio"
}

boot() {
	local version=$1 out=$2
	rm -f "$out".*
	timeout "$limit" qemu-system-x86_64 -accel tcg,thread=multi,tb-size=512 \
		-cpu qemu64,+smep,+rdrand -m 1024 -smp 2 -nodefaults -display none -no-reboot \
		-serial "file:$out.console" -serial "file:$out.test" \
		-kernel "$(image_of "$version")" -initrd "$scratch/$version.cpio" -append "console=ttyS0 \
		quiet panic=-1 nokaslr mitigations=off random.trust_cpu=on ${KERNELS_CMDLINE:-}" \
		</dev/null 2>"$out.qemu"
	grep -aq GUEST-BOOTED "$out.console"
}

one() {
	local version=$1 out=$dir/out-$1 status
	guest_make "$version" "$scratch/$version"
	# The emulator sometimes dies before the guest's user space: that tells nothing about us.
	boot "$version" "$out" || boot "$version" "$out"
	status=$(sed -n 's/.*GUEST-STATUS=\([0-9]*\).*/\1/p' "$out.console")
	{
		if [ "$status" != 0 ] || [ -n "${KERNELS_VERBOSE:-}" ]; then
			sed "s/^/  /" "$out.test"
		fi
		printf '%-32s %s: %s\n' "$version" "$([ "$status" = 0 ] && echo ok || echo FAILED)" \
			"$(tail -1 "$out.test" | tr -d '\r')"
	} >"$out.report"
	cat "$out.report"
	[ "$status" = 0 ]
}

run() {
	local version running=0 bad=0
	[ -s "$dir/versions" ] || { echo "no kernels in $dir: '$0 fetch' first" >&2; return 2; }
	scratch=$(mktemp -d "$dir/guest.XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	while read -r version; do
		one "$version" &
		running=$((running + 1))
		[ "$running" -lt "$jobs" ] && continue
		wait -n || bad=1
		running=$((running - 1))
	done <"$dir/versions"
	for (( ; running > 0; running--)); do wait -n || bad=1; done
	return "$bad"
}

case ${1:-} in
fetch) fetch ;;
run)
	program=${2:?run.sh run PROG} arguments="${*:3}"
	run
	;;
*)
	sed -n '4,15s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
