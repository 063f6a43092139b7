# SPDX-License-Identifier: Apache-2.0
"""A user who makes ghosts as fast as the machine goes can neither fill the log nor keep others' ghosts
from being released.

EGB_FLOOD_SECONDS says for how long; variants other than the first take a third of it."""

import os
import select
import statistics
import subprocess
import time

import pytest

import audit
import machine
import sockets
from machine import BUILD, Cgroup, eventually, status_of
from service import LIBEXEC

SECONDS = int(os.environ.get("EGB_FLOOD_SECONDS", "6"))
SANITIZED = b"__asan_" in (LIBEXEC / "broker").read_bytes()
FLOODER = 12345
VICTIMS = 4  # ghosts each time
RELEASE_MAX_S = 6.0 if SANITIZED else 3.0  # machine as busy as can be
MEMORY_MAX_MIB = 256
LONG = SECONDS > 60

RULES = """
[rule killed]
exit = crash kill oom
action = destroy

[rule finished]
exit = clean closed error term
action = report

[rule adopted]
exit = unknown
action = destroy
grace = 1s
"""
# What the documentation says of the bytes a minute that one uid, or one unit, may make of the log, in
# whole minutes: the first has two minutes' worth.
RECORD, BATCH, GHOST, OTHER = 1100, 3000, 48, 60 * 2 * 400
BATCHES, UNIT_LIMIT = 60, 200000
BUDGET = 10000 if LONG else 1000


def bound(seconds):
    minute = BUDGET * RECORD + BATCHES * BATCH + UNIT_LIMIT * GHOST
    return minute * (1 + seconds / 60)


def bound_for(seconds, ghosts):
    """The same for so many ghosts as there were."""
    return (BUDGET * RECORD + BATCHES * BATCH + OTHER) * (1 + seconds / 60) + ghosts * GHOST + \
        ghosts / 1024 * BATCH


class Flood:
    """The program, until its other ends may be closed."""

    def __init__(self, seconds, death, groups):
        paths = [group.path / "cgroup.procs" for group in groups]
        self.process = subprocess.Popen(
            [BUILD / "tests" / "flood", str(seconds), str(FLOODER), death, *paths],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def is_over(self):
        return bool(machine.wait_readable([self.process.stdout.fileno()], 0))

    def made(self):
        word, number = self.process.stdout.readline().split()
        assert word == "made"
        return int(number)


class Victim:
    """A service that is killed and started again; its peers see when its connections end."""

    def __init__(self, stage, group):
        self.stage, self.group = stage, group
        self.listener = sockets.Listener()
        self.released, self.cookies = [], set()

    def live_and_die(self):
        actor = self.stage.actor()
        self.group.add(actor.pid)
        connections = [sockets.connect(actor, self.listener) for _ in range(VICTIMS)]
        for connection in connections:
            connection.actor.fill(connection.fd, 0)
        self.cookies |= {connection.cookie for connection in connections}
        actor.kill()
        self.wait_released(connections, time.monotonic())

    def wait_released(self, connections, died):
        """A reset is what its peers hear: nobody reads, so nothing else can end them."""
        poller = select.poll()
        for connection in connections:
            poller.register(connection.peer, 0)
        left = len(connections)
        while left:
            ready = poller.poll(1000 * machine.TIMEOUT)
            assert ready, "the ghosts of another unit are not released"
            for fd, _ in ready:
                poller.unregister(fd)
                self.released.append(time.monotonic() - died)
                left -= 1
        for connection in connections:
            connection.peer.close()


class Reader:
    """Goes through the log once: each result has its decision before it (I3)."""

    def __init__(self, path):
        self.decided, self.results, self.classes = {}, {}, {}
        self.batched = self.records = self.left = 0
        self.stop = None
        unbatcher = audit.Unbatcher()
        with open(path, "rb") as log:
            for line in log:
                record = audit.parse(line)
                self.records += 1
                self.batched += record.get("eghostbuster.batch.ghosts_count", 0)
                if record["event.action"] == "stop":
                    self.stop = record
                for one in unbatcher.take(record):
                    self.take(one)

    def take(self, record):
        ghost = record.get("eghostbuster.ghost")
        if "eghostbuster.batch.first" in record:
            self.left += record["eghostbuster.batch.ghosts_count"]
        elif record["event.action"] == "decide":
            self.decided[ghost] = record["eghostbuster.verdict"]
            cookie = int(record["eghostbuster.socket.cookie"], 16)
            self.classes[cookie] = record["eghostbuster.exit.class"], ghost
        elif record["event.action"] == "destroy":
            assert self.decided.get(ghost) == "destroy", f"without a decision: {record}"
            self.results[ghost] = record["eghostbuster.result"]

    def result_of(self, cookie):
        exit_class, ghost = self.classes[cookie]
        return exit_class, self.results[ghost]


@pytest.fixture(autouse=True)
def network():
    machine.own_network()


@pytest.fixture
def bystanders(network, stage):
    living = [sockets.connect(stage.actor(), sockets.Listener()) for _ in range(8)]
    yield living
    for connection in living:
        connection.exchange()


@pytest.fixture
def flooded(prepared, bystanders, stage, cgroup, capsys):
    """Runs a flood, and dies all the while. Returns what came of it."""
    victim = Victim(stage, cgroup(Cgroup.unit, "egb-victim.service"))

    def run(seconds, death, groups):
        prepared.configure(RULES, f"mode = enforce\nrecord_budget = {BUDGET}/min")
        prepared.run()
        began = time.monotonic()
        with Flood(seconds, death, groups) as flood:
            while not flood.is_over():
                victim.live_and_die()
                machine.wait_readable([flood.process.stdout.fileno()], 1.0)
            made, took = flood.made(), time.monotonic() - began
            if death == "kill" and not LONG:
                eventually(lambda: not flooders_ghosts(), "the flooder's are released, too", 60)
            memory = {role: int(status_of(pid)["VmHWM"].split()[0]) // 1024
                      for role, pid in prepared.roles().items()}
            assert prepared.stop() == 0
            took = time.monotonic() - began
        return judge(prepared, victim, made, took, memory, capsys)
    return run


def flooders_ghosts():
    return [row for row in sockets.orphans() if row.dport == 9]


def judge(service, victim, made, took, memory, capsys):
    reader = Reader(service.log_path)
    size = service.log_path.stat().st_size
    stop = {key.removeprefix("eghostbuster."): value for key, value in reader.stop.items()}
    found = [reader.result_of(cookie) for cookie in victim.cookies]
    with capsys.disabled():
        print(f"\n{took:.0f} s, {made} ghosts made ({made / took:.0f}/s), {stop['count.destroyed']} "
              f"destroyed, {stop['count.reported']} reported, {stop['count.batched']} in batches, "
              f"{stop['count.held_back']} held back, {stop['lost.orphans']} events lost, "
              f"{stop['count.adopted']} found, {stop['count.evicted']} evicted\n"
              f"log: {reader.records} records, {size} bytes, {size * 60 / took / 1e6:.2f} MB/min "
              f"(bound {bound_for(took, made) * 60 / took / 1e6:.2f} for so many, "
              f"{bound(took) * 60 / took / 1e6:.2f} for any number)\n"
              f"others' ghosts: {len(victim.released)} released, p50 "
              f"{statistics.median(victim.released) * 1000:.1f} ms, max "
              f"{max(victim.released) * 1000:.1f} ms; VmHWM MiB {memory}")
    assert stop["count.unanswered"] == stop["count.unsent"] == 0
    assert size < min(bound(took), bound_for(took, made + stop["count.adopted"]))
    assert {result for _, result in found} == {"destroyed"}
    assert max(victim.released) < RELEASE_MAX_S
    assert len(victim.released) == len(victim.cookies)
    assert SANITIZED or max(memory.values()) < MEMORY_MAX_MIB
    assert stop["count.batched"] == reader.batched > made // 4
    assert made > 100
    return reader


@pytest.mark.once
def test_flood_of_the_killed(flooded, cgroup):
    reader = flooded(SECONDS, "kill", [cgroup(Cgroup.unit, "egb-flood.service")])
    assert set(reader.results.values()) <= {"destroyed", "gone", "failed", "refused-live"}


@pytest.mark.once
def test_flood_of_the_finished(flooded, cgroup):
    """They are left alone, and are as many."""
    reader = flooded(max(3, SECONDS // 3), "exit", [cgroup(Cgroup.unit, "egb-flood.service")])
    assert reader.left > 0


@pytest.mark.once
def test_flood_of_units(flooded, cgroup):
    """As many units as one likes are still one uid's."""
    groups = [cgroup(Cgroup.unit, f"egb-flood-{number}.service") for number in range(200)]
    flooded(max(3, SECONDS // 3), "kill", groups)
