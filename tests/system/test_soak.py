# SPDX-License-Identifier: Apache-2.0
"""Everything at once, at random, for as long as one likes; what must always hold is looked at after
every step.

EGB_SOAK_SECONDS says for how long, TEST_SEED repeats a run: its steps, not the machine's."""

import collections
import os
import random
import signal
import socket
import threading
import time

import pytest

import audit
import machine
import sockets
from machine import eventually, status_of, wait_readable
from service import LIBEXEC

SECONDS = float(os.environ.get("EGB_SOAK_SECONDS", "6"))
SANITIZED = b"__asan_" in (LIBEXEC / "broker").read_bytes()
ROLE_MIB = 512 if SANITIZED else 64  # what a role may use, many times what it needs here
GRACE = 1.0  # a reader of ours pauses for a twentieth of it

RULES = f"""
[rule killed]
exit = crash kill oom
action = destroy

[rule proved]
exit = term error clean closed unknown
action = destroy
grace = {int(GRACE * 1000)}ms
"""
# Part of the ghosts have records of their own, others do not.
DAEMON = "mode = enforce\nrecord_budget = 600/min"
BYSTANDERS = 12


class Trail(audit.AuditLog):
    """The audit log across rotations and violent ends. Checks each record as it comes."""

    def __init__(self, path):
        super().__init__(path)
        self.protected = set()  # cookies that nobody may destroy
        self.verdicts = {}      # of this run, by ghost
        self.unbatcher = audit.Unbatcher()
        self.counts = collections.Counter()

    def _append(self, record, line):
        super()._append(record, line)
        self.counts[record["event.action"]] += 1
        self.counts["batches"] += "eghostbuster.batch.id" in record
        for one in self.unbatcher.take(record):
            self._check(one)

    def _check(self, record):
        if "eghostbuster.batch.first" in record:
            assert record["eghostbuster.verdict"] != "destroy", record
            return
        if record["event.action"] == "start":
            self.verdicts.clear()
        elif record["event.action"] == "decide":
            ghost, cookie = record["eghostbuster.ghost"], record["eghostbuster.socket.cookie"]
            self.verdicts[ghost] = record["eghostbuster.verdict"]
            assert record["eghostbuster.verdict"] != "destroy" or \
                int(cookie, 16) not in self.protected, f"never: {record}"
        elif record["event.action"] == "destroy":
            verdict = self.verdicts.get(record["eghostbuster.ghost"])
            assert verdict == "destroy", f"without a decision before it: {record}"
            self.counts[record["eghostbuster.result"]] += 1


class Readers(threading.Thread):
    """Reads from many peers, each time all there is, and rests for a moment."""

    def __init__(self):
        super().__init__(daemon=True)
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.open, self.read, self.failures, self.served = {}, {}, [], 0
        self.start()

    def add(self, connection):
        connection.peer.setblocking(False)
        with self.lock:
            self.read[connection.cookie] = bytearray()
            self.open[connection.cookie] = connection

    def run(self):
        while not self.ending.wait(GRACE / 20):
            with self.lock:
                for connection in list(self.open.values()):
                    self._serve(connection)

    def _serve(self, connection):
        try:
            piece = connection.peer.recv(65536)
            self.read[connection.cookie] += piece
        except BlockingIOError:
            return
        except OSError as error:
            piece = b""
            self.failures.append(f"{connection.cookie:#x}: {error} after "
                                 f"{len(self.read[connection.cookie])} of {connection.sent} bytes")
        if not piece:
            self._finish(connection)

    def _finish(self, connection):
        data = self.read.pop(connection.cookie)
        if data != sockets.pattern(connection.sent):
            self.failures.append(f"{connection.cookie:#x}: {len(data)} of {connection.sent} bytes")
        connection.peer.close()
        del self.open[connection.cookie]
        self.served += 1


class Soak:
    def __init__(self, service, stage, seed):
        self.service, self.stage, self.random = service, stage, random.Random(seed)
        self.listener, self.readers = sockets.Listener(), Readers()
        self.condemned = {}  # cookie: connection of a ghost that must be gone in the end
        self.steps = collections.Counter()
        service.audit = self.trail = Trail(service.log_path)
        service.configure(RULES, DAEMON)
        service.run()
        self.bystanders = [self.protect(self.connection(stage.actor())) for _ in range(BYSTANDERS)]
        self.queue = self.accept_queue()

    # ---- what is on stage ----

    def connection(self, actor, **how):
        return sockets.connect(actor, self.listener, **how)

    def protect(self, connection):
        self.trail.protected.add(connection.cookie)
        return connection

    def accept_queue(self):
        """Connections that their server has not accepted yet."""
        host = self.stage.actor()
        fd = host.socket(4)
        host.bind(fd, "127.0.0.1", 0)
        host.listen(fd, 8)
        port = host.name(fd)[1]
        clients = [socket.create_connection(("127.0.0.1", port), machine.TIMEOUT) for _ in range(8)]
        return host, fd, clients

    def crowd(self, most, **how):
        actor = self.stage.actor()
        return actor, [self.connection(actor, **how)
                       for _ in range(self.random.randint(1, most))]

    def leave(self, actor):
        """The dead need no descriptors of ours."""
        actor.control.close()
        os.close(actor.pidfd)
        self.stage.actors.remove(actor)

    def condemn(self, connections):
        for connection in connections:
            self.condemned[connection.cookie] = connection

    def death(self, actor, how=None):
        how = how or self.random.choice(["kill", "segv", "term", "error", "clean"])
        if how == "segv":
            actor.die("segv")
        elif how in ("error", "clean"):
            actor.die("exit", 3 if how == "error" else 0)
        else:
            actor.kill(signal.SIGKILL if how == "kill" else signal.SIGTERM)
        self.leave(actor)

    # ---- steps ----

    def step_stuck(self):
        """Their peers do not read: whatever the death, they are released."""
        actor, connections = self.crowd(8)
        for connection in connections:
            connection.fill()
        self.death(actor)
        self.condemn(connections)

    def step_stuck_and_shut_down(self):
        actor, connections = self.crowd(3)
        for connection in connections:
            connection.fill()
            actor.shutdown(connection.fd, socket.SHUT_WR)
        self.death(actor)
        self.condemn(connections)

    def step_slow_reader(self):
        """Their peers take their time: whoever ended in order loses nothing."""
        actor, connections = self.crowd(3, sndbuf=1 << 20)
        how = self.random.choice(["term", "error", "clean", "close", "shutdown"])
        for connection in connections:
            self.protect(connection)
            connection.write(self.random.randint(1, 160000))
            if how == "close":
                actor.close(connection.fd)
            elif how == "shutdown":
                actor.shutdown(connection.fd, socket.SHUT_WR)
        self.death(actor, "kill" if how in ("close", "shutdown") else how)
        for connection in connections:
            self.readers.add(connection)

    def step_idle(self):
        """Nothing on its way; the peer closes some time."""
        actor, connections = self.crowd(8)
        self.death(actor)
        for connection in connections:
            connection.peer.close()

    def step_orderly(self):
        actor, connections = self.crowd(4)
        for connection in connections:
            connection.exchange()
            actor.close(connection.fd)
            connection.peer.close()
        self.death(actor, "clean")

    def step_closed_by_a_kernel_thread(self):
        actor, connections = self.crowd(2)
        for connection in connections:
            connection.fill()
            self.random.choice([actor.ring, actor.bury])(connection.fd)
        self.death(actor)
        self.condemn(connections)

    def step_heir(self):
        """A bystander's socket goes to its child."""
        old = self.random.choice(self.bystanders)
        child = old.actor.fork()
        self.death(old.actor)
        old.actor = child

    def step_unwatched(self):
        self.stop()
        for _ in range(3):
            self.random.choice([self.step_stuck, self.step_slow_reader, self.step_idle])()
        self.service.run()

    def step_restart(self):
        self.stop()
        self.service.run()

    def step_kill_a_role(self):
        pids = self.service.roles()
        self.violent_end(pids, self.random.choice(sorted(pids)))
        self.service.run()

    def step_reload(self):
        self.service.configure(daemon=DAEMON, rules=RULES + f"; {self.random.random()}\n")
        assert self.service.reload()["event.outcome"] == "success"

    def step_bad_reload(self):
        self.service.configure(daemon=DAEMON, rules=RULES + "colour = red\n")
        assert self.service.reload()["event.outcome"] == "failure"
        self.service.configure(RULES, DAEMON)

    def step_rotate(self):
        path, old = self.service.log_path, self.service.log_folder / "audit.jsonl.1"
        uid = int(status_of(self.service.pid)["Uid"].split()[0])
        self.trail.read()
        path.rename(old)
        path.touch(mode=0o640)
        os.chown(path, uid, -1)
        self.service.process.send_signal(signal.SIGHUP)
        eventually(lambda: path.stat().st_size > 0, "the new file is in use")

    def step_stall(self):
        """A role sleeps while a crowd dies."""
        pid = self.random.choice(sorted(self.service.roles().values()))
        actor, connections = self.crowd(30)
        for connection in connections:
            connection.fill()
        os.kill(pid, signal.SIGSTOP)
        self.death(actor)
        os.kill(pid, signal.SIGCONT)
        self.condemn(connections)

    STEPS = {step_stuck: 8, step_stuck_and_shut_down: 3, step_slow_reader: 8, step_idle: 4,
             step_orderly: 3, step_closed_by_a_kernel_thread: 2, step_heir: 2, step_unwatched: 1,
             step_restart: 1, step_kill_a_role: 2, step_reload: 2, step_bad_reload: 1,
             step_rotate: 2, step_stall: 3}

    def step(self):
        step, = self.random.choices(list(self.STEPS), list(self.STEPS.values()))
        self.steps[step.__name__.removeprefix("step_")] += 1
        step(self)
        self.check()

    # ---- ends of the service ----

    def stop(self):
        pids = self.service.roles()
        assert self.service.stop() == 0
        self.assert_gone(pids)

    def violent_end(self, pids, role):
        pidfds = [os.pidfd_open(pid) for pid in pids.values()]
        os.kill(pids[role], signal.SIGKILL)
        for pidfd in pidfds:
            assert wait_readable([pidfd]), f"after the death of the {role} another lives on"
            os.close(pidfd)
        self.service.process.wait()
        self.assert_gone(pids)

    def assert_gone(self, pids):
        """Roles whose launcher is dead are ours to bury."""
        for role, pid in pids.items():
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass
            assert not os.path.exists(f"/proc/{pid}"), f"the {role} is left"

    # ---- what must hold after every step ----

    def check(self):
        del self.trail.read()[:-1000]
        assert not self.readers.failures, self.readers.failures
        self.random.choice(self.bystanders).exchange()
        for role, pid in self.service.roles().items():
            mib = int(status_of(pid)["VmRSS"].split()[0]) / 1024
            assert mib < ROLE_MIB, f"the {role} uses {mib:.0f} MiB"

    def settle(self):
        """In the end: every ghost is gone, every reader has its data, every bystander lives. The
        last start finds those that nobody saw."""
        eventually(lambda: not self.readers.open, "every reader is served", 60)
        self.stop()
        self.service.run()
        eventually(lambda: not self.left(), "every ghost is gone", 60)
        self.check()
        for connection in self.bystanders:
            connection.exchange()
        host, fd, clients = self.queue
        for client in clients:
            sockets.exchange(host, host.accept(fd), client)

    def left(self):
        alive = {row.cookie for row in sockets.table()}
        for cookie in self.condemned.keys() - alive:
            self.condemned.pop(cookie).peer.close()
        return self.condemned


@pytest.fixture
def seed():
    number = int(os.environ.get("TEST_SEED", random.getrandbits(32)))
    print(f"TEST_SEED={number}", flush=True)
    return number


def test_soak(prepared, stage, seed):
    soak = Soak(prepared, stage, seed)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        soak.step()
        if sum(soak.steps.values()) % 50 == 0:
            soak.left()  # their peers' descriptors are of use again
    soak.settle()
    print(f"{sum(soak.steps.values())} steps {dict(soak.steps)}; {soak.readers.served} slow "
          f"readers served; records {dict(soak.trail.counts)}", flush=True)
