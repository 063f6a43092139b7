# SPDX-License-Identifier: Apache-2.0
"""Start, reload, rotation, stop; and every way a start or a role can fail."""

import os
import re
import signal
import subprocess
import time

import pytest

import sockets
from machine import TIMEOUT, children, eventually, status_of, wait_readable
from service import RULES

# Roles hear of a death by the end of their channel, at once; a second is what is promised.
GONE_WITHIN = 1.0


def test_start_and_stop(service, victim):
    records = service.audit.records
    assert [r["event.action"] for r in records[:2]] == ["log-open", "start"]
    assert service.control.is_socket()
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    service.destroyed(connection)
    assert service.stop() == 0
    last = service.audit.read()[-1]
    assert last["event.action"] == "log-close"
    assert len(service.audit.all(event__action="stop")) == 1
    assert [r["event.sequence"] for r in records] == \
        list(range(records[0]["event.sequence"], last["event.sequence"] + 1))


def test_stop_drains(service, victim):
    """What happened before SIGTERM is in the log, decided and done."""
    listener = sockets.Listener()
    connections = [sockets.connect(victim, listener) for _ in range(20)]
    for connection in connections:
        connection.fill()
    victim.kill()
    assert service.stop() == 0
    for connection in connections:
        service.destroyed(connection)
    assert [r["event.action"] for r in service.audit.records[-2:]] == ["stop", "log-close"]


def test_stop_hears_the_tracker_out(service, victim):
    """The kernel's ring buffer still holds the death when SIGTERM comes."""
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    tracker = service.roles()["tracker"]
    os.kill(tracker, signal.SIGSTOP)
    try:
        victim.kill()
        service.process.send_signal(signal.SIGTERM)
        service.wait_notification(b"STOPPING=1")
    finally:
        os.kill(tracker, signal.SIGCONT)
    assert service.process.wait(TIMEOUT) == 0
    service.destroyed(connection)


def test_sigint_stops_as_well(service):
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(TIMEOUT) == 0


@pytest.mark.parametrize("role", ["tracker", "broker", "reaper"])
def test_a_killed_role_ends_all(prepared, role):
    """The sink, too, whose own end would end nothing."""
    prepared.configure(daemon="linux_audit = yes")
    service = prepared.run()
    pids = service.roles()
    assert set(pids) == {"tracker", "broker", "reaper", "sink"}
    pidfds = {name: os.pidfd_open(pid) for name, pid in pids.items()}
    try:
        signal.pidfd_send_signal(pidfds[role], signal.SIGKILL)
        start = time.monotonic()
        for name, pidfd in pidfds.items():
            assert wait_readable([pidfd]), f"{name} lives on"
        assert time.monotonic() - start < GONE_WITHIN
    finally:
        for pidfd in pidfds.values():
            os.close(pidfd)
    status = service.process.wait(TIMEOUT)
    assert status == (-signal.SIGKILL if role == "broker" else 1)
    if role != "broker":
        assert role in service.stderr(), "it says who is missing"


def test_a_second_run_appends_to_the_log(service):
    service.stop()
    first = service.log_path.read_bytes()
    service.run()
    assert service.stop() == 0
    assert service.log_path.read_bytes().startswith(first)
    assert len(service.audit.all(event__action="start")) == 2
    assert len(service.audit.all(event__action="stop")) == 2


# ---- reload ----

def test_reload(service, victim):
    service.configure(RULES.replace("action = destroy\ngrace = 0s", "action = report"))
    assert service.reload()["event.outcome"] == "success"
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    assert service.reported(connection)["rule.name"] == "killed"
    connection.assert_delivered()


def test_reload_of_an_edited_file_that_is_a_new_inode(service, victim):
    old = service.config.read_text()
    service.config.rename(service.folder / "old.conf")
    service.config.write_text(old.replace("[rule killed]", "[rule renamed]"))
    assert service.reload()["event.outcome"] == "success"
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    assert service.destroyed(connection)[0]["rule.name"] == "renamed"


BROKEN = {
    "unknown-key": ("mood = good", "mood"),
    "bad-duration": ("breaker_hold = soon", "breaker_hold"),
    "bad-mode": ("mode = sometimes", "mode"),
    "bad-rate": ("destroy_limit = many", "destroy_limit"),
}


@pytest.mark.parametrize("line, word", BROKEN.values(), ids=BROKEN)
def test_reload_of_a_broken_file_keeps_the_old_policy(service, victim, line, word):
    service.configure(daemon=line)
    record = service.reload()
    assert record["event.outcome"] == "failure"
    said = [text for text in service.stderr().splitlines() if f"{service.config.name}:2: " in text]
    assert len(said) == 1 and word in said[0]
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    assert service.destroyed(connection)[0]["rule.name"] == "killed"


def test_reload_of_a_file_that_has_gone(service, victim):
    service.config.unlink()
    assert service.reload()["event.outcome"] == "failure"
    connection = sockets.connect(victim, sockets.Listener())
    connection.fill()
    victim.kill()
    service.destroyed(connection)


# ---- rotation ----

def test_rotation(service, victim):
    """By rename and SIGHUP; the rotator makes the new file, for the broker's account."""
    uid = int(status_of(service.pid)["Uid"].split()[0])
    rotated = service.log_folder / "audit.jsonl.1"
    service.audit.read()
    service.log_path.rename(rotated)
    service.log_path.touch(mode=0o640)
    os.chown(service.log_path, uid, -1)
    service.process.send_signal(signal.SIGHUP)
    connection = sockets.connect(victim, sockets.Listener())
    eventually(lambda: service.log_path.stat().st_size > 0, "the new file is in use")
    # What was still written to the old file comes first.
    size_then = rotated.stat().st_size
    connection.fill()
    victim.kill()
    eventually(lambda: hex(connection.cookie).encode() in service.log_path.read_bytes(),
               "the new file has the ghost")
    assert rotated.stat().st_size == size_then
    lines = rotated.read_bytes().splitlines() + service.log_path.read_bytes().splitlines()
    sequences = [int(re.search(rb'"event.sequence":(\d+)', line)[1]) for line in lines]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


# ---- bad input ----

def assert_refused(service, *words, prefix=(), args=(), statuses=(1, 2)):
    """One line that names the matter, exit 1 or 2, and nothing has begun."""
    status, lines = service.start(*args, prefix=prefix).fails()
    assert status in statuses
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]
    assert service.audit.read() == []
    assert service.control.exists() is False
    return lines[0]


BAD_RULES = {
    "unknown-key": ("[rule a]\nexit = kill\naction = destroy\ncolour = red\n", 4, "colour"),
    "unknown-section": ("[rulez]\nexit = kill\n", 1, "rulez"),
    "bad-duration": ("[rule a]\nexit = kill\naction = destroy\ngrace = 5 parsecs\n", 4, "grace"),
    "bad-action": ("[rule a]\nexit = kill\naction = explode\n", 3, "explode"),
    "bad-class": ("[rule a]\nexit = suicide\naction = report\n", 2, "suicide"),
    "duplicate-rule": ("[rule a]\nexit = kill\naction = report\n[rule b]\nexit = oom\n"
                       "action = report\n[rule a]\nexit = crash\naction = report\n", 7, "a"),
    "duplicate-key": ("[rule a]\nexit = kill\nexit = oom\naction = report\n", 3, "exit"),
    "long-line": ("[rule a]\nexit = kill\naction = report\ncomm = " + "x" * 5000 + "\n", 4, ""),
}


@pytest.mark.parametrize("rules, line, word", BAD_RULES.values(), ids=BAD_RULES)
def test_bad_configuration(prepared, rules, line, word):
    prepared.configure(rules)
    # configure() writes two lines before the rules.
    assert_refused(prepared, f"{prepared.config}:{line + 2}: ", word)


def test_configuration_without_rules(prepared):
    prepared.configure(rules="")
    assert_refused(prepared, str(prepared.config), "rule")


def test_missing_configuration(prepared):
    prepared.configure()
    missing = prepared.folder / "missing.conf"
    assert_refused(prepared, str(missing), "No such file", args=("-c", str(missing)))


def test_unknown_option(prepared):
    status, lines = prepared.start("--frobnicate").fails()
    assert status == 2 and "frobnicate" in lines[0]


def test_missing_log_folder(prepared):
    nowhere = prepared.folder / "nowhere"
    assert_refused(prepared, str(nowhere), "No such file",
                   args=("--audit-log", str(nowhere / "audit.jsonl")))


def in_mount_namespace(commands):
    return ("unshare", "--mount", "sh", "-c", f'set -e; {commands}; exec "$@"', "sh")


def test_unwritable_log_folder(prepared):
    prepared.configure()
    prefix = in_mount_namespace(f"mount -t tmpfs -o ro none {prepared.log_folder}")
    assert_refused(prepared, str(prepared.log_path), "Read-only", prefix=prefix)


def test_log_that_is_no_file(prepared):
    prepared.log_path.mkdir()
    prepared.configure()
    status, lines = prepared.start().fails()
    assert status == 1 and len(lines) == 1 and str(prepared.log_path) in lines[0]
    prepared.log_path.rmdir()


def test_no_btf(prepared):
    prepared.configure()
    assert_refused(prepared, "BTF",
                   prefix=in_mount_namespace("mount -t tmpfs none /sys/kernel/btf"))


def test_no_root(prepared):
    prepared.configure()
    prepared.folder.chmod(0o777)
    assert_refused(prepared, "root",
                   prefix=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"))


def test_root_without_a_capability(prepared):
    prepared.configure()
    assert_refused(prepared, "CAP_BPF",
                   prefix=("setpriv", "--bounding-set", "-bpf", "--inh-caps", "-bpf"))


def test_missing_role(prepared):
    prepared.configure()
    empty = prepared.folder / "empty"
    empty.mkdir()
    assert_refused(prepared, str(empty), args=("--libexec", str(empty)))


def test_second_instance_on_the_same_control_socket(service):
    before = children(os.getpid())
    command = service.command()
    command[command.index("--audit-log") + 1] = str(service.log_folder / "second.jsonl")
    second = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 1 and str(service.control) in second.stderr
    assert not (service.log_folder / "second.jsonl").exists()
    assert children(os.getpid()) == before
    assert set(service.roles()) == {"tracker", "broker", "reaper"}
    service.fence()


def test_control_socket_left_by_a_crash_is_no_obstacle(service):
    service.process.kill()
    service.process.wait()
    assert service.control.exists()
    service.run()
    service.fence()


# ---- command line ----

def run_launcher(service, *args):
    return subprocess.run(service.command(*args), capture_output=True, text=True, timeout=TIMEOUT)


def test_check_config_prints_what_parses_back(prepared):
    prepared.configure()
    first = run_launcher(prepared, "--check-config")
    assert first.returncode == 0 and first.stderr == ""
    prepared.config.write_text(first.stdout)
    again = run_launcher(prepared, "--check-config")
    assert (again.returncode, again.stdout) == (0, first.stdout)
    for name in ("killed", "stopped", "finished", "adopted"):
        assert f"[rule {name}]" in first.stdout


def test_control_group(prepared):
    """A name that is no group's is found by --check-config, as a start would."""
    for group, good in (("daemon", True), ("4242", True), ("no-such-group", False)):
        prepared.configure(daemon=f"control_group = {group}")
        ended = run_launcher(prepared, "--check-config")
        assert ended.returncode == (0 if good else 1), ended.stderr
        assert (f"control_group = {group}\n" in (ended.stdout if good else ended.stderr)) == good
    assert ended.stdout == "" and "no-such-group: there is no such group" in ended.stderr
    status, lines = prepared.start().fails()
    assert (status, lines) == (1, ended.stderr.splitlines())


def test_check_config_of_a_broken_file(prepared):
    prepared.configure(rules="[rule a]\nexit = kill\naction = explode\n")
    ended = run_launcher(prepared, "--check-config")
    assert ended.returncode == 1 and ended.stdout == ""
    assert f"{prepared.config}:5: " in ended.stderr


@pytest.mark.parametrize("option, text", [("-V", "eghostbuster 0."), ("-h", "usage: eghostbuster")])
def test_help_and_version(prepared, option, text):
    ended = run_launcher(prepared, option)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(text)
