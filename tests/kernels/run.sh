#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs one static test program under several Debian kernels in plain QEMU: no root, no KVM.
#
#   run.sh fetch             downloads and unpacks the kernels and a busybox (installs nothing, about 250 MB)
#   run.sh run PROG [ARG..]  boots each kernel with PROG as its only process; one line per kernel,
#                            the program's output where it failed; exit status 1 if any failed
#
# Needs: qemu-system-x86 (-arm) cpio kmod zstd xz-utils, and the apt of a Debian.
# Environment: KERNELS_DIR work folder, KERNELS which ones, KERNELS_ARCH amd64 or arm64,
# KERNELS_JOBS at a time, KERNELS_TIMEOUT seconds for one, KERNELS_CMDLINE more kernel arguments
# (lockdown=confidentiality), KERNELS_VERBOSE=1 the program's output always.
set -u

dir=${KERNELS_DIR:-$PWD/build/kernels}
kernels=${KERNELS:-"5.10 6.1 6.1-rt 6.12 6.18 7.3"}
jobs=${KERNELS_JOBS:-2}
limit=${KERNELS_TIMEOUT:-120}
modules="inet_diag tcp_diag"
# shellcheck source=tests/kernels/parts.sh
. "$(dirname "$0")/parts.sh"

fetch() {
	local kernel version
	mkdir -p "$dir/debs" "$dir/k"
	busybox_fetch || return
	: >"$dir/versions"
	for kernel in $kernels; do
		version=$(kernel_fetch "$kernel") || continue
		echo "$version" >>"$dir/versions"
		echo "$kernel: $version"
	done
	[ -s "$dir/versions" ]
}

# ---- run: an initial file system with the program, busybox and a few modules ----

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
		/test $arguments >/dev/$port 2>&1
		echo "GUEST-STATUS=\$?"
		poweroff -f
	END
}

guest_make() { # version folder: packs folder.cpio
	local version=$1 root=$2
	mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp}
	cp "$dir/busybox" "$root/bin/"
	ln -s /bin/busybox "$root/sbin/modprobe"
	cp "$program" "$root/test"
	# shellcheck disable=SC2086 # the list is meant to be split
	modules_install "$version" "$root" $modules
	init_script >"$root/init"
	chmod +x "$root/init"
	pack "$root" >"$root.cpio"
}

one() {
	local version=$1 out=$dir/out-$1 status
	guest_make "$version" "$scratch/$version"
	boot "$version" "$scratch/$version.cpio" "$out" 1024 "${KERNELS_CMDLINE:-}"
	status=$(guest_status "$out")
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
	sed -n '4,16s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
