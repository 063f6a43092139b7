# SPDX-License-Identifier: Apache-2.0
"""What a death is called, and what is no death at all."""

import os
import pathlib
import signal

import pytest

import machine
import sockets
from machine import Cgroup


def by_signal(number):
    return lambda victim: victim.kill(number)


def by_order(*order):
    return lambda victim: victim.die(*order)


DEATHS = {
    "SIGKILL": (by_signal(signal.SIGKILL), "kill", signal.SIGKILL),
    "SIGSEGV": (by_order("segv"), "crash", signal.SIGSEGV),
    "SIGQUIT": (by_signal(signal.SIGQUIT), "crash", signal.SIGQUIT),
    "SIGTERM": (by_signal(signal.SIGTERM), "term", signal.SIGTERM),
    "SIGPIPE": (by_order("sigpipe"), "term", signal.SIGPIPE),
}


def haunt(victim):
    """A connection that will be a ghost when the victim dies."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    return connection


def assert_class(service, connection, name):
    """The exit and the decision say so; the ghost is destroyed or left alone as its rule wants."""
    decision = service.decision(connection)
    exit_ = service.wait(event__action="exit", process__pid=connection.actor.pid)
    assert exit_["eghostbuster.exit.class"] == decision["eghostbuster.exit.class"] == name
    assert decision["rule.name"] == name
    assert exit_["process.entity_id"] == decision["process.entity_id"]
    if name in ("crash", "kill", "oom"):
        service.destroyed(connection)
    else:
        service.reported(connection)
        connection.assert_delivered()
    return exit_


def assert_nothing_happened(service, connection):
    service.fence()
    assert service.mentions(connection) == []
    assert service.audit.all(process__pid=connection.actor.pid) == []


@pytest.mark.parametrize("death, name, number", DEATHS.values(), ids=DEATHS)
def test_signal(per_class, victim, death, name, number):
    connection = haunt(victim)
    assert death(victim).si_status == number
    exit_ = assert_class(per_class, connection, name)
    assert exit_["eghostbuster.exit.signal"] == number
    assert "process.exit_code" not in exit_


@pytest.mark.parametrize("status, name", [(0, "clean"), (3, "error")])
def test_exit_status(per_class, victim, status, name):
    connection = haunt(victim)
    victim.die("exit", status)
    exit_ = assert_class(per_class, connection, name)
    assert exit_["process.exit_code"] == status
    assert "eghostbuster.exit.signal" not in exit_


def test_oom_kill(per_class, victim, cgroup):
    group = cgroup(Cgroup.limited, "egb-small", 64 << 20)
    connection = haunt(victim)
    group.add(victim.pid)
    victim.die("hog")
    exit_ = assert_class(per_class, connection, "oom")
    assert exit_["eghostbuster.exit.signal"] == signal.SIGKILL


def test_exit_group_from_a_second_thread(per_class, victim):
    connection = haunt(victim)
    victim.thread().die("exit", 5)
    exit_ = assert_class(per_class, connection, "error")
    assert exit_["process.exit_code"] == 5


def test_main_thread_gone_first(per_class, victim):
    connection = sockets.connect(victim, sockets.Listener())
    worker = victim.thread()
    victim.end_thread()
    machine.eventually(lambda: machine.status_of(victim.pid)["State"].startswith("Z"),
                       "the leader is a zombie")
    assert_nothing_happened(per_class, connection)
    connection.exchange(worker)
    connection.actor = worker
    connection.fill()
    worker.kill()
    assert_class(per_class, connection, "kill")


@pytest.mark.parametrize("by_leader", [True, False], ids=["leader", "other-thread"])
def test_execve_in_a_threaded_process(per_class, victim, by_leader):
    connection = sockets.connect(victim, sockets.Listener())
    other = victim.thread()
    survivor = victim if by_leader else other
    survivor.exec()
    assert_nothing_happened(per_class, connection)
    connection.exchange(survivor)
    connection.actor = survivor
    connection.fill()
    survivor.kill()
    assert_class(per_class, connection, "kill")


def test_thread_with_its_own_descriptors(per_class, victim):
    shared = sockets.connect(victim, sockets.Listener())
    thread = victim.thread()
    thread.private_files()
    private = haunt(thread)
    thread.end_thread()
    task = pathlib.Path(f"/proc/{victim.pid}/task/{thread.tid}")
    machine.eventually(lambda: not task.exists(), "the thread is gone")
    assert private.row().state == "fin-wait-1" and private.row().inode == 0
    assert_nothing_happened(per_class, private)
    shared.exchange()
    private.assert_delivered()


def test_pid_reused_at_once(per_class, victim, actor):
    parent = actor()
    ghost = haunt(victim)
    # The broker hears of the death only when the pid already has a new owner.
    os.kill(per_class.pid, signal.SIGSTOP)
    try:
        victim.kill()
        heir = parent.spawn(victim.pid)
        living = sockets.connect(heir, sockets.Listener())
        full = haunt(heir)
    finally:
        os.kill(per_class.pid, signal.SIGCONT)
    decision, _ = per_class.destroyed(ghost)
    per_class.fence()
    assert heir.lives() and not per_class.mentions(living) and not per_class.mentions(full)
    living.exchange()
    assert len(sockets.receive(full.peer, full.sent)) == full.sent
    full.fill()
    heir.kill()
    second, _ = per_class.destroyed(full)
    assert second["process.pid"] == decision["process.pid"] == victim.pid
    assert second["process.entity_id"] != decision["process.entity_id"]
