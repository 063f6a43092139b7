#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# confined.sh BUILD-FOLDER: boots Debian kernels that have AppArmor (make check-kernels fetches them), loads our profiles
# and audit rules, and starts the service as the unit does and as root. A ghost is destroyed, each role has its profile,
# metrics are written, and nothing was denied.
set -eu
given=$1 build=$(readlink -f "$1")
kernels=${KERNELS_DIR:-$build/kernels}
wanted=${KERNELS:-"6.1.0 6.12"}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

kernel_of() { # 6.12 -> the folder of its packages, and its version
	local folder
	for folder in "$kernels/k/$1"*cloud*; do [ -d "$folder" ] && echo "$folder" && return; done
	echo "no kernel $1 in $kernels: make check-kernels fetches it" >&2
	return 1
}

first() {
	local path
	for path in "$@"; do [ -e "$path" ] && echo "$path" && return; done
}

libraries_copy() { # root
	local library
	for library in $(for program in "$1"/usr/{sbin,bin}/* "$1"/usr/libexec/eghostbuster/* "$1/sbin/apparmor_parser" "$1/sbin/auditctl"; do
		LD_LIBRARY_PATH=$1/tools ldd "$program" 2>/dev/null | grep -o '/[^ ]*'
	done | sort -u); do
		case $library in
		"$1"/*) install -D "$library" "$1/lib/${library##*/}" ;;
		*) install -D "$library" "$1$library" ;;
		esac
	done
	cp /lib/*/libnss_files.so.2 "$1/lib/" 2>/dev/null || true
}

# auditctl comes unpacked: installed, the package would start a daemon.
audit_fetch() { # root
	mkdir "$scratch/audit" "$1/tools"
	(cd "$scratch/audit" && apt-get download -q auditd libauparse0 libaudit1 >/dev/null 2>&1 && for deb in *.deb; do dpkg-deb -x "$deb" .; done)
	cp "$scratch"/audit/sbin/auditctl "$1/sbin/"
	find "$scratch/audit" -name 'lib*.so.*' -exec cp -L {} "$1/tools/" \;
	rm -rf "$scratch/audit"
}

system_make() { # root
	local root=$1
	mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp,etc,run,tools.d} "$root/var/log" "$root/var/lib" "$root/usr/bin" "$root/usr/share"
	cp /bin/busybox "$root/bin/"
	env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s B="$given" install DESTDIR="$root" PREFIX=/usr
	cp -r /etc/apparmor.d/{abi,abstractions,tunables} "$root/etc/apparmor.d/"
	cp -r /etc/apparmor "$root/etc/"
	cp -r /usr/share/apparmor-features "$root/usr/share/"
	cp /sbin/apparmor_parser "$root/sbin/"
	cp /usr/bin/setpriv "$root/usr/bin/"
	audit_fetch "$root"
	libraries_copy "$root"
	printf 'passwd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
	echo 'root:x:0:0::/:/bin/sh' >"$root/etc/passwd"
	printf 'root:x:0:\nadm:x:4:\n' >"$root/etc/group"
	systemd-sysusers --root="$root" "$root/usr/lib/sysusers.d/eghostbuster.conf" 2>/dev/null
	sed -i 's/^linux_audit = no/linux_audit = yes/' "$root/etc/eghostbuster/eghostbuster.conf"
	install -m 0755 tests/packages/confined.init "$root/init"
}

modules_add() { # root kernel's-folder version
	local modules module file to=$1/lib/modules/$3
	modules=$(first "$2/lib/modules/$3" "$2/usr/lib/modules/$3")
	mkdir -p "$to"
	for module in inet_diag tcp_diag; do
		file=$(find "$modules" -name "$module.ko*")
		case $file in
		*.xz) xz -dc "$file" >"$to/$module.ko" ;;
		*) cp "$file" "$to/" ;;
		esac
	done
	depmod -b "$1" "$3" 2>/dev/null
}

boot() { # kernel's-folder version
	timeout 200 qemu-system-x86_64 -accel tcg,thread=multi,tb-size=512 -cpu qemu64,+smep,+rdrand -m 1024 -smp 2 \
		-nodefaults -display none -no-reboot -serial "file:$scratch/console" -serial "file:$scratch/out" \
		-kernel "$(first "$1/boot/vmlinuz-$2" "$1/usr/lib/modules/$2/vmlinuz")" -initrd "$scratch/cpio" \
		-append "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on audit=1 apparmor=1 security=apparmor" </dev/null
	tr -d '\r' <"$scratch/out" >"$scratch/said"
	grep -q . "$scratch/said"
}

one() { # kernel
	local folder version status
	folder=$(kernel_of "$1")
	version=${folder##*/}
	rm -rf "$scratch/root"
	cp -r "$scratch/system" "$scratch/root"
	modules_add "$scratch/root" "$folder" "$version"
	(cd "$scratch/root" && find . | cpio -o -H newc --quiet) >"$scratch/cpio"
	# The emulator sometimes dies before the guest's user space: that tells nothing about us.
	boot "$folder" "$version" || boot "$folder" "$version" || boot "$folder" "$version"
	status=$(tail -n 1 "$scratch/said")
	[ "$status" = "0 failed" ] || cat "$scratch/said" >&2
	echo "$version: $status"
	[ "$status" = "0 failed" ]
}

system_make "$scratch/system"
for kernel in $wanted; do one "$kernel"; done
