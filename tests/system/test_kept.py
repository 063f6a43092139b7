# SPDX-License-Identifier: Apache-2.0
"""What dies while nobody runs: the service manager keeps ring buffer, counters and links, and the next
run goes on with them (sd_pid_notify_with_fds(3), sd_listen_fds(3))."""

import fcntl
import os
import socket

import pytest

import sockets
from machine import eventually, wait_readable

PARTS = ("ring", "counters", "exit", "state")


class Store:
    """The service manager's descriptor store."""

    def __init__(self):
        self.fds, self.removed = {}, []

    def take(self, service):
        """Takes what is offered until the service is ready."""
        lines = []
        while b"READY=1" not in lines:
            ready = wait_readable([service.notify.fileno(), service.pidfd])
            assert service.notify.fileno() in ready, service.stderr()
            message, fds, _, _ = socket.recv_fds(service.notify, 4096, 1)
            lines = message.split(b"\n")
            name = next((line[7:].decode() for line in lines if line.startswith(b"FDNAME=")), None)
            if b"FDSTORE=1" in lines:
                assert b"FDPOLL=0" in lines
                self.fds[name] = fcntl.fcntl(fds[0], fcntl.F_DUPFD, 30)
                os.close(fds[0])
            if b"FDSTOREREMOVE=1" in lines:
                self.removed.append(name)
                os.close(self.fds.pop(name))

    def give(self, service, names=None, *args):
        """Starts the service with what is kept."""
        names = names or list(self.fds)
        places = " ".join(f"{3 + n}<&{self.fds[name]}" for n, name in enumerate(names))
        prefix = ["bash", "-c", f'export LISTEN_PID=$$; exec "$@" {places}', "bash"]
        service.start("-v", *args, prefix=prefix, pass_fds=list(self.fds.values()),
                      environment={"LISTEN_FDS": str(len(names)), "LISTEN_FDNAMES": ":".join(names)})
        self.take(service)

    def close(self):
        for fd in self.fds.values():
            os.close(fd)


@pytest.fixture
def store():
    store = Store()
    yield store
    store.close()


@pytest.fixture
def stopped(prepared, store):
    """A service that has run, and whose tracking is kept."""
    prepared.start()
    store.take(prepared)
    assert [name.rpartition("-")[2] for name in store.fds] == list(PARTS)
    assert prepared.stop() == 0
    return prepared


def test_deaths_while_nobody_runs(stopped, store, actor):
    """The next run names the owner and destroys at once: no `unknown`, no grace."""
    victims = [actor() for _ in range(3)]
    ghosts = [sockets.connect(victim, sockets.Listener()) for victim in victims]
    clean = sockets.connect(actor(), sockets.Listener())
    for connection in (*ghosts, clean):
        connection.fill()
    for victim in victims:
        victim.kill()
    clean.actor.die("exit", 0)
    store.give(stopped)
    assert "going on with what an earlier run has loaded" in stopped.stderr()
    for victim, connection in zip(victims, ghosts):
        decision, _ = stopped.destroyed(connection)
        assert decision["eghostbuster.exit.class"] == "kill"
        assert decision["process.pid"] == victim.pid
    assert stopped.reported(clean)["eghostbuster.exit.class"] == "clean"
    stopped.fence()
    cookies = [r["eghostbuster.socket.cookie"] for r in stopped.audit.all(event__action="decide")]
    assert len(cookies) == len(set(cookies)), "decided upon twice"
    assert stopped.audit.all(event__action="lost") == []


def test_a_second_restart(stopped, store, actor):
    """What goes on is not offered again, and a death between goes to the run after it, once."""
    for _ in range(2):
        store.give(stopped)
        assert len(store.fds) == len(PARTS) and store.removed == []
        assert stopped.stop() == 0
        victim = actor()
        connection = sockets.connect(victim, sockets.Listener())
        connection.fill()
        victim.kill()
    store.give(stopped)
    stopped.destroyed(connection)
    assert len(stopped.mentions(connection)) == 1


@pytest.mark.once
def test_losses_are_told_once(prepared, store, stage):
    """More deaths than the ring holds while nobody runs: the next run says how many it does not know
    of, and looks for them; the one after it says nothing."""
    prepared.start("--ring-bytes", "4096")
    store.take(prepared)
    assert prepared.stop() == 0
    victim = stage.actor()
    connections = sockets.crowd(victim, 30)
    for connection in connections:
        connection.fill()
    victim.kill()
    for run in range(2):
        store.give(prepared, None, "--ring-bytes", "4096")
        eventually(lambda: all(map(prepared.mentions, connections)), "each has a record")
        prepared.fence()
        assert prepared.stop() == 0
        lost = [record["eghostbuster.lost.orphans"]
                for record in prepared.audit.all(event__action="lost")]
        assert len([orphans for orphans in lost if orphans > 0]) == 1, (run, lost)


@pytest.mark.parametrize("wrong", ["swapped", "part", "stranger"])
def test_what_cannot_be_gone_on_with(stopped, store, victim, wrong):
    """It is let go of, and the programs are loaded anew."""
    names, strange = list(store.fds), []
    if wrong == "swapped":
        ring, counters = names[:2]
        store.fds[ring], store.fds[counters] = store.fds[counters], store.fds[ring]
    elif wrong == "part":
        names = names[1:]
    else:
        for name in names:
            store.fds[name.replace("egb-", "egb-0")] = store.fds.pop(name)
        names = strange = list(store.fds)
    store.give(stopped, names)
    assert "the BPF programs are loaded" in stopped.stderr()
    assert sorted(store.removed) == sorted(names)
    assert len([name for name in store.fds if name not in strange]) == len(PARTS)
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    stopped.destroyed(connection)
