# SPDX-License-Identifier: Apache-2.0
"""Many ghosts at once, and what must not happen because of them."""

import fcntl
import os
import signal

import pytest

import sockets
from machine import eventually
from service import RULES

MANY = 400


@pytest.fixture
def crowd(victim):
    """An actor with many connections, and their peers, which stay open."""
    listener = sockets.Listener()
    return [sockets.connect(victim, listener) for _ in range(MANY)]


def verdicts(service):
    return service.audit.all(event__action="decide", eghostbuster__verdict="destroy")


def results(service, name):
    return service.audit.all(event__action="destroy", eghostbuster__result=name)


def assert_every_decision_has_its_result(service):
    """One result for each decision to destroy, behind it in the log."""
    decided = {}
    for record in service.audit.all():
        ghost = record.get("eghostbuster.ghost")
        if record["event.action"] == "decide" and record["eghostbuster.verdict"] == "destroy":
            decided[ghost] = None
        elif record["event.action"] == "destroy":
            assert ghost in decided, "a result without its decision before it"
            decided[ghost] = record["eghostbuster.result"]
    assert None not in decided.values()
    return decided


def test_stop_in_a_storm(service, victim, crowd):
    """SIGTERM right behind the death: all that died before it is dealt with, and the counts say so."""
    bystander = sockets.connect(service.stage.actor(), sockets.Listener())
    victim.kill()
    assert service.stop() == 0
    decided = assert_every_decision_has_its_result(service)
    assert len(decided) == MANY
    stop = service.audit.records[-1]
    assert stop["event.action"] == "stop"
    assert stop["eghostbuster.count.destroyed"] == MANY
    assert stop["eghostbuster.count.unanswered"] == stop["eghostbuster.count.unsent"] == 0
    assert not sockets.orphans()
    bystander.exchange()


def full_pipe():
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x" * 64)
    os.set_blocking(writer, True)
    return reader, writer


def test_standard_error_that_nobody_reads(prepared, stage, victim, crowd):
    """Lines are a courtesy: nothing waits for whoever should read them."""
    reader, writer = full_pipe()
    prepared.stderr_to = writer
    service = prepared.run()
    victim.kill()
    eventually(lambda: len(results(service, "destroyed")) == MANY, "all destroyed")
    assert service.stop() == 0
    os.close(reader)
    os.close(writer)


def test_more_than_the_limit(prepared, victim, crowd):
    """Turned away by the reaper's own rate limit they are asked for again, by the same decision: the log
    does not grow with the number of tries."""
    prepared.configure(daemon=f"mode = enforce\ndestroy_limit = {MANY // 4}/s")
    service = prepared.run()
    victim.kill()
    eventually(lambda: len(results(service, "destroyed")) == MANY, "all destroyed")
    assert len(verdicts(service)) == MANY
    refused = results(service, "refused-rate")
    assert refused
    assert len({record["eghostbuster.ghost"] for record in refused}) == len(refused)
    assert all(record["event.outcome"] == "failure" for record in refused)


def test_ceiling_of_the_command_line(prepared, victim, crowd):
    """What the configuration allows, the launcher's argument does not."""
    prepared.configure(daemon="mode = enforce\ndestroy_limit = 1000000/s")
    service = prepared.run("--destroy-ceiling", str(MANY // 4))
    victim.kill()
    eventually(lambda: len(results(service, "destroyed")) == MANY, "all destroyed")
    assert results(service, "refused-rate")


def test_rule_for_a_later_state(prepared, victim):
    """Decided in FIN-WAIT-1, found in FIN-WAIT-2, which an earlier rule leaves alone."""
    prepared.configure("[rule keep]\nstate = fin-wait-2\naction = ignore\n" +
                       RULES.replace("grace = 0s", "grace = 500ms"))
    service = prepared.run()
    connection = sockets.connect(victim, sockets.Listener())
    victim.kill()  # within the grace its peer acknowledges the FIN; it does not close
    decision = service.decision(connection)
    assert decision["eghostbuster.verdict"] == "destroy"
    assert decision["eghostbuster.socket.state"] == "fin-wait-1"
    result = service.result(decision)
    assert result["eghostbuster.result"] == "refused-progress"
    assert result["eghostbuster.socket.state"] == "fin-wait-2"
    assert connection.row().state == "fin-wait-2"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_before_ready(prepared, number):
    """An order to stop that comes at once is heard, too, and leaves nothing behind."""
    service = prepared.start()
    eventually(lambda: service.control.exists() or service.process.poll() is not None, "a start")
    service.process.send_signal(number)
    assert service.process.wait(20) in (0, -number)
