# SPDX-License-Identifier: Apache-2.0
"""The reaper against a broker that lies (tests/hostile/broker*.c): one lie after the other, and all at once."""

import os
import re
import subprocess

import pytest

from machine import BUILD, TIMEOUT
from service import LIBEXEC

MESSAGES = int(os.environ.get("EGB_MESSAGES", "40000"))


def tap(*arguments, timeout=6 * TIMEOUT):
    """Runs the program; every line of its plan has to be "ok"."""
    ended = subprocess.run([BUILD / "tests" / "hostile_broker", LIBEXEC, *arguments], text=True,
                           timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(ended.stdout)
    results = re.findall(r"^((?:not )?ok) (\d+) - (.*)", ended.stdout, re.MULTILINE)
    assert [what for verdict, _, what in results if verdict != "ok"] == []
    assert f"1..{len(results)}" in ended.stdout.splitlines()
    assert results and ended.returncode == 0


def test_hostile_broker():
    tap()


@pytest.mark.once
def test_hostile_broker_at_full_speed():
    tap(str(MESSAGES), timeout=6 * TIMEOUT + MESSAGES / 1000)
