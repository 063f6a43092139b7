#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The fault matrix: every system call of every role goes wrong once; then: recovery, or a loud stop.

    matrix.py [--jobs N] [--quick N] [--seed N] [--only WORDS] [--list] [--lines]

The build is the folder EGB_BUILD, else "build". Needs root. First all calls are recorded that the roles make when nothing is wrong: each becomes a cell
for each error that table.py has for it, and one that table.py does not know is a gap, as is a call that
a role's filter allows and no cell covers. Then every cell is a service of its own, in its own network
namespace, with bystanders and all its work. A cell ends well when after the fault the service
  recovered  a fresh ghost is destroyed, the control socket answers, the stop is ordered and exits 0;
  stopped    it ended by itself, not with 0, having said why;
  refused    the same before READY;
  loader     the C library's loader had no memory to begin with;
all within 5 s, the log whole, every `destroy` behind its `decide`, every `decide` with its result or
counted by `stop`, nobody harmed and no process left. Prints a table of that, and what it adds up to.
Exit status 0 when every cell ended well, 1 when not, 77 where it cannot run.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import scene  # noqa: E402  (finds the system tests' modules)
import machine  # noqa: E402
import special  # noqa: E402
import table  # noqa: E402

CELL_TIMEOUT = 60
# How a cell may end. refused: a start that was not; loader: not even begun, by the C library's.
GOOD = ("recovered", "stopped", "refused", "loader")


class Job:
    """A cell that is being played, in a process of its own."""

    def __init__(self, cell, inject):
        self.cell, self.started = cell, time.monotonic()
        self.fd, write = os.pipe()
        self.data = b""
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.fd)
            self._play(inject, write)
        os.close(write)

    def _play(self, inject, write):
        signal.alarm(CELL_TIMEOUT)
        try:
            answer = scene.play(self.cell, inject)
        except Exception as error:  # the cell is an error then, with its reason
            answer = ("error", f"{type(error).__name__}: {error}")
        with os.fdopen(write, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)

    def read(self):
        """True when it has ended."""
        piece = os.read(self.fd, 1 << 16)
        self.data += piece
        if piece:
            return False
        os.close(self.fd)
        os.waitpid(self.pid, 0)
        self.seconds = time.monotonic() - self.started
        self.outcome, self.detail = json.loads(self.data) if self.data else \
            ("error", f"not over within {CELL_TIMEOUT} s")
        return True


def play_all(cells, inject, count, show=None):
    waiting, running, done = list(reversed(cells)), {}, []
    while waiting or running:
        while waiting and len(running) < count:
            job = Job(waiting.pop(), inject)
            running[job.fd] = job
        for fd in select.select(list(running), [], [])[0]:
            if running[fd].read():
                job = running.pop(fd)
                done.append(job)
                if show:
                    show(job)
    return done


def print_table(jobs):
    """One row per role and call; a column per outcome."""
    rows = collections.defaultdict(lambda: collections.defaultdict(list))
    for job in jobs:
        cell = job.cell
        rows[cell.phase, cell.role, cell.call][job.outcome].append(cell.what)
    order = {"start": 0, "run": 1, "stop": 2}
    for (phase, role, call), outcomes in sorted(rows.items(), key=lambda r: (order[r[0][0]], r[0])):
        print(f"{phase:5} {role:9} {call:16} " + "; ".join(
            f"{outcome} {len(what)}: {compact(what)}" for outcome, what in sorted(outcomes.items())))
    total = collections.Counter(job.outcome for job in jobs)
    by_role = collections.Counter((job.cell.role, job.outcome) for job in jobs)
    for role in sorted({job.cell.role for job in jobs}):
        print(f"total {role:9} " + ", ".join(f"{count} {outcome}" for (r, outcome), count in
                                             sorted(by_role.items()) if r == role))
    print(f"{len(jobs)} cells: " + ", ".join(f"{total[name]} {name}" for name in
                                             sorted(total, key=lambda n: (n not in GOOD, n))))


def compact(whats):
    """Errors by what they happened to: "fd3 EINTR ENOMEM"."""
    by_detail = collections.defaultdict(list)
    for what in whats:
        detail, _, error = what.partition(" ")
        by_detail[detail].append(error)
    return ", ".join(" ".join(([] if detail == "-" else [detail]) + errors)
                     for detail, errors in by_detail.items())


def choose(cells, seed, most):
    """One error for each use that is met behind the start, and a draw of the rest."""
    draw = random.Random(seed)
    groups = collections.defaultdict(list)
    for cell in cells:
        groups[cell.phase, cell.role, cell.call, cell.what.partition(" ")[0]].append(cell)
    late = [draw.choice(group) for key, group in groups.items() if key[0] != "start"]
    early = [draw.choice(group) for key, group in groups.items() if key[0] == "start"]
    draw.shuffle(late)
    draw.shuffle(early)
    late = late[:most * 2 // 3]
    return late + early[:most - len(late)]


def again(jobs, inject):
    """What may be the machine's load is played once more, alone."""
    bad = [job for job in jobs if job.outcome not in GOOD]
    if not bad:
        return jobs, 0
    retried = play_all([job.cell for job in bad], inject, 1)
    for first, second in zip(bad, retried):
        second.first = first
    return [job for job in jobs if job.outcome in GOOD] + retried, len(bad)


def record(inject):
    plain = scene.Cell("-", "-", "-", "run", ["--record"])
    job = play_all([plain], inject, 1)[0]
    if job.outcome != "recorded":
        sys.exit(f"the service does not work without a fault: {job.outcome}: {job.detail}")
    return table.seen_parse(job.detail)


def record_all(inject, filtered):
    """Some calls are made only when one role is slower than another: up to three times."""
    seen = record(inject)
    for _ in range(2):
        if not table.gaps(seen, filtered):
            break
        seen = table.merged(seen + record(inject))
    return seen, table.gaps(seen, filtered)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)) + 1)
    parser.add_argument("--quick", type=int, metavar="N", help="N cells only")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", help="cells whose name has all these words")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--lines", action="store_true", help="show what each cell said")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("the fault matrix needs root")
        return 77
    begun = time.monotonic()
    inject = machine.BUILD / "tests" / "inject"
    if not inject.exists():
        print(f"no {inject}: the injector knows x86-64 only")
        return 77
    filtered = {tuple(line.split()) for line in subprocess.run(
        [inject.parent / "filters"], capture_output=True, text=True,
        check=True).stdout.splitlines()}
    seen, gaps = record_all(inject, filtered)
    for gap in gaps:
        print(f"gap: {gap}")
    cells = ([] if gaps else table.cells(seen)) + special.cells(seen)
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10000)
    if arguments.only:
        cells = [c for c in cells if all(word in c.name.split() for word in arguments.only.split())]
    if arguments.quick:
        cells = choose(cells, seed, arguments.quick)
    if arguments.list:
        print("\n".join(cell.name for cell in cells))
        return 0

    def show(job):
        if arguments.lines or job.outcome not in GOOD:
            print(f"{job.outcome:9} {job.seconds:4.1f} s  {job.cell.name}  {job.detail}", flush=True)

    jobs, twice = again(play_all(cells, inject, arguments.jobs, show), inject)
    print_table(jobs)
    bad = [job for job in jobs if job.outcome not in GOOD]
    for job in bad:
        print(f"BAD {job.cell.name}: {job.outcome}: {job.detail}")
    print(f"{len(jobs)} cells in {time.monotonic() - begun:.0f} s, {twice} played twice, "
          f"seed {seed}")
    return 1 if bad or gaps or not jobs else 0


if __name__ == "__main__":
    sys.exit(main())
