# SPDX-License-Identifier: Apache-2.0
"""A unit whose ghosts come faster than unit_limit is left alone for a while; nobody else is."""

import pytest

import machine
import sockets
from machine import Cgroup

LIMIT, EACH = 50, 16
DAEMON = f"mode = enforce\nunit_limit = {LIMIT}/min\nbreaker_hold = 2s"
RULES = "[rule killed]\nexit = kill\naction = destroy\n[rule rest]\naction = report\n"


@pytest.fixture
def service(prepared):
    prepared.configure(RULES, DAEMON)
    return prepared.run()


@pytest.fixture(autouse=True)
def bystander(stage):
    connection = sockets.connect(stage.actor(), sockets.Listener())
    yield connection
    connection.exchange()


class Unit:
    """A unit that can be started again and again."""

    def __init__(self, stage, group):
        self.stage, self.group = stage, group
        self.listener = sockets.Listener()

    @property
    def name(self):
        return self.group.path.name

    def live_and_die(self, count):
        """Starts it, and kills it; returns the connections it leaves behind."""
        actor = self.stage.actor()
        self.group.add(actor.pid)
        connections = [sockets.connect(actor, self.listener) for _ in range(count)]
        actor.kill()
        return connections


@pytest.fixture
def unit(stage, cgroup):
    return lambda name: Unit(stage, cgroup(Cgroup.unit, name))


def breaker(service, what, unit):
    return service.audit.all(event__action="breaker", eghostbuster__breaker=what,
                             eghostbuster__unit=unit.name)


def decided(service, connections):
    """Those that a `decide` record names."""
    named = {record["eghostbuster.socket.cookie"] for record in service.audit.all(
        event__action="decide")}
    return [c for c in connections if hex(c.cookie) in named]


def wait_for_breaker(service, what, unit):
    return service.wait(event__action="breaker", eghostbuster__breaker=what,
                        eghostbuster__unit=unit.name)


def test_restart_loop(service, unit):
    looping, calm = unit("egb-looping.service"), unit("egb-calm.service")
    ghosts = []
    while len(ghosts) <= LIMIT:  # within the limit, until the last start
        ghosts += looping.live_and_die(EACH)
    opened = wait_for_breaker(service, "open", looping)
    assert opened["event.reason"] == "over-limit"
    assert opened["eghostbuster.breaker.hold_ms"] == 2000

    late = looping.live_and_die(EACH)
    for connection in calm.live_and_die(EACH):
        service.destroyed(connection)
    assert not breaker(service, "closed", looping), "the machine is too slow for this test"
    assert decided(service, late) == []
    before = decided(service, ghosts)
    assert LIMIT <= len(before) <= LIMIT + 1  # what a slow machine's bucket regains
    for connection in late:
        assert connection.row() is not None

    closed = wait_for_breaker(service, "closed", looping)
    assert closed["event.reason"] == "hold-over"
    assert closed["eghostbuster.breaker.held_back"] == len(ghosts + late) - len(before)
    for connection in ghosts + late:
        service.destroyed(connection)
    service.fence()
    assert len(breaker(service, "open", looping)) == len(breaker(service, "closed", looping)) == 1
    assert not breaker(service, "open", calm)
    assert len(decided(service, ghosts + late)) == len(ghosts + late)


def test_no_record_each_while_it_is_open(service, unit):
    """Four times the limit at once: the log says it in two lines, and goes on after the hold."""
    looping = unit("egb-burst.service")
    ghosts = looping.live_and_die(4 * LIMIT)
    opened = wait_for_breaker(service, "open", looping)
    closed = wait_for_breaker(service, "closed", looping)
    between = [record for record in service.audit.all(event__action="decide")
               if opened["event.sequence"] < record["event.sequence"] < closed["event.sequence"]]
    assert not [r for r in between if r.get("eghostbuster.unit") == looping.name]
    assert closed["eghostbuster.breaker.held_back"] >= 3 * LIMIT - 1
    machine.eventually(lambda: len(decided(service, ghosts)) > LIMIT + 1, "it goes on")


def test_ghosts_gone_meanwhile(service, unit):
    """Their peers closed while the breaker was open: nothing is left to do, and nothing is said."""
    looping = unit("egb-gone.service")
    ghosts = looping.live_and_die(LIMIT + EACH)
    wait_for_breaker(service, "open", looping)
    held = [ghost for ghost in ghosts if ghost not in decided(service, ghosts)]
    for ghost in held:
        ghost.peer.close()
    wait_for_breaker(service, "closed", looping)
    service.fence()
    for ghost in held:
        for record in service.mentions(ghost):
            assert service.result(record)["eghostbuster.result"] == "gone"


def test_reports_are_no_releases(service, unit):
    """The limit is one of releases: a rule that only reports never trips it."""
    looping = unit("egb-report.service")
    actor = looping.stage.actor()
    looping.group.add(actor.pid)
    connections = [sockets.connect(actor, looping.listener) for _ in range(LIMIT + EACH)]
    actor.die("exit", 0)
    for connection in connections:
        service.reported(connection)
    assert not service.audit.all(event__action="breaker")
