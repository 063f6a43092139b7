# SPDX-License-Identifier: Apache-2.0
"""The audit log's other sinks: the kernel's audit, as far as it answers here, and a journald that is
the test's own. tests/vm/ has the real ones."""

import os
import pathlib
import re
import signal
import socket
import struct

import pytest

import machine
import sockets
from hostile import ask
from machine import Cgroup, eventually, wait_readable
from test_hostile_sink import GONE, ghost_released

JOURNAL = pathlib.Path("/run/systemd/journal/socket")
CATALOG = pathlib.Path(__file__).parents[2] / "dist" / "eghostbuster.catalog"
MANY = 2500  # ghosts: two records each, more than are kept for a sink that takes none

# Fields of an entry and what they are in the record. Those of a `destroy` record's ghost are in its
# `decide` record only.
FIELDS = {
    "EGHOSTBUSTER_ACTION": "event.action", "EGHOSTBUSTER_SEQUENCE": "event.sequence",
    "EGHOSTBUSTER_REASON": "event.reason", "EGHOSTBUSTER_RULE": "rule.name",
    "EGHOSTBUSTER_VERDICT": "eghostbuster.verdict", "EGHOSTBUSTER_RESULT": "eghostbuster.result",
    "EGHOSTBUSTER_OUTCOME": "event.outcome", "EGHOSTBUSTER_MODE": "eghostbuster.mode",
    "EGHOSTBUSTER_GHOST": "eghostbuster.ghost", "EGHOSTBUSTER_LATENCY_NS": "eghostbuster.latency_ns",
    "EGHOSTBUSTER_PEER_NOTICE": "eghostbuster.peer_notice"}
OF_THE_GHOST = {
    "EGHOSTBUSTER_PID": "process.pid", "EGHOSTBUSTER_UID": "user.id",
    "EGHOSTBUSTER_EXIT_CLASS": "eghostbuster.exit.class",
    "EGHOSTBUSTER_EXIT_SIGNAL": "eghostbuster.exit.signal",
    "EGHOSTBUSTER_LOCAL_ADDRESS": "source.ip", "EGHOSTBUSTER_LOCAL_PORT": "source.port",
    "EGHOSTBUSTER_REMOTE_ADDRESS": "destination.ip",
    "EGHOSTBUSTER_REMOTE_PORT": "destination.port",
    "EGHOSTBUSTER_COOKIE": "eghostbuster.socket.cookie",
    "EGHOSTBUSTER_NETNS": "eghostbuster.socket.netns"}


def parse(datagram):
    """An entry, as journald takes it."""
    fields = {}
    while datagram:
        head, _, rest = datagram.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", rest)
            value, end, datagram = rest[8:8 + length], rest[8 + length:9 + length], rest[9 + length:]
            assert end == b"\n"
        else:
            datagram = rest
        assert re.fullmatch(b"[A-Z][A-Z0-9_]*", name) and name.decode() not in fields, head
        fields[name.decode()] = value
    return fields


class Journald:
    def __init__(self):
        JOURNAL.parent.mkdir(parents=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(JOURNAL))
        JOURNAL.chmod(0o666)
        self.entries = []

    def read(self):
        """All entries so far."""
        while wait_readable([self.socket.fileno()], 0):
            self.entries.append(parse(self.socket.recv(65536)))
        return self.entries

    def wait(self, condition, what):
        return eventually(lambda: condition(self.read()), what)


@pytest.fixture
def own_run():
    """A /run without the machine's journald, that nobody else sees: the tests have mounts of their own."""
    machine.run("mount -t tmpfs tests /run")
    yield
    machine.run("umount /run")


@pytest.fixture
def journald(own_run):
    journal = Journald()
    yield journal
    journal.socket.close()


def assert_same(entry, record, decision):
    assert entry["SYSLOG_IDENTIFIER"] == b"eghostbuster"
    for field, member in FIELDS.items():
        assert entry.get(field) == (str(record[member]).encode() if record.get(member) is not None
                                    else None), (field, entry, record)
    for field, member in OF_THE_GHOST.items():
        if "eghostbuster.ghost" in record:
            assert entry[field] == str(decision[member]).encode(), (field, entry)


def catalog_ids():
    return set(re.findall(r"^-- ([0-9a-f]{32})$", CATALOG.read_text(), re.MULTILINE))


def test_journal(prepared, journald, cgroup):
    """Each record is an entry, in order; names come through whatever their bytes."""
    prepared.configure(daemon="journald = yes")
    service = prepared.run()
    victim = service.stage.actor()
    name = b"a\nPRIORITY=0\n\xff\x1b"
    victim.comm(name)
    cgroup(Cgroup.unit, "egb-journal.service").add(victim.pid)
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    decision, result = service.destroyed(connection)
    assert service.stop() == 0
    records = service.audit.read()
    entries = journald.wait(lambda entries: len(entries) >= len(records) and entries, "all entries")
    for entry, record in zip(entries, records, strict=True):
        assert_same(entry, record, decision)
    about = [entry for entry in entries if entry["EGHOSTBUSTER_ACTION"] in (b"exit", b"decide", b"destroy")]
    assert len(about) == 3 and all(entry["EGHOSTBUSTER_COMM"] == name[:15] for entry in about)
    assert all(entry["PRIORITY"] == b"6" for entry in entries)
    ids = {entry["MESSAGE_ID"].decode() for entry in entries}
    assert len(ids) == len({record["event.action"] for record in records}) and ids <= catalog_ids()
    assert about[2]["MESSAGE"] == \
        b"busted a\\x0aPRIORITY=0\\x0a\\xff\\x1b[%d] of egb-journal.service (SIGKILL): " \
        b"127.0.0.1:%d -> 127.0.0.1:%d fin-wait-1, " % (
            victim.pid, connection.lport, connection.rport) + about[2]["MESSAGE"].split(b"fin-wait-1, ")[1]
    assert "busted" not in service.stderr(), "the journal would have it twice"
    assert result["eghostbuster.result"] == "destroyed"


def test_linux_audit(prepared):
    """The kernel acknowledges each message (and forgets it, unless somebody has turned auditing on)."""
    prepared.configure(daemon="linux_audit = yes")
    service = prepared.run()
    assert set(service.roles()) == {"tracker", "broker", "reaper", "sink"}
    ghost_released(service)
    count = len(service.audit.read())
    eventually(lambda: ask(service)["linux_audit"] == {"state": "working", "sent": count, "lost": 0},
               "all are acknowledged")
    service.configure(daemon="linux_audit = no")
    assert "linux_audit cannot change while the service runs" in service.reload()["error.message"]
    assert service.stop() == 0
    stop = service.audit.all(event__action="stop")[0]
    assert stop["eghostbuster.sink.linux_audit.sent"] >= count
    assert stop["eghostbuster.sink.linux_audit.lost"] == 0
    assert "eghostbuster.sink.journald.sent" not in stop


def latencies(service, count):
    """Of so many ghosts of one process, in microseconds."""
    victim = service.stage.actor()
    ghosts = sockets.crowd(victim, count, 8000)
    before = len(service.audit.read())
    victim.kill()
    eventually(lambda: sum(record["event.action"] == "destroy"
                           for record in service.audit.read()[before:]) == count, "all results")
    results = service.audit.read()[before:]
    for ghost in ghosts:
        ghost.peer.close()
    return [record["eghostbuster.latency_ns"] / 1000 for record in results
            if record["event.action"] == "destroy"]


def singly(service, count):
    """The same one by one: the least of their latencies. Whatever waited for a sink would do so each
    time; what else the machine has to do is not in it."""
    return min(latencies(service, 1)[0] for _ in range(count))


@pytest.mark.once
def test_nobody_waits(prepared, journald):
    """A journald that reads nothing and a sink that is stopped: ghosts go as fast as before, and what
    the two did not get is counted, and told them later."""
    prepared.configure(daemon="linux_audit = yes\njournald = yes")
    service = prepared.run()
    before = singly(service, 15)
    journald.wait(lambda entries: len(entries) == len(service.audit.read()), "all entries")
    os.kill(service.roles()["sink"], signal.SIGSTOP)
    try:
        storm = latencies(service, MANY)
        during = singly(service, 15)
        lost = {sink: ask(service)[sink]["lost"] for sink in ("linux_audit", "journald")}
    finally:
        os.kill(service.roles()["sink"], signal.SIGCONT)
    assert len(storm) == MANY
    assert during < 2 * before + 300, (before, during)
    records = service.audit.read()
    assert 0 < lost["linux_audit"] < lost["journald"], lost
    assert lost["journald"] + 4095 + 300 > len(records)
    entries = journald.wait(
        lambda entries: len(entries) == len(records) - ask(service)["journald"]["lost"] + 1 and entries,
        "those that were kept")
    gaps = [entry for entry in entries if entry["EGHOSTBUSTER_ACTION"] == b"suppressed"]
    assert [int(gap["EGHOSTBUSTER_COUNT"]) for gap in gaps] == [ask(service)["journald"]["lost"]]
    numbers = [int(entry["EGHOSTBUSTER_SEQUENCE"]) for entry in entries if entry not in gaps]
    assert numbers == sorted(numbers) and numbers[-1] == records[-1]["event.sequence"]
    assert gaps[0]["MESSAGE_ID"].decode() in catalog_ids()
    assert service.stop() == 0


def test_without_them(own_run, prepared):
    """No journald, and the sink is killed: the service goes on, says so once, and counts."""
    prepared.configure(daemon="linux_audit = yes\njournald = yes")
    prepared.start(environment={"WATCHDOG_USEC": "200000"})
    prepared.wait_notification(b"READY=1")
    assert f"systemd-journald cannot be reached at {JOURNAL}" in prepared.stderr()
    sink = prepared.roles()["sink"]
    os.kill(sink, signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{sink}"), "it has been waited for")
    ghost_released(prepared)
    status = ask(prepared)
    records = prepared.audit.read()
    assert status["linux_audit"]["state"] == status["journald"]["state"] == "gone"
    assert status["journald"] == {"state": "gone", "sent": 0, "lost": len(records), "error": "ENOTCONN"}
    assert status["linux_audit"]["sent"] + status["linux_audit"]["lost"] == len(records)
    assert prepared.stop() == 0
    said = prepared.stderr()
    assert said.count(GONE) == 1 and said.count("the sink (") == 1 and "was ended by signal 9" in said
    assert "busted" in said, "standard error is all there is"
