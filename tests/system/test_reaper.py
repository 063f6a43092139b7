# SPDX-License-Identifier: Apache-2.0
"""The reaper against a broker that lies: hostile_broker.c tries, one lie after the other."""

import re
import subprocess

from machine import BUILD
from service import LIBEXEC


def test_hostile_broker():
    ended = subprocess.run([BUILD / "tests" / "hostile_broker", LIBEXEC], text=True, timeout=120,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(ended.stdout)
    results = re.findall(r"^((?:not )?ok) (\d+) - (.*)", ended.stdout, re.MULTILINE)
    assert [what for verdict, _, what in results if verdict != "ok"] == []
    assert f"1..{len(results)}" in ended.stdout.splitlines()
    assert results and ended.returncode == 0
