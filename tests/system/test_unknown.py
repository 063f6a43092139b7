# SPDX-License-Identifier: Apache-2.0
"""Ghosts whose end nobody saw, or that the dead had closed itself; and what only looks like one."""

import pathlib
import signal
import socket
import subprocess

import pytest

import machine
import sockets

PROVED_CLASSES = "closed error clean term unknown"
RULES = f"""
[rule killed]
exit = crash kill oom
action = destroy

[rule proved]
exit = {PROVED_CLASSES}
action = destroy
grace = 300ms
"""
OWNER_MEMBERS = {"process.pid", "process.entity_id", "process.name", "user.id", "eghostbuster.unit",
                 "eghostbuster.exit.signal", "process.exit_code"}


@pytest.fixture
def proving(prepared):
    """A service that releases every ghost, those of orderly ends after proof."""
    prepared.configure(RULES)
    return prepared.run()


@pytest.fixture(autouse=True)
def bystanders(stage):
    living = [sockets.connect(stage.actor(), sockets.Listener()) for _ in range(4)]
    for connection in living[2:]:
        connection.fill()
    yield living
    for connection in living[:2]:
        connection.exchange()
    for connection in living[2:]:
        assert connection.row().inode != 0
        received = sockets.receive(connection.peer, connection.sent)
        assert received == sockets.pattern(connection.sent)


def assert_proof(decision):
    """Two looks, at least the grace apart, between which the peer took and allowed nothing."""
    proof = decision["eghostbuster.proof"]
    first, second = proof["samples"]
    assert proof["inode"] == 0 and proof["stuck"] is True
    assert proof["interval_ms"] >= 300
    assert first["bytes_acked"] == second["bytes_acked"]
    assert second["window_end"] <= first["window_end"]
    assert second["send_queue"] > 0
    assert decision["event.reason"] != "unproved"


def assert_released(service, connection, name):
    decision, result = service.destroyed(connection)
    assert decision["eghostbuster.exit.class"] == name
    assert decision["rule.name"] == "proved"
    assert_proof(decision)
    assert decision["event.sequence"] < result["event.sequence"]
    return decision


def assert_unknown(service, connection):
    decision = assert_released(service, connection, "unknown")
    assert decision["event.reason"] == "owner-unknown"
    assert not OWNER_MEMBERS & set(decision), "nobody is named where nobody is known"


def orphaned(connection):
    row = connection.row()
    return row is not None and row.inode == 0 and row.state in sockets.ORPHAN_STATES


def start_anew(service):
    """At its start the service looks for what is there already."""
    assert service.stop() == 0
    return service.run()


# ---- shut down by its owner ----

@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR], ids=["WR", "RDWR"])
def test_shut_down_before_the_kill(proving, victim, how):
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.shutdown(connection.fd, how)
    victim.kill()
    decision = assert_released(proving, connection, "closed")
    assert decision["process.pid"] == victim.pid
    assert decision["eghostbuster.exit.signal"] == signal.SIGKILL
    exit_ = proving.wait(event__action="exit", process__pid=victim.pid)
    assert exit_["process.entity_id"] == decision["process.entity_id"]
    assert exit_["eghostbuster.exit.class"] == "kill"


def test_shut_down_and_read_on(proving, victim):
    """The same, with a peer that takes its time but never stops: it gets every byte."""
    connection = sockets.connect(victim, sockets.Listener(), sndbuf=1 << 20)
    connection.write(200000)
    victim.shutdown(connection.fd, socket.SHUT_WR)
    victim.kill()
    received = b""
    while len(received) < 80000:  # for about three times the grace
        piece = sockets.receive(connection.peer, 4000)
        assert piece, f"the end of the stream after {len(received)} bytes"
        received += piece
        machine.wait_readable([], 0.05)
    assert not proving.audit.all(event__action="destroy")
    connection.assert_delivered(received)


def test_shut_down_and_killed_unwatched(prepared, victim):
    """No service saw the shutdown, nor the death."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.shutdown(connection.fd, socket.SHUT_WR)
    victim.kill()
    prepared.configure(RULES)
    assert_unknown(prepared.run(), connection)


# ---- closed by a kernel thread ----

def ring_or_skip(victim, connection):
    disabled = pathlib.Path("/proc/sys/kernel/io_uring_disabled")
    if disabled.exists() and disabled.read_text().strip() == "2":
        pytest.skip("io_uring is switched off")
    victim.ring(connection.fd)


# How the victim holds its socket without a descriptor.
HOLDS = {
    "io_uring": ring_or_skip,
    "unix-socket-cycle": lambda victim, connection: victim.bury(connection.fd),
}


@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
def test_closed_by_a_kernel_thread(proving, victim, hold):
    """No event names an owner; a look at all sockets finds it."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    hold(victim, connection)
    assert connection.row().inode != 0
    victim.kill()
    machine.eventually(lambda: orphaned(connection), "the kernel has closed it")
    proving.fence()
    for record in proving.mentions(connection):
        assert record["eghostbuster.exit.class"] == "unknown", "blamed on somebody"
    assert_unknown(start_anew(proving), connection)


@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
def test_held_by_a_living_process(proving, victim, hold):
    """Without a descriptor, and alive all the same."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    hold(victim, connection)
    start_anew(proving).fence()
    assert proving.mentions(connection) == []
    assert connection.row().inode != 0
    received = sockets.receive(connection.peer, connection.sent)
    assert received == sockets.pattern(connection.sent)


def test_in_flight_when_both_ends_die(proving, victim):
    """A plain queue dies with the process that holds both ends: its death is the socket's, too."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.post(connection.fd)
    victim.kill()
    machine.eventually(lambda: connection.row() is None or orphaned(connection), "it is closed")
    decision, _ = proving.destroyed(connection)
    assert decision["eghostbuster.exit.class"] == "kill"
    assert decision["process.pid"] == victim.pid


def test_unknown_is_left_alone_by_its_rule(prepared, victim):
    prepared.configure("[rule other]\nexit = kill\naction = destroy\n"
                       "[rule unseen]\nexit = unknown\naction = report\n")
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.bury(connection.fd)
    victim.kill()
    machine.eventually(lambda: orphaned(connection), "the kernel has closed it")
    service = prepared.run()
    decision = service.reported(connection)
    assert decision["rule.name"] == "unseen"
    assert decision["eghostbuster.exit.class"] == "unknown"
    service.fence()
    connection.assert_delivered()


# ---- MPTCP ----

IPPROTO_MPTCP = 262


class MptcpListener(sockets.Listener):
    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(machine.TIMEOUT)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(4)
        self.address, self.port = self.socket.getsockname()


def subflows(port):
    return [row for row in sockets.table() if row.dport == port]


@pytest.fixture
def mptcp(victim):
    """An MPTCP connection of the victim's: (its descriptor, its peer, the peer's port)."""
    switch = pathlib.Path("/proc/sys/net/mptcp/enabled")
    if not switch.exists() or switch.read_text().strip() != "1":
        pytest.skip("no MPTCP here")
    listener = MptcpListener()
    fd = victim.mptcp(4)
    victim.sndbuf(fd, 4 << 20)
    victim.connect(fd, listener.address, listener.port)
    yield fd, listener.accept(), listener.port
    listener.socket.close()  # until then: a second subflow knocks there, too


@pytest.mark.parametrize("death, length", [("exit", 4000), ("kill", 8000)],
                         ids=["exit-idle", "kill-peer-stopped"])
def test_mptcp_is_never_touched(proving, victim, mptcp, death, length):
    """Neither by the event nor by a look at all sockets; when another ghost that this look found is
    gone, the subflow's grace would be over, too."""
    fd, peer, port = mptcp
    assert victim.write(fd, length, 0) == length
    victim.die("exit", 0) if death == "exit" else victim.kill()
    proving.fence()
    ghost = buried(proving)
    assert_unknown(start_anew(proving), ghost)
    assert subflows(port)
    assert proving.audit.all(destination__port=port) == []
    assert proving.audit.all(source__port=port) == []
    data, error = sockets.drain(peer)
    assert error is None and data == sockets.pattern(length)


def buried(service):
    """A ghost of nobody's."""
    victim = service.stage.actor()
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.bury(connection.fd)
    victim.kill()
    machine.eventually(lambda: orphaned(connection), "the kernel has closed it")
    return connection


SECOND_PATH = "127.0.0.9 dev lo id 9 subflow"


@pytest.fixture
def paths():
    """Adds (True) and takes away (False) an address for second subflows of MPTCP connections."""
    def change(add):
        machine.run("ip mptcp endpoint " + (f"add {SECOND_PATH}" if add else "delete id 9"))
    try:
        machine.run("ip mptcp limits set subflow 2")
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("ip mptcp does not work here")
    yield change
    machine.run("ip mptcp endpoint flush")


def test_mptcp_subflow_taken_away(proving, paths, victim, mptcp):
    """An address is taken from a living connection. What becomes of its subflow looks like a ghost:
    it has no inode, its FIN is outstanding, and nothing moves while the peer reads nothing."""
    fd, peer, port = mptcp
    sockets.exchange(victim, fd, peer)
    paths(True)
    machine.eventually(lambda: len(subflows(port)) == 2, "a second subflow")
    sent = victim.fill(fd, 0)
    machine.eventually(lambda: {row.timer for row in subflows(port)} == {sockets.TIMER_ZERO_WINDOW},
                       "the peer's window is zero")
    paths(False)
    machine.eventually(lambda: [row for row in subflows(port) if row.inode == 0], "it is closed")
    looks_like_a_ghost = [row for row in subflows(port) if row.inode == 0]
    ghost = buried(proving)
    assert_unknown(start_anew(proving), ghost)
    assert proving.audit.all(destination__port=port) == []
    assert {row.cookie for row in looks_like_a_ghost} <= {row.cookie for row in subflows(port)}
    assert sockets.receive(peer, 8000) == sockets.pattern(sent)[:8000]
    peer.sendall(b"alive")
    assert victim.read(fd, 5) == "alive"
