# SPDX-License-Identifier: Apache-2.0
"""The broker with a sink that is none (tests/hostile/sink.c) in the real one's place: ghosts are
released as ever, the log is whole, and what Linux audit did not get is counted and said."""

import pytest

import sockets
from hostile import Impostor, ask
from machine import eventually

GONE = "the sink is gone: Linux audit gets no more records"
BROKEN = {
    "rubbish": "the sink broke the protocol: shorter than a header",
    "another-build": "of another build",
    "too-much": "what cannot be",
    "flood": "one too many",
}


@pytest.fixture
def impostor(folder, prepared):
    prepared.configure(daemon="linux_audit = yes")
    return Impostor(folder, prepared)


def ghost_released(service):
    victim = service.stage.actor()
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    service.destroyed(connection)


@pytest.mark.parametrize("scenario", BROKEN)
def test_broken(impostor, scenario):
    service = impostor.replace("sink", scenario).run()
    impostor.said(BROKEN[scenario])
    impostor.said(GONE)
    if scenario != "flood":  # which ends at the first word that is not taken
        impostor.said("the end of the channel was seen")
    ghost_released(service)
    eventually(lambda: ask(service)["linux_audit"]["sent"] + ask(service)["linux_audit"]["lost"] ==
               len(service.audit.read()), "every record is sent or lost")
    status = ask(service)["linux_audit"]
    assert status["state"] == "gone" and status["lost"] >= 3, status
    assert service.stop() == 0
    assert service.stderr().count(GONE) == 1
    stop = service.audit.all(event__action="stop")[0]
    assert stop["eghostbuster.sink.linux_audit.lost"] >= status["lost"]
    impostor.check()
