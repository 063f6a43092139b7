# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests. They run as root, in a network namespace of their own."""

import os
import pathlib
import shutil
import signal
import tempfile

import pytest

import machine
from actors import Stage
from service import RULE_PER_CLASS, Service


def other_parts(part):
    """The files of the suite that are not in "N/OF" of it."""
    number, of = map(int, part.split("/"))
    files = sorted(path.name for path in pathlib.Path(__file__).parent.glob("test_*.py"))
    return [name for at, name in enumerate(files) if at % of != number - 1]


collect_ignore = other_parts(os.environ.get("EGB_PART", "1/1"))
# The intruder is built beside one build only.
if not (machine.BUILD / "intruder").is_dir():
    collect_ignore.append("test_intruder.py")


def pytest_configure(config):
    config.addinivalue_line("markers", "once: of rates and times, or of the whole machine; for one build that has it to itself")


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session", autouse=True)
def own_machine():
    if os.geteuid() == 0:
        os.umask(0o022)
        # What a shell has its background jobs ignore, those who are sent it here must not.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        machine.become_subreaper()
        machine.own_namespaces()
        with machine.own_cgroups():
            yield
    else:
        yield


@pytest.fixture
def folder():
    """A scratch folder that the unprivileged roles can search."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="eghostbuster-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def stage(folder, cgroup):
    """The actors' stage; control groups outlive it, because a busy one cannot be removed."""
    stage = Stage(folder)
    yield stage
    stage.close()


@pytest.fixture
def actor(stage):
    """Makes a new actor at each call."""
    return stage.actor


@pytest.fixture
def victim(stage):
    return stage.actor()


def ended_well(service, stage):
    """Lends a service to a test. Its standard error is shown when that fails."""
    yield service
    status = service.close()
    if service.process is not None:
        print(service.stderr())
    assert status in (None, 0), f"stopping it ended with {status}"
    leftovers = adopt_leftovers(stage)
    assert not leftovers, f"the service left processes behind: {leftovers}"


@pytest.fixture
def prepared(folder, stage):
    """A service that has not been started yet."""
    yield from ended_well(Service(folder, stage), stage)


@pytest.fixture
def service(prepared):
    """The service, enforcing the built-in rules."""
    return prepared.run()


@pytest.fixture
def per_class(prepared):
    """The service with one rule per exit class."""
    prepared.configure(RULE_PER_CLASS)
    return prepared.run()


def adopt_leftovers(stage):
    """Waits for our children that are no actors; ends and returns those that do not end."""
    known = {actor.pid for actor in stage.actors}
    found = []
    for pid in set(machine.children(os.getpid())) - known:
        if not machine.wait_death(pid):
            found.append((pid, machine.status_of(pid)["Name"]))
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return found


@pytest.fixture
def cgroup():
    """Makes control groups; removes them after the test, when the actors are dead."""
    groups = []

    def make(kind, *args):
        groups.append(kind(*args))
        return groups[-1]
    yield make
    for group in groups:
        group.remove()


@pytest.fixture
def far(actor):
    """A peer's machine: a process in a network namespace behind a cable (veth)."""
    holder = actor()
    holder.netns()
    machine.run(f"ip link add egb0 type veth peer name egb1 netns {holder.pid}")
    machine.run("ip link set egb0 up")
    machine.run("ip address add 10.99.0.1/24 dev egb0")
    machine.run("ip address add fd99::1/64 dev egb0 nodad")
    for command in ("link set egb1 up", "address add 10.99.0.2/24 dev egb1",
                    "address add fd99::2/64 dev egb1 nodad"):
        machine.in_netns(holder.pid, lambda: machine.run(f"ip {command}"))
    yield holder
    machine.run("ip link delete egb0")
