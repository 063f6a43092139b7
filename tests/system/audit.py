# SPDX-License-Identifier: Apache-2.0
"""Follows the audit log: waits for the record that is meant; checks what holds for every one."""

import ctypes
import hashlib
import json
import os
import pathlib
import re
import time

import fastjsonschema

from machine import TIMEOUT, wait_readable

IN_MODIFY, IN_MOVED, IN_CREATE = 0x2, 0xc0, 0x100
_libc = ctypes.CDLL(None, use_errno=True)

ACTIONS = {"start", "stop", "exit", "decide", "destroy", "lost", "reconcile", "breaker",
           "config-reload", "log-open", "log-close"}
ORIGIN = "0" * 64
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def _validators():
    """By action, so that a record is held to what its own kind may have."""
    schema = json.loads((pathlib.Path(__file__).parents[2] / "broker/audit.schema.json").read_text())
    kinds = {}
    for name, kind in schema["definitions"].items():
        if "event.action" in kind["properties"]:
            kinds.setdefault(kind["properties"]["event.action"]["const"], []).append(
                {"$ref": f"#/definitions/{name}"})
    assert sum(kinds.values(), []) == schema["oneOf"], "a kind of record that the schema leaves out"
    return {action: fastjsonschema.compile({"oneOf": refs, "definitions": schema["definitions"]})
            for action, refs in kinds.items()}


VALIDATORS = _validators()


def _unique(pairs):
    record = dict(pairs)
    assert len(record) == len(pairs), f"a member twice: {pairs}"
    return record


def parse(line):
    """One record, by the letter of DESIGN 8."""
    record = json.loads(line.decode("utf-8"), object_pairs_hook=_unique)
    assert list(record)[:3] == ["@timestamp", "event.sequence", "event.action"], line
    assert TIMESTAMP.fullmatch(record["@timestamp"]), line
    assert record["event.action"] in ACTIONS, line
    assert list(record)[-1] == "event.hash", line
    try:
        VALIDATORS[record["event.action"]](record)
    except fastjsonschema.JsonSchemaException as error:
        raise AssertionError(f"{error}: {line}") from None
    return record


def chained(previous, line):
    """event.hash of a line that follows the record with that hash."""
    body = line[:line.rindex(b',"event.hash":"')]
    return hashlib.sha256(previous.encode() + body).hexdigest()


def matches(record, wanted):
    return all(record.get(key) == value for key, value in wanted.items())


def numbers(ranges):
    """["3", "7-9"] -> 3, 7, 8, 9"""
    for text in ranges:
        first, _, last = text.partition("-")
        yield from range(int(first), int(last or first) + 1)


class Unbatcher:
    """Makes of each record of a batch one for each of its ghosts, as if it had its own. A batch of
    what was left alone names no ghosts, and stays one record."""

    def __init__(self):
        self.members = {}  # batch: its ghosts that have no result yet

    def take(self, record):
        """Returns the records that it stands for."""
        if record["event.action"] == "start":
            self.members.clear()
        batch = record.get("eghostbuster.batch.id")
        if batch is None or "eghostbuster.batch.first" in record:
            return [record]
        if record["event.action"] == "decide":
            return self._decided(batch, record)
        return self._answered(batch, record)

    def _decided(self, batch, record):
        assert batch not in self.members, f"a batch twice: {record}"
        ghosts = list(numbers(record["eghostbuster.batch.ghosts"]))
        cookies = record["eghostbuster.batch.cookies"]
        assert len(ghosts) == len(cookies) == record["eghostbuster.batch.ghosts_count"] > 0
        self.members[batch] = dict.fromkeys(ghosts)
        assert len(self.members[batch]) == len(set(cookies)) == len(ghosts), "a ghost twice"
        return [{**record, "eghostbuster.ghost": ghost, "eghostbuster.socket.cookie": cookie}
                for ghost, cookie in zip(ghosts, cookies)]

    def _answered(self, batch, record):
        found, members = [], self.members[batch]  # none: a result without its decision before it
        destroyed = {"count": 0}
        for result in record["eghostbuster.batch.results"]:
            if "ghosts" not in result:
                destroyed = result
                continue
            ghosts = list(numbers(result["ghosts"]))
            assert len(ghosts) == result["count"]
            for ghost in ghosts:
                del members[ghost]
                found.append(self._result(record, ghost, result))
        left = record["eghostbuster.batch.left"]
        assert left > 0 or len(members) == destroyed["count"], record
        if left == 0:  # only now it is known which ones they are
            found += [self._result(record, ghost, destroyed) for ghost in members]
            members.clear()
        return found

    @staticmethod
    def _result(record, ghost, result):
        one = {**record, "eghostbuster.ghost": ghost, "eghostbuster.result": result["result"],
               "event.outcome": result["outcome"]}
        if "error.code" in result:
            one["error.code"] = result["error.code"]
        return one


def unbatched(records):
    unbatcher = Unbatcher()
    return [one for record in records for one in unbatcher.take(record)]


class AuditLog:
    """All records so far, in order. Reads on by itself."""

    def __init__(self, path):
        self.path, self.records, self._file, self._rest = path, [], None, b""
        self._hash, self._torn = ORIGIN, None
        self._inotify = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        watch = _libc.inotify_add_watch(self._inotify, os.fsencode(path.parent),
                                        IN_MODIFY | IN_MOVED | IN_CREATE)
        assert watch >= 0, os.strerror(ctypes.get_errno())

    def read(self):
        """Takes in what has been written since. After a rename the new file continues the old,
        which is read to its end first: the last of it is written after the rename."""
        try:
            size, ino = self.path.stat().st_size, self.path.stat().st_ino
        except FileNotFoundError:
            size = 0
        if self._file is not None:
            self._read_on()
        if size and (self._file is None or os.fstat(self._file.fileno()).st_ino != ino):
            if self._file is not None:
                self._read_on()
                self._file.close()
            self._file, self._rest = open(self.path, "rb"), b""
            self._read_on()
        return self.records

    def _read_on(self):
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line):
        """A record, or one that a crash cut off: then the next one says so."""
        try:
            record = parse(line)
        except ValueError:
            assert self._torn is None, f"no record: {self._torn}"
            self._torn = line
            return
        if self._torn is not None:
            assert record["event.action"] == "log-open", f"no record: {self._torn}"
            assert record["eghostbuster.log.torn_bytes"] == len(self._torn), record
            self._torn = None
        self._append(record, line)

    def _append(self, record, line):
        if record["event.action"] == "log-open":
            before = record["eghostbuster.log.previous"]
            assert before is None or not self.records or before["hash"] == self._hash, record
            self._hash = ORIGIN if before is None else before["hash"]
        elif self.records:
            assert record["event.sequence"] == self.records[-1]["event.sequence"] + 1, record
        self._hash = chained(self._hash, line)
        assert record["event.hash"] == self._hash, f"does not follow from the one before: {record}"
        self.records.append(record)

    def all(self, **wanted):
        """Records so far that have these members; "__" stands for the dot of a name."""
        wanted = {key.replace("__", "."): value for key, value in wanted.items()}
        return [record for record in self.read() if matches(record, wanted)]

    def index(self, record):
        return next(i for i, other in enumerate(self.records) if other is record)

    def wait(self, gone=None, timeout=TIMEOUT, after=None, **wanted):
        """The first record that has these members, behind the record `after`. gone: a descriptor
        that is readable when no more records will come."""
        end = time.monotonic() + timeout
        while True:
            last = bool(gone is not None and wait_readable([gone], 0))
            found = self.all(**wanted)
            if after is not None:
                behind = {id(record) for record in self.records[self.index(after) + 1:]}
                found = [record for record in found if id(record) in behind]
            if found:
                return found[0]
            left = end - time.monotonic()
            assert not last and left > 0, f"no record {wanted} among:\n{self.tail()}"
            ready = wait_readable([self._inotify] + ([gone] if gone is not None else []), left)
            if self._inotify in ready:
                os.read(self._inotify, 65536)

    def tail(self):
        return "\n".join(json.dumps(record) for record in self.records[-20:])

    def close(self):
        os.close(self._inotify)
        if self._file is not None:
            self._file.close()
