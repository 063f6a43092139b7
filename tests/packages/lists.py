#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the packages' own lists to what is: the files that `make install` installs, the version, what the
build needs. lists.py FOLDER, what `make install DESTDIR=FOLDER` has put there."""

import pathlib
import re
import sys

# As Fedora has them.
MACROS = {"_bindir": "/usr/bin", "_libexecdir": "/usr/libexec", "_sysconfdir": "/etc", "_datadir": "/usr/share",
          "_mandir": "/usr/share/man", "_unitdir": "/usr/lib/systemd/system", "_sysusersdir": "/usr/lib/sysusers.d",
          "_tmpfilesdir": "/usr/lib/tmpfiles.d", "_modulesloaddir": "/usr/lib/modules-load.d",
          "_journalcatalogdir": "/usr/lib/systemd/catalog"}

bad = []


def read(path):
    return pathlib.Path(path).read_text()


def check(what, found, wanted):
    if found != wanted:
        bad.append(f"{what}: {found!r}, expected {wanted!r}")


def differ(what, listed, installed):
    bad.extend(f"{what} lists {name}, which is not installed" for name in sorted(listed - installed))
    bad.extend(f"{what} does not list {name}" for name in sorted(installed - listed))


def spec_files(text):
    """Of %files: paths, and those that are configuration."""
    section = text.partition("%files\n")[2].partition("%changelog")[0]
    files, config = set(), set()
    for line in section.splitlines():
        if not line or line.startswith(("%license", "%doc", "%dir")) or "%dir" in line:
            continue
        path = re.sub(r"%{(\w+)}", lambda match: MACROS[match[1]], line.split()[-1]).removesuffix("*")
        files.add(path)
        if line.startswith("%config"):
            config.add(path)
    return files, config


def versions(version):
    check("version of the Debian package", re.match(r"eghostbuster \((.*)-\d+\)", read("dist/debian/changelog"))[1], version)
    spec, arch = read("dist/rpm/eghostbuster.spec"), read("dist/arch/PKGBUILD")
    check("version of the spec", re.search(r"(?m)^Version: *(\S+)", spec)[1], version)
    check("version of the spec's changelog", re.search(r"(?m)^\* .* - (\S+)-\d+$", spec)[1], version)
    check("version of the PKGBUILD", re.search(r"(?m)^pkgver=(\S+)", arch)[1], version)


def words(text):
    return set(re.findall(r"[\w.+-]+", text))


def build_needs():
    """What build-deps installs for a build, each distribution's package asks for."""
    build, libraries = (words(re.search(rf'(?ms)^{name}="(.*?)"', read("dist/build-deps"))[1])
                        for name in ("build", "libraries"))
    listed = build - {"libraries"} | libraries
    debian = words(read("dist/debian/control").partition("Build-Depends:")[2].partition("\nStandards")[0])
    spec = set(re.findall(r"(?m)^BuildRequires: *(\S+)", read("dist/rpm/eghostbuster.spec")))
    arch = words(re.search(r"(?m)^depends=.*\nmakedepends=.*", read("dist/arch/PKGBUILD"))[0])
    # In Debian essential to every build, or (llvm) for llvm-strip(1), which only tests need.
    for name in sorted(listed - {"gcc", "libc6-dev", "llvm"} - debian):
        bad.append(f"debian/control does not ask for {name}")
    for name in sorted(listed - {"libc6-dev", "llvm", "linux-libc-dev", "pkg-config"}):
        stem = re.sub("^zlib1g$", "zlib", name.removesuffix("-dev"))
        if not {stem, f"{stem}-devel", f"{stem.removeprefix('lib')}-devel"} & spec:
            bad.append(f"the spec does not ask for {stem}")
        if name not in ("gcc", "bpftool", "clang") and not {stem, stem.removeprefix("lib")} & arch:
            bad.append(f"the PKGBUILD does not ask for {stem}")


def main():
    root = pathlib.Path(sys.argv[1])
    installed = {f"/{path.relative_to(root)}" for path in root.rglob("*") if path.is_file()}
    config = {path for path in installed if path.startswith("/etc/")}
    versions(re.search(r"(?m)^VERSION := (\S+)", read("GNUmakefile"))[1])
    files, marked = spec_files(read("dist/rpm/eghostbuster.spec"))
    differ("the spec", files, installed)
    differ("the spec, as configuration,", marked, config)
    backup = re.search(r"(?m)^backup=\((.*)\)", read("dist/arch/PKGBUILD"))[1].split()
    differ("the PKGBUILD, as configuration,", {f"/{name}" for name in backup}, config)
    build_needs()
    for line in bad:
        print(f"lists: {line}", file=sys.stderr)
    sys.exit(bool(bad))


main()
