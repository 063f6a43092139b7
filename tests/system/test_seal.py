# SPDX-License-Identifier: Apache-2.0
"""Sealing, of what a real service has written: what it proves, and whom it finds."""

import hashlib
import hmac
import os
import re
import signal
import subprocess

import pytest

import audit
from hostile import ask
from machine import NOBODY, TIMEOUT
from service import CTL
from test_verify import BROKEN, INTACT, OPEN, ghost, rotate, verify

SEAL = re.compile(rb',"eghostbuster\.seal":"(\d+):([0-9a-f]{64})"$')


def seal_key(*args, **how):
    return subprocess.run([CTL, "seal-key", *args], capture_output=True, text=True, timeout=TIMEOUT,
                          **how)


@pytest.fixture
def sealed(prepared):
    """A service that seals, not started yet, and its key in a file."""
    made = seal_key("--log", prepared.log_path)
    assert made.returncode == 0 and re.fullmatch("[0-9a-f]{64}\n", made.stdout), made
    assert "not on this host" in made.stderr
    prepared.key = prepared.folder / "key"
    prepared.key.write_text(made.stdout)
    prepared.state = prepared.log_path.with_name("audit.jsonl.seal")
    return prepared


def check(service, *paths):
    return verify("--seal-key", service.key, *(paths or [service.log_path]))


def keys(root):
    """The key of each epoch: the man page's words, by another's hash function."""
    while True:
        key = hashlib.sha256(b"eghostbuster seal key of a root" + root).digest()
        for _ in range(262144):
            yield key
            key = hashlib.sha256(b"eghostbuster seal key" + key).digest()
        root = hashlib.sha256(b"eghostbuster seal root" + root).digest()


def split(lines):
    """Of each line: what was before its seal, epoch and MAC or None, and the hash before it."""
    previous = audit.ORIGIN
    for line in lines:
        body = line[:line.rindex(b',"event.hash":"')]
        found = SEAL.search(body)
        yield body[:found.start()] if found else body, found and found.groups(), previous
        previous = audit.chained(previous, line)


def hashed_anew(lines, start=audit.ORIGIN):
    """What whoever can write the file makes of changed lines: a chain without a fault."""
    for line in lines:
        start = audit.chained(start, line)
        yield line[:line.rindex(b',"event.hash":"')] + b',"event.hash":"' + start.encode() + b'"}\n'


def lines_of(path):
    return path.read_bytes().splitlines()


def keys_that_are_none(sealed):
    folder = sealed.folder
    (folder / "short").write_text("00" * 31)
    for path in (folder / "short", folder / "none", "/dev/null"):
        asked = subprocess.run([CTL, "verify", "--seal-key", path, sealed.log_path],
                               capture_output=True, text=True)
        assert asked.returncode == 2 and len(asked.stderr.splitlines()) == 1, asked
    (folder / "other").write_text("00" * 32)
    status, found = verify("--seal-key", folder / "other", sealed.log_path)
    assert (status, found["fault"]["kind"], found["seals"]["proved"]) == \
        (BROKEN, "seal-wrong", None)
    asked = subprocess.run([CTL, "verify", "--seal-key", "-", sealed.log_path], text=True,
                           capture_output=True, input=sealed.key.read_text())
    assert asked.returncode == INTACT and "sealed, epochs 0 to " in asked.stdout
    asked = subprocess.run([CTL, "verify", sealed.log_path], text=True, capture_output=True)
    assert asked.returncode == INTACT and "which were not looked at" in asked.stdout


def test_each_write_has_its_seal(sealed):
    """As another's program checks it. And whoever comes later and makes the chain anew is found."""
    sealed.configure(daemon="mode = enforce\naudit_sync = always")
    service = sealed.run()
    ghost(service)
    assert "audit.jsonl, sealed\n" in service.stderr()
    assert check(service)[1]["seals"]["count"] == \
        ask(service)["audit_log"]["seal_epoch"] > 3
    assert service.stop() == 0
    whole = service.log_path.read_bytes()
    lines = whole.splitlines()
    key, used, epoch = keys(bytes.fromhex(service.key.read_text())), [], 0
    for bare, seal, previous in split(lines):
        if seal is not None:
            text = f"{epoch}:{hashlib.sha256(previous.encode() + bare).hexdigest()}"
            used.append(next(key))
            mac = hmac.new(used[-1], text.encode(), "sha256").hexdigest()
            assert seal == (str(epoch).encode(), mac.encode())
            epoch += 1
    assert seal is not None and epoch > 3
    status, found = check(service)
    assert (status, found["seals"]["count"], found["seals"]["checked"]) == (INTACT, epoch, True)
    assert found["seals"]["proved"] == {"first": 1, "last": len(lines), "first_sealed": 2,
                                        "first_epoch": 0, "last_epoch": epoch - 1}
    state = service.state.read_bytes()
    assert next(key) in state and not [old for old in used if old in state]
    keys_that_are_none(service)

    place = next(i for i, line in enumerate(lines) if b'"event.action":"exit"' in line)
    lines[place] = lines[place].replace(b'"eghostbuster.exit.class":"kill"',
                                        b'"eghostbuster.exit.class":"term"')
    service.log_path.write_bytes(b"".join(hashed_anew(lines)))
    assert verify(service.log_path)[0] == INTACT, "without the key nobody sees it"
    status, found = check(service)
    assert (status, found["fault"]["kind"]) == (BROKEN, "seal-wrong"), found
    assert found["fault"]["sequence"] <= place + 1 <= found["fault"]["missing_to"]

    # Nor does sealing stop without a word.
    service.log_path.write_bytes(whole)
    service.state.unlink()
    service.run()
    assert "was sealed, and is no more" in service.stderr()
    assert service.stop() == 0
    status, found = check(service)
    assert (status, found["fault"]["kind"]) == (BROKEN, "unsealed"), found
    assert found["fault"]["sequence"] == len(lines) + 1


def test_over_crashes_and_rotations(sealed):
    service = sealed.run()
    ghost(service)
    oldest = rotate(service, 2)
    ghost(service)
    service.process.send_signal(signal.SIGKILL)
    service.process.wait()
    assert check(service, oldest, service.log_path)[0] == OPEN
    service.run()
    ghost(service)
    assert service.stop() == 0
    middle = rotate(service)  # while nothing runs
    service.run()
    assert service.stop() == 0
    everything = [*service.log_folder.iterdir()]
    assert service.state in everything
    status, found = check(service, *everything)
    assert (status, found["first"], found["crashes"]) == (INTACT, 1, 1), found
    last = found["seals"]["proved"]["last_epoch"]
    assert found["seals"]["count"] == last + 1
    status, found = check(service, service.log_path, middle)
    assert (status, found["seals"]["proved"]["last_epoch"]) == (INTACT, last)
    assert found["seals"]["proved"]["first_epoch"] > 0
    shown = subprocess.run([CTL, "log", *everything], capture_output=True, check=True)
    assert shown.stderr == b"" and b"eghostsl" not in shown.stdout

    # Now somebody cuts it and lets the service go on, with the state that is there.
    lines = [line + b"\n" for line in lines_of(service.log_path)]
    first = next(i for i, line in enumerate(lines) if b'"eghostbuster.seal":"' in line)
    service.log_path.write_bytes(b"".join(lines[:first + 1]))
    service.audit.close()
    service.audit = None
    service.run()
    assert "its end was cut off" in service.stderr()
    assert service.stop() == 0
    files = oldest, middle, service.log_path
    assert verify(*files)[0] == INTACT
    status, found = check(service, *files)
    assert (status, found["fault"]["kind"]) == (BROKEN, "cut"), found
    assert found["fault"]["epoch_to"] == last


@pytest.mark.parametrize("spoil, said", [
    (lambda path: path.chmod(0o640), "open to others"),
    (lambda path: os.chown(path, NOBODY, -1), "belongs to uid"),
    (lambda path: os.link(path, path.with_name("other")), "a regular file with one name"),
    (lambda path: path.rename(path.with_name("key")) and path.symlink_to("key"), "cannot open"),
    (lambda path: path.write_bytes(b"\0" * 112), "is damaged"),
], ids=["mode", "owner", "hard-link", "symlink", "damaged"])
def test_a_state_that_is_not_taken(sealed, spoil, said):
    spoil(sealed.state)
    status, lines = sealed.start().fails()
    assert status == 1 and len(lines) == 1, lines
    assert said in lines[0] and str(sealed.state) in lines[0], lines


def test_seal_key(sealed, folder):
    """One key for one log, from root only, and no file without a key that was shown."""
    state = sealed.state.read_bytes()
    again = seal_key("--log", sealed.log_path)
    assert again.returncode == 1 and again.stdout == "" and "File exists" in again.stderr
    assert sealed.state.read_bytes() == state and sealed.state.stat().st_mode & 0o777 == 0o600
    folder.chmod(0o777)
    nobody = seal_key("--log", folder / "mine", user=NOBODY)
    assert nobody.returncode == 1 and nobody.stdout == "" and "only root" in nobody.stderr
    with open("/dev/full", "wb") as full:
        unseen = subprocess.run([CTL, "seal-key", "--log", folder / "mine"], stdout=full,
                                stderr=subprocess.PIPE)
    assert unseen.returncode == 1 and b"could not be shown" in unseen.stderr
    assert not (folder / "mine.seal").exists()
    assert seal_key("--log", folder / "nowhere/log").returncode == 1
