# SPDX-License-Identifier: Apache-2.0
"""The service with a tracker that lies (tests/hostile/tracker.c) in the real one's place."""

import os
import signal
import time

import pytest

from hostile import Host, Impostor, memory_kb
from machine import BUILD, TIMEOUT, wait_readable
from service import RULE_PER_CLASS

MESSAGES = int(os.environ.get("EGB_MESSAGES", "200000"))
LIVE, ORPHANS, CEILING = 1000, 800, 100
RECORD_BUDGET = 10000  # a minute, of the built-in configuration

# 131,072 ghosts with an owner each are about 120 MB, a sanitizer's shadow and redzones not counted.
SANITIZED = b"__asan_init" in (BUILD / "libexec" / "broker").read_bytes()
MEMORY_MAX_KB = (1200 if SANITIZED else 200) * 1024


@pytest.fixture
def impostor(folder, prepared):
    return Impostor(folder, prepared)


@pytest.fixture
def host(impostor):
    host = Host(impostor.libexec, LIVE, ORPHANS)
    yield host
    host.close()


@pytest.mark.once
def test_forged_messages(impostor, host):
    """Nobody on a crowded host is harmed; true orphans go early, at the reaper's rate at most."""
    begun = time.monotonic()
    service = impostor.replace("tracker", "flood", MESSAGES).run("--destroy-ceiling", str(CEILING))
    said = impostor.said("hostile tracker:", timeout=3 * TIMEOUT + MESSAGES / 500)
    memory = memory_kb(service.pid)
    host.assert_unharmed()
    status = service.stop()
    assert status in (0, 1), "0, or 1 with requests unanswered after the time to drain"
    seconds = time.monotonic() - begun
    host.assert_unharmed()
    left = host.orphans_left()
    checked = impostor.check()
    cookies = checked.destroyed
    print(f"{said}\nmemory {memory} kB, log {service.log_path.stat().st_size} bytes, records "
          f"{checked.tally}, {len(cookies)} orphans went early in {seconds:.1f} s at a ceiling of "
          f"{CEILING} a second; {left} are left")
    assert set(cookies) <= host.orphan_cookies() and len(set(cookies)) == len(cookies)
    assert 0 < len(cookies) <= ORPHANS - left  # the kernel gives up on them after some minutes
    assert len(cookies) == ORPHANS - left or seconds > 100
    # Within what time which were is held to the ceiling by broker_flood.c.
    assert len(cookies) <= CEILING * (1 + seconds)
    assert memory < MEMORY_MAX_KB
    # Four times what one uid or unit may write, whatever names are made up, and batches of the rest.
    records_max = 4 * RECORD_BUDGET * (1 + seconds / 60)
    assert service.log_path.stat().st_size < records_max * 1500 + (1 + seconds / 60) * (8 << 20)
    host.assert_accepts()


BROKEN = ("magic version length type direction replay skip tuple-pad pad flags owner-flags "
          "cookie-none cookie-any family state state-wild comm unit tgid exit-code v4-tail short "
          "header-only half-record one-too-many oversized descriptor lost-back lost-none "
          "hello-twice hello-none hello-features hello-never hello-zero").split()


@pytest.mark.parametrize("scenario", BROKEN)
def test_broken_protocol(impostor, scenario):
    impostor.replace("tracker", scenario).start()
    assert "the tracker broke the protocol" in impostor.ends()


@pytest.mark.parametrize("scenario, why", [("empty", "the tracker is gone"),
                                           ("vanish", "the tracker is gone"),
                                           ("hello-build", "the tracker is of another build"),
                                           ("silent", "heartbeat has stopped"),
                                           ("drip", "heartbeat has stopped")])
def test_not_a_tracker(impostor, scenario, why):
    impostor.replace("tracker", scenario, 20).start()
    assert why in impostor.ends()


def test_names(impostor):
    """Whatever comm and unit are made of: every record is a record."""
    impostor.service.configure(RULE_PER_CLASS)
    service = impostor.replace("tracker", "names", 1500).run()
    service.wait(event__action="exit", process__pid=1500)
    assert service.stop() == 0
    checked = impostor.check()
    assert checked.tally["exit"] == 1500
    said = service.stderr_path.read_bytes()
    assert not [byte for byte in said if (byte < 32 and byte != 10) or byte == 127]


def test_the_first_account_of_a_process_stays(impostor):
    service = impostor.replace("tracker", "contradict", 60).run()
    service.wait(event__action="decide", eghostbuster__ghost=60)
    assert service.stop() == 0
    exits, decisions = service.audit.all(event__action="exit"), service.audit.all(event__action="decide")
    assert len(exits) == 1
    for record in exits + decisions:
        assert record["process.name"] == "number-1" and record["user.id"] == "1"
        assert record["eghostbuster.unit"] == "unit-1.service"
        assert record["eghostbuster.exit.class"] == "kill"
    impostor.check()


def test_a_flood_of_heartbeats(impostor):
    """A hundred a second are passed on to the reaper and the service manager, no more."""
    begun = time.monotonic()
    service = impostor.replace("tracker", "heartbeats", 100000).run()
    heard = 0
    while "hostile tracker: 100000 heartbeats" not in service.stderr():
        assert service.process.poll() is None, service.stderr()
        if wait_readable([service.notify.fileno()], 0.01):
            heard += service.notify.recv(4096) == b"WATCHDOG=1"
    assert 0 < heard <= 100 * (time.monotonic() - begun) + 2
    assert "does not take notifications" not in service.stderr()
    assert memory_kb(service.pid) < MEMORY_MAX_KB
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(TIMEOUT) == 0
    impostor.check()
