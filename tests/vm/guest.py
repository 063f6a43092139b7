# SPDX-License-Identifier: Apache-2.0
"""What the scenarios that see the service as a unit have in common. It lies beside their `run`."""

import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import traceback

CONFIG = pathlib.Path("/etc/eghostbuster/eghostbuster.conf")
LOG = pathlib.Path("/var/log/eghostbuster/audit.jsonl")
METRICS = pathlib.Path("/var/lib/eghostbuster-metrics/eghostbuster.prom")
PATIENCE = 120  # s
VICTIM = """
import signal, socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.setblocking(False)
try:
    while True:
        connection.send(bytes(65536))
except BlockingIOError:
    print("full", flush=True)
signal.pause()
"""

listener = socket.create_server(("127.0.0.1", 0), backlog=64)


def run(command, check=True):
    ended = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    assert not check or ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
    return ended.stdout if check else ended


def eventually(condition, what):
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.05)
    return value


def records(action):
    return [record for record in map(json.loads, LOG.read_text(encoding="utf-8").splitlines())
            if record["event.action"] == action]


class Victim:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-c", VICTIM, str(listener.getsockname()[1])],
                                        stdout=subprocess.PIPE)
        self.peer, (_, self.port) = listener.accept()
        assert self.process.stdout.readline() == b"full\n"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def decision(self):
        return eventually(lambda: [r for r in records("decide") if r.get("source.port") == self.port], "a decision")[-1]

    def result(self):
        ghost, after = self.decision()["eghostbuster.ghost"], self.decision()["event.sequence"]
        return eventually(lambda: [r for r in records("destroy") if r.get("eghostbuster.ghost") == ghost
                                   and r["event.sequence"] > after], "a result")[0]["eghostbuster.result"]


def mode_set(mode):
    CONFIG.write_text(re.sub(r"(?m)^mode = \w+", f"mode = {mode}", CONFIG.read_text()))


def main_pid():
    return int(run("systemctl show -P MainPID eghostbuster"))


def pids():
    cgroup = run("systemctl show -P ControlGroup eghostbuster").strip()
    return pathlib.Path(f"/sys/fs/cgroup{cgroup}/cgroup.procs").read_text().split()


def main(tests):
    """Runs them in order, until one fails. A test returns what it has to show, or nothing."""
    sys.stdout.reconfigure(line_buffering=True)
    print(f"1..{len(tests)}")
    for number, test in enumerate(tests, 1):
        try:
            told = test()
        except Exception:  # whatever it is, it is this test's
            print(f"not ok {number} - {test.__doc__}")
            told = traceback.format_exc()[-6000:] + run("journalctl -b -u eghostbuster* -o short-monotonic -n 30", False).stdout
            print("\n".join(f"# {line}" for line in told.splitlines()))
            return 1
        print(f"ok {number} - {test.__doc__}" + (f": {told}" if told else ""))
    return 0
