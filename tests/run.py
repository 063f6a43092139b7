#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs and counts what `make check` has: steps (lint), unit tests (cmocka), system tests (pytest).

    run.py [--step NAME COMMAND]... [--build FOLDER]... [--strict FOLDER]... [--system FOLDER]

A step counts as one test; exit status 77 skips it. Unit tests are the programs FOLDER/tests/test_*
of every build; the system tests run against every build, in parts, and against strict builds under
tests/variants/watch.c, side by side. Those marked "once" run against the first only, which has the
machine to itself then. They need root and are skipped without.
The last line is "N passed, N failed, N skipped". Exit status 1 when anything failed or nothing ran.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

SKIPPED = 77
PARTS = 4  # of a build's system tests, so that no lane is the last for long
# Seconds; many times what each takes, for they only end what would never end.
TEST_LIMIT, UNIT_LIMIT, STEP_LIMIT, SUITE_LIMIT = 240, 300, 900, 1800


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, passed=0, failed=0, skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped

    def add_part(self, name, part):
        print(f"{name}: {part}", flush=True)
        self.add(part.passed, part.failed, part.skipped)

    def add_suites(self, path, details=True):
        """Adds a JUnit file, as cmocka and pytest write it. Prints failures and reasons to skip."""
        reasons = collections.Counter()
        for suite in ElementTree.parse(path).getroot().iter("testsuite"):
            for case in suite.iter("testcase"):
                results = {result.tag: result for result in case}
                bad = results.get("failure", results.get("error"))
                if bad is not None:
                    self.add(failed=1)
                    say("FAIL", f"{case.get('classname', suite.get('name'))} {case.get('name')}",
                        (bad.text or "").strip() if details else "")
                elif "skipped" in results:
                    self.add(skipped=1)
                    reasons[results["skipped"].get("message", "no reason given")] += 1
                else:
                    self.add(passed=1)
        for reason, count in reasons.items():
            say("SKIP", f"{count} tests of {path.stem}", reason)

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def say(verdict, name, detail=""):
    print(f"{verdict:4}  {name}" + (f": {detail}" if detail else ""), flush=True)


def seconds_since(began):
    return f"({time.monotonic() - began:.0f} s)"


running = set()  # the groups of processes that have to end with us


def end_group(pid, number=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def give_up(number, _):
    for pid in running.copy():
        end_group(pid)
    os._exit(128 + number)


def run_limited(command, limit, **options):
    """Returns its status, or what became of it. SIGABRT first: Python says where it was then."""
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        running.add(process.pid)
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            end_group(process.pid, signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            return f"not over within {limit} s"
        finally:
            running.discard(process.pid)
            end_group(process.pid)  # with what it has left behind


def run_step(tally, name, command):
    began = time.monotonic()
    status = run_limited(command, STEP_LIMIT, shell=True)
    verdict = {0: "passed", SKIPPED: "skipped"}.get(status, "failed")
    tally.add(**{verdict: 1})
    say({"passed": "ok", "skipped": "SKIP", "failed": "FAIL"}[verdict], f"{name} {seconds_since(began)}")


def run_unit(tally, program, scratch):
    """A program that ends badly without a failed test in its report has failed, too."""
    name = str(program).replace("/", "-")
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="XML",
                       CMOCKA_XML_FILE=str(scratch / f"{name}-%g.xml"))
    mine = Tally()
    try:
        status = run_limited([program.resolve()], UNIT_LIMIT, env=environment)
        for report in sorted(scratch.glob(f"{name}-*.xml")):
            mine.add_suites(report)
    except (OSError, ElementTree.ParseError) as error:
        status = error
    if not mine.failed and (status != 0 or not mine.passed + mine.skipped):
        say("FAIL", name, f"ended with {status}, {mine}")
        mine.add(failed=1)
    elif not mine.failed:
        say("ok", name, str(mine))
    tally.add(mine.passed, mine.failed, mine.skipped)


class Suite:
    """The system tests of one build, or part = (N, OF) of their files; strict: watched
    (tests/variants/watch.c), where rules of the filters that no test uses are one failure."""

    def __init__(self, folder, build, scratch, marks, strict=False, part=(1, 1)):
        self.build, self.strict, self.status = build, strict, None
        number, of = part
        self.what = marks if of == 1 else f"{marks}, part {number} of {of}"
        self.part = f"{number}/{of}"
        self.report = scratch / f"{folder}-{build}-{marks}-{number}.xml".replace("/", "-").replace(" ", "-")
        self.command = [*([f"{build}/tests/watch"] if strict else []), sys.executable, "-B", "-m", "pytest",
                        "-q", "-p", "no:cacheprovider", f"--timeout={TEST_LIMIT}", f"--junitxml={self.report}",
                        "-m", marks, folder]

    def run(self):
        """What it prints comes when it is over: others run beside it. To a file: whoever is left
        behind would keep a pipe open."""
        began = time.monotonic()
        with tempfile.TemporaryFile() as output:
            self.status = run_limited(self.command, SUITE_LIMIT, stdout=output, stderr=subprocess.STDOUT,
                                      env=dict(os.environ, EGB_BUILD=self.build, EGB_PART=self.part))
            output.seek(0)
            self.printed = output.read().decode(errors="replace")
        self.took = seconds_since(began)
        return self

    def add_to(self, tally):
        part, root = Tally(), os.geteuid() == 0
        print(f"system tests against {self.build}, {self.what}:\n{self.printed}", flush=True)
        if self.report.exists():
            part.add_suites(self.report, details=False)
        elif root and isinstance(self.status, str):
            part.add(failed=1)
            say("FAIL", f"system tests of {self.build}, {self.what}", self.status)
        else:
            part.add(failed=root, skipped=not root)
            say("FAIL" if root else "SKIP", "system tests", "they need root, python3-pytest and its timeout")
        if self.strict and root:
            part.add(passed=self.status == 0, failed=self.status != 0)
            say("ok" if self.status == 0 else "FAIL", f"every rule of the filters of {self.build} is used")
        tally.add_part(f"system tests of {self.build}, {self.what} {self.took}", part)


def run_suites(tally, folder, builds, strict, scratch):
    """A lane more than CPUs, for most of a test is waiting; then what wants the machine for itself."""
    # The longest first: the strict ones see the use of every rule, and stay whole.
    beside = [Suite(folder, build, scratch, "not once", True) for build in strict] + \
        [Suite(folder, build, scratch, "not once", part=(number, PARTS))
         for build in reversed(builds) for number in range(1, PARTS + 1)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() + 1) as pool:
        for suite in concurrent.futures.as_completed([pool.submit(suite.run) for suite in beside]):
            suite.result().add_to(tally)
    for build in builds[:1] or strict[:1]:
        Suite(folder, build, scratch, "once").run().add_to(tally)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--step", nargs=2, action="append", default=[], metavar=("NAME", "COMMAND"))
    parser.add_argument("--build", action="append", default=[], metavar="FOLDER")
    parser.add_argument("--strict", action="append", default=[], metavar="FOLDER")
    parser.add_argument("--system", metavar="FOLDER")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) and a shell's background have it
            signal.signal(number, give_up)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="eghostbuster-check-") as scratch:
        for name, command in arguments.step:
            run_step(tally, name, command)
        for build in arguments.build:
            part, began = Tally(), time.monotonic()
            for program in sorted(pathlib.Path(build).glob("tests/test_*")):
                run_unit(part, program, pathlib.Path(scratch))
            tally.add_part(f"unit tests of {build} {seconds_since(began)}", part)
        if arguments.system:
            run_suites(tally, arguments.system, arguments.build, arguments.strict, pathlib.Path(scratch))
    print(tally, flush=True)
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
