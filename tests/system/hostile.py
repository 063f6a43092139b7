# SPDX-License-Identifier: Apache-2.0
"""Programs that take the place of a role, and the host they aim at (tests/hostile/)."""

import json
import os
import pathlib
import shutil
import socket
import subprocess

import records
from machine import BUILD, TIMEOUT, eventually, status_of
from service import LIBEXEC

PROGRAMS = BUILD / "tests" / "hostile"


class Impostor:
    """A folder of roles in which some are not the real ones."""

    def __init__(self, folder, service):
        self.service = service
        self.libexec = folder / "libexec"
        self.libexec.mkdir(mode=0o755)
        for role in ("tracker", "broker", "reaper", "sink"):
            (self.libexec / role).symlink_to(LIBEXEC / role)

    def replace(self, role, scenario, count=0):
        path = self.libexec / role
        path.unlink()
        shutil.copy(PROGRAMS / role, path)
        (self.libexec / f"{role}.scenario").write_text(f"{scenario} {count}\n")
        return self

    def run(self, *args):
        self.service.run("--libexec", str(self.libexec), *args)
        return self.service

    def start(self, *args):
        self.service.start("--libexec", str(self.libexec), *args)
        return self.service

    def ends(self):
        """Waits for a service that ends by itself: never with 0. Returns its standard error."""
        status = self.service.process.wait(TIMEOUT)
        said = self.service.stderr()
        assert status == 1, f"ended with {status}:\n{said}"
        assert "Sanitizer" not in said and "this is a bug" not in said, said
        self.check()
        return said

    def check(self):
        """The log of all runs so far, to the letter."""
        if not self.service.log_path.exists():
            return records.Checker()
        return records.Checker().check(self.service.log_path)

    def said(self, words, timeout=TIMEOUT):
        """Waits until standard error has these words; returns their line."""
        def lines():
            return [line for line in self.service.stderr().splitlines() if words in line]
        return eventually(lines, f"'{words}' on standard error", timeout)[0]


class Host:
    """The crowd of tests/hostile/crowd.c, in this network namespace."""

    def __init__(self, folder, live, orphans):
        self.targets = folder / "targets"
        self.process = subprocess.Popen(
            [PROGRAMS / "host", str(live), str(orphans), str(self.targets)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.words = []
        assert self._answer() == "ready", self.words

    def _answer(self):
        for line in self.process.stdout:
            self.words.append(line.strip())
            print(line, end="")
            if not line.startswith("#"):
                return line.strip()
        raise AssertionError(f"the host ended: {self.words}")

    def ask(self, order):
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return self._answer()

    def assert_unharmed(self):
        assert self.ask("check") == "ok", self.words

    def assert_accepts(self):
        assert self.ask("accept") == "ok", self.words

    def orphans_left(self):
        return int(self.ask("left"))

    def orphan_cookies(self):
        """Read from the file: struct target is 64 bytes, tuple, cookie, kind, state."""
        data = self.targets.read_bytes()
        fields = (data[at:at + 64] for at in range(0, len(data), 64))
        return {hex(int.from_bytes(t[48:56], "little")) for t in fields
                if int.from_bytes(t[56:60], "little") == 1}

    def close(self):
        self.process.stdin.close()
        self.process.wait(TIMEOUT)
        self.process.stdout.close()


def answer(service, verb):
    """What the running service answers on its control socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT)
        client.connect(str(service.control))
        client.sendall(f"{verb}\n".encode())
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def ask(service):
    """What it says of itself."""
    return json.loads(answer(service, "status"))


def as_role(pid, function):
    """Runs function in a child with the uid and gid of that process, and no capability. Returns the
    errno it ended with, 0 when it did what it should not be able to."""
    uid, gid = (int(status_of(pid)[name].split()[0]) for name in ("Uid", "Gid"))
    child = os.fork()
    if child == 0:
        code = 255
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            function()
            code = 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def memory_kb(pid):
    """The most that a process ever had in memory."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


def cpu_s(pid):
    """Processor time that a process has used, in seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
