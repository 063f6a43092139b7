# SPDX-License-Identifier: Apache-2.0
"""Observe mode: the same decisions, and nothing is touched."""

import pytest

import sockets

WAYS = {"-n": ("mode = enforce", ("-n",)), "mode=observe": ("mode = observe", ())}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def observer(prepared, request):
    daemon, args = request.param
    prepared.configure(daemon=daemon)
    return prepared.run(*args)


def test_observed(observer, victim, actor):
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    decision = observer.decision(connection)
    assert (decision["eghostbuster.verdict"], decision["rule.name"]) == ("destroy", "killed")
    assert decision["eghostbuster.exit.class"] == "kill"
    result = observer.result(decision)
    assert result["eghostbuster.result"] == "observed"
    observer.fence()
    assert connection.row().state == "fin-wait-1"
    connection.assert_delivered()


def test_other_verdicts_are_the_same(observer, victim):
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.die("exit", 0)
    assert observer.reported(connection)["rule.name"] == "finished"
