#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# deb.sh FOLDER: judges the Debian packages that `make deb` has left there.
set -eu
here=$(dirname "$(readlink -f "$0")")
cd "$1"
bad=0

say() {
	echo "$1: $2" >&2
	bad=1
}

# Everything that is an error or a warning fails; the rest are matters of taste.
lintian --pedantic --display-info --fail-on error,warning --suppress-tags bad-distribution-in-changes-file \
	--allow-root ./*_amd64.changes ./*.dsc || say lintian "see above"

blhc --all build.log || say blhc "see above"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
dpkg-deb -x ./eghostbuster_*_amd64.deb "$root"
for program in "$root"/usr/sbin/eghostbuster "$root"/usr/bin/eghostctl "$root"/usr/libexec/eghostbuster/*; do
	# The linker drops the mark of -fcf-protection, because Debian's C library has none.
	hardening-check --quiet --nocfprotection "$program" || say hardening-check "$program"
done

# Installed in a copy of this system, which sees no change of it. Then taken away again.
unshare --mount sh "$here/installed.sh" "$here/../../dist/debian/tests" "$(readlink -f ./eghostbuster_*_amd64.deb)" || say installed "see above"
exit "$bad"
