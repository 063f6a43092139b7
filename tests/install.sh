#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh BUILD-FOLDER: `make install DESTDIR=` puts every file in its place, and nothing else anywhere.
set -eu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
make --no-print-directory -s B="$1" install DESTDIR="$root" PREFIX=/usr
found=$(cd "$root" && find . -type f -printf '%m %P\n' | sort -k2)
expected='644 etc/eghostbuster/eghostbuster.conf
755 usr/bin/eghostctl
755 usr/libexec/eghostbuster/broker
755 usr/libexec/eghostbuster/reaper
755 usr/libexec/eghostbuster/tracker
755 usr/sbin/eghostbuster'
if [ "$found" != "$expected" ]; then
	printf 'install: found\n%s\nexpected\n%s\n' "$found" "$expected" >&2
	exit 1
fi
# The shipped configuration is what the built-in policy says.
"$root/usr/sbin/eghostbuster" --libexec "$root/usr/libexec/eghostbuster" --check-config \
	-c "$root/etc/eghostbuster/eghostbuster.conf" | grep -v '^audit_log' >"$root/shipped"
"$root/usr/sbin/eghostbuster" --libexec "$root/usr/libexec/eghostbuster" --check-config |
	grep -v '^audit_log' >"$root/built-in"
diff "$root/shipped" "$root/built-in"
