# SPDX-License-Identifier: Apache-2.0
"""The service and its metrics, confined as their units say (unit.py). systemd-analyze judges what the
units say; this, that they leave enough."""

import os
import pathlib
import pwd
import re
import shutil
import stat
import subprocess
import sys

import pytest

import sockets
import unit
from conftest import ended_well
from machine import TIMEOUT, status_of
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from service import CTL, LAUNCHER, LIBEXEC, Service

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None or shutil.which("systemd-sysusers") is None,
                                reason="systemd is not installed")


def prefix(name, state):
    return ["unshare", "--mount", sys.executable, "-B", unit.__file__, name, str(state)]


class UnitService(Service):
    """All folders where they are when it is installed."""

    def __init__(self, folder, stage):
        super().__init__(folder, stage)
        self.state = folder / "unit"
        self.state.mkdir()
        unit.state_make(self.state)
        self.log_folder = self.state / "log"
        self.control = self.state / "run/control.sock"

    def command(self, *args):
        return [*prefix("eghostbuster.service", self.state), str(LAUNCHER), "--libexec", str(LIBEXEC),
                "-c", str(self.config), *args]

    def account(self, name):
        for line in (self.state / "etc/passwd").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split(":")[2])
        raise KeyError(name)

    def metrics(self):
        """ExecStart= of the metrics unit. Returns the file it has written."""
        program, *args = unit.Unit("eghostbuster-metrics.service").one("ExecStart").split()
        assert program == "/usr/bin/eghostctl"
        subprocess.run([*prefix("eghostbuster-metrics.service", self.state), str(CTL), *args], check=True,
                       timeout=3 * TIMEOUT)
        return self.state / "metrics" / os.path.basename(args[-1])


@pytest.fixture
def confined(folder, stage):
    yield from ended_well(UnitService(folder, stage), stage)


def test_the_unit_leaves_enough(confined, victim):
    """A ghost is destroyed; nobody ever was root, and each role has its account and capability."""
    confined.run()
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    confined.destroyed(connection)
    start = confined.audit.all(event__action="start")[0]
    assert start["host.boot.id"] == pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert start["eghostbuster.mode"] == "enforce"
    wanted = {"broker": 0, "reaper": 1 << 12, "tracker": 1 << 39}
    for role, pid in confined.roles().items():
        status = status_of(pid)
        assert set(status["Uid"].split()) == {str(confined.account(f"_eghost-{role}"))}
        assert int(status["CapPrm"], 16) == wanted.pop(role)
        assert status["Groups"] == ""
    assert wanted == {}
    assert confined.stop() == 0


def test_files(confined):
    """The log can be read by its folder's group, whatever the unit's umask is; the socket by the group
    that sysusers.d makes."""
    confined.run()
    log, socket = confined.log_path.stat(), confined.control.stat()
    assert stat.S_IMODE(log.st_mode) == 0o640 and stat.S_IMODE(socket.st_mode) == 0o660
    assert log.st_uid == confined.account("_eghost-broker")
    assert log.st_gid == confined.log_folder.stat().st_gid
    groups = (confined.state / "etc/group").read_text().splitlines()
    assert any(line.startswith(f"_eghost-control:x:{socket.st_gid}:") for line in groups)
    assert any(line.startswith(f"adm:x:{log.st_gid}:") for line in groups)


def test_a_second_start(confined, victim):
    """On what the first has left, with a key for the seals that root has made meanwhile."""
    confined.run()
    assert confined.stop() == 0
    subprocess.run([CTL, "seal-key", "--log", confined.log_path], check=True, capture_output=True)
    confined.audit = None
    confined.run()
    assert confined.audit.all(event__action="start")[-1]
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    confined.destroyed(connection)
    assert confined.stop() == 0
    verified = subprocess.run([CTL, "verify", confined.log_path], capture_output=True, text=True, check=True)
    assert "intact and closed" in verified.stdout
    assert b"eghostbuster.seal" in confined.log_path.read_bytes()


def test_the_kernels_audit(confined, victim):
    """With the lines that eghostbuster.conf(5) has for `systemctl edit`; without them the start fails."""
    confined.configure(daemon="linux_audit = yes")
    status, lines = confined.start().fails()
    assert status == 1 and "CAP_AUDIT_WRITE is missing" in lines[-1]
    page = (unit.SYSTEMD / "../../broker/eghostbuster.conf.5").read_text()
    drop_in = re.search(r"\.Bd -literal[^\n]*\n(\[Service\]\n.*?)\.Ed", page, re.DOTALL)[1]
    (confined.state / "drop-in.conf").write_text(drop_in)
    confined.run()
    sink = status_of(confined.roles()["sink"])
    assert int(sink["CapPrm"], 16) == 1 << unit.CAPABILITIES["CAP_AUDIT_WRITE"]
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    confined.destroyed(connection)


def test_metrics(confined):
    """Written whole, for everybody to read, by an account that is nobody else's."""
    confined.run()
    for _ in range(2):
        path = confined.metrics()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.stat().st_uid == confined.account("_eghost-metrics")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    families = {family.name for family in text_string_to_metric_families(path.read_text())}
    assert "eghostbuster_reaps" in families


def test_metrics_cannot_be_written(confined, folder):
    confined.run()
    ended = subprocess.run([CTL, "metrics", "--control", confined.control, "--output", folder / "none/file"],
                           capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"eghostctl: cannot write {folder}/none/file.new: No such file or directory\n"


def test_another_account():
    """It is root, or who the broker is to be."""
    uid = pwd.getpwnam("daemon").pw_uid
    ended = subprocess.run(["setpriv", f"--reuid={uid}", "--clear-groups", "--inh-caps=+setuid,+setgid,+setpcap,+net_admin,+bpf,+perfmon",
                            "--ambient-caps=+setuid,+setgid,+setpcap,+net_admin,+bpf,+perfmon", LAUNCHER, "--libexec", LIBEXEC],
                           capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"started as uid {uid}: expected root or the broker's account" in ended.stderr
