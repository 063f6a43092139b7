# SPDX-License-Identifier: Apache-2.0
"""Ghosts of orderly deaths: nothing is done to one that makes progress, however slowly; one that is
stuck is released, and the record holds the proof."""

import datetime
import errno
import json
import signal
import socket
import subprocess
import time

import pytest

import machine
import sockets
from machine import eventually
from service import CTL

GRACE_MS = 1000
STEADY_S = 3.5 * GRACE_MS / 1000
SENT = 200000
DEATHS = {
    "exit 0": lambda victim: victim.die("exit", 0),
    "exit 3": lambda victim: victim.die("exit", 3),
    "SIGTERM": lambda victim: victim.kill(signal.SIGTERM),
}
SAMPLE_MEMBERS = {"age_ms", "bytes_acked", "window_end", "send_queue", "unacked", "notsent",
                  "last_ack_ms", "timer", "timer_ms", "retransmits", "probes", "backoff"}


def rules(grace=f"{GRACE_MS}ms", require="require = stuck"):
    return f"""
[rule killed]
exit = crash kill oom
action = destroy

[rule orderly]
exit = clean term error
action = destroy
grace = {grace}
{require}
"""


@pytest.fixture(autouse=True)
def network():
    machine.own_network()


@pytest.fixture(autouse=True)
def bystander(network, stage):
    living = sockets.connect(stage.actor(), sockets.Listener())
    yield living
    living.exchange()


@pytest.fixture
def orderly(prepared):
    prepared.configure(rules())
    return prepared.run()


def full(victim):
    """A connection whose window the peer has closed."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    return connection


def samples_of(decision):
    """The two samples of a proof that a ghost is stuck, checked for what holds of every proof."""
    proof = decision["eghostbuster.proof"]
    first, second = proof["samples"]
    assert set(first) == set(second) == SAMPLE_MEMBERS
    assert proof["inode"] == 0 and proof["stuck"] is True
    assert first["bytes_acked"] == second["bytes_acked"]
    assert first["window_end"] >= second["window_end"]
    assert second["send_queue"] > 0
    assert proof["interval_ms"] <= proof["age_ms"]
    assert abs(second["age_ms"] - first["age_ms"] - proof["interval_ms"]) <= 1  # each is rounded
    return first, second


def proved(service, connection, grace_ms=GRACE_MS):
    """Waits for a ghost to be proved stuck and destroyed. Returns its decision."""
    decision, result = service.destroyed(connection)
    samples_of(decision)
    assert decision["eghostbuster.proof"]["interval_ms"] >= grace_ms
    assert len(service.mentions(connection)) == 1, "no record before the proof"
    assert 0 < result["eghostbuster.look_to_act_ns"]
    return decision


def moment(record):
    """A record's time, in seconds of the wall clock."""
    text = record["@timestamp"]  # nine digits are more than fromisoformat() takes
    return datetime.datetime.fromisoformat(text[:26] + "+00:00").timestamp()


def count(service, name):
    ended = subprocess.run([CTL, "status", "--json", "--control", service.control], check=True,
                           capture_output=True, text=True)
    return json.loads(ended.stdout)["since_start"][name]


@pytest.mark.parametrize("require", ["require = stuck", pytest.param("", marks=pytest.mark.once)],
                         ids=["stuck", "default"])
def test_slow_reader_and_the_same_that_stops(prepared, actor, require):
    """Each victim leaves two ghosts. Both are read slowly, longer than the grace; then one reader
    stops for good."""
    prepared.configure(rules(require=require))
    service = prepared.run()
    victims = {death: actor() for death in DEATHS}
    slow, stops = ([sockets.connect(victim, sockets.Listener(), sndbuf=1 << 20)
                    for victim in victims.values()] for _ in range(2))
    for connection in (*slow, *stops):
        connection.write(SENT)
    for death, victim in victims.items():
        DEATHS[death](victim)
    readers = {connection: sockets.SlowReader(connection) for connection in (*slow, *stops)}
    time_of_reading(STEADY_S)
    assert not any(service.mentions(connection) for connection in readers)
    stopped = time.time()
    for connection in stops:
        readers[connection].stop()
    for connection in stops:
        decision = proved(service, connection)
        assert moment(decision) > stopped
        assert samples_of(decision)[0]["age_ms"] > STEADY_S * 1000 - GRACE_MS
        assert samples_of(decision)[0]["bytes_acked"] > 0
        data, error = sockets.drain(connection.peer)
        assert error.errno == errno.ECONNRESET
        assert len(readers[connection].data + data) < SENT
    for connection in slow:
        connection.assert_delivered(readers[connection].stop())
        connection.peer.close()
    eventually(lambda: count(service, "expired") == len(slow), "all that were read are gone")
    for connection in slow:
        assert service.mentions(connection) == []
    assert service.stop() == 0
    assert service.audit.all(event__action="stop")[0]["eghostbuster.count.expired"] == len(slow)


def time_of_reading(seconds):
    """The readers read; there is nothing else to wait for."""
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > end, "time passes")


def test_peer_that_only_acknowledges(orderly, victim):
    """Its window stays closed; it answers every probe, and sends probes itself."""
    connection = full(victim)
    connection.peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    connection.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    victim.die("exit", 0)
    decision = proved(orderly, connection)
    first, second = samples_of(decision)
    assert second["last_ack_ms"] < decision["eghostbuster.proof"]["interval_ms"], "acks have come"
    assert second["timer"] == "zero-window" and second["notsent"] > 0
    assert second["backoff"] > first["backoff"]


@pytest.fixture
def vanished(victim, far):
    """A connection to a machine that is not there any more, and does not say so."""
    connection = sockets.connect(victim, sockets.Listener("10.99.0.2", netns_of=far.pid))
    connection.exchange()
    machine.in_netns(far.pid, lambda: machine.run("ip address delete 10.99.0.2/24 dev egb1"))
    return connection


def test_peer_that_vanished(orderly, victim, vanished):
    vanished.write(1000)
    victim.die("exit", 0)
    _, second = samples_of(proved(orderly, vanished))
    assert second["timer"] == "retransmit" and second["timer_ms"] > 0
    assert second["unacked"] > 0 and second["retransmits"] > 0
    assert second["last_ack_ms"] >= GRACE_MS


@pytest.mark.parametrize("when, state", [("before", "last-ack"), ("after", "closing")])
def test_peer_that_has_closed_its_direction(orderly, victim, when, state):
    """It sends no more, and does not read either."""
    connection = full(victim)
    if when == "before":
        connection.peer.shutdown(socket.SHUT_WR)
        eventually(lambda: connection.row().state == "close-wait", "CLOSE-WAIT")
    victim.die("exit", 0)
    if when == "after":
        connection.peer.shutdown(socket.SHUT_WR)
    decision = proved(orderly, connection)
    assert decision["eghostbuster.socket.state"] == state
    assert orderly.result(decision)["eghostbuster.peer_notice"] == "none"


def test_only_the_fin_is_outstanding(orderly, victim, vanished):
    """All data has been acknowledged; the end of the stream has not."""
    victim.die("exit", 0)
    _, second = samples_of(proved(orderly, vanished))
    assert (second["send_queue"], second["timer"]) == (1, "retransmit")


def test_nothing_outstanding(orderly, victim):
    """The peer has everything, the FIN included, and keeps its end open: FIN-WAIT-2."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.write(1000)
    victim.die("exit", 0)
    decision = orderly.reported(connection)
    assert decision["event.reason"] == "nothing-outstanding"
    assert decision["eghostbuster.socket.state"] == "fin-wait-2"
    assert decision["eghostbuster.proof"]["age_ms"] >= GRACE_MS
    orderly.fence()
    assert len(orderly.mentions(connection)) == 1
    assert connection.row().state == "fin-wait-2"
    connection.assert_delivered()


def test_gone_within_its_grace(orderly, victim, actor):
    """A ghost that needs nobody's help is a number, and no record."""
    connection = full(victim)
    victim.die("exit", 0)
    connection.assert_delivered()
    connection.peer.close()
    eventually(lambda: count(orderly, "expired") == 1, "it is counted")
    orderly.fence()
    assert orderly.mentions(connection) == []
    assert not orderly.audit.all(process__pid=victim.pid)


def test_a_grace_of_nothing_is_no_proof(prepared, victim):
    """There is a least interval, because two looks at one moment always agree."""
    prepared.configure(rules(grace="0s"))
    service = prepared.run()
    connection = full(victim)
    victim.die("exit", 0)
    proved(service, connection, grace_ms=100)


def test_observed(prepared, victim):
    """Sampled and decided like any other; decided once."""
    prepared.configure(rules(grace="200ms"), daemon="mode = observe")
    service = prepared.run()
    connection = full(victim)
    victim.die("exit", 0)
    decision = service.decision(connection)
    samples_of(decision)
    assert service.result(decision)["eghostbuster.result"] == "observed"
    service.fence()
    time_of_reading(0.5)
    assert len(service.mentions(connection)) == 1
    connection.assert_delivered()


def test_the_policy_changes_while_a_ghost_waits(orderly, victim):
    connection = full(victim)
    victim.die("exit", 0)
    orderly.configure("[rule finished]\nexit = clean\naction = report\n" + rules())
    assert orderly.reload()["event.outcome"] == "success"
    assert orderly.reported(connection)["rule.name"] == "finished"
    connection.assert_delivered()
