# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks are made of: a network of their own, the service, and helper programs."""

import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))

import machine  # noqa: E402
from service import LAUNCHER, LIBEXEC, RULES  # noqa: E402

PROGRAMS = machine.BUILD / "tests/bench"
UNLOGGED = PROGRAMS / "unlogged"  # roles of which the broker makes no records of ghosts
PATIENCE = 180.0

# A benchmark is what the limits are there to slow down.
UNLIMITED = """mode = enforce
destroy_limit = 10000000/s
unit_limit = 100000000/min
record_budget = 100000000/min"""


def prepare():
    """A network namespace and mounts of this process's own."""
    os.umask(0o022)
    machine.become_subreaper()
    machine.own_namespaces()
    if not os.path.exists("/sys/kernel/tracing/events"):
        machine.run("mount -t tracefs tracefs /sys/kernel/tracing")  # the tracing tools want it
    network_prepare()


def network_prepare():
    """Long accept queues, and all ports, for thousands of connections."""
    pathlib.Path("/proc/sys/net/core/somaxconn").write_text("65535")
    pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 65535")


def program(name, *args):
    return [str(PROGRAMS / name), *map(str, args)]


def output_of(name, *args):
    """Runs one of the bench's programs and returns what it has printed."""
    done = subprocess.run(program(name, *args), stdout=subprocess.PIPE, check=True, timeout=PATIENCE)
    return done.stdout.decode()


class Helper:
    """A program that answers each line of its standard input with one."""

    def __init__(self, name, *args, greets=True):
        self.process = subprocess.Popen(program(name, *args), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        if greets:
            self._line()

    def _line(self):
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise RuntimeError(f"{self.process.args[0]} does not answer")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[0]} has failed")
        return line.strip()

    def ask(self, line=""):
        self.process.stdin.write(f"{line}\n")
        return self._line()

    def close(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


@contextlib.contextmanager
def helper(name, *args, greets=True):
    one = Helper(name, *args, greets=greets)
    try:
        yield one
    finally:
        one.close()


class Running:
    """The service, running. limits: as it is shipped; else none. libexec: its roles' programs.
    Nobody follows its log meanwhile: that would slow its writing down."""

    def __init__(self, limits=False, libexec=LIBEXEC):
        self.libexec = libexec
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="eghostbuster-bench-"))
        self.folder.chmod(0o755)
        (self.folder / "log").mkdir()
        self.log = self.folder / "log/audit.jsonl"
        self.notify = self._notify_open()
        self.process = self._start(limits)
        self._wait_ready()
        self.roles = self._roles()

    def _notify_open(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.settimeout(machine.TIMEOUT)
        notify.bind(str(self.folder / "notify"))
        (self.folder / "notify").chmod(0o777)
        return notify

    def _start(self, limits):
        arguments = []
        if not limits:
            (self.folder / "conf").write_text(f"[daemon]\n{UNLIMITED}\n{RULES}")
            arguments = ["-c", str(self.folder / "conf"), "--destroy-ceiling", "10000000"]
        with open(self.folder / "stderr", "wb") as stderr:
            return subprocess.Popen(
                [str(LAUNCHER), *arguments, "--audit-log", str(self.log), "--libexec", str(self.libexec),
                 "--control", str(self.folder / "control.sock")],
                stdin=subprocess.DEVNULL, stderr=stderr,
                env={**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")})

    def _wait_ready(self):
        with contextlib.suppress(TimeoutError):
            while b"READY=1" not in self.notify.recv(4096).split(b"\n"):
                pass
            return
        self.process.kill()
        raise RuntimeError(f"the service is not ready:\n{self.stderr()}")

    def _roles(self):
        """Pids. The broker is the process that the launcher became."""
        pids = {os.path.basename(os.readlink(f"/proc/{pid}/exe")): pid
                for pid in machine.children(self.process.pid)}
        return {"tracker": pids["tracker"], "broker": self.process.pid, "reaper": pids["reaper"]}

    def stderr(self):
        return (self.folder / "stderr").read_text(errors="replace")

    def notifications_drop(self):
        """What a service manager would read."""
        self.notify.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self.notify.recv(4096):
                pass

    def cpu_ns(self):
        """What each role has used of the processors so far."""
        return {role: int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0])
                for role, pid in self.roles.items()}

    def programs(self):
        """Ids of the BPF programs that the tracker has attached."""
        ids = set()
        for info in pathlib.Path(f"/proc/{self.roles['tracker']}/fdinfo").iterdir():
            ids.update(re.findall(r"^prog_id:\s*(\d+)$", info.read_text(), re.MULTILINE))
        return sorted(map(int, ids))

    def stop(self):
        """Returns the `stop` record."""
        self.process.terminate()
        if self.process.wait(PATIENCE) != 0:
            raise RuntimeError(f"the service has failed:\n{self.stderr()}")
        for record in self.last_records():
            if record["event.action"] == "stop":
                return record
        raise RuntimeError("no `stop` record")

    def last_records(self):
        with open(self.log, "rb") as log:
            log.seek(max(0, os.stat(log.fileno()).st_size - (1 << 16)))
            return [json.loads(line) for line in log.read().splitlines()[1:]]

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        self.notify.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running(limits=False, libexec=LIBEXEC):
    one = Running(limits, libexec)
    try:
        yield one
    finally:
        one.close()


def tool_find(name):
    """One of libbpf-tools, which some distributions prefix."""
    for candidate in (name, f"/usr/sbin/{name}", f"bpf-{name}", f"/usr/sbin/bpf-{name}"):
        path = shutil.which(candidate)
        if path:
            return path
    return None


@contextlib.contextmanager
def tool(path):
    """A tracing tool that prints into nothing."""
    process = subprocess.Popen([path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _wait_attached(process)
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.stderr.close()


def _wait_attached(process):
    """Until it holds what attaches a BPF program, and a moment longer for the rest."""
    end = time.monotonic() + 20
    while not any(what in target for target in _descriptors(process.pid)
                  for what in ("bpf_link", "bpf-link", "perf_event")):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{process.args[0]} does not attach: "
                               f"{process.stderr.read1().decode(errors='replace')}")
        time.sleep(0.05)
    time.sleep(0.3)


def _descriptors(pid):
    with contextlib.suppress(FileNotFoundError, PermissionError):
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                yield os.readlink(fd)


class Sizes:
    """Of files, without what only a debugger reads."""

    @staticmethod
    def stripped(path, *command):
        with tempfile.NamedTemporaryFile() as out:
            subprocess.run([*command, "-o", out.name, str(path)], check=True)
            return os.stat(out.name).st_size

    @classmethod
    def all(cls):
        build = machine.BUILD
        sizes = {name: cls.stripped(path, "strip")
                 for name, path in (("launcher", build / "eghostbuster"), ("eghostctl", build / "eghostctl"),
                                    *((role, LIBEXEC / role) for role in ("tracker", "broker", "reaper")))}
        sizes["BPF object"] = cls.stripped(build / "bpf/tracker.bpf.o", "llvm-strip", "-g")
        return sizes
