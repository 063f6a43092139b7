#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs fuzz targets: the programs FOLDER/tests/fuzz/* of a build.

    run.py --build FOLDER [--seconds N] [--jobs N] [--target NAME]...   look for findings (FUZZ=1 builds)
    run.py --build FOLDER --keep [--target NAME]...      merge what was found into the kept corpus
    run.py --build FOLDER --replay                       run the kept corpus through any build

Seconds are CPU time of the target's own process. What a run learns stays in FOLDER/corpus, what it
finds in FOLDER/findings, what it says in FOLDER/log. Exit status 1 on a finding.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
KEPT, FOUND = HERE / "corpus", HERE / "found"  # what reaches most with least; what was a finding once
KEEP_MAX = 1500  # bytes of one kept input
TICKS = os.sysconf("SC_CLK_TCK")
OPTIONS = ["-max_len=16512", "-timeout=600", "-rss_limit_mb=2048", "-print_final_stats=1",
           "-report_slow_units=60"]
ENVIRONMENT = dict(os.environ, ASAN_OPTIONS="detect_stack_use_after_return=1:quarantine_size_mb=16",
                   UBSAN_OPTIONS="print_stacktrace=1")


@dataclasses.dataclass
class Outcome:
    name: str
    log: pathlib.Path
    status: int = 0
    cpu: float = 0.0
    findings: list = dataclasses.field(default_factory=list)

    def number(self, pattern):
        """The last number of that kind that libFuzzer has said."""
        found = re.findall(pattern, self.log.read_text(errors="replace"))
        return int(found[-1]) if found else 0

    def bad(self):
        return self.status != 0 or bool(self.findings)

    def row(self):
        executions = self.number(r"(?:stat::number_of_executed_units: |\n#)(\d+)")
        return [self.name, f"{self.cpu:.0f}", str(executions),
                f"{executions / self.cpu:.0f}" if self.cpu else "-",
                str(self.number(r" cov: (\d+)")), str(self.number(r" ft: (\d+)")),
                str(self.number(r" corp: (\d+)")), str(len(self.findings))]


HEADINGS = ["target", "CPU s", "executions", "exec/s", "edges", "features", "corpus", "findings"]


def table(outcomes):
    rows = [HEADINGS] + [outcome.row() for outcome in outcomes]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))) for row in rows)


def folders_of(name):
    return [folder / name for folder in (KEPT, FOUND) if (folder / name).is_dir()]


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def watch(pid, seconds):
    """Lets it have that much CPU time, which cannot be over before as much time has passed."""
    ended = os.pidfd_open(pid)
    left = seconds
    while left > 0:
        if select.select([ended], [], [], max(left, 0.1))[0]:
            break
        left = seconds - cpu_seconds(pid)
    else:
        os.kill(pid, signal.SIGUSR1)  # libFuzzer's order to say its numbers and exit
    os.close(ended)


def fuzz(program, build, seconds):
    name = program.name
    corpus, findings = build / "corpus" / name, build / "findings"
    for folder in (corpus, findings, build / "log"):
        folder.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(name, build / "log" / f"{name}.log")
    words = HERE / f"{name}.dict"
    before = set(findings.iterdir())
    command = [program, *OPTIONS, f"-artifact_prefix={findings}/{name}-",
               *([f"-dict={words}"] if words.exists() else []), corpus,
               *folders_of(name)]
    with open(outcome.log, "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=log, env=ENVIRONMENT)
    watch(process.pid, seconds)
    _, status, usage = os.wait4(process.pid, 0)
    outcome.status = process.returncode = os.waitstatus_to_exitcode(status)
    outcome.cpu = usage.ru_utime + usage.ru_stime
    outcome.findings = sorted(set(findings.glob(f"{name}-*")) - before)
    return outcome


def tell(outcome, build):
    print(f"{outcome.name}: exit status {outcome.status}; what it said last:")
    print("\n".join(outcome.log.read_text(errors="replace").splitlines()[-40:]))
    for path in outcome.findings:
        print(f"reproduce with: {build}/tests/fuzz/{outcome.name} {path}")


def look(programs, build, seconds, jobs):
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(lambda program: fuzz(program, build, seconds), programs))
    for outcome in filter(Outcome.bad, outcomes):
        tell(outcome, build)
    print(table(outcomes))
    return 1 if any(map(Outcome.bad, outcomes)) else 0


def keep(program, build):
    """The fewest and smallest inputs that reach all that the kept and the learnt ones reach."""
    kept, fresh = KEPT / program.name, build / "merged" / program.name
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    kept.mkdir(parents=True, exist_ok=True)
    small = build / "small" / program.name
    shutil.rmtree(small, ignore_errors=True)
    small.mkdir(parents=True)
    for folder in (kept, build / "corpus" / program.name):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.stat().st_size <= KEEP_MAX:
                shutil.copy(path, small)
    subprocess.run([program, "-merge=1", *OPTIONS, fresh, small], check=True, env=ENVIRONMENT,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(kept)
    shutil.copytree(fresh, kept)
    sizes = [path.stat().st_size for path in kept.iterdir()]
    print(f"{program.name}: {len(sizes)} inputs, {sum(sizes)} bytes")


def replay(program):
    """Said by the program: each input's name before it is run."""
    inputs = [path for folder in folders_of(program.name) for path in sorted(folder.iterdir())]
    done = subprocess.run([program, *inputs], stdin=subprocess.DEVNULL, capture_output=True,
                          env=ENVIRONMENT, check=False)
    names = done.stdout.decode().splitlines()
    if done.returncode == 0 and inputs and len(names) == len(inputs):
        return True
    print(f"{program.name}: exit status {done.returncode} at {names[-1] if names else 'no input'}")
    print(done.stderr.decode(errors="replace"))
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, metavar="FOLDER")
    parser.add_argument("--target", action="append", default=[], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--replay", action="store_true")
    arguments = parser.parse_args()
    programs = [path for path in sorted((arguments.build / "tests/fuzz").iterdir())
                if not arguments.target or path.name in arguments.target]
    if not programs or len(programs) < len(arguments.target):
        parser.error("no such target")
    if arguments.replay:
        return 0 if all([replay(program) for program in programs]) else 1
    if arguments.keep:
        for program in programs:
            keep(program, arguments.build)
        return 0
    return look(programs, arguments.build, arguments.seconds, arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())
