# SPDX-License-Identifier: Apache-2.0
"""Data that a process handed over before it ended in good order arrives, to the last byte."""

import signal
import socket

import pytest

import sockets

MEGABYTE = 1000000


@pytest.fixture
def slow(victim):
    """A connection with a megabyte on its way, whose reader takes its time."""
    connection = sockets.connect(victim, sockets.Listener(), sndbuf=4 << 20)
    connection.write(MEGABYTE)
    return connection


def assert_every_byte_arrives(service, connection):
    start = sockets.receive(connection.peer, 4096)
    service.fence()
    connection.assert_delivered(start)


def test_exit_0(service, victim, slow):
    victim.die("exit", 0)
    assert service.reported(slow)["rule.name"] == "finished"
    assert_every_byte_arrives(service, slow)


def test_exit_3(service, victim, slow):
    """Gone within the grace of its rule, it needs no record."""
    victim.die("exit", 3)
    assert_every_byte_arrives(service, slow)
    assert not service.mentions(slow)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop(service, victim, slow, number):
    victim.kill(number)
    assert_every_byte_arrives(service, slow)
    assert not service.mentions(slow)


def test_closed_before_the_kill(service, victim, slow):
    victim.close(slow.fd)
    victim.kill()
    assert_every_byte_arrives(service, slow)
    assert_not_blamed_on_the_kill(service, slow)


def assert_not_blamed_on_the_kill(service, connection):
    """The living process closed it, and nobody has seen it die with it."""
    for record in service.mentions(connection):
        assert record["eghostbuster.exit.class"] == "closed"
        assert record["eghostbuster.verdict"] != "destroy"


def assert_closed(service, connection, owner):
    """The living process ordered the FIN, the death only closed the socket: class `closed`, owner named."""
    decision = service.reported(connection)
    assert decision["eghostbuster.exit.class"] == "closed"
    assert decision["eghostbuster.exit.signal"] == signal.SIGKILL
    assert decision["event.reason"] == "owner-closed"
    assert decision["rule.name"] == "finished"
    assert decision["process.pid"] == owner.pid


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR], ids=["WR", "RDWR"])
def test_shut_down_before_the_kill(service, victim, slow, how):
    victim.shutdown(slow.fd, how)
    victim.kill()
    assert_closed(service, slow, victim)
    assert_every_byte_arrives(service, slow)


def test_shut_down_by_a_thread_before_the_kill(service, victim, slow):
    victim.thread().shutdown(slow.fd, socket.SHUT_WR)
    victim.kill()
    assert_closed(service, slow, victim)
    assert_every_byte_arrives(service, slow)
