# SPDX-License-Identifier: Apache-2.0
"""The peer of a proved ghost reads on at a random moment around the destroy: race.c makes the rounds,
and here they are held against the records.

A round is judged by what is certain. The peer has read a byte that was not there before (`grew`): so
the ghost had made progress by then. The owner was alive at `dies`, so the reaper's last look was not
before `dies` + latency - look-to-act. When `grew` comes before that, the reaper must have seen it.

EGB_RACE_ROUNDS and EGB_RACE_SEED set the number of rounds and the seed."""

import collections
import os
import random
import statistics
import subprocess

import pytest

import machine
import sockets
from machine import BUILD
from service import LIBEXEC

DAEMON = "mode = enforce\nrecord_budget = 1000000/s"  # each record is looked at
ROUNDS = int(os.environ.get("EGB_RACE_ROUNDS", "2000"))
PARALLEL = 100
TRIES = 5
GRACE_MS = 100
# What is promised, for a machine with nothing else to do (make race); in a busy one's `make check` a guard.
LOOK_TO_ACT_P99_NS = 100_000 if "EGB_RACE_STRICT" in os.environ else 1_000_000
RULES = f"""
[rule clean]
exit = clean
action = destroy
grace = {GRACE_MS}ms
require = stuck

[rule killed]
exit = kill
action = destroy
grace = {GRACE_MS}ms
require = none
"""

Round = collections.namedtuple(
    "Round", "cookie way dies resumes resumed grew ends before received sent end")


@pytest.fixture(autouse=True)
def network():
    machine.own_network()


@pytest.fixture
def bystanders(stage):
    living = sockets.crowd(stage.actor(), 20)
    yield living
    for connection in living:
        connection.exchange()


def run_race(service, rounds, death, sndbuf):
    """Returns the rounds and, by cookie, their records."""
    seed = int(os.environ.get("EGB_RACE_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"{rounds} rounds, seed {seed}")
    # On a processor of its own, so that it disturbs the reaper no more than another machine would.
    arguments = (rounds, PARALLEL, seed, GRACE_MS, sndbuf, service.log_path, death)
    ended = subprocess.run(["taskset", "-c", "0", BUILD / "tests" / "race", *map(str, arguments)],
                           stdout=subprocess.PIPE, text=True, timeout=6 * machine.TIMEOUT, check=True)
    assert service.stop() == 0  # every request has its result
    made = [parse(line) for line in ended.stdout.splitlines()]
    assert len(made) == rounds and all(round_.dies for round_ in made)
    return made, records_by_cookie(service.audit.all())


def parse(line):
    word, cookie, way, *numbers, end = line.split()
    assert word == "round"
    return Round(int(cookie), way, *map(int, numbers), end)


def records_by_cookie(records):
    """cookie -> [(decision, result)], in order."""
    decided, found = {}, collections.defaultdict(list)
    for record in records:
        ghost = record.get("eghostbuster.ghost")
        if record["event.action"] == "decide":
            decided[ghost] = record
        elif record["event.action"] == "destroy":
            decision = decided[ghost]
            cookie = int(decision["eghostbuster.socket.cookie"], 16)
            found[cookie].append((decision, record))
    return found


def judge(round_, pairs):
    """What became of a round, in a few words."""
    results = [result["eghostbuster.result"] for _, result in pairs]
    destroyed = [result for _, result in pairs if result["eghostbuster.result"] == "destroyed"]
    if round_.end in ("hung", "corrupt"):
        return f"FAILED: {round_.end}"
    if round_.end == "eof":
        return judge_delivered(round_, results)
    if not destroyed:
        return "FAILED: cut, and no record of it"
    if round_.resumes == 0:
        return "cut before the peer reads on"
    if round_.grew == 0:
        return "cut before any progress"
    if round_.grew < last_look(round_, destroyed[0]):
        return "FAILED: cut, and there was progress before the last look"
    return "cut between look and act"


def judge_delivered(round_, results):
    if round_.received != round_.sent:
        return "FAILED: the end came before all data"
    if "refused-progress" in results:
        return "delivered, refused-progress"
    if "destroyed" in results:
        return "delivered, and then destroyed"
    return "delivered, no request"


def last_look(round_, result):
    """Not before this time did the reaper look for the last time."""
    return round_.dies + result["eghostbuster.latency_ns"] - result["eghostbuster.look_to_act_ns"]


def assert_looks_like_a_proof(decision):
    proof = decision["eghostbuster.proof"]
    first, second = proof["samples"]
    assert proof["stuck"] is True and proof["interval_ms"] >= GRACE_MS
    assert first["bytes_acked"] == second["bytes_acked"]
    assert first["window_end"] >= second["window_end"]


def report(rounds, records):
    """Prints and returns: how many rounds fell into each outcome; the 99th percentile of look-to-act."""
    outcomes = collections.Counter(judge(round_, records[round_.cookie]) for round_ in rounds)
    for outcome, number in sorted(outcomes.items()):
        print(f"{number:6}  {outcome}")
    times = sorted(result["eghostbuster.look_to_act_ns"] for round_ in rounds
                   for _, result in records[round_.cookie]
                   if result["eghostbuster.result"] == "destroyed")
    p99 = statistics.quantiles(times, n=100)[98]
    print(f"look to act: p50 {statistics.median(times) / 1000:.1f} us, p99 {p99 / 1000:.1f} us, "
          f"max {times[-1] / 1000:.1f} us")
    return outcomes, p99


def sanitized():
    return b"__asan_init" in (LIBEXEC / "reaper").read_bytes()


def assert_promises_are_kept(rounds, records, outcomes):
    assert not [outcome for outcome in outcomes if outcome.startswith("FAILED")]
    for round_ in rounds:
        for decision, result in records[round_.cookie]:
            assert_looks_like_a_proof(decision)
            assert result["eghostbuster.result"] != "refused-progress" or round_.resumes, \
                "refused, and the peer had not moved"


@pytest.mark.once
def test_race(prepared, bystanders, capsys):
    """A machine that is busy with other things may preempt the reaper between look and act. That is no
    fault of the product's, so the time may be taken again, up to TRIES times; the promises may not."""
    prepared.configure(RULES, DAEMON)
    with capsys.disabled():
        print()
        for _ in range(TRIES):
            rounds, records = run_race(prepared.run(), ROUNDS, "exit", 1 << 16)
            outcomes, p99 = report(rounds, records)
            assert_promises_are_kept(rounds, records, outcomes)
            if p99 < LOOK_TO_ACT_P99_NS or sanitized():
                break
    if ROUNDS >= 1000:  # both sides of the race have been seen
        assert outcomes["delivered, refused-progress"] and outcomes["cut before any progress"]
    assert p99 < LOOK_TO_ACT_P99_NS or sanitized()


def test_the_judge_sees_a_cut_after_progress(prepared):
    """The control: ghosts of a kill are destroyed without proof, and so some are cut that move."""
    prepared.configure(RULES, DAEMON)
    # More data, so that a race lasts longer than the judge is unsure of the time.
    rounds, records = run_race(prepared.run(), 500, "kill", 1 << 18)
    outcomes, _ = report(rounds, records)
    assert outcomes["FAILED: cut, and there was progress before the last look"] or sanitized()
    assert not outcomes["FAILED: cut, and no record of it"]
