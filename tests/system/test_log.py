# SPDX-License-Identifier: Apache-2.0
"""eghostctl log, report and explain, on what a real service has written."""

import csv
import io
import json
import os
import pathlib
import re
import signal
import subprocess

import pytest

import audit
import sockets
from machine import TIMEOUT, wait_readable
from service import CTL

HOSTILE = b"\x1b[31m\"\\\n,=\x9b\xff"


def ctl(*args, check=0):
    ended = subprocess.run([CTL, *map(str, args)], capture_output=True, timeout=TIMEOUT)
    assert ended.returncode == check, ended.stderr
    return ended.stdout.decode()


def die(service, name=None, sig=signal.SIGKILL):
    actor = service.stage.actor()
    if name is not None:
        actor.comm(name)
    connection = sockets.connect(actor, sockets.Listener())
    connection.fill()
    actor.kill(sig)
    return connection


@pytest.fixture
def told(per_class):
    """Three ghosts: one destroyed, one reported, one with a name chosen to do harm."""
    plain, reported = die(per_class), die(per_class, sig=signal.SIGTERM)
    hostile = die(per_class, HOSTILE)
    per_class.destroyed(plain)
    per_class.reported(reported)
    per_class.destroyed(hostile)
    assert per_class.stop() == 0
    per_class.ghosts = {"plain": plain, "reported": reported, "hostile": hostile}
    return per_class


def records(service, *args):
    return [json.loads(line) for line in ctl("log", "--json", *args, service.log_path).splitlines()]


def test_json_is_the_log(told):
    assert ctl("log", "--json", told.log_path) == told.log_path.read_text()
    assert records(told) == told.audit.read()
    assert records(told, "-r") == told.audit.records[::-1]
    assert records(told, "-n", "3") == told.audit.records[-3:]
    assert records(told, "-n", "3", "-r") == told.audit.records[:-4:-1]
    assert records(told, "-n", "0") == []


def test_filters(told):
    """A result belongs to its decision's owner, address and rule, though it does not repeat them."""
    plain = told.decision(told.ghosts["plain"])
    pair = [plain, told.result(plain)]
    death = told.wait(event__action="exit", process__pid=plain["process.pid"])
    assert records(told, "--ghost", plain["eghostbuster.ghost"]) == pair
    assert records(told, "--pid", plain["process.pid"]) == [death, *pair]
    assert records(told, "--port", plain["source.port"]) == pair
    assert records(told, "--port", plain["destination.port"], "--action", "destroy") == pair[1:]
    assert records(told, "--rule", "term") == [told.decision(told.ghosts["reported"])]
    assert records(told, "--rule", "kill", "--result", "destroyed") == \
        told.audit.all(event__action="destroy", eghostbuster__result="destroyed")
    assert records(told, "--remote", "127.0.0.1", "--action", "decide") == \
        told.audit.all(event__action="decide")
    assert records(told, "--local", "10.0.0.1") == records(told, "--uid", "4242") == []
    assert records(told, "--comm", "act*", "--action", "exit") == \
        [r for r in told.audit.all(event__action="exit") if r["process.name"].startswith("act")]


def test_times_and_boots(told):
    """Records of a run belong to the boot that its `start` names."""
    middle = told.audit.read()[len(told.audit.records) // 2]["@timestamp"]
    later = records(told, "--since", middle)
    earlier = records(told, "--until", middle)
    assert later and earlier and later[0]["@timestamp"] == middle == earlier[-1]["@timestamp"]
    assert earlier + later[1:] == told.audit.records
    assert records(told, "--since", "today", "--until", "+1h") == told.audit.records
    assert records(told, "--since", "-1h") == told.audit.records
    assert records(told, "--until", "yesterday") == []
    begin = told.audit.read().index(told.wait(event__action="start"))
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert told.audit.records[begin]["host.boot.id"] == boot
    for asked in (boot, "now"):
        assert records(told, "--boot", asked) == told.audit.records[begin:]
    assert records(told, "--boot", "00000000-0000-0000-0000-000000000000") == []


@pytest.mark.parametrize("format", ["short", "full", "csv", "json"])
def test_no_byte_of_others_reaches_a_terminal(told, format):
    shown = ctl("log", "-o", format, told.log_path)
    assert re.fullmatch(r"[\n\r\x20-\x7e]*", shown)
    assert "31m" in shown, "the hostile name is there"
    assert "\x1b[" in ctl("log", "--color", "always", told.log_path)


def test_short(told):
    lines = ctl("log", told.log_path).splitlines()
    assert len(lines) == len(told.audit.read())
    line, = [line for line in lines if " decide " in line and "SIGTERM" in line]
    connection = told.ghosts["reported"]
    assert f":{connection.lport} -> " in line and "report (owner-terminated" in line, line


def test_csv(told):
    rows = list(csv.DictReader(io.StringIO(ctl("log", "-o", "csv", told.log_path), newline="")))
    assert len(rows) == len(told.audit.read())
    for row, record in zip(rows, told.audit.records):
        assert row["event.sequence"] == str(record["event.sequence"])
        assert row["destination.port"] == str(record.get("destination.port", ""))


def test_report(told):
    by_rule = {g["key"]: g for g in json.loads(ctl("report", "--by", "rule", "--json",
                                                   told.log_path))["groups"]}
    assert (by_rule["kill"]["ghosts"], by_rule["kill"]["destroyed"]) == (2, 2)
    assert (by_rule["term"]["ghosts"], by_rule["term"]["left_alone"]) == (1, 1)
    queues = [told.decision(g)["eghostbuster.socket.send_queue"] for g in told.ghosts.values()]
    for kind in ("process", "unit", "reason", "peer", "rule", "hour"):
        groups = json.loads(ctl("report", "--by", kind, "--json", told.log_path))["groups"]
        assert sum(g["ghosts"] for g in groups) == 3, kind
        assert sum(g["send_queue"] for g in groups) == sum(queues)
        table = ctl("report", "--by", kind, told.log_path)
        assert len(table.splitlines()) == 1 + len(groups)
        assert re.fullmatch(r"[\n\x20-\x7e]*", table)


def test_explain_a_ghost(told):
    decision = told.decision(told.ghosts["plain"])
    for asked in (decision["eghostbuster.socket.cookie"], f"#{decision['eghostbuster.ghost']}",
                  f":{decision['source.port']}", f"{decision['destination.port']}"):
        story = ctl("explain", asked, told.log_path)
        assert f" exit      actor[{decision['process.pid']}]" in story.splitlines()[0], story
        assert "destroy (owner-killed" in story and "destroyed in" in story, story
        assert "no process holds it" in story and "one reset" in story, story
    assert "no such TCP socket" in ctl("explain", decision["eghostbuster.socket.cookie"],
                                       told.log_path)


def test_explain_the_living(told):
    """Why a socket is no ghost."""
    listener = sockets.Listener()
    held = sockets.connect(told.stage.actor(), listener)
    story = ctl("explain", hex(held.cookie), told.log_path)
    assert "says nothing" in story and f"held by actor[{held.actor.pid}]" in story, story
    waiting = told.stage.actor()
    waiting.connect(waiting.socket(4), listener.address, listener.port)
    assert "nobody has accepted yet" in ctl("explain", f":{listener.port}", told.log_path)


# ---- batches ----

def made(folder, *records):
    """A log of these records. Who reads it looks at no hash; the schema is for everybody."""
    path = folder / "made.jsonl"
    lines = []
    for number, record in enumerate(records, 1):
        full = {"@timestamp": f"2026-11-22T08:00:0{number % 10}.000000000Z", "event.sequence": number,
                **record, "event.hash": "0" * 64}
        if record is not START:
            audit.VALIDATORS[record["event.action"]](full)
        lines.append(json.dumps(full))
    path.write_text("\n".join(lines) + "\n")
    return path


OWNER = {"process.pid": 7, "process.entity_id": "00000000000000aa", "process.name": "one", "user.id": "33",
         "eghostbuster.unit": "a.service", "eghostbuster.exit.class": "kill", "eghostbuster.exit.signal": 9}
START = {"event.action": "start"}  # what else it says is of no concern here


def single(ghost, **owner):
    return {"event.action": "decide", "event.reason": "owner-killed", "rule.name": "killed",
            "eghostbuster.verdict": "destroy", "eghostbuster.ghost": ghost, **{**OWNER, **owner},
            "network.transport": "tcp", "network.type": "ipv4", "source.ip": "10.0.0.1", "source.port": 80,
            "destination.ip": "10.0.0.2", "destination.port": 1000 + ghost,
            "eghostbuster.socket.cookie": hex(ghost), "eghostbuster.socket.state": "fin-wait-1",
            "eghostbuster.socket.netns": 1, "eghostbuster.socket.send_queue": 5,
            "eghostbuster.proof": {"inode": 0, "age_ms": 0, "stuck": None}}


def destroyed(ghost):
    return {"event.action": "destroy", "event.outcome": "success", "eghostbuster.ghost": ghost,
            "eghostbuster.result": "destroyed", "eghostbuster.peer_notice": "rst",
            "eghostbuster.latency_ns": 2000, "eghostbuster.look_to_act_ns": 1000,
            "eghostbuster.socket.state": "fin-wait-1"}


def batch(number, ghosts, count, first_cookie, owner):
    return {"event.action": "decide", "event.reason": "owner-killed", "rule.name": "killed",
            "eghostbuster.verdict": "destroy", "eghostbuster.batch.id": number,
            "eghostbuster.batch.budget": "uid", "eghostbuster.batch.ghosts_count": count,
            "eghostbuster.batch.exits": 1, **owner, "eghostbuster.exit.class": "kill",
            "eghostbuster.batch.ghosts": ghosts,
            "eghostbuster.batch.cookies": [hex(first_cookie + i) for i in range(count)],
            "eghostbuster.proof": {"inode": 0, "stuck": None}}


def batch_result(number, left, *results):
    return {"event.action": "destroy", "event.outcome": "unknown" if left else "success",
            "eghostbuster.batch.id": number, "eghostbuster.batch.left": left,
            "eghostbuster.batch.turned_away": 0,
            "eghostbuster.batch.results": [{"outcome": "success", **result} for result in results]}


@pytest.fixture
def batches(folder):
    """Ghosts 1-4 and 8 of one process and uid; 5-7 of several; a run later others of its pid."""
    mine = {key: value for key, value in OWNER.items() if key != "eghostbuster.exit.signal"}
    return made(
        folder, START, {"event.action": "exit", "event.reason": "owner-killed", **OWNER},
        single(1), destroyed(1),
        batch(1, ["2-4"], 3, 0x102, mine),
        batch_result(1, 2, {"result": "gone", "count": 1, "ghosts": ["3"]}),
        batch(2, ["5-6", "8"], 3, 0x105, {}),
        batch_result(1, 0, {"result": "destroyed", "count": 2, "peer_notice_rst": 2,
                            "latency_max_ns": 9000, "look_to_act_max_ns": 4000}),
        batch_result(2, 0, {"result": "unsent", "outcome": "unknown", "count": 3, "ghosts": ["5-6", "8"]}),
        {"event.action": "decide", "event.reason": "several", "rule.name": None,
         "eghostbuster.verdict": "report", "eghostbuster.batch.id": 3, "eghostbuster.batch.budget": "uid",
         "eghostbuster.batch.ghosts_count": 4, "eghostbuster.batch.exits": 0, "user.id": "33",
         "eghostbuster.batch.first": 9, "eghostbuster.batch.last": 12,
         "eghostbuster.batch.classes": {"term": 4}},
        START, single(1, **{"process.entity_id": "00000000000000bb"}), destroyed(1))


def groups(path, kind, *args):
    answer = json.loads(ctl("report", "--by", kind, "--json", *args, path))
    return {(g["key"], g["ghosts"], g["destroyed"], g["gone"], g["other"], g["left_alone"])
            for g in answer["groups"]}


SEVERAL = ("(several)", 3, 0, 0, 3, 0)
LEFT = (4, 0, 0, 0, 4)


@pytest.mark.parametrize("kind, expected", [
    # The same name and pid, and not the same process.
    ("process", {("one[7]", 4, 3, 1, 0, 0), ("one[7]", 1, 1, 0, 0, 0), ("(several)", 7, 0, 0, 3, 4)}),
    ("unit", {("a.service", 5, 4, 1, 0, 0), ("(several)", 7, 0, 0, 3, 4)}),
    ("reason", {("owner-killed", 8, 4, 1, 3, 0), ("several", *LEFT)}),
    ("rule", {("killed", 8, 4, 1, 3, 0), ("-", *LEFT)}),
    ("peer", {("10.0.0.2", 2, 2, 0, 0, 0), ("(several)", 10, 2, 1, 3, 4)}),
    ("hour", {("2026-11-22 08:00", 12, 4, 1, 3, 4)})])
def test_report_of_batches(batches, monkeypatch, kind, expected):
    monkeypatch.setenv("TZ", "UTC")
    assert groups(batches, kind) == expected


@pytest.mark.parametrize("result, expected", [
    ("destroyed", {("killed", 4, 4, 0, 0, 0)}), ("gone", {("killed", 1, 0, 1, 0, 0)}),
    ("unsent", {("killed", 3, 0, 0, 3, 0)}), ("failed", set())])
def test_report_of_one_result(batches, result, expected):
    assert groups(batches, "rule", "--result", result) == expected


def test_report_filters_batches(batches):
    """By what all of its ghosts have in common."""
    assert groups(batches, "rule", "--uid", "33") == {("killed", 5, 4, 1, 0, 0), ("-", *LEFT)}
    assert groups(batches, "rule", "--pid", "7", "--unit", "a.*") == {("killed", 5, 4, 1, 0, 0)}
    assert groups(batches, "rule", "--ghost", "3") == {("killed", 3, 2, 1, 0, 0)}


def shown(path, *args):
    return [record["event.sequence"] for record in
            map(json.loads, ctl("log", "--json", *args, path).splitlines())]


def test_log_filters_batches(batches):
    assert shown(batches, "--result", "destroyed") == [4, 8, 13]
    assert shown(batches, "--result", "gone") == [6]
    assert shown(batches, "--ghost", "3") == [5, 6, 8]
    assert shown(batches, "--ghost", "8") == [7, 9]
    assert shown(batches, "--ghost", "10") == [10]
    assert shown(batches, "--uid", "33", "--action", "destroy") == [4, 6, 8, 13]
    assert shown(batches, "--rule", "killed", "--action", "decide", "-r", "-n", "2") == [12, 7]


def test_explain_one_of_a_batch(batches):
    """What came of it, of all that are in the record, and whose it was."""
    for asked, ghost, result in (("#4", 4, "destroyed"), ("0x104", 4, "destroyed"), ("#3", 3, "gone"),
                                 ("0x103", 3, "gone"), ("#8", 8, "unsent"), ("0x107", 8, "unsent")):
        story = ctl("explain", asked, batches)
        assert story.count(f"    ghost {ghost}: {result}\n") == 1, story
        assert (" exit      one[7]" in story) == (ghost < 5)
        assert story.count("    ghost ") == 1
    assert "the log says nothing of it" in ctl("explain", "#13", batches)


def test_follow(service):
    """Over a rotation, without a line lost."""
    follower = subprocess.Popen([CTL, "log", "--json", "-f", service.log_path],
                                stdout=subprocess.PIPE)
    try:
        # A follower that has shown something has the file open.
        assert wait_readable([follower.stdout.fileno()])
        service.destroyed(die(service))
        before = service.log_path.with_suffix(".jsonl.1")
        service.log_path.rename(before)
        service.log_path.touch(0o640)
        os.chown(service.log_path, before.stat().st_uid, before.stat().st_gid)
        service.reload()
        service.destroyed(die(service))
        assert service.stop() == 0
        wanted, seen = before.read_bytes() + service.log_path.read_bytes(), b""
        while len(seen) < len(wanted):
            assert wait_readable([follower.stdout.fileno()]), seen[-200:]
            seen += os.read(follower.stdout.fileno(), 65536)
        assert seen == wanted
    finally:
        follower.send_signal(signal.SIGTERM)
        follower.wait()


def test_foreign_lines_are_told(told):
    with open(told.log_path, "ab") as log:
        log.write(b"\x1b[2Jhello\n")
    ended = subprocess.run([CTL, "log", told.log_path], capture_output=True, text=True)
    assert ended.returncode == 0 and "1 lines were no records" in ended.stderr
    assert "\x1b" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("args", [
    ("log", "--since", "soon"), ("log", "--pid", "x"), ("log", "-o", "xml"), ("log", "-n", "-1"),
    ("log", "-f", "-r"), ("log", "--remote", "host"), ("log", "--color", "blue"),
    ("log", "--action", "kill"), ("log", "--result", "destroy"), ("report", "--action", "decide"),
    ("report", "--by", "colour"), ("explain",), ("explain", "0xzz"), ("completion", "tcsh"),
    ("completion",)], ids=" ".join)
def test_usage(args):
    ended = subprocess.run([CTL, *args], capture_output=True, text=True)
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith("eghostctl: ") or "eghostctl" in ended.stderr
