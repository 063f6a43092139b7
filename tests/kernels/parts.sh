# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# To be sourced: Debian's kernels, and machines that boot them in plain QEMU.
# dir: the kernels' folder; limit: seconds that a machine may take. KERNELS_ARCH: whose kernels, as
# Debian calls it; this machine's, where it is not set.
: "${dir:?}" "${limit:?}"

here_arch=$(dpkg --print-architecture)
arch=${KERNELS_ARCH:-$here_arch}
# How QEMU is called; the kernel's console, and a second port, which are files outside.
# shellcheck disable=SC2034 # port is for who sources this
case $arch in
amd64) emulator=(qemu-system-x86_64 -cpu "qemu64,+smep,+rdrand") console=ttyS0 port=ttyS1 ;;
arm64) emulator=(qemu-system-aarch64 -machine virt -cpu neoverse-n1) console=ttyAMA0 port=ttyS0 ;;
*) echo "no machine is known for $arch: amd64 and arm64 are" >&2 && exit 2 ;;
esac

# shellcheck source=tests/debian/mirror.sh
. "$(dirname "${BASH_SOURCE[0]}")/../debian/mirror.sh"

# ---- fetch: an apt state of its own, which also knows the neighbouring suites ----

apt_prepare() {
	local archive security suite
	[ -s "$dir/apt/apt.conf" ] && return
	mkdir -p "$dir/apt/state" "$dir/apt/cache/archives/partial"
	archive=$(mirror_of Debian) || return
	security=$(mirror_of Debian-Security) || return
	for suite in bullseye bookworm bookworm-backports trixie trixie-backports; do
		echo "deb [signed-by=$keyring] $archive $suite main"
	done >"$dir/apt/sources.list"
	for suite in bullseye-security bookworm-security; do
		echo "deb [signed-by=$keyring] $security $suite main"
	done >>"$dir/apt/sources.list"
	cat >"$dir/apt/apt.conf" <<-END
		APT::Architecture "$arch";
		APT::Architectures "$arch";
		Dir::State "$dir/apt/state";
		Dir::Cache "$dir/apt/cache";
		Dir::Etc::sourcelist "$dir/apt/sources.list";
		Dir::Etc::sourceparts "-";
		Dir::State::status "/dev/null";
	END
	APT_CONFIG=$dir/apt/apt.conf apt-get update -q >"$dir/apt/update.log" 2>&1 && return
	tail -5 "$dir/apt/update.log" >&2
	rm -f "$dir/apt/apt.conf" # so that the next time tries again
	return 1
}

resolve() { # 6.1, 6.1-rt, 6.12-16k -> 6.1.0-56-cloud-amd64, the newest there is
	local flavour=cloud-$arch version=$1
	case $version in
	*-rt) flavour=rt-$arch version=${version%-rt} ;;
	*-16k) flavour=$arch-16k version=${version%-16k} ;;
	esac
	APT_CONFIG=$dir/apt/apt.conf apt-cache pkgnames "linux-image-$version" |
		grep -E "^linux-image-${version//./\\.}\\.[0-9][.0-9+debn~bpo-]*-$flavour$" |
		sed s/linux-image-// | sort -V | tail -1
}

first() { # the first of the paths that exists
	local path
	for path in "$@"; do [ -e "$path" ] && echo "$path" && return; done
}

busybox_fetch() { # a static one of that architecture, as $dir/busybox
	local tree=$dir/k/busybox
	[ -x "$dir/busybox" ] && return
	apt_prepare || return
	(cd "$dir/debs" && APT_CONFIG=$dir/apt/apt.conf apt-get download -q busybox-static &&
		dpkg -x busybox-static_*.deb "$tree") >/dev/null 2>&1
	cp "$(first "$tree/usr/bin/busybox" "$tree/bin/busybox")" "$dir/busybox" ||
		{ echo "busybox-static: not offered by the mirror" >&2; return 1; }
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

kernel_fetch() { # 6.1 -> its full version, whose image and modules are then in $dir/k; nothing when there is none
	local version
	mkdir -p "$dir/debs" "$dir/k"
	apt_prepare || return
	version=$(resolve "$1")
	[ -n "$version" ] || { echo "$1: not offered by the mirror" >&2; return 1; }
	[ -n "$(image_of "$version")" ] || (unpack "$version") >/dev/null
	[ -n "$(image_of "$version")" ] || { echo "$1: no image unpacked" >&2; return 1; }
	echo "$version"
}

# ---- what goes into a machine, and the machine ----

module_copy() { # uncompressed: busybox reads no zstd
	local from=$1 to=$2/${1##*/}
	case $from in
	*.xz) xz -dc "$from" >"${to%.xz}" ;;
	*.zst) zstd -qdc "$from" >"${to%.zst}" ;;
	*) cp "$from" "$to" ;;
	esac
}

modules_install() { # version root module...: without what they need, which is to be named, too
	local version=$1 root=$2 from name module
	from=$(modules_of "$version")
	mkdir -p "$root/lib/modules/$version"
	for name in "${@:3}"; do
		module=$(find "$from" -name "$name.ko*" | head -1)
		[ -n "$module" ] && module_copy "$module" "$root/lib/modules/$version"
	done
	cp "$from"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$version/" 2>/dev/null
	depmod -b "$root" "$version" 2>/dev/null
}

pack() { # root: as an initial file system, to standard output
	(cd "$1" && find . | cpio -o -H newc --quiet)
}

boot_once() {
	local version=$1 out=$3
	local second=(-serial "file:$out.test")
	# The machine virt has one port of its own.
	[ "$arch" != arm64 ] || second=(-chardev "file,id=test,path=$out.test" -device "pci-serial,chardev=test")
	rm -f "$out".*
	timeout "$limit" "${emulator[@]}" -accel tcg,thread=multi,tb-size=512 \
		-m "$4" -smp 2 -nodefaults -display none -no-reboot \
		-serial "file:$out.console" "${second[@]}" \
		-kernel "$(image_of "$version")" -initrd "$2" -append "console=$console quiet \
		panic=-1 nokaslr mitigations=off random.trust_cpu=on ${*:5}" </dev/null 2>"$out.qemu"
	grep -aq GUEST-BOOTED "$out.console"
}

boot() { # version initrd out memory argument...: its ports are out.console and out.test
	# The emulator sometimes dies before the guest's user space: that tells nothing about us.
	boot_once "$@" || boot_once "$@"
}

guest_status() { # out: what the guest's test ended with, nothing when it did not
	sed -n 's/.*GUEST-STATUS=\([0-9]*\).*/\1/p' "$1.console"
}
