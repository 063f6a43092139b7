# SPDX-License-Identifier: Apache-2.0
"""What the tests need from the machine: namespaces, cgroups, processes, waiting for a condition."""

import contextlib
import ctypes
import os
import pathlib
import select
import subprocess
import threading
import time

# How many times slower than an ordinary machine this one is, an emulated one say: time limits are so many times longer.
PATIENCE = float(os.environ.get("EGB_PATIENCE", "1"))
TIMEOUT = 20.0 * PATIENCE  # generous: it only ends a test that has failed
BUILD = pathlib.Path(os.environ.get("EGB_BUILD", "build")).resolve()
NOBODY = 65534
INSTALLED = ("/etc/eghostbuster", "/run/eghostbuster", "/var/lib/eghostbuster", "/var/log/eghostbuster")

CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x20000
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def own_namespaces():
    """Moves this process to a network of its own, where no stranger's socket is in reach, and to
    mounts of its own, which end with it. What a service of this machine has is not there."""
    _checked(_libc.unshare(CLONE_NEWNS), "unshare")
    run("mount --make-rprivate /")
    for folder in filter(os.path.isdir, INSTALLED):
        run(f"mount -t tmpfs -o mode=755 tmpfs {folder}")
    own_network()


def own_network():
    """Moves this process to a new network, in which there is no socket yet. /sys stays the old one's."""
    _checked(_libc.unshare(CLONE_NEWNET), "unshare")
    run("ip link set lo up")


@contextlib.contextmanager
def datagrams_kept(count):
    """Unix sockets that are made meanwhile keep so many messages that nobody has read yet."""
    length = pathlib.Path("/proc/sys/net/unix/max_dgram_qlen")
    usual = length.read_text()
    length.write_text(str(count))
    yield
    length.write_text(usual)


def become_subreaper():
    """What a dying service leaves behind becomes our child, and so is found."""
    _checked(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "PR_SET_CHILD_SUBREAPER")


def in_netns(pid, function):
    """Runs function in the network namespace of process pid; sockets it makes stay there."""
    if pid == "self":
        return function()
    box = {}

    def run():
        try:
            with open(f"/proc/{pid}/ns/net") as ns:
                _checked(_libc.setns(ns.fileno(), CLONE_NEWNET), "setns")
            box["value"] = function()
        except BaseException as error:  # handed to the caller, who can tell
            box["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "error" in box:
        raise box["error"]
    return box["value"]


def run(command):
    subprocess.run(command.split(), check=True)


def eventually(condition, what, timeout=TIMEOUT):
    """Where the kernel has no event: looks again until condition() is true; returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        select.select([], [], [], 0.005)


def wait_readable(fds, timeout=TIMEOUT):
    """Returns those of fds that are readable, [] after the timeout."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return [fd for fd, _ in poller.poll(timeout * 1000)]


def wait_death(pid, timeout=TIMEOUT):
    """Whether a process that has not been reaped is dead within timeout."""
    pidfd = os.pidfd_open(pid)
    try:
        return bool(wait_readable([pidfd], timeout))
    finally:
        os.close(pidfd)


def status_of(pid):
    """/proc/PID/status as a dictionary."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return {k: v.strip() for k, v in (line.split(":", 1) for line in text.splitlines())}


def children(pid):
    """Pids whose parent is pid, zombies included."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # glob() would ask for what has gone meanwhile
        try:
            fields = pathlib.Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(name))
    return sorted(found)


def sockstat():
    """The TCP line of /proc/net/sockstat: orphan, mem (pages) ..."""
    for line in pathlib.Path("/proc/net/sockstat").read_text().splitlines():
        name, *rest = line.split()
        if name == "TCP:":
            return dict(zip(rest[::2], map(int, rest[1::2])))
    raise AssertionError("no TCP line in /proc/net/sockstat")


def mount_of(kind, option=None):
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, where, what, options, *_ = line.split()
        if what == kind and (option is None or option in options.split(",")):
            return pathlib.Path(where)
    return None


_own_groups = []


@contextlib.contextmanager
def own_cgroups():
    """Control groups that are made meanwhile are this process's: others may use the same names."""
    yield
    for folder in _own_groups:
        folder.rmdir()
    _own_groups.clear()


def own_group(parent):
    folder = parent / f"egb-{os.getpid()}"
    if folder not in _own_groups:
        folder.mkdir()
        _own_groups.append(folder)
    return folder


class Cgroup:
    """A control group that exists for one test."""

    def __init__(self, path):
        self.path = path
        path.mkdir()

    @classmethod
    def unit(cls, name):
        return cls(own_group(mount_of("cgroup2")) / name)

    @classmethod
    def limited(cls, name, limit):
        """One whose processes may use `limit` bytes of memory and no swap."""
        v1 = mount_of("cgroup", "memory")
        parent = own_group(v1 or mount_of("cgroup2"))
        for folder in () if v1 else (parent.parent, parent):
            (folder / "cgroup.subtree_control").write_text("+memory")
        group = cls(parent / name)
        (group.path / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(limit))
        swap = group.path / ("memory.swappiness" if v1 else "memory.swap.max")
        if swap.exists():
            swap.write_text("0")
        return group

    def add(self, pid):
        (self.path / "cgroup.procs").write_text(str(pid))

    def remove(self):
        # A cgroup stays busy for a moment after its last process has died.
        eventually(lambda: self._removed(), f"{self.path} can be removed")

    def _removed(self):
        try:
            self.path.rmdir()
        except OSError:
            return False
        return True
