# SPDX-License-Identifier: Apache-2.0
"""An event ring far too small for the storm: what is dropped is counted, and no ghost is lost by it."""

import collections
import os
import resource
import signal

import pytest

import audit
import machine
import sockets
from machine import eventually, status_of
from service import LIBEXEC

NOFILE = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
SERVERS = 4
MANY = min(20000, NOFILE - 100) // SERVERS * SERVERS  # an actor's other descriptors are few
BYTES_PER_GHOST = 1000  # of the log: 100 MB for 100,000
BYTES = 8000  # more than a peer with the smallest buffer takes
MEMORY_MAX_KB = 64 << 10
STORM_TIMEOUT = 3 * machine.TIMEOUT
RULES = """
[rule killed]
exit = crash kill oom
action = destroy

[rule adopted]
exit = unknown
action = destroy
grace = 300ms
"""


@pytest.fixture(autouse=True)
def network():
    machine.own_network()


@pytest.fixture
def living(network, stage):
    connections = sockets.crowd(stage.actor(), 200)
    yield connections
    for connection in connections:
        connection.exchange()


@pytest.fixture
def small_ring(prepared):
    prepared.configure(RULES)
    return prepared.run("--ring-bytes", "4096")


class Server:
    """An actor that accepts and never reads."""

    def __init__(self, actor):
        self.actor, self.fd = actor, actor.socket(4)
        actor.rcvbuf(self.fd, 1)  # the least there is
        actor.bind(self.fd, "127.0.0.1", 0)
        actor.listen(self.fd, 4096)
        self.port = actor.name(self.fd)[1]

    def crowd(self, client, count):
        """The client's connections to it. Both are at work at once: a queue does not hold them all."""
        accepting = self.actor.begin("accept-many", self.fd, count)
        client.crowd("127.0.0.1", self.port, count, BYTES)
        assert self.actor.end(accepting) == count


@pytest.fixture
def ports(stage, victim):
    """The victim has as many connections as a process can have; the ports they lead to."""
    servers = [Server(stage.actor()) for _ in range(SERVERS)]
    for server in servers:
        server.crowd(victim, MANY // SERVERS)
    return {server.port for server in servers}


def ghosts(ports):
    """The orphans that lead to these ports."""
    return {row.cookie for row in sockets.orphans() if row.dport in ports}


def outcomes(records):
    """cookie -> (class, result), of the last request."""
    decided, found = {}, {}
    for record in audit.unbatched(records):
        number = record.get("eghostbuster.ghost")
        if record["event.action"] == "decide":
            decided[number] = record
        elif record["event.action"] == "destroy":
            cookie = int(decided[number]["eghostbuster.socket.cookie"], 16)
            found[cookie] = decided[number]["eghostbuster.exit.class"], record["eghostbuster.result"]
    return found


def memory_kb(service):
    """The most that each role ever had in memory."""
    return {role: int(status_of(pid)["VmHWM"].split()[0]) for role, pid in service.roles().items()}


def sanitized():
    return b"__asan_init" in (LIBEXEC / "broker").read_bytes()


@pytest.mark.once
def test_storm_through_a_small_ring(small_ring, living, victim, ports, capsys):
    cookies = {row.cookie for row in sockets.table() if row.dport in ports}
    assert len(cookies) == MANY
    victim.kill()
    eventually(lambda: not ghosts(ports), "every ghost is gone", STORM_TIMEOUT)
    memory = memory_kb(small_ring)
    assert small_ring.stop() == 0
    found = outcomes(small_ring.audit.all())
    assert small_ring.log_path.stat().st_size <= BYTES_PER_GHOST * MANY
    classes = collections.Counter(found[cookie] for cookie in cookies)
    lost = small_ring.audit.all(event__action="lost")
    with capsys.disabled():
        print(f"\n{MANY} connections: {dict(classes)}, {lost[-1]['eghostbuster.lost.orphans']} events "
              f"lost, VmHWM {memory} kB")
    assert set(classes) == {("kill", "destroyed"), ("unknown", "destroyed")}
    # Each event has arrived or has been counted; those of other network namespaces are counted, too.
    assert lost[-1]["eghostbuster.lost.orphans"] >= classes["unknown", "destroyed"] > 0
    reconciled = small_ring.audit.all(event__action="reconcile", event__reason="lost")
    assert sum(r["eghostbuster.reconcile.adopted"] for r in reconciled) == \
        classes["unknown", "destroyed"]
    stop = small_ring.audit.all(event__action="stop")[0]
    assert stop["eghostbuster.count.destroyed"] == MANY
    assert stop["eghostbuster.lost.orphans"] == lost[-1]["eghostbuster.lost.orphans"]
    assert sanitized() or max(memory.values()) < MEMORY_MAX_KB


@pytest.mark.once
@pytest.mark.parametrize("whose", ["uid", "cgroup"])
def test_nobody_crowds_others_out_of_the_ring(prepared, living, stage, cgroup, whose):
    """While nothing is read, somebody leaves more than the ring holds. Whoever dies then, of another
    uid, or of the same and in another control group, is still heard of."""
    prepared.configure(RULES)
    service = prepared.run("--ring-bytes", "65536")
    flooder, victim = stage.actor(), stage.actor()
    for number, actor in enumerate((flooder, victim)):
        cgroup(machine.Cgroup.unit, f"egb-ring-{number}.service").add(actor.pid)
    flood = sockets.crowd(flooder, 400, BYTES)
    listener = sockets.Listener()
    few = [sockets.connect(victim, listener) for _ in range(5)]
    for connection in few:
        connection.fill()
    if whose == "uid":
        flooder.uid(machine.NOBODY)
    tracker = service.roles()["tracker"]
    os.kill(tracker, signal.SIGSTOP)
    flooder.kill()
    victim.kill()
    os.kill(tracker, signal.SIGCONT)
    for connection in few:
        decision, _ = service.destroyed(connection)
        assert decision["eghostbuster.exit.class"] == "kill"
    cookies = {connection.cookie for connection in flood}
    eventually(lambda: not cookies & {row.cookie for row in sockets.orphans()}, "all released")
    assert service.audit.all(event__action="lost")[-1]["eghostbuster.lost.orphans"] > 100
    assert service.stop() == 0
    found = outcomes(service.audit.all())
    kinds = collections.Counter(found[cookie] for cookie in cookies)
    assert 150 < kinds["kill", "destroyed"] < 292 - 5  # so many records fit
    assert sum(kinds.values()) == len(flood)
