# SPDX-License-Identifier: Apache-2.0
"""Processes by the thousand, and the same pids again and again: every record is compared with what
the test knows of the life it speaks of.

EGB_STORM_SECONDS says for how long, TEST_SEED repeats a run."""

import collections
import os
import random
import signal
import subprocess

import pytest

import audit
import sockets
from machine import BUILD
from service import RULE_PER_CLASS

SECONDS = int(os.environ.get("EGB_STORM_SECONDS", "4"))
DESTROYED = {"crash", "kill"}
# Decision and result of one ghost that has records of its own; names are short here, addresses IPv4.
BYTES_PER_GHOST = 1300

Life = collections.namedtuple("Life", "pid death number cookies")


@pytest.fixture
def seed():
    """Shown when the test fails."""
    number = int(os.environ.get("TEST_SEED", random.getrandbits(32)))
    print(f"TEST_SEED={number}")
    return number


class Storm:
    """The program, from its start until its other ends may be closed."""

    def __init__(self, seconds, seed):
        self.process = subprocess.Popen([BUILD / "tests" / "fork_storm", str(seconds), str(seed)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lives = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def blow(self):
        """Returns every life, when all are over."""
        for line in self.process.stdout:
            if line == "end\n":
                return self.lives
            self.lives.append(life_of(line.split()))
        raise AssertionError(f"the storm ended with {self.process.wait()}")


def life_of(words):
    _, pid, death, number, *connections = words
    cookies = {text.removesuffix("!"): text.endswith("!") for text in connections}
    return Life(int(pid), death, int(number), cookies)


def class_of(life):
    if life.death == "exit":
        return "error" if life.number else "clean"
    return {signal.SIGKILL: "kill", signal.SIGTERM: "term", signal.SIGSEGV: "crash"}[life.number]


def is_sound(record):
    """Released, or gone by itself. With too many orphans about the kernel ends some at once, before
    the first look: the reaper only knows that they are not there. Others it finds closed."""
    return (record["eghostbuster.result"] in ("destroyed", "gone") or
            record.get("error.code") == "ENOENT" or
            record.get("eghostbuster.socket.state") == "close")


class Checker:
    """Takes the records one by one; nothing but what is known of a life may be said of it. Others:
    the cookies of ghosts that were here before the storm. Other networks have ghosts, too."""

    def __init__(self, lives, others):
        self.lives, self.others = lives, others
        self.by_cookie = {cookie: number for number, life in enumerate(lives)
                          for cookie in life.cookies}
        self.entity_of, self.life_of = {}, {}  # each life has one, and each is one life's
        self.exits, self.decided, self.asked = {}, {}, {}
        self.netns, self.strangers = os.stat("/proc/self/ns/net").st_ino, set()
        self.results, self.odd, self.bytes = collections.Counter(), [], 0
        self.lost = 0

    def take(self, line):
        record = audit.parse(line)
        if record.get("eghostbuster.verdict") == "destroy" or record["event.action"] == "destroy":
            self.bytes += len(line)
        getattr(self, "take_" + record["event.action"].replace("-", "_"), lambda _: None)(record)

    def take_lost(self, _):
        self.lost += 1

    def take_exit(self, record):
        entity = record["process.entity_id"]
        assert entity not in self.exits, f"two exits of one life: {record}"
        self.exits[entity] = record

    def take_decide(self, record):
        if (record["eghostbuster.socket.netns"] != self.netns or
                record["eghostbuster.socket.cookie"] in self.others):
            self.strangers.add(record.get("process.entity_id"))
            assert record["eghostbuster.verdict"] != "destroy", record
            return
        cookie = record["eghostbuster.socket.cookie"]
        assert cookie in self.by_cookie, f"not a ghost of the storm: {record}"
        assert cookie not in self.decided, f"decided upon twice: {record}"
        self.decided[cookie] = record["eghostbuster.exit.class"]
        number = self.by_cookie[cookie]
        life = self.lives[number]
        if record["eghostbuster.exit.class"] == "unknown":
            assert record["eghostbuster.verdict"] == "report" and "process.pid" not in record
            return
        expected = "closed" if life.cookies[cookie] else class_of(life)
        self.check_life(number, record)
        self.check_owner(number, record)
        assert record["eghostbuster.exit.class"] == record["rule.name"] == expected, record
        assert record["eghostbuster.verdict"] == \
            ("destroy" if expected in DESTROYED else "report"), record
        if expected in DESTROYED:
            self.asked[record["eghostbuster.ghost"]] = None

    def check_owner(self, number, record):
        entity = record["process.entity_id"]
        assert self.entity_of.setdefault(number, entity) == entity, f"two entities: {record}"
        assert self.life_of.setdefault(entity, number) == number, f"two lives: {record}"

    def check_life(self, number, record):
        life = self.lives[number]
        assert record["process.pid"] == life.pid, (life, record)
        assert record["process.name"] == "fork_storm", record
        if life.death == "exit":
            assert record["process.exit_code"] == life.number, (life, record)
            assert "eghostbuster.exit.signal" not in record, (life, record)
        else:
            assert record["eghostbuster.exit.signal"] == life.number, (life, record)

    def take_destroy(self, record):
        ghost = record["eghostbuster.ghost"]
        assert ghost in self.asked, f"a result without a decision: {record}"
        assert self.asked[ghost] is None, f"two results: {record}"
        self.asked[ghost] = record["eghostbuster.result"]
        self.results[record["eghostbuster.result"]] += 1
        if not is_sound(record):
            self.odd.append(record)

    def finish(self):
        """What must be true when all records are in."""
        for stranger in self.strangers:
            self.exits.pop(stranger, None)
        for entity, record in self.exits.items():
            assert entity in self.life_of, f"the exit of no life with a ghost: {record}"
            self.check_life(self.life_of[entity], record)
            assert record["eghostbuster.exit.class"] == class_of(self.lives[self.life_of[entity]])
        assert self.life_of.keys() == self.exits.keys(), "a life without its exit"
        assert None not in self.asked.values(), "a decision without a result"
        assert not self.odd, (self.results, self.odd[:4])
        missing = self.by_cookie.keys() - self.decided.keys()
        unknown = [c for c, name in self.decided.items() if name == "unknown"]
        assert self.lost or not missing and not unknown, \
            f"without a loss: {len(missing)} ghosts have no record, {len(unknown)} no owner"
        return len(missing), len(unknown)


@pytest.mark.once
def test_fork_storm(prepared, stage, seed):
    # Every record is looked at: none may stand for many.
    prepared.configure(RULE_PER_CLASS, "mode = enforce\nrecord_budget = 1000000/s")
    others = {hex(row.cookie) for row in sockets.table() if row.inode == 0}
    service = prepared.run()
    bystanders = [sockets.connect(stage.actor(), sockets.Listener()) for _ in range(4)]
    with Storm(SECONDS, seed) as storm:
        lives = storm.blow()
        assert service.stop() == 0
        checker = Checker(lives, others)
        with open(service.log_path, "rb") as log:
            for line in log:
                checker.take(line)
        missing, unknown = checker.finish()
    for connection in bystanders:
        connection.exchange()
    assert checker.bytes <= BYTES_PER_GHOST * len(checker.asked)
    pids = collections.Counter(life.pid for life in lives if life.cookies)
    # Of 32 or so that are used over and over; how many lives there were is the machine's business.
    assert max(pids.values()) > max(5, len(lives) / 200), "few pids were used again"
    print(f"{len(lives)} lives with {len(checker.by_cookie)} connections, {len(pids)} pids, "
          f"{max(pids.values())} lives of one of them; {dict(checker.results)}; "
          f"{checker.lost} lost records, {missing} ghosts without a record, {unknown} unknown")
