# SPDX-License-Identifier: Apache-2.0
"""Ghosts that were made while nobody watched are found and released like any other, and nothing else
is: not the living, not the listener, not who waits in its queue."""

import os
import signal
import socket

import pytest

import machine
import sockets
from machine import TIMEOUT, eventually, wait_readable

MANY = 500
LIVING = 200
BYTES = 20000  # more than a peer that does not read takes
BACKLOG = 8
RULES = """
[rule killed]
exit = crash kill oom
action = destroy

[rule finished]
exit = clean
action = destroy
grace = 1h

[rule adopted]
exit = unknown
action = destroy
grace = 300ms
"""


@pytest.fixture(autouse=True)
def network():
    machine.own_network()


@pytest.fixture(autouse=True)
def living(network, stage):
    """Connections of the living, some with data that nobody reads; they exchange data after the test."""
    idle = sockets.crowd(stage.actor(), LIVING)
    full = sockets.crowd(stage.actor(), 10, BYTES)
    yield idle + full
    for connection in idle:
        connection.exchange()
    for connection in full:
        assert sockets.receive(connection.peer, BYTES) == sockets.pattern(BYTES)
        connection.exchange()


class Queue:
    """A listener that has never accepted, and its clients: more than its queue holds."""

    def __init__(self, host):
        self.host, self.fd = host, host.socket(4)
        host.bind(self.fd, "127.0.0.1", 0)
        host.listen(self.fd, BACKLOG)
        self.port = host.name(self.fd)[1]
        self.clients = [self._client() for _ in range(BACKLOG + 1)]
        self.clients[0].sendall(b"last words")
        self.clients[0].shutdown(socket.SHUT_WR)
        eventually(lambda: self.states() == {"established": BACKLOG, "close-wait": 1}, "a full queue")

    def _client(self):
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT)

    def states(self):
        """How many wait in it, by state."""
        rows = [row.state for row in sockets.table()
                if row.sport == self.port and row.inode == 0 and row.state != "listen"]
        return {state: rows.count(state) for state in rows}

    def assert_intact(self):
        assert self.states() == {"established": BACKLOG, "close-wait": 1}
        first = self.host.accept(self.fd)
        assert self.host.read(first, 10) == "last words"
        self.host.send(first, "heard")
        assert sockets.receive(self.clients[0], 5) == b"heard"
        for client in self.clients[1:]:
            sockets.exchange(self.host, self.host.accept(self.fd), client)
        newcomer = self._client()
        sockets.exchange(self.host, self.host.accept(self.fd), newcomer)


@pytest.fixture(autouse=True)
def queue(network, stage):
    queue = Queue(stage.actor())
    yield queue
    queue.assert_intact()


def haunt(actor, count):
    """Ghosts, one and all stuck, of a process that has been killed."""
    victim = actor()
    connections = sockets.crowd(victim, count, BYTES)
    victim.kill()
    return connections


def left(connections):
    """How many of them the kernel still has."""
    cookies = {row.cookie for row in sockets.table()}
    return sum(connection.cookie in cookies for connection in connections)


def released(service, connections):
    """Waits until all are destroyed; returns their decisions."""
    eventually(lambda: left(connections) == 0, "all ghosts are gone")
    cookies = {hex(connection.cookie) for connection in connections}

    def decisions():
        found = {r["eghostbuster.socket.cookie"]: r for r in service.audit.all(event__action="decide")}
        return cookies <= set(found) and [found[cookie] for cookie in cookies]
    decided = eventually(decisions, "a decision for each")
    results = eventually(lambda: results_of(service, decided), "a result for each")
    assert all(result["eghostbuster.result"] == "destroyed" for result in results)
    return decided


def results_of(service, decided):
    """The result behind each decision, None when one is missing. Numbers begin anew at each start."""
    found = {}
    last = {}
    for record in service.audit.all():
        if record["event.action"] == "decide":
            last[record["eghostbuster.ghost"]] = record["event.sequence"]
        elif record["event.action"] == "destroy":
            found[last[record["eghostbuster.ghost"]]] = record
    results = [found.get(decision["event.sequence"]) for decision in decided]
    return None if None in results else results


def assert_adopted(decision):
    assert decision["eghostbuster.exit.class"] == "unknown"
    assert decision["event.reason"] == "owner-unknown"
    assert decision["rule.name"] == "adopted"
    assert not [name for name in decision if name.startswith(("process.", "user."))]
    proof = decision["eghostbuster.proof"]
    assert proof["stuck"] is True and proof["interval_ms"] >= 300 and len(proof["samples"]) == 2


def test_made_before_the_start(prepared, actor):
    ghosts = haunt(actor, MANY)
    prepared.configure(RULES)
    service = prepared.run()
    decided = released(service, ghosts)
    assert len(decided) == MANY
    for decision in decided:
        assert_adopted(decision)
    rounds = service.audit.all(event__action="reconcile")
    assert (rounds[0]["event.reason"], rounds[0]["event.outcome"]) == ("start", "success")
    assert sum(record["eghostbuster.reconcile.adopted"] for record in rounds) == MANY
    assert rounds[0]["eghostbuster.reconcile.found"] == MANY
    assert service.stop() == 0
    assert service.audit.all(event__action="stop")[0]["eghostbuster.count.adopted"] == MANY


def test_still_read_when_adopted(prepared, actor):
    """Nobody knows how their owner died: so they are the peer's as long as it reads."""
    victim = actor()
    connections = [sockets.connect(victim, sockets.Listener(), sndbuf=1 << 20) for _ in range(3)]
    for connection in connections:
        connection.write(200000)
    stuck = haunt(actor, 3)
    victim.kill()
    readers = [sockets.SlowReader(connection, pause=0.05) for connection in connections]
    prepared.configure(RULES)
    service = prepared.run()
    for decision in released(service, stuck):
        assert_adopted(decision)
    for connection, reader in zip(connections, readers):
        connection.assert_delivered(reader.stop())
        assert not [r for r in service.mentions(connection) if r["eghostbuster.verdict"] == "destroy"]


def kill_role(service, role):
    """SIGKILL; returns when all roles are dead."""
    pidfds = {name: os.pidfd_open(pid) for name, pid in service.roles().items()}
    try:
        signal.pidfd_send_signal(pidfds[role], signal.SIGKILL)
        for name, pidfd in pidfds.items():
            assert wait_readable([pidfd]), f"{name} lives on"
    finally:
        for pidfd in pidfds.values():
            os.close(pidfd)
    service.process.wait(TIMEOUT)


@pytest.mark.parametrize("role", ["tracker", "broker", "reaper"])
def test_kill_of_a_role(prepared, actor, role):
    """Some ghosts wait for their proof when the role is killed, others are made before the restart. The
    new service has seen none of the deaths."""
    prepared.configure(RULES)
    service = prepared.run()
    watched = actor()
    ghosts = sockets.crowd(watched, MANY // 2, BYTES)
    watched.die("exit", 0)
    service.fence()
    assert left(ghosts) == MANY // 2
    kill_role(service, role)
    ghosts += haunt(actor, MANY // 2)
    service.run()
    for decision in released(service, ghosts):
        assert_adopted(decision)
    assert len(service.audit.all(event__action="start")) == 2
