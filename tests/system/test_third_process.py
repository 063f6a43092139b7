# SPDX-License-Identifier: Apache-2.0
"""A process that is none of the service's, in the same network namespace, perhaps with a role's uid."""

import ctypes
import errno
import fcntl
import os
import pathlib
import signal
import socket
import struct
import subprocess

import pytest

import records
import sockets
from hostile import as_role
from machine import NOBODY, TIMEOUT, eventually
from service import LAUNCHER

ROLES = ("tracker", "broker", "reaper")
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD = 434, 438
NETLINK_SOCK_DIAG = 4


def ptrace(request):
    def attach(pid):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(request, pid, 0, 0) < 0:
            raise OSError(ctypes.get_errno(), "ptrace")
    return attach


def memory_read(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    here, there = ctypes.create_string_buffer(8), (ctypes.c_void_p * 2)(0x1000, 8)
    mine = (ctypes.c_void_p * 2)(ctypes.addressof(here), 8)
    if libc.process_vm_readv(pid, mine, 1, there, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")


def descriptor_steal(pid):
    """The channel, above all."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    if libc.syscall(SYS_PIDFD_GETFD, pidfd, 3, 0) < 0:
        raise OSError(ctypes.get_errno(), "pidfd_getfd")


TRICKS = {
    "ptrace attach": ptrace(PTRACE_ATTACH),
    "ptrace seize": ptrace(PTRACE_SEIZE),
    "process_vm_readv": memory_read,
    "pidfd_getfd": descriptor_steal,
    "mem": lambda pid: os.open(f"/proc/{pid}/mem", os.O_RDONLY),
    "environ": lambda pid: os.open(f"/proc/{pid}/environ", os.O_RDONLY),
    "maps": lambda pid: pathlib.Path(f"/proc/{pid}/maps").read_text(),
    "fd": lambda pid: os.listdir(f"/proc/{pid}/fd"),
    "fd/3": lambda pid: os.open(f"/proc/{pid}/fd/3", os.O_RDWR),
    "root": lambda pid: os.listdir(f"/proc/{pid}/root"),
    "oom_score_adj": lambda pid: pathlib.Path(f"/proc/{pid}/oom_score_adj").write_text("1000"),
}


@pytest.mark.once
def test_same_uid_sees_nothing(prepared):
    """Neither memory nor descriptors; and the channel has no name to be joined by."""
    prepared.configure(daemon="linux_audit = yes")
    service = prepared.run()
    for role in (*ROLES, "sink"):
        pid = service.roles()[role]
        refused = {name: as_role(pid, lambda: trick(pid)) for name, trick in TRICKS.items()}
        assert set(refused.values()) <= {errno.EPERM, errno.EACCES}, (role, refused)
    service.fence()


@pytest.mark.once
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda n: n.name)
def test_same_uid_can_signal(prepared, role, number, monkeypatch):
    """The kernel lets it: then the service ends, and says so; it is never ended in silence."""
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    service = prepared.run()
    pid = service.roles()[role]
    assert as_role(pid, lambda: os.kill(pid, number)) == 0
    if role == "broker":
        if number == signal.SIGSTOP:  # it feeds no watchdog: the service manager's affair
            os.kill(pid, signal.SIGKILL)
        assert service.process.wait(TIMEOUT) == -signal.SIGKILL
        return
    assert service.process.wait(TIMEOUT) == 1
    said = service.stderr()
    assert f"the {role} is gone" in said or "does not answer" in said or "has stopped" in said
    last = service.audit.all(event__action="stop")[-1]
    assert last["event.reason"] in (f"{role}-lost", "failure")
    records.Checker().check(service.log_path)
    if number == signal.SIGSTOP:
        os.kill(pid, signal.SIGKILL)


def test_another_uid_cannot_signal(service):
    for pid in service.roles().values():
        other = next(p for p in service.roles().values() if p != pid)
        assert as_role(other, lambda: os.kill(pid, signal.SIGKILL)) == errno.EPERM
    service.fence()


def netlink_ports(pid):
    """Port ids of a process's netlink sockets."""
    inodes = {os.readlink(f"/proc/{pid}/fd/{fd}")[8:-1] for fd in os.listdir(f"/proc/{pid}/fd")
              if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")}
    lines = pathlib.Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]
    return [int(line.split()[2]) for line in lines if line.split()[9] in inodes]


def answer(sequence, error):
    """What the kernel would say: NLMSG_ERROR."""
    return struct.pack("=IHHIIiIHHII", 36, 2, 0, sequence, 0, error, 20, 21, 5, sequence, 0)


def flood(port, group=0):
    """Sends what looks like the kernel's answers. Returns the errnos."""
    seen = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as nl:
        nl.setblocking(False)
        for sequence in range(20000):
            try:
                nl.sendto(answer(sequence % 200, 0), (port, group))
                seen.add(0)
            except OSError as error:
                seen.add(error.errno)
    return seen


def test_netlink_spoofing(service, victim):
    """Even root's words do not reach the reaper's sockets: they are connected to the kernel."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    pid = service.roles()["reaper"]
    ports = netlink_ports(pid)
    assert len(ports) == 2
    for port in ports:
        assert flood(port) == {errno.ECONNREFUSED}
        assert as_role(pid, lambda: raise_all(flood(port))) in (errno.EPERM, errno.ECONNREFUSED)
    # Multicast reaches who has subscribed; the reaper has not.
    flood(0, group=1 << 1)
    victim.kill()
    service.destroyed(connection)
    service.fence()


def raise_all(errnos):
    for number in errnos:
        if number != 0:
            raise OSError(number, "netlink")


def test_files_of_the_service(service, victim):
    """What a stranger may open, lock and make there: nothing."""
    lock, log = f"{service.control}.lock", str(service.log_path)
    stranger = service.roles()["tracker"]  # any unprivileged uid but the broker's
    for path, flags in ((lock, os.O_RDONLY), (log, os.O_RDONLY), (log, os.O_WRONLY)):
        assert as_role(stranger, lambda: os.open(path, flags)) == errno.EACCES
    assert as_role(stranger, lambda: os.unlink(log)) in (errno.EACCES, errno.EPERM)
    # And whoever may open the lock file finds it locked.
    with open(lock, "rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(log, "rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    ended = subprocess.run(service.command(), capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert ended.returncode == 1 and "another eghostbuster runs" in ended.stderr
    assert LAUNCHER.exists()
    service.fence()


def replaced(kind, path, aside):
    """Another thing in the log's place. Returns the file that must stay as it is, or None."""
    target = path.with_name("target")
    target.write_text("mine\n")
    path.rename(aside)
    if kind == "symlink":
        path.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(path, 0o666)
        return None
    elif kind == "hard link":
        os.link(target, path)
    elif kind == "directory":
        path.mkdir()
        return None
    else:
        target.rename(path)
        os.chown(path, NOBODY, NOBODY)
        os.chmod(path, 0o666)
        return path
    return target


def put_back(path, aside):
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()
    aside.rename(path)


def test_log_replaced(service, stage):
    """Told to reopen it, the service finds something else there: records go on to the old file."""
    aside = service.log_path.with_name("aside")
    kinds = ("symlink", "fifo", "hard link", "directory", "a stranger's file")
    for count, kind in enumerate(kinds, start=1):
        bait = replaced(kind, service.log_path, aside)
        service.process.send_signal(signal.SIGHUP)
        eventually(lambda: service.stderr().count("records go on to the file") == count,
                   f"the service says so of a {kind}")
        connection = sockets.connect(victim := stage.actor(), sockets.Listener())
        connection.fill()
        victim.kill()
        eventually(lambda: aside.read_bytes().count(b'"eghostbuster.result":"destroyed"') == count,
                   "the record is in the old file")
        assert bait is None or bait.read_text() == "mine\n"
        put_back(service.log_path, aside)
    assert service.stop() == 0
    records.Checker().check(service.log_path)
