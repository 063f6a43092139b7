# SPDX-License-Identifier: Apache-2.0
"""What a ghost costs, counted: system calls and messages. One more look, message or wake-up for each fails.
Times are what `make bench` is for."""

import contextlib
import json
import os
import select
import signal
import subprocess

import pytest

import machine
from machine import BUILD, TIMEOUT, eventually

PROGRAMS = BUILD / "tests/bench"
ALONE = 30         # ghosts, one at a time
PACKET = 64        # records in a full one
PACKETS = 12
LINES = 200        # on standard error, a second
HEARTBEAT = 2      # what one of them, in the middle of it, adds to any call

pytestmark = [pytest.mark.once,
              pytest.mark.skipif(not PROGRAMS.is_dir(), reason="this build has no benchmarks' programs")]


@contextlib.contextmanager
def started(name, *args):
    process = subprocess.Popen([str(PROGRAMS / name), *map(str, args)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        yield process
    finally:
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0
        process.stdout.close()


def answer(process):
    assert select.select([process.stdout], [], [], TIMEOUT)[0], f"{process.args[0]} does not answer"
    return process.stdout.readline()


def ask(process, line):
    process.stdin.write(f"{line}\n")
    return answer(process)


@pytest.fixture
def counted(service):
    """Returns by role what has been called since the call before, by name."""
    roles = service.roles()
    with started("calls", *roles.values()) as calls:
        answer(calls)
        yield lambda: dict(zip(roles, json.loads(ask(calls, ""))))


def assert_at_most(calls, bounds, times):
    """bounds: of each call so many, each of the times; calls that have none are not made."""
    for role, of in calls.items():
        allowed = {name: bound * times + HEARTBEAT for name, bound in bounds[role].items()}
        assert set(of) <= set(allowed), f"the {role} makes other calls: {of}"
        over = {name: count for name, count in of.items() if count > allowed[name]}
        assert not over, f"the {role} makes {over}, may make {allowed}"


def test_one_at_a_time(counted):
    """A ghost that comes alone wakes each role once, but for the broker, who hears of it and of its
    end, and the tracker, who hears of the death first."""
    with started("single") as single:
        answer(single)
        ask(single, 5)
        counted()
        ask(single, ALONE)
        calls = counted()
    assert_at_most(calls, {
        "tracker": {"ppoll": 2, "sendto": 1},
        # The decision, the result, and a line on standard error, which is asked first.
        "broker": {"epoll_wait": 2, "recvmsg": 2, "write": 3, "ppoll": 1, "sendto": 1,
                   "brk": .1, "mmap": .1, "mremap": .1},
        # A look and an act, each a question and an answer.
        "reaper": {"ppoll": 1, "recvmsg": 1, "writev": 2, "recvmmsg": 2, "sendto": 1}}, ALONE)


def test_storm(service, counted):
    """Ghosts that are all there when the tracker looks go from role to role by the packet full."""
    ghosts, tracker = PACKET * PACKETS, service.roles()["tracker"]
    os.kill(tracker, signal.SIGSTOP)
    with started("storm", 1, ghosts, "none") as storm:
        eventually(lambda: machine.sockstat()["orphan"] >= ghosts, "all of them orphans")
        counted()
        os.kill(tracker, signal.SIGCONT)
        result = json.loads(answer(storm))
    assert result["born"] == result["gone"] == ghosts
    calls = counted()
    # The lines on standard error are not more in a larger storm.
    for name in ("write", "ppoll"):
        calls["broker"][name] -= min(LINES, calls["broker"][name])
    assert_at_most(calls, {
        "tracker": {"ppoll": .5, "sendto": 1},
        # Behind a packet that is full another one is looked for.
        "broker": {"epoll_wait": 2, "recvmsg": 4, "write": 2, "ppoll": 0, "sendto": 1,
                   "brk": .5, "mmap": .5, "mremap": .5},
        "reaper": {"ppoll": 1, "recvmsg": 1, "writev": 2, "recvmmsg": 2, "sendto": 1}}, PACKETS)
