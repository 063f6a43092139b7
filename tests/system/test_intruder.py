# SPDX-License-Identifier: Apache-2.0
"""Somebody has code running inside a role (tests/variants/intruder.c): one system call of his, right
behind the filter. Whatever he tries, the role dies of it, the service stops and says so, and the
kernel's log names the program."""

import contextlib
import errno
import os
import pathlib
import re
import shutil
import signal
import socket

import pytest

from machine import BUILD, TIMEOUT, wait_readable
from test_hostile_sink import GONE
from test_sandbox import landlock_abi

ROLES = ["tracker", "reaper", "broker"]
REFUSED = """
open-relative open-absolute open-by-folder open-cut open-memory stat unlinkat ftruncate mount chroot
socket-inet socket-netlink socket-unix sendmsg sendto-address dup dup-to-the-log fcntl ioctl
bpf-load bpf-attach bpf-iterate bpf-map perf_event_open
ptrace-attach kill-role kill-init tgkill pidfd_send_signal process_vm_readv
execve execveat clone clone3 setns unshare
mmap-execute mmap-file mprotect-execute pkey_mprotect memfd_create userfaultfd
prctl-dumpable setuid capset personality keyctl io_uring_setup seccomp
""".split()
if os.uname().machine == "x86_64":
    REFUSED += ["fork", "other-architecture", "x32"]
# What the broker's filter has to let pass, for it opens files by their folder: Landlock refuses it.
OUTSIDE = ["config-absolute", "config-upwards", "log-absolute", "log-upwards"]

NETLINK_AUDIT, AUDIT_NLGRP_READLOG = 9, 1
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
RATE = pathlib.Path("/proc/sys/kernel/printk_ratelimit")


class KernelLog:
    """What the kernel tells of filters: to whoever subscribes (in the first network namespace), and
    where no audit daemon runs, to its own log, as long as that is not told to be brief."""

    def __init__(self):
        self.fds = [os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)]
        os.lseek(self.fds[0], 0, os.SEEK_END)
        with contextlib.suppress(OSError):
            audit = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)
            audit.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, AUDIT_NLGRP_READLOG)
            self.fds.append(audit.detach())

    def wait(self, program):
        """The event of a filter that program ran into, as a dictionary."""
        while ready := wait_readable(self.fds):
            text = os.read(ready[0], 1 << 16).decode(errors="replace")
            fields = dict(re.findall(r"(\w+)=(\S+)", text))
            if fields.get("exe") == f'"{program}"' and "sig" in fields:
                return fields
        raise AssertionError(f"no event of {program}")

    def close(self):
        for fd in self.fds:
            os.close(fd)


@pytest.fixture(scope="module")
def kernel_log():
    rate = RATE.read_text()
    RATE.write_text("0")
    log = KernelLog()
    yield log
    log.close()
    RATE.write_text(rate)


@pytest.fixture
def intruded(prepared):
    """Starts the service with an intruder: (role, action) -> the service."""
    libexec = prepared.folder / "libexec"
    shutil.copytree(BUILD / "intruder/libexec", libexec)

    def start(role, action):
        (libexec / "script").write_text(f"{role} {action}\n")
        return prepared.start("--libexec", str(libexec))
    return start


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", REFUSED)
def test_refused(intruded, kernel_log, role, action):
    service = intruded(role, action)
    status = service.process.wait(TIMEOUT)
    said = service.stderr()
    program = service.folder / "libexec" / role
    assert "intruder" not in said, "it was let pass"
    assert "guards" not in said, "the service took up work"
    if action == "other-architecture" and (status == -signal.SIGSEGV or "by signal 11" in said):
        return  # a kernel that has no other architecture: the instruction itself is fatal
    if role == "broker":
        assert status == -signal.SIGSYS
    else:
        assert status == 1
        line = f"the {role} ({program}) was ended by SIGSYS: it made a system call that its filter refuses"
        assert line in said
    event = kernel_log.wait(program)
    assert event["sig"] == "31" and event["comm"] == f'"eghost-{role}"'


@pytest.mark.parametrize("action", ["open-absolute", "socket-netlink", "sendto-address", "execve"])
def test_refused_to_the_sink(intruded, prepared, kernel_log, action):
    """It dies of it, too, and nothing else does."""
    prepared.configure(daemon="linux_audit = yes")
    service = intruded("sink", action)
    service.wait_notification(b"READY=1")
    program = service.folder / "libexec" / "sink"
    event = kernel_log.wait(program)
    assert event["sig"] == "31" and event["comm"] == '"eghost-sink"'
    assert service.stop() == 0
    said = service.stderr()
    assert "intruder" not in said, "it was let pass"
    assert f"the sink ({program}) was ended by SIGSYS" in said and GONE in said


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
@pytest.mark.parametrize("action", OUTSIDE)
def test_outside_its_folders_the_broker_opens_nothing(intruded, action):
    pathlib.Path("/tmp/eghostbuster-intruder").unlink(missing_ok=True)
    service = intruded("broker", action)
    service.wait_notification(b"READY=1")
    assert f"intruder: {action}: errno {errno.EACCES}" in service.stderr()
    assert not (service.folder / "eghostbuster-intruder").exists()
    assert not os.path.exists("/tmp/eghostbuster-intruder")
    assert service.stop() == 0


def test_in_its_folder_the_broker_opens_the_configuration(intruded):
    """The same call with a name it is meant for: what is refused above is refused for the name."""
    service = intruded("broker", "config-itself")
    service.wait_notification(b"READY=1")
    assert "intruder: config-itself: done" in service.stderr()
    assert service.stop() == 0
