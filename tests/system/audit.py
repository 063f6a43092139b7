# SPDX-License-Identifier: Apache-2.0
"""Follows the audit log: waits for the record that is meant; checks what holds for every one."""

import ctypes
import json
import os
import re
import time

from machine import TIMEOUT, wait_readable

IN_MODIFY, IN_MOVED, IN_CREATE = 0x2, 0xc0, 0x100
_libc = ctypes.CDLL(None, use_errno=True)

ACTIONS = {"start", "stop", "exit", "decide", "destroy", "lost", "reconcile", "breaker",
           "config-reload", "log-open", "log-close"}
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


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
    return record


def matches(record, wanted):
    return all(record.get(key) == value for key, value in wanted.items())


class AuditLog:
    """All records so far, in order. Reads on by itself."""

    def __init__(self, path):
        self.path, self.records, self._offset, self._ino = path, [], 0, None
        self._inotify = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        watch = _libc.inotify_add_watch(self._inotify, os.fsencode(path.parent),
                                        IN_MODIFY | IN_MOVED | IN_CREATE)
        assert watch >= 0, os.strerror(ctypes.get_errno())

    def read(self):
        """Takes in what has been written since. After a rename the new file continues the old."""
        if not self.path.exists():
            return self.records
        with open(self.path, "rb") as file:
            if os.fstat(file.fileno()).st_ino != self._ino:
                self._ino, self._offset = os.fstat(file.fileno()).st_ino, 0
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        for line in data[:whole].splitlines():
            self._append(parse(line))
        return self.records

    def _append(self, record):
        if self.records and (record["event.action"], record["event.sequence"]) != ("log-open", 1):
            assert record["event.sequence"] == self.records[-1]["event.sequence"] + 1, record
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
