#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# reproducible.sh BUILD-FOLDER: the packages are built twice, in folders, time zones, languages and under umasks that
# differ. They, and the BPF object, come out the same to the bit; its hash is what --version says.
set -eu
build=$(readlink -f "$1")
env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s B="$1" tarball
tarball=$(ls "$build"/deb/eghostbuster_*.orig.tar.xz)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

package() ( # folder umask time zone, language
	folder=$scratch/$1/source
	umask "$2"
	export TZ="$3" LC_ALL="$4"
	mkdir -p "$folder"
	tar -C "$folder" --strip-components=1 -xf "$tarball"
	cp -r "$folder/dist/debian" "$folder/debian"
	cd "$folder"
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS DEB_BUILD_OPTIONS="nocheck parallel=2" \
		dpkg-buildpackage -b -us -uc >../log 2>&1 || { tail -n 30 ../log >&2; exit 1; }
)

package a 022 UTC C
package another-and-longer/folder 077 Asia/Kathmandu C.UTF-8
first=$scratch/a second=$scratch/another-and-longer/folder
for file in "$first"/*.deb "$first/source/build/bpf/tracker.bpf.o"; do
	other=$second${file#"$first"}
	if ! cmp "$file" "$other"; then
		command -v diffoscope >/dev/null && diffoscope --text - "$file" "$other" | head -n 60 >&2
		exit 1
	fi
	sha256sum "$file" | sed "s,$first/,,"
done
hash=$(sha256sum <"$first/source/build/bpf/tracker.bpf.o" | cut -c1-64)
"$second/source/build/eghostbuster" --version | grep -q "BPF object sha256 $hash)" || {
	echo "--version does not say the BPF object's hash, $hash" >&2
	exit 1
}
