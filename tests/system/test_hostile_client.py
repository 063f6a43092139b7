# SPDX-License-Identifier: Apache-2.0
"""Clients of the control socket that are no eghostctl: nothing that they do keeps the service from its work."""

import contextlib
import os
import pathlib
import resource
import socket
import subprocess

import pytest

import machine
import sockets
from hostile import as_role, ask, cpu_s
from machine import NOBODY, TIMEOUT, eventually, wait_readable
from service import CTL

CROWD = 1000


def call(service):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(TIMEOUT)
    client.connect(str(service.control))
    return client


def cut_off(client):
    """Whether the service hangs up; what it said before."""
    data = b""
    try:
        while piece := client.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    client.close()
    return data


@pytest.fixture
def bust(service, victim):
    """A ghost is destroyed, in time, whatever happens at the control socket meanwhile."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()

    def check():
        victim.kill()
        _, result = service.destroyed(connection)
        assert result["eghostbuster.latency_ns"] < 2_000_000_000, result
        assert ask(service)["ready"] is True
    return check


GARBAGE = [b"\n", b"\0\0\0\n", b"status", b"status \n", b"stop\n", b"\xff" * 40, b"A" * 63,
           b"A" * 100000, b"status\nstatus\nstatus\n", b'{"verb":"status"}\n', b"metrics",
           b"metrics\r\n", b"METRICS\n", b"metrics\0\n", os.urandom(4096)]


def test_garbage(service, bust):
    for line in GARBAGE * 5:
        client = call(service)
        try:
            client.sendall(line)
            client.shutdown(socket.SHUT_WR)
        except OSError:  # it has hung up before
            pass
        answer = cut_off(client)
        assert answer in (b"", b'{"error":"unknown request"}\n') or answer.startswith(b"{"), answer
    bust()


def test_drip(service, bust):
    """A byte now and then does not win time: two seconds are all there are."""
    clients = [call(service) for _ in range(7)]
    dripping = set(clients)

    def dripped():
        for client in list(dripping):
            try:
                client.sendall(b"s")
            except (BrokenPipeError, ConnectionResetError):
                dripping.remove(client)
        return not dripping
    bust()
    wait_each = 0.2  # so that 63 bytes would take much longer than the patience

    def step():
        wait_readable([], wait_each)
        return dripped()
    eventually(step, "all are cut off", timeout=6)
    for client in clients:
        client.close()


def test_never_reads(service, bust):
    clients = [call(service) for _ in range(7)]
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.sendall(b"metrics\n")
    bust()
    for client in clients:
        client.close()


def test_a_thousand_at_once(service, bust):
    """Eight at a time; no descriptor is lost, and none is left over."""
    before = len(os.listdir(f"/proc/{service.pid}/fd"))
    clients = []
    for _ in range(CROWD):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.setblocking(False)
        try:
            client.connect(str(service.control))
        except BlockingIOError:  # the queue is full
            pass
        clients.append(client)
    assert len(os.listdir(f"/proc/{service.pid}/fd")) <= before + 8
    for client in clients:
        client.close()
    bust()
    eventually(lambda: len(os.listdir(f"/proc/{service.pid}/fd")) == before, "none is left over")


def limit_set(pid, soft):
    """As the broker's own uid, which may; None: as high as it can be."""
    def change():
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard if soft is None else soft, hard))
    assert as_role(pid, change) == 0


def test_no_descriptor_for_a_client(service, bust):
    """accept() that fails again and again is not tried again and again."""
    used = len(os.listdir(f"/proc/{service.pid}/fd"))
    limit_set(service.pid, used)
    begun = cpu_s(service.pid)
    clients = [call(service) for _ in range(4)]
    wait_readable([clients[0].fileno()], 1.5)
    spent = cpu_s(service.pid) - begun
    limit_set(service.pid, None)
    # A loop without a rest takes all it can get, and that is more on the busiest machine.
    assert spent < 0.1, f"{spent} s of processor time in 1.5 s"
    clients[0].sendall(b"status\n")
    assert cut_off(clients[0]).startswith(b"{")
    for client in clients[1:]:
        client.close()
    bust()


def status_as(service, *ids):
    """What eghostctl answers somebody else: exit status and text."""
    ended = subprocess.run(
        ["setpriv", "--reuid", str(NOBODY), *ids, CTL, "status", "--control", service.control],
        capture_output=True, text=True, timeout=TIMEOUT, check=False)
    return ended.returncode, ended.stdout + ended.stderr


STRANGER = ("--regid", str(NOBODY), "--clear-groups")


@pytest.fixture
def no_control_group(folder):
    """As where nothing is installed."""
    groups = folder / "group"
    groups.write_text("".join(line for line in pathlib.Path("/etc/group").read_text().splitlines(keepends=True)
                              if not line.startswith("_eghost-control:")))
    machine.run(f"mount --bind {groups} /etc/group")
    yield
    machine.run("umount /etc/group")


def test_not_root(no_control_group, service, bust):
    """The socket is root's; where its mode let others in, who asks is seen, too."""
    assert service.control.stat().st_mode & 0o777 == 0o600
    status, said = status_as(service, *STRANGER)
    assert status == 1 and "Permission denied (only root may ask)" in said
    os.chmod(service.control, 0o777)
    status, said = status_as(service, *STRANGER)
    assert status == 1 and said.endswith("permission denied: only root may ask\n")
    bust()


GROUP = 4242


@pytest.fixture
def grouped(prepared):
    prepared.configure(daemon=f"control_group = {GROUP}")
    return prepared.run()


def test_the_control_group(grouped, victim):
    """Whoever has it as its own group or among its others may ask, and nobody else."""
    stat = grouped.control.stat()
    assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o777) == (0, GROUP, 0o660)
    for ids in (("--regid", str(GROUP), "--clear-groups"),
                ("--regid", str(NOBODY), "--groups", f"{GROUP - 1},{GROUP},{GROUP + 1}")):
        status, said = status_as(grouped, *ids)
        assert status == 0 and "ready" in said, said
    status, said = status_as(grouped, *STRANGER)
    assert status == 1 and f"only root and members of group {GROUP} may ask" in said
    os.chmod(grouped.control, 0o777)
    for ids in (STRANGER, ("--regid", str(NOBODY), "--groups", f"{GROUP - 1},{GROUP + 1}")):
        status, said = status_as(grouped, *ids)
        assert status == 1
        assert said.endswith(f"permission denied: only root and members of group {GROUP} may ask\n")
    grouped.configure(daemon=f"control_group = {GROUP + 1}")
    assert "control_group cannot change" in grouped.reload()["error.message"]


def test_the_control_group_does_not_keep_root_waiting(grouped):
    def member():
        os.setegid(GROUP)
        os.seteuid(NOBODY)
        try:
            return call(grouped)
        finally:
            os.seteuid(0)
            os.setegid(0)
    silent = [member() for _ in range(4)]
    assert b"too many of the group" in cut_off(member())
    assert ask(grouped)["ready"] is True
    for client in silent:
        client.close()

    def answer():
        client = member()
        with contextlib.suppress(BrokenPipeError):  # turned away before it has asked
            client.sendall(b"metrics\n")
        return cut_off(client)
    # ... nor, one after the other, the ghosts: after some in a second the others are turned away.
    answers = [answer()]
    while answers[-1].endswith(b"# EOF\n") and len(answers) < 2000:
        answers.append(answer())
    assert len(answers) > 10 and b"too many of the group" in answers[-1]
    assert ask(grouped)["ready"] is True
