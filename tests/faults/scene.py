# SPDX-License-Identifier: Apache-2.0
"""One cell of the fault matrix: the service with all its work, one fault, bystanders, a verdict."""

import dataclasses
import json
import os
import pathlib
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))

import audit  # noqa: E402
import machine  # noqa: E402
import sockets  # noqa: E402
from actors import Stage  # noqa: E402
from service import CTL, Service  # noqa: E402

WATCHDOG = 5.0  # within it a fault has ended in recovery or in a stop
START = 20.0    # a start without a fault, on a machine with other work
HEARTBEAT_MS = 200
JOURNAL = pathlib.Path("/run/systemd/journal/socket")
CROWD = 300     # ghosts at once: the broker's memory has to grow

RULES = """
[rule killed]
exit = crash kill oom
action = destroy

[rule rest]
exit = term error clean closed unknown
action = destroy
grace = 100ms
require = stuck
"""


class Died(Exception):
    """The service is gone."""


class Late(Exception):
    """Something did not happen in time, and the service lives on."""


class Wrong(Exception):
    """What must never be."""


@dataclasses.dataclass
class Cell:
    """What goes wrong. fault: the injector's arguments. act: what the test itself does when
    everything runs, a name of special.ACTS."""
    role: str
    call: str
    what: str
    phase: str
    fault: list
    act: str = ""
    prefix: tuple = ()  # a command that starts the service under a limit

    @property
    def name(self):
        return f"{self.phase} {self.role} {self.call} {self.what}"


class Log:
    """The audit log's files, a rotated one first."""

    def __init__(self, service):
        self.paths = (service.log_folder / "audit.jsonl.1", service.log_path)
        self._files = {}  # inode: (bytes read, lines, records)

    @property
    def rotated(self):
        return self.paths[0]

    def _file(self, path):
        """Lines and records of one file; what has been read is not read again."""
        try:
            with open(path, "rb") as file:
                ino = os.fstat(file.fileno()).st_ino
                offset, lines, records = self._files.get(ino, (0, [], []))
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return [], []
        whole = data.rfind(b"\n") + 1
        fresh = data[:whole].split(b"\n")[:-1]
        self._files[ino] = (offset + whole, lines + fresh,
                            records + [audit.parse(line) for line in fresh])
        return self._files[ino][1:]

    def lines(self):
        return [line for path in self.paths for line in self._file(path)[0]]

    def records(self):
        """A record for each ghost, also for those of a batch."""
        return audit.unbatched(record for path in self.paths for record in self._file(path)[1])

    def torn(self):
        return any(path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
                   for path in self.paths)

    def check(self):
        """Every line follows the one before it: by its number and by its hash."""
        previous = audit.ORIGIN
        for number, line in enumerate(self.lines(), 1):
            record = json.loads(line)
            if record["event.sequence"] != number:
                raise Wrong(f"record {number} is number {record['event.sequence']}")
            if record["event.hash"] != audit.chained(previous, line):
                raise Wrong(f"record {number} does not follow the one before it")
            previous = record["event.hash"]


def journal_make():
    """In a /run that nobody else sees: a cell has mounts of its own."""
    machine.run("mount -t tmpfs tests /run")
    JOURNAL.parent.mkdir(parents=True)
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(str(JOURNAL))
    JOURNAL.chmod(0o666)
    return journal


class Scene:
    def __init__(self, cell, inject):
        self.cell, self.inject = cell, inject
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="eghostbuster-"))
        # A disk that is always ready: how slow this machine's is, is no fault that is meant here.
        machine.run(f"mount -t tmpfs -o mode=755 tmpfs {self.folder}")
        self.stage = Stage(self.folder)
        self.service = Service(self.folder, self.stage)
        self.service.configure(RULES, daemon="mode = enforce\naudit_sync = always\n"
                               "linux_audit = yes\njournald = yes")
        self.journal = journal_make()
        self.log = Log(self.service)
        self.seal_key = subprocess.run([CTL, "seal-key", "--log", self.service.log_path], check=True,
                                       capture_output=True).stdout
        self.report_path = self.folder / "report"
        self.victims, self.notes, self.acted, self.is_ready = [], [], False, False
        self.listener = sockets.Listener()

    # ---- those who must not come to harm ----

    def bystanders(self):
        keeper = self.stage.actor()
        self.living = sockets.connect(keeper, self.listener)
        self.host = self.stage.actor()
        self.host_fd = self.host.socket(4)
        self.host.bind(self.host_fd, "127.0.0.1", 0)
        self.host.listen(self.host_fd, 8)
        _, port, _ = self.host.name(self.host_fd)
        self.queued = socket.create_connection(("127.0.0.1", port), timeout=machine.TIMEOUT)
        self.queued.sendall(b"waiting")

    def bystanders_check(self):
        self.living.exchange()
        fd = self.host.accept(self.host_fd)
        if self.host.read(fd, 7) != "waiting":
            raise Wrong("a connection of the accept queue was harmed")
        sockets.exchange(self.host, fd, self.queued)

    # ---- the injector ----

    def start(self):
        os.environ["WATCHDOG_USEC"] = str(HEARTBEAT_MS * 2000)
        os.environ.pop("WATCHDOG_PID", None)
        prefix = [str(self.inject), "--report", str(self.report_path), "--folder",
                  str(self.folder), *self.cell.fault, "--", *self.cell.prefix]
        self.service.start(prefix=prefix)

    def report(self):
        return self.report_path.read_text().splitlines() if self.report_path.exists() else []

    def fired(self):
        return any(line.startswith("fired ") for line in self.report())

    def tell(self, number, answer):
        tracer = next((int(line.split()[1]) for line in self.report()
                       if line.startswith("tracer ")), 0)
        if any(line.startswith("end ") for line in self.report()):
            return
        try:
            os.kill(tracer, number)
        except ProcessLookupError:
            return
        machine.eventually(lambda: {answer, "end"} & {line.partition(" 0")[0].split(" ")[0]
                                                      if line.startswith("end") else line
                                                      for line in self.report()},
                           f"the injector says {answer}")

    # ---- waiting ----

    def notify_drain(self):
        """Nobody else reads the notifications or the journal, and the queues are short."""
        while machine.wait_readable([self.service.notify.fileno()], 0):
            self.is_ready |= b"READY=1" in self.service.notify.recv(4096)
        while machine.wait_readable([self.journal.fileno()], 0):
            self.journal.recv(8192)

    def dead(self):
        return bool(machine.wait_readable([self.service.pidfd], 0))

    def until(self, condition, what, seconds=WATCHDOG):
        end = time.monotonic() + seconds
        while True:
            self.notify_drain()
            value = condition()
            if value:
                return value
            if self.dead():
                raise Died(what)
            if time.monotonic() > end:
                raise Late(what)
            select.select([], [], [], 0.01)

    def attempt(self, condition, what, seconds=2.0):
        """Work that the fault may spoil."""
        try:
            return self.until(condition, what, seconds)
        except Late:
            self.notes.append(f"not: {what}")
            return None

    def ready(self):
        self.until(lambda: self.is_ready, "READY", START)

    # ---- work ----

    def victim(self, how="kill"):
        """A ghost. Returns its connection."""
        actor = self.stage.actor()
        connection = sockets.connect(actor, self.listener)
        connection.fill()
        self.victims.append(connection)
        if how == "kill":
            actor.kill()
        else:
            actor.die("exit", 0)
        return connection

    def result_of(self, connection):
        """The record that ends the last decision about a connection's ghost."""
        found = None
        decided = set()
        for record in self.log.records():
            if record.get("eghostbuster.socket.cookie") == hex(connection.cookie):
                decided.add(record.get("eghostbuster.ghost"))
            if record["event.action"] == "destroy" and record["eghostbuster.ghost"] in decided:
                found = record
        return found

    def crowd(self):
        actor = self.stage.actor()
        connections = sockets.crowd(actor, CROWD, 8000)
        self.victims += connections
        actor.kill()
        cookies = {c.cookie for c in connections}
        self.attempt(lambda: not cookies & {row.cookie for row in sockets.orphans()}, "a crowd")

    def rotate(self):
        self.service.log_path.rename(self.log.rotated)
        uid = int(machine.status_of(self.service.pid)["Uid"].split()[0])
        self.service.log_path.touch(mode=0o640)
        os.chown(self.service.log_path, uid, -1)
        self.service.process.send_signal(signal.SIGHUP)
        self.attempt(lambda: any(r["event.action"] == "config-reload" for r in self.log.records()),
                     "a reload")

    def status(self):
        asked = subprocess.run([CTL, "status", "--json", "--control", self.service.control],
                               capture_output=True, timeout=WATCHDOG, check=False)
        return asked.returncode == 0 and json.loads(asked.stdout)

    def work(self):
        for how in ("kill", "exit"):
            connection = self.victim(how)
            self.attempt(lambda: self.result_of(connection), f"a ghost after {how}")
        self.crowd()
        self.rotate()
        self.attempt(self.status, "a status")
        if self.cell.fault != ["--record"]:
            self.attempt(self.fired, "the fault")

    def fresh(self):
        """Everything works: recovery."""
        connection = self.victim()
        result = self.until(lambda: self.result_of(connection), "a fresh ghost's result")
        if result["eghostbuster.result"] != "destroyed":
            raise Wrong(f"after the fault: {result}")
        self.until(self.status, "a status after the fault")

    # ---- verdicts ----

    def lines(self):
        return [line for line in self.service.stderr().splitlines() if line]

    def loud(self):
        """An error line that says what is wrong; a loader's lines have no priority."""
        return [line for line in self.lines()
                if line.startswith("<3>") or not re.match("<[0-9]>", line)]

    def records_check(self, ended):
        records = self.log.records()
        self.log.check()
        self.seals_check(ended)
        self.filter_check()
        if self.log.torn() and ended != "stopped":
            raise Wrong("a torn line in the log")
        self.pairs_check(records, ended)
        decided = {r.get("eghostbuster.socket.cookie") for r in records}
        left = {row.cookie for row in sockets.table()}
        for connection in self.victims:
            if connection.cookie not in left and hex(connection.cookie) not in decided:
                raise Wrong(f"{hex(connection.cookie)} was destroyed without a `decide` record")
        return records

    def seals_check(self, ended):
        """By the key nothing is wrong, but that the last write of one that stopped was cut off."""
        files = [path for path in self.log.paths if path.exists() and path.stat().st_size]
        if not files:
            return
        asked = subprocess.run([CTL, "verify", "--json", "--seal-key", "-", *files], check=False,
                               input=self.seal_key, capture_output=True, timeout=machine.TIMEOUT)
        fault = json.loads(asked.stdout)["fault"] if asked.stdout else {"kind": asked.stderr}
        if fault and (ended, fault["kind"]) != ("stopped", "unsealed"):
            raise Wrong(f"the seals: {fault}")

    def filter_check(self):
        """A role that its filter has ended shows nothing but that the injector broke it."""
        if any("SIGSYS" in line for line in self.lines()):
            raise Wrong("a role was ended by its filter")

    def pairs_check(self, records, ended):
        """`decide` before `destroy`; what is open is told by the stop record, or nothing follows."""
        open_ones = set()
        for record in records:
            ghost = record.get("eghostbuster.ghost")
            if record["event.action"] == "decide" and record["eghostbuster.verdict"] == "destroy":
                open_ones.add(ghost)
            elif record["event.action"] == "destroy":
                if ghost not in open_ones:
                    raise Wrong(f"a result without its decision: {record}")
                if record["eghostbuster.result"] != "refused-rate":
                    open_ones.discard(ghost)
        if not open_ones:
            return
        stop = [r for r in records if r["event.action"] == "stop"]
        if stop:
            told = stop[0]["eghostbuster.count.unanswered"] + stop[0]["eghostbuster.count.unsent"]
            if told != len(open_ones):
                raise Wrong(f"{len(open_ones)} decisions without a result, `stop` tells {told}")
        elif ended != "stopped":
            raise Wrong(f"decisions without a result: {open_ones}")

    def leftovers_check(self):
        """A role that is still loading hears of the end when it has loaded."""
        patience = START if self.cell.phase == "start" else 1.0
        known = {actor.pid for actor in self.stage.actors}
        for pid in set(machine.children(os.getpid())) - known - {self.service.pid}:
            if not machine.wait_death(pid, patience):
                name = machine.status_of(pid)["Name"]
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise Wrong(f"left behind: {name}")
            os.waitpid(pid, 0)

    def stopped(self):
        """A loud stop."""
        status = self.service.process.wait(machine.TIMEOUT)
        self.records_check("stopped")
        if status == 0:
            raise Wrong("it stopped by itself with status 0")
        if status == -signal.SIGSEGV and self.cell.phase == "start" and \
                self.cell.call in ("mmap", "memory") and not self.lines():
            return  # of the dynamic loader, which has no memory to say so
        if status < 0 and (self.cell.act, self.cell.role) != ("kill", "broker"):
            raise Wrong(f"it was ended by signal {-status}")
        if status > 0 and not self.loud():
            raise Wrong(f"it stopped with status {status} and said nothing")

    def stop(self):
        """The ordered end."""
        self.tell(signal.SIGUSR2, "phase stop")
        slow = self.cell.call in ("rt_sigtimedwait", "-")
        if self.cell.phase == "stop" and not slow:
            self.victim()
        if slow:
            reaper = self.service.roles()["reaper"]
            os.kill(reaper, signal.SIGSTOP)
        self.service.process.send_signal(signal.SIGTERM)
        if slow:  # it is waited for
            machine.eventually(lambda: self.fired() or any(
                line.startswith("ended tracker") for line in self.report()), "the tracker ends")
            machine.wait_readable([self.service.pidfd], 0.2)
            os.kill(reaper, signal.SIGCONT)
        if not machine.wait_readable([self.service.pidfd], WATCHDOG):
            raise Wrong("it hangs in its stop")
        return self.service.process.wait()

    def run(self):
        self.start()
        try:
            self.ready()
            self.tell(signal.SIGUSR1, "phase run")
            if self.cell.phase != "start" and not self.cell.act:
                self.work()
            self.act()
            self.fresh()
        except Died:
            self.stopped()
            if self.service.process.returncode == -signal.SIGSEGV:
                return "loader"
            return "refused" if not self.log.records() else "stopped"
        except Late as what:
            raise Wrong(f"neither recovery nor a stop within {WATCHDOG} s: no {what}") from None
        status = self.stop()
        if status != 0:
            if self.cell.phase != "stop" or not self.loud():
                raise Wrong(f"stopping it ended with {status}, having said {self.loud()}")
            self.records_check("stopped")
            return "stopped"
        self.records_check("recovered")
        return "recovered"

    # ---- faults that are no system call's ----

    def act(self):
        if self.cell.act:
            import special  # it needs what is above
            special.ACTS[self.cell.act](self)

    def tries(self):
        """How often a fault that lasts has fired so far."""
        return sum(line.startswith("again ") for line in self.report())

    def waiting_client(self):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.service.control))
        client.sendall(b"status\n")
        return client

    def close(self):
        try:
            if self.service.pidfd is not None and not self.dead():
                self.service.process.kill()
                self.service.process.wait()
            self.stage.close()
        finally:
            machine.run(f"umount --lazy {self.folder}")
            self.folder.rmdir()


def play(cell, inject):
    """Runs a cell in this process, which is its own machine. Returns (outcome, detail)."""
    machine.become_subreaper()
    machine.own_namespaces()
    os.umask(0o022)
    scene = Scene(cell, inject)
    try:
        scene.bystanders()
        if cell.phase != "start":
            scene.victim()  # older than the service
        outcome = scene.run()
        scene.leftovers_check()
        scene.bystanders_check()
        if cell.fault == ["--record"]:
            return "recorded", scene.report()
        if cell.prefix and not any(line.startswith("exec launcher") for line in scene.report()):
            return "silent", "the limit was not set"
        if not scene.fired() and not scene.acted and not cell.prefix:
            return "silent", f"the fault never fired; {scene.notes}"
        return outcome, {"lines": scene.loud(), "notes": scene.notes,
                         "results": sorted({r.get("eghostbuster.result", "") + ":" +
                                            str(r.get("error.code", ""))
                                            for r in scene.log.records()
                                            if r["event.action"] == "destroy"})}
    except Wrong as wrong:
        return "WRONG", f"{wrong}; stderr: {scene.lines()[-8:]}; notes {scene.notes}"
    finally:
        scene.close()
