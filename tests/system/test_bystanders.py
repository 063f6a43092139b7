# SPDX-License-Identifier: Apache-2.0
"""What a destroyed ghost's neighbours must not notice. Each of them exchanges data afterwards."""

import socket

import pytest

import machine
import sockets


@pytest.fixture
def ghost(victim):
    """The victim's own connection, which must be destroyed while the bystander lives."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    return connection


@pytest.fixture
def listener():
    return sockets.Listener()


def test_socket_shared_with_a_forked_child(service, victim, ghost, listener):
    shared = sockets.connect(victim, listener)
    child = victim.fork()
    victim_only = sockets.connect(victim, listener)
    victim_only.fill()
    child.close(ghost.fd)
    victim.kill()
    service.destroyed(ghost)
    service.destroyed(victim_only)
    service.fence()
    assert service.mentions(shared) == []
    shared.exchange(child)


def test_socket_passed_by_scm_rights(service, victim, ghost, listener):
    passed = sockets.connect(victim, listener)
    copy = victim.give(passed.fd)
    victim.kill()
    service.destroyed(ghost)
    service.fence()
    assert service.mentions(passed) == []
    assert_stream_lives(copy, passed.peer)


def test_socket_in_flight(service, victim, ghost, listener):
    """Nobody's descriptor: it waits in a queue, and the process that sent it is dead."""
    in_flight = sockets.connect(victim, listener)
    victim.start_give(in_flight.fd)
    machine.wait_readable([victim.control.fileno()])
    victim.kill()
    service.destroyed(ghost)
    service.fence()
    assert service.mentions(in_flight) == []
    assert_stream_lives(victim.given(), in_flight.peer)


def test_copy_by_pidfd_getfd(service, victim, ghost, listener, actor):
    thief = actor()
    stolen = sockets.connect(victim, listener)
    copy = thief.steal(victim.pid, stolen.fd)
    victim.kill()
    service.destroyed(ghost)
    service.fence()
    assert service.mentions(stolen) == []
    stolen.exchange(thief, copy)


def assert_stream_lives(sock, peer):
    sock.setblocking(True)
    sock.sendall(b"still")
    assert sockets.receive(peer, 5) == b"still"
    peer.sendall(b"alive")
    assert sockets.receive(sock, 5) == b"alive"


def server(actor, address="127.0.0.1"):
    """An actor that listens. Returns (fd, port)."""
    fd = actor.socket(6 if ":" in address else 4)
    actor.bind(fd, address, 0)
    actor.listen(fd, 16)
    return fd, actor.name(fd)[1]


def client(port):
    return socket.create_connection(("127.0.0.1", port), machine.TIMEOUT)


def small_window_client(port):
    """Connects and will not read."""
    sock = socket.socket()
    sock.settimeout(machine.TIMEOUT)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    return sock


def test_accept_queue_and_listener_with_the_same_port(service, victim):
    """The victim is the listener's forked child: its ghost has the listener's port, and so have the
    connections that nobody has accepted yet."""
    fd, port = server(victim)
    peer = small_window_client(port)
    accepted = sockets.Connection(victim, victim.accept(fd), peer)
    accepted.fill()
    parent = victim.fork()  # the one that stays
    parent.close(accepted.fd)
    waiting, half_closed = client(port), client(port)
    half_closed.sendall(b"last words")
    half_closed.shutdown(socket.SHUT_WR)
    machine.eventually(lambda: unaccepted(port) == {"established", "close-wait"},
                       "both wait in the accept queue")
    victim.kill()
    service.destroyed(accepted)
    service.fence()
    assert unaccepted(port) == {"established", "close-wait"}
    sockets.exchange(parent, parent.accept(fd), waiting)
    second = parent.accept(fd)
    assert parent.read(second, 10) == "last words"
    parent.send(second, "heard")
    assert sockets.receive(half_closed, 5) == b"heard"
    newcomer = client(port)
    sockets.exchange(parent, parent.accept(fd), newcomer)


def unaccepted(port):
    return {row.state for row in sockets.table()
            if row.sport == port and row.inode == 0 and row.state != "listen"}


def test_accept_queue_of_a_stranger(service, victim, actor):
    """The victim is a client; the server's queue holds others."""
    host = actor()
    fd, port = server(host)
    mine = victim.socket(4)
    victim.connect(mine, "127.0.0.1", port)
    host.accept(fd)
    ghost = sockets.Connection(victim, mine, None)
    ghost.fill()
    waiting = client(port)
    machine.eventually(lambda: unaccepted(port) == {"established"}, "it waits in the accept queue")
    victim.kill()
    service.destroyed(ghost)
    service.fence()
    sockets.exchange(host, host.accept(fd), waiting)


def test_same_tuple_in_another_network_namespace(service, victim, actor):
    """Both live at the same addresses and ports. Theirs is alive, then a ghost; neither is ours."""
    double = actor()
    double.netns()
    here = sockets.Listener()
    there = sockets.Listener(port=here.port, netns_of=double.pid)
    mine = sockets.connect(victim, here)
    theirs = sockets.connect(double, there, port=mine.lport)
    assert (mine.lport, mine.rport) == (theirs.lport, theirs.rport)
    mine.fill()
    victim.kill()
    service.destroyed(mine)
    theirs.exchange()
    theirs.fill()
    keeper = double.fork()  # the namespace keeps a process, through which the test can look
    keeper.close(theirs.fd)
    double.kill()
    service.fence()
    assert service.mentions(theirs) == [], "what others leave in theirs is not ours to write about"
    service.fence()
    orphan = sockets.find(theirs.cookie, keeper.pid)
    assert orphan.state == "fin-wait-1" and orphan.inode == 0
    theirs.assert_delivered()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_orphan_of_a_living_process(service, victim, ghost, actor, address):
    """close() with unsent data: an orphan by its looks, and its owner is alive."""
    owner = actor()
    left = sockets.connect(owner, sockets.Listener(address))
    left.fill()
    owner.close(left.fd)
    assert left.row().inode == 0 and left.row().state == "fin-wait-1"
    victim.kill()
    service.destroyed(ghost)
    service.fence()
    assert service.mentions(left) == []
    left.assert_delivered()


def test_orphan_that_the_victim_closed_itself(service, victim, ghost):
    """Closed in good order by a process that is killed later."""
    left = sockets.connect(victim, sockets.Listener())
    left.fill()
    victim.close(left.fd)
    victim.kill()
    service.destroyed(ghost)
    service.fence()
    left.assert_delivered()
