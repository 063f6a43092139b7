# SPDX-License-Identifier: Apache-2.0
"""The tests' own instruments, without the service: an assertion that cannot fail shows nothing."""

import errno
import os
import signal
import subprocess

import pytest

import sockets
from actors import Refused


def ss_kill(connection):
    subprocess.run(["ss", "-KtnH", "sport", "=", str(connection.lport)], check=True,
                   stdout=subprocess.DEVNULL)


def test_exchange_notices_a_destroyed_bystander(victim):
    connection = sockets.connect(victim, sockets.Listener())
    connection.exchange()
    ss_kill(connection)
    with pytest.raises((Refused, ConnectionError, AssertionError)):
        connection.exchange()


def test_a_destroyed_orphan_cuts_the_stream(victim):
    connection = sockets.connect(victim, sockets.Listener(), sndbuf=4 << 20)
    connection.write(1000000)
    victim.die("exit", 0)
    assert connection.row().state == "fin-wait-1" and connection.row().inode == 0
    ss_kill(connection)
    data, error = sockets.drain(connection.peer)
    assert len(data) < 1000000 and error.errno == errno.ECONNRESET


def test_an_orphan_left_alone_delivers_every_byte(victim):
    connection = sockets.connect(victim, sockets.Listener(), sndbuf=4 << 20)
    connection.write(1000000)
    victim.die("exit", 0)
    connection.assert_delivered()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_fill_ends_at_a_zero_window(victim, address):
    connection = sockets.connect(victim, sockets.Listener(address))
    row = connection.fill()
    assert row.timer == sockets.TIMER_ZERO_WINDOW and row.send_queue > 0
    victim.kill()
    assert connection.cookie in [orphan.cookie for orphan in sockets.orphans()]


@pytest.mark.parametrize("death, code, status", [
    (("exit", 3), os.CLD_EXITED, 3),
    (("segv",), os.CLD_KILLED, signal.SIGSEGV),
    (("sigpipe",), os.CLD_KILLED, signal.SIGPIPE),
])
def test_actors_die_as_ordered(victim, death, code, status):
    end = victim.die(*death)
    assert (end.si_code, end.si_status) == (code, status)


def test_the_same_pid_can_be_had_again(actor):
    first, parent = actor(), actor()
    first.kill()
    assert parent.spawn(first.pid).pid == first.pid


def test_exec_by_a_thread_keeps_sockets(victim):
    connection = sockets.connect(victim, sockets.Listener())
    thread = victim.thread()
    thread.exec()
    connection.exchange(thread)
    assert thread.pid == thread.tid == victim.pid
