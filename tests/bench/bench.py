#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the service side by side with what it is to be compared with. Needs root and a quiet machine.

Prints a table, and writes BUILD/bench.json and two plots beside it.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import measures
import report
import scene
from scene import machine


@dataclasses.dataclass
class Storm:
    name: str
    processes: int
    connections: int
    rounds: int
    live: int = 0
    contenders: tuple = measures.CONTENDERS


@dataclasses.dataclass
class Size:
    """How much of each."""
    latency_rounds: int
    latency_block: int
    storms: tuple
    log_ghosts: int
    log_rounds: int
    loop_seconds: float
    overhead_rounds: int
    tool_rounds: int
    levels: tuple
    growth_rounds: int
    growth_block: int
    settle_seconds: float
    idle_seconds: float


THREE = ("service", "destroy", "ss")
SIZES = {
    "full": Size(
        latency_rounds=2000, latency_block=50,
        storms=(Storm("1,000", 1, 1000, 7), Storm("10,000", 1, 10000, 7),
                Storm("10,000 beside 50,000 live", 1, 10000, 7, 50000, THREE),
                Storm("100,000 of six processes", 6, 99996, 7, contenders=("service", "shipped", "destroy", "ss"))),
        log_ghosts=10000, log_rounds=9, loop_seconds=.35, overhead_rounds=12, tool_rounds=3,
        levels=(0, 1000, 10000, 50000), growth_rounds=3, growth_block=150,
        settle_seconds=2, idle_seconds=60),
    "quick": Size(
        latency_rounds=300, latency_block=50,
        storms=(Storm("1,000", 1, 1000, 3), Storm("10,000", 1, 10000, 3),
                Storm("100,000 of six processes", 6, 99996, 1, contenders=THREE)),
        log_ghosts=10000, log_rounds=3, loop_seconds=.2, overhead_rounds=3, tool_rounds=1,
        levels=(0, 10000), growth_rounds=2, growth_block=50,
        settle_seconds=1, idle_seconds=10.5),
    # Does all of it work?
    "tiny": Size(
        latency_rounds=20, latency_block=10,
        storms=(Storm("200", 1, 200, 1), Storm("600 of three processes beside 400 live", 3, 600, 1, 400)),
        log_ghosts=400, log_rounds=1, loop_seconds=.02, overhead_rounds=1, tool_rounds=1,
        levels=(0, 200), growth_rounds=1, growth_block=10,
        settle_seconds=.2, idle_seconds=1),
}

SECTIONS = {"latency": measures.latency, "storms": measures.storms, "log": measures.log, "overhead": measures.overhead,
            "growth": measures.growth, "idle": measures.idle}


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or None


def circumstances(size):
    return {"command": "make bench" if size == "full" else f"make bench-{size}", "size": size,
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "kernel": platform.release(), "cpus": os.cpu_count(), "cpu": cpu_name(), "commit": commit(),
            "load_before": round(os.getloadavg()[0], 2)}


def measure(size, sections):
    found = {"about": circumstances(size)}
    if found["about"]["load_before"] > .5:
        print(f"The machine has other work (load {found['about']['load_before']}): "
              "what follows is worth little.", flush=True)
    for name in sections:
        print(f"{name}:", flush=True)
        began = time.monotonic()
        found[name] = SECTIONS[name](SIZES[size])
        print(f"  took {time.monotonic() - began:.0f} s", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this part, and no other")
    parser.add_argument("--readme", metavar="FILE", help="measure nothing: write the last results into FILE")
    arguments = parser.parse_args()
    results = machine.BUILD / "bench.json"
    if arguments.readme:
        report.readme(json.loads(results.read_text()), machine.BUILD, pathlib.Path(arguments.readme))
        return 0
    if os.geteuid() != 0:
        print("bench: this needs root", file=sys.stderr)
        return 1
    scene.prepare()
    with machine.own_cgroups():
        found = measure(arguments.size, arguments.only or SECTIONS)
    results.write_text(json.dumps(found, indent=1) + "\n")
    print(report.table(found))
    report.plots(found, machine.BUILD)
    print(f"{results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
