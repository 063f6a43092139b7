#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A Debian 12 with a real systemd, journald and auditd in plain QEMU (no KVM), and the service in it.
#
#   run.sh fetch             makes the Debian and downloads its kernel, once (root; about 150 MB)
#   run.sh run SCENARIO...   boots one machine for each; prints its TAP lines; exit status 1 when one
#                            is "not ok" or missing, or the machine gets stuck
#
# A scenario is a folder: its `run`, beside guest.py, is run in the guest when that is up, as root, and
# prints TAP; its `root`, if it has one, is put over the guest's root folder. What VM_OVERLAY names
# is, too, before that: the installed service, or its packages.
#
# Needs: qemu-system-x86 (-arm) cpio kmod zstd xz-utils debootstrap, and the apt of a Debian. Environment:
# VM_DIR work folder, KERNELS_DIR the kernels' folder, KERNELS_ARCH amd64 or arm64, VM_KERNELS which
# ones, VM_OVERLAY, VM_TIMEOUT seconds for one machine, VM_ARGUMENTS more kernel arguments, VM_MODULES
# the modules there are, VM_LABEL what to call it then, VM_PACKAGES what that Debian has besides (in a
# VM_DIR of its own), VM_MEMORY its MB, VM_VERBOSE=1 also what the tests have to show, and the console.
# For another architecture than this machine's `fetch` also leaves a root folder to build with, in
# VM_DIR/sysroot.
set -u

vm=${VM_DIR:-$PWD/build/vm}
dir=${KERNELS_DIR:-$PWD/build/kernels}
kernels=${VM_KERNELS:-6.1}
limit=${VM_TIMEOUT:-600}
overlay=${VM_OVERLAY:-}
here=$(dirname "$0")
# shellcheck source=tests/kernels/parts.sh
. "$here/../kernels/parts.sh"

suite=bookworm
packages="systemd systemd-sysv dbus auditd kmod python3 iproute2
libbpf1 libmnl0 libseccomp2 libcap-ng0 libevent-core-2.1-7 libinih1 libnettle8 libjansson4 zlib1g libcmocka0${VM_PACKAGES:+ $VM_PACKAGES}"
foreign=
[ "$arch" = "$here_arch" ] || foreign=yes
[ -z "$foreign" ] || packages="$packages $(sh "$here/../../dist/build-deps" sysroot)"
modules=${VM_MODULES-inet_diag tcp_diag}
arguments="systemd.unified_cgroup_hierarchy=1 systemd.show_status=no audit=1 ${VM_ARGUMENTS:-}"

# ---- fetch ----

# What nobody reads in a machine that lives for a minute.
slim() {
	rm -rf "$1"/usr/share/{doc,man,locale,info,lintian,bash-completion,zsh,perl} \
		"$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "${1:?}"/boot/* "${1:?}"/dev/* \
		"$1"/usr/lib/python3*/{test,idlelib,lib2to3,distutils,ensurepip} \
		"$1"/usr/include "$1"/usr/lib/*/*.a
}

# The service is linked with the libraries of the system that builds it, or of the root folder to build with.
suite_check() {
	# shellcheck source=/dev/null
	[ -n "$foreign" ] || [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = "$suite" ] && return
	echo "the machine is a Debian 12, and runs only what a Debian 12 has built" >&2
	return 1
}

# What the packages' own scripts would have done, as far as a machine that lives for a minute needs it.
scripts_replace() {
	local root=$1 wanted=$1/etc/systemd/system/multi-user.target.wants
	cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
	cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
	rm -rf "$root/var/run" "$root/var/lock"
	ln -s /run "$root/var/run"
	ln -s /run/lock "$root/var/lock"
	ln -s mawk "$root/usr/bin/awk"
	mkdir -p "$wanted"
	ln -s /lib/systemd/system/auditd.service "$wanted/"
}

# The second half of debootstrap runs programs that this machine cannot run: its packages are unpacked, and that is all.
foreign_finish() {
	local root=$1 deb link
	for deb in "$root"/var/cache/apt/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root" || return
	done
	rm -rf "$root/debootstrap" "$root"/var/cache/apt/* "$root/proc" # where debootstrap runs in a container that is a link
	mkdir "$root/proc"
	scripts_replace "$root"
	find "$root"/usr/lib/*-linux-gnu -name '*.so' -lname '/*' | while read -r link; do
		ln -sfr "$root$(readlink "$link")" "$link" # for a linker outside
	done
	rm -rf --one-file-system "$vm/sysroot"
	cp -al "$root" "$vm/sysroot"
}

debian_make() {
	local include mirror
	[ -s "$vm/base.cpio" ] && [ "$(cat "$vm/packages" 2>/dev/null)" = "$packages" ] && return
	mirror=$(mirror_of Debian) || return
	rm -rf --one-file-system "$vm/root"
	# shellcheck disable=SC2086 # the list is meant to be split
	include=$(printf '%s,' $packages)
	echo "$suite: debootstrap"
	unshare --mount debootstrap --variant=minbase --keyring="$keyring" --include="${include%,}" \
		--arch="$arch" ${foreign:+--foreign} "$suite" "$vm/root" "$mirror" >"$vm/debootstrap.log" 2>&1 ||
		{ tail -20 "$vm/debootstrap.log" >&2; return 1; }
	[ -z "$foreign" ] || foreign_finish "$vm/root" || return
	slim "$vm/root"
	# Under another name until it is whole.
	pack "$vm/root" >"$vm/base.cpio.new" && mv "$vm/base.cpio.new" "$vm/base.cpio" || return
	rm -rf --one-file-system "$vm/root"
	echo "$packages" >"$vm/packages"
}

fetch() {
	local kernel version
	mkdir -p "$vm"
	suite_check || return
	debian_make || return
	for kernel in $kernels; do
		version=$(kernel_fetch "$kernel") || return
		echo "$suite, $kernel: $version, $(du -m "$vm/base.cpio" | cut -f1) MB"
	done
}

# ---- run: the Debian, and over it a second archive ----

unit_write() { # the scenario's end is the machine's
	cat <<-END
		[Unit]
		Description=The scenario
		After=multi-user.target auditd.service
		[Service]
		Type=oneshot
		StandardOutput=file:/dev/$port
		StandardError=file:/dev/$port
		LimitNOFILE=4096
		ExecStart=/bin/sh -c 'echo GUEST-BOOTED >/dev/$console; /scenario/run; echo "GUEST-STATUS=\$\$?" >/dev/$console'
		ExecStopPost=/bin/systemctl --no-block --force --force poweroff
	END
}

# The root folder is a file system in memory: it needs a PID 1, and nothing that waits for a disk,
# a terminal or the network.
settle() {
	local units=$1/etc/systemd/system unit
	mkdir -p "$units/default.target.wants"
	ln -s lib/systemd/systemd "$1/init"
	: >"$1/etc/fstab"
	: >"$1/etc/machine-id"
	echo guest >"$1/etc/hostname"
	for unit in getty@tty1.service "serial-getty@$console.service" systemd-timesyncd.service \
		apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer dpkg-db-backup.timer; do
		ln -s /dev/null "$units/$unit"
	done
	unit_write >"$units/scenario.service"
	ln -s ../scenario.service "$units/default.target.wants/"
}

scenario_pack() { # version scenario root
	local root=$3
	mkdir -p "$root/scenario" "$root/usr/lib"
	ln -s usr/lib "$root/lib" # as in the Debian below: a folder would take its place
	settle "$root"
	[ -z "$overlay" ] || cp -a "$overlay/." "$root/"
	[ ! -d "$2/root" ] || cp -a "$2/root/." "$root/"
	find "$2" -mindepth 1 -maxdepth 1 ! -name root -exec cp -a {} "$root/scenario/" \;
	cp "$here/guest.py" "$root/scenario/"
	# shellcheck disable=SC2086 # the list is meant to be split
	modules_install "$1" "$root" $modules
	chown -R 0:0 "$root"
	pack "$root"
}

# Every test that was promised has run, and is good.
tap_good() {
	awk '
		/^1\.\.[0-9]+/ { plan = substr($1, 4) + 0 }
		/^ok / { good++ }
		/^not ok / { bad++ }
		END { exit !(plan > 0 && good == plan && bad == 0) }' "$1"
}

show() { # out good: one line per test where all is good
	if [ "$2" = yes ] && [ -z "${VM_VERBOSE:-}" ]; then
		grep -E '^(1\.\.|ok )' "$1.tap"
		return
	fi
	cat "$1.tap"
	tail -40 "$1.console" >&2
}

one() { # scenario kernel
	local name out version good=no
	name=$(basename "$1")-$2${foreign:+-$arch}${VM_LABEL:+-$VM_LABEL}
	version=$(kernel_fetch "$2") || return
	out=$vm/out-$name
	{ cat "$vm/base.cpio"; scenario_pack "$version" "$1" "$scratch/$name"; } >"$scratch/$name.cpio"
	# shellcheck disable=SC2086 # the list is meant to be split
	boot "$version" "$scratch/$name.cpio" "$out" "${VM_MEMORY:-2048}" $arguments ||
		echo "$name: the machine did not come up" >&2
	rm -rf "$scratch/$name.cpio" "${scratch:?}/$name"
	tr -d '\r' <"$out.test" >"$out.tap"
	[ "$(guest_status "$out")" = 0 ] && tap_good "$out.tap" && good=yes
	show "$out" "$good"
	echo "$name: $([ "$good" = yes ] && echo ok || echo FAILED)"
	[ "$good" = yes ]
}

run() {
	local scenario kernel bad=0
	[ -s "$vm/base.cpio" ] || { echo "no machine in $vm: '$0 fetch' first" >&2; return 2; }
	scratch=$(mktemp -d "$vm/guest.XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	for scenario; do
		for kernel in $kernels; do one "$scenario" "$kernel" || bad=1; done
	done
	return "$bad"
}

case ${1:-} in
fetch) fetch ;;
run)
	[ $# -gt 1 ] || { echo "run.sh run SCENARIO..." >&2; exit 2; }
	run "${@:2}"
	;;
*)
	sed -n '4,21s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
