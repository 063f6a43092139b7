#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# units.sh BUILD-FOLDER: systemd takes what is installed, and rates it no worse than it is here.
set -eu
command -v systemd-analyze >/dev/null || exit 77
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
make --no-print-directory -s B="$1" install DESTDIR="$root" PREFIX=/usr
# What the units name beside our own programs.
mkdir -p "$root/bin" "$root/etc"
cp /bin/sh "$root/bin/sh"
for target in basic shutdown sysinit multi-user timers; do
	printf '[Unit]\nDescription=stands for the real one\n' >"$root/usr/lib/systemd/system/$target.target"
done
units=$(cd "$root/usr/lib/systemd/system" && ls eghostbuster*)
# shellcheck disable=SC2086 # the list is meant to be split
systemd-analyze verify --root="$root" --man=no --recursive-errors=yes $units >"$root/said" 2>&1 || true
if grep eghostbuster "$root/said"; then
	exit 1
fi
# Older versions know no directive of a newer one, and rate otherwise: the figures are those of 252.
for rated in eghostbuster.service:21 eghostbuster-metrics.service:10; do
	systemd-analyze security --no-pager --offline=true --threshold="${rated#*:}" "$root/usr/lib/systemd/system/${rated%:*}" >"$root/said" || {
		cat "$root/said" >&2
		exit 1
	}
	echo "${rated%:*}: $(tail -n 1 "$root/said" | sed 's/.*: \([0-9.]*\).*/\1/')"
done
systemd-sysusers --root="$root" "$root/usr/lib/sysusers.d/eghostbuster.conf" 2>"$root/said" || { cat "$root/said" >&2; exit 1; }
