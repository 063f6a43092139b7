# SPDX-License-Identifier: Apache-2.0
"""What confinement must leave possible: reloading, and telling the service manager."""

import ctypes
import os
import pathlib
import shutil
import socket
import tempfile

import pytest

from machine import wait_readable
from service import RULE_PER_CLASS, RULES


SYS_LANDLOCK_CREATE_RULESET, LANDLOCK_VERSION = 444, 1


def landlock_abi():
    return ctypes.CDLL(None).syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION)


@pytest.fixture
def elsewhere():
    """A folder that is not below the service's, open to everybody."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="eghostbuster-elsewhere-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def put(path, rules):
    """As an editor does: a new file in the old one's place."""
    fresh = path.with_name("fresh")
    fresh.write_text(f"[daemon]\nmode = enforce\n{rules}")
    fresh.chmod(0o644)
    fresh.rename(path)


def test_reload_through_a_symbolic_link(prepared, elsewhere):
    """The configuration is really somewhere else, and there it is edited."""
    put(elsewhere / "policy", RULES)
    prepared.config.symlink_to(elsewhere / "policy")
    service = prepared.run()
    put(elsewhere / "policy", RULE_PER_CLASS)
    assert service.reload()["event.outcome"] == "success"
    assert f"reloaded {service.config}: 8 rules" in service.stderr()


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
def test_a_configuration_outside_is_not_read(prepared, elsewhere):
    """A link made after the start leads nowhere, though everybody may read what it names."""
    service = prepared.run()
    put(elsewhere / "policy", RULE_PER_CLASS)
    service.config.unlink()
    service.config.symlink_to(elsewhere / "policy")
    assert service.reload()["event.outcome"] == "failure"
    assert "Permission denied" in service.stderr()


def test_abstract_notification_socket(prepared):
    """Connected before the confinement, so it works: containers hand over such a name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"eghostbuster-{os.getpid()}"
        manager.bind("\0" + name)
        prepared.start(environment={"NOTIFY_SOCKET": "@" + name})
        said = []
        while "STATUS=guarding" not in said:
            assert wait_readable([manager.fileno()]), f"{said}\n{prepared.stderr()}"
            said += manager.recv(4096).decode().split("\n")
        assert prepared.stop() == 0
        while wait_readable([manager.fileno()], timeout=0):
            said += manager.recv(4096).decode().split("\n")
    heard = [line for line in said if not line.startswith("FD")]  # what the tracker has kept
    assert heard[0] == "READY=1" and heard[-1] == "STOPPING=1"
