#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# installed.sh TESTS DEB: installs the package above this system, in mounts that end with this process, tries what
# TESTS (debian/tests) has for it, and takes it away again. Root, in a mount namespace of its own.
set -eu
tests=$(readlink -f "$1") deb=$(readlink -f "$2")
top=$(mktemp -d)
mount --make-rprivate /
mount -t tmpfs tmpfs "$top"
mkdir "$top/upper" "$top/work" "$top/root"
mount -t overlay -o "lowerdir=/,upperdir=$top/upper,workdir=$top/work" overlay "$top/root"
mount -t proc proc "$top/root/proc"
mount --rbind /dev "$top/root/dev"
mount -t tmpfs tmpfs "$top/root/run"
mkdir "$top/root/tests"
mount --bind "$tests" "$top/root/tests"
cp "$deb" "$top/root/package.deb"

inside() {
	chroot "$top/root" env DEBIAN_FRONTEND=noninteractive AUTOPKGTEST_TMP=/tmp "$@"
}

files_of() {
	(cd "$top/root" && find etc usr lib var -name '*eghost*' -not -path 'usr/share/doc/*' -not -path 'var/lib/dpkg/*' 2>/dev/null) | sort
}

# What a service of this machine has is not there.
for folder in etc var/lib var/log; do
	rm -rf "$top/root/$folder/eghostbuster"
done
before=$(files_of)
inside dpkg -i /package.deb >"$top/log" 2>&1 || { cat "$top/log"; exit 1; }
inside /tests/installed
if find "$top/root/etc/systemd/system" -name '*eghostbuster*' | grep .; then
	echo 'installed: it is enabled' >&2
	exit 1
fi
[ -z "$(inside dpkg --verify eghostbuster)" ]
inside dpkg --purge eghostbuster >"$top/log" 2>&1 || { cat "$top/log"; exit 1; }
left=$(files_of)
[ "$left" = "$before" ] || { printf 'left behind after the purge:\n%s\n' "$left"; exit 1; }
