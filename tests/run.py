#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs and counts what `make check` has: steps (lint), unit tests (cmocka), system tests (pytest).

    run.py [--step NAME COMMAND]... [--build FOLDER]... [--system FOLDER]

A step counts as one test; exit status 77 skips it. Unit tests are the programs FOLDER/tests/test_*
of every build; the system tests run against every build. They need root and are skipped without.
The last line is "N passed, N failed, N skipped". Exit status 1 when anything failed or nothing ran.
"""

import argparse
import collections
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

SKIPPED = 77


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, passed=0, failed=0, skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped

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


def run_step(tally, name, command):
    status = subprocess.run(command, shell=True, check=False).returncode
    verdict = {0: "passed", SKIPPED: "skipped"}.get(status, "failed")
    tally.add(**{verdict: 1})
    say({"passed": "ok", "skipped": "SKIP", "failed": "FAIL"}[verdict], name)


def run_unit(tally, program, scratch):
    """A program that ends badly without a failed test in its report has failed, too."""
    name = str(program).replace("/", "-")
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="XML",
                       CMOCKA_XML_FILE=str(scratch / f"{name}-%g.xml"))
    mine = Tally()
    try:
        status = subprocess.run([program.resolve()], env=environment, check=False).returncode
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


def run_system(tally, folder, build, scratch):
    report = scratch / f"{folder}-{build}.xml".replace("/", "-")
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider",
               f"--junitxml={report}", folder]
    print(f"system tests against {build}:", flush=True)
    subprocess.run(command, env=dict(os.environ, EGB_BUILD=build), check=False)
    if report.exists():
        tally.add_suites(report, details=False)
    else:
        root = os.geteuid() == 0
        tally.add(failed=root, skipped=not root)
        say("FAIL" if root else "SKIP", "system tests", "they need root and python3-pytest")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--step", nargs=2, action="append", default=[], metavar=("NAME", "COMMAND"))
    parser.add_argument("--build", action="append", default=[], metavar="FOLDER")
    parser.add_argument("--system", metavar="FOLDER")
    arguments = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="eghostbuster-check-") as scratch:
        for name, command in arguments.step:
            run_step(tally, name, command)
        for build in arguments.build:
            for program in sorted(pathlib.Path(build).glob("tests/test_*")):
                run_unit(tally, program, pathlib.Path(scratch))
        for build in arguments.build if arguments.system else []:
            run_system(tally, arguments.system, build, pathlib.Path(scratch))
    print(tally, flush=True)
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
