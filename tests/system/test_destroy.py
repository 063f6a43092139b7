# SPDX-License-Identifier: Apache-2.0
"""A process is killed; its ghosts are destroyed, and the records say all of it."""

import errno
import ipaddress
import os
import select
import signal
import socket

import pytest

import machine
import sockets
from machine import Cgroup

# How the victim's socket reaches its peer.
WAYS = {
    "ipv4": {},
    "ipv6": {"listen": "::1"},
    "v4-mapped": {"address": "::ffff:127.0.0.1"},
    "ipv4-device": {"device": "lo"},
    "ipv6-device": {"listen": "::1", "device": "lo"},
}
FAR_WAYS = {
    "ipv4": {"listen": "10.99.0.2"},
    "ipv6": {"listen": "fd99::2"},
    "v4-mapped": {"listen": "10.99.0.2", "address": "::ffff:10.99.0.2"},
    "ipv4-device": {"listen": "10.99.0.2", "device": "egb0"},
}

# In this order; other members may stand between them.
DECIDE_MEMBERS = """@timestamp event.sequence event.action event.reason rule.name
    eghostbuster.verdict eghostbuster.ghost process.pid process.entity_id process.name user.id
    eghostbuster.unit
    eghostbuster.exit.class eghostbuster.exit.signal network.transport network.type source.ip
    source.port destination.ip destination.port eghostbuster.socket.cookie eghostbuster.socket.state
    eghostbuster.socket.netns eghostbuster.socket.send_queue eghostbuster.proof""".split()
DESTROY_MEMBERS = """@timestamp event.sequence event.action event.outcome eghostbuster.ghost
    eghostbuster.result eghostbuster.peer_notice eghostbuster.latency_ns""".split()


@pytest.fixture(autouse=True)
def bystanders(stage):
    """Living connections of both families; they exchange data after every test of this file."""
    living = [sockets.connect(stage.actor(), sockets.Listener(address))
              for address in ("127.0.0.1", "::1")]
    yield living
    for connection in living:
        connection.exchange()


def connect(victim, way, netns_of="self"):
    listener = sockets.Listener(way.get("listen", "127.0.0.1"), netns_of=netns_of)
    return sockets.connect(victim, listener, way.get("address"), way.get("device"))


def assert_tuple(record, connection):
    """The record names the victim's end first. A v4-mapped address may be written either way."""
    assert plain(record["source.ip"]) == plain(connection.local)
    assert plain(record["destination.ip"]) == plain(connection.remote)
    assert (record["source.port"], record["destination.port"]) == \
        (connection.lport, connection.rport)


def plain(text):
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_peer_that_stopped_reading(service, victim, way):
    connection = connect(victim, way)
    connection.fill()
    victim.kill()
    decision, result = service.destroyed(connection)
    assert decision["eghostbuster.socket.state"] == "fin-wait-1"
    assert_tuple(decision, connection)
    assert result["eghostbuster.peer_notice"] == "rst"
    data, error = sockets.drain(connection.peer)
    assert error.errno == errno.ECONNRESET and len(data) < connection.sent


@pytest.mark.parametrize("way", FAR_WAYS.values(), ids=FAR_WAYS)
def test_peer_that_vanished(service, victim, far, way):
    connection = connect(victim, way, far.pid)
    connection.exchange()
    machine.in_netns(far.pid, lambda: machine.run("ip link set egb1 down"))
    connection.write(1000)
    victim.kill()
    decision, result = service.destroyed(connection)
    assert decision["eghostbuster.socket.state"] == "fin-wait-1"
    assert_tuple(decision, connection)
    assert decision["eghostbuster.socket.send_queue"] in (1000, 1001)
    assert result["eghostbuster.peer_notice"] == "rst"


@pytest.mark.parametrize("listen", ["127.0.0.1", "::1"])
def test_last_ack_gets_no_reset(service, victim, listen):
    connection = sockets.connect(victim, sockets.Listener(listen))
    connection.fill()
    connection.peer.shutdown(socket.SHUT_WR)
    machine.eventually(lambda: connection.row().state == "close-wait", "CLOSE-WAIT")
    victim.kill()
    decision, result = service.destroyed(connection)
    assert decision["eghostbuster.socket.state"] == "last-ack"
    assert result["eghostbuster.peer_notice"] == "none"
    service.fence()
    poller = select.poll()
    poller.register(connection.peer, 0)
    assert poller.poll(0) == [], "neither an error nor a hang-up has come from the other end"


@pytest.mark.once
def test_kernel_memory_returns(service, victim):
    before = machine.sockstat()
    connections = [sockets.connect(victim, sockets.Listener(), sndbuf=4 << 20) for _ in range(8)]
    for connection in connections:
        connection.fill()
    rise = machine.sockstat()["mem"] - before["mem"]
    assert rise * os.sysconf("SC_PAGESIZE") > 8 << 20
    victim.kill()
    for connection in connections:
        service.destroyed(connection)
    machine.eventually(lambda: machine.sockstat()["orphan"] <= before["orphan"], "no new orphan")
    # Every CPU keeps up to a megabyte of pages back; a quarter of the rise is far above that.
    machine.eventually(lambda: machine.sockstat()["mem"] < before["mem"] + rise / 4, "memory back")


def test_records_say_all(service, victim, cgroup):
    cgroup(Cgroup.unit, "egb-victim.service").add(victim.pid)
    victim.comm(b"egb victim")
    victim.uid(4242)
    connection = sockets.connect(victim, sockets.Listener())
    send_queue = connection.fill().send_queue
    victim.kill()
    decision, result = service.destroyed(connection)
    exit_ = service.wait(event__action="exit", process__pid=victim.pid)
    assert exit_["event.sequence"] < decision["event.sequence"] < result["event.sequence"]
    for record in (exit_, decision):
        assert record["process.name"] == "egb victim"
        assert record["process.pid"] == victim.pid
        assert record["user.id"] == "4242"
        assert record["eghostbuster.unit"] == "egb-victim.service"
        assert record["eghostbuster.exit.class"] == "kill"
        assert record["eghostbuster.exit.signal"] == signal.SIGKILL
        assert len(bytes.fromhex(record["process.entity_id"])) == 8
    assert exit_["process.entity_id"] == decision["process.entity_id"]
    assert decision["event.reason"] == "owner-killed" and decision["rule.name"] == "killed"
    assert_tuple(decision, connection)
    assert (decision["network.transport"], decision["network.type"]) == ("tcp", "ipv4")
    assert decision["eghostbuster.socket.netns"] == os.stat("/proc/self/ns/net").st_ino
    # The FIN takes one number of the sequence, too.
    assert decision["eghostbuster.socket.send_queue"] in (send_queue, send_queue + 1)
    assert set(decision["eghostbuster.proof"]) == {"inode", "age_ms", "stuck"}
    assert result["event.outcome"] == "success"
    assert 0 < result["eghostbuster.latency_ns"] < machine.TIMEOUT * 10**9
    assert [member for member in decision if member in DECIDE_MEMBERS] == DECIDE_MEMBERS
    assert [member for member in result if member in DESTROY_MEMBERS] == DESTROY_MEMBERS


def test_every_ghost_of_a_process_under_one_exit(service, victim):
    listener = sockets.Listener()
    connections = [sockets.connect(victim, listener) for _ in range(20)]
    for connection in connections:
        connection.fill()
    victim.kill()
    ghosts = {service.destroyed(connection)[0]["eghostbuster.ghost"] for connection in connections}
    assert len(ghosts) == 20
    assert len(service.audit.all(event__action="exit", process__pid=victim.pid)) == 1


def test_a_hostile_name_stays_in_its_member(service, victim):
    name = b'"}\\\n\x1b[2J\xff\xc3'
    victim.comm(name)
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    decision, _ = service.destroyed(connection)  # every line has parsed as one record
    assert decision["process.name"].startswith('"}\\')
    raw = service.log_path.read_bytes() + service.stderr_path.read_bytes()
    assert not set(raw) & (set(range(32)) - {ord("\n")})
    assert raw.isascii()
