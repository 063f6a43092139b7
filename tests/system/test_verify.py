# SPDX-License-Identifier: Apache-2.0
"""eghostctl verify, on what a real service has written: over runs, rotations, crashes and edits."""

import gzip
import itertools
import json
import os
import pathlib
import signal
import subprocess

import pytest

import sockets
from machine import TIMEOUT, eventually
from service import CTL

INTACT, BROKEN, OPEN = 0, 3, 4


def verify(*args):
    ended = subprocess.run([CTL, "verify", "--json", *map(str, args)], capture_output=True,
                           text=True, timeout=TIMEOUT)
    assert ended.stderr == ""
    return ended.returncode, json.loads(ended.stdout)


def ghost(service):
    connection = sockets.connect(service.stage.actor(), sockets.Listener())
    connection.fill()
    connection.actor.kill()
    return service.destroyed(connection)


def rotate(service, number=1):
    """As logrotate(8) does: rename, create with the same owner, tell."""
    before = service.log_path.with_suffix(f".jsonl.{number}")
    service.log_path.rename(before)
    service.log_path.touch(0o640)
    os.chown(service.log_path, before.stat().st_uid, before.stat().st_gid)
    if service.process.poll() is None:
        service.reload()
    return before


def test_open_while_it_runs_and_closed_behind(service):
    ghost(service)
    status, found = verify(service.log_path)
    assert (status, found["result"]) == (OPEN, "open")
    assert service.stop() == 0
    status, found = verify(service.log_path)
    assert (status, found["result"]) == (INTACT, "intact")
    assert found["records"] == len(service.audit.read())
    assert found["head"] == service.audit.records[-1]["event.hash"]
    assert found["crashes"] == 0


def test_over_runs_and_rotations(service):
    """In any order, compressed or not: the files say how they belong together."""
    ghost(service)
    oldest = rotate(service, 2)
    ghost(service)
    assert service.stop() == 0
    middle = rotate(service)  # while nothing runs
    packed = oldest.with_suffix(".2.gz")
    packed.write_bytes(gzip.compress(oldest.read_bytes()))
    service.run()
    ghost(service)
    assert service.stop() == 0
    status, found = verify(service.log_path, packed, middle)
    assert (status, found["first"]) == (INTACT, 1), found
    status, found = verify(service.log_path, middle)
    assert (status, found["first"] > 1) == (INTACT, True), found
    status, found = verify(service.log_path, packed)
    assert (status, found["fault"]["kind"]) == (BROKEN, "foreign"), found
    assert found["fault"]["place"] == {"file": str(service.log_path), "line": 1}


def cuts():
    """How much of a last record of `size` bytes got out: nothing, some, all but the newline, all.
    EGB_CUTS=all: as many bytes as there can be."""
    if os.environ.get("EGB_CUTS") == "all":
        return (lambda size, n=n: min(n, size) for n in itertools.count())
    return (lambda size: 0, lambda size: 1, lambda size: size // 2, lambda size: size - 1,
            lambda size: size)


def test_a_write_that_was_cut_off(prepared):
    """Whatever a kill has left of the last write, the next run goes on behind it and says so, and
    nothing of what was there before is lost."""
    service, crashes, torn = prepared.run(), 0, 0
    ghost(service)
    for cut in cuts():
        service.process.send_signal(signal.SIGKILL)
        service.process.wait()
        data = service.log_path.read_bytes()
        begin = data.rindex(b"\n", 0, -1) + 1
        length = cut(len(data) - begin)
        kept = data[:begin + length]
        service.log_path.write_bytes(kept)
        status, found = verify(service.log_path)
        left = 0 if kept.endswith(b"\n") else length
        assert (status, found["torn_bytes"], found["crashes"]) == (OPEN, left, crashes), found
        service.audit.close()
        service.audit = None
        service.run()
        crashes += 1
        after = service.log_path.read_bytes()
        assert after.startswith(kept)
        reopened = json.loads(after[len(kept):].lstrip(b"\n").split(b"\n", 1)[0])
        assert reopened["event.action"] == "log-open" and reopened["eghostbuster.log.unclean"]
        unended = begin + length == len(data) - 1  # a record that lacks but its newline is one
        assert reopened.get("eghostbuster.log.torn_bytes", 0) == (0 if unended else left)
        torn += left > 0 and not unended
        if length == len(data) - begin:
            break
    ghost(service)
    assert service.stop() == 0
    status, found = verify(service.log_path)
    assert (status, found["crashes"]) == (INTACT, crashes), found
    assert found["records"] == len(service.log_path.read_bytes().splitlines()) - torn
    print(f"{crashes} cuts, {found['records']} records")


def edit(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def test_an_edit_is_located(service):
    decision, _ = ghost(service)
    ghost(service)
    service.stop()
    edit(service.log_path, b'"eghostbuster.exit.class":"kill"', b'"eghostbuster.exit.class":"term"')
    status, found = verify(service.log_path)
    assert (status, found["fault"]["kind"]) == (BROKEN, "edited")
    exit_record = decision["event.sequence"] - 1  # comes before, and names the class first
    assert found["fault"]["sequence"] == found["fault"]["place"]["line"] == exit_record


def test_the_head_noted_elsewhere(service):
    _, result = ghost(service)
    service.stop()
    status, _ = verify("--expect-head", result["event.hash"], service.log_path)
    assert status == INTACT
    whole = service.log_path.read_bytes().splitlines(keepends=True)
    service.log_path.write_bytes(b"".join(whole[:result["event.sequence"] - 1]))
    status, found = verify("--expect-head", result["event.hash"], service.log_path)
    assert (status, found["fault"]["kind"]) == (BROKEN, "head-not-found")


def test_usage(folder):
    for args in ((), ("--expect-head", "12", "x"), ("--nonsense", "x")):
        assert subprocess.run([CTL, "verify", *args], capture_output=True).returncode == 2
    ended = subprocess.run([CTL, "verify", folder / "none"], capture_output=True, text=True)
    assert ended.returncode == 1 and "none" in ended.stderr
    (folder / "empty").write_bytes(b"")
    ended = subprocess.run([CTL, "verify", folder / "empty"], capture_output=True, text=True)
    assert ended.returncode == 1 and "no record" in ended.stderr


@pytest.mark.parametrize("make", [
    lambda path: path.symlink_to("/etc/passwd"), lambda path: os.mkfifo(path),
    lambda path: path.mkdir(), lambda path: path.write_text("hello\n"),
], ids=["symlink", "fifo", "folder", "text"])
def test_what_is_no_predecessor(prepared, make):
    make(prepared.log_path.with_suffix(".jsonl.1"))
    service = prepared.run()
    assert service.stop() == 0
    first = service.audit.read()[0]
    assert first["eghostbuster.log.previous"] is None and first["event.sequence"] == 1
    assert verify(service.log_path)[0] == INTACT


def test_the_shipped_logrotate_file(service):
    """By logrotate(8) itself, with only the place and the manager's order replaced, on a machine
    that has the broker's account."""
    accounts = service.folder / "passwd"
    accounts.write_text(pathlib.Path("/etc/passwd").read_text() +
                        f"_eghost-broker:x:{service.log_path.stat().st_uid}:65534::/:/bin/false\n")
    accounts.chmod(0o644)
    text = (pathlib.Path(__file__).parents[2] / "dist" / "eghostbuster.logrotate").read_text()
    for old, new in (("/var/log/eghostbuster/audit.jsonl {", f"{service.log_path} {{"),
                     ("systemctl reload --no-block eghostbuster.service",
                      f"kill -HUP {service.pid}")):
        assert old in text
        text = text.replace(old, new)
    config = service.folder / "logrotate.conf"
    config.write_text(text)
    for number in (1, 2, 3):
        ghost(service)
        reloads = len(service.audit.all(event__action="config-reload"))
        subprocess.run(["unshare", "--mount", "sh", "-ec", 'mount --bind "$1" /etc/passwd; shift; '
                        'exec "$@"', "sh", accounts, "logrotate", "--force", "--state",
                        service.folder / "state", config], check=True)
        eventually(lambda: len(service.audit.all(event__action="config-reload")) > reloads,
                   "the new file is in use")
    assert service.stop() == 0
    files = sorted(service.log_folder.glob("audit.jsonl*"))
    assert [path.suffix for path in files] == [".jsonl", ".1", ".gz", ".gz"]
    status, found = verify(*files)
    assert (status, found["first"], found["records"]) == \
        (INTACT, 1, len(service.audit.read())), found


def test_rotation_to_a_file_that_is_cut_off(service):
    """Somebody has put half a record there: the next one begins on a line of its own."""
    before = service.log_path.with_suffix(".jsonl.1")
    service.log_path.rename(before)
    service.log_path.write_bytes(b'{"@timestamp":"20')
    os.chown(service.log_path, before.stat().st_uid, before.stat().st_gid)
    service.process.send_signal(signal.SIGHUP)
    eventually(lambda: service.log_path.read_bytes().count(b"\n") > 1, "the new file is in use")
    assert service.log_path.read_bytes().startswith(b'{"@timestamp":"20\n{"@timestamp":"')
    assert service.process.poll() is None
