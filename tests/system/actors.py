# SPDX-License-Identifier: Apache-2.0
"""Processes that do exactly the system calls they are told to: the other end of actor.c."""

import os
import signal
import socket

from machine import BUILD, TIMEOUT, wait_readable


class Refused(Exception):
    """An order's system call failed; errno tells why."""

    def __init__(self, order, errno, what):
        super().__init__(f"{order}: {what}: {os.strerror(errno)}")
        self.errno = errno


class Stage:
    """Where actors report. Ends them all when the test is over."""

    def __init__(self, folder):
        self.path = str(folder / "stage")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o777)
        self.listener.listen(64)
        self.listener.settimeout(TIMEOUT)
        self.actors = []

    def actor(self):
        """A new process."""
        pid = os.posix_spawn(BUILD / "tests" / "actor", ["actor", self.path], os.environ,
                             setsigdef=[signal.SIGPIPE, signal.SIGXFSZ])
        return self.enter(pid)

    def enter(self, pid=None):
        """The process or thread that has just been made, and reports."""
        control, _ = self.listener.accept()
        control.settimeout(TIMEOUT)
        actor = Actor(self, control)
        assert pid in (None, actor.pid)
        self.actors.append(actor)
        return actor

    def close(self):
        for actor in self.actors:
            actor.discard()
        for actor in self.actors:
            actor.wait()  # those whose parent was an actor, too: they are ours by now
            os.close(actor.pidfd)
        self.listener.close()


class Actor:
    """One process, or one thread of one. Orders are methods: actor.connect(fd, "::1", 80)."""

    def __init__(self, stage, control):
        self.stage, self.control = stage, control
        self.pid, self.tid = self._hello()
        self.pidfd = os.pidfd_open(self.pid)

    def _hello(self):
        return tuple(map(int, self._answer("hello").split()))

    def _answer(self, order):
        try:
            answer = self.control.recv(65536).decode()
        except ConnectionResetError:
            answer = ""
        word, _, rest = answer.partition(" ")
        if word == "error":
            errno, _, what = rest.partition(" ")
            raise Refused(order, int(errno), what)
        assert word == "ok", f"{order}: the actor is gone"
        return rest

    def _tell(self, verb, *args, fds=()):
        order = " ".join([verb, *map(str, args)])
        socket.send_fds(self.control, [order.encode()], list(fds))
        return order

    def _order(self, verb, *args, fds=()):
        return self._answer(self._tell(verb, *args, fds=fds))

    def begin(self, verb, *args):
        """An order that takes its time; its answer is waited for by end()."""
        return self._tell(verb, *args)

    def end(self, order):
        return int(self._answer(order))

    def __getattr__(self, verb):
        if verb.startswith("_"):
            raise AttributeError(verb)
        return lambda *args: int(self._order(verb.replace("_", "-"), *args))

    def read(self, fd, length):
        return self._order("read", fd, length)

    def name(self, fd):
        """cookie, local port, remote port"""
        return tuple(map(int, self._order("name", fd).split()))

    def comm(self, name):
        self._order("comm", name.hex())

    def give(self, fd):
        """Returns the socket behind fd, a descriptor of the test's own from now on."""
        self._tell("give", fd)
        return self.given()

    def start_give(self, fd):
        """Sends it, and leaves it in flight until given()."""
        self._tell("give", fd)

    def given(self):
        _, fds, _, _ = socket.recv_fds(self.control, 64, 1)
        return socket.socket(fileno=fds[0])

    def take(self, sock):
        """Passes a socket of the test to the actor; returns its number there."""
        return int(self._order("take", fds=[sock.fileno()]))

    def fork(self):
        pid = int(self._order("fork"))
        return self.stage.enter(pid)

    def spawn(self, pid):
        """fork() with this very pid."""
        assert int(self._order("spawn", pid)) == pid
        return self.stage.enter(pid)

    def thread(self):
        self._order("thread")
        return self.stage.enter(self.pid)

    def exec(self):
        """execve() from this thread; afterwards this is the only one."""
        self._tell("exec")
        self.pid, self.tid = self._hello()

    def die(self, verb, *args):
        """An order that ends the process."""
        self._tell(verb, *args)
        return self.wait()

    def end_thread(self):
        """pthread_exit() of this thread alone; returns when it has hung up."""
        self._tell("pthread-exit")
        assert self.control.recv(64) == b"", "an ending thread hangs up and says nothing"

    def kill(self, number=signal.SIGKILL):
        signal.pidfd_send_signal(self.pidfd, number)
        return self.wait()

    def wait(self):
        """Waits for the death; returns os.waitid()'s result, None when a grandchild of the test."""
        assert wait_readable([self.pidfd]), f"actor {self.pid} lives on"
        try:
            return os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        except ChildProcessError:
            return None

    def lives(self):
        return not wait_readable([self.pidfd], 0)

    def discard(self):
        self.control.close()
        try:
            self.kill()
        except ProcessLookupError:
            pass
