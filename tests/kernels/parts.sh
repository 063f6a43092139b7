# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# To be sourced: Debian's kernels, and machines that boot them in plain QEMU.
# dir: the kernels' folder; limit: seconds that a machine may take.
: "${dir:?}" "${limit:?}"

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
	rm -f "$out".*
	timeout "$limit" qemu-system-x86_64 -accel tcg,thread=multi,tb-size=512 \
		-cpu qemu64,+smep,+rdrand -m "$4" -smp 2 -nodefaults -display none -no-reboot \
		-serial "file:$out.console" -serial "file:$out.test" \
		-kernel "$(image_of "$version")" -initrd "$2" -append "console=ttyS0 quiet \
		panic=-1 nokaslr mitigations=off random.trust_cpu=on ${*:5}" </dev/null 2>"$out.qemu"
	grep -aq GUEST-BOOTED "$out.console"
}

boot() { # version initrd out memory argument...: its consoles are out.console (ttyS0) and out.test (ttyS1)
	# The emulator sometimes dies before the guest's user space: that tells nothing about us.
	boot_once "$@" || boot_once "$@"
}

guest_status() { # out: what the guest's test ended with, nothing when it did not
	sed -n 's/.*GUEST-STATUS=\([0-9]*\).*/\1/p' "$1.console"
}
