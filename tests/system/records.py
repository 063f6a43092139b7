# SPDX-License-Identifier: Apache-2.0
"""Holds a whole audit log to the letter: what no hostile role may make the broker write otherwise."""

import json
import re

from audit import ORIGIN, TIMESTAMP, Unbatcher, chained

STATES = {"fin-wait-1", "fin-wait-2", "last-ack", "closing"}
ANY_STATE = STATES | {"established", "syn-sent", "syn-recv", "time-wait", "close", "close-wait",
                      "listen", "new-syn-recv"}
TIMERS = {"none", "retransmit", "keepalive", "mini-socket", "zero-window", "?"}
CLASSES = {"crash", "kill", "oom", "closed", "term", "error", "clean", "unknown"}
HASH = re.compile("[0-9a-f]{64}")


def number(value):
    return type(value) is int and 0 <= value < 1 << 64


def text(value):
    return type(value) is str


def one_of(words):
    return lambda value: text(value) and value in words


def like(pattern):
    return lambda value: text(value) and re.fullmatch(pattern, value) is not None


def none_or(check):
    return lambda value: value is None or check(value)


def boolean(value):
    return type(value) is bool


SAMPLE = {"age_ms": number, "bytes_acked": number, "window_end": number, "send_queue": number,
          "unacked": number, "notsent": number, "last_ack_ms": number, "timer": one_of(TIMERS),
          "timer_ms": number, "retransmits": number, "probes": number, "backoff": number}


def proof(value):
    if "age_ms" not in value:  # of a batch
        return value["inode"] == 0 and value["stuck"] in (None, True) and len(value) == 2
    assert value["inode"] == 0 and number(value["age_ms"]), value
    if value["stuck"] is None:
        return set(value) == {"inode", "age_ms", "stuck"}
    first, second = value["samples"]
    for sample in (first, second):
        assert set(sample) == set(SAMPLE), sample
        assert all(SAMPLE[name](member) for name, member in sample.items()), sample
    # What proves that nothing moved does not show that something did.
    assert second["age_ms"] >= first["age_ms"] and first["bytes_acked"] == second["bytes_acked"]
    assert second["window_end"] <= first["window_end"], value
    return value["stuck"] is True and number(value["interval_ms"])


def previous(value):
    known = {"file": text, "file_hex": like("([0-9a-f]{2})+"), "sequence": number,
             "hash": HASH.fullmatch}
    return all(known[name](member) for name, member in value.items())


def list_of(check):
    return lambda value: type(value) is list and all(map(check, value))


def classes(value):
    return set(value) <= CLASSES and all(number(count) and count > 0 for count in value.values())


def batch_result(value):
    known = {"result": text, "outcome": text, "error.code": text, "count": number,
             "ghosts": list_of(RANGE), "peer_notice_rst": number, "latency_max_ns": number,
             "look_to_act_max_ns": number}
    assert all(known[name](member) for name, member in value.items()), value
    if value["result"] == "destroyed":
        assert value["outcome"] == "success" and value["peer_notice_rst"] <= value["count"], value
        assert 0 < value["look_to_act_max_ns"] <= value["latency_max_ns"] < 1 << 63, value
    return ("error.code" in value) == (value["result"] == "failed")


RANGE = like("[0-9]+(-[0-9]+)?")
COOKIE = like("0x[1-9a-f][0-9a-f]{0,15}")
BATCH = {f"eghostbuster.batch.{name}": check for name, check in {
    "id": number, "budget": one_of({"uid", "unit", "all"}), "ghosts_count": number, "exits": number,
    "ghosts": list_of(RANGE), "cookies": list_of(COOKIE), "first": number, "last": number,
    "classes": classes, "left": number, "turned_away": number,
    "results": list_of(batch_result)}.items()}
HEAD = {"@timestamp": TIMESTAMP.fullmatch, "event.sequence": number, "event.action": text}
OWNER = {"process.pid": number, "process.entity_id": like("[0-9a-f]{16}"), "process.name": text,
         "process.name_hex": like("([0-9a-f]{2})+"), "user.id": like("[0-9]+"),
         "eghostbuster.unit": none_or(text), "eghostbuster.unit_hex": like("([0-9a-f]{2})+"),
         "eghostbuster.unit_truncated": boolean, "eghostbuster.exit.class": one_of(CLASSES),
         "eghostbuster.exit.signal": number, "process.exit_code": number}
GHOST = {"network.transport": one_of({"tcp"}), "network.type": one_of({"ipv4", "ipv6"}),
         "source.ip": text, "source.port": number, "destination.ip": text,
         "destination.port": number, "eghostbuster.socket.cookie": COOKIE,
         "eghostbuster.socket.state": one_of(STATES), "eghostbuster.socket.netns": number,
         "eghostbuster.socket.ifindex": number, "eghostbuster.socket.send_queue": number}
# Members beyond the head and the hash: all that an action may have.
MEMBERS = {
    "exit": {"event.reason": text, **OWNER},
    "decide": {"event.reason": text, "rule.name": none_or(text), "eghostbuster.ghost": number,
               "eghostbuster.verdict": one_of({"destroy", "report", "wait", "ignore"}), **OWNER,
               **GHOST, "eghostbuster.proof": proof, **BATCH},
    "destroy": {"event.outcome": one_of({"success", "failure", "unknown"}),
                "eghostbuster.ghost": number,
                "eghostbuster.result": one_of({"destroyed", "gone", "refused-live",
                                               "refused-progress", "refused-rate", "failed",
                                               "observed"}),
                "eghostbuster.peer_notice": one_of({"rst", "none"}),
                "eghostbuster.latency_ns": number, "eghostbuster.look_to_act_ns": number,
                "eghostbuster.socket.state": one_of(ANY_STATE),
                "error.code": like("E[A-Z0-9]+|[0-9]+"), **BATCH},
    "lost": {f"eghostbuster.lost.{what}": number for what in ("orphans", "exits", "stamps")},
    "reconcile": {"event.outcome": one_of({"success", "failure"}),
                  "event.reason": one_of({"start", "lost", "evicted", "periodic"}),
                  **{f"eghostbuster.reconcile.{what}": number
                     for what in ("round", "found", "adopted", "forgotten")},
                  "error.code": like("E[A-Z0-9]+|[0-9]+")},
    "breaker": {"event.reason": text, "eghostbuster.unit": text,
                "eghostbuster.unit_hex": like("([0-9a-f]{2})+"),
                "eghostbuster.breaker": one_of({"open", "closed"}),
                "eghostbuster.breaker.hold_ms": number, "eghostbuster.breaker.held_back": number},
    "start": {name: (lambda value: True) for name in (
        "agent.version", "eghostbuster.build_id", "eghostbuster.bpf_object.sha256", "eghostbuster.mode",
        "event.reason", "host.boot.id", "host.os.kernel", "eghostbuster.selftest", "eghostbuster.config",
        "eghostbuster.tracker_features", "eghostbuster.socket.netns",
        "eghostbuster.destroy_ceiling")},
    "config-reload": {"event.outcome": one_of({"success", "failure"}),
                      "eghostbuster.config": text, "eghostbuster.mode": text,
                      "error.message": text, "error.message_hex": text},
    "log-open": {"event.reason": text, "eghostbuster.log.previous": none_or(previous),
                 "eghostbuster.log.unclean": boolean, "eghostbuster.log.torn_bytes": number,
                 "eghostbuster.log.sealed": boolean},
    "log-close": {"event.reason": text},
}
COUNTS = ("ghosts destroyed gone refused failed observed reported ignored waiting expired adopted "
          "evicted held_back unanswered unsent batched").split()
MEMBERS["stop"] = {"event.reason": text, **MEMBERS["lost"],
                   **{f"eghostbuster.count.{what}": number for what in COUNTS},
                   **{f"eghostbuster.sink.{sink}.{what}": number
                      for sink in ("linux_audit", "journald") for what in ("sent", "lost")}}


def unique(pairs):
    record = dict(pairs)
    assert len(record) == len(pairs), f"a member twice: {pairs}"
    return record


def strict(line):
    """One line as JSON, byte for byte: UTF-8, nothing unescaped that a terminal would obey."""
    words = line.decode("utf-8")
    for character in words:
        code = ord(character)
        assert code >= 0x20 and not 0x7f <= code < 0xa0, f"an unescaped control: {line}"
    record = json.loads(words, object_pairs_hook=unique,
                        parse_constant=lambda word: 1 / 0, parse_float=lambda word: 1 / 0)
    json.dumps(record, ensure_ascii=False).encode("utf-8")  # no half of a surrogate pair
    return record


def known(record):
    members = {**HEAD, **MEMBERS[record["event.action"]], "event.hash": HASH.fullmatch,
               "eghostbuster.seal": like("(0|[1-9][0-9]{0,12}):[0-9a-f]{64}")}
    for name, value in record.items():
        assert name in members, f"an unknown member {name}: {record}"
        assert members[name](value), f"{name} cannot be {value!r}: {record}"


def agrees(record):
    """A result that does not contradict itself."""
    result, state = record["eghostbuster.result"], record.get("eghostbuster.socket.state")
    destroyed = result == "destroyed"
    assert ("error.code" in record) == (result == "failed"), record
    for name in ("peer_notice", "latency_ns", "look_to_act_ns"):
        assert (f"eghostbuster.{name}" in record) == destroyed, record
    outcome = record["event.outcome"]
    assert (outcome == "success") == (result in ("destroyed", "gone")), record
    if destroyed:
        assert state in STATES | {"time-wait"}, record
        if state not in ("fin-wait-1", "fin-wait-2"):
            assert record["eghostbuster.peer_notice"] == "none", record
        if state == "fin-wait-1":
            assert record["eghostbuster.peer_notice"] == "rst", record
        assert 0 < record["eghostbuster.look_to_act_ns"] <= record["eghostbuster.latency_ns"], record
        assert record["eghostbuster.latency_ns"] < 1 << 63, record


class Checker:
    """Reads a log record by record. tally: how many of each action."""

    def __init__(self):
        self.tally, self.decided, self.open = {}, {}, set()
        self.destroyed = []  # cookies
        self.sequence, self.hash, self.unbatcher = None, ORIGIN, Unbatcher()

    def check(self, path):
        with open(path, "rb") as file:
            for line in file:
                assert line.endswith(b"\n"), f"a part of a record: {line}"
                self.take(line[:-1])
        return self

    def take(self, line):
        record = strict(line)
        assert list(record)[:3] == list(HEAD) and list(record)[-1] == "event.hash", line
        known(record)
        self.chain(record, line)
        action = record["event.action"]
        self.tally[action] = self.tally.get(action, 0) + 1
        if action == "start":
            self.decided, self.open = {}, set()
        if action == "destroy" and "eghostbuster.batch.id" not in record:
            agrees(record)
        for one in self.unbatcher.take(record):
            if action == "decide" and "eghostbuster.ghost" in one:
                self.decide(one)
            if action == "destroy":
                self.result(one)

    def chain(self, record, line):
        if record["event.action"] == "log-open":
            before = record["eghostbuster.log.previous"]
            self.hash = ORIGIN if before is None else before["hash"]
            self.sequence = 0 if before is None else before["sequence"]
        assert record["event.sequence"] == self.sequence + 1, record
        self.sequence += 1
        self.hash = chained(self.hash, line)
        assert record["event.hash"] == self.hash, record

    def decide(self, record):
        ghost = record["eghostbuster.ghost"]
        self.decided[ghost] = record["eghostbuster.socket.cookie"]
        if record["eghostbuster.verdict"] == "destroy":
            self.open.add(ghost)

    def result(self, record):
        """Only of what was decided, and once for each decision - but for the refusal by rate."""
        ghost = record["eghostbuster.ghost"]
        assert ghost in self.open, f"a result without a decision: {record}"
        if record["eghostbuster.result"] != "refused-rate":
            self.open.remove(ghost)
        if record["eghostbuster.result"] == "destroyed":
            self.destroyed.append(self.decided[ghost])
