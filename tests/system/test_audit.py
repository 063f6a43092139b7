# SPDX-License-Identifier: Apache-2.0
"""The file of record: nothing is done that it does not say, whatever befalls it."""

import os
import signal

import pytest

import machine
import sockets

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
