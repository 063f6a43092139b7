#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""matrix.py [--readme FILE] FOLDER...: what the last machines of the scenario `kernel` have shown, as a table; into the README."""

import argparse
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from readme import put  # noqa: E402

# In which of them a test's own words are worth a line.
TELLING = ("it starts, and says what it does", "without tcp_diag")


def version_key(row):
    return [int(n) for n in re.match(r"[\d.]+", row[0])[0].split(".")], "arm64" in row[0], len(row[0])


def machine(path):
    """kernel, tests, what it said"""
    label = path.name.removeprefix("out-kernel-").removesuffix(".tap")
    tests = re.findall(r"(?m)^(ok|not ok) \d+ - (.*)$", path.read_text())
    plan = int(re.search(r"(?m)^1\.\.(\d+)", path.read_text())[1])
    good = sum(result == "ok" for result, _ in tests)
    told = "; ".join(name.rpartition(TELLING[0])[2].lstrip(": ") if name.startswith(TELLING[0]) else name
                     for _, name in tests if name.startswith(TELLING))
    return label, f"{good} of {plan}", told


def main(folders, readme):
    rows = sorted((machine(path) for folder in folders for path in folder.glob("out-kernel-*.tap")), key=version_key)
    lines = ["The installed unit, under the kernels of Debian, by `make check-kernels` and, for arm64, `make check-arm64`. The last test "
             "takes BTF away, and the start is refused, naming `/sys/kernel/btf/vmlinux`.", "", "| kernel | tests passed | what it is, and what the service says |", "| --- | --- | --- |"]
    table = "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
    print(table)
    if readme:
        put(readme, "kernels-readme", "Requirements", table)


parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("--readme", type=pathlib.Path)
parser.add_argument("folders", type=pathlib.Path, nargs="+")
arguments = parser.parse_args()
main(arguments.folders, arguments.readme)
