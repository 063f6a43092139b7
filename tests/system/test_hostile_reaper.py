# SPDX-License-Identifier: Apache-2.0
"""The broker with a reaper that lies (tests/hostile/reaper.c) in the real one's place."""

import os
import pathlib
import re
import signal

import pytest

import sockets
from hostile import Impostor, ask, memory_kb
from machine import eventually
from test_hostile_tracker import MEMORY_MAX_KB

HEADER = pathlib.Path(__file__).parents[2] / "broker" / "ghosts.h"
GHOSTS_MAX = int(re.search(r"#define GHOSTS_MAX\s+(\d+)u", HEADER.read_text())[1])
FOUND_MAX = GHOSTS_MAX // 2  # nobody has more than there is room left
FOUND = FOUND_MAX + 20000

# What a process that was asked to stop leaves is looked at twice, a tenth of a second apart.
LOOKED_AT = """
[rule stopped]
exit = term
action = destroy
grace = 100ms
require = stuck
[rule rest]
action = report
"""


WAITED_FOR = """
[rule adopted]
exit = unknown
action = destroy
grace = 1h
require = none
"""


@pytest.fixture
def impostor(folder, prepared):
    return Impostor(folder, prepared)


RESULTS = ("error established listen time-wait last-ack closing-rst mini-rst no-rst unlooked future "
           "for-ever past no-act slow-act state-range none range error-negative error-huge "
           "failed-without-error gone-rst gone-unlooked refused-rst other-netns unsupported "
           "progress ghost cookie pad twice").split()


@pytest.mark.parametrize("lie", RESULTS)
def test_result(impostor, lie):
    """No result that contradicts itself, the request or the clock becomes a record."""
    impostor.replace("tracker", "killed", 1).replace("reaper", f"result-{lie}").start()
    assert "the reaper broke the protocol" in impostor.ends()
    results = impostor.service.audit.all(event__action="destroy")
    assert len(results) == (lie == "twice")
    stop = impostor.service.audit.all(event__action="stop")[-1]
    assert stop["eghostbuster.count.unanswered"] == (lie != "twice")


SAMPLES = ("past future back state-back window mini established nothing-with-state "
           "failed-without-error ghost twice").split()


@pytest.mark.parametrize("lie", SAMPLES)
def test_sample(impostor, lie):
    impostor.service.configure(LOOKED_AT)
    impostor.replace("tracker", "termed", 1).replace("reaper", f"sampled-{lie}").start()
    assert "the reaper broke the protocol" in impostor.ends()
    assert impostor.service.audit.all(event__action="decide") == []


ASKED = ("found-netns found-time-wait found-mini found-cookie end-count end-round end-future "
         "end-past end-error pong-unsent pong-twice unasked-result unasked-sampled unasked-found "
         "unasked-end unasked-pong direction text hello-twice hello-netns hello-selftest "
         "hello-time-wait hello-none").split()


@pytest.mark.parametrize("lie", ASKED)
def test_answer(impostor, lie):
    impostor.replace("tracker", "quiet").replace("reaper", lie).start()
    assert "the reaper broke the protocol" in impostor.ends()


@pytest.mark.parametrize("lie, why", [("empty", "the reaper is gone"),
                                      ("hello-empty", "the reaper is gone: the service does not start"),
                                      ("descriptor", "a file descriptor"),
                                      ("hello-build", "the reaper is of another build"),
                                      ("mute", "the reaper does not answer")])
def test_not_a_reaper(impostor, lie, why):
    impostor.replace("tracker", "quiet").replace("reaper", lie).start()
    assert why in impostor.ends()


@pytest.mark.parametrize("lie", ["lies", "destroys"])
def test_what_cannot_be_found_out(impostor, lie):
    """Then it is the reaper's word, in records of good order."""
    service = impostor.replace("tracker", "killed", 3000).replace("reaper", lie).run()
    service.wait(event__action="decide", eghostbuster__ghost=3000)
    assert service.stop() in (0, 1)  # 1: refused by rate to the end
    checked = impostor.check()
    assert checked.tally["destroy"] >= 1000


def test_refused_for_ever(impostor):
    """One record for a ghost, however often it is refused; a stop does not wait for more."""
    service = impostor.replace("tracker", "killed", 500).replace("reaper", "refuses").run()
    service.wait(event__action="destroy", eghostbuster__ghost=500)
    assert service.stop() in (0, 1)
    assert impostor.check().tally["destroy"] == 500
    assert service.audit.all(event__action="stop")[-1]["event.reason"] == "ordered"


def test_never_answered(impostor):
    service = impostor.replace("tracker", "killed", 500).replace("reaper", "unanswered").run()
    service.wait(event__action="decide", eghostbuster__ghost=500)
    assert service.stop() == 1
    impostor.check()
    assert service.audit.all(event__action="stop")[-1]["eghostbuster.count.unanswered"] == 500


def test_slow(impostor):
    service = impostor.replace("tracker", "killed", 300).replace("reaper", "slow").run()
    service.wait(event__action="destroy", eghostbuster__ghost=300)
    assert service.stop() == 0
    assert impostor.check().tally["destroy"] == 300


def test_moves_for_ever(impostor):
    """Never stuck, so never decided: no record, and no end to the looks but the grace between them."""
    impostor.service.configure(LOOKED_AT)
    service = impostor.replace("tracker", "termed", 50).replace("reaper", "sampled-moves").run()

    def looked_at():
        pending = ask(service)["pending"]
        return pending["waiting"] + pending["sampling"] == 50
    eventually(looked_at, "all are waiting")
    assert service.stop() == 0
    assert "decide" not in impostor.check().tally


def test_found_without_end(impostor):
    """More than the table holds: it is bounded, and so is the memory."""
    impostor.service.configure(WAITED_FOR)
    service = impostor.replace("tracker", "quiet").replace("reaper", "found-flood", FOUND).run()
    record = service.wait(event__action="reconcile")
    assert record["eghostbuster.reconcile.found"] >= FOUND
    assert record["eghostbuster.reconcile.adopted"] == FOUND_MAX
    assert memory_kb(service.pid) < MEMORY_MAX_KB
    assert service.stop() == 0
    impostor.check()


def test_never_complete(impostor):
    service = impostor.replace("tracker", "quiet").replace("reaper", "never-complete").run()
    eventually(lambda: len(service.audit.all(event__action="reconcile")) >= 2, "two rounds")
    first, second = service.audit.all(event__action="reconcile")[:2]
    assert first["event.outcome"] == second["event.outcome"] == "failure"
    assert service.stop() == 0
    impostor.check()


@pytest.mark.parametrize("hello, mode", [("hello-wild", "enforce"),
                                         ("hello-forever-orphan", "observe")])
def test_hello(impostor, hello, mode):
    service = impostor.replace("tracker", "killed", 5).replace("reaper", hello).run()
    service.wait(event__action="decide", eghostbuster__ghost=5)
    assert service.audit.all(event__action="start")[0]["eghostbuster.mode"] == mode
    assert service.stop() == 0
    impostor.check()


def test_with_the_real_tracker(impostor, victim):
    """The kernel still has what the reaper says it has destroyed: its word is all there is."""
    service = impostor.replace("reaper", "destroys").run()
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    os.kill(victim.pid, signal.SIGKILL)
    decision = service.decision(connection)
    assert service.result(decision)["eghostbuster.result"] == "destroyed"
    assert sockets.find(connection.cookie) is not None
    assert service.stop() == 0
    impostor.check()
