#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# next.sh FOLDER: beside the package in it, the same with the version that follows.
set -eu
cd "$1"
deb=$(echo eghostbuster_*.deb)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
dpkg-deb -R "$deb" "$scratch/tree"
version=$(sed -n 's/^Version: //p' "$scratch/tree/DEBIAN/control")
sed -i "s/^Version: .*/Version: $version+1~next/" "$scratch/tree/DEBIAN/control"
dpkg-deb --root-owner-group -b "$scratch/tree" "eghostbuster_$version+1~next_${deb##*_}" >/dev/null
