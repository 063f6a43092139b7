#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the source tree and runs the unit and system tests, under the strict filter, with the
# compilers and libraries of several Debian releases: in a root folder made by debootstrap for each.
#
#   run.sh             for each suite and compiler a row of the table; exit status 1 if any failed
#   run.sh build       the same as far as the tests
#   run.sh enter ROOT COMMAND..   runs a command in such a root (needs a mount namespace of its own)
#
# Needs root, debootstrap, and the apt of a Debian. Environment: DEBIAN_DIR work folder,
# DEBIAN_SUITES which releases, DEBIAN_COMPILERS.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
# shellcheck source=tests/debian/mirror.sh
. "$here/mirror.sh"

dir=${DEBIAN_DIR:-$top/build/debian}
suites=${DEBIAN_SUITES:-"bookworm trixie"}
compilers=${DEBIAN_COMPILERS:-"gcc clang"}

bootstrap() { # under another name until it is whole
	local suite=$1 mirror
	[ -d "$dir/$suite" ] && return
	mirror=$(mirror_of Debian) || return
	rm -rf --one-file-system "$dir/$suite.new"
	mkdir -p "$dir"
	echo "$suite: debootstrap"
	unshare --mount debootstrap --variant=minbase --keyring="$keyring" \
		"$suite" "$dir/$suite.new" "$mirror" >"$dir/$suite.log" 2>&1 || { tail -20 "$dir/$suite.log" >&2; return 1; }
	mv "$dir/$suite.new" "$dir/$suite"
}

source_copy() { # the tree as it is, not as it was committed; what an earlier run has built stays
	local to=$1/src
	mkdir -p "$to"
	find "$to" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
	tar -C "$top" --exclude=./build --exclude=./.git --exclude=__pycache__ -c . | tar -C "$to" -x
}

# The old root is let go of. What is mounted here nobody else sees, and it ends with the last process.
enter() {
	local root=$1 point
	shift
	mount --bind "$root" "$root"
	for point in proc sys dev; do mount --rbind "/$point" "$root/$point"; done
	for point in tmp run; do mount -t tmpfs -o mode=1777 tests "$root/$point"; done
	mkdir -p "$root/old"
	cd "$root"
	pivot_root . old
	cd /
	umount --lazy old
	exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}

inside() { unshare --mount --propagation private bash "$here/run.sh" enter "$dir/$1" "${@:2}"; }

suite_run() { # adds its rows to the table
	local suite=$1 until=$2 compiler build row bad=0
	bootstrap "$suite" && source_copy "$dir/$suite" || return
	for compiler in $compilers; do
		build=build/$compiler
		row=$dir/$suite/src/$build/row
		rm -f "$row" # of an earlier run
		echo "$suite, $compiler:"
		inside "$suite" sh /src/tests/debian/inside.sh "$build" "$compiler" "$until" || bad=1
		[ "$until" != build ] || continue
		printf '%-9s %s\n' "$suite" "$(cat "$row" || echo "$compiler: no result")" >>"$dir/table"
	done
	return "$bad"
}

run() {
	local suite bad=0
	mkdir -p "$dir"
	: >"$dir/table"
	for suite in $suites; do suite_run "$suite" "$1" || bad=1; done
	[ "$1" != build ] || return "$bad"
	printf '%-9s %-7s %-14s %-38s %s\n' suite glibc compiler "unit tests" "system tests"
	cat "$dir/table"
	return "$bad"
}

case ${1:-run} in
run | build) run "${1:-run}" ;;
enter) enter "${@:2}" ;;
*)
	sed -n '3,13s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
