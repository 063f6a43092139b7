# SPDX-License-Identifier: Apache-2.0
"""The kernel's own view of TCP sockets (sock_diag), and the peers the tests talk to."""

import collections
import socket
import struct
import threading

from machine import TIMEOUT, eventually, in_netns

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST_DUMP = 0x301
NLMSG_ERROR, NLMSG_DONE = 2, 3

STATES = {1: "established", 2: "syn-sent", 3: "syn-recv", 4: "fin-wait-1", 5: "fin-wait-2",
          6: "time-wait", 8: "close-wait", 9: "last-ack", 10: "listen", 11: "closing"}
ORPHAN_STATES = {"fin-wait-1", "fin-wait-2", "last-ack", "closing"}
TIMER_ZERO_WINDOW = 4

Row = collections.namedtuple(
    "Row", "family state timer src sport dst dport device cookie inode send_queue")


def _dump(nl, family, states):
    request = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 0,
                          sum(1 << number for number, name in STATES.items() if name in states))
    request += bytes(48)
    nl.send(struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
            + request)
    while True:
        data = nl.recv(1 << 17)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            if kind in (NLMSG_DONE, NLMSG_ERROR):
                assert struct.unpack_from("=i", data, 16)[0] == 0, "sock_diag refused the dump"
                return
            yield data[16:length]
            data = data[(length + 3) & ~3:]


def _row(msg):
    family, state, timer = struct.unpack_from("=BBB", msg)
    sport, dport, src, dst, device, low, high = struct.unpack_from("!HH16s16s", msg, 4) + \
        struct.unpack_from("=III", msg, 40)
    _, _, wqueue, _, inode = struct.unpack_from("=IIIII", msg, 52)
    size = 4 if family == socket.AF_INET else 16
    return Row(family, STATES.get(state, str(state)), timer,
               socket.inet_ntop(family, src[:size]), sport,
               socket.inet_ntop(family, dst[:size]), dport,
               device, low | high << 32, inode, wqueue)


def table(netns_of="self", states=frozenset(STATES.values())):
    """Every TCP socket of this network namespace, or of that of a process, that is in one of the states."""
    def open_and_dump():
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as nl:
            return [_row(m) for family in (socket.AF_INET, socket.AF_INET6)
                    for m in _dump(nl, family, states)]
    return in_netns(netns_of, open_and_dump)


def find(cookie, netns_of="self"):
    """The row with this cookie, None when the kernel has no such socket."""
    for row in table(netns_of):
        if row.cookie == cookie:
            return row
    return None


def orphans():
    return [row for row in table(states=ORPHAN_STATES) if row.inode == 0]


def cookie_of(sock):
    return struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, 57, 8))[0]  # SO_COOKIE


# One period of an actor's stream, as pattern() in actor.c makes it.
_PERIOD = bytes((n * 31 + n // 251) & 0xff for n in range(251 * 256))


def pattern(length):
    """The first bytes of an actor's stream."""
    return (_PERIOD * (length // len(_PERIOD) + 1))[:length]


class Listener:
    """A server in the test's own process. Its connections have a small window."""

    def __init__(self, address="127.0.0.1", port=0, netns_of="self", backlog=64):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = in_netns(netns_of, lambda: socket.socket(family, socket.SOCK_STREAM))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(TIMEOUT)
        self.socket.bind((address, port))
        self.socket.listen(backlog)
        self.address, self.port = self.socket.getsockname()[:2]

    def accept(self):
        peer, _ = self.socket.accept()
        peer.settimeout(TIMEOUT)
        return peer


class Connection:
    """A TCP connection between an actor (fd) and a socket of the test (peer)."""

    def __init__(self, actor, fd, peer):
        self.actor, self.fd, self.peer = actor, fd, peer
        self.cookie, self.lport, self.rport = actor.name(fd)
        self.sent = 0
        if peer:  # while it is connected: a reset makes it forget
            self.local, self.remote = peer.getpeername()[0], peer.getsockname()[0]

    def row(self):
        return find(self.cookie)

    def write(self, length):
        """write() of that many bytes by the actor; blocks until the socket has taken them all."""
        self.sent += self.actor.write(self.fd, length, self.sent)

    def fill(self):
        """The actor writes until its peer's window is zero and its own buffer full."""
        def full():
            self.sent += self.actor.fill(self.fd, self.sent)
            row = find(self.cookie, self.actor.tid)
            return row.timer == TIMER_ZERO_WINDOW and row.send_queue and row
        return eventually(full, "the peer's window is zero")

    def assert_delivered(self, received=b""):
        """Every byte the actor wrote reaches the peer, then the end of the stream."""
        rest, error = drain(self.peer)
        assert error is None, f"after {len(received + rest)} of {self.sent} bytes: {error}"
        assert len(received + rest) == self.sent
        same = received + rest == pattern(self.sent)
        assert same, "the bytes differ"  # and are not printed by the million

    def exchange(self, actor=None, fd=None):
        """Data in both directions: proof of life. actor/fd: whoever holds the socket by now."""
        exchange(actor or self.actor, self.fd if fd is None else fd, self.peer)


def connect(actor, listener, address=None, device=None, sndbuf=0, port=0, local=None):
    """The actor connects to a Listener of the test."""
    address = address or listener.address
    fd = actor.socket(6 if ":" in address else 4)
    if device:
        actor.device(fd, device)
    if sndbuf:
        actor.sndbuf(fd, sndbuf)
    if port:
        actor.bind(fd, local or address, port)
    actor.connect(fd, address, listener.port)
    return Connection(actor, fd, listener.accept())


def crowd(actor, count, written=0):
    """Many connections of one actor. Written: bytes on each that its peer is left to read."""
    listener = Listener(backlog=count)
    first = actor.crowd(listener.address, listener.port, count, written)
    connections = [Connection(actor, first + i, listener.accept()) for i in range(count)]
    for connection in connections:  # the accept queue is first in, first out
        assert connection.peer.getpeername()[1] == connection.lport
        connection.sent = written
    return connections


_exchanges = iter(range(1 << 30))


def exchange(actor, fd, peer):
    ping, pong = (f"{word}-{next(_exchanges):08d}" for word in ("ping", "pong"))
    peer.sendall(ping.encode())
    assert actor.read(fd, len(ping)) == ping
    actor.send(fd, pong)
    assert receive(peer, len(pong)) == pong.encode()


class SlowReader(threading.Thread):
    """Reads a little from a connection's peer, steadily, until it is told to stop."""

    def __init__(self, connection, piece=2048, pause=0.05):
        super().__init__(daemon=True)
        self.connection, self.piece, self.pause = connection, piece, pause
        self.data, self.error, self._stop_order = b"", None, threading.Event()
        self.start()

    def run(self):
        try:
            while not self._stop_order.wait(self.pause):
                self.data += receive(self.connection.peer, self.piece)
        except OSError as error:
            self.error = error

    def stop(self):
        """Stops for good; returns what has been read."""
        self._stop_order.set()
        self.join()
        assert self.error is None, f"after {len(self.data)} bytes: {self.error}"
        return self.data


def receive(sock, length):
    """Exactly length bytes, fewer only at the end of the stream."""
    data = bytearray()
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


def drain(sock):
    """Reads to the end of the stream. Returns (bytes read, None at EOF or the OSError)."""
    data = bytearray()
    try:
        while piece := sock.recv(65536):
            data += piece
    except OSError as error:
        assert not isinstance(error, TimeoutError), "neither EOF nor an error from the other end"
        return bytes(data), error
    return bytes(data), None
