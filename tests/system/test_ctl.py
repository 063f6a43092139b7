# SPDX-License-Identifier: Apache-2.0
"""eghostctl: looks at what is there, as an ordinary user; asks the service, as root."""

import json
import socket
import subprocess

import pytest

import machine
import sockets
from machine import NOBODY, TIMEOUT
from service import CTL, RULES

ORDINARY = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
POLICY = """[daemon]
mode = observe
[rule last]
exit = unknown
state = last-ack
action = ignore
[rule others]
exit = unknown
action = destroy
"""


def ctl(*args, prefix=ORDINARY, netns_of="self", **options):
    def run():
        return subprocess.run([*prefix, str(CTL), *args], capture_output=True, text=True,
                              timeout=TIMEOUT, **options)
    return machine.in_netns(netns_of, run)


class World:
    """A network namespace in which nobody but the test makes sockets."""

    def __init__(self, actor):
        self.holder = actor
        self.holder.netns()

    def connect(self, address="127.0.0.1", target=None):
        listener = sockets.Listener(address, netns_of=self.holder.pid)
        return sockets.connect(self.holder.fork(), listener, target)

    def row(self, connection):
        return sockets.find(connection.cookie, self.holder.pid)

    def ctl(self, *args, **options):
        return ctl(*args, netns_of=self.holder.pid, **options)


@pytest.fixture
def world(actor):
    return World(actor())


@pytest.fixture
def policy(folder):
    path = folder / "policy.conf"
    path.write_text(POLICY)
    path.chmod(0o644)
    return ("-c", str(path))


def die(connection):
    connection.actor.kill()
    return connection


def zero_window(world, *where):
    connection = world.connect(*where)
    connection.fill()
    return die(connection)


def last_ack(world):
    connection = world.connect()
    connection.fill()
    connection.peer.shutdown(socket.SHUT_WR)
    machine.eventually(lambda: world.row(connection).state == "close-wait", "CLOSE-WAIT")
    return die(connection)


def fin_wait_2(world):
    """All sent and acknowledged; the peer keeps its end open. A mini-socket remains."""
    connection = die(world.connect())
    machine.eventually(lambda: world.row(connection).state == "fin-wait-2", "FIN-WAIT-2")
    return connection


@pytest.fixture
def orphans(world):
    """One of each kind, and neighbours that are no orphans."""
    living = world.connect()
    half_closed = world.connect()
    half_closed.peer.shutdown(socket.SHUT_WR)  # the actor lives, in CLOSE-WAIT
    unaccepted = sockets.Listener(netns_of=world.holder.pid)
    fd = living.actor.socket(4)
    living.actor.connect(fd, unaccepted.address, unaccepted.port)
    yield {
        "ipv4": zero_window(world),
        "ipv6": zero_window(world, "::1"),
        "v4-mapped": zero_window(world, "127.0.0.1", "::ffff:127.0.0.1"),
        "last-ack": last_ack(world),
        "fin-wait-2": fin_wait_2(world),
    }
    living.exchange()
    unaccepted.socket.close()


def scan_with_timers(world, policy):
    """By cookie; None while a timer that has run out waits for the kernel to handle it."""
    scan = world.ctl("scan", "--json", *policy)
    assert (scan.returncode, scan.stderr) == (0, "")
    found = {row["eghostbuster.socket.cookie"]: row for row in json.loads(scan.stdout)["orphans"]}
    return found if all(row["eghostbuster.socket.timer_ms"] > 0 for row in found.values()) else None


def test_scan_json_lists_every_orphan(world, orphans, policy):
    found = machine.eventually(lambda: scan_with_timers(world, policy), "all timers run")
    assert set(found) == {hex(connection.cookie) for connection in orphans.values()}
    for kind, connection in orphans.items():
        row, kernel = found[hex(connection.cookie)], world.row(connection)
        assert (row["source.ip"], row["source.port"]) == (kernel.src, connection.lport)
        assert (row["destination.ip"], row["destination.port"]) == (kernel.dst, connection.rport)
        assert row["network.type"] == ("ipv6" if kernel.family == socket.AF_INET6 else "ipv4")
        assert row["eghostbuster.socket.state"] == kernel.state
        assert row["eghostbuster.socket.send_queue"] == kernel.send_queue
        assert row["eghostbuster.socket.timer"] == \
            ("mini-socket" if kind == "fin-wait-2" else "zero-window")


def test_scan_says_what_the_policy_would_do(world, orphans, policy):
    found = {row["eghostbuster.socket.cookie"]: row
             for row in json.loads(world.ctl("scan", "--json", *policy).stdout)["orphans"]}
    for kind, connection in orphans.items():
        row = found[hex(connection.cookie)]
        # Nobody has seen these deaths; without proof nothing is destroyed.
        assert (row["rule.name"], row["eghostbuster.verdict"], row["event.reason"]) == \
            (("last", "ignore", "owner-unknown") if kind == "last-ack" else
             ("others", "wait", "proof"))


def test_scan_tells_an_age_only_where_it_is_known(world, orphans, policy):
    found = {row["eghostbuster.socket.cookie"]: row["eghostbuster.age_ms"]
             for row in json.loads(world.ctl("scan", "--json", *policy).stdout)["orphans"]}
    for kind, connection in orphans.items():
        age = found[hex(connection.cookie)]
        if kind == "fin-wait-2":
            assert 0 <= age < TIMEOUT * 1000
        else:
            assert age is None


def test_scan_json_is_for_jq(world, orphans, policy):
    text = world.ctl("scan", "--json", *policy).stdout
    jq = subprocess.run(["jq", "-r", '.orphans[] | ."eghostbuster.socket.state"'], input=text,
                        capture_output=True, text=True, check=True)
    assert sorted(jq.stdout.split()) == \
        ["fin-wait-1", "fin-wait-1", "fin-wait-1", "fin-wait-2", "last-ack"]


def test_scan_for_people(world, orphans, policy):
    scan = world.ctl("scan", *policy)
    assert (scan.returncode, scan.stderr) == (0, "")
    head, *rows, summary = scan.stdout.splitlines()
    for word in ("LOCAL", "PEER", "STATE", "SEND-Q", "TIMER", "AGE", "POLICY"):
        assert word in head
    assert summary.startswith("5 orphans") and len(rows) == 5
    for connection in orphans.values():
        kernel = world.row(connection)
        row, = [row for row in rows if f":{connection.lport} " in row]
        for word in (kernel.state, f" {kernel.send_queue} ", f":{connection.rport} "):
            assert word in row


def test_scan_all_adds_time_wait(world, policy):
    connection = world.connect()
    connection.actor.close(connection.fd)
    connection.peer.close()
    machine.eventually(lambda: world.row(connection).state == "time-wait", "TIME-WAIT")
    assert json.loads(world.ctl("scan", "--json", *policy).stdout)["orphans"] == []
    row, = json.loads(world.ctl("scan", "--json", "--all", *policy).stdout)["orphans"]
    assert row["eghostbuster.socket.cookie"] == hex(connection.cookie)
    assert row["eghostbuster.socket.state"] == "time-wait"


def test_scan_of_nothing(world, policy):
    scan = world.ctl("scan", *policy)
    assert (scan.returncode, scan.stderr) == (0, "") and scan.stdout.startswith("0 orphans")
    assert json.loads(world.ctl("scan", "--json", *policy).stdout)["orphans"] == []


def test_scan_with_a_broken_policy(world, folder):
    path = folder / "broken.conf"
    path.write_text("[rule a]\nexit = kill\naction = explode\n")
    scan = world.ctl("scan", "-c", str(path))
    assert (scan.returncode, scan.stdout) == (1, "")
    assert f"{path}:3: " in scan.stderr


def test_scan_into_a_full_disk_fails(world, orphans, policy):
    with open("/dev/full", "w") as full:
        ended = subprocess.run([str(CTL), "scan", "--json", *policy], stdout=full,
                               stderr=subprocess.PIPE, timeout=TIMEOUT)
    assert ended.returncode == 1


@pytest.mark.parametrize("args", [(), ("scan", "extra"), ("scan", "--frobnicate"), ("dance",)])
def test_bad_usage(args):
    ended = ctl(*args)
    assert ended.returncode == 2 and ended.stdout == "" and ended.stderr != ""


# ---- the running service ----

def test_status(service, victim):
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    service.destroyed(connection)
    ended = ctl("status", "--json", "--control", str(service.control), prefix=())
    assert (ended.returncode, ended.stderr) == (0, "")
    status = json.loads(ended.stdout)
    assert (status["ready"], status["mode"]) == (True, "enforce")
    assert status["rules"] == RULES.count("[rule ")
    assert status["since_start"]["destroyed"] == 1
    assert status["since_start"]["failed"] == status["since_start"]["refused_live"] == 0
    pending = status["pending"]
    assert pending["requested"] == pending["decided"] == pending["undecided"] == 0
    assert set(status["lost"].values()) == {0}
    assert status["audit_log"]["path"] == str(service.log_path)
    assert status["audit_log"]["sequence"] == service.audit.read()[-1]["event.sequence"]


def test_status_for_people(service):
    ended = ctl("status", "--control", str(service.control), prefix=())
    assert ended.returncode == 0
    lines = dict(line.split(None, 1) for line in ended.stdout.splitlines())
    assert (lines["mode"], lines["ready"]) == ("enforce", "yes")


def test_status_is_for_root(service):
    ended = ctl("status", "--control", str(service.control))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "only root" in ended.stderr


def test_status_without_a_service(folder):
    ended = ctl("status", "--control", str(folder / "nobody.sock"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "is it running?" in ended.stderr


def test_silent_control_clients_do_not_keep_others_waiting_for_ever(service):
    """More than the service takes at once; each is cut off in its turn."""
    silent = []
    for _ in range(9):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(TIMEOUT)
        client.connect(str(service.control))
        silent.append(client)
    ended = ctl("status", "--json", "--control", str(service.control), prefix=())
    assert ended.returncode == 0 and json.loads(ended.stdout)["ready"] is True
    for client in silent:
        assert client.recv(1) == b""
        client.close()


def test_a_talkative_control_client_is_cut_off(service):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        client.connect(str(service.control))
        client.sendall(b"x" * 4096)
        with pytest.raises(ConnectionError):
            if client.recv(1) == b"":
                raise ConnectionError
    service.fence()
