# SPDX-License-Identifier: Apache-2.0
"""Starts the service under test, and stops it."""

import os
import signal
import socket
import subprocess
import time

import audit
import sockets
from machine import BUILD, TIMEOUT, children, datagrams_kept, eventually, wait_readable

LAUNCHER = BUILD / "eghostbuster"
CTL = BUILD / "eghostctl"
LIBEXEC = (BUILD / "libexec").resolve()  # as the kernel names what lies there

# The built-in rules, written out: a test says the whole policy it runs under.
RULES = """
[rule killed]
exit = crash kill oom
action = destroy
grace = 0s

[rule stopped]
exit = term error
action = destroy
grace = 30s
require = stuck

[rule finished]
exit = clean closed
action = report

[rule adopted]
exit = unknown
action = report
"""

# Every class has a rule of its own name.
RULE_PER_CLASS = "".join(
    f"[rule {name}]\nexit = {name}\naction = {action}\n"
    for action, names in (("destroy", "crash kill oom"),
                          ("report", "closed term error clean unknown"))
    for name in names.split())


class Service:
    def __init__(self, folder, stage):
        self.folder, self.stage = folder, stage
        self.config = folder / "eghostbuster.conf"
        self.log_folder = folder / "log"
        self.control = folder / "control.sock"
        self.stderr_path = folder / "stderr"
        self.stderr_to = None  # a descriptor to use instead of the file
        self.process = self.audit = self.pidfd = self.notify = None
        self.log_folder.mkdir(mode=0o755)

    def configure(self, rules=RULES, daemon="mode = enforce"):
        self.config.write_text(f"[daemon]\n{daemon}\n{rules}")
        self.config.chmod(0o644)

    def command(self, *args):
        return [str(LAUNCHER), "-c", str(self.config), "--audit-log", str(self.log_path),
                "--control", str(self.control), "--libexec", str(LIBEXEC), *args]

    @property
    def log_path(self):
        return self.log_folder / "audit.jsonl"

    def start(self, *args, prefix=(), environment=None, pass_fds=()):
        """Starts it and returns at once; wait_notification() or fails() come next."""
        if not self.config.exists():
            self.configure()
        if self.notify is not None:
            self.notify.close()
        with datagrams_kept(512):  # as systemd has it; the usual 10 are a tenth of a second of a busy service
            self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify_path = self.folder / "notify"
        notify_path.unlink(missing_ok=True)
        self.notify.bind(str(notify_path))
        notify_path.chmod(0o777)
        self.audit = self.audit or audit.AuditLog(self.log_path)
        environment = {**os.environ, "NOTIFY_SOCKET": str(notify_path), **(environment or {})}
        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen([*prefix, *self.command(*args)],
                                            stderr=stderr if self.stderr_to is None else self.stderr_to,
                                            stdin=subprocess.DEVNULL, env=environment, pass_fds=pass_fds)
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.pidfd = os.pidfd_open(self.process.pid)
        return self

    def run(self, *args):
        """Starts it and waits until it says READY."""
        self.start(*args)
        self.wait_notification(b"READY=1")
        assert self.audit.all(event__action="start"), "READY before the `start` record"
        return self

    def wait_notification(self, wanted):
        """Waits until the service manager is told so, whatever else it is told meanwhile."""
        end = time.monotonic() + TIMEOUT
        while True:
            ready = wait_readable([self.notify.fileno(), self.pidfd], max(0, end - time.monotonic()))
            assert self.notify.fileno() in ready, f"never said {wanted}:\n{self.stderr()}"
            if wanted in self.notify.recv(4096).split(b"\n"):
                return

    def fails(self):
        """Waits for a start that fails. Returns (exit status, lines on standard error)."""
        status = self.process.wait(TIMEOUT)
        return status, self.stderr().splitlines()

    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def wait(self, **wanted):
        return self.audit.wait(gone=self.pidfd, **wanted)

    def decision(self, connection):
        """The `decide` record of a connection's ghost."""
        return self.wait(event__action="decide",
                         eghostbuster__socket__cookie=hex(connection.cookie))

    def result(self, decision):
        """The record that ends what `decision` began. Every run counts its ghosts anew."""
        return self.wait(event__action="destroy", after=decision,
                         eghostbuster__ghost=decision["eghostbuster.ghost"])

    def destroyed(self, connection):
        """Waits for the ghost of a connection to be destroyed; returns both records."""
        decision = self.decision(connection)
        assert decision["eghostbuster.verdict"] == "destroy", decision
        result = self.result(decision)
        assert result["eghostbuster.result"] == "destroyed", (decision, result)
        eventually(lambda: sockets.find(connection.cookie) is None, "the kernel has let go of it")
        return decision, result

    def reported(self, connection):
        """Waits for the decision to leave a ghost alone; returns it."""
        decision = self.decision(connection)
        assert decision["eghostbuster.verdict"] == "report", decision
        return decision

    def fence(self):
        """When it returns, all that happened before this call has been dealt with: events come in
        order, and the fence's own ghost is the last. Returns the records so far."""
        victim = self.stage.actor()
        connection = sockets.connect(victim, sockets.Listener())
        connection.fill()
        victim.kill()
        decision = self.decision(connection)
        if decision["eghostbuster.verdict"] == "destroy":
            self.result(decision)
        return self.audit.records

    def mentions(self, connection):
        """Records about a connection's socket. fence() first, to say that there are none."""
        return self.audit.all(eghostbuster__socket__cookie=hex(connection.cookie))

    @property
    def pid(self):
        return self.process.pid

    def roles(self):
        """Pids by role. The broker is the process that the launcher became."""
        pids = {"broker": self.pid}
        for pid in children(self.pid):
            pids[os.path.basename(os.readlink(f"/proc/{pid}/exe"))] = pid
        return pids

    def reload(self):
        """SIGHUP; returns the `config-reload` record that answers it."""
        before = len(self.audit.all(event__action="config-reload"))
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(self.audit.all(event__action="config-reload")) > before,
                   "a config-reload record")
        return self.audit.all(event__action="config-reload")[-1]

    def stop(self):
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT)

    def close(self):
        """Stops what a test has left running; returns that exit status, else None."""
        if self.pidfd is None:
            return None
        try:
            return self.stop() if self.process.poll() is None else None
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            os.close(self.pidfd)
            self.pidfd = None
            self.notify.close()
            self.audit.close()
