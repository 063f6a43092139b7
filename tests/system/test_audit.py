# SPDX-License-Identifier: Apache-2.0
"""The file of record: nothing is done that it does not say, whatever befalls it."""

import json
import os
import re
import signal
import subprocess

import pytest

import audit
import machine
import sockets
from service import CTL
from test_metrics import Metrics

GHOSTS = 20  # their records need several pages; a full disk leaves the log what its last page holds


@pytest.fixture
def tiny_disk(prepared):
    """The log's folder is a file system of 64 KiB."""
    machine.run(f"mount -t tmpfs -o size=64k,mode=755 tmpfs {prepared.log_folder}")
    yield prepared
    prepared.close()
    machine.run(f"umount {prepared.log_folder}")


def fill_up(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def test_without_a_record_nothing_is_destroyed(tiny_disk, victim):
    service = tiny_disk.run()
    listener = sockets.Listener()
    ghosts = [sockets.connect(victim, listener) for _ in range(GHOSTS)]
    for ghost in ghosts:
        ghost.fill()
    fill_up(service.log_folder / "filler")
    victim.kill()
    machine.eventually(lambda: "cannot write the audit log" in service.stderr(), "it says so")
    metrics = Metrics(service)
    assert (metrics("audit_writable"), metrics("audit_write_failures_total")) == (0, 1)
    assert metrics("audit_pending_bytes") > 0
    gone = [ghost for ghost in ghosts if sockets.find(ghost.cookie) is None]
    written = service.log_path.read_bytes()
    assert len(gone) < GHOSTS
    for ghost in gone:
        assert hex(ghost.cookie).encode() in written
    (service.log_folder / "filler").unlink()
    for ghost in ghosts:
        service.destroyed(ghost)
    assert "can be written again" in service.stderr()
    assert service.stop() == 0


def undecided(service):
    answer = subprocess.run([CTL, "status", "--control", service.control, "--json"],
                            stdout=subprocess.PIPE, check=True).stdout
    return json.loads(answer)["pending"]["undecided"]


def test_ghosts_that_wait_for_the_log(tiny_disk, actor):
    """One line, and nothing is destroyed, not even of whoever has no records of its own left; then all
    that waited is."""
    tiny_disk.configure(daemon="mode = enforce\nrecord_budget = 10/min")
    service = tiny_disk.run()
    first, second, bystander = actor(), actor(), sockets.connect(actor(), sockets.Listener())
    listener = sockets.Listener()
    ghosts = [sockets.connect(victim, listener) for victim in (first, second)
              for _ in range(GHOSTS)]
    for ghost in ghosts:
        ghost.fill()
    fill_up(service.log_folder / "filler")
    first.kill()
    machine.eventually(lambda: "cannot write the audit log" in service.stderr(), "it says so")
    second.kill()
    machine.eventually(lambda: undecided(service) >= GHOSTS, "the second's wait undecided")
    assert all(sockets.find(ghost.cookie) is not None for ghost in ghosts[GHOSTS:])
    (service.log_folder / "filler").unlink()
    machine.eventually(lambda: not any(sockets.find(ghost.cookie) for ghost in ghosts), "released")
    bystander.exchange()
    assert service.stop() == 0
    assert service.stderr().count("cannot write the audit log") == 1
    assert service.stderr().count("can be written again") == 1
    results = audit.unbatched(service.audit.all())
    assert [r["eghostbuster.result"] for r in results if r["event.action"] == "destroy"] == \
        ["destroyed"] * len(ghosts)


def test_a_limit_of_file_sizes_is_an_error_like_others(prepared):
    """Not the death that SIGXFSZ is by default."""
    status, lines = prepared.start(prefix=("prlimit", "--fsize=500")).fails()
    assert status == 1
    assert "cannot write the audit log" in lines[0] and "File too large" in lines[0]


def test_a_torn_line_is_ended(prepared):
    """Whoever cut an earlier run off in mid-record cost that one record, not the next."""
    torn = b'{"@timestamp":"2026-01-01T00:00:00.000000000Z","event.seq'
    prepared.run().stop()
    with open(prepared.log_path, "ab") as log:
        log.write(torn)
    size = prepared.log_path.stat().st_size
    prepared.start()
    prepared.wait_notification(b"READY=1")
    prepared.stop()
    rest = prepared.log_path.read_bytes()[size - len(torn):]
    assert rest.startswith(torn + b'\n{"@timestamp":"')
    assert "middle of a record" in prepared.stderr()


@pytest.mark.parametrize("make", [
    lambda path: path.symlink_to("elsewhere"),
    lambda path: os.mkfifo(path),
    lambda path: [path.write_text(""), os.link(path, path.with_suffix(".other"))],
], ids=["symlink", "fifo", "hard-link"])
def test_no_other_file_is_taken_for_the_log(prepared, make):
    """The folder may belong to the broker's account: it must not make root open a file for it."""
    make(prepared.log_path)
    prepared.configure()
    status, lines = prepared.start().fails()
    assert status == 1 and len(lines) == 1 and str(prepared.log_path) in lines[0]
    if prepared.log_path.is_fifo():
        prepared.log_path.unlink()


def test_rotation_to_what_is_no_log_is_refused(service, victim):
    before = service.log_folder / "audit.jsonl.1"
    service.log_path.rename(before)
    service.log_path.symlink_to("elsewhere")
    service.process.send_signal(signal.SIGHUP)
    machine.eventually(lambda: "go on to the file" in service.stderr(), "it says so")
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    machine.eventually(lambda: hex(connection.cookie).encode() in before.read_bytes(), "the record")
    assert not (service.log_folder / "elsewhere").exists()
    service.log_path.unlink()


def test_every_record_is_one_line_of_ascii(service, victim):
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    service.destroyed(connection)
    service.stop()
    data = service.log_path.read_bytes()
    assert data.isascii() and data.endswith(b"\n")
    assert len(service.audit.read()) == len(data.splitlines())  # and each has been parsed
    assert service.log_path.stat().st_mode & 0o777 == 0o640


LOG, REAPER = 7, 4  # descriptors of the broker


@pytest.fixture
def trace(prepared):
    """Starts the service under a policy and has strace(1) write down what the broker asks of the
    kernel. Returns a function: from the record of a ghost's decision on, one letter for each write
    to the log, each time that the disk has it, and each packet to the reaper."""
    path = prepared.folder / "trace"
    prepared.configure(daemon="mode = enforce\naudit_sync = always")
    tracer = subprocess.Popen(["strace", "-qq", "-s", "4096", "-o", path, "-e", "signal=none", "-e",
                               "trace=write,fdatasync,sendto", "-p", str(prepared.run().pid)])
    machine.eventually(lambda: machine.status_of(prepared.pid)["TracerPid"] != "0", "it is traced")

    def letters(connection):
        starts = {f"write({LOG},": "w", f"fdatasync({LOG})": "s", f"sendto({REAPER},": "r"}
        calls = path.read_text().splitlines()
        first = next(i for i, call in enumerate(calls) if hex(connection.cookie) in call)
        return "".join(starts[start] for call in calls[first:] for start in starts
                       if call.startswith(start))
    yield letters
    tracer.terminate()
    tracer.wait()


def reconfigure(service, sync):
    service.configure(daemon=f"mode = enforce\naudit_sync = {sync}")
    assert service.reload()["event.outcome"] == "success"


def test_when_the_disk_has_it(trace, prepared):
    """always: the decision, before it is requested. A duration: later, in one go with what follows.
    never: not even at the end."""
    def ghost():
        connection = sockets.connect(prepared.stage.actor(), sockets.Listener())
        connection.fill()
        connection.actor.kill()
        prepared.destroyed(connection)
        return connection
    assert trace(ghost()).startswith("wsr")
    reconfigure(prepared, "500ms")
    connection = ghost()
    assert re.match("wr+w", trace(connection))
    machine.eventually(lambda: "s" in trace(connection), "the disk has it")
    reconfigure(prepared, "never")
    connection = ghost()
    prepared.stop()
    assert "s" not in trace(connection)
