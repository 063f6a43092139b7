#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# inside.sh FOLDER COMPILER [build]: in a Debian with nothing but its base, from the source tree this stands
# in: installs, builds into FOLDER and FOLDER/strict, runs the unit tests, and the system tests under
# the strict filter. FOLDER/row says how that went. With
# "build" it stops before the tests.
set -eu
cd "$(dirname "$0")/../.."
build=$1 compiler=$2

if ! command -v make >/dev/null; then
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get update -q && apt-get install -y -q --no-install-recommends make; } >/dev/null
fi
sh dist/build-deps test
mkdir -p "$build"
glibc=$(getconf GNU_LIBC_VERSION)
# Of the words in `gcc (Debian 14.2.0-19) 14.2.0` and `Debian clang version 19.1.7 (3+b1)`.
version=$("$compiler" --version | sed -n '1s/.* \([0-9][0-9.]*[0-9]\)\( .*\)\{0,1\}$/\1/p')
make -s CC="$compiler" B="$build" all test-programs >/dev/null
make -s CC="$compiler" B="$build/strict/intruder" INTRUDER=1 all >/dev/null
make -s CC="$compiler" B="$build/strict" STRICT=1 all test-programs >/dev/null
[ "${3:-}" != build ] || exit 0
bad=0
/usr/bin/python3 -B tests/run.py --build "$build" >"$build/log" || bad=1
/usr/bin/python3 -B tests/run.py --strict "$build/strict" --system tests/system >>"$build/log" || bad=1
cat "$build/log"
# The last line of each run.
tallies() { grep -x '[0-9]* passed, [0-9]* failed, [0-9]* skipped' "$build/log"; }
printf '%-7s %-14s %-38s %s\n' "${glibc#glibc }" "$compiler $version" "$(tallies | head -1)" "$(tallies | tail -1)" >"$build/row"
exit "$bad"
